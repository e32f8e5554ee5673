"""Requests of which one thing is wrong, made from right ones by seeded chance: signatures, aws-chunked, headers, XML, ranges, keys.

Every mutation changes what the request means or makes it none at all; what servers may rightly take for the same (letter case of a hex
digit, a zero in front of a length, white space around a range) is not among them. Each family gives `(what, request)` pairs without end.
"""

import hashlib
import re
import string
import time

from wire import (STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER, UNSIGNED, Signer, checksum, noise, quote, stamp, target)

DAY_S = 86_400
HEX = "0123456789abcdef"


class Request:
    """What goes over the wire: a first line, headers in order, a body. `cut`: the client says no more after it."""

    def __init__(self, method, where, headers, body=b"", cut=False):
        self.method, self.where, self.headers, self.body, self.cut = method, where, list(headers), body, cut
        self.version = "HTTP/1.1"

    def bytes(self):
        lines = [f"{self.method} {self.where} {self.version}".encode("latin-1")]
        lines += [line if isinstance(line, bytes) else f"{line[0]}: {line[1]}".encode("latin-1") for line in self.headers]
        return b"\r\n".join([*lines, b"connection: close"]) + b"\r\n\r\n" + self.body

    def header(self, name):
        return next(line[1] for line in self.headers if line[0] == name)

    def with_header(self, name, value):
        self.headers = [(name, value) if line[0] == name else line for line in self.headers]
        return self

    def without(self, name):
        self.headers = [line for line in self.headers if line[0] != name]
        return self


def signed(client, method, path, query=None, body=b"", headers=(), unsigned=(), payload=None):
    """A request that is right. `headers` are signed with it, `unsigned` are not; nor is Content-Length, so that it can be wrong alone."""
    head = {"host": f"{client.host}:{client.port}", "x-amz-date": stamp(),
            "x-amz-content-sha256": payload or hashlib.sha256(body).hexdigest(), **dict(headers)}
    signer = Signer(client, client.region, head["x-amz-date"])
    signature = signer.headers(method, path, query or {}, head, head["x-amz-content-sha256"])
    lines = [*head.items(), ("authorization", signer.authorization(head, signature)), *unsigned]
    if body or method in ("PUT", "POST"):
        lines.append(("content-length", str(len(body))))
    return Request(method, target(path, query or {}), lines, body)


def other(chance, letter, alphabet):
    return chance.choice([one for one in alphabet if one != letter])


def replaced(chance, text, at, alphabet):
    return text[:at] + other(chance, text[at], alphabet) + text[at + 1:]


class Deck:
    """Things in an order by chance, each once before any comes again: so that none is left out of a short run."""

    def __init__(self, chance, things):
        self.chance, self.things, self.left = chance, sorted(things), []

    def draw(self):
        if not self.left:
            self.left = self.chance.sample(self.things, len(self.things))
        return self.left.pop()


def kinds_of(family, *starts):
    return [name for name in dir(family) if name.startswith(starts or ("bad_",))]


