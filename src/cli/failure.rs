//! How a command fails: an exit code of sysexits.h, and a message that says what to do.

use std::fmt;
use std::process::ExitCode;

use crate::app::{SiteError, StartError};
use crate::blobs::{ErrorKind, ProbeError};
use crate::keys::KeysError;
use crate::telemetry::event;
use crate::tenants::TenantsError;

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

/// Exit codes, of sysexits.h where it has one. `--help` and the README list them.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed, no finer code fits: a name that is taken, a record that is not there.
    pub const FAILED: u8 = 1;
    /// `EX_USAGE`: the command was used wrongly.
    pub const USAGE: u8 = 64;
    /// `EX_UNAVAILABLE`: a service that is needed is not there, the store has no room, or an address is taken.
    pub const UNAVAILABLE: u8 = 69;
    /// `EX_SOFTWARE`: a defect of ours: a self-test failed, or code panicked.
    pub const SOFTWARE: u8 = 70;
    /// `EX_OSERR`: the system gave no threads, or no randomness.
    pub const OS: u8 = 71;
    /// `EX_IOERR`: reading or writing a file failed.
    pub const IO: u8 = 74;
    /// `EX_TEMPFAIL`: the store did not answer, or not in time; the same command may succeed later.
    pub const TEMPORARY: u8 = 75;
    /// `EX_CONFIG`: the configuration is wrong.
    pub const CONFIG: u8 = 78;
}

use exit::{CONFIG, FAILED, IO, OS, SOFTWARE, TEMPORARY, UNAVAILABLE};

impl Failure {
    /// Exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: message.into() }
    }

    /// Exit code 78.
    pub fn config(message: impl Into<String>) -> Self {
        Self { code: CONFIG, message: message.into() }
    }

    /// Exit code 69.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: UNAVAILABLE, message: message.into() }
    }

    /// Exit code 75.
    pub fn try_again(message: impl Into<String>) -> Self {
        Self { code: TEMPORARY, message: message.into() }
    }

    /// Exit code 74.
    pub fn io(what: &str, error: &std::io::Error) -> Self {
        Self { code: IO, message: format!("{what}: {error}") }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// The same failure, told after `what`.
    pub(super) fn told_after(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    pub(super) fn because(code: u8, error: &dyn std::error::Error) -> Self {
        Self { code, message: event::chain(error) }
    }

    /// An error that is the configuration's fault.
    pub(super) fn wrong_config(error: &dyn std::error::Error) -> Self {
        Self::because(CONFIG, error)
    }

    /// An error with no finer code.
    pub(super) fn of(error: &dyn std::error::Error) -> Self {
        Self::because(FAILED, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<SiteError> for Failure {
    fn from(error: SiteError) -> Self {
        let code = match &error {
            SiteError::Folder { .. } => IO,
            SiteError::Store(store) => of_store(store.kind()),
            SiteError::Probe(probe) => of_probe(probe),
            SiteError::Entropy(_) => OS,
            SiteError::Secret(_)
            | SiteError::Address { .. }
            | SiteError::Collector(_)
            | SiteError::Refused(_)
            | SiteError::Canaries(_)
            | SiteError::Keys(KeysError::Canary(_)) => CONFIG,
            SiteError::Index(_) | SiteError::KeyStore(_) | SiteError::Keys(_) => UNAVAILABLE,
            SiteError::Audit(_) | SiteError::RootFile(_) | SiteError::Tenants(_) | SiteError::Vault(_) => {
                FAILED
            }
        };
        Self::because(code, &error)
    }
}

/// A store that is down for now is not one that is set up wrongly: a supervisor waits for the first, and only people help the other.
const fn of_store(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Unavailable
        | ErrorKind::Timeout
        | ErrorKind::SlowDown
        | ErrorKind::Overloaded
        | ErrorKind::CircuitOpen => TEMPORARY,
        // The settings' own too: a variable of the environment that would move requests, an address that is none.
        ErrorKind::Denied | ErrorKind::Misconfigured => CONFIG,
        ErrorKind::Unacceptable | ErrorKind::WrongRegion => SOFTWARE,
        ErrorKind::Full
        | ErrorKind::NotFound
        | ErrorKind::Exists
        | ErrorKind::Truncated
        | ErrorKind::Internal => UNAVAILABLE,
    }
}

fn of_probe(error: &ProbeError) -> u8 {
    match error {
        ProbeError::Failed(error) => match error.kind() {
            // It answered, and not as a store does: what is asked here is chosen so that no store needs to.
            ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Truncated | ErrorKind::Internal => CONFIG,
            kind => of_store(kind),
        },
        ProbeError::Lied(_) | ProbeError::Elsewhere { .. } => CONFIG,
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::SelfTest(_) => SOFTWARE,
            StartError::RegionUnknown(_)
            | StartError::Tls { .. }
            | StartError::TlsKeyNotInFile { .. }
            | StartError::Collector { .. } => CONFIG,
            StartError::Listen { .. } => UNAVAILABLE,
            StartError::Site { .. } => return Self::site(error),
        };
        Self::because(code, &error)
    }
}

impl Failure {
    /// The site's own code, the whole chain of messages.
    fn site(error: StartError) -> Self {
        let message = Self::of(&error).message;
        match error {
            StartError::Site { source, .. } => Self { message, ..Self::from(*source) },
            _ => Self::new(message),
        }
    }
}

impl From<TenantsError> for Failure {
    fn from(error: TenantsError) -> Self {
        let code = match &error {
            TenantsError::Index(_) | TenantsError::Keys(_) => UNAVAILABLE,
            _ => FAILED,
        };
        Self::because(code, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::Lie;

    #[test]
    fn a_store_that_is_down_is_temporary_and_one_that_is_wrong_is_the_configuration() {
        for down in [
            ErrorKind::Unavailable,
            ErrorKind::Timeout,
            ErrorKind::SlowDown,
            ErrorKind::Overloaded,
            ErrorKind::CircuitOpen,
        ] {
            assert_eq!(of_store(down), TEMPORARY, "{down}");
        }
        assert_eq!([of_store(ErrorKind::Denied), of_store(ErrorKind::Misconfigured)], [CONFIG; 2]);
        assert_eq!(of_store(ErrorKind::Full), UNAVAILABLE);
        let elsewhere = ProbeError::Elsewhere { declared: "gra".into(), observed: "bhs".into() };
        assert_eq!([of_probe(&elsewhere), of_probe(&ProbeError::Lied(Lie::NotListed))], [CONFIG; 2]);
    }
}
