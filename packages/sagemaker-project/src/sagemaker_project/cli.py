"""What the command lines of this package share. It imports nothing that takes time."""

import argparse
import os
import sys
from collections.abc import Callable

from sagemaker_project.errors import ProjectError


def run_command(program: str, command: Callable[[], None]) -> int:
    """Call `command` and return the exit code of the program.

    A ProjectError becomes one line on standard error and its own exit code. Any other exception is
    a bug and keeps its traceback.
    """
    try:
        command()
    except ProjectError as error:
        return report(program, error, error.exit_code)
    except KeyboardInterrupt:
        return report(program, "interrupted", 130)
    return 0


def report(program: str, message: str | Exception, exit_code: int) -> int:
    """Print the reason of a failure to standard error and return `exit_code`."""
    sys.stdout.flush()  # keep the reason last where both streams go to one file
    print(f"{program}: {message}", file=sys.stderr)
    return exit_code


def seconds(text: str) -> float:
    """Parse a number of seconds that is positive and finite; raise ValueError otherwise."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def add_with_variable(
    parser: argparse.ArgumentParser, *flags: str, variable: str, default: str = "", help: str
) -> None:
    """Add an option that defaults to an environment variable, else to `default`."""
    suffix = f"(default: {variable}{f', else {default}' if default else ''})"
    value = os.environ.get(variable) or default
    parser.add_argument(*flags, default=value, metavar="VALUE", help=f"{help} {suffix}")
