"""How `deploy-model` gets on with AWS: P7, P9, P12 to P16 and P37.

What a promotion asks of AWS is read from the log of a clean one, so that a call that is added to it
is put to the same tests by itself.
"""

import re
import struct
import threading
import time

import pytest
from botocore.config import Config
from deploy_helpers import BUCKET, INFERENCE, ROLE, Hurried, Place, artifact, changing, lists, until
from sagemaker_emulator import testing as faults

ALARM = {"AlarmName": "abalone-prod-model-errors"}
RULE = {"MinCapacity": 1, "MaxCapacity": 3, "TargetValue": 100}
VARIANT = {"VariantName": "AllTraffic", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
BROKEN = INFERENCE.replace(
    "def model_fn(folder):", "def model_fn(folder):\n    return no_such_name"
)
AT_ONCE = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
        "TerminationWaitInSeconds": 60,
    },
    "AutoRollbackConfiguration": {"Alarms": [ALARM]},
}
EVERYTHING = {  # that leads to a call of its own
    "ProductionVariants": [VARIANT | {"AutoScaling": RULE}],
    "DeploymentConfig": AT_ONCE,
    "RetainAllVariantProperties": True,
}


@pytest.fixture(autouse=True)
def no_backoff(deploy_project, monkeypatch):
    """No time between two attempts; the list of what it would have been."""
    from botocore.retries.standard import ExponentialBackoff

    delays, real = [], ExponentialBackoff.delay_amount

    def delay(self, context):
        delays.append(real(self, context))
        return 0

    monkeypatch.setattr(ExponentialBackoff, "delay_amount", delay)
    monkeypatch.setattr(
        "sagemaker_project.deploy.client.Client.back_off", lambda self, attempt: None
    )
    return delays


@pytest.fixture(scope="module", autouse=True)
def alarm(cloud):
    cloudwatch = cloud.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        **ALARM,
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Statistic="Sum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
    )
    return cloudwatch


def sound(alarm):
    alarm.set_alarm_state(**ALARM, StateValue="OK", StateReason="test")


@pytest.fixture
def busy_place(place, alarm):
    """A place whose staging makes every kind of call."""
    sound(alarm)
    place.settings("staging", **EVERYTHING)
    place.environment.pop("AWS_MAX_ATTEMPTS")
    return place


def promote(place, arn, *words, stage="staging"):
    words = ("--timeout", "60", *words)
    return place.logged("promote", "--model-package-arn", arn, *words, stage=stage)


def operations(calls):
    return [call["operation"] for call in calls]


def kinds(calls):
    """(service, operation) of calls, each once, in their order."""
    return list(dict.fromkeys((call["service"], call["operation"]) for call in calls))


def times(calls, operation):
    return operations(calls).count(operation)


def done(result):
    assert (result["ExitCode"], result["Outcome"]) == (0, "Promoted"), result["Message"]


def one_line(result, code, *parts):
    assert result["ExitCode"] == code, result["Message"]
    assert "\n" not in result["Message"] and "Traceback" not in result["stderr"]
    for part in parts:
        assert part in result["Message"], result["Message"]


BEGUN = "What was begun is in the ledger: run the same command again to go on"
NOTHING = "Nothing that serves was changed: run the same command again"


# P7: a rollback that SageMaker does not report


@pytest.mark.parametrize("reason", ["", None])
def test_p7_an_update_that_sagemaker_rolled_back_is_a_failure(place, reason):
    promote(place, place.register(factor=2))
    before = place.live()
    if reason is None:
        members = {"FailureReason": None}
        place.inject("DescribeEndpoint", "answer", times=None, members=members)
    broken = place.register(body=artifact(factor=3, inference=BROKEN))
    result, calls = promote(place, broken)
    one_line(result, 1, "rolled back", before)
    assert ("gives no reason" in result["Message"]) is (reason is None), result["Message"]
    assert times(calls, "UpdateEndpoint") == 1
    place.clear_faults()
    assert (place.live(), place.endpoint()["EndpointStatus"]) == (before, "InService")
    assert place.answer("4") == [8.0]
    assert place.entries()[-1]["Kind"] == "Failed"


