"""Data capture: what is captured is kept by the time that the client has its answer.

A record becomes a line of bytes on the event loop. In the loop's next turn, one write(2) for each
file appends the lines that have come together, and only then are their answers sent. (A request
that is alone does not wait for that turn.) So a record whose client has an answer is with the
kernel, and outlives a server that is killed.

A file is one S3 object to be, of one endpoint, variant and hour. It is done after CAPTURE_SECONDS
or with MAX_FILE bytes, and capture_delivery.py puts it into S3. Its first line is the object's URI.

    capture/<number>.open   is being written
    capture/<number>.done   is to be put into S3

A full disk stops no answer: records are lost for as long as it is full, and the server's log says
so.
"""

import asyncio
import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from sagemaker_emulator.errors import log_traceback
from sagemaker_emulator.hosting.capture_delivery import Delivery, tell
from sagemaker_emulator.hosting.capture_record import CaptureFormat, Exchange
from sagemaker_emulator.hosting.clock import Clock

CAPTURE_SECONDS = 120  # on AWS, between two files
MAX_FILE = 32 * 2**20
OPEN, DONE = ".open", ".done"
QUIET_SECONDS = 10  # how long writing must have worked until it counts as working again
CLOSE_SECONDS = 5

Place: TypeAlias = tuple[str, str, str, int]  # destination, endpoint, variant, hour since 1970


class Lost(Exception):
    """Records could not be written."""

    def __init__(self, records: int, reason: OSError) -> None:
        super().__init__(records, reason)
        self.records = records
        self.reason = reason


class CaptureFile:
    """A file that is being written."""

    def __init__(self, path: Path, place: Place, uri: str) -> None:
        self.path = path
        self.place = place
        self.size = 0
        self.lines: list[bytes] = []  # to be written in the loop's next turn
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            self._append(f"{uri}\n".encode())
        except Lost:
            os.close(self.descriptor)
            raise

    def write(self) -> None:
        """Append the lines; raise Lost if not all of them could be written."""
        content, self.lines = b"".join(self.lines), []
        self._append(content)

    def _append(self, content: bytes) -> None:
        while content:
            try:
                written = os.write(self.descriptor, content)
            except OSError as error:
                raise Lost(content.count(b"\n"), error) from error
            self.size += written
            content = content[written:]

    def close(self) -> Path:
        """Mark the file as done; return its new path."""
        os.close(self.descriptor)
        return self.path.rename(self.path.with_suffix(DONE))


class DataCapture:
    """`put` gets bucket, key and content. Records are added on the event loop."""

    def __init__(
        self,
        folder: Path,
        put: Callable[[str, str, bytes], None],
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
    ) -> None:
        self.folder = folder
        self.loop = loop
        self.clock = clock
        self.delivery = Delivery(put, lambda: self.records, clock)
        self.records = 0
        self.event_prefix = f"{uuid.uuid4()}"[:24].encode()  # of a UUID, before the number
        self.files: dict[Place, CaptureFile] = {}
        self.unwritten: list[CaptureFile] = []
        self.answers: list[Callable[[], None]] = []  # which wait for what is unwritten
        self.lost = 0  # records since writing failed
        self.failed = 0.0  # when it failed last
        self.number = self._recover()

    def _recover(self) -> int:
        """Deliver the files of an earlier server; return the highest number of one."""
        for path in self.folder.glob(f"[0-9]*{OPEN}"):  # of a server that was killed
            path.rename(path.with_suffix(DONE))
        done = sorted(self.folder.glob(f"[0-9]*{DONE}"), key=lambda path: int(path.stem))
        for path in done:
            self.delivery.add(path)
        return int(done[-1].stem) if done else 0

    def start(self) -> None:
        threading.Thread(target=self.delivery.run, name="capture", daemon=True).start()

    # On the event loop

    def add(
        self,
        chosen: CaptureFormat,
        endpoint: str,
        variant: str,
        exchange: Exchange,
        answer: Callable[[], None],
        at_once: bool = False,
    ) -> None:
        """Record an exchange, and call `answer` once that is written.

        It is written in the next turn of the loop with all that came in this one; or now with
        `at_once`, for a request that is the only one under way: the turn would cost more than the
        write.
        """
        moment = time.time()
        self.records += 1
        line = chosen.line(exchange, moment, b"%b%012x" % (self.event_prefix, self.records))
        place = (chosen.destination, endpoint, variant, int(moment) // 3600)
        if not at_once and not self.answers:
            self.loop.call_soon(self._flush)
        self.answers.append(answer)
        if file := self.files.get(place) or self._open(place, moment):
            if not file.lines:
                self.unwritten.append(file)
            file.lines.append(line)
        if at_once:
            self._flush()

    def _flush(self) -> None:
        """Write all lines, then give the answers, whatever happens to the lines."""
        unwritten, self.unwritten = self.unwritten, []
        answers, self.answers = self.answers, []
        try:
            for file in unwritten:
                self._write(file)
        finally:
            for answer in answers:
                try:
                    answer()
                except Exception as error:
                    log_traceback(error)

    def _write(self, file: CaptureFile) -> None:
        try:
            file.write()
        except Lost as lost:
            self._tell_lost(lost)
            self._finish(file)  # which may end in half a line: no other may follow
        else:
            if file.size >= MAX_FILE:
                self._finish(file)
            if self.lost and self.loop.time() - self.failed > QUIET_SECONDS:
                tell(f"writing works again; {self.lost} records were lost")
                self.lost = 0

    def _open(self, place: Place, moment: float) -> CaptureFile | None:
        """Begin a file; return None if that fails, and count one record as lost."""
        destination, endpoint, variant, _ = place
        self.number += 1
        at = time.strftime("%Y/%m/%d/%H/%M-%S", time.gmtime(moment))
        name = f"{at}-{int(moment % 1 * 1000):03}-{uuid.uuid4()}.jsonl"
        path = self.folder / f"{self.number}{OPEN}"
        try:
            self.folder.mkdir(exist_ok=True)
            file = CaptureFile(path, place, f"{destination}/{endpoint}/{variant}/{name}")
        except (OSError, Lost) as error:
            with contextlib.suppress(OSError):
                path.unlink()
            self._tell_lost(Lost(1, error.reason if isinstance(error, Lost) else error))
            return None
        self.files[place] = file
        self.loop.call_later(self.clock.seconds(CAPTURE_SECONDS), self._finish, file)
        return file

    def _finish(self, file: CaptureFile) -> None:
        """Leave a file to be put into S3, unless that is done already."""
        if self.files.get(file.place) is not file:
            return
        del self.files[file.place]
        self._write(file)
        try:
            self.delivery.add(file.close())
        except FileNotFoundError:
            tell(f"{file.path} is gone, and its records are lost")
        except OSError as error:
            tell(f"cannot rename {file.path}: {error}; the next start of the server delivers it")

    def _tell_lost(self, lost: Lost) -> None:
        if not self.lost:
            tell(
                f"cannot write to {self.folder}: {lost.reason.strerror}; records are lost until"
                " that works again, and requests are answered"
            )
        self.lost += lost.records
        self.failed = self.loop.time()

    # From another thread

    def close(self) -> None:
        """Finish all files and put them into S3, when the server ends."""
        finished = threading.Event()

        def finish() -> None:
            self._flush()
            for file in list(self.files.values()):
                self._finish(file)
            if self.lost:
                tell(f"{self.lost} records were lost")
            finished.set()

        if self.loop.is_running():
            self.loop.call_soon_threadsafe(finish)
            finished.wait(CLOSE_SECONDS)
        self.delivery.close(CLOSE_SECONDS)
