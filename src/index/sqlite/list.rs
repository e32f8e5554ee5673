//! Listing: a range of heads, or a walk that jumps over each common prefix; one statement either way.

use sqlx::sqlite::SqliteRow;

use super::decode::{id, is_absent, is_owner, key, moment, number, text};
use super::reader::Readers;
use crate::index::{IndexError, ListEntry, ListOutcome, ListPage, ListRequest, Position, sql};
use crate::model::{BucketName, ObjectKey, TenantCode};

/// One step per entry or common prefix: find the next key at or after the bound; if it holds the delimiter after the
/// prefix, the next bound is past everything under that common prefix, else past the key. `x'ff'` is greater than any
/// byte of UTF-8. The casts keep bytes bytes: `SQLite`'s `||` answers text.
///
/// $1 bucket, $2 lower bound, $3 upper bound, $4 steps, $5 prefix length, $6 delimiter, $7 delimiter length.
pub(super) const WALK: &str = "WITH RECURSIVE page (owner, bucket_no, n, k) AS ( \
    SELECT b.owner, b.bucket_no, 1, (SELECT h.key FROM heads h WHERE h.bucket_no = b.bucket_no \
        AND h.key >= $2 AND h.key < $3 AND h.marker = 0 ORDER BY h.key LIMIT 1) FROM buckets b WHERE b.name = $1 \
    UNION ALL \
    SELECT p.owner, p.bucket_no, p.n + 1, (SELECT h.key FROM heads h WHERE h.bucket_no = p.bucket_no AND h.key < $3 \
        AND h.key > CASE WHEN instr(substr(p.k, $5 + 1), $6) > 0 \
            THEN CAST(substr(p.k, 1, $5 + instr(substr(p.k, $5 + 1), $6) + $7 - 1) || x'ff' AS BLOB) ELSE p.k END \
        AND h.marker = 0 ORDER BY h.key LIMIT 1) FROM page p WHERE p.k IS NOT NULL AND p.n < $4) \
    SELECT p.owner, p.k AS key, h.version_id, h.etag, h.size, h.modified_ms, h.class \
    FROM page p LEFT JOIN heads h ON h.bucket_no = p.bucket_no AND h.key = p.k \
    WHERE p.k IS NOT NULL OR p.n = 1 ORDER BY p.n";

/// The first bytes greater than every key that starts with `prefix`: no byte of UTF-8 is 0xff (RFC 3629, section 1).
pub(super) fn past_prefix(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), &[0xff]].concat()
}

fn lower_bound(request: &ListRequest) -> Vec<u8> {
    let after = match &request.after {
        None => Vec::new(),
        // The smallest bytes greater than the key.
        Some(Position::AfterKey(text)) => [text.as_bytes(), &[0]].concat(),
        Some(Position::AfterPrefix(text)) => past_prefix(text),
    };
    after.max(request.prefix.as_bytes().to_vec())
}

pub(super) async fn list(
    readers: &Readers,
    tenant: TenantCode,
    bucket: &BucketName,
    request: &ListRequest,
) -> Result<ListOutcome, IndexError> {
    let steps = i64::from(request.limit) + 1;
    let (lower, upper) = (lower_bound(request), past_prefix(&request.prefix));
    let query = match &request.delimiter {
        None => sqlx::query(sql::LIST).bind(bucket.as_str()).bind(lower).bind(upper).bind(steps),
        Some(delimiter) => sqlx::query(WALK)
            .bind(bucket.as_str())
            .bind(lower)
            .bind(upper)
            .bind(steps)
            .bind(length(&request.prefix)?)
            .bind(delimiter.as_bytes())
            .bind(length(delimiter)?),
    };
    let rows = readers.rows(query).await?;
    let Some(first) = rows.first() else { return Ok(ListOutcome::NoBucket) };
    if !is_owner(first, tenant)? {
        return Ok(ListOutcome::NotYours);
    }
    if request.limit == 0 || is_absent(first, "key")? {
        return Ok(ListOutcome::Page(ListPage::default()));
    }
    page(&rows, request).map(ListOutcome::Page)
}

fn length(text: &str) -> Result<i64, IndexError> {
    i64::try_from(text.len())
        .map_err(|_| IndexError::Invalid { rule: "must have a prefix of bounded length" })
}

fn page(rows: &[SqliteRow], request: &ListRequest) -> Result<ListPage, IndexError> {
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
    Ok(page)
}

fn common_prefix<'k>(key: &'k ObjectKey, request: &ListRequest) -> Option<&'k str> {
    let delimiter = request.delimiter.as_deref()?;
    let rest = key.as_str().strip_prefix(request.prefix.as_str())?;
    let end = request.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.as_str().get(..end)
}

fn entry(row: &SqliteRow, key: ObjectKey) -> Result<ListEntry, IndexError> {
    Ok(ListEntry {
        key,
        etag: text(row, "etag")?,
        size: number(row, "size")?,
        modified: moment(row, "modified_ms")?,
        class: text(row, "class")?,
        version: id(row, "version_id")?,
    })
}
