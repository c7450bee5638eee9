"""The settings of a stage: what passes, and the one-line message for each thing that does not."""

import copy
import importlib
import itertools
import json
import re
import subprocess
import sys

import jsonschema
import make_schema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.fast

PAGE = make_schema.SCHEMA.parents[1] / "docs/settings.md"
CANARY = {"CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10}}
GOOD = {
    "ProductionVariants": [
        {"VariantName": "AllTraffic", "InstanceType": "ml.m5.large", "InitialInstanceCount": 2}
    ]
}
VARIANT, SERVERLESS = GOOD["ProductionVariants"][0], {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
ALARMS = {"Alarms": [{"AlarmName": "errors"}]}
CAPTURE = {"InitialSamplingPercentage": 50, "CaptureOptions": [{"CaptureMode": "Input"}]}
VPC = {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
ASYNC = {"OutputConfig": {}}
SCALING = {"MinCapacity": 1, "MaxCapacity": 4, "TargetValue": 100}
DROP = object()


def traffic(kind="CANARY", wait=600, timeout=DROP, end=0, alarms=ALARMS, **size):
    """A DeploymentConfig with a blue/green update."""
    sizes = {"CANARY": CANARY, "LINEAR": {"LinearStepSize": CANARY["CanarySize"]}}
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **(size or sizes.get(kind, {}))}
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": end}
    if timeout is not DROP:
        policy["MaximumExecutionTimeoutInSeconds"] = timeout
    found = {"BlueGreenUpdatePolicy": policy}
    return {**found, "AutoRollbackConfiguration": alarms} if alarms else found


def rolling(value=50, wait=60, kind="CAPACITY_PERCENT", alarms=ALARMS, **more):
    batch = {"Type": kind, "Value": value}
    policy = {"MaximumBatchSize": batch, "WaitIntervalInSeconds": wait, **more}
    found = {"RollingUpdatePolicy": policy}
    return {**found, "AutoRollbackConfiguration": alarms} if alarms else found


def percent(value):
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def instances(value):
    return {"Type": "INSTANCE_COUNT", "Value": value}


def variant(**members):
    """A production variant like that of GOOD, with other members; DROP leaves one out."""
    return {k: v for k, v in {**VARIANT, **members}.items() if v is not DROP}


def one(**members):
    return {"ProductionVariants": [variant(**members)]}


def serverless(**members):
    """A serverless variant; `members` beside it."""
    found = {"VariantName": "AllTraffic", "ServerlessConfig": SERVERLESS}
    return {"ProductionVariants": [{**found, **members}]}


def two(**members):
    return {"ProductionVariants": [VARIANT, variant(**{"VariantName": "B", **members})]}


def shadow(*names, **members):
    return {"ShadowProductionVariants": [variant(VariantName=n, **members) for n in names or "S"]}


@pytest.fixture(scope="session")
def config(deploy_project):
    return importlib.import_module("sagemaker_project.deploy.config")


@pytest.fixture
def read(config, tmp_path):
    """Reads settings that are given as text, bytes or what JSON spells."""

    def read(content, stage="prod"):
        path = tmp_path / f"{stage}-config.json"
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return config.read_config(path, stage, stage == "prod")

    return read


def line(read, content, stage="prod"):
    """The one line that refuses `content`, without the file's name."""
    error = importlib.import_module("sagemaker_project.usage").UsageError
    with pytest.raises(error) as caught:
        read(content, stage)
    text = str(caught.value)
    assert "\n" not in text
    path, _, rest = text.partition("-config.json: ")
    assert path.endswith(stage)
    return rest


# Files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not JSON: Expecting value at line 1 column 1"),
        ('{"a": 1,\n "b" 2}', "not JSON: Expecting ':' delimiter at line 2 column 6"),
        ("[]", "an object {...} is wanted, [] was found"),
        ('"text"', 'an object {...} is wanted, "text" was found'),
        ("null", "an object {...} is wanted, null was found"),
        (b"\xef\xbb\xbf{}", "byte order mark: save it as UTF-8 without BOM"),
        ('{"é": 1}'.encode("latin-1"), "byte 3 is not UTF-8"),
        ("[" * 50_000, "nested too deeply"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        (" " * 2_000_000, "2,000,000 characters are too many: at most 100,000"),
        ('{"Tags": ' + "9" * 5000 + "}", "too many digits"),
        ('{"Tags": ' + "9" * 50 + "}", "Tags: the number is too large"),
        ('{"Tags": [], "Tags": []}', 'the key "Tags" is duplicated'),
        (
            '{"ProductionVariants": [{"VariantName": "A", "VariantName": "B"}]}',
            'ProductionVariants[0]: the key "VariantName" is duplicated',
        ),
        ('{"EndpointTest": {"Tolerance": NaN}}', "EndpointTest.Tolerance: NaN"),
        ('{"EndpointTest": {"Tolerance": 1e400}}', "EndpointTest.Tolerance: NaN"),
        ('{"KmsKeyId": "\\ud800"}', 'KmsKeyId: "\\ud800" has half of a surrogate pair'),
        ('{"a\\nb": NaN}', '"a\\nb": NaN'),
        ("{}", "ProductionVariants must be given"),
    ],
)
def test_a_file_that_is_not_settings_is_refused_in_one_line(read, content, words):
    assert words in line(read, content)


def test_a_missing_file_is_refused_in_one_line(config, tmp_path):
    error = importlib.import_module("sagemaker_project.usage").UsageError
    for path in (tmp_path / "staging-config.json", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(error, match="cannot be read"):
            config.read_config(path, "staging")


# Shapes

SHAPES = [
    (
        {"productionVariants": []},
        'no setting "productionVariants". Did you mean ProductionVariants?',
    ),
    ({"Nonsense": 1}, 'no setting "Nonsense". config.schema.json lists them.'),
    (
        one(InstanceTyp="ml.m5.large"),
        'ProductionVariants[0]: there is no setting "InstanceTyp". Did',
    ),
    (one(InstanceTyp="ml.m5.large", InstanceType=DROP), "Did you mean InstanceType?"),
    (one(VariantNam="A", VariantName=DROP), "Did you mean VariantName?"),
    ({"EndpointTest": {"Request": 1}}, "Did you mean Requests?"),
    ({"a\nb": 1}, 'no setting "a\\nb"'),
    (one(ModelName="m"), "ModelName is not a setting: deploy-model names the models"),
    ({"EndpointConfigName": "m"}, "EndpointConfigName is not a setting"),
    ({"ExecutionRoleArn": "arn"}, "ExecutionRoleArn is not a setting: the role is an option"),
    ({"AccountId": 12345678901}, "AccountId: text in quotes is wanted, 12345678901 was found: put"),
    ({"AccountId": "12345678901"}, 'AccountId: "12345678901" was found, which is not of the form'),
    ({"AccountId": "123456789012\n"}, "AccountId: "),
    ({"AccountId": "١٢٣٤٥٦٧٨٩٠١٢"}, "AccountId: "),
    ({"ProductionVariants": []}, "ProductionVariants: 1 to 10 entries are wanted, 0 were found"),
    ({"ProductionVariants": {}}, "ProductionVariants: a list [...] is wanted, {} was found"),
    ({"ProductionVariants": [VARIANT] * 11}, "1 to 10 entries are wanted, 11 were found"),
    (one(VariantName=DROP), "ProductionVariants[0]: VariantName must be given"),
    (one(VariantName="a_b"), 'ProductionVariants[0].VariantName: "a_b" was found, which is not of'),
    (one(VariantName="a" * 64), "64 were found"),
    (one(VariantName=""), "VariantName: "),
    (one(InstanceType="ml.m5.larg"), '"ml.m5.larg" was found. Did you mean ml.m5.large?'),
    (one(InstanceType="m5.large"), '"m5.large" was found. Did you mean ml.m5.large?'),
    (one(InstanceType="x"), '"x" was found. config.schema.json lists them.'),
    (one(InitialInstanceCount=0), "InitialInstanceCount: at least 1 is wanted, 0 was found"),
    (one(InitialInstanceCount="2"), 'a whole number is wanted, "2" was found: without quotes'),
    (
        one(InitialInstanceCount=2.0),
        "InitialInstanceCount: a whole number is wanted, 2.0 was found",
    ),
    (one(InitialInstanceCount=True), "a whole number is wanted, true was found"),
    (one(InitialVariantWeight=-1), "InitialVariantWeight: at least 0 is wanted, -1 was found"),
    (one(VolumeSizeInGB=513), "VolumeSizeInGB: 1 to 512 is wanted"),
    (one(ModelPackageVersion=0), "ModelPackageVersion: at least 1 is wanted"),
    (one(AutoScaling={}), "AutoScaling: MinCapacity and MaxCapacity and TargetValue must be given"),
    (one(AutoScaling={**SCALING, "MinCapacity": 0}), "MinCapacity: at least 1 is wanted"),
    (one(AutoScaling={**SCALING, "TargetValue": 0}), "TargetValue: more than 0 is wanted"),
    (serverless(ServerlessConfig={}), "MemorySizeInMB and MaxConcurrency must be given"),
    (
        serverless(ServerlessConfig={**SERVERLESS, "MemorySizeInMB": 1500}),
        "MemorySizeInMB: 1500 was found.",
    ),
    (
        serverless(ServerlessConfig={**SERVERLESS, "MaxConcurrency": 201}),
        "MaxConcurrency: 1 to 200 is wanted, 201 was found",
    ),
    ({"EnableNetworkIsolation": "true"}, '"true" was found: without quotes, in small letters'),
    ({"RetainAllVariantProperties": "True"}, '"True" was found: without quotes'),
    ({"VpcConfig": {}}, "VpcConfig: SecurityGroupIds and Subnets must be given"),
    ({"VpcConfig": {"Subnets": ["subnet-1"]}}, "VpcConfig: SecurityGroupIds must be given"),
    ({"VpcConfig": {**VPC, "Subnets": ["s"] * 17}}, "1 to 16 entries are wanted, 17 were found"),
    ({"VpcConfig": {**VPC, "SecurityGroupIds": ["s"] * 6}}, "1 to 5 entries are wanted"),
    ({"KmsKeyId": ""}, "KmsKeyId: 1 to 2,048 characters are wanted, 0 were found"),
    ({"AsyncInferenceConfig": {}}, "AsyncInferenceConfig: OutputConfig must be given"),
    ({"DataCaptureConfig": {}}, "InitialSamplingPercentage and CaptureOptions must be given"),
    (
        {"DataCaptureConfig": {**CAPTURE, "InitialSamplingPercentage": 101}},
        "InitialSamplingPercentage: 0 to 100 is wanted",
    ),
    (
        {"DataCaptureConfig": {**CAPTURE, "CaptureOptions": [{"CaptureMode": "input"}]}},
        'CaptureOptions[0].CaptureMode: "input" was found. Did you mean Input?',
    ),
    (
        {"DataCaptureConfig": {**CAPTURE, "DestinationS3Uri": "bucket/x"}},
        "DestinationS3Uri: ",
    ),
    ({"Tags": [{"Key": "a"}]}, "Tags[0]: Value must be given"),
    ({"Tags": [{"Key": "a", "Value": 1}]}, "Tags[0].Value: text in quotes is wanted"),
    ({"Tags": [{"Key": "", "Value": ""}]}, "Tags[0].Key: 1 to 128 characters are wanted"),
    ({"Tags": [{"Key": "k" * 129, "Value": ""}]}, "Tags[0].Key: 1 to 128 characters"),
    ({"Tags": [{"Key": "k", "Value": "v" * 257}]}, "Tags[0].Value: 0 to 256 characters"),
    (
        {"Tags": [{"Key": str(n), "Value": ""} for n in range(51)]},
        "Tags: 0 to 50 entries are wanted, 51 were found",
    ),
    ({"Approval": {"MaxAgeDays": 0}}, "Approval.MaxAgeDays: 1 to 3,650 is wanted, 0 was found"),
    ({"Approval": {"RequireTwoPeople": 1}}, "RequireTwoPeople: true or false is wanted, 1 was"),
    ({"EndpointTest": {"Requests": 0}}, "EndpointTest.Requests: 1 to 100,000 is wanted"),
    ({"EndpointTest": {"MaxErrorRate": -0.1}}, "0 or more and less than 1 is wanted, -0.1 was"),
    ({"EndpointTest": {"MaxErrorRate": 1}}, "0 or more and less than 1 is wanted, 1 was found"),
    ({"EndpointTest": {"MaxP99Milliseconds": 0}}, "more than 0 and at most 60,000 is wanted"),
    ({"EndpointTest": {"MaxP99Milliseconds": 60001}}, "more than 0 and at most 60,000 is wanted"),
    ({"EndpointTest": {"Tolerance": -1e-9}}, "Tolerance: at least 0 is wanted"),
    ({"DeploymentConfig": {"BlueGreenUpdatePolicy": {}}}, "TrafficRoutingConfiguration must be"),
    ({"DeploymentConfig": traffic("CANERY")}, '"CANERY" was found. Did you mean CANARY?'),
    ({"DeploymentConfig": traffic(wait=3601)}, "WaitIntervalInSeconds: 0 to 3,600 is wanted, 3601"),
    ({"DeploymentConfig": traffic(wait=-1)}, "WaitIntervalInSeconds: 0 to 3,600 is wanted, -1"),
    ({"DeploymentConfig": traffic(timeout=599)}, "Seconds: 600 to 28,800 is wanted, 599 was found"),
    ({"DeploymentConfig": traffic(timeout=28801)}, "600 to 28,800 is wanted, 28801 was found"),
    ({"DeploymentConfig": traffic(end=3601)}, "TerminationWaitInSeconds: 0 to 3,600 is wanted"),
    ({"DeploymentConfig": traffic(CanarySize=percent(0))}, "Value: at least 1 is wanted, 0 was"),
    ({"DeploymentConfig": traffic(alarms={"Alarms": []})}, "Alarms: 1 to 10 entries are wanted, 0"),
    (
        {"DeploymentConfig": traffic(alarms={"Alarms": [{"AlarmName": "a"}] * 11})},
        "Alarms: 1 to 10 entries are wanted, 11 were found",
    ),
    ({"DeploymentConfig": traffic(alarms={"Alarms": [{}]})}, "Alarms[0]: AlarmName must be given"),
    (
        {"ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DataCaptureConfig"}]},
        '"DataCaptureConfig" was found.',
    ),
    (
        {"MetricsConfig": {"MetricPublishFrequencyInSeconds": 20}},
        "MetricPublishFrequencyInSeconds: 20 was found.",
    ),
]


