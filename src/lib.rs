//! terroir: a data-residency-aware storage proxy for health records.
//!
//! The crate is one ladder of modules; data flows one way down it. `ARCHITECTURE.md` draws the ladder and holds the
//! allowed edges, `tests/tidy.rs` enforces them. Start reading at [`app`] (what is built), then `stack` (what happens
//! to a request, in order).
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod app;
pub mod audit;
pub mod auth;
pub mod blobs;
pub mod catalogue;
pub mod cli;
pub mod database;
pub mod egress;
pub mod envelope;
pub mod identity;
pub mod index;
pub mod keys;
pub mod layers;
pub mod model;
pub mod ops;
pub mod placement;
pub mod s3;
pub mod server;
pub mod settings;
pub mod shares;
pub mod stack;
pub mod telemetry;
pub mod tenants;
#[cfg(feature = "testing")]
pub mod testing;
pub mod vault;
