"""Made-up tables, a fitted Pipeline of each, and the model folder that training would write."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other are far slower

import joblib
import numpy as np
import pandas as pd
import sklearn
from sagemaker_project.tabular import serving
from sagemaker_project.tabular.features import date_part, input_names
from sagemaker_project.tabular.schema import Schema, read_schema
from sagemaker_project.tabular.trees import export_trees
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

METRIC = {
    "regression": {"name": "mse", "at_most": 6.0},
    "binary": {"name": "auc", "at_least": 0.5},
    "multiclass": {"name": "accuracy", "at_least": 0.5},
}
FIELDS = [
    {"name": "sex", "type": "string"},
    {"name": "length", "type": "number"},
    {"name": "weight", "type": "number", "missingValues": ["-999", "none", "-"]},
    {"name": "visits", "type": "integer"},
    {"name": "member", "type": "boolean"},
    {"name": "signup", "type": "datetime"},
]


def make_schema(problem: str, fields: list[dict[str, Any]]) -> Schema:
    label = {"name": "y", "type": "number" if problem == "regression" else "string"}
    content = {
        "fields": [*fields, label],
        "label": "y",
        "problem": problem,
        "metric": METRIC[problem],
        "split": {"by": [fields[0]["name"]]},
    }
    return read_schema(
        json.dumps(content | ({"positive": "yes"} if problem == "binary" else {})).encode()
    )


def make_frame(schema: Schema, rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return the inputs of random rows; a tenth of the values is missing."""
    columns: dict[str, Any] = {}
    for field in schema.features:
        missing = rng.random(rows) < 0.1
        if field.is_text:
            values = np.array(["F", "I", "M", "é", "a,b"], object)[rng.integers(0, 5, rows)]
            columns[field.name] = np.where(missing, "", values)
            continue
        values = {
            "number": rng.normal(size=rows).round(3),
            "integer": rng.integers(0, 30, rows).astype(float),
            "boolean": rng.integers(0, 2, rows).astype(float),
            "date": rng.integers(10_000, 20_000, rows).astype(float),
            "datetime": rng.integers(10_000 * 24, 20_000 * 24, rows) / 24,
        }[field.type]
        columns[field.name] = np.where(missing, np.nan, values)
    return pd.DataFrame(
        {
            one.name: date_part(columns[one.field], one.part) if one.part else columns[one.field]
            for one in input_names(schema)
        }
    )


def make_target(problem: str, frame: pd.DataFrame, rng: np.random.Generator, classes: int) -> Any:
    score = rng.normal(0, 0.3, len(frame))
    for name in frame:
        values = frame[name]
        if values.dtype == object:
            score += (values == "M") * 1.0 - (values == "") * 0.7
        else:
            spread = float(np.nanstd(values)) or 1.0
            score += np.nan_to_num((values - np.nanmean(values)) / spread) * 0.5
    if problem == "regression":
        return np.exp(score / 3)
    return np.argsort(np.argsort(score)) * classes // len(score)


def make_pipeline(
    problem: str,
    frame: pd.DataFrame,
    target: Any,
    *,
    loss: str = "poisson",
    impute: bool = False,
    **settings: Any,
) -> Pipeline:
    texts = [name for name in frame if frame[name].dtype == object]
    numbers = [name for name in frame if name not in texts]
    one_hot = OneHotEncoder(
        max_categories=64, handle_unknown="infrequent_if_exist", sparse_output=False
    )
    median = SimpleImputer(strategy="median", keep_empty_features=True)
    steps: list[Any] = [(f"one-hot {name}", one_hot, [name]) for name in texts]
    if numbers:
        steps.append(("numbers", median if impute else "passthrough", numbers))
    settings = {"max_iter": 20, "early_stopping": False, "random_state": 1} | settings
    if problem == "regression":
        model = HistGradientBoostingRegressor(loss=loss, **settings)
    else:
        model = HistGradientBoostingClassifier(**settings)
    return Pipeline([("columns", ColumnTransformer(steps)), ("model", model)]).fit(frame, target)


@dataclass(frozen=True)
class Made:
    """A model folder, what is in it, and the inputs that it was fitted on."""

    folder: Path
    schema: Schema
    classes: tuple[str, ...]
    pipeline: Pipeline
    frame: pd.DataFrame

    def expected(self, frame: pd.DataFrame) -> Any:
        """Return the Pipeline's answers for inputs, as predict_fn gives them."""
        if not self.classes:
            return self.pipeline.predict(frame).tolist()
        return [
            {
                "predicted_label": self.classes[int(np.argmax(row))],
                "probabilities": dict(zip(self.classes, row.tolist(), strict=True)),
            }
            for row in self.pipeline.predict_proba(frame)
        ]


def make_model(
    folder: Path,
    problem: str = "regression",
    fields: list[dict[str, Any]] | None = None,
    *,
    rows: int = 400,
    with_trees: bool = True,
    seed: int = 1,
    **settings: Any,
) -> Made:
    """Write what training writes, and return it."""
    rng = np.random.default_rng(seed)
    schema = make_schema(problem, fields or FIELDS)
    classes = {"regression": (), "binary": ("no", "yes"), "multiclass": ("a", "b,c", "d")}[problem]
    frame = make_frame(schema, rows, rng)
    target = make_target(problem, frame, rng, len(classes))
    pipeline = make_pipeline(problem, frame, target, **settings)
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(pipeline, folder / "model.joblib")
    if with_trees:
        content = export_trees(pipeline, list(frame.columns))
        (folder / "trees.json").write_text(json.dumps(content))
    about = {
        "schema": schema.content,
        "problem": problem,
        "classes": list(classes),
        "versions": {"scikit-learn": sklearn.__version__},
        "files": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
            if path.name != "model.json"
        },
    }
    (folder / "model.json").write_text(json.dumps(about))
    return Made(folder, schema, classes, pipeline, frame)


def invoke(
    model: serving.Server,
    body: Any,
    content_type: str | None = "text/csv",
    accept: str | None = "application/json",
) -> tuple[int, Any]:
    """Return status and content of the answer, by the path that the container takes."""
    prediction = serving.predict_fn(serving.input_fn(body, content_type), model)
    answer = serving.output_fn(prediction, accept)
    if isinstance(answer, tuple):
        text, kind = answer
        return 200, json.loads(text)["predictions"] if kind == "application/json" else text
    assert answer.mimetype == "application/json"
    return answer.status_code, json.loads(answer.get_data())["error"]
