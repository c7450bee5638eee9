"""train.py, inference.py and evaluate.py: a model is trained on the sample, served and scored."""

import ast
import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

import evaluate
import evaluation_report
import inference
import joblib
import model_archive
import numpy as np
import pandas as pd
import preprocess
import pytest
import train

SAMPLE = Path(__file__).parents[2] / "data" / "abalone-sample.csv"
ROW = "M,0.455,0.365,0.095,0.514,0.2245,0.101,0.15"
FEATURES = ("sex", "length", "diameter", "height", "whole_weight", "shucked_weight")
FEATURES += ("viscera_weight", "shell_weight")
VALUES = ["M", 0.455, 0.365, 0.095, 0.514, 0.2245, 0.101, 0.15]
RECORD = dict(zip(FEATURES, VALUES, strict=True))

# What SageMaker's scikit-learn 1.9-0 container has: Python 3.12's standard library and these.
CONTAINER = {"boto3", "flask", "joblib", "numpy", "pandas", "pyarrow", "requests", "scipy"}
CONTAINER |= {"sklearn", "werkzeug", "yaml"}
NOT_IN_PYTHON_3_12 = {"annotationlib", "asynchat", "asyncore", "compression", "distutils", "imp"}
NOT_IN_PYTHON_3_12 |= {"smtpd"}
# What travels with a script; the others are a single file each.
SIBLINGS = {"train": {"inference"}, "evaluate": {"evaluation_report", "model_archive"}}

# A deprecation would be printed in the log of every job.
pytestmark = pytest.mark.filterwarnings("error")


class Run(NamedTuple):
    """The folders of the three scripts, run one after another."""

    train: Path
    validation: Path
    test: Path
    report: Path
    model: Path
    archive: Path
    evaluation: Path

    def json(self, name, file):
        return json.loads((getattr(self, name) / file).read_text())


def pack(model_dir, folder):
    """model.tar.gz, as SageMaker makes it of the model folder."""
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        tar.add(model_dir, arcname=".")


def run_train(run, *arguments):
    folders = ["--train", run.train, "--validation", run.validation, "--model-dir", run.model]
    return train.main([*map(str, folders), *arguments])


def run_evaluate(run, *arguments):
    folders = ["--model", run.archive, "--test", run.test, "--data-report", run.report]
    return evaluate.main([*map(str, folders), "--evaluation", str(run.evaluation), *arguments])


def run_all(base):
    run = Run(*(base / name for name in Run._fields))
    splits = [f"--{name}={getattr(run, name)}" for name in Run._fields[:4]]
    assert preprocess.main(["--input-data", str(SAMPLE), *splits]) == 0
    assert run_train(run) == 0
    pack(run.model, run.archive)
    assert run_evaluate(run) == 0
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_all(tmp_path_factory.mktemp("run"))


@pytest.fixture
def copy(run, tmp_path):
    """The run's folders, free to be damaged."""
    shutil.copytree(run.train.parent, tmp_path / "copy")
    return Run(*(tmp_path / "copy" / name for name in Run._fields))


@pytest.fixture(scope="module")
def model(run):
    return inference.model_fn(str(run.model))


@pytest.fixture(scope="module")
def pipeline(run):
    return joblib.load(run.model / "model.joblib")


# Training


def test_metrics_are_printed_for_metric_definitions(copy, pipeline, capsys):
    run_train(copy)
    found = re.search(r"validation:mse=([0-9.eE+-]+)", capsys.readouterr().out)
    frame = pd.read_csv(copy.validation / "validation.csv")
    errors = pipeline.predict(frame[list(FEATURES)]) - frame["rings"]
    assert float(found[1]) == pytest.approx((errors**2).mean())


def test_model_is_far_better_than_the_mean(run):
    metrics = run.json("evaluation", "evaluation.json")["regression_metrics"]
    assert metrics["mse"]["value"] < 5
    assert metrics["r2"]["value"] > 0.5


def test_same_data_and_seed_give_the_same_model_and_metric(run, tmp_path):
    again = run_all(tmp_path)
    for name, file in (("evaluation", "evaluation.json"), ("model", "model.json")):
        assert again.json(name, file) == run.json(name, file)