@pytest.mark.parametrize(("change", "words"), SHAPES)
def test_a_wrong_shape_is_refused_with_what_is_wanted_and_found(read, change, words):
    """Rows 8, 10 and 11 of the bad inputs."""
    assert words in line(read, {**GOOD, **change})


# Combinations

COMBINATIONS = [
    (
        two(VariantName="AllTraffic"),
        "[1].VariantName: AllTraffic: two variants have the same name: give",
    ),
    (shadow("AllTraffic"), "ShadowProductionVariants[0].VariantName: AllTraffic: two variants"),
    (one(InstanceType=DROP), "InstanceType must be given, or ServerlessConfig"),
    (one(InitialInstanceCount=DROP), "InitialInstanceCount must be given, or ServerlessConfig"),
    (one(InstancePools=[{"InstanceType": "ml.m5.large", "Priority": 1}]), "InstancePools names"),
    (one(InstanceType="ml.g5.xlarge"), "ml.g5.xlarge has an accelerator, and SageMaker's scikit"),
    (one(InstanceType="ml.p3.2xlarge"), "has an accelerator"),
    (one(InstanceType="ml.inf1.xlarge"), "has an accelerator"),
    (one(InstanceType="ml.trn1.2xlarge"), "has an accelerator"),
    (one(InstanceType="ml.c7g.large"), "ml.c7g.large is an ARM machine"),
    (
        one(InstanceType=DROP, InstancePools=[{"InstanceType": "ml.g5.xlarge", "Priority": 1}]),
        "ProductionVariants[0].InstancePools[0].InstanceType: ml.g5.xlarge has an accelerator",
    ),
    (one(AcceleratorType="ml.eia2.medium"), "Elastic Inference is no longer available"),
    (one(ManagedInstanceScaling={"Status": "ENABLED"}), "inference components: use AutoScaling"),
    (one(AcceleratorPartitionLayouts=[{}]), "it divides GPUs"),
    (serverless(InstanceType="ml.m5.large"), "[0].InstanceType: a serverless variant has no"),
    (serverless(InitialInstanceCount=1), "[0].InitialInstanceCount: a serverless variant has no"),
    (
        serverless(AutoScaling=SCALING),
        "[0].AutoScaling: a serverless variant scales by itself and has no",
    ),
    (serverless(VolumeSizeInGB=10), "[0].VolumeSizeInGB: a serverless variant has no instances"),
    (
        serverless(ServerlessConfig={**SERVERLESS, "ProvisionedConcurrency": 6}),
        "ProvisionedConcurrency: 6, MaxConcurrency 5: ProvisionedConcurrency is more than",
    ),
    (
        two(ServerlessConfig=SERVERLESS, InstanceType=DROP, InitialInstanceCount=DROP),
        "a serverless endpoint has one variant",
    ),
    ({**serverless(), "DataCaptureConfig": CAPTURE}, "a serverless endpoint cannot have data cap"),
    ({**serverless(), "VpcConfig": VPC}, "VpcConfig: a serverless endpoint cannot have a VPC"),
    ({**serverless(), "EnableNetworkIsolation": True}, "cannot have network isolation"),
    ({**serverless(), "AsyncInferenceConfig": ASYNC}, "cannot have asynchronous inference"),
    ({**serverless(), **shadow()}, "a serverless endpoint cannot have a shadow variant"),
    (
        {**serverless(), "DeploymentConfig": traffic()},
        "DeploymentConfig: a serverless endpoint cannot have a DeploymentConfig: leave it out",
    ),
    (
        {**serverless(), "DeploymentConfig": rolling()},
        "DeploymentConfig: a serverless endpoint cannot have a DeploymentConfig: leave it out",
    ),
    (
        {
            **serverless(),
            "CrossRegionTrafficConfig": {
                "MaxInvocationsPerSecondPerInstance": 1,
                "MaxCrossRegionPercentPerEndpoint": 1,
            },
        },
        "CrossRegionTrafficConfig: a serverless endpoint cannot have",
    ),
    (
        {"AsyncInferenceConfig": ASYNC, **shadow()},
        "ShadowProductionVariants: an asynchronous endpoint cannot have a shadow variant",
    ),
    (shadow("S", "T"), "ShadowProductionVariants: an endpoint has at most one shadow variant"),
    (
        {**two(), **shadow()},
        "ShadowProductionVariants: a shadow needs exactly one production variant",
    ),
    (one(InitialVariantWeight=0), "all weights are 0"),
    (one(ModelPackageVersion=6), "none would serve the promoted version"),
    (one(AutoScaling={**SCALING, "MinCapacity": 5}), "MinCapacity 5 is more than MaxCapacity 4"),
    (one(InitialInstanceCount=5, AutoScaling=SCALING), "5 is outside AutoScaling's 1 to 4"),
    (
        one(InstanceType="ml.t2.medium", AutoScaling=SCALING),
        "ml.t2.medium: burstable instances do not scale",
    ),
    (one(RoutingConfig={"RoutingStrategy": "KV_AWARE"}), "KV_AWARE is for language models"),
    (one(RoutingConfig={"RoutingStrategy": "PREFIX_AWARE"}), "PREFIX_AWARE needs PrefixLength"),
    (
        one(RoutingConfig={"RoutingStrategy": "RANDOM", "PrefixAwareRoutingConfig": {}}),
        "it is only for PREFIX_AWARE",
    ),
    ({"Tags": [{"Key": "aws:x", "Value": ""}]}, 'Tags[0].Key: "aws:x": keys that start with aws:'),
    ({"Tags": [{"Key": "AWS:x", "Value": ""}]}, "are reserved by AWS"),
    ({"Tags": [{"Key": "a", "Value": v} for v in "bc"]}, 'Tags[1].Key: "a" is duplicated'),
    ({"Tags": [{"Key": "a", "Value": "b\n"}]}, 'Tags[0].Value: "b\\n": letters, digits, spaces'),
    ({"Tags": [{"Key": "a*", "Value": "b"}]}, 'Tags[0].Key: "a*": letters'),
    (
        {"EndpointTest": {"MaxP50Milliseconds": 900, "MaxP99Milliseconds": 800}},
        "900 is more than MaxP99Milliseconds, 800: it could never fail",
    ),
    (
        {"ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}]},
        "nothing is retained: set RetainAllVariantProperties to true",
    ),
    (
        {"DeploymentConfig": {**traffic(), **rolling()}},
        "BlueGreenUpdatePolicy and RollingUpdatePolicy exclude each other",
    ),
    ({"DeploymentConfig": traffic(LinearStepSize=percent(10))}, "CANARY needs CanarySize"),
    (
        {"DeploymentConfig": traffic("LINEAR", CanarySize=percent(10))},
        "LINEAR needs LinearStepSize",
    ),
    (
        {"DeploymentConfig": traffic("ALL_AT_ONCE", end=60, CanarySize=percent(10))},
        "CanarySize: it is for CANARY, and Type is ALL_AT_ONCE",
    ),
    (
        {"DeploymentConfig": traffic(**CANARY, LinearStepSize=percent(10))},
        "LinearStepSize: it is for LINEAR, and Type is CANARY",
    ),
    ({"DeploymentConfig": traffic(CanarySize=percent(51))}, "1 to 50 % is wanted, 51 % was found"),
    ({"DeploymentConfig": traffic(CanarySize=percent(100))}, "1 to 50 % is wanted, 100 % was"),
    ({"DeploymentConfig": traffic("LINEAR", LinearStepSize=percent(9))}, "10 to 50 % is wanted, 9"),
    ({"DeploymentConfig": traffic("LINEAR", LinearStepSize=percent(51))}, "10 to 50 % is wanted"),
    ({"DeploymentConfig": rolling(4)}, "MaximumBatchSize: 5 to 50 % is wanted, 4 % was found"),
    ({"DeploymentConfig": rolling(51)}, "MaximumBatchSize: 5 to 50 % is wanted, 51 % was found"),
    ({"DeploymentConfig": rolling(2, kind="INSTANCE_COUNT")}, "2 of the 2 instances of AllTraffic"),
    (
        {"DeploymentConfig": rolling(RollbackMaximumBatchSize=percent(101))},
        "RollbackMaximumBatchSize: at most 100 % is wanted, 101 % was found",
    ),
    (
        {**one(InitialInstanceCount=1), "DeploymentConfig": traffic()},
        "1 instance cannot do a canary of 10 %: the least that can take traffic is one instance",
    ),
    (
        {**one(InitialInstanceCount=1), "DeploymentConfig": rolling()},
        "1 instance cannot do a rolling batch of 50 %",
    ),
    (
        {**one(InitialInstanceCount=1), "DeploymentConfig": traffic(CanarySize=instances(1))},
        "1 instance cannot do a canary of 1 instance",
    ),
    (
        {**two(InitialInstanceCount=1), "DeploymentConfig": traffic()},
        "1 instance cannot do a canary of 10 %: the least that can take traffic is one instance,"
        " all of B",
    ),
    (
        {**one(InitialInstanceCount=3), "DeploymentConfig": traffic(CanarySize=instances(2))},
        "2 of the 3 instances of AllTraffic is 67 %, 1 to 50 % is wanted",
    ),
    (
        {
            **one(InitialInstanceCount=20),
            "DeploymentConfig": traffic("LINEAR", LinearStepSize=instances(1)),
        },
        "1 of the 20 instances of AllTraffic is 5 %, 10 to 50 % is wanted",
    ),
    ({**two(), "DeploymentConfig": rolling()}, "a rolling update is for one variant only"),
    (
        {"DeploymentConfig": traffic(wait=600, end=300, timeout=900)},
        "the deployment waits 900 s in all, so it cannot end within 900 s",
    ),
    (
        # 10 % at a time are 10 steps with 9 waits between them.
        {"DeploymentConfig": traffic("LINEAR", wait=600, end=100, timeout=5500)},
        "the deployment waits 5,500 s in all",
    ),
    (
        {
            **one(InitialInstanceCount=4),
            "DeploymentConfig": traffic(
                "LINEAR", wait=600, timeout=1800, LinearStepSize=instances(1)
            ),
        },
        "the deployment waits 1,800 s in all",
    ),
    (
        {"DeploymentConfig": rolling(50, wait=300, MaximumExecutionTimeoutInSeconds=600)},
        "RollingUpdatePolicy.MaximumExecutionTimeoutInSeconds: the deployment waits 600 s in all",
    ),
    (
        {"DeploymentConfig": traffic("ALL_AT_ONCE", end=600, timeout=600)},
        "the deployment waits 600 s in all",
    ),
    ({"DeploymentConfig": traffic(alarms=None)}, "a canary without an alarm"),
    ({"DeploymentConfig": rolling(alarms=None)}, "a rolling batch without an alarm"),
    ({"DeploymentConfig": traffic(wait=0)}, "WaitIntervalInSeconds is 0, so the alarms have no"),
    ({"DeploymentConfig": traffic("ALL_AT_ONCE")}, "TerminationWaitInSeconds is 0, so the alarms"),
    ({"DeploymentConfig": {"AutoRollbackConfiguration": ALARMS}}, "TerminationWaitInSeconds is 0"),
]


@pytest.mark.parametrize(("change", "words"), COMBINATIONS)
def test_p20_what_sagemaker_refuses_is_refused_before_any_call(read, change, words):
    assert words in line(read, {**GOOD, **change})


def test_every_rule_is_broken_by_an_entry_of_the_table(config, read):
    """A rule that no entry reaches is either superfluous or untested."""
    rules = config.RULES
    reached = set()

    def spy(rule):
        def spied(settings):
            found = list(rule(settings))
            reached.update([rule] if found else [])
            return found

        return spied

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "RULES", [spy(rule) for rule in rules])
        for change, _ in COMBINATIONS:
            line(read, {**GOOD, **change})
    assert reached == set(rules)


