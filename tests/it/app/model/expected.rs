//! What must be there: the records and uploads of one tenant, as plain maps.

use std::collections::BTreeMap;

use super::super::noise;
use super::operation::{Body, PART_MIN, When};

/// One tenant's bucket.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) records: BTreeMap<&'static str, Record>,
}

/// A record that was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) body: Vec<u8>,
    pub(super) tag: String,
    /// Its place among the classes.
    pub(super) class: usize,
}

/// What becomes of an upload.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    Open(BTreeMap<i32, (Body, String)>),
    /// The list it was completed with, and the tag that was answered.
    Completed(Vec<(i32, String)>, String),
    Aborted,
}

/// An upload that was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) at: usize,
    pub(super) key: usize,
    pub(super) class: usize,
    pub(super) id: String,
    pub(super) stage: Stage,
}

/// The answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Refused(u16, &'static str),
}

impl Expected {
    /// How S3 decides on a conditional write (User Guide, "Conditional writes"): with If-Match on an absent key 404, not 412.
    pub(super) fn condition(&self, key: &str, when: When) -> Verdict {
        match (when, self.records.contains_key(key)) {
            (When::Always, _) | (When::Absent, false) | (When::Current, true) => Verdict::Done,
            (When::Current | When::Stale, false) => Verdict::Refused(404, "NoSuchKey"),
            (When::Absent | When::Stale, true) => Verdict::Refused(412, "PreconditionFailed"),
        }
    }

    /// The bytes a `Range: bytes=first-last` asks for; `None`: nothing of it is there.
    pub(super) fn slice(body: &[u8], (first, len): (usize, usize)) -> Option<&[u8]> {
        body.get(first..).filter(|rest| !rest.is_empty()).map(|rest| &rest[..len.min(rest.len())])
    }

    /// Every entry of a listing in order: keys, and with a delimiter what they have in common up to it.
    pub(super) fn listing(&self, prefix: &str, delimited: bool) -> Vec<String> {
        let mut entries: Vec<String> = Vec::new();
        for key in self.records.keys().filter(|key| key.starts_with(prefix)) {
            let common = key[prefix.len()..].find('/').filter(|_| delimited);
            let entry = common.map_or(*key, |slash| &key[..=prefix.len() + slash]);
            if entries.last().is_none_or(|last| last != entry) {
                entries.push(entry.to_owned());
            }
        }
        entries
    }
}

/// The numbers that a mask chooses, in order.
pub(super) fn chosen(mask: u8) -> Vec<i32> {
    (1..=4).filter(|number| mask & (1 << (number - 1)) != 0).collect()
}

/// How Complete is decided upon, part by part: it must be there, and all but the last be large enough.
pub(super) fn complete(parts: &BTreeMap<i32, (Body, String)>, numbers: &[i32]) -> Verdict {
    for number in numbers {
        match parts.get(number) {
            None => return Verdict::Refused(400, "InvalidPart"),
            Some((body, _)) if body.len < PART_MIN && Some(number) != numbers.last() => {
                return Verdict::Refused(400, "EntityTooSmall");
            }
            Some(_) => {}
        }
    }
    Verdict::Done
}

/// What a completed upload holds.
pub(super) fn joined(parts: &BTreeMap<i32, (Body, String)>, numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| bytes(parts[number].0)).collect()
}

pub(super) fn bytes(body: Body) -> Vec<u8> {
    noise(body.seed, body.len)
}

mod tests {
    use super::*;

    fn holding(keys: &[&'static str]) -> Expected {
        let record = |_| Record { body: vec![1, 2, 3], tag: String::new(), class: 0 };
        Expected { records: keys.iter().map(|key| (*key, record(key))).collect() }
    }

    #[test]
    fn a_listing_folds_what_stands_before_a_delimiter() {
        let expected = holding(&["a", "a/", "a//b", "a/b", "a/b/c", "z/1", "z/2"]);
        assert_eq!(expected.listing("", true), ["a", "a/", "z/"]);
        assert_eq!(expected.listing("a/", true), ["a/", "a//", "a/b", "a/b/"]);
        assert_eq!(expected.listing("z", false), ["z/1", "z/2"]);
        assert!(expected.listing("b", true).is_empty());
    }

    #[test]
    fn a_part_that_is_too_small_is_one_only_before_another() {
        let part = |len| (Body { seed: 0, len }, String::new());
        let parts = BTreeMap::from([(1, part(PART_MIN)), (2, part(5)), (3, part(0))]);
        assert_eq!(complete(&parts, &[1, 2]), Verdict::Done);
        assert_eq!(complete(&parts, &[3]), Verdict::Done);
        assert_eq!(complete(&parts, &[1, 2, 3]), Verdict::Refused(400, "EntityTooSmall"));
        assert_eq!(complete(&parts, &[1, 4]), Verdict::Refused(400, "InvalidPart"));
    }

    #[test]
    fn a_condition_on_an_absent_record_is_not_found() {
        let expected = holding(&["a"]);
        assert_eq!(expected.condition("a", When::Absent), Verdict::Refused(412, "PreconditionFailed"));
        assert_eq!(expected.condition("b", When::Current), Verdict::Refused(404, "NoSuchKey"));
        assert_eq!(expected.condition("b", When::Absent), Verdict::Done);
        assert_eq!(Expected::slice(&[1, 2, 3], (3, 1)), None);
        assert_eq!(Expected::slice(&[1, 2, 3], (1, 9)), Some(&[2, 3][..]));
    }
}
