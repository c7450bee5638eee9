"""preprocess.py through its command: what it accepts, refuses, drops and reports."""

import csv
import gzip
import hashlib
import json
import random

import preprocess
import pytest

NAMES = [column.name for column in preprocess.SCHEMA]
HEADER = ",".join(NAMES)


def clean_rows(count=60):
    rng = random.Random(7)
    for _ in range(count):
        measures = [f"{rng.uniform(0.1, 0.9):.4f}" for _ in range(7)]
        yield ",".join([rng.choice("FIM"), *measures, str(rng.randint(3, 15))])


LINES = list(clean_rows())


def text_of(lines=LINES, newline="\n"):
    return newline.join(lines) + newline


def with_line(number, line):
    """The clean file with line `number` (from 1) replaced."""
    return text_of([*LINES[: number - 1], line, *LINES[number:]])


def with_cell(number, name, value):
    fields = LINES[number - 1].split(",")
    fields[NAMES.index(name)] = value
    return with_line(number, ",".join(fields))


@pytest.fixture
def run(tmp_path):
    """Run preprocess.py on `content`; gives its exit code and the folder of its outputs."""

    def run(content, *arguments, out="out", name="data.csv"):
        source = tmp_path / name
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
        folder = tmp_path / out
        folders = ("train", "validation", "test", "report")
        targets = [item for name in folders for item in (f"--{name}", str(folder / name))]
        return preprocess.main(["--input-data", str(source), *targets, *arguments]), folder

    return run


def report_in(folder):
    return json.loads((folder / "report" / "data_report.json").read_text())


def splits_in(folder):
    """The text of each split, line by line."""
    names = ("train", "validation", "test")
    return {name: (folder / name / f"{name}.csv").read_text().splitlines() for name in names}


@pytest.mark.parametrize("known", [True, False])
def test_report_says_where_the_data_came_from_if_the_job_does(run, tmp_path, known):
    data = {"InputName": "input-data", "S3Input": {"S3Uri": "s3://bucket/data.csv"}}
    code = {"InputName": "code", "S3Input": {"S3Uri": "s3://bucket/preprocess.py"}}
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"ProcessingInputs": [data, code] if known else [code]}))
    code, folder = run(text_of(), "--job", str(job))
    assert code == 0
    assert report_in(folder)["url"] == ("s3://bucket/data.csv" if known else "unknown")


def test_every_row_lands_in_one_split_unchanged(run):
    code, folder = run(text_of())
    splits = splits_in(folder)
    assert code == 0
    assert {name: len(lines) - 1 for name, lines in splits.items()} == {
        "train": 42,
        "validation": 9,
        "test": 9,
    }
    assert all(lines[0] == HEADER for lines in splits.values())
    written = [line.split(",") for lines in splits.values() for line in lines[1:]]
    as_numbers = [[row[0], *map(float, row[1:])] for row in written]
    expected = [[row[0], *map(float, row[1:])] for row in (line.split(",") for line in LINES)]
    assert sorted(as_numbers) == sorted(expected)


def test_report_identifies_the_file_and_the_schema_names_no_label_among_the_features(run):
    _, folder = run(text_of())
    report = report_in(folder)
    assert report["data_sha256"] == hashlib.sha256(text_of().encode()).hexdigest()
    assert report["rows"] == {"read": 60, "dropped": 0, "kept": 60, "copies": 0}
    schema = json.loads((folder / "train" / "schema.json").read_text())
    assert schema["label"] == "rings"
    assert [feature["name"] for feature in schema["features"]] == NAMES[:-1]


def test_same_file_and_seed_give_the_same_bytes_and_another_seed_other_splits(run):
    first, second, other = (
        splits_in(run(text_of(), "--seed", seed, out=out)[1])
        for seed, out in (("5", "a"), ("5", "b"), ("6", "c"))
    )
    assert first == second
    assert first != other


def test_splits_do_not_depend_on_the_order_of_the_rows(run):
    one = splits_in(run(text_of(), out="a")[1])
    two = splits_in(run(text_of(LINES[::-1]), out="b")[1])
    assert {name: sorted(lines) for name, lines in one.items()} == {
        name: sorted(lines) for name, lines in two.items()
    }


