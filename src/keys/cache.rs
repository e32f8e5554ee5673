//! A bounded cache whose misses are answered by one fetch each, whoever asks, and whose values age by rules:
//!
//! ```text
//! fetched ─────────────── due (early) ── expires ─────────────────────── gone
//!    serve                 serve, and      fetch and wait; serve the old
//!                          fetch beside    one only if unreachable
//! ```
//! A fetch that ends in anything but "unreachable" removes the old value at once. An early fetch does not shift the
//! period: the next `expires` is one `ttl` after the last, so there is at most one successful fetch per `ttl`, and a
//! value is at most 1.1 `ttl` old when it expires.
//!
//! Ages are those of the wall's clock or of the one that only ticks, whichever is more: a clock that is set back makes no value
//! younger, and neither does a machine that slept.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::KeysError;
use crate::model::{Clock, Entropy, Timestamp};

/// How a value ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// From fetch to expiry.
    pub(super) ttl: Duration,
    /// From expiry to gone.
    pub(super) stale: Duration,
}

/// Bounds of a cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) count_max: usize,
    pub(super) backoff_ms: u64,
    pub(super) backoff_ms_max: u64,
}

/// See the module. Cheap to clone.
pub(super) struct Cache<K, V> {
    inner: Arc<Inner<K, V>>,
}

struct Inner<K, V> {
    slots: RwLock<HashMap<K, Arc<Slot<V>>>>,
    uses: AtomicU64,
    limits: Limits,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

struct Slot<V> {
    last_use: AtomicU64,
    state: Mutex<State<V>>,
}

struct State<V> {
    held: Option<Held<V>>,
    failure: Option<Failure>,
    flight: Option<Landing<V>>,
    /// Raised by [`Cache::insert`]: a fetch that began before must not undo it.
    inserted: u64,
}

struct Held<V> {
    value: V,
    /// When its period begins: not before it was fetched, but perhaps after.
    period: Moment,
    /// Ages, counted from there.
    due: Duration,
    expires: Duration,
    gone: Duration,
}

struct Failure {
    error: KeysError,
    at: Moment,
    backoff: Duration,
    in_a_row: u32,
}

/// A moment, by both of a clock's readings.
#[derive(Clone, Copy)]
struct Moment {
    now: Timestamp,
    ticked: Duration,
}

impl Moment {
    fn of(clock: &dyn Clock) -> Self {
        Self { now: clock.now(), ticked: clock.ticked() }
    }

    fn after(self, duration: Duration) -> Self {
        Self { now: self.now.after(duration), ticked: self.ticked.saturating_add(duration) }
    }

    /// How long ago `earlier` was, by the reading that says more; zero if it is yet to come.
    fn since(self, earlier: Self) -> Duration {
        self.now.since(earlier.now).max(self.ticked.saturating_sub(earlier.ticked))
    }
}

type Landing<V> = watch::Receiver<Option<Result<V, KeysError>>>;
type Takeoff<V> = watch::Sender<Option<Result<V, KeysError>>>;

/// What a request does, decided under the slot's lock and done after it.
enum Step<V> {
    Serve(V),
    ServeAndFetch(V, Takeoff<V>),
    FetchAndWait(Takeoff<V>, Landing<V>),
    Wait(Landing<V>),
    Fail(KeysError),
}

impl<K, V> Cache<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(limits: Limits, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let slots = RwLock::new(HashMap::new());
        Self { inner: Arc::new(Inner { slots, uses: AtomicU64::new(0), limits, clock, entropy }) }
    }

    /// The value, from memory or by `fetch`, which must end in bounded time. It runs on a task of its own: a caller that
    /// gives up does not stop it for the others.
    pub(super) async fn value<F>(&self, key: &K, window: Window, fetch: F) -> Result<V, KeysError>
    where
        F: Future<Output = Result<V, KeysError>> + Send + 'static,
    {
        let slot = self.slot(key)?;
        match self.inner.step(&slot) {
            Step::Serve(value) => Ok(value),
            Step::Fail(error) => Err(error),
            Step::ServeAndFetch(value, takeoff) => {
                self.fly(slot, window, takeoff, fetch);
                Ok(value)
            }
            Step::FetchAndWait(takeoff, landing) => {
                self.fly(Arc::clone(&slot), window, takeoff, fetch);
                self.inner.land(&slot, landing).await
            }
            Step::Wait(landing) => self.inner.land(&slot, landing).await,
        }
    }

