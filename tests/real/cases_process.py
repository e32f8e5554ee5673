"""The process over TLS, as operators handle it: SIGTERM and new certificates under load, HTTP/2 by real clients, what it tells."""

import datetime
import http.client
import json
import os
import pathlib
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import evidence
import http2
import ports
import servers
import tools
from cases import case, fresh, note, seed_of
from http2 import Gone, Lost
from ledger import Ledger, Worker, patiently
from wire import Answer, Client, noise

TENANT = "lyon"
PATIENCE_S = 60


class Secure:
    """`terroir serve` of region fr over TLS on loopback, its store in a folder."""

    def __init__(self, home, limits=""):
        self.binary, self.home, self.child = os.environ["TERROIR_BIN"], pathlib.Path(home), None
        self.home.mkdir(parents=True, exist_ok=True)
        self.base, self.log = ports.claim(), self.home / "log"
        self.certify()
        (self.home / "overlay.toml").write_text("""name = "loopback"
[regions.fr]
store = { fs = { path = "store" } }
index = { sqlite = { path = "index/index.sqlite3" } }
keys = { local-file = { path = "keys/roots" } }
audit = { directory = "audit" }
""")
        self.config = self.home / "terroir.toml"
        self.config.write_text(f"""environment = "tests"
overlay = "{self.home}/overlay.toml"
[region.fr]
state-dir = "{self.home}/fr"
listen = {{ data = "127.0.0.1:{self.base}", control = "127.0.0.1:{self.base + 1}", observe = "127.0.0.1:{self.base + 2}" }}
tls = {{ certificate = "{self.home}/tls.crt", private-key = "file:{self.home}/tls.key" }}
[limits]
{limits}
""")

    def certify(self):
        """A new self-signed pair, renamed over the old one; clients trust all there were."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        # A name of its own: who trusts several of one name finds only the first.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"terroir tests {time.time_ns()}")])
        now = datetime.datetime.now(datetime.timezone.utc)
        made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=2))
                .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
                .sign(key, hashes.SHA256()))
        pem = made.public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                   serialization.NoEncryption())
        with open(self.home / "trusted.pem", "ab") as trusted:
            trusted.write(pem)
        for file, content in (("tls.crt", pem), ("tls.key", secret)):
            (self.home / (file + ".new")).write_bytes(content)
            (self.home / (file + ".new")).rename(self.home / file)
        return made.public_bytes(serialization.Encoding.DER)

    def start(self):
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen([self.binary, "serve", "--config", self.config, "--region", "fr"],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while not servers.answers_200(self.observe("/ready")):
            assert self.child.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return self

    def observe(self, path):
        return f"http://127.0.0.1:{self.base + 2}{path}"

    def said(self, path):
        """Status, text and how long it took."""
        start = time.monotonic()
        try:
            with urllib.request.urlopen(self.observe(path), timeout=10) as reply:
                return reply.status, reply.read().decode(), time.monotonic() - start
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), time.monotonic() - start

    def verb(self, *words):
        done = subprocess.run([self.binary, *words, "--region", "fr", "--config", self.config, "--json"],
                              capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def credential(self):
        """Access key and secret of a tenant; made before the start, so that the server knows them from its first moment."""
        self.verb("tenant", "create", TENANT, "--default-class", "health")
        shown = self.verb("credential", "create", TENANT)
        return shown["access_key"], shown["secret_key"]

    def client(self, keys):
        return Strict(f"https://localhost:{self.base}", keys, self.home / "trusted.pem")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()


class Strict(Client):
    """Follows the protocol (honours `Connection: close`) and repeats nothing: what was sent must be answered, or is in `lost`."""

    def __init__(self, endpoint, keys, trusted):
        super().__init__(endpoint, "fr", *keys)
        self.trusted, self.lost = trusted, []
        self.anew, self.renewed = threading.Event(), 0

    def connection(self):
        if self.anew.is_set():
            self.anew.clear()
            self.renewed += 1
            self.close()
        if getattr(self.local, "connection", None) is None:
            context = ssl.create_default_context(cafile=str(self.trusted))
            made = http.client.HTTPSConnection(self.host, self.port, timeout=PATIENCE_S, context=context)
            try:
                made.connect()
            except OSError as error:  # refused, or not taken: no request was sent
                raise Gone from error
            self.local.connection = made
        return self.local.connection

    def exchange(self, method, where, head, chunks):
        connection = self.connection()
        try:
            connection.putrequest(method, where, skip_host=True, skip_accept_encoding=True)
            for name, value in head.items():
                connection.putheader(name, value)
            connection.endheaders()
            for chunk in chunks:
                connection.send(chunk)
            reply = connection.getresponse()
            body = reply.read()
        except (http.client.HTTPException, OSError) as error:
            self.close()
            self.lost.append(f"{method}: {type(error).__name__} {error}")
            raise Lost(self.lost[-1]) from error
        if reply.will_close:
            self.close()
        return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, body)


class Pool:
    """The HTTP/2 connection that some clients share: a new one when the one before takes no more."""

    def __init__(self, server):
        self.server, self.lock, self.current, self.made = server, threading.Lock(), None, []

    def connection(self):
        with self.lock:
            if self.current is None or not self.current.usable():
                context = ssl.create_default_context(cafile=str(self.server.home / "trusted.pem"))
                self.current = http2.Connection("localhost", self.server.base, context, PATIENCE_S)
                self.made.append(self.current)
            return self.current


class Multiplexed(Client):
    """`Strict` over HTTP/2, on a connection that it shares. `not_begun`: what the server said itself that it did nothing with."""

    def __init__(self, endpoint, keys, pool):
        super().__init__(endpoint, "fr", *keys)
        self.pool, self.lost, self.not_begun = pool, [], 0

    def exchange(self, method, where, head, chunks):
        connection = self.pool.connection()
        named = {name: value for name, value in head.items() if name != "host"}
        try:
            return connection.request(method, head["host"], where, named, b"".join(chunks))
        except http2.NotBegun:
            self.not_begun += 1
            raise
        except Lost as error:
            self.lost.append(f"{method}: {error}")
            raise

    def close(self):
        """The others go on with it."""


# Small ones: the time of a case is to go into requests that meet its event.
MIX = ("small", "small", "medium", "conditional", "read", "read", "read", "range", "delete")


class Load:
    """Six clients of ours and two of boto3 that work as fast as they can, also while nobody listens, until they are told to stop.
    `multiplexed`: ours speak HTTP/2, three on one connection."""

    def __init__(self, server, keys, bucket, seed, mix=MIX, multiplexed=False):
        self.server, self.keys, self.bucket, self.ledger, self.lost = server, keys, bucket, Ledger(), []
        self.halt, self.lock, self.chance_seed = threading.Event(), threading.Lock(), seed
        self.pools = [Pool(server), Pool(server)] if multiplexed else []
        clients = [Multiplexed(server.client(keys).endpoint, keys, self.pools[number % 2]) if multiplexed else server.client(keys) for number in range(6)]
        self.workers = [Worker(number, client, bucket, self.ledger, seed, mix, pause_s=0.01) for number, client in enumerate(clients)]
        self.others = [threading.Thread(target=self.boto3, args=(number,), daemon=True) for number in range(2)]

    def __enter__(self):
        for thread in (*self.workers, *self.others):
            thread.start()
        return self

    def __exit__(self, *exception):
        self.halt.set()
        for worker in self.workers:
            worker.halt.set()
        for thread in (*self.workers, *self.others):
            thread.join(PATIENCE_S)
        if exception[0] is None:
            assert not any(thread.is_alive() for thread in (*self.workers, *self.others)), "a client hangs"
            self.check()

    def check(self):
        """Nothing that was sent went without its answer, and no answer was a refusal."""
        lost = self.lost + [lost for worker in self.workers for lost in worker.client.lost]
        lost += [worker.fault for worker in self.workers if worker.fault]
        assert not lost, lost
        assert not self.ledger.counts["refused"], self.ledger.codes
        self.ledger.clean()

    def boto3(self, number):
        import botocore.exceptions

        s3 = boto3_strict(self.server.client(self.keys), self.server.home / "trusted.pem")
        key, turn = self.ledger.key(self.bucket, f"boto3-{number}"), 0
        while not self.halt.is_set():
            seed, turn = f"{self.chance_seed}-boto3-{number}-{turn}", turn + 1
            try:
                self.ledger.add("operations")
                state = key.trying(seed, 20_000)
                key.possible = key.possible | {state}
                s3.put_object(Bucket=self.bucket, Key=key.name, Body=noise(seed, 20_000))
                key.possible = {state}
                self.ledger.add("acknowledged")
                self.ledger.add("operations")
                body = s3.get_object(Bucket=self.bucket, Key=key.name)["Body"].read()
                self.ledger.add("acknowledged")
                self.ledger.judge(key, Answer(200, {}, body))
            except (botocore.exceptions.EndpointConnectionError, botocore.exceptions.SSLError):
                self.ledger.add("broken")  # not connected: nothing was asked
                self.halt.wait(0.02)
            except Exception as error:
                with self.lock:
                    self.lost.append(f"boto3: {type(error).__name__} {error}")
                return

    def until(self, acknowledged):
        """Waits for so many more."""
        goal, deadline = self.ledger.counts["acknowledged"] + acknowledged, time.monotonic() + PATIENCE_S
        while self.ledger.counts["acknowledged"] < goal:
            self.check()
            assert time.monotonic() < deadline, self.ledger.counts
            time.sleep(0.02)


def boto3_strict(client, trusted):
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(client.access_key, client.secret_key, region_name=client.region)
    return session.client("s3", endpoint_url=client.endpoint, verify=str(trusted), config=Config(
        s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}))


def bucket_at(server, keys):
    bucket = fresh("process")
    answer = server.client(keys).make_bucket(bucket)
    assert answer.status == 200, answer
    return bucket


def told(name, fault, load, seed, checked, recovery_s=None, **facts):
    evidence.row(name, fault, load.ledger, seed, None, recovery_s, unasked=("abroad",), **facts, keys_checked=checked)
    counts = load.ledger.counts
    note(f"{counts['operations']} operations, {counts['acknowledged']} acknowledged, 0 of those that were sent lost, {facts}")


@case(needs="own", alone=True, limit_s=1_200, evidence=True)
def sigterm_under_load_over_tls_fails_no_request():
    """Again and again: SIGTERM while eight clients ask as fast as they can, a drain, and a new process. With one second of notice, and with
    none, as it is unless set; in HTTP/1.1 and in HTTP/2."""
    for how, limits, multiplexed in (("one second of notice", "drain-notice-ms = 1000", False), ("no notice, the default", "", False),
                                     ("no notice, six of eight clients in HTTP/2", "", True)):
        drained(f"SIGTERM under load over TLS, {how}; a supervisor starts the process again", limits, multiplexed)


def drained(fault, limits, multiplexed):
    seed, rounds = seed_of("sigterm"), evidence.length("TERROIR_DRAINS", 5, 50)
    with servers.Scratch() as folder, Secure(folder / "tls", limits) as server:
        keys = with_a_tenant(server)
        bucket, downs, drains = bucket_at(server, keys), [], []
        with Load(server, keys, bucket, seed, multiplexed=multiplexed) as load:
            for round_ in range(rounds):
                load.until(60 + 7 * (round_ % 10))
                server.child.send_signal(signal.SIGTERM)
                asked = time.monotonic()
                if limits:
                    told_of_the_drain(server, asked)
                assert server.child.wait(PATIENCE_S) == 0, server.log.read_text()
                drains.append(time.monotonic() - asked)
                ended = time.monotonic()
                server.start()
                again = server.client(keys)
                patiently(again, "get", bucket, "boto3-0")
                again.close()
                downs.append(time.monotonic() - ended)
        checked = load.ledger.verify(server.client(keys), bucket)
        load.ledger.clean()
        facts = {}
        if multiplexed:
            made = [connection for pool in load.pools for connection in pool.made]
            # Each drain ends each connection, and says so.
            assert len(made) >= 2 * rounds and sum(connection.goaways > 0 for connection in made) >= 2 * rounds, [one.ended for one in made]
            assert max(connection.together for connection in made) > 1, "one at a time is not what HTTP/2 is for"
            facts = {"http_2_connections": len(made), "most_requests_at_once_on_one": max(connection.together for connection in made),
                     "not_begun_and_said_so": sum(worker.client.not_begun for worker in load.workers)}
        told("sigterm_under_load_over_tls_fails_no_request", fault, load, seed, checked, sorted(downs)[rounds // 2], drains=rounds,
             notice_s=int(bool(limits)), requests_sent_and_not_answered=0, longest_from_signal_to_end_s=f"{max(drains):.1f}", **facts)


def told_of_the_drain(server, asked):
    """While there is notice, `/ready` says it, and `/live` is as ever."""
    while (said := server.said("/ready"))[0] == 200:
        assert time.monotonic() - asked < 10, "a drain that nobody is told of"
    assert said[0] == 503 and "draining" in said[1], said
    assert server.said("/live")[0] == 200


@case(needs="own", alone=True, limit_s=600, evidence=True)
def a_new_certificate_under_load_fails_no_request():
    """Pairs, each renamed over the one before, found by the server's own look or told by SIGHUP by turns; then a broken one."""
    seed, rounds = seed_of("certificates"), evidence.length("TERROIR_CERTIFICATES", 5, 40)
    with servers.Scratch() as folder, Secure(folder / "tls", "reload-check-ms = 500") as server:
        keys = with_a_tenant(server)
        bucket, shown_in = bucket_at(server, keys), []
        with Load(server, keys, bucket, seed) as load:
            load.until(40)
            for round_ in range(rounds):
                pair = server.certify()
                renamed = time.monotonic()
                if round_ % 2:
                    server.child.send_signal(signal.SIGHUP)
                while shown(server) != pair:
                    assert time.monotonic() < renamed + PATIENCE_S, "the new certificate is not shown"
                    time.sleep(0.02)
                shown_in.append(time.monotonic() - renamed)
                # Half of the clients connect anew, so that requests meet the new pair; the others' connections go on.
                for worker in load.workers[::2]:
                    worker.client.anew.set()
                load.until(20)
            (server.home / "tls.crt").write_text("no certificate")
            server.child.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + PATIENCE_S
            while "terroir_certificate_reloads_failed_total 0" in server.said("/metrics")[1]:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert shown(server) == pair
            load.until(20)
        checked = load.ledger.verify(server.client(keys), bucket)
        load.check()
        assert not load.ledger.counts["broken"], load.ledger.codes
        page = server.said("/metrics")[1]
        end = int(next(line for line in page.splitlines() if line.startswith("terroir_certificate_not_after_seconds ")).split()[1])
        assert 86_400 < end - time.time() < 3 * 86_400, end
        told("a_new_certificate_under_load_fails_no_request", "certificate and its key replaced under load", load, seed, checked, pairs=rounds,
             broken_pairs_not_taken=1, connected_anew=sum(worker.client.renewed for worker in load.workers),
             longest_until_shown_s=f"{max(shown_in):.1f}")


