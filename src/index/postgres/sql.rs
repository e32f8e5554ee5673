//! Statements in `PostgreSQL`'s dialect. Those that mean the same everywhere stand in [`crate::index::sql`].
//!
//! A change is one statement, so it is one round trip and its own transaction. Its parts all see the same moment, which may
//! be older than a lock that one of them had to wait for. So each change is *optimistic*: it reads its target, then changes the
//! one row that everybody who changes the same thing must change, provided that this row still is what was read. If it is not,
//! nothing else happens (every other part takes its rows from that change), the statement answers without a sequence, and the
//! caller asks again.

/// What a write or a deletion reads first: the bucket, the head, and the version under it. Of the keys named `$2`.
macro_rules! target {
    () => {
        "SELECT b.bucket_no, b.owner, h.version_id AS head_version, CASE WHEN h.marker = 0 THEN h.etag END AS head_etag, \
         o.version_id AS old_id, o.class AS old_class, o.size AS old_size, o.sealed_bytes AS old_sealed"
    };
}
macro_rules! target_from {
    () => {
        " FROM buckets b LEFT JOIN heads h ON h.bucket_no = b.bucket_no AND h.key = $2 \
         LEFT JOIN versions o ON o.version_id = h.version_id AND o.is_null = 1 "
    };
}

/// [`crate::index::Index::commit_put`].
///
/// $1 bucket, $2 key, $3 version, $4 tenant, $5 condition, $6 its tag, $7 tag, $8 size, $9 sealed bytes, $10 modified, $11 class,
/// $12 class code, $13 KEK, $14 epoch, $15 record, $16 blobs, $17 their lengths, $18 due of what is replaced, $19 shard.
///
/// The number is taken in `RETURNING`, which comes after the row: the head is held then, or the key's place in the unique index is.
/// Else a key could be written and deleted between this writer's number and its row, and the later write would have the
/// lower one. So the number stands in the version alone; `heads.seq` says nothing here.
pub(super) const PUT: &str = concat!(
    "WITH target AS (",
    target!(),
    ", m.seq AS own_seq, m.bucket_no AS own_bucket, m.key AS own_key",
    target_from!(),
    "LEFT JOIN versions m ON m.version_id = $3 WHERE b.name = $1), ",
    "wanted AS (SELECT * FROM target WHERE owner = $4 AND own_seq IS NULL AND CASE $5 WHEN 0 THEN TRUE \
        WHEN 1 THEN head_etag IS NULL WHEN 2 THEN head_etag = $6 ELSE head_etag IS NOT NULL END), \
     changed AS (UPDATE heads h SET version_id = $3, marker = 0, etag = $7, size = $8, \
        modified_ms = $10, class = $11 FROM wanted w WHERE h.bucket_no = w.bucket_no AND h.key = $2 \
        AND h.version_id = w.head_version RETURNING h.bucket_no, nextval('commit_order') AS seq), \
     made AS (INSERT INTO heads (bucket_no, key, seq, version_id, etag, size, modified_ms, class) \
        SELECT w.bucket_no, $2, 0, $3, $7, $8, $10, $11 FROM wanted w WHERE w.head_version IS NULL \
        ON CONFLICT (bucket_no, key) DO NOTHING RETURNING bucket_no, nextval('commit_order') AS seq), \
     head AS (SELECT bucket_no, seq FROM changed UNION ALL SELECT bucket_no, seq FROM made), \
     gone AS (DELETE FROM versions v USING wanted w, changed c WHERE v.version_id = w.old_id RETURNING v.version_id), \
     freed AS (UPDATE blobs f SET due_ms = $18, reason = 1 FROM gone g \
        WHERE f.version_id = g.version_id AND f.due_ms IS NULL RETURNING f.blob_id), \
     stored AS (INSERT INTO versions (version_id, bucket_no, key, seq, is_null, etag, size, sealed_bytes, modified_ms, \
        class, class_code, kek_id, kek_epoch, record) \
        SELECT $3, h.bucket_no, $2, h.seq, 1, $7, $8, $9, $10, $11, $12, $13, $14, $15 FROM head h RETURNING version_id), \
     live AS (INSERT INTO blobs (blob_id, tenant, version_id, part, ordinal, stored_bytes) \
        SELECT n.id, $4, $3, 0, n.place - 1, n.bytes FROM head h, unnest($16, $17) WITH ORDINALITY AS n (id, bytes, place) \
        RETURNING blob_id), \
     counted AS (INSERT INTO counters AS k (tenant, bucket_no, class, shard, objects, bytes, sealed_bytes) \
        SELECT $4, d.bucket_no, d.class, $19, sum(d.objects), sum(d.bytes), sum(d.sealed) FROM ( \
            SELECT h.bucket_no, $11 AS class, 1 AS objects, $8 AS bytes, $9 AS sealed FROM head h \
            UNION ALL SELECT w.bucket_no, w.old_class, -1, -w.old_size, -w.old_sealed FROM wanted w, gone g) d \
        GROUP BY d.bucket_no, d.class ORDER BY d.class ON CONFLICT (tenant, bucket_no, class, shard) DO UPDATE \
        SET objects = k.objects + excluded.objects, bytes = k.bytes + excluded.bytes, \
        sealed_bytes = k.sealed_bytes + excluded.sealed_bytes RETURNING k.shard) \
     SELECT t.owner, t.bucket_no, t.head_etag, t.old_id, t.own_seq, t.own_bucket, t.own_key, \
        (SELECT seq FROM head) AS seq FROM target t"
);

