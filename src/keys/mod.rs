//! Keys: root keys in a KMS, the store of wrapped KEKs, and the ring that hands out open ones from a bounded cache.
//!
//! ```text
//! root(region) or root(tenant)   in a [`Kms`]; its bytes are never seen here
//! KEK(tenant, class, epoch)      32 random bytes, wrapped under a root, kept in a [`KeyStore`]
//! field key(purpose)             derived from the region's own KEK: seals directory rows, locks, pseudonyms
//! ```
//! One [`Ring`] serves one environment and one region; two regions in a process share nothing. The class-dependent
//! values come in as a [`KekSpec`]: this module does not know the register.

mod cache;
mod canary;
mod context;
mod error;
mod field;
mod kms;
mod local_file;
mod metered;
mod mint;
mod postgres;
mod ring;
mod spec;
mod sqlite;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use canary::{Canary, InvalidCanary};
pub use context::{KekContext, RootRef, RootScope};
pub use error::{KeysError, KmsError, StoreError};
pub use field::FieldKey;
pub use kms::{Custody, Description, Kms, RootState, RootStatus, Wrapped};
pub use local_file::{DESTRUCTION_WAIT_MIN, LocalFileKms, RootFileError};
pub use metered::MeteredKms;
pub use postgres::{KEYS_SCHEMA, PostgresKeyStore};
pub use ring::{POINTER_TTL, Ring};
pub use spec::{KekHandle, KekSpec, Rewrapped, RingParts, RingSettings};
pub use sqlite::SqliteKeyStore;
pub use store::{EPOCHS_MAX, KekRecord, KekState, KeyStore};
