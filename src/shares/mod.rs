//! Weighted shares of a bounded thing: one tenant's flood is not another's.
//!
//! What is held cannot be taken back (a slow reader has its bytes until it has read them), so fairness has to be settled
//! when something is handed out. The rule is the *dynamic threshold* of shared-memory switches (A. K. Choudhury and E. L.
//! Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking 6(2),
//! 1998): a party may hold at most four times its weight of *what is left*. From it follows:
//!  - A party alone gets four fifths of everything (weight 1; at most 64/65), and **nobody can ever take the last share**:
//!    whoever comes next finds a part of what is left, and leaves a part of that.
//!  - Parties that all want everything come to rest at shares in the ratio of their weights. A claim within that share is
//!    served as soon as the others hold no more than theirs.
//!  - What is given back goes first to whoever holds the least for its weight. Within a party the first to come is the
//!    first to be served. A waiter that asks for no more than its share is overtaken a bounded number of times.
//!  - A small claim (the *floor*) of a party that holds next to nothing needs only that so much is there at all.
//!
//! A waiter holds nothing, waits a bounded time, and may be dropped at any moment without a trace. The queue is bounded, and
//! shared by the same rule. No lock is held over an await.

mod ledger;
mod seat;
mod turns;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::model::{TenantCode, Weight};
use crate::telemetry::{Metrics, ShareEvent, Shared};

pub use seat::Seat;
pub use turns::{away, in_turn};

use ledger::{Ledger, Ticket, Verdict};

/// Who competes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A tenant.
    Tenant(TenantCode),
    /// Everybody who has not been identified, together.
    Strangers,
    /// The proxy's own clearing up and checking.
    Maintenance,
}

/// A party and how much it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimant {
    party: Party,
    weight: Weight,
}

impl Claimant {
    /// A tenant.
    pub const fn tenant(code: TenantCode, weight: Weight) -> Self {
        Self { party: Party::Tenant(code), weight }
    }

    /// The strangers, who together count as one tenant of weight 1.
    pub fn strangers() -> Self {
        Self { party: Party::Strangers, weight: Weight::default() }
    }

    /// The proxy's own work that nobody waits for, which together counts as one tenant of weight 1.
    pub fn maintenance() -> Self {
        Self { party: Party::Maintenance, weight: Weight::default() }
    }

    fn weight_value(self) -> u64 {
        u64::from(self.weight.value())
    }
}

/// The bounds of a thing that is shared. Units are the thing's: bytes, requests, connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareLimits {
    /// All there is.
    pub capacity: u64,
    /// The most that one party may hold, whatever is left.
    pub party_max: u64,
    /// Up to this much a party gets whenever it is there.
    pub floor: u64,
    /// Claims that wait, of all parties; 0: what cannot be had now is refused now.
    pub waiting_max: u64,
    /// How long a claim waits.
    pub wait: Duration,
}

/// Why nothing was handed out. All of them pass: the answer is 503 `SlowDown`, except to [`Refusal::TooMuch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// More than the party may ever hold.
    #[error("more was asked for than one may hold")]
    TooMuch,
    /// Not there now, and it was not to be waited for.
    #[error("the share is used up")]
    Full,
    /// Too many wait already.
    #[error("too many wait for a share")]
    Crowded,
    /// It did not become free in time.
    #[error("no share became free in time")]
    Late,
}

impl Refusal {
    const fn event(self) -> ShareEvent {
        match self {
            Self::TooMuch => ShareEvent::TooMuch,
            Self::Full => ShareEvent::Full,
            Self::Crowded => ShareEvent::Crowded,
            Self::Late => ShareEvent::Late,
        }
    }
}

/// A bounded thing and who has it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shares {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    state: Mutex<State>,
    limits: ShareLimits,
    what: Shared,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    wakers: HashMap<Ticket, oneshot::Sender<()>>,
}

/// Something of the thing, given back on drop.
#[derive(Debug)]
#[must_use]
pub struct Share {
    pool: Arc<Pool>,
    claimant: Claimant,
    units: u64,
}

impl Shares {
    /// `limits.capacity` units of `what`, counted in `metrics`.
    pub fn new(what: Shared, limits: ShareLimits, metrics: Arc<Metrics>) -> Self {
        let state = Mutex::new(State { ledger: Ledger::new(limits), wakers: HashMap::new() });
        Self { pool: Arc::new(Pool { state, limits, what, metrics }) }
    }

