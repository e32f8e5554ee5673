//! The Google driver when the service fails, lies, or refuses us.

use std::sync::Arc;
use std::time::{Duration, Instant};

use terroir::blobs::{BlobStore, Error, ErrorKind, GcsSettings, GcsStore, Outbound, OutboundSettings};
use terroir::model::SystemEntropy;

use super::gcs::{BUCKET, settings, started};
use super::{noise, placed, sealed, somewhere};
use crate::gcs_double::faults::{Call, Fault};

fn kind<T: std::fmt::Debug>(outcome: Result<T, Error>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_ends_well_when_it_is_repeated() {
    let (double, store) = started().await;
    let at = somewhere();
    double.fault(Call::Upload, Fault::LoseAnswer, Some(1));
    let error = store.put(&at, sealed(&at, 1, 5000)).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert_eq!(double.bucket(BUCKET).names().len(), 1, "it was done");
    store.put(&at, sealed(&at, 1, 5000)).await.unwrap();
    assert_eq!(store.read(&at, 0..5000).await.unwrap(), noise(1, 5000));
    // Somebody else's bytes are never taken for ours, lost answer or not.
    assert_eq!(kind(store.put(&at, sealed(&at, 2, 5000)).await), ErrorKind::Exists);
    assert_eq!(double.bucket(BUCKET).names().len(), 1);
}

#[tokio::test]
async fn a_put_that_cannot_be_settled_just_now_is_repeated_and_never_called_done() {
    let (double, store) = started().await;
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 5000)).await.unwrap();
    double.fault(Call::Download, Fault::Refuse { status: 503 }, Some(1));
    let error = store.put(&at, sealed(&at, 1, 5000)).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    store.put(&at, sealed(&at, 1, 5000)).await.unwrap();
}

#[tokio::test]
async fn a_read_that_is_cut_short_flipped_or_padded_is_an_error() {
    let (double, store) = started().await;
    let (at, len) = (somewhere(), 300_000_u64);
    store.put(&at, sealed(&at, 3, 300_000)).await.unwrap();
    for (fault, range, kinds) in [
        (Fault::BreakOff { after_bytes: 1000 }, 0..len, &[ErrorKind::Unavailable][..]),
        (Fault::BreakOff { after_bytes: 0 }, 5..len, &[ErrorKind::Unavailable]),
        (Fault::Shorten { by_bytes: 1 }, 0..len, &[ErrorKind::Unavailable, ErrorKind::Truncated]),
        (Fault::Shorten { by_bytes: 500 }, 0..1000, &[ErrorKind::Unavailable, ErrorKind::Truncated]),
        (Fault::Lengthen { by_bytes: 1 }, 0..len, &[ErrorKind::Internal]),
        (Fault::Lengthen { by_bytes: 70_000 }, 100..200, &[ErrorKind::Internal]),
        (Fault::Flip { at_byte: 0 }, 0..len, &[ErrorKind::Internal]),
        (Fault::Flip { at_byte: 299_999 }, 0..len, &[ErrorKind::Internal]),
        (Fault::IgnoreRange, 0..100, &[ErrorKind::Internal]),
        (Fault::IgnoreRange, 100..200, &[ErrorKind::Internal]),
        (Fault::Reset, 0..len, &[ErrorKind::Unavailable]),
        (Fault::LoseAnswer, 0..len, &[ErrorKind::Unavailable]),
    ] {
        double.fault(Call::Download, fault.clone(), Some(1));
        let found = kind(store.read(&at, range.clone()).await);
        assert!(kinds.contains(&found), "{fault:?} {range:?}: {found}");
        assert_eq!(store.read(&at, 0..len).await.unwrap(), noise(3, 300_000), "after {fault:?}");
    }
}

#[tokio::test]
async fn a_refusal_of_us_is_ours_to_mend_and_trouble_is_retried() {
    let (double, store) = started().await;
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    for (status, kinds) in [
        (401, [ErrorKind::Denied; 3]),
        (403, [ErrorKind::Denied; 3]),
        (429, [ErrorKind::Unavailable; 3]),
        (500, [ErrorKind::Unavailable; 3]),
        (503, [ErrorKind::Unavailable; 3]),
        (504, [ErrorKind::Unavailable, ErrorKind::Unavailable, ErrorKind::Timeout]),
        (400, [ErrorKind::Internal; 3]),
    ] {
        let fault = || Fault::Refuse { status };
        let other = somewhere();
        double.fault(Call::Upload, fault(), Some(1));
        let put = store.put(&other, sealed(&other, 1, 100)).await.unwrap_err();
        double.fault(Call::Download, fault(), Some(1));
        let read = store.read(&at, 0..100).await.unwrap_err();
        assert_eq!((put.kind(), read.kind()), (kinds[0], kinds[1]), "{status}");
        double.fault(Call::Control, fault(), Some(4));
        let control = [
            store.head(&at).await.unwrap_err(),
            store.delete(&at).await.unwrap_err(),
            store.list(&placed(), None, 10).await.unwrap_err(),
            store.locate().await.unwrap_err(),
        ];
        for error in control {
            assert_eq!(error.kind(), kinds[2], "{status} {error}");
            assert_eq!(error.is_retryable(), status == 429 || status >= 500, "{status}");
        }
    }
    // One attempt each: the client's own retries are off.
    assert_eq!(double.injected(), 7 * 6);
    assert_eq!(store.read(&at, 0..100).await.unwrap(), noise(1, 100), "nothing was deleted");
}

