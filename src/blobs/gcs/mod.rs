//! A bucket of Google Cloud Storage, through the official client with its retries off (ours have a budget).
//!
//! Bodies go and come by the JSON API over HTTP/1.1, in one request each; everything else is gRPC. An upload in pieces is
//! never made: its second request goes wherever the first one's answer says.

mod credentials;
mod egress;
mod failure;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_storage::client::{Storage, StorageControl};
use google_cloud_storage::model::ListObjectsResponse;
use google_cloud_storage::model_ext::ReadRange;
use google_cloud_storage::read_resume_policy::NeverResume;
use tokio::time::timeout;

use crate::envelope::Sealed;
use crate::identity::{Identity, Rotating, Source};
use crate::model::RegionId;
use crate::placement::Placement;

use self::credentials::Access;
pub use self::credentials::GcsCredentials;
use self::egress::{Endpoints, TokenHosts, refuse_variables};
use self::failure::{Trouble, error_of};
use super::error::{at_home, same_region};
use super::location::id_of;
use super::store::{acceptable_blob, acceptable_range};
use super::{
    BLOB_BYTES_MAX, BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, LIST_NAMES_MAX, Location,
    Page, StoreKind, Verb,
};

/// Above every blob, so that each goes in one request.
const SINGLE_REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
const _: () = assert!(BLOB_BYTES_MAX < SINGLE_REQUEST_BYTES_MAX as u64);

/// Pages without a name that a listing skips before it says that the store is unavailable: the service may give empty ones
/// (Cloud Storage documentation, "List objects").
const EMPTY_PAGES_MAX: usize = 32;

/// That nobody has asked yet, in [`GcsStore::deleted_kept_s`].
const UNASKED: u64 = u64::MAX;

/// One bucket of Google Cloud Storage.
#[derive(Clone, Debug)]
pub struct GcsSettings {
    /// The region the bucket belongs to.
    pub region: RegionId,
    /// `https://host[:port]`, without path, for bodies. `http` only for a loopback address.
    pub endpoint: String,
    /// The same for everything else (gRPC), where it is another.
    pub control_endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// What every name starts with: empty, or `[A-Za-z0-9._-]` in parts that each end in one `/`.
    pub prefix: String,
    /// Who we are.
    pub credentials: Source<GcsCredentials>,
    /// The hosts that may be asked for tokens, `host` or `host:port`; none for a service account or nobody, one for the
    /// metadata server.
    pub token_hosts: Vec<String>,
    /// What the bucket's `location` should be, where the region's file declares it.
    pub declared_location: Option<String>,
    /// How long one verb may take, in milliseconds, connecting included: the client has no limit of its own for that.
    pub attempt_ms: u64,
}

/// Blobs of one region in a bucket of Google Cloud Storage.
pub struct GcsStore {
    bodies: Storage,
    control: StorageControl,
    identity: Identity<Access>,
    /// `projects/_/buckets/…`
    bucket: String,
    prefix: String,
    attempt_max: Duration,
    /// As the bucket last said; [`UNASKED`] before.
    deleted_kept_s: AtomicU64,
    description: Description,
}

