"""What one column is: its type, its role, and why."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from sagemaker_project.inspect_data.dates import Dates, dates_of
from sagemaker_project.inspect_data.findings import Answer, Cells, Doubt, Finding, Options, count
from sagemaker_project.inspect_data.numbers import (
    LIKELY,
    MIXED,
    Numbers,
    has_thousands,
    is_code,
    numbers_of,
    span,
)

BOOLEANS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"}, {"0", "1"})
ID = re.compile(r"(?:.*[ _.-])?(?:id|uuid|guid|key|index|rowid|no|nr|number)|.*(?:[a-z]Id|ID)")
LISTED = 50  # categories at most that schema.json lists
FEW = 20  # rows: what is unique or constant says nothing below
OWN = 0.5  # of the rows have a text of their own: no category
WORDS, LETTERS = 4, 40  # of a cell on average: free text


def inspect(cells: Cells, decimal: str, options: Options) -> Finding:
    """Say what a feature column is; the label is `labels.inspect`'s."""
    given, pattern = options.types.get(cells.name, ("", ""))
    found = _given(cells, decimal, given, pattern) if given else _found(cells, decimal)
    if cells.name in options.ignored:
        return found_as(found, "ignored", "--ignore")
    if cells.name in options.group:
        return found_as(found, "id", "--group: rows of one are in one split")
    if cells.name in options.ids:
        return found_as(found, "id", "--id")
    return found


def found_as(found: Finding, role: str, reason: str) -> Finding:
    """Return the column in another role, which settles what was doubtful about it."""
    return replace(found, role=role, reason=reason, values=(), doubts=())


def _found(cells: Cells, decimal: str) -> Finding:
    """Try what a column may be, one after the other: the first that it is."""
    if not cells.rows:
        return Finding(cells.name, "string", "ignored", "empty: no row has a value")
    if len(cells.counts) == 1 and not cells.missing:
        [value] = cells.counts
        return Finding(cells.name, "string", "ignored", f"constant: always {_short(value)}")
    kinds = PARQUET.get(cells.kind, (_boolean, _date, _code, _number, _text))
    for kind in kinds:
        found = kind(cells, decimal)
        if found:
            return found
    raise AssertionError("any column is a text")


def _given(cells: Cells, decimal: str, type_: str, pattern: str) -> Finding:
    """Return a column of the type that the user gave; what it cannot read means no value."""
    reason = f"--type {type_}"
    if type_ == "string":
        return Finding(cells.name, type_, "feature", reason, values=_listed(cells))
    if type_ in ("number", "integer"):
        numbers = numbers_of(cells, decimal)
        missing = (*numbers.missing, *(word.lower() for word in numbers.words))
        return Finding(cells.name, type_, "feature", reason, missing=missing)
    if type_ in ("date", "datetime") and not pattern:
        dates = dates_of(cells)
        pattern = dates.format if dates else ""
    return Finding(cells.name, type_, "feature", reason, pattern)


def _boolean(cells: Cells, decimal: str) -> Finding | None:
    words = {text.lower() for text in islice(cells.counts, 10)}
    if words not in BOOLEANS or len(cells.counts) > 10:
        return None
    shown = " or ".join(sorted(words, reverse=True))
    return Finding(cells.name, "boolean", "feature", f"{shown}{_missing(cells)}")


def _date(cells: Cells, decimal: str) -> Finding | None:
    dates = dates_of(cells)
    if not dates:
        return None
    written = f" as {dates.format}" if dates.format else ""
    reason = f"{dates.first} to {dates.last}{written}{_missing(cells)}"
    doubts = (_day_first(cells, dates),) if dates.other else ()
    return Finding(
        cells.name, dates.type, "feature", reason, dates.format, (), dates.missing, doubts=doubts
    )


def _day_first(cells: Cells, dates: Dates) -> Doubt:
    text = f"column {cells.name}: {next(iter(cells.counts))} may begin with the day or the month"
    return Doubt(
        text,
        (
            Answer("the day", "--type", f"{cells.name}={dates.type}:{dates.format}"),
            Answer("the month", "--type", f"{cells.name}={dates.type}:{dates.other}"),
        ),
    )


def _code(cells: Cells, decimal: str) -> Finding | None:
    if not is_code(cells):
        return None
    role = "id" if _is_identifier(cells) else "feature"
    example = next(text for text in cells.counts if text.startswith("0") and len(text) > 1)
    reason = f"digits with leading zeros, such as {_short(example)}: a code{_missing(cells)}"
    return Finding(cells.name, "string", role, reason, values=_listed(cells, role))


def _number(cells: Cells, decimal: str) -> Finding | None:
    numbers = numbers_of(cells, decimal)
    if numbers.share <= MIXED:
        return None
    type_ = "integer" if numbers.are_whole and cells.kind != "number" else "number"
    if numbers.words and not numbers.share >= LIKELY:
        return None
    missing = (*numbers.missing, *(word.lower() for word in numbers.words))
    doubts = (_mixed(cells, numbers, "number"),) if numbers.words else ()
    if type_ == "integer" and not doubts and _is_counter(cells, numbers):
        return _identifier(cells, type_)
    sentinels = "".join(f"; {word} is no value" for word in numbers.missing)
    words = "whole numbers" if type_ == "integer" else "numbers"
    reason = f"{words}, {span(numbers.values)}{sentinels}{_missing(cells)}"
    return Finding(cells.name, type_, "feature", reason, missing=missing, doubts=doubts)


