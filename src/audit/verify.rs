//! Checking a whole log, with or without its key.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::chain::{Chain, Digest, GENESIS, Purpose};
use super::commit::wait_for_lock;
use super::head::{self, Found, HEAD, Head};
use super::record::{self, Link};
use super::segment::{self, LineRead};
use super::{AuditError, AuditKeys};

/// Findings that are kept; the rest is counted.
const FINDINGS_MAX: usize = 1000;

/// How long a check waits for a commit to end. A process that cannot undo a failed commit keeps the lock; a copy of the
/// directory without the file `lock` can be checked meanwhile.
const LOCK_MS_MAX: u64 = 5_000;

/// What [`verify`] saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Whose log it says it is.
    pub environment: Option<String>,
    /// Whose log it says it is.
    pub region: Option<String>,
    /// Records with a right hash.
    pub records: u64,
    /// Decision records among them.
    pub decisions: u64,
    /// Completion records among them.
    pub completions: u64,
    /// Segment files.
    pub segments: u64,
    /// When the first record was written.
    pub first_time: Option<String>,
    /// When the last record was written.
    pub last_time: Option<String>,
    /// The last record's sequence number.
    pub last_sequence: u64,
    /// The last record's hash. Note it with the sequence number outside of the machine: a later log must still contain it.
    pub last_hash: Option<String>,
    /// Records behind the head. A crash leaves such; they are covered by the chain, and by the head of the next commit.
    pub beyond_head: u64,
    /// Whether MACs were checked too.
    pub authenticated: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Findings beyond the first thousand.
    pub findings_omitted: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the log's directory.
    pub file: PathBuf,
    /// The line in it, counted from 1.
    pub line: Option<u64>,
    /// The sequence number that stands there, or should.
    pub sequence: Option<u64>,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The line is no record, or its hash is not that of its bytes: it was changed.
    Changed,
    /// The hash is right, the MAC is not: written by somebody without the key.
    Forged,
    /// The record does not follow the one before it: records were removed, inserted or moved.
    OutOfOrder,
    /// Bytes without a newline at the end: a torn write, or a cut.
    Torn,
    /// The segment's name is not the sequence number of its first record.
    Misnamed,
    /// The log ends before its head: the tail was removed.
    Short,
    /// The head names a record that has another hash.
    OtherThanHead,
    /// There is no whole head.
    NoHead,
    /// One of the head's two slots is damaged, or something stands behind them.
    HeadDamaged,
    /// A file that does not belong here.
    Unexpected,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "is not a record with its own hash: it was changed",
            Self::Forged => "has a MAC that the region's key did not make",
            Self::OutOfOrder => {
                "does not follow the record before it: records were removed, inserted or moved"
            }
            Self::Torn => "ends without a newline",
            Self::Misnamed => "is not named after its first record",
            Self::Short => "ends before the head says: records were removed from the end",
            Self::OtherThanHead => "holds another record than the head names",
            Self::NoHead => "is missing, or damaged, or made by another key",
            Self::HeadDamaged => "has a damaged slot, or bytes behind its two",
            Self::Unexpected => "does not belong to the log",
        })
    }
}

impl fmt::Display for Finding {
    /// `00000000000000000001.jsonl:7: record 7 was …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": ")?;
        if let Some(sequence) = self.sequence {
            write!(f, "record {sequence} ")?;
        }
        write!(f, "{}", self.fault)
    }
}

/// Checks the log in `dir` from its first record to its head. Without `keys` the chain of hashes and the head; with them also
/// every MAC. Reads only; may run beside processes that write.
///
/// # Errors
/// [`AuditError::Io`] if a file cannot be read, [`AuditError::Locked`] if a writer does not let go of the log. A log that is wrong is no error but a report with findings.
pub fn verify(dir: &Path, keys: Option<&AuditKeys>) -> Result<VerifyReport, AuditError> {
    let snapshot = Snapshot::take(dir, keys)?;
    let mut walk = Walk::new(&snapshot);
    for (first, len) in &snapshot.segments {
        walk.segment(dir, *first, *len)?;
    }
    walk.finish(&snapshot);
    Ok(walk.report)
}

/// What there is to check, fixed under the log's lock so that no commit is half seen.
struct Snapshot {
    head: Option<Found>,
    chain: Option<Chain>,
    segments: Vec<(u64, u64)>,
    unexpected: Vec<PathBuf>,
}

