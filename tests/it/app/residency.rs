//! A record is in its tenant's region or nowhere.

use std::collections::BTreeMap;
use std::path::Path;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use terroir::app::{SiteError, StartError};
use terroir::blobs::testing::Faults;
use terroir::keys::KeysError;
use terroir::testing::{Setup, TestApp, TestTenant};

use super::{CLASSES, Random, World, a_minute, exchange, fetch, get, is, keys_of, noise, put, refusal};

/// Everything a region has on disk but its audit log: name, length and bytes.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            if entry.path().is_dir() {
                waiting.push(entry.path());
            } else if let Ok(bytes) = std::fs::read(entry.path()) {
                found.push((entry.path(), bytes));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_with_another_ones_root_key_is_not_served_beside_it() {
    let World { app, dir } = World::new().await;
    app.stop().await;
    let roots = |region: &str| dir.path().join(region).join("keys/roots/root-fr.key");
    std::fs::copy(roots("fr"), roots("us")).unwrap();
    let refused = TestApp::try_start(dir.path(), &Setup::default()).await;
    let Err(StartError::Site { source, .. }) = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, SiteError::Keys(KeysError::Canary(_))), "{source:?}");
    std::fs::remove_file(roots("us")).unwrap();
    TestApp::start(dir.path(), &Setup::default()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_another_region_is_sent_home_and_nothing_is_read_recorded_or_stored() {
    let world = World::new().await;
    let american = world.tenant("us", "boston", "health").await;
    let french = world.tenant("fr", "lyon", "health").await;
    for (clinic, home, abroad) in [(&american, "us", "fr"), (&french, "fr", "us")] {
        let stores = (world.app.blobs("fr"), world.app.blobs("us"));
        let decisions =
            world.app.audit_lines(abroad).iter().filter(|line| line["kind"] == "decision").count();
        let s3 = world.app.client(abroad, &clinic.credential);
        let signed = s3.put_object().bucket("lyon").key("MARKER").presigned(a_minute()).await.unwrap();
        // Only the head: an answer that waited for the body would never come.
        let url = signed.uri().strip_prefix("http://").unwrap();
        let (host, path) = url.split_once('/').unwrap();
        let head = format!(
            "PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        );
        let answer = exchange(host, head.as_bytes(), false).await.unwrap();
        assert_eq!(answer.status, 301, "{answer:?}");
        assert_eq!(answer.headers.get("x-amz-bucket-region").map(String::as_str), Some(home));
        let text = String::from_utf8(answer.body).unwrap();
        assert!(
            text.contains("PermanentRedirect") && text.contains(&format!("s3.{home}.terroir.example")),
            "{text}"
        );
        assert!(!text.contains("MARKER"), "{text}");

        assert_eq!(refusal(s3.list_buckets().send().await), is(301, "PermanentRedirect"));
        assert_eq!(refusal(s3.get_object().bucket("lyon").key("a").send().await).0, 301);
        assert_eq!(refusal(s3.head_bucket().bucket("lyon").send().await).0, 301);
        assert_eq!(refusal(s3.create_bucket().bucket("new").send().await).0, 301);
        let body = ByteStream::from(noise(1, 300_000));
        assert_eq!(refusal(s3.put_object().bucket("lyon").key("a").body(body).send().await).0, 301);
        assert_eq!(stores, (world.app.blobs("fr"), world.app.blobs("us")));
        let now = world.app.audit_lines(abroad).iter().filter(|line| line["kind"] == "decision").count();
        assert_eq!(now, decisions, "strangers are counted, not recorded one by one");
    }
    assert!(keys_of(&american.s3, "boston").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_scope_of_another_region_is_refused() {
    let world = World::new().await;
    let french = world.tenant("fr", "lyon", "health").await;
    let config = french.s3.config().to_builder().region(aws_sdk_s3::config::Region::new("us")).build();
    let confused = aws_sdk_s3::Client::from_conf(config);
    let (status, code) = refusal(confused.list_objects_v2().bucket("lyon").send().await);
    assert_eq!((status, code.as_str()), (400, "AuthorizationHeaderMalformed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_elsewhere_or_nowhere_is_an_illegal_location_constraint() {
    let world = World::new().await;
    let french = world.app.tenant("fr", "lyon", "health").await;
    let create = |place: &str| {
        let at = CreateBucketConfiguration::builder();
        let at = at.location_constraint(BucketLocationConstraint::from(place)).build();
        french.s3.create_bucket().bucket("records").create_bucket_configuration(at).send()
    };
    for elsewhere in ["us", "de", "eu-west-3", "us-east-1", "FR", "france"] {
        let refused = refusal(create(elsewhere).await);
        assert_eq!(refused, is(400, "IllegalLocationConstraintException"), "{elsewhere}");
    }
    assert!(french.s3.list_buckets().send().await.unwrap().buckets().is_empty());
    create("fr").await.unwrap();
    let found = french.s3.get_bucket_location().bucket("records").send().await.unwrap();
    assert_eq!(found.location_constraint().unwrap().as_str(), "fr");
}

/// The shipped catalogue and a third region, made from France's file by changing words: no line of Rust knows it.
fn with_germany() -> tempfile::TempDir {
    let made = tempfile::TempDir::new().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("regions");
    std::fs::create_dir(made.path().join("register")).unwrap();
    for folder in ["", "register"] {
        for entry in std::fs::read_dir(shipped.join(folder)).unwrap().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "toml") {
                std::fs::copy(entry.path(), made.path().join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    let french = std::fs::read_to_string(shipped.join("fr.toml")).unwrap();
    // German law asks no certificate of hosting; the presets of French law are not for it.
    let kept: String = french
        .split("[[")
        .filter(|part| !part.starts_with("certificates]]") && !part.starts_with("regimes]]"))
        .collect();
    let facets =
        &french[french.find("[facets.storage]").unwrap()..french.find("# Presets").unwrap_or(french.len())];
    let head = &kept[..kept.find("# Health data of French").unwrap_or(kept.len()).min(kept.len())];
    let german = format!("{head}\n{facets}")
        .replace("id = \"fr\"", "id = \"de\"")
        .replace("signing-scope = \"fr\"", "signing-scope = \"de\"")
        .replace("\"FR\"", "\"DE\"")
        .replace("en = \"France\", fr = \"France\"", "en = \"Germany\", fr = \"Allemagne\"")
        .replace("s3.fr.", "s3.de.")
        .replace("terroir-fr", "terroir-de")
        .replace("_FR_", "_DE_");
    std::fs::write(made.path().join("de.toml"), german).unwrap();
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_region_is_one_file() {
    let catalogue = with_germany();
    let regions = ["fr", "us", "de"].map(|name| name.parse().unwrap()).to_vec();
    let setup = Setup { regions_dir: Some(catalogue.path().to_owned()), regions, ..Setup::default() };
    let world = World::of(&setup).await;
    let german = world.tenant("de", "berlin", "health-sensitive").await;
    let body = noise(5, 150_000);
    let before = (world.app.blobs("fr"), world.app.blobs("us"));
    put(&german.s3, "berlin", "record", &body).await;
    assert!(get(&german.s3, "berlin", "record").await == body);
    let found = german.s3.get_bucket_location().bucket("berlin").send().await.unwrap();
    assert_eq!(found.location_constraint().unwrap().as_str(), "de");
    assert_eq!(before, (world.app.blobs("fr"), world.app.blobs("us")));
    assert!(!world.app.blobs("de").is_empty());
    let lost = world.app.client("fr", &german.credential);
    let answer = lost.list_buckets().send().await;
    let region = answer.as_ref().unwrap_err().raw_response().unwrap().headers().get("x-amz-bucket-region");
    assert_eq!(region, Some("de"));
    assert_eq!(refusal(answer).0, 301);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_whose_store_is_gone_answers_503_alone_and_comes_back() {
    let world = World::new().await;
    let french = world.tenant("fr", "lyon", "health").await;
    let american = world.tenant("us", "boston", "health").await;
    let body = noise(9, 100_000);
    put(&french.s3, "lyon", "kept", &body).await;
    put(&american.s3, "boston", "kept", &body).await;
    let (store, away) = (world.app.store_dir("fr"), world.app.dir("fr").join("store.away"));
    std::fs::rename(&store, &away).unwrap();
    let abroad = world.app.blobs("us");
    let write = || french.s3.put_object().bucket("lyon").key("new").body(ByteStream::from(body.clone()));
    assert_eq!(refusal(write().send().await), is(503, "ServiceUnavailable"));
    let (status, _) = refusal(french.s3.get_object().bucket("lyon").key("kept").send().await);
    assert!(status >= 500, "{status}");
    assert_eq!(world.app.blobs("us"), abroad, "never abroad");
    // What needs no store goes on here; everything goes on there.
    assert_eq!(keys_of(&french.s3, "lyon").await, ["kept"]);
    put(&american.s3, "boston", "more", &body).await;
    assert!(get(&american.s3, "boston", "kept").await == body);
    assert!(!store.exists() || world.app.blobs("fr").is_empty(), "no second store is begun in its place");
    let _ = std::fs::remove_dir_all(&store);
    std::fs::rename(&away, &store).unwrap();
    assert!(get(&french.s3, "lyon", "kept").await == body);
    write().send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_is_503_and_nothing_is_visible() {
    let world = World::new().await;
    let french = world.tenant("fr", "lyon", "health").await;
    put(&french.s3, "lyon", "kept", b"kept").await;
    for faults in [
        Faults { error_before: 1000, ..Faults::default() },
        Faults { error_after: 1000, ..Faults::default() },
        Faults { timeout_after: 1000, ..Faults::default() },
        Faults { denied: 1000, ..Faults::default() },
    ] {
        world.app.tap("fr").fail(faults);
        let body = ByteStream::from_static(b"new");
        let refused = french.s3.put_object().bucket("lyon").key("kept").body(body).send().await;
        assert_eq!(refusal(refused), is(503, "ServiceUnavailable"), "{faults:?}");
        let refused = french.s3.get_object().bucket("lyon").key("kept").send().await;
        assert_eq!(refusal(refused), is(503, "ServiceUnavailable"), "{faults:?}");
        world.app.tap("fr").down(false);
        assert_eq!(get(&french.s3, "lyon", "kept").await, b"kept");
    }
}

/// What a marker looks like in a body, a key and a header's value.
const MARKER: &str = "MARKER-7f3a-of-a-patient";

/// What each (bucket, key) may hold now: several states while the outcome of a failed write is not known.
type Model = BTreeMap<(String, String), Vec<Option<Vec<u8>>>>;

/// One random operation, held against the model: a whole answer is one of the states that may be.
async fn step(random: &mut Random, clinic: &TestTenant, model: &mut Model, round: usize) {
    let (s3, bucket) = (&clinic.s3, clinic.tenant.id.as_str());
    let key = format!("{MARKER}/{}", random.below(6));
    let class = CLASSES[random.below(CLASSES.len())];
    let states = model.entry((bucket.to_owned(), key.clone())).or_insert_with(|| vec![None]);
    match random.below(6) {
        0..=2 => {
            let size = [0, 100, 70_000, 200_000][random.below(4)];
            let mut body = format!("{bucket} {key} {} ", random.next()).into_bytes();
            while body.len() < size {
                body.extend(format!("{MARKER} {round} ").as_bytes());
            }
            let put = s3.put_object().bucket(bucket).key(&key).metadata("terroir-class", class);
            match put.metadata("name", MARKER).body(ByteStream::from(body.clone())).send().await {
                Ok(_) => *states = vec![Some(body)],
                Err(_) => states.push(Some(body)),
            }
        }
        3 => match s3.get_object().bucket(bucket).key(&key).send().await {
            Ok(got) => {
                if let Ok(body) = got.body.collect().await {
                    assert!(states.contains(&Some(body.to_vec())), "bytes that nobody wrote there");
                }
            }
            Err(error) => {
                let refused = refusal::<(), _>(Err(error));
                assert!(
                    refused.0 >= 500 || (refused == is(404, "NoSuchKey") && states.contains(&None)),
                    "{refused:?}"
                );
            }
        },
        4 => match s3.delete_object().bucket(bucket).key(&key).send().await {
            Ok(_) => *states = vec![None],
            Err(_) => states.push(None),
        },
        _ => {
            let listed = s3.list_objects_v2().bucket(bucket).send().await.unwrap();
            for entry in listed.contents() {
                let at = (bucket.to_owned(), entry.key().unwrap().to_owned());
                let size = usize::try_from(entry.size().unwrap()).unwrap();
                let fits = |state: &Option<Vec<u8>>| state.as_ref().is_some_and(|body| body.len() == size);
                assert!(model[&at].iter().any(fits), "a listed size that nobody wrote");
            }
        }
    }
}

/// Whether `needle` is in `bytes` in one of the encodings it could leak in.
fn leaks(bytes: &[u8], needle: &str) -> bool {
    use base64::Engine;
    let plain = needle.as_bytes().to_vec();
    let base64 = base64::engine::general_purpose::STANDARD.encode(needle);
    let spellings =
        [plain.clone(), hex::encode(needle).into_bytes(), base64.as_bytes()[..base64.len() - 4].to_vec()];
    spellings.iter().any(|spelling| bytes.windows(spelling.len()).any(|window| window == *spelling))
}

#[tokio::test(flavor = "multi_thread")]
async fn under_faults_and_random_operations_no_byte_goes_abroad_and_no_marker_lies_in_a_store() {
    let seed =
        std::env::var("TERROIR_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_123);
    println!("TERROIR_TEST_SEED={seed}");
    let mut setup = Setup { seed, ..Setup::default() };
    setup.limits.blob_bytes_max = 64 * 1024;
    let world = World::of(&setup).await;
    let mut random = Random(seed);
    let mut clinics = Vec::new();
    let mut model = Model::new();
    for number in 0..4 {
        let region = ["fr", "us"][number % 2];
        clinics.push(world.tenant(region, &format!("clinic-{region}-{number}"), "operational").await);
    }
    let faults = Faults {
        error_before: 60,
        error_after: 60,
        timeout_after: 20,
        truncated: 30,
        bit_flip: 30,
        ..Faults::default()
    };
    for round in 0..12 {
        // One region works, under faults; of the other no file may change.
        let (home, abroad) = if round % 2 == 0 { ("fr", "us") } else { ("us", "fr") };
        let before =
            (contents(&world.app.store_dir(abroad)), std::fs::read(world.app.index_path(abroad)).unwrap());
        let decisions =
            world.app.audit_lines(abroad).iter().filter(|line| line["kind"] == "decision").count();
        world.app.tap(home).fail(faults);
        for _ in 0..25 {
            let here: Vec<_> = clinics.iter().filter(|clinic| clinic.tenant.home.as_str() == home).collect();
            let clinic = here[random.below(2)];
            step(&mut random, clinic, &mut model, round).await;
        }
        world.app.tap(home).down(false);
        let after =
            (contents(&world.app.store_dir(abroad)), std::fs::read(world.app.index_path(abroad)).unwrap());
        assert!(before == after, "round {round}: something of {abroad} changed while {home} worked");
        let now = world.app.audit_lines(abroad).iter().filter(|line| line["kind"] == "decision").count();
        assert_eq!(decisions, now, "round {round}");
    }
    assert!(world.app.tap("fr").struck() + world.app.tap("us").struck() > 20, "faults have struck");
    for ((bucket, key), states) in &model {
        let clinic = clinics.iter().find(|clinic| clinic.tenant.id.as_str() == bucket).unwrap();
        let held = match clinic.s3.get_object().bucket(bucket).key(key).send().await {
            Ok(got) => Some(got.body.collect().await.unwrap().to_vec()),
            Err(error) => {
                assert_eq!(refusal::<(), _>(Err(error)), is(404, "NoSuchKey"));
                None
            }
        };
        assert!(states.contains(&held), "{bucket} {key}: without faults, everything acknowledged reads back");
    }
    for region in ["fr", "us"] {
        let other = if region == "fr" { "us" } else { "fr" };
        for (path, bytes) in contents(&world.app.store_dir(region)) {
            assert!(!leaks(&bytes, MARKER) && !leaks(&bytes, "clinic-"), "{}", path.display());
        }
        for (path, bytes) in contents(&world.app.dir(region)) {
            assert!(!leaks(&bytes, &format!("clinic-{other}-")), "of {other}: {}", path.display());
        }
        // The positive control: the index knows the names.
        let known = contents(&world.app.dir(region).join("index"));
        assert!(known.iter().any(|(_, bytes)| leaks(bytes, MARKER)), "the search finds what is there");
        assert!(!world.app.blobs(region).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_url_of_one_region_opens_nothing_in_another() {
    let world = World::new().await;
    let french = world.tenant("fr", "lyon", "health").await;
    put(&french.s3, "lyon", "a", b"here").await;
    let abroad = world.app.client("us", &french.credential);
    let signed = abroad.get_object().bucket("lyon").key("a").presigned(a_minute()).await.unwrap();
    let answer = fetch(&signed, b"").await.unwrap();
    assert_eq!(answer.status, 301);
    assert!(!answer.body.windows(4).any(|four| four == b"here"));
}
