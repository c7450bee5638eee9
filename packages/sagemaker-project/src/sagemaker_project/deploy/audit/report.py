"""The result of an audit as a page and as text: one line for each link."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sagemaker_project.deploy.endpoint_test_report import (
    Markup,
    code,
    escape,
    facts_card,
    moment,
    page,
    table,
    verdict_card,
)

CLASS = {"verified": "Passed", "recorded": "Inconclusive", "FAILED": "Failed"}  # of the style
SIGN = {"verified": "✓", "recorded": "·", "FAILED": "✗"}
MEANS = """<p class="below">Verified: recomputed, or compared with a source that does not depend on
the other. Recorded: one place alone says so. FAILED: two places contradict each other.</p>"""


def report_html(content: Mapping[str, Any]) -> str:
    """Return the page of the result of an audit."""
    title = f"Audit of {content['Subject']}"
    failed = content["Outcome"] == "Failed"
    facts = [
        ("Endpoint", code(content["EndpointName"])),
        ("Audited by", code(content["AuditedBy"])),
        ("Audited", moment(content["Time"])),
    ]
    parts = [
        f'<div class="over">Audit, {escape(content["Stage"])}</div>',
        f"<h1>{escape(content['EndpointName'])}</h1>",
        verdict_card("Failed" if failed else "Passed", content["Outcome"], content["Message"]),
        facts_card(facts),
        MEANS,
    ]
    for audit in content["Audits"]:
        parts += _sections(audit)
    return page(f"{title}: {content['Outcome']}", parts)


def _sections(audit: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{escape(audit['EndpointConfigName'])} {escape(audit['VariantName'])}</h2>"
    rows = [
        (
            _status(link["Status"]),
            link["Name"],
            _stacked(link["Value"], link["Source"], link["Note"]),
        )
        for link in audit["Links"]
    ]
    yield table("Links", ["status", "link", "value, and where it was read"], rows)
    if not audit["Predictions"]:
        return
    yield f"<h2>Predictions of {escape(audit['EndpointConfigName'])}, made anew</h2>"
    predictions = [
        (
            _status(one["Status"]),
            one["InferenceId"],
            _stacked(one["Value"], one["Time"], one["Note"]),
        )
        for one in audit["Predictions"]
    ]
    yield table("Predictions", ["status", "inference id", "made anew"], predictions)


def _stacked(value: str, *about: str) -> Markup:
    """Put what is known about a value below it: S3 URIs and ARNs do not fit side by side."""
    lines = "".join(f'<div class="soft">{escape(line)}</div>' for line in about if line)
    return Markup(f'<div class="wrap">{escape(value)}{lines}</div>')


def _status(status: str) -> Markup:
    return Markup(f'<span class="status {CLASS[status]}">{SIGN[status]} {status}</span>')


def text_rows(audit: Mapping[str, Any], one_by_one: bool) -> Sequence[Sequence[str]]:
    """Return the lines of an audit for a terminal: (status, link, value, source, note).

    Args:
        one_by_one: whether every prediction has its lines, else those alone that are not verified.
    """
    predictions = audit["Predictions"]
    shown = [one for one in predictions if one_by_one or one["Status"] != "verified"]
    captured = [
        ("recorded", "captured record", f"{one['InferenceId']} {one['Time']}", one["Captured"], "")
        for one in shown
    ]
    rows = [*captured, *map(_row, audit["Links"]), *map(_row, shown)]
    if predictions and not one_by_one:
        same = len(predictions) - len(shown)
        rows.append(
            ("", "predictions made anew", f"{same} of {len(predictions)} identical", "", "")
        )
    return rows


def _row(link: Mapping[str, str]) -> tuple[str, ...]:
    return link["Status"], link["Name"], link["Value"], link["Source"], link["Note"]
