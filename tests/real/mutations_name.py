"""Mutations of ranges and of keys."""

import re
import string

from mutations import Deck, kinds_of, replaced, signed
from wire import quote


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
