"""From what is wanted and what is there to what must be done: pure functions, no AWS.

    Target   where: project, stage, region, bucket, role, settings
    Wanted   what one package looks like deployed there: the requests that would create it
    Found    what is there now, as aws.py has read it
    Plan     the steps between the two, in order; `deploy-model plan` prints them, promote does them

A gate that says no raises `Refused`. Names follow from content: the same package with the same
settings always gets the same names, so a deployment that is run again finds what it made before,
and two different ones can never be taken for each other.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sagemaker_project.deploy import Refused
from sagemaker_project.deploy import ledger as ledgers
from sagemaker_project.deploy.config import (
    NOT_RETAINED,
    endpoint_config_members,
    model_members,
    scaling,
    update_members,
)

MAX_NAME = 63
HASH = 10  # hexadecimal digits in a name
PACKAGE_ARN = re.compile(
    r"arn:aws[a-z-]*:sagemaker:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):model-package/"
    r"(?P<group>[a-zA-Z0-9](?:-*[a-zA-Z0-9])*)(?:/(?P<version>\d+))?"
)
STEADY = ("InService", "Failed", "OutOfService", "UpdateRollbackFailed")
POLICY = "{}-target-tracking"
TRACKED = "SageMakerVariantInvocationsPerInstance"
DIGITS = 1e-6  # AWS keeps weights as 32-bit numbers
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
COOLDOWNS = {"ScaleInCooldown": 300, "ScaleOutCooldown": 300}  # of AWS, where none is given


@dataclass(frozen=True)
class Target:
    """Where a command acts: a stage of one pipeline.

    `pipeline` is empty for the first pipeline of a repository, and `before` for its first stage.
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
    config: object  # config.Config

    @property
    def name(self):
        """The first part of the name of everything that belongs to the pipeline's endpoints."""
        return "-".join(filter(None, [self.project, self.pipeline.replace("_", "-")]))

    def command(self, verb, *words, stage=None):
        """A command to type that acts on this pipeline."""
        pipeline = ["--pipeline", self.pipeline] if self.pipeline else []
        return " ".join(["deploy-model", verb, "--stage", stage or self.stage, *pipeline, *words])

    @property
    def endpoint(self):
        name = f"{self.name}-{self.stage}"
        if len(name) <= MAX_NAME:
            return name
        return fit(self.name, f"-{digest(self.name)[:HASH]}-{self.stage}")

    @property
    def tags(self):
        own = {
            "sagemaker:project-name": self.project,
            "sagemaker:deployment-stage": self.stage,
            **({"sagemaker:project-id": self.project_id} if self.project_id else {}),
        }
        given = {tag["Key"]: tag["Value"] for tag in self.config.content.get("Tags", [])}
        return [{"Key": key, "Value": value} for key, value in (own | given).items()]


@dataclass(frozen=True)
class Call:
    """One request to AWS that changes something."""

    service: str
    operation: str
    members: dict

    @property
    def resource(self):
        names = ("EndpointName", "EndpointConfigName", "ModelName", "ResourceId", "Key")
        if self.operation == "CreateEndpointConfig":
            names = ("EndpointConfigName",)
        return next((self.members[name] for name in names if name in self.members), "")


@dataclass(frozen=True)
class Step:
    """What a plan is made of: a call, or something to do between two calls.

    kind: lock, record, call, approved (look at the approval again), wait, judge (what has come of
    it already), smoke (invoke it), restore (weights and counts as they were), unlock.
    """

    kind: str
    call: Call | None = None
    note: str = ""
    entry: dict | None = None  # what is recorded


@dataclass(frozen=True)
class Plan:
    steps: tuple
    notes: tuple = ()

    @property
    def calls(self):
        return [step.call for step in self.steps if step.call]

    @property
    def deploys(self):
        return any(step.kind == "smoke" for step in self.steps)


@dataclass(frozen=True)
class Wanted:
    """One package as it would be deployed. `deployment` is what the ledger keeps of it."""

    models: tuple  # CreateModel members
    endpoint_config: dict  # CreateEndpointConfig members
    config_hash: str
    scaling: dict  # {variant: AutoScaling}
    package: dict  # DescribeModelPackage answer
    pins: tuple
    approval: dict

    @property
    def name(self):
        return self.endpoint_config["EndpointConfigName"]

    @property
    def version(self):
        return self.package["ModelPackageVersion"]


