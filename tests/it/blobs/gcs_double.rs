//! The double's own refusals, asked without our driver: a client of raw HTTP, and gRPC's generated client.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use googleapis_tonic_google_storage_v2::google::storage::v2;
use googleapis_tonic_google_storage_v2::google::storage::v2::storage_client::StorageClient;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tonic::Code;
use tonic::transport::Channel;

use crate::gcs_double::bucket::{Bucket, Conditions, crc32c};
use crate::gcs_double::faults::{Call, Fault};
use crate::gcs_double::{Double, Place, Settings};

const BUCKET: &str = "raw";
const QUANTUM: usize = 256 * 1024;

/// HTTP as it is.
pub(crate) struct Raw {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

impl Raw {
    pub(crate) fn at(double: &Double) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), url: double.url() }
    }

    async fn ask(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Response<Bytes>> {
        let target =
            if target.starts_with("http") { target.to_owned() } else { format!("{}{target}", self.url) };
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.client.request(request.body(Full::new(body.into())).unwrap()).await.ok()?;
        let (head, body) = answer.into_parts();
        Some(Response::from_parts(head, body.collect().await.ok()?.to_bytes()))
    }

    async fn single(&self, query: &str, parts: &[&[u8]]) -> Response<Bytes> {
        let mut body = Vec::new();
        for part in parts {
            body.extend_from_slice(b"--edge\r\ncontent-type: x\r\n\r\n");
            body.extend_from_slice(part);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--edge--\r\n");
        let target = format!("/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart{query}");
        self.ask(Method::POST, &target, &[("content-type", "multipart/related; boundary=edge")], body)
            .await
            .unwrap()
    }

    /// An upload with everything that it needs.
    pub(crate) async fn upload(&self, bucket: &str, name: &str, bytes: &[u8]) {
        let body = [b"--e\r\n\r\n{}\r\n--e\r\n\r\n", bytes, b"\r\n--e--"].concat();
        let name = name.replace('/', "%2F");
        let target =
            format!("/upload/storage/v1/b/{bucket}/o?uploadType=multipart&name={name}&ifGenerationMatch=0");
        let kind = [("content-type", "multipart/related; boundary=e")];
        let answer = self.ask(Method::POST, &target, &kind, body).await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.body());
    }

    async fn session(&self, name: &str, metadata: &str) -> String {
        let target =
            format!("/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name={name}&ifGenerationMatch=0");
        let answer = self.ask(Method::POST, &target, &[], metadata.to_owned()).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    async fn piece(&self, session: &str, extent: &str, bytes: &[u8]) -> Response<Bytes> {
        let headers = [("content-range", extent)];
        self.ask(Method::PUT, session, &headers, bytes.to_vec()).await.unwrap()
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        self.ask(Method::GET, target, headers, "").await.unwrap()
    }
}

async fn started() -> (Double, Raw) {
    let double = Double::start(Settings::default()).await;
    double.put_bucket(Bucket::new(BUCKET, "US-CENTRAL1"));
    let raw = Raw::at(&double);
    (double, raw)
}

async fn control(double: &Double) -> StorageClient<Channel> {
    StorageClient::new(Channel::from_shared(double.url()).unwrap().connect().await.unwrap())
}

fn routed<M>(message: M) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    let route = format!("bucket=projects/_/buckets/{BUCKET}");
    request.metadata_mut().insert("x-goog-request-params", route.parse().unwrap());
    request
}

