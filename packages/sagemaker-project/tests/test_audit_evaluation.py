"""The audit's links to the metrics and to the prediction made anew, for models of every kind."""

import json

import pytest
from sagemaker_project.deploy.audit.anew import _difference
from sagemaker_project.deploy.audit.evaluation import metrics_link
from sagemaker_project.deploy.audit.records import Payload

pytestmark = pytest.mark.fast

URI = "s3://bucket/evaluation.json"
CSV, JSON = "text/csv; charset=utf-8", "application/json"


def evaluation(group, **metrics):
    content = {name: {"value": value} for name, value in metrics.items()}
    table = {"confusion_matrix": {"no": {"no": 3, "yes": 1}}}
    return json.dumps({"dataset": {"item_count": 4}, group: {**content, **table}}).encode()


@pytest.mark.parametrize(
    ("group", "metric", "key"),
    [
        ("regression_metrics", "mse", "Mse"),
        ("binary_classification_metrics", "auc", "Auc"),
        ("multiclass_classification_metrics", "macro_f1", "MacroF1"),
        ("regression_metrics", "own_measure", "OwnMeasure"),
    ],
)
def test_the_metric_that_the_package_names_is_compared(group, metric, key):
    body = evaluation(group, accuracy=0.5, **{metric: 0.25})
    right = metrics_link(URI, body, {key: "2.5e-1", "GitCommit": "abc"})
    assert (right.name, right.value, right.status) == (
        f"evaluation: {metric}",
        "2.5e-1",
        "verified",
    )
    wrong = metrics_link(URI, body, {key: "0.26"})
    assert (wrong.value, wrong.status) == ("0.25", "FAILED")
    assert wrong.note == "the package says 0.26, found 0.25"


@pytest.mark.parametrize(
    ("body", "metadata", "status", "value"),
    [
        (None, {"Auc": "0.9"}, "recorded", "0.9"),
        (b"{", {"Auc": "0.9"}, "FAILED", "unreadable"),
        (b"[]", {"Auc": "0.9"}, "FAILED", "unreadable"),
        (evaluation("regression_metrics", mse=1.0), {"Auc": "0.9"}, "FAILED", "unreadable"),
        (evaluation("regression_metrics", mse="1"), {"Mse": "1"}, "FAILED", "unreadable"),
        (evaluation("regression_metrics", mse=1.0), {"Mse": "low"}, "FAILED", "1.0"),
        (evaluation("regression_metrics", mse=1.0), {}, "recorded", "1.0"),
        (
            evaluation("regression_metrics", mse=1.0, r2=0.5),
            {"Mse": "1", "R2": "0.5"},
            *("verified", "1, 0.5"),
        ),
        (
            evaluation("regression_metrics", mse=1.0, r2=0.5),
            {"Mse": "1", "R2": "0.6"},
            *("FAILED", "1, 0.5"),
        ),
    ],
)
def test_metrics_that_are_gone_unreadable_or_others(body, metadata, status, value):
    link = metrics_link(URI, body, metadata)
    assert (link.status, link.value) == (status, value)


PREDICTION = {"predicted_label": "yes", "probabilities": {"no": 0.25, "yes": 0.75}}


@pytest.mark.parametrize(
    ("content_type", "captured", "made", "difference"),
    [
        (JSON, '{"a": [1, "x"]}', '{"a":[1.0,"x"]}', ""),
        (JSON, '{"a": [1, "x"]}', '{"a":[true,"x"]}', "a[0]: a boolean true, wanted a number"),
        (JSON, '{"a": [1, "x"]}', '{"a": [1, "y"]}', 'a[1]: "y", wanted "x"'),
        (JSON, '{"a": [1, "x"]}', '{"a": [1.5, "x"]}', "a[0]: 1.5, wanted 1, 0.5 away"),
        (JSON, '{"a": [1]}', '{"a": [1, 2]}', "a: 2 values, wanted 1"),
        (JSON, '{"a": 1}', '{"b": 1}', "the answer: the keys b, wanted a"),
        (JSON, '{"a": 1}', "junk", "not byte for byte the same"),
        (JSON, '{"a": 1, "a": 2}', '{"a": 2}', "not byte for byte the same"),
        (CSV, "yes,0.25\nno,0.5", "yes,0.250\nno,0.5\n", ""),
        (CSV, "yes,0.25\nno,0.5", "yes,0.25\nno,0.75", "line 2[1]: 0.75, wanted 0.5, 0.25 away"),
        (CSV, "yes,0.25\nno,0.5", "yes,0.25\nyes,0.5", 'line 2[0]: "yes", wanted "no"'),
        (CSV, "yes,0.25\nno,0.5", "yes,0.25", "1 lines, wanted 2"),
        (CSV, "yes,0.25", "yes", "the answer: 1 cells, wanted 2"),
        (CSV, "0.25", '"0.25', "not byte for byte the same"),
        ("application/x-npy", "a", "b", "not byte for byte the same"),
    ],
)
def test_two_answers_are_compared_by_kind(content_type, captured, made, difference):
    assert _difference(Payload(content_type, captured.encode()), made.encode()) == difference
