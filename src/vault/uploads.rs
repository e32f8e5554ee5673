//! Multipart uploads: one version identity and data key from Create on; parts sealed as they come; Complete joins lists.
//!
//! A part is a list of body blobs under the upload's data key. Completing seals a version record that lists the chosen
//! parts' blobs in order, so no byte is copied, and an older attempt of a part cannot be spliced in: its blobs are not the
//! ones listed. What the index keeps of an upload and its parts beside names and sizes is sealed.

mod complete;
mod descriptor;
mod recent;

use bytes::Bytes;

use crate::index::{
    self, AbortOutcome, CreateUpload, ListParts, ListUploads, PartsPage, PutPart, UploadLookup, UploadsPage,
};
use crate::model::{
    BlobId, BucketName, Checksum, ChecksumAlgorithm, ChecksumKind, ClassId, ETag, ObjectKey, ObjectMeta,
    TenantCode, UploadId,
};

use super::cut::{Feed, Held};
use super::debris::Debris;
use super::sealing::{Sealing, new_blobs, random};
use super::source::Source;
use super::{Decided, Vault, VaultError, WriteError};
use crate::envelope::{BlobEntry, Closed, OpenUpload};

pub use complete::{ChosenPart, Completion, Whole};
use descriptor::{PartDescriptor, UploadDescriptor};
pub(super) use recent::RecentUploads;

/// Blobs a part may have: 5 GiB in blobs of 64 KiB. Part `n` has the ordinals from `n · 2^17` on, so that ordinals ascend
/// with part numbers (at most 10,000 · 2^17 < 2^32).
const ORDINALS_PER_PART: u32 = 1 << 17;

/// Parts whose rows are in memory at a time: 79 trips to the index for the 10,000 that an upload may have.
const PARTS_AT_ONCE: u16 = 128;

/// Descriptors opened before others' work comes between: a millisecond's, if they are of many blobs.
const OPENED_AT_ONCE: usize = 16;

/// The largest part (S3 User Guide, "Multipart upload limits"): 5 GiB.
pub(super) const PART_BYTES_MAX: u64 = 5 << 30;

/// An upload to be begun.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// Into which bucket.
    pub bucket: BucketName,
    /// Under which key.
    pub key: ObjectKey,
    /// What is sealed with the record.
    pub meta: ObjectMeta,
    /// The person concerned, if the writer says.
    pub subject: Option<String>,
    /// Which checksum the client announced for the parts and the whole.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// What is known of an open upload.
#[derive(Clone, Debug)]
pub struct UploadFacts {
    /// Its class, fixed when it began.
    pub class: ClassId,
    /// Which key seals it, as clients are told.
    pub kms_key_id: String,
    /// The checksum announced.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// A part that is stored.
#[derive(Clone, Debug)]
pub struct PartWritten {
    /// Its entity tag.
    pub etag: ETag,
    /// The upload's class.
    pub class: ClassId,
    /// The client's checksums, verified.
    pub checksums: Vec<Checksum>,
    /// Which key sealed it, as clients are told.
    pub kms_key_id: String,
}

/// An upload opened for work on it.
struct OpenedUpload {
    row: index::Upload,
    sealing: Sealing,
    descriptor: UploadDescriptor,
}

impl Vault {
    /// Begins an upload: fixes version, data key and class.
    pub async fn create_upload(
        &self,
        decided: &Decided,
        new: NewUpload,
    ) -> Result<(UploadId, UploadFacts), VaultError> {
        let (class, code) = decided.class().cloned().ok_or(VaultError::Interrupted)?;
        let sealing =
            self.seal_under(decided, &class, code, &new.bucket, &new.key, new.subject.as_deref()).await?;
        let upload = UploadId::random(self.entropy())?;
        let record_name = BlobId::random(self.entropy())?;
        let (_, record) = sealing
            .sealer()
            .upload(*record_name.as_bytes(), &mut random(self.entropy()))
            .map_err(VaultError::Seal)?;
        let descriptor = UploadDescriptor::new(&new.meta, new.subject.as_deref(), new.checksum);
        let metadata = descriptor.seal(&sealing, upload, self.entropy())?;
        let row = index::NewUpload {
            upload,
            version: sealing.version,
            tenant: decided.tenant_code(),
            bucket: new.bucket,
            key: new.key,
            class: class.clone(),
            class_code: code,
            kek: sealing.handle.id(),
            kek_epoch: sealing.handle.epoch(),
            created: self.parts.clock.now(),
            record: record.into_bytes(),
            metadata,
        };
        let facts = UploadFacts { class, kms_key_id: sealing.kms_key_id(), checksum: new.checksum };
        match self.parts.index.create_upload(row).await? {
            CreateUpload::Created => Ok((upload, facts)),
            CreateUpload::TooMany => Err(VaultError::TooManyUploads),
            CreateUpload::NoBucket => Err(VaultError::NoSuchBucket),
            CreateUpload::NotYours => Err(VaultError::NotYours),
        }
    }

