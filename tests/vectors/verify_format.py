#!/usr/bin/env python3
"""A second implementation of docs/format.md, written from that document: opens every vector beside it, refuses every bad one.

    verify_format.py                    prints "N passed, 0 failed"
    verify_format.py --mutate SEED      changes one constant of itself at a time; every change must make a good vector fail

Needs the package `cryptography` and nothing of terroir.
"""
import argparse
import base64
import copy
import hashlib
import hmac
import json
import pathlib
import random
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = pathlib.Path(__file__).resolve().parent
SLUG = set(b"abcdefghijklmnopqrstuvwxyz0123456789-")


class Refused(Exception):
    """An error of section 9."""


class Spec:
    """Every constant of the document. --mutate changes these."""

    def __init__(self):
        self.magic = bytes.fromhex("895445 52524F4952".replace(" ", ""))
        self.format_version, self.suite, self.flags = 1, 1, 0
        self.header = [  # 2.1
            ("magic", 8), ("format_version", 2), ("suite", 1), ("kind", 1), ("flags", 2), ("environment", 17), ("region", 17),
            ("tenant", 16), ("class", 2), ("kek_id", 16), ("kek_epoch", 4), ("wrapping_version", 4), ("subject_key_id", 16),
            ("version", 16), ("blob", 16), ("ordinal", 4), ("locator_length", 4), ("root_length", 4), ("pages_length", 4),
            ("body_length", 4),
        ]
        self.context = ["environment", "region", "tenant", "class"]
        self.kinds_with_wrap, self.kinds_with_root, self.kinds_with_body = {1, 2, 4}, {1, 2}, {1, 3}
        self.kinds_with_ordinal, self.kinds_with_pages = {3}, {2}
        self.locator_max, self.root_max, self.body_max = 1564, 4194304, 67141706
        self.pad = 256
        self.nonce, self.tag, self.wrapped, self.commitment = 12, 16, 60, 32
        self.hash = "sha384"
        self.labels = {
            "locator": b"terroir/1 locator", "wrap": b"terroir/1 wrap", "wrap+subject": b"terroir/1 wrap+subject",
            "commitment": b"terroir/1 commitment", "root": b"terroir/1 root", "page": b"terroir/1 page", "body": b"terroir/1 body",
            "field purpose": b"terroir/1 field purpose", "field": b"terroir/1 field", "pseudonym": b"terroir/1 pseudonym",
        }
        self.separator = b"\x00"
        self.info = ["label", "separator", "context", "extra"]
        self.locator_salt = ["version", "blob"]
        self.locator_aad = ["header"]
        self.wrap_ikm = ["kek", "subject_key"]
        self.wrap_salt = ["version"]
        self.wrap_aad = ["header", "sealed_locator"]
        self.sub_salt = ["version"]
        self.root_aad = ["header", "sealed_locator", "wrapped", "commitment"]
        self.page_extra = ["position"]
        self.page_aad = ["version", "position"]
        self.page_digest = "sha384"
        self.locator_limits = {"bucket": 63, "key": 1024, "s3_version": 64, "subject": 256}
        self.locator_fields = ["bucket", "key", "s3_version", "null", "created", "subject"]
        self.entry = [("blob", 16), ("ordinal", 4), ("plaintext_bytes", 4), ("padding_bytes", 4), ("body_offset_bytes", 4),
                      ("floe_header", 74)]
        self.root_numbers = [("total", 8), ("padding", 8), ("register", 4), ("class", 2), ("count", 4), ("per_page", 2)]
        self.entries_max, self.pages_max, self.parts_max, self.checksums_max = 1024, 1024, 10000, 5
        self.attribute_max, self.metadata_max, self.blob_max = 16384, 256, 67108864
        self.digest_lengths = {1: 4, 2: 4, 3: 8, 4: 20, 5: 32}
        self.attribute_tags = {1: "entity_tag", 2: 0, 3: 1, 4: 2, 5: 3, 6: 4, 7: 5, 8: "user_metadata", 9: "checksums"}
        self.floe_hash = "sha384"
        self.segment, self.iv, self.rotation = 65568, 32, 20
        self.floe_aad = ["version", "blob", "ordinal"]
        self.floe_info = ["params", "iv", "purpose", "aad"]
        self.purpose_tag, self.purpose_message, self.purpose_segment = b"HEADER_TAG:", b"MESSAGE_KEY:", b"DEK:"
        self.message_key = 48
        self.not_final = b"\xff\xff\xff\xff"
        self.segment_front = ["word", "nonce"]
        self.segment_aad = ["position", "last"]
        self.field_version, self.field_salt, self.field_max = 1, 32, 1048576
        self.field_parts = ["salt", "commitment", "sealed"]
        self.pseudonym_hash = "sha256"


