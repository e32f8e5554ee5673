//! The circuit breaker's state: closed, open, half-open, and the window it is decided by.
//!
//! [`Circuit`] is a pure state machine on instants that it is given; [`Breaker`] is one behind a lock, which reports its
//! changes. A lock is held for a few additions, never over an await.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::RegionId;
use crate::telemetry::{CircuitState, Metrics, event};

use super::super::error::Health;

/// The window is counted in this many slots: it forgets a tenth at a time.
const SLOTS: usize = 10;

/// The longest that a store may tell us to stay away, in milliseconds: beyond it somebody should look.
const REST_MS_MAX: u64 = 60_000;

/// What a client is told while a probe is under way: it takes about as long as a store's answer.
const PROBING: Duration = Duration::from_secs(1);

/// When to leave a store alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitSettings {
    /// How far back outcomes count, in milliseconds.
    pub window_ms: u64,
    /// Below this many outcomes in the window nothing is concluded.
    pub outcomes_min: u32,
    /// The share of failures, in hundredths, from which the circuit opens.
    pub failures_percent: u32,
    /// How long the store is left alone before one call may try it, in milliseconds.
    pub rest_ms: u64,
}

impl Default for CircuitSettings {
    /// Half of at least ten outcomes within 30 s: a store that refuses a connection is noticed with ten calls, one that
    /// hangs as soon as ten attempts ran out of time. Five seconds' rest: the order of a restart or a failover, and less
    /// than SDKs keep retrying.
    fn default() -> Self {
        Self { window_ms: 30_000, outcomes_min: 10, failures_percent: 50, rest_ms: 5_000 }
    }
}

/// The right to one outcome. Outcomes of attempts that began before the last change are history, and say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticket {
    generation: u64,
    probe: bool,
}

#[derive(Debug)]
struct Circuit {
    settings: CircuitSettings,
    state: State,
    /// Changes with the state.
    generation: u64,
}

#[derive(Debug)]
enum State {
    Closed(Window),
    Open { until: Instant },
    HalfOpen { probing: bool },
}

impl Circuit {
    fn new(settings: CircuitSettings, now: Instant) -> Self {
        Self { settings, state: State::Closed(Window::starting(now)), generation: 0 }
    }

    /// Lets an attempt pass, or tells how long to stay away.
    fn admit(&mut self, now: Instant) -> Result<Ticket, Duration> {
        if let State::Open { until } = self.state {
            if now < until {
                return Err(until - now);
            }
            self.change(State::HalfOpen { probing: false });
        }
        let probe = match &mut self.state {
            State::HalfOpen { probing } => {
                if std::mem::replace(probing, true) {
                    return Err(PROBING);
                }
                true
            }
            _ => false,
        };
        Ok(Ticket { generation: self.generation, probe })
    }

    /// Asks again, after a wait: a circuit that opened meanwhile lets nobody pass who was admitted before.
    fn confirm(&mut self, ticket: Ticket, now: Instant) -> Result<Ticket, Duration> {
        if ticket.generation == self.generation { Ok(ticket) } else { self.admit(now) }
    }

    /// Takes an outcome; `asked` is how long the store itself told us to stay away.
    fn report(&mut self, ticket: Ticket, health: Health, asked: Option<Duration>, now: Instant) {
        if ticket.generation != self.generation {
            return;
        }
        match (&mut self.state, health) {
            (State::Closed(window), Health::Well | Health::Sick) => {
                window.count(health == Health::Sick, self.settings.window_ms, now);
                let (failures, all) = window.sum(self.settings.window_ms, now);
                let share =
                    u64::from(failures) * 100 >= u64::from(all) * u64::from(self.settings.failures_percent);
                if health == Health::Sick && all >= self.settings.outcomes_min && share {
                    self.open(asked, now);
                }
            }
            (State::HalfOpen { .. }, Health::Well) => self.change(State::Closed(Window::starting(now))),
            (State::HalfOpen { .. }, Health::Sick) => self.open(asked, now),
            // The probe said nothing: the next call is one.
            (State::HalfOpen { probing }, Health::Silent) => *probing = false,
            (State::Closed(_) | State::Open { .. }, _) => {}
        }
    }

