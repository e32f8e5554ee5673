"""20,000 random ranges against a plain model of RFC 9110 as S3 reads it."""

import concurrent.futures
import random
import re

from cases import bucket_of, case, note, seed_of
from wire import noise

COUNT = 20_000
THREADS = 8
SEGMENT = 65_536
BLOB = 8 << 20
SIZES = (0, 1, 1_000, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT + 17, 1 << 20, BLOB - 1, BLOB + SEGMENT + 5, 2 * BLOB + 12_345)
LENGTH_MAX = 300_000


def model(header, data):
    """What S3 answers to `Range: header`: (status, body, content-range)."""
    size = len(data)
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if not found or found.groups() == ("", ""):
        return 200, data, None
    first, last = found.groups()
    if first == "":
        wanted = int(last)
        if size == 0 and wanted > 0:
            return 200, data, None
        if wanted == 0:
            return 416, None, f"bytes */{size}"
        start, end = max(0, size - wanted), size - 1
    else:
        start = int(first)
        if last != "" and int(last) < start:
            return 200, data, None
        if start >= size:
            return 416, None, f"bytes */{size}"
        end = min(int(last), size - 1) if last != "" else size - 1
    return 206, data[start:end + 1], f"bytes {start}-{end}/{size}"


def draw(chance, size):
    """A range header: mostly legal and short, often at a border, sometimes nonsense."""
    borders = [at for at in (0, size, SEGMENT, BLOB, 2 * BLOB, 2 * SEGMENT, size - 1, size // 2) if at <= size]
    near = lambda: max(0, chance.choice(borders) + chance.randrange(-3, 4))  # noqa: E731
    start = chance.choice([near(), chance.randrange(size + 1)])
    length = chance.choice([1, chance.randrange(1, 200), int(2 ** chance.uniform(0, 18.2))])
    kind = chance.random()
    if kind < 0.80:
        return f"bytes={start}-{start + min(length, LENGTH_MAX) - 1}"
    if kind < 0.88:
        return f"bytes=-{chance.choice([0, 1, length, min(near(), LENGTH_MAX)])}"
    if kind < 0.96:
        return f"bytes={max(start, size - LENGTH_MAX)}-"
    if size > LENGTH_MAX:
        return f"bytes={size + chance.randrange(3)}-{size + 10}"
    return chance.choice(["bytes=5-2", "bytes=", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=-", "bytes 0-1", f"bytes=0-{10 ** 18}"])


def compare(client, bucket, objects, seed, count):
    chance, kinds = random.Random(seed), {}
    for _ in range(count):
        size = chance.choice(SIZES)
        header = draw(chance, size)
        status, body, content_range = model(header, objects[size])
        answer = client.get(bucket, f"r{size}", header)
        shown = f"size {size}, Range: {header!r}, thread seed {seed}: {answer}"
        assert answer.status == status, f"{shown}; {status} was due"
        if status == 416:
            assert answer.code == "InvalidRange", shown
        else:
            assert answer.body == body, f"WRONG BYTES: {shown}"
            assert answer.headers.get("content-range") == content_range, f"{shown}; {content_range} was due"
            assert answer.headers["content-length"] == str(len(body)), shown
        kinds[status] = kinds.get(status, 0) + 1
    return kinds


@case(alone=True, limit_s=600)
def twenty_thousand_random_ranges_equal_a_plain_model(site):
    ranges(site, COUNT)


@case(needs="s3")
def a_few_hundred_legal_ranges_equal_a_plain_model(site):
    """The share of the above in which every S3 server agrees: also run against SeaweedFS, to prove the model."""
    for client in site.regions().values():
        bucket, data = bucket_of(client, "legal"), noise("legal", BLOB + SEGMENT + 5)
        client.put(bucket, "k", data)
        chance = random.Random(seed_of("legal"))
        for _ in range(200):
            start = chance.randrange(len(data))
            header = f"bytes={start}-{start + chance.randrange(100_000)}"
            status, body, content_range = model(header, data)
            answer = client.get(bucket, "k", header)
            assert (answer.status, answer.body, answer.headers["content-range"]) == (status, body, content_range), header


def ranges(site, count):
    seed = seed_of("ranges")
    for region, client in site.regions().items():
        bucket = bucket_of(client, "ranges")
        objects = {size: noise(f"range-{size}", size) for size in SIZES}
        for size, body in objects.items():
            assert client.put(bucket, f"r{size}", body).status == 200
        share = count // len(site.regions()) // THREADS
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            runs = [pool.submit(compare, client, bucket, objects, f"{seed}-{region}-{n}", share) for n in range(THREADS)]
            kinds = [run.result() for run in runs]
        total = {status: sum(kind.get(status, 0) for kind in kinds) for status in (200, 206, 416)}
        assert all(total.values()), f"a kind of answer was never due: {total}"
        note(f"{region}: {total}")
