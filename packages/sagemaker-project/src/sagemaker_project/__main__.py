"""The command `sagemaker-project`: what one does with a whole repository. Run it at its root."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from sagemaker_project.project import PACKAGE, Project

EXIT_CODES = "exit codes: 0 done; 1 it failed; 2 the arguments or the repository cannot be used"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    from sagemaker_project.new_pipeline import new_pipeline
    from sagemaker_project.usage import UsageError
    from sagemaker_project.wheels import WheelError, eject, pin, upgrade

    root = Path.cwd()
    try:
        project = _project(root)
        if args.command == "demo":
            from sagemaker_project import demo

            return demo.main(project)
        if args.command == "pin":
            pin(root)
            return 0
        if args.command == "new-pipeline":
            lines = new_pipeline(root, project, args.name)
        elif args.command == "upgrade":
            lines = upgrade(root, Path(args.source))
        else:
            lines = eject(root)
    except (UsageError, WheelError, OSError) as error:
        print(f"{parser.prog} {args.command}: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def _project(root: Path) -> Project:
    """PROJECT of the repository."""
    from sagemaker_project.usage import UsageError

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
        description="What one does with a whole repository. Run it at its root.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("demo", help="from data to a rollback in prod, on this machine")
    new = commands.add_parser("new-pipeline", help="add a pipeline with endpoints of its own")
    new.add_argument("name", metavar="NAME", help="as a Python name: churn, customer_value")
    newer = commands.add_parser("upgrade", help="take newer wheels")
    newer.add_argument("source", metavar="FROM", help="a wheel, or a checkout of the template")
    commands.add_parser("pin", help="write the hashes of wheels/ into the lock files")
    commands.add_parser("eject", help="unpack the wheels into engine/, to change them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
