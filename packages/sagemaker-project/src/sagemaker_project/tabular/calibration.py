"""Probabilities that mean what they say: Platt's scaling, inside the fitted classifier.

The raw scores r of the trees become a * r + b before the link, with one a for all classes and one b
for each; for two classes that is Platt's sigmoid. Both are fitted on the validation split, by log
loss. A sum of trees times a, plus b, is a sum of trees: the leaves' values and the baseline of the
classifier are scaled in place. So the saved model stays plain scikit-learn, its predict_proba gives
the calibrated answers, and what is exported from it needs to know nothing of this.

Scores that are calibrated already need none of it: the scaling is used only if, fitted on the other
folds of the validation split, it makes the log loss of a fold lower by more than the noise of that.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from sagemaker_project.tabular.table import Floats, Integers

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

FOLDS = 5
MIN_ROWS = 50  # of the validation split; fewer say nothing about probabilities
STEPS = 50  # of Newton's method; it needs 5 to 10
DIGITS = 4  # of a and b: far finer than they are known, and the same on every machine
PRIOR = 1.0  # rows' worth of belief in a = 1, b = 0: keeps both finite for classes without overlap


class Scaling(NamedTuple):
    """Raw scores r become scale * r + shifts[class]."""

    scale: float
    shifts: tuple[float, ...]


class Calibration(NamedTuple):
    """What was decided: the scaling, if one is used, and a sentence for people."""

    scaling: Scaling | None
    text: str


def decide(raw: Floats, actual: Integers) -> Calibration:
    """Fit the scaling of raw scores (rows, 1 or classes) and say whether it helps.

    The folds are every FOLDS-th row. A row of the validation split is in no order that matters.
    """
    scores = _by_class(raw)
    if len(scores) < MIN_ROWS:
        return Calibration(None, f"not calibrated: {len(scores)} validation rows are too few")
    gain = _held_out_gain(scores, actual)
    before = float(_log_losses(scores, actual).mean())
    mean, noise = float(gain.mean()), float(gain.std() / len(gain) ** 0.5)
    held_out = f"log loss {before:.4f}, {before - mean:.4f} with Platt's scaling on held-out folds"
    if mean <= noise:
        return Calibration(None, f"not calibrated, and no need shown: validation {held_out}")
    scaling = _fit(scores, actual)
    if scaling.scale <= 0:
        return Calibration(None, "not calibrated: the scores do not follow the label")
    text = f"calibrated on the validation split by Platt's scaling: validation {held_out}"
    return Calibration(scaling, text)


def apply(scaling: Scaling, classifier: "HistGradientBoostingClassifier") -> None:
    """Scale the fitted classifier in place."""
    shifts = np.array(scaling.shifts)
    if classifier.n_trees_per_iteration_ == 1:
        shifts = shifts[1:] - shifts[:1]
    baseline = classifier._baseline_prediction
    classifier._baseline_prediction = baseline * scaling.scale + shifts.astype(baseline.dtype)
    for trees in classifier._predictors:
        for tree in trees:
            tree.nodes["value"] *= scaling.scale


def _by_class(raw: Floats) -> Floats:
    """Return a column per class; the one score of two classes is that of the second."""
    return np.column_stack([np.zeros(len(raw)), raw]) if raw.shape[1] == 1 else raw


def _held_out_gain(scores: Floats, actual: Integers) -> Floats:
    """Return by how much each row's log loss falls with the scaling of the other folds."""
    gain = np.empty(len(scores))
    fold = np.arange(len(scores)) % FOLDS
    for number in range(FOLDS):
        held, rest = fold == number, fold != number
        scaled = _scaled(_fit(scores[rest], actual[rest]), scores[held])
        gain[held] = _log_losses(scores[held], actual[held]) - _log_losses(scaled, actual[held])
    return gain


def _scaled(scaling: Scaling, scores: Floats) -> Floats:
    found: Floats = scores * scaling.scale + np.array(scaling.shifts)
    return found


def _fit(scores: Floats, actual: Integers) -> Scaling:
    """Minimize the log loss by Newton's method: it is convex in a and the b of all classes.

    Sums go through einsum, which unlike a matrix product does not depend on the number of cores.
    """
    rows, classes = scores.shape
    identity = np.zeros(classes + 1)
    identity[0] = 1.0
    found = identity.copy()
    wanted = np.zeros_like(scores)
    wanted[np.arange(rows), actual] = 1.0
    for _ in range(STEPS):
        chances = _softmax(scores * found[0] + found[1:])
        step = np.linalg.solve(
            _curvature(scores, chances), _slope(scores, chances - wanted, found - identity)
        )
        found -= step / max(1.0, float(np.abs(step).max()))  # at most 1 in any direction
        if np.abs(step).max() < 1e-9:
            break
    return Scaling(round(float(found[0]), DIGITS), tuple(np.round(found[1:], DIGITS).tolist()))


def _slope(scores: Floats, excess: Floats, off: Floats) -> Floats:
    by_scale = np.einsum("rc,rc->", excess, scores)
    found: Floats = np.array([by_scale, *excess.sum(axis=0)]) + PRIOR * off
    return found


def _curvature(scores: Floats, chances: Floats) -> Floats:
    """Return the matrix of second derivatives, by a and then each b."""
    size = scores.shape[1] + 1
    found = np.empty((size, size))
    mean = np.einsum("rc,rc->r", chances, scores)
    found[0, 0] = np.einsum("rc,rc,rc->", chances, scores, scores) - np.einsum("r,r->", mean, mean)
    mixed = np.einsum("rc,rc->c", chances, scores - mean[:, None])
    found[0, 1:] = found[1:, 0] = mixed
    found[1:, 1:] = np.diag(chances.sum(axis=0)) - np.einsum("rc,rd->cd", chances, chances)
    return found + PRIOR * np.eye(size)


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: Floats = powers / powers.sum(axis=1, keepdims=True)
    return found


def _log_losses(scores: Floats, actual: Integers) -> npt.NDArray[np.float64]:
    """Return the log loss of each row."""
    top = scores.max(axis=1)
    total = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    found: Floats = total - scores[np.arange(len(scores)), actual]
    return found
