//! Root keys in files: for development and for air-gapped sites. Whoever can read the directory has the keys.
//!
//! Every call reads its root's file, so that a state set by another process (the command line) is obeyed at once; the
//! ring's cache keeps that rare. Changes take a lock file, write a new file beside the old one, and rename it. A directory that
//! went away is a KMS that cannot be reached: what stands in its place says nothing about the roots, and gets none.

mod directory;
mod root_file;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use self::directory::RootDirectory;
use self::root_file::{RootFile, Version};
use super::{
    Custody, Description, KekContext, Kms, KmsError, RootRef, RootState, RootStatus, Wrapped, field,
};
use crate::model::{Clock, Entropy, EntropyError, Secret};
use crate::telemetry::event;

/// Shortest wait between scheduling a destruction and doing it: somebody has to notice.
pub const DESTRUCTION_WAIT_MIN: Duration = Duration::from_hours(24);

/// Separates these keys from every other use of 32 random bytes.
const PURPOSE: &str = "local-file root";

/// Bytes of the context's digest in front of a wrapped key.
const DIGEST_BYTES: usize = 16;

/// Calls that may occupy a thread at once. One takes microseconds; in a folder that hangs each keeps its thread, of tokio's 512 that
/// everything else needs too, and callers give up on it in their own time.
const CALLS_MAX: usize = 16;

/// A KMS in a directory (mode 0700) of files (mode 0600), one per root.
#[derive(Clone, Debug)]
pub struct LocalFileKms {
    inner: Arc<Inner>,
    calls: Arc<Semaphore>,
}

