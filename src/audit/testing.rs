//! For tests: a small log as it would lie on disk, made in memory, and what somebody can make of its lines with and without
//! the key.
//!
//! Compiled only with feature `testing`.

use std::io;

use super::chain::{Chain, GENESIS, Purpose, sha256};
use super::event::{Decision, Source, Verdict};
use super::head::{HEAD, Head};
use super::record::{self, Body};
use super::strangers::Stranger;
use super::{AuditKeys, segment};
use crate::model::{Environment, RegionId, Timestamp};

/// What stands between a line's digest and what it is the digest of.
const HASH_OPEN: &[u8] = b",\"hash\":\"";
/// A digest in hex, and what closes the line behind it.
const HASH_END_BYTES: usize = 64 + 2;

/// A file of a log: its name and its bytes.
pub type File = (String, Vec<u8>);

/// A log of two segments, closed in good order: opening, decision and completion; strangers and closing. Its head comes last.
///
/// # Errors
/// None that a test can bring about: what is written is short.
pub fn log_of(keys: &AuditKeys, environment: &Environment, region: &RegionId) -> io::Result<Vec<File>> {
    let chain = Chain::new(keys, environment.as_str(), region.as_str());
    let mut decision = Decision::new("r1", "PutObject", Verdict::Placed, region.clone(), Source::Http);
    decision.bytes = Some(3);
    let bodies = [
        Body::opened(environment, region, false, None),
        Body::decision(&decision),
        Body::Completion {
            decision: 2,
            request: "r1",
            outcome: "ok",
            code: None,
            status: Some(200),
            bytes_in: 3,
            bytes_out: 0,
            duration_ms: 5,
        },
        Body::strangers(&[1; Stranger::ALL.len()]),
        Body::Closed { unfinished: 0 },
    ];
    let (mut files, mut hash, mut slots): (Vec<File>, _, _) = (Vec::new(), GENESIS, Vec::new());
    for (seq, body) in (1_u64..).zip(&bodies) {
        let first = if seq < 4 { 1 } else { 4 };
        if seq == first {
            files.push((segment::name(first), Vec::new()));
        }
        let Some((_, bytes)) = files.last_mut() else { continue };
        hash = record::append(bytes, &chain, seq, Timestamp::from_millis(seq), &hash, body)?;
        let head = Head { turn: seq, seq, hash, segment: first, bytes: bytes.len() as u64 };
        slots.push((head.turn % 2, head.encode(&chain, environment.as_str(), region.as_str())?));
    }
    // The two newest heads, the even turn first.
    let mut newest = slots.split_off(slots.len() - 2);
    newest.sort_by_key(|(place, _)| *place);
    files.push((HEAD.to_owned(), newest.into_iter().flat_map(|(_, slot)| slot).collect()));
    Ok(files)
}

/// Every line with the digest that goes with it, as anybody can work it out without the key.
pub fn rehashed(segment: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(segment.len());
    for line in segment.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let end = text.len().saturating_sub(HASH_OPEN.len() + HASH_END_BYTES);
        if text[end..].starts_with(HASH_OPEN) {
            out.extend_from_slice(&text[..end]);
            out.extend_from_slice(HASH_OPEN);
            out.extend_from_slice(hex::encode(sha256(&text[..end])).as_bytes());
            out.extend_from_slice(b"\"}");
            out.extend_from_slice(&line[text.len()..]);
        } else {
            out.extend_from_slice(line);
        }
    }
    out
}

/// Every line closed with MAC and digest under the key, whatever it says.
pub fn authentic(lines: &[u8], keys: &AuditKeys, environment: &Environment, region: &RegionId) -> Vec<u8> {
    let chain = Chain::new(keys, environment.as_str(), region.as_str());
    let mut out = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let start = out.len();
        out.extend_from_slice(line);
        chain.close(Purpose::Record, &mut out, start);
    }
    out
}
