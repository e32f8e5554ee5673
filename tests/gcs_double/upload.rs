//! Uploads: in one request (`multipart/related`, two or three parts) and in pieces (308). Both check what they are told.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::Value;

use super::Shared;
use super::bucket::{Conditions, Object, Refusal, crc32c, find};
use super::faults::{Fault, flipped};
use super::json::{conditions, object_resource};
use super::respond::{Answer, json, status};
use super::server::{Asked, bucket_and_object};

/// Pieces but the last are multiples of this (Cloud Storage documentation, "Resumable uploads").
pub(crate) const QUANTUM_BYTES: usize = 256 * 1024;

/// An upload in pieces.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    bucket: String,
    name: String,
    content_type: String,
    declared: Option<u32>,
    conditions: Conditions,
    bytes: Vec<u8>,
    done: Option<Object>,
}

pub(crate) fn answer(shared: &Shared, asked: &Asked) -> Result<Answer, Refusal> {
    asked.query.only(&[
        "uploadType",
        "name",
        "upload_id",
        "ifGenerationMatch",
        "ifGenerationNotMatch",
        "ifMetagenerationMatch",
        "ifMetagenerationNotMatch",
    ])?;
    match (&asked.method, asked.query.text("uploadType"), asked.query.text("upload_id")) {
        (&Method::POST, Some("multipart"), None) => single(shared, asked),
        (&Method::POST, Some("resumable"), None) => start(shared, asked),
        (&Method::PUT, Some("resumable"), Some(id)) => piece(shared, asked, id),
        _ => Err(Refusal::invalid("not a kind of upload that this double takes")),
    }
}

fn place(shared: &Shared, asked: &Asked) -> Result<(String, String, Conditions), Refusal> {
    let (bucket, object) = bucket_and_object(&asked.path)?;
    if object.as_deref() != Some("") {
        return Err(Refusal::invalid("an upload's object is named by the query"));
    }
    let name = asked.query.text("name").ok_or_else(|| Refusal::invalid("an upload needs a name"))?;
    let conditions = conditions(&asked.query)?;
    if shared.settings.demand_precondition && conditions == Conditions::default() {
        return Err(Refusal::invalid("an insert without a precondition"));
    }
    shared.state().bucket(&bucket)?;
    Ok((bucket, name.to_owned(), conditions))
}

fn single(shared: &Shared, asked: &Asked) -> Result<Answer, Refusal> {
    let (bucket, name, conditions) = place(shared, asked)?;
    let kind = asked.header("content-type").unwrap_or_default();
    let boundary = kind.strip_prefix("multipart/related; boundary=");
    let boundary = boundary.ok_or_else(|| Refusal::invalid("the body is not multipart/related"))?;
    let parts = parts(&asked.body, boundary.trim_matches('"'))?;
    let (metadata, media, trailing) = match parts.as_slice() {
        [metadata, media] => (metadata, media, None),
        [metadata, media, trailing] => (metadata, media, Some(trailing)),
        _ => return Err(Refusal::invalid("the body has not two or three parts")),
    };
    let media = match &asked.fault {
        Some(Fault::Flip { at_byte }) => &flipped(media, *at_byte),
        _ => media,
    };
    let metadata = document(metadata)?;
    let declared = match trailing {
        None => checksum_in(&metadata)?,
        Some(trailing) if checksum_in(&metadata)?.is_none() => checksum_in(&document(trailing)?)?,
        Some(_) => return Err(Refusal::invalid("two checksums for one body")),
    };
    let mut state = shared.state();
    let object = Object {
        name,
        generation: state.next(),
        content_type: content_type(&metadata),
        bytes: media.clone(),
        crc32c: crc32c(media),
    };
    let bucket = state.bucket(&bucket)?;
    let stored = bucket.insert(object, declared, conditions)?;
    Ok(json(&object_resource(&bucket.name, &stored)))
}

fn start(shared: &Shared, asked: &Asked) -> Result<Answer, Refusal> {
    let (bucket, name, conditions) = place(shared, asked)?;
    let metadata = document(&asked.body)?;
    let session = Session {
        declared: checksum_in(&metadata)?,
        content_type: content_type(&metadata),
        bucket: bucket.clone(),
        name,
        conditions,
        bytes: Vec::new(),
        done: None,
    };
    let mut state = shared.state();
    let id = format!("session-{}", state.next());
    let at = format!(
        "{}://{}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={id}",
        shared.scheme, shared.address
    );
    state.sessions.insert(id, session);
    let mut answer = status(200);
    answer.headers_mut().insert("location", HeaderValue::from_str(&at).unwrap());
    Ok(answer)
}

