"""`sample_rows`: made-up rows that fit a schema, with a label that a model can learn."""

import json
import math
import random
from collections import Counter

import pytest
import tables
from sagemaker_project import sample_rows
from sagemaker_project.inspect_data.command import main
from sagemaker_project.tabular.cells import days, parser
from sagemaker_project.tabular.schema import read_schema

FIELDS = [
    {"name": "customer", "type": "string", "role": "id"},
    {"name": "plan", "type": "string", "constraints": {"enum": ["basic", "none", "prémium"]}},
    {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 20}},
    {"name": "weight", "type": "number", "missingValues": ["", "-999"], "zeroIsOdd": True},
    {"name": "debt", "type": "number", "constraints": {"maximum": -5}},
    {"name": "ripe", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]},
    {"name": "seen", "type": "date", "format": "%d.%m.%Y"},
    {"name": "at", "type": "datetime"},
    {"name": "remark", "type": "string", "role": "ignored"},
]
SPLIT = {"by": ["plan", "weight"]}
LABELS = {
    "regression": ({"type": "number"}, {"name": "mse", "at_most": 6}, ""),
    "counts": (
        {"type": "integer", "constraints": {"minimum": 1, "maximum": 29}},
        {"name": "mse", "at_most": 6},
        "",
    ),
    "texts": (
        {"type": "string", "constraints": {"enum": ["no", "yes"]}},
        {"name": "auc", "at_least": 0.6},
        "no",
    ),
    "0 and 1": ({"type": "integer"}, {"name": "auc", "at_least": 0.6}, "1"),
    "booleans": ({"type": "boolean"}, {"name": "auc", "at_least": 0.6}, "1"),
    "classes": (
        {"type": "string", "constraints": {"enum": list("abcdefg")}},
        {"name": "auc", "at_least": 0.6},
        "",
    ),
    "numbered classes": (
        {"type": "integer", "constraints": {"minimum": 1, "maximum": 4}},
        {"name": "auc", "at_least": 0.6},
        "",
    ),
}


def make_schema(label="regression", split=SPLIT, file=None, fields=FIELDS):
    about, metric, positive = LABELS[label]
    problem = "regression" if "at_most" in metric else "binary" if positive else "multiclass"
    content = {
        "fields": [*fields, {"name": "y", **about}],
        "label": "y",
        "problem": problem,
        "metric": metric,
        "split": split,
        "file": file or {},
    }
    return read_schema(json.dumps(content | ({"positive": positive} if positive else {})).encode())


@pytest.mark.parametrize("label", LABELS)
def test_every_cell_fits_its_column(label):
    schema = make_schema(label)
    rows = sample_rows.rows(schema, 500, 1)
    assert len(rows) == 500
    for field in schema.fields:
        cells = [row[field.name] for row in rows]
        missing = sum(cell.lower() in field.missing for cell in cells)
        assert 0 < missing < 40 if field.role == "feature" else not missing
        if field.is_text:
            if field.values:
                assert {cell for cell in cells if cell.lower() not in field.missing} <= {
                    *field.values
                }
            continue
        numbers = [value for value in map(parser(field), cells) if not math.isnan(value)]
        assert len(numbers) == 500 - missing, field.name
        assert all(field.minimum <= value <= field.maximum for value in numbers)
        assert not (field.zero_is_odd and 0 in numbers)
    assert len({row["customer"] for row in rows}) == 500


@pytest.mark.parametrize("label", [name for name in LABELS if name not in ("regression", "counts")])
def test_every_class_has_its_rows(label):
    schema = make_schema(label)
    counts = Counter(row["y"] for row in sample_rows.rows(schema, 600, 3))
    wanted = {"classes": 7, "numbered classes": 4}.get(label, 2)
    assert len(counts) == wanted and min(counts.values()) >= 40, counts


def test_the_same_seed_gives_the_same_rows():
    schema = make_schema()
    assert sample_rows.rows(schema, 50, 1) == sample_rows.rows(schema, 50, 1)
    assert sample_rows.rows(schema, 50, 1) != sample_rows.rows(schema, 50, 2)
    assert sample_rows.rows(schema, 0, 1) == []


