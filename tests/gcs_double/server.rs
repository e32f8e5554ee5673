//! Sockets, and the way of one request: noted, told its fault, authorised, answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::bucket::Refusal;
use super::faults::{Call, Fault};
use super::respond::{Answer, Broken, grpc_refused, refused};
use super::{Seen, Shared, command, control, download, json, tokens, upload};

/// The largest request body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request with this header is a harness's own look at what is there: it is not noted, meets no fault and needs no token.
const ASIDE: &str = "x-double-aside";

/// A request whose body has arrived.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
    /// What is to happen to its answer.
    pub(crate) fault: Option<Fault>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Query parameters, decoded; each at most once.
#[derive(Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let mut found = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                let spaced = text.replace('+', " ");
                percent_decode_str(&spaced).decode_utf8().map(std::borrow::Cow::into_owned)
            };
            let bad = |_| Refusal::invalid("the query is not UTF-8");
            if found.insert(decode(name).map_err(bad)?, decode(value).map_err(bad)?).is_some() {
                return Err(Refusal::invalid("a parameter is given twice"));
            }
        }
        Ok(Self(found))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &'static str) -> Result<Option<i64>, Refusal> {
        let bad = |_| Refusal::invalid(format!("{name} is not a number"));
        self.text(name).map(|text| text.parse().map_err(bad)).transpose()
    }

    /// Refuses parameters that nobody looked at: a client that sends one expects something of it.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Refusal::invalid(format!("unknown parameter {name}"))),
            None => Ok(()),
        }
    }
}

pub(crate) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Connections end with this set, which ends with the double.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| serve(Arc::clone(&shared), request));
            let server = auto::Builder::new(TokioExecutor::new());
            match tls {
                None => server.serve_connection(TokioIo::new(socket), service).await.ok(),
                Some(tls) => {
                    let Ok(socket) = tls.accept(socket).await else { return };
                    server.serve_connection(TokioIo::new(socket), service).await.ok()
                }
            };
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Broken> {
    let (head, body) = request.into_parts();
    let grpc = head.version == Version::HTTP_2
        && head
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let path = head.uri.path().to_owned();
    let call = call_of(&head.method, &path, grpc);
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| Broken)?.to_bytes();
    if path.starts_with(command::PATH) {
        let query = Query::parse(head.uri.query().unwrap_or_default()).unwrap_or_default();
        let asked = Asked { method: head.method, path, query, headers: head.headers, body, fault: None };
        return Ok(command::answer(&shared, &asked).unwrap_or_else(|refusal| refused(&refusal)));
    }
    let aside = head.headers.contains_key(ASIDE);
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let host = head.uri.host().or_else(|| head.headers.get("host").and_then(|host| host.to_str().ok()));
    let seen = Seen {
        call,
        method: head.method.clone(),
        at: Instant::now(),
        fault: None,
        target,
        host: host.unwrap_or_default().split(':').next().unwrap_or_default().to_owned(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value:?}\n"))
            .collect::<Vec<_>>()
            .concat(),
        body: body.clone(),
    };
    let fault = if aside { None } else { noted(&shared, seen) };
    let refuse = |refusal: &Refusal| if grpc { grpc_refused(refusal) } else { refused(refusal) };
    match &fault {
        Some(Fault::Latency { ms }) => tokio::time::sleep(Duration::from_millis(*ms)).await,
        Some(Fault::Refuse { status }) => {
            return Ok(refuse(&Refusal::new(*status, "injected", "refused on purpose")));
        }
        Some(Fault::Reset) => return Err(Broken),
        Some(Fault::Redirect { to }) => {
            let mut answer = super::respond::status(307);
            answer.headers_mut().insert("location", to.parse().unwrap());
            return Ok(answer);
        }
        _ => {}
    }
    let query = match Query::parse(head.uri.query().unwrap_or_default()) {
        Ok(query) => query,
        Err(refusal) => return Ok(refuse(&refusal)),
    };
    let lost = fault == Some(Fault::LoseAnswer);
    let asked = Asked { method: head.method, path, query, headers: head.headers, body, fault };
    let answer = match answer(&shared, call, &asked, aside) {
        Ok(answer) => answer,
        Err(refusal) => refuse(&refusal),
    };
    if lost { Err(Broken) } else { Ok(answer) }
}

/// Keeps the request, and says what happens to it.
fn noted(shared: &Shared, seen: Seen) -> Option<Fault> {
    let mut state = shared.state();
    let fault = state.faults.next(seen.call);
    state.seen_bytes += seen.body.len();
    let is_kept = state.seen_bytes <= shared.seen_bytes_max;
    let body = if is_kept { seen.body } else { Bytes::new() };
    state.seen.push(Seen { body, fault: fault.as_ref().map(Fault::name), ..seen });
    fault
}

fn call_of(method: &Method, path: &str, grpc: bool) -> Call {
    match path {
        _ if grpc => Call::Control,
        _ if path.starts_with("/upload/") => Call::Upload,
        _ if tokens::is_token_path(path) => Call::Token,
        _ if method == Method::GET && path.starts_with("/storage/v1/b/") => Call::Download,
        _ => Call::Other,
    }
}

fn answer(shared: &Shared, call: Call, asked: &Asked, aside: bool) -> Result<Answer, Refusal> {
    if call == Call::Token {
        return tokens::issue(asked);
    }
    if shared.settings.demand_token && !aside {
        tokens::check(asked, shared.state().trusted.as_ref())?;
    }
    match call {
        Call::Control => control::answer(shared, asked),
        Call::Upload => upload::answer(shared, asked),
        _ if asked.query.text("alt") == Some("media") => download::answer(shared, asked),
        _ => json::answer(shared, asked),
    }
}

/// `/storage/v1/b/{bucket}` and, behind `/o`, the object, decoded; both as the path has them.
pub(crate) fn bucket_and_object(path: &str) -> Result<(String, Option<String>), Refusal> {
    let unknown = || Refusal::not_found("no such path");
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(std::borrow::Cow::into_owned).map_err(|_| Refusal::invalid("a name is not UTF-8"))
    };
    let rest =
        path.strip_prefix("/upload").unwrap_or(path).strip_prefix("/storage/v1/b/").ok_or_else(unknown)?;
    let mut steps = rest.split('/');
    let bucket = decode(steps.next().unwrap_or_default())?;
    match (steps.next(), steps.next(), steps.next()) {
        (None, ..) => Ok((bucket, None)),
        (Some("o"), None, _) => Ok((bucket, Some(String::new()))),
        // Slashes of a name must be encoded: a raw one would make it another path.
        (Some("o"), Some(object), None) if !object.is_empty() => Ok((bucket, Some(decode(object)?))),
        _ => Err(unknown()),
    }
}
