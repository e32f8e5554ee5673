//! Who we are to a service, as of now: credentials that are read again while the service is in use.
//!
//! Files change when their keeper wants, and a service forgets the credentials before when its own keeper wants: so they are
//! read again from time to time, and when the service refuses us. What cannot be read, or may not be used, changes nothing.
//! At most one reading is under way: a file system that never answers keeps one thread, and an older reading never overtakes a newer.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::{Instant, timeout};

use crate::model::chain;

/// After a reading that a refusal asked for, no other refusal asks for one: a service that refuses everything must not make us
/// read files as often as it is asked for something.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// How long a request that was refused waits for a reading, counted from the reading's begin: less than one try of a call may take.
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(3);

/// How long whoever asks for a reading waits for it: trying the new credentials is part of it.
const REREAD_MAX: Duration = Duration::from_secs(20);

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

    /// What is made of them by something that may refuse them: only where they are others than at its last success, or than the
    /// first of `known`, of which the second was made.
    pub fn then<D, F>(self, known: Option<(C, D)>, make: impl Fn(C) -> F + Send + Sync + 'static) -> Source<D>
    where
        C: Clone + PartialEq,
        D: Clone + Send + 'static,
        F: Future<Output = Result<D, RereadError>> + Send + 'static,
    {
        let (read, make, known) = (self.read, Arc::new(make), Arc::new(Mutex::new(known)));
        let read: Arc<Read<D>> = Arc::new(move || {
            let (read, make, known) = (read(), Arc::clone(&make), Arc::clone(&known));
            Box::pin(async move {
                let from = read.await?;
                if let Some((_, made)) = lock(&known).as_ref().filter(|(known, _)| *known == from) {
                    return Ok(made.clone());
                }
                let made = make(from.clone()).await?;
                *lock(&known) = Some((from, made.clone()));
                Ok(made)
            })
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
    under_way: Mutex<Option<Reading>>,
    /// When the last reading ended that a refusal had asked for.
    refused: Mutex<Option<Instant>>,
}

/// One reading: whoever asks for another while it goes on gets this one.
#[derive(Clone)]
struct Reading {
    begun: Instant,
    done: Shared<BoxFuture<'static, Result<(), Arc<str>>>>,
}

impl<C: Clone + PartialEq + Send + Sync + 'static> Identity<C> {
    /// Reads for the first time.
    pub async fn open(source: Source<C>) -> Result<Self, RereadError> {
        let current = (source.read)().await?;
        Ok(Self::new(current, source))
    }

    /// What was read from `source` just now.
    pub fn new(current: C, source: Source<C>) -> Self {
        Self(Arc::new(Inner {
            source,
            current: RwLock::new((current, 0)),
            under_way: Mutex::new(None),
            refused: Mutex::new(None),
        }))
    }

    /// What they are now.
    pub fn current(&self) -> C {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// The reading that is under way, or one that begins. It goes on, whoever leaves.
    fn reading(&self) -> Reading {
        let mut under_way = lock(&self.0.under_way);
        if let Some(reading) = under_way.as_ref().filter(|reading| reading.done.peek().is_none()) {
            return reading.clone();
        }
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move { inner.read().await });
        let done = async move {
            let read = task.await.unwrap_or_else(|ended| Err(ended.into()));
            // As a line: it is told to several who wait.
            read.map_err(|error| Arc::from(chain(&*error)))
        };
        let reading = Reading { begun: Instant::now(), done: done.boxed().shared() };
        *under_way = Some(reading.clone());
        reading
    }
}

impl<C: Clone + PartialEq + Send + Sync + 'static> Inner<C> {
    async fn read(&self) -> Result<(), RereadError> {
        let fresh = (self.source.read)().await?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.0 != fresh {
            *current = (fresh, current.1 + 1);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What can be done with an identity by somebody who need not know what it is made of.
#[async_trait]
pub trait Rotating: Send + Sync + fmt::Debug {
    /// How often the credentials have changed.
    fn changes(&self) -> u64;

    /// Whether they can change at all.
    fn is_fixed(&self) -> bool;

    /// Reads again, for at most 20 s. On an error the credentials stay.
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
        let read = timeout(REREAD_MAX, self.reading().done).await;
        read.map_err(|_| "reading does not end")?.map_err(|told| RereadError::from(&*told))
    }

    async fn refused(&self, changes: u64) -> bool {
        if self.is_fixed() {
            return false;
        }
        let is_due = lock(&self.0.refused).is_none_or(|last| last.elapsed() >= REFUSED_PAUSE);
        if is_due && self.changes() == changes {
            let Reading { begun, done } = self.reading();
            // An unreadable file is found, logged and counted by whoever looks at it in turn.
            let _ = timeout(REFUSED_WAIT_MAX.saturating_sub(begun.elapsed()), done).await;
            *lock(&self.0.refused) = Some(Instant::now());
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Credentials whose every reading waits for a permit and gives its own number; the first is done.
    async fn gated() -> (Identity<u32>, Arc<AtomicU32>, Arc<Semaphore>) {
        let (begun, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(1)));
        let (counter, door) = (Arc::clone(&begun), Arc::clone(&gate));
        let read: Arc<Read<u32>> = Arc::new(move || {
            let (number, door) = (counter.fetch_add(1, Ordering::Relaxed), Arc::clone(&door));
            Box::pin(async move {
                door.acquire().await?.forget();
                Ok(number)
            })
        });
        (Identity::open(Source { read, is_fixed: false }).await.unwrap(), begun, gate)
    }

    #[tokio::test]
    async fn a_file_that_never_answers_is_read_once_and_holds_up_who_is_refused_for_three_seconds_in_all() {
        let (identity, begun, gate) = gated().await;
        let start = Instant::now();
        let waiting = (0..50).map(|_| identity.refused(0));
        assert!(futures_util::future::join_all(waiting).await.iter().all(|changed| !changed));
        assert!((REFUSED_WAIT_MAX..REFUSED_WAIT_MAX * 5).contains(&start.elapsed()), "{:?}", start.elapsed());
        // It was waited for long enough.
        tokio::time::sleep(REFUSED_PAUSE).await;
        let late = Instant::now();
        assert!(!identity.refused(0).await);
        assert!(late.elapsed() < REFUSED_WAIT_MAX / 2, "{:?}", late.elapsed());
        assert_eq!(begun.load(Ordering::Relaxed), 2, "the first one, and the one that hangs");
        // It answers at last, and nobody waits for it any more: it counts all the same.
        gate.add_permits(1);
        identity.reread().await.unwrap();
        assert_eq!((identity.current(), identity.changes()), (1, 1));
    }

    #[tokio::test]
    async fn an_older_reading_overtook_a_newer_one() {
        let (identity, begun, gate) = gated().await;
        let (watch, refused) = (identity.clone(), identity.clone());
        let looking = tokio::spawn(async move { watch.reread().await.is_ok() });
        tokio::task::yield_now().await;
        let asked = tokio::spawn(async move { refused.refused(0).await });
        tokio::task::yield_now().await;
        gate.add_permits(2);
        assert!(looking.await.unwrap() && asked.await.unwrap());
        assert_eq!(begun.load(Ordering::Relaxed), 2, "whoever asks meanwhile gets the one that is under way");
        assert_eq!((identity.current(), identity.changes()), (1, 1));
    }

    #[tokio::test]
    async fn who_leaves_does_not_end_the_reading_that_others_wait_for() {
        let (identity, _, gate) = gated().await;
        assert!(timeout(Duration::from_millis(10), identity.refused(0)).await.is_err());
        gate.add_permits(1);
        assert!(identity.refused(0).await);
    }

    #[tokio::test]
    async fn what_was_made_is_made_again_only_of_something_else() {
        let (held, made) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicU32::new(0)));
        let (read, count) = (Arc::clone(&held), Arc::clone(&made));
        let source = Source::reading(move || Ok(read.load(Ordering::Relaxed)));
        let source = source.then(Some((1, 10)), move |from| {
            count.fetch_add(1, Ordering::Relaxed);
            async move { if from == 3 { Err("three may not be used".into()) } else { Ok(from * 10) } }
        });
        let identity = Identity::new(10, source);
        for (holds, is_taken, current, makings) in [
            (1, true, 10, 0),
            (2, true, 20, 1),
            (2, true, 20, 1),
            (3, false, 20, 2),
            (3, false, 20, 3),
            (2, true, 20, 3),
        ] {
            held.store(holds, Ordering::Relaxed);
            assert_eq!(identity.reread().await.is_ok(), is_taken, "{holds}");
            assert_eq!((identity.current(), made.load(Ordering::Relaxed)), (current, makings), "{holds}");
        }
        assert!(identity.refused(0).await, "there are others by now");
        assert!(!Identity::from(1).refused(0).await);
    }
}
