"""The independent model of the fault cases: what each key may hold, and workers that write, read and judge without a pause.

A worker owns its keys, so each key's history is one line. A write that was acknowledged makes its state the only possible
one; one that was answered with 5xx or broken off may have happened, so its state is possible beside the others; what was
refused with 4xx did not happen. A reading that finds a possible state makes it the only one. Every body is made from a seed
that no other write has, so a body that comes back says which write it was, or that it was none:

  lost   a state that was acknowledged is gone: an older one, or nothing, stands in its place
  torn   bytes that nobody wrote, of a length that nobody wrote to this key
  wrong  any other bytes that nobody wrote to this key, or another key's
"""

import hashlib
import random
import threading
import time
from xml.etree import ElementTree

from wire import Broken, noise

ABSENT = None
MIB = 1 << 20
PART = 5 * MIB
# Large ones are rare: they are most of the bytes, and a cut answer or a killed commit cares little for size.
MIX = (*["small"] * 7, *["medium"] * 2, *["conditional"] * 3, *["read"] * 7, *["range"] * 2, *["delete"] * 3, "multipart", "large")
SMALL_MIX = ("small", "small", "conditional", "read", "read", "read", "delete")


class Ledger:
    """Counts of one case, over all its workers."""

    COUNTS = ("operations", "acknowledged", "refused", "broken", "lost", "wrong", "torn", "abroad", "reads")

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = dict.fromkeys(self.COUNTS, 0)
        self.details, self.codes = [], {}
        self.keys = {}  # (bucket, key) → Key
        self.in_flight = 0

    def add(self, what, detail=None):
        with self.lock:
            self.counts[what] += 1
            if detail and len(self.details) < 20:
                self.details.append(f"{what}: {detail}")

    def code(self, answer):
        with self.lock:
            name = f"{answer.status} {answer.code or ''}".strip()
            self.codes[name] = self.codes.get(name, 0) + 1

    def key(self, bucket, key):
        with self.lock:
            return self.keys.setdefault((bucket, key), Key(key))

    def clean(self):
        """Raises if anything was lost, wrong, torn or abroad."""
        bad = {name: self.counts[name] for name in ("lost", "wrong", "torn", "abroad") if self.counts[name]}
        assert not bad, f"{bad}: {self.details}"

    def verify(self, client, bucket):
        """Reads every key of `bucket`, and the listing: the last word on what is there. Broken reads are tried again."""
        client.close()  # this thread's own connection may be one to a process that is no more
        listed = {key: size for key, size, _ in client.list_all(bucket)[0]}
        known = {key: state for (where, key), state in self.keys.items() if where == bucket}
        for key, state in sorted(known.items()):
            answer = patiently(client, "get", bucket, key)
            self.judge(state, answer)
            if answer.status == 200 and listed.get(key) != len(answer.body):
                self.add("wrong", f"{key}: listed with {listed.get(key)} bytes, has {len(answer.body)}")
            if answer.status == 404 and key in listed:
                self.add("wrong", f"{key}: listed and not there")
        for key in sorted(set(listed) - set(known)):
            self.add("wrong", f"{key}: listed, and nobody wrote it")
        return len(known)

    def judge(self, key, answer, span=None):
        """Compares an answer to a GET with what `key` may hold. Anything but 200, 206 and 404 says nothing."""
        if answer.status == 404:
            found = ABSENT
        elif answer.status == 200:
            found = digest(answer.body)
        elif answer.status == 206:
            return self.judge_range(key, answer, span)
        else:
            return
        self.add("reads")
        if found in key.possible:
            key.possible = {found}
        elif found in key.ever or found is ABSENT:
            self.add("lost", f"{key.name}: an acknowledged write is gone; there is {'nothing' if found is ABSENT else 'an older one'}")
        elif len(answer.body) in key.lengths:
            self.add("wrong", f"{key.name}: {len(answer.body)} bytes that nobody wrote")
        else:
            self.add("torn", f"{key.name}: {len(answer.body)} bytes, a length that nobody wrote")

    def judge_range(self, key, answer, span):
        first, last = span
        self.add("reads")
        wanted = [seed_and_size for state, seed_and_size in key.seeds.items() if state in key.possible]
        if not any(answer.body == noise(seed, size)[first:last + 1] for seed, size in wanted):
            self.add("wrong", f"{key.name}: bytes {first}-{last} are of no state that is possible")