@dataclass(frozen=True)
class Found:
    ledger: object  # ledger.Ledger
    endpoint: dict | None = None  # DescribeEndpoint
    endpoint_config: dict | None = None  # DescribeEndpointConfig of the live one
    models: dict = field(default_factory=dict)  # {name: DescribeModel} of the wanted ones
    configs: dict = field(default_factory=dict)  # {name: DescribeEndpointConfig} of what is next
    scaling: dict = field(default_factory=dict)  # {variant: AutoScaling} as registered
    alarms: dict = field(default_factory=dict)  # {name: DescribeAlarms entry}

    @property
    def live(self):
        return self.endpoint["EndpointConfigName"] if self.endpoint else None


# Names


def fit(start, end, limit=MAX_NAME):
    """`start` and `end` as one name; the start is cut where the two are too long together."""
    return start[: limit - len(end)].rstrip("-") + end


def digest(content):
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def resource_name(project, stage, version, content):
    """<project>-<stage>-v<version>-<hash>: the hash is over all of it and is never cut."""
    whole = digest([project, stage, version, content])
    return fit(f"{project}-{stage}", f"-v{version}-{whole[:HASH]}")


def package_parts(arn):
    """The named parts of a versioned package's ARN; Refused for anything else."""
    found = PACKAGE_ARN.fullmatch(arn)
    if not found:
        raise Refused(f"{arn!r} is not the ARN of a model package", 2)
    if not found["version"]:
        raise Refused(f"{arn}: an unversioned package is never deployed: name a version of a group")
    return found.groupdict()


# What is wanted


def wanted(target, package, pinned, pins):
    """The requests that deploy `package` to `target`.

    Args:
        pinned: {variant: DescribeModelPackage answer} for variants that serve another version.
        pins: what identifies the bytes of each package, see `aws.pin`.
    """
    version = package["ModelPackageVersion"]
    members = endpoint_config_members(target.config, target.bucket, target.endpoint)
    models = {}
    for variant in variants(members):
        served = pinned.get(variant["VariantName"], package)
        model = {
            "PrimaryContainer": {"ModelPackageName": served["ModelPackageArn"]},
            "ExecutionRoleArn": target.role,
            **model_members(target.config),
        }
        name = resource_name(target.name, target.stage, served["ModelPackageVersion"], model)
        models[name] = {"ModelName": name, **model, "Tags": target.tags}
        variant["ModelName"] = name
    content = [members, [{**model, "Tags": None} for model in models.values()]]
    # What staging and prod have of their own, such as role and bucket, is no setting.
    settings = endpoint_config_members(target.config, bucket="", endpoint_name="")
    serve = {variant: other["ModelPackageArn"] for variant, other in pinned.items()}
    name = resource_name(target.name, target.stage, version, content)
    return Wanted(
        models=tuple(models.values()),
        endpoint_config={"EndpointConfigName": name, **members, "Tags": target.tags},
        config_hash=digest([settings, model_members(target.config), serve]),
        scaling=scaling(target.config),
        package=package,
        pins=tuple(pins),
        approval=approval(package),
    )


def variants(members):
    return members["ProductionVariants"] + members.get("ShadowProductionVariants", [])


def approval(package):
    """Who approved a package, when and why. A package born approved was approved by its creator."""
    born, by = package.get("CreationTime"), package.get("LastModifiedBy")
    time = package.get("LastModifiedTime") or born
    if by is None and time == born:
        by = package.get("CreatedBy")
    return {
        "By": identity(by),
        "Time": time.isoformat() if time else "unknown",
        "Reason": package.get("ApprovalDescription", ""),
    }


def identity(context):
    """A person's or role's name in a UserContext of SageMaker."""
    context = context or {}
    return (
        (context.get("IamIdentity") or {}).get("Arn")
        or context.get("UserProfileArn")
        or context.get("UserProfileName")
        or "unknown"
    )


def person(arn):
    """Whom an ARN stands for.

    Whoever takes on a role names the session as they like, so it tells nobody from anybody; but IAM
    Identity Center names it after the user.
    """
    role = re.fullmatch(r"(arn:[^:]+:sts::\d{12}:assumed-role/([^/]+))/.+", arn)
    if role and not re.fullmatch(r"AWSReservedSSO_.+_[0-9a-f]{16}", role[2]):
        return role[1]
    return arn


# Gates