def test_what_is_switched_off_excludes_nothing(read):
    off = {
        "DataCaptureConfig": {**CAPTURE, "EnableCapture": False},
        "EnableNetworkIsolation": False,
    }
    read({**serverless(), **off, "ShadowProductionVariants": []})


def test_an_unwatched_canary_is_for_staging_only(read):
    read({**GOOD, "DeploymentConfig": traffic(alarms=None)}, "staging")


# What passes

ENDPOINTS = {
    "one": {},
    "pools": one(InstanceType=DROP, InstancePools=[{"InstanceType": "ml.m5.large", "Priority": 1}]),
    "two": two(InitialVariantWeight=0.2, ModelPackageVersion=6),
    "shadow": shadow(ModelPackageVersion=6),
    "asynchronous": {"AsyncInferenceConfig": ASYNC},
    "asynchronous, two": {"AsyncInferenceConfig": ASYNC, **two()},
    "serverless": serverless(),
}
DEPLOYMENTS = {
    "default": {},
    "at once": traffic("ALL_AT_ONCE", end=600, timeout=601),
    "canary": traffic(timeout=1200, end=300),
    "canary of instances": traffic(CanarySize=instances(1)),
    "linear": traffic("LINEAR", wait=60, timeout=600, LinearStepSize=percent(50)),
    "rolling": rolling(RollbackMaximumBatchSize=percent(100)),
}
EXTRAS = {
    "DataCaptureConfig": CAPTURE,
    "VpcConfig": VPC,
    "EnableNetworkIsolation": True,
    "KmsKeyId": "alias/key",
    "Tags": [{"Key": "Überschrift", "Value": ""}],
    "RetainAllVariantProperties": True,
    "MetricsConfig": {"EnableEnhancedMetrics": True, "MetricPublishFrequencyInSeconds": 60},
    "AutoScaling": SCALING,
}


