"""Gates and plans as tables: pure functions of an Evidence that was never read from AWS."""

from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from evidence_helpers import (
    ANN,
    NOW,
    arn,
    deployed,
    endpoint,
    entries,
    evidence,
    existing,
    metrics,
    package,
    pin,
    request,
    rollback,
    serving,
    state,
    target,
)
from sagemaker_project.deploy import executor, steps
from sagemaker_project.deploy.cleanup import plan_cleanup
from sagemaker_project.deploy.endpoint_gates import CLEANUP_GATES, ROLLBACK_GATES, TEST_GATES
from sagemaker_project.deploy.evidence import Artifact, Document, Staged
from sagemaker_project.deploy.gates import GATES, check
from sagemaker_project.deploy.promotion import plan_promotion, token
from sagemaker_project.deploy.rollback import goal_of, plan_rollback
from sagemaker_project.errors import AwsError, Busy, NeedsHuman, Refused, UsageError

pytestmark = pytest.mark.fast

REPORT = b"{}"
DIGEST = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
ALARMED = {
    "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE"}},
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
}


def entry_of_a_test(version=2, **changes):
    about = {
        "ModelPackageArn": arn(version),
        "ConfigHash": "hash",
        "Status": "Passed",
        "ReportUri": "s3://bucket/report.json",
        "ReportSha256": DIGEST,
        "Pins": [pin(version)],
        "Images": [],
    }
    return about | changes


def staged(report=REPORT, ledger=(), **changes):
    document = Document("s3://bucket/report.json", report)
    return {"staged": Staged(entries(*ledger), "hash", entry_of_a_test(**changes), document)}


def used(kind):
    """A ledger in which the approval of version 2 was used, and how that ended."""
    begun = {"Action": "promote", "Deployment": deployed(2)}
    return {"ledger": entries(("Started", begun), (kind, begun))}