def check_package(package, target):
    """Only what is approved, complete and of this project's group is deployed."""
    arn = package["ModelPackageArn"]
    approved, status = package.get("ModelApprovalStatus"), package["ModelPackageStatus"]
    if package.get("ModelPackageGroupName") != target.group:
        raise Refused(
            f"{arn} is of the group {package.get('ModelPackageGroupName')}, this project deploys"
            f" {target.group}: name one of its versions, or give --model-package-group-name"
        )
    if approved != "Approved":
        raise Refused(f"{arn} is {approved}: approve it first (aws sagemaker update-model-package)")
    if status != "Completed":
        raise Refused(f"{arn}: its status is {status}, only Completed packages are deployed")


def check_approval(wanted, target, now):
    """The rules that a stage sets for approvals: their age, and four eyes."""
    rules, package = target.config.content.get("Approval", {}), wanted.package
    days = rules.get("MaxAgeDays")
    approved = package.get("LastModifiedTime") or package.get("CreationTime")
    if days and approved and now - approved > timedelta(days=days):
        raise Refused(
            f"{package['ModelPackageArn']}: approved {approved:%Y-%m-%d}, longer ago than the"
            f" {days} days of Approval.MaxAgeDays: look at it again and approve it anew"
        )
    author, approver = identity(package.get("CreatedBy")), wanted.approval["By"]
    same = approver == "unknown" or person(approver) == person(author)
    if rules.get("RequireTwoPeople") and same:
        who = "made it and approved it"
        if approver == "unknown":
            who = "made it, and who approved it is unknown"
        elif approver != author:
            who = f"made it and {approver} approved it, which may be the same person"
        raise Refused(
            f"{package['ModelPackageArn']}: {author} {who};"
            f" {target.stage} wants the approval of somebody else (Approval.RequireTwoPeople)"
        )


def check_metrics(content, uri):
    """Every metric is a finite number: one that says nothing promotes nothing."""
    found = 0
    for group, metrics in content.items() if isinstance(content, dict) else ():
        if not group.endswith("_metrics") or not isinstance(metrics, dict):
            continue
        for name, metric in metrics.items():
            value = metric.get("value") if isinstance(metric, dict) else None
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise Refused(f"{uri}: {group}.{name}.value is {value!r}, wanted a finite number")
            found += 1
    if not found:
        raise Refused(f"{uri}: it has no metric such as regression_metrics.mse.value")


def check_reuse(wanted, found, retry):
    """An approval deploys once: a late or repeated event neither repeats nor undoes anything."""
    used = found.ledger.uses(wanted.package["ModelPackageArn"], wanted.approval["Time"])
    if used and used["Kind"] != "Promoted" and not retry:
        how = "was taken back by a rollback" if used["Kind"] == "RolledBack" else "failed here"
        why = f" ({used['Reason']})" if used.get("Reason") else ""
        raise Refused(
            f"version {wanted.version} {how} on {used['Time'][:16]}{why}:"
            " approve it anew, or say --retry to deploy it under the same approval"
        )
    current = found.ledger.current
    if current and wanted.version < current["ModelPackageVersion"] and not retry:
        raise Refused(
            f"version {wanted.version} is older than version {current['ModelPackageVersion']},"
            f" which serves: `deploy-model rollback` goes back, --retry deploys it all the same"
        )


def check_group(target, ledger):
    """An endpoint belongs to one model package group: another one's model is another product."""
    deployment = ledger.current or (ledger.pending or {}).get("Deployment")
    if not deployment:
        return
    group = package_parts(deployment["ModelPackageArn"])["group"]
    if group != target.group:
        raise Refused(
            f"{target.endpoint} serves models of the group {group}, not of {target.group}, which"
            f" needs an endpoint of its own. Give --model-package-group-name {group}, or the"
            f" --pipeline whose models are in {target.group}"
        )


def check_staged(target, wanted, staged, staging_hash):
    """A stage gets what the stage before it tested: this package, these settings, these bytes.

    Args:
        staged: the Ledger of the stage before.
        staging_hash: the settings' hash that a test of this package must carry today.
    """
    arn, before = wanted.package["ModelPackageArn"], target.before
    again = ", then ".join(target.command(verb, stage=before) for verb in ("promote", "test"))
    test = staged.test(arn, staging_hash)
    if test is None:
        other = [e["Test"] for e in staged.entries if e["Kind"] == "Tested"]
        mine = [t for t in other if t["ModelPackageArn"] == arn]
        why = f" with the {before} settings as they are now" if mine else ""
        raise Refused(f"version {wanted.version} was not tested in {before}{why}: run {again}")
    if test["Status"] != "Passed":
        raise Refused(
            f"the last {before} test of version {wanted.version} is {test['Status']}"
            f" ({test['ReportUri']}): fix it, then run {again}"
        )
    tested = {pin["ModelPackageArn"]: pin for pin in test["Pins"]}
    for pin in wanted.pins:
        passed = tested.get(pin["ModelPackageArn"]) or staged.tested_pin(pin["ModelPackageArn"])
        if passed is None:
            raise Refused(
                f"{pin['ModelPackageArn']}, which serves beside version {wanted.version} in"
                f" {target.stage}, never passed a test in {before}"
            )
        for name in ("ModelDataUrl", "VersionId", "ETag", "Sha256", "Image", "ImageDigest"):
            if pin.get(name) != passed.get(name):
                raise Refused(
                    f"{pin['ModelPackageArn']}: {name} is {pin.get(name)}, the {before} test ran"
                    f" with {passed.get(name)}: the bytes have changed since. Find out who did;"
                    f" to go on with the new ones, run {again}"
                )
    return test


