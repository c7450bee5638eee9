"""Requests to answers: what trained can be scored, and every mistake has its status and words."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sagemaker_project
from hypothesis import given, settings
from hypothesis import strategies as st
from sagemaker_project.tabular import requests, serving
from sagemaker_project.tabular.answers import accepted
from sagemaker_project.tabular.features import date_part, input_names
from sagemaker_project.tabular.records import Columns
from sagemaker_project.tabular.requests import Rows
from serving_helpers import FIELDS, invoke, make_model, make_schema

pytestmark = [pytest.mark.fast, pytest.mark.filterwarnings("error")]

NAMES = [field["name"] for field in FIELDS]
VALUES = ["M", 0.5, -1.25, 7, True, "2024-02-29T13:00:00"]
RECORD = dict(zip(NAMES, VALUES, strict=True))
ROW = "M,0.5,-1.25,7,yes,2024-02-29T13:00:00"
PROBLEMS = ["regression", "binary", "multiclass"]
JSON = "application/json"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {problem: make_model(folder / problem, problem) for problem in PROBLEMS}


@pytest.fixture(scope="module")
def models(made):
    return {problem: serving.model_fn(str(one.folder)) for problem, one in made.items()}


@pytest.fixture(scope="module")
def model(models):
    return models["regression"]


def inputs(made, *rows):
    """Return the inputs of rows of floats and texts, in the order of the fields."""
    columns = dict(zip(NAMES, zip(*rows, strict=True), strict=True))
    arrays = {}
    for one in input_names(made.schema):
        column = list(columns[one.field])
        arrays[one.name] = date_part(np.array(column), one.part) if one.part else column
    return pd.DataFrame(arrays)


PLAIN = ("M", 0.5, -1.25, 7.0, 1.0, 19_782 + 13 / 24)


@pytest.fixture(scope="module")
def expected(made):
    """What the Pipeline predicts for the record of the tests, with some changes."""

    def answer(**changes):
        values = dict(zip(NAMES, PLAIN, strict=True)) | changes
        return made["regression"].expected(inputs(made["regression"], tuple(values.values())))

    return answer


def as_json(model, content, **kwargs):
    return invoke(model, json.dumps(content), JSON, **kwargs)


# Answers


@pytest.mark.parametrize("count", [1, 2, 4, 5, 256, 257, 600])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_predictions_are_the_pipelines_to_the_last_bit(made, models, problem, count):
    one, model = made[problem], models[problem]
    frame = pd.concat([one.frame] * 2, ignore_index=True).head(count)
    records = [
        [None if value != value else value for value in row]
        for row in frame[NAMES].assign(signup=None).values.tolist()
    ]
    missing = {name: np.nan for name in frame if name.startswith("signup")}
    wanted = one.expected(frame.assign(**missing))
    for content in (records, [dict(zip(NAMES, row, strict=True)) for row in records]):
        content = json.loads(json.dumps(content))
        for row in content:
            key = "member" if isinstance(row, dict) else NAMES.index("member")
            row[key] = None if row[key] is None else bool(row[key])
        assert as_json(model, content) == (200, wanted)
    csv = frame[NAMES].assign(signup="").to_csv(index=False, header=False)
    assert invoke(model, csv.replace("1.0,\n", "1,\n").replace("0.0,\n", "0,\n"))[0] == 200


def test_a_model_without_trees_answers_the_same(tmp_path, models):
    for problem in PROBLEMS:
        other = make_model(tmp_path / problem, problem, with_trees=False)
        model = serving.model_fn(str(other.folder))
        assert model.trees is None
        for body in (ROW, f"{ROW}\n" * 20):
            assert invoke(model, body) == invoke(models[problem], body)


def test_classes_are_answered_by_name(made, models):
    [answer] = invoke(models["binary"], ROW)[1]
    [[no, yes]] = made["binary"].pipeline.predict_proba(inputs(made["binary"], PLAIN)).tolist()
    assert answer["probabilities"] == {"no": no, "yes": yes}
    assert answer["predicted_label"] == ("yes" if yes > no else "no")


def test_classes_in_csv_are_label_and_probabilities(made, models):
    lengths = made["multiclass"].frame["length"].head(40).fillna(0)
    body = "\n".join(f"F,{length!r},,,," for length in lengths)
    status, text = invoke(models["multiclass"], body, accept="text/csv")
    answers = invoke(models["multiclass"], body)[1]
    lines = text.split("\n")
    assert status == 200 and len(lines) == 40
    for line, answer in zip(lines, answers, strict=True):
        label = answer["predicted_label"]
        cell = f'"{label}"' if "," in label else label
        assert line == ",".join([cell, *map(repr, answer["probabilities"].values())])


def test_numbers_in_csv_are_a_number_a_line(model, expected):
    [value] = expected()
    assert invoke(model, f"{ROW}\n{ROW}", accept="text/csv") == (200, f"{value!r}\n{value!r}")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("application/json, text/csv", JSON),
        ("text/csv, application/json", "text/csv"),
        ("text/csv;q=0.5, application/json", JSON),
        ("application/json;q=0.1,text/csv;q=0.9", "text/csv"),
        ("application/json;q=0, text/csv", "text/csv"),
        ("application/json;q=0, */*", "text/csv"),
        ("text/csv;q=0", None),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("*/*", JSON),
        ("text/*, */*;q=0.1", "text/csv"),
        ("text/csv; charset=utf-8", "text/csv"),
        ("TEXT/CSV", "text/csv"),
        ("application/x-parquet, application/json", JSON),
        ("text/html, text/csv;q=0.5", "text/csv"),
        ("application/x-parquet", None),
        ("application/jsonlines", None),
        ("text/*", "text/csv"),
        ("application/*", JSON),
        ("", JSON),
        (None, JSON),
    ],
)
def test_the_format_is_what_the_client_wants_most(model, accept, wanted):
    assert accepted(accept) == wanted
    assert invoke(model, ROW, accept=accept)[0] == (200 if wanted else 406)


# Requests


@pytest.mark.parametrize(
    "content",
    [VALUES, [VALUES], RECORD, [RECORD], {"instances": [VALUES]}, {"instances": [RECORD]}],
    ids=["list", "lists", "object", "objects", "instances of lists", "instances of objects"],
)
def test_json_records_come_in_the_usual_shapes(model, expected, content):
    assert as_json(model, content) == (200, expected())


def test_objects_are_read_by_name_in_any_order(model, expected):
    assert as_json(model, dict(reversed(RECORD.items()))) == (200, expected())


NAN = float("nan")


@pytest.mark.parametrize("copies", [1, 30], ids=["few rows", "many rows"])
@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("sex", "X", "X"),
        ("sex", "", ""),
        ("sex", " M ", "M"),
        ("sex", "N/A", ""),
        ("length", "", NAN),
        ("length", " nan", NAN),
        ("length", "?", NAN),
        ("length", " +5e-1 ", 0.5),
        ("weight", "-999", NAN),
        ("weight", "-999.0", NAN),
        ("weight", "-9.99e2", NAN),
        ("weight", "None", NAN),
        ("weight", "-", NAN),
        ("visits", "8.0", 8.0),
        ("member", "FALSE", 0.0),
        ("member", "t", 1.0),
        ("member", "", NAN),
        ("signup", "2024-02-29", 19_782.0),
        ("signup", "2024-02-29T15:00:00+02:00", 19_782 + 13 / 24),
        ("signup", "", NAN),
    ],
)
def test_what_training_reads_is_scored(model, expected, column, cell, value, copies):
    cells = ROW.split(",")
    cells[NAMES.index(column)] = cell
    wanted = (200, expected(**{column: value}) * copies)
    assert invoke(model, "\n".join([",".join(cells)] * copies)) == wanted
    if column not in ("length", "weight", "visits") or value != value:
        assert as_json(model, [RECORD | {column: cell}] * copies) == wanted


@pytest.mark.parametrize("copies", [1, 30])
def test_json_numbers_mean_what_cells_mean(model, expected, copies):
    for column, value, meant in [
        ("weight", -999, NAN),
        ("weight", -999.0, NAN),
        ("length", None, NAN),
        ("length", 1, 1.0),
        ("member", 0, 0.0),
        ("member", False, 0.0),
        ("signup", None, NAN),
        ("sex", None, ""),
        ("sex", "?", ""),
    ]:
        wanted = (200, expected(**{column: meant}) * copies)
        assert as_json(model, [RECORD | {column: value}] * copies) == wanted


@pytest.mark.parametrize(
    "body", [ROW, ROW.encode(), "\ufeff".encode() + ROW.encode(), f"\ufeff{ROW}", f"\r\n{ROW}\r\n"]
)
@pytest.mark.parametrize(
    "content_type",
    ["text/csv", "Text/CSV ; Charset=UTF-8", 'text/csv;charset="UTF-8"', "text/csv; header=absent"],
)
def test_content_type_is_read_loosely(model, expected, content_type, body):
    assert invoke(model, body, content_type) == (200, expected())


@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/x-npy", "text/plain", "application/jsonlines", "text/csv; charset=x"],
)
def test_other_content_types_are_415(model, content_type):
    assert invoke(model, ROW, content_type)[0] == 415


@pytest.mark.parametrize(
    "body",
    [
        f"{ROW}\n{ROW}",
        f"{ROW}\r\n{ROW}\r\n",
        f"{ROW}\r{ROW}",
        f"{ROW}\n\n{ROW}",
        f"{ROW}\n   \n{ROW}",
        "\n".join([",".join(f'"{cell}"' for cell in ROW.split(","))] * 2),
    ],
)
def test_lines_end_and_are_quoted_as_clients_do_it(model, expected, body):
    assert invoke(model, body) == (200, expected() * 2)


HEADER = ",".join(NAMES)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "the body is empty"),
        ("\n\n", "the body is empty"),
        ("  \n", "the body is empty"),
        ("M,0.4", "row 1: 2 values, expected 6: sex,length,"),
        (f"{ROW}\n{ROW},9", "row 2: 7 values, expected 6"),
        (f"{ROW},", "row 1: 7 values, expected 6"),
        (ROW.replace(",", ";"), "row 1: 1 values, expected 6"),
        (f"sep=,\n{ROW}", "row 1: 'sep=' is not a record"),
        (f"{HEADER}\n{ROW}", "row 1 is a header line; send records only, or application/json wi"),
        (f"Sex,Length,a,b,c,d\n{ROW}", "'Length' is not a finite number (a header line?"),
        (ROW.replace("0.5", "inf"), "row 1, column 'length': 'inf' is not a finite number"),
        (ROW.replace("0.5", "-inf"), "row 1, column 'length': '-inf'"),
        (ROW.replace("0.5", "1e400"), "row 1, column 'length': '1e400' is not a finite number"),
        (ROW.replace("0.5", "1_0"), "row 1, column 'length': '1_0'"),
        (ROW.replace("0.5", "０.５"), "row 1, column 'length'"),
        (ROW.replace("0.5", "\x1f0.5"), "row 1, column 'length'"),
        (ROW.replace("0.5", '"0,5"'), "row 1, column 'length': '0,5'"),
        (ROW.replace(",7,", ",7.5,"), "row 1, column 'visits': '7.5' is not a whole number"),
        (ROW.replace("yes", "2"), "row 1, column 'member': '2' is neither true nor false"),
        (ROW.replace("2024-02-29", "2023-02-29"), "row 1, column 'signup': '2023-02-29T13:00"),
        (f'{ROW}\n"{ROW}', "not CSV"),
        (f'"M", "0.5"{ROW[5:]}', "row 1, column 'length'"),
        (f"M\0{ROW[1:]}", "not CSV: character 1 is NUL"),
        (b"\xff\xfe", "byte 0 of the body is not UTF-8"),
        (b"M,\xe9", "byte 2 of the body is not UTF-8"),
        ("\ufffd", "character 0 of the body is not UTF-8"),
    ],
)
@pytest.mark.parametrize("more", [0, 20], ids=["few rows", "many rows"])
def test_bad_csv_is_400_with_row_and_column(model, body, error, more):
    if more and isinstance(body, str) and len(body) > 3 and not body.endswith("\n"):
        body += f"\n{ROW}" * more
    status, message = invoke(model, body)
    assert status == 400
    assert error in message


def test_a_header_is_refused_by_its_content_type(model):
    status, message = invoke(model, ROW, "text/csv; header=present")
    assert status == 400
    assert "application/json with objects by column name" in message


def test_a_header_of_texts_is_no_unknown_category(tmp_path):
    fields = [{"name": "Ä b", "type": "string"}, {"name": "c", "type": "string"}]
    model = serving.model_fn(str(make_model(tmp_path, "binary", fields).folder))
    assert invoke(model, "ä_b,C\nM,F")[0] == 400
    assert invoke(model, "M,C\nM,F")[0] == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "the body is empty"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("3", "expected a record"),
        ("[]", "no record"),
        ('{"instances": 3}', "expected a record"),
        ('{"inputs": [[1]]}', "row 1: 'inputs' is not a column"),
        ('{"instances": [3]}', "row 1: expected a list or an object"),
        ("[[NaN]]", "NaN is not a JSON value"),
        ("[-Infinity]", "-Infinity is not"),
        (f"{json.dumps(VALUES)}\n{json.dumps(VALUES)}", "not JSON"),
        (json.dumps([*VALUES, 9]), "row 1: 7 values"),
        (json.dumps([RECORD, RECORD | {"rings": 9}]), "row 2: 'rings' is not a column"),
        (json.dumps({"sex": "M"}), "row 1, column 'length': not there"),
        (json.dumps(RECORD).replace("0.5", "1e400"), "'length': Infinity is not a finite"),
        (json.dumps(RECORD).replace("0.5", "9" * 400), "column 'length': 9999"),
        (json.dumps(RECORD).replace("0.5", "9" * 5000), "not JSON"),
        (json.dumps(RECORD | {"length": "0.4"}), "column 'length': '0.4' is not a finite"),
        (json.dumps(RECORD | {"length": True}), "column 'length': true"),
        (json.dumps(RECORD | {"length": [1]}), "column 'length': [1]"),
        (json.dumps(RECORD | {"visits": 1.5}), "column 'visits': 1.5 is not a whole number"),
        (json.dumps(RECORD | {"member": 3}), "column 'member': 3 is neither"),
        (json.dumps(RECORD | {"member": []}), "column 'member': [] is neither"),
        (json.dumps(RECORD | {"signup": 3}), "column 'signup': 3 is not a string"),
        (json.dumps(RECORD | {"sex": 1}), "column 'sex': 1 is not a string"),
        (json.dumps(RECORD)[:-1] + ', "sex": "F"}', "an object has the name 'sex' twice"),
        (json.dumps(RECORD).encode("utf-16"), "is not UTF-8"),
    ],
)
def test_bad_json_is_400_with_row_and_column(model, body, error):
    status, message = invoke(model, body, JSON)
    assert status == 400
    assert error in message


def test_a_surrogate_alone_is_an_unknown_category(model, expected):
    """Row 28 of the bad inputs."""
    assert as_json(model, RECORD | {"sex": "\ud800"}) == (200, expected(sex="X"))


def test_body_beyond_the_limit_is_413_and_one_at_the_limit_is_answered(model, monkeypatch):
    monkeypatch.setattr(requests, "MAX_BODY", 10_000)
    line = f"{ROW}\n"
    full = line * (10_000 // len(line))
    full += "\n" * (10_000 - len(full))
    status, predictions = invoke(model, full)
    assert (status, len(predictions)) == (200, full.count("M"))
    assert invoke(model, full + "\n")[0] == 413
    assert invoke(model, "é" * 5_001)[0] == 413


# Any request


def answered(columns, rows):
    """Return the values of the row-by-row path, or its refusal."""
    try:
        return columns.rows(rows.rows() if isinstance(rows, requests.Cut) else rows)
    except requests.ClientError as error:
        return error.status, str(error)


CELLS = st.sampled_from(
    ["", " ", "1", "0.5", "-999", "-999.0", "1.5", "+.5", "5.", "1e3", "1e999", "1_0", "nan", "?"]
    + ["-", "inf", "yes", "0", "M", " F ", "é", "2024-02-29", "2024-02-29T01:02:03Z", "１", "sep="]
    + ["\x1f1", "1 2", "a\tb", "none", "N/A", "sex", "--1", "e", "7"]
)


NUMBERS = st.one_of(
    CELLS,
    st.floats(allow_nan=False).map(repr),
    st.from_regex(r"[+-]?[0-9]{0,25}(\.[0-9]{0,25})?(e-?[0-9]{1,3})?", fullmatch=True),
)


JSON_VALUES = st.one_of(
    CELLS, st.none(), st.booleans(), st.integers(-1000, 1000), st.floats(), st.just(10**400)
)
COLUMNS = Columns(make_schema("regression", FIELDS).features)


def same(plain, rows):
    """Whether the columns of the plain path are the rows of the other one; NaN equals NaN."""
    listed = [one.tolist() if isinstance(one, np.ndarray) else list(one) for one in plain]
    return repr([list(row) for row in zip(*listed, strict=True)]) == repr(rows)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.one_of(CELLS, st.sampled_from(ROW.split(","))) for _ in FIELDS])
        | st.just(tuple(ROW.split(","))),
        min_size=1,
        max_size=6,
    ),
    ending=st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]),
)
def test_any_csv_is_read_the_same_on_both_paths(rows, ending):
    body = ending.join(map(",".join, rows))
    cut = requests.cut(body)
    assert cut is None or cut.rows().records == requests.csv_records(body)
    quoted = ending.join(",".join(f'"{cell}"' for cell in row) for row in rows)
    for read in (cut, Rows(requests.csv_records(quoted), True)):
        if read:
            plain = COLUMNS.plain(read)
            assert plain is None or same(plain, answered(COLUMNS, read))
            assert plain is not None or isinstance(answered(COLUMNS, read), tuple)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.just("M"), NUMBERS, NUMBERS, st.just("7"), st.just("yes"), st.just(""))
        | st.tuples(*[st.one_of(CELLS, st.sampled_from(ROW.split(","))) for _ in FIELDS])
        | st.sampled_from([tuple(NAMES), ("M", "1"), tuple(f'"{cell}"' for cell in NAMES)]),
        min_size=1,
        max_size=5,
    ),
    ending=st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\n \n", "\0\n"]),
)
def test_a_large_csv_is_read_as_a_small_one(rows, ending):
    body = ending.join(map(",".join, rows))
    large = COLUMNS.large(body)
    try:
        expected = answered(COLUMNS, requests.parsed(body))
    except requests.ClientError:
        expected = None
    assert large is None or same(large, expected)


def test_a_large_request_is_answered_as_many_small_ones(model, monkeypatch):
    monkeypatch.setattr(requests, "MANY_CELLS", 20)
    rows = [ROW, ROW.replace("M", "F"), ROW.replace("0.5", ""), ROW.replace("7", "-0")] * 20
    single = [invoke(model, row)[1][0] for row in rows[:4]]
    assert invoke(model, "\n".join(rows)) == (200, single * 20)
    for bad, said in ((ROW.replace("0.5", "x"), "row 81, column 'length'"), ("M,1", "row 81: 2 v")):
        status, error = invoke(model, "\n".join([*rows, bad]))
        assert status == 400 and error.startswith(said)
    assert requests.read("\n".join(rows), "text/csv") == requests.Text("\n".join(rows))
    assert COLUMNS.large("\n".join(rows)) is not None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(JSON_VALUES, min_size=6, max_size=6)
        | st.just(VALUES)
        | st.dictionaries(st.sampled_from([*NAMES, "other"]), JSON_VALUES)
        | st.just(RECORD),
        min_size=1,
        max_size=5,
    )
)
def test_any_json_is_read_the_same_on_both_paths(content):
    rows = Rows(content, False)
    plain = COLUMNS.plain(rows)
    assert plain is None or same(plain, answered(COLUMNS, rows))


@settings(max_examples=60, deadline=None)
@given(body=st.text(st.sampled_from('M05.,\n\r"- \0é_'), max_size=40))
def test_any_text_has_an_answer_and_never_an_exception(model, body):
    assert invoke(model, body)[0] in (200, 400)
    assert invoke(model, body, JSON)[0] in (200, 400)


# Loading


def test_model_whose_hash_does_not_match_is_not_loaded(made, tmp_path):
    copy = shutil.copytree(made["binary"].folder, tmp_path / "copy")
    with (copy / "model.joblib").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(RuntimeError, match=r"model\.joblib: its sha256 is"):
        serving.model_fn(str(copy))


def test_model_of_another_scikit_learn_is_not_loaded(made, tmp_path):
    copy = shutil.copytree(made["binary"].folder, tmp_path / "copy")
    about = json.loads((copy / "model.json").read_text())
    about["versions"]["scikit-learn"] = "0.24.2"
    (copy / "model.json").write_text(json.dumps(about))
    with pytest.raises(RuntimeError, match=r"trained with scikit-learn 0\.24\.2, this is"):
        serving.model_fn(str(copy))


def test_the_copied_files_serve_by_themselves_and_start_without_pandas(made, tmp_path, models):
    """In a process that sees nothing of the project, as in the container."""
    package = Path(sagemaker_project.__file__).parent / "tabular"
    shutil.copytree(package, tmp_path / "code" / "sagemaker_project" / "tabular")
    (tmp_path / "code" / "sagemaker_project" / "__init__.py").write_text("")
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path / "code")!r})
from sagemaker_project.tabular.serving import input_fn, model_fn, output_fn, predict_fn
model = model_fn({str(made["binary"].folder)!r})
for copies in (1, 20):
    rows = input_fn({ROW + chr(10)!r} * copies, "text/csv")
    print(output_fn(predict_fn(rows, model), "text/csv")[0].split()[-1])
assert not {{"pandas", "sklearn", "joblib"}} & set(sys.modules), "they are slow to import"
"""
    command = [sys.executable, "-I", "-c", program]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [invoke(models["binary"], ROW, accept="text/csv")[1]] * 2
