//! The key store in `PostgreSQL`, for several replicas: a schema of its own, which may stand in a database of its own.
//!
//! Its backups are others than the index's: an erased key must leave them too, in the time that the erasure promises. With
//! one database for both, `pg_dump --schema` and `--exclude-schema` keep them apart; physical backups do not, so
//! whoever makes those gives the key store a database server of its own.
//!
//! What [`retire`](KeyStore::retire) erases is only the wrapped form of a key, of use to nobody without its root. The row's old
//! form leaves the table with the vacuum that follows, and the log with its segments.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::{PgRow, Postgres};

use super::{Canary, KekRecord, KekState, KeyStore, RootRef, StoreError, Wrapped};
use crate::database::{
    self, Address, Fault, Lease, Migration, Pool, PoolSettings, SchemaError, SchemaPlan, Statement,
};
use crate::identity::Identity;
use crate::model::{ClassCode, Clock, KekId, TenantCode, Timestamp};
use crate::telemetry::event;

/// The schema that holds the key store's tables.
pub const KEYS_SCHEMA: &str = "terroir_keys";

/// Connections: keys are cached, so few requests come here.
const CONNECTIONS_MAX: u32 = 4;

/// How often a statement is tried again when the database asks for it.
const ATTEMPTS_MAX: u32 = 5;

/// An empty subject means none: SQL's NULLs differ from each other, which would let two class KEKs stand side by side.
const FIRST: &str = "
CREATE TABLE kek (
    kek_id       BYTEA  NOT NULL CHECK (length(kek_id) = 16),
    epoch        BIGINT NOT NULL CHECK (epoch BETWEEN 1 AND 4096),
    tenant       BYTEA  NOT NULL CHECK (length(tenant) = 16),
    class        BIGINT NOT NULL CHECK (class BETWEEN 0 AND 65535),
    subject      BYTEA  NOT NULL CHECK (length(subject) <= 64),
    created_ms   BIGINT NOT NULL,
    root_region  TEXT   NOT NULL,
    root_tenant  BYTEA  CHECK (root_tenant IS NULL OR length(root_tenant) = 16),
    root_version BIGINT NOT NULL CHECK (root_version >= 0),
    wrapped      BYTEA  NOT NULL CHECK (length(wrapped) <= 4096),
    shred_epoch  BIGINT CHECK (shred_epoch >= 0),
    retired      BIGINT NOT NULL DEFAULT 0 CHECK (retired IN (0, 1)),
    PRIMARY KEY (kek_id, epoch),
    UNIQUE (tenant, class, subject, epoch),
    CHECK ((retired = 1) = (length(wrapped) = 0))
);
CREATE TABLE canary (
    one  BIGINT PRIMARY KEY CHECK (one = 1),
    text TEXT NOT NULL
)";

const MIGRATIONS: [Migration; 1] = [Migration { version: 1, ddl: FIRST }];

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT kek_id, epoch, tenant, class, subject, created_ms, root_region, root_tenant, root_version, wrapped, \
             shred_epoch, retired FROM kek WHERE ",
            $rest
        )
    };
}

const CANARY: &str = "SELECT text FROM canary WHERE one = 1";
const INSERT: &str = "INSERT INTO kek (kek_id, epoch, tenant, class, subject, created_ms, root_region, root_tenant, \
    root_version, wrapped, shred_epoch, retired) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0) \
    ON CONFLICT DO NOTHING";
const SAME_PLACE: &str = select!("tenant = $1 AND class = $2 AND subject = $3 AND epoch = $4");
const NEWEST: &str =
    select!("tenant = $1 AND class = $2 AND subject = ''::BYTEA ORDER BY epoch DESC LIMIT 1");
const FIND: &str = select!("kek_id = $1 AND epoch = $2");
const PAGE: &str = select!("(kek_id, epoch) > ($1, $2) ORDER BY kek_id, epoch LIMIT $3");
/// A tenant's root has only that tenant's keys, which are found by the index.
const NAMES_TENANTS: &str = "SELECT 1 FROM kek WHERE tenant = $2 AND root_region = $1 AND root_tenant = $2 \
    AND retired = 0 LIMIT 1";
const NAMES_REGIONS: &str =
    "SELECT 1 FROM kek WHERE root_region = $1 AND root_tenant IS NULL AND retired = 0 LIMIT 1";
const REWRAP: &str = "UPDATE kek SET wrapped = $1, root_version = $2 \
    WHERE kek_id = $3 AND epoch = $4 AND wrapped = $5 AND root_version = $6 AND retired = 0";
const RETIRE: &str = "UPDATE kek SET wrapped = ''::BYTEA, retired = 1 WHERE kek_id = $1 AND epoch = $2 \
    AND retired = 0 AND EXISTS (SELECT 1 FROM kek AS newer WHERE newer.kek_id = $1 AND newer.epoch > $2)";

