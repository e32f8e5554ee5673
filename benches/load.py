"""The drivers: as many requests as a target takes, whole transfers, one request after the other. Each refuses to tell a figure of what
did not happen: answers that are no success, bytes that did not come, a process that took no CPU time.

Rates of small requests come from `wrk` (Debian) on presigned URLs where it is installed, else from Python threads; the sample says which.
All load goes to 127.0.0.1 and is bounded in time.
"""

import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

from wire import noise

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SMALL = 4 * KIB
CONNECTIONS = 16

# What every script of wrk has in common: requests in turn, each a method and a path; what came of them as one line.
SCRIPT = """
local asked = {{}}
for line in io.lines("{folder}/asked") do
  local method, path = line:match("^(%u+) (.*)$")
  asked[#asked + 1] = {{ method, path }}
end
local file = io.open("{folder}/body", "rb"); local body = file:read("*a"); file:close()
local at = 0
function request()
  at = at % #asked + 1
  return wrk.format(asked[at][1], asked[at][2], nil, asked[at][1] == "PUT" and body or nil)
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("COUNT %d %d %d %d\\n", summary.requests, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    summary.bytes, summary.duration))
end
"""


class Wrk:
    """A `wrk` that sends `asked` ("GET /path?query", in turn) to `client`'s endpoint: a process of its own, since threads of this one
    would share its interpreter with whatever else is measured."""

    def __init__(self, client, asked, body, seconds, connections=CONNECTIONS):
        assert shutil.which("wrk"), "missing: the Debian package wrk"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="terroir-wrk-"))
        (self.folder / "asked").write_text("\n".join(asked))
        (self.folder / "body").write_bytes(body or b"")
        (self.folder / "load.lua").write_text(SCRIPT.format(folder=self.folder))
        self.limit_s = seconds + 60
        self.child = subprocess.Popen(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(self.folder / "load.lua"), client.endpoint],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def told(self):
        """Waits for its end: requests, errors (any status of 400 or more counted), bytes received, seconds."""
        try:
            said, _ = self.child.communicate(timeout=self.limit_s)
        finally:
            self.kill()
        found = re.search(r"COUNT (\d+) (\d+) (\d+) (\d+)", said)
        assert found, said
        count, errors, received, micros = map(int, found.groups())
        return count, errors, received, micros / 1e6

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def path_of(client, url):
    return url.removeprefix(client.endpoint)


def drive(target, method, urls, body, seconds):
    """Requests per second and CPU per request."""
    load = wrk if shutil.which("wrk") else threads
    before, start = target.cpu_s(), time.monotonic()
    count, errors, received = load(target, method, urls, body, seconds)
    took, cpu = time.monotonic() - start, target.cpu_s() - before
    assert count and not errors, f"{errors} errors among {count} requests"
    # A redirect is no error to wrk, and brings no record.
    assert method != "GET" or received >= count * SMALL, f"{received} bytes came of {count} records of {SMALL}"
    assert cpu > 0, "the process that should have answered took no CPU time"
    return {"per_second": count / took, "cpu_us_per_request": cpu / count * 1e6, "requests": count, "driver": load.__name__}


def wrk(target, method, urls, body, seconds):
    return Wrk(target.client, [f"{method} {path_of(target.client, url)}" for url in urls], body, seconds).told()[:3]


def threads(target, method, urls, body, seconds):
    """The same from Python: slower than any server, so only the CPU per request means something."""
    until = time.monotonic() + seconds

    def worker(number):
        count = errors = received = 0
        while time.monotonic() < until:
            path = path_of(target.client, urls[(number * 97 + count) % len(urls)])
            headers = {"host": f"{target.client.host}:{target.client.port}", "content-length": str(len(body or b""))}
            answer = target.client.exchange(method, path, headers, [body] if body else [])
            count, errors, received = count + 1, errors + (answer.status != 200), received + len(answer.body)
        return count, errors, received

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return tuple(map(sum, zip(*pool.map(worker, range(4)))))


def moved(target, seconds, one, threads):
    """MiB per second, CPU seconds per GiB, peak memory, over whole transfers."""
    target.reset_peak()
    before, start = target.cpu_s(), time.monotonic()
    until = start + seconds

    def worker(number):
        total = index = 0
        while time.monotonic() < until:
            total += one(number * 2 + index % 2)
            index += 1
        return total

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(worker, range(threads)))
    took, cpu = time.monotonic() - start, target.cpu_s() - before
    assert cpu > 0, "the process that should have moved it took no CPU time"
    return {"mib_per_second": total / MIB / took, "cpu_s_per_gib": cpu / (total / GIB), "peak_mib": target.peak_mib(), "bytes": total}


def latency(target, seconds, one):
    """p50 and p99 of one connection, and what each operation cost at the store. `one` returns how many bytes it asked of how many blobs."""
    one()
    if target.relay:
        target.relay.reset()
    times, asked, blobs, until = [], 0, 0, time.monotonic() + seconds
    while time.monotonic() < until or len(times) < 3:
        start = time.perf_counter()
        bytes_, touched = one()
        times.append((time.perf_counter() - start) * 1e3)
        asked, blobs = asked + bytes_, blobs + touched
    times.sort()
    result = {"p50_ms": times[len(times) // 2], "p99_ms": times[int(len(times) * 0.99)], "operations": len(times)}
    if target.relay:
        counts = target.relay.counts()
        requests = sum(counts["requests"].values())
        result |= {"store_requests": requests, "store_requests_per_operation": requests / len(times)}
        if asked:
            result |= {"bytes_fetched_per_asked": counts["from_store_bytes"] / asked, "store_requests_per_blob": requests / blobs, "blobs_touched": blobs}
            assert counts["from_store_bytes"] >= asked, "the relay saw less than was read through it"
        sees(target)
    return result


def sees(target):
    """That the relay counts what it is there to count: none seen is a figure only then."""
    target.relay.reset()
    body = noise("control", SMALL)
    assert target.client.put(target.bucket, "control", body).status == 200 and target.client.get(target.bucket, "control").body == body
    counts = target.relay.counts()
    assert counts["requests"].get("PUT", 0) >= 1 and counts["requests"].get("GET", 0) >= 1, f"the relay does not count: {counts}"
