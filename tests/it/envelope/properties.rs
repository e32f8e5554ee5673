//! What holds for all inputs: sealing and opening are inverse, ranges are slices, any changed byte is an error, nothing panics.

use std::ops::Range;

use proptest::prelude::*;
use terroir::envelope::{
    BlobEntry, Blobs, BodyOpener, BodySealer, ChecksumAlgorithm, Closed, Dek, EnvelopeError, FieldKey,
    FloeHeader, Header, Implementation, OpenVersion, Part, RandomFailed, Sealed, SealedVersion, Sealer,
    body_bytes, labels, record_entries_max, segment_count, self_test,
};

use super::fixture::{World, checksum, pattern, seeded};
use super::forge::Parts;

const BOTH: [Implementation; 2] = [Implementation::AwsLc, Implementation::AesGcm];

fn open(world: &World, record: &[u8]) -> Result<OpenVersion, EnvelopeError> {
    let closed = Closed::record(record)?;
    let located = closed.locate(&world.expected(), &world.kek())?;
    located
        .confirm(&world.locator.bucket, &world.locator.key)?
        .open_version(&world.kek(), world.subject_key().as_ref())
}

/// Opens a one-blob version from its stored blob alone.
fn open_one(world: &World, blob: &[u8], implementation: Implementation) -> Result<Vec<u8>, EnvelopeError> {
    let (kek, subject_key) = (world.kek(), world.subject_key());
    let confirmed = Closed::blob(blob)?
        .locate(&world.expected(), &kek)?
        .confirm(&world.locator.bucket, &world.locator.key)?;
    let version = confirmed.open_version(&kek, subject_key.as_ref())?;
    let mut clear = Vec::new();
    for entry in inline(&version) {
        version.open_blob(entry, blob, &kek, subject_key.as_ref(), implementation, &mut clear)?;
    }
    Ok(clear)
}

fn inline(version: &OpenVersion) -> &[BlobEntry] {
    match &version.root.blobs {
        Blobs::Inline(entries) => entries,
        Blobs::Paged(_) => panic!("pages"),
    }
}

/// Reads `range` as a reader of a store does: root, pages it needs, whole segments it needs. Returns bytes, segments opened.
fn read_range(version: &OpenVersion, stored: &[Sealed], range: &Range<u64>) -> (Vec<u8>, u64) {
    let slice = |blob: &[u8; 16], at: &Range<u64>| {
        let sealed = stored.iter().find(|sealed| sealed.blob() == blob).unwrap();
        &sealed.as_bytes()[usize::try_from(at.start).unwrap()..usize::try_from(at.end).unwrap()]
    };
    let mut plan = version.root.plan(range).unwrap();
    if let Blobs::Paged(table) = &version.root.blobs {
        for page in table.pages_for(range) {
            let at = table.location(page).unwrap();
            plan.extend(
                table.open(&version.dek, page, slice(&version.header.blob, &at)).unwrap().plan(range),
            );
        }
    }
    let (mut clear, mut segments) = (Vec::new(), 0);
    for piece in plan {
        segments += piece.segments.end - piece.segments.start;
        let opener = BodyOpener::new(&version.dek, &piece.entry, Implementation::AwsLc).unwrap();
        let mut fetched = slice(&piece.entry.blob, &piece.stored).to_vec();
        for at in piece.open(&opener, &mut fetched).unwrap() {
            clear.extend_from_slice(&fetched[at]);
        }
    }
    (clear, segments)
}

/// A version of several bodies, all its blobs, and its clear bytes.
fn several(
    world: &World,
    lengths: &[(usize, usize)],
    entries_per_page: u16,
) -> (SealedVersion, Vec<Sealed>, Vec<u8>) {
    let clear = pattern(lengths.iter().map(|(bytes, _)| bytes).sum());
    let (mut offset, mut stored, mut entries) = (0, Vec::new(), Vec::new());
    for (ordinal, (bytes, padding)) in (0_u32..).zip(lengths) {
        let piece = &clear[offset..offset + bytes];
        let (sealed, entry) = world.body(world.id(&format!("b{ordinal}")), ordinal * 3, piece, *padding, "");
        stored.push(sealed);
        entries.push(entry);
        offset += bytes;
    }
    let version = world.record(entries, entries_per_page);
    stored.push(version.blob.clone());
    (version, stored, clear)
}

