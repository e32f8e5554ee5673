"""Checks of the harness itself: a search, a model or a signer that is wrong would let the product pass.

`selftest.py` runs without the product; it uses AWS's published example for the signature, and a real SeaweedFS.
"""

import base64
import concurrent.futures
import hashlib
import os
import pathlib
import random
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import cases_kill
import cases_linear
import cases_ranges
import evidence
import gcs
import health
import http2
import killing
import ledger
import liar
import linear
import mutations_body
import mutations_head
import mutations_name
import mutations_proof
import mutations_xml
import roots
import wire
import world
from scan import Scan, forms

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent


class Searching(unittest.TestCase):
    def test_every_form_is_found_among_other_bytes_at_every_alignment(self):
        mark = "markfrbody0a1b2c3d4e5f"
        scan = Scan([mark])
        with tempfile.TemporaryDirectory() as folder:
            for prefix in range(6):
                for suffix in range(4):
                    text = "x" * prefix + mark + "y" * suffix
                    for encode in (base64.b64encode, base64.urlsafe_b64encode, lambda b: b.hex().encode(), lambda b: b,
                                   lambda b: b.decode().encode("utf-16le"), lambda b: b.decode().upper().encode()):
                        path = pathlib.Path(folder, "f")
                        path.write_bytes(b"\x01" * 10 + encode(text.encode()) + b"\x02")
                        self.assertTrue(scan.inside(path), (prefix, suffix, encode))

    def test_a_marker_across_a_block_border_is_found(self):
        import scan as module

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "f")
            path.write_bytes(b"." * (module.CHUNK - 5) + b"markfrbody123456" + b"." * 100)
            self.assertTrue(Scan(["markfrbody123456"]).inside(path))

    def test_names_of_files_are_searched_and_other_bytes_are_no_hit(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "a").write_bytes(os.urandom(1 << 20))
            self.assertEqual(Scan(["markfrbody123456"]).under(folder), [])
            pathlib.Path(folder, "x-markfrbody123456").write_bytes(b"")
            self.assertEqual(len(Scan(["markfrbody123456"]).under(folder)), 1)

    def test_the_positive_control_finds_all_and_notices_blindness(self):
        with tempfile.TemporaryDirectory() as folder:
            scan = Scan(["markfrbody123456"])
            self.assertEqual(scan.positive_control(folder), [])
            scan.inside = lambda path: []
            self.assertEqual(len(scan.positive_control(folder)), len(set(scan.patterns.values())))

    def test_forms_are_long_enough_not_to_match_by_chance(self):
        self.assertTrue(all(len(pattern) >= 12 for pattern in forms("markfrbody0a1b").values()))


class Modelling(unittest.TestCase):
    def test_the_range_model_knows_the_cases_that_break_others(self):
        data = b"0123456789"
        for header, wanted in (
            ("bytes=0-", (206, data, "bytes 0-9/10")),
            ("bytes=0-0", (206, b"0", "bytes 0-0/10")),
            ("bytes=5-99", (206, b"56789", "bytes 5-9/10")),
            ("bytes=-3", (206, b"789", "bytes 7-9/10")),
            ("bytes=-99", (206, data, "bytes 0-9/10")),
            ("bytes=-0", (416, None, "bytes */10")),
            ("bytes=10-", (416, None, "bytes */10")),
            ("bytes=5-2", (200, data, None)),
            ("bytes=0-1,3-4", (200, data, None)),
            ("bytes=-", (200, data, None)),
            ("items=0-1", (200, data, None)),
        ):
            self.assertEqual(cases_ranges.model(header, data), wanted, header)
        self.assertEqual(cases_ranges.model("bytes=-5", b""), (200, b"", None))
        self.assertEqual(cases_ranges.model("bytes=0-", b"")[0], 416)

    def test_the_history_of_a_killed_writer_refuses_lost_and_torn_writes(self):
        class Server:
            """Holds what a test says it holds."""

            def __init__(self, objects):
                self.objects = objects

            def get(self, _bucket, key):
                body = self.objects.get(key)
                return wire.Answer(404, {}, b"") if body is None else wire.Answer(200, {}, body)

            head = get

            def list_all(self, _bucket):
                return [(key, len(body), "") for key, body in self.objects.items()], [], []

        class Writer:
            def __init__(self, state, trying):
                self.state, self.trying = state, trying

        def verified(objects):
            history = cases_kill.History()
            writer = Writer({"a": cases_kill.digest(b"old"), "b": cases_kill.digest(b"kept")}, ("a", cases_kill.digest(b"new")))
            self.assertEqual(history.take([writer]), 1)
            try:
                history.verify(Server(objects), "b")
            except AssertionError:
                return False
            return True

        self.assertTrue(verified({"a": b"old", "b": b"kept"}))
        self.assertTrue(verified({"a": b"new", "b": b"kept"}), "an unacknowledged write may have happened")
        self.assertFalse(verified({"a": b"ne", "b": b"kept"}), "torn")
        self.assertFalse(verified({"b": b"kept"}), "lost")
        self.assertFalse(verified({"a": b"old"}), "lost, not in flight")


class Evidencing(unittest.TestCase):
    """docs/reliability.md speaks of every case that gives evidence, and of no other."""

    def test_every_case_that_gives_evidence_has_its_row_in_the_committed_document(self):
        import cases
        import run  # noqa: F401  (registers the cases)

        self.assertEqual(evidence.missing(cases.REGISTER, evidence.DOCUMENT.read_text()), ([], []))

    def test_a_case_without_a_row_and_a_row_without_a_case_are_found(self):
        import cases

        case = cases.Case(lambda: None, "own", False, 1, True)
        case.name = "a_new_case"
        text = evidence.document([{"case": "an_old_case", "fault": "f", "seed": "s", "amplification": 1.0, "recovery_s": None,
                                   **dict.fromkeys(ledger.Ledger.COUNTS, 0), "of": "c", "facts": {}}], "1 s")
        self.assertEqual(evidence.missing([case], text), (["a_new_case"], ["an_old_case"]))

    def test_a_document_is_made_again_of_the_rows_that_are_read_from_it(self):
        text = evidence.DOCUMENT.read_text()
        rows = list(evidence.rows_of(text))
        again = evidence.document(rows, "1 s")
        self.assertGreater(len(rows), 20)
        lines = lambda one: [line for line in one.splitlines() if line.startswith(("| ", "- "))]  # noqa: E731
        self.assertEqual(lines(again), lines(text))
        self.assertEqual(list(evidence.rows_of(again)), rows)


