"""What is wrong with a table, or may be: rows to drop, odd values, columns to check.

A mistake in the table as a whole is refused (`check_rows`). A row outside of a column's range is
dropped, and an odd value is kept; both are counted, with examples (`clean`). What may be right but
deserves a look is a warning (`warnings`).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from sagemaker_project.tabular.schema import Field, Schema
from sagemaker_project.tabular.split import classes_of
from sagemaker_project.tabular.table import BadInput, Categories, Column, Floats, Integers, Table

MIN_ROWS = 20  # of a table, and of each class
EXAMPLES = 5
FAR = 20  # times the distance from the median within which 95 % of the other labels are
LARGEST_LABEL = 1e150  # its square is a number still
SAMPLE = 10_000  # rows to look for a leak in first
LEAK = 0.999  # correlation of ranks, or share of the label that a column explains

Mask = npt.NDArray[np.bool_]


class Example(TypedDict, total=False):
    """A value and where it is; `file` where there are several."""

    line: int
    value: float | str
    file: str


class Note(TypedDict):
    """Rows of a table that were dropped, or kept although they look odd."""

    column: str
    reason: str
    count: int
    examples: list[Example]


# Rows


def clean(table: Table, schema: Schema) -> tuple[Table, list[Note], list[Note]]:
    """Return the rows within the ranges, notes on those dropped, and notes on odd values."""
    keep = np.ones(len(table), np.bool_)
    dropped, odd = [], []
    for field in schema.used:
        column = table.columns[field.name]
        if isinstance(column, Categories):
            odd += _unlisted(table, field, column)
            continue
        for bad, reason in (
            (column < field.minimum, f"below {field.minimum:g}"),
            (column > field.maximum, f"above {field.maximum:g}"),
        ):
            if bad.any():
                dropped.append(_note(table, field, bad, reason))
                keep &= ~bad
        if field.zero_is_odd and (column == 0).any():
            odd.append(_note(table, field, column == 0, "zero"))
    if not keep.all():
        table = table.take(keep)
    return table, dropped, odd + _far_labels(table, schema)


def _unlisted(table: Table, field: Field, column: Categories) -> list[Note]:
    known = {"", *field.values}
    unlisted = np.array([value not in known for value in column.values], np.bool_)
    if not field.values or not (rows := unlisted[column.codes]).any():
        return []
    return [_note(table, field, rows, f"not one of {', '.join(field.values)}")]


def _far_labels(table: Table, schema: Schema) -> list[Note]:
    """Note labels that are far from all others: they would decide a mean of squares alone."""
    if schema.problem != "regression" or not len(table):
        return []
    label = table.numbers(schema.label)
    median = float(np.median(label))
    with np.errstate(over="ignore"):
        distance = np.abs(label - median)
    others = np.sort(distance[distance > 0])
    if not others.size:
        return []
    usual = others[(len(others) - 1) * 95 // 100]
    far = distance / FAR > usual
    reason = f"far from the other labels, of which the median is {median:g}"
    return [_note(table, schema.label_field, far, reason)] if far.any() else []


def _note(table: Table, field: Field, rows: Mask, reason: str) -> Note:
    first = np.flatnonzero(rows)[:EXAMPLES].tolist()
    return {
        "column": field.name,
        "reason": reason,
        "count": int(np.count_nonzero(rows)),
        "examples": [_example(table, field.name, row) for row in first],
    }


def _example(table: Table, name: str, row: int) -> Example:
    column = table.columns[name]
    value: float | str
    if isinstance(column, Categories):
        value = column.values[column.codes[row]]
    else:
        value = float(column[row])
    found: Example = {"line": int(table.line[row]), "value": value}
    if len(table.files) > 1:
        found["file"] = table.files[table.file[row]]
    return found


def check_rows(table: Table, schema: Schema, read: int, copies: int) -> None:
    """Check that there are rows to learn from.

    Args:
        table: the rows that were kept.
        read: how many there were before.
        copies: how many rows are exact copies of another.

    Raises:
        BadInput: there are too few, in all or of a class, or the label does not fit the problem.
    """
    rows = len(table)
    if rows < read / 2:
        raise BadInput(
            f"only {rows} of {read} rows are within the ranges of schema.json; "
            "are the columns in another order or unit?"
        )
    if rows - copies < MIN_ROWS:
        raise BadInput(
            f"{rows - copies} distinct row(s) of {read} read can be used; "
            f"at least {MIN_ROWS} are needed to split into three"
        )
    if schema.problem == "regression":
        _check_numbers(table, schema)
    else:
        _check_classes(table, schema)


def _check_numbers(table: Table, schema: Schema) -> None:
    label = table.numbers(schema.label)
    if (label == label[0]).all():
        raise _constant(schema, f"{label[0]:g}", len(table))
    if (large := np.flatnonzero(np.abs(label) > LARGEST_LABEL)).size:
        raise BadInput(
            f"{table.where(int(large[0]))}, column {schema.label!r}: {label[large[0]]:g} is too "
            f"large a label, wanted at most {LARGEST_LABEL:g}; correct it, or give the column a "
            "maximum in schema.json"
        )


def _check_classes(table: Table, schema: Schema) -> None:
    codes, names = classes_of(table.columns[schema.label])
    if len(names) == 1:
        raise _constant(schema, repr(names[0]), len(table))
    listed = ", ".join(map(repr, names[:EXAMPLES])) + (", ..." if len(names) > EXAMPLES else "")
    if (schema.problem == "binary") != (len(names) == 2):
        other = "multiclass" if schema.problem == "binary" else "binary"
        raise BadInput(
            f"column {schema.label!r} has {len(names)} classes ({listed}), and the problem is "
            f"{schema.problem!r}; correct the cells, or set problem to {other!r} in schema.json"
        )
    if schema.problem == "binary" and schema.positive not in names:
        raise BadInput(
            f"column {schema.label!r} has the classes {listed}, and positive is "
            f"{schema.positive!r} in schema.json; set it to one of them"
        )
    counts = np.bincount(codes)
    small = [f"{names[code]!r} ({counts[code]})" for code in np.flatnonzero(counts < MIN_ROWS)]
    if small:
        more = f" and {len(small) - EXAMPLES} more" if len(small) > EXAMPLES else ""
        raise BadInput(
            f"column {schema.label!r} has fewer than {MIN_ROWS} rows of class "
            f"{', '.join(small[:EXAMPLES])}{more}; add rows, or join the class with another"
        )


def _constant(schema: Schema, value: str, rows: int) -> BadInput:
    return BadInput(
        f"column {schema.label!r} is {value} in all {rows} rows: there is nothing to learn;"
        " predict another column"
    )


# Columns


class _Label(NamedTuple):
    """The label as ranks (regression) or class numbers, from 0 and without a gap."""

    codes: Integers
    is_number: bool

    def take(self, rows: slice) -> "_Label":
        return _Label(self.codes[rows], self.is_number)


def warnings(table: Table, schema: Schema, extra: Sequence[str], copies: int = 0) -> list[str]:
    """Return warnings about what may be right but should be checked.

    Args:
        extra: the columns of the file that schema.json does not have.
        copies: how many rows are exact copies of another.
    """
    found = []
    if extra:
        names = ", ".join(extra[:EXAMPLES]) + (", ..." if len(extra) > EXAMPLES else "")
        found.append(f"{len(extra)} column(s) not in the schema were ignored: {names}")
    number = schema.problem == "regression"
    label = table.columns[schema.label]
    codes = _dense_rank(table.numbers(schema.label)) if number else classes_of(label)[0]
    for field in schema.features:
        for remark in _remarks(field, table.columns[field.name], _Label(codes, number), schema):
            found.append(f"column {field.name!r} {remark}")
    if copies:
        found.append(
            f"{copies} row(s) are exact copies of another; copies were kept in the same split"
        )
    return found


def _remarks(field: Field, column: Column, label: _Label, schema: Schema) -> Iterator[str]:
    if _is_constant(column):
        yield f"is constant: it says nothing about {schema.label!r}"
    elif remark := _identifier(field, column):
        yield f"looks like an identifier: {remark}; set its role to id in schema.json"
    elif _leaks(column, label):
        yield (
            f"leaks the label: it gives {schema.label!r} away almost without exception; if it is "
            "not known when a prediction is wanted, set its role to ignored in schema.json"
        )


def _is_constant(column: Column) -> bool:
    values = column.codes if isinstance(column, Categories) else column
    return bool((values == values[0]).all() or np.isnan(values).all())


def _identifier(field: Field, column: Column) -> str:
    if isinstance(column, Categories):
        distinct = np.unique(column.codes).size
        return f"{distinct} categories in its rows" if distinct > len(column.codes) / 2 else ""
    if field.is_date or not (column == np.floor(column)).all():
        return ""
    return "another whole number in each row" if np.unique(column).size == len(column) else ""


def _leaks(column: Column, label: _Label) -> bool:
    """Return whether the column gives the label away, in a sample of the rows and in all."""
    rows = len(label.codes)
    for every in {-(-rows // SAMPLE): None, 1: None}:
        part = slice(None, None, every)
        values = column.take(part) if isinstance(column, Categories) else column[part]
        if not _leaks_here(values, label.take(part)):
            return False
    return True


def _leaks_here(column: Column, label: _Label) -> bool:
    if isinstance(column, Categories):
        groups, codes = np.unique(column.codes, return_inverse=True)[1].reshape(-1), label.codes
    else:
        known = ~np.isnan(column)
        if not label.is_number and _told_apart(known.astype(np.int64), label.codes):
            return True
        groups, codes = _dense_rank(column[known]), label.codes[known]
    if len(codes) < MIN_ROWS or codes.min() == codes.max() or not groups.any():
        return False
    if label.is_number:
        if isinstance(column, Categories):
            return _explained(groups, codes) > LEAK
        return abs(float(np.corrcoef(groups, codes)[0, 1])) > LEAK
    if groups.max() < len(groups) // 10:
        return _told_apart(groups, codes)
    return _in_order(groups, codes)


def _explained(groups: Integers, ranks: Integers) -> float:
    """Return the share of the variance of ranks that the means of groups explain."""
    values: Floats = ranks - ranks.mean()
    sums, sizes = np.bincount(groups, values), np.bincount(groups)
    between = np.sum(sums**2 / np.maximum(sizes, 1))
    return float(between / np.sum(values**2))


def _told_apart(groups: Integers, codes: Integers) -> bool:
    """Return whether the majority class of each group errs in 1 % of the cases of a blind guess."""
    classes = int(codes.max()) + 1
    pairs, counts = np.unique(groups * classes + codes, return_counts=True)
    best = np.zeros(int(groups.max()) + 1, np.int64)
    np.maximum.at(best, pairs // classes, counts)
    blind = len(codes) - np.bincount(codes).max()
    return bool(len(codes) - best.sum() <= blind / 100)


def _in_order(ranks: Integers, codes: Integers) -> bool:
    """Return whether the rows, sorted by a column, have each class in one piece, nearly."""
    ordered = codes[np.argsort(ranks, kind="stable")]
    changes = np.count_nonzero(ordered[1:] != ordered[:-1])
    shares = np.bincount(codes) / len(codes)
    by_chance = len(codes) * (1 - np.sum(shares**2))
    return bool(changes <= max(np.count_nonzero(shares) - 1, by_chance / 100))


def _dense_rank(values: Floats) -> Integers:
    return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)
