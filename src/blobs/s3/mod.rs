//! A bucket of an S3-compatible service, through the official SDK with everything switched off that we do better or not
//! at all: retries (ours have a budget), redirects, proxies, checksum trailers, endpoint rules, streaming.

mod egress;
mod failure;
mod identity;
mod quirks;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::endpoint::{Endpoint as SdkEndpoint, EndpointFuture, Params, ResolveEndpoint};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine;
use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use crate::egress::Endpoint;
use crate::envelope::Sealed;
use crate::identity::Identity;
use crate::model::RegionId;
use crate::placement::Placement;

use self::egress::Egress;
use self::failure::error_of;
pub use self::identity::S3Credentials;
pub use self::quirks::S3Quirks;
use super::error::{at_home, same_region};
use super::location::id_of;
use super::store::{acceptable_blob, acceptable_range};
use super::{
    BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, LIST_NAMES_MAX, Location, Page, StoreKind,
    Verb,
};

/// One bucket of an S3-compatible service.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// The region the bucket belongs to.
    pub region: RegionId,
    /// `https://host[:port]`, without path. `http` only for a loopback address.
    pub endpoint: String,
    /// The provider's name of its region, as the signature needs it (`gra`, `us-east-1`).
    pub signing_region: String,
    /// The bucket.
    pub bucket: String,
    /// What every name starts with: empty, or `[A-Za-z0-9._-]` in parts that each end in one `/`.
    pub prefix: String,
    /// Whether the bucket is in the path (`true`) or in the host.
    pub path_style: bool,
    /// Who we are.
    pub credentials: Identity<S3Credentials>,
    /// A file of PEM certificates to trust *instead of* the system's.
    pub ca_file: Option<PathBuf>,
    /// In what the store departs from S3, as its region's file declares.
    pub quirks: S3Quirks,
    /// What `GetBucketLocation` should answer, where the region's file declares it.
    pub declared_location: Option<String>,
    /// How long resolving, TCP and TLS may take together, in milliseconds.
    pub connect_ms: u64,
    /// How long one verb may take, in milliseconds.
    pub attempt_ms: u64,
    /// Idle connections kept. As many as blobs are moved at once, or small ones pay a handshake each.
    pub idle_connections_max: usize,
}

/// Over TLS the body of a longer PUT is not hashed into its signature (`UNSIGNED-PAYLOAD`, Signature Version 4): TLS authenticates
/// every byte, the signature covers the CRC-32C, and the SHA-256 was a quarter of what a PUT of 8 MiB costs. Shorter ones are hashed
/// in less time than the SDK takes to be told not to.
const UNSIGNED_BYTES_MIN: usize = 256 * 1024;

/// Blobs of one region in a bucket.
pub struct S3Store {
    client: Client,
    bucket: String,
    prefix: String,
    quirks: S3Quirks,
    attempt_max: Duration,
    is_tls: bool,
    description: Description,
}

