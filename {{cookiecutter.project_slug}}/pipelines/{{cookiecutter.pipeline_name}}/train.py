"""Fit one scikit-learn Pipeline, preprocessing and model together, and pack it for serving.

Reads train.csv and schema.json, which describes the columns, from one channel and validation.csv
from the other. Writes to the model folder:
  model.joblib       the fitted Pipeline, from raw records to predictions
  trees.json         the same model as plain numbers, for single rows (see inference.py); only if
                     its predictions for the validation split equal the Pipeline's bit for bit
  model.json         columns, sha256 of both files, versions, hyperparameters, metrics
  code/inference.py  the code that serves it

Gradient boosting runs without early stopping, which would take rows from a small training split;
the number of iterations is a hyperparameter. The same data, seed and versions give the same model
on any number of cores, because scikit-learn sums up a histogram within one thread.

Exit codes: 0 done, 1 the machine failed, 2 the data or the arguments are wrong.
"""

import argparse
import contextlib
import hashlib
import json
import math
import os
import platform
import shutil
import sys
from pathlib import Path

LOSSES = {
    "poisson": "log",
    "gamma": "log",
    "squared_error": "identity",
    "absolute_error": "identity",
}
MAX_CATEGORIES = 64  # per column; the rarest ones beyond it are treated as one
MAX_DEPTH = 60  # of a tree that is turned into an expression for single rows
MAX_MESSAGE = 1024  # bytes of a FailureReason
UNSEEN = " "  # no category is blank: preprocess.py strips them


class BadInput(Exception):
    """A mistake in the data or the arguments. The message is one line."""


# Data


def read_schema(folder):
    path = folder / "schema.json"
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
        return schema["label"], {item["name"]: item["kind"] for item in schema["features"]}, schema
    except FileNotFoundError:
        raise BadInput(f"{path}: not there; preprocess.py writes it next to train.csv") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not a schema as preprocess.py writes it ({error!r})") from None


def read_split(folder, name, label, kinds):
    """Return features and label; an empty field is NaN for a number and "" for a category."""
    import pandas as pd

    def number(text):  # pandas' parser may differ from float(), used in serving, in the last digit
        return float(text) if text else float("nan")

    path = folder / f"{name}.csv"
    if not path.is_file():
        raise BadInput(f"{path}: not there; preprocess.py writes it")
    categorical = [column for column, kind in kinds.items() if kind == "categorical"]
    numeric = [*(column for column in kinds if column not in categorical), label]
    try:
        frame = pd.read_csv(
            path,
            converters=dict.fromkeys(numeric, number),
            dtype=dict.fromkeys(categorical, str),
            keep_default_na=False,
        )
    except pd.errors.EmptyDataError:
        raise BadInput(f"{path}: the file is empty") from None
    except ValueError as error:
        raise BadInput(f"{path}: {str(error).splitlines()[0]}") from None
    if absent := [column for column in [*kinds, label] if column not in frame]:
        raise BadInput(f"{path}: no column {absent[0]!r}; it has {', '.join(frame.columns)}")
    if frame.empty:
        raise BadInput(f"{path}: a header and 0 rows")
    if missing := int(frame[label].isna().sum()):
        raise BadInput(f"{path}: {missing} row(s) have no value in the label column {label!r}")
    return frame[list(kinds)], frame[label]


def check_label(values, label, loss):
    lowest = float(values.min())
    if loss == "gamma" and lowest <= 0 or loss == "poisson" and (lowest < 0 or values.max() == 0):
        rule = "all above 0" if loss == "gamma" else "0 or more, and not all 0"
        raise BadInput(
            f"train.csv, column {label!r}: its lowest value is {lowest:g}, and --loss {loss} needs "
            f"labels {rule}; use --loss squared_error"
        )


# Model


def build_pipeline(kinds, args):
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    # A missing category is the category ""; an unknown one counts as a rare one, or as none.
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MAX_CATEGORIES, sparse_output=False
    )
    median = SimpleImputer(strategy="median", keep_empty_features=True)
    categorical = [column for column, kind in kinds.items() if kind == "categorical"]
    numeric = [column for column, kind in kinds.items() if kind == "numeric"]
    columns = [(f"one-hot {i}", one_hot, [column]) for i, column in enumerate(categorical)]
    columns += [("median", median, numeric)] if numeric else []
    regressor = HistGradientBoostingRegressor(
        loss=args.loss,
        learning_rate=args.learning_rate,
        max_iter=args.max_iter,
        max_leaf_nodes=args.max_leaf_nodes,
        min_samples_leaf=args.min_samples_leaf,
        l2_regularization=args.l2_regularization,
        max_features=args.max_features,
        early_stopping=False,
        random_state=args.seed,
    )
    return Pipeline([("columns", ColumnTransformer(columns)), ("regressor", regressor)])


