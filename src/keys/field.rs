//! Small sealed fields, as the envelope's format defines them, under a key of the ring.

use std::fmt;
use std::sync::Arc;

use super::KeysError;
use crate::envelope;
use crate::model::{Entropy, Environment, RegionId, Secret};

/// A key for small sealed fields of one purpose (directory rows, locks, pseudonyms), from the region's own KEK.
pub struct FieldKey {
    epoch: u32,
    family: envelope::FieldKey,
    entropy: Arc<dyn Entropy>,
}

impl FieldKey {
    pub(super) fn derive(
        kek: &Secret<[u8; 32]>,
        epoch: u32,
        scope: &(Environment, RegionId),
        purpose: &str,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, KeysError> {
        // Slugs hold no slash and purposes are constants, so these are three parts and not four.
        let purpose = format!("{}/{}/{purpose}", scope.0, scope.1);
        Ok(Self { epoch, family: family(kek, &purpose)?, entropy })
    }

    /// The epoch of the region's KEK it comes from. Sealed fields carry it.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The epoch a sealed field was sealed under; `None` if it is not a sealed field.
    pub fn epoch_of(sealed: &[u8]) -> Option<u32> {
        sealed.first_chunk().map(|epoch| u32::from_be_bytes(*epoch)).filter(|epoch| *epoch > 0)
    }

    /// Seals `clear`, bound to every part of `bound_to`. The result is the epoch (u32, big-endian) and a field of the
    /// envelope's format.
    pub fn seal(&self, bound_to: &[&[u8]], clear: &[u8]) -> Result<Vec<u8>, KeysError> {
        let epoch = self.epoch.to_be_bytes();
        let mut sealed = epoch.to_vec();
        sealed.extend(seal(&self.family, &*self.entropy, &with_epoch(&epoch, bound_to), clear)?);
        Ok(sealed)
    }

    /// Opens what [`FieldKey::seal`] made with a key of the same purpose and epoch and the same `bound_to`.
    pub fn open(&self, bound_to: &[&[u8]], sealed: &[u8]) -> Result<Secret<Vec<u8>>, KeysError> {
        let (epoch, field) = sealed.split_first_chunk::<4>().ok_or(KeysError::FieldCorrupt)?;
        if *epoch != self.epoch.to_be_bytes() {
            return Err(KeysError::FieldCorrupt);
        }
        open(&self.family, &with_epoch(epoch, bound_to), field)
    }

    /// A keyed hash of `parts`: a name for logs and records that says nothing without this key. Stable for the epoch.
    pub fn pseudonym(&self, parts: &[&[u8]]) -> Result<[u8; 32], KeysError> {
        self.family.pseudonym(parts).map_err(|_| KeysError::FieldCorrupt)
    }

    /// A key to be handed to a module that makes its own keyed hashes. Stable for the epoch.
    pub fn pseudonym_key(&self) -> Result<Secret<[u8; 32]>, KeysError> {
        self.pseudonym(&[b"a key of its own"]).map(Secret::new)
    }
}

impl fmt::Debug for FieldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldKey(epoch {})", self.epoch)
    }
}

pub(super) fn family(secret: &Secret<[u8; 32]>, purpose: &str) -> Result<envelope::FieldKey, KeysError> {
    envelope::FieldKey::derive(secret.expose(), purpose).map_err(|_| KeysError::FieldCorrupt)
}

pub(super) fn seal(
    family: &envelope::FieldKey,
    entropy: &dyn Entropy,
    bound_to: &[&[u8]],
    clear: &[u8],
) -> Result<Vec<u8>, KeysError> {
    let mut random = |out: &mut [u8]| entropy.fill(out).map_err(|_| envelope::RandomFailed);
    family.seal(bound_to, clear, &mut random).map_err(|error| match error {
        envelope::EnvelopeError::Random => KeysError::Entropy(crate::model::EntropyError),
        _ => KeysError::FieldCorrupt,
    })
}

pub(super) fn open(
    family: &envelope::FieldKey,
    bound_to: &[&[u8]],
    sealed: &[u8],
) -> Result<Secret<Vec<u8>>, KeysError> {
    let mut opened = family.open(bound_to, sealed).map_err(|_| KeysError::FieldCorrupt)?;
    Ok(Secret::new(std::mem::take(&mut *opened)))
}

fn with_epoch<'a>(epoch: &'a [u8], bound_to: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut parts = vec![epoch];
    parts.extend_from_slice(bound_to);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemEntropy;

    #[test]
    fn one_kek_makes_another_key_for_every_environment_region_and_purpose() {
        let kek = Secret::new([7; 32]);
        let key = |environment: &str, region: &str, purpose: &str| {
            let scope = (environment.parse().unwrap(), region.parse().unwrap());
            FieldKey::derive(&kek, 1, &scope, purpose, Arc::new(SystemEntropy)).unwrap()
        };
        let sealed = key("prod", "fr", "directory").seal(&[b"row"], b"clear").unwrap();
        assert!(key("prod", "fr", "directory").open(&[b"row"], &sealed).is_ok());
        for (environment, region, purpose) in
            [("test", "fr", "directory"), ("prod", "us", "directory"), ("prod", "fr", "locks")]
        {
            let opened = key(environment, region, purpose).open(&[b"row"], &sealed);
            assert!(opened.is_err(), "{environment} {region} {purpose}");
        }
    }
}
