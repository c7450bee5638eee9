"""What was deployed to a stage, in the order it happened: an append-only list of entries in S3.

    s3://<bucket>/<project>/deploy/<stage>/ledger/00000007.json   one entry
    s3://<bucket>/<project>/deploy/<stage>/lock.json              who is deploying right now

An entry is written with `If-None-Match: *`, so two deployments can never write the same number, and
carries the sha256 of the one before it and its own, so a later change of any entry is found. What
is about to be created is recorded before it is created: whatever becomes of a deployment, the
ledger knows every resource that it may have left.

    Started    names, pins and approval of a deployment (a promotion or a rollback)
    Promoted   it serves        RolledBack  the version before serves again
    Failed     it does not, and why
    Tested     a test of a staged deployment, with its verdict
    CleanedUp  which resources were deleted

`read` turns entries into a `Ledger`, which answers questions; nothing here calls AWS.
"""

import hashlib
import json
from dataclasses import dataclass

from sagemaker_project.errors import LedgerError

VERSION = 1
KINDS = ("Started", "Promoted", "RolledBack", "Failed", "Tested", "CleanedUp")
REQUIRED = {"Version", "Number", "Previous", "Kind", "Time", "By", "Sha256"}


def prefix(project, stage):
    return f"{project}/deploy/{stage}"


def entry_key(project, stage, number):
    return f"{prefix(project, stage)}/ledger/{number:08d}.json"


def lock_key(project, stage):
    return f"{prefix(project, stage)}/lock.json"


def encode(entry):
    """An entry's bytes, with the sha256 of all the rest in its last member."""
    content = {name: value for name, value in entry.items() if name != "Sha256"}
    return _dump({**content, "Sha256": _digest(content)})


def _dump(content):
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _digest(content):
    return hashlib.sha256(_dump(content)).hexdigest()


def decode(body, where):
    """The entry that `body` holds; LedgerError where it is not whole."""
    try:
        entry = json.loads(body)
        if not isinstance(entry, dict) or not isinstance(entry.get("Version"), int):
            raise ValueError("it is no entry of a ledger")
        if entry["Version"] > VERSION:
            raise LedgerError(
                f"{where}: written by a newer version of this project (format {entry['Version']},"
                f" this one reads {VERSION}): update the checkout that deploys"
            )
        if missing := REQUIRED - set(entry):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        if encode(entry) != body:
            raise ValueError("its Sha256 is not that of its content")
        if entry["Kind"] not in KINDS:
            raise ValueError(f"its Kind is {entry['Kind']!r}")
    except ValueError as error:
        raise LedgerError(
            f"{where}: damaged or changed by hand ({error}). Nothing was done. Restore the object"
            " (aws s3api list-object-versions shows earlier versions), then run again"
        ) from None
    return entry


