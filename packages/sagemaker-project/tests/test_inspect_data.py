"""`inspect-data`: what it finds out about tables, what it doubts, and how it ends."""

import csv
import gzip
import json
import os
import pty
import random
import subprocess
import sys
import time
from datetime import date, timedelta

import pytest
import tables
from hypothesis import HealthCheck, given, settings, strategies
from sagemaker_project.inspect_data import sources
from sagemaker_project.inspect_data.command import main
from sagemaker_project.tabular.schema import PROBLEMS, read_schema

CHANCE = random.Random(0)
NUMBERS = [round(CHANCE.uniform(0, 50), 2) for _ in range(300)]  # a feature that leaks nothing
YES_NO = [CHANCE.choice(["yes", "no"]) for _ in range(300)]


@pytest.fixture
def inspect(tmp_path, capsys):
    """Run the command on columns or on a file; return its exit code, schema, stdout and stderr."""

    def run(data, *flags, label="y"):
        if isinstance(data, dict):
            path = tmp_path / "data.csv"
            rows = zip(*data.values(), strict=True)
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([list(data), *rows])
            data = path
        output = tmp_path / "schema.json"
        code = main([str(data), "--label", label, "--output", str(output), *map(str, flags)])
        captured = capsys.readouterr()
        content = json.loads(output.read_text()) if output.exists() else None
        if content:
            read_schema(output.read_bytes())
        return code, content, captured.out, captured.err

    return run


def field(content, name="x"):
    """Return a field of a schema.json with its role."""
    [found] = (one for one in content["fields"] if one["name"] == name)
    return {"role": "label" if name == content["label"] else "feature", **found}


def repeated(*values):
    return [values[n % len(values)] for n in range(300)]


def draw(*values):
    return [CHANCE.choice(values) for _ in range(300)]


@pytest.mark.parametrize("make", tables.TABLES, ids=lambda make: make.__name__)
def test_ten_tables_are_right_without_a_doubt(inspect, tmp_path, make):
    made = make(tmp_path)
    code, content, out, err = inspect(made.data, label=made.label)
    assert (code, err) == (0, ""), out
    assert (content["problem"], content.get("positive", "")) == (made.problem, made.positive)
    for one in content["fields"]:
        wanted = made.columns.get(one["name"])
        found = field(content, one["name"])
        if wanted:
            assert (found["type"], found["role"]) == wanted, one["name"]
        else:
            assert found["type"] in ("number", "integer") and found["role"] == "feature"
    assert {name: content["file"].get(name) for name in made.file} == made.file
    used = [one["name"] for one in content["fields"] if one.get("role") is None]
    assert content["split"] == {"seed": 42, "by": used}


def test_what_the_tables_hold_that_is_special(inspect, tmp_path):
    made = tables.negative_regression(tmp_path)
    _, content, out, _ = inspect(made.data, label=made.label)
    assert "-999" in field(content, "age")["missingValues"]
    assert "-999 is no value" in out
    made = tables.dated_multiclass(tmp_path)
    _, content, _, _ = inspect(made.data, "--yes", label=made.label)
    assert field(content, "signup")["format"] == "%d.%m.%Y"
    assert "-" in field(content, "amount")["missingValues"]
    assert content["facets"] == ["city"]
    made = tables.many_categories(tmp_path)
    _, content, _, _ = inspect(made.data, "--yes", label=made.label)
    assert "constraints" not in field(content, "product")
    made = tables.imbalanced(tmp_path)
    _, content, _, _ = inspect(made.data, "--yes", label=made.label)
    assert content["metric"] == {"name": "auc", "at_least": 0.6}


