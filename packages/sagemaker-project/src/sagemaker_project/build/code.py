"""Step code in S3, addressed by its content.

A pipeline definition names the code of its steps by S3 URI. Here that URI carries the sha256 of
the code, so the same sources always give the same definition, one changed script changes one URI,
and step caching sees exactly that. Naming the code and uploading it are two things: a definition
can be built and reviewed where there is no AWS account, and `PipelineWithCode` uploads what the
definition names just before SageMaker is told about it.

Only `get_pipeline()` functions import this module: it imports the SageMaker SDK, which takes
seconds.
"""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from sagemaker.core.workflow.functions import Join
from sagemaker.mlops.workflow.pipeline import Pipeline

from sagemaker_project.usage import expected_owner

__all__ = ["PipelineWithCode", "StepCode", "s3_uri"]


def s3_uri(bucket, *parts):
    """The S3 URI of `parts` in `bucket`; a Join where only the execution knows a part."""
    if all(isinstance(part, str) for part in parts):
        return "/".join(("s3:/", bucket, *parts))
    return Join(on="/", values=["s3:/", bucket, *parts])


class StepCode:
    """The code of a pipeline's steps: `files` maps each S3 key to its bytes."""

    def __init__(self, bucket, prefix):
        self.bucket = bucket
        self.prefix = prefix
        self.files = {}

    def script(self, path):
        """The URI of one script, for a processing job."""
        content = Path(path).read_bytes()
        return self._add(content, Path(path).name, content)

    def source_dir(self, *paths):
        """The URI of a sourcedir.tar.gz of `paths`, for a training job in script mode."""
        tar = _tar(*map(Path, paths))
        return self._add(gzip.compress(tar, mtime=0), "sourcedir.tar.gz", tar)

    def _add(self, content, name, hashed):
        # A tarball is hashed before compression: zlib's bytes differ from one build to the next.
        key = f"{self.prefix}/code/{hashlib.sha256(hashed).hexdigest()}/{name}"
        self.files[key] = content
        return s3_uri(self.bucket, key)


class PipelineWithCode(Pipeline):
    """A Pipeline that uploads the code of its steps before it is created or updated.

    Without `code` there is only its definition.
    """

    def __init__(self, *args, code, **kwargs):
        super().__init__(*args, **kwargs)
        self.code = code

    def _upload_code(self):
        if self.code is None:
            raise ValueError("get_pipeline() was called without a role: its jobs could not run")
        bucket = self.sagemaker_session.default_bucket()
        s3 = self.sagemaker_session.boto_session.client("s3")
        for key, content in self.code.files.items():
            s3.put_object(Bucket=bucket, Key=key, Body=content, **expected_owner(bucket))
        self.code.files.clear()  # upsert() tries to create, then updates

    def create(self, *args, **kwargs):
        self._upload_code()
        return super().create(*args, **kwargs)

    def update(self, *args, **kwargs):
        self._upload_code()
        return super().update(*args, **kwargs)


def _tar(*paths):
    """A tar with the same bytes for the same files, whoever packs it and whenever."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(paths):
            content = path.read_bytes()
            member = tarfile.TarInfo(path.name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
