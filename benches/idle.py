#!/usr/bin/env python3
"""What an idle connection costs in memory, and how long a warm start takes: `idle.py BINARY [--connections N] [--out FILE]`.

Connections are opened in clear and over TLS to `terroir serve` on loopback, each makes one request and is kept. Memory is the
process's resident set (VmRSS), read after the connections are open and quiet, less before; the kernel's socket buffers are not
in it. Start-up is from exec until `/ready` says 200, on state that was used before. Raw JSON with load and commit.
"""

import argparse
import json
import os
import pathlib
import socket
import ssl
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "real"))
STARTS = 9


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--out")
    wanted = parser.parse_args()
    os.environ["TERROIR_BIN"] = wanted.binary
    import servers
    from cases_process import Secure

    figures = {"connections": wanted.connections, "load": os.getloadavg(), "commit": commit(), "binary": wanted.binary}
    with servers.Scratch() as folder:
        with Secure(folder / "idle", "header-read-ms-max = 120000\nreload-check-ms = 3600000") as server:
            starts = []
            for _ in range(STARTS + 1):
                begun = time.monotonic()
                server.child = subprocess.Popen([server.binary, "serve", "--config", server.config, "--region", "fr"],
                                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                while not ready(server):
                    assert server.child.poll() is None
                starts.append((time.monotonic() - begun) * 1000)
                server.child.terminate()
                server.child.wait(60)
            figures["start_ms"] = {"cold": starts[0], "warm": starts[1:], "warm_median": statistics.median(starts[1:])}
            for name, tls in (("http", False), ("tls", True)):
                # In clear the observe listener stands in: it is the same server, and takes 256.
                port, count = (server.base, wanted.connections) if tls else (server.base + 2, min(wanted.connections, 240))
                server.start()
                context = ssl.create_default_context(cafile=server.home / "trusted.pem") if tls else None
                warm = [connect(port, context) for _ in range(50 if tls else 10)]
                for one in warm:
                    one.close()
                time.sleep(2)
                before = resident_kib(server.child.pid)
                kept = [connect(port, context) for _ in range(count)]
                time.sleep(2)
                after = resident_kib(server.child.pid)
                figures[f"idle_{name}_kib_each"] = (after - before) / count
                figures[f"idle_{name}_raw"] = {"before_kib": before, "after_kib": after, "connections": count}
                for one in kept:
                    one.close()
                server.child.kill()
                server.child.wait()
    text = json.dumps(figures, indent=1)
    print(text)
    if wanted.out:
        pathlib.Path(wanted.out).write_text(text + "\n")


def ready(server):
    try:
        with socket.create_connection(("127.0.0.1", server.base + 2), 1) as probe:
            probe.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return probe.recv(12) == b"HTTP/1.1 200"
    except OSError:
        time.sleep(0.001)
        return False


def connect(port, context):
    """A connection that has made one request, and stays."""
    made = socket.create_connection(("127.0.0.1", port), 30)
    if context:
        made = context.wrap_socket(made, server_hostname="localhost")
    made.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        head += made.recv(65_536)
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    rest = length - len(head.split(b"\r\n\r\n", 1)[1])
    while rest > 0:
        rest -= len(made.recv(rest))
    return made


def resident_kib(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def commit():
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
