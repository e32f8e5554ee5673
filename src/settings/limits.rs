//! Every limit of a process, with its default and the range in which it is sane.

use std::fmt;

use serde::Deserialize;

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident = $default:expr, $least:expr, $most:expr;)*) => {
        /// What strangers can make grow, and how far. Units stand last in the names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        /// The limits as a file may set them.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        pub(super) struct LimitsFile {
            $($name: Option<toml::Spanned<u64>>,)*
        }

        impl LimitsFile {
            /// The limits in force, and what is out of range: where (a byte of the file), and the rule.
            pub(super) fn resolve(self) -> (Limits, Vec<(usize, String)>) {
                let mut problems = Vec::new();
                $(let $name = self.$name.map_or($default, |set| {
                    let value = *set.get_ref();
                    if !($least..=$most).contains(&value) {
                        let name = stringify!($name).replace('_', "-");
                        problems.push((set.span().start, format!("{name} must lie between {} and {}", $least, $most)));
                    }
                    value
                });)*
                (Limits { $($name,)* }, problems)
            }
        }

        impl fmt::Display for Limits {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let lines = [$((stringify!($name), self.$name),)*];
                for (name, value) in lines {
                    writeln!(f, "limits.{} = {value}", name.replace('_', "-"))?;
                }
                Ok(())
            }
        }
    };
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// One FLOE segment of plaintext: a blob that is not a multiple of it would end each time in a short segment.
pub(super) const SEGMENT_BYTES: u64 = 64 * KIB;

limits! {
    /// All headers of a request together. S3 itself allows 8 KiB; presigned URLs and traces want more.
    headers_bytes_max = 64 * KIB, 8 * KIB, MIB;
    /// How many headers a request may have.
    headers_max = 100, 16, 1_000;
    /// From the first byte of a request, or from accepting a connection, to the end of the headers.
    header_read_ms_max = 10_000, 100, 120_000;
    /// A body that does not move at all.
    body_idle_ms_max = 15_000, 100, 300_000;
    /// The least a body must move over each window, in bytes a second.
    body_rate_bytes_per_s_min = KIB, 1, MIB;
    /// The window of the least rate.
    body_rate_window_ms = 30_000, 1_000, 300_000;
    /// What is read, and thrown away, of a body that was answered before it came, so that the client sees the answer.
    discard_bytes_max = 64 * KIB, 0, MIB;
    /// For how long.
    discard_ms_max = 1_000, 0, 10_000;
    /// How long requests in flight may go on after SIGTERM.
    drain_ms_max = 30_000, 0, 600_000;
    /// How long, after SIGTERM, everything goes on as ever while `/ready` says no: load balancers need to notice first.
    drain_notice_ms = 0, 0, 300_000;
    /// How long a drain keeps a connection without a request, for the one that may be on its way.
    drain_idle_ms_max = 500, 0, 30_000;
    /// How often certificate, key and credentials are looked at for a change; SIGHUP looks at once.
    reload_check_ms = 10_000, 100, 3_600_000;
    /// How often a region's store is asked where it is; one that is elsewhere takes no more writes.
    whereabouts_check_ms = 600_000, 100, 86_400_000;
    /// Connections of one listener. Those of tenants are shared by weight from their first identified request on.
    connections_max = 10_000, 1, 1_000_000;
    /// Requests in flight of one region, of all its tenants: each has a share by its weight. In flight is a request until its
    /// answer's body is sent.
    requests_max = 2_000, 1, 100_000;
    /// Requests in flight of one tenant, whatever its weight.
    tenant_requests_max = 500, 1, 100_000;
    /// Requests of one region that are worked on at the same time, for each core: each tenant has a share by its weight. Waiting for
    /// a client's bytes, for a store or key service elsewhere, or for memory is not work.
    turns_per_core_max = 10, 1, 10_000;
    /// How long a request waits for its turn before anything is done for it. Shorter than SDKs wait for an answer.
    turn_wait_ms_max = 10_000, 1, 60_000;
    /// Requests a second to one region that name no active key and have their signature looked at all the same. One look
    /// costs tens of microseconds, so that a flood gets a few hundredths of a core.
    strangers_per_s_max = 1_000, 1, 1_000_000;
    /// Multipart uploads of one tenant that are open. S3 has no limit, but each keeps its parts until it is completed or
    /// aborted.
    tenant_uploads_max = 10_000, 1, 1_000_000;
    /// Bytes of records held in memory, of all requests together. Each region of the process has an equal part, and each
    /// tenant a share of that by its weight.
    memory_bytes_max = 256 * MIB, 16 * MIB, 64 * GIB;
    /// How long a request that holds none of that memory waits for its share. Shorter than SDKs wait for an answer.
    memory_wait_ms_max = 10_000, 1, 60_000;
    /// Requests that wait for it in one region, of all tenants.
    memory_waiters_max = 1_000, 1, 100_000;
    /// Plaintext of one blob: a whole number of 64 KiB segments.
    blob_bytes_max = 8 * MIB, SEGMENT_BYTES, 8 * MIB;
    /// Connections of one process to an index in a database. Together, those of all replicas must stay below what the server takes.
    index_connections_max = 16, 1, 1_000;
    /// How long a request waits for a free one of them.
    index_acquire_ms_max = 5_000, 10, 60_000;
    /// How long one statement of the index may run in the database, its waiting for locks included.
    index_statement_ms_max = 10_000, 10, 60_000;
    /// Attempts under way to one region's store. An eighth of them is all that clearing up may take.
    store_in_flight_max = 128, 1, 10_000;
    /// Attempts that wait for one of those places.
    store_waiting_max = 1_024, 0, 100_000;
    /// How long one waits for a place.
    store_wait_ms_max = 3_000, 0, 60_000;
    /// One try of a store's verb, beside the time its bytes need at 512 KiB/s.
    store_attempt_ms_max = 8_000, 50, 120_000;
    /// A store's verb with its waiting, all tries and pauses. S3 SDKs give up after 60 s by default.
    store_deadline_ms_max = 45_000, 100, 600_000;
    /// How long a store that fails more often than not is left alone before one call tries it.
    store_rest_ms = 5_000, 50, 60_000;
    /// How long a blob that nothing names any more is kept: an hour at least, which is longer than a request lasts, and as long as
    /// [`Scrub::restore_horizon_s`](super::Scrub), or the settings are refused. A backup of the index names what was replaced or
    /// deleted since. Restored at the age of the horizon it must find those blobs: a key that was overwritten has nothing else to
    /// show. A month, as the horizon is.
    reclaim_delay_s = 30 * 86_400, 3_600, 3_650 * 86_400;
    /// How many of a million requests are traced, where a region has a collector.
    telemetry_traced_per_million = 10_000, 0, 1_000_000;
    /// Ended spans that wait for the collector; what comes while they fill the queue is dropped, and counted.
    telemetry_spans_queued_max = 4_096, 16, 65_536;
    /// One export, before it is sent.
    telemetry_batch_bytes_max = 512 * KIB, 16 * KIB, 4 * MIB;
    /// How long an ended span waits for others at most.
    telemetry_interval_ms = 5_000, 10, 60_000;
    /// How often metrics are sent.
    telemetry_metrics_interval_ms = 15_000, 10, 300_000;
    /// One try of one export.
    telemetry_timeout_ms = 5_000, 50, 60_000;
    /// How long the last exports may hold up the end of the process.
    telemetry_flush_ms_max = 2_000, 0, 60_000;
}
