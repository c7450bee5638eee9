"""Data capture: requests and answers on their way to S3.

The event loop only keeps them; a thread of its own writes all that have come together every few
seconds, as one file for each endpoint, variant and hour.
"""

import base64
import json
import sys
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple

from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.hosting.clock import Clock
from sagemaker_emulator.hosting.responses import PREFIX
from sagemaker_emulator.jobs.s3_files import bucket_and_key

WRITE_SECONDS = 120  # on AWS, between two files
MAX_CAPTURES = 5000  # this many, or bytes in their bodies, are written without waiting
MAX_CAPTURED_BYTES = 32 * 2**20


class Capture(NamedTuple):
    """One request and its answer."""

    config: Document  # DataCaptureConfig
    endpoint: str
    variant: str
    moment: float  # seconds since 1970
    headers: dict[str, str]
    body: bytes
    answered: dict[str, str]  # the headers of the answer
    content: bytes


class DataCapture:
    def __init__(self, write_object: Callable[[str, str, bytes], None], clock: Clock) -> None:
        self.write_object = write_object
        self.clock = clock
        self.captures: list[Capture] = []
        self.size = 0  # of their bodies
        self.lock = threading.Lock()
        self.writing = threading.Lock()
        self.full = threading.Event()

    def add(self, capture: Capture) -> None:
        """Keep a capture until the next file is written; called on the event loop."""
        with self.lock:
            self.captures.append(capture)
            self.size += len(capture.body) + len(capture.content)
        if len(self.captures) >= MAX_CAPTURES or self.size >= MAX_CAPTURED_BYTES:
            self.full.set()

    def run(self) -> None:
        while True:
            self.clock.wait(self.full, self.clock.seconds(WRITE_SECONDS))
            self.full.clear()
            self.flush()

    def flush(self) -> None:
        """Write all that was kept."""
        with self.writing:
            with self.lock:
                captures, self.captures, self.size = self.captures, [], 0
            files = defaultdict(list)
            for capture in captures:
                files[_folder(capture)].append(capture)
            for folder, group in files.items():
                self._write(folder, group)

    def _write(self, folder: str, captures: list[Capture]) -> None:
        first = datetime.fromtimestamp(captures[0].moment, timezone.utc)
        name = f"{first:%M-%S}-{first.microsecond // 1000:03}-{uuid.uuid4()}.jsonl"
        lines = "".join(json.dumps(_record(capture)) + "\n" for capture in captures)
        try:
            self.write_object(*bucket_and_key(f"{folder}/{name}"), lines.encode())
        except Exception as error:
            print(f"cannot write captured data: {error}", file=sys.stderr, flush=True)


def _folder(capture: Capture) -> str:
    hour = datetime.fromtimestamp(capture.moment, timezone.utc).strftime("%Y/%m/%d/%H")
    root = capture.config["DestinationS3Uri"].rstrip("/")
    return f"{root}/{capture.endpoint}/{capture.variant}/{hour}"


def _record(capture: Capture) -> Document:
    """Return a capture as a line of the file."""
    config, headers = capture.config, capture.headers
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    data = {}
    if modes & {"Input", "InputAndOutput"}:
        kind = headers.get("content-type")
        data["endpointInput"] = _payload(config, "INPUT", kind, capture.body)
    if modes & {"Output", "InputAndOutput"}:
        kind = capture.answered.get("content-type")
        data["endpointOutput"] = _payload(config, "OUTPUT", kind, capture.content)
    about: Document = {"eventId": str(uuid.uuid4())}
    if attributes := headers.get(f"{PREFIX}custom-attributes"):
        about["customAttributes"] = [attributes]
    if inference := headers.get(f"{PREFIX}inference-id"):
        about["inferenceId"] = inference
    moment = datetime.fromtimestamp(capture.moment, timezone.utc)
    about["inferenceTime"] = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    return {"captureData": data, "eventMetadata": about, "eventVersion": "0"}


def _payload(config: Document, mode: str, content_type: str | None, data: bytes) -> Document:
    kinds = config.get("CaptureContentTypeHeader") or {}
    kind = (content_type or "").partition(";")[0].strip().lower()
    encoding = "BASE64"
    if kind in kinds.get("CsvContentTypes", ()):
        encoding = "CSV"
    elif kind in kinds.get("JsonContentTypes", ()):
        encoding = "JSON"
    try:
        text = base64.b64encode(data).decode() if encoding == "BASE64" else data.decode()
    except UnicodeDecodeError:
        encoding, text = "BASE64", base64.b64encode(data).decode()
    return {"observedContentType": content_type, "mode": mode, "data": text, "encoding": encoding}