def _is_counter(cells: Cells, numbers: Numbers) -> bool:
    """Whether whole numbers only tell rows apart: they count them, or the column says so."""
    low, high = min(numbers.values), max(numbers.values)
    counts = high - low + 1 == len(numbers.values) == cells.rows and low in (0, 1)
    return (counts and cells.rows >= FEW) or _is_identifier(cells)


def _is_identifier(cells: Cells) -> bool:
    """Whether the name says that it is an id, and more than a few rows have their own."""
    named = ID.fullmatch(cells.name) or ID.fullmatch(cells.name.lower())
    return bool(named) and len(cells.counts) > max(FEW, 0.05 * cells.rows)


def _identifier(cells: Cells, type_: str) -> Finding:
    if cells.is_unique:
        return Finding(cells.name, type_, "id", f"an id: {_each(cells)}")
    each = cells.rows / len(cells.counts)
    text = f"column {cells.name}: one id has {each:.1f} rows on average; may a split cut them?"
    doubt = Doubt(
        text,
        (
            Answer("yes, rows are independent", "--id", cells.name),
            Answer("no, keep them together", "--group", cells.name),
            Answer("it is no id", "--type", f"{cells.name}={type_}"),
        ),
    )
    reason = f"an id by its name, of {each:.1f} rows each"
    return Finding(cells.name, type_, "id", reason, doubts=(doubt,))


def _each(cells: Cells) -> str:
    return f"each of the {count(cells.rows, 'row')} has its own"


def _text(cells: Cells, decimal: str) -> Finding | None:
    """A text is an id, free text, or a category."""
    if _is_identifier(cells) and (cells.is_unique or not _is_prose(cells)):
        return _identifier(cells, "string")
    numbers = numbers_of(cells, decimal)
    is_mixed = numbers.share > MIXED and cells.kind != "string"
    many = len(cells.counts) > max(FEW, OWN * cells.rows)
    if is_mixed or not many:
        return _category(cells, numbers, is_mixed)
    if cells.is_unique and not _is_prose(cells):
        return Finding(cells.name, "string", "id", f"an id: {_each(cells)}")
    words = "free text" if _is_prose(cells) else "texts"
    reason = f"{words}: {len(cells.counts):,} different ones in {count(cells.rows, 'row')}"
    doubts = _thousands(cells, numbers)
    return Finding(cells.name, "string", "ignored", reason, doubts=doubts)


def _category(cells: Cells, numbers: Numbers, is_mixed: bool) -> Finding:
    shown = ", ".join(_short(text) for text, _ in cells.counts.most_common(3))
    more = ", ..." if len(cells.counts) > 3 else ""
    reason = f"{count(len(cells.counts), 'category')}: {shown}{more}{_missing(cells)}"
    doubts = (_mixed(cells, numbers, "string"),) if is_mixed else _thousands(cells, numbers)
    return Finding(cells.name, "string", "feature", reason, values=_listed(cells), doubts=doubts)


def _is_prose(cells: Cells) -> bool:
    words = sum(text.count(" ") + 1 for text in cells.counts) / len(cells.counts)
    letters = sum(map(len, cells.counts)) / len(cells.counts)
    return words >= WORDS or letters > LETTERS


def _any_boolean(cells: Cells, decimal: str) -> Finding:
    return Finding(cells.name, "boolean", "feature", f"true or false{_missing(cells)}")


PARQUET: dict[str, tuple[Callable[[Cells, str], Finding | None], ...]] = {
    "boolean": (_any_boolean,),
    "integer": (_number,),
    "number": (_number,),
    "date": (_date,),
    "datetime": (_date,),
    "string": (_date, _text),
}


def _mixed(cells: Cells, numbers: Numbers, guess: str) -> Doubt:
    words = ", ".join(_short(word) for word in list(numbers.words)[:3])
    more = ", ..." if len(numbers.words) > 3 else ""
    rows = sum(numbers.words.values())
    part = f"{rows:,} of {count(cells.rows, 'cell')}"
    text = f"column {cells.name}: {part} are no numbers: {words}{more}"
    type_ = "integer" if numbers.are_whole else "number"
    answers = [
        Answer("a number; these mean no value", "--type", f"{cells.name}={type_}"),
        Answer("a category", "--type", f"{cells.name}=string"),
    ]
    return Doubt(text, tuple(answers if guess == "number" else answers[::-1]))


def _thousands(cells: Cells, numbers: Numbers) -> tuple[Doubt, ...]:
    """Note numbers that the rule for numbers does not take: 1,234, or 1,5 between commas."""
    if not has_thousands(numbers.words):
        return ()
    example = next(iter(numbers.words))
    text = (
        f"column {cells.name}: {example} is no number here: write numbers without separators of"
        " thousands, with a decimal point, or separate the cells by ;"
    )
    return (Doubt(text),)


def _listed(cells: Cells, role: str = "feature") -> tuple[str, ...]:
    """Return the categories, where they are few enough to be listed in schema.json."""
    few = role == "feature" and len(cells.counts) <= LISTED
    return tuple(sorted(cells.counts)) if few else ()


def _missing(cells: Cells) -> str:
    return f"; {cells.missing:,} missing" if cells.missing else ""


def _short(text: str) -> str:
    return text if len(text) <= 24 else text[:21] + "..."