@pytest.mark.parametrize("label", LABELS)
def test_the_label_can_be_learned(label):
    """A single tree beats the trivial predictor well."""
    import numpy as np
    from sklearn.metrics import r2_score, roc_auc_score
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    schema = make_schema(label)
    rows = sample_rows.rows(schema, 1200, 5)
    columns = []
    for field in schema.features:
        cells = [row[field.name] for row in rows]
        if field.is_text:
            codes = {text: n for n, text in enumerate(sorted(set(cells)))}
            columns.append([codes[cell] for cell in cells])
        else:
            columns.append([parser(field)(cell) for cell in cells])
    x, y = np.array(columns, float).T, np.array([row["y"] for row in rows])
    if schema.problem == "regression":
        model = DecisionTreeRegressor(min_samples_leaf=15).fit(x[:800], y[:800].astype(float))
        assert r2_score(y[800:].astype(float), model.predict(x[800:])) > 0.5
        return
    model = DecisionTreeClassifier(min_samples_leaf=15).fit(x[:800], y[:800])
    scores = model.predict_proba(x[800:])
    scores = scores[:, 1] if schema.problem == "binary" else scores
    assert roc_auc_score(y[800:], scores, multi_class="ovr") > 0.75


def test_a_group_has_several_rows_and_a_time_split_three_parts():
    schema = make_schema(split={"group": ["customer"]})
    groups = Counter(row["customer"] for row in sample_rows.rows(schema, 100, 1))
    assert set(groups.values()) == {sample_rows.ROWS_OF_GROUP}
    time = {"time": "seen", "validationFrom": "2024-03-01", "testFrom": "2024-05-01"}
    schema = make_schema(split=time)
    made = [days(row["seen"], "%d.%m.%Y") for row in sample_rows.rows(schema, 2000, 1)]
    train = sum(day < days("2024-03-01") for day in made) / 2000
    test = sum(day >= days("2024-05-01") for day in made) / 2000
    assert 0.65 < train < 0.75 and 0.12 < test < 0.18


@pytest.mark.parametrize("label", ["texts", "classes"])
def test_a_split_by_time_has_each_class_in_each_part(label):
    time = {"time": "seen", "validationFrom": "2024-03-01", "testFrom": "2024-05-01"}
    fields = sorted(FIELDS, key=lambda field: field["name"] != "seen")  # else it weighs little
    made = sample_rows.rows(make_schema(label, time, fields=fields), 1200, 1)
    dated = [(days(row["seen"], "%d.%m.%Y"), row["y"]) for row in made]
    last = Counter(name for day, name in dated if day >= days("2024-05-01"))
    assert set(last) == {name for _, name in dated}, last


FILES = (
    {},
    {"header": False},
    {"encoding": "utf-16", "delimiter": ";", "decimal": ","},
    {"encoding": "cp1252", "delimiter": "\t", "compression": "gzip"},
    {"format": "parquet"},
)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_the_file_is_what_the_schema_says(tmp_path, file):
    """inspect-data finds the same file and the same columns again."""
    fields = [one for one in FIELDS if one["name"] not in ("remark", "ripe")]
    schema = make_schema("texts", file=file, fields=fields)
    path, output = tmp_path / "rows", tmp_path / "schema.json"
    sample_rows.write_csv(schema, 400, 1, path)
    again = tmp_path / "again"
    sample_rows.write_csv(schema, 400, 1, again)
    assert path.read_bytes() == again.read_bytes()
    label = "y" if schema.file.header else f"column_{len(schema.fields)}"
    assert main([str(path), "--label", label, "--output", str(output), "--yes"]) == 0
    found = read_schema(output.read_bytes())
    assert found.file == schema.file
    wanted = [(one.type, one.role) for one in schema.fields]
    assert [(one.type, one.role) for one in found.fields] == wanted


@pytest.mark.parametrize("make", tables.TABLES, ids=lambda make: make.__name__)
def test_rows_can_be_made_for_each_of_the_ten_tables(tmp_path, make):
    made, output = make(tmp_path), tmp_path / "schema.json"
    main([str(made.data), "--label", made.label, "--output", str(output), "--yes"])
    schema = read_schema(output.read_bytes())
    rows = sample_rows.rows(schema, 100, random.Random(1).randrange(100))
    assert all(list(row) == [field.name for field in schema.fields] for row in rows)
    sample_rows.write_csv(schema, 100, 1, tmp_path / "rows")
