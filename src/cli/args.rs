//! The command line's grammar and help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::model::{AccessKeyId, BucketName, ClassId, RegionId, TenantId, Weight};

/// A data-residency-aware storage proxy for health records.
///
/// Speaks S3, keeps each tenant's records in the region that tenant chose, and seals every one of them.
#[derive(Debug, Parser)]
#[command(name = "terroir", version, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes (sysexits.h): 0 done · 1 failed · 64 wrong usage · 69 a needed service is unavailable · 70 a defect of \
ours · 71 the system gave no threads or randomness · 74 an input or output error · 75 busy, or the store does not answer: try later · 78 the \
configuration is wrong";

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run both regions on this machine with embedded stores, two demo tenants and a short tour.
    Dev(DevArgs),
    /// Run the proxy of one region (or several, in tests).
    Serve(ServeArgs),
    /// Check regions and register; report every finding with file and line.
    Check(CheckArgs),
    /// Create, list and change tenants.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Create, list, disable and rotate S3 credentials.
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Set the class rule of a bucket.
    #[command(subcommand)]
    Bucket(BucketCommand),
    /// Read the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Say where every trace of a record lies.
    Where(WhereArgs),
    /// Verify every sealed blob of a region, find what does not belong there, delete what is due.
    Scrub(ScrubArgs),
    /// Say what a blob is: by its sealed locator if the region's keys open it, else by its clear header alone.
    Inspect(InspectArgs),
}

/// `terroir dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Folder for stores, indexes, keys, audit logs and the demo credentials.
    #[arg(long, default_value = "./terroir-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// First port: fr takes N (data), N+1 (control), N+2 (observe); us takes N+10, N+11, N+12.
    #[arg(long, default_value_t = 9000, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=65000))]
    pub port_base: u16,
    /// End after the tour: 0 if all of it worked, else 1 and what broke.
    #[arg(long)]
    pub exit_after_tour: bool,
    /// Read the catalogue from this folder instead of the one built in.
    #[arg(long, value_name = "DIR")]
    pub regions: Option<PathBuf>,
}

/// `terroir serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The process settings (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The region to serve; it must have a section in the settings.
    #[arg(long, value_name = "ID", required = true)]
    pub region: Vec<RegionId>,
}

/// `terroir check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The catalogue's folder; without it, the one built in.
    #[arg(long, value_name = "DIR")]
    pub regions: Option<PathBuf>,
    /// Also check these process settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Which region of which installation a verb works on.
