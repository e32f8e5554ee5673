//! Listing: a range of heads, or a walk that jumps over each common prefix; one statement either way.

use super::reader::Readers;
use crate::index::answers::{self, length, lower_bound, past_prefix};
use crate::index::{IndexError, ListOutcome, ListRequest, sql};
use crate::model::{BucketName, TenantCode};

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
    answers::list(&rows, tenant, request)
}
