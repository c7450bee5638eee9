"""What a table looks like, in numbers for its report: columns, and how alike the splits are."""

import math
from typing import TypedDict

import numpy as np

from sagemaker_project.tabular.cells import class_name
from sagemaker_project.tabular.schema import Field, Schema
from sagemaker_project.tabular.split import SPLITS, Parts, classes_of
from sagemaker_project.tabular.table import Categories, Column, Floats, Integers, Table

CATEGORIES = 20  # that are named; the others are one
BINS = 20
WHOLE_BINS = 40  # whole numbers that span no more get a bin each
OTHERS = "(other)"


class Histogram(TypedDict, total=False):
    """Rows of each split in each bin; the bins are numbers between edges, or categories.

    The edges of a long tail leave it out: what is beyond them is in the first or the last bin.
    Rows without a value are in none.
    """

    edges: list[float]
    labels: list[str]
    train: list[int]
    validation: list[int]
    test: list[int]


class Description(TypedDict, total=False):
    """A column. `drift` is how far validation or test is from train, whichever is farther."""

    kind: str
    type: str
    missing: int
    categories: dict[str, int]
    minimum: float
    mean: float
    maximum: float
    histogram: Histogram
    drift: float


def describe(table: Table, schema: Schema, parts: Parts) -> dict[str, Description]:
    """Return the description of each used column."""
    return {field.name: _describe(field, table.columns[field.name], parts) for field in schema.used}


def count_classes(table: Table, schema: Schema, parts: Parts) -> dict[str, dict[str, int]]:
    """Return {class: {split: rows}}; for a regression, nothing."""
    if schema.problem == "regression":
        return {}
    codes, names = classes_of(table.columns[schema.label])
    counts = _count(codes, parts, len(names))
    return {
        name: dict(zip(SPLITS, counts[:, number].tolist(), strict=True))
        for number, name in enumerate(names)
    }


def _describe(field: Field, column: Column, parts: Parts) -> Description:
    if isinstance(column, Categories):
        about, histogram, bins = _text(column)
    else:
        about, histogram, bins = _number(field, column)
    size = len(histogram.get("labels", ())) or len(histogram["edges"]) - 1
    counts = _count(np.where(bins < 0, size, bins), parts, size + 1)  # the last: no value
    for name, row in zip(SPLITS, counts[:, :size].tolist(), strict=True):
        histogram[name] = row  # type: ignore[literal-required]  # SPLITS are its keys
    about["histogram"] = histogram
    about["drift"] = max(stability_index(counts[0], other) for other in counts[1:])
    return about


def _count(bins: Integers, parts: Parts, size: int) -> Integers:
    """Count the rows of each split in each bin; shape (splits, bins)."""
    counts = np.bincount(parts.astype(np.int64) * size + bins, minlength=3 * size)
    return counts.reshape(3, size)


def _text(column: Categories) -> tuple[Description, Histogram, Integers]:
    counts = column.counts()
    missing = counts.pop("", 0)
    top = dict(list(counts.items())[:CATEGORIES])
    labels = [*top, OTHERS] if len(counts) > len(top) else list(top)
    place = {name: number for number, name in enumerate(top)}
    bin_of = np.array([place.get(value, len(top)) for value in column.values], np.int64)
    if "" in column.values:
        bin_of[column.values.index("")] = -1
    about: Description = {"kind": "categorical", "type": "string", "missing": missing}
    about["categories"] = top
    return about, {"labels": labels or [OTHERS]}, bin_of[column.codes]


def _number(field: Field, column: Floats) -> tuple[Description, Histogram, Integers]:
    known = ~np.isnan(column)
    values = column if known.all() else column[known]
    about: Description = {"kind": "numeric", "type": field.type}
    about["missing"] = len(column) - len(values)
    if len(values):
        about["minimum"], about["maximum"] = float(values.min()), float(values.max())
        about["mean"] = _mean(values)
    bins = np.full(len(column), -1, np.int64)
    if field.type == "boolean":
        bins[known] = values.astype(np.int64)
        return about, {"labels": [class_name(0.0), class_name(1.0)]}, bins
    edges = _edges(values)
    inner = np.searchsorted(edges[1:-1], values, side="right")
    bins[known] = inner
    return about, {"edges": edges.tolist()}, bins


def _mean(values: Floats) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(values.mean())
        if not math.isfinite(mean):  # their sum is too large
            mean = float((values / len(values)).sum().clip(values.min(), values.max()))
    return mean


def _edges(values: Floats) -> Floats:
    """Return the edges of bins of equal width, over all values but a long tail."""
    if not len(values):
        return np.array([0.0, 1.0])
    low, high = float(values.min()), float(values.max())
    first, last = (float(edge) for edge in np.percentile(values, (1, 99), method="nearest"))
    span = last / 2 - first / 2  # halves: the difference of two large numbers is none
    if span > 0:
        low, high = max(low, first - span), min(high, last + span)
    whole = high / 2 - low / 2 < WHOLE_BINS / 2 and bool((values == np.rint(values)).all())
    if whole and max(abs(low), abs(high)) < 2**52:
        return np.arange(math.floor(low), math.ceil(high) + 2, dtype=np.float64) - 0.5
    if low == high:
        return np.sort([low, np.nextafter(low, 0.0)])
    steps = np.linspace(0.0, 1.0, BINS + 1)
    edges: Floats = np.unique(low * (1 - steps) + high * steps)
    return edges


def stability_index(base: Integers, other: Integers) -> float:
    """Return the population stability index of two counts of the same bins, less chance's share.

    It is the sum of (p - q) ln(p / q) over the bins' shares: by custom, below 0.1 the two are
    alike, and above 0.25 they differ. Of two samples from one distribution it is about
    (bins - 1) (1/n + 1/m), which for a small split would look like a difference.
    """
    used = (base + other) > 0
    bins, n, m = int(np.count_nonzero(used)), int(base.sum()), int(other.sum())
    if not n or not m:
        return 0.0
    p, q = ((counts[used] + 0.5) / (counts.sum() + 0.5 * bins) for counts in (base, other))
    index = float(np.sum((p - q) * np.log(p / q)))
    return max(0.0, index - (bins - 1) * (1 / n + 1 / m))