def number(data):
    return int.from_bytes(data, "big")


def join(order, parts):
    return b"".join(parts[name] for name in order)


def hash_of(name):
    return {"sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}[name]()


def kdf(spec, ikm, salt, info, length):
    return HKDF(algorithm=hash_of(spec.hash), length=length, salt=salt or None, info=info).derive(ikm)


def unseal(spec, key, aad, sealed, error):
    """SEAL, backwards."""
    try:
        return AESGCM(key).decrypt(sealed[:spec.nonce], sealed[spec.nonce:], aad)
    except (InvalidTag, ValueError):
        raise Refused(error) from None


class Cursor:
    """Reads off the front; running out is `error`."""

    def __init__(self, data, error):
        self.data, self.error = data, error

    def take(self, length):
        if len(self.data) < length:
            raise Refused(self.error)
        taken, self.data = self.data[:length], self.data[length:]
        return taken

    def int(self, length):
        return number(self.take(length))

    def rest_is_padding(self, multiple):
        if len(self.data) >= multiple or any(self.data):
            raise Refused(self.error)

    def text(self, length):
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(self.error) from None


def slug(data):
    length = data[0]
    body = data[1:]
    if not 1 <= length <= 16 or any(b not in SLUG for b in body[:length]) or any(body[length:]):
        raise Refused("InvalidHeader")
    return body[:length].decode()


def parse_header(spec, data):
    """2.1: fields in order, first defect wins; ordinal and lengths last."""
    if len(data) < len(spec.magic):
        raise Refused("BadMagic")
    cursor, h = Cursor(data, "Truncated"), {}
    for name, length in spec.header:
        h[name] = cursor.take(length)
        if name == "magic" and h[name] != spec.magic:
            raise Refused("BadMagic")
        if name == "format_version" and number(h[name]) != spec.format_version:
            raise Refused("UnknownVersion")
        if name == "suite" and number(h[name]) != spec.suite:
            raise Refused("UnknownSuite")
        if name == "kind" and not 1 <= number(h[name]) <= 4:
            raise Refused("UnknownKind")
        if name == "flags" and number(h[name]) != spec.flags:
            raise Refused("UnknownFlags")
        if name in ("environment", "region"):
            slug(h[name])
    size = sum(length for _, length in spec.header)
    h["header"] = data[:size]
    kind = h["k"] = number(h["kind"])
    locator, root, pages, body = (number(h[n]) for n in ("locator_length", "root_length", "pages_length", "body_length"))
    overhead = spec.nonce + spec.tag

    def padded(length, most):
        return overhead < length <= most and (length - overhead) % spec.pad == 0

    if not padded(locator, spec.locator_max):
        raise Refused("InvalidHeader")
    if (kind in spec.kinds_with_root) != (root != 0) or (root and not padded(root, spec.root_max)):
        raise Refused("InvalidHeader")
    if pages and kind not in spec.kinds_with_pages:
        raise Refused("InvalidHeader")
    if (kind in spec.kinds_with_body) != (body != 0) or body > spec.body_max:
        raise Refused("InvalidHeader")
    if kind not in spec.kinds_with_ordinal and number(h["ordinal"]):
        raise Refused("InvalidHeader")
    h["locator_end"] = size + locator
    h["root_start"] = h["locator_end"] + (spec.wrapped + spec.commitment if kind in spec.kinds_with_wrap else 0)
    h["record_length"] = h["root_start"] + root
    h["body_offset"] = h["record_length"] + pages
    h["blob_length"] = h["body_offset"] + body
    h["context"] = join(spec.context, h)
    return h


def check_length(length, expected):
    if length < expected:
        raise Refused("Truncated")
    if length > expected:
        raise Refused("TrailingBytes")


def info(spec, label, context, extra=b""):
    return join(spec.info, {"label": spec.labels[label], "separator": spec.separator, "context": context, "extra": extra})


def locate(spec, data, given):
    """6, steps 1 to 4, on a whole stored blob."""
    h = parse_header(spec, data)
    check_length(len(data), h["blob_length"])
    if slug(h["environment"]) != given["environment"]:
        raise Refused("WrongEnvironment")
    if slug(h["region"]) != given["region"]:
        raise Refused("WrongRegion")
    if h["tenant"].hex() != given["tenant"]:
        raise Refused("WrongTenant")
    if given["class"] is not None and number(h["class"]) != given["class"]:
        raise Refused("WrongClass")
    if given["version"] is not None and h["version"].hex() != given["version"]:
        raise Refused("WrongVersion")
    if given["blob"] is not None and h["blob"].hex() != given["blob"]:
        raise Refused("WrongBlob")
    if h["kek_id"].hex() != given["kek_id"] or number(h["kek_epoch"]) != given["kek_epoch"]:
        raise Refused("WrongKek")
    kek = bytes.fromhex(given["kek"])
    h["sealed_locator"] = data[len(h["header"]):h["locator_end"]]
    key = kdf(spec, kek, join(spec.locator_salt, h), info(spec, "locator", h["context"]), 32)
    clear = unseal(spec, key, join(spec.locator_aad, h), h["sealed_locator"], "LocatorAuth")
    h["locator"] = parse_locator(spec, clear)
    if h["locator"]["bucket"] != given["bucket"] or h["locator"]["key"] != given["key"]:
        raise Refused("WrongLocator")
    return h


def parse_locator(spec, clear):
    cursor, out = Cursor(clear, "InvalidLocator"), {}
    for field in spec.locator_fields:
        if field == "null":
            flag = cursor.int(1)
            if flag > 1:
                raise Refused("InvalidLocator")
            out["null_version"] = flag == 1
        elif field == "created":
            out["created_ms"] = cursor.int(8)
        else:
            length = cursor.int(1 if field in ("bucket", "s3_version") else 2)
            if length > spec.locator_limits[field] or (length == 0 and field in ("bucket", "key")):
                raise Refused("InvalidLocator")
            out[field] = cursor.text(length) if field in ("bucket", "s3_version") else cursor.take(length).hex()
    cursor.rest_is_padding(spec.pad)
    return out


def unwrap(spec, data, h, given):
    """6, steps 5 (the subject key) and 6."""
    named = h["subject_key_id"].hex() if any(h["subject_key_id"]) else None
    if named != given["subject_key_id"]:
        raise Refused("WrongSubjectKey")
    h["wrapped"] = data[h["locator_end"]:h["locator_end"] + spec.wrapped]
    h["commitment"] = data[h["locator_end"] + spec.wrapped:h["root_start"]]
    kek = bytes.fromhex(given["kek"])
    if named is None:
        ikm, label = kek, "wrap"
    else:
        ikm = join(spec.wrap_ikm, {"kek": kek, "subject_key": bytes.fromhex(given["subject_key"])})
        label = "wrap+subject"
    key = kdf(spec, ikm, join(spec.wrap_salt, h), info(spec, label, h["context"]), 32)
    dek = unseal(spec, key, join(spec.wrap_aad, h), h["wrapped"], "WrapAuth")
    if not hmac.compare_digest(sub(spec, dek, h, "commitment", b"", spec.commitment), h["commitment"]):
        raise Refused("Commitment")
    return dek


def sub(spec, dek, h, label, extra=b"", length=32):
    return kdf(spec, dek, join(spec.sub_salt, h), info(spec, label, h["context"], extra), length)


def open_version(spec, data, given):
    h = locate(spec, data, given)
    return h, *finish_version(spec, data, h, given)


def finish_version(spec, data, h, given):
    if h["k"] not in spec.kinds_with_root:
        raise Refused("WrongKind")
    dek = unwrap(spec, data, h, given)
    clear = unseal(spec, sub(spec, dek, h, "root"), join(spec.root_aad, h), data[h["root_start"]:h["record_length"]], "ManifestAuth")
    root = parse_root(spec, clear, h)
    if h["k"] == 1:
        entries = root["entries"]
        if entries is None or len(entries) != 1 or not agrees(spec, h, entries[0]) or entries[0]["blob"] != h["blob"].hex():
            raise Refused("InvalidManifest")
    return dek, root


def body_length(spec, plain):
    """5; 74 is params, IV and header tag."""
    return 10 + spec.iv + 32 + plain + 32 * max(1, -(-plain // (spec.segment - 32)))


def agrees(spec, h, entry):
    plain = entry["plaintext_bytes"] + entry["padding_bytes"]
    return (number(h["ordinal"]) == entry["ordinal"] and h["body_offset"] == entry["body_offset_bytes"]
            and number(h["body_length"]) == body_length(spec, plain))


def parse_entries(spec, cursor, count):
    entries = []
    for _ in range(count):
        entry = {}
        for name, length in spec.entry:
            raw = cursor.take(length)
            entry[name] = raw.hex() if name in ("blob", "floe_header") else number(raw)
        if entry["plaintext_bytes"] + entry["padding_bytes"] > spec.blob_max:
            raise Refused("InvalidManifest")
        if entries and entries[-1]["ordinal"] >= entry["ordinal"]:
            raise Refused("InvalidManifest")
        entries.append(entry)
    return entries


def parse_checksums(spec, cursor):
    count, out = cursor.int(1), []
    if count > spec.checksums_max:
        raise Refused("InvalidManifest")
    for _ in range(count):
        algorithm, kind = cursor.int(1), cursor.int(1)
        if algorithm not in spec.digest_lengths or kind not in (1, 2):
            raise Refused("InvalidManifest")
        out.append([algorithm, kind, cursor.take(spec.digest_lengths[algorithm]).hex()])
    return out


def parse_root(spec, clear, h):
    bad = Refused("InvalidManifest")
    cursor = Cursor(clear, "InvalidManifest")
    n = {name: cursor.int(length) for name, length in spec.root_numbers}
    if n["class"] != number(h["class"]):
        raise bad
    pages_length, entry_length = number(h["pages_length"]), sum(length for _, length in spec.entry)
    root = {"plaintext_bytes": n["total"], "padding_bytes": n["padding"], "register_version": n["register"], "entries": None,
            "pages": None, "per_page": n["per_page"], "count": n["count"]}
    if n["per_page"] == 0:
        if not 1 <= n["count"] <= spec.entries_max or pages_length:
            raise bad
        root["entries"] = parse_entries(spec, cursor, n["count"])
        if sum(e["padding_bytes"] for e in root["entries"]) != n["padding"]:
            raise bad
        total = sum(e["plaintext_bytes"] for e in root["entries"])
    else:
        pages = -(-n["count"] // n["per_page"])
        if n["per_page"] > spec.entries_max or not 1 <= pages <= spec.pages_max:
            raise bad
        if pages_length != entry_length * n["count"] + (spec.nonce + spec.tag) * pages:
            raise bad
        root["pages"] = [(cursor.int(8), cursor.take(48)) for _ in range(pages)]
        total = sum(plain for plain, _ in root["pages"])
    root["parts"] = parse_parts(spec, cursor)
    parse_attributes(spec, cursor, root)
    cursor.rest_is_padding(spec.pad)
    if total != n["total"] or (root["parts"] and sum(part[1] for part in root["parts"]) != n["total"]):
        raise bad
    return root


def parse_parts(spec, cursor):
    count, parts = cursor.int(2), []
    if count > spec.parts_max:
        raise Refused("InvalidManifest")
    for _ in range(count):
        part_number, plain = cursor.int(2), cursor.int(8)
        if not 1 <= part_number <= spec.parts_max or (parts and parts[-1][0] >= part_number):
            raise Refused("InvalidManifest")
        parts.append([part_number, plain, parse_checksums(spec, cursor)])
    return parts


def parse_attributes(spec, cursor, root):
    bad = Refused("InvalidManifest")
    root.update(entity_tag="", content=[None] * 6, user_metadata=[], checksums=[])
    previous = 0
    for _ in range(cursor.int(2)):
        tag, length = cursor.int(2), cursor.int(4)
        if tag <= previous or length > spec.attribute_max or tag not in spec.attribute_tags:
            raise bad
        previous = tag
        value, what = Cursor(cursor.take(length), "InvalidManifest"), spec.attribute_tags[tag]
        if what == "user_metadata":
            count = value.int(2)
            if not 1 <= count <= spec.metadata_max:
                raise bad
            root[what] = [[value.text(value.int(2)), value.text(value.int(2))] for _ in range(count)]
        elif what == "checksums":
            root[what] = parse_checksums(spec, value)
            if not root[what]:
                raise bad
        elif what == "entity_tag":
            root[what] = value.text(length)
            if not root[what]:
                raise bad
        else:
            root["content"][what] = value.text(length)
        if value.data:
            raise bad


def open_pages(spec, data, h, dek, root):
    """2.5: all entries of a version."""
    if root["entries"] is not None:
        return root["entries"]
    entries, at, left = [], h["record_length"], root["count"]
    entry_length = sum(length for _, length in spec.entry)
    for position, (plain, digest) in enumerate(root["pages"]):
        count = min(left, root["per_page"])
        left -= count
        sealed = data[at:at + entry_length * count + spec.nonce + spec.tag]
        at += len(sealed)
        if not hmac.compare_digest(hashlib.new(spec.page_digest, sealed).digest(), digest):
            raise Refused("PageAuth")
        names = {"version": h["version"], "position": position.to_bytes(4, "big")}
        key = sub(spec, dek, h, "page", join(spec.page_extra, names))
        clear = unseal(spec, key, join(spec.page_aad, names), sealed, "PageAuth")
        cursor = Cursor(clear, "InvalidManifest")
        page = parse_entries(spec, cursor, count)
        if cursor.data or sum(e["plaintext_bytes"] for e in page) != plain:
            raise Refused("InvalidManifest")
        entries += page
    return entries


def floe(spec, key, params, iv, aad, purpose, length):
    """HKDF-Expand by hand: one block is enough."""
    parts = {"params": params, "iv": iv, "purpose": purpose, "aad": aad}
    return hmac.new(key, join(spec.floe_info, parts) + b"\x01", spec.floe_hash).digest()[:length]


class Floe:
    """A FLOE ciphertext whose header tag was right."""

    def __init__(self, spec, key, header, aad, params, rotation):
        self.spec, self.aad, self.rotation, self.params = spec, aad, rotation, header[:10]
        if self.params != params:
            raise Refused("FloeParameters")
        self.iv = header[10:10 + spec.iv]
        tag = floe(spec, key, params, self.iv, aad, spec.purpose_tag, 32)
        if not hmac.compare_digest(tag, header[10 + spec.iv:]):
            raise Refused("HeaderTag")
        self.message = floe(spec, key, params, self.iv, aad, spec.purpose_message, spec.message_key)

    def segment(self, position, last, segment):
        spec = self.spec
        group = (position >> self.rotation) << self.rotation
        key = floe(spec, self.message, self.params, self.iv, self.aad, spec.purpose_segment + group.to_bytes(8, "big"), 32)
        fields, at = {}, 0
        for name in spec.segment_front:
            length = 4 if name == "word" else spec.nonce
            fields[name], at = segment[at:at + length], at + length
        if fields["word"] != (len(segment).to_bytes(4, "big") if last else spec.not_final):
            raise Refused("SegmentOrder")
        aad = join(spec.segment_aad, {"position": position.to_bytes(8, "big"), "last": bytes([last])})
        try:
            return AESGCM(key).decrypt(fields["nonce"], segment[at:], aad)
        except (InvalidTag, ValueError):
            raise Refused("SegmentAuth") from None


def open_body(spec, dek, h, entry, body):
    plain = entry["plaintext_bytes"] + entry["padding_bytes"]
    header = bytes.fromhex(entry["floe_header"])
    names = {"version": h["version"], "blob": bytes.fromhex(entry["blob"]), "ordinal": entry["ordinal"].to_bytes(4, "big")}
    params = bytes(2) + spec.segment.to_bytes(4, "big") + spec.iv.to_bytes(4, "big")
    message = Floe(spec, sub(spec, dek, h, "body"), header, join(spec.floe_aad, names), params, spec.rotation)
    check_length(len(body), body_length(spec, plain))
    if body[:len(header)] != header:
        raise Refused("HeaderTag")
    out, at, full = b"", len(header), spec.segment - 32
    segments = max(1, -(-plain // full))
    for position in range(segments):
        last = position == segments - 1
        length = plain - position * full + 32 if last else spec.segment
        out += message.segment(position, last, body[at:at + length])
        at += length
    return out[:entry["plaintext_bytes"]]


def open_vector(spec, vector, given, store):
    """The clear bytes and what the record says."""
    ids = {blob_id: data for blob_id, data in store.values()}
    first = store["record"][1]
    if vector["kind"] == "upload":
        h = locate(spec, first, given)
        if h["k"] != 4:
            raise Refused("WrongKind")
        dek = unwrap(spec, first, h, given)
        clear = b"".join(
            open_body(spec, dek, h, entry, ids[entry["blob"]][entry["body_offset_bytes"]:]) for entry in vector["listed"])
        return clear, {"locator": h["locator"]}
    h, dek, root = open_version(spec, first, given)
    entries, clear = open_pages(spec, first, h, dek, root), b""
    for entry in entries:
        clear += verify_blob(spec, ids[entry["blob"]], h, dek, root, entry, given)
    facts = {name: root[name] for name in (
        "plaintext_bytes", "padding_bytes", "register_version", "entity_tag", "content", "user_metadata", "checksums", "parts")}
    facts.update(locator=h["locator"], entries=entries)
    return clear, facts


def verify_blob(spec, data, version, dek, root, entry, given):
    """6, the last paragraph."""
    known = dict(given, environment=slug(version["environment"]), region=slug(version["region"]), tenant=version["tenant"].hex(),
                 version=version["version"].hex(), blob=entry["blob"], bucket=version["locator"]["bucket"],
                 key=version["locator"]["key"])
    known["class"] = number(version["class"])
    h = locate(spec, data, known)
    if h["k"] not in spec.kinds_with_body:
        raise Refused("WrongKind")
    if not agrees(spec, h, entry):
        raise Refused("LengthMismatch")
    if h["k"] == 1 and finish_version(spec, data, h, given)[1] != root:
        raise Refused("LengthMismatch")
    return open_body(spec, dek, version, entry, data[h["body_offset"]:])


def parts_of(parts):
    out = len(parts).to_bytes(4, "big")
    for part in parts:
        out += len(part).to_bytes(4, "big") + part
    return out


def open_field(spec, case):
    """7."""
    field_key = kdf(spec, bytes.fromhex(case["secret"]), b"",
                    spec.labels["field purpose"] + spec.separator + case["purpose"].encode(), 32)
    sealed, aad = bytes.fromhex(case["sealed"]), parts_of([bytes.fromhex(part) for part in case["aad"]])
    overhead = 1 + spec.field_salt + spec.commitment + spec.nonce + spec.tag
    if not overhead <= len(sealed) <= overhead + spec.field_max or sealed[0] != spec.field_version:
        raise Refused("InvalidField")
    fields, at = {}, 1
    for name in spec.field_parts:
        length = {"salt": spec.field_salt, "commitment": spec.commitment}.get(name, len(sealed))
        fields[name], at = sealed[at:at + length], at + length
    both = kdf(spec, field_key, fields["salt"], spec.labels["field"] + spec.separator, 64)
    if not hmac.compare_digest(both[32:], fields["commitment"]):
        raise Refused("FieldCommitment")
    clear = unseal(spec, both[:32], aad, fields["sealed"], "FieldAuth")
    key = kdf(spec, field_key, b"", spec.labels["pseudonym"] + spec.separator, 32)
    return clear, hmac.new(key, aad, spec.pseudonym_hash).digest()


def open_floe(spec, kat, case):
    data = bytes.fromhex(case["ciphertext"])
    header, at, clear, position = data[:74], 74, b"", 0
    length = number(data[2:6])
    params = bytes(2) + length.to_bytes(4, "big") + spec.iv.to_bytes(4, "big")
    message = Floe(spec, bytes.fromhex(kat["key"]), header, bytes.fromhex(kat["aad"]), params, case["rotation_bits"])
    while True:
        last = data[at:at + 4] != spec.not_final
        size = number(data[at:at + 4]) if last else length
        clear += message.segment(position, last, data[at:at + size])
        at, position = at + size, position + 1
        if last:
            check_length(len(data), at)
            return clear


def pattern(length):
    return bytes((31 * i + i // 256) % 256 for i in range(length))


def read(name):
    return json.loads((HERE / name).read_text())


def store_of(vector):
    return {blob["name"]: (blob["id"], base64.b64decode(blob["base64"])) for blob in vector["blobs"]}


def edited(base, case):
    original = store_of(base)
    store = dict(original)
    for edit in case["edits"]:
        blob_id, data = store[edit["blob"]]
        if "id" in edit:
            store[edit["blob"]] = (edit["id"], data)
            continue
        new = b""
        for piece in edit["with"]:
            if "of" in piece:
                new += original[piece["of"]][1][piece["from"]:piece["to"]]
            else:
                new += base64.b64decode(piece["base64"])
        store[edit["blob"]] = (blob_id, data[:edit["from"]] + new + data[edit["to"]:])
    return store


def check_good(spec, goods, fields, kats):
    """Names of good vectors that do not open as they should."""
    for vector in goods:
        clear, facts = None, None
        try:
            clear, facts = open_vector(spec, vector, vector["given"], store_of(vector))
        except Exception as error:  # a mutated implementation may fail in any way; none may pass
            yield vector["name"], repr(error)
            continue
        if clear != pattern(vector["plaintext_pattern_bytes"]) or facts != vector["facts"]:
            yield vector["name"], "opened to something else"
    for case in fields:
        try:
            opened = open_field(spec, case)
        except Exception as error:
            yield case["name"], repr(error)
            continue
        if opened != (bytes.fromhex(case["clear"]), bytes.fromhex(case["pseudonym"])):
            yield case["name"], "opened to something else"
    for case in kats["cases"]:
        try:
            if open_floe(spec, kats, case) != bytes.fromhex(case["plaintext"]):
                yield case["name"], "opened to something else"
        except Exception as error:
            yield case["name"], repr(error)


def check_bad(spec, goods, cases, fields):
    by_name = {vector["name"]: vector for vector in goods}
    for case in cases:
        base = by_name[case["base"]]
        given = dict(base["given"], **case.get("given", {}))
        try:
            open_vector(spec, base, given, edited(base, case))
            yield case["name"], "was opened"
        except Refused as error:
            if str(error) != case["expect"]:
                yield case["name"], f"{error} instead of {case['expect']}"
    for case in fields:
        try:
            open_field(spec, case)
            yield case["name"], "was opened"
        except Refused as error:
            if str(error) != case["expect"]:
                yield case["name"], f"{error} instead of {case['expect']}"


def mutations(rng):
    """(name, change) for every constant that a good vector exercises."""
    plain = Spec()
    out = []

    def add(name, change):
        out.append((name, change))

    def set_attribute(name, value):
        add(f"{name} = {value!r}", lambda spec: setattr(spec, name, value))

    def changed(data):
        at = rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(7))]) + data[at + 1:]

    for name, value in vars(plain).items():
        if isinstance(value, bytes):
            set_attribute(name, changed(value))
        elif isinstance(value, list) and value and isinstance(value[0], str):
            if len(value) > 1:
                i = rng.randrange(len(value) - 1)
                set_attribute(name, value[:i] + [value[i + 1], value[i]] + value[i + 2:])
            at = rng.randrange(len(value))
            if not name.endswith(("fields", "front", "parts")) and value[at] != "extra":
                set_attribute(name, value[:at] + value[at + 1:])
        elif isinstance(value, list):
            i = rng.randrange(len(value))
            name_of, length = value[i]
            set_attribute(name, value[:i] + [(name_of, length + rng.choice((-1, 1)))] + value[i + 1:])
            pairs = [k for k in range(len(value) - 1) if value[k][1] == value[k + 1][1]]
            k = rng.choice(pairs)
            set_attribute(name, value[:k] + [(value[k + 1][0], value[k][1]), (value[k][0], value[k + 1][1])] + value[k + 2:])
        elif isinstance(value, set):
            set_attribute(name, value - {rng.choice(sorted(value))})
    for label, value in plain.labels.items():
        new = changed(value)
        add(f"label {label} = {new!r}", lambda spec, label=label, new=new: spec.labels.update({label: new}))
    for name, most in plain.locator_limits.items():
        add(f"limit of {name} {most - 1}", lambda spec, name=name, most=most: spec.locator_limits.update({name: most - 1}))
    for algorithm in (2, 3, 5):
        add(f"digest length of {algorithm}", lambda spec, a=algorithm: spec.digest_lengths.update({a: spec.digest_lengths[a] + 1}))
    for tag in plain.attribute_tags:
        other = rng.choice([t for t in plain.attribute_tags if t != tag])

        def swap(spec, tag=tag, other=other):
            tags = spec.attribute_tags
            tags[tag], tags[other] = tags[other], tags[tag]
        add(f"attributes {tag} and {other} swapped", swap)
    for name in ("format_version", "suite", "flags", "nonce", "tag", "wrapped", "commitment", "pad", "iv", "segment",
                 "field_version", "field_salt"):
        set_attribute(name, getattr(plain, name) + rng.choice((1, 2)))
    # More than the 48 bytes of its hash cannot be had, so only less is a change.
    set_attribute("message_key", plain.message_key - 1)
    # Limits that the largest vectors stand at.
    set_attribute("locator_max", plain.locator_max - 1)
    for name in ("hash", "floe_hash", "page_digest", "pseudonym_hash"):
        set_attribute(name, "sha512")
    rng.shuffle(out)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutate", metavar="SEED", type=int)
    seed = parser.parse_args().mutate
    goods = [json.loads(path.read_text()) for path in sorted((HERE / "open").glob("*.json"))]
    refusals, fields, kats = read("refuse.json")["cases"], read("fields.json")["cases"], read("floe.json")
    good_fields = [case for case in fields if case["expect"] == "ok"]
    bad_fields = [case for case in fields if case["expect"] != "ok"]
    if seed is not None:
        return mutate(seed, goods, good_fields, kats)
    spec = Spec()
    failures = list(check_good(spec, goods, good_fields, kats)) + list(check_bad(spec, goods, refusals, bad_fields))
    total = len(goods) + len(fields) + len(kats["cases"]) + len(refusals)
    for name, why in failures:
        print(f"FAILED {name}: {why}")
    print(f"{total - len(failures)} passed, {len(failures)} failed")
    return 1 if failures or not goods or not refusals else 0


def mutate(seed, goods, fields, kats):
    survived = []
    changes = mutations(random.Random(seed))
    # The long vectors add time and no constants: one of each length class is enough here.
    short = [v for v in goods if v["plaintext_pattern_bytes"] <= 2000] + [v for v in goods if v["name"] == "segment_and_one"]
    for name, change in changes:
        spec = copy.deepcopy(Spec())
        change(spec)
        if next(check_good(spec, short, fields, kats), None) is None:
            survived.append(name)
    for name in survived:
        print(f"SURVIVED {name}")
    print(f"{len(changes) - len(survived)} of {len(changes)} mutations rejected")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
