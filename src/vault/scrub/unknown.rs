//! What a blob says it is, to those with the keys: how a blob that no index row names is told apart, and how one is given up.

use crate::blobs::{ErrorKind, Location};
use crate::envelope::{EnvelopeError, Expected, Header, LOCATOR_END_BYTES_MAX, Locator, open_front};
use crate::index::{BlobStanding, Incarnation, ReclaimReason};
use crate::keys::KeysError;
use crate::model::{BlobId, ClassCode, KekId, TenantCode, Timestamp, VersionId};

use super::super::{Decided, Vault, VaultError};

/// What the bytes of a blob say.
#[derive(Clone, Debug)]
pub enum Identity {
    /// No sealed blob of ours: another's file, or one whose header is damaged.
    NotSealed(EnvelopeError),
    /// Sealed for another region or environment, as its header says (nobody here can tell whether that is true).
    Elsewhere(Box<Header>),
    /// Its header says that it is of this region, and no key of this region opens it.
    Sealed(Box<Header>),
    /// A key of this region opens it: what it says is true.
    Ours(Box<(Header, Locator)>),
}

impl Identity {
    /// What it is, in a few words without a name.
    pub fn describe(&self) -> String {
        match self {
            Self::NotSealed(error) => format!("no sealed blob of this name: {error}"),
            Self::Elsewhere(header) => format!(
                "sealed for region {} of environment {}",
                header.binding.region.as_str(),
                header.binding.environment.as_str()
            ),
            Self::Sealed(_) => "sealed; no key of this region opens it".to_owned(),
            Self::Ours(_) => "sealed by this region; no version or upload names it".to_owned(),
        }
    }

    /// The header, if there is one.
    pub fn header(&self) -> Option<&Header> {
        match self {
            Self::NotSealed(_) => None,
            Self::Elsewhere(header) | Self::Sealed(header) => Some(header),
            Self::Ours(both) => Some(&both.0),
        }
    }
}

impl Vault {
    /// What the blob in the store says it is, and its length; `None` if it is not there. Two store requests.
    pub async fn identify(
        &self,
        decided: &Decided,
        blob: BlobId,
    ) -> Result<Option<(Identity, u64)>, VaultError> {
        let at = Location::of(decided, blob);
        let length = match self.parts.store.head(&at).await {
            Ok(info) => info.len,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(VaultError::Store(error)),
        };
        if length == 0 {
            return Ok(Some((Identity::NotSealed(EnvelopeError::BadMagic), 0)));
        }
        let front = length.min(LOCATOR_END_BYTES_MAX as u64);
        let front = match self.parts.store.read(&at, 0..front).await {
            Ok(front) => front,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(VaultError::Store(error)),
        };
        Ok(Some((self.identify_front(&front, Some(blob)).await?, length)))
    }

    /// What the first bytes of a blob (at least [`LOCATOR_END_BYTES_MAX`], or all of it) say it is. `blob`: under which name it
    /// was found, if that is one of ours.
    ///
    /// Fails only if the keys cannot be asked.
    pub async fn identify_front(&self, front: &[u8], blob: Option<BlobId>) -> Result<Identity, VaultError> {
        let header = match Header::peek(front) {
            Ok(header) => header,
            Err(error) => return Ok(Identity::NotSealed(error)),
        };
        if blob.is_some_and(|blob| *blob.as_bytes() != header.blob) {
            return Ok(Identity::NotSealed(EnvelopeError::WrongBlob));
        }
        let binding = &header.binding;
        let is_here = binding.region.as_str() == self.parts.region.as_str()
            && binding.environment.as_str() == self.parts.environment.as_str();
        if !is_here {
            return Ok(Identity::Elsewhere(Box::new(header)));
        }
        let sealed = || Ok(Identity::Sealed(Box::new(header)));
        let Ok(treatment) = self.treatment(ClassCode(binding.class)) else { return sealed() };
        let (tenant, id) = (TenantCode::from_bytes(binding.tenant), KekId::from_bytes(header.kek_id));
        let handle = match self.parts.ring.by_id(tenant, &treatment.kek, id, header.kek_epoch).await {
            Ok(handle) => handle,
            Err(KeysError::UnknownKek | KeysError::Retired) => return sealed(),
            Err(error) => return Err(error.into()),
        };
        let expected = Expected::exactly(binding, header.blob);
        match open_front(front, &expected, &handle.to_envelope()) {
            Ok(opened) => Ok(Identity::Ours(Box::new(opened))),
            Err(_) => sealed(),
        }
    }

    /// What the index knows of these blobs, in the order asked.
    pub async fn standings(&self, blobs: &[BlobId]) -> Result<Vec<BlobStanding>, VaultError> {
        Ok(self.parts.index.blob_standing(blobs).await?)
    }

    /// A page of what the store holds after `after`, ascending: identifiers, how many names are none of ours, whether it is the last.
    pub async fn stored_blobs(
        &self,
        decided: &Decided,
        after: Option<BlobId>,
    ) -> Result<(Vec<BlobId>, usize, bool), VaultError> {
        let mut cursor = after.map(crate::blobs::Cursor::after);
        let (mut foreign, limit) = (0, crate::blobs::LIST_NAMES_MAX);
        loop {
            let page = self.parts.store.list(decided, cursor.as_ref(), limit).await;
            let page = page.map_err(VaultError::Store)?;
            foreign += page.foreign;
            // A page may be empty and still have a next one; the caller goes on from identifiers alone.
            if !page.ids.is_empty() || page.next.is_none() {
                return Ok((page.ids, foreign, page.next.is_none()));
            }
            cursor = page.next;
        }
    }

    /// Notes that these blobs were found in the store and not in the index, now; when each was first.
    pub async fn see_unknown(&self, blobs: Vec<BlobId>) -> Result<Vec<Option<Timestamp>>, VaultError> {
        Ok(self.parts.index.see_unknown(blobs, self.parts.clock.now()).await?)
    }

    /// Forgets unknown blobs that were not seen since `before`: they became known, or are gone.
    pub async fn forget_unknown(&self, before: Timestamp) -> Result<(), VaultError> {
        self.parts.index.forget_unknown(before).await?;
        Ok(())
    }

    /// Which life of the index this is.
    pub fn incarnation(&self) -> Incarnation {
        self.parts.index.incarnation()
    }

    /// Gives an unknown blob of the decided tenant to the reclaim queue, due now; false if it was not given up after all.
    ///
    /// Not a deletion: from the moment it is queued, the index refuses every version that would name it, so a write that is
    /// still under way fails whole instead of losing its bytes. What the blob's own (authentic) header says it belongs to must
    /// not be in the index: a version or upload that is there has a use for its blobs, whatever the index's list of them says.
    pub async fn give_up(
        &self,
        decided: &Decided,
        blob: BlobId,
        header: &Header,
    ) -> Result<bool, VaultError> {
        let index = &self.parts.index;
        let tenant = decided.tenant_code();
        if header.binding.tenant != *tenant.as_bytes() || header.blob != *blob.as_bytes() {
            return Err(VaultError::NotYours);
        }
        index.health().await?;
        if self.owner_row(VersionId::from_bytes(header.binding.version)).await?.is_some() {
            return Ok(false);
        }
        if index.blob_standing(&[blob]).await?.first() != Some(&BlobStanding::Unknown) {
            return Ok(false);
        }
        let due = self.parts.clock.now();
        Ok(index.enqueue_reclaim(vec![blob], tenant, due, ReclaimReason::FailedWrite).await? == 1)
    }
}
