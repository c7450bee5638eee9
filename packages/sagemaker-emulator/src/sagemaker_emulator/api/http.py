"""HTTP/1.1 on asyncio: the server's side of a connection.

A handler is called with (method, target, headers, body) and returns a response, or `Later` with
one. Requests that a client sends without waiting are answered in their order, one at a time. Two
answers are more than a response: `Held` keeps the connection open for as long as its client does,
`Cut` breaks it off.

It is made for many small requests, where nearly all time goes into system calls and turns of the
loop. So all connections read into one buffer, callbacks take no extra turn as a Future's do, and
what is ready for one connection is written together. Beside uvicorn's protocol on httptools, in the
same server and at an endpoint with rows of one, it answers 1.4 times as many requests per second
over 1 and over 8 connections, and 1.3 times over 32; with rows of 100 the two are alike. `Held`,
`Cut`, and a refusal before the body is read are not part of ASGI.

Nothing of this package is imported here: the process of a model (_serve.py) loads this file too.
"""

import asyncio
import contextlib
import functools
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from email.utils import formatdate
from http import HTTPStatus
from itertools import chain
from typing import NamedTuple, Protocol, TypeAlias

import httptools

from sagemaker_emulator.errors import log_traceback

MAX_WAITING = 16  # requests read ahead of the one that is being answered
TOGETHER_SECONDS = 0.001  # an answer waits no longer to be written together with the next one
BUFFER_BYTES = 256 * 1024
MAX_HEAD = 64 * 1024
NOT_SENT = ("connection", "transfer-encoding", "keep-alive", "content-length", "date", "server")
NO_BODY = (204, 304)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Response(Protocol):
    """Any object with these three attributes."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Iterable[tuple[str, str]]: ...
    @property
    def body(self) -> bytes: ...


class Plain(NamedTuple):
    """A response of this module."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


TOO_LARGE = Plain(431)
NO_PATH = Plain(400, body=b"a request is for a path, such as /bucket/key\n")


class Held(NamedTuple):
    """A response after which the connection takes no request, and stays open.

    `client_left` is called when the client closes its side. It returns whether our side is to stay
    open all the same, until this process ends.
    """

    response: Response
    client_left: Callable[[], bool]


class Cut(NamedTuple):
    """End the connection after half of the response's body, or at once if there is no response."""

    response: Response | None = None


Answer: TypeAlias = Response | Held | Cut
Headers: TypeAlias = dict[str, str]  # names in lower case


class Later:
    """An answer to come: `on_answer` is called with it."""

    answer: Answer | None = None
    on_answer: Callable[[Answer], None] | None = None

    def set_answer(self, answer: Answer) -> None:
        """Give the answer; ignore a second one, which would be taken for the next request's."""
        if self.answer is None:
            self.answer = answer
            if self.on_answer:
                self.on_answer(answer)


Handler: TypeAlias = Callable[[str, str, Headers, bytes], Answer | Later]
# Called with (method, target, headers, size of the body so far), at first with size 0.
Refusal: TypeAlias = Callable[[str, str, Headers, int], Response | None]


class Received(NamedTuple):
    """A request as it was read; where it is refused, with the response instead of a body."""

    method: str
    target: str
    headers: Headers
    body: bytes
    keep_alive: bool
    refused: Response | None = None


class Reader(asyncio.BufferedProtocol):
    """What both sides of a connection have in common."""

    transport: asyncio.Transport
    buffers = threading.local()  # one for each loop: what is read is parsed, so copied, at once

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a socket, always
        self.transport = transport
        if not hasattr(self.buffers, "it"):
            self.buffers.it = memoryview(bytearray(BUFFER_BYTES))
        self.buffer: memoryview = self.buffers.it

    def get_buffer(self, size: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, size: int) -> None:
        self.data_received(self.buffer[:size])

    def data_received(self, data: memoryview) -> None:
        raise NotImplementedError


