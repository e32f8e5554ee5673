//! Credentials that are replaced while the store is in use.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use terroir::blobs::{BlobStore, ErrorKind, Reidentified, S3Credentials, S3Quirks, S3Settings, S3Store};
use terroir::identity::{Identity, Rotating as _, Source};
use terroir::model::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{region, sealed, somewhere};

/// A store that knows one access key at a time, and counts what it refuses.
struct Gate {
    port: u16,
    admits: Arc<Mutex<String>>,
    refused: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    async fn admitting(key: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let admits = Arc::new(Mutex::new(key.to_owned()));
        let (refused, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let shared = (Arc::clone(&admits), Arc::clone(&refused), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (admits, refused, seen) = shared.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    loop {
                        let head = loop {
                            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                                break String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
                            }
                            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                                return None;
                            }
                        };
                        let lower = head.to_lowercase();
                        let length = lower.split("content-length: ").nth(1);
                        let length =
                            length.map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
                        while bytes.len() < length {
                            stream.read_buf(&mut bytes).await.ok()?;
                        }
                        bytes.drain(..length);
                        let key = head.split("Credential=").nth(1).unwrap().split('/').next().unwrap();
                        seen.lock().unwrap().push(key.to_owned());
                        let answer = if *admits.lock().unwrap() == key {
                            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
                        } else {
                            refused.fetch_add(1, Ordering::Relaxed);
                            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
                        };
                        stream.write_all(answer.as_bytes()).await.ok()?;
                    }
                    #[allow(unreachable_code, reason = "gives the block its type")]
                    Some(())
                });
            }
        });
        Self { port, admits, refused, seen }
    }

    fn store(&self, identity: &Identity<S3Credentials>) -> Reidentified<S3Store> {
        let settings = S3Settings {
            region: region(),
            endpoint: format!("http://127.0.0.1:{}", self.port),
            signing_region: "gra".to_owned(),
            bucket: "bucket".to_owned(),
            prefix: "p/".to_owned(),
            path_style: true,
            credentials: identity.clone(),
            ca_file: None,
            quirks: S3Quirks { ignores_create_if_absent: true, ..S3Quirks::default() },
            declared_location: None,
            connect_ms: 5_000,
            attempt_ms: 20_000,
            idle_connections_max: 16,
        };
        Reidentified::new(S3Store::new(settings).unwrap(), Arc::new(identity.clone()))
    }
}

fn credentials(key: &str) -> S3Credentials {
    S3Credentials { access_key_id: key.to_owned(), secret_access_key: Secret::new("hidden".to_owned()) }
}

/// A "file" that a test writes, and how often it was read.
#[derive(Clone)]
struct File {
    key: Arc<Mutex<String>>,
    readable: Arc<AtomicBool>,
    readings: Arc<AtomicUsize>,
}

impl File {
    async fn holding(key: &str) -> (Self, Identity<S3Credentials>) {
        let file = Self {
            key: Arc::new(Mutex::new(key.to_owned())),
            readable: Arc::new(AtomicBool::new(true)),
            readings: Arc::default(),
        };
        let read = file.clone();
        let source = Source::reading(move || {
            read.readings.fetch_add(1, Ordering::Relaxed);
            if !read.readable.load(Ordering::Relaxed) {
                return Err("unreadable".into());
            }
            Ok(credentials(&read.key.lock().unwrap()))
        });
        (file, Identity::open(source).await.unwrap())
    }

    fn write(&self, key: &str) {
        key.clone_into(&mut self.key.lock().unwrap());
    }
}

#[tokio::test]
async fn credentials_that_were_read_again_sign_the_next_request() {
    let gate = Gate::admitting("one").await;
    let (file, identity) = File::holding("one").await;
    let store = gate.store(&identity);
    store.delete(&somewhere()).await.unwrap();
    file.write("two");
    for _ in 0..2 {
        identity.reread().await.unwrap();
        assert_eq!(identity.changes(), 1, "the second reading found what the first had found");
    }
    "two".clone_into(&mut gate.admits.lock().unwrap());
    store.delete(&somewhere()).await.unwrap();
    assert_eq!(*gate.seen.lock().unwrap(), ["one", "two"]);
}

#[tokio::test]
async fn a_refusal_is_asked_again_once_under_new_credentials_and_nobody_above_notices() {
    let gate = Gate::admitting("one").await;
    let (file, identity) = File::holding("one").await;
    let store = Arc::new(gate.store(&identity));
    store.delete(&somewhere()).await.unwrap();
    file.write("two");
    "two".clone_into(&mut gate.admits.lock().unwrap());
    // Many at once: all succeed, and the file is read once for all of them.
    let calls = (0..32).map(|seed| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let at = somewhere();
            let bytes = sealed(&at, seed, 5_000);
            store.put(&at, bytes).await
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert!(gate.refused.load(Ordering::Relaxed) > 0, "the control: some were refused");
    assert_eq!(file.readings.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_refusal_without_new_credentials_is_a_refusal_and_reads_the_file_once_a_second() {
    let gate = Gate::admitting("other").await;
    let (file, identity) = File::holding("one").await;
    let store = gate.store(&identity);
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(store.delete(&somewhere()).await.unwrap_err().kind(), ErrorKind::Denied);
    }
    assert_eq!(gate.refused.load(Ordering::Relaxed), 20, "none is asked twice");
    let most = 2 + begun.elapsed().as_secs();
    assert!(file.readings.load(Ordering::Relaxed) as u64 <= most, "{:?}, at most {most}", file.readings);
}

#[tokio::test]
async fn credentials_that_cannot_be_read_leave_the_ones_before() {
    let gate = Gate::admitting("one").await;
    let (file, identity) = File::holding("one").await;
    let store = gate.store(&identity);
    file.readable.store(false, Ordering::Relaxed);
    assert!(identity.reread().await.is_err());
    store.delete(&somewhere()).await.unwrap();
    "two".clone_into(&mut gate.admits.lock().unwrap());
    assert_eq!(store.delete(&somewhere()).await.unwrap_err().kind(), ErrorKind::Denied);
    assert!(!format!("{identity:?} {store:?}").contains("hidden"));
}
