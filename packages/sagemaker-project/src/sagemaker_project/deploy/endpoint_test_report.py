"""The report of an endpoint test, for the person who decides whether the model goes to prod.

One self-contained page: no scripts, fonts or pictures from elsewhere. What the endpoint said is
shown as text. Colour never carries a meaning alone, so the page can be printed in grey.
"""

import html
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from sagemaker_project.deploy.answers import Scalar
from sagemaker_project.deploy.endpoint_test_result import (
    Check,
    Histogram,
    MalformedResult,
    Status,
    TestReport,
)

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #fff; --ink: #1d2430; --soft: #5d6778;
  --line: #e4e7ec; --mark: #2f6fdb; --good: #13693d; --good-paper: #e5f6ec; --bad: #a8200d;
  --bad-paper: #fdebe7; --open: #7a4a00; --open-paper: #fff2da }
@media (prefers-color-scheme: dark) { :root { --paper: #12151b; --card: #1a1f28; --ink: #e7eaf0;
  --soft: #9aa5b6; --line: #2b323e; --mark: #7aa7ff; --good: #7fdca6; --good-paper: #12301f;
  --bad: #ff9d8a; --bad-paper: #3b1913; --open: #ffd591; --open-paper: #33270f } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1000px; margin: 0 auto; padding: 40px 24px 72px }
h1 { font-size: 30px; line-height: 1.2; margin: 4px 0 24px; letter-spacing: -.01em;
  overflow-wrap: anywhere }
h2 { font-size: 19px; margin: 40px 0 12px }
p { margin: 0 0 12px; max-width: 72ch } .soft { color: var(--soft) }
.over { color: var(--soft); font-size: 12px; letter-spacing: .09em; text-transform: uppercase }
.card { min-width: 0; padding: 16px 18px; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; overflow-x: auto }
.verdict { display: flex; gap: 20px; align-items: center; padding: 20px 24px; border-radius: 12px;
  border: 1px solid; margin-bottom: 20px }
.verdict svg { width: 52px; height: 52px; flex: none }
.verdict strong { display: block; font-size: 26px; line-height: 1.2 }
.verdict p { margin: 4px 0 0; color: var(--ink) }
.Passed { color: var(--good) } .Failed { color: var(--bad) } .Inconclusive { color: var(--open) }
.verdict.Passed { background: var(--good-paper) } .verdict.Failed { background: var(--bad-paper) }
.verdict.Inconclusive { background: var(--open-paper) }
.tiles { display: grid; gap: 16px; margin: 20px 0;
  grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)) }
.value { font-size: 27px; font-weight: 650; line-height: 1.3; font-variant-numeric: tabular-nums;
  white-space: nowrap }
.value small { font-size: 15px; font-weight: 500; color: var(--soft) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 7px 24px; margin: 0;
  font-size: 14px }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
code { font: 13px/1.5 ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", monospace }
table { width: 100%; min-width: 560px; border-collapse: collapse; font-size: 14px }
th { text-align: left; color: var(--soft); font-weight: 500 }
th, td { padding: 7px 20px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top }
td { overflow-wrap: break-word; font-variant-numeric: tabular-nums }
tr > :last-child { padding-right: 0 } tbody tr:last-child > * { border-bottom: 0 }
.n { text-align: right; overflow-wrap: normal; white-space: nowrap }
.status { white-space: nowrap; font-weight: 600 }
.wrap { overflow-wrap: anywhere } .below { margin-top: 16px }
.plot { display: block; width: 100%; height: auto; min-width: 560px }
.plot text { fill: var(--soft); font-size: 12px } .plot .name { fill: var(--ink); font-weight: 600 }
.plot rect { fill: var(--mark) } .plot line { stroke: var(--line) }
.plot .rank { stroke: var(--ink); stroke-dasharray: 4 3 } .plot .limit { stroke: var(--bad) }
@media (max-width: 560px) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: 8px } }
@media print { :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000;
  --soft: #444; --line: #ccc; --mark: #2f6fdb; --good: #13693d; --good-paper: #fff;
  --bad: #a8200d; --bad-paper: #fff; --open: #7a4a00; --open-paper: #fff }
  main { padding: 0; max-width: none } .card, .verdict, tr { break-inside: avoid }
  h2 { break-after: avoid } .plot, table { min-width: 0 } td { overflow-wrap: anywhere } }