/// [`crate::index::Index::delete`]. $1 bucket, $2 key, $3 tenant, $4 condition, $5 its tag, $6 due, $7 shard.
pub(super) const DELETE: &str = concat!(
    "WITH target AS (",
    target!(),
    target_from!(),
    "WHERE b.name = $1), ",
    "wanted AS (SELECT * FROM target WHERE owner = $3 AND head_etag IS NOT NULL AND CASE $4 WHEN 0 THEN TRUE \
        WHEN 1 THEN FALSE WHEN 2 THEN head_etag = $5 ELSE TRUE END), \
     head AS (DELETE FROM heads h USING wanted w WHERE h.bucket_no = w.bucket_no AND h.key = $2 \
        AND h.version_id = w.head_version RETURNING nextval('commit_order') AS seq), \
     gone AS (DELETE FROM versions v USING wanted w, head h WHERE v.version_id = w.old_id RETURNING v.version_id), \
     freed AS (UPDATE blobs f SET due_ms = $6, reason = 2 FROM gone g \
        WHERE f.version_id = g.version_id AND f.due_ms IS NULL RETURNING f.blob_id), \
     counted AS (UPDATE counters k SET objects = k.objects - 1, bytes = k.bytes - w.old_size, \
        sealed_bytes = k.sealed_bytes - w.old_sealed FROM wanted w, gone g WHERE k.tenant = $3 \
        AND k.bucket_no = w.bucket_no AND k.class = w.old_class AND k.shard = $7 RETURNING k.shard) \
     SELECT t.owner, t.head_etag, t.head_version, (SELECT seq FROM head) AS seq FROM target t"
);

