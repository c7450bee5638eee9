"""The commands that `deploy-model status` recommends: each one complete, for one purpose. Pure.

Where no command leads on, `Advice.who` says who must do what. There are five such people: an
approver (nothing approved), the administrator of the account (a permission or a model is missing),
the owner of an alarm (it does not exist) or of an endpoint that is not this project's, and the
author of the model (it fails, and no earlier version is left).
"""

from typing import NamedTuple

from sagemaker_project.deploy.candidate import approval
from sagemaker_project.deploy.drift import differences
from sagemaker_project.deploy.endpoint_rules import conversion
from sagemaker_project.deploy.evidence import STEADY, is_recent
from sagemaker_project.deploy.ledger import Deployment, Ledger
from sagemaker_project.deploy.ledger_look import accept_command
from sagemaker_project.deploy.names import is_uncommitted
from sagemaker_project.deploy.observation import Observation, version_of
from sagemaker_project.deploy.rollback import last_rollback

ADMINISTRATOR = "the administrator of the AWS account"
ALARM_OWNER = "the owner of the alarm"
APPROVER = "an approver"
AUTHOR = "the author of the model"


class Advice(NamedTuple):
    """A command to type, and who must act where a command alone does not lead on."""

    command: str = ""
    who: str = ""


NONE = Advice()
REASON = "as deploy-model status recommends"


def look_again(seen: Observation, *words: str) -> Advice:
    return Advice(seen.target.command("status", *words))


def watch(seen: Observation) -> Advice:
    return look_again(seen, "--watch")


def read_again(seen: Observation, parts: list[str]) -> Advice:
    """Return what helps where something could not be read."""
    for part in parts:
        if seen.unread[part].denied:
            return Advice(who=f"{ADMINISTRATOR} must allow it: {seen.unread[part].reason}")
    return look_again(seen)


def approve(seen: Observation, arn: str) -> Advice:
    """Let an approver look at a version."""
    if not arn:
        return Advice(
            who=f"{APPROVER} must approve a version of {seen.target.group}; there is none"
        )
    return Advice(
        seen.target.registry_command("approve", arn, REASON),
        f"{APPROVER} must look at version {version_of(arn)} first",
    )


def back(seen: Observation, *words: str) -> Advice | None:
    """Roll back to the version before, by name; None where there is none or it was done just now.

    A second rollback in a row goes further back than anybody has decided to.
    """
    below = [d for d in reversed(seen.ledger.stack[:-1]) if not _withdrawn(seen, d)]
    goal = below[0] if below else None
    if goal is None or last_rollback(seen.ledger):
        return None
    resources = goal.get("Resources")
    rule = conversion(seen.endpoint_config, resources["EndpointConfig"] if resources else None)
    if rule and not rule.allowed:  # an endpoint of instances does not become serverless again
        return Advice(promote(seen, goal["ModelPackageArn"], *words))
    version, current = goal["ModelPackageVersion"], seen.ledger.current
    same = current is not None and current["ModelPackageVersion"] == version
    named = () if same else ("--to", str(version))  # with other settings, it has no other name
    return Advice(seen.target.command("rollback", *named, *words))


def _withdrawn(seen: Observation, deployment: Deployment) -> bool:
    return bool(seen.withdrawn(deployment["ModelPackageArn"]))


def onward(seen: Observation, current: Deployment) -> Advice:
    """Let a version that passed its test go to the next stage, unless that took it back before."""
    target, arn = seen.target, current["ModelPackageArn"]
    if is_uncommitted(seen.commit):
        return commit(seen, arn)
    after = seen.after or Ledger()  # its gates look again
    there = after.current
    if there and there["ModelPackageArn"] == arn:
        return NONE
    used = after.uses(arn, current["Approval"]["Time"])
    if used and used["Kind"] != "Promoted":
        how = "was rolled back" if used["Kind"] == "RolledBack" else "failed"
        return Advice(
            who=f"{AUTHOR} must fix version {version_of(arn)}, which {how} in {target.after} on"
            f" {used['Time'][:16]}"
        )
    return Advice(target.command("promote", "--model-package-arn", arn, stage=target.after))


def undo_interrupted(seen: Observation) -> Advice:
    """Roll back an interrupted promotion that serves; without a version before, tell its author."""
    if seen.ledger.current:
        return Advice(seen.target.command("rollback"))
    return back_or_author(seen)


