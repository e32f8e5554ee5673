//! The driver a region's file asks for, behind bounded retries.

use std::sync::Arc;

use crate::blobs::{
    BlobStore, FsSettings, FsStore, GcsCredentials, GcsSettings, GcsStore, MemoryStore, Metered,
    RetrySettings, Retrying, S3Credentials, S3Settings, S3Store,
};
use crate::catalogue;
use crate::settings::read_secret;

use super::site::{SiteError, SiteParts, make_private, under};

/// Time for name resolution, TCP and TLS together.
const CONNECT_MS: u64 = 3_000;
/// Time for one verb on one blob: 8 MiB at 0.5 MiB/s.
const ATTEMPT_MS: u64 = 16_000;
/// Idle connections kept to an S3 store.
const IDLE_CONNECTIONS_MAX: usize = 64;

pub(super) async fn open(parts: &SiteParts) -> Result<Arc<dyn BlobStore>, SiteError> {
    let region = parts.region.id.clone();
    let entropy = || Arc::clone(&parts.entropy);
    match &parts.region.store {
        catalogue::Store::Memory {} => {
            Ok(Arc::new(Metered::new(MemoryStore::new(region), Arc::clone(&parts.metrics))))
        }
        catalogue::Store::Fs(local) => {
            let root = under(&parts.settings.state_dir, &local.path);
            if let Some(parent) = root.parent() {
                make_private(parent)?;
            }
            let store = FsStore::open(FsSettings { region, root }, parts.clock.as_ref(), entropy()).await?;
            Ok(Arc::new(Retrying::new(
                Metered::new(store, Arc::clone(&parts.metrics)),
                RetrySettings::default(),
                entropy(),
            )))
        }
        catalogue::Store::S3(s3) => {
            let settings = S3Settings {
                region,
                endpoint: s3.endpoint.to_string(),
                signing_region: s3.signing_region.clone(),
                bucket: s3.bucket.clone(),
                prefix: s3.prefix.clone(),
                path_style: s3.path_style,
                credentials: S3Credentials {
                    access_key_id: read_secret(&s3.access_key_id)?.expose().clone(),
                    secret_access_key: read_secret(&s3.secret_access_key)?,
                },
                ca_file: None,
                create_if_absent: true,
                declared_location: s3.expected_location.clone(),
                connect_ms: CONNECT_MS,
                attempt_ms: ATTEMPT_MS,
                idle_connections_max: IDLE_CONNECTIONS_MAX,
            };
            Ok(Arc::new(Retrying::new(
                Metered::new(S3Store::new(settings)?, Arc::clone(&parts.metrics)),
                RetrySettings::default(),
                entropy(),
            )))
        }
        catalogue::Store::Gcs(gcs) => {
            let settings = gcs_settings(parts, gcs)?;
            Ok(Arc::new(Retrying::new(
                Metered::new(GcsStore::open(settings).await?, Arc::clone(&parts.metrics)),
                RetrySettings::default(),
                entropy(),
            )))
        }
    }
}

fn gcs_settings(parts: &SiteParts, gcs: &catalogue::GcsStore) -> Result<GcsSettings, SiteError> {
    let credentials = match &gcs.credentials {
        catalogue::GcsCredentials::ServiceAccount(key) => GcsCredentials::ServiceAccount(read_secret(key)?),
        catalogue::GcsCredentials::WorkloadIdentity(config) => {
            GcsCredentials::WorkloadIdentity(read_secret(config)?)
        }
        catalogue::GcsCredentials::MetadataServer {} => GcsCredentials::MetadataServer,
        catalogue::GcsCredentials::Anonymous {} => GcsCredentials::Anonymous,
    };
    Ok(GcsSettings {
        region: parts.region.id.clone(),
        endpoint: gcs.endpoint.to_string(),
        control_endpoint: gcs.control_endpoint.as_ref().map(ToString::to_string),
        bucket: gcs.bucket.clone(),
        prefix: gcs.prefix.clone(),
        credentials,
        token_hosts: gcs.token_hosts.iter().map(ToString::to_string).collect(),
        declared_location: Some(gcs.expected_location.clone()),
        attempt_ms: ATTEMPT_MS,
    })
}
