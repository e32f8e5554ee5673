"""SIGKILL at named points and at random moments, again and again under mixed writes, and what is then there.

On SQLite the process serves both regions on local folders, so one kill ends both. On PostgreSQL it is one of two replicas; the other
works on beside it, and must not notice. After the last kill every key there is is read, every blob that the index names, every
blob's region.
"""

import functools
import sqlite3
import subprocess

import evidence
from cases import bucket_of, case, fresh, note, seed_of
from cases_faults_index import Behind, Replicas
from killing import WORKERS, Killing
from ledger import MIX
from servers import Running, Terroir
from world import HEADER_BYTES, Load, region_of

SMALL_WRITES = ("small", "small", "small", "conditional", "delete", "multipart", "read")
BESIDE_MIX = ("small", "small", "conditional", "read", "delete")
# Only SQLite's writer has the points within a commit: PostgreSQL commits in a process of its own.
SQLITE = ("index-written", "index-committed")


def is_blob(path):
    """Under `temp` lie writes that were cut off: nothing names them."""
    return path.parent.name != "temp" and len(path.name) == 32 and all(letter in "0123456789abcdef" for letter in path.name)


def sizes_in(store):
    return {path.name: path.stat().st_size for path in store.rglob("*") if is_blob(path)}


def strays(ledger, store, region):
    """Every blob in a store is of its region."""
    looked = 0
    for path in store.rglob("*"):
        if is_blob(path) and path.is_file():
            looked += 1
            with open(path, "rb") as file:
                if (found := region_of(file.read(HEADER_BYTES))) != region:
                    ledger.add("abroad", f"{path}: of {found}")
    return looked


def named_and_there(ledger, blobs, files):
    """No version without bytes. `blobs`: name and size of each that the index names."""
    for blob, size in blobs:
        if files.get(blob) != size:
            ledger.add("torn", f"the index names {size} bytes, the store has {files.get(blob)}")


def sqlite_agrees(ledger, server, region):
    """No version without bytes, no place in the order given twice: read from the index's own file, the product stopped."""
    rows = sqlite3.connect(f"file:{server.folder(region, 'index') / 'index.sqlite3'}?mode=ro", uri=True)
    assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    blobs = [(blob.hex(), size) for blob, size in rows.execute("SELECT blob_id, stored_bytes FROM blobs")]
    named_and_there(ledger, blobs, sizes_in(server.folder(region, "store")))
    count, distinct, last = rows.execute("SELECT COUNT(*), COUNT(DISTINCT seq), COALESCE(MAX(seq), 0) FROM versions").fetchone()
    assert count == distinct, f"{count - distinct} places in the order were given twice"
    assert last <= rows.execute("SELECT value FROM sequences WHERE name = 'commit'").fetchone()[0]
    rows.close()


def postgres_agrees(ledger, pair):
    """The same of PostgreSQL, asked by its own client."""
    def asked(question):
        done = subprocess.run(pair.postgres.program("psql", "-h", pair.postgres.data_dir, "-p", str(pair.postgres.port), "-U", "terroir", "-At", "-F", " ",
                                                    "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", question),
                              capture_output=True, text=True, cwd="/", timeout=60)
        assert done.returncode == 0, done.stderr
        return [line.split() for line in done.stdout.splitlines()]

    live = [(blob, int(size)) for blob, size in asked("SELECT encode(blob_id, 'hex'), stored_bytes FROM terroir_index.blobs WHERE due_ms IS NULL")]
    assert live, "no blob is named"
    named_and_there(ledger, live, sizes_in(pair.shared / "store"))
    (count, distinct, last), = asked("SELECT COUNT(*), COUNT(DISTINCT seq), COALESCE(MAX(seq), 0) FROM terroir_index.versions")
    assert count == distinct, f"{int(count) - int(distinct)} places in the order were given twice"
    assert int(last) <= int(asked("SELECT last_value FROM terroir_index.commit_order")[0][0])


