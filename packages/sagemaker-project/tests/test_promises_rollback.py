"""Going back, and leaving alone what is not ours: P22 to P24, P26 to P28, P32, row 45.

Settings are those of the project, without canary and autoscaling where a test needs neither.
"""

import itertools
import random
import re
import shlex
import signal

import pytest
from boundary_helpers import kill, run
from deploy_helpers import BUCKET, Place, artifact, changing, environment, refused, until

PLAIN = {"DeploymentConfig": None, "RetainAllVariantProperties": True}
ONE = [{"VariantName": "All", "InstanceType": "ml.m5.large", "InitialInstanceCount": 2}]
CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
            "WaitIntervalInSeconds": 3600,
        }
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "abalone-prod-model-errors"}]},
}
KEEP = ("EndpointConfigName", "EndpointStatus", "DataCaptureConfig")


def promote(place, arn, *words, stage="staging"):
    return place.logged("promote", "--model-package-arn", arn, *words, stage=stage)


def promoted(place, arn, *words, stage="staging"):
    result, _ = promote(place, arn, *words, stage=stage)
    assert result["ExitCode"] == 0, result
    return arn


def serving(place, stage="staging"):
    """All that an endpoint says of what it serves, but for the times."""
    endpoint = place.endpoint(stage)
    for variant in endpoint["ProductionVariants"]:
        for image in variant["DeployedImages"]:
            del image["ResolutionTime"]
    config = place.sm.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    scaling = place.cloud.client("application-autoscaling")
    targets = scaling.describe_scalable_targets(
        ServiceNamespace="sagemaker",
        ResourceIds=[
            f"endpoint/{place.name}-{stage}/variant/{v['VariantName']}"
            for v in endpoint["ProductionVariants"]
        ],
    )["ScalableTargets"]
    kept = {name: endpoint.get(name) for name in (*KEEP, "ProductionVariants")}
    limits = [(t["ResourceId"], t["MinCapacity"], t["MaxCapacity"]) for t in targets]
    return {**kept, "Config": without_headers(config), "Scaling": sorted(limits)}


def without_headers(answer):
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def rescale(place, stage="staging", variant="All", **members):
    place.sm.update_endpoint_weights_and_capacities(
        EndpointName=f"{place.name}-{stage}",
        DesiredWeightsAndCapacities=[{"VariantName": variant, **members}],
    )
    place.settled(stage)


def counts(place, stage="staging"):
    return [v["CurrentInstanceCount"] for v in place.endpoint(stage)["ProductionVariants"]]


@pytest.fixture(scope="module")
def history_of_three(cloud, deploy_project, tmp_path_factory):
    """A project with versions 1, 2 and 3 promoted to staging one after the other; 4 is approved."""
    folder = tmp_path_factory.mktemp("three")
    three = Place(cloud, deploy_project, environment(cloud), folder)
    three.arns = [three.register(factor) for factor in (2, 3, 4, 5)]
    for arn in three.arns[:3]:
        promoted(three, arn)
    return three


@pytest.fixture
def three(history_of_three, place):
    """The project of three; the test leaves it as it was."""
    before = history_of_three.resources(), history_of_three.entries()
    yield history_of_three
    history_of_three.clear_faults()
    assert (history_of_three.resources(), history_of_three.entries()) == before
    assert history_of_three.answer("1") == [4.0]


# P22: all is as before


@pytest.mark.acceptance
def test_p22_a_rollback_restores_all_that_served_before(place):
    """Version 1 was scaled to five; version 2 kept those, and was then scaled otherwise."""
    place.settings("prod", **PLAIN, ProductionVariants=ONE)
    first, second = place.register(factor=2), place.register(factor=3)
    place.in_prod(first)
    rescale(place, "prod", DesiredInstanceCount=5)
    before = serving(place, "prod")
    assert counts(place, "prod") == [5]
    place.in_prod(second)
    assert counts(place, "prod") == [5] and place.answer("1", "prod") == [3.0]
    rescale(place, "prod", DesiredInstanceCount=3)
    place.settings("prod", DeploymentConfig=CANARY)
    result, calls = place.logged("rollback", stage="prod")
    assert (result["ExitCode"], result["Outcome"]) == (0, "RolledBack"), result
    assert serving(place, "prod") == before
    assert place.answer("1", "prod") == [2.0]
    # At once, whatever the settings say: who rolls back has no time for a canary.
    [update] = [call["request"] for call in calls if call["operation"] == "UpdateEndpoint"]
    assert "DeploymentConfig" not in update and "RetainDeploymentConfig" not in update


