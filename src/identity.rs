//! Who we are to a service, as of now: credentials that are read again while the service is in use.
//!
//! Files change when their keeper wants, and a service forgets the credentials before when its own keeper wants: so they are
//! read again from time to time, and at once when the service refuses us. What cannot be read, or may not be used, changes nothing.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// Between two readings that a refusal asked for: a service that refuses everything must not make us read files as often as
/// it is asked for something.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// A reading that a refused request waits for, and others behind it: a file system may never answer.
const REREAD_MAX: Duration = Duration::from_secs(5);

/// Why credentials could not be read, or may not be used. The reader's own error; it names places, never contents.
pub type RereadError = Box<dyn std::error::Error + Send + Sync>;

type Read<C> = dyn Fn() -> BoxFuture<'static, Result<C, RereadError>> + Send + Sync;

/// Where credentials come from.
#[derive(Clone)]
pub struct Source<C> {
    read: Arc<Read<C>>,
    is_fixed: bool,
}

impl<C: Send + 'static> Source<C> {
    /// They are read with `read`, which may block, now and whenever they are asked for again.
    pub fn reading(read: impl Fn() -> Result<C, RereadError> + Send + Sync + 'static) -> Self {
        let read = Arc::new(read);
        let read: Arc<Read<C>> = Arc::new(move || {
            let read = Arc::clone(&read);
            Box::pin(async move { tokio::task::spawn_blocking(move || read()).await? })
        });
        Self { read, is_fixed: false }
    }

    /// What is made of them each time, by something that may refuse them.
    pub fn then<D, F>(self, make: impl Fn(C) -> F + Send + Sync + 'static) -> Source<D>
    where
        F: Future<Output = Result<D, RereadError>> + Send + 'static,
    {
        let (read, make) = (self.read, Arc::new(make));
        let read: Arc<Read<D>> = Arc::new(move || {
            let (read, make) = (read(), Arc::clone(&make));
            Box::pin(async move { make(read.await?).await })
        });
        Source { read, is_fixed: self.is_fixed }
    }
}

impl<C: Clone + Send + Sync + 'static> From<C> for Source<C> {
    /// They stay as they are.
    fn from(credentials: C) -> Self {
        let read = move || -> BoxFuture<'static, _> { Box::pin(std::future::ready(Ok(credentials.clone()))) };
        Self { read: Arc::new(read), is_fixed: true }
    }
}

impl<C> fmt::Debug for Source<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("is_fixed", &self.is_fixed).finish_non_exhaustive()
    }
}

/// Credentials that may be replaced while they are used: who needs them asks for what they are at that moment.
pub struct Identity<C>(Arc<Inner<C>>);

struct Inner<C> {
    source: Source<C>,
    /// What they are, and how often they have changed.
    current: RwLock<(C, u64)>,
    /// When a refusal last made us read: held while reading, so that many refusals at once make one reading.
    refused: tokio::sync::Mutex<Option<Instant>>,
}

impl<C: Clone + PartialEq + Send + Sync + 'static> Identity<C> {
    /// Reads for the first time.
    pub async fn open(source: Source<C>) -> Result<Self, RereadError> {
        let current = (source.read)().await?;
        Ok(Self::new(current, source))
    }

    /// What was read from `source` just now.
    pub fn new(current: C, source: Source<C>) -> Self {
        let refused = tokio::sync::Mutex::new(None);
        Self(Arc::new(Inner { source, current: RwLock::new((current, 0)), refused }))
    }

    /// What they are now.
    pub fn current(&self) -> C {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// What can be done with an identity by somebody who need not know what it is made of.
#[async_trait]
pub trait Rotating: Send + Sync + fmt::Debug {
    /// How often the credentials have changed.
    fn changes(&self) -> u64;

    /// Whether they can change at all.
    fn is_fixed(&self) -> bool;

    /// Reads again. On an error the credentials stay.
    async fn reread(&self) -> Result<(), RereadError>;

    /// The service refused those of `changes`, or of before. Whether there are others by now: then it is worth one more try.
    async fn refused(&self, changes: u64) -> bool;
}

#[async_trait]
impl<C: Clone + PartialEq + Send + Sync + 'static> Rotating for Identity<C> {
    fn changes(&self) -> u64 {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).1
    }

    fn is_fixed(&self) -> bool {
        self.0.source.is_fixed
    }

    async fn reread(&self) -> Result<(), RereadError> {
        let fresh = (self.0.source.read)().await?;
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.0 != fresh {
            *current = (fresh, current.1 + 1);
        }
        Ok(())
    }

    async fn refused(&self, changes: u64) -> bool {
        if self.is_fixed() {
            return false;
        }
        let mut refused = self.0.refused.lock().await;
        if refused.is_none_or(|last| last.elapsed() >= REFUSED_PAUSE) && self.changes() == changes {
            *refused = Some(Instant::now());
            // An unreadable file is found, logged and counted by whoever looks at it in turn.
            let _ = tokio::time::timeout(REREAD_MAX, self.reread()).await;
        }
        self.changes() != changes
    }
}

impl<C> Clone for Identity<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Clone + PartialEq + Send + Sync + 'static> From<C> for Identity<C> {
    /// Credentials that stay as they are.
    fn from(credentials: C) -> Self {
        Self::new(credentials.clone(), credentials.into())
    }
}

impl<C> fmt::Debug for Identity<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("source", &self.0.source).finish_non_exhaustive()
    }
}