class Naming(unittest.TestCase):
    """Rows are of one commit and one binary, and of no others; the document names both."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root, self.binary = pathlib.Path(self.folder.name, "tree"), pathlib.Path(self.folder.name, "binary")
        self.root.mkdir()
        self.binary.write_bytes(b"first")
        self.git("init", "-q")
        self.commit("a")
        self.before = (evidence.subject, list(evidence.ROWS))
        evidence.ROWS.clear()

    def tearDown(self):
        evidence.subject, evidence.ROWS[:] = self.before
        self.folder.cleanup()

    def git(self, *words):
        named = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *named, *words], cwd=self.root, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, name):
        (self.root / name).write_text(name)
        self.git("add", name)
        self.git("commit", "-q", "-m", name)

    def subject(self, binding=True):
        evidence.subject = evidence.Subject(self.binary, self.root, binding)
        return evidence.subject

    def row(self):
        return evidence.row("a_case", "f", ledger.Ledger(), "s")

    def written(self):
        to = pathlib.Path(self.folder.name, "document.md")
        evidence.write(1, to=to)
        return to.read_text()

    def test_what_stays_as_it_was_is_named_by_the_document(self):
        about = self.subject()
        self.assertIsNone(about.unfit())
        self.row()
        text = self.written()
        self.assertIn(f" Of `{self.git('rev-parse', 'HEAD')[:12]}, binary {hashlib.sha256(b'first').hexdigest()[:16]}` ", text)
        self.assertNotIn("dirty", text)

    def test_a_tree_with_changes_and_none_at_all_are_unfit_and_it_is_said_what_to_do(self):
        (self.root / "new.py").write_text("")
        self.assertRegex(self.subject().unfit(), r"dirty \(new\.py\).*commit")
        (self.root / "new.py").unlink()
        (self.root / "a").write_text("changed")
        self.assertRegex(self.subject().unfit(), r"dirty \(a\).*git stash -u")
        (self.root / "a").write_text("a")
        self.assertIsNone(self.subject().unfit())
        self.assertIn("no checkout of git", evidence.Subject(self.binary, self.folder.name).unfit())

    def test_another_commit_or_binary_gives_no_row_and_no_document(self):
        def replaced():
            draft = self.binary.with_suffix(".new")
            draft.write_bytes(b"other")
            os.utime(draft, ns=(self.binary.stat().st_atime_ns, self.binary.stat().st_mtime_ns))
            draft.rename(self.binary)

        for change, said in ((replaced, "SHA-256"), (lambda: self.binary.write_bytes(b"third"), "SHA-256"), (self.binary.unlink, "is none"),
                             (lambda: self.commit("b"), "the commit was")):
            self.binary.write_bytes(b"first")
            self.subject()
            self.row()
            change()
            with self.assertRaisesRegex(AssertionError, "no row for a_case"):
                self.row()
            with self.assertRaisesRegex(AssertionError, f"not written.*{said}"):
                self.written()
        self.assertEqual(len(evidence.ROWS), 4)

    def test_files_of_the_tree_that_change_meanwhile_give_no_document(self):
        self.subject()
        (self.root / "a").write_text("changed")
        with self.assertRaisesRegex(AssertionError, "not written: files of the tree were changed: a"):
            self.written()

    def test_an_ordinary_run_goes_on_whatever_changes(self):
        self.subject(binding=False)
        self.commit("b")
        self.binary.write_bytes(b"second")
        self.row()
        self.assertEqual(len(evidence.ROWS), 1)

    def test_a_run_for_the_document_does_not_begin_on_a_dirty_tree(self):
        shutil.copytree(HERE, self.root / "tests/real", ignore=shutil.ignore_patterns("__pycache__"))
        done = subprocess.run([sys.executable, self.root / "tests/real/run.py", "--reliability"], capture_output=True, text=True,
                              env={**os.environ, "TERROIR_BIN": "/bin/true"}, timeout=60)
        self.assertEqual(done.returncode, 64, done.stdout + done.stderr)
        self.assertRegex(done.stderr, r"cannot be written: the tree is dirty \(tests/.*commit")
        self.assertFalse((self.root / "docs").exists())


class Killing(unittest.TestCase):
    """A kill counts if a write was under way, and a point is armed until it has its number of such kills."""

    def test_only_writes_that_were_asked_before_the_first_sign_of_death_were_cut_off(self):
        cut = killing.writes_cut_off
        self.assertEqual(cut([("small", 1.0, 2.0), ("delete", 1.9, 2.1), ("multipart", 0.5, 2.0)], 2.0), 3)
        self.assertEqual(cut([None, ("read", 1.0, 2.0), ("range", 1.0, 2.0)], 2.0), 0, "nothing that writes")
        self.assertEqual(cut([("small", 2.5, 2.6)], 2.0), 0, "asked of the dead")
        self.assertEqual(cut([("read", 1.0, 1.5), ("small", 1.6, 1.7)], 2.0), 0, "asked after another's connection had broken")
        self.assertEqual(cut([], 2.0), 0)

    def test_a_blob_that_the_index_names_and_the_store_has_not_or_not_whole_is_torn(self):
        import cases_faults_kill

        with tempfile.TemporaryDirectory() as folder:
            store, whole, cut, gone = pathlib.Path(folder), "0" * 32, "1" * 32, "2" * 32
            (store / "temp").mkdir()
            for path, size in ((store / whole, 10), (store / cut, 5), (store / "temp" / gone, 10)):
                path.write_bytes(bytes(size))
            one, files = ledger.Ledger(), cases_faults_kill.sizes_in(store)
            cases_faults_kill.named_and_there(one, [(whole, 10)], files)
            self.assertEqual(one.counts["torn"], 0)
            cases_faults_kill.named_and_there(one, [(cut, 10), (gone, 10)], files)
            self.assertEqual(one.counts["torn"], 2)
            self.assertEqual(cases_faults_kill.strays(one, store, "fr"), 2)
            self.assertEqual(one.counts["abroad"], 2, "neither is a blob of this region")

    def test_a_worker_knows_whether_its_request_was_heard(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def hang_up():
                connection, _ = listener.accept()
                connection.recv(100)
                connection.close()

            threading.Thread(target=hang_up, daemon=True).start()
            heard, unheard = [ledger.Worker(0, wire.Client(f"http://127.0.0.1:{port}", "r", "k", "s"), "b", ledger.Ledger(), "s", ("small",), True, pause_s=0)
                              for port in (listener.getsockname()[1], 1)]
            heard.run()
        unheard.run()
        self.assertEqual((heard.broke[0], unheard.broke), ("small", None))
        self.assertLess(heard.broke[1], heard.broke[2])
        self.assertEqual((heard.ledger.counts["broken"], unheard.ledger.counts["broken"]), (1, 1))

    def plan(self, outcomes, points=("a", "b"), kills=4, at_random=1):
        """Runs a plan whose rounds end as `outcomes(point, turn)` says: (died at its point, writes in flight)."""
        one, turns = killing.Killing(None, [], "seed"), {}

        def round_(point):
            one.number += 1
            turns[point] = turns.get(point, 0) + 1
            return one.judged(point, *outcomes(point, turns[point]))

        one.round = round_
        one.run(points, kills, at_random)
        return one

    def test_a_kill_without_a_write_or_away_from_its_point_is_not_counted_and_done_again(self):
        all_well = self.plan(lambda point, turn: (bool(point), 2))
        self.assertEqual((all_well.reached, all_well.idle, all_well.missed, all_well.at_random), ({"a": 2, "b": 2}, 0, 0, 1))
        some = self.plan(lambda point, turn: {1: (True, 0), 2: (False, 3)}.get(turn, (True, 1)) if point else (False, 0))
        self.assertEqual((some.reached, some.idle, some.missed, some.at_random, some.at_random_idle), ({"a": 2, "b": 2}, 2, 2, 1, 1))

    def test_a_point_that_is_never_reached_or_never_with_a_write_ends_the_case(self):
        for outcome in ((False, 3), (True, 0)):
            with self.assertRaisesRegex(AssertionError, "not reached with a write in flight"):
                self.plan(lambda point, turn, outcome=outcome: outcome if point == "b" else (bool(point), 2))


class Lying(unittest.TestCase):
    """The relay tells the truth until it is told to lie, and then lies as it was told."""

    def exchange(self, fault, body=b"", method="GET", path="/thing"):
        """(status or None, body) of one request through the relay to a server of ours, and what that server got."""
        import http.server
        import threading

        got = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                got.append(self.rfile.read(int(self.headers.get("content-length", 0))))
                self.send_response(200)
                self.send_header("content-length", "1000")
                self.end_headers()
                self.wfile.write(b"a" * 1_000)

            do_PUT = do_GET

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        relay = liar.Liar(server.server_port)
        relay.rule = lambda *_: fault
        client = wire.Client(f"http://127.0.0.1:{relay.port}", "r", "k", "s")
        try:
            answer = client.send(method, path, body=body)
            return answer.status, answer.body, got
        except wire.Broken:
            return None, b"", got
        finally:
            client.close()
            self.assertEqual(len(relay.requests(method)) >= 1, True)
            relay.close()
            server.shutdown()
            server.server_close()

    def test_each_lie_is_what_it_says(self):
        whole = b"a" * 1_000
        self.assertEqual(self.exchange(None, b"body", "PUT"), (200, whole, [b"body"]))
        status, body, got = self.exchange(liar.Fault("error-before"), b"body", "PUT")
        self.assertEqual((status, got), (503, []))
        status, body, got = self.exchange(liar.Fault("error-after", 500), b"body", "PUT")
        self.assertEqual((status, got), (500, [b"body"]))
        self.assertEqual(self.exchange(liar.Fault("truncate"))[0], None)
        self.assertEqual(self.exchange(liar.Fault("reset"))[0], None)
        status, body, _ = self.exchange(liar.Fault("shorten"))
        self.assertEqual((status, body), (200, whole[:500]))
        status, body, _ = self.exchange(liar.Fault("flip"))
        self.assertEqual((status, len(body), sum(one != 97 for one in body)), (200, 1_000, 1))
        status, body, got = self.exchange(liar.Fault("flip-up"), b"body", "PUT")
        self.assertEqual((status, body), (200, whole))
        self.assertNotEqual(got, [b"body"])
        self.assertEqual(self.exchange(liar.Fault("freeze", hold_s=0.1))[0], None)


class Visiting(unittest.TestCase):
    """At the double of Google Cloud Storage, who does not belong there is found, and what was asked twice is counted once."""

    def seen(self, *rows):
        names = ("call", "method", "target", "range", "credential", "fault", "at")
        asked = [gcs.Seen(dict(zip(names, row))) for row in rows]
        return type("Double", (), {"requests": lambda _: asked})()

    def test_who_is_no_driver_of_google_or_somebody_else_is_a_stranger(self):
        at_home = [("upload", "POST", "/upload/storage/v1/b/ours/o?name=x", None, None, None, 0),
                   ("download", "GET", "/storage/v1/b/ours/o/x?alt=media", "bytes=0-1", None, None, 0),
                   ("control", "POST", "/google.storage.v2.Storage/GetObject", None, None, None, 0)]
        self.assertEqual(list(gcs.strangers(self.seen(*at_home), "ours")), [])
        for odd in (("other", "PUT", "/ours/blobs/x", None, "AWS4-HMAC-SHA256 Credential=keyfr/", None, 0),
                    ("other", "PUT", "/ours/blobs/x", None, None, None, 0),
                    ("download", "GET", "/storage/v1/b/theirs/o/x", None, None, None, 0),
                    ("download", "GET", "/storage/v1/b/ours/o/x", None, "Bearer eyJ", None, 0)):
            self.assertEqual(len(list(gcs.strangers(self.seen(*at_home, odd), "ours"))), 1, odd)
        signed = [(*row[:4], "Bearer eyJhbGci", *row[5:]) for row in at_home]
        self.assertEqual(list(gcs.strangers(self.seen(*signed), "ours", ("Bearer ey",))), [])
        self.assertEqual(len(list(gcs.strangers(self.seen(*at_home), "ours", ("Bearer ey",)))), 3)

    def test_what_is_asked_again_after_a_fault_was_needed_once(self):
        upload = lambda name, fault=None: ("upload", "POST", f"/upload/storage/v1/b/ours/o?name={name}", None, None, fault, 0)  # noqa: E731
        read = lambda fault, at: ("download", "GET", "/storage/v1/b/ours/o/a", "bytes=0-1", None, fault, at)  # noqa: E731
        self.assertEqual(gcs.needed_of(self.seen(upload("a", "reset"), upload("a"), upload("b"))), 2)
        self.assertEqual(gcs.needed_of(self.seen(read("reset", 0), read("refuse", 0.2), read(None, 0.4), read(None, 0.5))), 2)
        self.assertEqual(gcs.needed_of(self.seen(read("reset", 0), read(None, 5))), 2, "long after, it is another read")

    def test_each_of_several_faults_is_met_as_often_as_the_others(self):
        rules = []
        double = gcs.GcsDouble.__new__(gcs.GcsDouble)
        double.told = lambda _method, command, **query: rules.append(query["per-mille"]) if command == "fault" else rules.clear()
        double.at_rate(0.3, ("reset", "refuse=503", "flip=7"), ("upload",))
        shares, left = [], 1.0
        for per_mille in rules:
            shares.append(left * per_mille / 1_000)
            left -= shares[-1]
        self.assertTrue(all(abs(share - 0.1) < 0.001 for share in shares), shares)


class Slowing(unittest.TestCase):
    """A root's file is changed, slowed and brought back as it was."""

    TEXT = "terroir-root-key 1\nroot fr.00112233445566778899aabbccddeeff\nstate enabled\nversion 1 1795458123045 " + "ab" * 32 + "\n"

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name, "root-fr.00112233445566778899aabbccddeeff.key")
        self.path.write_text(self.TEXT + f"digest {hashlib.sha256(self.TEXT.encode()).hexdigest()}\n")
        self.root = roots.RootFile.of_tenant(self.path.parent)

    def tearDown(self):
        self.folder.cleanup()

    def test_what_is_made_is_in_the_documented_form(self):
        self.assertEqual(self.root.made_of("enabled", self.root.versions()), self.root.whole)
        self.assertEqual(self.root.rotate(), 2)
        lines = self.path.read_text().splitlines()
        self.assertEqual([line.split()[:2] for line in lines[3:5]], [["version", "1"], ["version", "2"]])
        self.assertEqual(lines[-1], "digest " + hashlib.sha256("".join(line + "\n" for line in lines[:-1]).encode()).hexdigest())

    def test_each_denial_changes_the_file_and_each_is_undone(self):
        from cases_faults_keys import DENIALS

        whole = self.path.read_text()
        for denial in DENIALS:
            getattr(self.root, denial)()
            left = self.path.exists() and (self.path.read_text(), self.path.stat().st_mode & 0o777)
            self.assertNotEqual(left, (whole, 0o600), denial)
            self.root.restore()
            self.assertEqual((self.path.read_text(), self.path.stat().st_mode & 0o777), (whole, 0o600))

    def test_each_reader_of_a_slow_file_gets_all_of_it_and_of_a_silent_one_nothing_until_it_speaks(self):
        whole = self.path.read_text()
        with roots.SlowRoot(self.root, 0.2) as slow:
            with concurrent.futures.ThreadPoolExecutor(4) as readers:
                began = time.monotonic()
                self.assertEqual(readers.submit(self.path.read_text).result(20), whole)
                self.assertGreaterEqual(time.monotonic() - began, 0.2)
                slow.silent.set()
                waiting = readers.submit(self.path.read_text)
                with self.assertRaises(concurrent.futures.TimeoutError):
                    waiting.result(0.5)
                slow.silent.clear()
                self.assertEqual(waiting.result(20), whole)
        self.assertEqual((slow.asked, slow.answered), (2, 2))
        self.assertTrue(self.path.is_file())
        self.assertEqual(self.path.read_text(), whole)


