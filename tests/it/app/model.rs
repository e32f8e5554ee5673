//! A reference model beside the assembled product: random operations through the real listeners, with faults among them.
//!
//! While a region's store works, every answer must be the model's. While it fails, an answer is the model's or a clear
//! failure, and a failure changes nothing: bytes come first, so a write whose blob was not stored has no row. At the end
//! everything is healed, read back, and deleted; then not one blob may be left.

mod expected;
mod operation;
mod system;

use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use terroir::model::{Entropy as _, SystemEntropy};

use super::CLASSES;
use operation::Runs;
use system::System;

/// Runs of a test in CI, each of up to [`STEPS_MAX`] operations; `PROPTEST_CASES` overrides it for a longer search.
const RUNS: u32 = 12;
const STEPS_MAX: usize = 60;

/// Found sequences are kept here and tried first, for ever.
const KEPT: &str = "tests/it/app/model/regressions.txt";

#[test]
fn random_operations_and_faults_keep_to_the_reference_model() {
    keep_to_the_model(20_261_123, RUNS);
}

/// Where nobody has looked yet. A failure prints the seed, and keeps the sequence.
#[test]
fn operations_and_faults_that_nobody_chose_keep_to_the_reference_model() {
    let mut seed = [0; 8];
    SystemEntropy.fill(&mut seed).unwrap();
    keep_to_the_model(u64::from_le_bytes(seed), RUNS / 3);
}

fn keep_to_the_model(seed: u64, cases: u32) {
    let seed = std::env::var("TERROIR_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(seed);
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    println!("TERROIR_TEST_SEED={seed} PROPTEST_CASES={cases}");
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(KEPT))),
        ..Config::default()
    };
    let runs = Runs::sequential_strategy(STEPS_MAX / 2..=STEPS_MAX);
    let mut runner = proptest::test_runner::TestRunner::new(config.clone());
    runner
        .run(&runs, |(course, operations, seen)| {
            System::test_sequential(config.clone(), course, operations, seen);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
