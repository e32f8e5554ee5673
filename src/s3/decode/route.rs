//! Method, target and query → one operation. A query parameter nobody knows is refused, never ignored: it may select
//! a subresource, and answering a plain GET or PUT instead would be a lie.

use http::Method;

use crate::model::BucketName;

use super::super::call::{Call, ObjectId, Unsupported, UploadPart, UploadRef};
use super::super::error::{Code, S3Error};
use super::super::headers::{is_hoisted, is_of_signature};
use super::super::xml::part_number;
use super::allowed::{BUCKET_SUBRESOURCES, OBJECT_SUBRESOURCES, Subresource};
use super::target::Target;
use super::{Request, list, read, write};

/// Picks the operation and reads its arguments.
pub(super) fn route(request: &Request<'_>, target: Target) -> Result<Call, S3Error> {
    if request.parts.method == Method::OPTIONS {
        let message = "CORSResponse: CORS is not enabled for this bucket.";
        return Err(S3Error::because(Code::AccessDenied, message));
    }
    let bucket = target.bucket().cloned();
    let (name, result) = match target {
        Target::Service => service(request),
        Target::Bucket(bucket) => of_bucket(request, bucket),
        Target::Object(object) => of_object(request, object),
    };
    match result {
        Err(error) if error.code() == Code::NotImplemented => {
            Ok(Call::Unsupported(Unsupported { name, reason: error.message().to_owned(), bucket }))
        }
        result => result,
    }
}

