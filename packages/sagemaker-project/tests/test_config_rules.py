"""What SageMaker allows for an endpoint: each row of the table, asked of a stage's settings."""

import json

import pytest
from evidence_helpers import SERVERLESS, evidence, serving, target
from sagemaker_project.deploy.config import deployment_problems, read_config
from sagemaker_project.deploy.endpoint_gates import endpoint_may_become_the_candidate
from sagemaker_project.deploy.endpoint_rules import RULES
from sagemaker_project.errors import UsageError

pytestmark = pytest.mark.fast

CAPTURE = {"InitialSamplingPercentage": 50, "CaptureOptions": [{"CaptureMode": "Input"}]}
VPC = {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
ASYNC = {"OutputConfig": {}}
CROSS_REGION = {"MaxInvocationsPerSecondPerInstance": 1, "MaxCrossRegionPercentPerEndpoint": 1}
SCALING = {"MinCapacity": 1, "MaxCapacity": 4, "TargetValue": 100}
MEMORY = SERVERLESS["ServerlessConfig"]


def by_instance(name="All", count=20, **members):
    found = {"VariantName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": count}
    return found | members


def settings(*variants, shadows=(), policy=None, **members):
    found = {"ProductionVariants": list(variants or [by_instance()]), **members}
    found |= {"ShadowProductionVariants": list(shadows)} if shadows else {}
    return found | ({"DeploymentConfig": policy} if policy else {})


def serverless(**members):
    return settings(SERVERLESS, **members)


def size(value):
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def blue_green(kind="CANARY", timeout=None, **sizes):
    routing = {"Type": kind, "WaitIntervalInSeconds": 60, **sizes}
    limit = {"MaximumExecutionTimeoutInSeconds": timeout} if timeout else {}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **limit}}


def canary(value=50, **members):
    return blue_green(CanarySize=size(value), **members)


def linear(value):
    return blue_green("LINEAR", LinearStepSize=size(value))


def rolling(value=50, **members):
    policy = {"MaximumBatchSize": size(value), "WaitIntervalInSeconds": 60, **members}
    return {"RollingUpdatePolicy": policy}


S = by_instance("Shadow")
T2 = {"InstanceType": "ml.t2.medium", "InitialInstanceCount": 1}
# Row -> settings that it is about
SETTINGS = {
    "variant-names": settings(by_instance(), by_instance()),
    "weights": settings(by_instance(InitialVariantWeight=0)),
    "serverless-instances": settings({**SERVERLESS, "VolumeSizeInGB": 10}),
    "serverless-memory": serverless(),
    "provisioned-concurrency": settings(
        {**SERVERLESS, "ServerlessConfig": {**MEMORY, "ProvisionedConcurrency": 6}}
    ),
    "serverless-variants": settings(SERVERLESS, {**SERVERLESS, "VariantName": "B"}),
    "serverless-data-capture": serverless(DataCaptureConfig=CAPTURE),
    "serverless-vpc": serverless(VpcConfig=VPC),
    "serverless-network-isolation": serverless(EnableNetworkIsolation=True),
    "serverless-asynchronous": serverless(AsyncInferenceConfig=ASYNC),
    "serverless-shadow": serverless(shadows=[S]),
    "serverless-cross-region": serverless(CrossRegionTrafficConfig=CROSS_REGION),
    "serverless-deployment": serverless(policy=blue_green("ALL_AT_ONCE")),
    "serverless-autoscaling": settings({**SERVERLESS, "AutoScaling": SCALING}),
    "asynchronous-shadow": settings(AsyncInferenceConfig=ASYNC, shadows=[S]),
    "asynchronous-cross-region": settings(
        AsyncInferenceConfig=ASYNC, CrossRegionTrafficConfig=CROSS_REGION
    ),
    "asynchronous-data-capture": settings(AsyncInferenceConfig=ASYNC, DataCaptureConfig=CAPTURE),
    "asynchronous-deployment": settings(AsyncInferenceConfig=ASYNC, policy=canary()),
    "shadows": settings(shadows=[S, by_instance("Other")]),
    "shadow-variants": settings(by_instance("A"), by_instance("B"), shadows=[S]),
    "burstable-autoscaling": settings(by_instance(**T2, AutoScaling=SCALING)),
    "update-policies": settings(policy=canary() | rolling()),
    "rolling-variants": settings(by_instance("A"), by_instance("B"), policy=rolling()),
    "step-size-type": settings(policy=blue_green(CanarySize=size(50), LinearStepSize=size(50))),
}
# Row -> the DeploymentConfig for a value of its limits
LIMITS = {
    "canary-size": canary,
    "linear-step-size": linear,
    "rolling-batch-size": rolling,
    "rollback-batch-size": lambda value: rolling(RollbackMaximumBatchSize=size(value)),
    "deployment-timeout": lambda value: canary(timeout=value),
}
LIVE = {"deployment-names", "canary-size", "linear-step-size", "rolling-batch-size"}
LIVE |= {"deployment-timeout"}
CONVERSIONS = {
    "serverless-to-instances": ([SERVERLESS], target()),
    "serverless-to-instances-deployment": ([SERVERLESS], target(DeploymentConfig=canary())),
    "instances-to-serverless": ([by_instance()], target(ProductionVariants=[SERVERLESS])),
}


