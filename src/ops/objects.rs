//! Operations on objects: put, get, head, delete.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use http_body::Body as HttpBody;

use crate::model::{BucketName, ByteRange, Checksum, ClassId, ObjectMeta, Resolved};
use crate::s3::reply::{self, DeletedEntry, ObjectHead, Outcome};
use crate::s3::{Code, ObjectId, Payload, PutObject, ReadObject, S3Error, WriteCondition, xml};
use crate::telemetry::note;
use crate::vault::{Precondition, Source, Stored, Write};

use super::answer::Failure;
use super::body::Answer;
use super::lists::{ENTRY_BYTES, answered, room_of};
use super::{Content, Context};

/// Which region answered: on every answer about a record.
const REGION_HEADER: HeaderName = HeaderName::from_static("x-terroir-region");
/// The record's class: on every answer about a record.
const CLASS_HEADER: HeaderName = HeaderName::from_static("x-terroir-class");

/// A request's body as the vault reads it.
pub(super) struct Received<B> {
    payload: Payload<B>,
    length: u64,
}

impl<B> Received<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(payload: Payload<B>) -> Result<Self, Failure> {
        let length = payload.size_hint().exact().ok_or(S3Error::new(Code::MissingContentLength))?;
        Ok(Self { payload, length })
    }
}

impl<B> Source for Received<B>
where
    B: HttpBody<Data = Bytes> + Unpin + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Error = S3Error;

    fn clear_bytes(&self) -> u64 {
        self.length
    }

    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        self.payload.next().await
    }

    fn verified(&mut self) -> Vec<Checksum> {
        self.payload.received().map(|received| received.checksums.clone()).unwrap_or_default()
    }
}

pub(super) async fn put<B>(
    context: &Context<'_>,
    call: PutObject,
    content: Content<B>,
) -> Result<Answer, Failure>
where
    B: HttpBody<Data = Bytes> + Unpin + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let source = Received::new(content.record()?)?;
    let received = source.clear_bytes();
    let write = Write {
        bucket: call.object.bucket,
        key: call.object.key,
        meta: ObjectMeta { content: call.content, user: call.metadata, checksums: Vec::new() },
        subject: call.labels.subject,
        precondition: precondition(&call.condition)?,
    };
    let written = context.vault.put(context.decided, write, source).await?;
    let mut answer = Answer::whole(reply::written(&reply::Written {
        etag: &written.etag,
        checksums: &written.checksums,
        version_id: None,
        kms_key_id: &written.kms_key_id,
    }))
    .having_received(received);
    about_record(context, &mut answer, &written.class)?;
    Ok(answer)
}

/// A tag that no version has: ours have at least one part.
const NOBODYS_TAG: &str = "00000000000000000000000000000000-0";

/// A write's condition as the index takes it. A tag that cannot be one of ours matches nothing that is there; whether
/// anything is there, the index says.
pub(super) fn precondition(condition: &WriteCondition) -> Result<Precondition, Failure> {
    Ok(match condition {
        WriteCondition::None => Precondition::None,
        WriteCondition::IfAbsent => Precondition::IfNoneMatchStar,
        WriteCondition::IfMatch(tag) if tag == "*" => Precondition::IfMatchStar,
        WriteCondition::IfMatch(tag) => {
            let tag = tag.parse().or_else(|_| NOBODYS_TAG.parse());
            Precondition::IfMatch(tag.map_err(|_| S3Error::new(Code::InternalError))?)
        }
    })
}

pub(super) async fn get(context: &Context<'_>, read: &ReadObject) -> Result<Answer, Failure> {
    let stored = context.vault.open(context.decided, &read.object.bucket, &read.object.key).await?;
    if let Some(answer) = not_proceeding(context, &stored, read)? {
        return Ok(answer);
    }
    let range = range_of(&stored, read)?;
    let class = stored.class().clone();
    let kms_key_id = stored.kms_key_id();
    let response = reply::object_head(&head_of(&stored, &kms_key_id), read, range);
    // The first segment is opened before the answer's head goes out.
    let mut answer = Answer::reading(response, stored.read(range).await?);
    about_record(context, &mut answer, &class)?;
    Ok(answer)
}

