//! A record as a line of JSON: which fields, in which order, how long.

use serde::{Deserialize, Serialize};

use super::chain::{Chain, Digest, Purpose, Split, lower_hex, split};
use super::event::{Decision, Ended, Outcome, Source, Verdict};
use super::recorded::Finished;
use super::strangers::Stranger;
use crate::model::{AccessKeyId, ClassId, Environment, RegionId, TenantId, Timestamp};

/// The version of the line format.
pub(super) const VERSION: u8 = 1;

/// The longest text that a caller chooses, in bytes.
const TEXT_BYTES_MAX: usize = 128;

/// What a line says. The order of fields is the order on disk.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Body<'a> {
    /// A process opened the log.
    Opened {
        environment: &'a str,
        region: &'a str,
        software: &'static str,
        head_damaged: bool,
        cut_bytes: u64,
        cut_sha256: Option<String>,
    },
    /// Bytes that a crashed process left were cut off.
    Repaired { cut_bytes: u64, cut_sha256: Option<String> },
    /// A decision, before any effect.
    Decision(DecisionBody<'a>),
    /// How it ended.
    Completion {
        decision: u64,
        request: &'a str,
        outcome: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        bytes_in: u64,
        bytes_out: u64,
        duration_ms: u64,
    },
    /// Callers who proved nothing, since the last such record.
    Strangers(StrangersBody),
    /// A process closed the log.
    Closed { unfinished: u64 },
}

/// See [`Decision`].
#[derive(Serialize)]
pub(super) struct DecisionBody<'a> {
    request: &'a str,
    operation: &'static str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    region: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    source: &'static str,
}

/// Counts by [`Stranger`].
#[derive(Serialize)]
pub(super) struct StrangersBody {
    anonymous: u64,
    unknown_key: u64,
    bad_signature: u64,
    expired: u64,
    other_region: u64,
    malformed: u64,
}

impl<'a> Body<'a> {
    pub(super) fn opened(
        environment: &'a Environment,
        region: &'a RegionId,
        head_damaged: bool,
        cut: Option<&Cut>,
    ) -> Self {
        Self::Opened {
            environment: environment.as_str(),
            region: region.as_str(),
            software: concat!("terroir ", env!("CARGO_PKG_VERSION")),
            head_damaged,
            cut_bytes: cut.map_or(0, |cut| cut.bytes),
            cut_sha256: cut.map(|cut| hex::encode(cut.sha256)),
        }
    }

    pub(super) fn repaired(cut: &Cut) -> Self {
        Self::Repaired { cut_bytes: cut.bytes, cut_sha256: Some(hex::encode(cut.sha256)) }
    }

    pub(super) fn decision(decision: &'a Decision) -> Self {
        let (verdict, code) = match decision.verdict {
            Verdict::Placed => ("placed", None),
            Verdict::Refused { code } => ("refused", Some(code)),
        };
        Self::Decision(DecisionBody {
            request: clip(&decision.request),
            operation: decision.operation,
            verdict,
            code,
            region: decision.region.as_str(),
            tenant: decision.tenant.as_ref().map(TenantId::as_str),
            credential: decision.credential.as_ref().map(AccessKeyId::as_str),
            class: decision.class.as_ref().map(ClassId::as_str),
            bucket: decision.bucket.map(|name| name.to_string()),
            key: decision.key.map(|name| name.to_string()),
            peer: decision.peer.map(|name| name.to_string()),
            purpose: decision.purpose.as_deref().map(clip),
            bytes: decision.bytes,
            source: match decision.source {
                Source::Http => "http",
                Source::Cli => "cli",
            },
        })
    }

    pub(super) fn completion(finished: &'a Finished) -> Self {
        let Ended { outcome, status, bytes_in, bytes_out } = finished.ended;
        let (outcome, code) = match outcome {
            Outcome::Ok => ("ok", None),
            Outcome::Error { code } => ("error", Some(code)),
            Outcome::Corrupt => ("corrupt", None),
            Outcome::Aborted => ("aborted", None),
            Outcome::Dropped => ("dropped", None),
        };
        let Finished { decision, duration_ms, .. } = *finished;
        let request = clip(&finished.request);
        Self::Completion { decision, request, outcome, code, status, bytes_in, bytes_out, duration_ms }
    }

