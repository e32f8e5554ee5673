"""The verbs of the command line against a running proxy: credentials, `where`, `check`, `audit verify`."""

import os
import random
import subprocess
import time

from cases import bucket_of, case, note, seed_of
from cases_corruption import as_key
from servers import Running, Scratch
from wire import Client

OBEYED_S = 5


@case()
def a_disabled_credential_is_refused_within_five_seconds(site):
    for region, client in site.regions().items():
        bucket = bucket_of(client, "obey")
        made = as_key(client, *site.new_credential(client.tenant, region))
        assert made.put(bucket, "k", b"x").status == 200
        started = time.monotonic()
        site.verb("credential", "disable", made.access_key, region=region)
        while (answer := made.get(bucket, "k")).status == 200:
            assert time.monotonic() - started < OBEYED_S, f"still obeyed after {OBEYED_S} s"
            time.sleep(0.05)
        assert (answer.status, answer.code) == (403, "InvalidAccessKeyId"), answer
        note(f"{region}: {time.monotonic() - started:.1f} s")
        assert client.get(bucket, "k").status == 200, "the tenant's other key works on"


@case()
def a_rotated_credential_works_beside_the_old_one(site):
    for region, client in site.regions().items():
        first = as_key(client, *site.new_credential(client.tenant, region))
        shown = site.verb("credential", "rotate", first.access_key, region=region, as_json=True)
        second = as_key(client, shown["access_key"], shown["secret_key"])
        assert second.access_key != first.access_key and first.send("GET", "/").status == 200
        listed = site.verb("credential", "list", client.tenant, region=region).stdout
        assert first.access_key in listed and second.access_key in listed
        for secret in (first.secret_key, second.secret_key):
            assert secret not in listed
            assert secret not in site.verb("credential", "show", second.access_key, region=region).stdout


@case()
def a_key_id_says_its_region_and_a_forged_one_opens_nothing(site):
    for region, client in site.regions().items():
        for other in site.regions().values():
            if other.region != region:
                forged = Client(client.endpoint, region, other.access_key, other.secret_key)
                assert forged.send("GET", "/").status == 301
        tenants = site.verb("tenant", "list", region=region).stdout
        assert client.tenant in tenants and client.tenant in site.verb("tenant", "show", client.tenant, region=region).stdout
        assert site.verb("tenant", "show", "no-such-tenant", region=region, check=False).returncode != 0
        assert site.verb("tenant", "create", client.tenant, region=region, check=False).returncode != 0


@case()
def where_names_every_trace_of_a_record_and_only_in_its_region(site):
    for region, client in site.regions().items():
        bucket = bucket_of(client, "trace")
        client.put(bucket, "dir/record", b"x" * 100_000)
        said = site.verb("where", f"s3://{bucket}/dir/record", region=region).stdout
        for word in ("blob", "index", "key", "audit", region):
            assert word in said.lower(), f"{word!r} not in:\n{said}"
        blobs = [path.name for path in site.folder(region, "store").rglob("*") if path.is_file() and len(path.name) == 32]
        assert any(name in said for name in blobs), f"none of the store's blobs is named in:\n{said}"
        assert site.verb("where", f"s3://{bucket}/absent", region=region, check=False).returncode != 0


@case(needs="own")
def check_accepts_the_built_in_catalogue_and_reports_every_fault_of_a_broken_one():
    binary = os.environ["TERROIR_BIN"]
    good = subprocess.run([binary, "check"], capture_output=True, text=True, timeout=60)
    assert good.returncode == 0, good.stdout + good.stderr
    with Scratch() as folder:
        (folder / "register").mkdir()
        (folder / "xx.toml").write_text('id = "yy"\nsurprise = 1\n')
        (folder / "register" / "bad.toml").write_text("not toml at all [")
        bad = subprocess.run([binary, "check", "--regions", str(folder)], capture_output=True, text=True, timeout=60)
        assert bad.returncode == 78, bad
        said = bad.stdout + bad.stderr
        assert "xx.toml:" in said and "bad.toml:" in said, f"not every file with its line in:\n{said}"


def copies_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@case(needs="own", limit_s=400)
def audit_verify_finds_a_changed_removed_or_reordered_record():
    chance = random.Random(seed_of("audit"))
    with Running() as server:
        region, client = next(iter(server.regions().items()))
        bucket = bucket_of(client, "audit")
        for index in range(15):
            client.put(bucket, f"k{index}", b"x")
            client.get(bucket, f"k{index}")
        client.send("GET", f"/{bucket}/k1", tamper="signature")
        assert server.stop() == 0, server.tail()
        folder = server.folder(region, "audit")
        whole = copies_of(folder)
        path = max(whole, key=lambda path: whole[path].count(b"\n"))
        lines = whole[path].splitlines(keepends=True)
        assert len(lines) >= 60, f"{len(lines)} records for 30 requests: a decision and a completion each were due"

        def verify():
            return server.verb("audit", "verify", region=region, check=False).returncode

        assert verify() == 0
        tried = 0
        for what, damaged in damages(chance, lines):
            path.write_bytes(damaged)
            code = verify()
            path.write_bytes(whole[path])
            assert code not in (0, 101), f"{what}: exit {code}"
            tried += 1
        assert verify() == 0, "the undamaged log must verify again"
        note(f"{tried} damages to {len(lines)} records")


def damages(chance, lines):
    whole = b"".join(lines)
    for _ in range(25):
        at = chance.randrange(len(whole))
        changed = bytearray(whole)
        changed[at] ^= 1 << chance.randrange(7)
        yield f"byte {at} changed", bytes(changed)
    for _ in range(5):
        at = chance.randrange(len(lines) - 1)
        yield f"record {at} removed", b"".join(lines[:at] + lines[at + 1:])
        yield f"records {at}, {at + 1} swapped", b"".join([*lines[:at], lines[at + 1], lines[at], *lines[at + 2:]])
        yield f"record {at} twice", b"".join([*lines[:at], lines[at], *lines[at:]])
    yield "the first half removed", b"".join(lines[len(lines) // 2:])


@case(needs="own")
def an_audit_log_that_cannot_be_written_stops_every_effect():
    with Running() as server:
        region, client = next(iter(server.regions().items()))
        bucket = bucket_of(client, "full")
        client.put(bucket, "k", b"x")
        # A file size limit makes the log's writes fail as a full disk would, for this process alone.
        length = max(path.stat().st_size for path in server.folder(region, "audit").rglob("*.jsonl"))
        limited = subprocess.run(["prlimit", f"--pid={server.child.pid}", f"--fsize={length}:{length}"], capture_output=True)
        assert limited.returncode == 0, limited.stderr
        for answer in (client.put(bucket, "new", b"y"), client.get(bucket, "k"), client.delete(bucket, "k")):
            assert answer.status == 503, answer
        server.kill()
        server.start()
        client = server.regions()[region]
        assert client.get(bucket, "k").body == b"x" and client.get(bucket, "new").code == "NoSuchKey"
        assert server.verb("audit", "verify", region=region, check=False).returncode == 0
