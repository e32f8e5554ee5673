"""Free loopback ports in blocks, so that two runs on one machine never collide.

A block is claimed with a lock on a file in the temporary folder for as long as the process lives. As a script, prints
the first port of a free block.
"""

import fcntl
import os
import random
import socket
import tempfile

BLOCK = 20
# Below the ephemeral range, also with the 10,000 that SeaweedFS adds for gRPC, and no block's gRPC ports are another block.
FIRST, LAST = 12_000, 22_000

_claims = []


def claim() -> int:
    """The first of BLOCK ports on which nobody listens; the block stays ours until this process ends."""
    starts = list(range(FIRST, LAST, BLOCK))
    random.SystemRandom().shuffle(starts)
    for start in starts:
        lock = open(os.path.join(tempfile.gettempdir(), f"terroir-ports-{start}.lock"), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if all(_is_free(port) for port in range(start, start + BLOCK)):
            _claims.append(lock)
            return start
        lock.close()
    raise RuntimeError("no free block of ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


if __name__ == "__main__":
    print(claim())
