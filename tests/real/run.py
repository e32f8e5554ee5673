"""Runs the cases: `run.py [--against terroir|seaweedfs] [--list] [--reliability] [name …]` (a name may be the start of one).

`--reliability` runs the cases that give evidence, at full length, and writes docs/reliability.md; with names, the rows of these cases
alone, and the other rows stay. It refuses a dirty tree, and fails if the commit or the binary changes while it runs: give it a copy that
no build replaces.

Prints `PASS name seconds` or `FAIL name`, and closes with `N passed, N failed, N skipped`. A case that needs the product
is skipped, loudly, only when the harness itself is tried against SeaweedFS.
"""

import argparse
import concurrent.futures
import faulthandler
import os
import sys
import time
import traceback

import cases
import cases_admin  # noqa: F401  (registers its cases)
import cases_clients  # noqa: F401
import cases_corruption  # noqa: F401
import cases_faults_host  # noqa: F401
import cases_faults_index  # noqa: F401
import cases_faults_gcs  # noqa: F401
import cases_faults_keys  # noqa: F401
import cases_faults_kill  # noqa: F401
import cases_faults_store  # noqa: F401
import cases_gcs  # noqa: F401
import cases_kill  # noqa: F401
import cases_linear  # noqa: F401
import cases_markers  # noqa: F401
import cases_mutations  # noqa: F401
import cases_netns  # noqa: F401
import cases_objects  # noqa: F401
import cases_process  # noqa: F401
import cases_ranges  # noqa: F401
import cases_residency  # noqa: F401
import cases_scrub  # noqa: F401
import cases_slow  # noqa: F401
import cases_store  # noqa: F401
import cases_wire  # noqa: F401
import evidence
import servers

WHOLE_RUN_S = 3_600
AT_FULL_LENGTH_S = 7_200
BESIDE = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", choices=["terroir", "seaweedfs"], default="terroir")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--reliability", action="store_true",
                        help="only the cases that give evidence, at full length; writes docs/reliability.md if all pass")
    parser.add_argument("names", nargs="*")
    wanted = parser.parse_args()
    evidence.at_full_length = wanted.reliability
    chosen = [case for case in cases.REGISTER if case.evidence or not wanted.reliability]
    chosen = [case for case in chosen if not wanted.names or case.name.startswith(tuple(wanted.names))]
    if wanted.list:
        print("\n".join(f"{case.name} ({case.needs}{', alone' if case.alone else ''})" for case in chosen))
        return 0
    if not chosen:
        print("no such case", file=sys.stderr)
        return 64
    if wanted.against == "terroir" and not os.access(os.environ.get("TERROIR_BIN", ""), os.X_OK):
        print("TERROIR_BIN must name the built terroir binary", file=sys.stderr)
        return 64
    writes = wanted.reliability
    if wanted.against == "terroir":
        evidence.subject = evidence.Subject(os.environ["TERROIR_BIN"], binding=writes)
        print(f"commit {evidence.subject.commit[:12] or 'unknown'}{', dirty' if evidence.subject.dirty else ''}, "
              f"binary {evidence.subject.sha256}", flush=True)
    if writes and (why := evidence.subject.unfit() if evidence.subject else "the document is about the product"):
        print(f"docs/reliability.md cannot be written: {why}", file=sys.stderr)
        return 64
    # A hang is a failure that says where.
    faulthandler.dump_traceback_later(AT_FULL_LENGTH_S if wanted.reliability else WHOLE_RUN_S, exit=True)
    unset_what_would_redirect_clients()
    began = time.monotonic()
    failed = run(chosen, wanted.against)
    if writes and not failed:
        try:
            evidence.write(time.monotonic() - began, bool(wanted.names), cases.REGISTER)
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"wrote {evidence.DOCUMENT.relative_to(evidence.ROOT)}")
    return failed


def run(chosen, against):
    skipped = [case for case in chosen if against == "seaweedfs" and case.needs != "s3"]
    chosen = [case for case in chosen if case not in skipped]
    for case in skipped:
        print(f"SKIP {case.name} (not a claim about {against})")
    results = []
    with servers.Scratch() as scratch:
        site = None
        try:
            if any(case.needs != "own" for case in chosen):
                site = (servers.Terroir if against == "terroir" else servers.SeaweedFs)(scratch / "site").start()
            with concurrent.futures.ThreadPoolExecutor(BESIDE) as pool:
                results += pool.map(lambda case: one(case, site), [case for case in chosen if not case.alone])
            results += [one(case, site) for case in chosen if case.alone]
        except AssertionError as error:
            print(f"FAIL start: {error}")
            results.append(False)
        finally:
            if site:
                site.stop()
    print(f"{results.count(True)} passed, {results.count(False)} failed, {len(skipped)} skipped")
    return 0 if results and all(results) else 1


def one(case, site):
    start = time.monotonic()
    try:
        case.function() if case.needs == "own" else case.function(site)
        took = time.monotonic() - start
        assert took <= case.limit_s, f"took {took:.0f} s, more than {case.limit_s}"
    except Exception:
        print(f"FAIL {case.name} {'; '.join(cases.notes())}\n{indented(traceback.format_exc())}", flush=True)
        return False
    said = cases.notes()
    print(f"PASS {case.name} {took:.1f}{' (' + '; '.join(said) + ')' if said else ''}", flush=True)
    return True


def indented(text):
    return "\n".join("     " + line for line in text.rstrip().splitlines())


def unset_what_would_redirect_clients():
    """Real clients read the user's files and variables; the cases must see neither, nor a proxy."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "RCLONE_", "S3_")) or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["RCLONE_CONFIG"] = os.devnull
    os.environ["NO_PROXY"] = "127.0.0.1"


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    sys.exit(main())