fn json(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

fn checksum(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(crc32c(bytes).to_be_bytes())
}

#[tokio::test]
async fn an_insert_without_a_precondition_is_refused() {
    let (double, raw) = started().await;
    let answer = raw.single("&name=a", &[b"{}", b"x"]).await;
    assert_eq!(answer.status(), 400);
    let target = format!("/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=a");
    assert_eq!(raw.ask(Method::POST, &target, &[], "{}").await.unwrap().status(), 400);
    assert!(double.bucket(BUCKET).names().is_empty());

    let lenient = Double::start(Settings { demand_precondition: false, ..Settings::default() }).await;
    lenient.put_bucket(Bucket::new(BUCKET, "US-CENTRAL1"));
    let answer = Raw::at(&lenient).single("&name=a", &[b"{}", b"x"]).await;
    assert_eq!(answer.status(), 200, "the setting is what refuses");
}

#[tokio::test]
async fn a_wrong_generation_is_refused_everywhere() {
    let (double, raw) = started().await;
    let stored = json(&raw.single("&name=a&ifGenerationMatch=0", &[b"{}", b"one"]).await);
    let generation: i64 = stored["generation"].as_str().unwrap().parse().unwrap();
    for query in [
        "&name=a&ifGenerationMatch=0".to_owned(),
        format!("&name=a&ifGenerationMatch={}", generation + 1),
        format!("&name=a&ifGenerationNotMatch={generation}"),
        "&name=b&ifGenerationMatch=7".to_owned(),
        "&name=b&ifGenerationNotMatch=0".to_owned(),
        "&name=a&ifMetagenerationMatch=2".to_owned(),
    ] {
        assert_eq!(raw.single(&query, &[b"{}", b"two"]).await.status(), 412, "{query}");
    }
    assert_eq!(raw.single("&name=a&ifGenerationMatch=x", &[b"{}", b"two"]).await.status(), 400);
    let object = format!("/storage/v1/b/{BUCKET}/o/a?alt=media");
    assert_eq!(raw.get(&object, &[]).await.body(), "one");
    assert_eq!(raw.get(&format!("{object}&generation={}", generation + 1), &[]).await.status(), 404);
    assert_eq!(raw.get(&format!("{object}&ifGenerationMatch=1"), &[]).await.status(), 412);

    let mut control = control(&double).await;
    let delete = |generation: i64, matching: Option<i64>| {
        routed(v2::DeleteObjectRequest {
            bucket: format!("projects/_/buckets/{BUCKET}"),
            object: "a".into(),
            generation,
            if_generation_match: matching,
            ..Default::default()
        })
    };
    let code = control.delete_object(delete(generation + 1, None)).await.unwrap_err().code();
    assert_eq!(code, Code::NotFound);
    let code = control.delete_object(delete(0, Some(generation + 1))).await.unwrap_err().code();
    assert_eq!(code, Code::FailedPrecondition);
    control.delete_object(delete(0, Some(generation))).await.unwrap();
    assert_eq!(control.delete_object(delete(0, None)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_checksum_that_does_not_match_is_refused_in_every_place_it_can_stand() {
    let (double, raw) = started().await;
    let (good, bad) = (checksum(b"bytes"), checksum(b"bytez"));
    let upload = async |name: &str, parts: &[&[u8]]| {
        raw.single(&format!("&name={name}&ifGenerationMatch=0"), parts).await.status().as_u16()
    };
    let crc = |text: &str| format!(r#"{{"crc32c":"{text}"}}"#).into_bytes();
    assert_eq!(upload("a", &[&crc(&bad), b"bytes"]).await, 400);
    assert_eq!(upload("a", &[b"{}", b"bytes", &crc(&bad)]).await, 400, "the third part");
    assert_eq!(upload("a", &[&crc(&good), b"bytes", &crc(&good)]).await, 400, "two of them");
    assert_eq!(upload("a", &[&crc("AAA="), b"bytes"]).await, 400, "three bytes long");
    assert_eq!(upload("a", &[b"{}", b"bytes", b"not json"]).await, 400);
    assert!(double.bucket(BUCKET).names().is_empty());
    assert_eq!(upload("a", &[&crc(&good), b"bytes"]).await, 200);
    assert_eq!(upload("b", &[b"{}", b"bytes", &crc(&good)]).await, 200);

    let session = raw.session("c", "{}").await;
    let headers = [("content-range", "bytes 0-4/5"), ("x-goog-hash", &format!("crc32c={bad}"))];
    assert_eq!(raw.ask(Method::PUT, &session, &headers, "bytes").await.unwrap().status(), 400);
    let session = raw.session("c", std::str::from_utf8(&crc(&bad)).unwrap()).await;
    assert_eq!(raw.piece(&session, "bytes 0-4/5", b"bytes").await.status(), 400);
    assert_eq!(double.bucket(BUCKET).names(), ["a", "b"]);
}

#[tokio::test]
async fn a_body_that_is_not_two_or_three_parts_is_refused() {
    let (double, raw) = started().await;
    let bodies: [&[&[u8]]; 5] = [&[], &[b"{}"], &[b"{}", b"x", b"{}", b"x"], &[b"[]", b"x"], &[b"", b"x"]];
    for parts in bodies {
        assert_eq!(raw.single("&name=a&ifGenerationMatch=0", parts).await.status(), 400, "{parts:?}");
    }
    let target = format!("/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart&name=a&ifGenerationMatch=0");
    let kind = [("content-type", "multipart/related; boundary=e")];
    let cut = "--e\r\n\r\n{}\r\n--e\r\n\r\nbytes without an end";
    for (kind, body) in [(&kind[..], cut), (&kind[..], ""), (&[], "--e\r\n\r\n{}\r\n--e\r\n\r\nx\r\n--e--")] {
        assert_eq!(raw.ask(Method::POST, &target, kind, body).await.unwrap().status(), 400, "{body}");
    }
    for query in
        ["", "&name=a&ifGenerationMatch=0&predefinedAcl=publicRead", "&name=a&name=b&ifGenerationMatch=0"]
    {
        assert_eq!(raw.single(query, &[b"{}", b"x"]).await.status(), 400, "{query}");
    }
    assert!(double.bucket(BUCKET).names().is_empty());
}

#[tokio::test]
async fn an_upload_in_pieces_that_is_cut_off_or_leaves_a_hole_is_refused() {
    let (double, raw) = started().await;
    let bytes: Vec<u8> = (0..QUANTUM + 100).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let total = bytes.len();
    let session = raw.session("a", "{}").await;
    let status =
        async |extent: &str, bytes: &[u8]| raw.piece(&session, extent, bytes).await.status().as_u16();
    // Shorter and longer than it says, no multiple of the quantum, past the total, not a range.
    assert_eq!(status(&format!("bytes 0-{}/{total}", total - 1), &bytes[..total - 1]).await, 400);
    assert_eq!(status("bytes 0-9/*", &bytes[..11]).await, 400);
    assert_eq!(status("bytes 0-9/*", &bytes[..10]).await, 400);
    assert_eq!(status("bytes 0-9/5", &bytes[..10]).await, 400);
    assert_eq!(status("bytes 9-0/10", b"").await, 400);
    assert_eq!(status("octets 0-9/10", &bytes[..10]).await, 400);
    assert_eq!(
        status(&format!("bytes {QUANTUM}-{}/{total}", total - 1), &bytes[QUANTUM..]).await,
        400,
        "a hole"
    );

    let answer = raw.piece(&session, "bytes */*", b"").await;
    assert_eq!((answer.status().as_u16(), answer.headers().get("range")), (308, None), "nothing is kept yet");
    let answer = raw.piece(&session, &format!("bytes 0-{}/*", QUANTUM - 1), &bytes[..QUANTUM]).await;
    assert_eq!(answer.status(), 308);
    assert_eq!(answer.headers()["range"], format!("bytes=0-{}", QUANTUM - 1));
    assert!(double.bucket(BUCKET).names().is_empty(), "nothing is visible before the last piece");
    let last = format!("bytes {QUANTUM}-{}/{total}", total - 1);
    assert_eq!(status(&last, &bytes[QUANTUM..]).await, 200);
    // The answer may have been lost: asked again, it is the same object.
    assert_eq!(status("bytes */*", b"").await, 200);
    let read = raw.get(&format!("/storage/v1/b/{BUCKET}/o/a?alt=media"), &[]).await;
    assert_eq!(read.body()[..], bytes[..]);

    let missing = session.replace("session-", "session-9");
    assert_eq!(raw.piece(&missing, "bytes */*", b"").await.status(), 404);
    // The precondition holds when the last piece comes, not when the first question was asked.
    let late = raw.session("b", "{}").await;
    raw.upload(BUCKET, "b", b"first").await;
    assert_eq!(raw.piece(&late, "bytes 0-4/5", b"later").await.status(), 412);
}

#[tokio::test]
async fn unknown_buckets_objects_and_methods_are_told_apart() {
    let (double, raw) = started().await;
    assert_eq!(raw.get("/storage/v1/b/none/o/a?alt=media", &[]).await.status(), 404);
    assert_eq!(raw.get("/storage/v1/b/none", &[]).await.status(), 404);
    assert_eq!(raw.get(&format!("/storage/v1/b/{BUCKET}/o/a?alt=media"), &[]).await.status(), 404);
    assert_eq!(
        raw.get(&format!("/storage/v1/b/{BUCKET}/o/a/b?alt=media"), &[]).await.status(),
        404,
        "a raw slash"
    );
    let mut control = control(&double).await;
    let bucket = |name: &str| v2::GetBucketRequest { name: name.into(), ..Default::default() };
    let code = async |control: &mut StorageClient<Channel>, request| {
        control.get_bucket(request).await.unwrap_err().code()
    };
    assert_eq!(code(&mut control, routed(bucket("projects/_/buckets/none"))).await, Code::NotFound);
    assert_eq!(code(&mut control, routed(bucket(BUCKET))).await, Code::InvalidArgument, "no project");
    let unrouted = tonic::Request::new(bucket(&format!("projects/_/buckets/{BUCKET}")));
    assert_eq!(code(&mut control, unrouted).await, Code::InvalidArgument);
    let rewrite = routed(v2::RewriteObjectRequest::default());
    assert_eq!(control.rewrite_object(rewrite).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn ranges_are_what_rfc_9110_says() {
    let (_double, raw) = started().await;
    raw.upload(BUCKET, "a", b"0123456789").await;
    let object = format!("/storage/v1/b/{BUCKET}/o/a?alt=media");
    for (range, status, body) in [
        ("bytes=0-3", 206, "0123"),
        ("bytes=4-", 206, "456789"),
        ("bytes=8-99", 206, "89"),
        ("bytes=-3", 206, "789"),
        ("bytes=10-", 416, ""),
        ("bytes=-0", 416, ""),
        ("bytes=5-2", 400, ""),
        ("bytes=x-2", 400, ""),
        ("bits=0-3", 400, ""),
    ] {
        let answer = raw.get(&object, &[("range", range)]).await;
        assert_eq!(answer.status(), status, "{range}");
        if status == 206 {
            assert_eq!(answer.body(), body, "{range}");
            assert_eq!(answer.headers()["x-goog-hash"], format!("crc32c={}", checksum(b"0123456789")));
            assert!(answer.headers()["content-range"].to_str().unwrap().ends_with("/10"));
        }
    }
}

#[tokio::test]
async fn what_was_deleted_is_kept_listed_apart_and_can_be_restored() {
    let (double, raw) = started().await;
    raw.upload(BUCKET, "a", b"first").await;
    let mut control = control(&double).await;
    let parent = format!("projects/_/buckets/{BUCKET}");
    let list = |soft_deleted| {
        routed(v2::ListObjectsRequest { parent: parent.clone(), soft_deleted, ..Default::default() })
    };
    let generation = control.list_objects(list(false)).await.unwrap().into_inner().objects[0].generation;
    let delete = v2::DeleteObjectRequest { bucket: parent.clone(), object: "a".into(), ..Default::default() };
    control.delete_object(routed(delete)).await.unwrap();
    assert!(control.list_objects(list(false)).await.unwrap().into_inner().objects.is_empty());
    let kept = control.list_objects(list(true)).await.unwrap().into_inner().objects;
    assert_eq!((kept.len(), kept[0].generation), (1, generation));
    let target = format!("/storage/v1/b/{BUCKET}/o?softDeleted=true");
    assert_eq!(json(&raw.get(&target, &[]).await)["items"][0]["name"], "a");

    let restore = |generation, matching| {
        routed(v2::RestoreObjectRequest {
            bucket: parent.clone(),
            object: "a".into(),
            generation,
            if_generation_match: matching,
            ..Default::default()
        })
    };
    assert_eq!(control.restore_object(restore(1, None)).await.unwrap_err().code(), Code::NotFound);
    raw.upload(BUCKET, "a", b"second").await;
    let code = control.restore_object(restore(generation, Some(0))).await.unwrap_err().code();
    assert_eq!(code, Code::FailedPrecondition);
    let restored = control.restore_object(restore(generation, None)).await.unwrap().into_inner();
    assert!(restored.generation > generation);
    assert_eq!(raw.get(&format!("/storage/v1/b/{BUCKET}/o/a?alt=media"), &[]).await.body(), "first");

    let bucket = json(&raw.get(&format!("/storage/v1/b/{BUCKET}"), &[]).await);
    assert_eq!(bucket["softDeletePolicy"]["retentionDurationSeconds"], "604800");
    assert_eq!(
        (&bucket["location"], &bucket["versioning"]["enabled"]),
        (&"US-CENTRAL1".into(), &false.into())
    );
}

#[tokio::test]
async fn with_versioning_old_generations_stay_readable_by_number() {
    let (double, raw) = started().await;
    let mut bucket = Bucket::new(BUCKET, "US-CENTRAL1");
    bucket.versioning = true;
    double.put_bucket(bucket);
    raw.upload(BUCKET, "a", b"first").await;
    let object = format!("/storage/v1/b/{BUCKET}/o/a");
    let generation = json(&raw.get(&object, &[]).await)["generation"].as_str().unwrap().to_owned();
    assert_eq!(raw.ask(Method::DELETE, &object, &[], "").await.unwrap().status(), 204);
    assert_eq!(raw.get(&object, &[]).await.status(), 404);
    let old = format!("{object}?alt=media&generation={generation}");
    assert_eq!(raw.get(&old, &[]).await.body(), "first");
    let listed = json(&raw.get(&format!("/storage/v1/b/{BUCKET}/o?versions=true"), &[]).await);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_listing_comes_in_pages_that_join_and_refuses_tokens_that_are_not_its_own() {
    let (double, raw) = started().await;
    for name in ["a/1", "a/2", "a/3", "b/1", "c"] {
        raw.upload(BUCKET, name, b"x").await;
    }
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let target =
            format!("/storage/v1/b/{BUCKET}/o?prefix=&startOffset=a%2F2&endOffset=c&maxResults=1{token}");
        let page = json(&raw.get(&target, &[]).await);
        names.extend(
            page["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["nextPageToken"].as_str() else { break };
        token = format!("&pageToken={}", next.replace(' ', "%20"));
    }
    assert_eq!(names, ["a/2", "a/3", "b/1"]);
    let target = format!("/storage/v1/b/{BUCKET}/o?pageToken=made-up");
    assert_eq!(raw.get(&target, &[]).await.status(), 400);
    let target = format!("/storage/v1/b/{BUCKET}/o?versions=true&softDeleted=true");
    assert_eq!(raw.get(&target, &[]).await.status(), 400);
    let mut control = control(&double).await;
    let negative = v2::ListObjectsRequest {
        parent: format!("projects/_/buckets/{BUCKET}"),
        page_size: -1,
        ..Default::default()
    };
    assert_eq!(control.list_objects(routed(negative)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_request_without_a_token_is_refused_where_one_is_demanded() {
    let double = Double::start(Settings { demand_token: true, ..Settings::default() }).await;
    double.put_bucket(Bucket::new(BUCKET, "US-CENTRAL1"));
    let raw = Raw::at(&double);
    let target = format!("/storage/v1/b/{BUCKET}");
    for headers in [
        &[][..],
        &[("authorization", "Bearer made-up")],
        &[("authorization", "Bearer e30.e30.AAAA")],
        &[("authorization", "Basic dG9rZW4=")],
    ] {
        assert_eq!(raw.get(&target, headers).await.status(), 401, "{headers:?}");
    }
    let tokens = "/computeMetadata/v1/instance/service-accounts/default/token";
    assert_eq!(raw.get(tokens, &[]).await.status(), 400, "no Metadata-Flavor");
    let token = json(&raw.get(tokens, &[("metadata-flavor", "Google")]).await)["access_token"].clone();
    let bearer = format!("Bearer {}", token.as_str().unwrap());
    assert_eq!(raw.get(&target, &[("authorization", &bearer)]).await.status(), 200);
    assert_eq!(raw.ask(Method::POST, "/v1/token", &[], "subject_token=x").await.unwrap().status(), 400);
}

#[tokio::test]
async fn faults_happen_as_often_as_they_are_set_and_the_same_with_the_same_seed() {
    let (double, raw) = started().await;
    raw.upload(BUCKET, "a", b"0123456789").await;
    let object = format!("/storage/v1/b/{BUCKET}/o/a?alt=media");
    double.fault(Call::Download, Fault::Refuse { status: 503 }, Some(2));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(raw.get(&object, &[]).await.status().as_u16());
    }
    assert_eq!((statuses, double.injected()), (vec![503, 503, 200], 2));
    double.fault(Call::Download, Fault::BreakOff { after_bytes: 4 }, Some(1));
    assert!(raw.ask(Method::GET, &object, &[], "").await.is_none(), "the body breaks off");
    double.fault(Call::Download, Fault::Flip { at_byte: 0 }, Some(1));
    assert_eq!(raw.get(&object, &[]).await.body(), "1123456789");

    let run = async |seed| {
        let double = Double::start(Settings { seed, ..Settings::default() }).await;
        double.put_bucket(Bucket::new(BUCKET, "US-CENTRAL1"));
        let raw = Raw::at(&double);
        double.fault_rate(Call::Other, Fault::Refuse { status: 429 }, 300);
        double.fault_rate(Call::Download, Fault::Refuse { status: 429 }, 300);
        let mut statuses = Vec::new();
        for _ in 0..60 {
            statuses.push(raw.get(&format!("/storage/v1/b/{BUCKET}"), &[]).await.status().as_u16());
        }
        statuses
    };
    let (first, again, other) = (run(7).await, run(7).await, run(8).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!((5..40).contains(&first.iter().filter(|status| **status == 429).count()));
}

#[tokio::test]
async fn a_harness_that_is_not_rust_commands_it_over_http() {
    let double = Double::start(Settings::default()).await;
    let raw = Raw::at(&double);
    let command = async |method: Method, target: &str| {
        let answer = raw.ask(method, &format!("/_double/{target}"), &[], "").await.unwrap();
        (answer.status().as_u16(), json(&answer))
    };
    let made =
        command(Method::PUT, "bucket?name=raw&location=US-CENTRAL1&versioning=false&soft-delete-s=60").await;
    assert_eq!(made.0, 200);
    raw.upload(BUCKET, "a", b"0123456789").await;
    assert_eq!(command(Method::POST, "fault?on=download&what=refuse&value=503&times=1").await.0, 200);
    let object = format!("/storage/v1/b/{BUCKET}/o/a?alt=media");
    assert_eq!(raw.get(&object, &[]).await.status(), 503);
    assert_eq!(raw.get(&object, &[]).await.status(), 200);
    assert_eq!(command(Method::POST, "fault?on=download&what=flip&value=0&per-mille=1000").await.0, 200);
    assert_eq!(raw.get(&object, &[]).await.body(), "1123456789");
    assert_eq!(command(Method::POST, "heal").await.0, 200);
    assert_eq!(raw.get(&object, &[]).await.body(), "0123456789");
    let (_, state) = command(Method::GET, "state").await;
    assert_eq!((&state["buckets"][0]["names"][0], &state["injected"]), (&"a".into(), &2.into()));
    assert_eq!((&state["requests"]["download"], &state["requests"]["upload"]), (&4.into(), &1.into()));
    assert_eq!(command(Method::GET, "seen?marker=0123456789").await.1["hits"], 1);
    for bad in
        ["fault?on=nothing&what=reset", "fault?on=upload&what=magic", "fault?on=upload&what=refuse", "x"]
    {
        assert!(command(Method::POST, bad).await.0 >= 400, "{bad}");
    }
}

#[tokio::test]
async fn a_double_with_a_folder_has_after_a_restart_what_it_acknowledged_and_nothing_that_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let place = Place { folder: Some(folder.path().to_owned()), ..Place::on_port(0) };
        Double::start_in(Settings::default(), place).await
    };
    let double = start().await;
    let raw = Raw::at(&double);
    let made =
        raw.ask(Method::PUT, "/_double/bucket?name=raw&location=US-CENTRAL1&soft-delete-s=7", &[], "").await;
    assert_eq!(made.unwrap().status(), 200);
    for name in ["blobs/a", "blobs/b", "c"] {
        raw.upload(BUCKET, name, name.as_bytes()).await;
    }
    let gone = raw.ask(Method::DELETE, "/storage/v1/b/raw/o/blobs%2Fb", &[], "").await;
    assert_eq!(gone.unwrap().status(), 204);
    let before = double.bucket(BUCKET);
    drop(double);

    let double = start().await;
    let after = double.bucket(BUCKET);
    assert_eq!(after.names(), ["blobs/a", "c"]);
    assert_eq!((after.location, after.soft_delete_s, after.versioning), ("US-CENTRAL1".to_owned(), 7, false));
    let found = |bucket: &Bucket| bucket.find("c", 0, Conditions::default()).unwrap().clone();
    assert_eq!(found(&double.bucket(BUCKET)), found(&before), "bytes, checksum and generation");
    let raw = Raw::at(&double);
    raw.upload(BUCKET, "d", b"d").await;
    let later = double.bucket(BUCKET).find("d", 0, Conditions::default()).unwrap().generation;
    assert!(later > found(&before).generation);
    // What is made again is empty.
    raw.ask(Method::PUT, "/_double/bucket?name=raw&location=US-CENTRAL1", &[], "").await.unwrap();
    drop(double);
    assert!(start().await.bucket(BUCKET).names().is_empty());
}

#[tokio::test]
async fn a_bit_that_is_flipped_on_its_way_here_is_refused_by_its_checksum() {
    let double = Double::start(Settings::default()).await;
    double.put_bucket(Bucket::new(BUCKET, "US-CENTRAL1"));
    let raw = Raw::at(&double);
    double.fault(Call::Upload, Fault::Flip { at_byte: 1_000 }, Some(1));
    let metadata = format!(r#"{{"crc32c":"{}"}}"#, BASE64_STANDARD.encode(crc32c(b"abc").to_be_bytes()));
    let query = "&name=n&ifGenerationMatch=0";
    assert_eq!(raw.single(query, &[metadata.as_bytes(), b"abc"]).await.status(), 400);
    assert!(double.bucket(BUCKET).names().is_empty());
    assert_eq!(raw.single(query, &[metadata.as_bytes(), b"abc"]).await.status(), 200);
}

#[tokio::test]
async fn a_look_aside_is_not_noted_and_meets_no_fault() {
    let settings = Settings { demand_token: true, ..Settings::default() };
    let double = Double::start(settings).await;
    double.put_bucket(Bucket::new(BUCKET, "US-CENTRAL1"));
    let raw = Raw::at(&double);
    double.fault(Call::Download, Fault::Refuse { status: 503 }, Some(1));
    let list = async |headers: &[(&str, &str)]| {
        raw.ask(Method::GET, "/storage/v1/b/raw/o", headers, "").await.unwrap().status()
    };
    assert_eq!(list(&[("x-double-aside", "1")]).await, 200);
    assert!(double.seen().is_empty());
    assert_eq!(list(&[]).await, 503);
    assert_eq!(list(&[]).await, 401);
    let seen = double.seen();
    assert_eq!(seen.iter().map(|it| it.fault).collect::<Vec<_>>(), [Some("refuse"), None]);
}
