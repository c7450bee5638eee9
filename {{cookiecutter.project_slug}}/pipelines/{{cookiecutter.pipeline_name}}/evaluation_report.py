"""The HTML report of evaluate.py: metrics, plots, the data and where all of it comes from.

It is made from numbers and text alone: nothing here reads a file or loads a model. Every text of
the data or the model is escaped.
"""

import html
import math

import numpy as np

MAX_POINTS = 1_500  # in a plot

# Plots, as SVG

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 460, 320, 48, 44, 14, 14


class Axes:
    """Map values to the pixels of a plot, and draw its grid and titles."""

    def __init__(self, x_range, y_range):
        self.x_ticks, self.x_range = ticks(*x_range)
        self.y_ticks, self.y_range = ticks(*y_range)

    def x(self, value):
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)

    def line(self, x1, y1, x2, y2, kind):
        points = self.x(x1), self.y(y1), self.x(x2), self.y(y2)
        return '<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'.format(
            kind, *points
        )

    def draw(self, x_title, y_title, marks, description):
        grid = [self.line(x, self.y_range[0], x, self.y_range[1], "grid") for x in self.x_ticks]
        grid += [self.line(self.x_range[0], y, self.x_range[1], y, "grid") for y in self.y_ticks]
        base = HEIGHT - BOTTOM + 16
        texts = [
            f'<text x="{self.x(x):.1f}" y="{base}" text-anchor="middle">{x:g}</text>'
            for x in self.x_ticks
        ]
        texts += [
            f'<text x="{LEFT - 8}" y="{self.y(y) + 4:.1f}" text-anchor="end">{y:g}</text>'
            for y in self.y_ticks
        ]
        middle = (HEIGHT - BOTTOM + TOP) / 2
        texts.append(
            f'<text class="title" x="{(WIDTH + LEFT - RIGHT) / 2}" y="{HEIGHT - 6}" '
            f'text-anchor="middle">{escape(x_title)}</text>'
            f'<text class="title" x="12" y="{middle}" text-anchor="middle" '
            f'transform="rotate(-90 12 {middle})">{escape(y_title)}</text>'
        )
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">'
            + "".join([*grid, *texts, *marks])
            + "</svg>"
        )


