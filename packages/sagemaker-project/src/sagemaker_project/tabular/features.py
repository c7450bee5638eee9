"""From the columns of a table to the inputs of a model, and from its label to a target.

A number, a boolean and a date are inputs as they are; a date also gives its month and weekday, a
time its hour, because a tree cannot find what comes back every year or week in a count of days. A
text is one input, a category, which the model's one-hot encoder takes apart. NaN and "" are no
value. A class is its number, in the order of the model's classes.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from sagemaker_project.tabular.cells import EPOCH, class_name
from sagemaker_project.tabular.schema import Field, Schema
from sagemaker_project.tabular.table import BadInput, Categories, Column, Floats, Integers, Table

if TYPE_CHECKING:
    import pandas

PARTS = {"date": ("month", "weekday"), "datetime": ("month", "weekday", "hour")}
FIRST_DAY, LAST_DAY = date.min.toordinal() - EPOCH, date.max.toordinal() - EPOCH
INTEGER = re.compile(r"-?[0-9]+")
MAX_NAMED = 5  # classes in a message


class Input(NamedTuple):
    """An input of the model: a field as it is, or a part of its date."""

    name: str
    field: str
    part: str  # "", month, weekday or hour
    is_text: bool


def input_names(schema: Schema) -> list[Input]:
    """Return the inputs of the model, in the order of the fields; every name is unique."""
    taken = {field.name for field in schema.features}
    found = []
    for field in schema.features:
        found.append(Input(field.name, field.name, "", field.is_text))
        for part in PARTS.get(field.type, ()):
            name = f"{field.name}.{part}"
            while name in taken:
                name += "_"
            taken.add(name)
            found.append(Input(name, field.name, part, False))
    return found


def inputs(table: Table, schema: Schema) -> "pandas.DataFrame":
    """Return the inputs of a table's rows."""
    return data_frame(table.columns, input_names(schema))


def data_frame(columns: Mapping[str, Column], wanted: Sequence[Input]) -> "pandas.DataFrame":
    """Return the inputs as a data frame: texts as objects, all else as float64."""
    import pandas

    found: dict[str, npt.NDArray[np.object_] | Floats] = {}
    for one in wanted:
        column = columns[one.field]
        if isinstance(column, Categories):
            found[one.name] = column.texts
        else:
            found[one.name] = date_part(column, one.part) if one.part else column
    return pandas.DataFrame(found)


# Dates


def date_part(days: Floats, part: str) -> Floats:
    """Return the month (1 to 12), weekday (Monday is 0) or hour of days since 1970-01-01 (UTC).

    NaN where there is no date, or none of the years 1 to 9999.
    """
    valid = (days >= FIRST_DAY) & (days < LAST_DAY + 1)
    whole = np.floor(np.where(valid, days, 0.0))
    if part == "month":
        months = whole.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        found = (months % 12 + 1).astype(np.float64)
    elif part == "weekday":
        found = (whole + 3) % 7
    else:  # to the second, because a fraction of a day is rounded
        seconds = np.floor((np.where(valid, days, 0.0) - whole) * 86_400 + 0.5)
        found = np.minimum(np.floor(seconds / 3600), 23.0)
    return np.where(valid, found, np.nan)


def date_part_of(days: float, part: str) -> float:
    """Return what `date_part` does, for one date."""
    if not FIRST_DAY <= days < LAST_DAY + 1:
        return math.nan
    whole = math.floor(days)
    if part == "month":
        return float(date.fromordinal(whole + EPOCH).month)
    if part == "weekday":
        return float((whole + 3) % 7)
    return float(min(math.floor((days - whole) * 86_400 + 0.5) // 3600, 23))


# Labels


def target(
    table: Table, schema: Schema, classes: tuple[str, ...] = ()
) -> "tuple[Floats | Integers, tuple[str, ...]]":
    """Return the label as a model learns it, and the classes.

    Regression: the numbers, and no classes. Else the number of each row's class among `classes`,
    by default those of this table.

    Raises:
        BadInput: a row has no label or a class that is not among `classes`, or the classes do not
            fit the problem.
    """
    _check_complete(table, schema.label_field)
    if schema.problem == "regression":
        return table.numbers(schema.label), ()
    names, codes = _class_names(table.columns[schema.label])
    classes = classes or classes_of(names, schema)
    numbers = {name: number for number, name in enumerate(classes)}
    if unknown := [name for name in names if name not in numbers]:
        raise BadInput(
            f"column {schema.label!r}: {unknown[0]!r} is not a class of the training split, which "
            f"has {_listed(classes)}; add rows of it, or choose another split.seed"
        )
    return np.array([numbers[name] for name in names], np.int64)[codes], classes


def classes_of(names: Sequence[str], schema: Schema) -> tuple[str, ...]:
    """Return the classes in their order: numbers by size, texts by letter, the positive one last.

    Raises:
        BadInput: there is one class, or for a binary label more than two or not the positive one.
    """
    whole = all(INTEGER.fullmatch(name) for name in names)
    found = tuple(sorted(names, key=lambda name: (int(name), name) if whole else (0, name)))
    where = f"column {schema.label!r}"
    if len(found) < 2:
        raise BadInput(f"{where}: the only class is {found[0]!r}, and a model needs two or more")
    if schema.problem != "binary":
        return found
    if len(found) > 2:
        raise BadInput(
            f"{where}: {len(found)} classes, {_listed(found)}, and problem is 'binary'; "
            "set problem to 'multiclass' in schema.json"
        )
    if schema.positive not in found:
        raise BadInput(
            f"{where}: the classes are {_listed(found)}, and positive is {schema.positive!r}; "
            "set positive to one of them in schema.json"
        )
    return tuple(sorted(found, key=lambda name: name == schema.positive))


def _check_complete(table: Table, label: Field) -> None:
    column = table.columns[label.name]
    if isinstance(column, Categories):
        empty = column.codes == (column.values.index("") if "" in column.values else -1)
    else:
        empty = np.isnan(column)
    if missing := int(empty.sum()):
        where = table.where(int(np.argmax(empty)))
        raise BadInput(
            f"{where}: {missing} row(s) have no value in the label column {label.name!r}"
        )


def _class_names(column: Column) -> tuple[list[str], Integers]:
    """Return the names of the classes that occur, and for each row the number of its name."""
    if isinstance(column, Categories):
        present, codes = np.unique(column.codes, return_inverse=True)
        return [column.values[code] for code in present.tolist()], codes
    values, codes = np.unique(column, return_inverse=True)
    return [class_name(value) for value in values.tolist()], codes


def _listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    return ", ".join([*map(repr, names[:MAX_NAMED]), *more])
