"""Rows as requests, answers as numbers, and the samples for the test of an endpoint."""

import csv
import hashlib
import io
import json
import math
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sagemaker_project.tabular import archive, cells
from sagemaker_project.tabular.client import (
    MAX_BODY,
    WrongAnswer,
    bodies,
    check_prediction,
    csv_body,
    csv_row,
    date_text,
    predictions_of,
    read_answer,
    records,
)
from sagemaker_project.tabular.provenance import provenance, read_data_report
from sagemaker_project.tabular.samples import sample_requests
from sagemaker_project.tabular.schema import Field, Schema
from sagemaker_project.tabular.table import BadInput, Table
from tabular_helpers import schema_of, table_of

pytestmark = pytest.mark.fast

FIELDS = [
    {"name": "a", "type": "number", "missingValues": ["-999", "none"]},
    {"name": "b", "type": "string"},
    {"name": "c", "type": "boolean"},
    {"name": "d", "type": "datetime"},
]
CLASSES = ("no", "yes")


def schema(problem: str) -> Schema:
    label = {"name": "y", "type": "number" if problem == "regression" else "string"}
    return schema_of(problem, [*FIELDS, label])


def split_of_rows(rows: int = 250) -> Table:
    generator = np.random.default_rng(0)
    a = np.round(generator.normal(size=rows), 2)
    a[::7] = np.nan
    return table_of(
        {
            "a": a.tolist(),
            "b": [("plain", 'a "quoted", one', "")[one] for one in generator.integers(0, 3, rows)],
            "c": generator.integers(0, 2, rows).tolist(),
            "d": generator.uniform(0, 20_000, rows).tolist(),
        }
    )


class Response:
    """An answer that is an error, as output_fn returns it."""

    mimetype = "application/json"

    def __init__(self, status: int) -> None:
        self.status_code = status

    def get_data(self, as_text: bool) -> str:
        return json.dumps({"error": "why"})


class Inference:
    """A model of four columns: it answers half of `a`, or a class by it."""

    def __init__(self, classes: tuple[str, ...] = ()) -> None:
        self.classes = classes

    def model_fn(self, model_dir: str) -> None: ...

    def input_fn(self, body: "str | bytes", content_type: str) -> Any:
        if content_type not in ("text/csv", "application/json"):
            return 415
        try:
            if content_type == "text/csv":
                rows: Any = list(csv.reader(io.StringIO(str(body))))
            else:
                rows = json.loads(body)
                rows = rows["instances"] if isinstance(rows, dict) and "instances" in rows else rows
                one = isinstance(rows, dict) or not isinstance(rows[0], list | dict)
                rows = [rows] if one else rows
                rows = [list(row.values()) if isinstance(row, dict) else row for row in rows]
            if not rows or any(len(row) != 4 for row in rows):
                return 400
            return [math.nan if row[0] in ("", None) else float(row[0]) for row in rows]
        except ValueError:
            return 400

    def predict_fn(self, rows: Any, model: Any) -> Any:
        return rows if isinstance(rows, int) else [0.0 if row != row else row / 2 for row in rows]

    def output_fn(self, prediction: Any, accept: str) -> Any:
        if isinstance(prediction, int):
            return Response(prediction)
        if accept not in ("text/csv", "application/json"):
            return Response(406)
        shares = [1 / (1 + math.exp(-one)) for one in prediction]
        labels = [CLASSES[int(one > 0.5)] for one in shares]
        if accept == "text/csv":
            lines: Any = [[one] for one in prediction]
            if self.classes:
                lines = [[label, 1 - p, p] for label, p in zip(labels, shares, strict=True)]
            return csv_body(lines).removesuffix("\n"), accept
        found: Any = prediction
        if self.classes:
            found = [
                {"predicted_label": label, "probabilities": {"no": 1 - p, "yes": p}}
                for label, p in zip(labels, shares, strict=True)
            ]
        return json.dumps({"predictions": found}), accept


def served(problem: str) -> archive.Served:
    return archive.Served(Inference(() if problem == "regression" else CLASSES), None)


# Samples


@pytest.mark.parametrize("problem", ["regression", "binary"])
def test_samples_have_the_models_answers(problem: str) -> None:
    classes = () if problem == "regression" else CLASSES
    model = served(problem)
    found = sample_requests(model, split_of_rows(), schema(problem), classes)
    found = json.loads(json.dumps(found, allow_nan=False))
    assert found["label"] == "y"
    forms = {(one["content_type"], one["accept"]) for one in found["samples"]}
    assert forms == {
        ("text/csv", "text/csv"),
        ("text/csv", "application/json"),
        ("application/json", "application/json"),
    }
    assert sorted({len(one["expected"]) for one in found["samples"]}) == [1, 34, 100]
    for one in found["samples"]:
        answer = model.answer(one["body"], one["content_type"], one["accept"])
        assert one["expected"] == predictions_of(answer.text, one["accept"])
        for value in one["expected"]:
            kind = dict if one["accept"] == "application/json" else list
            assert isinstance(value, kind if classes else float)
    assert {one["name"]: one["status"] for one in found["malformed"]} == {
        "empty body": 400,
        "broken JSON": 400,
        "one value too many": 400,
        "text as a": 400,
        "unknown Content-Type": 415,
        "unknown Accept": 406,
        "npy": 415,
    }


