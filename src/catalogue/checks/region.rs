//! Checks of one region: that its parts agree with one another.

use std::path::{Path, PathBuf};

use super::{Context, Problem};
use crate::catalogue::decode::Located;
use crate::catalogue::{
    Authority, Endpoint, FacetName, GcsCredentials, GcsStore, Index, KeyStore, Keys, Region, Store, Telemetry,
};
use crate::model::BucketName;

pub(super) fn stem_is_id(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    differ("id", file.value.id.as_str(), &file.stem, "the file's name")
}

/// One name for three things: what callers sign, what `LocationConstraint` says, what the file is called. A second one would be
/// a second answer to "where am I".
pub(super) fn signing_scope_is_id(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    differ("signing-scope", &file.value.signing_scope, file.value.id.as_str(), "the id")
}

fn differ(at: &str, is: &str, should: &str, what: &str) -> Vec<Problem> {
    if is == should {
        return vec![];
    }
    vec![Problem::new(at, format!("{at} is {is}, but {what} is {should}"), format!("write {should}"))]
}

pub(super) fn texts_are_filled(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let region = &file.value;
    let mut texts = vec![
        ("names.en".to_owned(), &region.names.en),
        ("names.fr".into(), &region.names.fr),
        ("place.site".into(), &region.place.site),
        ("operator.name".into(), &region.operator.name),
        ("operator.residual-risk".into(), &region.operator.residual_risk),
    ];
    texts.extend(region.facets.iter().map(|(name, facet)| (format!("facets.{name}.by"), &facet.by)));
    texts.extend(
        super::claims::evidence(region)
            .into_iter()
            .map(|(at, evidence)| (format!("{at}.source"), &evidence.source)),
    );
    blank(texts)
}

pub(super) fn blank(texts: Vec<(String, &String)>) -> Vec<Problem> {
    let blank = texts.into_iter().filter(|(_, text)| text.trim().is_empty());
    blank.map(|(at, _)| Problem::new(at.clone(), format!("{at} is empty"), "say it in words")).collect()
}

pub(super) fn countries_are_named(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let place = ("place".to_owned(), file.value.place.countries.is_empty());
    let facets =
        file.value.facets.iter().map(|(name, facet)| (format!("facets.{name}"), facet.countries.is_empty()));
    let empty = std::iter::once(place).chain(facets).filter(|(_, is_empty)| *is_empty);
    empty
        .map(|(at, _)| {
            let message = format!("{at} names no country: nothing happens nowhere");
            Problem::new(format!("{at}.countries"), message, "name every country it touches")
        })
        .collect()
}

pub(super) fn facet_inside_region(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let Region { place, facets, .. } = &file.value;
    let outside = facets
        .iter()
        .flat_map(|(name, facet)| facet.countries.difference(&place.countries).map(move |c| (name, c)));
    outside
        .map(|(name, country)| {
            let message = format!("{name} reaches into {country}, which place.countries does not hold");
            Problem::new(
                format!("facets.{name}.countries"),
                message,
                "keep it inside, or let no tenant choose this region",
            )
        })
        .collect()
}

/// Each connector with the facet it belongs to and the field that names its host.
fn connections(region: &Region) -> Vec<(FacetName, &'static str, &Authority)> {
    let mut connections: Vec<_> = match &region.store {
        Store::Fs(_) | Store::Memory {} => vec![],
        Store::S3(store) => vec![(FacetName::Storage, "store.s3.endpoint", store.endpoint.authority())],
        Store::Gcs(store) => {
            let endpoints = gcs_endpoints(store).map(|(at, endpoint)| (at, endpoint.authority()));
            let token_hosts = store.token_hosts.iter().map(|host| ("store.gcs.token-hosts", host));
            endpoints.chain(token_hosts).map(|(at, host)| (FacetName::Storage, at, host)).collect()
        }
    };
    match &region.index {
        Index::Sqlite(_) => {}
        Index::Postgres(database) => {
            connections.push((FacetName::Index, "index.postgres.host", &database.host));
        }
    }
    let keys = region.key_store.hosts().into_iter();
    connections.extend(keys.map(|host| (FacetName::Keys, "key-store.postgres.host", host)));
    let collector = region.telemetry.iter();
    connections.extend(collector.map(|sent| (FacetName::Telemetry, "telemetry.otlp", sent.otlp.authority())));
    connections
}

/// The addresses of a Google store with the fields that name them.
fn gcs_endpoints(store: &GcsStore) -> impl Iterator<Item = (&'static str, &Endpoint)> {
    let control = store.control_endpoint.iter().map(|endpoint| ("store.gcs.control-endpoint", endpoint));
    std::iter::once(("store.gcs.endpoint", &store.endpoint)).chain(control)
}

