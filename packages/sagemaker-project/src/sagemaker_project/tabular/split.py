"""Which split a row falls into, from the row alone.

    key    = XXH64, chained over 8-byte cells as Spark's xxhash64 does it: the split's seed first,
             then the cells of the key's columns in the order of their names
    cell   = number, boolean, date: IEEE 754 double; no value is NaN, -0.0 is 0.0
             text: XXH64 of its UTF-8; no value is the empty text
    bucket = key mod 10,000: below 7,000 train, below 8,500 validation, else test

So a row stays where it is when rows are added, the order changes or the file is cut into parts;
equal rows stay together, and so do all rows of a group; and a model can be compared with an earlier
one on rows that neither was trained on. The price: nothing balances the splits. Their sizes and
shares of a class differ by chance, which `check_split` reports where it matters. What that costs,
as the standard deviation of a test metric over 60 seeds, hashed and (stratified by the label):

    Abalone, 4,177 rows               mse 4.5 +- 0.38     (0.26)
    4,000 rows, half of them positive AUC 0.90 +- 0.012   (0.011)
    4,000 rows, 14 % positive         AUC 0.79 +- 0.028   (0.025)

The means agree. It matters less for a model and its champion: they are scored on the same rows.

A split by time compares the date of a row with two dates of schema.json instead.
"""

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt

from sagemaker_project.tabular import cells
from sagemaker_project.tabular.schema import Field, Schema
from sagemaker_project.tabular.table import BadInput, Categories, Column, Floats, Integers, Table
from sagemaker_project.tabular.xxhash64 import SEED, Hashes, hash_cells, hash_texts

SPLITS = ("train", "validation", "test")
BUCKETS = 10_000
BOUNDS = (7_000, 8_500)  # buckets where validation and test begin
SHARES = (70, 15, 15)  # percent
NAN = np.uint64(0x7FF8000000000000)
FEW_KEYS = 200  # below it, chance moves the share of test by more than 2.5 points
FAR_SHARE = 5  # points from the wanted share that are reported
OLD_SHARE = 60  # percent of rows in train below which dates of a time split are old
SEEDS_TRIED = 1_000
SEEDS_AT_ONCE = 50
KEYS_TRIED = 100  # of a class; one with more is in all splits under any seed
ROWS_OF_A_CLASS = 20  # distinct keys with which most seeds leave no split without the class

Parts = npt.NDArray[np.int8]


def keys(table: Table, schema: Schema) -> Integers:
    """Return the key of each row, signed as Spark has it."""
    return _keys(_key_cells(table, schema), np.uint64(schema.split.seed)).view(np.int64)


def row_hashes(table: Table, keys: Integers, schema: Schema) -> Integers:
    """Extend each row's key over the columns that are not in it: equal for equal rows."""
    hashes = keys.view(np.uint64)
    for field in schema.used:
        if field.name not in schema.split.columns:
            hashes = hash_cells(_cells(table.columns[field.name]), hashes)
    return hashes.view(np.int64)


def split_of(table: Table, schema: Schema) -> Parts:
    """Return each row's split, as its index in SPLITS.

    Raises:
        BadInput: a row has no date to split by, or the schema's dates are none.
    """
    if schema.split.time:
        return _split_by_time(table, schema)
    return split_of_keys(keys(table, schema))


def split_of_keys(keys: Integers) -> Parts:
    return np.searchsorted(BOUNDS, np.mod(keys, BUCKETS), side="right").astype(np.int8)


