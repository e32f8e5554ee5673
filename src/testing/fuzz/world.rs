//! Two sealed versions and an upload of made-up names: what the fuzzer edits, and the keys that open it. The same in every run.

use std::sync::LazyLock;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::envelope::{
    Binding, BlobEntry, BodySealer, Closed, ContentHeaders, Dek, EnvelopeError, Expected, Kek, Locator,
    Manifest, OpenVersion, RandomFailed, Sealed, SealedVersion, Sealer, SubjectKey,
};

static WORLD: LazyLock<World> = LazyLock::new(World::sealed);

/// What was sealed.
pub(super) struct World {
    pub(super) kek: Kek,
    pub(super) versions: Vec<Version>,
    pub(super) bodies: Vec<Body>,
    pub(super) upload: Upload,
}

/// A version: its record as the index keeps it, and its record's blob.
pub(super) struct Version {
    pub(super) keys: Keys,
    pub(super) record: Bytes,
    pub(super) blob: Bytes,
    pub(super) opened: OpenVersion,
}

/// A body in the store.
pub(super) struct Body {
    /// Its version's place among [`World::versions`].
    pub(super) version: usize,
    pub(super) entry: BlobEntry,
    pub(super) blob: Bytes,
    pub(super) clear: Vec<u8>,
}

/// An upload's record, which is its blob.
pub(super) struct Upload {
    pub(super) keys: Keys,
    pub(super) record: Bytes,
}

/// What somebody knows who opens a version.
pub(super) struct Keys {
    pub(super) dek: Dek,
    pub(super) subject_key: Option<SubjectKey>,
    pub(super) locator: Locator,
    /// The blob of the record.
    pub(super) blob: [u8; 16],
}

impl World {
    pub(super) fn of() -> &'static Self {
        &WORLD
    }

    fn sealed() -> Self {
        let kek = Kek::new([0xA1; 16], 7, 2, seeded_bytes::<32>("kek").into());
        let one = Keys::new("one", true);
        let (first, body) = one.version_with_body(&kek, b"of a made-up patient, in one piece");
        let several = Keys::new("several", false);
        let bodies = [("first piece", 0), ("the second piece, longer", 1)];
        let bodies: Vec<Body> =
            bodies.map(|(clear, ordinal)| several.body(&kek, ordinal, clear.as_bytes())).into();
        let second = several.version(&kek, bodies.iter().map(|body| body.entry).collect());
        let upload = Keys::new("upload", false);
        let (_, record) = upload.seal(&kek, "upload", |sealer, random| sealer.upload(upload.blob, random));
        let upload = Upload { record: record.into_bytes(), keys: upload };
        let versions = vec![one.opened(&kek, first), several.opened(&kek, second)];
        Self { kek, versions, bodies: [body].into_iter().chain(bodies).collect(), upload }
    }
}

impl Keys {
    fn new(name: &str, has_subject: bool) -> Self {
        let binding = Binding {
            environment: "test".parse().expect("an environment"),
            region: "fr".parse().expect("a region"),
            tenant: [0xC3; 16],
            class: 3,
            version: seeded_bytes(&format!("{name} version")),
        };
        let dek = Dek::generate(binding, &mut seeded(&format!("{name} dek"))).expect("a data key");
        let subject_key =
            has_subject.then(|| SubjectKey::new([0xB2; 16], seeded_bytes::<32>("subject").into()));
        Self {
            dek,
            subject_key: subject_key.map(|key| key.expect("a subject's key")),
            locator: Locator {
                bucket: "records".into(),
                key: format!("patients/42/{name}.json").into_bytes(),
                s3_version: "3sL4kqtJlcpXroDTDmJ".into(),
                null_version: false,
                created_ms: 1_795_458_123_045,
                subject: if has_subject { b"patient-42".to_vec() } else { Vec::new() },
            },
            blob: seeded_bytes(&format!("{name} blob")),
        }
    }

    /// What a reader expects of the record's blob.
    pub(super) fn expected(&self) -> Expected {
        Expected::exactly(self.dek.binding(), self.blob)
    }