/// [`crate::index::Index::delete_many`]. $1 bucket, $2 keys, each once, $3 their shards, $4 tenant, $5 due.
///
/// Locks in the order of keys and of counters, so that two of them wait for each other in turn and not in a ring.
pub(super) const DELETE_MANY: &str = "WITH mine AS (SELECT bucket_no, owner FROM buckets WHERE name = $1), \
     asked AS (SELECT n.key, n.shard FROM unnest($2, $3) AS n (key, shard)), \
     target AS (SELECT b.bucket_no, a.key, a.shard, h.version_id AS head_version, o.version_id AS old_id, \
        o.class AS old_class, o.size AS old_size, o.sealed_bytes AS old_sealed FROM mine b, asked a \
        JOIN LATERAL (SELECT h.version_id FROM heads h WHERE h.bucket_no = (SELECT bucket_no FROM mine) \
            AND h.key = a.key AND h.marker = 0) h ON TRUE \
        LEFT JOIN versions o ON o.version_id = h.version_id AND o.is_null = 1 WHERE b.owner = $4), \
     locked AS (SELECT h.key FROM heads h WHERE h.bucket_no = (SELECT bucket_no FROM mine WHERE owner = $4) \
        AND h.key = ANY($2) ORDER BY h.key FOR UPDATE), \
     head AS (DELETE FROM heads h USING target t, (SELECT count(*) FROM locked) l WHERE h.bucket_no = t.bucket_no \
        AND h.key = t.key AND h.version_id = t.head_version RETURNING h.key, nextval('commit_order') AS seq), \
     gone AS (DELETE FROM versions v USING target t, head h WHERE h.key = t.key AND v.version_id = t.old_id \
        RETURNING v.version_id), \
     freed AS (UPDATE blobs f SET due_ms = $5, reason = 2 FROM gone g \
        WHERE f.version_id = g.version_id AND f.due_ms IS NULL RETURNING f.blob_id), \
     counted AS (INSERT INTO counters AS k (tenant, bucket_no, class, shard, objects, bytes, sealed_bytes) \
        SELECT $4, t.bucket_no, t.old_class, t.shard, -count(*), -sum(t.old_size), -sum(t.old_sealed) \
        FROM target t JOIN gone g ON g.version_id = t.old_id GROUP BY t.bucket_no, t.old_class, t.shard \
        ORDER BY t.old_class, t.shard ON CONFLICT (tenant, bucket_no, class, shard) DO UPDATE \
        SET objects = k.objects + excluded.objects, bytes = k.bytes + excluded.bytes, \
        sealed_bytes = k.sealed_bytes + excluded.sealed_bytes RETURNING k.shard) \
     SELECT b.owner, t.key, t.head_version, h.seq FROM mine b LEFT JOIN target t ON TRUE LEFT JOIN head h ON h.key = t.key";

// ---- listing ----

macro_rules! entry_columns {
    () => {
        "h.key, h.version_id, h.etag, h.size, h.modified_ms, h.class"
    };
}

/// One range of heads. The limit stands inside, so that it ends the walk and not only the answer. $1 bucket, $2 lower bound,
/// $3 upper bound, $4 rows.
pub(super) const LIST: &str = concat!(
    "SELECT b.owner, h.* FROM buckets b LEFT JOIN LATERAL (SELECT ",
    entry_columns!(),
    " FROM heads h WHERE h.bucket_no = b.bucket_no AND h.key >= $2 AND h.key < $3 AND h.marker = 0 \
     ORDER BY h.key LIMIT $4) h ON TRUE WHERE b.name = $1 ORDER BY h.key"
);

/// One step per entry or common prefix: find the next key; if it holds the delimiter after the prefix, the next bound is past
/// everything under that common prefix, else past the key. `\xff` is greater than any byte of UTF-8.
///
/// $1 bucket, $2 lower bound, $3 upper bound, $4 steps, $5 prefix length, $6 delimiter, $7 delimiter length.
pub(super) const WALK: &str = concat!(
    "WITH RECURSIVE page (owner, bucket_no, n, key, version_id, etag, size, modified_ms, class) AS ( \
        SELECT b.owner, b.bucket_no, 1::BIGINT, h.* FROM buckets b LEFT JOIN LATERAL (SELECT ",
    entry_columns!(),
    " FROM heads h WHERE h.bucket_no = b.bucket_no AND h.key >= $2 AND h.key < $3 AND h.marker = 0 \
        ORDER BY h.key LIMIT 1) h ON TRUE WHERE b.name = $1 \
     UNION ALL \
        SELECT p.owner, p.bucket_no, p.n + 1, h.* FROM page p CROSS JOIN LATERAL (SELECT ",
    entry_columns!(),
    " FROM heads h WHERE h.bucket_no = p.bucket_no AND h.key < $3 AND h.marker = 0 AND h.key > \
            CASE WHEN position($6 IN substr(p.key, $5::INT + 1)) > 0 \
            THEN substr(p.key, 1, $5::INT + position($6 IN substr(p.key, $5::INT + 1)) + $7::INT - 1) || '\\xff'::BYTEA \
            ELSE p.key END ORDER BY h.key LIMIT 1) h WHERE p.key IS NOT NULL AND p.n < $4) \
     SELECT owner, key, version_id, etag, size, modified_ms, class FROM page ORDER BY n"
);

