"""Residency as the network sees it: two regions in two network namespaces, and not one packet from the one to the other.

Nothing forbids the packets: the routes are open, every service listens on an address that the other region reaches, and at
the end one connection across proves it. Stores and proxies are reached over TLS under region files of their own, as in a
deployment; no overlay. Both drivers are under the counters: `fr` on an S3 store, `us` on Google's, whose library makes its own
connections, with the endpoint and the kind of credentials of the shipped region file; only the name leads to this network.
"""

import contextlib
import datetime
import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import evidence
import gcs
import liar
import netns
from cases import case, fresh, note, seed_of
from gcs import GcsDouble
from ledger import SMALL_MIX, Ledger, patiently
from liar import Liar
from servers import Postgres, Scratch, SeaweedFs, answers_200
from wire import Broken, Client, noise
from world import STORE_BUCKET, Load, strays_of

PORTS = netns.SERVICES
READY_S = 60
TEMPORARY = 75  # EX_TEMPFAIL of sysexits.h: try again
MISCONFIGURED = 78  # EX_CONFIG: only people help
INDEX = "postgres"  # a server in each namespace, over TLS; or "sqlite"
GOOGLE = "us"  # the region on Google's driver
ACCOUNT = "blobs@double.example"  # who it is there: a service account, which signs its own tokens
TELEMETRY = True  # whether the product sends any: then its own collector must have heard it


class Authority:
    """A certificate authority of this run, which everybody in it trusts and nobody else."""

    def __init__(self, folder):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        self.x509, self.hashes, self.serialization, self.ec, self.oid = x509, hashes, serialization, ec, NameOID
        self.folder, self.file = folder, folder / "ca.pem"
        self.key, self.name = ec.generate_private_key(ec.SECP256R1()), self.named("terroir test authority")
        self.certificate = self.signed(self.name, self.key.public_key(), [(x509.BasicConstraints(True, 0), True)])
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def named(self, text):
        return self.x509.Name([self.x509.NameAttribute(self.oid.COMMON_NAME, text)])

    def signed(self, name, key, extensions):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (self.x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key)
                   .serial_number(self.x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1)))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, self.hashes.SHA256())

    def server(self, region, address, hosts=()):
        """Paths of a certificate for `address` and names, and of its key."""
        key = self.ec.generate_private_key(self.ec.SECP256R1())
        names = self.x509.SubjectAlternativeName([self.x509.IPAddress(ipaddress.ip_address(address)), *map(self.x509.DNSName, hosts)])
        made = self.signed(self.named(region), key.public_key(), [(names, False), (self.x509.BasicConstraints(False, None), True)])
        certificate, private = self.folder / f"{region}.pem", self.folder / f"{region}.key"
        certificate.write_bytes(made.public_bytes(self.serialization.Encoding.PEM))
        private.touch(0o600)
        private.write_bytes(key.private_bytes(self.serialization.Encoding.PEM, self.serialization.PrivateFormat.PKCS8,
                                              self.serialization.NoEncryption()))
        return certificate, private

    def account(self, name, folder):
        """Paths of a service account's key file, as Google's console gives it out, and of its public key."""
        from cryptography.hazmat.primitives.asymmetric import rsa

        key, form = rsa.generate_private_key(65_537, 2_048), self.serialization
        file, public = folder / "account.json", folder / "account.der"
        pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
        file.touch(0o600)
        # The kind apart: the search for keys in this repository finds it beside its field.
        file.write_text(json.dumps({"type": "service" + "_account", "project_id": "terroir-tests", "private_key_id": "1", "private_key": pem,
                                    "client_email": name, "client_id": "1", "token_uri": "https://127.0.0.1:1/token"}))
        public.write_bytes(key.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.PKCS1))
        return file, public


