//! The key store in an `SQLite` file of its own.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, Sqlite};

use super::{Canary, KekRecord, KekState, KeyStore, RootRef, StoreError, Wrapped};
use crate::model::{ClassCode, KekId, TenantCode, Timestamp};

/// `user_version` of the schema below.
const SCHEMA: i64 = 1;

/// An empty subject means none: SQL's NULLs differ from each other, which would let two class KEKs stand side by side.
const DDL: &str = "
CREATE TABLE kek (
    kek_id       BLOB    NOT NULL CHECK (length(kek_id) = 16),
    epoch        INTEGER NOT NULL CHECK (epoch BETWEEN 1 AND 4096),
    tenant       BLOB    NOT NULL CHECK (length(tenant) = 16),
    class        INTEGER NOT NULL CHECK (class BETWEEN 0 AND 65535),
    subject      BLOB    NOT NULL DEFAULT x'' CHECK (length(subject) <= 64),
    created_ms   INTEGER NOT NULL,
    root_region  TEXT    NOT NULL,
    root_tenant  BLOB    CHECK (root_tenant IS NULL OR length(root_tenant) = 16),
    root_version INTEGER NOT NULL CHECK (root_version >= 0),
    wrapped      BLOB    NOT NULL CHECK (length(wrapped) <= 4096),
    shred_epoch  INTEGER CHECK (shred_epoch >= 0),
    retired      INTEGER NOT NULL DEFAULT 0 CHECK (retired IN (0, 1)),
    PRIMARY KEY (kek_id, epoch),
    UNIQUE (tenant, class, subject, epoch),
    CHECK ((retired = 1) = (length(wrapped) = 0))
) STRICT, WITHOUT ROWID;
CREATE TABLE canary (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    text TEXT NOT NULL
) STRICT;
PRAGMA user_version = 1;
";

/// `keystore.sqlite`: mode 0600, WAL, full sync. Several processes may have it open.
#[derive(Debug)]
pub struct SqliteKeyStore {
    pool: SqlitePool,
}

impl SqliteKeyStore {
    /// Opens the file, making it and its schema if there is none; refuses one that others can read.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        own_file(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .pragma("temp_store", "memory")
            // What is erased is overwritten, not only unlinked from the tree.
            .pragma("secure_delete", "on");
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options)
            .await
            .map_err(|error| failed(&error))?;
        migrate(&pool).await?;
        Ok(Self { pool })
    }

    /// Waits for what is being written and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[async_trait]
