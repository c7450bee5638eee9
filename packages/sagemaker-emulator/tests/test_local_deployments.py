"""Updates of endpoints: how traffic moves, what makes it go back, and what is refused before."""

import collections
import contextlib
import itertools
import json
import threading

import pytest
from botocore.exceptions import ClientError
from endpoint_helpers import (
    BROKEN,
    config,
    describe,
    endpoint,
    invoke,
    model,
    reach,
    settled,
    simple,
    variant,
)
from local_helpers import Cloud, unique, until
from sagemaker_emulator import client as local_client
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.hosting.clock import Clock
from sagemaker_emulator.hosting.container import ServingError
from sagemaker_emulator.hosting.lifecycle import Hosting
from sagemaker_emulator.hosting.traffic import Routes

SPEED = 600  # ten minutes on AWS are a second here


@contextlib.contextmanager
def server(tmp_path_factory, speed):
    state = tmp_path_factory.mktemp("project") / ".sagemaker_local"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_LOCAL_SPEED", str(speed))
        with local_client.attach(state=state) as local:
            cloud = Cloud(local)
            cloud.s3.create_bucket(Bucket="bucket")
            yield cloud


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    with server(tmp_path_factory, SPEED) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A server with AWS's own waits: a bake of an hour lasts until a test ends it."""
    with server(tmp_path_factory, 1) as cloud:
        yield cloud


def blue_green(kind="CANARY", size=50, wait=600, last=0, unit="CAPACITY_PERCENT", **members):
    routing = {"Type": kind, "WaitIntervalInSeconds": wait}
    if kind != "ALL_AT_ONCE":
        member = "CanarySize" if kind == "CANARY" else "LinearStepSize"
        routing[member] = {"Type": unit, "Value": size}
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": last}
    return {"BlueGreenUpdatePolicy": policy | members}


def rolling(size=50, wait=300, unit="CAPACITY_PERCENT", **members):
    batch = {"Type": unit, "Value": size}
    policy = {"MaximumBatchSize": batch, "WaitIntervalInSeconds": wait}
    return {"RollingUpdatePolicy": policy | members}


def alarm(cloud, **members):
    """The name of a new alarm; where nothing else is said, on a metric that has no data."""
    name = unique("alarm")
    cloud.client("cloudwatch").put_metric_alarm(
        **{
            "AlarmName": name,
            "Namespace": "Test",
            "MetricName": "Nothing",
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "ComparisonOperator": "GreaterThanThreshold",
            **members,
        }
    )
    return name


def trip(cloud, name):
    cloud.client("cloudwatch").set_alarm_state(
        AlarmName=name, StateValue="ALARM", StateReason="test"
    )


def watching(*names):
    return {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in names]}}


def update(cloud, name, config_name, policy=None, **members):
    policy = {"DeploymentConfig": policy} if policy else {}
    cloud.sm.update_endpoint(EndpointName=name, EndpointConfigName=config_name, **policy, **members)


def baking(cloud, name, share=None):
    """Wait for a bake; the pending deployment then."""

    def there():
        pending = describe(cloud, name).get("PendingDeploymentSummary")
        if not pending:
            return None
        (shown,) = pending["ProductionVariants"]
        status = shown["VariantStatus"][0]["Status"] if "VariantStatus" in shown else None
        right = share is None or shown["CurrentInstanceCount"] == share
        return pending if status == "Baking" and right else None

    return until(there, seconds=30)


