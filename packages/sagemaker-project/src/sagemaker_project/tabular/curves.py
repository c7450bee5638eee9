"""What a report draws of a classifier: ROC, precision over recall, calibration.

In a binary problem they are of the positive class, else of each class against the rest, at most of
the MAX_CLASSES that have the most rows. A curve has at most MAX_POINTS points, its ends among them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sagemaker_project.tabular.estimates import auc, average_precision
from sagemaker_project.tabular.table import Floats, Integers

MAX_POINTS = 200
MAX_CLASSES = 12
BINS = 10  # of the calibration: each has about as many rows
Positive = npt.NDArray[np.bool_]


def roc_curves(actual: Integers, probabilities: Floats, classes: tuple[str, ...]) -> list[Any]:
    """Return [{"class", "x": false positive rates, "y": true positive rates, "auc"}]."""
    found = []
    for number, positive, score in _one_against_rest(actual, probabilities):
        hits, misses = _cumulated(positive, score)
        x, y = np.append(0.0, misses / misses[-1]), np.append(0.0, hits / hits[-1])
        points = _thinned(len(x))
        found.append(
            {
                "class": classes[number],
                "x": x[points].tolist(),
                "y": y[points].tolist(),
                "auc": auc(positive, score).value,
            }
        )
    return found


def pr_curves(actual: Integers, probabilities: Floats, classes: tuple[str, ...]) -> list[Any]:
    """Return [{"class", "x": recalls, "y": precisions, "average_precision"}], recall rising."""
    found = []
    for number, positive, score in _one_against_rest(actual, probabilities):
        hits, misses = _cumulated(positive, score)
        recall, precision = hits / hits[-1], hits / (hits + misses)
        x, y = np.append(0.0, recall), np.append(precision[0], precision)
        points = _thinned(len(x))
        found.append(
            {
                "class": classes[number],
                "x": x[points].tolist(),
                "y": y[points].tolist(),
                "average_precision": average_precision(positive, score).value,
            }
        )
    return found


def calibration(actual: Integers, probabilities: Floats, classes: tuple[str, ...]) -> list[Any]:
    """Return [{"class", "predicted": means, "observed": shares, "rows"}], a member for each bin.

    Rows of equal probability are in one bin.
    """
    found = []
    for number, positive, score in _one_against_rest(actual, probabilities):
        edges = np.unique(np.quantile(score, np.linspace(0, 1, BINS + 1)[1:-1]))
        place = np.searchsorted(edges, score, "right")
        rows = np.bincount(place, minlength=len(edges) + 1)
        filled = rows > 0
        predicted = np.bincount(place, weights=score, minlength=len(rows))[filled] / rows[filled]
        observed = np.bincount(place, weights=positive, minlength=len(rows))[filled] / rows[filled]
        found.append(
            {
                "class": classes[number],
                "predicted": predicted.tolist(),
                "observed": observed.tolist(),
                "rows": rows[filled].tolist(),
            }
        )
    return found


def _one_against_rest(
    actual: Integers, probabilities: Floats
) -> Iterator[tuple[int, Positive, Floats]]:
    """Yield (class, which rows are of it, its probabilities) where some rows are and some not."""
    rows = np.bincount(actual, minlength=probabilities.shape[1])
    if len(rows) == 2:
        numbers = [1]
    else:
        numbers = sorted(np.argsort(-rows, kind="stable")[:MAX_CLASSES].tolist())
    for number in numbers:
        if 0 < rows[number] < len(actual):
            yield number, actual == number, probabilities[:, number]


def _cumulated(positive: Positive, score: Floats) -> tuple[Floats, Floats]:
    """Return how many positive and negative rows score at least each distinct score, falling."""
    values, place = np.unique(-score, return_inverse=True)
    hits = np.bincount(place, weights=positive, minlength=len(values))
    rows = np.bincount(place, minlength=len(values))
    return np.cumsum(hits), np.cumsum(rows - hits)


def _thinned(points: int) -> Integers:
    """Return the numbers of the points to keep, evenly spread, the first and last among them."""
    wanted = min(points, MAX_POINTS)
    return np.unique(np.round(np.linspace(0, points - 1, wanted)).astype(np.int64))
