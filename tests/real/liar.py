"""A relay that understands HTTP/1.1 and can lie: errors, cut answers, flipped bits, silence, at a rate or to a rule.

Stands between the product and a real store. Every request that reaches it is counted, also those that it answers itself, so
what a retry costs is seen here and not in the product's own figures. It knows nothing of S3 but method, path and range.
"""

import random
import socket
import struct
import threading
import time

HEAD_BYTES_MAX = 64 << 10
BLOCK = 1 << 18
CONNECT_S = 5
IDLE_S = 120


class Fault:
    """What happens to one request. `kind`:
    error-before: answered `status`, never forwarded · error-after: forwarded and done, then answered `status` ·
    reset: forwarded and done, then the connection is reset · truncate: the answer's body is cut off in the middle ·
    shorten: the body is cut, and Content-Length says so · flip: one bit of the answer's body is wrong ·
    flip-up: one bit of the request's body is wrong · freeze: no answer for `hold_s`, then the connection closes.
    """

    def __init__(self, kind, status=503, hold_s=30):
        self.kind, self.status, self.hold_s = kind, status, hold_s


class Seen:
    """One request as it arrived."""

    def __init__(self, method, path, headers, fault):
        self.method, self.path, self.headers, self.fault = method, path, headers, fault
        self.at, self.status = time.monotonic(), None  # the status: of the store's own answer, if it was asked

    @property
    def credential(self):
        """The access key that signed it."""
        _, _, rest = self.headers.get("authorization", "").partition("Credential=")
        return rest.partition("/")[0]


class Ended(Exception):
    """One side closed."""


