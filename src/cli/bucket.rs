//! `terroir bucket …`: the class rule of a bucket, which S3 has no verb for.

use crate::app::Site;
use crate::audit::{Ended, Outcome};
use crate::model::{BucketName, ClassId, Tenant};
use crate::placement::Operation;

use super::args::BucketCommand;
use super::{Failure, output, site};

pub(super) async fn run(command: BucketCommand) -> Result<(), Failure> {
    let BucketCommand::Rule { tenant, bucket, class, none, site: args } = command;
    let region = site::open(&args).await?;
    let done = match region.registry().show_tenant(&tenant).await {
        Ok(tenant) => set(&region, &tenant, &bucket, if none { None } else { class.as_ref() }).await,
        Err(error) => Err(error.into()),
    };
    site::close(region).await;
    done?;
    match class {
        Some(class) if !none => {
            output::line(&format!("records written to {bucket} are of class {class} at least"));
        }
        _ => output::line(&format!("bucket {bucket} has no class rule")),
    }
    Ok(())
}

async fn set(
    region: &Site,
    tenant: &Tenant,
    bucket: &BucketName,
    class: Option<&ClassId>,
) -> Result<(), Failure> {
    if let Some(class) = class
        && region.catalogue().class(class).is_none()
    {
        return Err(Failure::config(format!("class {class} is not in the data register")));
    }
    let decided = region.admit(tenant, &Operation::Bucket, "bucket.rule").await?;
    let done = region.vault().set_bucket_rule(&decided, bucket, class).await;
    let outcome = if done.is_ok() { Outcome::Ok } else { Outcome::Error { code: "failed" } };
    decided.into_parts().1.finish(Ended::new(outcome, None));
    done.map_err(|error| Failure::of(&error))
}
