"""The register of cases: each a named function, with what it needs and how long it may take."""

import os
import secrets
import threading

REGISTER = []


class Case:
    def __init__(self, function, needs, alone, limit_s, evidence):
        self.function, self.name = function, function.__name__
        self.needs, self.alone, self.limit_s, self.evidence = needs, alone, limit_s, evidence


def case(needs="terroir", alone=False, limit_s=300, evidence=False):
    """`needs`: "s3" runs on any S3 server given as `site`; "terroir" on the product given as `site`; "own" starts its own.
    `alone`: not beside other cases, since it measures time or loads both cores. `evidence`: gives rows of
    docs/reliability.md."""

    def register(function):
        REGISTER.append(Case(function, needs, alone, limit_s, evidence))
        return function

    return register


def fresh(word):
    """A bucket name that no other case and no other run has."""
    return f"{word}-{secrets.token_hex(5)}"


def bucket_of(client, word):
    name = fresh(word)
    answer = client.make_bucket(name)
    assert answer.status == 200, answer
    return name


_said = threading.local()


def note(text):
    """A fact worth printing beside the case's result: counts, seeds, sizes."""
    _said.notes = getattr(_said, "notes", []) + [text]


def notes():
    said, _said.notes = getattr(_said, "notes", []), []
    return said


def seed_of(name):
    """The seed of a random case: from TERROIR_SEED to repeat a run, else new; always noted."""
    seed = os.environ.get("TERROIR_SEED") or secrets.token_hex(4)
    note(f"seed {seed}")
    return f"{name}-{seed}"
