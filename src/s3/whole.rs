//! Checksums of a multipart object out of its parts' (S3 User Guide, "Checking object integrity", multipart uploads).

use super::checksum::Digester;
use crate::model::{Checksum, ChecksumAlgorithm, ChecksumKind};

/// The checksum of the whole: for `Composite`, the function over the parts' digests; for `FullObject`, the parts' CRCs
/// combined by their lengths. `None` if a part lacks its checksum, or a hash cannot be combined (SHA is composite only).
pub fn whole_checksum<'a>(
    algorithm: ChecksumAlgorithm,
    kind: ChecksumKind,
    parts: impl Iterator<Item = (u64, &'a [Checksum])>,
) -> Option<Checksum> {
    let digest_of = |checksums: &'a [Checksum]| {
        checksums.iter().find(|checksum| checksum.algorithm == algorithm).map(|checksum| &*checksum.digest)
    };
    let digest = match kind {
        ChecksumKind::Composite => {
            let mut digester = Digester::of(algorithm);
            for (_, checksums) in parts {
                digester.update(digest_of(checksums)?);
            }
            digester.finish()
        }
        ChecksumKind::FullObject => {
            let crc = match algorithm {
                ChecksumAlgorithm::Crc32 => crc_fast::CrcAlgorithm::Crc32IsoHdlc,
                ChecksumAlgorithm::Crc32c => crc_fast::CrcAlgorithm::Crc32Iscsi,
                ChecksumAlgorithm::Crc64Nvme => crc_fast::CrcAlgorithm::Crc64Nvme,
                ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => return None,
            };
            let mut whole: Option<u64> = None;
            for (length, checksums) in parts {
                let part = number(digest_of(checksums)?)?;
                whole = Some(match whole {
                    None => part,
                    Some(before) => crc_fast::checksum_combine(crc, before, part, length),
                });
            }
            let bytes = whole?.to_be_bytes();
            bytes[bytes.len() - algorithm.digest_bytes()..].into()
        }
    };
    Some(Checksum { algorithm, kind, digest })
}

/// A CRC's digest (big-endian, 4 or 8 bytes) as a number.
fn number(digest: &[u8]) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes.get_mut(8_usize.checked_sub(digest.len())?..)?.copy_from_slice(digest);
    Some(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checksum(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
        let mut digester = Digester::of(algorithm);
        digester.update(bytes);
        Checksum { algorithm, kind: ChecksumKind::FullObject, digest: digester.finish() }
    }

    proptest! {
        #[test]
        fn combined_crcs_are_the_crc_of_the_joined_bytes(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6)) {
            for algorithm in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme] {
                let sums: Vec<[Checksum; 1]> = parts.iter().map(|part| [checksum(algorithm, part)]).collect();
                let whole = whole_checksum(
                    algorithm,
                    ChecksumKind::FullObject,
                    parts.iter().zip(&sums).map(|(part, sum)| (part.len() as u64, sum.as_slice())),
                );
                prop_assert_eq!(whole, Some(checksum(algorithm, &parts.concat())));
            }
        }
    }

    #[test]
    fn a_part_without_the_announced_checksum_gives_no_whole() {
        let sha = [checksum(ChecksumAlgorithm::Sha256, b"x")];
        let parts = [(1, sha.as_slice())];
        assert_eq!(
            whole_checksum(ChecksumAlgorithm::Crc32, ChecksumKind::Composite, parts.into_iter()),
            None
        );
        assert_eq!(
            whole_checksum(ChecksumAlgorithm::Sha256, ChecksumKind::FullObject, parts.into_iter()),
            None
        );
        assert!(
            whole_checksum(ChecksumAlgorithm::Sha256, ChecksumKind::Composite, parts.into_iter()).is_some()
        );
    }
}
