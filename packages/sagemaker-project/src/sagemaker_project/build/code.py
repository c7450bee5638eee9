"""Step code in S3, addressed by its content.

A pipeline definition names the code of its steps by S3 URI. Here that URI contains the sha256 of
the code, so the same sources always give the same definition, a changed script changes one URI, and
step caching notices exactly that change. Naming the code is separate from uploading it: a
definition can be built and reviewed without an AWS account, and `PipelineWithCode` uploads the code
just before it creates or updates the pipeline.

Only `get_pipeline()` functions import this module: it imports the SageMaker SDK, which takes
seconds.
"""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sagemaker.core.workflow.functions import Join
from sagemaker.mlops.workflow.pipeline import Pipeline

from sagemaker_project.build.traveling import Files, python_files, traveling
from sagemaker_project.usage import Json, expected_owner

__all__ = ["PipelineWithCode", "StepCode", "s3_uri", "traveling"]

UPLOADS = 8  # at a time


def s3_uri(bucket: str, *parts: Any) -> Any:
    """Return the S3 URI of `parts` in `bucket`.

    Args:
        parts: text, or pipeline variables of the SDK, whose values only an execution knows.

    Returns:
        Text; a Join of the SDK if a part is a pipeline variable.
    """
    if all(isinstance(part, str) for part in parts):
        return "/".join(("s3:/", bucket, *parts))
    return Join(on="/", values=["s3:/", bucket, *parts])


class StepCode:
    """The code of a pipeline's steps: `files` maps each S3 key to its bytes."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.files: dict[str, bytes] = {}

    def script(
        self, path: str | Path, *modules: str | Path, package: str | Path | Files | None = None
    ) -> str:
        """Add a script, for a processing job, and what it imports.

        Args:
            modules: files that are put beside the script.
            package: a package's folder, which is put beside the script with its sub-folders; or
                its files, as `traveling()` returns them.

        Returns:
            The URI of the script; that of its folder if there is more than the script.
        """
        files = _beside([path, *modules], package)
        name = Path(path).name
        if len(files) == 1:
            return self._add(files[name], name, files[name])
        hashed = _tar(files)
        uris = {each: self._add(content, each, hashed) for each, content in files.items()}
        return uris[name].removesuffix(f"/{name}")

    def source_dir(self, *paths: str | Path, package: str | Path | Files | None = None) -> str:
        """Add a sourcedir.tar.gz of `paths`, for a training job in script mode; return its URI.

        Args:
            package: as in `script`.
        """
        tar = _tar(_beside(paths, package))
        return self._add(gzip.compress(tar, mtime=0), "sourcedir.tar.gz", tar)

    def file(self, name: str, content: bytes) -> str:
        """Add a file under its sha256; return its URI."""
        return self._add(content, name, content)

    def _add(self, content: bytes, name: str, hashed: bytes) -> str:
        # A tarball is hashed before compression: different builds of zlib give different bytes.
        key = f"{self.prefix}/code/{hashlib.sha256(hashed).hexdigest()}/{name}"
        self.files[key] = content
        return f"s3://{self.bucket}/{key}"


class PipelineWithCode(Pipeline):  # type: ignore[misc]  # the SDK has no types
    """A Pipeline that uploads the code of its steps before it is created or updated.

    With `code=None` it has a definition, but cannot be created.
    """

    def __init__(self, *args: Any, code: StepCode | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.code = code

    def _upload_code(self) -> None:
        if self.code is None:
            raise ValueError("get_pipeline() was called without a role: its jobs could not run")
        bucket = self.sagemaker_session.default_bucket()
        s3 = self.sagemaker_session.boto_session.client("s3")
        owner = expected_owner(bucket)

        def upload(item: tuple[str, bytes]) -> None:
            s3.put_object(Bucket=bucket, Key=item[0], Body=item[1], **owner)

        with ThreadPoolExecutor(UPLOADS) as pool:
            list(pool.map(upload, self.code.files.items()))  # raises the first error
        self.code.files.clear()  # upsert() calls create(), then update(): upload once

    def create(self, *args: Any, **kwargs: Any) -> Json:
        self._upload_code()
        answer: Json = super().create(*args, **kwargs)
        return answer

    def update(self, *args: Any, **kwargs: Any) -> Json:
        self._upload_code()
        answer: Json = super().update(*args, **kwargs)
        return answer


def _beside(paths: Sequence[str | Path], package: str | Path | Files | None) -> dict[str, bytes]:
    """Return {name: content} of a step's folder."""
    files: dict[str, bytes] = {}
    for path in map(Path, paths):
        if path.name in files:
            raise ValueError(f"{path}: a step has one file of the name {path.name} only")
        files[path.name] = path.read_bytes()
    if package is None:
        return files
    return files | dict(package if isinstance(package, Mapping) else python_files(package))


def _tar(files: Files) -> bytes:
    """Return a tar that depends on the names and contents of the files only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
