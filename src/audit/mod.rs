//! The audit log: what was decided about every request, durable before anything happens, and how it ended.
//!
//! # By construction
//! [`Log::record`] is the only maker of a [`Recorded`], and operations accept nothing else, so no effect happens without a
//! durable decision record. The [`Completion`] that comes with it writes how the request ended: when told with
//! [`Completion::finish`], or as `dropped` when it goes out of scope. If the decision cannot be made durable there is no
//! `Recorded`, and the caller answers 503.
//!
//! An unrecorded effect does not compile, because a `Recorded` cannot be made by hand:
//! ```compile_fail
//! use terroir::audit::Recorded;
//! fn effect(recorded: Recorded<u32>) -> u32 { *recorded }
//! let answer = effect(Recorded { value: 42, completion: todo!() });
//! ```
//! while one that the log made does:
//! ```no_run
//! use terroir::audit::{AuditError, Decision, Log, Recorded};
//! fn effect(recorded: Recorded<u32>) -> u32 { *recorded }
//! async fn run(log: &Log, decision: Decision) -> Result<u32, AuditError> {
//!     let answer = effect(log.record(decision, 42).await?);
//!     Ok(answer)
//! }
//! ```
//!
//! # On disk
//! A directory of one region holds
//!  - `lock`: an empty file; whoever appends holds an exclusive `flock` on it for the length of one commit;
//!  - segments `00000000000000000001.jsonl`, …, each named after the sequence number of its first record and closed when it
//!    passes [`Options::segment_bytes_max`]. One record is one line of JSON:
//!    ```json
//!    {"v":1,"seq":7,"time":"…","prev":"<hash of record 6>",…,"mac":"<hex>","hash":"<hex>"}
//!    ```
//!    `hash` is SHA-256 over the line's bytes up to, not including, `,"hash":` (an auditor needs no more than `sha256sum`);
//!    `mac` is HMAC-SHA256 under the region's audit key over the label of environment and region and the bytes up to, not
//!    including, `,"mac":`. So the hash covers the MAC, and the MAC covers, through `prev`, everything before it: whoever
//!    lacks the key cannot write a record that passes with it, nor change one unseen without it;
//!  - `head`: where the log ends (sequence, hash, segment, length), in two slots of 4 KiB written in turn, each with hash and
//!    MAC of its own. It is what makes a removed tail visible.
//!
//! # Order of writes, and what a crash may leave
//! A commit, under the lock: (1) the batch is written to the segment; (2) `fdatasync`; (3) the head is written; (4) the
//! waiting callers are told. The head is synced when a segment is closed, at every opening, and when the log is closed; in
//! between, the kernel writes it out. From this order follow the rules that opening and verifying use:
//!  - *The log may be longer than the head, never shorter.* A head that points past the end, or at a record with another
//!    hash, is no crash: [`Log::open`] refuses, and a person decides (move the directory aside, as evidence; a new log's first
//!    record shows that it is new).
//!  - Behind the head there may be whole records (written, perhaps acknowledged, the head not yet) and then at most one
//!    batch of bytes that are not records (a torn write). The whole, chained and authentic ones are kept; the rest was never
//!    acknowledged, because acknowledged bytes were synced before the next batch was begun, so it is cut off, and an `opened`
//!    or `repaired` record says how many bytes and their hash. More than [`BATCH_BYTES_MAX`] of them is no crash either:
//!    refused.
//!  - After an error of the disk the log cuts itself back to where the last acknowledged batch ended, before it takes
//!    another record; until that succeeds it keeps the lock, and every caller gets an error.
//!
//! What the directory alone cannot show: that the *whole* of it was put back to an earlier state, head included. Note the
//! last sequence number and hash elsewhere (they are in `terroir audit verify`'s answer and in the metrics).
//!
//! # Several processes
//! The running proxy and command-line verbs write to the same log. Each commit takes the lock, looks whether head or
//! segment moved since its own last commit, and if so finds the end again as an opening does before it appends.

mod chain;
mod commit;
mod error;
mod event;
mod head;
mod keys;
mod log;
mod record;
mod recorded;
mod segment;
mod strangers;
#[cfg(feature = "testing")]
pub mod testing;
mod verify;
mod writer;

pub use commit::BATCH_BYTES_MAX;
pub use error::AuditError;
pub use event::{Decision, Ended, Outcome, Source, Verdict};
pub use keys::{AuditKeys, Pseudonym};
pub use log::{Counts, Log, Options};
pub use recorded::{Completion, Recorded};
pub use strangers::Stranger;
pub use verify::{Fault, Finding, VerifyReport, verify};
