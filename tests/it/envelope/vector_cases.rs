//! The vectors that must open.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use terroir::envelope::{BlobEntry, ChecksumAlgorithm, FieldKey, Part, Sealed, padme_padding};

use super::fixture::{KEK_EPOCH, KEK_ID, SUBJECT_KEY_ID, World, checksum, pattern, seeded, seeded_bytes};
use super::vectors::{entry_facts, facts_of};

/// All of them.
pub(crate) fn all() -> Vec<Value> {
    let mut vectors: Vec<Value> = [
        ("empty", "0 bytes: one empty segment", 0),
        ("one_byte", "1 byte", 1),
        ("segment_less_one", "65,535 bytes: one segment, not full", 65_535),
        ("segment_and_one", "65,537 bytes: a full segment and one byte", 65_537),
        ("three_segments", "131,073 bytes: two full segments and one byte", 131_073),
    ]
    .into_iter()
    .map(|(name, about, bytes)| {
        let world = World::new(name);
        let version = world.one(&pattern(bytes), 0);
        vector(name, about, "version", &world, &[("record", version.blob)], bytes, &[])
    })
    .collect();
    vectors.extend([metadata(), subject_key(), null_version(), longest_names(), padding_behind()]);
    vectors.extend([several_bodies(), padding_bodies(), multipart(), paged(), upload()]);
    vectors
}

fn metadata() -> Value {
    let world = World::new("metadata").with_metadata();
    let version = world.one(&pattern(300), 0);
    vector(
        "metadata",
        "all content headers, user metadata, two checksums",
        "version",
        &world,
        &[("record", version.blob)],
        300,
        &[],
    )
}

fn subject_key() -> Value {
    let world = World::new("subject_key").with_subject();
    let version = world.one(&pattern(40), 0);
    vector(
        "subject_key",
        "the data key is wrapped under KEK and subject key",
        "version",
        &world,
        &[("record", version.blob)],
        40,
        &[],
    )
}

fn null_version() -> Value {
    let mut world = World::new("null_version");
    (world.locator.s3_version, world.locator.null_version) = (String::new(), true);
    let version = world.one(&pattern(40), 0);
    vector("null_version", "the null version", "version", &world, &[("record", version.blob)], 40, &[])
}

fn longest_names() -> Value {
    let mut world = World::new("longest_names");
    world.locator.bucket = "b".repeat(63);
    world.locator.key = pattern(1024);
    world.locator.s3_version = "v".repeat(64);
    world.locator.subject = pattern(256);
    let version = world.one(&pattern(40), 0);
    vector(
        "longest_names",
        "every name as long as allowed; a key that is not UTF-8",
        "version",
        &world,
        &[("record", version.blob)],
        40,
        &[],
    )
}

fn padding_behind() -> Value {
    let world = World::new("padding_behind");
    let padding = usize::try_from(padme_padding(1_001).unwrap()).unwrap();
    let version = world.one(&pattern(1_001), padding);
    vector(
        "padding_behind",
        "1,001 bytes padded to 1,024",
        "version",
        &world,
        &[("record", version.blob)],
        1_001,
        &[],
    )
}

/// Body blobs over consecutive pieces of the pattern: (plaintext, padding) each.
fn bodies(world: &World, ordinals: &[u32], lengths: &[(usize, usize)]) -> Vec<(Sealed, BlobEntry)> {
    let clear = pattern(lengths.iter().map(|(bytes, _)| bytes).sum());
    let mut offset = 0;
    let mut sealed = Vec::new();
    for (ordinal, (bytes, padding)) in ordinals.iter().zip(lengths) {
        let piece = &clear[offset..offset + bytes];
        sealed.push(world.body(world.id(&format!("body {ordinal}")), *ordinal, piece, *padding, "final"));
        offset += bytes;
    }
    sealed
}

fn version_of(
    name: &str,
    about: &str,
    world: &World,
    bodies: Vec<(Sealed, BlobEntry)>,
    entries_per_page: u16,
) -> Value {
    let entries: Vec<BlobEntry> = bodies.iter().map(|(_, entry)| *entry).collect();
    let bytes = entries.iter().map(|entry| entry.plaintext_bytes as usize).sum();
    let record = world.record(entries, entries_per_page);
    let names: Vec<String> = (0..bodies.len()).map(|i| format!("body{i}")).collect();
    let mut blobs = vec![("record", record.blob)];
    blobs.extend(names.iter().map(String::as_str).zip(bodies.into_iter().map(|(sealed, _)| sealed)));
    vector(name, about, "version", world, &blobs, bytes, &[])
}

fn several_bodies() -> Value {
    let world = World::new("several_bodies").with_metadata().with_subject();
    let bodies = bodies(&world, &[0, 1, 2], &[(50, 0), (50, 0), (7, 0)]);
    version_of("several_bodies", "three bodies, subject key, metadata", &world, bodies, 0)
}

fn padding_bodies() -> Value {
    let world = World::new("padding_bodies");
    let bodies = bodies(&world, &[0, 1, 2], &[(50, 0), (20, 30), (0, 44)]);
    version_of(
        "padding_bodies",
        "padding behind the last plaintext and in a body of its own",
        &world,
        bodies,
        0,
    )
}

