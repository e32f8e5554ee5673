//! Downloads: whole objects and ranges, with the headers that the client demands, and the faults of a body.

use bytes::Bytes;
use http::Response;

use super::Shared;
use super::bucket::{Object, Refusal};
use super::faults::{Fault, flipped};
use super::json::{base64_of, conditions, etag};
use super::respond::{Answer, broken_after, whole};
use super::server::{Asked, bucket_and_object};

pub(crate) fn answer(shared: &Shared, asked: &Asked) -> Result<Answer, Refusal> {
    let (bucket, name) = bucket_and_object(&asked.path)?;
    let name =
        name.filter(|name| !name.is_empty()).ok_or_else(|| Refusal::not_found("no object is named"))?;
    asked.query.only(&[
        "alt",
        "generation",
        "ifGenerationMatch",
        "ifGenerationNotMatch",
        "ifMetagenerationMatch",
        "ifMetagenerationNotMatch",
    ])?;
    let generation = asked.query.number("generation")?.unwrap_or(0);
    let object = {
        let mut state = shared.state();
        state.bucket(&bucket)?.find(&name, generation, conditions(&asked.query)?)?.clone()
    };
    let len = object.bytes.len();
    let ranged = asked.header("range").filter(|_| asked.fault != Some(Fault::IgnoreRange));
    let (status, start, end) = match ranged {
        None => (200, 0, len),
        Some(text) => {
            let (start, end) = range(text, len)?;
            (206, start, end)
        }
    };
    let body = object.bytes.slice(start..end);
    let mut answer = Response::builder()
        .status(status)
        .header("content-type", &object.content_type)
        .header("x-goog-generation", object.generation)
        .header("x-goog-metageneration", 1)
        .header("x-goog-stored-content-length", len)
        .header("x-goog-stored-content-encoding", "identity")
        .header("x-goog-storage-class", "STANDARD")
        .header("x-goog-hash", format!("crc32c={}", base64_of(object.crc32c)))
        .header("etag", etag(object.generation))
        .header("accept-ranges", "bytes");
    if status == 206 {
        answer = answer.header("content-range", format!("bytes {start}-{}/{len}", end - 1));
    }
    Ok(faulty(answer, asked.fault.as_ref(), body, &object))
}

fn faulty(answer: http::response::Builder, fault: Option<&Fault>, body: Bytes, object: &Object) -> Answer {
    let of = |bytes: Bytes| (bytes.len(), whole(bytes));
    let (len, body) = match fault {
        Some(Fault::BreakOff { after_bytes }) => {
            (body.len(), broken_after(body.slice(..(*after_bytes).min(body.len() - 1))))
        }
        Some(Fault::Shorten { by_bytes }) => of(body.slice(..body.len().saturating_sub(*by_bytes))),
        Some(Fault::Lengthen { by_bytes }) => of([&body[..], &vec![0; *by_bytes]].concat().into()),
        Some(Fault::Flip { at_byte }) => of(flipped(&body, *at_byte)),
        Some(Fault::IgnoreRange) => of(object.bytes.clone()),
        _ => of(body),
    };
    answer.header("content-length", len).body(body).unwrap()
}

/// RFC 9110 section 14.1.2, one range. What lies past the end is cut off; what starts there is 416.
fn range(text: &str, len: usize) -> Result<(usize, usize), Refusal> {
    let bad = || Refusal::invalid("not one range of bytes");
    let unsatisfiable = || Refusal::new(416, "requestedRangeNotSatisfiable", "the range starts past the end");
    let (first, last) = text.strip_prefix("bytes=").and_then(|it| it.split_once('-')).ok_or_else(bad)?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| bad());
    if first.is_empty() {
        let count = number(last)?.min(len);
        return if count == 0 { Err(unsatisfiable()) } else { Ok((len - count, len)) };
    }
    let first = number(first)?;
    let last = if last.is_empty() { len.saturating_sub(1) } else { number(last)? };
    if last < first && first < len {
        return Err(bad());
    }
    if first >= len { Err(unsatisfiable()) } else { Ok((first, last.min(len - 1) + 1)) }
}