def test_splits_have_nearly_the_same_mean_label(run):
    _, folder = run(text_of(list(clean_rows(2_000))))
    means = []
    for lines in splits_in(folder).values():
        labels = [float(row["rings"]) for row in csv.DictReader(lines)]
        means.append(sum(labels) / len(labels))
    assert max(means) - min(means) < 0.05


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(text_of(newline="\r\n"), id="CRLF"),
        pytest.param(text_of(newline="\r"), id="CR"),
        pytest.param("\ufeff" + text_of(), id="BOM"),
        pytest.param("\n\n" + text_of(newline="\n\n") + "  \n", id="blank lines"),
        pytest.param(text_of(newline=",\n"), id="trailing commas"),
        pytest.param(text_of().rstrip("\n"), id="no newline at the end"),
        pytest.param(HEADER + "\n" + text_of(), id="header"),
        pytest.param(HEADER.upper().replace("_", " ") + ",\r\n" + text_of(), id="loose header"),
        pytest.param(
            text_of([",".join(f'"{field}"' for field in line.split(",")) for line in LINES]),
            id="quoted",
        ),
        pytest.param(text_of([line.replace(",", " , ") for line in LINES]), id="spaces"),
        pytest.param(
            text_of([",".join(reversed(line.split(","))) for line in [HEADER, *LINES]]),
            id="columns in another order",
        ),
    ],
)
def test_spelling_of_the_file_does_not_matter(run, content):
    _, clean = run(text_of(), out="clean")
    code, folder = run(content)
    assert code == 0
    assert splits_in(folder) == splits_in(clean)


LONG = "x" * 10_000_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("", "the file is empty (0 bytes)", id="0 bytes"),
        pytest.param("\n \n", "only blank lines", id="blank"),
        pytest.param(HEADER + "\n", "a header and 0 data rows", id="header only"),
        pytest.param(LINES[0], "1 distinct row(s) of 1 read", id="one row"),
        pytest.param(text_of(LINES[:5] * 12), "5 distinct row(s) of 60 read", id="copies only"),
        pytest.param(
            text_of([line.rsplit(",", 1)[0] + ",9" for line in LINES]),
            "column 'rings' is 9 in all 60 rows",
            id="constant label",
        ),
        pytest.param(with_line(7, LINES[6] + ",1"), "line 7: 10 fields, expected 9", id="long"),
        pytest.param(with_line(7, "M,0.5,0.4"), "line 7: 3 fields, expected 9", id="short"),
        pytest.param(text_of().encode("utf-16"), "UTF-16", id="UTF-16"),
        pytest.param(text_of().encode("utf-16-le"), "NUL bytes (UTF-16", id="UTF-16 without BOM"),
        pytest.param(with_cell(7, "sex", "é").encode("latin-1"), "line 7: byte 0xe9", id="Latin-1"),
        pytest.param(gzip.compress(text_of().encode()), "gzip", id="gzip"),
        pytest.param(b"PAR1" + bytes(40), "Parquet", id="Parquet"),
        pytest.param(b"PK\x03\x04" + bytes(40), "Excel", id="Excel"),
        pytest.param(
            text_of().replace(",", ";"), "1 column found, expected 9; the", id="semicolon"
        ),
        pytest.param(text_of().replace(",", "\t"), "separated by tabs", id="tab"),
        pytest.param(with_cell(7, "sex", '"M'), "line 7: unexpected end of data", id="open quote"),
        pytest.param(
            with_cell(7, "rings", ""), "line 7, column 'rings': '' is not a label", id="label"
        ),
        pytest.param(with_cell(7, "rings", "NaN"), "line 7, column 'rings': 'NaN'", id="NaN label"),
        pytest.param(with_cell(7, "height", "inf"), "'inf' is not a finite number", id="inf"),
        pytest.param(with_cell(7, "height", "1e400"), "'1e400' is not a finite", id="1e400"),
        pytest.param(with_cell(7, "height", "tall"), "'tall' is not a number (1 such", id="text"),
        pytest.param(with_cell(7, "height", '"1,000"'), "'1,000' is not a number", id="thousands"),
        pytest.param(with_cell(7, "height", "1_000"), "'1_000' is not a number", id="underscore"),
        pytest.param(
            with_cell(7, "height", "=cmd()"), "line 7, column 'height': '=cmd", id="formula"
        ),
        pytest.param(
            with_cell(7, "height", LONG), "line 7, column 'height': 'xxx", id="10 MB field"
        ),
        pytest.param(
            HEADER.replace("height,", "") + "\n" + text_of(),
            "the header has column 'height' 0 times",
            id="missing column",
        ),
        pytest.param(
            HEADER.replace("height", "length") + "\n" + text_of(),
            "the header has column 'length' 2 times",
            id="duplicate column",
        ),
        pytest.param(
            "a,b,c,d,e,f,g,h,i\n" + text_of(), "neither data nor a header", id="other names"
        ),
        pytest.param(
            text_of([line.rsplit(",", 1)[0] for line in LINES]), "8 columns found", id="no label"
        ),
        pytest.param(text_of().replace(",0.", ",-0."), "only 0 of 60 rows", id="all out of range"),
    ],
)
def test_bad_file_is_refused_in_one_line_and_writes_nothing(run, capsys, content, message):
    code, folder = run(content)
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.startswith("preprocess.py: data.csv: ")
    assert error.count("\n") == 1
    assert not folder.exists()


