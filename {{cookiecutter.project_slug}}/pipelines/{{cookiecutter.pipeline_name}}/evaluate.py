"""Score the model on the test split, through the very code that will serve it, and report.

model.tar.gz is unpacked into a temporary folder, and nothing in it is written elsewhere. Then the
archive's own code runs, with all the rights of this process: its pickle is loaded and its
code/inference.py answers CSV requests made of the test rows, so evaluate only a model whose origin
you trust. The answers are compared with the label. Written to the output folder:
  evaluation.json   regression_metrics in the Model Quality format of SageMaker
  provenance.json   which data, model, versions and hyperparameters these metrics belong to
  samples.json      requests and the answers that this model gives, for the test of an endpoint
  report.html       the same for people, one file that needs nothing else

standard_deviation is that of the metric's own estimate, as another test split of this size would
move it: each metric is, to first order, a mean over rows, so its spread is that of the rows divided
by the square root of their number (the delta method for rmse and r2).

Exit codes: 0 done, 1 the machine failed, 2 the data, the model or the arguments are wrong.
"""

import argparse
import base64
import contextlib
import csv
import errno
import hashlib
import html
import importlib.util
import io
import json
import math
import os
import platform
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

MAX_MEMBERS = 1_000
MAX_UNPACKED = 4 * 1024**3  # bytes
REQUEST_CHARACTERS = 1024**2  # at most 4 MiB in UTF-8: below the limit of InvokeEndpoint
MAX_POINTS = 1_500  # in a plot
CSV, JSON, NPY = "text/csv", "application/json", "application/x-npy"
MANY_ROWS = 100  # of a sample request: more than inference.py answers without a data frame
FEW = 3  # every third of them is asked in the other forms as well
MAX_MESSAGE = 1024  # bytes of an ExitMessage


class BadInput(Exception):
    """A mistake in the data, the model or the arguments, told in one line."""


# The model


def unpack(archive, folder):
    """Extract only plain files that stay inside the folder; no links, devices, owners or modes."""
    if not archive.is_file():
        raise BadInput(f"{archive}: not there; --model is the folder that holds model.tar.gz")
    size, seen = 0, set()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                path = safe_path(archive, member)
                size += member.size
                if path in seen:
                    raise BadInput(f"{archive}: member {member.name!r} occurs twice")
                if len(seen) >= MAX_MEMBERS or size > MAX_UNPACKED:
                    raise BadInput(
                        f"{archive}: more than {MAX_MEMBERS} members or {MAX_UNPACKED:,} bytes"
                    )
                seen.add(path)
                if member.isfile():
                    target = folder / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with tar.extractfile(member) as source, target.open("xb") as copy:
                        while block := source.read(1 << 20):
                            copy.write(block)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        # gzip's own complaints have no number; the other two are a file that is also a folder.
        if getattr(error, "errno", None) not in (None, errno.EEXIST, errno.ENOTDIR):
            raise
        raise BadInput(f"{archive}: not a whole gzipped tar file ({error})") from None


def safe_path(archive, member):
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise BadInput(f"{archive}: member {member.name!r} would be written outside the folder")
    if not (member.isfile() or member.isdir()):
        raise BadInput(f"{archive}: member {member.name!r} is a link or a device, not a file")
    return path


def load_model(archive, folder):
    """The artifact's own inference module, the model it loads, and what model.json says of it."""
    script, about = folder / "code" / "inference.py", folder / "model.json"
    for path in (script, about):
        if not path.is_file():
            raise BadInput(f"{archive}: no {path.relative_to(folder)}; train.py did not make this")
    about = read_about(archive, about)
    spec = importlib.util.spec_from_file_location("artifact_inference", script)
    inference = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(inference)
        return inference, inference.model_fn(str(folder)), about
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"{archive}: the model does not load: {reason}") from None


