"""The end of a deployment, looked at once more; and --now, which moves the traffic all at once.

Staging stands for every stage: it has a canary that an alarm of the test's own guards.
"""

import functools
import signal

import pytest
from boundary_helpers import kill, run
from deploy_helpers import BUCKET, Hurried, artifact, refused, some, until
from on_call_helpers import DOES_NOT_LOAD

ONE = {"VariantName": "All", "InstanceType": "ml.m5.large", "InitialInstanceCount": 2}
WHY = ("--now", "--reason", "prod is down")
RULE = {"MinCapacity": 2, "MaxCapacity": 4, "TargetValue": 100}


def canary(alarm):
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                "WaitIntervalInSeconds": 600,
            }
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm}]},
    }


@pytest.fixture
def alarm(place):
    """An alarm that stays in the state that it is given."""
    name = f"{place.name}-errors"
    cloudwatch(place.cloud).put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Statistic="Sum",
        Period=300,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )
    ring(place, name, "OK")
    return name


@functools.cache
def cloudwatch(cloud):
    """A client that is made before a run is cut, so its calls are not the run's."""
    return cloud.client("cloudwatch")


def ring(place, alarm, state="ALARM"):
    cloudwatch(place.cloud).set_alarm_state(AlarmName=alarm, StateValue=state, StateReason="a test")


def delete(place, alarm):
    cloudwatch(place.cloud).delete_alarms(AlarmNames=[alarm])


@pytest.fixture
def guarded(place, alarm):
    """Version 1 serves; the next one comes by a canary."""
    place.settings("staging", ProductionVariants=[ONE], DeploymentConfig=canary(alarm))
    assert promote(place, place.register(factor=2))["ExitCode"] == 0
    return place


def promote(place, arn, *words, stage="staging"):
    return place.deploy("promote", "--model-package-arn", arn, *words, stage=stage)


def promoted_while(place, arn, operation, act, behind=False):
    """The result of a promotion with something done at its first call of an operation."""

    def act_and_let_it_go_on(_):
        act()

    words = ("promote", "--model-package-arn", arn)
    return run(place, words, at=operation, act=act_and_let_it_go_on, behind=behind).result


def taken_back(place, result, before, *parts):
    assert result["ExitCode"] == 1 and "\n" not in result["Message"], result
    for part in (*parts, f"{before} serves again"):
        assert part in result["Message"], result["Message"]
    assert place.live() == before and place.answer("1") == [2.0]
    last = place.entries()[-1]
    assert last["Kind"] == "Failed" and parts[0] in last["Reason"]


# The last look


@pytest.mark.acceptance
def test_p2_an_approval_that_is_withdrawn_during_the_canary_takes_the_version_back(guarded):
    before, arn = guarded.live(), guarded.register(factor=3)
    reject = lambda: guarded.approve(arn, "Rejected")  # noqa: E731
    result = promoted_while(guarded, arn, "UpdateEndpoint", reject, behind=True)
    taken_back(guarded, result, before, "version 2 was withdrawn meanwhile", "is Rejected")


def test_p2_a_package_that_is_deleted_during_the_canary_is_taken_back(guarded):
    before, arn = guarded.live(), guarded.register(factor=3)
    gone = lambda: guarded.sm.delete_model_package(ModelPackageName=arn)  # noqa: E731
    result = promoted_while(guarded, arn, "InvokeEndpoint", gone)
    taken_back(guarded, result, before, "version 2 was withdrawn meanwhile", "it was deleted")


def test_p2_a_first_version_that_is_withdrawn_leaves_nothing(place):
    arn = place.register()
    reject = lambda: place.approve(arn, "Rejected")  # noqa: E731
    result = promoted_while(place, arn, "CreateEndpoint", reject, behind=True)
    assert result["ExitCode"] == 1 and "is Rejected" in result["Message"], result
    assert place.resources() == []
    assert [entry["Kind"] for entry in place.entries()] == ["Started", "Failed"]