fn multipart() -> Value {
    let mut world = World::new("multipart");
    world.manifest.entity_tag.push_str("-2");
    world.manifest.parts = vec![
        Part { number: 2, plaintext_bytes: 60, checksums: vec![checksum(ChecksumAlgorithm::Crc32c)] },
        Part { number: 9, plaintext_bytes: 5, checksums: Vec::new() },
    ];
    let bodies = bodies(&world, &[2 << 16, (2 << 16) + 1, 9 << 16], &[(40, 0), (20, 0), (5, 0)]);
    version_of(
        "multipart",
        "two parts with a gap in their numbers, one of them in two bodies",
        &world,
        bodies,
        0,
    )
}

fn paged() -> Value {
    let world = World::new("paged");
    let bodies = bodies(&world, &[0, 1, 2, 3, 4], &[(3, 0), (4, 0), (5, 0), (0, 2), (6, 0)]);
    version_of("paged", "five bodies in pages of two entries", &world, bodies, 2)
}

fn upload() -> Value {
    let world = World::new("upload").with_subject();
    let (body, entry) = world.body(world.id("part"), 1 << 16, &pattern(30), 0, "final");
    let mut random = seeded("upload record");
    let record = world.seal(|sealer| sealer.upload(world.id("upload"), &mut random).unwrap().0);
    let blobs = [("record", record), ("body0", body)];
    vector(
        "upload",
        "an upload's data key, and the body of its first part",
        "upload",
        &world,
        &blobs,
        30,
        &[entry],
    )
}

fn vector(
    name: &str,
    about: &str,
    kind: &str,
    world: &World,
    blobs: &[(&str, Sealed)],
    bytes: usize,
    listed: &[BlobEntry],
) -> Value {
    let blob = |(name, sealed): &(&str, Sealed)| json!({ "name": name, "id": hex::encode(sealed.blob()), "base64": BASE64_STANDARD.encode(sealed.as_bytes()) });
    let binding = &world.binding;
    let mut vector = json!({
        "name": name, "about": about, "kind": kind,
        "given": {
            "environment": binding.environment.as_str(), "region": binding.region.as_str(), "tenant": hex::encode(binding.tenant),
            "class": binding.class, "version": hex::encode(binding.version), "blob": hex::encode(blobs[0].1.blob()),
            "bucket": world.locator.bucket, "key": hex::encode(&world.locator.key),
            "kek_id": hex::encode(KEK_ID), "kek_epoch": KEK_EPOCH, "kek": hex::encode(world.kek_bytes),
            "subject_key_id": world.subject_key_bytes.map(|_| hex::encode(SUBJECT_KEY_ID)),
            "subject_key": world.subject_key_bytes.map(hex::encode),
        },
        "blobs": blobs.iter().map(blob).collect::<Value>(),
        "plaintext_pattern_bytes": bytes,
        "listed": listed.iter().map(entry_facts).collect::<Value>(),
    });
    vector["facts"] = facts_of(&vector);
    vector
}

/// Sealed fields: those that open, and those that do not.
pub(crate) fn fields() -> Value {
    let secret: [u8; 32] = seeded_bytes("field secret");
    let key = FieldKey::derive(&secret, "directory row").unwrap();
    let (aad, clear): ([&[u8]; 2], _) = ([b"tenant", b"42"], b"Clinique du Lac".as_slice());
    let sealed = key.seal(&aad, clear, &mut seeded("field")).unwrap();
    let empty = key.seal(&[], b"", &mut seeded("empty field")).unwrap();
    let case = |name: &str, purpose: &str, aad: &[&[u8]], sealed: &[u8], clear: &[u8], expect: &str| {
        let pseudonym = FieldKey::derive(&secret, purpose).unwrap().pseudonym(aad).unwrap();
        json!({
            "name": name, "secret": hex::encode(secret), "purpose": purpose, "aad": aad.iter().map(hex::encode).collect::<Value>(),
            "sealed": hex::encode(sealed), "clear": hex::encode(clear), "pseudonym": hex::encode(pseudonym), "expect": expect,
        })
    };
    let mut cases = vec![
        case("field", "directory row", &aad, &sealed, clear, "ok"),
        case("field_empty", "directory row", &[], &empty, b"", "ok"),
        case("other_purpose", "audit name", &aad, &sealed, clear, "FieldCommitment"),
        case("parts_joined", "directory row", &[b"tenant42"], &sealed, clear, "FieldAuth"),
        case("parts_split_elsewhere", "directory row", &[b"tenant4", b"2"], &sealed, clear, "FieldAuth"),
        case("parts_swapped", "directory row", &[b"42", b"tenant"], &sealed, clear, "FieldAuth"),
        case("part_added", "directory row", &[b"tenant", b"42", b""], &sealed, clear, "FieldAuth"),
        case("parts_missing", "directory row", &[], &sealed, clear, "FieldAuth"),
        case("nothing", "directory row", &aad, &[], clear, "InvalidField"),
        case("cut_below_overhead", "directory row", &aad, &sealed[..92], clear, "InvalidField"),
        case("cut_by_one", "directory row", &aad, &sealed[..sealed.len() - 1], clear, "FieldAuth"),
        case("appended", "directory row", &aad, &[sealed.as_slice(), &[0]].concat(), clear, "FieldAuth"),
    ];
    let flips = [
        ("version_changed", 0, "InvalidField"),
        ("salt_changed", 1, "FieldCommitment"),
        ("commitment_changed", 33, "FieldCommitment"),
        ("nonce_changed", 65, "FieldAuth"),
        ("ciphertext_changed", 77, "FieldAuth"),
        ("tag_changed", sealed.len() - 1, "FieldAuth"),
    ];
    for (name, at, expect) in flips {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        cases.push(case(name, "directory row", &aad, &changed, clear, expect));
    }
    json!({ "cases": cases })
}
