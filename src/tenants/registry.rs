//! The verbs: create, list, show, suspend, disable, rotate. Each changes one row, checked by its generation.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::TenantsError;
use super::directory::sound;
use super::sealed_row::{self, CREDENTIAL, Rowed, TENANT};
use crate::catalogue::Catalogue;
use crate::index::{DirectoryRow, Index, IndexError, PutRow};
use crate::keys::Ring;
use crate::model::{
    AccessKeyId, ClassId, Clock, Credential, CredentialStatus, Entropy, RegionId, Secret, Tenant, TenantCode,
    TenantId, TenantStatus, Timestamp, Unclassified, Weight,
};

/// Tenants of one region. A fleet of one region is not for more (the snapshot is in memory).
pub const TENANTS_MAX: usize = 10_000;

/// Active credentials of one tenant.
pub const CREDENTIALS_PER_TENANT_MAX: usize = 20;

/// Credentials of one region, disabled ones counted: those stay, so that an old key id is known for what it is.
pub const CREDENTIALS_MAX: usize = 200_000;

/// Longest label, bytes.
const LABEL_BYTES_MAX: usize = 64;

/// Tries of a read-change-write when others change the same row.
const TRIES_MAX: usize = 3;

/// What the catalogue allows in this region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepts {
    /// The region of this directory: in the catalogue, and the only home its tenants may have.
    pub region: RegionId,
    /// The classes of the register that this region may hold.
    pub classes: BTreeSet<ClassId>,
}

impl Accepts {
    /// What `catalogue` says of `region`; `None` if it has no such region.
    pub fn of(catalogue: &Catalogue, region: &RegionId) -> Option<Self> {
        catalogue.region(region)?;
        let allowed = catalogue.classes().into_iter().filter(|class| class.allowed_regions.contains(region));
        Some(Self { region: region.clone(), classes: allowed.map(|class| class.id.clone()).collect() })
    }
}

/// A tenant to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTenant {
    /// Its name.
    pub id: TenantId,
    /// Its home: must be this region.
    pub home: RegionId,
    /// Its default class: the least that a record of its may have.
    pub default_class: ClassId,
    /// Whether a write may name no class.
    pub unclassified: Unclassified,
}

/// A credential without its secret: what lists show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSummary {
    /// The public half.
    pub key_id: AccessKeyId,
    /// Whose.
    pub tenant: TenantId,
    /// What the tenant calls it.
    pub label: String,
    /// Whether it may sign.
    pub status: CredentialStatus,
    /// When it was created.
    pub created: Timestamp,
}

impl CredentialSummary {
    fn of(credential: &Credential) -> Self {
        let Credential { key_id, tenant, secret: _, label, status, created } = credential;
        Self {
            key_id: key_id.clone(),
            tenant: tenant.clone(),
            label: label.clone(),
            status: *status,
            created: *created,
        }
    }
}

/// A credential in the place of another.
#[derive(Debug)]
pub struct Rotated {
    /// The new one. It is stored whatever became of the old one, and this is the only time that its secret is returned.
    pub new: Credential,
    /// The old one as it is once disabled, or why it is active still; `None` if it was to stay.
    pub old: Option<Result<CredentialSummary, TenantsError>>,
}

