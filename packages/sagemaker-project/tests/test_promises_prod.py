"""What stands between a version and prod: P17 to P21, and rows 41 and 42 of the bad inputs.

Nearly all tests are about a project with version 1 in prod and version 2 tested in staging, and
leave it as it was: what is refused changes nothing.
"""

import hashlib
import json
import re

import pytest
from boundary_helpers import together
from deploy_helpers import BUCKET, Place, artifact, environment, refused, until

ALARMS = ("abalone-prod-model-errors", "abalone-prod-latency")
AT_ONCE = {"DeploymentConfig": None, "RetainAllVariantProperties": None}
QUICK = {"Requests": 8, "MaxP50Milliseconds": 10_000, "MaxP99Milliseconds": 20_000}

# A model whose behaviour a file chooses; it answers well until the file is changed.
MOODY = """
import json, os, time

class Response:
    status_code, headers = 400, {{"Content-Type": "application/json"}}
    def get_data(self):
        return b'{{"error": "no number"}}'

def mood():
    return open({file!r}).read()

def model_fn(folder):
    if mood() == "does not load":
        raise RuntimeError("this model does not load")
    return None

def input_fn(body, content_type):
    try:
        return [float(line) for line in body.split()]
    except ValueError:
        if mood() == "fails at a mistake":
            raise
        return Response()

def predict_fn(rows, model):
    if mood() == "fails":
        raise RuntimeError("this model is broken")
    if mood() == "slow":
        time.sleep(0.3)
    return rows

def output_fn(rows, accept):
    if isinstance(rows, Response):
        return rows
    found = {{
        "wrong": [row + 1 for row in rows],
        "NaN": [float("nan")] * len(rows),
        "text": ["junk"] * len(rows),
        "one too many": [*rows, 1.0],
    }}.get(mood(), rows)
    text = "junk" if mood() == "junk" else json.dumps({{"predictions": found}})
    return text, "text/html" if mood() == "page" else "application/json"
"""


def promote(place, arn, *words, stage="prod"):
    return place.logged("promote", "--model-package-arn", arn, *words, stage=stage)


def put_alarm(place, name, period=60, periods=1, **members):
    cloudwatch = place.cloud.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Statistic="Sum",
        Period=period,
        EvaluationPeriods=periods,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        **{"TreatMissingData": "notBreaching"} | members,
    )
    return cloudwatch


def set_alarm(place, name, state):
    """Put an alarm in a state in which it stays, whatever is evaluated meanwhile."""
    cloudwatch = put_alarm(place, name, period=300, TreatMissingData="ignore")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")


@pytest.fixture(scope="module")
def house(cloud, deploy_project, tmp_path_factory):
    """A project with version 1 in prod, version 2 promoted to staging and tested there."""
    house = Place(cloud, deploy_project, environment(cloud), tmp_path_factory.mktemp("house"))
    files = [deploy_project / f"deploy/{stage}-config.json" for stage in ("staging", "prod")]
    before = [path.read_text() for path in files]
    for name in ALARMS:
        put_alarm(house, name)
    house.first = house.in_prod(house.register(factor=2))
    house.second = house.staged(house.register(factor=3))
    for path, text in zip(files, before, strict=True):
        path.write_text(text)
    return house


@pytest.fixture
def gate(house, place):
    """The house; settings, faults and alarms are as before when the test has ended."""
    yield house
    for name in ALARMS:
        put_alarm(house, name)
    assert house.version("prod") == 1


# P17: the staging test


def staging_tests(place):
    """(package ARN, key of its report) of the tests of staging, in their order."""
    return [
        (
            entry["Test"]["ModelPackageArn"],
            entry["Test"]["ReportUri"].removeprefix(f"s3://{BUCKET}/"),
        )
        for entry in place.entries()
        if entry["Kind"] == "Tested"
    ]


@pytest.fixture
def report(gate):
    """The key of the report on version 2, which is put back after the test."""
    key = next(key for arn, key in staging_tests(gate) if arn == gate.second)
    body = gate.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    yield key
    gate.put(key, body)


def test_p17_a_version_that_was_never_tested_stays_out_of_prod(gate):
    third = gate.register(factor=4)
    refused(*promote(gate, third), "version 3 was not tested in staging")


