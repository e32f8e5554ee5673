//! A request as it is told of: its span, the spans of its stages, and the few facts that its line, metrics and span share.
//!
//! What is current follows the request's task, in a task-local: a stage finds its parent without any function handing it on, and
//! where nothing is traced it finds nothing and costs one look. Each request carries the tracer of its own region, so that two
//! regions in one process share none. What is spawned leaves the task: [`carry`] takes it along.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer as _};
use opentelemetry::{Context as Parent, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use pin_project_lite::pin_project;

use super::names::{Stage, attribute, size};
use super::tracer::Tracing;
use super::{Method, Operation, RefusalCode, StatusClass};
use crate::model::{ClassId, TenantId};

tokio::task_local! {
    static CURRENT: Current;
}

/// What is known of the request, whoever learns it first says it.
#[derive(Debug, Default)]
pub struct Facts {
    request: OnceLock<Box<str>>,
    operation: OnceLock<Operation>,
    tenant: OnceLock<TenantId>,
    class: OnceLock<ClassId>,
    code: OnceLock<&'static str>,
    refusal: OnceLock<RefusalCode>,
}

impl Facts {
    /// The request's id; empty before it has one.
    pub fn request(&self) -> &str {
        self.request.get().map_or("", |id| id)
    }

    /// What was asked; [`Operation::Other`] if it could not be decoded.
    pub fn operation(&self) -> Operation {
        self.operation.get().copied().unwrap_or(Operation::Other)
    }

    /// The tenant, once somebody identified the caller.
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.get()
    }

    /// The S3 code it was refused with, or failed.
    pub fn code(&self) -> Option<&'static str> {
        self.code.get().copied()
    }

    /// Why it was refused, where the answer does not tell.
    pub fn refusal(&self) -> Option<RefusalCode> {
        self.refusal.get().copied()
    }
}

/// Says facts of the request that this task serves. Outside of a request, nothing happens.
pub mod note {
    use super::{CURRENT, ClassId, Current, Operation, RefusalCode, TenantId};

    fn on(say: impl FnOnce(&Current)) {
        // Outside of a request there is nobody to tell.
        let _ = CURRENT.try_with(say);
    }

    /// The request's id.
    pub fn request(id: &str) {
        on(|current| {
            let _ = current.facts.request.set(id.into());
        });
    }

    /// What is asked.
    pub fn operation(operation: Operation) {
        on(|current| {
            let _ = current.facts.operation.set(operation);
        });
    }

    /// Whose credential signed. For the log's line alone: no span and no metric has it.
    pub fn tenant(tenant: &TenantId) {
        on(|current| {
            let _ = current.facts.tenant.set(tenant.clone());
        });
    }

    /// The record's class.
    pub fn class(class: &ClassId) {
        on(|current| {
            // Nobody else asks for it.
            if current.place.is_some() {
                let _ = current.facts.class.set(class.clone());
            }
        });
    }

    /// Why it is refused, where the answer's code says less. For the count of refusals alone.
    pub fn refusal(why: RefusalCode) {
        on(|current| {
            let _ = current.facts.refusal.set(why);
        });
    }

    /// The S3 code of an error answer.
    pub fn code(code: &'static str) {
        on(|current| {
            let _ = current.facts.code.set(code);
        });
    }
}

/// What the current request's facts are good for; `None` outside of a request.
pub fn with_facts<R>(look: impl FnOnce(&Facts) -> R) -> Option<R> {
    CURRENT.try_with(|current| look(&current.facts)).ok()
}

/// Where a task is: in which request, and under which span if it is traced.
#[derive(Clone, Debug)]
struct Current {
    facts: Arc<Facts>,
    place: Option<Place>,
}

