"""Serve the model: the four functions that the scikit-learn container calls.

This file travels inside model.tar.gz and needs nothing else of the project. The archive also has
model.json (columns, hashes, versions), model.joblib (the fitted Pipeline) and trees.json.

Requests: text/csv, one record a line, no header, columns in the training order; or
application/json: a record, a list of records, or {"instances": [records]}, where a record is a list
in the training order or an object by column name. An empty field or null is a missing value.
Answers: application/json {"predictions": [...]}, or text/csv with one prediction a line.

A client's mistake must not be raised, because the container answers every exception with a 500.
So input_fn and predict_fn return it as a value, a ClientError, and output_fn turns it into the
response: 400, 406, 413 or 415 with {"error": "what, in which row and column"}.

Speed: for a few rows, Pipeline.predict spends nearly all of its time on a data frame. trees.json
holds the same model as plain numbers, which model_fn turns into one Python function. Training
writes it only if it gives exactly the same predictions. More rows go to the Pipeline.
"""

import csv
import hashlib
import io
import json
import math
import os
from typing import Any, NamedTuple

MAX_BODY = 6_291_456  # bytes; SageMaker's own limit for InvokeEndpoint
FEW_ROWS = 128
MEDIA_TYPES = ("application/json", "text/csv")


class ClientError(Exception):
    """A request that cannot be answered: an HTTP status and the message for the client."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Rows(NamedTuple):
    """Records of a request, as lists or dicts; in CSV every value is text."""

    records: list
    is_text: bool


class Feature(NamedTuple):
    name: str
    categorical: bool
    missing: frozenset


class Model(NamedTuple):
    features: tuple
    pipeline: Any
    score_row: Any  # a function of one record's values; None without trees.json


# The container's functions


def model_fn(model_dir):
    with open(os.path.join(model_dir, "model.json"), encoding="utf-8") as file:
        about = json.load(file)
    check_version(about["versions"]["scikit-learn"])
    # Each file is read once: the bytes that are checked are the bytes that are loaded.
    contents = {name: read_checked(model_dir, name, sha) for name, sha in about["files"].items()}

    import joblib

    pipeline = joblib.load(io.BytesIO(contents["model.joblib"]))
    trees = contents.get("trees.json")
    score_row = compile_trees(json.loads(trees)) if trees else None
    return Model(features_of(about), pipeline, score_row)


def input_fn(body, content_type):
    try:
        kind = media_type(content_type)
        text = body_text(body)
        if kind == "text/csv":
            return Rows(csv_records(text), is_text=True)
        return Rows(json_records(text), is_text=False)
    except ClientError as error:
        return error


def predict_fn(rows, model):
    if isinstance(rows, ClientError):
        return rows
    try:
        values = [
            row_values(record, number, rows.is_text, model.features)
            for number, record in enumerate(rows.records, start=1)
        ]
    except ClientError as error:
        return error
    if model.score_row and len(values) <= FEW_ROWS:
        return [model.score_row(*row) for row in values]
    return model.pipeline.predict(data_frame(values, model.features)).tolist()


def output_fn(prediction, accept):
    if isinstance(prediction, ClientError):
        return error_response(prediction)
    kind = accepted(accept)
    if kind == "application/json":
        return json.dumps({"predictions": prediction}), kind
    if kind == "text/csv":
        return "\n".join(map(repr, prediction)), kind
    return error_response(
        ClientError(406, f"cannot answer as {accept!r}; accept {' or '.join(MEDIA_TYPES)}")
    )


# Loading


def check_version(trained_with):
    """Raise RuntimeError for another minor version: a pickle may not work there."""
    import sklearn

    if trained_with.split(".")[:2] != sklearn.__version__.split(".")[:2]:
        raise RuntimeError(
            f"model.json: the model was trained with scikit-learn {trained_with}, this is "
            f"{sklearn.__version__}; serve it with that version, or train again with this one"
        )


def read_checked(model_dir, name, expected):
    with open(os.path.join(model_dir, name), "rb") as file:
        content = file.read()
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise RuntimeError(
            f"{name}: its sha256 is {found}, model.json says {expected}; "
            "the artifact was changed after training and is not loaded"
        )
    return content


def features_of(schema):
    return tuple(
        Feature(item["name"], item["kind"] == "categorical", frozenset(item.get("missing", ())))
        for item in schema["features"]
    )


def data_frame(values, features):
    import pandas

    columns = zip(*values, strict=True)
    return pandas.DataFrame(
        {feature.name: column for feature, column in zip(features, columns, strict=True)}
    )


def compile_trees(model):
    """Return a function from the values of a record to its prediction.

    Its source is made from numbers only (through int and float), so that the file cannot inject
    code. The trees are summed in scikit-learn's order, which gives the same last digit.
    """
    names, lines, scope, count = [], [], {}, 0
    for index, column in enumerate(model["inputs"]):
        value = f"v{int(column['feature'])}"
        names.append(value)
        if "codes" in column:
            width = len(column["unseen"])
            targets = "".join(f"x{count + i}, " for i in range(width))
            scope[f"codes{index}"] = column["codes"]
            scope[f"unseen{index}"] = column["unseen"]
            lines.append(f"{targets} = codes{index}.get({value}, unseen{index})")
            count += width
        else:
            fill = float(column["fill"])
            lines.append(f"x{count} = {fill!r} if {value} != {value} else {value}")
            count += 1
    lines.append(f"total = {float(model['baseline'])!r}")
    lines += [f"total += {tree_source(tree)}" for tree in model["trees"]]
    if model["link"] == "log":
        # numpy's exp may differ from math's in the last digit.
        import numpy

        scope["exp"] = numpy.exp
        lines.append("return float(exp(total))")
    else:
        lines.append("return total")
    names.sort(key=lambda name: int(name[1:]))
    source = f"def score_row({', '.join(names)}):\n" + "".join(f"    {line}\n" for line in lines)
    exec(compile(source, "trees.json", "exec"), scope)
    return scope["score_row"]


def tree_source(node):
    if not isinstance(node, list):
        return repr(float(node))
    column, threshold, left, right = node
    test = f"x{int(column)} <= {float(threshold)!r}"
    return f"({tree_source(left)} if {test} else {tree_source(right)})"


# Requests


def media_type(content_type):
    kind, *parameters = (part.strip() for part in (content_type or "").lower().split(";"))
    if kind not in MEDIA_TYPES:
        found = f"not {kind!r}" if kind else "and there is none"
        raise ClientError(415, f"Content-Type must be {' or '.join(MEDIA_TYPES)}, {found}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise ClientError(415, f"charset {value} is not supported; send UTF-8")
    return kind


def body_text(body):
    is_text = isinstance(body, str)
    size = len(body.encode()) if is_text and not body.isascii() else len(body)
    if size > MAX_BODY:
        raise ClientError(
            413, f"the body has {size:,} bytes, at most {MAX_BODY:,} are accepted; send fewer rows"
        )
    if is_text:
        # The container has decoded it: invalid UTF-8 became U+FFFD, a byte order mark was kept.
        if "\ufffd" in body:
            raise ClientError(400, f"character {body.index(chr(0xFFFD))} of the body is not UTF-8")
        return body.removeprefix("\ufeff")
    try:
        return bytes(body).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClientError(400, f"byte {error.start} of the body is not UTF-8") from None


def csv_records(text):
    csv.field_size_limit(MAX_BODY)
    try:
        records = list(filter(None, csv.reader(io.StringIO(text, newline=""), strict=True)))
    except csv.Error as error:
        raise ClientError(400, f"the body is not CSV: {error}") from None
    if not records:
        raise ClientError(400, "the body is empty; send one record a line")
    return records


def json_records(text):
    if not text.strip():
        raise ClientError(400, "the body is empty; send a record or a list of records")
    try:
        content = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ClientError(400, f"the body is not JSON: {error}") from None
    if isinstance(content, dict):
        content = content["instances"] if set(content) == {"instances"} else [content]
    elif isinstance(content, list) and not any(isinstance(item, list | dict) for item in content):
        content = [content] if content else []
    if not isinstance(content, list):
        raise ClientError(400, "expected a record, a list of records, or {'instances': [records]}")
    if not content:
        raise ClientError(400, "there is no record in the body")
    return content


def refuse_constant(name):
    raise ValueError(f"{name} is not a JSON value; send null for a missing value")


def unique(pairs):
    record = {}
    for name, value in pairs:
        if name in record:
            raise ValueError(f"an object has the name {shown(name)} twice")
        record[name] = value
    return record


def row_values(record, row, is_text, features):
    """Return the values in the features' order, numbers as floats; NaN or '' where missing."""
    if isinstance(record, dict):
        record = in_order(record, row, features)
    elif not isinstance(record, list):
        raise ClientError(400, f"row {row}: expected a list or an object")
    if len(record) != len(features):
        names = ",".join(feature.name for feature in features)
        raise ClientError(
            400, f"row {row}: {len(record)} values, expected {len(features)}: {names}"
        )
    parse = text_value if is_text else json_value
    return [parse(value, feature, row) for value, feature in zip(record, features, strict=True)]


