"""Where a command acts: one stage of one pipeline, in one account and region."""

import shlex
from dataclasses import dataclass

from sagemaker_project.deploy import ledger
from sagemaker_project.deploy.calls import Call
from sagemaker_project.deploy.config import Config
from sagemaker_project.deploy.names import HASH, MAX_NAME, digest, fit

PACKAGE_TAG = "sagemaker-project:model-package-arn"


@dataclass(frozen=True)
class Target:
    """A stage of one pipeline.

    `pipeline` is empty for the first pipeline of a repository, `before` for its first stage and
    `after` for its last one. `flags` are what a command needs to act in the same place.
    """

    project: str
    project_id: str
    pipeline: str
    stage: str
    before: str
    region: str
    bucket: str
    role: str
    group: str
    config: Config
    after: str = ""
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The first part of the name of everything that belongs to the pipeline's endpoints."""
        return "-".join(filter(None, [self.project, self.pipeline.replace("_", "-")]))

    @property
    def endpoint(self) -> str:
        """The endpoint's name."""
        name = f"{self.name}-{self.stage}"
        if len(name) <= MAX_NAME:
            return name
        return fit(self.name, f"-{digest(self.name)[:HASH]}-{self.stage}")

    @property
    def tags(self) -> list[dict[str, str]]:
        """The tags of everything that is created; a tag of the settings replaces one of these."""
        own = {
            "sagemaker:project-name": self.project,
            "sagemaker:deployment-stage": self.stage,
            **({"sagemaker:project-id": self.project_id} if self.project_id else {}),
        }
        given = {tag["Key"]: tag["Value"] for tag in self.config.content.get("Tags", [])}
        return [{"Key": key, "Value": value} for key, value in (own | given).items()]

    @property
    def in_default_bucket(self) -> bool:
        """Whether the bucket is the one that a command takes without --s3-bucket."""
        return "--s3-bucket" not in self.flags

    def tags_of(self, package_arn: str) -> list[dict[str, str]]:
        """The tags of a model or an endpoint configuration that serves a model package."""
        own = {"Key": PACKAGE_TAG, "Value": package_arn}
        return [*(tag for tag in self.tags if tag["Key"] != PACKAGE_TAG), own]

    def command(self, verb: str, *words: str, stage: str | None = None) -> str:
        """Return a command that acts on this pipeline, complete, as a shell takes it."""
        return self._typed(verb, "--stage", stage or self.stage, *words)

    def command_for_all(self, verb: str) -> str:
        """Return a command that acts on all stages of this pipeline."""
        return self._typed(verb)

    def registry_command(self, verb: str, arn: str, reason: str) -> str:
        """Return a command that approves or rejects a version, which no stage is named for."""
        return self._typed(f"{verb} {arn}", "--reason", reason)

    def _typed(self, verb: str, *words: str) -> str:
        pipeline = ["--pipeline", self.pipeline] if self.pipeline else []
        rest = map(shlex.quote, [*words[:2], *pipeline, *words[2:], *self.flags])
        return " ".join(["deploy-model", verb, *rest])

    @property
    def aws_flags(self) -> str:
        """What a command of the AWS CLI ends with, so that it acts in this place and in no other.

        With --local the variable is that of `sagemaker-local up`; where it is not set, the command
        fails.
        """
        local = ' --endpoint-url "$AWS_ENDPOINT_URL"' if "--local" in self.flags else ""
        return f"--region {self.region}{local}"

    def list_versions(self, key: str) -> str:
        """Return the command that lists the earlier versions of the bucket's objects."""
        where = f"--bucket {self.bucket} --prefix {key}"
        return f"aws s3api list-object-versions {where} {self.aws_flags}"

    @property
    def ledger_folder(self) -> str:
        """The prefix of the keys of the stage's ledger, without the slash at its end."""
        return ledger.entry_key(self.name, self.stage, 0).rpartition("/")[0]

    def artifact_url(self, sha256: str) -> str:
        """The S3 URL of the stage's own copy of the artifact that has this sha256."""
        return f"s3://{self.bucket}/{ledger.artifact_key(self.name, self.stage, sha256)}"

    @property
    def lock_key(self) -> str:
        return ledger.lock_key(self.name, self.stage)

    @property
    def lock_calls(self) -> tuple[Call, Call]:
        """The calls that take the stage's lock and give it back."""
        where = {"Bucket": self.bucket, "Key": self.lock_key}
        return Call("s3", "PutObject", where), Call("s3", "DeleteObject", where)
