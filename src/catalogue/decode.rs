//! From text to regions and classes, with the line of every field, and with as many errors as can be told at once.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::class::ClassProfile;
use super::leaves::{self, CLASS_LEAVES, Leaf, REGION_LEAVES};
use super::region::Region;
use super::tree::{File, Tree};
use super::{Finding, Severity};

/// How many errors of one file's decoding are told before giving up on it.
const ERRORS_MAX: usize = 64;

/// Everything that could be decoded, and what was wrong with the rest.
pub(super) struct Decoded {
    pub(super) origin: String,
    pub(super) regions: Vec<Located<Region>>,
    pub(super) classes: Vec<Located<ClassProfile>>,
    pub(super) findings: Vec<Finding>,
    /// The files that were looked at, decoded or not.
    pub(super) files: usize,
}

/// A decoded file that still knows its lines.
pub(super) struct Located<T> {
    pub(super) value: T,
    /// The file as findings name it.
    pub(super) file: String,
    /// The file's name without `.toml`.
    pub(super) stem: String,
    text: String,
    table: DeTable<'static>,
}

impl<T> Located<T> {
    /// The line of a field, named as `facets.storage.hosts` or `certificates.0.expires`. A field that is absent has the line of
    /// the nearest table around it that is there.
    pub(super) fn line(&self, field: &str) -> usize {
        line_of(&self.text, offset_of(&self.table, field))
    }
}

pub(super) fn decode(tree: &Tree) -> Decoded {
    let mut decoded = Decoded {
        origin: tree.origin().to_owned(),
        regions: vec![],
        classes: vec![],
        findings: vec![],
        files: 0,
    };
    for file in tree.files() {
        decoded.files += 1;
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let stem = name.strip_suffix(".toml").unwrap_or(name).to_owned();
        match folder {
            "register" => {
                decode_file(tree, file, stem, CLASS_LEAVES, &mut decoded.classes, &mut decoded.findings);
            }
            _ => decode_file(tree, file, stem, REGION_LEAVES, &mut decoded.regions, &mut decoded.findings),
        }
    }
    decoded
}

/// The line of byte `offset`, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn decode_file<T: DeserializeOwned>(
    tree: &Tree,
    file: &File,
    stem: String,
    leaves: &[Leaf],
    into: &mut Vec<Located<T>>,
    findings: &mut Vec<Finding>,
) {
    let path = format!("{}/{}", tree.origin(), file.path);
    let mut found = Vec::new();
    let mut find = |offset: usize, check: &'static str, message: String, fix: &str| {
        found.push(Finding {
            file: path.clone(),
            line: line_of(&file.text, offset),
            severity: Severity::Broken,
            check,
            message,
            fix: fix.to_owned(),
        });
    };
    let (table, errors) = DeTable::parse_recoverable(&file.text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        find(offset, "syntax", error.message().to_owned(), "write it as TOML 1.0");
    }
    let mut value = None;
    if errors.is_empty() {
        leaves::check(table.get_ref(), leaves, &mut find);
        value = decode_table::<T>(table.clone(), &mut find);
    }
    // One mistake is often seen twice, by the leaf's own check and by the decoder: the check says it better.
    let seen: Vec<usize> = found.iter().filter(|f| f.check != "shape").map(|f| f.line).collect();
    found.retain(|finding| finding.check != "shape" || !seen.contains(&finding.line));
    match value {
        Some(value) if found.is_empty() => {
            let mut table = table.into_inner();
            table.make_owned();
            into.push(Located { value, file: path, stem, text: file.text.clone(), table: owned(table) });
        }
        _ => findings.append(&mut found),
    }
}