@pytest.mark.parametrize(
    ("name", "problem", "positive"),
    [
        ("iris", "multiclass", ""),
        ("wine", "multiclass", ""),
        ("breast_cancer", "binary", "malignant"),
        ("diabetes", "regression", ""),
    ],
)
def test_the_tables_that_come_with_scikit_learn(inspect, tmp_path, name, problem, positive):
    from sklearn import datasets

    table = getattr(datasets, f"load_{name}")()
    names = getattr(table, "target_names", None)
    labels = [names[value] if names is not None else value for value in table.target]
    columns = dict(zip(table.feature_names, table.data.T.tolist(), strict=True))
    code, content, _, err = inspect({**columns, "y": labels})
    assert (code, content["problem"], content.get("positive", "")) == (0, problem, positive), err
    assert all(one["type"] in ("number", "integer") for one in content["fields"][:-1])
    assert all("role" not in one for one in content["fields"])


def test_shellfish_without_a_header_are_a_regression(inspect, tmp_path):
    chance = random.Random(1)
    path = tmp_path / "abalone.csv"
    lines = []
    for _ in range(1000):
        rings = max(1, round(chance.gauss(10, 3.5)))
        length = 0.1 + 0.04 * rings + chance.gauss(0, 0.05)
        lines.append(f"{chance.choice('MFI')},{length:.3f},{chance.random():.4f},{rings}\n")
    path.write_text("".join(lines))
    code, content, out, _ = inspect(path, label="column_4")
    assert code == 0 and content["problem"] == "regression"
    assert content["file"]["header"] is False
    assert [one["name"] for one in content["fields"]] == [f"column_{n}" for n in range(1, 5)]
    assert field(content, "column_1")["constraints"] == {"enum": ["F", "I", "M"]}
    assert "a tenth below the standard deviation" in out


def test_a_label_of_0_and_1_is_binary(inspect):
    code, content, _, _ = inspect({"x": NUMBERS, "y": draw(0, 1)})
    assert (code, content["problem"], content["positive"]) == (0, "binary", "1")
    assert field(content, "y")["type"] == "integer"


@pytest.mark.parametrize(
    ("cells", "wanted"),
    {
        "integers": (draw(*range(40)), {"type": "integer"}),
        "numbers": (draw(1.5, 2, 3.25), {"type": "number"}),
        "exponents": (draw("1e3", "2.5E-4", "7"), {"type": "number"}),
        "underscores": (draw("1_0", "2_0"), {"type": "string"}),
        "full-width digits": (draw("１２", "３４"), {"type": "string"}),
        "yes and no": (draw("Yes", "No"), {"type": "boolean"}),
        "0 and 1": (draw("0", "1", ""), {"type": "boolean"}),
        "leading zeros": (draw("0107", "0450", "1200"), {"type": "string", "role": "feature"}),
        "constant": (["x"] * 300, {"role": "ignored"}),
        "empty": (repeated("", "NA"), {"role": "ignored"}),
        "counter": (list(range(1, 301)), {"role": "id"}),
        "unique texts": ([f"k{n * 37 % 1009}" for n in range(300)], {"role": "id"}),
        "free text": (
            [f"the {n}th of many words to read" for n in range(300)],
            {"role": "ignored"},
        ),
        "categories": (draw("red", "blue"), {"type": "string", "role": "feature"}),
        "a day": (draw("2024-01-31", "2024-02-01"), {"type": "date"}),
        "a time": (
            draw("2024-01-31T10:00:00Z", "2024-02-01T09:30:00+02:00"),
            {"type": "datetime"},
        ),
        "dots": (draw("31.01.2024", "01.02.2024"), {"type": "date", "format": "%d.%m.%Y"}),
        "slashes": (draw("31/01/2024", "01/02/2024"), {"format": "%d/%m/%Y"}),
        "months first": (draw("01/31/2024", "02/01/2024"), {"format": "%m/%d/%Y"}),
        "names of months": (draw("3 Mar 2024", "14 Dec 2023"), {"format": "%d %b %Y"}),
        "digits": (draw("20240131", "20231201"), {"type": "date", "format": "%Y%m%d"}),
        "with a time": (
            draw("31.01.2024 10:30", "01.02.2024 23:59"),
            {"type": "datetime", "format": "%d.%m.%Y %H:%M"},
        ),
        "half days": (
            draw("01/31/2024 10:30 PM", "02/01/2024 9:15 AM"),
            {"type": "datetime", "format": "%m/%d/%Y %I:%M %p"},
        ),
    }.values(),
)
def test_columns(inspect, cells, wanted):
    code, content, _, err = inspect({"x": cells, "other": NUMBERS, "y": YES_NO})
    assert code == 0, err
    found = field(content)
    assert {name: found.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("cells", "word"),
    [
        ([*NUMBERS[:290], *["unknown"] * 10], "unknown"),
        ([*NUMBERS[:290], *["#N/A"] * 10], "#n/a"),
        ([*NUMBERS[:290], *["-999"] * 10], "-999"),
        ([*NUMBERS[:290], *["-9999.0"] * 10], "-9999"),
        ([*NUMBERS[:290], *["99999"] * 10], "99999"),
        ([*["2024-01-31"] * 290, *["0000-00-00"] * 10], "0000-00-00"),
    ],
)
def test_words_and_numbers_that_mean_no_value(inspect, cells, word):
    code, content, _, err = inspect({"x": cells, "other": NUMBERS, "y": YES_NO})
    assert code == 0, err
    assert word in field(content)["missingValues"]