    /// The class of a tenant's upload: part of the question that placement answers, so it is asked before there is a
    /// decision. Reads one row and changes nothing.
    pub async fn upload_class(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<ClassId, VaultError> {
        match self.parts.index.upload(tenant, bucket, key, upload).await? {
            UploadLookup::Open(row) => {
                self.recent.remember(&row);
                Ok(row.class)
            }
            UploadLookup::Completed(done) => Ok(done.class),
            UploadLookup::NoUpload => Err(VaultError::NoSuchUpload),
            UploadLookup::NoBucket => Err(VaultError::NoSuchBucket),
            UploadLookup::NotYours => Err(VaultError::NotYours),
        }
    }

    /// Stores a part; an earlier attempt of the same number is replaced and its blobs reclaimed.
    pub async fn put_part<S: Source>(
        &self,
        decided: &Decided,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
        number: u16,
        source: S,
    ) -> Result<PartWritten, WriteError<S::Error>> {
        let opened = self.opened_upload(decided, bucket, key, upload).await?;
        if source.clear_bytes() > PART_BYTES_MAX {
            return Err(VaultError::TooLarge.into());
        }
        let size = source.clear_bytes();
        let mut feed = Feed::new(source);
        let mut debris = Debris::of(decided.tenant_code(), &self.sweeper);
        let cut = self.cut_of(size, 0)?;
        let first = u32::from(number) * ORDINALS_PER_PART;
        let entries =
            self.cut(decided, &mut feed, &opened.sealing, &cut, first, &mut debris, Held::Nothing).await?;
        let checksums = feed.verified().await?;
        let etag = ETag::random(self.entropy()).map_err(VaultError::Entropy)?;
        let descriptor = PartDescriptor::new(&entries, &checksums).seal(
            &opened.sealing,
            upload,
            number,
            &etag,
            self.entropy(),
        )?;
        let part = index::NewPart {
            upload,
            number,
            etag: etag.clone(),
            size,
            modified: self.parts.clock.now(),
            descriptor,
            blobs: new_blobs(&entries),
        };
        let now = self.parts.clock.now();
        let stored = self.parts.index.put_part(decided.tenant_code(), bucket, key, part, now).await;
        match stored.map_err(VaultError::Index)? {
            PutPart::Stored { .. } => debris.keep(),
            PutPart::NoUpload => return Err(VaultError::NoSuchUpload.into()),
            PutPart::NoBucket => return Err(VaultError::NoSuchBucket.into()),
            PutPart::NotYours => return Err(VaultError::NotYours.into()),
        }
        Ok(PartWritten { etag, class: opened.row.class, checksums, kms_key_id: opened.sealing.kms_key_id() })
    }

    /// Gives an upload up; its parts' blobs are reclaimed.
    pub async fn abort_upload(
        &self,
        decided: &Decided,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<(), VaultError> {
        let now = self.parts.clock.now();
        match self.parts.index.abort_upload(decided.tenant_code(), bucket, key, upload, now).await? {
            AbortOutcome::Aborted => Ok(()),
            AbortOutcome::NoUpload | AbortOutcome::AlreadyCompleted => Err(VaultError::NoSuchUpload),
            AbortOutcome::NoBucket => Err(VaultError::NoSuchBucket),
            AbortOutcome::NotYours => Err(VaultError::NotYours),
        }
    }

    /// A page of an upload's parts after number `after`, with their verified checksums, and without their descriptors: those are read
    /// and opened a few at a time.
    pub async fn parts(
        &self,
        decided: &Decided,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
        after: u16,
        limit: u16,
    ) -> Result<(PartsPage, Vec<Vec<Checksum>>, UploadFacts), VaultError> {
        let opened = self.opened_upload(decided, bucket, key, upload).await?;
        let tenant = decided.tenant_code();
        let (mut listed, mut checksums) = (PartsPage::default(), Vec::new());
        let (mut after, mut left) = (after, limit);
        loop {
            let some = left.min(PARTS_AT_ONCE);
            let page = match self.parts.index.list_parts(tenant, bucket, key, upload, after, some).await? {
                ListParts::Page(page) => page,
                ListParts::NoUpload => return Err(VaultError::NoSuchUpload),
                ListParts::NoBucket => return Err(VaultError::NoSuchBucket),
                ListParts::NotYours => return Err(VaultError::NotYours),
            };
            listed.more = page.more;
            for (place, mut part) in page.parts.into_iter().enumerate() {
                if place % OPENED_AT_ONCE == 0 {
                    // Each is a decryption and a JSON document: others' requests come between.
                    tokio::task::yield_now().await;
                }
                let sealed = std::mem::take(&mut part.descriptor);
                checksums.push(PartDescriptor::open(&sealed, &opened.sealing, upload, &part)?.checksums());
                (after, left) = (part.number, left.saturating_sub(1));
                listed.parts.push(part);
            }
            if !listed.more || left == 0 {
                break;
            }
        }
        let facts = UploadFacts {
            class: opened.row.class.clone(),
            kms_key_id: opened.sealing.kms_key_id(),
            checksum: opened.descriptor.checksum(),
        };
        Ok((listed, checksums, facts))
    }

    /// A page of a bucket's open uploads.
    pub async fn uploads(
        &self,
        decided: &Decided,
        bucket: &BucketName,
        prefix: &str,
        after: Option<(&str, Option<UploadId>)>,
        limit: u16,
    ) -> Result<UploadsPage, VaultError> {
        match self.parts.index.list_uploads(decided.tenant_code(), bucket, prefix, after, limit).await? {
            ListUploads::Page(page) => Ok(page),
            ListUploads::NoBucket => Err(VaultError::NoSuchBucket),
            ListUploads::NotYours => Err(VaultError::NotYours),
        }
    }

    async fn opened_upload(
        &self,
        decided: &Decided,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<OpenedUpload, VaultError> {
        if let Some(row) = self.recent.take(decided.tenant_code(), (bucket, key), upload) {
            return self.open_upload_row(decided, row).await;
        }
        match self.parts.index.upload(decided.tenant_code(), bucket, key, upload).await? {
            UploadLookup::Open(row) => self.open_upload_row(decided, *row).await,
            UploadLookup::Completed(_) | UploadLookup::NoUpload => Err(VaultError::NoSuchUpload),
            UploadLookup::NoBucket => Err(VaultError::NoSuchBucket),
            UploadLookup::NotYours => Err(VaultError::NotYours),
        }
    }

    async fn open_upload_row(
        &self,
        decided: &Decided,
        row: index::Upload,
    ) -> Result<OpenedUpload, VaultError> {
        let (_, sealing) = self.open_upload_record(decided.tenant_code(), &row).await?;
        let descriptor = UploadDescriptor::open(&row.metadata, &sealing, row.upload)?;
        Ok(OpenedUpload { row, sealing, descriptor })
    }

    /// Opens an upload's record out of its index row.
    pub(super) async fn open_upload_record(
        &self,
        tenant: TenantCode,
        row: &index::Upload,
    ) -> Result<(OpenUpload, Sealing), VaultError> {
        let treatment = self.parts.classes.treatment_named(row.class_code, &row.class)?;
        let handle = self.kek_of(tenant, &treatment.kek, row.kek, row.kek_epoch).await?;
        let kek = handle.to_envelope();
        let expected = self.expected(tenant, row.class_code, row.version)?;
        let open = Closed::record(&row.record)
            .and_then(|closed| closed.locate(&expected, &kek))
            .and_then(|located| located.confirm(row.bucket.as_str(), row.key.as_bytes()))
            .and_then(|confirmed| confirmed.open_upload(&kek, None))
            .map_err(VaultError::opening)?;
        let (dek, locator) = (open.dek.clone(), open.locator.clone());
        Ok((open, Sealing { version: row.version, dek, kek, handle, locator }))
    }

    /// The bodies of the newest attempt at a part; none if there is no such part.
    pub(super) async fn part_entries(
        &self,
        sealing: &Sealing,
        upload: UploadId,
        number: u16,
    ) -> Result<Vec<BlobEntry>, VaultError> {
        let rows = self.parts.index.parts(upload, &[number]).await?;
        let Some(row) = rows.first() else { return Ok(Vec::new()) };
        PartDescriptor::open(&row.descriptor, sealing, upload, row)?.entries()
    }
}

/// Bytes that the index keeps sealed.
type SealedField = Bytes;
