"""How an interrupted deployment ended, as SageMaker shows it."""

from datetime import datetime

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.evidence import State

# Of a Started entry, in the one that ends it. A reason of the end's own replaces Reason.
KEPT = ("Action", "Deployment", "Leaves", "Creates", "Now", "Reason")


def closing_entries(state: State) -> list[tuple[str, Members]]:
    """Return (kind, members) of the entry that ends the pending deployment, if there is one."""
    pending = state.pending
    if not pending:
        return []
    if state.live == pending["Deployment"]["EndpointConfigName"] and state.status == "InService":
        kind = "Promoted" if pending["Action"] == "promote" else "RolledBack"
        return [(kind, ended(pending, "found in service later"))]
    return [("Failed", ended(pending, rolled_back_because(state) or "interrupted"))]


def ended(pending: Members, why: str = "") -> Members:
    """Return what the entry that ends a deployment keeps of its Started entry.

    Args:
        why: it ended so; the reason that was given when it began is then kept as GivenReason.
    """
    entry = {name: pending[name] for name in KEPT if name in pending}
    if why and "Reason" in entry:
        entry["GivenReason"] = entry["Reason"]
    return {**entry, "Reason": why} if why else entry


def rolled_back_because(state: State) -> str:
    """Return why SageMaker rolled the pending update back; empty if it did not."""
    pending, endpoint = state.pending, state.endpoint
    if not pending or not endpoint or state.status != "InService":
        return ""
    before = pending.get("Leaves") or pending["Deployment"]["Before"] or {}
    since = datetime.fromisoformat(pending["Time"])
    if before.get("EndpointConfigName") != state.live or endpoint["LastModifiedTime"] <= since:
        return ""
    return str(endpoint.get("FailureReason", ""))