#[test]
fn the_two_implementations_agree() {
    assert_eq!(self_test(), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn opening_is_the_inverse_of_sealing_whatever_the_pieces(
        bytes in prop_oneof![0_usize..200, 65_500_usize..65_600, 0_usize..200_000],
        cuts in proptest::collection::vec(0_usize..200_000, 0..6),
        padding in prop_oneof![Just(0_usize), 0_usize..70_000],
        headroom in 0_usize..1_500,
        expected in 0_usize..300_000,
    ) {
        let world = World::new("pieces").with_subject();
        let clear = pattern(bytes);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes)).collect();
        cuts.sort_unstable();
        let mut random = seeded("pieces");
        let sealed = world.seal(|sealer| {
            let mut body = BodySealer::new(sealer.dek, world.id("blob"), 0, headroom, expected, &mut random).unwrap();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes]) {
                body.push(&clear[from..cut], &mut random).unwrap();
                from = cut;
            }
            let body = body.finish(padding, &mut random).unwrap();
            sealer.version_with_body(world.manifest.clone(), body, &mut random).unwrap()
        });
        let body = body_bytes((bytes + padding) as u64);
        prop_assert_eq!(sealed.blob.len() as u64, sealed.record.as_bytes().len() as u64 + body);
        for implementation in BOTH {
            prop_assert!(open_one(&world, sealed.blob.as_bytes(), implementation).unwrap() == clear);
        }
    }

    #[test]
    fn a_range_is_a_slice_and_opens_no_segment_too_many(
        lengths in proptest::collection::vec((0_usize..150_000, 0_usize..3), 1..6),
        entries_per_page in 0_u16..4,
        ends in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 12),
    ) {
        let world = World::new("ranges");
        let (sealed, stored, clear) = several(&world, &lengths, entries_per_page);
        let version = open(&world, sealed.record.as_bytes()).unwrap();
        prop_assert_eq!(version.root.plaintext_bytes, clear.len() as u64);
        for (a, b) in ends {
            let (a, b) = (a.index(clear.len() + 1), b.index(clear.len() + 1));
            let (a, b) = (a.min(b), a.max(b));
            let (read, segments) = read_range(&version, &stored, &(a as u64..b as u64));
            prop_assert!(read == clear[a..b]);
            prop_assert_eq!(segments, least_segments(&lengths, a, b));
        }
        let end = clear.len() as u64;
        prop_assert_eq!(version.root.plan(&(0..end + 1)), Err(EnvelopeError::RangeOutside));
    }

    #[test]
    fn random_bytes_never_panic_and_never_open(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let world = World::new("random");
        prop_assert!(Header::peek(&bytes).is_err());
        prop_assert!(Closed::front(&bytes).is_err());
        prop_assert!(open_one(&world, &bytes, Implementation::AesGcm).is_err());
        prop_assert!(FieldKey::derive(&[1; 32], "x").unwrap().open(&[], &bytes).is_err());
    }

    #[test]
    fn a_header_with_random_lengths_never_panics(at in 130_usize..158, value: u32, cut in 0_usize..2_000) {
        let world = World::new("random header");
        let mut blob = world.one(b"x", 0).blob.as_bytes().to_vec();
        let at = at.min(154);
        blob[at..at + 4].copy_from_slice(&value.to_be_bytes());
        blob.truncate(cut);
        prop_assert!(open_one(&world, &blob, Implementation::AesGcm).is_err());
    }

    /// What is authentic but nonsense: sealed by somebody with keys and a broken writer.
    #[test]
    fn authentic_nonsense_never_panics(
        root in proptest::collection::vec(any::<u8>(), 0..600),
        locator in proptest::collection::vec(any::<u8>(), 0..600),
        at in any::<prop::sample::Index>(),
        replace_all: bool,
    ) {
        let world = World::new("nonsense").with_metadata();
        let mut parts = Parts::of(world.one(&pattern(40), 0).blob.as_bytes(), world.kek_bytes, None);
        if replace_all {
            parts.locator = locator;
            parts.locator.resize(parts.locator.len().next_multiple_of(256).max(256), 0);
        }
        let start = if replace_all { 0 } else { at.index(parts.root.len()) };
        parts.root.truncate(start);
        parts.root.extend(root);
        parts.root.resize(parts.root.len().next_multiple_of(256).max(256), 0);
        let _ = open_one(&world, &parts.build(), Implementation::AesGcm);
    }

    #[test]
    fn fields_open_with_their_own_data_only(
        clear in proptest::collection::vec(any::<u8>(), 0..300),
        aad in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..4),
        other in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..4),
    ) {
        let key = FieldKey::derive(&[7; 32], "rows").unwrap();
        let refs = |parts: &[Vec<u8>]| parts.iter().map(Clone::clone).collect::<Vec<_>>();
        let (aad, other) = (refs(&aad), refs(&other));
        let aad_refs: Vec<&[u8]> = aad.iter().map(Vec::as_slice).collect();
        let other_refs: Vec<&[u8]> = other.iter().map(Vec::as_slice).collect();
        let sealed = key.seal(&aad_refs, &clear, &mut seeded("field")).unwrap();
        prop_assert_eq!(sealed.len(), clear.len() + labels::FIELD_OVERHEAD_BYTES);
        prop_assert_eq!(&*key.open(&aad_refs, &sealed).unwrap(), &clear);
        prop_assert_eq!(aad == other, key.open(&other_refs, &sealed).is_ok());
        prop_assert_eq!(aad == other, key.pseudonym(&aad_refs).unwrap() == key.pseudonym(&other_refs).unwrap());
    }
}

