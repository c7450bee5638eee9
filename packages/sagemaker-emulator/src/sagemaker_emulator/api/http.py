"""HTTP/1.1 on asyncio: the server's side of a connection, and a client for the model's workers.

A handler is called with (method, target, headers, body) and answers with a response, or `Later`
with one; a response is anything with `status`, `headers` (pairs) and `body`. Requests that a
client sends without waiting are answered in their order, one at a time. Two answers are more than
a response: `Held` keeps the connection for as long as its client does, `Cut` breaks it off.

It is made for many small requests, where nearly all time goes into system calls and turns of the
loop: all read into one buffer, callbacks take no extra turn as a Future's do, and what there is
to write for one connection is written together.

Nothing of this package is imported here: the process of a model (_serve.py) loads this file too.
"""

import asyncio
import contextlib
import functools
import socket
import struct
import threading
import time
import traceback
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from itertools import chain
from typing import Any, NamedTuple

import httptools

MAX_WAITING = 16  # requests read ahead of the answer that a connection is busy with
TOGETHER_SECONDS = 0.001  # no answer waits longer for the next one, to be written with it
BUFFER_BYTES = 256 * 1024
MAX_HEAD = 64 * 1024
FLEETING = ("connection", "transfer-encoding", "keep-alive", "content-length", "date", "server")
BODILESS = (204, 304)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Plain(NamedTuple):
    status: int
    headers: list = []
    body: bytes = b""


TOO_LARGE = Plain(431)
NO_PATH = Plain(400, body=b"a request is for a path, such as /bucket/key\n")


class Held(NamedTuple):
    """The connection serves for nothing else any more: `left` is called when its client goes.

    It says whether the connection is to stay open all the same, until this process ends.
    """

    response: Any
    left: Any


class Cut(NamedTuple):
    """The answer up to half its body, or nothing of it, and then the end of the connection."""

    response: Any = None


class Later:
    """An answer to come: `then` is called with it."""

    answer = then = None

    def give(self, answer):
        self.answer = answer
        if self.then:
            self.then(answer)


class Reader(asyncio.BufferedProtocol):
    """What both sides of a connection have in common."""

    transport = None
    buffers = threading.local()  # one for a loop: what is read is parsed, and so copied, at once

    def connection_made(self, transport):
        self.transport = transport
        if not hasattr(self.buffers, "it"):
            self.buffers.it = memoryview(bytearray(BUFFER_BYTES))
        self.buffer = self.buffers.it

    def get_buffer(self, size):
        return self.buffer

    def buffer_updated(self, size):
        self.data_received(self.buffer[:size])