class Mutating(unittest.TestCase):
    """A mutation is wrong, and only what it says is."""

    CLIENT = wire.Client("http://127.0.0.1:1", "fr", "ABCDEFGHIJKLMNOPQRST", "s" * 40)

    def test_ranges_that_are_mutated_ask_for_no_part_and_right_ones_do(self):
        data = b"x" * 500
        family = mutations_name.Ranges(self.CLIENT, "b", random.Random(1), "k", len(data))
        for _ in range(3_000):
            text, _ = family.mutated()
            self.assertNotEqual(cases_ranges.model(text, data)[0], 206, text)
            self.assertEqual(cases_ranges.model(family.right(), data)[0], 206)

    def test_a_framed_body_is_parsed_into_what_makes_it_again(self):
        family = mutations_body.Chunked(self.CLIENT, "b", random.Random(2))
        for _ in range(30):
            request, chunks, rest = family.made("k")
            self.assertGreater(len(chunks), 3)
            again, rest_again = mutations_body.parsed(family.finish(request, chunks, rest).body)
            self.assertEqual((again, rest_again), (chunks, rest))

    def test_every_mutation_of_a_proof_and_of_a_document_differs_from_what_it_was(self):
        chance = random.Random(3)
        proofs = mutations_proof.Signatures(self.CLIENT, "bucket", chance)
        for name in (name for name in dir(proofs) if name.startswith("bad_")):
            for _ in range(20):
                request = proofs.presigned() if name.startswith("bad_url_") else proofs.get()
                before = request.bytes()
                self.assertNotEqual(getattr(proofs, name)(request).bytes(), before, name)
        documents = mutations_xml.Documents(self.CLIENT, "bucket", chance, "u", ['"' + "ab" * 16 + '"', '"' + "cd" * 16 + '"'], ["k1", "k2"], "fresh")
        for root in ("complete", "delete", "create"):
            text = getattr(documents, root)()
            for name in (name for name in dir(documents) if name.startswith(("bad_", f"{root}_"))):
                for _ in range(20):
                    self.assertNotEqual(getattr(documents, name)(text), text, (root, name))

    def test_no_way_to_be_wrong_is_left_out_of_an_ordinary_run(self):
        from cases_mutations import EACH

        chance, tags = random.Random(4), ['"' + "ab" * 16 + '"', '"' + "cd" * 16 + '"']
        for family in (mutations_proof.Signatures(self.CLIENT, "bucket", chance), mutations_body.Chunked(self.CLIENT, "bucket", chance),
                       mutations_head.Headers(self.CLIENT, "bucket", chance), mutations_name.Keys(self.CLIENT, "bucket", chance, "absent"),
                       mutations_xml.Documents(self.CLIENT, "bucket", chance, "u", tags, ["k1", "k2"], "fresh")):
            met = {family.mutated()[0] for _ in range(EACH)}
            self.assertEqual(len(met), len(family.deck.things), type(family))
            self.assertGreater(len(met), 8, type(family))