def ticks(low, high):
    """Return four to nine round numbers that enclose the range, and the range that they span."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 7)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [i * step for i in range(first, last + 1)], (first * step, last * step)


def thinned(values):
    return values[:: math.ceil(len(values) / MAX_POINTS)]


def dots(axes, xs, ys):
    points = zip(thinned(xs), thinned(ys), strict=True)
    return [f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="2.4"/>' for x, y in points]


def plot_predicted(actual, predicted, label):
    low, high = min(actual.min(), predicted.min()), max(actual.max(), predicted.max())
    axes = Axes((low, high), (low, high))
    ideal = axes.line(*[axes.x_range[0]] * 2, *[axes.x_range[1]] * 2, "rule")
    marks = [*dots(axes, actual, predicted), ideal]
    text = "Scatter plot of predicted against actual values"
    return axes.draw(f"actual {label}", f"predicted {label}", marks, text)


def plot_residuals(actual, predicted, label):
    residuals = predicted - actual
    reach = float(np.abs(residuals).max())
    axes = Axes((predicted.min(), predicted.max()), (-reach, reach))
    zero = axes.line(axes.x_range[0], 0, axes.x_range[1], 0, "rule")
    marks = [*dots(axes, predicted, residuals), zero]
    text = "Scatter plot of residuals against predicted values"
    return axes.draw(f"predicted {label}", "predicted - actual", marks, text)


def plot_histogram(actual, predicted):
    residuals = predicted - actual
    counts, edges = np.histogram(residuals, bins=31)
    axes = Axes((edges[0], edges[-1]), (0, counts.max()))
    marks = []
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        x, width = axes.x(left) + 0.5, max(axes.x(right) - axes.x(left) - 1, 0.5)
        y, base = axes.y(count), axes.y(0)
        marks.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{base - y:.1f}"/>')
    marks.append(axes.line(0, 0, 0, axes.y_range[1], "rule"))
    return axes.draw("predicted - actual", "test rows", marks, "Histogram of the residuals")


# The page

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #fff; --ink: #1d2430; --soft: #667085;
  --line: #e6e8ec; --mark: #2f6fdb; --rule: #d9480f; --warn: #fff4e0; --warn-ink: #7a4a00 }
@media (prefers-color-scheme: dark) { :root { --paper: #12151b; --card: #1a1f28; --ink: #e7eaf0;
  --soft: #98a2b3; --line: #2b323e; --mark: #7aa7ff; --rule: #ff9960; --warn: #33270f;
  --warn-ink: #ffd591 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1000px; margin: 0 auto; padding: 48px 24px 72px }
h1 { font-size: 30px; line-height: 1.2; margin: 4px 0 8px; letter-spacing: -.01em }
h2 { font-size: 19px; margin: 40px 0 12px }
h3 { font-size: 14px; margin: 0 0 8px }
p { margin: 0 0 12px; max-width: 70ch } .soft { color: var(--soft) }
.over { color: var(--soft); font-size: 12px; letter-spacing: .09em; text-transform: uppercase }
.pair, .tiles { display: grid; gap: 16px }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)) }
.tiles { grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); margin: 24px 0 }
.card { min-width: 0; padding: 16px 18px; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; overflow-x: auto }
.value { font-size: 30px; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums }
table { width: 100%; border-collapse: collapse; font-size: 14px }
td { font-variant-numeric: tabular-nums }
th { text-align: left; color: var(--soft); font-weight: 500 }
th, td { padding: 7px 20px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top }
td { overflow-wrap: anywhere }
tr > :last-child { padding-right: 0 } tr:last-child > * { border-bottom: 0 }
.n { text-align: right; overflow-wrap: normal }
.notes { margin: 0 0 16px; padding: 12px 18px 12px 34px; border-radius: 10px;
  background: var(--warn); color: var(--warn-ink) }
svg { display: block; width: 100%; height: auto; margin-bottom: 10px }
svg text { fill: var(--soft); font-size: 11px } svg .title { fill: var(--ink); font-size: 12px }
svg .grid { stroke: var(--line) }
svg .rule { stroke: var(--rule); stroke-width: 1.5; stroke-dasharray: 5 4 }
svg circle, svg rect { fill: var(--mark); fill-opacity: .42 } svg rect { fill-opacity: .75 }
@media print { body { background: #fff } .card { break-inside: avoid } }
"""

MEANING = {
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "r2": "share of variance explained",
}


def escape(value):
    return html.escape(str(value))


