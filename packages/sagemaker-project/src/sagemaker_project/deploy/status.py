"""`deploy-model status`: what serves, and whether it is well.

look_status -> observation     read a stage; what was read, frozen
advice, recommendation         states, what is seen of each, and what to type
verdict, rollout, traffic      the verdict; an update in progress; the last minutes
status_display                 the result as text
"""

from collections.abc import Mapping
from dataclasses import replace

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.drift import differences
from sagemaker_project.deploy.endpoint_gates import how_to_stop
from sagemaker_project.deploy.ledger_look import way_out
from sagemaker_project.deploy.look_status import look_for_status
from sagemaker_project.deploy.names import is_uncommitted
from sagemaker_project.deploy.observation import Observation, Probe
from sagemaker_project.deploy.recovery import missing_config, recovery
from sagemaker_project.deploy.rollout import rollout
from sagemaker_project.deploy.target import Target
from sagemaker_project.deploy.traffic import Traffic
from sagemaker_project.deploy.verdict import Judgement, judge, worst_first
from sagemaker_project.errors import Interrupted, ProjectError

WATCH_SECONDS = 10  # between two looks


def status(context: Context) -> Members:
    """Return the verdict about one stage, or about all of them; with --watch, the last one."""
    deadline = context.aws.deadline
    if not context.request.watch:
        return _look(context, deadline)[0]
    from sagemaker_project.deploy import status_display

    draw = status_display.painter(context.request.in_json, context.say)
    result: Members | None = None
    try:
        while True:
            result, steady = _look(context, deadline)
            if steady or context.clock.monotonic() + WATCH_SECONDS > deadline:
                return result
            draw(result)
            context.clock.sleep(WATCH_SECONDS)
    except Interrupted as stop:
        if result is None or not stop.by_user:
            raise
        return result


def _look(context: Context, deadline: float) -> tuple[Members, bool]:
    """Return the result of one look, and whether it will not change by itself."""
    stage = context.request.stage
    targets = [target for target in context.stages if stage in ("", target.stage)]
    seen = look_for_status(context, targets, deadline)
    if context.request.probe:
        seen = [_probed(context, each) for each in seen]
    judged = [judge(each) for each in seen]
    views = [view(each, judgement) for each, judgement in zip(seen, judged, strict=True)]
    steady = all(judgement.steady for judgement in judged)
    return (views[0] if stage else _together(views)), steady


def _together(views: list[Members]) -> Members:
    """Return one result for all stages, of which the worst one decides."""
    ranked = worst_first(views)
    worst, last_arn = ranked[0], views[-1]["ModelPackageArn"]
    leads = [worst]
    if worst["Verdict"] == "healthy":
        # A version that serves in the last stage already needs no further step.
        waiting = [each for each in views if not last_arn or each["ModelPackageArn"] != last_arn]
        leads = [each for each in waiting if each["Next"] or each["Who"]]
    return {
        "Outcome": worst["Outcome"],
        "Verdict": worst["Verdict"],
        "ExitCode": worst["ExitCode"],
        "Message": "; ".join(each["Message"] for each in ranked),
        "Stages": views,
        "Next": leads[0]["Next"] if leads else "",
        "Who": leads[0]["Who"] if leads else "",
    }


