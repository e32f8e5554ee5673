"""Looks for a marker in every file under a folder, in every form that bytes commonly take.

A search that finds nothing proves something only if it would have found it: `Scan.positive_control` plants each form in a
file of the same folder and must find them all. Files and bytes are counted.
"""

import base64
import pathlib
import urllib.parse

CHUNK = 8 << 20


def forms(marker):
    """Name → bytes: how `marker` (ASCII) may lie in a file. For base64, the middle that does not depend on neighbours."""
    raw = marker.encode("ascii")
    found = {"raw": raw, "lower": raw.lower(), "upper": raw.upper()}
    found["hex"], found["hex upper"] = raw.hex().encode(), raw.hex().upper().encode()
    found["utf-16le"], found["utf-16be"] = marker.encode("utf-16le"), marker.encode("utf-16be")
    found["reversed"] = raw[::-1]
    found["percent"] = "".join(f"%{byte:02X}" for byte in raw).encode()
    found["quoted-pair"] = urllib.parse.quote(marker, safe="").encode()
    for shift in range(3):
        # The characters that also depend on what stands before or after are cut off.
        encoded = base64.b64encode(b"\0" * shift + raw)
        start = (0, 2, 3)[shift]
        end = len(encoded) - (0, 3, 2)[(len(raw) + shift) % 3] - (1 if (len(raw) + shift) % 3 else 0)
        middle = encoded[start:end]
        found[f"base64+{shift}"] = middle
        found[f"base64url+{shift}"] = middle.replace(b"+", b"-").replace(b"/", b"_")
    return found


class Scan:
    def __init__(self, markers):
        self.patterns = {}
        for marker in markers:
            for form, pattern in forms(marker).items():
                self.patterns.setdefault(pattern, f"{marker} ({form})")
        self.overlap = max(map(len, self.patterns)) - 1
        self.files = self.bytes = 0

    def under(self, folder, skip=()):
        """`path: marker (form)` for every hit in a file's bytes or name."""
        hits = []
        for path in sorted(pathlib.Path(folder).rglob("*")):
            if any(path.is_relative_to(skipped) for skipped in skip):
                continue
            name = str(path.relative_to(folder)).encode(errors="surrogateescape")
            hits += [f"{path}: in its name: {what}" for pattern, what in self.patterns.items() if pattern in name]
            if path.is_file() and not path.is_symlink():
                hits += [f"{path}: {what}" for what in self.inside(path)]
        return hits

    def inside(self, path):
        self.files += 1
        found, tail = set(), b""
        with open(path, "rb") as file:
            while block := file.read(CHUNK):
                self.bytes += len(block)
                window = tail + block
                found.update(what for pattern, what in self.patterns.items() if pattern in window)
                tail = window[-self.overlap:]
        return sorted(found)

    def positive_control(self, folder):
        """Plants every form among other bytes in `folder`, and says which of them the search missed."""
        planted = pathlib.Path(folder) / "positive-control.bin"
        planted.write_bytes(b"\x00\xff".join(b"#" * 1_000 + pattern for pattern in self.patterns))
        try:
            found = self.inside(planted)
        finally:
            planted.unlink()
        return sorted(set(self.patterns.values()) - set(found))
