"""What `deploy-model status` concludes: a table of states, each with what is seen and typed.

A rule is a pure function of an `Observation`: the state that it recognises, or None. Several may
apply at once. The worst one is the verdict; the first one in RULES has the command, so the order
is that in which things are put right: wait for what runs, then repair the ledger, then what does
not serve, then what serves but should not.

Following the commands leads to a healthy endpoint in three of them at most, or to one of the people
that advice.py names. The page of states is `deploy-model help on-call`.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from sagemaker_project.deploy import advice
from sagemaker_project.deploy.advice import Advice
from sagemaker_project.deploy.candidate import config_hash
from sagemaker_project.deploy.drift import differences, is_ours
from sagemaker_project.deploy.evidence import is_of
from sagemaker_project.deploy.interrupted import rolled_back_because
from sagemaker_project.deploy.ledger_look import accept_command
from sagemaker_project.deploy.observation import Observation
from sagemaker_project.deploy.recovery import recovery_commands

Verdict: TypeAlias = Literal["healthy", "degraded", "unknown", "down"]
EXIT_CODES: dict[Verdict, int] = {"healthy": 0, "degraded": 1, "unknown": 4, "down": 5}


class Finding(NamedTuple):
    """A state that a stage is in: what is seen, in one line, and what to do."""

    state: str
    verdict: Verdict
    text: str
    advice: Advice


Rule: TypeAlias = Callable[[Observation], Finding | None]


def cannot_be_told(seen: Observation) -> Finding | None:
    """Without the endpoint nothing is known; without the ledger, not what should serve."""
    parts = [part for part in ("endpoint", "ledger") if part in seen.unread]
    untold = bool(seen.unread) and not seen.serving_arn and not seen.damage
    if not parts and not (untold and seen.endpoint):
        return None
    verdict: Verdict = "unknown" if untold else "degraded"
    parts = parts or sorted(seen.unread)
    return Finding("cannot be read", verdict, _unread(seen, parts), advice.read_again(seen, parts))


def a_part_cannot_be_read(seen: Observation) -> Finding | None:
    """What serves is known, and something else is not: it is not taken for good."""
    parts = sorted(set(seen.unread) - {"endpoint", "ledger"})
    if not parts:
        return None
    text = _unread(seen, parts)
    return Finding("healthy", "healthy", text, advice.read_again(seen, parts))


def _unread(seen: Observation, parts: list[str]) -> str:
    return "; ".join(f"{part} unknown: {seen.unread[part].reason}" for part in parts)


def is_in_progress(seen: Observation) -> Finding | None:
    if not seen.lock or not seen.lock_lives:
        return None
    owner = seen.lock
    serves = seen.endpoint is not None and seen.status not in ("Creating", "RollingBack")
    text = (
        f"{owner['What']} is in progress by {owner['By']} on {owner['Host']} since"
        f" {owner['Since'][:16]}"
    )
    verdict: Verdict = "healthy" if serves else "degraded"
    return Finding("in progress", verdict, text, advice.watch(seen))


def is_changed_by_others(seen: Observation) -> Finding | None:
    if not seen.endpoint or not seen.changing or seen.lock_lives or _is_changed_by_pending(seen):
        return None
    new = seen.endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
    what = f"{seen.status}{f' to {new}' if new else ''}"
    since = f"since {seen.endpoint['LastModifiedTime']:%Y-%m-%d %H:%M:%S}"
    verdict: Verdict = "down" if seen.status == "Deleting" else "degraded"
    text = f"it is {what} {since}, and no deploy-model command does that"
    if seen.status == "SystemUpdating":
        verdict, text = "healthy", f"it is {what} {since}: AWS maintains it"
    return Finding("changed by others now", verdict, text, advice.watch(seen))


def _is_changed_by_pending(seen: Observation) -> bool:
    """Whether the change in progress is the one that the ledger's last Started entry began."""
    if not seen.pending or not seen.endpoint:
        return False
    summary = seen.endpoint.get("PendingDeploymentSummary") or {}
    becomes = summary.get("EndpointConfigName") or seen.live
    return is_of(seen.pending["Deployment"], becomes) or seen.status == "RollingBack"


