"""model.tar.gz: unpack it safely, and load the model through its own code.

Nothing in the archive is written outside of the folder that it is unpacked into. Loading runs its
pickle and its code/inference.py with all the rights of this process.
"""

import errno
import importlib.util
import json
import tarfile
import zlib
from pathlib import PurePosixPath

MAX_MEMBERS = 1_000
MAX_UNPACKED = 4 * 1024**3  # bytes


class BadInput(Exception):
    """A mistake in the data, the model or the arguments. The message is one line."""


def unpack(archive, folder):
    """Extract plain files into the folder, without their owners and modes; refuse anything else."""
    if not archive.is_file():
        raise BadInput(f"{archive}: not there; --model is the folder that holds model.tar.gz")
    size, seen = 0, set()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                path = safe_path(archive, member)
                size += member.size
                if path in seen:
                    raise BadInput(f"{archive}: member {member.name!r} occurs twice")
                if len(seen) >= MAX_MEMBERS or size > MAX_UNPACKED:
                    raise BadInput(
                        f"{archive}: more than {MAX_MEMBERS} members or {MAX_UNPACKED:,} bytes"
                    )
                seen.add(path)
                if member.isfile():
                    target = folder / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with tar.extractfile(member) as source, target.open("xb") as copy:
                        while block := source.read(1 << 20):
                            copy.write(block)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        # Errors of gzip have no errno; EEXIST and ENOTDIR mean a file that is also a folder.
        if getattr(error, "errno", None) not in (None, errno.EEXIST, errno.ENOTDIR):
            raise
        raise BadInput(f"{archive}: not a whole gzipped tar file ({error})") from None


def safe_path(archive, member):
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise BadInput(f"{archive}: member {member.name!r} would be written outside the folder")
    if not (member.isfile() or member.isdir()):
        raise BadInput(f"{archive}: member {member.name!r} is a link or a device, not a file")
    return path


def load_model(archive, folder):
    """Return the artifact's inference module, the model that it loads, and facts of model.json."""
    script, about = folder / "code" / "inference.py", folder / "model.json"
    for path in (script, about):
        if not path.is_file():
            raise BadInput(f"{archive}: no {path.relative_to(folder)}; train.py did not make this")
    about = read_about(archive, about)
    spec = importlib.util.spec_from_file_location("artifact_inference", script)
    inference = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(inference)
        return inference, inference.model_fn(str(folder)), about
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"{archive}: the model does not load: {reason}") from None


def read_about(archive, path):
    try:
        about = json.loads(path.read_bytes())
        return {
            "label": about["label"],
            "features": [feature["name"] for feature in about["features"]],
            "numeric": {item["name"] for item in about["features"] if item["kind"] == "numeric"},
            "versions": dict(about["versions"]),
            "hyperparameters": dict(about["hyperparameters"]),
        }
    except (ValueError, LookupError, TypeError) as error:
        raise BadInput(f"{archive}: model.json is not as train.py writes it ({error!r})") from None