def test_p22_instances_that_were_added_since_stay(place):
    """A rollback amid many requests takes no instance away from them."""
    place.settings("staging", **PLAIN, ProductionVariants=ONE)
    first, second = place.register(factor=2), place.register(factor=3)
    promoted(place, first)
    promoted(place, second)
    rescale(place, DesiredInstanceCount=6)
    result, calls = place.logged("rollback")
    assert result["ExitCode"] == 0 and place.answer("1") == [2.0], result
    assert counts(place) == [6]
    assert "UpdateEndpointWeightsAndCapacities" not in {call["operation"] for call in calls}


@pytest.mark.parametrize("end", ["rollback", pytest.param("broken", marks=pytest.mark.acceptance)])
def test_p22_autoscaling_lets_go_of_a_variant_while_its_instances_change(place, end):
    """SageMaker refuses an update to another instance type of a variant that is registered."""
    rule = {"MinCapacity": 2, "MaxCapacity": 6, "TargetValue": 100}
    scaled = [{**ONE[0], "AutoScaling": rule}]
    larger = [{**scaled[0], "InstanceType": "ml.m5.xlarge"}]
    place.settings("staging", ProductionVariants=scaled)
    promoted(place, place.register(factor=2))
    before = serving(place)
    place.settings("staging", ProductionVariants=larger)
    if end == "broken":
        place.register(body=artifact(broken=True))
        result, calls = place.logged("promote", "--latest-approved")
        assert result["ExitCode"] == 1 and "serves again" in result["Message"], result
        assert order(calls) == ["Deregister", "Update", "Update", "Register"]
    else:
        result, calls = place.logged("promote", "--model-package-arn", place.register(factor=3))
        assert result["ExitCode"] == 0 and serving(place)["Scaling"] == before["Scaling"], result
        assert order(calls) == ["Deregister", "Update", "Register"]
        result, calls = place.logged("rollback")
        assert result["ExitCode"] == 0, result
        assert order(calls) == ["Deregister", "Update", "Register"]
    assert serving(place) == before


def order(calls):
    """The calls that update the endpoint or its autoscaling, by the first word of their names."""
    names = (call["operation"] for call in calls)
    kinds = {"DeregisterScalableTarget", "UpdateEndpoint", "RegisterScalableTarget"}
    return [re.match("[A-Z][a-z]+", name)[0] for name in names if name in kinds]


def test_p22_weights_instances_and_scaling_of_every_variant_come_back(place):
    rule = {"MinCapacity": 1, "MaxCapacity": 6, "TargetValue": 100}
    first, second = place.register(factor=2), place.register(factor=3)
    pair = [
        {**ONE[0], "VariantName": "A", "InitialVariantWeight": 3, "AutoScaling": rule},
        {**ONE[0], "VariantName": "B", "InitialVariantWeight": 1, "ModelPackageVersion": 1},
    ]
    place.settings("staging", ProductionVariants=pair)
    promoted(place, first)
    rescale(place, variant="A", DesiredInstanceCount=5, DesiredWeight=0.25)
    rescale(place, variant="B", DesiredInstanceCount=4)
    before = serving(place)
    assert counts(place) == [5, 4]
    narrow = [{**pair[0], "AutoScaling": {**rule, "MaxCapacity": 2}}, pair[1]]
    place.settings("staging", ProductionVariants=narrow)
    refused(*promote(place, second), "the weight of A is 0.25, the ledger says 3")
    promoted(place, second, "--accept-drift")
    assert counts(place) == [2, 2] and serving(place)["Scaling"][0][2] == 2
    assert place.deploy("rollback")["ExitCode"] == 0
    assert serving(place) == before
    # What the rollback restored is no drift.
    assert place.deploy("status")["Drift"] == []
    third = place.register(factor=4)
    promoted(place, third)