impl GcsStore {
    /// Makes the driver. No request is sent; [`ErrorKind::Misconfigured`] if a setting, the credentials or the environment
    /// are unusable.
    pub async fn open(settings: GcsSettings) -> Result<Self, Error> {
        fn misconfigured(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
            Error::with(Verb::Open, ErrorKind::Misconfigured, error)
        }
        refuse_variables(std::env::vars_os()).map_err(misconfigured)?;
        let endpoints = Endpoints::parse(&settings.endpoint, settings.control_endpoint.as_deref())
            .map_err(misconfigured)?;
        if !super::s3::is_bucket(&settings.bucket) || !super::s3::is_prefix(&settings.prefix) {
            return Err(Error::new(Verb::Open, ErrorKind::Misconfigured));
        }
        let token_hosts = TokenHosts(settings.token_hosts);
        let source = credentials::checked(settings.credentials, token_hosts, endpoints.are_loopback());
        let identity = Identity::open(source).await.map_err(misconfigured)?;
        let credentials = credentials::current(identity.clone());
        let bodies = Storage::builder()
            .with_endpoint(endpoints.bodies.url())
            .with_credentials(credentials.clone())
            .with_retry_policy(NeverRetry)
            .with_read_resume_policy(NeverResume)
            .with_resumable_upload_threshold(SINGLE_REQUEST_BYTES_MAX)
            .build();
        let control = StorageControl::builder()
            .with_endpoint(endpoints.control.url())
            .with_credentials(credentials)
            .with_retry_policy(NeverRetry)
            .build();
        // Without the client's errors, which may quote credentials.
        let unusable = || misconfigured(Trouble::Protocol);
        Ok(Self {
            bodies: bodies.await.map_err(|_| unusable())?,
            control: control.await.map_err(|_| unusable())?,
            identity,
            bucket: format!("projects/_/buckets/{}", settings.bucket),
            prefix: settings.prefix,
            attempt_max: Duration::from_millis(settings.attempt_ms),
            deleted_kept_s: AtomicU64::new(UNASKED),
            description: Description {
                kind: StoreKind::Gcs,
                region: settings.region,
                endpoint_host: Some(endpoints.bodies.host().to_owned()),
                // The service tells it in capitals.
                declared_location: settings.declared_location.map(|place| place.to_ascii_uppercase()),
                deleted_kept_s: None,
            },
        })
    }

    /// Who we are to the service, so that somebody has it read again.
    pub fn identity(&self) -> Arc<dyn Rotating> {
        Arc::new(self.identity.clone())
    }

    fn name(&self, at: &Location, verb: Verb) -> Result<String, Error> {
        at_home(&self.description.region, at, verb)?;
        Ok(format!("{}{}", self.prefix, at.name()))
    }

    async fn within<T>(
        &self,
        verb: Verb,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        timeout(self.attempt_max, Box::pin(call))
            .await
            .unwrap_or_else(|_| Err(Error::new(verb, ErrorKind::Timeout)))
    }

    async fn send(&self, name: &str, bytes: &Bytes) -> Result<(), Error> {
        let crc = crc32c(bytes);
        let call = self
            .bodies
            .write_object(&self.bucket, name, bytes.clone())
            .set_if_generation_match(0)
            .set_content_type("application/octet-stream")
            .with_known_crc32c(crc);
        // Boxed: this alone is 32 KB of future, which would be moved about at every await above.
        let sent = Box::pin(call.send_buffered()).await;
        let stored = sent.map_err(|error| error_of(Verb::Put, &error))?;
        let told = stored.checksums.as_ref().and_then(|checksums| checksums.crc32c);
        if u64::try_from(stored.size) == Ok(bytes.len() as u64) && told.is_none_or(|told| told == crc) {
            Ok(())
        } else {
            Err(Error::with(Verb::Put, ErrorKind::Internal, Trouble::Checksum))
        }
    }

    /// What a PUT refused with "exists" means: our own earlier try, or somebody else's bytes.
    async fn settle(&self, name: &str, bytes: &Bytes) -> Result<(), Error> {
        match self.fetch(name, &(0..bytes.len() as u64)).await {
            Ok((stored, Some(total))) if total == bytes.len() as u64 && stored == *bytes => Ok(()),
            Ok(_) => Err(Error::new(Verb::Put, ErrorKind::Exists)),
            // It was there and no longer is, or cannot be read now: to try again is right in both cases.
            Err(error) => {
                let kind = match error.kind() {
                    ErrorKind::NotFound => ErrorKind::Unavailable,
                    ErrorKind::Truncated => ErrorKind::Exists,
                    kind => kind,
                };
                Err(Error::with(Verb::Put, kind, error))
            }
        }
    }

