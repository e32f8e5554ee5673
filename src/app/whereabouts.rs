//! Asks a region's store where it is, again and again while it serves: a bucket that moved takes no more writes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::blobs::in_background;
use crate::server::Drained;
use crate::telemetry::event;

use super::Site;

/// Starts the looks, one every `period`; they end with `stop`.
pub(super) fn start(
    running: &mut JoinSet<Drained>,
    site: Arc<Site>,
    period: Duration,
    stop: CancellationToken,
) {
    running.spawn(async move {
        while tokio::time::timeout(period, stop.cancelled()).await.is_err() {
            let look = in_background(Box::pin(look(&site)));
            if stop.run_until_cancelled(look).await.is_none() {
                break;
            }
        }
        Drained::default()
    });
}

async fn look(site: &Site) {
    let (region, was_adrift) = (&site.region().id, site.anchored.is_adrift());
    let found = site.anchored.look(site.clock().as_ref()).await;
    match (&found, was_adrift, site.anchored.is_adrift()) {
        (Err(error), false, true) => event::store_adrift(region, error),
        (_, true, false) => event::store_back(region),
        // No answer: the age of the last one tells.
        _ => {}
    }
    if let Ok(whereabouts) = found {
        site.located(whereabouts.asked);
    }
}