NAME = evidence().candidate.name
MODEL = evidence().candidate.models[0]["ModelName"]
OTHER_METRICS = {"regression_metrics": {"mse": {"value": float("nan")}}}
TWO_PEOPLE = target(Approval={"MaxAgeDays": 30, "RequireTwoPeople": True})
GUARDED = target(DeploymentConfig=ALARMED)
REFUSED = {
    "not approved": (evidence(of=package(ModelApprovalStatus="Rejected")), Refused, "is Rejected"),
    "incomplete": (evidence(of=package(ModelPackageStatus="Failed")), Refused, "status is Failed"),
    "of another group": (
        evidence(of=package(ModelPackageGroupName="other")),
        Refused,
        "of the group other",
    ),
    "no metrics": (evidence(metrics=None), Refused, "has no metrics"),
    "metrics are gone": (evidence(metrics=Document("s3://b/m", None)), Refused, "are gone"),
    "no JSON": (evidence(metrics=Document("s3://b/m", b"{")), Refused, "is not JSON"),
    "no number": (evidence(metrics=metrics(OTHER_METRICS)), Refused, "mse.value is nan"),
    "a huge number": (
        evidence(metrics=metrics({"regression_metrics": {"mse": {"value": 10**400}}})),
        Refused,
        "wanted a finite number",
    ),
    "no metric": (evidence(metrics=metrics({})), Refused, "it has no metric"),
    "a bad model": (
        evidence(artifacts={arn(): Artifact(problem="it holds no model")}),
        Refused,
        "holds no model",
    ),
    "bytes written again": (
        evidence(artifacts={arn(): Artifact(pin(ETag="f"))}),
        Refused,
        "written again",
    ),
    "another model of this name": (
        evidence(models={MODEL: {"ModelName": MODEL}}),
        AwsError,
        "exists with other content",
    ),
    "another model of this name serves": (
        evidence(**serving(2, endpoint_configs={NAME: {"EndpointConfigName": NAME}})),
        AwsError,
        "Leave it, it serves",
    ),
    "an endpoint of another group": (
        replace(
            evidence(of=package(ModelPackageGroupName="other"), **serving(1)),
            target=replace(target(), group="other"),
        ),
        Refused,
        "needs an endpoint of its own",
    ),
    "busy": (evidence(endpoint=endpoint("x", "Updating")), Busy, "is busy: Updating"),
    "failed": (evidence(endpoint=endpoint("x", "Failed")), NeedsHuman, "delete-endpoint"),
    "could not be rolled back": (
        evidence(**serving(1) | {"endpoint": endpoint("x", "UpdateRollbackFailed")}),
        NeedsHuman,
        "update-endpoint --endpoint-name shellfish-prod",
    ),
    "changed by hand": (
        evidence(**serving(1) | {"endpoint": endpoint("by-hand")}),
        Refused,
        "--accept-drift",
    ),
    "its configuration was deleted": (
        evidence(**serving(1) | {"endpoint_config": None}),
        NeedsHuman,
        "was deleted",
    ),
    "an old approval": (evidence(now=NOW + timedelta(days=31)), Refused, "MaxAgeDays"),
    "approved by its author": (
        evidence(where=TWO_PEOPLE, of=package(LastModifiedBy={"IamIdentity": {"Arn": ANN}})),
        Refused,
        "needs the approval of another person",
    ),
    "failed under this approval": (evidence(**used("Failed")), Refused, "failed here"),
    "rolled back under this approval": (
        evidence(
            ledger=entries(
                *[("Promoted", {"Action": "promote", "Deployment": deployed(n)}) for n in (1, 2)],
                ("RolledBack", {"Action": "rollback", "Leaves": deployed(2)}),
            )
        ),
        Refused,
        "was rolled back",
    ),
    "older than what serves": (evidence(1, **serving(2)), Refused, "older than version 2"),
    "no requests": (evidence(samples=Document("s3://b/s", None)), Refused, "no sample requests"),
    "requests that are none": (evidence(samples=Document("s3://b/s", b"[]")), Refused, "s3://b/s"),
    "not tested": (evidence(staged=Staged(entries(), "hash")), Refused, "was not tested"),
    "not tested with these settings": (
        evidence(staged=Staged(entries(("Tested", {"Test": entry_of_a_test()})), "other")),
        Refused,
        "settings as they are now",
    ),
    "failed its test": (evidence(**staged(Status="Failed")), Refused, "is Failed"),
    "its report is gone": (evidence(**staged(report=None)), Refused, "is gone"),
    "its report was changed": (evidence(**staged(report=b"[]")), Refused, "not what the test"),
    "other bytes than were tested": (
        evidence(**staged(Pins=[pin(Sha256="t")])),
        Refused,
        "Sha256 is s",
    ),
    "beside one that was never tested": (evidence(**staged(Pins=[])), Refused, "never passed"),
    "no such alarm": (evidence(where=GUARDED, **serving(1)), UsageError, "errors"),
    "an alarm without data": (
        evidence(
            where=GUARDED,
            **serving(1, alarms={"errors": {"StateValue": "INSUFFICIENT_DATA", "Period": 0}}),
        ),
        Refused,
        "no data to judge by",
    ),
}


@pytest.mark.parametrize("found, error, message", REFUSED.values(), ids=REFUSED)
def test_a_gate_refuses(found, error, message):
    with pytest.raises(error, match=message) as refusal:
        check(GATES, found)
    assert type(refusal.value) is error and "\n" not in str(refusal.value)


ALLOWED = {
    "a first version": evidence(),
    "the next version": evidence(**serving(1)),
    "what was tested": evidence(**staged()),
    "drift that is accepted": evidence(
        request=request(accept_drift=True), **serving(1) | {"endpoint": endpoint("by-hand")}
    ),
    "a retry": evidence(request=request(retry=True), **used("Failed")),
    "an older version, on purpose": evidence(1, request=request(retry=True), **serving(2)),
    "what serves already, whatever its age": evidence(
        now=NOW + timedelta(days=99), **serving(2), **existing(2)
    ),
    "two people": evidence(where=TWO_PEOPLE),
}


