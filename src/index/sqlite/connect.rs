//! Opening the file: its mode, the connection's settings, the schema's version, whose database it is.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::decode::{bytes, number, value};
use super::engine::translate;
use super::{Opening, SqliteOptions};
use crate::index::{Incarnation, IndexError, sql};
use crate::model::{Entropy, Timestamp};
use crate::telemetry::event;

/// Every schema this release knows, oldest first. A released file is never edited: a new one expands the schema, a later
/// one contracts it.
const MIGRATIONS: [(u64, &str); 2] =
    [(1, include_str!("../ddl/sqlite/0001_first.sql")), (2, include_str!("../ddl/sqlite/0002_scrub.sql"))];

/// The format of the rows' own bytes, as far as the index knows them.
const FORMAT: i64 = 1;

/// The write-ahead log is cut back to this after a checkpoint, bytes.
const WAL_BYTES_KEPT: &str = "67108864";

/// How often to look again while another process holds a lock that `SQLite` itself cannot wait for.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Rows that a connection's thread may run ahead: a page of a listing and one.
const ROW_BUFFER: usize = 1024;

/// Which file a path led to: a file that was replaced or removed under us is no longer ours.
pub(super) type FileIdentity = (u64, u64);

/// The settings of every connection.
pub(super) fn connect_options(options: &SqliteOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&options.path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(options.busy_timeout)
        .row_buffer_size(ROW_BUFFER)
        // Sorting must not write names of records into a temporary file outside the region's facet.
        .pragma("temp_store", "memory")
        // A deleted name must not stay readable in a free page.
        .pragma("secure_delete", "on")
        .pragma("trusted_schema", "off")
        .pragma("cell_size_check", "on")
        .pragma("journal_size_limit", WAL_BYTES_KEPT)
        // Slow statements are ours to report; sqlx would log their text.
        .disable_statement_logging()
}

/// Makes the file if that was asked for, and makes sure that nobody else may read it.
pub(super) fn prepare_file(options: &SqliteOptions) -> Result<(), IndexError> {
    let failed =
        |source: io::Error| IndexError::Unavailable { what: "preparing the file", source: source.into() };
    match fs::metadata(&options.path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if options.opening == Opening::Existing {
                return Err(IndexError::Missing);
            }
            // Not `create_new`: two processes may start at once.
            let file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&options.path)
                .map_err(failed)?;
            file.sync_all().map_err(failed)?;
            if let Some(folder) = options.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
            }
        }
        Err(error) => return Err(failed(error)),
    }
    // SQLite gives the log and the shared memory the mode of the database file.
    fs::set_permissions(&options.path, fs::Permissions::from_mode(0o600)).map_err(failed)
}

/// Which file the path leads to now.
pub(super) fn file_identity(path: &Path) -> Result<FileIdentity, IndexError> {
    let metadata = fs::metadata(path)
        .map_err(|source| IndexError::Unavailable { what: "looking at the file", source: source.into() })?;
    Ok((metadata.dev(), metadata.ino()))
}

/// One connection. Switching a new file to its write-ahead log needs a lock that `SQLite` does not wait for, so we do.
pub(super) async fn connect(options: &SqliteOptions) -> Result<SqliteConnection, IndexError> {
    let mut waited = Duration::ZERO;
    loop {
        match connect_options(options).connect().await.map_err(|error| translate(error, "connecting")) {
            Err(IndexError::Overloaded { .. }) if waited < options.busy_timeout => {
                tokio::time::sleep(LOCK_RETRY).await;
                waited += LOCK_RETRY;
            }
            outcome => return outcome,
        }
    }
}

/// Whether a connection made later still leads to the database that was opened: the path may name another file by now.
pub(super) async fn check_life(conn: &mut SqliteConnection, expected: Incarnation) -> Result<(), IndexError> {
    let row = sqlx::query(sql::META)
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| translate(error, "reading the index's identity"))?;
    let found = row.map(|row| bytes(&row, "incarnation")).transpose()?;
    if found.as_deref() == Some(&expected.0[..]) {
        Ok(())
    } else {
        Err(IndexError::Corrupt { what: "the database file was replaced while it was open" })
    }
}

