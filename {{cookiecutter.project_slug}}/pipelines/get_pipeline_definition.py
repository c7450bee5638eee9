"""Print the definition of a pipeline, or write it to a file.

    get-pipeline-definition --module-name pipelines.{{cookiecutter.pipeline_name}}.pipeline

It calls no AWS service, and the same sources give the same bytes: keep the file to review a
change of the pipeline as a diff.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from pipelines import _utils

EXIT_CODES = "exit codes: 0 done, 1 get_pipeline() failed, 2 the arguments cannot be used"


def main(argv=None):
    parser = _parser()
    args = parser.parse_args(argv)
    if not args.module_name:
        parser.print_help()
        return 2
    try:
        definition = get_definition(args.module_name, args.kwargs)
        if args.file_name:
            _write(Path(args.file_name), definition)
        else:
            print(definition, end="")
    except _utils.UsageError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except _utils.aws_errors() as error:
        print(f"{parser.prog}: the AWS configuration of this machine: {error}", file=sys.stderr)
        return 1
    return 0


def get_definition(module_name, kwargs=None):
    """The definition as JSON text, sorted and indented so that two of them can be compared."""
    _utils.quiet_sdk()
    pipeline = _utils.get_pipeline_driver(module_name, kwargs)
    return json.dumps(json.loads(pipeline.definition()), indent=2, sort_keys=True) + "\n"


def _write(path, text):
    """Write all of `text`, or leave the file as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise _utils.UsageError(f"--file-name: {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _parser():
    parser = argparse.ArgumentParser(
        "get-pipeline-definition",
        description="Get the definition of a pipeline.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-n",
        "--module-name",
        help="module that has get_pipeline()",
    )
    parser.add_argument(
        "-f", "--file-name", help="file to write the definition to (default: standard output)"
    )
    parser.add_argument(
        "-kwargs",
        "--kwargs",
        help="arguments of get_pipeline(), as JSON or as a Python dict",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