def metrics(pipeline, features, label):
    errors = pipeline.predict(features) - label.to_numpy()
    mse = float((errors**2).mean())
    return {"mse": mse, "rmse": mse**0.5, "mae": float(abs(errors).mean())}


# The model as plain numbers


def proven_trees(pipeline, validation, loss):
    """Return the trees for single rows and the proof that they are right, or None and why not."""
    try:
        trees = export_trees(pipeline, list(validation), loss)
        return trees, {"proven": True, "rows": prove(trees, pipeline, validation)}
    except Exception as error:  # any kind: this reads private attributes of scikit-learn
        print(f"warning: single rows will go through the Pipeline: {error}", file=sys.stderr)
        return None, {"proven": False, "reason": repr(error)}


def export_trees(pipeline, names, loss):
    """Return what inference.compile_trees reads: how columns become inputs, and the trees."""
    import numpy as np
    import pandas as pd

    transformer, regressor = pipeline[0], pipeline[-1]
    inputs = []
    for _, step, columns in transformer.transformers_:
        if hasattr(step, "categories_"):
            values = list(step.categories_[0])
            frame = pd.DataFrame({columns[0]: [*values, UNSEEN]})
            *codes, unseen = step.transform(frame).tolist()
            codes = dict(zip(values, codes, strict=True))
            inputs.append({"feature": names.index(columns[0]), "codes": codes, "unseen": unseen})
        elif hasattr(step, "statistics_"):
            nothing = pd.DataFrame(np.full((1, len(columns)), np.nan), columns=columns)
            for column, fill in zip(columns, step.transform(nothing)[0].tolist(), strict=True):
                inputs.append({"feature": names.index(column), "fill": fill})
    trees = [nested(tree.nodes, 0, 0) for [tree] in regressor._predictors]
    baseline = float(regressor._baseline_prediction[0, 0])
    return {"inputs": inputs, "link": LOSSES[loss], "baseline": baseline, "trees": trees}


def nested(nodes, index, depth):
    """Return a leaf as its value, any other node as [input, threshold, left, right]."""
    if depth > MAX_DEPTH:
        raise ValueError(f"a tree is more than {MAX_DEPTH} levels deep")
    node = nodes[index]
    if node["is_leaf"]:
        return float(node["value"])
    left, right = (nested(nodes, node[side], depth + 1) for side in ("left", "right"))
    return [int(node["feature_idx"]), float(node["num_threshold"]), left, right]


def prove(trees, pipeline, validation):
    """Raise ValueError unless the trees predict exactly what the Pipeline does."""
    import inference
    import numpy as np

    rows = list(zip(*(validation[column].tolist() for column in validation), strict=True))
    rows += list(edge_rows(rows[0]))
    features = [inference.Feature(column, False, frozenset()) for column in validation]
    expected = pipeline.predict(inference.data_frame(rows, features))
    score_row = inference.compile_trees(json.loads(json.dumps(trees, allow_nan=False)))
    found = np.array([score_row(*row) for row in rows])
    if differing := int((found != expected).sum()):
        raise ValueError(f"{differing} of {len(rows)} predictions differ from the Pipeline's")
    return len(rows)


def edge_rows(row):
    """Yield rows with missing values, unknown categories and extreme numbers."""
    for index, value in enumerate(row):
        others = ("", UNSEEN) if isinstance(value, str) else (float("nan"), 0.0, -1e300, 1e300)
        for other in others:
            yield (*row[:index], other, *row[index + 1 :])
    yield tuple("" if isinstance(value, str) else float("nan") for value in row)


# Writing