/// The verbs on one region's directory. Reads the index itself, not the snapshot: what it shows is what is stored.
#[derive(Clone, Debug)]
pub struct Registry {
    index: Arc<dyn Index>,
    ring: Ring,
    accepts: Accepts,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Registry {
    /// Over the index and the ring of one region.
    pub fn new(
        index: Arc<dyn Index>,
        ring: Ring,
        accepts: Accepts,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { index, ring, accepts, clock, entropy }
    }

    /// Creates an active tenant.
    pub async fn create_tenant(&self, new: NewTenant) -> Result<Tenant, TenantsError> {
        let here = &self.accepts.region;
        if new.home != *here || here != self.ring.region() {
            return Err(TenantsError::WrongRegion { here: here.clone(), home: new.home });
        }
        self.check_class(&new.default_class)?;
        if self.index.rows(TENANT).await?.len() >= TENANTS_MAX {
            return Err(TenantsError::TooMany { what: "tenants", count_max: TENANTS_MAX });
        }
        let tenant = Tenant {
            id: new.id,
            code: TenantCode::random(&*self.entropy)?,
            home: new.home,
            default_class: new.default_class,
            unclassified: new.unclassified,
            status: TenantStatus::Active,
            weight: Weight::default(),
            created: self.clock.now(),
        };
        match self.put(&tenant, 0).await {
            Err(TenantsError::Conflict) => Err(TenantsError::TenantExists(tenant.id)),
            outcome => outcome.map(|()| tenant),
        }
    }

    /// All tenants, by name.
    pub async fn list_tenants(&self) -> Result<Vec<Tenant>, TenantsError> {
        self.all(TENANT).await
    }

    /// All tenants whose rows open, by name. One that does not is logged and left out: work on everybody's records goes on, and
    /// that tenant's stay as they are.
    pub async fn readable_tenants(&self) -> Result<Vec<Tenant>, TenantsError> {
        let mut readable = Vec::new();
        for row in self.index.rows(TENANT).await? {
            let opened = sealed_row::open::<Tenant>(&self.ring, &row).await;
            readable.extend(sound(opened, &row)?.map(Arc::unwrap_or_clone));
        }
        Ok(readable)
    }

    /// One tenant.
    pub async fn show_tenant(&self, id: &TenantId) -> Result<Tenant, TenantsError> {
        Ok(self.tenant(id).await?.0)
    }

    /// Refuses all of a tenant's requests from now on; deletes nothing. Doing it twice is not an error.
    pub async fn suspend_tenant(&self, id: &TenantId) -> Result<Tenant, TenantsError> {
        self.change_tenant(id, |tenant| tenant.status = TenantStatus::Suspended).await
    }

    /// Serves a suspended tenant again.
    pub async fn resume_tenant(&self, id: &TenantId) -> Result<Tenant, TenantsError> {
        self.change_tenant(id, |tenant| tenant.status = TenantStatus::Active).await
    }

    /// Sets the class of writes that name none. Records already stored keep theirs.
    pub async fn set_default_class(
        &self,
        id: &TenantId,
        class: &ClassId,
        unclassified: Unclassified,
    ) -> Result<Tenant, TenantsError> {
        self.check_class(class)?;
        self.change_tenant(id, |tenant| {
            tenant.default_class = class.clone();
            tenant.unclassified = unclassified;
        })
        .await
    }

    /// Sets how much a tenant counts where tenants compete.
    ///
    /// Any weight but the default makes a row that releases before weights do not open: they refuse the tenant. So only when
    /// every replica runs this release.
    pub async fn set_weight(&self, id: &TenantId, weight: Weight) -> Result<Tenant, TenantsError> {
        self.change_tenant(id, |tenant| tenant.weight = weight).await
    }

    /// A key id for a credential that is about to be made, so that what is to be done can be recorded by name first.
    pub fn draw_key_id(&self) -> Result<AccessKeyId, TenantsError> {
        Ok(AccessKeyId::random(&self.accepts.region, &*self.entropy)?)
    }

    /// Creates a credential. The only time the secret is returned.
    pub async fn create_credential(
        &self,
        tenant: &TenantId,
        label: &str,
    ) -> Result<Credential, TenantsError> {
        self.create_credential_as(self.draw_key_id()?, tenant, label).await
    }

    /// The same, under a key id that was drawn before.
    pub async fn create_credential_as(
        &self,
        key_id: AccessKeyId,
        tenant: &TenantId,
        label: &str,
    ) -> Result<Credential, TenantsError> {
        if !(1..=LABEL_BYTES_MAX).contains(&label.len()) || label.chars().any(char::is_control) {
            return Err(TenantsError::BadLabel);
        }
        self.new_credential(key_id, tenant, label, CREDENTIALS_PER_TENANT_MAX).await
    }

    /// A tenant's credentials, disabled ones too, by creation.
    pub async fn list_credentials(&self, tenant: &TenantId) -> Result<Vec<CredentialSummary>, TenantsError> {
        self.tenant(tenant).await?;
        let all: Vec<Credential> = self.all(CREDENTIAL).await?;
        let mut own: Vec<_> =
            all.iter().filter(|one| one.tenant == *tenant).map(CredentialSummary::of).collect();
        own.sort_by(|a, b| (a.created, &a.key_id).cmp(&(b.created, &b.key_id)));
        Ok(own)
    }

    /// One credential.
    pub async fn show_credential(&self, key_id: &AccessKeyId) -> Result<CredentialSummary, TenantsError> {
        Ok(CredentialSummary::of(&self.credential(key_id).await?.0))
    }

    /// Disables a credential for good and erases its secret. Doing it twice is not an error.
    pub async fn disable_credential(&self, key_id: &AccessKeyId) -> Result<CredentialSummary, TenantsError> {
        for _ in 0..TRIES_MAX {
            let (mut credential, generation) = self.credential(key_id).await?;
            if credential.status == CredentialStatus::Disabled {
                return Ok(CredentialSummary::of(&credential));
            }
            credential.status = CredentialStatus::Disabled;
            credential.secret = Secret::new(String::new());
            match self.put(&credential, generation).await {
                Err(TenantsError::Conflict) => {}
                outcome => return outcome.map(|()| CredentialSummary::of(&credential)),
            }
        }
        Err(TenantsError::Conflict)
    }

    /// Makes a new credential with the same tenant and label. The old one stays active until disabled, unless
    /// `disable_old`: then it is disabled once the new one is stored.
    pub async fn rotate_credential(
        &self,
        key_id: &AccessKeyId,
        disable_old: bool,
    ) -> Result<Rotated, TenantsError> {
        self.rotate_credential_as(self.draw_key_id()?, key_id, disable_old).await
    }

    /// The same, under a key id that was drawn before.
    pub async fn rotate_credential_as(
        &self,
        new_id: AccessKeyId,
        key_id: &AccessKeyId,
        disable_old: bool,
    ) -> Result<Rotated, TenantsError> {
        let (old, _) = self.credential(key_id).await?;
        if old.status == CredentialStatus::Disabled {
            return Err(TenantsError::Disabled(key_id.clone()));
        }
        // Where the old one goes at once, a tenant at its limit may still rotate.
        let count_max = CREDENTIALS_PER_TENANT_MAX + usize::from(disable_old);
        let new = self.new_credential(new_id, &old.tenant, &old.label, count_max).await?;
        // From here on the new one is stored: a failure must not take its secret along.
        let old = if disable_old { Some(self.disable_credential(key_id).await) } else { None };
        Ok(Rotated { new, old })
    }

    async fn new_credential(
        &self,
        key_id: AccessKeyId,
        tenant: &TenantId,
        label: &str,
        count_max: usize,
    ) -> Result<Credential, TenantsError> {
        self.tenant(tenant).await?;
        let all: Vec<Credential> = self.all(CREDENTIAL).await?;
        let active = |one: &&Credential| one.tenant == *tenant && one.status == CredentialStatus::Active;
        if all.iter().filter(active).count() >= count_max {
            return Err(TenantsError::TooMany { what: "active credentials of a tenant", count_max });
        }
        if all.len() >= CREDENTIALS_MAX {
            return Err(TenantsError::TooMany { what: "credentials", count_max: CREDENTIALS_MAX });
        }
        let credential = Credential {
            key_id,
            tenant: tenant.clone(),
            secret: new_secret(&*self.entropy)?,
            label: label.to_owned(),
            status: CredentialStatus::Active,
            created: self.clock.now(),
        };
        self.put(&credential, 0).await?;
        Ok(credential)
    }

    async fn change_tenant(
        &self,
        id: &TenantId,
        change: impl Fn(&mut Tenant),
    ) -> Result<Tenant, TenantsError> {
        for _ in 0..TRIES_MAX {
            let (before, generation) = self.tenant(id).await?;
            let mut after = before.clone();
            change(&mut after);
            if after == before {
                return Ok(after);
            }
            match self.put(&after, generation).await {
                Err(TenantsError::Conflict) => {}
                outcome => return outcome.map(|()| after),
            }
        }
        Err(TenantsError::Conflict)
    }

    fn check_class(&self, class: &ClassId) -> Result<(), TenantsError> {
        let known = self.accepts.classes.contains(class);
        if known { Ok(()) } else { Err(TenantsError::NoSuchClass(class.clone())) }
    }

    async fn tenant(&self, id: &TenantId) -> Result<(Tenant, u64), TenantsError> {
        let row = self.index.row(TENANT, id.as_str()).await?;
        self.open(row.ok_or_else(|| TenantsError::NoSuchTenant(id.clone()))?).await
    }

    async fn credential(&self, key_id: &AccessKeyId) -> Result<(Credential, u64), TenantsError> {
        let row = self.index.row(CREDENTIAL, key_id.as_str()).await?;
        self.open(row.ok_or_else(|| TenantsError::NoSuchCredential(key_id.clone()))?).await
    }

    async fn all<T: Rowed>(&self, kind: &str) -> Result<Vec<T>, TenantsError> {
        let mut all = Vec::new();
        for row in self.index.rows(kind).await? {
            all.push(self.open(row).await?.0);
        }
        Ok(all)
    }

    async fn open<T: Rowed>(&self, row: DirectoryRow) -> Result<(T, u64), TenantsError> {
        Ok((sealed_row::open(&self.ring, &row).await?, row.generation))
    }

    /// Stores `value` as the generation after `expected`. After an unknown outcome the row itself says what happened: the
    /// sealed bytes are random, so equal bytes are ours.
    async fn put<T: Rowed>(&self, value: &T, expected: u64) -> Result<(), TenantsError> {
        let sealed = bytes::Bytes::from(sealed_row::seal(&self.ring, value, expected + 1).await?);
        for _ in 0..TRIES_MAX {
            match self.index.put_row(T::KIND, value.row_id(), expected, sealed.clone()).await {
                Ok(PutRow::Stored { .. }) => return Ok(()),
                Ok(PutRow::Conflict { sealed: found, .. }) if found == sealed => return Ok(()),
                Ok(PutRow::Conflict { .. }) => return Err(TenantsError::Conflict),
                Err(IndexError::Ambiguous) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(IndexError::Ambiguous.into())
    }
}

pub(super) fn new_secret(entropy: &dyn Entropy) -> Result<Secret<String>, TenantsError> {
    let mut random = Zeroizing::new([0; sealed_row::SECRET_CHARS / 4 * 3]);
    entropy.fill(random.as_mut())?;
    // The URL-safe alphabet: no `/` and `+`, over which configuration files and shells have stumbled.
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*random)))
}