#[derive(Debug)]
struct Inner {
    directory: RootDirectory,
    place: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A verb on root files is refused or failed. Names no path.
#[derive(Debug, thiserror::Error)]
pub enum RootFileError {
    /// The directory or a file in it can be read by others than its owner.
    #[error("{what} can be read by others than its owner")]
    Exposed {
        /// Which.
        what: &'static str,
    },
    /// The file system failed.
    #[error("could not {what}")]
    Io {
        /// Doing what.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Another directory stands where the one that was opened did: its volume was unmounted, or it was moved away.
    #[error(
        "another directory is in the place of the root files; put theirs back, or start again if it was moved on purpose"
    )]
    Elsewhere,
    /// A root's file is not what was written.
    #[error("a root file is corrupt: {0}")]
    Corrupt(&'static str),
    /// There is no such root.
    #[error("there is no root {0}")]
    NoSuchRoot(RootRef),
    /// The root's state does not allow the verb.
    #[error("a root that is {state} cannot be {verb}")]
    WrongState {
        /// The state found.
        state: &'static str,
        /// The verb, as a participle.
        verb: &'static str,
    },
    /// The wait is not over, or too short.
    #[error("{0} s more must pass before the root may be destroyed")]
    TooSoon(u64),
    /// Another process keeps changing root files.
    #[error("another process holds the lock on the root files")]
    Busy,
    /// A root has at most this many versions.
    #[error("a root has at most {count_max} versions")]
    TooManyVersions {
        /// The limit.
        count_max: usize,
    },
    /// Randomness.
    #[error("no new root key")]
    Entropy(#[from] EntropyError),
}

impl LocalFileKms {
    /// Opens the directory, making it if need be; refuses one that others can read. `place` is what reports say.
    pub fn open(
        directory: PathBuf,
        place: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, RootFileError> {
        let directory = RootDirectory::open(directory)?;
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        Ok(Self { inner: Arc::new(Inner { directory, place, clock, entropy }), calls })
    }

    /// Runs `call` on a blocking thread, to its end even if the caller goes away.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, KmsError> + Send + 'static,
    ) -> Result<T, KmsError> {
        const STOPPING: KmsError = KmsError::Unavailable("the runtime is stopping");
        let turn = Arc::clone(&self.calls).acquire_owned().await.map_err(|_| STOPPING)?;
        let run = move || {
            // Kept as long as the thread is, not as long as the caller waits.
            let _turn = turn;
            call()
        };
        spawn_blocking(run).await.unwrap_or(Err(STOPPING))
    }

    /// Adds a version to an enabled root; older versions still unwrap. Returns the new version.
    pub fn rotate(&self, root: &RootRef) -> Result<u32, RootFileError> {
        self.inner.change(root, "rotated", |file, inner| match file.state {
            RootState::Enabled => file.add_version(inner.clock.now(), &*inner.entropy),
            state => Err(wrong_state(state, "rotated")),
        })
    }

    /// Enables a disabled root.
    pub fn enable(&self, root: &RootRef) -> Result<(), RootFileError> {
        self.inner.change(root, "enabled", |file, _| match file.state {
            RootState::Enabled | RootState::Disabled => {
                file.state = RootState::Enabled;
                Ok(())
            }
            state => Err(wrong_state(state, "enabled")),
        })
    }

    /// Disables an enabled root, or cancels its destruction.
    pub fn disable(&self, root: &RootRef) -> Result<(), RootFileError> {
        self.inner.change(root, "disabled", |file, _| {
            if file.state == RootState::Destroyed {
                return Err(wrong_state(file.state, "disabled"));
            }
            file.state = RootState::Disabled;
            Ok(())
        })
    }

    /// Schedules a root for destruction after `wait`, at least [`DESTRUCTION_WAIT_MIN`]. It is unusable from now on.
    pub fn schedule_destruction(&self, root: &RootRef, wait: Duration) -> Result<(), RootFileError> {
        if wait < DESTRUCTION_WAIT_MIN {
            return Err(RootFileError::TooSoon(DESTRUCTION_WAIT_MIN.saturating_sub(wait).as_secs()));
        }
        self.inner.change(root, "scheduled for destruction", |file, inner| match file.state {
            RootState::Enabled | RootState::Disabled => {
                file.state = RootState::Scheduled(inner.clock.now().after(wait));
                Ok(())
            }
            state => Err(wrong_state(state, "scheduled for destruction")),
        })
    }

    /// Destroys a scheduled root whose wait is over. For good: what it wrapped cannot be opened again, unless somebody kept
    /// a copy of the file (a backup, a snapshot of the disk). A KMS proper has no such copies.
    pub fn destroy(&self, root: &RootRef) -> Result<(), RootFileError> {
        self.inner.change(root, "destroyed", |file, inner| match file.state {
            RootState::Scheduled(at) if at <= inner.clock.now() => {
                file.state = RootState::Destroyed;
                file.versions.clear();
                Ok(())
            }
            RootState::Scheduled(at) => {
                Err(RootFileError::TooSoon(at.since(inner.clock.now()).as_secs().max(1)))
            }
            state => Err(wrong_state(state, "destroyed")),
        })
    }

    /// Every root and its state, by name.
    pub fn roots(&self) -> Result<Vec<(RootRef, RootStatus)>, RootFileError> {
        let roots = self.inner.directory.roots()?;
        roots.into_iter().map(|root| Ok((root.clone(), self.inner.read(&root)?.status()))).collect()
    }
}

#[async_trait]
impl Kms for LocalFileKms {
    async fn wrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        key: &Secret<[u8; 32]>,
    ) -> Result<Wrapped, KmsError> {
        let (inner, root, context, key) =
            (Arc::clone(&self.inner), root.clone(), context.clone(), key.clone());
        self.blocking(move || inner.wrap(&root, &context, &key)).await
    }

    async fn unwrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        wrapped: &Wrapped,
    ) -> Result<Secret<[u8; 32]>, KmsError> {
        let (inner, root, context, wrapped) =
            (Arc::clone(&self.inner), root.clone(), context.clone(), wrapped.clone());
        self.blocking(move || inner.unwrap(&root, &context, &wrapped)).await
    }

    async fn status(&self, root: &RootRef) -> Result<RootStatus, KmsError> {
        let (inner, root) = (Arc::clone(&self.inner), root.clone());
        self.blocking(move || Ok(inner.read(&root)?.status())).await
    }

    fn describe(&self) -> Description {
        Description {
            kind: "local-file",
            custody: Custody::LocalFile,
            place: self.inner.place.clone(),
            for_development: true,
        }
    }
}

impl Inner {
    fn read(&self, root: &RootRef) -> Result<RootFile, RootFileError> {
        let text = self.directory.read(root)?.ok_or_else(|| RootFileError::NoSuchRoot(root.clone()))?;
        RootFile::parse(&text, root)
    }

    fn change<T>(
        &self,
        root: &RootRef,
        verb: &'static str,
        change: impl FnOnce(&mut RootFile, &Self) -> Result<T, RootFileError>,
    ) -> Result<T, RootFileError> {
        let _lock = self.directory.lock()?;
        let mut file = self.read(root)?;
        let outcome = change(&mut file, self)?;
        self.directory.write(root, &file.encode(root))?;
        event::root_changed(root, verb);
        Ok(outcome)
    }

