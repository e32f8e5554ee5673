//! Sealed blobs in a region's store: the trait, its drivers, and what wraps them.
//!
//! A store knows opaque names and sealed bytes, nothing else. Five verbs are all we ask of one, so that a directory, an
//! S3-compatible service and a test's hash map behave alike: [`BlobStore`] states the contract, one suite of named
//! checks (`tests/it/blobs/contract.rs`) runs it on every driver, and [`probe`] asks the real store at start whether it
//! keeps it.
//!
//! # What does not compile
//!
//! A blob goes where a placement says. This compiles:
//! ```
//! # use terroir::{blobs::{BlobStore, Error, Location}, envelope::Sealed, model::BlobId, placement::Placement};
//! async fn write(store: &dyn BlobStore, placed: &Placement, id: BlobId, sealed: Sealed) -> Result<(), Error> {
//!     let at = Location::of(placed, id);
//!     store.put(&at, sealed).await
//! }
//! ```
//! and these, which differ from it in one line, do not: a location made up from a region,
//! ```compile_fail,E0451
//! # use terroir::{blobs::{BlobStore, Error, Location}, envelope::Sealed, model::BlobId, placement::Placement};
//! async fn write(store: &dyn BlobStore, placed: &Placement, id: BlobId, sealed: Sealed) -> Result<(), Error> {
//!     let at = Location { region: placed.region().clone(), id };
//!     store.put(&at, sealed).await
//! }
//! ```
//! a blob without a location,
//! ```compile_fail,E0308
//! # use terroir::{blobs::{BlobStore, Error, Location}, envelope::Sealed, model::BlobId, placement::Placement};
//! async fn write(store: &dyn BlobStore, placed: &Placement, id: BlobId, sealed: Sealed) -> Result<(), Error> {
//!     let at = id;
//!     store.put(&at, sealed).await
//! }
//! ```
//! and bytes that the envelope did not seal.
//! ```
//! # use terroir::{blobs::{BlobStore, Error, Location}, envelope::Sealed};
//! async fn write(store: &dyn BlobStore, at: &Location, bytes: Sealed) -> Result<(), Error> {
//!     store.put(at, bytes).await
//! }
//! ```
//! ```compile_fail,E0308
//! # use terroir::{blobs::{BlobStore, Error, Location}, envelope::Sealed};
//! async fn write(store: &dyn BlobStore, at: &Location, bytes: bytes::Bytes) -> Result<(), Error> {
//!     store.put(at, bytes).await
//! }
//! ```
//! ```compile_fail,E0308
//! # use terroir::{blobs::{BlobStore, Error, Location}, envelope::Sealed};
//! async fn write(store: &dyn BlobStore, at: &Location, bytes: Vec<u8>) -> Result<(), Error> {
//!     store.put(at, bytes).await
//! }
//! ```

mod anchored;
mod error;
#[cfg(feature = "testing")]
pub mod failpoint;
mod fs;
mod gcs;
mod location;
mod memory;
mod outbound;
mod probe;
mod reidentified;
mod s3;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use anchored::Anchored;
pub use error::{BackendAnswer, Error, ErrorKind, Verb};
pub use fs::{FsSettings, FsStore};
pub use gcs::{GcsCredentials, GcsSettings, GcsStore};
pub use location::Location;
pub(crate) use location::claimant;
pub use memory::MemoryStore;
pub use outbound::{
    CircuitSettings, LimitSettings, Outbound, OutboundSettings, RetrySettings, in_background,
    is_in_background,
};
pub use probe::{Lie, Observation, ProbeError, ProbeReport, Whereabouts, probe, whereabouts};
pub use reidentified::Reidentified;
pub use s3::{S3Credentials, S3Quirks, S3Settings, S3Store};
pub use store::{BlobInfo, BlobStore, Cursor, Description, Page, StoreKind};

/// The largest blob in bytes. Twice the plaintext a version is cut into (8 MiB), so that the setting may grow and the
/// envelope's overhead (0.05 %) fits; above it nothing is written and no range is read, which bounds memory per verb.
pub const BLOB_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The most names one call of [`BlobStore::list`] returns: S3's own page limit (API reference, `ListObjectsV2`).
pub const LIST_NAMES_MAX: usize = 1000;
