"""What replaces a job's container: its paths, its command and its environment."""

import os
import re
import sys
from pathlib import Path

from sagemaker_emulator.api.documents import Json
from sagemaker_emulator.jobs.kinds import JobError

SCRIPT_MODE_IMAGE = "sagemaker-scikit-learn"
PYTHON = re.compile(r"python(3(\.\d+)?)?")
OPT_ML = re.compile(r"(^|[=:])/opt/ml(?=/|$)")
HOST = "algo-1"
RESOURCE_CONFIG = {"current_host": HOST, "hosts": [HOST], "network_interface_name": "lo"}
# Of the user's environment, what a job gets: a container would not have the rest, tokens included.
PASSED_ON = re.compile(r"PATH|HOME|LANG|LC_\w+|TZ|(?i:(HTTPS?|ALL|NO)_PROXY)")


def relocate(text: str, ml: Path | str) -> str:
    """Replace /opt/ml, at the start of `text` or after '=' or ':', by the folder `ml`."""
    return OPT_ML.sub(lambda match: f"{match[1]}{ml}", text)


def relocate_values(environment: dict[str, str] | None, ml: Path) -> dict[str, str]:
    return {name: relocate(value, ml) for name, value in (environment or {}).items()}


def local_folder(path: str | None, ml: Path) -> Path:
    """Return the folder that stands for a LocalPath; raise JobError unless it is below /opt/ml."""
    if path is None or not path.startswith("/opt/ml/") or ".." in Path(path).parts:
        raise JobError(f"ClientError: LocalPath {path!r} must be below /opt/ml")
    return Path(relocate(path, ml))


def command(specification: Json, image: str, ml: Path) -> tuple[str, ...] | None:
    """Return the entrypoint and arguments of a job; None if only its image has them."""
    entrypoint = specification.get("ContainerEntrypoint")
    if not entrypoint:
        return None
    program, *arguments = (
        relocate(part, ml)
        for part in [*entrypoint, *(specification.get("ContainerArguments") or [])]
    )
    if PYTHON.fullmatch(os.path.basename(program)):
        program = sys.executable
    elif SCRIPT_MODE_IMAGE not in image:
        raise JobError(
            f"ClientError: cannot run {entrypoint[0]!r} of the image {image}:"
            " sagemaker_emulator runs no container. Use a ContainerEntrypoint that starts with"
            " python3."
        )
    return (program, *arguments)


def no_command(image: str) -> JobError:
    return JobError(
        f"ClientError: the job has no ContainerEntrypoint and sagemaker_emulator runs no container,"
        f" so the command that the image {image} would start is unknown."
    )


def host_environment() -> dict[str, str]:
    """Return the variables that jobs and models get from this process; its Python leads PATH."""
    passed_on = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    path = os.pathsep.join([os.path.dirname(sys.executable), passed_on.get("PATH", "")])
    return passed_on | {"PATH": path}
