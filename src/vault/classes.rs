//! What the vault needs to know of each class: how its keys are kept, and whether lengths are hidden.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::keys::KekSpec;
use crate::model::{ClassCode, ClassId};

use super::VaultError;

/// How records of one class are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// Its name.
    pub id: ClassId,
    /// Its KEKs.
    pub kek: KekSpec,
    /// Whether sealed lengths are rounded up (Padmé), so that a store learns little from them.
    pub hides_length: bool,
}

/// The classes of the register, by the code envelopes carry.
#[derive(Clone, Debug, Default)]
pub struct Classes(Arc<BTreeMap<ClassCode, Treatment>>);

impl Classes {
    /// Of these treatments; the code is the KEK's.
    pub fn new(treatments: impl IntoIterator<Item = Treatment>) -> Self {
        Self(Arc::new(treatments.into_iter().map(|treatment| (treatment.kek.class, treatment)).collect()))
    }

    /// The treatment of `code`. A class that left the register cannot be opened: fail closed, and say so.
    pub(super) fn treatment(&self, code: ClassCode) -> Result<&Treatment, VaultError> {
        self.0.get(&code).ok_or(VaultError::ClassUnknown { code: code.0 })
    }
}
