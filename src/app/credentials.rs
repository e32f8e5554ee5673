//! Who a region is to its store, its databases and its collector: read from where its file says, and again while it serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::blobs::{GcsCredentials, S3Credentials};
use crate::catalogue;
use crate::database::Address;
use crate::identity::{Identity, Rotating, Source};
use crate::model::SecretRef;
use crate::settings::{SecretError, read_secret};
use crate::telemetry::{CollectorHeaders, event};

use super::Site;
use super::site::SiteError;

/// How often a pair is read that changes while it is read.
const READINGS_MAX: usize = 3;

/// Credentials in use, and whose.
#[derive(Clone, Debug)]
pub(super) struct InUse {
    /// `store`, `index`, `key store`, `collector`.
    pub(super) by: &'static str,
    pub(super) identity: Arc<dyn Rotating>,
}

/// A key pair of an S3 store.
pub(super) fn s3(key_id: &SecretRef, secret: &SecretRef) -> Result<Identity<S3Credentials>, SecretError> {
    let (key_id, secret) = (key_id.clone(), secret.clone());
    let current = pair(&key_id, &secret)?;
    Ok(Identity::new(current, Source::reading(move || Ok(pair(&key_id, &secret)?))))
}

/// Both halves. Two files are not replaced at one moment: a half that changed while the other was read belongs to another pair.
fn pair(key_id: &SecretRef, secret: &SecretRef) -> Result<S3Credentials, SecretError> {
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

/// What the driver for Google makes its credentials of.
pub(super) fn gcs(declared: &catalogue::GcsCredentials) -> Result<Source<GcsCredentials>, SecretError> {
    let (file, kind): (_, fn(_) -> _) = match declared {
        catalogue::GcsCredentials::ServiceAccount(key) => (key.clone(), GcsCredentials::ServiceAccount),
        catalogue::GcsCredentials::WorkloadIdentity(file) => (file.clone(), GcsCredentials::WorkloadIdentity),
        catalogue::GcsCredentials::MetadataServer {} => return Ok(GcsCredentials::MetadataServer.into()),
        catalogue::GcsCredentials::Anonymous {} => return Ok(GcsCredentials::Anonymous.into()),
    };
    // Once here, so that a secret that cannot be read is reported as what it is.
    read_secret(&file)?;
    Ok(Source::reading(move || Ok(kind(read_secret(&file)?))))
}

/// The connection URL of a database, as long as it leads where the region file says. Another one must lead to the same database,
/// and is tried with `prove` before it counts: a mistake in it is not to cost the connections that work.
pub(super) fn postgres<F, E>(
    database: &catalogue::Postgres,
    of: &'static str,
    prove: impl Fn(Address) -> F + Clone + Send + Sync + 'static,
) -> Result<Identity<Address>, SiteError>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let database = database.clone();
    let first = address(&database, of)?;
    let read = Source::reading(move || Ok(address(&database, of)?));
    let proved = read.then(Some((first.clone(), first.clone())), {
        let first = first.clone();
        move |next| {
            let (prove, first) = (prove.clone(), first.clone());
            async move {
                next.must_lead_where(&first)?;
                prove(next.clone()).await?;
                Ok(next)
            }
        }
    });
    Ok(Identity::new(first, proved))
}

/// What is sent with every export to a collector.
pub(super) fn collector(
    declared: &BTreeMap<String, SecretRef>,
) -> Result<Identity<CollectorHeaders>, SiteError> {
    let declared = declared.clone();
    let current = headers(&declared)?;
    Ok(Identity::new(current, Source::reading(move || Ok(headers(&declared)?))))
}

fn headers(declared: &BTreeMap<String, SecretRef>) -> Result<CollectorHeaders, SiteError> {
    let read = declared.iter().map(|(name, value)| Ok((name.clone(), read_secret(value)?)));
    let read: Vec<_> = read.collect::<Result<_, SecretError>>()?;
    Ok(CollectorHeaders::new(read)?)
}

fn address(database: &catalogue::Postgres, of: &'static str) -> Result<Address, SiteError> {
    let url = read_secret(&database.url)?;
    let wrong = |source| SiteError::Address { what: of, source };
    let address = Address::parse(&url).map_err(wrong)?;
    let (host, port) = (database.host.host(), database.host.port());
    let declared = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    address.must_lead_to(&declared).map_err(wrong)?;
    Ok(address)
}

/// Keeps credentials of a site as their files are: looks every `period`, and when `asked` changes (SIGHUP).
pub(super) async fn watch(
    site: Arc<Site>,
    InUse { by, identity }: InUse,
    period: Duration,
    mut asked: tokio::sync::watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let region = &site.region().id;
    let mut failing = false;
    let mut known = identity.changes();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            asked = asked.changed() => if asked.is_err() { return },
            () = tokio::time::sleep(period) => {}
        }
        match identity.reread().await {
            Ok(()) => {
                failing = false;
                // Compared here, since a refusal may have had them read in between.
                let changes = identity.changes();
                if changes != known {
                    known = changes;
                    site.metrics().credential_reloads().increment();
                    event::credentials_reloaded(region, by);
                }
            }
            // Once for each time it begins to fail, not once a look.
            Err(error) if !failing => {
                failing = true;
                site.metrics().credential_reloads_failed().increment();
                event::credentials_kept(region, by, &*error);
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_the_regions_file_does_not_name_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("url");
        std::fs::write(&secret, "postgres://terroir:secret@127.0.0.1:5432/terroir").unwrap();
        let declared = |host: &str| catalogue::Postgres {
            host: host.parse().unwrap(),
            url: SecretRef::File(secret.clone()),
        };
        assert!(address(&declared("127.0.0.1:5432"), "index").is_ok());
        for elsewhere in ["127.0.0.1:5433", "127.0.0.2:5432", "db.example:5432"] {
            let refused = address(&declared(elsewhere), "index");
            assert!(matches!(refused, Err(SiteError::Address { what: "index", .. })), "{elsewhere}");
        }
    }
}
