//! A plain map as the reference: random operations must answer the same, and leave the books balanced.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use terroir::index::{
    BlobStanding, DeleteMany, DeleteOutcome, Index, ListPage, ListRequest, NewVersion, Position,
    Precondition, PutOutcome,
};
use terroir::model::BlobId;

use super::fixture::*;

/// Few letters, so that keys collide, nest and touch the delimiters; U+10FFFF is as near to 0xff as UTF-8 comes.
const LETTERS: [&str; 8] = ["a", "b", "/", "//", "\0", "é", "\u{10ffff}", "~"];

#[derive(Clone, Debug)]
pub(super) enum Condition {
    None,
    Absent,
    Present,
    Right,
    Wrong,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Put { key: String, condition: Condition, class: usize, size: u64, blobs: usize },
    Replay,
    Delete { key: String, condition: Condition },
    DeleteMany { keys: Vec<String> },
    List { prefix: String, delimiter: usize, after: Option<(bool, String)>, limit: u16 },
}

fn text(range: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec(0..LETTERS.len(), range)
        .prop_map(|picks| picks.into_iter().map(|n| LETTERS[n]).collect::<String>())
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::None),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
        1 => Just(Condition::Right),
        1 => Just(Condition::Wrong),
    ]
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let after = proptest::option::of((any::<bool>(), text(0..4)));
    prop_oneof![
        6 => (text(1..5), condition(), 0..3_usize, 0..1000_u64, 1..3_usize)
            .prop_map(|(key, condition, class, size, blobs)| Op::Put { key, condition, class, size, blobs }),
        1 => Just(Op::Replay),
        1 => (text(1..5), condition()).prop_map(|(key, condition)| Op::Delete { key, condition }),
        1 => proptest::collection::vec(text(1..5), 0..4).prop_map(|keys| Op::DeleteMany { keys }),
        4 => (text(0..3), 0..4_usize, after, 0..6_u16)
            .prop_map(|(prefix, delimiter, after, limit)| Op::List { prefix, delimiter, after, limit }),
    ]
}

/// What should be there.
#[derive(Default)]
pub(super) struct Reference {
    live: BTreeMap<String, NewVersion>,
    reclaimed: BTreeSet<BlobId>,
    last: Option<(NewVersion, PutOutcome)>,
}

impl Reference {
    fn retire(&mut self, key: &str) -> Option<NewVersion> {
        let old = self.live.remove(key)?;
        self.reclaimed.extend(ids(&old.blobs));
        Some(old)
    }

    fn precondition(&self, key: &str, condition: &Condition) -> Precondition {
        match condition {
            Condition::None => Precondition::None,
            Condition::Absent => Precondition::IfNoneMatchStar,
            Condition::Present => Precondition::IfMatchStar,
            Condition::Wrong => Precondition::IfMatch(etag()),
            Condition::Right => {
                Precondition::IfMatch(self.live.get(key).map_or_else(etag, |new| new.etag.clone()))
            }
        }
    }

    /// Does `op` to both and compares the answers.
    pub(super) async fn step(&mut self, index: &dyn Index, name: &str, op: Op) {
        match op {
            Op::Put { key, condition, class: pick, size, blobs: count } => {
                let new = NewVersion {
                    class: class(["health", "personal", "operational"][pick]),
                    size,
                    sealed_bytes: size + 100,
                    blobs: blobs(count),
                    ..version(name, &key)
                };
                self.put(index, new, &condition).await;
            }
            Op::Replay => self.replay(index).await,
            Op::Delete { key: text, condition } => {
                let precondition = self.precondition(&text, &condition);
                let answer = index.delete(OURS, &bucket(name), &key(&text), precondition, NOW).await.unwrap();
                match (self.live.contains_key(&text), condition) {
                    (false, _) => assert_eq!(answer, DeleteOutcome::NoKey),
                    (true, Condition::Absent | Condition::Wrong) => {
                        assert_eq!(answer, DeleteOutcome::PreconditionFailed);
                    }
                    (true, _) => self.deleted(&text, answer),
                }
            }
            Op::DeleteMany { keys } => {
                let asked = keys.iter().map(|text| key(text)).collect();
                let answer = index.delete_many(OURS, &bucket(name), asked, NOW).await.unwrap();
                let DeleteMany::Keys(answers) = answer else { panic!("{answer:?}") };
                assert_eq!(answers.len(), keys.len());
                for (text, answer) in keys.iter().zip(answers) {
                    self.deleted(text, answer);
                }
            }
            Op::List { prefix, delimiter, after, limit } => {
                let position = |(is_prefix, text)| {
                    if is_prefix { Position::AfterPrefix(text) } else { Position::AfterKey(text) }
                };
                let asked = request(&prefix, ["", "/", "//", "é"][delimiter], after.map(position), limit);
                let answer = page(index, name, &asked).await;
                let expected = self.list(&asked);
                assert_eq!(
                    shape(&answer),
                    expected,
                    "{asked:?} of {:?}",
                    self.live.keys().collect::<Vec<_>>()
                );
                for entry in &answer.entries {
                    let new = &self.live[entry.key.as_str()];
                    assert_eq!((entry.version, &entry.etag, entry.size), (new.version, &new.etag, new.size));
                    assert_eq!((&entry.class, entry.modified), (&new.class, new.modified));
                }
            }
        }
    }

