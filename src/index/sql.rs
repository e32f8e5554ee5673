//! Statements that mean the same in every dialect we speak. `$n` is the n-th bound value in all of them; what a dialect
//! words differently (making a page with a delimiter, locks, schema) stands in its own folder.

/// Columns of a [`super::VersionRow`], of the table named `v`.
macro_rules! version_columns {
    () => {
        "v.version_id, v.seq, v.is_null, v.etag, v.size, v.sealed_bytes, v.modified_ms, v.class, v.class_code, v.kek_id, \
         v.kek_epoch, v.record"
    };
}

/// Columns of a [`super::Upload`], of the tables named `u` and `b`.
macro_rules! upload_columns {
    () => {
        "u.upload_id, u.tenant, b.name, u.key, u.created_ms, u.metadata, u.version_id AS u_version_id, u.class AS u_class, \
         u.class_code AS u_class_code, u.kek_id AS u_kek_id, u.kek_epoch AS u_kek_epoch, u.record AS u_record"
    };
}

// ---- buckets ----
pub(super) const BUCKET: &str =
    "SELECT bucket_no, name, owner, class, created_ms FROM buckets WHERE name = $1";
pub(super) const BUCKETS_OF: &str = "SELECT bucket_no, name, owner, class, created_ms FROM buckets \
    WHERE owner = $1 AND name > $2 ORDER BY name LIMIT $3";
pub(super) const BUCKETS_COUNT: &str = "SELECT count(*) AS count FROM buckets WHERE owner = $1";
pub(super) const BUCKET_INSERT: &str =
    "INSERT INTO buckets (bucket_no, name, owner, class, created_ms) VALUES ($1, $2, $3, $4, $5)";
pub(super) const BUCKET_SET_CLASS: &str = "UPDATE buckets SET class = $2 WHERE bucket_no = $1";
pub(super) const BUCKET_IN_USE: &str = "SELECT 1 FROM heads WHERE bucket_no = $1 \
    UNION ALL SELECT 1 FROM uploads WHERE bucket_no = $1 AND state = 0 LIMIT 1";
pub(super) const BUCKET_DELETE_COUNTERS: &str = "DELETE FROM counters WHERE tenant = $1 AND bucket_no = $2";
pub(super) const BUCKET_DELETE_COMPLETED: &str = "DELETE FROM uploads WHERE bucket_no = $1 AND state = 1";
pub(super) const BUCKET_DELETE: &str = "DELETE FROM buckets WHERE bucket_no = $1";

// ---- versions ----
pub(super) const LOOKUP: &str = concat!(
    "SELECT b.owner, ",
    version_columns!(),
    " FROM buckets b LEFT JOIN heads h ON h.bucket_no = b.bucket_no AND h.key = $2 AND h.marker = 0 \
      LEFT JOIN versions v ON v.version_id = h.version_id WHERE b.name = $1"
);
pub(super) const VERSION: &str = concat!(
    "SELECT b.owner, b.name, v.key, ",
    version_columns!(),
    " FROM versions v JOIN buckets b ON b.bucket_no = v.bucket_no WHERE v.version_id = $1"
);
/// What a write must know: the bucket, the head, the null version it would replace, and itself, were it here already.
pub(super) const WRITE_TARGET: &str = "SELECT b.bucket_no, b.owner, h.etag AS head_etag, h.marker AS head_marker, \
    n.version_id AS old_id, n.class AS old_class, n.size AS old_size, n.sealed_bytes AS old_sealed, \
    m.seq AS own_seq, m.bucket_no AS own_bucket, m.key AS own_key \
    FROM buckets b LEFT JOIN heads h ON h.bucket_no = b.bucket_no AND h.key = $2 \
    LEFT JOIN versions n ON n.bucket_no = b.bucket_no AND n.key = $2 AND n.is_null = 1 \
    LEFT JOIN versions m ON m.version_id = $3 WHERE b.name = $1";
/// What a deletion must know: the bucket and the current version.
pub(super) const DELETE_TARGET: &str = "SELECT b.bucket_no, b.owner, h.etag AS head_etag, \
    v.version_id AS old_id, v.class AS old_class, v.size AS old_size, v.sealed_bytes AS old_sealed \
    FROM buckets b LEFT JOIN heads h ON h.bucket_no = b.bucket_no AND h.key = $2 AND h.marker = 0 \
    LEFT JOIN versions v ON v.version_id = h.version_id WHERE b.name = $1";