@pytest.mark.parametrize(
    "act, told",
    [(delete, "which guards the deployment, was deleted meanwhile"), (ring, "is in ALARM")],
)
def test_p7_an_alarm_at_the_end_of_the_canary_takes_the_version_back(guarded, alarm, act, told):
    """SageMaker has ended the update: it asks the alarm no more, the last look does."""
    before, arn = guarded.live(), guarded.register(factor=3)
    result = promoted_while(guarded, arn, "InvokeEndpoint", lambda: act(guarded, alarm))
    taken_back(guarded, result, before, f"the alarm {alarm}", told)


@pytest.mark.acceptance
def test_p2_an_approval_that_is_withdrawn_while_the_last_look_waits_takes_the_version_back(place):
    """After the smoke test the endpoint is being changed by hand, for a while."""
    place.settings("staging", ProductionVariants=[ONE])
    assert promote(place, place.register(factor=2))["ExitCode"] == 0
    before, arn, changed = place.live(), place.register(factor=3), []

    class Waits(Hurried):
        def sleep(self, seconds):
            super().sleep(seconds)
            if changed:
                place.approve(arn, "Rejected")

    def change():
        changed.append("by hand")
        members = {"EndpointStatus": "Updating"}
        place.inject("DescribeEndpoint", "answer", times=1, members=members)

    place.clock = Waits()
    result = promoted_while(place, arn, "InvokeEndpoint", change)
    taken_back(place, result, before, "version 2 was withdrawn meanwhile", "is Rejected")


@pytest.mark.acceptance
def test_p25_another_configuration_at_the_end_is_never_recorded_as_promoted(guarded):
    """A stopped process has sent its update late."""
    before, arn = guarded.live(), guarded.register(factor=3)
    guarded.settings("staging", ProductionVariants=[{**ONE, "AutoScaling": RULE}])
    late = lambda: put(guarded, before)  # noqa: E731  # after the smoke test
    result = promoted_while(guarded, arn, "RegisterScalableTarget", late)
    assert (result["ExitCode"], result["Outcome"]) == (5, "NeedsHuman"), result
    assert f"is InService with {before}; this command made" in result["Message"]
    assert guarded.entries()[-1]["Kind"] == "Started"
    assert promote(guarded, arn)["ExitCode"] == 0 and guarded.answer("1") == [3.0]


def test_p25_another_configuration_at_the_end_is_never_recorded_as_rolled_back(place):
    place.settings("staging", ProductionVariants=[{**ONE, "AutoScaling": RULE}])
    assert promote(place, place.register(factor=2))["ExitCode"] == 0
    place.settings("staging", ProductionVariants=[ONE])
    assert promote(place, place.register(factor=3))["ExitCode"] == 0
    second = place.live()
    late = lambda _: put(place, second)  # noqa: E731
    result = run(place, ("rollback",), at="RegisterScalableTarget", act=late).result
    assert (result["ExitCode"], result["Outcome"]) == (5, "NeedsHuman"), result
    assert f"is InService with {second}" in result["Message"]
    assert place.entries()[-1]["Kind"] == "Started"
    assert place.deploy("rollback")["ExitCode"] == 0 and place.answer("1") == [2.0]


def put(place, endpoint_config):
    place.sm.update_endpoint(
        EndpointName=f"{place.name}-staging", EndpointConfigName=endpoint_config
    )
    until(lambda: place.settled()["EndpointConfigName"] == endpoint_config)


def test_p29_a_ledger_that_is_cut_during_the_canary_is_not_written_on(guarded):
    arn = guarded.register(factor=3)
    last = f"{guarded.name}/deploy/staging/ledger/00000003.json"
    cut = lambda: guarded.s3.delete_object(Bucket=BUCKET, Key=last)  # noqa: E731
    result = promoted_while(guarded, arn, "InvokeEndpoint", cut)
    assert (result["ExitCode"], result["Outcome"]) == (5, "NeedsHuman"), result
    assert f"s3://{BUCKET}/{last}: it was deleted while this command ran" in result["Message"]
    assert [entry["Kind"] for entry in guarded.entries()] == ["Started", "Promoted"]


# --now