    async fn put(&mut self, index: &dyn Index, new: NewVersion, condition: &Condition) {
        let text = new.key.as_str().to_owned();
        let has_head = self.live.contains_key(&text);
        let precondition = self.precondition(&text, condition);
        let answer = index.commit_put(new.clone(), precondition, NOW).await.unwrap();
        match (condition, has_head) {
            (Condition::Present | Condition::Right | Condition::Wrong, false) => {
                assert_eq!(answer, PutOutcome::NoSuchKey);
            }
            (Condition::Absent | Condition::Wrong, true) => {
                assert_eq!(answer, PutOutcome::PreconditionFailed);
            }
            _ => {
                let PutOutcome::Committed { seq, replaced } = answer else { panic!("{answer:?}") };
                assert_eq!(replaced, self.retire(&text).is_some());
                self.live.insert(text, new.clone());
                self.last = Some((new, PutOutcome::Committed { seq, replaced: false }));
            }
        }
    }

    async fn replay(&mut self, index: &dyn Index) {
        let Some((new, expected)) = &self.last else { return };
        let is_current = self.live.get(new.key.as_str()).is_some_and(|live| live.version == new.version);
        let answer = index.commit_put(new.clone(), Precondition::IfNoneMatchStar, NOW).await;
        if is_current {
            assert_eq!(answer.unwrap(), *expected);
        } else {
            let has_successor = self.live.contains_key(new.key.as_str());
            match answer {
                Ok(PutOutcome::PreconditionFailed) => assert!(has_successor),
                Err(terroir::index::IndexError::Reclaimed) => assert!(!has_successor),
                other => panic!("a version that is gone came back: {other:?}"),
            }
        }
    }

    fn deleted(&mut self, text: &str, answer: DeleteOutcome) {
        match self.retire(text) {
            None => assert_eq!(answer, DeleteOutcome::NoKey),
            Some(old) => {
                assert!(
                    matches!(answer, DeleteOutcome::Deleted { version, .. } if version == old.version),
                    "{answer:?}"
                );
            }
        }
    }

    /// The S3 rules read aloud, with none of the index's cleverness.
    fn list(&self, asked: &ListRequest) -> (Vec<String>, bool) {
        let mut names: Vec<String> = Vec::new();
        for text in self.live.keys() {
            let is_past = match &asked.after {
                None => true,
                Some(Position::AfterKey(after)) => text > after,
                Some(Position::AfterPrefix(after)) => text > after && !text.starts_with(after),
            };
            let Some(rest) = text.strip_prefix(&asked.prefix).filter(|_| is_past) else { continue };
            let rolled = asked.delimiter.as_ref().and_then(|delimiter| {
                rest.find(delimiter).map(|at| format!("{}{}{delimiter}*", asked.prefix, &rest[..at]))
            });
            let name = rolled.unwrap_or_else(|| text.clone());
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        let limit = usize::from(asked.limit);
        let has_more = limit > 0 && names.len() > limit;
        names.truncate(limit);
        // Keys and prefixes come in two lists.
        names.sort_by_key(|name| name.ends_with('*'));
        (names, has_more)
    }

    /// The books: counters against a recount, no blob both live and queued, none lost.
    pub(super) async fn audit(&self, index: &dyn Index, name: &str) {
        let mut recount = BTreeMap::new();
        let mut live_blobs = Vec::new();
        for (text, new) in &self.live {
            let row = found(index, name, text).await.unwrap();
            assert_eq!((row.version, row.size, &row.etag), (new.version, new.size, &new.etag));
            let counted = recount.entry(new.class.clone()).or_insert((0, 0, 0));
            *counted = (counted.0 + 1, counted.1 + new.size, counted.2 + new.sealed_bytes);
            live_blobs.extend(ids(&new.blobs));
        }
        let counters = index.counters(OURS).await.unwrap();
        let counted: BTreeMap<_, _> =
            counters.into_iter().map(|c| (c.class, (c.objects, c.bytes, c.sealed_bytes))).collect();
        assert_eq!(counted, recount);
        let queue: BTreeSet<BlobId> = queued(index).await.into_iter().collect();
        assert_eq!(queue, self.reclaimed);
        let standing = index.blob_standing(&live_blobs).await.unwrap();
        assert!(standing.iter().all(|standing| *standing == BlobStanding::Live));
        assert_eq!(index.kek_use(KEK, 1).await.unwrap(), self.live.len() as u64);
    }
}

fn shape(page: &ListPage) -> (Vec<String>, bool) {
    let prefixes = page.prefixes.iter().map(|prefix| format!("{prefix}*"));
    (
        page.entries.iter().map(|entry| entry.key.as_str().to_owned()).chain(prefixes).collect(),
        page.next.is_some(),
    )
}