def test_nines_among_their_like_are_numbers(inspect):
    code, content, _, _ = inspect({"x": draw(*range(80, 105)), "other": NUMBERS, "y": YES_NO})
    assert code == 0
    assert "missingValues" not in field(content)


@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16"),
        ("cp1252", "cp1252"),
    ],
)
@pytest.mark.parametrize(
    ("delimiter", "decimal"), [(",", "."), (";", ","), ("\t", "."), ("|", ".")]
)
def test_files(inspect, tmp_path, encoding, wanted, delimiter, decimal):
    lines = [delimiter.join(["größe", "farbe", "y"])]
    for number, word in zip(NUMBERS, YES_NO, strict=True):
        lines.append(delimiter.join([str(number).replace(".", decimal), '"grün €"', word]))
    path = tmp_path / "data.csv"
    path.write_bytes("\r\n".join(lines).encode(encoding))
    code, content, _, err = inspect(path)
    assert code == 0, err
    file = {"format": "csv", "encoding": wanted, "delimiter": delimiter, "header": True}
    if decimal == ",":
        file["decimal"] = ","
    assert content["file"] == file
    assert field(content, "größe")["type"] == "number"


def test_a_first_line_that_names_the_separator(inspect, tmp_path):
    path = tmp_path / "data.csv"
    lines = [f"{number};{word}" for number, word in zip(NUMBERS, YES_NO, strict=True)]
    path.write_text("\n".join(["sep=;", "x;y", *lines]))
    code, content, _, err = inspect(path)
    assert (code, content["file"]["delimiter"]) == (0, ";"), err


DOUBTS = {
    "whole numbers with a word": ([*draw(*range(10, 99))[:290], *["ten"] * 10], "--type x=integer"),
    "day first": (draw("01/02/2024", "03/04/2024"), "--type x=date:%d/%m/%Y"),
    "mixed": ([*NUMBERS[:290], *["ten"] * 10], "--type x=number"),
    "mostly texts": ([*NUMBERS[:180], *["ten"] * 120], "--type x=string"),
    "leak": ([{"yes": "A", "no": "B"}[word] for word in YES_NO], "--ignore x"),
    "leak of numbers": ([{"yes": 9, "no": 1}[word] + n / 1000 for n, word in enumerate(YES_NO)],)
    + ("--ignore x",),
}


