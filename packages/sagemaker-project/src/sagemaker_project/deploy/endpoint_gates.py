"""Gates about the endpoint, which all commands that change or test it ask; see gates.py."""

from collections.abc import Callable

from sagemaker_project.deploy.creation import lost_for_good
from sagemaker_project.deploy.drift import differences
from sagemaker_project.deploy.evidence import Rollback, State, is_of
from sagemaker_project.deploy.interrupted import closing_entries
from sagemaker_project.deploy.names import package_parts
from sagemaker_project.deploy.recovery import missing_config, recovery
from sagemaker_project.deploy.rollback import is_kept
from sagemaker_project.errors import Busy, NeedsHuman, Refused


def endpoint_is_of_this_group(state: State) -> None:
    """An endpoint belongs to one model package group: another one's model is another product."""
    target, ledger = state.target, state.ledger
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


def endpoint_is_not_busy(state: State) -> None:
    """An endpoint that is changing is left alone, but for a change that this command continues."""
    if not state.endpoint or not state.changing or state.resumed:
        return
    new = state.endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
    raise Busy(
        f"{state.target.endpoint} is busy: {state.status}{f' to {new}' if new else ''} since"
        f" {state.endpoint['LastModifiedTime']:%Y-%m-%d %H:%M:%S}. Nothing was changed;"
        f" run again when it is InService{_how_to_stop(state, new)}"
    )


def _how_to_stop(state: State, new: str | None) -> str:
    """SageMaker has no call that stops an update, but it obeys the alarms of the update."""
    pending, alarms = state.pending, state.target.config.alarms
    ours = pending and pending["Action"] == "promote" and is_of(pending["Deployment"], new)
    if not alarms or not ours:
        return ""
    return (
        "; to make it roll back now: aws cloudwatch set-alarm-state --alarm-name"
        f" {alarms[0]} --state-value ALARM --state-reason 'stop the update'"
    )


def endpoint_needs_no_person(state: State) -> None:
    """An endpoint that has failed is left alone; the message is what a person types."""
    if not state.endpoint or state.never_served or not state.needs_person:
        return
    reason = state.endpoint.get("FailureReason")
    raise NeedsHuman(
        f"{state.target.endpoint} is {state.status}{f' ({reason})' if reason else ''}."
        f" {recovery(state.target, state.status, state.ledger)}"
    )


def endpoint_was_not_changed_by_hand(state: State) -> None:
    """What serves is what the ledger says; a change by hand is not overwritten unseen."""
    changes = differences(state)
    if changes and not state.request.accept_drift:
        raise Refused(
            f"{state.target.endpoint} was changed outside deploy-model: {'; '.join(changes)}."
            " Pass --accept-drift to deploy over it"
        )


def live_config_exists(state: State) -> None:
    """SageMaker cannot update an endpoint whose configuration is gone and cannot be made anew."""
    missing = missing_config(state)
    live = state.ledger.deployed(state.live) if missing and state.live else None
    if missing and not (live and state.live_parts):
        raise NeedsHuman(missing)
    if live and state.live_parts:
        for why in lost_for_good(state.target, live, state.live_parts):
            raise NeedsHuman(f"{missing}. It cannot be made again by itself: {why}")


def there_is_an_endpoint(state: State) -> None:
    """A rollback needs an endpoint."""
    if state.ledger.current and state.endpoint is None:
        raise Refused(
            f"{state.target.endpoint} does not exist (any more), so there is nothing to roll back:"
            " promote the version that is to serve"
        )


def there_is_a_way_back(rollback: Rollback) -> None:
    """A rollback needs a version before the current one, or an interrupted promotion to close."""
    if rollback.goal is not None or is_kept(rollback):
        return
    current = rollback.ledger.after(*closing_entries(rollback)).current
    if current is None:
        raise Refused(
            f"nothing has been deployed to {rollback.target.stage}: there is nothing to roll back"
        )
    raise Refused(
        f"no version before version {current['ModelPackageVersion']} is left to roll back to in"
        f" {rollback.target.stage}; to go forward, promote another one"
    )


def goal_can_be_made(rollback: Rollback) -> None:
    """What a rollback leads to exists as it was recorded, or can be created again."""
    for reason in (*rollback.altered, *rollback.missing):
        raise Refused(f"the version before cannot be put back: {reason}")


ROLLBACK_GATES: tuple[Callable[[Rollback], None], ...] = (
    there_is_an_endpoint,
    endpoint_is_not_busy,
    endpoint_needs_no_person,
    endpoint_was_not_changed_by_hand,
    live_config_exists,
    goal_can_be_made,
    there_is_a_way_back,
)
CLEANUP_GATES: tuple[Callable[[State], None], ...] = (
    endpoint_is_not_busy,
    endpoint_needs_no_person,
)


def something_is_deployed(state: State) -> None:
    if state.endpoint is None or state.ledger.current is None:
        raise Refused(f"nothing is deployed to {state.target.stage}: promote a version first")


def ledger_says_what_serves(state: State) -> None:
    """A test counts for the version that the ledger says serves."""
    current = state.ledger.current
    recorded = current["EndpointConfigName"] if current else None
    if (state.live, state.status) != (recorded, "InService"):
        raise Refused(
            f"{state.target.endpoint} is {state.status} with {state.live}, the ledger says"
            f" {recorded}: see deploy-model status"
        )


TEST_GATES: tuple[Callable[[State], None], ...] = (
    something_is_deployed,
    *CLEANUP_GATES,
    ledger_says_what_serves,
)
