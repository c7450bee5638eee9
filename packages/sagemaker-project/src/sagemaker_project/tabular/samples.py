"""samples.json: requests with this model's answers, for the test of an endpoint.

Rows spread evenly over the test split are sent in every form that a client may use: single records
and batches, CSV and JSON, lists and objects. `expected` has the prediction for each record: a
number, the object of a class with its probabilities, and for CSV of classes the list of its cells,
["yes", 0.17, 0.83]. Malformed requests have the status that the model's code refuses them with.
"""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from sagemaker_project.tabular.archive import Answer, Served
from sagemaker_project.tabular.client import (
    CSV,
    JSON,
    Record,
    WrongAnswer,
    check_prediction,
    csv_body,
    csv_row,
    predictions_of,
    records,
)
from sagemaker_project.tabular.schema import Field, Schema
from sagemaker_project.tabular.table import BadInput, Table

NPY = "application/x-npy"
MANY_ROWS = 100  # records of the largest sample request
FEW = 3  # every third of these records is also sent in the other forms
Request: TypeAlias = dict[str, Any]  # of samples.json


def sample_requests(
    served: Served, test: Table, schema: Schema, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Return the content of samples.json.

    Raises:
        BadInput: the model does not answer a sample as its kind does, or does not refuse a
            malformed request with 4xx.
    """
    rows = sorted({index * len(test) // MANY_ROWS for index in range(MANY_ROWS)})
    chosen = records(test.take(np.array(rows)), schema.features)
    return {
        "label": schema.label,
        "samples": [
            {**request, "expected": _expected(served, request, number, classes)}
            for request, number in well_formed(chosen, schema.features)
        ],
        "malformed": [
            {**request, "status": _refusal(served, request)}
            for request in malformed(chosen[0], schema.features)
        ],
    }


def well_formed(chosen: Sequence[Record], fields: Sequence[Field]) -> Iterator[tuple[Request, int]]:
    """Yield (request, its number of records): single records in each form in turn, then batches."""
    lines = [csv_row(record, fields) for record in chosen]
    few, names = list(chosen[::FEW]), [field.name for field in fields]
    objects = [dict(zip(names, record, strict=True)) for record in few]
    for index, line in enumerate(lines[::FEW]):
        forms = (
            (CSV, CSV, csv_body([line])),
            (CSV, JSON, csv_body([line])),
            (JSON, JSON, json.dumps(few[index])),
            (JSON, JSON, json.dumps(objects[index])),
        )
        yield _request(*forms[index % len(forms)]), 1
    for accept in (CSV, JSON):
        yield _request(CSV, accept, csv_body(lines[::FEW])), len(few)
        yield _request(CSV, accept, csv_body(lines)), len(lines)
    for content in (few, objects, {"instances": few}, {"instances": objects}):
        yield _request(JSON, JSON, json.dumps(content)), len(few)


def malformed(record: Record, fields: Sequence[Field]) -> Iterator[Request]:
    """Yield requests that every model of these fields refuses, each with its name."""
    line, npy = csv_row(record, fields), io.BytesIO()
    np.save(npy, np.zeros((1, len(line))))
    yield {"name": "empty body", **_request(CSV, JSON, "")}
    yield {"name": "broken JSON", **_request(JSON, JSON, '{"instances": [[')}
    yield {"name": "one value too many", **_request(CSV, JSON, csv_body([[*line, "0"]]))}
    for position, field in enumerate(fields):
        words = field.missing | field.true_values | field.false_values
        if not field.is_text and "many" not in words:
            text = [*line[:position], "many", *line[position + 1 :]]
            yield {"name": f"text as {field.name}", **_request(CSV, JSON, csv_body([text]))}
            break
    yield {"name": "unknown Content-Type", **_request("text/plain", JSON, csv_body([line]))}
    yield {"name": "unknown Accept", **_request(CSV, "image/png", csv_body([line]))}
    content = base64.b64encode(npy.getvalue()).decode()
    yield {"name": "npy", "content_type": NPY, "accept": JSON, "body_base64": content}


def _request(content_type: str, accept: str, body: str) -> Request:
    return {"content_type": content_type, "accept": accept, "body": body}


def _answer(served: Served, request: Request) -> Answer:
    body = request.get("body")
    if body is None:
        body = base64.b64decode(request["body_base64"])
    return served.answer(body, request["content_type"], request["accept"])


def _expected(
    served: Served, request: Request, number: int, classes: tuple[str, ...]
) -> list[object]:
    form = f"{request['content_type']} for {request['accept']}, {number} record(s)"
    try:
        answer = _answer(served, request)
        if (answer.status, answer.media_type) != (200, request["accept"]):
            raise WrongAnswer(f"status {answer.status} as {answer.media_type}: {answer.text}")
        values = predictions_of(answer.text, answer.media_type)
        if len(values) != number:
            raise WrongAnswer(f"{len(values)} prediction(s)")
        for value in values:
            check_prediction(value, classes)
    except Exception as error:
        raise BadInput(f"model.tar.gz: the answer to a sample ({form}): {_line(error)}") from None
    return values


def _refusal(served: Served, request: Request) -> int:
    name = request["name"]
    try:
        status = _answer(served, request).status
    except Exception as error:
        raise BadInput(
            f"model.tar.gz: its code fails on a request with {name}: {_line(error)}"
        ) from None
    if not 400 <= status < 500:
        raise BadInput(
            f"model.tar.gz: its code answers a request with {name} with status {status}, wanted "
            "4xx: the mistake is the client's"
        )
    return status


def _line(error: Exception) -> str:
    kind = "" if isinstance(error, WrongAnswer) else f"{type(error).__name__}: "
    return kind + " ".join(str(error).split())
