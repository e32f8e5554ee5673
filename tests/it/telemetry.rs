//! Traces and metrics as a region's collector gets them: whole, its own region's alone, and with nobody's record in them.

mod faults;
mod markers;
mod numbers;
mod receiver;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use tempfile::TempDir;
use terroir::settings::{Limits, Telemetry};
use terroir::testing::{Setup, TestApp, TestTenant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::certificate::{Certificate, Subject};
use receiver::{Mode, Receiver, plain};

/// How long a condition that must come may take on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Every request traced, and sent at once.
fn eager() -> Limits {
    Limits {
        telemetry_traced_per_million: 1_000_000,
        telemetry_interval_ms: 20,
        telemetry_metrics_interval_ms: 50,
        telemetry_timeout_ms: 1_000,
        ..Limits::default()
    }
}

fn sending(collectors: &[(&str, String)]) -> Setup {
    let collectors = collectors.iter().map(|(region, url)| (region.parse().unwrap(), url.clone()));
    Setup { limits: eager(), collectors: collectors.collect(), ..Setup::default() }
}

/// Both regions, each with a collector of its own.
struct Both {
    app: TestApp,
    fr: Receiver,
    us: Receiver,
    _dir: TempDir,
}

impl Both {
    async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let (fr, us) = (Receiver::start(Mode::Take).await, Receiver::start(Mode::Take).await);
        let mut setup = sending(&[("fr", fr.url()), ("us", us.url())]);
        change(&mut setup);
        let dir = TempDir::new().unwrap();
        Self { app: TestApp::start(dir.path(), &setup).await, fr, us, _dir: dir }
    }
}

async fn tenant(app: &TestApp, region: &str, id: &str) -> TestTenant {
    let tenant = app.tenant(region, id, "health").await;
    tenant.s3.create_bucket().bucket(id).send().await.unwrap();
    tenant
}

async fn put(tenant: &TestTenant, bucket: &str, key: &str, body: &[u8]) {
    tenant.s3.put_object().bucket(bucket).key(key).body(body.to_vec().into()).send().await.unwrap();
}

async fn get(tenant: &TestTenant, bucket: &str, key: &str) -> Vec<u8> {
    let got = tenant.s3.get_object().bucket(bucket).key(key).send().await.unwrap();
    got.body.collect().await.unwrap().to_vec()
}

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends bytes, reads to the end; empty if nothing came.
async fn exchange(url: &str, request: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let _ = socket.write_all(request).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("an end");
    answer
}

/// The root of this name and the spans of its trace, once they have all come.
async fn trace(receiver: &Receiver, name: &str) -> (Span, Vec<Span>) {
    until(name, || {
        receiver.got(|got| {
            let root = got.spans.iter().find(|(_, span)| span.name == name)?.1.clone();
            let all = got.spans.iter().filter(|(_, span)| span.trace_id == root.trace_id);
            let all: Vec<Span> = all.map(|(_, span)| span.clone()).collect();
            Some((root, all))
        })
    })
    .await
}

fn parent_of<'a>(span: &Span, all: &'a [Span]) -> Option<&'a str> {
    all.iter().find(|other| other.span_id == span.parent_span_id).map(|parent| parent.name.as_str())
}

