//! Where a blob is: made from a placement and in no other way.

use std::fmt;

use crate::model::{BlobId, RegionId};
use crate::placement::Placement;
use crate::shares::Claimant;

/// The place of one blob in one region's store.
///
/// The only constructor takes a [`Placement`], so an unplaced write does not compile; a driver refuses a location of a
/// region that is not its own, so a misrouted one does not run.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    region: RegionId,
    id: BlobId,
    /// For whom: where many want the store, tenants have shares of it.
    claimant: Claimant,
}

impl Location {
    /// The place of blob `id` in the region that `placement` decided on.
    pub fn of(placement: &Placement, id: BlobId) -> Self {
        Self { region: placement.region().clone(), id, claimant: claimant(placement) }
    }

    /// Whose share of the store's places is taken to get there.
    pub(super) const fn claimant(&self) -> Claimant {
        self.claimant
    }

    /// The region whose store holds the blob.
    pub fn region(&self) -> &RegionId {
        &self.region
    }

    /// The blob.
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// The blob's name in a store, without the store's prefix: `ab/ab…` (two and thirty-two lowercase hex digits).
    pub fn name(&self) -> String {
        name_of(self.id)
    }
}

/// Whose share a placed operation takes: of the store's places, and of the memory in front of them.
pub(crate) fn claimant(placement: &Placement) -> Claimant {
    Claimant::tenant(placement.tenant_code(), placement.weight())
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({}:{})", self.region, self.id)
    }
}

/// Two digits make 256 folders: enough to keep a file system's directories small, few enough to make at start. Only
/// `[0-9a-f/]`, because `SeaweedFS` refuses `//` and `../` and RGW chokes on `%`. Bytewise order of names is order of ids.
pub(super) fn name_of(id: BlobId) -> String {
    let hex = id.to_string();
    format!("{}/{hex}", &hex[..2])
}

/// The blob a name (without the store's prefix) stands for; `None` for a name that we never give.
pub(super) fn id_of(name: &str) -> Option<BlobId> {
    let (shard, hex) = name.split_once('/')?;
    (shard.len() == 2 && hex.starts_with(shard)).then(|| hex.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_is_opaque_safe_and_read_back(bytes: [u8; 16]) {
            let id = BlobId::from_bytes(bytes);
            let name = name_of(id);
            prop_assert_eq!(name.len(), 35);
            prop_assert!(name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'/'));
            prop_assert_eq!(id_of(&name), Some(id));
        }

        #[test]
        fn names_sort_as_ids_do(a: [u8; 16], b: [u8; 16]) {
            let (a, b) = (BlobId::from_bytes(a), BlobId::from_bytes(b));
            prop_assert_eq!(a.cmp(&b), name_of(a).cmp(&name_of(b)));
        }

        #[test]
        fn a_strangers_name_is_no_blob(name in "[0-9a-fA-F/.]{0,40}") {
            if let Some(id) = id_of(&name) {
                prop_assert_eq!(name_of(id), name);
            }
        }
    }

    #[test]
    fn a_blob_in_anothers_shard_is_foreign() {
        assert_eq!(id_of(&format!("ac/{}", "ab".repeat(16))), None);
        assert_eq!(id_of(&"ab".repeat(16)), None);
        assert_eq!(id_of(&format!("ab/{}", "AB".repeat(16))), None);
        assert_eq!(id_of(&format!("ab/ab/{}", "ab".repeat(16))), None);
    }
}
