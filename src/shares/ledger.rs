//! Who holds how much, who waits, and who is next: the rule of [`super::Shares`], without time, threads or wakers.
//!
//! Each call costs O(log n) in the number of parties and of waiters.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Claimant, Party, Refusal, ShareLimits};

/// How many times what is left a party of weight 1 may hold. Four: alone it gets four fifths, and the fifth that is left
/// carries two full reads of 8 MiB blobs in the default budget.
const LEAN: u128 = 4;

/// Parties looked at for one that can be served: what keeps a step bounded.
const LOOKED_AT_MAX: usize = 8;

/// A waiter is overtaken by at most this many times what it asks for, if what it asks for is within its share.
const OVERTAKEN_TIMES_MAX: u64 = 4;

/// The least common multiple of 1 to 16: dividing by any weight leaves no rest.
const SCALE: u128 = 720_720;

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket {
    number: u64,
    party: Party,
}

/// What becomes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is held.
    Granted,
    /// It waits.
    Queued(Ticket),
    /// It is turned away.
    Refused(Refusal),
}

/// The books of one bounded thing.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: ShareLimits,
    used: u64,
    waiting: u64,
    tickets: u64,
    /// Of all who hold or wait.
    weights: u64,
    /// Those who hold or wait, nobody else: it cannot grow beyond what is held and queued.
    accounts: HashMap<Party, Account>,
    /// Who waits, the one with the least for its weight first, then by arrival.
    order: BTreeSet<(u128, Ticket)>,
    /// Who waits for no more than the floor, by arrival.
    small: BTreeSet<Ticket>,
}

#[derive(Debug, Default)]
struct Account {
    weight: u64,
    held: u64,
    /// What is asked for, by ticket number.
    queue: BTreeMap<u64, Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    units: u64,
    /// Units that went to others while this one stood before them.
    overtaken: u64,
}

impl Ledger {
    pub(super) fn new(limits: ShareLimits) -> Self {
        Self {
            limits,
            used: 0,
            waiting: 0,
            tickets: 0,
            weights: 0,
            accounts: HashMap::new(),
            order: BTreeSet::new(),
            small: BTreeSet::new(),
        }
    }

    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    pub(super) const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The most that a party may hold when nobody else holds anything.
    pub(super) fn most(&self, claimant: Claimant) -> u64 {
        self.part(claimant.weight_value(), claimant.weight_value())
            .max(self.limits.floor.min(self.limits.capacity))
            .min(self.limits.party_max)
    }

    /// Asks for `units`. May serve others too: those are told in `granted`.
    pub(super) fn claim(&mut self, claimant: Claimant, units: u64, granted: &mut Vec<Ticket>) -> Verdict {
        if units > self.most(claimant) {
            return Verdict::Refused(Refusal::TooMuch);
        }
        self.set_weight(claimant);
        let account = self.account(claimant.party);
        let may_pass = account.queue.is_empty() && (self.order.is_empty() || self.is_small(account, units));
        if may_pass && self.fits(account, units) {
            self.change(claimant.party, |account| account.held += units);
            self.used += units;
            return Verdict::Granted;
        }
        if !self.may_wait(account) {
            // Somebody who neither holds nor waits leaves no trace.
            self.change(claimant.party, |_| ());
            return Verdict::Refused(if self.limits.waiting_max == 0 {
                Refusal::Full
            } else {
                Refusal::Crowded
            });
        }
        self.tickets += 1;
        let ticket = Ticket { number: self.tickets, party: claimant.party };
        self.waiting += 1;
        self.change(claimant.party, |account| {
            account.queue.insert(ticket.number, Asked { units, overtaken: 0 });
        });
        let before = granted.len();
        self.serve(granted);
        match granted[before..].iter().position(|served| *served == ticket) {
            Some(place) => {
                granted.remove(before + place);
                Verdict::Granted
            }
            None => Verdict::Queued(ticket),
        }
    }

    /// Takes `units` if they are there for this party now and nobody waits.
    pub(super) fn try_claim(&mut self, claimant: Claimant, units: u64) -> Result<(), Refusal> {
        if units > self.most(claimant) {
            return Err(Refusal::TooMuch);
        }
        self.set_weight(claimant);
        let fits = self.order.is_empty() && self.fits(self.account(claimant.party), units);
        self.change(claimant.party, |account| account.held += if fits { units } else { 0 });
        self.used += if fits { units } else { 0 };
        if fits { Ok(()) } else { Err(Refusal::Full) }
    }

    /// Gives back.
    pub(super) fn release(&mut self, party: Party, units: u64, granted: &mut Vec<Ticket>) {
        debug_assert!(self.account(party).held >= units, "more given back than held");
        let units = units.min(self.account(party).held);
        self.change(party, |account| account.held -= units);
        self.used -= units;
        self.serve(granted);
    }

    /// Leaves the queue. False if the ticket was served already: then it is held, and to be released.
    pub(super) fn cancel(&mut self, ticket: Ticket, granted: &mut Vec<Ticket>) -> bool {
        let left = self.change(ticket.party, |account| account.queue.remove(&ticket.number)).is_some();
        if left {
            self.waiting -= 1;
            // Whoever stood behind it may fit.
            self.serve(granted);
        }
        left
    }

    /// Serves whoever can be, in order.
    fn serve(&mut self, granted: &mut Vec<Ticket>) {
        while let Some(ticket) = self.next() {
            let units = self.change(ticket.party, |account| {
                let asked = account.queue.remove(&ticket.number)?;
                account.held += asked.units;
                Some(asked.units)
            });
            self.used += units.unwrap_or_default();
            self.waiting -= 1;
            granted.push(ticket);
        }
    }

