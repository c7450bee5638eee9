"""Predictions to the body of an answer, in the format that the client accepts."""

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sagemaker_project.tabular.client import csv_body
from sagemaker_project.tabular.requests import MEDIA_TYPES, ClientError

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

RANGES = {"application/json": ("application/*", "*/*"), "text/csv": ("text/*", "*/*")}

Prediction: TypeAlias = "float | dict[str, Any]"


class _Choice(NamedTuple):
    """How much a client wants a format: more is better, then an earlier place in its list."""

    quality: float
    place: int


def write(predictions: list[Prediction], accept: str | None) -> tuple[str, str]:
    """Return the body and its media type.

    Predictions are numbers, or for classes {"predicted_label", "probabilities": {class: p}}.

    Raises:
        ClientError: 406.
    """
    kind = accepted(accept)
    if kind == "application/json":
        return json.dumps({"predictions": predictions}), kind
    if kind == "text/csv":
        is_class = isinstance(predictions[0], dict)
        return "\n".join(map(_class_line if is_class else repr, predictions)), kind
    raise ClientError(406, f"cannot answer as {accept!r}; accept {' or '.join(MEDIA_TYPES)}")


def _class_line(prediction: Any) -> str:
    numbers = ",".join(map(repr, prediction["probabilities"].values()))
    return f"{_csv_cell(prediction['predicted_label'])},{numbers}"


@lru_cache
def _csv_cell(text: str) -> str:
    return csv_body([[text]]).removesuffix("\n")


@lru_cache
def accepted(accept: str | None) -> str | None:
    """Return the format that an Accept header wants most; None where it wants none.

    Of several ranges that match a format the most exact one counts. Between equal weights the
    format that is named first wins, between equal places JSON.
    """
    named: dict[str, _Choice] = {}
    for place, part in enumerate((accept or "*/*").lower().split(",")):
        kind, *parameters = (item.strip() for item in part.split(";"))
        named.setdefault(kind, _Choice(_quality(parameters), -place))
    choices = {}
    for kind in MEDIA_TYPES:
        match = next((one for one in (kind, *RANGES[kind]) if one in named), None)
        if match and named[match].quality > 0:
            choices[kind] = named[match]
    return max(choices, key=lambda kind: choices[kind], default=None)


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = (part.strip() for part in parameter.partition("="))
        if name == "q":
            try:
                return min(1.0, float(value))
            except ValueError:
                return 1.0
    return 1.0


def error_response(error: ClientError) -> "Response":
    """Return the response of a request that cannot be answered."""
    from werkzeug.wrappers import Response

    body = json.dumps({"error": str(error)})
    return Response(body, status=error.status, mimetype="application/json")