def bakes(cloud, name):
    """(instances of the new variant, status) of each bake of an endpoint, as events tell it."""
    found = []
    for line in (cloud.local.state / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        detail = event["detail"]
        if event["detail-type"] != "SageMaker Endpoint Deployment State Change":
            continue
        if (detail["EndpointName"], detail["EndpointStatus"]) == (name, "UPDATING"):
            (shown,) = detail["PendingDeploymentSummary"]["ProductionVariants"]
            (status,) = shown["VariantStatus"]
            if status["Status"] == "Baking":
                found.append((shown["CurrentInstanceCount"], status))
    return found


@contextlib.contextmanager
def traffic(cloud, name, threads=3):
    """Invoke all the time; the answers in their order, refusals as exceptions."""
    answers, over = [], threading.Event()

    def run():
        runtime = cloud.client("sagemaker-runtime")
        while not over.is_set():
            try:
                answer = runtime.invoke_endpoint(EndpointName=name, Body=b"x")
                answers.append(answer["Body"].read().decode())
            except ClientError as error:
                answers.append(error)

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in running:
            thread.join()


# How traffic moves


@pytest.mark.parametrize(
    "policy",
    [
        None,
        blue_green("ALL_AT_ONCE", last=60),
        blue_green("CANARY", wait=60, last=60),
        blue_green("LINEAR", wait=60),
        rolling(25, wait=60),
    ],
    ids=["default", "all-at-once", "canary", "linear", "rolling"],
)
def test_an_update_loses_no_request(cloud, policy):
    folders = cloud.local.state / "endpoints"
    before = set(folders.glob("*"))
    old, new = simple(cloud, "old", count=4), simple(cloud, "new", count=4)
    name = endpoint(cloud, old)["EndpointName"]
    with traffic(cloud, name) as answers:
        until(lambda: len(answers) > 20)
        update(cloud, name, new, policy)
        found = settled(cloud, name)
        so_far = len(answers)
        until(lambda: len(answers) > so_far + 20)
    assert found["EndpointConfigName"] == new and "FailureReason" not in found
    assert "PendingDeploymentSummary" not in found
    assert found.get("LastDeploymentConfig") == policy
    assert set(answers) == {"old", "new"}
    assert set(answers[so_far + 5 :]) == {"new"}
    until(lambda: len(set(folders.glob("*")) - before) == 1)  # the old fleet is gone


def test_a_canary_takes_its_share_and_is_described(patient):
    cloud = patient
    old, new = simple(cloud, "old", count=4), simple(cloud, "new", count=4)
    name, watched = endpoint(cloud, old)["EndpointName"], alarm(cloud)
    update(cloud, name, new, blue_green(size=25, wait=3600) | watching(watched))
    pending = baking(cloud, name, share=1)
    found = describe(cloud, name)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("Updating", old)
    assert pending["EndpointConfigName"] == new
    (shown,) = pending["ProductionVariants"]
    assert (shown["CurrentInstanceCount"], shown["DesiredInstanceCount"]) == (1, 4)
    assert shown["VariantStatus"][0]["StatusMessage"] == (
        "Baking for 3600 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity"
        " of 1 instance(s)."
    )
    assert shown["DeployedImages"][0]["ResolvedImage"]
    counted = collections.Counter(invoke(cloud, name) for _ in range(40))
    assert counted == {"old": 30, "new": 10}
    trip(cloud, watched)
    assert settled(cloud, name)["EndpointConfigName"] == old
    update(cloud, name, new, blue_green(size=25, wait=0, last=3600))
    baking(cloud, name, share=4)
    assert [count for count, _ in bakes(cloud, name)] == [1, 1, 4]
    assert {invoke(cloud, name) for _ in range(10)} == {"new"}


def test_each_version_in_a_canary_captures_where_its_own_configuration_says(cloud):
    configs = {
        word: simple(cloud, word, count=2, DataCaptureConfig=capture(word)) for word in OLD_AND_NEW
    }
    name, watched = endpoint(cloud, configs["old"])["EndpointName"], alarm(cloud)
    update(cloud, name, configs["new"], blue_green(size=50, wait=3600) | watching(watched))
    baking(cloud, name, share=1)
    sent = collections.Counter(invoke(cloud, name) for _ in range(8))
    trip(cloud, watched)
    settled(cloud, name)
    assert set(sent) == set(OLD_AND_NEW)
    found = until(lambda: (all_there := answers_in_s3(cloud)).total() == 8 and all_there)
    assert found == {(word, word): number for word, number in sent.items()}


OLD_AND_NEW = ("old", "new")


def capture(word):
    return {
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://bucket/apart/{word}",
        "CaptureOptions": [{"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv", "text/plain"]},
    }


def answers_in_s3(cloud):
    """{(folder, answer): how many} of what the two versions captured."""
    listed = cloud.s3.list_objects_v2(Bucket="bucket", Prefix="apart/").get("Contents", [])
    return collections.Counter(
        (item["Key"].split("/")[1], json.loads(line)["captureData"]["endpointOutput"]["data"])
        for item in listed
        for line in cloud.get(item["Key"]).decode().splitlines()
    )


def test_linear_steps_and_their_waits(cloud):
    name = endpoint(cloud, simple(cloud, "old", count=3))["EndpointName"]
    policy = blue_green("LINEAR", 1, 300, unit="INSTANCE_COUNT", last=120)
    update(cloud, name, simple(cloud, "new", count=3), policy)
    found = settled(cloud, name)
    assert found["EndpointStatus"] == "InService"
    steps = bakes(cloud, name)
    assert [count for count, _ in steps] == [1, 2, 3]
    begun = [status["StartTime"] for _, status in steps] + [found["LastModifiedTime"].timestamp()]
    waits = [later - earlier for earlier, later in itertools.pairwise(begun)]
    least = [wait / SPEED - 0.01 for wait in (300, 300, 120)]
    assert all(wait >= shortest for wait, shortest in zip(waits, least, strict=True))


def test_the_last_deployment_configuration_is_used_again_when_asked(cloud):
    name = endpoint(cloud, simple(cloud, count=2))["EndpointName"]
    policy = blue_green(wait=60)
    update(cloud, name, simple(cloud, count=2), policy)
    assert settled(cloud, name)["LastDeploymentConfig"] == policy
    update(cloud, name, simple(cloud, count=2))
    settled(cloud, name)
    assert [count for count, _ in bakes(cloud, name)] == [1, 2, 2]  # a canary, and then none
    update(cloud, name, simple(cloud, count=2), policy)
    settled(cloud, name)
    update(cloud, name, simple(cloud, count=2), RetainDeploymentConfig=True)
    settled(cloud, name)
    assert [count for count, _ in bakes(cloud, name)][-2:] == [1, 2]


def test_a_shadow_and_another_set_of_variants(cloud):
    pair = [variant(model(cloud, a), a, weight=1) for a in ("a", "b")]
    shadowed = config(
        cloud,
        variant(model(cloud, "real"), "real"),
        ShadowProductionVariants=[variant(model(cloud, "shadow"), "shadow", weight=0.5)],
    )
    name = endpoint(cloud, shadowed)["EndpointName"]
    (shadow,) = describe(cloud, name)["ShadowProductionVariants"]
    assert (shadow["VariantName"], shadow["CurrentWeight"]) == ("shadow", 0.5)
    assert {invoke(cloud, name) for _ in range(6)} == {"real"}
    update(cloud, name, config(cloud, *pair))
    found = settled(cloud, name)
    assert {v["VariantName"] for v in found["ProductionVariants"]} == {"a", "b"}
    assert "ShadowProductionVariants" not in found
    assert {invoke(cloud, name) for _ in range(6)} == {"a", "b"}


# What makes it go back


def test_a_model_that_does_not_start_is_rolled_back_silently(cloud):
    old, new = simple(cloud, "old"), simple(cloud, before=BROKEN)
    name = endpoint(cloud, old)["EndpointName"]
    with traffic(cloud, name) as answers:
        update(cloud, name, new)
        found = settled(cloud, name)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old)
    assert "this model is broken" in found["FailureReason"]
    assert "PendingDeploymentSummary" not in found
    assert set(answers) == {"old"}
    update(cloud, name, simple(cloud, "better"))
    assert "FailureReason" not in settled(cloud, name)
    assert invoke(cloud, name) == "better"


