//! From rows to answers: what every engine's statements select, read the same way.

use super::fields::{self, Fields, id, is_absent, is_owner, kek_epoch, key, moment, number, reason, text};
use super::{
    Bucket, CompletedUpload, Counter, IndexError, ListEntry, ListOutcome, ListPage, ListParts, ListRequest,
    ListUploads, Lookup, NamedVersion, PartsPage, Position, Precondition, PutOutcome, ReclaimRow, Sequence,
    UploadEntry, UploadLookup, UploadsPage,
};
use crate::model::{ETag, ObjectKey, TenantCode, UploadId};

/// How `uploads.state` says that it became a version.
pub(in crate::index) const COMPLETED: i64 = 1;

pub(in crate::index) fn bucket(row: &impl Fields) -> Result<Bucket, IndexError> {
    Ok(Bucket {
        name: text(row, "name")?,
        owner: id(row, "owner")?,
        class: if is_absent(row, "class")? { None } else { Some(text(row, "class")?) },
        created: moment(row, "created_ms")?,
    })
}

pub(in crate::index) fn lookup<R: Fields>(row: Option<&R>, tenant: TenantCode) -> Result<Lookup, IndexError> {
    let Some(row) = row else { return Ok(Lookup::NoBucket) };
    if !is_owner(row, tenant)? {
        return Ok(Lookup::NotYours);
    }
    if is_absent(row, "version_id")? {
        return Ok(Lookup::NoKey);
    }
    Ok(Lookup::Found(Box::new(fields::version(row)?)))
}

pub(in crate::index) fn named(row: &impl Fields) -> Result<NamedVersion, IndexError> {
    Ok(NamedVersion {
        tenant: id(row, "owner")?,
        bucket: text(row, "name")?,
        key: key(row, "key")?,
        row: fields::version(row)?,
    })
}

/// Whether a head with this tag, or none, is what the condition asks for.
pub(in crate::index) fn holds(precondition: &Precondition, head: Option<&str>) -> bool {
    match precondition {
        Precondition::None => true,
        Precondition::IfNoneMatchStar => head.is_none(),
        Precondition::IfMatchStar => head.is_some(),
        Precondition::IfMatch(etag) => head == Some(ETag::as_str(etag)),
    }
}

/// What the precondition of a write objects to, if anything.
pub(in crate::index) fn objection(precondition: &Precondition, head: Option<&str>) -> Option<PutOutcome> {
    match (precondition, head) {
        (Precondition::IfMatch(_) | Precondition::IfMatchStar, None) => Some(PutOutcome::NoSuchKey),
        (precondition, head) if holds(precondition, head) => None,
        _ => Some(PutOutcome::PreconditionFailed),
    }
}

// ---- listing ----

/// The first bytes greater than every key that starts with `prefix`: no byte of UTF-8 is 0xff (RFC 3629, section 1).
pub(in crate::index) fn past_prefix(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), &[0xff]].concat()
}

/// The first bytes that a listing may show.
pub(in crate::index) fn lower_bound(request: &ListRequest) -> Vec<u8> {
    let after = match &request.after {
        None => Vec::new(),
        // The smallest bytes greater than the key.
        Some(Position::AfterKey(text)) => [text.as_bytes(), &[0]].concat(),
        Some(Position::AfterPrefix(text)) => past_prefix(text),
    };
    after.max(request.prefix.as_bytes().to_vec())
}

/// A text's length as the engines count.
pub(in crate::index) fn length(text: &str) -> Result<i64, IndexError> {
    i64::try_from(text.len())
        .map_err(|_| IndexError::Invalid { rule: "must have a prefix of bounded length" })
}

/// A page out of at most `limit + 1` rows, one per entry or common prefix.
pub(in crate::index) fn list(
    rows: &[impl Fields],
    tenant: TenantCode,
    request: &ListRequest,
) -> Result<ListOutcome, IndexError> {
    let Some(first) = rows.first() else { return Ok(ListOutcome::NoBucket) };
    if !is_owner(first, tenant)? {
        return Ok(ListOutcome::NotYours);
    }
    if request.limit == 0 || is_absent(first, "key")? {
        return Ok(ListOutcome::Page(ListPage::default()));
    }
    let mut page = ListPage::default();
    let limit = usize::from(request.limit);
    for row in rows.iter().take(limit) {
        let key = key(row, "key")?;
        if let Some(prefix) = common_prefix(&key, request) {
            page.next = Some(Position::AfterPrefix(prefix.to_owned()));
            page.prefixes.push(prefix.to_owned());
        } else {
            page.next = Some(Position::AfterKey(key.as_str().to_owned()));
            page.entries.push(entry(row, key)?);
        }
    }
    if rows.len() <= limit {
        page.next = None;
    }
    Ok(ListOutcome::Page(page))
}

fn common_prefix<'k>(key: &'k ObjectKey, request: &ListRequest) -> Option<&'k str> {
    let delimiter = request.delimiter.as_deref()?;
    let rest = key.as_str().strip_prefix(request.prefix.as_str())?;
    let end = request.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.as_str().get(..end)
}

