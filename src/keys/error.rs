//! What can go wrong with keys. Cloneable, because one refresh answers many waiting requests.

use crate::database::{AddressError, DemandError};
use crate::model::EntropyError;

/// A KMS's answer when it is not a key. Every provider maps onto these seven and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// No answer, or one that says "later". The only kind that is retried and that a stale window covers.
    #[error("the KMS cannot be reached: {0}")]
    Unavailable(&'static str),
    /// The KMS knows us and refuses, or has no such root for us.
    #[error("the KMS denies the use of this root key")]
    Denied,
    /// The root is disabled; it can be enabled again.
    #[error("the root key is disabled")]
    Disabled,
    /// The root waits for its destruction; that can still be cancelled.
    #[error("the root key is scheduled for destruction")]
    ScheduledForDestruction,
    /// The root is gone for good, and what it wrapped with it.
    #[error("the root key is destroyed")]
    Destroyed,
    /// The wrapped key belongs to another tenant, class, epoch, region or environment.
    #[error("the wrapped key is bound to another context")]
    WrongContext,
    /// The wrapped key, or the root itself, is not what was written.
    #[error("the wrapped key is corrupt")]
    Corrupt,
}

impl KmsError {
    /// Whether the same call may succeed a moment later. Everything else fails closed at once.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// The key store failed. Names no path, no key, no tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be read or written now.
    #[error("the key store cannot be used: {0}")]
    Unavailable(String),
    /// A row does not parse, or contradicts another.
    #[error("the key store holds a record that makes no sense: {0}")]
    Corrupt(&'static str),
    /// Its database server would not keep what it acknowledged, or takes no writes.
    #[error("the key store's database may not be used")]
    Demand(#[from] DemandError),
    /// Its connection URL may not be used.
    #[error("the key store's connection URL may not be used")]
    Address(#[from] AddressError),
    /// The file can be read by others than its owner.
    #[error("the key store can be read by others than its owner (mode must be 0600)")]
    Exposed,
    /// Written by a newer release.
    #[error("the key store has schema {found}, newer than {known}")]
    NewerSchema {
        /// What the file says.
        found: i64,
        /// What this release knows.
        known: i64,
    },
}

/// A key cannot be had, or a verb on keys is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The KMS.
    #[error("no key from the KMS")]
    Kms(#[from] KmsError),
    /// The key store.
    #[error("no key from the key store")]
    Store(#[from] StoreError),
    /// Randomness.
    #[error("no new key")]
    Entropy(#[from] EntropyError),
    /// No such KEK or epoch for this tenant and class.
    #[error("no such KEK")]
    UnknownKek,
    /// That epoch was retired; nothing can be opened with it any more.
    #[error("this epoch of the KEK is retired")]
    Retired,
    /// Records still name the epoch.
    #[error("the epoch is still named by {records} records")]
    InUse {
        /// How many.
        records: u64,
    },
    /// The newest epoch cannot be retired: new writes use it.
    #[error("the current epoch cannot be retired; rotate first")]
    CurrentEpoch,
    /// The next epoch is too young: a process that has not seen it may still seal under the old one.
    #[error("another process may still use the epoch; retire it in {seconds} s")]
    TooSoon {
        /// How long to wait.
        seconds: u64,
    },
    /// A KEK has at most [`super::EPOCHS_MAX`] epochs.
    #[error("no more epochs for this KEK (at most {epochs_max})")]
    TooManyEpochs {
        /// The limit.
        epochs_max: u32,
    },
    /// Class code 0 is the region's own.
    #[error("class code 0 is reserved for the region's own keys")]
    ReservedClass,
    /// The key store has keys under a root that the KMS does not have, or no longer lets us see.
    #[error("keys hang from a root that the KMS does not have: it is put back, never made anew")]
    RootLost,
    /// More keys are being fetched at once than the cache may hold.
    #[error("too many keys are being fetched at once")]
    Overloaded,
    /// A sealed field does not open.
    #[error("a sealed field does not open: it is corrupt, or was sealed for another place")]
    FieldCorrupt,
    /// The key store belongs to another region or environment, or its canary does not open.
    #[error("the canary refuses this process: {0}")]
    Canary(&'static str),
    /// A setting is out of its bounds.
    #[error("a setting of the key ring is out of bounds: {0}")]
    Settings(&'static str),
}

impl KeysError {
    /// Whether the same call may succeed a moment later (a 503 with Retry-After rather than one that an operator must look at).
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Kms(error) => error.is_retryable(),
            Self::Store(StoreError::Unavailable(_)) | Self::Overloaded => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreachable_is_retryable() {
        assert!(KmsError::Unavailable("timeout").is_retryable());
        for error in [
            KmsError::Denied,
            KmsError::Disabled,
            KmsError::ScheduledForDestruction,
            KmsError::Destroyed,
            KmsError::WrongContext,
            KmsError::Corrupt,
        ] {
            assert!(!error.is_retryable(), "{error}");
            assert!(!KeysError::from(error).is_retryable(), "{error}");
        }
    }
}
