"""Print the definition of a pipeline, or write it to a file.

    get-pipeline-definition --module-name pipelines.abalone.pipeline

It calls no AWS service, and the same sources give the same bytes, whatever the environment: keep
the file to review a change of the pipeline as a diff.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from sagemaker_project.project import Project

__all__ = ["get_definition", "main"]

EXIT_CODES = "exit codes: 0 done, 1 get_pipeline() failed, 2 the arguments cannot be used"


def main(project: Project, argv: Sequence[str] | None = None) -> int:
    """Run the command `get-pipeline-definition` of a project; its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not args.module_name:
        parser.print_help()
        return 2
    from sagemaker_project import usage  # not before: --help needs none of it

    try:
        definition = get_definition(args.module_name, args.kwargs)
        if args.file_name:
            _write(args.file_name, definition)
        else:
            print(definition, end="")
    except usage.UsageError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except usage.aws_errors() as error:
        print(f"{parser.prog}: the AWS configuration of this machine: {error}", file=sys.stderr)
        return 1
    return 0


def get_definition(module_name: str, kwargs: dict | str | None = None) -> str:
    """Return the definition as JSON text, sorted and indented so that two can be compared."""
    from sagemaker_project import usage
    from sagemaker_project.build import driver

    usage.quiet_sdk()
    pipeline = driver.get_pipeline_driver(module_name, kwargs)
    return json.dumps(json.loads(pipeline.definition()), indent=2, sort_keys=True) + "\n"


def _write(file_name, text):
    """Write all of `text`, or leave the file as it was."""
    from pathlib import Path

    from sagemaker_project.usage import UsageError

    path = Path(file_name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"--file-name: {path}: {error.strerror}") from None
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