// ---- buckets ----

/// The lock under which buckets are made: it makes the bound on a tenant's buckets exact.
pub(super) const BUCKET_NEXT: &str =
    "UPDATE sequences SET value = value + 1 WHERE name = 'bucket' RETURNING value";
pub(super) const BUCKET_SET_CLASS: &str = "WITH target AS (SELECT bucket_no, owner FROM buckets WHERE name = $1), \
     done AS (UPDATE buckets b SET class = $3 FROM target t WHERE b.bucket_no = t.bucket_no AND t.owner = $2 \
        RETURNING b.bucket_no) \
     SELECT t.owner, (SELECT count(*) FROM done) AS count FROM target t";
/// $1 name, $2 owner. Whoever makes a head or an upload meanwhile breaks the reference, and this is asked again.
pub(super) const BUCKET_DELETE: &str = "WITH target AS (SELECT bucket_no, owner FROM buckets WHERE name = $1), \
     used AS (SELECT EXISTS (SELECT 1 FROM heads WHERE bucket_no = (SELECT bucket_no FROM target)) \
        OR EXISTS (SELECT 1 FROM uploads WHERE bucket_no = (SELECT bucket_no FROM target) AND state = 0) AS is_used), \
     wanted AS (SELECT t.bucket_no FROM target t, used u WHERE t.owner = $2 AND NOT u.is_used), \
     counters_gone AS (DELETE FROM counters c USING wanted w WHERE c.tenant = $2 AND c.bucket_no = w.bucket_no), \
     uploads_gone AS (DELETE FROM uploads u USING wanted w WHERE u.bucket_no = w.bucket_no AND u.state = 1), \
     done AS (DELETE FROM buckets b USING wanted w WHERE b.bucket_no = w.bucket_no RETURNING b.bucket_no) \
     SELECT t.owner, CASE WHEN u.is_used THEN 1::BIGINT ELSE 0::BIGINT END AS used, \
        (SELECT count(*) FROM done) AS count FROM target t, used u";

// ---- uploads ----

/// $1 upload, $2 bucket, $3 key, $4 tenant, $5 version, $6 class, $7 class code, $8 KEK, $9 epoch, $10 created, $11 record,
/// $12 metadata, $13 the most open uploads that the tenant may have after it.
///
/// Counted no further than the bound, of one moment: a bound that must hold against others who create is asked for under
/// [`UPLOADS_LOCK`].
pub(super) const UPLOAD_CREATE: &str = "WITH target AS (SELECT bucket_no, owner FROM buckets WHERE name = $2), \
     found AS (SELECT u.upload_id FROM uploads u, target t \
        WHERE u.upload_id = $1 AND u.bucket_no = t.bucket_no AND u.key = $3), \
     wanted AS (SELECT t.bucket_no FROM target t WHERE t.owner = $4 AND NOT EXISTS (SELECT 1 FROM found)), \
     opened AS (SELECT count(*) AS count FROM (SELECT 1 FROM buckets b \
        JOIN uploads u ON u.bucket_no = b.bucket_no AND u.state = 0 \
        WHERE b.owner = $4 AND EXISTS (SELECT 1 FROM wanted) LIMIT $13) AS one), \
     made AS (INSERT INTO uploads (upload_id, bucket_no, key, tenant, version_id, class, class_code, kek_id, kek_epoch, \
        created_ms, record, metadata) SELECT $1, w.bucket_no, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM wanted w \
        WHERE (SELECT count FROM opened) < $13 RETURNING upload_id) \
     SELECT t.owner, (SELECT count(*) FROM found) + (SELECT count(*) FROM made) AS count, \
        CASE WHEN (SELECT count FROM opened) < $13 THEN 0::BIGINT ELSE 1::BIGINT END AS is_full FROM target t";
