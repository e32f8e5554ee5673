//! What the scrubber asks and keeps: the walk over live blobs, unknown blobs, and jobs of which a region has one at a time.

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;

use super::decode::{bytes, id, moment, number, parsed, to_signed, upload};
use super::reader::Readers;
use super::writer::{Mutation, Tx};
use crate::index::{Holder, IndexError, LiveBlob, LivePosition, UNKNOWN_BLOBS_MAX, Upload, sql};
use crate::model::{BlobId, Timestamp, VersionId};

pub(super) async fn live_blobs(
    readers: &Readers,
    after: Option<LivePosition>,
    limit: u16,
) -> Result<Vec<LiveBlob>, IndexError> {
    // Part and ordinal are never negative, so this stands before every row.
    let (version, part, ordinal) = after.map_or(([0; 16], -1, -1), |after| {
        (*after.version.as_bytes(), i64::from(after.part), i64::from(after.ordinal))
    });
    let query = sqlx::query(sql::LIVE_BLOBS).bind(&version[..]).bind(part).bind(ordinal);
    readers.rows(query.bind(i64::from(limit))).await?.iter().map(live_blob).collect()
}

fn live_blob(row: &SqliteRow) -> Result<LiveBlob, IndexError> {
    Ok(LiveBlob {
        at: LivePosition {
            version: id(row, "version_id")?,
            part: parsed(u16::try_from(number(row, "part")?), "part")?,
            ordinal: parsed(u32::try_from(number(row, "ordinal")?), "ordinal")?,
        },
        blob: id(row, "blob_id")?,
        stored_bytes: number(row, "stored_bytes")?,
    })
}

pub(super) async fn upload_of(readers: &Readers, version: VersionId) -> Result<Option<Upload>, IndexError> {
    let query = sqlx::query(sql::UPLOAD_OF).bind(&version.as_bytes()[..]);
    readers.row(query).await?.as_ref().map(upload).transpose()
}

/// [`crate::index::Index::see_unknown`].
pub(super) struct See {
    pub(super) blobs: Vec<BlobId>,
    pub(super) now: Timestamp,
}

impl Mutation for See {
    type Out = Vec<Option<Timestamp>>;

    async fn apply(self, tx: &mut Tx) -> Result<Self::Out, IndexError> {
        let now = to_signed(self.now.millis())?;
        let count = tx.row(sqlx::query(sql::UNKNOWN_COUNT)).await?;
        let count = count.ok_or(IndexError::Corrupt { what: "a count without a row" })?;
        let mut room = UNKNOWN_BLOBS_MAX.saturating_sub(number(&count, "count")?);
        let mut seen = Vec::with_capacity(self.blobs.len());
        for blob in &self.blobs {
            let again = sqlx::query(sql::UNKNOWN_AGAIN).bind(&blob.as_bytes()[..]).bind(now);
            let first = match tx.write_returning(again).await? {
                Some(row) => Some(moment(&row, "first_ms")?),
                None if room == 0 => None,
                None => {
                    room -= 1;
                    tx.write(sqlx::query(sql::UNKNOWN_FIRST).bind(&blob.as_bytes()[..]).bind(now)).await?;
                    Some(self.now)
                }
            };
            seen.push(first);
        }
        Ok(seen)
    }
}

/// [`crate::index::Index::forget_unknown`].
pub(super) struct ForgetUnknown {
    pub(super) before: Timestamp,
}

impl Mutation for ForgetUnknown {
    type Out = u64;

    async fn apply(self, tx: &mut Tx) -> Result<u64, IndexError> {
        tx.write(sqlx::query(sql::UNKNOWN_FORGET).bind(to_signed(self.before.millis())?)).await
    }
}

/// [`crate::index::Index::take_job`].
pub(super) struct TakeJob {
    pub(super) name: String,
    pub(super) holder: Holder,
    pub(super) now: Timestamp,
    pub(super) expires: Timestamp,
}

impl Mutation for TakeJob {
    type Out = Option<Bytes>;

    async fn apply(self, tx: &mut Tx) -> Result<Option<Bytes>, IndexError> {
        let take = sqlx::query(sql::JOB_TAKE)
            .bind(&self.name)
            .bind(&self.holder.0[..])
            .bind(to_signed(self.now.millis())?)
            .bind(to_signed(self.expires.millis())?)
            .bind(&b""[..]);
        tx.write_returning(take).await?.map(|row| bytes(&row, "state")).transpose()
    }
}

/// [`crate::index::Index::keep_job`].
pub(super) struct KeepJob {
    pub(super) name: String,
    pub(super) holder: Holder,
    pub(super) expires: Timestamp,
    pub(super) state: Bytes,
}

impl Mutation for KeepJob {
    type Out = bool;

    async fn apply(self, tx: &mut Tx) -> Result<bool, IndexError> {
        let keep = sqlx::query(sql::JOB_KEEP)
            .bind(&self.name)
            .bind(&self.holder.0[..])
            .bind(to_signed(self.expires.millis())?)
            .bind(&self.state[..]);
        Ok(tx.write(keep).await? == 1)
    }
}