def test_p17_the_report_must_be_there(gate, report):
    gate.s3.delete_object(Bucket=BUCKET, Key=report)
    refused(*promote(gate, gate.second), f"s3://{BUCKET}/{report} is gone")


def test_p17_the_report_must_be_what_the_test_wrote(gate, report):
    content = json.loads(gate.s3.get_object(Bucket=BUCKET, Key=report)["Body"].read())
    assert content["ModelPackageArn"] == gate.second
    gate.put(report, json.dumps(content | {"Invocations": 1_000_000}))
    refused(*promote(gate, gate.second), "is not what the test wrote")


def test_p17_the_report_of_another_version_does_not_count(gate, report):
    other = next(key for arn, key in staging_tests(gate) if arn == gate.first)
    gate.put(report, gate.s3.get_object(Bucket=BUCKET, Key=other)["Body"].read())
    refused(*promote(gate, gate.second), "is not what the test wrote")


@pytest.mark.parametrize(
    "change",
    [
        {"DataCaptureConfig": None},
        {"EnableNetworkIsolation": True},
        {"ProductionVariants": [{"VariantName": "AllTraffic", "InstanceType": "ml.m5.xlarge",
                                 "InitialInstanceCount": 1}]},
    ],
)  # fmt: skip
def test_p17_a_report_with_other_staging_settings_is_stale(gate, change):
    gate.settings("staging", **change)
    refused(
        *promote(gate, gate.second), "not tested in staging with the staging settings as they are"
    )


@pytest.mark.acceptance
def test_p17_the_last_test_counts(place):
    """A version that has passed and then failed is one that fails."""
    place.settings("prod", **AT_ONCE)
    place.settings("staging", EndpointTest=QUICK)
    mood = place.workdir / "mood"
    mood.write_text("well")
    arn = place.staged(
        place.register(factor=1, body=artifact(inference=MOODY.format(file=str(mood))))
    )
    mood.write_text("wrong")
    assert place.deploy("test")["ExitCode"] == 1
    refused(*promote(place, arn), "the last staging test of version 1 is Failed", "/report.json")
    place.put(
        staging_tests(place)[1][1],
        place.s3.get_object(Bucket=BUCKET, Key=staging_tests(place)[0][1])["Body"].read(),
    )
    refused(*promote(place, arn), "the last staging test of version 1 is Failed")
    mood.write_text("well")
    assert place.deploy("test")["ExitCode"] == 0
    result, calls = promote(place, arn)
    assert result["ExitCode"] == 0 and place.version("prod") == 1, result


def test_p17_the_role_of_each_stage_is_no_setting(gate):
    """Prod runs under a role of its own; what staging tested is the same package and settings."""
    result = gate.deploy(
        *("plan", "--model-package-arn", gate.second),
        *("--model-execution-role", "arn:aws:iam::123456789012:role/prod"),
        stage="prod",
    )
    assert result["Outcome"] == "Planned", result


def test_p17_a_version_beside_the_new_one_passed_a_test_of_its_own(gate):
    """Version 1 serves a part of prod only: its test in staging is older than that of version 2."""
    variant = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 2}
    pair = [
        {"VariantName": "New", **variant},
        {"VariantName": "Old", **variant, "ModelPackageVersion": 1},
    ]
    gate.settings("prod", **AT_ONCE, ProductionVariants=pair)
    words = ("plan", "--model-package-arn", gate.second)
    result = gate.deploy(*words, stage="prod")
    assert result["Outcome"] == "Planned", result
    untested = gate.register(factor=4).rpartition("/")[2]
    pair[1]["ModelPackageVersion"] = int(untested)
    gate.settings("prod", ProductionVariants=pair)
    refused(*promote(gate, gate.second), f"/{untested}, which serves beside version 2", "never")
    gate.sm.delete_model_package(ModelPackageName=f"{gate.first.rpartition('/')[0]}/{untested}")


# P18: the test really invokes


@pytest.fixture(scope="module")
def moody(cloud, deploy_project, tmp_path_factory):
    """A model in staging that does as the file `mood` says."""
    folder = tmp_path_factory.mktemp("moody")
    moody = Place(cloud, deploy_project, environment(cloud), folder)
    moody.mood = folder / "mood"
    moody.mood.write_text("well")
    body = artifact(inference=MOODY.format(file=str(moody.mood)))
    moody.arn = moody.register(factor=1, body=body)
    assert moody.deploy("promote", "--model-package-arn", moody.arn)["ExitCode"] == 0
    return moody