def test_a_small_test_split_has_samples_too() -> None:
    found = sample_requests(served("regression"), split_of_rows(2), schema("regression"), ())
    assert {len(one["expected"]) for one in found["samples"]} == {1, 2}


def broken(**functions: Callable[..., Any]) -> archive.Served:
    inference = Inference(CLASSES)
    for name, function in functions.items():
        setattr(inference, name, function)
    return archive.Served(inference, None)


def fails(*_: object) -> Any:
    raise RuntimeError("out of\nmemory")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (broken(input_fn=fails), "the answer to a sample (text/csv for text/csv, 1 record(s)): "),
        (broken(predict_fn=fails), "RuntimeError: out of memory"),
        (broken(output_fn=lambda *_: Response(503)), "status 503"),
        (broken(output_fn=lambda *_: ("yes,0.1,0.9\n" * 2, "text/csv")), "2 prediction(s)"),
        (broken(output_fn=lambda *_: ("yes,0.9,0.1", "text/csv")), "not the class of the highest"),
        (broken(output_fn=lambda *_: ("yes,0.9", "text/csv")), "1 probabilities for 2 classes"),
        (broken(output_fn=lambda *_: ("yes,nan,0.1", "text/csv")), "not a finite number: nan"),
        (broken(output_fn=lambda *_: ("1.5", "text/csv")), "a prediction without probabilities"),
        (broken(output_fn=lambda *_: ("1.5", "text/html")), "as text/html"),
    ],
)
def test_a_model_that_does_not_answer_samples_is_refused(
    model: archive.Served, message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        sample_requests(model, split_of_rows(), schema("binary"), CLASSES)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_that_accepts_a_malformed_request_is_refused() -> None:
    model = served("regression")
    lenient = Inference()
    lenient.input_fn = lambda body, kind: (
        [0.0] if kind == "application/x-npy" else model.inference.input_fn(body, kind)
    )
    with pytest.raises(BadInput, match="a request with npy with status 200, wanted 4xx"):
        sample_requests(archive.Served(lenient, None), split_of_rows(), schema("regression"), ())


# Rows as records


def test_records_are_what_a_client_sends() -> None:
    fields = schema("regression").features
    table = table_of(
        {
            "a": [1.0, -2.5, math.nan],
            "b": ["x", "", "y"],
            "c": [1.0, 0.0, math.nan],
            "d": [0.0, 18_262.5, math.nan],
        }
    )
    found = records(table, fields)
    assert found == [
        [1, "x", True, "1970-01-01"],
        [-2.5, None, False, "2020-01-01T12:00:00"],
        [None, "y", None, None],
    ]
    assert csv_row(found[0], fields) == ["1", "x", "1", "1970-01-01"]
    assert csv_row(found[1], fields) == ["-2.5", "", "0", "2020-01-01T12:00:00"]
    assert csv_row(found[2], fields) == ["", "y", "", ""]


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers)
def test_a_number_is_read_back_as_the_same(value: float) -> None:
    fields = [Field("a")]
    (record,) = records(table_of({"a": [value]}), fields)
    assert json.loads(json.dumps(record)) == [value]
    assert cells.parser(fields[0])(csv_row(record, fields)[0]) == value


@given(
    st.datetimes(),
    st.sampled_from(["", "%Y-%m-%d %H:%M:%S.%f", "%d/%m/%Y %H:%M:%S.%f%z"]),
)
def test_a_moment_is_read_back_as_the_same(moment: Any, pattern: str) -> None:
    days = cells.days(moment.isoformat())
    text = date_text(days, Field("d", "datetime", format=pattern))
    assert cells.days(text, pattern) == days


def test_a_boolean_has_a_word_of_its_column() -> None:
    field = Field("c", "boolean", true_values=frozenset({"ja"}), false_values=frozenset({"nein"}))
    found = [csv_row(one, [field]) for one in records(table_of({"c": [1.0, 0.0]}), [field])]
    assert found == [["ja"], ["nein"]]


def test_bodies_are_bounded_and_have_all_rows() -> None:
    rows = 30_000
    table = table_of({"a": np.linspace(0, 1, rows).tolist(), "b": ["text " * 20] * rows})
    fields = [Field("a"), Field("b", "string")]
    sent = list(bodies(table, fields))
    assert len(sent) > 2 and sum(number for _, number in sent) == rows
    assert all(len(body) < MAX_BODY + 3 for body, _ in sent)
    assert [row for body, _ in sent for row in json.loads(body)] == records(table, fields)


# Answers