#[derive(Debug, Args)]
pub struct SiteArgs {
    /// The region.
    #[arg(long, value_name = "ID")]
    pub region: RegionId,
    /// The process settings (TOML) of a real installation.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub config: Option<PathBuf>,
    /// The data folder of `terroir dev`.
    #[arg(long, default_value = "./terroir-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Read the catalogue from this folder instead of the one built in (with --data-dir).
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub regions: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `terroir tenant …`.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Create a tenant whose home is this region.
    Create {
        /// Its name: 2 to 40 lowercase letters, digits and single hyphens.
        id: TenantId,
        /// The least class of its records: of this, the bucket's and the record's own, the strictest holds.
        #[arg(long, value_name = "CLASS", default_value = "health-sensitive")]
        default_class: ClassId,
        /// Refuse records for which neither they nor their bucket name a class. What they name may still not be looser.
        #[arg(long)]
        refuse_unclassified: bool,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
    /// List the region's tenants.
    List {
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
    /// Show one tenant.
    Show {
        /// Which.
        id: TenantId,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
    /// Refuse every request of a tenant. Nothing is deleted; `resume` undoes it.
    Suspend {
        /// Which.
        id: TenantId,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
    /// Set how much a tenant counts where tenants compete for memory, requests and connections.
    Weight {
        /// Which.
        id: TenantId,
        /// 1 (what every tenant begins with) to 16.
        weight: Weight,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
    /// Serve a suspended tenant again.
    Resume {
        /// Which.
        id: TenantId,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
}

/// `terroir credential …`.
#[derive(Debug, Subcommand)]
pub enum CredentialCommand {
    /// Create an S3 access key. Its secret is shown once, now.
    Create {
        /// Whose.
        tenant: TenantId,
        /// What it is for.
        #[arg(long, default_value = "", value_name = "TEXT")]
        label: String,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
    /// List a tenant's access keys, without secrets.
    List {
        /// Whose.
        tenant: TenantId,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
    /// Show one access key, without its secret.
    Show {
        /// Which.
        key_id: AccessKeyId,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
    /// Disable an access key for good. A running proxy obeys within 5 seconds.
    Disable {
        /// Which.
        key_id: AccessKeyId,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
    /// Create a successor of an access key; the old one works until it is disabled.
    Rotate {
        /// Which.
        key_id: AccessKeyId,
        /// Disable the old one at once.
        #[arg(long)]
        disable_old: bool,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
}

/// `terroir bucket …`.
#[derive(Debug, Subcommand)]
pub enum BucketCommand {
    /// Set the least class of what is written into a bucket from now on.
    Rule {
        /// Whose bucket.
        tenant: TenantId,
        /// Which.
        bucket: BucketName,
        /// The class; records may be given a stricter one, never a looser.
        #[arg(long, value_name = "CLASS", required_unless_present = "none")]
        class: Option<ClassId>,
        /// Take the rule away.
        #[arg(long, conflicts_with = "class")]
        none: bool,
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
}

/// `terroir audit …`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Verify the hash chain: a changed, removed or reordered record is found.
    Verify {
        #[command(flatten)]
        #[allow(missing_docs)]
        site: SiteArgs,
    },
}

/// `terroir where`.
#[derive(Debug, Args)]
pub struct WhereArgs {
    /// The record: `s3://bucket/key`.
    #[arg(value_name = "URI")]
    pub uri: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: SiteArgs,
}

/// `terroir scrub`.
///
/// Exit code 1: blobs are missing or corrupt. 69: something could not be read for now, or the pass stopped before its end. 75: another
/// process scrubs the region. Unknown blobs are reported and are no failure.
#[derive(Debug, Args)]
pub struct ScrubArgs {
    /// Begin a new pass, whatever an interrupted one left.
    #[arg(long, conflicts_with = "resume")]
    pub once: bool,
    /// Go on with an interrupted pass, or do nothing. Without either: go on if there is one, else begin.
    #[arg(long)]
    pub resume: bool,
    /// Bytes a second read from the store, at most; with K, M or G for powers of 1024.
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    pub rate: Option<u64>,
    /// Blobs a second, at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub blobs_per_s: Option<u64>,
    /// Give blobs that no index row names to the reclaim queue, once they were known for the horizon of the settings.
    #[arg(long)]
    pub remove_unknown: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: SiteArgs,
}

/// `terroir inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The blob: its 32 hex digits, or a file that holds one, of whatever store.
    #[arg(value_name = "BLOB")]
    pub blob: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub site: SiteArgs,
}

/// `64M`, `1G`, `65536`: at least 64 KiB, or a blob of 8 MiB would take minutes.
fn rate(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 64 << 10;
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 =
        digits.parse().map_err(|_| "must be a number, with K, M or G behind it or not".to_owned())?;
    let rate = number.checked_mul(1 << shift).filter(|rate| *rate >= LEAST);
    rate.ok_or_else(|| "must be 64K at least".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The long and the short help of a command and of all below it.
    fn helps(command: &clap::Command) -> Vec<String> {
        let mut own = command.clone();
        let mut all = vec![own.render_long_help().to_string(), own.render_help().to_string()];
        all.extend(command.get_subcommands().flat_map(helps));
        all
    }

    #[test]
    fn no_help_text_shows_the_line_breaks_of_the_source() {
        let all = helps(&Arguments::command());
        assert!(all.len() > 2 * 20, "every verb has help: {}", all.len());
        for help in all {
            assert!(!help.contains('\\'), "{help}");
        }
    }

    #[test]
    fn the_default_class_is_told_as_the_floor_that_it_is() {
        let mut arguments = Arguments::command();
        let tenant = arguments.find_subcommand_mut("tenant").unwrap();
        let help = tenant.find_subcommand_mut("create").unwrap().render_long_help().to_string();
        assert!(help.contains("The least class of its records") && !help.contains("name none"), "{help}");
    }

    #[test]
    fn a_rate_is_read_in_powers_of_1024() {
        assert_eq!(rate("65536"), Ok(65_536));
        assert_eq!(rate("64K"), Ok(65_536));
        assert_eq!(rate("3M"), Ok(3 << 20));
        assert_eq!(rate("1G"), Ok(1 << 30));
        for wrong in ["", "K", "1K", "0", "-1", "1.5M", "64k", "99999999999999999999", "99999999999G"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
