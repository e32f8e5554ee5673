//! Tenants and their S3 credentials: sealed rows in the region's index, and the snapshot of them that requests are
//! identified by.
//!
//! A region's index holds only its own tenants. [`Registry`] is the verbs (the command line, the control API);
//! [`Directory`] is the snapshot that a running proxy looks keys up in, and follows the index within seconds.

mod directory;
mod error;
mod registry;
mod sealed_row;

pub use directory::{Directory, DirectorySettings, Identity, Reason, Unidentified, Watch};
pub use error::TenantsError;
pub use registry::{
    Accepts, CREDENTIALS_MAX, CREDENTIALS_PER_TENANT_MAX, CredentialSummary, NewTenant, Registry, Rotated,
    TENANTS_MAX,
};

#[cfg(test)]
mod tests;
