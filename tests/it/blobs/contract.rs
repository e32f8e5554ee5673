//! The contract of a store as named checks: every driver must pass all of them.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;
use terroir::blobs::{BLOB_BYTES_MAX, BlobInfo, Cursor, Error, ErrorKind, LIST_NAMES_MAX, Location, probe};
use terroir::model::{BlobId, SystemClock, SystemEntropy};

use super::{Store, noise, placed, sealed, somewhere};
use crate::support::contract::held;

type Check = fn(Store) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), |store| Box::pin($name(store)) as _)),*] };
}

const CHECKS: [(&str, Check); 24] = checks![
    what_was_put_is_read_back,
    the_largest_blob_is_taken_and_a_larger_one_is_not,
    an_empty_blob_is_not_taken,
    a_blob_sealed_under_another_name_is_not_taken,
    every_range_is_exact,
    a_range_past_the_end_is_truncated,
    a_range_that_is_empty_reversed_or_giant_is_unacceptable,
    a_missing_blob_is_not_found,
    the_length_told_is_the_length_put,
    the_same_put_again_is_success,
    other_bytes_under_a_taken_name_are_refused,
    longer_and_shorter_bytes_under_a_taken_name_are_refused,
    of_many_writers_of_one_name_one_wins,
    many_retries_of_one_put_all_succeed,
    many_puts_and_reads_at_once_do_not_mix,
    a_put_that_is_dropped_leaves_all_or_nothing,
    a_deleted_blob_is_gone,
    deleting_what_is_not_there_is_success,
    a_deleted_name_can_be_put_again,
    the_pages_of_a_listing_join_to_the_whole,
    a_listing_goes_on_when_its_cursor_was_deleted,
    a_listings_limit_is_moved_inside_its_bounds,
    a_location_of_another_region_is_refused_by_every_verb,
    the_probe_is_passed_and_leaves_nothing,
];

/// Runs every check on a store of its own, and holds their number against `row`.
pub(super) async fn run(row: &str, mut fresh: impl AsyncFnMut() -> Store) {
    for (name, check) in CHECKS {
        let store = fresh().await;
        let outcome = tokio::spawn(check(store)).await;
        assert!(outcome.is_ok(), "contract {row}: {name}");
    }
    held(row, CHECKS.len());
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, Error>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

async fn everything(store: &Store, limit: usize) -> Vec<BlobId> {
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(&placed(), after.as_ref(), limit).await.unwrap();
        assert!(page.ids.len() <= limit);
        assert_eq!(page.foreign, 0);
        ids.extend(page.ids);
        match page.next {
            Some(next) => {
                let last = after.replace(next.clone());
                assert!(last.is_none_or(|last| last < next), "a cursor went back");
            }
            None => return ids,
        }
    }
}

async fn what_was_put_is_read_back(store: Store) {
    for (seed, len) in [1, 2, 255, 4096, 65_537, 1_048_583].into_iter().enumerate() {
        let at = somewhere();
        store.put(&at, sealed(&at, seed as u64, len)).await.unwrap();
        assert_eq!(store.read(&at, 0..len as u64).await.unwrap(), noise(seed as u64, len));
    }
}

async fn the_largest_blob_is_taken_and_a_larger_one_is_not(store: Store) {
    let max = usize::try_from(BLOB_BYTES_MAX).unwrap();
    let at = somewhere();
    store.put(&at, sealed(&at, 1, max)).await.unwrap();
    assert!(store.read(&at, 0..BLOB_BYTES_MAX).await.unwrap() == noise(1, max));
    let at = somewhere();
    assert_eq!(kind(store.put(&at, sealed(&at, 1, max + 1)).await), ErrorKind::Unacceptable);
    assert_eq!(kind(store.head(&at).await), ErrorKind::NotFound);
}

async fn an_empty_blob_is_not_taken(store: Store) {
    let at = somewhere();
    assert_eq!(kind(store.put(&at, sealed(&at, 1, 0)).await), ErrorKind::Unacceptable);
    assert_eq!(kind(store.head(&at).await), ErrorKind::NotFound);
}

async fn a_blob_sealed_under_another_name_is_not_taken(store: Store) {
    let (at, other) = (somewhere(), somewhere());
    assert_eq!(kind(store.put(&at, sealed(&other, 1, 100)).await), ErrorKind::Unacceptable);
    assert_eq!(kind(store.head(&at).await), ErrorKind::NotFound);
}

async fn every_range_is_exact(store: Store) {
    let len = 200_003;
    let (at, whole) = (somewhere(), noise(3, len));
    store.put(&at, sealed(&at, 3, len)).await.unwrap();
    let edges = [0, 1, 2, 4095, 4096, 65_535, 65_536, 100_000, len - 2, len - 1, len];
    for start in edges {
        for end in edges.into_iter().filter(|end| start < *end) {
            let read = store.read(&at, start as u64..end as u64).await.unwrap();
            assert!(read == whole.slice(start..end), "{start}..{end}");
        }
    }
}

