-- The first schema of a region's index, PostgreSQL dialect: no extension, no stored procedure, nothing that the
-- Postgres-wire distributed engines lack. Once released, a file here is never edited: the next one expands.
--
-- All numbers are BIGINT, all times milliseconds since the epoch, all lengths bytes, all keys and identifiers BYTEA, texts that
-- are ordered are ordered bytewise (COLLATE "C"). What differs from the SQLite schema differs because there is no single
-- writer here: two transactions see each other's rows only after they are committed, so whatever must never be true of two
-- rows at once is made one row, or one unique key.

CREATE TABLE meta (
    one            BIGINT PRIMARY KEY CHECK (one = 1),
    incarnation    BYTEA  NOT NULL CHECK (length(incarnation) = 16),
    format         BIGINT NOT NULL,
    region         TEXT   NOT NULL,
    environment    TEXT   NOT NULL,
    created_ms     BIGINT NOT NULL
);

-- A commit's place in the region's order. Not a locked row: that would put every commit of the region into one queue, each
-- waiting for the disk of the one before. A head takes its number while it is locked, so the numbers of one key only grow, and
-- so do those of two changes of which one began after the other was acknowledged. Numbers of failed changes are lost.
CREATE SEQUENCE commit_order AS BIGINT MINVALUE 1 START 1 CACHE 1 NO CYCLE;

-- Counters that must be handed out in the order of commits, under a lock: `bucket` numbers buckets, `directory` counts changes
-- of the directory, so that who sees a change has seen all before it.
CREATE TABLE sequences (
    name           TEXT   PRIMARY KEY,
    value          BIGINT NOT NULL CHECK (value >= 0)
);
INSERT INTO sequences (name, value) VALUES ('bucket', 0), ('directory', 0);

-- `bucket_no` stands for the name everywhere else and is never reused.
CREATE TABLE buckets (
    bucket_no      BIGINT PRIMARY KEY,
    name           TEXT   COLLATE "C" NOT NULL UNIQUE,
    owner          BYTEA  NOT NULL CHECK (length(owner) = 16),
    class          TEXT,
    created_ms     BIGINT NOT NULL
);
CREATE UNIQUE INDEX buckets_by_owner ON buckets (owner, name);

-- One row per (bucket, key) that has any version: the current one, with what a listing shows. The reference to the bucket is
-- what keeps a write and the deletion of its bucket apart.
CREATE TABLE heads (
    bucket_no      BIGINT NOT NULL REFERENCES buckets (bucket_no),
    key            BYTEA  NOT NULL CHECK (length(key) BETWEEN 1 AND 1024),
    seq            BIGINT NOT NULL,
    version_id     BYTEA  NOT NULL,
    marker         BIGINT NOT NULL DEFAULT 0 CHECK (marker IN (0, 1)),
    etag           TEXT   NOT NULL,
    size           BIGINT NOT NULL CHECK (size >= 0),
    modified_ms    BIGINT NOT NULL,
    class          TEXT   NOT NULL,
    PRIMARY KEY (bucket_no, key)
);

-- Every version. `record` is the sealed version record. The KEK columns say what a key's retirement waits for.
CREATE TABLE versions (
    version_id     BYTEA  PRIMARY KEY CHECK (length(version_id) = 16),
    bucket_no      BIGINT NOT NULL,
    key            BYTEA  NOT NULL,
    seq            BIGINT NOT NULL,
    is_null        BIGINT NOT NULL CHECK (is_null IN (0, 1)),
    marker         BIGINT NOT NULL DEFAULT 0 CHECK (marker IN (0, 1)),
    etag           TEXT   NOT NULL,
    size           BIGINT NOT NULL CHECK (size >= 0),
    sealed_bytes   BIGINT NOT NULL CHECK (sealed_bytes >= 0),
    modified_ms    BIGINT NOT NULL,
    class          TEXT   NOT NULL,
    class_code     BIGINT NOT NULL,
    kek_id         BYTEA  NOT NULL,
    kek_epoch      BIGINT NOT NULL,
    record         BYTEA  NOT NULL
);
CREATE INDEX versions_by_kek ON versions (kek_id, kek_epoch);

