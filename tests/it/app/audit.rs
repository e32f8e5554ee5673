//! The audit log of the whole application: every request in it, no name in it, nothing without it.

use std::collections::BTreeMap;

use aws_sdk_s3::primitives::ByteStream;
use terroir::audit::verify;
use terroir::telemetry::RefusalCode;
use terroir::testing::{Setup, TestApp};

use super::{World, get, is, put, refusal, until};

/// Waits until every decision has its completion.
async fn settled(app: &TestApp, region: &str) {
    until("all completions", async || (app.site(region).log().counts().unfinished == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_leaves_a_decision_and_its_completion() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let s3 = &clinic.s3;
    put(s3, "clinic", "a", b"1234567").await;
    get(s3, "clinic", "a").await;
    s3.head_object().bucket("clinic").key("a").send().await.unwrap();
    s3.list_objects_v2().bucket("clinic").send().await.unwrap();
    s3.list_buckets().send().await.unwrap();
    let _ = s3.get_object().bucket("clinic").key("absent").send().await;
    s3.delete_object().bucket("clinic").key("a").send().await.unwrap();
    settled(&world.app, "fr").await;
    let lines = world.app.audit_lines("fr");
    let completions: BTreeMap<u64, &serde_json::Value> = lines
        .iter()
        .filter(|line| line["kind"] == "completion")
        .map(|line| (line["decision"].as_u64().unwrap(), line))
        .collect();
    let mut seen = Vec::new();
    for decision in lines.iter().filter(|line| line["kind"] == "decision" && line["source"] == "http") {
        let completion = completions[&decision["seq"].as_u64().unwrap()];
        assert_eq!(completion["request"], decision["request"]);
        assert_eq!((&decision["region"], &decision["tenant"]), (&"fr".into(), &"clinic".into()));
        assert_eq!(decision["credential"], clinic.credential.key_id.as_str());
        seen.push((
            decision["operation"].as_str().unwrap(),
            completion["outcome"].as_str().unwrap(),
            completion["status"].as_u64().unwrap(),
            completion["bytes_in"].as_u64().unwrap(),
        ));
        let sent = completion["bytes_out"].as_u64().unwrap();
        if decision["operation"] == "GetObject" && completion["outcome"] == "ok" {
            assert_eq!(sent, 7);
        }
    }
    assert_eq!(
        seen,
        [
            ("CreateBucket", "ok", 200, 0),
            ("PutObject", "ok", 200, 7),
            ("GetObject", "ok", 200, 0),
            ("HeadObject", "ok", 200, 0),
            ("ListObjectsV2", "ok", 200, 0),
            ("ListBuckets", "ok", 200, 0),
            ("GetObject", "error", 404, 0),
            ("DeleteObject", "ok", 204, 0),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_recorded_with_its_code_before_it_is_told() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let unknown = clinic.s3.put_object().bucket("clinic").key("a").metadata("terroir-class", "ecg");
    assert_eq!(refusal(unknown.body(ByteStream::from_static(b"x")).send().await).0, 400);
    settled(&world.app, "fr").await;
    let lines = world.app.audit_lines("fr");
    let refused: Vec<_> = lines.iter().filter(|line| line["verdict"] == "refused").collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["operation"], "PutObject");
    assert!(refused[0]["code"].as_str().unwrap().starts_with("TR-CLASS"), "{}", refused[0]);
    let completion = lines.iter().find(|line| line["decision"] == refused[0]["seq"]).unwrap();
    assert_eq!((&completion["outcome"], &completion["status"]), (&"error".into(), &400.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_record_cannot_be_written_is_503_and_has_no_effect() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let abroad = world.tenant("us", "boston", "health").await;
    put(&clinic.s3, "clinic", "kept", b"kept").await;
    settled(&world.app, "fr").await;
    let (log, away) = (world.app.audit_dir("fr"), world.app.dir("fr").join("audit.away"));
    let before = world.app.blobs("fr");
    std::fs::rename(&log, &away).unwrap();
    let unavailable = is(503, "ServiceUnavailable");
    let s3 = &clinic.s3;
    let body = || ByteStream::from_static(b"new");
    assert_eq!(refusal(s3.put_object().bucket("clinic").key("new").body(body()).send().await), unavailable);
    assert_eq!(refusal(s3.get_object().bucket("clinic").key("kept").send().await), unavailable);
    assert_eq!(refusal(s3.delete_object().bucket("clinic").key("kept").send().await), unavailable);
    assert_eq!(refusal(s3.list_objects_v2().bucket("clinic").send().await), unavailable);
    assert_eq!(refusal(s3.create_bucket().bucket("another").send().await), unavailable);
    assert_eq!(refusal(s3.delete_bucket().bucket("clinic").send().await), unavailable);
    assert_eq!(world.app.blobs("fr"), before, "nothing was stored");
    assert!(!log.exists(), "no second log is begun in its place");
    // The other region's log is another.
    put(&abroad.s3, "boston", "a", b"x").await;
    std::fs::rename(&away, &log).unwrap();
    until("the log to be written again", async || {
        s3.get_object().bucket("clinic").key("kept").send().await.ok().map(|_| ())
    })
    .await;
    assert_eq!(super::keys_of(s3, "clinic").await, ["kept"], "nothing of it happened later either");
    let buckets = s3.list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets().len(), 1);
}

/// With the log's folder taken away, as `work` finds the region; it is put back afterwards, so that the region can end.
async fn without_a_log<T>(world: &World, work: impl Future<Output = T>) -> T {
    settled(&world.app, "fr").await;
    let (log, away) = (world.app.audit_dir("fr"), world.app.dir("fr").join("audit.away"));
    std::fs::rename(&log, &away).unwrap();
    let found = work.await;
    std::fs::rename(&away, &log).unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_cannot_be_recorded_is_not_told() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let unknown = clinic.s3.put_object().bucket("clinic").key("a").metadata("terroir-class", "ecg");
    let asked = Box::pin(unknown.body(ByteStream::from_static(b"x")).send());
    let refused = Box::pin(without_a_log(&world, asked)).await;
    assert_eq!(refusal(refused), is(503, "ServiceUnavailable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_cannot_record_is_not_ready() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let observe = world.app.at("fr").observe.to_string();
    let ready = async || {
        let request = format!("GET /ready HTTP/1.1\r\nHost: {observe}\r\nConnection: close\r\n\r\n");
        super::exchange(&observe, request.as_bytes(), false).await.unwrap()
    };
    assert_eq!(ready().await.status, 200);
    let told = without_a_log(&world, async {
        // It is the first record that finds out.
        clinic.s3.list_buckets().send().await.unwrap_err();
        ready().await
    })
    .await;
    let text = String::from_utf8_lossy(&told.body).into_owned();
    assert!(told.status == 503 && text.contains("the audit log cannot be written"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_recorded_was_counted_as_other() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    settled(&world.app, "fr").await;
    let (log, away) = (world.app.audit_dir("fr"), world.app.dir("fr").join("audit.away"));
    std::fs::rename(&log, &away).unwrap();
    let s3 = &clinic.s3;
    assert_eq!(
        refusal(s3.list_buckets().send().await),
        is(503, "ServiceUnavailable"),
        "the record of a decision"
    );
    let odd = s3.put_object().bucket("clinic").key("a").metadata("terroir-class", "ecg");
    let odd = odd.body(ByteStream::from_static(b"x")).send().await;
    assert_eq!(refusal(odd), is(503, "ServiceUnavailable"), "the record of a refusal");
    let metrics = world.app.site("fr").metrics();
    let counted = [RefusalCode::Unrecorded, RefusalCode::Other].map(|code| metrics.refusals(code).value());
    assert_eq!(counted, [2, 0]);
    std::fs::rename(&away, &log).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_are_nowhere_in_the_log() {
    let world = World::new().await;
    let clinic = world.tenant("us", "clinic", "health").await;
    clinic.s3.create_bucket().bucket("bucket-secret-name").send().await.unwrap();
    let put = clinic.s3.put_object().bucket("bucket-secret-name").key("KEY-secret-name/é");
    let put = put.metadata("meta-secret-name", "META-secret-value").content_type("text/secret-type");
    put.body(ByteStream::from_static(b"BODY-secret")).send().await.unwrap();
    get(&clinic.s3, "bucket-secret-name", "KEY-secret-name/é").await;
    let list = clinic.s3.list_objects_v2().bucket("bucket-secret-name").prefix("KEY-secret");
    list.send().await.unwrap();
    settled(&world.app, "us").await;
    let mut text = String::new();
    for entry in std::fs::read_dir(world.app.audit_dir("us")).unwrap().flatten() {
        text += &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap());
    }
    assert!(text.contains("PutObject") && text.contains("clinic"), "the positive control");
    assert!(!text.contains("secret"), "{text}");
    assert!(!text.contains(clinic.credential.secret.expose().as_str()));
    // The same name has the same pseudonym, so that a record's readers can be found by whoever has the key.
    let lines = world.app.audit_lines("us");
    let keys: Vec<_> = lines.iter().filter_map(|line| line["key"].as_str()).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_mixed_run_verifies_and_a_changed_one_does_not() {
    let dir = tempfile::TempDir::new().unwrap();
    let app = TestApp::start(dir.path(), &Setup::default()).await;
    let clinic = app.tenant("fr", "clinic", "health").await;
    clinic.s3.create_bucket().bucket("clinic").send().await.unwrap();
    let work = (0..40).map(|number| {
        let s3 = clinic.s3.clone();
        tokio::spawn(async move {
            let key = format!("k{}", number % 7);
            put(&s3, "clinic", &key, &vec![0; number * 1000]).await;
            let _ = s3.get_object().bucket("clinic").key(&key).send().await;
            let _ = s3.delete_object().bucket("clinic").key("absent").send().await;
        })
    });
    futures_util::future::join_all(work).await.into_iter().for_each(|done| done.unwrap());
    let log = app.audit_dir("fr");
    let live = verify(&log, Some(app.site("fr").log().keys())).unwrap();
    assert!(live.is_clean() && live.authenticated, "{:?}", live.findings);
    let keys = app.site("fr").log().keys().clone();
    app.stop().await;
    let report = verify(&log, Some(&keys)).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.decisions, report.completions);
    assert!(report.decisions >= 121, "{}", report.decisions);

    let segment = log.join("00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&segment).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    let mut removed = lines.clone();
    removed.remove(10);
    let mut moved = lines.clone();
    moved.swap(10, 11);
    let changed = text.replacen("\"outcome\":\"ok\"", "\"outcome\":\"no\"", 1);
    let shorter = joined(&lines[..lines.len() - 1]);
    for (what, tampered) in
        [("removed", joined(&removed)), ("moved", joined(&moved)), ("changed", changed), ("cut", shorter)]
    {
        std::fs::write(&segment, tampered).unwrap();
        assert!(!verify(&log, Some(&keys)).unwrap().is_clean(), "{what}");
    }
    std::fs::write(&segment, &text).unwrap();
    assert!(verify(&log, Some(&keys)).unwrap().is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_and_a_writer_that_leaves_are_recorded_as_aborted() {
    use tokio::io::AsyncWriteExt;
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let signed =
        clinic.s3.put_object().bucket("clinic").key("half").presigned(super::a_minute()).await.unwrap();
    let (host, path) = signed.uri().strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    let head = format!("PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nhalf");
    socket.write_all(head.as_bytes()).await.unwrap();
    until("the decision", async || {
        world.app.audit_lines("fr").iter().any(|line| line["operation"] == "PutObject").then_some(())
    })
    .await;
    drop(socket);
    let completion = until("the completion", async || {
        let lines = world.app.audit_lines("fr");
        let decision = lines.iter().find(|line| line["operation"] == "PutObject")?["seq"].clone();
        lines.iter().find(|line| line["decision"] == decision).cloned()
    })
    .await;
    assert_ne!(completion["outcome"], "ok", "{completion}");
    assert!(super::keys_of(&clinic.s3, "clinic").await.is_empty());
}