@pytest.mark.parametrize(
    "policy",
    [
        blue_green(wait=3600),
        blue_green("LINEAR", wait=3600),
        blue_green("ALL_AT_ONCE", last=3600),
        rolling(wait=3600),
    ],
)
def test_an_alarm_during_the_bake_rolls_back(patient, policy):
    cloud = patient
    old, new = simple(cloud, "old", count=2), simple(cloud, "new", count=2)
    name, tripped = endpoint(cloud, old)["EndpointName"], alarm(cloud)
    update(cloud, name, new, policy | watching(alarm(cloud), tripped))
    baking(cloud, name)
    trip(cloud, tripped)
    found = settled(cloud, name)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old)
    assert tripped in found["FailureReason"]
    assert found["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    assert {invoke(cloud, name) for _ in range(8)} == {"old"}
    lines = (cloud.local.state / "events.jsonl").read_text().splitlines()
    assert any(f"endpoint/{name}" in line and '"ROLLING_BACK"' in line for line in lines)


def test_errors_of_the_new_model_trip_the_alarm_that_watches_them(cloud):
    name = endpoint(cloud, simple(cloud, "old", count=2))["EndpointName"]
    dimensions = [
        {"Name": "EndpointName", "Value": name},
        {"Name": "VariantName", "Value": "AllTraffic"},
    ]
    watched = alarm(
        cloud,
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=dimensions,
        Statistic="Average",
        Threshold=0.1,
        TreatMissingData="notBreaching",
    )
    failing = "def predict_fn(data, model):\n    raise ValueError('wrong')"
    new = config(cloud, variant(model(cloud, "new", after=failing), count=2))
    with traffic(cloud, name) as answers:
        update(cloud, name, new, blue_green(wait=3600) | watching(watched))
        found = settled(cloud, name)
    assert found["EndpointStatus"] == "InService" and watched in found["FailureReason"]
    errors = [answer for answer in answers if answer != "old"]
    assert errors and all(e.response["Error"]["Code"] == "ModelError" for e in errors)
    assert invoke(cloud, name) == "old"


def test_an_update_in_progress_takes_no_other_one(patient):
    cloud = patient
    name = endpoint(cloud, simple(cloud, count=2))["EndpointName"]
    watched = alarm(cloud)
    update(cloud, name, simple(cloud, count=2), blue_green(wait=3600) | watching(watched))
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        cloud.sm.update_endpoint_weights_and_capacities(
            EndpointName=name,
            DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredWeight": 1.0}],
        )
    baking(cloud, name)
    trip(cloud, watched)
    reach(cloud, name, "InService")


# What is refused


@pytest.mark.parametrize(
    "policy, word",
    [
        (blue_green(size=51), "1 to 50 %"),
        (blue_green("LINEAR", 9), "10 to 50 %"),
        (blue_green(size=2, unit="INSTANCE_COUNT"), "2 of the 2 instances"),
        (rolling(4), "5 to 50 %"),
        (rolling(51), "5 to 50 %"),
        (rolling(2, unit="INSTANCE_COUNT"), "2 of the 2 instances"),
        (
            rolling(RollbackMaximumBatchSize={"Type": "CAPACITY_PERCENT", "Value": 101}),
            "RollbackMaximumBatchSize",
        ),
        (blue_green(wait=3601), "less than or equal to 3600"),
        (blue_green(last=3601), "less than or equal to 3600"),
        (blue_green(MaximumExecutionTimeoutInSeconds=599), "greater than or equal to 600"),
        (blue_green(MaximumExecutionTimeoutInSeconds=28801), "less than or equal to 28800"),
        (
            blue_green(wait=600, MaximumExecutionTimeoutInSeconds=600),
            "more than the sum of all waits",
        ),
        (
            blue_green("LINEAR", 10, 900, MaximumExecutionTimeoutInSeconds=8100),
            "more than the sum of all waits",
        ),
        (blue_green() | rolling(), "exclude each other"),
        (blue_green() | watching("nowhere"), 'alarm "nowhere"'),
        (blue_green() | watching(*[f"a{n}" for n in range(11)]), "less than or equal to 10"),
        (
            {
                "BlueGreenUpdatePolicy": {
                    "TrafficRoutingConfiguration": {"Type": "CANARY", "WaitIntervalInSeconds": 0}
                }
            },
            "CANARY has CanarySize",
        ),
    ],
)
def test_a_bad_deployment_configuration_changes_nothing(cloud, served, policy, word):
    name, other = served
    unchecked = cloud.client("sagemaker", parameter_validation=False)
    with pytest.raises(ClientError) as refusal:
        unchecked.update_endpoint(
            EndpointName=name, EndpointConfigName=other, DeploymentConfig=policy
        )
    assert refusal.value.response["Error"]["Code"] == "ValidationException"
    assert word in refusal.value.response["Error"]["Message"]
    assert describe(cloud, name)["EndpointStatus"] == "InService"


@pytest.fixture(scope="module")
def served(cloud):
    return endpoint(cloud, simple(cloud, count=2))["EndpointName"], simple(cloud, count=2)


def test_one_instance_has_no_half(cloud):
    name = endpoint(cloud, simple(cloud))["EndpointName"]
    with pytest.raises(ClientError, match="10 % of the 1 instances .* at least one instance"):
        update(cloud, name, simple(cloud), blue_green(size=10))


def test_other_variants_and_several_of_them(cloud, served):
    name, _ = served
    renamed = config(cloud, variant(model(cloud), "other", count=2))
    with pytest.raises(ClientError, match="keep their names"):
        update(cloud, name, renamed, blue_green())
    pair = config(cloud, *(variant(model(cloud), a, count=2) for a in "ab"))
    two = endpoint(cloud, pair)["EndpointName"]
    with pytest.raises(ClientError, match="one variant only"):
        update(cloud, two, pair, rolling())
    update(cloud, two, pair, blue_green(wait=60))
    assert settled(cloud, two)["EndpointConfigName"] == pair


# With fleets that do as a test says


class FakeFleet:
    """It starts at once, unless its image is one of those in `broken`."""

    def __init__(self, region, endpoint, variant, container, count, lazy, broken):
        self.image, self.count, self.broken = container.image, count, broken
        self.stopped = False

    def start(self, count):
        self.resize(count)

    def resize(self, count):
        if self.image in self.broken:
            raise ServingError(f"{self.image} does not start")
        self.count = count

    def stop(self):
        self.stopped = True


class FakeClock(Clock):
    """A wait is over at once, and then `act` happens."""

    def __init__(self):
        super().__init__(speed=6000)
        self.time, self.act = 1000.0, lambda: None

    def now(self):
        return self.time

    monotonic = now

    def wait(self, event, seconds):
        self.time += seconds
        self.act()
        return event.is_set()


def snapshot(image, name, count=4):
    fields = ("InstanceType", "Serverless", "RoutingConfig", "ModelDataUrl", "Environment")
    shown = {"VariantName": "v", "Weight": 1.0, "Count": count, "Image": image}
    shown |= {"ResolvedImage": image, "ResolutionTime": 0.0} | dict.fromkeys(fields)
    return {"EndpointConfigName": name, "Variants": [shown], "Shadows": []}


@pytest.fixture
def hosting(tmp_path):
    tripped, broken = set(), set()
    hosting = Hosting(
        Store(tmp_path / "state.db"),
        Routes(),
        lambda *arguments: FakeFleet(*arguments, broken),
        announce=lambda *event: None,
        tripped=lambda region, name, since: name in tripped,
        deleted=lambda arn: None,
        clock=FakeClock(),
    )
    hosting.alarms_in_alarm, hosting.broken_images = tripped, broken
    return hosting


ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"


def route_of(hosting):
    return hosting.routes.find("us-east-1", "e").route


def updating(hosting, policy):
    """Update an endpoint in service; the endpoint then, its old fleets, its route."""
    old = snapshot("old", "old")
    document = {"EndpointName": "e", "EndpointArn": ARN, "CreationTime": 0.0, "Tags": []}
    document |= {"EndpointStatus": "Creating", "Next": old}
    hosting.store.insert("Endpoint", ARN, document)
    hosting.work(ARN)
    blue = hosting.serving[ARN]
    new = {"Next": snapshot("new", "new"), "Policy": policy}
    hosting.store.update(ARN, EndpointStatus="Updating", **new)
    hosting.work(ARN)
    return hosting.store.get(ARN), blue, route_of(hosting)


def test_a_deployment_that_takes_too_long_is_rolled_back(hosting):
    def act():
        hosting.clock.time += 600 / 6000

    hosting.clock.act = act  # every wait takes ten minutes longer than it should
    policy = blue_green("LINEAR", 25, 60, last=60, MaximumExecutionTimeoutInSeconds=600)
    found, blue, route = updating(hosting, policy)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "old")
    assert "limit of 600 seconds (MaximumExecutionTimeout" in found["FailureReason"]
    assert route.blue[0].fleet is blue.fleets["v"] and not route.green
    assert not blue.fleets["v"].stopped


