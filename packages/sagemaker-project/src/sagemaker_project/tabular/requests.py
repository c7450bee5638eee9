"""The body of a request to records: text/csv or application/json, and nothing else.

A client's mistake is a `ClientError`, with the HTTP status and a message that says where and what.
"""

import csv
import io
import json
from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple

from sagemaker_project.tabular.cells import SPACES

MAX_BODY = 6_291_456  # bytes; SageMaker's own limit for InvokeEndpoint
MANY_CELLS = 4_000
MEDIA_TYPES = ("application/json", "text/csv")
RECORDS_ONLY = "send records only, or application/json with objects by column name"


class ClientError(Exception):
    """A request that cannot be answered: an HTTP status and the message for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Rows(NamedTuple):
    """Records of a request, as lists or dicts; in CSV every value is text."""

    records: list[Any]
    is_text: bool


class Cut(NamedTuple):
    """The cells of a CSV with rows of one width, row after row.

    `is_plain`: float() takes no cell as a number that is not one by our rule.
    """

    cells: list[str]
    width: int
    is_plain: bool

    def rows(self) -> Rows:
        cells, width = self.cells, self.width
        return Rows([cells[i : i + width] for i in range(0, len(cells), width)], True)


class Text(NamedTuple):
    """A large CSV, which is cut when the columns are known."""

    text: str

    def parsed(self) -> "Rows | Cut":
        """Return its records; raise ClientError."""
        return parsed(self.text)


def read(body: "str | bytes", content_type: str | None) -> "Rows | Cut | Text":
    """Return the records of a body.

    Raises:
        ClientError: 400, 413 or 415.
    """
    kind = media_type(content_type)
    text = body_text(body)
    if kind == "text/csv":
        return Text(text) if text.count(",") >= MANY_CELLS else parsed(text)
    return Rows(json_records(text), False)


def media_type(content_type: str | None) -> str:
    if content_type in MEDIA_TYPES:
        return content_type or ""
    kind, *parameters = (part.strip() for part in (content_type or "").lower().split(";"))
    if kind not in MEDIA_TYPES:
        found = f"not {kind!r}" if kind else "and there is none"
        raise ClientError(415, f"Content-Type must be {' or '.join(MEDIA_TYPES)}, {found}")
    for parameter in parameters:
        name, _, value = (part.strip() for part in parameter.partition("="))
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise ClientError(415, f"charset {value} is not supported; send UTF-8")
        if name == "header" and value.strip('"') == "present":
            raise ClientError(400, f"header=present is not supported; {RECORDS_ONLY}")
    return kind


def body_text(body: "str | bytes") -> str:
    size = len(body.encode()) if isinstance(body, str) and not body.isascii() else len(body)
    if size > MAX_BODY:
        raise ClientError(
            413, f"the body has {size:,} bytes, at most {MAX_BODY:,} are accepted; send fewer rows"
        )
    if isinstance(body, str):
        # The container has decoded it: invalid UTF-8 became U+FFFD, a byte order mark was kept.
        if "\ufffd" in body:
            raise ClientError(400, f"character {body.index(chr(0xFFFD))} of the body is not UTF-8")
        return body.removeprefix("\ufeff")
    try:
        return bytes(body).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClientError(400, f"byte {error.start} of the body is not UTF-8") from None


# CSV


def parsed(text: str) -> Rows | Cut:
    return cut(text) or Rows(csv_records(text), True)


def cut(text: str) -> Cut | None:
    """Return the cells of a CSV without quotes; None where csv_records must have a closer look."""
    if '"' in text or "\0" in text:
        return None
    plain = is_plain(text)
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        if "\r" in text:
            return None
    if text.endswith("\n"):
        text = text[:-1]
    if "\n" not in text:
        return Cut(text.split(","), text.count(",") + 1, plain) if text.strip(SPACES) else None
    lines = text.split("\n")
    widths = set(map(str.count, lines, repeat(",")))
    if len(widths) != 1 or not (width := widths.pop()):
        return None
    return Cut(text.replace("\n", ",").split(","), width + 1, plain)


def is_plain(text: str) -> bool:
    """Whether float() is strict: without other digits, 1_0, and separators taken as spaces."""
    return text.isascii() and not any(letter in text for letter in "_\x1c\x1d\x1e\x1f")


def csv_records(text: str) -> list[list[str]]:
    if "\0" in text:
        raise ClientError(400, f"the body is not CSV: character {text.index(chr(0))} is NUL")
    csv.field_size_limit(MAX_BODY)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        records = [record for record in reader if not _is_blank(record)]
    except csv.Error as error:
        raise ClientError(400, f"the body is not CSV: {error}") from None
    if not records:
        raise ClientError(400, "the body is empty; send one record a line")
    return records


def _is_blank(record: Sequence[str]) -> bool:
    """Whether a line is empty or has spaces only; `""` is a record, of one missing value."""
    return not record or (len(record) == 1 and record[0] != "" and not record[0].strip(SPACES))


# JSON


def json_records(text: str) -> list[Any]:
    if not text.strip():
        raise ClientError(400, "the body is empty; send a record or a list of records")
    try:
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ClientError(400, f"the body is not JSON: {error}") from None
    if isinstance(content, dict):
        content = content["instances"] if set(content) == {"instances"} else [content]
    elif isinstance(content, list) and not any(isinstance(item, list | dict) for item in content):
        content = [content] if content else []
    if not isinstance(content, list):
        raise ClientError(400, "expected a record, a list of records, or {'instances': [records]}")
    if not content:
        raise ClientError(400, "there is no record in the body")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value; send null for a missing value")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for n, name in enumerate(names) if name in names[:n])
        raise ValueError(f"an object has the name {shown(name)} twice")
    return record


def shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
