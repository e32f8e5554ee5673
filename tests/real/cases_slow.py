"""Clients that are slow: a handshake, a head, a body, a reader that stops or drips. Each is let go of in its time, and nobody else notices.

Over TLS and HTTP/1.1, under load of clients that behave; HTTP/2's own forms are in tests/it/server/http2.rs.
"""

import pathlib
import socket
import ssl
import threading
import time

import evidence
import servers
from cases import case, note, seed_of
from cases_process import Load, Secure, bucket_at, with_a_tenant
from wire import noise

# docs/operations.md, [limits] and what is no setting there.
HANDSHAKE_S, HEAD_S, IDLE_S, WINDOW_S = 10, 10, 15, 30
SHORT_WINDOW_S = 17  # on ordinary runs; shorter than the idle time, it would be what ends a body that stops
EARLY_S, LATE_S = 0.5, 4  # late: a lingering close, on a machine that is busy
DRIP_S = 0.25
LARGE = 24 << 20  # more than all buffers on the way to a reader that takes nothing
ESTABLISHED = "01"


class Slow(threading.Thread):
    """One client. `took`: seconds from its last sign of life (of a drip: from its first byte) until the server let go of it."""

    def __init__(self, kind, number, server, keys, bucket):
        super().__init__(daemon=True)
        self.kind, self.number, self.server, self.client, self.bucket = kind, number, server, server.client(keys), bucket
        self.took, self.got, self.wrong, self.since = None, b"", None, None

    def run(self):
        try:
            with socket.create_connection(("127.0.0.1", self.server.base), timeout=90) as self.tcp:
                getattr(self, self.kind)()
        except Exception as error:
            self.wrong = f"{self.kind}: {type(error).__name__} {error}"

    def tls(self, receive_bytes=None):
        if receive_bytes:
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        context = ssl.create_default_context(cafile=str(self.server.home / "trusted.pem"))
        self.tcp = context.wrap_socket(self.tcp, server_hostname="localhost")

    def head(self, method, key, length=None):
        body = noise(f"slow-{self.number}", length or 0)
        head, _ = self.client.prepare(method, self.client.path(self.bucket, key), {}, {}, body, "UNSIGNED-PAYLOAD")
        return f"{method} {self.client.path(self.bucket, key)} HTTP/1.1\r\n".encode() + b"".join(f"{name}: {value}\r\n".encode()
                                                                                      for name, value in head.items()) + b"\r\n"

    def until_let_go(self, drip=b""):
        """Reads to the end of the connection; sends `drip` again and again meanwhile."""
        self.since = time.monotonic()
        self.tcp.settimeout(DRIP_S if drip else 90)
        while True:
            try:
                if drip:
                    self.tcp.sendall(drip)
                block = self.tcp.recv(65_536)
                if not block:
                    break
                self.got += block
                drip = b""  # it was answered, and says no more
                self.tcp.settimeout(90)
            except TimeoutError:
                assert drip and time.monotonic() < self.since + 90, "held for 90 s"
            except (ConnectionError, ssl.SSLError):
                break
        self.took = time.monotonic() - self.since

    # The ways to be slow.

    def says_nothing(self):
        self.until_let_go()

    def half_a_hello(self):
        self.tcp.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        self.until_let_go()

    def no_head(self):
        self.tls()
        self.until_let_go()

    def head_stops(self):
        self.tls()
        self.tcp.sendall(self.head("GET", "large")[:-10])
        self.until_let_go()

    def head_drips(self):
        self.tls()
        self.tcp.sendall(self.head("GET", "large")[:-2])
        self.until_let_go(drip=b"x-more: a\r\n")

    def second_head_stops(self):
        self.tls()
        self.tcp.sendall(self.head("HEAD", "large"))
        said = self.tcp.recv(65_536)
        assert said.startswith(b"HTTP/1.1 200"), said
        self.tcp.sendall(self.head("GET", "large")[:-10])
        self.until_let_go()

    def body_stops(self):
        self.tls()
        self.tcp.sendall(self.head("PUT", f"slow-{self.number}", 100_000) + b"x" * 5_000)
        self.until_let_go()

    def body_drips(self):
        self.tls()
        self.tcp.sendall(self.head("PUT", f"slow-{self.number}", 100_000))
        self.until_let_go(drip=b"x" * 50)

    def reader_stops(self):
        self.read(0)

    def reader_drips(self):
        self.read(50)

    def read(self, drip_bytes):
        """What a reader does not take hides the server's end from it: the kernel is asked whether the server still holds on."""
        self.tls(receive_bytes=8_192)
        self.tcp.sendall(self.head("GET", "large"))
        self.got += self.tcp.recv(1_000)
        assert self.got.startswith(b"HTTP/1.1 200"), self.got[:300]
        ours = self.tcp.getsockname()[1]
        self.since = time.monotonic()
        while is_held(self.server.base, ours):
            assert time.monotonic() < self.since + 90, "held for 90 s"
            if drip_bytes:
                self.got += self.tcp.recv(drip_bytes)
            time.sleep(DRIP_S)
        self.took = time.monotonic() - self.since
        try:
            while block := self.tcp.recv(1 << 20):
                self.got += block
        except OSError:
            pass
        assert len(self.got) < LARGE, "a reader that took nothing was given everything: it was never made to wait"


