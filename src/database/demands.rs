//! What the server must promise before a byte is trusted to it: that what it acknowledged survives a power cut.

use sqlx::Row;
use sqlx::postgres::PgRow;

/// One setting of the server and what it must be.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// The server's name for it.
    pub setting: &'static str,
    /// What it may be.
    pub allowed: &'static [&'static str],
    /// What to do about it.
    pub remedy: &'static str,
    /// Whether an engine that does not know the setting may be used: it has no such switch to be turned off.
    pub may_be_unknown: bool,
}

/// Every demand. `PostgreSQL` documentation, sections 20.5.1 (durability), 13.2 (isolation), 20.11.1 (read-only).
///
/// `synchronous_commit`: `on` waits for the local disk, and for the disks of the synchronous standbys if there are any;
/// `remote_apply` for more than that. `off` acknowledges before the disk has it, `local` does not wait for the standbys that
/// a fail-over would promote, `remote_write` waits only for their memory.
pub const DEMANDS: [Demand; 5] = [
    Demand {
        setting: "synchronous_commit",
        allowed: &["on", "remote_apply"],
        remedy: "set it to on for the server, the database and the role",
        may_be_unknown: false,
    },
    Demand {
        setting: "fsync",
        allowed: &["on"],
        remedy: "set it to on in postgresql.conf",
        may_be_unknown: true,
    },
    Demand {
        setting: "full_page_writes",
        allowed: &["on"],
        remedy: "set it to on in postgresql.conf",
        may_be_unknown: true,
    },
    Demand {
        setting: "transaction_isolation",
        allowed: &["read committed", "serializable"],
        remedy: "set default_transaction_isolation to read committed",
        may_be_unknown: false,
    },
    Demand {
        setting: "transaction_read_only",
        allowed: &["off"],
        remedy: "connect to the primary, and set default_transaction_read_only to off",
        may_be_unknown: false,
    },
];

/// A setting that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database has {setting} = {found}, with which acknowledged records could be lost or not written: {remedy}"
)]
pub struct DemandError {
    /// The setting.
    pub setting: &'static str,
    /// What it is.
    pub found: String,
    /// What to do.
    pub remedy: &'static str,
}

/// One statement that reads them all.
pub(super) fn question() -> String {
    let columns: Vec<String> =
        DEMANDS.iter().map(|demand| format!("current_setting('{0}', true) AS {0}", demand.setting)).collect();
    format!("SELECT {}", columns.join(", "))
}

/// Whether the answer to [`question`] meets every demand.
pub(super) fn check(row: &PgRow) -> Result<(), DemandError> {
    for demand in &DEMANDS {
        let found: Option<String> = row.try_get(demand.setting).unwrap_or_default();
        let is_met = match &found {
            None => demand.may_be_unknown,
            Some(found) => demand.allowed.contains(&found.as_str()),
        };
        if !is_met {
            let found = found.unwrap_or_else(|| String::from("unknown"));
            return Err(DemandError { setting: demand.setting, found, remedy: demand.remedy });
        }
    }
    Ok(())
}
