//! The vectors that must not open: each a good one with a defect, named after it.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::fixture::{World, pattern, seeded_bytes};
use super::forge::{Parts, open_page, seal_page, two_key_upload};
use super::vectors::{Store, store_of};

const HEADER: usize = 158;
/// Sealed locator of all bases used here but `longest_names`.
const LOCATOR: usize = 284;
const WRAP: usize = HEADER + LOCATOR;
const COMMITMENT: usize = WRAP + 60;
const ROOT: usize = COMMITMENT + 32;

/// All of them.
pub(crate) fn all(vectors: &[Value]) -> Vec<Value> {
    let base = |name: &str| Base::of(vectors, name);
    let mut cases = header_fields(&base("one_byte"));
    cases.extend(header_lengths(&base("one_byte"), &base("several_bodies")));
    cases.extend(rewritten_headers(&base("one_byte")));
    cases.extend(other_readers(&base("one_byte"), &base("subject_key")));
    cases.extend(sealed_parts(&base("one_byte"), &base("several_bodies")));
    cases.extend(lengths(&base("one_byte")));
    cases.extend(segments(&base("three_segments"), &base("segment_and_one")));
    cases.extend(blobs(&base("several_bodies")));
    cases.extend(attempts(&base("several_bodies")));
    cases.extend(grafts(&base("metadata"), &base("one_byte")));
    cases.extend(pages(&base("paged")));
    cases.extend(uploads(&base("upload"), &base("one_byte")));
    cases.extend(forged_roots(&base("metadata")));
    cases.extend(forged_entries(&base("one_byte"), &base("several_bodies"), &base("multipart")));
    cases.extend(forged_pages(&base("paged")));
    cases.extend(forged_locators(&base("one_byte")));
    cases
}

/// A good vector and its blobs.
struct Base {
    name: String,
    store: Store,
    kek: [u8; 32],
    subject_key: Option<[u8; 32]>,
}

impl Base {
    fn of(vectors: &[Value], name: &str) -> Self {
        let vector = vectors.iter().find(|vector| vector["name"] == name).unwrap();
        let key = |field: &str| {
            vector["given"][field]
                .as_str()
                .map(|text| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap())
        };
        let (kek, subject_key) = (key("kek").unwrap(), key("subject_key"));
        Self { name: name.into(), store: store_of(vector), kek, subject_key }
    }

    fn bytes(&self, blob: &str) -> &[u8] {
        &self.store[blob].1
    }

    fn id(&self, blob: &str) -> String {
        self.store[blob].0.clone()
    }

    fn case(&self, name: &str, expect: &str, edits: &[Value]) -> Value {
        json!({ "name": name, "base": self.name, "expect": expect, "edits": edits })
    }

    fn reader(&self, name: &str, expect: &str, given: &Value) -> Value {
        json!({ "name": name, "base": self.name, "expect": expect, "edits": [], "given": given })
    }

    /// The edit that changes one bit of byte `at`.
    fn flip(&self, blob: &str, at: usize) -> Value {
        put(blob, at, &[self.bytes(blob)[at] ^ 1])
    }

    /// The edit that makes the blob these bytes.
    fn whole(&self, blob: &str, bytes: &[u8]) -> Value {
        splice(blob, 0, self.bytes(blob).len(), bytes)
    }

    fn parts(&self) -> Parts {
        Parts::of(self.bytes("record"), self.kek, self.subject_key)
    }

    /// A case whose record was changed and sealed again by somebody with all keys.
    fn forged(&self, name: &str, expect: &str, change: impl FnOnce(&mut Parts)) -> Value {
        let mut parts = self.parts();
        change(&mut parts);
        self.case(name, expect, &[self.whole("record", &parts.build())])
    }
}

fn splice(blob: &str, from: usize, to: usize, bytes: &[u8]) -> Value {
    json!({ "blob": blob, "from": from, "to": to, "with": [{ "base64": BASE64_STANDARD.encode(bytes) }] })
}

fn put(blob: &str, at: usize, bytes: &[u8]) -> Value {
    splice(blob, at, at + bytes.len(), bytes)
}

fn copy(blob: &str, from: usize, to: usize, of: &str, of_from: usize, of_to: usize) -> Value {
    json!({ "blob": blob, "from": from, "to": to, "with": [{ "of": of, "from": of_from, "to": of_to }] })
}