#[tokio::test]
async fn a_connection_that_breaks_during_a_control_call_is_retryable() {
    let (double, store) = started().await;
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    for fault in [Fault::Reset, Fault::LoseAnswer] {
        double.fault(Call::Control, fault.clone(), Some(2));
        assert!(store.head(&at).await.unwrap_err().is_retryable(), "{fault:?}");
        assert!(store.delete(&at).await.unwrap_err().is_retryable(), "{fault:?}");
    }
    // The second delete was done and its answer lost; to repeat it is right.
    assert!(double.bucket(BUCKET).names().is_empty());
    store.delete(&at).await.unwrap();
}

#[tokio::test]
async fn a_body_that_was_changed_on_its_way_is_sent_again() {
    let (double, store) = started().await;
    let at = somewhere();
    double.fault(Call::Upload, Fault::Flip { at_byte: 70 }, Some(1));
    let error = store.put(&at, sealed(&at, 1, 100)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    assert!(double.bucket(BUCKET).names().is_empty());
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    assert_eq!(store.read(&at, 0..100).await.unwrap(), noise(1, 100));
}

#[tokio::test]
async fn a_redirect_is_refused_and_not_followed() {
    let (double, store) = started().await;
    let (elsewhere, _) = started().await;
    let at = somewhere();
    for call in [Call::Upload, Call::Download, Call::Control] {
        double.fault(call, Fault::Redirect { to: format!("{}/storage/v1/b/x", elsewhere.url()) }, None);
    }
    assert_eq!(kind(store.put(&at, sealed(&at, 1, 100)).await), ErrorKind::Misconfigured);
    assert_eq!(kind(store.read(&at, 0..100).await), ErrorKind::Misconfigured);
    assert!(store.head(&at).await.is_err());
    assert!(elsewhere.seen().is_empty(), "a redirect was followed");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up_in_time() {
    let (double, _) = started().await;
    let slow = GcsSettings { attempt_ms: 200, ..settings(&double, BUCKET) };
    let store = GcsStore::open(slow).await.unwrap();
    let at = somewhere();
    for call in [Call::Upload, Call::Download, Call::Control] {
        double.fault(call, Fault::Latency { ms: 60_000 }, None);
    }
    let before = Instant::now();
    assert_eq!(kind(store.put(&at, sealed(&at, 1, 100)).await), ErrorKind::Timeout);
    assert_eq!(kind(store.read(&at, 0..100).await), ErrorKind::Timeout);
    assert_eq!(kind(store.head(&at).await), ErrorKind::Timeout);
    assert_eq!(kind(store.locate().await), ErrorKind::Timeout);
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_service_that_is_gone_is_unavailable_and_comes_back() {
    let (double, store) = started().await;
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    store.head(&at).await.unwrap();
    let (port, kept) = (double.address().port(), double.bucket(BUCKET));
    drop(double);
    for error in [
        store.read(&at, 0..100).await.unwrap_err(),
        store.put(&at, sealed(&at, 1, 100)).await.unwrap_err(),
        store.head(&at).await.unwrap_err(),
        store.list(&placed(), None, 1).await.unwrap_err(),
    ] {
        assert!(error.is_retryable(), "{error:?}");
    }
    let double = crate::gcs_double::Double::start_at(crate::gcs_double::Settings::default(), port).await;
    double.put_bucket(kept);
    assert_eq!(store.read(&at, 0..100).await.unwrap(), noise(1, 100));
    assert_eq!(store.head(&at).await.unwrap().len, 100);
}

#[tokio::test]
async fn empty_pages_of_a_listing_are_skipped_and_an_endless_row_of_them_ends() {
    let (double, store) = started().await;
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    double.fault(Call::Control, Fault::EmptyPage, Some(5));
    assert_eq!(store.list(&placed(), None, 10).await.unwrap().ids, [at.id()]);
    double.fault(Call::Control, Fault::EmptyPage, None);
    assert!(store.list(&placed(), None, 10).await.unwrap_err().is_retryable());
    assert!(double.injected() < 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_fails_every_third_call_loses_nothing_behind_our_retries() {
    let (double, store) = started().await;
    // Half of these faults leave the effect behind and lose the answer.
    double.fault_rate(Call::Upload, Fault::LoseAnswer, 170);
    double.fault_rate(Call::Upload, Fault::Refuse { status: 503 }, 170);
    double.fault_rate(Call::Download, Fault::BreakOff { after_bytes: 100 }, 170);
    double.fault_rate(Call::Download, Fault::Refuse { status: 429 }, 170);
    double.fault_rate(Call::Control, Fault::LoseAnswer, 300);
    let store =
        Outbound::new(Arc::new(store), OutboundSettings::default(), &Arc::default(), Arc::new(SystemEntropy));
    let (mut put, mut failed) = (Vec::new(), 0);
    for seed in 0..60 {
        let at = somewhere();
        match store.put(&at, sealed(&at, seed, 3000)).await {
            Ok(()) => put.push((at, seed)),
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                failed += 1;
            }
        }
    }
    for (at, seed) in &put {
        match store.read(at, 0..3000).await {
            Ok(bytes) => assert_eq!(bytes, noise(*seed, 3000)),
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }
    assert!(put.len() > 30 && double.injected() > 20, "{} put, {failed} failed", put.len());
    double.heal();
    for (at, seed) in put {
        assert_eq!(store.read(&at, 0..3000).await.unwrap(), noise(seed, 3000), "acknowledged and lost");
    }
}
