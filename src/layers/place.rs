//! Where the request may run: one question to `placement::decide`, its refusals recorded like its decisions.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;

use crate::audit::{self, Decision, Log, Verdict};
use crate::auth::Permitted;
use crate::catalogue::Catalogue;
use crate::model::{BucketName, Clock, RegionId, TenantCode};
use crate::ops::{Document, Operations, Placed, decision};
use crate::placement::{AskedClass, Operation, Question, Refusal, decide};
use crate::s3::{Call, Code, Labels, S3Error, UploadRef, xml};
use crate::shares::away;
use crate::telemetry::{RefusalCode, Stage, note};

use super::record::unrecordable;
use super::step::Step;

/// Asks for a placement and joins it to the permit.
#[derive(Debug)]
pub struct Place {
    serving: RegionId,
    catalogue: Arc<Catalogue>,
    operations: Operations,
    clock: Arc<dyn Clock>,
    log: Log,
}

impl Place {
    /// For the stack of region `serving`. `operations` answers what the decision needs to know of a bucket or an upload.
    pub fn new(
        serving: RegionId,
        catalogue: Arc<Catalogue>,
        operations: Operations,
        clock: Arc<dyn Clock>,
        log: Log,
    ) -> Self {
        Self { serving, catalogue, operations, clock, log }
    }

    /// The operation as placement sees it. Takes one index round trip for a write or a part, none otherwise.
    async fn operation(
        &self,
        tenant: TenantCode,
        call: &Call,
        document: Option<&Document>,
    ) -> Result<Operation, S3Error> {
        match call {
            Call::ListBuckets(_) => Ok(Operation::ListBuckets),
            Call::CreateBucket(_) => Ok(Operation::CreateBucket {
                location_constraint: match document {
                    Some(document) => xml::location_constraint(document.bytes())?,
                    None => None,
                },
            }),
            Call::PutObject(put) => self.write(tenant, &put.object.bucket, &put.labels).await,
            Call::CreateMultipartUpload(create) => {
                self.write(tenant, &create.object.bucket, &create.labels).await
            }
            Call::UploadPart(part) => self.part(tenant, &part.upload).await,
            Call::CompleteMultipartUpload(complete) => self.part(tenant, &complete.upload).await,
            Call::GetObject(_) | Call::HeadObject(_) => Ok(Operation::Read),
            Call::DeleteObject(_) | Call::DeleteObjects(_) | Call::AbortMultipartUpload(_) => {
                Ok(Operation::Delete)
            }
            Call::HeadBucket(_)
            | Call::DeleteBucket(_)
            | Call::BucketLocation(_)
            | Call::ListObjects(_)
            | Call::ListParts(_)
            | Call::ListMultipartUploads(_)
            | Call::Unsupported(_) => Ok(Operation::Bucket),
        }
    }

    /// What is asked, and the document it was asked with: a location constraint is part of the question.
    async fn question<B>(
        &self,
        permitted: &mut Permitted<B>,
    ) -> Result<(Operation, Option<Document>), S3Error>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let memory = match permitted.document_bytes(xml::DOCUMENT_BYTES_MAX)? {
            Some(bytes) => self.operations.document_memory(permitted.caller().tenant(), bytes).await?,
            None => None,
        };
        let document = away(permitted.read_document(xml::DOCUMENT_BYTES_MAX)).await?;
        let document = document.map(|bytes| Document::new(bytes, memory));
        let tenant = permitted.caller().tenant().code;
        Ok((self.operation(tenant, permitted.call(), document.as_ref()).await?, document))
    }

    async fn write(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        labels: &Labels,
    ) -> Result<Operation, S3Error> {
        let bucket = self.operations.bucket_rule(tenant, bucket).await?;
        Ok(Operation::Write(AskedClass { header: labels.class.clone(), bucket, ..AskedClass::default() }))
    }

    async fn part(&self, tenant: TenantCode, upload: &UploadRef) -> Result<Operation, S3Error> {
        Ok(Operation::Part { class: self.operations.upload_class(tenant, upload).await? })
    }

    /// The audit record of a refusal.
    fn refusal<B>(&self, permitted: &Permitted<B>, code: &'static str) -> Decision {
        decision(
            self.log.keys(),
            permitted.call(),
            permitted.caller(),
            permitted.origin(),
            self.serving.clone(),
            Verdict::Refused { code },
        )
    }

    /// Makes a refusal durable before it is told.
    async fn refuse(&self, decision: Decision, answer: S3Error) -> S3Error {
        match self.log.record(decision, ()).await {
            Ok(recorded) => {
                let ended = audit::Outcome::Error { code: answer.code().as_str() };
                let status = answer.code().status().as_u16();
                recorded.into_parts().1.finish(audit::Ended::new(ended, Some(status)));
                answer
            }
            Err(_) => unrecordable(),
        }
    }
}

impl<B> Step<Permitted<B>> for Place
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Out = Placed<B>;
    const STAGE: Stage = Stage::Place;

    async fn step(&self, mut permitted: Permitted<B>) -> Result<Placed<B>, S3Error> {
        let (operation, document) = match self.question(&mut permitted).await {
            Ok(asked) => asked,
            Err(answer) => {
                let refusal = self.refusal(&permitted, answer.code().as_str());
                return Err(self.refuse(refusal, answer).await);
            }
        };
        let tenant = permitted.caller().tenant();
        let question =
            Question { tenant, operation: &operation, serving: &self.serving, now: self.clock.now() };
        match decide(&question, &self.catalogue) {
            Ok(placement) => {
                Placed::new(permitted, placement, document).map_err(|_| S3Error::new(Code::InternalError))
            }
            Err(refusal) => {
                // Suspended since its signature was believed.
                if matches!(refusal, Refusal::TenantSuspended) {
                    note::refusal(RefusalCode::Suspended);
                }
                let record = self.refusal(&permitted, refusal.code());
                Err(self.refuse(record, answer_to(&refusal)).await)
            }
        }
    }
}

/// The one map from refusals to S3 codes. The refusal's own code stands in front of the message, so that a client sees
/// which rule it was.
fn answer_to(refusal: &Refusal) -> S3Error {
    let message = format!("{}: {refusal}", refusal.code());
    match refusal {
        Refusal::OtherRegion { region, endpoint } => S3Error::because(Code::PermanentRedirect, message)
            .with_region(region.as_str())
            .with_endpoint(endpoint.to_string())
            .closing(),
        Refusal::LocationUnknown { .. } | Refusal::LocationElsewhere { .. } => {
            S3Error::because(Code::IllegalLocationConstraint, message)
        }
        Refusal::ClassUnknown { .. } | Refusal::ClassMissing => {
            S3Error::because(Code::InvalidArgument, message)
        }
        Refusal::TenantSuspended
        | Refusal::RegionUnknown { .. }
        | Refusal::ClassNotInRegion { .. }
        | Refusal::CertificateExpired { .. }
        | Refusal::FacetOutside { .. } => S3Error::because(Code::AccessDenied, message),
    }
}
