"""Whether a model is registered: by threshold, trivial predictor and champion."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sagemaker_project.tabular.gate import Champion, decide
from sagemaker_project.tabular.schema import Metric
from sagemaker_project.tabular.table import BadInput

pytestmark = pytest.mark.fast

MSE = Metric("mse", 6.0, more_is_better=False)
AUC = Metric("auc", 0.8, more_is_better=True)
ARN = "arn:aws:sagemaker:eu-west-1:111122223333:model-package/abalone/3"


def champion(metric: Metric, value: float) -> Champion:
    return Champion(ARN, 3, {metric.name: value})


OLD = Champion(ARN, 3, {}, comparable=False, why="it was made under another split rule")


@pytest.mark.parametrize(
    ("metric", "value", "baseline", "best", "tolerance", "gate"),
    [
        (MSE, 5.0, 10.0, None, 0.0, ""),
        (MSE, 6.0, 10.0, None, 0.0, ""),  # the threshold itself passes
        (MSE, 6.1, 10.0, None, 0.0, "threshold"),
        (MSE, 5.0, 5.0, None, 0.0, "trivial"),  # as good is not better
        (MSE, 5.0, 4.9, None, 0.0, "trivial"),
        (MSE, 5.0, 10.0, 5.0, 0.0, ""),  # as good as the champion is not worse
        (MSE, 5.0, 10.0, 4.9, 0.0, "champion"),
        (MSE, 5.0, 10.0, 4.9, 0.05, ""),
        (MSE, 5.0, 10.0, 4.7, 0.05, "champion"),
        (MSE, 0.1, 10.0, 0.0, 0.05, "champion"),
        (AUC, 0.9, 0.5, None, 0.0, ""),
        (AUC, 0.8, 0.5, None, 0.0, ""),
        (AUC, 0.79, 0.5, None, 0.0, "threshold"),
        (AUC, 0.85, 0.85, None, 0.0, "trivial"),
        (AUC, 0.9, 0.5, 0.91, 0.0, "champion"),
        (AUC, 0.9, 0.5, 0.91, 0.02, ""),
        (AUC, 0.9, 0.5, 0.89, 0.0, ""),
        (AUC, 0.4, 0.5, 0.9, 0.0, "threshold"),  # the first of three
        (Metric("r2", -1.0, True), -0.5, -0.9, -0.4, 0.1, "champion"),
        (Metric("r2", -1.0, True), -0.5, -0.9, -0.4, 0.3, ""),
    ],
)
def test_three_gates(
    metric: Metric, value: float, baseline: float, best: float | None, tolerance: float, gate: str
) -> None:
    serving = None if best is None else champion(metric, best)
    decision = decide(metric, value, baseline, serving, tolerance)
    assert (decision.passed, decision.gate) == (not gate, gate)


@pytest.mark.parametrize(
    ("metric", "value", "baseline", "serving", "text"),
    [
        (MSE, 7.25, 10.0, None, "refused: mse is 7.25, at most 6 is wanted: worse by 1.25"),
        (AUC, 0.75, 0.5, None, "refused: auc is 0.75, at least 0.8 is wanted: worse by 0.05"),
        (
            *(MSE, 5.0, 4.5, None),
            "refused: mse is 5, and a trivial predictor, which looks at no column, reaches 4.5: "
            "worse by 0.5",
        ),
        (
            *(MSE, 5.0, 10.0, champion(MSE, 4.0)),
            "refused: mse is 5, and the champion (version 3) reaches 4 on the same rows: worse by "
            "1, 0.08 (0.02 of its value) is tolerated",
        ),
        (
            *(MSE, 5.0, 10.0, OLD),
            "refused: the champion (version 3) is not comparable: it was made under another split "
            "rule; give Champion=none to register without the comparison",
        ),
        (
            *(MSE, 5.0, 10.0, champion(MSE, 5.5)),
            "passed: mse is 5, at most 6 is wanted; a trivial predictor reaches 10; the champion "
            "(version 3) 5.5 on the same rows",
        ),
        (
            *(MSE, 5.0, 10.0, None),
            "passed: mse is 5, at most 6 is wanted; a trivial predictor reaches 10; there is no "
            "champion to compare with",
        ),
    ],
)
def test_the_text_says_which_and_by_how_much(
    metric: Metric, value: float, baseline: float, serving: Champion | None, text: str
) -> None:
    assert decide(metric, value, baseline, serving, 0.02).text == text


def test_all_that_refuse_are_named() -> None:
    text = decide(MSE, 11.0, 10.0, champion(MSE, 5.0), 0.0).text
    assert (
        text.count(";") == 2 and "at most 6" in text and "trivial" in text and "version 3" in text
    )


def test_a_champion_without_the_metric_refuses() -> None:
    assert decide(MSE, 5.0, 10.0, Champion(ARN, 3, {"mae": 1.0}), 0.5).gate == "champion"


@pytest.mark.parametrize("tolerance", [-0.1, math.nan, math.inf])
def test_a_tolerance_that_is_none_is_refused(tolerance: float) -> None:
    with pytest.raises(BadInput, match="tolerance"):
        decide(MSE, 5.0, 10.0, None, tolerance)


anything = st.floats(allow_nan=True, allow_infinity=True)


@given(st.sampled_from([MSE, AUC]), anything, anything, anything, st.floats(0, 1))
def test_a_model_that_passes_is_better_in_every_way(
    metric: Metric, value: float, baseline: float, best: float, tolerance: float
) -> None:
    decision = decide(metric, value, baseline, champion(metric, best), tolerance)
    assert "\n" not in decision.text
    assert decision.passed == (decision.gate == "") == decision.text.startswith("passed")
    if decision.passed:
        sign = 1 if metric.more_is_better else -1
        assert sign * value >= sign * metric.threshold
        assert sign * value > sign * baseline
        assert sign * value >= sign * best - tolerance * abs(best)
    if not all(map(math.isfinite, (value, baseline, best))):
        assert not decision.passed
