//! What the index keeps, sealed, of an upload and of each part until the upload is completed: JSON in a sealed field.
//!
//! Bound to upload, part number and entity tag, so that an index writer cannot give one part's blobs to another.

use serde::{Deserialize, Serialize};

use crate::envelope::{BlobEntry, FieldKey, FloeHeader};
use crate::index::PartRow;
use crate::model::{
    Checksum, ChecksumAlgorithm, ChecksumKind, ContentHeaders, ETag, Entropy, ObjectMeta, UploadId,
    UserMetadata,
};

use super::super::VaultError;
use super::super::sealing::{Sealing, random};
use super::SealedField;

const PURPOSE: &str = "upload";

/// What was said when the upload began.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadDescriptor {
    content: [Option<String>; 6],
    user: Vec<(String, String)>,
    subject: Option<String>,
    checksum: Option<(u8, u8)>,
}

impl UploadDescriptor {
    pub(super) fn new(
        meta: &ObjectMeta,
        subject: Option<&str>,
        checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    ) -> Self {
        let content = meta.content.clone();
        Self {
            content: [
                content.content_type,
                content.content_encoding,
                content.content_disposition,
                content.content_language,
                content.cache_control,
                content.expires,
            ],
            user: meta.user.0.clone(),
            subject: subject.map(str::to_owned),
            checksum: checksum.map(|(algorithm, kind)| (algorithm_code(algorithm), kind_code(kind))),
        }
    }

    pub(super) fn meta(&self) -> ObjectMeta {
        let [content_type, content_encoding, content_disposition, content_language, cache_control, expires] =
            self.content.clone();
        let content = ContentHeaders {
            content_type,
            content_encoding,
            content_disposition,
            content_language,
            cache_control,
            expires,
        };
        ObjectMeta { content, user: UserMetadata(self.user.clone()), checksums: Vec::new() }
    }

    pub(super) fn checksum(&self) -> Option<(ChecksumAlgorithm, ChecksumKind)> {
        let (algorithm, kind) = self.checksum?;
        Some((algorithm_of(algorithm)?, kind_of(kind)?))
    }

    pub(super) fn seal(
        &self,
        sealing: &Sealing,
        upload: UploadId,
        entropy: &dyn Entropy,
    ) -> Result<SealedField, VaultError> {
        seal(self, sealing, &[b"upload", upload.as_bytes()], entropy)
    }

    pub(super) fn open(sealed: &[u8], sealing: &Sealing, upload: UploadId) -> Result<Self, VaultError> {
        open(sealed, sealing, &[b"upload", upload.as_bytes()])
    }
}

/// Where a part's bytes are, and which checksums of them were verified.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartDescriptor {
    entries: Vec<Entry>,
    checksums: Vec<(u8, String)>,
}

/// One [`BlobEntry`] as JSON carries it. Parts have no padding: it is added when the upload is completed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    blob: String,
    ordinal: u32,
    bytes: u32,
    offset: u32,
    floe: String,
}

impl PartDescriptor {
    pub(super) fn new(entries: &[BlobEntry], checksums: &[Checksum]) -> Self {
        let entries = entries
            .iter()
            .map(|entry| Entry {
                blob: hex::encode(entry.blob),
                ordinal: entry.ordinal,
                bytes: entry.plaintext_bytes,
                offset: entry.body_offset_bytes,
                floe: hex::encode(entry.floe_header.as_bytes()),
            })
            .collect();
        let checksums =
            checksums.iter().map(|c| (algorithm_code(c.algorithm), hex::encode(&c.digest))).collect();
        Self { entries, checksums }
    }

    pub(super) fn entries(&self) -> Result<Vec<BlobEntry>, VaultError> {
        let entry = |entry: &Entry| {
            let (mut blob, mut floe) = ([0; 16], [0; 74]);
            hex::decode_to_slice(&entry.blob, &mut blob).ok()?;
            hex::decode_to_slice(&entry.floe, &mut floe).ok()?;
            Some(BlobEntry {
                blob,
                ordinal: entry.ordinal,
                plaintext_bytes: entry.bytes,
                padding_bytes: 0,
                body_offset_bytes: entry.offset,
                floe_header: FloeHeader::from_bytes(floe),
            })
        };
        self.entries.iter().map(|e| entry(e).ok_or_else(malformed)).collect()
    }

