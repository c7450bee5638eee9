"""Records of a request to columns of values, by the same rule for cells as in training.

There are two ways. `Columns.plain` takes what is plain, column by column, and answers None where it
has any doubt: a cell that is no number, a value that is missing from an object, rows of several
lengths. `Columns.rows` then goes through the values one by one, and finds the words for the first
mistake. Where both answer, they answer the same; `Columns.of` tries one after the other. A large
CSV has a third, `Columns.large`, which comes first.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np

from sagemaker_project.tabular import cells, large_csv
from sagemaker_project.tabular.requests import (
    RECORDS_ONLY,
    ClientError,
    Cut,
    Rows,
    Text,
    is_plain,
    shown,
)
from sagemaker_project.tabular.schema import Field
from sagemaker_project.tabular.table import Floats

Value: TypeAlias = "float | str"
Values: TypeAlias = "Sequence[Value] | Floats"  # of a column
JSON_NUMBERS = {float, int, type(None)}
NOT_A_NUMBER = "is not a finite number"
REMEMBERED = 10_000  # texts of a column


class Column:
    """A feature: how its cells become values; text remains text, all else becomes a number.

    `of_text` takes the cell of a CSV and raises BadCell.
    """

    def __init__(self, field: Field) -> None:
        self.field, self.name, self.is_text = field, field.name, field.is_text
        self.of_text: Callable[[str], Value] = cells.parser(field)
        if self.is_text:
            self.of_text = lru_cache(REMEMBERED)(lambda text: cells.category(text, field))
        self.is_number = field.type in ("number", "integer")
        self.sentinels = [float(word) for word in field.missing if cells.NUMBER.fullmatch(word)]

    def of_json(self, value: Any) -> Value:
        """Return the value of a JSON value. Raises BadCell."""
        if value is None:
            return "" if self.is_text else math.nan
        if isinstance(value, str):
            found = self.of_text(value)
            if self.is_number and found == found:  # in a string only a missing value is taken
                raise cells.BadCell(NOT_A_NUMBER)
            return found
        kind = self.field.type
        if self.is_text or self.field.is_date:
            raise cells.BadCell("is not a string")
        if isinstance(value, bool) and kind != "boolean" or not isinstance(value, int | float):
            raise cells.BadCell(NOT_A_NUMBER if self.is_number else "is neither true nor false")
        try:
            return cells.value_of(float(value), self.field)
        except OverflowError:
            raise cells.BadCell(NOT_A_NUMBER) from None

    def check(self, values: Floats) -> Floats | None:
        """Return numbers with NaN for sentinels; None if one is not of the column's type."""
        for sentinel in self.sentinels:
            values[values == sentinel] = np.nan
        if (
            self.field.type == "integer"
            and not (np.isnan(values) | (np.trunc(values) == values)).all()
        ):
            return None
        return values