class Place:
    """A region in a namespace of its own: store, relay before it, collector, proxy."""

    SERVICES = ("store", "store-behind", "index", "collector", "data")  # that listen there
    LIES = ("error-before", "error-after", "truncate", "reset", "flip")
    WRONG = ("flip",)  # of these, what only people help against: no process starts on a store that gives back other bytes
    HOSTS = ()

    def __init__(self, net, region, folder, authority, regions_dir, seed):
        self.net, self.region, self.folder = net, region, folder / region
        self.address = net.address(region)
        self.folder.mkdir()
        self.binary, self.child = os.environ["TERROIR_BIN"], None
        self.certificate, self.key = authority.server(region, self.address, self.HOSTS)
        self.authority, self.regions_dir, self.seed = authority, regions_dir, seed
        self.log = self.folder / "log"
        self.weed = self.made_store()

    def made_store(self):
        return SeaweedFs(self.folder / "store", (self.region,), self.address, PORTS["store-behind"], self.net.command(self.region, []))

    def start_store(self, tls):
        """The store and what lies before it; the variables that tell the proxy who it is there."""
        self.weed.start()
        self.store = self.weed.regions()[self.region]
        self.liar = self.net.thread(self.region, lambda: Liar(PORTS["store-behind"], self.address, self.address, PORTS["store"], tls, self.seed))
        return {"STORE_KEY_ID": self.store.access_key, "STORE_SECRET": self.store.secret_key}

    def lie(self, but=()):
        self.liar.at_rate(0.1, [lie for lie in self.LIES if lie not in but], ("GET", "PUT"))

    def start(self):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.certificate, self.key)
        secrets = self.start_store(tls)
        assert self.store.make_bucket(STORE_BUCKET).status == 200
        self.collector = Collector(self.net, self.region, tls)
        self.collector.open()
        self.sinks = []
        if INDEX != "postgres":
            self.sinks.append(self.net.thread(self.region, socket.create_server, (self.address, PORTS["index"])))
        self.postgres = None
        if INDEX == "postgres":
            self.postgres = Postgres(self.folder / "postgres", self.address, PORTS["index"], self.net.command(self.region, []),
                                     (self.authority.file, self.certificate, self.key)).start()
        config = self.folder / "terroir.toml"
        config.write_text(f"""environment = "netns"
regions-dir = "{self.regions_dir}"

[region.{self.region}]
state-dir = "{self.folder}/state"
listen = {{ data = "{self.address}:{PORTS['data']}", control = "{self.address}:{PORTS['control']}", observe = "{self.address}:{PORTS['observe']}" }}

[region.{self.region}.tls]
certificate = "{self.certificate}"
private-key = "file:{self.key}"
""")
        self.config = config
        self.env = {**os.environ, **secrets,
                    "SSL_CERT_FILE": str(self.authority.file), "RUST_LOG": "info", "DATABASE_URL": self.postgres.url if self.postgres else ""}
        self.begin()
        self.verb("tenant", "create", "clinic", "--default-class", "health")
        shown = json.loads(self.verb("credential", "create", "clinic", "--json").stdout)
        self.access_key, self.secret_key = shown["access_key"], shown["secret_key"]
        self.client = self.client_at(self)
        self.bucket = fresh(f"mark{self.region}bucket")
        assert patiently(self.client, "send", "GET", "/").status in (200, 403)
        deadline = time.monotonic() + 10
        while self.client.make_bucket(self.bucket).status != 200:
            assert time.monotonic() < deadline, "a new access key was not known after 10 s"
            time.sleep(0.1)
        return self

    def begin(self):
        self.spawn()
        deadline = time.monotonic() + READY_S
        while not answers_200(f"http://{self.address}:{PORTS['observe']}/ready"):
            if self.child.poll() == TEMPORARY and time.monotonic() < deadline:
                # As its supervisor would: the store that it probes at the start may be one that fails.
                time.sleep(0.5)
                self.spawn()
            elif self.child.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("terroir serve is not ready:\n" + "\n".join(self.log.read_text().splitlines()[-20:]))
            time.sleep(0.05)

    def spawn(self):
        command = self.net.command(self.region, [self.binary, "serve", "--config", self.config, "--region", self.region])
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)

    def verb(self, *words):
        command = self.net.command(self.region, [self.binary, *words, "--region", self.region, "--config", self.config])
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=self.env)
        assert done.returncode == 0, f"terroir {' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}"
        return done

    def client_at(self, place, scope=None):
        """A client with this region's access key at the data listener of `place`."""
        client = Client(f"https://{place.address}:{PORTS['data']}", scope or self.region, self.access_key, self.secret_key)
        client.tls = ssl.create_default_context(cafile=self.authority.file)
        return client

    def kill(self):
        self.child.kill()
        self.child.wait()

    def end(self):
        if self.child and self.child.poll() is None:
            self.kill()
        for sink in getattr(self, "sinks", []):
            liar.slam(sink, gently=True)
        if hasattr(self, "collector"):
            self.collector.kill()
        if hasattr(self, "liar"):
            self.liar.close()
        self.weed.stop()
        if getattr(self, "postgres", None):
            self.postgres.stop()


