"""SIGKILL at named points and at random moments, again and again under mixed writes, and what is then there.

The process of these cases serves both regions on local folders, so one kill ends both; the index is SQLite. After each
kill every key in doubt is read, after the last one every key there is, every blob that the index names, every blob's region.
"""

import random
import signal
import sqlite3
import time

import evidence
from cases import bucket_of, case, note, seed_of
from ledger import MIX, Ledger, Worker
from servers import Running, Terroir
from world import HEADER_BYTES, region_of

WORKERS = 6
NOT_REACHED_S = 6
SMALL_WRITES = ("small", "small", "small", "conditional", "delete", "multipart", "read")


class Killing:
    """One server, killed over and over; one ledger for all of it."""

    def __init__(self, server, seed, mix):
        self.server, self.seed, self.mix = server, seed, mix
        self.chance = random.Random(seed)
        self.ledger = Ledger()
        self.region, client = next(iter(server.regions().items()))
        self.abroad = next(region for region in server.regions() if region != self.region)
        self.bucket = bucket_of(client, "kill")
        self.foreign = bucket_of(server.regions()[self.abroad], "kill")
        self.flights, self.reached, self.missed, self.downs = [], {}, 0, []
        self.during_start = self.random_kills = 0

    def round(self, number, point):
        """Works until the process dies at `point` (or at a random moment, if None); starts it again; reads what is in doubt."""
        if point:
            self.server.stop()
            nth = self.chance.randrange(1, 40)
            if not self.armed(f"{point}:{nth}"):
                self.reached[point] = self.reached.get(point, 0) + 1
                self.during_start += 1
                self.again()
                return
        clients = self.server.regions()
        workers = [Worker(each, clients[self.region], self.bucket, self.ledger, f"{self.seed}-{number}", self.mix,
                          until_broken=True, pause_s=0) for each in range(WORKERS)]
        workers += [Worker("abroad", clients[self.abroad], self.foreign, self.ledger, f"{self.seed}-{number}", ("small", "read"),
                           until_broken=True, pause_s=0)]
        for worker in workers:
            worker.start()
        if point:
            self.wait_for_death(point)
        else:
            time.sleep(self.chance.uniform(0.02, 0.8))
            self.server.kill()
            self.random_kills += 1
        for worker in workers:
            worker.halt.set()
            worker.join(90)
            assert not worker.is_alive() and not worker.fault, worker.fault or "a worker hangs on a dead server"
        self.flights.append(sum(worker.in_flight for worker in workers))
        self.again()

    def armed(self, point):
        """Starts with a fail point; False if the process died of it while it started."""
        try:
            self.server.start({self.server.FAILPOINT_VARIABLE: point})
        except AssertionError:
            if self.server.child.poll() != -signal.SIGABRT:
                raise
            return False
        return True

    def wait_for_death(self, point):
        deadline = time.monotonic() + NOT_REACHED_S
        while self.server.child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if self.server.child.poll() is None:
            self.missed += 1
            self.server.kill()
            return
        assert self.server.child.returncode == -signal.SIGABRT, self.server.tail()
        self.reached[point] = self.reached.get(point, 0) + 1

    def again(self):
        began = time.monotonic()
        self.server.start()
        self.downs.append(time.monotonic() - began)
        client = self.server.regions()[self.region]
        for (bucket, name), key in list(self.ledger.keys.items()):
            if bucket == self.bucket and len(key.possible) > 1:
                answer = client.get(bucket, name)
                assert answer.status in (200, 404), f"{name} after a kill: {answer}"
                self.ledger.judge(key, answer)
        self.ledger.clean()

    def last_word(self):
        clients = self.server.regions()
        checked = self.ledger.verify(clients[self.region], self.bucket) + self.ledger.verify(clients[self.abroad], self.foreign)
        blobs = sum(self.strays(region) for region in clients)
        assert self.server.stop() == 0, self.server.tail()
        for region in clients:
            verified = self.server.verb("audit", "verify", region=region, check=False)
            assert verified.returncode == 0, verified.stderr
            self.index_agrees(region)
        self.ledger.clean()
        return checked, blobs

    def strays(self, region):
        """Every blob in a store is of its region."""
        looked = 0
        for path in self.server.folder(region, "store").rglob("*"):
            if is_blob(path) and path.is_file():
                looked += 1
                with open(path, "rb") as file:
                    if (found := region_of(file.read(HEADER_BYTES))) != region:
                        self.ledger.add("abroad", f"{path}: of {found}")
        return looked

    def index_agrees(self, region):
        """No version without bytes, no place in the order given twice: read from the index's own file, the product stopped."""
        index = self.server.folder(region, "index") / "index.sqlite3"
        rows = sqlite3.connect(f"file:{index}?mode=ro", uri=True)
        assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        files = {path.name: path.stat().st_size for path in self.server.folder(region, "store").rglob("*") if is_blob(path)}
        for blob, size in rows.execute("SELECT blob_id, stored_bytes FROM blobs"):
            if files.get(blob.hex()) != size:
                self.ledger.add("torn", f"the index names {size} bytes, the store has {files.get(blob.hex())}")
        count, distinct, last = rows.execute("SELECT COUNT(*), COUNT(DISTINCT seq), COALESCE(MAX(seq), 0) FROM versions").fetchone()
        assert count == distinct, f"{count - distinct} places in the order were given twice"
        assert last <= rows.execute("SELECT value FROM sequences WHERE name = 'commit'").fetchone()[0]
        rows.close()