def test_answers_are_arrays() -> None:
    assert read_answer('{"predictions": [1, 2.5]}', 2, ()).tolist() == [1, 2.5]
    one = {"predicted_label": "yes", "probabilities": {"yes": 0.75, "no": 0.25}}
    text = json.dumps({"predictions": [one, one]})
    assert read_answer(text, 2, CLASSES).tolist() == [[0.25, 0.75]] * 2


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("", ()),
        ("[1]", ()),
        ('{"predictions": 1}', ()),
        ('{"predictions": [1, 2]}', ()),
        ('{"predictions": ["1"]}', ()),
        ('{"predictions": [true]}', ()),
        ('{"predictions": [NaN]}', ()),
        ('{"predictions": [1e999]}', ()),
        ('{"predictions": [[1]]}', ()),
        ('{"predictions": [1]}', CLASSES),
        ('{"predictions": [{"probabilities": {"no": 1}}]}', CLASSES),
        ('{"predictions": [{"probabilities": {"no": 1, "yes": null}}]}', CLASSES),
        ('{"predictions": [{"probabilities": [0.1, 0.9]}]}', CLASSES),
    ],
)
def test_an_answer_of_another_kind_is_refused(text: str, classes: tuple[str, ...]) -> None:
    with pytest.raises(WrongAnswer):
        read_answer(text, 1, classes)


def test_the_label_is_the_class_of_the_highest_probability() -> None:
    check_prediction(["yes", 0.5, 0.5], CLASSES)
    check_prediction(["no", 0.5, 0.5], CLASSES)
    with pytest.raises(WrongAnswer):
        check_prediction(["maybe", 0.5, 0.5], CLASSES)
    with pytest.raises(WrongAnswer):
        wrong = {"predicted_label": "no", "probabilities": {"no": 0.1, "yes": 0.9}}
        check_prediction(wrong, CLASSES)


def test_a_label_may_have_any_characters() -> None:
    text = csv_body([['a "b",\nc', 0.5, 0.5]])
    assert predictions_of(text, "text/csv") == [['a "b",\nc', 0.5, 0.5]]


# The archive, and where the numbers come from


def test_a_model_predicts_by_its_own_code(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/inference.py").write_text(
        "import json\n"
        "def model_fn(folder): return 3\n"
        "def input_fn(body, kind): return json.loads(body)\n"
        "def predict_fn(rows, model): return [model * (row[0] or 0) for row in rows]\n"
        "def output_fn(found, accept): return json.dumps({'predictions': found}), accept\n"
    )
    model = archive.load(Path("model.tar.gz"), tmp_path)
    table = split_of_rows(10)
    found = model.predict(table, schema("regression"), ())
    assert found == pytest.approx(3 * np.nan_to_num(table.numbers("a")))
    with pytest.raises(BadInput, match="without probabilities"):
        model.predict(table, schema("binary"), CLASSES)


def test_a_model_that_does_not_load_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no code/inference\.py"):
        archive.load(Path("model.tar.gz"), tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code/inference.py").write_text("raise ValueError('a\\nb')")
    with pytest.raises(BadInput, match="does not load: ValueError: a b"):
        archive.load(Path("model.tar.gz"), tmp_path)


@pytest.mark.parametrize("content", [b"", b"text", "gzip"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: "bytes | str") -> None:
    """Row 33 of the bad inputs."""
    path = tmp_path / "model.tar.gz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with tarfile.open(path, "w:gz") as tar:
            member = tarfile.TarInfo("model.json")
            member.size = 100_000
            tar.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(100_000)))
        path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(BadInput, match="not a whole gzipped tar file"):
        archive.unpack(path, tmp_path / "to")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("/abs", tarfile.REGTYPE), ("a/../../b", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)],
)
def test_nothing_is_written_outside_of_the_folder(tmp_path: Path, name: str, kind: bytes) -> None:
    """Row 34 of the bad inputs."""
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type = kind
        tar.addfile(member)
    with pytest.raises(BadInput):
        archive.unpack(path, tmp_path / "to")
    assert not list((tmp_path).glob("**/b"))


def test_provenance_names_what_the_metrics_belong_to(tmp_path: Path) -> None:
    path = tmp_path / "data_report.json"
    report = {"file": "data.csv", "url": "s3://bucket/data.csv?", "data_sha256": "1" * 64}
    path.write_text(json.dumps(report))
    about = {"versions": {"numpy": "2"}, "hyperparameters": {"Loss": "auto"}}
    sha256 = {
        name: hashlib.sha256(name.encode()).hexdigest() for name in ("test", "model", "samples")
    }
    found = provenance(schema("binary"), read_data_report(path), about, sha256, 40)
    assert found["data"] == {
        "file": "data.csv",
        "sha256": "1" * 64,
        "url": "s3://bucket/data.csv?",
        "registered_url": "see provenance.json",
    }
    assert found["schema"]["split_sha256"] == schema("binary").split_sha256
    assert found["test"] == {"sha256": sha256["test"], "rows": 40}
    assert found["hyperparameters"] == {"Loss": "auto"}
    path.write_text("{}")
    with pytest.raises(BadInput, match="not a report as preprocess.py writes it"):
        read_data_report(path)
