"""Check a model.tar.gz before anything is deployed from it.

The archive is read once, as a stream. Nothing is extracted, loaded or run, and memory stays bounded
whatever the archive says of itself.

It must be one complete gzipped tar file of plain files that stay in its folder. It must hold
code/inference.py, exactly one model file, and model.json, which gives the sha256 of every other
file that is loaded and the version of scikit-learn that the model was fitted with. A joblib file is
accepted: its sha256 shows that it is the one that was trained.
"""

import gzip
import hashlib
import json
import tarfile
import zlib
from os import PathLike
from pathlib import PurePosixPath
from typing import IO, Protocol, cast

from sagemaker_project.errors import ArtifactError as ArtifactError

REQUIREMENTS = "code/requirements.txt"
MAX_MEMBERS = 1_000
MAX_UNPACKED = 4 * 1024**3  # bytes
# What PutObject takes, which makes the stage's copy. Amazon S3 User Guide, "Uploading objects"
MAX_PACKED = 5 * 1000**3  # bytes
MAX_HEADER = 1 << 20  # bytes: of a member's extended header, and of model.json
BLOCK = 1 << 18
MODEL_SUFFIXES = {".joblib", ".pkl", ".pickle", ".skops", ".onnx", ".ubj", ".xgb", ".bst", ".pt"}


class Readable(Protocol):
    """A stream of bytes; it need not be seekable."""

    def read(self, size: int, /) -> bytes: ...


def check_artifact(
    source: Readable | str | PathLike[str],
    sha256: str | None = None,
    sklearn: str | None = None,
    isolated: bool = False,
) -> str:
    """Return the sha256 of an artifact; raise ArtifactError unless it is as train.py makes it.

    Args:
        source: a path, or a file opened for reading bytes.
        sha256: the one it must have, if known.
        sklearn: the version of scikit-learn that will serve it, such as "1.9.0", if known.
        isolated: its container will have no network, so it can install nothing.
    """
    if isinstance(source, str | PathLike):
        with open(source, "rb") as file:
            return _check(file, str(source), sha256, sklearn, isolated)
    return _check(source, "model.tar.gz", sha256, sklearn, isolated)


def _check(
    file: Readable, name: str, sha256: str | None, sklearn: str | None, isolated: bool
) -> str:
    raw = _HashingReader(file)
    try:
        hashes, about = _read(raw)
        _check_content(hashes, about, sklearn)
        if isolated and REQUIREMENTS in hashes:
            raise ArtifactError(
                f"its container has to install {REQUIREMENTS} at its start, which"
                " EnableNetworkIsolation of the settings forbids: remove one of the two"
            )
    except ArtifactError as error:
        raise ArtifactError(f"{name}: {error}") from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, RecursionError) as error:
        size = f"{raw.size:,} bytes read" if raw.size else "it has 0 bytes"
        raise ArtifactError(f"{name}: not a whole gzipped tar file ({error}; {size})") from None
    found = raw.sha256.hexdigest()
    if sha256 and found != sha256:
        raise ArtifactError(
            f"{name}: its sha256 is {found}, {sha256} is wanted:"
            " it is not the file that was evaluated and registered"
        )
    return found


# Reading


class _HashingReader:
    """Reads a file from start to end and hashes what it reads."""

    def __init__(self, file: Readable) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def read(self, size: int = BLOCK, /) -> bytes:
        block = self.file.read(size)
        self.sha256.update(block)
        self.size += len(block)
        if self.size > MAX_PACKED:
            raise ArtifactError(f"more than {MAX_PACKED:,} bytes: S3 does not take it in one piece")
        return block


class _UnpackedReader:
    """The tar file inside, for tarfile: it can skip ahead but not back.

    Only headers are read in one piece. Raises ArtifactError when the content becomes too large.
    """

    def __init__(self, file: Readable) -> None:
        self.file = file
        self.position = 0
        self.last = b""  # the block that was read last

    def read(self, size: int, /) -> bytes:
        if size > MAX_HEADER:
            raise ArtifactError(f"a member's header of {size:,} bytes")
        self.last = self.file.read(size)
        self.position += len(self.last)
        if self.position > MAX_UNPACKED:
            raise ArtifactError(f"more than {MAX_UNPACKED:,} bytes unpacked")
        return self.last

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        while self.position < position:
            if not self.read(min(BLOCK, position - self.position)):
                raise EOFError("it ends within a member")