def allowed(endpoint, deployment, extras):
    if endpoint == "serverless":
        extras = set(extras) - {"KmsKeyId", "Tags", "RetainAllVariantProperties", "MetricsConfig"}
        return deployment == "default" and not extras
    return deployment != "rolling" or "two" not in endpoint


def together(endpoint, deployment):
    """The sets of extras to try: each alone, all at once, and pairs if one side is the default."""
    sizes = {0, 1, len(EXTRAS)} | ({2} if endpoint == "one" or deployment == "default" else set())
    return [extras for size in sizes for extras in itertools.combinations(EXTRAS, size)]


COMBINED = [
    (endpoint, deployment, extras)
    for endpoint, deployment in itertools.product(ENDPOINTS, DEPLOYMENTS)
    for extras in together(endpoint, deployment)
    if allowed(endpoint, deployment, extras)
]


def test_all_that_sagemaker_allows_together_passes(config, read):
    for endpoint, deployment, extras in COMBINED:
        content = copy.deepcopy({**GOOD, **ENDPOINTS[endpoint]})
        if DEPLOYMENTS[deployment]:
            content["DeploymentConfig"] = DEPLOYMENTS[deployment]
        for name in extras:
            if name == "AutoScaling":
                content["ProductionVariants"][0][name] = EXTRAS[name]
            else:
                content[name] = EXTRAS[name]
        settings = read(content)
        assert_botocore_takes(config, settings)


