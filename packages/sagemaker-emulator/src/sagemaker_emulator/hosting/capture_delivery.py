"""Capture files on their way to S3: put there, on a thread of its own, while few records come.

To put a file costs more than to write it (S3's checksums, the journal's copy), and would take that
time from the requests of a load. So under load a file waits, on disk, for at most LATEST_SECONDS. A
file is deleted once S3 has it. After a kill in between it is put again, as the same object.

A server whose state cannot be written ends (store.py). So that captured data is not what fills the
disk, a file also waits while there is little room.
"""

import contextlib
import errno
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sagemaker_emulator.errors import log
from sagemaker_emulator.hosting.clock import Clock
from sagemaker_emulator.jobs.kinds import JobError
from sagemaker_emulator.jobs.s3_files import bucket_and_key

LATEST_SECONDS = 120
IDLE_SECONDS, IDLE_RECORDS = 0.1, 20  # idle: no more records than this within this time
RETRY_SECONDS = 5
COPIES = 4  # of an object on disk for a moment: the file, moto's, SQLite's log and database
ROOM = 64 * 2**20  # bytes that are left free


class Waiting(NamedTuple):
    """A file that is done."""

    path: Path
    latest: float  # the time, on the monotonic clock, at which it is put also under load


class Delivery:
    """`put` gets bucket, key and content; `records` returns how many were captured so far."""

    def __init__(
        self, put: Callable[[str, str, bytes], None], records: Callable[[], int], clock: Clock
    ) -> None:
        self.put = put
        self.records = records
        self.clock = clock
        self.files: deque[Waiting] = deque()
        self.number = threading.Semaphore(0)  # of files that nothing has been done about
        self.putting = threading.Lock()
        self.failing: dict[Path, str] = {}  # {file that could not be put: why}

    def add(self, path: Path) -> None:
        self.files.append(Waiting(path, self.clock.monotonic() + LATEST_SECONDS))
        self.number.release()

    def run(self) -> None:
        while True:
            self.number.acquire()
            self._await_idle()
            if not self._put_first():
                self.clock.sleep(RETRY_SECONDS)
                self.number.release()

    def _await_idle(self) -> None:
        """Wait until few records come, or the oldest file has waited for long."""
        while self.files and self.clock.monotonic() < self.files[0].latest:
            before = self.records()
            self.clock.sleep(IDLE_SECONDS)
            if self.records() - before <= IDLE_RECORDS:
                return

    def close(self, seconds: float) -> None:
        """Put what waits, for so long; the next start puts the rest."""
        deadline = self.clock.monotonic() + seconds
        for _ in range(len(self.files)):
            if self.clock.monotonic() < deadline:
                self._put_first()

    def _put_first(self) -> bool:
        """Put the first file; return False if that failed and the file is now the last."""
        with self.putting:
            if not self.files:
                return True
            path = self.files[0].path
            try:
                self._put(path)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                if reason not in self.failing.values():
                    tell(f"cannot put {path} into S3: {reason}; it is kept, and tried again")
                self.failing[path] = reason
                self.files.rotate(-1)
                return False
            self.failing.pop(path, None)
            self.files.popleft()
            with contextlib.suppress(OSError):  # then it is put again at the next start
                path.unlink()
            return True

    def _put(self, path: Path) -> None:
        """Put the whole lines of a file; a kill or a full disk may have cut the last one."""
        try:
            uri, _, lines = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            tell(f"{path} is gone, and its records are lost")
            return
        whole = lines[: lines.rfind(b"\n") + 1]
        if not whole:
            return
        if shutil.disk_usage(path.parent).free < COPIES * len(whole) + ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            self.put(*bucket_and_key(uri.decode()), whole)
        except (LookupError, JobError) as error:  # it would fail forever
            number = whole.count(b"\n")
            tell(f"cannot write {uri.decode()}: {error}; its {number} records are dropped")


def tell(message: str) -> None:
    log(f"data capture: {message}")
