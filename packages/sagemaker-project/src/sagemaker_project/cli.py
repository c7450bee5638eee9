"""What the command lines of this package share. It imports nothing that takes time.

An exit code says what became of the work, so output never ends a command nor changes its code:
inside `output`, what cannot be written (a full disk, a closed stream) is dropped, and the program
asks at its end whether its result was among it.
"""

import argparse
import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from sagemaker_project.errors import ProjectError


class Output:
    """A standard stream that raises nothing: `problem` says what kept text from being written.

    A pipe whose reader has left is no problem: `command | head` has what it wants.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self.problem = ""
        self.ended = stream is None

    def write(self, text: str) -> int:
        if self.stream is None:
            self.problem = "it is closed"
        elif not self.ended:
            with self._tolerance():
                try:
                    self.stream.write(text)
                except UnicodeEncodeError:
                    encoding = self.stream.encoding
                    self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        if self.stream is not None and not self.ended:
            with self._tolerance():
                self.stream.flush()

    def isatty(self) -> bool:
        return self.stream is not None and not self.stream.closed and self.stream.isatty()

    def fileno(self) -> int:
        if self.stream is None:
            raise io.UnsupportedOperation("the stream is closed")
        return self.stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @contextlib.contextmanager
    def _tolerance(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: closed
            self.ended = True
            if not isinstance(error, BrokenPipeError):
                self.problem = getattr(error, "strerror", None) or str(error)
            with contextlib.suppress(OSError, ValueError):  # Python flushes once more as it exits
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


@contextlib.contextmanager
def output() -> Iterator[Output]:
    """Make the standard streams tolerant while a block runs; yield standard output.

    They are the process's, so a thread beside the main one leaves them as they are.
    """
    out, err = Output(sys.stdout), Output(sys.stderr)
    if threading.current_thread() is not threading.main_thread():
        yield out
        return
    with (
        contextlib.redirect_stdout(cast(TextIO, out)),  # has what writers use; TextIO has more
        contextlib.redirect_stderr(cast(TextIO, err)),
    ):
        try:
            yield out
        finally:
            out.flush()
            err.flush()


def run_command(program: str, command: Callable[[], None], prints_result: bool = False) -> int:
    """Call `command` and return the exit code of the program.

    A ProjectError becomes one line on standard error and its own exit code. Any other exception is
    a bug and keeps its traceback.

    Args:
        prints_result: what it prints is all that it does, so it has failed (2) where that cannot
            be written. Any other command only says so.
    """
    with output() as out:
        code = 0
        try:
            command()
        except ProjectError as error:
            code = report(program, error, error.exit_code)
        except KeyboardInterrupt:
            code = report(program, "interrupted", 130)
        out.flush()
        if out.problem:
            report(program, f"standard output could not be written: {out.problem}", code)
            code = code or (2 if prints_result else 0)
        return code


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
