"""Network namespaces as regions: names of their own per run, addresses of their own, and counters of packets in the kernel.

One namespace holds the clients and routes between the others, so nothing but the product's own manners keeps a packet from
crossing. In each region's namespace nftables counts what leaves it by (destination region, service), and anything else at
all; in the clients' namespace what is forwarded from one region to the other, or at all. IPv6 is routed and counted beside IPv4; of it
only what no router passes on is left out (fe80::/10, ff02::/16: neighbours of one link, of which each region has one, the clients).
Needs root, iproute2, nftables.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import threading

SERVICES = {"store": 443, "store-behind": 8333, "index": 5432, "collector": 4318, "data": 8443, "control": 8444, "observe": 8445}
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Net:
    """`with Net(("fr", "us")) as net:` – region R is at `net.address(R)` in namespace `net.name(R)`; the clients in `net.name("clients")`.

    `hosts`: region → names that mean its own address there."""

    def __init__(self, regions, hosts=None):
        self.id, self.regions, self.hosts = f"tr{secrets.token_hex(3)}", regions, hosts or {}

    def name(self, place):
        return f"{self.id}-{place}"

    def address(self, region):
        return f"10.77.{self.regions.index(region) + 1}.2"

    def clients_address(self, region):
        return f"10.77.{self.regions.index(region) + 1}.1"

    def network6(self, region):
        return f"fd77:{self.regions.index(region) + 1}::"

    def address6(self, region):
        return f"{self.network6(region)}2"

    def clients_address6(self, region):
        return f"{self.network6(region)}1"

    def etc(self, region):
        """What `ip netns exec` puts over /etc."""
        return pathlib.Path("/etc/netns", self.name(region))

    def __enter__(self):
        try:
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def build(self):
        run("ip", "netns", "add", self.name("clients"))
        self.inside("clients", "ip", "link", "set", "lo", "up")
        self.inside("clients", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for region in self.regions:
            there, link = self.name(region), f"v{self.id}{region}"
            run("ip", "netns", "add", there)
            run("ip", "-n", there, "link", "add", "up0", "type", "veth", "peer", "name", link, "netns", self.name("clients"))
            run("ip", "-n", there, "addr", "add", f"{self.address(region)}/24", "dev", "up0")
            run("ip", "-n", self.name("clients"), "addr", "add", f"{self.clients_address(region)}/24", "dev", link)
            for place, address, device in ((region, self.address6(region), "up0"), ("clients", self.clients_address6(region), link)):
                run("ip", "-n", self.name(place), "addr", "add", f"{address}/64", "dev", device, "nodad")
            for place, device in ((region, "lo"), (region, "up0"), ("clients", link)):
                run("ip", "-n", self.name(place), "link", "set", device, "up")
            run("ip", "-n", there, "route", "add", "default", "via", self.clients_address(region))
            run("ip", "-n", there, "-6", "route", "add", "default", "via", self.clients_address6(region))
            if region in self.hosts:
                self.etc(region).mkdir(parents=True)
                (self.etc(region) / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{self.address(region)} {name}\n" for name in self.hosts[region]))
        for place in (*self.regions, "clients"):
            self.inside(place, "nft", "-f", "-", input=self.rules(place))

    def rules(self, place):
        """Counters only; every packet is let through."""
        counters, lines = [], []

        def count(name, match):
            counters.append(f"  counter {name} {{}}")
            lines.append(f"    {match} counter name {name}")

        if place == "clients":
            for source in self.regions:
                for to in (region for region in self.regions if region != source):
                    count(f"forwarded-{source}-{to}", f"ip saddr {self.address(source)} ip daddr {self.address(to)}")
                    count(f"forwarded-{source}-{to}-6", f"ip6 saddr {self.network6(source)}/64 ip6 daddr {self.network6(to)}/64")
            count("forwarded-anything", "")
            chain = "type filter hook forward priority 0;"
        else:
            for to in self.regions:
                for service, port in SERVICES.items():
                    # Answers leave from these ports too: what is asked for goes to them.
                    count(f"{place}-{to}-{service}", f"ip daddr {self.address(to)} tcp dport {port}")
                if to != place:
                    count(f"{place}-{to}-anything", f"ip daddr {self.address(to)}")
                    count(f"{place}-{to}-anything-6", f"ip6 daddr {self.network6(to)}/64")
            known = ", ".join(["127.0.0.0/8", self.address(place), self.clients_address(place)])
            count(f"{place}-elsewhere", f"ip daddr != {{ {known} }}")
            known = ", ".join(["::1", self.address6(place), self.clients_address6(place), "fe80::/10", "ff02::/16"])
            count(f"{place}-elsewhere-6", f"ip6 daddr != {{ {known} }}")
            chain = "type filter hook output priority 0;"
        return "table inet terroir {\n" + "\n".join(counters) + f"\n  chain packets {{\n    {chain}\n" + "\n".join(lines) + "\n  }\n}\n"

    def packets(self):
        """Counter → packets, of all namespaces."""
        found = {}
        for place in (*self.regions, "clients"):
            said = json.loads(self.inside(place, "nft", "-j", "list", "counters").stdout)
            found |= {one["counter"]["name"]: one["counter"]["packets"] for one in said["nftables"] if "counter" in one}
        return found

    def command(self, place, command):
        return ["ip", "netns", "exec", self.name(place), *map(str, command)]

    def inside(self, place, *command, input=None):
        return run(*self.command(place, command), input=input)

    def thread(self, place, function, *arguments):
        """Calls it in a thread that lives there, as do the threads and sockets that it makes; its result."""
        outcome = []

        def there():
            try:
                enter(self.name(place))
                outcome.append((function(*arguments), None))
            except BaseException as error:
                outcome.append((None, error))

        worker = threading.Thread(target=there)
        worker.start()
        worker.join()
        result, error = outcome[0]
        if error:
            raise error
        return result

    def __exit__(self, *_):
        for place in (*self.regions, "clients"):
            with contextlib.suppress(Exception):
                for pid in run("ip", "netns", "pids", self.name(place)).stdout.split():
                    # Only what this run started can live in a namespace that only this run knows; threads of our own process do too.
                    if int(pid) != os.getpid():
                        os.kill(int(pid), 9)
            subprocess.run(["ip", "netns", "delete", self.name(place)], capture_output=True)
            shutil.rmtree(self.etc(place), ignore_errors=True)


def enter(name):
    """Moves this thread into a namespace, for good."""
    with open(f"/run/netns/{name}") as file:
        if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {name}")


def run(*command, input=None):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, input=input, timeout=30)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr.strip()} (network namespaces need root, iproute2 and nftables)")
    return done
