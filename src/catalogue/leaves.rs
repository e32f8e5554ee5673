//! Which fields hold text with a form of its own. They are checked before decoding, so that every wrong one is told and not only
//! the first, and by the same rule by which they are decoded.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::leaf::{Authority, Country, Endpoint};
use super::parts::{Index, Keys, Store};
use crate::model::{ClassId, RegionId, SecretRef};

/// A field whose text has a form of its own, checked before decoding.
pub(super) struct Leaf {
    /// Where: names, and `*` for any name or any index.
    path: &'static [&'static str],
    check: &'static str,
    rule: fn(&str) -> Result<(), String>,
    fix: &'static str,
}

fn of_type<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(drop).map_err(|error| error.to_string())
}

fn region_or_star(text: &str) -> Result<(), String> {
    if text == "*" { Ok(()) } else { of_type::<RegionId>(text) }
}

/// Credentials without a kind: a text that may well be the secret itself, which the decoder's own error would repeat.
fn no_text(_: &str) -> Result<(), String> {
    Err("credentials name their kind, and where they are kept".to_owned())
}

const COUNTRY: &str = "write the country's own code, one entry for each country";
const HOST: &str = "write host or host:port";
const ENDPOINT: &str = "write https://host or https://host:port";
const REFERENCE: &str =
    "put the secret in a file or a variable and name that; change the secret if it was committed";
const NAME: &str = "use lowercase letters, digits and hyphens";

pub(super) const REGION_LEAVES: &[Leaf] = &[
    Leaf { path: &["id"], check: "name", rule: of_type::<RegionId>, fix: NAME },
    Leaf { path: &["place", "countries", "*"], check: "country", rule: of_type::<Country>, fix: COUNTRY },
    Leaf { path: &["operator", "seat"], check: "country", rule: of_type::<Country>, fix: COUNTRY },
    Leaf { path: &["operator", "parent", "seat"], check: "country", rule: of_type::<Country>, fix: COUNTRY },
    Leaf {
        path: &["operator", "establishments", "*"],
        check: "country",
        rule: of_type::<Country>,
        fix: COUNTRY,
    },
    Leaf {
        path: &["facets", "*", "countries", "*"],
        check: "country",
        rule: of_type::<Country>,
        fix: COUNTRY,
    },
    Leaf { path: &["facets", "*", "hosts", "*"], check: "host", rule: of_type::<Authority>, fix: HOST },
    Leaf { path: &["store", "*", "token-hosts", "*"], check: "host", rule: of_type::<Authority>, fix: HOST },
    Leaf { path: &["index", "*", "host"], check: "host", rule: of_type::<Authority>, fix: HOST },
    Leaf { path: &["endpoints", "*"], check: "endpoint", rule: of_type::<Endpoint>, fix: ENDPOINT },
    Leaf { path: &["store", "*", "endpoint"], check: "endpoint", rule: of_type::<Endpoint>, fix: ENDPOINT },
    Leaf { path: &["telemetry", "otlp"], check: "endpoint", rule: of_type::<Endpoint>, fix: ENDPOINT },
    Leaf {
        path: &["telemetry", "headers", "*"],
        check: "secret-reference",
        rule: of_type::<SecretRef>,
        fix: REFERENCE,
    },
    Leaf {
        path: &["store", "*", "control-endpoint"],
        check: "endpoint",
        rule: of_type::<Endpoint>,
        fix: ENDPOINT,
    },
    Leaf {
        path: &["store", "*", "access-key-id"],
        check: "secret-reference",
        rule: of_type::<SecretRef>,
        fix: REFERENCE,
    },
    Leaf {
        path: &["store", "*", "secret-access-key"],
        check: "secret-reference",
        rule: of_type::<SecretRef>,
        fix: REFERENCE,
    },
    Leaf {
        path: &["store", "*", "credentials"],
        check: "secret-reference",
        rule: no_text,
        fix: "write { service-account = \"file:PATH\" }, or another kind",
    },
    Leaf {
        path: &["store", "*", "credentials", "*"],
        check: "secret-reference",
        rule: of_type::<SecretRef>,
        fix: REFERENCE,
    },
    Leaf {
        path: &["index", "*", "url"],
        check: "secret-reference",
        rule: of_type::<SecretRef>,
        fix: REFERENCE,
    },
];

pub(super) const CLASS_LEAVES: &[Leaf] = &[
    Leaf { path: &["id"], check: "name", rule: of_type::<ClassId>, fix: NAME },
    Leaf { path: &["allowed-regions", "*"], check: "name", rule: region_or_star, fix: NAME },
    Leaf { path: &["keys-apart-from-store", "*"], check: "name", rule: of_type::<RegionId>, fix: NAME },
];

pub(super) fn check(
    table: &DeTable<'_>,
    leaves: &[Leaf],
    find: &mut impl FnMut(usize, &'static str, String, &str),
) {
    for leaf in leaves {
        visit_table(table, leaf.path, "", &mut |offset, field, text| {
            if let Err(message) = (leaf.rule)(text) {
                find(offset, leaf.check, format!("{field}: {message}"), leaf.fix);
            }
        });
    }
    for (part, kinds) in
        [("store", &Store::KINDS[..]), ("index", &Index::KINDS[..]), ("keys", &Keys::KINDS[..])]
    {
        let Some(DeValue::Table(kind)) = table.get(part).map(Spanned::get_ref) else { continue };
        for name in kind.keys().filter(|name| !kinds.contains(&name.get_ref().as_ref())) {
            let message = format!("this build cannot run {part} of kind {}", name.get_ref());
            find(name.span().start, "unsupported-kind", message, &format!("use one of {}", kinds.join(", ")));
        }
    }
}

fn visit_table(table: &DeTable<'_>, path: &[&str], above: &str, leaf: &mut impl FnMut(usize, &str, &str)) {
    let Some((first, rest)) = path.split_first() else { return };
    for (key, value) in table.iter().filter(|(key, _)| *first == "*" || key.get_ref() == first) {
        let dot = if above.is_empty() { "" } else { "." };
        visit_value(value, rest, &format!("{above}{dot}{}", key.get_ref()), leaf);
    }
}

fn visit_value(
    value: &Spanned<DeValue<'_>>,
    path: &[&str],
    field: &str,
    leaf: &mut impl FnMut(usize, &str, &str),
) {
    match (value.get_ref(), path) {
        (DeValue::String(text), []) => leaf(value.span().start, field, text),
        (DeValue::Table(table), path) => visit_table(table, path, field, leaf),
        (DeValue::Array(array), ["*", rest @ ..]) => {
            for item in array {
                visit_value(item, rest, field, leaf);
            }
        }
        _ => {}
    }
}