def check_endpoint(target, found):
    """An endpoint that needs a person is left alone; the message is what the person types."""
    if not found.endpoint or never_served(found):
        return
    status, name = found.endpoint["EndpointStatus"], target.endpoint
    if needs_human(found.endpoint):
        raise Refused(f"{name} is {status}{_reason(found.endpoint)}. {recovery(target, found)}", 5)


def needs_human(endpoint):
    return endpoint["EndpointStatus"] in ("Failed", "OutOfService", "UpdateRollbackFailed")


def check_busy(target, found, action, name=None):
    """An endpoint that is changing is waited for where the change is ours, else left alone."""
    if not under_way(found.endpoint):
        return
    pending = found.ledger.pending
    ours = _resumes(pending, action) and name in (None, pending["Deployment"]["EndpointConfigName"])
    if not ours:
        status = found.endpoint["EndpointStatus"]
        new = found.endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
        raise Refused(
            f"{target.endpoint} is busy: {status}{f' to {new}' if new else ''} since"
            f" {found.endpoint['LastModifiedTime']:%Y-%m-%d %H:%M:%S}. Nothing was changed;"
            f" run again when it is InService{_force(target, pending, new)}",
            4,
        )


def _force(target, pending, new):
    """How to stop a promotion of ours: SageMaker has no call for it, but it obeys its alarms."""
    alarms = target.config.alarms
    if not alarms or not _resumes(pending, "promote") or not _is(pending["Deployment"], new):
        return ""
    return (
        "; to make it roll back now: aws cloudwatch set-alarm-state --alarm-name"
        f" {alarms[0]} --state-value ALARM --state-reason 'stop the update'"
    )


def recovery(target, found):
    """The commands that bring an endpoint back which deploy-model does not touch."""
    name, current = target.endpoint, found.ledger.current
    region = f" --region {target.region}"
    if found.endpoint["EndpointStatus"] == "Failed" or not current:
        return (
            "It does not serve and cannot be updated. Type:"
            f" aws sagemaker delete-endpoint --endpoint-name {name}{region},"
            f" then {target.command('promote', '--latest-approved')}"
        )
    return (
        "See its log group /aws/sagemaker/Endpoints/" + name + ", then put the last good version"
        f" back: aws sagemaker update-endpoint --endpoint-name {name} --endpoint-config-name"
        f" {current['EndpointConfigName']}{region}"
    )


def _reason(endpoint):
    return f" ({endpoint['FailureReason']})" if endpoint.get("FailureReason") else ""


def check_drift(target, found, accept):
    """What serves is what the ledger says; somebody's change by hand is not overwritten unseen."""
    changes = differences(found)
    if changes and not accept:
        raise Refused(
            f"{target.endpoint} was changed outside deploy-model: {'; '.join(changes)}."
            " Say --accept-drift to deploy over it"
        )


def check_config(target, found, name=None):
    """Making a configuration that was deleted again is the way out."""
    missing = without_config(target, found)
    if missing and found.live != name:
        raise Refused(missing, 5)


def without_config(target, found):
    """SageMaker updates no endpoint whose configuration was deleted; this says so, or nothing."""
    if not found.endpoint or found.endpoint_config or under_way(found.endpoint):
        return ""
    current = found.ledger.deployed(found.live)
    version = current["ModelPackageArn"] if current else "ARN"
    return (
        f"the endpoint configuration {found.live}, which {target.endpoint} runs, was deleted,"
        " and SageMaker cannot update the endpoint without it. Make it again:"
        f" {target.command('promote', '--model-package-arn', version)}"
    )


