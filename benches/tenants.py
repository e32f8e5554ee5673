"""Figure 9: a thousand tenants, each with records of three classes.

Rates: the same reads by one tenant or by all, with the register as it is. Calls to the key service: a cold process reads every tenant's
records for two and a half lives of an open KEK, with a register whose lives are short (nothing else of it is changed), and counts its own
calls, as `/metrics` of one replica tells them. A KEK may be asked for when it is first used and once more each time its life is
over (a tenth earlier at most, which does not shift the next time).

Tenants are made through the command line while nobody serves, so that no process waits to hear of them.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import time
import urllib.request

import servers
from load import SMALL, Wrk, drive, path_of
from targets import Target, credential
from wire import Client, noise

ROOT = pathlib.Path(__file__).resolve().parent.parent
TENANTS = int(os.environ.get("TERROIR_BENCH_TENANTS", 1_000))
CLASSES = ("operational", "personal", "health")
KEKS = TENANTS * len(CLASSES)
PREPARE_S_MAX = 240
TTL_S = 10
COUNTED_S = 25
EARLY = 0.1  # of its life: how much earlier than at its end a KEK may be asked for again


class Thousand:
    def __init__(self):
        self.turn, self.short = 0, False

    def targets(self, ground):
        if not ground.product:
            return []
        self.served = ground.keep(servers.Served(ground.folder / "tenants"))
        self.served.start()
        return [Target("fs", self.served.client(default_class="operational"), self.served.child.pid)]

    def prepare(self, target):
        self.began = time.monotonic()
        self.register(ROOT / "regions", self.served.data_dir / "short-lived")
        self.served.stop()
        names = [f"tenant-{number:04}" for number in range(TENANTS)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            keys = list(pool.map(self.made, names))
        made = time.monotonic()
        self.start(target, short=False)
        clients = [(Client(target.client.endpoint, target.client.region, *pair), name) for pair, name in zip(keys, names)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            self.many = [url for urls in pool.map(lambda pair: self.filled(*pair, 1), clients) for url in urls]
        self.one = self.filled(target.client, "one-tenant", TENANTS)
        self.prepared = {"make_tenants_s": made - self.began, "prepare_s": time.monotonic() - self.began}

    def made(self, name):
        self.in_time()
        return credential(self.served.verb, name)

    def filled(self, client, bucket, times):
        """Presigned URLs of `times` records of each class, written now and read once."""
        body, urls = noise("small", SMALL), []
        assert client.make_bucket(bucket).status == 200
        for index in range(times):
            self.in_time()
            for name in CLASSES:
                key = f"{name}/{index}"
                assert client.put(bucket, key, body, x_amz_meta_terroir_class=name).status == 200
                urls.append(client.presign("GET", bucket, key, seconds=7_200))
        assert client.get(bucket, key).body == body
        client.close()
        return urls

    def in_time(self):
        assert time.monotonic() - self.began < PREPARE_S_MAX, f"{TENANTS} tenants were not made and filled in {PREPARE_S_MAX} s"

    def register(self, source, folder):
        """The catalogue with short lives of open KEKs."""
        shutil.copytree(source, folder)
        for path in (folder / "register").glob("*.toml"):
            text, changed = re.subn(r"kek-cache-ttl-s = \d+", f"kek-cache-ttl-s = {TTL_S}", path.read_text())
            assert changed == 1, path.name
            path.write_text(text)
        self.settings = self.served.config.read_text()
        self.settings_short = f'regions-dir = "{folder}"\n' + self.settings

    def start(self, target, short):
        """A new process, which has no KEK open."""
        self.served.stop()
        self.served.config.write_text(self.settings_short if short else self.settings)
        self.served.start()
        target.client.close()
        target.pid, self.short = self.served.child.pid, short

    def sample(self, target, seconds):
        if self.short:
            self.start(target, short=False)
        self.turn += 1
        order, rates = ("one", "all")[::1 if self.turn % 2 else -1], {}
        for urls in (self.one, self.many):
            drive(target, "GET", urls, None, max(2, seconds // 2))  # so that both find their KEKs open
        before = self.calls()
        for name in order:
            rates[name] = drive(target, "GET", self.one if name == "one" else self.many, None, seconds)["per_second"]
        return {"per_second_one_tenant": rates["one"], "per_second_all_tenants": rates["all"], "all_per_one": rates["all"] / rates["one"],
                "kms_calls_warm": self.calls() - before, "first": order[0], "tenants": TENANTS, **self.counted(target), **self.prepared}

    def counted(self, target):
        """What one cold process asked the key service while it read everything again and again."""
        self.start(target, short=True)
        before, start = self.calls(), time.monotonic()
        asked = [f"GET {path_of(target.client, url)}" for url in self.many]
        count, errors, received, _ = Wrk(target.client, asked, None, COUNTED_S).told()
        calls, took = self.calls() - before, time.monotonic() - start
        assert not errors and received >= count * SMALL, f"{errors} errors among {count} requests, {received} bytes"
        cycles = count / len(asked) * TTL_S / took
        assert cycles >= 1, f"only {cycles:.2f} of the KEKs were used in each of their lives"
        # The cold process cannot have answered without: fewer calls than KEKs are calls that were not counted.
        assert calls >= KEKS, f"{calls:.0f} calls for {KEKS} KEKs: they are not counted"
        lives = 1 + int(took / TTL_S + EARLY)
        return {"kms_calls": calls, "keks": KEKS, "kek_lives": lives, "kms_calls_per_kek_and_life": calls / (KEKS * lives),
                "counted_s": took, "reads_per_kek_and_life": cycles}

    def calls(self):
        """Calls to the key service, as the process itself counts them; all verbs and outcomes."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.served.base + 2}/metrics") as reply:
            text = reply.read().decode()
        found = [line for line in text.splitlines() if line.startswith("terroir_key_calls_total{")]
        assert found, "the process does not tell its calls to the key service"
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)