/// The allow-list and the connectors are written apart and must agree, so that moving data takes two edits in one review.
pub(super) fn host_inside_facet(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let outside = connections(&file.value)
        .into_iter()
        .filter(|(facet, _, host)| !file.value.facets.named(*facet).hosts.contains(host));
    outside
        .map(|(facet, at, host)| {
            let message = format!("{at} goes to {host}, which facets.{facet}.hosts does not allow");
            Problem::new(at, message, format!("if {host} lies in the region's countries, add it there too"))
        })
        .collect()
}

pub(super) fn host_is_used(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let used = connections(&file.value);
    let allowed =
        file.value.facets.iter().flat_map(|(name, facet)| facet.hosts.iter().map(move |host| (name, host)));
    allowed
        .filter(|(name, host)| !used.iter().any(|(facet, _, to)| facet == name && to == host))
        .map(|(name, host)| {
            let message = format!("{name} allows {host}, to which nothing connects");
            Problem::new(
                format!("facets.{name}.hosts"),
                message,
                "remove it: what is allowed and not used is a way out",
            )
        })
        .collect()
}

pub(super) fn host_is_real(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let mut hosts = vec![("endpoints.s3", file.value.endpoints.s3.authority())];
    hosts.extend(connections(&file.value).into_iter().map(|(_, at, host)| (at, host)));
    let placeholders = hosts.into_iter().filter(|(_, host)| host.is_placeholder());
    placeholders
        .map(|(at, host)| {
            let message = format!("{at} is {host}, a name reserved for examples: nobody answers there");
            Problem::new(at, message, "write the deployment's own before serving")
        })
        .collect()
}

pub(super) fn endpoint_has_tls(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let region = &file.value;
    let mut endpoints: Vec<(&str, &Endpoint)> = vec![("endpoints.s3", &region.endpoints.s3)];
    match &region.store {
        Store::Fs(_) | Store::Memory {} => {}
        Store::S3(store) => endpoints.push(("store.s3.endpoint", &store.endpoint)),
        Store::Gcs(store) => endpoints.extend(gcs_endpoints(store)),
    }
    endpoints.extend(region.telemetry.iter().map(|sent| ("telemetry.otlp", &sent.otlp)));
    let bare = endpoints
        .into_iter()
        .filter(|(_, endpoint)| !endpoint.is_tls() && !endpoint.authority().is_loopback());
    bare.map(|(at, _)| Problem::new(at, format!("{at} is http to another machine"), "use https")).collect()
}

/// What an export may carry beside its body: names of headers that are ours to set, few, and none that HTTP itself needs.
pub(super) fn telemetry_headers(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    const RESERVED: [&str; 10] = [
        "host",
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "connection",
        "user-agent",
        "traceparent",
        "tracestate",
        "baggage",
    ];
    let Some(telemetry) = &file.value.telemetry else { return vec![] };
    let is_sound = |name: &str| {
        let token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=64).contains(&name.len()) && name.bytes().all(token) && !RESERVED.contains(&name)
    };
    let mut problems: Vec<Problem> = telemetry
        .headers
        .keys()
        .filter(|name| !is_sound(name))
        .map(|name| {
            let message = format!("telemetry.headers.{name} is no header that a region may add");
            Problem::new(
                format!("telemetry.headers.{name}"),
                message,
                "use lowercase letters, digits and hyphens, such as authorization",
            )
        })
        .collect();
    if telemetry.headers.len() > Telemetry::HEADERS_MAX {
        let message = format!("telemetry.headers has more than {} entries", Telemetry::HEADERS_MAX);
        problems.push(Problem::new("telemetry.headers", message, "leave the one that authenticates"));
    }
    problems
}