def read_about(archive, path):
    try:
        about = json.loads(path.read_bytes())
        return {
            "label": about["label"],
            "features": [feature["name"] for feature in about["features"]],
            "numeric": {item["name"] for item in about["features"] if item["kind"] == "numeric"},
            "versions": dict(about["versions"]),
            "hyperparameters": dict(about["hyperparameters"]),
        }
    except (ValueError, LookupError, TypeError) as error:
        raise BadInput(f"{archive}: model.json is not as train.py writes it ({error!r})") from None


# Predictions


def predict(inference, model, about, path):
    """The label of each test row and the model's prediction for it."""
    actual, predicted = [], []
    for body, labels in requests(path, about):
        prediction = inference.predict_fn(inference.input_fn(body, "text/csv"), model)
        if isinstance(prediction, inference.ClientError):
            raise BadInput(f"{path}: the model refuses a request of its rows: {prediction}")
        text, _ = inference.output_fn(prediction, "text/csv")
        predicted += map(float, text.split("\n"))
        actual += labels
    if len(predicted) != len(actual):
        raise BadInput(f"{path}: {len(predicted)} predictions for {len(actual)} rows")
    if len(actual) < 2:
        raise BadInput(f"{path}: {len(actual)} row(s); metrics need at least 2")
    return np.array(actual), np.array(predicted)


def requests(path, about):
    """Yield CSV bodies of test rows, in the model's column order, each with its rows' labels."""
    if not path.is_file():
        raise BadInput(f"{path}: not there; preprocess.py writes it")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        names = [*about["features"], about["label"]]
        if absent := [name for name in names if name not in header]:
            raise BadInput(f"{path}: no column {absent[0]!r}; it has {', '.join(header) or 'none'}")
        *features, label = (header.index(name) for name in names)
        body, labels = io.StringIO(), []
        writer = csv.writer(body, lineterminator="\n")
        for fields in reader:
            if len(fields) != len(header):
                raise BadInput(f"{path}, line {reader.line_num}: not as preprocess.py writes it")
            labels.append(label_value(fields[label], path, reader.line_num))
            writer.writerow([fields[position] for position in features])
            if body.tell() > REQUEST_CHARACTERS:
                yield body.getvalue(), labels
                body.seek(0)
                body.truncate()
                labels = []
        if labels:
            yield body.getvalue(), labels


def label_value(text, path, line):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f"{path}, line {line}: {text!r} is no label")
    return value


# Sample requests, for the test of an endpoint


def sample_requests(inference, model, about, path, count):
    """Requests that the model answers, and malformed ones that it refuses, each with how."""
    rows = sample_rows(path, about, count)
    return {
        "label": about["label"],
        "samples": [
            {**request, "expected": expected_of(inference, model, request, number)}
            for request, number in well_formed(rows, about)
        ],
        "malformed": [
            {**request, "status": refusal_of(inference, model, request)}
            for request in malformed(rows[0], about)
        ],
    }


