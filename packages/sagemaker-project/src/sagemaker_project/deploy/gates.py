"""The checks that a version must pass before it is deployed: GATES, in the order of asking.

A gate is a pure function of the evidence: it raises one of the errors in sagemaker_project.errors,
mostly Refused, or returns. It reads nothing, so every gate can be tested with a made-up Evidence. A
project passes gates of its own to `main`; they are asked after these. To add a gate here: a
function, and its place in GATES. A gate may rely on those before it, and so may the plan.

Those about the endpoint are in endpoint_gates.py, with what the other commands ask.
"""

import functools
import json
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from sagemaker_project.deploy import endpoint_test
from sagemaker_project.deploy.candidate import identity, principal
from sagemaker_project.deploy.creation import altered_copies
from sagemaker_project.deploy.endpoint_gates import (
    endpoint_is_not_busy,
    endpoint_is_of_this_group,
    endpoint_is_ours,
    endpoint_may_become_the_candidate,
    endpoint_needs_no_person,
    endpoint_was_not_changed_by_hand,
    live_config_exists,
)
from sagemaker_project.deploy.evidence import (
    Evidence,
    State,
    is_recent,
    not_deployable_because,
    recorded_requests,
)
from sagemaker_project.deploy.matching import matches
from sagemaker_project.deploy.promotion import (
    commit_of,
    guardrail_problems,
    is_accepted,
    plan_promotion,
    sends_update,
    uncommitted_packages,
)
from sagemaker_project.deploy.rollback import versions_below
from sagemaker_project.errors import AwsError, Refused, UsageError

PINNED = ("ModelDataUrl", "VersionId", "ETag", "Sha256", "Image", "ImageDigest")
# What SageMaker's Model Quality format has beside metrics: tables and curves, without a value.
TABLES = {
    *("confusion_matrix", "receiver_operating_characteristic_curve", "precision_recall_curve")
}
AT_ONCE = ("--now", "--reason", "WHY")  # of a command to type
AnyState = TypeVar("AnyState", bound=State)
Gate = Callable[[Evidence], None]


def check(gates: Iterable[Callable[[AnyState], None]], state: AnyState) -> None:
    """Ask each gate in turn.

    Raises:
        ProjectError: that of the first gate that refuses, mostly Refused.
    """
    for gate in gates:
        gate(state)


def if_it_deploys(gate: Gate) -> Gate:
    """Ask a gate only where the version does not serve already and is still to be tried."""

    @functools.wraps(gate)
    def asked(evidence: Evidence) -> None:
        if plan_promotion(evidence).deploys:
            gate(evidence)

    return asked


# The packages


def packages_may_be_deployed(evidence: Evidence) -> None:
    """Only what is approved, complete and of this project's group is deployed."""
    for package in evidence.candidate.packages.values():
        if reason := not_deployable_because(package, evidence.target):
            raise Refused(reason)


def metrics_are_numbers(evidence: Evidence) -> None:
    """There is a metric at least, and every one is a finite number."""
    arn, metrics = evidence.candidate.arn, evidence.metrics
    if metrics is None:
        raise Refused(f"{arn} has no metrics: nothing says that it is good")
    if metrics.body is None:
        raise Refused(f"{arn}: its metrics {metrics.uri} are gone")
    try:
        content = json.loads(metrics.body)
    except RecursionError:
        raise Refused(f"{metrics.uri} is nested too deeply") from None
    except ValueError as error:
        raise Refused(f"{metrics.uri} is not JSON: {error}") from None
    found = 0
    for group, members in content.items() if isinstance(content, dict) else ():
        if not group.endswith("_metrics") or not isinstance(members, dict):
            continue
        for name, metric in members.items():
            if name in TABLES:
                continue
            value = metric.get("value") if isinstance(metric, dict) else None
            if not _is_finite(value):
                raise Refused(
                    f"{metrics.uri}: {group}.{name}.value is {value!r}, wanted a finite number"
                )
            found += 1
    if not found:
        raise Refused(f"{metrics.uri}: it has no metric such as regression_metrics.mse.value")


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def artifacts_are_what_was_registered(evidence: Evidence) -> None:
    """Each model is whole, and its bytes are those that were registered."""
    for arn, package in evidence.candidate.packages.items():
        artifact = evidence.artifacts[arn]
        if artifact.problem:
            raise Refused(f"{arn}: {artifact.problem}")
        registered = package["InferenceSpecification"]["Containers"][0].get("ModelDataETag")
        if registered and registered.strip('"') != artifact.pin["ETag"]:
            raise Refused(
                f"{arn}: {artifact.pin['ModelDataUrl']} was written again after it was registered"
                f" (ETag {artifact.pin['ETag']}, registered {registered}): register the model anew"
            )


