//! The driver a region's file asks for, behind bounded retries.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::blobs::{
    BlobStore, FsSettings, FsStore, MemoryStore, Metered, Reidentified, RereadError, RetrySettings, Retrying,
    S3Credentials, S3Identity, S3Settings, S3Store,
};
use crate::catalogue;
use crate::model::SecretRef;
use crate::settings::{SecretError, read_secret};
use crate::telemetry::event;

use super::Site;
use super::site::{SiteError, SiteParts, make_private, under};

/// Time for name resolution, TCP and TLS together.
const CONNECT_MS: u64 = 3_000;
/// Time for one verb on one blob: 8 MiB at 0.5 MiB/s.
const ATTEMPT_MS: u64 = 16_000;
/// Idle connections kept to an S3 store.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// A region's store, and who we are to it if that may change while it is used.
pub(super) struct Opened {
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) identity: Option<S3Identity>,
}

impl From<Arc<dyn BlobStore>> for Opened {
    fn from(store: Arc<dyn BlobStore>) -> Self {
        Self { store, identity: None }
    }
}

pub(super) async fn open(parts: &SiteParts) -> Result<Opened, SiteError> {
    let region = parts.region.id.clone();
    let entropy = || Arc::clone(&parts.entropy);
    match &parts.region.store {
        catalogue::Store::Memory {} => {
            let store: Arc<dyn BlobStore> =
                Arc::new(Metered::new(MemoryStore::new(region), Arc::clone(&parts.metrics)));
            Ok(store.into())
        }
        catalogue::Store::Fs(local) => {
            let root = under(&parts.settings.state_dir, &local.path);
            if let Some(parent) = root.parent() {
                make_private(parent)?;
            }
            let store = FsStore::open(FsSettings { region, root }, parts.clock.as_ref(), entropy()).await?;
            let store: Arc<dyn BlobStore> = Arc::new(Retrying::new(
                Metered::new(store, Arc::clone(&parts.metrics)),
                RetrySettings::default(),
                entropy(),
            ));
            Ok(store.into())
        }
        catalogue::Store::S3(s3) => {
            let identity = identity(&s3.access_key_id, &s3.secret_access_key)?;
            let settings = S3Settings {
                region,
                endpoint: s3.endpoint.to_string(),
                signing_region: s3.signing_region.clone(),
                bucket: s3.bucket.clone(),
                prefix: s3.prefix.clone(),
                path_style: s3.path_style,
                credentials: identity.clone(),
                ca_file: None,
                create_if_absent: true,
                declared_location: s3.expected_location.clone(),
                connect_ms: CONNECT_MS,
                attempt_ms: ATTEMPT_MS,
                idle_connections_max: IDLE_CONNECTIONS_MAX,
            };
            let store = Reidentified::new(S3Store::new(settings)?, identity.clone());
            let store = Arc::new(Retrying::new(
                Metered::new(store, Arc::clone(&parts.metrics)),
                RetrySettings::default(),
                entropy(),
            ));
            Ok(Opened { store, identity: Some(identity) })
        }
        catalogue::Store::Gcs(_) => Err(SiteError::NotBuilt { what: "store", kind: "gcs" }),
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
