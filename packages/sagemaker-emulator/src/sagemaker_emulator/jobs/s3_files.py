"""Files of a job that come from S3 and go to S3."""

import gzip
import io
import tarfile
from pathlib import Path
from typing import Protocol

from sagemaker_emulator.errors import AwsError
from sagemaker_emulator.jobs.kinds import JobError


class S3(Protocol):
    def list_objects(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys that start with `prefix`; raise LookupError if the bucket is missing."""

    def read_object(self, bucket: str, key: str) -> bytes | None:
        """Return the content of an object; None if the bucket or object is missing."""

    def write_object(self, bucket: str, key: str, body: bytes) -> None:
        """Write an object; raise LookupError if S3 refuses it, AwsError if S3 itself fails."""


def bucket_and_key(uri: str) -> tuple[str, str]:
    if not uri.startswith("s3://"):
        raise JobError(f"ClientError: {uri} is not an s3:// URI")
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


# Inputs


def download(s3: S3, uri: str, folder: Path) -> None:
    """Download the objects whose keys start with the prefix `uri` into a folder."""
    bucket, prefix = bucket_and_key(uri)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        keys = s3.list_objects(bucket, prefix)
    except LookupError as error:
        raise JobError(f"ClientError: cannot read {uri}: {error}") from None
    keys = [key for key in keys if not key.endswith("/")]
    if not keys:
        raise JobError(f"ClientError: no S3 object matches the prefix {uri}")
    for key in keys:
        body = s3.read_object(bucket, key)
        if body is None:
            raise JobError(f"ClientError: the S3 object s3://{bucket}/{key} has been deleted")
        _write_file(folder, _relative(key, prefix), key, body)


def _relative(key: str, prefix: str) -> str:
    """Return the path of an object in the folder that its prefix is downloaded into.

    As on AWS, a prefix is a folder ("raw" and "raw/a.csv" give "a.csv") or the start of a name
    ("ra" and "raw/a.csv" give "raw/a.csv").
    """
    if key.startswith(prefix.rstrip("/") + "/") or not prefix:
        return key[len(prefix) :].lstrip("/")
    return key[prefix.rfind("/") + 1 :]


def _write_file(folder: Path, relative: str, key: str, body: bytes) -> None:
    path = folder / relative
    if ".." in path.parts:
        raise JobError(f"ClientError: the S3 key {key!r} leads out of the job's folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    except OSError as error:
        reason = f"the S3 key {key!r} cannot be a file: {error.strerror}"
        raise JobError(f"ClientError: {reason}") from None


def unpack(s3: S3, uri: str, folder: Path) -> None:
    """Unpack the tarball with a training script into a folder."""
    body = s3.read_object(*bucket_and_key(uri))
    if body is None:
        raise JobError(f"ClientError: sagemaker_submit_directory: there is no {uri}")
    try:
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise JobError(f"ClientError: cannot unpack {uri}: {error}") from None


# Outputs


def upload(s3: S3, folder: Path, uri: str) -> None:
    """Upload every file below a folder, each to its path below `uri`."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            _write_object(s3, f"{uri.rstrip('/')}/{name}", path.read_bytes())


def upload_archive(s3: S3, folder: Path, uri: str) -> None:
    """Upload a folder as one tar.gz, unless it has no files."""
    if any(path.is_file() for path in folder.rglob("*")):
        _write_object(s3, uri, archive(folder))


def _write_object(s3: S3, uri: str, body: bytes) -> None:
    try:
        s3.write_object(*bucket_and_key(uri), body)
    except (LookupError, AwsError) as error:
        raise JobError(f"ClientError: cannot write {uri}: {error}") from None


def archive(folder: Path) -> bytes:
    """Return a tar.gz of a folder; its bytes depend on names and contents only."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            tar.add(path, arcname=name, recursive=False, filter=_anonymous)
    return buffer.getvalue()


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return the entry without owner, time and umask."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
    return info
