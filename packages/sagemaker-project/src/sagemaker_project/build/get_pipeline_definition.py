"""The command `get-pipeline-definition`: print the definition of a pipeline, or write it to a file.

    get-pipeline-definition --module-name pipelines.abalone.pipeline

It calls no AWS service, and the same sources give the same bytes, whatever the environment: keep
the file to review a change of the pipeline as a diff.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sagemaker_project.cli import run_command
from sagemaker_project.errors import RunFailed, UsageError
from sagemaker_project.project import Project

__all__ = ["get_definition", "main"]

EXIT_CODES = (
    "exit codes: 0 done, 1 get_pipeline() failed, 2 the arguments or standard output cannot be used"
)


def main(project: Project, argv: Sequence[str] | None = None) -> int:
    """Run the command `get-pipeline-definition` of a project and return its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not args.module_name:
        parser.print_help()
        return 2
    return run_command(
        parser.prog,
        lambda: print_definition(args.module_name, args.kwargs, args.file_name),
        prints_result=not args.file_name,
    )


def print_definition(module_name: str, kwargs: str | None, file_name: str | None) -> None:
    """Print the definition, or write it to `file_name` if one is given."""
    from sagemaker_project import usage  # not needed for --help

    try:
        definition = get_definition(module_name, kwargs)
    except usage.aws_errors() as error:
        raise RunFailed(f"the AWS configuration of this machine: {error}") from None
    if file_name:
        _write(Path(file_name), definition)
    else:
        print(definition, end="")


def get_definition(module_name: str, kwargs: Mapping[str, Any] | str | None = None) -> str:
    """Return the definition as JSON text, sorted and indented so that two can be compared."""
    from sagemaker_project import usage
    from sagemaker_project.build import driver
    from sagemaker_project.build.described import definition_of

    usage.quiet_sdk()
    pipeline = driver.get_pipeline_driver(module_name, kwargs)
    return json.dumps(definition_of(pipeline), indent=2, sort_keys=True) + "\n"


def _write(path: Path, text: str) -> None:
    """Write the whole text, or leave the file as it was and raise UsageError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"--file-name: {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "get-pipeline-definition",
        description="Get the definition of a pipeline.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-n", "--module-name", help="module that has get_pipeline()")
    add("-f", "--file-name", help="file to write the definition to (default: standard output)")
    add("-kwargs", "--kwargs", help="arguments of get_pipeline(), as JSON or as a Python dict")
    return parser
