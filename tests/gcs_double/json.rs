//! The JSON API beside bodies: buckets, objects' metadata, listings. The driver does all this by gRPC; a harness that speaks
//! no gRPC looks at the double through here.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::Shared;
use super::bucket::{Bucket, Conditions, Listing, Object, Refusal};
use super::respond::{Answer, json as answer_json, status};
use super::server::{Asked, Query, bucket_and_object};

const CONDITIONS: [&str; 4] =
    ["ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch"];

pub(crate) fn answer(shared: &Shared, asked: &Asked) -> Result<Answer, Refusal> {
    let (bucket, object) = bucket_and_object(&asked.path)?;
    let mut state = shared.state();
    let bucket = state.bucket(&bucket)?;
    match (&asked.method, object.as_deref()) {
        (&Method::GET, None) => {
            asked.query.only(&["alt", "projection"])?;
            Ok(answer_json(&bucket_resource(bucket)))
        }
        (&Method::GET, Some("")) => list(bucket, &asked.query),
        (&Method::GET, Some(name)) => {
            let generation = asked.query.number("generation")?.unwrap_or(0);
            let found = bucket.find(name, generation, conditions(&asked.query)?)?.clone();
            Ok(answer_json(&object_resource(&bucket.name, &found)))
        }
        (&Method::DELETE, Some(name)) if !name.is_empty() => {
            let generation = asked.query.number("generation")?.unwrap_or(0);
            bucket.delete(name, generation, conditions(&asked.query)?)?;
            Ok(status(204))
        }
        _ => Err(Refusal::new(405, "methodNotAllowed", "not here")),
    }
}

fn list(bucket: &Bucket, query: &Query) -> Result<Answer, Refusal> {
    query.only(&[
        "prefix",
        "startOffset",
        "endOffset",
        "versions",
        "softDeleted",
        "pageToken",
        "maxResults",
        "alt",
        "projection",
    ])?;
    let text = |name| query.text(name).unwrap_or_default().to_owned();
    let (objects, next) = bucket.list(&Listing {
        prefix: text("prefix"),
        start: text("startOffset"),
        end: text("endOffset"),
        versions: query.text("versions") == Some("true"),
        soft_deleted: query.text("softDeleted") == Some("true"),
        token: text("pageToken"),
        names_max: usize::try_from(query.number("maxResults")?.unwrap_or(0))
            .map_err(|_| Refusal::invalid("maxResults is negative"))?,
    })?;
    let items: Vec<Value> = objects.iter().map(|it| object_resource(&bucket.name, it)).collect();
    let mut page = json!({ "kind": "storage#objects", "items": items });
    if !next.is_empty() {
        page["nextPageToken"] = Value::String(next);
    }
    Ok(answer_json(&page))
}

/// The preconditions of a query.
pub(crate) fn conditions(query: &Query) -> Result<Conditions, Refusal> {
    let [generation_match, generation_not_match, metageneration_match, metageneration_not_match] =
        CONDITIONS.map(|name| query.number(name));
    Ok(Conditions {
        generation_match: generation_match?,
        generation_not_match: generation_not_match?,
        metageneration_match: metageneration_match?,
        metageneration_not_match: metageneration_not_match?,
    })
}

/// Cloud Storage documentation, "Objects" resource representation.
pub(crate) fn object_resource(bucket: &str, object: &Object) -> Value {
    let Object { name, generation, content_type, bytes, crc32c } = object;
    json!({
        "kind": "storage#object",
        "id": format!("{bucket}/{name}/{generation}"),
        "name": name,
        "bucket": bucket,
        "generation": generation.to_string(),
        "metageneration": "1",
        "contentType": content_type,
        "storageClass": "STANDARD",
        "size": bytes.len().to_string(),
        "crc32c": base64_of(*crc32c),
        "etag": etag(*generation),
        "timeCreated": "2026-01-01T00:00:00.000Z",
        "updated": "2026-01-01T00:00:00.000Z",
    })
}

fn bucket_resource(bucket: &Bucket) -> Value {
    json!({
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "location": bucket.location,
        "locationType": "region",
        "storageClass": "STANDARD",
        "metageneration": "1",
        "versioning": { "enabled": bucket.versioning },
        "softDeletePolicy": { "retentionDurationSeconds": bucket.soft_delete_s.to_string() },
    })
}

/// As headers and resources write a checksum: base64 of its big-endian bytes.
pub(crate) fn base64_of(crc32c: u32) -> String {
    BASE64_STANDARD.encode(crc32c.to_be_bytes())
}

pub(crate) fn etag(generation: i64) -> String {
    BASE64_STANDARD.encode(generation.to_be_bytes())
}
