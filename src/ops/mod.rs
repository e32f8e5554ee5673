//! The operations: a recorded request in, the vault's work, an S3 answer out. One file per family, dispatch exhaustive.

mod admission;
mod answer;
mod body;
mod buckets;
mod findings;
mod lists;
mod objects;
mod uploads;

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body::Body as HttpBody;

use crate::audit::{self, Ended, Outcome};
use crate::auth::Caller;
use crate::model::{BucketName, ClassId, RegionId, Tenant, TenantCode};
use crate::s3::{Call, Code, S3Error, UploadRef};
use crate::shares::{Claimant, Share};
use crate::telemetry::Metrics;
use crate::vault::{Decided, Vault, VaultError};

pub use admission::{Content, Document, Placed, Recorded, TenantMismatch, decision};
pub use body::{Body, BodyError};

use answer::Failure;
use body::Answer;
use findings::Findings;

/// A document takes as much memory as itself, and what it is read into as much again: 10,000 parts of 130 bytes each become
/// 10,000 times a number, a tag and a checksum; keys to delete are there twice.
const DOCUMENT_TIMES: u64 = 2;

/// Carries out recorded requests of one region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operations {
    vault: Vault,
    findings: Arc<Findings>,
}

/// What every operation is given beside its call.
struct Context<'a> {
    vault: &'a Vault,
    decided: &'a Decided,
    caller: &'a Caller,
    findings: &'a Findings,
}

impl Operations {
    /// On the records of `vault`, which are those of `region`. Corrupt ones are counted in `metrics`.
    pub fn new(vault: Vault, region: RegionId, metrics: Arc<Metrics>) -> Self {
        Self { vault, findings: Arc::new(Findings::new(region, metrics)) }
    }

    fn told(&self, error: VaultError) -> S3Error {
        Failure::from(error).told(&self.findings).answer
    }

    /// The class rule of a tenant's bucket: part of the question placement is asked.
    pub async fn bucket_rule(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
    ) -> Result<Option<ClassId>, S3Error> {
        self.vault.bucket_rule(tenant, bucket).await.map_err(|error| self.told(error))
    }

    /// The class that a tenant's upload began with: part of the question placement is asked.
    pub async fn upload_class(&self, tenant: TenantCode, upload: &UploadRef) -> Result<ClassId, S3Error> {
        let object = &upload.object;
        self.vault
            .upload_class(tenant, &object.bucket, &object.key, upload.upload)
            .await
            .map_err(|error| self.told(error))
    }

    /// Memory for a document of `bytes` and for what it is read into, before anything of it is read; none for one that is empty.
    ///
    /// Waits: nobody may hold other memory who asks. What the document asks for may be waited for while it is held, because it
    /// comes out of another part of the budget: see [`crate::vault::Memory`].
    pub async fn document_memory(&self, tenant: &Tenant, bytes: u64) -> Result<Option<Share>, S3Error> {
        if bytes == 0 {
            return Ok(None);
        }
        let claimant = Claimant::tenant(tenant.code, tenant.weight);
        let leased = self.vault.memory().document(claimant, bytes.saturating_mul(DOCUMENT_TIMES)).await;
        leased.map(Some).map_err(|exhausted| self.told(exhausted.into()))
    }

    /// Carries out a request. How it ended is recorded, when the answer's body has been sent or dropped.
    pub async fn carry_out<B>(&self, request: Recorded<B>) -> Result<Response<Body>, S3Error>
    where
        B: HttpBody<Data = Bytes> + Unpin + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Recorded { call, caller, content, placement } = request;
        let findings = &self.findings;
        let context = Context { vault: &self.vault, decided: &placement, caller: &caller, findings };
        let done = dispatch(&context, call, content).await;
        let (_, completion) = placement.into_parts();
        match done {
            Ok(answer) => Ok(answer.completing(completion, Arc::clone(findings))),
            Err(failure) => {
                let failure = failure.told(findings);
                completion.finish(Ended::new(failure.outcome, Some(failure.answer.code().status().as_u16())));
                Err(failure.answer)
            }
        }
    }
}

/// One arm per call, none left over: a new call does not compile until it is decided what it does.
async fn dispatch<B>(context: &Context<'_>, call: Call, content: Content<B>) -> Result<Answer, Failure>
where
    B: HttpBody<Data = Bytes> + Unpin + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match call {
        Call::ListBuckets(list) => buckets::list(context, &list).await,
        Call::CreateBucket(bucket) => buckets::create(context, &bucket).await,
        Call::HeadBucket(bucket) => buckets::head(context, &bucket).await,
        Call::DeleteBucket(bucket) => buckets::delete(context, &bucket).await,
        Call::BucketLocation(bucket) => buckets::location(context, &bucket).await,
        Call::ListObjects(list) => lists::objects(context, &list).await,
        Call::PutObject(put) => objects::put(context, put, content).await,
        Call::GetObject(read) => objects::get(context, &read).await,
        Call::HeadObject(read) => objects::head(context, &read).await,
        Call::DeleteObject(object) => objects::delete(context, &object).await,
        Call::DeleteObjects(bucket) => objects::delete_many(context, &bucket, content).await,
        Call::CreateMultipartUpload(create) => uploads::create(context, create).await,
        Call::UploadPart(part) => uploads::part(context, &part, content).await,
        Call::CompleteMultipartUpload(complete) => uploads::complete(context, &complete, content).await,
        Call::AbortMultipartUpload(upload) => uploads::abort(context, &upload).await,
        Call::ListParts(list) => lists::parts(context, &list).await,
        Call::ListMultipartUploads(list) => lists::uploads(context, &list).await,
        Call::Unsupported(unsupported) => Err(S3Error::not_implemented(unsupported.reason).into()),
    }
}

impl<B> Content<B> {
    /// The body of a write.
    fn record(self) -> Result<crate::s3::Payload<B>, Failure> {
        match self {
            Self::Record(payload) => Ok(payload),
            Self::Document(_) | Self::None => Err(S3Error::new(Code::MissingRequestBody).into()),
        }
    }

    /// What the document of an operation that takes one says, with its memory: to be held for as long as what it says is.
    fn document<T>(
        self,
        read: impl FnOnce(&[u8]) -> Result<T, S3Error>,
    ) -> Result<(T, Option<Share>), Failure> {
        match self {
            Self::Document(document) => Ok(document.read(read)?),
            Self::Record(_) | Self::None => Err(S3Error::new(Code::MissingRequestBody).into()),
        }
    }
}

/// How a finished operation is recorded.
fn ended(outcome: Outcome, status: http::StatusCode, bytes_in: u64, bytes_out: u64) -> audit::Ended {
    Ended { bytes_in, bytes_out, ..Ended::new(outcome, Some(status.as_u16())) }
}
