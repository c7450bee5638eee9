"""The ledger of a stage: an append-only list in S3 of everything that was deployed to it.

    s3://<bucket>/<project>/deploy/<stage>/ledger/00000007.json   one entry
    s3://<bucket>/<project>/deploy/<stage>/lock.json              the deployment in progress
    s3://<bucket>/<project>/deploy/<stage>/artifacts/<sha256>/model.tar.gz   what a model serves

An entry is written with `If-None-Match: *`, so two deployments never write the same number. It
carries its own sha256 and that of the entry before it, so a later change of any entry is detected.
The endpoint has a tag with number and sha256 of the last entry, so its removal is detected as well.
Resources are recorded before they are created: the ledger knows everything that an interrupted
deployment may have left.

    Started    a promotion or a rollback begins: its names, pins and approval
    Promoted   the new version serves
    RolledBack an earlier version serves again
    Failed     the deployment failed, and why
    Tested     a test of a staged deployment, with its result
    CleanedUp  the names of the resources that were deleted
    SetAside   a damaged entry does not count any more: its number, what was found of it, and why

A Started entry, and the one that ends it, has Now and Reason where alarms were not waited for.

A `Ledger` answers questions about intact entries; ledger_read.py finds out which are intact. This
module does not call AWS.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias, TypedDict

VERSION = 2  # of what is written; 1, which has no SetAside, is read as well
HEAD_TAG = "sagemaker-project:ledger-head"
HEAD = re.compile(r"([0-9]{1,8}):([0-9a-f]{64})")

# One entry. A dict, not a TypedDict: its members depend on its kind, and parts of one are copied
# into the next by name.
Entry: TypeAlias = dict[str, Any]


class VariantSnapshot(TypedDict):
    """What UpdateEndpointWeightsAndCapacities needs to restore a variant."""

    VariantName: str
    Weight: float | None
    InstanceCount: int | None


class Snapshot(TypedDict):
    """What served when a deployment began."""

    EndpointConfigName: str
    Variants: list[VariantSnapshot]


class Resources(TypedDict):
    """What a deployment consists of: the members of its create calls, without Tags."""

    Models: list[dict[str, Any]]  # of CreateModel
    EndpointConfig: dict[str, Any]  # of CreateEndpointConfig


class _DeploymentOfFormat1(TypedDict):
    ModelPackageArn: str
    ModelPackageVersion: int
    EndpointName: str
    EndpointConfigName: str
    ConfigHash: str
    Models: list[str]
    Pins: list[dict[str, str]]
    Approval: dict[str, str]
    Scaling: dict[str, dict[str, Any]]
    GitCommit: str
    DataSha256: str
    DefinitionSha256: str
    Before: Snapshot | None  # None where the deployment created the endpoint


class Deployment(_DeploymentOfFormat1, total=False):
    """What an entry keeps of a deployment: enough to audit it and to restore it."""

    Resources: Resources  # missing in format 1, as ServedUrl is in its Pins
    AcceptedUncommitted: bool  # the commit was known to be dirty


class Test(TypedDict):
    """What an entry keeps of an endpoint test; the whole report is at ReportUri."""

    ModelPackageArn: str
    EndpointConfigName: str
    ConfigHash: str
    Pins: list[dict[str, str]]
    Images: list[str]
    Status: str
    ReportUri: str
    ReportSha256: str


class ResourceNames(TypedDict):
    """Names of resources that a deployment created (Creates) or that were deleted (Deleted)."""

    EndpointConfigs: list[str]
    Models: list[str]
    Artifacts: list[str]  # keys


def prefix(project: str, stage: str) -> str:
    """Return the key below which everything about a stage is stored."""
    return f"{project}/deploy/{stage}"


def entry_key(project: str, stage: str, number: int) -> str:
    """Return the key of an entry."""
    return f"{prefix(project, stage)}/ledger/{number:08d}.json"


def artifact_key(project: str, stage: str, sha256: str) -> str:
    """Return the key of the stage's own copy of an artifact."""
    return f"{prefix(project, stage)}/artifacts/{sha256}/model.tar.gz"


def artifact_keys(deployment: Deployment) -> list[str]:
    """Return the keys of the copies that a deployment's models are created from."""
    urls = [pin["ServedUrl"] for pin in deployment["Pins"] if "ServedUrl" in pin]
    return list(dict.fromkeys(url.removeprefix("s3://").partition("/")[2] for url in urls))


def lock_key(project: str, stage: str) -> str:
    """Return the key of the stage's lock."""
    return f"{prefix(project, stage)}/lock.json"