def lock_is_damaged(seen: Observation) -> Finding | None:
    if not seen.lock_damaged:
        return None
    target = seen.target
    uri = f"s3://{target.bucket}/{target.lock_key}"
    command = f"aws s3 rm {uri} {target.aws_flags}"
    return Finding("lock damaged", "degraded", f"the lock {uri} is damaged", Advice(command))


def ledger_is_damaged(seen: Observation) -> Finding | None:
    if not seen.damage:
        return None
    damage = [one for one in seen.damage if not one.newer]
    first, *others = damage or seen.damage
    text = f"entry {first.number} of the ledger ({first.key}) is damaged: {first.why}"
    if others:
        text += f"; and so are {len(others)} others"
    found = Advice(accept_command(seen.target, damage, advice.REASON))
    if not damage:
        found = Advice("git pull && make environment")
    return Finding("ledger damaged", "degraded", text, found)


def is_interrupted(seen: Observation) -> Finding | None:
    pending = seen.pending
    if not pending or seen.lock_lives or (seen.changing and not _is_changed_by_pending(seen)):
        return None
    deployment = pending["Deployment"]
    version, current = deployment["ModelPackageVersion"], seen.ledger.current
    of = "to" if pending["Action"] == "rollback" else "of"
    what = f"the {pending['Action']} {of} version {version}"
    verdict: Verdict = "down" if seen.endpoint is None and current else "degraded"
    if seen.endpoint is None:
        text = f"it does not exist: {what} was interrupted"
    elif seen.changing:
        text = f"{what} was interrupted and SageMaker goes on with it ({seen.status})"
    elif seen.needs_person:
        if not seen.never_began:
            return None
        verdict, reason = "down", seen.endpoint.get("FailureReason", "")
        text = f"{what} was interrupted, and the endpoint is {seen.status}: {reason}"
    elif wrong := _serves_badly(seen):
        text = f"{what} was interrupted, it serves, and {wrong}"
        return Finding("interrupted", verdict, text, advice.undo_interrupted(seen))
    elif seen.live == deployment["EndpointConfigName"]:
        text = f"{what} was interrupted, and SageMaker finished it"
        recorded = current["ModelPackageVersion"] if current else None
        if recorded != version:
            text = f"the ledger says {f'version {recorded}' if recorded else 'nothing'}: {text}"
    elif why := rolled_back_because(seen):
        text = f"{what} was interrupted, and SageMaker rolled it back: {why}"
    else:
        text = f"{what} was interrupted before it served"
    return Finding("interrupted", verdict, text, advice.again(seen))


def _serves_badly(seen: Observation) -> str:
    """Return what is wrong with an interrupted promotion that serves; empty where nothing is."""
    pending = seen.pending
    if not pending or pending["Action"] != "promote" or not is_of(pending["Deployment"], seen.live):
        return ""
    wrong = answers_wrong(seen) or fails_or_is_slow(seen)
    return wrong.text if wrong else ""


def does_not_exist(seen: Observation) -> Finding | None:
    if seen.endpoint or not seen.could_read("endpoint", "ledger") or seen.pending:
        return None
    current, end, stage = seen.ledger.current, seen.last_end, seen.target.stage
    if current:
        version = current["ModelPackageVersion"]
        text = f"it does not exist, the ledger says version {version}: it was deleted by hand"
        return Finding(
            "endpoint deleted", "down", text, advice.redeploy(seen, current["ModelPackageArn"])
        )
    if end and end["Kind"] == "Failed":
        version = end["Deployment"]["ModelPackageVersion"]
        text = (
            f"it does not exist: the first promotion, of version {version}, failed on"
            f" {end['Time'][:16]}: {end.get('Reason', 'no reason was given')}"
        )
        return Finding("first creation failed", "degraded", text, advice.newest(seen))
    if seen.damage:
        return Finding("endpoint deleted", "down", "it does not exist", advice.newest(seen))
    text = f"nothing is deployed to {stage}"
    if seen.no_bucket and seen.approved:  # a promotion creates no bucket
        bucket = seen.target.bucket
        text += f", and the bucket {bucket} does not exist"
        create = f"aws s3 mb s3://{bucket} {seen.target.aws_flags}"
        who = f"{advice.ADMINISTRATOR} must create the bucket {bucket}"
        return Finding("nothing deployed", "healthy", text, Advice(create, who))
    return Finding("nothing deployed", "healthy", text, advice.newest(seen))


