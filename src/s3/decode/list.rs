//! Arguments of the list operations.

use crate::model::BucketName;

use super::super::call::{
    Call, ListBuckets, ListMultipartUploads, ListObjects, ListParts, ListVersion, ObjectId,
};
use super::super::error::{Code, S3Error};
use super::super::token::Position;
use super::Request;

/// Entries on a page (S3 API reference): more are asked for in vain, not in error.
const PAGE_ENTRIES_MAX: u16 = 1000;
/// Buckets on a page of `ListBuckets` (S3 API reference).
const PAGE_BUCKETS_MAX: u32 = 10_000;

/// `ListBuckets`.
pub(super) fn buckets(request: &Request<'_>) -> Result<Call, S3Error> {
    request.only(&["prefix", "max-buckets", "continuation-token"])?;
    let invalid =
        || S3Error::because(Code::InvalidArgument, "max-buckets must be an integer between 1 and 10000");
    let buckets_max = request.query.value("max-buckets")?;
    let buckets_max = buckets_max
        .map(|text| {
            decimal(text).and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=PAGE_BUCKETS_MAX).contains(n))
        })
        .map(|number| number.ok_or_else(invalid))
        .transpose()?;
    let after = request.query.value("continuation-token")?.map(Position::from_token).transpose()?;
    Ok(Call::ListBuckets(ListBuckets {
        prefix: request.text("prefix")?,
        buckets_max,
        after: after.map(|position| position.text().to_owned()),
    }))
}

/// `ListObjects`.
pub(super) fn objects_v1(request: &Request<'_>, bucket: BucketName) -> Result<Call, S3Error> {
    request.only(&["prefix", "delimiter", "marker", "max-keys", "encoding-type"])?;
    objects(request, bucket, ListVersion::V1 { marker: request.text("marker")? })
}

/// `ListObjectsV2`.
pub(super) fn objects_v2(request: &Request<'_>, bucket: BucketName) -> Result<Call, S3Error> {
    const PARAMETERS: [&str; 8] = [
        "list-type",
        "prefix",
        "delimiter",
        "start-after",
        "continuation-token",
        "max-keys",
        "encoding-type",
        "fetch-owner",
    ];
    request.only(&PARAMETERS)?;
    if request.query.value("list-type")? != Some("2") {
        return Err(S3Error::because(Code::InvalidArgument, "Invalid List Type specified in Request"));
    }
    let fetch_owner = match request.query.value("fetch-owner")? {
        None | Some("" | "false") => false,
        Some("true") => true,
        Some(_) => return Err(S3Error::because(Code::InvalidArgument, "fetch-owner must be true or false")),
    };
    let token = match request.query.value("continuation-token")? {
        // Compared and echoed as the client wrote it; read once.
        Some(token) => Some((token.to_owned(), Position::from_token(token)?)),
        None => None,
    };
    objects(
        request,
        bucket,
        ListVersion::V2 { start_after: request.text("start-after")?, token, fetch_owner },
    )
}

fn objects(request: &Request<'_>, bucket: BucketName, version: ListVersion) -> Result<Call, S3Error> {
    Ok(Call::ListObjects(ListObjects {
        bucket,
        version,
        prefix: request.text("prefix")?.unwrap_or_default(),
        delimiter: request.text("delimiter")?,
        keys_max: request.page_entries("max-keys")?,
        url_encoded: request.url_encoded()?,
    }))
}

/// `ListMultipartUploads`.
pub(super) fn uploads(request: &Request<'_>, bucket: BucketName) -> Result<Call, S3Error> {
    request.only(&[
        "uploads",
        "prefix",
        "delimiter",
        "key-marker",
        "upload-id-marker",
        "max-uploads",
        "encoding-type",
    ])?;
    let key_marker = request.text("key-marker")?;
    // Without a key marker the other is ignored (S3 API reference, `upload-id-marker`).
    let upload_id_marker = request.text("upload-id-marker")?.filter(|_| key_marker.is_some());
    let upload_id_marker = upload_id_marker
        .map(|id| id.parse().map_err(|_| S3Error::because(Code::InvalidArgument, "Invalid uploadId marker")))
        .transpose()?;
    Ok(Call::ListMultipartUploads(ListMultipartUploads {
        bucket,
        prefix: request.text("prefix")?.unwrap_or_default(),
        delimiter: request.text("delimiter")?,
        key_marker,
        upload_id_marker,
        uploads_max: request.page_entries("max-uploads")?,
        url_encoded: request.url_encoded()?,
    }))
}

/// `ListParts`.
pub(super) fn parts(request: &Request<'_>, object: ObjectId) -> Result<Call, S3Error> {
    request.only(&["uploadId", "max-parts", "part-number-marker", "encoding-type"])?;
    let invalid = || {
        S3Error::because(
            Code::InvalidArgument,
            "Argument part-number-marker must be an integer between 0 and 2147483647",
        )
    };
    let after = match request.query.value("part-number-marker")? {
        None | Some("") => 0,
        // Beyond the last possible number is after every part.
        Some(text) => u16::try_from(decimal(text).ok_or_else(invalid)?).unwrap_or(u16::MAX),
    };
    Ok(Call::ListParts(ListParts {
        upload: request.upload(object)?,
        after,
        parts_max: request.page_entries("max-parts")?,
        url_encoded: request.url_encoded()?,
    }))
}

impl Request<'_> {
    /// A parameter's text; an empty one is none, which is what S3 makes of an empty delimiter or marker.
    fn text(&self, name: &str) -> Result<Option<String>, S3Error> {
        Ok(self.query.value(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    }

    fn page_entries(&self, name: &str) -> Result<u16, S3Error> {
        let Some(text) = self.query.value(name)?.filter(|text| !text.is_empty()) else {
            return Ok(PAGE_ENTRIES_MAX);
        };
        let number = decimal(text).ok_or_else(|| {
            S3Error::because(
                Code::InvalidArgument,
                "A page's maximum must be an integer between 0 and 2147483647",
            )
        })?;
        Ok(u16::try_from(number).unwrap_or(u16::MAX).min(PAGE_ENTRIES_MAX))
    }

    fn url_encoded(&self) -> Result<bool, S3Error> {
        match self.query.value("encoding-type")? {
            None | Some("") => Ok(false),
            Some("url") => Ok(true),
            Some(_) => {
                Err(S3Error::because(Code::InvalidArgument, "Invalid Encoding Method specified in Request"))
            }
        }
    }
}

/// A number as S3 takes it: decimal digits, at most 2^31 - 1.
fn decimal(text: &str) -> Option<u64> {
    let is_decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n: &u64| is_decimal && *n <= 2_147_483_647)
}