def differences(found):
    """How what serves differs from what the ledger says, a line each."""
    if not found.endpoint or under_way(found.endpoint):
        return []
    known = {found.ledger.current["EndpointConfigName"]} if found.ledger.current else set()
    if found.ledger.pending:
        known.add(found.ledger.pending["Deployment"]["EndpointConfigName"])
    if found.live in known:
        return _weight_differences(found)
    return [f"{found.live} serves, the ledger says {' or '.join(sorted(known)) or 'nothing'}"]


def _weight_differences(found):
    """How the live weights differ from those of the endpoint configuration that serves."""
    if not found.endpoint_config or not found.ledger.current:
        return []
    kept = found.ledger.weights(found.live)
    initial = {
        v["VariantName"]: v.get("InitialVariantWeight", 1.0)
        for v in found.endpoint_config["ProductionVariants"]
    }
    differences = []
    for variant in found.endpoint.get("ProductionVariants", []):
        name, weight = variant["VariantName"], variant.get("DesiredWeight")
        recorded = kept.get(name, initial.get(name))
        if None not in (weight, recorded) and not math.isclose(weight, recorded, rel_tol=DIGITS):
            differences.append(f"the weight of {name} is {weight:g}, the ledger says {recorded:g}")
    return differences


# Plans


def promotion(target, wanted, found):
    """What must be done so that `wanted` serves; an empty plan where it does already."""
    name, pending = wanted.name, found.ledger.pending
    resumes = _resumes(pending, "promote") and pending["Deployment"]["EndpointConfigName"] == name
    closing = [] if resumes else _closing(found)
    found = replace(found, ledger=found.ledger.after(*closing))
    serves = found.live == name and found.endpoint["EndpointStatus"] == "InService"
    release, found = released(target, wanted.endpoint_config, wanted.scaling, found)
    scaling = scaling_calls(target, wanted.scaling, found)
    whole = name in found.configs and len(found.models) == len(wanted.models)
    done = serves and whole and _is(found.ledger.current, name)
    if done and not resumes and not closing and not release and not scaling:
        return Plan(())
    entry = _ended(pending) if resumes else _started(target, wanted, found)
    if resumes and (why := taken_back(found)):
        end = record(target, "Failed", {**entry, "Reason": why})
        steps = (lock(target), Step("judge", note=name), end, unlock(target))
        return Plan(steps, (f"SageMaker rolled back to {found.live}, which serves: {why}",))
    steps = [lock(target), *(record(target, *end) for end in closing)]
    if not resumes:
        steps.append(record(target, "Started", entry))
    steps += [_call("CreateModel", m) for m in wanted.models if m["ModelName"] not in found.models]
    if name not in found.configs:
        steps.append(_call("CreateEndpointConfig", wanted.endpoint_config))
    steps += [Step("call", call) for call in release]
    if not serves:
        if not (resumes and (under_way(found.endpoint) or never_served(found))):
            steps += [Step("approved"), _start(target, wanted, found)]
        steps.append(Step("wait", note=name))
    steps.append(Step("smoke"))
    steps += [Step("call", call) for call in scaling]
    steps += [record(target, "Promoted", entry), unlock(target)]
    return Plan(tuple(steps), tuple(_notes(target, wanted, found)))


def _is(deployment, name):
    return bool(deployment) and deployment["EndpointConfigName"] == name


def _resumes(pending, action):
    return bool(pending) and pending["Action"] == action


def never_served(found):
    """Whether the endpoint is what a first deployment, now interrupted, failed to create."""
    pending = found.ledger.pending
    return (
        _resumes(pending, "promote")
        and pending["Deployment"]["Before"] is None
        and bool(found.endpoint)
        and found.endpoint["EndpointStatus"] == "Failed"
    )


def under_way(endpoint):
    return bool(endpoint) and endpoint["EndpointStatus"] not in STEADY


def _closing(found):
    """The end of an earlier deployment that was interrupted for good, as it turned out."""
    pending = found.ledger.pending
    if not pending:
        return []
    made = pending["Deployment"]["EndpointConfigName"]
    if found.live == made and found.endpoint["EndpointStatus"] == "InService":
        kind = "Promoted" if pending["Action"] == "promote" else "RolledBack"
        return [(kind, {**_ended(pending), "Reason": "found in service later"})]
    return [("Failed", {**_ended(pending), "Reason": taken_back(found) or "interrupted"})]