@pytest.mark.parametrize(
    "mood, check",
    [
        ("fails", "Samples answered: 0 of 2"),
        ("junk", "Form"),
        ("page", "Content type"),
        ("text", "Form"),
        ("wrong", "Values"),
        ("NaN", "Finite predictions"),
        ("one too many", "Number of predictions"),
        ("slow", "Latency p50"),
        ("fails at a mistake", "Refuses text: 500"),
    ],
)
def test_p18_a_test_fails_whatever_the_model_does_wrong(moody, place, mood, check):
    slow = {"Requests": 4, "MaxP50Milliseconds": 250}
    place.settings("staging", EndpointTest=slow if mood == "slow" else QUICK)
    moody.mood.write_text(mood)
    result = moody.deploy("test")
    assert (result["ExitCode"], result["Outcome"]) == (1, "Failed"), result
    assert check in result["Message"], result["Message"]
    moody.mood.write_text("well")
    place.settings("prod", **AT_ONCE)
    refused(*promote(moody, moody.arn), "the last staging test of version 1 is Failed")


def test_p18_a_failed_test_shows_where_its_report_is(moody, place, capsys):
    place.settings("staging", EndpointTest=QUICK)
    moody.mood.write_text("wrong")
    with moody.entered():
        code = moody.main([word for word in moody.arguments("test") if word != "--json"])
    moody.mood.write_text("well")
    said = capsys.readouterr().out
    path = moody.workdir / re.search(r"^Report +(.+)$", said, re.MULTILINE)[1]
    assert code == 1 and "Values" in said
    assert "Failed" in path.read_text() and path.with_suffix(".json").exists()


@pytest.mark.acceptance
def test_p17_two_tests_at_once_keep_both_reports(moody, place):
    """The first to upload its report takes its time, and the other one is the first to be done."""
    place.settings("staging", EndpointTest=QUICK)
    before = len(staging_tests(moody))
    moody.inject("PutObject", "delay", service="s3", seconds=0.8)
    results = together(moody, [("test",), ("test",)], seconds=30)
    moody.clear_faults()
    assert [result["ExitCode"] for result in results] == [0, 0], results
    for message in [message for result in results for message in result["Busy"]]:
        assert "another command has written to the ledger" in message
    tests = [entry["Test"] for entry in moody.entries() if entry["Kind"] == "Tested"][before:]
    assert {test["ReportUri"] for test in tests} == {result["ReportUri"] for result in results}
    for test in tests:
        key = test["ReportUri"].removeprefix(f"s3://{BUCKET}/")
        body = moody.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert hashlib.sha256(body).hexdigest() == test["ReportSha256"]


def test_p18_a_test_sends_all_that_it_says(moody, place):
    place.settings("staging", EndpointTest=QUICK)
    invocations = moody.deploy("test", "--export-test-results", moody.workdir / "report.json")
    assert (invocations["ExitCode"], invocations["Outcome"]) == (0, "Passed"), invocations
    report = json.loads((moody.workdir / "report.json").read_text())
    assert report["Invocations"] == 2 + QUICK["Requests"]
    assert {"Values", "Error rate", "Latency p50", "Latency p99", "Refuses text"} <= {
        check["Name"] for check in report["Checks"]
    }
    assert report["ModelPackageArn"] == moody.arn
    assert report["ConfigHash"] == moody.entries()[0]["Deployment"]["ConfigHash"]


def samples_key(place, arn):
    return place.artifact_key(arn).replace("model.tar.gz", "evaluation/samples.json")


@pytest.mark.parametrize("content", [{"samples": [], "malformed": []}, None, b"{"])
def test_p18_p19_no_invocation_is_no_success(moody, place, content):
    key = samples_key(moody, moody.arn)
    before = moody.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    if content is None:
        moody.s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        moody.put(key, content if isinstance(content, bytes) else json.dumps(content))
    result = moody.deploy("test")
    moody.put(key, before)
    assert result["ExitCode"] == 3, result
    assert result["Outcome"] == ("Inconclusive" if isinstance(content, dict) else "Refused")
    if isinstance(content, dict):
        place.settings("prod", **AT_ONCE)
        refused(*promote(moody, moody.arn), "the last staging test of version 1 is Inconclusive")


