//! `PostgreSQL`'s rows as [`Fields`], and identifiers as its values.

use sqlx::postgres::{PgRow, Postgres};
use sqlx::{Decode, Row, Type, ValueRef};

pub(super) use crate::index::fields::*;
use crate::index::{IndexError, NewBlob};
use crate::model::{BlobId, ObjectKey, TenantCode};

fn value<'r, T>(row: &'r PgRow, column: &'static str) -> Result<T, IndexError>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(column).map_err(|_| IndexError::Corrupt { what: column })
}

impl Fields for PgRow {
    fn int(&self, column: &'static str) -> Result<i64, IndexError> {
        value(self, column)
    }

    fn blob(&self, column: &'static str) -> Result<&[u8], IndexError> {
        value(self, column)
    }

    fn words(&self, column: &'static str) -> Result<&str, IndexError> {
        value(self, column)
    }

    fn is_null(&self, column: &'static str) -> Result<bool, IndexError> {
        self.try_get_raw(column)
            .map(|value| value.is_null())
            .map_err(|_| IndexError::Corrupt { what: column })
    }
}

/// The identifiers of blobs as one value.
pub(super) fn blob_ids(blobs: &[BlobId]) -> Vec<Vec<u8>> {
    blobs.iter().map(|blob| blob.as_bytes().to_vec()).collect()
}

/// New blobs as two values: identifiers and lengths.
pub(super) fn new_blobs(blobs: &[NewBlob]) -> Result<(Vec<Vec<u8>>, Vec<i64>), IndexError> {
    let ids = blobs.iter().map(|blob| blob.id.as_bytes().to_vec()).collect();
    let lengths = blobs.iter().map(|blob| to_signed(blob.stored_bytes)).collect::<Result<_, _>>()?;
    Ok((ids, lengths))
}

/// Rows among which the counters of one bucket and class are spread, so that its writers seldom meet. At 32, of 8 writers two
/// meet in about 3 of 5 moments; each meeting costs one commit's wait.
const SHARDS: u64 = 32;

/// The shard of a key. Another function in a later release leaves every sum as it is.
pub(super) fn shard(key: &ObjectKey) -> i64 {
    (fnv1a([key.as_bytes()]) % SHARDS).cast_signed()
}

/// The number under which a tenant's open uploads are held while one more is counted in. Two tenants with one number wait for each
/// other, no more; replicas of releases with other numbers would not wait, so a change of it is a change of the schema.
pub(super) fn tenant_guard(tenant: TenantCode) -> i64 {
    fnv1a([b"open uploads of ", tenant.as_bytes()]).cast_signed()
}

/// FNV-1a with 64 bits (RFC 9923): any spread will do, nothing secret rests on it.
fn fnv1a<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, fold)
}
