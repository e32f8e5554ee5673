"""`terroir scrub` and `terroir inspect` with the built binary: damage found beside a running proxy, what a kill left, who may see names."""

import json
import subprocess
import time

import tools
from cases import bucket_of, case, note
from servers import Running
from wire import noise

MIB = 1 << 20
DAMAGED, UNAVAILABLE = 1, 69


def scrub(server, region, *words):
    """One pass: its exit code and its report, which is the last line."""
    done = server.verb("scrub", "--json", "--rate", "1G", "--blobs-per-s", "10000", *words, region=region, check=False)
    assert done.stdout.strip(), f"nothing was reported: {done.returncode} {done.stderr}"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(line["event"] == "progress" for line in lines[:-1]), lines
    return done.returncode, lines[-1]


def blobs(server, region):
    found = server.folder(region, "store").rglob("*")
    return sorted(path for path in found if path.is_file() and len(path.name) == 32 and path.parent.name != "temp")


def filled(server, region, client):
    """A bucket with a record of each shape."""
    bucket = bucket_of(client, "scrub")
    for key, size in (("empty", 0), ("small", 3_000), ("large", 8 * MIB + 50_000)):
        assert client.put(bucket, f"patient-7/{key}", noise(key, size)).status == 200
    s3 = tools.boto3_client(client)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="patient-7/open")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="patient-7/open", UploadId=upload, PartNumber=1, Body=noise("open", 100_000))
    return bucket


@case(needs="own", limit_s=300)
def scrub_beside_a_running_proxy_finds_every_kind_of_damage_and_says_so_by_its_exit_code():
    with Running() as server:
        region, client = next(iter(server.regions().items()))
        before = set(blobs(server, region))
        filled(server, region, client)
        code, report = scrub(server, region)
        stored = blobs(server, region)
        assert code == 0 and report["ended"] and report["findings"] == [], (code, report)
        assert report["counts"]["verified"] == report["counts"]["listed"] == len(stored), (len(stored), report)
        passes = 1
        chosen = {path.stat().st_size: path for path in stored if path not in before}.values()  # one of each length
        for number, path in enumerate(chosen):
            whole = path.read_bytes()
            middle, other = len(whole) // 2, next(other for other in stored if other != path)
            damages = {"flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:], "cut": whole[:-1],
                       "lengthened": whole + b"\0", "swapped": other.read_bytes(), "removed": None}
            for what in ("flipped", "removed", ("cut", "lengthened", "swapped")[number % 3]):
                damaged = damages[what]
                path.unlink()
                if damaged is not None:
                    path.write_bytes(damaged)
                code, report = scrub(server, region, "--once")
                found = [(finding["blob"], finding["outcome"]) for finding in report["findings"]]
                assert code == DAMAGED and found == [(path.name, "corrupt" if damaged is not None else "missing")], (what, code, report)
                path.write_bytes(whole)
                passes += 1
        assert scrub(server, region)[0] == 0, "everything was put back"
        audit = "".join(path.read_text() for path in server.folder(region, "audit").rglob("*.jsonl"))
        assert audit.count('"scrub.finding"') == passes - 1 and "patient-7" not in audit
        assert len(chosen) >= 5, chosen
        note(f"{passes} passes over {len(stored)} blobs")


@case(needs="own", limit_s=300)
def what_a_process_killed_in_the_middle_of_a_write_left_is_found_and_kept():
    with Running() as server:
        region, client = next(iter(server.regions().items()))
        bucket, left, unknown_before = bucket_of(client, "left"), 0, 0
        for point in ("after-link", "folder-synced"):
            assert server.stop() == 0, server.tail()
            server.start({server.FAILPOINT_VARIABLE: f"{point}:8"})  # the first few writes are the start-up probe's
            client, number = server.regions()[region], 0
            deadline = time.monotonic() + 30
            while server.child.poll() is None and time.monotonic() < deadline:
                try:
                    client.put(bucket, f"{point}-{number}", noise(point, 5_000))
                except Exception:  # the server is gone
                    break
                number += 1
            server.child.wait(30)
            left += 1
            server.start()
            client = server.regions()[region]
            code, report = scrub(server, region, "--once")
            assert code == 0, (code, report)
            counts = report["counts"]
            assert counts["unknown"] == left, f"{point}: one blob more that no row names was due: {report}"
            assert counts["verified"] + counts["unknown"] == counts["listed"] == len(blobs(server, region)), report
            unknown_before = counts["unknown"]
        code, report = scrub(server, region, "--once", "--remove-unknown")
        assert code == 0 and report["counts"]["given_up"] == 0, "nothing is removed before the horizon"
        assert report["counts"]["unknown"] == unknown_before


@case(needs="own", limit_s=300)
def a_scrub_that_was_killed_goes_on_where_it_was():
    with Running() as server:
        region, client = next(iter(server.regions().items()))
        bucket = bucket_of(client, "resume")
        for number in range(60):
            client.put(bucket, f"k{number}", noise(number, 2_000))
        total = len(blobs(server, region))
        command = [server.binary, "scrub", "--json", "--blobs-per-s", "8", "--region", region, "--data-dir", str(server.data_dir)]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        time.sleep(5)  # a time is meant: two keepings of its state, and less than the whole pass takes
        assert child.poll() is None, "the pass ended too early to prove anything"
        child.kill()
        child.wait()
        done = server.verb("scrub", "--json", "--resume", region=region, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, (done.returncode, done.stderr)
        first, report = lines[0], lines[-1]
        assert first["counts"]["verified"] >= 8, f"the new process began anew: {first}"
        assert report["counts"]["verified"] == total and report["pass"] == 1, report
        again = server.verb("scrub", "--json", "--resume", region=region)
        assert json.loads(again.stdout)["event"] == "nothing-to-resume"


@case(needs="own")
def inspect_shows_names_to_the_region_that_sealed_and_only_the_clear_header_to_another():
    with Running() as server:
        (region, client), (other, _) = list(server.regions().items())[:2]
        bucket = bucket_of(client, "inspect")
        before = set(blobs(server, region))
        client.put(bucket, "patient-7/ecg", noise("ecg", 4_000))
        [path] = set(blobs(server, region)) - before
        for what in (path.name, str(path)):
            shown = server.verb("inspect", what, region=region, as_json=True)
            assert (shown["opened"], shown["bucket"], shown["key"]) == (True, bucket, "patient-7/ecg"), shown
            assert shown["index"] == "live" and shown["named_in_index"] == f"version of s3://{bucket}/patient-7/ecg", shown
            assert shown["tenant"] == client.tenant and shown["length_is_right"] and shown["region"] == region, shown
        audit = "".join(path.read_text() for path in server.folder(region, "audit").rglob("*.jsonl"))
        assert audit.count('"inspect.names"') >= 2 and "patient-7" not in audit
        for words in (["inspect", str(path)], ["inspect", str(path), "--json"]):
            done = server.verb(*words, region=other, check=False)
            assert done.returncode == DAMAGED and "no key of this region opens it" in done.stderr, done
            assert path.name in done.stdout and region in done.stdout
            for name in (bucket, "patient-7", "ecg", client.tenant):
                assert name not in done.stdout + done.stderr, f"{name} was shown without a key:\n{done.stdout}"
        path.write_bytes(b"not a blob")
        assert server.verb("inspect", str(path), region=region, check=False).returncode == 1
        assert server.verb("inspect", "00" * 16, region=region, check=False).returncode == 1
