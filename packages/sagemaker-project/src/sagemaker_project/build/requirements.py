"""requirements.txt beside a step's script: what its container installs before the script runs.

What cannot work is refused before anything is uploaded or created: a step that has to install and
has no network, and code that imports what its container will not have (packages.py).
"""

import gzip
import io
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from sagemaker_project.errors import UsageError
from sagemaker_project.usage import Json

REQUIREMENTS = "requirements.txt"
KEY = re.compile(r"(.*/code/[0-9a-f]+)/(.+)")  # as StepCode makes it
TAR = "sourcedir.tar.gz"

Folder: TypeAlias = dict[str, bytes]  # {path: content} of the code of a step


def check_network_isolation(definition: Json, files: Mapping[str, bytes]) -> None:
    """Raise UsageError for a step that has requirements.txt and no network.

    Args:
        definition: of a pipeline.
        files: {S3 key: content} of the code of its steps, as StepCode has them.
    """
    for step, code in code_of_steps(definition, files):
        if REQUIREMENTS in code and _is_isolated(step["Arguments"]):
            raise UsageError(
                f"step {step['Name']}: {REQUIREMENTS} is beside its script and has to be installed"
                " at its start, which EnableNetworkIsolation forbids: remove one of the two"
            )


def code_of_steps(definition: Json, files: Mapping[str, bytes]) -> Iterator[tuple[Json, Folder]]:
    """Yield each step, with each folder of code that it names."""
    folders = _folders(files)
    for step in _steps(definition.get("Steps", [])):
        keys = {text.removeprefix("s3://").partition("/")[2] for text in _texts(step)}
        named = {key if key in folders else key.rpartition("/")[0] for key in keys}
        for key in sorted(named & folders.keys()):
            yield step, folders[key]


def _folders(files: Mapping[str, bytes]) -> dict[str, Folder]:
    """Return {S3 key of a folder or a tarball: what is in it}."""
    folders: dict[str, Folder] = {}
    for key, content in files.items():
        if key.endswith(f"/{TAR}"):
            folders[key] = _members(content)
        elif match := KEY.fullmatch(key):
            folders.setdefault(match[1], {})[match[2]] = content
    return folders


def _members(content: bytes) -> Folder:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as tar:
        for member in tar:
            if file := tar.extractfile(member):  # None for a folder
                found[member.name] = file.read()
    return found


def _steps(steps: Iterable[Json]) -> Iterator[Json]:
    """Yield the steps, and those within conditions."""
    for step in steps:
        yield step
        arguments = step.get("Arguments", {})
        yield from _steps([*arguments.get("IfSteps", []), *arguments.get("ElseSteps", [])])


def _is_isolated(arguments: Json) -> bool:
    network = arguments.get("NetworkConfig", {})  # of a processing job
    return True in (
        arguments.get("EnableNetworkIsolation"),
        network.get("EnableNetworkIsolation"),
    )


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)
