"""Requests of which one thing is wrong, made from right ones by seeded chance: what all families of them share.

Every mutation changes what the request means or makes it none at all; what servers may rightly take for the same (letter case of a hex
digit, a zero in front of a length, white space around a range) is not among them. A family has `control()`, a right request, and
`mutated()`: what was done to one, and that one. They are in mutations_proof.py, mutations_body.py, mutations_head.py, mutations_xml.py
and mutations_name.py.
"""

import hashlib

from wire import Signer, stamp, target

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