def test_p22_a_promotion_of_the_same_with_other_scaling_is_not_a_version_to_go_back_to(place):
    """Autoscaling that was removed by hand is registered again; the rollback still leads to 1."""
    rule = {"MinCapacity": 1, "MaxCapacity": 3, "TargetValue": 100}
    place.settings("staging", ProductionVariants=[{**ONE[0], "AutoScaling": rule}])
    first, second = place.register(factor=2), place.register(factor=3)
    promoted(place, first)
    before = serving(place)
    promoted(place, second)
    place.cloud.client("application-autoscaling").deregister_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=f"endpoint/{place.name}-staging/variant/All",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
    )
    promoted(place, second)
    assert serving(place)["Scaling"] == before["Scaling"]
    result = place.deploy("rollback")
    assert result["ExitCode"] == 0 and place.version() == 1, result
    assert serving(place) == before


# P23: without the registry


REGISTRY = (
    *("DescribeModelPackage", "ListModelPackages", "BatchDescribeModelPackage"),
    *("DescribeModelPackageGroup", "ListModelPackageGroups"),
)


@pytest.mark.parametrize("kind", ["error500", pytest.param("reset", marks=pytest.mark.acceptance)])
def test_p23_a_rollback_needs_neither_the_registry_nor_the_new_version(place, kind):
    first, second = place.register(factor=2), place.register(factor=3)
    promoted(place, first)
    before = serving(place)
    promoted(place, second)
    config = place.sm.describe_endpoint_config(EndpointConfigName=place.live())
    place.sm.delete_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    folder = place.artifact_key(second).rpartition("/")[0]
    for name in ("model.tar.gz", "evaluation/evaluation.json", "evaluation/samples.json"):
        place.s3.delete_object(Bucket=BUCKET, Key=f"{folder}/{name}")
    place.sm.delete_model_package(ModelPackageName=second)
    for operation in REGISTRY:
        place.inject(operation, kind, times=None)
    result, calls = place.logged("rollback")
    assert result["ExitCode"] == 0, result
    assert not set(REGISTRY) & {call["operation"] for call in calls}
    assert serving(place) == before and place.answer("1") == [2.0]


def test_p23_a_rollback_needs_no_settings(place):
    """A slip in the file that a promotion brought along does not hold up the way back."""
    for factor in (2, 3):
        promoted(place, place.register(factor=factor))
    place.settings("staging", InstanceTyp="ml.m5.large")
    for command in ("status", "history", "cleanup", "rollback"):
        result = place.deploy(command)
        assert result["ExitCode"] == 0, result
        assert f"{command} goes on without the settings" in result["stderr"]
        assert 'there is no setting "InstanceTyp"' in result["stderr"]
    assert place.answer("1") == [2.0]
    for words in (("promote", "--latest-approved"), ("plan", "--latest-approved"), ("test",)):
        assert place.deploy(*words)["ExitCode"] == 2


# P24 and row 45: nowhere to go back to


@pytest.mark.acceptance
def test_p24_rollback_of_a_rollback(place):
    for factor in (2, 3):
        promoted(place, place.register(factor=factor))
    assert place.deploy("rollback")["ExitCode"] == 0
    told = f"{place.name}-staging serves version 1: rolled back on 20", "no version before it"
    unchanged(place, *told)
    # Forward again, and back again.
    promoted(place, place.register(factor=4))
    assert place.deploy("rollback")["ExitCode"] == 0
    assert place.version() == 1


