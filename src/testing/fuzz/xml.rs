//! The documents that clients send: any bytes are refused or read within the limits, and what was read reads the same when it
//! is written again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::escape;
use crate::model::{Checksum, ChecksumAlgorithm};
use crate::s3::xml::{CompletedPart, Delete, complete_multipart_upload, delete, location_constraint};

/// Keys of one `Delete`, and parts of one upload (S3 API reference).
const KEYS_MAX: usize = 1000;
const PARTS_MAX: usize = 10_000;

/// Reads `data` as each of the three documents.
pub fn xml(data: &[u8]) {
    if let Ok(Some(constraint)) = location_constraint(data) {
        assert!(!constraint.is_empty() && constraint.len() <= data.len(), "a constraint out of nothing");
        let inside = format!("<LocationConstraint>{}</LocationConstraint>", escape(&constraint));
        let written = format!("<CreateBucketConfiguration>{inside}</CreateBucketConfiguration>");
        let again = location_constraint(written.as_bytes());
        assert!(again == Ok(Some(constraint)), "a location constraint reads otherwise when written again");
    }
    if let Ok(read) = delete(data) {
        assert!((1..=KEYS_MAX).contains(&read.keys.len()), "{} keys", read.keys.len());
        assert!(read.keys.iter().all(|key| (1..=1024).contains(&key.key.as_bytes().len())), "a key's length");
        let again = delete(written_delete(&read).as_bytes()).expect("our own document");
        assert!(keys_of(&again) == keys_of(&read) && again.quiet == read.quiet, "other keys are deleted");
    }
    if let Ok(read) = complete_multipart_upload(data) {
        assert!((1..=PARTS_MAX).contains(&read.len()), "{} parts", read.len());
        assert!(read.windows(2).all(|pair| pair[0].number < pair[1].number), "parts out of order");
        assert!(read.iter().all(|part| (1..=10_000).contains(&part.number)), "a part's number");
        let again = complete_multipart_upload(written_parts(&read).as_bytes()).expect("our own document");
        assert!(again == read, "other parts are completed");
    }
}

/// Keys in their order, and whether each one is refused.
fn keys_of(read: &Delete) -> Vec<(&str, bool)> {
    read.keys.iter().map(|key| (key.key.as_str(), key.refusal.is_some())).collect()
}

fn written_delete(read: &Delete) -> String {
    let objects = keys_of(read).into_iter().map(|(key, is_refused)| {
        let version = if is_refused { "<VersionId>v1</VersionId>" } else { "" };
        format!("<Object><Key>{}</Key>{version}</Object>", escape(key))
    });
    format!("<Delete>{}<Quiet>{}</Quiet></Delete>", objects.collect::<String>(), read.quiet)
}

fn written_parts(read: &[CompletedPart]) -> String {
    let parts = read.iter().map(|part| {
        let sum = part.checksum.as_ref().map(sum_element).unwrap_or_default();
        // The quotes are not part of the tag; without them a tag could lose its own, or its spaces.
        let etag = escape(&part.etag);
        format!("<Part><PartNumber>{}</PartNumber><ETag>\"{etag}\"</ETag>{sum}</Part>", part.number)
    });
    format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>())
}

fn sum_element(sum: &Checksum) -> String {
    let name = match sum.algorithm {
        ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
        ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
        ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
        ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
        ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
    };
    format!("<{name}>{}</{name}>", STANDARD.encode(&sum.digest))
}