    /// Puts a value that was not fetched, but made. A fetch under way will not replace it.
    pub(super) fn insert(&self, key: &K, window: Window, value: V) -> Result<(), KeysError> {
        let slot = self.slot(key)?;
        let mut state = lock(&slot.state);
        state.inserted += 1;
        state.failure = None;
        state.held = Some(self.inner.aged(value, self.inner.now(), window));
        Ok(())
    }

    /// Forgets a value.
    pub(super) fn remove(&self, key: &K) {
        let slot = read(&self.inner.slots).get(key).map(Arc::clone);
        if let Some(slot) = slot {
            let mut state = lock(&slot.state);
            state.inserted += 1;
            state.held = None;
        }
    }

    /// Forgets everything that is past its window and that nobody is asking for.
    pub(super) fn sweep(&self) {
        let now = self.inner.now();
        let mut slots = self.inner.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            let idle = Arc::strong_count(slot) == 1;
            let state = lock(&slot.state);
            let useful = state.held.as_ref().is_some_and(|held| held.age(now) < held.gone);
            let cooling = state.cooling(now).is_some();
            !idle || useful || cooling
        });
    }

    fn slot(&self, key: &K) -> Result<Arc<Slot<V>>, KeysError> {
        let found = read(&self.inner.slots).get(key).map(Arc::clone);
        let slot = match found {
            Some(slot) => slot,
            None => self.inner.add_slot(key)?,
        };
        slot.last_use.store(self.inner.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Ok(slot)
    }

    fn fly<F>(&self, slot: Arc<Slot<V>>, window: Window, takeoff: Takeoff<V>, fetch: F)
    where
        F: Future<Output = Result<V, KeysError>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let began = inner.now();
        let inserted = lock(&slot.state).inserted;
        tokio::spawn(async move {
            let outcome = fetch.await;
            let outcome = inner.finish(&slot, window, began, inserted, outcome);
            takeoff.send_replace(Some(outcome));
        });
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Inner<K, V> {
    fn add_slot(&self, key: &K) -> Result<Arc<Slot<V>>, KeysError> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= self.limits.count_max {
            // A slot that a request or a fetch holds must stay: two slots for one key would be two fetches.
            let oldest = slots
                .iter()
                .filter(|(_, slot)| Arc::strong_count(slot) == 1)
                .min_by_key(|(_, slot)| slot.last_use.load(Ordering::Relaxed))
                .map(|(key, _)| key.clone());
            slots.remove(&oldest.ok_or(KeysError::Overloaded)?);
        }
        let state = State { held: None, failure: None, flight: None, inserted: 0 };
        let slot = Arc::new(Slot { last_use: AtomicU64::new(0), state: Mutex::new(state) });
        slots.insert(key.clone(), Arc::clone(&slot));
        Ok(slot)
    }

    fn step(&self, slot: &Slot<V>) -> Step<V> {
        let mut state = lock(&slot.state);
        let now = self.now();
        state.drop_what_is_gone(now);
        let cooling = state.cooling(now);
        let flying = state.flight.clone().filter(|landing| landing.has_changed().is_ok());
        if let Some(held) = state.held.as_ref().filter(|held| held.age(now) < held.expires) {
            let value = held.value.clone();
            if held.age(now) < held.due || flying.is_some() || cooling.is_some() {
                return Step::Serve(value);
            }
            return Step::ServeAndFetch(value, state.begin().0);
        }
        // Known to be unreachable a moment ago: nobody need wait for the next proof of it.
        if let Some(value) = state.stale_value(now, self.limits.backoff_ms_max) {
            let quiet = flying.is_some() || cooling.is_some();
            return if quiet { Step::Serve(value) } else { Step::ServeAndFetch(value, state.begin().0) };
        }
        match (flying, cooling) {
            (Some(landing), _) => Step::Wait(landing),
            (None, Some(error)) => Step::Fail(error),
            (None, None) => {
                let (takeoff, landing) = state.begin();
                Step::FetchAndWait(takeoff, landing)
            }
        }
    }

    async fn land(&self, slot: &Slot<V>, mut landing: Landing<V>) -> Result<V, KeysError> {
        let outcome = match landing.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) if error.is_retryable() => {
                let mut state = lock(&slot.state);
                state.drop_what_is_gone(self.now());
                state.held.as_ref().map(|held| held.value.clone()).ok_or(error)
            }
            Some(Err(error)) => Err(error),
            // The task was cancelled with its runtime, or panicked.
            None => Err(KeysError::Overloaded),
        }
    }

    fn finish(
        &self,
        slot: &Slot<V>,
        window: Window,
        began: Moment,
        inserted: u64,
        outcome: Result<V, KeysError>,
    ) -> Result<V, KeysError> {
        let mut state = lock(&slot.state);
        state.flight = None;
        if state.inserted != inserted {
            return state.held.as_ref().map_or(outcome, |held| Ok(held.value.clone()));
        }
        match outcome {
            Ok(value) => {
                let early = state.held.as_ref().filter(|held| held.age(began) < held.expires);
                let period = early.map_or(began, |held| held.period.after(held.expires));
                state.failure = None;
                state.held = Some(self.aged(value.clone(), period, window));
                Ok(value)
            }
            Err(error) => {
                if !error.is_retryable() {
                    state.held = None;
                }
                let in_a_row = state.failure.as_ref().map_or(0, |failure| failure.in_a_row).saturating_add(1);
                let (at, backoff) = (self.now(), self.backoff(in_a_row));
                state.failure = Some(Failure { error: error.clone(), at, backoff, in_a_row });
                Err(error)
            }
        }
    }

    fn aged(&self, value: V, period: Moment, window: Window) -> Held<V> {
        let lead = jittered(window.ttl / 10, &*self.entropy);
        let (due, gone) = (window.ttl.saturating_sub(lead), window.ttl.saturating_add(window.stale));
        Held { value, period, due, expires: window.ttl, gone }
    }

    fn now(&self) -> Moment {
        Moment::of(&*self.clock)
    }

    fn backoff(&self, in_a_row: u32) -> Duration {
        let doubled = self.limits.backoff_ms.saturating_mul(1 << in_a_row.saturating_sub(1).min(20));
        jittered(Duration::from_millis(doubled.min(self.limits.backoff_ms_max)), &*self.entropy)
    }
}

