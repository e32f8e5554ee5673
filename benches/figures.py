"""First figures, measured from outside, side by side, in one run: the bare store, terroir before it, terroir on a local disk.

    benches/figures.py --binary target/release/terroir [--seconds 6] [--rounds 3] [--only get4k,put4k,…]

Targets: `bare` (SeaweedFS, as a client sees it), `s3` (`terroir serve` whose store is that SeaweedFS), `fs` (`terroir dev`), `pg`
(`terroir serve` on a local folder with a PostgreSQL index, whose own CPU is not counted), and the peers of peers.py.
Rounds alternate the order of the targets; figures are medians over rounds. The driver runs on the same cores, so rates are for
comparing, not for sizing; CPU per request is the server process's own, from /proc. Everything raw goes to
benches/out/<time>.json: samples, order, machine load before each, commit. "Not reached" is an accepted result.

Rates of small requests come from `wrk` (Debian) on presigned URLs where it is installed, else from Python threads, and the
report says which. All load goes to 127.0.0.1 and is bounded in time.
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "real"))
sys.path.insert(0, str(ROOT / "benches"))

import peers  # noqa: E402
import servers  # noqa: E402
import steady  # noqa: E402
from relay import Relay  # noqa: E402
from wire import Client, noise  # noqa: E402

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SMALL, BIG, RANGE = 4 * KIB, 64 * MIB, 64 * KIB
CONNECTIONS = 16
KEYS = 400
TICK = os.sysconf("SC_CLK_TCK")

# What the project wants to reach: (figure, target) → text of the aim. Compared by eye, not enforced.
AIMS = {
    "get4k": "1: rate ≥ 0.60 of bare; CPU ≤ 120 µs (fs), ≤ 220 µs (s3)",
    "put4k": "2: rate ≥ 0.70 of bare; CPU ≤ 300 µs",
    "get64m": "4: rate ≥ 0.85 of bare; ≤ 1.0 CPU-s per GiB",
    "put64m": "5: rate ≥ 0.80 of bare; ≤ 2.0 CPU-s per GiB; memory within budget",
    "parts": "5: 8 × 8 MiB parts in parallel: as put64m",
    "range": "6: p50 ≤ 1.5 × bare; bytes fetched ÷ asked ≤ 2.01; exactly 1 store request per blob touched",
    "list": "7: 10,000 keys: faster than bare; 0 store requests; exact sizes",
    "head": "7: HEAD: 0 store requests",
    **steady.AIMS,
}


class Target:
    def __init__(self, name, client, pid, relay=None):
        self.name, self.client, self.pid, self.relay = name, client, pid, relay
        self.bucket = "figures-" + name
        self.observe = self.new_tenant = None  # of the product only

    def cpu_s(self):
        """User and system time of the process and all of its threads, in seconds."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def peak_mib(self):
        found = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{self.pid}/status").read_text())
        return int(found.group(1)) / 1024

    def reset_peak(self):
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")


# Each figure: prepare(target), then sample(target, seconds) → {"name": number}.

def prepare_small(target):
    body = noise("small", SMALL)
    for index in range(KEYS):
        assert target.client.put(target.bucket, f"s/{index}", body).status == 200


def get4k(target, seconds):
    urls = [target.client.presign("GET", target.bucket, f"s/{index}", seconds=3_600) for index in range(KEYS)]
    return drive(target, "GET", urls, None, seconds)


def put4k(target, seconds):
    urls = [target.client.presign("PUT", target.bucket, f"p/{index}", seconds=3_600) for index in range(4_000)]
    return drive(target, "PUT", urls, noise("put", SMALL), seconds)


def prepare_big(target):
    assert target.client.put(target.bucket, "big", noise("big", BIG), mode="UNSIGNED-PAYLOAD").status == 200


def get64m(target, seconds):
    return moved(target, seconds, lambda _: len(target.client.get(target.bucket, "big").body), threads=2)


def put64m(target, seconds):
    body = noise("put64m", BIG)

    def put(index):
        answer = target.client.put(target.bucket, f"b/{index % 4}", body, mode="UNSIGNED-PAYLOAD")
        assert answer.status == 200, answer
        return len(body)

    return moved(target, seconds, put, threads=2)


