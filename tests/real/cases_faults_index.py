"""Two replicas of one region on one PostgreSQL: the index dies under them, they die under it, and they race each other."""

import contextlib
import os
import pathlib
import signal
import time

import evidence
from cases import bucket_of, case, fresh, note, seed_of
from cases_linear import raced
from health import Watch
from ledger import MIX, patiently, recovered_in
from servers import Postgres, Scratch, Served
from wire import Client
from world import HEADER_BYTES, Load, region_of


class Replicas:
    """`count` processes of region fr with one index, one key store, one store and one folder of root keys; an audit log each."""

    def __init__(self, count=2):
        self.count = count

    def __enter__(self):
        self.scratch, self.served = Scratch(), []
        folder = self.scratch.__enter__()
        self.postgres = Postgres(folder / "postgres")
        try:
            self.postgres.start()
            self.shared = folder / "shared"
            for number in range(self.count):
                self.served.append(Served(folder / f"replica-{number}", shared=self.shared, postgres=self.postgres).start())
            self.client = self.served[0].client()
            self.region = self.client.region
            for replica in range(1, self.count):
                deadline = time.monotonic() + 10
                while self.client_of(replica).send("GET", "/").status != 200:
                    assert time.monotonic() < deadline, "a replica does not learn of a new access key"
                    time.sleep(0.1)
            return self
        except BaseException:
            self.__exit__()
            raise

    def client_of(self, replica):
        served = self.served[replica]
        return Client(f"http://127.0.0.1:{served.base}", self.region, self.client.access_key, self.client.secret_key)

    def __exit__(self, *_):
        for served in self.served:
            if served.child and served.child.poll() is None:
                served.kill()
        self.postgres.stop()
        self.scratch.__exit__()

    def strays(self, ledger):
        looked = 0
        for path in (self.shared / "store").rglob("*"):
            if path.is_file() and path.parent.name != "temp" and len(path.name) == 32:
                looked += 1
                with open(path, "rb") as file:
                    if (found := region_of(file.read(HEADER_BYTES))) != self.region:
                        ledger.add("abroad", f"{path}: of {found}")
        return looked

    def logs_hold(self):
        for served in self.served:
            assert served.stop() == 0, served.tail()
            served.verb("audit", "verify")


class Behind:
    """What `Load` needs: one replica as a region's side."""

    def __init__(self, client, bucket):
        self.region, self.client, self.bucket = client.region, client, bucket


NOT_READY = ("region fr is not ready", "the index does not answer")


class Abroad:
    """The other region, on a local folder and an index of its own."""

    def __init__(self, folder, seed):
        self.served = Served(folder / "abroad", region="us").start()
        self.client = self.served.client()
        self.region, self.bucket = "us", bucket_of(self.client, "abroad")
        self.load, self.watch = Load(self, seed, 1), Watch(self.served.base)

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.stack.callback(self.served.kill)
        self.stack.enter_context(self.watch)
        self.stack.enter_context(self.load)
        return self

    def __exit__(self, *exception):
        self.stack.__exit__(*exception)
        if exception[0] is None:
            counts = self.load.ledger.counts
            assert counts["acknowledged"] and not counts["refused"] and not counts["broken"], f"the other region noticed: {self.load.ledger.codes}"
            assert not self.watch.not_ready(), f"the other region was not ready: {self.watch.not_ready()[:3]}"
            self.load.ledger.clean()