pub(super) const LIST: &str = "SELECT b.owner, h.key, h.version_id, h.etag, h.size, h.modified_ms, h.class \
    FROM buckets b LEFT JOIN heads h ON h.bucket_no = b.bucket_no AND h.key >= $2 AND h.key < $3 AND h.marker = 0 \
    WHERE b.name = $1 ORDER BY h.key LIMIT $4";

// ---- blobs and reclaim ----
/// A blob becomes live only if it does not wait to be deleted: no row inserted means it does.
pub(super) const BLOB_INSERT: &str = "INSERT INTO blobs (version_id, part, ordinal, blob_id, stored_bytes) \
    SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM reclaim WHERE blob_id = $4)";
/// A blob waits to be deleted only if it is not live.
pub(super) const RECLAIM_INSERT: &str = "INSERT INTO reclaim (blob_id, tenant, due_ms, reason) \
    SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE blob_id = $1) ON CONFLICT DO NOTHING";
pub(super) const RECLAIM_DUE: &str = "SELECT blob_id, tenant, due_ms, reason FROM reclaim WHERE due_ms <= $1 \
    ORDER BY due_ms, blob_id LIMIT $2";
pub(super) const RECLAIM_FORGET: &str = "DELETE FROM reclaim WHERE blob_id = $1";
pub(super) const RECLAIM_DEPTH: &str = "SELECT count(*) AS count FROM reclaim";

// ---- uploads ----
/// An upload, with what it became if it is completed: of its own row, since the version may be gone.
pub(super) const UPLOAD: &str = concat!(
    "SELECT b.owner, u.state, u.completed_ms, u.completed_seq, u.completed_etag, ",
    upload_columns!(),
    " FROM buckets b LEFT JOIN uploads u ON u.upload_id = $3 AND u.bucket_no = b.bucket_no AND u.key = $2 \
      WHERE b.name = $1"
);
/// Open uploads of the tenant $1, counted no further than $2.
pub(super) const UPLOADS_COUNT: &str = "SELECT count(*) AS count FROM (SELECT 1 FROM buckets b \
    JOIN uploads u ON u.bucket_no = b.bucket_no AND u.state = 0 WHERE b.owner = $1 LIMIT $2) AS open";
pub(super) const UPLOAD_INSERT: &str = "INSERT INTO uploads (upload_id, bucket_no, key, tenant, version_id, class, \
    class_code, kek_id, kek_epoch, created_ms, record, metadata) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
/// What opened the upload is not needed any more; in its place is kept which parts it became.
pub(super) const UPLOAD_COMPLETE: &str = "UPDATE uploads SET state = 1, completed_ms = $2, completed_seq = $3, \
    completed_etag = $4, record = $5, metadata = $6 WHERE upload_id = $1";
pub(super) const UPLOAD_DELETE: &str = "DELETE FROM uploads WHERE upload_id = $1";
pub(super) const UPLOADS_FORGET: &str = "DELETE FROM uploads WHERE upload_id IN (SELECT upload_id FROM uploads \
    WHERE state = 1 AND completed_ms < $1 ORDER BY completed_ms LIMIT $2)";
pub(super) const UPLOADS: &str = "SELECT b.owner, u.key, u.upload_id, u.class, u.created_ms FROM buckets b \
    LEFT JOIN uploads u ON u.bucket_no = b.bucket_no AND u.state = 0 AND u.key >= $2 AND u.key < $3 \
    AND (u.key > $4 OR (u.key = $4 AND u.upload_id > $5)) \
    WHERE b.name = $1 ORDER BY u.key, u.upload_id LIMIT $6";
pub(super) const PART_TARGET: &str = "SELECT b.owner, u.version_id, u.state, p.etag FROM buckets b \
    LEFT JOIN uploads u ON u.upload_id = $3 AND u.bucket_no = b.bucket_no AND u.key = $2 \
    LEFT JOIN parts p ON p.upload_id = u.upload_id AND p.number = $4 WHERE b.name = $1";
pub(super) const PART_UPSERT: &str = "INSERT INTO parts (upload_id, number, etag, size, modified_ms, descriptor) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (upload_id, number) DO UPDATE SET etag = excluded.etag, \
    size = excluded.size, modified_ms = excluded.modified_ms, descriptor = excluded.descriptor";
