//! The snapshot that requests are identified by, and the poller that keeps it true.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::TenantsError;
use super::registry::new_secret;
use super::sealed_row::{self, CREDENTIAL, TENANT};
use crate::index::{DirectoryRow, Index};
use crate::keys::Ring;
use crate::model::{AccessKeyId, Clock, Credential, CredentialStatus, Entropy, Secret, Tenant, TenantStatus};
use crate::telemetry::event;

/// Rows asked for at once.
const PAGE: u32 = 1000;
/// Pages of one refresh: more rows than the directory may hold.
const PAGES_MAX: usize = 1000;
/// Longest refresh of the poller.
const REFRESH_MAX: Duration = Duration::from_secs(10);

/// Bounds of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectorySettings {
    /// How often the index is asked whether something changed. 100 ms to 2 s, so that a proxy obeys within 5 s.
    pub poll: Duration,
    /// How long the snapshot answers while the index cannot be read; afterwards every lookup is [`Reason::Stale`] (503). At
    /// most 60 s: without an index no S3 request can be served anyway, and a credential disabled meanwhile must not go on.
    pub stale_max: Duration,
}

impl Default for DirectorySettings {
    /// 1 s and 30 s.
    fn default() -> Self {
        Self { poll: Duration::from_secs(1), stale_max: Duration::from_secs(30) }
    }
}

/// Who a key id belongs to. Nothing is authenticated yet.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The tenant, active.
    pub tenant: Arc<Tenant>,
    /// The credential, active, with its secret.
    pub credential: Arc<Credential>,
}

/// Why a key id has no identity. For logs and counters: the public answer to the first three is one and the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No such key id.
    UnknownKey,
    /// The credential is disabled.
    CredentialDisabled,
    /// The tenant is suspended.
    TenantSuspended,
    /// The directory has not been read for too long: 503, not 403.
    Stale,
}

/// No identity, and a secret to verify the signature against all the same, so that a stranger cannot tell by the time
/// taken whether a key id exists.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the access key id has no active credential")]
pub struct Unidentified {
    /// Why, for ourselves.
    pub reason: Reason,
    decoy: Arc<Secret<String>>,
}

impl Unidentified {
    /// A random secret of the usual length that belongs to nobody.
    pub fn decoy(&self) -> &Secret<String> {
        &self.decoy
    }
}

/// The tenants and credentials of one region, in memory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    index: Arc<dyn Index>,
    ring: Ring,
    settings: DirectorySettings,
    clock: Arc<dyn Clock>,
    tenants: DashMap<String, Held<Tenant>>,
    credentials: DashMap<String, Held<Credential>>,
    /// The newest change taken over.
    seen_change: AtomicU64,
    /// When the index was last read with success, ms of [`Clock::ticked`]: the moment the reading began. Not of the wall clock: set
    /// back, that would let a snapshot answer for as long as it was set back by.
    read_ms: AtomicU64,
    decoy: Arc<Secret<String>>,
}

/// A row as last seen. The generation outlives a broken content, so that an older one cannot come back in its place.
#[derive(Debug)]
struct Held<T> {
    generation: u64,
    value: Option<Arc<T>>,
}

