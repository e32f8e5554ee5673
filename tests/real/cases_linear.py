"""Conditional operations of many clients on few keys: is there an order that explains every answer, and one winner per race?"""

import random
import threading
import time

import evidence
import linear
from cases import bucket_of, case, note, seed_of
from ledger import Ledger
from servers import Running
from wire import Broken, Client

CLIENTS, KEYS = 8, 20
KILLS = 2


class Racer(threading.Thread):
    """One client. Asks any of `clients` (one per proxy), remembers the last ETag it saw of each key, and notes everything."""

    def __init__(self, number, clients, bucket, history, seed, count):
        super().__init__(daemon=True)
        self.number, self.clients, self.bucket, self.history, self.count = number, clients, bucket, history, count
        self.chance = random.Random(f"{seed}-{number}")
        self.known = {}
        self.fault = None
        for client in clients:
            client.twice = False

    def run(self):
        try:
            for _ in range(self.count):
                # A few keys get most of it: races are what this is for.
                key = int(KEYS * self.chance.random() ** 3)
                self.one(key, self.chance.choice(("create", "create", "swap", "swap", "swap", "read", "read", "delete", "write")))
        except Exception as error:
            self.fault = error
            raise

    def one(self, key, kind):
        etag, expects = self.known.get(key, (None, None))
        if kind == "swap" and not etag:
            kind = "read"
        value = self.history.number() if kind in ("create", "swap", "write") else None
        client, name, ok, answer = self.chance.choice(self.clients), f"k{key}", None, None
        asked = time.monotonic_ns()
        try:
            if kind == "read":
                answer = client.get(self.bucket, name)
            elif kind == "delete":
                answer = client.delete(self.bucket, name)
            else:
                condition = {"create": {"if_none_match": "*"}, "swap": {"if_match": etag}}.get(kind, {})
                answer = client.put(self.bucket, name, b"%d" % value, **condition)
        except (Broken, OSError) as error:
            client.close()
            time.sleep(0.02)
            if isinstance(error.__cause__, ConnectionRefusedError):
                return  # nobody heard it
        answered = time.monotonic_ns()
        if answer is not None and answer.status >= 500:
            time.sleep(0.2)  # each outcome that nobody knows doubles what the checker searches
        status = answer.status if answer else 0
        self.history.count(kind, answer)
        if kind == "read":
            if status in (200, 404):
                ok, value = True, int(answer.body) if status == 200 else linear.NOTHING
        elif status in (200, 204):
            ok = True
        elif status == 412 or (kind == "swap" and status == 404):
            ok = False
        elif status == 409:
            return  # S3: a conflict, nothing was done, try again
        elif status and status < 500:
            raise AssertionError(f"{kind} {name}: {answer} {answer.body[:200]}")
        self.remember(key, kind, ok, value, answer)
        self.history.add(key, linear.Operation(kind, asked, answered, ok, value, expects if kind == "swap" else None, self.number))

    def remember(self, key, kind, ok, value, answer):
        if ok and kind in ("create", "swap", "write") or (ok and kind == "read" and value):
            self.known[key] = (answer.headers["etag"], value)
            self.history.same(value, answer.headers["etag"])
        elif ok is False or kind == "delete" or (kind == "read" and ok):
            if self.chance.random() < 0.7:  # else: race on with an ETag that is old
                self.known.pop(key, None)


class History:
    def __init__(self):
        self.lock, self.last = threading.Lock(), 0
        self.keys, self.etags, self.counts = {key: [] for key in range(KEYS)}, {}, {}
        self.ledger = Ledger()

    def number(self):
        with self.lock:
            self.last += 1
            return self.last

    def add(self, key, operation):
        with self.lock:
            self.keys[key].append(operation)

    def count(self, kind, answer):
        self.ledger.add("operations")
        self.ledger.add("broken" if answer is None else "refused" if answer.status >= 500 else "acknowledged")
        with self.lock:
            name = f"{kind} {answer.status if answer else 'broken'}"
            self.counts[name] = self.counts.get(name, 0) + 1

    def same(self, value, etag):
        """One ETag for one write, whoever tells it."""
        with self.lock:
            if self.etags.setdefault(value, etag) != etag:
                raise AssertionError(f"write {value} has two ETags")

    def judge(self):
        """(races, longest, unknown): or raises with the smallest part of a history that has no order."""
        contests = unknown = 0
        for key, operations in sorted(self.keys.items()):
            unknown += sum(one.ok is None for one in operations)
            for state, won, lost in linear.races(operations):
                contests += 1
                assert won <= 1, f"k{key}: {won} of {won + lost} swaps of write {state} won"
            if linear.check(operations) is None:
                self.ledger.add("wrong", f"k{key}: no order explains {len(operations)} operations: {shortest(operations)}")
        self.ledger.clean()
        return contests, max(map(len, self.keys.values())), unknown


def shortest(operations):
    """The shortest beginning, by answers, that no order explains: what a person can look at."""
    known = sorted(operations, key=lambda one: one.answered)
    low, high = 0, len(known)
    while low < high:
        middle = (low + high) // 2
        cut = known[middle].answered
        begun = [one if one.answered <= cut else linear.Operation(one.kind, one.asked, one.answered, None, one.value, one.expects, one.who)
                 for one in operations if one.asked <= cut]
        low, high = (low, middle) if linear.check(begun) is None else (middle + 1, high)
    return known[max(low - 12, 0):low + 1]


def raced(name, backend, clients_of, killed, seed):
    """`clients_of()`: one client per proxy; `killed(number)` kills and restores one of them, or the index."""
    history, operations = History(), evidence.length("TERROIR_LINEAR_OPERATIONS", 2_000, 16_000)
    bucket = bucket_of(clients_of()[0], "linear")
    share = operations // CLIENTS // (KILLS + 1)
    for leg in range(KILLS + 1):
        racers = [Racer(number, clients_of(), bucket, history, f"{seed}-{leg}", share) for number in range(CLIENTS)]
        for racer in racers:
            racer.start()
        if leg < KILLS:
            goal = history.ledger.counts["operations"] + share * CLIENTS // 2
            while history.ledger.counts["operations"] < goal and any(racer.is_alive() for racer in racers):
                time.sleep(0.005)
            killed(leg)
        for racer in racers:
            racer.join(300)
            assert not racer.is_alive() and not racer.fault, racer.fault or "a client hangs"
    began = time.monotonic()
    contests, longest, unknown = history.judge()
    took = time.monotonic() - began
    won = history.counts.get("swap 200", 0) + history.counts.get("create 200", 0)
    assert contests >= operations // 100, f"only {contests} races: {history.counts}"
    evidence.row(name, f"conditional races, {backend}", history.ledger, seed, unasked=("lost", "torn", "abroad"), clients=CLIENTS, keys=KEYS, kills=KILLS,
                 races=contests, winners_more_than_one=0, conditional_writes_that_won=won,
                 outcomes_unknown=unknown, longest_history=longest, checked_in=f"{took:.1f} s")
    note(f"{backend}: {history.ledger.counts['operations']} operations, {contests} races, {won} won, {unknown} unknown, "
         f"checked in {took:.1f} s; {dict(sorted(history.counts.items()))}")


@case(needs="own", limit_s=900, evidence=True)
def conditional_operations_on_an_embedded_index_are_linearizable():
    seed = seed_of("linear")
    with Running() as server:
        region = next(iter(server.regions()))

        def killed(_leg):
            server.kill()
            server.start()

        raced("conditional_operations_on_an_embedded_index_are_linearizable", "one proxy, SQLite, killed between",
              lambda: [server.regions()[region]], killed, seed)