def test_model_json_says_what_the_artifact_is(run):
    about = run.json("model", "model.json")
    assert set(about["files"]) == {"model.joblib", "trees.json"}
    for name, sha in about["files"].items():
        assert hashlib.sha256((run.model / name).read_bytes()).hexdigest() == sha
    assert about["label"] == "rings"
    assert about["hyperparameters"]["learning_rate"] == 0.05
    assert about["fast_path"]["proven"] is True
    assert (run.model / "code" / "inference.py").read_text() == Path(inference.__file__).read_text()


@pytest.mark.parametrize("loss", train.LOSSES)
def test_every_loss_has_a_proven_fast_path(copy, loss):
    assert run_train(copy, "--loss", loss, "--max-iter", "5") == 0
    assert copy.json("model", "model.json")["fast_path"]["proven"] is True


def test_fast_path_is_dropped_where_it_differs(copy, capsys, monkeypatch):
    shifted = {"baseline": 0.0}
    export = train.export_trees
    monkeypatch.setattr(train, "export_trees", lambda *given: export(*given) | shifted)
    assert run_train(copy) == 0
    about = copy.json("model", "model.json")
    assert "differ from the Pipeline's" in about["fast_path"]["reason"]
    assert "trees.json" not in about["files"]
    assert inference.model_fn(str(copy.model)).score_row is None
    assert "single rows will go through the Pipeline" in capsys.readouterr().err


