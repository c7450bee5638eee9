"""What the text of a cell means: the one rule for numbers, dates, booleans and no value.

Preprocessing, serving, inspect-data and the parameters of a pipeline all use it, so that what was
trained can be scored. A number is ASCII, with an optional sign and exponent, and finite: float()
alone takes 1_0, full-width digits, "inf" and "nan". In memory a number, a boolean and a date are
one 64-bit float: booleans 0 or 1, dates days since 1970-01-01 (UTC), with a fraction for a time;
NaN is no value. A category is its trimmed text; "" is no value.
"""

import math
import re
from collections.abc import Callable
from datetime import date, datetime, timezone
from functools import lru_cache

from sagemaker_project.tabular.schema import Field

__all__ = ["number"]

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[Zz]|[+-]\d\d:\d\d)?)?", re.ASCII
)
SPACES = " \t\n\r\f\v\u00a0"  # with the no-break space of spreadsheets; other Unicode is text
SECONDS = 86_400.0  # of a day
EPOCH = date(1970, 1, 1).toordinal()


class BadCell(ValueError):
    """A text that is not of its column's type. The message says why: `is not a number`."""


def number(text: str, decimal: str = ".") -> float:
    """Return the number that a text is.

    Raises:
        BadCell: it is none, or not finite.
    """
    text = text.strip(SPACES)
    if decimal != ".":
        text = text.replace(".", "?").replace(decimal, ".")  # a point is no decimal mark then
    if text.lower().lstrip("+-") in ("inf", "infinity"):
        raise BadCell("is not a finite number")
    if not NUMBER.fullmatch(text):
        raise BadCell("is not a number")
    value = float(text)
    if math.isinf(value):
        raise BadCell("is not a finite number")
    return value


def is_number(text: str, decimal: str = ".") -> bool:
    try:
        number(text, decimal)
    except BadCell:
        return False
    return True


def days(text: str, pattern: str = "") -> float:
    """Return a date or time as days since 1970-01-01 UTC, by ISO 8601 or a pattern of strptime.

    A time without an offset is taken for UTC.

    Raises:
        BadCell: it is none.
    """
    text = text.strip(SPACES)
    try:
        if not text.isascii() or not (pattern or ISO_8601.fullmatch(text)):
            raise ValueError
        moment = datetime.strptime(text, pattern) if pattern else _iso_8601(text)
        if moment.tzinfo:
            moment = moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):  # in UTC, a moment may be before the year 1
        wanted = f"as {pattern}" if pattern else "as ISO 8601"
        raise BadCell(f"is not a date {wanted}") from None
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
    return moment.toordinal() - EPOCH + seconds / SECONDS


def _iso_8601(text: str) -> datetime:
    """Python 3.10 knows no Z, and no fraction of other than 3 or 6 digits."""
    whole, point, rest = text.replace("Z", "+00:00").replace("z", "+00:00").partition(".")
    if point:
        digits = re.match(r"[0-9]+", rest)
        fraction = digits[0] if digits else ""
        whole += f".{fraction:0<6}{rest[len(fraction) :]}"
    return datetime.fromisoformat(whole)


def boolean(text: str, field: Field) -> float:
    word = text.strip(SPACES).lower()
    if word in field.true_values:
        return 1.0
    if word in field.false_values:
        return 0.0
    raise BadCell("is neither true nor false")


def category(text: str, field: Field) -> str:
    """Return a category as it is compared everywhere: trimmed, "" where there is no value."""
    text = text.strip(SPACES)
    return "" if text.lower() in field.missing else text


def parser(field: Field, decimal: str = ".") -> Callable[[str], float]:
    """Return the function from a cell of this column to its number; NaN where there is no value.

    The function raises BadCell. It remembers results: columns repeat themselves.
    """
    sentinels = frozenset(float(word) for word in field.missing if NUMBER.fullmatch(word))

    def parse(text: str) -> float:
        if text.strip(SPACES).lower() in field.missing:
            return math.nan
        if field.type == "boolean":
            return boolean(text, field)
        if field.is_date:
            return days(text, field.format)
        value = number(text, decimal)
        if value in sentinels:
            return math.nan
        if field.type == "integer" and value != int(value):
            raise BadCell("is not a whole number")
        return value

    return lru_cache(maxsize=10_000)(parse)


def value_of(number: float, field: Field) -> float:
    """Return a number that came as a number (JSON, Parquet): NaN where it means no value.

    Raises:
        BadCell: it is not finite, or not of the column's type.
    """
    if math.isnan(number):
        return number
    if math.isinf(number):
        raise BadCell("is not a finite number")
    if any(NUMBER.fullmatch(word) and float(word) == number for word in field.missing):
        return math.nan
    if field.type == "integer" and number != int(number):
        raise BadCell("is not a whole number")
    if field.type == "boolean" and number not in (0.0, 1.0):
        raise BadCell("is neither true nor false")
    return number


def class_name(cell: float | str) -> str:
    """Return the name of a class: the text itself, an integer label without a fraction."""
    return cell if isinstance(cell, str) else f"{cell:.0f}"
