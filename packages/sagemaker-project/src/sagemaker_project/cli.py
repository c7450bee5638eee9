"""What the command lines of this package have in common. It imports nothing that costs time."""

import argparse
import os


def seconds(text: str) -> float:
    """A number of seconds, more than 0 and finite."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def add_with_variable(
    parser: argparse.ArgumentParser, *flags: str, variable: str, default: str = "", help: str
) -> None:
    """Add an option whose default is a variable of the environment, else `default`."""
    told = f"{help} (default: {variable}{f', else {default}' if default else ''})"
    value = os.environ.get(variable) or default
    parser.add_argument(*flags, default=value, metavar="VALUE", help=told)