/// By the definition: segments of each body that share a byte with a..b.
fn least_segments(lengths: &[(usize, usize)], a: usize, b: usize) -> u64 {
    let (mut offset, mut segments) = (0, 0);
    for (bytes, _) in lengths {
        let starts = (offset..offset + bytes).step_by(labels::SEGMENT_PLAINTEXT_BYTES);
        let end = offset + bytes;
        segments +=
            starts.filter(|s| *s < b && (*s + labels::SEGMENT_PLAINTEXT_BYTES).min(end) > a && a < b).count();
        offset = end;
    }
    segments as u64
}

#[test]
fn every_flipped_byte_of_a_one_blob_version_is_an_error() {
    let world = World::new("flips").with_subject().with_metadata();
    let blob = world.one(&pattern(20), 3).blob;
    for at in 0..blob.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = blob.as_bytes().to_vec();
            changed[at] ^= mask;
            assert!(open_one(&world, &changed, Implementation::AwsLc).is_err(), "byte {at} ^ {mask:#x}");
        }
    }
}

#[test]
fn every_flipped_byte_of_every_blob_of_a_paged_version_is_an_error() {
    let world = World::new("paged flips");
    let (sealed, stored, _) = several(&world, &[(5, 0), (6, 0), (7, 1)], 2);
    let version = open(&world, sealed.record.as_bytes()).unwrap();
    let Blobs::Paged(table) = &version.root.blobs else { panic!("no pages") };
    let record = sealed.blob.as_bytes();
    let read = |record: &[u8]| -> Result<Vec<BlobEntry>, EnvelopeError> {
        let closed = Closed::blob(record)?.locate(&world.expected(), &world.kek())?;
        let version = closed.take_its_word().open_version(&world.kek(), None)?;
        let mut entries = Vec::new();
        for page in 0..2 {
            let at = table.location(page).unwrap();
            let sealed = &record[usize::try_from(at.start).unwrap()..usize::try_from(at.end).unwrap()];
            entries.extend(table.open(&version.dek, page, sealed)?.entries);
        }
        Ok(entries)
    };
    let entries = read(record).unwrap();
    for at in 0..record.len() {
        let mut changed = record.to_vec();
        changed[at] ^= 1;
        assert!(read(&changed).is_err(), "record byte {at}");
    }
    for (entry, blob) in entries.iter().zip(&stored) {
        let verify = |blob: &[u8]| {
            version.open_blob(entry, blob, &world.kek(), None, Implementation::AesGcm, &mut Vec::new())
        };
        assert_eq!(verify(blob.as_bytes()), Ok(()));
        for at in 0..blob.len() {
            let mut changed = blob.as_bytes().to_vec();
            changed[at] ^= 1;
            assert!(verify(&changed).is_err(), "body byte {at}");
        }
    }
}

