"""The region `us` on Google's driver, as it is in the product: the built binary, its real driver, the strict double behind it."""

from cases import case, fresh, note, seed_of
from gcs import GcsDouble
from ledger import MIB, Ledger, Worker
from scan import Scan
from servers import Scratch, Served
from wire import noise
from world import STORE_BUCKET, GoogleSide, names_in, strays_of

MISCONFIGURED = 78  # EX_CONFIG of sysexits.h: only people help
LARGE = 2 * 8 * MIB + 12_345  # three blobs
KINDS = ("small", "medium", "conditional", "read", "range", "delete", "multipart", "large")


@case(needs="own")
def records_of_a_region_on_google_are_written_ranged_listed_deleted_and_there_after_a_restart_and_google_sees_no_word_of_them():
    seed = seed_of("google")
    with Scratch() as folder:
        double = GcsDouble(folder / "store")
        try:
            double.start()
            side = GoogleSide("us", folder, double, seed, "")
            try:
                note(journey(side.begin(), seed))
            finally:
                if side.served.child and side.served.child.poll() is None:
                    side.served.kill()
        finally:
            double.stop()


def journey(side, seed):
    client, bucket, mark = side.client, side.bucket, fresh("markgooglebody")
    body, large = mark.encode() * 50, noise(seed, LARGE)
    for key, content in ((f"{mark}/small", body), ("large", large), ("empty", b"")):
        assert client.put(bucket, key, content, x_amz_meta_patient=mark).status == 200
        assert client.get(bucket, key).body == content
    for first, last in ((0, 0), (5, 70_000), (8 * MIB - 7, 8 * MIB + 7), (LARGE - 1, LARGE + 9)):
        part = client.get(bucket, "large", f"bytes={first}-{last}")
        assert (part.status, part.body) == (206, large[first:last + 1]), (first, last, part)

    # The ledger's own workers, one of each kind of operation and then by chance, so that every body is told apart.
    ledger = Ledger()
    worker = Worker(0, client, bucket, ledger, seed)
    for kind in (*KINDS, *(worker.chance.choice(KINDS) for _ in range(40))):
        assert worker.one(ledger.key(bucket, f"w0/k{worker.chance.randrange(6)}"), kind), kind
    assert not ledger.counts["refused"] and not ledger.counts["broken"], ledger.codes

    assert side.served.stop() == 0, side.served.tail()
    side.served.start()
    client.close()  # its connection was the old process's
    for key, content in ((f"{mark}/small", body), ("large", large), ("empty", b"")):
        answer = client.get(bucket, key)
        assert (answer.status, answer.body) == (200, content), answer
        assert client.delete(bucket, key).status == 204
        assert client.get(bucket, key).code == "NoSuchKey"
    checked = ledger.verify(client, bucket)  # also that nothing is listed that nobody wrote, and so that what was deleted is not
    ledger.clean()

    strays, blobs = strays_of(side)
    assert not strays, strays
    assert blobs >= 10 and all(name.startswith("blobs/") for name in names_in(side))
    assert not side.strangers(), side.strangers()
    # What nobody names any more is not yet reclaimed, so all that was ever written is searched; and the search finds what is there.
    scan = Scan([mark, bucket])
    assert scan.under(side.weed.data_dir) == []
    assert side.store.put(STORE_BUCKET, "planted", b"x" + mark.encode() + b"x").status == 200
    assert scan.under(side.weed.data_dir), "the search is blind"
    calls = {call: sum(seen.call == call for seen in side.liar.requests()) for call in ("upload", "download", "control")}
    assert all(calls.values()), calls
    return f"{checked} keys checked, {blobs} blobs looked at, calls {calls}"


@case(needs="own")
def a_region_on_google_does_not_start_on_a_bucket_elsewhere_or_on_one_that_keeps_what_is_deleted():
    with Scratch() as folder:
        double = GcsDouble(folder / "store")
        try:
            double.start()
            served = Served(folder / "proxy", double, region="us", bucket=STORE_BUCKET)
            try:
                for change in ({"location": "EUROPE-WEST9"}, {"location": "US-CENTRAL1", "versioning": "true"}):
                    double.told("PUT", "bucket", name=STORE_BUCKET, **change)
                    served.start(wait=False)
                    assert served.child.wait(60) == MISCONFIGURED, served.tail()
                double.make_bucket(STORE_BUCKET)
                served.start()  # the control: on the bucket that was named it does
            finally:
                if served.child and served.child.poll() is None:
                    served.kill()
        finally:
            double.stop()
