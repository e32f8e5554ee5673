-- The first schema of a region's index, SQLite dialect. Once released, a file here is never edited: the next one expands.
--
-- All times are milliseconds since the epoch, all lengths bytes, all keys BLOBs (so that they compare bytewise), all
-- identifiers 16-byte BLOBs. `seq` is a commit's place in the region's order; `meta.incarnation` says in which life of the
-- database, so that a sealed journal of mutations (kind, seq, version) written to the store later can be tied to both.

CREATE TABLE meta (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    incarnation    BLOB    NOT NULL CHECK (length(incarnation) = 16),
    format         INTEGER NOT NULL,
    region         TEXT    NOT NULL,
    environment    TEXT    NOT NULL,
    created_ms     INTEGER NOT NULL
);

-- Last values handed out. `commit` orders mutations, `bucket` numbers buckets, `directory` counts directory changes.
CREATE TABLE sequences (
    name           TEXT    PRIMARY KEY,
    value          INTEGER NOT NULL CHECK (value >= 0)
) WITHOUT ROWID;
INSERT INTO sequences (name, value) VALUES ('commit', 0), ('bucket', 0), ('directory', 0);

-- `bucket_no` stands for the name everywhere else and is never reused: what is left of a deleted bucket cannot
-- reappear in a new one of the same name.
CREATE TABLE buckets (
    bucket_no      INTEGER PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,
    owner          BLOB    NOT NULL CHECK (length(owner) = 16),
    class          TEXT,
    created_ms     INTEGER NOT NULL
);
CREATE UNIQUE INDEX buckets_by_owner ON buckets (owner, name);

-- One row per (bucket, key) that has any version: the current one, with what a listing shows, so that a page is one
-- range of this table. `marker` is for delete markers.
CREATE TABLE heads (
    bucket_no      INTEGER NOT NULL REFERENCES buckets (bucket_no),
    key            BLOB    NOT NULL CHECK (length(key) BETWEEN 1 AND 1024),
    seq            INTEGER NOT NULL,
    version_id     BLOB    NOT NULL,
    marker         INTEGER NOT NULL DEFAULT 0 CHECK (marker IN (0, 1)),
    etag           TEXT    NOT NULL,
    size           INTEGER NOT NULL CHECK (size >= 0),
    modified_ms    INTEGER NOT NULL,
    class          TEXT    NOT NULL,
    PRIMARY KEY (bucket_no, key)
) WITHOUT ROWID;

-- Every version. `record` is the sealed version record. The KEK columns say what a key's retirement waits for.
-- (An index by (bucket_no, key, seq) comes with the listing of versions; until then nothing asks for it.)
CREATE TABLE versions (
    version_id     BLOB    NOT NULL PRIMARY KEY CHECK (length(version_id) = 16),
    bucket_no      INTEGER NOT NULL,
    key            BLOB    NOT NULL,
    seq            INTEGER NOT NULL,
    is_null        INTEGER NOT NULL CHECK (is_null IN (0, 1)),
    marker         INTEGER NOT NULL DEFAULT 0 CHECK (marker IN (0, 1)),
    etag           TEXT    NOT NULL,
    size           INTEGER NOT NULL CHECK (size >= 0),
    sealed_bytes   INTEGER NOT NULL CHECK (sealed_bytes >= 0),
    modified_ms    INTEGER NOT NULL,
    class          TEXT    NOT NULL,
    class_code     INTEGER NOT NULL,
    kek_id         BLOB    NOT NULL,
    kek_epoch      INTEGER NOT NULL,
    record         BLOB    NOT NULL
);
CREATE UNIQUE INDEX versions_null ON versions (bucket_no, key) WHERE is_null = 1;
CREATE INDEX versions_by_kek ON versions (kek_id, kek_epoch);