#[test]
fn every_cut_and_every_extension_of_a_blob_is_an_error() {
    let world = World::new("cuts");
    let blob = world.one(&pattern(20), 0).blob;
    for length in 0..blob.len() {
        assert!(open_one(&world, &blob.as_bytes()[..length], Implementation::AwsLc).is_err(), "{length}");
    }
    for more in [1, 16, 32, 65_568] {
        let longer = [blob.as_bytes(), &vec![0; more]].concat();
        assert_eq!(open_one(&world, &longer, Implementation::AwsLc), Err(EnvelopeError::TrailingBytes));
    }
}

#[test]
fn a_segment_that_does_not_authenticate_leaves_nothing_behind() {
    let world = World::new("nothing behind");
    let (sealed, stored, _) = several(&world, &[(70_000, 0)], 0);
    let version = open(&world, sealed.record.as_bytes()).unwrap();
    let entry = inline(&version)[0];
    for implementation in BOTH {
        let opener = BodyOpener::new(&version.dek, &entry, implementation).unwrap();
        let start = entry.body_offset_bytes as usize + labels::FLOE_HEADER_BYTES;
        let mut segment = stored[0].as_bytes()[start..start + labels::SEGMENT_BYTES].to_vec();
        let good = segment.clone();
        segment[40_000] ^= 1;
        let mut out = b"before".to_vec();
        let refused = Err(EnvelopeError::SegmentAuth { position: 0 });
        assert_eq!(opener.open_segment(0, &segment, &mut out), refused);
        assert_eq!(out, b"before");
        assert_eq!(opener.open_segment_in_place(0, &mut segment).map(drop), refused);
        assert!(
            segment[16..segment.len() - 16].iter().all(|byte| *byte == 0),
            "unverified bytes stay in the buffer"
        );
        // A range that fails in its second segment tells nothing of its first.
        let piece = entry.plan(&(0..70_000)).unwrap();
        let mut fetched = stored[0].as_bytes()[usize::try_from(piece.stored.start).unwrap()..].to_vec();
        *fetched.last_mut().unwrap() ^= 1;
        assert_eq!(piece.open(&opener, &mut fetched), Err(EnvelopeError::SegmentAuth { position: 1 }));
        let mut in_place = good;
        let clear = opener.open_segment_in_place(0, &mut in_place).unwrap();
        assert!(in_place[clear] == pattern(70_000)[..65_536]);
        assert_eq!(opener.open_segment(2, &[], &mut out), Err(EnvelopeError::SegmentOrder { position: 2 }));
    }
}

#[test]
fn without_random_bytes_nothing_is_sealed() {
    let world = World::new("no entropy");
    let mut calls = 0;
    // Fails at the first call, then at the second, … until all that sealing needs can be had.
    let needed = (0..100).find(|granted| {
        let mut left = *granted;
        let mut source = seeded("no entropy");
        let mut random = |out: &mut [u8]| {
            calls += 1;
            if left == 0 {
                return Err(RandomFailed);
            }
            left -= 1;
            source(out)
        };
        let sealed = Dek::generate(world.binding, &mut random).and_then(|dek| {
            let kek = world.kek();
            let sealer = Sealer { dek: &dek, kek: &kek, subject_key: None, locator: &world.locator };
            let mut body = BodySealer::new(&dek, [1; 16], 0, 0, 0, &mut random)?;
            body.push(&pattern(140_000), &mut random)?;
            let body = body.finish(0, &mut random)?;
            sealer.version_with_body(world.manifest.clone(), body, &mut random)
        });
        assert!(sealed.is_ok() || matches!(sealed, Err(EnvelopeError::Random)));
        sealed.is_ok()
    });
    // DEK, IV, three segments' nonces, locator, wrap, root.
    assert_eq!(needed, Some(8));
    assert!(calls > 8);
}

