"""Whether SageMaker can carry out the DeploymentConfig of a stage with the stage's variants.

Blue/green and rolling updates have different members with the same meaning, so the rules judge an
`UpdatePolicy`. Limits, and the pages of AWS's documentation that they rest on, are in
endpoint_rules.json; what else excludes a policy is found with `combinations` of config_rules.py.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sagemaker_project.deploy.config_rules import Rule
from sagemaker_project.deploy.config_types import Config, Counts, Finding
from sagemaker_project.deploy.endpoint_rules import RULES as ENDPOINT_RULES

SIZES = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}
AT_ONCE = "all at once"
KINDS = {"CANARY": "canary", "LINEAR": "linear step", "ALL_AT_ONCE": AT_ONCE}
# The rules about the size of a step, in percent of a variant's instances.
SIZE_RULES = {
    "canary": ENDPOINT_RULES["canary-size"],
    "linear step": ENDPOINT_RULES["linear-step-size"],
    "rolling batch": ENDPOINT_RULES["rolling-batch-size"],
}
SIZE_PLACES = {
    "canary": "TrafficRoutingConfiguration.CanarySize",
    "linear step": "TrafficRoutingConfiguration.LinearStepSize",
    "rolling batch": "MaximumBatchSize",
}


@dataclass(frozen=True)
class UpdatePolicy:
    """The update policy of a DeploymentConfig, blue/green or rolling."""

    kind: str  # AT_ONCE or a key of SIZE_RULES
    place: str  # in the file
    members: dict[str, Any]
    size: dict[str, Any] | None  # the CapacitySize of a step
    wait: int  # seconds after each step

    @property
    def size_place(self) -> str:
        return f"{self.place}.{SIZE_PLACES[self.kind]}"

    @property
    def termination_wait(self) -> int:
        """Seconds that the old instances stay after the last step."""
        return int(self.members.get("TerminationWaitInSeconds", 0))

    @property
    def bake(self) -> int:
        """Seconds in which alarms can judge the new version after one step."""
        return self.termination_wait if self.kind == AT_ONCE else self.wait

    def total_wait(self, counts: Collection[int]) -> int:
        """Return the seconds that the deployment waits in all.

        Args:
            counts: the instances of each variant.
        """
        if self.kind == AT_ONCE or self.size is None:
            return self.termination_wait
        if self.kind == "canary":
            return self.wait + self.termination_wait
        instances = 100 if self.size["Type"] == "CAPACITY_PERCENT" else max(counts)
        steps = math.ceil(instances / self.size["Value"])
        # Between the steps of a linear shift, after each batch of a rolling update.
        waits: int = steps if self.kind == "rolling batch" else steps - 1
        return self.wait * waits + self.termination_wait


def update_policy(config: Config) -> UpdatePolicy:
    """Return the update policy of a stage; without one, SageMaker updates all at once."""
    if rolling := config.deployment.get("RollingUpdatePolicy"):
        wait, size = rolling["WaitIntervalInSeconds"], rolling["MaximumBatchSize"]
        place = "DeploymentConfig.RollingUpdatePolicy"
        return UpdatePolicy("rolling batch", place, rolling, size, wait)
    members = config.deployment.get("BlueGreenUpdatePolicy", {})
    traffic = members.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE"})
    size = traffic.get(SIZES.get(traffic["Type"]))
    place = "DeploymentConfig.BlueGreenUpdatePolicy"
    wait = traffic.get("WaitIntervalInSeconds", 0)
    return UpdatePolicy(KINDS[traffic["Type"]], place, members, size, wait)


# Findings that also depend on live instance counts


def size_findings(policy: UpdatePolicy, counts: Counts) -> Iterator[Finding]:
    """Find what is wrong with the size of a step for variants with these instances."""
    if policy.size is None or policy.kind == AT_ONCE:
        return
    least, most = SIZE_RULES[policy.kind].least, SIZE_RULES[policy.kind].most
    value, percent = policy.size["Value"], policy.size["Type"] == "CAPACITY_PERCENT"
    if percent and not least <= value <= most:
        yield policy.size_place, f"{least} to {most} % is wanted, {value} % was found"
        return
    for variant, count in counts.items():
        if count is None:
            continue
        if count == 1:
            size = f"{value} %" if percent else f"{value} instance"
            yield (
                policy.size_place,
                f"1 instance cannot do a {policy.kind} of {size}: the least that can take traffic"
                f" is one instance, all of {variant}, and SageMaker accepts at most {most} %:"
                " use 2 or more instances, or ALL_AT_ONCE",
            )
        elif not percent and not least <= 100 * value / count <= most:
            yield (
                policy.size_place,
                f"{value} of the {count} instances of {variant} is {100 * value / count:.0f} %,"
                f" {least} to {most} % is wanted",
            )


def time_findings(policy: UpdatePolicy, counts: Counts) -> Iterator[Finding]:
    """Find a timeout that the waits of the deployment alone would exceed."""
    limit = policy.members.get("MaximumExecutionTimeoutInSeconds")
    if limit is None:
        return
    waits = policy.total_wait([count or 1 for count in counts.values()])
    if waits >= limit:
        most = ENDPOINT_RULES["deployment-timeout"].most
        yield (
            f"{policy.place}.MaximumExecutionTimeoutInSeconds",
            f"the deployment waits {waits:,} s in all, so it cannot end within {limit:,} s:"
            f" set more than {waits:,} (at most {most:,}), or shorter waits",
        )


# Rules


def traffic_sizes(config: Config) -> Iterator[Finding]:
    """Find a missing step size, and one that belongs to another type of traffic shift."""
    traffic = config.deployment.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration")
    if not traffic:
        return
    place = "DeploymentConfig.BlueGreenUpdatePolicy.TrafficRoutingConfiguration"
    kind = traffic["Type"]
    if kind in SIZES and SIZES[kind] not in traffic:
        yield place, f"{kind} needs {SIZES[kind]}"
    for owner, name in SIZES.items():
        if kind != owner and name in traffic:
            rule = ENDPOINT_RULES["step-size-type"]
            yield f"{place}.{name}", f"it is for {owner}, and Type is {kind}: {rule.advice}"


def step_sizes(config: Config) -> Iterator[Finding]:
    """Find steps that are too small or too large for the instances in the file."""
    policy = update_policy(config)
    yield from size_findings(policy, config.initial_counts)
    rollback = policy.members.get("RollbackMaximumBatchSize")
    most = ENDPOINT_RULES["rollback-batch-size"].most
    if rollback and rollback["Type"] == "CAPACITY_PERCENT" and rollback["Value"] > most:
        yield (
            f"{policy.place}.RollbackMaximumBatchSize",
            f"at most {most} % is wanted, {rollback['Value']} % was found",
        )


def times(config: Config) -> Iterator[Finding]:
    """Find a timeout that is too short for the instances in the file."""
    yield from time_findings(update_policy(config), config.initial_counts)


def watched(config: Config) -> Iterator[Finding]:
    """Find deployments that no alarm could roll back."""
    policy, alarms = update_policy(config), config.alarms
    place = "DeploymentConfig.AutoRollbackConfiguration"
    # Developer Guide, "Use canary traffic shifting", prerequisites: alarms
    if config.last and policy.kind != AT_ONCE and not alarms:
        yield place, f"a {policy.kind} without an alarm is never rolled back: name 1 to 10 alarms"
    if alarms and not policy.bake:
        at_once = policy.kind == AT_ONCE
        setting = "TerminationWaitInSeconds" if at_once else "WaitIntervalInSeconds"
        yield place, f"{setting} is 0, so the alarms have no time to judge: raise it"


RULES: tuple[Rule, ...] = (
    traffic_sizes,
    step_sizes,
    times,
    watched,
)