/// Wrapped keys in a database that several replicas share.
#[derive(Debug)]
pub struct PostgresKeyStore {
    pool: Pool,
}

impl PostgresKeyStore {
    /// Connects, checks what the server promises, makes or migrates the schema.
    pub async fn open(address: impl Into<Identity<Address>>, clock: &dyn Clock) -> Result<Self, StoreError> {
        let settings = PoolSettings { connections_max: CONNECTIONS_MAX, ..PoolSettings::new(KEYS_SCHEMA) };
        let pool = Pool::new(address.into(), settings);
        pool.check_demands().await.map_err(failed)??;
        let plan = SchemaPlan { schema: KEYS_SCHEMA, migrations: &MIGRATIONS, witness: "kek" };
        let mut lease = pool.lease().await.map_err(failed)?;
        let now = integer(clock.now().millis())?;
        database::migrate(&mut lease, plan, now, None).await.map_err(schema_failed)?;
        drop(lease);
        Ok(Self { pool })
    }

    /// Whether a key store could be asked there: the server promises what it must, and shows us the tables.
    pub async fn prove(address: Address) -> Result<(), StoreError> {
        database::prove(address, KEYS_SCHEMA, CANARY)
            .await
            .map_err(failed)?
            .map(drop)
            .map_err(StoreError::from)
    }

    /// Waits for what is being written and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn row<'q>(&self, ask: impl Fn() -> Statement<'q>) -> Result<Option<KekRecord>, StoreError> {
        self.rows(ask).await?.first().map(decode).transpose()
    }

    async fn rows<'q>(&self, ask: impl Fn() -> Statement<'q>) -> Result<Vec<PgRow>, StoreError> {
        loop {
            let mut lease = self.lease().await?;
            let is_new = lease.is_new();
            match lease.rows(ask()).await {
                // It waited while the server went away; the next one is new.
                Err(Fault::Lost(_)) if !is_new => {}
                answer => return answer.map_err(failed),
            }
        }
    }

    async fn write<'q>(&self, change: impl Fn() -> Statement<'q>) -> Result<u64, StoreError> {
        let mut attempt = 1;
        loop {
            match self.lease().await?.write(change()).await {
                Err(Fault::TryAgain(_)) if attempt < ATTEMPTS_MAX => attempt += 1,
                done => return done.map_err(failed),
            }
        }
    }

    async fn lease(&self) -> Result<Lease, StoreError> {
        self.pool.lease().await.map_err(failed)
    }
}

#[async_trait]
impl KeyStore for PostgresKeyStore {
    async fn insert_or_read(&self, record: &KekRecord) -> Result<KekRecord, StoreError> {
        let subject = record.subject.as_deref().unwrap_or_default();
        let (created, shred_epoch) =
            (integer(record.created.millis())?, record.shred_epoch.map(integer).transpose()?);
        self.write(|| {
            sqlx::query(INSERT)
                .bind(record.kek_id.as_bytes().to_vec())
                .bind(i64::from(record.epoch))
                .bind(record.tenant.as_bytes().to_vec())
                .bind(i64::from(record.class.0))
                .bind(subject)
                .bind(created)
                .bind(record.root.region().as_str())
                .bind(record.root.tenant().map(|tenant| tenant.as_bytes().to_vec()))
                .bind(i64::from(record.wrapped.root_version))
                .bind(record.wrapped.bytes.as_slice())
                .bind(shred_epoch)
        })
        .await?;
        let found = self.row(|| {
            sqlx::query(SAME_PLACE)
                .bind(record.tenant.as_bytes().to_vec())
                .bind(i64::from(record.class.0))
                .bind(subject)
                .bind(i64::from(record.epoch))
        });
        // Nothing there: the insert hit another row with the same KEK id and epoch.
        found.await?.ok_or(StoreError::Corrupt("a KEK id is used twice"))
    }

    async fn newest(&self, tenant: TenantCode, class: ClassCode) -> Result<Option<KekRecord>, StoreError> {
        self.row(|| sqlx::query(NEWEST).bind(tenant.as_bytes().to_vec()).bind(i64::from(class.0))).await
    }

    async fn find(&self, kek_id: KekId, epoch: u32) -> Result<Option<KekRecord>, StoreError> {
        self.row(|| sqlx::query(FIND).bind(kek_id.as_bytes().to_vec()).bind(i64::from(epoch))).await
    }

    async fn names(&self, root: &RootRef) -> Result<bool, StoreError> {
        let ask = || match root.tenant() {
            Some(tenant) => {
                sqlx::query(NAMES_TENANTS).bind(root.region().as_str()).bind(tenant.as_bytes().to_vec())
            }
            None => sqlx::query(NAMES_REGIONS).bind(root.region().as_str()),
        };
        Ok(!self.rows(ask).await?.is_empty())
    }

