//! Checks of the data register: each class alone, and against the less strict ones.

use super::region::blank;
use super::{Context, Problem};
use crate::catalogue::decode::Located;
use crate::catalogue::{AllowedRegions, ClassProfile, Hint, ReadFactor};
use crate::model::RegionId;

/// A KMS that is asked less than once a day cannot revoke within a day.
const CACHE_TTL_S_MAX: u32 = 86_400;
/// The longest a region may live without its KMS.
const STALE_WINDOW_S_MAX: u32 = 7 * 86_400;
/// Prefixes and media types longer than this are no hints.
const HINT_BYTES_MAX: usize = 256;

pub(super) fn stem_is_id(file: &Located<ClassProfile>, _: &Context<'_>) -> Vec<Problem> {
    if file.value.id.as_str() == file.stem {
        return vec![];
    }
    let message = format!("id is {}, but the file's name is {}", file.value.id, file.stem);
    vec![Problem::new("id", message, format!("write {}", file.stem))]
}

pub(super) fn texts_are_filled(file: &Located<ClassProfile>, _: &Context<'_>) -> Vec<Problem> {
    let class = &file.value;
    blank(vec![
        ("names.en".into(), &class.names.en),
        ("names.fr".into(), &class.names.fr),
        ("description".into(), &class.description),
    ])
}

/// Sealed records carry the code for ever: two classes with one code would open each other's.
pub(super) fn code_is_unique(file: &Located<ClassProfile>, context: &Context<'_>) -> Vec<Problem> {
    if file.value.code.0 == 0 {
        return vec![Problem::new("code", "code 0 means no class", "use a code that no class ever had")];
    }
    clash(file, context, "code", |class| class.code.0)
}

pub(super) fn rank_is_unique(file: &Located<ClassProfile>, context: &Context<'_>) -> Vec<Problem> {
    clash(file, context, "rank", |class| class.rank)
}

fn clash(
    file: &Located<ClassProfile>,
    context: &Context<'_>,
    field: &str,
    of: fn(&ClassProfile) -> u16,
) -> Vec<Problem> {
    let value = of(&file.value);
    let others = context.classes.iter().filter(|other| other.file != file.file && of(&other.value) == value);
    others
        .map(|other| {
            let message = format!("{field} {value} is also that of {}", other.value.id);
            Problem::new(field, message, format!("give each class a {field} of its own"))
        })
        .collect()
}

/// The strictest class that is asked for wins. That protects only if a stricter class is in nothing weaker.
pub(super) fn no_weaker_than_below(file: &Located<ClassProfile>, context: &Context<'_>) -> Vec<Problem> {
    let class = &file.value;
    let Some(below) = context
        .classes
        .iter()
        .map(|other| &other.value)
        .filter(|other| other.rank < class.rank)
        .max_by_key(|c| c.rank)
    else {
        return vec![];
    };
    let weaker = [
        ("key-scope", class.key_scope < below.key_scope),
        ("root-scope", class.root_scope < below.root_scope),
        ("custody", class.custody < below.custody),
        ("keys-apart-from-store", !class.keys_apart_from_store.is_superset(&below.keys_apart_from_store)),
        ("kek-cache-ttl-s", class.kek_cache_ttl_s > below.kek_cache_ttl_s),
        ("kek-stale-window-s", class.kek_stale_window_s > below.kek_stale_window_s),
        ("length-hiding", class.length_hiding < below.length_hiding),
        ("human-read", !class.human_read.is_superset(&below.human_read)),
        ("retention", below.retention.by_regime && !class.retention.by_regime),
        ("allowed-regions", !is_subset(&class.allowed_regions, &below.allowed_regions)),
    ];
    weaker
        .into_iter()
        .filter(|(_, is_weaker)| *is_weaker)
        .map(|(field, _)| {
            let message = format!("{field} is weaker than that of {}, which ranks below", below.id);
            Problem::new(field, message, "make it at least as strict, or lower the rank")
        })
        .collect()
}

fn is_subset(narrow: &AllowedRegions, wide: &AllowedRegions) -> bool {
    match (narrow, wide) {
        (_, AllowedRegions::Any) => true,
        (AllowedRegions::Any, AllowedRegions::Only(_)) => false,
        (AllowedRegions::Only(narrow), AllowedRegions::Only(wide)) => narrow.is_subset(wide),
    }
}

pub(super) fn regions_exist(file: &Located<ClassProfile>, context: &Context<'_>) -> Vec<Problem> {
    let none = std::collections::BTreeSet::new();
    let allowed = match &file.value.allowed_regions {
        AllowedRegions::Any => &none,
        AllowedRegions::Only(regions) => regions,
    };
    let named = allowed.iter().map(|region| ("allowed-regions", region));
    let named =
        named.chain(file.value.keys_apart_from_store.iter().map(|region| ("keys-apart-from-store", region)));
    let is_there = |id: &RegionId| context.regions.iter().any(|region| region.value.id == *id);
    named
        .filter(|(_, region)| !is_there(region))
        .map(|(field, region)| {
            Problem::new(
                field,
                format!("region {region} has no sound file"),
                "add or correct its file, or take it out",
            )
        })
        .collect()
}

pub(super) fn cache_bounds(file: &Located<ClassProfile>, _: &Context<'_>) -> Vec<Problem> {
    let ClassProfile { kek_cache_ttl_s, kek_stale_window_s, .. } = file.value;
    let bounds = [
        ("kek-cache-ttl-s", kek_cache_ttl_s, 1, CACHE_TTL_S_MAX),
        ("kek-stale-window-s", kek_stale_window_s, 0, STALE_WINDOW_S_MAX),
    ];
    bounds
        .into_iter()
        .filter(|(_, value, least, most)| !(least..=most).contains(&value))
        .map(|(field, value, least, most)| {
            Problem::new(
                field,
                format!("{field} is {value}"),
                format!("choose between {least} and {most} seconds"),
            )
        })
        .collect()
}

pub(super) fn human_read(file: &Located<ClassProfile>, _: &Context<'_>) -> Vec<Problem> {
    if file.value.human_read.contains(&ReadFactor::Role) {
        return vec![];
    }
    vec![Problem::new("human-read", "a person may read without a role", "add role: deny by default")]
}

pub(super) fn retention_bounds(file: &Located<ClassProfile>, _: &Context<'_>) -> Vec<Problem> {
    let retention = file.value.retention;
    if retention.floor_days <= retention.ceiling_days.or(Some(u32::MAX)) {
        return vec![];
    }
    vec![Problem::new(
        "retention",
        "the floor lies above the ceiling",
        "records cannot be kept longer than they may be kept",
    )]
}

pub(super) fn hints(file: &Located<ClassProfile>, _: &Context<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (i, hint) in file.value.detect.iter().enumerate() {
        let sound = match hint {
            Hint::Prefix(prefix) => (1..=HINT_BYTES_MAX).contains(&prefix.len()),
            Hint::ContentType(media_type) => is_media_type(media_type),
            Hint::Sniff(_) => true,
        };
        if !sound {
            let fix = "a prefix is not empty, a content-type is lowercase type/subtype without parameters";
            problems.push(Problem::new(format!("detect.{i}"), "the hint fits everything or nothing", fix));
        }
    }
    problems
}

fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$&-^_.+".contains(&b))
    };
    text.len() <= HINT_BYTES_MAX
        && text.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub))
}
