"""Starts and stops what the cases talk to: `terroir dev` (the product) or SeaweedFS (to try the harness itself).

Everything the harness assumes about the product's command line and files stands here, in one place.
"""

import contextlib
import glob
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import ports
from gcs import LOCATION, GcsDouble
from wire import Client

READY_S = 90
STOP_S = 40
VENV_BIN = pathlib.Path(sys.executable).parent


class Terroir:
    """One `terroir dev` on a data folder of its own, with both regions."""

    kind = "terroir"

    def __init__(self, data_dir, log_level="info"):
        self.binary = os.environ["TERROIR_BIN"]
        self.data_dir = pathlib.Path(data_dir)
        self.log = self.data_dir.parent / (self.data_dir.name + ".log")
        self.log_level = log_level
        self.port_base = ports.claim()
        self.child = None

    # What is assumed about the product: adjust here only.

    def command(self):
        return [self.binary, "dev", "--data-dir", str(self.data_dir), "--port-base", str(self.port_base)]

    def verb(self, *words, region, check=True, as_json=False):
        """Runs `terroir WORDS… --region R --data-dir D`; the result of `subprocess.run`, or its JSON."""
        command = [self.binary, *words, "--region", region, "--data-dir", str(self.data_dir)]
        done = subprocess.run(command + (["--json"] if as_json else []), capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise AssertionError(f"terroir {' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout) if as_json else done

    def new_credential(self, tenant, region):
        shown = self.verb("credential", "create", tenant, region=region, as_json=True)
        return shown["access_key"], shown["secret_key"]

    def folder(self, region, facet):
        """`facet`: store, index, keys or audit."""
        return self.data_dir / region / facet

    def credentials(self):
        return json.loads((self.data_dir / "dev-credentials.json").read_text())

    FAILPOINT_VARIABLE = "TERROIR_FAILPOINT"
    FAILPOINTS = ("temp-created", "temp-written", "temp-synced", "before-link", "after-link", "folder-synced")
    WRITE_FAILPOINTS = ("audit-written", "audit-synced", "blobs-durable", "index-written", "index-committed", "version-committed")

    TOUR_OVER = "The tour is over"  # printed on a first start, after which a stop is an ordinary stop

    # Running it.

    def start(self, extra_env=None):
        first = not (self.data_dir / "dev-credentials.json").exists()
        env = {**os.environ, "RUST_LOG": self.log_level, "TERROIR_LOG": self.log_level, **(extra_env or {})}
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            # SIGXFSZ stays ignored, as in this process: a case limits file sizes to see writes fail.
            self.child = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                          restore_signals=False)
        self.wait_until_ready(first)
        return self

    def wait_until_ready(self, first):
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise AssertionError(f"terroir dev ended with {self.child.returncode}:\n{self.tail()}")
            try:
                regions = self.credentials()["regions"]
                if all(answers_200(region["observe"] + "/ready") for region in regions.values()):
                    if not first or self.TOUR_OVER in self.log.read_text(errors="replace"):
                        return
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.05)
        raise AssertionError(f"terroir dev was not ready after {READY_S} s:\n{self.tail()}")

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def stop(self):
        """SIGTERM, and the exit code; a server that does not drain in time is a failure."""
        if self.child is None or self.child.poll() is not None:
            return self.child.returncode if self.child else None
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"terroir dev did not stop in {STOP_S} s") from None

    def regions(self):
        """Region id → a client of that region's first tenant."""
        known = self.credentials()
        clients = {}
        for tenant in known["tenants"]:
            region = tenant["region"]
            endpoint = known["regions"][region]["s3"]
            client = Client(endpoint, region, tenant["access_key"], tenant["secret_key"])
            client.tenant = tenant["id"]
            clients.setdefault(region, client)
        return clients