@pytest.mark.parametrize("act", some({"delete": (delete,), "ring": (ring,)}))
def test_p20_now_asks_no_alarm_and_moves_the_traffic_at_once(guarded, alarm, act):
    act(guarded, alarm)
    arn = guarded.register(factor=3)
    which = ("--model-package-arn", arn)
    way_out = f"deploy-model promote --stage staging --model-package-arn {arn} --now --reason WHY"
    refused(*guarded.logged("promote", *which), alarm, way_out, code=2)
    planned, calls = guarded.logged("plan", *which, *WHY)
    assert planned["Outcome"] == "Planned", planned
    assert any("all at once (--now): no canary" in note for note in planned["Notes"])
    result, calls = guarded.logged("promote", *which, *WHY, "--plan-token", planned["PlanToken"])
    assert (result["ExitCode"], result["Outcome"]) == (0, "Promoted"), result
    (update,) = [call["request"] for call in calls if call["operation"] == "UpdateEndpoint"]
    assert "DeploymentConfig" not in update and "RetainDeploymentConfig" not in update
    operations = [call["operation"] for call in calls]
    assert "DescribeAlarms" not in operations[operations.index("UpdateEndpoint") :]
    for entry in guarded.entries()[-2:]:
        assert (entry["Now"], entry["Reason"]) == (True, "prod is down"), entry


@pytest.mark.acceptance
def test_p20_now_passes_over_no_other_gate(place):
    """Approval, staging test, change by hand, four eyes and lock stand."""
    place.settings("prod", ProductionVariants=[ONE], DeploymentConfig=None)
    first = place.in_prod(place.register(factor=2))
    second = place.register(factor=3, approve=False)
    held = ("promote", "--model-package-arn", second, *WHY)
    refused(*place.logged(*held, stage="prod"), "PendingManualApproval")
    place.approve(second)
    refused(*place.logged(*held, stage="prod"), "was not tested in staging")
    place.staged(second)
    place.settings("prod", Approval={"RequireTwoPeople": True})
    refused(*place.logged(*held, stage="prod"), "Approval.RequireTwoPeople")
    place.settings("prod", Approval=None)
    weights = [{"VariantName": "All", "DesiredWeight": 0.5}]
    place.sm.update_endpoint_weights_and_capacities(
        EndpointName=f"{place.name}-prod", DesiredWeightsAndCapacities=weights
    )
    place.settled("prod")
    refused(*place.logged(*held, stage="prod"), "--accept-drift")
    lock = f"{place.name}/deploy/prod/lock.json"
    ended = run(place, ("rollback",), "prod", at="DescribeEndpoint", act=kill)
    assert ended.signal == signal.SIGKILL
    body = place.s3.get_object(Bucket=BUCKET, Key=lock)["Body"].read()
    place.put(lock, body.replace(b'"Machine": "', b'"Machine": "another '))
    result = place.deploy(*held, "--accept-drift", stage="prod")
    assert result["ExitCode"] == 4 and "is in progress" in result["Message"], result
    place.s3.delete_object(Bucket=BUCKET, Key=lock)
    assert place.version("prod") == 1
    assert place.deploy(*held, "--accept-drift", stage="prod")["ExitCode"] == 0
    refused(*place.logged("promote", "--model-package-arn", first, *WHY, stage="prod"), "is older")


def test_p29_an_entry_keeps_why_it_failed_beside_the_reason_that_was_given(guarded):
    arn = guarded.register(body=artifact(broken=True))
    result = promote(guarded, arn, *WHY)
    assert result["ExitCode"] == 1, result
    last = guarded.entries()[-1]
    assert (last["Kind"], last["Now"], last["GivenReason"]) == ("Failed", True, "prod is down")
    assert "smoke test" in last["Reason"]


