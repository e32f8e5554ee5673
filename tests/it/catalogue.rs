//! Integration tests of `catalogue`: the shipped files, the documented examples, and every way to break them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use terroir::catalogue::{
    Catalogue, CatalogueError, CheckReport, Overlay, OverlayError, Region, Severity, Source, Tree, check,
    check_tree,
};
use terroir::model::{ClassCode, RegionId, TenantStatus, Timestamp, Unclassified};
use terroir::placement::{AskedClass, Operation, Question, Refusal, decide};

/// 2026-12-01T00:00:00Z: after every review and before every expiry of the shipped files.
const NOW: Timestamp = Timestamp::from_seconds(1_796_083_200);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn region_id(name: &str) -> RegionId {
    name.parse().unwrap()
}

/// Compares with a committed file; `BLESS=1` rewrites it.
fn assert_blessed(path: &str, actual: &str) {
    let path = root().join(path);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs: if that is meant, BLESS=1 rewrites it", path.display());
}

/// The example of the regions' README called `name`.
fn example(name: &str) -> String {
    let readme = fs::read_to_string(root().join("regions/README.md")).unwrap();
    let marker = format!("<!-- example: {name} -->\n```toml\n");
    let (_, rest) = readme.split_once(&marker).unwrap_or_else(|| panic!("no example {name}"));
    rest.split_once("```\n<!-- example end -->").unwrap().0.to_owned()
}

/// The shipped catalogue with the documented examples beside it, in a folder of its own.
fn documented() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("register")).unwrap();
    for file in Tree::embedded().files() {
        fs::write(folder.path().join(&file.path), &file.text).unwrap();
    }
    fs::write(folder.path().join("xa.toml"), example("regions/xa.toml")).unwrap();
    fs::write(folder.path().join("register/trial.toml"), example("regions/register/trial.toml")).unwrap();
    folder
}

fn checked(folder: &Path) -> CheckReport {
    check(&Source::Directory(folder.to_owned()), None, NOW).unwrap()
}

fn load(folder: &Path) -> Catalogue {
    Catalogue::load(&Source::Directory(folder.to_owned()), NOW).unwrap()
}

#[test]
fn the_shipped_catalogue_is_sound_and_every_check_ran_on_it() {
    let report = checked(&root().join("regions"));
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.files, report.decoded), (6, (2, 4)));
    assert!(report.runs.len() >= 35 && report.runs.values().all(|runs| *runs > 0), "{:?}", report.runs);
}

#[test]
fn the_shipped_catalogue_says_what_is_still_to_be_confirmed() {
    let report = check_tree(&Tree::embedded(), None, NOW);
    for (file, advice) in [
        ("fr.toml", "evidence-is-confirmed"),
        ("fr.toml", "custody-is-met"),
        ("us.toml", "evidence-is-confirmed"),
    ] {
        let told = report
            .findings
            .iter()
            .any(|f| f.check == advice && f.severity == Severity::Advice && f.file.ends_with(file));
        assert!(told, "{advice} is silent about {file}");
    }
}

