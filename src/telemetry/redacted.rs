//! A wrapper for what must be carried through printable structures but not be printed.

use std::fmt;

/// Prints as `[redacted]` in `Debug` and `Display`, whatever is inside.
///
/// For names of records, header values and addresses inside error contexts and spans. Secrets use [`crate::model::Secret`],
/// which also wipes them.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Hides `value` from printing.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself.
    pub const fn reveal(&self) -> &T {
        &self.0
    }

    /// The value itself, taken out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Redacted<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_display_shows_the_value() {
        let hidden = Redacted::new("jeanne-martin");
        assert_eq!(format!("{hidden:?} {hidden} {hidden:#?}"), "[redacted] [redacted] [redacted]");
        assert_eq!(*hidden.reveal(), "jeanne-martin");
    }
}
