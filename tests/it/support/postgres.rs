//! A real `PostgreSQL` on loopback, with its disk flushes on: one shared by every test process of a checkout while any of them
//! lives, and others of their own for tests that kill, freeze or misconfigure it.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use terroir::database::Address;
use terroir::model::{Entropy, Secret, SystemEntropy};

/// A cold start takes 2 s on an idle machine; this is for one that compiles next to it.
const START_MAX: Duration = Duration::from_mins(1);

/// The superuser; connections from this machine are trusted.
const USER: &str = "terroir";

/// A server outlives the tests that share it for a moment. It must not hold open what they were given: locks of who ran them.
const CLOSED: &str = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-\n";

/// Ends the server when nobody holds the lock of users any more, also if every test process was killed; then removes its files.
/// Between two tests nobody may hold it for a moment, so it looks twice.
const SHARED_KEEPER: &str = r#"dir=$1
while :; do
    flock -x "$dir/users" true
    sleep 3
    exec 9>"$dir/lock"; flock 9
    if flock -x -n "$dir/users" true; then break; fi
    exec 9>&-
done
pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null)
[ -n "$pid" ] && kill -QUIT "$pid"
# Its file stays where somebody else killed it, and everybody would wait for this lock for ever.
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
rm -rf "$dir/data" "$dir/port" "$dir/log""#;

/// The same for a server of one test: it lives as long as our end of the keeper's standard input.
const OWN_KEEPER: &str = r#"dir=$1
cat >/dev/null
pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null)
[ -n "$pid" ] && { kill -CONT "$pid"; kill -QUIT "$pid"; sleep 0.3; kill -9 "$pid"; } 2>/dev/null
rm -rf "$dir""#;

/// The shared server, from this process's point of view.
pub(crate) struct Shared {
    port: u16,
    _user: File,
}

/// The server that all tests share, started if nobody runs it.
#[expect(clippy::zombie_processes, reason = "server and keeper outlive this process: the keeper ends both")]
pub(crate) fn shared() -> &'static Shared {
    static SERVER: OnceLock<Shared> = OnceLock::new();
    SERVER.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("terroir-postgres-{}", checkout_hash()));
        std::fs::create_dir_all(&dir).unwrap();
        let open = |name| OpenOptions::new().create(true).append(true).open(dir.join(name)).unwrap();
        let (lock, user) = (open("lock"), open("users"));
        lock.lock().unwrap();
        user.lock_shared().unwrap();
        let running = std::fs::read_to_string(dir.join("port")).ok().and_then(|port| port.parse().ok());
        let port = running.filter(|port| is_ready(*port)).unwrap_or_else(|| {
            std::fs::remove_dir_all(dir.join("data")).ok();
            init(&dir);
            let port = free_port();
            spawn(&dir, port, &[]);
            wait_ready(&dir, port);
            std::fs::write(dir.join("port"), port.to_string()).unwrap();
            keeper(SHARED_KEEPER, &dir, Stdio::null());
            port
        });
        Shared { port, _user: user }
    })
}

impl Shared {
    /// A new, empty database.
    pub(crate) async fn database(&self) -> Database {
        make_database(self.port).await
    }
}

/// One database.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    port: u16,
    pub(crate) name: String,
}

