"""kill -9 in the middle of mixed writes, at random times and at named points: what was acknowledged reads back, whole."""

import hashlib
import os
import random
import threading
import time

import tools
from cases import bucket_of, case, note, seed_of
from servers import Running
from wire import Broken, noise

ROUNDS = 20
WRITERS = 6
MIB = 1 << 20
ABSENT = None


class Writer(threading.Thread):
    """Owns its keys, so each key's history is one line: `state[key]` is what was acknowledged, `trying` what was not yet."""

    def __init__(self, number, client, bucket, seed):
        super().__init__(daemon=True)
        self.number, self.client, self.bucket = number, client, bucket
        self.chance = random.Random(f"{seed}-{number}")
        self.state, self.trying, self.acknowledged = {}, None, 0
        self.halt = threading.Event()
        self.wrong = None

    def run(self):
        while not self.halt.is_set():
            key = f"w{self.number}/k{self.chance.randrange(12)}"
            kind = self.chance.choice(["small", "small", "small", "medium", "large", "multipart", "delete", "delete"])
            body = ABSENT if kind == "delete" else noise(self.chance.random(), self.size(kind))
            self.trying = (key, digest(body))
            try:
                done = self.write(kind, key, body)
            except Exception:  # the server is gone: whatever this was, it was not acknowledged
                return
            if done:
                self.state[key] = digest(body)
                self.acknowledged += 1
                self.trying = None
            else:
                return

    def size(self, kind):
        return {"small": self.chance.randrange(5_000), "medium": self.chance.randrange(MIB), "large": 9 * MIB,
                "multipart": 6 * MIB}[kind]

    def write(self, kind, key, body):
        if kind == "delete":
            return self.accepted(self.client.delete(self.bucket, key), 204)
        if kind == "multipart":
            s3 = tools.boto3_client(self.client)
            upload = s3.create_multipart_upload(Bucket=self.bucket, Key=key)["UploadId"]
            parts = []
            for number, start in enumerate(range(0, len(body), 5 * MIB), 1):
                part = s3.upload_part(Bucket=self.bucket, Key=key, UploadId=upload, PartNumber=number, Body=body[start:start + 5 * MIB])
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
            s3.complete_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
            return True
        return self.accepted(self.client.put(self.bucket, key, body), 200)

    def accepted(self, answer, status):
        if answer.status != status:
            self.wrong = f"writer {self.number}: {answer} {answer.body[:200]}"
        return answer.status == status


def digest(body):
    return ABSENT if body is ABSENT else hashlib.sha256(body).hexdigest()


class History:
    """What each key may hold: its acknowledged state, and beside it what was in flight when the server died."""

    def __init__(self):
        self.acknowledged, self.possible = {}, {}

    def take(self, writers):
        """The number of writes in flight."""
        for writer in writers:
            for key, state in writer.state.items():
                self.acknowledged[key], self.possible[key] = state, {state}
        in_flight = [writer.trying for writer in writers if writer.trying]
        for key, state in in_flight:
            self.possible.setdefault(key, {self.acknowledged.get(key, ABSENT)}).add(state)
        return len(in_flight)

    def verify(self, client, bucket):
        """Every key reads back as one of the states it may have; then that one is what it has. Lists agree."""
        present = {}
        for key, possible in self.possible.items():
            answer = client.get(bucket, key)
            assert answer.status in (200, 404), (key, answer)
            found = ABSENT if answer.status == 404 else digest(answer.body)
            assert found in possible, f"{key} holds {found}; acknowledged was {self.acknowledged.get(key)}, possible {possible}"
            head = client.head(bucket, key)
            assert head.status == answer.status, (key, head)
            if found is not ABSENT:
                present[key] = len(answer.body)
            self.acknowledged[key], self.possible[key] = found, {found}
        listed = {key: size for key, size, _ in client.list_all(bucket)[0]}
        assert listed == present, f"the list differs in {set(listed.items()) ^ set(present.items())}"


def round_of(server, history, bucket_name, seed, until):
    """Starts writers, waits for `until` (the death of the server), and gathers what they know."""
    client = next(iter(server.regions().values()))
    writers = [Writer(number, client, bucket_name, seed) for number in range(WRITERS)]
    for writer in writers:
        writer.state = {key: state for key, state in history.acknowledged.items() if key.startswith(f"w{writer.number}/")}
        writer.start()
    until()
    for writer in writers:
        writer.halt.set()
        writer.join(60)
        assert not writer.is_alive(), "a writer hangs on a dead server"
    in_flight = history.take(writers)
    return in_flight, sum(writer.acknowledged for writer in writers), [w.wrong for w in writers if w.wrong]


@case(needs="own", alone=True, limit_s=600)
def killed_at_random_times_nothing_acknowledged_is_lost_or_torn():
    seed = seed_of("kill")
    chance = random.Random(seed)
    rounds = int(os.environ.get("TERROIR_KILL_ROUNDS", ROUNDS))
    with Running() as server:
        region, client = next(iter(server.regions().items()))
        bucket, history, flights, writes = bucket_of(client, "kill"), History(), [], 0
        for number in range(rounds):
            def die():
                time.sleep(chance.uniform(0.05, 1.5))
                server.kill()

            in_flight, acknowledged, wrong = round_of(server, history, bucket, f"{seed}-{number}", die)
            assert not wrong, wrong
            flights.append(in_flight)
            writes += acknowledged
            server.start()
            client = server.regions()[region]
            history.verify(client, bucket)
        assert server.stop() == 0, server.tail()
        verified = server.verb("audit", "verify", region=region, check=False)
        assert verified.returncode == 0, verified.stderr
        assert sum(flights) >= rounds, f"too few writes were in flight to prove anything: {flights}"
        note(f"{rounds} kills, {writes} acknowledged writes, in flight {flights}")


@case(needs="own", alone=True, limit_s=300)
def killed_at_each_named_point_of_a_store_write_nothing_is_lost_or_torn():
    seed = seed_of("points")
    with Running() as server:
        region, client = next(iter(server.regions().items()))
        bucket, history, flights = bucket_of(client, "points"), History(), []
        for point in server.FAILPOINTS:
            for nth in (12, 40):  # the first few writes are the start-up probe's
                server.stop()
                server.start({server.FAILPOINT_VARIABLE: f"{point}:{nth}"})

                def die():
                    deadline = time.monotonic() + 30
                    while server.child.poll() is None:
                        assert time.monotonic() < deadline, f"the fail point {point} was never reached"
                        time.sleep(0.01)

                in_flight, _, wrong = round_of(server, history, bucket, f"{seed}-{point}-{nth}", die)
                assert in_flight, f"{point}: nothing was in flight"
                assert not wrong, wrong
                flights.append(in_flight)
                server.start()
                history.verify(server.regions()[region], bucket)
        note(f"{len(flights)} kills at {len(server.FAILPOINTS)} points, in flight {flights}")


@case(needs="own", limit_s=120)
def sigterm_under_load_drains_and_loses_nothing():
    with Running() as server:
        region, client = next(iter(server.regions().items()))
        bucket, history = bucket_of(client, "drain"), History()

        def stop():
            time.sleep(0.5)
            assert server.stop() == 0, server.tail()

        in_flight, acknowledged, _ = round_of(server, history, bucket, "drain", stop)
        server.start()
        try:
            history.verify(server.regions()[region], bucket)
        except Broken as error:
            raise AssertionError(f"after a drain: {error}") from None
        note(f"{acknowledged} writes acknowledged, {in_flight} cut off")