/// Under which span.
#[derive(Clone)]
struct Place {
    tracer: Arc<SdkTracer>,
    parent: Parent,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

impl Place {
    fn under(tracer: &Arc<SdkTracer>, span: &Span) -> Self {
        let parent = Parent::new().with_remote_span_context(span.span_context().clone());
        Self { tracer: Arc::clone(tracer), parent }
    }
}

/// What a request looks like before anything of it is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: Method,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Its body's length in bytes, if it says.
    pub received: Option<u64>,
    /// What the caller says of a trace of its own.
    pub traceparent: Option<&'a str>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The answer's status.
    pub status: u16,
    /// Bytes of its body.
    pub sent: u64,
    /// Whether the body went out to its end.
    pub whole: bool,
}

impl Told {
    const fn outcome(self) -> &'static str {
        match StatusClass::of(self.status) {
            _ if !self.whole => "aborted",
            StatusClass::Informational | StatusClass::Success => "ok",
            StatusClass::Redirect if self.status == 304 => "ok",
            StatusClass::Redirect => "redirected",
            StatusClass::Client => "refused",
            StatusClass::Server => "failed",
        }
    }
}

/// A request being served.
#[derive(Debug)]
pub struct Request {
    current: Current,
    span: Option<Span>,
    begun: Instant,
}

impl Request {
    /// Begins one; with a `tracing`, perhaps under a span.
    pub fn begin(tracing: Option<&Tracing>, asked: Asked<'_>) -> Self {
        let span = tracing.and_then(|tracing| {
            let span = tracing.root(asked.traceparent, || {
                let mut attributes = vec![
                    KeyValue::new(attribute::METHOD, asked.method.as_str()),
                    KeyValue::new(attribute::SCHEME, if asked.tls { "https" } else { "http" }),
                ];
                attributes
                    .extend(asked.received.map(|bytes| KeyValue::new(attribute::RECEIVED, size(bytes))));
                attributes
            })?;
            Some((Place::under(tracing.tracer(), &span), span))
        });
        let (place, span) = span.unzip();
        Self { current: Current { facts: Arc::default(), place }, span, begun: Instant::now() }
    }

    /// What is known of it by now.
    pub fn facts(&self) -> &Facts {
        &self.current.facts
    }

    /// Since it began.
    pub fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Runs `work` as a part of it.
    pub fn scope<F: Future>(&self, work: F) -> Carried<F> {
        Carried { work, current: Some(self.current.clone()) }
    }

    /// Runs `work`, which does not wait, as a part of it.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self.current.clone(), work)
    }

    /// Ends its span.
    pub fn end(&mut self, told: Told) {
        let Some(mut span) = self.span.take() else { return };
        let facts = &self.current.facts;
        let operation = facts.operation().as_str();
        span.update_name(operation);
        span.set_attribute(KeyValue::new(attribute::OPERATION, operation));
        span.set_attribute(KeyValue::new(attribute::STATUS, i64::from(told.status)));
        span.set_attribute(KeyValue::new(attribute::STATUS_CLASS, StatusClass::of(told.status).as_str()));
        span.set_attribute(KeyValue::new(attribute::OUTCOME, told.outcome()));
        span.set_attribute(KeyValue::new(attribute::SENT, size(told.sent)));
        span.set_attribute(KeyValue::new(attribute::REQUEST, facts.request().to_owned()));
        if let Some(class) = facts.class.get() {
            span.set_attribute(KeyValue::new(attribute::CLASS, class.as_str().to_owned()));
        }
        if let Some(code) = facts.code() {
            span.set_attribute(KeyValue::new(attribute::ERROR, code));
        }
        // Semantic conventions of HTTP servers: 4xx is the client's, not an error of ours.
        if told.status >= 500 || !told.whole {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

pin_project! {
    /// Work that runs as a part of a request, on whatever task.
    #[derive(Debug)]
    pub struct Carried<F> {
        #[pin]
        work: F,
        current: Option<Current>,
    }
}

impl<F: Future> Future for Carried<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.current {
            None => this.work.poll(cx),
            Some(current) => CURRENT.sync_scope(current.clone(), || this.work.poll(cx)),
        }
    }
}

