"""How an interrupted deployment ended, as SageMaker shows it."""

from datetime import datetime

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.evidence import State

KEPT = ("Action", "Deployment", "Leaves", "Creates")  # of a Started entry, in the one that ends it


def closing_entries(state: State) -> list[tuple[str, Members]]:
    """Return (kind, members) of the entry that ends the pending deployment, if there is one."""
    pending = state.pending
    if not pending:
        return []
    if state.live == pending["Deployment"]["EndpointConfigName"] and state.status == "InService":
        kind = "Promoted" if pending["Action"] == "promote" else "RolledBack"
        return [(kind, {**ended(pending), "Reason": "found in service later"})]
    return [("Failed", {**ended(pending), "Reason": rolled_back_because(state) or "interrupted"})]


def ended(pending: Members) -> Members:
    """Return what the entry that ends a deployment keeps of its Started entry."""
    return {name: pending[name] for name in KEPT if name in pending}


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
