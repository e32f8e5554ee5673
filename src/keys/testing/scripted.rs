//! A KMS in memory that does what it is told: answers, is slow, fails, denies. It wraps nothing: a wrapped key is a random
//! number, and the table of what it stands for is the KMS. So it shares no code and no mistake with a real provider.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::keys::{Custody, Description, KekContext, Kms, KmsError, RootRef, RootState, RootStatus, Wrapped};
use crate::model::{Entropy, Secret, SystemEntropy};

/// What the next calls meet instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This error.
    Fail(KmsError),
    /// No answer, ever: the caller's time limit has to end it.
    Hang,
    /// An answer once [`ScriptedKms::release`] is called.
    Wait,
}

/// How often each verb was called, faults included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `wrap`.
    pub wraps: usize,
    /// Calls of `unwrap`.
    pub unwraps: usize,
    /// Calls of `status`.
    pub statuses: usize,
}

/// See the module. Cheap to clone; clones are one KMS.
#[derive(Clone, Debug, Default)]
pub struct ScriptedKms {
    table: Arc<Mutex<Table>>,
    released: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Table {
    roots: HashMap<RootRef, RootStatus>,
    wrapped: HashMap<Vec<u8>, Entry>,
    script: VecDeque<Fault>,
    always: Option<Fault>,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    root: RootRef,
    version: u32,
    context: KekContext,
    key: Secret<[u8; 32]>,
}

impl ScriptedKms {
    /// One that answers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next call meets `fault`; several queue up, and go before [`ScriptedKms::always`].
    pub fn next(&self, fault: Fault) {
        self.table().script.push_back(fault);
    }

    /// Every call meets `fault` until told otherwise.
    pub fn always(&self, fault: Option<Fault>) {
        self.table().always = fault;
    }

    /// Lets one call that waits go on.
    pub fn release(&self) {
        self.released.notify_one();
    }

    /// Calls so far.
    pub fn counts(&self) -> Counts {
        self.table().counts
    }

    /// Sets the state of a root, made if there is none.
    pub fn set_state(&self, root: &RootRef, state: RootState) {
        let fresh = RootStatus { state, version: 1 };
        self.table().roots.entry(root.clone()).or_insert(fresh).state = state;
    }

    /// Adds a version to a root.
    pub fn rotate(&self, root: &RootRef) {
        if let Some(status) = self.table().roots.get_mut(root) {
            status.version += 1;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn meet_fault(&self, count: impl FnOnce(&mut Counts)) -> Result<(), KmsError> {
        let fault = {
            let mut table = self.table();
            count(&mut table.counts);
            let next = table.script.pop_front();
            next.or(table.always)
        };
        match fault {
            None => Ok(()),
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Wait) => {
                self.released.notified().await;
                Ok(())
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Kms for ScriptedKms {
    async fn wrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        key: &Secret<[u8; 32]>,
    ) -> Result<Wrapped, KmsError> {
        self.meet_fault(|counts| counts.wraps += 1).await?;
        let mut token = [0; 24];
        SystemEntropy.fill(&mut token).map_err(|_| KmsError::Unavailable("no random bytes"))?;
        let mut table = self.table();
        let fresh = RootStatus { state: RootState::Enabled, version: 1 };
        let status = *table.roots.entry(root.clone()).or_insert(fresh);
        usable(status)?;
        let entry =
            Entry { root: root.clone(), version: status.version, context: context.clone(), key: key.clone() };
        table.wrapped.insert(token.to_vec(), entry);
        Ok(Wrapped { root_version: status.version, bytes: token.to_vec() })
    }

    async fn unwrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        wrapped: &Wrapped,
    ) -> Result<Secret<[u8; 32]>, KmsError> {
        self.meet_fault(|counts| counts.unwraps += 1).await?;
        let table = self.table();
        usable(*table.roots.get(root).ok_or(KmsError::Denied)?)?;
        let entry = table.wrapped.get(&wrapped.bytes).ok_or(KmsError::Corrupt)?;
        if entry.root != *root || entry.version != wrapped.root_version {
            return Err(KmsError::Corrupt);
        }
        if entry.context != *context {
            return Err(KmsError::WrongContext);
        }
        Ok(entry.key.clone())
    }

    async fn status(&self, root: &RootRef) -> Result<RootStatus, KmsError> {
        self.meet_fault(|counts| counts.statuses += 1).await?;
        self.table().roots.get(root).copied().ok_or(KmsError::Denied)
    }

    fn describe(&self) -> Description {
        Description {
            kind: "scripted",
            custody: Custody::SoftwareKms,
            place: String::from("this test"),
            for_development: true,
        }
    }
}

fn usable(status: RootStatus) -> Result<(), KmsError> {
    match status.state {
        RootState::Enabled => Ok(()),
        RootState::Disabled => Err(KmsError::Disabled),
        RootState::Scheduled(_) => Err(KmsError::ScheduledForDestruction),
        RootState::Destroyed => Err(KmsError::Destroyed),
    }
}
