//! A real S3 store on loopback: `SeaweedFS`, which speaks http and https. Started once per test process and gone with it.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use rustix::process::{Pid, Signal, kill_process};
use terroir::blobs::S3Settings;
use terroir::model::{Entropy, RegionId, SystemEntropy};
use tokio::sync::OnceCell;

use super::certificate::{Certificate, Subject};
use super::s3::{self, ACCESS_KEY, SECRET_KEY};

/// A cold start takes 1.3 s on an idle machine; this is for one that compiles next to it.
const START_MAX: Duration = Duration::from_mins(1);

/// Keeps its server alive as long as its standard input is open, then kills it and removes its files: also if the test
/// process is itself killed, which no destructor survives. Its sockets have fixed places outside of its folder.
const KEEPER: &str = r#"dir=$1; ports=$2; shift 2
"$@" </dev/null >"$dir/log" 2>&1 &
server=$!
echo $server >"$dir/pid"
cat >/dev/null
kill -9 $server 2>/dev/null
wait $server 2>/dev/null
for port in $ports; do rm -f /tmp/seaweedfs-*-$port.sock /tmp/seaweedfs-*-$((port + 10000)).sock; done
rm -rf "$dir""#;

/// A running `SeaweedFS` with one identity and any number of buckets.
#[derive(Debug)]
pub(crate) struct Seaweed {
    port: u16,
    https_port: u16,
    dir: PathBuf,
    keeper: Child,
}

/// The server of this test process.
pub(crate) async fn shared() -> &'static Seaweed {
    static SERVER: OnceCell<Seaweed> = OnceCell::const_new();
    SERVER.get_or_init(Seaweed::start).await
}

impl Seaweed {
    /// A server of a test's own, that may do with it what it likes.
    pub(crate) async fn start() -> Self {
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
        let certificate = Certificate::of(&Subject::Address([127, 0, 0, 1]));
        std::fs::write(dir.join("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), certificate.key_pem()).unwrap();
        let [master, volume, filer, s3, admin, https] = ports();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&dir)
            .arg([master, volume, filer, s3, admin, https].map(|port| port.to_string()).join(" "))
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
            .arg(format!("-s3.port.https={https}"))
            .arg(format!("-s3.cert.file={}", dir.join("certificate.pem").display()))
            .arg(format!("-s3.key.file={}", dir.join("key.pem").display()))
            .arg(format!("-s3.config={}", dir.join("s3.json").display()))
            .current_dir(&dir)
            // A runner that gives up kills its test's whole group; who clears up must outlive that.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { port: s3, https_port: https, dir, keeper };
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

    /// Stops it where it stands (SIGSTOP): connections open and are taken by the system, and nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.dir.join("pid")).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The SDK, to do what our driver must not.
    pub(crate) fn client(&self) -> Client {
        s3::client(&format!("http://127.0.0.1:{}", self.port))
    }

    /// A new, empty bucket and how to reach it.
    pub(crate) async fn bucket(&self, region: &RegionId) -> S3Settings {
        let bucket = s3::new_bucket(&self.client()).await;
        s3::settings(region, format!("http://127.0.0.1:{}", self.port), bucket)
    }

    /// The same, over https.
    pub(crate) async fn bucket_over_tls(&self, region: &RegionId) -> S3Settings {
        S3Settings {
            endpoint: format!("https://127.0.0.1:{}", self.https_port),
            ca_file: Some(self.dir.join("certificate.pem")),
            ..self.bucket(region).await
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

/// Six free ports whose +10,000 (where it puts gRPC) are free too, below what the system hands out by itself.
fn ports() -> [u16; 6] {
    let free = |port: u16| {
        [port, port + 10_000].into_iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
    };
    let mut random = [0; 2];
    SystemEntropy.fill(&mut random).unwrap();
    let start = 12_000 + u16::from_be_bytes(random) % 8_000;
    let mut ports = (start..32_000).step_by(7).filter(|port| free(*port));
    std::array::from_fn(|_| ports.next().expect("six free ports"))
}