def unchanged(place, *parts, words=(), times=2):
    """A rollback changes nothing, however often it is repeated, and says why."""
    before = serving(place), place.entries(), place.resources()
    for _ in range(times):
        result, calls = place.logged("rollback", *words)
        assert (result["ExitCode"], result["Outcome"]) == (0, "Unchanged"), result
        assert all(part in result["Message"] for part in parts), result["Message"]
        assert all(str(call["request"]).endswith("/lock.json") for call in changing(calls))
    assert (serving(place), place.entries(), place.resources()) == before


def test_p24_a_rollback_that_is_repeated_goes_back_once(place):
    """It is typed five times, because a terminal was lost."""
    for factor in (2, 3, 4):
        promoted(place, place.register(factor=factor))
    assert place.deploy("rollback")["Outcome"] == "RolledBack" and place.version() == 2
    further = "deploy-model rollback --stage staging --to 1"
    unchanged(place, "serves version 2: rolled back on 20", further, times=4)
    result = place.deploy("rollback", "--to", "1")
    assert (result["ExitCode"], result["Outcome"]) == (0, "RolledBack"), result
    assert place.version() == 1 and place.answer("1") == [2.0]
    unchanged(place, "serves version 1", words=("--to", "1"))
    unchanged(place, "no version before it is left", times=1)


@pytest.mark.parametrize("killed", ["before it served", "when it served"])
def test_p24_a_rollback_that_ends_an_interrupted_promotion_ends_it_once(place, killed):
    """Version 3 was killed. Where it never served version 2 stays, else 2 is put back."""
    for factor in (2, 3):
        promoted(place, place.register(factor=factor))
    words = ("promote", "--model-package-arn", place.register(factor=4))
    operation = "UpdateEndpoint" if killed == "before it served" else "InvokeEndpoint"
    assert run(place, words, at=operation, act=kill).signal == signal.SIGKILL
    assert place.settled()["EndpointStatus"] == "InService"
    result = place.deploy("rollback", "--reason", "it was the wrong one")
    assert (result["ExitCode"], result["Outcome"]) == (0, "RolledBack"), result
    assert place.version() == 2
    entry = place.entries()[-1]
    given = entry["Reason"] if entry["Kind"] == "RolledBack" else entry["GivenReason"]
    assert given == "it was the wrong one"
    unchanged(place, "serves version 2", "--to 1")


@pytest.mark.acceptance
def test_p24_a_rollback_goes_to_the_version_that_is_named(place):
    """Over two levels, with the weights and counts that version 1 had when 2 followed it."""
    pair = [{**ONE[0], "VariantName": name} for name in ("A", "B")]
    pair[1]["ModelPackageVersion"] = 1
    place.settings("staging", ProductionVariants=pair)
    promoted(place, place.register(factor=2))
    rescale(place, variant="A", DesiredWeight=0.25, DesiredInstanceCount=3)
    before = serving(place)
    second = promoted(place, place.register(factor=3), "--accept-drift")
    rescale(place, variant="A", DesiredWeight=0.75)
    third = promoted(place, place.register(factor=4), "--accept-drift")
    told = "--to 9: it is not a version that staging can be rolled back to; those are: 2, 1"
    refused(*place.logged("rollback", "--to", "9"), told, "rollback --stage staging --to 2")
    unchanged(place, "serves version 3 already", words=("--to", "3"), times=1)
    result = place.deploy("rollback", "--to", "1")
    assert (result["ExitCode"], result["Outcome"]) == (0, "RolledBack"), result
    assert serving(place) == before and place.deploy("status")["Drift"] == []
    for arn in (second, third):
        again = f"promote --stage staging --model-package-arn {arn} --retry"
        refused(*promote(place, arn), "was rolled back on", again)
    unchanged(place, "no version before it is left", times=1)


@pytest.mark.acceptance
def test_p24_an_interrupted_rollback_goes_on_to_where_it_was_to_lead(place):
    for factor in (2, 3, 4):
        promoted(place, place.register(factor=factor))
    ended = run(place, ("rollback", "--to", "1"), at="UpdateEndpoint", act=kill)
    assert ended.signal == signal.SIGKILL
    told = "the rollback to version 1 of 20", "was interrupted: end it with"
    refused(*place.logged("rollback", "--to", "2"), *told)
    assert place.deploy("rollback")["Outcome"] == "RolledBack" and place.version() == 1
    unchanged(place, "serves version 1")