def test_p7_a_rollback_by_alarm_is_a_failure(busy_place, alarm):
    """The alarm goes off while both versions are up; the endpoint is then as if nothing was."""
    place = busy_place
    done(promote(place, place.register(factor=2))[0])
    before, stop = place.live(), threading.Event()
    policy = dict(AT_ONCE["BlueGreenUpdatePolicy"], TerminationWaitInSeconds=3600)
    place.settings("staging", DeploymentConfig=AT_ONCE | {"BlueGreenUpdatePolicy": policy})

    def ring():
        while not stop.wait(0.02):
            if place.endpoint()["EndpointStatus"] == "Updating":
                alarm.set_alarm_state(**ALARM, StateValue="ALARM", StateReason="test")
                return

    thread = threading.Thread(target=ring, daemon=True)
    thread.start()
    result, _ = promote(place, place.register(factor=3))
    stop.set()
    thread.join(10)
    one_line(result, 1, "rolled back", before)
    assert place.live() == before and place.answer("4") == [8.0]


# P9, P13: faults at every call


def strike(place, calls, *faults, **details):
    """From now on each of these calls meets these faults in turn, and then none."""
    for service, operation in kinds(calls):
        often = 1 if "delay" in faults else times(calls, operation) + 3
        for number in range(often):  # what spares a call spares it from all that come after
            for kind in faults:
                place.inject(operation, kind, service=service, after=number, **details)


def struck(calls, kind):
    return {(call["service"], call["operation"]) for call in calls if call["fault"] == kind}


def whole_log(place, clean):
    """Wait until the log has a delayed call of each kind, and return it."""

    def whole():
        calls = faults.calls(place.cloud.local)
        return struck(calls, "delay") >= set(kinds(clean)) and calls

    return until(whole)


def both_promotions(place, *kinds, **details):
    """The calls of a first promotion and of an update, each call struck by these faults."""
    logs = []
    for factor in (2, 3):
        arn = place.register(factor=factor)
        if kinds:
            strike(place, CLEAN[factor], *kinds, **details)
        result, calls = promote(place, arn)
        if "delay" in kinds:
            calls = whole_log(place, CLEAN[factor])
        place.clear_faults()
        done(result)
        assert place.answer("4") == [4.0 * factor]
        logs.append(calls)
    return dict(zip((2, 3), logs, strict=True))


CLEAN = {}  # {factor: calls of its promotion when nothing goes wrong}


@pytest.fixture
def clean(busy_place):
    if not CLEAN:
        again = (busy_place.cloud, busy_place.project, busy_place.environment, busy_place.workdir)
        CLEAN.update(both_promotions(Place(*again)))
    return CLEAN


