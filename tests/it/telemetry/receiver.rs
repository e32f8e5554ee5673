//! A collector in the test's process: it takes OTLP over HTTP, checks it strictly, keeps what it got, and can be made to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustls::ServerConfig;
use terroir::telemetry::{Operation, Stage, names};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;

/// How the collector answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As the specification says.
    Take,
    /// It takes an export, less so many of its spans.
    Reject(i64),
    /// With this status.
    Status(u16),
    /// With 200, and bytes that are no message.
    Garbage,
    /// With something that is no HTTP.
    Noise,
    /// Never.
    Frozen,
    /// With a redirect to there.
    Elsewhere(String),
}

/// What came.
#[derive(Default)]
pub(crate) struct Got {
    /// Spans with the resource they are of.
    pub(crate) spans: Vec<(BTreeMap<String, String>, Span)>,
    /// The last page of metrics.
    pub(crate) metrics: Vec<Metric>,
    /// Resources of pages of metrics.
    pub(crate) metric_resources: BTreeSet<BTreeMap<String, String>>,
    /// Every byte of every body, and every head.
    pub(crate) raw: Vec<u8>,
    /// Values of `authorization`.
    pub(crate) authorizations: BTreeSet<String>,
    /// What was not as it must be.
    pub(crate) complaints: Vec<String>,
    /// Requests.
    pub(crate) requests: usize,
}

struct Inner {
    mode: Mutex<Mode>,
    got: Mutex<Got>,
}

/// The collector. Its sockets close when it is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    tls: bool,
    inner: Arc<Inner>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Receiver {
    pub(crate) async fn start(mode: Mode) -> Self {
        Self::over(mode, None).await
    }

    pub(crate) async fn over(mode: Mode, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner { mode: Mutex::new(mode), got: Mutex::default() });
        let (serving, is_tls) = (Arc::clone(&inner), tls.is_some());
        let acceptor = tls.map(TlsAcceptor::from);
        let accepting = tokio::spawn(async move {
            // Connections end with the listener: they are this task's.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (inner, acceptor) = (Arc::clone(&serving), acceptor.clone());
                connections.spawn(async move {
                    let mut io = match acceptor {
                        None => Either::Left(socket),
                        Some(acceptor) => match acceptor.accept(socket).await {
                            Ok(stream) => Either::Right(stream),
                            Err(_) => return,
                        },
                    };
                    if *inner.mode.lock().unwrap() == Mode::Noise {
                        inner.got.lock().unwrap().requests += 1;
                        let _ = io.write_all(b"\x00\xffnobody speaks this\r\n\r\n").await;
                        return;
                    }
                    let service =
                        hyper::service::service_fn(move |request| answer(Arc::clone(&inner), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(io), service)
                        .await;
                });
            }
        });
        Self { address, tls: is_tls, inner, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }

    pub(crate) fn got<R>(&self, look: impl FnOnce(&Got) -> R) -> R {
        look(&self.inner.got.lock().unwrap())
    }

    pub(crate) fn turn(&self, mode: Mode) {
        *self.inner.mode.lock().unwrap() = mode;
    }
}