def needs_a_person(seen: Observation) -> Finding | None:
    if not seen.endpoint or not seen.needs_person:
        return None
    reason = seen.endpoint.get("FailureReason", "")
    mixed = seen.status == "UpdateRollbackFailed"  # old and new instances serve side by side
    text = f"its status is {seen.status}{f' ({reason})' if reason else ''}"
    typed, *_ = recovery_commands(seen.target, seen.status, seen.ledger)
    return Finding("failed", "degraded" if mixed else "down", text, Advice(typed))


def live_parts_are_deleted(seen: Observation) -> Finding | None:
    if not seen.endpoint or seen.changing or seen.needs_person:
        return None
    gone = list(seen.missing_models)
    if seen.endpoint_config is None and seen.could_read("endpoint configuration"):
        gone.insert(0, str(seen.live))
    if not gone:
        return None
    arn = seen.serving_arn
    text = f"{', '.join(gone)}, which it runs, was deleted: SageMaker cannot update it"
    found = advice.redeploy(seen, arn)
    known = seen.recorded and ("Resources" in seen.recorded or not _settings_changed(seen))
    if seen.endpoint_config is None and not known:
        # A promotion would make another configuration, and cannot make this one again.
        name = seen.target.endpoint
        text += "; with the settings of now it can only be made anew, and does not serve meanwhile"
        delete = f"aws sagemaker delete-endpoint --endpoint-name {name} {seen.target.aws_flags}"
        found = Advice(delete)
    return Finding("configuration deleted", "degraded", text, found)


def _settings_changed(seen: Observation) -> bool:
    """Whether a promotion with the settings of now would make another configuration."""
    config, recorded = seen.target.config, seen.recorded
    if not config.production_variants or not recorded:
        return False
    return recorded["ConfigHash"] != config_hash(config, recorded["ModelPackageArn"])


def is_other_than_the_ledger(seen: Observation) -> Finding | None:
    if not seen.ledger_is_whole or not seen.endpoint or seen.changing or seen.pending:
        return None
    if not (changes := differences(seen)):
        return None
    current = seen.ledger.current
    if current and is_of(current, seen.live):
        text = f"{'; '.join(changes)}: changed outside deploy-model"
        return Finding("weights changed by hand", "degraded", text, Advice(_weights(seen)))
    if seen.could_read("tags") and not is_ours(seen):
        text = "the ledger does not know it, and its tags are not this project's"
        who = f"its owner must say what it is: {seen.target.endpoint} is not of this project"
        return Finding("not ours", "degraded", text, Advice(who=who))
    recorded = "nothing"
    if current:
        recorded = f"version {current['ModelPackageVersion']} ({current['EndpointConfigName']})"
    text = f"the ledger says {recorded}: {seen.live} was put there outside deploy-model"
    arn = current["ModelPackageArn"] if current else ""
    return Finding(
        "changed by hand", "degraded", text, advice.redeploy(seen, arn, "--accept-drift")
    )


def _weights(seen: Observation) -> str:
    """Return the command that gives the variants the weights that the ledger knows."""
    config, endpoint = seen.endpoint_config or {}, seen.endpoint or {}
    restored = seen.ledger.weights(str(seen.live))
    words = []
    for variant in config.get("ProductionVariants", []):
        name = variant["VariantName"]
        weight = restored.get(name)
        weight = variant.get("InitialVariantWeight", 1.0) if weight is None else weight
        words.append(f"VariantName={name},DesiredWeight={weight:g}")
    return (
        "aws sagemaker update-endpoint-weights-and-capacities --endpoint-name"
        f" {endpoint['EndpointName']} --desired-weights-and-capacities {' '.join(words)}"
        f" {seen.target.aws_flags}"
    )


def answers_wrong(seen: Observation) -> Finding | None:
    if not seen.probe or seen.probe.status == "Passed":
        return None
    verdict: Verdict = "degraded" if seen.probe.status == "Failed" else "unknown"
    text = f"a recorded sample: {seen.probe.status}: {seen.probe.text}"
    return Finding("answers wrong", verdict, text, _undo(seen))


