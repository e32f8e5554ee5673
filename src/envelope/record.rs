//! Sealing what surrounds the bodies: clear header, locator, wrapped data key, commitment, root.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::body::SealedBody;
use super::cipher::seal_small;
use super::derive::derive;
use super::error::{EnvelopeError, Random};
use super::header::{Binding, Header, Kind};
use super::keys::{Dek, Kek, SubjectKey};
use super::labels::{
    COMMITMENT_BYTES, HEADER_BYTES, KEY_BYTES, LABEL_WRAP, LABEL_WRAP_SUBJECT, PAD_MULTIPLE_BYTES,
    PAGE_ENTRIES_MAX, PAGES_MAX, ROOT_BYTES_MAX, SEAL_OVERHEAD_BYTES, WRAP_BYTES,
};
use super::locator::{Locator, seal_locator};
use super::manifest::{BlobEntry, Blobs, Manifest, Root, Totals};
use super::manifest_codec::{decode_root, encode_root};
use super::pages::{PageDescriptor, PageTable, pages_bytes, seal_pages};
use super::sealed::{Record, Sealed};

/// A version sealed: the blob to store, and the record for the index.
#[derive(Clone, Debug)]
pub struct SealedVersion {
    /// The record's blob, with the body behind it or the pages.
    pub blob: Sealed,
    /// The record alone.
    pub record: Record,
    /// What the manifest says.
    pub root: Root,
}

/// Everything a version's blobs are sealed with.
#[derive(Clone, Copy, Debug)]
pub struct Sealer<'a> {
    /// The version's data key, and with it what everything is bound to.
    pub dek: &'a Dek,
    /// The KEK that wraps it.
    pub kek: &'a Kek,
    /// The subject's key, if the class asks for one.
    pub subject_key: Option<&'a SubjectKey>,
    /// What the blobs are the bytes of.
    pub locator: &'a Locator,
}