def save(folder, pipeline, trees, about):
    """Write the artifact; model.json, which names the other files, comes last."""
    import joblib

    (folder / "code").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("inference.py"), folder / "code" / "inference.py")
    joblib.dump(pipeline, folder / "model.joblib")
    files = ["model.joblib"]
    if trees:
        (folder / "trees.json").write_text(json.dumps(trees), encoding="utf-8")
        files.append("trees.json")
    about["files"] = {name: sha256_of(folder / name) for name in files}
    part = folder / ".model.json.part"
    part.write_text(json.dumps(about, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, folder / "model.json")


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions():
    import numpy
    import pandas
    import sklearn

    packages = {"numpy": numpy, "pandas": pandas, "scikit-learn": sklearn}
    found = {name: package.__version__ for name, package in packages.items()}
    return {"python": platform.python_version(), **found}


# Command


def train(args):
    label, kinds, schema = read_schema(args.train)
    features, target = read_split(args.train, "train", label, kinds)
    validation, validation_target = read_split(args.validation, "validation", label, kinds)
    check_label(target, label, args.loss)

    pipeline = build_pipeline(kinds, args).fit(features, target)
    scores = {
        "train": metrics(pipeline, features, target),
        "validation": metrics(pipeline, validation, validation_target),
    }
    if not all(math.isfinite(value) for split in scores.values() for value in split.values()):
        raise BadInput(
            f"train.csv, column {label!r}: its values are too large to square; rescale it"
        )
    trees, fast_path = proven_trees(pipeline, validation, args.loss)
    hyperparameters = {
        name: value
        for name, value in vars(args).items()
        if name not in ("train", "validation", "model_dir", "failure")
    }
    about = {
        **schema,
        "versions": versions(),
        "hyperparameters": hyperparameters,
        "rows": {"train": len(features), "validation": len(validation)},
        "metrics": scores,
        "fast_path": fast_path,
    }
    save(args.model_dir, pipeline, trees, about)
    return about


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise BadInput(f"{message}; see --help")


def whole(text, lowest, highest=2**31 - 1):
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number from {lowest} to {highest}"
        )
    return int(text)


def real(text, low, high, low_included=False):
    """Parse a number above `low` (or equal to it, if included) and up to `high`."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low < value <= high and not (low_included and value == low):
        rule = "from" if low_included else "above"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number {rule} {low:g}, up to {high:g}")
    return value


def parse(argv, args=None):
    parser = Parser(description="Train the model and pack it for serving.", allow_abbrev=False)
    output = os.environ.get("SM_OUTPUT_DIR")
    failure = Path(output) / "failure" if output else None
    parser.add_argument(
        "--failure", type=Path, default=failure, help="file for the reason of a failure"
    )
    for name, variable, folder in (
        ("--train", "SM_CHANNEL_TRAIN", "input/data/train"),
        ("--validation", "SM_CHANNEL_VALIDATION", "input/data/validation"),
        ("--model-dir", "SM_MODEL_DIR", "model"),
    ):
        default = Path(os.environ.get(variable) or f"/opt/ml/{folder}")
        parser.add_argument(name, type=Path, default=default, help=f"folder, default {default}")
    for name, kind, default in (
        ("--learning-rate", lambda text: real(text, 0, 1), 0.05),
        ("--max-iter", lambda text: whole(text, 1, 10_000), 150),
        ("--max-leaf-nodes", lambda text: whole(text, 2, 10_000), 15),
        ("--min-samples-leaf", lambda text: whole(text, 1), 60),
        ("--l2-regularization", lambda text: real(text, 0, 1e6, low_included=True), 1.0),
        ("--max-features", lambda text: real(text, 0, 1), 0.5),
        ("--seed", lambda text: whole(text, 0, 2**32 - 1), 42),
    ):
        parser.add_argument(name, type=kind, default=default, help=f"default {default}")
    parser.add_argument("--loss", choices=LOSSES, default="poisson", help="default poisson")
    return parser.parse_args(argv, args)


def main(argv=None):
    args = argparse.Namespace()  # filled as far as parsing gets
    try:
        parse(argv, args)
        about = train(args)
    except (BadInput, OSError) as error:
        return fail(error, args.failure)
    for split, scores in about["metrics"].items():
        for name, value in scores.items():
            print(f"{split}:{name}={value!r}")
    return 0


def fail(error, path):
    """Write one line to stderr and, in a job, to the file of its FailureReason; exit code."""
    line = f"train.py: {error}"
    print(line, file=sys.stderr)
    if path:
        with contextlib.suppress(OSError):  # a failure to write the reason must not hide the error
            path.parent.mkdir(parents=True, exist_ok=True)
            short = line.encode(errors="replace")[:MAX_MESSAGE].decode(errors="ignore")
            path.write_text(short, encoding="utf-8")
    return 2 if isinstance(error, BadInput) else 1


if __name__ == "__main__":
    sys.exit(main())
