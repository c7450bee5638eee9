"""The metrics of a model on the test split, their standard deviations, and what surrounds them."""

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sagemaker_project.tabular import curves, estimates, facets
from sagemaker_project.tabular.metrics import evaluate, evaluation_json
from sagemaker_project.tabular.schema import METRICS
from sagemaker_project.tabular.table import BadInput, Floats, Integers, Table
from sagemaker_project.tabular.trivial import Trivial, baseline
from sklearn import metrics as sklearn
from tabular_helpers import schema_of, table_of

pytestmark = pytest.mark.fast

CLOSE = {"rel": 1e-9, "abs": 1e-12}


def softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: Floats = powers / powers.sum(axis=1, keepdims=True)
    return found


def made(rows: int, classes: int, seed: int, digits: int = 3) -> tuple[Integers, Floats]:
    """Return labels, every class among them, and probabilities with ties that know something."""
    generator = np.random.default_rng(seed)
    labels = np.append(np.arange(classes), generator.integers(0, classes, rows - classes))
    scores = generator.normal(size=(rows, classes)) + 1.5 * (labels[:, None] == np.arange(classes))
    return labels, softmax(np.round(scores, digits))


# Against scikit-learn


@pytest.mark.parametrize("seed", range(5))
def test_binary_metrics_are_those_of_scikit_learn(seed: int) -> None:
    actual, probabilities = made(157, 2, seed, digits=1)
    found = estimates.metrics_of("binary", actual, probabilities).values
    predicted, score = probabilities.argmax(1), probabilities[:, 1]
    wanted = {
        "accuracy": sklearn.accuracy_score(actual, predicted),
        "balanced_accuracy": sklearn.balanced_accuracy_score(actual, predicted),
        "recall": sklearn.recall_score(actual, predicted),
        "precision": sklearn.precision_score(actual, predicted),
        "f0_5": sklearn.fbeta_score(actual, predicted, beta=0.5),
        "f1": sklearn.f1_score(actual, predicted),
        "f2": sklearn.fbeta_score(actual, predicted, beta=2),
        "true_positive_rate": sklearn.recall_score(actual, predicted),
        "true_negative_rate": sklearn.recall_score(actual, predicted, pos_label=0),
        "false_positive_rate": 1 - sklearn.recall_score(actual, predicted, pos_label=0),
        "false_negative_rate": 1 - sklearn.recall_score(actual, predicted),
        "auc": sklearn.roc_auc_score(actual, score),
        "au_prc": sklearn.average_precision_score(actual, score),
        "log_loss": sklearn.log_loss(actual, probabilities),
    }
    assert found == {name: pytest.approx(value, **CLOSE) for name, value in wanted.items()}


@pytest.mark.parametrize("seed", range(5))
def test_multiclass_metrics_are_those_of_scikit_learn(seed: int) -> None:
    actual, probabilities = made(211, 5, seed)
    found = estimates.metrics_of("multiclass", actual, probabilities).values
    predicted = probabilities.argmax(1)
    weighted: dict[str, Any] = {"average": "weighted", "zero_division": 0}
    wanted = {
        "accuracy": sklearn.accuracy_score(actual, predicted),
        "balanced_accuracy": sklearn.balanced_accuracy_score(actual, predicted),
        "macro_f1": sklearn.f1_score(actual, predicted, average="macro"),
        "weighted_recall": sklearn.recall_score(actual, predicted, **weighted),
        "weighted_precision": sklearn.precision_score(actual, predicted, **weighted),
        "weighted_f0_5": sklearn.fbeta_score(actual, predicted, beta=0.5, **weighted),
        "weighted_f1": sklearn.f1_score(actual, predicted, **weighted),
        "weighted_f2": sklearn.fbeta_score(actual, predicted, beta=2, **weighted),
        "auc": sklearn.roc_auc_score(actual, probabilities, multi_class="ovr"),
        "log_loss": sklearn.log_loss(actual, probabilities),
    }
    assert found == {name: pytest.approx(value, **CLOSE) for name, value in wanted.items()}


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    actual = generator.normal(size=100)
    predicted = actual + generator.normal(size=100)
    found = estimates.metrics_of("regression", actual, predicted).values
    mse = sklearn.mean_squared_error(actual, predicted)
    wanted = {
        "mae": sklearn.mean_absolute_error(actual, predicted),
        "mse": mse,
        "rmse": math.sqrt(mse),
        "r2": sklearn.r2_score(actual, predicted),
    }
    assert found == {name: pytest.approx(value, **CLOSE) for name, value in wanted.items()}