#[test]
fn each_kind_of_google_credentials_loads_with_the_token_hosts_that_fit_it() {
    let kinds: [(&str, &[&str]); 3] = [
        (r#"{ service-account = "file:/run/secrets/key.json" }"#, &[]),
        (
            r#"{ workload-identity = "env:EXTERNAL" }"#,
            &["sts.googleapis.com", "iamcredentials.googleapis.com"],
        ),
        ("{ metadata-server = {} }", &["metadata.google.internal:80"]),
    ];
    for (credentials, hosts) in kinds {
        let folder = documented();
        let path = folder.path().join("us.toml");
        let shipped = fs::read_to_string(&path).unwrap();
        let allowed = [&["storage.us-central1.rep.googleapis.com"], hosts].concat();
        let changed = shipped
            .replace(
                r#"{ service-account = "file:/run/secrets/terroir-us-store.json" }"#,
                &format!("{credentials}\ntoken-hosts = {hosts:?}"),
            )
            .replace(
                r#"hosts = ["storage.us-central1.rep.googleapis.com"]"#,
                &format!("hosts = {allowed:?}"),
            );
        fs::write(&path, changed).unwrap();
        let region = Arc::clone(load(folder.path()).region(&region_id("us")).unwrap());
        assert_eq!(region.store.hosts().len(), 1 + hosts.len(), "{credentials}");
        assert_eq!(region.egress().len(), 1 + hosts.len(), "{credentials}");
    }
    let local = |endpoint: &str| {
        let store = format!(
            r#"{{ gcs = {{ endpoint = "{endpoint}", bucket = "tests", credentials = {{ anonymous = {{}} }}, expected-location = "US-CENTRAL1" }} }}"#
        );
        let overlay =
            Overlay::parse("o.toml", &format!("name = \"o\"\n[regions.us]\nstore = {store}\n")).unwrap();
        Catalogue::load(&Source::Embedded, NOW).unwrap().overlaid(&overlay)
    };
    local("http://127.0.0.1:9").unwrap();
    assert!(
        local("https://storage.us-central1.rep.googleapis.com").is_err(),
        "an overlay stays on this machine"
    );
}

#[test]
fn the_catalogue_in_the_binary_is_the_one_on_disk() {
    let disk = Tree::read(&Source::Directory(root().join("regions"))).unwrap();
    assert_eq!(Tree::embedded().files(), disk.files());
    let embedded = Catalogue::load(&Source::Embedded, NOW).unwrap();
    assert_eq!(embedded.version(), load(&root().join("regions")).version());
}

#[test]
fn a_move_of_data_shows_in_the_blessed_summary() {
    let catalogue = load(&root().join("regions"));
    assert_blessed("tests/regions/_expected", &catalogue.summary());
}

#[test]
fn the_documented_examples_load() {
    let folder = documented();
    let catalogue = load(folder.path());
    let region = catalogue.region(&region_id("xa")).unwrap();
    assert_eq!(region.egress().len(), 4);
    assert_eq!(catalogue.class_by_code(ClassCode(900)).unwrap().id.as_str(), "trial");
    let about_examples =
        catalogue.findings().iter().filter(|f| f.file.ends_with("xa.toml") || f.file.ends_with("trial.toml"));
    let checks: std::collections::BTreeSet<_> = about_examples.map(|finding| finding.check).collect();
    let expected = ["custody-is-met", "evidence-is-confirmed", "host-is-real"];
    assert_eq!(
        checks.into_iter().collect::<Vec<_>>(),
        expected,
        "the example is no example of anything else"
    );
}

#[test]
fn the_readme_lists_every_check_with_its_severity() {
    let readme = fs::read_to_string(root().join("regions/README.md")).unwrap();
    let rows: Vec<_> = readme.lines().filter(|line| line.starts_with("| `")).collect();
    let report = checked(documented().path());
    for name in report.runs.keys().filter(|name| **name != "decode") {
        assert!(rows.iter().any(|row| row.contains(&format!("`{name}`"))), "{name} is not in the table");
    }
    for case in cases() {
        let severity = found(&case).1.to_string();
        let row = rows.iter().find(|row| row.contains(&format!("`{}`", case.check))).unwrap();
        assert!(row.contains(&format!("| {severity} |")), "{} is {severity}: {row}", case.check);
    }
}

#[derive(serde::Deserialize)]
struct Cases {
    case: Vec<Case>,
}

/// One defect: see the head of `tests/regions/cases.toml`.
#[derive(Clone, serde::Deserialize)]
struct Case {
    check: String,
    file: String,
    replace: String,
    with: String,
    on: String,
}

fn cases() -> Vec<Case> {
    let text = fs::read_to_string(root().join("tests/regions/cases.toml")).unwrap();
    toml::from_str::<Cases>(&text).unwrap().case
}

/// Makes the defect in a fresh copy; the report, the severity of the finding, and whether the catalogue loads. Its line is right.
fn found(case: &Case) -> (CheckReport, Severity, bool) {
    let folder = documented();
    let path = folder.path().join(&case.file);
    let sound = fs::read_to_string(&path).unwrap();
    assert!(sound.contains(&case.replace), "{}: {} holds no {}", case.check, case.file, case.replace);
    let broken = sound.replacen(&case.replace, &case.with, 1);
    fs::write(&path, &broken).unwrap();
    let report = checked(folder.path());
    let about = || report.findings.iter().filter(|f| f.check == case.check && f.file.ends_with(&case.file));
    let lines: Vec<_> = about().map(|finding| finding.line).collect();
    let expected: Vec<_> =
        broken.match_indices(&case.on).map(|(at, _)| broken[..at].matches('\n').count() + 1).collect();
    assert!(
        lines.iter().any(|line| expected.contains(line)),
        "{} on {lines:?}, not {expected:?}:\n{report}",
        case.check
    );
    let severity = about().map(|finding| finding.severity).min().unwrap();
    let loads = match Catalogue::load(&Source::Directory(folder.path().to_owned()), NOW) {
        Ok(_) => true,
        Err(CatalogueError::Broken(_)) => false,
        Err(error) => panic!("{}: {error}", case.check),
    };
    (report, severity, loads)
}

#[test]
fn every_defect_is_found_by_its_check_on_its_line_and_a_broken_catalogue_does_not_load() {
    for case in cases() {
        let (report, severity, loads) = found(&case);
        let expected = (severity == Severity::Advice, severity != Severity::Broken);
        assert_eq!((report.is_sound(), loads), expected, "{}: {report}", case.check);
        assert!(!report.to_string().contains("hunter2"), "{} repeats a secret", case.check);
    }
}

#[test]
fn every_check_has_a_defect_that_only_it_is_named_for() {
    let covered: std::collections::BTreeSet<_> = cases().into_iter().map(|case| case.check).collect();
    let report = checked(documented().path());
    // These three need a whole tree, and have tests of their own.
    let elsewhere = ["decode", "register-is-there", "region-is-there"];
    let missing: Vec<_> =
        report.runs.keys().filter(|name| !covered.contains(**name) && !elsewhere.contains(name)).collect();
    assert!(missing.is_empty(), "no defect for {missing:?}");
}

#[test]
fn all_defects_of_a_file_are_told_at_once_and_no_secret_with_them() {
    let report = check(&Source::Directory(root().join("tests/regions/broken")), None, NOW).unwrap();
    let text = report.to_string().replace(&format!("{}/", root().display()), "");
    assert!(!text.contains("wJalr") && !text.contains("pw@") && !text.contains("AKIA"), "{text}");
    assert_blessed("tests/regions/broken/_expected", &format!("{text}\n"));
}

#[test]
fn a_catalogue_without_regions_or_without_classes_is_broken() {
    let folder = documented();
    fs::remove_dir_all(folder.path().join("register")).unwrap();
    let report = checked(folder.path());
    assert!(report.findings.iter().any(|f| f.check == "register-is-there"), "{report}");
    let folder = documented();
    for region in ["fr", "us", "xa"] {
        fs::remove_file(folder.path().join(format!("{region}.toml"))).unwrap();
    }
    let report = checked(folder.path());
    assert!(report.findings.iter().any(|f| f.check == "region-is-there"), "{report}");
    let empty = tempfile::tempdir().unwrap();
    assert!(!checked(empty.path()).is_sound());
}

#[test]
fn a_folder_that_is_not_there_is_an_error_not_an_empty_catalogue() {
    let source = Source::Directory(PathBuf::from("/no/such/regions"));
    assert!(matches!(Catalogue::load(&source, NOW), Err(CatalogueError::Tree(_))));
    assert!(check(&source, None, NOW).is_err());
}

#[test]
fn an_oversized_file_is_refused_before_it_is_read() {
    let folder = documented();
    fs::write(folder.path().join("zz.toml"), "#".repeat(256 * 1024 + 1)).unwrap();
    assert!(matches!(
        Catalogue::load(&Source::Directory(folder.path().to_owned()), NOW),
        Err(CatalogueError::Tree(terroir::catalogue::TreeError::TooLarge { .. }))
    ));
}

#[test]
fn hidden_files_and_prose_are_no_regions() {
    let folder = documented();
    let before = load(folder.path()).version();
    fs::write(folder.path().join(".fr.toml.swp"), "junk").unwrap();
    fs::write(folder.path().join("..data.toml"), "junk").unwrap();
    fs::write(folder.path().join("NOTES.md"), "junk").unwrap();
    assert_eq!(load(folder.path()).version(), before);
}

#[test]
fn one_byte_of_the_register_is_another_register_version() {
    let folder = documented();
    let before = load(folder.path());
    let path = folder.path().join("fr.toml");
    fs::write(&path, format!("{}# a comment\n", fs::read_to_string(&path).unwrap())).unwrap();
    let region_touched = load(folder.path());
    assert_eq!(region_touched.register_version(), before.register_version());
    assert_ne!(region_touched.version(), before.version());
    let path = folder.path().join("register/health.toml");
    fs::write(&path, format!("{}# a comment\n", fs::read_to_string(&path).unwrap())).unwrap();
    assert_ne!(load(folder.path()).register_version(), before.register_version());
}

fn tenant_of(home: &str) -> terroir::model::Tenant {
    terroir::model::Tenant {
        id: "clinic".parse().unwrap(),
        code: terroir::model::TenantCode::from_bytes([1; 16]),
        home: region_id(home),
        default_class: "health".parse().unwrap(),
        unclassified: Unclassified::TakesDefault,
        status: TenantStatus::Active,
        weight: terroir::model::Weight::default(),
        created: NOW,
    }
}

#[test]
fn a_third_region_is_one_file() {
    let folder = documented();
    let germany = example("regions/xa.toml")
        .replace("\"xa\"", "\"de\"")
        .replace(".xa.", ".de.")
        .replace("-xa", "-de")
        .replace("\"Example\"", "\"Germany\"");
    fs::remove_file(folder.path().join("xa.toml")).unwrap();
    fs::write(folder.path().join("de.toml"), germany).unwrap();
    let catalogue = load(folder.path());
    let (de, tenant) = (region_id("de"), tenant_of("de"));
    let write = Operation::Write(AskedClass::default());
    let placement =
        decide(&Question { tenant: &tenant, operation: &write, serving: &de, now: NOW }, &catalogue).unwrap();
    assert_eq!((placement.region(), placement.signing_scope()), (&de, "de"));
    // The French stack sends that tenant home, to an address that stands in the new file and nowhere else.
    let from_fr = Question { tenant: &tenant, operation: &write, serving: &region_id("fr"), now: NOW };
    let refusal = decide(&from_fr, &catalogue).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::OtherRegion { endpoint, .. } if endpoint.to_string() == "https://s3.de.terroir.example")
    );
    // And an overlay can embed it as it embeds the others.
    let overlay = Overlay::new("test").with_embedded(de.clone(), "127.0.0.1:9020".parse().unwrap());
    assert!(catalogue.overlaid(&overlay).unwrap().overlay_notice().unwrap().contains("region de"));
}

