//! Operations on buckets.

use http::{HeaderValue, StatusCode, header};

use crate::model::BucketName;
use crate::s3::reply::{self, ListedBucket, Owner};
use crate::s3::{BUCKET_REGION_HEADER, Code, ListBuckets, S3Error};

use super::Context;
use super::answer::Failure;
use super::body::Answer;
use super::lists::{answered, room};

/// A page of the index, in buckets.
const PAGE: u16 = 1000;

pub(super) async fn list(context: &Context<'_>, call: &ListBuckets) -> Result<Answer, Failure> {
    let wanted = call.buckets_max.unwrap_or(u32::MAX) as usize;
    let entries = u16::try_from(wanted).unwrap_or(PAGE).min(PAGE);
    let lease = room(context, entries).await?;
    let mut listed = Vec::new();
    let mut after: Option<BucketName> = call.after.as_deref().and_then(|name| name.parse().ok());
    loop {
        let page = context.vault.buckets(context.decided, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        let is_last = page.len() < usize::from(PAGE);
        after = Some(last.name.clone());
        let prefix = call.prefix.as_deref().unwrap_or_default();
        listed.extend(
            page.into_iter()
                .filter(|bucket| bucket.name.as_str().starts_with(prefix))
                .map(|bucket| ListedBucket { name: bucket.name, created: bucket.created }),
        );
        // One more than wanted, so that the answer can say whether there is more.
        if is_last || listed.len() > wanted {
            break;
        }
    }
    let region = context.decided.signing_scope();
    answered(lease, reply::list_buckets(call, &owner(context), region, &listed))
}

pub(super) async fn create(context: &Context<'_>, bucket: &BucketName) -> Result<Answer, Failure> {
    context.vault.create_bucket(context.decided, bucket).await?;
    let mut answer = Answer::whole(reply::empty(StatusCode::OK));
    if let Ok(location) = HeaderValue::from_str(&format!("/{bucket}")) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    with_region(context, &mut answer)?;
    Ok(answer)
}

pub(super) async fn head(context: &Context<'_>, bucket: &BucketName) -> Result<Answer, Failure> {
    context.vault.bucket(context.decided, bucket).await?;
    let mut answer = Answer::whole(reply::empty(StatusCode::OK));
    with_region(context, &mut answer)?;
    Ok(answer)
}

pub(super) async fn delete(context: &Context<'_>, bucket: &BucketName) -> Result<Answer, Failure> {
    context.vault.delete_bucket(context.decided, bucket).await?;
    Ok(Answer::whole(reply::empty(StatusCode::NO_CONTENT)))
}

pub(super) async fn location(context: &Context<'_>, bucket: &BucketName) -> Result<Answer, Failure> {
    context.vault.bucket(context.decided, bucket).await?;
    Ok(Answer::whole(reply::bucket_location(context.decided.signing_scope())))
}

/// The owner that listings name: the tenant.
pub(super) fn owner<'a>(context: &'a Context<'_>) -> Owner<'a> {
    let name = context.caller.tenant().id.as_str();
    Owner { id: name, display_name: name }
}

fn with_region(context: &Context<'_>, answer: &mut Answer) -> Result<(), Failure> {
    let region = HeaderValue::from_str(context.decided.signing_scope())
        .map_err(|_| S3Error::new(Code::InternalError))?;
    answer.headers_mut().insert(BUCKET_REGION_HEADER, region);
    Ok(())
}