def test_column_without_any_value_and_many_categories_train_and_stay_exact(copy):
    for folder, name in ((copy.train, "train"), (copy.validation, "validation")):
        frame = pd.read_csv(folder / f"{name}.csv")
        frame["height"] = np.nan
        frame["sex"] = [f"c{index % 200}" for index in range(len(frame))]
        frame.to_csv(folder / f"{name}.csv", index=False)
    assert run_train(copy) == 0
    assert copy.json("model", "model.json")["fast_path"]["proven"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["--learning-rate", "0"],
        ["--learning-rate", "nan"],
        ["--max-iter", "0"],
        ["--max-iter", "1.5"],
        ["--max-leaf-nodes", "1"],
        ["--min-samples-leaf", "0"],
        ["--l2-regularization", "-1"],
        ["--max-features", "2"],
        ["--seed", "-1"],
        ["--loss", "mse"],
        ["--epochs", "3"],
    ],
    ids=" ".join,
)
def test_bad_hyperparameter_is_refused_in_one_line(copy, capsys, arguments):
    before = (copy.model / "model.json").read_bytes()
    assert run_train(copy, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("train.py: ")
    assert arguments[0] in error
    assert error.count("\n") == 1
    assert (copy.model / "model.json").read_bytes() == before


def drop(file):
    return lambda path: (path / file).unlink()


def write(file, text):
    return lambda path: (path / file).write_text(text)


@pytest.mark.parametrize(
    ("damage", "arguments", "message"),
    [
        (drop("train.csv"), [], "train.csv: not there"),
        (drop("schema.json"), [], "schema.json: not there"),
        (write("schema.json", "{}"), [], "schema.json: not a schema"),
        (write("train.csv", ""), [], "the file is empty"),
        (write("train.csv", f"{','.join(FEATURES)},rings\n"), [], "a header and 0 rows"),
        (write("train.csv", f"{','.join(FEATURES)}\n{ROW}\n"), [], "no column 'rings'"),
        (write("train.csv", f"{','.join(FEATURES)},rings\n{ROW},\n"), [], "1 row(s) have no value"),
        (write("train.csv", f"{','.join(FEATURES)},rings\n{ROW},old\n"), [], "train.csv: "),
        (write("train.csv", f"{','.join(FEATURES)},rings\n{ROW},-1\n"), [], "--loss poisson needs"),
        (
            write("train.csv", f"{','.join(FEATURES)},rings\n{ROW},0\n"),
            ["--loss", "gamma"],
            "--loss gamma needs",
        ),
    ],
)
def test_bad_training_data_is_refused_in_one_line(copy, capsys, damage, arguments, message):
    damage(copy.train)
    assert run_train(copy, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_failure_is_left_where_the_job_takes_its_reason_from(copy, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SM_OUTPUT_DIR", str(tmp_path / "output"))
    assert run_train(copy) == 0
    assert not (tmp_path / "output").exists()
    assert run_train(copy, "--max-iter", "0") == 2
    error = capsys.readouterr().err
    assert (tmp_path / "output" / "failure").read_text() == error.strip()
    (copy.train / "train.csv").unlink()
    assert run_train(copy, "--failure", str(tmp_path / "elsewhere")) == 2
    assert "train.csv: not there" in (tmp_path / "elsewhere").read_text()


def test_without_an_output_folder_no_failure_is_left(copy, monkeypatch):
    monkeypatch.delenv("SM_OUTPUT_DIR", raising=False)
    assert train.parse([]).failure is None
    assert run_train(copy, "--max-iter", "0") == 2


# Serving


def invoke(model, body, content_type="text/csv", accept="application/json"):
    """Status and content of the answer, by the path that the container takes."""
    prediction = inference.predict_fn(inference.input_fn(body, content_type), model)
    answer = inference.output_fn(prediction, accept)
    if isinstance(answer, tuple):
        text, kind = answer
        return 200, json.loads(text)["predictions"] if kind == "application/json" else text
    assert answer.mimetype == "application/json"
    return answer.status_code, json.loads(answer.get_data())["error"]


def as_json(model, content, **kwargs):
    return invoke(model, json.dumps(content), "application/json", **kwargs)


@pytest.fixture(scope="module")
def expected(pipeline):
    """What the Pipeline predicts for a record of the tests."""
    frame = pd.DataFrame([VALUES], columns=list(FEATURES))
    return lambda **changes: pipeline.predict(frame.assign(**changes)).tolist()


@pytest.mark.parametrize("count", [1, 2, 128, 129, 180])
def test_predictions_are_the_pipelines_to_the_last_bit(run, model, pipeline, count):
    frame = pd.read_csv(run.test / "test.csv").head(count)
    features = frame[list(FEATURES)]
    status, predictions = invoke(model, features.to_csv(index=False, header=False))
    assert status == 200
    assert predictions == pipeline.predict(features).tolist()


def test_a_value_on_a_threshold_goes_the_pipelines_way(run, model, pipeline):
    def thresholds(node):
        if isinstance(node, list):
            yield node[:2]
            yield from thresholds(node[2])
            yield from thresholds(node[3])

    trees = run.json("model", "trees.json")
    width = len(trees["inputs"][0]["unseen"])
    splits = {tuple(split) for tree in trees["trees"] for split in thresholds(tree)}
    rows = []
    for column, threshold in sorted(splits):
        if column >= width:
            row = list(VALUES)
            row[1 + column - width] = threshold
            rows.append(row)
    assert len(rows) > 100
    found = [model.score_row(*row) for row in rows]
    assert found == pipeline.predict(pd.DataFrame(rows, columns=list(FEATURES))).tolist()


@pytest.mark.parametrize(
    "content",
    [VALUES, [VALUES], RECORD, [RECORD], {"instances": [VALUES]}, {"instances": [RECORD]}],
    ids=["list", "lists", "object", "objects", "instances of lists", "instances of objects"],
)
def test_json_records_come_in_the_usual_shapes(model, expected, content):
    assert as_json(model, content) == (200, expected())


def test_objects_are_read_by_name_in_any_order(model, expected):
    assert as_json(model, dict(reversed(RECORD.items()))) == (200, expected())


@pytest.mark.parametrize("copies", [1, 100], ids=["fast path", "pipeline"])
def test_missing_and_unseen_values_are_handled(model, expected, copies):
    cases = {
        "X" + ROW[1:]: expected(sex="X"),
        ROW[1:]: expected(sex=""),
        "?" + ROW[1:]: expected(sex=""),
        ROW.replace("0.365", ""): expected(diameter=np.nan),
        "," * 7: expected(sex="", **{name: np.nan for name in FEATURES[1:]}),
    }
    body = "\n".join(list(cases) * copies)
    assert invoke(model, body) == (200, [value for [value] in cases.values()] * copies)
    assert as_json(model, [RECORD | {"diameter": None}] * copies) == (
        200,
        expected(diameter=np.nan) * copies,
    )


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("text/csv", True),
        ("TEXT/CSV; charset=utf-8", True),
        ("text/html, text/csv;q=0.5", True),
        ("text/*", True),
        ("application/json", False),
        ("*/*", False),
        ("", False),
        (None, False),
    ],
)
def test_answer_has_the_accepted_type(model, expected, accept, is_csv):
    two = expected() * 2
    wanted = "\n".join(map(repr, two)) if is_csv else two
    assert invoke(model, f"{ROW}\n{ROW}\n", accept=accept) == (200, wanted)


@pytest.mark.parametrize(
    "body", [ROW, ROW.encode(), "\ufeff".encode() + ROW.encode(), f"\ufeff{ROW}", f"\r\n{ROW}\r\n"]
)
@pytest.mark.parametrize("content_type", ["text/csv", "Text/CSV ; Charset=UTF-8", "text/csv;a=b"])
def test_content_type_is_read_loosely(model, expected, content_type, body):
    assert invoke(model, body, content_type) == (200, expected())


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 415),
        ("", 415),
        ("application/x-npy", 415),
        ("application/python-pickle", 415),
        ("text/plain", 415),
        ("text/csv; charset=latin-1", 415),
    ],
)
def test_other_content_types_are_415(model, content_type, status):
    assert invoke(model, ROW, content_type)[0] == status


