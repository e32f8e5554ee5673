//! Regressions of a review across the vault's seams: each test is named after the defect it would have shown.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use terroir::app::{Site, SiteParts};
use terroir::catalogue::{Catalogue, Overlay, Tree};
use terroir::index::{BLOBS_PER_COMMIT_MAX, Index, Opening, ReclaimReason, SqliteIndex, SqliteOptions};
use terroir::model::{
    BlobId, Checksum, ManualClock, ObjectMeta, RegionId, SystemEntropy, Tenant, TenantCode, Timestamp,
    Unclassified,
};
use terroir::placement::{AskedClass, Operation};
use terroir::settings::Settings;
use terroir::telemetry::Metrics;
use terroir::tenants::NewTenant;
use terroir::vault::{
    ChosenPart, Completion, NewUpload, Precondition, Source, VaultError, Write, WriteError,
};

const NOW: Timestamp = Timestamp::from_seconds(1_796_083_200);

/// A region in a folder, whose queue of deletions is due at once, with a tenant that has a bucket.
struct Bench {
    _folder: tempfile::TempDir,
    site: Site,
    tenant: Tenant,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fr: RegionId = "fr".parse().unwrap();
        let mut settings = Settings::dev(folder.path(), 9000, std::slice::from_ref(&fr)).unwrap();
        settings.limits.reclaim_delay_s = 0;
        settings.limits.blob_bytes_max = 64 * 1024;
        let region = settings.region(&fr).unwrap().clone();
        let overlay = Overlay::new("review").with_embedded(fr.clone(), region.listen.data);
        let catalogue = Catalogue::from_tree(&Tree::embedded(), NOW).unwrap().overlaid(&overlay).unwrap();
        let site = Box::pin(Site::open(SiteParts {
            region: Arc::clone(catalogue.region(&fr).unwrap()),
            settings: region,
            environment: settings.environment.clone(),
            limits: settings.limits,
            scrub: settings.scrub,
            catalogue: Arc::new(catalogue),
            between: terroir::app::Parts::default().between,
            regions: 1,
            metrics: Arc::new(Metrics::default()),
            clock: Arc::new(ManualClock::at(NOW)),
            entropy: Arc::new(SystemEntropy),
        }))
        .await
        .unwrap();
        let new = NewTenant {
            id: "clinic".parse().unwrap(),
            home: fr,
            default_class: "health".parse().unwrap(),
            unclassified: Unclassified::TakesDefault,
        };
        let tenant = site.registry().create_tenant(new).await.unwrap();
        let bench = Self { _folder: folder, site, tenant };
        let decided = bench.decided(Operation::CreateBucket { location_constraint: None }).await;
        bench.site.vault().create_bucket(&decided, &"bucket".parse().unwrap()).await.unwrap();
        bench
    }

    async fn decided(&self, operation: Operation) -> terroir::vault::Decided {
        self.site.admit(&self.tenant, &operation, "test").await.unwrap()
    }

    async fn writing(&self) -> terroir::vault::Decided {
        self.decided(Operation::Write(AskedClass::default())).await
    }
}

/// Gives its pieces, and breaks off if they are fewer bytes than it promised.
struct Pieces {
    promised: u64,
    pieces: Vec<Bytes>,
}

#[derive(Debug)]
struct BrokeOff;

impl Source for Pieces {
    type Error = BrokeOff;

