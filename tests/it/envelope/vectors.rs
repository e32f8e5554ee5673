//! The vectors in `tests/vectors/`: written from fixed randomness (`BLESS=1`), compared with what is written now, opened, refused.
//!
//! `verify_format.py` beside them reads the same files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use terroir::envelope::{
    BlobEntry, Blobs, BodyOpener, Checksum, Closed, EnvelopeError, Expected, FieldKey, FloeHeader,
    Implementation, Kek, Kind, Locator, OpenVersion, SubjectKey,
};

use super::fixture::pattern;
use super::{refusals, vector_cases};

/// Blobs by name: identity in the store, bytes.
pub(crate) type Store = BTreeMap<String, (String, Vec<u8>)>;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

fn read(name: &str) -> Value {
    let text = std::fs::read_to_string(path(name))
        .unwrap_or_else(|error| panic!("{name}: {error}; write it with BLESS=1"));
    serde_json::from_str(&text).unwrap()
}

/// Compares `now` with the committed file, or writes it if `BLESS` is set.
fn bless(name: &str, now: &Value) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), serde_json::to_string_pretty(now).unwrap() + "\n").unwrap();
    }
    assert!(
        read(name) == *now,
        "{name} is not what the code writes now; if that is meant, run with BLESS=1 and say why"
    );
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no text {name}"))
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().unwrap()
}

fn maybe<const N: usize>(value: &Value) -> Option<[u8; N]> {
    (!value.is_null()).then(|| array(value))
}

pub(crate) fn store_of(vector: &Value) -> Store {
    let blob = |blob: &Value| {
        (
            text(blob, "name").into(),
            (text(blob, "id").into(), BASE64_STANDARD.decode(text(blob, "base64")).unwrap()),
        )
    };
    vector["blobs"].as_array().unwrap().iter().map(blob).collect()
}

/// What a reader gets: the clear bytes, and everything the record says.
fn open(vector: &Value, given: &Value, store: &Store) -> Result<(Vec<u8>, Value), EnvelopeError> {
    let kek_epoch = u32::try_from(given["kek_epoch"].as_u64().unwrap()).unwrap();
    let kek = Kek::new(array(&given["kek_id"]), kek_epoch, 0, array(&given["kek"]).into());
    let subject_key = maybe(&given["subject_key"])
        .map(|key| SubjectKey::new(array(&given["subject_key_id"]), key.into()).unwrap());
    let expected = Expected {
        environment: text(given, "environment").parse()?,
        region: text(given, "region").parse()?,
        tenant: array(&given["tenant"]),
        class: given["class"].as_u64().map(|class| u16::try_from(class).unwrap()),
        version: maybe(&given["version"]),
        blob: maybe(&given["blob"]),
    };
    let first = &store["record"].1;
    let located = Closed::blob(first)?.locate(&expected, &kek)?;
    let confirmed = located.confirm(text(given, "bucket"), &unhex(&given["key"]))?;
    if text(vector, "kind") == "upload" {
        let upload = confirmed.open_upload(&kek, subject_key.as_ref())?;
        let entries: Vec<BlobEntry> = vector["listed"].as_array().unwrap().iter().map(entry_from).collect();
        let mut clear = Vec::new();
        for entry in &entries {
            let blob = by_id(store, &entry.blob);
            let body = &blob[entry.body_offset_bytes as usize..];
            BodyOpener::new(&upload.dek, entry, Implementation::AesGcm)?.open_body(body, &mut clear)?;
        }
        return Ok((clear, json!({ "locator": locator_facts(&upload.locator) })));
    }
    let version = confirmed.open_version(&kek, subject_key.as_ref())?;
    let entries = entries_of(&version, first)?;
    let mut clear = Vec::new();
    for entry in &entries {
        let blob = by_id(store, &entry.blob);
        version.open_blob(entry, blob, &kek, subject_key.as_ref(), Implementation::AesGcm, &mut clear)?;
    }
    let facts = facts(&version, &entries);
    Ok((clear, facts))
}

fn by_id<'s>(store: &'s Store, id: &[u8; 16]) -> &'s [u8] {
    let id = hex::encode(id);
    store
        .values()
        .find(|(stored, _)| *stored == id)
        .map(|(_, bytes)| bytes.as_slice())
        .expect("the blob is in the vector")
}

