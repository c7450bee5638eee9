"""What SageMaker's scikit-learn container does around a plain inference.py, for gunicorn.

Flask with its two routes, as sagemaker-containers sets it up, and the handler that the examples
have: a data frame from the CSV, Pipeline.predict (of classes predict_proba), JSON. MODEL and
COLUMNS come from outside.
"""

import io
import json
import os

import flask
import joblib
import pandas as pd

app = flask.Flask(__name__)
pipeline = joblib.load(os.environ["MODEL"])
predict = getattr(pipeline, "predict_proba", None) or pipeline.predict
columns = os.environ["COLUMNS"].split(",")


@app.route("/ping")
def ping():
    return flask.Response(status=200, mimetype="application/json")


@app.route("/invocations", methods=["POST"])
def invocations():
    body = io.StringIO(flask.request.get_data(as_text=True))
    frame = pd.read_csv(body, header=None, names=columns, keep_default_na=False)
    answer = json.dumps({"predictions": predict(frame).tolist()})
    return flask.Response(answer, mimetype=flask.request.headers["Accept"])
