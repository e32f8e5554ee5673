//! What the scrubber asks and keeps: the walk over live blobs, unknown blobs, and jobs of which a region has one at a time.

use bytes::Bytes;

use super::row::{Fields, blob_ids, bytes, id, is_absent, moment, number, parsed, to_signed, upload};
use super::run::{Attempt, Change, Context, Inner};
use super::sql;
use crate::database::Lease;
use crate::index::sql as shared;
use crate::index::{Holder, IndexError, LiveBlob, LivePosition, NewBlob, UNKNOWN_BLOBS_MAX, Upload};
use crate::model::{BlobId, Timestamp, VersionId};

pub(super) async fn live_blobs(
    inner: &Inner,
    after: Option<LivePosition>,
    limit: u16,
) -> Result<Vec<LiveBlob>, IndexError> {
    // Part and ordinal are never negative, so this stands before every row.
    let (version, part, ordinal) = after.map_or(([0; 16], -1, -1), |after| {
        (*after.version.as_bytes(), i64::from(after.part), i64::from(after.ordinal))
    });
    let ask = || {
        sqlx::query(sql::LIVE_BLOBS).bind(version.to_vec()).bind(part).bind(ordinal).bind(i64::from(limit))
    };
    inner.rows(ask).await?.iter().map(live_blob).collect()
}

fn live_blob(row: &impl Fields) -> Result<LiveBlob, IndexError> {
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

pub(super) async fn upload_of(inner: &Inner, version: VersionId) -> Result<Option<Upload>, IndexError> {
    let row = inner.row(|| sqlx::query(shared::UPLOAD_OF).bind(version.as_bytes().to_vec())).await?;
    row.as_ref().map(upload).transpose()
}

/// [`crate::index::Index::see_unknown`].
pub(super) struct See {
    pub(super) blobs: Vec<BlobId>,
    pub(super) now: Timestamp,
}

impl Change for See {
    type Out = Vec<Option<Timestamp>>;

    async fn attempt(&mut self, lease: &mut Lease, _: Context) -> Attempt<Self::Out> {
        let see = sqlx::query(sql::UNKNOWN_SEE)
            .bind(blob_ids(&self.blobs))
            .bind(to_signed(self.now.millis())?)
            .bind(to_signed(UNKNOWN_BLOBS_MAX)?);
        let rows = lease.rows(see).await?;
        let first =
            |row| if is_absent(row, "first_ms")? { Ok(None) } else { moment(row, "first_ms").map(Some) };
        Ok(Some(rows.iter().map(first).collect::<Result<_, IndexError>>()?))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

/// [`crate::index::Index::forget_unknown`].
pub(super) struct ForgetUnknown {
    pub(super) before: Timestamp,
}

impl Change for ForgetUnknown {
    type Out = u64;

    async fn attempt(&mut self, lease: &mut Lease, _: Context) -> Attempt<u64> {
        let forget = sqlx::query(shared::UNKNOWN_FORGET).bind(to_signed(self.before.millis())?);
        Ok(Some(lease.write(forget).await?))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

/// [`crate::index::Index::take_job`].
pub(super) struct TakeJob {
    pub(super) name: String,
    pub(super) holder: Holder,
    pub(super) now: Timestamp,
    pub(super) expires: Timestamp,
}

impl Change for TakeJob {
    type Out = Option<Bytes>;

    async fn attempt(&mut self, lease: &mut Lease, _: Context) -> Attempt<Option<Bytes>> {
        let take = sqlx::query(shared::JOB_TAKE)
            .bind(&self.name)
            .bind(&self.holder.0[..])
            .bind(to_signed(self.now.millis())?)
            .bind(to_signed(self.expires.millis())?)
            .bind(&b""[..]);
        let taken = lease.row(take).await?;
        Ok(Some(taken.map(|row| bytes(&row, "state")).transpose()?))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

/// [`crate::index::Index::keep_job`].
pub(super) struct KeepJob {
    pub(super) name: String,
    pub(super) holder: Holder,
    pub(super) expires: Timestamp,
    pub(super) state: Bytes,
}

impl Change for KeepJob {
    type Out = bool;

    async fn attempt(&mut self, lease: &mut Lease, _: Context) -> Attempt<bool> {
        let keep = sqlx::query(shared::JOB_KEEP)
            .bind(&self.name)
            .bind(&self.holder.0[..])
            .bind(to_signed(self.expires.millis())?)
            .bind(&self.state[..]);
        Ok(Some(lease.write(keep).await? == 1))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}