def is_blob(path):
    """Under `temp` lie writes that were cut off: nothing names them."""
    return path.parent.name != "temp" and len(path.name) == 32 and all(letter in "0123456789abcdef" for letter in path.name)


def killed(name, fault, points, kills, share_at_random, mix=MIX):
    seed = seed_of("kill")
    with Running() as server:
        killing = Killing(server, seed, mix)
        random_kills = kills * share_at_random // 100
        plan = [None] * random_kills + [points[number % len(points)] for number in range(kills - random_kills)]
        killing.chance.shuffle(plan)
        for number, point in enumerate(plan):
            killing.round(number, point)
        checked, blobs = killing.last_word()
        flights, reached = killing.flights, killing.reached
        assert sum(flights) >= kills, f"too little was in flight to prove anything: {flights}"
        assert len(reached) >= min(len(points), len([point for point in plan if point])) * 3 // 4, f"few points were reached: {reached}"
        down = sorted(killing.downs)[len(killing.downs) // 2]
        in_flight = f"{sum(flights)} (at most {max(flights)} at one kill)"
        at = ", ".join(f"{point} {count}" for point, count in sorted(reached.items()))
        evidence.row(name, fault, killing.ledger, seed, None, down, kills=kills, at_random_moments=killing.random_kills,
                     at_fail_points=f"{sum(reached.values())} ({at})", points_armed_but_not_reached=killing.missed,
                     while_starting=killing.during_start, in_flight_when_killed=in_flight, keys_checked=checked, blobs_looked_at=blobs)
        note(f"{kills} kills, {killing.random_kills} at random, at points {reached}, not reached {killing.missed}, in flight {in_flight}, "
             f"{killing.ledger.counts['acknowledged']} acknowledged, median restart {down:.2f} s")


@case(needs="own", limit_s=3_000, evidence=True)
def a_proxy_killed_again_and_again_loses_and_tears_nothing():
    killed("a_proxy_killed_again_and_again_loses_and_tears_nothing", "proxy killed under mixed writes",
           Terroir.FAILPOINTS + Terroir.WRITE_FAILPOINTS, evidence.length("TERROIR_KILLS", 30, 200), share_at_random=40)


@case(needs="own", limit_s=900, evidence=True)
def an_embedded_index_killed_in_the_middle_of_a_commit_loses_nothing():
    killed("an_embedded_index_killed_in_the_middle_of_a_commit_loses_nothing", "index (SQLite) killed mid-commit",
           ("index-written", "index-committed"), evidence.length("TERROIR_INDEX_KILLS", 8, 40), share_at_random=0, mix=SMALL_WRITES)
