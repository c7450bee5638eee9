"""The two speeds of reading CSV: the same is accepted, refused and found, bit for bit."""

import csv
import io
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading_helpers import bits, outcome, same, schema_of
from sagemaker_project.tabular import cells, file_format
from sagemaker_project.tabular.csv_fast import FastReader
from sagemaker_project.tabular.schema import Field, Schema

WORDS = ["", "na", "-999", "0", "1,5", "1.5", "none", "inf", "9e99", "-0.0", "x", "1e5"]
NAMES = ["a", "b b", "2019", "na", "-5", "1-2", "true", "y"]
ODD = ["", " ", "NA", "nA", "NaN", "inf", "-inf", "1e400", "1e308", "1e-400", "1_0", "١", "+1"]
ODD += ["-999", "-999.0", "-9.99e2", " 0 ", "0.0", "-0", "1,5", "1.5", "1.", ".5", ".", "0x1"]
ODD += ["é", "\xa01", "1\xa0", "a b", 'a"b', '"', '""', "'", "\t", "a\x0bb", "\x1c1", "\u2028", "x"]
ODD += ["true", "No", "2024-01-31", "2024-01-31T10:00Z", "2024-13-01", "a", "b_b", "2019", "true "]
ODD += ["9007199254740993", "0.1000000000000000055511151231257827", "123456789012345678901234"]
ODD += ["\ufeff", "\x1a", "\r", "\n", "\r\n", ",", ";", "\x00", "sep=,", "Total", "5", "7"]
ODD += ["+-1", "1d5", "1e5", "nan(1)"]

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**6), 10**6).map(str),
    st.from_regex(r"[+-]?[0-9]{0,20}\.?[0-9]{0,25}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
CELLS = st.one_of(NUMBERS, st.integers(0, 9).map(str), st.sampled_from(ODD), st.text(max_size=3))
TYPES = ["number", "number", "integer", "string", "boolean", "date"]


@st.composite
def schemas(draw: Any) -> Schema:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True))
    fields: list[dict[str, Any]] = []
    for name in names:
        field: dict[str, Any] = {"name": name, "type": draw(st.sampled_from(TYPES))}
        if draw(st.booleans()):
            field["missingValues"] = draw(st.lists(st.sampled_from(WORDS), unique=True))
        fields.append(field)
    if fields[-1]["type"] == "date":
        fields[-1]["type"] = "string"
    delimiter = draw(st.sampled_from([",", ";", "\t"]))
    decimal = "." if delimiter == "," else draw(st.sampled_from([".", ","]))
    header = draw(st.booleans())
    return schema_of(fields, delimiter=delimiter, decimal=decimal, header=header)


def good_cell(field: Field) -> st.SearchStrategy[str]:
    """Cells that mostly fit the column, so that most files are read to their end."""
    if field.type in ("number", "integer"):
        return st.one_of(st.integers(-99, 99).map(str), st.sampled_from(["-999", "5", "7e2"]))
    if field.type == "boolean":
        return st.sampled_from(["yes", "No", "1", "0", " true"])
    if field.type == "date":
        return st.sampled_from(["2024-01-31", "1969-12-31 23:59", "2024-01-31T10:00:00.5+02:00"])
    return st.sampled_from(["x", "y", " x ", "NA", "é", "Total", "5"])


@st.composite
def files(draw: Any, schema: Schema) -> str:
    """The text of a file: lines of cells, some quoted, a few odd; and loose lines between them."""
    mark = schema.file.delimiter
    rate = draw(st.sampled_from([0, 0, 30, 4]))

    def cell(field: Field) -> str:
        odd = rate and draw(st.integers(0, rate)) == 0
        text: str = draw(CELLS if odd else good_cell(field))
        needs = not odd and any(letter in text for letter in mark + '"\r\n')
        quoted = needs or draw(st.integers(0, 5)) == 0
        return '"' + text.replace('"', '""') + '"' if quoted else text

    lines = [mark.join(field.name for field in schema.fields)] if schema.file.header else []
    for _ in range(draw(st.integers(0, 14))):
        lines.append(mark.join(cell(field) for field in schema.fields))
    loose = ["", " ", "\t", mark, mark.join(f.name for f in schema.fields), '"', "Total" + mark]
    if draw(st.integers(0, 3)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(loose)))
    ends = draw(st.sampled_from(["\n", "\r\n", "\r", mark + "\n"]))
    return str(ends.join(lines) + draw(st.sampled_from(["", ends])))


def by_rule(text: str, schema: Schema) -> list[list[object]]:
    """The values of a file that was accepted, cell by cell, by the csv module and cells.py."""
    records = [
        record
        for record in csv.reader(io.StringIO(text, newline=""), delimiter=schema.file.delimiter)
        if len(record) > 1 or (record and record[0].strip(cells.SPACES))
    ]
    found: list[list[object]] = []
    for number, field in enumerate(schema.fields):
        parse = cells.parser(field, schema.file.decimal)
        texts = [record[number] for record in records[schema.file.header :]]
        if field.is_text:
            found.append([cells.category(text, field) for text in texts])
        else:
            found.append([bits(parse(text)) for text in texts])
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), schemas(), st.sampled_from([5, 40, 1 << 22]))
def test_both_speeds_and_any_block_give_the_same(data: Any, schema: Schema, block: int) -> None:
    text = data.draw(files(schema))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.csv")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with mock.patch.object(file_format, "BLOCK", block):
            fast = outcome([path], schema)
            with mock.patch.object(FastReader, "read", return_value=None):
                slow = outcome([path], schema)
    assert same(fast, slow)
    if not isinstance(fast, str):
        columns = [bits(column) for column in fast.table.columns.values()]
        assert columns == by_rule(text.removeprefix("\ufeff"), schema)
