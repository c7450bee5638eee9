"""Files to a table: what is accepted and with which values, and what is refused with which words."""

import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from sagemaker_project.tabular import file_format
from sagemaker_project.tabular.csv_fast import FastReader
from sagemaker_project.tabular.reading import ReadTable, read_table
from sagemaker_project.tabular.schema import Schema, read_schema
from sagemaker_project.tabular.table import BadInput, Categories

pytestmark = pytest.mark.fast

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


def values_of(table: ReadTable) -> dict[str, list[object]]:
    """Each column as Python values: texts, or floats as the hexadecimal of their bits."""
    found: dict[str, list[object]] = {}
    for name, column in table.table.columns.items():
        is_text = isinstance(column, Categories)
        found[name] = list(column.texts if isinstance(column, Categories) else column.view("i8"))
        assert is_text or column.dtype == np.float64
    return found


Read = Callable[..., ReadTable]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read files with these contents, at both speeds and in blocks of any size: one answer."""

    def read(*contents: str | bytes, schema: Schema | None = None, name: str = "data") -> ReadTable:
        suffix = ".parquet" if schema and schema.file.format == "parquet" else ".csv"
        files = []
        for number, content in enumerate(contents):
            files.append(tmp_path / f"{name}{number or ''}{suffix}")
            files[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
        return both(files, schema or schema_of())

    return read


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


@pytest.mark.parametrize(
    ("content", "file"),
    [
        pytest.param(text_of(newline="\r\n"), {}, id="CRLF"),
        pytest.param(text_of(newline="\r"), {}, id="CR"),
        pytest.param("\ufeff" + text_of(), {}, id="BOM"),
        pytest.param("\n\n" + text_of(newline="\n\n") + "  \n", {}, id="blank lines"),
        pytest.param(text_of(newline="\n \t \n"), {}, id="lines of blanks"),
        pytest.param(text_of(newline=",\n"), {}, id="trailing commas"),
        pytest.param(text_of().rstrip("\n"), {}, id="no newline at the end"),
        pytest.param(HEADER + "\n" + text_of(), {"header": True}, id="header"),
        pytest.param("\ufeff" + HEADER + "\n" + text_of(), {"header": True}, id="BOM, header"),
        pytest.param(
            "\ufeff" + ",".join(f'"{name}"' for name in NAMES) + "\n" + text_of(),
            {"header": True},
            id="BOM, quoted header",
        ),
        pytest.param(
            HEADER.upper().replace("_", " ").replace("SHELL ", "Shell-") + ",\r\n" + text_of(),
            {"header": True},
            id="loose header",
        ),
        pytest.param(
            text_of([",".join(f'"{cell}"' for cell in line.split(",")) for line in LINES]),
            {},
            id="quoted",
        ),
        pytest.param(text_of([line.replace(",", " , ") for line in LINES]), {}, id="spaces"),
        pytest.param(text_of([line.replace(",", ",\xa0", 3) for line in LINES]), {}, id="NBSP"),
        pytest.param(
            text_of([",".join(reversed(line.split(","))) for line in [HEADER, *LINES]]),
            {"header": True},
            id="columns in another order",
        ),
        pytest.param(
            text_of([f"{n},{line},x" for n, line in enumerate([HEADER, *LINES])]),
            {"header": True},
            id="extra columns",
        ),
        pytest.param(text_of().replace(",", ";"), {"delimiter": ";"}, id="semicolons"),
        pytest.param(text_of().replace(",", "\t"), {"delimiter": "\t"}, id="tabs"),
        pytest.param(text_of().replace(",", "|"), {"delimiter": "|"}, id="bars"),
        pytest.param(
            text_of().replace(",", ";").replace(".", ","),
            {"delimiter": ";", "decimal": ","},
            id="decimal commas",
        ),
        pytest.param(text_of().encode("utf-16"), {"encoding": "utf-16"}, id="UTF-16"),
        pytest.param(text_of().encode("utf-16-le"), {"encoding": "utf-16"}, id="UTF-16 LE"),
        pytest.param(text_of().encode("utf-16-be"), {"encoding": "utf-16"}, id="UTF-16 BE"),
        pytest.param(text_of(), {"encoding": "latin-1"}, id="Latin-1"),
        pytest.param(text_of(), {"encoding": "cp1252"}, id="cp1252"),
        pytest.param(gzip.compress(text_of().encode()), {"compression": "gzip"}, id="gzip"),
        pytest.param(
            gzip.compress(text_of().encode("utf-16")),
            {"compression": "gzip", "encoding": "utf-16"},
            id="gzip of UTF-16",
        ),
    ],
)
def test_spelling_of_the_file_does_not_matter(read: Read, content: str | bytes, file: Any) -> None:
    clean = read(text_of(), name="clean")
    found = read(content, schema=schema_of(**file))
    assert values_of(found) == values_of(clean)


LONG = "x" * 5_000_000
TOTAL = f"Total{',' * 7}500"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("", "data.csv: the file is empty (0 bytes)", id="0 bytes"),
        pytest.param("\n \n", "only blank lines", id="blank"),
        pytest.param(with_line(7, LINES[6] + ",1"), "line 7: 9 fields, expected 8", id="long"),
        pytest.param(with_line(7, "M,0.5,0.4"), "line 7: 3 fields, expected 8", id="short"),
        pytest.param(
            text_of().encode("utf-16"),
            'UTF-16 text, and schema.json says "utf-8" in file.encoding: change that to "utf-16"',
            id="UTF-16",
        ),
        pytest.param(text_of().encode("utf-16-le"), "NUL bytes (UTF-16", id="UTF-16 without BOM"),
        pytest.param(text_of().encode("utf-32"), "UTF-32", id="UTF-32"),
        pytest.param(
            with_cell(7, "sex", "é").encode("latin-1"),
            'line 7: byte 0xe9 is not UTF-8, and schema.json says "utf-8" in file.encoding',
            id="Latin-1",
        ),
        pytest.param(
            gzip.compress(text_of().encode()),
            'gzip, and schema.json says "" in file.compression: change that to "gzip"',
            id="gzip",
        ),
        pytest.param(b"PAR1" + bytes(40), 'change that to "parquet"', id="Parquet"),
        pytest.param(b"PK\x03\x04" + bytes(40), "Excel workbook: export it", id="Excel"),
        pytest.param(
            text_of().replace(",", ";"),
            "line 1: 1 column found, expected 8; the fields seem separated by semicolons, and "
            'schema.json says "," in file.delimiter: change that to ";", or run inspect-data',
            id="semicolon",
        ),
        pytest.param(
            text_of().replace(",", ";").replace(".", ","), "semicolons", id="decimal commas"
        ),
        pytest.param(text_of().replace(",", "\t"), "separated by tabs", id="tab"),
        pytest.param("sep=,\r\n" + text_of(), "line 1: 'sep=,' is a mark for Excel", id="sep"),
        pytest.param("sep=;\n" + text_of().replace(",", ";"), "'sep=;'", id="sep of another"),
        pytest.param(with_cell(7, "sex", '"M'), "line 7: unexpected end of data", id="open quote"),
        pytest.param(with_cell(7, "sex", '"M"x'), "line 7: ',' expected after", id="stray quote"),
        pytest.param(
            with_cell(7, "rings", ""),
            "line 7, column 'rings': '' is not a label (1 such in this column); remove",
            id="label",
        ),
        pytest.param(with_cell(7, "rings", "NaN"), "line 7, column 'rings': 'NaN'", id="NaN label"),
        pytest.param(with_cell(7, "rings", "7 rings"), "'7 rings' is not a number", id="unit"),
        pytest.param(with_cell(7, "rings", "7.5"), "'7.5' is not a whole number", id="fraction"),
        pytest.param(with_cell(7, "height", "inf"), "'inf' is not a number", id="inf"),
        pytest.param(with_cell(7, "height", "1e400"), "'1e400' is not a finite", id="1e400"),
        pytest.param(with_cell(7, "height", "tall"), "'tall' is not a number (1 such", id="text"),
        pytest.param(with_cell(7, "height", '"1,000"'), "'1,000' is not a number", id="thousands"),
        pytest.param(
            with_cell(7, "height", '"0,394"'),
            'if the decimal mark is a comma, set file.decimal to "," in schema.json',
            id="decimal comma",
        ),
        pytest.param(
            with_cell(7, "height", "=cmd()"), "line 7, column 'height': '=cmd", id="formula"
        ),
        pytest.param(
            with_cell(7, "height", LONG), "line 7, column 'height': 'xxx", id="5 MB field"
        ),
        pytest.param(with_cell(7, "sex", "\0"), "NUL bytes", id="NUL"),
        pytest.param(
            text_of(rows_of(300)) + "\0" + LINES[0], "line 301: a NUL character", id="late NUL"
        ),
        pytest.param(HEADER + "\n" + text_of(), "line 1 is a header (sex,length", id="header"),
        pytest.param(
            "a,b,c,d,e,f,g,h\n" + text_of(), "line 1 is a header (a,b,c,d", id="other header"
        ),
        pytest.param(text_of() + HEADER, "line 61: the header again", id="header at the end"),
        pytest.param(
            text_of([line.rsplit(",", 1)[0] for line in LINES]),
            "line 1: 7 columns found, expected 8: sex,length",
            id="no label",
        ),
        pytest.param(text_of([f"{line},x" for line in LINES]), "9 columns found", id="extra"),
        pytest.param(text_of() + "\n\x1a", "line 62: 1 fields, expected 8", id="Ctrl-Z"),
        pytest.param("Export 2024\n" + text_of(), "line 1: 1 column found", id="title"),
        pytest.param(
            text_of() + "Total,,,,,,,500\n", "line 61 is a row of totals ('Total')", id="total"
        ),
        pytest.param(
            text_of() + "Grand total:,,,,,,,\n", "line 61 is a row of totals", id="empty label"
        ),
        pytest.param(
            text_of([f"F,1,{n},1,1,1,1,{n}" for n in range(40)]) + "F,,780,,,,,780",
            "line 41 is a row of totals (each number the sum of its column)",
            id="sums",
        ),
    ],
)
def test_bad_file_is_refused_in_one_line(read: Read, content: str | bytes, message: str) -> None:
    with pytest.raises(BadInput) as error:
        read(content)
    assert message in str(error.value)
    assert str(error.value).startswith("data.csv: ")


@pytest.mark.parametrize(
    "text",
    ["1,234.5", "0,394", "39.4%", "$0.39", "2024-01-31", "TRUE", "#N/A", "#DIV/0!", "-", "<NA>"]
    + ["NaT", "inf", "-Infinity", "1_000", "٠.٣", "１", "0x1p-2", "\u22120.3", "1 2", "+-1", "."]
    + ["1e400", "-1e999", "1e", "--1", "1d3", "1f", "nan(1)", "1\x1c", "\u20031", "'1'"],
)
def test_what_is_no_number_is_refused_with_its_column(read: Read, text: str) -> None:
    with pytest.raises(BadInput, match="line 7, column 'whole_weight': .* is not a (finite )?numb"):
        read(with_cell(7, "whole_weight", f'"{text}"'))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("000.394", 0.394),
        ("+.394", 0.394),
        ("\xa00.394", 0.394),
        ("  0.394\t", 0.394),
        ("-0.0", -0.0),
        ("1e308", 1e308),
        ("4.9e-324", 5e-324),
        ("1e-400", 0.0),
        ("7.", 7.0),
        ("0.1000000000000000055511151231257827", 0.1),
        ("9007199254740993", 9007199254740992.0),
        ("", np.nan),
        ("nan", np.nan),
        ("NA", np.nan),
        (" None ", np.nan),
        ("?", np.nan),
        ("nUlL", np.nan),
    ],
)
def test_numbers_and_words_of_no_value(read: Read, text: str, value: float) -> None:
    column = read(with_cell(7, "height", text)).table.numbers("height")
    assert column[6].tobytes() == np.float64(value).tobytes()


HEADED = {"header": True}


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        pytest.param(HEADER + "\n", ["a header at most, and 0 data rows"], id="header only"),
        pytest.param(
            text_of(),
            ["line 1 is data, no header", "says true in file.header: change that to false"],
            id="no header",
        ),
        pytest.param(
            HEADER.replace("height,", "") + "\n" + text_of(),
            [
                "'height' is missing",
                "found sex,length,diameter,whole",
                f"wanted {HEADER};",
                "schema.json",
            ],
            id="missing",
        ),
        pytest.param(
            HEADER.replace("height", "Length") + "\n" + text_of(),
            ["'length' is there 2 times", "'height' is missing"],
            id="duplicate",
        ),
        pytest.param(
            "a,b,c,d,e,f,g,h\n" + text_of(),
            [
                "found a,b,c,d,e,f,g,h; wanted sex",
                "correct the header, or the fields in schema.json",
            ],
            id="other names",
        ),
        pytest.param(HEADER.replace("_", ".") + "\n" + text_of(), ["whole.weight"], id="dots"),
        pytest.param("\ufeff\ufeff" + HEADER + "\n" + text_of(), ["'sex' is miss"], id="two BOMs"),
        pytest.param("# made by x\n" + HEADER + "\n" + text_of(), ["# made by x"], id="comment"),
        pytest.param(f"{HEADER},mm\n,mm,mm,mm,g,g,g,,\n", ["line 2, column 'length'"], id="units"),
        pytest.param(
            f"{HEADER}\n{text_of()}{HEADER}\n{text_of()}", ["line 62: the header again"], id="twice"
        ),
        pytest.param(
            HEADER.replace(",", ";") + "\n" + text_of().replace(",", ";"),
            ["1 column found, expected 8; the fields seem separated by semicolons"],
            id="semicolons",
        ),
        pytest.param("sep=,\n" + HEADER + "\n" + text_of(), ["sep="], id="sep"),
    ],
)
def test_header_that_does_not_fit_is_refused_with_both_lists(
    read: Read, content: str, messages: Sequence[str]
) -> None:
    with pytest.raises(BadInput) as error:
        read(content, schema=schema_of(**HEADED))
    assert all(message in str(error.value) for message in messages), str(error.value)


def test_a_list_of_names_is_cut_where_it_is_long(read: Read) -> None:
    header = ",".join(f"a_long_name_{n}" for n in range(5_000))
    with pytest.raises(BadInput, match=r"found a_long_name_0,.*name_4999 \(5,000\); wanted sex"):
        read(f"{header}\n{header}", schema=schema_of(**HEADED))


def test_bad_values_are_counted_and_the_first_is_named(read: Read) -> None:
    bad = {20: ",x0.", 30: ",x0.", 40: ",x0."}
    lines = [line.replace(",0.", bad.get(n, ",0."), 1) for n, line in enumerate(LINES)]
    lines[50] = lines[50].rsplit(",", 1)[0] + ",many"
    with pytest.raises(BadInput) as error:
        read(text_of(lines))
    assert "line 21, column 'length'" in str(error.value)
    assert "(3 such in this column, 1 other bad values in the file)" in str(error.value)


def test_line_is_that_of_the_file_after_an_embedded_newline(read: Read) -> None:
    lines = [*LINES[:3], LINES[3].replace(LINES[3][0], '"a\nb"', 1), *LINES[4:9], "M,oops"]
    with pytest.raises(BadInput, match="line 11: 2 fields"):
        read(text_of(lines))
    found = read(text_of(lines[:-1])).table
    assert found.line.tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert found.categories("sex").texts[3] == "a\nb"


def test_a_bad_cell_before_a_bad_line_comes_first(read: Read) -> None:
    lines = text_of([with_cell(3, "height", "x").splitlines()[2], *LINES[:9], "M,oops"])
    with pytest.raises(BadInput, match="line 1, column 'height': 'x' is not a number"):
        read(lines)


@pytest.mark.parametrize(
    ("cell", "text"),
    [('"a\rb"', "a\rb"), ('"a\r\nb"', "a\r\nb"), ('"say ""a"""', 'say "a"'), ('a"b', 'a"b')]
    + [("=cmd()", "=cmd()"), ("é", "é"), (" Na ", ""), ("\u2028x", "\u2028x"), ('" F "', "F")],
)
def test_text_is_taken_as_it_is_but_for_outer_blanks(read: Read, cell: str, text: str) -> None:
    assert read(with_cell(7, "sex", cell)).table.categories("sex").texts[6] == text