def parts(target, seconds):
    part, client = noise("part", 8 * MIB), target.client

    def upload(index):
        key = f"/{target.bucket}/m{index % 4}"
        started = client.send("POST", key, query={"uploads": ""})
        upload_id = re.search(rb"<UploadId>([^<]+)<", started.body).group(1).decode()

        def one(number):
            answer = client.send("PUT", key, query={"partNumber": str(number), "uploadId": upload_id}, body=part, mode="UNSIGNED-PAYLOAD")
            assert answer.status == 200, answer
            return number, answer.headers["etag"]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            tags = list(pool.map(one, range(1, 9)))
        listed = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in tags)
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        done = client.send("POST", key, query={"uploadId": upload_id}, body=body)
        assert done.status == 200 and done.code is None, done
        return 8 * len(part)

    return moved(target, seconds, upload, threads=1)


def range_(target, seconds):
    chance = random.Random("range")

    def one():
        start = chance.randrange(BIG - RANGE)
        answer = target.client.get(target.bucket, "big", f"bytes={start}-{start + RANGE - 1}")
        # rclone says 200 of a part of a file.
        assert answer.status in ((206, 200) if target.name == "crypt" else (206,)) and len(answer.body) == RANGE, answer

    return latency(target, seconds, one, asked_bytes=RANGE)


def prepare_list(target):
    have = len(target.client.list_all(target.bucket, prefix="l/")[0])
    if have < 10_000:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda index: target.client.put(target.bucket, f"l/{index:05}", b"x" * (index % 100)), range(10_000)))


def list_(target, seconds):
    def one():
        keys, _, _ = target.client.list_all(target.bucket, prefix="l/")
        assert [size for _, size, _ in keys] == [index % 100 for index in range(10_000)], "sizes are not exact"

    return latency(target, seconds, one)


def head(target, seconds):
    chance = random.Random("head")

    def one():
        answer = target.client.head(target.bucket, f"s/{chance.randrange(KEYS)}")
        assert answer.headers["content-length"] == str(SMALL), answer

    return latency(target, seconds, one)


FIGURES = {
    "get4k": (prepare_small, get4k),
    "put4k": (lambda target: None, put4k),
    "get64m": (prepare_big, get64m),
    "put64m": (lambda target: None, put64m),
    "parts": (lambda target: None, parts),
    "range": (prepare_big, range_),
    "list": (prepare_list, list_),
    "head": (prepare_small, head),
}



def as_tenant(target, name):
    """A client of a tenant made now, known to the running process."""
    client = Client(target.client.endpoint, target.client.region, *target.new_tenant(name))
    deadline = time.monotonic() + 10
    while client.send("GET", "/").status != 200:
        assert time.monotonic() < deadline, "a new access key was not known after 10 s"
        time.sleep(0.1)
    return client


def drive(target, method, urls, body, seconds):
    """Requests per second and CPU per request."""
    load = wrk if shutil.which("wrk") else threads
    before, start = target.cpu_s(), time.monotonic()
    count, errors = load(target, method, urls, body, seconds)
    took, cpu = time.monotonic() - start, target.cpu_s() - before
    assert count and not errors, f"{errors} errors among {count} requests"
    return {"per_second": count / took, "cpu_us_per_request": cpu / count * 1e6, "requests": count, "driver": load.__name__}


def wrk(target, method, urls, body, seconds):
    with tempfile.TemporaryDirectory() as folder:
        paths = pathlib.Path(folder, "paths")
        paths.write_text("\n".join(url.removeprefix(target.client.endpoint) for url in urls))
        script = pathlib.Path(folder, "load.lua")
        file = pathlib.Path(folder, "body")
        file.write_bytes(body or b"")
        script.write_text(f"""
local paths = {{}}
for line in io.lines("{paths}") do paths[#paths + 1] = line end
local file = io.open("{file}", "rb"); local body = file:read("*a"); file:close()
if #body == 0 then body = nil end
local at = 0
function request() at = at % #paths + 1; return wrk.format("{method}", paths[at], nil, body) end
function done(summary, latency, requests)
  io.write(string.format("COUNT %d %d\\n", summary.requests,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout))
end
""")
        done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script, target.client.endpoint],
                              capture_output=True, text=True, timeout=seconds + 60)
    found = re.search(r"COUNT (\d+) (\d+)", done.stdout)
    assert found, done.stdout + done.stderr
    return int(found.group(1)), int(found.group(2))