pub(super) async fn head(context: &Context<'_>, read: &ReadObject) -> Result<Answer, Failure> {
    let stored = context.vault.open(context.decided, &read.object.bucket, &read.object.key).await?;
    if let Some(answer) = not_proceeding(context, &stored, read)? {
        return Ok(answer);
    }
    let range = range_of(&stored, read)?;
    let kms_key_id = stored.kms_key_id();
    let response = reply::object_head(&head_of(&stored, &kms_key_id), read, range);
    let mut answer = Answer::whole(response.map(|()| Bytes::new()));
    about_record(context, &mut answer, stored.class())?;
    Ok(answer)
}

/// The range to answer with; `None` for everything.
fn range_of(stored: &Stored, read: &ReadObject) -> Result<Option<ByteRange>, Failure> {
    match read.range.map(|range| range.resolve(stored.size_bytes())) {
        None | Some(Resolved::Whole) => Ok(None),
        Some(Resolved::Partial(range)) => Ok(Some(range)),
        Some(Resolved::Unsatisfiable) => Err(S3Error::new(Code::InvalidRange).into()),
    }
}

/// The answer to a conditional read that does not go on: 304 or 412.
fn not_proceeding(
    context: &Context<'_>,
    stored: &Stored,
    read: &ReadObject,
) -> Result<Option<Answer>, Failure> {
    match reply::evaluate(&read.conditions, stored.etag(), stored.modified()) {
        Outcome::Proceed => Ok(None),
        Outcome::Failed => Err(S3Error::new(Code::PreconditionFailed).into()),
        Outcome::NotModified => {
            let kms_key_id = stored.kms_key_id();
            let mut answer = Answer::whole(reply::not_modified(&head_of(stored, &kms_key_id)));
            about_record(context, &mut answer, stored.class())?;
            Ok(Some(answer))
        }
    }
}

fn head_of<'a>(stored: &'a Stored, kms_key_id: &'a str) -> ObjectHead<'a> {
    ObjectHead {
        size_bytes: stored.size_bytes(),
        etag: stored.etag(),
        modified: stored.modified(),
        meta: stored.meta(),
        version_id: None,
        kms_key_id,
    }
}

pub(super) async fn delete(context: &Context<'_>, object: &ObjectId) -> Result<Answer, Failure> {
    context.vault.delete(context.decided, &object.bucket, &object.key).await?;
    Ok(Answer::whole(reply::empty(StatusCode::NO_CONTENT)))
}

/// How much longer a key is in an XML document, at most: a quotation mark becomes `&quot;`.
const ESCAPED_TIMES: u64 = 6;

pub(super) async fn delete_many<B>(
    context: &Context<'_>,
    bucket: &BucketName,
    content: Content<B>,
) -> Result<Answer, Failure> {
    let (wanted, _memory) = content.document(xml::delete)?;
    // Before anything is deleted: an answer that finds no room afterwards would make the client do it again.
    let longest = wanted.keys.iter().map(|key| ESCAPED_TIMES * key.key.as_str().len() as u64 + ENTRY_BYTES);
    let lease = room_of(context, longest.sum()).await?;
    let keys = wanted.keys.iter().filter(|key| key.refusal.is_none()).map(|key| key.key.clone()).collect();
    let mut outcomes = context.vault.delete_many(context.decided, bucket, keys).await?.into_iter();
    let entries: Vec<DeletedEntry> = wanted
        .keys
        .into_iter()
        .map(|asked| {
            let result = match asked.refusal {
                Some(refusal) => Err(refusal),
                None => match outcomes.next() {
                    Some(outcome) => outcome
                        .map(|_| ())
                        .map_err(|error| Failure::from(error).told(context.findings).answer),
                    None => Err(S3Error::new(Code::InternalError)),
                },
            };
            DeletedEntry { key: asked.key, result }
        })
        .collect();
    answered(lease, reply::deleted(&entries, wanted.quiet))
}

/// What every answer about a record carries: which region, which class.
pub(super) fn about_record(
    context: &Context<'_>,
    answer: &mut Answer,
    class: &ClassId,
) -> Result<(), Failure> {
    note::class(class);
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| S3Error::new(Code::InternalError));
    let headers = answer.headers_mut();
    headers.insert(REGION_HEADER, value(context.decided.region().as_str())?);
    headers.insert(CLASS_HEADER, value(class.as_str())?);
    Ok(())
}