def assert_botocore_takes(config, settings):
    """boto3 accepts every request that is made from these settings."""
    validate = importlib.import_module("botocore.validate").ParamValidator().validate
    members = config.endpoint_config_members(settings, "bucket", "endpoint")
    for kind in ("ProductionVariants", "ShadowProductionVariants"):
        for found in members.get(kind, []):
            found["ModelName"] = "model"
    requests = {
        "CreateEndpointConfig": {"EndpointConfigName": "name", **members},
        "CreateModel": {"ModelName": "model", **config.model_members(settings)},
        "UpdateEndpoint": {
            "EndpointName": "endpoint",
            "EndpointConfigName": "name",
            **config.update_members(settings),
        },
    }
    for operation, request in requests.items():
        report = validate(request, MODEL.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()


MODEL = make_schema.botocore.session.Session().get_service_model("sagemaker")


def test_both_stages_of_a_new_project_pass(config, deploy_project):
    for stage in ("staging", "prod"):
        path = deploy_project / f"deploy/{stage}-config.json"
        settings = config.read_config(path, stage, stage == "prod")
        assert settings.stage == stage
        assert "$schema" not in settings.content
        assert_botocore_takes(config, settings)
    assert settings.alarms == ["abalone-prod-model-errors", "abalone-prod-latency"]


# Handing out


def test_defaults_are_applied_and_the_file_wins(read):
    settings = read({**GOOD, "EndpointTest": {"Requests": 7, "MaxP99Milliseconds": 100}})
    assert settings.test == {
        "Requests": 7,
        "MaxP50Milliseconds": 100,
        "MaxP99Milliseconds": 100,
        "MaxErrorRate": 0,
        "Tolerance": 1e-6,
    }
    assert settings.approval == {"MaxAgeDays": 30, "RequireTwoPeople": False}
    assert settings.variants[0]["InitialVariantWeight"] == 1
    assert (settings.shadow_variants, settings.deployment, settings.alarms) == ([], {}, [])


def test_one_reading_shares_nothing_with_another(read):
    first = read(GOOD)
    first.content["Tags"].append("x")
    first.test["Requests"] = 0
    assert (read(GOOD).content["Tags"], read(GOOD).test["Requests"]) == ([], 200)


def test_endpoint_config_members_are_the_apis_own(config, read):
    content = {
        **two(ModelPackageVersion=6),
        "DataCaptureConfig": CAPTURE,
        "AsyncInferenceConfig": ASYNC,
        "VpcConfig": VPC,
        "Tags": [{"Key": "a", "Value": "b"}],
        "KmsKeyId": "key",
    }
    content["ProductionVariants"][0] = variant(AutoScaling=SCALING)
    settings = read(content)
    before = copy.deepcopy(settings.content)
    members = config.endpoint_config_members(settings, "bucket", "abalone-prod")
    assert members == {
        "ProductionVariants": [
            variant(InitialVariantWeight=1),
            variant(VariantName="B", InitialVariantWeight=1),
        ],
        "DataCaptureConfig": {
            **CAPTURE,
            "DestinationS3Uri": "s3://bucket/datacapture-prod",
            "CaptureContentTypeHeader": {
                "CsvContentTypes": ["text/csv"],
                "JsonContentTypes": ["application/json"],
            },
        },
        "AsyncInferenceConfig": {
            "OutputConfig": {
                "S3OutputPath": "s3://bucket/async-output/abalone-prod",
                "S3FailurePath": "s3://bucket/async-failure/abalone-prod",
            }
        },
        "KmsKeyId": "key",
    }
    assert config.model_members(settings) == {"VpcConfig": VPC}
    assert config.scaling(settings) == {"AllTraffic": SCALING}
    assert config.pinned_versions(settings) == {"B": 6}
    members["ProductionVariants"][0]["ModelName"] = "model"
    assert settings.content == before


def test_what_is_given_of_data_capture_is_kept(config, read):
    headers = {"JsonContentTypes": ["application/jsonlines"]}
    own = {"DestinationS3Uri": "s3://mine/x", "CaptureContentTypeHeader": headers}
    capture = {**CAPTURE, **own}
    members = config.endpoint_config_members(read({**GOOD, "DataCaptureConfig": capture}), "b", "e")
    assert members["DataCaptureConfig"] == capture


def test_only_counts_are_retained_unless_the_file_says_otherwise(config, read):
    retain = {"RetainAllVariantProperties": True}
    changed = [{"VariantPropertyType": kind} for kind in ("DesiredWeight", "DataCaptureConfig")]
    excluding = {**retain, "ExcludeRetainedVariantProperties": changed}
    assert config.update_members(read({**GOOD, **retain})) == excluding
    weight = {**retain, "ExcludeRetainedVariantProperties": changed[:1]}
    assert config.update_members(read({**two(), **weight})) == weight
    empty = {**two(), **retain, "ExcludeRetainedVariantProperties": []}
    assert config.update_members(read(empty)) == retain
    assert config.update_members(read(GOOD)) == {}


# The live endpoint

OK = {"StateValue": "OK", "Period": 60, "EvaluationPeriods": 2}
LIVE = {"AllTraffic": 2}


@pytest.mark.parametrize(
    ("change", "live", "alarm", "kind", "words"),
    [
        ({}, LIVE, None, "invalid", "the alarm errors is not a metric alarm of this account"),
        ({}, None, None, "invalid", "the alarm errors is not a metric alarm of this account"),
        ({}, LIVE, {**OK, "StateValue": "ALARM"}, "invalid", "errors is in ALARM already"),
        ({}, LIVE, {**OK, "StateValue": "INSUFFICIENT_DATA"}, "inconclusive", "has no data"),
        ({}, LIVE, {**OK, "Period": 301}, "invalid", "needs 602 s to judge"),
        (
            {},
            None,
            {
                "StateValue": "OK",
                "EvaluationPeriods": 3,
                "Metrics": [
                    {"Id": "e", "Expression": "m / 2"},
                    {"Id": "m", "MetricStat": {"Period": 300}},
                ],
            },
            "invalid",
            "needs 900 s to judge (Period x EvaluationPeriods), and a step is watched for 600 s",
        ),
        ({}, {"Old": 2}, OK, "invalid", "the variants AllTraffic are to replace Old"),
        (
            {"RetainAllVariantProperties": True},
            {"AllTraffic": 1},
            OK,
            "invalid",
            "1 instance cannot do a canary of 10 %",
        ),
        (
            {
                "RetainAllVariantProperties": True,
                "DeploymentConfig": rolling(
                    1, 300, "INSTANCE_COUNT", MaximumExecutionTimeoutInSeconds=700
                ),
            },
            {"AllTraffic": 4},
            OK,
            "invalid",
            "the deployment waits 1,200 s in all, so it cannot end within 700 s",
        ),
    ],
)
def test_p19_p20_alarms_and_fleets_that_cannot_judge(
    config, read, change, live, alarm, kind, words
):
    settings = read({**GOOD, "DeploymentConfig": traffic(), **change})
    found = config.deployment_problems(settings, live, {"errors": alarm} if alarm else {})
    assert [problem.kind for problem in found] == [kind]
    assert words in found[0].message
    assert "prod-config.json: " in found[0].message


@pytest.mark.parametrize(
    ("change", "live", "alarm"),
    [
        ({}, LIVE, OK),
        ({}, LIVE, {**OK, "Period": 300}),  # exactly as long as the step
        ({}, {"AllTraffic": 1}, OK),  # instances come from the file
        ({}, {"AllTraffic": None}, OK),  # a serverless endpoint becomes one of instances
        ({}, None, {**OK, "StateValue": "INSUFFICIENT_DATA"}),  # nothing to measure yet
        ({}, None, {**OK, "StateValue": "ALARM"}),
        ({"RetainAllVariantProperties": True}, {"AllTraffic": 3}, OK),
        ({"DeploymentConfig": {}}, {"Old": 2}, {}),
        ({**serverless(), "DeploymentConfig": {}}, {"AllTraffic": None}, {}),
    ],
)
def test_what_can_be_deployed_has_no_problems(config, read, change, live, alarm):
    settings = read({**GOOD, "DeploymentConfig": traffic(), **change})
    assert config.deployment_problems(settings, live, {"errors": alarm}) == []


# Any JSON

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 60),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["ml.m5.large", "CANARY", "LINEAR", "true", "aws:x", "\n", "\ud800", "1"]),
)
KEYS = sorted(
    set(re.findall(r'"(\w+)": \{', make_schema.SCHEMA.read_text())) | {"Key", "Value", "x\ny", ""}
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)


