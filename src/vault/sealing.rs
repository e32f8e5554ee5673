//! What every seal and open shares: the binding, the keys, and the conversions between our nouns and the envelope's.

use std::sync::Arc;

use crate::envelope::{self, Binding, Dek, Expected, Kek, Locator, Manifest, RandomFailed, Sealer, Slug};
use crate::index::NewBlob;
use crate::keys::{KekHandle, KekSpec, KeysError};
use crate::model::{
    BlobId, BucketName, Checksum, ChecksumAlgorithm, ChecksumKind, ClassCode, ClassId, ContentHeaders, ETag,
    Entropy, KekId, ObjectKey, ObjectMeta, TenantCode, UserMetadata, VersionId,
};
use crate::shares::away;
use crate::telemetry::{Stage, stage};

use super::{Decided, Treatment, Vault, VaultError};

/// The keys and the identity under which one version is sealed.
#[derive(Clone, Debug)]
pub(super) struct Sealing {
    pub(super) version: VersionId,
    pub(super) dek: Dek,
    pub(super) kek: Kek,
    pub(super) handle: Arc<KekHandle>,
    pub(super) locator: Locator,
}

impl Sealing {
    /// The envelope's sealer over these.
    pub(super) fn sealer(&self) -> Sealer<'_> {
        Sealer { dek: &self.dek, kek: &self.kek, subject_key: None, locator: &self.locator }
    }

    /// What answers call the key: S3 clients get it as the KMS key id.
    pub(super) fn kms_key_id(&self) -> String {
        kms_key_id(self.handle.id(), self.handle.epoch())
    }
}

/// `kek/<32 hex digits>/<epoch>`: says which key, and nothing that helps anybody without the KMS.
pub(super) fn kms_key_id(kek: KekId, epoch: u32) -> String {
    format!("kek/{kek}/{epoch}")
}

impl Vault {
    /// Fresh keys and identity for a version of (`bucket`, `key`) in the class that was decided.
    pub(super) async fn seal_under(
        &self,
        decided: &Decided,
        class: &ClassId,
        code: ClassCode,
        bucket: &BucketName,
        key: &ObjectKey,
        subject: Option<&str>,
    ) -> Result<Sealing, VaultError> {
        let treatment = self.parts.classes.treatment(code)?;
        debug_assert_eq!(treatment.id, *class);
        let current = self.parts.ring.current(decided.tenant_code(), &treatment.kek);
        let handle = stage(Stage::Keys, away(current)).await?;
        let version = VersionId::random(self.entropy())?;
        let binding = self.binding(decided.tenant_code(), code, version)?;
        let dek = Dek::generate(binding, &mut random(self.entropy())).map_err(VaultError::Seal)?;
        let locator = Locator {
            bucket: bucket.as_str().to_owned(),
            key: key.as_bytes().to_vec(),
            s3_version: String::new(),
            null_version: true,
            created_ms: self.parts.clock.now().millis(),
            subject: subject.unwrap_or_default().as_bytes().to_vec(),
        };
        Ok(Sealing { version, dek, kek: handle.to_envelope(), handle, locator })
    }

    /// The KEK a stored record names, as the envelope takes it.
    pub(super) async fn kek_of(
        &self,
        tenant: TenantCode,
        spec: &KekSpec,
        kek: KekId,
        epoch: u32,
    ) -> Result<Arc<KekHandle>, VaultError> {
        match stage(Stage::Keys, away(self.parts.ring.by_id(tenant, spec, kek, epoch))).await {
            // Not an outage: the row was edited, or belongs to another key store. Trying again would help nobody.
            Err(KeysError::UnknownKek) => {
                Err(VaultError::Corrupt { what: "its row names a key that was never made", source: None })
            }
            answered => Ok(answered?),
        }
    }

    pub(super) fn treatment(&self, code: ClassCode) -> Result<&Treatment, VaultError> {
        self.parts.classes.treatment(code)
    }

    pub(super) fn binding(
        &self,
        tenant: TenantCode,
        class: ClassCode,
        version: VersionId,
    ) -> Result<Binding, VaultError> {
        let slug = |text: &str| text.parse::<Slug>().map_err(VaultError::Seal);
        Ok(Binding {
            environment: slug(self.parts.environment.as_str())?,
            region: slug(self.parts.region.as_str())?,
            tenant: *tenant.as_bytes(),
            class: class.0,
            version: *version.as_bytes(),
        })
    }

