//! The nouns every other module speaks in: identifiers, time, randomness, records' metadata, secrets.
//!
//! Nothing here does I/O, awaits, or knows a foreign format. Every type is valid by construction: the only way to get
//! a [`BucketName`] is to parse one, so no other module checks it again.

mod chain;
mod clock;
mod entropy;
pub mod failpoint;
mod ids;
mod names;
mod object;
mod range;
mod reference;
mod secret;
mod tenant;

pub use chain::chain;
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use entropy::{Entropy, EntropyError, SystemEntropy};
pub use ids::{BlobId, KekId, TenantCode, UploadId, VersionId};
pub use names::{
    AccessKeyId, BucketName, ClassCode, ClassId, Environment, InvalidName, ObjectKey, RegionId, TenantId,
};
pub use object::{
    Checksum, ChecksumAlgorithm, ChecksumKind, ContentHeaders, ETag, ObjectMeta, SYSTEM_METADATA_PREFIX,
    USER_METADATA_BYTES_MAX, UserMetadata,
};
pub use range::{ByteRange, RangeSpec, Resolved};
pub use reference::{InvalidSecretRef, SecretRef};
pub use secret::Secret;
pub use tenant::{Credential, CredentialStatus, InvalidWeight, Tenant, TenantStatus, Unclassified, Weight};
