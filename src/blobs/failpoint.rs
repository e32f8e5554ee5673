//! Named points at which a test may kill the process: how the `fs` driver's promise "durable or not there" is proved.
//!
//! Compiled only with feature `testing`, so that no production build can be told to die.

/// The environment variable that names the point at which this process aborts, as `name` or `name:n` (the n-th time,
/// counted from 1).
pub const VARIABLE: &str = "TERROIR_BLOBS_FAILPOINT";

/// All points of a `put` of the `fs` driver, in the order in which it passes them.
pub const PUT: [&str; 6] =
    ["temp-created", "temp-written", "temp-synced", "before-link", "after-link", "folder-synced"];

/// Aborts the process (no destructor, no flush: as SIGKILL would end it) if `name` is the point that the environment names.
pub(super) fn pass(name: &str) {
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