impl Directory {
    /// Reads everything once; fails if it cannot. A row that does not open is left out and logged: its tenant is refused, the
    /// others are served.
    pub async fn open(
        index: Arc<dyn Index>,
        ring: Ring,
        settings: DirectorySettings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, TenantsError> {
        let poll_ok = (Duration::from_millis(100)..=Duration::from_secs(2)).contains(&settings.poll);
        if !poll_ok || settings.stale_max > Duration::from_mins(1) || settings.stale_max < settings.poll {
            return Err(TenantsError::Settings("poll must be 100 ms to 2 s, stale_max from that to 60 s"));
        }
        let inner = Inner {
            index,
            ring,
            settings,
            clock,
            tenants: DashMap::new(),
            credentials: DashMap::new(),
            seen_change: AtomicU64::new(0),
            read_ms: AtomicU64::new(0),
            decoy: Arc::new(new_secret(&*entropy)?),
        };
        let directory = Self { inner: Arc::new(inner) };
        directory.refresh().await?;
        Ok(directory)
    }

    /// Who `key_id` belongs to. Takes no lock over an await, no I/O.
    pub fn lookup(&self, key_id: &AccessKeyId) -> Result<Identity, Unidentified> {
        let inner = &self.inner;
        let refused = |reason| Unidentified { reason, decoy: Arc::clone(&inner.decoy) };
        let read = Duration::from_millis(inner.read_ms.load(Ordering::Acquire));
        if inner.clock.ticked().saturating_sub(read) > inner.settings.stale_max {
            return Err(refused(Reason::Stale));
        }
        let credential = inner.credentials.get(key_id.as_str()).and_then(|held| held.value.clone());
        // The second search is made for an unknown key too.
        let tenant_id = credential.as_ref().map_or("", |credential| credential.tenant.as_str());
        let tenant = inner.tenants.get(tenant_id).and_then(|held| held.value.clone());
        let (Some(credential), Some(tenant)) = (credential, tenant) else {
            return Err(refused(Reason::UnknownKey));
        };
        if credential.status == CredentialStatus::Disabled {
            return Err(refused(Reason::CredentialDisabled));
        }
        if tenant.status == TenantStatus::Suspended {
            return Err(refused(Reason::TenantSuspended));
        }
        Ok(Identity { tenant, credential })
    }

    /// Asks the index whether something changed, and takes it over. True if something did.
    pub async fn refresh(&self) -> Result<bool, TenantsError> {
        self.inner.refresh().await
    }

    /// Refreshes every [`DirectorySettings::poll`] until the returned guard is dropped.
    pub fn watch(&self) -> Watch {
        let inner = Arc::clone(&self.inner);
        Watch(tokio::spawn(async move { inner.follow().await }))
    }
}

/// Stops the poller when dropped.
#[derive(Debug)]
pub struct Watch(JoinHandle<()>);

impl Watch {
    /// Stops the poller; what it was asking of the index has been let go of when this returns.
    pub async fn stop(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inner {
    async fn follow(&self) {
        let mut ticks = tokio::time::interval(self.settings.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            let outcome = tokio::time::timeout(REFRESH_MAX, self.refresh()).await;
            let failed = !matches!(outcome, Ok(Ok(_)));
            // Logged when it begins and when it ends, not every second between.
            match outcome {
                Ok(Ok(_)) if failing => event::directory_recovered(),
                Ok(Err(error)) if !failing => event::directory_failed(Some(&error)),
                Err(_) if !failing => event::directory_failed(None),
                _ => {}
            }
            failing = failed;
        }
    }

    async fn refresh(&self) -> Result<bool, TenantsError> {
        let began = self.clock.ticked();
        let seen = self.seen_change.load(Ordering::Acquire);
        let found = self.index.directory_change().await?;
        if found < seen {
            return Err(TenantsError::RolledBack { seen, found });
        }
        let mut after = seen;
        for _ in 0..PAGES_MAX {
            if after >= found {
                break;
            }
            let rows = self.index.rows_changed(after, PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = after.max(last.change);
            for row in &rows {
                self.take_over(row).await?;
            }
            self.seen_change.fetch_max(after, Ordering::AcqRel);
        }
        if after < found {
            // More changes than rows can be, or rows that the change number counts and the list does not show.
            return Err(TenantsError::Corrupt { kind: "changed" });
        }
        self.read_ms.store(u64::try_from(began.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        Ok(after > seen)
    }

    async fn take_over(&self, row: &DirectoryRow) -> Result<(), TenantsError> {
        match row.kind.as_str() {
            TENANT => {
                let opened = sound::<Tenant>(sealed_row::open(&self.ring, row).await, row)?;
                replace(&self.tenants, row, opened, |_| true);
            }
            CREDENTIAL => {
                let opened = sound::<Credential>(sealed_row::open(&self.ring, row).await, row)?;
                // Disabled is for good, whatever a later row says.
                replace(&self.credentials, row, opened, |old| old.status != CredentialStatus::Disabled);
            }
            // Kinds of a newer release.
            _ => {}
        }
        Ok(())
    }
}

/// A row that is itself broken becomes no value; any other failure fails the reading.
pub(super) fn sound<T>(
    opened: Result<T, TenantsError>,
    row: &DirectoryRow,
) -> Result<Option<Arc<T>>, TenantsError> {
    match opened {
        Ok(value) => Ok(Some(Arc::new(value))),
        Err(TenantsError::Corrupt { kind }) => {
            event::directory_row_corrupt(kind, row.generation);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn replace<T>(
    map: &DashMap<String, Held<T>>,
    row: &DirectoryRow,
    value: Option<Arc<T>>,
    may: fn(&T) -> bool,
) {
    let mut held = map.entry(row.id.clone()).or_insert(Held { generation: 0, value: None });
    if row.generation < held.generation {
        event::directory_row_older(&row.kind, row.generation);
        return;
    }
    held.generation = row.generation;
    let allowed = held.value.as_ref().is_none_or(|old| may(old));
    if allowed {
        held.value = value;
    }
}