# P19: too little to judge by


METRICS = {
    "no file": None,
    "no JSON": b"{",
    "no metric": {"regression_metrics": {}},
    "nothing": {},
    "a list": [1],
    "elsewhere": {"metrics": {"regression_metrics": {"mse": {"value": 1.0}}}},
    "no value": {"regression_metrics": {"mse": {}}},
    "NaN": b'{"regression_metrics": {"mse": {"value": NaN}}}',
    "infinity": b'{"regression_metrics": {"mse": {"value": 1e400}}}',
    "text": {"regression_metrics": {"mse": {"value": "4.5"}}},
    "null": {"regression_metrics": {"mse": {"value": None}}},
    "true": {"regression_metrics": {"mse": {"value": True}}},
    "one of two": {"regression_metrics": {"mse": {"value": 1.0}, "mae": {"value": None}}},
}


@pytest.mark.parametrize("case", METRICS)
@pytest.mark.parametrize("stage", [pytest.param("staging", marks=pytest.mark.acceptance), "prod"])
def test_p19_metrics_that_say_nothing_promote_nothing(gate, case, stage):
    key = samples_key(gate, gate.second).replace("samples", "evaluation")
    before = gate.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    content = METRICS[case]
    if content is None:
        gate.s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        gate.put(key, content if isinstance(content, bytes) else json.dumps(content))
    result, calls = promote(gate, gate.second, stage=stage)
    gate.put(key, before)
    where = gate.second if content is None else f"s3://{BUCKET}/{key}"
    refused(result, calls, where)
    if case in ("no value", "NaN", "infinity", "text", "null", "true"):
        assert "regression_metrics.mse.value is" in result["Message"]


def test_p19_a_package_without_metrics_is_held(place):
    package = place.sm.describe_model_package(ModelPackageName=place.register())
    answer = place.sm.create_model_package(
        ModelPackageGroupName=place.group, InferenceSpecification=package["InferenceSpecification"]
    )
    place.approve(answer["ModelPackageArn"])
    refused(*promote(place, answer["ModelPackageArn"], stage="staging"), "has no metrics")


def test_p19_an_alarm_without_data_holds_a_promotion(gate):
    set_alarm(gate, ALARMS[1], "INSUFFICIENT_DATA")
    refused(*promote(gate, gate.second), ALARMS[1], "has no data to judge by", code=3)


# P20, rows 41 and 42: settings that cannot work


def canary(size=50, wait=600, termination=300, limit=3600, unit="CAPACITY_PERCENT", alarms=ALARMS):
    traffic = {"Type": "CANARY", "WaitIntervalInSeconds": wait}
    traffic["CanarySize"] = {"Type": unit, "Value": size}
    return policy(traffic, termination, limit, alarms)


def linear(size=25, wait=300, termination=300, limit=3600, alarms=ALARMS):
    traffic = {"Type": "LINEAR", "WaitIntervalInSeconds": wait}
    traffic["LinearStepSize"] = {"Type": "CAPACITY_PERCENT", "Value": size}
    return policy(traffic, termination, limit, alarms)


def policy(traffic, termination=300, limit=3600, alarms=ALARMS):
    update = {"TrafficRoutingConfiguration": traffic, "TerminationWaitInSeconds": termination}
    update["MaximumExecutionTimeoutInSeconds"] = limit
    return {"BlueGreenUpdatePolicy": update, **watched_by(alarms)}


def rolling(size=50, wait=300, limit=3600, alarms=ALARMS):
    update = {"MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": size}}
    update |= {"WaitIntervalInSeconds": wait, "MaximumExecutionTimeoutInSeconds": limit}
    return {"RollingUpdatePolicy": update, **watched_by(alarms)}


def watched_by(alarms):
    return {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}}


def variant(count=2, **members):
    return {"VariantName": "AllTraffic", "InstanceType": "ml.m5.large"} | {
        "InitialInstanceCount": count,
        **members,
    }


