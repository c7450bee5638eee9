"""The metrics that training prints and decides by, and the losses of its learning curve.

The losses are written out here because scikit-learn's refuse what overflowed or became 0, and the
curve of a model that diverges must still be drawn.
"""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sagemaker_project.tabular.table import Floats, Integers

if TYPE_CHECKING:
    from collections.abc import Callable

Scores: TypeAlias = dict[str, float]
TINY = float(np.finfo(np.float64).tiny)


def scores(problem: str, actual: "Floats | Integers", answers: Floats) -> Scores:
    """Return {metric: value} of one split.

    Args:
        problem: regression, binary or multiclass.
        actual: the numbers, or the number of each row's class; (rows,).
        answers: the predictions (rows,), or the probabilities (rows, classes).
    """
    if problem == "regression":
        return _regression(actual, answers)
    return _classes(problem, actual.astype(np.int64), answers)


def _regression(actual: "Floats | Integers", answers: Floats) -> Scores:
    errors = answers - actual
    mse = float(np.square(errors).mean())
    found = {"mse": mse, "rmse": mse**0.5, "mae": float(np.abs(errors).mean())}
    if spread := float(np.square(actual - actual.mean()).mean()):
        found["r2"] = 1.0 - mse / spread
    return found


def _classes(problem: str, actual: Integers, answers: Floats) -> Scores:
    from sklearn import metrics

    chosen = answers.argmax(axis=1)
    present = np.unique(actual)
    found = {
        "accuracy": float((chosen == actual).mean()),
        "balanced_accuracy": float(np.mean([(chosen == c)[actual == c].mean() for c in present])),
        "log_loss": log_loss(actual, answers),
    }
    if len(present) > 1:
        found["auc"] = _auc(actual, answers, present, metrics.roc_auc_score)
    kind = {"average": "binary" if problem == "binary" else "macro", "zero_division": 0}
    if problem == "binary":
        found["f1"] = float(metrics.f1_score(actual, chosen, **kind))
        found["precision"] = float(metrics.precision_score(actual, chosen, **kind))
        found["recall"] = float(metrics.recall_score(actual, chosen, **kind))
    else:
        found["macro_f1"] = float(metrics.f1_score(actual, chosen, **kind))
    return found


def _auc(
    actual: Integers,
    answers: Floats,
    present: Integers,
    area: "Callable[[Floats, Floats], float]",
) -> float:
    """Return the area under the ROC curve: of the second of two classes, else the classes' mean."""
    ones = present[-1:] if answers.shape[1] == 2 else present
    return float(np.mean([area(actual == one, answers[:, one]) for one in ones.tolist()]))


# Losses


def loss_of(
    name: str, actual: "Floats | Integers", answers: Floats, weights: Floats | None = None
) -> float:
    """Return the mean loss of answers, by a loss of the gradient boosting."""
    if name == "log_loss":
        return log_loss(actual.astype(np.int64), answers, weights)
    if name == "absolute_error":
        return float(np.abs(answers - actual).mean())
    if name == "squared_error":
        return float(np.square(answers - actual).mean())
    answers = np.maximum(answers, TINY)
    ratio = np.where(actual > 0, actual, 1.0) / answers
    if name == "gamma":
        return float(2 * (ratio - np.log(ratio) - 1).mean())
    return float(2 * (actual * np.log(ratio) - actual + answers).mean())


def log_loss(actual: Integers, answers: Floats, weights: Floats | None = None) -> float:
    """Return the mean of -log(probability of the actual class)."""
    losses = -np.log(np.maximum(answers[np.arange(len(actual)), actual], TINY))
    return float(np.average(losses, weights=weights))
