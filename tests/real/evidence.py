"""What the fault cases measured, as rows; and `docs/reliability.md`, which is made of them and of nothing else.

A run is about one commit and one binary (`Subject`), taken when it begins. A run that is to write rows of the document begins on a
clean tree, and a row is refused once either is another. Rows that it did not make stay, with the commit and the binary that they are of.
"""

import datetime
import hashlib
import json
import os
import pathlib
import platform
import re
import subprocess
import threading

ROOT = pathlib.Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs/reliability.md"
COLUMNS = ("fault", "operations", "acknowledged", "refused", "broken", "lost", "wrong", "torn", "abroad", "amplification", "recovery")

_lock = threading.Lock()
ROWS = []
at_full_length = False
subject = None  # what this run is about; None where it is not about the product


def length(variable, ordinary, full):
    """How much of something a case does: a share of it on every run, all of it for the document; the environment's word is final."""
    return int(os.environ.get(variable, full if at_full_length else ordinary))


def row(case, fault, ledger, seed, amplification=None, recovery_s=None, unasked=(), **facts):
    """`ledger`: one or several; their counts are added up. `unasked`: columns that this case has no answer to. `facts`: short words
    for the notes beneath the table."""
    ledgers = ledger if isinstance(ledger, (list, tuple)) else [ledger]
    counts = {name: sum(one.counts[name] for one in ledgers) for name in ledgers[0].counts}
    made = {"case": case, "fault": fault, "seed": seed, "amplification": amplification, "recovery_s": recovery_s, **counts,
            "unasked": list(unasked), "facts": facts, "of": subject.label() if subject else "no product"}
    if subject and subject.binding and (changes := subject.glanced()):
        raise AssertionError(f"no row for {case}: {'; '.join(changes)}")
    with _lock:
        ROWS.append(made)
    return made


def needed(asked):
    """How many of a store's requests would have done if none had failed; each (is it a write, path, range, fault met, when): a blob's name
    is written once; and a read that follows a failed read of the same bytes, soon after, is that read again. Workers own their keys, so
    nobody else reads these bytes."""
    needed, written, failed = 0, set(), {}
    for writes, path, extent, fault, at in asked:
        if writes:
            needed += path not in written
            written.add(path)
            continue
        what = (path, extent)
        again = what in failed and at - failed[what] < 1.0
        needed += not again
        failed.pop(what, None)
        if fault:
            failed[what] = at
    return needed


