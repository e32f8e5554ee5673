//! (stub)
use super::*;
use crate::model::*;
use std::path::PathBuf;
/// Who we are to the store.
#[derive(Clone, Debug)]
pub struct S3Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: Secret<String>,
}
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
    /// What every name starts with, empty or ending in `/`.
    pub prefix: String,
    /// Whether the bucket is in the path (`true`) or in the host.
    pub path_style: bool,
    /// Who we are.
    pub credentials: S3Credentials,
    /// A file of PEM certificates to trust *instead of* the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether the store honours `If-None-Match: *` on PUT; the probe tells. `false` for one that refuses the header.
    pub create_if_absent: bool,
    /// What `GetBucketLocation` should answer.
    pub declared_location: Option<String>,
    /// How long a TCP and TLS handshake may take, in milliseconds.
    pub connect_ms: u64,
    /// How long one call may take, in milliseconds.
    pub attempt_ms: u64,
    /// Idle connections kept.
    pub idle_connections_max: usize,
}
/// Blobs of one region in a bucket.
#[derive(Debug)]
pub struct S3Store {}
impl S3Store {
    /// Makes the driver; no I/O but reading the CA file.
    pub fn new(_settings: S3Settings) -> Result<Self, Error> {
        todo!()
    }
}
