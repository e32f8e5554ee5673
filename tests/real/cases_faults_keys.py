"""A key service that is slow, silent, denies, or has lost a root: keys in memory serve for their class's time and no longer,
a denial is obeyed within it, and what was sealed opens again when the root is back.

The only provider is `local-file`; its files are slowed, changed and removed under load. The open keys of the class age within a
second here, so that every refresh meets the fault. The second region must not notice.
"""

import random
import sqlite3
import time

import evidence
from cases import bucket_of, case, note, seed_of
from health import Watch
from ledger import recovered_in
from roots import RootFile, SlowRoot, hold_keys_for
from servers import Scratch, Served
from wire import noise
from world import Load, World, closing

TTL_S = 1
# src/keys/cache.rs: an early refresh does not shift the period, so a key is at most this old when it expires.
OLDEST_S = 1.1 * TTL_S
SLOW_S = 0.6
# Longer than what a request waits for a silent service, or the window would be over before anything was served from it.
STALE_S = 8
WAIT_S = 6.6  # src/keys/spec.rs: three calls of 2 s, and the pauses between
SLACK_S = 2
DENIED_FOR = 20
OPERATIONAL = 1  # the class's code: a class whose keys hang from the region's root
# Nothing here may be answered without an open key: a delete is the index's alone.
WITH_KEYS = ("small", "small", "conditional", "read", "read", "range")
DENIALS = ("disabled", "gone", "destroyed", "another", "scheduled", "exposed", "spoiled")


def aging(ttl_s, stale_s):
    return lambda side: hold_keys_for(side.served, ttl_s, stale_s)


def roots_of(side):
    return side.state / "keys/roots"


def refused_from(load, since, within_s):
    """Seconds from `since` until the first refusal, and how many were served when no key was young any more. Whoever begins after the
    first refusal is refused as well."""
    before, counts, when_old = load.ledger.counts["refused"], load.ledger.counts, None
    while load.ledger.counts["refused"] == before:
        if when_old is None and time.monotonic() > since + OLDEST_S + SLACK_S:
            when_old = counts["acknowledged"]
        assert time.monotonic() < since + within_s, f"keys served for {within_s:.1f} s, longer than they may: {load.ledger.codes}"
        time.sleep(0.01)
    first, stale = time.monotonic() - since, 0 if when_old is None else counts["acknowledged"] - when_old
    load.begun_anew()
    served = load.ledger.counts["acknowledged"]
    load.until("refused", DENIED_FOR)
    late = load.ledger.counts["acknowledged"] - served
    assert not late, f"{late} answered with a key that had to be forgotten"
    return first, stale


@case(needs="own", alone=True, limit_s=300, evidence=True)
def a_key_service_that_is_slow_refuses_nothing_and_a_silent_one_is_covered_for_the_class_window_alone():
    seed, rounds = seed_of("keys-silent"), evidence.length("TERROIR_KEYS_SILENT", 1, 3)
    with World(seed, before_start=aging(TTL_S, STALE_S)) as world:
        home = world.home
        with Load(home, seed, mix=WITH_KEYS) as load, Load(world.abroad, seed, 1) as beside:
            load.until("acknowledged", 40)
            asked = answered = stale = 0
            firsts, downs = [], []
            for _ in range(rounds):
                refused = load.ledger.counts["refused"]
                with SlowRoot(RootFile.of_tenant(roots_of(home)), SLOW_S) as slow:
                    deadline = time.monotonic() + 60
                    while slow.answered < 3:
                        assert load.ledger.counts["refused"] == refused, f"slow, and refused: {load.ledger.codes}"
                        assert time.monotonic() < deadline, f"only {slow.answered} of {slow.asked} calls answered"
                        time.sleep(0.02)
                    load.until("acknowledged", 10)
                    assert load.ledger.counts["refused"] == refused, f"slow, and refused: {load.ledger.codes}"
                    answered += slow.answered
                    slow.silent.set()
                    since = time.monotonic()
                    # At the latest: the last answer is as old as a key may be, and whoever asks then waits for the next one.
                    first, served = refused_from(load, since, OLDEST_S + STALE_S + WAIT_S + SLACK_S)
                    assert first >= STALE_S and served, f"refused after {first:.1f} s; open keys serve {STALE_S} s longer"
                    firsts.append(first)
                    stale += served
                    asked += slow.asked - slow.answered
                since = time.monotonic()
                downs.append(recovered_in(home.client, home.bucket, since))
                load.until("acknowledged", 40)
        assert all(code.startswith("503") for code in load.ledger.codes if code[0] == "5"), load.ledger.codes
        _, checked, blobs = closing(world, load, beside)
        evidence.row("a_key_service_that_is_slow_refuses_nothing_and_a_silent_one_is_covered_for_the_class_window_alone",
                     "key service slow, then silent", load.ledger, seed, None, max(downs), slow_answers=answered, refused_while_slow=0,
                     calls_without_an_answer=asked, served_in_the_window=stale, open_keys_served_s=", ".join(f"{first:.1f}" for first in firsts),
                     allowed_s=f"{STALE_S} to {OLDEST_S + STALE_S + WAIT_S:.1f}", served_after_the_first_refusals=0, keys_checked=checked,
                     blobs_looked_at=blobs)
        note(f"{answered} slow answers, {asked} calls unanswered, {stale} served in the window, open keys served "
             f"{', '.join(f'{first:.1f}' for first in firsts)} s, recovered in {max(downs):.1f} s, {load.ledger.codes}")