/// Until the transaction ends, nobody else who takes it creates an upload of the tenant whose guard is $1.
pub(super) const UPLOADS_LOCK: &str = "SELECT pg_advisory_xact_lock($1)";

/// $1 bucket, $2 key, $3 upload, $4 number, $5 tenant, $6 tag, $7 size, $8 modified, $9 descriptor, $10 blobs, $11 their lengths,
/// $12 due of what is replaced.
///
/// The upload is locked against being completed or aborted, not against other parts. What is replaced is given up before the
/// new blobs take its place (the count makes it so).
pub(super) const PART_PUT: &str = "WITH target AS (SELECT bucket_no, owner FROM buckets WHERE name = $1), \
     open AS (SELECT u.upload_id, u.version_id, u.state FROM uploads u WHERE u.upload_id = $3 AND u.key = $2 \
        AND u.bucket_no = (SELECT bucket_no FROM target WHERE owner = $5) FOR SHARE), \
     old AS (SELECT p.etag FROM parts p WHERE p.upload_id = $3 AND p.number = $4), \
     wanted AS (SELECT o.upload_id, o.version_id, (SELECT etag FROM old) AS old_etag FROM open o WHERE o.state = 0 \
        AND NOT EXISTS (SELECT 1 FROM old WHERE etag = $6)), \
     changed AS (UPDATE parts p SET etag = $6, size = $7, modified_ms = $8, descriptor = $9 FROM wanted w \
        WHERE p.upload_id = w.upload_id AND p.number = $4 AND p.etag = w.old_etag RETURNING p.number), \
     made AS (INSERT INTO parts (upload_id, number, etag, size, modified_ms, descriptor) \
        SELECT w.upload_id, $4, $6, $7, $8, $9 FROM wanted w WHERE w.old_etag IS NULL \
        ON CONFLICT (upload_id, number) DO NOTHING RETURNING number), \
     done AS (SELECT number FROM changed UNION ALL SELECT number FROM made), \
     freed AS (UPDATE blobs f SET due_ms = $12, reason = 4 FROM wanted w, changed c WHERE f.version_id = w.version_id \
        AND f.part = $4 AND f.due_ms IS NULL RETURNING f.blob_id), \
     live AS (INSERT INTO blobs (blob_id, tenant, version_id, part, ordinal, stored_bytes) \
        SELECT n.id, $5, w.version_id, $4, n.place - 1, n.bytes FROM wanted w, done d, \
        (SELECT count(*) FROM freed) r, unnest($10, $11) WITH ORDINALITY AS n (id, bytes, place) RETURNING blob_id) \
     SELECT t.owner, (SELECT state FROM open) AS state, (SELECT etag FROM old) AS old_etag, \
        (SELECT count(*) FROM done) AS count FROM target t";

/// The upload that a Complete or an abort is about, locked against parts that come late. $1 upload.
pub(super) const UPLOAD_LOCK: &str = "SELECT u.state FROM uploads u WHERE u.upload_id = $1 FOR UPDATE";
/// $1 upload, $2 its version, $3 numbers not chosen, $4 due.
pub(super) const UPLOAD_CLEAR: &str = "WITH freed AS (UPDATE blobs f SET due_ms = $4, reason = 5 \
        WHERE f.version_id = $2 AND f.part = ANY($3) AND f.due_ms IS NULL RETURNING f.blob_id) \
     DELETE FROM parts WHERE upload_id = $1";

