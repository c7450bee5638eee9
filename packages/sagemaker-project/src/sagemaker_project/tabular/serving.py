"""Serve a model: the four functions that the scikit-learn container calls.

A model's inference.py hands them on. The archive has model.json (schema, problem, classes, hashes,
versions), model.joblib (the fitted Pipeline) and, where training could prove it, trees.json: the
same model as plain numbers, whose answers are the Pipeline's bit for bit and need no data frame.

Requests: text/csv, one record a line, no header, columns in the order of schema.json; or
application/json: a record, a list of records, or {"instances": [records]}, where a record is a list
in that order or an object by column name. An empty field or null is a missing value, and so is what
schema.json says. Answers: application/json {"predictions": [...]}, or text/csv, a prediction a
line. A prediction is a number, or of classes {"predicted_label": ..., "probabilities": {...}}, in
CSV the label and the probabilities in the order of the classes.

A client's mistake must not be raised, because the container answers every exception with a 500.
So input_fn and predict_fn return it as a value, a ClientError, and output_fn turns it into the
response: 400, 406, 413 or 415 with {"error": "what, in which row and column"}.
"""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sagemaker_project.tabular import answers, requests
from sagemaker_project.tabular.answers import Prediction
from sagemaker_project.tabular.features import date_part, date_part_of, input_names
from sagemaker_project.tabular.records import Columns, Value, Values
from sagemaker_project.tabular.requests import ClientError, Cut, Rows, Text
from sagemaker_project.tabular.schema import read_schema
from sagemaker_project.tabular.table import Floats
from sagemaker_project.tabular.trees import Trees, turned

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]

Data: TypeAlias = "Rows | Cut | Text | ClientError"


class Server:
    """A model that was loaded from its folder.

    Raises:
        RuntimeError: a file was changed after training, or scikit-learn is of another version.
    """

    def __init__(self, model_dir: str) -> None:
        with open(os.path.join(model_dir, "model.json"), encoding="utf-8") as file:
            about = json.load(file)
        _check_version(about["versions"]["scikit-learn"])
        # Each file is read once: the bytes that are checked are the bytes that are loaded.
        contents = {name: _checked(model_dir, name, sha) for name, sha in about["files"].items()}
        self.schema = read_schema(json.dumps(about["schema"]).encode(), "model.json")
        self.classes: tuple[str, ...] = tuple(about["classes"] or ())
        self.columns = Columns(self.schema.features)
        self.inputs = input_names(self.schema)
        places = {name: n for n, name in enumerate(self.columns.names)}
        self.places = [places[one.field] for one in self.inputs]
        self.trees: Trees | None = None
        if "trees.json" in contents:
            names = [one.name for one in self.inputs]
            self.trees = Trees(json.loads(contents["trees.json"]), names)
        self._joblib = contents["model.joblib"]
        if not (self.trees and self.trees.are_enough):
            _ = self.pipeline  # now, not in the first request

    @cached_property
    def pipeline(self) -> Any:
        """The fitted Pipeline. It takes seconds to load, and proven trees do without it."""
        import joblib

        return joblib.load(io.BytesIO(self._joblib))

    def predict(self, data: "Rows | Cut | Text") -> list[Prediction]:
        """Return a prediction for each record.

        Raises:
            ClientError: 400.
        """
        found = self.answers(self.columns.of(data))
        if not self.classes:
            return list[Prediction](found.tolist())
        names = self.classes
        return [
            {"predicted_label": names[best], "probabilities": dict(zip(names, row, strict=True))}
            for best, row in zip(found.argmax(1).tolist(), found.tolist(), strict=True)
        ]

    def answers(self, columns: Sequence[Values]) -> Floats:
        """Return predictions of shape (rows,), or probabilities (rows, classes).

        `columns` has the values of each feature, in the order of schema.json.
        """
        rows, trees = len(columns[0]), self.trees
        if trees and trees.are_few(rows):
            return trees.few(turned([self._values(n, columns) for n in range(len(self.inputs))]))
        found = [self._array(n, columns) for n in range(len(self.inputs))]
        if trees and trees.takes(rows):
            return trees.many(trees.columns(found))
        import pandas

        names = [one.name for one in self.inputs]
        frame = pandas.DataFrame(dict(zip(names, found, strict=True)))
        predict = self.pipeline.predict_proba if self.classes else self.pipeline.predict
        return np.asarray(predict(frame), np.float64)

    def _values(self, number: int, columns: Sequence[Values]) -> Sequence[Value]:
        """Return an input as floats or texts."""
        column, part = columns[self.places[number]], self.inputs[number].part
        values: Sequence[Value] = column.tolist() if isinstance(column, np.ndarray) else column
        return [date_part_of(float(value), part) for value in values] if part else values

    def _array(self, number: int, columns: Sequence[Values]) -> Values:
        """Return an input as an array of floats, or as texts."""
        column, one = columns[self.places[number]], self.inputs[number]
        if one.is_text:
            return column
        values = np.asarray(column, np.float64)
        return date_part(values, one.part) if one.part else values


def _check_version(trained_with: str) -> None:
    """Raise RuntimeError for another minor version: a pickle may not work there."""
    found = version("scikit-learn")
    if trained_with.split(".")[:2] != found.split(".")[:2]:
        raise RuntimeError(
            f"model.json: the model was trained with scikit-learn {trained_with}, this is "
            f"{found}; serve it with that version, or train again with this one"
        )


def _checked(model_dir: str, name: str, expected: str) -> bytes:
    with open(os.path.join(model_dir, name), "rb") as file:
        content = file.read()
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise RuntimeError(
            f"{name}: its sha256 is {found}, model.json says {expected}; "
            "the artifact was changed after training and is not loaded"
        )
    return content


# The container's functions


def model_fn(model_dir: str) -> "Server":
    return Server(model_dir)


def input_fn(body: "str | bytes", content_type: str | None) -> Data:
    try:
        return requests.read(body, content_type)
    except ClientError as error:
        return error


def predict_fn(data: Data, model: "Server") -> "list[Prediction] | ClientError":
    if isinstance(data, ClientError):
        return data
    try:
        return model.predict(data)
    except ClientError as error:
        return error


def output_fn(
    prediction: "list[Prediction] | ClientError", accept: str | None
) -> "tuple[str, str] | Response":
    if isinstance(prediction, ClientError):
        return answers.error_response(prediction)
    try:
        return answers.write(prediction, accept)
    except ClientError as error:
        return answers.error_response(error)
