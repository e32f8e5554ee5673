//! The one integration binary: linking it is what costs, so every integration test is a module of it.

mod app;
mod audit;
mod blobs;
mod catalogue;
mod envelope;
mod fuzz;
#[path = "../gcs_double/mod.rs"]
mod gcs_double;
mod index;
mod keys;
mod review;
mod s3;
mod server;
mod support;
mod telemetry;
