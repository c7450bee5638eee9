"""The trivial predictor: it knows the label of the train split, and looks at no column.

Regression: it answers the mean, and where the metric is mae, the median. Classes: it answers the
shares of the classes in the train split, so its class is the most frequent one. Two metrics need
more. Its precision and f1 are those of naming the positive class always, which no constant answer
exceeds. Its recall is that of naming the positive class at random, as often as it is in the train
split: naming it always reaches 1, which no model can exceed.
"""

from typing import NamedTuple

import numpy as np

from sagemaker_project.tabular.estimates import (
    RATIOS,
    Estimate,
    Labels,
    constant_metrics,
    metrics_of,
)
from sagemaker_project.tabular.schema import METRICS
from sagemaker_project.tabular.table import Integers


class Trivial(NamedTuple):
    """What the trivial predictor knows of the train split: of regression, or of classes."""

    mean: float = 0.0
    median: float = 0.0
    shares: tuple[float, ...] = ()  # in the order of the classes

    @classmethod
    def of(cls, target: Labels, classes: int = 0) -> "Trivial":
        """Return it for the train split's labels: floats, or the numbers of that many classes."""
        if not classes:
            return cls(float(target.mean()), float(np.median(target)))
        counts = np.bincount(target.astype(np.int64), minlength=classes)
        return cls(shares=tuple((counts / counts.sum()).tolist()))


def baseline(trivial: Trivial, problem: str, actual: Labels) -> dict[str, float]:
    """Return the trivial predictor's metrics on these rows, those that a schema can name."""
    rows = len(actual)
    if problem == "regression":
        found = metrics_of(problem, actual, np.full(rows, trivial.mean)).values
        median = metrics_of(problem, actual, np.full(rows, trivial.median)).values
        found["mae"] = median["mae"]
    else:
        found = metrics_of(problem, actual, np.tile(trivial.shares, (rows, 1))).values
    if problem == "binary":
        always = best_constant(trivial, problem, actual.astype(np.int64))
        found |= {name: always[name].value for name in ("precision", "f1") if name in always}
        found["recall"] = trivial.shares[1]
    return {name: found[name] for name in METRICS[problem] if name in found}


def best_constant(trivial: Trivial, problem: str, actual: Integers) -> dict[str, Estimate]:
    """Return what Model Monitor calls the metrics of the best constant classifier, without suffix.

    The constant is the most frequent class of the train split; where the metric is about the
    positive class, that one.
    """
    classes = len(trivial.shares)

    frequent = constant_metrics(problem, actual, int(np.argmax(trivial.shares)), classes).found
    if problem == "multiclass":
        names = ["accuracy", *(f"weighted_{name}" for name in RATIOS)]
        return {name: frequent[name] for name in names}
    positive = constant_metrics(problem, actual, 1, classes).found
    return {
        "accuracy": frequent["accuracy"],
        **{name: positive[name] for name in RATIOS if name in positive},
    }
