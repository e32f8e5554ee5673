//! The observe listener: `/live`, `/ready`, `/metrics`.
//!
//! Live says only that the process answers: it depends on no store, index or key service, or an outage of one would make
//! an orchestrator kill every replica. Ready asks the index and the audit log, and turns false when a drain begins; asked
//! often, it answers from memory, so that it is no way to flood the index.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::server::Inbound;
use crate::telemetry::{KeyVerb, Metrics, StoreOutcome, StoreVerb};

use super::Site;
use super::small::{Small, SmallResponse, answer, problem};

/// The service of a region's observe listener.
pub(super) fn service(
    site: Arc<Site>,
    stop: CancellationToken,
) -> impl Service<Request<Inbound>, Response = SmallResponse, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Unpin
+ 'static {
    let readiness = Arc::new(Readiness::new(site.metrics()));
    Small(move |request: Request<Inbound>| {
        let (site, stop, readiness) = (Arc::clone(&site), stop.clone(), Arc::clone(&readiness));
        async move {
            if request.method() != Method::GET {
                return problem(StatusCode::METHOD_NOT_ALLOWED, "Only GET is served here.");
            }
            match request.uri().path() {
                "/live" => answer(StatusCode::OK, "text/plain; charset=utf-8", "live\n"),
                "/ready" => readiness.answer(&site, readiness.check(&site, &stop).await),
                "/metrics" => {
                    site.refresh_metrics();
                    answer(StatusCode::OK, Metrics::CONTENT_TYPE, site.metrics().expose())
                }
                _ => problem(StatusCode::NOT_FOUND, "This listener has /live, /ready and /metrics."),
            }
        }
    })
}

/// What `/ready` says, found out at most once every [`FRESH`] however often it is asked.
#[derive(Debug)]
struct Readiness {
    last: Mutex<Option<(Instant, Result<(), Reason>)>>,
    /// One permit: who holds it asks the index, all others take the last answer.
    asking: Semaphore,
    recent: Mutex<Recent>,
}

/// How long an answer of the index holds.
const FRESH: Duration = Duration::from_secs(1);
/// How long the index has for its answer. Probes give up after one second or a few.
const HEALTH_MAX: Duration = Duration::from_millis(800);

/// Why a region is not ready, and what to do about it.
type Reason = &'static str;

const DRAINING: Reason =
    "draining: it was told to stop, ends what runs, and takes no more; send requests elsewhere";
const AUDIT: Reason = "the audit log cannot be written, and nothing is done that is not recorded: look for a full or read-only disk \
under the audit directory; it recovers by itself";
const INDEX: Reason = "the index does not answer, or is not this region's: look at its disk or its server; it recovers by itself";

/// No other replica would do better, and what lies in the store is still read.
const ADRIFT: &str = "the store is not where the region's file says, or not what it must be: writes are refused until it is; the log says \
what was found (store_adrift)\n";

impl Readiness {
    fn new(metrics: &Metrics) -> Self {
        Self { last: Mutex::default(), asking: Semaphore::new(1), recent: Mutex::new(Recent::new(metrics)) }
    }

    async fn check(&self, site: &Site, stop: &CancellationToken) -> Result<(), Reason> {
        // These two cost nothing, and a drain must be seen at once.
        if stop.is_cancelled() {
            return Err(DRAINING);
        }
        if site.log.counts().failing {
            return Err(AUDIT);
        }
        let last = *held(&self.last);
        match (last, self.asking.try_acquire()) {
            (Some((at, found)), _) if at.elapsed() < FRESH => found,
            (_, Ok(_asking)) => {
                let health = tokio::time::timeout(HEALTH_MAX, site.index.health()).await;
                let found = if matches!(health, Ok(Ok(()))) { Ok(()) } else { Err(INDEX) };
                *held(&self.last) = Some((Instant::now(), found));
                found
            }
            (last, Err(_)) => last.map_or(Err(INDEX), |(_, found)| found),
        }
    }

    fn answer(&self, site: &Site, found: Result<(), Reason>) -> SmallResponse {
        let region = &site.region().id;
        let mut notes = held(&self.recent).notes(site.metrics());
        if site.anchored.is_adrift() {
            notes.push_str(ADRIFT);
        }
        let (status, text) = match found {
            Ok(()) => (StatusCode::OK, format!("region {region} is ready\n{notes}")),
            Err(why) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("region {region} is not ready: {why}\n{notes}"))
            }
        };
        answer(status, "text/plain; charset=utf-8", text)
    }
}

/// Held for a few instructions, never over an await.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the services that all replicas share did lately, told by the calls that were made anyway.
///
/// Their trouble makes no replica unready: no other one would do better, and to take all of them out of service would turn "503,
/// try again" into "nobody there". It is said all the same.
#[derive(Debug)]
struct Recent {
    older: (Instant, [Calls; 2]),
    newer: (Instant, [Calls; 2]),
}

/// Calls of one service: answered, failed.
type Calls = [u64; 2];

/// "Lately" is between one of these and two.
const RECENT: Duration = Duration::from_secs(30);

const SHARED: [&str; 2] = ["the store", "the key service"];

impl Recent {
    fn new(metrics: &Metrics) -> Self {
        let now = (Instant::now(), calls(metrics));
        Self { older: now, newer: now }
    }

    /// A line for each service of which calls failed lately.
    fn notes(&mut self, metrics: &Metrics) -> String {
        let now = calls(metrics);
        if self.newer.0.elapsed() > RECENT {
            self.older = self.newer;
            self.newer = (Instant::now(), now);
        }
        let seconds = self.older.0.elapsed().as_secs();
        let mut notes = String::new();
        for ((what, now), then) in SHARED.iter().zip(now).zip(self.older.1) {
            let [answered, failed] = [now[0].saturating_sub(then[0]), now[1].saturating_sub(then[1])];
            if failed > 0 {
                let line = format!(
                    "{what}: {failed} of {} calls failed in the last {seconds} s; what needs it is answered 503\n",
                    answered + failed
                );
                notes.push_str(&line);
            }
        }
        notes
    }
}

fn calls(metrics: &Metrics) -> [Calls; 2] {
    let mut calls = [[0; 2]; 2];
    for outcome in StoreOutcome::ALL {
        let failed = usize::from(!matches!(outcome, StoreOutcome::Ok | StoreOutcome::Absent));
        for verb in StoreVerb::ALL {
            calls[0][failed] += metrics.store_requests(*verb, *outcome).value();
        }
        for verb in KeyVerb::ALL {
            calls[1][failed] += metrics.key_calls(*verb, *outcome).value();
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_of_late_are_told() {
        let metrics = Metrics::default();
        let fail = |metrics: &Metrics| {
            metrics.store_request(StoreVerb::Get, StoreOutcome::Timeout, Duration::from_secs(1));
        };
        fail(&metrics);
        let mut recent = Recent::new(&metrics);
        metrics.store_request(StoreVerb::Get, StoreOutcome::Absent, Duration::from_secs(1));
        assert_eq!(recent.notes(&metrics), "");
        fail(&metrics);
        assert!(recent.notes(&metrics).starts_with("the store: 1 of 2 calls failed"));
        // Two looks, each later than the span, and it is history.
        for _ in 0..2 {
            recent.newer.0 = Instant::now().checked_sub(RECENT * 2).unwrap();
            recent.notes(&metrics);
        }
        assert_eq!(recent.notes(&metrics), "");
        metrics.key_calls(KeyVerb::Unwrap, StoreOutcome::Denied).increment();
        assert!(recent.notes(&metrics).starts_with("the key service: 1 of 1"));
    }
}