@case(needs="own", alone=True, limit_s=300, evidence=True)
def a_key_service_that_denies_is_obeyed_at_once_and_nothing_is_lost_when_it_relents():
    seed = seed_of("keys-denied")
    chance = random.Random(seed)
    # The window for a service that cannot be reached is long, and must not help against one that denies.
    with World(seed, before_start=aging(TTL_S, 3_600)) as world:
        home, root = world.home, None
        denials = list(DENIALS[:evidence.length("TERROIR_KEY_DENIALS", 4, len(DENIALS))])
        chance.shuffle(denials)
        obeyed, downs = {}, []
        with Load(home, seed, mix=WITH_KEYS) as load, Load(world.abroad, seed, 1) as beside:
            load.until("acknowledged", 40)
            root = RootFile.of_tenant(roots_of(home))
            for denial in denials:
                getattr(root, denial)()
                obeyed[denial], _ = refused_from(load, time.monotonic(), OLDEST_S + SLACK_S)
                if denial == "destroyed":  # and with nothing in memory
                    home.served.kill()
                    home.served.start()
                    load.until("refused", DENIED_FOR)
                root.restore()
                downs.append(recovered_in(home.client, home.bucket, time.monotonic()))
                load.until("acknowledged", 20)
        assert all(code.startswith("503") for code in load.ledger.codes if code[0] == "5"), load.ledger.codes
        _, checked, blobs = closing(world, load, beside)
        told = ", ".join(f"{denial} {took:.1f}" for denial, took in obeyed.items())
        evidence.row("a_key_service_that_denies_is_obeyed_at_once_and_nothing_is_lost_when_it_relents",
                     "key service denies: root disabled, gone, destroyed, …; then brought back", load.ledger, seed, None, max(downs),
                     obeyed_within_s=told, allowed_s=f"{OLDEST_S + SLACK_S:.1f}", served_after_that=0, keys_checked=checked, blobs_looked_at=blobs)
        note(f"obeyed within {told} s, recovered in {max(downs):.1f} s at most, {load.ledger.codes}")


@case(needs="own", limit_s=600, evidence=True)
def root_keys_that_get_new_versions_under_load_refuse_nothing():
    seed, rounds = seed_of("keys-rotated"), evidence.length("TERROIR_KEY_ROTATIONS", 3, 12)
    with World(seed, before_start=aging(TTL_S, 0)) as world:
        home = world.home
        with Load(home, seed, mix=WITH_KEYS) as load, Load(world.abroad, seed, 1) as beside:
            load.until("acknowledged", 40)
            mine, regions = RootFile.of_tenant(roots_of(home)), RootFile.of_region(roots_of(home), home.region)
            newcomers = []
            for number in range(rounds):
                versions = {mine.rotate(), regions.rotate()}
                assert versions == {number + 2}, versions
                # A tenant that comes now has its key wrapped under the version that is newest.
                newcomers.append(home.served.client(f"newcomer-{number}", "operational"))
                bucket = bucket_of(newcomers[-1], "newcomer")
                assert newcomers[-1].put(bucket, "k", noise(f"{seed}-{number}", 70_000)).status == 200
                newcomers[-1].found = bucket
                load.until("acknowledged", 40)
            assert not load.ledger.counts["refused"] and not load.ledger.counts["broken"], load.ledger.codes
            wrapped = versions_in_use(home, OPERATIONAL)
            assert wrapped == set(range(2, rounds + 2)), wrapped
            # The control: the version that the first key was wrapped under is looked for in this very file, and needed.
            mine.put(mine.made_of("enabled", mine.versions()[1:]))
            refused_from(load, time.monotonic(), 30)
            mine.restore()
            took = recovered_in(home.client, home.bucket, time.monotonic())
            load.until("acknowledged", 20)
        # A new process has nothing in memory and opens what each version wrapped.
        assert home.served.stop() == 0, home.served.tail()
        home.served.start()
        home.client.close()
        for number, client in enumerate(newcomers):
            client.close()
            assert client.get(client.found, "k").body == noise(f"{seed}-{number}", 70_000), number
        _, checked, blobs = closing(world, load, beside)
        evidence.row("root_keys_that_get_new_versions_under_load_refuse_nothing", "root keys get new versions under load", load.ledger, seed,
                     None, took, new_versions=2 * rounds, versions_that_keys_are_wrapped_under=rounds + 1, refused_before_the_control=0,
                     keys_checked=checked + rounds, blobs_looked_at=blobs)
        note(f"{rounds} new versions of two roots, keys wrapped under {sorted(wrapped)}")


