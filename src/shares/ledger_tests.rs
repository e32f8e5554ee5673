//! Tests of the rule: against a plain list of what everybody holds and waits for.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{TenantCode, Weight};

fn limits(capacity: u64) -> ShareLimits {
    ShareLimits {
        capacity,
        party_max: u64::MAX,
        floor: 0,
        waiting_max: 1_000,
        wait: std::time::Duration::from_secs(1),
    }
}

fn tenant(number: u8, weight: u8) -> Claimant {
    Claimant::tenant(TenantCode::from_bytes([number; 16]), Weight::try_from(weight).unwrap())
}

#[derive(Clone, Debug)]
enum Step {
    Claim { who: u8, units: u64 },
    Try { who: u8, units: u64 },
    Release { which: prop::sample::Index, part: u8 },
    Cancel { which: prop::sample::Index },
}

fn step() -> impl Strategy<Value = Step> {
    let units = prop_oneof![1_u64..8, 1_u64..120, Just(1_000)];
    prop_oneof![
        4 => (0_u8..6, units.clone()).prop_map(|(who, units)| Step::Claim { who, units }),
        1 => (0_u8..6, units).prop_map(|(who, units)| Step::Try { who, units }),
        3 => (any::<prop::sample::Index>(), 1_u8..=4).prop_map(|(which, part)| Step::Release { which, part }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Cancel { which }),
    ]
}

/// The plain model: who holds what, and who waits for what, in two lists.
struct Model {
    ledger: Ledger,
    weights: [u8; 6],
    held: Vec<(u8, u64)>,
    waiting: Vec<(Ticket, u8, u64)>,
}

impl Model {
    fn claimant(&self, who: u8) -> Claimant {
        tenant(who, self.weights[usize::from(who)])
    }

    fn served(&mut self, granted: &[Ticket]) {
        for ticket in granted {
            let place =
                self.waiting.iter().position(|(t, ..)| t == ticket).expect("only who waits is served");
            let (_, who, units) = self.waiting.remove(place);
            assert!(
                self.waiting.iter().all(|(t, other, _)| *other != who || t.number > ticket.number),
                "within a tenant the first to come is the first to be served"
            );
            self.held.push((who, units));
        }
    }

    fn step(&mut self, step: &Step) {
        let mut granted = Vec::new();
        match step {
            Step::Claim { who, units } => {
                let claimant = self.claimant(*who);
                match self.ledger.claim(claimant, *units, &mut granted) {
                    Verdict::Granted => self.held.push((*who, *units)),
                    Verdict::Queued(ticket) => self.waiting.push((ticket, *who, *units)),
                    Verdict::Refused(refusal) => {
                        assert_eq!(refusal == Refusal::TooMuch, *units > self.ledger.most(claimant));
                    }
                }
            }
            Step::Try { who, units } => {
                let before = self.waiting.len();
                if self.ledger.try_claim(self.claimant(*who), *units).is_ok() {
                    assert_eq!(before, 0, "who does not wait overtakes nobody who does");
                    self.held.push((*who, *units));
                }
            }
            Step::Release { which, part } if !self.held.is_empty() => {
                let place = which.index(self.held.len());
                let (who, units) = self.held[place];
                let back = (units / u64::from(*part)).max(1);
                self.held[place].1 -= back;
                self.ledger.release(self.claimant(who).party, back, &mut granted);
                if self.held[place].1 == 0 {
                    self.held.remove(place);
                }
            }
            Step::Cancel { which } if !self.waiting.is_empty() => {
                let (ticket, ..) = self.waiting.remove(which.index(self.waiting.len()));
                assert!(self.ledger.cancel(ticket, &mut granted), "it had not been served");
            }
            Step::Release { .. } | Step::Cancel { .. } => {}
        }
        self.served(&granted);
    }

    fn held_by(&self) -> BTreeMap<u8, u64> {
        let mut by = BTreeMap::new();
        for (who, units) in &self.held {
            *by.entry(*who).or_default() += units;
        }
        by
    }

