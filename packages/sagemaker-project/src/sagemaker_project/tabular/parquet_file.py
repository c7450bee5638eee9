"""A Parquet file to the parts of its columns: typed values go as they are, text as in CSV."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sagemaker_project.tabular import header
from sagemaker_project.tabular.cells import SECONDS, BadCell, value_of
from sagemaker_project.tabular.column_reader import ColumnReader, Part, Problems
from sagemaker_project.tabular.file_format import check_size
from sagemaker_project.tabular.schema import Schema
from sagemaker_project.tabular.table import BadInput, Floats, Integers

BATCH = 65_536  # rows
DAY = 86_400_000_000  # microseconds


class _OtherType(Exception):
    """A column of a Parquet type that this type of schema.json cannot take."""


def read(
    path: Path, schema: Schema, columns: Sequence[ColumnReader], problems: Problems
) -> tuple[list[Integers], tuple[str, ...]]:
    """Read a file; bad cells go to `problems`. Return the numbers of its rows, and unknown columns.

    Raises:
        BadInput: the columns or their types do not fit, or the file is damaged.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            check_size(8 * file.metadata.num_rows * len(columns))
            layout = header.by_name(names, schema, "the columns of the Parquet file")
            lines = list(_batches(file, [names[at] for at in layout.positions], columns, problems))
            return lines, layout.extra
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        text = " ".join(str(error).split())
        raise BadInput(f"the Parquet file is damaged ({text[:200]}): copy it again") from None


def _batches(
    file: Any, names: Sequence[str], columns: Sequence[ColumnReader], problems: Problems
) -> Iterator[Integers]:
    first = 1
    for batch in file.iter_batches(batch_size=BATCH, columns=names):
        lines = np.arange(first, first + batch.num_rows, dtype=np.int64)
        for column, name in zip(columns, names, strict=True):
            _read_column(column, batch.column(name), lines, problems)
        first += batch.num_rows
        yield lines


def _read_column(column: ColumnReader, found: Any, lines: Integers, problems: Problems) -> None:
    import pyarrow.types as types

    kind = found.type
    if types.is_dictionary(kind):
        found, kind = found.dictionary_decode(), kind.value_type
    try:
        if types.is_string(kind) or types.is_large_string(kind) or column.field.is_text:
            _texts(column, found, lines, problems)
        else:
            column.parts.append(_values(column, _floats(column, found), lines, problems))
    except _OtherType:
        raise BadInput(
            f"column {column.field.name!r} has the Parquet type {kind}, and schema.json says "
            f"{column.field.type}: correct the type there, or run inspect-data"
        ) from None


def _texts(column: ColumnReader, found: Any, lines: Integers, problems: Problems) -> None:
    """Read text by the rule of CSV; whole numbers and booleans have the text that CSV would."""
    import pyarrow
    import pyarrow.types as types

    kind = found.type
    if not (types.is_string(kind) or types.is_large_string(kind)):
        if not (types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind)):
            raise _OtherType
        found = found.cast(pyarrow.string())
    encoded = found.fill_null("").dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    part = column.from_distinct(texts, codes)
    if part is not None:
        column.parts.append(part)
    else:
        column.from_texts([texts[code] for code in codes], lines.tolist(), problems)


def _floats(column: ColumnReader, found: Any) -> Floats:
    """Return typed values as floats, NaN for null; dates as days since 1970."""
    import pyarrow
    import pyarrow.types as types

    kind = found.type
    if types.is_null(kind):
        return np.full(len(found), np.nan)
    if column.field.is_date:
        if types.is_date(kind):
            found = found.cast(pyarrow.timestamp("ms"))
        elif not types.is_timestamp(kind):
            raise _OtherType
        moments = found.cast(pyarrow.timestamp("us", found.type.tz), safe=False)
        return _days(moments.cast(pyarrow.int64()), found.is_null())
    allowed = types.is_boolean(kind) or types.is_integer(kind)
    if column.field.type != "boolean":
        allowed = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if not allowed:
        raise _OtherType
    if types.is_boolean(kind):
        found = found.cast(pyarrow.int8())
    if types.is_float16(kind):
        found = found.cast(pyarrow.float32())
    values: Floats = found.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def _days(microseconds: Any, is_null: Any) -> Floats:
    """Return days since 1970, by the arithmetic of cells.days."""
    whole = microseconds.fill_null(0).to_numpy(zero_copy_only=False)
    day, rest = np.divmod(whole, DAY)
    seconds = rest // 1_000_000 + rest % 1_000_000 / 1e6
    values: Floats = day + seconds / SECONDS
    values[is_null.to_numpy(zero_copy_only=False)] = np.nan
    return values


def _values(column: ColumnReader, values: Floats, lines: Integers, problems: Problems) -> Part:
    """Return numbers as the column has them; bad ones go to `problems`."""
    is_boolean = column.field.type == "boolean"
    fits = not is_boolean or bool(np.isin(values[~np.isnan(values)], [0.0, 1.0]).all())
    if fits and (settled := column.settled(values)) is not None:
        return settled
    result = np.full(len(values), np.nan)
    for row, value in enumerate(values.tolist()):
        try:
            result[row] = column.labelled(value_of(value, column.field))
        except BadCell as error:
            text = "" if math.isnan(value) else f"{value:.15g}"
            problems.add(int(lines[row]), column.field.name, text, str(error))
    return result