def sample_rows(path, about, count):
    """Rows of the test split, evenly spread over it, as lists of text."""
    wanted = {index * count // MANY_ROWS for index in range(MANY_ROWS)}
    bodies = (io.StringIO(body, newline="") for body, _ in requests(path, about))
    rows = (row for body in bodies for row in csv.reader(body))
    return [row for index, row in enumerate(rows) if index in wanted]


def well_formed(rows, about):
    """Yield (request, its number of records): single rows in turn as each form, then batches."""
    few = rows[::FEW]
    records = [json_record(row, about) for row in few]
    objects = [dict(zip(about["features"], record, strict=True)) for record in records]
    for index, row in enumerate(few):
        forms = (
            (CSV, CSV, csv_body([row])),
            (CSV, JSON, csv_body([row])),
            (JSON, JSON, json.dumps(records[index])),
            (JSON, JSON, json.dumps(objects[index])),
        )
        yield request(*forms[index % len(forms)]), 1
    for accept in (CSV, JSON):
        yield request(CSV, accept, csv_body(few)), len(few)
        yield request(CSV, accept, csv_body(rows)), len(rows)
    for content in (records, objects, {"instances": records}, {"instances": objects}):
        yield request(JSON, JSON, json.dumps(content)), len(few)


def malformed(row, about):
    good, npy = csv_body([row]), io.BytesIO()
    np.save(npy, np.zeros((1, len(row))))
    yield {"name": "empty body", **request(CSV, JSON, "")}
    yield {"name": "broken JSON", **request(JSON, JSON, '{"instances": [[')}
    yield {"name": "one value too many", **request(CSV, JSON, csv_body([[*row, "0"]]))}
    for position, name in enumerate(about["features"]):
        if name in about["numeric"]:
            text = [*row[:position], "many", *row[position + 1 :]]
            yield {"name": f"text as {name}", **request(CSV, JSON, csv_body([text]))}
            break
    yield {"name": "unknown Content-Type", **request("text/plain", JSON, good)}
    yield {"name": "unknown Accept", **request(CSV, "image/png", good)}
    content = base64.b64encode(npy.getvalue()).decode()
    yield {"name": "npy", "content_type": NPY, "accept": JSON, "body_base64": content}


def request(content_type, accept, body):
    return {"content_type": content_type, "accept": accept, "body": body}


def csv_body(rows):
    body = io.StringIO()
    csv.writer(body, lineterminator="\n").writerows(rows)
    return body.getvalue()


def json_record(row, about):
    """The values of a CSV row as JSON has them; null where one is missing."""
    return [
        (float(text) if name in about["numeric"] else text) if text.strip() else None
        for name, text in zip(about["features"], row, strict=True)
    ]


def answer(inference, model, request):
    """What output_fn returns, as the container calls the three functions."""
    body = request.get("body")
    if body is None:
        body = base64.b64decode(request["body_base64"])
    rows = inference.input_fn(body, request["content_type"])
    return inference.output_fn(inference.predict_fn(rows, model), request["accept"])


def expected_of(inference, model, request, number):
    form = f"{request['content_type']} for {request['accept']}, {number} record(s)"
    try:
        text, kind = answer(inference, model, request)
        values = text.split("\n") if kind == CSV else json.loads(text)["predictions"]
        values = [float(value) for value in values]
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"model.tar.gz: no predictions for a sample ({form}): {reason}") from None
    if kind != request["accept"] or len(values) != number or not all(map(math.isfinite, values)):
        raise BadInput(
            f"model.tar.gz: a sample ({form}) is answered by {len(values)} value(s) as {kind}; "
            "wanted one finite number for each record"
        )
    return values


def refusal_of(inference, model, request):
    name = request["name"]
    try:
        status = getattr(answer(inference, model, request), "status_code", 200)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"model.tar.gz: its code fails on a request with {name}: {reason}") from None
    if not 400 <= status < 500:
        raise BadInput(
            f"model.tar.gz: its code answers a request with {name} with status {status}, wanted "
            "4xx: a client must be told of its mistake"
        )
    return status


# Metrics


@np.errstate(all="ignore")  # what is not finite is refused below
def regression_metrics(actual, predicted):
    errors = predicted - actual
    squared, absolute = errors**2, np.abs(errors)
    deviation = (actual - actual.mean()) ** 2
    mse, variance = squared.mean(), deviation.mean()
    if variance == 0:
        raise BadInput(
            f"the label of all {len(actual)} test rows is {actual[0]:g}: r2 is undefined"
        )
    rmse, unexplained = math.sqrt(mse), mse / variance
    # Each value beside the rows' contributions to it.
    found = {
        "mse": (mse, squared),
        "rmse": (rmse, squared / (2 * rmse) if rmse else squared),
        "mae": (absolute.mean(), absolute),
        "r2": (1 - unexplained, (squared - unexplained * deviation) / variance),
    }
    metrics = {
        name: {
            "value": float(value),
            "standard_deviation": float(rows.std(ddof=1) / math.sqrt(len(rows))),
        }
        for name, (value, rows) in found.items()
    }
    for name, metric in metrics.items():
        if not all(map(math.isfinite, metric.values())):
            raise BadInput(f"regression_metrics.{name} is not finite: {metric}")
    return metrics


# The report's plots, as SVG

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 460, 320, 48, 44, 14, 14


class Axes:
    """Maps values to a plot's pixels and draws its grid and its titles."""

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
    """Round numbers about the range, four to nine of them, and the range they span."""
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


