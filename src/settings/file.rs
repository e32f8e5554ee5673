//! A settings file: its fields, and what makes them values.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::limits::{LimitsFile, SEGMENT_BYTES};
use super::scrub::ScrubFile;
use super::{Limits, Listen, Problem, RegionSettings, Scrub, Settings, Telemetry, Tls};
use crate::model::{RegionId, SecretRef};

/// Where a region keeps its files unless told otherwise.
const STATE_DIR_DEFAULT: &str = "/var/lib/terroir";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    environment: Spanned<String>,
    regions_dir: Option<PathBuf>,
    overlay: Option<PathBuf>,
    #[serde(default)]
    region: BTreeMap<Spanned<String>, Region>,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(default)]
    telemetry: Telemetry,
    #[serde(default)]
    scrub: ScrubFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Region {
    state_dir: Option<PathBuf>,
    foreign_canaries: Option<PathBuf>,
    listen: ListenFile,
    tls: Option<TlsFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenFile {
    data: Spanned<String>,
    control: Spanned<String>,
    observe: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TlsFile {
    certificate: PathBuf,
    private_key: Spanned<String>,
}

pub(super) fn parse(name: &str, text: &str) -> Result<Settings, Vec<Problem>> {
    let mut reader = Reader { name, text, problems: Vec::new() };
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            reader.problem(error.span().map_or(0, |span| span.start), without_value(error.message()));
            return Err(reader.problems);
        }
    };
    let environment = reader.value(&file.environment, "environment");
    let mut regions: Vec<(usize, RegionSettings)> = Vec::new();
    for (id, region) in file.region {
        regions.extend(reader.region(&id, region).map(|settings| (id.span().start, settings)));
    }
    regions.sort_by_key(|(offset, _)| *offset);
    reader.addresses_are_apart(&regions);
    let limits = reader.limits(file.limits, regions.len());
    let (scrub, problems) = file.scrub.resolve();
    for (offset, message) in problems {
        reader.problem(offset, message);
    }
    reader.a_restored_index_finds_its_blobs(&limits, &scrub);
    match environment {
        Some(environment) if reader.problems.is_empty() => Ok(Settings {
            environment,
            regions_dir: file.regions_dir,
            overlay: file.overlay,
            regions: regions.into_iter().map(|(_, settings)| settings).collect(),
            limits,
            telemetry: file.telemetry,
            scrub,
        }),
        _ => {
            reader.problems.sort();
            Err(reader.problems)
        }
    }
}

/// The decoder's own words, without the value it may quote: that may be a secret in the wrong place.
fn without_value(message: &str) -> String {
    if !message.starts_with("invalid type") && !message.starts_with("invalid value") {
        return message.to_owned();
    }
    let expected = message.rsplit_once("expected ").map_or("another type", |(_, expected)| expected);
    format!("the value is of the wrong kind: expected {expected}")
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, offset: usize, message: impl Into<String>) {
        let line = self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        self.problems.push(Problem { file: self.name.to_owned(), line, message: message.into() });
    }

    fn value<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        text: &Spanned<String>,
        field: &str,
    ) -> Option<T> {
        match text.get_ref().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(text.span().start, format!("{field}: {error}"));
                None
            }
        }
    }

    fn region(&mut self, name: &Spanned<String>, region: Region) -> Option<RegionSettings> {
        let id: Option<RegionId> = self.value(name, "region");
        let listen = self.listen(&region.listen);
        let tls = match region.tls {
            None => None,
            Some(tls) => {
                let private_key: SecretRef = self.value(&tls.private_key, "private-key")?;
                Some(Tls { certificate: tls.certificate, private_key })
            }
        };
        let (id, listen) = id.zip(listen)?;
        // Signatures do not hide what is signed: without TLS a record crosses the network in the clear.
        if tls.is_none() && !(listen.data.ip().is_loopback() && listen.control.ip().is_loopback()) {
            self.problem(
                name.span().start,
                format!("region {id} listens beyond this machine without TLS: add [region.{id}.tls]"),
            );
        }
        let state_dir =
            region.state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR_DEFAULT).join(id.as_str()));
        Some(RegionSettings { id, listen, tls, state_dir, foreign_canaries: region.foreign_canaries })
    }

    fn listen(&mut self, file: &ListenFile) -> Option<Listen> {
        let data = self.value(&file.data, "listen.data");
        let control = self.value(&file.control, "listen.control");
        let observe = self.value(&file.observe, "listen.observe");
        Some(Listen { data: data?, control: control?, observe: observe? })
    }

    /// One listener of one region on each address: sharing one would let a request reach the wrong region's stack.
    fn addresses_are_apart(&mut self, regions: &[(usize, RegionSettings)]) {
        let mut seen: BTreeMap<SocketAddr, &RegionId> = BTreeMap::new();
        for (offset, RegionSettings { id, listen, .. }) in regions {
            for address in [listen.data, listen.control, listen.observe] {
                if address.port() == 0 {
                    continue;
                }
                if let Some(other) = seen.insert(address, id) {
                    self.problem(
                        *offset,
                        format!("{address} is given to two listeners ({other}, {id}): one each"),
                    );
                }
            }
        }
    }

    /// A backup names blobs that were deleted after it: deleted for good sooner than it may be restored, they are lost.
    fn a_restored_index_finds_its_blobs(&mut self, limits: &Limits, scrub: &Scrub) {
        if limits.reclaim_delay_s >= scrub.restore_horizon_s {
            return;
        }
        let set = ["reclaim-delay-s", "restore-horizon-s"].iter().find_map(|name| self.text.find(name));
        self.problem(
            set.unwrap_or(0),
            format!(
                "limits.reclaim-delay-s ({}) must not be below scrub.restore-horizon-s ({}): an index restored from a backup of \
                 that age would name blobs that are deleted; raise the one, or lower the other and restore no older backup",
                limits.reclaim_delay_s, scrub.restore_horizon_s
            ),
        );
    }

    fn limits(&mut self, file: LimitsFile, regions: usize) -> Limits {
        let (limits, problems) = file.resolve();
        for (offset, message) in problems {
            self.problem(offset, message);
        }
        let section = self.text.find("[limits]").unwrap_or(0);
        if limits.blob_bytes_max % SEGMENT_BYTES != 0 {
            self.problem(section, format!("blob-bytes-max must be a multiple of {SEGMENT_BYTES}, the segment that blobs are sealed in"));
        }
        // A download takes two blobs' worth, and a tenant alone may take four fifths of a region's part: less stands still.
        if limits.memory_bytes_max / (regions.max(1) as u64) < 4 * limits.blob_bytes_max {
            self.problem(
                section,
                "memory-bytes-max must hold at least four blobs of blob-bytes-max for each region",
            );
        }
        if limits.tenant_requests_max > limits.requests_max {
            self.problem(section, "tenant-requests-max must not be above requests-max");
        }
        limits
    }
}
