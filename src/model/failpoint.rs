//! Named points at which a test may end the process: how "acknowledged means durable" is proved, wherever a write has steps.
//!
//! Without feature `testing` a point is nothing at all, so that no production build can be told to die.

/// The environment variable that names the point at which this process aborts, as `name` or `name:n` (the n-th time,
/// counted from 1).
#[cfg(feature = "testing")]
pub const VARIABLE: &str = "TERROIR_FAILPOINT";

/// The points on the way of a write above the stores, in the order in which it passes them: its decision is in the log's file
/// but not synced; synced; its blobs are durable and the index does not know; the index's batch is written but not committed;
/// committed, and nobody was told; the vault knows, and the client does not.
#[cfg(feature = "testing")]
pub const WRITE: [&str; 6] = [
    "audit-written",
    "audit-synced",
    "blobs-durable",
    "index-written",
    "index-committed",
    "version-committed",
];

/// Aborts the process (no destructor, no flush: as SIGKILL would end it) if `name` is the point that the environment names.
#[cfg(feature = "testing")]
pub(crate) fn pass(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let armed = ARMED.get_or_init(|| {
        let value = std::env::var(VARIABLE).ok()?;
        let (point, nth) = value.split_once(':').unwrap_or((&value, "1"));
        Some((point.to_owned(), nth.parse().ok()?))
    });
    if let Some((point, nth)) = armed
        && point == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "testing"))]
pub(crate) const fn pass(_: &str) {}
