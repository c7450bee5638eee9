"""Files to a sample: text columns of the first rows of each file, and what the files are."""

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sagemaker_project.errors import UsageError
from sagemaker_project.inspect_data import encodings
from sagemaker_project.inspect_data.findings import Cells, Doubt, Sample, count
from sagemaker_project.inspect_data.numbers import decimal_mark
from sagemaker_project.tabular.cells import is_number
from sagemaker_project.tabular.schema import FileFormat

if TYPE_CHECKING:  # imported only for Parquet
    import pyarrow as pa

ROWS, BYTES, CELLS = 100_000, 8_000_000, 1_000_000  # of a sample at most, of all files together
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".txt", ".parquet")
MADE_UP = re.compile(r"column_[1-9][0-9]*")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
UNEVEN = 0.1  # more rows than this with another number of cells: not this delimiter


class Part(NamedTuple):
    """The sample of one file."""

    columns: list[Cells]
    file: FileFormat
    whole: bool
    notes: list[Doubt]


def find_files(source: Path) -> list[Path]:
    """Return the file, or the parts of a folder: hidden files and names like _SUCCESS are none."""
    if not source.is_dir():
        if not source.is_file():
            raise UsageError(f"{source}: there is no such file or folder")
        return [source]
    parts = [
        path
        for path in sorted(source.iterdir())
        if path.is_file() and not path.name.startswith((".", "_"))
    ]
    files = [path for path in parts if path.name.endswith(SUFFIXES)]
    if not files:
        raise UsageError(f"{source}: has no file that ends in {', '.join(SUFFIXES)}")
    return files


