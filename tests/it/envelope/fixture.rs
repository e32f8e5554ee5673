//! Keys, names and randomness that are the same in every run.

use sha2::{Digest, Sha256};
use terroir::envelope::{
    Binding, BlobEntry, BodySealer, Checksum, ChecksumAlgorithm, ChecksumKind, ContentHeaders, Dek, Expected,
    Kek, Locator, Manifest, RandomFailed, Sealed, SealedVersion, Sealer, SubjectKey,
};

/// Bytes that look random and depend on `seed` alone: SHA-256(seed ‖ block number), block after block.
pub(crate) fn seeded(seed: &str) -> impl FnMut(&mut [u8]) -> Result<(), RandomFailed> + use<> {
    let seed = seed.to_owned();
    let (mut block, mut left) = (0_u64, Vec::new().into_iter());
    move |out| {
        for byte in out {
            *byte = left.next().unwrap_or_else(|| {
                left = Sha256::digest([seed.as_bytes(), &block.to_be_bytes()].concat()).to_vec().into_iter();
                block += 1;
                left.next().unwrap()
            });
        }
        Ok(())
    }
}

/// `N` such bytes.
pub(crate) fn seeded_bytes<const N: usize>(seed: &str) -> [u8; N] {
    let mut bytes = [0; N];
    seeded(seed)(&mut bytes).unwrap();
    bytes
}

/// The clear bytes of vectors: byte i is (31 · i + ⌊i ÷ 256⌋) mod 256.
pub(crate) fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| u8::try_from((31 * i + i / 256) % 256).unwrap()).collect()
}

/// Everything needed to seal and open one version.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) seed: String,
    pub(crate) binding: Binding,
    pub(crate) kek_bytes: [u8; 32],
    pub(crate) subject_key_bytes: Option<[u8; 32]>,
    pub(crate) locator: Locator,
    pub(crate) manifest: Manifest,
}

pub(crate) const KEK_ID: [u8; 16] = [0xA1; 16];
pub(crate) const KEK_EPOCH: u32 = 7;
pub(crate) const SUBJECT_KEY_ID: [u8; 16] = [0xB2; 16];

impl World {
    pub(crate) fn new(seed: &str) -> Self {
        Self {
            seed: seed.into(),
            binding: Binding {
                environment: "test".parse().unwrap(),
                region: "fr".parse().unwrap(),
                tenant: [0xC3; 16],
                class: 3,
                version: seeded_bytes(&format!("{seed} version")),
            },
            kek_bytes: seeded_bytes("kek"),
            subject_key_bytes: None,
            locator: Locator {
                bucket: "records".into(),
                key: b"patients/42/observation.json".to_vec(),
                s3_version: "3sL4kqtJlcpXroDTDmJ".into(),
                null_version: false,
                created_ms: 1_795_458_123_045,
                subject: Vec::new(),
            },
            manifest: Manifest {
                register_version: 5,
                entity_tag: "0123456789abcdef0123456789abcdef".into(),
                ..Manifest::default()
            },
        }
    }

    pub(crate) fn with_subject(mut self) -> Self {
        self.subject_key_bytes = Some(seeded_bytes("subject key"));
        self.locator.subject = b"patient-42".to_vec();
        self
    }

    pub(crate) fn with_metadata(mut self) -> Self {
        self.manifest.content = ContentHeaders {
            content_type: Some("application/fhir+json".into()),
            content_encoding: Some("gzip".into()),
            content_disposition: Some("attachment; filename=\"relevé.json\"".into()),
            content_language: Some("fr".into()),
            cache_control: Some("no-store".into()),
            expires: Some("Thu, 01 Dec 2026 16:00:00 GMT".into()),
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        self.manifest.user_metadata = vec![pair("ward", "cardiologie 3"), pair("empty", "")];
        self.manifest.checksums =
            vec![checksum(ChecksumAlgorithm::Sha256), checksum(ChecksumAlgorithm::Crc64Nvme)];
        self
    }

    pub(crate) fn kek(&self) -> Kek {
        Kek::new(KEK_ID, KEK_EPOCH, 2, self.kek_bytes.into())
    }

    pub(crate) fn subject_key(&self) -> Option<SubjectKey> {
        self.subject_key_bytes.map(|key| SubjectKey::new(SUBJECT_KEY_ID, key.into()).unwrap())
    }

    pub(crate) fn dek(&self) -> Dek {
        Dek::generate(self.binding, &mut seeded(&format!("{} dek", self.seed))).unwrap()
    }

    pub(crate) fn id(&self, name: &str) -> [u8; 16] {
        seeded_bytes(&format!("{} {name}", self.seed))
    }

    /// What a reader who knows all but the blob expects.
    pub(crate) fn expected(&self) -> Expected {
        Expected { blob: None, ..Expected::exactly(&self.binding, [0; 16]) }
    }

    /// Runs `f` with a sealer over this world's keys.
    pub(crate) fn seal<T>(&self, f: impl FnOnce(&Sealer<'_>) -> T) -> T {
        let (dek, kek, subject_key) = (self.dek(), self.kek(), self.subject_key());
        f(&Sealer { dek: &dek, kek: &kek, subject_key: subject_key.as_ref(), locator: &self.locator })
    }

    /// A version of one blob.
    pub(crate) fn one(&self, clear: &[u8], padding_bytes: usize) -> SealedVersion {
        let mut random = seeded(&format!("{} one", self.seed));
        self.seal(|sealer| {
            let headroom = sealer.headroom_bytes(Some(&self.manifest));
            let mut body = BodySealer::new(
                sealer.dek,
                self.id("blob"),
                0,
                headroom,
                clear.len() + padding_bytes,
                &mut random,
            )
            .unwrap();
            body.push(clear, &mut random).unwrap();
            let body = body.finish(padding_bytes, &mut random).unwrap();
            sealer.version_with_body(self.manifest.clone(), body, &mut random).unwrap()
        })
    }

    /// A body blob; `attempt` varies its randomness.
    pub(crate) fn body(
        &self,
        blob: [u8; 16],
        ordinal: u32,
        clear: &[u8],
        padding_bytes: usize,
        attempt: &str,
    ) -> (Sealed, BlobEntry) {
        let mut random = seeded(&format!("{} body {ordinal} {attempt}", self.seed));
        self.seal(|sealer| {
            let headroom = sealer.headroom_bytes(None);
            let mut body =
                BodySealer::new(sealer.dek, blob, ordinal, headroom, clear.len(), &mut random).unwrap();
            body.push(clear, &mut random).unwrap();
            sealer.body(body.finish(padding_bytes, &mut random).unwrap(), &mut random).unwrap()
        })
    }

    /// The record of a version whose bodies are `entries`.
    pub(crate) fn record(&self, entries: Vec<BlobEntry>, entries_per_page: u16) -> SealedVersion {
        let mut random = seeded(&format!("{} record", self.seed));
        self.seal(|sealer| {
            let manifest = self.manifest.clone();
            sealer.version_paged(self.id("record"), manifest, entries, entries_per_page, &mut random).unwrap()
        })
    }
}

pub(crate) fn checksum(algorithm: ChecksumAlgorithm) -> Checksum {
    Checksum {
        algorithm,
        kind: ChecksumKind::FullObject,
        digest: vec![0x5A; algorithm.digest_bytes()].into(),
    }
}
