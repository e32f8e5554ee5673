//! Bulkheads: what one tenant takes another still has, what one region hangs on another does not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::presigning::PresignedRequest;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use terroir::blobs::testing::Faults;
use terroir::placement::Operation;
use terroir::telemetry::{Direction, ShareEvent, Shared};
use terroir::testing::{Setup, TestTenant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{World, a_minute, exchange, get, is, noise, put, refusal, until};

const MIB: u64 = 1 << 20;

/// Limits under which a slow client may be slow for as long as a test takes.
fn patient() -> Setup {
    let mut setup = Setup::default();
    setup.limits.body_idle_ms_max = 300_000;
    setup.limits.body_rate_window_ms = 300_000;
    setup.limits.body_rate_bytes_per_s_min = 1;
    setup
}

/// The host of a presigned request, and its head up to the empty line.
fn head_of(signed: &PresignedRequest, more: &str) -> (String, String) {
    let (host, path) = signed.uri().strip_prefix("http://").unwrap().split_once('/').unwrap();
    (host.to_owned(), format!("{} /{path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n", signed.method()))
}

/// Begins to read `key`, and reads no more than its first bytes. Keep what is answered: dropped, the reader has left.
async fn slow_reader(clinic: &TestTenant, key: &str) -> TcpStream {
    let bucket = clinic.tenant.id.as_str();
    let signed = clinic.s3.get_object().bucket(bucket).key(key).presigned(a_minute()).await.unwrap();
    let (host, head) = head_of(&signed, "");
    let mut socket = TcpStream::connect(host).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Begins to write `announced` bytes, and sends a few.
async fn slow_writer(clinic: &TestTenant, key: &str, announced: u64) -> TcpStream {
    let bucket = clinic.tenant.id.as_str();
    let signed = clinic.s3.put_object().bucket(bucket).key(key).presigned(a_minute()).await.unwrap();
    let (host, head) = head_of(&signed, &format!("Content-Length: {announced}\r\n"));
    let mut socket = TcpStream::connect(host).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&noise(1, 1000)).await.unwrap();
    socket
}

/// Writes and reads a small record `rounds` times. How long each request took, and what failed.
async fn quiet_work(clinic: &TestTenant, rounds: usize) -> (Vec<Duration>, Vec<String>) {
    let (bucket, body) = (clinic.tenant.id.as_str(), noise(7, 4096));
    let (mut took, mut failed) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let key = format!("ecg-{}", round % 10);
        let begun = Instant::now();
        let put = clinic.s3.put_object().bucket(bucket).key(&key).body(body.clone().into()).send().await;
        took.push(begun.elapsed());
        failed.extend(put.err().map(|error| format!("{error:?}")));
        let begun = Instant::now();
        match clinic.s3.get_object().bucket(bucket).key(&key).send().await {
            Ok(got) => assert!(got.body.collect().await.unwrap().to_vec() == body),
            Err(error) => failed.push(format!("{error:?}")),
        }
        took.push(begun.elapsed());
    }
    (took, failed)
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_and_writers_of_one_tenant_took_the_memory_of_all() {
    let mut setup = patient();
    setup.limits.blob_bytes_max = MIB / 2;
    // Half of it for each region.
    setup.limits.memory_bytes_max = 16 * MIB;
    setup.limits.tenant_requests_max = 200;
    let world = World::of(&setup).await;
    let flood = world.tenant("fr", "flood", "health").await;
    let quiet = world.tenant("fr", "quiet", "health").await;
    put(&flood.s3, "flood", "scan", &noise(3, 24 << 20)).await;
    put(&quiet.s3, "quiet", "scan", &noise(4, 500_000)).await;
    let (alone, failed) = quiet_work(&quiet, 50).await;
    assert_eq!(failed, Vec::<String>::new());

    let site = world.app.site("fr");
    let memory = site.vault().memory().clone();
    let mut slow = Vec::new();
    for number in 0..30 {
        slow.push(slow_reader(&flood, "scan").await);
        slow.push(slow_writer(&flood, &format!("half-{number}"), MIB / 2).await);
    }
    until("the flood to take all it may", async || (memory.waiting() > 0).then_some(())).await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let (flood, stop) = (flood.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut asked = 0;
                while !stop.load(Ordering::SeqCst) {
                    let _ = flood.s3.head_object().bucket("flood").key("scan").send().await;
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    let (beside, failed) = quiet_work(&quiet, 50).await;
    assert_eq!(failed, Vec::<String>::new(), "nobody's flood is another's error");
    assert_eq!(get(&quiet.s3, "quiet", "scan").await, noise(4, 500_000), "a whole blob is to be had too");
    stop.store(true, Ordering::SeqCst);
    let mut asked = 0;
    for caller in callers {
        asked += caller.await.unwrap();
    }
    println!(
        "quiet tenant, 100 requests: p99 {:?} alone, {:?} beside {} slow connections and {asked} requests; {} of {} bytes held",
        p99(alone),
        p99(beside),
        slow.len(),
        memory.used_bytes(),
        8 * MIB
    );
    assert!(memory.used_bytes() <= 8 * MIB);
    assert!(site.metrics().share_event(Shared::Memory, ShareEvent::Waited).value() > 0);
    drop(slow);
    until("the memory to come back", async || (memory.used_bytes() == 0).then_some(())).await;
}

/// What of a connection's bytes the kernel holds, sent or come, because the client does not read them.
fn in_kernel_bytes(client: &TcpStream) -> u64 {
    let [ours, theirs] =
        [client.local_addr(), client.peer_addr()].map(|address| format!(":{:04X}", address.unwrap().port()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let queues = table.lines().filter_map(|line| {
        // sl, local address, remote address, state, tx_queue:rx_queue (proc_net_tcp(5)).
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, remote, _, queues, ..] = fields[..] else { return None };
        let is_this = [(&ours, &theirs), (&theirs, &ours)]
            .iter()
            .any(|(one, other)| local.ends_with(one.as_str()) && remote.ends_with(other.as_str()));
        let (tx, rx) = queues.split_once(':').filter(|_| is_this)?;
        Some(u64::from_str_radix(tx, 16).unwrap() + u64::from_str_radix(rx, 16).unwrap())
    });
    queues.sum()
}

/// The last piece of a record is in hyper's hands alone, and holds the whole blob that it is cut from.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_piece_of_a_slow_reader_was_in_no_budget() {
    const STEP: u64 = 128 * 1024;
    let world = World::of(&patient()).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    put(&clinic.s3, "clinic", "scan", &noise(3, 8 << 20)).await;
    let site = world.app.site("fr");
    let (memory, sent) = (site.vault().memory(), site.metrics().body_bytes(Direction::Out));
    until("nothing to be held", async || (memory.used_bytes() == 0).then_some(())).await;
    // How much a kernel takes from a server whose client reads nothing, it alone knows: a little more is asked for each time, until
    // the server has handed out everything and the kernel has not taken it.
    for bytes in (1..=8 * MIB / STEP).map(|steps| steps * STEP) {
        let signed = clinic.s3.get_object().bucket("clinic").key("scan").presigned(a_minute()).await.unwrap();
        let (host, head) = head_of(&signed, &format!("Range: bytes=0-{}\r\n", bytes - 1));
        let before = sent.value();
        let mut socket = TcpStream::connect(host).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut last = (0, 0);
        until("nothing to move any more", async || {
            let now = (sent.value() - before, in_kernel_bytes(&socket));
            (std::mem::replace(&mut last, now) == now && now.1 > 0).then_some(())
        })
        .await;
        let handed_out = sent.value() - before == bytes;
        let used = memory.used_bytes();
        // Nobody reads, so the kernel's part only grows: what it has not taken now, it had not taken then.
        if handed_out && in_kernel_bytes(&socket) < bytes {
            println!("{bytes} bytes: {} in the kernel, {used} held", in_kernel_bytes(&socket));
            assert!(used >= bytes, "{used} bytes are held for a reader of {bytes}");
            drop(socket);
            until("the memory to come back", async || (memory.used_bytes() == 0).then_some(())).await;
            return;
        }
        drop(socket);
        until("the memory to come back", async || (memory.used_bytes() == 0).then_some(())).await;
    }
    panic!("the kernel took everything");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_tenants_took_every_place_for_requests() {
    let mut setup = patient();
    (setup.limits.requests_max, setup.limits.tenant_requests_max) = (100, 100);
    let world = World::of(&setup).await;
    let quiet = world.tenant("fr", "quiet", "health").await;
    let requests = world.app.site("fr").metrics().share_used(Shared::Requests);
    let (mut slow, mut held) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let name = format!("flood-{number}");
        let flood = world.tenant("fr", &name, "health").await;
        let before = requests.value();
        // One after the other, each until it is served or refused.
        loop {
            let (used, mut socket) = (requests.value(), slow_writer(&flood, "half", 1_000_000).await);
            let refused = until("an answer or a place", async || {
                if requests.value() > used {
                    return Some(false);
                }
                let mut some = [0; 64];
                let read = tokio::time::timeout(Duration::from_millis(20), socket.read(&mut some)).await;
                let read = read.ok()?.unwrap();
                assert!(some[..read].starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&some));
                Some(true)
            })
            .await;
            if refused {
                break;
            }
            slow.push(socket);
        }
        held.push(requests.value() - before);
        let refused = flood.s3.head_bucket().bucket(&name).send().await.unwrap_err();
        let answer = refused.raw_response().unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().get("retry-after")), (503, Some("1")));
    }
    assert_eq!(held, [80, 16, 3], "four fifths of what each found");
    let (_, failed) = quiet_work(&quiet, 20).await;
    assert_eq!(failed, Vec::<String>::new());
    drop(slow);
    until("the places to come back", async || (requests.value() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_and_those_who_wait_for_memory_hold_no_turn() {
    let mut setup = patient();
    (setup.limits.turns_per_core_max, setup.limits.blob_bytes_max) = (1, MIB / 2);
    // Half of it for each region: the flood's writers take all they may, and the rest of them waits.
    setup.limits.memory_bytes_max = 16 * MIB;
    let world = World::of(&setup).await;
    let flood = world.tenant("fr", "flood", "health").await;
    let quiet = world.tenant("fr", "quiet", "health").await;
    let site = world.app.site("fr");
    let turns = site.metrics().share_used(Shared::Turns);
    let mut slow = Vec::new();
    for number in 0..30 {
        slow.push(slow_writer(&flood, &format!("half-{number}"), MIB / 2).await);
    }
    let requests = site.metrics().share_used(Shared::Requests);
    until("all of them to be in flight", async || (requests.value() == 30).then_some(())).await;
    until("some to wait for memory", async || (site.vault().memory().waiting() > 0).then_some(())).await;
    until("nobody to have a turn", async || (turns.value() == 0).then_some(())).await;
    let (_, failed) = quiet_work(&quiet, 20).await;
    assert_eq!(failed, Vec::<String>::new());
    // The last answer is held until its last piece is written, which its reader may be ahead of.
    until("the slow ones alone to be there", async || (requests.value() == 30).then_some(())).await;
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_waits_for_its_turns_and_nobody_in_it_is_refused() {
    let mut setup = patient();
    setup.limits.turns_per_core_max = 1;
    let world = World::of(&setup).await;
    let flood = world.tenant("fr", "flood", "health").await;
    let crowd = futures_util::future::join_all((0..24).map(|_| quiet_work(&flood, 5))).await;
    for (_, failed) in crowd {
        assert_eq!(failed, Vec::<String>::new());
    }
    let metrics = world.app.site("fr").metrics();
    assert!(metrics.share_event(Shared::Turns, ShareEvent::Waited).value() > 0, "there was no crowd");
    for event in [ShareEvent::TooMuch, ShareEvent::Full, ShareEvent::Crowded, ShareEvent::Late] {
        assert_eq!(metrics.share_event(Shared::Turns, event).value(), 0, "{event:?}");
    }
    assert_eq!(metrics.share_used(Shared::Turns).value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_hung_on_one_regions_store_held_the_memory_of_the_other() {
    let mut setup = patient();
    setup.limits.blob_bytes_max = MIB / 2;
    setup.limits.memory_bytes_max = 8 * MIB;
    let world = World::of(&setup).await;
    let budget = |region| world.app.site(region).metrics().memory_limit_bytes().value();
    assert_eq!(budget("fr") + budget("us"), 8 << 20, "together what the process may take, not each");
    let here = world.tenant("us", "here", "health").await;
    let mut there = Vec::new();
    for number in 0..4 {
        let name = format!("there-{number}");
        let tenant = world.tenant("fr", &name, "health").await;
        put(&tenant.s3, &name, "scan", &noise(5, 4 << 20)).await;
        there.push(tenant);
    }
    let (alone, _) = quiet_work(&here, 20).await;
    // Frozen: every call hangs for minutes.
    world.app.tap("fr").fail(Faults { delay: 1000, delay_ms: 3_600_000, ..Faults::default() });
    let mut hung = Vec::new();
    for tenant in &there {
        for number in 0..8 {
            hung.push(slow_reader(tenant, "scan").await);
            hung.push(slow_writer(tenant, &format!("half-{number}"), MIB / 2).await);
        }
    }
    let memory = world.app.site("fr").vault().memory();
    until("the region to hang", async || (memory.waiting() > 0).then_some(())).await;
    let (beside, failed) = quiet_work(&here, 20).await;
    assert_eq!(failed, Vec::<String>::new());
    let metrics = world.app.site("us").metrics();
    for event in ShareEvent::ALL {
        assert_eq!(metrics.share_event(Shared::Memory, *event).value(), 0, "{event:?}");
    }
    println!("region us: p99 {:?} alone, {:?} while region fr hangs", p99(alone), p99(beside));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_could_open_uploads_without_end() {
    let mut setup = patient();
    setup.limits.tenant_uploads_max = 2;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let other = world.tenant("fr", "other", "health").await;
    clinic.s3.create_bucket().bucket("clinic-2").send().await.unwrap();
    let begin = async |tenant: &TestTenant, bucket: &str| {
        tenant.s3.create_multipart_upload().bucket(bucket).key("big").send().await
    };
    let first = begin(&clinic, "clinic").await.unwrap().upload_id.unwrap();
    begin(&clinic, "clinic-2").await.unwrap();
    for bucket in ["clinic", "clinic-2"] {
        assert_eq!(refusal(begin(&clinic, bucket).await), is(400, "InvalidRequest"), "over all its buckets");
    }
    begin(&other, "other").await.unwrap();
    clinic.s3.abort_multipart_upload().bucket("clinic").key("big").upload_id(first).send().await.unwrap();
    begin(&clinic, "clinic").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn completing_an_upload_was_in_no_budget() {
    let mut setup = patient();
    setup.limits.memory_wait_ms_max = 100;
    let world = World::of(&setup).await;
    // A class that hides lengths: the padding has to fit into what the completion holds.
    let clinic = world.tenant("fr", "clinic", "health-sensitive").await;
    let begun = clinic.s3.create_multipart_upload().bucket("clinic").key("big").send().await.unwrap();
    let upload = begun.upload_id.unwrap();
    let body = noise(9, (5 << 20) + 77);
    let mut parts = Vec::new();
    for (number, bytes) in [(1, &body[..5 << 20]), (2, &body[5 << 20..])] {
        let part = clinic.s3.upload_part().bucket("clinic").key("big").upload_id(&upload).part_number(number);
        let done = part.body(bytes.to_vec().into()).send().await.unwrap();
        parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(done.e_tag)
                .set_checksum_crc32(done.checksum_crc32)
                .build(),
        );
    }
    let complete = async || {
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
        let call = clinic.s3.complete_multipart_upload().bucket("clinic").key("big").upload_id(&upload);
        call.multipart_upload(list).send().await
    };
    let site = world.app.site("fr");
    let memory = site.vault().memory();
    let decided = site.admit(&clinic.tenant, &Operation::Read, "hold").await.unwrap();
    let all = memory.lease_most(&decided, u64::MAX).await.unwrap();
    assert_eq!(refusal(complete().await), is(503, "SlowDown"));
    assert_eq!(memory.used_bytes(), all.units());
    drop(all);
    complete().await.unwrap();
    assert!(get(&clinic.s3, "clinic", "big").await == body);
    until("the memory to come back", async || (memory.used_bytes() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_beyond_their_rate_are_told_to_slow_down_and_tenants_are_not() {
    let mut setup = patient();
    setup.limits.strangers_per_s_max = 1;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let host = world.app.at("fr").data.to_string();
    let request = format!("GET /clinic/ecg HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut answers = std::collections::BTreeMap::new();
    for _ in 0..60 {
        let answer = exchange(&host, request.as_bytes(), false).await.unwrap();
        *answers.entry(answer.status).or_insert(0) += 1;
        assert!(answer.status == 403 || answer.headers["retry-after"] == "1", "{answer:?}");
    }
    let (_, failed) = quiet_work(&clinic, 10).await;
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [403, 503], "{answers:?}");
    assert_eq!(world.app.site("fr").metrics().strangers_refused().value(), answers[&503]);
}

/// Asks for a record that is not there over a connection that stays open; the status.
async fn ask(socket: &mut TcpStream, clinic: &TestTenant) -> u16 {
    let bucket = clinic.tenant.id.as_str();
    let signed = clinic.s3.head_object().bucket(bucket).key("ecg").presigned(a_minute()).await.unwrap();
    socket.write_all(head_of(&signed, "").1.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.expect("an answer"));
    }
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenant_took_every_connection() {
    let mut setup = patient();
    setup.limits.connections_max = 20;
    let world = World::of(&setup).await;
    let flood = world.tenant("fr", "flood", "health").await;
    let quiet = world.tenant("fr", "quiet", "health").await;
    let host = world.app.at("fr").data;
    let used = world.app.site("fr").metrics().share_used(Shared::Connections);
    // The SDK's own connections count as well, and stay.
    let mut open = Vec::new();
    let refused = loop {
        let mut socket = TcpStream::connect(host).await.unwrap();
        match ask(&mut socket, &flood).await {
            404 => open.push(socket),
            status => break (status, socket.read(&mut [0]).await.unwrap()),
        }
    };
    assert_eq!(refused, (503, 0), "refused, and closed");
    assert!((12..=16).contains(&open.len()), "{} connections", open.len());
    for socket in &mut open {
        assert_eq!(ask(socket, &flood).await, 404, "those it has are served");
    }
    let mut socket = TcpStream::connect(host).await.unwrap();
    assert_eq!(ask(&mut socket, &quiet).await, 404);
    let (before, count) = (used.value(), i64::try_from(open.len()).unwrap());
    drop(open);
    until("the connections to come back", async || (used.value() <= before - count).then_some(())).await;
}