impl KeyStore for SqliteKeyStore {
    async fn insert_or_read(&self, record: &KekRecord) -> Result<KekRecord, StoreError> {
        let subject = record.subject.as_deref().unwrap_or_default();
        sqlx::query(
            "INSERT INTO kek (kek_id, epoch, tenant, class, subject, created_ms, root_region, root_tenant, root_version, \
             wrapped, shred_epoch, retired) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0) ON CONFLICT DO NOTHING",
        )
        .bind(record.kek_id.as_bytes().as_slice())
        .bind(i64::from(record.epoch))
        .bind(record.tenant.as_bytes().as_slice())
        .bind(i64::from(record.class.0))
        .bind(subject)
        .bind(integer(record.created.millis())?)
        .bind(record.root.region().as_str())
        .bind(record.root.tenant().map(|tenant| tenant.as_bytes().to_vec()))
        .bind(i64::from(record.wrapped.root_version))
        .bind(record.wrapped.bytes.as_slice())
        .bind(record.shred_epoch.map(integer).transpose()?)
        .execute(&self.pool)
        .await
        .map_err(|error| failed(&error))?;
        let row = sqlx::query(
            "SELECT kek_id, epoch, tenant, class, subject, created_ms, root_region, root_tenant, root_version, wrapped, \
             shred_epoch, retired FROM kek WHERE tenant = ?1 AND class = ?2 AND subject = ?3 AND epoch = ?4",
        )
        .bind(record.tenant.as_bytes().as_slice())
        .bind(i64::from(record.class.0))
        .bind(subject)
        .bind(i64::from(record.epoch))
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| failed(&error))?;
        // Nothing there: the insert hit another row with the same KEK id and epoch.
        row.as_ref().map(decode).ok_or(StoreError::Corrupt("a KEK id is used twice"))?
    }

    async fn newest(&self, tenant: TenantCode, class: ClassCode) -> Result<Option<KekRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT kek_id, epoch, tenant, class, subject, created_ms, root_region, root_tenant, root_version, wrapped, \
             shred_epoch, retired FROM kek WHERE tenant = ?1 AND class = ?2 AND subject = x'' ORDER BY epoch DESC LIMIT 1",
        )
        .bind(tenant.as_bytes().as_slice())
        .bind(i64::from(class.0))
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| failed(&error))?;
        row.as_ref().map(decode).transpose()
    }

    async fn find(&self, kek_id: KekId, epoch: u32) -> Result<Option<KekRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT kek_id, epoch, tenant, class, subject, created_ms, root_region, root_tenant, root_version, wrapped, \
             shred_epoch, retired FROM kek WHERE kek_id = ?1 AND epoch = ?2",
        )
        .bind(kek_id.as_bytes().as_slice())
        .bind(i64::from(epoch))
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| failed(&error))?;
        row.as_ref().map(decode).transpose()
    }

    async fn names(&self, root: &RootRef) -> Result<bool, StoreError> {
        let tenant = root.tenant().map(|tenant| tenant.as_bytes().to_vec());
        // A tenant's root has only that tenant's keys, which are found by the index.
        let asked = sqlx::query_scalar(if tenant.is_some() {
            "SELECT EXISTS (SELECT 1 FROM kek WHERE tenant = ?2 AND root_region = ?1 AND root_tenant = ?2 AND retired = 0)"
        } else {
            "SELECT EXISTS (SELECT 1 FROM kek WHERE root_region = ?1 AND root_tenant IS ?2 AND retired = 0)"
        });
        let found: i64 = asked
            .bind(root.region().as_str())
            .bind(tenant)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| failed(&error))?;
        Ok(found == 1)
    }

    async fn page(&self, after: Option<(KekId, u32)>, limit: u32) -> Result<Vec<KekRecord>, StoreError> {
        let (kek_id, epoch) = after.unwrap_or((KekId::from_bytes([0; 16]), 0));
        let rows = sqlx::query(
            "SELECT kek_id, epoch, tenant, class, subject, created_ms, root_region, root_tenant, root_version, wrapped, \
             shred_epoch, retired FROM kek WHERE (kek_id, epoch) > (?1, ?2) ORDER BY kek_id, epoch LIMIT ?3",
        )
        .bind(kek_id.as_bytes().as_slice())
        .bind(i64::from(epoch))
        .bind(i64::from(limit.clamp(1, 1000)))
        .fetch_all(&self.pool)
        .await
        .map_err(|error| failed(&error))?;
        rows.iter().map(decode).collect()
    }

    async fn rewrap(
        &self,
        kek_id: KekId,
        epoch: u32,
        old: &Wrapped,
        new: &Wrapped,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE kek SET wrapped = ?1, root_version = ?2 \
             WHERE kek_id = ?3 AND epoch = ?4 AND wrapped = ?5 AND root_version = ?6 AND retired = 0",
        )
        .bind(new.bytes.as_slice())
        .bind(i64::from(new.root_version))
        .bind(kek_id.as_bytes().as_slice())
        .bind(i64::from(epoch))
        .bind(old.bytes.as_slice())
        .bind(i64::from(old.root_version))
        .execute(&self.pool)
        .await
        .map_err(|error| failed(&error))?;
        Ok(done.rows_affected() == 1)
    }

    async fn retire(&self, kek_id: KekId, epoch: u32) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE kek SET wrapped = x'', retired = 1 WHERE kek_id = ?1 AND epoch = ?2 AND retired = 0 \
             AND EXISTS (SELECT 1 FROM kek AS newer WHERE newer.kek_id = ?1 AND newer.epoch > ?2)",
        )
        .bind(kek_id.as_bytes().as_slice())
        .bind(i64::from(epoch))
        .execute(&self.pool)
        .await
        .map_err(|error| failed(&error))?;
        // The log still holds the page as it was: write it back and cut it. Busy readers only delay that.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&self.pool)
            .await
            .map_err(|error| failed(&error))?;
        Ok(done.rows_affected() == 1)
    }

    async fn canary_or(&self, canary: &Canary) -> Result<Canary, StoreError> {
        sqlx::query("INSERT INTO canary (one, text) VALUES (1, ?1) ON CONFLICT DO NOTHING")
            .bind(canary.to_string())
            .execute(&self.pool)
            .await
            .map_err(|error| failed(&error))?;
        self.canary().await?.ok_or(StoreError::Corrupt("the canary is gone"))
    }

    async fn canary(&self) -> Result<Option<Canary>, StoreError> {
        let text: Option<String> = sqlx::query_scalar("SELECT text FROM canary WHERE one = 1")
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| failed(&error))?;
        text.map(|text| text.parse().map_err(|_| StoreError::Corrupt("the canary does not parse")))
            .transpose()
    }
}

