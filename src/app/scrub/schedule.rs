//! Passes that nobody asked for: `serve` runs one when it is due, on whichever replica looks first.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::server::Drained;
use crate::telemetry::event;

use super::{Begin, Scrubbed, Site};

/// The longest a replica waits before it looks whether a pass is due, or one that another replica left is to be gone on with.
const LOOK: Duration = Duration::from_mins(15);

/// Starts the schedule; it ends with `stop`, and a pass under way with it.
pub(in crate::app) fn start(running: &mut JoinSet<Drained>, site: Arc<Site>, stop: CancellationToken) {
    let every = Duration::from_secs(site.parts.scrub.interval_s);
    if every.is_zero() {
        return;
    }
    running.spawn(async move {
        // Replicas that start together do not look together, and a start has better things to do.
        let mut wait = jittered(&site, LOOK.min(every / 10));
        while tokio::time::timeout(wait, stop.cancelled()).await.is_err() {
            let request = site.scrub_request(Begin::Due(every));
            let Some(done) = stop.run_until_cancelled(site.scrub(request, &|_| {})).await else { break };
            wait = jittered(&site, next(&site, done, every));
        }
        Drained::default()
    });
}

fn next(site: &Site, done: Result<Scrubbed, super::SiteError>, every: Duration) -> Duration {
    match done {
        Ok(Scrubbed::NotDue(at)) => at.since(site.parts.clock.now()).min(LOOK),
        Ok(_) => LOOK.min(every),
        Err(error) => {
            event::scrub_failed(&site.parts.region.id, &error);
            LOOK.min(every)
        }
    }
}

/// `wait`, and up to a quarter more.
fn jittered(site: &Site, wait: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness replicas look together: the job is still one's alone.
    let _ = site.parts.entropy.fill(&mut random);
    wait + wait / 4 * u32::from(u16::from_be_bytes(random)) / u32::from(u16::MAX)
}
