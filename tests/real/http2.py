"""HTTP/2 from a client's side, as little of it as asks and is answered: many requests on one connection over TLS, and no request twice.

It is there to say exactly what became of a request when a server drains: answered; not begun, which the server says itself (a stream
beyond the last of its GOAWAY, or refused), so that it may be sent elsewhere; or lost. Library of the interpreter alone: of the answer's
headers it reads the status (RFC 7541 without its dynamic table, which it forbids the server, and of its Huffman code the digits).
"""

import socket
import ssl
import struct
import threading

from wire import Answer, Broken

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
REFUSED_STREAM = 7
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE = 1, 2, 4
WINDOW, LONGEST = 65_535, 16_384
MUCH = 1 << 30
STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}  # RFC 7541, appendix A
DIGITS = {"00000": "0", "00001": "1", "00010": "2", "011001": "3", "011010": "4", "011011": "5", "011100": "6", "011101": "7", "011110": "8",
          "011111": "9"}  # appendix B


class Gone(Broken):
    """Nobody listens, or this connection takes no more: nothing was asked."""


class NotBegun(Broken):
    """The server says that it did nothing with this request."""


class Lost(Broken):
    """A request was sent, and there was no answer."""


class Stream:
    def __init__(self, window):
        self.over, self.status, self.body, self.window, self.error = threading.Event(), None, [], window, None