def encode(entry: Mapping[str, Any]) -> bytes:
    """Return the bytes of an entry, with the sha256 of all other members added as Sha256."""
    content = {name: value for name, value in entry.items() if name != "Sha256"}
    return _dump({**content, "Sha256": _digest(content)})


def _dump(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_dump(content)).hexdigest()


class Head(NamedTuple):
    """The last entry of a ledger, as a tag of the endpoint names it."""

    number: int
    sha256: str

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> "Head | None":
        """Return what the tags of an endpoint say, None where they say nothing."""
        found = HEAD.fullmatch(tags.get(HEAD_TAG, ""))
        return cls(int(found[1]), found[2]) if found else None

    @property
    def tag(self) -> dict[str, str]:
        return {"Key": HEAD_TAG, "Value": f"{self.number}:{self.sha256}"}


@dataclass(frozen=True)
class Ledger:
    """The intact entries of one stage, oldest first, and what follows from them.

    `damaged_end` is the last entry where that one is damaged; its sha256 is empty if it is unknown.
    """

    entries: tuple[Entry, ...] = ()
    damaged_end: Head | None = None

    @property
    def head(self) -> Head:
        """The last entry; number 0 and sha256 '' before the first."""
        last = self.entries[-1] if self.entries else {}
        intact = Head(last.get("Number", 0), last.get("Sha256", ""))
        if self.damaged_end is None or self.damaged_end.number <= intact.number:
            return intact
        return Head(self.damaged_end.number, self.damaged_end.sha256 or intact.sha256)

    @property
    def next_number(self) -> int:
        return self.head.number + 1

    @property
    def previous_sha256(self) -> str:
        """The Sha256 of the last entry, which the next one carries; '' before the first."""
        return self.head.sha256

    @property
    def set_aside(self) -> dict[int, Entry]:
        """The damaged entries that do not count any more: {number: its SetAside entry}."""
        return {entry["Entry"]: entry for entry in self.entries if entry["Kind"] == "SetAside"}

    @property
    def stack(self) -> list[Deployment]:
        """The deployments that can still be restored, oldest first; the last one is current."""
        stack: list[Deployment] = []
        for entry in self.entries:
            if entry["Kind"] == "Promoted":
                _push(stack, entry["Deployment"])
            elif entry["Kind"] == "RolledBack":
                _roll_back(stack, entry)
            deleted = _deleted(entry)
            stack = [deployment for deployment in stack if not _is_gone(deployment, deleted)]
        return stack

    @property
    def current(self) -> Deployment | None:
        return self.stack[-1] if self.stack else None

    @property
    def rollback_target(self) -> Deployment | None:
        return self.stack[-2] if len(self.stack) > 1 else None

    def before(self, endpoint_config: str) -> Snapshot | None:
        """Return the weights and counts that a rollback to this configuration restores, or None.

        They were taken when the deployment directly above it in the stack began.
        """
        for below, above in reversed(list(itertools.pairwise(self.stack))):
            if below["EndpointConfigName"] == endpoint_config:
                taken = above["Before"]
                return taken if taken and taken["EndpointConfigName"] == endpoint_config else None
        return None

    @property
    def pending(self) -> Entry | None:
        """The Started entry of the deployment that has not ended yet, or None."""
        last = None
        for entry in self.entries:
            if entry["Kind"] == "Started":
                last = entry
            elif entry["Kind"] in ("Promoted", "RolledBack", "Failed"):
                last = None
        return last

    def after(self, *ends: tuple[str, Mapping[str, Any]]) -> "Ledger":
        """Return this ledger as it will be once these (kind, members) are appended."""
        added = ({"Kind": kind, "Time": "", **members} for kind, members in ends)
        return Ledger((*self.entries, *added))

    def weights(self, endpoint_config: str) -> dict[str, float | None]:
        """Return {variant: weight} as the rollback to this configuration restored them.

        Empty unless the last deployment of the configuration was a rollback.
        """
        for number, entry in reversed(list(enumerate(self.entries))):
            if entry["Kind"] == "RolledBack":
                before = Ledger(self.entries[:number]).before(endpoint_config)
                if before and entry["Deployment"]["EndpointConfigName"] == endpoint_config:
                    return {v["VariantName"]: v["Weight"] for v in before["Variants"]}
                break
            if (
                entry["Kind"] == "Promoted"
                and entry["Deployment"]["EndpointConfigName"] != endpoint_config
            ):
                break
        return {}

    def uses(self, package_arn: str, approved_at: str) -> Entry | None:
        """Return the entry that ended the last deployment under this approval, or None.

        A promotion that was rolled back counts as ended by the rollback.
        """
        used: Entry | None = None
        serving: list[tuple[str, bool]] = []  # (endpoint configuration, under this approval)
        for entry in self.entries:
            deployment = entry.get("Deployment") or {}
            matches = deployment.get("ModelPackageArn") == package_arn and _same_moment(
                deployment["Approval"]["Time"], approved_at
            )
            ended = entry["Kind"] == "Failed" and entry["Action"] == "promote" and matches
            if entry["Kind"] == "Promoted":
                name = deployment["EndpointConfigName"]
                if serving and serving[-1][0] == name:
                    serving.pop()
                serving.append((name, matches))
                ended = matches
            elif entry["Kind"] == "RolledBack":
                names = [name for name, _ in serving]
                left = serving[_left_by(names, entry) :]
                del serving[len(serving) - len(left) :]
                ended = any(matched for _, matched in left)
            used = entry if ended else used
        return used

    def deployed(self, endpoint_config: str) -> Deployment | None:
        """Return the last deployment of this endpoint configuration, or None."""
        for entry in reversed(self.entries):
            deployment: Deployment | None = entry.get("Deployment")
            if deployment and deployment["EndpointConfigName"] == endpoint_config:
                return deployment
        return None

    def test(self, package_arn: str, config_hash: str) -> Test | None:
        """Return the last test of this package with these settings, or None."""
        for test in self._tests():
            if (test["ModelPackageArn"], test["ConfigHash"]) == (package_arn, config_hash):
                return test
        return None

    def tested_pin(self, package_arn: str) -> dict[str, str] | None:
        """Return the pin of a package from the last test that it passed itself, or None."""
        for test in self._tests():
            if (test["ModelPackageArn"], test["Status"]) == (package_arn, "Passed"):
                return next(p for p in test["Pins"] if p["ModelPackageArn"] == package_arn)
        return None

    def _tests(self) -> list[Test]:
        """Return the tests, the last one first.

        An entry that was set aside may have been a failed test, so no test before it counts.
        """
        first = max(self.set_aside, default=0) + 1
        later = (entry for entry in reversed(self.entries) if entry.get("Number", first) >= first)
        return [entry["Test"] for entry in later if entry.get("Test")]

    def created(self) -> tuple[list[str], list[str], list[str]]:
        """Return what deployments may have left: (endpoint configurations, models, artifacts)."""
        configs: list[str] = []
        models: list[str] = []
        artifacts: list[str] = []
        for entry in self.entries:
            if entry["Kind"] == "Started":
                configs.append(entry["Deployment"]["EndpointConfigName"])
                models += entry["Deployment"]["Models"]
                artifacts += artifact_keys(entry["Deployment"])
            deleted = _deleted(entry)
            configs = [name for name in configs if name not in deleted["EndpointConfigs"]]
            models = [name for name in models if name not in deleted["Models"]]
            artifacts = [key for key in artifacts if key not in deleted["Artifacts"]]
        return _once(configs), _once(models), _once(artifacts)


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _push(stack: list[Deployment], deployment: Deployment) -> None:
    """Add a deployment. One with the same configuration (to change its scaling) is no new level."""
    if stack and stack[-1]["EndpointConfigName"] == deployment["EndpointConfigName"]:
        deployment = {**deployment, "Before": stack.pop()["Before"]}
    stack.append(deployment)