def taken_back(found):
    """Why SageMaker rolled back the update that nobody watched to its end, '' if it did not."""
    pending, endpoint = found.ledger.pending, found.endpoint or {}
    if not pending or endpoint.get("EndpointStatus") != "InService":
        return ""
    before = pending.get("Leaves") or pending["Deployment"]["Before"] or {}
    since = datetime.fromisoformat(pending["Time"])
    if before.get("EndpointConfigName") != found.live or endpoint["LastModifiedTime"] <= since:
        return ""
    return endpoint.get("FailureReason", "")


def _started(target, wanted, found):
    new = [m["ModelName"] for m in wanted.models if m["ModelName"] not in found.models]
    creates = {
        "EndpointConfigs": [] if wanted.name in found.configs else [wanted.name],
        "Models": new,
    }
    entry = {"Action": "promote", "Deployment": deployment(target, wanted, found)}
    return {**entry, "Creates": creates}


def _ended(pending):
    kept = ("Action", "Deployment", "Leaves", "Creates")
    return {name: pending[name] for name in kept if name in pending}


def deployment(target, wanted, found):
    """What the ledger keeps of a deployment: enough to audit it, and to put it back."""
    metadata = wanted.package.get("CustomerMetadataProperties", {})
    return {
        "ModelPackageArn": wanted.package["ModelPackageArn"],
        "ModelPackageVersion": wanted.version,
        "EndpointName": target.endpoint,
        "EndpointConfigName": wanted.name,
        "ConfigHash": wanted.config_hash,
        "Models": [model["ModelName"] for model in wanted.models],
        "Pins": list(wanted.pins),
        "Approval": wanted.approval,
        "Scaling": wanted.scaling,
        "GitCommit": metadata.get("GitCommit", "unknown"),
        "DataSha256": metadata.get("DataSha256", "unknown"),
        "DefinitionSha256": metadata.get("DefinitionSha256", "unknown"),
        "Before": snapshot(found),
    }


def snapshot(found):
    """Weights and instance counts of what serves now, to be restored by a rollback."""
    if not found.endpoint:
        return None
    return {
        "EndpointConfigName": found.live,
        "Variants": [
            {
                "VariantName": variant["VariantName"],
                "Weight": variant.get("DesiredWeight"),
                "InstanceCount": variant.get("DesiredInstanceCount"),
            }
            for variant in found.endpoint.get("ProductionVariants", [])
        ],
    }


def _start(target, wanted, found):
    members = {"EndpointName": target.endpoint, "EndpointConfigName": wanted.name}
    if not found.endpoint:
        return _call("CreateEndpoint", {**members, "Tags": target.tags})
    return _call("UpdateEndpoint", {**members, **update_members(target.config)})


def _notes(target, wanted, found):
    metadata = wanted.package.get("CustomerMetadataProperties", {})
    commit = metadata.get("GitCommit", "unknown")[:12]
    approved = f"approved by {wanted.approval['By']} at {wanted.approval['Time'][:16]}"
    yield f"version {wanted.version} (commit {commit}), {approved}"
    if not found.endpoint:
        yield (
            f"first deployment of {target.endpoint}: nothing serves yet, so no canary is possible;"
            " it is created at once and smoke-tested"
        )
        return
    if found.live != wanted.name:
        how = describe(target.config.deployment)
        yield f"{found.live} serves until {wanted.name} does; {how}"


def describe(policy):
    """A DeploymentConfig in words."""
    alarms = policy.get("AutoRollbackConfiguration", {}).get("Alarms", [])
    names = ", ".join(alarm["AlarmName"] for alarm in alarms)
    back = f"; back by itself when {names} is in ALARM" if names else ""
    if rolling := policy.get("RollingUpdatePolicy"):
        size = rolling["MaximumBatchSize"]
        return (
            f"rolling, {size['Value']} {_unit(size)} at a time,"
            f" {rolling['WaitIntervalInSeconds']} s each{back}"
        )
    routing = policy.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    wait = routing.get("WaitIntervalInSeconds", 0)
    if routing.get("Type") == "CANARY":
        size = routing["CanarySize"]
        return f"canary of {size['Value']} {_unit(size)} for {wait} s, then all{back}"
    if routing.get("Type") == "LINEAR":
        size = routing["LinearStepSize"]
        return f"linear, {size['Value']} {_unit(size)} every {wait} s{back}"
    return f"all at once{back}"


def _unit(size):
    return "%" if size["Type"] == "CAPACITY_PERCENT" else "instance(s)"


