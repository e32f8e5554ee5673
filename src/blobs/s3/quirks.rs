//! In what an S3-compatible service departs from S3: what its region's file declares, and what it does when asked.

use aws_sdk_s3::config::{Builder, RequestChecksumCalculation};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::ChecksumAlgorithm;
use bytes::Bytes;
use http_body_util::Full;

use crate::envelope::Sealed;
use crate::model::BlobId;
use crate::placement::Placement;

use super::super::store::acceptable_blob;
use super::super::{Error, ErrorKind, Lie, Location, Verb};
use super::S3Store;
use super::failure::error_of;

/// Departures from S3. None is what S3 itself has.
///
/// Only the first changes what the driver does. The others are of no use to us, since blobs are written once and need no
/// trailer; they tell one service from another, so that a region whose store was exchanged or upgraded under it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct S3Quirks {
    /// `If-None-Match: *` on a PUT is ignored or refused, so it is not sent: a taken name is overwritten.
    pub ignores_create_if_absent: bool,
    /// `If-Match` takes an entity tag without its quotes only, against RFC 9110 §8.8.3 (Ceph RGW 16).
    pub bare_etags: bool,
    /// A body with a checksum in its trailer (`aws-chunked`) is refused (Ceph RGW 16).
    pub refuses_checksum_trailers: bool,
}

impl S3Quirks {
    /// Each quirk by the name that region files give it.
    pub const fn named(&self) -> [(&'static str, bool); 3] {
        [
            ("ignores-create-if-absent", self.ignores_create_if_absent),
            ("bare-etags", self.bare_etags),
            ("refuses-checksum-trailers", self.refuses_checksum_trailers),
        ]
    }

    /// Holds what is declared (`self`) against what was observed: the names of the quirks in which they differ, or a refusal if
    /// the difference is one on which writing rests.
    pub fn held_against(&self, observed: &Self) -> Result<Vec<&'static str>, Lie> {
        if observed.ignores_create_if_absent && !self.ignores_create_if_absent {
            return Err(Lie::Overwrites);
        }
        let both = self.named().into_iter().zip(observed.named());
        Ok(both
            .filter(|(declared, observed)| declared.1 != observed.1)
            .map(|(declared, _)| declared.0)
            .collect())
    }
}

impl S3Store {
    /// The quirks that its region's file declares.
    pub fn declared_quirks(&self) -> S3Quirks {
        self.quirks
    }

    /// Finds out which quirks the service has, with a throw-away blob: five requests, and it cleans up also where it fails.
    ///
    /// `id` must be fresh, and both blobs sealed as it under keys that nobody keeps.
    pub async fn observe_quirks(
        &self,
        placed: &Placement,
        id: BlobId,
        (first, second): (Sealed, Sealed),
    ) -> Result<S3Quirks, Error> {
        let at = Location::of(placed, id);
        let key = self.key(&at, Verb::Put)?;
        let (first, second) = (acceptable_blob(&at, first)?, acceptable_blob(&at, second)?);
        let observed = self.within(Verb::Put, Box::pin(self.ask(&key, first, second))).await;
        let cleaned = self.client.delete_object().bucket(&self.bucket).key(&key).send();
        let cleaned =
            self.within(Verb::Delete, async { cleaned.await.map_err(|e| error_of(Verb::Delete, e)) });
        let cleaned = Box::pin(cleaned).await;
        let observed = observed?;
        cleaned.map(|_| observed)
    }

    async fn ask(&self, key: &str, first: Bytes, second: Bytes) -> Result<S3Quirks, Error> {
        let put = |bytes: &Bytes| {
            let body = ByteStream::from(bytes.clone());
            self.client.put_object().bucket(&self.bucket).key(key).body(body)
        };
        let written = put(&first).send().await.map_err(|error| error_of(Verb::Put, error))?;
        let tag = written.e_tag().unwrap_or_default().trim_matches('"').to_owned();
        let ignores_create_if_absent = match put(&second).if_none_match("*").send().await {
            Ok(_) => true,
            Err(error) => match error_of(Verb::Put, error) {
                // As it should; the name still holds the first bytes.
                error if error.kind() == ErrorKind::Exists => false,
                error => refused(error)?,
            },
        };
        let tag = if ignores_create_if_absent {
            let again = put(&first).send().await.map_err(|error| error_of(Verb::Put, error))?;
            again.e_tag().map_or(tag, |tag| tag.trim_matches('"').to_owned())
        } else {
            tag
        };
        let quoted = put(&first).if_match(format!("\"{tag}\"")).send().await;
        let bare_etags = match quoted {
            Ok(_) => false,
            Err(error) => {
                refused(error_of(Verb::Put, error))? && put(&first).if_match(&tag).send().await.is_ok()
            }
        };
        // Not in memory as far as the SDK can tell, so its checksum follows the bytes.
        let streamed = ByteStream::new(SdkBody::from_body_1_x(Full::new(first)));
        let trailed = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .body(streamed)
            .customize()
            .config_override(
                Builder::new().request_checksum_calculation(RequestChecksumCalculation::WhenSupported),
            )
            .send()
            .await;
        let refuses_checksum_trailers = match trailed {
            Ok(_) => false,
            Err(error) => refused(error_of(Verb::Put, error))?,
        };
        Ok(S3Quirks { ignores_create_if_absent, bare_etags, refuses_checksum_trailers })
    }
}

/// Whether the service understood and said no. Anything else is no answer to the question.
fn refused(error: Error) -> Result<bool, Error> {
    match error.kind() {
        ErrorKind::Exists | ErrorKind::Internal | ErrorKind::Misconfigured | ErrorKind::NotFound => Ok(true),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_and_an_undeclared_overwriting_is_refused() {
        let none = S3Quirks::default();
        let overwrites = S3Quirks { ignores_create_if_absent: true, ..none };
        let odd = S3Quirks { bare_etags: true, refuses_checksum_trailers: true, ..none };
        assert_eq!(none.held_against(&none), Ok(vec![]));
        assert_eq!(odd.held_against(&odd), Ok(vec![]));
        assert_eq!(none.held_against(&odd), Ok(vec!["bare-etags", "refuses-checksum-trailers"]));
        assert_eq!(odd.held_against(&none), Ok(vec!["bare-etags", "refuses-checksum-trailers"]));
        assert_eq!(none.held_against(&overwrites), Err(Lie::Overwrites));
        assert_eq!(odd.held_against(&overwrites), Err(Lie::Overwrites));
        // Better than it says: told, and no reason to refuse.
        assert_eq!(overwrites.held_against(&none), Ok(vec!["ignores-create-if-absent"]));
        assert_eq!(overwrites.held_against(&overwrites), Ok(vec![]));
    }
}
