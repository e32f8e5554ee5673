//! A real S3 store on loopback: `SeaweedFS`, started once per test process and gone with it.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use terroir::blobs::{S3Credentials, S3Settings};
use terroir::model::{Entropy, RegionId, Secret, SystemEntropy};
use tokio::sync::OnceCell;

const ACCESS_KEY: &str = "tests-access-key";
const SECRET_KEY: &str = "tests-secret-key";

/// A cold start takes 1.3 s on an idle machine; this is for one that compiles next to it.
const START_MAX: Duration = Duration::from_mins(1);

/// Keeps its server alive as long as its standard input is open, then kills it and removes its files: also if the test
/// process is itself killed, which no destructor survives. Its sockets have fixed places outside of its folder.
const KEEPER: &str = r#"dir=$1; ports=$2; shift 2
"$@" </dev/null >"$dir/log" 2>&1 &
server=$!
cat >/dev/null
kill -9 $server 2>/dev/null
wait $server 2>/dev/null
for port in $ports; do rm -f /tmp/seaweedfs-*-$port.sock /tmp/seaweedfs-*-$((port + 10000)).sock; done
rm -rf "$dir""#;

/// A running `SeaweedFS` with one identity and any number of buckets.
#[derive(Debug)]
pub(crate) struct Seaweed {
    port: u16,
    keeper: Child,
}

/// The server of this test process.
pub(crate) async fn shared() -> &'static Seaweed {
    static SERVER: OnceCell<Seaweed> = OnceCell::const_new();
    SERVER.get_or_init(Seaweed::start).await
}

impl Seaweed {
    async fn start() -> Self {
        let weed = weed();
        // A port may be taken between our look and the server's; other ports then.
        for _ in 0..3 {
            if let Some(server) = Self::try_start(&weed).await {
                return server;
            }
        }
        panic!("SeaweedFS ({}) did not start within {START_MAX:?}, three times", weed.display());
    }

    async fn try_start(weed: &Path) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("terroir-seaweed-").tempdir().unwrap().keep();
        let identities = serde_json::json!({"identities": [{
            "name": "terroir",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        std::fs::write(dir.join("s3.json"), identities.to_string()).unwrap();
        std::fs::create_dir(dir.join("data")).unwrap();
        let [master, volume, filer, s3, admin] = ports();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&dir)
            .arg([master, volume, filer, s3, admin].map(|port| port.to_string()).join(" "))
            .arg(weed)
            .arg("mini")
            .arg(format!("-dir={}", dir.join("data").display()))
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false"])
            // On by default: a test reports to nobody.
            .arg("-master.telemetry=false")
            .args([format!("-master.port={master}"), format!("-volume.port={volume}")])
            .args([format!("-filer.port={filer}"), format!("-admin.port={admin}"), format!("-s3.port={s3}")])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"])
            .arg(format!("-s3.localSocket={}", dir.join("s3.sock").display()))
            .arg(format!("-s3.config={}", dir.join("s3.json").display()))
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { port: s3, keeper };
        server.is_ready().await.then_some(server)
    }

    /// Ready when it has made a bucket and stored something in it: its parts come up one after the other.
    async fn is_ready(&self) -> bool {
        let deadline = Instant::now() + START_MAX;
        let client = self.client();
        while Instant::now() < deadline {
            let made = client.create_bucket().bucket("ready").send().await;
            let stored =
                client.put_object().bucket("ready").key("ready").body(b"yes".to_vec().into()).send().await;
            if stored.is_ok() {
                return true;
            }
            tracing::trace!(?made, "SeaweedFS is not ready yet");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// The SDK as it comes, to do what our driver must not: make buckets, write names that are not ours.
    pub(crate) fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(format!("http://127.0.0.1:{}", self.port))
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests"))
            .force_path_style(true)
            .build();
        Client::from_conf(config)
    }

    /// A new, empty bucket and how to reach it.
    pub(crate) async fn bucket(&self, region: &RegionId) -> S3Settings {
        let mut random = [0; 8];
        SystemEntropy.fill(&mut random).unwrap();
        let bucket = format!("blobs-{}", hex::encode(random));
        self.client().create_bucket().bucket(&bucket).send().await.unwrap();
        S3Settings {
            region: region.clone(),
            endpoint: format!("http://127.0.0.1:{}", self.port),
            signing_region: "us-east-1".to_owned(),
            bucket,
            prefix: "terroir/blobs/".to_owned(),
            path_style: true,
            credentials: S3Credentials {
                access_key_id: ACCESS_KEY.to_owned(),
                secret_access_key: Secret::new(SECRET_KEY.to_owned()),
            }
            .into(),
            ca_file: None,
            create_if_absent: true,
            declared_location: None,
            connect_ms: 5_000,
            attempt_ms: 30_000,
            idle_connections_max: 64,
        }
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
    }
}

/// `tests/run` puts it into the checkout; `TERROIR_TOOLS` may point to another folder with a `bin`.
fn weed() -> PathBuf {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
    let named = std::env::var_os("TERROIR_TOOLS").map(PathBuf::from);
    let places = named.into_iter().chain([checkout.join("venv"), checkout]);
    let found = places.map(|place| place.join("bin/weed")).find(|weed| is_program(weed));
    found.expect(
        "SeaweedFS (`weed`) is missing: run `tests/run` once, it installs what tests need into .tools/",
    )
}

fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && magic == *b"\x7fELF"
}

/// Five free ports whose +10,000 (where it puts gRPC) are free too, below what the system hands out by itself.
fn ports() -> [u16; 5] {
    let free = |port: u16| {
        [port, port + 10_000].into_iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
    };
    let mut random = [0; 2];
    SystemEntropy.fill(&mut random).unwrap();
    let start = 12_000 + u16::from_be_bytes(random) % 8_000;
    let mut ports = (start..32_000).step_by(7).filter(|port| free(*port));
    std::array::from_fn(|_| ports.next().expect("five free ports"))
}
