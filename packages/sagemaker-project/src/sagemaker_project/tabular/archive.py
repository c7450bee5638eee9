"""model.tar.gz: unpack it safely, and answer requests with the code that it carries.

Nothing in the archive is written outside of the folder that it is unpacked into. Loading runs its
pickle and its code/inference.py with all the rights of this process: load the model that this
pipeline has just trained; another one runs in a process of its own (champion.py).
"""

import errno
import hashlib
import importlib.util
import json
import sys
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

import numpy as np

from sagemaker_project.tabular.client import JSON, WrongAnswer, bodies, read_answer
from sagemaker_project.tabular.schema import Schema
from sagemaker_project.tabular.table import BadInput, Floats, Table

MAX_MEMBERS = 1_000
MAX_UNPACKED = 4 * 1024**3  # bytes
BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Extract plain files into the folder, without their owners and modes.

    Raises:
        BadInput: the archive is not there, not whole, too large, or has anything else in it.
    """
    if not archive.is_file():
        raise BadInput(f"{archive}: not there; wanted a model.tar.gz")
    try:
        with tarfile.open(archive, "r:gz") as tar:
            _extract(archive, tar, folder)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        # Errors of gzip have no errno; EEXIST and ENOTDIR mean a file that is also a folder.
        if getattr(error, "errno", None) not in (None, errno.EEXIST, errno.ENOTDIR):
            raise
        raise BadInput(f"{archive}: not a whole gzipped tar file ({error})") from None


def _extract(archive: Path, tar: tarfile.TarFile, folder: Path) -> None:
    size, seen = 0, set[PurePosixPath]()
    for member in tar:
        path = _safe_path(archive, member)
        size += member.size
        if path in seen:
            raise BadInput(f"{archive}: member {member.name!r} occurs twice")
        if len(seen) >= MAX_MEMBERS or size > MAX_UNPACKED:
            raise BadInput(f"{archive}: more than {MAX_MEMBERS} members or {MAX_UNPACKED:,} bytes")
        seen.add(path)
        source = tar.extractfile(member)
        if source is None:  # a folder
            continue
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, target.open("xb") as copy:
            while block := source.read(BLOCK):
                copy.write(block)


def _safe_path(archive: Path, member: tarfile.TarInfo) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise BadInput(f"{archive}: member {member.name!r} would be written outside the folder")
    if not (member.isfile() or member.isdir()):
        raise BadInput(f"{archive}: member {member.name!r} is a link or a device, not a file")
    return path


def read_about(folder: Path, archive: Path) -> dict[str, Any]:
    """Return model.json of an unpacked model."""
    try:
        about = json.loads((folder / "model.json").read_bytes())
        if not isinstance(about, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{archive}: no model.json as train.py writes it ({error})") from None
    return about


class Inference(Protocol):
    """code/inference.py: the functions that the container calls."""

    def model_fn(self, model_dir: str) -> Any: ...
    def input_fn(self, body: "str | bytes", content_type: str) -> Any: ...
    def predict_fn(self, rows: Any, model: Any) -> Any: ...
    def output_fn(self, prediction: Any, accept: str) -> Any: ...


class Answer(NamedTuple):
    status: int
    text: str
    media_type: str


class Served(NamedTuple):
    """A model, loaded by its own code."""

    inference: Inference
    model: Any

    def answer(self, body: "str | bytes", content_type: str, accept: str) -> Answer:
        """Call the three functions as the container does."""
        rows = self.inference.input_fn(body, content_type)
        found = self.inference.output_fn(self.inference.predict_fn(rows, self.model), accept)
        if isinstance(found, tuple):
            return Answer(200, *found)
        return Answer(found.status_code, found.get_data(as_text=True), found.mimetype)

    def predict(self, table: Table, schema: Schema, classes: tuple[str, ...]) -> Floats:
        """Return the predictions (rows,), or probabilities (rows, classes), for a table's rows.

        Raises:
            BadInput: the model refuses them, or answers otherwise.
        """
        found = []
        try:
            for body, rows in bodies(table, schema.features):
                answer = self.answer(body, JSON, JSON)
                if answer.status != 200:
                    raise WrongAnswer(f"status {answer.status}, {answer.text}")
                found.append(read_answer(answer.text, rows, classes))
        except WrongAnswer as error:
            raise BadInput(f"model.tar.gz: the answer to rows of the test split: {error}") from None
        return np.concatenate(found) if found else np.empty((0, len(classes)) if classes else 0)


def load(archive: Path, folder: Path) -> Served:
    """Load an unpacked model through its own code.

    Raises:
        BadInput: it has none, or fails.
    """
    script = folder / "code" / "inference.py"
    if not script.is_file():
        raise BadInput(f"{archive}: no code/inference.py; train.py did not make this")
    spec = importlib.util.spec_from_file_location("artifact_inference", script)
    assert spec and spec.loader
    inference: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = inference  # a dataclass looks its module up
    try:
        spec.loader.exec_module(inference)
        return Served(inference, inference.model_fn(str(folder)))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"{archive}: the model does not load: {reason}") from None