@pytest.mark.parametrize(("cells", "flag"), DOUBTS.values(), ids=DOUBTS)
def test_a_doubt_names_the_flag_that_settles_it(inspect, cells, flag):
    data = {"x": cells, "other": NUMBERS, "y": YES_NO}
    code, guess, out, err = inspect(data)
    assert code == 3
    assert "doubt: column x:" in err and flag in err
    assert "with 1 open doubt" in err.splitlines()[-1]
    code, again, _, err = inspect(data, "--yes")
    assert (code, again) == (0, guess)
    assert flag in err, "it is told all the same"
    code, settled, _, err = inspect(data, *flag.split(" ", 1), "--yes")
    assert (code, err) == (0, "")
    assert field(settled)["type"] == field(guess)["type"]


def test_a_repeated_id_may_be_a_group(inspect):
    data = {"customer_id": repeated(*range(100, 200)), "other": NUMBERS, "y": YES_NO}
    code, content, _, err = inspect(data)
    assert code == 3 and "--group customer_id" in err
    assert field(content, "customer_id")["role"] == "id"
    code, content, out, err = inspect(data, "--group", "customer_id", "--yes")
    assert (code, err) == (0, "")
    assert content["split"] == {"seed": 42, "group": ["customer_id"]}


@pytest.mark.parametrize(
    ("labels", "guess", "other"),
    [
        (draw(0, 1, 2), "multiclass", "regression"),
        (draw(1, 2, 3, 4, 5), "multiclass", "regression"),
        (draw(3, 4, 5, 6, 7, 8), "regression", "multiclass"),
        (draw(*range(5, 22)), "regression", "multiclass"),
        (draw(2, 40), "binary", "regression"),
    ],
)
def test_a_label_of_few_whole_numbers_is_doubted(inspect, labels, guess, other):
    data = {"x": NUMBERS, "y": labels}
    code, content, _, err = inspect(data)
    assert (code, content["problem"]) == (3, guess)
    assert f"--problem {other}" in err
    for problem in (guess, other):
        code, content, _, err = inspect(data, "--problem", problem, "--yes")
        assert (code, content["problem"], err) == (0, problem, "")


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (("No", "Yes"), "Yes"),
        (("churned", "active"), "churned"),
        (("<=50K", ">50K"), ">50K"),
        (("not sold", "sold"), "sold"),
        (("1", "2"), "2"),
    ],
)
def test_the_positive_class_is_known_by_its_name(inspect, labels, positive):
    code, content, _, err = inspect({"x": NUMBERS, "y": draw(*labels)})
    assert (code, content["positive"]) == (0, positive), err


def test_a_positive_class_without_a_name_is_the_rarer_one_and_doubted(inspect):
    labels = [*["cat"] * 220, *["dog"] * 80]
    code, content, _, err = inspect({"x": NUMBERS, "y": labels})
    assert (code, content["positive"]) == (3, "dog")
    assert "--positive dog" in err and "--positive cat" in err
    code, content, _, err = inspect({"x": NUMBERS, "y": labels}, "--positive", "cat", "--yes")
    assert (code, content["positive"], err) == (0, "cat", "")


def test_none_may_be_a_class(inspect):
    code, content, _, err = inspect({"x": NUMBERS, "y": draw("None", "mild", "severe")})
    assert (code, content["problem"]) == (0, "multiclass"), err
    assert field(content, "y")["constraints"]["enum"] == ["None", "mild", "severe"]
    assert "none" not in read_schema(json.dumps(content).encode()).label_field.missing


def test_a_split_by_time_has_its_dates_at_70_and_85_percent(inspect):
    days = [str(date(2024, 1, 1) + timedelta(days=n)) for n in range(300)]
    CHANCE.shuffle(days)
    data = {"when": days, "x": NUMBERS, "y": YES_NO}
    code, content, _, err = inspect(data, "--time", "when")
    assert code == 0, err
    split = content["split"]
    assert sum(day < split["validationFrom"] for day in days) == 210
    assert sum(day < split["testFrom"] for day in days) == 255


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--metric", "f1"], {"name": "f1"}),
        (["--metric", "auc=0.8"], {"name": "auc", "at_least": 0.8}),
        (["--metric", "log_loss=0.5"], {"name": "log_loss", "at_most": 0.5}),
    ],
)
def test_the_metric(inspect, flags, wanted):
    code, content, _, _ = inspect({"x": NUMBERS, "y": YES_NO}, *flags)
    assert code == 0
    assert {name: content["metric"][name] for name in wanted} == wanted


