//! The connection URL: parsed once, checked, and from then on not to be seen again.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::model::Secret;

/// What the library would take from the environment without being told to: a database that nobody named.
const VARIABLES: [&str; 13] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGDATABASE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGAPPNAME",
    "PGOPTIONS",
];

/// The parameters that a URL may have. `host` is for the folder of a Unix socket.
const PARAMETERS: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "host"];

/// `PostgreSQL`'s registered port (IANA service names and port numbers).
const PORT: u16 = 5432;

/// A connection URL that may be used. Its `Debug` shows where it leads, never who connects nor with what.
#[derive(Clone)]
pub struct Address {
    /// Whole, to tell whether another is another.
    url: Secret<String>,
    options: PgConnectOptions,
    place: String,
}

/// Why a connection URL may not be used. Shows nothing of the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A rule is broken.
    #[error("the connection URL must {0}")]
    Rule(&'static str),
    /// It leads elsewhere than the region file says.
    #[error("the connection URL leads to another host than {declared}, which the region file declares")]
    AnotherHost {
        /// The declared host and port.
        declared: String,
    },
    /// It leads to another database than the one that is in use.
    #[error("the connection URL leads to another database than the one in use: that takes a restart")]
    AnotherDatabase,
    /// The environment would change where we connect and as whom.
    #[error("the variable {0} must not be set: only the connection URL says where the database is")]
    Environment(&'static str),
}

impl Address {
    /// Parses `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=/path`.
    ///
    /// User and database must be named. Another machine must be spoken to with `sslmode=verify-full`.
    pub fn parse(url: &Secret<String>) -> Result<Self, AddressError> {
        if let Some(name) = VARIABLES.into_iter().find(|name| std::env::var_os(name).is_some()) {
            return Err(AddressError::Environment(name));
        }
        let text = url.expose().trim();
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or(AddressError::Rule("start with postgres://"))?;
        let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = front.split_once('/').unwrap_or((front, ""));
        let (user, _) = authority.rsplit_once('@').unwrap_or(("", authority));
        let has_password = user.split_once(':').is_some_and(|(_, password)| !password.is_empty());
        if user.split(':').next().is_none_or(str::is_empty) {
            return Err(AddressError::Rule("name a user"));
        }
        if database.is_empty() {
            return Err(AddressError::Rule("name a database"));
        }
        let names = query.split('&').filter(|pair| !pair.is_empty());
        if !names.clone().all(|pair| PARAMETERS.contains(&pair.split('=').next().unwrap_or(pair))) {
            return Err(AddressError::Rule(
                "have no parameters but sslmode, sslrootcert, sslcert, sslkey, host",
            ));
        }
        // An empty password keeps the library from looking for one in a file.
        let no_password = match (has_password, query.is_empty()) {
            (true, _) => "",
            (false, true) => "?password=",
            (false, false) => "&password=",
        };
        let whole = Secret::new(format!("{text}{no_password}"));
        let options =
            PgConnectOptions::from_str(whole.expose()).map_err(|_| AddressError::Rule("be a URL"))?;
        Self::checked(url.clone(), options)
    }

    fn checked(url: Secret<String>, options: PgConnectOptions) -> Result<Self, AddressError> {
        let host = options.get_host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let is_here = options.get_socket().is_some()
            || host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !is_here && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
            return Err(AddressError::Rule("have sslmode=verify-full, unless its host is this machine"));
        }
        let place = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None if host.contains(':') => format!("[{host}]:{}", options.get_port()),
            None => format!("{host}:{}", options.get_port()),
        };
        // Slow statements are ours to report; the library would log their text.
        Ok(Self { url, options: options.application_name("terroir").disable_statement_logging(), place })
    }

    /// Whether it leads where `declared` (a host, or host and port; 5432 if there is none) says.
    pub fn must_lead_to(&self, declared: &str) -> Result<(), AddressError> {
        let declared = declared.to_ascii_lowercase();
        let has_port = declared.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let whole = if has_port { declared.clone() } else { format!("{declared}:{PORT}") };
        if self.place == whole { Ok(()) } else { Err(AddressError::AnotherHost { declared }) }
    }

    /// Whether it leads to the database that `first` leads to: another one may be another's, or an older copy.
    pub fn must_lead_where(&self, first: &Self) -> Result<(), AddressError> {
        let is_same =
            self.place == first.place && self.options.get_database() == first.options.get_database();
        is_same.then_some(()).ok_or(AddressError::AnotherDatabase)
    }

    pub(super) const fn options(&self) -> &PgConnectOptions {
        &self.options
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.place).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, AddressError> {
        Address::parse(&Secret::new(url.to_owned()))
    }

    #[test]
    fn another_machine_is_spoken_to_over_verified_tls_alone() {
        for mode in ["", "?sslmode=disable", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-ca"] {
            let refused = parse(&format!("postgres://u:p@db.example:5432/terroir{mode}"));
            assert!(
                matches!(&refused, Err(AddressError::Rule(rule)) if rule.contains("verify-full")),
                "{mode}"
            );
        }
        assert!(parse("postgres://u:p@db.example/terroir?sslmode=verify-full").is_ok());
        for here in ["127.0.0.1:5432", "localhost", "[::1]:5433", "127.9.9.9"] {
            assert!(parse(&format!("postgres://u@{here}/terroir")).is_ok(), "{here}");
        }
        assert!(parse("postgres://u@localhost/terroir?host=/run/postgresql").is_ok());
        assert!(parse("postgres://u@localhost.example/terroir").is_err());
    }

    #[test]
    fn nothing_is_guessed() {
        for incomplete in [
            "postgres://db.example/terroir?sslmode=verify-full",
            "postgres://u:p@127.0.0.1",
            "postgres://u:p@127.0.0.1/",
            "mysql://u:p@127.0.0.1/terroir",
            "u:p@127.0.0.1/terroir",
            "",
        ] {
            assert!(parse(incomplete).is_err(), "{incomplete}");
        }
        for parameter in
            ["options=-csynchronous_commit%3Doff", "port=1", "user=x", "hostaddr=10.0.0.1", "dbname=y"]
        {
            assert!(parse(&format!("postgres://u:p@127.0.0.1/terroir?{parameter}")).is_err(), "{parameter}");
        }
    }

    #[test]
    fn the_declared_host_is_the_one_it_leads_to() {
        let address = parse("postgres://u:p@DB.example/terroir?sslmode=verify-full").unwrap();
        address.must_lead_to("db.example").unwrap();
        address.must_lead_to("db.example:5432").unwrap();
        for other in ["db.example:5433", "other.example", "db.example.org", "example"] {
            assert!(address.must_lead_to(other).is_err(), "{other}");
        }
        // A parameter that overrides the host is seen as what it does.
        let moved =
            parse("postgres://u:p@db.example/terroir?sslmode=verify-full&host=abroad.example").unwrap();
        assert!(moved.must_lead_to("db.example").is_err());
        let socket = parse("postgres://u:p@db.example/terroir?sslmode=verify-full&host=/tmp").unwrap();
        assert!(socket.must_lead_to("db.example").is_err());
    }

    #[test]
    fn nothing_of_the_url_is_printed() {
        let address = parse("postgres://somebody:hunter2@127.0.0.1:5432/terroir").unwrap();
        let printed = format!("{address:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("somebody"), "{printed}");
        let refused = parse("postgres://somebody:hunter2@db.example/terroir").unwrap_err();
        let printed = format!("{refused} {refused:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("somebody"), "{printed}");
    }
}