/// Names that every store takes, so that a prefix never needs encoding and never climbs.
pub(super) fn store_name(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let (kind, bucket, prefix) = match &file.value.store {
        Store::Fs(_) | Store::Memory {} => return vec![],
        Store::S3(store) => ("s3", &store.bucket, &store.prefix),
        Store::Gcs(store) => ("gcs", &store.bucket, &store.prefix),
    };
    let mut problems = Vec::new();
    if bucket.parse::<BucketName>().is_err() {
        let at = format!("store.{kind}.bucket");
        problems.push(Problem::new(
            at,
            "the bucket's name is not a legal one",
            "use 3 to 63 lowercase letters, digits, hyphens",
        ));
    }
    let is_step = |step: &str| {
        !step.is_empty()
            && step != "."
            && step != ".."
            && step.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let is_folder = prefix.strip_suffix('/').is_some_and(|steps| steps.split('/').all(is_step));
    if !prefix.is_empty() && !is_folder {
        let at = format!("store.{kind}.prefix");
        let fix = "leave it out, or use names of letters, digits, dots, hyphens and a final slash";
        problems.push(Problem::new(at, "the prefix is not a folder", fix));
    }
    problems
}

/// Google's global endpoint may end TLS and process requests anywhere; only `storage.LOCATION.rep.googleapis.com` does so in the
/// location (Cloud Storage documentation, "Regional endpoints").
pub(super) fn gcs_endpoint_is_regional(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let Store::Gcs(store) = &file.value.store else { return vec![] };
    let regional = format!("storage.{}.rep.googleapis.com", store.expected_location.to_ascii_lowercase());
    let elsewhere = gcs_endpoints(store).filter(|(_, endpoint)| {
        !endpoint.authority().is_loopback() && endpoint.authority().host() != regional
    });
    elsewhere
        .map(|(at, endpoint)| {
            let host = endpoint.authority().host();
            let message = format!("{host} is not the regional endpoint of {}", store.expected_location);
            Problem::new(at, message, format!("use https://{regional}"))
        })
        .collect()
}

/// Who is asked for tokens is written down, and nobody is asked in vain; nobody at all is only for this machine.
pub(super) fn gcs_credentials(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let Store::Gcs(store) = &file.value.store else { return vec![] };
    let (fits, rule) = match store.credentials {
        GcsCredentials::ServiceAccount(_) => {
            (store.token_hosts.is_empty(), "a service account signs its own tokens: no token-hosts")
        }
        GcsCredentials::WorkloadIdentity(_) => (
            !store.token_hosts.is_empty(),
            "workload identity asks hosts for tokens: name each of them in token-hosts",
        ),
        GcsCredentials::MetadataServer {} => {
            (store.token_hosts.len() == 1, "the metadata server is one host: name it in token-hosts")
        }
        GcsCredentials::Anonymous {} => {
            (store.token_hosts.is_empty(), "anonymous access needs no tokens: no token-hosts")
        }
    };
    let mut problems = Vec::new();
    if !fits {
        let message = "token-hosts do not fit the kind of credentials";
        problems.push(Problem::new("store.gcs.credentials", message, rule));
    }
    let is_anonymous = matches!(store.credentials, GcsCredentials::Anonymous {});
    if is_anonymous && gcs_endpoints(store).any(|(_, endpoint)| !endpoint.authority().is_loopback()) {
        let message = "anonymous access to another machine";
        problems.push(Problem::new(
            "store.gcs.credentials",
            message,
            "name the credentials of the deployment",
        ));
    }
    problems
}

pub(super) fn location_is_observable(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let Store::S3(store) = &file.value.store else { return vec![] };
    if store.expected_location.is_some() {
        return vec![];
    }
    let message = "the store does not say where it is: its place is declared, never verified";
    vec![Problem::new(
        "store.s3",
        message,
        "set expected-location if the store answers GetBucketLocation truthfully",
    )]
}

/// A replica that keeps its wrapped keys to itself cannot open what the others sealed.
pub(super) fn key_store_is_shared(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let is_alone = matches!(file.value.index, Index::Postgres(_)) && file.value.key_store == KeyStore::File;
    let problem = || {
        Problem::new(
            "index.postgres",
            "the index is for several replicas, but each keeps its wrapped keys in a file of its own",
            "add [key-store.postgres], or run one replica",
        )
    };
    is_alone.then(problem).into_iter().collect()
}

/// A backup of one must not carry another: keys beside what they open are no keys.
pub(super) fn paths_are_apart(file: &Located<Region>, _: &Context<'_>) -> Vec<Problem> {
    let region = &file.value;
    let mut paths: Vec<(&str, PathBuf)> = vec![("audit.directory", region.audit.directory.clone())];
    let parent = |path: &Path| path.parent().map_or_else(|| path.to_owned(), Path::to_owned);
    match &region.keys {
        Keys::LocalFile(file) => paths.push(("keys.local-file.path", parent(&file.path))),
    }
    if let Index::Sqlite(file) = &region.index {
        paths.push(("index.sqlite.path", parent(&file.path)));
    }
    if let Store::Fs(folder) = &region.store {
        paths.push(("store.fs.path", folder.path.clone()));
    }
    let mut problems = Vec::new();
    for (at, path) in &paths {
        if path.as_os_str().is_empty() || path.components().any(|step| step.as_os_str() == "..") {
            let message = format!("{at} has no folder of its own, or climbs out of one");
            problems.push(Problem::new(*at, message, "give it a folder of its own"));
        }
        let under = paths
            .iter()
            .filter(|(other, above)| other != at && !above.as_os_str().is_empty() && path.starts_with(above));
        problems.extend(under.map(|(other, _)| {
            Problem::new(*at, format!("{at} lies in the folder of {other}"), "give each a folder of its own")
        }));
    }
    problems
}
