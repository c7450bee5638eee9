"""What the scripts of a job share: arguments, errors, files.

A script's `main` is one call of `run`. A mistake of its user is one line on stderr, and the same
line in the file that SageMaker shows as the job's ExitMessage or FailureReason.

Exit codes: 0 done, 1 the machine failed (disk, permission), 2 the input or the arguments are wrong.
"""

import argparse
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from sagemaker_project.tabular import cells
from sagemaker_project.tabular.schema import SchemaError
from sagemaker_project.tabular.table import BadInput

__all__ = ["Parser", "path_option", "run"]

MAX_MESSAGE = 1024  # bytes of an ExitMessage or a FailureReason
SEEDS = 2**32  # what scikit-learn takes

Content: TypeAlias = "str | bytes | Callable[[Path], None]"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are BadInput."""

    def __init__(self, description: str = "") -> None:
        super().__init__(description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message}; see --help")


def whole(text: str, lowest: int, highest: int = 2**31 - 1) -> int:
    """Parse an argument that is a whole number of a range."""
    if not text.isascii() or not text.isdecimal() or not lowest <= int(text) <= highest:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number from {lowest} to {highest}"
        )
    return int(text)


def seed_number(text: str) -> int:
    """Parse the seed of a random number generator."""
    if not text.isascii() or not text.isdecimal() or int(text) >= SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


def real(text: str, low: float, high: float, low_included: bool = False) -> float:
    """Parse a number above `low` (or equal to it, if included) and up to `high`."""
    with contextlib.suppress(cells.BadCell):
        value = cells.number(text)
        if low < value <= high or (low_included and value == low):
            return value
    rule = "from" if low_included else "above"
    raise argparse.ArgumentTypeError(f"{text!r} is not a number {rule} {low:g}, up to {high:g}")


def path_option(name: str, argv: Sequence[str] | None = None) -> Path | None:
    """Return the path after an option such as --message, even if other arguments are wrong."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(name, type=Path, dest="path")
    with contextlib.suppress(argparse.ArgumentError):
        path: Path | None = parser.parse_known_args(argv)[0].path
        return path
    return None


def run(name: str, work: Callable[[], None], message_path: Path | None) -> int:
    """Do the work of a script and return its exit code.

    Args:
        name: of the script, with which an error's line begins.
        message_path: the file of the job's ExitMessage or FailureReason; written on an error.
    """
    try:
        work()
    except (BadInput, SchemaError, OSError) as error:
        line = " ".join(f"{name}: {error}".splitlines())
        print(line, file=sys.stderr)
        if message_path:
            _write_message(message_path, line)
        return 1 if isinstance(error, OSError) else 2
    return 0


def _write_message(path: Path, line: str) -> None:
    with contextlib.suppress(OSError):  # a failure to write the message must not hide the error
        path.parent.mkdir(parents=True, exist_ok=True)
        short = line.encode(errors="replace")[:MAX_MESSAGE].decode(errors="ignore")
        path.write_text(short, encoding="utf-8")


def as_json(content: object) -> str:
    """Return content as JSON for a file. A number that is not finite is a ValueError."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_all(files: Mapping[Path, Content]) -> None:
    """Write files under temporary names, then rename them: a failure to write leaves none of them.

    The content of a file is text, bytes, or a function that writes to the path it is given.
    """
    parts = {path: path.with_name(f".{path.name}.part") for path in files}
    try:
        for path, part in parts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(part, files[path])
        for path, part in parts.items():
            os.replace(part, path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _write(path: Path, content: Content) -> None:
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8", newline="\n")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
