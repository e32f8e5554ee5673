"""The region `us` on Google's driver, and its store in trouble: it dies, freezes, fails, cuts off, flips bits; or the proxy dies while it
writes there. The siblings of cases_faults_store.py and cases_faults_kill.py; the double of Google Cloud Storage makes its faults itself.

Each case works on two regions; `fr`, on its own kind of store, must not notice.
"""

import random
import sqlite3
import time

import evidence
from cases import case, note, seed_of
from cases_faults_store import AMPLIFICATION_MAX, frozen, killed, told
from gcs import FLIPS, needed_of
from ledger import MIX, SMALL_MIX, Ledger, Worker
from world import STORE_BUCKET, Load, World, closing

WHERE = {"regions": ("us", "fr"), "on_google": ("us",)}
ERRORS = ("refuse=503", "refuse=429", "reset", "lose-answer")
CUTS = ("break-off=60", "break-off=4000", "shorten=1", "shorten=1000")
WORKERS = 6


@case(needs="own", limit_s=600, evidence=True)
def a_google_store_that_is_killed_loses_nothing_and_only_its_own_region_notices():
    killed("a_google_store_that_is_killed_loses_nothing_and_only_its_own_region_notices", "Google's double killed (SIGKILL) and restarted", **WHERE)


@case(needs="own", limit_s=600, evidence=True)
def a_google_store_that_freezes_loses_nothing_and_only_its_own_region_notices():
    frozen("a_google_store_that_freezes_loses_nothing_and_only_its_own_region_notices", "Google's double frozen (SIGSTOP)", **WHERE)


def lying(name, fault, faults, calls, at_least):
    """30 % of `calls` meet one of `faults`; each kind of them at least so often, or nothing is proven."""
    seed = seed_of("google-lies")
    with World(seed, **WHERE) as world:
        with Load(world.home, seed) as load, Load(world.abroad, seed, 1) as beside:
            load.until("acknowledged", 40)
            world.home.liar.at_rate(0.3, faults, calls)
            load.until("operations", evidence.length("TERROIR_LIES_OPERATIONS", 300, 2_000), within_s=400)
            world.home.liar.honest()
            since = time.monotonic()
        took, checked, blobs = closing(world, load, beside, since)
        met = world.home.liar.faults()
        kinds = {fault.partition("=")[0] for fault in faults}
        assert all(met.get(kind, 0) >= at_least for kind in kinds), f"too few lies to prove anything: {met}"
        told(name, fault, seed, load, took, lies=", ".join(f"{kind} {count}" for kind, count in sorted(met.items())),
             keys_checked=checked, blobs_looked_at=blobs)


@case(needs="own", limit_s=600, evidence=True)
def a_google_store_that_cuts_answers_off_never_makes_a_short_record():
    lying("a_google_store_that_cuts_answers_off_never_makes_a_short_record", "30 % of Google's answers cut off or shortened", CUTS, ("download",), 8)


@case(needs="own", limit_s=600, evidence=True)
def a_google_store_that_flips_bits_never_makes_a_wrong_record():
    lying("a_google_store_that_flips_bits_never_makes_a_wrong_record", "one bit flipped in 30 % of Google's answers and of the uploads to it",
          [f"flip={at}" for at in FLIPS], ("download", "upload"), 40)


@case(needs="own", alone=True, limit_s=600, evidence=True)
def a_google_store_of_thirty_percent_errors_is_asked_little_more_than_once():
    seed, errors = seed_of("google-errors"), evidence.length("TERROIR_STORE_ERROR_OPERATIONS", 1_200, 6_000)
    with World(seed, **WHERE) as world:
        double = world.home.liar
        with Load(world.home, seed, 8, mix=SMALL_MIX, pause_s=0) as load, Load(world.abroad, seed, 1) as beside:
            load.until("acknowledged", 40)
            double.reset()
            before = dict(load.ledger.counts)
            double.at_rate(0.3, ERRORS, ("upload", "download", "control"))
            load.until("operations", errors, within_s=400)
            double.honest()
            since = time.monotonic()
        arrived, needed = sum(seen.call in ("upload", "download") for seen in double.requests()), needed_of(double)
        took, checked, blobs = closing(world, load, beside, since)
        met, amplification = double.faults(), arrived / needed
        refused = load.ledger.counts["refused"] - before["refused"]
        assert sum(met.values()) >= errors // 10, f"too few errors to prove anything: {met}"
        assert amplification <= AMPLIFICATION_MAX, f"{arrived} requests at the store where {needed} would do: {amplification:.2f}"
        told("a_google_store_of_thirty_percent_errors_is_asked_little_more_than_once", "30 % of the calls to Google fail", seed, load, took,
             amplification, store_requests=arrived, errors=", ".join(f"{kind} {count}" for kind, count in sorted(met.items())),
             refused_share=f"{refused / errors:.0%}", keys_checked=checked, blobs_looked_at=blobs)


