//! gRPC `google.storage.v2`: the calls about buckets and objects that carry no bodies.

use googleapis_tonic_google_storage_v2::google::storage::v2;
use tonic_prost::prost::Message;

use super::Shared;
use super::bucket::{Bucket, Conditions, Listing, Object, Refusal};
use super::faults::Fault;
use super::respond::{Answer, message};
use super::server::Asked;

const PARENT: &str = "projects/_/buckets/";

pub(crate) fn answer(shared: &Shared, asked: &Asked) -> Result<Answer, Refusal> {
    let method = asked.path.strip_prefix("/google.storage.v2.Storage/").unwrap_or_default();
    // The real service routes by it, and answers calls without it with an error.
    let routed = asked.header("x-goog-request-params").is_some_and(|text| text.contains("bucket="));
    if !routed {
        return Err(Refusal::invalid("the call has no x-goog-request-params"));
    }
    match method {
        "GetBucket" => get_bucket(shared, &decode(asked)?),
        "GetObject" => get_object(shared, &decode(asked)?),
        "DeleteObject" => delete_object(shared, &decode(asked)?),
        "ListObjects" => list_objects(shared, &decode(asked)?, asked.fault == Some(Fault::EmptyPage)),
        "RestoreObject" => restore_object(shared, &decode(asked)?),
        _ => Err(Refusal::new(501, "notImplemented", "this double does not do that")),
    }
}

fn get_bucket(shared: &Shared, asked: &v2::GetBucketRequest) -> Result<Answer, Refusal> {
    let mut state = shared.state();
    let bucket = state.bucket(bucket_id(&asked.name)?)?;
    let mut kept = v2::bucket::SoftDeletePolicy::default();
    kept.retention_duration.get_or_insert_default().seconds = i64::try_from(bucket.soft_delete_s).unwrap();
    Ok(message(
        &v2::Bucket {
            name: format!("{PARENT}{}", bucket.name),
            bucket_id: bucket.name.clone(),
            metageneration: 1,
            location: bucket.location.clone(),
            location_type: "region".to_owned(),
            storage_class: "STANDARD".to_owned(),
            versioning: Some(v2::bucket::Versioning { enabled: bucket.versioning }),
            soft_delete_policy: Some(kept),
            ..Default::default()
        }
        .encode_to_vec(),
    ))
}

fn get_object(shared: &Shared, asked: &v2::GetObjectRequest) -> Result<Answer, Refusal> {
    let mut state = shared.state();
    let bucket = state.bucket(bucket_id(&asked.bucket)?)?;
    let conditions = Conditions {
        generation_match: asked.if_generation_match,
        generation_not_match: asked.if_generation_not_match,
        metageneration_match: asked.if_metageneration_match,
        metageneration_not_match: asked.if_metageneration_not_match,
    };
    let found = if asked.soft_deleted == Some(true) {
        let listing = Listing { prefix: asked.object.clone(), soft_deleted: true, ..Listing::default() };
        let same = |it: &Object| it.name == asked.object && it.generation == asked.generation;
        let found = bucket.list(&listing)?.0.into_iter().find(same);
        found.ok_or_else(|| Refusal::not_found("no such soft-deleted object"))?
    } else {
        bucket.find(&asked.object, asked.generation, conditions)?.clone()
    };
    Ok(message(&object_message(bucket, &found).encode_to_vec()))
}

fn delete_object(shared: &Shared, asked: &v2::DeleteObjectRequest) -> Result<Answer, Refusal> {
    let conditions = Conditions {
        generation_match: asked.if_generation_match,
        generation_not_match: asked.if_generation_not_match,
        metageneration_match: asked.if_metageneration_match,
        metageneration_not_match: asked.if_metageneration_not_match,
    };
    let mut state = shared.state();
    state.bucket(bucket_id(&asked.bucket)?)?.delete(&asked.object, asked.generation, conditions)?;
    Ok(message(&[]))
}

fn list_objects(shared: &Shared, asked: &v2::ListObjectsRequest, empty: bool) -> Result<Answer, Refusal> {
    let unknown = [&asked.delimiter, &asked.match_glob, &asked.filter];
    if unknown.iter().any(|text| !text.is_empty()) {
        return Err(Refusal::new(501, "notImplemented", "this double lists without delimiters and filters"));
    }
    let mut state = shared.state();
    let bucket = state.bucket(bucket_id(&asked.parent)?)?;
    let names_max =
        usize::try_from(asked.page_size).map_err(|_| Refusal::invalid("the page size is negative"))?;
    let (objects, next) = bucket.list(&Listing {
        prefix: asked.prefix.clone(),
        start: asked.lexicographic_start.clone(),
        end: asked.lexicographic_end.clone(),
        versions: asked.versions,
        soft_deleted: asked.soft_deleted,
        token: asked.page_token.clone(),
        names_max,
    })?;
    let page = if empty {
        // A token that stands before everything: the next page is what this one would have been.
        let token = if asked.page_token.is_empty() { "0 \u{1}".to_owned() } else { asked.page_token.clone() };
        v2::ListObjectsResponse { next_page_token: token, ..Default::default() }
    } else {
        v2::ListObjectsResponse {
            objects: objects.iter().map(|it| object_message(bucket, it)).collect(),
            next_page_token: next,
            ..Default::default()
        }
    };
    Ok(message(&page.encode_to_vec()))
}

fn restore_object(shared: &Shared, asked: &v2::RestoreObjectRequest) -> Result<Answer, Refusal> {
    let conditions = Conditions {
        generation_match: asked.if_generation_match,
        generation_not_match: asked.if_generation_not_match,
        metageneration_match: asked.if_metageneration_match,
        metageneration_not_match: asked.if_metageneration_not_match,
    };
    let mut state = shared.state();
    let renumbered = state.next();
    let bucket = state.bucket(bucket_id(&asked.bucket)?)?;
    let restored = bucket.restore(&asked.object, asked.generation, conditions, renumbered)?;
    Ok(message(&object_message(bucket, &restored).encode_to_vec()))
}

fn object_message(bucket: &Bucket, object: &Object) -> v2::Object {
    v2::Object {
        name: object.name.clone(),
        bucket: format!("{PARENT}{}", bucket.name),
        generation: object.generation,
        metageneration: 1,
        storage_class: "STANDARD".to_owned(),
        size: i64::try_from(object.bytes.len()).unwrap(),
        content_type: object.content_type.clone(),
        checksums: Some(v2::ObjectChecksums { crc32c: Some(object.crc32c), md5_hash: Vec::new() }),
        ..Default::default()
    }
}

fn bucket_id(name: &str) -> Result<&str, Refusal> {
    name.strip_prefix(PARENT)
        .ok_or_else(|| Refusal::invalid("a bucket's name starts with projects/_/buckets/"))
}

/// The one message of a unary call, not compressed.
fn decode<M: Message + Default>(asked: &Asked) -> Result<M, Refusal> {
    let bad = || Refusal::invalid("not one gRPC message");
    let (head, message) = asked.body.split_at_checked(5).ok_or_else(bad)?;
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if head[0] != 0 || usize::try_from(len) != Ok(message.len()) {
        return Err(bad());
    }
    M::decode(message).map_err(|_| bad())
}
