"""What a plan is made of: a dataclass for each kind of step.

A plan is printed by `deploy-model plan` and done by `deploy-model promote`, which has one handler
for each kind (executor.HANDLERS). To add a kind: a dataclass here, its name in `Step`, its handler
there. A step that depends on the state of AWS reads it when it is done, not before the plan begins.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from sagemaker_project.deploy.calls import Call, Members, sagemaker
from sagemaker_project.deploy.evidence import Document
from sagemaker_project.deploy.ledger import Snapshot
from sagemaker_project.deploy.target import Target


@dataclass(frozen=True)
class RecordEntry:
    """Append an entry to the ledger, and tag the endpoint with it if there is one."""

    call: Call  # without the number in its key, which follows from the ledger at that moment
    tag: Call  # without the tag, which follows from the entry
    kind: str
    entry: Members


@dataclass(frozen=True)
class SendCall:
    """Send a call that changes something."""

    call: Call


@dataclass(frozen=True)
class CopyArtifact:
    """Copy a model's artifact to the stage's own prefix, if its bytes are those that were checked.

    `source` is the S3 URL of what is copied.
    """

    call: Call  # without the bytes, which are read when it is done
    source: str
    sha256: str


@dataclass(frozen=True)
class DeleteUnused:
    """Delete a resource, if a look at the endpoint shows that it does not serve after all."""

    call: Call


@dataclass(frozen=True)
class CheckApproval:
    """Read the package again: its approval may have been withdrawn since the first look."""

    package_arn: str


@dataclass(frozen=True)
class WaitForEndpoint:
    """Wait until the endpoint is steady, and find out whether it runs this configuration."""

    endpoint_config: str


@dataclass(frozen=True)
class CheckOutcome:
    """Find out from what was read whether an earlier update led to this configuration."""

    endpoint_config: str


@dataclass(frozen=True)
class SmokeTest:
    """Invoke the new variants with the recorded requests of their model.

    `images` are what the test in the stage before ran with, None where there was none.
    """

    package: Members
    samples: Document | None
    images: tuple[str, ...] | None


@dataclass(frozen=True)
class LastLook:
    """Look again right before the end is recorded: a canary may have taken hours.

    The configuration still serves, the lock is held and the ledger as this command left it. The
    packages may still be deployed, and the alarms exist and are not in ALARM; a rollback asks for
    neither.
    """

    endpoint_config: str
    packages: tuple[str, ...] = ()  # ARNs
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class RestoreVariants:
    """Give the variants the weights and instance counts that a snapshot has."""

    snapshot: Snapshot


Step: TypeAlias = (
    RecordEntry
    | SendCall
    | CopyArtifact
    | DeleteUnused
    | CheckApproval
    | WaitForEndpoint
    | CheckOutcome
    | SmokeTest
    | LastLook
    | RestoreVariants
)
CALLING = (RecordEntry, SendCall, CopyArtifact, DeleteUnused)  # those that have a call


@dataclass(frozen=True)
class Plan:
    """Steps in their order, and notes for the person who reads the plan."""

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def calls(self) -> list[Call]:
        """The calls that the steps will send, but for those that depend on what a step reads."""
        return [step.call for step in self.steps if isinstance(step, CALLING)]

    def calls_with_tags(self, has_endpoint: bool) -> Iterator[Call]:
        """Yield `calls`, and those that tag the endpoint with each entry of the ledger.

        Args:
            has_endpoint: whether there is one before the first step.
        """
        for step in self.steps:
            if isinstance(step, CALLING):
                yield step.call
                has_endpoint = has_endpoint or step.call.operation == "CreateEndpoint"
            if isinstance(step, RecordEntry) and has_endpoint:
                yield step.tag

    @property
    def deploys(self) -> bool:
        """Whether the plan brings a version into service."""
        return any(isinstance(step, SmokeTest) for step in self.steps)


def record(target: Target, kind: str, entry: Members) -> RecordEntry:
    """Return the step that appends an entry to the stage's ledger."""
    call = Call("s3", "PutObject", {"Bucket": target.bucket, "Key": target.ledger_folder})
    tag = sagemaker("AddTags", {"EndpointName": target.endpoint})
    return RecordEntry(call, tag, kind, entry)
