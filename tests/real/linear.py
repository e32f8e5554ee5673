"""Was it linearizable? A checker for histories of one key: a register that is written, deleted, read, and compared and set.

After Wing and Gong (1993) with Lowe's memoisation (2017): a depth-first search for an order of the operations that respects
real time (an operation that had its answer before another was asked stands before it) and in which every answer is right.
Two prefixes that linearised the same operations and left the same state are one. An operation whose outcome nobody knows
may have happened at any time after it was asked, or never.

The state is a number: 0 for nothing there, else which write it holds. An operation is

  kind   read | write | create (If-None-Match: *) | swap (If-Match) | delete
  value  what a write writes; what a read or a swap expects
  ok     True: success · False: the precondition failed (create, swap) · None: nobody knows
"""

import math

NOTHING = 0


class Operation:
    __slots__ = ("kind", "value", "expects", "ok", "asked", "answered", "who")

    def __init__(self, kind, asked, answered, ok, value=None, expects=None, who=None):
        self.kind, self.value, self.expects, self.ok = kind, value, expects, ok
        self.asked, self.answered, self.who = asked, (math.inf if ok is None else answered), who

    def __repr__(self):
        shown = {True: "ok", False: "refused", None: "unknown"}[self.ok]
        return f"{self.who}:{self.kind}({self.expects if self.expects is not None else ''}→{self.value}) {shown} [{self.asked}, {self.answered}]"

    def after(self, state):
        """The state after this operation, given `state` before; None if its answer cannot be right there."""
        if self.kind == "read":
            return state if self.ok is None or self.value == state else None
        if self.kind == "write":
            return self.value
        if self.kind == "delete":
            return NOTHING
        holds = state == NOTHING if self.kind == "create" else state != NOTHING and state == self.expects
        if self.ok is None:
            return self.value if holds else state
        if self.ok != holds:
            return None
        return self.value if holds else state


class TooHard(Exception):
    """More states than the search may look at: neither yes nor no."""


def check(operations, start=NOTHING, states_max=1_000_000):
    """An order that explains `operations` (a list of them), or None if there is none.

    Each change that nobody knows the outcome of doubles what there is to search. So those whose value nobody ever saw are first
    taken never to have happened, with deletes among them, then without; an order of fewer explains all.
    """
    seen = {one.value for one in operations if one.kind == "read"} | {one.expects for one in operations}
    known = [one for one in operations if one.ok is not None]
    watched = [one for one in operations if one.ok is not None or one.kind not in ("delete", "read") and one.value in seen]
    deleted = [one for one in operations if one in watched or one.kind == "delete"]
    tried = []
    for some in (known, watched, deleted):
        if len(some) < len(operations) and some not in tried:
            tried.append(some)
            try:
                if (order := search(some, start, states_max // 10)) is not None:
                    return order
            except TooHard:
                pass
    return search(operations, start, states_max)


def search(operations, start, states_max):
    # What nobody knows the answer of and changes nothing says nothing.
    todo = sorted((one for one in operations if not (one.ok is None and one.kind == "read")), key=lambda one: one.asked)
    count = len(todo)
    everything = sum(1 << place for place, one in enumerate(todo) if one.ok is not None)
    seen, looked = set(), 0
    # Depth first: (what is linearised, as bits; the state; what to try next), with the order beside it.
    stack, order = [(0, start, iter(candidates(todo, 0, count)))], []
    while stack:
        done, state, choices = stack[-1]
        if done & everything == everything:
            return order
        for place in choices:
            left = todo[place].after(state)
            if left is None:
                continue
            reached = (done | 1 << place, left)
            if reached in seen:
                continue
            looked += 1
            if looked > states_max:
                raise TooHard(f"{looked} states for {count} operations")
            seen.add(reached)
            order.append(todo[place])
            stack.append((reached[0], left, iter(candidates(todo, reached[0], count))))
            break
        else:
            stack.pop()
            if order and stack:
                order.pop()
    return None


def candidates(todo, done, count):
    """Places that may come next: not linearised, and asked before the first answer among those that are not. Answered ones first."""
    first_answer, found = math.inf, []
    lowest = ((~done) & (done + 1)).bit_length() - 1  # all before are linearised
    for place in range(lowest, count):
        one = todo[place]
        if one.asked > first_answer:
            break
        if not done >> place & 1:
            found.append(place)
            first_answer = min(first_answer, one.answered)
    found = [place for place in found if todo[place].asked <= first_answer]
    return sorted(found, key=lambda place: todo[place].answered)


def races(operations):
    """Swaps and creates that started from the same state: (state, how many won, how many lost), where more than one tried.

    A state that a write made is held once only, since no two writes write the same: of all swaps that expect it, at most one
    may have won. Of creates this cannot be said without an order; `check` says it.
    """
    by_state = {}
    for one in operations:
        if one.kind == "swap" and one.ok is not None:
            won, lost = by_state.get(one.expects, (0, 0))
            by_state[one.expects] = (won + one.ok, lost + (not one.ok))
    return [(state, won, lost) for state, (won, lost) in by_state.items() if won + lost > 1]
