"""A metric on rows, and the standard deviation of that estimate.

The standard deviation says how far another test split of this size would move the metric. Every
metric here is, to first order, a mean over rows: each row has an influence, what the metric changes
by if the row counts a little more. The variance of the metric is that of the influences divided by
the number of rows (the delta method). For a proportion that is p (1 - p) / n, for the AUC DeLong's
variance; ratios, f scores and averages over classes need no rule of their own, and classes that
share rows are not taken for independent.

Classes are numbers, in the order of the columns of the probabilities; in a binary problem 1 is the
positive one. A class that is never predicted has no precision (0 / 0): as the positive class it
leaves the metric undefined, in an average over classes it counts as 0, as in Model Monitor.
`recall`, `precision`, `f1`, ... are Model Monitor's names; `au_prc` is the average precision.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from sagemaker_project.tabular.table import Floats, Integers

SMALLEST = float(np.finfo(np.float64).eps)  # probability in the logarithmic loss
RATIOS = {  # {metric: the weights of Confusion.ratio}
    "recall": (1.0, 0.0),
    "precision": (0.0, 1.0),
    "f0_5": (0.25, 1.0),
    "f1": (1.0, 1.0),
    "f2": (4.0, 1.0),
}
Labels: TypeAlias = "Floats | Integers"  # of regression, of classes


class Undefined(ValueError):
    """A metric that these rows do not have. The message says why."""


class Estimate(NamedTuple):
    value: float
    standard_deviation: float


Calculations: TypeAlias = Mapping[str, Callable[[], Estimate]]


class Influenced(NamedTuple):
    """A metric, and the influence of each row (or of each cell of the confusion matrix) on it."""

    value: float
    influence: Floats

    def estimate(self, counts: "Integers | None" = None) -> Estimate:
        """Return the estimate; `counts` are the rows that each influence stands for, else one."""
        weights = np.ones(len(self.influence)) if counts is None else counts
        rows = weights.sum()
        deviation = self.influence - (weights @ self.influence) / rows
        variance = weights @ deviation**2 / (rows - 1)
        return Estimate(float(self.value), math.sqrt(variance / rows))


@dataclass
class Metrics:
    """Metrics by name; `undefined` says of each that is left out why."""

    found: dict[str, Estimate] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, float]:
        return {name: metric.value for name, metric in self.found.items()}


@np.errstate(all="ignore")  # evaluate() refuses values that are not finite
def metrics_of(problem: str, actual: Labels, answers: Floats) -> Metrics:
    """Return the metrics of predictions (rows,) or probabilities (rows, classes)."""
    return _calculated(_all(problem, actual, answers))


def _calculated(calculations: Calculations) -> Metrics:
    metrics = Metrics()
    for name, calculate in calculations.items():
        try:
            metrics.found[name] = calculate()
        except Undefined as error:
            metrics.undefined[name] = str(error)
    return metrics


@np.errstate(all="ignore")
def value_of(name: str, problem: str, actual: Labels, answers: Floats) -> float | None:
    """Return the value of one of these metrics, None where it is undefined or not finite."""
    try:
        value = _all(problem, actual, answers)[name]().value
    except Undefined:
        return None
    return value if math.isfinite(value) else None


def _all(problem: str, actual: Labels, answers: Floats) -> Calculations:
    if problem == "regression":
        return _regression(actual.astype(np.float64), answers)
    labels, classes = actual.astype(np.int64), answers.shape[1]
    cells = cells_of(confusion_matrix(labels, answers.argmax(1), classes))
    return {
        **_label_metrics(problem, cells),
        **_probability_metrics(problem, labels, answers),
    }


def constant_metrics(problem: str, actual: Integers, number: int, classes: int) -> Metrics:
    """Return the metrics that need no probabilities, of answering one class always."""
    cells = cells_of(confusion_matrix(actual, np.full_like(actual, number), classes))
    return _calculated(_label_metrics(problem, cells))


# Regression


def _regression(actual: Floats, predicted: Floats) -> Calculations:
    errors = predicted - actual
    squared, absolute = errors**2, np.abs(errors)
    deviation = (actual - actual.mean()) ** 2
    mse, variance = squared.mean(), deviation.mean()
    rmse = math.sqrt(mse)

    def r2() -> Estimate:
        if actual.min() == actual.max():  # the variance may be off 0 by rounding
            raise Undefined(f"the label of all {len(actual)} rows is {actual[0]:g}")
        unexplained = mse / variance
        rows = (squared - unexplained * deviation) / variance
        return Influenced(1 - unexplained, rows).estimate()

    return {
        "mae": Influenced(absolute.mean(), absolute).estimate,
        "mse": Influenced(mse, squared).estimate,
        "rmse": Influenced(rmse, squared / (2 * rmse) if rmse else squared).estimate,
        "r2": r2,
    }


# Classes


class Confusion(NamedTuple):
    """The cells of a confusion matrix that have rows."""

    actual: Integers
    predicted: Integers
    counts: Integers

    @property
    def shares(self) -> Floats:
        shares: Floats = self.counts / self.counts.sum()
        return shares

    def present(self) -> list[int]:
        """Return the classes that have rows."""
        return [int(one) for one in np.unique(self.actual)]

    def occurring(self) -> list[int]:
        """Return the classes that have rows or are predicted."""
        return [int(one) for one in np.union1d(self.actual, self.predicted)]

    def ratio(self, number: int, of_actual: float, of_predicted: float) -> Influenced:
        """Return the weighted share of a class's rows and predictions that are right.

        Its recall with the weights (1, 0), its precision with (0, 1), its f score of beta with
        (beta ** 2, 1).

        Raises:
            Undefined: there is nothing to have a share of.
        """
        actual, predicted = self.actual == number, self.predicted == number
        over = (of_actual + of_predicted) * (actual & predicted)
        under = of_actual * actual + of_predicted * predicted
        whole = float(under @ self.shares)
        if not whole:
            raise Undefined(
                f"no row is {'predicted as' if of_predicted else 'of'} class number {number}"
            )
        value = float(over @ self.shares) / whole
        return Influenced(value, (over - value * under) / whole)

    def ratio_or_0(self, number: int, of_actual: float, of_predicted: float) -> Influenced:
        try:
            return self.ratio(number, of_actual, of_predicted)
        except Undefined:
            return Influenced(0.0, np.zeros(len(self.counts)))

    def accuracy(self) -> Influenced:
        right = (self.actual == self.predicted).astype(np.float64)
        return Influenced(float(right @ self.shares), right)

    def weighted(self, of_actual: float, of_predicted: float) -> Influenced:
        """Return the mean of a ratio over the classes, weighted by their rows."""
        value, influence = 0.0, np.zeros(len(self.counts))
        for number in self.present():
            is_class = self.actual == number
            share = float(is_class @ self.shares)
            one = self.ratio_or_0(number, of_actual, of_predicted)
            value += share * one.value
            influence += is_class * one.value + share * one.influence
        return Influenced(value, influence)

    def balanced_accuracy(self) -> Influenced:
        return mean(self.ratio(number, 1, 0) for number in self.present())

    def macro_f1(self) -> Influenced:
        return mean(self.ratio(number, 1, 1) for number in self.occurring())


def mean(metrics: Iterable[Influenced]) -> Influenced:
    listed = list(metrics)
    return Influenced(
        sum(one.value for one in listed) / len(listed),
        np.sum([one.influence for one in listed], axis=0) / len(listed),
    )


def confusion_matrix(actual: Integers, predicted: Integers, classes: int) -> Integers:
    """Return how many rows there are, (actual class, predicted class)."""
    counts = np.bincount(actual * classes + predicted, minlength=classes**2)
    return counts.astype(np.int64).reshape(classes, classes)


def cells_of(matrix: Integers) -> Confusion:
    actual, predicted = np.nonzero(matrix)
    return Confusion(actual, predicted, matrix[actual, predicted])


def _label_metrics(problem: str, cells: Confusion) -> Calculations:
    """Return the metrics that need the predicted classes alone."""
    found: dict[str, Callable[[], Influenced]] = {
        "accuracy": cells.accuracy,
        "balanced_accuracy": cells.balanced_accuracy,
    }
    if problem == "multiclass":
        found["macro_f1"] = cells.macro_f1
        for name, weights in RATIOS.items():
            found[f"weighted_{name}"] = partial(cells.weighted, *weights)
    else:
        for name, weights in RATIOS.items():
            found[name] = partial(cells.ratio, 1, *weights)
        found["true_positive_rate"] = found["recall"]
        found["true_negative_rate"] = lambda: cells.ratio(0, 1, 0)
        found["false_positive_rate"] = lambda: _rest(cells.ratio(0, 1, 0))
        found["false_negative_rate"] = lambda: _rest(cells.ratio(1, 1, 0))
    return {name: partial(_estimated, metric, cells) for name, metric in found.items()}


def _estimated(metric: Callable[[], Influenced], cells: Confusion) -> Estimate:
    return metric().estimate(cells.counts)


def _probability_metrics(problem: str, actual: Integers, probabilities: Floats) -> Calculations:
    positive, score = actual == 1, probabilities[:, 1]
    if problem == "multiclass":
        return {
            "auc": lambda: macro_auc(actual, probabilities).estimate(),
            "log_loss": lambda: log_loss(actual, probabilities).estimate(),
        }
    return {
        "auc": lambda: auc(positive, score).estimate(),
        "au_prc": lambda: average_precision(positive, score).estimate(),
        "log_loss": lambda: log_loss(actual, probabilities).estimate(),
    }


def _rest(metric: Influenced) -> Influenced:
    return Influenced(1 - metric.value, -metric.influence)


# Probabilities


def auc(positive: npt.NDArray[np.bool_], score: Floats) -> Influenced:
    """Return the probability that a positive row scores higher than a negative one; ties half.

    Raises:
        Undefined: all rows are of one class.
    """
    if positive.all() or not positive.any():
        raise Undefined("the rows are of one class")
    values, place = np.unique(score, return_inverse=True)
    hits = np.bincount(place, weights=positive, minlength=len(values))
    misses = np.bincount(place, minlength=len(values)) - hits
    # At each score the share of the negative rows below it, and of the positive ones above.
    below = (np.cumsum(misses) - misses / 2) / misses.sum()
    above = 1 - (np.cumsum(hits) - hits / 2) / hits.sum()
    share = np.where(positive, below[place], above[place])
    value = float(share[positive].mean())
    own = np.where(positive, positive.mean(), 1 - positive.mean())
    return Influenced(value, (share - value) / own)


def macro_auc(actual: Integers, probabilities: Floats) -> Influenced:
    """Return the mean over the classes of the AUC of one class against the rest.

    Raises:
        Undefined: a class has no rows.
    """
    classes = probabilities.shape[1]
    absent = set(range(classes)) - set(np.unique(actual).tolist())
    if absent:
        raise Undefined(f"{len(absent)} of the {classes} classes have no rows")
    value, influence = 0.0, np.zeros(len(actual))
    for number in range(classes):
        one = auc(actual == number, probabilities[:, number])
        value += one.value / classes
        influence += one.influence / classes
    return Influenced(value, influence)


def average_precision(positive: npt.NDArray[np.bool_], score: Floats) -> Influenced:
    """Return the mean over the positive rows of the precision at their score.

    Raises:
        Undefined: no row is positive.
    """
    if not positive.any():
        raise Undefined("no row is of the positive class")
    values, place = np.unique(-score, return_inverse=True)  # the highest score first
    rows = np.bincount(place, minlength=len(values))
    hits = np.bincount(place, weights=positive, minlength=len(values))
    above = np.cumsum(rows)
    precision = np.cumsum(hits) / above
    value = float(hits @ precision / hits.sum())
    # A row moves the precision at its own score and at every lower one.
    gain = np.cumsum((hits / above)[::-1])[::-1]
    loss = np.cumsum((hits * precision / above)[::-1])[::-1]
    own = np.where(positive, precision[place] - value + gain[place], 0.0)
    return Influenced(value, (own - loss[place]) / positive.mean())


def log_loss(actual: Integers, probabilities: Floats) -> Influenced:
    own = probabilities[np.arange(len(actual)), actual]
    loss = -np.log(np.clip(own, SMALLEST, 1 - SMALLEST))
    return Influenced(float(loss.mean()), loss)