def test_other_accept_is_406(model):
    assert invoke(model, ROW, accept="application/x-npy")[0] == 406


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "the body is empty"),
        ("\n\n", "the body is empty"),
        ("M,0.4", "row 1: 2 values, expected 8"),
        (f"{ROW}\n{ROW},9", "row 2: 9 values, expected 8"),
        (
            f"{','.join(FEATURES)}\n{ROW}",
            "row 1, column 'length': 'length' is not a finite number (a h",
        ),
        (ROW.replace("0.365", "nan"), "row 1, column 'diameter': 'nan' is not a finite number"),
        (ROW.replace("0.365", "-inf"), "row 1, column 'diameter': '-inf'"),
        (ROW.replace("0.365", "1e400"), "row 1, column 'diameter': '1e400'"),
        (ROW.replace("0.365", "1_0"), "row 1, column 'diameter': '1_0'"),
        (f'{ROW}\n"{ROW}', "not CSV"),
        (b"\xff\xfe", "byte 0 of the body is not UTF-8"),
        (b"M,\xe9", "byte 2 of the body is not UTF-8"),
    ],
)
def test_bad_csv_is_400_with_row_and_column(model, body, error):
    status, message = invoke(model, body)
    assert status == 400
    assert error in message


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "the body is empty"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("3", "expected a record"),
        ("[]", "no record"),
        ('{"instances": 3}', "expected a record"),
        ('{"instances": [3]}', "row 1: expected a list or an object"),
        ("[[NaN]]", "NaN is not a JSON value"),
        ("[-Infinity]", "-Infinity is not"),
        (json.dumps([*VALUES, 9]), "row 1: 9 values"),
        (json.dumps([RECORD, RECORD | {"rings": 9}]), "row 2: 'rings' is not a column"),
        (json.dumps({"sex": "M"}), "row 1, column 'length': not there"),
        (
            json.dumps(RECORD).replace("0.365", "1e400"),
            "column 'diameter': Infinity is not a finite",
        ),
        (json.dumps(RECORD).replace("0.365", "9" * 400), "column 'diameter': 9999"),
        (json.dumps(RECORD).replace("0.365", "9" * 5000), "not JSON"),
        (json.dumps(RECORD | {"diameter": "0.4"}), "column 'diameter': '0.4' is not a finite"),
        (json.dumps(RECORD | {"diameter": True}), "column 'diameter': true"),
        (json.dumps(RECORD | {"diameter": [1]}), "column 'diameter': [1]"),
        (json.dumps(RECORD | {"sex": 1}), "column 'sex': 1 is not a string"),
        (json.dumps(RECORD)[:-1] + ', "sex": "F"}', "an object has the name 'sex' twice"),
    ],
)
def test_bad_json_is_400_with_row_and_column(model, body, error):
    status, message = invoke(model, body, "application/json")
    assert status == 400
    assert error in message


