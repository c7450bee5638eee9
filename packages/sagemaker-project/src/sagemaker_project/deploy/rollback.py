"""The plan of a rollback: back to the version before the current one. Pure; nothing is read."""

from dataclasses import replace

from sagemaker_project.deploy import scaling
from sagemaker_project.deploy.calls import Call, Members, sagemaker
from sagemaker_project.deploy.config import NOT_RETAINED
from sagemaker_project.deploy.creation import creations, repairs
from sagemaker_project.deploy.evidence import Rollback, State
from sagemaker_project.deploy.interrupted import closing_entries
from sagemaker_project.deploy.ledger import Deployment, Snapshot
from sagemaker_project.deploy.steps import (
    Plan,
    RestoreVariants,
    SendCall,
    Step,
    WaitForEndpoint,
    record,
)

# A rollback keeps the instances of now: they serve the requests of now.
KEEP_COUNTS = {
    "RetainAllVariantProperties": True,
    "ExcludeRetainedVariantProperties": NOT_RETAINED,
}


def goal_of(state: State) -> Deployment | None:
    """Return the deployment that a rollback leads to.

    None where what serves stays, and where none is left.
    """
    if state.resumed:
        deployment: Deployment = state.resumed["Deployment"]
        return deployment
    if is_kept(state):
        return None
    return state.ledger.after(*closing_entries(state)).rollback_target


def is_kept(state: State) -> bool:
    """Whether an interrupted promotion never served, so that what serves already is the goal."""
    if state.resumed:
        return False
    closing = closing_entries(state)
    failed = any(kind == "Failed" for kind, _ in closing)
    return failed and state.ledger.after(*closing).current is not None


def plan_rollback(rollback: Rollback) -> Plan:
    """Return the steps after which the version before the current one serves again."""
    resumed, goal, target = rollback.resumed, rollback.goal, rollback.target
    closing = [] if resumed else closing_entries(rollback)
    rollback = replace(rollback, ledger=rollback.ledger.after(*closing))
    current = rollback.ledger.current
    steps: list[Step] = [record(target, *end) for end in closing]
    if goal is None:
        assert current is not None  # there_is_a_way_back refuses the rest
        kept = scaling.registrations(target.endpoint, current["Scaling"], rollback.scaling)
        note = "the interrupted promotion never served: what served before it still does"
        return Plan((*map(SendCall, kept), *steps), (note,))
    leaves: Deployment | None = resumed["Leaves"] if resumed else current
    assert leaves is not None  # a goal is the deployment before another one
    before = leaves["Before"]
    if before and before["EndpointConfigName"] != goal["EndpointConfigName"]:
        before = None
    entry = {"Action": "rollback", "Deployment": goal, "Leaves": leaves}
    if not resumed:
        steps.append(record(target, "Started", entry))
    registered = rollback.scaling
    if rollback.live != goal["EndpointConfigName"] or rollback.changing:
        off = scaling.in_the_way(
            goal["Scaling"], registered, rollback.endpoint_config, rollback.goal_config
        )
        registered = scaling.without(registered, off)
        steps += [SendCall(scaling.deregistration(target.endpoint, variant)) for variant in off]
        if not (resumed and rollback.changing):
            name = goal["EndpointConfigName"]
            steps += repairs(rollback, name)
            steps += creations(target, goal, rollback.goal_parts)
            steps.append(SendCall(update_to(target.endpoint, rollback.endpoint, name, before)))
        steps.append(WaitForEndpoint(goal["EndpointConfigName"]))
    if before:
        steps.append(RestoreVariants(before))
    registrations = scaling.registrations(target.endpoint, goal["Scaling"], registered)
    steps += map(SendCall, registrations)
    steps.append(record(target, "RolledBack", entry))
    note = (
        f"from version {leaves['ModelPackageVersion']} back to version"
        f" {goal['ModelPackageVersion']} ({goal['EndpointConfigName']}), all at once"
    )
    return Plan(tuple(steps), (note,))


def update_to(
    endpoint_name: str, endpoint: Members | None, endpoint_config: str, snapshot: Snapshot | None
) -> Call:
    """Return the update to an earlier endpoint configuration.

    It has no DeploymentConfig, so SageMaker does it all at once: a rollback has no time for a
    canary.
    """
    members: Members = {"EndpointName": endpoint_name, "EndpointConfigName": endpoint_config}
    live = endpoint.get("ProductionVariants", []) if endpoint else []
    kept = snapshot["Variants"] if snapshot else []
    if {variant["VariantName"] for variant in kept} == {variant["VariantName"] for variant in live}:
        members |= KEEP_COUNTS
    return sagemaker("UpdateEndpoint", members)


def restoration(endpoint_name: str, endpoint: Members, snapshot: Snapshot) -> Call | None:
    """Return the call that gives variants the weights and counts of a snapshot.

    None where they have them already.

    Instances that were added since then stay: they serve the requests of now.
    """
    now = {v["VariantName"]: v for v in endpoint.get("ProductionVariants", [])}
    changes = []
    for kept in snapshot["Variants"]:
        variant = now.get(kept["VariantName"], {})
        change: Members = {"VariantName": kept["VariantName"]}
        if kept["Weight"] is not None and kept["Weight"] != variant.get("DesiredWeight"):
            change["DesiredWeight"] = kept["Weight"]
        if (kept["InstanceCount"] or 0) > variant.get("DesiredInstanceCount", 0):
            change["DesiredInstanceCount"] = kept["InstanceCount"]
        if len(change) > 1:
            changes.append(change)
    if not changes:
        return None
    members = {"EndpointName": endpoint_name, "DesiredWeightsAndCapacities": changes}
    return sagemaker("UpdateEndpointWeightsAndCapacities", members)
