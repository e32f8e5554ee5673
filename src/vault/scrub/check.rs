//! One live blob, verified: there, of the right length, and every byte of it opens under its owner's record.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::blobs::{ErrorKind, Location};
use crate::envelope::{EnvelopeError, Implementation};
use crate::index::{BlobStanding, LiveBlob};
use crate::shares::Refusal;

use super::super::memory::{Exhausted, Lease};
use super::super::{Decided, Vault, VaultError};
use super::owner::{Listed, Opened, Owner};

/// The implementation that did not seal the bodies: writers use the other one.
const VERIFIER: Implementation = Implementation::AesGcm;

/// Beside the sealed bytes, verifying holds one clear segment (64 KiB) at a time.
const SEGMENT_BYTES: u64 = 64 << 10;

/// How long verifying waits for memory that requests do not use. It never stands in their queue, so it may have to look often.
const MEMORY_WAIT: Duration = Duration::from_secs(20);
const MEMORY_LOOK: Duration = Duration::from_millis(50);

/// What came of verifying a blob.
#[derive(Debug)]
pub enum Checked {
    /// Every byte opens.
    Verified {
        /// How many.
        bytes: u64,
    },
    /// It stopped being live meanwhile: replaced, deleted, aborted.
    Gone,
    /// The index has it, the store does not.
    Missing,
    /// It is not what was written, and was not when it was read a second time.
    Corrupt(VaultError),
    /// Store, keys or memory could not be had: says nothing about the blob.
    Unreadable(VaultError),
}

impl Vault {
    /// Verifies one of an owner's live blobs. At most two reads of it, one blob's bytes of memory, out of the budget that
    /// requests have and never waited for in their queue.
    ///
    /// A finding stands only if the blob is live after it was made. Errors are the index's: nothing can be said then.
    pub async fn check(
        &self,
        decided: &Decided,
        owner: &mut Owner,
        live: &LiveBlob,
    ) -> Result<Checked, VaultError> {
        owner.is_shown_one_more();
        let mut checked = self.examine(decided, owner, live).await;
        if matches!(checked, Checked::Corrupt(_)) {
            // Bytes can be damaged on their way, too: what is wrong with the blob is wrong twice.
            checked = self.examine(decided, owner, live).await;
        }
        if let Checked::Unreadable(VaultError::Index(error)) = checked {
            return Err(VaultError::Index(error));
        }
        if matches!(checked, Checked::Missing | Checked::Corrupt(_)) && !self.is_live(live).await? {
            return Ok(Checked::Gone);
        }
        Ok(checked)
    }

    /// Whether the index still has the blob as live.
    pub async fn is_live(&self, live: &LiveBlob) -> Result<bool, VaultError> {
        let standing = self.parts.index.blob_standing(&[live.blob]).await?;
        Ok(standing.first() == Some(&BlobStanding::Live))
    }

    async fn examine(&self, decided: &Decided, owner: &mut Owner, live: &LiveBlob) -> Checked {
        match self.examined(decided, owner, live).await {
            Ok(checked) => checked,
            Err(error) => sorted(error),
        }
    }

    async fn examined(
        &self,
        decided: &Decided,
        owner: &mut Owner,
        live: &LiveBlob,
    ) -> Result<Checked, VaultError> {
        let at = Location::of(decided, live.blob);
        let length = match self.parts.store.head(&at).await {
            Ok(info) => info.len,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Checked::Missing),
            Err(error) => return Err(VaultError::Store(error)),
        };
        let listed = owner.listed(self, decided, live).await?;
        if length != listed.stored_bytes() {
            return Err(VaultError::Corrupt { what: "a blob's length is not the one written", source: None });
        }
        if length != live.stored_bytes {
            let what = "the index row of a blob disagrees with the sealed manifest";
            return Err(VaultError::Corrupt { what, source: None });
        }
        let lease = self.spare_memory(decided, length + SEGMENT_BYTES).await?;
        let sealed = match self.parts.store.read(&at, 0..length).await {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Checked::Missing),
            Err(error) => return Err(VaultError::reading(error)),
        };
        let opened = Arc::clone(&owner.opened);
        // Milliseconds of computing per blob: not on a thread that answers requests.
        let verified = tokio::task::spawn_blocking(move || {
            let verified = verify(&opened, &listed, &sealed);
            drop(lease);
            verified
        });
        verified.await.map_err(|_| VaultError::Interrupted)?.map_err(VaultError::opening)?;
        Ok(Checked::Verified { bytes: length })
    }

    /// Memory that no request uses or waits for: a wait in the budget's own queue would stand in front of requests.
    async fn spare_memory(&self, decided: &Decided, bytes: u64) -> Result<Lease, VaultError> {
        let look = async {
            loop {
                if let Some(lease) = self.parts.memory.try_lease(decided, bytes) {
                    return lease;
                }
                tokio::time::sleep(MEMORY_LOOK).await;
            }
        };
        tokio::time::timeout(MEMORY_WAIT, look)
            .await
            .map_err(|_| VaultError::Exhausted(Exhausted::from(Refusal::Late)))
    }
}

fn verify(opened: &Opened, listed: &Listed, sealed: &Bytes) -> Result<(), EnvelopeError> {
    match (opened, listed) {
        (Opened::Version { open, record, .. }, Listed::Record { .. }) => open.verify_record(record, sealed),
        (Opened::Version { open, kek, .. }, Listed::Body(entry)) => {
            open.verify_blob(entry, sealed, kek, None, VERIFIER)
        }
        (Opened::Upload { open, sealing, .. }, Listed::Body(entry)) => {
            open.verify_blob(entry, sealed, &sealing.kek, None, VERIFIER)
        }
        // An upload's record has no blob of its own.
        (Opened::Upload { .. }, Listed::Record { .. }) => Err(EnvelopeError::WrongKind),
    }
}

/// A failure is a finding only if it is about the bytes. What is wrong with the index, damage to one of its rows included, says
/// nothing about a blob.
fn sorted(error: VaultError) -> Checked {
    let is_index = matches!(error, VaultError::Index(_));
    if error.is_corruption() && !is_index { Checked::Corrupt(error) } else { Checked::Unreadable(error) }
}
