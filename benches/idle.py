"""Figure 8: what an idle connection costs in memory, in clear and over TLS, and how long a warm start takes.

Each connection is of the data listener, has read one record with a signed request, and is kept. Memory is the process's resident set
(VmRSS) once it is at rest, less what it was with a hundred such connections, so that what is paid once is not in it; nor are the
kernel's socket buffers. Afterwards each connection is asked again: one that was dropped meanwhile costs nothing and would not count.
Every sample is of a fresh process. Start-up is from exec until `/ready` says 200, on state that was used before. haproxy is asked the same,
its connections to the store being few.
"""

import pathlib
import resource
import shutil
import socket
import ssl
import statistics
import time

import peers
import servers
from cases_process import Secure
from load import SMALL
from steady import exchange, ready
from targets import credential, memory_kib
from wire import Client, noise

CONNECTIONS, BEFORE = 1_000, 100
STARTS = 5
# A record's first request may be long in coming; nothing is to be looked at again while memory is read.
LIMITS = "header-read-ms-max = 120000\nreload-check-ms = 3600000"


class Idle:
    """The two ways to connect of one server; `secure` is a context that trusts it."""

    def __init__(self, name):
        self.name, self.relay, self.turn = name, None, 0


class Product(Idle):
    def __init__(self, ground):
        super().__init__("fs")
        self.clear = ground.keep(servers.Served(ground.folder / "idle", limits=LIMITS))
        self.tls = Secure(ground.folder / "idle-tls", LIMITS)

    def prepare(self):
        self.clear.start()
        self.client = self.clear.client(default_class="operational")
        self.client.close()
        self.clear.stop()
        self.tls.start()
        self.stop_tls()
        self.keys = credential(lambda *words, as_json=False: self.tls.verb(*words), "idle")
        self.context = ssl.create_default_context(cafile=self.tls.home / "trusted.pem")

    def started(self, over_tls):
        """A client of a fresh process, and its id."""
        if not over_tls:
            self.clear.start()
            return self.client, self.clear.child.pid
        self.tls.start()
        client = Client(f"https://localhost:{self.tls.base}", "fr", *self.keys)
        client.tls = self.context
        return client, self.tls.child.pid

    def stopped(self, over_tls):
        if over_tls:
            self.stop_tls()
        else:
            self.clear.kill()

    def stop_tls(self):
        self.tls.child.kill()
        self.tls.child.wait()

    def starts(self):
        """Milliseconds of each start."""
        times = []
        for _ in range(STARTS):
            begun = time.monotonic()
            self.clear.start(wait=False)
            while not says_ready(self.clear.base + 2):
                assert self.clear.child.poll() is None, self.clear.tail()
            times.append((time.monotonic() - begun) * 1e3)
            assert self.clear.stop() == 0
        return {"start_warm_ms": statistics.median(times), "starts_ms": times}


class Haproxy(Idle):
    def __init__(self, ground):
        super().__init__("haproxy")
        self.ground = ground

    def prepare(self):
        self.store = self.ground.store()
        # Any certificate will do: haproxy gets the product's.
        made = Secure(self.ground.folder / "idle-certificate")
        self.pem = made.home / "both.pem"
        self.pem.write_bytes((made.home / "tls.crt").read_bytes() + (made.home / "tls.key").read_bytes())
        self.context = ssl.create_default_context(cafile=made.home / "trusted.pem")

    def started(self, over_tls):
        self.turn += 1
        self.peer = peers.Haproxy(self.ground.folder / f"idle-haproxy-{self.turn}", self.pem if over_tls else None)
        self.peer.start(self.store)
        client = self.peer.client(self.store)
        if over_tls:
            client = Client(f"https://localhost:{self.peer.port}", client.region, client.access_key, client.secret_key)
            client.tls = self.context
        return client, self.peer.child.pid

    def stopped(self, _over_tls):
        self.peer.stop()

    def starts(self):
        return {}


def targets(ground):
    """haproxy only beside the product, whose harness makes its certificate."""
    if not ground.product:
        return []
    return [Product(ground)] + ([Haproxy(ground)] if shutil.which("haproxy") else [])


def prepare(target):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + BEFORE + 500
    if soft < wanted:
        assert hard >= wanted, f"{hard} files may be open here, {wanted} are needed"
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    target.prepare()


def sample(target, _seconds):
    target.turn += 1
    told = {}
    for over_tls in (False, True)[::1 if target.turn % 2 else -1]:
        client, pid = target.started(over_tls)
        try:
            told |= {f"idle_{'tls' if over_tls else 'http'}_{key}": value for key, value in connections(client, pid).items()}
        finally:
            client.close()
            target.stopped(over_tls)
    return {**told, **target.starts()}


def connections(client, pid):
    """What one of CONNECTIONS idle ones costs, KiB."""
    client.make_bucket("idle")
    assert client.put("idle", "record", noise("idle", SMALL)).status == 200
    request = ready(client, "GET", "idle", "record")
    kept = [connected(client, request) for _ in range(BEFORE)]
    before, files = at_rest_kib(pid), open_files(pid)
    kept += [connected(client, request) for _ in range(CONNECTIONS)]
    after, more = at_rest_kib(pid), open_files(pid) - files
    assert more >= CONNECTIONS, f"the process has {more} files more open, not {CONNECTIONS}: its connections are not idle but gone"
    assert all(exchange(sock, request) for sock in kept), "an idle connection was refused"
    for sock in kept:
        sock.close()
    return {"kib": (after - before) / CONNECTIONS, "before_kib": before, "after_kib": after, "connections": CONNECTIONS}


def connected(client, request):
    """A connection that has made one request, and stays."""
    made = socket.create_connection((client.host, client.port), 30)
    if client.tls:
        made = client.tls.wrap_socket(made, server_hostname=client.host)
    assert exchange(made, request), "a request was refused"
    return made


def at_rest_kib(pid):
    """Resident memory, once it has not moved for a second."""
    deadline, last, since = time.monotonic() + 10, None, time.monotonic()
    while time.monotonic() - since < 1 and time.monotonic() < deadline:
        now = memory_kib(pid, "VmRSS")
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.1)
    return last


def open_files(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def says_ready(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return probe.recv(12) == b"HTTP/1.1 200"
    except OSError:
        time.sleep(0.001)
        return False
