"""The metrics of groups of rows, by the columns that schema.json names in `facets`.

A text or boolean column has a group for each value, a number of few values too; other numbers and
dates are cut into quarters of the rows. Groups that are too small to judge, and those beyond
MAX_GROUPS, are one group together.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from sagemaker_project.tabular.cells import EPOCH
from sagemaker_project.tabular.estimates import Labels, metrics_of
from sagemaker_project.tabular.schema import Field, Schema
from sagemaker_project.tabular.table import Categories, Floats, Integers, Table

FEWEST_ROWS = 20  # of a group of its own
MAX_GROUPS = 12
MISSING, OTHERS = "(no value)", "(others)"


def facets(actual: Labels, answers: Floats, test: Table, schema: Schema) -> list[dict[str, Any]]:
    """Return [{"column", "group", "rows", "metrics": {name: value}}].

    A metric that a group does not have (the AUC of one class) is left out.
    """
    found = []
    for name in schema.facets:
        place, groups = groups_of(test, schema.field(name))
        for number, group in enumerate(groups):
            rows = place == number
            metrics = (
                metrics_of(schema.problem, actual[rows], answers[rows]).values
                if rows.sum() > 1
                else {}
            )
            found.append(
                {"column": name, "group": group, "rows": int(rows.sum()), "metrics": metrics}
            )
    return found


def groups_of(test: Table, field: Field) -> tuple[Integers, list[str]]:
    """Return the number of each row's group, and the groups' names."""
    column = test.columns[field.name]
    if isinstance(column, Categories):
        names = [value or MISSING for value in column.values]
        return _folded(column.codes.astype(np.int64), names)
    present = ~np.isnan(column)
    values = np.unique(column[present])
    write = _writer(field)
    if len(values) <= MAX_GROUPS:
        place, names = np.searchsorted(values, column), [write(value) for value in values]
    else:
        cuts = np.unique(np.quantile(column[present], (0.25, 0.5, 0.75)))
        place, names = np.searchsorted(cuts, column, "right"), _ranges(cuts, write)
    place = np.where(present, place, len(names)).astype(np.int64)
    return _folded(place, [*names, MISSING])


def _writer(field: Field) -> Callable[[float], str]:
    if field.type == "boolean":
        return lambda value: "true" if value else "false"
    if field.is_date:
        return lambda value: date.fromordinal(int(np.floor(value)) + EPOCH).isoformat()
    return lambda value: f"{value:.6g}"


def _ranges(cuts: Floats, write: Callable[[float], str]) -> list[str]:
    edges = [write(cut) for cut in cuts]
    inner = [f"{low} to {high}" for low, high in zip(edges, edges[1:], strict=False)]
    return [f"below {edges[0]}", *inner, f"from {edges[-1]}"]


def _folded(place: Integers, names: list[str]) -> tuple[Integers, list[str]]:
    """Keep the large groups, in their order, and put the others together as the last one."""
    rows = np.bincount(place, minlength=len(names))
    largest = np.argsort(-rows, kind="stable")[:MAX_GROUPS]
    kept = sorted(number for number in largest.tolist() if rows[number] >= FEWEST_ROWS)
    renumbered = np.full(len(names), len(kept), np.int64)
    renumbered[kept] = np.arange(len(kept))
    folded = renumbered[place]
    others = [OTHERS] if (folded == len(kept)).any() else []
    return folded, [*(names[number] for number in kept), *others]
