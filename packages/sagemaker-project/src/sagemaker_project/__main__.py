"""The command `sagemaker-project`, which acts on a whole repository. Run it at its root."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from sagemaker_project.cli import run_command
from sagemaker_project.errors import UsageError
from sagemaker_project.project import PACKAGE, Project

EXIT_CODES = "exit codes: 0 done; 1 it failed; 2 the arguments or the repository cannot be used"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    return run_command(f"{parser.prog} {args.command}", lambda: _run(args, Path.cwd()))


def _run(args: argparse.Namespace, root: Path) -> None:
    from sagemaker_project import wheels  # not needed for --help

    try:
        for line in _act(args, root):
            print(line)
    except (wheels.WheelError, OSError) as error:
        raise UsageError(error) from None


def _act(args: argparse.Namespace, root: Path) -> list[str]:
    """Do what the command says; return what to print, line by line."""
    from sagemaker_project import new_pipeline, wheels

    project = _project(root)
    if args.command == "demo":
        from sagemaker_project import demo  # imports boto3

        demo.run_demo(project)
        return []
    if args.command == "pin":
        wheels.pin(root)
        return []
    if args.command == "new-pipeline":
        return new_pipeline.new_pipeline(root, project, args.name)
    if args.command == "upgrade":
        return wheels.upgrade(root, Path(args.source))
    return wheels.eject(root)


def _project(root: Path) -> Project:
    """Import PROJECT of the repository."""
    if not Path(root, PACKAGE, "__init__.py").is_file():
        raise UsageError(
            f"there is no {PACKAGE}/__init__.py in {root}: go to the repository's root"
        )
    sys.path.insert(0, str(root))
    project = getattr(importlib.import_module(PACKAGE), "PROJECT", None)
    if not isinstance(project, Project):
        raise UsageError(f"{PACKAGE}/__init__.py in {root} has no PROJECT = Project(...)")
    return project


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sagemaker-project",
        description="Act on a whole repository. Run it at its root.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("demo", help="go from data to a rollback in prod, on this machine")
    new = commands.add_parser("new-pipeline", help="add a pipeline with endpoints of its own")
    new.add_argument("name", metavar="NAME", help="as a Python name: churn, customer_value")
    upgrade = commands.add_parser("upgrade", help="install newer wheels")
    upgrade.add_argument("source", metavar="FROM", help="a wheel, or a checkout of the template")
    commands.add_parser("pin", help="write the hashes of wheels/ into the lock files")
    commands.add_parser("eject", help="unpack the wheels into engine/, to change them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