    pub(super) fn strangers(counts: &[u64; Stranger::ALL.len()]) -> Self {
        let [anonymous, unknown_key, bad_signature, expired, other_region, malformed] = *counts;
        Self::Strangers(StrangersBody {
            anonymous,
            unknown_key,
            bad_signature,
            expired,
            other_region,
            malformed,
        })
    }
}

/// Bytes that were cut off the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
}

/// At most [`TEXT_BYTES_MAX`] bytes of `text`, cut between characters.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// Appends a record to `out`. Answers its hash.
pub(super) fn append(
    out: &mut Vec<u8>,
    chain: &Chain,
    seq: u64,
    time: Timestamp,
    prev: &Digest,
    body: &Body<'_>,
) -> Result<Digest, serde_json::Error> {
    #[derive(Serialize)]
    struct Line<'a> {
        v: u8,
        seq: u64,
        time: String,
        prev: String,
        #[serde(flatten)]
        body: &'a Body<'a>,
    }
    let start = out.len();
    let line = Line { v: VERSION, seq, time: time.to_string(), prev: hex::encode(prev), body };
    serde_json::to_writer(&mut *out, &line)?;
    // MAC and hash go inside the object.
    out.pop();
    Ok(chain.close(Purpose::Record, out, start))
}

/// The part of a record that holds the chain together.
pub(super) struct Link<'a> {
    pub(super) seq: u64,
    pub(super) prev: Digest,
    pub(super) time: String,
    pub(super) kind: String,
    pub(super) split: Split<'a>,
}

/// Reads a line (without its newline). `None` if it is not a record with the right hash.
pub(super) fn read(line: &[u8]) -> Option<Link<'_>> {
    #[derive(Deserialize)]
    struct Fields {
        v: u8,
        seq: u64,
        time: String,
        prev: String,
        kind: String,
    }
    let split = split(line)?;
    let fields: Fields = serde_json::from_slice(line).ok()?;
    let prev = lower_hex(fields.prev.as_bytes())?;
    (fields.v == VERSION).then_some(Link {
        seq: fields.seq,
        prev,
        time: fields.time,
        kind: fields.kind,
        split,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditKeys;
    use crate::audit::chain::{GENESIS, LINE_BYTES_MAX};
    use crate::model::Secret;

    fn chain() -> Chain {
        let keys = AuditKeys { chain: Secret::new([1; 32]), pseudonym: Secret::new([2; 32]) };
        Chain::new(&keys, "dev", "fr")
    }

    fn line(decision: &Decision) -> String {
        let mut out = Vec::new();
        append(&mut out, &chain(), 7, Timestamp::from_millis(0), &GENESIS, &Body::decision(decision))
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_format_is_pinned() {
        let mut decision =
            Decision::new("r1", "PutObject", Verdict::Placed, "fr".parse().unwrap(), Source::Http);
        decision.tenant = Some("clinique".parse().unwrap());
        decision.bytes = Some(3);
        let line = line(&decision);
        let zeros = "0".repeat(64);
        let body = format!(
            "{{\"v\":1,\"seq\":7,\"time\":\"1970-01-01T00:00:00.000Z\",\"prev\":\"{zeros}\",\"kind\":\"decision\",\
             \"request\":\"r1\",\"operation\":\"PutObject\",\"verdict\":\"placed\",\"region\":\"fr\",\
             \"tenant\":\"clinique\",\"bytes\":3,\"source\":\"http\",\"mac\":\""
        );
        assert!(line.starts_with(&body), "{line}");
        let read = read(line.trim_end().as_bytes()).unwrap();
        assert_eq!((read.seq, read.prev, read.kind.as_str()), (7, GENESIS, "decision"));
    }

    #[test]
    fn the_longest_fields_fit_the_longest_line_and_stay_one_line() {
        let control = "\u{1}\n".repeat(5000);
        let mut decision =
            Decision::new(&control, "PutObject", Verdict::Placed, "fr".parse().unwrap(), Source::Http);
        decision.purpose = Some(control.into());
        let line = line(&decision);
        assert!(line.len() <= LINE_BYTES_MAX, "{}", line.len());
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(clip(&"é".repeat(100)).len(), 128);
        assert_eq!(clip(&format!("a{}", "é".repeat(100))).len(), 127);
    }
}
