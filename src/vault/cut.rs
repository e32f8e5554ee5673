//! A body of any length, cut into blobs: filled from the source as it arrives, sealed in memory, uploaded a few at a time.

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::blobs::{self, BLOB_BYTES_MAX, Location};
use crate::envelope::{BlobEntry, BodySealer, Sealed, SealedBody, record_entries_max};
use crate::index::BLOBS_PER_COMMIT_MAX;
use crate::model::{BlobId, Checksum};
use crate::placement::Placement;
use crate::shares::away;
use crate::telemetry::{Stage, carry, stage};

use super::debris::Debris;
use super::memory::Lease;
use super::sealing::{Sealing, random};
use super::source::Source;
use super::{Vault, VaultError, WriteError};

/// Memory beside the clear bytes of a blob: its head and the overhead of its segments (0.05 %), rounded up.
pub(super) const HEAD_BYTES: u64 = 32 * 1024;

/// The most blobs of a version, padding included: their list is sealed into one blob, and no store takes a longer one than
/// [`BLOB_BYTES_MAX`]. With blobs of 8 MiB 1.1 TiB.
pub(super) const RECORD_BLOBS_MAX: u64 = record_entries_max(BLOB_BYTES_MAX);

// What one commit names is never too much for the record, so a PUT and padding need no second limit.
const _: () = assert!(BLOBS_PER_COMMIT_MAX as u64 <= RECORD_BLOBS_MAX);

/// Refuses what no record has room for: `blobs` of parts, and `padding` bytes behind them in blobs of `max`.
pub(super) fn recordable(blobs: usize, padding: u64, max: u64) -> Result<(), VaultError> {
    let all = (blobs as u64).saturating_add(padding.div_ceil(max));
    if all <= RECORD_BLOBS_MAX { Ok(()) } else { Err(VaultError::TooLarge) }
}

/// A source, and what of its last piece did not fit into the blob before.
#[derive(Debug)]
pub(super) struct Feed<S> {
    source: S,
    pending: Bytes,
}

impl<S: Source> Feed<S> {
    pub(super) fn new(source: S) -> Self {
        Self { source, pending: Bytes::new() }
    }

    /// Clear bytes in all.
    pub(super) fn clear_bytes(&self) -> u64 {
        self.source.clear_bytes()
    }

    /// Puts the next `wanted` bytes into `sealer`.
    async fn fill(
        &mut self,
        sealer: &mut BodySealer,
        mut wanted: u64,
        vault: &Vault,
    ) -> Result<(), WriteError<S::Error>> {
        while wanted > 0 {
            if self.pending.is_empty() {
                match away(self.source.next()).await.map_err(WriteError::Body)? {
                    Some(piece) => self.pending = piece,
                    // A source that ends early breaks its contract.
                    None => return Err(VaultError::Interrupted.into()),
                }
                continue;
            }
            let take = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.pending.len());
            let piece = self.pending.split_to(take);
            sealer.push(&piece, &mut random(vault.entropy())).map_err(VaultError::Seal)?;
            wanted -= take as u64;
        }
        Ok(())
    }

    /// Waits for the verdict on the whole body. Nothing may be committed before it.
    pub(super) async fn verified(&mut self) -> Result<Vec<Checksum>, WriteError<S::Error>> {
        while self.pending.is_empty() {
            match away(self.source.next()).await.map_err(WriteError::Body)? {
                None => return Ok(self.source.verified()),
                Some(piece) => self.pending = piece,
            }
        }
        // More bytes than declared: a source that does this breaks its contract.
        Err(VaultError::Interrupted.into())
    }
}

/// How long one blob of a cut is: clear bytes, then padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Length {
    pub(super) clear: u64,
    pub(super) padding: u64,
}

impl Length {
    /// Memory for it while it is filled, sealed and sent.
    pub(super) const fn bytes(self) -> u64 {
        self.clear + self.padding + HEAD_BYTES
    }
}