/// `make_owned` leaves the borrow in the type; a copy through its own text would lose the spans.
fn owned(table: DeTable<'_>) -> DeTable<'static> {
    fn key(key: Spanned<std::borrow::Cow<'_, str>>) -> Spanned<std::borrow::Cow<'static, str>> {
        let span = key.span();
        Spanned::new(span, std::borrow::Cow::Owned(key.into_inner().into_owned()))
    }
    fn value(spanned: Spanned<DeValue<'_>>) -> Spanned<DeValue<'static>> {
        let span = spanned.span();
        let made = match spanned.into_inner() {
            DeValue::Table(table) => DeValue::Table(owned(table)),
            DeValue::Array(array) => DeValue::Array(array.into_iter().map(value).collect()),
            // Lines are all that is asked of a leaf.
            _ => DeValue::Boolean(true),
        };
        Spanned::new(span, made)
    }
    table.into_iter().map(|(name, inner)| (key(name), value(inner))).collect()
}

/// Decodes, and tells as many errors as it can: an unknown field is told, taken out, and the rest decoded; of any other error,
/// the section it stands in is taken out and the rest looked at for more.
fn decode_table<T: DeserializeOwned>(
    mut table: Spanned<DeTable<'_>>,
    find: &mut impl FnMut(usize, &'static str, String, &str),
) -> Option<T> {
    let mut taken_out = Vec::new();
    for _ in 0..ERRORS_MAX {
        let error = match T::deserialize(Deserializer::from(table.clone())) {
            Ok(value) => return taken_out.is_empty().then_some(value),
            Err(error) => error,
        };
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message();
        if let Some(rest) = message.strip_prefix("unknown field")
            && let Some(name) = remove_key_at(table.get_mut(), offset)
        {
            let known =
                rest.split_once("expected ").map_or("", |(_, known)| known.trim_start_matches("one of "));
            let fix = if known.is_empty() {
                "remove it".to_owned()
            } else {
                format!("remove it, or use one of {known}")
            };
            find(offset, "unknown-field", format!("no field is called {name}"), &fix);
            continue;
        }
        let is_ours = |name: &String| message == format!("missing field `{name}`");
        if taken_out.iter().any(is_ours) {
            return None;
        }
        find(offset, "shape", shape(message), "see the annotated example in regions/README.md");
        taken_out.push(remove_section_around(table.get_mut(), offset)?);
    }
    None
}

fn remove_section_around(table: &mut DeTable<'_>, offset: usize) -> Option<String> {
    fn holds(value: &Spanned<DeValue<'_>>, offset: usize) -> bool {
        value.span().contains(&offset)
            || match value.get_ref() {
                DeValue::Table(table) => {
                    table.iter().any(|(key, value)| key.span().contains(&offset) || holds(value, offset))
                }
                DeValue::Array(array) => array.iter().any(|item| holds(item, offset)),
                _ => false,
            }
    }
    let section = table.iter().find(|(key, value)| key.span().contains(&offset) || holds(value, offset));
    let name = section?.0.get_ref().to_string();
    table.remove(name.as_str());
    Some(name)
}

/// The decoder's own words, without the value it may quote: that may be a secret in the wrong place.
fn shape(message: &str) -> String {
    if message.starts_with("invalid type") || message.starts_with("invalid value") {
        let expected = message.rsplit_once("expected ").map_or("another type", |(_, expected)| expected);
        return format!("the value is of the wrong kind: expected {expected}");
    }
    match message.strip_prefix("unknown variant").and_then(|rest| rest.split_once("expected ")) {
        Some((_, expected)) => format!("the value is not one of the known ones: expected {expected}"),
        None => message.to_owned(),
    }
}

fn remove_key_at(table: &mut DeTable<'_>, offset: usize) -> Option<String> {
    let found = table.keys().find(|key| key.span().start == offset).map(|key| key.get_ref().to_string());
    if let Some(name) = found {
        table.remove(name.as_str());
        return Some(name);
    }
    table.iter_mut().find_map(|(_, value)| remove_inside(value.get_mut(), offset))
}

fn remove_inside(value: &mut DeValue<'_>, offset: usize) -> Option<String> {
    match value {
        DeValue::Table(table) => remove_key_at(table, offset),
        DeValue::Array(array) => array.iter_mut().find_map(|item| remove_inside(item.get_mut(), offset)),
        _ => None,
    }
}

fn offset_of(table: &DeTable<'_>, field: &str) -> usize {
    let (first, rest) = field.split_once('.').map_or((field, None), |(first, rest)| (first, Some(rest)));
    let Some((key, value)) = table.get_key_value(first) else { return 0 };
    let inner = rest.map_or(0, |rest| offset_in(value, rest));
    if inner == 0 { key.span().start } else { inner }
}

fn offset_in(value: &Spanned<DeValue<'_>>, field: &str) -> usize {
    match value.get_ref() {
        DeValue::Table(table) => offset_of(table, field),
        DeValue::Array(array) => {
            let (index, rest) =
                field.split_once('.').map_or((field, None), |(index, rest)| (index, Some(rest)));
            let Some(item) = index.parse().ok().and_then(|index: usize| array.get(index)) else { return 0 };
            let inner = rest.map_or(0, |rest| offset_in(item, rest));
            if inner == 0 { item.span().start } else { inner }
        }
        _ => 0,
    }
}
