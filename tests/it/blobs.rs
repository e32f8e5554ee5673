//! Integration tests of `blobs`.

mod contract;
mod durability;
mod egress;
mod faults;
mod gcs;
mod gcs_app;
mod gcs_credentials;
mod gcs_double;
mod gcs_faults;
mod gcs_rotation;
mod outbound;
mod outbound_circuit;
mod puppet;
mod quirks;
mod rgw;
mod rotation;
mod seaweedfs;

use std::sync::Arc;

use bytes::Bytes;
use terroir::blobs::{BlobStore, FsSettings, FsStore, Location, MemoryStore};
use terroir::envelope::Sealed;
use terroir::model::{BlobId, RegionId, SystemClock, SystemEntropy};
use terroir::placement::Placement;

type Store = Arc<dyn BlobStore>;

fn region() -> RegionId {
    "fr".parse().unwrap()
}

fn placed() -> Placement {
    terroir::placement::testing::placement(&region())
}

/// A place in `region()` that nothing was put at.
fn somewhere() -> Location {
    Location::of(&placed(), BlobId::random(&SystemEntropy).unwrap())
}

/// `len` bytes that differ with `seed`, as if sealed for `at`.
fn sealed(at: &Location, seed: u64, len: usize) -> Sealed {
    Sealed::for_tests(*at.id().as_bytes(), noise(seed, len))
}

/// Bytes in which no place looks like another, so that a shifted or repeated range shows.
fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_be_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

async fn fs_store(root: &std::path::Path) -> FsStore {
    let settings = FsSettings { region: region(), root: root.to_owned() };
    FsStore::open(settings, &SystemClock, Arc::new(SystemEntropy)).await.unwrap()
}

#[tokio::test]
async fn a_store_in_memory_keeps_the_contract() {
    contract::run("blobs × memory", async || Arc::new(MemoryStore::new(region())) as Store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_a_directory_keeps_the_contract() {
    let temp = tempfile::tempdir().unwrap();
    let mut stores = 0;
    contract::run("blobs × fs", async || {
        stores += 1;
        Arc::new(fs_store(&temp.path().join(stores.to_string())).await) as Store
    })
    .await;
}
