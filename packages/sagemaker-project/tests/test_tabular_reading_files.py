"""Several files, Parquet files, and columns of every type."""

import datetime as dt
import gzip
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from reading_helpers import FIELDS, HEADER, LINES, Read, reader, schema_of, text_of, values_of
from sagemaker_project.tabular import file_format
from sagemaker_project.tabular.reading import find_files, read_table
from sagemaker_project.tabular.table import BadInput

pytestmark = pytest.mark.fast

HEADED = schema_of(header=True)
TYPED: list[dict[str, Any]] = [
    {"name": "day", "type": "date"},
    {"name": "at", "type": "datetime", "format": "%d.%m.%Y %H:%M"},
    {"name": "on", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]},
    {"name": "n", "type": "integer", "missingValues": ["-999", "k.A."]},
    {"name": "x", "type": "number", "missingValues": ["?", "0"]},
    {"name": "note", "type": "string", "role": "ignored"},
    {"name": "code", "type": "string"},
    {"name": "kind", "type": "string"},
]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return reader(tmp_path)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text_of().encode())
    return folder


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (["data.csv"], ["data.csv"]),
        (["data"], ["data"]),
        (["b.csv", "a.CSV", "c.csv.gz"], ["a.CSV", "b.csv", "c.csv.gz"]),
        (["b.csv", "_SUCCESS", ".b.csv.crc", "_delta_log/0.json"], ["b.csv"]),
    ],
)
def test_files_of_a_folder(tmp_path: Path, there: list[str], found: list[str]) -> None:
    make(tmp_path, *there)
    assert [path.name for path in find_files(tmp_path, HEADED)] == found
    one = tmp_path / found[0]
    assert find_files(one, HEADED) == [one]


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ([], "found nothing, and schema.json says csv files"),
        (["a.csv", "README.md"], "found README.md beside 1 csv files"),
        (["a.csv", "more/b.csv"], "found more beside 1 csv files"),
        (["a.parquet", "b.parquet"], "found a.parquet, b.parquet, and schema.json says csv"),
        ([f"{n}.txt" for n in range(9)], "and 4 more"),
    ],
)
def test_folder_with_other_files_is_refused(tmp_path: Path, there: list[str], message: str) -> None:
    with pytest.raises(BadInput) as error:
        find_files(make(tmp_path, *there), HEADED)
    assert message in str(error.value)
    with pytest.raises(BadInput, match="there is no such file or folder"):
        find_files(tmp_path / "none", HEADED)


def test_parts_make_the_table_of_the_whole(read: Read) -> None:
    whole = read(text_of(), name="whole")
    parts = read(text_of(LINES[:20]), text_of(LINES[20:21]), text_of(LINES[21:]))
    assert values_of(parts) == values_of(whole)
    assert parts.table.where(20) == "data1.csv, line 1"
    assert whole.table.where(20) == "line 21"


def test_each_part_has_its_own_header(read: Read) -> None:
    turned = [",".join(reversed(line.split(","))) for line in [f"{HEADER},z", *LINES[20:]]]
    turned[1:] = ["," + line for line in turned[1:]]
    found = read(
        text_of([f"{HEADER},a", *(line + "," for line in LINES[:20])]),
        "",
        HEADER,
        text_of(turned),
        schema=HEADED,
    )
    assert values_of(found) == values_of(read(text_of(), name="whole"))
    assert found.extra == ["a", "z"]
    assert found.notes == ["data1.csv has no rows", "data2.csv has no rows"]
    with pytest.raises(BadInput, match="^data1.csv: line 1 is data, no header"):
        read(text_of([HEADER, *LINES]), text_of(), schema=HEADED)
    with pytest.raises(BadInput, match="^data1.csv: line 1: the header does not fit: 'sex'"):
        read(text_of([HEADER, *LINES]), text_of([HEADER[2:], *LINES]), schema=HEADED)
    with pytest.raises(BadInput, match="0 data rows"):
        read(HEADER, HEADER, schema=HEADED)


