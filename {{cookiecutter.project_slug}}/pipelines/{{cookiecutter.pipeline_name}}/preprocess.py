"""Check the raw data against schema.json, clean it, and split it into train, validation and test.

schema.json says what a column is, which rows are dropped and which split a row falls into; change
it there, not here. A mistake in the data as a whole (format, columns, text among numbers) is
refused with the line and the column, and nothing is written. What was dropped or looks odd is
counted, with examples, in report/data_report.json.

Exit codes: 0 done, 1 the machine failed (disk, permission), 2 the input or the arguments are wrong.
"""

import sys
from pathlib import Path

from sagemaker_project.tabular import preprocessing, script

BASE = Path("/opt/ml/processing")
SCHEMA = Path(__file__).with_name("schema.json")


def parse(argv):
    parser = script.Parser("Check, clean and split the raw data.")
    for name, default, text in (
        ("--message", None, "file for the reason of a failure (a job's /opt/ml/output/message)"),
        ("--input-data", BASE / "input/input-data", "a file, or a folder of files of one table"),
        ("--train", BASE / "train", "folder for train.csv and schema.json"),
        ("--validation", BASE / "validation", "folder for validation.csv"),
        ("--test", BASE / "test", "folder for test.csv"),
        ("--report", BASE / "report", "folder for data_report.json"),
        ("--job", "/opt/ml/config/processingjobconfig.json", "the job's description, if it is one"),
    ):
        parser.add_argument(name, type=Path, default=default, help=text)
    return parser.parse_args(argv)


def preprocess(args):
    folders = preprocessing.Folders(args.train, args.validation, args.test, args.report)
    url = preprocessing.data_url(args.job)
    report = preprocessing.preprocess(args.input_data, SCHEMA, folders, url)
    print("\n".join(preprocessing.summary(report)))


def main(argv=None):
    message = script.path_option("--message", argv)
    return script.run("preprocess.py", lambda: preprocess(parse(argv)), message)


if __name__ == "__main__":
    sys.exit(main())