def test_every_metric_that_a_schema_can_name_is_there() -> None:
    for problem, classes in (("regression", 0), ("binary", 2), ("multiclass", 4)):
        actual, probabilities = made(60, max(classes, 2), 0)
        answers = probabilities if classes else probabilities[:, 0]
        found = estimates.metrics_of(problem, actual, answers).found
        assert set(METRICS[problem]) <= set(found)


# Standard deviations


def test_the_standard_deviation_of_a_proportion_is_that_of_its_formula() -> None:
    actual, probabilities = made(4000, 2, 1)
    found = estimates.metrics_of("binary", actual, probabilities).found
    for name, rows in (("accuracy", 4000), ("recall", (actual == 1).sum())):
        value, deviation = found[name]
        assert deviation == pytest.approx(math.sqrt(value * (1 - value) / rows), rel=1e-3)


def test_the_standard_deviation_of_the_auc_is_delongs() -> None:
    actual, probabilities = made(3000, 2, 2, digits=1)
    score = probabilities[:, 1]
    positive, negative = score[actual == 1], score[actual == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    variance = wins.mean(1).var(ddof=1) / len(positive) + wins.mean(0).var(ddof=1) / len(negative)
    found = estimates.auc(actual == 1, score).estimate()
    assert found == pytest.approx((wins.mean(), math.sqrt(variance)), rel=1e-3)


@pytest.mark.parametrize(
    ("problem", "classes"), [("regression", 0), ("binary", 2), ("multiclass", 4)]
)
def test_standard_deviations_are_those_of_a_bootstrap(problem: str, classes: int) -> None:
    actual: Any
    actual, answers = made(1500, max(classes, 2), 7)
    if not classes:
        generator = np.random.default_rng(5)
        actual = generator.normal(size=1500)
        answers = actual + generator.gumbel(size=1500)
    found = estimates.metrics_of(problem, actual, answers).found
    generator = np.random.default_rng(11)
    drawn = []
    for _ in range(300):
        rows = generator.integers(0, 1500, 1500)
        drawn.append(estimates.metrics_of(problem, actual[rows], answers[rows]).values)
    for name, estimate in found.items():
        spread = np.std([one[name] for one in drawn], ddof=1)
        assert estimate.standard_deviation == pytest.approx(spread, rel=0.2), name


# What rows do not have


@given(
    st.sampled_from([("binary", 2), ("multiclass", 2), ("multiclass", 4)]),
    st.integers(2, 40),
    st.integers(0, 10_000),
)
def test_no_metric_of_any_rows_is_nan(kind: tuple[str, int], rows: int, seed: int) -> None:
    problem, classes = kind
    generator = np.random.default_rng(seed)
    actual = generator.integers(0, generator.integers(1, classes + 1), rows)
    probabilities = np.round(softmax(generator.normal(size=(rows, classes), scale=9)), 1)
    found = estimates.metrics_of(problem, actual, probabilities)
    for estimate in found.found.values():
        assert all(map(math.isfinite, estimate)) and estimate.standard_deviation >= 0
    for name, value in found.values.items():
        assert name == "log_loss" or -1e-9 <= value <= 1 + 1e-9, name
    assert all(found.undefined.values())
    assert set(METRICS[problem]) <= set(found.found) | set(found.undefined)
    json.dumps(found.found, allow_nan=False)


def test_a_class_that_is_never_predicted_has_no_precision() -> None:
    actual = np.array([0, 1, 0, 1])
    found = estimates.metrics_of("binary", actual, np.tile([0.7, 0.3], (4, 1)))
    assert "predicted" in found.undefined["precision"]
    assert found.values["f1"] == 0 and found.values["auc"] == 0.5


# The whole


FIELDS = [
    {"name": "a", "type": "number"},
    {"name": "b", "type": "string"},
    {"name": "c", "type": "boolean"},
]


def classes_case(problem: str, rows: int = 400) -> dict[str, Any]:
    classes = ("no", "yes") if problem == "binary" else ("x", "y", "z")
    generator = np.random.default_rng(0)
    a = generator.normal(size=rows)
    table = table_of(
        {
            "a": a.tolist(),
            "b": [("left", "right", "")[one] for one in generator.integers(0, 3, rows)],
            "c": generator.integers(0, 2, rows).tolist(),
        }
    )
    label = {"name": "y", "type": "string"}
    schema = schema_of(problem, [*FIELDS, label], facets=["b", "c", "a"])

    def predict(one: Table) -> Floats:
        return softmax(np.outer(one.numbers("a"), np.arange(len(classes))) * 2)

    actual = np.array([generator.choice(len(classes), p=row) for row in predict(table)])
    trivial = Trivial.of(actual, len(classes))
    return {
        **{"answers": predict(table), "actual": actual, "test": table, "schema": schema},
        **{"predict": predict, "trivial": trivial, "classes": classes},
    }


def regression_case(rows: int = 400) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    case = classes_case("binary", rows)
    schema = schema_of("regression", [*FIELDS, {"name": "y", "type": "number"}])
    answers = 3 * case["test"].numbers("a")
    actual = answers + generator.normal(size=rows)
    case |= {"schema": schema, "actual": actual, "answers": answers, "classes": ()}
    case |= {"predict": lambda one: 3 * one.numbers("a"), "trivial": Trivial.of(actual)}
    return case


def test_binary_classification_metrics_have_model_monitors_names() -> None:
    facts = evaluate(**classes_case("binary"))
    content = json.loads(json.dumps(evaluation_json(facts), allow_nan=False))
    assert list(content) == ["binary_classification_metrics"]
    found = content["binary_classification_metrics"]
    constant = ("recall", "precision", "accuracy", "f0_5", "f1", "f2")
    assert set(found) == {
        *("confusion_matrix", "recall", "precision", "accuracy", "auc", "au_prc", "f0_5", "f1"),
        *("f2", "true_positive_rate", "true_negative_rate", "false_positive_rate"),
        *("false_negative_rate", "receiver_operating_characteristic_curve"),
        *("precision_recall_curve", "balanced_accuracy", "log_loss"),
        *(f"{name}_best_constant_classifier" for name in constant),
    }
    matrix = found["confusion_matrix"]
    assert set(matrix) == set(matrix["no"]) == {"no", "yes"}
    assert matrix["yes"]["yes"] / sum(matrix["yes"].values()) == found["recall"]["value"]
    assert found["recall_best_constant_classifier"]["value"] == 1
    assert found["auc"]["standard_deviation"] > 0


def test_multiclass_classification_metrics_have_model_monitors_names() -> None:
    facts = evaluate(**classes_case("multiclass"))
    found = evaluation_json(facts)["multiclass_classification_metrics"]
    monitor = ["accuracy", *(f"weighted_{name}" for name in estimates.RATIOS)]
    assert set(found) == {
        *("confusion_matrix", "auc", "balanced_accuracy", "macro_f1", "log_loss"),
        *monitor,
        *(f"{name}_best_constant_classifier" for name in monitor),
    }
    assert sum(sum(row.values()) for row in found["confusion_matrix"].values()) == 400
    json.dumps(found, allow_nan=False)


def test_regression_metrics_are_as_before() -> None:
    facts = evaluate(**regression_case())
    found = evaluation_json(facts)
    assert list(found) == ["regression_metrics"]
    assert set(found["regression_metrics"]) == {"mse", "rmse", "mae", "r2"}
    assert facts["metric"] == {
        "name": "mse",
        **found["regression_metrics"]["mse"],
        "threshold": 6.0,
        "more_is_better": False,
    }


def test_the_parameter_replaces_the_threshold_of_the_schema() -> None:
    assert evaluate(**regression_case(), threshold=2.5)["metric"]["threshold"] == 2.5


@pytest.mark.parametrize("problem", ["regression", "binary", "multiclass"])
def test_the_column_that_decides_is_the_important_one(problem: str) -> None:
    case = regression_case() if problem == "regression" else classes_case(problem)
    first, *others = evaluate(**case)["importance"]
    assert first["column"] == "a" and first["value"] > 3 * first["standard_deviation"] > 0
    assert [(one["value"], one["standard_deviation"]) for one in others] == [(0, 0), (0, 0)]
    assert evaluate(**case)["importance"][0] == first  # seeded


def test_the_rows_of_permutation_importance_are_bounded() -> None:
    asked = []
    case = classes_case("binary", 9000)
    predict = case["predict"]

    def counting(table: Table) -> Floats:
        asked.append(len(table))
        answers: Floats = predict(table)
        return answers

    evaluate(**{**case, "predict": counting})
    assert set(asked) == {2000} and len(asked) == 1 + 3 * 3


def test_facets_are_groups_of_rows_with_their_metrics() -> None:
    case = classes_case("binary")
    found = evaluate(**case)["facets"]
    texts = case["test"].categories("b").texts
    by_group = {(one["column"], one["group"]): one for one in found}
    assert {group for column, group in by_group if column == "b"} == {"left", "right", "(no value)"}
    assert {group for column, group in by_group if column == "c"} == {"true", "false"}
    assert len([1 for column, _ in by_group if column == "a"]) == 4
    rows = texts == "left"
    left = by_group["b", "left"]
    assert left["rows"] == rows.sum()
    predicted = case["answers"].argmax(1)
    wanted = sklearn.f1_score(case["actual"][rows], predicted[rows])
    assert left["metrics"]["f1"] == pytest.approx(wanted)
    for column in ("a", "b", "c"):
        assert sum(one["rows"] for one in found if one["column"] == column) == 400


def test_small_groups_are_one_group_together() -> None:
    texts = ["big"] * 50 + [f"small {number}" for number in range(30)]
    schema = schema_of("binary", [{"name": "b", "type": "string"}, {"name": "y", "type": "string"}])
    place, groups = facets.groups_of(table_of({"b": texts}), schema.field("b"))
    assert groups == ["big", "(others)"]
    assert np.bincount(place).tolist() == [50, 30]


def test_dates_are_grouped_by_ranges_of_days() -> None:
    schema = schema_of("binary", [{"name": "d", "type": "date"}, {"name": "y", "type": "string"}])
    days = [float(day) for day in range(18_262, 18_362)]  # from 2020-01-01
    _, groups = facets.groups_of(table_of({"d": days}), schema.field("d"))
    assert groups[0] == "below 2020-01-25" and len(groups) == 4


# The trivial predictor


def test_the_trivial_predictor_of_regression_is_the_mean_or_median_of_train() -> None:
    train, actual = np.array([0.0, 0.0, 0.0, 4.0]), np.array([0.0, 1.0, 5.0])
    found = baseline(Trivial.of(train), "regression", actual)
    assert found["mse"] == pytest.approx(((actual - 1) ** 2).mean())
    assert found["mae"] == pytest.approx(np.abs(actual - 0).mean())
    assert set(found) == set(METRICS["regression"])


def test_the_trivial_predictor_of_classes_is_their_shares_in_train() -> None:
    train, actual = np.array([0] * 9 + [1]), np.array([0] * 8 + [1] * 2)
    found = baseline(Trivial.of(train, 2), "binary", actual)
    assert found == {
        "auc": 0.5,
        "accuracy": pytest.approx(0.8),
        "balanced_accuracy": 0.5,
        "f1": pytest.approx(2 * 0.2 / 1.2),
        "precision": pytest.approx(0.2),
        "recall": pytest.approx(0.1),
        "log_loss": pytest.approx(-0.8 * math.log(0.9) - 0.2 * math.log(0.1)),
    }


def test_no_constant_answer_has_a_better_f1_than_the_trivial_predictor() -> None:
    for positives in range(1, 20):
        actual = np.array([1] * positives + [0] * (20 - positives))
        found = baseline(Trivial.of(actual, 2), "binary", actual)
        for number in (0, 1):
            constant = np.full(20, number)
            assert found["f1"] >= sklearn.f1_score(actual, constant, zero_division=0) - 1e-12
            assert found["accuracy"] >= sklearn.accuracy_score(actual, constant)


# Curves


def test_curves_are_thin_and_keep_their_ends() -> None:
    actual, probabilities = made(5000, 2, 4, digits=9)
    (roc,) = curves.roc_curves(actual, probabilities, ("no", "yes"))
    assert roc["class"] == "yes" and len(roc["x"]) == len(roc["y"]) == curves.MAX_POINTS
    assert (roc["x"][0], roc["y"][0], roc["x"][-1], roc["y"][-1]) == (0, 0, 1, 1)
    assert roc["x"] == sorted(roc["x"]) and roc["y"] == sorted(roc["y"])
    assert sklearn.auc(roc["x"], roc["y"]) == pytest.approx(roc["auc"], abs=0.002)
    (pr,) = curves.pr_curves(actual, probabilities, ("no", "yes"))
    assert len(pr["x"]) <= curves.MAX_POINTS and pr["x"] == sorted(pr["x"])
    assert (pr["x"][0], pr["x"][-1]) == (0, 1)
    assert pr["y"][-1] == pytest.approx(actual.mean())


@given(st.integers(2, 60), st.integers(0, 1000), st.sampled_from([1, 9]))
def test_short_curves_are_those_of_scikit_learn(rows: int, seed: int, digits: int) -> None:
    actual, probabilities = made(rows, 2, seed, digits)
    (roc,) = curves.roc_curves(actual, probabilities, ("no", "yes"))
    x, y, _ = sklearn.roc_curve(actual, probabilities[:, 1], drop_intermediate=False)
    assert roc["x"] == pytest.approx(x) and roc["y"] == pytest.approx(y)
    (pr,) = curves.pr_curves(actual, probabilities, ("no", "yes"))
    precision, recall, _ = sklearn.precision_recall_curve(actual, probabilities[:, 1])
    assert pr["x"] == pytest.approx(recall[::-1])
    assert pr["y"][1:] == pytest.approx(precision[::-1][1:])


def test_each_of_several_classes_has_curves_up_to_a_number() -> None:
    actual, probabilities = made(300, 3, 4)
    found = curves.roc_curves(actual, probabilities, ("x", "y", "z"))
    assert [one["class"] for one in found] == ["x", "y", "z"]
    actual, probabilities = made(300, 30, 4)
    names = tuple(f"{number:02}" for number in range(30))
    assert len(curves.pr_curves(actual, probabilities, names)) == curves.MAX_CLASSES


@given(st.integers(2, 300), st.integers(0, 1000))
def test_the_bins_of_a_calibration_have_all_rows(rows: int, seed: int) -> None:
    actual, probabilities = made(rows, 2, seed, digits=1)
    (found,) = curves.calibration(actual, probabilities, ("no", "yes"))
    assert sum(found["rows"]) == rows and 1 <= len(found["rows"]) <= curves.BINS
    assert found["predicted"] == sorted(found["predicted"])
    mean = np.average(found["predicted"], weights=found["rows"])
    assert mean == pytest.approx(probabilities[:, 1].mean())
    assert np.average(found["observed"], weights=found["rows"]) == pytest.approx(actual.mean())


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": np.zeros(400)}, "shape (400,), wanted (400, 2)"),
        ({"answers": np.full((400, 2), np.nan)}, "not all are finite"),
        ({"answers": np.full((400, 2), 0.6)}, "sum"),
        ({"answers": np.tile([-1.0, 2.0], (400, 1))}, "0 to 1"),
        ({"actual": np.zeros(400, np.int64)}, "auc is undefined on the 400 test rows"),
    ],
)
def test_answers_that_are_not_of_the_kind_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        evaluate(**{**classes_case("binary"), **change})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_metrics_that_are_not_finite_are_refused() -> None:
    case = regression_case()
    with pytest.raises(BadInput, match=r"regression_metrics\.mae is not finite"):
        evaluate(**{**case, "answers": np.full(400, 1e200)})


def test_a_constant_label_leaves_r2_out_and_says_why() -> None:
    case = regression_case() | {"actual": np.full(400, 4.1)}
    facts = evaluate(**case)
    assert "r2" not in facts["metrics"] and "r2" not in facts["baseline"]
    assert facts["undefined"]["r2"] == "the label of all 400 rows is 4.1"
    schema = schema_of(
        "regression",
        [*FIELDS, {"name": "y", "type": "number"}],
        metric={"name": "r2", "at_least": 0.5},
    )
    with pytest.raises(BadInput, match="r2 is undefined on the 400 test rows: the label of all"):
        evaluate(**{**case, "schema": schema})


def test_one_row_is_refused() -> None:
    case = regression_case(1)
    with pytest.raises(BadInput, match="1 row"):
        evaluate(**case)


def test_no_warning_is_given() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for case in (regression_case(), classes_case("binary"), classes_case("multiclass")):
            evaluate(**case)