@pytest.mark.parametrize(
    "kinds_of_fault, details",
    [
        (["error500", "throttle"], {}),
        pytest.param(["error503", "reset"], {}, marks=pytest.mark.acceptance),
        (["lost_response"], {}),
        pytest.param(["truncated_body"], {}, marks=pytest.mark.acceptance),
        pytest.param(["delay"], {"seconds": 1.5}, marks=pytest.mark.acceptance),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_p9_p13_every_call_survives_every_fault(
    busy_place, clean, monkeypatch, kinds_of_fault, details
):
    if "delay" in kinds_of_fault:
        impatient(monkeypatch)
        # An update that is sent again finds the endpoint still busy with the late one.
        busy_place.settings("staging", DeploymentConfig=slow(AT_ONCE))
    logs = both_promotions(busy_place, *kinds_of_fault, **details)
    assert [entry["Kind"] for entry in busy_place.entries()] == ["Started", "Promoted"] * 2
    for factor, calls in logs.items():
        for kind in kinds_of_fault:
            assert struck(calls, kind) == set(kinds(clean[factor]))
        assert_updates_are_looked_at(calls)
    assert len(busy_place.resources()) == 7  # one endpoint; two models, configurations, copies


def slow(policy):
    """The same for an endpoint that stays Updating for three seconds here."""
    return policy | {
        "BlueGreenUpdatePolicy": policy["BlueGreenUpdatePolicy"]
        | {"TerminationWaitInSeconds": 1800}
    }


def impatient(monkeypatch):
    """No answer is waited for as long as a delayed one takes."""

    def hasty(**members):
        return Config(**members | {"read_timeout": 1})

    monkeypatch.setattr("sagemaker_project.deploy.client.Config", hasty)


def assert_updates_are_looked_at(calls):
    """An UpdateEndpoint without an answer is not sent again before the endpoint is read."""
    mine = [call for call in calls if call["operation"] in ("UpdateEndpoint", "DescribeEndpoint")]
    for call, following in zip(mine, mine[1:], strict=False):
        if call["operation"] == "UpdateEndpoint" and call["fault"] != "throttle":
            assert following["operation"] == "DescribeEndpoint"
    answered = [c for c in mine if c["operation"] == "UpdateEndpoint" and c["status"] == 200]
    assert len(answered) <= 1


@pytest.mark.acceptance
def test_p13_a_fault_that_stays_ends_the_command_in_one_line(busy_place, clean):
    """After so many attempts it says which call, and the same command goes on later."""
    arn = busy_place.register()
    for number, (service, operation) in enumerate(kinds(clean[2])):
        kind = ("error500", "reset")[number % 2]
        busy_place.inject(operation, kind, times=None, service=service)
        result, calls = promote(busy_place, arn)
        busy_place.clear_faults()
        hit = [call for call in calls if call["fault"]]
        assert {call["operation"] for call in hit} == {operation}
        if operation == "DeleteObject":  # all is done but to give the lock back
            assert_lock_stays(busy_place, result)
            arn = busy_place.register()
            continue
        if operation == "AddTags":  # the promotion is recorded; what is missing is its tag
            one_line(result, 4, f"{service}:{operation}")
            arn = busy_place.register()
            continue
        called = f"{PREFIXES.get(service, service)}:{operation}"
        one_line(result, 4, called, "run the same command again")
    done(promote(busy_place, arn)[0])


def assert_lock_stays(place, result):
    done(result)
    assert "the lock stays until it expires" in result["stderr"]
    key = f"{place.name}/deploy/staging/lock.json"
    place.s3.delete_object(Bucket=BUCKET, Key=key)


def test_p13_an_update_without_an_answer_is_given_up(busy_place):
    promote(busy_place, busy_place.register(factor=2))
    busy_place.inject("UpdateEndpoint", "error500", times=None)
    result, calls = promote(busy_place, busy_place.register(factor=3))
    one_line(result, 4, "sagemaker:UpdateEndpoint", "run the same command again")
    assert 8 <= times(calls, "UpdateEndpoint") <= 10
    assert_updates_are_looked_at(calls)


def names_of(place, arn):
    """{operation: name of what promote would create by it}."""
    planned = place.deploy("plan", "--model-package-arn", arn)["Calls"]
    return {call["Operation"]: call["Resource"] for call in planned}


def hide(place, operation, what, times, after=0):
    place.inject(
        operation,
        "error",
        times=times,
        after=after,
        code="ValidationException",
        message=f'Could not find {what} "arn:aws:sagemaker:us-east-1:123456789012:x".',
    )


@pytest.mark.acceptance
def test_p9_what_exists_with_equal_content_counts_as_created(busy_place):
    """Made by an earlier run: seen before, or only when AWS says that it exists already."""
    place = busy_place
    promote(place, place.register(factor=2))
    arn = place.register(factor=3)
    place.inject("UpdateEndpoint", "denied")
    assert promote(place, arn)[0]["ExitCode"] == 5
    hide(place, "DescribeModel", "model", times=2)
    result, calls = promote(place, arn, "--retry")
    done(result)
    (made,) = [call for call in calls if call["operation"] == "CreateModel"]
    assert made["status"] == 400 and times(calls, "CreateEndpointConfig") == 0
    assert place.answer("4") == [12.0]


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("what", ["CreateModel", "CreateEndpointConfig"])
def test_p9_what_exists_with_other_content_is_an_error(place, what, seen):
    """Another user makes it before the command reads, or between its read and its call."""
    promote(place, place.register(factor=2))
    before, arn = place.live(), place.register(factor=3)
    name = names_of(place, arn)[what]
    kind = what.removeprefix("Create")
    if kind == "Model":
        role = ROLE.replace("endpoint", "other")
        container = {"ModelPackageName": arn}
        place.sm.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=role)
    else:
        (model,) = [n for n in place.resources() if "-v1-" in n and n != before]
        place.sm.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[VARIANT | {"ModelName": model}]
        )
    if not seen:
        # Two looks at each; the live configuration is looked at before the one to come.
        for after in (0, 0) if kind == "Model" else (1, 2):
            hide(place, f"Describe{kind}", "it", times=1, after=after)
    result, calls = promote(place, arn)
    assert [c["status"] for c in calls if c["operation"] == what] == ([] if seen else [400])
    one_line(result, 5, name, "other content", "elete it")
    assert times(calls, "UpdateEndpoint") == 0 and place.live() == before