def _read(raw: _HashingReader) -> tuple[dict[str, str], bytes | None]:
    """Return {path: sha256} of the files in the archive, and the bytes of model.json."""
    # gzip and tarfile ask for a whole IO[bytes]; what they use of it is read, tell and seek.
    unpacked = _UnpackedReader(gzip.GzipFile(fileobj=cast(IO[bytes], raw)))
    hashes: dict[str, str] = {}
    about, size = None, 0
    with tarfile.open(fileobj=cast(IO[bytes], unpacked), mode="r:") as tar:
        for count, member in enumerate(tar, start=1):
            path = _safe_path(member)
            size += member.size
            if count > MAX_MEMBERS or size > MAX_UNPACKED:
                raise ArtifactError(f"more than {MAX_MEMBERS} members or {MAX_UNPACKED:,} bytes")
            if path in hashes:
                raise ArtifactError(f"member {member.name!r} occurs twice")
            if member.isdir():
                continue
            if path == "model.json":
                about = _small(tar, member)
                hashes[path] = hashlib.sha256(about).hexdigest()
            else:
                hashes[path] = _digest(tar, member)
        _check_end(unpacked)
    return hashes, about


def _safe_path(member: tarfile.TarInfo) -> str:
    """Return the path of a member; refuse links, devices and paths outside the folder."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise ArtifactError(f"member {member.name!r} would be written outside the folder")
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise ArtifactError(f"member {member.name!r} is a link, a device or sparse, not a file")
    return str(path)


def _small(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the content of a member that must be small."""
    if member.size > MAX_HEADER:
        raise ArtifactError(f"{member.name} has {member.size:,} bytes, over {MAX_HEADER:,}")
    with _opened(tar, member) as file:
        return file.read()


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None, "only links and devices have no content, and _safe_path refuses them"
    return file


def _digest(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    digest, left = hashlib.sha256(), member.size
    with _opened(tar, member) as file:
        while block := file.read(BLOCK):
            digest.update(block)
            left -= len(block)
    if left:
        raise EOFError(f"it ends within {member.name}")
    return digest.hexdigest()


def _check_end(unpacked: _UnpackedReader) -> None:
    """Check that tarfile stopped at the end: a block of zeros, and only zeros after it.

    tarfile also stops, without an error, at a damaged header.
    """
    block = unpacked.last
    if len(block) < tarfile.BLOCKSIZE:
        raise EOFError("it has no end mark")
    while block:
        if block.strip(b"\0"):
            raise tarfile.ReadError("a damaged member, or something after the end mark")
        block = unpacked.read(BLOCK)


# What must be in it


def _check_content(hashes: dict[str, str], about: bytes | None, sklearn: str | None) -> None:
    models = [path for path in hashes if PurePosixPath(path).suffix.lower() in MODEL_SUFFIXES]
    if "code/inference.py" not in hashes:
        raise ArtifactError("it has no code/inference.py; train.py did not make this")
    if len(models) != 1:
        found = f"{len(models)} model files ({', '.join(sorted(models))})" if models else "none"
        raise ArtifactError(f"exactly one model file is wanted, found: {found}")
    if about is None:
        raise ArtifactError("it has no model.json; train.py did not make this")
    files, version = _model_json(about)
    for path, wanted in files.items():
        found = hashes.get(path, "missing")
        if found != wanted:
            raise ArtifactError(
                f"{path}: its sha256 is {found}, model.json says {wanted}: it was changed after"
                " training"
            )
    if models[0] not in files:
        raise ArtifactError(f"model.json gives no sha256 of {models[0]}")
    if sklearn and version.split(".")[:2] != sklearn.split(".")[:2]:
        raise ArtifactError(
            f"the model was trained with scikit-learn {version} and would be served by {sklearn}:"
            " a pickle is valid only within one minor version; train again with that one"
        )


def _model_json(content: bytes) -> tuple[dict[str, str], str]:
    """Return the hashes and the version of scikit-learn that model.json gives."""
    try:
        about = json.loads(content)
        files, version = dict(about["files"]), about["versions"]["scikit-learn"]
        if not all(isinstance(value, str) for value in [*files, *files.values()]):
            raise ValueError("files must be {name: sha256}")
        if not isinstance(version, str) or not version.split(".")[1].isdigit():
            raise ValueError(f"versions.scikit-learn is {version!r}")
        return files, version
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ArtifactError(
            "model.json does not say which files and which scikit-learn the model needs"
            f" ({type(error).__name__}: {error})"
        ) from None
