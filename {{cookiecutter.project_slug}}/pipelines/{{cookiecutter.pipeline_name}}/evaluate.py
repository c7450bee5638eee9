"""Score the model on the test split through the code that will serve it, and decide.

A model passes if its metric keeps the threshold, is better than that of a predictor that looks at
no column, and is not worse than the champion's by more than a tolerance, on the same rows. The
champion is the model that the last stage serves; it runs in a process of its own, with its own
code. Written to the output folder: evaluation.json in SageMaker's Model Quality format, gate.json,
provenance.json, samples.json (requests with this model's answers, for the test of an endpoint) and
report.html for people.

Exit codes: 0 done, whether the model passed or not, 1 the machine failed, 2 the data, the model or
the arguments are wrong.
"""

import sys
from pathlib import Path

from sagemaker_project.tabular import cells, evaluation, script

BASE = Path("/opt/ml/processing")
SCHEMA = Path(__file__).with_name("schema.json")


def parse(argv):
    parser = script.Parser("Score the model on the test split.")
    for name, default, text in (
        ("--message", None, "file for the reason of a failure (a job's /opt/ml/output/message)"),
        ("--model", BASE / "input/model", "folder of model.tar.gz"),
        ("--champion", BASE / "input/champion", "folder of the champion's model.tar.gz"),
        ("--test", BASE / "input/test", "folder of test.csv"),
        ("--data-report", BASE / "input/data-report", "folder of data_report.json"),
        ("--evaluation", BASE / "evaluation", "folder for what is written"),
    ):
        parser.add_argument(name, type=Path, default=default, help=text)
    parser.add_argument(
        "--threshold", type=cells.number, help="of the metric; default: that of schema.json"
    )
    parser.add_argument(
        "--champion-package", default="none", help="ARN of the champion's package, or none"
    )
    parser.add_argument("--champion-sha256", default="none", help="of its model.tar.gz")
    parser.add_argument(
        "--champion-tolerance",
        type=cells.number,
        default=0.0,
        help="share of the champion's metric by which a model may be worse; default 0",
    )
    return parser.parse_args(argv)


def evaluate(args):
    folders = evaluation.Folders(
        args.model, args.champion, args.test, args.data_report, args.evaluation
    )
    gate = evaluation.Gate(
        args.threshold, args.champion_package, args.champion_sha256, args.champion_tolerance
    )
    facts = evaluation.evaluate(folders, SCHEMA, gate)
    for name, metric in facts["metrics"].items():
        value, deviation = metric["value"], metric["standard_deviation"]
        print(f"{name} {value:.6g} (standard deviation {deviation:.2g})")
    print(facts["decision"]["text"])


def main(argv=None):
    message = script.path_option("--message", argv)
    return script.run("evaluate.py", lambda: evaluate(parse(argv)), message)


if __name__ == "__main__":
    sys.exit(main())