def threads(target, method, urls, body, seconds):
    """The same from Python: slower than any server, so only the CPU per request means something."""
    until = time.monotonic() + seconds

    def worker(number):
        count = errors = 0
        while time.monotonic() < until:
            path = urls[(number * 97 + count) % len(urls)].removeprefix(target.client.endpoint)
            headers = {"host": f"{target.client.host}:{target.client.port}", "content-length": str(len(body or b""))}
            answer = target.client.exchange(method, path, headers, [body] if body else [])
            count, errors = count + 1, errors + (answer.status != 200)
        return count, errors

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(worker, range(4)))
    return sum(count for count, _ in done), sum(errors for _, errors in done)


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
    return {"mib_per_second": total / MIB / took, "cpu_s_per_gib": cpu / (total / GIB), "peak_mib": target.peak_mib(), "bytes": total}


def latency(target, seconds, one, asked_bytes=None):
    """p50 and p99 of one connection, and what each operation cost at the store."""
    one()
    if target.relay:
        target.relay.reset()
    times, until = [], time.monotonic() + seconds
    while time.monotonic() < until or len(times) < 5:
        start = time.perf_counter()
        one()
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    result = {"p50_ms": times[len(times) // 2], "p99_ms": times[int(len(times) * 0.99)], "operations": len(times)}
    if target.relay:
        counts = target.relay.counts()
        result["store_requests_per_operation"] = sum(counts["requests"].values()) / len(times)
        if asked_bytes:
            result["bytes_fetched_per_asked"] = counts["from_store_bytes"] / (asked_bytes * len(times))
    return result


def with_steady():
    made = steady.Figures(drive, as_tenant)
    FIGURES.update(steady=(made.prepare_steady, made.steady), tenants=(made.prepare_tenants, made.tenants_), noise=(made.prepare_noise, made.noise))


def main():
    with_steady()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, help="a release build of terroir; without it, only the bare store")
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(FIGURES))
    parser.add_argument("--allow-debug", action="store_true", help="to try this script; such figures mean nothing")
    wanted = parser.parse_args()
    if wanted.binary:
        if "release" not in wanted.binary.resolve().parts and not wanted.allow_debug:
            parser.error("figures are taken from a release build")
        os.environ["TERROIR_BIN"] = str(wanted.binary.resolve())
    names = wanted.only.split(",")
    if unknown := set(names) - set(FIGURES):
        parser.error(f"no figure {unknown}; there are {', '.join(FIGURES)}")
    raw = {"machine": machine(), "commit": commit(), "seconds": wanted.seconds, "rounds": wanted.rounds, "samples": []}
    with servers.Scratch() as folder:
        running = []
        try:
            targets = start(folder, wanted.binary, running)
            for target in targets:
                assert target.client.make_bucket(target.bucket).status == 200
            for name in names:
                measure(name, targets, wanted, raw["samples"])
        finally:
            for server in reversed(running):
                server.stop()
    out = ROOT / "benches" / "out" / f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%SZ}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(raw, indent=1))
    report(names, raw["samples"])
    print(f"\nraw: {out.relative_to(ROOT)}")