impl S3Store {
    /// Makes the driver. No I/O but reading the CA certificates; [`ErrorKind::Misconfigured`] if a setting is unusable.
    pub fn new(settings: S3Settings) -> Result<Self, Error> {
        let misconfigured = |error| Error::with(Verb::Open, ErrorKind::Misconfigured, error);
        let service = Endpoint::parse(&settings.endpoint).map_err(misconfigured)?;
        if !is_bucket(&settings.bucket) || !is_prefix(&settings.prefix) {
            return Err(Error::new(Verb::Open, ErrorKind::Misconfigured));
        }
        let (endpoint, url) = if settings.path_style {
            let url = format!("{}/{}", service.url(), settings.bucket);
            (service, url)
        } else {
            let endpoint = service.with_bucket_host(&settings.bucket);
            let url = endpoint.url();
            (endpoint, url)
        };
        let description = Description {
            kind: StoreKind::S3,
            region: settings.region,
            endpoint_host: Some(endpoint.host().to_owned()),
            declared_location: settings.declared_location,
            deleted_kept_s: None,
        };
        let connect_max = Duration::from_millis(settings.connect_ms);
        let is_tls = endpoint.is_tls();
        let egress =
            Egress::new(endpoint, settings.ca_file.as_deref(), connect_max, settings.idle_connections_max)
                .map_err(misconfigured)?;
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(egress)
            .endpoint_resolver(OnePlace(SdkEndpoint::builder().url(url).build()))
            .region(Region::new(settings.signing_region))
            .credentials_provider(settings.credentials)
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            // Both are ours: the connection's in `egress`, the whole verb's in `within`.
            .timeout_config(TimeoutConfig::disabled())
            // It cuts bodies off when *our* reader is slow; ours are in memory and have a deadline.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // RGW 16 refuses the default's trailers with XAmzContentSHA256Mismatch. The envelope authenticates the bytes.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Ok(Self {
            client: Client::from_conf(config),
            bucket: settings.bucket,
            prefix: settings.prefix,
            quirks: settings.quirks,
            attempt_max: Duration::from_millis(settings.attempt_ms),
            is_tls,
            description,
        })
    }

    fn key(&self, at: &Location, verb: Verb) -> Result<String, Error> {
        at_home(&self.description.region, at, verb)?;
        Ok(format!("{}{}", self.prefix, at.name()))
    }

    async fn within<T>(
        &self,
        verb: Verb,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        timeout(self.attempt_max, call).await.unwrap_or_else(|_| Err(Error::new(verb, ErrorKind::Timeout)))
    }

    /// What a PUT refused with "exists" means: our own earlier try, or somebody else's bytes.
    async fn settle(&self, key: &str, bytes: &Bytes) -> Result<(), Error> {
        let stored = match self.fetch(key, &(0..bytes.len() as u64)).await {
            Ok((stored, total)) if total == Some(bytes.len() as u64) => stored,
            Ok(_) => return Err(Error::new(Verb::Put, ErrorKind::Exists)),
            // It was there and no longer is, or cannot be read now: to try again is right in both cases.
            Err(error) => {
                let kind = match error.kind() {
                    ErrorKind::NotFound => ErrorKind::Unavailable,
                    ErrorKind::Truncated => ErrorKind::Exists,
                    kind => kind,
                };
                return Err(Error::with(Verb::Put, kind, error));
            }
        };
        if stored == *bytes { Ok(()) } else { Err(Error::new(Verb::Put, ErrorKind::Exists)) }
    }

    /// The bytes of `range`, and the blob's whole length where the store told it.
    async fn fetch(&self, key: &str, range: &Range<u64>) -> Result<(Bytes, Option<u64>), Error> {
        let len = acceptable_range(range)?;
        let answer = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .send()
            .await
            .map_err(|error| error_of(Verb::Read, error))?;
        let total = check_extent(&answer, range)?;
        let broken = |error| Error::with(Verb::Read, ErrorKind::Unavailable, error);
        let mut body = answer.body;
        // Each piece is gone before the next one comes: collected, they would lie beside the whole that is made of them.
        let mut bytes = BytesMut::with_capacity(len);
        while let Some(piece) = body.try_next().await.map_err(broken)? {
            if piece.len() > len - bytes.len() {
                return Err(Error::new(Verb::Read, ErrorKind::Internal));
            }
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() < len {
            return Err(Error::new(Verb::Read, ErrorKind::Internal));
        }
        Ok((bytes.freeze(), total))
    }
}

