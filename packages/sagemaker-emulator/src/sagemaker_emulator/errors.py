"""The errors that cross a boundary of this package.

    EmulatorError               the root
      LocalError           1    what a person is told: one line, with what to do next
        Busy               1    another server has the state folder open
        CannotRun        127    the command of `sagemaker-local run` cannot be started
      AwsError                  what a client of the API is told: AWS's code, message and status
      AlreadyExists             the store has a resource of this ARN; becomes an AwsError

The number is the exit code of `sagemaker-local`. Errors that jobs, pipelines and endpoints raise
and catch among themselves are defined beside their code. Anything else that is raised is a fault of
this package: a client is told InternalFailure, and the traceback goes to server.log.
"""


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
