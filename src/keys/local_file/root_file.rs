//! The content of a root's file: a few lines of text with a digest at the end, so that damage is seen before it is used.
//!
//! ```text
//! terroir-root-key 1
//! root fr.00112233445566778899aabbccddeeff
//! state enabled                       | disabled | scheduled <ms> | destroyed
//! version 1 1795458123045 <64 hex digits>
//! digest <64 hex digits>              SHA-256 of every line above
//! ```

use std::fmt::Write;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::RootFileError;
use crate::keys::{RootRef, RootState, RootStatus};
use crate::model::{Entropy, Secret, Timestamp};

const FIRST_LINE: &str = "terroir-root-key 1";

/// Versions of a root: one a month for eight years. A KEK under an older one is re-wrapped, and older ones are few.
pub(super) const VERSIONS_MAX: usize = 100;

/// A root: its state and every version of its key, oldest first.
#[derive(Debug)]
pub(super) struct RootFile {
    pub(super) state: RootState,
    pub(super) versions: Vec<Version>,
}

/// One version of a root key.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) number: u32,
    pub(super) created: Timestamp,
    pub(super) key: Secret<[u8; 32]>,
}

impl RootFile {
    /// Reads the lines; every one must be as [`RootFile::encode`] writes it, for this root.
    pub(super) fn parse(text: &str, root: &RootRef) -> Result<Self, RootFileError> {
        let corrupt = |what| move || RootFileError::Corrupt(what);
        let (body, digest) = text.rsplit_once("digest ").ok_or_else(corrupt("no digest"))?;
        if digest.trim_end_matches('\n') != hex::encode(Sha256::digest(body)) {
            return Err(RootFileError::Corrupt("the digest does not fit"));
        }
        let mut lines = body.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(RootFileError::Corrupt("an unknown format"));
        }
        let named = lines.next().and_then(|line| line.strip_prefix("root "));
        if named != Some(root.to_string().as_str()) {
            return Err(RootFileError::Corrupt("the file is of another root"));
        }
        let state = lines.next().and_then(|line| line.strip_prefix("state "));
        let state = state.and_then(parse_state).ok_or_else(corrupt("no state"))?;
        let versions: Option<Vec<Version>> = lines.take(VERSIONS_MAX + 1).map(parse_version).collect();
        let versions = versions.ok_or_else(corrupt("a version"))?;
        let ascending = versions.windows(2).all(|pair| pair[0].number < pair[1].number);
        if !ascending
            || versions.len() > VERSIONS_MAX
            || (versions.is_empty() != (state == RootState::Destroyed))
        {
            return Err(RootFileError::Corrupt("the versions"));
        }
        Ok(Self { state, versions })
    }

    /// The lines of this root.
    pub(super) fn encode(&self, root: &RootRef) -> Zeroizing<String> {
        // Reserved at once, so that no half-written copy of a key is left behind by a growing string.
        let mut text = Zeroizing::new(String::with_capacity(512 + self.versions.len() * 128));
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{FIRST_LINE}\nroot {root}");
        let _ = match self.state {
            RootState::Scheduled(at) => writeln!(text, "state scheduled {}", at.millis()),
            state => writeln!(text, "state {}", state_word(state)),
        };
        for version in &self.versions {
            let key = Zeroizing::new(hex::encode(version.key.expose()));
            let _ = writeln!(text, "version {} {} {}", version.number, version.created.millis(), *key);
        }
        let digest = hex::encode(Sha256::digest(text.as_bytes()));
        let _ = writeln!(text, "digest {digest}");
        text
    }

    /// Adds a random newest version and returns its number.
    pub(super) fn add_version(
        &mut self,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<u32, RootFileError> {
        if self.versions.len() >= VERSIONS_MAX {
            return Err(RootFileError::TooManyVersions { count_max: VERSIONS_MAX });
        }
        let number = self.versions.last().map_or(0, |version| version.number) + 1;
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(key.as_mut())?;
        self.versions.push(Version { number, created: now, key: Secret::new(*key) });
        Ok(number)
    }

    pub(super) fn status(&self) -> RootStatus {
        RootStatus { state: self.state, version: self.versions.last().map_or(0, |version| version.number) }
    }
}

