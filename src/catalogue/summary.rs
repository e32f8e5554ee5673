//! The catalogue as a reviewer should see it: what decides where data goes, and nothing that does not.

use std::fmt::Write as _;

use super::overlay::describe_store;
use super::{Authority, Catalogue, ClassProfile, Region, Store};

/// Plain text in a fixed order. Compared with a committed copy, so that a move shows twice in a review.
pub(super) fn summary(catalogue: &Catalogue) -> String {
    let mut text = String::new();
    for region in catalogue.regions() {
        // Writing to a string cannot fail.
        let _ = describe_region(&mut text, region);
    }
    for class in catalogue.classes() {
        let _ = describe_class(&mut text, class);
    }
    text
}

fn describe_region(text: &mut String, region: &Region) -> std::fmt::Result {
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(" ");
    writeln!(text, "region {} (scope {})", region.id, region.signing_scope)?;
    writeln!(text, "  countries {}", list(&mut region.place.countries.iter().map(ToString::to_string)))?;
    writeln!(text, "  front {}", region.endpoints.s3)?;
    let parent = region
        .operator
        .parent
        .as_ref()
        .map_or(String::new(), |p| format!(", controlled by {} ({})", p.name, p.seat));
    writeln!(text, "  operator {} ({}){parent}", region.operator.name, region.operator.seat)?;
    writeln!(text, "  store {}", describe_store(&region.store))?;
    describe_bucket(text, &region.store)?;
    writeln!(text, "  index {}", reached(region.index.kind(), &region.index.hosts()))?;
    writeln!(text, "  key store {}", reached(region.key_store.kind(), &region.key_store.hosts()))?;
    writeln!(text, "  keys {} ({})", region.keys.kind(), region.keys.custody().as_str())?;
    let telemetry = region.telemetry.as_ref().map_or("none".to_owned(), |sent| format!("otlp {}", sent.otlp));
    writeln!(text, "  telemetry {telemetry}")?;
    for (name, facet) in region.facets.iter() {
        let countries = list(&mut facet.countries.iter().map(ToString::to_string));
        let hosts = list(&mut facet.hosts.iter().map(ToString::to_string));
        let hosts = if hosts.is_empty() { "no host".to_owned() } else { hosts };
        writeln!(text, "  facet {name}: {countries}; {hosts}; {}; {}", facet.by, facet.evidence.standing)?;
    }
    for certificate in &region.certificates {
        let expires = certificate.expires.map_or("unknown".to_owned(), |day| day.to_string());
        writeln!(
            text,
            "  certificate {}: expires {expires}; {}",
            certificate.kind, certificate.evidence.standing
        )?;
    }
    for regime in &region.regimes {
        writeln!(
            text,
            "  regime {}: floor {} ceiling {}",
            regime.id,
            days(regime.floor_days),
            days(regime.ceiling_days)
        )?;
    }
    writeln!(text)
}

/// Where in a store's service the blobs lie, and what that service must say of the place.
fn describe_bucket(text: &mut String, store: &Store) -> std::fmt::Result {
    let (bucket, prefix, location) = match store {
        Store::Fs(_) | Store::Memory {} => return Ok(()),
        Store::S3(s3) => (&s3.bucket, &s3.prefix, s3.expected_location.as_deref()),
        Store::Gcs(gcs) => (&gcs.bucket, &gcs.prefix, Some(&*gcs.expected_location)),
    };
    let prefix = if prefix.is_empty() { "-" } else { prefix };
    writeln!(text, "  bucket {bucket}, prefix {prefix}, location {}", location.unwrap_or("-"))?;
    let Store::Gcs(gcs) = store else { return Ok(()) };
    if let Some(control) = &gcs.control_endpoint {
        writeln!(text, "  control {control}")?;
    }
    for host in &gcs.token_hosts {
        writeln!(text, "  tokens {host}")?;
    }
    Ok(())
}

/// A kind, and the hosts that it is reached at.
fn reached(kind: &str, hosts: &[&Authority]) -> String {
    hosts.iter().fold(kind.to_owned(), |text, host| format!("{text} {host}"))
}

fn describe_class(text: &mut String, class: &ClassProfile) -> std::fmt::Result {
    let factors: Vec<_> = class.human_read.iter().map(|factor| factor.as_str()).collect();
    let apart: Vec<_> = class.keys_apart_from_store.iter().map(ToString::to_string).collect();
    let by_regime = if class.retention.by_regime { ", by regime" } else { "" };
    writeln!(text, "class {} (code {}, rank {})", class.id, class.code.0, class.rank)?;
    writeln!(
        text,
        "  key {}, root {}, custody {}",
        class.key_scope.as_str(),
        class.root_scope.as_str(),
        class.custody.as_str()
    )?;
    writeln!(
        text,
        "  keys apart from store in: {}",
        if apart.is_empty() { "-".to_owned() } else { apart.join(" ") }
    )?;
    writeln!(text, "  kek cache {} s, stale {} s", class.kek_cache_ttl_s, class.kek_stale_window_s)?;
    writeln!(text, "  length hiding {}", class.length_hiding.as_str())?;
    writeln!(text, "  human read {}", factors.join(" + "))?;
    let (floor, ceiling) = (days(class.retention.floor_days), days(class.retention.ceiling_days));
    writeln!(text, "  retention floor {floor} ceiling {ceiling}{by_regime}")?;
    writeln!(text, "  regions {}", class.allowed_regions)?;
    writeln!(text)
}

fn days(days: Option<u32>) -> String {
    days.map_or("-".to_owned(), |days| format!("{days} d"))
}
