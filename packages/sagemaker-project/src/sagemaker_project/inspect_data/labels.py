"""The label: the problem, the positive class, the metric and its threshold.

The threshold is a fifth of the way from the trivial predictor (the mean, the most frequent class,
the shares of the classes) to a perfect one; for rmse and mae, which are not squares, a tenth. A
model that misses it has learned next to nothing; raise it where you know more about the data.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sagemaker_project.errors import UsageError
from sagemaker_project.inspect_data.findings import Answer, Cells, Doubt, Finding, Options, count
from sagemaker_project.inspect_data.numbers import Numbers, numbers_of, span
from sagemaker_project.tabular.schema import METRICS

CLASSES = 20  # of a label whose problem is not in doubt
MOST = 100  # classes
COUNTED = 10  # whole numbers from 0 or 1 on: rather classes than a quantity
DEFAULTS = {"regression": "rmse", "binary": "auc", "multiclass": "auc"}
POSITIVE = frozenset(
    (*("yes", "y", "true", "t", "1", "+", "positive", "pos", "present", "abnormal", "malignant"),)
    + ("sick", "disease", "ill", "fraud", "spam", "churn", "churned", "default", "defaulted", "bad")
    + ("failure", "failed", "fail", "anomaly", "attack", "dead", "died", "won", "bought", "accept")
    + ("clicked", "converted", ">50k", "ja", "oui", "si", "left", "lost", "cancelled", "late")
)
NEGATIVE = frozenset(
    (*("no", "n", "false", "f", "0", "-", "negative", "neg", "absent", "normal", "benign", "ham"),)
    + ("healthy", "ok", "good", "legitimate", "stayed", "retained", "none", "<=50k", "nein", "non")
    + ("control", "alive", "survived", "kept", "on time", "active")
)
NAMES = frozenset({"none", "na", "n/a"})  # mean no value, unless they are a class of the label
HUGE = 1e100  # its square is still a number
FAR = 1000  # quartile ranges from the median: a mistake, which must not make the threshold


class Label(NamedTuple):
    """What was decided about the label."""

    finding: Finding
    problem: str
    positive: str
    metric: str
    threshold: float
    chosen: str  # how the threshold is chosen
    shares: Mapping[str, float]  # of the classes

    @property
    def more_is_better(self) -> bool:
        return METRICS[self.problem][self.metric]


def inspect(cells: Cells, decimal: str, options: Options) -> Label:
    """Decide about the label.

    Raises:
        UsageError: it has one value or too many classes, or does not fit --problem.
    """
    words = _kept_words(cells)
    counts = {**cells.counts, **words}
    if len(counts) < 2:
        what = f"one value, {next(iter(counts))!r}" if counts else "no value"
        raise UsageError(f"column {cells.name}: the label has {what}; predict another column")
    numbers = numbers_of(cells, decimal)
    if cells.kind == "boolean":
        return _boolean(cells, options)
    is_text = cells.kind == "string" or bool(words) or _is_text(numbers)
    if options.types.get(cells.name, ("",))[0] == "string" or is_text:
        return _text(cells, counts, tuple(words), options)
    return _number(cells, numbers, options)


def _is_text(numbers: Numbers) -> bool:
    """A few words among numbers are mistakes in the file, and no reason to predict texts."""
    return numbers.share < 0.99


def _kept_words(cells: Cells) -> dict[str, int]:
    """Return the texts such as `none` that are a class here: as many rows as a class may have."""
    found = {
        text.strip(): rows
        for text, rows in Counter(cells.texts).items()
        if text.strip().lower() in NAMES
    }
    return {text: rows for text, rows in found.items() if rows >= 0.05 * len(cells.texts)}


def _missing(cells: Cells, kept: Sequence[str] = ()) -> tuple[Doubt, ...]:
    rows = cells.missing - sum(text.strip() in kept for text in cells.texts)
    if not rows:
        return ()
    text = f"column {cells.name}: {count(rows, 'row')} without a label; remove them from the file"
    return (Doubt(text),)


def _boolean(cells: Cells, options: Options) -> Label:
    shares = {"0": cells.counts["false"] / cells.rows, "1": cells.counts["true"] / cells.rows}
    finding = Finding(cells.name, "boolean", "label", "two classes", doubts=_missing(cells))
    return _classes(finding, shares, options, "binary")


def _text(
    cells: Cells, counts: Mapping[str, int], kept: tuple[str, ...], options: Options
) -> Label:
    if options.problem == "regression":
        example = next(iter(numbers_of(cells, ".").words), next(iter(counts)))
        raise UsageError(
            f"--problem regression: the label {cells.name} has texts such as {example!r};"
            " wanted numbers"
        )
    if len(counts) > MOST:
        raise UsageError(
            f"column {cells.name}: the label has {len(counts):,} different texts, wanted at most"
            f" {MOST} classes; is it the right column?"
        )
    rows = sum(counts.values())
    shares = {text: counts[text] / rows for text in sorted(counts)}
    words = "two classes" if len(counts) == 2 else f"{len(counts)} classes"
    doubts = _missing(cells, kept)
    if len(counts) > CLASSES and not options.problem:
        text = f"column {cells.name}: {len(counts)} different texts: are they classes?"
        doubts += (Doubt(text, (Answer("yes", "--problem", "multiclass"),)),)
    finding = Finding(
        cells.name, "string", "label", words, values=tuple(shares), kept=kept, doubts=doubts
    )
    return _classes(finding, shares, options, "binary" if len(counts) == 2 else "multiclass")


def _number(cells: Cells, numbers: Numbers, options: Options) -> Label:
    if len(numbers.values) < 2:
        raise UsageError(
            f"column {cells.name}: the label has fewer than two different values; predict another"
            " column"
        )
    doubts = _missing(cells)
    if numbers.words:
        word = next(iter(numbers.words))
        text = f"column {cells.name}: the label has {word!r}, which is no number; remove the row"
        doubts += (Doubt(text),)
    if numbers.sentinels:
        listed = ", ".join(numbers.sentinels)
        text = f"column {cells.name}: the label has {listed}, taken for no value; remove these rows"
        doubts += (Doubt(text),)
    if not numbers.are_whole:
        if options.problem not in ("", "regression"):
            raise UsageError(
                f"--problem {options.problem}: the label {cells.name} has fractions; wanted texts"
                " or whole numbers"
            )
        return _regression(cells, numbers, "number", doubts, options)
    problem, is_sure = _problem_of_whole(numbers)
    if not is_sure and not options.problem:
        doubts += (_may_be_classes(cells.name, numbers, problem),)
    problem = options.problem or problem
    if problem == "regression":
        return _regression(cells, numbers, "integer", doubts, options)
    if len(numbers.values) > MOST:
        raise UsageError(
            f"--problem {problem}: the label {cells.name} has {len(numbers.values):,} different"
            f" values, wanted at most {MOST} classes"
        )
    rows = sum(numbers.values.values())
    shares = {f"{value:.0f}": numbers.values[value] / rows for value in sorted(numbers.values)}
    reason = "two classes" if len(shares) == 2 else f"{len(shares)} classes"
    finding = Finding(cells.name, "integer", "label", reason, doubts=doubts)
    return _classes(finding, shares, options, "binary" if len(shares) == 2 else "multiclass")


def _problem_of_whole(numbers: Numbers) -> tuple[str, bool]:
    """Return the problem of a label of whole numbers, and whether it is sure."""
    low, high, n = min(numbers.values), max(numbers.values), len(numbers.values)
    if n == 2:
        return "binary", high - low == 1
    if n <= COUNTED and low in (0, 1) and high - low + 1 == n:
        return "multiclass", False
    return "regression", n > CLASSES


def _may_be_classes(name: str, numbers: Numbers, guess: str) -> Doubt:
    what = f"{len(numbers.values)} whole numbers, {span(numbers.values)}"
    classes = "binary" if len(numbers.values) == 2 else "multiclass"
    answers = (
        Answer("classes", "--problem", classes),
        Answer("a quantity", "--problem", "regression"),
    )
    ordered = answers if guess == classes else answers[::-1]
    return Doubt(f"column {name}: the label has {what}: classes, or a quantity?", ordered)


def _regression(
    cells: Cells, numbers: Numbers, type_: str, doubts: tuple[Doubt, ...], options: Options
) -> Label:
    reason = f"a quantity, {span(numbers.values)}"
    finding = Finding(cells.name, type_, "label", reason, missing=numbers.missing, doubts=doubts)
    metric = options.metric or DEFAULTS["regression"]
    threshold, chosen = _spread(_usual(list(_repeated(numbers))))[_known(metric, "regression")]
    return _label(finding, "regression", "", metric, threshold, chosen, {}, options)


def _repeated(numbers: Numbers) -> list[float]:
    return [value for value, rows in numbers.values.items() for _ in range(rows)]


def _usual(values: list[float]) -> list[float]:
    """Return the values without those that are absurdly far from the others."""
    values = [value for value in values if abs(value) < HUGE]
    if len(values) < 2:
        raise UsageError(f"the label has numbers above {HUGE:g}, which no metric can be made of")
    low, middle, high = statistics.quantiles(values, n=4)
    bound = FAR * (high - low)
    return [value for value in values if abs(value - middle) <= bound] if bound else values


def _spread(values: Sequence[float]) -> dict[str, tuple[float, str]]:
    """Return the threshold of each metric of a regression, and how it is chosen."""
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    middle = statistics.median(values)
    distance = statistics.fmean(abs(value - middle) for value in values)
    return {
        "mse": (0.8 * deviation**2, "a fifth below the variance of the label"),
        "rmse": (0.9 * deviation, "a tenth below the standard deviation of the label"),
        "mae": (0.9 * distance, "a tenth below the mean distance from the median of the label"),
        "r2": (0.2, "the mean of the label has 0"),
    }


def _classes(
    finding: Finding, shares: Mapping[str, float], options: Options, problem: str
) -> Label:
    problem = _asked(finding.name, problem, shares, options)
    doubts = finding.doubts
    positive = ""
    if problem == "binary":
        positive, doubt = _positive(finding.name, shares, options)
        doubts += doubt
    metric = options.metric or DEFAULTS[problem]
    trivial = TRIVIAL[_known(metric, problem)](shares, shares.get(positive, 0.0))
    perfect = 1.0 if METRICS[problem][metric] else 0.0
    threshold = trivial + 0.2 * (perfect - trivial)
    chosen = f"a fifth of the way from the trivial predictor, {trivial:.3g}, to {perfect:.0f}"
    reason = (
        finding.reason
        + ": "
        + ", ".join(f"{name} {_percent(shares[name])}" for name in list(shares)[:4])
    )
    reason += ", ..." if len(shares) > 4 else ""
    about = Finding(
        finding.name, finding.type, "label", reason, "", finding.values, (), finding.kept, doubts
    )
    return _label(about, problem, positive, metric, threshold, chosen, shares, options)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _asked(name: str, problem: str, shares: Mapping[str, float], options: Options) -> str:
    if options.problem in ("", problem):
        return problem
    raise UsageError(
        f"--problem {options.problem}: the label {name} has {len(shares)} classes, which is"
        f" {problem}"
    )


def _positive(
    name: str, shares: Mapping[str, float], options: Options
) -> tuple[str, tuple[Doubt, ...]]:
    """Return the positive class of two: by its name, else the rarer one, which is doubtful."""
    if options.positive:
        if options.positive not in shares:
            listed = " and ".join(map(repr, shares))
            raise UsageError(f"--positive {options.positive!r}: the label {name} has {listed}")
        return options.positive, ()
    low, high = shares
    if low.isdigit() and high.isdigit():
        return high, ()
    for one, other in ((high, low), (low, high)):
        if _says(one, POSITIVE) or _says(other, NEGATIVE) or other.lower() in _negations(one):
            if not (_says(other, POSITIVE) or _says(one, NEGATIVE)):
                return one, ()
            if _says(one, POSITIVE) and not _says(other, POSITIVE):
                return one, ()
    rarer = min(shares, key=lambda text: (shares[text], text))
    common = next(text for text in shares if text != rarer)
    answers = tuple(Answer(text, "--positive", text) for text in (rarer, common))
    return rarer, (Doubt(f"column {name}: which class is the positive one?", answers),)


def _says(text: str, words: frozenset[str]) -> bool:
    return text.lower().rstrip(".") in words


def _negations(text: str) -> set[str]:
    low = text.lower()
    return {f"{no}{between}{low}" for no in ("not", "no", "non") for between in (" ", "_", "-", "")}


def _entropy(shares: Mapping[str, float], _: float) -> float:
    return -sum(share * math.log(share) for share in shares.values() if share)


TRIVIAL: dict[str, Callable[[Mapping[str, float], float], float]] = {
    "auc": lambda shares, positive: 0.5,
    "accuracy": lambda shares, positive: max(shares.values()),
    "balanced_accuracy": lambda shares, positive: 1 / len(shares),
    "f1": lambda shares, positive: 2 * positive / (1 + positive),  # all are called positive
    "macro_f1": lambda shares, positive: 1 / len(shares),
    "precision": lambda shares, positive: positive,
    "recall": lambda shares, positive: 0.5,
    "log_loss": _entropy,
}


def _known(metric: str, problem: str) -> str:
    if metric not in METRICS[problem]:
        listed = ", ".join(METRICS[problem])
        raise UsageError(f"--metric {metric}: a {problem} problem has {listed}")
    return metric


def _label(
    finding: Finding,
    problem: str,
    positive: str,
    metric: str,
    threshold: float,
    chosen: str,
    shares: Mapping[str, float],
    options: Options,
) -> Label:
    if options.threshold is not None:
        threshold, chosen = options.threshold, "--metric"
    else:
        threshold = float(f"{threshold:.3g}")
    return Label(finding, problem, positive, metric, threshold, chosen, shares)
