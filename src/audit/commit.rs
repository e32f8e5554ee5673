//! One process's hold on the files of a log: opening, committing a batch, undoing a failed one.
//!
//! The order of writes and the rules of repair are in the module's documentation.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chain::{Chain, GENESIS, LINE_BYTES_MAX};
use super::head::{self, HEAD, Head};
use super::log::Options;
use super::record::{self, Body, Cut};
use super::segment::{self, Place};
use super::{AuditError, AuditKeys};
use crate::model::{Clock, Environment, RegionId, failpoint};
use crate::telemetry::event;

/// The most one commit writes, and so the most a crash can leave unfinished.
pub const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How often a held lock is tried again. Commits take about a millisecond.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// A log that this process may append to.
pub(super) struct Appender {
    dir: PathBuf,
    environment: Environment,
    region: RegionId,
    chain: Chain,
    clock: Arc<dyn Clock>,
    segment_bytes_max: u64,
    lock_ms_max: u64,
    lock: File,
    head: File,
    segment: File,
    at: Place,
    turn: u64,
    /// Bytes of others that we cut off and did not record yet.
    cut: Option<Cut>,
    /// A commit failed, and undoing it did too. The lock is still held.
    broken: bool,
}

/// A place in the log together with the open segment.
struct Located {
    segment: File,
    at: Place,
    cut: Option<Cut>,
}

impl Appender {
    /// Opens or makes the log in `dir` and writes an `opened` record.
    pub(super) fn open(
        dir: &Path,
        region: &RegionId,
        environment: &Environment,
        keys: &AuditKeys,
        clock: Arc<dyn Clock>,
        options: &Options,
    ) -> Result<Self, AuditError> {
        // Names are hidden in the log, but who did what when is not: for the proxy's own user only.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make", dir))?;
        let chain = Chain::new(keys, environment.as_str(), region.as_str());
        let lock_path = dir.join("lock");
        let lock = open_file(&lock_path, true)?;
        take_lock(&lock, options.lock_ms_max, &lock_path)?;
        let head = open_head(dir, &chain, environment, region)?;
        let (found, damaged) = read_head(dir, &head, &chain, environment, region)?;
        let Located { segment, at, cut } = locate(dir, &found, &chain)?;
        let mut appender = Self {
            dir: dir.to_path_buf(),
            environment: environment.clone(),
            region: region.clone(),
            chain,
            clock,
            segment_bytes_max: options.segment_bytes_max,
            lock_ms_max: options.lock_ms_max,
            lock,
            head,
            segment,
            at,
            turn: found.turn,
            cut: None,
            broken: false,
        };
        let (environment, region) = (environment.clone(), region.clone());
        appender.write(&[Body::opened(&environment, &region, damaged, cut.as_ref())])?;
        appender.head.sync_all().map_err(failed("sync", &dir.join(HEAD)))?;
        appender.release();
        if let Some(cut) = cut {
            event::audit_repaired(cut.bytes);
        }
        Ok(appender)
    }

    /// The sequence number of the last record.
    pub(super) const fn sequence(&self) -> u64 {
        self.at.seq
    }