fn sound(receiver: &Receiver) {
    receiver.got(|got| assert!(got.complaints.is_empty(), "{:#?}", got.complaints));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_with_its_stages_under_it() {
    let world = Both::with(|_| {}).await;
    let clinic = tenant(&world.app, "fr", "clinic").await;
    put(&clinic, "clinic", "ecg", &vec![7; 70_000]).await;
    assert_eq!(get(&clinic, "clinic", "ecg").await.len(), 70_000);

    let (root, all) = trace(&world.fr, "PutObject").await;
    let tree: BTreeSet<_> = all.iter().map(|span| (span.name.as_str(), parent_of(span, &all))).collect();
    for (name, parent) in [
        ("PutObject", None),
        ("redirect", Some("PutObject")),
        ("decode", Some("PutObject")),
        ("identify", Some("PutObject")),
        ("place", Some("PutObject")),
        ("index.read", Some("place")),
        ("record", Some("PutObject")),
        ("keys", Some("PutObject")),
        ("kms.wrap", Some("keys")),
        ("seal", Some("PutObject")),
        ("store.put", Some("PutObject")),
        ("index.write", Some("PutObject")),
    ] {
        // A ring that makes its first key does so on a task of its own, whose calls belong to nobody.
        assert!(name == "kms.wrap" || tree.contains(&(name, parent)), "{name} under {parent:?}: {tree:?}");
    }
    for span in all.iter().filter(|span| span.span_id != root.span_id) {
        assert!(parent_of(span, &all).is_some(), "an orphan: {span:?}");
        assert!(span.start_time_unix_nano >= root.start_time_unix_nano, "{span:?}");
    }
    let told = plain(&root.attributes);
    let expected = [
        ("http.request.method", "PUT"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("terroir.operation", "PutObject"),
        ("terroir.status_class", "2xx"),
        ("terroir.class", "health"),
        ("terroir.outcome", "ok"),
        ("terroir.response.size", "0"),
    ];
    for (key, value) in expected {
        assert_eq!(told.get(key).map(String::as_str), Some(value), "{told:?}");
    }
    assert_eq!(told["terroir.request.id"].len(), 16, "{told:?}");

    let (_, all) = trace(&world.fr, "GetObject").await;
    let tree: BTreeSet<_> = all.iter().map(|span| (span.name.as_str(), parent_of(span, &all))).collect();
    for edge in [("index.read", Some("GetObject")), ("open", Some("GetObject")), ("store.get", Some("open"))]
    {
        assert!(tree.contains(&edge), "{edge:?}: {tree:?}");
    }
    sound(&world.fr);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_regions_spans_and_metrics_go_to_its_own_collector_and_to_no_other() {
    let world = Both::with(|_| {}).await;
    let (clinic, hospital) =
        (tenant(&world.app, "fr", "clinic").await, tenant(&world.app, "us", "hospital").await);
    for turn in 0..5 {
        let key = format!("k{turn}");
        tokio::join!(put(&clinic, "clinic", &key, b"french"), put(&hospital, "hospital", &key, b"american"));
    }
    // A French tenant at the American door: told off there, and told of there without a word about the tenant.
    let astray = world.app.client("us", &clinic.credential);
    assert!(astray.get_object().bucket("clinic").key("k0").send().await.is_err());
    for (receiver, region) in [(&world.fr, "fr"), (&world.us, "us")] {
        until("metrics", || receiver.got(|got| (!got.metrics.is_empty()).then_some(()))).await;
        until("spans", || receiver.got(|got| (got.spans.len() >= 40).then_some(()))).await;
        sound(receiver);
        receiver.got(|got| {
            let regions: BTreeSet<_> =
                got.spans.iter().map(|(resource, _)| resource["terroir.region"].as_str()).collect();
            assert_eq!(regions, BTreeSet::from([region]));
            assert_eq!(got.metric_resources.len(), 1);
            let resource = got.metric_resources.first().unwrap();
            assert_eq!(resource, &got.spans[0].0, "one identity for both signals");
            assert_eq!(resource["terroir.region"], region);
            assert_eq!(
                (resource["service.name"].as_str(), resource["terroir.environment"].as_str()),
                ("terroir", "tests")
            );
            assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
            assert_eq!(resource["service.instance.id"].len(), 32);
        });
    }
    let instance = |receiver: &Receiver| receiver.got(|got| got.spans[0].0["service.instance.id"].clone());
    assert_ne!(instance(&world.fr), instance(&world.us), "nothing joins the two regions of a process");
    let traces = |receiver: &Receiver| -> BTreeSet<Vec<u8>> {
        receiver.got(|got| got.spans.iter().map(|(_, span)| span.trace_id.clone()).collect())
    };
    assert!(traces(&world.fr).is_disjoint(&traces(&world.us)));

    let redirected = until("the redirect", || {
        world.us.got(|got| {
            let is = |span: &Span| {
                plain(&span.attributes).get("http.response.status_code").is_some_and(|s| s == "301")
            };
            got.spans.iter().find(|(_, span)| is(span)).map(|(_, span)| span.clone())
        })
    })
    .await;
    assert_eq!(redirected.name, "other", "what was asked is not looked at");
    assert_eq!(plain(&redirected.attributes)["terroir.outcome"], "redirected");
    let key_id = clinic.credential.key_id.as_str().to_owned();
    world.us.got(|got| {
        for name in ["clinic", key_id.as_str()] {
            assert!(!contains(&got.raw, name.as_bytes()), "{name} at the other region's collector");
        }
    });
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_nothing_is_sent_and_without_sampling_no_span() {
    let world = Both::with(|setup| {
        setup.collectors.remove(&"us".parse().unwrap());
        setup.limits.telemetry_traced_per_million = 0;
    })
    .await;
    for region in ["fr", "us"] {
        let somebody = tenant(&world.app, region, &format!("somebody-{region}")).await;
        put(&somebody, &format!("somebody-{region}"), "k", b"x").await;
    }
    until("metrics", || world.fr.got(|got| (!got.metrics.is_empty()).then_some(()))).await;
    world.app.stop().await;
    assert_eq!(world.us.got(|got| got.requests), 0);
    assert_eq!(world.fr.got(|got| got.spans.len()), 0);
    sound(&world.fr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_requests_is_traced_and_a_trace_is_whole_or_absent() {
    let world = Both::with(|setup| setup.limits.telemetry_traced_per_million = 300_000).await;
    let clinic = tenant(&world.app, "fr", "clinic").await;
    for _ in 0..100 {
        let _ = clinic.s3.head_object().bucket("clinic").key("absent").send().await;
    }
    world.app.stop().await;
    world.fr.got(|got| {
        let roots = got.spans.iter().filter(|(_, span)| span.name == "HeadObject").count();
        // 100 draws of 0.3: outside of these once in 10^8 runs or so.
        assert!((5..=60).contains(&roots), "{roots}");
        let all: Vec<Span> = got.spans.iter().map(|(_, span)| span.clone()).collect();
        assert!(all.iter().all(|span| span.parent_span_id.is_empty() || parent_of(span, &all).is_some()));
    });
    sound(&world.fr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_when_the_process_ends_is_still_sent() {
    let world = Both::with(|setup| {
        setup.limits.telemetry_interval_ms = 60_000;
        setup.limits.telemetry_metrics_interval_ms = 300_000;
    })
    .await;
    let clinic = tenant(&world.app, "fr", "clinic").await;
    put(&clinic, "clinic", "last", b"words").await;
    assert_eq!(world.fr.got(|got| got.requests), 0, "it waits for others");
    world.app.stop().await;
    let names: BTreeSet<String> =
        world.fr.got(|got| got.spans.iter().map(|(_, span)| span.name.clone()).collect());
    assert!(names.contains("PutObject") && names.contains("store.put"), "{names:?}");
    assert!(world.fr.got(|got| !got.metrics.is_empty()));
    sound(&world.fr);
}

const CALLERS: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn knock(world: &Both) -> Span {
    let head = format!(
        "GET /nobody/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\ntraceparent: 00-{CALLERS}-00f067aa0ba902b7-01\r\n\
         tracestate: vendor=jeanne-martin\r\nbaggage: patient=jeanne-martin\r\n\r\n"
    );
    let answer = exchange(&world.app.url("fr"), head.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 403"), "{}", String::from_utf8_lossy(&answer));
    let root = until("the span", || {
        world.fr.got(|got| {
            got.spans.iter().find(|(_, span)| span.parent_span_id.is_empty()).map(|(_, span)| span.clone())
        })
    })
    .await;
    world.fr.got(|got| assert!(!contains(&got.raw, b"jeanne-martin")));
    sound(&world.fr);
    root
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_is_no_parent_of_ours_and_its_baggage_goes_nowhere() {
    let world = Both::with(|_| {}).await;
    let root = knock(&world).await;
    assert_ne!(hex::encode(&root.trace_id), CALLERS);
    assert!(root.links.is_empty() && root.parent_span_id.is_empty());
    world.fr.got(|got| assert!(!contains(&got.raw, &hex::decode(CALLERS).unwrap())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_is_linked_where_a_setting_says_so_and_nothing_else_of_it() {
    let world =
        Both::with(|setup| setup.telemetry = Telemetry { link_inbound: true, ..Telemetry::default() }).await;
    let root = knock(&world).await;
    assert_ne!(hex::encode(&root.trace_id), CALLERS);
    let [link] = root.links.as_slice() else { panic!("one link: {root:?}") };
    assert_eq!((hex::encode(&link.trace_id), link.trace_state.as_str()), (CALLERS.to_owned(), ""));
    assert!(link.attributes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_go_over_tls_with_the_header_that_a_reference_names() {
    let certificate = Certificate::of(&Subject::Address([127, 0, 0, 1]));
    let secrets = TempDir::new().unwrap();
    let (ca, token) = (secrets.path().join("ca.pem"), secrets.path().join("token"));
    std::fs::write(&ca, certificate.pem()).unwrap();
    std::fs::write(&token, "Bearer hunter2\n").unwrap();
    let trusted = Receiver::over(Mode::Take, Some(certificate.server())).await;
    // The same name, another key: somebody in the middle.
    let middle = Certificate::of(&Subject::Address([127, 0, 0, 1]));
    let forged = Receiver::over(Mode::Take, Some(middle.server())).await;
    let mut setup = sending(&[("fr", trusted.url()), ("us", forged.url())]);
    setup.collector_ca = Some(ca);
    setup.collector_headers =
        BTreeMap::from([("authorization".to_owned(), format!("file:{}", token.display()).parse().unwrap())]);
    let dir = TempDir::new().unwrap();
    let app = TestApp::start(dir.path(), &setup).await;
    let clinic = tenant(&app, "fr", "clinic").await;
    put(&clinic, "clinic", "k", b"x").await;
    trace(&trusted, "PutObject").await;
    trusted.got(|got| assert_eq!(got.authorizations, BTreeSet::from(["Bearer hunter2".to_owned()])));
    sound(&trusted);
    until("refused handshakes", || {
        app.site("us").metrics().expose().contains("outcome=\"unreachable\"").then_some(())
    })
    .await;
    assert_eq!(forged.got(|got| got.requests), 0);
    assert!(!format!("{app:?}").contains("hunter2"), "a credential in Debug");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_for_the_collector_that_was_replaced_is_sent_with_the_next_export_and_a_broken_one_is_not() {
    let secrets = TempDir::new().unwrap();
    let token = secrets.path().join("token");
    let write = |value: &str| {
        let fresh = secrets.path().join("fresh");
        std::fs::write(&fresh, value).unwrap();
        std::fs::rename(&fresh, &token).unwrap();
    };
    write("Bearer one");
    let receiver = Receiver::start(Mode::Take).await;
    let mut setup = sending(&[("fr", receiver.url())]);
    setup.limits.reload_check_ms = 20;
    setup.collector_headers =
        BTreeMap::from([("authorization".to_owned(), format!("file:{}", token.display()).parse().unwrap())]);
    let dir = TempDir::new().unwrap();
    let app = TestApp::start(dir.path(), &setup).await;
    let counts = |name: &str| app.site("fr").metrics().expose().lines().any(|line| line == name);
    let sent =
        |value: &'static str| receiver.got(|got| got.authorizations.contains(value).then_some(got.requests));
    until("the header of the start", || sent("Bearer one")).await;
    write("Bearer \u{1}hunter2");
    until("a refusal", || counts("terroir_credential_reloads_failed_total 1").then_some(())).await;
    write("Bearer two");
    until("the new header", || sent("Bearer two")).await;
    until("a count", || counts("terroir_credential_reloads_total 1").then_some(())).await;
    receiver.got(|got| assert_eq!(got.authorizations.len(), 2, "{:?}", got.authorizations));
    sound(&receiver);
}

#[test]
fn otel_variables_move_nothing_and_add_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let decoy = Receiver::start(Mode::Take).await;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "telemetry::child_sends_under_otel_variables", "--ignored", "--nocapture"]);
        command.env("TERROIR_TEST_OTEL_CHILD", "yes").stdout(Stdio::null()).stderr(Stdio::inherit());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", decoy.url());
        for signal in ["TRACES", "METRICS"] {
            command.env(format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"), decoy.url());
            command.env(format!("OTEL_EXPORTER_OTLP_{signal}_HEADERS"), "x-planted=otel-marker");
            command.env(format!("OTEL_{signal}_EXPORTER"), "console");
        }
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-planted=otel-marker"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "planted=otel-marker,service.name=otel-marker"),
            ("OTEL_SERVICE_NAME", "otel-marker"),
            ("OTEL_TRACES_SAMPLER", "always_off"),
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_PROPAGATORS", "tracecontext,baggage"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100000"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100000"),
        ] {
            command.env(variable, value);
        }
        let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap();
        assert!(status.success());
        assert_eq!(decoy.got(|got| got.requests), 0);
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above, in a process of its own"]
async fn child_sends_under_otel_variables() {
    if std::env::var("TERROIR_TEST_OTEL_CHILD").is_err() {
        return;
    }
    let world = Both::with(|_| {}).await;
    let clinic = tenant(&world.app, "fr", "clinic").await;
    put(&clinic, "clinic", "k", b"x").await;
    let (root, all) = trace(&world.fr, "PutObject").await;
    assert!(root.attributes.len() > 5 && all.len() > 5);
    until("metrics", || world.fr.got(|got| (!got.metrics.is_empty()).then_some(()))).await;
    sound(&world.fr);
    world.fr.got(|got| {
        assert!(!contains(&got.raw, b"otel-marker"));
        assert_eq!(got.spans[0].0["service.name"], "terroir");
    });
}
