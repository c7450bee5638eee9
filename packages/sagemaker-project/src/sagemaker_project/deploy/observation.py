"""What `deploy-model status` judges by: all that it has read of one stage, as frozen values.

A part that could not be read is in `unread`, with the reason, and looks as if it did not exist:
ask `could_read` before concluding anything from its absence. look_status.py reads; verdict.py and
recommendation.py are pure functions of an `Observation`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.candidate import approval, config_hash
from sagemaker_project.deploy.evidence import State
from sagemaker_project.deploy.ledger import Deployment, Entry, Ledger, Test
from sagemaker_project.deploy.ledger_read import Damage
from sagemaker_project.deploy.scaling import all_variants
from sagemaker_project.deploy.target import Target
from sagemaker_project.deploy.traffic import Traffic

ENDS = ("Promoted", "RolledBack", "Failed")  # the kinds of entries that end a deployment


class Unread(NamedTuple):
    """Why a part could not be read; `denied` where a permission is missing."""

    reason: str
    denied: bool


class Probe(NamedTuple):
    """What came of one recorded sample that was sent to the endpoint."""

    status: str  # Passed, Failed or Inconclusive
    text: str


@dataclass(frozen=True)
class Before:
    """The stage before: what a version must have passed there."""

    target: Target
    ledger: Ledger
    damage: tuple[Damage, ...] = ()

    def test(self, arn: str) -> Test | None:
        """Return the last test of a version with the settings of now, None where there is none."""
        return self.ledger.test(arn, self.config_hash(arn))

    def config_hash(self, arn: str) -> str:
        """Return the hash of the settings of now, with a version."""
        return config_hash(self.target.config, arn)


@dataclass(frozen=True, kw_only=True)
class Observation(State):
    """What was read of a stage.

    `lock` is the owner of the stage's lock, `lock_lives` whether its command still runs. `models`
    are the live ones that exist, `tagged` is {model: ARN of its tag}. `packages` holds what was
    asked for: None where it was deleted. `approved` and `waiting` are the newest approved version
    and the newest that waits for an approval, read only where nothing serves. `no_bucket`: nothing
    serves, and the bucket of the ledger does not exist.
    """

    unread: Mapping[str, Unread] = field(default_factory=dict)
    lock: Members | None = None
    lock_lives: bool = False
    lock_damaged: str = ""
    models: Mapping[str, Members] = field(default_factory=dict)
    tagged: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, Members | None] = field(default_factory=dict)
    alarms: Mapping[str, Members] = field(default_factory=dict)
    traffic: tuple[Traffic, ...] | None = None
    before: Before | None = None
    after: Ledger | None = None  # of the stage that a version goes to next
    approved: str = ""
    waiting: str = ""
    no_bucket: bool = False
    goal_missing: tuple[str, ...] = ()
    # {ARN of a package: which of "ModelDataUrl", the original of its artifact, and "ServedUrl", the
    # copy, are gone}. They are looked for only where something has to be made again.
    artifacts_missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    probe: Probe | None = None

    def could_read(self, *parts: str) -> bool:
        return not any(part in self.unread for part in parts)

    @property
    def ledger_is_whole(self) -> bool:
        return self.could_read("ledger") and not self.damage

    @property
    def missing_models(self) -> list[str]:
        """The live models that were deleted."""
        names = {variant["ModelName"] for variant in all_variants(self.endpoint_config)}
        return sorted(names - set(self.models)) if self.could_read("models") else []

    @property
    def never_began(self) -> bool:
        """Whether the endpoint is what an interrupted first promotion could not create."""
        pending = self.pending
        if not pending or pending["Action"] != "promote" or self.status != "Failed":
            return False
        return pending["Deployment"]["Before"] is None

    @property
    def last_end(self) -> Entry | None:
        """The entry that ended the last deployment, None before the first one ended."""
        ends = [entry for entry in self.ledger.entries if entry["Kind"] in ENDS]
        return ends[-1] if ends else None

    @property
    def recorded(self) -> Deployment | None:
        """What the ledger knows of the endpoint configuration that serves."""
        return self.ledger.deployed(self.live) if self.live else None

    @property
    def served_by_variant(self) -> dict[str, str]:
        """{variant: ARN of the package it serves} as its model tells, where it does."""
        found = {}
        for variant in all_variants(self.endpoint_config):
            name = variant["ModelName"]
            container = self.models.get(name, {}).get("PrimaryContainer", {})
            arn = self.tagged.get(name) or container.get("ModelPackageName")
            if arn:
                found[variant["VariantName"]] = str(arn)
        return found

    @property
    def serving_arn(self) -> str:
        """The ARN of the package that serves; empty where nothing tells it."""
        if self.recorded:
            return self.recorded["ModelPackageArn"]
        variants = (self.endpoint_config or {}).get("ProductionVariants", [])
        known = self.served_by_variant
        heaviest = sorted(variants, key=lambda v: -float(v.get("InitialVariantWeight", 1)))
        return next((known[v["VariantName"]] for v in heaviest if v["VariantName"] in known), "")

    @property
    def serving_version(self) -> str:
        return version_of(self.serving_arn) or "unknown"

    @property
    def package(self) -> Members | None:
        """The package that serves, None where it was deleted or is unknown."""
        return self.packages.get(self.serving_arn)

    @property
    def commit(self) -> str:
        """The commit of the version that serves, or "unknown"."""
        if self.recorded:
            return self.recorded["GitCommit"]
        metadata = (self.package or {}).get("CustomerMetadataProperties", {})
        return str(metadata.get("GitCommit", "unknown"))

    @property
    def approval(self) -> Members:
        """Who approved the version that serves, when and why; {} where that is unknown."""
        if self.recorded:
            return dict(self.recorded["Approval"])
        return approval(self.package) if self.package else {}

    def withdrawn(self, arn: str) -> str:
        """Return what became of the approval of a version; empty where it stands or is unread."""
        if arn not in self.packages:
            return ""
        package = self.packages[arn]
        if package is None:
            return "deleted"
        status = str(package.get("ModelApprovalStatus"))
        return "" if status == "Approved" else status


def version_of(arn: str) -> str:
    """Return the version in a package's ARN, empty where there is none."""
    return arn.rpartition("/")[2]
