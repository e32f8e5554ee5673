//! Writing a record: sealed blobs durable in the store, then one index transaction.

use crate::blobs::Location;
use crate::envelope::padme_padding;
use crate::index::{IndexError, NewBlob, NewVersion, Precondition, PutOutcome};
use crate::model::{
    BlobId, BucketName, Checksum, ClassCode, ClassId, ETag, ObjectKey, ObjectMeta, Timestamp, VersionId,
    failpoint,
};

use super::cut::{Feed, Held, Length};
use super::debris::Debris;
use super::sealing::{Sealing, manifest_of, new_blobs, random, register_version};
use super::source::Source;
use super::{Decided, Vault, VaultError, WriteError};

/// How often a commit whose outcome is unknown is repeated. Repeating is safe: commits are idempotent by version id.
const COMMITS_MAX: usize = 3;

/// Entries of a manifest that are sealed where they stand: two pages, a few hundred microseconds. More are sealed by a thread
/// that may take its time.
const ENTRIES_INLINE_MAX: usize = 2048;

/// A record to be written.
#[derive(Clone, Debug)]
pub struct Write {
    /// Into which bucket.
    pub bucket: BucketName,
    /// Under which key.
    pub key: ObjectKey,
    /// What is sealed with it. Its checksums are ignored: those verified while reading the body are taken.
    pub meta: ObjectMeta,
    /// The person concerned, if the writer says.
    pub subject: Option<String>,
    /// When not to.
    pub precondition: Precondition,
}

/// A version that is committed.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its identity.
    pub version: VersionId,
    /// Its entity tag.
    pub etag: ETag,
    /// Its class.
    pub class: ClassId,
    /// Which key sealed it, as clients are told.
    pub kms_key_id: String,
    /// The client's checksums, verified.
    pub checksums: Vec<Checksum>,
}

impl Vault {
    /// Writes a record. On any error nothing is visible, and what was uploaded is reclaimed.
    ///
    /// At most one index round trip. Takes memory for the blobs in flight, at most `uploads_in_flight_max` of them.
    pub async fn put<S: Source>(
        &self,
        decided: &Decided,
        write: Write,
        source: S,
    ) -> Result<Written, WriteError<S::Error>> {
        let (class, code) = decided.class().cloned().ok_or(VaultError::Interrupted)?;
        let sealing = self
            .seal_under(decided, &class, code, &write.bucket, &write.key, write.subject.as_deref())
            .await?;
        let padding = self.padding_of(code, source.clear_bytes())?;
        let cut = self.cut_of(source.clear_bytes(), padding)?;
        let mut feed = Feed::new(source);
        let mut debris = Debris::of(decided.tenant_code(), &self.sweeper);
        let etag = ETag::random(self.entropy()).map_err(VaultError::Entropy)?;
        let draft = Draft { write: &write, class: &class, code, etag: &etag };
        let (new, checksums) = match cut.as_slice() {
            [only] => self.one_blob(decided, &draft, &mut feed, &sealing, *only, &mut debris).await?,
            many => self.many_blobs(decided, &draft, &mut feed, &sealing, many, &mut debris).await?,
        };
        self.is_in_time(&sealing)?;
        failpoint::pass("blobs-durable");
        self.commit(new, write.precondition).await?;
        failpoint::pass("version-committed");
        debris.keep();
        let kms_key_id = sealing.kms_key_id();
        Ok(Written { version: sealing.version, etag, class, kms_key_id, checksums })
    }

    /// Refuses to commit a write that began so long ago that a scrubber may have taken its blobs for those of a dead process,
    /// given them up, and seen them deleted: the index no longer remembers that.
    fn is_in_time(&self, sealing: &Sealing) -> Result<(), VaultError> {
        let begun = Timestamp::from_millis(sealing.locator.created_ms);
        if self.parts.clock.now().since(begun) < self.parts.settings.write_max {
            return Ok(());
        }
        Err(VaultError::Index(IndexError::Reclaimed))
    }

    /// How many padding bytes the class wants behind `clear` bytes.
    pub(super) fn padding_of(&self, class: ClassCode, clear: u64) -> Result<u64, VaultError> {
        if !self.treatment(class)?.hides_length {
            return Ok(0);
        }
        padme_padding(clear).ok_or(VaultError::TooLarge)
    }

    /// 99 % of records: the version record stands in front of the body in the only blob.
    async fn one_blob<S: Source>(
        &self,
        decided: &Decided,
        draft: &Draft<'_>,
        feed: &mut Feed<S>,
        sealing: &Sealing,
        length: Length,
        debris: &mut Debris,
    ) -> Result<(NewVersion, Vec<Checksum>), WriteError<S::Error>> {
        let clear_bytes = feed.clear_bytes();
        let mut manifest = manifest_of(&draft.write.meta, draft.etag, register_version(decided));
        let headroom = sealing.sealer().headroom_bytes(Some(&manifest));
        let _lease = self.memory_for(decided, length).await?;
        let (blob, body) = self.seal_body(feed, sealing, length, 0, headroom).await?;
        let checksums = feed.verified().await?;
        manifest.checksums = checksums.iter().map(super::sealing::to_sealed).collect();
        let sealed = sealing
            .sealer()
            .version_with_body(manifest, body, &mut random(self.entropy()))
            .map_err(VaultError::Seal)?;
        let stored = NewBlob { id: blob, stored_bytes: sealed.blob.len() as u64 };
        debris.may_hold(blob);
        self.parts.store.put(&Location::of(decided, blob), sealed.blob).await.map_err(VaultError::Store)?;
        let record = sealed.record.into_bytes();
        Ok((
            draft.version(decided, sealing, clear_bytes, &record, vec![stored], self.parts.clock.now()),
            checksums,
        ))
    }

