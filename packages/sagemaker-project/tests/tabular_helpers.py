"""Tables and schemas in memory, for the tests of sagemaker_project.tabular."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sagemaker_project.tabular.schema import Schema, read_schema
from sagemaker_project.tabular.table import Categories, Table

METRIC = {
    "regression": {"name": "mse", "at_most": 6.0},
    "binary": {"name": "auc", "at_least": 0.8},
    "multiclass": {"name": "accuracy", "at_least": 0.5},
}


def schema_of(
    problem: str, fields: Sequence[Mapping[str, Any]], label: str = "y", **members: Any
) -> Schema:
    """Return a schema of these fields, split by the first one."""
    content = {
        "fields": list(fields),
        "label": label,
        "problem": problem,
        "metric": METRIC[problem],
        "split": {"seed": 42, "by": [fields[0]["name"]]},
        **({"positive": "yes"} if problem == "binary" else {}),
        **members,
    }
    return read_schema(json.dumps(content).encode())


def table_of(columns: Mapping[str, Sequence[Any]]) -> Table:
    """Return a table: lists of texts are categories, all else numbers."""
    rows = len(next(iter(columns.values())))
    return Table(
        {
            name: Categories.of(cells)
            if isinstance(cells[0], str)
            else np.asarray(cells, np.float64)
            for name, cells in columns.items()
        },
        ("data.csv",),
        np.zeros(rows, np.int32),
        np.arange(2, rows + 2),
    )
