"""The evaluation report: one HTML page for people, which needs no other file and no script.

It is made of `facts` alone (see metrics.py): nothing here reads a file or loads a model. The
verdict comes first, then why: the metric beside its threshold, the trivial predictor and the model
that serves. `RUN` is the place for what only run-pipeline knows: commit, date, execution, package.

    report_style.py    the style sheet
    report_html.py     escaping, names, numbers, tables
    report_svg.py      axes
    report_plots.py    plots of predictions and of learning
    report_tables.py   metrics, classes, groups, importance, provenance
    report_data.py     rows, warnings and columns
"""

from collections.abc import Mapping
from typing import Any

from sagemaker_project.tabular import report_data, report_plots, report_tables
from sagemaker_project.tabular.report_html import escape, name, pair, prose
from sagemaker_project.tabular.report_style import STYLE
from sagemaker_project.tabular.report_svg import finite

RUN = "<!-- run -->"
FEW_CLASSES = 4  # whose tables fit beside a plot
REFUSED = {
    "threshold": "Refused: it misses the threshold",
    "trivial": "Refused: no better than the trivial predictor",
    "champion": "Refused: not as good as the champion",
}
PROBLEMS = {
    "regression": "regression",
    "binary": "binary classification",
    "multiclass": "multiclass classification",
}
DRAWN = {True: "M15 27l8 8 15-17", False: "M18 18l16 16M34 18L18 34"}


def page(facts: Mapping[str, Any]) -> str:
    """Return the whole report as HTML."""
    label = facts["label"]
    parts = [
        f'<div class="over">Model evaluation, {PROBLEMS[facts["problem"]]}</div>',
        f"<h1>Predicting {name(label)}</h1>",
        f'<p class="soft">{len(facts["actual"]):,} test rows that training never saw, answered by '
        "the code that will serve the model.</p>",
        _verdict(facts["decision"], facts["champion"]),
        report_tables.comparison(facts),
        RUN,
        "<h2>Metrics</h2>",
        report_tables.tiles(facts),
        report_tables.metrics(facts),
        '<p class="soft">± is the standard deviation of the estimate.</p>',
        _regression(facts) if facts["problem"] == "regression" else _classes(facts),
        _training(facts),
        report_tables.importance(facts),
        report_tables.facets(facts),
        report_data.section(facts["data"]),
        report_tables.provenance(facts["provenance"]),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Model evaluation: {escape(label)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _verdict(decision: Mapping[str, Any], champion: Mapping[str, Any] | None) -> str:
    passed = bool(decision["passed"])
    heading = "Registered" if passed else REFUSED.get(decision["gate"], "Refused")
    if decision["gate"] == "champion" and champion and not champion["comparable"]:
        heading = "Refused: not comparable with the champion"
    text = decision["text"].removeprefix("refused: ").removeprefix("passed: ")
    return (
        f'<div class="verdict {"good" if passed else "bad"}"><svg viewBox="0 0 52 52" '
        'aria-hidden="true" fill="none" stroke="currentColor" stroke-width="4" '
        'stroke-linecap="round" stroke-linejoin="round"><circle cx="26" cy="26" r="23" '
        f'style="fill:none" stroke-width="3"/><path d="{DRAWN[passed]}"/></svg>'
        f"<div><strong>{escape(heading)}</strong><p>{prose(text)}</p></div></div>"
    )


def _regression(facts: Mapping[str, Any]) -> str:
    actual, predicted = finite(facts["actual"]), finite(facts["predicted"])
    errors = [
        report_plots.residual_histogram(actual, predicted),
        report_tables.errors_by_range(actual, predicted, facts["label"]),
    ]
    return f"<h2>Where it errs</h2>{report_plots.regression(facts)}{pair(errors)}"


def _classes(facts: Mapping[str, Any]) -> str:
    tables = report_tables.confusion(facts) + report_tables.per_class(facts)
    plots = report_plots.classes(facts)
    if len(facts["classes"]) <= FEW_CLASSES:
        return f"<h2>Classes</h2>{pair([f'<div>{tables}</div>', *plots])}"
    return f"<h2>Classes</h2>{tables}{pair(plots)}"


def _training(facts: Mapping[str, Any]) -> str:
    curve = facts["learning_curve"]
    cards = [report_plots.learning_curve(curve)] if curve else []
    settings = "".join(report_tables.settings(facts["provenance"]))
    cards += [f"<div>{settings}</div>"] if settings else []
    return f"<h2>Training</h2>{pair(cards)}" if cards else ""