@pytest.mark.parametrize("found", ALLOWED.values(), ids=ALLOWED)
def test_no_gate_refuses(found):
    check(GATES, found)


def test_every_gate_has_a_case():
    """Each of GATES refuses at least one row of the table that all gates before it let pass."""
    refusing = set()
    for found, *_ in REFUSED.values():
        for gate in GATES:
            try:
                gate(found)
            except (Refused, AwsError, NeedsHuman, UsageError):
                refusing.add(gate.__name__)
                break
    assert refusing == {gate.__name__ for gate in GATES}


# Plans


def kinds(plan):
    """The steps of a plan in short: calls by their operation, entries by their kind."""
    short = []
    for step in plan.steps:
        if isinstance(step, steps.RecordEntry):
            short.append(step.kind)
        elif isinstance(step, steps.SendCall | steps.DeleteUnused):
            short.append(step.call.operation)
        else:
            short.append(type(step).__name__)
    return short


def interrupted(version=2, of=(1,), **changes):
    """A promotion of `version` was killed after its Started entry."""
    about = serving(of[-1], of[:-1])
    begun = {"Action": "promote", "Deployment": deployed(version, deployed(of[-1]))}
    ledger = entries(*[(e["Kind"], e) for e in about["ledger"].entries], ("Started", begun))
    return about | {"ledger": ledger} | changes


NEW = ["CreateModel", "CreateEndpointConfig", "CheckApproval"]
PROMOTIONS = {
    "a first version": (
        evidence(),
        ["Started", *NEW, "CreateEndpoint", "WaitForEndpoint", "SmokeTest", "Promoted"],
    ),
    "the next version": (
        evidence(**serving(1)),
        ["Started", *NEW, "UpdateEndpoint", "WaitForEndpoint", "SmokeTest", "Promoted"],
    ),
    "what serves already": (evidence(**serving(2), **existing(2)), []),
    "one that was killed before its first call": (
        evidence(**interrupted()),
        [*NEW, "UpdateEndpoint", "WaitForEndpoint", "SmokeTest", "Promoted"],
    ),
    "one that was killed while the endpoint changed": (
        evidence(**interrupted(endpoint=endpoint("x", "Updating")), **existing(2)),
        ["WaitForEndpoint", "SmokeTest", "Promoted"],
    ),
    "one that was killed while it served": (
        evidence(**interrupted(endpoint=endpoint(NAME)), **existing(2)),
        ["SmokeTest", "Promoted"],
    ),
    "one that SageMaker rolled back unseen": (
        evidence(
            **interrupted(
                endpoint=endpoint(
                    evidence(1).candidate.name,
                    LastModifiedTime=NOW + timedelta(seconds=1),
                    FailureReason="errors is in ALARM",
                )
            ),
            **existing(2),
        ),
        ["CheckOutcome", "Failed"],
    ),
    "another version after one that was killed": (
        evidence(3, **interrupted()),
        ["Failed", "Started", *NEW, "UpdateEndpoint", "WaitForEndpoint", "SmokeTest", "Promoted"],
    ),
    "a variant that begins to scale": (
        evidence(
            where=target(
                ProductionVariants=[
                    {
                        "VariantName": "All",
                        "InstanceType": "ml.m5.large",
                        "InitialInstanceCount": 1,
                        "AutoScaling": {"MinCapacity": 1, "MaxCapacity": 2, "TargetValue": 9},
                    }
                ]
            ),
            **serving(2),
            **existing(2),
        ),
        ["Started", "SmokeTest", "RegisterScalableTarget", "PutScalingPolicy", "Promoted"],
    ),
}


@pytest.mark.parametrize("found, wanted", PROMOTIONS.values(), ids=PROMOTIONS)
def test_a_promotion_has_these_steps(found, wanted):
    assert kinds(plan_promotion(found)) == wanted


def back(**about):
    found = rollback(**about)
    goal = goal_of(found)
    config = evidence(goal["ModelPackageVersion"]).candidate.endpoint_config if goal else None
    return replace(found, goal=goal, goal_config=config)


