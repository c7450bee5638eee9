"""Read a model's answers and compare them by kind: numbers, text, objects and lists.

Two numbers differ by their distance; text, booleans and null are equal or not; objects are compared
by key, lists by place. In JSON 1 equals 1.0, but neither true nor "1". In CSV the cells of a line
are compared: as numbers where both are numbers, else as text.
"""

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias, TypeGuard

from sagemaker_project.tabular.cells import is_number

Scalar: TypeAlias = bool | int | float | str | None
Value: TypeAlias = "Scalar | list[Value] | dict[str, Value]"  # of JSON

CSV = "text/csv"
NOT_FINITE = ("nan", "inf", "infinity")
SHOWN = 40  # characters of a value in a message


class Difference(NamedTuple):
    """Where two values of one form are not equal."""

    where: str  # such as ".probabilities.yes" or "[0]"; "" is the value itself
    wanted: Scalar
    found: Scalar

    @property
    def distance(self) -> float | None:
        """How far two numbers are apart; None: they are not both numbers."""
        one, other = self.wanted, self.found
        if not (is_number_value(one) and is_number_value(other)):
            return None
        try:
            return abs(float(one) - float(other))
        except OverflowError:  # an integer that no float can hold
            return math.inf

    def __str__(self) -> str:
        distance = self.distance
        apart = "" if distance is None else f", {distance:.6g} away"
        return f"{_shown(self.found)}, wanted {_shown(self.wanted)}{apart}"


class OtherForm(Exception):
    """Two values differ in kind, in their keys or in their number of members."""

    def __init__(self, where: str, found: str, wanted: str) -> None:
        super().__init__(f"{found}, wanted {wanted}")
        self.where = where


def predictions_of(text: str, media_type: str) -> list[Value]:
    """Return the predictions of an answer, one for each record: of CSV, the cells of each line.

    Raises:
        ValueError, OverflowError: it has another form, or an integer that no float can hold.
    """
    if media_type == CSV:
        return [[*cells] for cells in lines_of(text)]
    content = json.loads(text, parse_int=_integer)
    predictions = content.get("predictions") if isinstance(content, dict) else None
    if not isinstance(predictions, list):
        raise ValueError("it has no list of predictions")
    return predictions


def _integer(digits: str) -> int:
    value = int(digits)
    float(value)  # raises OverflowError if no float can hold it
    return value


def lines_of(text: str) -> list[list[str]]:
    """Return the cells of each line of CSV; raise ValueError if it is none.

    A cell in quotes may hold the end of a line.
    """
    if not text:
        raise ValueError("it is empty")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(f"it is not CSV: {error}") from None
    return [cells or [""] for cells in lines]


def scalars(value: Value, where: str = "") -> Iterator[tuple[str, Scalar]]:
    """Yield where each scalar in a value is, and the scalar."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from scalars(member, f"{where}.{key}")
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from scalars(member, f"{where}[{place}]")
    else:
        yield where, value


def is_number_value(value: Value) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def differences(wanted: Value, found: Value, where: str = "") -> Iterator[Difference]:
    """Yield what differs between two values of JSON; raise OtherForm if their form does."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        if wanted.keys() != found.keys():
            raise OtherForm(where, f"the keys {_keys(found)}", _keys(wanted))
        for key in wanted:
            yield from differences(wanted[key], found[key], f"{where}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            raise OtherForm(where, f"{len(found)} values", f"{len(wanted)}")
        for place, pair in enumerate(zip(wanted, found, strict=True)):
            yield from differences(*pair, f"{where}[{place}]")
    elif isinstance(wanted, dict | list) or isinstance(found, dict | list):
        raise OtherForm(where, _shown(found), _shown(wanted))
    elif _kind(wanted) != _kind(found):
        raise OtherForm(where, f"{_kind(found)} {_shown(found)}", f"{_kind(wanted)}")
    elif wanted != found:
        yield Difference(where, wanted, found)


def cell_differences(wanted: Value, found: list[str]) -> Iterator[Difference]:
    """Yield what differs between a recorded prediction and the cells that answer it.

    The values in an object or a list are cells in their order; text is a line, of one cell or more.

    Raises:
        OtherForm: there are more cells, or fewer.
        ValueError: recorded text is not one line of CSV.
    """
    if isinstance(wanted, str):
        [parts] = lines_of(wanted)
        wanted = parts[0] if len(parts) == 1 else [*parts]
    places = list(scalars(wanted))
    if len(places) != len(found):
        raise OtherForm("", f"{len(found)} cells", f"{len(places)}")
    for (where, value), cell in zip(places, found, strict=True):
        one, other = _as_numbers(value, cell)
        if one != other:
            yield Difference(where, one, other)


def _as_numbers(value: Scalar, cell: str) -> tuple[Scalar, Scalar]:
    """Return both as numbers if they are, else as they are."""
    one = float(value) if isinstance(value, str) and is_number(value) else value
    word = cell.strip().lower().lstrip("+-")
    if is_number_value(one) and (is_number(cell) or word in NOT_FINITE):
        return one, float(cell)
    return value, cell


def _kind(value: Scalar) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "a boolean"
    return "text" if isinstance(value, str) else "a number"


def _keys(value: dict[str, Value]) -> str:
    return _cut(", ".join(value) or "none")


def _shown(value: Value) -> str:
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