/// Holds the answer's head against the range asked for, before its body is read. Gives the blob's length if told.
fn check_extent(answer: &GetObjectOutput, range: &Range<u64>) -> Result<Option<u64>, Error> {
    let refuse = |kind| Err(Error::new(Verb::Read, kind));
    let Some(told) = answer.content_length().and_then(|len| u64::try_from(len).ok()) else {
        return refuse(ErrorKind::Internal);
    };
    let wanted = range.end - range.start;
    if told < wanted {
        return refuse(ErrorKind::Truncated);
    }
    // More than was asked for, or another place: a store or a proxy that ignores ranges.
    let total = match answer.content_range() {
        Some(extent) => {
            let expected = format!("bytes {}-{}/", range.start, range.end - 1);
            let Some(total) = extent.strip_prefix(&expected) else { return refuse(ErrorKind::Internal) };
            total.parse().ok()
        }
        None if range.start == 0 => Some(told),
        None => return refuse(ErrorKind::Internal),
    };
    if told == wanted { Ok(total) } else { refuse(ErrorKind::Internal) }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobStore for S3Store {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        let key = self.key(at, Verb::Put)?;
        let bytes = acceptable_blob(at, sealed)?;
        let condition = (!self.quirks.ignores_create_if_absent).then(|| "*".to_owned());
        // Boxed: the SDK's PUT alone is 19 KB of future, which would be moved about at every await above.
        let call = Box::pin(async {
            let put = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key(&key)
                .set_if_none_match(condition)
                .content_type("application/octet-stream")
                // Most stores do not compare the body with the SHA-256 that the signature covers. A bit that flips on the
                // way would lie there for ever under a name that was acknowledged.
                .checksum_crc32_c(crc32c_of(&bytes))
                .body(ByteStream::from(bytes.clone()));
            let is_unsigned = self.is_tls && bytes.len() >= UNSIGNED_BYTES_MIN;
            let sent = if is_unsigned {
                put.customize().disable_payload_signing().send().await
            } else {
                put.send().await
            };
            match sent.map_err(|error| error_of(Verb::Put, error)) {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == ErrorKind::Exists => self.settle(&key, &bytes).await,
                // A bucket that is not there, or a proxy in between: a PUT has nothing to find.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Err(Error::with(Verb::Put, ErrorKind::Misconfigured, error))
                }
                Err(error) => Err(error),
            }
        });
        self.within(Verb::Put, call).await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        let key = self.key(at, Verb::Read)?;
        self.within(Verb::Read, async { Ok(self.fetch(&key, &range).await?.0) }).await
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        let key = self.key(at, Verb::Head)?;
        self.within(Verb::Head, async {
            let call = self.client.head_object().bucket(&self.bucket).key(key).send();
            let answer = call.await.map_err(|error| error_of(Verb::Head, error))?;
            let len = answer.content_length().and_then(|len| u64::try_from(len).ok());
            len.map(|len| BlobInfo { len }).ok_or_else(|| Error::new(Verb::Head, ErrorKind::Internal))
        })
        .await
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        let key = self.key(at, Verb::Delete)?;
        self.within(Verb::Delete, async {
            let call = self.client.delete_object().bucket(&self.bucket).key(key).send();
            match call.await.map_err(|error| error_of(Verb::Delete, error)) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        same_region(&self.description.region, placed.region(), Verb::List)?;
        let limit = limit.clamp(1, LIST_NAMES_MAX);
        self.within(Verb::List, async {
            let answer = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(&self.prefix)
                .set_start_after(after.map(|cursor| format!("{}{}", self.prefix, cursor.0)))
                .max_keys(i32::try_from(limit).unwrap_or(i32::MAX))
                .send()
                .await
                .map_err(|error| error_of(Verb::List, error))?;
            let mut page = Page::default();
            let mut last = None;
            for key in answer.contents().iter().map(|entry| entry.key().unwrap_or_default()) {
                let name = key.strip_prefix(&self.prefix);
                match name.and_then(id_of) {
                    Some(id) => page.ids.push(id),
                    None => page.foreign += 1,
                }
                last = name.or(last);
            }
            if answer.is_truncated() == Some(true) {
                // A page that says "more" without telling after what would make its reader go round in circles.
                let last = last.ok_or_else(|| Error::new(Verb::List, ErrorKind::Internal))?;
                page.next = Some(Cursor(last.to_owned()));
            }
            Ok(page)
        })
        .await
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        self.within(Verb::Locate, async {
            let said = match self.client.get_bucket_location().bucket(&self.bucket).send().await {
                Ok(answer) => answer.location_constraint().map(|place| place.as_str().to_owned()),
                // SeaweedFS 4.48 wraps an empty answer in an element of its own, which the SDK does not read. A success that
                // names no place in the protocol's form is silence: the declaration then stands alone, unverified.
                Err(SdkError::ServiceError(answer)) if answer.raw().status().is_success() => None,
                Err(error) => return Err(error_of(Verb::Locate, error)),
            };
            Ok(said.filter(|place| !place.is_empty()))
        })
        .await
    }

    fn describe(&self) -> Description {
        self.description.clone()
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("description", &self.description).finish_non_exhaustive()
    }
}

/// The SDK's rules engine, replaced by its only possible answer: the region's endpoint, whatever the parameters.
#[derive(Debug)]
struct OnePlace(SdkEndpoint);

impl ResolveEndpoint for OnePlace {
    fn resolve_endpoint<'a>(&'a self, _: &'a Params) -> EndpointFuture<'a> {
        EndpointFuture::ready(Ok(self.0.clone()))
    }
}

/// `x-amz-checksum-crc32c`: base64 of the checksum's big-endian bytes (S3 User Guide, "Checking object integrity").
fn crc32c_of(bytes: &[u8]) -> String {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    base64::engine::general_purpose::STANDARD.encode(u32::try_from(crc).unwrap_or_default().to_be_bytes())
}

/// What may stand in a path or a host unescaped; the service has its own, narrower rule.
pub(super) fn is_bucket(bucket: &str) -> bool {
    (3..=63).contains(&bucket.len())
        && bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && !bucket.contains("..")
}

pub(super) fn is_prefix(prefix: &str) -> bool {
    let part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    prefix.is_empty()
        || (prefix.len() <= 512 && prefix.strip_suffix('/').is_some_and(|parts| parts.split('/').all(part)))
}