def versions_in_use(side, class_code):
    """Versions of the region's root that keys of a class are wrapped under, from the key store's own file."""
    rows = sqlite3.connect(f"file:{side.state / 'keys/keystore.sqlite3'}?mode=ro", uri=True)
    found = {version for version, in rows.execute("SELECT root_version FROM kek WHERE class = ? AND root_tenant IS NULL", (class_code,))}
    rows.close()
    return found


class Alone:
    """One region on a local folder, whose classes' open keys age within a second."""

    def __enter__(self):
        self.scratch = Scratch()
        self.served = Served(self.scratch.__enter__() / "proxy")
        hold_keys_for(self.served, TTL_S, 0)
        try:
            self.served.start()
            self.client = self.served.client()
            self.bucket = bucket_of(self.client, "roots")
            self.roots = self.served.data_dir / "state/keys/roots"
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        if self.served.child and self.served.child.poll() is None:
            self.served.kill()
        self.scratch.__exit__()

    def put(self, key, body, label):
        return self.client.put(self.bucket, key, body, x_amz_meta_terroir_class=label)


@case(needs="own", limit_s=120)
def a_root_key_that_is_gone_is_not_made_anew():
    """Its folder is not mounted, say. A new root in its place would wrap keys of new records, which are lost when the old one is back."""
    with Alone() as alone:
        assert alone.put("before", b"before", "health").status == 200
        # The first records of two classes, one that hangs from the tenant's root and one from the region's: keys have to be made and wrapped.
        newcomer = alone.served.client("newcomer", "operational")
        elsewhere = bucket_of(newcomer, "roots")
        writes = ((RootFile.of_tenant(alone.roots), lambda: alone.put("meanwhile", b"meanwhile", "health-sensitive"), alone.client, alone.bucket),
                  (RootFile.of_region(alone.roots, "fr"), lambda: newcomer.put(elsewhere, "meanwhile", b"meanwhile"), newcomer, elsewhere))
        told = []
        for root, write, client, bucket in writes:
            root.gone()
            answer, made_anew = write(), root.path.exists()
            root.restore()
            told.append((root.path.name, answer, f"made anew: {made_anew}", client, bucket))
        with Watch(alone.served.base) as watch:
            watch.until(200, "region fr is ready", "the key service: ")
        alone.served.kill()  # nothing is in memory then
        alone.served.start()
        for name, answer, made_anew, client, bucket in told:
            client.close()
            found = client.get(bucket, "meanwhile")
            assert answer.status != 200 or found.body == b"meanwhile", (
                f"{name}: acknowledged while it was gone ({made_anew}), and lost when it is back: {found}")
            assert answer.status == 503 and made_anew == "made anew: False", (name, answer, made_anew)
        assert alone.client.get(alone.bucket, "before").body == b"before"


@case(needs="own", limit_s=120)
def a_process_that_is_told_to_end_while_its_key_service_is_silent_ends():
    with Alone() as alone:
        assert alone.put("before", b"before", "health").status == 200
        with SlowRoot(RootFile.of_tenant(alone.roots), 0) as slow:
            with Watch(alone.served.base) as watch:
                slow.silent.set()
                deadline = time.monotonic() + 40
                while alone.client.get(alone.bucket, "before").status != 503:
                    assert time.monotonic() < deadline, "a silent key service is not noticed"
                # docs/operations.md: all replicas share it, so its trouble makes none unready; it is said all the same.
                watch.until(200, "region fr is ready", "the key service: ")
            assert not watch.not_ready(), watch.not_ready()
            note(watch.told())
            assert slow.asked > slow.answered
            began = time.monotonic()
            assert alone.served.stop() == 0, alone.served.tail()
            note(f"ended in {time.monotonic() - began:.1f} s with {slow.asked - slow.answered} calls unanswered")