    pub(super) fn checksums(&self) -> Vec<Checksum> {
        let checksum = |(algorithm, digest): &(u8, String)| {
            Some(Checksum {
                algorithm: algorithm_of(*algorithm)?,
                kind: ChecksumKind::FullObject,
                digest: hex::decode(digest).ok()?.into(),
            })
        };
        self.checksums.iter().filter_map(checksum).collect()
    }

    pub(super) fn seal(
        &self,
        sealing: &Sealing,
        upload: UploadId,
        number: u16,
        etag: &ETag,
        entropy: &dyn Entropy,
    ) -> Result<SealedField, VaultError> {
        let number = number.to_be_bytes();
        seal(self, sealing, &[b"part", upload.as_bytes(), &number, etag.as_str().as_bytes()], entropy)
    }

    pub(super) fn open(
        sealed: &[u8],
        sealing: &Sealing,
        upload: UploadId,
        row: &PartRow,
    ) -> Result<Self, VaultError> {
        let number = row.number.to_be_bytes();
        let bound: [&[u8]; 4] = [b"part", upload.as_bytes(), &number, row.etag.as_str().as_bytes()];
        let descriptor: Self = open(sealed, sealing, &bound)?;
        if descriptor.entries.iter().map(|entry| u64::from(entry.bytes)).sum::<u64>() == row.size {
            Ok(descriptor)
        } else {
            Err(VaultError::Corrupt {
                what: "a part's size disagrees with its sealed descriptor",
                source: None,
            })
        }
    }
}

fn seal(
    value: &impl Serialize,
    sealing: &Sealing,
    bound_to: &[&[u8]],
    entropy: &dyn Entropy,
) -> Result<SealedField, VaultError> {
    let clear = zeroize::Zeroizing::new(serde_json::to_vec(value).map_err(|_| malformed())?);
    let key = field_key(sealing)?;
    let bound = bound(sealing, bound_to);
    let sealed = key.seal(&bound, &clear, &mut random(entropy)).map_err(VaultError::Seal)?;
    Ok(sealed.into())
}

fn open<T: for<'de> Deserialize<'de>>(
    sealed: &[u8],
    sealing: &Sealing,
    bound_to: &[&[u8]],
) -> Result<T, VaultError> {
    let bound = bound(sealing, bound_to);
    let clear = field_key(sealing)?.open(&bound, sealed).map_err(VaultError::opening)?;
    serde_json::from_slice(&clear).map_err(|_| malformed())
}

fn bound<'a>(sealing: &'a Sealing, parts: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut bound: Vec<&[u8]> = vec![sealing.version.as_bytes()];
    bound.extend_from_slice(parts);
    bound
}

fn field_key(sealing: &Sealing) -> Result<FieldKey, VaultError> {
    FieldKey::derive(sealing.handle.key().expose(), PURPOSE).map_err(VaultError::Seal)
}

fn malformed() -> VaultError {
    VaultError::Corrupt { what: "an upload's descriptor is malformed", source: None }
}

fn algorithm_code(algorithm: ChecksumAlgorithm) -> u8 {
    match algorithm {
        ChecksumAlgorithm::Crc32 => 1,
        ChecksumAlgorithm::Crc32c => 2,
        ChecksumAlgorithm::Crc64Nvme => 3,
        ChecksumAlgorithm::Sha1 => 4,
        ChecksumAlgorithm::Sha256 => 5,
    }
}

fn algorithm_of(code: u8) -> Option<ChecksumAlgorithm> {
    ChecksumAlgorithm::ALL.into_iter().find(|algorithm| algorithm_code(*algorithm) == code)
}

fn kind_code(kind: ChecksumKind) -> u8 {
    match kind {
        ChecksumKind::FullObject => 1,
        ChecksumKind::Composite => 2,
    }
}

fn kind_of(code: u8) -> Option<ChecksumKind> {
    [ChecksumKind::FullObject, ChecksumKind::Composite].into_iter().find(|kind| kind_code(*kind) == code)
}