def names_have_this_content(evidence: Evidence) -> None:
    """What exists under a candidate's names is what the candidate would create."""
    candidate = evidence.candidate
    wanted = {m["ModelName"]: m for m in candidate.models}
    wanted[candidate.name] = candidate.endpoint_config
    live = evidence.endpoint_config or {"ProductionVariants": []}
    serving = {evidence.live, *(v["ModelName"] for v in live["ProductionVariants"])}
    for name, found in {**evidence.models, **evidence.endpoint_configs}.items():
        if not matches(wanted[name], found):
            way_out = "Delete it, then run again"
            if name in serving:
                way_out = "Leave it, it serves: promote another version, which gets other names"
            raise AwsError(
                f"{name} exists with other content than this project gives that name: it was"
                f" changed or made by hand. {way_out}"
            )


def copies_have_these_bytes(evidence: Evidence) -> None:
    """The stage's copies of the artifacts, where they exist, hold the bytes that were checked."""
    for altered in altered_copies(evidence.target, evidence.pins, evidence.copies):
        raise Refused(altered)


# The endpoint: the rest is in endpoint_gates.py


def live_config_exists_or_is_made(evidence: Evidence) -> None:
    """Making a configuration again that was deleted is the way out."""
    if evidence.live != evidence.candidate.name:
        live_config_exists(evidence)


# The approval


def approval_is_recent(evidence: Evidence) -> None:
    """An approval counts for Approval.MaxAgeDays of the stage's settings."""
    package = evidence.candidate.package
    rules = evidence.target.config.approval
    if not is_recent(package, evidence.target, evidence.now):
        approved = package.get("LastModifiedTime") or package["CreationTime"]
        raise Refused(
            f"{evidence.candidate.arn}: approved {approved:%Y-%m-%d}, longer ago than the"
            f" {rules['MaxAgeDays']} days of Approval.MaxAgeDays: look at it again and approve it"
            " anew"
        )


def two_people_agree(evidence: Evidence) -> None:
    """With Approval.RequireTwoPeople, the approver is not the one who made the package."""
    if not evidence.target.config.content.get("Approval", {}).get("RequireTwoPeople"):
        return
    author = identity(evidence.candidate.package.get("CreatedBy"))
    approver = evidence.candidate.approval["By"]
    if approver != "unknown" and principal(approver) != principal(author):
        return
    who = "made it and approved it"
    if approver == "unknown":
        who = "made it, and who approved it is unknown"
    elif approver != author:
        who = f"made it and {approver} approved it, which may be the same person"
    raise Refused(
        f"{evidence.candidate.arn}: {author} {who};"
        f" {evidence.target.stage} needs the approval of another person (Approval.RequireTwoPeople)"
    )


def approval_was_not_used(evidence: Evidence) -> None:
    """An approval deploys once: a late or repeated event neither repeats nor undoes anything."""
    candidate = evidence.candidate
    used = evidence.ledger.uses(candidate.arn, candidate.approval["Time"])
    if used and used["Kind"] != "Promoted" and not evidence.request.retry:
        how = "was rolled back" if used["Kind"] == "RolledBack" else "failed here"
        # What served then may not serve now.
        reason = str(used.get("Reason", "")).replace(", which serves:", ":", 1)
        why = f" ({reason})" if reason else ""
        anew = evidence.target.registry_command("approve", candidate.arn, "another reason")
        raise Refused(
            f"version {candidate.version} {how} on {used['Time'][:16]}{why}: approve it anew, for"
            f" another reason than before ({anew}), or deploy it under the same approval:"
            f" {_promote(evidence, '--retry')}"
        )


def version_is_not_older(evidence: Evidence) -> None:
    """A version that is older than what serves needs --retry."""
    current, version = evidence.ledger.current, evidence.candidate.version
    if not current or not evidence.endpoint or evidence.request.retry:
        return
    if version < current["ModelPackageVersion"]:
        back = ""
        if version in versions_below(evidence.ledger):
            back = f"go back with {evidence.target.command('rollback', '--to', str(version))}, or "
        raise Refused(
            f"version {version} is older than version {current['ModelPackageVersion']}, which"
            f" serves: {back}deploy it all the same: {_promote(evidence, '--retry')}"
        )


# The code


def commit_is_clean(evidence: Evidence) -> None:
    """The last stage gets only what a commit holds; an unknown commit is shown, not refused."""
    config, resumed = evidence.target.config, evidence.resumed
    accepted = resumed and resumed["Deployment"].get("AcceptedUncommitted")
    if not config.last or accepted or is_accepted(evidence):
        return
    dirty = uncommitted_packages(evidence)
    if dirty:
        raise Refused(
            f"{dirty[0]}: its pipeline ran with changes that no commit has"
            f" ({commit_of(evidence.candidate.packages[dirty[0]])}): commit them and run the"
            " pipeline again, or pass --accept-uncommitted, which is recorded"
        )


# The tests


def samples_are_readable(evidence: Evidence) -> None:
    """A version that cannot be tested is refused before it serves."""
    recorded_requests(evidence.candidate.package, evidence.samples)


