"""requirements.txt beside a step's script: what its container installs before the script runs.

Without a network nothing can be installed, so a step with both is refused before anything is
uploaded or created.
"""

import gzip
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping

from sagemaker_project.errors import UsageError
from sagemaker_project.usage import Json

REQUIREMENTS = "requirements.txt"


def check_network_isolation(definition: Json, files: Mapping[str, bytes]) -> None:
    """Raise UsageError for a step that has requirements.txt and no network.

    Args:
        definition: of a pipeline.
        files: {S3 key: content} of the code of its steps, as StepCode has them.
    """
    installing = {uri for key, content in files.items() for uri in _installing(key, content)}
    for step in _steps(definition.get("Steps", [])):
        arguments = step.get("Arguments", {})
        if not _is_isolated(arguments):
            continue
        keys = [text.removeprefix("s3://").partition("/")[2] for text in _texts(arguments)]
        if any(key in installing for key in keys):
            raise UsageError(
                f"step {step['Name']}: {REQUIREMENTS} is beside its script and has to be installed"
                " at its start, which EnableNetworkIsolation forbids: remove one of the two"
            )


def _installing(key: str, content: bytes) -> Iterator[str]:
    """Yield the key that a step names whose code has requirements.txt."""
    folder, _, name = key.rpartition("/")
    if name == REQUIREMENTS:
        yield folder
    elif name == "sourcedir.tar.gz":
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as tar:
            if REQUIREMENTS in tar.getnames():
                yield key


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