@pytest.mark.acceptance
def test_p24_a_rollback_with_accepted_drift_puts_back_what_a_rollback_led_to(place):
    """Version 2 was put there by hand, after a rollback to version 1."""
    for factor in (2, 3):
        promoted(place, place.register(factor=factor))
    second = place.live()
    assert place.deploy("rollback")["ExitCode"] == 0
    place.sm.update_endpoint(EndpointName=f"{place.name}-staging", EndpointConfigName=second)
    place.settled()
    refused(*place.logged("rollback"), f"{second} serves, the ledger says", "--accept-drift")
    result = place.deploy("rollback", "--accept-drift")
    assert (result["ExitCode"], result["Outcome"]) == (0, "RolledBack"), result
    assert place.version() == 1 and place.deploy("status")["Drift"] == []
    unchanged(place, "serves version 1")


@pytest.mark.parametrize("version", ["0", "-1", "x", "1.5", "", "9999999999"])
def test_p24_what_is_no_version_is_refused(place, version):
    result, calls = place.logged("rollback", f"--to={version}")
    refused(result, calls, "argument --to", code=2)


@pytest.mark.parametrize("stage", ["staging", "prod"])
def test_p24_rollback_of_nothing(place, stage):
    result, calls = place.logged("rollback", stage=stage)
    refused(result, calls, f"nothing has been deployed to {stage}: there is nothing to roll back")


def test_p24_rollback_of_the_first_version(place):
    promoted(place, place.register())
    refused(*place.logged("rollback"), "no version before version 1", "promote another one")


def test_row_45_rollback_to_a_deleted_model(place):
    """Model, artifact and the stage's copy of it: the model alone is created again (P22)."""
    first = promoted(place, place.register(factor=2))
    copy, original = place.copy_key(), place.artifact_key(first)
    place.sm.delete_model(ModelName=place.entries()[0]["Deployment"]["Models"][0])
    promoted(place, place.register(factor=3))
    for key in (copy, original):
        place.s3.delete_object(Bucket=BUCKET, Key=key)
    refused(*place.logged("rollback"), f"{copy} was deleted", original, "has to restore")
    assert place.version() == 2 and place.answer("1") == [3.0]


def test_row_45_rollback_to_what_serves_already(place):
    """Put version 1 back by hand."""
    promoted(place, place.register(factor=2))
    first = place.live()
    promoted(place, place.register(factor=3))
    place.sm.update_endpoint(EndpointName=f"{place.name}-staging", EndpointConfigName=first)
    place.settled()
    refused(*place.logged("rollback"), f"{first} serves, the ledger says", "--accept-drift")
    result, calls = place.logged("rollback", "--accept-drift")
    assert result["ExitCode"] == 0, result
    assert "UpdateEndpoint" not in [call["operation"] for call in calls]
    assert place.deploy("status")["Drift"] == [] and place.answer("1") == [2.0]


# P26, P27: an endpoint that is busy, and one that needs a person


BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
BROKEN = ("Failed", "OutOfService", "UpdateRollbackFailed")
COMMANDS = {
    "promote": ("promote", "--latest-approved"),
    "rollback": ("rollback",),
    "test": ("test",),
    "cleanup": ("cleanup",),
}


def each_once(statuses, commands):
    """Every pair; those beyond one for each status and each command are of the acceptance."""
    statuses, commands = list(statuses), list(commands)
    longest = max(len(statuses), len(commands))
    once = {(statuses[n % len(statuses)], commands[n % len(commands)]) for n in range(longest)}
    return [
        pytest.param(*pair, marks=() if pair in once else pytest.mark.acceptance)
        for pair in itertools.product(statuses, commands)
    ]


def hold(place, status, **members):
    """The endpoint says this of itself for as long as it is asked."""
    members = {"EndpointStatus": status, **members}
    place.inject("DescribeEndpoint", "answer", times=None, members=members)


