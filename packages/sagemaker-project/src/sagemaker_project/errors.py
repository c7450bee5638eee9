"""Every error that a command reports in one line, and the exit code it ends with.

    ProjectError          the root
      UsageError      2   the arguments, the settings or the credentials cannot be used
        NoBucket      2   the bucket of the project does not exist
      RunFailed       1   a pipeline cannot be described; or its execution failed, or could not be
                          followed to its end
        Timeout       1   the execution still runs, but the time to wait for it is over
      DeployFailed    1   the new version does not serve; the version before it serves again
      Refused         3   a gate says no; what serves was not changed
        Busy          4   another deployment is in progress
        ArtifactError 3   a model.tar.gz is not what train.py made and the registry holds
      AwsError        5   AWS refused a call for good (2: AWS called the request invalid)
        Unavailable   4   AWS did not answer, or asked to try again later
      NeedsHuman      5   the endpoint needs a person
        LedgerError   5   the ledger or the lock cannot be trusted as it is

Anything else that is raised is a fault of this package and keeps its traceback. `wheels.WheelError`
is not in the tree: that module runs before this package is installed. Nor is `Interrupted`, which a
signal raises.
"""

import signal


class ProjectError(Exception):
    """The root of the tree. The message is one line; `exit_code` is what the command ends with."""

    exit_code = 1

    def __init__(self, message: str | Exception, exit_code: int | None = None) -> None:
        super().__init__(str(message))
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(ProjectError):
    """The command was called with something it cannot use."""

    exit_code = 2


class NoBucket(UsageError):
    """The bucket of the project does not exist."""


class RunFailed(ProjectError):
    """A pipeline cannot be described, or its execution failed or could not be followed."""


class Timeout(RunFailed):
    """The execution still runs, but the time to wait for it is over."""


class DeployFailed(ProjectError):
    """The new version does not serve; the version before it still does."""


class Refused(ProjectError):
    """A gate says no; what serves was not changed."""

    exit_code = 3


class Busy(Refused):
    """Another deployment is in progress; the same command may succeed later."""

    exit_code = 4


class ArtifactError(Refused):
    """A model.tar.gz is not as train.py made it, or not the one that was registered."""


class AwsError(ProjectError):
    """AWS refused a call for good."""

    exit_code = 5


class Unavailable(AwsError):
    """AWS did not answer, or asked to try again later; the same command may succeed then."""

    exit_code = 4


class NeedsHuman(ProjectError):
    """Neither the new version nor the one before it can be made to serve by this command."""

    exit_code = 5


class LedgerError(NeedsHuman):
    """The ledger or the lock cannot be trusted as it is; nothing was done."""


class Interrupted(BaseException):
    """A signal ended the command."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number
        self.by_user = number == signal.SIGINT
