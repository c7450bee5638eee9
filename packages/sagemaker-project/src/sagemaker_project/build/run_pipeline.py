"""The command `run-pipeline`: create or update a pipeline, start it and wait for its end.

    run-pipeline --module-name pipelines.abalone.pipeline --role-arn ARN

With `--local` the same definition runs on this machine: sagemaker_emulator answers instead of AWS,
and nothing else is different. Results and progress go to standard output, the reason of a failure
to standard error in one line.
"""

import argparse
from collections.abc import Sequence

from sagemaker_project.cli import add_with_variable, run_command, seconds
from sagemaker_project.project import Project

__all__ = ["main"]

EXIT_CODES = """\
exit codes:
  0    the execution succeeded; with --no-wait: it was started;
       with --cooldown: it was started, or nothing had to be
  1    it failed, was stopped or did not end in time, or AWS refused a call
  2    the arguments cannot be used; nothing was created or started
  130  interrupted
"""


def main(project: Project, argv: Sequence[str] | None = None) -> int:
    """Run the command `run-pipeline` of a project and return its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not args.module_name or not args.role_arn:
        parser.print_help()
        return 2

    def command() -> None:
        from sagemaker_project.build import run  # not needed for --help

        run.run(project, args)

    return run_command(parser.prog, command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "run-pipeline",
        description="Create or update a pipeline, and run it.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_pipeline_options(parser)
    _add_execution_options(parser)
    return parser


def _add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-n", "--module-name", help="module that has get_pipeline()")
    add("-kwargs", "--kwargs", help="arguments of get_pipeline(), as JSON or as a Python dict")
    add_with_variable(
        parser,
        *("-role-arn", "--role-arn"),
        variable="SAGEMAKER_PIPELINE_ROLE_ARN",
        help="ARN of the role that the pipeline and its jobs run as",
    )
    add("-description", "--description", help="description of the pipeline")
    add(
        "-tags",
        "--tags",
        help='tags of the pipeline, as JSON or as a Python list: [{"Key": "...", "Value": "..."}]',
    )


def _add_execution_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--local", action="store_true", help="run on this machine, without AWS")
    add("--input-data", metavar="PATH", help="file or folder to run on (sets InputDataUrl)")
    add(
        "--parameters",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="parameters of the execution, such as MseThreshold=5.0",
    )
    add("--no-wait", action="store_true", help="start the execution and do not wait for its end")
    add(
        "--timeout",
        type=seconds,
        default=7200,
        metavar="SECONDS",
        help="how long to wait for the end (default: 7200)",
    )
    add(
        "--cooldown",
        type=seconds,
        metavar="SECONDS",
        help="start nothing while an execution runs, or this soon after the start of the last one",
    )
