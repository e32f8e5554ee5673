"""Two regions on loopback, each with its own proxy, its own real S3 store and a relay between the two that can lie; or, where a
case wants it, the double of Google Cloud Storage, which lies itself.

Faults hit `home`; `abroad` works on beside it, and must neither notice nor hold anything of home's.
"""

import time
import zlib

import gcs
from cases import fresh
from gcs import GcsDouble
from ledger import Ledger, Worker, recovered_in
from liar import Liar
from scan import Scan
from servers import Scratch, SeaweedFs, Served
from wire import Client

HEADER_BYTES = 158  # docs/format.md, 2.1: a blob's clear header
MAGIC = bytes.fromhex("89544552524f4952")
REGION_AT = 31  # a slug: its length, then 16 bytes
STORE_BUCKET = "terroir-blobs"


class Side:
    """One region."""

    def __init__(self, region, folder, weed, seed, limits):
        self.region, self.weed, self.store = region, weed, weed.regions()[region]
        self.liar = Liar(self.store.port, seed=seed)
        self.served = Served(folder / f"proxy-{region}", self.store, self.liar.port, region=region, limits=limits)
        self.state = self.served.data_dir / "state"
        self.known_as = {self.store.access_key}  # at its own store; a rotation adds

    def strangers(self):
        return [seen.credential or "nobody" for seen in self.liar.requests() if seen.credential not in self.known_as]

    def begin(self):
        self.served.start()
        self.client = self.served.client()
        self.bucket = fresh(f"mark{self.region}bucket")
        assert self.client.make_bucket(self.bucket).status == 200
        self.liar.reset()
        return self

    def another_client(self):
        """The same access key, with connections of its own."""
        return Client(self.client.endpoint, self.client.region, self.client.access_key, self.client.secret_key)


class GoogleSide(Side):
    """One region on Google's driver. Its double is the store, what runs it, and what lies."""

    def __init__(self, region, folder, double, _seed, limits):
        self.region, self.weed, self.store, self.liar = region, double, double, double
        self.served = Served(folder / f"proxy-{region}", double, region=region, limits=limits)
        self.state = self.served.data_dir / "state"

    def strangers(self):
        return list(gcs.strangers(self.liar, STORE_BUCKET))


class World:
    """`on_google`: regions whose store is the double of Google Cloud Storage."""

    def __init__(self, seed, regions=("fr", "us"), limits="", before_start=None, on_google=()):
        self.seed, self.regions, self.limits, self.before_start, self.on_google = seed, regions, limits, before_start, on_google

    def __enter__(self):
        self.scratch = Scratch()
        self.folder = self.scratch.__enter__()
        self.sides, self.weeds = [], []
        try:
            for region in self.regions:
                folder, google = self.folder / f"store-{region}", region in self.on_google
                self.weeds.append(GcsDouble(folder, seed=zlib.crc32(self.seed.encode())) if google else SeaweedFs(folder, (region,)))
                self.weeds[-1].start()
                side = (GoogleSide if google else Side)(region, self.folder, self.weeds[-1], f"{self.seed}-{region}", self.limits)
                self.sides.append(side)
                if self.before_start:
                    self.before_start(side)
                side.begin()
            self.home, self.abroad = self.sides[0], self.sides[-1]
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for side in self.sides:
            if side.served.child and side.served.child.poll() is None:
                side.served.kill()
            side.liar.close()
        for weed in self.weeds:
            weed.stop()
        self.scratch.__exit__()

    def count_abroad(self, ledger):
        """Adds what lies in the wrong region: every blob's header is read, every request of the relays, every file of ours.

        The count proves itself: a blob of the one region that is put into the other's store must be found there.
        """
        looked = 0
        for side in self.sides:
            strays, count = strays_of(side)
            looked += count
            for stray in strays:
                ledger.add("abroad", stray)
            for stranger in side.strangers():
                ledger.add("abroad", f"a request of {stranger} at the store of {side.region}")
        self.control()
        for side in self.sides:
            for other in (other for other in self.sides if other is not side):
                scan = Scan([other.bucket])
                for folder in (side.state, side.weed.data_dir):
                    for hit in scan.under(folder):
                        ledger.add("abroad", f"{other.region}: {hit}")
                # Names are clear in the index of their own region, so the same search must find them there.
                assert scan.under(other.state / "index"), "the search for names is blind"
        return looked

    def control(self):
        if len(self.sides) < 2:
            return
        one, other = self.sides[:2]
        name = names_in(one)[0]
        body = one.store.get(STORE_BUCKET, name).body
        assert other.store.put(STORE_BUCKET, "blobs/control", body).status == 200
        found, _ = strays_of(other)
        other.store.delete(STORE_BUCKET, "blobs/control")
        assert any("blobs/control" in stray for stray in found), "a planted blob of another region was not found"