/// An operation's name and its call: the name stays when the call is not one we serve.
type Routed = (&'static str, Result<Call, S3Error>);

fn service(request: &Request<'_>) -> Routed {
    match request.parts.method {
        Method::GET => ("ListBuckets", list::buckets(request)),
        _ => ("Unknown", Err(Code::MethodNotAllowed.into())),
    }
}

fn of_bucket(request: &Request<'_>, bucket: BucketName) -> Routed {
    if let Some(refused) = subresource(request, BUCKET_SUBRESOURCES) {
        return refused;
    }
    let has = |name| request.query.has(name);
    match request.parts.method {
        Method::GET if has("location") => {
            ("GetBucketLocation", request.only(&["location"]).map(|()| Call::BucketLocation(bucket)))
        }
        Method::GET if has("uploads") => ("ListMultipartUploads", list::uploads(request, bucket)),
        Method::GET if has("list-type") => ("ListObjectsV2", list::objects_v2(request, bucket)),
        Method::GET => ("ListObjects", list::objects_v1(request, bucket)),
        Method::HEAD => ("HeadBucket", request.only(&[]).map(|()| Call::HeadBucket(bucket))),
        Method::PUT => ("CreateBucket", request.only(&[]).map(|()| Call::CreateBucket(bucket))),
        Method::DELETE => ("DeleteBucket", request.only(&[]).map(|()| Call::DeleteBucket(bucket))),
        Method::POST if has("delete") => {
            ("DeleteObjects", request.only(&["delete"]).map(|()| Call::DeleteObjects(bucket)))
        }
        Method::POST => {
            ("PostObject", Err(S3Error::not_implemented("Uploads by HTML form are not implemented.")))
        }
        _ => ("Unknown", Err(Code::MethodNotAllowed.into())),
    }
}

fn of_object(request: &Request<'_>, object: ObjectId) -> Routed {
    if let Some(refused) = subresource(request, OBJECT_SUBRESOURCES) {
        return refused;
    }
    let has = |name| request.query.has(name);
    let in_upload = has("uploadId");
    match request.parts.method {
        Method::GET if in_upload => ("ListParts", list::parts(request, object)),
        Method::GET => ("GetObject", read::object(request, object).map(Call::GetObject)),
        Method::HEAD => ("HeadObject", read::object(request, object).map(Call::HeadObject)),
        Method::PUT if in_upload || has("partNumber") => {
            let copies = request.headers.has("x-amz-copy-source");
            (if copies { "UploadPartCopy" } else { "UploadPart" }, upload_part(request, object))
        }
        Method::PUT => {
            let copies = request.headers.has("x-amz-copy-source");
            (if copies { "CopyObject" } else { "PutObject" }, write::put_object(request, object))
        }
        Method::DELETE if in_upload => ("AbortMultipartUpload", abort(request, object)),
        Method::DELETE => ("DeleteObject", delete(request, object)),
        Method::POST if has("uploads") => ("CreateMultipartUpload", write::create_upload(request, object)),
        Method::POST if in_upload => ("CompleteMultipartUpload", write::complete_upload(request, object)),
        _ => ("Unknown", Err(Code::MethodNotAllowed.into())),
    }
}

/// The refusal of a subresource that S3 has and terroir has not.
fn subresource(request: &Request<'_>, table: &[Subresource]) -> Option<Routed> {
    let row = table.iter().find(|row| request.query.has(row.parameter))?;
    let name = match request.parts.method {
        Method::GET | Method::HEAD => row.get,
        Method::PUT | Method::POST => row.put,
        Method::DELETE => row.delete,
        _ => "",
    };
    if name.is_empty() {
        return Some(("Unknown", Err(Code::MethodNotAllowed.into())));
    }
    Some((name, Err(S3Error::not_implemented(format!("{name} ({}) is not implemented.", row.feature)))))
}

fn upload_part(request: &Request<'_>, object: ObjectId) -> Result<Call, S3Error> {
    request.only(&["uploadId", "partNumber"])?;
    request.refuse_conditions()?;
    let number = request.query.value("partNumber")?.unwrap_or_default();
    let number = part_number(number)?;
    Ok(Call::UploadPart(UploadPart { upload: request.upload(object)?, number }))
}

fn abort(request: &Request<'_>, object: ObjectId) -> Result<Call, S3Error> {
    request.only(&["uploadId"])?;
    // `x-amz-if-match-initiated-time` is refused among the headers.
    request.upload(object).map(Call::AbortMultipartUpload)
}

fn delete(request: &Request<'_>, object: ObjectId) -> Result<Call, S3Error> {
    request.only(&["versionId"])?;
    request.refuse_versions()?;
    request.refuse_conditions()?;
    Ok(Call::DeleteObject(object))
}

impl Request<'_> {
    /// Refuses every query parameter but `parameters`, the signature's, and what SDKs add for themselves; and every
    /// header that would have to be honoured and is not.
    pub(super) fn only(&self, parameters: &[&str]) -> Result<(), S3Error> {
        for (name, _) in self.query.pairs() {
            let lower = name.to_ascii_lowercase();
            // `x-id` repeats the operation's name: several SDKs add it, nobody reads it.
            let of_transport = is_of_signature(&lower) || is_hoisted(&lower) || name == "x-id";
            if !of_transport && !parameters.contains(&name) {
                return Err(S3Error::not_implemented(
                    "A query parameter of this request is not implemented.",
                ));
            }
        }
        super::allowed::check_headers(&self.headers)
    }

    /// Only the null version exists.
    pub(super) fn refuse_versions(&self) -> Result<(), S3Error> {
        match self.query.value("versionId")? {
            None | Some("null") => Ok(()),
            Some(_) => Err(S3Error::not_implemented(
                "Versioning is not implemented: there is only the null version.",
            )),
        }
    }

    /// For operations on which S3 knows no condition, or on which we do not.
    pub(super) fn refuse_conditions(&self) -> Result<(), S3Error> {
        const CONDITIONS: [&str; 4] =
            ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];
        if CONDITIONS.into_iter().any(|name| self.headers.has(name)) {
            return Err(S3Error::not_implemented("Conditions are not implemented for this operation."));
        }
        Ok(())
    }

    /// The upload that `uploadId` names. An id that is none of ours names no upload.
    pub(super) fn upload(&self, object: ObjectId) -> Result<UploadRef, S3Error> {
        let id = self.query.value("uploadId")?;
        let id =
            id.ok_or_else(|| S3Error::because(Code::InvalidArgument, "This operation needs an uploadId."))?;
        Ok(UploadRef { object, upload: id.parse().map_err(|_| Code::NoSuchUpload)? })
    }
}
