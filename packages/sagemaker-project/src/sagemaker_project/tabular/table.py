"""Columns in memory, and the splits as files.

A column is a float64 array (NaN is no value), or for text a `Categories`: the number of each row's
category, int32, among the distinct ones; "" is no value. A row knows where it came from, so that
every message about it can name file and line.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Rows: TypeAlias = "npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice"


class BadInput(Exception):
    """A mistake in the data, the model or the arguments. The message is one line."""


class Categories(NamedTuple):
    """A column of text: `values[codes[row]]` is the category of a row."""

    codes: npt.NDArray[np.int32]
    values: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Categories":
        """Return the column of these texts; its values are in the order of their appearance."""
        known: dict[str, int] = {}
        codes = [known.setdefault(text, len(known)) for text in texts]
        return cls(np.array(codes, np.int32), tuple(known))

    @property
    def texts(self) -> npt.NDArray[np.object_]:
        """The category of each row."""
        return np.array(self.values, dtype=object)[self.codes]

    def take(self, rows: Rows) -> "Categories":
        return Categories(self.codes[rows], self.values)

    def counts(self) -> dict[str, int]:
        """Return {category: rows}, the most frequent first; without those of no rows."""
        found = np.bincount(self.codes, minlength=len(self.values)).tolist()
        pairs = [(value, n) for value, n in zip(self.values, found, strict=True) if n]
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


Column: TypeAlias = "Floats | Categories"


@dataclass(frozen=True)
class Table:
    """Columns by name, each of the same number of rows.

    `files` are the names of the files that the rows came from, `file` the number of each row's
    file, `line` the line (CSV) or row (Parquet) in it, from 1.
    """

    columns: Mapping[str, Column]
    files: tuple[str, ...]
    file: npt.NDArray[np.int32]
    line: Integers

    def __len__(self) -> int:
        return len(self.line)

    def take(self, rows: Rows) -> "Table":
        """Return some of the rows."""
        columns = {
            name: column.take(rows) if isinstance(column, Categories) else column[rows]
            for name, column in self.columns.items()
        }
        return Table(columns, self.files, self.file[rows], self.line[rows])

    def where(self, row: int) -> str:
        """Say where a row is: `line 7`, with its file's name where there are several."""
        line = f"line {self.line[row]}"
        return f"{self.files[self.file[row]]}, {line}" if len(self.files) > 1 else line

    def numbers(self, name: str) -> Floats:
        """Return a column of numbers."""
        column = self.columns[name]
        assert not isinstance(column, Categories)
        return column

    def categories(self, name: str) -> Categories:
        """Return a column of text."""
        column = self.columns[name]
        assert isinstance(column, Categories)
        return column
