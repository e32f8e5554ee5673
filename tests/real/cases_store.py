"""`terroir serve` before a real S3 store: what it costs there, what lies there, and what happens when it goes away."""

import signal
import time

from cases import bucket_of, case, note
from relay import Relay
from scan import Scan
from servers import Scratch, SeaweedFs, Served
from wire import Broken, noise


class Chain:
    """client → terroir serve → counting relay → SeaweedFS."""

    def __enter__(self):
        self.scratch = Scratch()
        folder = self.scratch.__enter__()
        self.weed = self.served = None
        try:
            self.weed = SeaweedFs(folder / "store", ("only",)).start()
            self.store = self.weed.regions()["only"]
            self.relay = Relay(self.store.port)
            self.served = Served(folder / "proxy", self.store, self.relay.port).start()
            self.client = self.served.client()
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        if self.served and self.served.child and self.served.child.poll() is None:
            self.served.kill()
        if self.weed:
            self.weed.stop()
        self.scratch.__exit__()


@case(needs="own", limit_s=200)
def a_range_costs_one_store_request_and_lists_and_heads_none():
    with Chain() as chain:
        client, bucket = chain.client, bucket_of(chain.client, "cost")
        big = noise("cost", 64 << 20)
        assert client.put(bucket, "big", big, mode="UNSIGNED-PAYLOAD").status == 200
        assert client.put(bucket, "small", b"x" * 4_096).status == 200
        cases = 0
        for start in (0, 65_536, 1_000_000, (8 << 20) - 70_000, 33_333_333, (64 << 20) - 65_536):
            chain.relay.reset()
            answer = client.get(bucket, "big", f"bytes={start}-{start + 65_535}")
            assert answer.status == 206 and answer.body == big[start:start + 65_536]
            counts = chain.relay.counts()
            blobs = (start + 65_535) // (8 << 20) - start // (8 << 20) + 1
            assert counts["requests"] == {"GET": blobs}, (start, counts)
            assert counts["from_store_bytes"] <= 2.01 * 65_568 + 2_000 * blobs, (start, counts)
            cases += 1
        chain.relay.reset()
        for _ in range(20):
            assert client.head(bucket, "big").headers["content-length"] == str(64 << 20)
            assert client.list_page(bucket).status == 200
        assert chain.relay.counts()["requests"] == {}, chain.relay.counts()
        assert client.get(bucket, "small").body == b"x" * 4_096
        assert chain.relay.counts()["requests"] == {"GET": 1}, chain.relay.counts()
        note(f"{cases} ranges")


@case(needs="own", limit_s=200)
def nothing_readable_lies_in_the_store_and_damage_there_is_an_error():
    with Chain() as chain:
        client, bucket = chain.client, bucket_of(chain.client, "markfrbucket")
        marks = ["markfrbody0011223344", "markfrmeta0011223344", "markfrkey0011223344"]
        for size in (100, 70_000, 9 << 20):
            body = (marks[0].encode() + b" ") * (size // 21 + 1)
            assert client.put(bucket, f"{marks[2]}/{size}", body, x_amz_meta_note=marks[1]).status == 200
            assert client.get(bucket, f"{marks[2]}/{size}").body == body
        blobs, _, _ = chain.store.list_all("terroir-blobs")
        assert len(blobs) >= 4, blobs
        scan = Scan([*marks, bucket])
        assert not (hits := scan.under(chain.weed.data_dir)), hits[:5]
        # The same search finds a plain marker that went through the same store.
        chain.store.make_bucket("control")
        assert chain.store.put("control", "plain", marks[0].encode() + noise("plain", 400_000)).status == 200
        assert Scan(marks[:1]).under(chain.weed.data_dir), "the search is blind to what this store writes"
        refused = 0
        for key, size, _ in blobs:
            whole = chain.store.get("terroir-blobs", key).body
            spoiled = bytearray(whole)
            spoiled[size - 20] ^= 1  # in the last sealed segment; a version record stands in front
            assert chain.store.put("terroir-blobs", key, bytes(spoiled)).status == 200
            for record in (100, 70_000, 9 << 20):
                body = (marks[0].encode() + b" ") * (record // 21 + 1)
                try:
                    answer = client.get(bucket, f"{marks[2]}/{record}")
                    assert answer.status >= 500 or answer.body == body, "WRONG BYTES"
                    refused += answer.status >= 500
                except Broken:
                    refused += 1
            assert chain.store.put("terroir-blobs", key, whole).status == 200
        # One blob each for the small records, two for the large one; its version record's copy is not read.
        assert refused >= 4, refused
        note(f"{scan.files} files, {scan.bytes >> 20} MiB, {len(blobs)} blobs, {refused} refusals")


@case(needs="own", limit_s=200)
def a_store_that_freezes_or_dies_gives_503_and_comes_back():
    with Chain() as chain:
        client, bucket = chain.client, bucket_of(chain.client, "freeze")
        assert client.put(bucket, "k", b"x" * 10_000).status == 200
        weed = chain.weed.children[0]
        weed.send_signal(signal.SIGSTOP)
        try:
            start = time.monotonic()
            answer = client.get(bucket, "k")
            assert answer.status == 503, answer
            assert time.monotonic() - start < 50, "a frozen store held a reader too long"
            assert client.head(bucket, "k").status == 200, "the index still knows"
        finally:
            weed.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 60
        while (answer := client.get(bucket, "k")).status != 200:
            assert answer.status == 503 and time.monotonic() < deadline, answer
            time.sleep(0.5)
        assert answer.body == b"x" * 10_000
