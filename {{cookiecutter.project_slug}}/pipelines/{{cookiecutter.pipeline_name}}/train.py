"""Fit one scikit-learn Pipeline, preprocessing and model together, and pack it for serving.

The model is gradient boosting over the columns that schema.json describes. The hyperparameters are
parameters of the pipeline; what is left at `auto` is decided by the label and by the validation
split: the loss, class weights, how many iterations are kept, whether probabilities are calibrated.

Reads train.csv and schema.json from one channel and validation.csv from the other. Writes to the
model folder:
  model.joblib   the fitted Pipeline, from raw records to predictions
  trees.json     the same model as plain numbers, which serves much faster; only if its predictions
                 equal the Pipeline's bit for bit
  model.json     the schema, sha256 of both files, versions, hyperparameters, decisions, metrics
  code/          inference.py and the package it imports: what serves it

Exit codes: 0 done, 1 the machine failed, 2 the data or the arguments are wrong.
"""

import os
import sys
from pathlib import Path

from sagemaker_project.tabular import artifact, parameters, script, splits, training
from sagemaker_project.tabular.schema import read_schema

CODE = Path(__file__).parent


def parse(argv):
    parser = script.Parser("Train the model and pack it for serving.")
    parser.add_argument("--message", type=Path, help="file for the reason of a failure")
    for name, variable, folder in (
        ("--train", "SM_CHANNEL_TRAIN", "input/data/train"),
        ("--validation", "SM_CHANNEL_VALIDATION", "input/data/validation"),
        ("--model-dir", "SM_MODEL_DIR", "model"),
    ):
        default = Path(os.environ.get(variable) or f"/opt/ml/{folder}")
        parser.add_argument(name, type=Path, default=default, help=f"folder, default {default}")
    parameters.add_arguments(parser)
    return parser.parse_args(argv)


def train(args):
    schema = read_schema((args.train / "schema.json").read_bytes())
    rows = splits.read_split(args.train / "train.csv", schema)
    validation = splits.read_split(args.validation / "validation.csv", schema)
    fitted = training.fit(rows, validation, schema, parameters.from_arguments(args))
    artifact.save(args.model_dir, fitted, schema, validation, CODE)
    for split, scores in fitted.metrics.items():
        for name, value in scores.items():
            print(f"{split}:{name}={value!r}")
    for name, decision in fitted.decisions.items():
        print(f"{name}: {decision}")


def main(argv=None):
    output = os.environ.get("SM_OUTPUT_DIR")
    failure = Path(output) / "failure" if output else script.path_option("--message", argv)
    return script.run("train.py", lambda: train(parse(argv)), failure)


if __name__ == "__main__":
    sys.exit(main())