@pytest.mark.parametrize("first", some([(), ("--now", "--reason", "staging is down")]))
def test_p29_a_rollback_that_is_gone_on_with_keeps_the_reason_that_is_given(place, first):
    for factor in (2, 3):
        assert promote(place, place.register(factor=factor))["ExitCode"] == 0
    ended = run(place, ("rollback", *first), at="UpdateEndpoint", act=kill)
    assert ended.signal == signal.SIGKILL
    assert place.deploy("rollback", *WHY)["Outcome"] == "RolledBack"
    last = place.entries()[-1]
    given = {"Reason": "staging is down", "GivenReason": WHY[-1]} if first else {"Reason": WHY[-1]}
    assert (last["Kind"], last["Now"]) == ("RolledBack", True)
    assert {name: last[name] for name in last if "Reason" in name} == given


def test_p29_a_rollback_that_ends_a_first_creation_keeps_the_reason_that_is_given(place):
    arn = place.register(body=artifact(inference=DOES_NOT_LOAD))
    words = ("promote", "--model-package-arn", arn)
    assert run(place, words, at="CreateEndpoint", act=kill, behind=True).signal == signal.SIGKILL
    assert place.settled()["EndpointStatus"] == "Failed"
    result = place.deploy("rollback", *WHY)
    assert (result["ExitCode"], result["Outcome"]) == (0, "RolledBack"), result
    last = place.entries()[-1]
    assert (last["Kind"], last["Now"], last["GivenReason"]) == ("Failed", True, WHY[-1])
    assert "does not load" in last["Reason"]


def test_p8_a_promotion_goes_on_as_fast_as_it_began(guarded, alarm):
    arn = guarded.register(factor=3)
    words = ("promote", "--model-package-arn", arn)
    assert run(guarded, (*words, *WHY), at="UpdateEndpoint", act=kill).signal == signal.SIGKILL
    delete(guarded, alarm)
    result, calls = guarded.logged(*words)
    assert (result["ExitCode"], result["Outcome"]) == (0, "Promoted"), result
    (update,) = [call["request"] for call in calls if call["operation"] == "UpdateEndpoint"]
    assert "DeploymentConfig" not in update
    kinds = [(entry["Kind"], entry.get("Now")) for entry in guarded.entries()[-2:]]
    assert kinds == [("Started", True), ("Promoted", True)]


def test_p8_a_promotion_that_was_interrupted_can_go_on_with_now(guarded, alarm):
    """The alarm was deleted in between: without --now there would be no way on."""
    arn = guarded.register(factor=3)
    words = ("promote", "--model-package-arn", arn)
    assert run(guarded, words, at="UpdateEndpoint", act=kill).signal == signal.SIGKILL
    delete(guarded, alarm)
    refused(*guarded.logged(*words), "--now --reason", code=2)
    result = guarded.deploy(*words, *WHY)
    assert (result["ExitCode"], result["Outcome"]) == (0, "Promoted"), result
    kinds = [(entry["Kind"], entry.get("Now")) for entry in guarded.entries()[-3:]]
    assert kinds == [("Started", None), ("Started", True), ("Promoted", True)]


@pytest.mark.parametrize("words", some([WHY, WHY[1:]]))
def test_p29_a_rollback_keeps_the_reason_that_was_given(guarded, words):
    assert promote(guarded, guarded.register(factor=3))["ExitCode"] == 0
    assert guarded.deploy("rollback", *words)["Outcome"] == "RolledBack"
    for entry in guarded.entries()[-2:]:
        assert (entry["Reason"], entry.get("Now", False)) == (words[-1], "--now" in words), entry


WRONG = {
    "no reason": ("rollback", "--now"),
    "no reason to promote": ("promote", "--latest-approved", "--now"),
    "no reason to plan": ("plan", "--latest-approved", "--now"),
    "a reason for nothing": ("promote", "--latest-approved", "--reason", "why not"),
    "blank": ("rollback", "--now", "--reason", "  "),
    "two lines": ("rollback", "--now", "--reason", "one\ntwo"),
    "too long": ("rollback", "--now", "--reason", "x" * 1001),
}


@pytest.mark.parametrize("words", some({k: (v,) for k, v in WRONG.items()}))
def test_p35_a_reason_is_one_line_and_given_with_now(place, words):
    refused(*place.logged(*words), "--reason", code=2)