fn header_fields(base: &Base) -> Vec<Value> {
    let fields: [(&str, &str, usize, &[u8]); 25] = [
        ("magic_changed", "BadMagic", 0, &[0x88]),
        ("magic_is_text", "BadMagic", 0, b"{\"resour"),
        ("version_zero", "UnknownVersion", 8, &[0, 0]),
        ("version_next", "UnknownVersion", 8, &[0, 2]),
        ("suite_zero", "UnknownSuite", 10, &[0]),
        ("suite_next", "UnknownSuite", 10, &[2]),
        ("kind_zero", "UnknownKind", 11, &[0]),
        ("kind_five", "UnknownKind", 11, &[5]),
        ("kind_record_with_body", "InvalidHeader", 11, &[2]),
        ("kind_body_with_root", "InvalidHeader", 11, &[3]),
        ("kind_upload_with_root", "InvalidHeader", 11, &[4]),
        ("flag_lowest", "UnknownFlags", 12, &[0, 1]),
        ("flag_highest", "UnknownFlags", 12, &[0x80, 0]),
        ("environment_empty", "InvalidHeader", 14, &[0]),
        ("environment_too_long", "InvalidHeader", 14, &[17]),
        ("environment_shorter", "InvalidHeader", 14, &[3]),
        ("environment_capital", "InvalidHeader", 15, b"T"),
        ("environment_other", "WrongEnvironment", 15, b"r"),
        ("region_padding", "InvalidHeader", 47, &[1]),
        ("region_other", "WrongRegion", 32, b"us"),
        ("tenant_other", "WrongTenant", 48, &[0xC4]),
        ("class_lower", "WrongClass", 64, &[0, 1]),
        ("kek_id_other", "WrongKek", 66, &[0xA2]),
        ("kek_epoch_older", "WrongKek", 82, &[0, 0, 0, 6]),
        ("ordinal_of_an_only_body", "InvalidHeader", 138, &[0, 0, 0, 1]),
    ];
    let mut cases: Vec<Value> = fields
        .into_iter()
        .map(|(name, expect, at, bytes)| base.case(name, expect, &[put("record", at, bytes)]))
        .collect();
    cases.extend([
        base.case("wrapping_version_changed", "LocatorAuth", &[put("record", 86, &[0, 0, 0, 9])]),
        base.case("subject_key_added", "LocatorAuth", &[put("record", 90, &[1])]),
        base.case("version_id_changed", "WrongVersion", &[base.flip("record", 106)]),
        base.case("blob_id_changed", "WrongBlob", &[base.flip("record", 122)]),
    ]);
    cases
}

fn header_lengths(one: &Base, several: &Base) -> Vec<Value> {
    let number =
        |blob: &str, at: usize, value: usize| put(blob, at, &u32::try_from(value).unwrap().to_be_bytes());
    let body = 74 + 1 + 32;
    let mut cases: Vec<Value> = [
        ("locator_length_odd", "InvalidHeader", 142, LOCATOR + 1),
        ("locator_length_zero", "InvalidHeader", 142, 0),
        ("locator_length_over_limit", "InvalidHeader", 142, 28 + 7 * 256),
        ("locator_length_longer", "Truncated", 142, LOCATOR + 256),
        ("root_length_zero", "InvalidHeader", 146, 0),
        ("root_length_odd", "InvalidHeader", 146, 285),
        ("root_length_longer", "Truncated", 146, 28 + 512),
        ("root_length_over_limit", "InvalidHeader", 146, 28 + 16_384 * 256),
        ("pages_length_behind_body", "InvalidHeader", 150, 134),
        ("body_length_zero", "InvalidHeader", 154, 0),
        ("body_length_longer", "Truncated", 154, body + 1),
        ("body_length_shorter", "TrailingBytes", 154, body - 1),
        ("body_length_over_limit", "InvalidHeader", 154, 67_141_707),
    ]
    .into_iter()
    .map(|(name, expect, at, value)| one.case(name, expect, &[number("record", at, value)]))
    .collect();
    cases.extend([
        several.case("pages_length_without_pages", "Truncated", &[number("record", 150, 134)]),
        several.case("ordinal_of_a_body_changed", "LocatorAuth", &[number("body1", 138, 2)]),
        several.case("body_gets_a_root_length", "InvalidHeader", &[number("body1", 146, 284)]),
    ]);
    cases
}

