"""Everything that must survive: one SQLite file.

`resources` holds SageMaker's resources as JSON documents, identified by their ARN. `journal` holds
the requests that restore the state of the other services when they are repeated in their order
(journal.py). Every write is one transaction in a write-ahead log, so the process may be killed at
any moment. A file that cannot be read is refused and never replaced by an empty one.
"""

import contextlib
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from sagemaker_emulator.api.documents import Document, Json
from sagemaker_emulator.api.request import Request
from sagemaker_emulator.errors import AlreadyExists, LocalError

VERSION = 1
SCHEMA = """
CREATE TABLE resources (
    arn TEXT PRIMARY KEY, kind TEXT NOT NULL, created REAL NOT NULL, document TEXT NOT NULL);
CREATE INDEX resources_by_kind ON resources (kind, created);
CREATE TABLE journal (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, written REAL NOT NULL,
    service TEXT NOT NULL, region TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    headers TEXT NOT NULL, body BLOB NOT NULL);
"""

Rows: TypeAlias = list[Any]
Documents: TypeAlias = list[Document]


class Recorded(NamedTuple):
    """A row of the journal."""

    written: float  # time of the write, in seconds since 1970
    service: str
    region: str
    method: str
    path: str
    headers: str  # JSON
    body: bytes

    def request(self) -> Request:
        """Return the request that was recorded; raise ValueError if the row is damaged."""
        headers = json.loads(self.headers)
        return Request(self.service, self.region, self.method, self.path, headers, self.body)


class Store:
    """The state file; hold `lock` to make several calls atomic."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        try:
            self.database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            version = self.database.execute("PRAGMA user_version").fetchone()[0]
            if version <= VERSION:
                self.database.execute("PRAGMA journal_mode = WAL")
                self.database.execute("PRAGMA synchronous = NORMAL")
                if version == 0:
                    script = f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"
                    self.database.executescript(script)
                self.database.execute("SELECT 1 FROM resources, journal LIMIT 1")
        except sqlite3.DatabaseError as error:
            raise LocalError(
                f"cannot read the state file {path}: {error}. "
                "Move it away to keep it, or run 'sagemaker-local reset' to start empty."
            ) from None
        if version > VERSION:
            raise LocalError(
                f"the state file {path} has version {version}, this sagemaker_emulator reads up to "
                f"{VERSION}. Update the project, or run 'sagemaker-local reset' to start empty."
            )

    def close(self) -> None:
        with self.lock:
            self.database.close()

    def _run(self, statement: str, *values: Any) -> Rows:
        """Return the rows of a statement; end the process if the disk cannot be written."""
        with self.lock:
            try:
                return self.database.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                # Better no server than one that reports success for what it could not store.
                with contextlib.suppress(OSError):  # the log may be on the same full disk
                    print(f"cannot write {self.path}: {error}", file=sys.stderr, flush=True)
                os._exit(1)

    # Resources

    def insert(self, kind: str, arn: str, document: Document) -> None:
        """Store a new resource; raise AlreadyExists if the ARN is in use."""
        try:
            self._run(
                "INSERT INTO resources VALUES (?, ?, ?, ?)",
                *(arn, kind, document["CreationTime"], json.dumps(document)),
            )
        except sqlite3.IntegrityError:
            raise AlreadyExists(arn) from None

    def get(self, arn: str) -> Document | None:
        rows = self._run("SELECT document FROM resources WHERE arn = ?", arn)
        if not rows:
            return None
        document: Document = json.loads(rows[0][0])
        return document

    def update(self, arn: str, **changes: Json) -> Document | None:
        """Set members of a document (None removes one) and return it; None where it is missing."""
        with self.lock:
            document = self.get(arn)
            if document is None:
                return None
            document = {k: v for k, v in (document | changes).items() if v is not None}
            text = json.dumps(document)
            self._run("UPDATE resources SET document = ? WHERE arn = ?", text, arn)
            return document

    def delete(self, arn: str) -> None:
        self._run("DELETE FROM resources WHERE arn = ?", arn)

    def list(self, kind: str, below: str = "") -> Documents:
        """Return the documents of a kind whose ARN starts with `below`, oldest first."""
        rows = self._run(
            "SELECT document FROM resources WHERE kind = ? AND substr(arn, 1, ?) = ?"
            " ORDER BY created, rowid",
            *(kind, len(below), below),
        )
        return [json.loads(row[0]) for row in rows]

    # Journal

    def record(self, key: str | None, written: float, request: Request, once: bool = False) -> None:
        """Append a request and drop those whose key starts with `key`, in one transaction.

        With `once`, do nothing if the journal has a request with exactly this key.
        """
        with self.lock, self.database:
            self._run("BEGIN")
            if key and not once:
                self._drop(key)
            self._run(
                "INSERT INTO journal (key, written, service, region, method, path, headers, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                *(key, written, request.service, request.region, request.method, request.path),
                *(json.dumps(request.headers), request.body),
            )

    def forget(self, *prefixes: str) -> None:
        """Drop the requests whose key starts with one of these."""
        with self.lock, self.database:
            self._run("BEGIN")
            for prefix in prefixes:
                self._drop(prefix)

    def _drop(self, prefix: str) -> None:
        self._run("DELETE FROM journal WHERE substr(key, 1, ?) = ?", len(prefix), prefix)

    def journal(self) -> Iterator[Recorded]:
        """Yield all recorded requests in their order."""
        numbers = [row[0] for row in self._run("SELECT number FROM journal ORDER BY number")]
        for number in numbers:  # one at a time: bodies may be large
            columns = ", ".join(Recorded._fields)
            for row in self._run(f"SELECT {columns} FROM journal WHERE number = ?", number):
                yield Recorded(*row)
