"""The preprocessing step: read, clean, split, describe, write.

What is wrong with the data as a whole is refused, and nothing is written. Everything else that was
found is in report/data_report.json, and in the lines of `summary`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from sagemaker_project.tabular.cleaning import Note, check_rows, clean, warnings
from sagemaker_project.tabular.description import Description, count_classes, describe
from sagemaker_project.tabular.schema import Schema, read_schema
from sagemaker_project.tabular.script import Content, as_json, sha256_of, write_all
from sagemaker_project.tabular.split import SPLITS, Parts, check_split, keys, row_hashes, split_of
from sagemaker_project.tabular.splits import write_split
from sagemaker_project.tabular.table import BadInput, Table

__all__ = ["Folders", "data_url", "preprocess", "summary"]


class Folders(NamedTuple):
    """Where the outputs go: train.csv and schema.json, validation.csv, test.csv, the report."""

    train: Path
    validation: Path
    test: Path
    report: Path


class Source(NamedTuple):
    """What was read: a table, columns that schema.json does not have, and what is to be told."""

    table: Table
    extra: Sequence[str]
    header: bool
    notes: Sequence[str]


class Origin(TypedDict):
    """Where the data are from."""

    file: str
    files: list[str]
    url: str
    data_sha256: str


class Found(TypedDict):
    """What there is to say of a table and its splits."""

    header: bool
    rows: dict[str, int]
    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    dropped: list[Note]
    suspicious: list[Note]
    warnings: list[str]
    columns: dict[str, Description]


class Rules(TypedDict):
    """What the result depends on, besides the data."""

    seed: int
    split: Mapping[str, Any]
    split_sha256: str
    schema_sha256: str


class Report(Origin, Rules, Found):
    """The content of data_report.json."""


class Prepared(NamedTuple):
    """The rows that are kept, the split of each, and what was found."""

    table: Table
    parts: Parts
    found: Found


def preprocess(source: Path, schema_file: Path, folders: Folders, url: str = "unknown") -> Report:
    """Read a file, or a folder of files, and write its splits and their report: all or nothing.

    Args:
        url: of the data, for the report.

    Raises:
        BadInput: the data, or what schema.json wants of them, is wrong.
        SchemaError: schema.json is wrong.
        OSError: a file cannot be read or written.
    """
    schema_bytes = schema_file.read_bytes()
    schema = read_schema(schema_bytes, schema_file.name)
    files, read = _read(source, schema)
    name = files[0].name if len(files) == 1 else source.name
    try:
        prepared = prepare(read, schema)
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from None
    origin: Origin = {
        "file": name,
        "files": [file.name for file in files],
        "url": url,
        "data_sha256": _sha256_of_all(files),
    }
    report: Report = {**origin, **_rules(schema), **prepared.found}
    write_all(
        {
            **_split_files(prepared, schema, folders),
            folders.train / "schema.json": schema_bytes,
            folders.report / "data_report.json": as_json(report),
        }
    )
    return report


def _read(source: Path, schema: Schema) -> tuple[list[Path], Source]:
    from sagemaker_project.tabular.reading import find_files, read_table

    files = find_files(source, schema)
    return files, Source(*read_table(files, schema))


def prepare(read: Source, schema: Schema) -> Prepared:
    """Clean a table and split it.

    Raises:
        BadInput: there is too little to learn from, or a split lacks rows or a class.
    """
    table, dropped, odd = clean(read.table, schema)
    hashes = row_hashes(table, keys(table, schema), schema)
    copies = len(table) - len(np.unique(hashes))
    check_rows(table, schema, len(read.table), copies)
    parts = split_of(table, schema)
    told = check_split(table, schema, parts)
    sizes = np.bincount(parts, minlength=len(SPLITS)).tolist()
    found: Found = {
        "header": read.header,
        "rows": {
            "read": len(read.table),
            "dropped": len(read.table) - len(table),
            "kept": len(table),
            "copies": copies,
        },
        "splits": dict(zip(SPLITS, sizes, strict=True)),
        "classes": count_classes(table, schema, parts),
        "dropped": dropped,
        "suspicious": odd,
        "warnings": [*read.notes, *told, *warnings(table, schema, read.extra, copies)],
        "columns": describe(table, schema, parts),
    }
    return Prepared(table, parts, found)


def _rules(schema: Schema) -> Rules:
    return {
        "seed": schema.split.seed,
        "split": schema.content["split"],
        "split_sha256": schema.split_sha256,
        "schema_sha256": schema.sha256,
    }


def _sha256_of_all(files: Sequence[Path]) -> str:
    """Return the sha256 of a file; of several, that of their names and hashes, as sha256sum has it.

    So it changes with the content of each, and with its name.
    """
    if len(files) == 1:
        return sha256_of(files[0])
    lines = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _split_files(prepared: Prepared, schema: Schema, folders: Folders) -> dict[Path, Content]:
    def writer(part: int) -> Content:
        return lambda path: write_split(
            path, prepared.table.take(prepared.parts == part), schema
        )  # a split is taken when it is written: only one is in memory

    return {folders[part] / f"{name}.csv": writer(part) for part, name in enumerate(SPLITS)}


def data_url(job: Path) -> str:
    """Return the S3 URI of the data, which only the description of the job knows, or "unknown"."""
    try:
        inputs = json.loads(job.read_bytes())["ProcessingInputs"]
        [url] = [item["S3Input"]["S3Uri"] for item in inputs if item["InputName"] == "input-data"]
    except (OSError, ValueError, LookupError, TypeError):
        return "unknown"
    return str(url)


def summary(report: Report) -> Iterator[str]:
    """Yield the lines that tell a person what was done and found."""
    rows, splits = report["rows"], report["splits"]
    yield (
        f"{report['file']}: {rows['read']:,} rows read, {rows['dropped']:,} dropped; "
        + ", ".join(f"{count:,} {name}" for name, count in splits.items())
    )
    yield from _lines_of_notes("dropped", report["dropped"])
    yield from _lines_of_notes("suspicious", report["suspicious"])
    for text in report["warnings"]:
        yield f"warning: {text}"


def _lines_of_notes(kind: str, notes: Sequence[Note]) -> Iterator[str]:
    for note in notes:
        examples = note["examples"]
        files = [f"{example['file']}:" if "file" in example else "" for example in examples]
        places = zip(files, examples, strict=True)
        lines = ", ".join(f"{file}{example['line']}" for file, example in places)
        where = f"column {note['column']!r} {note['reason']}"
        yield f"{kind}: {where} in {note['count']:,} row(s), line {lines}"
