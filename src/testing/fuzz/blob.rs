//! What lies in a store, changed, cut, or put in another's place: it opens as what was sealed there, or not at all.

use std::ops::Range;

use super::input::Input;
use super::world::{Body, World};
use crate::envelope::{Blobs, BodyOpener, Closed, Expected, Implementation, open_front};

/// The writer's implementation, and the one that verifies (docs/format.md, section 6).
const BOTH: [Implementation; 2] = [Implementation::AwsLc, Implementation::AesGcm];

/// The first bytes choose a place and whose bytes are found there; the rest edits those.
pub fn blob(data: &[u8]) {
    let world = World::of();
    let mut input = Input::new(data);
    let (choice, place, found) = (input.byte(), usize::from(input.byte()), usize::from(input.byte()));
    let blobs: Vec<&[u8]> = (world.versions.iter().map(|version| &*version.blob))
        .chain(world.bodies.iter().map(|body| &*body.blob))
        .chain([&*world.upload.record])
        .collect();
    let found = blobs[found % blobs.len()];
    let range = (input.byte(), input.byte());
    let changed = input.edited(found);
    match choice % 3 {
        0 => {
            let body = &world.bodies[place % world.bodies.len()];
            stored_body(world, body, &changed);
            ranged(world, body, &changed, usize::from(range.0)..usize::from(range.1));
        }
        1 => stored_record(world, place % world.versions.len(), &changed),
        _ => stored_upload(world, &changed),
    }
}

/// A whole blob, as scrubber and drill read it.
fn stored_body(world: &World, body: &Body, changed: &[u8]) {
    let version = &world.versions[body.version];
    let (subject_key, is_right) = (version.keys.subject_key.as_ref(), changed == body.blob);
    for implementation in BOTH {
        let mut out = Vec::new();
        let opened =
            version.opened.open_blob(&body.entry, changed, &world.kek, subject_key, implementation, &mut out);
        assert_eq!(opened.is_ok(), is_right, "{implementation:?} opens a blob: {opened:?}");
        assert!(if is_right { out == body.clear } else { body.clear.starts_with(&out) }, "other bytes");
        let verified =
            version.opened.verify_blob(&body.entry, changed, &world.kek, subject_key, implementation);
        assert_eq!(verified, opened, "{implementation:?} opens and verifies differently");
    }
}

/// Some of a blob, as a reader fetches it: right, or refused.
fn ranged(world: &World, body: &Body, changed: &[u8], range: Range<usize>) {
    let Some(wanted) = body.clear.get(range.clone()) else { return };
    let Some(planned) = body.entry.plan(&(range.start as u64..range.end as u64)) else {
        assert!(wanted.is_empty(), "nothing is fetched for a range with bytes");
        return;
    };
    let at = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let stored = at(planned.stored.start)..at(planned.stored.end);
    let Some(fetched) = changed.get(stored.clone()) else { return };
    for implementation in BOTH {
        let opener = BodyOpener::new(&world.versions[body.version].keys.dek, &body.entry, implementation)
            .expect("the entry is the index's, which nobody changed");
        let mut place = fetched.to_vec();
        let opened = planned.open(&opener, &mut place);
        assert_eq!(
            opened.is_ok(),
            body.blob.get(stored.clone()) == Some(fetched),
            "{implementation:?}: {opened:?}"
        );
        if let Ok(pieces) = opened {
            assert!(
                pieces.into_iter().flat_map(|piece| &place[piece]).eq(wanted),
                "{implementation:?}: other bytes"
            );
        }
    }
}

/// A record, whole or the front of a blob: if it opens, its bytes are the ones that were sealed.
fn stored_record(world: &World, place: usize, changed: &[u8]) {
    let version = &world.versions[place];
    for closed in
        [Closed::record(changed), Closed::front(changed), Closed::blob(changed)].into_iter().flatten()
    {
        let Ok(opened) = version.keys.open(&world.kek, closed) else { continue };
        assert!(changed.starts_with(&version.record), "a changed record opened");
        assert!(opened.root == version.opened.root, "another root");
        assert!(opened.locator == version.keys.locator, "another locator");
    }
    front(world, &version.keys.expected(), &version.record, changed);
    if let Blobs::Paged(table) = &version.opened.root.blobs {
        let verified = version.opened.verify_record(&version.record, changed);
        assert_eq!(verified.is_ok(), changed == version.blob, "a record's blob: {verified:?}");
        for page in 0..2 {
            let range = table.location(page).expect("a page for each body");
            let range =
                usize::try_from(range.start).expect("short")..usize::try_from(range.end).expect("short");
            let Some(sealed) = changed.get(range.clone()) else { continue };
            let opened = table.open(&version.keys.dek, page, sealed);
            assert_eq!(opened.is_ok(), version.blob.get(range) == Some(sealed), "page {page}: {opened:?}");
        }
    } else {
        assert!(version.opened.verify_record(&version.record, changed).is_err(), "a body is no record");
    }
}

/// An upload's record.
fn stored_upload(world: &World, changed: &[u8]) {
    let upload = &world.upload;
    for closed in [Closed::record(changed), Closed::blob(changed)].into_iter().flatten() {
        let opened = closed.locate(&upload.keys.expected(), &world.kek).and_then(|located| {
            located
                .confirm(&upload.keys.locator.bucket, &upload.keys.locator.key)?
                .open_upload(&world.kek, upload.keys.subject_key.as_ref())
        });
        assert_eq!(opened.is_ok(), changed == upload.record, "an upload's record: {:?}", opened.err());
    }
    front(world, &upload.keys.expected(), &upload.record, changed);
}

/// Header and locator alone, as tools that start from the store read them.
fn front(world: &World, expected: &Expected, record: &[u8], changed: &[u8]) {
    if let Ok((header, locator)) = open_front(changed, expected, &world.kek) {
        let end = usize::try_from(header.locator_end()).expect("a locator is short");
        assert!(changed.get(..end) == record.get(..end), "a changed front opened: {locator:?}");
    }
}