async fn answer(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mode = inner.mode.lock().unwrap().clone();
    {
        let mut got = inner.got.lock().unwrap();
        got.requests += 1;
        got.raw.extend_from_slice(format!("{head:?}").as_bytes());
        got.raw.extend_from_slice(&body);
        if let Some(value) = head.headers.get("authorization") {
            got.authorizations.insert(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
    }
    let reply = |bytes: Vec<u8>| {
        Response::builder().header("content-type", "application/x-protobuf").body(Full::from(bytes)).unwrap()
    };
    Ok(match mode {
        Mode::Take | Mode::Reject(_) => {
            let mut got = inner.got.lock().unwrap();
            check_head(&head, &mut got.complaints);
            if head.uri.path() == "/v1/traces" {
                take_spans(&body, &mut got);
                let rejected_spans = if let Mode::Reject(count) = mode { count } else { 0 };
                let partial = (rejected_spans > 0)
                    .then(|| ExportTracePartialSuccess { rejected_spans, error_message: "not these".into() });
                reply(ExportTraceServiceResponse { partial_success: partial }.encode_to_vec())
            } else {
                take_metrics(&body, &mut got);
                reply(ExportMetricsServiceResponse::default().encode_to_vec())
            }
        }
        Mode::Status(status) => Response::builder().status(status).body(Full::default()).unwrap(),
        Mode::Garbage => reply(b"\xff\xff\xff\xff<html>".to_vec()),
        Mode::Elsewhere(to) => {
            Response::builder().status(307).header("location", to).body(Full::default()).unwrap()
        }
        Mode::Frozen | Mode::Noise => std::future::pending().await,
    })
}

fn check_head(head: &http::request::Parts, complaints: &mut Vec<String>) {
    const KNOWN: [&str; 5] = ["host", "content-type", "content-length", "user-agent", "authorization"];
    let mut demand = |is: bool, what: &str| {
        if !is {
            complaints.push(format!("{what}: {head:?}"));
        }
    };
    demand(head.method == Method::POST, "a method");
    demand(matches!(head.uri.path(), "/v1/traces" | "/v1/metrics") && head.uri.query().is_none(), "a path");
    demand(head.headers.keys().all(|name| KNOWN.contains(&name.as_str())), "a header nobody asked for");
    demand(
        head.headers.get("content-type").is_some_and(|kind| kind == "application/x-protobuf"),
        "a content type",
    );
}

pub(crate) fn plain(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn take_spans(body: &Bytes, got: &mut Got) {
    let Ok(export) = ExportTraceServiceRequest::decode(body.clone()) else {
        return got.complaints.push("spans that do not decode".into());
    };
    // What decoding leaves out would be missing here.
    if export.encode_to_vec() != *body {
        got.complaints.push("spans with fields nobody knows".into());
    }
    for group in export.resource_spans {
        let resource = plain(&group.resource.unwrap_or_default().attributes);
        check_resource(&resource, &mut got.complaints);
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            check_span(&span, &mut got.complaints);
            got.spans.push((resource.clone(), span));
        }
    }
}

fn check_resource(resource: &BTreeMap<String, String>, complaints: &mut Vec<String>) {
    let names: BTreeSet<_> = resource.keys().map(String::as_str).collect();
    if names != names::resource::ALL.into() || resource.values().any(String::is_empty) {
        complaints.push(format!("a resource: {resource:?}"));
    }
}

fn check_span(span: &Span, complaints: &mut Vec<String>) {
    let known: BTreeSet<&str> = Stage::ALL
        .iter()
        .map(|stage| stage.as_str())
        .chain(Operation::ALL.iter().map(|operation| operation.as_str()))
        .collect();
    let is_root = span.parent_span_id.is_empty();
    let mut demand = |is: bool, what: &str| {
        if !is {
            complaints.push(format!("{what}: {span:?}"));
        }
    };
    demand(known.contains(span.name.as_str()), "a name");
    demand(span.trace_id.len() == 16 && span.trace_id != [0; 16], "a trace id");
    demand(span.span_id.len() == 8 && span.span_id != [0; 8], "a span id");
    demand(is_root || (span.parent_span_id.len() == 8 && span.parent_span_id != span.span_id), "a parent");
    // Flag 0x100 says that 0x200 (the parent is remote) means something.
    demand(span.flags & 0x300 == 0x100, "a parent of another process");
    demand(is_root == (span.kind == 2), "a kind: the request is a server's span, and nothing else is");
    demand(0 < span.start_time_unix_nano && span.start_time_unix_nano <= span.end_time_unix_nano, "a time");
    demand(span.events.is_empty() && span.trace_state.is_empty(), "room for text");
    demand(span.status.as_ref().is_none_or(|status| status.message.is_empty()), "a status with text");
    demand(
        span.dropped_attributes_count + span.dropped_events_count + span.dropped_links_count == 0,
        "more than the limits take",
    );
    let attributes = plain(&span.attributes);
    demand(attributes.len() == span.attributes.len(), "an attribute twice");
    demand(attributes.keys().all(|key| names::attribute::ALL.contains(&key.as_str())), "an attribute");
}

fn take_metrics(body: &Bytes, got: &mut Got) {
    let Ok(export) = ExportMetricsServiceRequest::decode(body.clone()) else {
        return got.complaints.push("metrics that do not decode".into());
    };
    if export.encode_to_vec() != *body {
        got.complaints.push("metrics with fields nobody knows".into());
    }
    for group in export.resource_metrics {
        let resource = plain(&group.resource.unwrap_or_default().attributes);
        check_resource(&resource, &mut got.complaints);
        got.metric_resources.insert(resource);
        got.metrics = group.scope_metrics.into_iter().flat_map(|scope| scope.metrics).collect();
    }
}