    /// Waits for `units`, for at most [`ShareLimits::wait`]. For whoever holds nothing of this thing: two that hold some and
    /// wait for more would wait for each other.
    pub async fn acquire(&self, claimant: Claimant, units: u64) -> Result<Share, Refusal> {
        let verdict = self.pool.with(|state, granted| match state.ledger.claim(claimant, units, granted) {
            Verdict::Granted => Ok(None),
            Verdict::Refused(refusal) => Err(refusal),
            Verdict::Queued(ticket) => {
                let (waker, woken) = oneshot::channel();
                state.wakers.insert(ticket, waker);
                Ok(Some((ticket, woken)))
            }
        });
        let share = || Share { pool: Arc::clone(&self.pool), claimant, units };
        let Some((ticket, woken)) = verdict.map_err(|refusal| self.pool.refused(refusal))? else {
            return Ok(share());
        };
        self.pool.metrics.share_event(self.pool.what, ShareEvent::Waited).increment();
        let mut waiting = Waiting { pool: &self.pool, ticket: Some(ticket), claimant, units };
        match tokio::time::timeout(self.pool.limits.wait, woken).await {
            Ok(Ok(())) => {
                waiting.ticket = None;
                Ok(share())
            }
            Ok(Err(_)) | Err(_) => Err(self.pool.refused(Refusal::Late)),
        }
    }

    /// `units`, if they can be had now and nobody waits. For whoever holds some already, or will not wait.
    pub fn try_acquire(&self, claimant: Claimant, units: u64) -> Result<Share, Refusal> {
        self.pool.with(|state, _| state.ledger.try_claim(claimant, units))?;
        Ok(Share { pool: Arc::clone(&self.pool), claimant, units })
    }

    /// As [`Shares::try_acquire`], counted as a refusal if it is one: for those who turn a request away.
    pub fn demand(&self, claimant: Claimant, units: u64) -> Result<Share, Refusal> {
        self.try_acquire(claimant, units).map_err(|refusal| self.pool.refused(refusal))
    }

    /// The most that `claimant` may hold when nobody else holds anything.
    pub fn most(&self, claimant: Claimant) -> u64 {
        self.pool.lock().ledger.most(claimant)
    }

    /// Units handed out at this moment.
    pub fn used(&self) -> u64 {
        self.pool.lock().ledger.used()
    }

    /// Claims that wait at this moment.
    pub fn waiting(&self) -> u64 {
        self.pool.lock().ledger.waiting()
    }
}

impl Share {
    /// How much it is.
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// More of the same, if it can be had now and nobody waits.
    pub fn try_grow(&mut self, units: u64) -> Result<(), Refusal> {
        self.pool.with(|state, _| state.ledger.try_claim(self.claimant, units))?;
        self.units += units;
        Ok(())
    }

    /// Gives back all but `units`.
    pub fn shrink_to(&mut self, units: u64) {
        if let Some(back) = self.units.checked_sub(units).filter(|back| *back > 0) {
            self.units = units;
            self.pool.with(|state, granted| state.ledger.release(self.claimant.party, back, granted));
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// A claim in the queue. Dropped with its ticket, it leaves the queue, or gives back what it was handed and never took.
struct Waiting<'p> {
    pool: &'p Pool,
    ticket: Option<Ticket>,
    claimant: Claimant,
    units: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        self.pool.with(|state, granted| {
            state.wakers.remove(&ticket);
            if !state.ledger.cancel(ticket, granted) {
                state.ledger.release(self.claimant.party, self.units, granted);
            }
        });
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the books, then wakes whoever was served, outside the lock.
    fn with<R>(&self, change: impl FnOnce(&mut State, &mut Vec<Ticket>) -> R) -> R {
        let mut granted = Vec::new();
        let (done, wakers) = {
            let mut state = self.lock();
            let done = change(&mut state, &mut granted);
            let wakers: Vec<_> = granted.iter().filter_map(|ticket| state.wakers.remove(ticket)).collect();
            let used = state.ledger.used();
            self.metrics.share_used(self.what).set(i64::try_from(used).unwrap_or(i64::MAX));
            (done, wakers)
        };
        for waker in wakers {
            // Whoever is gone gives it back itself.
            let _ = waker.send(());
        }
        done
    }

    fn refused(&self, refusal: Refusal) -> Refusal {
        self.metrics.share_event(self.what, refusal.event()).increment();
        refusal
    }
}

#[cfg(test)]
mod tests;