def of(check):
    return {rule.id for rule in RULES.values() if check in rule.checked_by}


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "staging-config.json"
        path.write_text(json.dumps(content))
        return read_config(path, "staging", last=False)

    return read


def test_every_row_of_the_settings_is_tried_here():
    assert SETTINGS.keys() | LIMITS.keys() == of("settings")
    assert LIVE | CONVERSIONS.keys() == of("live endpoint")


@pytest.mark.parametrize("row", SETTINGS)
def test_p20_settings_are_what_the_row_says(read, row):
    rule = RULES[row]
    if rule.allowed:
        read(SETTINGS[row])
        return
    with pytest.raises(UsageError) as refusal:
        read(SETTINGS[row])
    assert rule.advice in str(refusal.value)


@pytest.mark.parametrize("row", LIMITS)
def test_p20_a_limit_is_what_the_row_says(read, row):
    rule, policy = RULES[row], LIMITS[row]
    for value in (rule.least, rule.most):
        read(settings(policy=policy(value)))
    for value in (rule.least - 1, rule.most + 1):
        with pytest.raises(UsageError, match=f"{value}"):
            read(settings(policy=policy(value)))


@pytest.mark.parametrize("row", sorted(LIVE - {"deployment-names"}))
def test_p20_a_limit_holds_for_the_instances_that_are_live(read, row):
    """Settings that fit the instances in the file, and not the one that is live and retained."""
    policy = LIMITS[row](600 if row == "deployment-timeout" else RULES[row].most)
    if row == "deployment-timeout":
        batch = {"Type": "INSTANCE_COUNT", "Value": 10}
        policy = rolling(MaximumBatchSize=batch, MaximumExecutionTimeoutInSeconds=600)
    found = read(settings(policy=policy, RetainAllVariantProperties=True))
    live = {"All": 200 if row == "deployment-timeout" else 1}
    assert deployment_problems(found, {"All": 20}, {}) == []
    assert deployment_problems(found, live, {})


@pytest.mark.parametrize("policy", [canary(), blue_green("ALL_AT_ONCE"), rolling()])
def test_p20_a_deployment_keeps_the_names_of_the_variants(read, policy):
    found = read(settings(policy=policy))
    (problem,) = deployment_problems(found, {"Old": 20}, {})
    assert RULES["deployment-names"].refusal in problem.message
    assert deployment_problems(read(settings()), {"Old": 20}, {}) == []


@pytest.mark.parametrize("row", CONVERSIONS)
def test_p20_a_conversion_is_what_the_row_says(row):
    live, where = CONVERSIONS[row]
    rule = RULES[row]
    found = evidence(where=where, **serving(1, endpoint_config={"ProductionVariants": live}))
    if rule.allowed:
        endpoint_may_become_the_candidate(found)
        return
    with pytest.raises(UsageError, match=rule.refusal):
        endpoint_may_become_the_candidate(found)
