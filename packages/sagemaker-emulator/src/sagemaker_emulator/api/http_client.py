"""HTTP/1.1 on asyncio: the client's side of a connection, for the workers of models."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

import httptools

from sagemaker_emulator.api.http import Headers, Reader, joined

WholeResponse: TypeAlias = tuple[int, Headers, bytes]  # status, headers, body


class Channel(Reader):
    """A client's connection: requests are sent, and `answered` is called in the same order.

    `lost` is called when the connection has ended.
    """

    def __init__(self, answered: Callable[[WholeResponse], None], lost: Callable[[], None]) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.answered = answered
        self.lost = lost
        self.unsent: list[bytes] = []
        self.headers: Headers = {}
        self.chunks: list[bytes] = []

    def send(self, request: bytes, at_once: bool) -> None:
        """Write it now, or in the next turn of the loop with all that came until then."""
        if at_once:
            self.transport.write(request)
            return
        if not self.unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self.unsent.append(request)

    def _flush(self) -> None:
        unsent, self.unsent = self.unsent, []
        self.transport.write(b"".join(unsent))

    def data_received(self, data: memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost()

    def on_message_begin(self) -> None:
        self.headers, self.chunks = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.answered((self.parser.get_status_code(), self.headers, joined(self.chunks)))
