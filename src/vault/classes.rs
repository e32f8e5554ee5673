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

    /// The treatment of an index row's class. Its code is bound by the sealed record, its name only stands beside it: they must
    /// agree, or somebody edited the index, and clients would be told a class that the record does not have.
    pub(super) fn treatment_named(&self, code: ClassCode, name: &ClassId) -> Result<&Treatment, VaultError> {
        let treatment = self.treatment(code)?;
        if treatment.id == *name {
            return Ok(treatment);
        }
        Err(VaultError::Corrupt { what: "the index row's class disagrees with its code", source: None })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keys::RootScope;

    #[test]
    fn a_class_name_edited_into_an_index_row_was_told_to_clients() {
        let id: ClassId = "health".parse().unwrap();
        let spec = KekSpec {
            class: ClassCode(3),
            root: RootScope::Tenant,
            ttl: Duration::from_mins(5),
            stale: Duration::ZERO,
        };
        let classes = Classes::new([Treatment { id: id.clone(), kek: spec, hides_length: false }]);
        assert!(classes.treatment_named(ClassCode(3), &id).is_ok());
        let edited = classes.treatment_named(ClassCode(3), &"operational".parse().unwrap());
        assert!(edited.unwrap_err().is_corruption());
        assert!(matches!(
            classes.treatment_named(ClassCode(4), &id),
            Err(VaultError::ClassUnknown { code: 4 })
        ));
    }
}
