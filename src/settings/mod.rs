//! What one process is told about itself: which regions it serves, on which addresses, under which limits.
//!
//! Settings say where a process *is*; where health data *goes* is the catalogue's, so nothing here can move any. Secrets are
//! references. Text becomes values here or is an error with its file and line; nothing downstream checks a setting again.

mod dev;
mod file;
mod limits;
mod scrub;
mod secrets;
mod telemetry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::model::{Environment, RegionId, SecretRef};

pub use dev::{DEV_PORT_BASE, DEV_PORTS_PER_REGION, DevError};
pub use limits::Limits;
pub use scrub::Scrub;
pub use secrets::{SecretError, read_secret};
pub use telemetry::{LogFormat, RequestLog, Telemetry};

/// Everything a process is told. Prints what is in force, secrets by reference only: the start log's first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which deployment this is. Part of every key derivation.
    pub environment: Environment,
    /// The folder of region files; `None`: the catalogue built into the binary.
    pub regions_dir: Option<PathBuf>,
    /// A file that replaces stores, indexes and keys by embedded ones; never in production.
    pub overlay: Option<PathBuf>,
    /// The regions this process may serve, in the order they were written.
    pub regions: Vec<RegionSettings>,
    /// What strangers can make grow, and how far.
    pub limits: Limits,
    /// What is told of requests.
    pub telemetry: Telemetry,
    /// How each region is scrubbed.
    pub scrub: Scrub,
}

/// One region of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionSettings {
    /// Which region.
    pub id: RegionId,
    /// Where it listens.
    pub listen: Listen,
    /// TLS for the data and control listeners; required unless both are on loopback.
    pub tls: Option<Tls>,
    /// Where it keeps its own files: relative paths of its region file stand under this folder.
    pub state_dir: PathBuf,
    /// A folder of other fleets' canaries: a process that can open one of them does not start.
    pub foreign_canaries: Option<PathBuf>,
}

/// The three addresses of a region. Port 0 asks the system for a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// S3.
    pub data: SocketAddr,
    /// The control API.
    pub control: SocketAddr,
    /// Liveness, readiness, metrics: never TLS, never tenant data.
    pub observe: SocketAddr,
}

/// A server certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The key, PEM, by reference.
    pub private_key: SecretRef,
}

/// Everything that is wrong with a settings file.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It says something it must not; one line each.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Wrong(Vec<Problem>),
    /// A region was asked for that the file does not configure.
    #[error("region {0} has no [region.{0}] in the settings")]
    RegionMissing(RegionId),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do. Never quotes a value: it may be a secret in the wrong place.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

impl Settings {
    /// Reads a settings file.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// The settings that `text` holds; `file` is what errors call it. Pure.
    pub fn parse(file: &str, text: &str) -> Result<Self, SettingsError> {
        file::parse(file, text).map_err(SettingsError::Wrong)
    }

    /// The settings of `dev`: each region's files under `data_dir/<region>`, its ports ten above the region's before it
    /// (data, control, observe = base, base + 1, base + 2), all on loopback without TLS.
    pub fn dev(data_dir: &Path, port_base: u16, regions: &[RegionId]) -> Result<Self, DevError> {
        dev::settings(data_dir, port_base, regions)
    }

    /// The same settings for only these regions, in this order.
    pub fn serving(mut self, regions: &[RegionId]) -> Result<Self, SettingsError> {
        let find =
            |id: &RegionId| self.region(id).cloned().ok_or_else(|| SettingsError::RegionMissing(id.clone()));
        self.regions = regions.iter().map(find).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// What is set for region `id`.
    pub fn region(&self, id: &RegionId) -> Option<&RegionSettings> {
        self.regions.iter().find(|region| region.id == *id)
    }
}

impl fmt::Display for Settings {
    /// One `name = value` a line, in the order of the file's own sections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "environment = {}", self.environment)?;
        match &self.regions_dir {
            Some(directory) => writeln!(f, "regions-dir = {}", directory.display())?,
            None => writeln!(f, "regions-dir = (embedded)")?,
        }
        if let Some(overlay) = &self.overlay {
            writeln!(f, "overlay = {}", overlay.display())?;
        }
        for RegionSettings { id, listen, tls, state_dir, foreign_canaries } in &self.regions {
            writeln!(f, "region.{id}.listen.data = {}", listen.data)?;
            writeln!(f, "region.{id}.listen.control = {}", listen.control)?;
            writeln!(f, "region.{id}.listen.observe = {}", listen.observe)?;
            match tls {
                Some(Tls { certificate, private_key }) => {
                    writeln!(f, "region.{id}.tls.certificate = {}", certificate.display())?;
                    writeln!(f, "region.{id}.tls.private-key = {private_key}")?;
                }
                None => writeln!(f, "region.{id}.tls = (none)")?,
            }
            writeln!(f, "region.{id}.state-dir = {}", state_dir.display())?;
            if let Some(folder) = foreign_canaries {
                writeln!(f, "region.{id}.foreign-canaries = {}", folder.display())?;
            }
        }
        write!(f, "{}{}{}", self.telemetry, self.limits, self.scrub)
    }
}
