//! The driver a region's file asks for, behind the outbound stack.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::blobs::{
    Anchored, BlobStore, CircuitSettings, FsSettings, FsStore, GcsSettings, GcsStore, LimitSettings,
    MemoryStore, Outbound, OutboundSettings, Reidentified, S3Credentials, S3Quirks, S3Settings, S3Store,
};
use crate::catalogue;
use crate::identity::{Identity, Rotating};
use crate::settings::Limits;

use super::credentials;
use super::site::{SiteError, SiteParts, make_private, under};

/// Time for name resolution, TCP and TLS together.
const CONNECT_MS: u64 = 3_000;
/// The driver's own time for one verb: above what the stack allows the largest blob, so that it is the stack that ends it.
const ATTEMPT_MS: u64 = 180_000;

/// A region's store.
pub(super) struct Opened {
    /// The driver, behind the stack through which it is called, and what stops writes to a store that is elsewhere.
    pub(super) store: Arc<Anchored>,
    /// The bare driver, if it is one whose service is known for quirks.
    pub(super) s3: Option<Arc<S3Store>>,
    /// Who we are to it, if it asks.
    pub(super) identity: Option<Arc<dyn Rotating>>,
}

/// Opens the store that the region's file names.
pub(super) async fn open(parts: &SiteParts) -> Result<Opened, SiteError> {
    let region = parts.region.id.clone();
    let (driver, s3, identity): (Arc<dyn BlobStore>, _, Option<Arc<dyn Rotating>>) = match &parts.region.store
    {
        catalogue::Store::Memory {} => (Arc::new(MemoryStore::new(region)), None, None),
        catalogue::Store::Fs(local) => {
            let root = under(&parts.settings.state_dir, &local.path);
            if let Some(parent) = root.parent() {
                make_private(parent)?;
            }
            let settings = FsSettings { region, root };
            let store = FsStore::open(settings, parts.clock.as_ref(), Arc::clone(&parts.entropy)).await?;
            (Arc::new(store), None, None)
        }
        catalogue::Store::S3(declared) => {
            let identity = credentials::s3(&declared.access_key_id, &declared.secret_access_key)?;
            let s3 = Arc::new(s3_store(parts, declared, identity.clone())?);
            let identity: Arc<dyn Rotating> = Arc::new(identity);
            (Arc::new(Reidentified::new(Arc::clone(&s3), Arc::clone(&identity))), Some(s3), Some(identity))
        }
        catalogue::Store::Gcs(declared) => {
            let gcs = GcsStore::open(gcs_settings(parts, declared)?).await?;
            let identity = gcs.identity();
            (Arc::new(Reidentified::new(gcs, Arc::clone(&identity))), None, Some(identity))
        }
    };
    let settings = outbound(&parts.limits);
    let store = Outbound::new(driver, settings, &parts.metrics, Arc::clone(&parts.entropy));
    Ok(Opened { store: Arc::new(Anchored::new(Arc::new(store))), s3, identity })
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

fn gcs_settings(parts: &SiteParts, gcs: &catalogue::GcsStore) -> Result<GcsSettings, SiteError> {
    Ok(GcsSettings {
        region: parts.region.id.clone(),
        endpoint: gcs.endpoint.to_string(),
        control_endpoint: gcs.control_endpoint.as_ref().map(ToString::to_string),
        bucket: gcs.bucket.clone(),
        prefix: gcs.prefix.clone(),
        credentials: credentials::gcs(&gcs.credentials)?,
        token_hosts: gcs.token_hosts.iter().map(ToString::to_string).collect(),
        declared_location: Some(gcs.expected_location.clone()),
        attempt_ms: ATTEMPT_MS,
    })
}

fn s3_store(
    parts: &SiteParts,
    s3: &catalogue::S3Store,
    identity: Identity<S3Credentials>,
) -> Result<S3Store, SiteError> {
    let settings = S3Settings {
        region: parts.region.id.clone(),
        endpoint: s3.endpoint.to_string(),
        signing_region: s3.signing_region.clone(),
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        path_style: s3.path_style,
        credentials: identity,
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
