"""A relay on loopback that counts what passes: HTTP/1.1 requests by method, and bytes each way.

Stands between the product and a store to show what an operation costs there. It changes nothing.
"""

import re
import socket
import threading

REQUEST = re.compile(rb"(GET|PUT|HEAD|DELETE|POST) [^\r\n ]+ HTTP/1\.1\r\n")


class Relay:
    def __init__(self, port):
        self.to = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.reset()
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self):
        with self.lock:
            self.requests, self.sent, self.received = {}, 0, 0

    def counts(self):
        with self.lock:
            return {"requests": dict(self.requests), "to_store_bytes": self.sent, "from_store_bytes": self.received}

    def accept(self):
        while True:
            try:
                inbound, _ = self.listener.accept()
                outbound = socket.create_connection(self.to)
            except OSError:
                return
            for sock in (inbound, outbound):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.pump, args=(inbound, outbound, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(outbound, inbound, False), daemon=True).start()

    def pump(self, source, sink, upward):
        try:
            while block := source.recv(1 << 18):
                with self.lock:
                    if upward:
                        self.sent += len(block)
                        # A request's head comes in one segment here, and sealed bodies do not look like one.
                        for method in REQUEST.findall(block):
                            name = method.decode()
                            self.requests[name] = self.requests.get(name, 0) + 1
                    else:
                        self.received += len(block)
                sink.sendall(block)
        except OSError:
            pass
        finally:
            for sock in (source, sink):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.close()
