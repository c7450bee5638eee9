"""Dates and times: the pattern of strptime that reads every text of a column."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice, product
from typing import NamedTuple

from sagemaker_project.inspect_data.findings import Cells
from sagemaker_project.inspect_data.numbers import WORDS
from sagemaker_project.tabular.cells import BadCell, days, is_number

DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%Y%m%d", "%Y-%m-%d", "%Y-%m", "%m/%Y", "%m.%Y"),
    *("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d-%b-%Y", "%d-%b-%y"),
    *("%a, %d %b %Y", "%d/%b/%Y", "%b %Y", "%B %Y"),
)
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
ZONES = ("", "%z", " %z")
SWAPPED = {"%d/%m/%Y": "%m/%d/%Y", "%d-%m-%Y": "%m-%d-%Y", "%d/%m/%y": "%m/%d/%y"}
TIME = re.compile(r"(?:(?P<date>.+?)(?P<between>[ T,]+))?(?P<time>[0-9]{1,2}:[0-9]{2}.*)")
NONE = WORDS | {"0000-00-00", "0000-00-00 00:00:00", "00/00/0000", "00.00.0000"}
TRIED = 3000  # texts of a column: strptime is slow


class Dates(NamedTuple):
    """What the texts of a column are as dates. `other` is the pattern with month and day swapped,
    where that reads all of them as well."""

    type: str
    format: str
    first: str
    last: str
    other: str = ""
    missing: tuple[str, ...] = ()


def dates_of(cells: Cells) -> Dates | None:
    """Return how a column is read as dates or times; None where it is no such column."""
    if not any(map(_may_be_dates, islice(cells.counts, 20))):
        return None
    missing = tuple(text.lower() for text in cells.counts if text.lower() in NONE)
    texts = [text for text in cells.counts if text.lower() not in NONE]
    if not texts or not _may_be_dates(texts[0]):
        return None
    texts = texts[:: max(1, len(texts) // TRIED)]
    if cells.kind in ("date", "datetime") or _reads(texts, ""):
        return _dates(texts, "")._replace(missing=missing)
    if texts[0].isdigit() and not _are_digit_dates(texts):
        return None
    patterns = [pattern for pattern in _candidates(texts[0]) if _reads(texts, pattern)]
    if not patterns:
        return None
    found = _dates(texts, patterns[0])
    date = next((date for date in SWAPPED if patterns[0].startswith(date)), "")
    other = patterns[0].replace(date, SWAPPED[date]) if date else ""
    return found._replace(other=other if other in patterns else "", missing=missing)


def _may_be_dates(text: str) -> bool:
    """Whether a text is about as long as a date and has digits, and is no number."""
    digits = sum(map(str.isdigit, text))
    return digits >= 3 and len(text) <= 40 and (len(text) == 8 or not is_number(text))


def _are_digit_dates(texts: Iterable[str]) -> bool:
    """Whether digits such as 20240131 are dates: all of this or the last century."""
    return all(len(text) == 8 and text.startswith(("19", "20")) for text in texts)


def _candidates(text: str) -> list[str]:
    """Return the patterns that read this text: of its date, its time, or one after the other."""
    parts = TIME.fullmatch(text)
    if not parts:
        return [date for date in DATES if _reads([text], date)]
    times = [f"{time}{zone}" for time, zone in product(TIMES, ZONES)]
    times = [time for time in times if _reads([parts["time"]], time)]
    if not parts["date"]:
        return times
    dates = [date for date in DATES if _reads([parts["date"]], date)]
    return [f"{date}{parts['between']}{time}" for date, time in product(dates, times)]


def _reads(texts: Sequence[str], pattern: str) -> bool:
    try:
        for text in texts:
            days(text, pattern)
    except BadCell:
        return False
    return True


def _dates(texts: Sequence[str], pattern: str) -> Dates:
    values = [days(text, pattern) for text in texts]
    type_ = "datetime" if any(":" in text for text in texts) else "date"
    return Dates(type_, pattern, iso(min(values), type_), iso(max(values), type_))


def iso(value: float, type_: str) -> str:
    """Return days since 1970-01-01 as ISO 8601."""
    seconds = round(value * 86_400)
    moment = datetime.fromordinal(datetime(1970, 1, 1).toordinal() + seconds // 86_400)
    if type_ == "date":
        return moment.date().isoformat()
    second = seconds % 86_400
    moment = moment.replace(hour=second // 3600, minute=second // 60 % 60, second=second % 60)
    return moment.isoformat(" ")