@case(needs="own", limit_s=600, evidence=True)
def a_postgres_killed_under_two_replicas_loses_nothing():
    seed, kills = seed_of("postgres-killed"), evidence.length("TERROIR_POSTGRES_KILLS", 3, 20)
    with Replicas() as pair:
        bucket, other = bucket_of(pair.client, "index"), fresh("index")
        assert pair.client.make_bucket(other).status == 200
        clients, downs, unready, ready = [pair.client_of(0), pair.client_of(1)], [], [], []
        with Abroad(pair.scratch.path, seed) as abroad, Watch(pair.served[0].base) as first, Watch(pair.served[1].base) as second, \
                Load(Behind(clients[0], bucket), seed, 4, mix=MIX) as load, \
                Load(Behind(clients[1], other), f"{seed}-b", 4, load.ledger, mix=MIX) as _:
            load.until("acknowledged", 60)
            for _ in range(kills):
                assert all(watch.until(200) >= 0 for watch in (first, second))
                pair.postgres.kill()
                killed = time.monotonic()
                for watch in (first, second):
                    watch.until(503, *NOT_READY)
                unready.append(time.monotonic() - killed)
                load.until("refused", 8)
                pair.postgres.revive()
                since = time.monotonic()
                pair.postgres.wait_until_ready()
                for replica in (0, 1):
                    recovered_in(pair.client_of(replica), (bucket, other)[replica], since)
                downs.append(time.monotonic() - since)
                for watch in (first, second):
                    watch.until(200, "region fr is ready")
                ready.append(time.monotonic() - since)
                load.until("acknowledged", 30)
        for watch in (first, second):
            assert all(NOT_READY[0] in text and NOT_READY[1] in text for text in watch.not_ready()), watch.not_ready()
        # Each replica reads what the other wrote.
        checked = load.ledger.verify(pair.client_of(1), bucket) + load.ledger.verify(pair.client_of(0), other)
        blobs = pair.strays(load.ledger)
        load.ledger.clean()
        assert not [code for code in load.ledger.codes if code.startswith("5") and not code.startswith("503")], load.ledger.codes
        pair.logs_hold()
        evidence.row("a_postgres_killed_under_two_replicas_loses_nothing", "index (PostgreSQL) killed (SIGKILL) and restarted, two replicas",
                     load.ledger, seed, None, max(downs), kills=kills, not_ready_and_told_within_s=f"{max(unready):.1f}",
                     ready_again_within_s=f"{max(ready):.1f}", live_not_200=0, slowest_live_ms=f"{1000 * max(first.slowest_s, second.slowest_s):.0f}",
                     other_region_not_ready=0, keys_checked=checked, blobs_looked_at=blobs)
        note(f"{kills} kills, {load.ledger.counts['acknowledged']} acknowledged, {load.ledger.counts['refused']} refused, "
             f"recovered in {', '.join(f'{one:.1f}' for one in downs)} s, not ready within {', '.join(f'{one:.1f}' for one in unready)} s, ready again "
             f"within {', '.join(f'{one:.1f}' for one in ready)} s; {first.told()}; abroad {abroad.load.ledger.counts['acknowledged']} acknowledged, "
             f"{abroad.watch.told()}")


@case(needs="own", alone=True, limit_s=120)
def an_index_that_freezes_is_told_by_ready_and_not_by_live():
    """SIGSTOP: its connections stay, and nobody answers."""
    with Replicas(1) as one:
        bucket = bucket_of(one.client, "index")
        with Watch(one.served[0].base) as watch:
            assert one.client.put(bucket, "k", b"before").status == 200
            watch.until(200)
            with frozen(one.postgres):
                unready = watch.until(503, *NOT_READY)
            ready = watch.until(200)
            assert patiently(one.client, "get", bucket, "k").body == b"before"
            assert patiently(one.client, "put", bucket, "k", b"after").status == 200
        assert all(NOT_READY[1] in text for text in watch.not_ready()), watch.not_ready()
        one.logs_hold()
        note(f"not ready after {unready:.1f} s, ready again after {ready:.1f} s; {watch.told()}")


@contextlib.contextmanager
def frozen(postgres):
    children = pathlib.Path(f"/proc/{postgres.child.pid}/task/{postgres.child.pid}/children").read_text().split()
    processes = (postgres.child.pid, *map(int, children))
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@case(needs="own", limit_s=1_800, evidence=True)
def conditional_operations_through_two_replicas_are_linearizable():
    seed, rounds = seed_of("linear-two"), evidence.length("TERROIR_LINEAR_ROUNDS", 1, 2)
    with Replicas() as pair:

        def index_killed():
            pair.postgres.kill()
            pair.postgres.revive().wait_until_ready()

        def replica_killed(number):
            pair.served[number].kill()
            pair.served[number].start()

        kills = [("replica 1", lambda: replica_killed(0)), ("PostgreSQL", index_killed), ("replica 2", lambda: replica_killed(1))]
        raced("conditional_operations_through_two_replicas_are_linearizable",
              "two replicas on one PostgreSQL, each replica and the index killed", lambda: [pair.client_of(0), pair.client_of(1)],
              kills * rounds, seed)
        pair.logs_hold()
