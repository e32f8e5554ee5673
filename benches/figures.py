#!/usr/bin/env python3
"""All ten figures, measured from outside, side by side, in one run, and the table of docs/figures.md made of them.

    benches/figures.py --binary target/release/terroir [--seconds 6] [--rounds 3] [--only get4k,put4k,…] [--markdown]

Targets: `bare` (SeaweedFS, as a client sees it), `s3` (`terroir serve` whose store is that SeaweedFS), `fs` (the same on a local folder
with a SQLite index), `pg` (on a local folder with a PostgreSQL index, whose own CPU is not counted), and the peers of peers.py.
Rounds alternate the order of the targets; figures are medians over rounds. The driver runs on the same cores, so rates are for
comparing, not for sizing; CPU per request is the server process's own, from /proc. Everything raw goes to
benches/out/<time>.json: samples, order, machine load before each, commit. "Not reached" is an accepted result; what did not happen is
none: a sample with an error in it is invalid, its figure too, and the run ends with 1.

The figures are in records.py (1, 2, 4 to 7), steady.py (3, 10), idle.py (8) and tenants.py (9), the drivers in load.py, the table in
table.py.
"""

import argparse
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "real"))
sys.path.insert(0, str(ROOT / "benches"))

import idle  # noqa: E402
import records  # noqa: E402
import servers  # noqa: E402
import steady  # noqa: E402
import table  # noqa: E402
import tenants  # noqa: E402
from targets import COUNTED, NAMES, Ground  # noqa: E402

DIRECT = tuple(name for name in NAMES if name != COUNTED)
NOISE_ROUNDS_MIN = 5  # when it is asked for alone: a p99 beside a flood moves most


@dataclasses.dataclass(frozen=True)
class Figure:
    """`prepare(target)` once, then `sample(target, seconds)` → {name: number} in each round."""

    prepare: object
    sample: object
    only: tuple = DIRECT  # names of targets that all share
    own: object = None  # ground → targets of its own, instead
    warm: bool = True  # whether a first sample of a second is thrown away


def figures():
    half, pair, thousand = steady.HalfCapacity(), steady.Neighbours(), tenants.Thousand()
    return {
        "get4k": Figure(records.prepare_small, records.get4k),
        "put4k": Figure(records.nothing, records.put4k),
        "steady": Figure(half.prepare, half.sample),
        "get64m": Figure(records.prepare_big, records.get64m),
        "put64m": Figure(records.nothing, records.put64m),
        "parts": Figure(records.nothing, records.parts),
        "range": Figure(records.prepare_big, records.range_, only=NAMES),
        # crypt asks the store about each of the 10,000 keys: minutes.
        "list": Figure(records.prepare_list, records.list_, only=tuple(name for name in NAMES if name != "crypt")),
        "head": Figure(records.prepare_small, records.head, only=NAMES),
        "idle": Figure(idle.prepare, idle.sample, own=idle.targets, warm=False),
        "tenants": Figure(thousand.prepare, thousand.sample, own=thousand.targets, warm=False),
        "noise": Figure(pair.prepare, pair.sample, warm=False),
    }


def main():
    known = figures()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, help="a release build of terroir; without it, only the bare store and the peers")
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(known))
    parser.add_argument("--markdown", action="store_true", help="end with the table of docs/figures.md, and keep it beside the raw results")
    parser.add_argument("--allow-debug", action="store_true", help="to try this script; such figures mean nothing")
    wanted = parser.parse_args()
    if wanted.binary:
        if "release" not in str(wanted.binary.resolve()) and not wanted.allow_debug:
            parser.error("figures are taken from a release build")
        os.environ["TERROIR_BIN"] = str(wanted.binary.resolve())
    names = wanted.only.split(",")
    if unknown := set(names) - set(known):
        parser.error(f"no figure {', '.join(unknown)}; there are {', '.join(known)}")
    rounds = max(wanted.rounds, NOISE_ROUNDS_MIN) if names == ["noise"] and not wanted.allow_debug else wanted.rounds
    raw = {"machine": machine(), "commit": commit(), "taken": f"{now():%Y-%m-%dT%H:%M:%SZ}", "binary": binary(wanted.binary), "samples": [],
           "release": not wanted.allow_debug, "seconds": wanted.seconds, "rounds": rounds, "figures": names}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to stop: what was started is ended, what was taken is written"))
    try:
        with servers.Scratch() as folder:
            ground = Ground(folder, wanted.binary is not None)
            try:
                for name in names:
                    began = time.monotonic()
                    measure(name, known[name], ground, wanted.seconds, rounds, raw["samples"])
                    print(f"{name:7} took {time.monotonic() - began:.0f} s", flush=True)
            finally:
                ground.stop()
    finally:
        written(raw, names, wanted.markdown)
    if broken := [sample for sample in raw["samples"] if "invalid" in sample]:
        sys.exit(f"{len(broken)} invalid samples: " + ", ".join(sorted({f"{sample['figure']} of {sample['target']}" for sample in broken})))


def measure(name, figure, ground, seconds, rounds, samples):
    """Appends a sample for each round and target. What fails is a sample too, an invalid one, and the others go on."""

    def taken(target, order, round_, work):
        told = {"figure": name, "target": target.name, "round": round_, "order": order, "load_before": os.getloadavg()[0]}
        try:
            told |= work()
        except Exception as error:  # whatever a server or a driver does, it is told of this sample and no other
            traceback.print_exc()
            told["invalid"] = f"{type(error).__name__}: {error}"[:500]
        return told

    chosen = figure.own(ground) if figure.own else [ground.target(other) for other in figure.only if other in ground.available()]
    ready = []
    for target in chosen:
        told = taken(target, 0, None, lambda: figure.prepare(target) or {})
        if "invalid" in told:
            samples.append(told)
            print(f"{name:7} {target.name:10} preparing: {told['invalid']}", flush=True)
        else:
            ready.append(target)
    for target in ready if figure.warm else []:
        taken(target, 0, None, lambda: figure.sample(target, 1))  # what fails here fails below too
    for round_ in range(rounds):
        for order, target in enumerate(ready if round_ % 2 == 0 else ready[::-1]):
            told = taken(target, order, round_, lambda: figure.sample(target, seconds))
            samples.append(told)
            shown = ", ".join(f"{key} {value:.4g}" for key, value in told.items() if isinstance(value, float) and key != "load_before")
            print(f"{name:7} {target.name:10} round {round_}: {told.get('invalid') or shown}", flush=True)


def written(raw, names, as_table):
    out = ROOT / "benches" / "out" / f"{now():%Y%m%dT%H%M%SZ}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(raw, indent=1))
    shown = table.caption(raw) + "\n\n" + table.markdown(raw["samples"], names)
    if as_table:
        out.with_suffix(".md").write_text(shown + "\n")
        print("\n" + shown)
    print(f"\nraw: {out.relative_to(ROOT)}")


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {"cores": os.cpu_count(), "cpu": cpu.group(1) if cpu else platform.machine(), "kernel": platform.release(), "load": os.getloadavg()}


def commit():
    run = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()  # noqa: E731
    return {"id": run("rev-parse", "HEAD"), "changed_files": len(run("status", "--porcelain").splitlines())}


def binary(path):
    """Which program it was; where it lay is nobody's business."""
    if path is None:
        return None
    said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.strip()
    return {"version": said, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def now():
    return datetime.datetime.now(datetime.timezone.utc)


if __name__ == "__main__":
    main()
