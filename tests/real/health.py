"""What the observe listener of a process says while something befalls it: `/live` and `/ready`, asked again and again."""

import http.client
import threading
import time
import urllib.error
import urllib.request

ASK_EVERY_S = 0.05
# src/app/observe.rs: an answer of the index holds one second, and the index has 0.8 s for the next; a replica in trouble gets the rest.
TOLD_WITHIN_S = 10
LIVE_WITHIN_S = 2  # probes give up after one second or a few


class Watch:
    """Asks for the length of a `with`. `/live` must be 200 every time and soon; what `/ready` may say is the case's to judge, except that
    it always answers."""

    def __init__(self, base):
        """`base`: the first port of a process; its observe listener is two beyond."""
        self.url, self.halt, self.lock = f"http://127.0.0.1:{base + 2}", threading.Event(), threading.Lock()
        self.lives, self.slowest_s, self.readies, self.faults = 0, 0, [], []
        self.threads = [threading.Thread(target=self.ask, args=(each,), daemon=True) for each in (self.live, self.ready)]

    def ask(self, one):
        while not self.halt.wait(ASK_EVERY_S):
            try:
                one()
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(f"{one.__name__}: {type(error).__name__} {error}")

    def said(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def live(self):
        began = time.monotonic()
        said = self.said("/live")
        took = time.monotonic() - began
        self.lives, self.slowest_s = self.lives + 1, max(self.slowest_s, took)
        if said != (200, "live\n") or took > LIVE_WITHIN_S:
            self.faults.append(f"/live: {said} after {took:.1f} s")

    def ready(self):
        asked = time.monotonic()
        status, text = self.said("/ready")
        with self.lock:
            self.readies.append((asked, status, text))

    def until(self, status, *words, within_s=TOLD_WITHIN_S):
        """Seconds until a `/ready` that is asked from now on is of this status and its text has these words."""
        since = time.monotonic()
        while True:
            with self.lock:
                late = [one for one in self.readies if one[0] >= since]
            for asked, got, text in late:
                if got == status and all(word in text for word in words):
                    return asked - since
            assert time.monotonic() < since + within_s, f"/ready is not {status} with {words} within {within_s} s: {late[-1:]}"
            time.sleep(0.02)

    def not_ready(self):
        """The texts of every 503 so far."""
        with self.lock:
            return [text for _, status, text in self.readies if status == 503]

    def told(self):
        """After the `with`: how often each was asked."""
        return f"/live {self.lives} times 200, the slowest after {self.slowest_s * 1000:.0f} ms; /ready {len(self.readies)} times"

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.halt.set()
        for thread in self.threads:
            thread.join(30)
        if exception[0] is None:
            assert not self.faults, self.faults[:5]
            assert self.lives and self.readies, "nobody was asked"
            assert all(status in (200, 503) for _, status, _ in self.readies), self.readies
