"""Kills a process over and over, at named points and at random moments, under workers that write, and reads what is then there.

A kill at a point counts if a write was under way: asked before the first sign of the death, and never answered. A point is armed again
until it has its number of such kills. After each kill every key in doubt is read.
"""

import random
import signal
import time

from cases import note
from ledger import READS, Ledger, Worker

WORKERS = 6
NOT_REACHED_S = 6
# A process that dies goes on holding its sockets for a moment, and a request sent then was heard by nobody.
DYING_S = 0.002
NTH = 40  # a point is passed up to so often before it kills
VARIABLE = "TERROIR_FAILPOINT"


class Killing:
    """`process`: what is killed, with `start(env)`, `stop`, `kill`, `child` and `tail`. `clients()`: those who ask it, and where: `(client,
    bucket, workers, mix)`."""

    def __init__(self, process, clients, seed):
        self.process, self.clients, self.seed, self.chance = process, clients, seed, random.Random(seed)
        self.ledger, self.number = Ledger(), 0
        self.reached, self.past_start, self.flights, self.downs = {}, {}, [], []
        self.at_random = self.at_random_idle = self.missed = self.idle = self.while_starting = 0

    def run(self, points, kills, at_random):
        """`kills` at `points` by turns, and `at_random` beside them, in an order of chance."""
        todo = [points[number % len(points)] for number in range(kills)] + [None] * at_random
        self.chance.shuffle(todo)
        rounds_max = 2 * len(todo) + 10
        while todo:
            assert self.number < rounds_max, f"after {self.number} rounds not reached with a write in flight: {todo}; {self.told()}"
            point = todo.pop(0)
            if not self.round(point) and point:
                todo.append(point)
        for point in points:
            assert self.reached.get(point, 0) >= kills // len(points), self.told()
        assert sum(self.reached.values()) == kills

    def round(self, point):
        """Works until the process dies at `point` (or at a random moment, if None); starts it again; reads what is in doubt. Whether it
        counts."""
        self.number += 1
        if point:
            assert self.process.stop() == 0, self.process.tail()
            nth = self.past_start.get(point, 0) + self.chance.randrange(1, NTH)
            if not self.armed(f"{point}:{nth}"):
                self.past_start[point] = nth
                self.while_starting += 1
                self.again()
                return False
        workers = [Worker(f"{place}-{each}", client(), bucket, self.ledger, f"{self.seed}-{self.number}", mix, until_broken=True, pause_s=0)
                   for place, (client, bucket, count, mix) in enumerate(self.clients) for each in range(count)]
        for worker in workers:
            worker.start()
        if point:
            died, at_point = self.death()
        else:
            time.sleep(self.chance.uniform(0.02, 0.8))
            died, at_point = time.monotonic(), False
            self.process.kill()
        for worker in workers:
            worker.halt.set()
            worker.join(90)
            assert not worker.is_alive() and not worker.fault, worker.fault or "a worker hangs on a dead server"
        writes = writes_cut_off([worker.broke for worker in workers], died)
        counts = self.judged(point, at_point, writes)
        self.again()
        return counts

    def judged(self, point, at_point, writes):
        if not point:
            self.at_random += 1
            self.at_random_idle += not writes
        elif not at_point:
            self.missed += 1
        elif not writes:
            self.idle += 1
        else:
            self.reached[point] = self.reached.get(point, 0) + 1
            self.flights.append(writes)
            return True
        return False

    def armed(self, point):
        """Starts with a fail point; False if the process died of it while it started."""
        try:
            self.process.start({VARIABLE: point})
        except AssertionError:
            if self.process.child.poll() != -signal.SIGABRT:
                raise
            return False
        return True

    def death(self):
        """When the process was seen dead, and whether of its point."""
        deadline = time.monotonic() + NOT_REACHED_S
        while self.process.child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        died = time.monotonic()
        if self.process.child.poll() is None:
            self.process.kill()
            return died, False
        assert self.process.child.returncode == -signal.SIGABRT, self.process.tail()
        return died, True

    def again(self):
        began = time.monotonic()
        self.process.start()
        self.downs.append(time.monotonic() - began)
        for client, bucket, *_ in self.clients:
            asking = client()
            for (where, name), key in list(self.ledger.keys.items()):
                if where == bucket and len(key.possible) > 1:
                    answer = asking.get(bucket, name)
                    assert answer.status in (200, 404), f"{name} after a kill: {answer}"
                    self.ledger.judge(key, answer)
            asking.close()
        self.ledger.clean()

    def told(self):
        return (f"at points with writes in flight {sum(self.reached.values())} {dict(sorted(self.reached.items()))}, with none {self.idle}, "
                f"not reached {self.missed}, while starting {self.while_starting}, at random {self.at_random} ({self.at_random_idle} without a write)")

    def facts(self):
        """For a row and for a reader; and what each restart took at the median."""
        at = ", ".join(f"{point} {count}" for point, count in sorted(self.reached.items()))
        down = sorted(self.downs)[len(self.downs) // 2]
        note(f"{self.told()}, writes in flight {sum(self.flights)}, {self.ledger.counts['acknowledged']} acknowledged, median restart {down:.2f} s")
        return down, {"kills_at_fail_points_with_writes_in_flight": f"{sum(self.reached.values())} ({at})",
                      "writes_in_flight_at_these": f"{sum(self.flights)} ({min(self.flights)} to {max(self.flights)})",
                      "beside_them_at_random_moments": self.at_random, "at_points_with_no_write_in_flight": self.idle,
                      "while_starting": self.while_starting, "points_armed_but_not_reached": self.missed}


def writes_cut_off(broke, died):
    """How many writes were under way when the process died: asked before its first sign, and never answered. `broke`: of each worker
    (`Worker.broke`); `died`: when the process was seen dead, or at the latest alive."""
    broke = [one for one in broke if one]
    sign = min([died, *(when for _, _, when in broke)]) - DYING_S
    return sum(kind not in READS and asked < sign for kind, asked, _ in broke)