/// The attacker moves the blob and rewrites its header to match; the reader there asks for just that, with the same key even.
fn rewritten_headers(base: &Base) -> Vec<Value> {
    let moves: [(&str, &str, usize, &[u8], Value); 7] = [
        ("moved_to_environment", "environment", 14, b"\x04prod", json!("prod")),
        ("moved_to_region", "region", 31, b"\x02us", json!("us")),
        ("moved_to_tenant", "tenant", 48, &[0xC4; 16], json!("c4".repeat(16))),
        ("moved_to_class", "class", 64, &[0, 1], json!(1)),
        ("moved_to_version", "version", 106, &[0xD5; 16], json!("d5".repeat(16))),
        ("moved_to_blob", "blob", 122, &[0xE6; 16], json!("e6".repeat(16))),
        ("moved_to_kek_epoch", "kek_epoch", 82, &[0, 0, 0, 8], json!(8)),
    ];
    moves
        .into_iter()
        .map(|(name, field, at, bytes, value)| {
            let mut case = base.case(name, "LocatorAuth", &[put("record", at, bytes)]);
            case["given"] = json!({ field: value });
            case
        })
        .collect()
}

/// The blob is untouched, but somebody else reads it, or for something else.
fn other_readers(one: &Base, subject: &Base) -> Vec<Value> {
    let other = hex::encode([0x99; 16]);
    let key = hex::encode([0x99; 32]);
    vec![
        one.reader("reader_of_another_environment", "WrongEnvironment", &json!({ "environment": "prod" })),
        one.reader("reader_of_another_region", "WrongRegion", &json!({ "region": "us" })),
        one.reader("reader_of_another_tenant", "WrongTenant", &json!({ "tenant": other })),
        one.reader("reader_of_another_class", "WrongClass", &json!({ "class": 4 })),
        one.reader("reader_of_another_version", "WrongVersion", &json!({ "version": other })),
        one.reader("reader_of_another_blob", "WrongBlob", &json!({ "blob": other })),
        one.reader("reader_of_another_bucket", "WrongLocator", &json!({ "bucket": "other" })),
        one.reader(
            "reader_of_another_key",
            "WrongLocator",
            &json!({ "key": hex::encode("patients/43/observation.json") }),
        ),
        one.reader(
            "reader_of_a_prefix_of_the_key",
            "WrongLocator",
            &json!({ "key": hex::encode("patients/42/observation.jso") }),
        ),
        one.reader("reader_with_another_kek_id", "WrongKek", &json!({ "kek_id": other })),
        one.reader("reader_with_another_epoch", "WrongKek", &json!({ "kek_epoch": 6 })),
        one.reader("reader_with_another_kek", "LocatorAuth", &json!({ "kek": key })),
        one.reader(
            "reader_with_a_needless_subject_key",
            "WrongSubjectKey",
            &json!({ "subject_key_id": other, "subject_key": key }),
        ),
        subject.reader(
            "reader_without_subject_key",
            "WrongSubjectKey",
            &json!({ "subject_key_id": null, "subject_key": null }),
        ),
        subject.reader("reader_with_another_subject", "WrongSubjectKey", &json!({ "subject_key_id": other })),
        subject.reader("reader_with_another_subject_key", "WrapAuth", &json!({ "subject_key": key })),
        subject.reader(
            "reader_with_an_erased_subject_key",
            "WrapAuth",
            &json!({ "subject_key": "00".repeat(32) }),
        ),
    ]
}

