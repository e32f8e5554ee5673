"""A store that dies, freezes, cuts off, flips bits, fails, or wants to be asked by another name: nothing acknowledged is lost, nothing wrong is
ever answered.

Each case works on two regions; the store of the first is in trouble, the second must not notice.
"""

import secrets
import signal
import time

import evidence
from cases import case, note, seed_of
from ledger import SMALL_MIX, recovered_in
from wire import Client
from world import Load, World, closing

AMPLIFICATION_MAX = 1.3


def told(name, fault, seed, load, took=None, amplification=None, **facts):
    evidence.row(name, fault, load.ledger, seed, amplification, took, **facts)
    counts = load.ledger.counts
    note(f"{counts['operations']} operations, {counts['acknowledged']} acknowledged, {counts['refused']} refused"
         + (f", recovered in {took:.1f} s" if took is not None else "")
         + (f", amplification {amplification:.2f}" if amplification is not None else "")
         + "".join(f", {key} {value}" for key, value in facts.items()))


def killed(name, fault, **where):
    """`where`: what `World` is made of."""
    seed = seed_of("store-killed")
    with World(seed, **where) as world:
        with Load(world.home, seed) as load, Load(world.abroad, seed, 1) as beside:
            kills = evidence.length("TERROIR_STORE_KILLS", 2, 10)
            for _ in range(kills):
                load.until("acknowledged", 60)
                world.home.weed.kill()
                load.until("refused", 30)
                world.home.weed.revive()
                since = time.monotonic()
                load.until("acknowledged", 5)
            took = time.monotonic() - since
            world.home.weed.wait_until_ready()
            load.until("acknowledged", 30)
        _, checked, blobs = closing(world, load, beside)
        told(name, fault, seed, load, took, kills=kills, keys_checked=checked, blobs_looked_at=blobs)


@case(needs="own", limit_s=600, evidence=True)
def a_store_that_is_killed_loses_nothing_and_only_its_own_region_notices():
    killed("a_store_that_is_killed_loses_nothing_and_only_its_own_region_notices", "store killed (SIGKILL) and restarted")


def frozen(name, fault, **where):
    seed = seed_of("store-frozen")
    with World(seed, **where) as world:
        weed = world.home.weed.children[0]
        with Load(world.home, seed) as load, Load(world.abroad, seed, 1) as beside:
            load.until("acknowledged", 60)
            weed.send_signal(signal.SIGSTOP)
            try:
                stopped = time.monotonic()
                before = beside.ledger.counts["acknowledged"]
                beside.until("acknowledged", 20)
                # Longer than any try may last: the first ones are given up and answered.
                load.until("refused", 1, within_s=60)
                answered = time.monotonic() - stopped
                assert answered < 60, f"a frozen store held a request for {answered:.0f} s"
                assert beside.ledger.counts["acknowledged"] > before
            finally:
                weed.send_signal(signal.SIGCONT)
            since = time.monotonic()
            load.until("acknowledged", 30)
        took, checked, blobs = closing(world, load, beside, since)
        told(name, fault, seed, load, took, first_refusal_s=f"{answered:.1f}", keys_checked=checked, blobs_looked_at=blobs)


@case(needs="own", limit_s=600, evidence=True)
def a_store_that_freezes_loses_nothing_and_only_its_own_region_notices():
    frozen("a_store_that_freezes_loses_nothing_and_only_its_own_region_notices", "store frozen (SIGSTOP)")


def lying(name, fault, kinds, methods, share=0.3, mix=None, at_least=20):
    seed = seed_of("store-lies")
    with World(seed) as world:
        with Load(world.home, seed, **({"mix": mix} if mix else {})) as load, Load(world.abroad, seed, 1) as beside:
            load.until("acknowledged", 40)
            world.home.liar.at_rate(share, kinds, methods, hold_s=3)
            load.until("operations", evidence.length("TERROIR_LIES_OPERATIONS", 300, 2_000), within_s=400)
            world.home.liar.honest()
            since = time.monotonic()
        took, checked, blobs = closing(world, load, beside, since)
        met = world.home.liar.faults()
        assert all(met.get(kind, 0) >= at_least for kind in kinds), f"too few lies to prove anything: {met}"
        told(name, fault, seed, load, took, lies=", ".join(f"{kind} {count}" for kind, count in sorted(met.items())),
             keys_checked=checked, blobs_looked_at=blobs)


