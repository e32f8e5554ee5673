//! The checksums of S3: their names on the wire, their text form, and computing them while bytes stream by.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};

use crate::model::{Checksum, ChecksumAlgorithm, ChecksumKind};

use super::error::{Code, S3Error};

/// `x-amz-checksum-…` of an algorithm, for request, response and trailer.
pub(super) const fn header_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
        ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
        ChecksumAlgorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
        ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

/// The element that holds a checksum in documents.
pub(super) const fn element_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
        ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
        ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
        ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
        ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
    }
}

/// The algorithm's name as a value of `x-amz-checksum-algorithm` and `<ChecksumAlgorithm>`.
pub(super) const fn algorithm_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "CRC32",
        ChecksumAlgorithm::Crc32c => "CRC32C",
        ChecksumAlgorithm::Crc64Nvme => "CRC64NVME",
        ChecksumAlgorithm::Sha1 => "SHA1",
        ChecksumAlgorithm::Sha256 => "SHA256",
    }
}

/// The kind's name as a value of `x-amz-checksum-type` and `<ChecksumType>`.
pub(super) const fn kind_name(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::FullObject => "FULL_OBJECT",
        ChecksumKind::Composite => "COMPOSITE",
    }
}

/// Finds an algorithm by a name of [`algorithm_name`], in any case as S3 takes it.
pub(super) fn algorithm_named(name: &str) -> Option<ChecksumAlgorithm> {
    ChecksumAlgorithm::ALL.into_iter().find(|a| algorithm_name(*a).eq_ignore_ascii_case(name))
}

/// Finds an algorithm by a name of [`header_name`], in any case.
pub(super) fn algorithm_of_header(name: &str) -> Option<ChecksumAlgorithm> {
    ChecksumAlgorithm::ALL.into_iter().find(|a| header_name(*a).eq_ignore_ascii_case(name))
}

/// Reads a checksum over whole bytes: base64 of exactly the digest's length.
pub(super) fn parse(algorithm: ChecksumAlgorithm, text: &str) -> Result<Checksum, S3Error> {
    let digest = STANDARD.decode(text).ok().filter(|digest| digest.len() == algorithm.digest_bytes());
    let digest = digest.ok_or_else(|| {
        S3Error::because(
            Code::InvalidRequest,
            format!("Value for {} header is invalid.", header_name(algorithm)),
        )
    })?;
    Ok(Checksum { algorithm, kind: ChecksumKind::FullObject, digest: digest.into() })
}

/// Reads a checksum of a multipart object, where a `-parts` at the end makes it a composite one.
pub(super) fn parse_of_object(algorithm: ChecksumAlgorithm, text: &str) -> Result<Checksum, S3Error> {
    let Some((digest, parts)) = text.rsplit_once('-') else { return parse(algorithm, text) };
    if parts.is_empty() || !parts.bytes().all(|b| b.is_ascii_digit()) {
        return parse(algorithm, text);
    }
    Ok(Checksum { kind: ChecksumKind::Composite, ..parse(algorithm, digest)? })
}

/// The text form of a checksum, without the `-parts` of composite ones (which the model does not keep).
pub(super) fn to_text(checksum: &Checksum) -> String {
    STANDARD.encode(&checksum.digest)
}

/// Reads `Content-MD5`; [`Code::InvalidDigest`] if it is none.
pub(super) fn parse_md5(text: &[u8]) -> Result<[u8; 16], S3Error> {
    let digest = STANDARD.decode(text).ok().and_then(|digest| <[u8; 16]>::try_from(digest).ok());
    digest.ok_or_else(|| S3Error::because(Code::InvalidDigest, "The Content-MD5 you specified was invalid."))
}

/// One digest being computed.
pub(super) enum Digester {
    /// `Content-MD5`.
    Md5(Md5),
    /// CRC-32, CRC-32C or CRC-64/NVME, with the digest's length in bytes.
    Crc(Box<crc_fast::Digest>, usize),
    /// SHA-1 or SHA-256.
    Sha(digest::Context),
}

impl Digester {
    /// For `Content-MD5`.
    pub(super) fn md5() -> Self {
        Self::Md5(Md5::new())
    }

    /// For the payload's own digest in `x-amz-content-sha256`.
    pub(super) fn sha256() -> Self {
        Self::Sha(digest::Context::new(&digest::SHA256))
    }

    /// For a checksum.
    pub(super) fn of(algorithm: ChecksumAlgorithm) -> Self {
        let crc = |kind| Self::Crc(Box::new(crc_fast::Digest::new(kind)), algorithm.digest_bytes());
        match algorithm {
            ChecksumAlgorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Sha1 => Self::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            ChecksumAlgorithm::Sha256 => Self::sha256(),
        }
    }

    /// Takes in more bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(md5) => md5.update(bytes),
            Self::Crc(crc, _) => crc.update(bytes),
            Self::Sha(sha) => sha.update(bytes),
        }
    }

    /// The digest of everything taken in; CRCs big-endian as S3 writes them.
    pub(super) fn finish(self) -> Box<[u8]> {
        match self {
            Self::Md5(md5) => md5.finalize().as_slice().into(),
            Self::Crc(crc, bytes) => crc.finalize().to_be_bytes()[8 - bytes..].into(),
            Self::Sha(sha) => sha.finish().as_ref().into(),
        }
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_gives_its_published_check_value() {
        // The check values over "123456789" of the CRC catalogue; SHA digests from their RFCs' test programs.
        let cases = [
            (ChecksumAlgorithm::Crc32, "cbf43926"),
            (ChecksumAlgorithm::Crc32c, "e3069283"),
            (ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888"),
            (ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (ChecksumAlgorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ];
        for (algorithm, expected) in cases {
            let mut digester = Digester::of(algorithm);
            digester.update(b"1234");
            digester.update(b"56789");
            let digest = digester.finish();
            assert_eq!(hex::encode(&digest), expected, "{algorithm:?}");
            assert_eq!(digest.len(), algorithm.digest_bytes());
        }
        let mut md5 = Digester::md5();
        md5.update(b"123456789");
        assert_eq!(hex::encode(md5.finish()), "25f9e794323b453885f5181f1b624d0b");
    }

    #[test]
    fn a_checksum_of_the_wrong_length_or_alphabet_is_refused() {
        for bad in ["", "AAAA", "AAAAAAAA", "AAAAA", "!!!!!!==", "AAAAAA", "AAAAAA==-x", "AAAAAB=="] {
            assert!(parse(ChecksumAlgorithm::Crc32, bad).is_err(), "{bad}");
        }
        assert!(parse(ChecksumAlgorithm::Crc32, "AAAAAA==").is_ok());
        assert!(
            parse(ChecksumAlgorithm::Crc32, "AAAAAA==-3").is_err(),
            "composite only where an object is meant"
        );
        assert_eq!(parse_md5(b"AAAA").unwrap_err().code(), Code::InvalidDigest);
    }

    #[test]
    fn a_composite_checksum_is_not_taken_for_a_full_object_one() {
        let full = parse_of_object(ChecksumAlgorithm::Crc32, "AAAAAA==").unwrap();
        let composite = parse_of_object(ChecksumAlgorithm::Crc32, "AAAAAA==-3").unwrap();
        assert_eq!(full.kind, ChecksumKind::FullObject);
        assert_eq!(composite.kind, ChecksumKind::Composite);
        assert_ne!(full, composite);
        assert!(parse_of_object(ChecksumAlgorithm::Crc32, "AAAAAA==-").is_err());
    }
}