"""

SIGN = {"Failed": "✗", "Inconclusive": "?", "Passed": "✓"}
DRAWN = {
    "Passed": '<path d="M15 27l8 8 15-17"/>',
    "Failed": '<path d="M18 18l16 16M34 18L18 34"/>',
    "Inconclusive": '<path d="M19 21a7 7 0 1 1 10 6c-2 1-3 2-3 5M26 37v1"/>',
}
MEANS = {
    "Passed": "This package with these settings may go on to prod.",
    "Failed": "Prod refuses this package with these settings. Fix it, then test again.",
    "Inconclusive": "There was too little data to judge, so prod refuses it. Test again.",
}
NUMBER = ' class="n"'
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 920, 270, 44, 20, 46, 44


def report_html(report: TestReport) -> str:
    """Return the page of a result of run_test() and of what was tested."""
    status = report["Status"]
    title = f"Test of {report['EndpointName']}"
    parts = [
        f'<div class="over">Endpoint test, {escape(report["Stage"])}</div>',
        f"<h1>{escape(report['EndpointName'])}</h1>",
        verdict(report),
        tiles(report),
        "<h2>What was tested</h2>",
        facts(report),
        "<h2>Checks</h2>",
        table("Checks", ["result", "check", "wanted", "found"], check_rows(report["Checks"])),
        "<h2>Latency</h2>",
        latency(report),
        "<h2>Largest deviations</h2>",
        deviations(report),
        "<h2>Malformed requests</h2>",
        malformed(report["Malformed"]),
        *errors(report["ErrorKinds"]),
    ]
    return page(f"{title}: {status}", parts)


# What every report is made of


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page of HTML that needs no other file."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def verdict_card(status: Status, heading: str, text: str) -> str:
    icon = (
        '<svg viewBox="0 0 52 52" aria-hidden="true" fill="none" stroke="currentColor" '
        'stroke-width="4" stroke-linecap="round" stroke-linejoin="round">'
        f'<circle cx="26" cy="26" r="23" stroke-width="3"/>{DRAWN[status]}</svg>'
    )
    return (
        f'<div class="verdict {status}">{icon}<div><strong>{escape(heading)}</strong>'
        f"<p>{escape(text)}</p></div></div>"
    )


def facts_card(shown: Iterable[tuple[str, object]]) -> str:
    items = "".join(f"<dt>{name}</dt><dd>{marked(value)}</dd>" for name, value in shown)
    return f'<div class="card"><dl>{items}</dl></div>'


def escape(value: object) -> str:
    return html.escape(str(value))


# The sections


def verdict(report: TestReport) -> str:
    status, checks = report["Status"], report["Checks"]
    bad = [check["Name"] for check in checks if check["Status"] == status]
    found = f"All {len(checks)} checks passed."
    if status != "Passed":
        verb = "failed" if status == "Failed" else "could not be judged"
        found = f"{len(bad)} of {len(checks)} checks {verb}: {', '.join(bad)}."
    return verdict_card(status, status, f"{found} {MEANS[status]}")


def tiles(report: TestReport) -> str:
    sent, wrong = report["Invocations"], report["Errors"]
    times, limits = report["LatencyMilliseconds"], report["Limits"]
    largest = away(report["Worst"][0]["Deviation"]) if report["Worst"] else "0"
    if not judged(report):
        largest = "none"
    shown = [
        ("median latency", milliseconds(times["p50"]), f"limit {limits['MaxP50Milliseconds']:,g}"),
        ("p99 latency", milliseconds(times["p99"]), f"limit {limits['MaxP99Milliseconds']:,g}"),
        (
            "errors",
            f"{wrong} <small>of {sent:,}</small>",
            f"limit {limits['MaxErrorRate']:.2%}",
        ),
        ("largest deviation", largest, f"limit {limits['Tolerance']:g}"),
    ]
    cards = (
        f'<div class="card"><div class="over">{name}</div><div class="value">{value}</div>'
        f'<div class="soft">{limit}</div></div>'
        for name, value, limit in shown
    )
    return f'<div class="tiles">{"".join(cards)}</div>'


def milliseconds(value: float | None) -> str:
    return "none" if value is None else f"{short(value)} <small>ms</small>"


def short(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def judged(report: TestReport) -> bool:
    """Return whether the values of any answer were compared."""
    return any(c["Name"] == "Values" and c["Status"] != "Inconclusive" for c in report["Checks"])


def facts(report: TestReport) -> str:
    requests = report["Requests"]
    group, _, version = report["ModelPackageArn"].partition("model-package/")[2].rpartition("/")
    answered = ", ".join(f"{name} {count:,}" for name, count in requests["Variants"].items())
    shown = [
        ("Model", f"{group or 'unknown'}, version {version}"),
        ("Model package", code(report["ModelPackageArn"])),
        ("Endpoint", code(report["EndpointName"])),
        ("Endpoint configuration", code(report["EndpointConfigName"])),
        ("Hash of the settings", code(report["ConfigHash"])),
        ("Tested by", code(report["TestedBy"])),
        ("Tested", f"{moment(report['StartTime'])} to {moment(report['EndTime'])}"),
        (
            "Requests",
            f"{requests['Samples']} recorded samples with {requests['Records']:,} records, then "
            f"{requests['Timed']:,} timed, {requests['AtATime']} at a time",
        ),
        ("Answered by", answered or "nothing"),
    ]
    return facts_card(shown)


def moment(text: str) -> str:
    return text.replace("T", " ").replace("+00:00", " UTC")


class Markup(str):
    """Text that is HTML already."""


def code(value: object) -> Markup:
    return Markup(f"<code>{escape(value)}</code>")


def marked(value: object) -> str:
    return value if isinstance(value, Markup) else escape(value)


def check_rows(checks: Iterable[Check]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each check, those that failed first."""
    for check in sorted(checks, key=lambda check: list(SIGN).index(check["Status"])):
        status = check["Status"]
        sign = Markup(f'<span class="status {status}">{SIGN[status]} {status}</span>')
        yield sign, check["Name"], check["Wanted"], check["Found"]