#[test]
fn two_seals_of_the_same_bytes_have_nothing_in_common() {
    let world = World::new("twice");
    let (a, _) = world.body(world.id("b"), 0, &pattern(1_000), 0, "first");
    let (b, _) = world.body(world.id("b"), 0, &pattern(1_000), 0, "second");
    let sealed = |blob: &Sealed| {
        blob.as_bytes()[labels::HEADER_BYTES..].windows(12).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let first: std::collections::HashSet<_> = sealed(&a).into_iter().collect();
    // The FLOE parameters (10 bytes) are the one constant behind the header.
    assert_eq!(sealed(&b).iter().filter(|window| first.contains(*window)).count(), 0);
}

#[test]
fn an_upload_goes_on_in_another_process_and_ends_in_a_version() {
    let world = World::new("resumed").with_subject();
    let mut random = seeded("resumed upload");
    let (_, record) = world.seal(|sealer| sealer.upload(world.id("upload"), &mut random).unwrap());
    let (kek, subject_key) = (world.kek(), world.subject_key());
    let located = Closed::record(record.as_bytes()).unwrap().locate(&world.expected(), &kek).unwrap();
    let upload = located.take_its_word().open_upload(&kek, subject_key.as_ref()).unwrap();
    let sealer =
        Sealer { dek: &upload.dek, kek: &kek, subject_key: subject_key.as_ref(), locator: &upload.locator };
    let mut body =
        BodySealer::new(&upload.dek, [8; 16], 65_536, sealer.headroom_bytes(None), 3, &mut random).unwrap();
    body.push(b"abc", &mut random).unwrap();
    let (part, entry) = sealer.body(body.finish(0, &mut random).unwrap(), &mut random).unwrap();
    let version = sealer.version([9; 16], world.manifest.clone(), vec![entry], &mut random).unwrap();
    let version = open(&world, version.record.as_bytes()).unwrap();
    let mut clear = Vec::new();
    let opened = version.open_blob(
        &entry,
        part.as_bytes(),
        &kek,
        subject_key.as_ref(),
        Implementation::AesGcm,
        &mut clear,
    );
    assert_eq!((opened, clear.as_slice()), (Ok(()), b"abc".as_slice()));
    // An upload record is not a version, and a version is not an upload.
    assert!(matches!(open(&world, record.as_bytes()), Err(EnvelopeError::WrongKind)));
}

#[test]
fn a_huge_version_has_a_small_root_and_a_read_opens_one_page() {
    const PAGES: u32 = 20;
    const BLOBS: u32 = PAGES * 1_024;
    const BLOB_BYTES: u32 = 64 * 1024 * 1024;
    let total = u64::from(BLOBS) * u64::from(BLOB_BYTES);
    let world = World::new("huge");
    let (_, entry) = world.body(world.id("b"), 0, b"", 0, "");
    let entries =
        (0..BLOBS).map(|ordinal| BlobEntry { ordinal, plaintext_bytes: BLOB_BYTES, ..entry }).collect();
    let mut random = seeded("huge");
    let sealed = world.seal(|sealer| {
        sealer.version(world.id("record"), world.manifest.clone(), entries, &mut random).unwrap()
    });
    // Two megabytes of entries; 5 TiB in blobs of 8 MiB, 640 pages, would have a root of 36 KiB.
    assert!(sealed.blob.len() > 2_000_000);
    assert!(sealed.record.as_bytes().len() < 1_024 + PAGES as usize * labels::PAGE_DESCRIPTOR_BYTES);
    let version = open(&world, sealed.record.as_bytes()).unwrap();
    assert_eq!(version.root.plaintext_bytes, total);
    let Blobs::Paged(table) = &version.root.blobs else { panic!("no pages") };
    let last = total - 1;
    assert_eq!(table.pages_for(&(last..total)), PAGES - 1..PAGES);
    assert_eq!(table.location(PAGES), None);
    let at = table.location(PAGES - 1).unwrap();
    assert_eq!(at.end, sealed.blob.len() as u64);
    let page = &sealed.blob.as_bytes()[usize::try_from(at.start).unwrap()..];
    let plan = table.open(&version.dek, PAGES - 1, page).unwrap().plan(&(last..total));
    assert_eq!((plan.len(), plan[0].entry.ordinal, plan[0].segments.clone()), (1, BLOBS - 1, 1_023..1_024));
    assert_eq!((plan[0].skip_bytes, plan[0].take_bytes), (65_535, 1));
}

#[test]
fn up_to_1_024_entries_stand_in_the_root() {
    let world = World::new("pages begin");
    let (_, entry) = world.body(world.id("b"), 0, b"x", 0, "");
    for (count, paged) in [(1, false), (1_024, false), (1_025, true)] {
        let entries = (0..count).map(|ordinal| BlobEntry { ordinal, ..entry }).collect();
        let mut random = seeded("pages begin");
        let version = world
            .seal(|sealer| sealer.version([1; 16], world.manifest.clone(), entries, &mut random).unwrap());
        assert_eq!(matches!(version.root.blobs, Blobs::Paged(_)), paged, "{count}");
    }
}

#[test]
fn what_a_reader_would_refuse_is_not_written() {
    let world = World::new("refused");
    let (_, entry) = world.body(world.id("b"), 1, b"x", 0, "");
    let seal = |change: &dyn Fn(&mut World), entries: Vec<BlobEntry>| {
        let mut world = world.clone();
        change(&mut world);
        let mut random = seeded("refused");
        world.seal(|sealer| sealer.version([1; 16], world.manifest.clone(), entries, &mut random)).map(drop)
    };
    let unchanged = |_: &mut World| {};
    assert_eq!(seal(&unchanged, vec![entry]), Ok(()));
    assert_eq!(seal(&unchanged, vec![]), Err(EnvelopeError::InvalidManifest { field: "blob count" }));
    assert_eq!(seal(&unchanged, vec![entry; 2]), Err(EnvelopeError::InvalidManifest { field: "ordinals" }));
    let long = |world: &mut World| world.locator.key = vec![b'k'; 1_025];
    assert_eq!(seal(&long, vec![entry]), Err(EnvelopeError::LimitExceeded { what: "key" }));
    let huge = |world: &mut World| world.manifest.content.content_type = Some("t".repeat(16_385));
    assert_eq!(seal(&huge, vec![entry]), Err(EnvelopeError::LimitExceeded { what: "attribute" }));
    let many =
        |world: &mut World| world.manifest.user_metadata = vec![(String::from("n"), String::new()); 257];
    assert_eq!(seal(&many, vec![entry]), Err(EnvelopeError::LimitExceeded { what: "user metadata" }));
    let part = terroir::envelope::Part { number: 1, plaintext_bytes: 2, checksums: vec![] };
    let wrong_sum = |world: &mut World| world.manifest.parts = vec![part.clone()];
    assert_eq!(seal(&wrong_sum, vec![entry]), Err(EnvelopeError::InvalidManifest { field: "parts total" }));
    let mut random = seeded("refused");
    let mut body = BodySealer::new(&world.dek(), [1; 16], 0, 0, 0, &mut random).unwrap();
    let too_long = vec![0; labels::BLOB_PLAINTEXT_BYTES_MAX + 1];
    assert_eq!(body.push(&too_long, &mut random), Err(EnvelopeError::LimitExceeded { what: "blob" }));
    // What failed once stays failed: its lengths can no longer be right.
    assert_eq!(body.push(b"x", &mut random), Err(EnvelopeError::Cipher));
    assert_eq!(body.finish(0, &mut random).map(drop), Err(EnvelopeError::Cipher));
    // A body sealed for another version does not get this one's head.
    let other = World::new("another version");
    let body =
        BodySealer::new(&other.dek(), [1; 16], 0, 0, 0, &mut random).unwrap().finish(0, &mut random).unwrap();
    assert_eq!(
        world.seal(|sealer| sealer.body(body, &mut random)).map(drop),
        Err(EnvelopeError::WrongVersion)
    );
}

#[test]
fn no_secret_and_no_name_is_printed() {
    let world = World::new("debug").with_subject().with_metadata();
    let version = world.one(b"MARKER-CLEAR", 0);
    let opened = open(&world, version.record.as_bytes()).unwrap();
    let field_key = FieldKey::derive(&world.kek_bytes, "x").unwrap();
    let printed = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {field_key:?} {opened:?}",
        world.kek(),
        world.subject_key(),
        world.dek(),
        world.locator,
        world.manifest,
        version
    );
    for name in ["records", "patients", "patient-42", "cardiologie", "fhir", "MARKER"] {
        assert!(!printed.contains(name), "{name} in {printed}");
    }
    for secret in [world.kek_bytes, world.subject_key_bytes.unwrap()] {
        assert!(!printed.contains(&hex::encode(secret)[..16]));
        assert!(!printed.contains(&format!("{}, {}", secret[0], secret[1])));
    }
}