def test_names_that_differ_only_in_case_are_two_columns(read: Read) -> None:
    fields = [{"name": "x", "type": "number"}, {"name": "X", "type": "number"}]
    schema = schema_of([*fields, {"name": "y", "type": "number"}], header=True)
    table = read("y, X ,x\n1,2,3\n4,5,6\n", schema=schema).table
    assert {name: list(table.numbers(name)) for name in "xXy"} == {
        "x": [3, 6],
        "X": [2, 5],
        "y": [1, 4],
    }


def test_totals_of_the_last_part_only_are_found(read: Read) -> None:
    with pytest.raises(BadInput, match="^data1.csv: line 61 is a row of totals"):
        read(text_of(), text_of([*LINES, "Sum,,,,,,,"]))


@pytest.mark.parametrize("last", ["M,0.1,0.1,0.1,0.1,0.1,0.1,9", "Total,0.1,0.2,0.1,0.1,0.1,0.1,9"])
def test_a_last_row_of_data_is_no_row_of_totals(read: Read, last: str) -> None:
    assert len(read(text_of([*LINES, last])).table) == 61


def test_every_type_of_column(read: Read) -> None:
    found = read(
        "2024-01-31,31.01.2024 06:00,ja,-999.0,0.0,any,007,a\n"
        "1969-12-31T18:00:00Z, 01.01.1970 00:00 ,Nein,k.a.,?,,NA,b\n"
        ",,,7.0,-.5,x,7,a\n",
        schema=schema_of(TYPED),
    )
    expected = {
        "day": [19753.0, -0.25, np.nan],
        "at": [19753.25, 0.0, np.nan],
        "on": [1.0, 0.0, np.nan],
        "n": [np.nan, np.nan, 7.0],
        "x": [np.nan, np.nan, -0.5],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(found.table.numbers(name), values)
    assert list(found.table.categories("code").texts) == ["007", "", "7"]
    assert found.table.categories("kind").values == ("a", "b")
    assert "note" not in found.table.columns


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("31.1.2024,,,,,,,a", "column 'day': '31.1.2024' is not a date as ISO 8601"),
        ("2024-02-30,,,,,,,a", "column 'day': '2024-02-30' is not a date"),
        (",2024-01-31,,,,,,a", "column 'at': '2024-01-31' is not a date as %d.%m"),
        (",,yes,,,,,a", "column 'on': 'yes' is neither true nor false"),
        (",,,7.5,,,,a", "column 'n': '7.5' is not a whole number"),
        (",,,?,,,,a", r"column 'n': '\?' is not a number .* missingValues in schema.json"),
        (",,,,NA,,,a", "column 'x': 'NA' is not a number"),
        (",,,,1,,,na", "column 'kind': 'na' is not a label"),
    ],
)
def test_cells_of_another_type_are_refused(read: Read, cells: str, message: str) -> None:
    with pytest.raises(BadInput, match=f"line 2, {message}"):
        read(f",,ja,1,1,,,a\n{cells}\n,,nein,1,1,,,b", schema=schema_of(TYPED))


def parquet_of(columns: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


PARQUET = schema_of(format="parquet")


def abalone(**changes: Any) -> dict[str, Any]:
    cells = list(zip(*(line.split(",") for line in LINES), strict=True))
    columns: dict[str, Any] = {
        field["name"]: pa.array(texts if field["name"] == "sex" else list(map(float, texts)))
        for field, texts in zip(FIELDS, cells, strict=True)
    }
    return {**columns, **changes}


@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip"}, {"row_group_size": 7}, {"version": "1.0"}]
)
def test_parquet_gives_what_csv_gives(read: Read, options: Any) -> None:
    found = read(parquet_of({"extra": LINES, **abalone()}, **options), schema=PARQUET)
    assert values_of(found) == values_of(read(text_of()))
    assert found.extra == ["extra"]
    assert found.table.line.tolist() == list(range(1, 61))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: {"height": a["height"].cast(pa.string())},
        lambda a: {"sex": a["sex"].dictionary_encode()},
        lambda a: {"sex": a["sex"].cast(pa.large_string())},
        lambda a: {"rings": a["rings"].cast(pa.int8())},
        lambda a: {"rings": a["rings"].cast(pa.uint64())},
        lambda a: {"rings": a["rings"].cast(pa.decimal128(12, 2))},
    ],
)
def test_parquet_types_that_mean_the_same(read: Read, change: Any) -> None:
    found = read(parquet_of(abalone(**change(abalone()))), schema=PARQUET)
    assert values_of(found) == values_of(read(text_of()))