def deviations(report: TestReport) -> str:
    tolerance = f"{report['Limits']['Tolerance']:g}"
    if not report["Worst"]:
        same = "Every prediction equals the recorded one, to the last digit."
        return f"<p>{same if judged(report) else 'There were no predictions.'}</p>"
    rows: list[tuple[object, ...]] = [
        (
            deviation["Sample"],
            deviation["Record"],
            deviation["Where"].removeprefix("."),
            scalar(deviation["Expected"]),
            scalar(deviation["Found"]),
            away(deviation["Deviation"]),
        )
        for deviation in report["Worst"]
    ]
    header = ["sample", "record", "value", "recorded", "found", "deviation"]
    if not any(deviation["Where"] for deviation in report["Worst"]):
        header.remove("value")
        rows = [row[:2] + row[3:] for row in rows]
    wanted = f"<p>Wanted: at most {tolerance} from what the model predicted in its pipeline.</p>"
    return wanted + table("Largest deviations", header, rows, numbers=range(6))


def scalar(value: Scalar) -> str:
    return f"{value:.10g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def away(distance: float | None) -> str:
    return "another value" if distance is None else f"{distance:.3g}"


def malformed(requests: Sequence[MalformedResult]) -> str:
    if not requests:
        return "<p>None were sent.</p>"
    rows = [
        (
            request["Name"],
            code(request["ContentType"]),
            request["Recorded"],
            "not sent" if request["Status"] is None else request["Status"],
            request["Message"] or "",
        )
        for request in requests
    ]
    wanted = "<p>Wanted: a 4xx for the client, and an endpoint that still answers.</p>"
    header = ["request", "Content-Type", "model gave", "endpoint gave", "answer"]
    return wanted + table("Malformed requests", header, rows)


