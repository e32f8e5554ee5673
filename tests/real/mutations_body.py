"""Mutations of bodies in aws-chunked: of chunks, their sizes and signatures, their order, their end, the trailer."""

import string

from mutations import HEX, Deck, Request, kinds_of, replaced
from wire import STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER, checksum, noise


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