@pytest.mark.parametrize("status, command", each_once(BUSY, COMMANDS))
def test_p26_a_busy_endpoint_is_left_alone(three, status, command):
    pending = {"EndpointConfigName": "another-config"} if status == "Updating" else None
    hold(three, status, PendingDeploymentSummary=pending)
    result, calls = three.logged(*COMMANDS[command])
    name = f"{three.name}-staging is busy: {status}"
    refused(result, calls, name, "Nothing was changed", code=4)
    assert result["Outcome"] == "Busy"
    assert (" to another-config since " in result["Message"]) == bool(pending)


@pytest.mark.parametrize("status, command", each_once(BROKEN, COMMANDS))
def test_p27_an_endpoint_that_needs_a_person_is_left_to_one(three, status, command):
    hold(three, status, FailureReason="the reason that SageMaker gives")
    result, calls = three.logged(*COMMANDS[command])
    name = f"{three.name}-staging is {status} (the reason that SageMaker gives)"
    refused(result, calls, name, "aws sagemaker ", code=5)
    assert result["Outcome"] == "NeedsHuman"
    status = three.deploy("status")
    assert status["ExitCode"] == (1 if status["Outcome"] == "UpdateRollbackFailed" else 5)
    assert status["Recovery"] in result["Message"]


def test_p26_in_service_the_same_commands_go_through(three):
    """So it was the state that held them back; `plan` stands for what changes something."""
    assert three.deploy("status")["Outcome"] == "InService"
    planned = three.deploy("plan", "--latest-approved")
    assert planned["Outcome"] == "Planned", planned
    assert "Recovery" not in planned and three.deploy("status")["Recovery"] == ""


def typed(place, message):
    """Do what a message tells a person to type, word by word."""
    typed = 0
    for part in re.split(r", then |(?:: |with )(?=aws |deploy-model )", message):
        words = shlex.split(part.strip().rstrip("."))
        if words[:2] == ["aws", "sagemaker"]:
            operation, given = (
                words[2].replace("-", "_"),
                dict(zip(words[3::2], words[4::2], strict=True)),
            )
            assert given.pop("--region") == "us-east-1"
            given.pop("--endpoint-url", None)
            members = {
                "".join(w.title() for w in name.strip("-").split("-")): value
                for name, value in given.items()
            }
            getattr(place.sm, operation)(**members)
            if operation == "delete_endpoint":
                until(lambda: place.live() is None)
            else:
                assert place.settled()["EndpointStatus"] == "InService"
        elif words[:1] == ["deploy-model"]:
            stage = words.index("--stage")
            words = [words[1], *words[2:stage], *words[stage + 2 :]]
            result = place.deploy(*words)
            assert result["ExitCode"] == 0, result
        else:
            continue
        typed += 1
    return typed


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "status",
    ["Failed", *(pytest.param(status, marks=pytest.mark.acceptance) for status in BROKEN[1:])],
)
def test_p27_what_the_message_says_brings_the_endpoint_back(place, status):
    for factor in (2, 3):
        promoted(place, place.register(factor=factor))
    hold(place, status)
    message = place.deploy("promote", "--latest-approved")["Message"]
    place.clear_faults()
    assert typed(place, message) == (2 if status == "Failed" else 1)
    assert place.answer("1") == [3.0]
    promoted(place, place.register(factor=4))
    assert place.deploy("rollback")["ExitCode"] == 0 and place.answer("1") == [3.0]


def test_p27_after_a_first_version_that_could_not_be_created_another_one_says_what_to_type(place):
    """The first promotion was interrupted, so its endpoint is left, Failed, and holds nothing."""
    inference = 'def model_fn(folder):\n    raise RuntimeError("does not load")\n'
    bad = place.register(body=artifact(inference=inference))
    place.inject("DescribeEndpoint", "denied", after=2)  # the two looks before CreateEndpoint
    assert promote(place, bad)[0]["ExitCode"] == 5
    assert place.settled()["EndpointStatus"] == "Failed"
    second = place.register(factor=3)
    result, calls = promote(place, second)
    refused(result, calls, "does not load", "cannot be updated", code=5)
    assert [entry["Kind"] for entry in place.entries()] == ["Started"]
    assert typed(place, result["Message"]) == 2
    assert place.answer("1") == [3.0]
    failed = place.entries()[1]
    assert failed["Kind"] == "Failed" and "does not load" in failed["Reason"]