fn entry(row: &impl Fields, key: ObjectKey) -> Result<ListEntry, IndexError> {
    Ok(ListEntry {
        key,
        etag: text(row, "etag")?,
        size: number(row, "size")?,
        modified: moment(row, "modified_ms")?,
        class: text(row, "class")?,
        version: id(row, "version_id")?,
    })
}

// ---- uploads ----

pub(in crate::index) fn upload<R: Fields>(
    row: Option<&R>,
    tenant: TenantCode,
) -> Result<UploadLookup, IndexError> {
    let Some(row) = row else { return Ok(UploadLookup::NoBucket) };
    if !is_owner(row, tenant)? {
        return Ok(UploadLookup::NotYours);
    }
    if is_absent(row, "upload_id")? {
        return Ok(UploadLookup::NoUpload);
    }
    if row.int("state")? != COMPLETED {
        return Ok(UploadLookup::Open(Box::new(fields::upload(row)?)));
    }
    Ok(UploadLookup::Completed(Box::new(CompletedUpload {
        version: id(row, "u_version_id")?,
        etag: text(row, "completed_etag")?,
        seq: Sequence(number(row, "completed_seq")?),
        completed: moment(row, "completed_ms")?,
        chosen: chosen(row.blob("u_record")?)?,
        class: text(row, "u_class")?,
        kek: id(row, "u_kek_id")?,
        kek_epoch: kek_epoch(row, "u_kek_epoch")?,
    })))
}

/// What [`super::sql::UPLOAD_COMPLETE`] kept of the parts that completed an upload.
fn chosen(stored: &[u8]) -> Result<Option<[u8; 32]>, IndexError> {
    if stored.is_empty() {
        return Ok(None);
    }
    fields::parsed(stored.try_into(), "u_record").map(Some)
}

/// A page of parts out of at most `limit + 1` rows.
pub(in crate::index) fn parts(
    rows: &[impl Fields],
    tenant: TenantCode,
    limit: u16,
) -> Result<ListParts, IndexError> {
    let Some(first) = rows.first() else { return Ok(ListParts::NoBucket) };
    if !is_owner(first, tenant)? {
        return Ok(ListParts::NotYours);
    }
    if is_absent(first, "state")? || first.int("state")? == COMPLETED {
        return Ok(ListParts::NoUpload);
    }
    if is_absent(first, "number")? {
        return Ok(ListParts::Page(PartsPage::default()));
    }
    let parts = rows.iter().take(usize::from(limit)).map(fields::part).collect::<Result<_, _>>()?;
    Ok(ListParts::Page(PartsPage { parts, more: limit > 0 && rows.len() > usize::from(limit) }))
}

/// Where a listing of uploads starts: the least key, the marker's key, and what identifiers of that key must exceed.
pub(in crate::index) fn uploads_after<'a>(
    prefix: &'a str,
    after: Option<(&'a str, Option<UploadId>)>,
) -> (&'a [u8], &'a [u8], Vec<u8>) {
    let marker = after.map_or("", |(key, _)| key).as_bytes();
    // Greater than every identifier: all of the marker's key is past.
    let past_all = vec![0xff; 17];
    let past = after.and_then(|(_, upload)| upload).map_or(past_all, |upload| upload.as_bytes().to_vec());
    (prefix.as_bytes().max(marker), marker, past)
}

/// A page of uploads out of at most `limit + 1` rows.
pub(in crate::index) fn uploads(
    rows: &[impl Fields],
    tenant: TenantCode,
    limit: u16,
) -> Result<ListUploads, IndexError> {
    let Some(first) = rows.first() else { return Ok(ListUploads::NoBucket) };
    if !is_owner(first, tenant)? {
        return Ok(ListUploads::NotYours);
    }
    if is_absent(first, "key")? {
        return Ok(ListUploads::Page(UploadsPage::default()));
    }
    let uploads = rows.iter().take(usize::from(limit)).map(upload_entry).collect::<Result<_, _>>()?;
    Ok(ListUploads::Page(UploadsPage { uploads, more: limit > 0 && rows.len() > usize::from(limit) }))
}

fn upload_entry(row: &impl Fields) -> Result<UploadEntry, IndexError> {
    Ok(UploadEntry {
        key: key(row, "key")?,
        upload: id(row, "upload_id")?,
        class: text(row, "class")?,
        created: moment(row, "created_ms")?,
    })
}

// ---- reclaim and questions ----

pub(in crate::index) fn reclaim(row: &impl Fields) -> Result<ReclaimRow, IndexError> {
    Ok(ReclaimRow {
        blob: id(row, "blob_id")?,
        tenant: id(row, "tenant")?,
        due: moment(row, "due_ms")?,
        reason: reason(row.int("reason")?)?,
    })
}

pub(in crate::index) fn counter(row: &impl Fields) -> Result<Counter, IndexError> {
    Ok(Counter {
        bucket: text(row, "name")?,
        class: text(row, "class")?,
        objects: number(row, "objects")?,
        bytes: number(row, "bytes")?,
        sealed_bytes: number(row, "sealed_bytes")?,
    })
}