/// Takes the request along where `work` is spawned.
pub fn carry<F: Future>(work: F) -> Carried<F> {
    Carried { work, current: CURRENT.try_with(Current::clone).ok() }
}

/// Spells the outcome of some work.
pub type Spells<T, E> = fn(&Result<T, E>) -> &'static str;

/// Runs `work` under a span of its own, if the request is traced. Its outcome is `ok` or `error`.
pub fn stage<F, T, E>(stage: Stage, work: F) -> Staged<F, Spells<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    stage_told(stage, work, |done| if done.is_ok() { "ok" } else { "error" })
}

/// Runs `work` under a span of its own, if the request is traced. Its outcome is what `told` makes of the result, of a fixed set;
/// anything but `ok`, `absent` and `refused` is an error.
pub fn stage_told<F, O>(stage: Stage, work: F, told: O) -> Staged<F, O>
where
    F: Future,
    O: FnOnce(&F::Output) -> &'static str,
{
    Staged { work, open: Open::of(stage), told: Some(told) }
}

pin_project! {
    /// Work under a span of its own.
    #[derive(Debug)]
    pub struct Staged<F, O> {
        #[pin]
        work: F,
        open: Option<Open>,
        told: Option<O>,
    }
}

/// A stage's span, and what is current within it.
#[derive(Debug)]
struct Open {
    span: Span,
    current: Current,
}

impl Open {
    fn of(stage: Stage) -> Option<Self> {
        let begin = |current: &Current| {
            let Place { tracer, parent } = current.place.as_ref()?;
            let kind = if stage.leaves_the_process() { SpanKind::Client } else { SpanKind::Internal };
            let builder = SpanBuilder::from_name(stage.as_str()).with_kind(kind);
            let span = tracer.build_with_context(builder, parent);
            let place = Some(Place::under(tracer, &span));
            Some(Self { span, current: Current { facts: Arc::clone(&current.facts), place } })
        };
        CURRENT.try_with(begin).ok().flatten()
    }

    fn end(mut self, outcome: &'static str) {
        self.span.set_attribute(KeyValue::new(attribute::OUTCOME, outcome));
        if !matches!(outcome, "ok" | "absent" | "refused") {
            self.span.set_status(Status::error(""));
        }
        self.span.end();
    }
}

