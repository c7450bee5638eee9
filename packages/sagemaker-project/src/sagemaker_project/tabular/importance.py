"""Permutation importance: how much worse the metric gets when a column is shuffled.

Several times a column's values are dealt anew among the rows, and the model answers. The rows are a
seeded sample of the test split, bounded so that wide tables do not take hours. 0 means that the
model does without the column, also where another column tells the same.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sagemaker_project.tabular.estimates import Labels, value_of
from sagemaker_project.tabular.schema import Metric, Schema
from sagemaker_project.tabular.table import Categories, Column, Floats, Integers, Table

REPEATS = 3
MAX_ROWS, MIN_ROWS = 2_000, 200
MAX_PREDICTED = 200_000  # rows, of all columns and repeats together, down to MIN_ROWS


def importance(
    actual: Labels,
    test: Table,
    schema: Schema,
    predict: Callable[[Table], Floats],
    metric: Metric,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return [{"column", "value", "standard_deviation"}], the most important column first.

    `value` is in units of the metric, its standard deviation that of the mean of the repeats. A
    column is left out where the metric is undefined on the sample.
    """
    generator = np.random.default_rng(seed)
    budget = MAX_PREDICTED // (REPEATS * len(schema.features))
    rows = min(len(test), MAX_ROWS, max(MIN_ROWS, budget))
    sample = np.sort(generator.permutation(len(test))[:rows])
    table, labels = test.take(sample), actual[sample]

    def value(changed: Table) -> float | None:
        return value_of(metric.name, schema.problem, labels, predict(changed))

    whole = value(table)
    found = []
    for field in schema.features:
        losses = []
        for _ in range(REPEATS):
            shuffled = value(_shuffled(table, field.name, generator.permutation(rows)))
            if whole is not None and shuffled is not None:
                losses.append(whole - shuffled if metric.more_is_better else shuffled - whole)
        if len(losses) > 1:
            spread = float(np.std(losses, ddof=1) / np.sqrt(len(losses)))
            mean = float(np.mean(losses))
            found.append({"column": field.name, "value": mean, "standard_deviation": spread})
    return sorted(found, key=lambda one: -one["value"])


def _shuffled(table: Table, name: str, order: Integers) -> Table:
    column = table.columns[name]
    dealt: Column = column.take(order) if isinstance(column, Categories) else column[order]
    return Table({**table.columns, name: dealt}, table.files, table.file, table.line)
