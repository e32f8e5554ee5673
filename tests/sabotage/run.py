"""Breaks the product on purpose, one line at a time, and demands that a named test goes red.

    run.py --check        every sabotage still fits the source and every named test exists (seconds; part of tests/run)
    run.py [name …]       applies each to a scratch copy, builds, runs the named test (minutes; run it when you add one)

A sabotage that does not compile proves nothing and fails, unless it says that not compiling is the point. The named tests are first
run unspoiled and must be green.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIST = HERE / "list.toml"
FIELDS = {"name", "why", "file", "search", "replace", "test", "refused_by_compiler"}
RUN_S = 1_800


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*")
    wanted = parser.parse_args()
    listed = tomllib.loads(LIST.read_text())["sabotage"]
    chosen = [entry for entry in listed if not wanted.names or entry["name"] in wanted.names]
    if not chosen:
        print("no such sabotage", file=sys.stderr)
        return 64
    unfit = [(entry, problem) for entry in chosen for problem in problems(entry, ROOT)]
    for entry, problem in unfit:
        print(f"FAIL {entry.get('name', '?')}: {problem}")
    if wanted.check or unfit:
        bad = {entry["name"] for entry, _ in unfit}
        print(f"{len(chosen) - len(bad)} passed, {len(bad)} failed")
        return 1 if bad else 0
    return sabotage(chosen)


def problems(entry, root):
    """Why this entry could not be applied, or could not prove anything."""
    if set(entry) - FIELDS or (FIELDS - {"refused_by_compiler"}) - set(entry):
        yield f"fields {sorted(entry)}; due are {sorted(FIELDS)}"
        return
    path = root / entry["file"]
    found = path.read_text().count(entry["search"]) if path.is_file() else -1
    if found != 1:
        yield f"{entry['file']}: the line to break stands there {max(found, 0)} times" if found >= 0 else f"{entry['file']} is gone"
    if entry["search"] == entry["replace"]:
        yield "replaces a line by itself"
    kind, test = entry["test"].split(" ", 1) if " " in entry["test"] else (entry["test"], "")
    if kind not in KINDS:
        yield f"test kind {kind!r}; known: {', '.join(KINDS)}"
    elif kind == "doc":
        pass
    elif not re.search(rf"\b{re.escape(test.rsplit('::', 1)[-1])}\b", sources(root, KINDS[kind][0])):
        yield f"no test {test!r} under {KINDS[kind][0]}"


def sources(root, folders):
    return "\n".join(path.read_text() for folder in folders.split() for path in sorted((root / folder).rglob("*"))
                     if path.suffix in (".rs", ".py") and path.is_file()) + "\n".join(
                         (root / folder).read_text() for folder in folders.split() if (root / folder).is_file())


# Kind → where its tests stand, and the command that runs one.
KINDS = {
    "lib": ("src", ["cargo", "test", "--locked", "--lib", "--", "--exact"]),
    "it": ("tests/it", ["cargo", "test", "--locked", "--test", "it", "--", "--exact"]),
    "tidy": ("tests/tidy tests/tidy.rs", ["cargo", "test", "--locked", "--test", "tidy", "--", "--exact"]),
    "doc": ("src", ["cargo", "test", "--locked", "--doc", "--"]),
    "real": ("tests/real", [sys.executable, "tests/real/run.py"]),
}


def sabotage(chosen):
    target = pathlib.Path(os.environ.get("SABOTAGE_TARGET_DIR", ROOT / ".tools" / "sabotage-target"))
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="terroir-sabotage-") as scratch:
        copy = pathlib.Path(scratch) / "tree"
        copy_tree(copy)
        environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "CARGO_INCREMENTAL": "0",
                       "TERROIR_BIN": str(target / "debug" / "terroir")}
        for test in sorted({entry["test"] for entry in chosen}):
            verdict, said = run_test(test, copy, environment)
            if verdict != "green":
                print(f"FAIL {test} is {verdict} before any sabotage:\n{said}")
                return 1
        for entry in chosen:
            start = time.monotonic()
            path = copy / entry["file"]
            whole = path.read_text()
            path.write_text(whole.replace(entry["search"], entry["replace"]))
            try:
                verdict, said = run_test(entry["test"], copy, environment)
            finally:
                path.write_text(whole)
            due = "does not compile" if entry.get("refused_by_compiler") else "red"
            good = verdict == due
            passed, failed = passed + good, failed + (not good)
            print(f"{'PASS' if good else 'FAIL'} {entry['name']} {time.monotonic() - start:.0f}: {entry['test']} is {verdict}"
                  + ("" if good else f", {due} was due\n{said}"), flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def run_test(test, copy, environment):
    """("green" | "red" | "does not compile" | "did not run", the end of what was said)"""
    kind, name = test.split(" ", 1) if " " in test else (test, "")
    if kind == "real":
        build = subprocess.run(["cargo", "build", "--locked", "--features", "testing"], cwd=copy, env=environment, capture_output=True, text=True)
        if build.returncode != 0:
            return "does not compile", end_of(build.stderr)
    done = subprocess.run([*KINDS[kind][1], *([name] if name else [])], cwd=copy, env=environment, capture_output=True, text=True, timeout=RUN_S)
    said = done.stdout + done.stderr
    if kind != "doc" and re.search(r"^error(\[E\d+\])?: ", done.stderr, re.M) and "could not compile" in done.stderr:
        return "does not compile", end_of(said)
    ran = sum(int(p) + int(f) for p, f in re.findall(r"(\d+) passed[;,] (\d+) failed", done.stdout))
    if not ran:
        return "did not run", end_of(said)
    return ("green" if done.returncode == 0 else "red"), end_of(said)


def end_of(text):
    return "\n".join("     " + line for line in text.splitlines()[-25:])


def copy_tree(copy):
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    subprocess.run("git init -q . && git add -A", shell=True, cwd=copy, check=True)  # the tidy tests ask git


if __name__ == "__main__":
    sys.exit(main())
