"""How good a model is on the test split: all that evaluation.json and the report say of it.

The metrics have the names that SageMaker Model Monitor writes in its Model Quality format, with
balanced_accuracy, log_loss, macro_f1 and the AUC of several classes (one against the rest, mean of
the classes) besides. estimates.py has them and their standard deviations, trivial.py what a
predictor reaches that looks at no column. No number here is NaN or infinite: a metric that the rows
do not have is left out, with the reason in `undefined`; where schema.json decides by it, or a
metric is not finite, the evaluation is refused.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from sagemaker_project.tabular.curves import calibration, pr_curves, roc_curves
from sagemaker_project.tabular.estimates import (
    Estimate,
    Labels,
    Metrics,
    confusion_matrix,
    metrics_of,
)
from sagemaker_project.tabular.facets import facets
from sagemaker_project.tabular.importance import importance
from sagemaker_project.tabular.schema import Metric, Schema
from sagemaker_project.tabular.table import BadInput, Floats, Table
from sagemaker_project.tabular.trivial import Trivial, baseline, best_constant

FORMATS = {
    "regression": "regression_metrics",
    "binary": "binary_classification_metrics",
    "multiclass": "multiclass_classification_metrics",
}
CONSTANT = "_best_constant_classifier"
Facts: TypeAlias = dict[str, Any]  # JSON values and arrays
Predict: TypeAlias = Callable[[Table], Floats]


def evaluate(
    answers: Floats,
    actual: Labels,
    test: Table,
    schema: Schema,
    predict: Predict,
    trivial: Trivial,
    *,
    classes: tuple[str, ...] = (),
    threshold: float | None = None,
    seed: int = 0,
) -> Facts:
    """Return what is to say of a model's answers to the rows of the test split.

    Args:
        answers: floats (rows,), or probabilities (rows, classes).
        actual: the labels: floats, or numbers of classes.
        predict: returns the model's answers to a table with columns as those of `test`.
        trivial: what is known of the train split's label.
        threshold: of the metric, if not that of the schema.

    Raises:
        BadInput: the answers are not of the kind, or the metric that decides is undefined.
    """
    check_answers(answers, len(test), len(classes))
    metrics = checked_metrics(schema, actual, answers)
    metric = schema.metric if threshold is None else replace(schema.metric, threshold=threshold)
    facts: Facts = {
        "problem": schema.problem,
        "label": schema.label,
        "classes": list(classes),
        "positive": schema.positive,
        "metric": _metric_facts(metric, metrics.found[metric.name]),
        "metrics": {name: one._asdict() for name, one in metrics.found.items()},
        "undefined": metrics.undefined,
        "baseline": baseline(trivial, schema.problem, actual),
        "actual": actual,
        "predicted": answers,
        "probabilities": None,
        "importance": importance(actual, test, schema, predict, metric, seed),
        "facets": facets(actual, answers, test, schema),
        **{"confusion": [], "roc": [], "pr": [], "calibration": [], "best_constant": {}},
    }
    return facts | (_class_facts(answers, actual, schema, trivial, classes) if classes else {})


def check_answers(answers: Floats, rows: int, classes: int) -> None:
    """Raise BadInput unless they are finite, of the right shape, and of classes probabilities."""
    wanted = (rows, classes) if classes else (rows,)
    if answers.shape != wanted:
        raise BadInput(f"the model's answers have the shape {answers.shape}, wanted {wanted}")
    if not np.isfinite(answers).all():
        raise BadInput("the model's answers: not all are finite numbers")
    if not classes:
        return
    sums = answers.sum(axis=1)
    if answers.min(initial=0.0) < 0 or (np.abs(sums - 1) > 1e-6).any():
        raise BadInput("the model's probabilities: wanted 0 to 1, and 1 as the sum of each row")


def checked_metrics(schema: Schema, actual: Labels, answers: Floats) -> Metrics:
    """Return the metrics; raise BadInput if one is not finite or the schema's is undefined."""
    if len(actual) < 2:
        raise BadInput(f"the test split has {len(actual)} row(s); metrics need at least 2")
    metrics = metrics_of(schema.problem, actual, answers)
    for name, estimate in metrics.found.items():
        if not all(map(math.isfinite, estimate)):
            raise BadInput(f"{FORMATS[schema.problem]}.{name} is not finite: {estimate}")
    name = schema.metric.name
    if name in metrics.undefined:
        raise BadInput(
            f"the metric {name} is undefined on the {len(actual)} test rows: "
            f"{metrics.undefined[name]}; add rows, or name another metric in schema.json"
        )
    return metrics


def _metric_facts(metric: Metric, estimate: Estimate) -> Facts:
    return {
        "name": metric.name,
        **estimate._asdict(),
        "threshold": metric.threshold,
        "more_is_better": metric.more_is_better,
    }


def _class_facts(
    answers: Floats, labels: Labels, schema: Schema, trivial: Trivial, classes: tuple[str, ...]
) -> Facts:
    actual, predicted = labels.astype(np.int64), answers.argmax(axis=1)
    constant = best_constant(trivial, schema.problem, actual)
    return {
        "actual": actual,
        "predicted": predicted,
        "probabilities": answers,
        "confusion": confusion_matrix(actual, predicted, len(classes)).tolist(),
        "roc": roc_curves(actual, answers, classes),
        "pr": pr_curves(actual, answers, classes),
        "calibration": calibration(actual, answers, classes),
        "best_constant": {name: one._asdict() for name, one in constant.items()},
    }


def evaluation_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of evaluation.json: SageMaker's Model Quality format."""
    content: dict[str, Any] = dict(facts["metrics"])
    content |= {name + CONSTANT: one for name, one in facts["best_constant"].items()}
    if facts["problem"] != "regression":
        content["confusion_matrix"] = {
            actual: dict(zip(facts["classes"], row, strict=True))
            for actual, row in zip(facts["classes"], facts["confusion"], strict=True)
        }
    if facts["problem"] == "binary":
        for curve in facts["roc"]:
            content["receiver_operating_characteristic_curve"] = {
                "false_positive_rates": curve["x"],
                "true_positive_rates": curve["y"],
            }
        for curve in facts["pr"]:
            content["precision_recall_curve"] = {"precisions": curve["y"], "recalls": curve["x"]}
    return {FORMATS[facts["problem"]]: content}
