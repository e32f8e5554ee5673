//! What a region is made of: its store, index, keys and audit log, and where each of them is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use super::class::Custody;
use super::leaf::{Authority, Endpoint, parse, parse_list, parse_some, parse_values};
use crate::model::SecretRef;

/// Where sealed blobs go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Store {
    /// A directory of this machine; a relative path stands under the region's state directory.
    Fs(LocalPath),
    /// Any S3-compatible store.
    S3(S3Store),
    /// Google Cloud Storage.
    Gcs(GcsStore),
    /// The process's memory, gone when it ends: tests.
    Memory {},
}

impl Store {
    /// Every kind, as files spell it.
    pub const KINDS: [&str; 4] = ["fs", "s3", "gcs", "memory"];

    /// The kind, as files spell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fs(_) => "fs",
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gcs",
            Self::Memory {} => "memory",
        }
    }

    /// The hosts it connects to.
    pub fn hosts(&self) -> Vec<&Authority> {
        match self {
            Self::Fs(_) | Self::Memory {} => vec![],
            Self::S3(store) => vec![store.endpoint.authority()],
            Self::Gcs(store) => {
                let endpoints = std::iter::once(&store.endpoint).chain(&store.control_endpoint);
                endpoints.map(Endpoint::authority).chain(&store.token_hosts).collect()
            }
        }
    }
}

/// A path of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalPath {
    /// Relative paths stand under the region's state directory, which is a setting of the process.
    pub path: PathBuf,
}

/// An S3-compatible store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3Store {
    /// Where it answers.
    #[serde(deserialize_with = "parse")]
    pub endpoint: Endpoint,
    /// The bucket that holds every blob of the region.
    pub bucket: String,
    /// Put before every blob's name; empty or ending in `/`.
    #[serde(default)]
    pub prefix: String,
    /// The region this store wants in *its* signatures.
    pub signing_region: String,
    /// Where the access key id is kept.
    #[serde(deserialize_with = "parse")]
    pub access_key_id: SecretRef,
    /// Where the secret key is kept.
    #[serde(deserialize_with = "parse")]
    pub secret_access_key: SecretRef,
    /// What `GetBucketLocation` of the store must answer; absent if the store cannot say where it is.
    pub expected_location: Option<String>,
    /// The bucket in the path rather than in the host name.
    #[serde(default)]
    pub path_style: bool,
    /// PEM certificates to trust *instead of* the system's; a relative path stands under the region's state directory.
    pub ca_file: Option<PathBuf>,
    /// In what it departs from S3. The start-up probe holds it against what the store does.
    #[serde(default)]
    pub quirks: BTreeSet<S3Quirk>,
}

/// A departure from S3 that a store is known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum S3Quirk {
    /// It overwrites a taken name, whatever `If-None-Match: *` says.
    IgnoresCreateIfAbsent,
    /// It takes entity tags in conditions without quotes only.
    BareEtags,
    /// It refuses bodies with a checksum in their trailer.
    RefusesChecksumTrailers,
}

/// A Google Cloud Storage bucket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GcsStore {
    /// Where it answers: a regional endpoint keeps TLS and processing in the region.
    #[serde(deserialize_with = "parse")]
    pub endpoint: Endpoint,
    /// Where it answers calls without bodies (gRPC), if that is another place.
    #[serde(default, deserialize_with = "parse_some")]
    pub control_endpoint: Option<Endpoint>,
    /// The bucket that holds every blob of the region.
    pub bucket: String,
    /// Put before every blob's name; empty or ending in `/`.
    #[serde(default)]
    pub prefix: String,
    /// Who we are.
    pub credentials: GcsCredentials,
    /// The only hosts that may be asked for access tokens. None where none is asked: a service account signs its own.
    #[serde(default, deserialize_with = "parse_list")]
    pub token_hosts: Vec<Authority>,
    /// What the bucket's `location` must be.
    pub expected_location: String,
}

/// Who we are to Google Cloud Storage. Named, never discovered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum GcsCredentials {
    /// Where a service account's JSON key is kept.
    #[serde(deserialize_with = "parse")]
    ServiceAccount(SecretRef),
    /// Where the JSON of workload identity federation (`external_account`) is kept.
    #[serde(deserialize_with = "parse")]
    WorkloadIdentity(SecretRef),
    /// The metadata server of the machine, at the one token host.
    MetadataServer {},
    /// Nobody: a store on this machine.
    Anonymous {},
}

/// Where names, versions and sizes go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Index {
    /// Embedded, for one replica.
    Sqlite(LocalPath),
    /// For several replicas.
    Postgres(Postgres),
}

impl Index {
    /// Every kind, as files spell it.
    pub const KINDS: [&str; 2] = ["sqlite", "postgres"];

    /// The kind, as files spell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// The hosts it connects to.
    pub fn hosts(&self) -> Vec<&Authority> {
        match self {
            Self::Sqlite(_) => vec![],
            Self::Postgres(database) => vec![&database.host],
        }
    }
}

/// A `PostgreSQL` database.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// The host of the URL below, in the clear, so that it can be checked against the facet.
    #[serde(deserialize_with = "parse")]
    pub host: Authority,
    /// Where the connection URL, which holds the password, is kept.
    #[serde(deserialize_with = "parse")]
    pub url: SecretRef,
}

/// Where wrapped keys go: what opens them is elsewhere, and their backups are others than the index's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum KeyStore {
    /// In a file beside the folder of the root keys: for one replica.
    #[default]
    File,
    /// In a database: for several replicas. It may be the index's, where it has a schema of its own.
    Postgres(Postgres),
}

impl KeyStore {
    /// Every kind, as files spell it.
    pub const KINDS: [&str; 2] = ["file", "postgres"];

    /// The kind, as files spell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Postgres(_) => "postgres",
        }
    }

    /// The hosts it connects to.
    pub fn hosts(&self) -> Vec<&Authority> {
        match self {
            Self::File => vec![],
            Self::Postgres(database) => vec![&database.host],
        }
    }
}

/// Where root keys are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Keys {
    /// A file of this machine: development and air-gapped places.
    LocalFile(LocalPath),
}

impl Keys {
    /// Every kind this build can run, as files spell it.
    pub const KINDS: [&str; 1] = ["local-file"];

    /// The kind, as files spell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::LocalFile(_) => "local-file",
        }
    }

    /// How well such keys are guarded.
    pub fn custody(&self) -> Custody {
        match self {
            Self::LocalFile(_) => Custody::Software,
        }
    }
}

/// Where metrics and traces are sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Telemetry {
    /// The collector: OTLP over HTTP (`/v1/traces`, `/v1/metrics`).
    #[serde(deserialize_with = "parse")]
    pub otlp: Endpoint,
    /// The CA that signs the collector's certificate, PEM; absent: the system's roots. A relative path stands under the
    /// region's state directory.
    pub ca_file: Option<PathBuf>,
    /// What is sent with every export, such as `authorization`, by reference.
    #[serde(default, deserialize_with = "parse_values")]
    pub headers: BTreeMap<String, SecretRef>,
}

impl Telemetry {
    /// Headers of one collector: authentication needs one, a tenant's name at the collector another.
    pub const HEADERS_MAX: usize = 4;
}

/// Where decisions are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// A relative one stands under the region's state directory.
    pub directory: PathBuf,
}