def test_bad_values_are_counted_and_the_first_is_named(run, capsys):
    lines = [
        line.replace(",0.", ",x0.", 1) if i in (20, 30, 40) else line
        for i, line in enumerate(LINES)
    ]
    run(text_of(lines))
    error = capsys.readouterr().err
    assert "line 21, column 'length'" in error
    assert "3 such in this column" in error


def test_line_is_that_of_the_file_after_an_embedded_newline(run, capsys):
    lines = [*LINES[:3], LINES[3].replace(LINES[3][0], '"a\nb"', 1), *LINES[4:9], "M,oops"]
    run(text_of(lines))
    assert "line 11: 2 fields" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["", "NA", "nan", "None", "?", " null "])
def test_missing_values_are_counted_and_written_empty(run, token):
    code, folder = run(with_cell(7, "height", token))
    assert code == 0
    assert report_in(folder)["columns"]["height"]["missing"] == 1
    rows = [row for lines in splits_in(folder).values() for row in csv.DictReader(lines)]
    assert [row["height"] for row in rows].count("") == 1


def test_rows_out_of_range_are_dropped_and_zeros_only_noted(run, capsys):
    lines = text_of().splitlines()
    for number, name, value in ((3, "height", "-0.1"), (9, "height", "-2"), (5, "length", "0")):
        fields = lines[number - 1].split(",")
        fields[NAMES.index(name)] = value
        lines[number - 1] = ",".join(fields)
    code, folder = run(text_of(lines))
    report = report_in(folder)
    assert code == 0
    assert report["rows"] == {"read": 60, "dropped": 2, "kept": 58, "copies": 0}
    [dropped] = report["dropped"]
    assert (dropped["column"], dropped["reason"], dropped["count"]) == ("height", "below 0", 2)
    assert dropped["examples"][0] == {"line": 3, "value": -0.1}
    assert [(item["column"], item["count"]) for item in report["suspicious"]] == [("length", 1)]
    assert "dropped: column 'height' below 0 in 2 row(s), line 3, 9" in capsys.readouterr().out


def test_unlisted_category_is_kept_as_text_and_noted(run):
    code, folder = run(with_cell(7, "sex", "=cmd()"))
    [odd] = report_in(folder)["suspicious"]
    assert code == 0
    assert odd["examples"] == [{"line": 7, "value": "=cmd()"}]
    assert any("=cmd()" in line for lines in splits_in(folder).values() for line in lines)


def test_any_category_is_expected_where_none_is_listed(run, monkeypatch):
    schema = tuple(column._replace(values=()) for column in preprocess.SCHEMA)
    monkeypatch.setattr(preprocess, "SCHEMA", schema)
    code, folder = run(with_cell(7, "sex", "X"))
    assert code == 0
    assert report_in(folder)["suspicious"] == []