# The report

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
    """A card with a table; columns of numbers are aligned to the right, texts are escaped."""
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
    """Where along the label the model errs: up to five ranges with about as many rows each."""
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
    """What data_report.json says, as HTML."""
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


def report(metrics, actual, predicted, about_data, provenance):
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


# Command


def evaluate(model_folder, test, data_report, output):
    archive = model_folder / "model.tar.gz"
    data, about_data = read_data_report(data_report)
    with tempfile.TemporaryDirectory() as folder:
        unpack(archive, Path(folder))
        inference, model, about = load_model(archive, Path(folder))
        actual, predicted = predict(inference, model, about, test / "test.csv")
        samples = sample_requests(inference, model, about, test / "test.csv", len(actual))
    metrics = regression_metrics(actual, predicted)
    samples = as_json(samples)
    provenance = {
        "label": about["label"],
        "data": data,
        "test": {"sha256": sha256_of(test / "test.csv"), "rows": len(actual)},
        "model": {"sha256": sha256_of(archive)},
        "samples": {"sha256": hashlib.sha256(samples.encode()).hexdigest()},
        "versions": about["versions"],
        "evaluated_with": {"python": platform.python_version(), "numpy": np.__version__},
        "hyperparameters": about["hyperparameters"],
    }
    write_all(
        {
            output / "report.html": report(metrics, actual, predicted, about_data, provenance),
            output / "samples.json": samples,
            output / "provenance.json": as_json(provenance),
            output / "evaluation.json": as_json({"regression_metrics": metrics}),
        }
    )
    return metrics


def read_data_report(folder):
    """Which data it was, and the section on it as HTML."""
    path = folder / "data_report.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {"file": data["file"], "sha256": data["data_sha256"]}, data_section(data)
    except FileNotFoundError:
        raise BadInput(f"{path}: not there; preprocess.py writes it") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: not a report as preprocess.py writes it ({error!r})") from None


def sha256_of(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def as_json(content):
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_all(texts):
    """Write every file under a temporary name, then give all their names."""
    parts = {path: path.with_name(f".{path.name}.part") for path in texts}
    try:
        for path, part in parts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(texts[path], encoding="utf-8", newline="\n")
        for path, part in parts.items():
            os.replace(part, path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise BadInput(f"{message}; see --help")


def parse(argv, args=None):
    parser = Parser(description="Score the model on the test split.", allow_abbrev=False)
    base = Path("/opt/ml/processing")
    outputs = "folder for evaluation.json, provenance.json, samples.json and report.html"
    for name, default, text in (
        ("--message", None, "file for the reason of a failure (a job's /opt/ml/output/message)"),
        ("--model", base / "model", "folder of model.tar.gz"),
        ("--test", base / "test", "folder of test.csv"),
        ("--data-report", base / "report", "folder of data_report.json"),
        ("--evaluation", base / "evaluation", outputs),
    ):
        parser.add_argument(name, type=Path, default=default, help=text)
    return parser.parse_args(argv, args)


def main(argv=None):
    args = argparse.Namespace()  # filled as far as parsing gets
    try:
        parse(argv, args)
        metrics = evaluate(args.model, args.test, args.data_report, args.evaluation)
    except (BadInput, OSError) as error:
        return fail(error, args.message)
    for name, metric in metrics.items():
        print(f"test:{name}={metric['value']!r} +- {metric['standard_deviation']:.2g}")
    return 0


def fail(error, path):
    """One line to stderr and, where wanted, to the file that becomes the job's ExitMessage."""
    line = f"evaluate.py: {error}"
    print(line, file=sys.stderr)
    if path:
        with contextlib.suppress(OSError):  # the error counts, not that it cannot be noted
            path.parent.mkdir(parents=True, exist_ok=True)
            short = line.encode(errors="replace")[:MAX_MESSAGE].decode(errors="ignore")
            path.write_text(short, encoding="utf-8")
    return 2 if isinstance(error, BadInput) else 1


if __name__ == "__main__":
    sys.exit(main())