class Columns:
    """The features of a model, in the order of a request."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.columns = [Column(field) for field in fields]
        self.names = [column.name for column in self.columns]
        self.letters = [_letters(name) for name in self.names]
        self.pick = itemgetter(*self.names) if len(fields) > 1 else None
        self.numbers = [n for n, column in enumerate(self.columns) if column.is_number]
        self.others = [n for n, column in enumerate(self.columns) if not column.is_number]

    def of(self, data: "Rows | Cut | Text") -> list[Values]:
        """Return the values of each column.

        Raises:
            ClientError: 400, for the first mistake.
        """
        if isinstance(data, Text):
            return self.large(data.text) or self.of(data.parsed())
        found = self.plain(data)
        if found is None:
            rows = data.rows() if isinstance(data, Cut) else data
            found = list(zip(*self.rows(rows), strict=True))
        return found

    # One by one

    def rows(self, rows: Rows) -> list[list[Value]]:
        """Return the values of each record.

        Raises:
            ClientError: 400, for the first mistake.
        """
        return [self._row(record, n, rows.is_text) for n, record in enumerate(rows.records, 1)]

    def _row(self, record: Any, row: int, is_text: bool) -> list[Value]:
        if isinstance(record, dict):
            record = self._in_order(record, row)
        elif not isinstance(record, list):
            raise ClientError(400, f"row {row}: expected a list or an object")
        if is_text and row == 1:
            self._check_first(record)
        if len(record) != len(self.columns):
            raise ClientError(
                400,
                f"row {row}: {len(record)} values, expected {len(self.columns)}: "
                f"{','.join(self.names)}",
            )
        found = []
        for value, column in zip(record, self.columns, strict=True):
            try:
                found.append(column.of_text(value) if is_text else column.of_json(value))
            except cells.BadCell as error:
                reason = NOT_A_NUMBER if column.is_number and "whole" not in str(error) else error
                hint = self._hint(record) if row == 1 and is_text else ""
                raise ClientError(
                    400, f"row {row}, column {column.name!r}: {shown(value)} {reason}{hint}"
                ) from None
        return found

    def _in_order(self, record: dict[str, Any], row: int) -> list[Any]:
        if unknown := set(record) - set(self.names):
            raise ClientError(
                400, f"row {row}: {min(unknown)!r} is not a column; they are {','.join(self.names)}"
            )
        if absent := [name for name in self.names if name not in record]:
            raise ClientError(
                400, f"row {row}, column {absent[0]!r}: not there; send null for a missing value"
            )
        return [record[name] for name in self.names]

    def _check_first(self, record: Sequence[str]) -> None:
        """Refuse a header of texts only, which would pass as unknown categories, and `sep=`."""
        if record[0].lower().startswith("sep="):
            raise ClientError(400, f"row 1: {shown(record[0])} is not a record; {RECORDS_ONLY}")
        if self._is_header(record):
            raise ClientError(400, f"row 1 is a header line; {RECORDS_ONLY}")

    def _is_header(self, record: Sequence[str]) -> bool:
        if _letters(record[0]) != self.letters[0]:
            return False
        return [_letters(cell) for cell in record] == self.letters

    def _is_no_record(self, first: Sequence[str]) -> bool:
        return first[0].lower().startswith("sep=") or self._is_header(first)

    def _hint(self, record: Sequence[str]) -> str:
        named = {_letters(cell) for cell in record} & set(self.letters) - {""}
        return f" (a header line? {RECORDS_ONLY})" if named else ""

    # Plain ones

    def plain(self, rows: "Rows | Cut") -> list[Values] | None:
        """Return the values of each column, or None where `rows` must have a closer look."""
        try:
            if isinstance(rows, Cut):
                return self._plain_text(rows)
            if not rows.is_text:
                return self._plain_json(rows.records)
            if len(set(map(len, rows.records))) != 1:
                return None
            texts = list(chain.from_iterable(rows.records))
            return self._plain_text(Cut(texts, len(rows.records[0]), False))
        except (ValueError, TypeError, KeyError, OverflowError):  # BadCell is a ValueError
            return None

    def large(self, text: str) -> list[Values] | None:
        """Return what `plain` does of a large CSV, or None where it is in doubt."""
        if self._is_no_record(text[: text.find("\n")].split(",")):
            return None
        found = large_csv.read(text, [column.is_number for column in self.columns])
        if found is None:
            return None
        numbers, others = found
        columns = self._checked(numbers, numbers.shape[1])
        try:
            for n, column in zip(self.others, others, strict=True):
                if columns is not None:
                    columns[n] = list(map(self.columns[n].of_text, column))
        except cells.BadCell:
            return None
        return columns

    def _plain_text(self, rows: Cut) -> list[Values] | None:
        width = len(self.columns)
        if rows.width != width or self._is_no_record(rows.cells[:width]):
            return None
        cut = [rows.cells[n::width] for n in range(width)]
        texts = list(chain.from_iterable(cut[n] for n in self.numbers))
        found = self._checked(_text_numbers(texts, rows.is_plain), len(cut[0]))
        if found is None:
            return [list(map(one.of_text, c)) for one, c in zip(self.columns, cut, strict=True)]
        for n in self.others:
            found[n] = list(map(self.columns[n].of_text, cut[n]))
        return found

    def _plain_json(self, records: list[Any]) -> list[Values] | None:
        lists: Iterable[Any] = records
        if type(records[0]) is dict:
            if set(map(len, records)) != {len(self.names)} or self.pick is None:
                return None
            lists = map(self.pick, records)
        elif set(map(type, records)) != {list}:
            return None
        columns = list(zip(*lists, strict=True))
        if len(columns) != len(self.columns):
            return None
        values = list(chain.from_iterable(columns[n] for n in self.numbers))
        found = self._checked(_json_numbers(values), len(records))
        if found is None:
            return [list(map(one.of_json, c)) for one, c in zip(self.columns, columns, strict=True)]
        for n in self.others:
            column, cells_ = self.columns[n], columns[n]
            is_text = set(map(type, cells_)) == {str}
            found[n] = list(map(column.of_text if is_text else column.of_json, cells_))
        return found

    def _checked(self, numbers: Floats | None, rows: int) -> list[Values] | None:
        """Return a place for each column, filled for numbers; None if one is not of its type."""
        if numbers is None:
            return None
        found: list[Values] = [()] * len(self.columns)
        for n, values in zip(self.numbers, numbers.reshape(-1, rows), strict=True):
            checked = self.columns[n].check(values)
            if checked is None:
                return None
            found[n] = checked
        return found


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _text_numbers(texts: list[str], plain: bool) -> Floats | None:
    """Return the numbers of texts; None where one is neither empty nor a number for sure."""
    if not plain and not is_plain("".join(texts)):
        return None
    missing = texts.count("")
    try:
        numbers = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        full = [text.strip() for text in texts]
        missing = full.count("")
        try:
            numbers = np.array([float(text) if text else math.nan for text in full], np.float64)
        except ValueError:
            return None
    # "nan" and "inf" are no numbers, but may be missing words.
    return numbers if np.isfinite(numbers).sum() == len(texts) - missing else None


def _json_numbers(values: list[Any]) -> Floats | None:
    """Return the numbers of JSON values, NaN for null; None where one is neither or infinite."""
    kinds = set(map(type, values))
    if not kinds <= JSON_NUMBERS:
        return None
    if type(None) in kinds:
        values = [math.nan if value is None else value for value in values]
    numbers = np.fromiter(map(float, values), np.float64, len(values))
    return None if np.isinf(numbers).any() else numbers
