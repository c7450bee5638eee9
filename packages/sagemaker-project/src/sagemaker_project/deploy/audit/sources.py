"""What AWS, S3 and the local git repository say. Each is asked once, whatever asks for it."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.ledger import Ledger
from sagemaker_project.deploy.ledger_look import read_ledger
from sagemaker_project.deploy.ledger_read import Examined
from sagemaker_project.project import package_folder

BLOCK = 1 << 20
GIT_SECONDS = 10


class Sources:
    """Answers, kept. Use it as a context manager: downloads lie in a folder that it deletes."""

    def __init__(self, context: Context) -> None:
        self.context, self.aws, self.target = context, context.aws, context.target
        self.folder = Path(tempfile.mkdtemp(prefix="deploy-model-audit-"))
        self._answers: dict[tuple[str, ...], Members | None] = {}
        self._hashes: dict[str, str] = {}

    def __enter__(self) -> "Sources":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    # SageMaker

    def describe(self, operation: str, **members: str) -> Members | None:
        """Return the answer of a Describe operation, None where there is no such resource."""
        key = (operation, *members.values())
        if key not in self._answers:
            self._answers[key] = self.aws.read("sagemaker", operation, **members)
        return self._answers[key]

    def package(self, arn: str) -> Members:
        """Return DescribeModelPackage, {} where it was deleted."""
        return self.describe("DescribeModelPackage", ModelPackageName=arn) or {}

    def endpoint_config(self, deployment: Members) -> tuple[Members, str]:
        """Return CreateEndpointConfig's members of a deployment, and who says so.

        Of a configuration that was deleted, the ledger says; {} where it does not either.
        """
        name = deployment["EndpointConfigName"]
        found = self.describe("DescribeEndpointConfig", EndpointConfigName=name)
        if found:
            return found, f"DescribeEndpointConfig {name}"
        recorded: Members = deployment.get("Resources", {}).get("EndpointConfig", {})
        return recorded, f"the ledger, which has {name}"

    def steps(self, execution: str) -> list[Members]:
        """Return the steps of an execution that exists."""
        operation, member = "ListPipelineExecutionSteps", "PipelineExecutionSteps"
        return list(self.aws.pages("sagemaker", operation, member, PipelineExecutionArn=execution))

    # The ledger

    @cached_property
    def examined(self) -> Examined:
        return read_ledger(self.context, self.target)

    @property
    def ledger(self) -> Ledger:
        """The entries that are intact."""
        return self.examined.ledger

    def damage(self, newer: bool = False) -> str:
        """Return what is wrong with the other entries; '' if nothing is.

        Args:
            newer: ask for those that a newer version of this package wrote, which are no damage.
        """
        damage = [one for one in self.examined.damage if one.newer == newer]
        return "; ".join(f"{one.key}: {one.why}" for one in damage)

    @cached_property
    def deployments(self) -> dict[str, Members]:
        """{endpoint configuration: the last Deployment of it}, those that failed included."""
        entries = self.ledger.entries
        found: list[Members] = [e["Deployment"] for e in entries if e.get("Deployment")]
        return {deployment["EndpointConfigName"]: deployment for deployment in found}

    # S3

    def keys(self, bucket: str, prefix: str) -> list[str]:
        listed = self.aws.pages("s3", "ListObjectsV2", "Contents", Bucket=bucket, Prefix=prefix)
        return sorted(item["Key"] for item in listed)

    def bodies(self, bucket: str, keys: Sequence[str]) -> list[bytes]:
        """Return the bytes of small objects, b"" of one that is gone."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            return list(pool.map(lambda key: self.aws.get_object(bucket, key) or b"", keys))

    def body(self, uri: str) -> bytes | None:
        bucket, key = parts(uri)
        return self.aws.get_object(bucket, key) if bucket and key else None

    def sha256(self, uri: str) -> str:
        """Return the sha256 of an object, '' where there is none."""
        if uri not in self._hashes:
            path = self.download(uri)
            self._hashes[uri] = _sha256(path) if path else ""
        return self._hashes[uri]

    def download(self, uri: str) -> Path | None:
        """Return a copy of an object on this machine, None where there is no object."""
        bucket, key = parts(uri)
        path = self.folder / hashlib.sha256(uri.encode()).hexdigest()
        if path.exists():
            return path
        if not bucket or not key:
            return None
        with path.open("w+b") as file:
            found = self.aws.download(file, Bucket=bucket, Key=key)
        if found is None:
            path.unlink()
        return path if found is not None else None

    # git

    def has_commit(self, commit: str) -> bool | None:
        """Return whether the repository of this project has a commit; None without one."""
        git = ["git", "-C", package_folder()]
        try:
            inside = subprocess.run(
                [*git, "rev-parse", "--git-dir"], capture_output=True, timeout=GIT_SECONDS
            )
            if inside.returncode:
                return None
            found = subprocess.run(
                [*git, "cat-file", "-e", f"{commit}^{{commit}}"],
                capture_output=True,
                timeout=GIT_SECONDS,
            )
            return found.returncode == 0
        except (OSError, subprocess.SubprocessError):
            return None


def parts(uri: str) -> tuple[str, str]:
    """Return bucket and key of an S3 URI, two empty texts of anything else."""
    if not uri.startswith("s3://"):
        return "", ""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
