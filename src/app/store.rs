//! The driver a region's file asks for, behind the outbound stack.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::blobs::{
    BlobStore, CircuitSettings, FsSettings, FsStore, GcsCredentials, GcsSettings, GcsStore, LimitSettings,
    MemoryStore, Outbound, OutboundSettings, Reidentified, RereadError, S3Credentials, S3Identity, S3Quirks,
    S3Settings, S3Store,
};
use crate::catalogue;
use crate::model::SecretRef;
use crate::settings::{Limits, SecretError, read_secret};
use crate::telemetry::event;

use super::Site;
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
    /// Who we are to it, if that may change while it is used.
    pub(super) identity: Option<S3Identity>,
}

/// Opens the store that the region's file names.
pub(super) async fn open(parts: &SiteParts) -> Result<Opened, SiteError> {
    let (driver, s3, identity): (Arc<dyn BlobStore>, _, _) = match &parts.region.store {
        catalogue::Store::S3(declared) => {
            let identity = identity(&declared.access_key_id, &declared.secret_access_key)?;
            let s3 = Arc::new(s3_store(parts, declared, identity.clone())?);
            let driver = Reidentified::new(Arc::clone(&s3), identity.clone());
            (Arc::new(driver), Some(s3), Some(identity))
        }
        other => (driver(parts, other).await?, None, None),
    };
    let settings = outbound(&parts.limits);
    let store = Outbound::new(driver, settings, &parts.metrics, Arc::clone(&parts.entropy));
    Ok(Opened { store: Arc::new(store), s3, identity })
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

async fn driver(parts: &SiteParts, declared: &catalogue::Store) -> Result<Arc<dyn BlobStore>, SiteError> {
    let region = parts.region.id.clone();
    match declared {
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
            let identity = identity(&s3.access_key_id, &s3.secret_access_key)?;
            Ok(Arc::new(s3_store(parts, s3, identity)?))
        }
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

fn s3_store(parts: &SiteParts, s3: &catalogue::S3Store, identity: S3Identity) -> Result<S3Store, SiteError> {
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

/// Credentials read from where the region's file says, now and whenever they are asked for again.
fn identity(key_id: &SecretRef, secret: &SecretRef) -> Result<S3Identity, SiteError> {
    let (key_id, secret) = (key_id.clone(), secret.clone());
    // Once here, so that a secret that cannot be read is reported as what it is.
    credentials(&key_id, &secret)?;
    let reread = move || credentials(&key_id, &secret).map_err(RereadError::from);
    S3Identity::rotating(Box::new(reread)).map_err(|_| SiteError::SecretsChanging)
}

/// How often a pair is read that changes while it is read.
const READINGS_MAX: usize = 3;

/// Both halves. Two files are not replaced at one moment: a half that changed while the other was read belongs to another pair.
fn credentials(key_id: &SecretRef, secret: &SecretRef) -> Result<S3Credentials, SecretError> {
    let mut first = read_secret(key_id)?;
    for _ in 1..READINGS_MAX {
        let secret_access_key = read_secret(secret)?;
        let again = read_secret(key_id)?;
        if again == first {
            return Ok(S3Credentials { access_key_id: first.expose().clone(), secret_access_key });
        }
        first = again;
    }
    Ok(S3Credentials { access_key_id: first.expose().clone(), secret_access_key: read_secret(secret)? })
}

/// Keeps a site's store credentials as their files are: looks every `period`, and when `asked` changes (SIGHUP).
pub(super) async fn watch(
    site: Arc<Site>,
    period: Duration,
    mut asked: tokio::sync::watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let Some(identity) = site.store_identity.clone() else { return };
    let region = &site.region().id;
    let mut failing = false;
    let mut known = identity.current();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            asked = asked.changed() => if asked.is_err() { return },
            () = tokio::time::sleep(period) => {}
        }
        match identity.reread().await {
            Ok(_) => {
                failing = false;
                // Compared here, since a refusal of the store may have had them read in between.
                let current = identity.current();
                if current != known {
                    known = current;
                    site.metrics().credential_reloads().increment();
                    event::credentials_reloaded(region);
                }
            }
            // Once for each time it begins to fail, not once a look.
            Err(error) if !failing => {
                failing = true;
                site.metrics().credential_reloads_failed().increment();
                event::credentials_kept(region, &*error);
            }
            Err(_) => {}
        }
    }
}