def back_or_author(seen: Observation) -> Advice:
    """Roll back, else let the author of the model find out what is wrong."""
    logs = f"/aws/sagemaker/Endpoints/{seen.target.endpoint}"
    return back(seen) or Advice(who=f"{AUTHOR} must find the reason in the log group {logs}")


def again(seen: Observation) -> Advice:
    """Run the interrupted command again; undo a promotion that its gates would refuse by now."""
    pending = seen.pending
    assert pending is not None  # only an interrupted deployment is run again
    now = bool(pending.get("Now"))
    words = ["--now", "--reason", str(pending.get("Reason"))] if now else []
    arn = pending["Deployment"]["ModelPackageArn"]
    if pending["Action"] == "rollback":
        if seen.endpoint is None:
            return redeploy(seen, arn)
        if differences(seen):
            words.append("--accept-drift")
        return Advice(seen.target.command("rollback", *words))
    settled = seen.status in STEADY and seen.live is not None
    refused = seen.withdrawn(arn) or is_too_old(seen, arn) or (bad_alarms(seen) and not now)
    if settled and seen.ledger.current and refused:
        return Advice(seen.target.command("rollback"))
    if seen.withdrawn(arn):
        return approve(seen, arn)
    return Advice(promote(seen, arn, *words))


def redeploy(seen: Observation, arn: str, *words: str) -> Advice:
    """Bring a version into service that served before, or the one that may serve in its place."""
    deleted = seen.withdrawn(arn) == "deleted"
    if not arn or (deleted and not seen.endpoint):
        return newest(seen, *words)
    if seen.endpoint and {"ModelDataUrl", "ServedUrl"} <= set(seen.artifacts_missing.get(arn, ())):
        return Advice(who=f"{ADMINISTRATOR} must restore the model of version {version_of(arn)}")
    if _may_serve(seen, arn):
        return _promote_tested(seen, arn, *words)
    if found := back(seen, *words) if seen.endpoint else _earlier(seen, arn, *words):
        return found
    return _register_again(arn) if deleted or _is_lost(seen, arn) else approve(seen, arn)


def _earlier(seen: Observation, arn: str, *words: str) -> Advice | None:
    """Promote the last version before that may serve: nothing serves that could be rolled back."""
    below = [deployment["ModelPackageArn"] for deployment in seen.ledger.stack[:-1]]
    left = [one for one in below if one != arn and _may_serve(seen, one)]
    return _promote_tested(seen, left[-1], *words) if left else None


def _promote_tested(seen: Observation, arn: str, *words: str) -> Advice:
    test = seen.before.test(arn) if seen.before else None
    if not seen.target.before or (test and test["Status"] == "Passed"):
        return _promote_or_author(seen, arn, *words)
    return newest(seen, *words)


def _may_serve(seen: Observation, arn: str) -> bool:
    """Whether the gates let a version in: its artifact exists, and its approval stands."""
    return not (_is_lost(seen, arn) or seen.withdrawn(arn) or is_too_old(seen, arn))


def _is_lost(seen: Observation, arn: str) -> bool:
    """Whether the original of the artifact is gone, from which a promotion deploys."""
    return "ModelDataUrl" in seen.artifacts_missing.get(arn, ())


def _register_again(arn: str) -> Advice:
    return Advice(who=f"{AUTHOR} must register version {version_of(arn)} anew: its model is gone")


def newest(seen: Observation, *words: str) -> Advice:
    """Bring the newest version into service: the approved one, or what the stage before tested."""
    if not seen.target.before:
        if seen.endpoint and not seen.approved:  # the registry was not asked
            return Advice(seen.target.command("promote", "--latest-approved", *words))
        if not seen.approved:
            return approve(seen, seen.waiting)
        return _promote_or_author(seen, seen.approved, *words)
    before = seen.before
    if before is None:
        return read_again(seen, ["the stage before"])
    if before.damage:
        return Advice(accept_command(before.target, before.damage, REASON))
    tested = before.ledger.current
    if tested is None:
        if not seen.approved:
            return approve(seen, seen.waiting)
        return Advice(before.target.command("promote", "--latest-approved"))
    arn = tested["ModelPackageArn"]
    test = before.test(arn)
    if test is None or test["Status"] == "Inconclusive":
        if test is None and tested["ConfigHash"] != before.config_hash(arn):
            return Advice(before.target.command("promote", "--model-package-arn", arn))
        return Advice(before.target.command("test"))
    if test["Status"] != "Passed":
        version = version_of(arn)
        report = test["ReportUri"]
        who = f"{AUTHOR} must fix version {version}, whose {before.target.stage} test failed"
        return Advice(who=f"{who} ({report})")
    if seen.withdrawn(arn):
        return approve(seen, arn)
    return _promote_or_author(seen, arn, *words)


