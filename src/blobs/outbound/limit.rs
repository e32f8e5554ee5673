//! How many attempts are under way to a store at once, who waits for a place, and for how long.
//!
//! Not `tower::limit` under `tower::load_shed`: they know no two lanes, either queue without bound or not at all, wait as
//! long as it takes, and answer with a box to be guessed at. The permits are tokio's, as theirs are: dropped with the future.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tower::{Layer, Service, ServiceExt, layer::layer_fn};

use crate::telemetry::Metrics;

use super::super::{Error, ErrorKind};
use super::request::{Admitted, Answering, BlobAnswer, Lane};

/// Of the places, and of the places in the queue, the background gets one in this many.
const BACKGROUND_SHARE: usize = 8;

/// How many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Attempts under way at most. Background work has at most an eighth of them, at least one.
    pub in_flight_max: usize,
    /// Attempts that wait for a place at most; beyond it they are refused at once.
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
            let Some(_place) = places.take(call.lane).await else {
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
    all: Semaphore,
    queue: Semaphore,
    /// Background work comes through here first, so that of its crowd only this many ever stand in the common queue.
    background: Semaphore,
    background_queue: Semaphore,
    wait_max: Duration,
    metrics: Arc<Metrics>,
}

/// Given back when dropped.
type Place<'a> = (SemaphorePermit<'a>, Option<SemaphorePermit<'a>>);

impl Places {
    fn new(settings: LimitSettings, metrics: Arc<Metrics>) -> Self {
        let share = |all: usize| Semaphore::new((all / BACKGROUND_SHARE).max(1));
        Self {
            all: Semaphore::new(settings.in_flight_max.max(1)),
            queue: Semaphore::new(settings.waiting_max),
            background: share(settings.in_flight_max),
            background_queue: share(settings.waiting_max),
            wait_max: Duration::from_millis(settings.wait_ms_max),
            metrics,
        }
    }

    async fn take(&self, lane: Lane) -> Option<Place<'_>> {
        let waiting = async {
            let ticket = match lane {
                Lane::Foreground => None,
                Lane::Background => Some(self.turn(&self.background, &self.background_queue).await?),
            };
            // With a ticket it counts among the few, and needs no place in the others' queue.
            let place = match ticket {
                Some(_) => self.all.acquire().await.ok()?,
                None => self.turn(&self.all, &self.queue).await?,
            };
            Some((place, ticket))
        };
        timeout(self.wait_max, waiting).await.ok().flatten()
    }

    /// A permit of `places` at once, or after a turn in `queue` if there is room in it.
    async fn turn<'a>(&self, places: &'a Semaphore, queue: &Semaphore) -> Option<SemaphorePermit<'a>> {
        if let Ok(place) = places.try_acquire() {
            return Some(place);
        }
        let _standing = queue.try_acquire().ok()?;
        let _counted = self.metrics.store_waiting().hold();
        places.acquire().await.ok()
    }
}