def rollback_goal(found):
    """The deployment that a rollback leads to; None where what serves stays, or none is left."""
    pending = found.ledger.pending
    if _resumes(pending, "rollback"):
        return pending["Deployment"]
    closing = _closing(found)
    stays = any(kind == "Failed" for kind, _ in closing)
    return None if stays else found.ledger.after(*closing).rollback_target


def rollback(target, found):
    """What must be done so that the version before the current one serves again."""
    pending, goal = found.ledger.pending, rollback_goal(found)
    resumes = _resumes(pending, "rollback")
    closing = [] if resumes else _closing(found)
    found = replace(found, ledger=found.ledger.after(*closing))
    current = found.ledger.current
    closed = [record(target, *end) for end in closing]
    if goal is None and current and any(kind == "Failed" for kind, _ in closing):
        note = "the interrupted promotion never served: what served before it still does"
        scaling = scaling_calls(target, current["Scaling"], found)
        kept = [Step("call", call) for call in scaling]
        return Plan((lock(target), *kept, *closed, unlock(target)), (note,))
    if goal is None:
        raise Refused(_no_way_back(target, current))
    rules = goal["Scaling"]
    leaves = pending["Leaves"] if resumes else current
    counts = leaves.get("Before") or {}
    restorable = counts.get("EndpointConfigName") == goal["EndpointConfigName"]
    entry = {"Action": "rollback", "Deployment": goal, "Leaves": leaves}
    steps = [lock(target), *closed]
    if not resumes:
        steps.append(record(target, "Started", entry))
    if not (found.live == goal["EndpointConfigName"] and not under_way(found.endpoint)):
        config = found.configs.get(goal["EndpointConfigName"])
        release, found = released(target, config, rules, found)
        steps += [Step("call", call) for call in release]
        if not (resumes and under_way(found.endpoint)):
            update = back(target, goal["EndpointConfigName"], found, counts if restorable else {})
            steps.append(Step("call", update))
        steps.append(Step("wait", note=goal["EndpointConfigName"]))
    if restorable:
        steps.append(Step("restore", entry=counts))
    scaling = scaling_calls(target, rules, found)
    steps += [Step("call", call) for call in scaling]
    steps += [record(target, "RolledBack", entry), unlock(target)]
    note = (
        f"from version {leaves['ModelPackageVersion']} back to version"
        f" {goal['ModelPackageVersion']} ({goal['EndpointConfigName']}), all at once"
    )
    return Plan(tuple(steps), (note,))


def _no_way_back(target, current):
    if current is None:
        return f"nothing has been deployed to {target.stage}: there is nothing to go back from"
    return (
        f"no version before version {current['ModelPackageVersion']} is left to go back to in"
        f" {target.stage}; to go forward, promote another one"
    )


# A rollback takes the traffic of now, not that of the day of the version it goes back to.
KEEP_COUNTS = {
    "RetainAllVariantProperties": True,
    "ExcludeRetainedVariantProperties": NOT_RETAINED,
}


def back(target, endpoint_config, found, counts):
    """An update to an earlier configuration.

    All at once, which is what SageMaker does where no DeploymentConfig is sent: whoever rolls back
    has no time for a canary.
    """
    members = {"EndpointName": target.endpoint, "EndpointConfigName": endpoint_config}
    names = {variant["VariantName"] for variant in counts.get("Variants", [])}
    if names == {v["VariantName"] for v in found.endpoint.get("ProductionVariants", [])}:
        members |= KEEP_COUNTS
    return Call("sagemaker", "UpdateEndpoint", members)


def restoring(target, endpoint, counts):
    """The call that gives variants the weights and counts of a snapshot, or None.

    Instances that were added since stay: they were added for the requests of now.
    """
    now = {v["VariantName"]: v for v in endpoint.get("ProductionVariants", [])}
    changes = []
    for kept in counts["Variants"]:
        variant = now.get(kept["VariantName"], {})
        change = {"VariantName": kept["VariantName"]}
        if kept["Weight"] is not None and kept["Weight"] != variant.get("DesiredWeight"):
            change["DesiredWeight"] = kept["Weight"]
        if (kept["InstanceCount"] or 0) > variant.get("DesiredInstanceCount", 0):
            change["DesiredInstanceCount"] = kept["InstanceCount"]
        if len(change) > 1:
            changes.append(change)
    if not changes:
        return None
    members = {"EndpointName": target.endpoint, "DesiredWeightsAndCapacities": changes}
    return Call("sagemaker", "UpdateEndpointWeightsAndCapacities", members)


# Autoscaling