def test_copies_of_a_row_stay_in_one_split(run):
    lines = list(clean_rows(200))
    code, folder = run(text_of(lines * 5))
    seen = [set(lines[1:]) for lines in splits_in(folder).values()]
    assert code == 0
    assert sum(map(len, seen)) == len(set.union(*seen)) == 200
    assert "800 row(s) are exact copies" in report_in(folder)["warnings"][0]


def change_column(name, value_of):
    """The clean file with a column computed anew from the row's number and its label."""
    lines = []
    for number, line in enumerate(LINES):
        fields = line.split(",")
        fields[NAMES.index(name)] = str(value_of(number, int(fields[-1])))
        lines.append(",".join(fields))
    return text_of(lines)


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        pytest.param(
            change_column("height", lambda number, label: label + 1.5), "leaks the label", id="leak"
        ),
        pytest.param(change_column("height", lambda number, label: 0.2), "constant", id="constant"),
        pytest.param(
            change_column("height", lambda number, label: number + 1), "identifier", id="id"
        ),
        pytest.param(
            change_column("sex", lambda number, label: f"n{number}"), "identifier", id="key"
        ),
    ],
)
def test_warns_of_columns_that_deserve_a_look(run, content, warning):
    code, folder = run(content)
    [text] = report_in(folder)["warnings"]
    assert code == 0
    assert warning in text


def test_extra_column_is_ignored_with_a_warning(run):
    lines = [HEADER + ",colour", *(line + ",red" for line in LINES)]
    code, folder = run(text_of(lines))
    assert code == 0
    assert splits_in(folder)["train"][0] == HEADER
    assert report_in(folder)["warnings"] == ["1 column(s) not in the schema were ignored: colour"]


def test_a_failed_write_leaves_the_earlier_outputs_alone(run, capsys):
    _, folder = run(text_of())
    before = splits_in(folder)
    (folder / "report" / "data_report.json").unlink()
    (folder / "report").rmdir()
    (folder / "report").write_text("in the way")
    code, _ = run(text_of(), "--seed", "1")
    assert code == 1
    assert "report" in capsys.readouterr().err
    assert splits_in(folder) == before
    assert not list(folder.glob("*/.*"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "there is no such file or folder"),
        ([], "found 0 (nothing)"),
        (["a.csv", "b.csv"], "found 2 (a.csv, b.csv)"),
    ],
)
def test_input_must_be_one_file(tmp_path, capsys, files, message):
    source = tmp_path / "in"
    if files is not None:
        source.mkdir()
        for name in files:
            (source / name).write_text(text_of())
    assert preprocess.main(["--input-data", str(source)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--seed", "-1"], ["--seed", "x"], ["--sed", "1"], ["extra"]]
)
def test_bad_arguments_are_refused_in_one_line(capsys, arguments):
    assert preprocess.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("preprocess.py: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--seed", "x"], ["--input-data", "nothing"], ["extra"]])
def test_message_is_the_reason_in_at_most_1_kb(tmp_path, capsys, arguments):
    message = tmp_path / "output" / "message"
    assert preprocess.main(["--message", str(message), *arguments]) == 2
    assert message.read_text() == capsys.readouterr().err.strip()
    assert preprocess.main(["--message", str(message), "é" * 2000]) == 2
    assert 1000 < len(message.read_bytes()) <= 1024
    assert message.read_text().startswith("preprocess.py: unrecognized arguments: éé")


def test_error_is_told_where_its_message_cannot_be_written(tmp_path, capsys):
    (tmp_path / "output").write_text("in the way")
    assert preprocess.main(["--message", str(tmp_path / "output" / "message"), "extra"]) == 2
    assert "unrecognized arguments: extra" in capsys.readouterr().err


def test_no_message_is_left_when_all_went_well(run, tmp_path):
    code, _ = run(text_of(), "--message", str(tmp_path / "message"))
    assert code == 0
    assert not (tmp_path / "message").exists()
