//! The `terroir` command itself, in a process of its own: verbs, exit codes, `serve` over TLS, and what it logs.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use serde_json::Value;
use sqlx::ConnectOptions;
use tempfile::TempDir;
use terroir::keys::testing::MemoryKeyStore;
use terroir::keys::{LocalFileKms, Ring, RingParts, RingSettings};
use terroir::model::{SystemClock, SystemEntropy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, a_minute, until};

fn terroir(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terroir"));
    command.args(arguments).env_remove("TERROIR_LOG");
    output_of(command)
}

/// What a command said that is to end by itself: one that does not, as a `serve` that should have refused to start, is killed.
fn output_of(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, end) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let output = child.wait_with_output().unwrap();
        let _ = ended.send(());
        output
    });
    let in_time = end.recv_timeout(PATIENCE).is_ok();
    if !in_time {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let output = waiting.join().unwrap();
    assert!(in_time, "{command:?} did not end within {PATIENCE:?}: {}", said(&output));
    output
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An installation of region fr with settings, overlay and certificate.
struct Installation {
    dir: TempDir,
    data: SocketAddr,
    observe: SocketAddr,
    roots: rustls::RootCertStore,
}

impl Installation {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let free: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let [data, control, observe] = [0, 1, 2].map(|number: usize| free[number].local_addr().unwrap());
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let certificate = write("cert.pem", &made.cert.pem());
        let key = write("key.pem", &made.signing_key.serialize_pem());
        let overlay = write(
            "overlay.toml",
            "name = \"tests\"\n[regions.fr]\nstore = { fs = { path = \"store\" } }\n\
             index = { sqlite = { path = \"index/index.sqlite3\" } }\nkeys = { local-file = { path = \"keys/roots\" } }\n\
             audit = { directory = \"audit\" }\n",
        );
        let state = dir.path().join("fr").display().to_string();
        let plain = format!(
            "environment = \"tests\"\noverlay = \"{overlay}\"\n[region.fr]\nstate-dir = \"{state}\"\n\
             listen = {{ data = \"{data}\", control = \"{control}\", observe = \"{observe}\" }}\n"
        );
        write("plain.toml", &plain);
        write(
            "terroir.toml",
            &format!("{plain}tls = {{ certificate = \"{certificate}\", private-key = \"file:{key}\" }}\n"),
        );
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        Self { dir, data, observe, roots }
    }

    /// One that was served once, so that its region has data.
    async fn begun() -> Self {
        let installed = Self::new();
        let mut server = installed.serve("plain.toml", "trace").await;
        server.terminate();
        assert_eq!(server.ended().await, 0, "{}", installed.log());
        installed
    }

    fn config(&self) -> String {
        self.dir.path().join("terroir.toml").display().to_string()
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("fr")
    }

    /// A verb on region fr of this installation.
    fn verb(&self, arguments: &[&str]) -> Output {
        let config = self.config();
        terroir(&[arguments, &["--region", "fr", "--config", &config]].concat())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.verb(&[arguments, &["--json"]].concat());
        assert_eq!(code(&output), 0, "{arguments:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
    }

    /// A tenant's credential.
    fn tenant(&self, id: &str) -> Value {
        self.json(&["tenant", "create", id, "--default-class", "personal"]);
        self.json(&["credential", "create", id])
    }

    fn client(&self, scheme: &str, credential: &Value) -> Client {
        let text = |name: &str| credential[name].as_str().unwrap();
        let keys = Credentials::new(text("access_key"), text("secret_key"), None, None, "tests");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(format!("{scheme}://localhost:{}", self.data.port()))
            .region(Region::new("fr"))
            .credentials_provider(keys)
            .force_path_style(true);
        Client::from_conf(config.build())
    }

    /// Makes a bucket: over plain HTTP on loopback, since the SDK as it comes knows nobody who vouches for our certificate.
    async fn make_bucket(&self, credential: &Value, bucket: &str) {
        let mut server = self.serve("plain.toml", "trace").await;
        self.client("http", credential).create_bucket().bucket(bucket).send().await.unwrap();
        server.terminate();
        assert_eq!(server.ended().await, 0, "{}", self.log());
    }

    /// `serve`, its log in `serve.log`, once it is ready.
    async fn serve(&self, config: &str, log_filter: &str) -> Server {
        let mut log = std::fs::OpenOptions::new();
        let log = log.append(true).create(true).open(self.dir.path().join("serve.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_terroir"))
            .args([
                "serve",
                "--config",
                &self.dir.path().join(config).display().to_string(),
                "--region",
                "fr",
            ])
            .env("TERROIR_LOG", log_filter)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Server(child);
        until("the server to be ready", async || {
            let mut socket = TcpStream::connect(self.observe).await.ok()?;
            let request =
                format!("GET /ready HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.observe);
            socket.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.ok()?;
            answer.starts_with("HTTP/1.1 200").then_some(())
        })
        .await;
        server
    }

    async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let socket = TcpStream::connect(self.data).await.unwrap();
        let name = "localhost".try_into().unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
    }

    /// Sends a presigned request over TLS; the whole answer.
    async fn send(&self, signed: &aws_sdk_s3::presigning::PresignedRequest, body: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(&head_of(signed, body.len())).await.unwrap();
        socket.write_all(body.as_bytes()).await.unwrap();
        rest(&mut socket).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("serve.log")).unwrap()
    }
}