@case(needs="own", limit_s=600, evidence=True)
def a_store_that_cuts_answers_off_never_makes_a_short_record():
    lying("a_store_that_cuts_answers_off_never_makes_a_short_record", "30 % of the store's answers cut off, shortened or reset",
          ("truncate", "shorten", "reset"), ("GET", "PUT"), at_least=10)


@case(needs="own", limit_s=600, evidence=True)
def a_store_that_flips_bits_in_answers_never_makes_a_wrong_record():
    lying("a_store_that_flips_bits_in_answers_never_makes_a_wrong_record", "one bit flipped in 30 % of the store's answers",
          ("flip",), ("GET",), at_least=15)


@case(needs="own", limit_s=600, evidence=True)
def a_bit_flipped_on_the_way_to_the_store_is_never_acknowledged():
    lying("a_bit_flipped_on_the_way_to_the_store_is_never_acknowledged", "one bit flipped in 30 % of the uploads to the store",
          ("flip-up",), ("PUT",), at_least=40)


@case(needs="own", alone=True, limit_s=600, evidence=True)
def a_store_of_thirty_percent_errors_is_asked_little_more_than_once():
    seed, errors = seed_of("store-errors"), evidence.length("TERROIR_STORE_ERROR_OPERATIONS", 1_200, 6_000)
    with World(seed) as world:
        with Load(world.home, seed, 8, mix=SMALL_MIX, pause_s=0) as load, Load(world.abroad, seed, 1) as beside:
            load.until("acknowledged", 40)
            load.ledger.codes.clear()
            world.home.liar.reset()
            before = dict(load.ledger.counts)
            world.home.liar.at_rate(0.3, ("error-before", "error-after"), ("GET", "PUT", "HEAD", "DELETE"))
            load.until("operations", errors, within_s=400)
            world.home.liar.honest()
            since = time.monotonic()
        arrived, needed = len(world.home.liar.requests("GET", "PUT")), needed_of(world.home.liar)
        took, checked, blobs = closing(world, load, beside, since)
        met, amplification = world.home.liar.faults(), arrived / needed
        refused = load.ledger.counts["refused"] - before["refused"]
        assert sum(met.values()) >= errors // 10, f"too few errors to prove anything: {met}"
        assert amplification <= AMPLIFICATION_MAX, f"{arrived} requests at the store where {needed} would do: {amplification:.2f}"
        told("a_store_of_thirty_percent_errors_is_asked_little_more_than_once", "30 % of the store's requests fail", seed, load, took,
             amplification, store_requests=arrived, errors=sum(met.values()), refused_share=f"{refused / errors:.0%}",
             keys_checked=checked, blobs_looked_at=blobs)


def needed_of(liar):
    """How many of the requests would have done if none had failed."""
    return evidence.needed((seen.method == "PUT", seen.path, seen.headers.get("range"), seen.fault, seen.at) for seen in liar.requests("GET", "PUT"))