BAD_DEPLOYMENTS = {
    "canary 0 %": (canary(0), "CanarySize"),
    "canary 51 %": (canary(51), "CanarySize"),
    "canary 100 %": (canary(100), "CanarySize"),
    "canary of all instances": (canary(2, unit="INSTANCE_COUNT"), "CanarySize"),
    "canary without a size": (
        policy({"Type": "CANARY", "WaitIntervalInSeconds": 600}),
        "CANARY needs CanarySize",
    ),
    "linear 9 %": (linear(9), "LinearStepSize"),
    "linear 51 %": (linear(51), "LinearStepSize"),
    "rolling 4 %": (rolling(4), "MaximumBatchSize"),
    "rolling 51 %": (rolling(51), "MaximumBatchSize"),
    "wait 3601": (canary(wait=3601), "WaitIntervalInSeconds"),
    "wait -1": (canary(wait=-1), "WaitIntervalInSeconds"),
    "no wait to see anything in": (canary(wait=0), "WaitIntervalInSeconds is 0"),
    "timeout 599": (canary(limit=599), "MaximumExecutionTimeoutInSeconds"),
    "timeout 28801": (canary(limit=28_801), "MaximumExecutionTimeoutInSeconds"),
    "timeout = canary's waits": (canary(limit=900), "waits 900 s in all"),
    "timeout < linear's waits": (linear(limit=1199), "waits 1,200 s in all"),
    "timeout < rolling's waits": (rolling(limit=600), "waits 600 s in all"),
    "two policies": ({**canary(), **rolling()}, "exclude each other"),
    "a canary without an alarm": (canary(alarms=()), "AutoRollbackConfiguration"),
    "eleven alarms": (canary(alarms=[f"a{n}" for n in range(11)]), "AutoRollbackConfiguration"),
    "unknown type": (policy({"Type": "CANARRY", "WaitIntervalInSeconds": 1}), "CANARY"),
}
BAD_LIMITS = {
    "rate above 1": ({"MaxErrorRate": 1.5}, "MaxErrorRate"),
    "rate 1": ({"MaxErrorRate": 1}, "MaxErrorRate"),
    "rate negative": ({"MaxErrorRate": -0.1}, "MaxErrorRate"),
    "latency negative": ({"MaxP99Milliseconds": -1}, "MaxP99Milliseconds"),
    "latency 0": ({"MaxP99Milliseconds": 0}, "MaxP99Milliseconds"),
    "p50 above p99": ({"MaxP50Milliseconds": 900, "MaxP99Milliseconds": 100}, "never fail"),
    "tolerance negative": ({"Tolerance": -1e-6}, "Tolerance"),
    "no request": ({"Requests": 0}, "Requests"),
    "text": ({"MaxErrorRate": "0.1"}, "a number is wanted"),
    "misspelt": ({"MaxErorRate": 0.1}, "Did you mean MaxErrorRate?"),
}


@pytest.mark.parametrize("case", BAD_DEPLOYMENTS)
def test_p20_a_deployment_that_cannot_work_is_refused_before_any_call(gate, case):
    """Row 42 of the bad inputs as well."""
    deployment, named = BAD_DEPLOYMENTS[case]
    gate.settings("prod", DeploymentConfig=deployment)
    result, calls = promote(gate, gate.second)
    refused(result, calls, "prod-config.json", named, code=2)
    assert calls == []


@pytest.mark.parametrize("case", BAD_LIMITS)
def test_row_41_limits_that_could_never_fail_or_never_pass_are_refused(gate, case):
    limits, named = BAD_LIMITS[case]
    gate.settings("staging", EndpointTest=limits)
    for words in (("test",), ("promote", "--latest-approved")):
        result, calls = gate.logged(*words)
        refused(result, calls, "staging-config.json: EndpointTest", named, code=2)
        assert calls == []


@pytest.mark.parametrize("kind", ["CANARY", "LINEAR", "rolling"])
def test_p20_one_instance_cannot_do_a_part_of_itself(gate, kind):
    deployment = {"CANARY": canary(), "LINEAR": linear(), "rolling": rolling()}[kind]
    gate.settings("prod", ProductionVariants=[variant(1)], DeploymentConfig=deployment)
    result, calls = promote(gate, gate.second)
    refused(result, calls, "1 instance cannot do a", "use 2 or more instances", code=2)
    assert calls == []