class SeaweedFs:
    """Independent SeaweedFS processes, one for each region: stores for the product, or posing as it to prove the harness."""

    kind = "seaweedfs"
    NAMES = 2  # that `admit` can give credentials to

    def __init__(self, data_dir, regions=("fr", "us"), address="127.0.0.1", s3_port=None, prefix=()):
        """`address`, `s3_port` and a command's `prefix`: for a network namespace, where ports are free."""
        self.data_dir, self.address, self.s3_port, self.prefix = pathlib.Path(data_dir), address, s3_port, list(prefix)
        self.children, self.commands, self.endpoints = [], [], {region: None for region in regions}

    def start(self):
        for region in self.endpoints:
            base, home = ports.claim(), self.data_dir / region
            home.mkdir(parents=True)
            identity = {"name": "t", "credentials": [{"accessKey": f"key{region}", "secretKey": f"secret{region}"}],
                        "actions": ["Admin"]}
            (home / "s3.json").write_text(json.dumps({"identities": [identity]}))
            self.commands.append((home, [
                *self.prefix, VENV_BIN / "weed", "mini", f"-dir={home}", f"-ip={self.address}", f"-ip.bind={self.address}",
                f"-master.port={base}", f"-volume.port={base + 1}", f"-filer.port={base + 2}", f"-s3.port={self.s3_port or base + 3}",
                "-webdav=false", "-admin.ui=false", f"-admin.port={base + 4}", "-s3.port.iceberg=0", "-s3.port.lance=0",
                f"-s3.config={home}/s3.json"]))
            self.children.append(self.spawned(*self.commands[-1]))
            self.endpoints[region] = f"http://{self.address}:{self.s3_port or base + 3}"
        return self.wait_until_ready()

    def admit(self, region, *pairs):
        """From now on (within moments: ask it) these pairs of access key and secret, and no others."""
        # It forgets what a name had and has no more, but no name: so there are always as many.
        pairs = [*pairs, *[(f"nobody{number}", os.urandom(20).hex()) for number in range(self.NAMES - len(pairs))]]
        identities = [{"name": "t" if not number else f"t{number}", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
                      for number, (key, secret) in enumerate(pairs)]
        for child, (home, _) in zip(self.children, self.commands):
            if home.name == region:
                (home / "s3.json.new").write_text(json.dumps({"identities": identities}))
                (home / "s3.json.new").rename(home / "s3.json")
                child.send_signal(signal.SIGHUP)

    def spawned(self, home, command):
        with open(home / "log", "ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home)

    def kill(self):
        """SIGKILL to all, as a machine's end would be."""
        for child in self.children:
            child.kill()
            child.wait()

    def revive(self):
        """The same stores, on the same ports and folders. Does not wait."""
        self.children = [self.spawned(*command) for command in self.commands]

    def wait_until_ready(self):
        for region, client in self.regions().items():
            deadline = time.monotonic() + READY_S
            while True:
                try:
                    if client.send("GET", "/").status == 200:
                        break
                except Exception:
                    client.close()
                if time.monotonic() > deadline:
                    raise AssertionError(f"SeaweedFS ({region}) was not ready after {READY_S} s")
                time.sleep(0.1)
        return self

    def regions(self):
        return {region: Client(endpoint, region, f"key{region}", f"secret{region}")
                for region, endpoint in self.endpoints.items()}

    def stop(self):
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


class Served:
    """`terroir serve` of one region whose store is the SeaweedFS bucket at `store_port`: the real thing, on loopback; or that of a
    `GcsDouble`. Without `store` it is a local folder.

    `shared`: a folder that several replicas of one region have in common: its root keys, and its store if that is local. They
    need `postgres`, an index that several may write to.
    """

    kind = "terroir"

    def __init__(self, data_dir, store=None, store_port=None, region="fr", bucket="terroir-blobs", limits="", shared=None, postgres=None):
        self.binary, self.region, self.child = os.environ["TERROIR_BIN"], region, None
        self.data_dir = pathlib.Path(data_dir)
        self.data_dir.mkdir(parents=True)
        self.log = self.data_dir / "log"
        self.config = self.data_dir / "terroir.toml"
        self.base = ports.claim()
        self.store = store
        if store:
            store.make_bucket(bucket)
        self.config.write_text(f"""environment = "bench"
overlay = "{self.data_dir}/overlay.toml"

[region.{region}]
state-dir = "{self.data_dir}/state"
listen = {{ data = "127.0.0.1:{self.base}", control = "127.0.0.1:{self.base + 1}", observe = "127.0.0.1:{self.base + 2}" }}

[limits]
{limits}
""")
        shared = pathlib.Path(shared or self.data_dir / "state")
        database = '{ postgres = { host = "127.0.0.1:%d", url = "env:DATABASE_URL" } }' % postgres.port if postgres else None
        (self.data_dir / "overlay.toml").write_text(f"""name = "loopback"

[regions.{region}]
s3-endpoint = "http://127.0.0.1:{self.base}"
index = {database or '{ sqlite = { path = "index/index.sqlite3" } }'}
{f"key-store = {database}" if database else ""}
keys = {{ local-file = {{ path = "{shared}/keys/roots" }} }}
audit = {{ directory = "audit" }}
""" + self.store_lines(bucket, store_port, shared))
        is_s3 = isinstance(store, Client)
        secrets = {"STORE_KEY_ID": store.access_key, "STORE_SECRET": store.secret_key} if is_s3 else {}
        if postgres:
            secrets["DATABASE_URL"] = postgres.url
        self.env = {**os.environ, **secrets, "RUST_LOG": "info"}

    def store_lines(self, bucket, port, shared):
        if not self.store:
            return f"""
[regions.{self.region}.store.fs]
path = "{shared}/store"
"""
        if isinstance(self.store, GcsDouble):
            return f"""
[regions.{self.region}.store.gcs]
endpoint = "{self.store.endpoint}"
bucket = "{bucket}"
prefix = "blobs/"
credentials = {{ anonymous = {{}} }}
expected-location = "{LOCATION}"
"""
        return f"""
[regions.{self.region}.store.s3]
endpoint = "http://127.0.0.1:{port}"
bucket = "{bucket}"
prefix = "blobs/"
signing-region = "us-east-1"
access-key-id = "env:STORE_KEY_ID"
secret-access-key = "env:STORE_SECRET"
path-style = true
"""

    def verb(self, *words, as_json=False, check=True):
        command = [self.binary, *words, "--region", self.region, "--config", str(self.config)]
        done = subprocess.run(command + (["--json"] if as_json else []), capture_output=True, text=True, timeout=60, env=self.env)
        if check and done.returncode != 0:
            raise AssertionError(f"terroir {' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout) if as_json else done

    def start(self, extra_env=None, wait=True):
        """`wait=False`: a caller that expects the process to die early waits for itself."""
        command = [self.binary, "serve", "--config", str(self.config), "--region", self.region]
        with open(self.log, "ab") as log:
            # SIGXFSZ stays ignored, as in this process: a case limits file sizes to see writes fail.
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          env={**self.env, **(extra_env or {})}, restore_signals=False)
        return self.wait_until_ready() if wait else self

    def wait_until_ready(self):
        deadline = time.monotonic() + READY_S
        while not answers_200(f"http://127.0.0.1:{self.base + 2}/ready"):
            if self.child.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("terroir serve is not ready:\n" + "\n".join(self.log.read_text().splitlines()[-30:]))
            time.sleep(0.05)
        return self

    def client(self, tenant="bench", default_class="health"):
        """A client of a tenant made now."""
        self.verb("tenant", "create", tenant, "--default-class", default_class)
        shown = self.verb("credential", "create", tenant, as_json=True)
        made = Client(f"http://127.0.0.1:{self.base}", self.region, shown["access_key"], shown["secret_key"])
        deadline = time.monotonic() + 10
        while made.send("GET", "/").status != 200:
            if time.monotonic() > deadline:
                raise AssertionError("a new access key was not known after 10 s")
            time.sleep(0.1)
        return made

    stop, kill = Terroir.stop, Terroir.kill

    def tail(self):
        return "\n".join(self.log.read_text().splitlines()[-30:])


class Postgres:
    """A PostgreSQL server on loopback with its disk flushes on, for cases that kill it."""

    def __init__(self, data_dir, address="127.0.0.1", port=None, prefix=(), tls=None):
        """`address`, `port` and a command's `prefix`: for a network namespace; `tls`: paths of a CA, a certificate, a key."""
        self.data_dir, self.address, self.port, self.child = pathlib.Path(data_dir), address, port or ports.claim(), None
        self.prefix, self.tls = list(prefix), tls
        self.url = f"postgres://terroir@{address}:{self.port}/postgres" + (f"?sslmode=verify-full&sslrootcert={tls[0]}" if tls else "")
        found = shutil.which("postgres") or next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), reverse=True)), None)
        if not found:
            raise AssertionError("missing: PostgreSQL (the Debian package postgresql)")
        self.programs = pathlib.Path(found).resolve().parent
        # It refuses to run as root, whose files it could not read either.
        self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []

    def program(self, name, *words):
        return [*self.as_user, self.programs / name, *words]

    def start(self):
        if not self.data_dir.exists():
            self.data_dir.mkdir(parents=True)
            if self.as_user:
                shutil.chown(self.data_dir, "postgres", "postgres")
                for folder in self.data_dir.parents:
                    if folder.name.startswith("terroir-real-"):
                        folder.chmod(0o711)  # a way through, not a view
            made = subprocess.run(self.program("initdb", "-D", self.data_dir, "-A", "trust", "-U", "terroir", "--no-sync", "--no-locale", "-E", "UTF8"),
                                  capture_output=True, text=True, cwd="/")
            assert made.returncode == 0, made.stderr
            if self.tls:
                with open(self.data_dir / "pg_hba.conf", "a") as rules:
                    rules.write(f"hostssl all all {self.address}/24 trust\n")
                for path, name in zip(self.tls[1:], ("server.crt", "server.key")):
                    shutil.copy(path, self.data_dir / name)
                    shutil.chown(self.data_dir / name, *(["postgres", "postgres"] if self.as_user else [os.getuid()]))
                    (self.data_dir / name).chmod(0o600)
        return self.revive().wait_until_ready()

    def revive(self):
        with open(self.data_dir.parent / (self.data_dir.name + ".log"), "ab") as log:
            self.child = subprocess.Popen(
                [*self.prefix, *self.program("postgres", "-D", self.data_dir, "-p", str(self.port), "-k", self.data_dir)]
                + [f"-clisten_addresses={self.address}", *(["-cssl=on"] if self.tls else []),
                   "-c", "max_connections=60", "-c", "shared_buffers=32MB"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        return self

    def wait_until_ready(self):
        deadline = time.monotonic() + READY_S
        while subprocess.run(self.program("pg_isready", "-q", "-h", self.data_dir, "-p", str(self.port)), cwd="/").returncode != 0:
            if self.child.poll() is not None:  # a process of the life before may still hold its memory
                self.revive()
            if time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL was not ready after {READY_S} s")
            time.sleep(0.1)
        return self

    def kill(self):
        """SIGKILL to the server and all its processes, each of which leads a session of its own."""
        children = pathlib.Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        for pid in (self.child.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.child.wait()

    def stop(self):
        if self.child and self.child.poll() is None:
            self.kill()


class Scratch:
    """A temporary folder that is gone afterwards."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="terroir-real-"))
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


class Running:
    """A product of one's own, for cases that kill it, damage its files or read its folders."""

    def __init__(self, **options):
        self.options = options

    def __enter__(self):
        self.scratch = Scratch()
        self.server = Terroir(self.scratch.__enter__() / "data", **self.options)
        try:
            return self.server.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        try:
            if self.server.child and self.server.child.poll() is None:
                self.server.kill()
        finally:
            self.scratch.__exit__()


def answers_200(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False