def approval_is_withdrawn(seen: Observation) -> Finding | None:
    arn = seen.serving_arn
    state = seen.withdrawn(arn) if arn and seen.endpoint else ""
    if not state:
        return None
    text = f"its package is {state} now"
    found = advice.back(seen)
    if not found:
        found = advice.approve(seen, "" if state == "deleted" else arn)
    return Finding("approval withdrawn", "degraded", text, found)


def alarm_is_missing(seen: Observation) -> Finding | None:
    missing = _alarms(seen, "missing")
    if not missing:
        return None
    names = ", ".join(missing)
    text = (
        f"the alarm {names} does not exist: nothing rolls an update back, and the next promotion"
        " is refused"
    )
    who = f"{advice.ALARM_OWNER} must create it: {names}"
    return Finding("alarm missing", "degraded", text, Advice(who=who))


def alarm_is_on(seen: Observation) -> Finding | None:
    on = _alarms(seen, "ALARM")
    text = f"the alarm {', '.join(on)} is in ALARM"
    return Finding("alarm on", "degraded", text, _undo(seen)) if on else None


def alarm_has_no_data(seen: Observation) -> Finding | None:
    names = _alarms(seen, "INSUFFICIENT_DATA")
    text = f"the alarm {', '.join(names)} has no data: the next promotion is refused"
    found = advice.look_again(seen, "--probe")
    return Finding("alarm without data", "degraded", text, found) if names else None


def _alarms(seen: Observation, state: str) -> list[str]:
    if not seen.endpoint or not seen.could_read("alarms"):
        return []
    names = seen.target.config.alarms
    return [name for name in names if advice.alarm_state(seen, name) == state]


def has_too_few_instances(seen: Observation) -> Finding | None:
    if not seen.endpoint or seen.changing:
        return None
    few = [
        f"{there} of {wanted} instances of {variant['VariantName']} are there"
        for variant in seen.endpoint.get("ProductionVariants", [])
        if (there := variant.get("CurrentInstanceCount")) is not None
        if (wanted := variant.get("DesiredInstanceCount")) is not None
        if there < wanted
    ]
    if not few:
        return None
    return Finding("too few instances", "degraded", "; ".join(few), advice.watch(seen))


def fails_or_is_slow(seen: Observation) -> Finding | None:
    limits = seen.target.config.test
    found = []
    for variant in seen.traffic or ():
        if (rate := variant.error_rate) is not None and rate > limits["MaxErrorRate"]:
            found.append(f"{rate:.2%} of the requests to {variant.variant} failed")
        if variant.p99 is not None and variant.p99 > limits["MaxP99Milliseconds"]:
            limit = f"{limits['MaxP99Milliseconds']:,g} ms"
            p99 = f"{variant.p99:,.0f} ms, above {limit}"
            found.append(f"slow: the p99 of the requests to {variant.variant} is {p99}")
    text = "; ".join(found)
    return Finding("fails or slow", "degraded", text, _undo(seen)) if found else None


def _undo(seen: Observation) -> Advice:
    return advice.back_or_author(seen)


def is_healthy(seen: Observation) -> Finding:
    """Apply to every stage: it is what is left where no rule above it applies."""
    target, current = seen.target, seen.ledger.current
    found = advice.NONE
    if current and target.after:
        found = Advice(target.command("test"))
    if current and is_of(current, seen.live) and target.after:
        test = seen.ledger.test(current["ModelPackageArn"], current["ConfigHash"])
        if test and test["Status"] == "Passed":
            found = advice.onward(seen, current)
    return Finding("healthy", "healthy", "", found)


RULES: tuple[Rule, ...] = (
    cannot_be_told,
    is_in_progress,
    is_changed_by_others,
    lock_is_damaged,
    ledger_is_damaged,
    is_interrupted,
    does_not_exist,
    needs_a_person,
    live_parts_are_deleted,
    is_other_than_the_ledger,
    answers_wrong,
    approval_is_withdrawn,
    fails_or_is_slow,
    alarm_is_on,
    alarm_is_missing,
    alarm_has_no_data,
    has_too_few_instances,
    is_healthy,
    a_part_cannot_be_read,
)


def findings(seen: Observation) -> list[Finding]:
    """Return the states that apply, in the order in which they are put right."""
    return [found for rule in RULES if (found := rule(seen))]