    /// The root, made if there has never been one. A destroyed root's file stays, so it is never made anew.
    fn read_or_make(&self, root: &RootRef) -> Result<RootFile, RootFileError> {
        match self.read(root) {
            Err(RootFileError::NoSuchRoot(_)) => {}
            found => return found,
        }
        let _lock = self.directory.lock()?;
        match self.read(root) {
            Err(RootFileError::NoSuchRoot(_)) => {}
            found => return found,
        }
        let mut file = RootFile { state: RootState::Enabled, versions: Vec::new() };
        file.add_version(self.clock.now(), &*self.entropy)?;
        self.directory.write(root, &file.encode(root))?;
        Ok(file)
    }

    fn wrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        key: &Secret<[u8; 32]>,
    ) -> Result<Wrapped, KmsError> {
        let file = self.read_or_make(root)?;
        let version = usable(&file)?.last().ok_or(KmsError::Corrupt)?;
        let mut bytes = digest(context).to_vec();
        let sealed = with_parts(root, context, version.number, |bound_to| {
            field::seal(&field::family(&version.key, PURPOSE)?, &*self.entropy, bound_to, key.expose())
        });
        bytes.extend(sealed.map_err(|_| KmsError::Unavailable("sealing failed"))?);
        Ok(Wrapped { root_version: version.number, bytes })
    }

    fn unwrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        wrapped: &Wrapped,
    ) -> Result<Secret<[u8; 32]>, KmsError> {
        let file = self.read(root)?;
        let versions = usable(&file)?;
        let (found, sealed) = wrapped.bytes.split_at_checked(DIGEST_BYTES).ok_or(KmsError::Corrupt)?;
        // Only for a clear error: the context is authenticated again below, under the key.
        if !bool::from(found.ct_eq(&digest(context))) {
            return Err(KmsError::WrongContext);
        }
        let version = versions
            .iter()
            .find(|version| version.number == wrapped.root_version)
            .ok_or(KmsError::Corrupt)?;
        let opened = with_parts(root, context, version.number, |bound_to| {
            field::open(&field::family(&version.key, PURPOSE)?, bound_to, sealed)
        });
        let opened = opened.map_err(|_| KmsError::Corrupt)?;
        opened.expose().as_slice().try_into().map(Secret::new).map_err(|_| KmsError::Corrupt)
    }
}

/// The root's versions, if its state lets them be used.
fn usable(file: &RootFile) -> Result<&[Version], KmsError> {
    match file.state {
        RootState::Enabled => Ok(&file.versions),
        RootState::Disabled => Err(KmsError::Disabled),
        RootState::Scheduled(_) => Err(KmsError::ScheduledForDestruction),
        RootState::Destroyed => Err(KmsError::Destroyed),
    }
}

fn digest(context: &KekContext) -> [u8; DIGEST_BYTES] {
    let full = Sha256::digest(context.encoded());
    let mut short = [0; DIGEST_BYTES];
    short.copy_from_slice(&full[..DIGEST_BYTES]);
    short
}

fn with_parts<T>(root: &RootRef, context: &KekContext, version: u32, run: impl FnOnce(&[&[u8]]) -> T) -> T {
    let (root, version, [environment, region, tenant, class, kek_id, epoch]) =
        (root.to_string(), version.to_be_bytes(), context.parts());
    run(&[root.as_bytes(), &version, &environment, &region, &tenant, &class, &kek_id, &epoch])
}

fn wrong_state(state: RootState, verb: &'static str) -> RootFileError {
    RootFileError::WrongState { state: root_file::state_word(state), verb }
}

impl From<RootFileError> for KmsError {
    fn from(error: RootFileError) -> Self {
        match error {
            RootFileError::Exposed { .. } | RootFileError::NoSuchRoot(_) => Self::Denied,
            RootFileError::Io { what, .. } => Self::Unavailable(what),
            RootFileError::Elsewhere => {
                Self::Unavailable("another directory is in the place of the root files")
            }
            RootFileError::Busy => Self::Unavailable("the root files are locked"),
            RootFileError::Entropy(_) => Self::Unavailable("no random bytes"),
            RootFileError::Corrupt(_)
            | RootFileError::WrongState { .. }
            | RootFileError::TooSoon(_)
            | RootFileError::TooManyVersions { .. } => Self::Corrupt,
        }
    }
}