impl Sealer<'_> {
    /// Room in front of a body for a body blob's head; for a one-blob version's record too if `manifest` is given. More
    /// metadata than `manifest` has may be sealed in the end: then the body is copied once.
    pub fn headroom_bytes(&self, manifest: Option<&Manifest>) -> usize {
        let head = HEADER_BYTES + self.locator.sealed_bytes();
        let Some(manifest) = manifest else { return head };
        let user: usize =
            manifest.user_metadata.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let content = &manifest.content;
        let texts = [
            &content.content_type,
            &content.content_encoding,
            &content.content_disposition,
            &content.content_language,
            &content.cache_control,
            &content.expires,
        ];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len() + 6).sum();
        // Fixed fields, one entry, entity tag, five checksums: below two multiples.
        let root = (2 * PAD_MULTIPLE_BYTES + user + texts).next_multiple_of(PAD_MULTIPLE_BYTES)
            + SEAL_OVERHEAD_BYTES;
        head + WRAP_BYTES + COMMITMENT_BYTES + root
    }

    /// Seals a version of one blob: its record, and behind it `body`, whose ordinal must be 0.
    pub fn version_with_body(
        &self,
        manifest: Manifest,
        body: SealedBody,
        random: &mut Random<'_>,
    ) -> Result<SealedVersion, EnvelopeError> {
        self.check_body(&body)?;
        let entry = body.entry_at(0)?;
        if entry.ordinal != 0 {
            return Err(EnvelopeError::InvalidHeader { field: "ordinal" });
        }
        let class = self.dek.binding().class;
        let mut root = inline_root(manifest, vec![entry])?;
        // The entry's offset is the record's length; it has a fixed width, so the length does not depend on it.
        let root_bytes = encode_root(&root, class)?.len() + SEAL_OVERHEAD_BYTES;
        let header = self.header(
            Kind::RecordAndBody,
            entry.blob,
            0,
            Lengths { root_bytes, pages: 0, body: body.body_bytes() },
        )?;
        let offset = usize::try_from(header.record_bytes()).unwrap_or(usize::MAX);
        root.blobs = Blobs::Inline(vec![body.entry_at(offset)?]);
        let record = self.record(&header, &root, random)?;
        let record_bytes = record.len();
        let bytes = body.behind(&record);
        let record = Record::new(bytes.slice(..record_bytes));
        Ok(SealedVersion { blob: Sealed::new(bytes, &header)?, record, root })
    }

    /// Seals the record of a version whose bodies `entries` are stored already, as the blob `blob`. Ordinals must ascend.
    /// More than [`PAGE_ENTRIES_MAX`] entries go to pages behind the record.
    pub fn version(
        &self,
        blob: [u8; 16],
        manifest: Manifest,
        entries: Vec<BlobEntry>,
        random: &mut Random<'_>,
    ) -> Result<SealedVersion, EnvelopeError> {
        let entries_per_page = if entries.len() > PAGE_ENTRIES_MAX { PAGE_ENTRIES_MAX } else { 0 };
        self.version_paged(blob, manifest, entries, u16::try_from(entries_per_page).unwrap_or(0), random)
    }

    /// As [`Sealer::version`], with pages of `entries_per_page` (at most [`PAGE_ENTRIES_MAX`]); 0 for entries in the root.
    pub fn version_paged(
        &self,
        blob: [u8; 16],
        manifest: Manifest,
        entries: Vec<BlobEntry>,
        entries_per_page: u16,
        random: &mut Random<'_>,
    ) -> Result<SealedVersion, EnvelopeError> {
        let most =
            if entries_per_page == 0 { PAGE_ENTRIES_MAX } else { PAGES_MAX * usize::from(entries_per_page) };
        if entries.len() > most || usize::from(entries_per_page) > PAGE_ENTRIES_MAX {
            return Err(EnvelopeError::LimitExceeded { what: "blobs" });
        }
        let mut root = inline_root(manifest, entries)?;
        let mut pages = Vec::new();
        if entries_per_page > 0 {
            root = self.page_out(root, entries_per_page, &mut pages, random)?;
        }
        let class = self.dek.binding().class;
        let root_bytes = encode_root(&root, class)?.len() + SEAL_OVERHEAD_BYTES;
        let header =
            self.header(Kind::Record, blob, 0, Lengths { root_bytes, pages: pages.len(), body: 0 })?;
        if let Blobs::Paged(table) = &mut root.blobs {
            table.first_offset = header.record_bytes();
        }
        let mut bytes = self.record(&header, &root, random)?;
        let record_bytes = bytes.len();
        bytes.append(&mut pages);
        let bytes = Bytes::from(bytes);
        let record = Record::new(bytes.slice(..record_bytes));
        Ok(SealedVersion { blob: Sealed::new(bytes, &header)?, record, root })
    }

    /// Puts the head of a body blob in front of `body`: one of several of a version, or of an upload's part.
    pub fn body(
        &self,
        body: SealedBody,
        random: &mut Random<'_>,
    ) -> Result<(Sealed, BlobEntry), EnvelopeError> {
        self.check_body(&body)?;
        let entry = body.entry_at(HEADER_BYTES + self.locator.sealed_bytes())?;
        let lengths = Lengths { root_bytes: 0, pages: 0, body: body.body_bytes() };
        let header = self.header(Kind::Body, entry.blob, entry.ordinal, lengths)?;
        let head = self.front(&header, random)?;
        Ok((Sealed::new(body.behind(&head), &header)?, entry))
    }

    /// Seals an upload record: the data key that parts are sealed under before there is a version record.
    pub fn upload(&self, blob: [u8; 16], random: &mut Random<'_>) -> Result<(Sealed, Record), EnvelopeError> {
        let header = self.header(Kind::Upload, blob, 0, Lengths::default())?;
        let mut bytes = self.front(&header, random)?;
        self.wrap(&header, &mut bytes, random)?;
        let bytes = Bytes::from(bytes);
        Ok((Sealed::new(bytes.clone(), &header)?, Record::new(bytes)))
    }

    fn check_body(&self, body: &SealedBody) -> Result<(), EnvelopeError> {
        if *body.version() == self.dek.binding().version { Ok(()) } else { Err(EnvelopeError::WrongVersion) }
    }

    fn header(
        &self,
        kind: Kind,
        blob: [u8; 16],
        ordinal: u32,
        lengths: Lengths,
    ) -> Result<Header, EnvelopeError> {
        let length = |bytes: usize| super::codec::length_u32(bytes, "blob");
        if lengths.root_bytes > ROOT_BYTES_MAX {
            return Err(EnvelopeError::LimitExceeded { what: "manifest" });
        }
        Ok(Header {
            kind,
            binding: *self.dek.binding(),
            kek_id: *self.kek.id(),
            kek_epoch: self.kek.epoch(),
            wrapping_version: self.kek.wrapping_version(),
            subject_key_id: self.subject_key.map(|key| *key.id()),
            blob,
            ordinal,
            locator_bytes: length(self.locator.sealed_bytes())?,
            root_bytes: length(lengths.root_bytes)?,
            pages_bytes: length(lengths.pages)?,
            body_bytes: length(lengths.body)?,
        })
    }

    /// Header and locator.
    fn front(&self, header: &Header, random: &mut Random<'_>) -> Result<Vec<u8>, EnvelopeError> {
        let header_bytes = header.to_bytes();
        let mut bytes = Vec::with_capacity(usize::try_from(header.record_bytes()).unwrap_or(HEADER_BYTES));
        bytes.extend_from_slice(&header_bytes);
        bytes.append(&mut seal_locator(self.kek, header, &header_bytes, self.locator, random)?);
        Ok(bytes)
    }

    /// Appends the wrapped data key, bound to all of `bytes`, and the commitment to it.
    fn wrap(
        &self,
        header: &Header,
        bytes: &mut Vec<u8>,
        random: &mut Random<'_>,
    ) -> Result<(), EnvelopeError> {
        let key = wrap_key(self.kek, self.subject_key, &header.binding)?;
        let mut wrapped = seal_small(&key, bytes, self.dek.raw().to_vec(), random)?;
        bytes.append(&mut wrapped);
        bytes.extend_from_slice(&self.dek.commitment()?);
        Ok(())
    }

    fn record(
        &self,
        header: &Header,
        root: &Root,
        random: &mut Random<'_>,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let mut bytes = self.front(header, random)?;
        self.wrap(header, &mut bytes, random)?;
        let clear = encode_root(root, header.binding.class)?;
        // A record that its readers would refuse must not be written: the writer reads it first.
        if decode_root(&clear, header)? != *root {
            return Err(EnvelopeError::InvalidManifest { field: "structure" });
        }
        let mut sealed = seal_small(&*self.dek.root_key()?, &bytes, clear, random)?;
        bytes.append(&mut sealed);
        Ok(bytes)
    }

    fn page_out(
        &self,
        root: Root,
        entries_per_page: u16,
        pages: &mut Vec<u8>,
        random: &mut Random<'_>,
    ) -> Result<Root, EnvelopeError> {
        let Blobs::Inline(entries) = &root.blobs else { return Ok(root) };
        let descriptors: Vec<PageDescriptor>;
        (*pages, descriptors) = seal_pages(self.dek, entries, entries_per_page, random)?;
        debug_assert_eq!(pages.len() as u64, pages_bytes(root.blob_count, entries_per_page));
        let table =
            PageTable { entries_per_page, pages: descriptors, blob_count: root.blob_count, first_offset: 0 };
        Ok(Root { blobs: Blobs::Paged(table), ..root })
    }
}

