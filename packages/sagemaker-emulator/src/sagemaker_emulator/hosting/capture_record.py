"""One request and its answer as a line of a capture file, in SageMaker's layout.

    {"captureData": {"endpointInput": PAYLOAD, "endpointOutput": PAYLOAD},
     "eventMetadata": {"eventId": ..., "customAttributes": [...], "inferenceId": ...,
                       "inferenceTime": ...}, "eventVersion": "0"}
    PAYLOAD: {"observedContentType": ..., "mode": "INPUT", "data": ..., "encoding": "CSV"}

A line is put together from bytes, because this happens on the event loop for each request: what
stays the same from one to the next is encoded once, and a payload is not decoded unless it has to
be. The bytes are those that json.dumps would give.
"""

import json
import time
from binascii import b2a_base64
from functools import lru_cache
from typing import NamedTuple

from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.hosting.responses import PREFIX

# The characters that are the same in JSON, and "\n", which is replaced alone.
PLAIN = bytes(code for code in range(32, 127) if code not in b'"\\') + b"\n"
BASE64_TAIL = b'", "encoding": "BASE64"}'


class Exchange(NamedTuple):
    """A request to an endpoint, and the model's answer; names of headers are in lower case."""

    headers: dict[str, str]
    body: bytes
    answered: dict[str, str]
    content: bytes


class PayloadForm(NamedTuple):
    """How payloads of one mode and content type are written: data goes between head and tail."""

    head: bytes
    encoded: bool  # as base64
    tail: bytes


class CaptureFormat:
    """What a DataCaptureConfig says about each record."""

    def __init__(self, config: Document) -> None:
        modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
        self.takes_input = bool(modes & {"Input", "InputAndOutput"})
        self.takes_output = bool(modes & {"Output", "InputAndOutput"})
        self.destination = str(config["DestinationS3Uri"]).rstrip("/")
        self.share = config["InitialSamplingPercentage"] / 100
        named = config.get("CaptureContentTypeHeader") or {}
        self._encodings = dict.fromkeys(named.get("JsonContentTypes") or (), "JSON")
        self._encodings |= dict.fromkeys(named.get("CsvContentTypes") or (), "CSV")
        self._form = lru_cache(64)(self._new_form)  # bounded: a client may send any content type

    def line(self, exchange: Exchange, moment: float, event: bytes) -> bytes:
        """Return the record with the identifier `event`; `moment` is in seconds since 1970."""
        headers, body, answered, content = exchange
        pieces = [b'{"captureData": {']
        if self.takes_input:
            pieces.append(b'"endpointInput": ')
            pieces += self._payload("INPUT", headers.get("content-type"), body)
        if self.takes_output:
            pieces.append(b', "endpointOutput": ' if self.takes_input else b'"endpointOutput": ')
            pieces += self._payload("OUTPUT", answered.get("content-type"), content)
        pieces += b'}, "eventMetadata": {"eventId": "', event, b'", '
        if attributes := headers.get(f"{PREFIX}custom-attributes"):
            pieces.append(f'"customAttributes": [{json.dumps(attributes)}], '.encode())
        if inference := headers.get(f"{PREFIX}inference-id"):
            pieces.append(f'"inferenceId": {json.dumps(inference)}, '.encode())
        pieces.append(_end(int(moment)))
        return b"".join(pieces)

    def _payload(
        self, mode: str, content_type: str | None, data: bytes
    ) -> tuple[bytes, bytes, bytes]:
        head, encoded, tail = self._form(mode, content_type)
        if encoded:
            return head, b2a_base64(data, newline=False), tail
        if not data.translate(None, PLAIN):
            return head, data.replace(b"\n", b"\\n"), tail
        try:
            return head, json.dumps(data.decode())[1:-1].encode(), tail
        except UnicodeDecodeError:
            return head, b2a_base64(data, newline=False), BASE64_TAIL

    def _new_form(self, mode: str, content_type: str | None) -> PayloadForm:
        kind = (content_type or "").partition(";")[0].strip().lower()
        encoding = self._encodings.get(kind, "BASE64")
        observed = json.dumps(content_type)
        head = f'{{"observedContentType": {observed}, "mode": "{mode}", "data": "'.encode()
        return PayloadForm(head, encoding == "BASE64", f'", "encoding": "{encoding}"}}'.encode())


@lru_cache(1)
def _end(second: int) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
    return f'"inferenceTime": "{stamp}"}}, "eventVersion": "0"}}\n'.encode()


def capture_format(config: Document | None) -> CaptureFormat | None:
    """Return the format of an endpoint's captures; None where nothing is captured."""
    return CaptureFormat(config) if config and config.get("EnableCapture", True) else None
