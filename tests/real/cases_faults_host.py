"""What the machine does to a proxy: a disk that is full under the audit log, a clock that steps."""

import glob
import os
import sqlite3
import subprocess
import time

import evidence
from cases import case, fresh, note, seed_of
from ledger import SMALL_MIX, recovered_in
from servers import Scratch, Served
from wire import Client, noise
from world import Load, World, closing

AUDIT_BYTES = 6 << 20
FULL_FOR_OPERATIONS = 150
STEP_S = 20 * 60
RECLAIM_S = 60 * 60  # the least; longer than from one step to the other
PAUSE_S = 10
HOUSEKEEPING_S = 30  # src/app/housekeeping.rs: a round
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"


class SmallDisk:
    """A disk of its own under a folder; where mounting is not permitted, a limit on the size of the process's files."""

    def __init__(self):
        self.folder = self.filler = self.process = None
        self.kind = "?"

    def under(self, folder):
        folder.mkdir(parents=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={AUDIT_BYTES},mode=0700", "terroir-test", folder], capture_output=True)
        self.folder = folder if mounted.returncode == 0 else None
        self.kind = "tmpfs" if self.folder else "file size limit"

    def fill(self, process):
        if not self.folder:
            self.process = process
            subprocess.run(["prlimit", f"--pid={process.pid}", "--fsize=1:unlimited"], check=True)
            return
        self.filler = self.folder / "filler"
        with open(self.filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4_096)
            except OSError:
                pass

    def free(self):
        if self.folder:
            self.filler.unlink()
        else:
            subprocess.run(["prlimit", f"--pid={self.process.pid}", "--fsize=unlimited:unlimited"], check=True)

    def leave(self):
        if self.folder:
            subprocess.run(["umount", "--lazy", self.folder], capture_output=True)


@case(needs="own", limit_s=240, evidence=True)
def a_disk_full_under_the_audit_log_means_no_effect_without_a_record():
    seed, disk = seed_of("disk-full"), SmallDisk()

    def small_disk(side):
        if side.region == "fr":
            disk.under(side.state / "audit")

    try:
        with World(seed, before_start=small_disk) as world:
            home = world.home
            with Load(home, seed, mix=SMALL_MIX) as load, Load(world.abroad, seed, 1) as beside:
                load.until("acknowledged", 60)
                disk.fill(home.served.child)
                load.until("refused", len(load.workers) * 5)  # whatever was in flight is over
                home.liar.reset()
                before, codes = dict(load.ledger.counts), dict(load.ledger.codes)
                load.until("operations", FULL_FOR_OPERATIONS)
                after, reached_store = dict(load.ledger.counts), home.liar.requests()
                told = {code: count - codes.get(code, 0) for code, count in load.ledger.codes.items() if count != codes.get(code, 0)}
                refused = after["refused"] - before["refused"]
                assert after["acknowledged"] == before["acknowledged"], f"answered without a record: {told}"
                assert refused >= FULL_FOR_OPERATIONS - len(load.workers), told
                assert all(code.startswith("503") for code in told), told
                assert not reached_store, f"effects without a record: {[(seen.method, seen.path) for seen in reached_store[:5]]}"
                disk.free()
                since = time.monotonic()
                load.until("acknowledged", 30)
            took, checked, blobs = closing(world, load, beside, since)
            assert home.served.stop() == 0, home.served.tail()
            home.served.verb("audit", "verify")
            evidence.row("a_disk_full_under_the_audit_log_means_no_effect_without_a_record", "disk full under the audit log", load.ledger,
                         seed, None, took, made_full_by=disk.kind, refused_while_full=refused, store_requests_while_full=0,
                         keys_checked=checked, blobs_looked_at=blobs)
            note(f"{disk.kind}; {refused} of {FULL_FOR_OPERATIONS} refused while full ({told}), recovered in {took:.1f} s")
    finally:
        disk.leave()


class Skewed(Client):
    """Signs as if the time were `offset_s` from now."""

    offset_s = 0

    def prepare(self, *arguments, at=None, **framing):
        return super().prepare(*arguments, at=time.time() + self.offset_s if at is None else at, **framing)


class Steppable:
    """`terroir serve` on a local folder under a clock that this process sets: only the real-time clock, as a step does."""

    def __init__(self, folder):
        libraries = glob.glob(FAKETIME)
        assert libraries, "missing: the Debian package faketime"
        self.control = folder / "clock"
        self.step(0)
        self.served = Served(folder / "proxy", limits=f"reclaim-delay-s = {RECLAIM_S}\n[scrub]\nrestore-horizon-s = {RECLAIM_S}")
        self.served.env.update(LD_PRELOAD=libraries[0], FAKETIME_TIMESTAMP_FILE=str(self.control), FAKETIME_NO_CACHE="1",
                               FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_RESET="1")
        self.store = self.served.data_dir / "state/store"
        self.index = self.served.data_dir / "state/index/index.sqlite3"

    def step(self, seconds):
        fresh_file = self.control.with_suffix(".new")
        fresh_file.write_text(f"{seconds:+d}\n")
        os.replace(fresh_file, self.control)

    def blobs(self):
        return sum(1 for path in self.store.rglob("*") if path.is_file() and len(path.name) == 32)

    def order(self):
        """Places in the region's order: (versions, distinct, highest, handed out)."""
        rows = sqlite3.connect(f"file:{self.index}?mode=ro", uri=True)
        found = rows.execute("SELECT COUNT(*), COUNT(DISTINCT seq), COALESCE(MAX(seq), 0),"
                             " (SELECT value FROM sequences WHERE name = 'commit') FROM versions").fetchone()
        rows.close()
        return found


class OneSide:
    """What `Load` needs of a region."""

    def __init__(self, client, bucket):
        self.region, self.client, self.bucket = client.region, client, bucket


@case(needs="own", limit_s=300, evidence=True)
def a_clock_that_steps_refuses_what_it_must_and_keeps_order_and_blobs():
    seed = seed_of("clock")
    with Scratch() as folder:
        clock = Steppable(folder)
        served = clock.served
        try:
            served.start()
            plain = served.client()
            client = Skewed(plain.endpoint, plain.region, plain.access_key, plain.secret_key)
            bucket = fresh("clock")
            assert client.make_bucket(bucket).status == 200
            side, refusals, orders, ledger, pauses = OneSide(client, bucket), 0, [], None, []
            for step in (0, STEP_S, 0, -STEP_S, 0):
                clock.step(step)
                client.offset_s = step
                # Nobody is refused because of it: how old the directory of tenants is does not go by this clock.
                pauses.append(recovered_in(client, bucket, time.monotonic(), within_s=PAUSE_S))
                with Load(side, f"{seed}-{len(orders)}", 4, ledger, mix=SMALL_MIX) as load:
                    ledger = load.ledger
                    load.until("acknowledged", 60)
                orders.append(clock.order())
                # Who signs with the true time is refused exactly while the clock is more than 15 minutes off, and the reverse.
                refusals += judged(client, plain, bucket, step)
                ledger.verify(client, bucket)
            assert all(count == distinct and highest <= last for count, distinct, highest, last in orders), orders
            assert all(one[3] < two[3] for one, two in zip(orders, orders[1:])), f"the order stood still: {orders}"
            assert not ledger.counts["refused"] and not ledger.counts["broken"], ledger.codes
            early = reclaimed_early(clock, client, bucket)
            ledger.verify(client, bucket)
            ledger.clean()
            assert served.stop() == 0, served.tail()
            served.verb("audit", "verify")
            evidence.row("a_clock_that_steps_refuses_what_it_must_and_keeps_order_and_blobs", "clock stepped by ±20 min", ledger, seed, None, max(pauses), unasked=("abroad",),
                         steps=4, skew_answers_checked=refusals, places_in_order=orders[-1][3], given_twice=0, blobs_reclaimed_early=early)
            note(f"{refusals} answers to skewed signatures, places in order {[order[3] for order in orders]}, reclaimed early {early}")
        finally:
            if served.child and served.child.poll() is None:
                served.kill()


def judged(client, plain, bucket, step):
    """The 15 minutes of Signature V4, from both sides, at the boundary as well; and a presigned URL's own end."""
    now = time.time()
    for off_s, wanted in ((0, 200), (-880, 200), (880, 200), (-930, 403), (930, 403)):
        answer = client.send("GET", "/", at=now + step + off_s)
        assert answer.status == wanted, (step, off_s, answer)
        assert wanted == 200 or answer.code == "RequestTimeTooSkewed", (step, off_s, answer)
    answer = plain.send("GET", "/")
    assert answer.status == (403 if step else 200), (step, answer)
    return 6


def reclaimed_early(clock, client, bucket):
    """A blob that nothing names stays through steps, also one that is longer than its delay; and goes when it is over."""
    assert client.put(bucket, "replaced", noise("old", 1_000)).status == 200
    assert client.put(bucket, "replaced", noise("new", 1_000)).status == 200
    held = clock.blobs()
    clock.step(STEP_S)
    client.offset_s = STEP_S
    deadline = time.monotonic() + HOUSEKEEPING_S + 3
    while time.monotonic() < deadline:
        assert clock.blobs() == held, "reclaimed before its delay was over"
        time.sleep(0.5)
    # Nor does a step that is larger: the process knows that so much time has not passed.
    clock.step(RECLAIM_S + 60)
    deadline = time.monotonic() + HOUSEKEEPING_S + 3
    while time.monotonic() < deadline:
        assert clock.blobs() == held, "a clock set ahead had a blob deleted"
        time.sleep(0.5)
    # The control: reclaiming works, and goes by this clock where a process cannot know better.
    assert clock.served.stop() == 0, clock.served.tail()
    clock.served.start()
    client.close()  # its connection was the old process's
    deadline = time.monotonic() + HOUSEKEEPING_S + 15
    while clock.blobs() == held:
        assert time.monotonic() < deadline, "never reclaimed: the check above proves nothing"
        time.sleep(0.2)
    clock.step(0)
    client.offset_s = 0
    assert client.get(bucket, "replaced").body == noise("new", 1_000)
    assert client.delete(bucket, "replaced").status == 204
    return 0
