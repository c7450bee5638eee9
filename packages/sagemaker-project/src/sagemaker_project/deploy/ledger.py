"""The ledger of a stage: an append-only list in S3 of everything that was deployed to it.

    s3://<bucket>/<project>/deploy/<stage>/ledger/00000007.json   one entry
    s3://<bucket>/<project>/deploy/<stage>/lock.json              the deployment in progress

An entry is written with `If-None-Match: *`, so two deployments never write the same number. It
carries its own sha256 and that of the entry before it, so a later change of any entry is detected.
Resources are recorded before they are created: the ledger knows everything that an interrupted
deployment may have left.

    Started    a promotion or a rollback begins: its names, pins and approval
    Promoted   the new version serves
    RolledBack the version before serves again
    Failed     the deployment failed, and why
    Tested     a test of a staged deployment, with its result
    CleanedUp  the names of the resources that were deleted

`read` turns the objects into a `Ledger`, which answers questions about them. This module does not
call AWS.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict

from sagemaker_project.errors import LedgerError as LedgerError

VERSION = 1
KINDS = ("Started", "Promoted", "RolledBack", "Failed", "Tested", "CleanedUp")
REQUIRED = {"Version", "Number", "Previous", "Kind", "Time", "By", "Sha256"}

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


class Accepted(TypedDict, total=False):
    """What a person accepted by a flag."""

    AcceptedUncommitted: bool  # the code had changes that no commit has


class Deployment(Accepted):
    """What an entry keeps of a deployment: enough to audit it and to restore it."""

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


def prefix(project: str, stage: str) -> str:
    """Return the key below which everything about a stage is stored."""
    return f"{project}/deploy/{stage}"


def entry_key(project: str, stage: str, number: int) -> str:
    """Return the key of an entry."""
    return f"{prefix(project, stage)}/ledger/{number:08d}.json"


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


def decode(body: bytes, where: str) -> Entry:
    """Return the entry that `body` holds; raise LedgerError if it is not intact."""
    try:
        return _checked(json.loads(body), body, where)
    except (ValueError, RecursionError) as error:
        raise LedgerError(
            f"{where}: damaged or changed by hand ({error}). Nothing was done. Restore the object"
            " (aws s3api list-object-versions shows earlier versions), then run again"
        ) from None


def _checked(entry: Any, body: bytes, where: str) -> Entry:
    """Return `entry`, the JSON of `body`, if it is one; raise ValueError if it was changed."""
    if not isinstance(entry, dict) or not isinstance(entry.get("Version"), int):
        raise ValueError("it is not a ledger entry")
    if entry["Version"] > VERSION:
        raise LedgerError(
            f"{where}: written by a newer version of this project (format {entry['Version']},"
            f" this one reads {VERSION}): update the checkout that deploys"
        )
    if missing := REQUIRED - set(entry):
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    if encode(entry) != body:
        raise ValueError("its Sha256 does not match its content")
    if entry["Kind"] not in KINDS:
        raise ValueError(f"its Kind is {entry['Kind']!r}")
    return entry


@dataclass(frozen=True)
class Ledger:
    """The entries of one stage, oldest first, and what follows from them."""

    entries: tuple[Entry, ...] = ()

    @property
    def next_number(self) -> int:
        return len(self.entries) + 1

    @property
    def previous_sha256(self) -> str:
        """The Sha256 of the last entry, which the next one carries; '' before the first."""
        return str(self.entries[-1]["Sha256"]) if self.entries else ""

    @property
    def stack(self) -> list[Deployment]:
        """The deployments that can still be restored, oldest first; the last one is current."""
        stack: list[Deployment] = []
        for entry in self.entries:
            if entry["Kind"] == "Promoted":
                _push(stack, entry["Deployment"])
            elif entry["Kind"] == "RolledBack" and stack:
                stack.pop()
            deleted = _deleted(entry)
            stack = [deployment for deployment in stack if not _is_gone(deployment, deleted)]
        return stack

    @property
    def current(self) -> Deployment | None:
        return self.stack[-1] if self.stack else None

    @property
    def rollback_target(self) -> Deployment | None:
        return self.stack[-2] if len(self.stack) > 1 else None

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
        for entry in reversed(self.entries):
            if entry["Kind"] == "RolledBack":
                before: Snapshot | None = entry["Leaves"].get("Before")
                if before and before["EndpointConfigName"] == endpoint_config:
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
            matches = (
                deployment.get("ModelPackageArn") == package_arn
                and deployment.get("Approval", {}).get("Time") == approved_at
            )
            ended = entry["Kind"] == "Failed" and entry["Action"] == "promote" and matches
            if entry["Kind"] == "Promoted":
                name = deployment["EndpointConfigName"]
                if serving and serving[-1][0] == name:
                    serving.pop()
                serving.append((name, matches))
                ended = matches
            elif entry["Kind"] == "RolledBack" and serving:
                ended = serving.pop()[1]
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
        """Return the tests, the last one first."""
        return [entry["Test"] for entry in reversed(self.entries) if entry.get("Test")]

    def created(self) -> tuple[list[str], list[str]]:
        """Return the names of (endpoint configurations, models) that deployments may have left."""
        configs: list[str] = []
        models: list[str] = []
        for entry in self.entries:
            if entry["Kind"] == "Started":
                configs.append(entry["Deployment"]["EndpointConfigName"])
                models += entry["Deployment"]["Models"]
            deleted = _deleted(entry)
            configs = [name for name in configs if name not in deleted["EndpointConfigs"]]
            models = [name for name in models if name not in deleted["Models"]]
        return list(dict.fromkeys(configs)), list(dict.fromkeys(models))


def _push(stack: list[Deployment], deployment: Deployment) -> None:
    """Add a deployment. One with the same configuration (to change its scaling) is no new level."""
    if stack and stack[-1]["EndpointConfigName"] == deployment["EndpointConfigName"]:
        deployment = {**deployment, "Before": stack.pop()["Before"]}
    stack.append(deployment)


def _deleted(entry: Entry) -> ResourceNames:
    names: ResourceNames = entry.get("Deleted") or {"EndpointConfigs": [], "Models": []}
    return names


def _is_gone(deployment: Deployment, deleted: ResourceNames) -> bool:
    """Return whether something that the deployment needs to be restored was deleted."""
    return deployment["EndpointConfigName"] in deleted["EndpointConfigs"] or any(
        model in deleted["Models"] for model in deployment["Models"]
    )


def read(bodies: Iterable[bytes], where: Callable[[int], str]) -> Ledger:
    """Return the Ledger of these objects, in the order of their keys.

    Args:
        where: the address of the entry with a given number, for messages.

    Raises:
        LedgerError: an entry was changed, removed, added or replaced.
    """
    entries: list[Entry] = []
    previous = ""
    for number, body in enumerate(bodies, start=1):
        entry = decode(body, where(number))
        if (entry["Number"], entry["Previous"]) != (number, previous):
            raise LedgerError(
                f"{where(number)}: it does not follow the entry before it; an entry was removed,"
                " added or replaced. Nothing was done. Restore what is missing, then run again"
            )
        previous = entry["Sha256"]
        entries.append(entry)
    return Ledger(tuple(entries))