def with_a_tenant(server):
    """A served region; the keys of a tenant that its process knows from its first moment."""
    server.start()
    server.child.terminate()
    assert server.child.wait(PATIENCE_S) == 0, server.log.read_text()
    keys = server.credential()
    server.start()
    return keys


def shown(server):
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("localhost", server.base)))


@case(needs="own")
def real_clients_speak_http2():
    with servers.Scratch() as folder, Secure(folder / "tls") as server:
        keys = with_a_tenant(server)
        client, bucket = server.client(keys), bucket_at(server, keys)
        source, back = folder / "in", folder / "back"
        source.mkdir()
        for number in range(30):
            (source / f"record-{number}").write_bytes(noise(f"h2-{number}", 50 * number * number))
        (source / "big").write_bytes(noise("h2-big", 40 << 20))
        trust = ("--ca-cert", server.home / "trusted.pem")
        tools.rclone(client, "copy", "--transfers", "8", source, f"t:{bucket}/d", *trust)
        tools.rclone(client, "check", "--download", source, f"t:{bucket}/d", *trust)
        tools.rclone(client, "copy", f"t:{bucket}/d", back, *trust)
        assert all((back / file.name).read_bytes() == file.read_bytes() for file in source.iterdir())
        curl = ["curl", "-sS", "--http2", "--cacert", server.home / "trusted.pem", "--aws-sigv4", "aws:amz:fr:s3", "--user",
                ":".join(keys), "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-o", folder / "got", "-w",
                "%{http_version} %{response_code}", f"{client.endpoint}/{bucket}/d/record-7"]
        said = subprocess.run(curl, capture_output=True, text=True, timeout=PATIENCE_S)
        assert said.stdout == "2 200", said
        assert (folder / "got").read_bytes() == (source / "record-7").read_bytes()


