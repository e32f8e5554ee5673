//! The product under test: two regions, a tenant in each, and what their clients saw.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use proptest_state_machine::StateMachineTest;
use tempfile::TempDir;
use terroir::blobs::testing::Faults;
use terroir::model::TenantCode;
use terroir::placement::Operation as Placed;
use terroir::testing::{Setup, TestApp, TestTenant};
use tokio::runtime::Runtime;

use super::super::{Fetched, a_minute, fetch, fetch_object};
use super::CLASSES;
use super::expected::{Expected, Record, Stage, Upload, Verdict, bytes, chosen, complete, joined};
use super::operation::{At, Body, Course, Fault, KEYS, Operation, Runs, When};

const REGIONS: [&str; 2] = ["fr", "us"];
/// A tag that nothing has.
const NO_TAG: &str = "\"00000000000000000000000000000000-1\"";

pub(super) struct System {
    runtime: Runtime,
    dir: TempDir,
    setup: Setup,
    /// `None` only while it restarts.
    app: Option<TestApp>,
    tenants: Vec<TestTenant>,
    expected: [Expected; 2],
    /// `None`: it could not be begun.
    uploads: Vec<Option<Upload>>,
    troubled: [bool; 2],
}

/// What a client saw: an answer, a refusal, or a failure that promises nothing (5xx, a broken connection).
#[derive(Debug)]
enum Saw<T> {
    Answer(T),
    Refusal(u16, String),
    Failure(String),
}

fn saw<T, E: ProvideErrorMetadata + std::fmt::Debug>(answer: Result<T, SdkError<E, HttpResponse>>) -> Saw<T> {
    match answer {
        Ok(answer) => Saw::Answer(answer),
        Err(error) => match error.raw_response().map(|response| response.status().as_u16()) {
            Some(status) if status < 500 => {
                let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
                Saw::Refusal(status, code.to_owned())
            }
            _ => Saw::Failure(format!("{error:?}")),
        },
    }
}

impl<T: std::fmt::Debug> Saw<T> {
    /// The answer if the model says it must be one; `None` if it failed, and was allowed to.
    fn judged(self, verdict: &Verdict, troubled: bool, what: &Operation) -> Option<T> {
        match (self, verdict) {
            (Self::Answer(answer), Verdict::Done) => Some(answer),
            (Self::Refusal(status, code), Verdict::Refused(due_status, due_code))
                if status == *due_status && (code == *due_code || code.is_empty()) =>
            {
                None
            }
            (Self::Failure(said), _) if troubled => {
                assert!(!said.is_empty());
                None
            }
            (saw, verdict) => panic!("{what:?}: {saw:?}, but the model says {verdict:?}"),
        }
    }
}

impl StateMachineTest for System {
    type SystemUnderTest = Self;
    type Reference = Runs;

    fn init_test(_: &Course) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = TempDir::new().unwrap();
        let mut setup = Setup::default();
        setup.limits.blob_bytes_max = 128 * 1024;
        setup.limits.reclaim_delay_s = 0;
        let (app, tenants) = runtime.block_on(async {
            let app = TestApp::start(dir.path(), &setup).await;
            let mut tenants = Vec::new();
            for region in REGIONS {
                let tenant = app.tenant(region, &format!("clinic-{region}"), CLASSES[0]).await;
                tenant.s3.create_bucket().bucket(tenant.tenant.id.as_str()).send().await.unwrap();
                tenants.push(tenant);
            }
            (app, tenants)
        });
        let (expected, uploads) = (<[Expected; 2]>::default(), Vec::new());
        Self { runtime, dir, setup, app: Some(app), tenants, expected, uploads, troubled: [false; 2] }
    }

    fn apply(mut system: Self, _: &Course, operation: Operation) -> Self {
        let runtime = system.runtime.handle().clone();
        runtime.block_on(system.step(&operation));
        system
    }

    fn teardown(mut system: Self, _: Course) {
        let runtime = system.runtime.handle().clone();
        runtime.block_on(system.nothing_is_lost_and_nothing_left());
    }
}

impl System {
    fn app(&self) -> &TestApp {
        self.app.as_ref().expect("running")
    }

    fn s3(&self, at: At) -> (&Client, &str) {
        (&self.tenants[at].s3, self.tenants[at].tenant.id.as_str())
    }

