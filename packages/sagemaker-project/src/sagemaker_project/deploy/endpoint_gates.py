"""Gates about the endpoint, which all commands that change or test it ask; see gates.py."""

from collections.abc import Callable

from sagemaker_project.deploy.creation import lost_for_good
from sagemaker_project.deploy.drift import differences, is_ours, owner_tags
from sagemaker_project.deploy.endpoint_rules import conversion
from sagemaker_project.deploy.evidence import Evidence, Rollback, State, is_of
from sagemaker_project.deploy.interrupted import closing_entries, ended
from sagemaker_project.deploy.ledger import Ledger
from sagemaker_project.deploy.names import package_parts
from sagemaker_project.deploy.recovery import missing_config, promote_again, recovery
from sagemaker_project.deploy.rollback import versions_below
from sagemaker_project.errors import Busy, NeedsHuman, Refused, UsageError


def endpoint_is_ours(state: State) -> None:
    """An endpoint that neither the ledger nor its own tags tell of belongs to somebody else.

    Its owner makes it this project's with those tags; --accept-drift does not.
    """
    target, live = state.target, state.live
    if not state.endpoint or is_ours(state):
        return
    tags = " ".join(f"Key={key},Value={value}" for key, value in owner_tags(target).items())
    raise Refused(
        f"{target.endpoint} was not made by deploy-model: the ledger does not know {live}, which it"
        " serves, and it lacks the tags of this project and stage. Nothing was changed. Give"
        " another --sagemaker-project-name; or, if it may be taken over, type: aws sagemaker"
        f" add-tags {target.aws_flags} --resource-arn {state.endpoint['EndpointArn']}"
        f" --tags {tags}, then run again with --accept-drift"
    )


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
    stop = how_to_stop(state)
    raise Busy(
        f"{state.target.endpoint} is busy: {state.status}{f' to {new}' if new else ''} since"
        f" {state.endpoint['LastModifiedTime']:%Y-%m-%d %H:%M:%S}. Nothing was changed;"
        f" run again when it is InService{f'; {stop}' if stop else ''}"
    )


def how_to_stop(state: State) -> str:
    """SageMaker has no call that stops an update, but it obeys the alarms of the update."""
    pending, alarms = state.pending, state.target.config.alarms
    summary = (state.endpoint or {}).get("PendingDeploymentSummary") or {}
    new = summary.get("EndpointConfigName")
    ours = pending and pending["Action"] == "promote" and is_of(pending["Deployment"], new)
    if not alarms or not ours:
        return ""
    return (
        "to make SageMaker roll it back now: aws cloudwatch set-alarm-state --alarm-name"
        f" {alarms[0]} --state-value ALARM --state-reason 'stop the update'"
        f" {state.target.aws_flags}"
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
    if missing and not state.never_served and not (live and state.live_parts):
        raise NeedsHuman(missing)
    if live and state.live_parts:
        for why in lost_for_good(state.target, live, state.live_parts):
            raise NeedsHuman(f"{missing}. It cannot be made again by itself: {why}")


def endpoint_may_become_the_candidate(evidence: Evidence) -> None:
    """A serverless endpoint can become one of instances, but not the other way round."""
    rule = conversion(evidence.endpoint_config, evidence.candidate.endpoint_config)
    if rule and not rule.allowed:
        raise UsageError(f"{evidence.target.config.path}: {rule.refusal}")


def there_is_an_endpoint(state: State) -> None:
    """A rollback needs an endpoint; a promotion makes it again."""
    if state.ledger.current and state.endpoint is None:
        resumed = state.resumed
        last = resumed["Deployment"] if resumed else state.ledger.current
        raise Refused(
            f"{state.target.endpoint} does not exist (any more), so there is nothing to roll back:"
            f" make it again with version {last['ModelPackageVersion']}:"
            f" {promote_again(state.target, last)}"
        )


def no_other_rollback_was_interrupted(rollback: Rollback) -> None:
    """An interrupted rollback goes on to where it was to lead."""
    resumed, to, target = rollback.resumed, rollback.request.to, rollback.target
    if resumed and to not in (None, resumed["Deployment"]["ModelPackageVersion"]):
        following = target.command("rollback", "--to", str(to))
        if to not in versions_below(rollback.ledger.after(("RolledBack", ended(resumed)))):
            following = _promotion_of(rollback, int(to or 0))
        raise Refused(
            "the rollback to version"
            f" {resumed['Deployment']['ModelPackageVersion']} of {resumed['Time'][:16]} was"
            f" interrupted: end it with {target.command('rollback')}, then {following}"
        )


def _promotion_of(rollback: Rollback, version: int) -> str:
    """Return the command that deploys a version which a rollback cannot name."""
    for entry in reversed(rollback.ledger.entries):
        deployment = entry.get("Deployment")
        if deployment and deployment["ModelPackageVersion"] == version:
            return promote_again(rollback.target, deployment, "--retry")
    return promote_again(rollback.target, None)


def there_is_a_way_back(rollback: Rollback) -> None:
    """A rollback needs an earlier version, or an interrupted promotion to end."""
    if rollback.goal is not None or rollback.never_served:
        return
    target, to = rollback.target, rollback.request.to
    ledger = rollback.ledger.after(*closing_entries(rollback))
    if ledger.current is None:
        raise Refused(
            f"nothing has been deployed to {target.stage}: there is nothing to roll back"
            f"{_last_failure(ledger)}. To deploy: {promote_again(target, None)}"
        )
    below = versions_below(ledger)
    if to is not None and below:
        versions = ", ".join(map(str, below))
        raise Refused(
            f"--to {to}: it is not a version that {target.stage} can be rolled back to; those are:"
            f" {versions} (for the first of them:"
            f" {target.command('rollback', '--to', str(below[0]))})"
        )
    forward = promote_again(target, None) if to is None else _promotion_of(rollback, to)
    raise Refused(
        f"no version before version {ledger.current['ModelPackageVersion']} is left to roll back"
        f" to in {target.stage}; to go forward, promote another one: {forward}"
    )


def _last_failure(ledger: Ledger) -> str:
    failed = [entry for entry in ledger.entries if entry["Kind"] == "Failed"]
    if not failed:
        return ""
    version, why = failed[-1]["Deployment"]["ModelPackageVersion"], failed[-1]["Reason"]
    return f"; the promotion of version {version} failed on {failed[-1]['Time'][:16]} ({why})"


def goal_can_be_made(rollback: Rollback) -> None:
    """What a rollback leads to exists as it was recorded, or can be created again."""
    for reason in (*rollback.altered, *rollback.missing):
        raise Refused(f"the version before cannot be put back: {reason}")


def endpoint_may_become_the_goal(rollback: Rollback) -> None:
    """What was serverless is not put back once the endpoint has instances."""
    rule, goal = conversion(rollback.endpoint_config, rollback.goal_config), rollback.goal
    if goal and rule and not rule.allowed:
        words = ("--model-package-arn", goal["ModelPackageArn"], "--retry")
        raise Refused(
            f"version {goal['ModelPackageVersion']} was serverless, and {rule.reason}. Deploy it"
            f" with the settings of now: {rollback.target.command('promote', *words)}"
        )


ROLLBACK_GATES: tuple[Callable[[Rollback], None], ...] = (
    no_other_rollback_was_interrupted,
    there_is_an_endpoint,
    endpoint_is_ours,
    endpoint_is_not_busy,
    endpoint_needs_no_person,
    endpoint_was_not_changed_by_hand,
    live_config_exists,
    goal_can_be_made,
    endpoint_may_become_the_goal,
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