def _roll_back(stack: list[Deployment], entry: Entry) -> None:
    """Leave the deployments above the one that serves again."""
    del stack[_left_by([deployment["EndpointConfigName"] for deployment in stack], entry) :]
    _push(stack, entry["Deployment"])


def _left_by(names: list[str], entry: Entry) -> int:
    """Return how many of these configurations, oldest first, a RolledBack entry keeps.

    Where the one that serves again is not among them (its entry was set aside), the rollback left
    the last one.
    """
    goal = entry["Deployment"]["EndpointConfigName"]
    if goal in names:
        return len(names) - names[::-1].index(goal)
    return max(0, len(names) - 1)


def _same_moment(one: str, other: str) -> bool:
    """Whether two times are the same; earlier versions wrote them in the machine's time zone."""
    if "unknown" in (one, other):
        return one == other
    return datetime.fromisoformat(one) == datetime.fromisoformat(other)


def _deleted(entry: Entry) -> ResourceNames:
    names: ResourceNames = {"EndpointConfigs": [], "Models": [], "Artifacts": []}
    names.update(entry.get("Deleted") or {})
    return names


def _is_gone(deployment: Deployment, deleted: ResourceNames) -> bool:
    """Return whether something that the deployment needs to be restored was deleted."""
    return deployment["EndpointConfigName"] in deleted["EndpointConfigs"] or any(
        model in deleted["Models"] for model in deployment["Models"]
    )