#[test]
fn sealed_lengths_hide_names_and_padding_hides_sizes() {
    let lengths = |key_bytes: usize, clear_bytes: usize, padding: usize| {
        let mut world = World::new("lengths");
        world.locator.key = vec![b'k'; key_bytes];
        world.one(&pattern(clear_bytes), padding).blob.len()
    };
    assert_eq!(lengths(1, 100, 0), lengths(150, 100, 0));
    assert_eq!(lengths(1, 1_001, 23), lengths(1, 1_024, 0));
    assert_eq!(segment_count(0), 1);
    assert_eq!(body_bytes(0), 106);
    assert_eq!(body_bytes(65_536), 74 + 65_536 + 32);
    assert_eq!(body_bytes(65_537), 74 + 65_537 + 64);
}

#[test]
fn the_most_entries_that_a_record_may_have_fit_beside_all_that_may_be_sealed_with_them() {
    const BLOB_BYTES: u64 = terroir::blobs::BLOB_BYTES_MAX;
    let all = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];
    let longest = || "x".repeat(labels::ATTRIBUTE_BYTES_MAX);
    let sealed_bytes = |entries: u64| {
        let mut world = World::new("the most").with_metadata();
        world.locator.bucket = "b".repeat(labels::BUCKET_BYTES_MAX);
        world.locator.key = vec![b'k'; labels::OBJECT_KEY_BYTES_MAX];
        world.locator.s3_version = "v".repeat(labels::S3_VERSION_BYTES_MAX);
        world.locator.subject = vec![b's'; labels::SUBJECT_BYTES_MAX];
        let manifest = &mut world.manifest;
        let content = &mut manifest.content;
        manifest.entity_tag = longest();
        for text in [
            &mut content.content_type,
            &mut content.content_encoding,
            &mut content.content_disposition,
            &mut content.content_language,
            &mut content.cache_control,
            &mut content.expires,
        ] {
            *text = Some(longest());
        }
        // The count, and the lengths of name and value.
        manifest.user_metadata = vec![(String::new(), "x".repeat(labels::ATTRIBUTE_BYTES_MAX - 6))];
        manifest.checksums = all.map(checksum).to_vec();
        let parts = u16::try_from(labels::PARTS_MAX).unwrap();
        manifest.parts = (1..=parts)
            .map(|number| Part {
                number,
                plaintext_bytes: if number == parts { entries + 1 - u64::from(parts) } else { 1 },
                checksums: all.map(checksum).to_vec(),
            })
            .collect();
        let entry = |ordinal| BlobEntry {
            blob: [7; 16],
            ordinal,
            plaintext_bytes: 1,
            padding_bytes: 0,
            body_offset_bytes: 1,
            floe_header: FloeHeader::from_bytes([7; labels::FLOE_HEADER_BYTES]),
        };
        let entries = (0..u32::try_from(entries).unwrap()).map(entry).collect();
        let per_page = u16::try_from(labels::PAGE_ENTRIES_MAX).unwrap();
        world.record(entries, per_page).blob.len() as u64
    };
    let most = record_entries_max(BLOB_BYTES);
    let bytes = sealed_bytes(most);
    assert!(bytes <= BLOB_BYTES, "{most} entries are {bytes} bytes");
    // The padding of the root is shorter than its limit allows for, and what is left over may be an entry less a byte.
    let over = most + 2 * (labels::PAD_MULTIPLE_BYTES / labels::ENTRY_BYTES) as u64;
    assert!(sealed_bytes(over) > BLOB_BYTES, "{most} entries are not the most");
}
