"""Schemas and tables in memory."""

import json

import numpy as np
from sagemaker_project.tabular.schema import read_schema
from sagemaker_project.tabular.table import Categories, Table

METRICS = {
    "regression": {"name": "mse", "at_most": 6.0},
    "binary": {"name": "auc", "at_least": 0.8},
    "multiclass": {"name": "accuracy", "at_least": 0.5},
}


def schema_content(fields, label="y", problem="regression", split=None, **members):
    """Return the content of a schema.json; `fields` is {name: type, or the members of a field}."""
    described = {
        name: {"type": about} if isinstance(about, str) else about for name, about in fields.items()
    }
    by = [name for name in fields if name != label]
    return {
        "fields": [{"name": name, **about} for name, about in described.items()],
        "label": label,
        "problem": problem,
        "metric": METRICS[problem],
        "split": {"seed": 42, "by": by} if split is None else split,
        **members,
    }


def make_schema(*args, **members):
    return read_schema(json.dumps(schema_content(*args, **members)).encode())


def make_table(columns):
    """Return a table of one file with a header; a column of texts becomes categories."""
    made = {
        name: Categories.of(cells)
        if any(isinstance(cell, str) for cell in cells)
        else numbers(cells)
        for name, cells in columns.items()
    }
    rows = len(next(iter(columns.values())))
    return Table(made, ("data.csv",), np.zeros(rows, np.int32), np.arange(2, rows + 2))


def numbers(cells):
    return np.array([np.nan if cell is None else cell for cell in cells], np.float64)


def joined(*tables):
    """Return the rows of tables one after another, each table as a file of its own."""
    columns = {}
    for name, column in tables[0].columns.items():
        if isinstance(column, Categories):
            texts = [text for table in tables for text in table.columns[name].texts]
            columns[name] = Categories.of(texts)
        else:
            columns[name] = np.concatenate([table.columns[name] for table in tables])
    file = np.repeat(np.arange(len(tables)), [len(table) for table in tables]).astype(np.int32)
    names = tuple(f"part-{number}.csv" for number in range(len(tables)))
    return Table(columns, names, file, np.concatenate([table.line for table in tables]))


def shells(rows=600, seed=0):
    """Return a table of a category, two numbers with gaps, and a label to learn: y."""
    random = np.random.default_rng(seed)
    length = random.normal(50, 10, rows).round(2)
    height = np.where(random.random(rows) < 0.05, np.nan, random.normal(5, 1, rows).round(3))
    sex = [str(value) for value in random.choice(["F", "I", "M", ""], rows)]
    label = (length / 5 + random.normal(0, 1, rows)).round()
    return make_table({"sex": sex, "length": length, "height": height, "y": label})


SHELLS = {"sex": "string", "length": "number", "height": "number", "y": "integer"}
