"""The plan of a promotion: from what a stage is to a version that serves. Pure; nothing is read."""

from collections.abc import Iterator
from dataclasses import dataclass

from sagemaker_project.deploy import scaling
from sagemaker_project.deploy.calls import Call, Members, sagemaker
from sagemaker_project.deploy.config import Problem, deployment_problems, update_members
from sagemaker_project.deploy.creation import creations, repairs, resources_of
from sagemaker_project.deploy.endpoint_rules import conversion
from sagemaker_project.deploy.evidence import Evidence, State, is_of
from sagemaker_project.deploy.interrupted import closing_entries, ended, rolled_back_because
from sagemaker_project.deploy.ledger import Deployment, ResourceNames, Snapshot, artifact_keys
from sagemaker_project.deploy.names import digest, is_uncommitted, shown_commit
from sagemaker_project.deploy.steps import (
    CheckApproval,
    CheckOutcome,
    LastLook,
    Plan,
    SendCall,
    SmokeTest,
    Step,
    WaitForEndpoint,
    record,
)


def plan_promotion(evidence: Evidence) -> Plan:
    """Return the steps that bring the candidate into service; none where it serves already."""
    candidate, resumed = evidence.candidate, evidence.resumed
    closing = [] if resumed else closing_entries(evidence)
    capacity = _Scaling.of(evidence)
    if _is_done(evidence) and not (resumed or closing or capacity.before or capacity.after):
        return Plan()
    entry = ended(resumed) if resumed else _started(evidence)
    if resumed and (why := rolled_back_because(evidence)):
        return _recorded_failure(evidence, ended(resumed, why))
    steps: list[Step] = [record(evidence.target, *end) for end in closing]
    hurried = evidence.at_once and not entry.get("Now") and sends_update(evidence)
    if hurried:  # the run that this one continues began without --now
        entry |= evidence.request.emergency
    if hurried or not resumed:
        steps.append(record(evidence.target, "Started", entry))
    steps += repairs(evidence, candidate.name)
    steps += creations(evidence.target, deployment(evidence), evidence.parts)
    steps += map(SendCall, capacity.before)
    if not _serves(evidence):
        if sends_update(evidence):
            steps += [CheckApproval(candidate.arn), SendCall(_start(evidence))]
        steps.append(WaitForEndpoint(candidate.name))
    steps.append(_smoke_test(evidence))
    steps += map(SendCall, capacity.after)
    steps.append(_last_look(evidence, entry))
    steps.append(record(evidence.target, "Promoted", entry))
    return Plan(tuple(steps), tuple(_notes(evidence)))


@dataclass(frozen=True)
class _Scaling:
    """The calls about autoscaling, before an update and after it."""

    before: list[Call]
    after: list[Call]

    @classmethod
    def of(cls, evidence: Evidence) -> "_Scaling":
        candidate, endpoint = evidence.candidate, evidence.target.endpoint
        off = scaling.in_the_way(
            candidate.scaling,
            evidence.scaling,
            evidence.live_members,
            candidate.endpoint_config,
        )
        kept = scaling.without(evidence.scaling, off)
        return cls(
            [scaling.deregistration(endpoint, variant) for variant in off],
            scaling.registrations(endpoint, candidate.scaling, kept),
        )


def _serves(evidence: Evidence) -> bool:
    return evidence.live == evidence.candidate.name and evidence.status == "InService"


def sends_update(evidence: Evidence) -> bool:
    """Whether SageMaker is still to be asked for the candidate."""
    waits = evidence.resumed and (evidence.changing or evidence.never_served)
    return not _serves(evidence) and not waits


def _is_done(evidence: Evidence) -> bool:
    """Whether the candidate serves, is the ledger's current version, and all of it exists."""
    candidate = evidence.candidate
    return (
        _serves(evidence)
        and candidate.name in evidence.endpoint_configs
        and len(evidence.models) == len(candidate.models)
        and all(pin["ServedUrl"] in evidence.copies for pin in evidence.pins)
        and is_of(evidence.ledger.current, candidate.name)
    )