def test_body_beyond_the_limit_is_413_and_one_at_the_limit_is_answered(model):
    line = f"{ROW}\n"
    full = line * (inference.MAX_BODY // len(line))
    full += "\n" * (inference.MAX_BODY - len(full))
    status, predictions = invoke(model, full)
    assert (status, len(predictions)) == (200, full.count("M"))
    assert invoke(model, full + "\n")[0] == 413
    assert invoke(model, "é" * (inference.MAX_BODY // 2 + 1))[0] == 413


def test_model_whose_hash_does_not_match_is_not_loaded(copy):
    with (copy.model / "model.joblib").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(RuntimeError, match=r"model\.joblib: its sha256 is"):
        inference.model_fn(str(copy.model))


def test_model_of_another_scikit_learn_is_not_loaded(copy):
    about = copy.json("model", "model.json")
    about["versions"]["scikit-learn"] = "0.24.2"
    (copy.model / "model.json").write_text(json.dumps(about))
    with pytest.raises(RuntimeError, match=r"trained with scikit-learn 0\.24\.2, this is"):
        inference.model_fn(str(copy.model))


def test_artifact_serves_by_itself(run, tmp_path, expected):
    """In a process that sees nothing of the project, as in the container."""
    shutil.copytree(run.model, tmp_path / "model")
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path / "model" / "code")!r})
import inference
model = inference.model_fn({str(tmp_path / "model")!r})
rows = inference.input_fn({ROW!r}, "text/csv")
print(inference.output_fn(inference.predict_fn(rows, model), "text/csv")[0])
"""
    command = [sys.executable, "-I", "-c", program]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [float(found.stdout)] == expected()


# Evaluation


def test_metrics_are_those_of_the_pipeline_on_the_test_split(run, pipeline):
    frame = pd.read_csv(run.test / "test.csv")
    errors = pipeline.predict(frame[list(FEATURES)]) - frame["rings"]
    metrics = run.json("evaluation", "evaluation.json")["regression_metrics"]
    value = {name: metric["value"] for name, metric in metrics.items()}
    assert value["mse"] == pytest.approx((errors**2).mean())
    assert value["rmse"] == pytest.approx((errors**2).mean() ** 0.5)
    assert value["mae"] == pytest.approx(errors.abs().mean())
    assert value["r2"] == pytest.approx(1 - (errors**2).mean() / frame["rings"].var(ddof=0))


def test_standard_deviations_are_what_resampling_gives():
    rng = np.random.default_rng(1)
    actual = rng.gamma(4, 2, 400)
    predicted = actual + rng.normal(0, 1, 400)
    metrics = evaluate.regression_metrics(actual, predicted)
    samples = [rng.integers(0, 400, 400) for _ in range(2_000)]
    again = [evaluate.regression_metrics(actual[rows], predicted[rows]) for rows in samples]
    for name, metric in metrics.items():
        spread = np.std([other[name]["value"] for other in again])
        assert metric["standard_deviation"] == pytest.approx(spread, rel=0.1)


def test_provenance_ties_metrics_to_data_and_model(run):
    provenance = run.json("evaluation", "provenance.json")
    archive = (run.archive / "model.tar.gz").read_bytes()
    assert provenance["data"]["sha256"] == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()
    assert provenance["model"]["sha256"] == hashlib.sha256(archive).hexdigest()
    assert provenance["hyperparameters"]["max_iter"] == 150


@pytest.mark.parametrize(
    "url, registered",
    [
        ("s3://bucket/input/data.csv", "s3://bucket/input/data.csv"),
        ("s3://bucket/" + "long/" * 60, "see provenance.json"),
        ("s3://bucket/data (1).csv", "see provenance.json"),
    ],
)
def test_a_url_that_the_registry_does_not_take_is_in_provenance_only(copy, url, registered):
    data = copy.json("report", "data_report.json") | {"url": url}
    (copy.report / "data_report.json").write_text(json.dumps(data))
    assert run_evaluate(copy) == 0
    data = copy.json("evaluation", "provenance.json")["data"]
    assert (data["url"], data["registered_url"]) == (url, registered)


def replay(model, request):
    """The status and the numbers with which the model answers a request of samples.json."""
    body = request.get("body")
    if body is None:
        body = base64.b64decode(request["body_base64"])
    rows = inference.input_fn(body, request["content_type"])
    answer = inference.output_fn(inference.predict_fn(rows, model), request["accept"])
    if not isinstance(answer, tuple):
        return answer.status_code, None
    text, kind = answer
    assert kind == request["accept"]
    is_json = kind == "application/json"
    return 200, json.loads(text)["predictions"] if is_json else [*map(float, text.split("\n"))]


def test_samples_are_what_the_model_answers_and_refuses(run, model):
    recorded = run.json("evaluation", "samples.json")
    forms = {(item["content_type"], item["accept"]) for item in recorded["samples"]}
    assert forms == {
        ("text/csv", "text/csv"),
        ("text/csv", "application/json"),
        ("application/json", "application/json"),
    }
    assert {len(item["expected"]) for item in recorded["samples"]} == {1, 34, 100}
    for item in recorded["samples"]:
        assert replay(model, item) == (200, item["expected"])
    assert {item["name"]: item["status"] for item in recorded["malformed"]} == {
        "empty body": 400,
        "broken JSON": 400,
        "one value too many": 400,
        "text as length": 400,
        "unknown Content-Type": 415,
        "unknown Accept": 406,
        "npy": 415,
    }
    for item in recorded["malformed"]:
        assert replay(model, item) == (item["status"], None)


def test_samples_are_the_same_again_and_provenance_has_their_hash(copy):
    before = (copy.evaluation / "samples.json").read_bytes()
    assert run_evaluate(copy) == 0
    assert (copy.evaluation / "samples.json").read_bytes() == before
    sha256 = copy.json("evaluation", "provenance.json")["samples"]["sha256"]
    assert sha256 == hashlib.sha256(before).hexdigest()


def test_samples_of_a_small_split_with_a_missing_value_are_all_its_rows(copy):
    lines = (copy.test / "test.csv").read_text().splitlines()[:3]
    lines[1] = ",," + lines[1].split(",", 2)[2]
    (copy.test / "test.csv").write_text("\n".join(lines))
    assert run_evaluate(copy) == 0
    samples = copy.json("evaluation", "samples.json")["samples"]
    assert {len(item["expected"]) for item in samples} == {1, 2}
    nulls = [item for item in samples if "null, null" in item["body"]]
    assert nulls[0]["expected"][0] == samples[0]["expected"][0]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def json_records(text): return [VALUES] * 2", "2 value(s) as application/json; wanted"),
        ("def predict_fn(rows, model): return [float('nan')] * len(rows.records)", "finite"),
        ("def error_response(error): return '7.0', 'application/json'", "empty body with status"),
        ("def error_response(error): raise error", "fails on a request with empty body"),
    ],
    ids=["junk", "nan", "answers malformed requests", "raises"],
)
def test_model_that_cannot_serve_is_refused_in_one_line(copy, capsys, code, message):
    with (copy.model / "code" / "inference.py").open("a") as file:
        file.write(f"\n\nVALUES = {VALUES!r}\n{code}\n")
    pack(copy.model, copy.archive)
    assert run_evaluate(copy) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_report_is_one_file_with_its_plots(run):
    report = (run.evaluation / "report.html").read_text()
    assert report.count("<svg") == 3
    assert report.count("<circle") == 2 * 180
    assert ">nan<" not in report
    assert not re.search(r"<script|<link|<img|src=|url\(|https?:", report)


def test_report_escapes_what_comes_from_the_data(copy):
    data = copy.json("report", "data_report.json")
    data["warnings"] = ["<script>alert(1)</script>"]
    data["columns"]["sex"]["categories"] = {"<b>&": 3}
    (copy.report / "data_report.json").write_text(json.dumps(data))
    assert run_evaluate(copy) == 0
    report = (copy.evaluation / "report.html").read_text()
    assert "<script>" not in report
    assert "&lt;script&gt;" in report
    assert "&lt;b&gt;&amp; 3" in report


def test_report_of_many_rows_stays_small():
    actual = np.arange(200_000) % 29.0
    svg = evaluation_report.plot_residuals(actual, actual + np.sin(actual), "x")
    assert 1_000 < svg.count("<circle") <= evaluation_report.MAX_POINTS


def archive_with(*members):
    """A function that replaces model.tar.gz by one with these members."""

    def damage(copy):
        with tarfile.open(copy.archive / "model.tar.gz", "w:gz") as tar:
            for name, kind, content in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, "/etc/passwd"
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))

    return damage


def cut(copy):
    path = copy.archive / "model.tar.gz"
    path.write_bytes(path.read_bytes()[:-3000])


def replace(content):
    return lambda copy: (copy.archive / "model.tar.gz").write_bytes(content)


def repack_without(name):
    def damage(copy):
        (copy.model / name).unlink()
        pack(copy.model, copy.archive)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(replace(b""), "not a whole gzipped tar", id="0 bytes"),
        pytest.param(replace(b"PK\x03\x04 zip"), "not a whole gzipped tar", id="not gzip"),
        pytest.param(cut, "not a whole gzipped tar", id="cut"),
        pytest.param(
            archive_with(("../out", tarfile.REGTYPE, b"x")), "outside the folder", id="parent"
        ),
        pytest.param(
            archive_with(("/tmp/out", tarfile.REGTYPE, b"x")), "outside the folder", id="absolute"
        ),
        pytest.param(archive_with(("a", tarfile.SYMTYPE, b"")), "a link or a device", id="symlink"),
        pytest.param(
            archive_with(("a", tarfile.LNKTYPE, b"")), "a link or a device", id="hard link"
        ),
        pytest.param(archive_with(("a", tarfile.CHRTYPE, b"")), "a link or a device", id="device"),
        pytest.param(archive_with(("a", tarfile.FIFOTYPE, b"")), "a link or a device", id="fifo"),
        pytest.param(archive_with(*[("a", tarfile.REGTYPE, b"x")] * 2), "occurs twice", id="twice"),
        pytest.param(
            archive_with(("a", tarfile.REGTYPE, b"x"), ("a/b", tarfile.REGTYPE, b"x")),
            "not a whole gzipped tar",
            id="file as folder",
        ),
        pytest.param(
            archive_with(*[(f"{i}", tarfile.REGTYPE, b"") for i in range(1_001)]),
            "more than 1000 members",
            id="many members",
        ),
        pytest.param(
            archive_with(("a", tarfile.REGTYPE, b"x")), "no code/inference.py", id="other"
        ),
        pytest.param(repack_without("model.json"), "no model.json", id="no model.json"),
        pytest.param(repack_without("model.joblib"), "does not load", id="no model"),
    ],
)
def test_bad_artifact_is_refused_in_one_line_and_nothing_is_written(copy, capsys, damage, message):
    damage(copy)
    shutil.rmtree(copy.evaluation)
    code = run_evaluate(copy)
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not copy.evaluation.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda about: [about],
        lambda about: about | {"features": [3]},
        lambda about: about | {"hyperparameters": 3},
        *(
            lambda about, key=key: {name: about[name] for name in about if name != key}
            for key in ("label", "features", "versions", "hyperparameters", "files")
        ),
    ],
)
def test_model_json_of_another_shape_is_refused_in_one_line(copy, capsys, change):
    about = change(copy.json("model", "model.json"))
    (copy.model / "model.json").write_text(json.dumps(about))
    pack(copy.model, copy.archive)
    assert run_evaluate(copy) == 2
    error = capsys.readouterr().err
    assert error.startswith("evaluate.py: ") and "model.tar.gz" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda data: [data],
        lambda data: data | {"rows": {}},
        lambda data: data | {"rows": 3},
        lambda data: data | {"splits": 3},
        lambda data: data | {"splits": {"train": "x"}},
        lambda data: data | {"dropped": [{}]},
        lambda data: data | {"warnings": 3},
        lambda data: data | {"url": None},
        lambda data: data | {"columns": {"sex": {}}},
        *(
            lambda data, key=key: {name: data[name] for name in data if name != key}
            for key in (
                *("file", "url", "data_sha256", "seed"),
                *("rows", "splits", "warnings", "columns"),
            )
        ),
    ],
)
def test_data_report_of_another_shape_is_refused_in_one_line(copy, capsys, change):
    data = change(copy.json("report", "data_report.json"))
    (copy.report / "data_report.json").write_text(json.dumps(data))
    assert run_evaluate(copy) == 2
    error = capsys.readouterr().err
    assert "data_report.json: not a report as preprocess.py writes it" in error
    assert error.count("\n") == 1


def test_message_of_an_evaluation_that_failed(copy, tmp_path):
    message = tmp_path / "output" / "message"
    assert run_evaluate(copy, "--message", str(message)) == 0
    assert not message.exists()
    (copy.test / "test.csv").write_text("")
    assert run_evaluate(copy, "--message", str(message)) == 2
    assert "test.csv: no column 'sex'" in message.read_text()


def test_zip_bomb_is_refused_before_it_is_written(copy, capsys, monkeypatch):
    monkeypatch.setattr(model_archive, "MAX_UNPACKED", 10_000)
    archive_with(("a", tarfile.REGTYPE, bytes(100_000)))(copy)
    assert run_evaluate(copy) == 2
    assert "10,000 bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column 'sex'"),
        (f"{','.join(FEATURES)},rings\n{ROW},9\n", "1 row(s); metrics need at least 2"),
        (f"{','.join(FEATURES)},rings\n{ROW},9\n{ROW},9\n", "r2 is undefined"),
        (f"{','.join(FEATURES)},rings\n{ROW},9\nM,1\n", "line 3: not as preprocess.py writes it"),
        (f"{','.join(FEATURES)},rings\n{ROW},9\n{ROW},old\n", "line 3: 'old' is not a label"),
        (f"{','.join(FEATURES)},rings\n{ROW},9\n{ROW},inf\n", "line 3: 'inf' is not a label"),
        (f"{','.join(FEATURES)},rings\n{ROW},9\nx{ROW},1e200\n", "mse is not finite"),
    ],
)
def test_bad_test_split_is_refused_in_one_line(copy, capsys, content, message):
    (copy.test / "test.csv").write_text(content)
    assert run_evaluate(copy) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "script", [preprocess, train, evaluate], ids=lambda script: script.__name__
)
def test_help_needs_no_pandas(script):
    program = (
        f"import runpy, sys\nsys.path[0] = {os.path.dirname(script.__file__)!r}\n"
        "sys.argv[1:] = ['--help']\n"
        f"try: runpy.run_path({script.__file__!r}, run_name='__main__')\n"
        "finally: print(sorted({'pandas', 'sklearn'} & set(sys.modules)))"
    )
    environment = os.environ | {"COLUMNS": "100"}
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == 0
    assert found.stdout.endswith("[]\n")
    assert "/opt/ml" in found.stdout or "default" in found.stdout or "folder" in found.stdout


@pytest.mark.parametrize(
    "script",
    [preprocess, train, evaluate, evaluation_report, model_archive, inference],
    ids=lambda script: script.__name__,
)
def test_scripts_import_only_what_the_container_has(script):
    available = sys.stdlib_module_names - NOT_IN_PYTHON_3_12 | CONTAINER
    available |= SIBLINGS.get(script.__name__, set())
    for node in ast.walk(ast.parse(Path(script.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        else:
            continue
        for name in names:
            assert name.split(".")[0] in available, f"line {node.lineno} imports {name}"