/// $1 bucket, $2 key, $3 upload, $4 tenant, $5 due. After [`UPLOAD_LOCK`].
pub(super) const UPLOAD_ABORT: &str = "WITH target AS (SELECT b.owner, u.upload_id, u.version_id, u.state FROM buckets b \
        LEFT JOIN uploads u ON u.upload_id = $3 AND u.bucket_no = b.bucket_no AND u.key = $2 WHERE b.name = $1), \
     gone AS (DELETE FROM uploads u USING target t WHERE t.owner = $4 AND u.upload_id = t.upload_id AND u.state = 0 \
        RETURNING u.upload_id, u.version_id), \
     parts_gone AS (DELETE FROM parts p USING gone g WHERE p.upload_id = g.upload_id RETURNING p.number), \
     freed AS (UPDATE blobs f SET due_ms = $5, reason = 6 FROM gone g WHERE f.version_id = g.version_id \
        AND f.due_ms IS NULL RETURNING f.blob_id) \
     SELECT t.owner, t.state, (SELECT count(*) FROM gone) AS count FROM target t";

pub(super) const UPLOADS: &str = "SELECT b.owner, u.* FROM buckets b LEFT JOIN LATERAL ( \
        SELECT u.key, u.upload_id, u.class, u.created_ms FROM uploads u WHERE u.bucket_no = b.bucket_no AND u.state = 0 \
        AND u.key >= $2 AND u.key < $3 AND (u.key > $4 OR (u.key = $4 AND u.upload_id > $5)) \
        ORDER BY u.key, u.upload_id LIMIT $6) u ON TRUE WHERE b.name = $1 ORDER BY u.key, u.upload_id";
pub(super) const PARTS_LIST: &str = "SELECT b.owner, u.state, p.* FROM buckets b \
     LEFT JOIN uploads u ON u.upload_id = $3 AND u.bucket_no = b.bucket_no AND u.key = $2 \
     LEFT JOIN LATERAL (SELECT p.number, p.etag, p.size, p.modified_ms, p.descriptor FROM parts p \
        WHERE p.upload_id = u.upload_id AND p.number > $4 ORDER BY p.number LIMIT $5) p ON TRUE \
     WHERE b.name = $1 ORDER BY p.number";

/// $1 upload, $2 numbers.
pub(super) const PARTS: &str = "SELECT number, etag, size, modified_ms, descriptor FROM parts \
     WHERE upload_id = $1 AND number = ANY($2) ORDER BY number";

// ---- reclaim ----

/// A blob that is there already, live or waiting, is left as it is. $1 blobs, $2 tenant, $3 due, $4 reason.
pub(super) const RECLAIM_ENQUEUE: &str = "INSERT INTO blobs (blob_id, tenant, due_ms, reason) \
     SELECT DISTINCT n.id, $2, $3, $4 FROM unnest($1) AS n (id) ORDER BY n.id ON CONFLICT (blob_id) DO NOTHING";
pub(super) const RECLAIM_FORGET: &str = "DELETE FROM blobs WHERE blob_id = ANY($1) AND due_ms IS NOT NULL";
pub(super) const RECLAIM_DUE: &str = "SELECT blob_id, tenant, due_ms, reason FROM blobs WHERE due_ms <= $1 \
     ORDER BY due_ms, blob_id LIMIT $2";
pub(super) const RECLAIM_DUE_EXCEPT: &str = "SELECT blob_id, tenant, due_ms, reason FROM blobs WHERE due_ms <= $1 \
     AND (due_ms, blob_id) > ($4, $5) AND NOT (tenant = ANY($3)) ORDER BY due_ms, blob_id LIMIT $2";
pub(super) const RECLAIM_DEPTH: &str = "SELECT count(*) AS count FROM blobs WHERE due_ms IS NOT NULL";
pub(super) const STANDING: &str = "SELECT blob_id, CASE WHEN due_ms IS NULL THEN 1::BIGINT ELSE 0::BIGINT END AS live \
     FROM blobs WHERE blob_id = ANY($1)";