class Signatures:
    """GET, PUT and presigned requests; every part of the proof, and what was proven."""

    def __init__(self, client, bucket, chance):
        self.client, self.bucket, self.chance = client, bucket, chance
        self.path = client.path(bucket, "kept")
        self.deck = Deck(chance, kinds_of(self))

    def control(self):
        return self.chance.choice((self.get, self.put, self.presigned))()

    def get(self):
        return signed(self.client, "GET", self.path)

    def put(self):
        return signed(self.client, "PUT", self.client.path(self.bucket, "control"), body=b"control")

    def presigned(self, seconds=300):
        url = self.client.presign("GET", self.bucket, "kept", seconds)
        return Request("GET", url[len(self.client.endpoint):], [("host", f"{self.client.host}:{self.client.port}")])

    def mutated(self):
        kind = self.deck.draw()
        if kind.startswith("bad_url_"):
            return kind, getattr(self, kind)(self.presigned())
        request = self.get() if self.chance.random() < 0.5 else signed(
            self.client, "PUT", self.client.path(self.bucket, "mutated"), body=noise(self.chance.random(), 1_000))
        return kind, getattr(self, kind)(request)

    def proof(self, request, pattern, change):
        """Changes the first group of `pattern` in the Authorization header."""
        text = request.header("authorization")
        found = re.search(pattern, text)
        changed = change(found[1])
        assert changed != found[1], (pattern, changed)
        return request.with_header("authorization", text[:found.start(1)] + changed + text[found.end(1):])

    def anywhere(self, alphabet):
        return lambda text: replaced(self.chance, text, self.chance.randrange(len(text)), alphabet)

    def bad_signature_digit(self, request):
        return self.proof(request, r"Signature=([0-9a-f]+)", self.anywhere(HEX))

    def bad_signature_length(self, request):
        cut = self.chance.randrange(64)
        return self.proof(request, r"Signature=([0-9a-f]+)", lambda text: self.chance.choice((text[:cut], text + text[:cut + 1])))

    def bad_access_key(self, request):
        return self.proof(request, r"Credential=([^/]+)/", self.anywhere(string.ascii_uppercase + string.digits))

    def bad_scope_day(self, request):
        day = stamp(time.time() + self.chance.choice((-7, -1, 1, 7)) * DAY_S)[:8]
        return self.proof(request, r"Credential=[^/]+/(\d{8})/", lambda _: day)

    def bad_scope_region(self, request):
        return self.proof(request, r"/\d{8}/([^/]+)/", lambda _: self.chance.choice(("us", "us-east-1", "eu-west-3", "frr", "")))

    def bad_scope_service(self, request):
        return self.proof(request, r"/([^/]+)/aws4_request", lambda _: self.chance.choice(("ec2", "s3x", "S3", "")))

    def bad_scope_end(self, request):
        return self.proof(request, r"/(aws4_request)", self.anywhere(string.ascii_lowercase))

    def bad_signed_headers_less(self, request):
        def less(text):
            names = text.split(";")
            names.remove(self.chance.choice(names))
            return ";".join(names)
        return self.proof(request, r"SignedHeaders=([^,]+)", less)

    def bad_signed_headers_more(self, request):
        return self.proof(request, r"SignedHeaders=([^,]+)", lambda text: text + ";" + self.chance.choice(("x-amz-zz", "range", "zz")))

    def bad_algorithm(self, request):
        return self.proof(request, r"^(AWS4-HMAC-SHA256) ", lambda _: self.chance.choice(("AWS4-HMAC-SHA1", "AWS4-HMAC-SHA512", "AWS", "Bearer",
                                                                                           "AWS4-ECDSA-P256-SHA256")))

    def bad_no_proof(self, request):
        return request.without("authorization")

    def bad_two_proofs(self, request):
        request.headers.append(("authorization", request.header("authorization")))
        return request

    def bad_date(self, request):
        return request.with_header("x-amz-date", stamp(time.time() + self.chance.choice((-1_200, -60, -5, 5, 60, 1_200))))

    def bad_digest(self, request):
        return request.with_header("x-amz-content-sha256", self.anywhere(HEX)(request.header("x-amz-content-sha256")))

    def bad_digest_left_out(self, request):
        return request.with_header("x-amz-content-sha256", UNSIGNED)

    def bad_method(self, request):
        request.method = other(self.chance, request.method, ("GET", "HEAD", "DELETE", "PUT", "POST"))
        return request

    def bad_path(self, request):
        at = request.where.rindex("/") + 1
        request.where = replaced(self.chance, request.where, self.chance.randrange(at, len(request.where)), string.ascii_lowercase)
        return request

    def bad_query(self, request):
        request.where += "?" + self.chance.choice(("acl", "uploads", "x=1", "partNumber=1", "response-content-type=text%2Fhtml", "versionId=null"))
        return request

    def bad_host(self, request):
        return request.with_header("host", f"localhost:{self.client.port}")

    def bad_header_added(self, request):
        request.headers.append(self.chance.choice((("x-amz-meta-a", "b"), ("x-amz-security-token", "t"), ("x-amz-acl", "public-read"),
                                                   ("x-amz-date", stamp()))))
        return request

    def bad_secret(self, request):
        wrong = type(self.client)(self.client.endpoint, self.client.region, self.client.access_key,
                                  self.anywhere(string.ascii_letters)(self.client.secret_key))
        return signed(wrong, request.method, request.where, body=request.body)

    def url(self, request, name, change):
        found = re.search(rf"[?&]{name}=([^&]*)", request.where)
        changed = change(found[1])
        assert changed != found[1], name
        request.where = request.where[:found.start(1)] + changed + request.where[found.end(1):]
        return request

    def bad_url_signature(self, request):
        return self.url(request, "X-Amz-Signature", self.anywhere(HEX))

    def bad_url_expiry(self, request):
        return self.url(request, "X-Amz-Expires", lambda text: self.chance.choice((str(int(text) + 1), "604801", "0", "-1", "", "1e9")))

    def bad_url_date(self, request):
        return self.url(request, "X-Amz-Date", lambda _: stamp(time.time() + self.chance.choice((-400, -5, 5, 400))))

    def bad_url_credential(self, request):
        return self.url(request, "X-Amz-Credential", lambda text: replaced(self.chance, text, 5, string.ascii_uppercase + string.digits))

    def bad_url_signed_headers(self, request):
        return self.url(request, "X-Amz-SignedHeaders", lambda text: self.chance.choice(("", "range", text + "%3Brange")))

    def bad_url_less(self, request):
        name = self.chance.choice(("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"))
        request.where = re.sub(rf"(?<=[?&])X-Amz-{name}=[^&]*&?", "", request.where)
        return request

    def bad_url_more(self, request):
        request.where += self.chance.choice(("&x=1", "&X-Amz-Expires=300", "&response-content-type=text%2Fhtml", "&uploads="))
        return request

    def bad_url_path(self, request):
        request.where = request.where.replace("/kept?", "/" + replaced(self.chance, "kept", self.chance.randrange(4), string.ascii_lowercase) + "?")
        return request


