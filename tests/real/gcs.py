"""Google Cloud Storage for the cases: the strict double of tests/gcs_double as a process, and what the harness asks of it.

It speaks the JSON API and gRPC to the product's real driver, keeps its buckets in a folder, so that it can be killed and
started again, and makes the faults itself: no relay understands gRPC. The harness looks at it through the JSON API, aside:
what it asks is neither counted nor lied to.
"""

import contextlib
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import threading
import time
import urllib.parse

import evidence
import ports
from wire import Answer

READY_S = 60
ASIDE = {"x-double-aside": "1"}
LOCATION = "US-CENTRAL1"  # where regions/us.toml says that the bucket is
HOST = "storage.us-central1.rep.googleapis.com"  # the endpoint that it names
FLIPS = (3, 77, 190, 401, 2_003, 40_009)  # bytes, counted around, of which a bit is wrong: in headers, in sealed bytes, in tags


class Seen:
    """One request as it arrived; `fault`: what it met."""

    def __init__(self, told):
        self.call, self.method, self.path, self.fault, self.at = (told[name] for name in ("call", "method", "target", "fault", "at"))
        self.range, self.credential = told["range"], told["credential"] or ""


class GcsDouble:
    """One process with one bucket or several. Also the client of its contents, with the verbs of `wire.Client` that the harness uses."""

    kind = "gcs"

    def __init__(self, data_dir, address="127.0.0.1", port=None, prefix=(), tls=None, account=None, seed=1):
        """`address`, `port` and a command's `prefix`: for a network namespace. `tls`: paths of a CA, a certificate for the address, its
        key. `account`: a name and the path of its public key, whose tokens are demanded then; without it anybody is served."""
        self.data_dir, self.address, self.port = pathlib.Path(data_dir), address, port or ports.claim()
        self.tls = ssl.create_default_context(cafile=tls[0]) if tls else None
        self.endpoint = f"http{'s' if tls else ''}://{address}:{self.port}"
        self.child, self.local, self.earlier = None, threading.local(), []
        self.command = [*prefix, binary(), "--listen", f"{address}:{self.port}", "--folder", self.data_dir, "--seen-bytes-max", 0, "--seed", seed]
        if tls:
            self.command += ["--certificate", tls[1], "--private-key", tls[2]]
        if account:
            self.command += ["--trust-account", account[0], "--trust-key", account[1], "--demand-token"]

    # The process.

    def start(self):
        self.data_dir.mkdir(parents=True)
        self.revive()
        return self.wait_until_ready()

    def revive(self):
        """The same buckets, on the same port. Does not wait."""
        with open(f"{self.data_dir}.log", "ab") as log:
            # It ends with its standard input, and so with this process at the latest.
            self.child = subprocess.Popen(list(map(str, self.command)), stdin=subprocess.PIPE, stdout=log, stderr=log)

    def wait_until_ready(self):
        deadline = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/_double/state").status == 200:
                    return self
            if self.child.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"gcs-double is not ready:\n{pathlib.Path(f'{self.data_dir}.log').read_text()[-2_000:]}")
            time.sleep(0.05)

    @property
    def children(self):
        return [self.child]

    def kill(self):
        """SIGKILL; what it was asked so far is remembered here."""
        self.earlier = self.requests()
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        if self.child:
            self.child.stdin.close()

    # Its faults, and what it was asked: what cases demand of a `Liar`.

    def at_rate(self, share, faults, calls=("upload", "download")):
        """From now on this share of each of these calls meets one of `faults`, words such as `refuse=503`, by seeded chance."""
        self.honest()
        for call in calls:
            # They are tried one after the other, and each is to be met as often as the others.
            for number, fault in enumerate(faults):
                what, _, value = fault.partition("=")
                each = share / len(faults)
                per_mille = round(1_000 * each / (1 - number * each))
                self.told("POST", "fault", **{"on": call, "what": what, "per-mille": per_mille}, **({"value": value} if value else {}))

    def honest(self):
        self.told("POST", "heal")

    def reset(self):
        self.earlier, self.forgotten = [], len(self.asked(0))

    forgotten = 0

    def requests(self, *methods):
        """All since `reset`, of this life and of those before it."""
        seen = self.earlier + self.asked(0 if self.earlier else self.forgotten)
        return [one for one in seen if not methods or one.method in methods]

    def asked(self, first):
        return [Seen(one) for one in json.loads(self.told("GET", "requests", **{"from": first}).body)]

    def faults(self):
        """Kind → how many."""
        met = {}
        for seen in self.requests():
            if seen.fault:
                met[seen.fault] = met.get(seen.fault, 0) + 1
        return met

    def close(self):
        pass

    def told(self, method, command, **query):
        answer = self.ask(method, f"/_double/{command}", query)
        assert answer.status == 200, (command, query, answer, answer.body[:200])
        return answer

    # Its contents.

    def make_bucket(self, bucket):
        return self.told("PUT", "bucket", name=bucket, location=LOCATION)

    def get(self, bucket, name, byte_range=None):
        return self.ask("GET", resource(bucket, name), {"alt": "media"}, {"range": byte_range} if byte_range else {})

    def put(self, bucket, name, body):
        whole = b"--edge\r\n\r\n{}\r\n--edge\r\n\r\n" + body + b"\r\n--edge--"
        return self.ask("POST", f"/upload{resource(bucket)}", {"uploadType": "multipart", "name": name, "ifGenerationMatch": "0"},
                        {"content-type": "multipart/related; boundary=edge"}, whole)

    def delete(self, bucket, name):
        return self.ask("DELETE", resource(bucket, name))

    def list_all(self, bucket):
        """Names with their sizes and ETags, in order; and no prefixes, no pages."""
        found, token = [], ""
        while True:
            page = self.ask("GET", resource(bucket), {"pageToken": token})
            assert page.status == 200, page
            told = json.loads(page.body)
            found += [(one["name"], int(one["size"]), one["etag"]) for one in told["items"]]
            if not (token := told.get("nextPageToken", "")):
                return found, [], []

    def ask(self, method, path, query=None, headers=None, body=b""):
        """One request on this thread's own connection; again, if that was closed."""
        target = path + ("?" + urllib.parse.urlencode(query) if query else "")
        for again in (True, False):
            if getattr(self.local, "connection", None) is None:
                kind = http.client.HTTPSConnection if self.tls else http.client.HTTPConnection
                self.local.connection = kind(self.address, self.port, timeout=30, **({"context": self.tls} if self.tls else {}))
                again = False
            try:
                self.local.connection.request(method, target, body, {**ASIDE, **(headers or {})})
                reply = self.local.connection.getresponse()
                return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
            except (OSError, http.client.HTTPException):
                self.local.connection.close()
                self.local.connection = None
                if not again:
                    raise


def resource(bucket, name=None):
    return f"/storage/v1/b/{bucket}/o" + (f"/{urllib.parse.quote(name, safe='')}" if name else "")


def binary():
    """Cargo puts an example beside the binary that it is an example of."""
    path = pathlib.Path(os.environ["TERROIR_BIN"]).parent / "examples/gcs-double"
    assert os.access(path, os.X_OK), f"missing: {path} (cargo build --example gcs-double; a build of the tests brings it with it)"
    return path


def needed_of(double):
    """How many uploads and downloads would have done if none had failed."""
    return evidence.needed((seen.call == "upload", seen.path, seen.range, seen.fault, seen.at) for seen in double.requests()
                           if seen.call in ("upload", "download"))


def strangers(double, bucket, credentials=("",)):
    """What was asked by anybody else than the region's own proxy, or of another bucket, or in a way that Google's driver never asks."""
    for seen in double.requests():
        gcs = seen.call == "control" or (seen.call in ("upload", "download") and f"/b/{bucket}/" in seen.path)
        if not gcs or not any(seen.credential.startswith(known) if known else not seen.credential for known in credentials):
            yield f"{seen.method} {seen.path.split('?')[0]} by {seen.credential[:20] or 'nobody'}"