    fn clear_bytes(&self) -> u64 {
        self.promised
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BrokeOff> {
        if !self.pieces.is_empty() {
            return Ok(Some(self.pieces.remove(0)));
        }
        if self.promised == 0 { Ok(None) } else { Err(BrokeOff) }
    }

    fn verified(&mut self) -> Vec<Checksum> {
        Vec::new()
    }
}

#[tokio::test]
async fn blobs_of_a_write_cut_off_by_a_drain_were_forgotten_when_the_index_closed_first() {
    let bench = Bench::new().await;
    let write = Write {
        bucket: "bucket".parse().unwrap(),
        key: "key".parse().unwrap(),
        meta: ObjectMeta::default(),
        subject: None,
        precondition: Precondition::None,
    };
    let half = Pieces { promised: 256 * 1024, pieces: vec![Bytes::from(vec![1; 128 * 1024])] };
    let vault = bench.site.vault();
    let failed = vault.put(&bench.writing().await, write, half).await;
    assert!(matches!(failed, Err(WriteError::Body(BrokeOff))));
    vault.settle(Duration::from_secs(10)).await;
    let due = vault.due(&[], None).await.unwrap();
    assert_eq!(due.tenants(), [bench.tenant.code], "the blobs that were uploaded wait for deletion");
    let reclaimed = vault.reclaim(&bench.decided(Operation::Maintain).await, &due).await.unwrap();
    assert_eq!((reclaimed.deleted, reclaimed.failed), (2, 0));
    assert!(vault.due(&[], None).await.unwrap().tenants().is_empty());
}

#[tokio::test]
async fn a_write_that_no_commit_could_take_was_uploaded_before_it_was_refused() {
    let bench = Bench::new().await;
    let write = Write {
        bucket: "bucket".parse().unwrap(),
        key: "key".parse().unwrap(),
        meta: ObjectMeta::default(),
        subject: None,
        precondition: Precondition::None,
    };
    let huge = Pieces { promised: BLOBS_PER_COMMIT_MAX as u64 * 64 * 1024, pieces: Vec::new() };
    let refused = bench.site.vault().put(&bench.writing().await, write, huge).await;
    assert!(
        matches!(refused, Err(WriteError::Vault(VaultError::TooLarge))),
        "and its body is never asked for"
    );
}

#[tokio::test]
async fn a_repeated_complete_answers_the_first_one_s_tag() {
    let bench = Bench::new().await;
    let (vault, decided) = (bench.site.vault(), bench.writing().await);
    let (bucket, key) = ("bucket".parse().unwrap(), "key".parse().unwrap());
    let new = NewUpload {
        bucket: Clone::clone(&bucket),
        key: Clone::clone(&key),
        meta: ObjectMeta::default(),
        subject: None,
        checksum: None,
    };
    let (upload, _) = vault.create_upload(&decided, new).await.unwrap();
    let empty = Pieces { promised: 0, pieces: Vec::new() };
    let part = vault.put_part(&decided, &bucket, &key, upload, 1, empty).await.unwrap();
    assert_eq!(part.class.as_str(), "health", "an answer to UploadPart did not say the class");
    let complete = || async {
        let part = ChosenPart { number: 1, etag: part.etag.as_str().to_owned(), checksum: None };
        let completion = Completion { parts: vec![part], precondition: Precondition::None, size_bytes: None };
        vault.complete_upload(&decided, &bucket, &key, upload, completion, |_, _| Ok(Vec::new())).await
    };
    let first = complete().await.unwrap();
    assert_eq!(complete().await.unwrap().etag, first.etag, "a repeated Complete gets the first answer");
    let read = bench.decided(Operation::Read).await;
    assert_eq!(vault.open(&read, &bucket, &key).await.unwrap().etag(), &first.etag, "the object stays");
}

#[tokio::test]
async fn a_suspended_tenant_s_blobs_stood_in_front_of_everybody_else_s_deletions() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(
        folder.path().join("index.sqlite3"),
        "fr".parse().unwrap(),
        "test".parse().unwrap(),
        Opening::CreateIfMissing,
    );
    let clock = ManualClock::at(NOW);
    let index = SqliteIndex::open(options, &clock, &SystemEntropy).await.unwrap();
    let (suspended, served) = (TenantCode::from_bytes([1; 16]), TenantCode::from_bytes([2; 16]));
    let many = (0..1000).map(|_| BlobId::random(&SystemEntropy).unwrap()).collect();
    let one = BlobId::random(&SystemEntropy).unwrap();
    let reason = ReclaimReason::FailedWrite;
    index.enqueue_reclaim(many, suspended, NOW, reason).await.unwrap();
    index.enqueue_reclaim(vec![one], served, NOW.after(Duration::from_secs(1)), reason).await.unwrap();
    let later = NOW.after(Duration::from_mins(1));
    assert!(index.due(later, 1000).await.unwrap().iter().all(|row| row.tenant == suspended));
    let due = index.due_except(later, &[suspended], None, 1000).await.unwrap();
    assert_eq!(due.iter().map(|row| row.blob).collect::<Vec<_>>(), [one]);
    assert!(index.due_except(NOW, &[suspended], None, 1000).await.unwrap().is_empty(), "not before its time");
    assert_eq!(index.due_except(later, &[], None, 5).await.unwrap().len(), 5, "no more than asked");
    index.close().await;
}