class Judging(unittest.TestCase):
    """The ledger calls lost what is lost, torn what is torn, wrong what is wrong, and nothing else."""

    def verdict(self, prepare, answer):
        one = ledger.Ledger()
        key = one.key("b", "k")
        first, second = key.trying("first", 100), key.trying("second", 200)
        prepare(key, first, second)
        one.judge(key, answer)
        return {name for name in ("lost", "wrong", "torn") if one.counts[name]}

    def test_verdicts(self):
        first, second = wire.noise("first", 100), wire.noise("second", 200)
        found = lambda body: wire.Answer(200, {}, body)  # noqa: E731
        gone = wire.Answer(404, {}, b"")

        def acknowledged_second(key, _first, second):
            key.possible = {second}

        def second_in_doubt(key, first, second):
            key.possible = {first, second}

        self.assertEqual(self.verdict(acknowledged_second, found(second)), set())
        self.assertEqual(self.verdict(second_in_doubt, found(first)), set())
        self.assertEqual(self.verdict(second_in_doubt, found(second)), set())
        self.assertEqual(self.verdict(acknowledged_second, found(first)), {"lost"})
        self.assertEqual(self.verdict(acknowledged_second, gone), {"lost"})
        self.assertEqual(self.verdict(second_in_doubt, gone), {"lost"})
        self.assertEqual(self.verdict(acknowledged_second, found(b"x" + second[1:])), {"wrong"})
        self.assertEqual(self.verdict(acknowledged_second, found(second[:150])), {"torn"})
        self.assertEqual(self.verdict(acknowledged_second, wire.Answer(503, {}, b"")), set())

    def test_a_state_that_was_read_is_the_only_one_from_then_on(self):
        one = ledger.Ledger()
        key = one.key("b", "k")
        first, second = key.trying("first", 100), key.trying("second", 200)
        key.possible = {first, second}
        one.judge(key, wire.Answer(200, {}, wire.noise("second", 200)))
        one.judge(key, wire.Answer(200, {}, wire.noise("first", 100)))
        self.assertEqual(one.counts["lost"], 1, "it went back")

    def test_a_region_is_read_from_a_blobs_own_header(self):
        head = world.MAGIC + bytes(23) + bytes([2]) + b"us" + bytes(200)
        self.assertEqual(world.region_of(head), "us")
        self.assertIsNone(world.region_of(b"\0" * 200))
        self.assertIsNone(world.region_of(world.MAGIC))