class Connection(Reader):
    """`refusal` is asked with (method, target, headers, size of the body so far), at first 0.

    What it gives is the answer, and of the body nothing more is kept.
    """

    def __init__(self, handler, refusal=lambda *_: None):
        self.handler = handler
        self.refusal = refusal
        self.parser = httptools.HttpRequestParser(self)
        self.requests = deque()
        self.answers = []  # to be written
        self.busy = False  # with a request whose answer comes later
        self.full = False  # of answers that the client does not read
        self.last = False  # no request comes after those that wait
        self.loose = 0  # bytes since the last that belonged to a body or ended a head
        self.left = None  # see Held

    # The transport's side

    def data_received(self, data):
        if self.last or self.left:
            return
        self.loose += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # CONNECT, or an upgrade that is not made
            self.last = True
        except httptools.HttpParserError as error:
            self._end(Plain(400, body=f"not HTTP: {error}\n".encode()))
        else:
            if self.loose > MAX_HEAD:
                self._end(TOO_LARGE)
        self._go_on()

    def _end(self, answer):
        if not self.last:
            self.last = True
            self.requests.append(("GET", None, None, answer, False))

    def eof_received(self):
        if self.left:
            return self._leave()
        self.last = True
        return self.busy or bool(self.requests)

    def connection_lost(self, error):
        self.requests.clear()
        self.parser = self.chunks = None  # the parser knows us: a circle that would stay a while
        self._leave()

    def pause_writing(self):
        self.full = True

    def resume_writing(self):
        self.full = False
        self._go_on()

    def _leave(self):
        left, self.left = self.left, None
        return bool(left and left())

    # The parser's side

    def on_message_begin(self):
        self.target, self.headers, self.chunks, self.in_body = b"", {}, [], False
        self.size = 0

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        if not self.in_body:  # what trails a chunked body is not for us
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self):
        read, self.in_body, self.loose = self.loose, True, 0
        method, target = self.parser.get_method().decode(), self.target.decode("latin-1")
        self.request = (method, target, self.headers)
        self.refused = self.refusal(*self.request, 0)
        if read > MAX_HEAD and sum(map(len, (target, *chain(*self.headers.items())))) > MAX_HEAD:
            self.refused = TOO_LARGE
        elif not self.refused and not target.startswith("/"):
            self.refused = NO_PATH
        if "expect" in self.headers:  # the client sends the body when it is told to
            if self.refused:
                self._end(self.refused)
            elif not self.busy and not self.requests:
                self.transport.write(CONTINUE)

    def on_body(self, body):
        self.loose = 0
        self.size += len(body)
        self.refused = self.refused or self.refusal(*self.request, self.size)
        if self.refused:
            self.chunks = []
        else:
            self.chunks.append(body)

    def on_message_complete(self):
        self.loose = 0
        if self.last:
            return
        (method, target, headers), keep = self.request, self.parser.should_keep_alive()
        if self.refused:
            self.requests.append((method, None, None, self.refused, keep))
            return
        body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.requests.append((method, target, headers, body, keep))

    # Answers

    def _go_on(self):
        requests, written = self.requests, time.monotonic()
        while requests and not self.busy and not self.full and not self.left:
            self.method, target, headers, body, self.keep = requests.popleft()
            if target is None:
                self._send(body)
                continue
            try:
                answer = self.handler(self.method, target, headers, body)
            except Exception:
                answer = broke()
            if isinstance(answer, Later) and answer.answer is None:
                self.busy = True
                answer.then = self._answered
            else:
                answer = answer.answer if isinstance(answer, Later) else answer
                self._send(answer)
                if requests and time.monotonic() - written > TOGETHER_SECONDS:
                    self._write()
                    written = time.monotonic()
        self._write()
        if self.last and not requests and not self.busy and not self.left:
            self.transport.close()
        elif len(requests) > MAX_WAITING:
            self.transport.pause_reading()
        elif self.busy or not requests:
            self.transport.resume_reading()

    def _answered(self, answer):
        self.busy = False
        if not self.transport.is_closing():
            self._send(answer)
            self._go_on()

    def _write(self):
        if self.answers:
            answers, self.answers = self.answers, []
            self.transport.write(b"".join(answers) if len(answers) > 1 else answers[0])

    def _send(self, answer):
        if isinstance(answer, Cut):
            self._cut(answer.response)
        elif isinstance(answer, Held):
            self.answers.append(encoded(answer.response))
            self.left = answer.left
        else:
            keep = self.keep and not (self.last and not self.requests)
            self.answers.append(encoded(answer, self.method == "HEAD", keep))
            if not keep:
                self.last = True
                self.requests.clear()

    def _cut(self, response):
        self.last = True
        self.requests.clear()
        self._write()
        if response is None:
            with contextlib.suppress(OSError):
                connection = self.transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            self.transport.abort()
        else:
            whole = encoded(response)
            self.transport.write(whole[: len(whole) - (len(response.body) + 1) // 2])


def broke():
    traceback.print_exc()
    return Plain(500)


def encoded(response, head_only=False, keep=True):
    """A response as it goes over the wire."""
    body, length = response.body, None
    parts = [_status_line(response.status), _date(int(time.time()))]
    for name, value in response.headers:
        if name.lower() not in FLEETING:
            parts.append(f"{name}: {value}\r\n")
        elif head_only and name.lower() == "content-length":
            length = value
    if response.status in BODILESS:
        body = b""
    else:
        parts.append(f"Content-Length: {length or len(body)}\r\n")
    parts.append("\r\n" if keep else "Connection: close\r\n\r\n")
    head = "".join(parts).encode("latin-1", "replace")
    return head if head_only else head + body


@functools.cache
def _status_line(status):
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    return f"HTTP/1.1 {status} {phrase}\r\n"


@functools.lru_cache(1)
def _date(second):
    return f"Date: {formatdate(second, usegmt=True)}\r\n"


class Channel(Reader):
    """A client's connection: requests in, and in the same order `answered` is called.

    It gets (status, headers, body). `lost` is called when the connection has ended.
    """

    def __init__(self, answered, lost):
        self.parser = httptools.HttpResponseParser(self)
        self.answered = answered
        self.lost = lost
        self.unsent = []

    def send(self, request, at_once):
        """Write it now, or in the next turn of the loop with all that came until then."""
        if at_once:
            self.transport.write(request)
            return
        if not self.unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self.unsent.append(request)

    def _flush(self):
        unsent, self.unsent = self.unsent, []
        self.transport.write(b"".join(unsent))

    def data_received(self, data):
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def connection_lost(self, error):
        self.lost()

    def on_message_begin(self):
        self.headers, self.chunks = {}, []

    def on_header(self, name, value):
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body):
        self.chunks.append(body)

    def on_message_complete(self):
        body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.answered((self.parser.get_status_code(), self.headers, body))
