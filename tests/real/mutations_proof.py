"""Mutations of Signature V4: of the proof, and of what was proven."""

import re
import string
import time

from mutations import HEX, Deck, Request, kinds_of, other, replaced, signed
from wire import UNSIGNED, noise, stamp

DAY_S = 86_400


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