def view(seen: Observation, judged: Judgement) -> Members:
    """Return what --json prints of a stage."""
    endpoint, approval, commit = seen.endpoint or {}, seen.approval, seen.commit
    arn = seen.serving_arn
    return {
        "Outcome": _outcome(seen),
        "Stage": seen.target.stage,
        "Message": judged.headline,
        "Verdict": judged.verdict,
        "State": judged.state,
        "ExitCode": judged.exit_code,
        "Since": judged.since,
        "EndpointName": seen.target.endpoint,
        "EndpointConfigName": seen.live,
        "ModelPackageArn": arn,
        "ModelPackageVersion": seen.serving_version if seen.endpoint else "",
        "GitCommit": commit if arn else "",
        "Uncommitted": is_uncommitted(commit),
        "Approval": {**approval, "Status": seen.withdrawn(arn) or "Approved"} if approval else {},
        "Findings": [
            {"State": found.state, "Verdict": found.verdict, "Text": found.text}
            for found in judged.findings
            if found.text
        ],
        "FailureReason": endpoint.get("FailureReason", ""),
        "Variants": [_variant(seen, each) for each in endpoint.get("ProductionVariants", [])],
        "Update": rollout(seen),
        "Alarms": _alarms(seen),
        "Probe": seen.probe._asdict() if seen.probe else None,
        "Current": seen.ledger.current,
        "RollbackTarget": seen.ledger.rollback_target,
        "RollbackTargetMissing": list(seen.goal_missing),
        "Pending": _pending(seen),
        "Lock": {**seen.lock, "Lives": seen.lock_lives} if seen.lock else None,
        "Drift": differences(seen) if seen.ledger_is_whole else [],
        "Damage": [damage.described() for damage in seen.damage],
        "Unread": {part: unread.reason for part, unread in seen.unread.items()},
        "Recovery": _recovery(seen),
        "Next": judged.advice.command,
        "Who": judged.advice.who,
    }


def _outcome(seen: Observation) -> str:
    if not seen.could_read("endpoint"):
        return "Unknown"
    return seen.status or "Absent"


def _variant(seen: Observation, variant: Members) -> Members:
    name = variant["VariantName"]
    traffic: Mapping[str, Traffic] = {each.variant: each for each in seen.traffic or ()}
    of = traffic.get(name)
    return {
        "VariantName": name,
        "ModelPackageArn": seen.served_by_variant.get(name, ""),
        "Weight": variant.get("CurrentWeight"),
        "InstanceCount": variant.get("CurrentInstanceCount"),
        "DesiredInstanceCount": variant.get("DesiredInstanceCount"),
        "Images": [image.get("ResolvedImage") for image in variant.get("DeployedImages", [])],
        "Requests": of.requests if of else None,
        "ErrorRate": of.error_rate if of else None,
        "P50Milliseconds": of.p50 if of else None,
        "P99Milliseconds": of.p99 if of else None,
    }


def _alarms(seen: Observation) -> Members:
    if not seen.could_read("alarms"):
        return dict.fromkeys(seen.target.config.alarms, "unknown")
    return {
        name: seen.alarms[name]["StateValue"] if name in seen.alarms else "does not exist"
        for name in seen.target.config.alarms
    }


def _pending(seen: Observation) -> Members | None:
    if not seen.pending:
        return None
    about = seen.pending["Deployment"]
    kept = {name: seen.pending[name] for name in ("Action", "Time", "By")}
    return {**kept, "ModelPackageArn": about["ModelPackageArn"]}


def _recovery(seen: Observation) -> str:
    if seen.needs_person:
        return recovery(seen.target, seen.status, seen.ledger)
    if seen.changing:
        return how_to_stop(seen)
    if seen.could_read("endpoint configuration") and (how := missing_config(seen)):
        return how
    restorable = [damage for damage in seen.damage if not damage.newer]
    return way_out(seen.target, restorable) if restorable else ""


def _probed(context: Context, seen: Observation) -> Observation:
    """Send one recorded sample to what serves."""
    if seen.endpoint is None or not seen.package:
        return replace(seen, probe=Probe("Inconclusive", "it is not known which model to ask"))
    from sagemaker_project.deploy import look, smoke_test
    from sagemaker_project.deploy.endpoint_test import summary
    from sagemaker_project.deploy.evidence import recorded_requests

    target: Target = seen.target
    here = replace(context, target=target)
    try:
        requests = recorded_requests(seen.package, look.samples(context.aws, seen.package))
        one = replace(requests, samples=requests.samples[:1], malformed=())
        new = smoke_test.new_variants(target.config)
        variant = new[0] if len(new) == 1 else None
        result = smoke_test.run(here, one, smoke=True, variant=variant)
    except ProjectError as error:
        return replace(seen, probe=Probe("Inconclusive", str(error)))
    found = summary(result).removeprefix(f"{result['Status']}: ")
    return replace(seen, probe=Probe(result["Status"], found))