@case(needs="own")
def exit_codes_settings_and_limits_are_what_is_told():
    with servers.Scratch() as folder, Secure(folder / "tls", "connections-max = 900000") as server:
        def ends(*words, **env):
            done = subprocess.run([server.binary, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S,
                                  env={**os.environ, **env})
            return done.returncode, done.stdout + done.stderr

        assert ends()[0] == 64 and ends("serve", "--frobnicate")[0] == 64
        assert ends("--help")[0] == 0 and "78 the" in ends("--help")[1]
        assert ends("serve", "--config", folder / "absent.toml", "--region", "fr")[0] == 78
        assert ends("check", TERROIR_LOG="terroir=loud")[0] == 78
        server.start()
        # The same addresses a second time, on state of its own.
        other = server.config.read_text().replace(f"{server.home}/fr", f"{server.home}/other")
        (folder / "other.toml").write_text(other)
        code, said = ends("serve", "--config", folder / "other.toml", "--region", "fr")
        assert code == 69 and "cannot listen" in said, (code, said)
        log = server.log.read_text()
        for line in ("environment = tests", f"region.fr.tls.private-key = file:{server.home}/tls.key", "limits.drain-idle-ms-max = 500"):
            assert line in log, (line, log)
        secret = (server.home / "tls.key").read_text().splitlines()[1]
        assert secret not in log and secret not in said
        limits = pathlib.Path(f"/proc/{server.child.pid}/limits").read_text().splitlines()
        core = next(line for line in limits if line.startswith("Max core file size")).split()
        assert core[4:6] == ["0", "0"], core
        files = next(line for line in limits if line.startswith("Max open files")).split()
        assert files[3] == files[4], files
        if int(files[4]) < 900_000:
            assert "connections_lowered" in log, log


@case(needs="own", alone=True)
def a_frozen_store_leaves_live_and_ready_alone_and_is_told():
    with servers.Scratch() as folder:
        store = servers.SeaweedFs(folder / "weed", regions=("fr",))
        try:
            weed = store.start().regions()["fr"]
            server = servers.Served(folder / "served", weed, weed.port).start()
            try:
                client = server.client()
                bucket = fresh("frozen")
                assert client.make_bucket(bucket).status == 200
                assert client.put(bucket, "a", b"before").status == 200
                os.kill(store.children[0].pid, signal.SIGSTOP)
                answers = []
                writer = threading.Thread(target=lambda: answers.append(client.put(bucket, "b", b"x" * 5_000)), daemon=True)
                writer.start()
                looks = slow = 0
                while writer.is_alive():
                    for path in ("/live", "/ready"):
                        start = time.monotonic()
                        with urllib.request.urlopen(f"http://127.0.0.1:{server.base + 2}{path}", timeout=10) as reply:
                            assert reply.status == 200
                            text = reply.read().decode()
                        looks, slow = looks + 1, max(slow, time.monotonic() - start)
                    time.sleep(0.1)
                assert answers[0].status == 503, answers
                with urllib.request.urlopen(f"http://127.0.0.1:{server.base + 2}/ready", timeout=10) as reply:
                    text = reply.read().decode()
                assert text.startswith("region fr is ready") and "the store: " in text, text
                assert slow < 2, slow
                note(f"{looks} looks, the slowest {slow * 1000:.0f} ms")
            finally:
                server.kill()
        finally:
            for child in store.children:
                os.kill(child.pid, signal.SIGCONT)
            store.stop()
