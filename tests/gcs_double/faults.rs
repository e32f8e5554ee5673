//! Faults on command: which call, what happens to it, how often. Seeded, so that a run can be repeated.

use bytes::{Bytes, BytesMut};

/// The calls that a fault can be put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// An upload's request.
    Upload,
    /// A download.
    Download,
    /// A gRPC call.
    Control,
    /// A request for a token.
    Token,
    /// Anything else.
    Other,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer comes late, by this many milliseconds.
    Latency { ms: u64 },
    /// This status is answered (or the gRPC code that stands for it), and nothing is done.
    Refuse { status: u16 },
    /// The connection breaks before anything is done.
    Reset,
    /// What was asked is done, and the connection breaks before the answer.
    LoseAnswer,
    /// The body of the answer breaks off after this many bytes, short of its declared length.
    BreakOff { after_bytes: usize },
    /// The body of the answer is this much shorter, and so is its declared length.
    Shorten { by_bytes: usize },
    /// The body of the answer has bytes too many.
    Lengthen { by_bytes: usize },
    /// A bit of the answer's body is flipped; of an upload's, on its way here.
    Flip { at_byte: usize },
    /// The range asked for is ignored: the whole object comes.
    IgnoreRange,
    /// The answer is a redirect.
    Redirect { to: String },
    /// A page of a listing comes without names, with a token for the next one.
    EmptyPage,
}

impl Fault {
    /// As commands call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Refuse { .. } => "refuse",
            Self::Reset => "reset",
            Self::LoseAnswer => "lose-answer",
            Self::BreakOff { .. } => "break-off",
            Self::Shorten { .. } => "shorten",
            Self::Lengthen { .. } => "lengthen",
            Self::Flip { .. } => "flip",
            Self::IgnoreRange => "ignore-range",
            Self::Redirect { .. } => "redirect",
            Self::EmptyPage => "empty-page",
        }
    }
}

/// The bytes with one bit wrong, counted around.
pub(crate) fn flipped(bytes: &[u8], at_byte: usize) -> Bytes {
    let mut flipped = BytesMut::from(bytes);
    if !bytes.is_empty() {
        flipped[at_byte % bytes.len()] ^= 1;
    }
    flipped.freeze()
}

#[derive(Clone, Debug)]
struct Rule {
    on: Call,
    what: Fault,
    /// How often still; `None`: always.
    left: Option<u32>,
    /// In how many of a thousand calls.
    per_mille: u32,
}

/// The faults that are set.
#[derive(Debug)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
    random: u64,
    injected: u64,
}

impl Faults {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { rules: Vec::new(), random: seed, injected: 0 }
    }

    /// The next `times` calls of this kind meet the fault; `None`: all.
    pub(crate) fn set(&mut self, on: Call, what: Fault, times: Option<u32>) {
        self.rules.push(Rule { on, what, left: times, per_mille: 1000 });
    }

    /// Of all calls of this kind, this share meets the fault.
    pub(crate) fn set_rate(&mut self, on: Call, what: Fault, per_mille: u32) {
        self.rules.push(Rule { on, what, left: None, per_mille });
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// How many were injected.
    pub(crate) fn injected(&self) -> u64 {
        self.injected
    }

    /// What happens to this call: the first rule that fits it.
    pub(crate) fn next(&mut self, call: Call) -> Option<Fault> {
        for at in 0..self.rules.len() {
            if self.rules[at].on != call || self.rules[at].left == Some(0) {
                continue;
            }
            // SplitMix64 (Steele, Lea, Flood 2014).
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.random;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let rule = &mut self.rules[at];
            if (z ^ (z >> 31)) % 1000 < u64::from(rule.per_mille) {
                rule.left = rule.left.map(|left| left - 1);
                self.injected += 1;
                return Some(rule.what.clone());
            }
        }
        None
    }
}