impl<F, O> Future for Staged<F, O>
where
    F: Future,
    O: FnOnce(&F::Output) -> &'static str,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(open) = this.open else { return this.work.poll(cx) };
        let done = ready!(CURRENT.sync_scope(open.current.clone(), || this.work.poll(cx)));
        if let (Some(open), Some(told)) = (this.open.take(), this.told.take()) {
            open.end(told(&done));
        }
        Poll::Ready(done)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SpanData, SpanProcessor};

    use super::*;
    use crate::model::SystemEntropy;

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Kept {
        fn on_start(&self, _: &mut Span, _: &Parent) {}
        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }
        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }
        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    const ASKED: Asked<'_> =
        Asked { method: Method::Put, tls: true, received: Some(5_000), traceparent: None };

    fn tracing(kept: &Kept) -> Tracing {
        let resource = Resource::builder_empty().build();
        Tracing::new(resource, kept.clone(), 1_000_000, false, Arc::new(SystemEntropy)).unwrap()
    }

    async fn fine() -> Result<u8, u8> {
        tokio::task::yield_now().await;
        Ok(1)
    }

    fn named(spans: &[SpanData], name: &str) -> SpanData {
        spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}: {spans:?}")).clone()
    }

    #[tokio::test]
    async fn a_stage_within_a_stage_is_its_child_also_where_it_was_spawned() {
        let kept = Kept::default();
        let mut request = Request::begin(Some(&tracing(&kept)), ASKED);
        let work = async {
            note::request("ID");
            stage(Stage::Open, async {
                stage(Stage::StoreGet, fine()).await?;
                tokio::spawn(carry(stage(Stage::StoreHead, fine()))).await.unwrap()
            })
            .await
            .unwrap();
            stage(Stage::Seal, async { Err::<(), ()>(()) }).await.unwrap_err();
        };
        request.scope(work).await;
        request.end(Told { status: 503, sent: 0, whole: true });
        let spans = kept.0.lock().unwrap().clone();
        let (root, open) = (named(&spans, "other"), named(&spans, "open"));
        assert_eq!(open.parent_span_id, root.span_context.span_id());
        for inner in ["store.get", "store.head"] {
            assert_eq!(named(&spans, inner).parent_span_id, open.span_context.span_id(), "{inner}");
        }
        assert_eq!(named(&spans, "seal").parent_span_id, root.span_context.span_id());
        assert!(matches!(named(&spans, "seal").status, Status::Error { .. }));
        assert!(matches!(root.status, Status::Error { .. }));
        assert_eq!(spans.len(), 5);
        assert!(spans.iter().all(|span| span.span_context.trace_id() == root.span_context.trace_id()));
    }

    #[tokio::test]
    async fn a_stage_that_is_dropped_ends_without_an_outcome() {
        let kept = Kept::default();
        let request = Request::begin(Some(&tracing(&kept)), ASKED);
        let stalled = request.scope(stage(Stage::Keys, std::future::pending::<Result<(), ()>>()));
        assert!(tokio::time::timeout(Duration::from_millis(5), stalled).await.is_err());
        // The stage was made outside of the request: it belongs to none.
        assert!(kept.0.lock().unwrap().is_empty());
        let stalled =
            request.scope(async { stage(Stage::Keys, std::future::pending::<Result<(), ()>>()).await });
        assert!(tokio::time::timeout(Duration::from_millis(5), stalled).await.is_err());
        let spans = kept.0.lock().unwrap().clone();
        assert!(named(&spans, "keys").attributes.is_empty());
    }

    #[tokio::test]
    async fn outside_of_a_request_nothing_is_told_and_everything_is_done() {
        note::request("ID");
        assert_eq!(stage(Stage::Keys, fine()).await, Ok(1));
        assert_eq!(carry(fine()).await, Ok(1));
        assert!(with_facts(|_| ()).is_none());
        let request = Request::begin(None, ASKED);
        request.scope(async { note::operation(Operation::GetObject) }).await;
        assert_eq!(request.facts().operation(), Operation::GetObject);
    }

    /// What a request's telling costs: printed, and held to a bound that only a mistake (an allocation for each stage that is not
    /// traced, a lock) would break in an unoptimised build on a busy machine.
    #[tokio::test]
    async fn what_is_not_traced_costs_next_to_nothing() {
        const ROUNDS: u32 = 20_000;
        const STAGES: u32 = 12;
        async fn requests(tracing: Option<&Tracing>) -> Duration {
            let begun = Instant::now();
            for _ in 0..ROUNDS {
                let mut request = Request::begin(tracing, ASKED);
                let work = async {
                    for _ in 0..STAGES {
                        let _ = stage(Stage::Keys, async { Ok::<u8, u8>(1) }).await;
                    }
                };
                request.scope(work).await;
                request.end(Told { status: 200, sent: 0, whole: true });
            }
            begun.elapsed() / ROUNDS
        }
        let kept = Kept::default();
        let off = requests(None).await;
        let resource = Resource::builder_empty().build();
        let sampled_out = Tracing::new(resource, kept.clone(), 1, false, Arc::new(SystemEntropy)).unwrap();
        let unsampled = requests(Some(&sampled_out)).await;
        let on = requests(Some(&tracing(&kept))).await;
        println!(
            "a request of {STAGES} stages: {off:?} without a collector, {unsampled:?} not sampled, {on:?} traced"
        );
        assert!(off < Duration::from_micros(50), "{off:?}");
        assert!(unsampled < Duration::from_micros(200), "{unsampled:?}");
    }
}
