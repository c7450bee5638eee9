"""Serve the model: the four functions that the scikit-learn container calls.

This file travels inside model.tar.gz, with the package that it imports. Requests: text/csv, one
record a line, no header, columns in the order of schema.json; or application/json: a record, a list
of records, or {"instances": [records]}, where a record is a list in that order or an object by
column name. An empty field, null or one of the schema's missing values is no value.

Answers: application/json {"predictions": [...]}, for a class {"predicted_label": ...,
"probabilities": {...}}; or text/csv, a line for each record. A client's mistake is answered with
400, 406, 413 or 415 and {"error": "what, in which row and column"}; the container would turn an
exception into a 500, so the functions hand a mistake on as a value.
"""

from sagemaker_project.tabular import serving


def model_fn(model_dir):
    """Load the model; refuse one that was changed after training."""
    return serving.model_fn(model_dir)


def input_fn(body, content_type):
    """Return the records of a request, or the client's mistake."""
    return serving.input_fn(body, content_type)


def predict_fn(records, model):
    """Return a prediction for each record, or the client's mistake."""
    return serving.predict_fn(records, model)


def output_fn(prediction, accept):
    """Return the answer, in a form that the client accepts."""
    return serving.output_fn(prediction, accept)
