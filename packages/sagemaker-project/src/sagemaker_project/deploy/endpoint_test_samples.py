"""samples.json: the requests that evaluate.py recorded, with the answers that the model gave."""

import base64
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from sagemaker_project.deploy.answers import CSV, Value, is_number_value, lines_of, scalars
from sagemaker_project.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A recorded request."""

    content_type: str
    accept: str
    body: bytes
    binary: bool  # the body is not text


@dataclass(frozen=True)
class Sample(Request):
    """A request that the model answered, with its prediction for each record.

    A prediction is any value of JSON. For CSV, the values in an object or a list are the cells of
    its line, and text is the line.
    """

    expected: tuple[Value, ...]


@dataclass(frozen=True)
class MalformedRequest(Request):
    """A request that the model refused with an HTTP `status` of 4xx."""

    name: str
    status: int


@dataclass(frozen=True)
class Samples:
    """The content of samples.json."""

    samples: tuple[Sample, ...]
    malformed: tuple[MalformedRequest, ...]


def digest(content: bytes) -> str:
    """Return the sha256 as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def is_finite_number(value: object) -> bool:
    """Return whether a JSON value is a number (not a boolean) that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def read_samples(body: bytes, sha256: str | None) -> Samples:
    """Return the content of samples.json.

    Args:
        sha256: what the model package says it is, if it says so.

    Raises:
        UsageError: it is another file, or not as evaluate.py writes it.
    """
    found = digest(body)
    if sha256 and found != sha256:
        raise UsageError(
            f"samples.json: its sha256 is {found}, the model package says {sha256}: it was changed"
            " after the model was evaluated; run the pipeline again"
        )
    try:
        content = json.loads(body.decode(), parse_constant=_refuse_constant)
        return Samples(
            samples=tuple(_sample(item) for item in _member(content, "samples", list)),
            malformed=tuple(_malformed(item) for item in _member(content, "malformed", list)),
        )
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"samples.json: not as evaluate.py writes it: {error}; run the pipeline again"
        ) from None


def _sample(item: Any) -> Sample:
    expected = _member(item, "expected", list)
    if not expected or not all(map(_is_prediction, expected)):
        raise ValueError("'expected' must be predictions, at least one, with finite numbers")
    sample = Sample(**_request(item), expected=tuple(expected))
    for value in expected if sample.accept == CSV else ():
        if isinstance(value, str) and len(lines_of(value)) != 1:
            raise ValueError(f"'expected' has {value!r:.80}, which is not one line of CSV")
    return sample


def _is_prediction(value: Value) -> bool:
    """Return whether a value of JSON has values in it, and every number in it is finite."""
    found = [scalar for _, scalar in scalars(value)]
    return bool(found) and all(map(is_finite_number, filter(is_number_value, found)))


def _malformed(item: Any) -> MalformedRequest:
    status = _member(item, "status", int)
    if not 400 <= status < 500:
        raise ValueError(f"'status' is {status}, 400 to 499 is wanted")
    return MalformedRequest(**_request(item), name=_member(item, "name", str), status=status)


def _request(item: Any) -> Mapping[str, Any]:
    """Return the members that all requests have."""
    binary = isinstance(item, dict) and "body_base64" in item
    text = _member(item, "body_base64" if binary else "body", str)
    return {
        "content_type": _member(item, "content_type", str),
        "accept": _member(item, "accept", str),
        "body": base64.b64decode(text, validate=True) if binary else text.encode(),
        "binary": binary,
    }


def _member(item: Any, name: str, kind: type[T]) -> T:
    value = item.get(name) if isinstance(item, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"{name!r} is missing or not of the type {kind.__name__}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
