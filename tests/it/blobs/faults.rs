//! The probe, against stores that fail and stores that lie; and that faulty stores repeat themselves.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use terroir::blobs::testing::{Faults, FaultyStore};
use terroir::blobs::{
    BlobInfo, BlobStore, Cursor, Description, Error, Lie, Location, MemoryStore, Observation, Page,
    ProbeError, probe, whereabouts,
};
use terroir::envelope::Sealed;
use terroir::model::{ManualClock, SystemClock, Timestamp};
use terroir::placement::Placement;

use super::{noise, placed, region, sealed, somewhere};

/// How a store lies or counts. `None` in `lie` is an honest one.
#[derive(Debug)]
struct Crooked {
    inner: MemoryStore,
    lie: Option<Lie>,
    overwrites: bool,
    says: Option<&'static str>,
    declares: Option<&'static str>,
    calls: AtomicU64,
}

impl Crooked {
    fn new(lie: Option<Lie>) -> Self {
        let inner = MemoryStore::new(region());
        Self { inner, lie, overwrites: false, says: None, declares: None, calls: AtomicU64::new(0) }
    }

    fn called(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn count(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl BlobStore for Crooked {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        self.count();
        if self.lie == Some(Lie::RefusesRetry) && self.inner.head(at).await.is_ok() {
            let other = super::sealed(at, 99, 7);
            return self.inner.put(at, other).await;
        }
        if self.overwrites {
            self.inner.delete(at).await?;
        }
        self.inner.put(at, sealed).await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        self.count();
        let len = self.inner.head(at).await?.len;
        match self.lie {
            Some(Lie::ReadsOtherBytes) => Ok(noise(1234, usize::try_from(range.end - range.start).unwrap())),
            Some(Lie::IgnoresRanges) => self.inner.read(at, 0..len.min(range.end)).await,
            Some(Lie::InventsBytes) => self.inner.read(at, range.start..range.end.min(len)).await,
            _ => self.inner.read(at, range).await,
        }
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        self.count();
        let mut info = self.inner.head(at).await?;
        info.len += u64::from(self.lie == Some(Lie::WrongLength));
        Ok(info)
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        self.count();
        if self.lie == Some(Lie::KeepsDeleted) { Ok(()) } else { self.inner.delete(at).await }
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        self.count();
        if self.lie == Some(Lie::NotListed) {
            Ok(Page::default())
        } else {
            self.inner.list(placed, after, limit).await
        }
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        self.count();
        Ok(self.says.map(str::to_owned))
    }

    fn describe(&self) -> Description {
        Description { declared_location: self.declares.map(str::to_owned), ..self.inner.describe() }
    }
}

async fn probed(store: &dyn BlobStore) -> Result<terroir::blobs::ProbeReport, ProbeError> {
    let at = somewhere();
    probe(store, &placed(), at.id(), (sealed(&at, 1, 300), sealed(&at, 2, 300)), &SystemClock).await
}

#[tokio::test]
async fn a_store_that_lies_about_its_basics_does_not_start() {
    for lie in [
        Lie::ReadsOtherBytes,
        Lie::IgnoresRanges,
        Lie::InventsBytes,
        Lie::WrongLength,
        Lie::NotListed,
        Lie::RefusesRetry,
        Lie::KeepsDeleted,
    ] {
        match probed(&Crooked::new(Some(lie))).await {
            Err(ProbeError::Lied(found)) => assert_eq!(found, lie),
            other => panic!("{lie:?}: {other:?}"),
        }
    }
    let honest = Crooked::new(None);
    assert!(probed(&honest).await.unwrap().create_if_absent);
    assert_eq!(honest.inner.count(), 0, "the probe cleans up");
}

#[tokio::test]
async fn a_store_that_overwrites_starts_and_is_reported() {
    let store = Crooked { overwrites: true, ..Crooked::new(None) };
    assert!(!probed(&store).await.unwrap().create_if_absent);
}

#[tokio::test]
async fn a_probe_that_fails_halfway_cleans_up_and_fails() {
    let store =
        FaultyStore::new(MemoryStore::new(region()), Faults { truncated: 1000, ..Faults::default() }, 1);
    assert!(matches!(probed(&store).await, Err(ProbeError::Failed(_))));
    assert_eq!(store.inner().count(), 0);
    store.set(Faults { lost_put: 1000, ..Faults::default() });
    assert!(matches!(probed(&store).await, Err(ProbeError::Failed(_))));
}

#[tokio::test]
async fn a_store_elsewhere_than_declared_is_refused_and_silence_is_not_agreement() {
    let clock = ManualClock::at(Timestamp::from_seconds(77));
    let at = |says, declares| Crooked { says, declares, ..Crooked::new(None) };
    let asked = async |says, declares| whereabouts(&at(says, declares), &clock).await;

    match asked(Some("us-east-1"), Some("gra")).await {
        Err(ProbeError::Elsewhere { declared, observed }) => {
            assert_eq!((&*declared, &*observed), ("gra", "us-east-1"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(asked(Some("gra "), Some("gra")).await, Err(ProbeError::Elsewhere { .. })));
    assert_eq!(
        asked(Some("gra"), Some("gra")).await.unwrap().observed,
        Observation::Agrees("gra".to_owned())
    );
    assert_eq!(asked(None, Some("gra")).await.unwrap().observed, Observation::Silent);
    assert_eq!(asked(Some(""), Some("gra")).await.unwrap().observed, Observation::Silent);
    let found = asked(Some("gra"), None).await.unwrap();
    assert_eq!(found.observed, Observation::Undeclared("gra".to_owned()));
    assert_eq!(found.asked, Timestamp::from_seconds(77));
    // And nothing is written to a store that is somewhere else.
    let store = at(Some("us-east-1"), Some("gra"));
    assert!(matches!(probed(&store).await, Err(ProbeError::Elsewhere { .. })));
    assert_eq!(store.called(), 1);
}

#[tokio::test]
async fn a_faulty_store_repeats_itself_from_its_seed() {
    let faults = Faults { error_before: 300, error_after: 200, bit_flip: 300, ..Faults::default() };
    let at = somewhere();
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let store = FaultyStore::new(MemoryStore::new(region()), faults, seed);
        store.inner().put(&at, sealed(&at, 1, 50)).await.unwrap();
        let mut run = Vec::new();
        for _ in 0..60 {
            run.push(store.read(&at, 0..50).await.ok());
        }
        runs.push(run);
    }
    assert!(runs[0] == runs[1] && runs[0] != runs[2]);
    let flipped = runs[0].iter().flatten().filter(|bytes| **bytes != noise(1, 50)).count();
    assert!(flipped > 3);
}

#[tokio::test]
async fn a_blob_that_rots_in_a_faulty_store_is_rotten_at_one_place_in_every_range() {
    let rots = Faults { corrupt_put: 1000, ..Faults::default() };
    let store = FaultyStore::new(MemoryStore::new(region()), rots, 3);
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 64)).await.unwrap();
    let whole = store.read(&at, 0..64).await.unwrap();
    let turned: u32 = whole.iter().zip(noise(1, 64)).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!(turned, 1);
    for cut in 1..64_u64 {
        let halves =
            [store.read(&at, 0..cut).await.unwrap(), store.read(&at, cut..64).await.unwrap()].concat();
        assert_eq!(halves, whole);
    }
}
