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
    output = os.environ.get("SM_OUTPUT_DIR")
    failure = Path(output) / "failure" if output else None
    parser.add_argument("--message", type=Path, default=failure, help="file for a failure's reason")
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
    tables = {name: splits.read_split(getattr(args, name) / f"{name}.csv", schema)
              for name in ("train", "validation")}
    fitted = training.fit(**tables, schema=schema, parameters=parameters.from_arguments(args))
    artifact.save(args.model_dir, fitted, schema, tables["validation"], CODE)
    for split, scores in fitted.metrics.items():
        for name, value in scores.items():
            print(f"{split}:{name}={value!r}")
    for sentence in fitted.decisions.values():
        print(sentence)


def main(argv=None):
    return script.run("train.py", argv, parse, train)


if __name__ == "__main__":
    sys.exit(main())
