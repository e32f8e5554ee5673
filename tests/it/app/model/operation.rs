//! What may happen: operations of clients, faults of stores, work of the proxy itself; and which of it may come next.

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

/// Names of records: what paths, signatures, listings and indexes stumble over. In the order of their bytes.
pub(super) const KEYS: [&str; 8] =
    ["a", "a b+c%2Fd", "a/", "a//b", "a/b", "a/b/c", "patient=ü/ecg", "zz/\u{1F600}"];

/// Lengths at which something changes: nothing, one byte, either side of a segment and of a blob (of 128 KiB here).
const LENGTHS: [usize; 9] = [0, 1, 1_000, 65_535, 65_536, 65_537, 131_072, 131_073, 300_000];

/// The least a part may hold unless it is the last (S3 User Guide, "Multipart upload limits").
pub(super) const PART_MIN: usize = 5 << 20;

/// Which region's tenant: 0 or 1.
pub(super) type At = usize;

/// A body, by what it is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) seed: u64,
    pub(super) len: usize,
}

/// The condition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    Absent,
    /// The tag it has now, or one that nothing has.
    Current,
    Stale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing reaches the store.
    Down,
    /// Of ten calls three fail, some of them after they were done.
    Flaky,
    /// What is read is cut short, or has a bit turned.
    Lies,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Put {
        at: At,
        key: usize,
        body: Body,
        class: Option<usize>,
        when: When,
    },
    /// A client that leaves in the middle of its body.
    PutCutOff {
        at: At,
        key: usize,
        body: Body,
    },
    /// A client whose body is not what its checksum says.
    PutSpoiled {
        at: At,
        key: usize,
        body: Body,
    },
    Get {
        at: At,
        key: usize,
        range: Option<(usize, usize)>,
    },
    Head {
        at: At,
        key: usize,
    },
    Delete {
        at: At,
        key: usize,
    },
    DeleteMany {
        at: At,
        keys: Vec<usize>,
    },
    List {
        at: At,
        prefix: &'static str,
        delimited: bool,
        page: i32,
    },
    Begin {
        at: At,
        key: usize,
        class: Option<usize>,
    },
    Part {
        upload: usize,
        number: i32,
        body: Body,
    },
    /// `chosen`: a bit for each part number.
    Complete {
        upload: usize,
        chosen: u8,
    },
    Abort {
        upload: usize,
    },
    /// The tenant knocks at the other region's door.
    Abroad {
        at: At,
        key: usize,
        write: bool,
    },
    Trouble {
        at: At,
        fault: Fault,
    },
    Heal {
        at: At,
    },
    Reclaim {
        at: At,
    },
    Restart,
}

/// What the choice of a next operation depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    /// Uploads begun so far, by either tenant.
    pub(super) uploads: usize,
    pub(super) troubled: [bool; 2],
}

/// The machine whose runs are tried.
#[derive(Debug)]
pub(super) struct Runs;

impl ReferenceStateMachine for Runs {
    type State = Course;
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<Course> {
        Just(Course::default()).boxed()
    }

    fn transitions(course: &Course) -> BoxedStrategy<Operation> {
        let at = 0..2_usize;
        let key = 0..KEYS.len();
        let class = proptest::option::weighted(0.4, 0..super::CLASSES.len());
        let when = prop_oneof![
            4 => Just(When::Always),
            2 => Just(When::Absent),
            2 => Just(When::Current),
            1 => Just(When::Stale),
        ];
        let objects = prop_oneof![
            8 => (at.clone(), key.clone(), body(), class.clone(), when)
                .prop_map(|(at, key, body, class, when)| Operation::Put { at, key, body, class, when }),
            1 => (at.clone(), key.clone(), body()).prop_map(|(at, key, body)| Operation::PutCutOff { at, key, body }),
            1 => (at.clone(), key.clone(), body()).prop_map(|(at, key, body)| Operation::PutSpoiled { at, key, body }),
            6 => (at.clone(), key.clone(), proptest::option::of((0..310_000_usize, 1..140_000_usize)))
                .prop_map(|(at, key, range)| Operation::Get { at, key, range }),
            2 => (at.clone(), key.clone()).prop_map(|(at, key)| Operation::Head { at, key }),
            3 => (at.clone(), key.clone()).prop_map(|(at, key)| Operation::Delete { at, key }),
            1 => (at.clone(), proptest::collection::vec(key.clone(), 1..4))
                .prop_map(|(at, keys)| Operation::DeleteMany { at, keys }),
            3 => (at.clone(), proptest::sample::select(vec!["", "a", "a/", "a/b", "patient=ü/", "nothing"]), any::<bool>(), 1..5_i32)
                .prop_map(|(at, prefix, delimited, page)| Operation::List { at, prefix, delimited, page }),
            1 => (at.clone(), key.clone(), any::<bool>()).prop_map(|(at, key, write)| Operation::Abroad { at, key, write }),
        ];
        let rest = prop_oneof![
            2 => (at.clone(), prop_oneof![Just(Fault::Down), Just(Fault::Flaky), Just(Fault::Lies)])
                .prop_map(|(at, fault)| Operation::Trouble { at, fault }),
            2 => at.clone().prop_map(|at| Operation::Heal { at }),
            2 => at.clone().prop_map(|at| Operation::Reclaim { at }),
            1 => Just(Operation::Restart),
        ];
        let begin = (at, key, class).prop_map(|(at, key, class)| Operation::Begin { at, key, class });
        if course.uploads == 0 {
            return prop_oneof![24 => objects, 4 => rest, 3 => begin].boxed();
        }
        let upload = 0..course.uploads;
        let parts = prop_oneof![
            4 => (upload.clone(), 1..4_i32, part()).prop_map(|(upload, number, body)| Operation::Part { upload, number, body }),
            3 => (upload.clone(), 1..15_u8).prop_map(|(upload, chosen)| Operation::Complete { upload, chosen }),
            1 => upload.prop_map(|upload| Operation::Abort { upload }),
        ];
        prop_oneof![24 => objects, 4 => rest, 2 => begin, 8 => parts].boxed()
    }

    fn apply(mut course: Course, operation: &Operation) -> Course {
        match operation {
            Operation::Begin { .. } => course.uploads += 1,
            Operation::Trouble { at, .. } => course.troubled[*at] = true,
            Operation::Heal { at } => course.troubled[*at] = false,
            Operation::Restart => course.troubled = [false; 2],
            _ => {}
        }
        course
    }

    fn preconditions(course: &Course, operation: &Operation) -> bool {
        match operation {
            Operation::Part { upload, .. }
            | Operation::Complete { upload, .. }
            | Operation::Abort { upload } => *upload < course.uploads,
            Operation::Heal { at } => course.troubled[*at],
            _ => true,
        }
    }
}

fn body() -> impl Strategy<Value = Body> {
    (any::<u64>(), proptest::sample::select(LENGTHS.to_vec())).prop_map(|(seed, len)| Body { seed, len })
}

/// Mostly small, so that most are good only as a last part.
fn part() -> impl Strategy<Value = Body> {
    let len = prop_oneof![5 => proptest::sample::select(LENGTHS.to_vec()), 1 => Just(PART_MIN), 1 => Just(PART_MIN + 70_001)];
    (any::<u64>(), len).prop_map(|(seed, len)| Body { seed, len })
}
