"""Figures at a fixed rate: added latency at half capacity, a thousand tenants, a noisy neighbour.

The driver sends each request at its own moment, whatever became of the one before, and counts from that moment: a server that
stalls is charged for everybody who would have waited. Requests are presigned and ready as bytes, so that the driver costs
little; what it costs is in every target's figure alike.
"""

import concurrent.futures
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

from wire import noise

KIB = 1 << 10
SMALL = 4 * KIB
TENANTS = int(os.environ.get("TERROIR_BENCH_TENANTS", 1_000))
CLASSES = ("operational", "personal", "health")
QUIET_PER_SECOND = 40
NOISY_CONNECTIONS = 64


class Steady:
    """Sends `requests` (bytes, in turn) at `per_second` for `seconds` over `connections`; latencies in ms from the due moment."""

    def __init__(self, client, requests, per_second, seconds, connections=8):
        self.address, self.requests, self.per_second = (client.host, client.port), requests, per_second
        self.total, self.connections = int(per_second * seconds), connections
        self.lock, self.next, self.times, self.errors = threading.Lock(), 0, [], 0

    def run(self):
        self.start = time.perf_counter() + 0.05
        workers = [threading.Thread(target=self.work) for _ in range(self.connections)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.times.sort()
        at = lambda share: self.times[min(int(len(self.times) * share), len(self.times) - 1)]  # noqa: E731
        return {"p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0), "requests": len(self.times), "errors": self.errors}

    def work(self):
        sock = None
        while True:
            with self.lock:
                number, self.next = self.next, self.next + 1
            if number >= self.total:
                break
            due = self.start + number / self.per_second
            if (pause := due - time.perf_counter()) > 0:
                time.sleep(pause)
            try:
                sock = sock or self.connected()
                good = exchange(sock, self.requests[number % len(self.requests)])
            except OSError:
                good, sock = False, None
            took = (time.perf_counter() - due) * 1e3
            with self.lock:
                self.times.append(took)
                self.errors += not good
        if sock:
            sock.close()

    def connected(self):
        sock = socket.create_connection(self.address, 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


def exchange(sock, request):
    """Sends and reads one answer; whether it was a success."""
    sock.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        if not (block := sock.recv(65_536)):
            raise OSError("closed")
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head, re.I)
    left = int(found.group(1)) - len(body) if found else 0
    while left > 0:
        if not (block := sock.recv(65_536)):
            raise OSError("closed")
        left -= len(block)
    return head.split(b" ", 2)[1].startswith(b"2")


def ready(client, method, bucket, key, body=b""):
    """A presigned request as bytes."""
    path = client.presign(method, bucket, key, seconds=3_600).removeprefix(client.endpoint)
    return f"{method} {path} HTTP/1.1\r\nhost: {client.host}:{client.port}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


class Figures:
    """Figures 3, 9 and 10. `drive` is the unbounded driver of figures.py; `as_tenant(target, name)` a client of a tenant made now."""

    def __init__(self, drive, as_tenant):
        self.drive, self.as_tenant = drive, as_tenant
        self.capacities, self.tenants, self.turn = {}, {}, 0

    # 3: at half the capacity of the slowest target, so that all do the same.

    def prepare_steady(self, target):
        body = noise("small", SMALL)
        for index in range(200):
            assert target.client.put(target.bucket, f"s/{index}", body).status == 200
        urls = [target.client.presign("GET", target.bucket, f"s/{index}", seconds=3_600) for index in range(200)]
        self.capacities[target.name] = self.drive(target, "GET", urls, None, 3)["per_second"]

    def steady(self, target, seconds):
        rate = min(self.capacities.values()) / 2
        requests = [ready(target.client, "GET", target.bucket, f"s/{index}") for index in range(200)]
        return {**Steady(target.client, requests, rate, seconds).run(), "per_second_asked": float(rate)}

    # 9: the same rate of work, by one tenant or by a thousand, each in three classes.

    def prepare_tenants(self, target):
        body, self.calls_before = noise("small", SMALL), kms_calls(target)

        def one(number):
            client = self.as_tenant(target, f"tenant-{number:04}")
            bucket = f"tenant-{number:04}"
            assert client.make_bucket(bucket).status == 200
            for name in CLASSES:
                assert client.put(bucket, name, body, x_amz_meta_terroir_class=name).status == 200
            return [client.presign("GET", bucket, name, seconds=3_600) for name in CLASSES]

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            urls = list(pool.map(one, range(TENANTS)))
        one_bucket = [target.client.put(target.bucket, f"c/{index}", body) for index in range(3 * TENANTS)]
        assert all(answer.status == 200 for answer in one_bucket)
        self.tenants[target.name] = ([target.client.presign("GET", target.bucket, f"c/{index}", seconds=3_600) for index in range(3 * TENANTS)],
                                     [url for three in urls for url in three])

    def tenants_(self, target, seconds):
        single, many = self.tenants[target.name]
        self.turn += 1
        rates = {}
        for name, urls in (("one", single), ("many", many))[::1 if self.turn % 2 else -1]:
            rates[name] = self.drive(target, "GET", urls, None, seconds)["per_second"]
        return {"per_second_one_tenant": rates["one"], "per_second_all_tenants": rates["many"], "all_per_one": rates["many"] / rates["one"],
                "kms_calls": kms_calls(target) - self.calls_before, "keks": TENANTS * len(CLASSES) + 1, "tenants": TENANTS, "first": "one" if self.turn % 2 else "many"}

    # 10: a quiet tenant at a fixed rate, alone and beside a flood of another tenant.

    def prepare_noise(self, target):
        body = noise("small", SMALL)
        self.quiet, self.loud = self.as_tenant(target, "quiet"), self.as_tenant(target, "loud")
        for client, bucket in ((self.quiet, "quiet"), (self.loud, "loud")):
            assert client.make_bucket(bucket).status == 200
            for index in range(100):
                assert client.put(bucket, f"s/{index}", body).status == 200
        self.tenants[target.name, "noise"] = (self.quiet, self.loud)

    def noise(self, target, seconds):
        quiet, loud = self.tenants[target.name, "noise"]
        body = noise("put", SMALL)
        asked = [request for index in range(100) for request in (ready(quiet, "GET", "quiet", f"s/{index}"),
                                                                 ready(quiet, "PUT", "quiet", f"p/{index}", body))]
        self.turn += 1
        told = {}
        for name in ("alone", "beside")[::1 if self.turn % 2 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                flood = self.flood(loud, seconds + 10, pathlib.Path(folder)) if name == "beside" else None
                if flood:
                    time.sleep(1)  # until it is one
                told[name] = Steady(quiet, asked, QUIET_PER_SECOND, seconds).run()
                if flood:
                    assert flood.poll() is None, "the flood ended early"
                    flood.kill()
                    flood.wait()
        return {"p99_alone_ms": told["alone"]["p99_ms"], "p99_beside_ms": told["beside"]["p99_ms"],
                "p99_beside_per_alone": told["beside"]["p99_ms"] / told["alone"]["p99_ms"],
                "quiet_errors": told["alone"]["errors"] + told["beside"]["errors"], "first": "alone" if self.turn % 2 else "beside"}

    def flood(self, client, seconds, folder):
        """Small writes and reads as fast as the server takes them, refusals and all: a process of its own, since threads of this one
        would share its interpreter with the quiet tenant's and slow that down themselves."""
        path = lambda method, key: client.presign(method, "loud", key, seconds=3_600).removeprefix(client.endpoint)  # noqa: E731
        asked = [line for index in range(100) for line in (f"PUT {path('PUT', f'f/{index}')}", f"GET {path('GET', f's/{index}')}")]
        (folder / "asked").write_text("\n".join(asked))
        (folder / "body").write_bytes(noise("flood", SMALL))
        (folder / "load.lua").write_text(f"""
local asked = {{}}
for line in io.lines("{folder}/asked") do asked[#asked + 1] = {{ line:sub(1, 3), line:sub(5) }} end
local file = io.open("{folder}/body", "rb"); local body = file:read("*a"); file:close()
local at = 0
function request() at = at % #asked + 1; return wrk.format(asked[at][1], asked[at][2], nil, asked[at][1] == "PUT" and body or nil) end
""")
        return subprocess.Popen(["wrk", "-t1", f"-c{NOISY_CONNECTIONS}", f"-d{seconds}s", "-s", str(folder / "load.lua"), client.endpoint],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kms_calls(target):
    """Calls to the key service, as the product itself counts them on its observe listener; all verbs and outcomes."""
    with urllib.request.urlopen(target.observe + "/metrics") as reply:
        text = reply.read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("terroir_key_calls_total{"))


AIMS = {
    "steady": "3: added latency at half capacity, over bare: p50 ≤ 0.35 ms, p99 ≤ 2 ms",
    "tenants": "9: 1,000 tenants × 3 classes: ≥ 0.9 of one tenant; ≤ 1 KMS call per KEK, TTL and replica",
    "noise": "10: the quiet tenant's p99 beside a flood ≤ 2 × its own, 0 errors",
}
