//! A bounded reader and a writer of big-endian fields. The reader never allocates more than what is there.

use super::error::EnvelopeError;

/// Reads fields off the front of a slice. Running out is [`EnvelopeError::Truncated`].
#[derive(Clone, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8], EnvelopeError> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(EnvelopeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(EnvelopeError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, EnvelopeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, EnvelopeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, EnvelopeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, EnvelopeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// What has not been read.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Refuses what was not read.
    pub(super) fn end(self) -> Result<(), EnvelopeError> {
        if self.0.is_empty() { Ok(()) } else { Err(EnvelopeError::TrailingBytes) }
    }
}

/// Appends fields. A length that does not fit its field, or its limit, is [`EnvelopeError::LimitExceeded`].
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends `bytes` behind their length in one byte.
    pub(super) fn short(
        &mut self,
        bytes: &[u8],
        max: usize,
        what: &'static str,
    ) -> Result<(), EnvelopeError> {
        let length = u8::try_from(bytes.len()).ok().filter(|_| bytes.len() <= max);
        self.u8(length.ok_or(EnvelopeError::LimitExceeded { what })?);
        self.bytes(bytes);
        Ok(())
    }

    /// Appends `bytes` behind their length in two bytes.
    pub(super) fn long(&mut self, bytes: &[u8], max: usize, what: &'static str) -> Result<(), EnvelopeError> {
        let length = u16::try_from(bytes.len()).ok().filter(|_| bytes.len() <= max);
        self.u16(length.ok_or(EnvelopeError::LimitExceeded { what })?);
        self.bytes(bytes);
        Ok(())
    }

    /// Appends zeros up to a multiple of `multiple` bytes.
    pub(super) fn pad_to_multiple(&mut self, multiple: usize) {
        self.0.resize(self.0.len().next_multiple_of(multiple), 0);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

/// `value` as the `u32` a length field is.
pub(super) fn length_u32(value: usize, what: &'static str) -> Result<u32, EnvelopeError> {
    u32::try_from(value).map_err(|_| EnvelopeError::LimitExceeded { what })
}

/// Whether the padding at the end of a padded part is right: zeros, and fewer than `multiple`.
pub(super) fn padding_is_canonical(rest: &[u8], multiple: usize) -> bool {
    rest.len() < multiple && rest.iter().all(|b| *b == 0)
}
