"""The plan of a rollback: back to an earlier version of the ledger's stack. Pure; nothing is read.

Without --to a rollback undoes the last promotion. Where the last change of the stage is a rollback
already, what serves stays: a command that is typed twice, because a terminal was lost, goes back
once.
"""

from sagemaker_project.deploy import scaling
from sagemaker_project.deploy.calls import Call, Members, sagemaker
from sagemaker_project.deploy.config import NOT_RETAINED
from sagemaker_project.deploy.creation import creations, repairs
from sagemaker_project.deploy.evidence import Rollback, State, is_of
from sagemaker_project.deploy.interrupted import closing_entries, ended, with_emergency
from sagemaker_project.deploy.ledger import Deployment, Entry, Ledger, Snapshot
from sagemaker_project.deploy.steps import (
    CheckOutcome,
    LastLook,
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
    """Return the deployment that is to serve after a rollback, or None where there is none."""
    if state.resumed:
        deployment: Deployment = state.resumed["Deployment"]
        return deployment
    closing = closing_entries(state)
    ledger, to = state.ledger.after(*closing), state.request.to
    current = ledger.current
    if to is not None:
        return next((d for d in reversed(ledger.stack) if d["ModelPackageVersion"] == to), None)
    never_served = any(kind == "Failed" for kind, _ in closing)
    if current and (never_served or last_rollback(ledger)):
        return current
    return ledger.rollback_target


def last_rollback(ledger: Ledger) -> Entry | None:
    """Return the entry of the rollback that is the last change of what serves, or None.

    A rollback that ended an interrupted promotion before it served counts.
    """
    for entry in reversed(ledger.entries):
        if entry["Kind"] == "RolledBack" or entry.get("EndedBy") == "rollback":
            return entry
        if entry["Kind"] == "Promoted":
            return None
    return None


def versions_below(ledger: Ledger) -> list[int]:
    """Return the versions that a rollback may name, those that served last first."""
    current, *below = [d["ModelPackageVersion"] for d in reversed(ledger.stack)] or [0]
    return [version for version in dict.fromkeys(below) if version != current]


def plan_rollback(rollback: Rollback) -> Plan:
    """Return the steps after which the goal serves; none where it does already."""
    resumed, goal, target = rollback.resumed, rollback.goal, rollback.target
    if rollback.never_served and rollback.pending:
        return _undo_of_the_first(rollback, rollback.pending)
    assert goal is not None  # there_is_a_way_back refuses the rest
    closing = [] if resumed else closing_entries(rollback)
    current = rollback.ledger.after(*closing).current
    if not resumed and is_of(current, goal["EndpointConfigName"]) and _serves(rollback, goal):
        return _stays(rollback, goal)
    steps: list[Step] = [record(target, *end) for end in closing]
    if resumed:
        entry = with_emergency(rollback, ended(resumed))
    else:
        entry = {"Action": "rollback", "Deployment": goal, "Leaves": current}
        entry |= rollback.request.emergency
        steps.append(record(target, "Started", entry))
    before = rollback.ledger.after(*closing).before(goal["EndpointConfigName"])
    steps += _moves(rollback, goal, before)
    steps.append(LastLook(goal["EndpointConfigName"]))
    steps.append(record(target, "RolledBack", entry))
    note = (
        f"from version {entry['Leaves']['ModelPackageVersion']} back to version"
        f" {goal['ModelPackageVersion']} ({goal['EndpointConfigName']}), all at once"
    )
    return Plan(tuple(steps), (note,))


def _serves(rollback: Rollback, goal: Deployment) -> bool:
    return rollback.live == goal["EndpointConfigName"] and not rollback.changing


def _undo_of_the_first(rollback: Rollback, pending: Entry) -> Plan:
    """Return the steps that find out why a first promotion failed; then it is undone."""
    entry = with_emergency(rollback, ended(pending, "it never served"))
    return Plan(
        (
            CheckOutcome(pending["Deployment"]["EndpointConfigName"]),
            record(rollback.target, "Failed", entry),
        )
    )


def _stays(rollback: Rollback, goal: Deployment) -> Plan:
    """Return what is left to do where the goal serves: to end an interrupted promotion."""
    closing = closing_entries(rollback)
    if not closing:
        return Plan()
    [(kind, entry)] = closing
    note = "the interrupted promotion had come to its end"
    if kind == "Failed":
        given = rollback.request.reason
        entry |= {"EndedBy": "rollback", **({"GivenReason": given} if given else {})}
        note = "the interrupted promotion never served: what served before it still does"
    calls = scaling.registrations(rollback.target.endpoint, goal["Scaling"], rollback.scaling)
    return Plan((*map(SendCall, calls), record(rollback.target, kind, entry)), (note,))


def _moves(rollback: Rollback, goal: Deployment, before: Snapshot | None) -> list[Step]:
    """Return the steps that make the goal serve, with the weights and counts of `before`."""
    endpoint, name = rollback.target.endpoint, goal["EndpointConfigName"]
    steps: list[Step] = []
    registered = rollback.scaling
    if not _serves(rollback, goal):
        off = scaling.in_the_way(
            goal["Scaling"], registered, rollback.live_members, rollback.goal_config
        )
        registered = scaling.without(registered, off)
        steps += [SendCall(scaling.deregistration(endpoint, variant)) for variant in off]
        if not (rollback.resumed and rollback.changing):
            steps += repairs(rollback, name)
            steps += creations(rollback.target, goal, rollback.goal_parts)
            steps.append(SendCall(update_to(endpoint, rollback.endpoint, name, before)))
        steps.append(WaitForEndpoint(name))
    if before:
        steps.append(RestoreVariants(before))
    steps += map(SendCall, scaling.registrations(endpoint, goal["Scaling"], registered))
    return steps


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
