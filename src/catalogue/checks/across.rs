//! Checks across files: no two regions share what must be apart, and regions hold what classes demand.

use super::{Context, Problem};
use crate::catalogue::decode::Located;
use crate::catalogue::{ClassProfile, Region, Store};

pub(super) fn region_is_unique(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    shared(
        file,
        context,
        |region| Some(region.id.clone()),
        "id",
        "has the id of",
        "give each region an id of its own",
    )
}

/// Two regions behind one address: a redirect would lead back to where it came from.
pub(super) fn endpoint_is_unique(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    let of = |region: &Region| Some(region.endpoints.s3.to_string());
    shared(
        file,
        context,
        of,
        "endpoints.s3",
        "answers at the address of",
        "give each region an address of its own",
    )
}

/// Two regions with one bucket are one place with two names: exactly what this product is against.
pub(super) fn store_is_unique(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    let of = |region: &Region| match &region.store {
        Store::Memory {} => None,
        Store::Fs(folder) => folder.path.is_absolute().then(|| folder.path.display().to_string()),
        Store::S3(store) => Some(format!("{} {}", store.endpoint, store.bucket)),
        Store::Gcs(store) => Some(format!("gcs {}", store.bucket)),
    };
    shared(
        file,
        context,
        of,
        "store",
        "keeps its blobs in the bucket or folder of",
        "give each region a bucket of its own",
    )
}

/// One collector for two regions joins in one place what the regions keep apart.
pub(super) fn collector_is_unique(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    shared(
        file,
        context,
        |region| region.telemetry.as_ref().map(|sent| sent.otlp.authority().clone()),
        "telemetry.otlp",
        "sends its metrics and traces to the collector of",
        "give each region a collector of its own",
    )
}

fn shared<T: PartialEq>(
    file: &Located<Region>,
    context: &Context<'_>,
    of: impl Fn(&Region) -> Option<T>,
    at: &str,
    verb: &str,
    fix: &str,
) -> Vec<Problem> {
    let Some(mine) = of(&file.value) else { return vec![] };
    let others = context
        .regions
        .iter()
        .filter(|other| other.file != file.file && of(&other.value).as_ref() == Some(&mine));
    others.map(|other| Problem::new(at, format!("{} {verb} {}", file.stem, other.stem), fix)).collect()
}

/// The classes whose records may be placed in a region.
fn placed<'a>(region: &'a Region, context: &'a Context<'_>) -> impl Iterator<Item = &'a ClassProfile> {
    context
        .classes
        .iter()
        .map(|class| &class.value)
        .filter(|class| class.allowed_regions.contains(&region.id))
}

/// Who holds both the blobs and the keys holds the records.
pub(super) fn keys_apart_from_store(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    let region = &file.value;
    let facets = &region.facets;
    if facets.keys.by.trim() != facets.storage.by.trim() {
        return vec![];
    }
    let demanding = placed(region, context).filter(|class| class.keys_apart_from_store.contains(&region.id));
    demanding
        .map(|class| {
            let message = format!(
                "{} holds both keys and blobs, which class {} forbids here",
                facets.keys.by, class.id
            );
            Problem::new("facets.keys.by", message, "let somebody else hold the root keys")
        })
        .collect()
}

/// Advice, not more: the only custody this build can run is software's, and a register that hid it would be worse.
pub(super) fn custody_is_met(file: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    let region = &file.value;
    let has = region.keys.custody();
    let unmet: Vec<_> = placed(region, context).filter(|class| class.custody > has).collect();
    let demands: Vec<_> =
        unmet.iter().map(|class| format!("{} demands {}", class.id, class.custody.as_str())).collect();
    if demands.is_empty() {
        return vec![];
    }
    let message = format!(
        "root keys of kind {} are in {} custody, but {}",
        region.keys.kind(),
        has.as_str(),
        demands.join(", ")
    );
    vec![Problem::new(
        format!("keys.{}", region.keys.kind()),
        message,
        "do not put real records of these classes here yet",
    )]
}

pub(super) fn register_is_there(_: &Located<Region>, context: &Context<'_>) -> Vec<Problem> {
    if !context.classes.is_empty() {
        return vec![];
    }
    let message = "the data register holds no sound class: nothing could be placed here";
    vec![Problem::new("id", message, "add a class to register/")]
}

pub(super) fn region_is_there(_: &Located<ClassProfile>, context: &Context<'_>) -> Vec<Problem> {
    if !context.regions.is_empty() {
        return vec![];
    }
    vec![Problem::new(
        "id",
        "there is no sound region file: records of the class could go nowhere",
        "add a region's file",
    )]
}