class GooglePlace(Place):
    """The same on Google's driver: the double of Google Cloud Storage itself ends TLS, and lies."""

    SERVICES = ("store", "index", "collector", "data")
    LIES = ("refuse=503", "reset", "lose-answer", "break-off=60", "flip=190")
    WRONG = ("flip=190",)
    HOSTS = (gcs.HOST,)

    def made_store(self):
        account, public = self.authority.account(ACCOUNT, self.folder)
        assert account == account_file(self.folder.parent, self.region)
        return GcsDouble(self.folder / "store", self.address, PORTS["store"], self.net.command(self.region, []),
                         (self.authority.file, self.certificate, self.key), (ACCOUNT, public))

    def start_store(self, _tls):
        self.store = self.liar = self.weed.start()
        return {}

    def lie(self, but=()):
        self.liar.at_rate(0.1, [lie for lie in self.LIES if lie not in but], ("upload", "download", "control"))


def account_file(folder, region):
    return folder / region / "account.json"


class Collector:
    """Says yes to whatever is posted, over TLS. What is in it is not this case's question, whether packets came is."""

    def __init__(self, net, region, tls):
        self.net, self.region, self.tls, self.listener, self.socks = net, region, tls, None, []

    def open(self):
        self.listener = self.net.thread(self.region, socket.create_server, (self.net.address(self.region), PORTS["collector"]))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                sock = listener.accept()[0]
                self.socks.append(sock)
                threading.Thread(target=self.answered, args=(sock,), daemon=True).start()

    def answered(self, sock):
        try:
            with self.tls.wrap_socket(sock, server_side=True) as inner:
                self.socks.append(inner)
                reader = inner.makefile("rb")
                while True:
                    _, headers, _ = liar.read_head(reader)
                    liar.read_body(reader, headers, to_end=False)
                    inner.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
        except (OSError, ValueError, liar.Ended):
            sock.close()

    def kill(self):
        """Nobody listens any more, and what was connected is cut."""
        for sock in (self.listener, *self.socks):
            liar.slam(sock, gently=True)
        self.socks = []


class Astray(threading.Thread):
    """Knocks at the wrong region, in every scope, with and without bodies, with keys that nobody knows: never gets further than the door."""

    def __init__(self, home, abroad):
        super().__init__(daemon=True)
        self.home, self.abroad, self.halt, self.answers, self.fault = home, abroad, threading.Event(), {}, None

    def run(self):
        clients = [self.home.client_at(self.abroad, scope) for scope in (self.home.region, self.abroad.region)]
        stranger = Client(clients[0].endpoint, self.abroad.region, "NOBODYKNOWSTHISKEY00", "nothing")
        stranger.tls = clients[0].tls
        turn = 0
        while not self.halt.is_set():
            client, wanted = ((clients + [stranger])[turn % 3], 403 if turn % 3 == 2 else 301)
            method, body = (("GET", b""), ("PUT", noise(turn, 3_000)), ("DELETE", b""), ("HEAD", b""))[turn % 4]
            turn += 1
            try:
                status = client.send(method, f"/{self.home.bucket}/astray", body=body).status
                self.answers[status] = self.answers.get(status, 0) + 1
                if status not in (wanted, 503):
                    self.fault = f"{method} at the wrong region: {status}"
            except (Broken, OSError):  # it is being killed
                client.close()
            self.halt.wait(0.01)


FAULT = "two regions (S3, Google) in two network namespaces, stores lying, proxies, stores, indexes and collectors killed"


@case(needs="own", alone=True, limit_s=900, evidence=True)
def no_packet_goes_from_one_region_to_the_other():
    seed = seed_of("netns")
    with Scratch() as folder, netns.Net(("fr", "us"), {GOOGLE: GooglePlace.HOSTS}) as net:
        note(net.thread("clients", two_regions, net, folder, seed))


@case(needs="own", alone=True, limit_s=180)
def google_is_spoken_to_only_under_a_certificate_that_the_systems_roots_vouch_for():
    """The library takes no roots of ours: SSL_CERT_FILE is the way to it, for bodies (JSON) as for the rest (gRPC)."""
    with Scratch() as folder, netns.Net((GOOGLE,), {GOOGLE: GooglePlace.HOSTS}) as net:
        net.thread("clients", vouched_for, net, folder)


def vouched_for(net, folder):
    authority = Authority(folder)
    place = GooglePlace(net, GOOGLE, folder, authority, regions_of(net, folder / "regions"), "vouched")
    try:
        place.start()
        assert place.client.put(place.bucket, "k", b"x").status == 200
        calls = {seen.call for seen in place.weed.requests()}
        assert calls == {"control", "upload", "download"}, calls
        place.kill()
        before = len(place.weed.requests())
        (folder / "other").mkdir()
        place.env["SSL_CERT_FILE"] = str(Authority(folder / "other").file)
        place.spawn()
        assert place.child.wait(90) == MISCONFIGURED, place.log.read_text()[-2_000:]
        assert len(place.weed.requests()) == before, "something was asked of a store that nobody vouches for"
    finally:
        place.end()