fn entries_of(version: &OpenVersion, stored: &[u8]) -> Result<Vec<BlobEntry>, EnvelopeError> {
    let table = match &version.root.blobs {
        Blobs::Inline(entries) => return Ok(entries.clone()),
        Blobs::Paged(table) => table,
    };
    let mut entries = Vec::new();
    for page in 0..u32::try_from(table.pages.len()).unwrap() {
        let at = table.location(page).unwrap();
        let sealed = &stored[usize::try_from(at.start).unwrap()..usize::try_from(at.end).unwrap()];
        entries.extend(table.open(&version.dek, page, sealed)?.entries);
    }
    Ok(entries)
}

pub(crate) fn entry_facts(entry: &BlobEntry) -> Value {
    json!({
        "blob": hex::encode(entry.blob), "ordinal": entry.ordinal, "plaintext_bytes": entry.plaintext_bytes,
        "padding_bytes": entry.padding_bytes, "body_offset_bytes": entry.body_offset_bytes,
        "floe_header": hex::encode(entry.floe_header.as_bytes()),
    })
}

fn entry_from(value: &Value) -> BlobEntry {
    let number = |name: &str| u32::try_from(value[name].as_u64().unwrap()).unwrap();
    BlobEntry {
        blob: array(&value["blob"]),
        ordinal: number("ordinal"),
        plaintext_bytes: number("plaintext_bytes"),
        padding_bytes: number("padding_bytes"),
        body_offset_bytes: number("body_offset_bytes"),
        floe_header: FloeHeader::from_bytes(array(&value["floe_header"])),
    }
}

fn checksum_facts(checksums: &[Checksum]) -> Value {
    checksums.iter().map(|c| json!([c.algorithm as u8, c.kind as u8, hex::encode(&c.digest)])).collect()
}

fn locator_facts(locator: &Locator) -> Value {
    json!({
        "bucket": locator.bucket, "key": hex::encode(&locator.key), "s3_version": locator.s3_version,
        "null_version": locator.null_version, "created_ms": locator.created_ms, "subject": hex::encode(&locator.subject),
    })
}

fn facts(version: &OpenVersion, entries: &[BlobEntry]) -> Value {
    let root = &version.root;
    let (manifest, content) = (&root.manifest, &root.manifest.content);
    json!({
        "locator": locator_facts(&version.locator),
        "plaintext_bytes": root.plaintext_bytes, "padding_bytes": root.padding_bytes,
        "register_version": manifest.register_version, "entity_tag": manifest.entity_tag,
        "content": [
            content.content_type, content.content_encoding, content.content_disposition, content.content_language,
            content.cache_control, content.expires,
        ],
        "user_metadata": manifest.user_metadata,
        "checksums": checksum_facts(&manifest.checksums),
        "parts": manifest.parts.iter()
            .map(|p| json!([p.number, p.plaintext_bytes, checksum_facts(&p.checksums)])).collect::<Value>(),
        "entries": entries.iter().map(entry_facts).collect::<Value>(),
    })
}

/// The facts of a vector that is being written: read back from what was sealed.
pub(crate) fn facts_of(vector: &Value) -> Value {
    open(vector, &vector["given"], &store_of(vector)).expect("a vector that is written opens").1
}

/// Applies a case's edits to its base's blobs. Pieces are copied from the blobs as they were.
fn edited(base: &Value, case: &Value) -> Store {
    let original = store_of(base);
    let mut store = original.clone();
    for edit in case["edits"].as_array().unwrap() {
        let name = text(edit, "blob");
        let number = |value: &Value, field: &str| usize::try_from(value[field].as_u64().unwrap()).unwrap();
        if let Some(id) = edit["id"].as_str() {
            id.clone_into(&mut store.get_mut(name).unwrap().0);
            continue;
        }
        let mut with = Vec::new();
        for piece in edit["with"].as_array().unwrap() {
            match piece["of"].as_str() {
                Some(of) => with.extend(&original[of].1[number(piece, "from")..number(piece, "to")]),
                None => with.extend(BASE64_STANDARD.decode(text(piece, "base64")).unwrap()),
            }
        }
        store.get_mut(name).unwrap().1.splice(number(edit, "from")..number(edit, "to"), with);
    }
    store
}

