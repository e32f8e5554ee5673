//! What a region is made of: its store, index, keys and audit log, and where each of them is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use super::class::Custody;
use super::leaf::{Authority, Endpoint, parse};
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

    /// Whether this build has a driver for it.
    pub fn is_built(&self) -> bool {
        // The Google driver is not written yet. The schema knows the kind, because the place of the US region is real.
        !matches!(self, Self::Gcs(_))
    }

    /// The hosts it connects to.
    pub fn hosts(&self) -> Vec<&Authority> {
        match self {
            Self::Fs(_) | Self::Memory {} => vec![],
            Self::S3(store) => vec![store.endpoint.authority()],
            Self::Gcs(store) => vec![store.endpoint.authority(), &store.token_host],
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
    /// Where access tokens come from.
    #[serde(deserialize_with = "parse")]
    pub token_host: Authority,
    /// The bucket that holds every blob of the region.
    pub bucket: String,
    /// Put before every blob's name; empty or ending in `/`.
    #[serde(default)]
    pub prefix: String,
    /// Where the service account's key is kept.
    #[serde(deserialize_with = "parse")]
    pub credentials: SecretRef,
    /// What the bucket's `location` must be.
    pub expected_location: String,
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

    /// Whether this build has a driver for it.
    pub fn is_built(&self) -> bool {
        matches!(self, Self::Sqlite(_))
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

/// Where decisions are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// A relative one stands under the region's state directory.
    pub directory: PathBuf,
}
