//! A listener's certificate and key, replaced while it serves.
//!
//! The whole TLS configuration is exchanged, not only the certificate: it holds the sessions that clients may resume, and a
//! resumed session shows no certificate, so one begun under a key that was replaced must not outlive it. Connections that
//! are open keep what they have.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::tls::{Loaded, TlsError, TlsFiles, load};
use crate::model::Clock;
use crate::telemetry::{Metrics, event};

/// What tells one state of a file from another: who replaces it by a rename, or a link on its path (as Kubernetes does),
/// changes its device or inode; who writes into it, its times or length.
type Stamp = [Option<(u64, u64, u64, i64, i64, i64, i64)>; 2];

/// The certificate and key of a listener.
#[derive(Debug)]
pub struct Certificates {
    files: TlsFiles,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// The files as they were looked at last, used or not.
    seen: Stamp,
    /// They could not be used. What is wrong may mend without them: a certificate becomes valid, a clock is set.
    failed: bool,
}

impl Certificates {
    /// Reads the files. A chain that is not valid now, or does not fit its key, is an error.
    pub fn load(
        files: TlsFiles,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, TlsError> {
        let seen = stamp(&files);
        let loaded = load(&files, clock.now())?;
        note_end(&metrics, &loaded);
        let current = RwLock::new(Current { config: loaded.config, seen, failed: false });
        Ok(Arc::new(Self { files, clock, metrics, current }))
    }

    /// What the next handshake uses.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// Reads the files again. If they cannot be used, the present pair stays, and the failure is logged and counted. Blocks.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.read().inspect_err(|error| {
            self.metrics.certificate_reloads_failed().increment();
            event::certificate_kept(&self.files.certificates, error);
        })
    }

    /// [`Certificates::reload`] if a file is another than last time. If none is and they could not be used then, tries again, and
    /// says nothing if they still cannot. Whether there is another pair now. Blocks.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let (seen, failed) = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            (current.seen, current.failed)
        };
        if stamp(&self.files) != seen {
            return self.reload().map(|()| true);
        }
        Ok(failed && self.read().is_ok())
    }

    /// Reads the files, and takes them if they can be used.
    fn read(&self) -> Result<(), TlsError> {
        // Before reading: what changes from here on is looked at again.
        let seen = stamp(&self.files);
        let loaded = load(&self.files, self.clock.now());
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        (current.seen, current.failed) = (seen, loaded.is_err());
        let loaded = loaded?;
        note_end(&self.metrics, &loaded);
        self.metrics.certificate_reloads().increment();
        event::certificate_reloaded(&self.files.certificates, loaded.not_after);
        current.config = loaded.config;
        Ok(())
    }
}

/// Keeps `certificates` as their files are: looks every `period`, and reads them in any case when `asked` changes (SIGHUP).
/// Ends with `stop`, or when nobody can ask any more.
pub async fn watch(
    certificates: Arc<Certificates>,
    period: Duration,
    mut asked: tokio::sync::watch::Receiver<u64>,
    stop: CancellationToken,
) {
    loop {
        let certificates = Arc::clone(&certificates);
        let work = tokio::select! {
            () = stop.cancelled() => return,
            asked = asked.changed() => match asked {
                Ok(()) => tokio::task::spawn_blocking(move || certificates.reload().map(|()| true)),
                Err(_) => return,
            },
            () = tokio::time::sleep(period) => {
                tokio::task::spawn_blocking(move || certificates.reload_if_changed())
            }
        };
        // A failure was logged where it was found.
        let _ = work.await;
    }
}

fn note_end(metrics: &Metrics, loaded: &Loaded) {
    let end = i64::try_from(loaded.not_after.seconds()).unwrap_or(i64::MAX);
    metrics.certificate_not_after().set(end);
}

fn stamp(files: &TlsFiles) -> Stamp {
    [one_stamp(&files.certificates), one_stamp(&files.key)]
}

fn one_stamp(path: &Path) -> Option<(u64, u64, u64, i64, i64, i64, i64)> {
    let of = std::fs::metadata(path).ok()?;
    Some((of.dev(), of.ino(), of.size(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()))
}