def told(name, fault, killing, seed, checked, blobs, **facts):
    down, known = killing.facts()
    evidence.row(name, fault, killing.ledger, seed, None, down, **known, **facts, keys_checked=checked, blobs_looked_at=blobs)


def killed(name, fault, points, kills, at_random, mix=MIX):
    seed = seed_of("kill")
    with Running() as server:
        home, abroad = server.regions()
        buckets = {region: bucket_of(client, "kill") for region, client in server.regions().items()}
        clients = [(lambda: server.regions()[home], buckets[home], WORKERS, mix), (lambda: server.regions()[abroad], buckets[abroad], 1, ("small", "read"))]
        killing = Killing(server, clients, seed)
        killing.run(points, kills, at_random)
        ledger, regions = killing.ledger, server.regions()
        checked = sum(ledger.verify(client, buckets[region]) for region, client in regions.items())
        blobs = sum(strays(ledger, server.folder(region, "store"), region) for region in regions)
        assert server.stop() == 0, server.tail()
        for region in regions:
            server.verb("audit", "verify", region=region)
            sqlite_agrees(ledger, server, region)
        ledger.clean()
        told(name, fault, killing, seed, checked, blobs)


def killed_beside_another(name, fault, points, kills, at_random):
    """One of two replicas on one PostgreSQL, one store and one folder of root keys."""
    seed = seed_of("kill-replica")
    with Replicas() as pair:
        bucket, other = bucket_of(pair.client, "kill"), fresh("kill")
        assert pair.client.make_bucket(other).status == 200
        killing = Killing(pair.served[0], [(functools.partial(pair.client_of, 0), bucket, WORKERS, MIX)], seed)
        with Load(Behind(pair.client_of(1), other), f"{seed}-beside", 2, mix=BESIDE_MIX) as beside:
            killing.run(points, kills, at_random)
        ledger, noticed = killing.ledger, beside.ledger
        assert not noticed.counts["refused"] and not noticed.counts["broken"], f"the other replica noticed: {noticed.codes} {noticed.counts}"
        assert noticed.counts["acknowledged"] > kills, noticed.counts
        # Each replica reads what the other wrote.
        checked = ledger.verify(pair.client_of(1), bucket) + noticed.verify(pair.client_of(0), other)
        blobs = strays(ledger, pair.shared / "store", pair.region)
        pair.logs_hold()
        postgres_agrees(ledger, pair)
        ledger.clean()
        noticed.clean()
        note(f"the other replica: {noticed.counts['acknowledged']} acknowledged")
        told(name, fault, killing, seed, checked, blobs, acknowledged_meanwhile_by_the_other_replica=noticed.counts["acknowledged"],
             refused_or_broken_there=0)


@case(needs="own", limit_s=3_000, evidence=True)
def a_proxy_killed_again_and_again_loses_and_tears_nothing():
    name, points = "a_proxy_killed_again_and_again_loses_and_tears_nothing", Terroir.FAILPOINTS + Terroir.WRITE_FAILPOINTS
    kills = evidence.length("TERROIR_KILLS", 24, 200)
    killed(name, "proxy killed under mixed writes, SQLite", points, kills, kills * 2 // 5)
    kills = evidence.length("TERROIR_REPLICA_KILLS", 10, 200)
    killed_beside_another(name, "proxy killed under mixed writes, one of two replicas on PostgreSQL",
                          [point for point in points if point not in SQLITE], kills, kills * 2 // 5)


@case(needs="own", limit_s=900, evidence=True)
def an_embedded_index_killed_in_the_middle_of_a_commit_loses_nothing():
    killed("an_embedded_index_killed_in_the_middle_of_a_commit_loses_nothing", "index (SQLite) killed mid-commit", SQLITE,
           evidence.length("TERROIR_INDEX_KILLS", 8, 40), 0, mix=SMALL_WRITES)