fn sealed_parts(one: &Base, several: &Base) -> Vec<Value> {
    let body = one.bytes("record").len() - 107;
    let mut cases: Vec<Value> = [
        ("locator_nonce_changed", "LocatorAuth", HEADER),
        ("locator_changed", "LocatorAuth", HEADER + 12),
        ("locator_padding_changed", "LocatorAuth", WRAP - 17),
        ("locator_tag_changed", "LocatorAuth", WRAP - 1),
        ("wrap_nonce_changed", "WrapAuth", WRAP),
        ("wrap_changed", "WrapAuth", WRAP + 12),
        ("wrap_tag_changed", "WrapAuth", COMMITMENT - 1),
        ("commitment_first_byte_changed", "Commitment", COMMITMENT),
        ("commitment_last_byte_changed", "Commitment", ROOT - 1),
        ("root_nonce_changed", "ManifestAuth", ROOT),
        ("root_total_changed", "ManifestAuth", ROOT + 12 + 7),
        ("root_padding_changed", "ManifestAuth", body - 17),
        ("root_tag_changed", "ManifestAuth", body - 1),
        ("floe_parameters_changed", "HeaderTag", body),
        ("floe_iv_changed", "HeaderTag", body + 10),
        ("floe_header_tag_changed", "HeaderTag", body + 73),
        ("segment_word_changed", "SegmentOrder", body + 74),
        ("segment_nonce_changed", "SegmentAuth", body + 78),
        ("segment_changed", "SegmentAuth", body + 90),
        ("segment_tag_changed", "SegmentAuth", body + 106),
    ]
    .into_iter()
    .map(|(name, expect, at)| one.case(name, expect, &[one.flip("record", at)]))
    .collect();
    let body = several.bytes("body0").len() - 74 - 32 - 50;
    cases.extend([
        several.case("body_locator_changed", "LocatorAuth", &[several.flip("body0", HEADER + 20)]),
        several.case("body_floe_iv_changed", "HeaderTag", &[several.flip("body0", body + 20)]),
        several.case("body_segment_changed", "SegmentAuth", &[several.flip("body0", body + 74 + 16 + 49)]),
        several.case(
            "last_body_s_tag_changed",
            "SegmentAuth",
            &[several.flip("body2", several.bytes("body2").len() - 1)],
        ),
    ]);
    cases
}

fn lengths(base: &Base) -> Vec<Value> {
    let whole = base.bytes("record").len();
    let body = whole - 107;
    let mut cases: Vec<Value> = [
        ("nothing_left", "BadMagic", 0),
        ("cut_in_magic", "BadMagic", 7),
        ("cut_behind_magic", "Truncated", 8),
        ("cut_in_header", "Truncated", 100),
        ("cut_behind_header", "Truncated", HEADER),
        ("cut_in_locator", "Truncated", HEADER + 40),
        ("cut_behind_locator", "Truncated", WRAP),
        ("cut_in_wrap", "Truncated", WRAP + 30),
        ("cut_behind_commitment", "Truncated", ROOT),
        ("cut_in_root", "Truncated", ROOT + 50),
        ("cut_behind_record", "Truncated", body),
        ("cut_behind_floe_header", "Truncated", body + 74),
        ("cut_by_one", "Truncated", whole - 1),
    ]
    .into_iter()
    .map(|(name, expect, at)| base.case(name, expect, &[splice("record", at, whole, &[])]))
    .collect();
    cases.extend([
        base.case("appended_zero", "TrailingBytes", &[splice("record", whole, whole, &[0])]),
        base.case("appended_itself", "TrailingBytes", &[copy("record", whole, whole, "record", 0, whole)]),
        base.case("byte_removed_in_front", "BadMagic", &[splice("record", 0, 1, &[])]),
        base.case("byte_inserted_in_front", "BadMagic", &[splice("record", 0, 0, &[0])]),
        base.case("header_stripped", "BadMagic", &[splice("record", 0, HEADER, &[])]),
        base.case("body_alone", "BadMagic", &[splice("record", 0, body, &[])]),
        base.case("plaintext_in_its_place", "BadMagic", &[base.whole("record", &pattern(1_000))]),
    ]);
    cases
}

fn segments(three: &Base, two: &Base) -> Vec<Value> {
    const FULL: usize = 65_568;
    let whole = three.bytes("record").len();
    let first = whole - 2 * FULL - 33;
    let (second, last) = (first + FULL, first + 2 * FULL);
    let shorter = u32::try_from(74 + 2 * FULL).unwrap().to_be_bytes();
    let two_whole = two.bytes("record").len();
    vec![
        three.case("last_segment_dropped", "Truncated", &[splice("record", last, whole, &[])]),
        three.case("first_segment_dropped", "Truncated", &[splice("record", first, second, &[])]),
        three.case(
            "cut_at_segment_border_and_length_rewritten",
            "LocatorAuth",
            &[put("record", 154, &shorter), splice("record", last, whole, &[])],
        ),
        three.case(
            "segment_repeated",
            "TrailingBytes",
            &[copy("record", second, second, "record", first, second)],
        ),
        three.case(
            "segment_over_its_neighbour",
            "SegmentAuth",
            &[copy("record", second, last, "record", first, second)],
        ),
        three.case(
            "segments_swapped",
            "SegmentAuth",
            &[
                copy("record", first, second, "record", second, last),
                copy("record", second, last, "record", first, second),
            ],
        ),
        three.case(
            "last_segment_first",
            "SegmentOrder",
            &[splice("record", last, whole, &[]), copy("record", first, first, "record", last, whole)],
        ),
        three.case("first_segment_says_final", "SegmentOrder", &[put("record", first, &[0, 1, 0, 32])]),
        three.case("last_segment_says_not_final", "SegmentOrder", &[put("record", last, &[0xff; 4])]),
        three.case("last_segment_says_longer", "SegmentOrder", &[put("record", last, &[0, 0, 0, 34])]),
        two.case("all_but_the_last_byte", "Truncated", &[splice("record", two_whole - 1, two_whole, &[])]),
        two.case(
            "only_the_last_segment",
            "Truncated",
            &[splice("record", two_whole - 33 - FULL, two_whole - 33, &[])],
        ),
    ]
}

