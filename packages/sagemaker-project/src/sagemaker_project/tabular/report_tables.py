"""The tables of the evaluation report: the metric beside what it has to beat, classes, groups."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sagemaker_project.tabular.report_html import (
    MEANINGS,
    Markup,
    bar,
    code,
    escape,
    facts_card,
    folded,
    metric_name,
    name,
    number,
    prose,
    shortened,
    spread,
    table,
)
from sagemaker_project.tabular.schema import METRICS
from sagemaker_project.tabular.table import Floats

TOP_COLUMNS = 20  # of the importance; the others are folded
TILES = 4
FEW_ROWS = 30
SETTINGS = {"hyperparameters": "hyperparameter", "versions": "trained with"}
SHOWN_ELSEWHERE = {*SETTINGS, "label", "problem"}


class Rival(NamedTuple):
    """What the model's metric is compared with; `value` is None where there is none.

    `better` and `worse` say what a margin means; `note` stands where there is no margin.
    `refuses` tells whether the model is refused for being worse.
    """

    name: str
    value: float | None
    note: str
    better: str = "better by"
    worse: str = "worse by"
    refuses: bool = True


def comparison(facts: Mapping[str, Any]) -> str:
    """Return the metric that decides as bars: the model, threshold, trivial predictor, champion."""
    metric = facts["metric"]
    value, more = float(metric["value"]), bool(metric["more_is_better"])
    threshold = Rival(
        f"threshold (at {'least' if more else 'most'})",
        metric["threshold"],
        "",
        "met by",
        "missed by",
    )
    trivial = Rival("trivial predictor", facts["baseline"].get(metric["name"]), "not known")
    rivals = (threshold, trivial, _champion(facts))
    values = [value, *(one.value for one in rivals if one.value is not None)]
    largest = max((abs(one) for one in values if math.isfinite(one)), default=0) or 1.0
    mine = Markup(
        f'<td class="n"><b>{number(value)}</b> {spread(metric["standard_deviation"])}</td>'
    )
    rows: list[Sequence[object]] = [
        (Markup("<b>this model</b>"), bar(value / largest), mine, Markup(""))
    ]
    for one in rivals:
        share = bar((one.value or 0.0) / largest)
        rows.append((one.name, share, one.value, _margin(value, one, more)))
    direction = "more is better" if more else "less is better"
    return table(["", f"{metric_name(metric['name'])} ({direction})", "", ""], rows, "compare")


def _champion(facts: Mapping[str, Any]) -> Rival:
    champion, decision = facts["champion"], facts["decision"]
    if champion is None:
        return Rival("champion", None, "none serves", refuses=False)
    title, why = f"champion, version {champion['version']}", champion["why"]
    refuses = decision["gate"] == "champion"
    if not champion["comparable"]:
        return Rival(title, None, f"not comparable: {why}", refuses=refuses)
    worse = "within the tolerance, worse by" if decision["passed"] else "worse by"
    value = champion["metrics"].get(facts["metric"]["name"])
    return Rival(title, value, why or "not known", worse=worse, refuses=refuses)


def _margin(value: float, rival: Rival, more_is_better: bool) -> Markup:
    if rival.value is None:
        kind = "bad" if rival.refuses and rival.note.startswith("not comparable") else "soft"
        return Markup(f'<span class="{kind}">{escape(rival.note)}</span>')
    margin = (value - rival.value) * (1 if more_is_better else -1)
    share = abs(margin / rival.value) if rival.value else math.inf
    percent = f" ({share:.1%})" if share < 10 else ""  # beyond, the two numbers say enough
    by = f"{number(abs(margin))}{percent}"
    if margin > 0:
        return Markup(f'<span class="good">✓ {rival.better} {by}</span>')
    if margin == 0:
        return Markup('<span class="soft">equal</span>')
    if rival.refuses:
        return Markup(f'<span class="bad">✗ {rival.worse} {by}</span>')
    return Markup(f'<span class="soft">{rival.worse} {by}</span>')


def tiles(facts: Mapping[str, Any]) -> str:
    """Return the metric that decides and the first others, large."""
    cards = []
    for one in _ordered(facts)[:TILES]:
        value, deviation = _metric(facts["metrics"][one])
        cards.append(
            f'<div class="card"><div class="over">{escape(metric_name(one))}</div>'
            f'<div class="value">{number(value)}</div>'
            f'<div class="soft">{spread(deviation)}<br>{escape(MEANINGS.get(one, ""))}</div></div>'
        )
    return f'<div class="tiles">{"".join(cards)}</div>'


def _ordered(facts: Mapping[str, Any]) -> list[str]:
    """Return the names of the metrics: that which decides, those that could, all others."""
    names = dict.fromkeys([facts["metric"]["name"], *METRICS[facts["problem"]], *facts["metrics"]])
    return [one for one in names if one in facts["metrics"]]


def _metric(metric: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return metric.get("value"), metric.get("standard_deviation")


def metrics(facts: Mapping[str, Any]) -> str:
    """Return every metric of the model, the trivial predictor and a comparable champion."""
    champion, baseline = facts["champion"], facts["baseline"]
    theirs = champion["metrics"] if champion and champion["comparable"] else None
    rows = []
    for one in _ordered(facts):
        value, deviation = _metric(facts["metrics"][one])
        row: list[object] = [metric_name(one), value, deviation, baseline.get(one)]
        rows.append([*row, theirs.get(one)] if theirs is not None else row)
    header = ["metric", "this model", "±", "trivial predictor"]
    if not rows:
        return ""
    return table([*header, "champion"] if theirs is not None else header, rows) + _undefined(facts)


def _undefined(facts: Mapping[str, Any]) -> str:
    reasons = facts.get("undefined", {}).items()
    items = "".join(f"<li>No {metric_name(one)}: {prose(why)}.</li>" for one, why in reasons)
    return f'<ul class="soft">{items}</ul>' if items else ""


# Classes


def confusion(facts: Mapping[str, Any]) -> str:
    """Return the confusion matrix, each cell tinted by its share of the actual class."""
    names = [str(one) for one in facts["classes"]]
    numbered = len(names) > 8 or max(map(len, names)) > 12
    dense = " many" if len(names) > 12 else ""
    heads = [
        f'<th scope="col">{i if numbered else name(one)}</th>' for i, one in enumerate(names, 1)
    ]
    lines = []
    for i, (one, counts) in enumerate(zip(names, facts["confusion"], strict=True), 1):
        total = sum(counts) or 1
        cells = "".join(_heat(int(count), count / total) for count in counts)
        mark = f'<span class="soft">{i}</span> ' if numbered else ""
        lines.append(f'<tr><th scope="row">{mark}{name(one, 28)}</th>{cells}</tr>')
    return (
        f'<div class="card"><h3>Confusion matrix</h3><table class="confusion{dense}"><thead><tr>'
        f'<th scope="row" class="over">actual \\ predicted</th>{"".join(heads)}</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table><p class="soft">Rows are actual classes, columns '
        "predicted ones; darker is a larger share of the row.</p></div>"
    )


def _heat(count: int, share: float) -> str:
    return f'<td class="heat"><i style="opacity:{0.55 * share:.2f}"></i><span>{count:,}</span></td>'


def per_class(facts: Mapping[str, Any]) -> str:
    counts = np.asarray(facts["confusion"], dtype=np.int64)
    auc = {str(one["class"]): one["auc"] for one in facts["roc"]}
    precise = {str(one["class"]): one["average_precision"] for one in facts["pr"]}
    rows = []
    for i, one in enumerate(map(str, facts["classes"])):
        right, actual, predicted = int(counts[i, i]), int(counts[i].sum()), int(counts[:, i].sum())
        precision = right / predicted if predicted else None
        recall = right / actual if actual else None
        rows.append((one, actual, precision, recall, auc.get(one), precise.get(one)))
    header = ["class", "test rows", "precision", "recall", "AUC", "average precision"]
    return table(header, rows)


# Regression


def errors_by_range(actual: Floats, predicted: Floats, label: str) -> str:
    """Return the errors in up to five ranges of the label with about as many rows each."""
    edges = np.unique(np.quantile(actual, np.linspace(0, 1, 6)))
    which = np.clip(np.searchsorted(edges, actual, side="right") - 1, 0, max(len(edges) - 2, 0))
    rows = []
    for i in np.unique(which):
        values, errors = actual[which == i], (predicted - actual)[which == i]
        low, high = number(float(values.min())), number(float(values.max()))
        span = Markup(low if low == high else f"{low} to {high}")
        rows.append((span, len(errors), float(errors.mean()), float(np.abs(errors).mean())))
    actual_label = f"actual {shortened(label, 28)}"
    return table([actual_label, "rows", "mean error", "mean absolute error"], rows)


# Columns and groups


def importance(facts: Mapping[str, Any]) -> str:
    """Return what the metric loses when a column is shuffled, the largest first."""
    ordered = sorted(facts["importance"], key=lambda one: -one["value"])
    if not ordered:
        return ""
    largest = max(ordered[0]["value"], 0) or 1.0
    rows = [
        (one["column"], bar(one["value"] / largest), one["value"], one["standard_deviation"])
        for one in ordered
    ]
    metric = metric_name(facts["metric"]["name"])
    header = ["column", "", f"loss of {metric}", "±"]
    text = f"<p>What is lost of the {escape(metric)} when the column's values are shuffled.</p>"
    rest = rows[TOP_COLUMNS:]
    more = folded(f"{len(rest)} further columns", table(header, rest)) if rest else ""
    return f"<h2>Importance</h2>{text}{table(header, rows[:TOP_COLUMNS])}{more}"


def facets(facts: Mapping[str, Any]) -> str:
    """Return for each column to report by its groups, the weakest marked."""
    if not facts["facets"]:
        return ""
    parts = ["<h2>By group</h2>"]
    for column in dict.fromkeys(str(one["column"]) for one in facts["facets"]):
        groups = [one for one in facts["facets"] if str(one["column"]) == column]
        parts.append(f"<h3>{name(column)}</h3>{_groups(groups, facts)}")
    return "".join(parts)


def _groups(groups: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    metric, measured = facts["metric"], {key for one in groups for key in one["metrics"]}
    names = dict.fromkeys([metric["name"], *METRICS[facts["problem"]]])
    shown = [key for key in names if key in measured or key == metric["name"]]
    sign = 1 if metric["more_is_better"] else -1
    known = [
        sign * value
        for one in groups
        if (value := one["metrics"].get(metric["name"])) is not None and math.isfinite(value)
    ]
    weakest = min(known) if len(set(known)) > 1 else None
    rows = []
    for one in groups:
        values = [one["metrics"].get(key) for key in shown]
        is_weakest = weakest is not None and values[0] is not None and sign * values[0] == weakest
        marks = ' <span class="tag">weakest</span>' if is_weakest else ""
        marks += ' <span class="tag">few rows</span>' if one["rows"] < FEW_ROWS else ""
        rows.append((Markup(name(one["group"]) + marks), one["rows"], *values))
    return table(["group", "test rows", *map(metric_name, shown)], rows)


# Where it comes from


def settings(about: Mapping[str, Any]) -> list[str]:
    """Return the hyperparameters and the versions of what trained, a table each."""
    return [
        table([title, ""], [(key, Markup(escape(value))) for key, value in about[group].items()])
        for group, title in SETTINGS.items()
        if about.get(group)
    ]


def provenance(about: Mapping[str, Any]) -> str:
    """Return all but the settings as a list of its leaves."""
    leaves = list(_leaves({key: about[key] for key in about if key not in SHOWN_ELSEWHERE}))
    return f"<h2>Provenance</h2>{facts_card(leaves)}" if leaves else ""


def _leaves(about: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in about.items():
        label = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from _leaves(value, label)
        elif isinstance(value, Iterable) and not isinstance(value, str):
            yield label, ", ".join(map(str, value))
        elif value is not None and value != "":
            yield label, code(value)
