"""What the product is compared with, beside the bare store: haproxy (no encryption at all) and rclone crypt (encryption, no audit).

Each stands before the same SeaweedFS as the product does and is spoken to by the same driver. Peers that are not installed are left
out: `haproxy` is a Debian package, `rclone` comes with `tests/run tools`.
"""

import shutil
import socket
import subprocess
import time

import ports
from servers import VENV_BIN
from wire import Client


class Peer:
    """A process in front of a store, on a free port."""

    def __init__(self, folder):
        self.folder, self.port, self.child = folder, ports.claim(), None
        self.folder.mkdir(parents=True)

    def spawned(self, command):
        with open(self.folder / "log", "ab") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if self.child.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{command[0]} is not ready:\n" + (self.folder / "log").read_text()[-2_000:])
                time.sleep(0.05)

    def client(self, store):
        """With the store's own credentials: haproxy hands them on, rclone asks for none."""
        return Client(f"http://127.0.0.1:{self.port}", store.region, store.access_key, store.secret_key)

    def stop(self):
        self.child.kill()
        self.child.wait()


class Haproxy(Peer):
    """Hands every request on, over kept connections, and looks at nothing."""

    name = "haproxy"

    def __init__(self, folder, pem=None):
        """`pem`: a certificate and its key in one file, for TLS."""
        super().__init__(folder)
        self.secure = f" ssl crt {pem}" if pem else ""

    def start(self, store):
        (self.folder / "haproxy.cfg").write_text(f"""global
    maxconn 2500
    nbthread 2
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
listen store
    bind 127.0.0.1:{self.port}{self.secure}
    server store {store.host}:{store.port}
""")
        return self.spawned([shutil.which("haproxy"), "-db", "-f", str(self.folder / "haproxy.cfg")])


class RcloneCrypt(Peer):
    """Encrypts names and bytes, and speaks S3. It keeps no audit log and asks for no signature."""

    name = "crypt"

    def start(self, store):
        secret = subprocess.run([VENV_BIN / "rclone", "obscure", "a password of this run"], capture_output=True, text=True, check=True).stdout.strip()
        (self.folder / "rclone.conf").write_text(f"""[store]
type = s3
provider = SeaweedFS
endpoint = {store.endpoint}
access_key_id = {store.access_key}
secret_access_key = {store.secret_key}
region = {store.region}

[crypt]
type = crypt
remote = store:crypt-peer
password = {secret}
""")
        store.make_bucket("crypt-peer")
        return self.spawned([VENV_BIN / "rclone", "serve", "s3", "--config", self.folder / "rclone.conf", "--addr", f"127.0.0.1:{self.port}", "crypt:"])


def installed():
    """The classes of those that can be run here."""
    return [peer for peer, there in ((Haproxy, shutil.which("haproxy")), (RcloneCrypt, (VENV_BIN / "rclone").exists())) if there]