impl<V> Held<V> {
    fn age(&self, now: Moment) -> Duration {
        now.since(self.period)
    }
}

impl<V> State<V> {
    fn begin(&mut self) -> (Takeoff<V>, Landing<V>) {
        let (takeoff, landing) = watch::channel(None);
        self.flight = Some(landing.clone());
        (takeoff, landing)
    }

    fn drop_what_is_gone(&mut self, now: Moment) {
        self.held = self.held.take().filter(|held| held.age(now) < held.gone);
    }

    fn stale_value(&self, now: Moment, backoff_ms_max: u64) -> Option<V>
    where
        V: Clone,
    {
        let failure = self.failure.as_ref().filter(|failure| failure.error.is_retryable())?;
        let known_for = failure.backoff.saturating_add(Duration::from_millis(backoff_ms_max));
        let lately = now.since(failure.at) < known_for;
        self.held.as_ref().filter(|_| lately).map(|held| held.value.clone())
    }

    fn cooling(&self, now: Moment) -> Option<KeysError> {
        let failure = self.failure.as_ref()?;
        (now.since(failure.at) < failure.backoff).then(|| failure.error.clone())
    }
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({} slots)", read(&self.inner.slots).len())
    }
}

/// Between half of `at_most` and all of it, so that many processes do not ask at the same moment.
pub(super) fn jittered(at_most: Duration, entropy: &dyn Entropy) -> Duration {
    let mut random = [0; 4];
    // Without randomness there is no jitter, which costs only politeness.
    let part = if entropy.fill(&mut random).is_ok() { u32::from_be_bytes(random) >> 8 } else { 0 };
    let half = at_most / 2;
    half + half.mul_f64(f64::from(part) / f64::from(1 << 24))
}

/// Nothing under these locks can panic half-way through a change, so a poisoned one is still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
