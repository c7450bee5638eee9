"""Everything that must survive: one SQLite file.

`resources` holds SageMaker's resources as JSON documents, identified by their ARN. `journal` holds
the requests that, given again in their order, bring moto's services back to where they were
(see neighbours.py). Every write is one transaction in a write-ahead log, so the process may be
killed at any moment. A file that cannot be read is refused and never replaced by an empty one.
"""

import contextlib
import json
import os
import sqlite3
import sys
import threading

from sagemaker_emulator.errors import LocalError

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


class AlreadyExists(Exception):
    pass


class Store:
    def __init__(self, path):
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

    def close(self):
        with self.lock:
            self.database.close()

    def _run(self, statement, *values):
        with self.lock:
            try:
                return self.database.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                # What cannot be kept must not be reported: better no server than a wrong one.
                with contextlib.suppress(OSError):  # the log may be on the same full disk
                    print(f"cannot write {self.path}: {error}", file=sys.stderr, flush=True)
                os._exit(1)

    # Resources

    def insert(self, kind, arn, document):
        try:
            self._run(
                "INSERT INTO resources VALUES (?, ?, ?, ?)",
                *(arn, kind, document["CreationTime"], json.dumps(document)),
            )
        except sqlite3.IntegrityError:
            raise AlreadyExists(arn) from None

    def get(self, arn):
        rows = self._run("SELECT document FROM resources WHERE arn = ?", arn)
        return json.loads(rows[0][0]) if rows else None

    def update(self, arn, **changes):
        """Set members of a document (None removes one) and return it; None where there is none."""
        with self.lock:
            document = self.get(arn)
            if document is None:
                return None
            document = {k: v for k, v in (document | changes).items() if v is not None}
            text = json.dumps(document)
            self._run("UPDATE resources SET document = ? WHERE arn = ?", text, arn)
            return document

    def delete(self, arn):
        self._run("DELETE FROM resources WHERE arn = ?", arn)

    def list(self, kind, below=""):
        """The documents of a kind, oldest first; `below` is the start of their ARNs."""
        rows = self._run(
            "SELECT document FROM resources WHERE kind = ? AND substr(arn, 1, ?) = ?"
            " ORDER BY created, rowid",
            *(kind, len(below), below),
        )
        return [json.loads(row[0]) for row in rows]

    # Journal

    def record(self, key, written, request, once=False):
        """Append a request in place of those whose key starts with `key`, in one transaction.

        `once`: unless there is one with this very key, which stays as it is and where it is.
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

    def forget(self, *beginnings):
        """Drop the requests whose key starts with one of these."""
        with self.lock, self.database:
            self._run("BEGIN")
            for start in beginnings:
                self._drop(start)

    def _drop(self, start):
        self._run("DELETE FROM journal WHERE substr(key, 1, ?) = ?", len(start), start)

    def journal(self):
        numbers = [row[0] for row in self._run("SELECT number FROM journal ORDER BY number")]
        for number in numbers:  # one at a time: bodies may be large
            yield from self._run(
                "SELECT written, service, region, method, path, headers, body FROM journal"
                " WHERE number = ?",
                number,
            )