def test_p20_an_alarm_must_exist(gate):
    gate.settings("prod", DeploymentConfig=canary(alarms=["abalone-prod-typo"]))
    refused(*promote(gate, gate.second), "abalone-prod-typo is not a metric alarm", code=2)


def test_p20_an_alarm_must_not_be_in_alarm_already(gate):
    set_alarm(gate, ALARMS[0], "ALARM")
    refused(*promote(gate, gate.second), ALARMS[0], "is in ALARM already", code=2)


@pytest.mark.parametrize("period, periods", [(300, 3), (900, 1), (60, 11)])
def test_p20_an_alarm_must_be_able_to_judge_within_a_step(gate, period, periods):
    put_alarm(gate, ALARMS[0], period=period, periods=periods)
    wanted = f"needs {period * periods:,} s to judge"
    refused(*promote(gate, gate.second), ALARMS[0], wanted, "watched for 600 s", code=2)


def test_p20_what_the_live_endpoint_has_scaled_to_is_what_counts(gate):
    """Two instances in the file, and so many live that a canary of three is more than half."""
    deployment = canary(3, unit="INSTANCE_COUNT")
    live = gate.endpoint("prod")["ProductionVariants"][0] | {"DesiredInstanceCount": 4}
    live["CurrentInstanceCount"] = 4
    live["DeployedImages"] = []
    gate.inject("DescribeEndpoint", "answer", times=None, members={"ProductionVariants": [live]})
    gate.settings("prod", DeploymentConfig=deployment, ProductionVariants=[variant(6)])
    result, calls = promote(gate, gate.second)
    refused(result, calls, "3 of the 4 instances", "the live endpoint has scaled to that", code=2)


# P21: the first deployment


@pytest.mark.parametrize("stage", ["staging", pytest.param("prod", marks=pytest.mark.acceptance)])
@pytest.mark.parametrize("mood, reason", [("does not load", "Failed"), ("wrong", "smoke test")])
def test_p21_a_first_deployment_that_fails_leaves_nothing(place, stage, mood, reason):
    file = place.workdir / "mood"
    file.write_text("well")
    place.settings("staging", EndpointTest=QUICK)
    arn = place.register(factor=1, body=artifact(inference=MOODY.format(file=str(file))))
    if stage == "prod":
        place.staged(arn)
    before = place.resources()
    file.write_text(mood)
    result, calls = promote(place, arn, stage=stage)
    assert (result["ExitCode"], result["Outcome"]) == (1, "Failed"), result
    assert reason in result["Message"] and "\n" not in result["Message"]
    assert "no canary is possible" in result["stderr"]
    sent = [call["operation"] for call in calls]
    assert "CreateEndpoint" in sent
    assert "AddTags" not in sent[sent.index("DeleteEndpoint") :], "there is nothing to tag"
    assert place.resources() == before and place.live(stage) is None
    assert [entry["Kind"] for entry in place.entries(stage)] == ["Started", "Failed"]
    file.write_text("well")
    refused(*promote(place, arn, stage=stage), "failed here", "--retry")
    result, _ = promote(place, arn, "--retry", stage=stage)
    assert result["ExitCode"] == 0, result
    assert place.answer("4", stage) == [4.0]


@pytest.mark.acceptance
def test_p21_a_first_deployment_says_so_and_is_smoke_tested(place):
    arn = place.register()
    planned = place.deploy("plan", "--model-package-arn", arn)
    assert any("no canary is possible" in note for note in planned["Notes"])
    result, _ = promote(place, arn, stage="staging")
    assert "invoke " in result["stderr"] and "recorded requests" in result["stderr"]
    # Each sample once, the first a few times to wake it; what is malformed would set off alarms.
    bodies = [
        record["captureData"]["endpointInput"]["data"] for record in until(lambda: captured(place))
    ]
    assert set(bodies) == {"1", "2\n3"}, bodies


def captured(place):
    prefix = f"datacapture-staging/{place.live()}/{place.name}-staging/"
    found = place.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    bodies = [place.s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read() for item in found]
    lines = b"".join(bodies).splitlines()
    return [json.loads(line) for line in lines] if len(lines) >= 6 else []
