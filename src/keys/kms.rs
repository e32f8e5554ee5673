//! The port to whatever holds the root keys: five verbs, one file per provider, one contract suite for all.

use std::fmt;

use async_trait::async_trait;

use super::{KekContext, KmsError, RootRef};
use crate::model::{Secret, Timestamp};

/// Holds root keys that never leave it. No default methods: a wrapper that forgets one must not compile.
///
/// Implementations do not retry and do not cache (the ring does both, once, with bounds), and put nothing but the
/// opaque parts of a [`KekContext`] into whatever their operator may log.
#[async_trait]
pub trait Kms: Send + Sync + fmt::Debug {
    /// Wraps `key` under the newest version of `root`, bound to `context`. Providers that may create keys make the root at
    /// its first need; a destroyed root is never made anew. Whether there should be one is asked before, by the ring.
    async fn wrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        key: &Secret<[u8; 32]>,
    ) -> Result<Wrapped, KmsError>;

    /// Opens what [`Kms::wrap`] made under the same root and context, under any version that still exists. Creates nothing.
    async fn unwrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        wrapped: &Wrapped,
    ) -> Result<Secret<[u8; 32]>, KmsError>;

    /// The root's state and newest version. `Denied` if there is no such root for us.
    async fn status(&self, root: &RootRef) -> Result<RootStatus, KmsError>;

    /// Who keeps the roots, and where: what the residency report says about custody.
    fn describe(&self) -> Description;
}

/// A key as its KMS wrapped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// The version of the root it is wrapped under, from 1; 0 where the provider does not tell.
    pub root_version: u32,
    /// The provider's bytes, at most [`Wrapped::BYTES_MAX`].
    pub bytes: Vec<u8>,
}

impl Wrapped {
    /// More than any known provider returns for 32 bytes (AWS about 190, Vault Transit about 90).
    pub const BYTES_MAX: usize = 4096;
}

/// The life of a root key. Names follow the clouds' common ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootState {
    /// Wraps and unwraps.
    Enabled,
    /// Does neither, until enabled again.
    Disabled,
    /// Does neither; destroyed after the moment given, unless cancelled.
    Scheduled(Timestamp),
    /// Gone.
    Destroyed,
}

/// What a KMS says about a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootStatus {
    /// Its state.
    pub state: RootState,
    /// Its newest version, from 1; 0 where the provider does not tell.
    pub version: u32,
}

/// Who can use a root key, in the words of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// A file on the proxy's own disk: development and air gap. Whoever reads the disk has the key.
    LocalFile,
    /// A software KMS run by the region's operator.
    SoftwareKms,
    /// A KMS of a provider.
    ManagedKms,
    /// A hardware module.
    Hsm,
    /// The tenant holds it.
    Tenant,
}

/// What the residency report says about a region's root keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The provider's kind as region files spell it, such as `local-file`.
    pub kind: &'static str,
    /// Who can use the roots.
    pub custody: Custody,
    /// Where they are, as declared in the region file, such as `FR` or a host name. Declared, not observed.
    pub place: String,
    /// Whether this kind may serve production. The local file may only where the region file says "air gap".
    pub for_development: bool,
}
