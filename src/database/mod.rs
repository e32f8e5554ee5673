//! `PostgreSQL`, as the index and the key store need it: where it is, what it must promise, connections, schemas.
//!
//! Nothing here knows what is stored. What a caller meets:
//!  - [`Address`]: a connection URL that passed its checks: TLS unless it leads to this machine, nothing taken from the
//!    environment or a password file, no parameter that we do not know.
//!  - [`Pool`]: a bounded number of connections, made as the address says by then. Every one proved, when it was made, that the server keeps what it
//!    acknowledges ([`DEMANDS`]) and that it is still the database that was opened.
//!  - [`Fault`]: what went wrong, sorted by what a caller may conclude: nothing happened, try again, nobody knows.
//!  - [`migrate`]: one replica at a time changes the schema, under the lock of one row.
//!
//! Why not sqlx's own pool: it asks the server whether a connection is alive each time one comes back, which doubles the
//! round trips of a lookup.

mod address;
mod demands;
mod fault;
mod pool;
mod schema;

pub use address::{Address, AddressError};
pub use demands::{DEMANDS, Demand, DemandError};
pub use fault::Fault;
pub use pool::{Lease, Pool, PoolSettings, Statement, prove};
pub use schema::{Migration, SchemaError, SchemaPlan, found, migrate};
