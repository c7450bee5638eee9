"""Made-up rows that fit a schema: for the tests and the demo of a project, and for staging.

Every column of the file gets cells of its type: within its range, of its categories, dates in its
pattern, now and then a word that means no value. The label follows from a few features, with a
little noise, so that a model learns something. The same schema, count and seed give the same rows.
"""

import gzip
import math
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sagemaker_project.tabular.cells import BadCell, days, parser
from sagemaker_project.tabular.client import csv_body
from sagemaker_project.tabular.schema import FALSE_VALUES, TRUE_VALUES, Field, Schema

if TYPE_CHECKING:  # imported only for Parquet
    import pyarrow as pa

Maker: TypeAlias = Callable[[float, int], str]  # from 0 <= u < 1 and the number of the row

WEIGHTS = (1.0, 0.5, 0.25)  # of the features that the label follows from
NOISE = 0.05
MISSING = 0.02  # of the cells of a feature
CATEGORIES = tuple("abcdefgh")
ROWS_OF_GROUP = 5
FIRST, LAST = "2020-01-01", "2024-12-31"  # where the schema gives no range
EPOCH = datetime(1970, 1, 1)


def rows(schema: Schema, count: int, seed: int) -> list[dict[str, str]]:
    """Return `count` made-up rows: {column: text of the cell}, for every column of the file."""
    chance = random.Random(seed)
    makers = {field.name: _maker(field, schema) for field in schema.fields}
    label = _label_maker(schema)
    whole = {*schema.split.group, schema.split.time}
    weighed = _weighed(schema)
    made = []
    for row in range(count):
        chances = {field.name: chance.random() for field in schema.fields}
        score = sum(w * chances[name] for name, w in weighed) + chance.gauss(0, NOISE)
        cells = {name: make(chances[name], row) for name, make in makers.items()}
        for field in schema.features:
            if chance.random() < MISSING and field.name not in whole:
                cells[field.name] = chance.choice(sorted(field.missing))
        cells[schema.label] = label(min(max(score, 0.0), 0.999), row)
        made.append({field.name: cells[field.name] for field in schema.fields})
    return made


def _weighed(schema: Schema) -> list[tuple[str, float]]:
    """Return the features that the label follows from, with weights whose sum is 1.

    Not those of the split: else a split could lack a class.
    """
    split = {*schema.split.group, schema.split.time}
    names = [field.name for field in schema.features]
    names = [name for name in names if name not in split] or names
    weights = WEIGHTS[: len(names)]
    return [(name, w / sum(weights)) for name, w in zip(names, weights, strict=False)]


def _label_maker(schema: Schema) -> Maker:
    """Return the label of a score: a number of its range, or one of its classes in their order."""
    if schema.problem == "regression":
        return _maker(schema.label_field, schema)
    names = _classes(schema)
    # Scores lie about the middle: cuts nearer to it give each class its rows.
    inner = len(names) * 1.7 if len(names) > 2 else 2.0
    start = (len(names) - inner) / 2
    last = len(names) - 1
    return lambda u, row: names[min(max(int(start + u * inner), 0), last)]


def _classes(schema: Schema) -> list[str]:
    """Return the texts of the classes; of two, the positive one last."""
    field = schema.label_field
    if field.type == "boolean":
        return [_first(FALSE_VALUES, field.false_values), _first(TRUE_VALUES, field.true_values)]
    if field.values:
        names = [name for name in field.values if name.lower() not in field.missing]
    elif field.type == "integer":
        low = int(field.minimum) if math.isfinite(field.minimum) else 0
        most = 2 if schema.problem == "binary" else 3
        high = int(field.maximum) if math.isfinite(field.maximum) else low + most - 1
        names = [str(n) for n in range(low, high + 1)]
    else:
        names = ["a", "b", "c"]
    if schema.problem != "binary":
        return names
    others = [name for name in names if name != schema.positive]
    return [others[0] if others else f"not {schema.positive}", schema.positive]


def _first(order: Sequence[str], words: frozenset[str]) -> str:
    return next((word for word in order if word in words), min(words))