    async fn page(&self, after: Option<(KekId, u32)>, limit: u32) -> Result<Vec<KekRecord>, StoreError> {
        let (kek_id, epoch) = after.unwrap_or((KekId::from_bytes([0; 16]), 0));
        let ask = || {
            sqlx::query(PAGE)
                .bind(kek_id.as_bytes().to_vec())
                .bind(i64::from(epoch))
                .bind(i64::from(limit.clamp(1, 1000)))
        };
        self.rows(ask).await?.iter().map(decode).collect()
    }

    async fn rewrap(
        &self,
        kek_id: KekId,
        epoch: u32,
        old: &Wrapped,
        new: &Wrapped,
    ) -> Result<bool, StoreError> {
        let change = || {
            sqlx::query(REWRAP)
                .bind(new.bytes.as_slice())
                .bind(i64::from(new.root_version))
                .bind(kek_id.as_bytes().to_vec())
                .bind(i64::from(epoch))
                .bind(old.bytes.as_slice())
                .bind(i64::from(old.root_version))
        };
        Ok(self.write(change).await? == 1)
    }

    async fn retire(&self, kek_id: KekId, epoch: u32) -> Result<bool, StoreError> {
        let change = || sqlx::query(RETIRE).bind(kek_id.as_bytes().to_vec()).bind(i64::from(epoch));
        let is_done = self.write(change).await? == 1;
        // The table still holds the row as it was. Who may not vacuum, or has no such verb, leaves that to the server.
        if let Err(fault) = self.lease().await?.script(String::from("VACUUM kek")).await {
            event::key_store_not_vacuumed(&fault);
        }
        Ok(is_done)
    }

    async fn canary_or(&self, canary: &Canary) -> Result<Canary, StoreError> {
        let insert = "INSERT INTO canary (one, text) VALUES (1, $1) ON CONFLICT DO NOTHING";
        self.write(|| sqlx::query(insert).bind(canary.to_string())).await?;
        self.canary().await?.ok_or(StoreError::Corrupt("the canary is gone"))
    }

    async fn canary(&self) -> Result<Option<Canary>, StoreError> {
        let rows = self.rows(|| sqlx::query(CANARY)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let text: String = column(row, "text")?;
        // Written once. A database with another one is another fleet's, or none of ours.
        self.pool.expect(CANARY, text.clone());
        text.parse().map(Some).map_err(|_| StoreError::Corrupt("the canary does not parse"))
    }
}

fn decode(row: &PgRow) -> Result<KekRecord, StoreError> {
    let text: String = column(row, "root_region")?;
    let root_region = text.parse().map_err(|_| StoreError::Corrupt("a root's region"))?;
    let root_tenant: Option<Vec<u8>> = column(row, "root_tenant")?;
    let subject: Vec<u8> = column(row, "subject")?;
    let shred_epoch: Option<i64> = column(row, "shred_epoch")?;
    Ok(KekRecord {
        kek_id: column::<Vec<u8>>(row, "kek_id")?
            .as_slice()
            .try_into()
            .map_err(|_| StoreError::Corrupt("a KEK id"))?,
        epoch: number(row, "epoch")?,
        tenant: tenant(&column::<Vec<u8>>(row, "tenant")?)?,
        class: ClassCode(number(row, "class")?),
        subject: (!subject.is_empty()).then_some(subject),
        created: Timestamp::from_millis(number(row, "created_ms")?),
        root: match root_tenant {
            None => RootRef::Region(root_region),
            Some(code) => RootRef::Tenant(root_region, tenant(&code)?),
        },
        wrapped: Wrapped { root_version: number(row, "root_version")?, bytes: column(row, "wrapped")? },
        shred_epoch: shred_epoch
            .map(|epoch| u64::try_from(epoch).map_err(|_| StoreError::Corrupt("a shred epoch")))
            .transpose()?,
        state: if column::<i64>(row, "retired")? == 1 { KekState::Retired } else { KekState::Live },
    })
}

fn column<'r, T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>>(
    row: &'r PgRow,
    name: &'static str,
) -> Result<T, StoreError> {
    row.try_get(name).map_err(|_| StoreError::Corrupt(name))
}

fn number<T: TryFrom<i64>>(row: &PgRow, name: &'static str) -> Result<T, StoreError> {
    T::try_from(column::<i64>(row, name)?).map_err(|_| StoreError::Corrupt(name))
}

fn tenant(bytes: &[u8]) -> Result<TenantCode, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("a tenant's code"))
}

fn integer(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Corrupt("a number too large for SQL"))
}

/// A fault names no values.
#[expect(clippy::needless_pass_by_value, reason = "a step of map_err")]
fn failed(fault: Fault) -> StoreError {
    StoreError::Unavailable(fault.to_string())
}

fn schema_failed(error: SchemaError) -> StoreError {
    match error {
        SchemaError::Newer { found, known } => StoreError::NewerSchema {
            found: i64::try_from(found).unwrap_or(i64::MAX),
            known: i64::try_from(known).unwrap_or(i64::MAX),
        },
        SchemaError::Fault(fault) => failed(fault),
    }
}