@dataclass(frozen=True)
class Ledger:
    """The entries of one stage, oldest first, and what follows from them."""

    entries: tuple = ()

    @property
    def next_number(self):
        return len(self.entries) + 1

    @property
    def previous_sha256(self):
        return self.entries[-1]["Sha256"] if self.entries else ""

    @property
    def stack(self):
        """The deployments that a rollback can walk back through; the last one is current."""
        stack = []
        for entry in self.entries:
            if entry["Kind"] == "Promoted":
                _push(stack, entry["Deployment"])
            elif entry["Kind"] == "RolledBack" and stack:
                stack.pop()
            gone = entry.get("Deleted", {"EndpointConfigs": (), "Models": ()})
            stack = [d for d in stack if not _is_gone(d, gone)]
        return stack

    @property
    def current(self):
        return self.stack[-1] if self.stack else None

    @property
    def rollback_target(self):
        return self.stack[-2] if len(self.stack) > 1 else None

    @property
    def pending(self):
        """The Started entry that nothing has ended yet, or None."""
        last = None
        for entry in self.entries:
            if entry["Kind"] == "Started":
                last = entry
            elif entry["Kind"] in ("Promoted", "RolledBack", "Failed"):
                last = None
        return last

    def after(self, *ends):
        """This ledger as it will be with these (kind, members) at its end."""
        added = ({"Kind": kind, "Time": "", **members} for kind, members in ends)
        return Ledger((*self.entries, *added))

    def weights(self, endpoint_config):
        """The variants' weights that a rollback restored, where one ended at this configuration."""
        for entry in reversed(self.entries):
            if entry["Kind"] == "RolledBack":
                before = entry["Leaves"].get("Before") or {}
                if before.get("EndpointConfigName") == endpoint_config:
                    return {v["VariantName"]: v["Weight"] for v in before["Variants"]}
            if entry["Kind"] == "RolledBack" or (
                entry["Kind"] == "Promoted"
                and entry["Deployment"]["EndpointConfigName"] != endpoint_config
            ):
                break
        return {}

    def uses(self, package_arn, approved_at):
        """The entry that ended the last deployment under this very approval, or None.

        A promotion that a rollback took back counts as ended by that rollback.
        """
        used, serving = None, []
        for entry in self.entries:
            deployment = entry.get("Deployment") or {}
            mine = (
                deployment.get("ModelPackageArn") == package_arn
                and deployment.get("Approval", {}).get("Time") == approved_at
            )
            ended = entry["Kind"] == "Failed" and entry["Action"] == "promote" and mine
            if entry["Kind"] == "Promoted":
                name = deployment["EndpointConfigName"]
                if serving and serving[-1][0] == name:
                    serving.pop()
                serving.append((name, mine))
                ended = mine
            elif entry["Kind"] == "RolledBack" and serving:
                ended = serving.pop()[1]
            used = entry if ended else used
        return used

    def deployed(self, endpoint_config):
        """The deployment that made this endpoint configuration, or None."""
        for entry in reversed(self.entries):
            deployment = entry.get("Deployment")
            if deployment and deployment["EndpointConfigName"] == endpoint_config:
                return deployment
        return None

    def test(self, package_arn, config_hash):
        """The last test of this package with these settings, or None."""
        for entry in reversed(self.entries):
            test = entry.get("Test") or {}
            if (test.get("ModelPackageArn"), test.get("ConfigHash")) == (package_arn, config_hash):
                return test
        return None

    def tested_pin(self, package_arn):
        """What identified the bytes of a package when it last passed a test of its own, or None."""
        for entry in reversed(self.entries):
            test = entry.get("Test") or {}
            if (test.get("ModelPackageArn"), test.get("Status")) == (package_arn, "Passed"):
                return next(p for p in test["Pins"] if p["ModelPackageArn"] == package_arn)
        return None

    def created(self):
        """(endpoint configurations, models) that deployments may have left, as names."""
        configs, models = [], []
        for entry in self.entries:
            if entry["Kind"] == "Started":
                configs.append(entry["Deployment"]["EndpointConfigName"])
                models += entry["Deployment"]["Models"]
            deleted = entry.get("Deleted", {"EndpointConfigs": (), "Models": ()})
            configs = [name for name in configs if name not in deleted["EndpointConfigs"]]
            models = [name for name in models if name not in deleted["Models"]]
        return list(dict.fromkeys(configs)), list(dict.fromkeys(models))


def _push(stack, deployment):
    """Promoted again with the same configuration, for its scaling, it is still one deployment."""
    if stack and stack[-1]["EndpointConfigName"] == deployment["EndpointConfigName"]:
        deployment = {**deployment, "Before": stack.pop()["Before"]}
    stack.append(deployment)


def _is_gone(deployment, deleted):
    """Whether a clean-up took something that the deployment needs to be put back."""
    return deployment["EndpointConfigName"] in deleted["EndpointConfigs"] or any(
        model in deleted["Models"] for model in deployment["Models"]
    )


def read(bodies, where):
    """The Ledger of entries given as bytes, in the order of their keys; `where` names one."""
    entries, previous = [], ""
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