    /// The next one to serve. Those who are passed over for it are told, so that it does not go on for ever.
    fn next(&mut self) -> Option<Ticket> {
        if let Some(first) = self.small.first().copied()
            && self.head_fits(first)
        {
            return Some(first);
        }
        let mut found = None;
        let mut passed = Vec::new();
        for (_, ticket) in self.order.iter().take(LOOKED_AT_MAX) {
            if self.head_fits(*ticket) {
                found = Some(*ticket);
                break;
            }
            if self.must_not_pass(*ticket) {
                return None;
            }
            passed.push(*ticket);
        }
        let found = found?;
        let units = self.asked(found).map_or(0, |asked| asked.units);
        for ticket in passed {
            // Not a change of the order: neither held nor queue is touched.
            if let Some(asked) =
                self.accounts.get_mut(&ticket.party).and_then(|account| account.queue.get_mut(&ticket.number))
            {
                asked.overtaken = asked.overtaken.saturating_add(units);
            }
        }
        Some(found)
    }

    /// Whether a waiter that does not fit holds up those behind it: when it asks for no more than its share, and was passed
    /// over for long enough. Others may not hold up anybody: a large claim of one must not be a wall before all.
    fn must_not_pass(&self, ticket: Ticket) -> bool {
        let account = self.account(ticket.party);
        self.asked(ticket).is_some_and(|asked| {
            account.held.saturating_add(asked.units) <= self.part(account.weight, self.weights)
                && asked.overtaken >= asked.units.saturating_mul(OVERTAKEN_TIMES_MAX)
        })
    }

    fn head_fits(&self, ticket: Ticket) -> bool {
        self.asked(ticket).is_some_and(|asked| self.fits(self.account(ticket.party), asked.units))
    }

    fn asked(&self, ticket: Ticket) -> Option<Asked> {
        self.accounts.get(&ticket.party)?.queue.get(&ticket.number).copied()
    }

    /// The rule: what is there, not above the party's own bound, and either within the floor or at most [`LEAN`] times its
    /// weight of what is left afterwards.
    fn fits(&self, account: &Account, units: u64) -> bool {
        let Some(left) = (self.limits.capacity - self.used).checked_sub(units) else { return false };
        let held = account.held.saturating_add(units);
        held <= self.limits.party_max && (held <= self.limits.floor || leans(held, account.weight, left))
    }

    fn is_small(&self, account: &Account, units: u64) -> bool {
        account.held.saturating_add(units) <= self.limits.floor.min(self.limits.party_max)
    }

    /// The queue is shared by the same rule, so that nobody's waiters leave no room for others to wait.
    fn may_wait(&self, account: &Account) -> bool {
        let Some(left) = self.limits.waiting_max.checked_sub(self.waiting + 1) else { return false };
        account.queue.is_empty() || leans(account.queue.len() as u64 + 1, account.weight, left)
    }

    /// What a party of `weight` gets where parties of `weights` in all want everything: where the rule comes to rest.
    fn part(&self, weight: u64, weights: u64) -> u64 {
        let (weight, weights) = (LEAN * u128::from(weight), LEAN * u128::from(weights));
        u64::try_from(u128::from(self.limits.capacity) * weight / (1 + weights)).unwrap_or(u64::MAX)
    }

    fn account(&self, party: Party) -> &Account {
        const NONE: &Account = &Account { weight: 1, held: 0, queue: BTreeMap::new() };
        self.accounts.get(&party).unwrap_or(NONE)
    }

    fn set_weight(&mut self, claimant: Claimant) {
        let weight = claimant.weight_value();
        self.accounts.entry(claimant.party).or_default();
        self.change_keeping(claimant.party, |account| account.weight = weight);
    }

    /// Changes an account and what follows from it: the sum of weights, its place in the order, whether there is one.
    fn change<R>(&mut self, party: Party, change: impl FnOnce(&mut Account) -> R) -> R
    where
        R: Default,
    {
        let done = self.change_keeping(party, change);
        if let Some(account) = self.accounts.get(&party)
            && account.held == 0
            && account.queue.is_empty()
        {
            self.weights -= account.weight;
            self.accounts.remove(&party);
        }
        done
    }

    fn change_keeping<R: Default>(&mut self, party: Party, change: impl FnOnce(&mut Account) -> R) -> R {
        let Some(account) = self.accounts.get_mut(&party) else { return R::default() };
        if let Some(number) = account.queue.keys().next().copied() {
            let ticket = Ticket { number, party };
            self.order.remove(&(account.standing(), ticket));
            self.small.remove(&ticket);
        }
        self.weights -= account.weight;
        let done = change(account);
        self.weights += account.weight;
        if let Some((number, asked)) = account.queue.first_key_value() {
            let ticket = Ticket { number: *number, party };
            self.order.insert((account.standing(), ticket));
            if account.held.saturating_add(asked.units) <= self.limits.floor.min(self.limits.party_max) {
                self.small.insert(ticket);
            }
        }
        done
    }
}

impl Account {
    /// How much it holds for its weight.
    fn standing(&self) -> u128 {
        u128::from(self.held) * SCALE / u128::from(self.weight.max(1))
    }
}

/// Whether `held` is at most [`LEAN`] times `weight` of what is `left`.
fn leans(held: u64, weight: u64, left: u64) -> bool {
    u128::from(held) <= LEAN * u128::from(weight) * u128::from(left)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
