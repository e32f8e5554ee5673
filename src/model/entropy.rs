//! Randomness as an injected port: the operating system's in production, seeded in vectors and property tests.

use std::fmt;

/// The system could not provide random bytes. Nothing may be sealed without them, so callers fail closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct EntropyError;

/// Where unpredictable bytes come from.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `out` with unpredictable bytes, or fails; never partly.
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError>;
}

/// aws-lc-rs' generator, seeded and reseeded from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        aws_lc_rs::rand::fill(out).map_err(|_| EntropyError)
    }
}
