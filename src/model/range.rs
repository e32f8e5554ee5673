//! Byte ranges: what a client asked for, and what that means for an object of a known size.

/// The one range form S3 honours: a single `bytes=` range (RFC 9110 §14.1.2). Everything else is ignored upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `bytes=first-`
    From(u64),
    /// `bytes=first-last`, both inclusive, `first <= last`.
    Inclusive(u64, u64),
    /// `bytes=-length`: the last `length` bytes.
    Suffix(u64),
}

/// A half-open range `start..end` that lies within its object and is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

/// What a [`RangeSpec`] means for an object of a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Answer 206 with these bytes.
    Partial(ByteRange),
    /// Answer 200 with everything: a suffix of an empty object, as S3 answers it.
    Whole,
    /// Answer 416.
    Unsatisfiable,
}

impl ByteRange {
    /// `start..end`, if it is not empty.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// First byte.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// One past the last byte.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Number of bytes, at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty by construction")]
    pub const fn len(&self) -> u64 {
        self.end - self.start
    }
}

impl RangeSpec {
    /// Resolves against an object of `size` bytes.
    pub fn resolve(self, size: u64) -> Resolved {
        let range = match self {
            Self::From(first) => ByteRange::new(first, size),
            Self::Inclusive(first, last) => ByteRange::new(first, last.saturating_add(1).min(size)),
            Self::Suffix(0) => None,
            Self::Suffix(_) if size == 0 => return Resolved::Whole,
            Self::Suffix(length) => ByteRange::new(size.saturating_sub(length), size),
        };
        range.map_or(Resolved::Unsatisfiable, Resolved::Partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_suffix_of_an_empty_object_is_the_whole_object() {
        assert_eq!(RangeSpec::Suffix(5).resolve(0), Resolved::Whole);
        assert_eq!(RangeSpec::Suffix(0).resolve(0), Resolved::Unsatisfiable);
        assert_eq!(RangeSpec::From(0).resolve(0), Resolved::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn a_resolved_range_is_what_slicing_gives(size in 0_u64..300, first in 0_u64..320, extra in 0_u64..320) {
            let last = first + extra;
            let model: Vec<u64> = (0..size).filter(|i| (first..=last).contains(i)).collect();
            match RangeSpec::Inclusive(first, last).resolve(size) {
                Resolved::Partial(r) => prop_assert_eq!((r.start()..r.end()).collect::<Vec<_>>(), model),
                Resolved::Whole => prop_assert!(false),
                Resolved::Unsatisfiable => prop_assert!(model.is_empty()),
            }
        }

        #[test]
        fn a_suffix_is_the_last_bytes(size in 1_u64..300, length in 1_u64..320) {
            let wanted = size.saturating_sub(length)..size;
            match RangeSpec::Suffix(length).resolve(size) {
                Resolved::Partial(r) => prop_assert_eq!(r.start()..r.end(), wanted),
                _ => prop_assert!(false),
            }
        }
    }
}