class Linearizing(unittest.TestCase):
    """The checker says no to histories that cannot be, and yes to those that only look odd."""

    def ops(self, *lines):
        """`kind value expects ok asked answered`"""
        return [linear.Operation(kind, asked, answered, ok, value, expects) for kind, value, expects, ok, asked, answered in lines]

    def assert_order(self, *lines):
        operations = self.ops(*lines)
        order = linear.check(operations)
        self.assertIsNotNone(order)
        state, at = linear.NOTHING, 0
        for one in order:
            self.assertGreaterEqual(one.answered, at, "an order against real time")
            at, state = max(at, one.asked), one.after(state)
            self.assertIsNotNone(state)

    def assert_none(self, *lines):
        self.assertIsNone(linear.check(self.ops(*lines)))

    def test_histories_that_are_possible(self):
        self.assert_order()
        self.assert_order(("write", 1, None, True, 0, 1), ("read", 1, None, True, 2, 3))
        # Both overlap: the read may stand on either side.
        for seen in (0, 1):
            self.assert_order(("write", 1, None, True, 0, 10), ("read", seen, None, True, 5, 6))
        # One of two creates wins; which, the reads decide.
        self.assert_order(("create", 1, None, False, 0, 10), ("create", 2, None, True, 0, 10), ("read", 2, None, True, 11, 12))
        # A swap wins, another with the same ETag loses, a delete comes between, a create wins again.
        self.assert_order(("write", 1, None, True, 0, 1), ("swap", 2, 1, True, 2, 9), ("swap", 3, 1, False, 2, 9),
                          ("delete", None, None, True, 10, 11), ("create", 4, None, True, 12, 13), ("read", 4, None, True, 14, 15))
        # A write of unknown outcome happened late, or never.
        self.assert_order(("write", 1, None, None, 0, 1), ("read", 0, None, True, 2, 3), ("read", 1, None, True, 4, 5))
        self.assert_order(("write", 1, None, None, 0, 1), ("read", 0, None, True, 2, 3))
        self.assert_order(("write", 1, None, True, 0, 1), ("swap", 2, 1, None, 2, 3), ("swap", 3, 1, True, 4, 5), ("read", 3, None, True, 6, 7))

    def test_a_lost_write(self):
        self.assert_none(("write", 1, None, True, 0, 1), ("read", 0, None, True, 2, 3))
        self.assert_none(("write", 1, None, True, 0, 1), ("write", 2, None, True, 2, 3), ("read", 1, None, True, 4, 5))

    def test_a_reading_that_goes_back_in_time(self):
        self.assert_none(("write", 1, None, True, 0, 1), ("write", 2, None, True, 2, 20), ("read", 2, None, True, 3, 4), ("read", 1, None, True, 5, 6))

    def test_two_winners_of_one_race(self):
        self.assert_none(("create", 1, None, True, 0, 10), ("create", 2, None, True, 0, 10))
        swaps = [("write", 1, None, True, 0, 1), ("swap", 2, 1, True, 2, 10), ("swap", 3, 1, True, 2, 10)]
        self.assert_none(*swaps)
        self.assertEqual(linear.races(self.ops(*swaps)), [(1, 2, 0)])

    def test_no_winner_where_one_must_be(self):
        self.assert_none(("create", 1, None, False, 0, 1))
        self.assert_none(("write", 1, None, True, 0, 1), ("swap", 2, 1, False, 2, 3))

    def test_a_write_that_comes_back_after_it_was_replaced_or_deleted(self):
        self.assert_none(("write", 1, None, None, 0, 1), ("read", 1, None, True, 2, 3), ("write", 2, None, True, 4, 5), ("read", 1, None, True, 6, 7))
        self.assert_none(("write", 1, None, True, 0, 1), ("delete", None, None, True, 2, 3), ("read", 1, None, True, 4, 5))

    def test_a_refused_write_that_happened(self):
        self.assert_none(("write", 1, None, True, 0, 1), ("create", 2, None, False, 2, 3), ("read", 2, None, True, 4, 5))

    def test_a_read_of_what_nobody_wrote_and_a_read_before_its_write(self):
        self.assert_none(("read", 7, None, True, 0, 1))
        self.assert_none(("read", 1, None, True, 0, 1), ("write", 1, None, True, 2, 3))

    def test_random_histories_of_a_true_register_pass_and_one_spoilt_read_fails(self):
        import random

        for seed in range(60):
            chance, state, at, lines = random.Random(seed), 0, 0, []
            for number in range(1, 120):
                kind = chance.choice(["read", "write", "create", "swap", "delete"])
                expects = chance.choice([state, max(state - 1, 1)]) if kind == "swap" else None
                one = linear.Operation(kind, 0, 0, True, number, expects)
                if kind == "read":
                    one.value = state
                elif one.after(state) is None:
                    one.ok = False
                state = one.after(state)
                at += 10  # its moment; it was asked up to 40 before and answered up to 40 after
                lines.append((kind, one.value, expects, one.ok, at - chance.randrange(40), at + 1 + chance.randrange(40)))
            self.assert_order(*lines)
            reads = [place for place, line in enumerate(lines) if line[0] == "read"]
            place = chance.choice(reads)
            spoilt = [*lines]
            spoilt[place] = ("read", 1_000, *lines[place][2:])
            self.assert_none(*spoilt)