fn given_of(base: &Value, case: &Value) -> Value {
    let mut given = base["given"].clone();
    for (name, value) in case["given"].as_object().into_iter().flatten() {
        given[name] = value.clone();
    }
    given
}

#[test]
fn good_vectors_are_what_the_code_writes_and_open() {
    let vectors = vector_cases::all();
    for vector in &vectors {
        let name = text(vector, "name");
        bless(&format!("open/{name}.json"), vector);
        let (clear, facts) =
            open(vector, &vector["given"], &store_of(vector)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let expected = pattern(usize::try_from(vector["plaintext_pattern_bytes"].as_u64().unwrap()).unwrap());
        assert!(clear == expected, "{name}: wrong bytes");
        assert_eq!(facts, vector["facts"], "{name}");
    }
    let on_disk = std::fs::read_dir(path("open")).unwrap().count();
    assert_eq!(on_disk, vectors.len(), "a file in open/ is nobody's");
}

#[test]
fn bad_vectors_are_refused_each_by_its_name() {
    let vectors = vector_cases::all();
    let cases = refusals::all(&vectors);
    bless("refuse.json", &json!({ "cases": cases }));
    let mut names = std::collections::BTreeSet::new();
    for case in &cases {
        let name = text(case, "name");
        assert!(names.insert(name), "{name} twice");
        let base = vectors.iter().find(|v| v["name"] == case["base"]).unwrap();
        let (given, store) = (given_of(base, case), edited(base, case));
        assert!(given != base["given"] || store != store_of(base), "{name} changes nothing");
        match open(base, &given, &store) {
            Ok(_) => panic!("{name} was opened"),
            Err(error) => assert_eq!(error.name(), text(case, "expect"), "{name}: {error}"),
        }
    }
    assert!(cases.len() > 3 * vectors.len(), "more failing vectors than passing ones");
}

#[test]
fn a_two_key_ciphertext_opens_under_the_key_it_commits_to_and_no_other() {
    let vectors = vector_cases::all();
    let case = refusals::all(&vectors).into_iter().find(|case| case["name"] == "two_key_ciphertext").unwrap();
    let base = vectors.iter().find(|v| v["name"] == case["base"]).unwrap();
    let store = edited(base, &case);
    // Under the first key it unwraps and commits; only the listed bodies, sealed under another data key, are not its own.
    let first = open(base, &base["given"], &store).unwrap_err();
    assert_eq!(first, EnvelopeError::HeaderTag);
    assert_eq!(open(base, &given_of(base, &case), &store).unwrap_err(), EnvelopeError::Commitment);
}

#[test]
fn field_vectors_open_and_are_refused() {
    let now = vector_cases::fields();
    bless("fields.json", &now);
    for case in now["cases"].as_array().unwrap() {
        let key = FieldKey::derive(&array(&case["secret"]), text(case, "purpose")).unwrap();
        let parts: Vec<Vec<u8>> = case["aad"].as_array().unwrap().iter().map(unhex).collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let expect = text(case, "expect");
        match key.open(&parts, &unhex(&case["sealed"])) {
            Ok(clear) => {
                assert_eq!(expect, "ok", "{}", case["name"]);
                assert_eq!(*clear, unhex(&case["clear"]));
                assert_eq!(key.pseudonym(&parts).unwrap().to_vec(), unhex(&case["pseudonym"]));
            }
            Err(error) => assert_eq!(error.name(), expect, "{}", case["name"]),
        }
    }
}

#[test]
fn every_kind_is_among_the_good_vectors() {
    let mut kinds: Vec<Kind> = Vec::new();
    for vector in vector_cases::all() {
        for (_, bytes) in store_of(&vector).values() {
            kinds.push(*Closed::blob(bytes).map(|closed| closed.header().kind).as_ref().unwrap());
        }
    }
    for kind in [Kind::RecordAndBody, Kind::Record, Kind::Body, Kind::Upload] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
}