/// [`lengths`], if one commit of the index takes as many blobs, the record's own included. To be asked before the first byte is
/// read: afterwards the refusal would come when everything had been uploaded.
fn committable(clear: u64, padding: u64, max: u64) -> Option<Vec<Length>> {
    let blobs = clear.checked_add(padding)?.div_ceil(max);
    (blobs < BLOBS_PER_COMMIT_MAX as u64).then(|| lengths(clear, padding, max))
}

/// The lengths of the blobs that `clear` bytes and `padding` behind them are cut into: at least one, none over `max`.
fn lengths(clear: u64, padding: u64, max: u64) -> Vec<Length> {
    let mut lengths = Vec::new();
    let (mut clear, mut padding) = (clear, padding);
    loop {
        let here = clear.min(max);
        let behind = padding.min(max - here);
        lengths.push(Length { clear: here, padding: behind });
        clear -= here;
        padding -= behind;
        if clear == 0 && padding == 0 {
            return lengths;
        }
    }
}

impl Vault {
    /// The cut of a write of `clear` bytes and `padding`; `TooLarge` for more blobs than the index commits at once.
    pub(super) fn cut_of(&self, clear: u64, padding: u64) -> Result<Vec<Length>, VaultError> {
        committable(clear, padding, self.parts.settings.blob_bytes_max).ok_or(VaultError::TooLarge)
    }

    /// Seals the next blob's body. The caller holds its memory.
    pub(super) async fn seal_body<S: Source>(
        &self,
        feed: &mut Feed<S>,
        sealing: &Sealing,
        length: Length,
        ordinal: u32,
        headroom_bytes: usize,
    ) -> Result<(BlobId, SealedBody), WriteError<S::Error>> {
        let blob = BlobId::random(self.entropy()).map_err(VaultError::Entropy)?;
        let expected = usize::try_from(length.clear + length.padding).unwrap_or(usize::MAX);
        let mut sealer = BodySealer::new(
            &sealing.dek,
            *blob.as_bytes(),
            ordinal,
            headroom_bytes,
            expected,
            &mut random(self.entropy()),
        )
        .map_err(VaultError::Seal)?;
        stage(Stage::Seal, feed.fill(&mut sealer, length.clear, self)).await?;
        let padding = usize::try_from(length.padding).unwrap_or(usize::MAX);
        let body = sealer.finish(padding, &mut random(self.entropy())).map_err(VaultError::Seal)?;
        Ok((blob, body))
    }

    /// Memory for one blob of `length`, for a write that holds none.
    pub(super) async fn memory_for(
        &self,
        placement: &Placement,
        length: Length,
    ) -> Result<Lease, VaultError> {
        Ok(self.parts.memory.lease(placement, length.bytes()).await?)
    }

    /// Cuts `feed` into body blobs and uploads them, a few at a time; returns their entries once all are durable.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a cut needs, from three callers; a struct of them would be made to be taken apart"
    )]
    pub(super) async fn cut<S: Source>(
        &self,
        placement: &Placement,
        feed: &mut Feed<S>,
        sealing: &Sealing,
        lengths: &[Length],
        first_ordinal: u32,
        debris: &mut Debris,
        memory: Held,
    ) -> Result<Vec<BlobEntry>, WriteError<S::Error>> {
        let mut uploads = Uploads { vault: self, placement, running: JoinSet::new(), memory };
        let mut entries = Vec::with_capacity(lengths.len());
        let headroom = sealing.sealer().headroom_bytes(None);
        for (ordinal, length) in (first_ordinal..).zip(lengths) {
            let lease = uploads.room_for(*length).await?;
            let (blob, body) = self.seal_body(feed, sealing, *length, ordinal, headroom).await?;
            let (sealed, entry) =
                sealing.sealer().body(body, &mut random(self.entropy())).map_err(VaultError::Seal)?;
            debris.may_hold(blob);
            uploads.begin(Location::of(placement, blob), sealed, lease);
            entries.push(entry);
        }
        uploads.finish().await?;
        Ok(entries)
    }
}

/// What a write holds of the budget when it begins to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing: it may wait for the memory of its first blob.
    Nothing,
    /// The memory of one blob: it sends one at a time and takes no more, since whoever holds some may not wait.
    OneBlob,
}

