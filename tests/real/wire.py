"""A small S3 client of our own, close to the bytes: Signature V4 in every form, every payload mode, keep-alive.

Real clients each speak one dialect and hide what went over the wire; this one can also speak it wrongly. Standard
library only.
"""

import base64
import datetime
import hashlib
import hmac
import http.client
import random
import re
import struct
import threading
import time
import urllib.parse
import zlib

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
TIMEOUT_S = 60


class Answer:
    """Status, headers (lowercase names) and the whole body of one answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self):
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found.group(1).decode() if found else None

    def __repr__(self):
        return f"<{self.status} {self.code or ''} {len(self.body)} bytes>"


class Broken(Exception):
    """The connection ended before the answer did: what a client sees when an answer is cut off."""


def quote(text, safe="-._~"):
    return urllib.parse.quote(text, safe=safe)


def stamp(at=None):
    moment = datetime.datetime.fromtimestamp(at if at is not None else time.time(), datetime.timezone.utc)
    return moment.strftime("%Y%m%dT%H%M%SZ")


def _mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Client:
    """One access key at one endpoint. Connections are kept per thread."""

    twice = True  # whether a request is sent again if an idle connection turns out to be closed; it may have been heard

    def __init__(self, endpoint, region, access_key, secret_key):
        split = urllib.parse.urlsplit(endpoint)
        self.host, self.port = split.hostname, split.port
        self.endpoint, self.region = endpoint.rstrip("/"), region
        self.access_key, self.secret_key = access_key, secret_key
        self.local = threading.local()
        self.tls = None  # an SSL context, for an endpoint of https

    # Plain verbs.

    def put(self, bucket, key, body, mode="hex", **headers):
        return self.send("PUT", self.path(bucket, key), body=body, mode=mode, headers=dashed(headers))

    def get(self, bucket, key, byte_range=None):
        headers = {"range": byte_range} if byte_range else {}
        return self.send("GET", self.path(bucket, key), headers=headers)

    def head(self, bucket, key):
        return self.send("HEAD", self.path(bucket, key))

    def delete(self, bucket, key):
        return self.send("DELETE", self.path(bucket, key))

    def make_bucket(self, bucket, location=None):
        body = b""
        if location is not None:
            body = (
                '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<LocationConstraint>{location}</LocationConstraint></CreateBucketConfiguration>"
            ).encode()
        return self.send("PUT", f"/{bucket}", body=body)

    def list_page(self, bucket, **query):
        query = {"list-type": "2", **dashed(query)}
        return self.send("GET", f"/{bucket}", query=query)

    def list_all(self, bucket, **query):
        """Every (key, size, etag) of all pages, common prefixes, and the sizes of the pages."""
        keys, prefixes, pages, token = [], [], [], None
        while True:
            answer = self.list_page(bucket, **query, **({"continuation_token": token} if token else {}))
            assert answer.status == 200, answer
            page = parse_list(answer.body)
            keys += page["keys"]
            prefixes += page["prefixes"]
            pages.append(len(page["keys"]) + len(page["prefixes"]))
            token = page["token"]
            if not page["truncated"]:
                assert token is None, "a last page with a token"
                return keys, prefixes, pages
            assert token, "a truncated page without a token"

    @staticmethod
    def path(bucket, key):
        return f"/{bucket}/{quote(key, safe='/-._~')}"

    # One request, as the caller wants it signed and framed.

    def send(self, method, path, query=None, headers=None, body=b"", mode="hex", trailer=None, **framing):
        head, chunks = self.prepare(method, path, query or {}, headers or {}, body, mode, trailer, **framing)
        return self.exchange(method, target(path, query or {}), head, chunks)

    def prepare(self, method, path, query, headers, body, mode, trailer=None, *, chunked=False, scope=None, at=None,
                chunk_size=65_536, tamper=None):
        """Headers and body pieces. `tamper` changes what was signed: chunk-signature, trailer, length, drop-last, signature."""
        head = {"host": f"{self.host}:{self.port}", **{name.lower(): value for name, value in headers.items()}}
        head["x-amz-date"] = stamp(at)
        streaming = mode.startswith("STREAMING-")
        if streaming:
            length = len(body) + (1 if tamper == "length" else 0)
            head["x-amz-decoded-content-length"] = str(length)
            head.setdefault("content-encoding", "aws-chunked")
            if trailer:
                head["x-amz-trailer"] = trailer[0]
        declared = {"hex": hashlib.sha256(body).hexdigest()}.get(mode, mode)
        head["x-amz-content-sha256"] = declared
        if tamper == "sha256":
            declared = head["x-amz-content-sha256"] = hashlib.sha256(body + b"x").hexdigest()
        signer = Signer(self, scope or self.region, head["x-amz-date"])
        if not streaming and not chunked and (body or method in ("PUT", "POST")):
            head["content-length"] = str(len(body))
        signed = signer.headers(method, path, query, head, declared)
        if tamper == "signature":
            signed = signed[:-4] + ("0000" if signed[-4:] != "0000" else "1111")
        head["authorization"] = signer.authorization(head, signed)
        if not streaming:
            return head, ([body] if body else [])
        framed = b"".join(frame(signer, signed, body, mode, trailer, chunk_size, tamper))
        if chunked:
            head["transfer-encoding"] = "chunked"
            return head, [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces(framed, 50_000)] + [b"0\r\n\r\n"]
        head["content-length"] = str(len(framed))
        return head, [framed]

    def presign(self, method, bucket, key, seconds=300, at=None, headers=None, extra=None):
        """A URL that needs no header but those named in `headers`."""
        path, when = self.path(bucket, key), stamp(at)
        head = {"host": f"{self.host}:{self.port}", **(headers or {})}
        signer = Signer(self, self.region, when)
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access_key}/{signer.scope}",
            "X-Amz-Date": when,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": ";".join(sorted(head)),
            **(extra or {}),
        }
        signature = signer.headers(method, path, query, head, UNSIGNED)
        return f"{self.endpoint}{target(path, {**query, 'X-Amz-Signature': signature})}"

    # Bytes.

    def connection(self):
        if getattr(self.local, "connection", None) is None:
            self.local.connection = (http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_S, context=self.tls)
                                     if self.tls else http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S))
        return self.local.connection

    def close(self):
        if getattr(self.local, "connection", None) is not None:
            self.local.connection.close()
            self.local.connection = None

    def exchange(self, method, where, head, chunks):
        """Sends and reads to the end. A connection that breaks while an answer is read is `Broken`, never a short body."""
        for attempt in (1, 2):
            connection = self.connection()
            fresh = connection.sock is None
            try:
                connection.putrequest(method, where, skip_host=True, skip_accept_encoding=True)
                for name, value in head.items():
                    connection.putheader(name, value)
                connection.endheaders()
                try:
                    for chunk in chunks:
                        connection.send(chunk)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # an early answer: read it
                reply = connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionError, http.client.CannotSendRequest) as error:
                self.close()
                if fresh or attempt == 2 or not self.twice:
                    raise Broken(f"before an answer: {type(error).__name__}") from error
                continue  # an idle connection was closed under us, as HTTP allows
            except Exception:
                self.close()
                raise
            return self.finish(reply)
        raise AssertionError("not reached")

    def finish(self, reply):
        headers = {name.lower(): value for name, value in reply.getheaders()}
        try:
            body = reply.read()
        except (http.client.IncompleteRead, ConnectionError, ValueError) as error:
            self.close()
            raise Broken(f"after {reply.status}: {type(error).__name__}") from error
        if reply.will_close:
            self.close()
        return Answer(reply.status, headers, body)


class Signer:
    def __init__(self, client, scope_region, when):
        self.when = when
        self.scope = f"{when[:8]}/{scope_region}/s3/aws4_request"
        key = ("AWS4" + client.secret_key).encode()
        for part in (when[:8], scope_region, "s3", "aws4_request"):
            key = _mac(key, part)
        self.key, self.access_key = key, client.access_key

    def headers(self, method, path, query, head, payload):
        names = sorted(head)
        canonical = "\n".join([
            method,
            path,
            "&".join(f"{quote(name)}={quote(value)}" for name, value in sorted(query.items())),
            *(f"{name}:{' '.join(head[name].split())}" for name in names),
            "",
            ";".join(names),
            payload,
        ])
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return _mac(self.key, f"AWS4-HMAC-SHA256\n{self.when}\n{self.scope}\n{digest}").hex()

    def authorization(self, head, signature):
        names = ";".join(sorted(head))
        return f"AWS4-HMAC-SHA256 Credential={self.access_key}/{self.scope},SignedHeaders={names},Signature={signature}"

    def chunk(self, previous, data):
        text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", self.when, self.scope, previous, EMPTY_SHA256,
                          hashlib.sha256(data).hexdigest()])
        return _mac(self.key, text).hex()

    def trailer(self, previous, line):
        text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", self.when, self.scope, previous, hashlib.sha256(line).hexdigest()])
        return _mac(self.key, text).hex()


def frame(signer, seed, body, mode, trailer, chunk_size, tamper):
    """The aws-chunked form of `body`."""
    signed, previous = mode.startswith("STREAMING-AWS4"), seed
    parts = pieces(body, chunk_size) + ([] if tamper == "drop-last" else [b""])
    for index, part in enumerate(parts):
        extension = b""
        if signed:
            previous = signer.chunk(previous, part)
            shown = "0" * 64 if tamper == "chunk-signature" and index == 0 else previous
            extension = b";chunk-signature=" + shown.encode()
        yield b"%x%s\r\n" % (len(part), extension)
        if part:
            yield part + b"\r\n"
    if tamper == "drop-last":
        return
    if trailer:
        name, value = trailer
        line = f"{name}:{value}\n".encode()
        yield f"{name}:{value}\r\n".encode()
        if signed:
            yield b"x-amz-trailer-signature:" + signer.trailer(previous, line).encode() + b"\r\n"
    yield b"\r\n"


def pieces(data, size):
    return [data[start:start + size] for start in range(0, len(data), size)]


def target(path, query):
    if not query:
        return path
    return path + "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query.items())


def dashed(words):
    return {name.replace("_", "-"): value for name, value in words.items()}


def parse_list(body):
    """A ListObjectsV2 answer as plain data."""
    from xml.etree import ElementTree

    root = ElementTree.fromstring(body)
    space = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
    text = lambda node, name: (node.findtext(space + name) or "")  # noqa: E731
    encoded = text(root, "EncodingType") == "url"
    plain = urllib.parse.unquote_plus if encoded else (lambda value: value)
    return {
        "keys": [(plain(text(item, "Key")), int(text(item, "Size")), text(item, "ETag").strip('"'))
                 for item in root.iter(space + "Contents")],
        "prefixes": [plain(text(item, "Prefix")) for item in root.iter(space + "CommonPrefixes")],
        "truncated": text(root, "IsTruncated") == "true",
        "token": root.findtext(space + "NextContinuationToken"),
        "count": int(text(root, "KeyCount") or -1),
    }


# Checksums that S3 knows, as it writes them: big-endian bytes in base64.

def _table(polynomial):
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        table.append(value)
    return table


_CRC32C, _CRC64NVME = _table(0x82F63B78), _table(0x9A6C9329AC4BC9B5)


def _crc(table, width, data):
    value = mask = (1 << width) - 1
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ mask


def checksum(algorithm, data):
    raw = {
        "crc32": lambda: struct.pack(">I", zlib.crc32(data)),
        "crc32c": lambda: struct.pack(">I", _crc(_CRC32C, 32, data)),
        "crc64nvme": lambda: struct.pack(">Q", _crc(_CRC64NVME, 64, data)),
        "sha1": lambda: hashlib.sha1(data).digest(),
        "sha256": lambda: hashlib.sha256(data).digest(),
    }[algorithm]()
    return base64.b64encode(raw).decode()


def noise(seed, size):
    """`size` bytes that only this seed gives."""
    return random.Random(seed).randbytes(size)