def two_regions(net, folder, seed):
    authority = Authority(folder)
    regions_dir = regions_of(net, folder / "regions")
    places = [(GooglePlace if region == GOOGLE else Place)(net, region, folder, authority, regions_dir, f"{seed}-{region}") for region in net.regions]
    try:
        for place in places:
            place.start()
        fr, us = places
        ledger, beside, strays, (own_requests, of_them_acknowledged) = work(fr, us, seed)
        counted = net.packets()
        for place, one in ((fr, ledger), (us, beside)):
            one.verify(place.client, place.bucket)
            for stray in strays_of(place)[0]:
                one.add("abroad", stray)
            one.clean()
        after = net.packets()
        judge(net, after)
        control(net, after, places)
        answers = {status: sum(one.answers.get(status, 0) for one in strays) for one in strays for status in one.answers}
        strangers = list(gcs.strangers(us.weed, STORE_BUCKET, ("Bearer ey",)))  # a token that was signed, never none
        assert not strangers, strangers[:5]
        own = {name: counted[name] for name in counted if name.split("-")[0] == name.split("-")[1] and counted[name]}
        evidence.row("no_packet_goes_from_one_region_to_the_other", FAULT, [ledger, beside], seed,
                     own_requests_answered_while_a_fault_was_on=own_requests, of_them_acknowledged=of_them_acknowledged, at_the_wrong_region=f"{sum(answers.values())} ({answers})",
                     faults_of_the_stores=f"fr {fr.liar.faults()}, us {us.liar.faults()}",
                     packets_between_the_regions="0 of IPv4, 0 of IPv6", packets_to_own_services=own)
        return (f"{own_requests} requests of their own answered under faults, {of_them_acknowledged} of them acknowledged, "
                f"wrong region {answers}, faults of the stores {fr.liar.faults()} {us.liar.faults()}, between the regions 0 packets, to their own {own}")
    finally:
        for place in places:
            place.end()


def work(fr, us, seed):
    """Both tenants at once, while stores lie; meanwhile everything else is killed, in turn. Until enough of their own requests were
    answered while a fault was on: those at the wrong region, and those before the first fault and after the last, do not count."""
    wanted = evidence.length("TERROIR_NETNS_REQUESTS", 2_500, 10_000)
    strays = [Astray(fr, us), Astray(us, fr)]
    load, beside = Load(fr, seed, 4, mix=SMALL_MIX, pause_s=0.01), Load(us, seed, 4, mix=SMALL_MIX, pause_s=0.01)
    answered = lambda: sum(sum(one.ledger.codes.values()) for one in (load, beside))  # noqa: E731
    acknowledged = lambda: sum(one.ledger.counts["acknowledged"] for one in (load, beside))  # noqa: E731

    with load, beside:
        for one in strays:
            one.start()
        load.until("acknowledged", 50)
        beside.until("acknowledged", 50)
        for place in (fr, us):
            place.lie()
        before, acknowledged_before = answered(), acknowledged()

        def until(share):
            deadline = time.monotonic() + 600
            while answered() - before < wanted * share:
                assert time.monotonic() < deadline, f"only {answered() - before} of {wanted} answered"
                time.sleep(0.05)

        until(0.2)
        for number, place in enumerate((fr, us)):
            place.lie(but=place.WRONG)
            place.kill()
            place.begin()
            place.lie()
            until(0.3 + number / 10)
        for number, place in enumerate((fr, us)):
            place.weed.kill()
            time.sleep(1)
            place.weed.revive()
            place.weed.wait_until_ready()
            place.lie()  # the double forgets what it was told
            until(0.5 + number / 10)
        for number, place in enumerate((fr, us)):
            if place.postgres:
                place.postgres.kill()
                time.sleep(1)
                place.postgres.start()
            until(0.7 + number / 10)
        for place in (fr, us):
            place.collector.kill()
        until(0.9)
        for place in (fr, us):
            place.collector.open()
        until(1.0)
        counted = answered() - before, acknowledged() - acknowledged_before
        assert counted[1] > wanted // 4, f"of {counted[0]} requests under faults only {counted[1]} did anything"
        for place in (fr, us):
            place.liar.honest()
        for one in (load, beside):
            one.until("acknowledged", 20)
        for one in strays:
            one.halt.set()
            one.join(90)
            assert not one.fault, one.fault
    assert all(one.answers.get(301, 0) > 10 and one.answers.get(403, 0) > 5 for one in strays), [one.answers for one in strays]
    return load.ledger, beside.ledger, strays, counted