    /// Opens the record in front of `bytes` as an index's reader does, one step after the other.
    pub(super) fn open(&self, kek: &Kek, closed: Closed<'_>) -> Result<OpenVersion, EnvelopeError> {
        let located = closed.locate(&self.expected(), kek)?;
        let confirmed = located.confirm(&self.locator.bucket, &self.locator.key)?;
        confirmed.open_version(kek, self.subject_key.as_ref())
    }

    fn opened(self, kek: &Kek, sealed: SealedVersion) -> Version {
        let record = sealed.record.into_bytes();
        let opened = self.open(kek, Closed::record(&record).expect("a record")).expect("our own record");
        Version { keys: self, record, blob: sealed.blob.into_bytes(), opened }
    }

    fn seal<T>(
        &self,
        kek: &Kek,
        seed: &str,
        seal: impl FnOnce(
            &Sealer<'_>,
            &mut dyn FnMut(&mut [u8]) -> Result<(), RandomFailed>,
        ) -> Result<T, EnvelopeError>,
    ) -> T {
        let subject_key = self.subject_key.as_ref();
        let sealer = Sealer { dek: &self.dek, kek, subject_key, locator: &self.locator };
        seal(&sealer, &mut seeded(seed)).expect("it can be sealed")
    }

    fn manifest() -> Manifest {
        Manifest {
            register_version: 5,
            entity_tag: "0123456789abcdef0123456789abcdef".into(),
            content: ContentHeaders {
                content_type: Some("application/fhir+json".into()),
                ..ContentHeaders::default()
            },
            user_metadata: vec![("ward".into(), "3".into())],
            ..Manifest::default()
        }
    }

    fn version_with_body(&self, kek: &Kek, clear: &[u8]) -> (SealedVersion, Body) {
        let sealed = self.seal(kek, "one", |sealer, random| {
            let room = sealer.headroom_bytes(Some(&Self::manifest()));
            let mut body = BodySealer::new(sealer.dek, self.blob, 0, room, clear.len() + 9, random)?;
            body.push(clear, random)?;
            sealer.version_with_body(Self::manifest(), body.finish(9, random)?, random)
        });
        let crate::envelope::Blobs::Inline(entries) = &sealed.root.blobs else {
            panic!("one entry has no pages")
        };
        let blob = Bytes::copy_from_slice(sealed.blob.as_bytes());
        let body = Body { version: 0, entry: entries[0], blob, clear: clear.to_vec() };
        (sealed, body)
    }

    fn body(&self, kek: &Kek, ordinal: u32, clear: &[u8]) -> Body {
        let seed = format!("body {ordinal}");
        let (sealed, entry): (Sealed, BlobEntry) = self.seal(kek, &seed, |sealer, random| {
            let room = sealer.headroom_bytes(None);
            let mut body =
                BodySealer::new(sealer.dek, seeded_bytes(&seed), ordinal, room, clear.len(), random)?;
            body.push(clear, random)?;
            sealer.body(body.finish(0, random)?, random)
        });
        Body { version: 1, entry, blob: sealed.into_bytes(), clear: clear.to_vec() }
    }

    fn version(&self, kek: &Kek, entries: Vec<BlobEntry>) -> SealedVersion {
        self.seal(kek, "several", |sealer, random| {
            sealer.version_paged(self.blob, Self::manifest(), entries, 1, random)
        })
    }
}

/// Bytes that look random and depend on `seed` alone: SHA-256(seed ‖ block number), block after block.
fn seeded(seed: &str) -> impl FnMut(&mut [u8]) -> Result<(), RandomFailed> + use<> {
    let seed = seed.to_owned();
    let (mut block, mut left) = (0_u64, Vec::new().into_iter());
    move |out| {
        for byte in out {
            if left.len() == 0 {
                left = Sha256::digest([seed.as_bytes(), &block.to_be_bytes()].concat()).to_vec().into_iter();
                block += 1;
            }
            *byte = left.next().unwrap_or_default();
        }
        Ok(())
    }
}

fn seeded_bytes<const N: usize>(seed: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let _ = seeded(seed)(&mut bytes);
    bytes
}