/// Blobs of one write under way to the store.
struct Uploads<'v> {
    vault: &'v Vault,
    placement: &'v Placement,
    running: JoinSet<Result<(), blobs::Error>>,
    memory: Held,
}

impl Uploads<'_> {
    /// Memory for the next blob: waits for it while the write holds none, else takes what is free, or what a blob of this
    /// very write gives back. So no two writes ever wait for each other's memory.
    async fn room_for(&mut self, length: Length) -> Result<Option<Lease>, VaultError> {
        if self.memory == Held::OneBlob {
            while !self.running.is_empty() {
                self.one().await?;
            }
            return Ok(None);
        }
        while self.running.len() >= self.vault.parts.settings.uploads_in_flight_max {
            self.one().await?;
        }
        loop {
            if self.running.is_empty() {
                return Ok(Some(self.vault.memory_for(self.placement, length).await?));
            }
            if let Some(lease) = self.vault.parts.memory.try_lease(self.placement, length.bytes()) {
                return Ok(Some(lease));
            }
            self.one().await?;
        }
    }

    fn begin(&mut self, at: Location, sealed: Sealed, lease: Option<Lease>) {
        let store = std::sync::Arc::clone(&self.vault.parts.store);
        self.running.spawn(carry(async move {
            let done = store.put(&at, sealed).await;
            drop(lease);
            done
        }));
    }

    async fn one(&mut self) -> Result<(), VaultError> {
        match away(self.running.join_next()).await {
            None => Ok(()),
            Some(Ok(done)) => done.map_err(VaultError::Store),
            Some(Err(_)) => Err(VaultError::Interrupted),
        }
    }

    async fn finish(mut self) -> Result<(), VaultError> {
        while !self.running.is_empty() {
            self.one().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_body_is_one_empty_blob() {
        assert_eq!(lengths(0, 0, 8), [Length { clear: 0, padding: 0 }]);
    }

    #[test]
    fn a_write_of_more_blobs_than_one_commit_takes_was_uploaded_whole_before_it_was_refused() {
        let most = BLOBS_PER_COMMIT_MAX as u64 - 1;
        assert_eq!(
            committable(most * 8, 0, 8).map(|cut| cut.len() as u64),
            Some(most),
            "and the record's own"
        );
        assert_eq!(committable(most * 8 + 1, 0, 8), None);
        assert_eq!(committable(most * 8, 1, 8), None);
        assert_eq!(committable(u64::MAX, 1, 8), None);
        assert!(committable(0, 0, 8).is_some());
    }

    #[test]
    fn an_object_of_more_blobs_than_its_record_can_list_was_tried_for_ever() {
        let most = usize::try_from(RECORD_BLOBS_MAX).unwrap();
        assert!(recordable(most, 0, 8).is_ok());
        assert!(recordable(most - 1, 8, 8).is_ok());
        let refused = [recordable(most + 1, 0, 8), recordable(most, 1, 8), recordable(most - 1, 9, 8)];
        assert!(refused.iter().all(|refused| matches!(refused, Err(VaultError::TooLarge))), "{refused:?}");
        assert_eq!(RECORD_BLOBS_MAX, 148_505, "docs/format.md and docs/operations.md say so");
    }

    proptest! {
        #[test]
        fn a_cut_loses_nothing_and_no_blob_is_too_long(clear in 0_u64..10_000, padding in 0_u64..2_000, max in 1_u64..3_000) {
            let cut = lengths(clear, padding, max);
            prop_assert_eq!(cut.iter().map(|l| l.clear).sum::<u64>(), clear);
            prop_assert_eq!(cut.iter().map(|l| l.padding).sum::<u64>(), padding);
            prop_assert!(cut.iter().all(|l| l.clear + l.padding <= max));
            let clear_ends = cut.iter().position(|l| l.padding > 0).unwrap_or(cut.len());
            prop_assert!(cut.iter().skip(clear_ends + 1).all(|l| l.clear == 0), "padding stands behind all clear bytes");
        }
    }
}