def _promote_or_author(seen: Observation, arn: str, *words: str) -> Advice:
    """Try a version, but no third time."""
    failed = [
        entry
        for entry in seen.ledger.entries
        if entry["Kind"] == "Failed" and entry["Deployment"]["ModelPackageArn"] == arn
    ]
    if len(failed) > 1:
        why = failed[-1].get("Reason", "")
        return Advice(who=f"{AUTHOR} must fix version {version_of(arn)}, which failed twice: {why}")
    if _is_lost(seen, arn):
        return _register_again(arn)
    if seen.target.config.last and _is_uncommitted(seen, arn):
        return commit(seen, arn)
    return Advice(promote(seen, arn, *words))


def commit(seen: Observation, arn: str) -> Advice:
    """Let the author commit what a version was made with; the last stage refuses it until then."""
    return Advice(
        who=f"{AUTHOR} must commit the changes that version {version_of(arn)} was made with and"
        " run the pipeline again; promote --accept-uncommitted deploys it all the same"
    )


def _is_uncommitted(seen: Observation, arn: str) -> bool:
    """Whether the stage's gate refuses the commit of a version."""
    metadata = (seen.packages.get(arn) or {}).get("CustomerMetadataProperties", {})
    allowed = seen.target.config.content.get("AllowUncommitted", False)
    accepted = "--accept-uncommitted" in promote(seen, arn).split()
    return is_uncommitted(metadata.get("GitCommit", "")) and not allowed and not accepted


def promote(seen: Observation, arn: str, *words: str) -> str:
    """Return the promotion of a version, with the flags without which it would be refused."""
    flags = ["--model-package-arn", arn, *words]
    if _needs_retry(seen, arn):
        flags.append("--retry")
    if differences(seen) and "--accept-drift" not in flags:
        flags.append("--accept-drift")
    if seen.endpoint and "--now" not in flags and (bad := bad_alarms(seen)):
        flags += ["--now", "--reason", "; ".join(bad)]
    accepted = [
        entry
        for entry in seen.ledger.entries
        if (about := entry.get("Deployment")) and about["ModelPackageArn"] == arn
        if about.get("AcceptedUncommitted")
    ]
    if accepted:
        flags.append("--accept-uncommitted")
    return seen.target.command("promote", *flags)


def _needs_retry(seen: Observation, arn: str) -> bool:
    """Whether the version failed, was rolled back, or is older than what the ledger says serves."""
    current = seen.ledger.current
    if seen.endpoint and current and int(version_of(arn)) < current["ModelPackageVersion"]:
        return True
    package = seen.packages.get(arn)
    if package:
        used = seen.ledger.uses(arn, approval(package)["Time"])
        return used is not None and used["Kind"] != "Promoted"
    entries = [e for e in seen.ledger.entries if e["Kind"] in ("Failed", "RolledBack")]
    left = [e.get("Leaves") or e.get("Deployment") for e in entries]
    return any(about and about["ModelPackageArn"] == arn for about in left)


def is_too_old(seen: Observation, arn: str) -> bool:
    """Whether the approval of a version is older than the settings of the stage allow."""
    package = seen.packages.get(arn)
    return bool(package) and not is_recent(package or {}, seen.target, seen.now)


def bad_alarms(seen: Observation) -> list[str]:
    """Return what keeps the alarms of the settings from guarding a promotion, a line each."""
    if not seen.could_read("alarms"):
        return []
    found = {name: alarm_state(seen, name) for name in seen.target.config.alarms}
    return [f"the alarm {name} {_SAID[state]}" for name, state in found.items() if state != "OK"]


_SAID = {
    "missing": "does not exist",
    "ALARM": "is in ALARM",
    "INSUFFICIENT_DATA": "has no data",
}


def alarm_state(seen: Observation, name: str) -> str:
    """Return the state of an alarm of the settings, "missing" where it does not exist."""
    alarm = seen.alarms.get(name)
    return str(alarm["StateValue"]) if alarm else "missing"
