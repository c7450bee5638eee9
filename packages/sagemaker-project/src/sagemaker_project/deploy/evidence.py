"""What a command decides on: all that it has read, as frozen values.

    State       what a stage is now: its ledger, its endpoint, its autoscaling
    Evidence    a State and what concerns the version that is to be deployed
    Rollback    a State and what concerns the version that a rollback leads to

look.py reads them; gates.py and the modules that plan are pure functions of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.candidate import Candidate
from sagemaker_project.deploy.endpoint_test_samples import Samples, read_samples
from sagemaker_project.deploy.ledger import Deployment, Entry, Ledger, Test
from sagemaker_project.deploy.ledger_read import Damage
from sagemaker_project.deploy.request import DeployRequest
from sagemaker_project.deploy.target import Target
from sagemaker_project.errors import Refused, UsageError

STEADY = ("InService", "Failed", "OutOfService", "UpdateRollbackFailed")
NEEDS_PERSON = ("Failed", "OutOfService", "UpdateRollbackFailed")


@dataclass(frozen=True)
class Parts:
    """What exists of a deployment.

    `models` and `endpoint_configs` are the answers of DescribeModel and DescribeEndpointConfig by
    name, `copies` the sha256 of the stage's copies of artifacts by URL. `sources` is the sha256 of
    the artifacts, by URL, whose copies do not exist.
    """

    models: Mapping[str, Members] = field(default_factory=dict)
    endpoint_configs: Mapping[str, Members] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What a stage is now.

    `endpoint` and `endpoint_config` are the answers of DescribeEndpoint and DescribeEndpointConfig,
    None where there is none; `scaling` is {variant: AutoScaling} as registered, and `tags` are
    those of the endpoint. `damage` is what the ledger lacks; only commands that change nothing go
    on with any. `live_parts` is what exists of the deployment that serves, read only where its
    endpoint configuration is gone. `live_models` are the answers of DescribeModel for what serves,
    read only for a clean-up: the ledger does not know a model that was made by hand.
    """

    request: DeployRequest
    target: Target
    now: datetime
    ledger: Ledger
    endpoint: Members | None = None
    endpoint_config: Members | None = None
    scaling: Mapping[str, Members] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    damage: tuple[Damage, ...] = ()
    live_parts: Parts | None = None
    live_models: tuple[Members, ...] = ()

    @property
    def action(self) -> str:
        """What the command is about to do; a plan is of a promotion."""
        return "promote" if self.request.command == "plan" else self.request.command

    @property
    def live(self) -> str | None:
        """The name of the endpoint configuration that serves."""
        return self.endpoint["EndpointConfigName"] if self.endpoint else None

    @property
    def live_members(self) -> Members | None:
        """The live endpoint configuration; where it was deleted, as the ledger recorded it."""
        recorded = self.ledger.deployed(self.live) if self.live else None
        resources = recorded.get("Resources") if recorded else None
        return self.endpoint_config or (resources["EndpointConfig"] if resources else None)

    @property
    def status(self) -> str:
        """The endpoint's status; empty where there is no endpoint."""
        return self.endpoint["EndpointStatus"] if self.endpoint else ""

    @property
    def changing(self) -> bool:
        """Whether the endpoint is on its way from one status to another."""
        return is_changing(self.endpoint)

    @property
    def needs_person(self) -> bool:
        """Whether the endpoint is in a status that SageMaker does not leave by itself."""
        return self.status in NEEDS_PERSON

    @property
    def pending(self) -> Entry | None:
        """The Started entry of a deployment that was interrupted."""
        return self.ledger.pending

    @property
    def resumed(self) -> Entry | None:
        """The Started entry that this command continues."""
        pending = self.pending
        return pending if pending and pending["Action"] == self.action else None

    @property
    def never_served(self) -> bool:
        """Whether the endpoint is what the first promotion failed to create.

        Only where this command ends that promotion, with the endpoint deleted: it continues it, or
        it is a rollback.
        """
        ends = self.pending if self.action == "rollback" else self.resumed
        return (
            ends is not None
            and ends["Action"] == "promote"
            and ends["Deployment"]["Before"] is None
            and self.status == "Failed"
        )


@dataclass(frozen=True)
class Document:
    """A file in S3: `body` is None where it does not exist."""

    uri: str
    body: bytes | None