/// Blobs of one version exchanged.
fn blobs(base: &Base) -> Vec<Value> {
    let over = |blob: &str, of: &str| copy(blob, 0, base.bytes(blob).len(), of, 0, base.bytes(of).len());
    let renamed = |blob: &str, id: String| json!({ "blob": blob, "id": id });
    let (b0, b1) = (base.bytes("body0").len(), base.bytes("body1").len());
    let mut as_record = base.case("body_served_as_record", "WrongKind", &[over("record", "body0")]);
    as_record["given"] = json!({ "blob": null });
    vec![
        base.case("bodies_swapped", "WrongBlob", &[over("body0", "body1"), over("body1", "body0")]),
        base.case(
            "bodies_renamed",
            "WrongBlob",
            &[renamed("body0", base.id("body1")), renamed("body1", base.id("body0"))],
        ),
        base.case("body_repeated", "WrongBlob", &[over("body2", "body0")]),
        base.case("record_served_as_body", "WrongBlob", &[over("body1", "record")]),
        base.case("body_served_as_record_by_name", "WrongBlob", &[over("record", "body0")]),
        as_record,
        base.case(
            "floe_body_of_another_behind_its_head",
            "HeaderTag",
            &[copy("body0", WRAP, b0, "body1", WRAP, b1)],
        ),
        base.case(
            "segments_swapped_between_bodies",
            "SegmentAuth",
            &[copy("body0", WRAP + 74, b0, "body1", WRAP + 74, b1)],
        ),
        base.case("heads_swapped", "WrongBlob", &[copy("body0", 0, WRAP, "body1", 0, WRAP)]),
        base.case(
            "body_s_locator_from_another",
            "LocatorAuth",
            &[copy("body0", HEADER, WRAP, "body1", HEADER, WRAP)],
        ),
        base.case("body_cut_by_one", "Truncated", &[splice("body1", b1 - 1, b1, &[])]),
        base.case("body_appended", "TrailingBytes", &[splice("body1", b1, b1, &[0])]),
        base.case("body_stripped", "BadMagic", &[splice("body1", 0, WRAP, &[])]),
        base.case("body_empty", "BadMagic", &[splice("body1", 0, b1, &[])]),
    ]
}

/// Older attempts at a body of the same version, under the same data key.
fn attempts(base: &Base) -> Vec<Value> {
    let world = World::new("several_bodies").with_metadata().with_subject();
    let clear = &pattern(107)[50..100];
    let same_id = world.body(world.id("body 1"), 1, clear, 0, "older").0;
    let own_id = world.body(world.id("older body 1"), 1, clear, 0, "older").0;
    let shorter = world.body(world.id("body 1"), 1, &clear[..49], 0, "older").0;
    let other_ordinal = world.body(world.id("body 1"), 2, clear, 0, "older").0;
    let mut rewritten = own_id.as_bytes().to_vec();
    rewritten[122..138].copy_from_slice(&world.id("body 1"));
    vec![
        base.case("older_attempt_under_its_own_id", "WrongBlob", &[base.whole("body1", own_id.as_bytes())]),
        base.case("older_attempt_with_the_id_rewritten", "LocatorAuth", &[base.whole("body1", &rewritten)]),
        base.case("older_attempt_under_the_same_id", "HeaderTag", &[base.whole("body1", same_id.as_bytes())]),
        base.case("older_shorter_attempt", "LengthMismatch", &[base.whole("body1", shorter.as_bytes())]),
        base.case(
            "older_attempt_at_another_place",
            "LengthMismatch",
            &[base.whole("body1", other_ordinal.as_bytes())],
        ),
    ]
}

