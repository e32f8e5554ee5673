"""Breaks the product on purpose, one line at a time, and demands that a named test goes red.

    run.py --check        every sabotage still fits the source, every named test exists, every module has one (seconds; part of tests/run)
    run.py [name …]       applies each to a copy, builds, runs the named test (a minute or two each; run it when you add one)
    run.py --continue     the same without those that were seen red before and have not changed since

A sabotage that does not compile proves nothing and fails, unless it says that not compiling is the point. The named tests are first
run unspoiled and must be green. What was seen is kept in `seen.json` beside the list, by a fingerprint of each entry, and committed with it:
all of them take hours, and whoever wants to know which are proved need not repeat them.

The copy lives at one path, in SABOTAGE_TARGET_DIR, and is built incrementally: one changed line costs a tenth of a whole build. In
it the package does not depend on itself for its `testing` feature, which would compile the library twice.

Many sabotages are first applied in company, to spare builds: each in two or three builds, no two in the same ones, and all their tests
run in every build. A test that is red in exactly the builds of its sabotage is red because of it: any other one that could have made
it so is in another build as well, where the test was green. Whoever is not proved so is applied alone.
"""

import argparse
import contextlib
import fcntl
import hashlib
import itertools
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIST = HERE / "list.toml"
SEEN = HERE / "seen.json"
FIELDS = {"name", "why", "file", "search", "replace", "test", "refused_by_compiler"}
BUILD_S = 1_800
RUN_S = 300
# A test that its sabotage leaves waiting for ever uses no processor. The others in its build are done long before RUN_S.
STALLED_S = 120
# Fewer are applied one by one.
COMPANY_MIN = 6
# From here on three builds each need fewer builds than two.
COMPANY_LARGE = 20
# Kind → where its tests stand, and what builds them. Cheap kinds come first, and each kind's sabotages in one go.
KINDS = {
    "lib": ("src", ["test", "--lib"]),
    "tidy": ("tests/tidy tests/tidy.rs", ["test", "--test", "tidy"]),
    "it": ("tests/it", ["test", "--test", "it"]),
    "doc": ("src", []),
    "real": ("tests/real", ["build"]),
}
# What is no module of its own: where the others stand together, and what only tests see.
NO_MODULE = {"lib.rs", "main.rs", "testing"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--continue", dest="resume", action="store_true")
    parser.add_argument("names", nargs="*")
    wanted = parser.parse_args()
    listed = tomllib.loads(LIST.read_text())["sabotage"]
    chosen = [entry for entry in listed if not wanted.names or entry.get("name") in wanted.names]
    if not chosen or set(wanted.names) - {entry.get("name") for entry in chosen}:
        print("no such sabotage", file=sys.stderr)
        return 64
    unfit = [(entry.get("name", "?"), problem) for entry in chosen for problem in problems(entry, ROOT)]
    if not wanted.names:
        unfit += list(gaps(listed, ROOT))
    for name, problem in unfit:
        print(f"FAIL {name}: {problem}")
    if wanted.check or unfit:
        # A module without a sabotage is one more failure, beside the entries that do not fit.
        bad = {name for name, _ in unfit}
        print(f"{len({entry.get('name') for entry in chosen} - bad)} passed, {len(bad)} failed")
        seen = seen_before()
        print(f"{sum(seen.get(entry['name']) == print_of(entry) for entry in chosen if entry.get('name') not in bad)} of them were seen red as they stand")
        return 1 if bad else 0
    chosen.sort(key=lambda entry: list(KINDS).index(kind_of(entry["test"])[0]))
    return sabotage(chosen, wanted.resume)


def kind_of(test):
    return test.split(" ", 1) if " " in test else (test, "")


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
    kind, test = kind_of(entry["test"])
    if kind not in KINDS:
        yield f"test kind {kind!r}; known: {', '.join(KINDS)}"
    elif kind == "doc":
        pass
    elif not re.search(rf"\b(fn|def) {re.escape(test.rsplit('::', 1)[-1])}\b", sources(root, KINDS[kind][0])):
        yield f"no test {test!r} under {KINDS[kind][0]}"


def gaps(listed, root):
    """Modules, and what stands beside them, that no sabotage touches; names that two sabotages share."""
    names = [entry.get("name") for entry in listed]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield name, "two sabotages of one name"
    for name in sorted(set(seen_before()) - set(names)):
        yield name, "stands in seen.json, and is no sabotage"
    files = [entry.get("file", "") for entry in listed]
    for path in sorted((root / "src").iterdir()):
        is_empty = path.is_dir() and not any(path.rglob("*.rs"))
        module = f"src/{path.stem}"
        if path.name in NO_MODULE or is_empty or path.suffix not in ("", ".rs"):
            continue
        if not any(file == f"{module}.rs" or file.startswith(f"{module}/") for file in files):
            yield module, "no sabotage of this module"
    if not any(file.startswith("regions/") for file in files):
        yield "regions", "no sabotage of what is shipped"


def sources(root, folders, cache={}):
    if folders not in cache:
        paths = [path for folder in folders.split() for path in [root / folder, *sorted((root / folder).rglob("*"))]]
        cache[folders] = "\n".join(path.read_text() for path in paths if path.suffix in (".rs", ".py") and path.is_file())
    return cache[folders]


def sabotage(chosen, resume):
    target = pathlib.Path(os.environ.get("SABOTAGE_TARGET_DIR", ROOT / ".tools" / "sabotage-target"))
    target.mkdir(parents=True, exist_ok=True)
    copy = target / "tree"
    with open(target / "sabotage.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs on one copy would spoil each other's lines
        seen = seen_before()
        refresh(copy)
        left = [entry for entry in chosen if not (resume and seen.get(entry["name"]) == print_of(entry))]
        if len(left) < len(chosen):
            print(f"{len(chosen) - len(left)} were seen red before", flush=True)
        bench = Bench(copy, target)
        passed, failed = len(chosen) - len(left), 0
        for kind in KINDS:
            entries = [entry for entry in left if kind_of(entry["test"])[0] == kind]
            sick = bench.unspoiled(kind, sorted({kind_of(entry["test"])[1] for entry in entries})) if entries else {}
            proved = bench.in_company(kind, [entry for entry in entries if kind_of(entry["test"])[1] not in sick])
            for entry in sorted(entries, key=lambda entry: entry["name"] not in proved):
                start = time.monotonic()
                verdict, said = sick.get(kind_of(entry["test"])[1], (None, ""))
                if entry["name"] in proved:
                    due = verdict = "red"
                elif verdict:
                    due, verdict = "green", f"{verdict} before any sabotage"
                else:
                    due = "does not compile" if entry.get("refused_by_compiler") else "red"
                    verdict, said = bench.spoiled(entry)
                good = verdict == due
                passed, failed = passed + good, failed + (not good)
                print(f"{passed + failed}/{len(chosen)} {'PASS' if good else 'FAIL'} {entry['name']} {time.monotonic() - start:.0f} s: "
                      f"{entry['test']} is {verdict}" + ("" if good else f", {due} was due\n{said}"), flush=True)
                if good:
                    seen[entry["name"]] = print_of(entry)
                    SEEN.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def seen_before():
    """Name → fingerprint of those that were seen red."""
    return json.loads(SEEN.read_text()) if SEEN.is_file() else {}


def print_of(entry):
    """Changes with the entry alone: what was red for this line is worth repeating only where somebody doubts it."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


class Bench:
    """Builds and runs tests of the copy."""

    def __init__(self, copy, target):
        self.copy = copy
        self.cargo = os.environ.get("CARGO", "cargo")
        self.environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "CARGO_INCREMENTAL": "1",
                            "TERROIR_BIN": str(target / "debug" / "terroir")}

    def unspoiled(self, kind, tests):
        """Test → (verdict, what it said) of those that are not green. One build, one run; who fails in company is asked alone."""
        start = time.monotonic()
        built, said = self.build(kind)
        if built is None:
            return dict.fromkeys(tests, ("does not compile", said))
        ran, _ = self.run(kind, built, tests)
        alone = {test: self.verdict(kind, built, test) for test in tests if ran.get(test) != "ok"}
        sick = {test: verdict for test, verdict in alone.items() if verdict[0] != "green"}
        print(f"{kind}: {len(tests) - len(sick)} of {len(tests)} tests are green unspoiled, {time.monotonic() - start:.0f} s", flush=True)
        return sick

    def in_company(self, kind, entries):
        """The names of those whose tests are red in the builds that they are in, and green in all others."""
        proved = set()
        entries = [entry for entry in entries if not entry.get("refused_by_compiler")] if kind in ("lib", "it") else []
        while len(entries) >= COMPANY_MIN:
            # One sabotage for each test at a time; the next round has the others.
            round = {kind_of(entry["test"])[1]: entry for entry in reversed(entries)}
            entries = [entry for entry in entries if entry not in round.values()]
            proved |= self.round_of_company(kind, round)
        return proved

    def round_of_company(self, kind, round):
        each = 2 if len(round) < COMPANY_LARGE else 3
        builds = next(count for count in itertools.count(each) if math.comb(count, each) >= len(round))
        places = dict(zip(round, itertools.combinations(range(builds), each)))
        red = {test: set() for test in round}
        unknown = set()
        for build in range(builds):
            start = time.monotonic()
            here = [round[test] for test in round if build in places[test]]
            with self.broken(here):
                built, _ = self.build(kind)
                found = self.run(kind, built, sorted(round))[0] if built is not None else {}
            for test in round:
                if found.get(test) == "FAILED":
                    red[test].add(build)
                elif found.get(test) != "ok":
                    unknown.add(test)
            said = "do not compile together" if built is None else f"{sum(build in builds for builds in red.values())} red"
            print(f"{kind}: build {build + 1} of {builds}, {len(here)} sabotages, {said}, {time.monotonic() - start:.0f} s", flush=True)
        return {entry["name"] for test, entry in round.items() if test not in unknown and red[test] == set(places[test])}

    def spoiled(self, entry):
        with self.broken([entry]):
            kind, test = kind_of(entry["test"])
            built, said = self.build(kind)
            return ("does not compile", said) if built is None else self.verdict(kind, built, test)

    @contextlib.contextmanager
    def broken(self, entries):
        """Applies the sabotages for as long as it lasts; one whose line another has changed stays out, and is not proved."""
        whole = {}
        try:
            for entry in entries:
                path = self.copy / entry["file"]
                text = path.read_text()
                whole.setdefault(path, text)
                path.write_text(text.replace(entry["search"], entry["replace"]))
            yield
        finally:
            for path, text in whole.items():
                path.write_text(text)

    def build(self, kind):
        """(the executable, or "" where a kind has none, or None where it does not compile; what the compiler said)"""
        if kind == "doc":
            return "", ""
        command = [self.cargo, *KINDS[kind][1], "--locked", "--message-format=json-render-diagnostics"]
        done = self.shell(command + (["--no-run"] if KINDS[kind][1][0] == "test" else []), BUILD_S)
        if done.returncode != 0:
            return None, end_of(done.stderr)
        messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        tests = [message["executable"] for message in messages
                 if message.get("executable") and message["profile"]["test"] and message["target"]["name"] in ("terroir", kind)]
        return (tests[-1] if tests else ""), ""

    def run(self, kind, built, tests):
        """Test → "ok" | "FAILED" of those that ran; and what was said."""
        if kind == "doc":
            done = self.shell([self.cargo, "test", "--locked", "--doc", "--", *tests], BUILD_S)
            if "could not compile `terroir` (lib)" in done.stderr:
                return {}, end_of(done.stderr)
            results = re.findall(r"^test .* \.\.\. (ok|FAILED)$", done.stdout, re.M)
            return {test: "FAILED" if "FAILED" in results else "ok" for test in tests if results}, end_of(done.stdout)
        command = [sys.executable, "tests/real/run.py"] if kind == "real" else [built, "--exact", "--test-threads=4"]
        # What the cases of tests/real wait for is not of their process group.
        done = self.shell([*command, *tests], *((RUN_S * len(tests), None) if kind == "real" else (RUN_S, STALLED_S)))
        pattern = r"^(?P<result>PASS|FAIL) +(?P<name>\S+)" if kind == "real" else r"^test (?P<name>\S+)(?: - should panic)? \.\.\. (?P<result>ok|FAILED)$"
        found = {match["name"].rstrip(":"): {"PASS": "ok", "FAIL": "FAILED"}.get(match["result"], match["result"])
                 for match in re.finditer(pattern, done.stdout, re.M)}
        # A test's own output may stand within its line; alone, the closing line says it as well.
        closing = re.search(r"(\d+) passed[;,] (\d+) failed", done.stdout)
        if len(tests) == 1 and tests[0] not in found and closing and sum(map(int, closing.groups())) == 1:
            found[tests[0]] = "FAILED" if closing[2] == "1" else "ok"
        return found, ("     it did not end by itself\n" if done.returncode is None else "") + end_of(done.stdout + done.stderr)

    def verdict(self, kind, built, test):
        """("green" | "red" | "did not run", the end of what was said) of exactly this test. One that does not end is not red: it
        would hold up whoever waits for it."""
        found, said = self.run(kind, built, [test])
        return {"ok": "green", "FAILED": "red", None: "did not run, or not to its end"}[found.get(test)], said

    def shell(self, command, seconds, stalled_s=None):
        """Runs it for so many seconds at most, or until its process group has used no processor for `stalled_s`."""
        process = subprocess.Popen(command, cwd=self.copy, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, errors="replace", start_new_session=True)
        began = busy = time.monotonic()
        used = 0.0
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    out, err = process.communicate(timeout=5)
                    return subprocess.CompletedProcess(command, process.returncode, out, err)
                now, used_now = time.monotonic(), processor_s(process.pid)
                if used_now - used > 1:
                    used, busy = used_now, now
                if now - began > seconds or (stalled_s and now - busy > stalled_s):
                    os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
                    out, err = process.communicate()
                    return subprocess.CompletedProcess(command, None, out, err)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise


def processor_s(group):
    """What the living processes of a group have used."""
    ticks = 0
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            ticks += (int(fields[11]) + int(fields[12])) * (int(fields[2]) == group)
    return ticks / os.sysconf("SC_CLK_TCK")


def end_of(text):
    return "\n".join("     " + line for line in text.splitlines()[-25:])


def refresh(copy):
    """Makes the copy what the checkout is. A file that has not changed is left alone, so that nothing is built for it."""
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True).stdout
    wanted = {name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()}
    kept = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file() and ".git" not in path.relative_to(copy).parts}
    for name in kept - wanted:
        (copy / name).unlink()
    for name in wanted:
        content = without_itself(name, (ROOT / name).read_bytes())
        if not (copy / name).is_file() or (copy / name).read_bytes() != content:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
            shutil.copymode(ROOT / name, copy / name)
    if not (copy / ".tools").exists():
        (copy / ".tools").symlink_to((ROOT / ".tools").resolve())  # the clients and servers of some tests
    subprocess.run("git init -q . && git add -A", shell=True, cwd=copy, check=True)  # the tidy tests ask git


def without_itself(name, content):
    """The manifest with the feature `testing` on by default in place of the dependency on itself that turns it on for tests."""
    if name == "Cargo.toml":
        content = re.sub(rb'^terroir = \{ path = "\.".*\n', b"", re.sub(rb"^testing = \[\]", b'testing = []\ndefault = ["testing"]', content, flags=re.M), flags=re.M)
    if name == "Cargo.lock":
        content = content.replace(b'\n "terroir",\n', b"\n")
    return content


if __name__ == "__main__":
    sys.exit(main())