def test_an_update_waits_as_long_as_its_policy_says(hosting):
    policy = blue_green("LINEAR", 25, 300, last=120)
    found, _, _ = updating(hosting, policy)
    assert found["EndpointConfigName"] == "new"
    waited = (hosting.clock.time - 1000) * 6000
    assert waited == pytest.approx(3 * 300 + 120)


def test_an_old_fleet_that_cannot_be_brought_back(hosting):
    def act():
        hosting.broken_images.add("old")
        hosting.alarms_in_alarm.add("alarm")

    hosting.clock.act = act
    found, blue, route = updating(hosting, rolling(25, 600) | watching("alarm"))
    assert found["EndpointStatus"] == "UpdateRollbackFailed"
    assert "alarm" in found["FailureReason"] and "old does not start" in found["FailureReason"]
    assert (found["EndpointConfigName"], "Next" in found) == ("old", False)
    assert route.green[0].fleet.image == "new" and route.green_share == 0.25
    # ... and an update that follows leaves nothing of the mix behind.
    mixed = route.green[0].fleet
    hosting.broken_images.clear()
    hosting.alarms_in_alarm.clear()
    hosting.clock.act = lambda: None
    newer = {"Next": snapshot("newer", "newer"), "Policy": None}
    hosting.store.update(ARN, EndpointStatus="Updating", **newer)
    hosting.work(ARN)
    found = hosting.store.get(ARN)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "newer")
    assert mixed.stopped and all(fleet.stopped for fleet in blue.fleets.values())


def test_a_rolling_update_moves_capacity_in_batches_and_back(hosting):
    seen = []

    def act():
        route = route_of(hosting)
        if route.green:
            seen.append((route.green_share, route.blue[0].fleet.count, route.green[0].fleet.count))

    hosting.clock.act = act
    found, blue, route = updating(hosting, rolling(1, 600, unit="INSTANCE_COUNT"))
    assert [step for step, _ in itertools.groupby(seen)] == [
        (0.25, 3, 1),
        (0.5, 2, 2),
        (0.75, 1, 3),
    ]
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "new")
    assert route.blue[0].fleet.count == 4 and not route.green
    assert all(fleet.stopped for fleet in blue.fleets.values())


def test_a_server_that_ends_leaves_the_update_to_the_next_one(hosting):
    hosting.clock.act = hosting.closing.set
    found, _, _ = updating(hosting, blue_green())
    assert found["EndpointStatus"] == "Updating" and found["Next"]["EndpointConfigName"] == "new"


def test_a_bug_of_the_emulator_costs_the_update_only_and_is_told(hosting, capsys):
    hosting.clock.act = lambda: {}["no such key"]
    found, _, _ = updating(hosting, blue_green())
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "old")
    assert "sagemaker_emulator broke" in found["FailureReason"]
