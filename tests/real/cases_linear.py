"""Conditional operations of many clients on few keys: is there an order that explains every answer, and one winner per race?

Each client sends its number of conditional operations (If-None-Match, If-Match); what it reads, deletes and overwrites between them
comes on top.
"""

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
CONDITIONAL = ("create", "swap")
MIX = (*["create"] * 3, *["swap"] * 5, "read", "delete", "write")
# A swap of a key whose ETag is not known is a read, and who is not heard asks again.
ASKED_MAX = 20


class Racer(threading.Thread):
    """One client. Asks any of `clients` (one per proxy) until `count` conditional operations were sent, remembers the last ETag it saw of
    each key, and notes everything."""

    def __init__(self, number, clients, bucket, history, seed, count):
        super().__init__(daemon=True)
        self.number, self.clients, self.bucket, self.history, self.count = number, clients, bucket, history, count
        self.chance = random.Random(f"{seed}-{number}")
        self.known, self.sent = {}, 0
        self.fault = None
        for client in clients:
            client.twice = False

    def run(self):
        try:
            for _ in range(ASKED_MAX * self.count + 1_000):
                if self.sent >= self.count:
                    return
                # A few keys get most of it: races are what this is for.
                key = int(KEYS * self.chance.random() ** 3)
                self.one(key, self.chance.choice(MIX))
            raise AssertionError(f"client {self.number} sent {self.sent} conditional operations of {self.count}")
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
        self.sent += kind in CONDITIONAL
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

    def sent(self, *kinds):
        with self.lock:
            return sum(count for name, count in self.counts.items() if name.split()[0] in kinds)

    def won(self, kind):
        return self.counts.get(f"{kind} 200", 0)

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


def raced(name, backend, clients_of, kills, seed):
    """`clients_of()`: one client per proxy; `kills`: what each leg but the last has in its middle, by name: kills something and brings it
    back."""
    history, each = History(), evidence.length("TERROIR_LINEAR_CONDITIONAL", 120, 2_000)
    bucket = bucket_of(clients_of()[0], "linear")
    sent, legs = dict.fromkeys(range(CLIENTS), 0), [*kills, None]
    for leg, kill in enumerate(legs):
        # What is left, by equal shares.
        share = -(-(each - min(sent.values())) // (len(legs) - leg))
        racers = [Racer(number, clients_of(), bucket, history, f"{seed}-{leg}", share) for number in range(CLIENTS)]
        goal = history.sent(*CONDITIONAL) + share * CLIENTS // 2
        for racer in racers:
            racer.start()
        if kill:
            while history.sent(*CONDITIONAL) < goal and any(racer.is_alive() for racer in racers):
                time.sleep(0.005)
            kill[1]()
        for racer in racers:
            racer.join(300)
            assert not racer.is_alive() and not racer.fault, racer.fault or "a client hangs"
            sent[racer.number] += racer.sent
    assert min(sent.values()) >= each, sent
    began = time.monotonic()
    contests, longest, unknown = history.judge()
    took = time.monotonic() - began
    conditional = history.sent(*CONDITIONAL)
    assert conditional == sum(sent.values()) and contests >= conditional // 50, f"{conditional} sent, {contests} races: {history.counts}"
    killed = ", ".join(f"{what} {count}" for what, count in counted(what for what, _ in kills))
    by_kind = {f"{kind}_({condition})": f"{history.sent(kind):,} sent, {history.won(kind):,} won"
               for kind, condition in (("create", "If-None-Match"), ("swap", "If-Match"))}
    unconditional = ", ".join(f"{kind} {history.sent(kind):,}" for kind in ("read", "delete", "write"))
    evidence.row(name, f"conditional races, {backend}", history.ledger, seed, unasked=("lost", "torn", "abroad"), clients=CLIENTS, keys=KEYS,
                 kills=killed, conditional_operations_sent=f"{conditional:,} (at least {min(sent.values()):,} by each client)", **by_kind,
                 unconditional_beside_them=unconditional, races=f"{contests:,}", winners_more_than_one=0, outcomes_unknown=unknown,
                 longest_history=longest, checked_in=f"{took:.1f} s")
    note(f"{backend}: {history.ledger.counts['operations']} operations, of them conditional {conditional}, at least {min(sent.values())} by each client "
         f"({by_kind}), beside them {unconditional}; killed: {killed}; {contests} races, {unknown} unknown, longest history {longest}, "
         f"checked in {took:.1f} s; {dict(sorted(history.counts.items()))}")


def counted(words):
    counts = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts.items()


@case(needs="own", limit_s=1_800, evidence=True)
def conditional_operations_on_an_embedded_index_are_linearizable():
    seed, kills = seed_of("linear"), evidence.length("TERROIR_LINEAR_KILLS", 2, 4)
    with Running() as server:
        region = next(iter(server.regions()))

        def killed():
            server.kill()
            server.start()

        raced("conditional_operations_on_an_embedded_index_are_linearizable", "one proxy, SQLite, killed between",
              lambda: [server.regions()[region]], [("proxy", killed)] * kills, seed)