def test_a_quoted_field_longer_than_a_block_is_read(read: Read) -> None:
    text = "a,\n" * 1_000
    table = read(with_cell(7, "sex", f'"{text}"')).table
    assert table.categories("sex").texts[6] == text.strip()
    assert table.line[7] == 1_008


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_other_encodings(read: Read, encoding: str) -> None:
    content = with_cell(7, "sex", "é")
    found = read(content.encode(encoding), schema=schema_of(encoding=encoding))
    assert found.table.categories("sex").texts[6] == "é"
    with pytest.raises(BadInput, match='UTF-8 text, and .* change that to "utf-8"'):
        read(content, schema=schema_of(encoding=encoding))


def test_other_encodings_that_the_bytes_show(read: Read) -> None:
    euro = with_cell(7, "sex", "€")
    latin, windows = schema_of(encoding="latin-1"), schema_of(encoding="cp1252")
    assert read(euro.encode("cp1252"), schema=windows).table.categories("sex").texts[6] == "€"
    for content, schema, message in (
        (euro.encode("cp1252"), latin, 'line 7: byte 0x80 .* change that to "cp1252"'),
        (with_cell(7, "sex", "\x81").encode("latin-1"), windows, "line 7: byte 0x81 is not CP1252"),
        (text_of(), schema_of(encoding="utf-16"), "not UTF-16 text"),
        ("é".encode("utf-16")[:-1], schema_of(encoding="utf-16"), "not UTF-16 text"),
        (text_of(), schema_of(compression="gzip"), "not compressed with gzip"),
        (gzip.compress(text_of().encode())[:-9], schema_of(compression="gzip"), "damaged"),
        (gzip.compress(b"PAR1 and more"), schema_of(compression="gzip"), "a Parquet file"),
        (text_of(), schema_of(format="parquet"), "not a Parquet file"),
        (with_cell(7, "sex", "x").replace(".", ","), schema_of(decimal=",", delimiter=";"), ""),
        (
            text_of().replace(",", ";"),
            schema_of(decimal=",", delimiter=";"),
            'line 1, column .* set file.decimal to "."',
        ),
    ):
        with pytest.raises(BadInput, match=message):
            read(content, schema=schema)
