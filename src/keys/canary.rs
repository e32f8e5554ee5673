//! The canary: a sealed fixture that opens in one region only, so that a fleet with another region's keys does not start.

use std::fmt;
use std::str::FromStr;

use super::{KekContext, KeysError, Kms, KmsError, RingParts, RingSettings, RootRef, Wrapped};
use crate::model::{ClassCode, Environment, KekId, RegionId, TenantCode};

/// A random key wrapped under a region's root, with the region and environment in clear. Not secret: fleets carry each
/// other's in their settings, as text, and refuse to start if they can open one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The environment it was made in.
    pub environment: Environment,
    /// The region it was made in.
    pub region: RegionId,
    /// Its place in the KEK context.
    pub id: KekId,
    /// What only that region's root opens.
    pub wrapped: Wrapped,
}

/// A text that is not a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a canary: must be terroir-canary-1:<environment>:<region>:<id>:<root version>:<hex>")]
pub struct InvalidCanary;

impl Canary {
    const PREFIX: &str = "terroir-canary-1";

    /// The region's own part of the KEK contexts: tenant 0, class 0. Epoch 0 is used by nothing else.
    fn context(&self) -> KekContext {
        KekContext {
            environment: self.environment.clone(),
            region: self.region.clone(),
            tenant: TenantCode::from_bytes([0; 16]),
            class: ClassCode(0),
            kek_id: self.id,
            epoch: 0,
        }
    }
}

/// The canary of this key store: made if the store is new, checked otherwise.
pub(super) async fn own(parts: &RingParts, settings: &RingSettings) -> Result<Canary, KeysError> {
    let canary = match parts.store.canary().await? {
        Some(canary) => canary,
        None => make(parts, settings).await?,
    };
    if canary.environment != settings.environment {
        return Err(KeysError::Canary("the key store is of another environment"));
    }
    if canary.region != settings.region {
        return Err(KeysError::Canary("the key store is of another region"));
    }
    let root = RootRef::Region(settings.region.clone());
    match parts.kms.unwrap(&root, &canary.context(), &canary.wrapped).await {
        Ok(_) => Ok(canary),
        Err(KmsError::WrongContext | KmsError::Corrupt) => {
            Err(KeysError::Canary("the root key is not the one this key store was made with"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Refuses if a canary of somewhere else opens: under its own region's root, or under ours.
pub(super) async fn refuse_if_it_opens(
    kms: &dyn Kms,
    settings: &RingSettings,
    foreign: &Canary,
) -> Result<(), KeysError> {
    if foreign.region == settings.region && foreign.environment == settings.environment {
        return Ok(());
    }
    for region in [&foreign.region, &settings.region] {
        let root = RootRef::Region(region.clone());
        match kms.unwrap(&root, &foreign.context(), &foreign.wrapped).await {
            Ok(_) => {
                return Err(KeysError::Canary(
                    "this process can open another region's or environment's keys",
                ));
            }
            // Not knowing is not a no.
            Err(error @ KmsError::Unavailable(_)) => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(())
}

async fn make(parts: &RingParts, settings: &RingSettings) -> Result<Canary, KeysError> {
    if !parts.store.page(None, 1).await?.is_empty() {
        // Another process may have made both since we looked.
        let late = parts.store.canary().await?;
        return late.ok_or(KeysError::Canary("the key store holds keys but no canary"));
    }
    let mut canary = Canary {
        environment: settings.environment.clone(),
        region: settings.region.clone(),
        id: KekId::random(&*parts.entropy)?,
        wrapped: Wrapped { root_version: 0, bytes: Vec::new() },
    };
    let key = super::mint::random_key(&*parts.entropy)?;
    canary.wrapped =
        parts.kms.wrap(&RootRef::Region(settings.region.clone()), &canary.context(), &key).await?;
    Ok(parts.store.canary_or(&canary).await?)
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { environment, region, id, wrapped } = self;
        let Wrapped { root_version, bytes } = wrapped;
        write!(f, "{}:{environment}:{region}:{id}:{root_version}:{}", Self::PREFIX, hex::encode(bytes))
    }
}

impl FromStr for Canary {
    type Err = InvalidCanary;

    fn from_str(text: &str) -> Result<Self, InvalidCanary> {
        let parts: Vec<&str> = text.split(':').collect();
        let [Self::PREFIX, environment, region, id, root_version, bytes] = parts[..] else {
            return Err(InvalidCanary);
        };
        if bytes.len() > 2 * Wrapped::BYTES_MAX {
            return Err(InvalidCanary);
        }
        Ok(Self {
            environment: environment.parse().map_err(|_| InvalidCanary)?,
            region: region.parse().map_err(|_| InvalidCanary)?,
            id: id.parse().map_err(|_| InvalidCanary)?,
            wrapped: Wrapped {
                root_version: root_version.parse().map_err(|_| InvalidCanary)?,
                bytes: hex::decode(bytes).map_err(|_| InvalidCanary)?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::{Fault, ScriptedKms};

    #[tokio::test]
    async fn not_knowing_whether_a_foreign_canary_opens_is_not_a_no() {
        let kms = ScriptedKms::new();
        let settings = RingSettings::new("test".parse().unwrap(), "fr".parse().unwrap());
        let foreign = Canary {
            environment: "test".parse().unwrap(),
            region: "us".parse().unwrap(),
            id: KekId::from_bytes([1; 16]),
            wrapped: Wrapped { root_version: 1, bytes: vec![0; 64] },
        };
        refuse_if_it_opens(&kms, &settings, &foreign).await.unwrap();
        kms.always(Some(Fault::Fail(KmsError::Unavailable("down"))));
        let refused = refuse_if_it_opens(&kms, &settings, &foreign).await;
        assert!(matches!(refused, Err(KeysError::Kms(KmsError::Unavailable(_)))), "{refused:?}");
    }
}