class Connection:
    """One connection; requests of any number of threads."""

    def __init__(self, host, port, context, timeout_s=60):
        context.set_alpn_protocols(["h2"])
        self.timeout_s = timeout_s
        # One TLS state for a thread that reads and others that write: bytes go in and out under a lock, the socket waits without it.
        self.comes, self.goes, self.sealing, self.sending = ssl.MemoryBIO(), ssl.MemoryBIO(), threading.Lock(), threading.Lock()
        self.tls = context.wrap_bio(self.comes, self.goes, server_hostname=host)
        try:
            self.socket = socket.create_connection((host, port), timeout=timeout_s)
            self.shake_hands()
        except OSError as error:  # refused, or not taken: no request was sent
            raise Gone from error
        assert self.tls.selected_alpn_protocol() == "h2", "no HTTP/2 is spoken here"
        self.socket.settimeout(None)
        self.state = threading.Condition()
        self.streams, self.next, self.last = {}, 1, None  # `last`: of the server's GOAWAY
        self.window, self.stream_window, self.ended = WINDOW, WINDOW, None
        self.goaways = self.together = 0
        settings = struct.pack(">HLHLHL", HEADER_TABLE_SIZE, 0, ENABLE_PUSH, 0, INITIAL_WINDOW_SIZE, MUCH)
        with self.sending:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", MUCH)))
        threading.Thread(target=self.read, daemon=True).start()

    def shake_hands(self):
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.socket.sendall(self.goes.read())
                if not (data := self.socket.recv(LONGEST)):
                    raise ConnectionResetError("in the handshake") from None
                self.comes.write(data)
        self.socket.sendall(self.goes.read())

    def usable(self):
        return self.last is None and self.ended is None

    def request(self, method, authority, path, headers, body=b""):
        block = literal(":method", method) + literal(":scheme", "https") + literal(":authority", authority) + literal(":path", path)
        block += b"".join(literal(name, value) for name, value in headers.items())
        assert len(block) <= LONGEST, "more than one frame of headers"
        # Streams must be opened in the order of their numbers.
        with self.sending:
            with self.state:
                if not self.usable():
                    raise Gone("this connection takes no more")
                number, stream = self.next, Stream(self.stream_window)
                self.next += 2
                self.streams[number] = stream
                self.together = max(self.together, len(self.streams))
            self.send(frame(HEADERS, END_HEADERS | (0 if body else END_STREAM), number, block))
        self.send_body(number, stream, body)
        if not stream.over.wait(self.timeout_s):
            raise Lost(f"{method}: no answer in {self.timeout_s} s")
        with self.state:
            self.streams.pop(number, None)
        if stream.error:
            raise stream.error
        return Answer(stream.status, {}, b"".join(stream.body))

    def send_body(self, number, stream, body):
        at = 0
        while at < len(body):
            with self.state:
                while not stream.over.is_set() and min(self.window, stream.window) <= 0:
                    if not self.state.wait(self.timeout_s):
                        raise Lost("no window for a body")
                if stream.over.is_set():
                    return  # answered early, or over
                size = min(self.window, stream.window, LONGEST, len(body) - at)
                self.window, stream.window = self.window - size, stream.window - size
            piece, at = body[at:at + size], at + size
            with self.sending:
                self.send(frame(DATA, END_STREAM if at == len(body) else 0, number, piece))

    def send(self, data):
        """Under `sending`. That it fails is not said here: what came before may still be read, and who reads says what became of each."""
        try:
            with self.sealing:
                self.tls.write(data)
                sealed = self.goes.read()
            self.socket.sendall(sealed)
        except OSError:
            pass

    # What comes.

    def read(self):
        why = "the connection ended"
        try:
            held = b""
            while data := self.socket.recv(65_536):
                held += self.opened(data)
                while len(held) >= 9 and len(held) >= 9 + (length := int.from_bytes(held[:3], "big")):
                    self.take(held[3], held[4], struct.unpack(">L", held[5:9])[0] & 0x7FFF_FFFF, held[9:9 + length])
                    held = held[9 + length:]
        except (OSError, ValueError) as error:
            why = f"{type(error).__name__} {error}"
        finally:
            with self.state:
                self.ended = why
                for number, stream in self.streams.items():
                    if not stream.over.is_set():
                        beyond = self.last is not None and number > self.last
                        self.end(stream, NotBegun(f"stream {number} is beyond {self.last}") if beyond else Lost(f"stream {number}: {why}, GOAWAY {self.last}"))
                self.state.notify_all()
            self.socket.close()

    def opened(self, data):
        with self.sealing:
            self.comes.write(data)
            out = b""
            while True:
                try:
                    out += (piece := self.tls.read(65_536))
                    if not piece:
                        return out
                except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                    return out

    def take(self, kind, flags, number, payload):
        if kind == SETTINGS and not flags & ACK:
            self.settings(payload)
            with self.sending:
                self.send(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            with self.sending:
                self.send(frame(PING, ACK, 0, payload))
        with self.state:
            stream = self.streams.get(number)
            if kind == GOAWAY:
                self.last, code = struct.unpack(">LL", payload[:8])
                self.goaways += 1
                for each, one in self.streams.items():
                    if each > self.last and not one.over.is_set():
                        self.end(one, NotBegun(f"stream {each} is beyond {self.last}, code {code}"))
            elif kind == WINDOW_UPDATE:
                more = struct.unpack(">L", payload)[0]
                if number == 0:
                    self.window += more
                elif stream:
                    stream.window += more
            elif stream and not stream.over.is_set():
                self.take_of(stream, kind, flags, payload)
            self.state.notify_all()

    def take_of(self, stream, kind, flags, payload):
        if kind == RST_STREAM:
            code = struct.unpack(">L", payload)[0]
            if code == 0 and stream.status:
                return self.end(stream)  # an answer that is whole, and a body that nobody reads further
            return self.end(stream, NotBegun("refused") if code == REFUSED_STREAM else Lost(f"reset with {code}"))
        if kind in (HEADERS, DATA) and flags & PADDED:
            payload = payload[1:len(payload) - payload[0]]
        if kind == HEADERS:
            payload = payload[5:] if flags & PRIORITY else payload
            status = status_of(payload)
            stream.status = status if status is None or status >= 200 else None
        elif kind == DATA:
            stream.body.append(payload)
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.end(stream)
        return None

    def end(self, stream, error=None):
        stream.error = error if error or stream.status else Lost("an answer without a status")
        stream.over.set()

    def settings(self, payload):
        with self.state:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HL", payload[at:at + 6])
                if name == INITIAL_WINDOW_SIZE:
                    for stream in self.streams.values():
                        stream.window += value - self.stream_window
                    self.stream_window = value
            self.state.notify_all()

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def frame(kind, flags, number, payload):
    return struct.pack(">L", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">L", number) + payload


def literal(name, value):
    """A field as it is: never indexed, no Huffman code."""
    return b"\x10" + text(name) + text(value)


def text(value):
    raw = value.encode()
    return integer(len(raw), 7, 0) + raw


def integer(value, bits, first):
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def status_of(block):
    """The status, which stands first; None if there is none, as in trailers."""
    at = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:  # the table's size, which is nought
        _, at = whole(block, at, 5)
    if at == len(block):
        return None
    if block[at] & 0x80:
        return STATUSES.get(block[at] & 0x7F)
    index, at = whole(block, at, 6 if block[at] & 0x40 else 4)
    if index not in STATUSES:
        return None
    coded = block[at] & 0x80
    length, at = whole(block, at, 7)
    raw = block[at:at + length]
    return int(digits(raw) if coded else raw)


def whole(block, at, bits):
    """An integer of RFC 7541 and where it ends."""
    most = (1 << bits) - 1
    value, at = block[at] & most, at + 1
    if value == most:
        shift = 0
        while True:
            value += (block[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if not block[at - 1] & 128:
                break
    return value, at


def digits(raw):
    bits, out = "".join(f"{byte:08b}" for byte in raw), ""
    while bits and set(bits) != {"1"}:
        code = next((code for code in (bits[:5], bits[:6]) if code in DIGITS), None)
        if code is None:
            raise ValueError("no digit")
        out, bits = out + DIGITS[code], bits[len(code):]
    return out