    /// Makes `bodies` durable, in order, and answers the sequence number of the first. On an error none of them is in the log,
    /// and the log is where it was before, or takes nothing until it is.
    ///
    /// The caller keeps a batch within [`BATCH_BYTES_MAX`], counting [`LINE_BYTES_MAX`] for each.
    pub(super) fn commit(&mut self, bodies: &[Body<'_>]) -> Result<u64, AuditError> {
        if self.broken {
            self.undo(self.at)?;
            self.broken = false;
        } else {
            take_lock(&self.lock, self.lock_ms_max, &self.dir.join("lock"))?;
        }
        let written = self.catch_up().and_then(|()| self.write(bodies));
        if !self.broken {
            self.release();
        }
        written
    }

    /// Puts the head on the disk itself; it is otherwise left to the kernel.
    pub(super) fn sync_head(&self) -> Result<(), AuditError> {
        self.head.sync_all().map_err(failed("sync", &self.dir.join(HEAD)))
    }

    /// Lets other processes write. Failing to unlock would keep them out until we exit, which is safe.
    fn release(&self) {
        let _ = self.lock.unlock();
    }

    /// Under the lock: are the files still there, and did another process write since?
    fn catch_up(&mut self) -> Result<(), AuditError> {
        still_there(&self.lock, &self.dir.join("lock"))?;
        still_there(&self.head, &self.dir.join(HEAD))?;
        let segment_path = self.dir.join(segment::name(self.at.segment));
        still_there(&self.segment, &segment_path)?;
        let (found, _) = read_head(&self.dir, &self.head, &self.chain, &self.environment, &self.region)?;
        let len = self.segment.metadata().map_err(failed("look at", &segment_path))?.len();
        if found.turn < self.turn || len < self.at.bytes {
            return Err(self.tampered("was put back to an earlier state while in use"));
        }
        if found.turn == self.turn && len == self.at.bytes {
            return Ok(());
        }
        let Located { segment, at, cut } = locate(&self.dir, &found, &self.chain)?;
        if at.seq < self.at.seq {
            return Err(self.tampered("lost records while in use"));
        }
        (self.segment, self.at, self.turn) = (segment, at, found.turn);
        if let Some(cut) = cut {
            event::audit_repaired(cut.bytes);
            self.cut = Some(cut);
        }
        Ok(())
    }

    /// Under the lock: steps 1 to 3 of a commit, undone if one fails.
    fn write(&mut self, bodies: &[Body<'_>]) -> Result<u64, AuditError> {
        let before = self.at;
        let result = self.rotate_if_full().and_then(|()| self.append(bodies));
        if let Err(error) = result {
            // Whatever was rotated meanwhile is undone too.
            self.at = before;
            self.broken = self.undo(before).is_err();
            return Err(error);
        }
        result
    }

    fn append(&mut self, bodies: &[Body<'_>]) -> Result<u64, AuditError> {
        let repaired = self.cut.take();
        let lines = self.encode(bodies, repaired.as_ref()).inspect_err(|_| self.cut = repaired)?;
        let first = self.at.seq + 1 + u64::from(repaired.is_some());
        let result = self.put(&lines.bytes, lines.end);
        if result.is_err() {
            self.cut = repaired;
        }
        result.map(|()| first)
    }

    /// The batch as bytes, and where the log ends with it.
    fn encode(&self, bodies: &[Body<'_>], repaired: Option<&Cut>) -> Result<Lines, AuditError> {
        let now = self.clock.now();
        let mut bytes = Vec::with_capacity((bodies.len() + 1) * 512);
        let mut end = self.at;
        let repaired = repaired.map(Body::repaired);
        for body in repaired.iter().chain(bodies) {
            end.seq += 1;
            end.hash = record::append(&mut bytes, &self.chain, end.seq, now, &end.hash, body)
                .map_err(|error| failed("encode a record for", &self.dir)(error.into()))?;
        }
        debug_assert!(bytes.len() <= BATCH_BYTES_MAX + LINE_BYTES_MAX, "a batch is bounded");
        end.bytes += bytes.len() as u64;
        Ok(Lines { bytes, end })
    }

    fn put(&mut self, bytes: &[u8], end: Place) -> Result<(), AuditError> {
        let path = self.dir.join(segment::name(self.at.segment));
        self.segment.write_all_at(bytes, self.at.bytes).map_err(failed("write", &path))?;
        failpoint::pass("audit-written");
        self.segment.sync_data().map_err(failed("sync", &path))?;
        failpoint::pass("audit-synced");
        self.write_head(end)?;
        self.at = end;
        self.turn += 1;
        Ok(())
    }

    fn write_head(&self, end: Place) -> Result<(), AuditError> {
        let Place { seq, hash, segment, bytes } = end;
        let next = Head { turn: self.turn + 1, seq, hash, segment, bytes };
        let path = self.dir.join(HEAD);
        let slot = next
            .encode(&self.chain, self.environment.as_str(), self.region.as_str())
            .map_err(failed("encode", &path))?;
        self.head.write_all_at(&slot, next.offset()).map_err(failed("write", &path))
    }

    fn rotate_if_full(&mut self) -> Result<(), AuditError> {
        if self.at.bytes < self.segment_bytes_max {
            return Ok(());
        }
        self.sync_head()?;
        let first = self.at.seq + 1;
        self.segment = make_segment(&self.dir, first)?;
        (self.at.segment, self.at.bytes) = (first, 0);
        Ok(())
    }

    /// Takes the log back to `place`, where the last acknowledged batch ended, whatever a failed commit left behind.
    fn undo(&mut self, place: Place) -> Result<(), AuditError> {
        // Never cut a file of another log that stands where ours stood.
        still_there(&self.lock, &self.dir.join("lock"))?;
        still_there(&self.head, &self.dir.join(HEAD))?;
        let abandoned = self.dir.join(segment::name(place.seq + 1));
        if place.segment != place.seq + 1 && abandoned.exists() {
            fs::remove_file(&abandoned).map_err(failed("remove", &abandoned))?;
        }
        let path = self.dir.join(segment::name(place.segment));
        let segment = open_file(&path, false)?;
        let len = segment.metadata().map_err(failed("look at", &path))?.len();
        if len < place.bytes {
            return Err(self.tampered("lost records when a commit failed"));
        }
        if len > place.bytes {
            segment.set_len(place.bytes).map_err(failed("cut", &path))?;
            segment.sync_all().map_err(failed("sync", &path))?;
        }
        (self.segment, self.at) = (segment, place);
        Ok(())
    }

    fn tampered(&self, what: &'static str) -> AuditError {
        AuditError::Tampered { dir: self.dir.clone(), what }
    }
}

/// An encoded batch.
struct Lines {
    bytes: Vec<u8>,
    end: Place,
}

/// Finds where the log ends, from its head on, and cuts off what a crash left. Under the lock.
fn locate(dir: &Path, head: &Head, chain: &Chain) -> Result<Located, AuditError> {
    let tampered = |what| AuditError::Tampered { dir: dir.to_path_buf(), what };
    let (segments, _) = segment::list(dir).map_err(failed("list", dir))?;
    let mut at = Place { seq: head.seq, hash: head.hash, segment: head.segment, bytes: head.bytes };
    if head.seq == 0 && segments.is_empty() {
        return Ok(Located { segment: make_segment(dir, 1)?, at, cut: None });
    }
    let mut file = open_segment(dir, at.segment)?;
    let reading = |segment: u64| failed("read", &dir.join(segment::name(segment)));
    let len = file.metadata().map_err(reading(at.segment))?.len();
    if len < at.bytes || !segment::ends_at(&file, &at).map_err(reading(at.segment))? {
        return Err(tampered("does not hold the last record its head names"));
    }
    let mut later = segments.into_iter().filter(|first| *first > head.segment).peekable();
    loop {
        let (place, rest) = segment::walk(&file, at, chain).map_err(reading(at.segment))?;
        at = place;
        let next = later.next();
        match (rest, next) {
            (None, None) => return Ok(Located { segment: file, at, cut: None }),
            (None, Some(first)) if first == at.seq + 1 => {
                file = open_segment(dir, first)?;
                (at.segment, at.bytes) = (first, 0);
            }
            (Some(rest), None) if rest.bytes <= BATCH_BYTES_MAX as u64 => {
                let cut = segment::cut_of(&file, &at, &rest).map_err(reading(at.segment))?;
                let path = dir.join(segment::name(at.segment));
                file.set_len(at.bytes).map_err(failed("cut", &path))?;
                file.sync_all().map_err(failed("sync", &path))?;
                return Ok(Located { segment: file, at, cut: Some(cut) });
            }
            (Some(_), None) => {
                return Err(tampered("has more damaged bytes at its end than a crash can leave"));
            }
            (_, Some(_)) => return Err(tampered("is damaged between two segments")),
        }
    }
}

/// Opens the head file, making it first if the log is new.
fn open_head(
    dir: &Path,
    chain: &Chain,
    environment: &Environment,
    region: &RegionId,
) -> Result<File, AuditError> {
    let path = dir.join(HEAD);
    if path.exists() {
        return open_file(&path, false);
    }
    let (segments, _) = segment::list(dir).map_err(failed("list", dir))?;
    if !segments.is_empty() {
        return Err(AuditError::Tampered { dir: dir.to_path_buf(), what: "has records and no head" });
    }
    // Whole or not at all: written aside, synced, renamed. Before any segment, so that a log without a head is never honest.
    let aside = dir.join("head.new");
    let file = open_file(&aside, true)?;
    for turn in [0, 1] {
        let head = Head { turn, seq: 0, hash: GENESIS, segment: 1, bytes: 0 };
        let slot =
            head.encode(chain, environment.as_str(), region.as_str()).map_err(failed("encode", &aside))?;
        file.write_all_at(&slot, head.offset()).map_err(failed("write", &aside))?;
    }
    file.sync_all().map_err(failed("sync", &aside))?;
    fs::rename(&aside, &path).map_err(failed("rename", &aside))?;
    sync_dir(dir)?;
    Ok(file)
}

/// Reads the head; also says whether one of its slots was damaged.
fn read_head(
    dir: &Path,
    file: &File,
    chain: &Chain,
    environment: &Environment,
    region: &RegionId,
) -> Result<(Head, bool), AuditError> {
    let found = head::read(file, Some(chain)).map_err(failed("read", &dir.join(HEAD)))?;
    let tampered = |what| AuditError::Tampered { dir: dir.to_path_buf(), what };
    let found = found.ok_or_else(|| tampered("has no head that these keys made"))?;
    if found.environment != environment.as_str() || found.region != region.as_str() {
        return Err(tampered("belongs to another environment or region"));
    }
    Ok((found.head, found.before.is_none()))
}

/// Makes the file of a segment. One that a crashed process made and left empty is taken over.
fn make_segment(dir: &Path, first: u64) -> Result<File, AuditError> {
    let path = dir.join(segment::name(first));
    let file = open_file(&path, true)?;
    if file.metadata().map_err(failed("look at", &path))?.len() > 0 {
        return Err(AuditError::Tampered { dir: dir.to_path_buf(), what: "has a segment nobody began" });
    }
    sync_dir(dir)?;
    Ok(file)
}

fn open_segment(dir: &Path, first: u64) -> Result<File, AuditError> {
    let path = dir.join(segment::name(first));
    if path.exists() {
        open_file(&path, false)
    } else {
        Err(AuditError::Tampered { dir: dir.to_path_buf(), what: "misses the segment its head names" })
    }
}

fn open_file(path: &Path, create: bool) -> Result<File, AuditError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false).mode(0o600);
    options.open(path).map_err(failed("open", path))
}

fn sync_dir(dir: &Path) -> Result<(), AuditError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

/// Whether `file` is still what `path` names: writing to a file that was removed succeeds, and keeps nothing.
fn still_there(file: &File, path: &Path) -> Result<(), AuditError> {
    let ours = file.metadata().map_err(failed("look at", path))?;
    match fs::metadata(path) {
        Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => Ok(()),
        Ok(_) => Err(AuditError::Moved { path: path.to_path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(AuditError::Moved { path: path.to_path_buf() })
        }
        Err(error) => Err(failed("look at", path)(error)),
    }
}

fn take_lock(lock: &File, lock_ms_max: u64, path: &Path) -> Result<(), AuditError> {
    wait_for_lock(|| lock.try_lock(), lock_ms_max, path)
}

/// Tries `lock` until it succeeds, or [`AuditError::Locked`].
pub(super) fn wait_for_lock(
    lock: impl Fn() -> Result<(), TryLockError>,
    lock_ms_max: u64,
    path: &Path,
) -> Result<(), AuditError> {
    let deadline = Instant::now() + Duration::from_millis(lock_ms_max);
    loop {
        match lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(failed("lock", path)(error)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Err(AuditError::Locked),
            // `flock` with a time limit does not exist.
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

/// An [`AuditError::Io`] in the making.
fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuditError + use<> {
    let path = path.to_path_buf();
    move |source| AuditError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::{Decision, Source, Verdict};
    use crate::audit::verify;
    use crate::model::{Secret, SystemClock};

    fn keys() -> AuditKeys {
        AuditKeys { chain: Secret::new([7; 32]), pseudonym: Secret::new([8; 32]) }
    }

    fn appender(dir: &Path, segment_bytes_max: u64) -> Appender {
        let (region, environment) = ("fr".parse().unwrap(), "test".parse().unwrap());
        let options = Options { segment_bytes_max, lock_ms_max: 50, ..Options::default() };
        Appender::open(dir, &region, &environment, &keys(), Arc::new(SystemClock), &options).unwrap()
    }

    fn decision() -> Decision {
        Decision::new("r", "PutObject", Verdict::Placed, "fr".parse().unwrap(), Source::Http)
    }

    fn read_only(path: &Path) -> File {
        File::open(path).unwrap()
    }

    fn clean(dir: &Path, records: u64) {
        let report = verify(dir, Some(&keys())).unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!((report.records, report.beyond_head), (records, 0));
    }

    #[test]
    fn a_batch_that_cannot_be_written_leaves_nothing_and_the_next_one_works() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut log = appender(dir.path(), 1 << 20);
        let one = decision();
        log.segment = read_only(&dir.path().join(segment::name(1)));
        assert!(matches!(log.commit(&[Body::decision(&one)]), Err(AuditError::Io { what: "write", .. })));
        clean(dir.path(), 1);
        assert_eq!(log.commit(&[Body::decision(&one)]).unwrap(), 2);
        clean(dir.path(), 2);
    }

    #[test]
    fn a_batch_whose_head_cannot_be_written_is_taken_back() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut log = appender(dir.path(), 1 << 20);
        let one = decision();
        let head = std::mem::replace(&mut log.head, read_only(&dir.path().join(HEAD)));
        assert!(log.commit(&[Body::decision(&one)]).is_err());
        // Nobody was told, so it must not be in the log.
        clean(dir.path(), 1);
        log.head = head;
        assert_eq!(log.commit(&[Body::decision(&one)]).unwrap(), 2);
        clean(dir.path(), 2);
    }

    #[test]
    fn a_rotation_in_a_batch_that_fails_is_taken_back() {
        let dir = tempfile::TempDir::new().unwrap();
        // The `opened` record fills the segment, so each commit begins a new one.
        let mut log = appender(dir.path(), 1);
        let one = decision();
        let head = std::mem::replace(&mut log.head, read_only(&dir.path().join(HEAD)));
        assert!(log.commit(&[Body::decision(&one)]).is_err());
        assert!(!dir.path().join(segment::name(2)).exists());
        clean(dir.path(), 1);
        log.head = head;
        assert_eq!(log.commit(&[Body::decision(&one)]).unwrap(), 2);
        assert!(dir.path().join(segment::name(2)).exists());
        clean(dir.path(), 2);
    }

    #[test]
    fn while_undoing_fails_the_log_takes_nothing_and_nobody_else_may_write() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut log = appender(dir.path(), 1 << 20);
        let one = decision();
        let (path, aside) = (dir.path().join(segment::name(1)), dir.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        // The write fails and so does cutting back, since the file is gone from its place.
        let at = log.at;
        log.segment = read_only(&aside);
        assert!(log.write(&[Body::decision(&one)]).is_err());
        assert!(log.broken);
        let other = File::open(dir.path().join("lock")).unwrap();
        log.lock.lock().unwrap();
        assert!(log.commit(&[Body::decision(&one)]).is_err());
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        fs::rename(&aside, &path).unwrap();
        assert_eq!(log.commit(&[Body::decision(&one)]).unwrap(), at.seq + 1);
        assert!(!log.broken && other.try_lock().is_ok());
        other.unlock().unwrap();
        clean(dir.path(), 2);
    }

    #[test]
    fn a_batch_that_was_not_undone_is_cut_before_the_next_one() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut log = appender(dir.path(), 1 << 20);
        let one = decision();
        // As if sync had failed and cutting back too: whole, authentic records that nobody was told of.
        let lines = log.encode(&[Body::decision(&one)], None).unwrap();
        log.segment.write_all_at(&lines.bytes, log.at.bytes).unwrap();
        log.broken = true;
        assert_eq!(log.commit(&[Body::decision(&one)]).unwrap(), 2);
        clean(dir.path(), 2);
    }

    #[test]
    fn an_empty_segment_that_a_crash_left_is_taken_over() {
        let dir = tempfile::TempDir::new().unwrap();
        drop(appender(dir.path(), 1));
        File::create(dir.path().join(segment::name(2))).unwrap();
        drop(appender(dir.path(), 1));
        clean(dir.path(), 2);
    }

    #[test]
    fn the_longest_records_fit_a_batch() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut log = appender(dir.path(), 1 << 30);
        let mut one = decision();
        one.request = "\u{1}".repeat(1000).into();
        one.purpose = Some("\u{1}".repeat(1000).into());
        let bodies: Vec<_> = (0..BATCH_BYTES_MAX / LINE_BYTES_MAX).map(|_| Body::decision(&one)).collect();
        assert!(log.encode(&bodies, None).unwrap().bytes.len() <= BATCH_BYTES_MAX);
        log.commit(&bodies).unwrap();
        clean(dir.path(), 1 + bodies.len() as u64);
    }
}
