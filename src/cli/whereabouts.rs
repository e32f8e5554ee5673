//! `terroir where`: every place that holds a trace of a record, each declared or observed.

use serde_json::json;

use crate::app::Site;
use crate::audit::{Ended, Outcome};
use crate::model::{BucketName, ObjectKey, Tenant};
use crate::placement::Operation;
use crate::vault::{Stored, Trace};

use super::args::WhereArgs;
use super::{Failure, output, site};

pub(super) async fn run(args: WhereArgs) -> Result<(), Failure> {
    let (bucket, key) = parse(&args.uri)?;
    let region = site::open(&args.site).await?;
    let found = find(&region, &bucket, &key).await;
    let (stored, traces, tenant) = match found {
        Ok(found) => found,
        Err(failure) => {
            site::close(region).await;
            return Err(failure);
        }
    };
    if args.site.json {
        output::json(&to_json(&region, &stored, &traces, &tenant));
    } else {
        print(&region, &stored, &traces, &tenant);
    }
    site::close(region).await;
    if traces.iter().all(|trace| trace.observed_bytes == Some(trace.stored_bytes)) {
        return Ok(());
    }
    Err(Failure::new("the store does not hold what the record says; see above"))
}

fn parse(uri: &str) -> Result<(BucketName, ObjectKey), Failure> {
    let usage = || Failure::new("name a record as s3://bucket/key");
    let (bucket, key) = uri.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).ok_or_else(usage)?;
    Ok((bucket.parse().map_err(|_| usage())?, key.parse().map_err(|_| usage())?))
}

/// Finds the record through whichever tenant owns the bucket; asking is recorded like any other reading.
async fn find(
    region: &Site,
    bucket: &BucketName,
    key: &ObjectKey,
) -> Result<(Stored, Vec<Trace>, Tenant), Failure> {
    let owner = region.bucket_owner(bucket).await?;
    let tenants = region.registry().list_tenants().await?;
    let Some(tenant) = tenants.into_iter().find(|tenant| Some(tenant.code) == owner) else {
        return Err(Failure::new(format!("there is no bucket {bucket} in region {}", region.region().id)));
    };
    let decided = region.admit(&tenant, &Operation::Read, "where").await?;
    let found = async {
        let stored = region.vault().open(&decided, bucket, key).await?;
        let traces = region.vault().trace(&decided, &stored).await?;
        Ok::<_, crate::vault::VaultError>((stored, traces))
    }
    .await;
    let outcome = if found.is_ok() { Outcome::Ok } else { Outcome::Error { code: "failed" } };
    decided.into_parts().1.finish(Ended::new(outcome, None));
    let (stored, traces) = found.map_err(|error| Failure::of(&error))?;
    Ok((stored, traces, tenant))
}

/// Where, of what kind, and how we know.
fn places(region: &Site, stored: &Stored) -> Vec<(&'static str, String, &'static str)> {
    let profile = region.region();
    let keys = region.ring().describe();
    vec![
        ("region", format!("{} ({})", profile.id, profile.names.en), "declared"),
        ("index row", region.index_place(), "observed"),
        ("key", format!("{} ({}, {})", stored.kms_key_id(), keys.kind, keys.place), "declared"),
        ("audit log", region.audit_place(), "observed"),
        ("backup", profile.facets.backup.by.clone(), "declared"),
    ]
}

fn print(region: &Site, stored: &Stored, traces: &[Trace], tenant: &Tenant) {
    output::line(&format!(
        "tenant {} · class {} · {} clear, {} sealed",
        tenant.id,
        stored.class(),
        output::bytes(stored.size_bytes()),
        output::bytes(stored.sealed_bytes())
    ));
    let mut rows: Vec<Vec<String>> = places(region, stored)
        .into_iter()
        .map(|(what, at, how)| vec![what.to_owned(), at, how.to_owned()])
        .collect();
    for trace in traces {
        let how = match trace.observed_bytes {
            Some(observed) if observed == trace.stored_bytes => {
                format!("observed, {}", output::bytes(observed))
            }
            Some(observed) => format!("observed with a WRONG LENGTH: {observed} for {}", trace.stored_bytes),
            None => "MISSING".to_owned(),
        };
        rows.push(vec!["blob".to_owned(), region.store_place(&trace.name), how]);
    }
    output::table(&["TRACE", "WHERE", "HOW WE KNOW"], &rows);
    if let Some(notice) = region.catalogue().overlay_notice() {
        output::line(&notice);
    }
}

fn to_json(region: &Site, stored: &Stored, traces: &[Trace], tenant: &Tenant) -> serde_json::Value {
    json!({
        "tenant": tenant.id.as_str(),
        "region": region.region().id.as_str(),
        "class": stored.class().as_str(),
        "key": stored.kms_key_id(),
        "clear_bytes": stored.size_bytes(),
        "sealed_bytes": stored.sealed_bytes(),
        "overlay": region.catalogue().overlay_notice(),
        "places": places(region, stored).into_iter().map(|(what, at, how)| json!({ "what": what, "where": at, "how": how })).collect::<Vec<_>>(),
        "blobs": traces.iter().map(|trace| json!({
            "blob": trace.blob.to_string(),
            "where": region.store_place(&trace.name),
            "clear_bytes": trace.clear_bytes,
            "stored_bytes": trace.stored_bytes,
            "observed_bytes": trace.observed_bytes,
        })).collect::<Vec<_>>(),
    })
}
