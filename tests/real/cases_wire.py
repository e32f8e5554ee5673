"""Every payload mode that a client can produce, with every checksum; and each of them spoiled, one way at a time."""

import base64
import hashlib
import socket

from cases import bucket_of, case, note
from wire import (STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER, UNSIGNED, Broken, checksum, noise)

ALGORITHMS = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
SIZES = (0, 1, 65_536, 65_537, 200_001)


def trailer_of(algorithm, body):
    return f"x-amz-checksum-{algorithm}", checksum(algorithm, body)


@case()
def every_payload_mode_stores_exactly_the_body(site):
    tried = 0
    for client in site.regions().values():
        bucket = bucket_of(client, "modes")
        for size in SIZES:
            body = noise(f"mode-{size}", size)
            crc = trailer_of("crc32", body)
            for mode, options in (
                ("hex", {}),
                (UNSIGNED, {}),
                (STREAMING_SIGNED, {}),
                (STREAMING_SIGNED, {"chunk_size": 8_192}),
                (STREAMING_SIGNED, {"chunk_size": 1 << 20}),
                (STREAMING_SIGNED_TRAILER, {"trailer": crc}),
                (STREAMING_UNSIGNED_TRAILER, {"trailer": crc}),
                (STREAMING_UNSIGNED_TRAILER, {"trailer": crc, "chunked": True}),  # as aws-sdk-cpp does: no Content-Length
            ):
                key = f"{mode}-{size}-{sorted(options)}"
                put = client.send("PUT", client.path(bucket, key), body=body, mode=mode, **options)
                assert put.status == 200, (mode, size, options, put)
                got = client.get(bucket, key)
                assert got.body == body, (mode, size, options, got)
                assert "aws-chunked" not in got.headers.get("content-encoding", ""), got.headers
                tried += 1
    note(f"{tried} puts")


@case()
def a_content_encoding_of_ones_own_survives_aws_chunked(site):
    for client in site.regions().values():
        bucket = bucket_of(client, "enc")
        for sent, kept in (("gzip,aws-chunked", "gzip"), ("aws-chunked", None), ("aws-chunked,gzip", "gzip")):
            client.send("PUT", f"/{bucket}/k", body=b"data", mode=STREAMING_SIGNED, headers={"content-encoding": sent})
            assert client.get(bucket, "k").headers.get("content-encoding") == kept, sent


@case()
def every_checksum_is_verified_as_header_and_as_trailer(site):
    for client in site.regions().values():
        bucket, body, other = bucket_of(client, "checks"), noise("sum", 100_000), noise("other", 100_000)
        for algorithm in ALGORITHMS:
            for mode in (STREAMING_UNSIGNED_TRAILER, STREAMING_SIGNED_TRAILER):
                good = client.send("PUT", f"/{bucket}/good", body=body, mode=mode, trailer=trailer_of(algorithm, body))
                assert good.status == 200 and client.get(bucket, "good").body == body, (algorithm, mode, good)
                bad = client.send("PUT", f"/{bucket}/bad", body=body, mode=mode, trailer=trailer_of(algorithm, other))
                refused(client, bucket, bad, 400, ("BadDigest",), f"{algorithm} {mode}")
            name, value = trailer_of(algorithm, body)
            assert client.send("PUT", f"/{bucket}/good", body=body, headers={name: value}).status == 200, algorithm
            bad = client.send("PUT", f"/{bucket}/bad", body=body, headers={name: checksum(algorithm, other)})
            refused(client, bucket, bad, 400, ("BadDigest",), algorithm)
        md5 = lambda data: base64.b64encode(hashlib.md5(data).digest()).decode()  # noqa: E731
        assert client.put(bucket, "good", body, content_md5=md5(body)).status == 200
        refused(client, bucket, client.put(bucket, "bad", body, content_md5=md5(other)), 400, ("BadDigest",), "md5")
        refused(client, bucket, client.put(bucket, "bad", body, content_md5="x"), 400, ("InvalidDigest",), "not an md5")