#[test]
fn the_documented_overlay_embeds_a_region_and_says_so() {
    let overlay = Overlay::parse("overlay.toml", &example("overlay.toml")).unwrap();
    let shipped = load(&root().join("regions"));
    assert_eq!(shipped.overlay_notice(), None);
    let catalogue = shipped.overlaid(&overlay).unwrap();
    let region = catalogue.region(&region_id("fr")).unwrap();
    assert_eq!(
        (region.store.kind(), region.endpoints.s3.to_string().as_str()),
        ("fs", "http://127.0.0.1:9000")
    );
    assert!(
        region.egress().is_empty(),
        "an embedded region has nowhere to send anything: {:?}",
        region.egress()
    );
    let notice = catalogue.overlay_notice().unwrap();
    assert!(
        notice.contains("OVERLAY laptop: region fr") && notice.contains("s3 https://s3.fr.bso.example -> fs"),
        "{notice}"
    );
    assert!(!notice.contains("region us"));
    let report = check(&Source::Embedded, Some(&overlay), NOW).unwrap();
    assert!(report.to_string().contains(&notice));
    assert_eq!(catalogue.version(), shipped.version());
}

#[test]
fn an_overlay_cannot_send_anything_to_another_machine() {
    let catalogue = load(&root().join("regions"));
    let s3 = "{ s3 = { endpoint = \"HERE\", bucket = \"abc\", signing-region = \"x\", access-key-id = \"env:A\", secret-access-key = \"env:B\" } }";
    let parts = [
        ("store", s3.replace("HERE", "https://s3.elsewhere.example")),
        ("store", s3.replace("HERE", "https://127.0.0.1.elsewhere.example")),
        ("s3-endpoint", "\"https://front.elsewhere.example\"".into()),
        ("index", "{ postgres = { host = \"db.elsewhere.example\", url = \"env:U\" } }".into()),
    ];
    for (part, value) in parts {
        let overlay =
            Overlay::parse("o.toml", &format!("name = \"bad\"\n[regions.fr]\n{part} = {value}\n")).unwrap();
        let error = catalogue.overlaid(&overlay).unwrap_err();
        assert!(matches!(error, OverlayError::LeavesThisMachine { .. }), "{part}: {error}");
        assert!(!check(&Source::Embedded, Some(&overlay), NOW).unwrap().is_sound());
    }
    // The control: the same store on this machine is taken, and becomes the whole allow-list.
    let local =
        format!("name = \"good\"\n[regions.fr]\nstore = {}\n", s3.replace("HERE", "http://127.0.0.1:8333"));
    let catalogue = catalogue.overlaid(&Overlay::parse("o.toml", &local).unwrap()).unwrap();
    let region: &Region = catalogue.region(&region_id("fr")).unwrap();
    assert_eq!(region.egress().into_iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1:8333"]);
}

#[test]
fn an_overlay_names_known_regions_and_known_fields_only() {
    let catalogue = load(&root().join("regions"));
    let unknown = Overlay::parse("o.toml", "name = \"o\"\n[regions.zz]\n").unwrap();
    assert!(matches!(catalogue.overlaid(&unknown), Err(OverlayError::RegionUnknown { .. })));
    for bad in
        ["", "name = \"o\"\n[regions.fr]\ncountries = [\"US\"]", "name = \"o\"\n[regions.FR]\n", "name = \"o"]
    {
        assert!(matches!(Overlay::parse("o.toml", bad), Err(OverlayError::File { .. })), "{bad}");
    }
    let error = Overlay::parse("o.toml", "name = \"o\"\n[regions.fr]\ncountries = [\"US\"]\n").unwrap_err();
    assert!(error.to_string().starts_with("o.toml:3: "), "{error}");
}

#[test]
fn an_expired_certificate_loads_and_fails_the_check() {
    let folder = documented();
    let path = folder.path().join("xa.toml");
    let expired = fs::read_to_string(&path).unwrap().replace("expires = 2028-05-31", "expires = 2026-11-30");
    fs::write(&path, expired).unwrap();
    let catalogue = load(folder.path());
    assert_eq!(catalogue.findings().count(Severity::Lapsed), 1);
    assert!(!checked(folder.path()).is_sound());
    // The day before, it was sound: expiry is judged by the clock that is passed in.
    let eve = Timestamp::from_seconds(NOW.seconds() - 1);
    assert!(check(&Source::Directory(folder.path().to_owned()), None, eve).unwrap().is_sound());
}

#[test]
fn dev_is_the_shipped_catalogue_with_every_region_embedded_in_one_folder() {
    let shipped = Catalogue::load(&Source::Embedded, NOW).unwrap();
    let ids: Vec<_> = shipped.regions().map(|region| region.id.clone()).collect();
    let settings = terroir::settings::Settings::dev(Path::new("terroir-data"), 9000, &ids).unwrap();
    let embed = |overlay: Overlay, region: &terroir::settings::RegionSettings| {
        overlay.with_embedded(region.id.clone(), region.listen.data)
    };
    let overlay = settings.regions.iter().fold(Overlay::new("dev"), embed);
    let catalogue = shipped.overlaid(&overlay).unwrap();
    for (name, port) in [("fr", 9000), ("us", 9010)] {
        let region = catalogue.region(&region_id(name)).unwrap();
        assert!(region.egress().is_empty());
        assert_eq!(region.endpoints.s3.to_string(), format!("http://127.0.0.1:{port}"));
        let paths = region.local_paths(&settings.region(&region.id).unwrap().state_dir);
        let under = |tail: &str| Some(PathBuf::from(format!("terroir-data/{name}/{tail}")));
        assert_eq!((paths.store, paths.index), (under("store"), under("index/index.sqlite3")));
        assert_eq!((paths.keys, Some(paths.audit)), (under("keys/roots"), under("audit")));
        // Place, countries and evidence stay as the file says: an overlay replaces parts, it moves nothing.
        assert_eq!(region.place, shipped.region(&region_id(name)).unwrap().place);
    }
    assert_eq!(catalogue.overlay_notice().unwrap().lines().count(), 2);
}
