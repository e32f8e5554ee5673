//! Why a record could not be made durable, or a log not opened.

use std::io;
use std::path::PathBuf;

/// The audit log's errors. Whatever the variant, an effect that needs the record must not happen: answer 503.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// More records wait than [`super::Options::waiting_records_max`], or more requests run than
    /// [`super::Options::unfinished_max`].
    #[error("the audit log's queue is full")]
    Full,
    /// The log was closed, or its writer ended.
    #[error("the audit log is closed")]
    Closed,
    /// The disk did not make the record durable within [`super::Options::commit_ms_max`].
    #[error("the audit log did not commit in time")]
    Slow,
    /// Another process held the log for longer than [`super::Options::lock_ms_max`].
    #[error("another process holds the audit log")]
    Locked,
    /// The disk refused.
    #[error("audit log: cannot {what} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the log is gone, or another stands in its place.
    #[error("audit log: {} was moved or replaced while in use", path.display())]
    Moved {
        /// Which.
        path: PathBuf,
    },
    /// The log is not what its head says: somebody removed or changed records, or lost them with the disk.
    #[error("audit log in {}: {what}", dir.display())]
    Tampered {
        /// The log's directory.
        dir: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A batch failed; every record in it shares this reason.
    #[error("the audit log could not commit")]
    Commit(#[source] std::sync::Arc<AuditError>),
    /// The writer thread could not be started.
    #[error("audit log: cannot start the writer")]
    Thread(#[source] io::Error),
}