impl Database {
    /// Its URL, or that of a relay in front of it.
    pub(crate) fn url_through(&self, port: u16) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/{}", self.name)
    }

    pub(crate) fn url(&self) -> String {
        self.url_through(self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> Address {
        Address::parse(&Secret::new(self.url())).unwrap()
    }

    pub(crate) fn address_through(&self, port: u16) -> Address {
        Address::parse(&Secret::new(self.url_through(port))).unwrap()
    }

    /// A connection that is not ours: to look, and to damage.
    pub(crate) async fn raw(&self) -> PgConnection {
        connect(self.port, &self.name).await.unwrap()
    }

    /// Runs a script over a connection that is not ours.
    pub(crate) async fn run(&self, script: &str) {
        let mut conn = self.raw().await;
        sqlx::raw_sql(AssertSqlSafe(script.to_owned())).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }
}

/// A server of one test.
pub(crate) struct Own {
    dir: PathBuf,
    port: u16,
    server: Option<Child>,
    keeper: Child,
}

impl Own {
    /// Starts one with these settings (`name=value`) beside the usual ones.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("terroir-postgres-own-").tempdir().unwrap().keep();
        init(&dir);
        let keeper = keeper(OWN_KEEPER, &dir, Stdio::piped());
        let port = free_port();
        let server = spawn(&dir, port, settings);
        wait_ready(&dir, port);
        Self { dir, port, server: Some(server), keeper }
    }

    pub(crate) async fn database(&self) -> Database {
        make_database(self.port).await
    }

    /// Kills every process of it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        let children = children(server.id());
        server.kill().unwrap();
        for child in children {
            signal(child, "KILL");
        }
        server.wait().unwrap();
    }

    /// Starts it again where it was.
    #[expect(
        clippy::zombie_processes,
        reason = "the loop ends with a server that runs, or with a panic that ends the test"
    )]
    pub(crate) fn restart(&mut self) {
        let deadline = Instant::now() + START_MAX;
        loop {
            // The dead server's shared memory may take a moment to be let go of.
            let mut server = spawn(&self.dir, self.port, &[]);
            while Instant::now() < deadline {
                if is_ready(self.port) {
                    self.server = Some(server);
                    return;
                }
                if server.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(Instant::now() < deadline, "PostgreSQL did not start again: {}", log(&self.dir));
        }
    }

    /// Stops every process of it from running, and lets them run again.
    pub(crate) fn freeze(&self) {
        self.signal_all("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        let postmaster = self.server.as_ref().unwrap().id();
        for process in children(postmaster).into_iter().chain([postmaster]) {
            signal(process, name);
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
        if let Some(mut server) = self.server.take() {
            server.wait().ok();
        }
    }
}

fn signal(process: u32, name: &str) {
    Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

/// Processes whose parent is `parent` (proc(5): field 4 of stat).
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        after_name.split(' ').nth(1).and_then(|field| field.parse().ok()) == Some(parent)
    };
    ids.filter(is_child).collect()
}

/// A connection to the server of `database`, but to another database.
pub(crate) async fn operator(database: &Database) -> PgConnection {
    connect(database.port, "postgres").await.unwrap()
}

async fn connect(port: u16, database: &str) -> sqlx::Result<PgConnection> {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(USER)
        .password("")
        .database(database);
    options.connect().await
}

async fn make_database(port: u16) -> Database {
    let mut random = [0; 8];
    SystemEntropy.fill(&mut random).unwrap();
    let name = format!("t_{}", hex::encode(random));
    let mut conn = connect(port, "postgres").await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    Database { port, name }
}

fn is_ready(port: u16) -> bool {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let asking = async {
                let mut conn = connect(port, "postgres").await?;
                sqlx::raw_sql("SELECT 1").execute(&mut conn).await
            };
            tokio::time::timeout(Duration::from_secs(2), asking).await.is_ok_and(|answer| answer.is_ok())
        })
    })
    .join()
    .unwrap()
}

fn wait_ready(dir: &Path, port: u16) {
    let deadline = Instant::now() + START_MAX;
    while !is_ready(port) {
        assert!(Instant::now() < deadline, "PostgreSQL did not start within {START_MAX:?}: {}", log(dir));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// Makes a cluster. Only this is done without flushes: a test that loses power while initdb runs starts over.
fn init(dir: &Path) {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let data = dir.join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    if let Some((uid, gid)) = other_user() {
        chown(&data, Some(uid), Some(gid)).unwrap();
    }
    let done = program("initdb")
        .arg("-D")
        .arg(&data)
        .args(["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"])
        .output()
        .unwrap();
    assert!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr));
}

fn spawn(dir: &Path, port: u16, settings: &[&str]) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    let mut server = Command::new("sh");
    server.args(["-c", &format!("{CLOSED}exec \"$@\""), "sh"]);
    let postgres = program("postgres");
    server.arg(postgres.get_program()).args(postgres.get_args()).current_dir("/");
    server.arg("-D").arg(dir.join("data"));
    let usual = [
        &format!("port={port}"),
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "fsync=on",
        "full_page_writes=on",
        "synchronous_commit=on",
        "max_connections=200",
        "shared_buffers=32MB",
        "autovacuum=off",
    ];
    for setting in usual.iter().chain(settings) {
        server.args(["-c", setting]);
    }
    server.stdin(Stdio::null()).stdout(Stdio::from(log.try_clone().unwrap())).stderr(Stdio::from(log));
    server.spawn().unwrap()
}

fn keeper(script: &str, dir: &Path, stdin: Stdio) -> Child {
    let mut keeper = Command::new("setsid");
    keeper
        .args(["sh", "-c", &format!("{CLOSED}{script}"), "sh"])
        .arg(dir)
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    keeper.spawn().unwrap()
}

/// A program of `PostgreSQL`, run as somebody who is not root: it refuses root.
fn program(name: &str) -> Command {
    let path = find(name);
    let Some((uid, gid)) = other_user() else { return Command::new(path) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]).arg(path);
    command.current_dir("/");
    command
}

/// Whom to be instead of root: the user that Debian's package makes, or nobody.
fn other_user() -> Option<(u32, u32)> {
    if !is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |wanted: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
        Some((fields.next()??, fields.next()??))
    };
    of("postgres").or_else(|| of("nobody")).or(Some((65_534, 65_534)))
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

/// On the path, or where Debian puts what may stand beside other versions. The newest.
fn find(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    places.sort();
    places.reverse();
    let found = places.into_iter().chain(std::env::split_paths(&path)).map(|place| place.join(name));
    found.into_iter().find(|program| program.is_file()).expect(
        "PostgreSQL (`initdb`, `postgres`) is missing: run `tests/run tools` once, it installs what tests need",
    )
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Which checkout and build this is: two of them have servers of their own. FNV-1a.
fn checkout_hash() -> String {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let hash = folder.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}")
}