def _recorded_failure(evidence: Evidence, entry: Members) -> Plan:
    """Record that SageMaker rolled an update back while no command watched it."""
    steps = (
        CheckOutcome(evidence.candidate.name),
        record(evidence.target, "Failed", entry),
    )
    note = f"SageMaker rolled back to {evidence.live}, which serves: {entry['Reason']}"
    return Plan(steps, (note,))


def _start(evidence: Evidence) -> Call:
    target = evidence.target
    members = {
        "EndpointName": target.endpoint,
        "EndpointConfigName": evidence.candidate.name,
    }
    if not evidence.endpoint:
        return sagemaker("CreateEndpoint", {**members, "Tags": target.tags})
    members |= update_members(target.config)
    if evidence.at_once:
        members.pop("DeploymentConfig", None)  # without it SageMaker does it all at once
    return sagemaker("UpdateEndpoint", members)


def _smoke_test(evidence: Evidence) -> SmokeTest:
    test = evidence.staged.test if evidence.staged else None
    images = tuple(test["Images"]) if test else None
    return SmokeTest(evidence.candidate.package, evidence.samples, images)


def _last_look(evidence: Evidence, entry: Members) -> LastLook:
    """Return the look before Promoted. Alarms are asked where they guarded the traffic."""
    candidate, before = evidence.candidate, entry["Deployment"]["Before"]
    moved = before and before["EndpointConfigName"] != candidate.name
    alarms = evidence.target.config.alarms if moved and not entry.get("Now") else []
    return LastLook(candidate.name, tuple(candidate.packages), tuple(alarms))


def _started(evidence: Evidence) -> Members:
    candidate = evidence.candidate
    new_models = [m["ModelName"] for m in candidate.models if m["ModelName"] not in evidence.models]
    new_configs = [] if candidate.name in evidence.endpoint_configs else [candidate.name]
    begun = deployment(evidence)
    there = {url.removeprefix("s3://").partition("/")[2] for url in evidence.copies}
    new_artifacts = [key for key in artifact_keys(begun) if key not in there]
    creates: ResourceNames = {
        "EndpointConfigs": new_configs,
        "Models": new_models,
        "Artifacts": new_artifacts,
    }
    return {
        "Action": "promote",
        "Deployment": begun,
        "Creates": creates,
        **evidence.request.emergency,
    }


def deployment(evidence: Evidence) -> Deployment:
    """Return what the ledger keeps of a deployment: enough to audit it, and to put it back."""
    candidate = evidence.candidate
    metadata = candidate.package.get("CustomerMetadataProperties", {})
    kept: Deployment = {
        "ModelPackageArn": candidate.arn,
        "ModelPackageVersion": candidate.version,
        "EndpointName": evidence.target.endpoint,
        "EndpointConfigName": candidate.name,
        "ConfigHash": candidate.config_hash,
        "Models": [model["ModelName"] for model in candidate.models],
        "Resources": resources_of(candidate),
        "Pins": evidence.pins,
        "Approval": candidate.approval,
        "Scaling": dict(candidate.scaling),
        "GitCommit": metadata.get("GitCommit", "unknown"),
        "DataSha256": metadata.get("DataSha256", "unknown"),
        "DefinitionSha256": metadata.get("DefinitionSha256", "unknown"),
        "Before": snapshot(evidence),
    }
    if evidence.request.accept_uncommitted and uncommitted_packages(evidence):
        kept["AcceptedUncommitted"] = True
    return kept


def is_accepted(evidence: Evidence) -> bool:
    """Whether flag or settings accept a version with changes that no commit has."""
    allowed = evidence.target.config.content.get("AllowUncommitted", False)
    return evidence.request.accept_uncommitted or bool(allowed)


def uncommitted_packages(evidence: Evidence) -> list[str]:
    """Return the ARNs of the packages that serve and whose code no commit has."""
    packages = evidence.candidate.packages
    return [arn for arn, package in packages.items() if is_uncommitted(commit_of(package))]