class Racing(unittest.TestCase):
    """What a client of the races counts as a conditional operation sent is one, and was heard."""

    class Server:
        """Answers as a register that is never written: a create wins, a swap loses, a read finds `1`."""

        def __init__(self, refuses=0):
            self.asked, self.refuses = [], refuses

        def put(self, _bucket, _key, _body, if_none_match=None, if_match=None):
            if self.refuses:
                self.refuses -= 1
                raise wire.Broken("before an answer") from ConnectionRefusedError()
            self.asked.append("create" if if_none_match else "swap" if if_match else "write")
            return wire.Answer(412 if if_match else 200, {"etag": f'"{_body.decode()}"'}, b"")

        def get(self, *_):
            self.asked.append("read")
            return wire.Answer(200, {"etag": '"1"'}, b"1")

        def delete(self, *_):
            self.asked.append("delete")
            return wire.Answer(204, {}, b"")

        def close(self):
            pass

    def raced(self, server, count):
        history = cases_linear.History()
        racer = cases_linear.Racer(0, [server], "b", history, "seed", count)
        racer.run()
        return racer, history

    def test_conditional_operations_alone_are_counted_and_exactly_so_many_are_sent(self):
        server = self.Server(refuses=3)
        racer, history = self.raced(server, 50)
        conditional = [kind for kind in server.asked if kind in ("create", "swap")]
        self.assertEqual((racer.sent, len(conditional), history.sent("create", "swap")), (50, 50, 50))
        self.assertGreater(len(server.asked), 50, "nothing beside them")
        self.assertEqual(sum(history.sent(kind) for kind in ("create", "swap", "read", "write", "delete")), len(server.asked))
        self.assertEqual(history.won("create"), server.asked.count("create"))
        self.assertEqual(history.won("swap"), 0)

    def test_who_is_never_heard_does_not_ask_for_ever(self):
        time_sleep, cases_linear.time.sleep = cases_linear.time.sleep, lambda _: None
        try:
            with self.assertRaisesRegex(AssertionError, "sent 0 conditional operations of 5"):
                server = self.Server(refuses=1_000_000)
                server.get = server.delete = lambda *_: server.put("b", "k", b"")
                self.raced(server, 5)
        finally:
            cases_linear.time.sleep = time_sleep