class Liar:
    """`rule(method, path, headers)` gives the fault of a request, or None. Change it at any time."""

    def __init__(self, port, host="127.0.0.1", listen="127.0.0.1", listen_port=0, tls=None, seed=0):
        """`tls`: an SSL context of a server; what goes on to the store is plain."""
        self.to, self.rule, self.tls = (host, port), None, tls
        self.chance = random.Random(f"liar-{seed}")
        self.lock = threading.Lock()
        self.listener = socket.create_server((listen, listen_port), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.seen, self.open = [], set()
        self.closed = False
        threading.Thread(target=self.accept, daemon=True).start()

    # What the cases ask and set.

    def at_rate(self, share, kinds, methods=("GET", "PUT"), status=503, hold_s=30):
        """From now on this share of the requests meets one of `kinds`, by seeded chance."""

        def rule(method, _path, _headers):
            with self.lock:
                if method in methods and self.chance.random() < share:
                    return Fault(self.chance.choice(kinds), status, hold_s)
            return None

        self.rule = rule

    def honest(self):
        self.rule = None

    def reset(self):
        with self.lock:
            self.seen = []

    def requests(self, *methods):
        with self.lock:
            return [seen for seen in self.seen if not methods or seen.method in methods]

    def faults(self):
        """Kind → how many."""
        told = {}
        for seen in self.requests():
            if seen.fault:
                told[seen.fault.kind] = told.get(seen.fault.kind, 0) + 1
        return told

    def close(self):
        self.closed = True
        slam(self.listener, gently=True)  # which wakes who waits in accept
        with self.lock:
            for sock in list(self.open):
                slam(sock)

    # The relay.

    def accept(self):
        while not self.closed:
            try:
                inbound, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(inbound,), daemon=True).start()

    def serve(self, inbound):
        inbound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        inbound.settimeout(IDLE_S)
        if self.tls:
            try:
                inbound = self.tls.wrap_socket(inbound, server_side=True)
            except OSError:
                inbound.close()
                return
        with self.lock:
            self.open.add(inbound)
        upstream = None
        try:
            reader = inbound.makefile("rb", BLOCK)
            while True:
                first, headers, raw = read_head(reader)
                method, path, _ = first.split(" ", 2)
                fault = self.rule(method, path, headers) if self.rule else None
                seen = Seen(method, path, headers, fault)
                with self.lock:
                    self.seen.append(seen)
                if headers.get("expect", "").lower() == "100-continue":
                    inbound.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = read_body(reader, headers, to_end=False)
                if fault and fault.kind == "error-before":
                    inbound.sendall(refusal(fault.status, method))
                    continue
                if fault and fault.kind == "freeze":
                    time.sleep(fault.hold_s)
                    return
                if fault and fault.kind == "flip-up" and body:
                    body = self.flipped(body)
                if upstream is None:
                    upstream = Upstream(self.to)
                if not self.answer(inbound, upstream, seen, raw, body):
                    return
        except (Ended, OSError, ValueError):
            pass
        finally:
            with self.lock:
                ours, _ = inbound in self.open, self.open.discard(inbound)
            if ours:
                slam(inbound, gently=True)
            if upstream and upstream.sock:
                slam(upstream.sock, gently=True)

    def answer(self, inbound, upstream, seen, raw, body):
        """Forwards and passes the answer back as the fault says; False ends the connection."""
        method, fault = seen.method, seen.fault
        first, headers, head, content = upstream.exchange(method, raw, body)
        seen.status = int(first.split(" ")[1])
        kind = fault.kind if fault else None
        if kind == "error-after":
            inbound.sendall(refusal(fault.status, method))
            return True
        if kind == "reset":
            with self.lock:
                self.open.discard(inbound)  # the reader lets go of it last, and that close is the reset
            slam(inbound)
            return False
        if kind in ("truncate", "shorten", "flip") and len(content) > 1 and method == "GET":
            if kind == "flip":
                content = self.flipped(content)
            else:
                content = content[:len(content) // 2]
            if kind == "shorten":
                head = with_length(head, len(content))
        inbound.sendall(head + content)
        if kind == "truncate" and method == "GET":
            slam(inbound, gently=True)
            return False
        return headers.get("connection", "").lower() != "close"

    def flipped(self, content):
        changed = bytearray(content)
        with self.lock:
            changed[self.chance.randrange(len(changed))] ^= 1 << self.chance.randrange(8)
        return bytes(changed)


class Upstream:
    """One connection to the store; a new one if it was closed between two requests."""

    def __init__(self, to):
        self.to, self.sock = to, None

    def exchange(self, method, raw, body):
        for attempt in (1, 2):
            fresh = self.sock is None
            try:
                if fresh:
                    self.sock = socket.create_connection(self.to, CONNECT_S)
                    self.sock.settimeout(IDLE_S)
                    self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.reader = self.sock.makefile("rb", BLOCK)
                self.sock.sendall(raw + body)
                while True:
                    first, headers, head = read_head(self.reader)
                    status = int(first.split(" ")[1])
                    if status >= 200:
                        break
                # Chunks are passed on as they came: the head that announces them is, too.
                bodyless = method == "HEAD" or status in (204, 304)
                return first, headers, head, b"" if bodyless else read_body(self.reader, headers, to_end=True)
            except (Ended, OSError):
                if self.sock:
                    self.sock.close()
                self.sock = None
                if fresh or attempt == 2:
                    raise
        raise AssertionError("not reached")


def read_head(reader):
    raw, first, headers = b"", None, {}
    while True:
        line = reader.readline(HEAD_BYTES_MAX)
        if not line:
            raise Ended
        raw += line
        if line in (b"\r\n", b"\n"):
            if first is None:
                continue
            return first, headers, raw
        if first is None:
            first = line.decode("latin-1").rstrip()
        else:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()


def read_body(reader, headers, to_end):
    if "chunked" in headers.get("transfer-encoding", "").lower():
        whole = b""
        while True:
            line = reader.readline()
            size = int(line.split(b";")[0], 16)
            whole += line
            piece = exactly(reader, size + 2) if size else b""
            whole += piece
            if not size:
                while (line := reader.readline()) not in (b"\r\n", b""):
                    whole += line
                return whole + line
    if "content-length" in headers:
        return exactly(reader, int(headers["content-length"]))
    return reader.read() if to_end else b""


def exactly(reader, size):
    data = reader.read(size)
    if len(data) != size:
        raise Ended
    return data


def refusal(status, method):
    code = {500: "InternalError", 503: "SlowDown", 403: "AccessDenied"}.get(status, "InternalError")
    body = b"" if method == "HEAD" else f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>lied</Message></Error>'.encode()
    return (f"HTTP/1.1 {status} Lied\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def with_length(head, length):
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([lines[0], b"Content-Length: %d" % length, *lines[1:]])


def slam(sock, gently=False):
    """Closes; not gently: with a reset, as a machine does that is gone."""
    try:
        if not gently:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR) if gently else None
    except OSError:
        pass
    sock.close()
