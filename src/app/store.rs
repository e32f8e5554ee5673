//! The driver a region's file asks for, behind the outbound stack.

use std::sync::Arc;

use crate::blobs::{
    BlobStore, CircuitSettings, FsSettings, FsStore, LimitSettings, MemoryStore, Outbound, OutboundSettings,
    S3Credentials, S3Settings, S3Store,
};
use crate::catalogue;
use crate::settings::{Limits, read_secret};

use super::site::{SiteError, SiteParts, make_private, under};

/// Time for name resolution, TCP and TLS together.
const CONNECT_MS: u64 = 3_000;
/// The driver's own time for one verb: above what the stack allows the largest blob, so that it is the stack that ends it.
const ATTEMPT_MS: u64 = 180_000;

/// The driver, behind the stack through which this region's store is called.
pub(super) async fn open(parts: &SiteParts) -> Result<Arc<dyn BlobStore>, SiteError> {
    let driver = driver(parts).await?;
    let settings = outbound(&parts.limits);
    Ok(Arc::new(Outbound::new(driver, settings, Arc::clone(&parts.metrics), Arc::clone(&parts.entropy))))
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
                // As many as attempts may be under way, or small ones pay a handshake each.
                idle_connections_max: usize::try_from(parts.limits.store_in_flight_max).unwrap_or(usize::MAX),
            };
            Ok(Arc::new(S3Store::new(settings)?))
        }
        catalogue::Store::Gcs(_) => Err(SiteError::NotBuilt { what: "store", kind: "gcs" }),
    }
}
