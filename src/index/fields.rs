//! From columns to values and back: every number checked, every name parsed again. A row that does not fit is corruption.

use bytes::Bytes;

use super::{DirectoryRow, IndexError, PartRow, ReclaimReason, Sequence, Upload, VersionRow};
use crate::model::{ClassCode, ObjectKey, TenantCode, Timestamp};

/// A row of any engine: what our columns are made of. A wrong type is corruption.
pub(in crate::index) trait Fields {
    /// A whole number.
    fn int(&self, column: &'static str) -> Result<i64, IndexError>;
    /// A string of bytes.
    fn blob(&self, column: &'static str) -> Result<&[u8], IndexError>;
    /// A text.
    fn words(&self, column: &'static str) -> Result<&str, IndexError>;
    /// Whether there is no value.
    fn is_null(&self, column: &'static str) -> Result<bool, IndexError>;
}

/// An unsigned number as the engines store it.
pub(in crate::index) fn to_signed(number: u64) -> Result<i64, IndexError> {
    i64::try_from(number).map_err(|_| IndexError::Invalid { rule: "must hold numbers below 2^63" })
}

/// A stored number that can never be negative.
pub(in crate::index) fn to_unsigned(number: i64, what: &'static str) -> Result<u64, IndexError> {
    u64::try_from(number).map_err(|_| IndexError::Corrupt { what })
}

/// Text or bytes that were valid when they were stored.
pub(in crate::index) fn parsed<T, E>(result: Result<T, E>, what: &'static str) -> Result<T, IndexError> {
    result.map_err(|_| IndexError::Corrupt { what })
}

/// A non-negative number.
pub(in crate::index) fn number(row: &impl Fields, column: &'static str) -> Result<u64, IndexError> {
    to_unsigned(row.int(column)?, column)
}

/// A moment.
pub(in crate::index) fn moment(row: &impl Fields, column: &'static str) -> Result<Timestamp, IndexError> {
    number(row, column).map(Timestamp::from_millis)
}

/// Text that parses.
pub(in crate::index) fn text<T: std::str::FromStr>(
    row: &impl Fields,
    column: &'static str,
) -> Result<T, IndexError> {
    parsed(row.words(column)?.parse(), column)
}

/// A 16-byte identifier.
pub(in crate::index) fn id<T: for<'a> TryFrom<&'a [u8]>>(
    row: &impl Fields,
    column: &'static str,
) -> Result<T, IndexError> {
    T::try_from(row.blob(column)?).map_err(|_| IndexError::Corrupt { what: column })
}

/// An opaque string of bytes.
pub(in crate::index) fn bytes(row: &impl Fields, column: &'static str) -> Result<Bytes, IndexError> {
    row.blob(column).map(Bytes::copy_from_slice)
}

/// An object key.
pub(in crate::index) fn key(row: &impl Fields, column: &'static str) -> Result<ObjectKey, IndexError> {
    let raw = row.blob(column)?;
    let text = parsed(std::str::from_utf8(raw), column)?;
    parsed(text.parse(), column)
}

/// Whether a left join found nothing.
pub(in crate::index) fn is_absent(row: &impl Fields, column: &'static str) -> Result<bool, IndexError> {
    row.is_null(column)
}

/// Whether the bucket of this row is the tenant's.
pub(in crate::index) fn is_owner(row: &impl Fields, tenant: TenantCode) -> Result<bool, IndexError> {
    Ok(id::<TenantCode>(row, "owner")? == tenant)
}

fn class_code(row: &impl Fields, column: &'static str) -> Result<ClassCode, IndexError> {
    parsed(u16::try_from(number(row, column)?), column).map(ClassCode)
}

pub(in crate::index) fn kek_epoch(row: &impl Fields, column: &'static str) -> Result<u32, IndexError> {
    parsed(u32::try_from(number(row, column)?), column)
}

pub(in crate::index) fn version(row: &impl Fields) -> Result<VersionRow, IndexError> {
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

pub(in crate::index) fn upload(row: &impl Fields) -> Result<Upload, IndexError> {
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

pub(in crate::index) fn part_number(row: &impl Fields) -> Result<u16, IndexError> {
    parsed(u16::try_from(number(row, "number")?), "number")
}

pub(in crate::index) fn part(row: &impl Fields) -> Result<PartRow, IndexError> {
    Ok(PartRow {
        number: part_number(row)?,
        etag: text(row, "etag")?,
        size: number(row, "size")?,
        modified: moment(row, "modified_ms")?,
        descriptor: bytes(row, "descriptor")?,
    })
}

pub(in crate::index) fn directory(row: &impl Fields) -> Result<DirectoryRow, IndexError> {
    Ok(DirectoryRow {
        kind: row.words("kind")?.to_owned(),
        id: row.words("id")?.to_owned(),
        generation: number(row, "generation")?,
        change: number(row, "change")?,
        sealed: bytes(row, "sealed")?,
    })
}

/// How a reason is stored. A number once given is never reused.
pub(in crate::index) const fn reason_code(reason: ReclaimReason) -> i64 {
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
pub(in crate::index) fn reason(code: i64) -> Result<ReclaimReason, IndexError> {
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
