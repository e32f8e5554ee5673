//! Multipart uploads: create, part, complete, abort.

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as HttpBody;

use crate::model::{Checksum, ObjectMeta};
use crate::s3::reply::{self, Written};
use crate::s3::{CompleteMultipartUpload, CreateMultipartUpload, UploadPart, UploadRef, whole_checksum, xml};
use crate::vault::{ChosenPart, Completion, NewUpload, Source, UploadFacts, VaultError, Whole};

use super::answer::Failure;
use super::body::Answer;
use super::objects::{Received, about_record, precondition};
use super::{Content, Context};

pub(super) async fn create(context: &Context<'_>, call: CreateMultipartUpload) -> Result<Answer, Failure> {
    let new = NewUpload {
        bucket: call.object.bucket.clone(),
        key: call.object.key.clone(),
        meta: ObjectMeta { content: call.content, user: call.metadata, checksums: Vec::new() },
        subject: call.labels.subject,
        checksum: call.checksum,
    };
    let (upload, facts) = context.vault.create_upload(context.decided, new).await?;
    let upload = UploadRef { object: call.object, upload };
    let mut answer = Answer::whole(reply::created_upload(&upload, call.checksum, &facts.kms_key_id));
    about_record(context, &mut answer, &facts.class)?;
    Ok(answer)
}

pub(super) async fn part<B>(
    context: &Context<'_>,
    call: &UploadPart,
    content: Content<B>,
) -> Result<Answer, Failure>
where
    B: HttpBody<Data = Bytes> + Unpin + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let source = Received::new(content.record()?)?;
    let received = source.clear_bytes();
    let UploadRef { object, upload } = &call.upload;
    let written = context
        .vault
        .put_part(context.decided, &object.bucket, &object.key, *upload, call.number, source)
        .await?;
    let mut answer = Answer::whole(reply::written(&Written {
        etag: &written.etag,
        checksums: &written.checksums,
        version_id: None,
        kms_key_id: &written.kms_key_id,
    }))
    .having_received(received);
    about_record(context, &mut answer, &written.class)?;
    Ok(answer)
}

pub(super) async fn complete<B>(
    context: &Context<'_>,
    call: &CompleteMultipartUpload,
    content: Content<B>,
) -> Result<Answer, Failure> {
    let (parts, _memory) = content.document(xml::complete_multipart_upload)?;
    let parts = parts
        .into_iter()
        .map(|part| ChosenPart { number: part.number, etag: part.etag, checksum: part.checksum })
        .collect();
    let completion =
        Completion { parts, precondition: precondition(&call.condition)?, size_bytes: call.size_bytes };
    let UploadRef { object, upload } = &call.upload;
    let written = context
        .vault
        .complete_upload(context.decided, &object.bucket, &object.key, *upload, completion, |facts, parts| {
            whole(call, facts, parts)
        })
        .await?;
    // Path-style and without a host: what the client addressed is its own business.
    let location = format!("/{}/{}", object.bucket, object.key.as_str());
    let mut answer = Answer::whole(reply::completed(
        &call.upload,
        &location,
        &Written {
            etag: &written.etag,
            checksums: &written.checksums,
            version_id: None,
            kms_key_id: &written.kms_key_id,
        },
    ));
    about_record(context, &mut answer, &written.class)?;
    Ok(answer)
}

/// The whole object's checksum: of the kind announced at Create, held against what Complete says.
fn whole(
    call: &CompleteMultipartUpload,
    facts: &UploadFacts,
    parts: &[Whole],
) -> Result<Vec<Checksum>, VaultError> {
    let mismatch = VaultError::WholeMismatch { what: "checksum" };
    let Some((algorithm, announced)) = facts.checksum else {
        return if call.checksum.is_some() { Err(mismatch) } else { Ok(Vec::new()) };
    };
    let kind = call.checksum_kind.unwrap_or(announced);
    if kind != announced {
        return Err(mismatch);
    }
    let sums = parts.iter().map(|part| (part.size_bytes, part.checksums.as_slice()));
    match (whole_checksum(algorithm, kind, sums), &call.checksum) {
        (Some(found), Some(said)) if found.algorithm != said.algorithm || found.digest != said.digest => {
            Err(mismatch)
        }
        (None, Some(_)) => Err(mismatch),
        (found, _) => Ok(found.into_iter().collect()),
    }
}

pub(super) async fn abort(context: &Context<'_>, upload: &UploadRef) -> Result<Answer, Failure> {
    let object = &upload.object;
    context.vault.abort_upload(context.decided, &object.bucket, &object.key, upload.upload).await?;
    Ok(Answer::whole(reply::empty(StatusCode::NO_CONTENT)))
}