    fn open(&mut self, asked: Option<Duration>, now: Instant) {
        let rest = Duration::from_millis(self.settings.rest_ms);
        let asked = asked.unwrap_or_default().min(Duration::from_millis(REST_MS_MAX));
        self.change(State::Open { until: now + rest.max(asked) });
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }

    fn state(&self) -> CircuitState {
        match self.state {
            State::Closed(_) => CircuitState::Closed,
            State::Open { .. } => CircuitState::Open,
            State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }
}

/// Outcomes of the recent past, by slots of a tenth of the window.
#[derive(Debug)]
struct Window {
    start: Instant,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    number: u64,
    failures: u32,
    all: u32,
}

impl Window {
    fn starting(now: Instant) -> Self {
        Self { start: now, slots: Default::default() }
    }

    fn number(&self, window_ms: u64, now: Instant) -> u64 {
        let slot_us = (window_ms * 1000 / SLOTS as u64).max(1);
        let elapsed = now.saturating_duration_since(self.start).as_micros();
        u64::try_from(elapsed / u128::from(slot_us)).unwrap_or(u64::MAX)
    }

    fn count(&mut self, failed: bool, window_ms: u64, now: Instant) {
        let number = self.number(window_ms, now);
        let slot = &mut self.slots[usize::try_from(number % SLOTS as u64).unwrap_or_default()];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.all = slot.all.saturating_add(1);
        slot.failures = slot.failures.saturating_add(u32::from(failed));
    }

    /// Failures, and all outcomes.
    fn sum(&self, window_ms: u64, now: Instant) -> (u32, u32) {
        let number = self.number(window_ms, now);
        let recent = self.slots.iter().filter(|slot| number - slot.number.min(number) < SLOTS as u64);
        recent.fold((0_u32, 0_u32), |(failures, all), slot| {
            (failures.saturating_add(slot.failures), all.saturating_add(slot.all))
        })
    }
}

/// The circuit of one region's store.
pub(super) struct Breaker {
    circuit: Mutex<Circuit>,
    region: RegionId,
    metrics: Arc<Metrics>,
}

/// The right to send one attempt, and the duty to say what came of it: dropped, it says nothing.
#[derive(Debug)]
pub(super) struct Pass {
    breaker: Arc<Breaker>,
    ticket: Option<Ticket>,
}

impl Breaker {
    pub(super) fn new(settings: CircuitSettings, region: RegionId, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.store_circuit(CircuitState::Closed);
        Arc::new(Self { circuit: Circuit::new(settings, Instant::now()).into(), region, metrics })
    }

    /// Lets an attempt pass, or tells how long to stay away.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Pass, Duration> {
        let ticket = self.change(Circuit::admit)?;
        Ok(Pass { breaker: Arc::clone(self), ticket: Some(ticket) })
    }

    /// Does something to the circuit, and tells if that changed its state.
    fn change<T>(&self, act: impl FnOnce(&mut Circuit, Instant) -> T) -> T {
        let mut circuit = self.lock();
        let before = circuit.state();
        let done = act(&mut circuit, Instant::now());
        let after = circuit.state();
        if before != after {
            // Under the lock, so that the gauge cannot keep the older of two changes.
            self.metrics.store_circuit(after);
            drop(circuit);
            event::store_circuit(&self.region, before, after);
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Pass {
    /// Asks again after a wait.
    pub(super) fn confirm(mut self) -> Result<Self, Duration> {
        let breaker = Arc::clone(&self.breaker);
        // Taken, so that a refusal does not report on a ticket that is history.
        let Some(ticket) = self.ticket.take() else { return breaker.admit() };
        let ticket = breaker.change(|circuit, now| circuit.confirm(ticket, now))?;
        Ok(Self { breaker, ticket: Some(ticket) })
    }

    /// Says what came of the attempt.
    pub(super) fn report(mut self, health: Health, asked: Option<Duration>) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.change(|circuit, now| circuit.report(ticket, health, asked, now));
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.change(|circuit, now| circuit.report(ticket, Health::Silent, None, now));
        }
    }
}

#[cfg(test)]
#[path = "circuit_tests.rs"]
mod tests;