class Subject:
    """What a run is about: a commit of the checkout, and the binary under test by the hash of its bytes."""

    def __init__(self, binary, root=ROOT, binding=False):
        """`binding`: rows are of this commit and binary, or there are none."""
        self.root, self.binary, self.binding = root, pathlib.Path(binary), binding
        # First what is cheap to look at: who changes the file while it is hashed is found as well.
        self.file, self.commit = self.looks(), self.head()
        self.sha256, self.dirty = self.hashed(), self.changes()

    def label(self):
        return f"{self.commit[:12] or 'no commit'}{'-dirty' if self.dirty else ''}, binary {(self.sha256 or 'none')[:16]}"

    def unfit(self):
        """Why the document cannot be made of this, and what to do; None if it can."""
        if not self.commit:
            return f"{self.root} is no checkout of git, so no commit can be named: run it in one"
        if self.dirty:
            return (f"the tree is dirty ({', '.join(self.dirty[:5])}{', …' if len(self.dirty) > 5 else ''}), and the document names a commit: "
                    "commit, `git stash -u`, or `git worktree add` a clean one; then build and run again")
        return None

    def glanced(self):
        """What is another than at the start, as far as a quick look tells."""
        head, file = self.head(), self.looks()
        return ([f"the commit was {self.commit[:12]} and is {head[:12] or 'none'}"] if head != self.commit else []) + (
            [f"{self.binary} was replaced or changed while the run went on"] if file != self.file else [])

    def changed(self):
        """What is another than at the start, by its content."""
        found, sha256 = self.glanced(), self.hashed()
        if sha256 != self.sha256:
            found.append(f"the binary's SHA-256 was {self.sha256} and is {sha256 or 'none'}")
        if self.changes() != self.dirty:
            found.append(f"files of the tree were changed: {', '.join(self.changes()[:5]) or 'none is now'}")
        return found

    def head(self):
        return self.git("rev-parse", "--verify", "--quiet", "HEAD").strip()

    def changes(self):
        return [line[3:] for line in self.git("status", "--porcelain").splitlines()]

    def git(self, *words):
        return subprocess.run(["git", *words], cwd=self.root, capture_output=True, text=True).stdout

    def looks(self):
        try:
            now = self.binary.stat()
        except OSError:
            return None
        # Not the time of its inode: a link that cargo takes away changes nothing here.
        return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns

    def hashed(self):
        try:
            with open(self.binary, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None


def document(rows, took):
    """`took`: how long it was, in words."""
    of = sorted({one["of"] for one in rows})
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    day = datetime.datetime.now(datetime.timezone.utc).date()
    lines = [
        "# Reliability: what was broken, and what it cost",
        "",
        "Made by `tests/real/run.py --reliability`, which writes this file only if every case of the run passed, the tree was clean, and neither commit nor "
        f"binary changed meanwhile; do not edit. Of `{'`, `'.join(of)}` (the binary by the first half of its SHA-256); {day}, {os.cpu_count()} cores, {memory} GiB, Linux {platform.release().split('-')[0]}, {took}. The binary is that of the "
        "tests (unoptimised, with its fail points): times say how, not how fast.",
        "",
        "Real servers (for Google Cloud Storage, a strict double that speaks its JSON API and its gRPC to the real driver), the built binary, clients that are not ours or that speak the wire themselves. Every case has an independent model of what each key may "
        "hold. *Operations* were sent; *acknowledged* were answered with success; *refused* with 5xx; *broken*: the connection ended first, or nobody listened. *Lost*: an acknowledged write is gone. *Wrong*: bytes that "
        "nobody wrote. *Torn*: a mixture or a part. *Abroad*: a blob, request or name of one region found in the other; that search plants a blob of its own and "
        "must find it. *Amplification*: requests that arrived at the store ÷ requests that would have done. *Recovery*: from the end of the fault until a "
        "write and a read succeed. `–`: not a question of this fault.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "| --- |" + " ---: |" * (len(COLUMNS) - 1),
    ]
    for one in rows:
        cells = [one["fault"], *("–" if name in one.get("unasked", ()) else f"{one[name]:,}" for name in COLUMNS[1:-2]),
                 "–" if one["amplification"] is None else f"{one['amplification']:.2f}",
                 "–" if one["recovery_s"] is None else f"{one['recovery_s']:.1f} s"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## The cases", "", "Run one with `tests/real/run.py NAME`; `TERROIR_SEED` repeats a seed's choices (not the machine's).", ""]
    for one in rows:
        facts = one["facts"] if isinstance(one["facts"], str) else "".join(f"; {name.replace('_', ' ')} {value}" for name, value in one["facts"].items())
        where = f"; of `{one['of']}`" if len(of) > 1 else ""
        lines.append(f"- `{one['case']}` ({one['fault']}): seed `{one['seed']}`{facts}{where}.")
    return "\n".join(lines) + "\n"


def rows_of(text):
    """The rows that a document was made of; their facts as it words them."""
    lines = text.splitlines()
    table = [line for line in lines if line.startswith("| ")][2:]
    noted = [line for line in lines if line.startswith("- `")]
    assert len(table) == len(noted), f"{len(table)} rows, {len(noted)} notes"
    whole = re.search(r" Of `([^`]+)` \(the binary", text)
    for line, note in zip(table, noted):
        fault, *cells = line.strip("| ").split(" | ")
        counts = {name: cell for name, cell in zip(COLUMNS[1:], cells)}
        figures = {name: None if cell == "–" else float(cell.removesuffix(" s")) for name, cell in counts.items() if name in COLUMNS[-2:]}
        counts = {name: cell for name, cell in counts.items() if name not in figures}
        found = re.fullmatch(rf"- `(\w+)` \({re.escape(fault)}\): seed `([^`]*)`(.*?)(?:; of `([^`]+)`)?\.", note)
        assert found, f"not the note of {fault!r}: {note}"
        yield {"case": found[1], "fault": fault, "seed": found[2], "facts": found[3], "of": found[4] or whole[1],
               "amplification": figures["amplification"], "recovery_s": figures["recovery"],
               "unasked": [name for name, cell in counts.items() if cell == "–"],
               **{name: 0 if cell == "–" else int(cell.replace(",", "")) for name, cell in counts.items()}}


def write(seconds, only_some=False, cases=(), to=DOCUMENT):
    """Writes the document, and the rows beside the tools for whoever wants to compute with them; or says why it does not. Of a run of some
    cases, rows of the others stay as they were, each with what it is of."""
    if changes := subject.changed():
        raise AssertionError(f"the document is not written: {'; '.join(changes)}")
    took = f"{seconds:.0f} s in all"
    if only_some:
        made, known = {one["case"] for one in ROWS}, {case.name for case in cases}
        ROWS.extend(one for one in rows_of(to.read_text()) if one["case"] in known - made)
        took = f"{seconds:.0f} s for the {len(made)} rows that were made last"
    ROWS.sort(key=lambda one: one["fault"])
    raw = ROOT / ".tools/reliability.json"
    if to == DOCUMENT and raw.parent.is_dir():
        raw.write_text(json.dumps(ROWS, indent=1))
    to.write_text(document(ROWS, took))


def missing(cases, text):
    """Cases that give evidence and have no row in the committed document; and rows of cases that are no more."""
    named = {line.split("`")[1] for line in text.splitlines() if line.startswith("- `")}
    wanted = {case.name for case in cases if case.evidence}
    return sorted(wanted - named), sorted(named - wanted)
