"""Made-up tables, and the reading of them at both speeds and in blocks of several sizes."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from sagemaker_project.tabular import file_format
from sagemaker_project.tabular.csv_fast import FastReader
from sagemaker_project.tabular.reading import ReadTable, read_table
from sagemaker_project.tabular.schema import Schema, read_schema
from sagemaker_project.tabular.table import BadInput, Categories

MEASURES = ["length", "diameter", "height", "whole_weight", "shucked_weight", "shell_weight"]
FIELDS: list[dict[str, Any]] = [
    {"name": "sex", "type": "string"},
    *({"name": name, "type": "number"} for name in MEASURES),
    {"name": "rings", "type": "integer"},
]
NAMES = [field["name"] for field in FIELDS]
HEADER = ",".join(NAMES)


def schema_of(fields: Sequence[dict[str, Any]] = FIELDS, **file: object) -> Schema:
    """The schema of these fields, whose last is the label; `file` describes their file."""
    label = fields[-1]
    problem, metric = "regression", {"name": "mse", "at_most": 6.0}
    if label["type"] not in ("number", "integer"):
        problem, metric = "multiclass", {"name": "accuracy", "at_least": 0.5}
    content = {
        "fields": list(fields),
        "label": label["name"],
        "problem": problem,
        "metric": metric,
        "split": {"seed": 42, "by": [fields[0]["name"]]},
        "file": {"header": False, **file},
    }
    return read_schema(json.dumps(content).encode())


def rows_of(count: int) -> list[str]:
    rng = random.Random(7)
    rows = []
    for _ in range(count):
        measures = [f"{rng.uniform(0.1, 0.9):.4f}" for _ in MEASURES]
        rows.append(",".join([rng.choice("FIM"), *measures, str(rng.randint(3, 15))]))
    return rows


LINES = rows_of(60)


def text_of(lines: Sequence[str] = LINES, newline: str = "\n") -> str:
    return newline.join(lines) + newline


def with_line(number: int, line: str) -> str:
    """The clean file with line `number` (from 1) replaced."""
    return text_of([*LINES[: number - 1], line, *LINES[number:]])


def with_cell(number: int, name: str, value: str) -> str:
    cells = LINES[number - 1].split(",")
    cells[NAMES.index(name)] = value
    return with_line(number, ",".join(cells))


def bits(value: Any) -> Any:
    """A column as texts, or as the bits of its floats, all NaN alike; or one float so."""
    if isinstance(value, Categories):
        return list(value.texts)
    floats = np.asarray(value, np.float64)
    return np.where(np.isnan(floats), np.nan, floats).view(np.int64).tolist()


def values_of(found: ReadTable) -> dict[str, Any]:
    return {name: bits(column) for name, column in found.table.columns.items()}


Read = Callable[..., ReadTable]


def outcome(files: Sequence[Path], schema: Schema) -> ReadTable | str:
    try:
        return read_table(files, schema)
    except BadInput as error:
        assert "\n" not in str(error) and len(str(error)) < 1024
        return str(error)


def both(files: Sequence[Path], schema: Schema) -> ReadTable:
    """Read at both speeds and in small blocks; the answers must be equal. Raise what was raised."""
    found = outcome(files, schema)
    with mock.patch.object(FastReader, "read", return_value=None):
        assert same(outcome(files, schema), found)
    for size in (64, 999) if sum(file.stat().st_size for file in files) < 50_000 else ():
        with mock.patch.object(file_format, "BLOCK", size):
            small = outcome(files, schema)
            assert same(small, found) or (isinstance(small, str) and isinstance(found, str))
    if isinstance(found, str):
        raise BadInput(found)
    return found


def same(one: ReadTable | str, two: ReadTable | str) -> bool:
    if isinstance(one, str) or isinstance(two, str):
        return one == two
    rest = [(t.extra, t.header, t.notes, t.table.files, list(t.table.line)) for t in (one, two)]
    return (
        rest[0] == rest[1]
        and list(one.table.file) == list(two.table.file)
        and values_of(one) == values_of(two)
    )


def reader(folder: Path) -> Read:
    """Return what writes these contents to files in the folder, and reads them by both()."""

    def read(*contents: str | bytes, schema: Schema | None = None, name: str = "data") -> ReadTable:
        suffix = ".parquet" if schema and schema.file.format == "parquet" else ".csv"
        files = []
        for number, content in enumerate(contents):
            files.append(folder / f"{name}{number or ''}{suffix}")
            files[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
        return both(files, schema or schema_of())

    return read