@dataclass(frozen=True)
class Artifact:
    """A package's model: what identifies its bytes, or what is wrong with it, in one line."""

    pin: Members = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Staged:
    """What the stage before knows of the version.

    `config_hash` is that of its settings today; `test` is the last test of the version with these
    settings and `report` its report, both None where there is none.
    """

    ledger: Ledger
    config_hash: str
    test: Test | None = None
    report: Document | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence(State):
    """What a promotion is decided on.

    `models` and `endpoint_configs` are what exists under the candidate's names, `copies` the
    sha256 of the stage's copies of its artifacts by URL. `metrics`, `samples`, `artifacts` and
    `copies` are read only where every package may be deployed.
    `staged` is None for the first stage.
    """

    candidate: Candidate
    metrics: Document | None = None
    samples: Document | None = None
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)  # {package ARN: Artifact}
    models: Mapping[str, Members] = field(default_factory=dict)  # {name: DescribeModel}
    endpoint_configs: Mapping[str, Members] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    alarms: Mapping[str, Members] = field(default_factory=dict)  # {name: DescribeAlarms entry}
    staged: Staged | None = None

    @property
    def resumed(self) -> Entry | None:
        """The Started entry of this very version with these settings."""
        pending = super().resumed
        return pending if pending and is_of(pending["Deployment"], self.candidate.name) else None

    @property
    def at_once(self) -> bool:
        """Whether traffic moves all at once and no alarm is asked: by --now of this run or, where
        it continues another one, of that.
        """
        return self.request.now or bool(self.resumed and self.resumed.get("Now"))

    @property
    def parts(self) -> Parts:
        """What exists of the candidate."""
        return Parts(self.models, self.endpoint_configs, self.copies)

    @property
    def pins(self) -> list[Members]:
        """What identifies the bytes of each package that serves."""
        return [self.artifacts[arn].pin for arn in self.candidate.packages]


@dataclass(frozen=True, kw_only=True)
class Rollback(State):
    """What a rollback is decided on.

    `goal` is the deployment of the ledger that it leads to, None where there is none; it may serve
    already. `goal_config` is its endpoint configuration and `goal_parts` what exists of it.
    `missing` says what of it cannot be created again, and `altered` what was changed, a line each.
    """

    goal: Deployment | None = None
    goal_config: Members | None = None
    goal_parts: Parts = Parts()
    missing: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()


def is_changing(endpoint: Members | None) -> bool:
    return endpoint is not None and endpoint["EndpointStatus"] not in STEADY


def is_of(deployment: Deployment | None, endpoint_config: str | None) -> bool:
    """Whether a deployment of the ledger made the endpoint configuration of this name."""
    return deployment is not None and deployment["EndpointConfigName"] == endpoint_config


def not_deployable_because(package: Members, target: Target) -> str:
    """Return why a package may not be deployed; empty where it may."""
    arn, approval = package["ModelPackageArn"], package.get("ModelApprovalStatus")
    problem = registry_problem(package, target)
    if approval == "Approved" or _is_of_another_group(package, target):
        return problem
    command = target.registry_command("approve", arn, "its metrics are good")
    return f"{arn} is {approval}: a person who may must approve it first: {command}"


def registry_problem(package: Members, target: Target) -> str:
    """Return why nothing may be done with a package here, whether it is approved or not."""
    arn, status = package["ModelPackageArn"], package["ModelPackageStatus"]
    if _is_of_another_group(package, target):
        return (
            f"{arn} is of the group {package.get('ModelPackageGroupName')}, this project deploys"
            f" {target.group}: name one of its versions, or give --model-package-group-name"
        )
    if status != "Completed":
        return f"{arn}: its status is {status}, only Completed packages are deployed"
    return ""


def _is_of_another_group(package: Members, target: Target) -> bool:
    return bool(package.get("ModelPackageGroupName") != target.group)


def is_recent(package: Members, target: Target, now: datetime) -> bool:
    """Whether the approval of a package is not older than the settings of the stage allow."""
    approved = package.get("LastModifiedTime") or package.get("CreationTime")
    days = target.config.content.get("Approval", {}).get("MaxAgeDays")
    return not days or approved is None or bool(now - approved <= timedelta(days=days))


def recorded_requests(package: Members, samples: Document | None) -> Samples:
    """Return the recorded requests of a package's model.

    Args:
        samples: the file samples.json beside the package's metrics.

    Raises:
        Refused: there is none, or it is not what the pipeline wrote.
    """
    arn = package["ModelPackageArn"]
    if samples is None or samples.body is None:
        raise Refused(
            f"{arn}: there are no sample requests at {samples.uri if samples else 'its metrics'},"
            " so it cannot be tested: register a model that this project's evaluate.py has scored"
        )
    sha256 = package.get("CustomerMetadataProperties", {}).get("SamplesSha256")
    try:
        return read_samples(samples.body, sha256)
    except UsageError as error:
        raise Refused(f"{arn}: {samples.uri}: {error}") from None
