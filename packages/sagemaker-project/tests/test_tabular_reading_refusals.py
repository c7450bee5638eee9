"""Files to a table: what is refused, and with which words."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from reading_helpers import (
    HEADER,
    LINES,
    Read,
    reader,
    rows_of,
    schema_of,
    text_of,
    with_cell,
    with_line,
)
from sagemaker_project.tabular.table import BadInput

pytestmark = pytest.mark.fast


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return reader(tmp_path)


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
        pytest.param("sep=,\r\n" + text_of(), "line 1: 'sep=,' is a line for Excel", id="sep"),
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
        pytest.param(with_cell(7, "height", "inf"), "'inf' is not a finite", id="inf"),
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
        pytest.param(text_of() + "\n\x1a", "line 62: 1 field, expected 8; complete", id="Ctrl-Z"),
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
    """Rows 18, 20, 21 and 23 to 27 of the bad inputs."""
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
    """Rows 26 and 27 of the bad inputs."""
    with pytest.raises(BadInput, match="line 7, column 'whole_weight': .* is not a (finite )?numb"):
        read(with_cell(7, "whole_weight", f'"{text}"'))


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
    """Row 19 of the bad inputs."""
    with pytest.raises(BadInput) as error:
        read(content, schema=schema_of(**HEADED))
    assert all(message in str(error.value) for message in messages), str(error.value)


def test_a_list_of_names_is_cut_where_it_is_long(read: Read) -> None:
    header = ",".join(f"a_long_name_{n}" for n in range(5_000))
    with pytest.raises(BadInput, match=r"found a_long_name_0,.*name_4999 \(5,000\); wanted sex"):
        read(f"{header}\n{header}", schema=schema_of(**HEADED))


def test_bad_values_are_counted_and_the_first_is_named(read: Read) -> None:
    """Row 27 of the bad inputs."""
    bad = {20: ",x0.", 30: ",x0.", 40: ",x0."}
    lines = [line.replace(",0.", bad.get(n, ",0."), 1) for n, line in enumerate(LINES)]
    lines[50] = lines[50].rsplit(",", 1)[0] + ",many"
    with pytest.raises(BadInput) as error:
        read(text_of(lines))
    assert "line 21, column 'length'" in str(error.value)
    assert "(3 such in this column, 1 other bad values in the file)" in str(error.value)


def test_a_bad_cell_before_a_bad_line_comes_first(read: Read) -> None:
    lines = text_of([with_cell(3, "height", "x").splitlines()[2], *LINES[:9], "M,oops"])
    with pytest.raises(BadInput, match="line 1, column 'height': 'x' is not a number"):
        read(lines)


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan", "inf", "1e400"])
def test_nan_is_a_bad_cell_where_it_is_no_word_for_no_value(read: Read, text: str) -> None:
    fields = [{"name": name, "type": "number", "missingValues": ["?"]} for name in "xy"]
    with pytest.raises(BadInput, match=f"line 2, column 'x': '{text}' is not a "):
        read(f"1,2\n{text},3\n", schema=schema_of(fields))


def test_a_header_again_is_refused_where_its_names_could_be_values(read: Read) -> None:
    fields = [{"name": name, "type": "number"} for name in ("2019", "na", "2020")]
    with pytest.raises(BadInput, match="line 3: the header again"):
        read("2019,na,2020\n1,2,3\n2019,na,2020\n", schema=schema_of(fields, header=True))
