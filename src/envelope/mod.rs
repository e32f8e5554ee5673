//! PLACEHOLDER of the envelope: only the type that `blobs` takes. Replaced when the envelope is merged.

use bytes::Bytes;

/// Sealed bytes, fit to leave the process.
#[derive(Clone, Debug)]
pub struct Sealed {
    bytes: Bytes,
    blob: [u8; 16],
}

#[expect(clippy::len_without_is_empty, reason = "a sealed thing is never empty")]
impl Sealed {
    /// Number of sealed bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The sealed bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes to store, without copying.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The blob's identity, as its header says.
    pub const fn blob(&self) -> &[u8; 16] {
        &self.blob
    }

    /// Any bytes as if they were sealed as blob `blob`.
    #[cfg(feature = "testing")]
    pub fn for_tests(blob: [u8; 16], bytes: Bytes) -> Self {
        Self { bytes, blob }
    }
}
