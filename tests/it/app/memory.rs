//! The budget of memory, clients that leave, and what becomes of their blobs.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, Delete, ObjectIdentifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use terroir::model::{Clock, ManualClock, SystemClock};
use terroir::placement::Operation;
use terroir::testing::{Setup, TestTenant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{World, a_minute, get, keys_of, noise, put, until};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn many_large_bodies_at_once_end_within_a_tiny_budget() {
    let mut setup = Setup::default();
    setup.limits.blob_bytes_max = MIB as u64;
    // Four blobs for each of the two regions, the least there can be.
    setup.limits.memory_bytes_max = 8 * MIB as u64;
    // One reads at a time: the last of eight waits long on a busy machine.
    setup.limits.memory_wait_ms_max = 60_000;
    let world = World::of(&setup).await;
    let mut clinics = Vec::new();
    for region in ["fr", "us"] {
        clinics.push(world.tenant(region, &format!("clinic-{region}"), "health").await);
    }
    let memory = world.app.site("fr").vault().memory().clone();
    let watched = tokio::spawn({
        let memory = memory.clone();
        async move {
            let mut every = tokio::time::interval(Duration::from_millis(1));
            loop {
                every.tick().await;
                let used = memory.used_bytes();
                assert!(used <= 4 * MIB as u64, "{used} bytes of a budget of {}", 4 * MIB);
            }
        }
    });
    let body = noise(5, 6 * MIB + 333);
    for direction in ["in", "out"] {
        let work = (0..16).map(|number| {
            let clinic: TestTenant = clinics[number % 2].clone();
            let body = body.clone();
            tokio::spawn(async move {
                let (bucket, key) = (clinic.tenant.id.to_string(), format!("scan-{number}"));
                if direction == "in" {
                    // A client whose turn does not come in time is told SlowDown, and tries again like any SDK.
                    for _ in 0..20 {
                        let put = clinic.s3.put_object().bucket(&bucket).key(&key).body(body.clone().into());
                        match put.send().await {
                            Ok(_) => return true,
                            Err(error) => {
                                assert_eq!(super::refusal::<(), _>(Err(error)), super::is(503, "SlowDown"));
                            }
                        }
                    }
                    return false;
                }
                get(&clinic.s3, &bucket, &key).await == body
            })
        });
        for done in futures_util::future::join_all(work).await {
            assert!(done.unwrap(), "{direction}");
        }
        until("the memory to come back", async || (memory.used_bytes() == 0).then_some(())).await;
    }
    assert!(!watched.is_finished(), "the budget was kept");
    watched.abort();
}

/// Begins a PUT of `announced` bytes, sends `sent` of them, and leaves.
async fn leave(clinic: &TestTenant, key: &str, announced: usize, sent: usize) {
    let signed = clinic
        .s3
        .put_object()
        .bucket(clinic.tenant.id.as_str())
        .key(key)
        .presigned(a_minute())
        .await
        .unwrap();
    let (host, path) = signed.uri().strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut socket = TcpStream::connect(host).await.unwrap();
    let head = format!("PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {announced}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&noise(1, sent)).await.unwrap();
    socket.flush().await.unwrap();
}

async fn queued(world: &World) -> i64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.app.index_path("fr"));
    let mut index = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM reclaim").fetch_one(&mut index).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_leaves_shows_nothing_and_its_blobs_are_reclaimed_when_due() {
    // Time runs, ahead by what the test says: signatures are checked against it.
    #[derive(Debug)]
    struct Ahead(ManualClock);
    impl Clock for Ahead {
        fn now(&self) -> terroir::model::Timestamp {
            SystemClock.now().after(Duration::from_millis(self.0.now().millis()))
        }
        fn ticked(&self) -> Duration {
            SystemClock.ticked() + self.0.ticked()
        }
    }
    let clock = Arc::new(Ahead(ManualClock::default()));
    let mut setup = Setup { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Setup::default() };
    setup.limits.blob_bytes_max = 256 * 1024;
    setup.limits.reclaim_delay_s = 3600;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let kept = noise(2, 700_000);
    put(&clinic.s3, "clinic", "kept", &kept).await;
    let before = world.app.blobs("fr").len();
    for number in 0..4 {
        leave(&clinic, &format!("half-{number}"), 8 * MIB, 3 * MIB).await;
    }
    let debris = until("the debris to be queued", async || {
        let blobs = world.app.blobs("fr").len() - before;
        let queued = usize::try_from(queued(&world).await).unwrap();
        let ended = world.app.site("fr").log().counts().unfinished == 0;
        // A blob may be queued that never arrived.
        (ended && blobs > 0 && queued >= blobs).then_some(blobs)
    })
    .await;
    assert_eq!(keys_of(&clinic.s3, "clinic").await, ["kept"]);
    let site = world.app.site("fr");
    // The list just read is held until its last piece is written, which its reader may be ahead of.
    until("all memory to come back", async || (site.vault().memory().used_bytes() == 0).then_some(())).await;

    let reclaim = async || {
        let decided = site.admit(&clinic.tenant, &Operation::Maintain, "reclaim").await.unwrap();
        site.vault().reclaim(&decided, &site.vault().due(&[], None).await.unwrap()).await.unwrap()
    };
    assert_eq!(reclaim().await.deleted, 0, "not before it is due");
    // One that was under way when its writer left may still arrive: it is queued like the others.
    assert!(world.app.blobs("fr").len() >= before + debris);
    clock.0.advance(Duration::from_secs(3601));
    assert!(reclaim().await.deleted >= debris as u64);
    assert_eq!(world.app.blobs("fr").len(), before);
    assert_eq!(queued(&world).await, 0);
    let decided = site.admit(&clinic.tenant, &Operation::Read, "where").await.unwrap();
    let opened =
        site.vault().open(&decided, &"clinic".parse().unwrap(), &"kept".parse().unwrap()).await.unwrap();
    let traces = site.vault().trace(&decided, &opened).await.unwrap();
    assert!(
        traces.iter().all(|trace| trace.observed_bytes == Some(trace.stored_bytes)),
        "what is live stays"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_gives_its_memory_back() {
    let mut setup = Setup::default();
    setup.limits.blob_bytes_max = MIB as u64;
    let world = World::of(&setup).await;
    let clinic = world.tenant("us", "clinic", "health").await;
    put(&clinic.s3, "clinic", "scan", &noise(3, 24 * MIB)).await;
    for _ in 0..6 {
        let signed = clinic.s3.get_object().bucket("clinic").key("scan").presigned(a_minute()).await.unwrap();
        let (host, path) = signed.uri().strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut socket = TcpStream::connect(host).await.unwrap();
        let head = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.read_exact(&mut [0; 1000]).await.unwrap();
    }
    let memory = world.app.site("us").vault().memory();
    until("the memory to come back", async || (memory.used_bytes() == 0).then_some(())).await;
    until("every request to end", async || {
        (world.app.site("us").log().counts().unfinished == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_record_that_is_overwritten_reads_the_old_one_to_its_end() {
    let mut setup = Setup::default();
    setup.limits.blob_bytes_max = 256 * 1024;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let old = noise(4, 16 * MIB);
    put(&clinic.s3, "clinic", "scan", &old).await;
    let mut slow = clinic.s3.get_object().bucket("clinic").key("scan").send().await.unwrap().body;
    let first = slow.try_next().await.unwrap().unwrap();
    put(&clinic.s3, "clinic", "scan", b"new").await;
    clinic.s3.delete_object().bucket("clinic").key("scan").send().await.unwrap();
    let site = world.app.site("fr");
    let decided = site.admit(&clinic.tenant, &Operation::Maintain, "reclaim").await.unwrap();
    let due = site.vault().due(&[], None).await.unwrap();
    let done = site.vault().reclaim(&decided, &due).await.unwrap();
    assert_eq!(done.deleted, 0, "not before the longest request has ended");
    let mut read = first.to_vec();
    while let Some(piece) = slow.try_next().await.unwrap() {
        read.extend(piece);
    }
    assert!(read == old);
}

/// The head of a POST to the bucket of `clinic`, presigned: the SDK presigns none. `signed` are headers in order, each a line.
fn presigned_post(
    world: &World,
    clinic: &TestTenant,
    (key, query): (&str, &str),
    length: usize,
    signed: &str,
) -> String {
    let mac = |key: &[u8], data: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes()).as_ref().to_vec()
    };
    let host = world.app.at("fr").data.to_string();
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let scope = format!("{}/fr/s3/aws4_request", &time[..8]);
    let path = format!("/{}/{key}", clinic.tenant.id);
    let lines = format!("{signed}host:{host}\n");
    let names: Vec<&str> = lines.lines().map(|line| line.split_once(':').unwrap().0).collect();
    let (encoded, names) = (names.join("%3B"), names.join(";"));
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}%2F{}&X-Amz-Date={time}&X-Amz-Expires=3600\
         &X-Amz-SignedHeaders={encoded}&{query}",
        clinic.credential.key_id.as_str(),
        scope.replace('/', "%2F")
    );
    let canonical = format!("POST\n{path}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD");
    let hash = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let secret = format!("AWS4{}", clinic.credential.secret.expose()).into_bytes();
    let key = [&time[..8], "fr", "s3", "aws4_request"].iter().fold(secret, |key, step| mac(&key, step));
    let signature = hex::encode(mac(&key, &format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}")));
    let headers = lines.replace('\n', "\r\n");
    format!(
        "POST {path}?{query}&X-Amz-Signature={signature} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n"
    )
}

/// Deletes a record, makes a bucket in so many words, begins an upload and completes it: each with a small document.
async fn small_documents(tenant: &TestTenant, round: usize) {
    let bucket = tenant.tenant.id.as_str();
    let place =
        CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from("fr"));
    let made = tenant.s3.create_bucket().bucket(format!("{bucket}-{round}"));
    made.create_bucket_configuration(place.build()).send().await.unwrap();
    super::corruption::in_parts(tenant, bucket, "scan", &noise(8, 1000)).await;
    let key = ObjectIdentifier::builder().key("scan").build().unwrap();
    let keys = Delete::builder().objects(key).build().unwrap();
    let deleted = tenant.s3.delete_objects().bucket(bucket).delete(keys).send().await.unwrap();
    assert!(deleted.errors().is_empty(), "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_one_tenant_were_in_nobodys_budget() {
    let mut setup = Setup::default();
    setup.limits.blob_bytes_max = MIB as u64;
    // Half of it for each region.
    setup.limits.memory_bytes_max = 64 * MIB as u64;
    (setup.limits.memory_wait_ms_max, setup.limits.body_idle_ms_max) = (300_000, 300_000);
    (setup.limits.body_rate_window_ms, setup.limits.body_rate_bytes_per_s_min) = (300_000, 1);
    let world = World::of(&setup).await;
    let flood = world.tenant("fr", "flood", "health").await;
    let quiet = world.tenant("fr", "quiet", "health").await;
    let upload = flood.s3.create_multipart_upload().bucket("flood").key("big").send().await.unwrap();
    let query = format!("uploadId={}", upload.upload_id.unwrap());
    let memory = world.app.site("fr").vault().memory().clone();
    let floods: Vec<_> = (0..40)
        .map(|_| {
            let head = presigned_post(&world, &flood, ("big", query.as_str()), MIB, "");
            let host = world.app.at("fr").data;
            tokio::spawn(async move {
                let mut socket = TcpStream::connect(host).await.unwrap();
                let _ = socket.write_all(&[head.as_bytes(), vec![b' '; MIB / 2].as_slice()].concat()).await;
                // Nothing more: whoever waits for the rest waits for as long as the pace allows.
                std::future::pending::<()>().await;
            })
        })
        .collect();
    until("the documents to be in the budget", async || {
        (memory.used_bytes() >= 2 * MIB as u64 && memory.waiting() > 0).then_some(())
    })
    .await;
    assert!(memory.used_bytes() <= 4 * MIB as u64, "{} of what is an eighth at most", memory.used_bytes());
    for round in 0..5 {
        small_documents(&quiet, round).await;
    }
    // Bodies have their own: a flood of documents is in nobody's way.
    put(&flood.s3, "flood", "scan", &noise(3, 2 * MIB)).await;
    for flood in floods {
        flood.abort();
    }
    until("the memory to come back", async || (memory.used_bytes() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_delete_answer_was_in_nobodys_budget() {
    let world = World::of(&Setup::default()).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let mut body = String::from("<Delete>");
    for number in 0..900 {
        write!(body, "<Object><Key>{}{number:03}</Key></Object>", "\"".repeat(1000)).unwrap();
    }
    body.push_str("</Delete>");
    let md5 = format!("content-md5:{}\n", STANDARD.encode(Md5::digest(body.as_bytes())));
    let head = presigned_post(&world, &clinic, ("", "delete="), body.len(), &md5);
    // Whatever of the answer the sockets take is out of our hands.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(world.app.at("fr").data).await.unwrap();
    socket.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    let mut begun = [0; 12];
    socket.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    let memory = world.app.site("fr").vault().memory();
    let answer = 900 * 6000;
    assert!(memory.used_bytes() >= answer, "{} bytes of an answer of {answer}", memory.used_bytes());
    let mut rest = Vec::new();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    socket.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() as u64 > answer);
    until("the memory to come back", async || (memory.used_bytes() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_parts_had_room_for_its_names_alone() {
    let mut setup = Setup::default();
    setup.limits.memory_wait_ms_max = 100;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let upload = clinic.s3.create_multipart_upload().bucket("clinic").key("big").send().await.unwrap();
    let list = |parts| {
        let list = clinic.s3.list_parts().bucket("clinic").key("big").max_parts(parts);
        list.upload_id(upload.upload_id().unwrap()).send()
    };
    let site = world.app.site("fr");
    let decided = site.admit(&clinic.tenant, &Operation::Read, "hold").await.unwrap();
    let mut held = site.vault().memory().lease_most(&decided, u64::MAX).await.unwrap();
    held.shrink_to(held.units() - 2 * MIB as u64);
    // Sixteen descriptors of the longest are more than 2 MiB, one is not.
    assert_eq!(super::refusal(list(1000).await), super::is(503, "SlowDown"));
    list(1).await.unwrap();
    drop(held);
    list(1000).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_buckets_was_in_nobodys_budget() {
    let mut setup = Setup::default();
    setup.limits.memory_wait_ms_max = 100;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let list = |buckets: Option<i32>| clinic.s3.list_buckets().set_max_buckets(buckets).send();
    let site = world.app.site("fr");
    let decided = site.admit(&clinic.tenant, &Operation::Read, "hold").await.unwrap();
    let mut held = site.vault().memory().lease_most(&decided, u64::MAX).await.unwrap();
    held.shrink_to(held.units() - 256 * 1024);
    assert_eq!(super::refusal(list(None).await), super::is(503, "SlowDown"));
    list(Some(1)).await.unwrap();
    drop(held);
    list(None).await.unwrap();
}
