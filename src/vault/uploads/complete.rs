//! Completing an upload: the chosen parts' lists joined under one sealed record.

use std::collections::HashMap;
use std::convert::Infallible;

use bytes::Bytes;

use crate::envelope::{BlobEntry, Part};
use crate::index::{
    CompleteOutcome, CompletedUpload, IndexError, NewVersion, PartRow, Precondition, UploadLookup,
};
use crate::model::{BucketName, Checksum, ETag, ObjectKey, UploadId};

use super::super::cut::{Feed, Held};
use super::super::debris::Debris;
use super::super::sealing::{manifest_of, new_blobs, register_version, to_sealed};
use super::super::source::Source;
use super::super::{Decided, Vault, VaultError, WriteError, Written};
use super::descriptor::PartDescriptor;
use super::{ORDINALS_PER_PART, OpenedUpload, UploadFacts, key_id_of};

/// All parts but the last are at least this long (S3 User Guide, "Multipart upload limits"): 5 MiB.
const PART_BYTES_MIN: u64 = 5 << 20;

/// The longest object (same place): 5 TiB.
const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// Where padding blobs stand: behind every part there can be.
const PADDING_ORDINAL: u32 = 10_001 * ORDINALS_PER_PART;

/// A part as the client names it in Complete.
#[derive(Clone, Debug)]
pub struct ChosenPart {
    /// Its number.
    pub number: u16,
    /// The entity tag it was answered with, unquoted.
    pub etag: String,
    /// Its checksum, if the client repeats it.
    pub checksum: Option<Checksum>,
}

/// What completes an upload.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The parts, in order.
    pub parts: Vec<ChosenPart>,
    /// When not to.
    pub precondition: Precondition,
    /// What the whole object's length has to be, if the client says.
    pub size_bytes: Option<u64>,
}

/// A chosen part, for whoever computes the whole object's checksums.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its verified checksums.
    pub checksums: Vec<Checksum>,
}

impl Vault {
    /// Completes an upload into a version. `whole` gets the chosen parts in order and answers the checksums of the whole
    /// object, or why they are not what the client said.
    ///
    /// A repeated Complete gets the answer of the first.
    pub async fn complete_upload(
        &self,
        decided: &Decided,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
        completion: Completion,
        whole: impl FnOnce(&UploadFacts, &[Whole]) -> Result<Vec<Checksum>, VaultError> + Send,
    ) -> Result<Written, VaultError> {
        let row = match self.parts.index.upload(decided.tenant_code(), bucket, key, upload).await? {
            UploadLookup::Open(row) => *row,
            UploadLookup::Completed(done) => return replayed(*done),
            UploadLookup::NoUpload => return Err(VaultError::NoSuchUpload),
            UploadLookup::NoBucket => return Err(VaultError::NoSuchBucket),
            UploadLookup::NotYours => return Err(VaultError::NotYours),
        };
        let opened = self.open_upload_row(decided, row).await?;
        let chosen = self.chosen(&opened, upload, &completion).await?;
        let facts = UploadFacts {
            class: opened.row.class.clone(),
            kms_key_id: opened.sealing.kms_key_id(),
            checksum: opened.descriptor.checksum(),
        };
        let parts: Vec<Whole> = chosen.iter().map(Chosen::whole).collect();
        let checksums = whole(&facts, &parts)?;
        let mut debris = Debris::of(decided.tenant_code(), &self.sweeper);
        let new = self.joined(decided, &opened, &chosen, &checksums, &mut debris).await?;
        let etag = new.etag.clone();
        let tags = chosen.iter().map(|part| (part.row.number, part.row.etag.clone())).collect();
        let version = new.version;
        if let Some(done) = self.commit_complete(upload, tags, new, completion.precondition).await? {
            return replayed(done);
        }
        debris.keep();
        Ok(Written { version, etag, class: facts.class, kms_key_id: facts.kms_key_id, checksums })
    }

