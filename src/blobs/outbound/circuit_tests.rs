//! The circuit against a model of it that keeps everything, and its rules one by one.

use proptest::prelude::*;

use super::*;

const SETTINGS: CircuitSettings =
    CircuitSettings { window_ms: 10_000, outcomes_min: 4, failures_percent: 50, rest_ms: 2_000 };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn closed() -> (Circuit, Instant) {
    let now = Instant::now();
    (Circuit::new(SETTINGS, now), now)
}

fn see(circuit: &mut Circuit, now: Instant, health: Health) {
    let ticket = circuit.admit(now).unwrap();
    circuit.report(ticket, health, None, now);
}

fn opened() -> (Circuit, Instant) {
    let (mut circuit, now) = closed();
    for _ in 0..4 {
        see(&mut circuit, now, Health::Sick);
    }
    assert_eq!(circuit.state(), CircuitState::Open);
    (circuit, now)
}

#[test]
fn too_few_outcomes_prove_nothing() {
    let (mut circuit, now) = closed();
    for _ in 0..3 {
        see(&mut circuit, now, Health::Sick);
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[test]
fn a_store_that_works_more_often_than_not_is_called() {
    let (mut circuit, now) = closed();
    for _ in 0..100 {
        see(&mut circuit, now, Health::Well);
        see(&mut circuit, now, Health::Well);
        see(&mut circuit, now, Health::Sick);
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[test]
fn what_says_nothing_of_the_store_neither_opens_nor_closes() {
    let (mut circuit, now) = closed();
    for _ in 0..100 {
        see(&mut circuit, now, Health::Silent);
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
    let (mut circuit, now) = opened();
    see(&mut circuit, now + ms(2_000), Health::Silent);
    assert_eq!(circuit.state(), CircuitState::HalfOpen);
    // And the place of the probe is free again.
    see(&mut circuit, now + ms(2_000), Health::Well);
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[test]
fn failures_of_long_ago_are_forgotten() {
    let (mut circuit, now) = closed();
    for later in 0..100 {
        see(&mut circuit, now + ms(later * 4_000), Health::Sick);
    }
    assert_eq!(circuit.state(), CircuitState::Closed, "never four within ten seconds");
}

#[test]
fn an_open_circuit_lets_nobody_pass_until_its_time_and_then_one_at_a_time() {
    let (mut circuit, now) = opened();
    assert_eq!(circuit.admit(now), Err(ms(2_000)));
    assert_eq!(circuit.admit(now + ms(1_999)), Err(ms(1)));
    let probe = circuit.admit(now + ms(2_000)).unwrap();
    assert!(probe.probe);
    assert_eq!(circuit.admit(now + ms(2_000)), Err(PROBING));
    assert_eq!(circuit.admit(now + ms(60_000)), Err(PROBING), "however long the probe takes");
    circuit.report(probe, Health::Sick, None, now + ms(60_000));
    assert_eq!(circuit.admit(now + ms(60_001)), Err(ms(1_999)), "it rests anew");
}

#[test]
fn a_store_is_left_alone_for_as_long_as_it_asks_but_not_for_ever() {
    for (asked, rests) in [(1, 2_000), (7_000, 7_000), (86_400_000, REST_MS_MAX)] {
        let (mut circuit, now) = closed();
        for _ in 0..4 {
            let ticket = circuit.admit(now).unwrap();
            circuit.report(ticket, Health::Sick, Some(ms(asked)), now);
        }
        assert_eq!(circuit.admit(now), Err(ms(rests)));
    }
}

#[test]
fn an_attempt_that_began_before_the_circuit_opened_neither_closes_it_nor_keeps_it_open() {
    let (mut circuit, now) = closed();
    let old = circuit.admit(now).unwrap();
    for _ in 0..4 {
        see(&mut circuit, now, Health::Sick);
    }
    circuit.report(old, Health::Well, None, now);
    assert_eq!(circuit.state(), CircuitState::Open);
    let later = now + ms(2_000);
    see(&mut circuit, later, Health::Well);
    for _ in 0..10 {
        circuit.report(old, Health::Sick, None, later);
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[test]
fn who_waited_while_the_circuit_opened_is_turned_back() {
    let (mut circuit, now) = closed();
    let waiting = circuit.admit(now).unwrap();
    assert_eq!(circuit.confirm(waiting, now), Ok(waiting));
    for _ in 0..4 {
        see(&mut circuit, now, Health::Sick);
    }
    assert_eq!(circuit.confirm(waiting, now), Err(ms(2_000)));
    // Once it is time, somebody who waited is as good a probe as any.
    assert!(circuit.confirm(waiting, now + ms(2_000)).unwrap().probe);
}

#[test]
fn a_pass_that_is_dropped_gives_the_probes_place_back() {
    let metrics = Arc::new(Metrics::default());
    let settings = CircuitSettings { rest_ms: 0, ..SETTINGS };
    let breaker = Breaker::new(settings, "fr".parse().unwrap(), Arc::clone(&metrics));
    for _ in 0..4 {
        breaker.admit().unwrap().report(Health::Sick, None);
    }
    assert_eq!(metrics.store_circuit_state(), CircuitState::Open);
    let probe = breaker.admit().unwrap();
    assert_eq!(metrics.store_circuit_state(), CircuitState::HalfOpen);
    assert!(breaker.admit().is_err());
    drop(probe);
    let probe = breaker.admit().unwrap();
    assert!(breaker.admit().is_err());
    probe.confirm().unwrap().report(Health::Well, None);
    assert_eq!(metrics.store_circuit_state(), CircuitState::Closed);
}

/// The circuit as one would explain it: every outcome since it closed is kept.
#[derive(Debug)]
struct Model {
    now_ms: u64,
    changes: u64,
    state: ModelState,
}

#[derive(Debug)]
enum ModelState {
    Closed { since_ms: u64, outcomes: Vec<(u64, bool)> },
    Open { until_ms: u64 },
    HalfOpen { probed: bool },
}

impl Model {
    fn admit(&mut self) -> Result<u64, Duration> {
        if let ModelState::Open { until_ms } = self.state {
            if self.now_ms < until_ms {
                return Err(ms(until_ms - self.now_ms));
            }
            self.become_state(ModelState::HalfOpen { probed: false });
        }
        match &mut self.state {
            ModelState::HalfOpen { probed: true } => return Err(PROBING),
            ModelState::HalfOpen { probed } => *probed = true,
            _ => {}
        }
        Ok(self.changes)
    }

    fn report(&mut self, begun_at: u64, health: Health) {
        if begun_at != self.changes {
            return;
        }
        let now = self.now_ms;
        let rest = ModelState::Open { until_ms: now + SETTINGS.rest_ms };
        match (&mut self.state, health) {
            (ModelState::Closed { since_ms, outcomes }, Health::Well | Health::Sick) => {
                outcomes.push((now, health == Health::Sick));
                // A second's slot counts whole, and ten of them are the window.
                let slot = |at: u64| (at - *since_ms) / 1_000;
                let recent: Vec<bool> = outcomes
                    .iter()
                    .filter(|(at, _)| slot(now) - slot(*at) < 10)
                    .map(|(_, sick)| *sick)
                    .collect();
                let sick = recent.iter().filter(|sick| **sick).count();
                if health == Health::Sick && recent.len() >= 4 && sick * 2 >= recent.len() {
                    self.become_state(rest);
                }
            }
            (ModelState::HalfOpen { .. }, Health::Well) => {
                self.become_state(ModelState::Closed { since_ms: now, outcomes: Vec::new() });
            }
            (ModelState::HalfOpen { .. }, Health::Sick) => self.become_state(rest),
            (ModelState::HalfOpen { probed }, Health::Silent) => *probed = false,
            _ => {}
        }
    }

    fn become_state(&mut self, state: ModelState) {
        self.state = state;
        self.changes += 1;
    }

    fn shown(&self) -> CircuitState {
        match self.state {
            ModelState::Closed { .. } => CircuitState::Closed,
            ModelState::Open { .. } => CircuitState::Open,
            ModelState::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Begin,
    Confirm(prop::sample::Index),
    End(prop::sample::Index, Health),
}

fn step() -> impl Strategy<Value = Step> {
    let health = prop_oneof![4 => Just(Health::Sick), 3 => Just(Health::Well), 1 => Just(Health::Silent)];
    prop_oneof![
        2 => prop_oneof![0_u64..50, 500_u64..2_500, 5_000_u64..30_000].prop_map(Step::Wait),
        4 => Just(Step::Begin),
        1 => any::<prop::sample::Index>().prop_map(Step::Confirm),
        4 => (any::<prop::sample::Index>(), health).prop_map(|(which, health)| Step::End(which, health)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_circuit_does_what_its_model_does(steps in prop::collection::vec(step(), 1..200)) {
        let (mut circuit, start) = closed();
        let mut model =
            Model { now_ms: 0, changes: 0, state: ModelState::Closed { since_ms: 0, outcomes: Vec::new() } };
        let mut under_way: Vec<(Ticket, u64)> = Vec::new();
        for step in steps {
            let now = start + ms(model.now_ms);
            match step {
                Step::Wait(millis) => model.now_ms += millis,
                Step::Begin => {
                    let (passed, modelled) = (circuit.admit(now), model.admit());
                    prop_assert_eq!(passed.as_ref().err(), modelled.as_ref().err());
                    under_way.extend(passed.ok().zip(modelled.ok()));
                }
                Step::Confirm(which) if !under_way.is_empty() => {
                    let (ticket, begun_at) = under_way.swap_remove(which.index(under_way.len()));
                    let modelled = if begun_at == model.changes { Ok(begun_at) } else { model.admit() };
                    let passed = circuit.confirm(ticket, now);
                    prop_assert_eq!(passed.as_ref().err(), modelled.as_ref().err());
                    under_way.extend(passed.ok().zip(modelled.ok()));
                }
                Step::End(which, health) if !under_way.is_empty() => {
                    let (ticket, begun_at) = under_way.swap_remove(which.index(under_way.len()));
                    circuit.report(ticket, health, None, now);
                    model.report(begun_at, health);
                }
                Step::Confirm(_) | Step::End(..) => {}
            }
            prop_assert_eq!(circuit.state(), model.shown());
            if circuit.state() == CircuitState::HalfOpen {
                let probes = under_way.iter().filter(|(ticket, _)| ticket.generation == circuit.generation);
                prop_assert!(probes.count() <= 1, "one probe at a time");
            }
        }
    }
}
