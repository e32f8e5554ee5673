//! The settings of `dev`: everything embedded, everything on loopback, one folder.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::{Limits, Listen, RegionSettings, Scrub, Settings};
use crate::model::{InvalidName, RegionId};

/// The first port of `dev`.
pub const DEV_PORT_BASE: u16 = 9000;
/// Ports from one region's first to the next one's.
pub const DEV_PORTS_PER_REGION: u16 = 10;

/// Why there are no settings for `dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DevError {
    /// The last region's ports would lie beyond 65535.
    #[error(
        "port base {base} leaves no ports for {regions} regions: each takes {DEV_PORTS_PER_REGION}, and 65535 is the last"
    )]
    Ports {
        /// What was asked for.
        base: u16,
        /// How many regions there are.
        regions: usize,
    },
    /// The environment's constant name broke its own rule.
    #[error(transparent)]
    Environment(#[from] InvalidName),
}

pub(super) fn settings(data_dir: &Path, base: u16, regions: &[RegionId]) -> Result<Settings, DevError> {
    let region = |(ordinal, id): (usize, &RegionId)| {
        let error = DevError::Ports { base, regions: regions.len() };
        let first = u16::try_from(ordinal).ok().and_then(|ordinal| ordinal.checked_mul(DEV_PORTS_PER_REGION));
        let first = first.and_then(|offset| base.checked_add(offset)).ok_or(error)?;
        let port = |offset| first.checked_add(offset).ok_or(error);
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok::<_, DevError>(RegionSettings {
            id: id.clone(),
            listen: Listen { data: at(port(0)?), control: at(port(1)?), observe: at(port(2)?) },
            tls: None,
            state_dir: data_dir.join(id.as_str()),
            // Both regions are of one process, which holds each against the other.
            foreign_canaries: None,
        })
    };
    Ok(Settings {
        environment: "dev".parse()?,
        regions_dir: None,
        overlay: None,
        regions: regions.iter().enumerate().map(region).collect::<Result<_, _>>()?,
        limits: Limits::default(),
        telemetry: super::Telemetry::default(),
        scrub: Scrub::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<RegionId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn each_region_has_its_own_ports_and_folders() {
        let settings = settings(Path::new("terroir-data"), DEV_PORT_BASE, &ids(&["fr", "us"])).unwrap();
        let ports = |region: &RegionSettings| {
            [region.listen.data, region.listen.control, region.listen.observe].map(|address| address.port())
        };
        assert_eq!(ports(&settings.regions[0]), [9000, 9001, 9002]);
        assert_eq!(ports(&settings.regions[1]), [9010, 9011, 9012]);
        assert_eq!(settings.regions[1].state_dir, Path::new("terroir-data/us"));
        assert!(settings.regions.iter().all(|region| region.listen.control.ip().is_loopback()));
    }

    #[test]
    fn ports_that_do_not_exist_are_an_error_not_a_wrap() {
        let regions = ids(&["fr", "us"]);
        assert!(settings(Path::new("d"), 65_523, &regions).is_ok());
        assert_eq!(
            settings(Path::new("d"), 65_524, &regions),
            Err(DevError::Ports { base: 65_524, regions: 2 })
        );
    }
}