@pytest.mark.parametrize("kind", ["Model", "EndpointConfig"])
def test_p9_no_message_says_to_delete_what_serves(place, kind):
    """A person made it by hand, under the name that a promotion gives, and serves it."""
    arn, seen = place.register(), []
    place.gates = (seen.append,)
    config = names_of(place, arn)["CreateEndpointConfig"]
    place.gates, members = (), seen[0].candidate.models[0]
    (pin,) = seen[0].pins
    place.put(pin["ServedUrl"].removeprefix(f"s3://{BUCKET}/"), artifact(factor=2))
    role = ROLE.replace("endpoint", "other") if kind == "Model" else ROLE
    place.sm.create_model(**members | {"ExecutionRoleArn": role})
    model = members["ModelName"]
    config = f"{place.name}-by-hand" if kind == "Model" else config
    variant = VARIANT | {"ModelName": model, "InitialInstanceCount": 2}
    place.sm.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant])
    endpoint = f"{place.name}-staging"
    tags = {"sagemaker:project-name": place.name, "sagemaker:deployment-stage": "staging"}
    place.sm.create_endpoint(
        EndpointName=endpoint,
        EndpointConfigName=config,
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )
    place.settled()
    result, _ = promote(place, arn, "--accept-drift")
    one_line(result, 5, model if kind == "Model" else config, "it serves", "another version")
    assert "elete it" not in result["Message"]
    done(promote(place, place.register(factor=3), "--accept-drift")[0])


def test_p9_p28_a_weight_is_the_same_with_the_digits_that_aws_keeps(place):
    """AWS's weights are 32-bit numbers."""
    place.settings("staging", ProductionVariants=[VARIANT | {"InitialVariantWeight": 0.1}])
    arn = place.register()
    done(promote(place, arn)[0])
    (kept,) = struct.unpack("f", struct.pack("f", 0.1))
    assert kept != 0.1
    for operation, weight in (
        ("DescribeEndpointConfig", "InitialVariantWeight"),
        ("DescribeEndpoint", "DesiredWeight"),
    ):
        answer = place.endpoint()
        if operation == "DescribeEndpointConfig":
            answer = place.sm.describe_endpoint_config(EndpointConfigName=place.live())
        (variant,) = answer["ProductionVariants"]
        plain = {k: v for k, v in variant.items() if not isinstance(v, list)}  # those have times
        members = {"ProductionVariants": [plain | {weight: kept}]}
        place.inject(operation, "answer", times=None, members=members)
        result = place.deploy("promote", "--model-package-arn", arn)
        assert result["Outcome"] == "Unchanged", result
        assert place.deploy("status")["Drift"] == []
        place.clear_faults()


