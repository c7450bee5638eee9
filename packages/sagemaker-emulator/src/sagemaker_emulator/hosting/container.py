"""A variant's container, which here is a folder: /opt/ml with the model's files and its script.

A model archive is not trusted: it may only contain plain files and folders below its own root, and
is limited in their number and size.
"""

import gzip
import io
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sagemaker_emulator.jobs.container import host_environment, relocate
from sagemaker_emulator.jobs.s3_files import bucket_and_key

MAX_MEMBERS = 10_000
MAX_UNPACKED = 10 * 2**30  # bytes


class ServingError(Exception):
    """Why a variant cannot serve, in the words of an endpoint's FailureReason."""


@dataclass(frozen=True)
class Container:
    """What one variant runs."""

    image: str
    model_data_url: str
    environment: dict[str, str]
    startup_seconds: float = 120  # until it must have answered /ping


class ContainerFolder:
    """`read_object` gets bucket and key and returns None where there is no such object."""

    def __init__(
        self,
        root: Path,
        variant: str,
        container: Container,
        read_object: Callable[[str, str], bytes | None],
    ) -> None:
        self.root = root
        self.ml = root / "opt/ml"  # the container's /opt/ml
        self.variant = variant
        self.primary = f"The primary container for production variant {variant}"
        self.container = container
        self.read_object = read_object

    def fill(self) -> Path:
        """Unpack the model's files into an empty folder; return the path of its script."""
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "tmp").mkdir(parents=True)
        self._extract(self.container.model_data_url, self.ml / "model")
        submitted = self.container.environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
        if submitted.startswith("s3://"):
            self._extract(submitted, self.ml / "code")
        script = self.script()
        if not script.is_file():
            place = str(script).replace(str(self.ml), "/opt/ml")
            raise ServingError(
                f"{self.primary} has no script {place}: it is where SAGEMAKER_SUBMIT_DIRECTORY and"
                f" SAGEMAKER_PROGRAM of the model's Environment point; model.tar.gz usually has it"
                f" as code/inference.py, and they are /opt/ml/model/code and inference.py."
            )
        return script

    def script(self) -> Path:
        """Return the path of the script that the Environment names; it may not exist."""
        environment = self.container.environment
        program = environment.get("SAGEMAKER_PROGRAM")
        if not program:
            raise ServingError(
                f"{self.primary} does not know its script: set SAGEMAKER_PROGRAM (inference.py)"
                " and SAGEMAKER_SUBMIT_DIRECTORY (/opt/ml/model/code) in the model's Environment."
            )
        submitted = environment.get("SAGEMAKER_SUBMIT_DIRECTORY") or "/opt/ml/code"
        submitted = "/opt/ml/code" if submitted.startswith("s3://") else submitted
        return Path(relocate(submitted, self.ml)) / program

    def environment(self, server: dict[str, str]) -> dict[str, str]:
        """Return a worker's environment, with the variables `server` that point boto3 here."""
        environment = host_environment() | server
        # A worker answers one request at a time: more threads would compete for its CPU.
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment |= {"SM_MODEL_DIR": str(self.ml / "model"), "TMPDIR": str(self.root / "tmp")}
        given = self.container.environment.items()
        return environment | {name: relocate(value, self.ml) for name, value in given}

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def _extract(self, uri: str, folder: Path) -> None:
        body = self.read_object(*bucket_and_key(uri))
        if body is None:
            raise ServingError(
                f"Failed to download model data for production variant {self.variant} from URL:"
                f' "{uri}". Please ensure that there is an object located at the URL.'
            )
        folder.mkdir(parents=True)
        try:
            unpack(body, folder)
        except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
            raise ServingError(
                f"Failed to extract model data archive for production variant {self.variant} from"
                f' URL "{uri}": {str(error) or "it is cut off"}.'
                " The model data must be a gzipped tar file of plain files."
            ) from None


def unpack(archive: bytes, folder: Path) -> None:
    """Unpack a tar.gz to its end, where its checksum is; raise ValueError if it is refused."""
    with (
        gzip.GzipFile(fileobj=io.BytesIO(archive)) as unzipped,
        tarfile.open(fileobj=unzipped, mode="r|") as tar,
    ):
        empty = True
        for member in _checked(tar):
            tar.extract(member, folder, filter="data")
            empty = False
        while unzipped.read(2**20):
            pass
    if empty:
        raise ValueError("it is empty")


def _checked(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    size = 0
    for number, member in enumerate(tar):
        size += member.size
        name = member.name
        if name.startswith("/") or ".." in Path(name).parts:
            raise ValueError(f"'{name}' leads out of its folder")
        if not member.isfile() and not member.isdir():
            raise ValueError(f"'{name}' is a link or a device")
        if number >= MAX_MEMBERS or size > MAX_UNPACKED:
            raise ValueError("it has too many files, or unpacks to too much")
        yield member