    /// What a record of this version must say of itself; its blob is whatever the index row's record says.
    pub(super) fn expected(
        &self,
        tenant: TenantCode,
        class: ClassCode,
        version: VersionId,
    ) -> Result<Expected, VaultError> {
        let binding = self.binding(tenant, class, version)?;
        Ok(Expected { blob: None, ..Expected::exactly(&binding, [0; 16]) })
    }

    pub(super) fn entropy(&self) -> &dyn Entropy {
        &*self.parts.entropy
    }
}

/// Our randomness as the envelope takes it.
pub(super) fn random(entropy: &dyn Entropy) -> impl FnMut(&mut [u8]) -> Result<(), RandomFailed> + '_ {
    |out| entropy.fill(out).map_err(|_| RandomFailed)
}

/// The register's version as a manifest carries it: the first four bytes of the register's content hash, enough to tell
/// which of a deployment's registers it was.
pub(super) fn register_version(decided: &Decided) -> u32 {
    let [a, b, c, d, ..] = *decided.register_version().as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The blobs that `entries` name, as the index keeps them.
pub(super) fn new_blobs(entries: &[envelope::BlobEntry]) -> Vec<NewBlob> {
    entries
        .iter()
        .map(|entry| NewBlob { id: BlobId::from_bytes(entry.blob), stored_bytes: entry.stored_bytes() })
        .collect()
}

/// What is sealed with a record, less its checksums.
pub(super) fn manifest_of(meta: &ObjectMeta, etag: &ETag, register_version: u32) -> Manifest {
    let content = &meta.content;
    Manifest {
        register_version,
        entity_tag: etag.as_str().to_owned(),
        parts: Vec::new(),
        content: envelope::ContentHeaders {
            content_type: content.content_type.clone(),
            content_encoding: content.content_encoding.clone(),
            content_disposition: content.content_disposition.clone(),
            content_language: content.content_language.clone(),
            cache_control: content.cache_control.clone(),
            expires: content.expires.clone(),
        },
        user_metadata: meta.user.0.clone(),
        checksums: meta.checksums.iter().map(to_sealed).collect(),
    }
}

/// The reverse of [`manifest_of`].
pub(super) fn meta_of(manifest: &Manifest) -> ObjectMeta {
    let content = &manifest.content;
    ObjectMeta {
        content: ContentHeaders {
            content_type: content.content_type.clone(),
            content_encoding: content.content_encoding.clone(),
            content_disposition: content.content_disposition.clone(),
            content_language: content.content_language.clone(),
            cache_control: content.cache_control.clone(),
            expires: content.expires.clone(),
        },
        user: UserMetadata(manifest.user_metadata.clone()),
        checksums: manifest.checksums.iter().map(from_sealed).collect(),
    }
}

/// A checksum as the envelope writes it.
pub(super) fn to_sealed(checksum: &Checksum) -> envelope::Checksum {
    use envelope::{ChecksumAlgorithm as Code, ChecksumKind as Over};
    envelope::Checksum {
        algorithm: match checksum.algorithm {
            ChecksumAlgorithm::Crc32 => Code::Crc32,
            ChecksumAlgorithm::Crc32c => Code::Crc32c,
            ChecksumAlgorithm::Crc64Nvme => Code::Crc64Nvme,
            ChecksumAlgorithm::Sha1 => Code::Sha1,
            ChecksumAlgorithm::Sha256 => Code::Sha256,
        },
        kind: match checksum.kind {
            ChecksumKind::FullObject => Over::FullObject,
            ChecksumKind::Composite => Over::Composite,
        },
        digest: checksum.digest.clone(),
    }
}

/// A checksum as the envelope reads it.
pub(super) fn from_sealed(checksum: &envelope::Checksum) -> Checksum {
    use envelope::{ChecksumAlgorithm as Code, ChecksumKind as Over};
    Checksum {
        algorithm: match checksum.algorithm {
            Code::Crc32 => ChecksumAlgorithm::Crc32,
            Code::Crc32c => ChecksumAlgorithm::Crc32c,
            Code::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
            Code::Sha1 => ChecksumAlgorithm::Sha1,
            Code::Sha256 => ChecksumAlgorithm::Sha256,
        },
        kind: match checksum.kind {
            Over::FullObject => ChecksumKind::FullObject,
            Over::Composite => ChecksumKind::Composite,
        },
        digest: checksum.digest.clone(),
    }
}
