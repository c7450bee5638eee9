"""The cells of one column to its values, while a file is read, and what was wrong with them.

`ColumnReader.from_texts` is the rule: each text goes through cells.parser. The other conversions
are short cuts for many cells at once: they give the same values bit for bit, or None where they
cannot.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sagemaker_project.tabular import cells
from sagemaker_project.tabular.cells import BadCell
from sagemaker_project.tabular.schema import Field
from sagemaker_project.tabular.table import BadInput, Categories, Column, Floats

Part: TypeAlias = npt.NDArray[np.float64] | npt.NDArray[np.int32]
TOTALS = {
    "total",
    "totals",
    "subtotal",
    "sum",
    "sums",
    "gesamt",
    "summe",
    "somme",
    "suma",
    "totale",
}
NO_LABEL = "is not a label"


class Problems:
    """Cells that cannot be used: the first of each kind, and the number of each kind."""

    def __init__(self, unit: str = "line") -> None:
        self.unit = unit  # what a number of a row counts: lines of CSV, rows of Parquet
        self.found: dict[tuple[str, str], tuple[int, str, int]] = {}

    def add(self, line: int, column: str, text: str, reason: str) -> None:
        first, shown, count = self.found.get((column, reason), (line, text, 0))
        self.found[column, reason] = first, shown, count + 1

    def refuse(self) -> None:
        """Raise BadInput for the first bad cell, if there is one."""
        if not self.found:
            return
        first = min(self.found, key=lambda key: self.found[key][0])
        (name, reason), (line, text, count) = first, self.found[first]
        others = sum(problem[2] for problem in self.found.values()) - count
        more = f", {others:,} other bad values in the file" if others else ""
        raise BadInput(
            f"{self.unit} {line}, column {name!r}: {shortened(text)!r} {reason} "
            f"({count:,} such in this column{more}){_advice(text, reason)}"
        )


def shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def is_total(text: str) -> bool:
    """Return whether a cell names a row of totals: `Total`, `Grand total:`."""
    words = text.strip(cells.SPACES).rstrip(":").lower().split()
    return 0 < len(words) <= 3 and not TOTALS.isdisjoint(words)


def _advice(text: str, reason: str) -> str:
    if reason == NO_LABEL:
        return "; remove the rows that have none"
    if is_total(text):
        return "; remove the row of totals"
    for mark, name in ((",", "comma"), (".", "point")):
        if "number" in reason and mark in text and cells.is_number(text, mark):
            return f'; if the decimal mark is a {name}, set file.decimal to "{mark}" in schema.json'
    return "; correct the file, or add the text to the column's missingValues in schema.json"


class ColumnReader:
    """Reads one column: the parts of it so far, and for text the number of each category."""

    def __init__(self, field: Field, is_label: bool, decimal: str) -> None:
        self.field, self.is_label, self.decimal = field, is_label, decimal
        self.is_number = field.type in ("number", "integer")
        self.parts: list[Part] = []
        self.categories: dict[str, int] = {}
        self.parse = cells.parser(field, decimal)
        words = [word for word in field.missing if cells.NUMBER.fullmatch(word)]
        self.sentinels = np.array([float(word) for word in words])

    def value(self, text: str) -> float:
        """Return the value of a cell, for text the number of its category.

        Raises:
            BadCell: it is not of the column's type, or is a label without a value.
        """
        if self.field.is_text:
            category = cells.category(text, self.field)
            if self.is_label and not category:
                raise BadCell(NO_LABEL)
            return self.categories.setdefault(category, len(self.categories))
        return self.labelled(self.parse(text))

    def labelled(self, value: float) -> float:
        """Return a number; raise BadCell where it is a label without a value."""
        if self.is_label and math.isnan(value):
            raise BadCell(NO_LABEL)
        return value

    def from_texts(self, texts: Sequence[str], lines: Sequence[int], problems: Problems) -> None:
        """Add cells; those that are bad also to `problems`."""
        if self.is_number:
            values = _floats(texts, self.decimal)
            if values is not None and (settled := self.settled(values)) is not None:
                self.parts.append(settled)
                return
        known: dict[str, float] = {}
        found: list[float] = []
        for line, text in zip(lines, texts, strict=True):
            value = known.get(text)
            if value is None:
                try:
                    value = known[text] = self.value(text)
                except BadCell as error:
                    problems.add(line, self.field.name, text, str(error))
                    value = self._no_value()
            found.append(value)
        self.parts.append(self.array(found))

    def _no_value(self) -> float:
        return (
            self.categories.setdefault("", len(self.categories)) if self.field.is_text else math.nan
        )

    def array(self, values: Iterable[float]) -> Part:
        if self.field.is_text:
            return np.array(list(values), np.int32)
        return np.array(list(values), np.float64)

    def settled(self, values: Floats) -> Floats | None:
        """Return numbers as the column has them, sentinels as NaN; None where one is bad."""
        if np.isinf(values).any():
            return None
        if len(self.sentinels):
            values = np.where(np.isin(values, self.sentinels), np.nan, values)
        if (
            self.field.type == "integer"
            and ((values != np.floor(values)) & ~np.isnan(values)).any()
        ):
            return None
        if self.is_label and np.isnan(values).any():
            return None
        return values

    def from_distinct(self, texts: Sequence[str], codes: npt.NDArray[np.int64]) -> Part | None:
        """Return the values of `texts[code]` for each code; None where one is bad."""
        try:
            return self.array(map(self.value, texts))[codes]
        except BadCell:
            return None

    def column(self) -> Column:
        """Return the column and forget its parts, so that it is not in memory twice."""
        kind = np.int32 if self.field.is_text else np.float64
        values = np.concatenate([*self.parts, np.empty(0, kind)], dtype=kind)
        self.parts.clear()
        if self.field.is_text:
            return Categories(values.astype(np.int32, copy=False), tuple(self.categories))
        return values.astype(np.float64, copy=False)


_OF_NUMBERS = b"0123456789+-eE \t\n\r\f\v"


def _floats(texts: Sequence[str], decimal: str) -> Floats | None:
    """Return texts as floats if all are numbers by cells.NUMBER, else None."""
    joined = "".join(texts)
    if not joined.isascii() or joined.encode().translate(None, _OF_NUMBERS + decimal.encode()):
        return None  # float() also takes 1_0, nan, full-width digits
    if decimal != ".":
        texts = [text.replace(decimal, ".") for text in texts]
    try:
        return np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return None