    /// What must hold at every moment.
    fn check(&self) {
        let by = self.held_by();
        let total: u64 = by.values().sum();
        assert_eq!(self.ledger.used(), total);
        assert!(total <= self.ledger.limits.capacity, "never above the budget");
        assert_eq!(self.ledger.waiting(), self.waiting.len() as u64);
        let mut active: std::collections::BTreeSet<u8> = by.keys().copied().collect();
        active.extend(self.waiting.iter().map(|(_, who, _)| *who));
        assert_eq!(self.ledger.accounts.len(), active.len(), "no account of whoever neither holds nor waits");
        let weights: u64 = active.iter().map(|who| u64::from(self.weights[usize::from(*who)])).sum();
        assert_eq!(self.ledger.weights, weights);
        let part = |who: u8| self.ledger.part(u64::from(self.weights[usize::from(who)]), weights);
        let heads: BTreeMap<u8, u64> =
            self.waiting.iter().rev().map(|(_, who, units)| (*who, *units)).collect();
        if by.iter().all(|(who, held)| *held <= part(*who)) {
            for (who, units) in heads {
                let after = by.get(&who).copied().unwrap_or_default() + units;
                assert!(after > part(who), "who is within its share waits though nobody is beyond theirs");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shares_hold_in_any_sequence_of_claims_returns_and_leavings(
        weights in prop::array::uniform6(1_u8..=16),
        floor in prop_oneof![Just(0_u64), 1_u64..20],
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let ledger = Ledger::new(ShareLimits { floor, ..limits(200) });
        let mut model = Model { ledger, weights, held: Vec::new(), waiting: Vec::new() };
        for step in &steps {
            model.step(step);
            model.check();
        }
        // Everything that is held comes back: everybody who waits is served, nothing is left.
        while let Some((who, units)) = model.held.pop() {
            let mut granted = Vec::new();
            model.ledger.release(model.claimant(who).party, units, &mut granted);
            model.served(&granted);
            model.check();
        }
        prop_assert!(model.waiting.is_empty(), "somebody waits though nothing is held");
        prop_assert!(model.ledger.accounts.is_empty() && model.ledger.order.is_empty());
        prop_assert!(model.ledger.small.is_empty());
        prop_assert_eq!((model.ledger.used(), model.ledger.waiting(), model.ledger.weights), (0, 0, 0));
    }

    /// Tenants that always want more, whose claims come and go at random: each has what its weight says in the end.
    #[test]
    fn tenants_that_want_everything_come_to_rest_at_their_weights(
        weights in prop::collection::vec(1_u8..=16, 2..6),
        seed: u64,
    ) {
        let mut random = seed;
        let mut ledger = Ledger::new(limits(10_000));
        let claimants: Vec<_> = (0_u8..).zip(&weights).map(|(number, weight)| tenant(number, *weight)).collect();
        let mut held = Vec::new();
        // The first takes all it may before the others come.
        while ledger.try_claim(claimants[0], 10).is_ok() {
            held.push(claimants[0]);
        }
        let mut granted = Vec::new();
        let mut waiting = Vec::new();
        for claimant in &claimants {
            let mut queued = 0;
            while queued < 20 {
                match ledger.claim(*claimant, 10, &mut granted) {
                    Verdict::Granted => held.push(*claimant),
                    Verdict::Queued(ticket) => { queued += 1; waiting.push((ticket, *claimant)); }
                    Verdict::Refused(refusal) => prop_assert!(false, "{refusal}"),
                }
            }
        }
        for _ in 0..4_000 {
            // Whichever, all alike (an LCG of Knuth's): in an order that favours somebody, what he holds never comes back.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let which = usize::try_from((random >> 33) % held.len() as u64).unwrap();
            let back = held.swap_remove(which);
            ledger.release(back.party, 10, &mut granted);
            while let Some(ticket) = granted.pop() {
                let place = waiting.iter().position(|(t, _)| *t == ticket).unwrap();
                let (_, claimant) = waiting.swap_remove(place);
                held.push(claimant);
                // And wants more: somebody of each always waits.
                loop {
                    match ledger.claim(claimant, 10, &mut granted) {
                        Verdict::Granted => held.push(claimant),
                        Verdict::Queued(ticket) => break waiting.push((ticket, claimant)),
                        Verdict::Refused(refusal) => prop_assert!(false, "{refusal}"),
                    }
                }
            }
        }
        let weights: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        for claimant in &claimants {
            let part = ledger.part(claimant.weight_value(), weights);
            let has = ledger.account(claimant.party).held;
            prop_assert!(has + 20 + part / 50 >= part, "{has} of {part}, weight {}", claimant.weight_value());
        }
    }

    /// Others come and go without end: a waiter within its share sees a bounded amount pass.
    #[test]
    fn no_waiter_is_overtaken_without_end(
        seeds in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..5, 1_u64..40), 3_000),
        wanted in 1_u64..100,
    ) {
        let mut ledger = Ledger::new(limits(1_000));
        let quiet = tenant(9, 1);
        let mut held: Vec<(Claimant, u64)> = Vec::new();
        // Others fill the budget while more and more of them come.
        for number in 10_u8..40 {
            let claimant = tenant(number, 1);
            for units in [500, 100, 10, 1] {
                while ledger.try_claim(claimant, units).is_ok() {
                    held.push((claimant, units));
                }
            }
        }
        let mut granted = Vec::new();
        let mut waiting: Vec<(Ticket, Claimant, u64)> = Vec::new();
        let wanted = wanted.min(ledger.part(1, ledger.weights + 6));
        let Verdict::Queued(ours) = ledger.claim(quiet, wanted, &mut granted) else { return Ok(()) };
        let mut passed = 0;
        let mut served = false;
        for (which, who, units) in seeds {
            let claimant = tenant(who, 1);
            match ledger.claim(claimant, units, &mut granted) {
                Verdict::Granted => { passed += units; held.push((claimant, units)); }
                Verdict::Queued(ticket) => waiting.push((ticket, claimant, units)),
                Verdict::Refused(_) => {}
            }
            if !held.is_empty() {
                let (back, units) = held.swap_remove(which.index(held.len()));
                ledger.release(back.party, units, &mut granted);
            }
            for ticket in granted.drain(..) {
                if ticket == ours { served = true; continue }
                let place = waiting.iter().position(|(t, ..)| *t == ticket).unwrap();
                let (_, claimant, units) = waiting.swap_remove(place);
                if !served { passed += units; }
                held.push((claimant, units));
            }
            if served { break }
        }
        prop_assert!(served, "not served though everything came back several times");
        prop_assert!(passed <= wanted * OVERTAKEN_TIMES_MAX + 40, "{passed} went to others");
    }
}

#[test]
fn one_tenant_took_the_whole_budget_and_left_the_others_nothing() {
    let mut ledger = Ledger::new(limits(1_000));
    let mut taken = Vec::new();
    for number in 0..4 {
        let greedy = tenant(number, 1);
        let before = ledger.used();
        while ledger.try_claim(greedy, 1).is_ok() {}
        taken.push(ledger.used() - before);
    }
    // Four fifths of what each finds.
    assert_eq!(taken, [800, 160, 32, 6]);
    assert!(ledger.try_claim(tenant(9, 1), 1).is_ok(), "and there is some left");
}

#[test]
fn the_heaviest_tenant_leaves_a_part_too() {
    let mut ledger = Ledger::new(limits(65_000));
    while ledger.try_claim(tenant(1, 16), 100).is_ok() {}
    assert_eq!(ledger.used(), 64_000);
}

#[test]
fn a_small_claim_of_a_quiet_tenant_passes_everybody_who_waits() {
    let mut ledger = Ledger::new(ShareLimits { floor: 8, ..limits(200) });
    let mut granted = Vec::new();
    for number in 0..3 {
        while ledger.claim(tenant(number, 1), 16, &mut granted) == Verdict::Granted {}
    }
    assert!(ledger.waiting() > 0 && 200 - ledger.used() >= 8, "{} used", ledger.used());
    assert_eq!(ledger.claim(tenant(9, 1), 8, &mut granted), Verdict::Granted);
    assert!(matches!(ledger.claim(tenant(9, 1), 8, &mut granted), Verdict::Queued(_)), "once");
}

#[test]
fn waiters_of_one_tenant_leave_room_for_others_to_wait() {
    let mut ledger = Ledger::new(ShareLimits { waiting_max: 50, ..limits(10) });
    let mut granted = Vec::new();
    let mut count = |ledger: &mut Ledger, number| {
        let mut waiting = 0;
        loop {
            match ledger.claim(tenant(number, 1), 8, &mut granted) {
                Verdict::Granted => {}
                Verdict::Queued(_) => waiting += 1,
                Verdict::Refused(refusal) => return (waiting, refusal),
            }
        }
    };
    assert_eq!(count(&mut ledger, 1), (40, Refusal::Crowded));
    assert_eq!(count(&mut ledger, 2), (8, Refusal::Crowded));
    assert_eq!(count(&mut ledger, 3).0, 1);
}

#[test]
fn a_refused_claim_leaves_no_account() {
    let mut ledger = Ledger::new(ShareLimits { waiting_max: 0, ..limits(10) });
    let mut granted = Vec::new();
    assert!(ledger.try_claim(tenant(1, 1), 8).is_ok());
    assert_eq!(ledger.claim(tenant(2, 1), 8, &mut granted), Verdict::Refused(Refusal::Full));
    assert_eq!(ledger.try_claim(tenant(3, 1), 9), Err(Refusal::TooMuch));
    assert_eq!(ledger.try_claim(tenant(4, 1), 5), Err(Refusal::Full));
    assert_eq!(ledger.accounts.len(), 1);
}

#[test]
fn a_tenants_own_bound_holds_beside_the_rule() {
    let mut ledger = Ledger::new(ShareLimits { party_max: 3, ..limits(1_000) });
    while ledger.try_claim(tenant(1, 1), 1).is_ok() {}
    assert_eq!(ledger.used(), 3);
    assert_eq!(ledger.try_claim(tenant(1, 1), 4), Err(Refusal::TooMuch));
}

#[test]
fn a_waiter_within_its_share_is_served_though_smaller_claims_would_always_fit() {
    let mut ledger = Ledger::new(limits(100));
    let others = [tenant(1, 1), tenant(2, 1), tenant(3, 1)];
    for other in others.iter().cycle().take(9) {
        assert!(ledger.try_claim(*other, 10).is_ok());
    }
    let mut granted = Vec::new();
    let Verdict::Queued(ours) = ledger.claim(tenant(9, 1), 20, &mut granted) else { panic!("10 are left") };
    for (round, other) in others.iter().cycle().take(100).enumerate() {
        // Gives back and wants as much again: that fits each time, ours only when more has come together.
        assert!(matches!(ledger.claim(*other, 10, &mut granted), Verdict::Queued(_)));
        ledger.release(other.party, 10, &mut granted);
        if granted.contains(&ours) {
            assert_eq!(round, 9, "eight passed, four times what it asked for; then two came together");
            return;
        }
    }
    panic!("passed for ever");
}
