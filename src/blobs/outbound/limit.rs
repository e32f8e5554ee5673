//! How many attempts are under way to a store at once, who waits for a place, and for how long.
//!
//! Not `tower::limit` under `tower::load_shed`: they know neither tenants nor lanes, either queue without bound or not at all, wait
//! as long as it takes, and answer with a box to be guessed at. Places are shares: of a tenant's crowd that waits for a slow
//! store nobody stands before another tenant's call.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tower::{Layer, Service, ServiceExt, layer::layer_fn};

use crate::shares::{Claimant, Share, ShareLimits, Shares};
use crate::telemetry::{Metrics, Shared};

use super::super::{Error, ErrorKind};
use super::request::{Admitted, Answering, BlobAnswer, Lane};

/// Of the places, and of the places in the queue, the background gets one in this many.
const BACKGROUND_SHARE: usize = 8;

/// How many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Attempts under way at most, each tenant's within its share. Background work has at most an eighth of them, at least one.
    pub in_flight_max: usize,
    /// Attempts that wait for a place at most; beyond it they are refused at once. Tenants share these too.
    pub waiting_max: usize,
    /// How long one may wait, in milliseconds.
    pub wait_ms_max: u64,
}

/// Lets as many attempts through as there are places.
#[derive(Clone, Debug)]
pub(super) struct Limit<S> {
    places: Arc<Places>,
    inner: S,
}

impl<S> Limit<S> {
    pub(super) fn layer(
        settings: LimitSettings,
        metrics: Arc<Metrics>,
    ) -> impl Layer<S, Service = Self> + Clone {
        let places = Arc::new(Places::new(settings, metrics));
        layer_fn(move |inner| Self { places: Arc::clone(&places), inner })
    }
}

impl<S> Service<Admitted> for Limit<S>
where
    S: Service<Admitted, Response = BlobAnswer, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = BlobAnswer;
    type Error = Error;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, admitted: Admitted) -> Answering {
        let (places, inner) = (Arc::clone(&self.places), self.inner.clone());
        Box::pin(async move {
            let call = &admitted.timed.call;
            // A refusal drops the pass, which tells the circuit that nothing was learnt.
            let Some(_place) = places.take(call.lane, call.request.claimant()).await else {
                return Err(
                    Error::new(call.request.verb(), ErrorKind::Overloaded).after(Some(places.wait_max))
                );
            };
            let _counted = places.metrics.store_in_flight().hold();
            inner.oneshot(admitted).await
        })
    }
}

#[derive(Debug)]
struct Places {
    all: Shares,
    /// Background work comes through here first, so that of its crowd only this many ever stand in the common queue.
    background: Semaphore,
    background_queue: Semaphore,
    wait_max: Duration,
    metrics: Arc<Metrics>,
}

/// Given back when dropped.
type Place<'a> = (Share, Option<SemaphorePermit<'a>>);

impl Places {
    fn new(settings: LimitSettings, metrics: Arc<Metrics>) -> Self {
        let part = |all: usize| Semaphore::new((all / BACKGROUND_SHARE).max(1));
        let wait_max = Duration::from_millis(settings.wait_ms_max);
        let limits = ShareLimits {
            capacity: settings.in_flight_max.max(1) as u64,
            party_max: u64::MAX,
            floor: 1,
            waiting_max: settings.waiting_max as u64,
            wait: wait_max,
        };
        Self {
            all: Shares::new(Shared::Store, limits, Arc::clone(&metrics)),
            background: part(settings.in_flight_max),
            background_queue: part(settings.waiting_max),
            wait_max,
            metrics,
        }
    }

    async fn take(&self, lane: Lane, claimant: Claimant) -> Option<Place<'_>> {
        let waiting = async {
            let (claimant, ticket) = match lane {
                Lane::Foreground => (claimant, None),
                Lane::Background => (Claimant::maintenance(), Some(self.ticket().await?)),
            };
            Some((self.place(claimant).await?, ticket))
        };
        timeout(self.wait_max, waiting).await.ok().flatten()
    }

    async fn place(&self, claimant: Claimant) -> Option<Share> {
        if let Ok(place) = self.all.try_acquire(claimant, 1) {
            return Some(place);
        }
        let _counted = self.metrics.store_waiting().hold();
        self.all.acquire(claimant, 1).await.ok()
    }

    /// One of the background's own places, at once, or after a wait if there is room in its queue.
    async fn ticket(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(ticket) = self.background.try_acquire() {
            return Some(ticket);
        }
        let _standing = self.background_queue.try_acquire().ok()?;
        let _counted = self.metrics.store_waiting().hold();
        self.background.acquire().await.ok()
    }
}