class Watching(unittest.TestCase):
    """Who asks an observe listener hears every word of it, and takes none for another."""

    def watched(self, answers, judge):
        """`answers`: path → [(status, text), …], the last one for good; each may wait."""
        import http.server

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                said = answers[handler.path]
                status, text, wait_s = said.pop(0) if len(said) > 1 else said[0]
                time.sleep(wait_s)
                handler.send_response(status)
                handler.send_header("content-length", str(len(text)))
                handler.end_headers()
                handler.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with health.Watch(server.server_port - 2) as watch:
                judge(watch)
            return watch
        finally:
            server.shutdown()
            server.server_close()

    LIVE, READY, INDEX = (200, "live\n", 0), (200, "region fr is ready\n", 0), (503, "region fr is not ready: the index does not answer\n", 0)

    def test_not_ready_with_its_reason_and_ready_again_are_seen(self):
        def judge(watch):
            watch.until(503, "the index")
            watch.until(200)

        watch = self.watched({"/live": [self.LIVE], "/ready": [self.READY, *[self.INDEX] * 8, self.READY]}, judge)
        self.assertEqual(watch.not_ready(), [self.INDEX[1]] * 8)

    def test_a_wrong_reason_or_none_is_not_taken_for_it(self):
        for said in ((503, "region fr is not ready: the audit log\n", 0), (200, "the index\n", 0)):
            with self.assertRaisesRegex(AssertionError, "not 503 with .*the index"):
                self.watched({"/live": [self.LIVE], "/ready": [said]}, lambda watch: watch.until(503, "the index", within_s=0.5))

    def test_a_live_that_once_says_no_or_comes_late_is_a_fault(self):
        for said in ((503, "live\n", 0), (200, "dead\n", 0), (200, "live\n", health.LIVE_WITHIN_S + 0.2)):
            with self.assertRaisesRegex(AssertionError, "/live"):
                self.watched({"/live": [self.LIVE, said, self.LIVE], "/ready": [self.READY]}, lambda watch: time.sleep(0.5))

    def test_a_ready_that_answers_with_anything_else_is_a_fault(self):
        with self.assertRaises(AssertionError):
            self.watched({"/live": [self.LIVE], "/ready": [(500, "oh", 0), self.READY]}, lambda watch: watch.until(200))


class Multiplexing(unittest.TestCase):
    """The HTTP/2 client says of every request what became of it: answered, not begun, lost, or never asked."""

    def served(self, script):
        """A connection to a server of ours; `script(send, stream_of)` plays it: `stream_of()` waits for the next request's number."""
        import cases_process

        class Home:
            home = pathlib.Path(self.folder.name)

        cases_process.Secure.certify(Home)
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs.load_cert_chain(Home.home / "tls.crt", Home.home / "tls.key")
        theirs.set_alpn_protocols(["h2"])
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            with theirs.wrap_socket(listener.accept()[0], server_side=True) as sock:
                comes = sock.makefile("rb")
                self.assertEqual(comes.read(len(http2.PREFACE)), http2.PREFACE)
                sock.sendall(http2.frame(http2.SETTINGS, 0, 0, b""))

                def stream_of():
                    while head := comes.read(9):
                        comes.read(int.from_bytes(head[:3], "big"))
                        if head[3] in (http2.HEADERS, http2.DATA) and head[4] & http2.END_STREAM:
                            return int.from_bytes(head[5:], "big")
                    return None

                script(lambda *words: sock.sendall(http2.frame(*words)), stream_of)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(listener.close)
        self.addCleanup(thread.join, 10)
        return http2.Connection("localhost", listener.getsockname()[1], ssl.create_default_context(cafile=Home.home / "trusted.pem"), 10)

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def asked(self, connection, body=b""):
        try:
            return connection.request("PUT" if body else "GET", "h", "/p", {"x-a": "b" * 300}, body).status
        except wire.Broken as error:
            return type(error).__name__

    OK, GONE = bytes([0x80 | 8]), (0x80 | 13).to_bytes(1, "big")

    def test_requests_are_answered_in_any_order_and_bodies_are_whole(self):
        def script(send, stream_of):
            first, second = stream_of(), stream_of()
            send(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, second, self.GONE)
            send(http2.HEADERS, http2.END_HEADERS, first, b"\x20" + self.OK)
            send(http2.DATA, 0, first, b"one, ")
            send(http2.DATA, http2.END_STREAM, first, b"two")
            stream_of()  # until it hangs up

        connection = self.served(script)
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            first = threads.submit(connection.request, "GET", "h", "/a", {})
            while connection.next < 3:
                time.sleep(0.01)
            second = threads.submit(connection.request, "PUT", "h", "/b", {}, b"x" * 40_000)
            self.assertEqual((first.result(10).status, first.result().body, second.result(10).status), (200, b"one, two", 404))
        self.assertEqual(connection.together, 2)
        connection.close()

    def test_what_a_goaway_leaves_out_was_not_begun_and_what_it_includes_without_an_answer_is_lost(self):
        def script(send, stream_of):
            stream_of(), stream_of()
            send(http2.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4))

        connection = self.served(script)
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            first = threads.submit(self.asked, connection)
            while connection.next < 3:
                time.sleep(0.01)
            self.assertEqual(threads.submit(self.asked, connection).result(10), "NotBegun")
            self.assertEqual(first.result(10), "Lost")
        self.assertEqual((connection.usable(), connection.goaways, self.asked(connection)), (False, 1, "Gone"))

    def test_a_stream_that_is_refused_was_not_begun_and_one_that_is_reset_is_lost(self):
        for code, said in ((http2.REFUSED_STREAM, "NotBegun"), (2, "Lost"), (0, "Lost")):
            connection = self.served(lambda send, stream_of, code=code: send(http2.RST_STREAM, 0, stream_of(), code.to_bytes(4, "big")))
            self.assertEqual(self.asked(connection), said)

    def test_an_answer_without_its_end_and_one_without_a_status_are_lost(self):
        def cut(send, stream_of):
            number = stream_of()
            send(http2.HEADERS, http2.END_HEADERS, number, self.OK)
            send(http2.DATA, 0, number, b"half")

        self.assertEqual(self.asked(self.served(cut)), "Lost")
        self.assertEqual(self.asked(self.served(lambda send, stream_of: send(http2.HEADERS, 5, stream_of(), b""))), "Lost")

    def test_where_nobody_listens_nothing_was_asked(self):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            with self.assertRaises(http2.Gone):
                http2.Connection("127.0.0.1", closed.getsockname()[1], ssl.create_default_context())

    def test_a_status_is_read_in_every_form_that_it_may_have(self):
        # RFC 7541, C.6.1 and C.5.1: 302 with and without the code of Huffman.
        for block, status in (("4882 6402", 302), ("4803 333032", 302), ("88", 200), ("8d", 404), ("20 88", 200), ("3f e11f 88", 200), ("08 83 6c0cff", 503),
                              ("0803 353033", 503), ("1803 343132", 412), ("7686", None), ("", None)):
            try:
                self.assertEqual(http2.status_of(bytes.fromhex(block.replace(" ", ""))), status, block)
            except ValueError:
                self.assertIsNone(status, block)

    def test_numbers_are_written_as_they_are_read(self):
        for number in (0, 1, 126, 127, 128, 255, 256, 1_337, 16_383, 100_000):
            self.assertEqual(http2.whole(http2.integer(number, 7, 0), 0, 7)[0], number)
        self.assertEqual(http2.integer(1_337, 5, 0), bytes([31, 154, 10]))  # C.1.2


