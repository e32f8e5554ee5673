"""Mutations of the XML bodies: of CompleteMultipartUpload, Delete and CreateBucketConfiguration."""

import re
import string

from mutations import HEX, Deck, kinds_of, replaced, signed
from wire import checksum


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
        wrong = self.chance.choice(("0", "-1", "10001", "+1", "1.0", "0x1", "", "one", "٢", "9" * 20, "99"))
        return text.replace(f"<PartNumber>{number}<", f"<PartNumber>{wrong}<")

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
