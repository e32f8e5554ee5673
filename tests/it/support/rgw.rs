//! A real Ceph RGW on loopback, as many S3-compatible hosters run it: one monitor, one OSD in memory, one gateway that speaks
//! http and https, from Debian's packages. Started once per test process and gone with it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use terroir::blobs::S3Settings;
use terroir::model::RegionId;
use tokio::sync::OnceCell;

use super::certificate::{Certificate, Subject};
use super::s3::{self, ACCESS_KEY, SECRET_KEY};

/// It takes 12 s on an idle machine: pools are made one after the other. This is for one that compiles next to it.
const START_MAX: Duration = Duration::from_mins(3);

/// Ports that the OSD may take: it opens eight.
const OSD_PORTS: u16 = 12;

/// Starts the cluster, keeps it alive as long as its standard input is open, then kills it and removes its files: also if
/// the test process is itself killed, which no destructor survives.
const KEEPER: &str = r#"dir=$1; conf=$dir/ceph.conf; fsid=$2; monitor=$3
exec 3<&0 </dev/null >"$dir/log" 2>&1
mkdir "$dir/mon" "$dir/osd" "$dir/rgw" "$dir/run"
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$monitor]" "$dir/monmap"
ceph-mon --mkfs -i a --monmap "$dir/monmap" -c "$conf"
ceph-mon -f -i a -c "$conf" & started=$!
(
    id=$(cat /proc/sys/kernel/random/uuid)
    until timeout 10 ceph -c "$conf" --connect-timeout 5 osd new "$id"; do sleep 0.2; done
    ceph-osd -i 0 --mkfs --osd-uuid "$id" -c "$conf"
    touch "$dir/osd-made"
) & preparing=$!
( until [ -e "$dir/osd-made" ]; do sleep 0.1; done; exec ceph-osd -f -i 0 -c "$conf" ) & started="$started $!"
( until [ -e "$dir/osd-made" ]; do sleep 0.1; done; exec radosgw -f -n client.rgw.a -c "$conf" ) & started="$started $!"
(
    until [ -e "$dir/osd-made" ]; do sleep 0.1; done
    exec radosgw-admin -n client.rgw.a -c "$conf" user create --uid=terroir --display-name=terroir \
        --access-key="$4" --secret-key="$5" --max-buckets=0
) & started="$started $!"
cat <&3 >/dev/null
kill -9 $started $preparing
wait $started $preparing
rm -rf "$dir""#;

/// A running gateway with one user and any number of buckets.
#[derive(Debug)]
pub(crate) struct Rgw {
    http: u16,
    https: u16,
    dir: PathBuf,
    keeper: Child,
}

/// The gateway of this test process.
pub(crate) async fn shared() -> &'static Rgw {
    static SERVER: OnceCell<Rgw> = OnceCell::const_new();
    SERVER.get_or_init(Rgw::start).await
}

impl Rgw {
    async fn start() -> Self {
        for program in ["monmaptool", "ceph-mon", "ceph-osd", "ceph", "radosgw", "radosgw-admin"] {
            assert!(
                s3::is_on_path(program),
                "{program} is missing: run `tests/run tools` once, it installs Debian's radosgw, ceph-mon, ceph-osd and ceph-common"
            );
        }
        // A port may be taken between our look and the server's; other ports then.
        for _ in 0..2 {
            if let Some(server) = Self::try_start().await {
                return server;
            }
        }
        panic!("Ceph RGW did not start within {START_MAX:?}, twice");
    }

    async fn try_start() -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("terroir-rgw-").tempdir().unwrap().keep();
        let certificate = Certificate::of(&Subject::Address([127, 0, 0, 1]));
        std::fs::write(dir.join("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), certificate.key_pem()).unwrap();
        let first = s3::free_ports(OSD_PORTS + 3);
        let (monitor, http, https, osd) = (first, first + 1, first + 2, first + 3);
        let fsid = uuid::Uuid::new_v4().to_string();
        std::fs::write(dir.join("ceph.conf"), configuration(&dir, &fsid, [monitor, http, https, osd]))
            .unwrap();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&dir)
            .args([&fsid, &monitor.to_string(), ACCESS_KEY, SECRET_KEY])
            .current_dir(&dir)
            .env_remove("CEPH_ARGS")
            // A runner that gives up kills its test's whole group; who clears up must outlive that.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { http, https, dir, keeper };
        server.is_ready().await.then_some(server)
    }

    /// Ready when it has made a bucket and stored something in it: its parts come up one after the other.
    async fn is_ready(&self) -> bool {
        let deadline = Instant::now() + START_MAX;
        let client = s3::client(&self.endpoint(false));
        while Instant::now() < deadline {
            _ = client.create_bucket().bucket("ready").send().await;
            let stored = client.put_object().bucket("ready").key("ready").body(b"yes".to_vec().into()).send();
            if stored.await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    fn endpoint(&self, tls: bool) -> String {
        if tls {
            format!("https://127.0.0.1:{}", self.https)
        } else {
            format!("http://127.0.0.1:{}", self.http)
        }
    }

    /// A new, empty bucket and how to reach it.
    pub(crate) async fn bucket(&self, region: &RegionId, tls: bool) -> S3Settings {
        let bucket = s3::new_bucket(&s3::client(&self.endpoint(false))).await;
        let ca_file = tls.then(|| self.dir.join("certificate.pem"));
        S3Settings { ca_file, ..s3::settings(region, self.endpoint(tls), bucket) }
    }
}

impl Drop for Rgw {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
    }
}

/// Authentication inside the cluster is off (the gateway's own, of S3, is not), and `ms_mon_client_mode` must then be told. A
/// monitor on a disk that is 95 % full would refuse to start.
fn configuration(dir: &Path, fsid: &str, [monitor, http, https, osd]: [u16; 4]) -> String {
    let (dir, osd_last) = (dir.display(), osd + OSD_PORTS - 1);
    format!(
        "[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{monitor}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = {osd}
ms_bind_port_max = {osd_last}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
keyring = /dev/null
run_dir = {dir}/run
crash_dir = {dir}/run
admin_socket = {dir}/run/$name.$pid.asok
pid_file = {dir}/run/$name.pid
log_file = {dir}/run/$name.log
mon_cluster_log_file = {dir}/run/cluster.log
log_to_stderr = false
mon_data = {dir}/mon
osd_data = {dir}/osd
rgw_data = {dir}/rgw
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
mon_allow_pool_size_one = true
mon_data_avail_warn = 0
mon_data_avail_crit = 0
mon_max_pg_per_osd = 2000
[client]
ms_mon_client_mode = crc
rgw_crypt_require_ssl = false
rgw_frontends = beast endpoint=127.0.0.1:{http} ssl_endpoint=127.0.0.1:{https} ssl_certificate={dir}/certificate.pem ssl_private_key={dir}/key.pem
"
    )
}
