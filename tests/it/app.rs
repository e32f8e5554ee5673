//! The assembled product in this process, through its real listeners, with a real S3 client.
//!
//! [`World`] is a temporary folder with an application in it. What a test asks by SDK goes through [`TestTenant::s3`]; where
//! the answer's head or its end matters, [`fetch`] speaks HTTP over a plain socket.

mod ambiguous;
mod audit;
mod command_line;
mod corruption;
mod costs;
mod credentials;
mod journeys;
mod memory;
mod model;
mod multipart;
mod placement;
mod real_stores;
mod replicas;
mod residency;
mod rotation;
mod scrub;
mod shares;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tempfile::TempDir;
use terroir::testing::{Setup, TestApp, TestTenant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The classes of the shipped register, mildest first.
const CLASSES: [&str; 4] = ["operational", "personal", "health", "health-sensitive"];

/// How long a condition that must come may take on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_mins(1);

/// An application in a folder of its own.
struct World {
    app: TestApp,
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        Self::of(&Setup::default()).await
    }

    async fn of(setup: &Setup) -> Self {
        let dir = TempDir::new().unwrap();
        Self { app: TestApp::start(dir.path(), setup).await, dir }
    }

    /// A tenant of `region` with a bucket of its own, which has the tenant's name.
    async fn tenant(&self, region: &str, id: &str, class: &str) -> TestTenant {
        let tenant = self.app.tenant(region, id, class).await;
        tenant.s3.create_bucket().bucket(id).send().await.unwrap();
        tenant
    }
}

/// Bytes that follow from `seed` and compress to nothing (`SplitMix64`).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Numbers from a seed, so that a failure is repeated by it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

async fn put(s3: &Client, bucket: &str, key: &str, body: &[u8]) -> String {
    let put = s3.put_object().bucket(bucket).key(key).body(body.to_vec().into()).send().await.unwrap();
    put.e_tag.unwrap()
}

async fn get(s3: &Client, bucket: &str, key: &str) -> Vec<u8> {
    let got = s3.get_object().bucket(bucket).key(key).send().await.unwrap();
    got.body.collect().await.unwrap().to_vec()
}

async fn keys_of(s3: &Client, bucket: &str) -> Vec<String> {
    let page = s3.list_objects_v2().bucket(bucket).send().await.unwrap();
    page.contents().iter().map(|entry| entry.key().unwrap().to_owned()).collect()
}

/// HTTP status and S3 code of a refused request.
fn refusal<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    answer: Result<T, SdkError<E, HttpResponse>>,
) -> (u16, String) {
    let error = answer.unwrap_err();
    let status = error.raw_response().unwrap_or_else(|| panic!("no answer: {error:?}")).status().as_u16();
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    (status, code.to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// An answer as it came over the socket.
#[derive(Debug)]
struct Fetched {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    /// Whether the body ended as its head announced.
    whole: bool,
}

/// Sends a presigned request, whatever its method.
async fn fetch(request: &aws_sdk_s3::presigning::PresignedRequest, body: &[u8]) -> Option<Fetched> {
    let rest = request.uri().strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut head = format!("{} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", request.method());
    for (name, value) in request.headers() {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if request.method() == "PUT" && !head.to_lowercase().contains("content-length") {
        write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    exchange(host, &[head.as_bytes(), b"\r\n", body].concat(), request.method() == "HEAD").await
}

/// Sends `request`, reads to the end of the connection; `None` if no head came.
async fn exchange(host: &str, request: &[u8], is_head: bool) -> Option<Fetched> {
    let mut socket = TcpStream::connect(host).await.unwrap();
    let _ = socket.write_all(request).await;
    let mut answer = Vec::new();
    // A reset keeps what came before it.
    let ended = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("an end");
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let body = answer[split + 4..].to_vec();
    let announced = headers.get("content-length").map(|length| length.parse::<usize>().unwrap());
    let whole = ended.is_ok() && (is_head || announced.is_none_or(|length| length == body.len()));
    Some(Fetched { status, headers, body, whole })
}

fn a_minute() -> PresigningConfig {
    PresigningConfig::expires_in(Duration::from_mins(1)).unwrap()
}

/// A GET over a plain socket.
async fn fetch_object(s3: &Client, bucket: &str, key: &str) -> Option<Fetched> {
    let signed = s3.get_object().bucket(bucket).key(key).presigned(a_minute()).await.unwrap();
    fetch(&signed, b"").await
}

/// Waits until `look` finds something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
