"""The plots of the evaluation report: predictions, residuals, curves of classes, learning.

One value far from all others does not flatten a plot: it is drawn as a triangle at the edge of the
axes, and the caption says how many there are and the farthest.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sagemaker_project.tabular.report_html import figure, legend, metric_name, number, pair
from sagemaker_project.tabular.report_svg import Axes, Range, finite, main_range
from sagemaker_project.tabular.table import Floats

MAX_POINTS = 1_500  # in a plot, besides those at its edge
MAX_FAR_POINTS = 50
MAX_CURVES = 6  # in colour
BINS = 31


def regression(facts: Mapping[str, Any]) -> str:
    """Return predicted against actual, the residuals and how they are distributed."""
    actual, predicted = finite(facts["actual"]), finite(facts["predicted"])
    label = facts["label"]
    return pair([_predicted(actual, predicted, label), _residuals(actual, predicted, label)])


def _predicted(actual: Floats, predicted: Floats, label: str) -> str:
    ranges = main_range(actual), main_range(predicted)
    both = min(low for low, _ in ranges), max(high for _, high in ranges)
    axes = Axes(both, both, f"actual {label}", f"predicted {label}")
    low, high = axes.x_range
    marks, note = _dots(axes, actual, predicted)
    plot = axes.draw([*marks, axes.line((low, low), (high, high), "rule")], "Predicted and actual")
    return figure(
        "Predicted against actual", plot, f"{note}On the dashed line a prediction is exact."
    )


def _residuals(actual: Floats, predicted: Floats, label: str) -> str:
    errors = predicted - actual
    reach = max(map(abs, main_range(errors)))
    axes = Axes(
        main_range(predicted), (-reach, reach), f"predicted {label}", "predicted minus actual"
    )
    marks, note = _dots(axes, predicted, errors)
    plot = axes.draw([*marks, axes.level(0)], "Residuals by predicted value")
    return figure("Residuals", plot, f"{note}A good model scatters evenly about zero.")


def residual_histogram(actual: Floats, predicted: Floats) -> str:
    errors = predicted - actual
    low, high = main_range(errors)
    if low == high:
        low, high = low - 0.5, high + 0.5
    shown = np.clip(errors, low, high)
    counts, edges = np.histogram(shown, bins=BINS, range=(low, high))
    axes = Axes((low, high), (0, counts.max()), "predicted minus actual", "test rows", whole=True)
    marks = []
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        x, width = axes.x(left) + 0.5, max(axes.x(right) - axes.x(left) - 1, 0.5)
        y = axes.y(count)
        marks.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{axes.floor - y:.1f}"/>'
        )
    if axes.x_range[0] <= 0 <= axes.x_range[1]:
        marks.append(axes.upright(0))
    far = int((shown != errors).sum())
    note = f" The outer bars hold {far:,} {_rows(far)} beyond the axis." if far else ""
    plot = axes.draw(marks, "Histogram of the residuals")
    return figure("How large the errors are", plot, f"All {len(errors):,} test rows.{note}")


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _dots(axes: Axes, xs: Floats, ys: Floats) -> tuple[list[str], str]:
    """Return the points as SVG, and what the caption has to say of those that are not shown."""
    inside_x, inside_y = np.clip(xs, *axes.x_range), np.clip(ys, *axes.y_range)
    far = np.flatnonzero((inside_x != xs) | (inside_y != ys))
    near = np.setdiff1d(np.arange(len(xs)), far)
    shown = near[:: math.ceil(len(near) / MAX_POINTS) or 1]
    marks = [f'<circle cx="{axes.x(xs[i]):.1f}" cy="{axes.y(ys[i]):.1f}" r="2.4"/>' for i in shown]
    for i in far[:MAX_FAR_POINTS]:
        x, y = axes.x(inside_x[i]), axes.y(inside_y[i])
        marks.append(f'<path class="far" d="M{x:.1f} {y - 5:.1f}l5 9h-10z"/>')
    note = f"{len(shown):,} of {len(xs):,} test rows. " if len(shown) < len(near) else ""
    if len(far):
        farthest = max((*xs[far], *ys[far]), key=abs)
        note += (
            f"{len(far):,} {_rows(len(far))} beyond the axes, up to {number(float(farthest))}, "
            "at the edge as triangles. "
        )
    return marks, note


# Classes


def classes(facts: Mapping[str, Any]) -> list[str]:
    """Return the ROC and PR curves and the calibration of the classes that have one."""
    shown = in_colour(facts)
    cards = []
    if facts["roc"]:
        cards.append(_roc(facts["roc"], shown, len(facts["classes"])))
    if facts["pr"]:
        cards.append(_pr(facts["pr"], shown))
    if facts["calibration"]:
        cards.append(_calibration(facts["calibration"], shown, facts["calibrated"]))
    return cards


def in_colour(facts: Mapping[str, Any]) -> list[str]:
    """Return the classes whose curves are told apart: those that are hardest, if not all."""

    def worth(curve: Mapping[str, Any]) -> float:
        auc = curve["auc"]
        return float(auc) if auc is not None and math.isfinite(auc) else 2.0

    curves = facts["roc"]
    if len(curves) > MAX_CURVES:
        curves = sorted(curves, key=worth)[:MAX_CURVES]
    return [str(curve["class"]) for curve in curves]


def _kind(name: str, shown: Sequence[str]) -> str:
    return f"c{shown.index(name)}" if name in shown else "other"


def _curves(
    axes: Axes, curves: Sequence[Mapping[str, Any]], shown: Sequence[str], value: str
) -> tuple[list[str], str, str]:
    """Return the curves, those in colour on top, their legend, and a note on the others."""
    ordered = sorted(curves, key=lambda curve: str(curve["class"]) in shown)
    marks = [
        axes.curve(finite(one["x"]), finite(one["y"]), _kind(str(one["class"]), shown))
        for one in ordered
    ]
    known = {str(one["class"]): one for one in curves}
    key = legend((_kind(name, shown), name, number(known[name][value])) for name in shown)
    rest = len(curves) - len(shown)
    return (
        marks,
        key,
        f" In colour the {len(shown)} classes of the lowest AUC, {rest} others in grey."
        if rest
        else "",
    )


def _roc(curves: Sequence[Mapping[str, Any]], shown: Sequence[str], classes: int) -> str:
    axes = Axes((0, 1), (0, 1), "false positive rate", "true positive rate")
    marks, key, note = _curves(axes, curves, shown, "auc")
    plot = axes.draw([axes.line((0, 0), (1, 1), "rule"), *marks], "ROC curves")
    if 1 < len(curves) < classes:
        note += f" There are curves of {len(curves)} of the {classes} classes."
    caption = f"With the area under each curve; chance is the dashed line, 0.5.{note}"
    return figure("ROC curve", plot + key, caption)


def _pr(curves: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> str:
    axes = Axes((0, 1), (0, 1), "recall", "precision")
    known = {str(one["class"]) for one in curves}
    names = [name for name in shown if name in known]
    marks, key, note = _curves(axes, curves, names, "average_precision")
    caption = f"With the average precision of each curve.{note}"
    return figure("Precision and recall", axes.draw(marks, "PR curves") + key, caption)


def _calibration(curves: Sequence[Mapping[str, Any]], shown: Sequence[str], calibrated: str) -> str:
    axes = Axes((0, 1), (0, 1), "predicted probability", "observed share")
    marks = [axes.line((0, 0), (1, 1), "rule")]
    for one in (curve for curve in curves if str(curve["class"]) in shown):
        kind = _kind(str(one["class"]), shown)
        known = [
            (float(x), float(y), int(n))
            for x, y, n in zip(one["predicted"], one["observed"], one["rows"], strict=True)
            if n
        ]
        xs, ys = finite([x for x, _, _ in known]), finite([y for _, y, _ in known])
        marks.append(axes.curve(xs, ys, kind))
        most = max((n for _, _, n in known), default=1)
        marks += [
            f'<circle class="{kind}" cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" '
            f'r="{1.5 + 4 * math.sqrt(n / most):.1f}"/>'
            for x, y, n in known
        ]
    key = legend((_kind(name, shown), name, "") for name in shown) if len(shown) > 1 else ""
    said = f" {calibrated[0].upper()}{calibrated[1:].rstrip('.')}." if calibrated else ""
    caption = f"On the dashed line a probability is right; a larger dot has more rows.{said}"
    return figure("Calibration", axes.draw(marks, "Calibration") + key, caption)


# Learning


def learning_curve(curve: Mapping[str, Any]) -> str:
    train, validation = finite(curve["train"]), finite(curve["validation"])
    metric, best = metric_name(curve["metric"]), curve["best"]
    rounds = finite(range(1, max(len(train), len(validation)) + 1))
    axes = Axes(
        (1, max(2, len(rounds))), _range(np.concatenate([train, validation])), "iteration", metric
    )
    marks = [
        axes.curve(rounds[: len(values)], np.clip(values, *axes.y_range), kind)
        for values, kind in ((train, "c1"), (validation, "c0"))
        if len(values)
    ]
    key = legend([("c0", "validation", ""), ("c1", "train", "")])
    plot = axes.draw([*marks, axes.upright(best)], f"Learning curve: {metric} by iteration")
    caption = f"Iteration {best:,} (dashed) did best on the validation split and was kept."
    return figure("Learning curve", plot + key, caption)


def _range(values: Floats) -> Range:
    return main_range(values) if len(values) else (0.0, 1.0)
