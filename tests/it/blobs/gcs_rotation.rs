//! Google's key files, replaced while the store is in use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use terroir::blobs::{BlobStore, ErrorKind, GcsCredentials, GcsSettings, GcsStore, Reidentified};
use terroir::identity::Source;
use terroir::model::Secret;

use super::gcs::{BUCKET, settings};
use super::gcs_credentials::{ACCOUNT, key_file, started, works};
use super::{sealed, somewhere};
use crate::gcs_double::Double;

/// A key file that a test writes, and how often it was read.
struct File {
    key: Arc<Mutex<Secret<String>>>,
    readings: Arc<AtomicUsize>,
}

impl File {
    fn holding(key: Secret<String>) -> Self {
        Self { key: Arc::new(Mutex::new(key)), readings: Arc::default() }
    }

    fn write(&self, key: Secret<String>) {
        *self.key.lock().unwrap() = key;
    }

    async fn store(&self, double: &Double) -> GcsStore {
        let (key, readings) = (Arc::clone(&self.key), Arc::clone(&self.readings));
        let credentials = Source::reading(move || {
            readings.fetch_add(1, Ordering::Relaxed);
            Ok(GcsCredentials::ServiceAccount(key.lock().unwrap().clone()))
        });
        GcsStore::open(GcsSettings { credentials, ..settings(double, BUCKET) }).await.unwrap()
    }
}

#[tokio::test]
async fn a_key_file_that_was_read_again_signs_the_next_request() {
    let double = started().await;
    let ((one, public_one), (two, public_two)) = (key_file(|_| {}), key_file(|_| {}));
    double.trust(&public_one, ACCOUNT);
    let file = File::holding(one);
    let store = file.store(&double).await;
    works(&store).await;
    file.write(two);
    let identity = store.identity();
    assert!(!identity.is_fixed());
    for _ in 0..2 {
        identity.reread().await.unwrap();
        assert_eq!(identity.changes(), 1, "the second reading found what the first had found");
    }
    double.trust(&public_two, ACCOUNT);
    works(&store).await;
}

#[tokio::test]
async fn google_that_trusts_another_key_by_now_is_asked_again_once_under_that_key() {
    let double = started().await;
    let ((one, public_one), (two, public_two)) = (key_file(|_| {}), key_file(|_| {}));
    double.trust(&public_one, ACCOUNT);
    let file = File::holding(one);
    let gcs = file.store(&double).await;
    let identity = gcs.identity();
    let store = Arc::new(Reidentified::new(gcs, identity));
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 10)).await.unwrap();
    file.write(two);
    double.trust(&public_two, ACCOUNT);
    // Bodies and the rest, by two protocols; all at once, and the file is read once for all of them.
    let calls = (0..16).map(|seed| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let at = somewhere();
            let bytes = sealed(&at, seed, 5_000);
            if seed % 2 == 0 { store.put(&at, bytes).await } else { store.delete(&at).await }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(file.readings.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_key_file_that_may_not_be_used_leaves_the_one_before() {
    let double = started().await;
    let (good, public) = key_file(|_| {});
    double.trust(&public, ACCOUNT);
    let file = File::holding(good);
    let store = file.store(&double).await;
    let identity = store.identity();
    for (bad, why) in [
        (Secret::new("{ \"hunter2".to_owned()), "service_account"),
        (key_file(|file| file["universe_domain"] = "evil.example".into()).0, "another universe"),
        (key_file(|file| file["private_key"] = "hunter2".into()).0, "does not accept"),
    ] {
        file.write(bad);
        let told = identity.reread().await.unwrap_err().to_string();
        assert!(told.contains(why) && !told.contains("hunter2") && !told.contains("evil"), "{told}");
        assert_eq!(identity.changes(), 0);
        works(&store).await;
    }
    let stranger = key_file(|_| {}).0;
    file.write(stranger);
    identity.reread().await.unwrap();
    let at = somewhere();
    let refused = store.put(&at, sealed(&at, 1, 10)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "the control: a key that may be used is used");
}
