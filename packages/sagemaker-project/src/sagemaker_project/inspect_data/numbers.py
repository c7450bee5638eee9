"""Columns of numbers: which of their texts are numbers, and which say that there is none."""

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from sagemaker_project.inspect_data.findings import Cells, Sample
from sagemaker_project.tabular.cells import NUMBER, is_number, number

# Words that mean no value beside numbers, besides those that mean it everywhere.
WORDS = frozenset(
    (*("-", "--", ".", "..", "...", "*", "#n/a", "#na", "#null!", "#value!", "#div/0!", "<na>"),)
    + ("nil", "n.a.", "n.a", "missing", "unknown", "unbekannt", "undefined", "not available")
    + ("not applicable", "empty", "blank", "void", "tbd", "-nan", "\\n", "no data", "nodata")
)
SENTINEL = re.compile(r"[+-]?9{2,12}(?:[.,]0*)?")
LIKELY = 0.9  # of the cells are numbers: it is a column of numbers
MIXED = 0.5  # it may be one
CODE = re.compile(r"0[0-9]+")
COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")


class Numbers(NamedTuple):
    """What the texts of a column are as numbers. Values and words are {it: rows}."""

    of: Mapping[str, float]
    values: Mapping[float, int]
    words: Mapping[str, int]  # no numbers, and not known to mean no value
    missing: tuple[str, ...]  # texts that mean no value, sentinels among them
    sentinels: tuple[str, ...]
    share: float  # of the cells that are numbers or known to mean no value

    @property
    def are_whole(self) -> bool:
        return all(value.is_integer() for value in self.values)


@lru_cache(maxsize=10_000)
def numbers_of(cells: Cells, decimal: str) -> Numbers:
    """Sort the texts of a column into numbers, missing words and other words."""
    of: dict[str, float] = {}
    values: dict[float, int] = {}
    words: dict[str, int] = {}
    known: dict[str, int] = {}
    all_are = _are_numbers(cells, decimal)
    for text, rows in cells.counts.items():
        if all_are or is_number(text, decimal):
            value = float(text) if all_are else number(text, decimal)
            of[text] = value
            values[value] = values.get(value, 0) + rows
        elif text.lower() in WORDS:
            known[text.lower()] = rows
        else:
            words[text] = rows
    sentinels = _sentinels(values, cells.counts, decimal)
    for text in sentinels:
        values.pop(float(text), None)
    of = {text: value for text, value in of.items() if value in values} if sentinels else of
    share = 1 - sum(words.values()) / max(cells.rows, 1)
    return Numbers(of, values, words, (*known, *sentinels), sentinels, share if values else 0.0)


def _are_numbers(cells: Cells, decimal: str) -> bool:
    """Whether all texts are numbers by the rule of `cells.number`; a fast way to say yes."""
    if decimal != "." or not all(map(NUMBER.fullmatch, cells.counts)):
        return False
    return all(map(math.isfinite, map(float, cells.counts)))


def _sentinels(values: Mapping[float, int], texts: Iterable[str], decimal: str) -> tuple[str, ...]:
    """Return the texts that stand for no value: nines, repeated, far outside of the rest."""
    found = []
    for text in texts:
        if "99" in text and SENTINEL.fullmatch(text) and is_number(text, decimal):
            value = number(text, decimal)
            rest = [other for other in values if not _is_nines(other)]
            if values[value] > 1 and len(rest) > 2 and _is_far(value, min(rest), max(rest)):
                found.append(f"{value:.0f}")
    return tuple(dict.fromkeys(found))


def _is_nines(value: float) -> bool:
    return value.is_integer() and abs(value) < 1e15 and bool(SENTINEL.fullmatch(f"{value:.0f}"))


def _is_far(value: float, low: float, high: float) -> bool:
    if value < 0 <= low:
        return True
    gap = low - value if value < 0 else value - high
    return gap > 2 * (high - low)


def decimal_mark(sample: Sample) -> str:
    """Return the decimal mark: a comma where a column has numbers only with it."""
    if sample.file.delimiter == ",":
        return "."
    commas = [cells for cells in sample.columns if _has_commas(cells)]
    sure = any(
        COMMA.fullmatch(text) and not THOUSANDS.fullmatch(text)
        for cells in commas
        for text in cells.counts
    )
    return "," if sure else "."


def _has_commas(cells: Cells) -> bool:
    texts = [text for text in cells.counts if text.lower() not in WORDS]
    commas = sum(COMMA.fullmatch(text) is not None for text in texts)
    whole = sum(text.lstrip("+-").isdigit() for text in texts)
    return commas > 0 and commas + whole >= LIKELY * len(texts)


def is_code(cells: Cells) -> bool:
    """Whether the texts are codes of digits: some begin with a zero that a number would lose."""
    texts = cells.counts
    if not texts or not next(iter(texts)).isdigit():
        return False
    are_digits = all(text.isascii() and text.isdigit() for text in texts)
    return are_digits and any(CODE.fullmatch(text) for text in texts)


def has_thousands(words: Iterable[str]) -> bool:
    """Whether all these words are numbers whose thousands are separated by commas."""
    listed = list(words)
    return bool(listed) and all(
        THOUSANDS.fullmatch(word) or COMMA.fullmatch(word) for word in listed
    )


def span(values: Mapping[float, int]) -> str:
    """Say from where to where numbers go: `0.5 to 17`."""
    return f"{min(values):.6g} to {max(values):.6g}"
