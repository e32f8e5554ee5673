"""Mutations of the head: lengths, hosts, first lines, digests, conditions."""

import hashlib

from mutations import Deck, kinds_of, signed
from wire import STREAMING_SIGNED, checksum, noise


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