@case()
def a_spoiled_payload_is_refused_and_leaves_nothing(site):
    tried = 0
    for client in site.regions().values():
        bucket, body = bucket_of(client, "spoil"), noise("spoil", 150_000)
        crc = trailer_of("crc32", body)
        for mode, options, codes in (
            ("hex", {"tamper": "sha256"}, ("XAmzContentSHA256Mismatch",)),
            ("hex", {"tamper": "signature"}, ("SignatureDoesNotMatch",)),
            (STREAMING_SIGNED, {"tamper": "signature"}, ("SignatureDoesNotMatch",)),
            (STREAMING_SIGNED, {"tamper": "chunk-signature"}, ("SignatureDoesNotMatch",)),
            (STREAMING_SIGNED, {"tamper": "drop-last"}, ("IncompleteBody", "InvalidRequest", "MalformedTrailerError")),
            (STREAMING_SIGNED, {"tamper": "length"}, ("IncompleteBody", "InvalidRequest")),
            (STREAMING_SIGNED_TRAILER, {"tamper": "chunk-signature", "trailer": crc}, ("SignatureDoesNotMatch",)),
            (STREAMING_UNSIGNED_TRAILER, {"tamper": "length", "trailer": crc}, ("IncompleteBody", "InvalidRequest")),
            (STREAMING_UNSIGNED_TRAILER, {"tamper": "drop-last", "trailer": crc},
             ("IncompleteBody", "InvalidRequest", "MalformedTrailerError")),
            (STREAMING_UNSIGNED_TRAILER, {"tamper": "length", "trailer": crc, "chunked": True}, ("IncompleteBody", "InvalidRequest")),
        ):
            answer = client.send("PUT", f"/{bucket}/bad", body=body, mode=mode, **options)
            refused(client, bucket, answer, (400, 403), codes, f"{mode} {options}")
            tried += 1
    note(f"{tried} spoiled payloads")


def refused(client, bucket, answer, statuses, codes, what):
    statuses = statuses if isinstance(statuses, tuple) else (statuses,)
    assert answer.status in statuses and answer.code in codes, (what, answer, answer.body[:300])
    assert client.get(bucket, "bad").code == "NoSuchKey", f"{what}: refused, yet visible"


@case()
def a_body_shorter_than_announced_is_incomplete_not_an_object(site):
    for client in site.regions().values():
        bucket, body = bucket_of(client, "short"), noise("short", 100_000)
        head, _ = client.prepare("PUT", f"/{bucket}/bad", {}, {}, body, "hex")
        with socket.create_connection((client.host, client.port), timeout=30) as raw:
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            raw.sendall(f"PUT /{bucket}/bad HTTP/1.1\r\n{lines}\r\n".encode() + body[:60_000])
            raw.shutdown(socket.SHUT_WR)
            raw.recv(65_536)  # an answer or the end, as the server likes
        assert client.get(bucket, "bad").code == "NoSuchKey"


@case()
def an_early_error_is_read_by_a_client_that_is_still_sending(site):
    for client in site.regions().values():
        bucket = bucket_of(client, "early")
        body = noise("early", 4 << 20)
        for _ in range(3):
            try:
                answer = client.send("PUT", f"/{bucket}/bad", body=body, tamper="signature")
            except Broken as error:
                raise AssertionError(f"the refusal was lost: {error}") from None
            assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch"), answer


@case()
def expect_continue_is_answered_once_and_only_to_welcome_bodies(site):
    for client in site.regions().values():
        bucket, body = bucket_of(client, "expect"), noise("expect", 10_000)
        for tamper, first in ((None, b"100"), ("signature", b"403")):
            head, _ = client.prepare("PUT", f"/{bucket}/k", {}, {}, body, "hex", tamper=tamper)
            with socket.create_connection((client.host, client.port), timeout=30) as raw:
                lines = "".join(f"{name}: {value}\r\n" for name, value in {**head, "expect": "100-continue"}.items())
                raw.sendall(f"PUT /{bucket}/k HTTP/1.1\r\n{lines}\r\n".encode())
                stream = raw.makefile("rb")
                status = stream.readline()
                assert status.split()[1] == first, status
                if first == b"100":
                    assert stream.readline() == b"\r\n"
                    raw.sendall(body)
                    assert stream.readline().split()[1] == b"200"
        assert client.get(bucket, "k").body == body


@case()
def dates_that_are_off_are_refused(site):
    import time

    for client in site.regions().values():
        bucket = bucket_of(client, "skew")
        for offset in (-20 * 60, 20 * 60):
            answer = client.send("GET", f"/{bucket}", query={"list-type": "2"}, at=time.time() + offset)
            assert (answer.status, answer.code) == (403, "RequestTimeTooSkewed"), (offset, answer)
        assert client.send("GET", f"/{bucket}", query={"list-type": "2"}, at=time.time() - 5 * 60).status == 200


@case()
def what_is_not_built_says_so_and_changes_nothing(site):
    for client in site.regions().values():
        bucket = bucket_of(client, "not")
        client.put(bucket, "k", b"kept")
        for method, path, query in (
            ("PUT", f"/{bucket}", {"policy": ""}),
            ("PUT", f"/{bucket}", {"acl": ""}),
            ("PUT", f"/{bucket}", {"website": ""}),
            ("GET", f"/{bucket}/k", {"torrent": ""}),
            ("POST", f"/{bucket}/k", {"restore": ""}),
        ):
            answer = client.send(method, path, query=query, body=b"<x/>" if method != "GET" else b"")
            assert (answer.status, answer.code) == (501, "NotImplemented"), (method, query, answer)
        assert client.get(bucket, "k").body == b"kept"
