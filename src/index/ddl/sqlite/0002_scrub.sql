-- What the scrubber keeps between its passes. Only new tables: nothing that schema 1 reads or writes changes.

-- Work of which the region has at most one at a time, over all replicas: who does it, until when, and how far it is.
CREATE TABLE jobs (
    name           TEXT    NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 32),
    holder         BLOB    NOT NULL CHECK (length(holder) = 16),
    expires_ms     INTEGER NOT NULL,
    state          BLOB    NOT NULL
) WITHOUT ROWID;

-- Blobs that were found in the store and not in this index: when first, and when last.
CREATE TABLE unknown_blobs (
    blob_id        BLOB    NOT NULL PRIMARY KEY CHECK (length(blob_id) = 16),
    first_ms       INTEGER NOT NULL,
    last_ms        INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX unknown_blobs_by_last ON unknown_blobs (last_ms);
