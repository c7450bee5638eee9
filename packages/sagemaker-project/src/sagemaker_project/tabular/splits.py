"""The splits as files: CSV with a header and the used columns in the schema's order.

Text is quoted and nothing else is. A number is the shortest text that reads back as the same 64
bits; a whole one has no point. Dates are days since 1970-01-01, booleans 1 and 0, no value is an
empty field.
"""

from pathlib import Path
from typing import Any

import numpy as np

from sagemaker_project.tabular.schema import Field, Schema
from sagemaker_project.tabular.table import BadInput, Categories, Column, Table

__all__ = ["read_split", "write_split"]

ROWS_AT_ONCE = 16_384
BLOCK = 16 * 1024**2  # bytes; the longest row that can be read


def write_split(path: Path, table: Table, schema: Schema) -> None:
    """Write a table; memory does not grow with its rows."""
    import pyarrow as pa
    import pyarrow.csv as csv

    columns = [(field, table.columns[field.name]) for field in schema.used]
    types = pa.schema([(field.name, _type(field)) for field, _ in columns])
    values = {  # of the categories, once
        field.name: pa.array([value or None for value in column.values], pa.string())
        for field, column in columns
        if isinstance(column, Categories)
    }
    with csv.CSVWriter(path, types) as writer:
        for start in range(0, len(table), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            arrays = [
                values[field.name].take(pa.array(column.codes[rows]))
                if isinstance(column, Categories)
                else pa.array(column[rows], from_pandas=True)  # NaN becomes null
                for field, column in columns
            ]
            writer.write_batch(pa.record_batch(arrays, schema=types))


def read_split(path: Path, schema: Schema) -> Table:
    """Read what write_split wrote. The line of a row is right where no category has a line break.

    Raises:
        BadInput: the file is not a split of this schema.
        OSError: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.csv as csv

    names = [field.name for field in schema.used]
    try:
        read = csv.read_csv(
            path,
            read_options=csv.ReadOptions(block_size=BLOCK),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types={field.name: _type(field) for field in schema.used},
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid as error:
        first = str(error).splitlines()[0]
        raise BadInput(f"{path.name}: {first}; run the step that wrote it again") from None
    if read.column_names != names:
        raise BadInput(
            f"{path.name}: its columns are {','.join(read.column_names)}, wanted those of "
            f"schema.json: {','.join(names)}; run the step that wrote it again"
        )
    columns = {name: _column(read.column(name)) for name in names}
    rows = read.num_rows
    return Table(columns, (path.name,), np.zeros(rows, np.int32), np.arange(2, rows + 2))


def _type(field: Field) -> Any:
    import pyarrow as pa

    return pa.string() if field.is_text else pa.float64()


def _column(read: Any) -> Column:
    """Return a column of pyarrow as one of ours; a category's number follows its appearance."""
    import pyarrow as pa

    if read.type == pa.float64():
        return np.array(read.to_numpy(), np.float64)
    encoded = read.combine_chunks().dictionary_encode()
    codes = np.array(encoded.indices.to_numpy(), np.int32)
    return Categories(codes, tuple(encoded.dictionary.to_pylist()))
