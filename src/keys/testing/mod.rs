//! Test support: a KMS with a script, and the contract that every KMS and every key store keeps.

/// Runs rules one after the other; the value is how many.
macro_rules! rules {
    ($($rule:ident($($argument:expr),*),)*) => {{
        $($rule($($argument),*).await;)*
        [$(stringify!($rule)),*].len()
    }};
}

mod kms_contract;
mod memory_store;
mod scripted;
mod store_contract;

pub use kms_contract::{KmsHarness, kms_contract};
pub use memory_store::MemoryKeyStore;
pub use scripted::{Counts, Fault, ScriptedKms};
pub use store_contract::store_contract;
