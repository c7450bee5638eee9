"""The scripts as the jobs run them: from raw data to what an endpoint answers."""

import json
import tarfile

import evaluate
import inference
import preprocess
import pytest
import train
from sagemaker_project.tabular.client import csv_body


@pytest.fixture(scope="module")
def work(tmp_path_factory, sample):
    """A folder in which the three steps have run, one after the other."""
    folder = tmp_path_factory.mktemp("work")
    splits = {name: folder / name for name in ("train", "validation", "test", "report")}
    words = ["--input-data", sample.path]
    for name, path in splits.items():
        words += [f"--{name}", path]
    assert preprocess.main([str(word) for word in words]) == 0
    model = folder / "model"
    words = ["--train", splits["train"], "--validation", splits["validation"]]
    words += ["--model-dir", model]
    assert train.main([str(word) for word in words]) == 0
    with tarfile.open(model / "model.tar.gz", "w:gz") as tar:  # as SageMaker packs it
        for path in sorted(model.rglob("*")):
            if path.is_file() and path.name != "model.tar.gz":
                tar.add(path, path.relative_to(model).as_posix())
    words = ["--model", model, "--test", splits["test"], "--data-report", splits["report"]]
    words += ["--evaluation", folder / "evaluation"]
    assert evaluate.main([str(word) for word in words]) == 0
    return folder


@pytest.fixture(scope="module")
def model(work):
    return inference.model_fn(str(work / "model"))


def answer(model, body, content_type="text/csv", accept="application/json"):
    """Answer as the container does: (text, media type), or a response with a status."""
    records = inference.input_fn(body, content_type)
    return inference.output_fn(inference.predict_fn(records, model), accept)


def test_the_model_beats_a_predictor_that_looks_at_no_column(work, sample):
    gate = json.loads((work / "evaluation/gate.json").read_text())
    assert gate["gate"] in ("", "threshold"), gate["text"]
    assert (work / "evaluation/report.html").read_text().startswith("<!doctype html>")


def test_a_model_is_reproduced_by_the_same_data_and_seed(work, tmp_path):
    words = ["--train", work / "train", "--validation", work / "validation"]
    assert train.main([*map(str, words), "--model-dir", str(tmp_path)]) == 0
    models = [work / "model", tmp_path]
    one, other = (json.loads((path / "model.json").read_text()) for path in models)
    assert one["files"]["trees.json"] == other["files"]["trees.json"]


def test_the_fast_path_is_proven(work):
    about = json.loads((work / "model/model.json").read_text())
    assert about["fast_path"]["proven"], about["fast_path"]


def test_every_row_of_the_data_is_answered(model, sample):
    rows = sample.requests()
    text, kind = answer(model, csv_body(rows))
    assert kind == "application/json"
    assert len(json.loads(text)["predictions"]) == len(rows)


def test_an_answer_does_not_depend_on_the_form_of_the_request(model, sample):
    row = sample.requests()[0]
    features = sample.schema.features
    names = [field.name for field in features]
    numeric = {field.name for field in features if field.type in ("number", "integer")}
    record = {
        name: None if not cell else float(cell) if name in numeric else cell
        for name, cell in zip(names, row, strict=True)
    }
    by_order = answer(model, csv_body([row]))
    by_name = answer(model, json.dumps({"instances": [record]}), "application/json")
    assert by_name == by_order


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status"),
    [
        ("", "text/csv", "application/json", 400),
        ("1,2,3,4,5,6,7,8,9,10,11,12\n1", "text/csv", "application/json", 400),
        ('{"instances": [[', "application/json", "application/json", 400),
        ("1", "text/plain", "application/json", 415),
    ],
)
def test_a_clients_mistake_is_told_to_the_client(model, body, content_type, accept, status):
    response = answer(model, body, content_type, accept)
    assert response.status_code == status
    assert json.loads(response.get_data())["error"]


def test_data_with_a_mistake_is_refused_and_nothing_is_written(tmp_path, sample, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_text("neither,the,header\nnor,a,row\n")
    words = ["--input-data", bad]
    for name in ("train", "validation", "test", "report"):
        words += [f"--{name}", tmp_path / name]
    assert preprocess.main([str(word) for word in words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("preprocess.py: bad.csv: ")
    assert list(tmp_path.iterdir()) == [bad]