def in_order(record, row, features):
    names = [feature.name for feature in features]
    if unknown := set(record) - set(names):
        raise ClientError(
            400, f"row {row}: {min(unknown)!r} is not a column; they are {','.join(names)}"
        )
    if absent := [name for name in names if name not in record]:
        raise ClientError(
            400, f"row {row}, column {absent[0]!r}: not there; send null for a missing value"
        )
    return [record[name] for name in names]


def text_value(text, feature, row):
    if feature.categorical:
        return category(text, feature)
    try:
        value = float(text)
    except ValueError:
        if not text.strip():
            return math.nan
        raise not_a_number(text, feature, row) from None
    if not math.isfinite(value) or "_" in text:
        raise not_a_number(text, feature, row)
    return value


def json_value(value, feature, row):
    if value is None:
        return "" if feature.categorical else math.nan
    if feature.categorical:
        if not isinstance(value, str):
            raise ClientError(
                400, f"row {row}, column {feature.name!r}: {shown(value)} is not a string"
            )
        return category(value, feature)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise not_a_number(value, feature, row)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise not_a_number(value, feature, row)
    return number


def category(text, feature):
    text = text.strip()
    return "" if text.lower() in feature.missing else text


def not_a_number(value, feature, row):
    hint = "is not a finite number"
    if isinstance(value, str) and value.strip().lower() == feature.name:
        hint += " (a header line? send records only)"
    return ClientError(400, f"row {row}, column {feature.name!r}: {shown(value)} {hint}")


def shown(value):
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


# Answers


def accepted(accept):
    """Return the first supported type of the Accept header; JSON for */*; None for no match."""
    for choice in (accept or "*/*").lower().split(","):
        kind = choice.split(";")[0].strip()
        if kind in ("*/*", "application/*"):
            return "application/json"
        if kind == "text/*":
            return "text/csv"
        if kind in MEDIA_TYPES:
            return kind
    return None


def error_response(error):
    from werkzeug.wrappers import Response

    body = json.dumps({"error": str(error)})
    return Response(body, status=error.status, mimetype="application/json")
