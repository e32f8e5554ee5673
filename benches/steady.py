"""Figures at a fixed rate, 3 and 10: added latency at half capacity, a noisy neighbour.

The driver sends each request at its own moment, whatever became of the one before, and counts from that moment: a server that
stalls is charged for everybody who would have waited. Requests are presigned and ready as bytes, so that the driver costs
little. It runs before all others where the system lets it, since a real client has a processor of its own. How late it woke all
the same is told beside what it measured, and which share of the requests found every connection in use: those are late by what the
server owes, but a client with more connections would see less of it.
"""

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time

from load import SMALL, Wrk, drive, path_of
from wire import noise

CONNECTIONS = 32  # at 40 requests a second all are in use once each takes 800 ms
QUIET_PER_SECOND = 40
QUIET_S_MIN = 8  # a p99 of fewer than 300 requests is one of the three slowest
NOISY_CONNECTIONS = 64
KEYS = 200


class Steady:
    """Sends `requests` (bytes, in turn) at `per_second` for `seconds` over `connections`; latencies in ms from the due moment."""

    def __init__(self, client, requests, per_second, seconds, connections=CONNECTIONS):
        self.address, self.requests, self.per_second = (client.host, client.port), requests, per_second
        self.total, self.connections = int(per_second * seconds), connections
        self.lock, self.next, self.times, self.late, self.crowded, self.errors = threading.Lock(), 0, [], [], 0, 0

    def run(self):
        sys.setswitchinterval(0.0005)
        self.start = time.perf_counter() + 0.05
        workers = [threading.Thread(target=self.work) for _ in range(self.connections)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.times.sort()
        self.late.sort()
        assert len(self.times) == self.total, f"{len(self.times)} of {self.total} requests were sent"
        return {"p50_ms": at(self.times, 0.5), "p99_ms": at(self.times, 0.99), "max_ms": self.times[-1], "requests": self.total,
                "errors": self.errors, "driver_late_p99_ms": at(self.late, 0.99), "crowded": self.crowded / self.total, "driver": self.priority}

    def work(self):
        self.priority, sock = before_others(), None
        while True:
            with self.lock:
                number, self.next = self.next, self.next + 1
            if number >= self.total:
                break
            due = self.start + number / self.per_second
            if (pause := due - time.perf_counter()) > 0:
                time.sleep(pause)
                late = (time.perf_counter() - due) * 1e3
                with self.lock:
                    self.late.append(late)
            else:
                with self.lock:
                    self.crowded += 1
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


def at(ordered, share):
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def before_others():
    """Puts this thread, which sleeps nearly always, before those that work; how."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        return "real-time"
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -10)
        return "nice -10"
    return "as all others"


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
    path = path_of(client, client.presign(method, bucket, key, seconds=3_600))
    return f"{method} {path} HTTP/1.1\r\nhost: {client.host}:{client.port}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


class HalfCapacity:
    """3: at half the capacity of the slowest target, so that all do the same."""

    def __init__(self):
        self.capacities = {}

    def prepare(self, target):
        body = noise("small", SMALL)
        for index in range(KEYS):
            assert target.client.put(target.bucket, f"s/{index}", body).status == 200
        urls = [target.client.presign("GET", target.bucket, f"s/{index}", seconds=3_600) for index in range(KEYS)]
        self.capacities[target.name] = drive(target, "GET", urls, None, 3)["per_second"]

    def sample(self, target, seconds):
        rate = min(self.capacities.values()) / 2
        requests = [ready(target.client, "GET", target.bucket, f"s/{index}") for index in range(KEYS)]
        told = Steady(target.client, requests, rate, seconds).run()
        assert not told["errors"], f"{told['errors']} errors among {told['requests']} requests"
        return {**told, "per_second_asked": float(rate)}


class Neighbours:
    """10: a quiet tenant at a fixed rate, alone and beside a flood of another tenant. The store and the peers know no tenants; the same
    two loads on them tell what of it is the machine, which all share."""

    def __init__(self):
        self.clients, self.turn = {}, {}

    def prepare(self, target):
        body = noise("small", SMALL)
        pair = self.clients[target.name] = [(target.tenant(name), f"{name}-{target.name}") for name in ("quiet", "loud")]
        for client, bucket in pair:
            assert client.make_bucket(bucket).status == 200
            for index in range(100):
                assert client.put(bucket, f"s/{index}", body).status == 200

    def sample(self, target, seconds):
        (quiet, bucket), loud = self.clients[target.name]
        body = noise("put", SMALL)
        asked = [request for index in range(100) for request in (ready(quiet, "GET", bucket, f"s/{index}"),
                                                                 ready(quiet, "PUT", bucket, f"p/{index}", body))]
        turn = self.turn[target.name] = self.turn.get(target.name, 0) + 1
        order, told, flooded = ("alone", "beside")[::1 if turn % 2 else -1], {}, {}
        for name in order:
            steady = Steady(quiet, asked, QUIET_PER_SECOND, max(seconds, QUIET_S_MIN))
            told[name] = steady.run() if name == "alone" else beside(steady, *loud, flooded)
        shown = {f"{key}_{name}_ms": told[name][f"{key}_ms"] for name in told for key in ("p50", "p99", "max", "driver_late_p99")}
        crowded = {f"crowded_{name}": told[name]["crowded"] for name in told}
        return {**shown, **crowded, "p99_beside_per_alone": told["beside"]["p99_ms"] / told["alone"]["p99_ms"], "quiet_requests": told["alone"]["requests"],
                "quiet_errors_alone": told["alone"]["errors"], "quiet_errors_beside": told["beside"]["errors"], "driver": told["alone"]["driver"],
                "first": order[0], **flooded}


def beside(steady, client, bucket, flooded):
    """`steady` while another tenant writes and reads as fast as the server takes it, refusals and all."""
    asked = [f"{method} {path_of(client, client.presign(method, bucket, f'{prefix}/{index}', seconds=3_600))}"
             for index in range(100) for method, prefix in (("PUT", "f"), ("GET", "s"))]
    flood = Wrk(client, asked, noise("flood", SMALL), int(steady.total / steady.per_second) + 60, NOISY_CONNECTIONS)
    try:
        time.sleep(1)  # until it is one
        told = steady.run()
        assert flood.child.poll() is None, "the flood ended early"
        flood.child.send_signal(signal.SIGINT)  # it tells what it did and ends
        count, errors, _, took = flood.told()
    finally:
        flood.kill()
    flooded |= {"flood_per_second": (count - errors) / took, "flood_requests": count, "flood_refused": errors}
    # A flood that is refused as a whole is a test of refusing.
    assert flooded["flood_per_second"] >= 2 * QUIET_PER_SECOND, f"no flood: {count} requests, {errors} of them refused"
    return told
