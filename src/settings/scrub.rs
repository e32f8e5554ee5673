//! The scrubber's settings: how often, how fast, and whether it may remove anything.

use std::fmt;

use serde::Deserialize;
use toml::Spanned;

const DAY_S: u64 = 86_400;
const MIB: u64 = 1 << 20;

/// How a region is scrubbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// From the begin of one pass to the begin of the next, in seconds; 0: no pass but by `terroir scrub`.
    pub interval_s: u64,
    /// Bytes read from the store in a second, at most.
    pub bytes_per_s_max: u64,
    /// Blobs verified in a second, at most: each costs the store two requests.
    pub blobs_per_s_max: u64,
    /// The age of the oldest backup of the index that may be restored, in seconds: a blob that no index row names is not
    /// removed before it was known for that long, and one that was deleted not before [`Limits::reclaim_delay_s`](super::Limits),
    /// which is at least as long.
    pub restore_horizon_s: u64,
    /// Whether blobs of this region that no index row names are removed, once they were known for the horizon. Otherwise they are
    /// reported.
    pub remove_unknown: bool,
}

impl Default for Scrub {
    /// A pass a week; a 250 Mbit/s link shared, not filled; two requests a blob at a tenth of what a small store bears; a month of backups.
    fn default() -> Self {
        Self {
            interval_s: 7 * DAY_S,
            bytes_per_s_max: 16 * MIB,
            blobs_per_s_max: 100,
            restore_horizon_s: 30 * DAY_S,
            remove_unknown: false,
        }
    }
}

/// The section `[scrub]` as a file may have it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct ScrubFile {
    interval_s: Option<Spanned<u64>>,
    bytes_per_s_max: Option<Spanned<u64>>,
    blobs_per_s_max: Option<Spanned<u64>>,
    restore_horizon_s: Option<Spanned<u64>>,
    remove_unknown: Option<bool>,
}

impl ScrubFile {
    /// The settings in force, and what is out of range: where (a byte of the file), and the rule.
    pub(super) fn resolve(self) -> (Scrub, Vec<(usize, String)>) {
        let mut problems = Vec::new();
        let mut within = |name: &str, set: Option<Spanned<u64>>, default: u64, least: u64, most: u64| {
            let Some(set) = set else { return default };
            let value = *set.get_ref();
            if !(least..=most).contains(&value) {
                problems
                    .push((set.span().start, format!("scrub.{name} must lie between {least} and {most}")));
            }
            value
        };
        let usual = Scrub::default();
        let scrub = Scrub {
            interval_s: within("interval-s", self.interval_s, usual.interval_s, 0, 365 * DAY_S),
            bytes_per_s_max: within(
                "bytes-per-s-max",
                self.bytes_per_s_max,
                usual.bytes_per_s_max,
                64 << 10,
                100 << 30,
            ),
            blobs_per_s_max: within(
                "blobs-per-s-max",
                self.blobs_per_s_max,
                usual.blobs_per_s_max,
                1,
                100_000,
            ),
            // An hour at least: longer than a request lasts whose blobs are not in the index yet.
            restore_horizon_s: within(
                "restore-horizon-s",
                self.restore_horizon_s,
                usual.restore_horizon_s,
                3_600,
                3_650 * DAY_S,
            ),
            remove_unknown: self.remove_unknown.unwrap_or(usual.remove_unknown),
        };
        (scrub, problems)
    }
}

impl fmt::Display for Scrub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scrub.interval-s = {}", self.interval_s)?;
        writeln!(f, "scrub.bytes-per-s-max = {}", self.bytes_per_s_max)?;
        writeln!(f, "scrub.blobs-per-s-max = {}", self.blobs_per_s_max)?;
        writeln!(f, "scrub.restore-horizon-s = {}", self.restore_horizon_s)?;
        writeln!(f, "scrub.remove-unknown = {}", self.remove_unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn of(section: &str) -> Result<Scrub, String> {
        let text = format!("environment = \"prod\"\n[scrub]\n{section}\n");
        Settings::parse("f", &text).map(|settings| settings.scrub).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_removed_unless_the_operator_says_so() {
        assert_eq!(of(""), Ok(Scrub::default()));
        assert!(!Scrub::default().remove_unknown);
        assert!(of("remove-unknown = true").unwrap().remove_unknown);
    }

    #[test]
    fn the_defaults_lie_in_their_own_ranges() {
        let said = Scrub::default().to_string();
        let text = said.lines().filter_map(|line| line.strip_prefix("scrub.")).collect::<Vec<_>>().join("\n");
        assert_eq!(of(&text), Ok(Scrub::default()));
    }

    #[test]
    fn a_horizon_shorter_than_a_request_is_refused() {
        let refused = of("interval-s = 0\nrestore-horizon-s = 60").unwrap_err();
        assert!(refused.contains("f:4: scrub.restore-horizon-s must lie between 3600"), "{refused}");
        assert!(of("blobs-per-s-max = 0").is_err() && of("bytes-per-s-max = 1").is_err());
        assert!(of("remove = true").is_err());
    }
}
