"""Log files of jobs and endpoints, and their import into CloudWatch Logs.

A job writes to `logs/<kind>s/<job>.log`. An endpoint has one file for all of its instances, in
which each line begins with the name of its log stream. CloudWatch gets the lines that are new
whenever a client asks it for anything.
"""

import contextlib
import re
import threading
import time
from pathlib import Path
from typing import NamedTuple

from sagemaker_emulator.api import moto_services
from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.api.resources import Kind, name_of, region_of
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import AlreadyExists
from sagemaker_emulator.jobs.container import HOST
from sagemaker_emulator.jobs.kinds import PROCESSING, TRAINING

INSTANCE_LINE = re.compile(r"([^/ ]+/i-[0-9a-f]+) (.*)")  # of an endpoint's log, see _serve.py
KEPT_LOGS = "KeptLogs"  # in the store: the logs of deleted endpoints


class NewLines(NamedTuple):
    lines: list[str]
    written: int  # when the last one was, in milliseconds since 1970


class Logs:
    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._imported: dict[str, int] = {}  # {ARN: how many bytes of its log CloudWatch has}
        self._lock = threading.Lock()
        for kind in (PROCESSING, TRAINING):
            self.path(kind, "x").parent.mkdir(parents=True, exist_ok=True)

    def path(self, kind: Kind, name: str) -> Path:
        return self._folder / f"{kind.name}s" / f"{name}.log"

    def delete(self, kind: Kind, job: Document) -> None:
        with self._lock:
            self._imported.pop(job[f"{kind.name}Arn"], None)
            self.path(kind, job[f"{kind.name}Name"]).unlink(missing_ok=True)

    def keep(self, endpoint_arn: str) -> None:
        """Go on importing the log of an endpoint after the endpoint has been deleted."""
        with contextlib.suppress(AlreadyExists):
            kept = {"LogsOf": endpoint_arn, "CreationTime": time.time()}
            self._store.insert(KEPT_LOGS, f"{endpoint_arn}/logs", kept)

    def import_all(self) -> None:
        """Bring CloudWatch Logs up to date with the log files."""
        with self._lock:
            endpoints = [document["EndpointArn"] for document in self._store.list("Endpoint")]
            endpoints += [document["LogsOf"] for document in self._store.list(KEPT_LOGS)]
            for arn in dict.fromkeys(endpoints):
                self._import_endpoint(arn)
            for kind in (PROCESSING, TRAINING):
                for job in self._store.list(kind.name):
                    self._import_job(kind, job)

    def _import_job(self, kind: Kind, job: Document) -> None:
        arn, name = job[f"{kind.name}Arn"], job[f"{kind.name}Name"]
        new = self._new_lines(arn, self.path(kind, name))
        if new.lines:
            group = f"/aws/sagemaker/{kind.name}s"
            stream = f"{name}/{HOST}-{int(job['CreationTime'] * 1000)}"
            moto_services.put_log_lines(region_of(arn), group, stream, new.lines, new.written)

    def _import_endpoint(self, arn: str) -> None:
        name = name_of(arn)
        new = self._new_lines(arn, self._folder / f"Endpoints/{name}.log")
        streams: dict[str, list[str]] = {}
        for line in new.lines:
            if match := INSTANCE_LINE.fullmatch(line):
                streams.setdefault(match[1], []).append(match[2])
        group = f"/aws/sagemaker/Endpoints/{name}"
        for stream, lines in streams.items():
            moto_services.put_log_lines(region_of(arn), group, stream, lines, new.written)

    def _new_lines(self, arn: str, path: Path) -> NewLines:
        """Return the lines that CloudWatch does not have yet, without an unfinished last line."""
        start = self._imported.get(arn, 0)
        if not path.exists() or path.stat().st_size <= start:
            return NewLines([], 0)
        with open(path, "rb") as file:
            file.seek(start)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._imported[arn] = start + len(text)
        lines = text.decode(errors="replace").splitlines()
        return NewLines(lines, int(path.stat().st_mtime * 1000))


def last_words(log: str) -> str:
    """Return the exception that the last traceback ends with, else the last line of the log."""
    lines = [line for line in log.splitlines() if line.strip()]
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    if starts:
        rest = lines[starts[-1] + 1 :]
        ends = [n for n, line in enumerate(rest) if not line.startswith(" ")]
        if ends:
            return "\n".join(rest[ends[0] :])
    return lines[-1] if lines else ""