    async fn many_blobs<S: Source>(
        &self,
        decided: &Decided,
        draft: &Draft<'_>,
        feed: &mut Feed<S>,
        sealing: &Sealing,
        cut: &[Length],
        debris: &mut Debris,
    ) -> Result<(NewVersion, Vec<Checksum>), WriteError<S::Error>> {
        let clear_bytes = feed.clear_bytes();
        let entries = self.cut(decided, feed, sealing, cut, 0, debris, Held::Nothing).await?;
        let checksums = feed.verified().await?;
        let mut manifest = manifest_of(&draft.write.meta, draft.etag, register_version(decided));
        manifest.checksums = checksums.iter().map(super::sealing::to_sealed).collect();
        let mut blobs = new_blobs(&entries);
        let (record, record_blob) = self.store_record(decided, sealing, manifest, entries, debris).await?;
        blobs.push(record_blob);
        Ok((draft.version(decided, sealing, clear_bytes, &record, blobs, self.parts.clock.now()), checksums))
    }

    /// Seals and uploads the record of a version of several blobs: a small blob of its own.
    pub(super) async fn store_record(
        &self,
        decided: &Decided,
        sealing: &Sealing,
        manifest: crate::envelope::Manifest,
        entries: Vec<crate::envelope::BlobEntry>,
        debris: &mut Debris,
    ) -> Result<(bytes::Bytes, NewBlob), VaultError> {
        let blob = BlobId::random(self.entropy())?;
        let (entropy, sealing) = (std::sync::Arc::clone(&self.parts.entropy), sealing.clone());
        let is_long = entries.len() > ENTRIES_INLINE_MAX;
        let seal =
            move || sealing.sealer().version(*blob.as_bytes(), manifest, entries, &mut random(&*entropy));
        let sealed = if is_long {
            tokio::task::spawn_blocking(seal).await.map_err(|_| VaultError::Interrupted)?
        } else {
            seal()
        }
        .map_err(VaultError::Seal)?;
        let stored = NewBlob { id: blob, stored_bytes: sealed.blob.len() as u64 };
        debris.may_hold(blob);
        self.parts.store.put(&Location::of(decided, blob), sealed.blob).await.map_err(VaultError::Store)?;
        Ok((sealed.record.into_bytes(), stored))
    }

    async fn commit(&self, new: NewVersion, precondition: Precondition) -> Result<(), VaultError> {
        let mut tries = Tries::default();
        while tries.again() {
            let now = self.parts.clock.now();
            match self.parts.index.commit_put(new.clone(), precondition.clone(), now).await {
                Ok(PutOutcome::Committed { .. }) => return Ok(()),
                Ok(PutOutcome::PreconditionFailed) => {
                    return Err(tries.refused(VaultError::PreconditionFailed));
                }
                Ok(PutOutcome::NoSuchKey) => return Err(tries.refused(VaultError::NoSuchKey)),
                Ok(PutOutcome::NoBucket) => return Err(tries.refused(VaultError::NoSuchBucket)),
                Ok(PutOutcome::NotYours) => return Err(tries.refused(VaultError::NotYours)),
                Err(IndexError::Ambiguous) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(IndexError::Ambiguous.into())
    }
}

/// The tries of one commit, of which each but the last is answered by nobody.
#[derive(Debug, Default)]
pub(super) struct Tries(usize);

impl Tries {
    /// Begins another one, if there may be one.
    pub(super) fn again(&mut self) -> bool {
        self.0 += 1;
        self.0 <= COMMITS_MAX
    }

    /// What a refusal of this try says of the commit. After an outcome that nobody knows, nothing: the commit may have happened, and
    /// what refuses the repetition may be what others made of it since. Only the first try's refusal is a promise that nothing was
    /// done.
    pub(super) fn refused(&self, refusal: VaultError) -> VaultError {
        if self.0 > 1 { IndexError::Ambiguous.into() } else { refusal }
    }
}

/// What is known of a version before it is sealed.
struct Draft<'a> {
    write: &'a Write,
    class: &'a ClassId,
    code: ClassCode,
    etag: &'a ETag,
}

impl Draft<'_> {
    fn version(
        &self,
        decided: &Decided,
        sealing: &Sealing,
        size: u64,
        record: &[u8],
        blobs: Vec<NewBlob>,
        modified: Timestamp,
    ) -> NewVersion {
        NewVersion {
            version: sealing.version,
            tenant: decided.tenant_code(),
            bucket: self.write.bucket.clone(),
            key: self.write.key.clone(),
            class: self.class.clone(),
            class_code: self.code,
            etag: self.etag.clone(),
            size,
            sealed_bytes: blobs.iter().map(|blob| blob.stored_bytes).sum(),
            modified,
            kek: sealing.handle.id(),
            kek_epoch: sealing.handle.epoch(),
            // A copy: the slice would keep the whole blob's memory until the index has committed.
            record: bytes::Bytes::copy_from_slice(record),
            blobs,
        }
    }
}