-- Blobs of versions and of open uploads. An upload's version id is fixed when it is created, so completing one leaves
-- the rows of the chosen parts as they are, however many. `part` is 0 for blobs that a version names itself.
CREATE TABLE blobs (
    version_id     BLOB    NOT NULL,
    part           INTEGER NOT NULL CHECK (part BETWEEN 0 AND 10000),
    ordinal        INTEGER NOT NULL CHECK (ordinal >= 0),
    blob_id        BLOB    NOT NULL CHECK (length(blob_id) = 16),
    stored_bytes   INTEGER NOT NULL CHECK (stored_bytes >= 0),
    PRIMARY KEY (version_id, part, ordinal)
) WITHOUT ROWID;
CREATE UNIQUE INDEX blobs_by_id ON blobs (blob_id);

-- Blobs to be deleted from the store, not before due_ms. The tenant's code is part of a blob's place in the store.
CREATE TABLE reclaim (
    blob_id        BLOB    NOT NULL PRIMARY KEY CHECK (length(blob_id) = 16),
    tenant         BLOB    NOT NULL CHECK (length(tenant) = 16),
    due_ms         INTEGER NOT NULL,
    reason         INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX reclaim_by_due ON reclaim (due_ms, blob_id);

-- Multipart uploads. State 0 is open; 1 is completed, kept for a bounded time to answer a repeated Complete, its sealed
-- bytes emptied.
CREATE TABLE uploads (
    upload_id      BLOB    NOT NULL PRIMARY KEY CHECK (length(upload_id) = 16),
    bucket_no      INTEGER NOT NULL REFERENCES buckets (bucket_no),
    key            BLOB    NOT NULL CHECK (length(key) BETWEEN 1 AND 1024),
    tenant         BLOB    NOT NULL CHECK (length(tenant) = 16),
    version_id     BLOB    NOT NULL UNIQUE CHECK (length(version_id) = 16),
    class          TEXT    NOT NULL,
    class_code     INTEGER NOT NULL,
    kek_id         BLOB    NOT NULL,
    kek_epoch      INTEGER NOT NULL,
    created_ms     INTEGER NOT NULL,
    record         BLOB    NOT NULL,
    metadata       BLOB    NOT NULL,
    state          INTEGER NOT NULL DEFAULT 0 CHECK (state IN (0, 1)),
    completed_ms   INTEGER,
    completed_seq  INTEGER,
    completed_etag TEXT
);
CREATE INDEX uploads_by_bucket ON uploads (bucket_no, state, key, upload_id);
CREATE INDEX uploads_completed ON uploads (completed_ms) WHERE state = 1;
CREATE INDEX uploads_by_kek ON uploads (kek_id, kek_epoch) WHERE state = 0;

-- The newest attempt at each part of an open upload; its random tag is the attempt's identity.
CREATE TABLE parts (
    upload_id      BLOB    NOT NULL REFERENCES uploads (upload_id),
    number         INTEGER NOT NULL CHECK (number BETWEEN 1 AND 10000),
    etag           TEXT    NOT NULL,
    size           INTEGER NOT NULL CHECK (size >= 0),
    modified_ms    INTEGER NOT NULL,
    descriptor     BLOB    NOT NULL,
    PRIMARY KEY (upload_id, number)
);

-- What versions there are, maintained in the transaction that changes them.
CREATE TABLE counters (
    tenant         BLOB    NOT NULL,
    bucket_no      INTEGER NOT NULL,
    class          TEXT    NOT NULL,
    objects        INTEGER NOT NULL CHECK (objects >= 0),
    bytes          INTEGER NOT NULL CHECK (bytes >= 0),
    sealed_bytes   INTEGER NOT NULL CHECK (sealed_bytes >= 0),
    PRIMARY KEY (tenant, bucket_no, class)
) WITHOUT ROWID;

-- Tenants, credentials, roles: rows sealed or authenticated by their owner over (kind, id, generation).
CREATE TABLE directory (
    kind           TEXT    NOT NULL,
    id             TEXT    NOT NULL,
    generation     INTEGER NOT NULL CHECK (generation >= 1),
    change         INTEGER NOT NULL UNIQUE,
    sealed         BLOB    NOT NULL,
    PRIMARY KEY (kind, id)
);
