//! Opening the database: what it promises, its schema's version, whose it is.

use super::row::{Fields, bytes, number, to_signed};
use super::run::{Pools, index_error};
use super::{INDEX_SCHEMA, Opening, PostgresOptions, sql};
use crate::database::{self, Lease, Migration, Pool, PoolSettings, SchemaError, SchemaPlan};
use crate::index::sql as shared;
use crate::index::{Incarnation, IndexError};
use crate::model::{Clock, Entropy};

/// Every schema this release knows, oldest first. A released file is never edited.
const MIGRATIONS: [Migration; 1] =
    [Migration { version: 1, ddl: include_str!("../ddl/postgres/0001_first.sql") }];

/// The format of the rows' own bytes, as far as the index knows them.
const FORMAT: i64 = 1;

pub(super) async fn open(
    options: &PostgresOptions,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<(Pools, Incarnation), IndexError> {
    let pool = Pool::new(options.address.clone(), options.pool);
    pool.check_demands().await.map_err(index_error)??;
    let migrations = [&MIGRATIONS[..], options.later].concat();
    let plan = SchemaPlan { schema: INDEX_SCHEMA, migrations: &migrations, witness: "meta" };
    let mut lease = pool.lease().await.map_err(index_error)?;
    let found = database::found(&mut lease, plan).await.map_err(schema_error)?;
    match found {
        None if options.opening == Opening::Existing => return Err(IndexError::Missing),
        Some(_) => _ = check_meta(&mut lease, options).await?,
        None => {}
    }
    let mut incarnation = [0; 16];
    entropy.fill(&mut incarnation).map_err(|source| IndexError::Unavailable {
        what: "choosing an incarnation",
        source: source.into(),
    })?;
    let now = to_signed(clock.now().millis())?;
    let meta = sqlx::query(shared::META_INSERT)
        .bind(&incarnation[..])
        .bind(FORMAT)
        .bind(options.region.as_str())
        .bind(options.environment.as_str())
        .bind(now);
    database::migrate(&mut lease, plan, now, Some(meta)).await.map_err(schema_error)?;
    let incarnation = check_meta(&mut lease, options).await?;
    let one = PoolSettings { connections_max: 1, ..options.pool };
    let directory = Pool::new(options.address.clone(), one);
    for pool in [&pool, &directory] {
        pool.expect(sql::IDENTITY, hex::encode(incarnation.0));
    }
    Ok((Pools { requests: pool, directory }, incarnation))
}

async fn check_meta(lease: &mut Lease, options: &PostgresOptions) -> Result<Incarnation, IndexError> {
    let row = lease
        .row(sqlx::query(shared::META))
        .await
        .map_err(index_error)?
        .ok_or(IndexError::Corrupt { what: "the index's identity is missing" })?;
    let (region, environment) = (row.words("region")?, row.words("environment")?);
    if region != options.region.as_str() {
        return Err(IndexError::WrongRegion { expected: options.region.clone(), found: region.to_owned() });
    }
    if environment != options.environment.as_str() {
        return Err(IndexError::WrongEnvironment {
            expected: options.environment.clone(),
            found: environment.to_owned(),
        });
    }
    let format = number(&row, "format")?;
    if format != FORMAT.unsigned_abs() {
        return Err(IndexError::NewerSchema { found: format, known: FORMAT.unsigned_abs() });
    }
    <[u8; 16]>::try_from(&bytes(&row, "incarnation")?[..])
        .map(Incarnation)
        .map_err(|_| IndexError::Corrupt { what: "incarnation" })
}

fn schema_error(error: SchemaError) -> IndexError {
    match error {
        SchemaError::Newer { found, known } => IndexError::NewerSchema { found, known },
        SchemaError::Fault(fault) => index_error(fault),
    }
}