def judge(net, packets):
    """Not one packet of a region to the other, to whichever service, nor anywhere else."""
    crossed = {name: count for name, count in packets.items() if count and is_crossing(name)}
    assert not crossed, f"packets crossed: {crossed}"
    if TELEMETRY:
        assert all(packets[f"{region}-{region}-collector"] > 3 for region in net.regions), packets
    if INDEX == "postgres":
        assert all(packets[f"{region}-{region}-index"] > 100 for region in net.regions), packets
    for region in net.regions:
        assert packets[f"{region}-{region}-store"] > 100, f"the counter of its own store counts nothing: {packets}"


def is_crossing(name):
    first, second, *_ = name.split("-")
    return first == "forwarded" or second == "elsewhere" or first != second


def control(net, before, places):
    """The same counters see one connection across, to every service, and the connection is made: nothing stood in its way, over IPv6 either."""
    services = {place.region: place.SERVICES for place in places}
    for source in net.regions:
        for to in (region for region in net.regions if region != source):
            for service in services[to]:
                net.thread(source, lambda port: socket.create_connection((net.address(to), port), 5).close(), PORTS[service])
            with net.thread(to, lambda: socket.create_server((net.address6(to), PORTS["data"]), family=socket.AF_INET6)):
                net.thread(source, lambda: socket.create_connection((net.address6(to), PORTS["data"]), 5).close())
            packets = net.packets()
            for name in (*(f"{source}-{to}-{service}" for service in services[to]), f"{source}-{to}-anything", f"{source}-{to}-anything-6",
                         f"forwarded-{source}-{to}", f"forwarded-{source}-{to}-6", "forwarded-anything", f"{source}-elsewhere", f"{source}-elsewhere-6"):
                assert packets[name] > before[name], f"the counter {name} is blind"


def regions_of(net, folder):
    """The repository's region files, with endpoints of this network in place of a deployment's."""
    import shutil

    shutil.copytree(evidence.ROOT / "regions", folder)
    for region in net.regions:
        address, path = net.address(region), folder / f"{region}.toml"
        shipped = text = path.read_text()
        text = re.sub(r'(\[endpoints\]\ns3 = )"[^"]*"', rf'\1"https://{address}:{PORTS["data"]}"', text)
        if region == GOOGLE:
            # As shipped, but for the bucket's name and where the account's key lies.
            assert f'endpoint = "https://{gcs.HOST}"' in text and f'hosts = ["{gcs.HOST}"]' in text, "the shipped region has another endpoint"
            text = re.sub(r'(\[store\.gcs\]\n.*\nbucket = )".*"', rf'\1"{STORE_BUCKET}"', text)
            text = re.sub(r'(service-account = )"file:.*?"', rf'\1"file:{account_file(folder.parent, region)}"', text)
        else:
            text = re.sub(r'(\[facets\.storage\]\ncountries = .*\n)hosts = .*', rf'\1hosts = ["{address}"]', text)
            text = re.sub(r'\[store\.\w+\]\n(?:.+\n)+', f"""[store.s3]
endpoint = "https://{address}"
bucket = "{STORE_BUCKET}"
prefix = "blobs/"
signing-region = "us-east-1"
access-key-id = "env:STORE_KEY_ID"
secret-access-key = "env:STORE_SECRET"
path-style = true
""", text)
        if TELEMETRY:
            text = re.sub(r'\n(\[index\.)', rf'\n[telemetry]\notlp = "https://{address}:{PORTS["collector"]}"\n\n\1', text, count=1)
            text = re.sub(r'(\[facets\.telemetry\]\ncountries = .*\n)', rf'\1hosts = ["{address}:{PORTS["collector"]}"]\n', text)
        if INDEX == "postgres":
            database = f'host = "{address}:{PORTS["index"]}"\nurl = "env:DATABASE_URL"\n'
            for facet in ("index", "keys"):
                text = re.sub(rf'(\[facets\.{facet}\]\ncountries = .*\n)', rf'\1hosts = ["{address}:{PORTS["index"]}"]\n', text)
            text = re.sub(r'\[index\.sqlite\]\n(?:.+\n)+', f"[index.postgres]\n{database}\n[key-store.postgres]\n{database}", text)
        assert text != shipped
        path.write_text(text)
    return folder
