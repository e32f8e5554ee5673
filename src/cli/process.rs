//! The process itself: what it must not leave behind, and how many files it may open.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::settings::{Limits, Settings};
use crate::telemetry::event;

/// Descriptors of a region that no setting counts: control and observe (256 connections each), audit log and keys, and nearly as
/// many again.
const REGION_FILES: u64 = 1_000;
/// Descriptors of the process: the runtime's, standard streams, catalogue.
const PROCESS_FILES: u64 = 128;

/// Sees to it that the process leaves no keys and no records behind.
///
/// A core dump would put both on a disk: the kernel is told not to write one, and not to let other processes of the same user
/// look into this one's memory. A panic's message may quote a record's name: only its place is logged.
pub fn harden() {
    std::panic::set_hook(Box::new(|panic| {
        let (file, line) = panic.location().map_or(("", 0), |place| (place.file(), place.line()));
        event::panicked(file, line);
    }));
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        event::hardening_failed("core_dumps_off", &error);
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        event::hardening_failed("undumpable", &error);
    }
}

/// Raises the limit on open files as far as the system allows, and lowers `connections-max` to what that carries. Says so if it
/// does: a listener that takes more than it can open fails at everything at once, the index and the audit log included.
pub(super) fn fit_to_descriptors(settings: &mut Settings) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, ..limit };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = getrlimit(Resource::Nofile);
        }
    }
    // None is no limit.
    let Some(files) = limit.current else { return };
    let carried = connections_carried(files, settings.regions.len() as u64, &settings.limits);
    if carried < settings.limits.connections_max {
        event::connections_lowered(settings.limits.connections_max, carried, files);
        settings.limits.connections_max = carried;
    }
}

/// Connections of each data listener that `files` descriptors carry beside those to the region's store and index.
fn connections_carried(files: u64, regions: u64, limits: &Limits) -> u64 {
    let for_regions = files.saturating_sub(PROCESS_FILES) / regions.max(1);
    let others =
        REGION_FILES.saturating_add(limits.store_in_flight_max).saturating_add(limits.index_connections_max);
    for_regions.saturating_sub(others).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_descriptors_carry_is_what_is_left_of_them() {
        let limits = Limits { store_in_flight_max: 128, index_connections_max: 16, ..Limits::default() };
        assert_eq!(connections_carried(1_048_576, 1, &limits), 1_048_576 - 128 - 1_000 - 144);
        assert_eq!(connections_carried(20_000, 2, &limits), (20_000 - 128) / 2 - 1_000 - 144);
        assert_eq!(connections_carried(64, 1, &limits), 1);
        assert_eq!(connections_carried(0, 0, &limits), 1);
    }

    #[test]
    fn many_connections_to_the_store_left_no_descriptors_for_clients() {
        let limits =
            Limits { store_in_flight_max: 10_000, index_connections_max: 1_000, ..Limits::default() };
        let carried = connections_carried(20_000, 1, &limits);
        assert!(carried + 10_000 + 1_000 < 20_000, "{carried}");
    }
}