def commit_of(package: Members) -> str:
    """Return the GitCommit of a package, or "unknown"."""
    return str(package.get("CustomerMetadataProperties", {}).get("GitCommit", "unknown"))


def snapshot(state: State) -> Snapshot | None:
    """Return the weights and instance counts of what serves, which a rollback restores."""
    if not state.endpoint:
        return None
    return {
        "EndpointConfigName": state.endpoint["EndpointConfigName"],
        "Variants": [
            {
                "VariantName": variant["VariantName"],
                "Weight": variant.get("DesiredWeight"),
                "InstanceCount": variant.get("DesiredInstanceCount"),
            }
            for variant in state.endpoint.get("ProductionVariants", [])
        ],
    }


def guardrail_problems(evidence: Evidence) -> list[Problem]:
    """Return why SageMaker could not deploy with these settings, as the live endpoint is now."""
    counts = None
    if evidence.endpoint:
        live = evidence.endpoint.get("ProductionVariants", [])
        counts = {v["VariantName"]: v.get("DesiredInstanceCount") for v in live}
    return deployment_problems(evidence.target.config, counts, evidence.alarms)


def token(plan: Plan, evidence: Evidence) -> str:
    """Return what stands for a plan and what it was made from; it changes when either does."""
    lock, unlock = evidence.target.lock_calls
    calls = [
        [call.service, call.operation, call.resource, call.members]
        for call in (lock, *plan.calls, unlock)
    ]
    made_from = [evidence.ledger.previous_sha256, evidence.live, evidence.request.emergency]
    return digest([calls, *made_from])[:32]


# For the person who reads the plan


def _notes(evidence: Evidence) -> Iterator[str]:
    candidate, target = evidence.candidate, evidence.target
    commit = shown_commit(commit_of(candidate.package))
    approval = candidate.approval
    yield (
        f"version {candidate.version} (commit {commit}), approved by {approval['By']}"
        f" at {approval['Time'][:16]}"
    )
    if not evidence.endpoint:
        yield (
            f"first deployment of {target.endpoint}: nothing serves yet, so no canary is possible;"
            " it is created at once and smoke-tested"
        )
        for problem in guardrail_problems(evidence):
            yield f"before the next promotion: {problem.message}"
    elif evidence.live != candidate.name:
        yield f"{evidence.live} serves until {candidate.name} does; {_how(evidence)}"
        if rule := conversion(evidence.endpoint_config, candidate.endpoint_config):
            yield f"{rule.about}: {rule.reason}"


def _how(evidence: Evidence) -> str:
    """Say how the traffic moves."""
    began_so = bool(evidence.resumed and evidence.resumed.get("Now"))
    if began_so or (evidence.request.now and sends_update(evidence)):
        return "all at once (--now): no canary, no bake time, and no alarm is asked"
    too_late = "; the update began without --now, which comes too late"
    how = described(evidence.target.config.deployment)
    return how + (too_late if evidence.request.now else "")


def described(policy: Members) -> str:
    """Return a DeploymentConfig in words."""
    alarms = policy.get("AutoRollbackConfiguration", {}).get("Alarms", [])
    names = ", ".join(alarm["AlarmName"] for alarm in alarms)
    rollback = f"; rolled back by SageMaker when {names} is in ALARM" if names else ""
    if rolling := policy.get("RollingUpdatePolicy"):
        size, wait = rolling["MaximumBatchSize"], rolling["WaitIntervalInSeconds"]
        return f"rolling, {size['Value']} {_unit(size)} at a time, {wait} s each{rollback}"
    routing = policy.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    wait = routing.get("WaitIntervalInSeconds", 0)
    if routing.get("Type") == "CANARY":
        size = routing["CanarySize"]
        return f"canary of {size['Value']} {_unit(size)} for {wait} s, then all{rollback}"
    if routing.get("Type") == "LINEAR":
        size = routing["LinearStepSize"]
        return f"linear, {size['Value']} {_unit(size)} every {wait} s{rollback}"
    return f"all at once{rollback}"


def _unit(size: Members) -> str:
    return "%" if size["Type"] == "CAPACITY_PERCENT" else "instance(s)"
