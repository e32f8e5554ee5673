//! The keys as the envelope takes them: KEK, subject key, DEK. Wiped on drop, printed without content.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::derive::derive;
use super::error::{EnvelopeError, Random};
use super::header::Binding;
use super::labels::{COMMITMENT_BYTES, KEY_BYTES, LABEL_BODY, LABEL_COMMITMENT, LABEL_PAGE, LABEL_ROOT};

/// A key-encryption key of one tenant, class and epoch.
#[derive(Clone)]
pub struct Kek {
    id: [u8; 16],
    epoch: u32,
    wrapping_version: u32,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Kek {
    /// Takes charge of `key`. `wrapping_version` names the version of the key that wraps this KEK's own record (0: not stated).
    pub fn new(id: [u8; 16], epoch: u32, wrapping_version: u32, key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self { id, epoch, wrapping_version, key }
    }

    /// Identity across epochs.
    pub const fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// Epoch.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Version of the key that wraps this one's record.
    pub const fn wrapping_version(&self) -> u32 {
        self.wrapping_version
    }

    pub(super) fn key(&self) -> &[u8; KEY_BYTES] {
        &self.key
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek({}, epoch {})", hex::encode(self.id), self.epoch)
    }
}

/// The key of one subject (person). Destroying it makes that person's records unreadable.
#[derive(Clone)]
pub struct SubjectKey {
    id: [u8; 16],
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl SubjectKey {
    /// Takes charge of `key`. The all-zero identity means "none" in the format and is refused.
    pub fn new(id: [u8; 16], key: Zeroizing<[u8; KEY_BYTES]>) -> Result<Self, EnvelopeError> {
        if id == [0; 16] {
            return Err(EnvelopeError::InvalidHeader { field: "subject key id" });
        }
        Ok(Self { id, key })
    }

    /// Identity.
    pub const fn id(&self) -> &[u8; 16] {
        &self.id
    }

    pub(super) fn key(&self) -> &[u8; KEY_BYTES] {
        &self.key
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey({})", hex::encode(self.id))
    }
}

/// The data-encryption key of one version. It knows the [`Binding`] it was made for and seals nothing else.
#[derive(Clone)]
pub struct Dek {
    binding: Binding,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Dek {
    /// A fresh key for the version that `binding` names.
    pub fn generate(binding: Binding, random: &mut Random<'_>) -> Result<Self, EnvelopeError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        random(key.as_mut())?;
        Ok(Self { binding, key })
    }

    /// What the key is bound to.
    pub const fn binding(&self) -> &Binding {
        &self.binding
    }

    pub(super) fn from_parts(binding: Binding, key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self { binding, key }
    }

    pub(super) fn raw(&self) -> &[u8; KEY_BYTES] {
        &self.key
    }

    /// The value a record carries beside the wrapped key.
    pub(super) fn commitment(&self) -> Result<[u8; COMMITMENT_BYTES], EnvelopeError> {
        let mut out = [0; COMMITMENT_BYTES];
        self.subkey_into(LABEL_COMMITMENT, &[], &mut out)?;
        Ok(out)
    }

    /// The FLOE key of this version's bodies.
    pub(super) fn body_key(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, EnvelopeError> {
        self.subkey(LABEL_BODY, &[])
    }

    /// The key of the root.
    pub(super) fn root_key(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, EnvelopeError> {
        self.subkey(LABEL_ROOT, &[])
    }

    /// The key of page `page`.
    pub(super) fn page_key(&self, page: u32) -> Result<Zeroizing<[u8; KEY_BYTES]>, EnvelopeError> {
        self.subkey(LABEL_PAGE, &page.to_be_bytes())
    }

    fn subkey(&self, label: &[u8], extra: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, EnvelopeError> {
        let mut out = Zeroizing::new([0; KEY_BYTES]);
        self.subkey_into(label, extra, out.as_mut())?;
        Ok(out)
    }

    fn subkey_into(&self, label: &[u8], extra: &[u8], out: &mut [u8]) -> Result<(), EnvelopeError> {
        derive(
            &[self.key.as_slice()],
            &self.binding.version,
            &[label, &[0], &self.binding.context(), extra],
            out,
        )
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dek(of version {})", hex::encode(self.binding.version))
    }
}

/// Copies `bytes` into a wiped-on-drop array, wiping the source.
pub(super) fn take_key(bytes: &mut [u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, EnvelopeError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if bytes.len() != KEY_BYTES {
        return Err(EnvelopeError::LengthMismatch { what: "wrapped key" });
    }
    key.copy_from_slice(bytes);
    bytes.zeroize();
    Ok(key)
}
