//! Why a verb on tenants or credentials is refused, or the directory cannot be read. Never holds a secret.

use crate::index::IndexError;
use crate::keys::KeysError;
use crate::model::{AccessKeyId, ClassId, EntropyError, RegionId, TenantId};

/// A verb is refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum TenantsError {
    /// There is a tenant of that name.
    #[error("tenant {0} exists already")]
    TenantExists(TenantId),
    /// There is no tenant of that name in this region.
    #[error("there is no tenant {0} in this region")]
    NoSuchTenant(TenantId),
    /// There is no such credential in this region.
    #[error("there is no credential {0} in this region")]
    NoSuchCredential(AccessKeyId),
    /// The tenant's home is another region: its directory is there.
    #[error("this directory is of region {here}; a tenant of {home} is created there")]
    WrongRegion {
        /// The region of this directory.
        here: RegionId,
        /// The home asked for.
        home: RegionId,
    },
    /// The register has no such class, or not for this region.
    #[error("class {0} is not in the register for this region")]
    NoSuchClass(ClassId),
    /// The label is empty, too long, or holds control characters.
    #[error("a label must be 1 to 64 bytes without control characters")]
    BadLabel,
    /// The credential is disabled; it cannot be rotated or enabled, only replaced by a new one.
    #[error("credential {0} is disabled for good")]
    Disabled(AccessKeyId),
    /// A limit of the directory.
    #[error("too many {what} (at most {count_max})")]
    TooMany {
        /// Tenants, or credentials of a tenant.
        what: &'static str,
        /// The limit.
        count_max: usize,
    },
    /// Somebody else changed the same row at the same time; look again.
    #[error("the row was changed by somebody else at the same time")]
    Conflict,
    /// A row does not open, or does not say what its place says.
    #[error("a {kind} row of the directory is corrupt or out of place")]
    Corrupt {
        /// Which kind of row.
        kind: &'static str,
    },
    /// The index shows an older directory than the one already seen.
    #[error("the directory went back from change {seen} to {found}")]
    RolledBack {
        /// The newest change seen.
        seen: u64,
        /// What the index says now.
        found: u64,
    },
    /// A setting is out of its bounds.
    #[error("a setting of the directory is out of bounds: {0}")]
    Settings(&'static str),
    /// The index.
    #[error("the directory cannot be read or written")]
    Index(#[from] IndexError),
    /// The keys.
    #[error("the directory cannot be opened or sealed")]
    Keys(#[from] KeysError),
    /// Randomness.
    #[error("no new secret")]
    Entropy(#[from] EntropyError),
}
