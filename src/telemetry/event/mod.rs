//! Every log event, by name. A caller passes typed values, never a path, a key, a header or a body.
//!
//! Each event is logged once, where the thing is handled. Names are stable: dashboards and alerts quote them.

mod process;
mod records;
mod requests;
mod services;

pub use crate::model::chain;
pub use process::{
    certificate_kept, certificate_reloaded, collector_failed, collector_recovered, connections_lowered,
    drained, draining, hardening_failed, listening, overlay_in_force, process_drained, reload_asked, setting,
};
pub use records::{
    blob_elsewhere, blobs_not_deleted, blobs_unknown, debris_left, housekeeping_failed, record_corrupt,
    scrub_ended, scrub_failed, scrub_interrupted, scrub_pass_not_noted, store_adrift, store_back,
    store_circuit, store_probed, store_quirks_differ,
};
pub use requests::{
    Served, accept_failed, answer_broken_off, connection_failed, panicked, request_failed, request_panicked,
    request_served,
};
pub use services::{
    audit_failed, audit_not_closed, audit_recovered, audit_repaired, canary_not_written, credentials_kept,
    credentials_reloaded, directory_failed, directory_recovered, directory_row_corrupt, directory_row_older,
    index_outcome_unknown, kek_made, key_store_not_vacuumed, root_changed, root_lost, schema_migrated,
};