class Connection(Reader):
    """The server's side. If `refusal` returns a response, it is sent and the body is dropped."""

    def __init__(self, handler: Handler, refusal: Refusal = lambda *_: None) -> None:
        self.handler = handler
        self.refusal = refusal
        self.parser = httptools.HttpRequestParser(self)
        self.requests: deque[Received] = deque()
        self.answers: list[bytes] = []  # to be written
        self.busy = False  # with a request whose answer comes later
        self.full = False  # of answers that the client does not read
        self.last = False  # no request is read after those in `requests`
        self.loose = 0  # bytes read since the last head ended or body byte came: limits a head
        self.client_left: Callable[[], bool] | None = None  # see Held
        self.head_only = self.keep_alive = False  # for the answer
        # Of the request that is being read:
        self.method = self.target = ""
        self.url = b""
        self.headers: Headers = {}
        self.chunks: list[bytes] = []
        self.in_body = False
        self.size = 0
        self.refused: Response | None = None

    # The transport's side

    def data_received(self, data: memoryview) -> None:
        if self.last or self.client_left:
            return
        self.loose += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # CONNECT, or an upgrade that is not made
            self.last = True
        except httptools.HttpParserError as error:
            self._refuse_and_end(Plain(400, body=f"not HTTP: {error}\n".encode()))
        else:
            if self.loose > MAX_HEAD:
                self._refuse_and_end(TOO_LARGE)
        self._proceed()

    def _refuse_and_end(self, response: Response) -> None:
        if not self.last:
            self.last = True
            self.requests.append(Received("GET", "", {}, b"", False, response))

    def eof_received(self) -> bool:
        if self.client_left:
            return self._leave()
        self.last = True
        return self.busy or bool(self.requests)

    def connection_lost(self, error: Exception | None) -> None:
        self.requests.clear()
        self.chunks = []
        del self.parser  # it refers to this object: break the reference cycle
        self._leave()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._proceed()

    def _leave(self) -> bool:
        client_left, self.client_left = self.client_left, None
        return bool(client_left and client_left())

    # The parser's side

    def on_message_begin(self) -> None:
        self.url, self.headers, self.chunks, self.in_body = b"", {}, [], False
        self.size = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_body:  # headers after a chunked body are ignored
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        read, self.in_body, self.loose = self.loose, True, 0
        self.method, self.target = self.parser.get_method().decode(), self.url.decode("latin-1")
        self.refused = self.refusal(self.method, self.target, self.headers, 0)
        if read > MAX_HEAD and self._head_size() > MAX_HEAD:
            self.refused = TOO_LARGE
        elif not self.refused and not self.target.startswith("/"):
            self.refused = NO_PATH
        if "expect" in self.headers:  # the client waits for CONTINUE before it sends the body
            if self.refused:
                self._refuse_and_end(self.refused)
            elif not self.busy and not self.requests:
                self.transport.write(CONTINUE)

    def _head_size(self) -> int:
        return sum(map(len, (self.target, *chain(*self.headers.items()))))

    def on_body(self, body: bytes) -> None:
        self.loose = 0
        self.size += len(body)
        if not self.refused:
            self.refused = self.refusal(self.method, self.target, self.headers, self.size)
        if self.refused:
            self.chunks = []
        else:
            self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.loose = 0
        if self.last:
            return
        keep_alive = self.parser.should_keep_alive()
        if self.refused:
            request = Received(self.method, "", {}, b"", keep_alive, self.refused)
        else:
            body = joined(self.chunks)
            request = Received(self.method, self.target, self.headers, body, keep_alive)
        self.requests.append(request)

    # Answers

    def _proceed(self) -> None:
        """Answer waiting requests while the connection is free; then read on, or close it."""
        requests, written = self.requests, time.monotonic()
        while requests and not self.busy and not self.full and not self.client_left:
            self._answer(requests.popleft())
            if requests and time.monotonic() - written > TOGETHER_SECONDS:
                self._write()
                written = time.monotonic()
        self._write()
        if self.last and not requests and not self.busy and not self.client_left:
            self.transport.close()
        elif len(requests) > MAX_WAITING:
            self.transport.pause_reading()
        elif self.busy or not requests:
            self.transport.resume_reading()

    def _answer(self, request: Received) -> None:
        self.head_only, self.keep_alive = request.method == "HEAD", request.keep_alive
        answer: Answer | Later
        if request.refused:
            answer = request.refused
        else:
            try:
                answer = self.handler(*request[:4])
            except Exception as error:
                answer = internal_error(error)
        if not isinstance(answer, Later):
            self._send(answer)
        elif answer.answer is not None:
            self._send(answer.answer)
        else:
            self.busy = True
            answer.on_answer = self._answered

    def _answered(self, answer: Answer) -> None:
        self.busy = False
        if not self.transport.is_closing():
            self._send(answer)
            self._proceed()

    def _write(self) -> None:
        if self.answers:
            answers, self.answers = self.answers, []
            self.transport.write(joined(answers))

    def _send(self, answer: Answer) -> None:
        if isinstance(answer, Cut):
            self._cut(answer.response)
        elif isinstance(answer, Held):
            self.answers.append(encoded(answer.response))
            self.client_left = answer.client_left
        else:
            keep = self.keep_alive and not (self.last and not self.requests)
            self.answers.append(encoded(answer, self.head_only, keep))
            if not keep:
                self.last = True
                self.requests.clear()

    def _cut(self, response: Response | None) -> None:
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


def internal_error(error: Exception) -> Plain:
    """Log the traceback of an unexpected exception; return the response for it."""
    log_traceback(error)
    return Plain(500)


def joined(parts: list[bytes]) -> bytes:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def encoded(response: Response, head_only: bool = False, keep_alive: bool = True) -> bytes:
    """Return a response as the bytes that are sent."""
    body, length = response.body, ""
    parts = [_status_line(response.status), _date(int(time.time()))]
    for name, value in response.headers:
        if name.lower() not in NOT_SENT:
            parts.append(f"{name}: {value}\r\n")
        elif head_only and name.lower() == "content-length":
            length = value
    if response.status in NO_BODY:
        body = b""
    else:
        parts.append(f"Content-Length: {length or len(body)}\r\n")
    parts.append("\r\n" if keep_alive else "Connection: close\r\n\r\n")
    head = "".join(parts).encode("latin-1", "replace")
    return head if head_only else head + body


@functools.cache
def _status_line(status: int) -> str:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    return f"HTTP/1.1 {status} {phrase}\r\n"


@functools.lru_cache(1)
def _date(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\n"
