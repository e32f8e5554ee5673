//! From columns to values and back: every number checked, every name parsed again. A row that does not fit is corruption.

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type, ValueRef};

use crate::index::{DirectoryRow, IndexError, PartRow, ReclaimReason, Sequence, Upload, VersionRow};
use crate::model::{ClassCode, ObjectKey, TenantCode, Timestamp};

/// The column as `T`; a wrong type is corruption.
pub(super) fn value<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, IndexError>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(column).map_err(|_| IndexError::Corrupt { what: column })
}

/// An unsigned number as the engines store it.
pub(super) fn to_signed(number: u64) -> Result<i64, IndexError> {
    i64::try_from(number).map_err(|_| IndexError::Invalid { rule: "must hold numbers below 2^63" })
}

/// A stored number that can never be negative.
pub(super) fn to_unsigned(number: i64, what: &'static str) -> Result<u64, IndexError> {
    u64::try_from(number).map_err(|_| IndexError::Corrupt { what })
}

/// Text or bytes that were valid when they were stored.
pub(super) fn parsed<T, E>(result: Result<T, E>, what: &'static str) -> Result<T, IndexError> {
    result.map_err(|_| IndexError::Corrupt { what })
}

/// A non-negative number.
pub(super) fn number(row: &SqliteRow, column: &'static str) -> Result<u64, IndexError> {
    to_unsigned(value(row, column)?, column)
}

/// A moment.
pub(super) fn moment(row: &SqliteRow, column: &'static str) -> Result<Timestamp, IndexError> {
    number(row, column).map(Timestamp::from_millis)
}

/// Text that parses.
pub(super) fn text<T: std::str::FromStr>(row: &SqliteRow, column: &'static str) -> Result<T, IndexError> {
    parsed(value::<&str>(row, column)?.parse(), column)
}

/// A 16-byte identifier.
pub(super) fn id<T: for<'a> TryFrom<&'a [u8]>>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<T, IndexError> {
    T::try_from(value::<&[u8]>(row, column)?).map_err(|_| IndexError::Corrupt { what: column })
}

/// An opaque string of bytes.
pub(super) fn bytes(row: &SqliteRow, column: &'static str) -> Result<Bytes, IndexError> {
    value::<Vec<u8>>(row, column).map(Bytes::from)
}

/// An object key.
pub(super) fn key(row: &SqliteRow, column: &'static str) -> Result<ObjectKey, IndexError> {
    let raw = value::<&[u8]>(row, column)?;
    let text = parsed(std::str::from_utf8(raw), column)?;
    parsed(text.parse(), column)
}

/// Whether a left join found nothing.
pub(super) fn is_absent(row: &SqliteRow, column: &'static str) -> Result<bool, IndexError> {
    row.try_get_raw(column).map(|value| value.is_null()).map_err(|_| IndexError::Corrupt { what: column })
}

/// Whether the bucket of this row is the tenant's.
pub(super) fn is_owner(row: &SqliteRow, tenant: TenantCode) -> Result<bool, IndexError> {
    Ok(id::<TenantCode>(row, "owner")? == tenant)
}

fn class_code(row: &SqliteRow, column: &'static str) -> Result<ClassCode, IndexError> {
    parsed(u16::try_from(number(row, column)?), column).map(ClassCode)
}

fn kek_epoch(row: &SqliteRow, column: &'static str) -> Result<u32, IndexError> {
    parsed(u32::try_from(number(row, column)?), column)
}

pub(super) fn version(row: &SqliteRow) -> Result<VersionRow, IndexError> {
    Ok(VersionRow {
        version: id(row, "version_id")?,
        seq: Sequence(number(row, "seq")?),
        null: number(row, "is_null")? == 1,
        etag: text(row, "etag")?,
        size: number(row, "size")?,
        sealed_bytes: number(row, "sealed_bytes")?,
        modified: moment(row, "modified_ms")?,
        class: text(row, "class")?,
        class_code: class_code(row, "class_code")?,
        kek: id(row, "kek_id")?,
        kek_epoch: kek_epoch(row, "kek_epoch")?,
        record: bytes(row, "record")?,
    })
}

pub(super) fn upload(row: &SqliteRow) -> Result<Upload, IndexError> {
    Ok(Upload {
        upload: id(row, "upload_id")?,
        version: id(row, "u_version_id")?,
        tenant: id(row, "tenant")?,
        bucket: text(row, "name")?,
        key: key(row, "key")?,
        class: text(row, "u_class")?,
        class_code: class_code(row, "u_class_code")?,
        kek: id(row, "u_kek_id")?,
        kek_epoch: kek_epoch(row, "u_kek_epoch")?,
        created: moment(row, "created_ms")?,
        record: bytes(row, "u_record")?,
        metadata: bytes(row, "metadata")?,
    })
}

pub(super) fn part_number(row: &SqliteRow) -> Result<u16, IndexError> {
    parsed(u16::try_from(number(row, "number")?), "number")
}

pub(super) fn part(row: &SqliteRow) -> Result<PartRow, IndexError> {
    Ok(PartRow {
        number: part_number(row)?,
        etag: text(row, "etag")?,
        size: number(row, "size")?,
        modified: moment(row, "modified_ms")?,
        descriptor: bytes(row, "descriptor")?,
    })
}

pub(super) fn directory(row: &SqliteRow) -> Result<DirectoryRow, IndexError> {
    Ok(DirectoryRow {
        kind: value(row, "kind")?,
        id: value(row, "id")?,
        generation: number(row, "generation")?,
        change: number(row, "change")?,
        sealed: bytes(row, "sealed")?,
    })
}

/// How a reason is stored. A number once given is never reused.
pub(super) const fn reason_code(reason: ReclaimReason) -> i64 {
    match reason {
        ReclaimReason::Replaced => 1,
        ReclaimReason::Deleted => 2,
        ReclaimReason::FailedWrite => 3,
        ReclaimReason::ReplacedPart => 4,
        ReclaimReason::UnchosenPart => 5,
        ReclaimReason::AbortedUpload => 6,
    }
}

/// The reason stored as `code`.
pub(super) fn reason(code: i64) -> Result<ReclaimReason, IndexError> {
    Ok(match code {
        1 => ReclaimReason::Replaced,
        2 => ReclaimReason::Deleted,
        3 => ReclaimReason::FailedWrite,
        4 => ReclaimReason::ReplacedPart,
        5 => ReclaimReason::UnchosenPart,
        6 => ReclaimReason::AbortedUpload,
        _ => return Err(IndexError::Corrupt { what: "reason" }),
    })
}
