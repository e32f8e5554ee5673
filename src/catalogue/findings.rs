//! What checks found: every finding with its file, line, check, and what to do about it.

use std::fmt;

/// What a finding keeps from happening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The catalogue does not load: nothing is served.
    Broken,
    /// The catalogue loads, `check` fails: something is refused at run time until it is put right.
    Lapsed,
    /// To be known; nothing is refused.
    Advice,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "broken",
            Self::Lapsed => "lapsed",
            Self::Advice => "advice",
        })
    }
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, as it was named when it was loaded.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What it keeps from happening.
    pub severity: Severity,
    /// The check's name: stable, kebab-case.
    pub check: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, severity, check, message, fix } = self;
        write!(f, "{file}:{line}: {severity} [{check}] {message}; {fix}")
    }
}

/// All findings of one load, in the order of files and lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(mut list: Vec<Finding>) -> Self {
        list.sort();
        list.dedup();
        Self { list }
    }

    /// Every finding.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.list.iter()
    }

    /// How many there are of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the catalogue must not be loaded.
    pub fn are_broken(&self) -> bool {
        self.count(Severity::Broken) > 0
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.list {
            writeln!(f, "{finding}")?;
        }
        write!(
            f,
            "{} broken, {} lapsed, {} advice",
            self.count(Severity::Broken),
            self.count(Severity::Lapsed),
            self.count(Severity::Advice)
        )
    }
}