def number(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def table(header, rows):
    """Return a card with a table; numbers are aligned to the right, texts are escaped."""
    rows = [list(row) for row in rows]
    columns = zip(*rows, strict=True)
    right = [all(isinstance(value, int | float) for value in column) for column in columns]

    def line(tag, values):
        cells = (
            f'<{tag} class="n">{value}</{tag}>' if is_right else f"<{tag}>{value}</{tag}>"
            for value, is_right in zip(values, right, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    head = line("th", map(escape, header))
    body = (
        line("td", (number(v) if isinstance(v, int | float) else escape(v) for v in row))
        for row in rows
    )
    return f'<div class="card"><table>{head}{"".join(body)}</table></div>'


def tiles(metrics):
    cards = [
        f'<div class="card"><div class="over">{name.replace("2", "²")}</div>'
        f'<div class="value">{number(metric["value"])}</div><div class="soft">± '
        f"{metric['standard_deviation']:.2g}<br>{MEANING[name]}</div></div>"
        for name, metric in metrics.items()
    ]
    return f'<div class="tiles">{"".join(cards)}</div>'


def errors_by_range(actual, predicted):
    """Yield the errors in up to five ranges of the label, which have about as many rows each."""
    edges = np.unique(np.quantile(actual, np.linspace(0, 1, 6)))
    which = np.clip(np.searchsorted(edges, actual, side="right") - 1, 0, len(edges) - 2)
    for index in range(len(edges) - 1):
        errors = (predicted - actual)[which == index]
        values = actual[which == index]
        if len(errors):
            low, high = f"{values.min():g}", f"{values.max():g}"
            span = low if low == high else f"{low} to {high}"
            yield span, len(errors), float(errors.mean()), float(np.abs(errors).mean())


def data_section(data):
    """Return the content of data_report.json as HTML."""
    splits = ", ".join(f"{count:,} {name}" for name, count in data["splits"].items())
    notes = [
        f"{item['count']:,} row(s) {kind}: {item['column']} {item['reason']} (line "
        + ", ".join(str(example["line"]) for example in item["examples"])
        + ")"
        for kind in ("dropped", "suspicious")
        for item in data[kind]
    ]
    items = "".join(f"<li>{escape(note)}</li>" for note in [*notes, *data["warnings"]])
    return (
        f"<h2>Data</h2><p>{data['rows']['read']:,} rows read, {data['rows']['dropped']:,} dropped; "
        f"the rest split by seed {escape(data['seed'])} into {escape(splits)}.</p>"
        + (f'<ul class="notes">{items}</ul>' if items else "")
        + table(["column", "kind", "missing", "values"], column_rows(data["columns"]))
    )


def column_rows(columns):
    for name, column in columns.items():
        if column["kind"] == "categorical":
            values = ", ".join(f"{key} {count:,}" for key, count in column["categories"].items())
        elif "mean" in column:
            values = "{minimum:.4g} to {maximum:.4g}, mean {mean:.4g}".format(**column)
        else:
            values = "none"
        yield name, column["kind"], column["missing"], values


def figure(title, svg, caption):
    return (
        f'<div class="card"><h3>{escape(title)}</h3>{svg}'
        f'<div class="soft">{escape(caption)}</div></div>'
    )


def page(metrics, actual, predicted, about_data, provenance):
    """Return the whole report as one HTML page that needs no other file."""
    label = provenance["label"]
    baseline = float(actual.var())
    shown = len(thinned(actual))
    sample = f"{shown:,} of {len(actual):,} test rows. " if shown < len(actual) else ""
    figures = (
        figure(
            "Predicted against actual",
            plot_predicted(actual, predicted, label),
            f"{sample}On the dashed line a prediction is exact.",
        ),
        figure(
            "Residuals",
            plot_residuals(actual, predicted, label),
            f"{sample}A good model scatters evenly about zero.",
        ),
        figure("How large the errors are", plot_histogram(actual, predicted), "All test rows."),
    )
    hashes = [
        (provenance["data"]["file"], provenance["data"]["sha256"]),
        ("test.csv", provenance["test"]["sha256"]),
        ("model.tar.gz", provenance["model"]["sha256"]),
        ("samples.json", provenance["samples"]["sha256"]),
    ]
    settings = [(name, str(value)) for name, value in provenance["hyperparameters"].items()]
    parts = [
        f'<div class="over">Model evaluation</div><h1>Predicting {escape(label)}</h1>',
        f'<p class="soft">{len(actual):,} test rows that training never saw, answered by the '
        "code that will serve the model.</p>",
        tiles(metrics),
        f"<p>Always predicting the mean of the test split would give an mse of "
        f"{number(baseline)}; the model's is {metrics['mse']['value'] / baseline:.0%} of that. "
        "± is the standard deviation of the estimate.</p>",
        f'<div class="pair">{"".join(figures[:2])}</div>',
        "<h2>Where it errs</h2>",
        f'<div class="pair">{figures[2]}',
        table(
            [f"actual {label}", "rows", "mean error", "mean absolute error"],
            errors_by_range(actual, predicted),
        ),
        f'</div>{about_data}<h2>Model</h2><div class="pair">',
        table(["hyperparameter", "value"], settings),
        table(["trained with", "version"], provenance["versions"].items()),
        "</div><h2>Provenance</h2>",
        table(["file", "sha256"], hashes),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Model evaluation: {escape(label)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )
