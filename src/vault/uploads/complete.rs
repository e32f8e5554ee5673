//! Completing an upload: the chosen parts' lists joined under one sealed record.

use std::collections::HashMap;
use std::convert::Infallible;

use bytes::Bytes;

use crate::envelope::{self, BlobEntry};
use crate::index::{
    CompleteOutcome, CompletedUpload, IndexError, NewVersion, PartRow, Precondition, UploadLookup,
};
use crate::model::{BucketName, Checksum, ETag, ObjectKey, UploadId};

use super::super::cut::{Feed, HEAD_BYTES, Held, recordable};
use super::super::debris::Debris;
use super::super::memory::Lease;
use super::super::sealing::{kms_key_id, manifest_of, new_blobs, register_version, to_sealed};
use super::super::source::Source;
use super::super::write::Tries;
use super::super::{Decided, Vault, VaultError, WriteError, Written};
use super::descriptor::PartDescriptor;
use super::{OPENED_AT_ONCE, ORDINALS_PER_PART, OpenedUpload, PARTS_AT_ONCE, UploadFacts};

/// All parts but the last are at least this long (S3 User Guide, "Multipart upload limits"): 5 MiB.
const PART_BYTES_MIN: u64 = 5 << 20;

/// The longest object (same place): 5 TiB.
const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// Where padding blobs stand: behind every part there can be.
const PADDING_ORDINAL: u32 = 10_001 * ORDINALS_PER_PART;

/// What a blob takes until its list is stored: its entry, the same encoded, sealed, and on its way to the store, each some
/// 110 bytes, and the room by which a growing list is ahead.
const ENTRY_BYTES: u64 = 640;

/// What a part takes beside: as the client names it, as it was found, as the manifest says it, with a checksum each time.
const PART_BYTES: u64 = 1024;

/// A descriptor while it is open: sealed, clear, and decoded.
const DESCRIPTOR_TIMES: u64 = 4;

/// Memory taken for `parts` before their rows are read: enough for two blobs each, which is 16 MiB, and for the descriptors of
/// those that are open at a time.
fn first_guess_bytes(parts: usize) -> u64 {
    parts as u64 * (PART_BYTES + 2 * ENTRY_BYTES) + parts.min(PARTS_AT_ONCE.into()) as u64 * 4096
}

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

