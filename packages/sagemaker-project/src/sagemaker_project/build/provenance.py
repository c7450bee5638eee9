"""Where a run comes from: the parameters that `run-pipeline` sets on its own.

    InputDataVersion   a hash of the objects at InputDataUrl
    GitCommit          the commit of the working copy
    DefinitionSha256   the sha256 of the definition

Each is set only if the pipeline declares it and the user did not give it.
"""

import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import Mapping

from sagemaker_project.errors import UsageError
from sagemaker_project.project import package_folder
from sagemaker_project.usage import Client, Json

GIT_SECONDS = 10


def definition_sha256(definition: Json) -> str:
    """Return the sha256 of a definition, which does not depend on the order of its keys."""
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()


def data_version(s3: Client, uri: str) -> str:
    """Return a text that changes when an object below `uri` does.

    Step caching compares the URIs of inputs only and would miss new data under an old name.

    Raises:
        UsageError: there is nothing at `uri`.
    """
    from botocore.exceptions import ClientError

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    digest, found = hashlib.sha256(), False
    try:
        for page in pages:
            for item in page.get("Contents", []):
                digest.update(f"{item['Key']} {item['ETag']}\n".encode())
                found = True
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            # The jobs may be allowed to read what this user may not; no step is reused.
            return f"unread-{uuid.uuid4()}"
    if not found:
        raise UsageError(
            f"InputDataUrl: there is nothing at {uri}."
            " Give a file, for example --input-data data/abalone-sample.csv"
        )
    return digest.hexdigest()


def git_commit(environment: Mapping[str, str] = os.environ) -> str:
    """Return the commit of the repository, with "-dirty" if it has changes, or "unknown"."""
    # CodePipeline gives CodeBuild a folder without .git, and the commit in a variable.
    if commit := environment.get("CODEBUILD_RESOLVED_SOURCE_VERSION"):
        return commit
    try:
        # Fails if git does not track the package, as in a project inside another repository.
        _git("ls-files", "--error-unmatch", "__init__.py")
        commit = _git("rev-parse", "HEAD").strip()
        return f"{commit}-dirty" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*words: str) -> str:
    command = ["git", "-C", package_folder(), *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS
    ).stdout
