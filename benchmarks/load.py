"""A closed loop of requests: python load.py PORT CONNECTIONS SECONDS < the bytes of one request

Each connection sends the request, waits for its answer, and sends it again. Sockets and a selector
and nothing more, so that the server is what is measured: `busy` tells how much of its time this
process needed. Every latency is kept. Prints JSON; any answer but 200 ends it.
"""

import json
import re
import selectors
import socket
import sys
import time

WARM_UP_SECONDS = 0.5
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)


class Connection:
    def __init__(self, port, request):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = request
        self.answer = b""

    def ask(self):
        self.sent = time.perf_counter()
        self.socket.sendall(self.request)

    def answered(self):
        """The body, once all of it has come."""
        data = self.socket.recv(1 << 18)
        self.answer = self.answer + data if self.answer else data
        head, _, body = self.answer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not data or (length and not self.answer.startswith(b"HTTP/1.1 200")):
            sys.exit(f"load: the answer was {self.answer[:2000]!r}")
        if not length or len(body) < int(length[1]):
            return None
        self.answer = b""
        return body


def drive(selector, seconds):
    """Seconds that each request took, and the last body."""
    latencies, last = [], b""
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        for key, _ in selector.select(60) or sys.exit("load: no answer in a minute"):
            connection = key.data
            body = connection.answered()
            if body is not None:
                latencies.append(time.perf_counter() - connection.sent)
                last = body
                connection.ask()
    return latencies, last


def main():
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    request = sys.stdin.buffer.read()
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connection = Connection(port, request)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.ask()
    drive(selector, WARM_UP_SECONDS)
    started, used = time.perf_counter(), time.process_time()
    latencies, body = drive(selector, seconds)
    taken, used = time.perf_counter() - started, time.process_time() - used
    latencies.sort()
    figures = {
        "rate": len(latencies) / taken,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
        "busy": used / taken,
        "body": body.decode(),
    }
    print(json.dumps(figures))


main()
