//! The canary: a sealed fixture that opens in one region only, so that a fleet with another region's keys does not start.

use std::fmt;
use std::str::FromStr;

use super::Wrapped;
use crate::model::{Environment, InvalidName, KekId, RegionId};

/// A random key wrapped under a region's root, with the region and environment in clear. Not secret: fleets carry each
/// other's in their settings, as text, and refuse to start if they can open one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The environment it was made in.
    pub environment: Environment,
    /// The region it was made in.
    pub region: RegionId,
    /// Its place in the KEK context.
    pub id: KekId,
    /// What only that region's root opens.
    pub wrapped: Wrapped,
}