/// Parts of one record put into another of the same tenant, class and key.
fn grafts(base: &Base, other: &Base) -> Vec<Value> {
    let donor = other.bytes("record");
    let twin = World::new("twin of metadata").with_metadata().one(&pattern(300), 0).blob;
    let header = put("record", 0, &twin.as_bytes()[..HEADER]);
    let mut rewound = base.case(
        "header_of_another_record_for_a_reader_who_knows_no_version",
        "LocatorAuth",
        std::slice::from_ref(&header),
    );
    rewound["given"] = json!({ "version": null, "blob": null });
    let mut older =
        base.case("whole_record_of_another_version", "WrongVersion", &[base.whole("record", donor)]);
    older["given"] = json!({ "blob": other.id("record") });
    vec![
        base.case("header_of_another_record", "WrongVersion", &[header]),
        base.case("header_of_a_shorter_record", "TrailingBytes", &[put("record", 0, &donor[..HEADER])]),
        rewound,
        base.case("locator_of_another_record", "LocatorAuth", &[put("record", HEADER, &donor[HEADER..WRAP])]),
        base.case("wrap_of_another_record", "WrapAuth", &[put("record", WRAP, &donor[WRAP..COMMITMENT])]),
        base.case(
            "commitment_of_another_record",
            "Commitment",
            &[put("record", COMMITMENT, &donor[COMMITMENT..ROOT])],
        ),
        base.case(
            "wrap_and_commitment_of_another_record",
            "WrapAuth",
            &[put("record", WRAP, &donor[WRAP..ROOT])],
        ),
        base.case("root_of_another_record", "ManifestAuth", &[put("record", ROOT, &donor[ROOT..ROOT + 284])]),
        older,
    ]
}

fn pages(base: &Base) -> Vec<Value> {
    let whole = base.bytes("record").len();
    let (full, tail) = (2 * 106 + 28, 106 + 28);
    let first = whole - 2 * full - tail;
    let (second, third) = (first + full, first + 2 * full);
    vec![
        base.case("first_page_changed", "PageAuth", &[base.flip("record", first + 12)]),
        base.case("page_nonce_changed", "PageAuth", &[base.flip("record", second)]),
        base.case("page_tag_changed", "PageAuth", &[base.flip("record", whole - 1)]),
        base.case(
            "pages_swapped",
            "PageAuth",
            &[
                copy("record", first, second, "record", second, third),
                copy("record", second, third, "record", first, second),
            ],
        ),
        base.case(
            "page_repeated_over_another",
            "PageAuth",
            &[copy("record", second, third, "record", first, second)],
        ),
        base.case("last_page_dropped", "Truncated", &[splice("record", third, whole, &[])]),
        base.case("all_pages_dropped", "Truncated", &[splice("record", first, whole, &[])]),
        base.case("page_appended", "TrailingBytes", &[copy("record", whole, whole, "record", third, whole)]),
    ]
}

fn uploads(upload: &Base, version: &Base) -> Vec<Value> {
    let record = upload.bytes("record");
    let second = seeded_bytes("second subject key");
    let forged = two_key_upload(record, upload.kek, upload.subject_key.unwrap(), second);
    let mut two_keys = upload.case("two_key_ciphertext", "Commitment", &[upload.whole("record", &forged)]);
    two_keys["given"] = json!({ "subject_key": hex::encode(second) });
    let world = World::new("one_byte");
    let mut random = super::fixture::seeded("upload record of one_byte");
    let as_version = world.seal(|sealer| sealer.upload(world.id("blob"), &mut random).unwrap().0);
    vec![
        two_keys,
        upload.case("upload_commitment_changed", "Commitment", &[upload.flip("record", record.len() - 1)]),
        upload.case(
            "upload_cut_before_commitment",
            "Truncated",
            &[splice("record", record.len() - 32, record.len(), &[])],
        ),
        upload.case("upload_made_a_version", "InvalidHeader", &[put("record", 11, &[2])]),
        version.case(
            "upload_served_as_version",
            "WrongKind",
            &[version.whole("record", as_version.as_bytes())],
        ),
    ]
}

