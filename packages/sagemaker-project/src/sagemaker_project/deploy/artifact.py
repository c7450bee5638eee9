"""Check a model.tar.gz before anything is deployed from it. It is read, once: nothing is extracted,
loaded or run, and memory stays bounded whatever the archive says of itself.

It must be one whole gzipped tar file of plain files that stay in its folder; hold
code/inference.py, one model file, and model.json, which gives the sha256 of every other file that
is loaded and the scikit-learn that the model was fitted with. A joblib is allowed: that it is the
one that was trained is what its sha256 tells.
"""

import gzip
import hashlib
import json
import tarfile
import zlib
from contextlib import nullcontext
from pathlib import PurePosixPath

MAX_MEMBERS = 1_000
MAX_UNPACKED = 4 * 1024**3  # bytes
MAX_HEADER = 1 << 20  # bytes: of a member's extended header, and of model.json
BLOCK = 1 << 18
MODEL_SUFFIXES = {".joblib", ".pkl", ".pickle", ".skops", ".onnx", ".ubj", ".xgb", ".bst", ".pt"}


class ArtifactError(Exception):
    """What is wrong with an artifact, in one line."""


def check_artifact(source, sha256=None, sklearn=None):
    """Raise ArtifactError unless `source` is an artifact as train.py makes it; return its sha256.

    Args:
        source: a path, or a file that is open for reading bytes.
        sha256: what it must have, where that is known.
        sklearn: the version that will serve it, such as "1.9.0", where that is known.
    """
    is_file = hasattr(source, "read")
    name = "model.tar.gz" if is_file else str(source)
    with nullcontext(source) if is_file else open(source, "rb") as file:
        raw = _Hashing(file)
        try:
            hashes, about = _read(raw)
            _check_content(hashes, about, sklearn)
        except ArtifactError as error:
            raise ArtifactError(f"{name}: {error}") from None
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, RecursionError) as error:
            size = f"{raw.size:,} bytes read" if raw.size else "it has 0 bytes"
            raise ArtifactError(f"{name}: not a whole gzipped tar file ({error}; {size})") from None
    if sha256 and raw.sha256.hexdigest() != sha256:
        raise ArtifactError(
            f"{name}: its sha256 is {raw.sha256.hexdigest()}, wanted is {sha256}:"
            " it is not the file that was evaluated and registered"
        )
    return raw.sha256.hexdigest()


# Reading


class _Hashing:
    """A file that is read from start to end, and hashed on the way."""

    def __init__(self, file):
        self.file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def read(self, size=BLOCK):
        block = self.file.read(size)
        self.sha256.update(block)
        self.size += len(block)
        return block


class _Unpacked:
    """The tar file inside, for tarfile: it can be skipped through but not rewound, and it ends the
    reading when it grows too large. Only a header is read in one piece."""

    def __init__(self, file):
        self.file = file
        self.position = 0
        self.last = b""

    def read(self, size):
        if size > MAX_HEADER:
            raise ArtifactError(f"a member's header of {size:,} bytes")
        self.last = self.file.read(size)
        self.position += len(self.last)
        if self.position > MAX_UNPACKED:
            raise ArtifactError(f"more than {MAX_UNPACKED:,} bytes unpacked")
        return self.last

    def tell(self):
        return self.position

    def seek(self, position):
        while self.position < position:
            if not self.read(min(BLOCK, position - self.position)):
                raise EOFError("it ends within a member")


def _read(raw):
    """{path: sha256} of the files in the archive, and the bytes of model.json."""
    unpacked = _Unpacked(gzip.GzipFile(fileobj=raw))
    hashes, about, size = {}, None, 0
    with tarfile.open(fileobj=unpacked, mode="r:") as tar:
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
            hashes[path] = _digest(tar, member, about if path == "model.json" else None)
        _check_end(unpacked)
    return hashes, about


def _safe_path(member):
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise ArtifactError(f"member {member.name!r} would be written outside the folder")
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise ArtifactError(f"member {member.name!r} is a link, a device or sparse, not a file")
    return str(path)


def _small(tar, member):
    if member.size > MAX_HEADER:
        raise ArtifactError(f"{member.name} has {member.size:,} bytes, over {MAX_HEADER:,}")
    return tar.extractfile(member).read()


def _digest(tar, member, content):
    if content is not None:
        return hashlib.sha256(content).hexdigest()
    digest, left = hashlib.sha256(), member.size
    with tar.extractfile(member) as file:
        while block := file.read(BLOCK):
            digest.update(block)
            left -= len(block)
    if left:
        raise EOFError(f"it ends within {member.name}")
    return digest.hexdigest()


def _check_end(unpacked):
    """tarfile takes a damaged header for the end; the end is a block of zeros, and zeros after."""
    block = unpacked.last
    if len(block) < tarfile.BLOCKSIZE:
        raise EOFError("it has no end mark")
    while block:
        if block.strip(b"\0"):
            raise tarfile.ReadError("a damaged member, or something after the end mark")
        block = unpacked.read(BLOCK)


# What must be in it


def _check_content(hashes, about, sklearn):
    models = [path for path in hashes if PurePosixPath(path).suffix.lower() in MODEL_SUFFIXES]
    if "code/inference.py" not in hashes:
        raise ArtifactError("no code/inference.py in it; train.py did not make this")
    if len(models) != 1:
        found = f"{len(models)} model files ({', '.join(sorted(models))})" if models else "none"
        raise ArtifactError(f"one model file is wanted in it, found: {found}")
    if about is None:
        raise ArtifactError("no model.json in it; train.py did not make this")
    files, version = _about(about)
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
            " a pickle holds only within one minor version; train again with that one"
        )


def _about(content):
    """The hashes and the version of scikit-learn that model.json gives."""
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