def read_sample(source: Path, label: str) -> Sample:
    """Read the first rows of every file.

    Raises:
        UsageError: there is no table, no column `label`, or the files differ.
    """
    files = find_files(source)
    rows, size = max(ROWS // len(files), 1000), BYTES // len(files)
    parts = [_read(path, label, rows, size) for path in files]
    first = parts[0]
    for path, part in zip(files[1:], parts[1:], strict=True):
        _check_same(files[0], first, path, part)
    columns = [
        Cells(one.name, [text for part in parts for text in _column(part, one.name)], one.kind)
        for one in first.columns
    ]
    if not columns or not columns[0].texts:
        raise UsageError(f"{source}: has no rows of data")
    sample = Sample(
        columns=tuple(columns),
        file=first.file,
        files=tuple(path.name for path in files),
        whole=all(part.whole for part in parts),
        notes=tuple(note for part in parts for note in part.notes),
    )
    if sample.file.format == "parquet":
        return sample
    return replace(sample, file=replace(sample.file, decimal=decimal_mark(sample)))


def _column(part: Part, name: str) -> Sequence[str]:
    return next(column.texts for column in part.columns if column.name == name)


def _check_same(first: Path, one: Part, path: Path, other: Part) -> None:
    if one.file != other.file:
        raise UsageError(
            f"{path}: is {describe(other.file)}, and {first.name} is {describe(one.file)};"
            " all parts of a table are alike"
        )
    wanted, found = ({column.name for column in part.columns} for part in (one, other))
    if wanted != found:
        names = ", ".join(sorted(wanted ^ found))
        raise UsageError(f"{path}: has other columns than {first.name}: {names}")


def describe(file: FileFormat) -> str:
    """Say what a file is: `CSV, utf-8, separated by semicolons, decimal comma, header`."""
    if file.format == "parquet":
        return "Parquet"
    words = ["CSV in gzip" if file.compression else "CSV", file.encoding]
    words.append(f"separated by {SEPARATORS[file.delimiter]}")
    if file.decimal == ",":
        words.append("decimal comma")
    return ", ".join([*words, "header" if file.header else "no header"])


def _read(path: Path, label: str, rows: int, size: int) -> Part:
    with path.open("rb") as file:
        is_parquet = file.read(4) == encodings.PARQUET
    return _read_parquet(path, label, rows) if is_parquet else _read_csv(path, label, rows, size)


def _read_csv(path: Path, label: str, rows: int, size: int) -> Part:
    content, compression, whole = encodings.read_bytes(path, size)
    text, encoding = encodings.decode(path, content, whole)
    if not text.strip():
        raise UsageError(f"{path}: is empty")
    delimiter = encodings.delimiter(path, text)
    found = list(islice(_records(path, io.StringIO(text, newline=""), delimiter), rows + 2))
    if not whole or len(found) > rows + 1:
        found, whole = found[:-1], False  # the last one may be cut
    header = has_header(found, label)
    names = _names(path, found[0], label, header)
    body = found[1:] if header else found
    good, notes = _even(path, body, len(names), header)
    columns = [
        Cells(name, texts)
        for name, texts in zip(names, zip(*good, strict=True), strict=False)
        if name
    ]
    if "" in names:
        notes.append(Doubt(f"{path.name}: a column without a name is not read"))
    about = FileFormat("csv", compression, encoding, delimiter, header=header)
    return Part(columns, about, whole, notes)


def _records(path: Path, lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for record in reader:
            if reader.line_num == 1 and delimiter.join(record).lower() == f"sep={delimiter}":
                continue
            if any(record):
                yield record
    except csv.Error as error:
        raise UsageError(f"{path}: line {reader.line_num}: {error}") from None


def has_header(records: Sequence[Sequence[str]], label: str) -> bool:
    """Whether the first record names the columns: it has the label, or no numbers above some."""
    first = [cell.strip() for cell in records[0]]
    if label in first:
        return True
    if len(set(first)) < len(first) or any(not cell or is_number(cell) for cell in first):
        return False
    body = [row for row in records[1:1000] if len(row) == len(first)]
    numbers = [sum(is_number(row[n]) for row in body) for n in range(len(first))]
    return any(2 * found > len(body) for found in numbers)


def _names(path: Path, first: Sequence[str], label: str, header: bool) -> list[str]:
    names = [cell.strip() for cell in first]
    if not header:
        names = [f"column_{n}" for n in range(1, len(first) + 1)]
    _check_names(path, names, label, header)
    return names


def _check_names(path: Path, names: Sequence[str], label: str, header: bool = True) -> None:
    listed = ", ".join(name for name in names if name)
    if label not in names and not header:
        raise UsageError(
            f"{path}: has no header, so its columns are column_1 to column_{len(names)};"
            f" --label {label!r} is none of them"
        )
    if label not in names:
        raise UsageError(f"{path}: has no column {label!r} for --label; its columns are {listed}")
    double = [name for name, n in Counter(names).items() if name and n > 1]
    if double:
        raise UsageError(f"{path}: has the column {double[0]!r} twice; rename one")
    for name in names:
        if any(ord(letter) < 32 for letter in name):
            raise UsageError(f"{path}: the column {name!r} has a line break or a control character")


def _even(
    path: Path, body: Sequence[list[str]], width: int, header: bool
) -> tuple[list[list[str]], list[Doubt]]:
    """Return the rows of the right number of cells, and a note on the others."""
    good = [row for row in body if len(row) == width]
    bad = len(body) - len(good)
    if not bad:
        return good, []
    at, row = next((n, row) for n, row in enumerate(body) if len(row) != width)
    cells = count(len(row), "cell")
    text = f"{path.name}: record {at + 1 + header} has {cells}, wanted {width}"
    if bad > UNEVEN * len(body):
        raise UsageError(f"{text}; so have {count(bad, 'record')}: not a table that can be read")
    return good, [Doubt(f"{text}; repair {count(bad, 'such record')}, or training refuses them")]


def _read_parquet(path: Path, label: str, rows: int) -> Part:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(f"{path}: is Parquet, which needs pyarrow: pip install pyarrow") from None
    try:
        file = pq.ParquetFile(path)
        names = [name.strip() for name in file.schema_arrow.names]
        rows = min(rows, max(CELLS // len(names), 1000))
        batches = list(islice(file.iter_batches(batch_size=rows), 1))
        table = pa.Table.from_batches(batches, file.schema_arrow)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{path}: is Parquet that cannot be read: {reason}") from None
    _check_names(path, names, label)
    columns, notes = [], []
    for name, column in zip(names, table.columns, strict=True):
        kind = _kind(column.type)
        if kind and name:
            columns.append(Cells(name, _texts(column, kind), kind))
        else:
            notes.append(Doubt(f"{path.name}: the column {name!r} of {column.type} is not read"))
    whole = file.metadata.num_rows <= rows
    return Part(columns, FileFormat("parquet"), whole, notes)


def _kind(type_: "pa.DataType") -> str:
    """Return the type of a column of Parquet in the words of a schema; "" for lists and such."""
    import pyarrow.types as types

    if types.is_dictionary(type_):
        return _kind(type_.value_type)
    known = {
        "boolean": types.is_boolean(type_),
        "integer": types.is_integer(type_),
        "number": types.is_floating(type_) or types.is_decimal(type_),
        "date": types.is_date(type_),
        "datetime": types.is_timestamp(type_),
        "string": types.is_string(type_) or types.is_large_string(type_),
    }
    return next((kind for kind, is_it in known.items() if is_it), "")


def _texts(column: "pa.ChunkedArray", kind: str) -> list[str]:
    if kind == "datetime":
        import pyarrow as pa

        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)  # as in datetime
    values = column.to_pylist()
    if kind == "boolean":
        return ["" if value is None else str(value).lower() for value in values]
    return ["" if value is None or value != value else str(value) for value in values]


def all_counts(source: Path, sample: Sample, name: str) -> Counter[str]:
    """Return the cells of one column in all rows of all files: {text: rows}."""
    counts: Counter[str] = Counter()
    for path in find_files(source):
        if sample.file.format == "parquet":
            counts.update(_parquet_cells(path, name))
        else:
            counts.update(_csv_cells(path, sample, name))
    return counts


def _csv_cells(path: Path, sample: Sample, name: str) -> Iterator[str]:
    file = sample.file
    opened = gzip.open if file.compression else open
    encoding = "utf-8-sig" if file.encoding == "utf-8" else file.encoding
    try:
        with opened(path, "rt", encoding=encoding, newline="") as lines:
            records = _records(path, lines, file.delimiter)
            at = [one.name for one in sample.columns].index(name)
            if file.header:
                at = [cell.strip() for cell in next(records)].index(name)
            for record in records:
                if len(record) > at:
                    yield record[at]
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be read to its end: {error}") from None


def _parquet_cells(path: Path, name: str) -> Iterator[str]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(columns=[name]):
        yield from _texts(batch.column(0), _kind(batch.column(0).type))
