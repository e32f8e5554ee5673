//! `terroir inspect`: what a blob is, by its own sealed word. Without a key of the region that sealed it, nothing but its clear header.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::app::{InspectError, Inspected, Site};
use crate::envelope::{Header, LOCATOR_END_BYTES_MAX};
use crate::index::BlobStanding;
use crate::model::{BlobId, TenantCode, Timestamp, VersionId};
use crate::vault::Identity;

use super::args::InspectArgs;
use super::{Failure, output, site};

pub(super) async fn run(args: InspectArgs) -> Result<(), Failure> {
    let region = site::open(&args.site).await?;
    let found = find(&region, &args.blob).await;
    let told = found.map(|found| {
        if args.site.json {
            output::json(&to_json(&found));
        } else {
            print(&found);
        }
        found.identity
    });
    site::close(region).await;
    match told? {
        Identity::Ours(_) => Ok(()),
        Identity::Sealed(_) | Identity::Elsewhere(_) => {
            Err(Failure::new("sealed; no key of this region opens it"))
        }
        Identity::NotSealed(error) => Err(Failure::new(format!("no sealed blob: {error}"))),
    }
}

async fn find(region: &Site, what: &str) -> Result<Inspected, Failure> {
    let failed = |error: InspectError| match error {
        InspectError::Site(error) => Failure::from(error),
        InspectError::NoSuchBlob => Failure::of(&error),
    };
    if let Ok(blob) = what.parse::<BlobId>() {
        return region.inspect(blob).await.map_err(failed);
    }
    let (front, length) =
        front(Path::new(what)).await.map_err(|error| Failure::io("cannot read the blob's file", &error))?;
    region.inspect_front(&front, length).await.map_err(failed)
}

/// As much of a file as the header and the locator can take, and how long it is.
async fn front(path: &Path) -> std::io::Result<(Vec<u8>, u64)> {
    let file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    let mut front = Vec::with_capacity(LOCATOR_END_BYTES_MAX);
    file.take(LOCATOR_END_BYTES_MAX as u64).read_to_end(&mut front).await?;
    Ok((front, length))
}

/// What anybody can read of the blob.
fn clear(header: &Header, length: u64) -> Vec<(&'static str, Value)> {
    let expected = header.blob_bytes();
    vec![
        ("blob", json!(hex::encode(header.blob))),
        ("format", json!(1)),
        ("kind", json!(format!("{:?}", header.kind))),
        ("environment", json!(header.binding.environment.as_str())),
        ("region", json!(header.binding.region.as_str())),
        ("tenant_code", json!(TenantCode::from_bytes(header.binding.tenant).to_string())),
        ("class_code", json!(header.binding.class)),
        ("kek", json!(format!("{}/{}", hex::encode(header.kek_id), header.kek_epoch))),
        ("version", json!(VersionId::from_bytes(header.binding.version).to_string())),
        ("ordinal", json!(header.ordinal)),
        ("body_bytes", json!(header.body_bytes)),
        ("stored_bytes", json!(expected)),
        ("found_bytes", json!(length)),
        ("length_is_right", json!(expected == length)),
    ]
}

/// What only the keys tell, and the index.
fn sealed(found: &Inspected) -> Vec<(&'static str, Value)> {
    let Identity::Ours(both) = &found.identity else { return Vec::new() };
    let locator = &both.1;
    let mut rows = vec![
        ("bucket", json!(locator.bucket)),
        ("key", json!(String::from_utf8_lossy(&locator.key))),
        ("version_id", json!(if locator.null_version { "null" } else { locator.s3_version.as_str() })),
        ("created", json!(Timestamp::from_millis(locator.created_ms).to_string())),
        ("tenant", json!(found.tenant.as_ref().map(crate::model::TenantId::as_str))),
        ("class", json!(found.owner.as_ref().map(|owner| owner.class.as_str()))),
    ];
    let standing = found.standing.map(|standing| match standing {
        BlobStanding::Live => "live",
        BlobStanding::Reclaiming => "waits to be deleted",
        BlobStanding::Unknown => "unknown",
    });
    rows.push(("index", json!(standing)));
    let named = found.owner.as_ref().map(|owner| {
        let what = if owner.is_open_upload() { "open upload" } else { "version" };
        format!("{what} of s3://{}/{}", owner.bucket, owner.key.as_str())
    });
    rows.push(("named_in_index", json!(named)));
    rows
}

fn print(found: &Inspected) {
    let Some(header) = found.identity.header() else { return };
    let rows = clear(header, found.length).into_iter().chain(sealed(found));
    let rows: Vec<Vec<String>> = rows
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            vec![name.replace('_', " "), if value.is_null() { "-".to_owned() } else { text }]
        })
        .collect();
    output::table(&["WHAT", "IS"], &rows);
}

fn to_json(found: &Inspected) -> Value {
    let header = found.identity.header().map(|header| clear(header, found.length)).unwrap_or_default();
    let fields = header.into_iter().chain(sealed(found));
    let mut object: serde_json::Map<String, Value> =
        fields.map(|(name, value)| (name.to_owned(), value)).collect();
    object.insert("opened".to_owned(), json!(matches!(found.identity, Identity::Ours(_))));
    Value::Object(object)
}