def errors(kinds: Mapping[str, int]) -> Iterator[str]:
    if kinds:
        yield "<h2>Errors</h2>"
        yield table("Errors", ["error", "times"], kinds.items(), numbers=[1])


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    numbers: Collection[int] = (),
) -> str:
    """Return a table; `numbers` are the columns that are aligned to the right."""

    def line(tag: str, opening: str, values: Sequence[object]) -> str:
        cells = "".join(
            f"<{opening}{NUMBER if column in numbers else ''}>{marked(value)}</{tag}>"
            for column, value in enumerate(values)
        )
        return f"<tr>{cells}</tr>"

    head = line("th", 'th scope="col"', header)
    body = "".join(line("td", "td", row) for row in rows)
    return (
        f'<div class="card" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


# The histogram


def latency(report: TestReport) -> str:
    times, limits = report["LatencyMilliseconds"], report["Limits"]
    ranks = {"p50": times["p50"], "p90": times["p90"], "p99": times["p99"], "max": times["max"]}
    known = {name: value for name, value in ranks.items() if value is not None}
    if not known:
        return "<p>Nothing was timed.</p>"
    values = ", ".join(f"{name} {short(value)} ms" for name, value in known.items())
    del known["max"]
    plot = histogram(report["Histogram"], known, limits["MaxP99Milliseconds"], values)
    return (
        f'<div class="card" role="region" tabindex="0" aria-label="Latency">{plot}'
        f'<div class="soft">{escape(values)}. As this client saw it, network included; the scale '
        "is logarithmic.</div></div>"
    )


def histogram(bins: Histogram, ranks: Mapping[str, float], limit: float, description: str) -> str:
    """Return the histogram as SVG, with a line at each of `ranks` and at the limit of p99."""
    low, high, most = bins["Edges"][0], bins["Edges"][-1], max(bins["Counts"])
    floor = HEIGHT - BOTTOM

    def x(value: float) -> float:
        share = math.log(min(max(value, low), high) / low) / math.log(high / low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def upright(value: float, kind: str) -> str:
        at = f"{x(value):.1f}"
        return f'<line class="{kind}" x1="{at}" y1="{TOP - 6}" x2="{at}" y2="{floor}"/>'

    marks = [f'<line x1="{LEFT}" y1="{floor}" x2="{WIDTH - RIGHT}" y2="{floor}"/>']
    marks += [text(x(tick), floor + 18, f"{tick:g}") for tick in ticks(low, high)]
    marks += bars(bins, x)
    marks += [text(LEFT - 8, TOP + 4, most, "end"), text(LEFT - 8, floor + 4, 0, "end")]
    for row, (name, value) in enumerate(ranks.items()):
        marks.append(upright(value, "rank"))
        marks.append(text(x(value), TOP - 10 - 14 * (row % 2), name, "middle", "name"))
    if low < limit <= high:
        marks += [upright(limit, "limit"), text(x(limit), TOP - 34, "p99 limit", "middle", "name")]
    marks.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "milliseconds"))
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Histogram of latency: {escape(description)}">{"".join(marks)}</svg>'
    )


def bars(bins: Histogram, x: Callable[[float], float]) -> Iterator[str]:
    """Yield a bar for each bin that is not empty; the highest is as high as the plot."""
    edges, counts, floor = bins["Edges"], bins["Counts"], HEIGHT - BOTTOM
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            width = max(x(right) - x(left) - 1.5, 1)
            height = max(count / max(counts) * (floor - TOP), 1.5)
            yield (
                f'<rect x="{x(left):.1f}" y="{floor - height:.1f}" width="{width:.1f}" '
                f'height="{height:.1f}" rx="2"/>'
            )


def text(x: float, y: float, value: object, anchor: str = "middle", kind: str = "") -> str:
    opening = f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
    return f"{opening}{escape(value)}</text>"


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers between the two, few enough to be readable."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = math.log10(high / low)
    steps = (1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 3.5 else (1,)
    return [v for p in powers for step in steps if low <= (v := step * 10.0**p) <= high]