/// A state in one word.
pub(super) const fn state_word(state: RootState) -> &'static str {
    match state {
        RootState::Enabled => "enabled",
        RootState::Disabled => "disabled",
        RootState::Scheduled(_) => "scheduled",
        RootState::Destroyed => "destroyed",
    }
}

fn parse_state(text: &str) -> Option<RootState> {
    match text {
        "enabled" => Some(RootState::Enabled),
        "disabled" => Some(RootState::Disabled),
        "destroyed" => Some(RootState::Destroyed),
        _ => text
            .strip_prefix("scheduled ")?
            .parse()
            .ok()
            .map(Timestamp::from_millis)
            .map(RootState::Scheduled),
    }
}

fn parse_version(line: &str) -> Option<Version> {
    let mut words = line.strip_prefix("version ")?.split(' ');
    let (number, created, hex_key) = (words.next()?, words.next()?, words.next()?);
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(hex_key, key.as_mut()).ok()?;
    let number = number.parse().ok().filter(|number| *number > 0 && words.next().is_none())?;
    Some(Version { number, created: Timestamp::from_millis(created.parse().ok()?), key: Secret::new(*key) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SystemEntropy, TenantCode};

    fn root() -> RootRef {
        RootRef::Tenant("fr".parse().unwrap(), TenantCode::from_bytes([7; 16]))
    }

    fn file(state: RootState, versions: usize) -> RootFile {
        let mut file = RootFile { state, versions: Vec::new() };
        for at in 0..versions {
            file.add_version(Timestamp::from_seconds(at as u64), &SystemEntropy).unwrap();
        }
        file
    }

    #[test]
    fn a_root_file_reads_back_in_every_state() {
        let states = [
            (RootState::Enabled, 1),
            (RootState::Disabled, 3),
            (RootState::Scheduled(Timestamp::from_seconds(9)), 2),
            (RootState::Destroyed, 0),
        ];
        for (state, versions) in states {
            let written = file(state, versions);
            let read = RootFile::parse(&written.encode(&root()), &root()).unwrap();
            assert_eq!(read.status(), written.status());
            for (read, written) in read.versions.iter().zip(&written.versions) {
                assert_eq!((read.number, read.created), (written.number, written.created));
                assert_eq!(read.key.expose(), written.key.expose());
            }
        }
    }

    #[test]
    fn any_changed_byte_of_a_root_file_is_found() {
        let good = file(RootState::Enabled, 2).encode(&root());
        for at in 0..good.len() {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            // The newline after the digest carries nothing.
            if at + 1 < good.len() {
                assert!(RootFile::parse(&text, &root()).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_cut_root_file_is_found() {
        let good = file(RootState::Enabled, 2).encode(&root());
        for end in 0..good.len() - 1 {
            assert!(RootFile::parse(&good[..end], &root()).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_root_file_copied_over_another_is_refused() {
        let good = file(RootState::Enabled, 1).encode(&root());
        assert!(RootFile::parse(&good, &RootRef::Region("fr".parse().unwrap())).is_err());
    }

    #[test]
    fn a_destroyed_root_that_still_holds_a_key_is_refused() {
        let text = file(RootState::Destroyed, 1).encode(&root());
        assert!(RootFile::parse(&text, &root()).is_err());
    }

    #[test]
    fn versions_are_bounded() {
        let mut full = file(RootState::Enabled, VERSIONS_MAX);
        assert!(matches!(
            full.add_version(Timestamp::default(), &SystemEntropy),
            Err(RootFileError::TooManyVersions { .. })
        ));
    }
}
