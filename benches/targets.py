"""What is measured: the bare store, the product in front of it and on a local folder, the peers; each started only if a figure asks for it."""

import os
import pathlib
import re
import time

import peers
import servers
from relay import Relay
from wire import Client

TICK = os.sysconf("SC_CLK_TCK")
PRODUCT = ("fs", "pg", "s3")
COUNTED = "s3-counted"  # `s3` behind a relay that counts; the relay costs time, so only what it counts is told of it
NAMES = ("bare", "s3", "fs", "pg", COUNTED, "haproxy", "crypt")


class Target:
    """One way to the data, and the process that stands for it."""

    def __init__(self, name, client, pid, relay=None, verb=None):
        self.name, self.client, self.pid, self.relay, self.verb = name, client, pid, relay, verb
        self.bucket = "figures-" + name

    def cpu_s(self):
        """User and system time of the process and all of its threads, in seconds."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def peak_mib(self):
        return memory_kib(self.pid, "VmHWM") / 1024

    def reset_peak(self):
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        left = self.peak_mib() - memory_kib(self.pid, "VmRSS") / 1024
        assert left < 16, f"the peak of before stays, {left:.0f} MiB above what is resident: no peak can be told"

    def tenant(self, name):
        """A client of a tenant made now, known to the running process; of a peer, which has none, its own client."""
        if self.verb is None:
            return self.client
        client = Client(self.client.endpoint, self.client.region, *credential(self.verb, name))
        deadline = time.monotonic() + 10
        while client.send("GET", "/").status != 200:
            assert time.monotonic() < deadline, "a new access key was not known after 10 s"
            time.sleep(0.1)
        return client


def credential(verb, tenant, default_class="operational"):
    """Access key and secret of a tenant made now, through the command line."""
    verb("tenant", "create", tenant, "--default-class", default_class)
    shown = verb("credential", "create", tenant, as_json=True)
    return shown["access_key"], shown["secret_key"]


def memory_kib(pid, what):
    found = re.search(rf"{what}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1))


class Ground:
    """The servers of one run, and one target for each way to the data; `stop` ends all that was started."""

    def __init__(self, folder, product):
        self.folder, self.product, self.running, self.found, self.weed = folder, product, [], {}, None

    def available(self):
        """Names of what can be measured here."""
        there = [peer.name for peer in peers.installed()]
        return [name for name in NAMES if name in ("bare", *there) or (self.product and name in (*PRODUCT, COUNTED))]

    def target(self, name):
        if name not in self.found:
            target = self.found[name] = self.started(name)
            assert target.client.make_bucket(target.bucket).status == 200
        return self.found[name]

    def store(self):
        """A client of the one store that all share."""
        if self.weed is None:
            self.weed = self.keep(servers.SeaweedFs(self.folder / "weed", ("only",)))
            self.weed.start()
        return self.weed.regions()["only"]

    def keep(self, server):
        """It is stopped with the others."""
        self.running.append(server)
        return server

    def started(self, name):
        if name == "bare":
            return Target(name, self.store(), self.weed.children[0].pid)
        if peer := {kind.name: kind for kind in peers.installed()}.get(name):
            started = self.keep(peer(self.folder / name))
            started.start(self.store())
            return Target(name, started.client(self.store()), started.child.pid)
        relay = None
        if name == "s3":
            served = servers.Served(self.folder / name, self.store(), self.store().port)
        elif name == "fs":
            served = servers.Served(self.folder / name)
        elif name == "pg":
            served = servers.Served(self.folder / name, postgres=self.keep(servers.Postgres(self.folder / "database").start()))
        else:
            store = self.store()
            relay = Relay(store.port)
            served = servers.Served(self.folder / name, Client(store.endpoint, "us-east-1", store.access_key, store.secret_key), relay.port,
                                    bucket="counted-blobs")
        self.keep(served).start()
        return Target(name, served.client(), served.child.pid, relay, served.verb)

    def stop(self):
        for server in reversed(self.running):
            server.stop()