def full():
    """Settings that use nearly every key."""
    return {
        "$schema": "./config.schema.json",
        "AccountId": "123456789012",
        **one(AutoScaling=SCALING, ModelPackageVersion=6, InitialVariantWeight=1),
        **shadow(),
        "DataCaptureConfig": CAPTURE,
        "VpcConfig": VPC,
        "KmsKeyId": "key",
        "Tags": [{"Key": "a", "Value": "b"}],
        "DeploymentConfig": traffic(timeout=1200),
        "RetainAllVariantProperties": True,
        "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}],
        "Approval": {"MaxAgeDays": 1},
        "EndpointTest": {"Requests": 1},
        "EnableNetworkIsolation": False,
        "MetricsConfig": {"EnableEnhancedMetrics": True},
    }


def places(value, place=()):
    """The steps to every value inside `value`."""
    yield place
    members = {dict: dict.items, list: enumerate}.get(type(value), lambda _: ())
    for step, member in members(value):
        yield from places(member, (*place, step))


def put(value, place, new):
    if not place:
        return new
    value = copy.deepcopy(value)
    holder = value
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = new
    return value


def read_or_refused(read, content):
    error = importlib.import_module("sagemaker_project.usage").UsageError
    try:
        assert read(content).content
    except error as refused:
        assert str(refused).isprintable(), str(refused)
        str(refused).encode()


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(list(places(full()))), value=VALUES)
def test_any_json_anywhere_is_read_or_refused_in_one_line(read, place, value):
    read_or_refused(read, json.dumps(put(full(), place, value)))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(json.dumps(full()))), junk=st.binary(max_size=4))
