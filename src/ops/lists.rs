//! Lists: objects of a bucket, parts of an upload, uploads of a bucket. Answered by the index alone.

use bytes::Bytes;
use http::Response;

use crate::s3::reply::{self, ListedObject, ListedPart, ListedUpload, ObjectPage, PartPage, UploadPage};
use crate::s3::{ListMultipartUploads, ListObjects, ListParts, Position, S3Error};

use crate::vault::{Lease, ListRequest, Position as After, VaultError};

use super::Context;
use super::answer::Failure;
use super::body::Answer;
use super::buckets::owner;

/// Memory for one entry of a list: its row and its XML, some 150 bytes and three times the key, of which 64 bytes is usual. A
/// page that takes more has to find it.
pub(super) const ENTRY_BYTES: u64 = 512;

/// Parts whose sealed descriptors the vault has in memory at a time, while it looks for their checksums.
const DESCRIPTORS_AT_ONCE: u16 = 16;

/// The longest descriptor: a part of 5 GiB in blobs of 8 MiB are 640 entries of 250 bytes.
const DESCRIPTOR_BYTES: u64 = 640 * 250;

/// A descriptor while it is open: clear, and decoded, beside the sealed one.
const OPEN_TIMES: u64 = 3;

/// Memory for the descriptors of at most `entries` parts. Most are of a few hundred bytes, but which are not is known only when they
/// are there; it is given back as soon as the answer is made.
fn descriptors(entries: u16) -> u64 {
    DESCRIPTOR_BYTES * (u64::from(entries.clamp(1, DESCRIPTORS_AT_ONCE)) + OPEN_TIMES)
}

/// Memory for a page of at most `entries`.
pub(super) async fn room(context: &Context<'_>, entries: u16) -> Result<Lease, Failure> {
    room_of(context, ENTRY_BYTES * u64::from(entries.max(1))).await
}

/// Memory for an answer of `bytes`.
pub(super) async fn room_of(context: &Context<'_>, bytes: u64) -> Result<Lease, Failure> {
    Ok(context.vault.memory().lease_most(context.decided, bytes).await.map_err(VaultError::from)?)
}

/// The answer, which holds what its page takes until it is sent: a thousand slow readers of lists are a thousand pages.
pub(super) fn answered(mut lease: Lease, response: Response<Bytes>) -> Result<Answer, Failure> {
    let bytes = response.body().len() as u64;
    if let Some(more) = bytes.checked_sub(lease.units()) {
        lease.try_grow(more).map_err(|refusal| VaultError::Exhausted(refusal.into()))?;
    }
    lease.shrink_to(bytes);
    Ok(Answer::whole(response).holding(lease))
}

pub(super) async fn objects(context: &Context<'_>, call: &ListObjects) -> Result<Answer, Failure> {
    let request = ListRequest {
        prefix: call.prefix.clone(),
        delimiter: call.delimiter.clone(),
        after: call.start().map(|start| match start {
            Position::AfterKey(key) => After::AfterKey(key),
            Position::AfterPrefix(prefix) => After::AfterPrefix(prefix),
        }),
        limit: call.keys_max,
    };
    let lease = room(context, call.keys_max).await?;
    let page = context.vault.list(context.decided, &call.bucket, &request).await?;
    let page = ObjectPage {
        objects: page
            .entries
            .into_iter()
            .map(|entry| ListedObject {
                key: entry.key,
                modified: entry.modified,
                etag: entry.etag,
                size_bytes: entry.size,
                // Which checksums a record has is sealed with it; a list would have to open every record to say.
                checksums: Vec::new(),
            })
            .collect(),
        common_prefixes: page.prefixes,
        next: page.next.map(|next| match next {
            After::AfterKey(key) => Position::AfterKey(key),
            After::AfterPrefix(prefix) => Position::AfterPrefix(prefix),
        }),
    };
    answered(lease, reply::list_objects(call, &owner(context), &page))
}

pub(super) async fn parts(context: &Context<'_>, call: &ListParts) -> Result<Answer, Failure> {
    let entries = ENTRY_BYTES * u64::from(call.parts_max.max(1));
    let lease = room_of(context, entries + descriptors(call.parts_max)).await?;
    let object = &call.upload.object;
    let (page, checksums, facts) = context
        .vault
        .parts(context.decided, &object.bucket, &object.key, call.upload.upload, call.after, call.parts_max)
        .await?;
    let parts = page.parts.into_iter().zip(checksums);
    let page = PartPage {
        parts: parts
            .map(|(part, checksums)| ListedPart {
                number: part.number,
                modified: part.modified,
                etag: part.etag,
                size_bytes: part.size,
                checksums,
            })
            .collect(),
        truncated: page.more,
        checksum: facts.checksum,
    };
    answered(lease, reply::list_parts(call, &owner(context), &page))
}

pub(super) async fn uploads(context: &Context<'_>, call: &ListMultipartUploads) -> Result<Answer, Failure> {
    if call.delimiter.is_some() {
        return Err(
            S3Error::not_implemented("ListMultipartUploads with a delimiter is not implemented.").into()
        );
    }
    let after = call.key_marker.as_deref().map(|key| (key, call.upload_id_marker));
    let lease = room(context, call.uploads_max).await?;
    let page =
        context.vault.uploads(context.decided, &call.bucket, &call.prefix, after, call.uploads_max).await?;
    let page = UploadPage {
        uploads: page
            .uploads
            .into_iter()
            .map(|upload| ListedUpload {
                key: upload.key,
                upload: upload.upload,
                created: upload.created,
                // Sealed with the upload; see above.
                checksum: None,
            })
            .collect(),
        common_prefixes: Vec::new(),
        truncated: page.more,
    };
    answered(lease, reply::list_multipart_uploads(call, &owner(context), &page))
}