    /// The bytes of `range`, and the blob's whole length where the store told it.
    async fn fetch(&self, name: &str, range: &Range<u64>) -> Result<(Bytes, Option<u64>), Error> {
        let refuse = |kind, trouble| Err(Error::with(Verb::Read, kind, trouble));
        let broken = |error| error_of(Verb::Read, &error);
        let len = acceptable_range(range)?;
        let mut answer = self
            .bodies
            .read_object(&self.bucket, name)
            .set_read_range(ReadRange::segment(range.start, range.end - range.start))
            .send()
            .await
            .map_err(broken)?;
        let about = answer.object();
        let total = u64::try_from(about.size).ok().filter(|total| *total > 0);
        if total.is_some_and(|total| total < range.end) {
            return Err(Error::new(Verb::Read, ErrorKind::Truncated));
        }
        let mut bytes = BytesMut::with_capacity(len);
        while let Some(piece) = answer.next().await {
            let piece = piece.map_err(broken)?;
            // A store or somebody in between that ignores ranges.
            if piece.len() > len - bytes.len() {
                return refuse(ErrorKind::Internal, Trouble::Protocol);
            }
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() < len {
            return Err(Error::new(Verb::Read, ErrorKind::Truncated));
        }
        // The checksum is the whole blob's: what is read in part is verified by the envelope alone.
        let told = about.checksums.and_then(|checksums| checksums.crc32c);
        let whole = range.start == 0 && total == Some(range.end);
        if whole && told.is_some_and(|told| told != crc32c(&bytes)) {
            return refuse(ErrorKind::Internal, Trouble::Checksum);
        }
        Ok((bytes.freeze(), total))
    }

    async fn stat(&self, name: &str, verb: Verb) -> Result<BlobInfo, Error> {
        let call = self.control.get_object().set_bucket(&self.bucket).set_object(name).send();
        let answer = call.await.map_err(|error| error_of(verb, &error))?;
        let len = u64::try_from(answer.size);
        len.map(|len| BlobInfo { len }).map_err(|_| Error::with(verb, ErrorKind::Internal, Trouble::Protocol))
    }

    /// A missing blob, or a missing bucket: the service answers both alike, and only one of them is news about the blob.
    async fn absent(&self, verb: Verb, error: Error) -> Error {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        match self.ask(verb).await {
            Ok(_) => error,
            Err(worse) => worse,
        }
    }

    /// Asks the bucket about itself: its location, after noting what it keeps.
    async fn ask(&self, verb: Verb) -> Result<String, Error> {
        let answer = self.control.get_bucket().set_name(&self.bucket).send().await;
        let bucket = answer.map_err(|error| {
            let error = error_of(verb, &error);
            match error.kind() {
                ErrorKind::NotFound => Error::with(verb, ErrorKind::Misconfigured, error),
                _ => error,
            }
        })?;
        if bucket.versioning.is_some_and(|versioning| versioning.enabled) {
            return Err(Error::with(verb, ErrorKind::Misconfigured, Trouble::Versioned));
        }
        let kept = bucket.soft_delete_policy.and_then(|rule| rule.retention_duration);
        let kept_s = kept.map_or(0, |kept| u64::try_from(kept.seconds()).unwrap_or(0));
        self.deleted_kept_s.store(kept_s, Ordering::Relaxed);
        Ok(bucket.location)
    }

    /// A page of the bucket's listing that has a name after `start` in it, or is the last one.
    async fn page(&self, start: &str, names_max: usize) -> Result<ListObjectsResponse, Error> {
        let mut token = String::new();
        for _ in 0..EMPTY_PAGES_MAX {
            let answer = self
                .control
                .list_objects()
                .set_parent(&self.bucket)
                .set_prefix(&self.prefix)
                .set_lexicographic_start(start)
                .set_page_size(i32::try_from(names_max).unwrap_or(i32::MAX))
                .set_page_token(token)
                .send()
                .await
                .map_err(|error| {
                    let error = error_of(Verb::List, &error);
                    match error.kind() {
                        ErrorKind::NotFound => Error::with(Verb::List, ErrorKind::Misconfigured, error),
                        _ => error,
                    }
                })?;
            if answer.next_page_token.is_empty() || answer.objects.iter().any(|it| it.name.as_str() > start) {
                return Ok(answer);
            }
            token = answer.next_page_token;
        }
        Err(Error::with(Verb::List, ErrorKind::Unavailable, Trouble::Protocol))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobStore for GcsStore {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        let name = self.name(at, Verb::Put)?;
        let bytes = acceptable_blob(at, sealed)?;
        self.within(Verb::Put, async {
            match self.send(&name, &bytes).await {
                Err(error) if error.kind() == ErrorKind::Exists => self.settle(&name, &bytes).await,
                // A bucket that is not there: a PUT has nothing to find.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Err(Error::with(Verb::Put, ErrorKind::Misconfigured, error))
                }
                sent => sent,
            }
        })
        .await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        let name = self.name(at, Verb::Read)?;
        acceptable_range(&range)?;
        self.within(Verb::Read, async {
            // The protocol counts in `i64`; what lies beyond is past the end of every blob.
            let read = if i64::try_from(range.end).is_ok() {
                self.fetch(&name, &range).await.map(|(bytes, _)| bytes)
            } else {
                self.stat(&name, Verb::Read).await.and(Err(Error::new(Verb::Read, ErrorKind::Truncated)))
            };
            match read {
                Ok(bytes) => Ok(bytes),
                Err(error) => Err(self.absent(Verb::Read, error).await),
            }
        })
        .await
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        let name = self.name(at, Verb::Head)?;
        self.within(Verb::Head, async {
            match self.stat(&name, Verb::Head).await {
                Ok(info) => Ok(info),
                Err(error) => Err(self.absent(Verb::Head, error).await),
            }
        })
        .await
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        let name = self.name(at, Verb::Delete)?;
        self.within(Verb::Delete, async {
            let call = self.control.delete_object().set_bucket(&self.bucket).set_object(&name).send();
            let Err(error) = call.await.map_err(|error| error_of(Verb::Delete, &error)) else {
                return Ok(());
            };
            match self.absent(Verb::Delete, error).await {
                error if error.kind() == ErrorKind::NotFound => Ok(()),
                error => Err(error),
            }
        })
        .await
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        same_region(&self.description.region, placed.region(), Verb::List)?;
        let limit = limit.clamp(1, LIST_NAMES_MAX);
        let after = after.map(|cursor| format!("{}{}", self.prefix, cursor.0));
        self.within(Verb::List, async {
            // The service starts *at* a name; we start after it. So one more is asked for, where it takes one more.
            let start = after.as_deref().unwrap_or_default();
            let answer = self.page(start, (limit + 1).min(LIST_NAMES_MAX)).await?;
            let more = !answer.next_page_token.is_empty();
            let mut names =
                answer.objects.iter().map(|object| object.name.as_str()).filter(|name| *name > start);
            let mut page = Page::default();
            let mut last = start;
            for name in names.by_ref().take(limit) {
                match name.strip_prefix(&self.prefix).and_then(id_of) {
                    Some(id) => page.ids.push(id),
                    None => page.foreign += 1,
                }
                last = name;
            }
            if names.next().is_some() || more {
                let last = last.strip_prefix(&self.prefix).unwrap_or_default();
                page.next = Some(Cursor(last.to_owned()));
            }
            Ok(page)
        })
        .await
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        self.within(Verb::Locate, async { Ok(Some(self.ask(Verb::Locate).await?.to_ascii_uppercase())) })
            .await
    }

    fn describe(&self) -> Description {
        let kept_s = self.deleted_kept_s.load(Ordering::Relaxed);
        Description { deleted_kept_s: (kept_s != UNASKED).then_some(kept_s), ..self.description.clone() }
    }
}

impl fmt::Debug for GcsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcsStore").field("description", &self.description).finish_non_exhaustive()
    }
}

/// CRC-32C (Castagnoli), which is the checksum that the service keeps of every blob.
fn crc32c(bytes: &[u8]) -> u32 {
    // The library gives every width as 64 bits; the upper half of a 32-bit one is zero.
    u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, bytes)).unwrap_or_default()
}
