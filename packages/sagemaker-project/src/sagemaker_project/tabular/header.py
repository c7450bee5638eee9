"""Which cell of a record is which column: by the names of the header, or by order."""

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sagemaker_project.tabular import cells
from sagemaker_project.tabular.file_format import NAMES, differs
from sagemaker_project.tabular.schema import DELIMITERS, Field, Schema
from sagemaker_project.tabular.table import BadInput

MAX_LIST = 300  # characters of a list of names in a message


class Layout(NamedTuple):
    """Where the columns are: `positions` of schema.used among the `width` cells of a record."""

    width: int
    positions: tuple[int, ...]
    names: tuple[str, ...]  # what these cells of the header hold, by plain()
    extra: tuple[str, ...]  # names that schema.json does not have
    has_header: bool = True

    def is_header(self, record: Sequence[str]) -> bool:
        """Return whether a record of data is the header once more."""
        return plain(record[self.positions[0]]) == self.names[0] and all(
            plain(record[at]) == name for at, name in zip(self.positions, self.names, strict=True)
        )


def plain(name: str) -> str:
    """Normalize the name of a column: Whole weight, whole-weight and WHOLE_WEIGHT are equal."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def listed(names: Sequence[str]) -> str:
    """Return names for a message, separated by commas; the middle is cut out where it is long."""
    text = ",".join(names)
    if len(text) <= MAX_LIST:
        return text
    return f"{text[: MAX_LIST // 2]}...{text[-MAX_LIST // 3 :]} ({len(names):,})"


def by_name(names: Sequence[str], schema: Schema, where: str) -> Layout:
    """Return the layout that the names of a header (or of a Parquet file) give.

    Raises:
        BadInput: a column of schema.used is not there exactly once; with both lists.
    """
    wanted = [field.name for field in schema.used]
    key_of = _key(schema)
    known = {key_of(field.name) for field in schema.fields}
    found, keys = list(map(key_of, names)), list(map(key_of, wanted))
    counts = Counter(found)
    wrong = [
        f"{name!r} {'is missing' if not count else f'is there {count} times'}"
        for name, count in zip(wanted, map(counts.__getitem__, keys), strict=True)
        if count != 1
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise BadInput(
            f"{where}: the header does not fit: {', '.join(wrong[:5])}{more}; "
            f"found {listed(names)}; wanted {listed(wanted)}; "
            "correct the header, or the fields in schema.json"
        )
    extra = [
        name.strip() or f"(column {at} without a name)"
        for at, (name, key) in enumerate(zip(names, found, strict=True), start=1)
        if key not in known
    ]
    position_of = {key: position for position, key in enumerate(found)}
    positions = tuple(map(position_of.__getitem__, keys))
    return Layout(len(names), positions, tuple(map(plain, wanted)), tuple(extra))


def _key(schema: Schema) -> Callable[[str], str]:
    """Return how names are compared: by plain(), unless that makes two of the schema equal."""
    distinct = {plain(field.name) for field in schema.fields}
    return plain if len(distinct) == len(schema.fields) else str.strip


def of_first_record(text: str, record: Sequence[str], line: int, schema: Schema) -> Layout:
    """Return the layout of a CSV file from its first record; `text` is that as it stands there.

    A header is understood where schema.json says that there is none: it is no risk, unlike the
    reverse, where the order of the columns would have to be guessed.

    Raises:
        BadInput: it does not fit to schema.json: another delimiter, header or none, other columns.
    """
    if text.strip(cells.SPACES).lower().startswith("sep=") and len(text.strip()) <= 5:
        raise BadInput(f"line {line}: {text.strip()!r} is a line for Excel, not data: remove it")
    if schema.file.header:
        return _of_header(text, record, line, schema)
    names = [field.name for field in schema.fields]
    if not set(map(plain, names)).isdisjoint(map(plain, record)) and not any(
        map(_is_any_number, record)
    ):
        return _of_header(text, record, line, schema)  # its names leave no doubt about the order
    if _is_other_header(record, schema):
        raise differs(f"line {line} is a header ({listed(record)})", "header", False, True)
    if len(_cut(record)) != len(names) != len(record):
        raise BadInput(
            f"line {line}: {_columns(len(_cut(record)))} found, expected {len(names)}"
            f"{_delimiter(text, schema) or _of_fields(names)}"
        )
    at = {field.name: position for position, field in enumerate(schema.fields)}
    used = [field.name for field in schema.used]
    return Layout(len(names), tuple(map(at.__getitem__, used)), tuple(map(plain, used)), (), False)


def _of_header(text: str, record: Sequence[str], line: int, schema: Schema) -> Layout:
    names = _cut(record)
    try:
        return by_name(names, schema, f"line {line}")
    except BadInput:
        if hint := _delimiter(text, schema):
            wanted = len(schema.used)
            raise BadInput(
                f"line {line}: {_columns(len(names))} found, expected {wanted}{hint}"
            ) from None
        if _is_data(record, schema):
            raise differs(
                f"line {line} is data, no header ({listed(record)})", "header", True, False
            ) from None
        raise


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _of_fields(names: Sequence[str]) -> str:
    return f": {listed(names)}; correct the file, or the fields in schema.json"


def _cut(record: Sequence[str]) -> Sequence[str]:
    """Return a record without the empty cell that a trailing delimiter makes."""
    return record[:-1] if len(record) > 1 and not record[-1].strip(cells.SPACES) else record


def _is_data(record: Sequence[str], schema: Schema) -> bool:
    """Return whether a record without known names holds values: a number, or a known category."""
    known = {plain(field.name) for field in schema.fields}
    if not known.isdisjoint(map(plain, record)):
        return False
    return any(map(_is_any_number, record))


def _is_other_header(record: Sequence[str], schema: Schema) -> bool:
    """Return whether a first record has names: of columns, or text where all values are typed."""
    if len(_cut(record)) != len(schema.fields) and len(record) != len(schema.fields):
        return False
    pairs = list(zip(schema.fields, record, strict=False))
    same = sum(plain(text) == plain(field.name) for field, text in pairs)
    typed = [(field, text) for field, text in pairs if not field.is_text and _used(field)]
    values = [text for field, text in typed if _is_any_number(text) or _is_value(text, field)]
    return not values and (same * 2 > len(pairs) or len(typed) > 1)


def _used(field: Field) -> bool:
    return field.role != "ignored"


def _is_any_number(text: str) -> bool:
    return cells.is_number(text) or cells.is_number(text, ",")


def _is_value(text: str, field: Field) -> bool:
    try:
        cells.parser(field)(text)
    except cells.BadCell:
        return False
    return True


def _delimiter(text: str, schema: Schema) -> str:
    """Return the hint that another delimiter fits the first record, or ""."""
    wanted = {plain(field.name) for field in schema.used}
    width = len(schema.fields)
    for mark in DELIMITERS:
        if mark == schema.file.delimiter or mark not in text:
            continue
        record = next(csv.reader([text], delimiter=mark), [])
        fits = wanted <= set(map(plain, record)) or len(_cut(record)) == width > 1
        alone = schema.file.delimiter not in text
        if fits or alone:
            found = f"; the fields seem separated by {NAMES[mark]}"
            return str(differs(found, "delimiter", schema.file.delimiter, mark))
    return ""