fn head_of(signed: &aws_sdk_s3::presigning::PresignedRequest, length: usize) -> Vec<u8> {
    let (host, path) = signed.uri().strip_prefix("https://").unwrap().split_once('/').unwrap();
    let mut head = format!("{} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", signed.method());
    for (name, value) in signed.headers().filter(|(name, _)| *name != "content-length") {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if length > 0 {
        write!(head, "Content-Length: {length}\r\n").unwrap();
    }
    (head + "\r\n").into_bytes()
}

async fn rest(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A running `serve`, killed if the test ends before it does.
struct Server(Child);

impl Server {
    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    async fn ended(&mut self) -> i32 {
        let status = until("the server to end", async || self.0.try_wait().unwrap()).await;
        status.code().unwrap_or_else(|| panic!("ended by a signal: {status:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn check_accepts_what_is_shipped_and_names_file_and_line_of_what_is_broken() {
    let sound = terroir(&["check"]);
    assert_eq!(code(&sound), 0, "{}", said(&sound));
    let shipped = checkout().join("regions").display().to_string();
    assert_eq!(code(&terroir(&["check", "--regions", &shipped])), 0);
    let broken = checkout().join("tests/regions/broken").display().to_string();
    let output = terroir(&["check", "--regions", &broken]);
    assert_eq!(code(&output), 78);
    let text = said(&output);
    assert!(text.contains("fr.toml:") && text.contains("us.toml:"), "{text}");
    assert_ne!(code(&terroir(&["check", "--regions", "/nowhere"])), 0);
}

#[test]
fn wrong_usage_ends_with_64_and_every_verb_explains_itself() {
    for wrong in [
        &[][..],
        &["frobnicate"],
        &["serve"],
        &["serve", "--config", "x"],
        &["serve", "--config", "x", "--region", "Not A Region"],
        &["tenant"],
        &["tenant", "create", "a"],
        &["tenant", "weight", "lyon", "0", "--region", "fr"],
        &["tenant", "weight", "lyon", "17", "--region", "fr"],
        &["credential", "disable", "not-a-key", "--region", "fr"],
        &["bucket", "rule", "a", "b", "--region", "fr"],
        &["where", "--region", "fr"],
        &["check", "--port", "1"],
        &["dev", "--port-base", "0"],
    ] {
        let output = terroir(wrong);
        assert_eq!(code(&output), 64, "{wrong:?}: {}", said(&output));
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{wrong:?}: errors go to standard error"
        );
    }
    for verb in [
        &[][..],
        &["dev"],
        &["serve"],
        &["check"],
        &["tenant"],
        &["tenant", "create"],
        &["tenant", "suspend"],
        &["tenant", "weight"],
        &["credential"],
        &["credential", "rotate"],
        &["bucket", "rule"],
        &["audit", "verify"],
        &["where"],
    ] {
        let output = terroir(&[verb, &["--help"]].concat());
        assert_eq!(code(&output), 0, "{verb:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: terroir"), "{verb:?}");
    }
    let help = terroir(&["--help"]);
    assert!(said(&help).contains("Exit codes"));
    assert!(said(&terroir(&["--version"])).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_is_not_there_is_said_with_a_configuration_error() {
    let empty = TempDir::new().unwrap();
    let dir = empty.path().display().to_string();
    let output = terroir(&["tenant", "list", "--region", "fr", "--data-dir", &dir]);
    assert_eq!(code(&output), 78, "{}", said(&output));
    assert!(std::fs::read_dir(empty.path()).unwrap().next().is_none(), "a question makes no region");
    let output = terroir(&["serve", "--config", &format!("{dir}/none.toml"), "--region", "fr"]);
    assert_eq!(code(&output), 78, "{}", said(&output));
    let installed = Installation::new();
    let output = terroir(&["tenant", "list", "--region", "us", "--config", &installed.config()]);
    assert_eq!(code(&output), 78, "{}", said(&output));
    let output = installed.verb(&["tenant", "list"]);
    assert_eq!(code(&output), 78, "a verb makes no region either: {}", said(&output));
    assert!(!installed.state().exists());
    let output = terroir(&["check", "--config", &installed.config()]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(
        said(&output).contains("OVERLAY tests: region fr"),
        "an overlay is never silent: {}",
        said(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_and_credentials_are_made_listed_and_disabled_and_the_log_has_it() {
    let installed = Installation::begun().await;
    let made = installed.json(&["tenant", "create", "lyon", "--default-class", "health"]);
    assert_eq!(code(&installed.verb(&["tenant", "create", "lyon"])), 1, "a name is given once");
    assert_eq!(code(&installed.verb(&["tenant", "create", "paris", "--default-class", "ecg"])), 1);
    assert!(made.to_string().contains("lyon") && made.to_string().contains("health"), "{made}");
    assert!(installed.json(&["tenant", "list"]).to_string().contains("lyon"));
    assert!(installed.json(&["tenant", "show", "lyon"]).to_string().contains("\"fr\""));

    let first = installed.json(&["credential", "create", "lyon", "--label", "scanner"]);
    let (key, secret) = (first["access_key"].as_str().unwrap(), first["secret_key"].as_str().unwrap());
    let listed = installed.json(&["credential", "list", "lyon"]);
    assert!(listed.to_string().contains(key) && !listed.to_string().contains(secret), "shown once");
    let second = installed.json(&["credential", "rotate", key]);
    let successor = second["access_key"].as_str().unwrap();
    assert_ne!(second["access_key"], first["access_key"]);
    installed.json(&["credential", "disable", key]);
    assert!(installed.json(&["credential", "show", key]).to_string().contains("disabled"));
    assert_eq!(code(&installed.verb(&["credential", "rotate", key])), 1, "a disabled key has no successor");
    installed.json(&["tenant", "suspend", "lyon"]);
    assert!(installed.json(&["tenant", "show", "lyon"]).to_string().contains("suspended"));
    installed.json(&["tenant", "resume", "lyon"]);
    installed.json(&["tenant", "weight", "lyon", "4"]);
    assert_eq!(installed.json(&["tenant", "show", "lyon"])[0]["weight"], 4);

    let verified = installed.json(&["audit", "verify"]);
    assert_eq!(verified["findings"], serde_json::json!([]));
    assert_eq!(verified["decisions"], verified["completions"]);
    let log = installed.state().join("audit/00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    for operation in [
        "tenant.create",
        "credential.create",
        "credential.rotate",
        "credential.disable",
        "tenant.suspend",
        "tenant.weight",
    ] {
        assert!(text.contains(operation), "{operation}");
    }
    for listing in ["tenant.list", "tenant.show", "credential.list", "credential.show"] {
        assert!(!text.contains(listing), "{listing} concerns no record and changes nothing");
    }
    // The third is of the rotation that was refused.
    let made = recorded(&installed, "credential.create");
    assert_eq!(made[..2], [key, successor], "the record names the key it made");
    assert_eq!(recorded(&installed, "credential.rotate"), [key, key], "and the one in whose place");
    std::fs::write(&log, text.replacen("tenant.create", "tenant.delete", 1)).unwrap();
    let tampered = installed.verb(&["audit", "verify"]);
    assert_eq!(code(&tampered), 1);
    assert!(said(&tampered).contains("changed"), "{}", said(&tampered));
}

/// The credentials that the records of an operation name, in their order.
fn recorded(installed: &Installation, operation: &str) -> Vec<String> {
    let text = std::fs::read_to_string(installed.state().join("audit/00000000000000000001.jsonl")).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of = lines.filter(|line| line["operation"] == operation);
    of.map(|line| line["credential"].as_str().unwrap_or("nobody").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_cannot_disable_the_old_key_shows_the_new_secret_and_says_so() {
    let installed = Installation::begun().await;
    let first = installed.tenant("lyon");
    let key = first["access_key"].as_str().unwrap();
    let index =
        sqlx::sqlite::SqliteConnectOptions::new().filename(installed.state().join("index/index.sqlite3"));
    let mut index = index.connect().await.unwrap();
    let refuses = "CREATE TRIGGER kept BEFORE UPDATE ON directory WHEN old.kind = 'credential' \
                   BEGIN SELECT RAISE(ABORT, 'kept'); END";
    sqlx::raw_sql(refuses).execute(&mut index).await.unwrap();
    let output = installed.verb(&["credential", "rotate", key, "--disable-old", "--json"]);
    assert_ne!(code(&output), 0, "half of it is not all of it");
    let second: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains(&format!("terroir credential disable {key}")), "{complaint}");
    sqlx::raw_sql("DROP TRIGGER kept").execute(&mut index).await.unwrap();
    let listed = installed.json(&["credential", "list", "lyon"]);
    let active = listed.as_array().unwrap().iter().filter(|one| one["status"] == "active").count();
    assert_eq!(active, 2, "{listed}");
    let mut server = installed.serve("plain.toml", "info").await;
    installed.client("http", &second).list_buckets().send().await.expect("the new key works");
    server.terminate();
    assert_eq!(server.ended().await, 0, "{}", installed.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_can_open_another_ones_canary_does_not_start() {
    let installed = Installation::begun().await;
    let own = installed.state().join("tests.fr.canary");
    assert!(std::fs::read_to_string(&own).unwrap().starts_with("terroir-canary-1:tests:fr:"));
    let folder = installed.dir.path().join("canaries");
    std::fs::create_dir(&folder).unwrap();
    let config = installed.dir.path().join("canaries.toml");
    let set = format!("[region.fr]\nforeign-canaries = \"{}\"\n", folder.display());
    let settings = std::fs::read_to_string(installed.config()).unwrap();
    std::fs::write(&config, settings.replace("[region.fr]\n", &set)).unwrap();
    let config = config.display().to_string();
    let serve = || terroir(&["serve", "--config", &config, "--region", "fr"]);
    let check = || terroir(&["check", "--config", &config]);
    let list = || terroir(&["tenant", "list", "--config", &config, "--region", "fr"]);
    for verb in [&serve as &dyn Fn() -> Output, &check, &list] {
        let output = verb();
        assert_eq!(code(&output), 78, "nothing to compare with is not a check: {}", said(&output));
    }
    // Its own is passed over, and that of a fleet with other roots does not open.
    std::fs::copy(&own, folder.join("fr.canary")).unwrap();
    let strangers = TempDir::new().unwrap();
    std::fs::write(folder.join("us.canary"), canary(&strangers.path().join("roots"), "tests", "us").await)
        .unwrap();
    assert_eq!(code(&list()), 0, "{}", said(&list()));
    assert_eq!(code(&check()), 0, "{}", said(&check()));
    // The mistake: production has the same roots.
    let production = canary(&installed.state().join("keys/roots"), "prod", "fr").await;
    std::fs::write(folder.join("prod.canary"), production).unwrap();
    for verb in [&serve as &dyn Fn() -> Output, &list] {
        let output = verb();
        assert_eq!(code(&output), 78, "{}", said(&output));
        assert!(said(&output).contains("canary"), "{}", said(&output));
    }
    std::fs::write(folder.join("prod.canary"), "terroir-canary-1:cut off").unwrap();
    assert_eq!(code(&check()), 78, "{}", said(&check()));
}

/// The canary of a fleet with the root keys in `roots`.
async fn canary(roots: &Path, environment: &str, region: &str) -> String {
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let kms =
        LocalFileKms::open(roots.to_owned(), region.to_owned(), clock.clone(), entropy.clone()).unwrap();
    let parts = RingParts { kms: Arc::new(kms), store: Arc::new(MemoryKeyStore::new()), clock, entropy };
    let settings = RingSettings::new(environment.parse().unwrap(), region.parse().unwrap());
    Ring::open(parts, settings, &[]).await.unwrap().canary().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_answers_over_tls_obeys_the_verbs_and_says_no_secret_at_the_most_verbose_level() {
    let installed = Installation::begun().await;
    let credential = installed.tenant("lyon");
    installed.make_bucket(&credential, "records-secret-bucket").await;
    let s3 = installed.client("https", &credential);
    let mut server = installed.serve("terroir.toml", "trace").await;
    let object = || s3.put_object().bucket("records-secret-bucket").key("KEY-secret-name");
    let signed = object().content_type("text/x-secret-type").presigned(a_minute()).await.unwrap();
    let answer = installed.send(&signed, "BODY-secret-of-a-patient").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let read = s3.get_object().bucket("records-secret-bucket").key("KEY-secret-name");
    let signed = read.presigned(a_minute()).await.unwrap();
    let answer = installed.send(&signed, "").await;
    assert!(
        answer.contains("x-terroir-region: fr") && answer.ends_with("BODY-secret-of-a-patient"),
        "{answer}"
    );

    let uri = "s3://records-secret-bucket/KEY-secret-name";
    let found = installed.json(&["where", uri]);
    assert_eq!((&found["region"], &found["tenant"]), (&"fr".into(), &"lyon".into()));
    let blob = PathBuf::from(found["blobs"][0]["where"].as_str().unwrap());
    assert!(blob.is_file() && blob.starts_with(installed.state()), "{}", blob.display());
    assert_eq!(code(&installed.verb(&["where", "s3://records-secret-bucket/absent"])), 1);
    assert_eq!(code(&installed.verb(&["where", "not a uri"])), 1);
    let away = blob.with_extension("away");
    std::fs::rename(&blob, &away).unwrap();
    let missing = installed.verb(&["where", uri]);
    assert_eq!(code(&missing), 1);
    assert!(said(&missing).contains("MISSING"), "{}", said(&missing));
    let answer = installed.send(&signed, "").await;
    assert!(answer.starts_with("HTTP/1.1 500") && !answer.contains("BODY"), "{answer}");
    let answer_id = answer.split_once("x-amz-request-id: ").unwrap().1.lines().next().unwrap().to_owned();
    std::fs::rename(&away, &blob).unwrap();

    installed.json(&["credential", "disable", credential["access_key"].as_str().unwrap()]);
    let begun = Instant::now();
    until("the disabled key to be refused", async || {
        installed.send(&signed, "").await.starts_with("HTTP/1.1 403").then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    server.terminate();
    assert_eq!(server.ended().await, 0, "{}", installed.log());
    let log = installed.log();
    for event in ["setting", "overlay_in_force", "process_drained"] {
        assert!(log.contains(&format!("event=\"{event}\"")), "{event}: {log}");
    }
    let found: Vec<&str> = log.lines().filter(|line| line.contains("record_corrupt")).collect();
    let id = answer_id.as_str();
    assert!(found.len() == 1 && found[0].contains("ERROR") && found[0].contains(id), "{id}: {found:?}");
    assert!(!log.contains("request_failed"), "one event, not two: {log}");
    let secret = credential["secret_key"].as_str().unwrap();
    for name in [secret, "secret-bucket", "KEY-secret", "BODY-secret", "secret-type", "X-Amz-Signature"] {
        assert!(!log.contains(name), "{name} is in the log");
    }
    let report = installed.json(&["audit", "verify"]);
    assert_eq!(report["findings"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_a_write_end_and_takes_no_new_connection() {
    let installed = Installation::begun().await;
    let credential = installed.tenant("lyon");
    installed.make_bucket(&credential, "records").await;
    let s3 = installed.client("https", &credential);
    let mut server = installed.serve("terroir.toml", "info").await;
    let signed = s3.put_object().bucket("records").key("slow").presigned(a_minute()).await.unwrap();
    let mut socket = installed.connect().await;
    socket.write_all(&head_of(&signed, 10)).await.unwrap();
    socket.write_all(b"first").await.unwrap();
    let log = installed.state().join("audit/00000000000000000001.jsonl");
    until("the write to have begun", async || {
        std::fs::read_to_string(&log).unwrap().contains("PutObject").then_some(())
    })
    .await;
    server.terminate();
    until("the listener to be closed", async || TcpStream::connect(installed.data).await.err()).await;
    assert!(server.0.try_wait().unwrap().is_none(), "it waits for the write");
    socket.write_all(b"later").await.unwrap();
    let answer = rest(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.ended().await, 0, "{}", installed.log());
    assert_eq!(installed.json(&["where", "s3://records/slow"])["clear_bytes"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_tours_both_regions_and_ends_with_0_and_its_verbs_find_the_records() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data").display().to_string();
    // Thirteen ports in a row that are free now.
    let base = (20_000..60_000)
        .step_by(97)
        .find(|base| (*base..base + 13).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()));
    let base = base.unwrap().to_string();
    let output = terroir(&["dev", "--data-dir", &data, "--port-base", &base, "--exit-after-tour"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("301, go to us") && text.contains("301, go to fr"), "{text}");
    let credentials = dir.path().join("data/dev-credentials.json");
    assert_eq!(std::fs::metadata(&credentials).unwrap().permissions().mode() & 0o777, 0o600);
    let file: Value = serde_json::from_slice(&std::fs::read(credentials).unwrap()).unwrap();
    assert_eq!(file["regions"]["fr"]["s3"], format!("http://127.0.0.1:{base}"));
    for region in ["fr", "us"] {
        let verified = terroir(&["audit", "verify", "--region", region, "--data-dir", &data]);
        assert_eq!(code(&verified), 0, "{}", said(&verified));
        let listed = terroir(&["tenant", "list", "--region", region, "--data-dir", &data, "--json"]);
        let tenants: Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(tenants.as_array().unwrap().len(), 1, "{tenants}");
    }
}

/// Answers every request with `status` alone, until the test's process ends.
fn answering(status: &'static str) -> SocketAddr {
    use std::io::{Read, Write};
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = socket.read(&mut vec![0; 64 << 10]);
            let _ = socket.write_all(answer.as_bytes());
        }
    });
    address
}

/// `serve` of an installation whose store is `store`, in a process with `variable` set.
fn start_on(store: &str, variable: Option<&str>) -> Output {
    let installed = Installation::new();
    let overlay = installed.dir.path().join("overlay.toml");
    let text = std::fs::read_to_string(&overlay).unwrap();
    std::fs::write(&overlay, text.replace("{ fs = { path = \"store\" } }", store)).unwrap();
    let config = installed.dir.path().join("plain.toml").display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_terroir"));
    command.args(["serve", "--config", &config, "--region", "fr"]).env_remove("TERROIR_LOG");
    command.env("STORE_KEY", "key").env("STORE_SECRET", "secret");
    command.envs(variable.map(|name| (name, "http://127.0.0.1:1")));
    output_of(command)
}

#[test]
fn a_store_that_was_down_at_the_start_ended_with_78_as_if_it_were_wrong() {
    let s3 = |at: SocketAddr| {
        format!(
            "{{ s3 = {{ endpoint = \"http://{at}\", bucket = \"blobs\", signing-region = \"x\", path-style = true, \
             access-key-id = \"env:STORE_KEY\", secret-access-key = \"env:STORE_SECRET\" }} }}"
        )
    };
    // Nobody listens there any more.
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    for (store, expected) in [
        (s3(gone), 75),
        (s3(answering("503 Service Unavailable")), 75),
        (s3(answering("403 Forbidden")), 78),
        (s3(answering("301 Moved Permanently")), 78),
    ] {
        let output = start_on(&store, None);
        assert_eq!(code(&output), expected, "{store}: {}", said(&output));
    }
}

#[test]
fn a_proxy_variable_beside_google_ended_with_69_as_if_a_service_were_missing() {
    let gcs = "{ gcs = { endpoint = \"http://127.0.0.1:1\", bucket = \"blobs\", credentials = { anonymous = {} }, \
               expected-location = \"EUROPE-WEST9\" } }";
    let output = start_on(gcs, Some("HTTPS_PROXY"));
    assert_eq!(code(&output), 78, "{}", said(&output));
    assert!(said(&output).contains("HTTPS_PROXY"), "{}", said(&output));
    // Without it, it is the store that does not answer.
    assert_eq!(code(&start_on(gcs, None)), 75);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sometimes_ended_with_a_warning_that_the_directory_cannot_be_read() {
    let installed = Installation::begun().await;
    for _ in 0..10 {
        let output = installed.verb(&["tenant", "list"]);
        assert_eq!(code(&output), 0, "{}", said(&output));
        assert!(!said(&output).contains("directory_failed"), "{}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_could_not_be_had_as_json() {
    let installed = Installation::new();
    let plain = installed.dir.path().join("plain.toml");
    let text = std::fs::read_to_string(&plain).unwrap();
    std::fs::write(&plain, text + "[telemetry]\nlog-format = \"json\"\n").unwrap();
    let mut server = installed.serve("plain.toml", "trace").await;
    server.terminate();
    assert_eq!(server.ended().await, 0, "{}", installed.log());
    let log = installed.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let is_ours = |line: &&Value| line["target"].as_str().is_some_and(|target| target.starts_with("terroir"));
    let nameless: Vec<&Value> =
        lines.iter().filter(is_ours).filter(|line| !line["event"].is_string()).collect();
    assert!(nameless.is_empty(), "{nameless:?}");
    let listening = lines.iter().find(|line| line["event"] == "listening").expect("an event by its name");
    assert_eq!((&listening["level"], &listening["region"]), (&"INFO".into(), &"fr".into()));
    assert!(lines.iter().any(|line| line["setting"] == "telemetry.log-format = json"), "{log}");
}