def is_held(port, remote_port):
    """Whether a connection to `port` is established on the server's side."""
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if int(local.split(":")[1], 16) == port and int(remote.split(":")[1], 16) == remote_port:
            return state == ESTABLISHED
    return False


@case(needs="own", alone=True, limit_s=300, evidence=True)
def slow_heads_bodies_and_readers_are_let_go_of_in_their_time_and_nobody_else_notices():
    seed, each = seed_of("slow"), evidence.length("TERROIR_SLOW_CLIENTS", 3, 10)
    window = WINDOW_S if evidence.at_full_length else SHORT_WINDOW_S
    due = {"says_nothing": HANDSHAKE_S, "half_a_hello": HANDSHAKE_S, "no_head": HEAD_S, "head_stops": HEAD_S, "head_drips": HEAD_S,
           "second_head_stops": HEAD_S, "body_stops": IDLE_S, "body_drips": window, "reader_stops": IDLE_S, "reader_drips": max(IDLE_S, window)}
    # A reader that stops holds two blobs in memory; all of them are not to use it up, which others would notice, and rightly.
    limits = f"body-rate-window-ms = {window * 1000}\nmemory-bytes-max = {1 << 30}"
    with servers.Scratch() as folder, Secure(folder / "tls", limits) as server:
        keys = with_a_tenant(server)
        bucket = bucket_at(server, keys)
        client = server.client(keys)
        load = Load(server, keys, bucket, seed)
        large = load.ledger.key(bucket, "large")
        large.possible = {large.trying(f"{seed}-large", LARGE)}
        assert client.put(bucket, "large", noise(f"{seed}-large", LARGE), mode="UNSIGNED-PAYLOAD").status == 200
        slow = [Slow(kind, f"{kind}-{number}", server, keys, bucket) for kind in due for number in range(each)]
        with load:
            load.until(40)
            for one in slow:
                one.start()
            for one in slow:
                one.join(120)
                assert not one.is_alive() and not one.wrong, one.wrong or f"{one.kind}: held on to"
            load.until(40)
        took = {kind: [one.took for one in slow if one.kind == kind] for kind in due}
        for kind, times in took.items():
            # A reader's drip may be seen as none at all, since buffers on the way take it.
            least = min(IDLE_S, due[kind]) if kind == "reader_drips" else due[kind]
            assert min(times) >= least - EARLY_S, f"{kind}: cut after {min(times):.1f} s; {least} s were allowed"
            assert max(times) <= due[kind] + LATE_S, f"{kind}: held for {max(times):.1f} s; {due[kind]} s were allowed"
        for one in slow:
            if one.kind.startswith("body"):
                assert one.got.split(b" ")[1:2] in ([b"400"], [b"408"]) and b"<Code>RequestTimeout</Code>" in one.got, (one.kind, one.got[:500])
            elif not one.kind.startswith("reader"):
                assert not one.got.startswith(b"HTTP/1.1 2"), (one.kind, one.got[:500])
        checked = load.ledger.verify(client, bucket)  # in which a slow writer's key would be one that nobody wrote
        load.check()
        assert not load.ledger.counts["broken"], load.ledger.codes
        deadline = time.monotonic() + 20
        while "\nterroir_memory_used_bytes 0\n" not in (page := server.said("/metrics")[1]):
            lines = [line for line in page.splitlines() if line.startswith("terroir_memory_used_bytes")]
            assert time.monotonic() < deadline, f"what slow clients took is not given back: {lines}"
            time.sleep(0.1)
        told = ", ".join(f"{kind.replace('_', ' ')} {max(times):.1f}" for kind, times in took.items())
        evidence.row("slow_heads_bodies_and_readers_are_let_go_of_in_their_time_and_nobody_else_notices", "clients that are slow, over TLS",
                     load.ledger, seed, unasked=("abroad",), slow_clients=len(slow), longest_until_let_go_s=told, window_of_the_least_rate_s=window,
                     slow_writes_accepted=0, memory_held_afterwards=0, keys_checked=checked)
        note(f"{len(slow)} slow clients; {told}; {load.ledger.counts['acknowledged']} others acknowledged")
