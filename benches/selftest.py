#!/usr/bin/env python3
"""Checks of the benches themselves: a driver that counts refusals, or a table that says yes by mistake, would praise anything. Needs no
product, no store and no peer."""

import functools
import http.server
import pathlib
import shutil
import sys
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "real"))
sys.path.insert(0, str(ROOT / "benches"))

import load  # noqa: E402
import steady  # noqa: E402
import table  # noqa: E402
from wire import Client  # noqa: E402


def samples(figure, key, values, **more):
    """`values`: target → a number for each round; None is an invalid sample."""
    return [{"figure": figure, "target": target, **({"invalid": "so"} if value is None else {key: value}), **more}
            for target, rounds in values.items() for value in rounds]


def row(text, taken):
    """The cells of the line that begins with `text`: those of the targets, and the last."""
    line = next(line for line in table.markdown(taken).splitlines() if line.split(" | ")[1].startswith(text))
    cells = [cell.strip() for cell in line.strip("| ").split(" |")]
    return dict(zip(table.COLUMNS, cells[2:])), cells[-1]


class Table(unittest.TestCase):
    def test_a_rate_is_judged_by_the_ratio_of_medians(self):
        taken = samples("get4k", "per_second", {"bare": [100, 1_000, 110], "fs": [65, 1, 67], "pg": [66, 66, 66], "s3": [66.1, 65.9, 9]})
        cells, reached = row("GET 4 KiB", taken)
        self.assertEqual(cells["fs"], "65 (0.59 ×)")
        self.assertEqual(reached, "pg yes; fs, s3 no")
        self.assertEqual(cells["haproxy"], "")

    def test_a_time_is_judged_by_what_is_above_the_store(self):
        cells, reached = row("… p99, and over", samples("steady", "p99_ms", {"bare": [4.0], "fs": [6.0], "pg": [6.1], "s3": [3.0]}))
        self.assertEqual(cells["s3"], "3.0 ms (-1.00 ms)")
        self.assertEqual(reached, "fs, s3 yes; pg no")

    def test_one_invalid_round_makes_the_figure_invalid_and_not_reached(self):
        cells, reached = row("PUT 4 KiB", samples("put4k", "per_second", {"bare": [100, 100], "fs": [100, None], "s3": [100, 100]}))
        self.assertEqual((cells["fs"], reached), ("invalid", "s3 yes; fs invalid"))

    def test_nothing_is_reached_beside_a_store_that_was_not_measured(self):
        for bare in ({"bare": [None]}, {}):
            _, reached = row("PUT 4 KiB", samples("put4k", "per_second", {**bare, "fs": [100]}))
            self.assertEqual(reached, "no")

    def test_a_figure_that_was_not_taken_is_not_reached(self):
        self.assertEqual(row("PUT 4 KiB", samples("put4k", "per_second", {"bare": [100]}))[1], "not taken")
        self.assertNotIn("GET", table.markdown(samples("put4k", "per_second", {"bare": [100]})))

    def test_exactly_is_exactly_and_is_of_the_target_that_counts(self):
        for requests, verdict in ((1, "yes"), (1.0001, "no"), (0.9999, "no")):
            taken = samples("range", "store_requests_per_blob", {"s3": [7], "s3-counted": [requests]})
            self.assertEqual(row("… store requests per blob", taken)[1], verdict)
        taken = samples("list", "store_requests", {"s3-counted": [0, 0, 1]})
        self.assertEqual(row("LIST, store requests", taken)[1], "no", "the worst round counts")

    def test_a_neighbour_is_judged_by_the_tenants_own_p99_and_by_each_error(self):
        taken = [{"figure": "noise", "target": "fs", "p99_alone_ms": 10, "p99_beside_ms": beside, "quiet_errors_beside": errors}
                 for beside, errors in ((19, 0), (20, 1), (90, 0))]
        self.assertEqual(row("quiet tenant's p99", taken), ({**dict.fromkeys(table.COLUMNS, ""), "fs": "20.0 ms ÷ 10.0 ms = 2.00 ×"}, "yes"))
        self.assertEqual(row("… its errors", taken)[1], "no")

    def test_a_figure_comes_whole_from_the_last_run_that_has_it(self):
        old = {"samples": samples("get4k", "per_second", {"bare": [1], "fs": [2]}) + samples("put4k", "per_second", {"bare": [3]})}
        new = {"samples": samples("get4k", "per_second", {"bare": [10]})}
        together = table.together([old, new])
        self.assertEqual([(sample["figure"], sample["per_second"]) for sample in together], [("put4k", 3), ("get4k", 10)])


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, status, size, *words):
        self.status, self.size = status, size
        super().__init__(*words)

    def do_GET(self):
        self.send_response(self.status)
        self.send_header("content-length", str(self.size))
        self.end_headers()
        self.wfile.write(b"x" * self.size)

    def log_message(self, *_):
        pass


class Process:
    """Stands for a target."""

    def __init__(self, client, cpu):
        self.client, self.cpu, self.used = client, cpu, 0

    def cpu_s(self):
        self.used += self.cpu
        return self.used


class Driver(unittest.TestCase):
    def driven(self, status, size, cpu=0.1):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Answers, status, size))
        server.daemon_threads, server.handle_error = True, lambda *_: None  # the driver hangs up in the middle
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            client = Client(f"http://127.0.0.1:{server.server_port}", "r", "k", "s")
            flown = steady.Steady(client, [steady.ready(client, "GET", "b", "k")], 50, 1).run()
            return flown["errors"], load.drive(Process(client, cpu), "GET", [client.presign("GET", "b", "k")], None, 1)
        finally:
            server.shutdown()
            server.server_close()

    def test_records_are_counted(self):
        errors, told = self.driven(200, load.SMALL)
        self.assertEqual(errors, 0)
        self.assertGreater(told["per_second"], 1)
        self.assertEqual(told["driver"], "wrk" if shutil.which("wrk") else "threads")

    def test_answers_that_bring_no_record_are_no_rate(self):
        for status, size, said in ((403, load.SMALL, "errors"), (503, 0, "errors"), (307, 0, "errors|bytes"), (200, 0, "bytes")):
            with self.subTest(status=status), self.assertRaisesRegex(AssertionError, said):
                self.driven(status, size)

    def test_a_process_that_did_nothing_did_not_answer(self):
        with self.assertRaisesRegex(AssertionError, "CPU"):
            self.driven(200, load.SMALL, cpu=0)


if __name__ == "__main__":
    ran = unittest.main(exit=False, verbosity=1).result
    failed = len(ran.failures) + len(ran.errors)
    print(f"{ran.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
