//! What a scrubber needs of the vault: the region's live blobs walked and verified, what the store holds beside them told apart.
//!
//! Bodies are opened with `aes-gcm`, the implementation that did not seal them, so that a defect of the one that did is
//! found before the last good copy is gone. Nothing here decides when: the pass over a region is `app`'s.

mod check;
mod owner;
mod pace;
mod pass;
mod unknown;

pub use check::Checked;
pub use owner::{Owner, OwnerRow};
pub use pace::Pace;
pub use pass::{Counts, Found, Outcome, Pass, Phase, Progress};
pub use unknown::Identity;
