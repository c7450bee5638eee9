"""The arguments of `deploy-model` as one frozen value, and the checks that need no reading."""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagemaker_project import usage
from sagemaker_project.deploy.names import package_parts
from sagemaker_project.errors import Refused, UsageError
from sagemaker_project.project import Project

PIPELINE = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class DeployRequest:
    """The arguments of one command; what a command does not have is empty.

    `stage` is empty where none is named. `package_arn` is None where --latest-approved is given,
    and for commands that name no package. `to` is the version that a rollback leads to, None for
    the one before the last promotion.
    `bucket` is empty where SageMaker's default bucket of the account and region is meant.
    """

    command: str
    stage: str
    pipeline: str | None
    region: str
    project_name: str
    project_id: str
    group: str
    bucket: str
    role: str
    timeout_seconds: float
    package_arn: str | None = None
    retry: bool = False
    accept_drift: bool = False
    plan_token: str | None = None
    to: int | None = None
    now: bool = False
    reason: str = ""
    export_test_results: str | None = None
    last: int | None = None  # entries of the history; None for all
    entries: tuple[int, ...] = ()  # of the ledger
    accept_uncommitted: bool = False
    watch: bool = False
    probe: bool = False
    local: bool = False
    in_json: bool = False
    audit: str = ""  # "prediction", "version" or "all"
    audited: str = ""  # the inference id, or the version
    at: str = ""

    @property
    def emergency(self) -> dict[str, Any]:
        """What the ledger keeps of --now and --reason."""
        given = {"Now": self.now, "Reason": self.reason}
        return {name: value for name, value in given.items() if value}

    @classmethod
    def of(cls, args: argparse.Namespace) -> "DeployRequest":
        """Return the request that the arguments of arguments.py make."""
        given = vars(args)
        return cls(
            command=given["command"],
            stage=given.get("stage") or "",
            pipeline=given["pipeline"],
            region=given["region"],
            project_name=given["sagemaker_project_name"],
            project_id=given["sagemaker_project_id"],
            group=given["model_package_group_name"],
            bucket=given["s3_bucket"],
            role=given["model_execution_role"],
            timeout_seconds=given["timeout"],
            package_arn=given.get("model_package_arn") or given.get("arn"),
            retry=given.get("retry", False),
            accept_drift=given.get("accept_drift", False),
            plan_token=given.get("plan_token"),
            to=given.get("to"),
            now=given.get("now", False),
            reason=given.get("reason") or "",
            export_test_results=given.get("export_test_results"),
            last=given.get("last"),
            entries=tuple(given.get("entries", ())),
            accept_uncommitted=given.get("accept_uncommitted", False),
            watch=given.get("watch", False),
            probe=given.get("probe", False),
            local=given["local"],
            in_json=given["json"],
            audit=given.get("audit", ""),
            audited=given.get("audited", ""),
            at=given.get("at", ""),
        )


def check_request(project: Project, request: DeployRequest, session: Any) -> None:
    """Refuse arguments that are wrong whatever exists in AWS.

    Args:
        session: a boto3 session, which knows the regions.

    Raises:
        UsageError: a name, role, region or pipeline cannot be right.
        Refused: the package is of another region, or has no version.
    """
    _check_pipeline(project, request.pipeline)
    if request.now and not request.reason:
        raise UsageError("--now needs --reason TEXT, which the ledger keeps")
    if request.reason and not request.now and request.command in ("plan", "promote"):
        raise UsageError("--reason goes with --now: a promotion without --now needs no reason")
    if request.command in ("plan", "promote") and not request.role:
        raise UsageError(
            "--model-execution-role (or MODEL_EXECUTION_ROLE_ARN) is needed: the role that the"
            " endpoint's models run as, arn:aws:iam::<account>:role/<name>"
        )
    if request.role:
        usage.check_role_arn(request.role, "--model-execution-role")
        usage.check_partition(request.role, request.region, "--model-execution-role")
    usage.check_region(request.region, "--region (or AWS_REGION)", session)
    usage.check_name(request.project_name, "--sagemaker-project-name")
    usage.check_name(request.group, "--model-package-group-name")
    if request.bucket:
        usage.check_bucket(request.bucket, "--s3-bucket")
    if request.package_arn:
        region = package_parts(request.package_arn)["region"]
        if region != request.region:
            raise Refused(
                f"{request.package_arn} is in {region}, this deployment is in {request.region}"
            )


def _check_pipeline(project: Project, name: str | None) -> None:
    """Refuse a pipeline without settings: its name is misspelt, or it was never deployed."""
    if name is None or project.is_first(name):
        return
    folder = Path(project.settings_of(None))
    if not PIPELINE.fullmatch(name) or not Path(folder, name).is_dir():
        others = [path.parent.name for path in folder.glob("*/*-config.json")]
        known = sorted({project.pipeline, *others} - {""})
        raise UsageError(
            f"--pipeline {name}: there are no settings of it in {folder}. {usage.near(name, known)}"
        )


def settings_path(project: Project, request: DeployRequest, stage: str) -> Path:
    """Return the path of a stage's settings."""
    return Path(project.settings_of(request.pipeline), f"{stage}-config.json")
