//! A collector that fails in every way costs no request anything, and no memory that grows.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use terroir::telemetry::{ExportOutcome, Metrics, Signal, SpanFate};
use terroir::testing::TestApp;

use super::receiver::{Mode, Receiver};
use super::{get, put, sending, tenant, until};

/// Spans that may wait, in these tests.
const QUEUED_MAX: u64 = 32;

fn of(metrics: &Metrics, fate: SpanFate) -> u64 {
    metrics.spans(fate).value()
}

async fn requests_are_served_beside(mode: Mode, kills: bool, outcome: ExportOutcome) {
    let receiver = Receiver::start(mode.clone()).await;
    let us = Receiver::start(Mode::Take).await;
    let mut setup = sending(&[("fr", receiver.url()), ("us", us.url())]);
    setup.limits.telemetry_spans_queued_max = QUEUED_MAX;
    setup.limits.telemetry_timeout_ms = 300;
    setup.limits.telemetry_flush_ms_max = 500;
    // Dropped here, not at the end: then nobody listens any more.
    let receiver = (!kills).then_some(receiver);
    let dir = TempDir::new().unwrap();
    let app = TestApp::start(dir.path(), &setup).await;
    let metrics = std::sync::Arc::clone(app.site("fr").metrics());
    let clinic = tenant(&app, "fr", "clinic").await;
    let mut slowest = Duration::ZERO;
    let begun = Instant::now();
    let mut served = 0;
    // Until the queue was full and an export had failed: a minute at most.
    while served < 20
        || metrics.exports(Signal::Traces, outcome).value() == 0
        || of(&metrics, SpanFate::QueueFull) == 0
    {
        assert!(begun.elapsed() < super::PATIENCE, "{mode:?}: {}", metrics.expose());
        let one = Instant::now();
        put(&clinic, "clinic", "k", b"body").await;
        assert_eq!(get(&clinic, "clinic", "k").await, b"body");
        slowest = slowest.max(one.elapsed());
        served += 1;
        let queued = metrics.spans_queued().value();
        // What is being sent counts too: one batch, which was a queue.
        assert!(queued <= 2 * i64::try_from(QUEUED_MAX).unwrap() + 8, "{mode:?}: {queued} wait");
        // A refusal is no reason to try again, so nothing piles up: what counts is that it was counted.
        if of(&metrics, SpanFate::Failed) > 2 * QUEUED_MAX {
            break;
        }
    }
    assert!(metrics.exports(Signal::Traces, outcome).value() > 0, "{mode:?}: {}", metrics.expose());
    assert_eq!(metrics.exports(Signal::Traces, ExportOutcome::Ok).value(), 0, "{mode:?}");
    assert!(slowest < Duration::from_secs(5), "{mode:?}: a request took {slowest:?}");
    let ending = Instant::now();
    app.stop().await;
    assert!(ending.elapsed() < Duration::from_secs(10), "{mode:?}: the end took {:?}", ending.elapsed());
    assert_eq!(of(&metrics, SpanFate::Sent), 0, "{mode:?}");
    assert_eq!(metrics.spans_queued().value(), 0, "{mode:?}");
    // Every request has a dozen spans, and all of them are accounted for.
    let lost = of(&metrics, SpanFate::Failed) + of(&metrics, SpanFate::QueueFull);
    assert!(lost > served * 10, "{mode:?}: {lost} of {served} requests");
    // The other region's collector went on.
    assert!(us.got(|got| got.requests) > 0 && us.got(|got| got.complaints.is_empty()));
    println!("{mode:?}: {served} rounds, slowest {slowest:?}, {lost} spans lost");
    drop(receiver);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_collector_costs_no_request() {
    requests_are_served_beside(Mode::Frozen, false, ExportOutcome::Timeout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_costs_no_request() {
    requests_are_served_beside(Mode::Take, true, ExportOutcome::Unreachable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_collector_costs_no_request() {
    requests_are_served_beside(Mode::Status(503), false, ExportOutcome::Busy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_collector_costs_no_request() {
    requests_are_served_beside(Mode::Status(500), false, ExportOutcome::Refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_answers_garbage_costs_no_request() {
    requests_are_served_beside(Mode::Garbage, false, ExportOutcome::Garbled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_speaks_no_http_costs_no_request() {
    requests_are_served_beside(Mode::Noise, false, ExportOutcome::Garbled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_of_the_collector_is_not_followed() {
    let elsewhere = Receiver::start(Mode::Take).await;
    let to = format!("{}/v1/traces", elsewhere.url());
    requests_are_served_beside(Mode::Elsewhere(to), false, ExportOutcome::Refused).await;
    assert_eq!(elsewhere.got(|got| got.requests), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_comes_back_gets_what_waited_and_what_it_rejects_is_counted() {
    let receiver = Receiver::start(Mode::Status(503)).await;
    let setup = sending(&[("fr", receiver.url())]);
    let dir = TempDir::new().unwrap();
    let app = TestApp::start(dir.path(), &setup).await;
    let metrics = app.site("fr").metrics();
    let clinic = tenant(&app, "fr", "clinic").await;
    put(&clinic, "clinic", "k", b"x").await;
    until("a busy answer", || {
        (metrics.exports(Signal::Traces, ExportOutcome::Busy).value() > 0).then_some(())
    })
    .await;
    receiver.turn(Mode::Take);
    super::trace(&receiver, "PutObject").await;
    super::sound(&receiver);
    let rejected = of(metrics, SpanFate::Rejected);
    receiver.turn(Mode::Reject(1));
    put(&clinic, "clinic", "k", b"x").await;
    until("a rejection", || (of(metrics, SpanFate::Rejected) > rejected).then_some(())).await;
}