def test_p9_an_endpoint_that_another_user_has_just_created_is_left_alone(place):
    """It appears between the command's last look and its own CreateEndpoint."""
    arn = place.register()
    container = {"ModelPackageName": arn}
    place.sm.create_model(ModelName=place.name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = VARIANT | {"ModelName": place.name}
    place.sm.create_endpoint_config(EndpointConfigName=place.name, ProductionVariants=[variant])
    endpoint = f"{place.name}-staging"
    place.sm.create_endpoint(EndpointName=endpoint, EndpointConfigName=place.name)
    place.settled()
    hide(place, "DescribeEndpoint", "endpoint", times=2)
    result, calls = promote(place, arn)
    one_line(result, 4, endpoint, "has just been created by another", "run again")
    assert times(calls, "CreateEndpoint") == 1 and place.live() == place.name
    result, _ = promote(place, arn)
    one_line(result, 3, endpoint, "was not made by deploy-model")
    assert place.live() == place.name


# P12: throttles


def test_p12_seven_throttles_at_every_call_are_waited_out(busy_place, clean, no_backoff):
    arn = busy_place.register(factor=2)
    for service, operation in kinds(clean[2]):
        busy_place.inject(operation, "throttle", times=7, service=service)
    result, calls = promote(busy_place, arn)
    done(result)
    assert struck(calls, "throttle") == set(kinds(clean[2]))
    # Full jitter: anything from nothing to twice as much each time, up to 20 seconds.
    shares = {delay / min(20, 2 ** (n % 7)) for n, delay in enumerate(no_backoff)}
    assert all(0 <= share <= 1 for share in shares) and len(shares) == len(no_backoff)


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param("GetCallerIdentity", marks=pytest.mark.acceptance),
        pytest.param("PutObject", marks=pytest.mark.acceptance),
        "UpdateEndpoint",
    ],
)
def test_p12_throttles_without_end_end_the_command_cleanly(busy_place, operation):
    service = {"GetCallerIdentity": "sts", "PutObject": "s3"}.get(operation, "sagemaker")
    promote(busy_place, busy_place.register(factor=2))
    before, arn = busy_place.live(), busy_place.register(factor=3)
    busy_place.inject(operation, "throttle", times=400, service=service)
    result, calls = promote(busy_place, arn)
    one_line(result, 4, f"{service}:{operation}", "run the same command again")
    assert (BEGUN if operation == "UpdateEndpoint" else NOTHING) in result["Message"]
    assert 8 <= sum(call["fault"] is not None for call in calls) <= 10
    assert busy_place.live() == before
    busy_place.clear_faults()
    done(promote(busy_place, arn)[0])


def test_p12_the_deadline_holds_however_many_attempts_there_are(busy_place, monkeypatch):
    waits = "botocore.retries.standard.ExponentialBackoff.delay_amount"
    monkeypatch.setattr(waits, lambda self, context: 0.05)
    busy_place.environment["AWS_MAX_ATTEMPTS"] = "100000"
    arn = busy_place.register()
    busy_place.inject("DescribeModelPackage", "throttle", times=None)
    began = time.monotonic()
    result, calls = promote(busy_place, arn, "--timeout", "2")
    one_line(result, 4, "DescribeModelPackage", "did not answer in time", NOTHING)
    # All the attempts would take more than an hour.
    assert 0.9 < time.monotonic() - began < 60 and times(calls, "DescribeModelPackage") > 2


@pytest.mark.acceptance
def test_p12_the_deadline_holds_while_an_endpoint_is_on_its_way(busy_place):
    members = {"EndpointStatus": "Creating"}
    arn = busy_place.register()
    busy_place.inject("DescribeEndpoint", "answer", times=None, after=2, members=members)
    busy_place.clock = Hurried()
    result, _ = promote(busy_place, arn, "--timeout", "300")
    one_line(result, 4, f"{busy_place.name}-staging is still on its way", BEGUN)
    assert 200 < busy_place.clock.waited <= 300
    busy_place.clear_faults()
    busy_place.clock = None
    done(promote(busy_place, arn)[0])


@pytest.mark.parametrize(
    "mode",
    [
        None,
        pytest.param("standard", marks=pytest.mark.acceptance),
        pytest.param("legacy", marks=pytest.mark.acceptance),
    ],
)
def test_p12_retry_mode_and_attempts_are_those_of_the_environment(busy_place, mode):
    busy_place.environment["AWS_MAX_ATTEMPTS"] = "3"
    if mode:
        busy_place.environment["AWS_RETRY_MODE"] = mode
    busy_place.inject("DescribeModelPackage", "throttle", times=2)
    arn = busy_place.register()
    assert busy_place.deploy("plan", "--model-package-arn", arn)["ExitCode"] == 0
    busy_place.inject("DescribeModelPackage", "throttle", times=None)
    result, calls = busy_place.logged("plan", "--model-package-arn", arn)
    one_line(result, 4, "sagemaker:DescribeModelPackage")
    assert times(calls, "DescribeModelPackage") == 3


# P14: what AWS refuses for good

PREFIXES = {"monitoring": "cloudwatch"}  # what IAM calls a service, where it signs otherwise
ACTIONS = {"ListObjectsV2": "ListBucket"}  # what IAM calls an operation, where it is not its name