class Signing(unittest.TestCase):
    def test_the_header_signature_is_that_of_the_published_example(self):
        # "GET Object" of the Signature Version 4 documentation for S3.
        client = wire.Client("http://examplebucket.s3.amazonaws.com", "us-east-1", "AKIAIOSFODNN7EXAMPLE",
                             "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
        head = {"host": "examplebucket.s3.amazonaws.com", "range": "bytes=0-9", "x-amz-content-sha256": wire.EMPTY_SHA256,
                "x-amz-date": "20130524T000000Z"}
        signature = wire.Signer(client, "us-east-1", "20130524T000000Z").headers("GET", "/test.txt", {}, head, wire.EMPTY_SHA256)
        self.assertEqual(signature, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")

    def test_the_chunk_signatures_are_those_of_the_published_example(self):
        client = wire.Client("http://s3.amazonaws.com", "us-east-1", "AKIAIOSFODNN7EXAMPLE",
                             "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
        signer = wire.Signer(client, "us-east-1", "20130524T000000Z")
        seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
        first = signer.chunk(seed, b"a" * 65_536)
        self.assertEqual(first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648")
        second = signer.chunk(first, b"a" * 1_024)
        self.assertEqual(second, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497")
        self.assertEqual(signer.chunk(second, b""), "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")

    def test_checksums_are_those_of_their_check_values(self):
        for algorithm, wanted in (("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")):
            self.assertEqual(base64.b64decode(wire.checksum(algorithm, b"123456789")).hex(), wanted)


class Stepping(unittest.TestCase):
    """The scripts' step runner: a failed command inside a step is a failed run."""

    def steps(self, body):
        script = f'set -euo pipefail; . tests/steps.sh; {body}; run_steps "a b"'
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout.strip().splitlines()[-1]

    def test_a_command_that_fails_in_the_middle_of_a_step_fails_the_run(self):
        self.assertEqual(self.steps("step_a() { false; true; }; step_b() { true; }"), (1, "1 passed, 1 failed"))
        self.assertEqual(self.steps("step_a() { false | cat; true; }; step_b() { true; }"), (1, "1 passed, 1 failed"))

    def test_counts_of_runners_are_added_up(self):
        said = "echo '     Summary [ 1s] 5 tests run: 4 passed (1 slow), 1 failed, 0 skipped'; false"
        self.assertEqual(self.steps(f"step_a() {{ {said}; }}; step_b() {{ echo '7 passed, 0 failed'; }}"), (1, "11 passed, 1 failed"))
        self.assertEqual(self.steps("step_a() { :; }; step_b() { echo 'test result: ok. 3 passed; 0 failed;'; }"), (0, "4 passed, 0 failed"))

    def test_a_fatal_step_ends_the_run(self):
        self.assertEqual(self.steps("STEPS_FATAL=a; step_a() { false; }; step_b() { echo never; }"), (1, "0 passed, 1 failed"))


class Sabotaging(unittest.TestCase):
    """The list of sabotages fits the source, and its check can tell when it does not."""

    def test_every_sabotage_fits_the_source_and_names_a_test_that_exists(self):
        done = subprocess.run([sys.executable, ROOT / "tests/sabotage/run.py", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_an_entry_that_proves_nothing_is_found(self):
        runner = load(ROOT / "tests/sabotage/run.py")
        good = {"name": "n", "why": "w", "file": "a.rs", "search": "one", "replace": "two", "test": "lib tests::named"}
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "src").mkdir()
            (root / "src/x.rs").write_text("fn named() {}")
            (root / "a.rs").write_text("one")
            self.assertEqual(list(runner.problems(good, root)), [])
            for bad in ({"search": "absent"}, {"file": "b.rs"}, {"replace": "one"}, {"test": "lib tests::other"}, {"test": "odd x"}, {"extra": 1}):
                self.assertEqual(len(list(runner.problems({**good, **bad}, root))), 1, bad)
            (root / "a.rs").write_text("one one")
            self.assertEqual(len(list(runner.problems(good, root))), 1, "a line that stands twice")


def load(path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("sabotage_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class AgainstARealStore(unittest.TestCase):
    def test_the_cases_pass_where_they_should_and_fail_where_they_must(self):
        names = ["a_few_hundred", "presigned", "overwriting", "requests_that_are_not", "of_sixteen"]
        done = subprocess.run([sys.executable, HERE / "run.py", "--against", "seaweedfs", *names], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(done.stdout.strip().endswith(f"{len(names)} passed, 0 failed, 0 skipped"), done.stdout)


if __name__ == "__main__":
    ran = unittest.main(exit=False, verbosity=1).result
    failed = len(ran.failures) + len(ran.errors)
    print(f"{ran.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
