//! The tour: records written and read back through the real listeners by a real S3 client, then a table of where they lie,
//! and the wrong region, tried and refused.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};

use crate::app::{Running, Site};
use crate::audit::{Ended, Outcome};
use crate::placement::Operation;

use super::super::{Failure, output};
use super::credentials::DemoTenant;
use super::records;

const COLUMNS: [&str; 8] =
    ["RECORD", "CLASS", "TENANT", "REGION", "CLEAR", "SEALED", "KEY", "THE BYTES LIE IN"];

/// Walks through all of it, or says what broke.
pub(super) async fn walk(running: &Running, tenants: &[DemoTenant]) -> Result<(), Failure> {
    output::line("A short tour: synthetic records, written and read back through S3.");
    let mut rows = Vec::new();
    for (salt, (tenant, site)) in tenants.iter().zip(running.sites()).enumerate() {
        let salt = u32::try_from(salt).unwrap_or_default() + 1;
        rows.extend(records_of(running, tenant, site, salt).await?);
    }
    output::line("");
    output::table(&COLUMNS, &rows);
    output::line("");
    for tenant in tenants {
        for other in tenants.iter().filter(|other| other.region != tenant.region) {
            wrong_region(running, tenant, other).await?;
        }
    }
    output::line("The tour is over: everything was where it belongs, and nowhere else.");
    Ok(())
}

/// Writes one tenant's records, reads each back, and says where it lies.
async fn records_of(
    running: &Running,
    tenant: &DemoTenant,
    site: &Site,
    salt: u32,
) -> Result<Vec<Vec<String>>, Failure> {
    let client = client(running, tenant, &tenant.region)?;
    let bucket = format!("{}-records", tenant.id);
    let broke = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(format!("the tour broke: {what} for {} in {}: {error}", tenant.id, tenant.region))
    };
    if let Err(error) = client.create_bucket().bucket(&bucket).send().await {
        let error = error.into_service_error();
        if !error.is_bucket_already_owned_by_you() {
            return Err(broke("creating a bucket", &error));
        }
    }
    let mut rows = Vec::new();
    for record in records::all(salt) {
        let mut put = client
            .put_object()
            .bucket(&bucket)
            .key(record.key)
            .content_type(record.content_type)
            .body(ByteStream::from(record.bytes.clone()));
        if let Some(class) = record.class {
            put = put.metadata("terroir-class", class);
        }
        put.send().await.map_err(|error| broke("writing a record", &error.into_service_error()))?;
        let read = client.get_object().bucket(&bucket).key(record.key).send().await;
        let read = read.map_err(|error| broke("reading a record", &error.into_service_error()))?;
        let bytes = read.body.collect().await.map_err(|error| broke("reading a record", &error))?;
        if bytes.into_bytes() != record.bytes {
            return Err(broke("reading a record", &"the bytes are not those written"));
        }
        rows.push(row(site, tenant, &bucket, record.key, record.title).await?);
    }
    Ok(rows)
}

async fn row(
    site: &Site,
    tenant: &DemoTenant,
    bucket: &str,
    key: &str,
    title: &str,
) -> Result<Vec<String>, Failure> {
    let invalid = |_| Failure::new("the tour broke: a name of its own is not valid");
    let owner = site.registry().show_tenant(&tenant.id.parse().map_err(invalid)?).await?;
    let decided = site.admit(&owner, &Operation::Read, "where").await?;
    let traced = async {
        let stored = site
            .vault()
            .open(&decided, &bucket.parse().map_err(invalid)?, &key.parse().map_err(invalid)?)
            .await;
        let stored = stored.map_err(|error| Failure::of(&error))?;
        let traces = site.vault().trace(&decided, &stored).await.map_err(|error| Failure::of(&error))?;
        Ok::<_, Failure>((stored, traces))
    }
    .await;
    let outcome = if traced.is_ok() { Outcome::Ok } else { Outcome::Error { code: "failed" } };
    decided.into_parts().1.finish(Ended::new(outcome, None));
    let (stored, traces) = traced?;
    let first = traces.first().ok_or_else(|| Failure::new("the tour broke: a record without blobs"))?;
    if traces.iter().any(|trace| trace.observed_bytes != Some(trace.stored_bytes)) {
        return Err(Failure::new("the tour broke: the store does not hold what the record says"));
    }
    let key_id = stored.kms_key_id();
    Ok(vec![
        title.to_owned(),
        stored.class().to_string(),
        tenant.id.clone(),
        tenant.region.clone(),
        output::bytes(stored.size_bytes()),
        output::bytes(stored.sealed_bytes()),
        // Enough to tell keys apart.
        key_id.chars().take(12).collect(),
        site.store_place(&first.name),
    ])
}

/// A tenant at another region's door, and its own door asked for a bucket elsewhere: both refused, or the tour fails.
async fn wrong_region(running: &Running, tenant: &DemoTenant, other: &DemoTenant) -> Result<(), Failure> {
    let client = client(running, tenant, &other.region)?;
    let refused = client.list_buckets().send().await;
    let Err(error) = refused else {
        return Err(Failure::new(format!("the tour broke: {} was served in {}", tenant.id, other.region)));
    };
    let status = error.raw_response().map(|response| response.status().as_u16());
    let home = error.raw_response().and_then(|response| response.headers().get("x-amz-bucket-region"));
    if status != Some(301) || home != Some(tenant.region.as_str()) {
        return Err(Failure::new(format!(
            "the tour broke: region {} answered {status:?}, not a redirect",
            other.region
        )));
    }
    output::line(&format!("{} at the door of {}: 301, go to {}.", tenant.id, other.region, tenant.region));

    let client = self::client(running, tenant, &tenant.region)?;
    let abroad = CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::from(other.region.as_str()))
        .build();
    let asked =
        client.create_bucket().bucket(format!("{}-abroad", tenant.id)).create_bucket_configuration(abroad);
    let Err(error) = asked.send().await else {
        return Err(Failure::new(format!("the tour broke: {} made a bucket in {}", tenant.id, other.region)));
    };
    let error = error.into_service_error();
    let code = error.meta().code().unwrap_or_default().to_owned();
    if code != "IllegalLocationConstraintException" {
        return Err(Failure::new(format!("the tour broke: a bucket abroad was answered {code}")));
    }
    output::line(&format!("{} asks {} for a bucket in {}: {code}.", tenant.id, tenant.region, other.region));
    Ok(())
}

/// An S3 client with the tenant's key at the door of `region`.
fn client(running: &Running, tenant: &DemoTenant, region: &str) -> Result<Client, Failure> {
    let at = running.addresses().iter().find(|at| at.region.as_str() == region);
    let at = at.ok_or_else(|| Failure::new(format!("region {region} is not running")))?;
    let credentials = Credentials::new(&tenant.access_key, &tenant.secret_key, None, None, "terroir dev");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(format!("http://{}", at.data))
        .region(Region::new(region.to_owned()))
        .credentials_provider(credentials)
        .force_path_style(true)
        .build();
    Ok(Client::from_conf(config))
}
