//! The driver a region's file asks for, behind the outbound stack.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::blobs::{
    BlobStore, CircuitSettings, FsSettings, FsStore, GcsCredentials, GcsSettings, GcsStore, LimitSettings,
    MemoryStore, Outbound, OutboundSettings, S3Credentials, S3Quirks, S3Settings, S3Store,
};
use crate::catalogue;
use crate::settings::{Limits, read_secret};

use super::site::{SiteError, SiteParts, make_private, under};

/// Time for name resolution, TCP and TLS together.
const CONNECT_MS: u64 = 3_000;
/// The driver's own time for one verb: above what the stack allows the largest blob, so that it is the stack that ends it.
const ATTEMPT_MS: u64 = 180_000;

/// A region's store.
pub(super) struct Opened {
    /// The driver, behind the stack through which it is called.
    pub(super) store: Arc<dyn BlobStore>,
    /// The bare driver, if it is one whose service is known for quirks.
    pub(super) s3: Option<Arc<S3Store>>,
}

/// Opens the store that the region's file names.
pub(super) async fn open(parts: &SiteParts) -> Result<Opened, SiteError> {
    let s3 = match &parts.region.store {
        catalogue::Store::S3(declared) => Some(Arc::new(s3_store(parts, declared)?)),
        _ => None,
    };
    let driver = match &s3 {
        Some(s3) => Arc::clone(s3) as Arc<dyn BlobStore>,
        None => driver(parts).await?,
    };
    let settings = outbound(&parts.limits);
    let store = Outbound::new(driver, settings, Arc::clone(&parts.metrics), Arc::clone(&parts.entropy));
    Ok(Opened { store: Arc::new(store), s3 })
}

/// How the store is called, as far as the process's limits say.
fn outbound(limits: &Limits) -> OutboundSettings {
    let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    OutboundSettings {
        deadline_ms: limits.store_deadline_ms_max,
        attempt_ms: limits.store_attempt_ms_max,
        limit: LimitSettings {
            in_flight_max: count(limits.store_in_flight_max),
            waiting_max: count(limits.store_waiting_max),
            wait_ms_max: limits.store_wait_ms_max,
        },
        circuit: CircuitSettings { rest_ms: limits.store_rest_ms, ..CircuitSettings::default() },
        ..OutboundSettings::default()
    }
}

async fn driver(parts: &SiteParts) -> Result<Arc<dyn BlobStore>, SiteError> {
    let region = parts.region.id.clone();
    match &parts.region.store {
        catalogue::Store::Memory {} => Ok(Arc::new(MemoryStore::new(region))),
        catalogue::Store::Fs(local) => {
            let root = under(&parts.settings.state_dir, &local.path);
            if let Some(parent) = root.parent() {
                make_private(parent)?;
            }
            let settings = FsSettings { region, root };
            Ok(Arc::new(FsStore::open(settings, parts.clock.as_ref(), Arc::clone(&parts.entropy)).await?))
        }
        catalogue::Store::S3(s3) => Ok(Arc::new(s3_store(parts, s3)?)),
        catalogue::Store::Gcs(gcs) => Ok(Arc::new(GcsStore::open(gcs_settings(parts, gcs)?).await?)),
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

fn s3_store(parts: &SiteParts, s3: &catalogue::S3Store) -> Result<S3Store, SiteError> {
    let settings = S3Settings {
        region: parts.region.id.clone(),
        endpoint: s3.endpoint.to_string(),
        signing_region: s3.signing_region.clone(),
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        path_style: s3.path_style,
        credentials: S3Credentials {
            access_key_id: read_secret(&s3.access_key_id)?.expose().clone(),
            secret_access_key: read_secret(&s3.secret_access_key)?,
        },
        ca_file: s3.ca_file.as_deref().map(|file| under(&parts.settings.state_dir, file)),
        quirks: quirks(&s3.quirks),
        declared_location: s3.expected_location.clone(),
        connect_ms: CONNECT_MS,
        attempt_ms: ATTEMPT_MS,
        // As many as attempts may be under way, or small ones pay a handshake each.
        idle_connections_max: usize::try_from(parts.limits.store_in_flight_max).unwrap_or(usize::MAX),
    };
    Ok(S3Store::new(settings)?)
}

fn quirks(declared: &BTreeSet<catalogue::S3Quirk>) -> S3Quirks {
    let has = |quirk| declared.contains(&quirk);
    S3Quirks {
        ignores_create_if_absent: has(catalogue::S3Quirk::IgnoresCreateIfAbsent),
        bare_etags: has(catalogue::S3Quirk::BareEtags),
        refuses_checksum_trailers: has(catalogue::S3Quirk::RefusesChecksumTrailers),
    }
}