def start(folder, binary, running):
    """The servers, and one target for each way to the data."""
    weed = servers.SeaweedFs(folder / "weed", ("only",))
    running.append(weed)
    store = weed.start().regions()["only"]
    targets = [Target("bare", store, weed.children[0].pid)]
    if binary:
        # The relay costs time, so it stands beside the direct way and is used for counting only.
        served = servers.Served(folder / "serve", store, store.port)
        running.append(served)
        served.start()
        targets.append(Target("s3", served.client(), served.child.pid))
        known_to(targets[-1], f"http://127.0.0.1:{served.base + 2}", lambda *words, **how: served.verb(*words, **how))
        dev = servers.Terroir(folder / "dev", log_level="warn")
        running.append(dev)
        dev.start()
        region, client = next(iter(dev.regions().items()))
        targets.append(Target("fs", Client(client.endpoint, region, client.access_key, client.secret_key), dev.child.pid))
        known_to(targets[-1], dev.credentials()["regions"][region]["observe"], lambda *words, **how: dev.verb(*words, region=region, **how))
        database = servers.Postgres(folder / "database").start()
        running.append(database)
        replica = servers.Served(folder / "replica", postgres=database)
        running.append(replica)
        replica.start()
        targets.append(Target("pg", replica.client(), replica.child.pid))
        relay = Relay(store.port)
        counted = servers.Served(folder / "counted", Client(store.endpoint, "us-east-1", store.access_key, store.secret_key), relay.port,
                                bucket="counted-blobs")
        running.append(counted)
        counted.start()
        targets.append(Target("s3-counted", counted.client(), counted.child.pid, relay))
    for peer in [kind(folder / kind.name) for kind in peers.installed()]:
        running.append(peer)
        peer.start(store)
        targets.append(Target(peer.name, peer.client(store), peer.child.pid))
    return targets


# What is measured of which targets; of all others all direct ones are.
ONLY = {"tenants": ("fs",), "noise": ("s3", "fs"), "list": ("bare", "s3", "fs", "pg"), "head": ("bare", "s3", "fs", "pg"),
        "steady": ("bare", "s3", "fs", "pg", "haproxy")}
COUNTED = ("range", "list", "head")


def known_to(target, observe, verb):
    """What the figures with tenants need: where the product counts, and how a tenant is made there."""

    def new_tenant(name):
        verb("tenant", "create", name, "--default-class", "operational")
        shown = verb("credential", "create", name, as_json=True)
        return shown["access_key"], shown["secret_key"]

    target.observe, target.new_tenant = observe, new_tenant


def measure(name, targets, wanted, samples):
    prepare, sample = FIGURES[name]
    only = ONLY.get(name, tuple(target.name for target in targets if target.relay is None))
    chosen = [target for target in targets if target.name in only or (target.relay and name in COUNTED)]
    for target in chosen:
        prepare(target)
    for target in chosen:
        sample(target, 1)  # warm
    for round_ in range(wanted.rounds):
        for order, target in enumerate(chosen if round_ % 2 == 0 else chosen[::-1]):
            load = os.getloadavg()[0]
            result = sample(target, wanted.seconds)
            samples.append({"figure": name, "target": target.name, "round": round_, "order": order, "load_before": load, **result})
            shown = ", ".join(f"{key} {value:.4g}" for key, value in result.items() if isinstance(value, float))
            print(f"{name:7} {target.name:10} round {round_}: {shown}", flush=True)


def report(names, samples):
    print("\nmedians")
    for name in names:
        print(f"\n{name}: aim {AIMS[name]}")
        of = {}
        for sample in samples:
            if sample["figure"] == name:
                for key, value in sample.items():
                    if isinstance(value, float) and key != "load_before":
                        of.setdefault(sample["target"], {}).setdefault(key, []).append(value)
        medians = {target: {key: statistics.median(values) for key, values in keys.items()} for target, keys in of.items()}
        for target, keys in medians.items():
            shown = ", ".join(f"{key} {value:.4g}" for key, value in keys.items())
            rate = next((key for key in ("per_second", "mib_per_second", "p50_ms") if key in keys), None)
            ratio = f"; {rate} is {keys[rate] / medians['bare'][rate]:.2f} × bare" if rate and target != "bare" and "bare" in medians else ""
            print(f"  {target:10} {shown}{ratio}")


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {"cores": os.cpu_count(), "cpu": cpu.group(1) if cpu else platform.machine(), "kernel": platform.release(), "load": os.getloadavg()}


def commit():
    run = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()  # noqa: E731
    return {"id": run("rev-parse", "HEAD"), "changed_files": len(run("status", "--porcelain").splitlines())}


if __name__ == "__main__":
    main()