class Key:
    def __init__(self, name):
        self.name = name
        self.possible, self.ever, self.lengths, self.seeds = {ABSENT}, set(), set(), {}
        self.etag = None  # of the state that was acknowledged last, if no write since is in doubt

    def trying(self, seed, size):
        state = digest(noise(seed, size))
        self.ever.add(state)
        self.lengths.add(size)
        self.seeds[state] = (seed, size)
        return state


class Worker(threading.Thread):
    """Works on its own keys until `halt`; goes on through errors unless `until_broken`, as when the server is killed."""

    def __init__(self, number, client, bucket, ledger, seed, mix=MIX, until_broken=False, keys=10, pause_s=0.02):
        super().__init__(daemon=True)
        self.number, self.client, self.bucket, self.ledger, self.mix = number, client, bucket, ledger, mix
        self.chance = random.Random(f"{seed}-{number}")
        self.keys, self.until_broken, self.pause_s = keys, until_broken, pause_s
        self.halt = threading.Event()
        self.in_flight, self.fault = False, None
        self.broke = None  # the last operation without an answer: (kind, when it was asked, when it broke), or None if nobody listened
        self.finished = 0
        client.twice = False

    def run(self):
        try:
            while not self.halt.is_set():
                key = self.ledger.key(self.bucket, f"w{self.number}/k{self.chance.randrange(self.keys)}")
                answered = self.one(key, self.chance.choice(self.mix))
                self.finished += 1
                if not answered and self.until_broken:
                    return
        except Exception as error:  # of the harness: the case must not take it for silence
            self.fault = error
            raise

    def one(self, key, kind):
        """One operation; False if the connection broke before its answer."""
        self.ledger.add("operations")
        self.in_flight, asked = True, time.monotonic()
        seed, size = f"{self.chance.random()}", self.size(kind)
        try:
            answer, state = getattr(self, f"do_{kind}", self.do_put)(key, seed, size)
        except (Broken, OSError, TimeoutError) as error:
            self.ledger.add("broken")
            refused = isinstance(error, ConnectionRefusedError) or isinstance(error.__cause__, ConnectionRefusedError)
            self.broke = None if refused else (kind, asked, time.monotonic())
            if isinstance(error, TimeoutError):
                self.fault = f"{key.name}: {kind} had no answer in time"
            self.client.close()
            self.halt.wait(self.pause_s)
            return False
        self.in_flight = False
        self.ledger.code(answer)
        if answer.status >= 500:
            self.ledger.add("refused")
            self.halt.wait(self.pause_s)
        elif answer.status < 300:
            self.ledger.add("acknowledged")
            if state is not READ:
                key.possible = {state}
                key.etag = answer.headers.get("etag") if state is not ABSENT else None
        elif kind in ("conditional", "multipart") and answer.status == 412:
            pass  # judged where it was sent
        elif not (kind in ("read", "range") and answer.status == 404):
            self.ledger.add("wrong", f"{key.name}: {kind}: {answer} {answer.body[:200]}")
        return True

    def size(self, kind):
        return {"small": self.chance.randrange(5_000), "medium": self.chance.randrange(MIB), "large": 9 * MIB,
                "multipart": 6 * MIB, "conditional": self.chance.randrange(5_000)}.get(kind, 0)

    def do_put(self, key, seed, size, **conditions):
        state = key.trying(seed, size)
        key.etag, doubted = None, key.possible
        key.possible = doubted | {state}
        answer = self.client.put(self.bucket, key.name, noise(seed, size), **conditions)
        if 400 <= answer.status < 500:
            key.possible = doubted
        return answer, state

    def do_conditional(self, key, seed, size):
        """If-Match on what was acknowledged last, or If-None-Match where nothing may be: both must win, and the opposite lose."""
        before = set(key.possible)
        if key.etag and self.chance.random() < 0.5:
            answer, state = self.do_put(key, seed, size, if_match=key.etag)
            if answer.status == 412:
                self.ledger.add("lost", f"{key.name}: its own ETag no longer matches")
        else:
            answer, state = self.do_put(key, seed, size, if_none_match="*")
            if answer.status == 412:
                if before == {ABSENT}:
                    self.ledger.add("wrong", f"{key.name}: nothing is there, and If-None-Match lost")
                key.possible = before - {ABSENT} or before
            elif answer.status == 200 and ABSENT not in before:
                self.ledger.add("lost", f"{key.name}: If-None-Match won over an acknowledged write")
        return answer, state

    def do_delete(self, key, _seed, _size):
        key.etag, key.possible = None, key.possible | {ABSENT}
        return self.client.delete(self.bucket, key.name), ABSENT

    def do_read(self, key, _seed, _size):
        answer = self.client.get(self.bucket, key.name)
        self.ledger.judge(key, answer)
        return answer, READ

    def do_range(self, key, _seed, _size):
        longest = max((key.seeds[state][1] for state in key.possible if state), default=0)
        if longest < 2:
            return self.do_read(key, _seed, _size)
        first = self.chance.randrange(longest // 2 + 1)
        last = min(first + self.chance.randrange(100_000), longest - 1)
        answer = self.client.get(self.bucket, key.name, f"bytes={first}-{last}")
        if answer.status == 416:  # of several states that are possible, the shorter one
            answer = self.client.get(self.bucket, key.name)
        self.ledger.judge(key, answer, (first, last))
        return answer, READ

    def do_multipart(self, key, seed, size):
        client, path, body = self.client, self.client.path(self.bucket, key.name), noise(seed, size)
        made = client.send("POST", path, query={"uploads": ""})
        if made.status != 200:
            return made, READ
        upload = text_of(made.body, "UploadId")
        parts = ""
        for number, start in enumerate(range(0, size, PART), 1):
            sent = client.send("PUT", path, query={"partNumber": str(number), "uploadId": upload}, body=body[start:start + PART],
                               mode="UNSIGNED-PAYLOAD")
            if sent.status != 200:
                return sent, READ
            parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{sent.headers['etag']}</ETag></Part>"
        state, key.etag = key.trying(seed, size), None
        key.possible = key.possible | {state}
        done = client.send("POST", path, query={"uploadId": upload},
                           body=f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode())
        if done.status == 200:
            if b"<Error>" in done.body:
                done.status = 503  # S3 begins its answer before it knows; so may others
            else:
                done.headers["etag"] = text_of(done.body, "ETag")
        return done, state


READ = object()
READS = ("read", "range")  # the kinds that change nothing


def text_of(body, name):
    return next(node.text for node in ElementTree.fromstring(body).iter() if node.tag.endswith("}" + name) or node.tag == name)


def digest(body):
    return ABSENT if body is ABSENT else hashlib.sha256(body).hexdigest()


def patiently(client, verb, *arguments, within_s=60):
    """The answer of a request once it is none of 5xx: what stands when the fault is over."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            answer = getattr(client, verb)(*arguments)
            if answer.status < 500:
                return answer
        except (Broken, OSError) as error:
            client.close()
            answer = error
        assert time.monotonic() < deadline, f"{verb} {arguments} still {answer} after {within_s} s"
        time.sleep(0.05)


def recovered_in(client, bucket, since, within_s=90):
    """Seconds from `since` until a PUT and a GET succeed again."""
    patiently(client, "put", bucket, "recovery", b"again", within_s=within_s)
    patiently(client, "get", bucket, "recovery", within_s=within_s)
    took = time.monotonic() - since
    patiently(client, "delete", bucket, "recovery")
    return took