-- Every blob that the index knows, once: live while `due_ms` is null, waiting to be deleted otherwise. One row for both is what
-- makes it impossible that a blob becomes live in one transaction while another gives it up. `part` is 0 for blobs that a
-- version names itself.
CREATE TABLE blobs (
    blob_id        BYTEA  PRIMARY KEY CHECK (length(blob_id) = 16),
    tenant         BYTEA  NOT NULL CHECK (length(tenant) = 16),
    version_id     BYTEA,
    part           BIGINT CHECK (part BETWEEN 0 AND 10000),
    ordinal        BIGINT CHECK (ordinal >= 0),
    stored_bytes   BIGINT CHECK (stored_bytes >= 0),
    due_ms         BIGINT,
    reason         BIGINT,
    CHECK ((due_ms IS NULL) = (reason IS NULL)),
    CHECK (due_ms IS NOT NULL OR (version_id IS NOT NULL AND part IS NOT NULL AND ordinal IS NOT NULL AND stored_bytes IS NOT NULL))
);
CREATE UNIQUE INDEX blobs_of_version ON blobs (version_id, part, ordinal) WHERE due_ms IS NULL;
CREATE INDEX blobs_by_due ON blobs (due_ms, blob_id) WHERE due_ms IS NOT NULL;

-- Multipart uploads. State 0 is open; 1 is completed, kept for a bounded time to answer a repeated Complete.
CREATE TABLE uploads (
    upload_id      BYTEA  PRIMARY KEY CHECK (length(upload_id) = 16),
    bucket_no      BIGINT NOT NULL REFERENCES buckets (bucket_no),
    key            BYTEA  NOT NULL CHECK (length(key) BETWEEN 1 AND 1024),
    tenant         BYTEA  NOT NULL CHECK (length(tenant) = 16),
    version_id     BYTEA  NOT NULL UNIQUE CHECK (length(version_id) = 16),
    class          TEXT   NOT NULL,
    class_code     BIGINT NOT NULL,
    kek_id         BYTEA  NOT NULL,
    kek_epoch      BIGINT NOT NULL,
    created_ms     BIGINT NOT NULL,
    record         BYTEA  NOT NULL,
    metadata       BYTEA  NOT NULL,
    state          BIGINT NOT NULL DEFAULT 0 CHECK (state IN (0, 1)),
    completed_ms   BIGINT,
    completed_seq  BIGINT,
    completed_etag TEXT
);
CREATE INDEX uploads_by_bucket ON uploads (bucket_no, state, key, upload_id);
CREATE INDEX uploads_completed ON uploads (completed_ms) WHERE state = 1;
CREATE INDEX uploads_by_kek ON uploads (kek_id, kek_epoch) WHERE state = 0;

-- The newest attempt at each part of an open upload. The reference keeps a part and the abort of its upload apart.
CREATE TABLE parts (
    upload_id      BYTEA  NOT NULL REFERENCES uploads (upload_id),
    number         BIGINT NOT NULL CHECK (number BETWEEN 1 AND 10000),
    etag           TEXT   NOT NULL,
    size           BIGINT NOT NULL CHECK (size >= 0),
    modified_ms    BIGINT NOT NULL,
    descriptor     BYTEA  NOT NULL,
    PRIMARY KEY (upload_id, number)
);

-- What versions there are, maintained in the transaction that changes them. In `shard`s, chosen by key, since one row per
-- bucket and class would put every write into a bucket into one queue. Only sums over the shards mean anything.
CREATE TABLE counters (
    tenant         BYTEA  NOT NULL,
    bucket_no      BIGINT NOT NULL,
    class          TEXT   NOT NULL,
    shard          BIGINT NOT NULL,
    objects        BIGINT NOT NULL,
    bytes          BIGINT NOT NULL,
    sealed_bytes   BIGINT NOT NULL,
    PRIMARY KEY (tenant, bucket_no, class, shard)
);

-- Tenants, credentials, roles: rows sealed or authenticated by their owner over (kind, id, generation).
CREATE TABLE directory (
    kind           TEXT   COLLATE "C" NOT NULL,
    id             TEXT   COLLATE "C" NOT NULL,
    generation     BIGINT NOT NULL CHECK (generation >= 1),
    change         BIGINT NOT NULL UNIQUE,
    sealed         BYTEA  NOT NULL,
    PRIMARY KEY (kind, id)
);