    async fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Put { at, key, body, class, when } => {
                self.put(*at, KEYS[*key], *body, *class, *when, operation).await;
            }
            Operation::PutCutOff { at, key, body } => self.put_cut_off(*at, KEYS[*key], *body).await,
            Operation::PutSpoiled { at, key, body } => {
                self.put_spoiled(*at, KEYS[*key], *body, operation).await;
            }
            Operation::Get { at, key, range } => self.read(*at, KEYS[*key], *range, operation).await,
            Operation::Head { at, key } => self.head(*at, KEYS[*key], operation).await,
            Operation::Delete { at, key } => self.delete(*at, &[KEYS[*key]], false, operation).await,
            Operation::DeleteMany { at, keys } => {
                let keys: Vec<_> = keys.iter().map(|key| KEYS[*key]).collect();
                self.delete(*at, &keys, true, operation).await;
            }
            Operation::List { at, prefix, delimited, page } => {
                self.list(*at, prefix, *delimited, *page).await;
            }
            Operation::Begin { at, key, class } => self.begin(*at, *key, *class, operation).await,
            Operation::Part { upload, number, body } => self.part(*upload, *number, *body, operation).await,
            Operation::Complete { upload, chosen: mask } => self.complete(*upload, *mask, operation).await,
            Operation::Abort { upload } => self.abort(*upload, operation).await,
            Operation::Abroad { at, key, write } => self.abroad(*at, KEYS[*key], *write).await,
            Operation::Trouble { at, fault } => self.trouble(*at, *fault),
            Operation::Heal { at } => self.heal(*at),
            Operation::Reclaim { at } => self.reclaim(*at).await,
            Operation::Restart => self.restart().await,
        }
    }

    async fn put(
        &mut self,
        at: At,
        key: &'static str,
        body: Body,
        class: Option<usize>,
        when: When,
        what: &Operation,
    ) {
        let (s3, bucket) = self.s3(at);
        let mut put = s3.put_object().bucket(bucket).key(key).body(bytes(body).into());
        if let Some(class) = class {
            put = put.metadata("terroir-class", CLASSES[class]);
        }
        let tag = self.expected[at].records.get(key).map_or(NO_TAG, |record| &record.tag);
        let put = match when {
            When::Always => put,
            When::Absent => put.if_none_match("*"),
            When::Current => put.if_match(tag),
            When::Stale => put.if_match(NO_TAG),
        };
        let verdict = self.expected[at].condition(key, when);
        if let Some(done) = saw(put.send().await).judged(&verdict, self.troubled[at], what) {
            let record = Record { body: bytes(body), tag: done.e_tag.unwrap(), class: class.unwrap_or(0) };
            self.expected[at].records.insert(key, record);
        }
    }

    /// Announces the whole body, sends half of it, and leaves.
    async fn put_cut_off(&self, at: At, key: &str, body: Body) {
        let (s3, bucket) = self.s3(at);
        let signed = s3.put_object().bucket(bucket).key(key).presigned(a_minute()).await.unwrap();
        let rest = signed.uri().strip_prefix("http://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        let announced = body.len + 10;
        let head = format!("PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {announced}\r\n\r\n");
        let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
        // A refusal may come first, and then nobody reads on.
        let _ =
            tokio::io::AsyncWriteExt::write_all(&mut socket, &[head.as_bytes(), &bytes(body)].concat()).await;
    }

    async fn put_spoiled(&self, at: At, key: &str, body: Body, what: &Operation) {
        let (s3, bucket) = self.s3(at);
        let put = s3.put_object().bucket(bucket).key(key).body(bytes(body).into());
        let put = put.checksum_algorithm(ChecksumAlgorithm::Crc32).checksum_crc32("AAAAAQ==");
        let verdict = Verdict::Refused(400, "BadDigest");
        // One body in 2^32 has that sum.
        assert!(saw(put.send().await).judged(&verdict, self.troubled[at], what).is_none());
    }

    async fn read(&self, at: At, key: &str, range: Option<(usize, usize)>, what: &Operation) {
        let (s3, bucket) = self.s3(at);
        let record = self.expected[at].records.get(key);
        let due = record.map(|record| match range {
            None => Some(&record.body[..]),
            Some(range) => Expected::slice(&record.body, range),
        });
        let verdict = match due {
            None => Verdict::Refused(404, "NoSuchKey"),
            Some(None) => Verdict::Refused(416, "InvalidRange"),
            Some(Some(_)) => Verdict::Done,
        };
        let range = range.map(|(first, len)| format!("bytes={first}-{}", first + len - 1));
        let got = s3.get_object().bucket(bucket).key(key).set_range(range).send().await;
        let Some(got) = saw(got).judged(&verdict, self.troubled[at], what) else { return };
        assert_eq!(got.e_tag.as_ref(), record.map(|record| &record.tag), "{what:?}");
        match got.body.collect().await {
            Ok(body) => assert!(body.to_vec() == due.flatten().unwrap(), "WRONG BYTES: {what:?}"),
            Err(error) => assert!(self.troubled[at], "{what:?}: {error:?}"),
        }
    }

    async fn head(&self, at: At, key: &str, what: &Operation) {
        let (s3, bucket) = self.s3(at);
        let signed = s3.head_object().bucket(bucket).key(key).presigned(a_minute()).await.unwrap();
        // A HEAD asks the index alone: a store in trouble is no excuse.
        let head: Fetched = fetch(&signed, b"").await.unwrap();
        let of = |name: &str| head.headers.get(name).map(String::as_str);
        let Some(record) = self.expected[at].records.get(key) else {
            return assert_eq!(head.status, 404, "{what:?}");
        };
        assert_eq!(head.status, 200, "{what:?}");
        assert_eq!(of("etag"), Some(record.tag.as_str()), "{what:?}");
        assert_eq!(of("content-length"), Some(record.body.len().to_string().as_str()), "{what:?}");
        assert_eq!(of("x-terroir-class"), Some(CLASSES[record.class]), "{what:?}");
        assert_eq!(of("x-terroir-region"), Some(REGIONS[at]), "{what:?}");
    }

    async fn delete(&mut self, at: At, keys: &[&'static str], many: bool, what: &Operation) {
        let (s3, bucket) = self.s3(at);
        // Blobs are deleted later, by the reclaim queue: a store in trouble is no excuse here either.
        if many {
            let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(*key).build().unwrap());
            let delete = Delete::builder().set_objects(Some(objects.collect())).build().unwrap();
            let deleted = s3.delete_objects().bucket(bucket).delete(delete).send().await;
            let deleted = saw(deleted).judged(&Verdict::Done, false, what).unwrap();
            assert!(deleted.errors().is_empty(), "{what:?}: {:?}", deleted.errors());
        } else {
            let deleted = s3.delete_object().bucket(bucket).key(keys[0]).send().await;
            saw(deleted).judged(&Verdict::Done, false, what).unwrap();
        }
        for key in keys {
            self.expected[at].records.remove(key);
        }
    }

    async fn list(&self, at: At, prefix: &str, delimited: bool, page: i32) {
        let due = self.expected[at].listing(prefix, delimited);
        let (s3, bucket) = self.s3(at);
        let (mut entries, mut token) = (Vec::new(), None);
        loop {
            let mut list = s3.list_objects_v2().bucket(bucket).prefix(prefix).max_keys(page);
            list = list.set_continuation_token(token).set_delimiter(delimited.then(|| "/".to_owned()));
            let listed = list.send().await.unwrap();
            for entry in listed.contents() {
                let record = &self.expected[at].records[entry.key().unwrap()];
                assert_eq!(entry.size(), Some(i64::try_from(record.body.len()).unwrap()));
                assert_eq!(entry.e_tag(), Some(record.tag.as_str()));
                entries.push(entry.key().unwrap().to_owned());
            }
            entries.extend(listed.common_prefixes().iter().map(|common| common.prefix().unwrap().to_owned()));
            token = listed.next_continuation_token;
            assert_eq!(token.is_some(), listed.is_truncated == Some(true));
            assert!(entries.len() <= due.len(), "{entries:?} of {due:?}");
            if token.is_none() {
                break;
            }
        }
        // Within a page S3 lists keys first, then what they have in common.
        entries.sort();
        assert_eq!(entries, due, "prefix {prefix:?}, delimited: {delimited}, pages of {page}");
    }

    async fn begin(&mut self, at: At, key: usize, class: Option<usize>, what: &Operation) {
        let (s3, bucket) = self.s3(at);
        let mut begin = s3.create_multipart_upload().bucket(bucket).key(KEYS[key]);
        if let Some(class) = class {
            begin = begin.metadata("terroir-class", CLASSES[class]);
        }
        let begun = saw(begin.send().await).judged(&Verdict::Done, self.troubled[at], what);
        let class = class.unwrap_or(0);
        self.uploads.push(begun.map(|begun| Upload {
            at,
            key,
            class,
            id: begun.upload_id.unwrap(),
            stage: Stage::Open(BTreeMap::new()),
        }));
    }

    async fn part(&mut self, upload: usize, number: i32, body: Body, what: &Operation) {
        let Some(known) = self.uploads[upload].clone() else { return };
        let (s3, bucket) = self.s3(known.at);
        let part = s3.upload_part().bucket(bucket).key(KEYS[known.key]).upload_id(&known.id);
        let sent = part.part_number(number).body(bytes(body).into()).send().await;
        let verdict = match known.stage {
            Stage::Open(_) => Verdict::Done,
            _ => Verdict::Refused(404, "NoSuchUpload"),
        };
        let Some(done) = saw(sent).judged(&verdict, self.troubled[known.at], what) else { return };
        if let Some(Upload { stage: Stage::Open(parts), .. }) = &mut self.uploads[upload] {
            parts.insert(number, (body, done.e_tag.unwrap()));
        }
    }

    async fn complete(&mut self, upload: usize, mask: u8, what: &Operation) {
        let Some(known) = self.uploads[upload].clone() else { return };
        let troubled = self.troubled[known.at];
        match &known.stage {
            Stage::Open(parts) => {
                let numbers = chosen(mask);
                let tag_of =
                    |number: &i32| parts.get(number).map_or(NO_TAG.to_owned(), |(_, tag)| tag.clone());
                let list: Vec<_> = numbers.iter().map(|number| (*number, tag_of(number))).collect();
                let verdict = complete(parts, &numbers);
                let Some(tag) = self.completed(&known, &list, &verdict, troubled, what).await else { return };
                let record = Record { body: joined(parts, &numbers), tag: tag.clone(), class: known.class };
                self.expected[known.at].records.insert(KEYS[known.key], record);
                self.uploads[upload].as_mut().unwrap().stage = Stage::Completed(list, tag);
            }
            // The same list again gets the same answer, whatever became of the record: it is remembered, not done again.
            Stage::Completed(list, tag) => {
                let again = self.completed(&known, list, &Verdict::Done, troubled, what).await;
                assert!(again.is_none_or(|again| again == *tag), "{what:?}: a replay is answered alike");
            }
            Stage::Aborted => {
                let list = [(1, NO_TAG.to_owned())];
                let verdict = Verdict::Refused(404, "NoSuchUpload");
                self.completed(&known, &list, &verdict, troubled, what).await;
            }
        }
    }

    /// Sends a Complete; the record's tag if it was carried out.
    async fn completed(
        &self,
        known: &Upload,
        list: &[(i32, String)],
        verdict: &Verdict,
        troubled: bool,
        what: &Operation,
    ) -> Option<String> {
        let parts =
            list.iter().map(|(number, tag)| CompletedPart::builder().part_number(*number).e_tag(tag).build());
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let (s3, bucket) = self.s3(known.at);
        let complete =
            s3.complete_multipart_upload().bucket(bucket).key(KEYS[known.key]).upload_id(&known.id);
        let sent = saw(complete.multipart_upload(list).send().await);
        sent.judged(verdict, troubled, what).map(|done| done.e_tag.unwrap())
    }

    async fn abort(&mut self, upload: usize, what: &Operation) {
        let Some(known) = self.uploads[upload].clone() else { return };
        let verdict = match known.stage {
            Stage::Open(_) => Verdict::Done,
            _ => Verdict::Refused(404, "NoSuchUpload"),
        };
        let (s3, bucket) = self.s3(known.at);
        let sent =
            s3.abort_multipart_upload().bucket(bucket).key(KEYS[known.key]).upload_id(&known.id).send().await;
        if saw(sent).judged(&verdict, false, what).is_some() {
            self.uploads[upload].as_mut().unwrap().stage = Stage::Aborted;
        }
    }

    /// Nothing of a tenant is read or written at another region's door.
    async fn abroad(&self, at: At, key: &str, write: bool) {
        let away = self.app().client(REGIONS[1 - at], &self.tenants[at].credential);
        let bucket = self.tenants[at].tenant.id.as_str();
        let before = self.app().blobs(REGIONS[1 - at]);
        let answer = if write {
            let put = away.put_object().bucket(bucket).key(key).presigned(a_minute()).await.unwrap();
            fetch(&put, b"a record that must not be here").await.unwrap()
        } else {
            fetch_object(&away, bucket, key).await.unwrap()
        };
        assert_eq!(answer.status, 301);
        assert_eq!(answer.headers.get("x-amz-bucket-region").map(String::as_str), Some(REGIONS[at]));
        // A write of the other tenant that was cut off just now may still be on its way there: its blobs say whose they are.
        let [mine, theirs] = [at, 1 - at].map(|at| self.tenants[at].tenant.code);
        for path in self.app().blobs(REGIONS[1 - at]).into_keys().filter(|path| !before.contains_key(path)) {
            let blob = std::fs::read(&path).unwrap();
            let says = |code: TenantCode| blob.windows(16).any(|window| window == code.as_bytes());
            assert!(says(theirs) && !says(mine), "{} came with a request from abroad", path.display());
        }
    }

    fn trouble(&mut self, at: At, fault: Fault) {
        self.troubled[at] = true;
        self.app().tap(REGIONS[at]).fail(match fault {
            Fault::Down => Faults { error_before: 1000, ..Faults::default() },
            Fault::Flaky => {
                Faults { error_before: 100, error_after: 100, timeout_after: 100, ..Faults::default() }
            }
            Fault::Lies => Faults { truncated: 400, bit_flip: 400, ..Faults::default() },
        });
    }

    fn heal(&mut self, at: At) {
        self.troubled[at] = false;
        self.app().tap(REGIONS[at]).fail(Faults::default());
    }

    /// Deletes what waits for it, as the proxy does by itself from time to time.
    async fn reclaim(&self, at: At) {
        let site = self.app().site(REGIONS[at]);
        let due = site.vault().due(&[], None).await.unwrap();
        let decided = site.admit(&self.tenants[at].tenant, &Placed::Maintain, "reclaim").await.unwrap();
        let reclaimed = site.vault().reclaim(&decided, &due).await.unwrap();
        assert!(reclaimed.failed == 0 || self.troubled[at], "{reclaimed:?}");
    }

    async fn restart(&mut self) {
        self.app.take().expect("running").stop().await;
        let app = TestApp::start(self.dir.path(), &self.setup).await;
        for (region, tenant) in REGIONS.iter().zip(&mut self.tenants) {
            tenant.s3 = app.client(region, &tenant.credential);
        }
        self.app = Some(app);
        self.troubled = [false; 2];
    }

    async fn nothing_is_lost_and_nothing_left(&mut self) {
        for at in 0..REGIONS.len() {
            self.heal(at);
            for key in KEYS {
                let key_at = KEYS.iter().position(|known| *known == key).expect("one of them");
                self.read(at, key, None, &Operation::Get { at, key: key_at, range: None }).await;
                self.head(at, key, &Operation::Head { at, key: key_at }).await;
            }
            self.list(at, "", false, 1000).await;
            self.delete(at, &KEYS, true, &Operation::DeleteMany { at, keys: vec![] }).await;
        }
        for upload in 0..self.uploads.len() {
            self.abort(upload, &Operation::Abort { upload }).await;
        }
        // A client that left may still be on its way out, and its blobs on their way into the queue.
        for (at, region) in REGIONS.iter().enumerate() {
            super::super::until("every blob of deleted records to be gone", async || {
                self.app().site(region).vault().settle(std::time::Duration::from_secs(5)).await;
                self.reclaim(at).await;
                let left = self.app().blobs(region);
                // The store's own mark stays: it says whose it is.
                left.keys().all(|path| path.ends_with("region")).then_some(())
            })
            .await;
        }
        self.app.take().expect("running").stop().await;
    }
}
