"""How an interrupted deployment ended, as SageMaker shows it."""

from datetime import datetime

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.evidence import State

MODIFIED = "EndpointLastModifiedTime"  # a member of Started entries
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


def with_emergency(state: State, entry: Members) -> Members:
    """Return the end of a deployment with --now and --reason of the rollback that ends it.

    Where the entry has another reason already, that of the rollback is its GivenReason.
    """
    given = state.request.emergency if state.action == "rollback" else {}
    reason = given.pop("Reason", None)
    if reason and reason != entry.get("Reason"):
        given["GivenReason" if "Reason" in entry else "Reason"] = reason
    return {**entry, **given}


def rolled_back_because(state: State) -> str:
    """Return why SageMaker rolled the pending update back; empty if it did not.

    It did where what served before serves, and SageMaker has changed the endpoint since the update
    began. Both times are LastModifiedTime as AWS gave it; no clock of any machine takes part.
    """
    pending, endpoint = state.pending, state.endpoint
    if not pending or not endpoint or state.status != "InService":
        return ""
    before = pending.get("Leaves") or pending["Deployment"]["Before"] or {}
    if before.get("EndpointConfigName") != state.live or not _modified_since(pending, endpoint):
        return ""
    return str(endpoint.get("FailureReason", ""))


def modified(endpoint: Members | None) -> Members:
    """Return what a Started entry keeps of the endpoint that it finds, to see later changes."""
    return {MODIFIED: endpoint["LastModifiedTime"].isoformat()} if endpoint else {}


def _modified_since(pending: Members, endpoint: Members) -> bool:
    """Whether AWS has changed the endpoint since the deployment began.

    An entry of an earlier version of this package does not know. Then a FailureReason is taken to
    be about this deployment: at worst, it is recorded as failed and needs --retry.
    """
    earlier = pending.get(MODIFIED)
    return not earlier or bool(endpoint["LastModifiedTime"] > datetime.fromisoformat(earlier))