impl Completion {
    fn named(&self) -> impl Iterator<Item = (u16, &str)> {
        self.parts.iter().map(|part| (part.number, part.etag.as_str()))
    }
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
    /// A Complete repeated with the same parts gets the answer of the first; with others it is about an upload that is no more.
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
            UploadLookup::Completed(done) if done.is_of(completion.named()) => return Ok(replayed(*done)),
            UploadLookup::Completed(_) | UploadLookup::NoUpload => return Err(VaultError::NoSuchUpload),
            UploadLookup::NoBucket => return Err(VaultError::NoSuchBucket),
            UploadLookup::NotYours => return Err(VaultError::NotYours),
        };
        let opened = self.open_upload_row(decided, row).await?;
        let (chosen, _lease) = self.chosen_in_memory(decided, &opened, upload, &completion).await?;
        let facts = UploadFacts {
            class: opened.row.class.clone(),
            kms_key_id: opened.sealing.kms_key_id(),
            checksum: opened.descriptor.checksum(),
        };
        let parts: Vec<Whole> = chosen.parts.iter().map(Part::whole).collect();
        let checksums = whole(&facts, &parts)?;
        let tags = chosen.parts.iter().map(|part| (part.number, part.etag.clone())).collect();
        let mut debris = Debris::of(decided.tenant_code(), &self.sweeper);
        let new = self.joined(decided, &opened, chosen, &checksums, &mut debris).await?;
        let etag = new.etag.clone();
        let version = new.version;
        if let Some(done) = self.commit_complete(upload, tags, new, completion.precondition).await? {
            return Ok(replayed(done));
        }
        debris.keep();
        Ok(Written { version, etag, class: facts.class, kms_key_id: facts.kms_key_id, checksums })
    }

    /// [`Vault::chosen`] with memory for all that follows from it.
    ///
    /// How many blobs the parts have is known only when they are read, and whoever holds memory may not wait for more: so
    /// what was read is thrown away and begun again with more, at most a few times.
    async fn chosen_in_memory(
        &self,
        decided: &Decided,
        opened: &OpenedUpload,
        upload: UploadId,
        completion: &Completion,
    ) -> Result<(Chosen, Lease), VaultError> {
        let memory = &self.parts.memory;
        let padding = if self.treatment(opened.row.class_code)?.hides_length {
            self.parts.settings.blob_bytes_max + HEAD_BYTES
        } else {
            0
        };
        let mut bytes = padding + first_guess_bytes(completion.parts.len());
        loop {
            let lease = memory.lease_most(decided, bytes).await?;
            // Cut to what a tenant may hold at all: it is alone then, and no second try gives it more.
            let room = if lease.units() < bytes { u64::MAX } else { bytes - padding };
            match self.chosen(opened, upload, completion, room).await? {
                Some(chosen) => return Ok((chosen, lease)),
                None => bytes = bytes.saturating_mul(4),
            }
        }
    }

    /// The rows and sealed descriptors of the parts that were named, each checked against what the client says of it, a few at
    /// a time. `None` if they take more memory than `room_bytes`.
    async fn chosen(
        &self,
        opened: &OpenedUpload,
        upload: UploadId,
        completion: &Completion,
        room_bytes: u64,
    ) -> Result<Option<Chosen>, VaultError> {
        let named = &completion.parts;
        if named.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(VaultError::InvalidPartOrder);
        }
        let last = named.last().map(|part| part.number);
        let mut chosen = Chosen { parts: Vec::with_capacity(named.len()), entries: Vec::new() };
        for some in named.chunks(PARTS_AT_ONCE.into()) {
            let numbers: Vec<u16> = some.iter().map(|part| part.number).collect();
            let rows = self.parts.index.parts(upload, &numbers).await?;
            let descriptors: u64 = rows.iter().map(|row| row.descriptor.len() as u64).sum();
            let rows: HashMap<u16, &PartRow> = rows.iter().map(|row| (row.number, row)).collect();
            for (place, part) in some.iter().enumerate() {
                if place % OPENED_AT_ONCE == 0 {
                    // Each is a decryption and a JSON document: others' requests come between.
                    tokio::task::yield_now().await;
                }
                let row = rows.get(&part.number).copied();
                chosen.add(opened, upload, part, row, Some(part.number) == last)?;
            }
            // Before the rest of them takes memory.
            recordable(chosen.entries.len(), 0, self.parts.settings.blob_bytes_max)?;
            if chosen.memory_bytes() + DESCRIPTOR_TIMES * descriptors > room_bytes {
                return Ok(None);
            }
        }
        let total = chosen.size();
        if total > OBJECT_BYTES_MAX {
            return Err(VaultError::TooLarge);
        }
        let padding = self.padding_of(opened.row.class_code, total)?;
        recordable(chosen.entries.len(), padding, self.parts.settings.blob_bytes_max)?;
        if completion.size_bytes.is_some_and(|said| said != total) {
            return Err(VaultError::WholeMismatch { what: "length" });
        }
        Ok(Some(chosen))
    }

    /// Seals and stores the version record that lists the chosen parts' blobs, and padding behind them if the class hides
    /// lengths.
    async fn joined(
        &self,
        decided: &Decided,
        opened: &OpenedUpload,
        chosen: Chosen,
        checksums: &[Checksum],
        debris: &mut Debris,
    ) -> Result<NewVersion, VaultError> {
        let row = &opened.row;
        let size = chosen.size();
        let etag = ETag::random_multipart(self.entropy(), chosen.parts.len())?;
        let mut manifest = manifest_of(&opened.descriptor.meta(), &etag, register_version(decided));
        manifest.checksums = checksums.iter().map(to_sealed).collect();
        manifest.parts = chosen.parts.iter().map(Part::sealed).collect();
        let mut entries = chosen.entries;
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
        let mut tries = Tries::default();
        while tries.again() {
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
                Ok(CompleteOutcome::InvalidPart { number }) => {
                    Err(tries.refused(VaultError::InvalidPart { number }))
                }
                Ok(CompleteOutcome::PreconditionFailed) => Err(tries.refused(VaultError::PreconditionFailed)),
                Ok(CompleteOutcome::NoSuchKey) => Err(tries.refused(VaultError::NoSuchKey)),
                Ok(CompleteOutcome::NoUpload) => Err(tries.refused(VaultError::NoSuchUpload)),
                Ok(CompleteOutcome::NoBucket) => Err(tries.refused(VaultError::NoSuchBucket)),
                Ok(CompleteOutcome::NotYours) => Err(tries.refused(VaultError::NotYours)),
                Err(IndexError::Ambiguous) => continue,
                Err(error) => Err(error.into()),
            };
        }
        Err(IndexError::Ambiguous.into())
    }
}

/// The answer of an earlier Complete, given again whatever became of the record since.
fn replayed(done: CompletedUpload) -> Written {
    Written {
        version: done.version,
        etag: done.etag,
        class: done.class,
        kms_key_id: kms_key_id(done.kek, done.kek_epoch),
        checksums: Vec::new(),
    }
}

/// The parts that were named and found, and all their blobs in order.
struct Chosen {
    parts: Vec<Part>,
    entries: Vec<BlobEntry>,
}

/// A part that was named and found.
struct Part {
    number: u16,
    etag: ETag,
    size: u64,
    checksums: Vec<Checksum>,
}

impl Chosen {
    /// Adds a part, if `row` is what the client says of it.
    fn add(
        &mut self,
        opened: &OpenedUpload,
        upload: UploadId,
        named: &ChosenPart,
        row: Option<&PartRow>,
        is_last: bool,
    ) -> Result<(), VaultError> {
        let invalid = VaultError::InvalidPart { number: named.number };
        let row = row.filter(|row| row.etag.as_str() == named.etag);
        let Some(row) = row else { return Err(invalid) };
        let descriptor = PartDescriptor::open(&row.descriptor, &opened.sealing, upload, row)?;
        let checksums = descriptor.checksums();
        if let Some(said) = &named.checksum
            && !checksums.iter().any(|c| c.algorithm == said.algorithm && c.digest == said.digest)
        {
            return Err(invalid);
        }
        if row.size < PART_BYTES_MIN && !is_last {
            return Err(VaultError::PartTooSmall { number: named.number });
        }
        self.entries.extend(descriptor.entries()?);
        self.parts.push(Part { number: row.number, etag: row.etag.clone(), size: row.size, checksums });
        Ok(())
    }

    fn size(&self) -> u64 {
        self.parts.iter().map(|part| part.size).sum()
    }

    fn memory_bytes(&self) -> u64 {
        PART_BYTES * self.parts.len() as u64 + ENTRY_BYTES * self.entries.len() as u64
    }
}

impl Part {
    fn whole(&self) -> Whole {
        Whole { size_bytes: self.size, checksums: self.checksums.clone() }
    }

    fn sealed(&self) -> envelope::Part {
        envelope::Part {
            number: self.number,
            plaintext_bytes: self.size,
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