/// Lengths of the parts of a blob that vary.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths {
    root_bytes: usize,
    pages: usize,
    body: usize,
}

/// The key a DEK is wrapped under: from the KEK alone, or from the KEK and the subject's key.
pub(super) fn wrap_key(
    kek: &Kek,
    subject_key: Option<&SubjectKey>,
    binding: &Binding,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, EnvelopeError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let context = binding.context();
    match subject_key {
        None => derive(&[kek.key()], &binding.version, &[LABEL_WRAP, &[0], &context], key.as_mut())?,
        Some(subject) => {
            let (ikm, info) = ([kek.key().as_slice(), subject.key()], [LABEL_WRAP_SUBJECT, &[0], &context]);
            derive(&ikm, &binding.version, &info, key.as_mut())?;
        }
    }
    Ok(key)
}

fn inline_root(manifest: Manifest, entries: Vec<BlobEntry>) -> Result<Root, EnvelopeError> {
    let blob_count = super::codec::length_u32(entries.len(), "blobs")?;
    if blob_count == 0 {
        return Err(EnvelopeError::InvalidManifest { field: "blob count" });
    }
    let Totals { plaintext_bytes, padding_bytes } = Totals::of(&entries)?;
    Ok(Root { manifest, plaintext_bytes, padding_bytes, blob_count, blobs: Blobs::Inline(entries) })
}
