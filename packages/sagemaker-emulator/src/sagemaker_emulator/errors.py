"""The errors that cross a boundary of this package.

    EmulatorError               the root
      LocalError           1    for a person: one line that says what to do next
        Busy               1    another server has the state folder open
        CannotRun        127    the command of `sagemaker-local run` cannot be started
      AwsError                  for a client of the API: AWS's code, message and status
      AlreadyExists             the store has a resource of this ARN; becomes an AwsError

The number is the exit code of `sagemaker-local`. Errors that jobs, pipelines and endpoints raise
and catch among themselves are defined beside their code. Anything else that is raised is a fault of
this package: a client gets InternalFailure, and the traceback goes to server.log.
"""

import contextlib
import sys
import traceback

MAX_REASON = 1024  # characters of a FailureReason
BROKE = "InternalServerError: sagemaker_emulator broke, see server.log"  # a FailureReason


class EmulatorError(Exception):
    """The root of the tree."""


class LocalError(EmulatorError):
    """The message is one line; `exit_code` is what the command ends with."""

    exit_code = 1


class Busy(LocalError):
    """Another server has the state folder open."""


class CannotRun(LocalError):
    """The command of `sagemaker-local run` cannot be started."""

    exit_code = 127  # as a shell does


class AwsError(EmulatorError):
    """An answer other than success: AWS's error code, its manner of message, the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class AlreadyExists(EmulatorError):
    """The store has a resource of this ARN."""


def invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def unsupported(what: str) -> AwsError:
    """Return the error for what AWS has and the emulator does not."""
    return AwsError(
        "UnsupportedOperation",
        f"sagemaker_emulator does not have {what}. `sagemaker-local operations` lists what it has.",
    )


def as_aws_error(error: Exception) -> AwsError:
    """Return the error that a client gets; print the traceback of anything but an AwsError."""
    if isinstance(error, AwsError):
        return error
    log_traceback(error)
    return AwsError("InternalFailure", f"sagemaker_emulator broke: {error!r}", 500)


def log(message: str) -> None:
    """Write to server.log. If that fails, as on a full disk, go on: it must stop no answer."""
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


def log_traceback(error: Exception) -> None:
    log("".join(traceback.format_exception(error)).rstrip())