def _maker(field: Field, schema: Schema) -> Maker:
    """Return the function that makes a cell of a column."""
    if field.name in schema.split.group:
        one = _plain_maker(field, schema)
        return lambda u, row: one(0.0, row // ROWS_OF_GROUP)
    return _plain_maker(field, schema)


def _plain_maker(field: Field, schema: Schema) -> Maker:
    if field.role == "id" or field.name in schema.split.group:
        return lambda u, row: _identifier(field, row)
    if field.type == "boolean":
        no, yes = _first(FALSE_VALUES, field.false_values), _first(TRUE_VALUES, field.true_values)
        return lambda u, row: yes if u >= 0.5 else no
    if field.is_text:
        return _text_maker(field)
    if field.is_date:
        return _date_maker(field, schema)
    return _number_maker(field, schema.file.decimal)


def _identifier(field: Field, row: int) -> str:
    if field.is_text:
        return f"id-{row:06}"
    if field.is_date:
        return _date_text(days(FIRST) + row, field)
    low, _ = _range(field)
    return f"{math.ceil(low) + row}"


def _text_maker(field: Field) -> Maker:
    values = [value for value in field.values or CATEGORIES if value.lower() not in field.missing]
    values = values or ["a"]
    return lambda u, row: values[int(u * len(values))]


def _range(field: Field) -> tuple[float, float]:
    """Return the least and the greatest number to make; each may be open in the schema."""
    low, high = field.minimum, field.maximum
    if math.isinf(low) and math.isinf(high):
        return 0.0, 100.0
    if math.isinf(low):
        return high - 100, high
    return low, low + 100 if math.isinf(high) else high


def _number_maker(field: Field, decimal: str) -> Maker:
    """A number that means no value (a sentinel), or 0 where 0 is odd, moves up a little."""
    low, high = _range(field)
    parse = parser(field, decimal)

    def make(u: float, row: int) -> str:
        for step in range(100):
            share = (u + step * 0.0137) % 1.0
            value = low * (1 - share) + high * share
            text = _number_text(value, low, high, field).replace(".", decimal)
            found = parse(text)
            if not math.isnan(found) and not (field.zero_is_odd and found == 0):
                return text
        return text

    return make


def _number_text(value: float, low: float, high: float, field: Field) -> str:
    if field.type == "integer":
        return str(min(max(round(value), math.ceil(low)), math.floor(high)))
    rounded = float(f"{value:.4g}")
    return repr(rounded if low <= rounded <= high else value)


def _date_maker(field: Field, schema: Schema) -> Maker:
    low, high = _dates(field, schema)

    def make(u: float, row: int) -> str:
        return _date_text(low + u * (high - low), field)

    return make


def _dates(field: Field, schema: Schema) -> tuple[float, float]:
    """Return the first and the last day; for a split by time so that 70 and 85 % are before it."""
    split = schema.split
    if field.name == split.time:
        validation, test = days(split.validation_from), days(split.test_from)
        a_percent = (test - validation) / 15
        return validation - 70 * a_percent, test + 15 * a_percent
    low, high = field.minimum, field.maximum
    if math.isinf(low):
        low = days(FIRST) if math.isinf(high) else min(days(FIRST), high - 1000)
    return low, max(days(LAST), low + 1000) if math.isinf(high) else high


def _date_text(value: float, field: Field) -> str:
    whole = math.floor(value)
    moment = EPOCH + timedelta(days=whole, seconds=int((value - whole) * 86_400))
    if field.format:
        return moment.strftime(field.format.replace("%z", "+0000"))
    return moment.isoformat(" ") if field.type == "datetime" else moment.date().isoformat()


def write_csv(schema: Schema, count: int, seed: int, path: Path) -> None:
    """Write made-up rows to a file as the schema's `file` says; Parquet where it says so."""
    made = rows(schema, count, seed)
    if schema.file.format == "parquet":
        _write_parquet(schema, made, path)
        return
    header = [[field.name for field in schema.fields]] if schema.file.header else []
    lines = [*header, *(list(row.values()) for row in made)]
    content = csv_body(lines, schema.file.delimiter).encode(schema.file.encoding)
    if schema.file.compression:
        content = gzip.compress(content, mtime=0)
    path.write_bytes(content)


def _write_parquet(schema: Schema, made: Sequence[Mapping[str, str]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {
        field.name: _array(field, [row[field.name] for row in made]) for field in schema.fields
    }
    pq.write_table(pa.table(arrays), path)


def _array(field: Field, texts: Sequence[str]) -> "pa.Array":
    import pyarrow as pa

    if field.is_text:
        return pa.array([None if text.lower() in field.missing else text for text in texts])
    parse = parser(field)
    numbers = [_number_or_none(parse, text) for text in texts]
    if field.type == "boolean":
        return pa.array([None if n is None else n == 1 for n in numbers], pa.bool_())
    if field.type == "integer":
        return pa.array([None if n is None else int(n) for n in numbers], pa.int64())
    if field.type == "number":
        return pa.array(numbers, pa.float64())
    moments = [None if n is None else EPOCH + timedelta(days=n) for n in numbers]
    return pa.array(moments, pa.timestamp("us") if field.type == "datetime" else pa.date32())


def _number_or_none(parse: Callable[[str], float], text: str) -> float | None:
    try:
        value = parse(text)
    except BadCell:
        return None
    return None if math.isnan(value) else value
