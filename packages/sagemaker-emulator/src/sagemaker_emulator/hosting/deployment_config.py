"""DeploymentConfig: what an update of an endpoint may ask for, and the steps that it means."""

import math
from typing import NamedTuple

from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.errors import invalid
from sagemaker_emulator.hosting.endpoint_configs import refusal
from sagemaker_emulator.hosting.endpoint_rules import RULES, Rule, conflicts


class Step(NamedTuple):
    """Shift traffic, and bake."""

    share: float  # of the traffic that green has then, from 0 to 1
    seconds: int  # to bake, on AWS
    reason: str  # the member that says how long


def check(policy: Document, config: Document, live: Document, wanted: Document) -> None:
    """Refuse what AWS refuses for an update from one snapshot to another.

    Args:
        config: the endpoint configuration of `wanted`.
    """
    blue_green, rolling = policy.get("BlueGreenUpdatePolicy"), policy.get("RollingUpdatePolicy")
    old, new = (sorted(v["VariantName"] for v in side["Variants"]) for side in (live, wanted))
    if old != new:
        raise refusal(RULES["deployment-names"], f"{', '.join(old)} to {', '.join(new)}")
    for member, rule in conflicts({**config, "DeploymentConfig": policy}):
        raise refusal(rule, member)
    for variant in wanted["Variants"]:
        _check_blue_green(blue_green or {}, variant)
        _check_rolling(rolling or {}, variant)
    timeout = (blue_green or rolling or {}).get("MaximumExecutionTimeoutInSeconds")
    waits = sum(step.seconds for step in steps(policy, wanted))
    if timeout and waits >= timeout:
        raise invalid(
            f"{RULES['deployment-timeout'].sentence} It is {timeout}, and they are {waits}."
        )


def _check_blue_green(policy: Document, variant: Document) -> None:
    routing = policy.get("TrafficRoutingConfiguration") or {}
    for member, kind in (("CanarySize", "CANARY"), ("LinearStepSize", "LINEAR")):
        if (routing.get("Type") == kind) != bool(routing.get(member)):
            raise refusal(RULES["step-size-type"], f"{member} with Type {routing.get('Type')}")
    _check_size(RULES["canary-size"], routing.get("CanarySize"), variant)
    _check_size(RULES["linear-step-size"], routing.get("LinearStepSize"), variant)


def _check_rolling(policy: Document, variant: Document) -> None:
    _check_size(RULES["rolling-batch-size"], policy.get("MaximumBatchSize"), variant)
    rollback, rule = policy.get("RollbackMaximumBatchSize"), RULES["rollback-batch-size"]
    if rollback and rollback["Type"] == "CAPACITY_PERCENT" and rollback["Value"] > rule.most:
        raise refusal(rule)


def _check_size(rule: Rule, size: Document | None, variant: Document) -> None:
    """Refuse a size of a step that is outside the limits of a rule, in percent."""
    if not size:
        return
    value, count = size["Value"], variant["Count"]
    percent = size["Type"] == "CAPACITY_PERCENT"
    share = value if percent else 100 * value / count
    if not rule.least <= share <= rule.most or rule.most * count < 100:
        raise invalid(
            f"{value}{' %' if percent else ''} of the {count} instances of variant"
            f" {variant['VariantName']}: {rule.reason}, and at least one instance. Give the variant"
            " more instances, or shift traffic ALL_AT_ONCE."
        )


def alarm_names(policy: Document) -> list[str]:
    """Return the alarms that roll an update back."""
    alarms = (policy.get("AutoRollbackConfiguration") or {}).get("Alarms") or []
    return [alarm["AlarmName"] for alarm in alarms if alarm.get("AlarmName")]


def steps(policy: Document, wanted: Document) -> list[Step]:
    """Return the traffic shifts of an update to the snapshot `wanted`."""
    blue_green, rolling = policy.get("BlueGreenUpdatePolicy"), policy.get("RollingUpdatePolicy")
    if rolling:
        wait = rolling["WaitIntervalInSeconds"]
        batches = shares(rolling["MaximumBatchSize"], wanted)
        return [Step(share, wait, "WaitIntervalInSeconds") for share in batches]
    routing = (blue_green or {}).get("TrafficRoutingConfiguration") or {"Type": "ALL_AT_ONCE"}
    if routing["Type"] == "CANARY":
        before_last = [_share(routing["CanarySize"], wanted)]
    elif routing["Type"] == "LINEAR":
        before_last = shares(routing["LinearStepSize"], wanted)[:-1]
    else:
        before_last = []
    wait = routing.get("WaitIntervalInSeconds") or 0
    last = (blue_green or {}).get("TerminationWaitInSeconds") or 0
    return [
        *(Step(share, wait, "WaitIntervalInSeconds") for share in before_last),
        Step(1.0, last, "TerminationWaitInSeconds"),
    ]


def shares(size: Document | None, snapshot: Document) -> list[float]:
    """Return the share of the capacity after each batch; one batch if `size` is None."""
    step = _share(size, snapshot) if size else 1.0
    number = math.ceil(round(1 / step, 6))
    return [*(step * n for n in range(1, number)), 1.0]


def _share(size: Document, snapshot: Document) -> float:
    """Return a CapacitySize as a share of the capacity."""
    if size["Type"] == "CAPACITY_PERCENT":
        share: float = size["Value"] / 100
    else:
        share = size["Value"] / min(variant["Count"] for variant in snapshot["Variants"])
    return min(share, 1.0)


def instances(count: int, share: float) -> int:
    """Return the number of instances that a share of `count` is, rounded up."""
    return math.ceil(round(count * share, 6))
