//! How a fuzzer's bytes become choices: numbers, slices, edits. Behind the end there are zeros, so every input means something.

/// Edits taken from one input: enough to combine a few, few enough to stay quick.
const EDITS_MAX: usize = 12;
/// Bytes of one edit before what it inserts: kind, place (two bytes), length.
const EDIT_BYTES: usize = 4;

/// An input that is being read.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next number of at most `max`, out of two bytes.
    pub(super) fn number(&mut self, max: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        number % (max + 1)
    }

    /// The next `count` bytes, or what is left.
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// `original` after the edits that the rest of the input lists. None listed: as it was.
    pub(super) fn edited(&mut self, original: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..EDITS_MAX {
            if self.0.len() < EDIT_BYTES {
                break;
            }
            self.edit(&mut bytes);
        }
        bytes
    }

    fn edit(&mut self, bytes: &mut Vec<u8>) {
        let kind = self.byte();
        let at = self.number(bytes.len());
        let length = usize::from(self.byte());
        let end = (at + length).min(bytes.len());
        match kind % 8 {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= u8::try_from(length).unwrap_or(1);
                }
            }
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let inserted = self.take(length).to_vec();
                bytes.splice(at..at, inserted);
            }
            4 => {
                let written = self.take(length);
                let end = (at + written.len()).min(bytes.len());
                bytes.splice(at..end, written.iter().copied());
            }
            // A slice again, elsewhere: what is authentic at one place must not be at another.
            5 => {
                let copy = bytes[at..end].to_vec();
                let to = self.number(bytes.len());
                bytes.splice(to..to, copy);
            }
            6 => {
                let moved: Vec<u8> = bytes.drain(at..end).collect();
                let to = self.number(bytes.len());
                bytes.splice(to..to, moved);
            }
            _ => {
                let copy = bytes[at..end].to_vec();
                let to = self.number(bytes.len());
                let end = (to + copy.len()).min(bytes.len());
                bytes.splice(to..end, copy);
            }
        }
    }
}