async fn a_range_past_the_end_is_truncated(store: Store) {
    let at = somewhere();
    store.put(&at, sealed(&at, 4, 1000)).await.unwrap();
    for range in [0..1001, 999..1001, 1000..1001, 5000..5001, u64::MAX - 10..u64::MAX] {
        assert_eq!(kind(store.read(&at, range.clone()).await), ErrorKind::Truncated, "{range:?}");
    }
}

#[expect(clippy::reversed_empty_ranges, reason = "what is tested")]
async fn a_range_that_is_empty_reversed_or_giant_is_unacceptable(store: Store) {
    let at = somewhere();
    store.put(&at, sealed(&at, 4, 1000)).await.unwrap();
    for range in [0..0, 7..7, 1000..1000, 9..3, 0..BLOB_BYTES_MAX + 1, 1..u64::MAX] {
        assert_eq!(kind(store.read(&at, range.clone()).await), ErrorKind::Unacceptable, "{range:?}");
    }
}

async fn a_missing_blob_is_not_found(store: Store) {
    let at = somewhere();
    assert_eq!(kind(store.read(&at, 0..10).await), ErrorKind::NotFound);
    assert_eq!(kind(store.head(&at).await), ErrorKind::NotFound);
    assert!(!ErrorKind::NotFound.is_retryable());
}

async fn the_length_told_is_the_length_put(store: Store) {
    for len in [1, 4096, 70_000] {
        let at = somewhere();
        store.put(&at, sealed(&at, 5, len)).await.unwrap();
        assert_eq!(store.head(&at).await.unwrap(), BlobInfo { len: len as u64 });
    }
}

async fn the_same_put_again_is_success(store: Store) {
    let at = somewhere();
    for _ in 0..3 {
        store.put(&at, sealed(&at, 6, 5000)).await.unwrap();
    }
    assert_eq!(store.read(&at, 0..5000).await.unwrap(), noise(6, 5000));
    assert_eq!(everything(&store, 10).await, [at.id()]);
}

async fn other_bytes_under_a_taken_name_are_refused(store: Store) {
    let at = somewhere();
    store.put(&at, sealed(&at, 7, 5000)).await.unwrap();
    assert_eq!(kind(store.put(&at, sealed(&at, 8, 5000)).await), ErrorKind::Exists);
    assert_eq!(store.read(&at, 0..5000).await.unwrap(), noise(7, 5000));
}

async fn longer_and_shorter_bytes_under_a_taken_name_are_refused(store: Store) {
    let at = somewhere();
    store.put(&at, sealed(&at, 9, 5000)).await.unwrap();
    // The same bytes, one less or one more: a comparison of the common part alone would be fooled.
    for len in [1, 4999, 5001] {
        assert_eq!(kind(store.put(&at, sealed(&at, 9, len)).await), ErrorKind::Exists, "{len}");
    }
    assert_eq!(store.read(&at, 0..5000).await.unwrap(), noise(9, 5000));
    assert_eq!(store.head(&at).await.unwrap(), BlobInfo { len: 5000 });
}

async fn of_many_writers_of_one_name_one_wins(store: Store) {
    for _ in 0..5 {
        let at = somewhere();
        let writes = (0..8).map(|seed| {
            let (store, at) = (Arc::clone(&store), at.clone());
            tokio::spawn(async move { store.put(&at, sealed(&at, seed, 20_000)).await })
        });
        let outcomes: Vec<_> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
        let won: Vec<_> = (0..8).filter(|seed| outcomes[*seed].is_ok()).collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        assert_eq!(store.read(&at, 0..20_000).await.unwrap(), noise(won[0] as u64, 20_000));
        assert!(outcomes.into_iter().all(|outcome| outcome.is_ok() || kind(outcome) == ErrorKind::Exists));
    }
}

async fn many_retries_of_one_put_all_succeed(store: Store) {
    let at = somewhere();
    let tries = (0..8).map(|_| {
        let (store, at) = (Arc::clone(&store), at.clone());
        tokio::spawn(async move { store.put(&at, sealed(&at, 1, 20_000)).await })
    });
    for outcome in join_all(tries).await {
        outcome.unwrap().unwrap();
    }
    assert_eq!(store.read(&at, 0..20_000).await.unwrap(), noise(1, 20_000));
}

async fn many_puts_and_reads_at_once_do_not_mix(store: Store) {
    let tasks = (0..64_usize).map(|seed| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let (at, len) = (somewhere(), 1 + seed * 331);
            store.put(&at, sealed(&at, seed as u64, len)).await.unwrap();
            assert_eq!(store.read(&at, 0..len as u64).await.unwrap(), noise(seed as u64, len));
            at.id()
        })
    });
    let put: BTreeSet<BlobId> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(everything(&store, 30).await, Vec::from_iter(put));
}

async fn a_put_that_is_dropped_leaves_all_or_nothing(store: Store) {
    let len = 300_000;
    for micros in [0, 20, 100, 300, 1000, 3000, 10_000] {
        let at = somewhere();
        let put = store.put(&at, sealed(&at, 1, len));
        let done = tokio::time::timeout(std::time::Duration::from_micros(micros), put).await.is_ok();
        match store.read(&at, 0..len as u64).await {
            Ok(bytes) => assert!(bytes == noise(1, len)),
            Err(error) => assert!(!done && error.kind() == ErrorKind::NotFound, "{error:?}"),
        }
        // And whatever it left, the same attempt can be finished.
        store.put(&at, sealed(&at, 1, len)).await.unwrap();
        assert!(store.read(&at, 0..len as u64).await.unwrap() == noise(1, len));
    }
}

