"""End a deployment that cannot be finished, with everything as it was before it.

Where AWS refuses to undo something, the error has the first reason as well, and asks for a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sagemaker_project.deploy import scaling
from sagemaker_project.deploy.calls import Call, Members, sagemaker
from sagemaker_project.deploy.endpoint_rules import conversion
from sagemaker_project.deploy.interrupted import ended, with_emergency
from sagemaker_project.deploy.ledger import Snapshot
from sagemaker_project.deploy.rollback import update_to
from sagemaker_project.deploy.scaling import all_variants
from sagemaker_project.errors import AwsError, DeployFailed, NeedsHuman, Unavailable, UsageError

if TYPE_CHECKING:
    from sagemaker_project.deploy.executor import Executor

LOOK_SECONDS = 0.2  # between two looks at an endpoint that is being deleted


def end_as_failed(executor: Executor, reason: str) -> None:
    """Undo what the deployment has begun, and record it as Failed.

    Raises:
        Unavailable: AWS does not answer; the same command goes on here when it is run again.
        NeedsHuman: AWS refuses to undo it.
    """
    if executor.started is None:
        return
    entry = with_emergency(executor.state, ended(executor.started, reason))
    try:
        _restore_capacity(executor)
        if executor.creates_endpoint:
            entry["Deleted"] = {"EndpointConfigs": [], "Models": [], "Artifacts": []}
            _delete_created(executor, executor.started, entry["Deleted"])
    except (AwsError, UsageError) as refusal:
        entry["Reason"] += f". Undoing what had begun failed, too: {refusal}"
        if isinstance(refusal, UsageError) or refusal.exit_code == Unavailable.exit_code:
            raise Unavailable(entry["Reason"]) from None
        executor.append("Failed", entry)
        raise NeedsHuman(entry["Reason"]) from None
    executor.append("Failed", entry)


def put_back(executor: Executor, before: Snapshot, reason: str) -> str:
    """Update the endpoint to what served before; return the name of its configuration.

    Args:
        reason: why the new version must not serve.

    Raises:
        NeedsHuman: SageMaker undid or excludes that update, so the new version still serves.
    """
    name = before["EndpointConfigName"]
    executor.say(f"back to {name}: {reason}")
    aws, target = executor.aws, executor.target
    endpoint = executor.described()
    if endpoint is None:
        raise NeedsHuman(f"{target.endpoint} was deleted while it was being tested")
    live, goal = aws.endpoint_config(endpoint["EndpointConfigName"]), aws.endpoint_config(name)
    earlier = executor.ledger.deployed(name)
    if (rule := conversion(live, goal)) and not rule.allowed:
        words = ["--model-package-arn", earlier["ModelPackageArn"], "--retry"] if earlier else []
        raise NeedsHuman(
            f"{reason}; it still serves, for {name} was serverless, and {rule.reason}. Deploy its"
            f" version with the settings of now: {target.command('promote', *words)}"
        )
    variants = sorted({v["VariantName"] for config in (live, goal) for v in all_variants(config)})
    rules = earlier["Scaling"] if earlier else {}
    registered = aws.scaling(target.endpoint, variants)
    for variant in scaling.in_the_way(rules, registered, live, goal):
        executor.send(scaling.deregistration(target.endpoint, variant))
    executor.send(update_to(target.endpoint, endpoint, name, before))
    try:
        executor.wait_for(name)
    except DeployFailed as undone:
        raise NeedsHuman(
            f"{reason}; it still serves, for {name} could not be put back: {undone}. Find out why,"
            f" then run {target.command('rollback')}"
        ) from None
    return name


def _restore_capacity(executor: Executor) -> None:
    """Give what serves after all the counts and the autoscaling that it had."""
    endpoint = executor.described()
    if executor.started is None or endpoint is None:
        return
    live, current = endpoint["EndpointConfigName"], executor.ledger.current
    before: Snapshot | None = executor.started["Deployment"]["Before"]
    if executor.started["Action"] == "promote" and before and before["EndpointConfigName"] == live:
        executor.restore(before)
    if current and current["EndpointConfigName"] == live:
        rules = current["Scaling"]
        registered = executor.aws.scaling(executor.target.endpoint, sorted(rules))
        for call in scaling.registrations(executor.target.endpoint, rules, registered):
            executor.send(call)


def _delete_created(executor: Executor, started: Members, deleted: dict[str, list[str]]) -> None:
    """Delete what a first deployment created: endpoint, configuration, models and artifact copies.

    Args:
        deleted: {kind: names}; gets the names of what was deleted.
    """
    aws, name = executor.aws, executor.target.endpoint
    endpoint = executor.described()
    if endpoint and endpoint["EndpointConfigName"] == started["Deployment"]["EndpointConfigName"]:
        executor.say(f"DeleteEndpoint {name}")
        aws.change(sagemaker("DeleteEndpoint", {"EndpointName": name}))
        while executor.described():
            executor.pause(LOOK_SECONDS)
        executor.endpoint = None  # there is nothing left to tag
    for kind in ("EndpointConfig", "Model"):
        for created in started["Creates"][f"{kind}s"]:
            executor.say(f"Delete{kind} {created}")
            aws.change(sagemaker(f"Delete{kind}", {f"{kind}Name": created}))
            deleted[f"{kind}s"].append(created)
    for key in started["Creates"].get("Artifacts", []):
        executor.say(f"DeleteObject {key}")
        aws.change(Call("s3", "DeleteObject", {"Bucket": executor.target.bucket, "Key": key}))
        deleted["Artifacts"].append(key)