pub(super) const PARTS_LIST: &str = "SELECT b.owner, u.state, p.number, p.etag, p.size, p.modified_ms, p.descriptor \
    FROM buckets b LEFT JOIN uploads u ON u.upload_id = $3 AND u.bucket_no = b.bucket_no AND u.key = $2 \
    LEFT JOIN parts p ON p.upload_id = u.upload_id AND p.number > $4 WHERE b.name = $1 ORDER BY p.number LIMIT $5";
pub(super) const PARTS_BRIEF: &str =
    "SELECT number, etag, size FROM parts WHERE upload_id = $1 ORDER BY number";
pub(super) const PARTS_DELETE: &str = "DELETE FROM parts WHERE upload_id = $1";

// ---- questions ----
pub(super) const COUNTERS: &str = "SELECT b.name, c.class, c.objects, c.bytes, c.sealed_bytes FROM counters c \
    JOIN buckets b ON b.bucket_no = c.bucket_no WHERE c.tenant = $1 AND c.objects > 0 ORDER BY b.name, c.class";
pub(super) const KEK_USE: &str = "SELECT (SELECT count(*) FROM versions WHERE kek_id = $1 AND kek_epoch = $2) \
    + (SELECT count(*) FROM uploads WHERE kek_id = $1 AND kek_epoch = $2 AND state = 0) AS count";

// ---- scrubbing ----
/// Keyset over the primary key, so that a page costs the same wherever it starts.
pub(super) const LIVE_BLOBS: &str = "SELECT version_id, part, ordinal, blob_id, stored_bytes FROM blobs \
    WHERE (version_id, part, ordinal) > ($1, $2, $3) ORDER BY version_id, part, ordinal LIMIT $4";
pub(super) const UPLOAD_OF: &str = concat!(
    "SELECT ",
    upload_columns!(),
    " FROM uploads u JOIN buckets b ON b.bucket_no = u.bucket_no WHERE u.version_id = $1 AND u.state = 0"
);
/// No row: somebody else has the job.
pub(super) const JOB_TAKE: &str = "INSERT INTO jobs (name, holder, expires_ms, state) VALUES ($1, $2, $4, $5) \
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_ms = excluded.expires_ms \
    WHERE jobs.holder = excluded.holder OR jobs.expires_ms <= $3 RETURNING state";
pub(super) const JOB_KEEP: &str =
    "UPDATE jobs SET expires_ms = $3, state = $4 WHERE name = $1 AND holder = $2";
pub(super) const UNKNOWN_COUNT: &str = "SELECT count(*) AS count FROM unknown_blobs";
pub(super) const UNKNOWN_AGAIN: &str =
    "UPDATE unknown_blobs SET last_ms = $2 WHERE blob_id = $1 RETURNING first_ms";
pub(super) const UNKNOWN_FIRST: &str =
    "INSERT INTO unknown_blobs (blob_id, first_ms, last_ms) VALUES ($1, $2, $2)";
pub(super) const UNKNOWN_FORGET: &str = "DELETE FROM unknown_blobs WHERE last_ms < $1";

// ---- directory ----
pub(super) const ROW: &str =
    "SELECT kind, id, generation, change, sealed FROM directory WHERE kind = $1 AND id = $2";
pub(super) const ROWS: &str =
    "SELECT kind, id, generation, change, sealed FROM directory WHERE kind = $1 ORDER BY id";
pub(super) const ROWS_CHANGED: &str = "SELECT kind, id, generation, change, sealed FROM directory WHERE change > $1 \
    ORDER BY change LIMIT $2";
pub(super) const ROW_UPSERT: &str = "INSERT INTO directory (kind, id, generation, change, sealed) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (kind, id) DO UPDATE SET generation = excluded.generation, \
    change = excluded.change, sealed = excluded.sealed";
pub(super) const DIRECTORY_CHANGE: &str = "SELECT value FROM sequences WHERE name = 'directory'";

// ---- life ----
pub(super) const META: &str = "SELECT incarnation, format, region, environment FROM meta";
pub(super) const META_INSERT: &str = "INSERT INTO meta (one, incarnation, format, region, environment, created_ms) \
    VALUES (1, $1, $2, $3, $4, $5)";
