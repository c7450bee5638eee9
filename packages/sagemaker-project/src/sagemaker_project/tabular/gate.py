"""Whether a model is registered: three gates, each a comparison of the metric that decides.

    threshold  at least (or at most) what schema.json or the pipeline parameter says
    trivial    strictly better than the trivial predictor on the same rows
    champion   not worse than the model that serves, on the same rows, by more than a tolerance: a
               share of the champion's value, so that one number fits every metric

Without a champion the third holds. With one that is not comparable it does not: Champion=none says
that it is to be left out. The text names every gate that refuses and by how much; `gate` is the
first of them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sagemaker_project.tabular.schema import Metric
from sagemaker_project.tabular.table import BadInput

THRESHOLD, TRIVIAL, CHAMPION = "threshold", "trivial", "champion"


@dataclass(frozen=True)
class Champion:
    """The model that serves, and its metrics on the rows of this test split if it is comparable."""

    package: str  # its ARN
    version: int
    metrics: Mapping[str, float]
    comparable: bool = True
    why: str = ""  # it is not comparable


class Decision(NamedTuple):
    passed: bool
    gate: str  # the first that refuses, or ""
    text: str


def decide(
    metric: Metric, value: float, baseline: float, champion: Champion | None, tolerance: float
) -> Decision:
    """Return whether a model is registered, and why, in one line.

    Args:
        value: the model's metric.
        baseline: the trivial predictor's.
        tolerance: the share of the champion's value by which the model may be worse, from 0.

    Raises:
        BadInput: the tolerance is not a number from 0.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise BadInput(f"the champion's tolerance is {tolerance}; wanted a number from 0")
    refusals = [
        *_threshold(metric, value),
        *_trivial(metric, value, baseline),
        *_champion(metric, value, champion, tolerance),
    ]
    if refusals:
        gates, texts = zip(*refusals, strict=True)
        return Decision(False, gates[0], f"refused: {'; '.join(texts)}")
    return Decision(True, "", _passed(metric, value, baseline, champion))


def _shortfall(metric: Metric, value: float, wanted: float) -> float:
    """Return by how much a value is worse than another; NaN if one of them is."""
    return wanted - value if metric.more_is_better else value - wanted


def _threshold(metric: Metric, value: float) -> Iterator[tuple[str, str]]:
    if not (math.isfinite(value) and metric.passes(value)):
        gap = _shortfall(metric, value, metric.threshold)
        yield THRESHOLD, f"{metric.name} is {value:.6g}, {_bound(metric)} is wanted: {_off(gap)}"


def _trivial(metric: Metric, value: float, baseline: float) -> Iterator[tuple[str, str]]:
    gap = _shortfall(metric, value, baseline)
    if not (math.isfinite(baseline) and gap < 0):
        yield (
            TRIVIAL,
            f"{metric.name} is {value:.6g}, and a trivial predictor, which looks at no column, "
            f"reaches {baseline:.6g}: {'no better' if gap == 0 else _off(gap)}",
        )


def _champion(
    metric: Metric, value: float, champion: Champion | None, tolerance: float
) -> Iterator[tuple[str, str]]:
    if champion is None:
        return
    name = f"the champion (version {champion.version})"
    if not champion.comparable:
        yield (
            CHAMPION,
            f"{name} is not comparable: {champion.why}; give Champion=none to register without "
            "the comparison",
        )
        return
    best = champion.metrics.get(metric.name, math.nan)
    gap, tolerated = _shortfall(metric, value, best), tolerance * abs(best)
    if not (math.isfinite(best) and gap <= tolerated):
        yield (
            CHAMPION,
            f"{metric.name} is {value:.6g}, and {name} reaches {best:.6g} on the same rows: "
            f"{_off(gap)}, {tolerated:.3g} ({tolerance:.3g} of its value) is tolerated",
        )


def _passed(metric: Metric, value: float, baseline: float, champion: Champion | None) -> str:
    parts = [
        f"{metric.name} is {value:.6g}, {_bound(metric)} is wanted",
        f"a trivial predictor reaches {baseline:.6g}",
    ]
    if champion:
        best = champion.metrics[metric.name]
        parts.append(f"the champion (version {champion.version}) {best:.6g} on the same rows")
    else:
        parts.append("there is no champion to compare with")
    return f"passed: {'; '.join(parts)}"


def _bound(metric: Metric) -> str:
    return f"{'at least' if metric.more_is_better else 'at most'} {metric.threshold:.6g}"


def _off(gap: float) -> str:
    return "not a number" if math.isnan(gap) else f"worse by {gap:.3g}"
