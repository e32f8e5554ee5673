//! Feature `testing`: the whole application in the process of a test, behind its real listeners.
//!
//! [`TestApp`] starts regions in a folder of the caller's, with embedded stores; [`Tap`] stands in front of each region's
//! store and index, counts what is asked of them, and makes them fail on demand. [`fuzz`] holds the bodies of the fuzz targets, [`signer`]
//! the client that they and the tests of `s3` sign with.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "test support: what cannot be set up ends the test, with its reason"
)]

mod app;
mod counted_index;
pub mod fuzz;
pub mod signer;
mod tap;

pub use app::{Embedded, Setup, SharedParts, TestApp, TestTenant};
pub use counted_index::{CountedIndex, IndexTap};
pub use tap::{Asked, Tap, Taps};