def test_p27_an_update_whose_rollback_fails_says_what_to_type(place):
    """The endpoint breaks while it is being updated: the ledger keeps the deployment open."""
    promoted(place, place.register(factor=2))
    second = place.register(factor=3)
    place.inject(
        "DescribeEndpoint",
        "answer",
        times=None,
        after=2,  # the two looks before the update
        members={"EndpointStatus": "UpdateRollbackFailed", "FailureReason": "no capacity"},
    )
    result, calls = promote(place, second)
    assert (result["ExitCode"], result["Outcome"]) == (5, "NeedsHuman"), result
    assert "is UpdateRollbackFailed: no capacity" in result["Message"]
    assert "UpdateEndpoint" in [call["operation"] for call in calls]
    assert not [call for call in changing(calls) if call["operation"].startswith("DeleteE")]
    place.clear_faults()
    assert place.entries()[-1]["Kind"] == "Started"
    place.settled()
    assert typed(place, result["Message"]) == 1
    assert place.answer("1") == [2.0]


# P28: what was changed by hand


@pytest.mark.acceptance
def test_p28_another_configuration_by_hand(place):
    promoted(place, place.register(factor=2))
    first = place.live()
    promoted(place, place.register(factor=3))
    second, third = place.live(), place.register(factor=4)
    place.sm.update_endpoint(EndpointName=f"{place.name}-staging", EndpointConfigName=first)
    place.settled()
    told = f"{first} serves, the ledger says {second}"
    for words in (("promote", "--model-package-arn", third), ("rollback",)):
        refused(*place.logged(*words), "was changed outside deploy-model", told, "--accept-drift")
    refused(*place.logged("plan", "--model-package-arn", third), told)
    assert place.deploy("status")["Drift"] == [told]
    promoted(place, third, "--accept-drift")
    assert place.answer("1") == [4.0] and place.deploy("status")["Drift"] == []


def test_p28_weights_by_hand(place):
    pair = [{**ONE[0], "VariantName": name} for name in ("A", "B")]
    pair[1]["ModelPackageVersion"] = 1
    place.settings("staging", ProductionVariants=pair)
    first, second = place.register(factor=2), place.register(factor=3)
    promoted(place, first)
    rescale(place, variant="B", DesiredWeight=0)
    told = "the weight of B is 0, the ledger says 1"
    refused(*promote(place, second), told, "--accept-drift")
    assert place.deploy("status")["Drift"] == [told]
    promoted(place, second, "--accept-drift")


def test_p28_instance_counts_are_no_drift(place):
    """Autoscaling changes them all day."""
    place.settings("staging", ProductionVariants=ONE)
    first, second = place.register(factor=2), place.register(factor=3)
    promoted(place, first)
    rescale(place, DesiredInstanceCount=4)
    promoted(place, second)


@pytest.mark.acceptance
def test_p28_an_endpoint_deleted_by_hand(place):
    """Nothing is left to overwrite: a promotion makes it anew. A rollback has nothing to roll."""
    first, _ = (promoted(place, place.register(factor=factor)) for factor in (2, 3))
    delete_endpoint(place)
    result, calls = place.logged("rollback")
    refused(result, calls, "does not exist (any more)", "make it again with version 2")
    refused(*place.logged("test"), "promote a version first")
    assert place.deploy("status")["Outcome"] == "Absent"
    assert typed(place, result["Message"]) == 1 and place.answer("1") == [3.0]
    delete_endpoint(place)
    promoted(place, first)  # an older one, too, where nothing serves
    delete_endpoint(place)
    promoted(place, place.register(factor=4))
    assert place.answer("1") == [4.0]