def rolling_back(**changes):
    """A rollback from version 2 to version 1 was killed."""
    about = serving(2, (1,))
    first = deployed(1)
    begun = {"Action": "rollback", "Deployment": first, "Leaves": deployed(2, first)}
    ledger = entries(*[(e["Kind"], e) for e in about["ledger"].entries], ("Started", begun))
    return about | {"ledger": ledger} | changes


RESTORED = ["WaitForEndpoint", "RestoreVariants", "RolledBack"]
ROLLBACKS = {
    "from the second to the first": (
        back(**serving(2, (1,))),
        ["Started", "UpdateEndpoint", *RESTORED],
    ),
    "one that was killed before its update": (
        back(**rolling_back()),
        ["UpdateEndpoint", *RESTORED],
    ),
    "one that was killed after its update": (
        back(**rolling_back(endpoint=endpoint("x", "Updating"))),
        RESTORED,
    ),
    "one that was killed when all but its entry was done": (
        back(**rolling_back(endpoint=endpoint(evidence(1).candidate.name))),
        ["RestoreVariants", "RolledBack"],
    ),
    "after a promotion that was killed before it served": (back(**interrupted()), ["Failed"]),
    "after a promotion that was killed when it served": (
        back(**interrupted(endpoint=endpoint(NAME))),
        ["Promoted", "Started", "UpdateEndpoint", *RESTORED],
    ),
}


@pytest.mark.parametrize("found, wanted", ROLLBACKS.values(), ids=ROLLBACKS)
def test_a_rollback_has_these_steps(found, wanted):
    check(ROLLBACK_GATES, found)
    assert kinds(plan_rollback(found)) == wanted


NO_ROLLBACK = {
    "nothing was deployed": (back(), "nothing has been deployed"),
    "no version before": (back(**serving(1)), "no version before version 1"),
    "no endpoint": (back(**serving(2, (1,), endpoint=None)), "does not exist"),
    "deleted": (replace(back(**serving(2, (1,))), missing=("m",)), "m was deleted"),
}


@pytest.mark.parametrize("found, message", NO_ROLLBACK.values(), ids=NO_ROLLBACK)
def test_a_rollback_is_refused(found, message):
    with pytest.raises(Refused, match=message):
        check(ROLLBACK_GATES, found)


def test_a_cleanup_keeps_what_serves_and_what_a_rollback_needs():
    plan = plan_cleanup(state(**serving(3, (1, 2))))
    assert kinds(plan) == ["DeleteEndpointConfig", "DeleteModel", "CleanedUp"]
    first = deployed(1)
    assert [step.call.resource for step in plan.steps[:2]] == [
        first["EndpointConfigName"],
        *first["Models"],
    ]
    assert plan_cleanup(state(**serving(2, (1,)))).steps == ()


@pytest.mark.parametrize("gates", [CLEANUP_GATES, TEST_GATES])
def test_clean_up_and_test_leave_a_busy_endpoint_alone(gates):
    with pytest.raises(Busy, match="is busy"):
        check(gates, state(**serving(1) | {"endpoint": endpoint("x", "Updating")}))


def test_a_test_counts_for_what_the_ledger_says_serves():
    with pytest.raises(Refused, match="the ledger says"):
        check(TEST_GATES, state(**serving(1) | {"endpoint": endpoint("by-hand")}))


# Steps


def test_every_kind_of_step_has_a_handler():
    assert set(executor.HANDLERS) == set(get_args(steps.Step))


def test_a_step_of_an_unknown_kind_raises():
    doing = executor.Executor.__new__(executor.Executor)
    with pytest.raises(TypeError, match="no handler for this step"):
        doing.do_step(object())


def test_a_token_changes_with_the_plan_and_with_what_it_was_made_from():
    first, second = evidence(**serving(1)), evidence(**interrupted())
    tokens = {token(plan_promotion(found), found) for found in (first, second, evidence())}
    assert len(tokens) == 3
    assert token(plan_promotion(first), first) == token(plan_promotion(first), first)