async fn a_deleted_blob_is_gone(store: Store) {
    let (at, other) = (somewhere(), somewhere());
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    store.put(&other, sealed(&other, 1, 100)).await.unwrap();
    store.delete(&at).await.unwrap();
    assert_eq!(kind(store.read(&at, 0..100).await), ErrorKind::NotFound);
    assert_eq!(kind(store.head(&at).await), ErrorKind::NotFound);
    assert_eq!(everything(&store, 10).await, [other.id()]);
}

async fn deleting_what_is_not_there_is_success(store: Store) {
    let at = somewhere();
    store.delete(&at).await.unwrap();
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    store.delete(&at).await.unwrap();
    store.delete(&at).await.unwrap();
}

async fn a_deleted_name_can_be_put_again(store: Store) {
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    store.delete(&at).await.unwrap();
    store.put(&at, sealed(&at, 2, 200)).await.unwrap();
    assert_eq!(store.read(&at, 0..200).await.unwrap(), noise(2, 200));
}

async fn the_pages_of_a_listing_join_to_the_whole(store: Store) {
    assert!(everything(&store, 5).await.is_empty());
    let mut put = BTreeSet::new();
    // Some in one folder, at the ends of the order, and anywhere.
    let chosen = (0..12_u8).map(|n| [0xab; 15].into_iter().chain([n]).collect::<Vec<_>>());
    let ends = [[0; 16].to_vec(), [0xff; 16].to_vec()];
    let random = (0..15).map(|_| BlobId::random(&SystemEntropy).unwrap().as_bytes().to_vec());
    for bytes in chosen.chain(ends).chain(random) {
        let id = BlobId::try_from(&bytes[..]).unwrap();
        let at = Location::of(&placed(), id);
        store.put(&at, sealed(&at, 1, 10)).await.unwrap();
        put.insert(id);
    }
    let put = Vec::from_iter(put);
    for limit in [1, 2, 7, put.len() - 1, put.len(), put.len() + 1, LIST_NAMES_MAX] {
        assert_eq!(everything(&store, limit).await, put, "pages of {limit}");
    }
    let rest = store.list(&placed(), Some(&Cursor::after(put[9])), LIST_NAMES_MAX).await.unwrap();
    assert_eq!(rest.ids, put[10..]);
    assert_eq!(rest.next, None);
}

async fn a_listing_goes_on_when_its_cursor_was_deleted(store: Store) {
    for _ in 0..6 {
        let at = somewhere();
        store.put(&at, sealed(&at, 1, 10)).await.unwrap();
    }
    let all = everything(&store, 10).await;
    let page = store.list(&placed(), None, 3).await.unwrap();
    assert_eq!(page.ids, all[..3]);
    store.delete(&Location::of(&placed(), all[2])).await.unwrap();
    let rest = store.list(&placed(), page.next.as_ref(), 10).await.unwrap();
    assert_eq!(rest.ids, all[3..]);
}

async fn a_listings_limit_is_moved_inside_its_bounds(store: Store) {
    for _ in 0..3 {
        let at = somewhere();
        store.put(&at, sealed(&at, 1, 10)).await.unwrap();
    }
    assert_eq!(store.list(&placed(), None, 0).await.unwrap().ids.len(), 1);
    assert_eq!(store.list(&placed(), None, usize::MAX).await.unwrap().ids.len(), 3);
}

async fn a_location_of_another_region_is_refused_by_every_verb(store: Store) {
    let elsewhere = terroir::placement::testing::placement(&"us".parse().unwrap());
    let at = Location::of(&elsewhere, BlobId::random(&SystemEntropy).unwrap());
    assert_eq!(kind(store.put(&at, sealed(&at, 1, 10)).await), ErrorKind::WrongRegion);
    assert_eq!(kind(store.read(&at, 0..10).await), ErrorKind::WrongRegion);
    assert_eq!(kind(store.head(&at).await), ErrorKind::WrongRegion);
    assert_eq!(kind(store.delete(&at).await), ErrorKind::WrongRegion);
    assert_eq!(kind(store.list(&elsewhere, None, 10).await), ErrorKind::WrongRegion);
    assert!(everything(&store, 10).await.is_empty());
    assert_eq!(store.describe().region, *placed().region());
}

async fn the_probe_is_passed_and_leaves_nothing(store: Store) {
    for bytes in [[0; 16], [0xff; 16], *BlobId::random(&SystemEntropy).unwrap().as_bytes()] {
        let at = Location::of(&placed(), BlobId::from_bytes(bytes));
        let throwaway = (sealed(&at, 1, 300), sealed(&at, 2, 300));
        let report = probe(&*store, &placed(), at.id(), throwaway, &SystemClock).await.unwrap();
        assert!(report.create_if_absent);
        assert!(everything(&store, 10).await.is_empty());
    }
}
