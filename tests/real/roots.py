"""The root keys of `local-file` as an operator, a broken disk or a slow one could change them: states, versions, silence.

Written from the form that src/keys/local_file/root_file.rs documents. Changes are whole: a file is renamed over the one before.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import threading
import time

from evidence import ROOT

LOOK_S = 0.005


def hold_keys_for(served, ttl_s, stale_s):
    """Has `served`, before its start, read a catalogue whose health classes hold open keys for so long."""
    folder = served.data_dir / "regions"
    shutil.copytree(ROOT / "regions", folder, ignore=shutil.ignore_patterns("*.md"))
    for name, stale in (("health", stale_s), ("health-sensitive", 0)):
        file = folder / "register" / f"{name}.toml"
        text, changed = re.subn(r"(?m)^kek-cache-ttl-s = \d+$", f"kek-cache-ttl-s = {ttl_s}", file.read_text())
        text, again = re.subn(r"(?m)^kek-stale-window-s = \d+$", f"kek-stale-window-s = {stale}", text)
        assert changed == again == 1, file
        file.write_text(text)
    served.config.write_text(f'regions-dir = "{folder}"\n{served.config.read_text()}')


class RootFile:
    """One root's file: what it holds now, what it held at first, and ways to change it."""

    def __init__(self, path):
        self.path, self.whole = path, path.read_text()

    @classmethod
    def of_tenant(cls, folder):
        """The only tenant's."""
        found = [path for path in folder.iterdir() if re.fullmatch(r"root-[a-z0-9-]+\.[0-9a-f]{32}\.key", path.name)]
        assert len(found) == 1, found
        return cls(found[0])

    @classmethod
    def of_region(cls, folder, region):
        return cls(folder / f"root-{region}.key")

    def put(self, text, mode=0o600):
        draft = self.path.with_suffix(".test")
        draft.write_text(text)
        draft.chmod(mode)
        draft.rename(self.path)

    def restore(self):
        self.put(self.whole)

    def versions(self):
        return [line for line in self.path.read_text().splitlines() if line.startswith("version ")]

    def made_of(self, state, versions):
        lines = [*self.whole.splitlines()[:2], f"state {state}", *versions]
        body = "".join(line + "\n" for line in lines)
        return f"{body}digest {hashlib.sha256(body.encode()).hexdigest()}\n"

    def rotate(self):
        """One version more, as `LocalFileKms::rotate` adds it; from now on this is what the file is to hold."""
        versions = self.versions()
        number = len(versions) + 1
        self.whole = self.made_of("enabled", [*versions, f"version {number} {int(time.time() * 1000)} {secrets.token_hex(32)}"])
        self.restore()
        return number

    # What may befall it: each gives what the key service says from then on.

    def disabled(self):
        self.put(self.made_of("disabled", self.versions()))

    def scheduled(self):
        self.put(self.made_of(f"scheduled {int(time.time() * 1000) + 86_400_000}", self.versions()))

    def destroyed(self):
        self.put(self.made_of("destroyed", []))

    def gone(self):
        self.path.unlink()

    def exposed(self):
        self.put(self.whole, 0o644)

    def spoiled(self):
        self.put(self.whole.replace("state enabled", "state enabelt"))

    def another(self):
        self.put(self.made_of("enabled", [f"version 1 {int(time.time() * 1000)} {secrets.token_hex(32)}"]))


class SlowRoot:
    """A root's file that gives its content `delay_s` after it was opened; while `silent`, not at all.

    A FIFO stands in its place. Each reader gets one of its own, since two readers of one would share its bytes.
    """

    def __init__(self, root, delay_s):
        self.root, self.delay_s = root, delay_s
        self.silent, self.over = threading.Event(), threading.Event()
        self.asked = self.answered = 0
        self.answers = []
        self.fifo()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def fifo(self):
        draft = self.root.path.with_suffix(".fifo")
        os.mkfifo(draft, 0o600)
        draft.rename(self.root.path)

    def serve(self):
        while not self.over.is_set():
            try:
                held = os.open(self.root.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                assert error.errno == errno.ENXIO, error  # nobody reads it
                self.over.wait(LOOK_S)
                continue
            self.fifo()
            self.asked += 1
            self.answers.append(threading.Thread(target=self.answer, args=(held,), daemon=True))
            self.answers[-1].start()

    def answer(self, held):
        try:
            self.over.wait(self.delay_s)
            while self.silent.is_set() and not self.over.wait(0.05):
                pass
            os.write(held, self.root.whole.encode())
            self.answered += 1
        except BrokenPipeError:
            pass  # its reader is no more
        finally:
            os.close(held)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """The file is a file again, and who still waits is answered."""
        self.over.set()
        self.thread.join()
        self.root.restore()
        for answer in self.answers:
            answer.join()