def scaling_calls(target, rules, found):
    """What must be registered with Application Auto Scaling that is not, or is otherwise."""
    return [
        call
        for variant, rule in rules.items()
        if {**COOLDOWNS, **rule} != {**COOLDOWNS, **found.scaling.get(variant, {})}
        for call in _scaling(target, variant, rule)
    ]


def released(target, endpoint_config, rules, found):
    """(calls, what is found after them) that take autoscaling off variants before an update.

    SageMaker refuses an update that takes a variant away which scales, or that changes its
    instances; one that keeps both may go on scaling.
    """
    before, after = _instances(found.endpoint_config), _instances(endpoint_config)
    off = [v for v in found.scaling if v not in rules or before.get(v) != after.get(v)]
    kept = {variant: rule for variant, rule in found.scaling.items() if variant not in off}
    calls = [
        Call("application-autoscaling", "DeregisterScalableTarget", scalable_target(name, variant))
        for name, variant in ((target.endpoint, variant) for variant in off)
    ]
    return calls, replace(found, scaling=kept)


def _instances(endpoint_config):
    given = variants(endpoint_config) if endpoint_config else []
    return {v["VariantName"]: (v.get("InstanceType"), v.get("InstancePools")) for v in given}


def _scaling(target, variant, rule):
    scalable = scalable_target(target.endpoint, variant)
    capacity = {"MinCapacity": rule["MinCapacity"], "MaxCapacity": rule["MaxCapacity"]}
    cooldowns = {k: rule[k] for k in ("ScaleInCooldown", "ScaleOutCooldown") if k in rule}
    yield Call("application-autoscaling", "RegisterScalableTarget", {**scalable, **capacity})
    yield Call(
        "application-autoscaling",
        "PutScalingPolicy",
        {
            **scalable,
            "PolicyName": POLICY.format(variant),
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {
                "TargetValue": float(rule["TargetValue"]),
                "PredefinedMetricSpecification": {"PredefinedMetricType": TRACKED},
                **cooldowns,
            },
        },
    )


def scalable_target(endpoint, variant):
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": DIMENSION,
    }


# Clean-up


def cleanup(target, found):
    """Delete what deployments left and nothing needs: neither live, pending nor to go back to."""
    kept = [found.ledger.current, found.ledger.rollback_target]
    if found.ledger.pending:
        kept.append(found.ledger.pending["Deployment"])
        kept.append(found.ledger.pending.get("Leaves"))
    kept = [deployment for deployment in kept if deployment]
    keep_configs = {deployment["EndpointConfigName"] for deployment in kept} | {found.live}
    if found.endpoint:
        summary = found.endpoint.get("PendingDeploymentSummary", {})
        keep_configs.add(summary.get("EndpointConfigName"))
        kept += [d for name in keep_configs if (d := found.ledger.deployed(name))]
    keep_models = {name for deployment in kept for name in deployment["Models"]}
    if found.endpoint_config:
        keep_models |= {v["ModelName"] for v in variants(found.endpoint_config)}
    configs, models = found.ledger.created()
    configs = [name for name in configs if name not in keep_configs]
    models = [name for name in models if name not in keep_models]
    if not configs and not models:
        return Plan(())
    entry = {"Action": "cleanup", "Deleted": {"EndpointConfigs": configs, "Models": models}}
    steps = [lock(target)]
    steps += [_call("DeleteEndpointConfig", {"EndpointConfigName": name}) for name in configs]
    steps += [_call("DeleteModel", {"ModelName": name}) for name in models]
    steps += [record(target, "CleanedUp", entry), unlock(target)]
    return Plan(tuple(steps))


# Steps


def _call(operation, members):
    return Step("call", Call("sagemaker", operation, members))


def lock(target):
    return Step("lock", Call("s3", "PutObject", {"Bucket": target.bucket, "Key": lock_of(target)}))


def unlock(target):
    call = Call("s3", "DeleteObject", {"Bucket": target.bucket, "Key": lock_of(target)})
    return Step("unlock", call)


def record(target, kind, entry):
    key = ledgers.entry_key(target.name, target.stage, 0).rpartition("/")[0]
    members = {"Bucket": target.bucket, "Key": key}
    return Step("record", Call("s3", "PutObject", members), kind, entry)


def lock_of(target):
    return ledgers.lock_key(target.name, target.stage)


def token(plan, found):
    """Stands for a plan and what it was made from: it changes whenever either does."""
    calls = [[call.service, call.operation, call.resource, call.members] for call in plan.calls]
    return digest([calls, found.ledger.previous_sha256, found.live])[:32]
