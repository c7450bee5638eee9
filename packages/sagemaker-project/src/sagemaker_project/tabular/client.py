"""Rows of a table as records of requests, and answers to them as arrays.

A model is judged by what its endpoint would answer: rows become the JSON or CSV that a client
sends, and predictions or probabilities come back out of the answers. In JSON a number is a number,
a boolean true or false, a date its text in the column's format, no value null. In CSV, which is
without a header, all is text, a boolean the first of its column's words, no value an empty field.

Answers: {"predictions": [...]} with a number for each record, or for classes
{"predicted_label": "yes", "probabilities": {"no": 0.17, "yes": 0.83}}; in CSV a line for each
record, `1.5` or `yes,0.17,0.83`.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import TypeAlias

import numpy as np

from sagemaker_project.tabular.schema import Field
from sagemaker_project.tabular.table import Categories, Floats, Table

__all__ = ["csv_body"]

CSV, JSON = "text/csv", "application/json"
MAX_BODY = 1024**2  # characters: at most 4 MiB as UTF-8, which is below InvokeEndpoint's limit
ROWS_AT_ONCE = 10_000
EPOCH = datetime(1970, 1, 1)
Cell: TypeAlias = "bool | int | float | str | None"
Record: TypeAlias = "list[Cell]"


class WrongAnswer(ValueError):
    """An answer that is not of the model's kind. The message says how."""


# Requests


def records(table: Table, fields: Sequence[Field]) -> list[Record]:
    """Return the rows as lists of JSON values, in the order of the fields."""
    columns = [_cells(table, field) for field in fields]
    return [list(record) for record in zip(*columns, strict=True)]


def _cells(table: Table, field: Field) -> list[Cell]:
    column = table.columns[field.name]
    if isinstance(column, Categories):
        values: list[Cell] = [value or None for value in column.values]
        return [values[code] for code in column.codes.tolist()]
    if field.type == "boolean":
        return [bool(value) if value == value else None for value in column.tolist()]
    if field.is_date:
        distinct, places = np.unique(column, return_inverse=True)
        texts = [date_text(day, field) if day == day else None for day in distinct.tolist()]
        return [texts[place] for place in places.tolist()]
    return [_number_of(value) if value == value else None for value in column.tolist()]


def _number_of(value: float) -> Cell:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def date_text(days: float, field: Field) -> str:
    """Return days since 1970-01-01 as text in the column's format, to the microsecond."""
    whole = math.floor(days)
    moment = EPOCH + timedelta(whole, microseconds=round((days - whole) * 86_400_000_000))
    if field.format:
        pattern = field.format.replace("%Y", f"{moment.year:04}")  # strftime may not pad it
        return moment.replace(tzinfo=timezone.utc).strftime(pattern)
    return moment.isoformat() if moment.time() != EPOCH.time() else moment.date().isoformat()


def csv_row(record: Record, fields: Sequence[Field]) -> list[str]:
    """Return a record as fields of CSV."""
    return [_text(cell, field) for cell, field in zip(record, fields, strict=True)]


def _text(cell: Cell, field: Field) -> str:
    if isinstance(cell, bool):
        return min(field.true_values if cell else field.false_values)
    return "" if cell is None else str(cell)


def csv_body(rows: Iterable[Sequence[object]], delimiter: str = ",") -> str:
    """Return rows as lines of CSV that end in a line feed.

    csv.writer quotes a line break only if its own line end has it; that of `_Lines` has both.
    """
    lines = _Lines()
    csv.writer(lines, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return "".join(lines)


class _Lines(list[str]):
    """What csv.writer writes, with other line ends."""

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n") + "\n")


def bodies(table: Table, fields: Sequence[Field]) -> Iterator[tuple[str, int]]:
    """Yield JSON bodies of at most MAX_BODY characters, or of one row, and their rows."""
    waiting: list[str] = []
    size = 0
    for record in _all_records(table, fields):
        text = json.dumps(record)
        if waiting and size + len(text) > MAX_BODY:
            yield f"[{','.join(waiting)}]", len(waiting)
            waiting, size = [], 0
        waiting.append(text)
        size += len(text) + 1
    if waiting:
        yield f"[{','.join(waiting)}]", len(waiting)


def _all_records(table: Table, fields: Sequence[Field]) -> Iterator[Record]:
    """Yield the rows' records; memory does not grow with the rows."""
    for start in range(0, len(table), ROWS_AT_ONCE):
        yield from records(table.take(slice(start, start + ROWS_AT_ONCE)), fields)


# Answers


def read_answer(text: str, rows: int, classes: tuple[str, ...]) -> Floats:
    """Return the predictions (rows,) of a JSON answer, or its probabilities (rows, classes).

    Raises:
        WrongAnswer: it has not the form, another number of records or other classes, or a number
            that is not finite.
    """
    predictions = predictions_of(text, JSON)
    if len(predictions) != rows:
        raise WrongAnswer(f"{len(predictions)} predictions for {rows} records")
    if classes:
        return np.array([_probabilities(one, classes) for one in predictions]).reshape(rows, -1)
    return np.array([_finite(one) for one in predictions])


def predictions_of(text: str, media_type: str) -> list[object]:
    """Return the predictions of an answer; those of CSV with several cells a line as lists.

    Raises:
        WrongAnswer: it has not the form.
    """
    if media_type == CSV:
        lines = csv.reader(io.StringIO(text, newline=""))
        return [_csv_prediction(line) for line in lines]
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    predictions = content.get("predictions") if isinstance(content, dict) else None
    if not isinstance(predictions, list):
        raise WrongAnswer(f"no list of predictions: {_shown(text)}")
    return predictions


def _csv_prediction(line: list[str]) -> object:
    try:
        numbers = [float(cell) for cell in line[1:] or line]
    except ValueError:
        raise WrongAnswer(f"no prediction: {_shown(','.join(line))}") from None
    return [line[0], *numbers] if len(line) > 1 else numbers[0] if numbers else None


def check_prediction(prediction: object, classes: tuple[str, ...]) -> None:
    """Raise WrongAnswer unless a prediction of JSON or CSV is of the model's kind."""
    if not classes:
        _finite(prediction)
    elif isinstance(prediction, list):
        label, *numbers = prediction
        if len(numbers) != len(classes):
            raise WrongAnswer(f"{len(numbers)} probabilities for {len(classes)} classes")
        _check_label(label, [_finite(number) for number in numbers], classes)
    else:
        numbers = _probabilities(prediction, classes)
        _check_label(_member(prediction, "predicted_label"), numbers, classes)


def _check_label(label: object, numbers: list[float], classes: tuple[str, ...]) -> None:
    if label not in classes or numbers[classes.index(label)] < max(numbers):
        raise WrongAnswer(f"the label {label!r} is not the class of the highest probability")


def _member(prediction: object, name: str) -> object:
    if not isinstance(prediction, dict) or name not in prediction:
        raise WrongAnswer(f"a prediction without {name}: {_shown(prediction)}")
    member: object = prediction[name]
    return member


def _probabilities(prediction: object, classes: tuple[str, ...]) -> list[float]:
    found = _member(prediction, "probabilities")
    if not isinstance(found, dict) or set(found) != set(classes):
        raise WrongAnswer(f"other classes than {', '.join(classes)}: {_shown(found)}")
    return [_finite(found[name]) for name in classes]


def _finite(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf:
        return float(value)
    raise WrongAnswer(f"not a finite number: {_shown(value)}")


def _shown(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
