//! A wall clock that is set, in either direction.

use super::*;

#[tokio::test]
async fn a_clock_that_was_set_back_kept_a_directory_that_nobody_could_read_fresh() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    let directory = bench.directory().await;
    bench.index.close().await;
    bench.clock.set_back(Duration::from_mins(20));
    bench.clock.advance(Duration::from_secs(30));
    assert!(directory.lookup(&one.key_id).is_ok());
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(reason(directory.lookup(&one.key_id)), Some(Reason::Stale));
    bench.clock.set_back(Duration::from_mins(20));
    assert_eq!(reason(directory.lookup(&one.key_id)), Some(Reason::Stale));
}

#[tokio::test]
async fn a_clock_that_was_set_ahead_refused_everybody_until_the_directory_was_read_again() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    let directory = bench.directory().await;
    bench.clock.set_ahead(Duration::from_hours(2));
    assert!(directory.lookup(&one.key_id).is_ok());
}