@pytest.mark.parametrize(
    "begun, undone, left",
    [
        ("the smoke test", "DeleteEndpoint", 4),
        ("CreateEndpoint", "DeleteModel", 2),
        ("CreateModel", "DeleteEndpointConfig", 1),
    ],
)
def test_p10_an_undo_that_is_refused_hides_no_reason_and_forgets_nothing(
    place, begun, undone, left
):
    broken = begun == "the smoke test"
    arn = place.register(body=artifact(broken=broken))
    for operation in {undone, begun} - {"the smoke test"}:
        place.inject(operation, "denied", times=None)
    result, _ = promote(place, arn)
    one_line(result, 5, begun, f"may not sagemaker:{undone}")
    place.clear_faults()
    last = place.entries()[-1]
    assert (last["Kind"], last["Reason"]) == ("Failed", result["Message"])
    assert len(place.resources()) == left
    if broken:
        place.sm.delete_endpoint(EndpointName=f"{place.name}-staging")
    assert place.deploy("cleanup")["ExitCode"] == 0
    assert place.resources() == []


@pytest.mark.parametrize("factor", [pytest.param(2, marks=pytest.mark.acceptance), 3])
def test_p14_what_is_denied_is_asked_once_and_reported_with_action_resource_and_role(
    busy_place, clean, factor
):
    place = busy_place
    if factor == 3:
        promote(place, place.register(factor=2))
    arn = place.register(factor=factor)
    before = kinds(clean[2]) if factor == 3 else []
    for service, operation in kinds(clean[factor]):
        if (service, operation) in before:
            continue
        place.inject(operation, "denied", times=None, service=service)
        result, calls = promote(place, arn, "--retry")
        place.clear_faults()
        action = f"{PREFIXES.get(service, service)}:{ACTIONS.get(operation, operation)}"
        if operation == "DeleteObject":
            assert_lock_stays(place, result)
            assert action in result["stderr"]
            arn = place.register(factor=factor)
            continue
        resource = "" if operation == "GetCallerIdentity" else resource_of(calls, place)
        one_line(result, 5, action, resource, "the role that runs deploy-model")
        if operation != "GetCallerIdentity":
            assert "arn:aws:sts::123456789012:" in result["Message"]
        assert sum(call["fault"] is not None for call in calls) == 1, operation
        if operation == "AddTags":  # the last one of a deployment that is done
            arn = place.register(factor=factor)
    done(promote(place, arn, "--retry")[0])


def resource_of(calls, place):
    """Return the name that the message of a denied call must contain."""
    (denied,) = [call for call in calls if call["fault"]]
    if denied["service"] == "s3":
        return BUCKET
    others = {"DescribeAlarms": ALARM["AlarmName"], "BatchGetImage": "sagemaker-scikit-learn"}
    return others.get(denied["operation"], place.name)


@pytest.mark.acceptance
def test_p14_what_is_not_valid_is_asked_once(busy_place, clean):
    arn = busy_place.register()
    for service, operation in kinds(clean[2]):
        if service != "sagemaker":
            continue
        busy_place.inject(
            operation, "error", times=None, code="ValidationException", message="1 error\ndetected"
        )
        result, calls = promote(busy_place, arn, "--retry")
        busy_place.clear_faults()
        one_line(result, 2, f"sagemaker:{operation}", busy_place.name, "1 error detected")
        assert sum(call["fault"] is not None for call in calls) == 1, operation
    assert promote(busy_place, arn, "--retry")[0]["ExitCode"] == 0


# P15: what was just made is not seen at once


@pytest.mark.parametrize("factor", [2, 3])
def test_p15_what_aws_does_not_see_yet_is_waited_for(busy_place, factor):
    place = busy_place
    if factor == 3:
        promote(place, place.register(factor=2))
    arn = place.register(factor=factor)
    hide(place, "CreateEndpointConfig", "model", times=2)
    for operation in ("CreateEndpoint", "UpdateEndpoint"):
        hide(place, operation, "endpoint configuration", times=2)
    result, calls = promote(place, arn)
    done(result)
    assert times(calls, "CreateEndpointConfig") == 3
    assert times(calls, "UpdateEndpoint" if factor == 3 else "CreateEndpoint") == 3
    assert place.answer("4") == [4.0 * factor]