// ---- scrubbing ----
/// The live ones alone: here what waits for its deletion is a row of the same table.
pub(super) const LIVE_BLOBS: &str = "SELECT version_id, part, ordinal, blob_id, stored_bytes FROM blobs \
     WHERE due_ms IS NULL AND (version_id, part, ordinal) > ($1, $2, $3) \
     ORDER BY version_id, part, ordinal LIMIT $4";
/// Those known already keep their first time, the others get one while there is room. Two replicas that see the same blob for
/// the first time at once: one of them is told nothing of it, and sees it again in its next pass.
pub(super) const UNKNOWN_SEE: &str = "WITH given AS (SELECT blob, nth FROM unnest($1::BYTEA[]) WITH ORDINALITY AS g (blob, nth)), \
     again AS (UPDATE unknown_blobs u SET last_ms = $2 FROM given g WHERE u.blob_id = g.blob \
         RETURNING u.blob_id, u.first_ms), \
     fresh AS (SELECT g.blob, row_number() OVER (ORDER BY min(g.nth)) AS place FROM given g \
         WHERE NOT EXISTS (SELECT 1 FROM unknown_blobs u WHERE u.blob_id = g.blob) GROUP BY g.blob), \
     noted AS (INSERT INTO unknown_blobs (blob_id, first_ms, last_ms) SELECT f.blob, $2, $2 FROM fresh f \
         WHERE f.place <= $3 - (SELECT count(*) FROM unknown_blobs) ON CONFLICT (blob_id) DO NOTHING \
         RETURNING blob_id, first_ms) \
     SELECT COALESCE(a.first_ms, n.first_ms) AS first_ms FROM given g \
     LEFT JOIN again a ON a.blob_id = g.blob LEFT JOIN noted n ON n.blob_id = g.blob ORDER BY g.nth";

// ---- questions ----
pub(super) const COUNTERS: &str = "SELECT b.name, c.class, sum(c.objects)::BIGINT AS objects, \
     sum(c.bytes)::BIGINT AS bytes, sum(c.sealed_bytes)::BIGINT AS sealed_bytes FROM counters c \
     JOIN buckets b ON b.bucket_no = c.bucket_no WHERE c.tenant = $1 GROUP BY b.name, c.class \
     HAVING sum(c.objects) > 0 ORDER BY b.name, c.class";

// ---- directory ----

/// Changes are numbered under a lock that is held until they are committed: who sees a number has seen all below it.
/// $1 kind, $2 id, $3 expected generation, $4 sealed row.
pub(super) const ROW_PUT: &str = "WITH found AS (SELECT generation, sealed FROM directory WHERE kind = $1 AND id = $2), \
     mark AS (UPDATE sequences SET value = value + 1 WHERE name = 'directory' \
        AND coalesce((SELECT generation FROM found), 0) = $3 RETURNING value), \
     changed AS (UPDATE directory d SET generation = $3 + 1, change = m.value, sealed = $4 FROM mark m \
        WHERE d.kind = $1 AND d.id = $2 AND d.generation = $3 RETURNING d.change), \
     made AS (INSERT INTO directory (kind, id, generation, change, sealed) SELECT $1, $2, 1, m.value, $4 FROM mark m \
        WHERE $3 = 0 ON CONFLICT (kind, id) DO NOTHING RETURNING change) \
     SELECT (SELECT generation FROM found) AS generation, (SELECT sealed FROM found) AS sealed, \
        coalesce((SELECT change FROM changed), (SELECT change FROM made)) AS change";
pub(super) const DIRECTORY_CHANGE: &str = "SELECT coalesce(max(change), 0) AS value FROM directory";

// ---- life ----

/// Who this database is, and whether it takes writes.
pub(super) const HEALTH: &str = "SELECT encode(incarnation, 'hex') AS incarnation, \
     current_setting('transaction_read_only') AS read_only FROM meta";
/// What every new connection is asked.
pub(super) const IDENTITY: &str = "SELECT encode(incarnation, 'hex') FROM meta";
