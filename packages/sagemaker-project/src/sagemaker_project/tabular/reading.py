"""Files to a table: CSV, gzip, Parquet; one or several; as schema.json says, and nothing else.

Each file is read as a stream, and values go straight into flat arrays, so memory grows with the
number of values and not with the length of the text. Nothing is guessed: a file that is not what
schema.json says is refused, with what it is and what to change; a bad cell with its line and
column, and how many such there are.

    file_format.py    the bytes: compression, encoding, blocks of text
    header.py         which cell is which column
    csv_file.py       CSV by the csv module, which is the rule and words what is refused
    csv_fast.py       the same by pyarrow, for plain blocks of lines
    parquet_file.py   Parquet
    column_reader.py  texts to values
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sagemaker_project.tabular import csv_file, parquet_file
from sagemaker_project.tabular.column_reader import ColumnReader, Problems, is_total
from sagemaker_project.tabular.file_format import check_format, check_size
from sagemaker_project.tabular.schema import Schema
from sagemaker_project.tabular.table import BadInput, Integers, Table

SUFFIXES = {
    "csv": (".csv", ".csv.gz", ".tsv", ".tsv.gz"),
    "parquet": (".parquet", ".pq"),
}
MIN_SUMMED = 10  # rows above a row of sums, so that it is no chance


class ReadTable(NamedTuple):
    """A table, the columns that schema.json does not have, and what a person may want to know."""

    table: Table
    extra: list[str]
    header: bool
    notes: list[str]


def find_files(source: Path, schema: Schema) -> list[Path]:
    """Return the file, or all parts in a folder (what an S3 prefix holds), sorted by name.

    Hidden files and those that begin with _ (_SUCCESS, _metadata) are not data. One file alone may
    have any name.

    Raises:
        BadInput: there is none, or others are among them.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise BadInput(f"{source}: there is no such file or folder; give --input-data a file")
    found = sorted(path for path in source.iterdir() if path.name[0] not in "._")
    wanted = SUFFIXES[schema.file.format]
    parts = [p for p in found if p.is_file() and p.name.lower().endswith(wanted)]
    if len(found) == 1 and found[0].is_file():
        parts = found
    others = [path.name for path in found if path not in parts]
    words = f"{schema.file.format} files ({', '.join('*' + suffix for suffix in wanted)})"
    if not parts:
        names = _some(others) or "nothing"
        raise BadInput(f"{source}: found {names}, and schema.json says {words}")
    if others:
        raise BadInput(
            f"{source}: found {_some(others)} beside {len(parts)} {words}; "
            "move away what is no part of the table"
        )
    return parts


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def read_table(files: Sequence[Path], schema: Schema) -> ReadTable:
    """Read files, in their order, into one table of schema.used.

    Raises:
        BadInput: a file is not as schema.json says, or a cell is not of its column's type.
    """
    check_size(sum(path.stat().st_size for path in files))
    columns = [
        ColumnReader(field, field.name == schema.label, schema.file.decimal)
        for field in schema.used
    ]
    lines: list[Integers] = []
    extra: dict[str, None] = {}
    notes: list[str] = []
    for path in files:
        with _named(path):
            found, unknown = _read_file(path, schema, columns)
        lines.append(found)
        extra |= dict.fromkeys(unknown)
        if not len(found) and len(files) > 1:
            notes.append(f"{path.name} has no rows")
    if not any(map(len, lines)):
        raise BadInput(f"{_some([path.name for path in files])}: {_why_empty(files, schema)}")
    number = np.repeat(np.arange(len(files), dtype=np.int32), list(map(len, lines)))
    table = Table(
        {column.field.name: column.column() for column in columns},
        tuple(path.name for path in files),
        number,
        np.concatenate(lines),
    )
    return ReadTable(table, list(extra), schema.file.header, notes)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path.name}: {error}") from None


def _why_empty(files: Sequence[Path], schema: Schema) -> str:
    if not any(path.stat().st_size for path in files):
        return "the file is empty (0 bytes)"
    if schema.file.format == "csv" and not schema.file.header:
        return "the file has no data, only blank lines or a header"
    return "the file has a header at most, and 0 data rows"


def _read_file(
    path: Path, schema: Schema, columns: Sequence[ColumnReader]
) -> tuple[Integers, tuple[str, ...]]:
    if not path.stat().st_size:
        return np.empty(0, np.int64), ()
    check_format(path, schema.file)
    is_csv = schema.file.format == "csv"
    problems = Problems("line" if is_csv else "row")
    done = [len(column.parts) for column in columns]
    read = csv_file.read if is_csv else parquet_file.read
    parts, extra = read(path, schema, columns, problems)
    lines = np.concatenate([*parts, np.empty(0, np.int64)], dtype=np.int64)
    if len(lines):
        _refuse_totals(columns, done, schema, f"{problems.unit} {lines[-1]}")
    problems.refuse()
    return lines, extra


def _refuse_totals(
    columns: Sequence[ColumnReader], done: Sequence[int], schema: Schema, where: str
) -> None:
    """Refuse a file whose last row is no row of data but the sums of those above.

    Either it says so (a cell such as `Total`) and most of its other cells are empty or the label
    is, or all its numbers, or at least two, are the sums of their columns.
    """
    word, empty, label_is_empty = "", 0, False
    sums, numbers = 0, 0
    for column, first in zip(columns, done, strict=True):
        last = _last(column)
        if isinstance(last, str):
            word = word or (last if is_total(last) else "")
        elif column.is_number and not math.isnan(last):
            numbers += 1
            sums += _is_sum(column, first, last)
        is_empty = last == "" if isinstance(last, str) else math.isnan(last)
        empty += is_empty
        label_is_empty = label_is_empty or (is_empty and column.is_label)
    if word and (label_is_empty or empty * 2 >= len(columns) - 1 or sums):
        raise BadInput(f"{where} is a row of totals ({word!r}): remove that row")
    if sums and (sums == numbers or sums >= 2):
        raise BadInput(f"{where} is a row of totals (each number the sum of its column): remove it")


def _last(column: ColumnReader) -> float | str:
    value = next(part[-1] for part in reversed(column.parts) if len(part))
    return list(column.categories)[int(value)] if column.field.is_text else float(value)


def _is_sum(column: ColumnReader, first: int, last: float) -> bool:
    """Return whether the last number is the sum of those above it in this file."""
    parts = column.parts[first:]
    if sum(map(len, parts)) <= MIN_SUMMED:
        return False
    above = [*parts[:-1], parts[-1][:-1]]
    if any((np.abs(part) >= abs(last)).any() for part in reversed(above)):
        return False
    total = sum(float(np.nansum(part)) for part in above)
    return abs(total - last) <= 1e-9 * abs(last)
