"""Figures 1, 2, 4 to 7: small and big records, ranges, lists. For each: prepare(target), then sample(target, seconds) → {name: number}."""

import concurrent.futures
import itertools
import random
import re

from load import KIB, MIB, SMALL, drive, latency, moved
from wire import noise

BIG, RANGE, PART, BLOB = 64 * MIB, 64 * KIB, 8 * MIB, 8 * MIB
KEYS, LISTED = 400, 10_000
TURN = itertools.count()  # so that what one sample wrote is not what the one before did


def nothing(_target):
    pass


def prepare_small(target):
    body = noise("small", SMALL)
    for index in range(KEYS):
        assert target.client.put(target.bucket, f"s/{index}", body).status == 200
    assert target.client.get(target.bucket, "s/0").body == body


def get4k(target, seconds):
    urls = [target.client.presign("GET", target.bucket, f"s/{index}", seconds=3_600) for index in range(KEYS)]
    return drive(target, "GET", urls, None, seconds)


def put4k(target, seconds):
    urls = [target.client.presign("PUT", target.bucket, f"p/{index}", seconds=3_600) for index in range(4_000)]
    body = noise(f"put {next(TURN)}", SMALL)
    told = drive(target, "PUT", urls, body, seconds)
    # wrk makes the first request twice and sends the second.
    for index in range(1, min(20, told["requests"] // 2)):
        answer = target.client.get(target.bucket, f"p/{index}")
        assert answer.body == body, f"p/{index} of {told['requests']} that were put is not what is read: {answer}"
    return told


def prepare_big(target):
    body = noise("big", BIG)
    assert target.client.put(target.bucket, "big", body, mode="UNSIGNED-PAYLOAD").status == 200
    assert target.client.get(target.bucket, "big").body == body


def get64m(target, seconds):
    def get(_):
        answer = target.client.get(target.bucket, "big")
        assert answer.status == 200 and len(answer.body) == BIG, answer
        return BIG

    return moved(target, seconds, get, threads=2)


def put64m(target, seconds):
    body = noise(f"put64m {next(TURN)}", BIG)

    def put(index):
        answer = target.client.put(target.bucket, f"b/{index % 4}", body, mode="UNSIGNED-PAYLOAD")
        assert answer.status == 200, answer
        return BIG

    told = moved(target, seconds, put, threads=2)
    assert target.client.get(target.bucket, "b/0").body == body, "what was put is not what is read"
    return told


def parts(target, seconds):
    part, client = noise(f"part {next(TURN)}", PART), target.client

    def upload(index):
        key = f"/{target.bucket}/m{index % 4}"
        started = client.send("POST", key, query={"uploads": ""})
        upload_id = re.search(rb"<UploadId>([^<]+)<", started.body).group(1).decode()

        def one(number):
            answer = client.send("PUT", key, query={"partNumber": str(number), "uploadId": upload_id}, body=part, mode="UNSIGNED-PAYLOAD")
            assert answer.status == 200, answer
            return number, answer.headers["etag"]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            tags = list(pool.map(one, range(1, 9)))
        listed = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in tags)
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        done = client.send("POST", key, query={"uploadId": upload_id}, body=body)
        assert done.status == 200 and done.code is None, done
        return 8 * PART

    told = moved(target, seconds, upload, threads=1)
    assert client.get(target.bucket, "m0").body == part * 8, "what was put is not what is read"
    return told


def range_(target, seconds):
    chance, whole = random.Random("range"), noise("big", BIG)

    def one():
        start = chance.randrange(BIG - RANGE)
        end = start + RANGE - 1
        answer = target.client.get(target.bucket, "big", f"bytes={start}-{end}")
        # rclone says 200 of a part of a file.
        assert answer.status in ((206, 200) if target.name == "crypt" else (206,)) and answer.body == whole[start:end + 1], answer
        return RANGE, end // BLOB - start // BLOB + 1

    return latency(target, seconds, one)


def prepare_list(target):
    def put(index):
        assert target.client.put(target.bucket, f"l/{index:05}", b"x" * (index % 100)).status == 200

    if len(target.client.list_all(target.bucket, prefix="l/")[0]) < LISTED:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(LISTED)))


def list_(target, seconds):
    def one():
        keys, _, _ = target.client.list_all(target.bucket, prefix="l/")
        assert [size for _, size, _ in keys] == [index % 100 for index in range(LISTED)], "sizes are not exact"
        return 0, 0

    return latency(target, seconds, one)


def head(target, seconds):
    chance = random.Random("head")

    def one():
        answer = target.client.head(target.bucket, f"s/{chance.randrange(KEYS)}")
        assert answer.status == 200 and answer.headers["content-length"] == str(SMALL), answer
        return 0, 0

    return latency(target, seconds, one)
