"""Files to a table: what is accepted, and with which values."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading_helpers import (
    HEADER,
    LINES,
    NAMES,
    Read,
    reader,
    schema_of,
    text_of,
    values_of,
    with_cell,
)
from sagemaker_project.tabular.table import BadInput

pytestmark = pytest.mark.fast


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return reader(tmp_path)


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
    """Rows 19 and 22 of the bad inputs."""
    clean = read(text_of(), name="clean")
    found = read(content, schema=schema_of(**file))
    assert values_of(found) == values_of(clean)


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
    """Row 26 of the bad inputs."""
    column = read(with_cell(7, "height", text)).table.numbers("height")
    assert column[6].tobytes() == np.float64(value).tobytes()


def test_line_is_that_of_the_file_after_an_embedded_newline(read: Read) -> None:
    """Row 25 of the bad inputs."""
    lines = [*LINES[:3], LINES[3].replace(LINES[3][0], '"a\nb"', 1), *LINES[4:9], "M,oops"]
    with pytest.raises(BadInput, match="line 11: 2 fields"):
        read(text_of(lines))
    found = read(text_of(lines[:-1])).table
    assert found.line.tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert found.categories("sex").texts[3] == "a\nb"


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
        (text_of().replace(".", ","), schema_of(decimal=",", delimiter=";"), 'that to ","'),
        (
            text_of().replace(",", ";"),
            schema_of(decimal=",", delimiter=";"),
            'line 1, column .* set file.decimal to "."',
        ),
    ):
        with pytest.raises(BadInput, match=message):
            read(content, schema=schema)


def test_a_header_that_was_not_announced_is_understood(read: Read) -> None:
    assert values_of(read(f"{HEADER}\n{text_of()}")) == values_of(read(text_of()))