def test_p15_an_endpoint_that_is_not_seen_yet_is_not_taken_for_deleted(place):
    hide(place, "DescribeEndpoint", "endpoint", times=2, after=2)  # two looks, then it is created
    result, calls = promote(place, place.register())
    done(result)
    hidden = [call for call in calls if call["fault"]]
    assert len(hidden) == 2 and place.answer("1") == [2.0]


def test_p15_an_update_that_is_not_seen_yet_is_not_taken_for_a_rollback(place):
    promote(place, place.register(factor=2))
    before, arn = place.endpoint(), place.register(factor=3)
    stale = {n: before[n] for n in ("EndpointStatus", "EndpointConfigName")}
    stale |= {"PendingDeploymentSummary": None}
    place.inject("DescribeEndpoint", "answer", times=2, after=2, members=stale)
    done(promote(place, arn)[0])
    assert place.answer("1") == [3.0]


def test_p15_what_never_comes_to_be_seen_ends_the_command(place, monkeypatch):
    monkeypatch.undo()  # the back-off that the tests of this file do without
    place.clock = Hurried()
    hide(place, "CreateEndpoint", "endpoint configuration", times=None)
    result, calls = promote(place, place.register(), "--timeout", "600")
    one_line(result, 2, "sagemaker:CreateEndpoint", f"{place.name}-staging")
    assert 60 <= place.clock.waited < 70
    assert 2 < times(calls, "CreateEndpoint") < 99 and place.resources() == []


# P16: lists


def life(place):
    """What the commands say of a stage that lives through all that lists are read for."""
    arns = [place.register(factor=factor) for factor in (2, 3, 4)]
    told = [place.deploy("promote", "--model-package-arn", arns[0])]
    told += [place.deploy("promote", "--latest-approved")]
    told += [place.deploy(command) for command in ("status", "history", "rollback", "cleanup")]
    told += [place.deploy("history")]
    return told


VARYING = ("Time", "By", "Since", "Number", "stderr", "Requests")
VARYING += ("ErrorRate", "P50Milliseconds", "P99Milliseconds")


def shape(value, name):
    """A result without what differs from one project and minute to the next."""
    if isinstance(value, dict):
        return {k: shape(v, name) for k, v in value.items() if k not in VARYING}
    if isinstance(value, list):
        return [shape(item, name) for item in value]
    if not isinstance(value, str):
        return value
    varying = r"[0-9a-f]{10,}|2\d{3}-\d\d-\d\d[T ][0-9:.+]+"
    return re.sub(varying, "", value.replace(name, "NAME"))


@pytest.mark.acceptance
def test_p16_every_list_is_read_to_its_end(busy_place):
    """An item a page, and empty pages between, change nothing at all."""
    again = (busy_place.cloud, busy_place.project, busy_place.environment, busy_place.workdir)
    one, other = Place(*again), Place(*again)
    with lists() as seen:
        paged = life(one)
    whole = life(other)
    for a, b in zip(paged, whole, strict=True):
        assert shape(a, one.name) == shape(b, other.name) and a["ExitCode"] == 0
    assert seen >= {"ListModelPackages", "ListObjectsV2", "DescribeAlarms"}
    assert seen >= {"DescribeScalableTargets", "DescribeScalingPolicies"}


@pytest.mark.parametrize(
    "period",
    [
        pytest.param(1, marks=pytest.mark.acceptance),
        2,
        pytest.param(3, marks=pytest.mark.acceptance),
    ],
)
def test_p16_tokens_that_repeat_are_noticed(busy_place, period):
    promote(busy_place, busy_place.register())
    busy_place.register(factor=3)
    with lists() as seen:
        assert busy_place.deploy("plan", "--latest-approved")["ExitCode"] == 0
    assert len(seen) == 6
    for operation in seen:
        with lists(loop=(operation, period)):
            result = busy_place.deploy("plan", "--latest-approved", "--timeout", "30")
        one_line(result, 4, operation, "the same pages")


# P37: a plan says what is done


def planned(place, arn, *words, stage="staging"):
    result, calls = place.logged("plan", "--model-package-arn", arn, *words, stage=stage)
    assert result["ExitCode"] == 0 and changing(calls) == [], result["Message"]
    return [(call["Service"], call["Operation"], call["Resource"]) for call in result["Calls"]]