def test_p28_an_endpoint_of_prod_deleted_by_hand_is_made_again_with_the_test_it_had(place):
    place.settings("prod", **PLAIN)
    arn = place.in_prod(place.register(factor=2))
    delete_endpoint(place, "prod")
    result, calls = place.logged("rollback", stage="prod")
    refused(result, calls, f"promote --stage prod --model-package-arn {arn}")
    promoted(place, arn, stage="prod")
    assert place.answer("1", "prod") == [2.0]


def delete_endpoint(place, stage="staging"):
    place.sm.delete_endpoint(EndpointName=f"{place.name}-{stage}")
    until(lambda: place.live(stage) is None)


@pytest.mark.acceptance
def test_p28_a_configuration_deleted_by_hand(place):
    """SageMaker cannot update the endpoint then: the configuration is created again first."""
    promoted(place, place.register(factor=2))
    second = promoted(place, place.register(factor=3))
    live, third = place.live(), place.register(factor=4)
    place.sm.delete_endpoint_config(EndpointConfigName=live)
    recovery = place.deploy("status")["Recovery"]
    assert "was deleted" in recovery and f"--model-package-arn {second}" in recovery
    promoted(place, second)
    assert place.deploy("status")["Recovery"] == ""
    assert place.live() == live
    place.sm.delete_endpoint_config(EndpointConfigName=live)
    promoted(place, third)
    place.sm.delete_endpoint_config(EndpointConfigName=place.live())
    assert place.deploy("rollback")["ExitCode"] == 0 and place.version() == 2
    place.sm.delete_endpoint_config(EndpointConfigName=place.live())
    assert place.deploy("rollback", "--to", "1")["ExitCode"] == 0 and place.version() == 1


def test_p28_a_configuration_made_and_deleted_by_hand(place):
    """The ledger does not know how it was made."""
    promoted(place, place.register(factor=2))
    arn, config = promoted(place, place.register(factor=3)), f"{place.name}-by-hand"
    variants = place.sm.describe_endpoint_config(EndpointConfigName=place.live())
    place.sm.create_endpoint_config(
        EndpointConfigName=config, ProductionVariants=variants["ProductionVariants"]
    )
    place.sm.update_endpoint(EndpointName=f"{place.name}-staging", EndpointConfigName=config)
    place.settled()
    place.sm.delete_endpoint_config(EndpointConfigName=config)
    for words in (("promote", "--model-package-arn", arn), ("rollback",)):
        result, calls = place.logged(*words, "--accept-drift")
        refused(result, calls, config, "was deleted", "does not know how it was made", code=5)
    assert typed(place, result["Message"]) == 2 and place.answer("1") == [3.0]


# P32: events that come twice, late and in any order


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.acceptance)])
def test_p32_events_in_any_order_deploy_nothing_twice_and_nothing_older(place, seed):
    """Every approval's event three times, shuffled, as EventBridge may deliver them.

    Row 46 of the bad inputs as well.
    """
    arns = [place.register(factor=factor) for factor in (2, 3, 4)]
    arns.append(place.register(factor=5, approve=False))  # its event says Rejected
    place.approve(arns[3], "Rejected")
    events = arns * 3
    random.Random(seed).shuffle(events)
    served, begun = [0], []
    for arn in events:
        result, calls = promote(place, arn)
        assert result["ExitCode"] in (0, 3), result
        begun += [
            call["request"]["EndpointConfigName"]
            for call in calls
            if call["operation"] in ("CreateEndpoint", "UpdateEndpoint")
        ]
        served.append(place.version() or 0)
    assert served == sorted(served) and served[-1] == 3
    assert len(begun) == len(set(begun))
    if begun[1:]:  # and what a rollback took back stays back, however late its event
        assert place.deploy("rollback")["ExitCode"] == 0
        back = place.version()
        for arn in events:
            result, calls = promote(place, arn)
            untouched = [call for call in changing(calls) if call["service"] == "sagemaker"]
            assert result["ExitCode"] in (0, 3) and untouched == [], result
        assert place.version() == back