def test_a_mistaken_label_makes_no_threshold(inspect):
    code, content, _, _ = inspect({"x": NUMBERS, "y": [*NUMBERS[1:], "12345678901234567890.5"]})
    assert code == 0
    assert 5 < content["metric"]["at_most"] < 20


def test_a_line_break_in_a_class_breaks_no_line(inspect):
    _, _, out, err = inspect({"x": NUMBERS, "y": draw("it's\na", "b")}, "--yes")
    assert len(err.splitlines()) == 1 and r"--positive $'it\'s\na'" in err
    assert [line for line in out.splitlines() if line.startswith("y ") and r"it's\na" in line]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--label", "z"], "has no column 'z'"),
        (["--id", "why"], "no such column"),
        (["--ignore", "y"], "is the label"),
        (["--time", "x"], "is no column of dates"),
        (["--type", "x=float"], "wanted COLUMN=TYPE"),
        (["--metric", "rmse"], "a binary problem has auc"),
        (["--metric", "auc=high"], "wanted a name, or NAME=VALUE"),
        (["--positive", "maybe"], "'maybe'"),
        (["--problem", "regression"], "wanted numbers"),
        (["--problem", "multiclass"], "has 2 classes, which is binary"),
        (["--output", "/none/schema.json"], "there is no folder"),
        (["--ignore", "x"], "no column is left"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(inspect, flags, words):
    code, content, _, err = inspect({"x": NUMBERS, "y": YES_NO}, *flags)
    assert (code, content) == (2, None)
    assert words in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"x,y\n", "no rows of data"),
        (b"x y\n1 2\n", "has one column"),
        (b"x,x,y\n1,2,3\n", "the column 'x' twice"),
        (b"x,y\n1,2\n3\n4\n5\n", "wanted 2"),
        (b"x,y\n1,2\n3,2\n", "the label has one value"),
        (b"PK\x03\x04xxxx", "Excel"),
        (b"\x1f\x8b\x08xx", "damaged gzip"),
        (b"PAR1xxxx", "cannot be read"),
        (b"x,y\n\0\0,2\n", "NUL"),
        (gzip.compress(b"PAR1", mtime=0), "Parquet inside of gzip"),
        (b"1,2\n3,4\n", "has no header"),
    ],
)
def test_files_that_are_no_table(inspect, tmp_path, content, words):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    code, schema, _, err = inspect(path)
    assert (code, schema) == (2, None)
    assert words in err and len(err.splitlines()) == 1, err


def test_no_file(inspect, tmp_path):
    assert inspect(tmp_path / "none.csv")[0] == 2
    assert inspect(tmp_path)[0] == 2  # a folder without parts


def test_parts_that_differ(inspect, tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n2,3\n")
    (tmp_path / "b.csv").write_text("x;y\n1;2\n2;3\n")
    code, _, _, err = inspect(tmp_path)
    assert code == 2 and "separated by semicolons" in err
    (tmp_path / "b.csv").write_text("x,z,y\n1,2,3\n")
    code, _, _, err = inspect(tmp_path)
    assert code == 2 and "other columns" in err


def test_a_long_file_is_sampled_and_its_dates_are_all_read(inspect, monkeypatch):
    monkeypatch.setattr(sources, "ROWS", 100)
    days = [str(date(2024, 1, 1) + timedelta(days=n)) for n in range(3000)]
    rows = {"when": days, "x": NUMBERS * 10, "y": YES_NO * 10}
    code, content, out, err = inspect(rows, "--time", "when")
    assert code == 0, err
    assert "the first 1,000 rows" in out
    assert content["split"]["validationFrom"] == days[2100]


def test_rows_to_repair_are_noted(inspect, tmp_path):
    lines = [f"{number},{word}" for number, word in zip(NUMBERS, YES_NO, strict=True)]
    lines[7] = "1,2,3"
    lines[9] = "4,"
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["x,y", *lines]))
    code, content, _, err = inspect(path)
    assert code == 0
    assert "record 9 has 3 cells, wanted 2" in err
    assert "1 row without a label" in err


