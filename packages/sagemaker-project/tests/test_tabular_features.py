"""Inputs and targets: dates in parts, unique names, classes in their order."""

import json
import math
from datetime import datetime, timedelta

import numpy as np
import pytest
from sagemaker_project.tabular import features
from sagemaker_project.tabular.cells import days
from sagemaker_project.tabular.schema import read_schema
from sagemaker_project.tabular.table import BadInput, Categories, Table

pytestmark = pytest.mark.fast


def make(columns, label="y", problem="regression", types=None, positive=""):
    """Return a table of lists and its schema; a list of texts is a column of text."""
    is_text = {name: isinstance(cells[0], str) for name, cells in columns.items()}
    kinds = {name: "string" if is_text[name] else "number" for name in columns} | (types or {})
    metric = {"name": "mse", "at_most": 6} if problem == "regression" else None
    content = {
        "fields": [{"name": name, "type": kinds[name]} for name in columns],
        "label": label,
        "problem": problem,
        "metric": metric or {"name": "auc", "at_least": 0.5},
        "split": {"by": [label]},
    } | ({"positive": positive} if positive else {})
    rows = len(next(iter(columns.values())))
    table = Table(
        {
            name: Categories.of(cells) if is_text[name] else np.array(cells, np.float64)
            for name, cells in columns.items()
        },
        ("train.csv",),
        np.zeros(rows, np.int32),
        np.arange(2, rows + 2),
    )
    return table, read_schema(json.dumps(content).encode())


def test_inputs_are_numbers_texts_and_parts_of_dates_in_the_order_of_the_fields():
    moment = days("2024-02-29T23:59:59")
    table, schema = make(
        {"at": [moment, math.nan], "sex": ["F", ""], "length": [0.5, math.nan], "y": [1, 2]},
        types={"at": "datetime"},
    )
    frame = features.inputs(table, schema)
    names = ["at", "at.month", "at.weekday", "at.hour", "sex", "length"]
    assert list(frame) == names == [one.name for one in features.input_names(schema)]
    assert frame.iloc[0].tolist() == [moment, 2, 3, 23, "F", 0.5]  # a Thursday
    assert frame["sex"].tolist() == ["F", ""]
    assert frame.drop(columns="sex").iloc[1].isna().all()
    assert {str(frame[name].dtype) for name in names if name != "sex"} == {"float64"}


def test_a_part_has_another_name_than_a_field():
    _, schema = make({"at": [1], "at.month": [2], "y": [1]}, types={"at": "date"})
    names = [one.name for one in features.input_names(schema)]
    assert names == ["at", "at.month_", "at.weekday", "at.month"]


@pytest.mark.parametrize("part", ["month", "weekday", "hour"])
def test_parts_are_those_of_the_calendar_for_one_date_and_for_many(part):
    moments = [datetime(1, 1, 1) + timedelta(days=n * 977, hours=n % 24) for n in range(3700)]
    moments += [datetime(9999, 12, 31, 23, 59, 59), datetime(1969, 12, 31, 12)]
    numbers = [days(moment.isoformat()) for moment in moments]
    wanted = [m.weekday() if part == "weekday" else getattr(m, part) for m in moments]
    assert features.date_part(np.array(numbers), part).tolist() == wanted
    assert [features.date_part_of(number, part) for number in numbers] == wanted


@pytest.mark.parametrize("number", [math.nan, 1e300, -1e300, 1e7, -1e7])
@pytest.mark.parametrize("part", ["month", "weekday", "hour"])
def test_no_date_has_no_parts(number, part):
    assert math.isnan(features.date_part_of(number, part))
    assert np.isnan(features.date_part(np.array([number]), part)).all()


@pytest.mark.parametrize(
    ("labels", "problem", "positive", "classes"),
    [
        (["yes", "no", "yes"], "binary", "yes", ("no", "yes")),
        (["yes", "no", "yes"], "binary", "no", ("yes", "no")),
        ([1, 0, 1], "binary", "1", ("0", "1")),
        ([10, 9, -1], "multiclass", "", ("-1", "9", "10")),
        (["10", "9", "2"], "multiclass", "", ("2", "9", "10")),
        (["10", "9", "b"], "multiclass", "", ("10", "9", "b")),
    ],
)
def test_classes_are_in_order_and_the_positive_one_is_last(labels, problem, positive, classes):
    types = {} if isinstance(labels[0], str) else {"y": "integer"}
    table, schema = make({"x": [1, 2, 3], "y": labels}, "y", problem, types, positive)
    target, found = features.target(table, schema)
    assert found == classes
    assert [found[number] for number in target] == [str(label) for label in labels]


def test_a_regression_has_its_numbers_and_no_classes():
    table, schema = make({"x": [1, 2], "y": [-1.5, 2]})
    target, classes = features.target(table, schema)
    assert (target.tolist(), classes) == ([-1.5, 2], ())


@pytest.mark.parametrize(
    ("labels", "problem", "message"),
    [
        ([1.0, math.nan], "regression", "line 3: 1 row(s) have no value in the label column 'y'"),
        (["a", ""], "binary", "line 3: 1 row(s) have no value in the label column 'y'"),
        (["a", "a"], "binary", "the only class is 'a'"),
        (["a", "b", "c"], "binary", "set problem to 'multiclass'"),
        (["c", "b"], "binary", "the classes are 'b', 'c', and positive is 'a'"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_one_line(labels, problem, message):
    table, schema = make(
        {"x": [1] * len(labels), "y": labels},
        problem=problem,
        positive="a" if problem == "binary" else "",
    )
    with pytest.raises(BadInput) as error:
        features.target(table, schema)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_class_that_training_has_not_seen_is_refused():
    table, schema = make({"x": [1, 2], "y": ["a", "c"]}, problem="multiclass")
    with pytest.raises(BadInput, match="'c' is not a class of the training split, which has 'a'"):
        features.target(table, schema, ("a", "b"))