def classes_of(label: Column) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Return the class number of each row, and the classes: in numeric or else in text order."""
    if isinstance(label, Categories):
        used = np.flatnonzero(np.bincount(label.codes, minlength=len(label.values)))
        order = sorted(used.tolist(), key=lambda code: label.values[code])
        number = np.zeros(len(label.values), np.int64)
        number[order] = np.arange(len(order))
        return number[label.codes], tuple(label.values[code] for code in order)
    values, codes = np.unique(label, return_inverse=True)
    return codes.reshape(-1), tuple(cells.class_name(value) for value in values.tolist())


def _key_cells(table: Table, schema: Schema) -> list[Hashes]:
    return [_cells(table.columns[name]) for name in sorted(schema.split.columns)]


def _cells(column: Column) -> Hashes:
    if isinstance(column, Categories):
        return hash_texts(column.values)[column.codes]
    values = column + 0.0  # -0.0 becomes 0.0
    return np.where(np.isnan(values), NAN, values.view(np.uint64))


def _keys(columns: Sequence[Hashes], seed: Hashes | np.uint64) -> Hashes:
    hashes: Hashes = hash_cells(np.asarray(seed, np.uint64), SEED)
    for column in columns:
        hashes = hash_cells(column, hashes)
    return hashes


# By time


def _split_by_time(table: Table, schema: Schema) -> Parts:
    days = table.numbers(schema.split.time)
    if (undated := np.flatnonzero(np.isnan(days))).size:
        raise BadInput(
            f"{table.where(int(undated[0]))}, column {schema.split.time!r}: no date in "
            f"{len(undated)} row(s), and rows are split by it; fill it in, or remove the rows"
        )
    bounds = [
        _bound("validationFrom", schema.split.validation_from),
        _bound("testFrom", schema.split.test_from),
    ]
    return np.searchsorted(bounds, days, side="right").astype(np.int8)


def _bound(name: str, text: str) -> float:
    try:
        return cells.days(text)
    except cells.BadCell as error:
        raise BadInput(f"schema.json: split.{name}: {text!r} {error}") from None


def split_dates(days: Floats, field: Field) -> tuple[str, str]:
    """Return the dates that leave 70, 15 and 15 % of the rows before, between and after them.

    No split is empty if there are three distinct dates.
    """
    ordered, distinct = np.sort(days), np.unique(days)
    first, second = (float(ordered[len(ordered) * bound // BUCKETS]) for bound in BOUNDS)
    if len(distinct) >= len(SPLITS):
        first = min(max(first, float(distinct[1])), float(distinct[-2]))
        second = max(second, float(distinct[np.searchsorted(distinct, first, side="right")]))
    return _iso_8601(first, field), _iso_8601(second, field)


def _iso_8601(days: float, field: Field) -> str:
    whole = math.floor(days)
    day = date.fromordinal(cells.EPOCH + whole)
    if field.type == "date":
        return day.isoformat()
    moment = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    moment += timedelta(seconds=round((days - whole) * cells.SECONDS))
    return moment.isoformat().replace("+00:00", "Z")


# Checks


def check_split(table: Table, schema: Schema, parts: Parts) -> list[str]:
    """Return warnings about the splits of a table.

    Raises:
        BadInput: a split has no rows, or a split lacks a class of the label.
    """
    sizes = np.bincount(parts, minlength=3)
    _check_complete(table, schema, parts, sizes)
    shares = [100 * int(size) / len(parts) for size in sizes]
    if schema.split.time:
        return _warn_of_old_dates(table, schema, shares)
    warnings = _warn_of_missing_groups(table, schema)
    distinct = len(np.unique(keys(table, schema)))
    far = max(abs(share - wanted) for share, wanted in zip(shares, SHARES, strict=True))
    if distinct < FEW_KEYS or far > FAR_SHARE:
        columns = ", ".join(map(repr, schema.split.columns[:5]))
        columns += ", ..." if len(schema.split.columns) > 5 else ""
        warnings.append(
            f"the splits have {_percent(shares)} of the rows, wanted {_percent(SHARES)}: "
            f"{distinct} distinct value(s) of the split's {columns}, and rows with equal ones "
            "stay together; metrics of a small test split vary much"
        )
    return warnings


def _percent(shares: Sequence[float]) -> str:
    return ", ".join(f"{share:.0f}" for share in shares[:2]) + f" and {shares[2]:.0f} %"


def _warn_of_missing_groups(table: Table, schema: Schema) -> list[str]:
    warnings = []
    for name in schema.split.group:
        column = table.columns[name]
        if isinstance(column, Categories):
            count = column.counts().get("", 0)
        else:
            count = int(np.count_nonzero(np.isnan(column)))
        if count:
            warnings.append(
                f"column {name!r}, by which rows are grouped into splits, has no value in "
                f"{count} row(s): they count as one group"
            )
    return warnings


def _warn_of_old_dates(table: Table, schema: Schema, shares: Sequence[float]) -> list[str]:
    if shares[0] >= OLD_SHARE:
        return []
    return [
        f"the dates of the time split are old: the splits have {_percent(shares)} of the rows, and "
        f"the model learns from none after {schema.split.validation_from}; "
        f"{_advise_dates(table, schema)} (the model that serves is then not comparable)"
    ]


def _advise_dates(table: Table, schema: Schema) -> str:
    name = schema.split.time
    first, second = split_dates(table.numbers(name), schema.field(name))
    return (
        f"set split.validationFrom to {first} and split.testFrom to {second} in schema.json "
        "for 70, 15 and 15 %"
    )


def _advise_dates_of_class(table: Table, schema: Schema, rows: npt.NDArray[np.bool_]) -> str:
    days, field = table.numbers(schema.split.time)[rows], schema.field(schema.split.time)
    first, last = (_iso_8601(float(day), field) for day in (days.min(), days.max()))
    return (
        f"its rows are from {first} to {last}: move split.validationFrom and split.testFrom in "
        "schema.json so that each split has some, or add rows"
    )


def _check_complete(table: Table, schema: Schema, parts: Parts, sizes: Integers) -> None:
    names: tuple[str, ...] = ("",)
    codes: Integers = np.zeros(len(table), np.int64)
    if schema.problem != "regression":
        codes, names = classes_of(table.columns[schema.label])
    counts = np.bincount(codes * 3 + parts, minlength=3 * len(names)).reshape(-1, 3)
    if counts.all():
        return
    empty = np.flatnonzero(sizes == 0)
    if empty.size:
        what = f"the {SPLITS[empty[0]]} split has no rows"
        thin = int(np.argmin(counts.sum(axis=1)))
        dates = f"{_advise_dates(table, schema)}, or add rows" if schema.split.time else ""
    else:
        thin, part = (int(place[0]) for place in np.nonzero(counts == 0))
        what = f"class {names[thin]!r} of column {schema.label!r} has no row in {SPLITS[part]}"
        dates = _advise_dates_of_class(table, schema, codes == thin) if schema.split.time else ""
    raise BadInput(f"{what}; {dates or _advise_seed(table, schema, codes, names, thin)}")


def _advise_seed(
    table: Table, schema: Schema, codes: Integers, names: Sequence[str], thin: int
) -> str:
    """Name a seed under which each split has each class, or the rows to add if none is found."""
    found = keys(table, schema)
    rows = _first_rows(found, codes, len(names))
    seed = _working_seed(_key_cells(table.take(rows), schema), codes[rows], len(names))
    if seed is not None:
        has = "each split has rows" if names == ("",) else "each split has each class"
        return f"set split.seed to {seed} in schema.json: then {has}"
    distinct = len(np.unique(found[codes == thin]))
    more = max(ROWS_OF_A_CLASS - distinct, 1)
    of_class = f" of class {names[thin]!r}" if names != ("",) else ""
    columns = ", ".join(map(repr, schema.split.columns[:5]))
    return (
        f"no seed was found that works: add at least {more} row(s){of_class} with other values of "
        f"{columns} ({distinct} now; rows with equal ones stay together)"
    )


def _first_rows(keys: Integers, codes: Integers, classes: int) -> Integers:
    """Return up to KEYS_TRIED rows of each class, with distinct keys."""
    chosen = []
    for number in range(classes):
        rows = np.flatnonzero(codes == number)
        first = np.unique(keys[rows], return_index=True)[1]
        chosen.append(rows[first[:KEYS_TRIED]])
    return np.concatenate(chosen)


def _working_seed(columns: Sequence[Hashes], codes: Integers, classes: int) -> int | None:
    """Return the first seed that puts each class into each split; many are tried at once."""
    if np.bincount(codes, minlength=classes).min() < len(SPLITS):
        return None
    for start in range(0, SEEDS_TRIED, SEEDS_AT_ONCE):
        seeds = np.arange(start, start + SEEDS_AT_ONCE, dtype=np.uint64)
        parts = split_of_keys(_keys(columns, seeds[:, np.newaxis]).view(np.int64))
        for row, seed in zip(parts, seeds.tolist(), strict=True):
            if np.bincount(codes * 3 + row, minlength=3 * classes).all():
                return int(seed)
    return None
