//! Blobs of writes that did not end in a version: handed to the reclaim queue, whatever way the write ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::index::{Index, ReclaimReason};
use crate::model::{BlobId, Clock, TenantCode};
use crate::telemetry::event;

/// Writes that may wait to be cleared up after; beyond it their blobs are left to the scrubber, and counted.
const WAITING_WRITES_MAX: usize = 10_000;

/// The blobs a write has begun to upload. Dropped before [`Debris::keep`], they go to the reclaim queue.
///
/// Safe against the race with a commit: the index keeps a blob live or reclaimed, never both, and a version whose commit
/// went through keeps its blobs whatever is queued afterwards.
#[derive(Debug)]
pub(super) struct Debris {
    tenant: TenantCode,
    blobs: Vec<BlobId>,
    sweeper: Sweeper,
}

impl Debris {
    /// Nothing yet.
    pub(super) fn of(tenant: TenantCode, sweeper: &Sweeper) -> Self {
        Self { tenant, blobs: Vec::new(), sweeper: sweeper.clone() }
    }

    /// To be told before the upload of `blob` begins: it may arrive even if we never learn of it.
    pub(super) fn may_hold(&mut self, blob: BlobId) {
        self.blobs.push(blob);
    }

    /// The write ended in a version: nothing is debris.
    pub(super) fn keep(mut self) {
        self.blobs.clear();
    }
}

impl Drop for Debris {
    fn drop(&mut self) {
        if !self.blobs.is_empty() {
            self.sweeper.sweep(self.tenant, std::mem::take(&mut self.blobs));
        }
    }
}

/// Takes debris to the index in the background.
#[derive(Clone, Debug)]
pub(super) struct Sweeper {
    queue: mpsc::Sender<Order>,
}

/// What the task is asked.
#[derive(Debug)]
enum Order {
    Sweep(TenantCode, Vec<BlobId>),
    /// To tell when everything ordered before is done.
    Tell(oneshot::Sender<()>),
}

impl Sweeper {
    /// Starts the task; it ends when the last sweeper is gone and the queue is empty.
    pub(super) fn start(index: Arc<dyn Index>, clock: Arc<dyn Clock>, delay: Duration) -> Self {
        let (queue, mut waiting) = mpsc::channel(WAITING_WRITES_MAX);
        tokio::spawn(async move {
            while let Some(order) = waiting.recv().await {
                match order {
                    Order::Sweep(tenant, blobs) => {
                        enqueue(&*index, clock.as_ref(), delay, tenant, blobs).await;
                    }
                    // Nobody waiting any more is fine.
                    Order::Tell(done) => _ = done.send(()),
                }
            }
        });
        Self { queue }
    }

    fn sweep(&self, tenant: TenantCode, blobs: Vec<BlobId>) {
        let count = blobs.len();
        if self.queue.try_send(Order::Sweep(tenant, blobs)).is_err() {
            event::debris_left(Some(count), "too many failed writes wait to be cleared up after");
        }
    }

    /// Waits until everything swept so far is with the index, or given up.
    pub(super) async fn settled(&self) {
        let (done, told) = oneshot::channel();
        if self.queue.send(Order::Tell(done)).await.is_ok() {
            _ = told.await;
        }
    }
}

async fn enqueue(
    index: &dyn Index,
    clock: &dyn Clock,
    delay: Duration,
    tenant: TenantCode,
    blobs: Vec<BlobId>,
) {
    const ATTEMPTS_MAX: u32 = 5;
    let mut pause = Duration::from_millis(100);
    for _ in 0..ATTEMPTS_MAX {
        let due = clock.now().after(delay);
        match index.enqueue_reclaim(blobs.clone(), tenant, due, ReclaimReason::FailedWrite).await {
            Ok(_) => return,
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
            Err(_) => break,
        }
    }
    event::debris_left(Some(blobs.len()), "the index does not queue them");
}