    /// The rows and sealed descriptors of the parts that were named, each checked against what the client says of it.
    async fn chosen(
        &self,
        opened: &OpenedUpload,
        upload: UploadId,
        completion: &Completion,
    ) -> Result<Vec<Chosen>, VaultError> {
        let named = &completion.parts;
        if named.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(VaultError::InvalidPartOrder);
        }
        let numbers: Vec<u16> = named.iter().map(|part| part.number).collect();
        let rows = self.parts.index.parts(upload, &numbers).await?;
        let rows: HashMap<u16, &PartRow> = rows.iter().map(|row| (row.number, row)).collect();
        let mut chosen = Vec::with_capacity(named.len());
        for (place, part) in named.iter().enumerate() {
            let invalid = VaultError::InvalidPart { number: part.number };
            let row = rows.get(&part.number).copied().filter(|row| row.etag.as_str() == part.etag);
            let Some(row) = row else { return Err(invalid) };
            let descriptor = PartDescriptor::open(&row.descriptor, &opened.sealing, upload, row)?;
            let checksums = descriptor.checksums();
            if let Some(said) = &part.checksum
                && !checksums.iter().any(|c| c.algorithm == said.algorithm && c.digest == said.digest)
            {
                return Err(invalid);
            }
            if row.size < PART_BYTES_MIN && place + 1 < named.len() {
                return Err(VaultError::PartTooSmall { number: part.number });
            }
            chosen.push(Chosen { row: row.clone(), entries: descriptor.entries()?, checksums });
        }
        let total: u64 = chosen.iter().map(|part| part.row.size).sum();
        if total > OBJECT_BYTES_MAX {
            return Err(VaultError::TooLarge);
        }
        if completion.size_bytes.is_some_and(|said| said != total) {
            return Err(VaultError::WholeMismatch { what: "length" });
        }
        Ok(chosen)
    }

    /// Seals and stores the version record that lists the chosen parts' blobs, and padding behind them if the class hides
    /// lengths.
    async fn joined(
        &self,
        decided: &Decided,
        opened: &OpenedUpload,
        chosen: &[Chosen],
        checksums: &[Checksum],
        debris: &mut Debris,
    ) -> Result<NewVersion, VaultError> {
        let row = &opened.row;
        let size: u64 = chosen.iter().map(|part| part.row.size).sum();
        let etag = ETag::random_multipart(self.entropy(), chosen.len())?;
        let mut manifest = manifest_of(&opened.descriptor.meta(), &etag, register_version(decided));
        manifest.checksums = checksums.iter().map(to_sealed).collect();
        manifest.parts = chosen.iter().map(Chosen::part).collect();
        let mut entries: Vec<BlobEntry> =
            chosen.iter().flat_map(|part| part.entries.iter().copied()).collect();
        let padding = self.padding_blobs(decided, opened, size, debris).await?;
        let mut blobs = new_blobs(&padding);
        entries.extend(padding);
        let sealed_parts: u64 = entries.iter().map(BlobEntry::stored_bytes).sum();
        let (record, stored) = self.store_record(decided, &opened.sealing, manifest, entries, debris).await?;
        let sealed_bytes = sealed_parts + stored.stored_bytes;
        blobs.push(stored);
        Ok(NewVersion {
            version: row.version,
            tenant: decided.tenant_code(),
            bucket: row.bucket.clone(),
            key: row.key.clone(),
            class: row.class.clone(),
            class_code: row.class_code,
            etag,
            size,
            sealed_bytes,
            modified: self.parts.clock.now(),
            kek: row.kek,
            kek_epoch: row.kek_epoch,
            record,
            blobs,
        })
    }

    async fn padding_blobs(
        &self,
        decided: &Decided,
        opened: &OpenedUpload,
        size: u64,
        debris: &mut Debris,
    ) -> Result<Vec<BlobEntry>, VaultError> {
        let padding = self.padding_of(opened.row.class_code, size)?;
        if padding == 0 {
            return Ok(Vec::new());
        }
        let cut = self.cut_of(0, padding)?;
        let mut feed = Feed::new(Nothing);
        match self
            .cut(decided, &mut feed, &opened.sealing, &cut, PADDING_ORDINAL, debris, Held::OneBlob)
            .await
        {
            Ok(entries) => Ok(entries),
            Err(WriteError::Vault(error)) => Err(error),
            Err(WriteError::Body(never)) => match never {},
        }
    }

    /// `None` once committed; what an earlier Complete committed if there was one.
    async fn commit_complete(
        &self,
        upload: UploadId,
        tags: Vec<(u16, ETag)>,
        new: NewVersion,
        precondition: Precondition,
    ) -> Result<Option<CompletedUpload>, VaultError> {
        const COMMITS_MAX: usize = 3;
        for _ in 0..COMMITS_MAX {
            let now = self.parts.clock.now();
            let commit = self.parts.index.complete_upload(
                upload,
                tags.clone(),
                new.clone(),
                precondition.clone(),
                now,
            );
            return match commit.await {
                Ok(CompleteOutcome::Completed { .. }) => Ok(None),
                Ok(CompleteOutcome::AlreadyCompleted(done))
                    if done.version == new.version && done.etag == new.etag =>
                {
                    Ok(None)
                }
                Ok(CompleteOutcome::AlreadyCompleted(done)) => Ok(Some(*done)),
                Ok(CompleteOutcome::InvalidPart { number }) => Err(VaultError::InvalidPart { number }),
                Ok(CompleteOutcome::PreconditionFailed) => Err(VaultError::PreconditionFailed),
                Ok(CompleteOutcome::NoSuchKey) => Err(VaultError::NoSuchKey),
                Ok(CompleteOutcome::NoUpload) => Err(VaultError::NoSuchUpload),
                Ok(CompleteOutcome::NoBucket) => Err(VaultError::NoSuchBucket),
                Ok(CompleteOutcome::NotYours) => Err(VaultError::NotYours),
                Err(IndexError::Ambiguous) => continue,
                Err(error) => Err(error.into()),
            };
        }
        Err(IndexError::Ambiguous.into())
    }
}

/// The answer of an earlier Complete, given again.
fn replayed(done: CompletedUpload) -> Result<Written, VaultError> {
    let row = done.row.ok_or(VaultError::NoSuchUpload)?;
    Ok(Written {
        version: done.version,
        etag: done.etag,
        class: row.class.clone(),
        kms_key_id: key_id_of(&row),
        checksums: Vec::new(),
    })
}

/// A part that was named and found.
struct Chosen {
    row: PartRow,
    entries: Vec<BlobEntry>,
    checksums: Vec<Checksum>,
}

impl Chosen {
    fn whole(&self) -> Whole {
        Whole { size_bytes: self.row.size, checksums: self.checksums.clone() }
    }

    fn part(&self) -> Part {
        Part {
            number: self.row.number,
            plaintext_bytes: self.row.size,
            checksums: self.checksums.iter().map(to_sealed).collect(),
        }
    }
}

/// The source of padding: no clear bytes at all.
struct Nothing;

impl Source for Nothing {
    type Error = Infallible;

    fn clear_bytes(&self) -> u64 {
        0
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Infallible> {
        Ok(None)
    }

    fn verified(&mut self) -> Vec<Checksum> {
        Vec::new()
    }
}
