"""What the fault cases measured, as rows; and `docs/reliability.md`, which is made of them and of nothing else."""

import datetime
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


def length(variable, ordinary, full):
    """How much of something a case does: a share of it on every run, all of it for the document; the environment's word is final."""
    return int(os.environ.get(variable, full if at_full_length else ordinary))


def row(case, fault, ledger, seed, amplification=None, recovery_s=None, unasked=(), **facts):
    """`ledger`: one or several; their counts are added up. `unasked`: columns that this case has no answer to. `facts`: short words
    for the notes beneath the table."""
    ledgers = ledger if isinstance(ledger, (list, tuple)) else [ledger]
    counts = {name: sum(one.counts[name] for one in ledgers) for name in ledgers[0].counts}
    made = {"case": case, "fault": fault, "seed": seed, "amplification": amplification, "recovery_s": recovery_s, **counts,
            "unasked": list(unasked), "facts": facts, "commit": commit()}
    with _lock:
        ROWS.append(made)
    return made


def commit():
    return subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def document(rows, took):
    """`took`: how long it was, in words."""
    commits = sorted({one["commit"] for one in rows})
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    day = datetime.datetime.now(datetime.timezone.utc).date()
    lines = [
        "# Reliability: what was broken, and what it cost",
        "",
        "Made by `tests/real/run.py --reliability`, which writes this file only if every case passed; do not edit. Commit "
        f"`{'`, `'.join(commits)}`, {day}, {os.cpu_count()} cores, {memory} GiB, Linux {platform.release().split('-')[0]}, {took}. The binary is that of the "
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
        where = f"; commit `{one['commit']}`" if len(commits) > 1 else ""
        lines.append(f"- `{one['case']}` ({one['fault']}): seed `{one['seed']}`{facts}{where}.")
    return "\n".join(lines) + "\n"


def rows_of(text):
    """The rows that a document was made of; their facts as it words them."""
    lines = text.splitlines()
    table = [line for line in lines if line.startswith("| ")][2:]
    noted = [line for line in lines if line.startswith("- `")]
    assert len(table) == len(noted), f"{len(table)} rows, {len(noted)} notes"
    whole = re.search(r"Commit `([^`]+)`,", text)
    for line, note in zip(table, noted):
        fault, *cells = line.strip("| ").split(" | ")
        counts = {name: cell for name, cell in zip(COLUMNS[1:], cells)}
        figures = {name: None if cell == "–" else float(cell.removesuffix(" s")) for name, cell in counts.items() if name in COLUMNS[-2:]}
        counts = {name: cell for name, cell in counts.items() if name not in figures}
        found = re.fullmatch(rf"- `(\w+)` \({re.escape(fault)}\): seed `([^`]*)`(.*?)(?:; commit `([^`]+)`)?\.", note)
        assert found, f"not the note of {fault!r}: {note}"
        yield {"case": found[1], "fault": fault, "seed": found[2], "facts": found[3], "commit": found[4] or whole[1],
               "amplification": figures["amplification"], "recovery_s": figures["recovery"],
               "unasked": [name for name, cell in counts.items() if cell == "–"],
               **{name: 0 if cell == "–" else int(cell.replace(",", "")) for name, cell in counts.items()}}


def write(seconds, only_some, cases):
    """Writes the document, and the rows beside the tools for whoever wants to compute with them. Of a run of some cases, rows of the others
    stay as they were, each with the commit that it is of."""
    took = f"{seconds:.0f} s in all"
    if only_some:
        made, known = {one["case"] for one in ROWS}, {case.name for case in cases}
        ROWS.extend(one for one in rows_of(DOCUMENT.read_text()) if one["case"] in known - made)
        took = f"{seconds:.0f} s for the {len(made)} rows that were made last"
    ROWS.sort(key=lambda one: one["fault"])
    write_raw()
    DOCUMENT.write_text(document(ROWS, took))


def write_raw():
    raw = ROOT / ".tools/reliability.json"
    if raw.parent.is_dir():
        raw.write_text(json.dumps(ROWS, indent=1))


def missing(cases, text):
    """Cases that give evidence and have no row in the committed document; and rows of cases that are no more."""
    named = {line.split("`")[1] for line in text.splitlines() if line.startswith("- `")}
    wanted = {case.name for case in cases if case.evidence}
    return sorted(wanted - named), sorted(named - wanted)