class StoreCredentials:
    """Access key and secret of one side's store: in files that the proxy reads, and in the store that admits them."""

    FILES = ("store-key-id", "store-secret")

    def __init__(self, side):
        self.side, self.number = side, 0
        self.folder = side.served.data_dir
        self.current = (side.store.access_key, side.store.secret_key)
        overlay = self.folder / "overlay.toml"
        text = overlay.read_text()
        for variable, file in zip(("STORE_KEY_ID", "STORE_SECRET"), self.FILES):
            assert f"env:{variable}" in text, text
            text = text.replace(f"env:{variable}", f"file:{self.folder / file}")
            del side.served.env[variable]
        overlay.write_text(text)
        self.write(self.current)

    def write(self, pair):
        for file, value in zip(self.FILES, pair):
            (self.folder / f"{file}.new").write_text(value)
            (self.folder / f"{file}.new").rename(self.folder / file)

    def fresh(self):
        self.number += 1
        self.side.known_as.add(f"key{self.side.region}{self.number}")
        return f"key{self.side.region}{self.number}", secrets.token_hex(20)

    def admit(self, *pairs):
        """Waits until the store does so: who is first is admitted, who was and is not any more is refused."""
        self.side.weed.admit(self.side.region, *pairs)
        gone = {self.current} - set(pairs)
        for pair, statuses in ((pairs[0], (200,)), *((pair, (403,)) for pair in gone)):
            asks = Client(self.side.store.endpoint, self.side.region, *pair)
            deadline = time.monotonic() + 20
            while (answer := asks.send("GET", "/")).status not in statuses:
                assert time.monotonic() < deadline, (pair[0], answer)
                time.sleep(0.01)
            asks.close()

    def settle(self, pair):
        self.current = pair
        self.side.store.access_key, self.side.store.secret_key = pair

    def seen(self, pair):
        return any(seen.credential == pair[0] for seen in self.side.liar.requests())

    def until_seen(self, pair):
        deadline = time.monotonic() + 20
        while not self.seen(pair):
            assert time.monotonic() < deadline, f"the store is not asked by {pair[0]}"
            time.sleep(0.01)


@case(needs="own", limit_s=600, evidence=True)
def store_credentials_that_are_replaced_under_load_refuse_nothing():
    """Three ways by turns: found by the proxy's own look, told by SIGHUP, and the old ones revoked as soon as the files are new."""
    seed, rounds = seed_of("store-credentials"), evidence.length("TERROIR_STORE_CREDENTIALS", 3, 30)
    credentials = {}
    with World(seed, limits="reload-check-ms = 2000",
               before_start=lambda side: credentials.__setitem__(side.region, StoreCredentials(side))) as world:
        home, mine = world.home, credentials[world.home.region]
        with Load(home, seed, mix=(*SMALL_MIX, "medium", "range")) as load, Load(world.abroad, seed, 1) as beside:
            load.until("acknowledged", 30)
            replaced = refused_there = 0
            # A revoked pair that the proxy's own look has found before anybody used it shows nothing: then once more.
            while replaced < rounds or (refused_there < rounds // 6 + 1 and replaced < rounds + 9):
                old, new = mine.current, mine.fresh()
                mine.admit(new, old)
                mine.write(new)
                way = replaced % 3 if replaced < rounds else 2
                if way == 1:
                    home.served.child.send_signal(signal.SIGHUP)
                if way < 2:
                    mine.until_seen(new)
                    load.begun_anew()
                mine.admit(new)
                mine.settle(new)
                load.until("acknowledged", 20)
                assert mine.seen(new), "the store was never asked by the new key"
                replaced += 1
                refused_there = sum(seen.status == 403 for seen in home.liar.requests())
            assert not load.ledger.counts["refused"] and not load.ledger.counts["broken"], load.ledger.codes
            assert refused_there > rounds // 6, f"only {refused_there} requests met a revoked key: that way was not tried"
            # The control: the files are obeyed, and the store does refuse who is not admitted.
            mine.write((mine.current[0], "wrong"))
            home.served.child.send_signal(signal.SIGHUP)
            load.until("refused", 10)
            mine.write(mine.current)
            since = time.monotonic()
            took = recovered_in(home.client, home.bucket, since)
        _, checked, blobs = closing(world, load, beside)
        told("store_credentials_that_are_replaced_under_load_refuse_nothing", "store's credentials replaced under load", seed, load, took,
             replaced=replaced, refused_before_the_control=0, store_requests_refused_and_asked_again=refused_there, keys_checked=checked,
             blobs_looked_at=blobs)