/// Root of `metadata`: 28 bytes of numbers, one entry, part count, attributes.
fn forged_roots(base: &Base) -> Vec<Value> {
    let attributes = 28 + 106 + 2;
    let set = |at: usize, bytes: &'static [u8]| {
        move |parts: &mut Parts| parts.root[at..at + bytes.len()].copy_from_slice(bytes)
    };
    let mut cases: Vec<Value> = Vec::new();
    let changes: [(&str, usize, &'static [u8]); 14] = [
        ("forged_total", 7, &[0xff]),
        ("forged_padding_total", 15, &[1]),
        ("forged_class", 20, &[0, 1]),
        ("forged_blob_count_zero", 22, &[0, 0, 0, 0]),
        ("forged_blob_count_huge", 22, &[0xff; 4]),
        ("forged_pages_that_are_not", 26, &[0, 2]),
        ("forged_page_size_over_limit", 26, &[4, 1]),
        ("forged_part_count", attributes - 2, &[0xff, 0xff]),
        ("forged_attribute_count", attributes, &[0, 200]),
        ("forged_unknown_attribute", attributes + 2, &[0, 99]),
        ("forged_attribute_zero", attributes + 2, &[0, 0]),
        ("forged_attribute_order", attributes + 2, &[0, 3]),
        ("forged_attribute_length", attributes + 4, &[0xff; 4]),
        ("forged_text_not_utf8", attributes + 8, &[0xff]),
    ];
    for (name, at, bytes) in changes {
        cases.push(base.forged(name, "InvalidManifest", set(at, bytes)));
    }
    cases.push(
        base.forged("forged_root_padding", "InvalidManifest", |parts| *parts.root.last_mut().unwrap() = 1),
    );
    cases.push(
        base.forged("forged_root_padding_longer", "InvalidManifest", |parts| parts.root.extend([0; 256])),
    );
    cases.push(base.forged("forged_data_key", "Commitment", |parts| {
        let original = parts.build();
        let committed = COMMITMENT..ROOT;
        parts.commitment = Some(original[committed].try_into().unwrap());
        parts.dek = vec![0x42; 32];
    }));
    cases
}

fn forged_entries(one: &Base, several: &Base, multipart: &Base) -> Vec<Value> {
    let entry = 28;
    let set = |at: usize, bytes: &'static [u8]| {
        move |parts: &mut Parts| parts.root[at..at + bytes.len()].copy_from_slice(bytes)
    };
    let second = entry + 106;
    let parts = 28 + 3 * 106;
    vec![
        one.forged("forged_entry_blob", "InvalidManifest", set(entry, &[1, 2, 3])),
        one.forged("forged_entry_ordinal", "InvalidManifest", set(entry + 16, &[0, 0, 0, 1])),
        one.forged("forged_entry_body_offset", "InvalidManifest", set(entry + 28, &[0, 0, 0, 0])),
        one.forged("forged_entry_length_over_limit", "InvalidManifest", set(entry + 20, &[4, 0, 0, 1])),
        one.forged("forged_entry_floe_parameters", "FloeParameters", set(entry + 32, &[1])),
        one.forged("forged_entry_segment_length", "FloeParameters", set(entry + 36, &[0x21])),
        one.forged("forged_entry_floe_iv", "HeaderTag", set(entry + 42, &[0; 32])),
        one.forged("forged_entry_floe_tag", "HeaderTag", set(entry + 74, &[0; 32])),
        several.forged("forged_ordinals_equal", "InvalidManifest", set(second + 16, &[0, 0, 0, 0])),
        several.forged("forged_ordinals_descending", "InvalidManifest", set(entry + 16, &[0, 0, 0, 9])),
        several.forged("forged_entries_swapped", "InvalidManifest", move |parts| {
            let (first, rest) = parts.root[entry..].split_at_mut(106);
            first.swap_with_slice(&mut rest[..106]);
        }),
        several.forged("forged_border_between_bodies", "LengthMismatch", move |parts| {
            parts.root[entry + 23] = 51;
            parts.root[second + 23] = 49;
        }),
        several.forged("forged_body_offset", "LengthMismatch", move |parts| parts.root[second + 31] ^= 1),
        several.forged("forged_last_ordinal", "LengthMismatch", set(second + 106 + 16, &[0, 0, 0, 3])),
        multipart.forged("forged_part_length", "InvalidManifest", set(parts + 2 + 9, &[61])),
        multipart.forged("forged_part_number_zero", "InvalidManifest", set(parts + 2, &[0, 0])),
        multipart.forged("forged_part_number_over_limit", "InvalidManifest", set(parts + 2, &[0x27, 0x11])),
        multipart.forged("forged_part_order", "InvalidManifest", set(parts + 2, &[0, 9])),
        multipart.forged("forged_checksum_algorithm", "InvalidManifest", set(parts + 2 + 11, &[9])),
        multipart.forged("forged_checksum_kind", "InvalidManifest", set(parts + 2 + 12, &[0])),
        multipart.forged("forged_checksum_count", "InvalidManifest", set(parts + 2 + 10, &[6])),
    ]
}

