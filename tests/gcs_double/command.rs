//! Commands to the double over HTTP, for harnesses that are not Rust, all under `/_double/`:
//!
//! | request | does |
//! | --- | --- |
//! | `PUT bucket?name=B&location=L&versioning=false&soft-delete-s=604800` | makes a bucket, empty |
//! | `POST fault?on=upload&what=refuse&value=503&times=2` | the next two uploads meet the fault |
//! | `POST fault?on=download&what=flip&value=7&per-mille=100` | a tenth of the downloads meet it |
//! | `POST heal` | no faults any more |
//! | `GET requests?from=N` | what came, without bodies: each with its call, method, target, range, credential, fault and moment (s) |
//! | `GET state` | names by bucket, requests by kind, faults injected |
//! | `GET seen?marker=TEXT` | how many requests hold the text anywhere |
//!
//! `on`: `upload download control token other`. `what`, and its `value`: `latency` (ms), `refuse` (status), `reset`,
//! `lose-answer`, `break-off` (after bytes), `shorten` and `lengthen` (by bytes), `flip` (at byte), `ignore-range`,
//! `empty-page`.

use http::Method;
use serde_json::{Value, json};

use super::bucket::{Bucket, Refusal};
use super::faults::{Call, Fault};
use super::folder::Folder;
use super::respond::{Answer, json as answer_json};
use super::server::{Asked, Query};
use super::{Seen, Shared};

/// What commands' paths start with.
pub(crate) const PATH: &str = "/_double/";

pub(crate) fn answer(shared: &Shared, asked: &Asked) -> Result<Answer, Refusal> {
    let command = asked.path.strip_prefix(PATH).unwrap_or_default();
    let mut state = shared.state();
    match (&asked.method, command) {
        (&Method::PUT, "bucket") => {
            asked.query.only(&["name", "location", "versioning", "soft-delete-s"])?;
            let mut bucket = Bucket::new(needed(&asked.query, "name")?, needed(&asked.query, "location")?);
            bucket.versioning = asked.query.text("versioning") == Some("true");
            if let Some(kept_s) = asked.query.number("soft-delete-s")? {
                bucket.soft_delete_s =
                    u64::try_from(kept_s).map_err(|_| Refusal::invalid("soft-delete-s"))?;
            }
            if let Some(root) = &shared.folder {
                let folder = Folder::made(root, &bucket);
                bucket = bucket.in_folder(folder);
            }
            state.buckets.insert(bucket.name.clone(), bucket);
        }
        (&Method::POST, "fault") => {
            asked.query.only(&["on", "what", "value", "times", "per-mille"])?;
            let (on, what) = (call(&asked.query)?, fault(&asked.query)?);
            let limit = |name| Ok(asked.query.number(name)?.and_then(|number| u32::try_from(number).ok()));
            match limit("per-mille")? {
                Some(per_mille) => state.faults.set_rate(on, what, per_mille),
                None => state.faults.set(on, what, limit("times")?),
            }
        }
        (&Method::POST, "heal") => state.faults.clear(),
        (&Method::GET, "state") => {
            let buckets: Vec<Value> =
                state.buckets.values().map(|it| json!({ "name": it.name, "names": it.names() })).collect();
            let count = |call| state.seen.iter().filter(|it| it.call == call).count();
            return Ok(answer_json(&json!({
                "buckets": buckets,
                "requests": {
                    "upload": count(Call::Upload),
                    "download": count(Call::Download),
                    "control": count(Call::Control),
                    "token": count(Call::Token),
                    "other": count(Call::Other),
                },
                "injected": state.faults.injected(),
            })));
        }
        (&Method::GET, "requests") => {
            let from = usize::try_from(asked.query.number("from")?.unwrap_or(0));
            let from = from.map_err(|_| Refusal::invalid("from"))?;
            let told: Vec<Value> = state.seen.iter().skip(from).map(|it| request(shared, it)).collect();
            return Ok(answer_json(&Value::Array(told)));
        }
        (&Method::GET, "seen") => {
            let marker = needed(&asked.query, "marker")?;
            let hits = state.seen.iter().filter(|it| it.holds(marker.as_bytes())).count();
            return Ok(answer_json(&json!({ "requests": state.seen.len(), "hits": hits })));
        }
        _ => return Err(Refusal::not_found("no such command")),
    }
    Ok(answer_json(&json!({})))
}

fn request(shared: &Shared, seen: &Seen) -> Value {
    let header = |name: &str| {
        let mut lines = seen.headers.lines();
        lines.find_map(|line| {
            line.strip_prefix(name)?.strip_prefix(": \"")?.strip_suffix('"').map(str::to_owned)
        })
    };
    json!({
        "call": call_name(seen.call),
        "method": seen.method.as_str(),
        "target": seen.target,
        "range": header("range"),
        "credential": header("authorization"),
        "fault": seen.fault,
        "at": seen.at.duration_since(shared.started).as_secs_f64(),
    })
}

fn needed<'a>(query: &'a Query, name: &'static str) -> Result<&'a str, Refusal> {
    query
        .text(name)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Refusal::invalid(format!("{name} is needed")))
}

fn call_name(call: Call) -> &'static str {
    match call {
        Call::Upload => "upload",
        Call::Download => "download",
        Call::Control => "control",
        Call::Token => "token",
        Call::Other => "other",
    }
}

fn call(query: &Query) -> Result<Call, Refusal> {
    Ok(match needed(query, "on")? {
        "upload" => Call::Upload,
        "download" => Call::Download,
        "control" => Call::Control,
        "token" => Call::Token,
        "other" => Call::Other,
        _ => return Err(Refusal::invalid("on")),
    })
}

fn fault(query: &Query) -> Result<Fault, Refusal> {
    let value = || query.number("value")?.ok_or_else(|| Refusal::invalid("the fault needs a value"));
    let bytes = || usize::try_from(value()?).map_err(|_| Refusal::invalid("the value is negative"));
    Ok(match needed(query, "what")? {
        "latency" => Fault::Latency { ms: bytes()? as u64 },
        "refuse" => {
            Fault::Refuse { status: u16::try_from(bytes()?).map_err(|_| Refusal::invalid("status"))? }
        }
        "reset" => Fault::Reset,
        "lose-answer" => Fault::LoseAnswer,
        "break-off" => Fault::BreakOff { after_bytes: bytes()? },
        "shorten" => Fault::Shorten { by_bytes: bytes()? },
        "lengthen" => Fault::Lengthen { by_bytes: bytes()? },
        "flip" => Fault::Flip { at_byte: bytes()? },
        "ignore-range" => Fault::IgnoreRange,
        "empty-page" => Fault::EmptyPage,
        _ => return Err(Refusal::invalid("what")),
    })
}