class Chunked:
    """Bodies in aws-chunked, signed chunk by chunk or with a checksum behind them."""

    MODES = (STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER)

    def __init__(self, client, bucket, chance):
        self.client, self.bucket, self.chance = client, bucket, chance
        self.deck = Deck(chance, [(kind, mode) for kind in kinds_of(self) for mode in self.MODES])

    def made(self, key, mode=None, tamper=None):
        """(request, the framed body as a list of chunks (header, data), and what comes after the last)"""
        self.mode = mode or self.chance.choice(self.MODES)
        body = noise(self.chance.random(), self.chance.randrange(30_000, 60_000))
        trailer = None if self.mode == STREAMING_SIGNED else ("x-amz-checksum-crc32", checksum("crc32", body))
        path = self.client.path(self.bucket, key)
        head, framed = self.client.prepare("PUT", path, {}, {}, body, self.mode, trailer, chunk_size=8_192, tamper=tamper)
        del head["content-length"]
        return Request("PUT", path, head.items()), *parsed(framed[0])

    def finish(self, request, chunks, rest):
        request.body = b"".join(header + b"\r\n" + (data + b"\r\n" if data is not None else b"") for header, data in chunks) + rest
        return self.framed(request)

    def framed(self, request):
        request.headers.append(("content-length", str(len(request.body))))
        return request

    def control(self):
        return self.finish(*self.made("control"))

    def mutated(self):
        kind, mode = self.deck.draw()
        made = self.made("mutated", mode, "length" if kind == "bad_decoded_length" else None)
        return f"{kind} {mode}", getattr(self, kind)(*made)

    def some(self, chunks):
        """The number of a chunk that has data."""
        return self.chance.randrange(len(chunks) - 1)

    def bad_decoded_length(self, *made):
        return self.finish(*made)

    def bad_data_bit(self, request, chunks, rest):
        which = self.some(chunks)
        header, data = chunks[which]
        changed = bytearray(data)
        changed[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
        chunks[which] = header, bytes(changed)
        return self.finish(request, chunks, rest)

    def bad_data_byte_more(self, request, chunks, rest):
        which = self.some(chunks)
        header, data = chunks[which]
        at = self.chance.randrange(len(data))
        chunks[which] = header, data[:at] + bytes([self.chance.randrange(256)]) + data[at:]
        return self.finish(request, chunks, rest)

    def bad_data_byte_less(self, request, chunks, rest):
        which = self.some(chunks)
        header, data = chunks[which]
        at = self.chance.randrange(len(data))
        chunks[which] = header, data[:at] + data[at + 1:]
        return self.finish(request, chunks, rest)

    def bad_size(self, request, chunks, rest):
        which = self.chance.randrange(len(chunks))
        header, data = chunks[which]
        size = header.split(b";")[0].decode()
        changed = self.chance.choice((replaced(self.chance, size, self.chance.randrange(len(size)), HEX), f"0x{size}", f"+{size}", f"-{size}",
                                      f" {size}", "f" * 17, "f" * 16, "", f"{size} "))
        chunks[which] = header.replace(size.encode(), changed.encode(), 1), data
        return self.finish(request, chunks, rest)

    def bad_chunk_signature(self, request, chunks, rest):
        which = self.chance.randrange(len(chunks))
        header, data = chunks[which]
        if b"=" not in header:  # this mode has none: then one that was not announced
            chunks[which] = header + b";chunk-signature=" + b"0" * 64, data
        else:
            front, signature = header.decode().split("=")
            chunks[which] = f"{front}={replaced(self.chance, signature, self.chance.randrange(64), HEX)}".encode(), data
        return self.finish(request, chunks, rest)

    def bad_extension(self, request, chunks, rest):
        which = self.chance.randrange(len(chunks))
        chunks[which] = chunks[which][0] + b";more=1", chunks[which][1]
        return self.finish(request, chunks, rest)

    def bad_order(self, request, chunks, rest):
        one, two = self.chance.sample(range(len(chunks) - 1), 2)
        chunks[one], chunks[two] = chunks[two], chunks[one]
        return self.finish(request, chunks, rest)

    def bad_chunk_twice(self, request, chunks, rest):
        which = self.some(chunks)
        return self.finish(request, [*chunks[:which], chunks[which], *chunks[which:]], rest)

    def bad_chunk_less(self, request, chunks, rest):
        which = self.some(chunks)
        return self.finish(request, chunks[:which] + chunks[which + 1:], rest)

    def bad_no_last_chunk(self, request, chunks, rest):
        return self.finish(request, chunks[:-1], rest)

    def bad_end(self, request, chunks, rest):
        self.finish(request, chunks, rest)
        request.body = request.body[:self.chance.randrange(1, len(request.body))]
        return self.framed(request.without("content-length"))

    def bad_cut_off(self, request, chunks, rest):
        """Announced whole, and cut off."""
        self.finish(request, chunks, rest)
        request.body, request.cut = request.body[:self.chance.randrange(1, len(request.body))], True
        return request

    def bad_more(self, request, chunks, rest):
        return self.finish(request, chunks, rest + self.chance.choice((b"\r\n", b"0\r\n\r\n", b"x", b"5\r\nhello\r\n0\r\n\r\n")))

    def bad_line_end(self, request, chunks, rest):
        which = self.some(chunks)
        before = self.finish(request, chunks[:which], b"").body
        request.without("content-length")
        header, data = chunks[which]
        after = self.finish(request, chunks[which + 1:], rest).body
        request.body = before + header + b"\n" + data + b"\r\n" + after
        return self.framed(request.without("content-length"))

    def bad_trailer(self, request, chunks, rest):
        lines = rest.split(b"\r\n")
        if self.mode == STREAMING_SIGNED:
            return self.finish(request, chunks, b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n")  # undeclared
        name, value = lines[0].decode().split(":")
        change = self.chance.randrange(5)
        if change == 0:
            lines[0] = f"{name}:{replaced(self.chance, value, self.chance.randrange(4), string.ascii_letters)}".encode()
        elif change == 1:
            lines[0] = f"x-amz-checksum-crc32c:{value}".encode()
        elif change == 2:
            del lines[0]
        elif change == 3:
            lines.insert(0, lines[0])
        else:
            lines.insert(1, b"x-amz-meta-more:1")
        return self.finish(request, chunks, b"\r\n".join(lines))


def parsed(framed):
    """[(header, data)], the last with None; and what comes behind it."""
    chunks = []
    while True:
        header, _, framed = framed.partition(b"\r\n")
        size = int(header.split(b";")[0], 16)
        if not size:
            return [*chunks, (header, None)], framed
        chunks.append((header, framed[:size]))
        framed = framed[size + 2:]


class Headers:
    """Lengths, hosts, first lines, digests, conditions: of a PUT that is signed as it is sent, so that nothing but this one thing is wrong."""

    def __init__(self, client, bucket, chance):
        self.client, self.bucket, self.chance = client, bucket, chance
        self.deck = Deck(chance, kinds_of(self))

    def put(self, key="mutated", **options):
        return signed(self.client, "PUT", self.client.path(self.bucket, key), body=noise(self.chance.random(), 2_000), **options)

    def control(self):
        return self.put("control")

    def mutated(self):
        kind = self.deck.draw()
        return kind, getattr(self, kind)()

    def bad_length_more(self):
        request = self.put()
        request.cut = True
        return request.with_header("content-length", str(len(request.body) + self.chance.choice((1, 10, 10 ** 6))))

    def bad_length_less(self):
        request = self.put()
        return request.with_header("content-length", str(len(request.body) - self.chance.randrange(1, len(request.body))))

    def bad_length_text(self):
        return self.put().with_header("content-length", self.chance.choice(("+2000", "-1", "0x7d0", "2e3", "2000,2001", "", "2000 2000", "9" * 30)))

    def bad_length_twice(self):
        request = self.put()
        request.headers.append(("content-length", str(len(request.body) - self.chance.randrange(1, 100))))
        return request

    def bad_length_and_chunked(self):
        request = self.put()
        request.headers.append(("transfer-encoding", "chunked"))
        return request

    def bad_transfer_encoding(self):
        request = self.put()
        request.headers.append(("transfer-encoding", self.chance.choice(("xchunked", "chunked, identity", "gzip", "identity", "chunked, chunked"))))
        return request.without("content-length")

    def bad_no_host(self):
        return self.put().without("host")

    def bad_two_hosts(self):
        request = self.put()
        request.headers.append(("host", self.chance.choice(("localhost", "s3.us.terroir.example", f"127.0.0.2:{self.client.port}"))))
        return request

    def bad_line(self):
        request = self.put()
        request.headers.insert(self.chance.randrange(len(request.headers)), self.chance.choice(
            (b"x-a : b", b"x-a\x00: b", b"x-a: b\x00c", b"x-a", b": b", b"x-a: b\rc", b"x a: b", b"x-a: b\r\n folded", b"x-\xe9: b", b"x-a: \x7f\x01")))
        return request

    def bad_too_many(self):
        request = self.put()
        request.headers += [(f"x-h{number}", "v") for number in range(self.chance.randrange(101, 300))]
        return request

    def bad_too_large(self):
        request = self.put()
        request.headers.append(("x-h", "v" * self.chance.randrange(66_000, 90_000)))
        return request

    def bad_version(self):
        request = self.put()
        request.version = self.chance.choice(("HTTP/1.2", "HTTP/3.0", "HTTP/1.1x", "http/1.1", "HTTP/", "", "HTTP/1.1 HTTP/1.1"))
        return request

    def bad_method(self):
        request = self.put()
        request.method = self.chance.choice(("put", "PUTT", "P UT", "", "PATCH", "TRACE", "CONNECT", "(PUT)"))
        return request

    def bad_digest(self):
        wrong = self.chance.choice((hashlib.sha256(b"x").hexdigest(), "UNSIGNED", "", "0" * 63, "STREAMING-AWS4-HMAC-SHA256-PAYLOADX"))
        return self.put(payload=wrong or "-")

    def bad_md5(self):
        return self.put(headers={"content-md5": self.chance.choice(("1B2M2Y8AsgTpgAmY7PhCfg==", "x", "1B2M2Y8AsgTpgAmY7PhC", "===="))})

    def bad_checksum(self):
        algorithm = self.chance.choice(("crc32", "crc32c", "crc64nvme", "sha1", "sha256"))
        return self.put(headers={f"x-amz-checksum-{algorithm}": self.chance.choice((checksum(algorithm, b"x"), "AAAA", "!", checksum("sha1", b"")[:-2]))})

    def bad_condition(self):
        if self.chance.random() < 0.5:
            return self.put("kept", headers={"if-none-match": "*"})
        return self.put("kept", headers={"if-match": f'"{self.chance.randrange(1 << 60):032x}"'})

    def bad_unsigned_word(self):
        return self.put(unsigned=[self.chance.choice((("x-amz-meta-a", "b"), ("x-amz-tagging", "a=b"), ("x-amz-storage-class", "GLACIER"),
                                                      ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")))])

    def bad_metadata_size(self):
        return self.put(headers={"x-amz-meta-a": "v" * self.chance.randrange(2_100, 6_000)})

    def bad_decoded_length(self):
        return self.put(payload=STREAMING_SIGNED, headers={"x-amz-decoded-content-length": self.chance.choice(("2000", "-1", "x"))})


class Documents:
    """The three XML bodies; every mutation keeps the signature right, so that only the document is wrong."""

    def __init__(self, client, bucket, chance, upload, parts, keys, fresh_bucket):
        """`parts`: the ETags of an upload that waits for its completion, from part 1; `keys`: what a Delete would delete."""
        self.client, self.bucket, self.chance = client, bucket, chance
        self.upload, self.parts, self.keys, self.fresh_bucket = upload, parts, keys, fresh_bucket
        self.deck = Deck(chance, [(root, kind) for root in ("complete", "delete", "create") for kind in kinds_of(self, "bad_", f"{root}_")])

    def complete(self, parts=None):
        parts = enumerate(self.parts, 1) if parts is None else parts
        return "<CompleteMultipartUpload>" + "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in parts) + "</CompleteMultipartUpload>"

    def delete(self):
        return "<Delete>" + "".join(f"<Object><Key>{key}</Key></Object>" for key in self.keys) + "<Quiet>true</Quiet></Delete>"

    def create(self, location=None):
        return (f"<CreateBucketConfiguration><LocationConstraint>{self.client.region if location is None else location}</LocationConstraint>"
                "</CreateBucketConfiguration>")

    def sent(self, root, text):
        body = text if isinstance(text, bytes) else text.encode()
        if root == "complete":
            return signed(self.client, "POST", self.client.path(self.bucket, "whole"), {"uploadId": self.upload}, body)
        if root == "delete":
            return signed(self.client, "POST", f"/{self.bucket}", {"delete": ""}, body,
                          headers={"x-amz-checksum-crc32": checksum("crc32", body)})
        return signed(self.client, "PUT", f"/{self.fresh_bucket}", body=body)

    def control(self):
        """Of the three, the one that can be done again and again: deleting what is not there."""
        return self.sent("delete", "<Delete><Object><Key>never-there</Key></Object><Quiet>true</Quiet></Delete>")

    def mutated(self):
        root, kind = self.deck.draw()
        return f"{kind} {root}", self.sent(root, getattr(self, kind)(getattr(self, root)()))

    def tag(self, text, pattern=r"<(/?)([A-Za-z]+)>"):
        return self.chance.choice(list(re.finditer(pattern, text)))

    def bad_cut(self, text):
        return text[:self.chance.randrange(1, len(text))]

    def bad_bracket(self, text):
        found = self.tag(text, r"[<>]")
        return text[:found.start()] + text[found.end():]

    def bad_slash(self, text):
        found = self.tag(text, r"(?<=<)/")
        return text[:found.start()] + text[found.end():]

    def bad_name_of_one_end(self, text):
        found = self.tag(text)
        at = self.chance.randrange(found.start(2), found.end(2))
        return replaced(self.chance, text, at, string.ascii_letters)

    def bad_name_of_both(self, text):
        name = self.tag(text)[2]
        changed = name + "s" if self.chance.random() < 0.5 else name.swapcase()
        return re.sub(rf"(?<=[</]){name}>", f"{changed}>", text)

    def bad_doctype(self, text):
        return self.chance.choice(('<!DOCTYPE a [<!ENTITY e "x">]>', "<!DOCTYPE a>", '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
                                   "<?php x?>", "<?xml-stylesheet a?>")) + text

    def bad_entity(self, text):
        found = self.tag(text, r">(?=[^<])")
        return text[:found.end()] + self.chance.choice(("&e;", "&nbsp;", "&;", "&#xD800;", "&#x110000;", "&", "&amp")) + text[found.end():]

    def bad_second_root(self, text):
        return text + self.chance.choice((text, "<a/>", "more", "</a>"))

    def bad_twice(self, text):
        found = self.tag(text, r"<(PartNumber|ETag|Key|Quiet|LocationConstraint)>[^<]*</\1>")
        return text[:found.end()] + found[0] + text[found.end():]

    def bad_unknown_element(self, text):
        found = self.tag(text, r"(?<=>)(?=<)")
        return text[:found.start()] + self.chance.choice(("<More/>", "<More>1</More>", "<Location><Name>x</Name></Location>")) + text[found.start():]

    def bad_utf8(self, text):
        found = self.tag(text, r">(?=[^<])")
        return text[:found.end()].encode() + self.chance.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82")) + text[found.end():].encode()

    def bad_encoding(self, text):
        if self.chance.random() < 0.5:
            return text.encode("utf-16")
        return f'<?xml version="1.0" encoding="{self.chance.choice(("utf-16", "latin-1", "utf-7", "ebcdic"))}"?>{text}'

    def bad_depth(self, text):
        found, deep = self.tag(text, r">(?=[^<])"), self.chance.randrange(20, 5_000)
        return text[:found.end()] + "<a>" * deep + "</a>" * deep + text[found.end():]

    def bad_nothing(self, text):
        root = re.match(r"<(\w+)>", text)[1]
        return self.chance.choice((f"<{root}>", "{}", "<", "<a/>", text.replace(root, "Other"), f"text{text}"))

    def bad_size(self, text):
        return text + " " * (3 << 20)

    def complete_number(self, text):
        number = self.chance.randrange(1, len(self.parts) + 1)
        return text.replace(f"<PartNumber>{number}<", f"<PartNumber>{self.chance.choice(('0', '-1', '10001', '+1', '1.0', '0x1', '', 'one', '٢', '9' * 20, '99'))}<")

    def complete_tag(self, text):
        tag = self.chance.choice(self.parts)
        inner = tag.strip('"')
        return text.replace(inner, replaced(self.chance, inner, self.chance.randrange(len(inner)), HEX))

    def complete_order(self, _text):
        parts = list(enumerate(self.parts, 1))
        return self.complete(self.chance.choice((parts[::-1], parts + parts[:1], [*parts, parts[-1]], [])))

    def complete_unknown_part(self, _text):
        return self.complete([(1, self.parts[0]), (self.chance.randrange(3, 90), self.parts[1])])

    def delete_nothing(self, _text):
        return self.chance.choice(("<Delete></Delete>", "<Delete><Quiet>true</Quiet></Delete>", "<Delete><Object></Object></Delete>",
                                   "<Delete><Object><Key></Key></Object></Delete>", f"<Delete><Object><Key>{'k' * 1_025}</Key></Object></Delete>"))

    def delete_too_many(self, _text):
        return "<Delete>" + f"<Object><Key>{self.keys[0]}</Key></Object>" * self.chance.randrange(1_001, 1_100) + "</Delete>"

    def delete_quiet(self, text):
        return text.replace(">true<", f">{self.chance.choice(('TRUE', '1', 'yes', '', 'truefalse'))}<")

    def create_location(self, _text):
        return self.create(self.chance.choice(("us", "us-east-1", "eu-west-3", "FR", "frr", "fr,us", "EU", "fr\u200b", "fr fr")))


class Ranges:
    """Ranges that are none, or outside: the model says what S3 answers instead of a part."""

    ALPHABET = string.digits + "-=,abtyes.+%x:;/*"
    SAME = re.compile(r"bytes=(\d+-\d*|-\d+)")

    def __init__(self, client, bucket, chance, key, size):
        self.client, self.path, self.chance, self.size = client, client.path(bucket, key), chance, size

    def right(self):
        first = self.chance.randrange(self.size - 1)
        last = self.chance.randrange(first, self.size)
        return self.chance.choice((f"bytes={first}-{last}", f"bytes={first}-", f"bytes=-{last + 1}"))

    def control(self):
        return signed(self.client, "GET", self.path, headers={"range": self.right()})

    def mutated(self):
        while True:
            text = self.right()
            for _ in range(self.chance.choice((1, 1, 1, 2, 3))):
                at, how = self.chance.randrange(len(text)), self.chance.randrange(4)
                letter = self.chance.choice(self.ALPHABET)
                text = (text[:at] + letter + text[at:], text[:at] + letter + text[at + 1:], text[:at] + text[at + 1:],
                        f"bytes={self.size + self.chance.randrange(9)}-")[how]
            if text and not self.is_of_use(text):
                return text, signed(self.client, "GET", self.path, headers={"range": text})

    def is_of_use(self, text):
        """Whether it still asks for a part that is there."""
        if not self.SAME.fullmatch(text):
            return False
        first, last = text[6:].split("-")
        if not first:
            return int(last) > 0
        return int(first) < self.size and (not last or int(last) >= int(first))


class Keys:
    """Names that are nearly the one of a record, and names that are none."""

    KEY = "records/2026/é-patient-7.json"

    def __init__(self, client, bucket, chance, absent_bucket):
        self.client, self.bucket, self.chance, self.absent_bucket = client, bucket, chance, absent_bucket
        self.deck = Deck(chance, kinds_of(self))

    def get(self, raw_key, bucket=None, method="GET", body=b""):
        return signed(self.client, method, f"/{bucket or self.bucket}/{raw_key}", body=body)

    def control(self):
        return self.get(quote(self.KEY, safe="/-._~"))

    def mutated(self):
        kind = self.deck.draw()
        return kind, getattr(self, kind)()

    def near(self, key):
        assert key != self.KEY
        return self.get(quote(key, safe="/-._~"))

    def at(self):
        return self.chance.randrange(len(self.KEY))

    def bad_letter(self):
        return self.near(replaced(self.chance, self.KEY, self.at(), string.ascii_letters + "/._-é "))

    def bad_letter_less(self):
        at = self.at()
        return self.near(self.KEY[:at] + self.KEY[at + 1:])

    def bad_letter_more(self):
        at = self.chance.randrange(len(self.KEY) + 1)
        return self.near(self.KEY[:at] + self.chance.choice("/ .%+\\\0\n\u200b\u0301") + self.KEY[at:])

    def bad_case(self):
        return self.near(self.chance.choice((self.KEY.upper(), self.KEY.title(), self.KEY.replace("j", "J"))))

    def bad_dots(self):
        parts = self.KEY.split("/")
        parts.insert(self.chance.randrange(len(parts)), self.chance.choice((".", "..", "", "x/..", "%2e%2e", "./.")))
        return self.near("/".join(parts))

    def bad_form(self):
        return self.near(self.KEY.replace("é", self.chance.choice(("e\u0301", "e", "Ã©", "%C3%A9"))))

    def bad_bucket(self):
        bucket = replaced(self.chance, self.bucket, len(self.bucket) - 1, string.digits + "z")
        return self.get(quote(self.KEY, safe="/-._~"), self.chance.choice((bucket, self.absent_bucket, self.bucket + "%2Frecords", self.bucket.upper())))

    def bad_encoding(self):
        """Neither read nor written."""
        raw = self.chance.choice(("%zz", "%", "%f", "%ff", "%c0%af", "%ed%a0%80", "%00%", "a%2", "%e2%82"))
        method = self.chance.choice(("GET", "PUT"))
        return self.get(f"records/{raw}", method=method, body=b"mutated" if method == "PUT" else b"")

    def bad_length(self):
        method, key = self.chance.choice(("GET", "PUT")), "k" * self.chance.randrange(1_025, 3_000)
        return self.get(key, method=method, body=b"mutated" if method == "PUT" else b"")