fn forged_pages(base: &Base) -> Vec<Value> {
    let full = 2 * 106 + 28;
    let descriptor = 28;
    let reseal = |parts: &mut Parts, change: &dyn Fn(&mut Vec<u8>), fix_digest: bool| {
        let mut clear = open_page(parts, 0, &parts.rest[..full]);
        change(&mut clear);
        let sealed = seal_page(parts, 0, &clear);
        parts.rest[..full].copy_from_slice(&sealed);
        if fix_digest {
            let digest = <sha2::Sha384 as sha2::Digest>::digest(&sealed);
            parts.root[descriptor + 8..descriptor + 56].copy_from_slice(&digest);
        }
    };
    vec![
        base.forged("forged_page_without_its_digest", "PageAuth", |parts| reseal(parts, &|_| {}, false)),
        base.forged("forged_page_lengths", "InvalidManifest", |parts| {
            reseal(parts, &|clear| clear[23] ^= 1, true);
        }),
        base.forged("forged_page_ordinals", "InvalidManifest", |parts| {
            reseal(parts, &|clear| clear[19] = 9, true);
        }),
        base.forged("forged_page_sum", "InvalidManifest", |parts| parts.root[descriptor + 7] += 1),
        base.forged("forged_page_digest", "PageAuth", |parts| parts.root[descriptor + 8] ^= 1),
        base.forged("forged_page_sealed_elsewhere", "PageAuth", |parts| {
            let clear = open_page(parts, 0, &parts.rest[..full]);
            let sealed = seal_page(parts, 1, &clear);
            parts.rest[..full].copy_from_slice(&sealed);
            let digest = <sha2::Sha384 as sha2::Digest>::digest(&sealed);
            parts.root[descriptor + 8..descriptor + 56].copy_from_slice(&digest);
        }),
        base.forged("forged_page_size", "InvalidManifest", |parts| parts.root[27] = 3),
    ]
}

/// Locator of `one_byte`: bucket (1 + 7), key (2 + 28), version id (1 + 19), null flag, created (8), subject (2), padding.
fn forged_locators(base: &Base) -> Vec<Value> {
    let null_flag = 8 + 30 + 20;
    let set = |at: usize, bytes: &'static [u8]| {
        move |parts: &mut Parts| parts.locator[at..at + bytes.len()].copy_from_slice(bytes)
    };
    vec![
        base.forged("forged_bucket_empty", "InvalidLocator", set(0, &[0])),
        base.forged("forged_bucket_too_long", "InvalidLocator", set(0, &[64])),
        base.forged("forged_bucket_not_utf8", "InvalidLocator", set(1, &[0xff])),
        base.forged("forged_key_empty", "InvalidLocator", set(8, &[0, 0])),
        base.forged("forged_key_too_long", "InvalidLocator", set(8, &[4, 1])),
        base.forged("forged_version_id_too_long", "InvalidLocator", set(38, &[65])),
        base.forged("forged_null_flag", "InvalidLocator", set(null_flag, &[2])),
        base.forged("forged_subject_too_long", "InvalidLocator", set(null_flag + 9, &[1, 1])),
        base.forged("forged_locator_padding", "InvalidLocator", |parts| {
            *parts.locator.last_mut().unwrap() = 1;
        }),
        base.forged("forged_locator_padding_longer", "InvalidLocator", |parts| {
            parts.locator.extend([0; 256]);
        }),
        base.forged("forged_key", "WrongLocator", set(10, b"P")),
        base.forged("forged_bucket", "WrongLocator", set(1, b"R")),
    ]
}