def test_a_schema_that_exists_is_overwritten_only_with_yes(inspect, tmp_path):
    (tmp_path / "schema.json").write_text('{"mine": 1}')
    data = {"x": NUMBERS, "y": YES_NO}
    args = [str(tmp_path / "data.csv"), "--label", "y", "--output", str(tmp_path / "schema.json")]
    (tmp_path / "data.csv").write_text("x,y\n1,2\n2,3.5\n")
    assert main(args) == 3
    assert (tmp_path / "schema.json").read_text() == '{"mine": 1}'
    assert inspect(data, "--yes")[0] == 0
    assert inspect(data)[0] == 0, "the same again changes nothing"


ODD = ("", "NA", "-", "0", "1", "-999", "99", "9" * 400, "1e400", "1_0", "１", "1,5", "1.5", "007")
ODD += ("yes", "no", "2024-01-31", "31/01/2024", "01/02/2024", "12:30", "2024-13-45", "20240131")
ODD += ("=cmd()", '"', "\n", "inf", "nan", "1e308", "-1e308", "-0", "several words of a text here")
FLAGS = ((), ("--time", "c0"), ("--type", "c0=number"), ("--type", "c0=date"), ("--group", "c0"))
FLAGS += tuple(("--problem", problem) for problem in PROBLEMS)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    strategies.lists(
        strategies.tuples(*[strategies.sampled_from(ODD)] * 3), min_size=1, max_size=60
    ),
    strategies.sampled_from(FLAGS),
)
def test_any_table_gets_a_schema_or_one_line(inspect, rows, flags):
    columns = dict(zip(("c0", "c1", "y"), zip(*rows, strict=True), strict=True))
    code, _, _, err = inspect(columns, "--yes", *flags)  # read_schema takes what is written
    assert code == 0 or (code == 2 and len(err.splitlines()) == 1)


def test_pandas_and_numpy_are_not_imported(tmp_path):
    made = tables.text_binary(tmp_path)
    code = f"""
import sys
from sagemaker_project.inspect_data.command import main
assert main([{str(made.data)!r}, "--label", "churn", "--output", {str(tmp_path / "s.json")!r}]) == 0
assert not {{"numpy", "pandas", "pyarrow", "rich", "boto3"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_on_a_terminal_it_asks(tmp_path):
    path = tmp_path / "data.csv"
    with path.open("w", newline="") as file:
        rows = zip(draw("01/02/2024", "03/04/2024"), NUMBERS, draw("cat", "dog"), strict=True)
        csv.writer(file).writerows([["x", "other", "y"], *rows])
    output = tmp_path / "schema.json"
    output.write_text("{}")
    words = [str(path), "--label", "y", "--output", str(output)]
    code = "import sys; from sagemaker_project.inspect_data.command import main; sys.exit(main())"
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", code, *words])
    shown = answer(terminal, [("day or the month", b"2\n"), ("positive", b"7\n"), (": ", b"2\n")])
    shown += answer(terminal, [("Overwrite", b"y\n")])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    content = json.loads(output.read_text())
    assert field(content)["format"] == "%m/%d/%Y"
    assert "--type x=date:%m/%d/%Y" in shown, "how to say it without questions"


def answer(terminal, dialogue):
    """Wait for each text on a terminal and type the answer; read to the end after the last one."""
    shown, ends = "", time.monotonic() + 60
    for text, typed in dialogue:
        seen = ""
        while not (text in seen and seen.endswith(": ")) and time.monotonic() < ends:
            seen += os.read(terminal, 10_000).decode()
        os.write(terminal, typed)
        shown += seen
    return shown
