"""A CSV file to the parts of its columns, block by block, at two speeds.

`_slow` is the rule: the csv module, strict, and each cell through its ColumnReader; it words every
refusal. csv_fast.FastReader lets pyarrow read a block of lines whose structure is plain, and leaves
the block to `_slow` where anything is in doubt. So what is accepted, and each value, is the same.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sagemaker_project.tabular import cells, header
from sagemaker_project.tabular.column_reader import ColumnReader, Problems
from sagemaker_project.tabular.csv_fast import FastReader
from sagemaker_project.tabular.file_format import MAX_LINE, Text, lines_in
from sagemaker_project.tabular.header import Layout
from sagemaker_project.tabular.schema import FileFormat, Schema
from sagemaker_project.tabular.table import BadInput, Integers


def read(
    path: Path, schema: Schema, columns: Sequence[ColumnReader], problems: Problems
) -> tuple[list[Integers], tuple[str, ...]]:
    """Read a file; bad cells go to `problems`. Return the lines of its rows, and unknown columns.

    Raises:
        BadInput: the structure is wrong: a record's width, a quote, the header.
    """
    csv.field_size_limit(MAX_LINE)
    text = Text(path, schema.file)
    try:
        layout = _layout(text, schema)
        if layout is None:
            return [], ()
        parts = list(_parts(text, layout, columns, schema.file, problems))
        return parts, layout.extra
    except BadInput:
        problems.refuse()  # a bad cell before it comes first
        raise
    finally:
        text.close()


def _layout(text: Text, schema: Schema) -> Layout | None:
    """Return the layout, and move `text` to the first record of data; None where all is blank."""
    while block := text.block():
        records = _Records(block, text, schema.file.delimiter)
        for line, record in records:
            records.put_back()
            layout = header.of_first_record("".join(records.raw), record, line, schema)
            if not layout.has_header:
                text.put_back("".join(records.raw))
            return layout
    return None


def _parts(
    text: Text,
    layout: Layout,
    columns: Sequence[ColumnReader],
    wanted: FileFormat,
    problems: Problems,
) -> Iterator[Integers]:
    """Read all blocks into the columns; yield the line of each row."""
    fast = FastReader(layout, columns, wanted)
    while block := text.block():
        parts = fast.read(block)
        if parts is None:
            yield _slow(_Records(block, text, wanted.delimiter), layout, columns, problems)
            continue
        for column, part in zip(columns, parts, strict=True):
            column.parts.append(part)
        first = text.line - lines_in(block)
        yield np.arange(first, first + len(parts[0]), dtype=np.int64)


class _Records:
    """The records of a block that are not blank, each with the number of its first line.

    `text` has just given the block. A quoted field that goes on behind it is read to its end, and
    `text` gets the rest back.
    """

    def __init__(self, block: str, text: Text, delimiter: str) -> None:
        self.text, self.size = text, len(block)
        self.first = self.line = text.line - lines_in(block)
        self.source = io.StringIO(block, newline="")
        self.raw: list[str] = []  # the lines of the record
        self.is_beyond = False  # whether they go on behind the block
        self.reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)

    def _lines(self) -> Iterator[str]:
        """Yield the lines of the block, then as long as the reader asks for more, the next ones."""
        while True:
            while line := self.source.readline():
                self.raw.append(line)
                yield line
            block = self.text.block()
            if not block:
                return
            self.is_beyond = True
            self.source = io.StringIO(block, newline="")

    def put_back(self) -> None:
        """Give back to `text` all that was not read."""
        self.text.put_back(self.source.read())

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        while not self.is_beyond and self.source.tell() < self.size:
            line = self.first + self.reader.line_num
            self.raw.clear()
            try:
                record = next(self.reader)
            except csv.Error as error:
                raise BadInput(
                    f"line {line}: {error}; a quoted field there is not closed, or holds a stray "
                    "quote"
                ) from None
            if self.is_beyond:
                self.put_back()
            if len(record) > 1 or (record and record[0].strip(cells.SPACES)):
                yield line, record


def _slow(
    records: _Records, layout: Layout, columns: Sequence[ColumnReader], problems: Problems
) -> Integers:
    """Read a block by the csv module; return the line of each row."""
    lines: list[int] = []
    rows: list[list[str]] = []
    refused: BadInput | None = None
    try:
        for line, record in records:
            rows.append(_checked(line, record, layout))
            lines.append(line)
    except BadInput as error:
        refused = error  # after the cells before it
    texts: list[Sequence[str]] = list(zip(*rows, strict=True)) or [()] * layout.width
    for column, position in zip(columns, layout.positions, strict=True):
        column.from_texts(texts[position], lines, problems)
    if refused:
        raise refused
    return np.array(lines, np.int64)


def _checked(line: int, record: list[str], layout: Layout) -> list[str]:
    """Return the cells of a record without the empty one of a trailing delimiter."""
    if len(record) == layout.width + 1 and not record[-1].strip(cells.SPACES):
        record = record[:-1]
    if len(record) != layout.width:
        many = len(record) > layout.width
        advice = (
            "quote a field that holds the delimiter" if many else "complete or remove that line"
        )
        raise BadInput(
            f"line {line}: {len(record)} field{'s'[: len(record) > 1]}, "
            f"expected {layout.width}; {advice}"
        )
    if layout.is_header(record):
        raise BadInput(f"line {line}: the header again; remove that line")
    return record
