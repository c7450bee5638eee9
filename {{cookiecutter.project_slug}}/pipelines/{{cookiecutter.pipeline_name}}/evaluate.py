"""Score the model on the test split through the code that will serve it, and write a report.

model.tar.gz is unpacked into a temporary folder. Then its own code runs with all the rights of this
process: its pickle is loaded and its code/inference.py answers CSV requests made of the test rows,
so evaluate only a model whose origin you trust. The answers are compared with the label. Written to
the output folder:
  evaluation.json   regression_metrics in SageMaker's Model Quality format
  provenance.json   the data, model, versions and hyperparameters that these metrics belong to
  samples.json      requests and this model's answers to them, for the test of an endpoint
  report.html       the same for people, in one file that needs no other

standard_deviation is that of the metric's estimate, so it says how far another test split of this
size would move the metric: each metric is, to first order, a mean over rows, so its standard
deviation is that of the rows divided by the square root of their number (for rmse and r2 by the
delta method). evaluation_report.py and model_archive.py travel with this script.

Exit codes: 0 done, 1 the machine failed, 2 the data, the model or the arguments are wrong.
"""

import argparse
import base64
import contextlib
import csv
import hashlib
import io
import json
import math
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

import evaluation_report
import numpy as np
from model_archive import BadInput, load_model, unpack

REQUEST_CHARACTERS = 1024**2  # at most 4 MiB in UTF-8, which is below InvokeEndpoint's limit
CSV, JSON, NPY = "text/csv", "application/json", "application/x-npy"
MANY_ROWS = 100  # records of the largest sample request
FEW = 3  # every third of these records is also sent in the other forms
MAX_MESSAGE = 1024  # bytes of an ExitMessage
REGISTERED = re.compile(r"[\w .:/=+@-]{1,256}")  # what the metadata of a model package may hold


# Predictions


def predict(inference, model, about, path):
    """Return two arrays: the label of each test row, and the model's prediction for it."""
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
        raise BadInput(f"{path}, line {line}: {text!r} is not a label")
    return value


# Sample requests, for the test of an endpoint


def sample_requests(inference, model, about, path, count):
    """Return requests with the model's answers, and malformed requests with their status."""
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
    """Return rows evenly spread over the test split, as lists of text."""
    wanted = {index * count // MANY_ROWS for index in range(MANY_ROWS)}
    bodies = (io.StringIO(body, newline="") for body, _ in requests(path, about))
    rows = (row for body in bodies for row in csv.reader(body))
    return [row for index, row in enumerate(rows) if index in wanted]


def well_formed(rows, about):
    """Yield (request, its number of records): single rows in each form in turn, then batches."""
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
    """Return the values of a CSV row for JSON: numbers, text, and None where one is missing."""
    return [
        (float(text) if name in about["numeric"] else text) if text.strip() else None
        for name, text in zip(about["features"], row, strict=True)
    ]


def answer(inference, model, request):
    """Call the three functions as the container does; return what output_fn returns."""
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
            "4xx: the mistake is the client's"
        )
    return status


# Metrics


@np.errstate(all="ignore")  # values that are not finite are refused below
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
    # {metric: (its value, the contribution of each row to it)}
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
            output / "report.html": evaluation_report.page(
                metrics, actual, predicted, about_data, provenance
            ),
            output / "samples.json": samples,
            output / "provenance.json": as_json(provenance),
            output / "evaluation.json": as_json({"regression_metrics": metrics}),
        }
    )
    return metrics


def read_data_report(folder):
    """Return where the data came from, and the report's section on it as HTML."""
    path = folder / "data_report.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        url, fits = data["url"], REGISTERED.fullmatch(data["url"])
        about = {
            "file": data["file"],
            "sha256": data["data_sha256"],
            "url": url,
            "registered_url": url if fits else "see provenance.json",
        }
        return about, evaluation_report.data_section(data)
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
    """Write all files under temporary names, then rename them: a failure leaves none of them."""
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
    """Write one line to stderr and to the file that becomes the job's ExitMessage; exit code."""
    line = f"evaluate.py: {error}"
    print(line, file=sys.stderr)
    if path:
        with contextlib.suppress(OSError):  # a failure to write the message must not hide the error
            path.parent.mkdir(parents=True, exist_ok=True)
            short = line.encode(errors="replace")[:MAX_MESSAGE].decode(errors="ignore")
            path.write_text(short, encoding="utf-8")
    return 2 if isinstance(error, BadInput) else 1


if __name__ == "__main__":
    sys.exit(main())
