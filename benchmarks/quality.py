"""Called by bench.py; prints JSON: a metric of ours and of another model on the same splits.

    quality.py abalone SCHEMA FILE   test mse; XGBoost with the settings of the official SageMaker
                                     seed repository
    quality.py auc TABLE             test AUC, of several classes one against the rest;
                                     HistGradientBoosting with its defaults and one-hot encoding

Splits are seeded, 70/15/15. Ours is trained as train.py does it with its defaults: fitted on the
first part, the second one decides; the other is fitted on the first part. No default was chosen by
these seeds.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import tables
from sagemaker_project.tabular import features, table, training
from sagemaker_project.tabular.parameters import Parameters
from sagemaker_project.tabular.schema import read_schema

SEEDS = {"abalone": range(5000, 5030), "auc": range(5000, 5020)}
XGBOOST = {
    "objective": "reg:squarederror",  # the seed's reg:linear by its current name
    "max_depth": 5,
    "eta": 0.2,
    "gamma": 4,
    "min_child_weight": 6,
    "subsample": 0.7,
    "verbosity": 0,
}


def main(kind, *arguments):
    frame, schema, other = {"abalone": abalone, "auc": classes}[kind](*arguments)
    results = np.array([scores(frame, schema, other, seed) for seed in SEEDS[kind]])
    ours, theirs = results.mean(0)
    ratio = float((results[:, 0] / results[:, 1]).mean())
    print(json.dumps({"ours": ours, "theirs": theirs, "ratio": ratio}))


def scores(frame, schema, other, seed):
    """Return the metric of ours and of the other model on the test rows of a seed."""
    order = np.random.default_rng(seed).permutation(len(frame))
    parts = np.split(order, [int(0.7 * len(order)), int(0.85 * len(order))])
    fitted_on, validation, test = (as_table(frame.iloc[part], schema) for part in parts)
    fitted = training.fit(fitted_on, validation, schema, Parameters())
    inputs = features.inputs(test, schema)
    label = features.target(test, schema, fitted.classes)[0]
    predict = fitted.pipeline.predict_proba if fitted.classes else fitted.pipeline.predict
    theirs = other(frame.iloc[parts[0]], frame.iloc[parts[2]], schema, seed)
    metric = auc if fitted.classes else mse
    return metric(predict(inputs), label), metric(theirs, label)


def as_table(frame, schema):
    columns = {
        field.name: table.Categories.of(frame[field.name].astype(str))
        if field.is_text
        else frame[field.name].to_numpy(np.float64)
        for field in schema.used
    }
    rows = np.arange(len(frame))
    return table.Table(columns, ("table",), np.zeros(len(frame), np.int32), rows)


def mse(prediction, label):
    return np.mean((prediction - label) ** 2)


def auc(probabilities, label):
    from sklearn.metrics import roc_auc_score

    if probabilities.shape[1] == 2:
        return roc_auc_score(label, probabilities[:, 1])
    return roc_auc_score(label, probabilities, multi_class="ovr", average="macro")


# Regression


def abalone(schema, data):
    schema = read_schema(Path(schema).read_bytes())
    return pd.read_csv(data, names=[field.name for field in schema.used]), schema, xgboost


def xgboost(train, test, schema, seed):
    import xgboost

    def matrix(frame):
        inputs = pd.get_dummies(frame.drop(columns=schema.label), dtype=float)
        return xgboost.DMatrix(inputs, frame[schema.label])

    booster = xgboost.train({**XGBOOST, "seed": seed}, matrix(train), num_boost_round=50)
    return booster.predict(matrix(test))


# Classes


def classes(name):
    """Return a made-up table, or one that scikit-learn brings along."""
    from sklearn import datasets

    if name in ("binary", "multiclass"):
        frame = tables.make(name, 4_000, 30)
    else:
        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        frame = bunch.data.assign(y=bunch.target.map(lambda code: f"class {code}"))
    names = sorted(set(frame["y"]))
    content = {
        "fields": [
            {"name": column, "type": "string" if frame[column].dtype == object else "number"}
            for column in frame
        ],
        "label": "y",
        "problem": "binary" if len(names) == 2 else "multiclass",
        "metric": {"name": "auc", "at_least": 0.5},
        "split": {"by": sorted(frame)},
    }
    content |= {"positive": names[-1]} if len(names) == 2 else {}
    return frame, read_schema(json.dumps(content).encode()), gradient_boosting


def gradient_boosting(train, test, schema, seed):
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer(
        (encoder, make_column_selector(dtype_include=object)), remainder="passthrough"
    )
    model = make_pipeline(columns, HistGradientBoostingClassifier(random_state=seed))
    model.fit(train.drop(columns="y"), train["y"])
    return model.predict_proba(test.drop(columns="y"))


main(*sys.argv[1:])
