//! Nothing that a caller names, sends or is called is in a span, a metric or a line of the log, at the most verbose level.

use std::io::Write;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use terroir::settings::{RequestLog, Telemetry};
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::receiver::{Mode, Receiver};
use super::{Both, contains, exchange, tenant, until};

/// What the process logged.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Keeps what this process logs from now on. The first test that says so owns the log of its process; each test of this
    /// binary can have one of its own.
    pub(super) fn keep(filter: &str) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let layer = layer.with_filter(terroir::telemetry::filter(filter).unwrap());
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
        lines
    }

    /// Lines that hold `text`.
    pub(super) fn with(&self, text: &str) -> usize {
        let log = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
        log.lines().filter(|line| line.contains(text)).count()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn forms(marker: &str) -> [Vec<u8>; 3] {
    [marker.into(), hex::encode(marker).into_bytes(), STANDARD.encode(marker).trim_end_matches('=').into()]
}

fn found(markers: &[&str], place: &[u8]) -> Vec<String> {
    let is_in = |marker: &&&str| forms(marker).iter().any(|form| contains(place, form));
    markers.iter().filter(is_in).map(|marker| (*marker).to_owned()).collect()
}

/// Requests that fail are the ones a careless line quotes.
async fn knock_wrongly(url: &str, key_id: &str) {
    let scope = format!("{key_id}/20261123/fr/s3/aws4_request");
    let signed = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={}\r\n\
         X-Amz-Date: 20261123T000000Z\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n",
        "0".repeat(64)
    );
    let named = "Host: markerhost\r\nConnection: close\r\nx-amz-meta-note: markermeta\r\nUser-Agent: markeragent\r\n\
                 X-Amz-Meta-Terroir-Subject: markersubject\r\ntracestate: a=markerstate\r\nbaggage: a=markerbaggage\r\n\
                 Referer: markerreferer\r\nCookie: markercookie\r\n";
    let lines = [
        "GET /markerbucket/markerkey",
        "PUT /markerbucket/markerkey",
        "POST /markerbucket?delete",
        "GET /markerbucket/markerkey?markerquery=1",
        "MARKERMETHOD /markerbucket/markerkey",
        "GET http://markerhost/markerbucket/%zz",
        "GET /markerbucket?list-type=2&prefix=markerprefix",
    ];
    for line in lines {
        for credential in ["", signed.as_str(), "Authorization: Bearer markertoken\r\n"] {
            let request = format!(
                "{line} HTTP/1.1\r\n{named}{credential}Content-Length: 21\r\n\r\n<Delete>markerbodyxml"
            );
            exchange(url, request.as_bytes()).await;
        }
    }
    exchange(url, b"markernonsense\r\n\r\n").await;
}

/// What callers put into every place that is theirs to fill.
const MARKERS: [&str; 18] = [
    "markerbucket",
    "markerkey",
    "markermeta",
    "markersubject",
    "markerbody",
    "markertype",
    "markerhost",
    "markeragent",
    "markerstate",
    "markerbaggage",
    "markerreferer",
    "markercookie",
    "markerquery",
    "MARKERMETHOD",
    "markerprefix",
    "markertoken",
    "markernonsense",
    "markerzclinic",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_name_of_a_caller_is_in_a_span_a_metric_or_a_line() {
    let lines = Lines::keep("trace");
    tracing::info!(target: "terroir::control", "markercontrol");

    let world = Both::with(|setup| {
        setup.telemetry =
            Telemetry { request_log: RequestLog::Info, link_inbound: true, ..Telemetry::default() };
    })
    .await;
    let clinic = tenant(&world.app, "fr", "markerzclinic").await;
    let s3 = &clinic.s3;
    s3.create_bucket().bucket("markerbucket").send().await.unwrap();
    let write = s3.put_object().bucket("markerbucket").key("markerkey/markerkey");
    let write = write.metadata("note", "markermeta").metadata("terroir-subject", "markersubject");
    write.content_type("application/markertype").body(b"markerbody".to_vec().into()).send().await.unwrap();
    super::get(&clinic, "markerbucket", "markerkey/markerkey").await;
    s3.list_objects_v2().bucket("markerbucket").prefix("markerprefix").send().await.unwrap();
    assert!(s3.get_object().bucket("markerbucket").key("markerkey-absent").send().await.is_err());
    assert!(s3.get_object().bucket("markerbucket-absent").key("markerkey").send().await.is_err());
    assert!(world.app.client("us", &clinic.credential).list_buckets().send().await.is_err());
    let key_id = clinic.credential.key_id.as_str().to_owned();
    for region in ["fr", "us"] {
        knock_wrongly(&world.app.url(region), &key_id).await;
    }
    // A record that does not open is told of in the log, in our words.
    for blob in world.app.blobs("fr").into_keys() {
        let mut bytes = std::fs::read(&blob).unwrap();
        let at = bytes.len() - 1;
        bytes[at] ^= 1;
        std::fs::write(&blob, bytes).unwrap();
    }
    let broken = s3.get_object().bucket("markerbucket").key("markerkey/markerkey").send().await;
    assert!(match broken {
        Err(_) => true,
        Ok(got) => got.body.collect().await.is_err(),
    });

    let secret = clinic.credential.secret.expose().clone();
    let scraped = ["fr", "us"].map(|region| world.app.site(region).metrics().expose()).concat();
    let Both { app, fr, us, _dir } = world;
    app.stop().await;
    let mut everything = MARKERS.to_vec();
    everything.extend([secret.as_str(), key_id.as_str()]);
    for (receiver, least) in [(&fr, 100), (&us, 40)] {
        super::sound(receiver);
        receiver.got(|got| {
            assert!(got.spans.len() > least && !got.metrics.is_empty(), "only {} spans", got.spans.len());
            assert_eq!(found(&everything, &got.raw), [""; 0]);
            // The search can see: what must be there is.
            assert_eq!(found(&["terroir.operation", "terroir.instance"], &got.raw), ["terroir.operation"]);
        });
    }
    assert_eq!(found(&everything, scraped.as_bytes()), [""; 0]);
    let logged = lines.0.lock().unwrap().clone();
    if contains(&logged, b"markercontrol") {
        let text = String::from_utf8_lossy(&logged);
        for event in ["request_served", "listening", "record_corrupt"] {
            assert!(text.contains(event), "{event}");
        }
        // A tenant is told of by name in its own region's log; nothing else of the request is.
        let names: Vec<_> = everything.iter().copied().filter(|name| *name != "markerzclinic").collect();
        assert_eq!(found(&names, &logged), [""; 0]);
    } else {
        panic!("another test of this process owns its log: run each test in a process of its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strict_receiver_complains_about_what_it_must() {
    let receiver = Receiver::start(Mode::Take).await;
    let request = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nbaggage: a=b\r\nContent-Type: text/plain\r\nConnection: close\r\n\
                   Content-Length: 3\r\n\r\n\u{7f}ab";
    exchange(&receiver.url(), request.as_bytes()).await;
    until("complaints", || receiver.got(|got| (got.complaints.len() >= 3).then_some(()))).await;
}