fn piece(shared: &Shared, asked: &Asked, id: &str) -> Result<Answer, Refusal> {
    let mut state = shared.state();
    let mut session = state.sessions.get(id).cloned().ok_or_else(|| Refusal::not_found("no such upload"))?;
    if let Some(done) = &session.done {
        return Ok(json(&object_resource(&session.bucket, done)));
    }
    let extent = Extent::parse(asked.header("content-range").unwrap_or_default())?;
    let have = session.bytes.len();
    if let Some((first, last)) = extent.bytes {
        if last - first + 1 != asked.body.len() {
            return Err(Refusal::invalid("the body is not as long as its Content-Range"));
        }
        if first > have {
            return Err(Refusal::invalid("a piece that leaves a hole"));
        }
        if extent.total.is_some_and(|total| last >= total) {
            return Err(Refusal::invalid("a piece that ends past the total"));
        }
        let is_last = extent.total == Some(last + 1);
        if !is_last && !asked.body.len().is_multiple_of(QUANTUM_BYTES) {
            return Err(Refusal::invalid("a piece that is no multiple of 256 KiB"));
        }
        // What we have already is not taken again.
        session.bytes.extend_from_slice(asked.body.get(have - first..).unwrap_or_default());
    } else if !asked.body.is_empty() {
        return Err(Refusal::invalid("a question about an upload has no body"));
    }
    if extent.total != Some(session.bytes.len()) {
        let range = session.bytes.len().checked_sub(1).map(|last| format!("bytes=0-{last}"));
        state.sessions.insert(id.to_owned(), session);
        let mut answer = status(308);
        if let Some(range) = range {
            answer.headers_mut().insert("range", HeaderValue::from_str(&range).unwrap());
        }
        return Ok(answer);
    }
    let declared = match asked.header("x-goog-hash").and_then(|hash| hash.strip_prefix("crc32c=")) {
        Some(text) => Some(checksum(text)?),
        None => session.declared,
    };
    let object = Object {
        name: session.name.clone(),
        generation: state.next(),
        content_type: session.content_type.clone(),
        crc32c: crc32c(&session.bytes),
        bytes: std::mem::take(&mut session.bytes).into(),
    };
    let stored = state.bucket(&session.bucket)?.insert(object, declared, session.conditions)?;
    let answer = json(&object_resource(&session.bucket, &stored));
    session.done = Some(stored);
    state.sessions.insert(id.to_owned(), session);
    Ok(answer)
}

/// `bytes 0-9/10`, `bytes 0-9/*`, `bytes */10`, `bytes */*`.
struct Extent {
    bytes: Option<(usize, usize)>,
    total: Option<usize>,
}

impl Extent {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let bad = || Refusal::invalid("not a Content-Range");
        let number = |text: &str| text.parse::<usize>().map_err(|_| bad());
        let (bytes, total) = text.strip_prefix("bytes ").and_then(|it| it.split_once('/')).ok_or_else(bad)?;
        let total = if total == "*" { None } else { Some(number(total)?) };
        if bytes == "*" {
            return Ok(Self { bytes: None, total });
        }
        let (first, last) = bytes.split_once('-').ok_or_else(bad)?;
        let (first, last) = (number(first)?, number(last)?);
        if last < first { Err(bad()) } else { Ok(Self { bytes: Some((first, last)), total }) }
    }
}

/// RFC 2046 section 5.1, without preamble and epilogue.
fn parts(body: &Bytes, boundary: &str) -> Result<Vec<Bytes>, Refusal> {
    let bad = || Refusal::invalid("the body is not well-formed multipart");
    if boundary.is_empty() {
        return Err(bad());
    }
    let delimiter = format!("\r\n--{boundary}");
    let mut found = Vec::new();
    let mut rest = body.slice_ref(body.strip_prefix(&delimiter.as_bytes()[2..]).ok_or_else(bad)?);
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return if end.is_empty() || end == b"\r\n" { Ok(found) } else { Err(bad()) };
        }
        if !rest.starts_with(b"\r\n") {
            return Err(bad());
        }
        // The line break behind the boundary belongs to the empty line, where a part has no headers.
        let head = find(&rest, b"\r\n\r\n").ok_or_else(bad)?;
        let content = rest.slice(head + 4..);
        let end = find(&content, delimiter.as_bytes()).ok_or_else(bad)?;
        found.push(content.slice(..end));
        rest = content.slice(end + delimiter.len()..);
    }
}

fn document(text: &[u8]) -> Result<Value, Refusal> {
    let value: Value = serde_json::from_slice(text).map_err(|_| Refusal::invalid("metadata is not JSON"))?;
    if value.is_object() { Ok(value) } else { Err(Refusal::invalid("metadata is not a JSON object")) }
}

fn content_type(metadata: &Value) -> String {
    metadata.get("contentType").and_then(Value::as_str).unwrap_or("application/octet-stream").to_owned()
}

fn checksum_in(metadata: &Value) -> Result<Option<u32>, Refusal> {
    metadata.get("crc32c").and_then(Value::as_str).map(checksum).transpose()
}

fn checksum(text: &str) -> Result<u32, Refusal> {
    let bytes = BASE64_STANDARD.decode(text).ok().and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    bytes.map(u32::from_be_bytes).ok_or_else(|| Refusal::invalid("not a CRC32C in base64"))
}