def made(calls):
    """Calls that changed something, as a plan tells them: ledger keys without their number."""
    return [(SERVICES.get(c["service"], c["service"]), c["operation"], about(c)) for c in calls]


SERVICES = {"monitoring": "cloudwatch"}
LEDGER = {"PutObject", "AddTags", "DeleteObject"}  # what every change of an endpoint makes


def about(call):
    request = call["request"]
    if call["service"] == "s3":
        key = request.partition("?")[0].removeprefix(f"/{BUCKET}/")
        return re.sub(r"/\d{8}\.json$", "", key)
    if "ResourceArn" in request:
        return request["ResourceArn"].rpartition("/")[2]
    names = ("EndpointName", "EndpointConfigName", "ModelName", "ResourceId")
    return next(request[name] for name in names if name in request)


def plan_and_promote(place, arn, stage="staging"):
    foretold = planned(place, arn, stage=stage)
    result, calls = promote(place, arn, stage=stage)
    assert result["ExitCode"] == 0, result["Message"]
    assert foretold == made(changing(calls))
    return foretold


def test_p37_plan_foretells_every_call_of_a_promotion(busy_place):
    place = busy_place
    first = place.register(factor=2)
    operations = [operation for _, operation, _ in plan_and_promote(place, first)]
    assert operations[0] == "PutObject" and operations[-1] == "DeleteObject"
    assert {"CreateModel", "CreateEndpointConfig", "CreateEndpoint"} < set(operations)
    assert plan_and_promote(place, first) == []
    update = plan_and_promote(place, place.register(factor=3))
    assert "UpdateEndpoint" in [operation for _, operation, _ in update]


@pytest.mark.parametrize(
    "change, made_of",
    [
        ({"KmsKeyId": "alias/other"}, {"CreateEndpointConfig", "UpdateEndpoint"}),
        pytest.param(
            {"EnableNetworkIsolation": True},
            {"CreateModel", "CreateEndpointConfig", "UpdateEndpoint"},
            marks=pytest.mark.acceptance,
        ),
        (
            {"ProductionVariants": [VARIANT | {"AutoScaling": RULE | {"MaxCapacity": 5}}]},
            {"RegisterScalableTarget", "PutScalingPolicy"},
        ),
        pytest.param(
            {"ProductionVariants": [VARIANT | {"InitialInstanceCount": 2}]},
            {"DeregisterScalableTarget", "CreateEndpointConfig", "UpdateEndpoint"},
            marks=pytest.mark.acceptance,
        ),
    ],
)
def test_p37_plan_foretells_a_change_of_the_settings(busy_place, change, made_of):
    arn = busy_place.register()
    promote(busy_place, arn)
    busy_place.settings("staging", **change)
    foretold = plan_and_promote(busy_place, arn)
    assert {operation for _, operation, _ in foretold} == made_of | LEDGER


@pytest.mark.acceptance
def test_p37_plan_foretells_what_a_resumed_promotion_still_does(busy_place):
    """Cut off before each of its calls in turn: what is left is foretold each time."""
    place = busy_place
    promote(place, place.register(factor=2))
    arn = place.register(factor=3)
    whole = planned(place, arn)
    for service, operation, _ in whole[
        3:-3
    ]:  # between the lock with Started and Promoted with unlock
        foretold = planned(place, arn)
        after = 2 if operation == "PutObject" else 0  # the first one copies the artifact
        place.inject(operation, "throttle", times=None, service=service, after=after)
        result, calls = promote(place, arn)
        place.clear_faults()
        one_line(result, 4, operation)
        done_now = [call for call in changing(calls) if not call["fault"]]
        assert done_now[-1]["operation"] == "DeleteObject"
        assert made(done_now[:-1]) == foretold[: len(done_now) - 1]
    assert len(plan_and_promote(place, arn)) < len(whole)
    assert place.answer("4") == [12.0]


@pytest.mark.acceptance
def test_p37_plan_foretells_the_way_to_prod(place, alarm):
    sound(alarm)
    place.settings("prod", DeploymentConfig=AT_ONCE)
    for factor in (2, 3):
        arn = place.staged(place.register(factor=factor))
        plan_and_promote(place, arn, stage="prod")