def stage_before_tested_it(evidence: Evidence) -> None:
    """A stage gets what the stage before tested: this package, these settings, these bytes."""
    staged, target, version = evidence.staged, evidence.target, evidence.candidate.version
    if staged is None:
        return
    if staged.test is None:
        tests = [entry["Test"] for entry in staged.ledger.entries if entry["Kind"] == "Tested"]
        earlier = any(test["ModelPackageArn"] == evidence.candidate.arn for test in tests)
        why = f" with the {target.before} settings as they are now" if earlier else ""
        raise Refused(
            f"version {version} was not tested in {target.before}{why}: run {_test_again(evidence)}"
        )
    if staged.test["Status"] != "Passed":
        raise Refused(
            f"the last {target.before} test of version {version} is {staged.test['Status']}"
            f" ({staged.test['ReportUri']}): fix it, then run {_test_again(evidence)}"
        )
    body = staged.report.body if staged.report else None
    if body is None or endpoint_test.digest(body) != staged.test["ReportSha256"]:
        state = "gone" if body is None else "not what the test wrote"
        raise Refused(
            f"the {target.before} report {staged.test['ReportUri']} is {state}: test again with"
            f" {_test_again(evidence)}"
        )


def bytes_are_what_was_tested(evidence: Evidence) -> None:
    """Models and images are, byte for byte, those that the stage before tested."""
    staged, target = evidence.staged, evidence.target
    if staged is None or staged.test is None:
        return
    tested = {pin["ModelPackageArn"]: pin for pin in staged.test["Pins"]}
    for pin in evidence.pins:
        arn = pin["ModelPackageArn"]
        passed = tested.get(arn) or staged.ledger.tested_pin(arn)
        if passed is None:
            raise Refused(
                f"{arn}, which serves beside version {evidence.candidate.version} in"
                f" {target.stage}, never passed a test in {target.before}"
            )
        for name in PINNED:
            if pin.get(name) != passed.get(name):
                raise Refused(
                    f"{arn}: {name} is {pin.get(name)}, the {target.before} test ran with"
                    f" {passed.get(name)}: the bytes have changed since. Find out who changed them;"
                    f" to go on with the new ones, run {_test_again(evidence)}"
                )


def _test_again(evidence: Evidence) -> str:
    """Return the commands that deploy the version to the stage before, and test it there."""
    target, staged = evidence.target, evidence.staged
    current = staged.ledger.current if staged else None
    older = current and evidence.candidate.version < current["ModelPackageVersion"]
    again = _promote(evidence, *(["--retry"] if older else []), stage=target.before)
    return f"{again}, then {target.command('test', stage=target.before)}"


def _promote(evidence: Evidence, *words: str, stage: str | None = None) -> str:
    """Return the command that promotes the candidate."""
    which = ("--model-package-arn", evidence.candidate.arn)
    given = [] if stage else _given(evidence, words)
    return evidence.target.command("promote", *which, *words, *given, stage=stage)


def _given(evidence: Evidence, words: tuple[str, ...]) -> list[str]:
    """Return the flags of this command that the next one needs as well."""
    request = evidence.request
    flags = {
        "--retry": request.retry,
        "--accept-drift": request.accept_drift,
        "--accept-uncommitted": request.accept_uncommitted,
    }
    given = [flag for flag, wanted in flags.items() if wanted and flag not in words]
    return given + (["--now", "--reason", request.reason] if request.now else [])


# The alarms


def alarms_can_guard_the_deployment(evidence: Evidence) -> None:
    """Alarms exist, are quiet, and look soon enough; there is a fleet to shift traffic from."""
    if evidence.endpoint is None:
        return  # a first deployment has no canary; the plan's notes say what will be needed
    if evidence.at_once:
        return  # --now is the way out where an alarm cannot be repaired in time
    if not sends_update(evidence):
        return  # the traffic moves already or has moved; the last look asks the alarms
    now = f"; in an emergency deploy without alarms: {_promote(evidence, *AT_ONCE)}"
    problems = guardrail_problems(evidence)
    for problem in sorted(problems, key=lambda problem: problem.kind == "inconclusive"):
        if problem.kind == "inconclusive":
            raise Refused(problem.message + now)
        raise UsageError(problem.message + now)


GATES: tuple[Gate, ...] = (
    packages_may_be_deployed,
    metrics_are_numbers,
    artifacts_are_what_was_registered,
    names_have_this_content,
    endpoint_is_ours,
    copies_have_these_bytes,
    endpoint_is_of_this_group,
    endpoint_is_not_busy,
    endpoint_needs_no_person,
    endpoint_was_not_changed_by_hand,
    live_config_exists_or_is_made,
    *map(
        if_it_deploys,
        (
            approval_is_recent,
            two_people_agree,
            approval_was_not_used,
            commit_is_clean,
            version_is_not_older,
            samples_are_readable,
            stage_before_tested_it,
            bytes_are_what_was_tested,
            endpoint_may_become_the_candidate,
            alarms_can_guard_the_deployment,
        ),
    ),
)