def test_a_damaged_file_is_read_or_refused_in_one_line(read, cut, junk):
    read_or_refused(read, json.dumps(full()).encode()[:cut] + junk)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 30),
    kind=st.sampled_from(["CANARY", "LINEAR", "ROLLING"]),
    unit=st.sampled_from(["CAPACITY_PERCENT", "INSTANCE_COUNT"]),
    value=st.integers(1, 60),
    wait=st.integers(1, 3600),
    timeout=st.integers(600, 28_800),
)
def test_a_policy_that_passes_can_be_carried_out(read, count, kind, unit, value, wait, timeout):
    """A valid policy takes at most half of the instances at a time and ends before its timeout."""
    size = {"Type": unit, "Value": value}
    if kind == "ROLLING":
        policy = rolling(value, wait, unit, MaximumExecutionTimeoutInSeconds=timeout)
    else:
        name = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}[kind]
        policy = traffic(kind, wait, timeout, **{name: size})
    error = importlib.import_module("sagemaker_project.usage").UsageError
    try:
        read({**one(InitialInstanceCount=count), "DeploymentConfig": policy})
    except error:
        return
    whole = 100 if unit == "CAPACITY_PERCENT" else count
    assert value / whole <= 0.5
    assert count >= 2
    steps = 2 if kind == "CANARY" else -(-whole // value)
    assert (steps - (kind != "ROLLING")) * wait < timeout


# The schema


def test_the_committed_schema_is_what_the_script_writes():
    assert make_schema.SCHEMA.read_text() == make_schema.text(), (
        "run: .venv/bin/python packages/sagemaker-project/tests/make_schema.py"
    )


def test_the_schema_is_valid_and_generated_beside_the_settings_on_one_line(deploy_project):
    schema = json.loads(make_schema.SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    rendered = deploy_project / "deploy/config.schema.json"
    assert json.loads(rendered.read_text()) == schema
    assert rendered.read_text().count("\n") == 1


def test_every_top_level_key_has_a_description():
    properties = json.loads(make_schema.SCHEMA.read_text())["properties"]
    assert [name for name in properties if not properties[name].get("description")] == ["$schema"]


def test_defaults_of_the_schema_are_those_that_are_applied(config):
    properties = json.loads(make_schema.SCHEMA.read_text())["properties"]
    for key in ("Approval", "EndpointTest"):
        found = {name: of["default"] for name, of in properties[key]["properties"].items()}
        assert found == config.DEFAULTS[key]


def test_every_setting_reaches_the_api_or_the_planner(config):
    """A new top-level key cannot be accepted and then forgotten."""
    ours = {"$schema", "AccountId", "AllowUncommitted", "Tags", "Approval", "EndpointTest"}
    update = {
        "DeploymentConfig",
        "RetainAllVariantProperties",
        "ExcludeRetainedVariantProperties",
    }
    known = {*config.FOR_ENDPOINT_CONFIG, *config.FOR_MODEL, *ours, *update}
    assert known == set(json.loads(make_schema.SCHEMA.read_text())["properties"])


def test_importing_is_cheap(deploy_project):
    code = (
        "import sys, sagemaker_project.deploy.config;"
        " print({'jsonschema', 'boto3', 'botocore'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=deploy_project,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout == "set()\n", result.stderr


# The page


def test_every_example_on_the_page_passes(config, read):
    examples = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.S)
    assert len(examples) >= 3
    for example in examples:
        assert_botocore_takes(config, read(example))


def test_every_top_level_key_is_on_the_page():
    headings = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.M)
    properties = set(json.loads(make_schema.SCHEMA.read_text())["properties"]) - {"$schema"}
    assert properties <= set(headings)


def test_every_default_on_the_page_is_the_one_that_is_applied(config):
    page = PAGE.read_text()
    for key in ("Approval", "EndpointTest"):
        for name, value in config.DEFAULTS[key].items():
            assert f"`{name}` ({json.dumps(value)})" in page, name