/// Brings the schema up to date and checks whose database it is. Nothing is changed in a database that is not ours.
pub(super) async fn settle(
    conn: &mut SqliteConnection,
    options: &SqliteOptions,
    entropy: &dyn Entropy,
    now: Timestamp,
) -> Result<Incarnation, IndexError> {
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(|error| translate(error, "locking"))?;
    let found = schema_version(&mut tx).await?;
    let known = MIGRATIONS.last().map_or(0, |(version, _)| *version);
    match found {
        None if options.opening == Opening::Existing => return Err(IndexError::Missing),
        Some(found) if found > known => return Err(IndexError::NewerSchema { found, known }),
        Some(_) => _ = check_meta(&mut tx, options).await?,
        None => {}
    }
    for (version, ddl) in MIGRATIONS.iter().filter(|(version, _)| Some(*version) > found) {
        migrate(&mut tx, *version, ddl, now).await?;
    }
    if found.is_none() {
        write_meta(&mut tx, options, entropy, now).await?;
    }
    let incarnation = check_meta(&mut tx, options).await?;
    tx.commit().await.map_err(|error| translate(error, "committing the schema"))?;
    Ok(incarnation)
}

async fn schema_version(conn: &mut SqliteConnection) -> Result<Option<u64>, IndexError> {
    let failed = |error| translate(error, "reading the schema's version");
    let table = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'")
        .fetch_optional(&mut *conn)
        .await
        .map_err(failed)?;
    if table.is_none() {
        return Ok(None);
    }
    let row = sqlx::query("SELECT coalesce(max(version), 0) AS version FROM migrations")
        .fetch_one(&mut *conn)
        .await
        .map_err(failed)?;
    number(&row, "version").map(Some)
}

async fn migrate(
    conn: &mut SqliteConnection,
    version: u64,
    ddl: &'static str,
    now: Timestamp,
) -> Result<(), IndexError> {
    let failed = |error| translate(error, "migrating the schema");
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied_ms INTEGER NOT NULL)",
    )
    .execute(&mut *conn)
    .await
    .map_err(failed)?;
    sqlx::raw_sql(ddl).execute(&mut *conn).await.map_err(failed)?;
    sqlx::query("INSERT INTO migrations (version, applied_ms) VALUES ($1, $2)")
        .bind(super::decode::to_signed(version)?)
        .bind(super::decode::to_signed(now.millis())?)
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    event::schema_migrated("index", version);
    Ok(())
}

async fn write_meta(
    conn: &mut SqliteConnection,
    options: &SqliteOptions,
    entropy: &dyn Entropy,
    now: Timestamp,
) -> Result<(), IndexError> {
    let mut incarnation = [0; 16];
    entropy.fill(&mut incarnation).map_err(|source| IndexError::Unavailable {
        what: "choosing an incarnation",
        source: source.into(),
    })?;
    sqlx::query(sql::META_INSERT)
        .bind(&incarnation[..])
        .bind(FORMAT)
        .bind(options.region.as_str())
        .bind(options.environment.as_str())
        .bind(super::decode::to_signed(now.millis())?)
        .execute(&mut *conn)
        .await
        .map_err(|error| translate(error, "writing the index's identity"))?;
    Ok(())
}

async fn check_meta(conn: &mut SqliteConnection, options: &SqliteOptions) -> Result<Incarnation, IndexError> {
    let row = sqlx::query(sql::META)
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| translate(error, "reading the index's identity"))?
        .ok_or(IndexError::Corrupt { what: "the index's identity is missing" })?;
    let region: String = value(&row, "region")?;
    if region != options.region.as_str() {
        return Err(IndexError::WrongRegion { expected: options.region.clone(), found: region });
    }
    let environment: String = value(&row, "environment")?;
    if environment != options.environment.as_str() {
        return Err(IndexError::WrongEnvironment {
            expected: options.environment.clone(),
            found: environment,
        });
    }
    let format = number(&row, "format")?;
    if format != FORMAT.unsigned_abs() {
        return Err(IndexError::NewerSchema { found: format, known: FORMAT.unsigned_abs() });
    }
    let incarnation = bytes(&row, "incarnation")?;
    <[u8; 16]>::try_from(&incarnation[..])
        .map(Incarnation)
        .map_err(|_| IndexError::Corrupt { what: "incarnation" })
}