impl Snapshot {
    fn take(dir: &Path, keys: Option<&AuditKeys>) -> Result<Self, AuditError> {
        let io = |what, path: PathBuf| move |source| AuditError::Io { what, path, source };
        // A copy on an auditor's desk has no lock that matters, and may be on a read-only medium.
        let lock = File::open(dir.join("lock")).ok();
        if let Some(lock) = &lock {
            wait_for_lock(|| lock.try_lock_shared(), LOCK_MS_MAX, &dir.join("lock"))?;
        }
        let (firsts, unexpected) = segment::list(dir).map_err(io("list", dir.to_path_buf()))?;
        let (head, chain) = match File::open(dir.join(HEAD)) {
            Ok(file) => read_head(&file, keys).map_err(io("read", dir.join(HEAD)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
            Err(error) => return Err(io("open", dir.join(HEAD))(error)),
        };
        let mut segments = Vec::with_capacity(firsts.len());
        for first in firsts {
            let path = dir.join(segment::name(first));
            let len = std::fs::metadata(&path).map_err(io("look at", path))?.len();
            segments.push((first, len));
        }
        let chain = chain.or_else(|| keys.map(|keys| Chain::new(keys, "", "")));
        Ok(Self { head, chain, segments, unexpected })
    }
}

/// The head, and what checks MACs of the log it says it is.
fn read_head(file: &File, keys: Option<&AuditKeys>) -> io::Result<(Option<Found>, Option<Chain>)> {
    let Some(found) = head::read(file, None)? else { return Ok((None, None)) };
    let Some(keys) = keys else { return Ok((Some(found), None)) };
    let chain = Chain::new(keys, &found.environment, &found.region);
    Ok((head::read(file, Some(&chain))?, Some(chain)))
}

/// The state of a check.
struct Walk<'a> {
    report: VerifyReport,
    chain: Option<&'a Chain>,
    /// Heads that name a record we have not come by yet.
    heads: Vec<Head>,
    /// The hash the next record must name; unknown behind a line that is no record.
    prev: Option<Digest>,
    next: u64,
}

impl<'a> Walk<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let head = snapshot.head.as_ref();
        let report = VerifyReport {
            segments: snapshot.segments.len() as u64,
            authenticated: snapshot.chain.is_some(),
            environment: head.map(|found| found.environment.clone()),
            region: head.map(|found| found.region.clone()),
            ..VerifyReport::default()
        };
        let heads = head.into_iter().flat_map(|found| [Some(found.head.clone()), found.before.clone()]);
        let heads = heads.flatten().collect();
        Self { report, chain: snapshot.chain.as_ref(), heads, prev: Some(GENESIS), next: 1 }
    }

    fn finding(&mut self, file: impl Into<PathBuf>, line: Option<u64>, sequence: Option<u64>, fault: Fault) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(Finding { file: file.into(), line, sequence, fault });
        } else {
            self.report.findings_omitted += 1;
        }
    }

    fn segment(&mut self, dir: &Path, first: u64, len: u64) -> Result<(), AuditError> {
        let name = segment::name(first);
        let path = dir.join(&name);
        let io = |what| {
            let path = path.clone();
            move |source| AuditError::Io { what, path, source }
        };
        let file = File::open(&path).map_err(io("open"))?;
        let mut reader = BufReader::new(file.take(len));
        let (mut line, mut number, mut offset) = (Vec::new(), 0, 0);
        loop {
            match segment::next_line(&mut reader, &mut line).map_err(io("read"))? {
                LineRead::End => break,
                LineRead::NoLine => {
                    // What follows in this file cannot be told apart into records.
                    self.finding(&*name, Some(number + 1), Some(self.next), Fault::Torn);
                    break;
                }
                LineRead::Line => {
                    number += 1;
                    offset += line.len() as u64 + 1;
                    self.line(&name, first, number, offset, &line);
                }
            }
        }
        if number == 0 && first != self.next {
            self.finding(name, None, None, Fault::Misnamed);
        }
        Ok(())
    }

    fn line(&mut self, name: &str, first: u64, number: u64, offset: u64, text: &[u8]) {
        let Some(link) = record::read(text) else {
            self.finding(name, Some(number), Some(self.next), Fault::Changed);
            self.next += 1;
            self.prev = None;
            return;
        };
        if link.seq != self.next || self.prev.is_some_and(|prev| prev != link.prev) {
            self.finding(name, Some(number), Some(link.seq), Fault::OutOfOrder);
        }
        if number == 1 && link.seq != first {
            self.finding(name, Some(1), Some(link.seq), Fault::Misnamed);
        }
        if self.chain.is_some_and(|chain| !chain.authentic(Purpose::Record, &link.split)) {
            self.finding(name, Some(number), Some(link.seq), Fault::Forged);
        }
        self.meet_heads(name, first, number, offset, &link);
        self.count(&link);
        self.prev = Some(link.split.hash);
        self.next = link.seq.saturating_add(1);
    }

    /// Compares a record with the heads that name it.
    fn meet_heads(&mut self, name: &str, first: u64, number: u64, offset: u64, link: &Link<'_>) {
        let met: Vec<Head> = self.heads.extract_if(.., |head| head.seq == link.seq).collect();
        for head in met {
            let agrees = head.hash == link.split.hash && head.segment == first && head.bytes == offset;
            if !agrees {
                self.finding(name, Some(number), Some(link.seq), Fault::OtherThanHead);
            }
        }
    }

    fn count(&mut self, link: &Link<'_>) {
        let report = &mut self.report;
        report.records += 1;
        report.decisions += u64::from(link.kind == "decision");
        report.completions += u64::from(link.kind == "completion");
        report.first_time.get_or_insert_with(|| link.time.clone());
        report.last_time = Some(link.time.clone());
        report.last_sequence = link.seq;
        report.last_hash = Some(hex::encode(link.split.hash));
    }

    fn finish(&mut self, snapshot: &Snapshot) {
        for path in &snapshot.unexpected {
            self.finding(path.clone(), None, None, Fault::Unexpected);
        }
        let Some(found) = &snapshot.head else {
            self.finding(HEAD, None, None, Fault::NoHead);
            return;
        };
        if found.before.is_none() || found.behind_bytes > 0 {
            self.finding(HEAD, None, None, Fault::HeadDamaged);
        }
        // A head of the empty log names no record.
        for head in std::mem::take(&mut self.heads).into_iter().filter(|head| head.seq > 0) {
            self.finding(segment::name(head.segment), None, Some(head.seq), Fault::Short);
        }
        self.report.beyond_head = self.report.last_sequence.saturating_sub(found.head.seq);
    }
}
