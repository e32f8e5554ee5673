"""Two replicas of one region on one PostgreSQL: the index dies under them, they die under it, and they race each other."""

import time

import evidence
from cases import bucket_of, case, fresh, note, seed_of
from cases_linear import raced
from ledger import MIX, recovered_in
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


@case(needs="own", limit_s=600, evidence=True)
def a_postgres_killed_under_two_replicas_loses_nothing():
    seed, kills = seed_of("postgres-killed"), evidence.length("TERROIR_POSTGRES_KILLS", 3, 20)
    with Replicas() as pair:
        bucket, other = bucket_of(pair.client, "index"), fresh("index")
        assert pair.client.make_bucket(other).status == 200
        clients, downs = [pair.client_of(0), pair.client_of(1)], []
        with Load(Behind(clients[0], bucket), seed, 4, mix=MIX) as load, \
                Load(Behind(clients[1], other), f"{seed}-b", 4, load.ledger, mix=MIX) as _:
            load.until("acknowledged", 60)
            for _ in range(kills):
                pair.postgres.kill()
                load.until("refused", 8)
                pair.postgres.revive()
                since = time.monotonic()
                pair.postgres.wait_until_ready()
                for replica in (0, 1):
                    recovered_in(pair.client_of(replica), (bucket, other)[replica], since)
                downs.append(time.monotonic() - since)
                load.until("acknowledged", 30)
        # Each replica reads what the other wrote.
        checked = load.ledger.verify(pair.client_of(1), bucket) + load.ledger.verify(pair.client_of(0), other)
        blobs = pair.strays(load.ledger)
        load.ledger.clean()
        assert not [code for code in load.ledger.codes if code.startswith("5") and not code.startswith("503")], load.ledger.codes
        pair.logs_hold()
        evidence.row("a_postgres_killed_under_two_replicas_loses_nothing", "index (PostgreSQL) killed (SIGKILL) and restarted, two replicas",
                     load.ledger, seed, None, max(downs), kills=kills, keys_checked=checked, blobs_looked_at=blobs)
        note(f"{kills} kills, {load.ledger.counts['acknowledged']} acknowledged, {load.ledger.counts['refused']} refused, "
             f"recovered in {', '.join(f'{one:.1f}' for one in downs)} s")


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