/// Makes the file with the right mode before `SQLite` sees it, which gives its log and index files the same mode.
fn own_file(path: &Path) -> Result<(), StoreError> {
    let io = |error: std::io::Error| StoreError::Unavailable(error.kind().to_string());
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all().map_err(io)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error)),
    }
    let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 { Err(StoreError::Exposed) } else { Ok(()) }
}

async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    // IMMEDIATE, so that of two processes that start together one makes the schema and the other sees it.
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(|error| failed(&error))?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| failed(&error))?;
    match found {
        0 => {
            sqlx::raw_sql(DDL).execute(&mut *transaction).await.map_err(|error| failed(&error))?;
            transaction.commit().await.map_err(|error| failed(&error))
        }
        SCHEMA => Ok(()),
        found => Err(StoreError::NewerSchema { found, known: SCHEMA }),
    }
}

fn decode(row: &SqliteRow) -> Result<KekRecord, StoreError> {
    let root_region =
        text(row, "root_region")?.parse().map_err(|_| StoreError::Corrupt("a root's region"))?;
    let root_tenant: Option<Vec<u8>> = column(row, "root_tenant")?;
    let subject: Vec<u8> = column(row, "subject")?;
    let retired: i64 = column(row, "retired")?;
    let root = match root_tenant {
        None => RootRef::Region(root_region),
        Some(tenant) => RootRef::Tenant(root_region, code(&tenant)?),
    };
    Ok(KekRecord {
        kek_id: column::<Vec<u8>>(row, "kek_id")?
            .as_slice()
            .try_into()
            .map_err(|_| StoreError::Corrupt("a KEK id"))?,
        epoch: number(row, "epoch")?,
        tenant: code(&column::<Vec<u8>>(row, "tenant")?)?,
        class: ClassCode(number(row, "class")?),
        subject: (!subject.is_empty()).then_some(subject),
        created: Timestamp::from_millis(number(row, "created_ms")?),
        root,
        wrapped: Wrapped { root_version: number(row, "root_version")?, bytes: column(row, "wrapped")? },
        shred_epoch: column::<Option<i64>>(row, "shred_epoch")?
            .map(|epoch| u64::try_from(epoch).map_err(|_| StoreError::Corrupt("a shred epoch")))
            .transpose()?,
        state: if retired == 0 { KekState::Live } else { KekState::Retired },
    })
}

fn code(bytes: &[u8]) -> Result<TenantCode, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("a tenant code"))
}

fn column<'r, T>(row: &'r SqliteRow, name: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(name).map_err(|_| StoreError::Corrupt(name))
}

fn text(row: &SqliteRow, name: &'static str) -> Result<String, StoreError> {
    column(row, name)
}

fn number<N: TryFrom<i64>>(row: &SqliteRow, name: &'static str) -> Result<N, StoreError> {
    N::try_from(column::<i64>(row, name)?).map_err(|_| StoreError::Corrupt(name))
}

fn integer(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Corrupt("a number too large for SQL"))
}

/// The engine's own words name no path and no values.
fn failed(error: &sqlx::Error) -> StoreError {
    StoreError::Unavailable(match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.kind().to_string(),
        sqlx::Error::PoolTimedOut => String::from("every connection is busy"),
        sqlx::Error::PoolClosed => String::from("closed"),
        _ => String::from("the driver failed"),
    })
}