class Killing:
    """The proxy of a region on Google, killed over and over; one ledger for all of it."""

    def __init__(self, world, seed):
        self.side, self.seed, self.chance, self.ledger = world.home, seed, random.Random(seed), Ledger()
        self.flights, self.downs = [], []

    def round(self, number):
        """Works until the process is killed at a random moment; starts it again; reads what is in doubt."""
        side = self.side
        workers = [Worker(each, side.client, side.bucket, self.ledger, f"{self.seed}-{number}", MIX, until_broken=True, pause_s=0)
                   for each in range(WORKERS)]
        for worker in workers:
            worker.start()
        time.sleep(self.chance.uniform(0.02, 0.8))
        side.served.kill()
        for worker in workers:
            worker.halt.set()
            worker.join(90)
            assert not worker.is_alive() and not worker.fault, worker.fault or "a worker hangs on a dead proxy"
        self.flights.append(sum(worker.in_flight for worker in workers))
        began = time.monotonic()
        side.served.start()
        self.downs.append(time.monotonic() - began)
        side.client.close()
        for (_, name), key in list(self.ledger.keys.items()):
            if len(key.possible) > 1:
                answer = side.client.get(side.bucket, name)
                assert answer.status in (200, 404), f"{name} after a kill: {answer}"
                self.ledger.judge(key, answer)
        self.ledger.clean()

    def index_agrees(self):
        """No version without its bytes at Google, no place in the order given twice: read from the index's own file, the proxy stopped."""
        rows = sqlite3.connect(f"file:{self.side.state / 'index/index.sqlite3'}?mode=ro", uri=True)
        assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = {name.rpartition("/")[2]: size for name, size, _ in self.side.store.list_all(STORE_BUCKET)[0]}
        named = rows.execute("SELECT blob_id, stored_bytes FROM blobs").fetchall()
        for blob, size in named:
            if stored.get(blob.hex()) != size:
                self.ledger.add("torn", f"the index names {size} bytes, Google has {stored.get(blob.hex())}")
        count, distinct = rows.execute("SELECT COUNT(*), COUNT(DISTINCT seq) FROM versions").fetchone()
        rows.close()
        assert named and count == distinct, f"{len(named)} blobs, {count - distinct} places in the order were given twice"


@case(needs="own", limit_s=1_200, evidence=True)
def a_proxy_killed_while_it_writes_to_google_loses_and_tears_nothing():
    name, seed, kills = "a_proxy_killed_while_it_writes_to_google_loses_and_tears_nothing", seed_of("google-kill"), evidence.length("TERROIR_GOOGLE_KILLS", 8, 60)
    with World(seed, **WHERE) as world:
        killing = Killing(world, seed)
        with Load(world.abroad, seed, 1) as beside:
            for number in range(kills):
                killing.round(number)
        _, checked, blobs = closing(world, killing, beside)
        assert world.home.served.stop() == 0, world.home.served.tail()
        world.home.served.verb("audit", "verify")
        killing.index_agrees()
        killing.ledger.clean()
        assert sum(killing.flights) >= kills, f"too little was in flight to prove anything: {killing.flights}"
        down = sorted(killing.downs)[len(killing.downs) // 2]
        told(name, "proxy killed while it writes to Google's double", seed, killing, down, kills=kills,
             in_flight_when_killed=f"{sum(killing.flights)} (at most {max(killing.flights)} at one kill)", keys_checked=checked, blobs_looked_at=blobs)
        note(f"uploads {sum(seen.call == 'upload' for seen in world.home.liar.requests())}")