def test_parquet_types_of_every_kind(read: Read) -> None:
    moments = [dt.datetime(2024, 1, 31, 6, 0, 0, 500), None, dt.datetime(1969, 12, 31, 18)]
    found = read(
        parquet_of(
            {
                "day": pa.array([dt.date(2024, 1, 31), None, dt.date(1969, 12, 31)]),
                "at": pa.array(moments, pa.timestamp("ns", "Europe/Berlin")),
                "on": [True, None, False],
                "n": [-999, 7, None],
                "x": [Decimal("0.0"), None, Decimal("-0.5")],
                "code": [7, None, 8],
                "kind": ["a", "b", "a"],
            }
        ),
        schema=schema_of(TYPED, format="parquet"),
    )
    table = found.table
    np.testing.assert_array_equal(table.numbers("day"), [19753.0, np.nan, -1.0])
    exact = 19753 + (21600 + 500 / 1e6) / 86400.0
    np.testing.assert_array_equal(table.numbers("at"), [exact, np.nan, -0.25])
    np.testing.assert_array_equal(table.numbers("on"), [1.0, np.nan, 0.0])
    np.testing.assert_array_equal(table.numbers("n"), [np.nan, 7.0, np.nan])
    np.testing.assert_array_equal(table.numbers("x"), [np.nan, np.nan, -0.5])
    assert list(table.categories("code").texts) == ["7", "", "8"]


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in abalone().items() if key != name}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (without("height"), "'height' is missing; found sex,length.* wanted sex,length,dia"),
        (abalone(rings=[None, *range(59)]), "row 1, column 'rings': '' is not a label"),
        (abalone(rings=[7.5, *range(59)]), "row 1, column 'rings': '7.5' is not a whole number"),
        (abalone(height=[1.0] * 59 + [np.inf]), "row 60, .*'height': 'inf' is not a finite"),
        (abalone(height=["x"] * 60), "row 1, column 'height': 'x' is not a number .60 such"),
        (abalone(height=[[1]] * 60), "column 'height' has the Parquet type list"),
        (abalone(height=[True] * 60), "the Parquet type bool, and schema.json says number"),
        (abalone(sex=[1.5] * 60), "the Parquet type double, and schema.json says string"),
        ({key: value[:0] for key, value in abalone().items()}, "0 data rows"),
    ],
)
def test_parquet_that_does_not_fit_is_refused(
    read: Read, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        read(parquet_of(columns), schema=PARQUET)


def test_damaged_parquet_is_refused(read: Read) -> None:
    content = parquet_of(abalone())
    for damaged in (
        content[:-50],
        content[:200],
        b"PAR1",
        content[:4] + bytes(300) + content[304:],
    ):
        with pytest.raises(BadInput, match="^data.parquet: the Parquet file is damaged"):
            read(damaged, schema=PARQUET)


def test_gzip_parts_and_a_limit_of_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 30 of the bad inputs."""
    for number, lines in enumerate((LINES, LINES * 100)):
        content = gzip.compress(text_of(lines).encode())
        (tmp_path / f"part-{number}.csv.gz").write_bytes(content)
    schema = schema_of(compression="gzip")
    files = find_files(tmp_path, schema)
    assert len(read_table(files, schema).table) == 6_060
    for limit in (100, 100_000):  # less than the files have, and less than is in them
        monkeypatch.setattr(file_format, "max_bytes", lambda limit=limit: limit)
        with pytest.raises(BadInput, match="this machine's memory can take: take a sample"):
            read_table(files, schema)


def test_a_parquet_file_larger_than_memory_is_refused(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = parquet_of({key: [value[0].as_py()] * 10_000 for key, value in abalone().items()})
    monkeypatch.setattr(file_format, "max_bytes", lambda: 8 * 8 * 10_000 - 1)
    with pytest.raises(BadInput, match="this machine's memory can take"):
        read(content, schema=PARQUET)