def names_in(side):
    """Names of blobs, from the store itself, not through relay or proxy."""
    return [name for name, _, _ in side.store.list_all(STORE_BUCKET)[0]]


def strays_of(side):
    """Blobs in the store of `side` that are not of its region, and how many were looked at."""
    strays, blobs = [], names_in(side)
    for name in blobs:
        head = side.store.get(STORE_BUCKET, name, f"bytes=0-{HEADER_BYTES - 1}").body
        if (region := region_of(head)) != side.region:
            strays.append(f"{name} of region {region!r} in the store of {side.region}")
    return strays, len(blobs)


def region_of(head):
    """The region that a blob's clear header names; None if it is no blob. The start-up probe's are records as well."""
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        return None
    length = head[REGION_AT]
    return head[REGION_AT + 1:REGION_AT + 1 + length].decode("ascii", "replace")


class Load:
    """Workers on one region for the length of a `with`; two by default on a region that only looks on."""

    def __init__(self, side, seed, workers=6, ledger=None, **options):
        self.side, self.ledger = side, ledger or Ledger()
        self.workers = [Worker(number, side.client, side.bucket, self.ledger, f"{seed}-{side.region}", **options)
                        for number in range(workers)]

    def __enter__(self):
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *exception):
        for worker in self.workers:
            worker.halt.set()
        for worker in self.workers:
            worker.join(90)
        self.ledger.in_flight += sum(worker.in_flight for worker in self.workers)
        if exception[0] is None:
            faults = [worker.fault for worker in self.workers if worker.fault]
            assert not faults, faults
            assert not any(worker.is_alive() for worker in self.workers), "a worker hangs"

    def until(self, what, count, within_s=120):
        """Waits until the ledger counts so many more of `what`."""
        goal, deadline = self.ledger.counts[what] + count, time.monotonic() + within_s
        while self.ledger.counts[what] < goal:
            assert time.monotonic() < deadline, f"only {self.ledger.counts} after {within_s} s"
            time.sleep(0.02)

    def begun_anew(self, within_s=120):
        """Waits until every operation that is under way now is over, and the one after it: what comes then began later."""
        goals, deadline = [(worker, worker.finished + 2) for worker in self.workers], time.monotonic() + within_s
        while any(worker.finished < goal for worker, goal in goals):
            assert time.monotonic() < deadline, f"a worker has no answer after {within_s} s"
            time.sleep(0.02)


def closing(world, load, beside, since=None):
    """What every fault case ends with: the fault is over; seconds to recovery; all keys of both regions; what is abroad."""
    took = recovered_in(world.home.client, world.home.bucket, since) if since is not None else None
    checked = load.ledger.verify(world.home.client, world.home.bucket)
    checked += beside.ledger.verify(world.abroad.client, world.abroad.bucket)
    blobs = world.count_abroad(load.ledger)
    load.ledger.clean()
    beside.ledger.clean()
    assert not beside.ledger.counts["refused"] and not beside.ledger.counts["broken"], f"the other region noticed: {beside.ledger.codes}"
    return took, checked, blobs
