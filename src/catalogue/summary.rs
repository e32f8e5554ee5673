//! The catalogue as a reviewer should see it: what decides where data goes, and nothing that does not.

use std::fmt::Write as _;

use super::overlay::describe_store;
use super::{Catalogue, ClassProfile, Region};

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
    writeln!(text, "  index {}", region.index.kind())?;
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
