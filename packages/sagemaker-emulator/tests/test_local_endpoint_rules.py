"""What SageMaker allows for an endpoint: each row of the table, asked through boto3."""

import pytest
from botocore.exceptions import ClientError
from endpoint_helpers import config, describe, endpoint, model, settled, simple, variant
from local_helpers import unique
from sagemaker_emulator.hosting.endpoint_rules import RULES

VPC = {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
CAPTURE = {
    "InitialSamplingPercentage": 50,
    "DestinationS3Uri": "s3://bucket/x",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}
ASYNC = {"OutputConfig": {"S3OutputPath": "s3://bucket/out"}}
CROSS_REGION = {"MaxInvocationsPerSecondPerInstance": 1, "MaxCrossRegionPercentPerEndpoint": 1}
MEMORY = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}


def by_instance(name="v", **members):
    return {"VariantName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1} | members


def serverless(name="v", **members):
    return {"VariantName": name, "ServerlessConfig": MEMORY} | members


def request(*variants, shadows=(), **members):
    """Members of CreateEndpointConfig without the models."""
    found = {"ProductionVariants": list(variants), **members}
    return found | ({"ShadowProductionVariants": list(shadows)} if shadows else {})


S = by_instance("shadow")
# Row -> (members of CreateEndpointConfig that the row is about, and some of CreateModel)
CONFIGS = {
    "variant-names": request(by_instance(), by_instance()),
    "weights": request(by_instance(InitialVariantWeight=0.0)),
    "serverless-instances": request(serverless(VolumeSizeInGB=10)),
    "serverless-memory": request(serverless(ServerlessConfig=MEMORY | {"MemorySizeInMB": 6144})),
    "provisioned-concurrency": request(
        serverless(ServerlessConfig=MEMORY | {"ProvisionedConcurrency": 6})
    ),
    "serverless-variants": request(serverless("a"), serverless("b")),
    "serverless-data-capture": request(serverless(), DataCaptureConfig=CAPTURE),
    "serverless-vpc": request(serverless(), VpcConfig=VPC),
    "serverless-network-isolation": request(serverless(), EnableNetworkIsolation=True),
    "serverless-asynchronous": request(serverless(), AsyncInferenceConfig=ASYNC),
    "serverless-shadow": request(serverless(), shadows=[S]),
    "serverless-cross-region": request(serverless(), CrossRegionTrafficConfig=CROSS_REGION),
    "asynchronous-shadow": request(by_instance(), shadows=[S], AsyncInferenceConfig=ASYNC),
    "asynchronous-cross-region": request(
        by_instance(), AsyncInferenceConfig=ASYNC, CrossRegionTrafficConfig=CROSS_REGION
    ),
    "asynchronous-data-capture": request(
        by_instance(), AsyncInferenceConfig=ASYNC, DataCaptureConfig=CAPTURE
    ),
    "shadows": request(by_instance(), shadows=[S, by_instance("other")]),
    "shadow-variants": request(by_instance("a"), by_instance("b"), shadows=[S]),
}
# The emulator has no traffic between Regions, and says that first.
NOT_EMULATED = {"serverless-cross-region", "asynchronous-cross-region"}


def with_models(name, found):
    """Name a model in each variant of a request."""
    kinds = ("ProductionVariants", "ShadowProductionVariants")
    variants = {
        kind: [v | {"ModelName": name} for v in found[kind]] for kind in kinds & found.keys()
    }
    return found | variants


def of(operation):
    """The ids of the rows that this operation of the API checks."""
    return {rule.id for rule in RULES.values() if operation in rule.checked_by}


def asked(rule, call, *words, **members):
    """Make a call that must succeed, or fail for the reason of the rule, as the rule says."""
    if rule.allowed:
        return call(**members)
    with pytest.raises(ClientError) as refusal:
        call(**members)
    error = refusal.value.response["Error"]
    assert error["Code"] == "ValidationException"
    assert all(word in error["Message"].lower() for word in words or [rule.reason.lower()])
    return None


def test_every_row_of_the_api_is_tried_here():
    assert set(CONFIGS) == of("CreateEndpointConfig")
    assert {*UPDATES, *LIMITS, *OTHERS} == of("UpdateEndpoint")


@pytest.mark.parametrize("row", sorted(set(CONFIGS) - NOT_EMULATED))
def test_an_endpoint_configuration_is_what_the_row_says(cloud, row):
    members = {"EndpointConfigName": unique("config")} | with_models(model(cloud), CONFIGS[row])
    asked(RULES[row], cloud.sm.create_endpoint_config, **members)


@pytest.mark.parametrize("row", sorted(NOT_EMULATED))
def test_what_the_emulator_lacks_is_refused_by_name(cloud, row):
    members = {"EndpointConfigName": unique("config")} | with_models(model(cloud), CONFIGS[row])
    with pytest.raises(ClientError, match="UnsupportedOperation.*CrossRegionTrafficConfig"):
        cloud.sm.create_endpoint_config(**members)


@pytest.mark.parametrize("network", [{"VpcConfig": VPC}, {"EnableNetworkIsolation": True}])
def test_what_a_model_says_of_the_network_counts(cloud, network):
    row = "serverless-vpc" if "VpcConfig" in network else "serverless-network-isolation"
    found = cloud.sm.describe_model(ModelName=model(cloud))
    name = unique("model")
    role, container = found["ExecutionRoleArn"], found["PrimaryContainer"]
    cloud.sm.create_model(
        ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container, **network
    )
    members = {"EndpointConfigName": unique("config")} | with_models(name, request(serverless()))
    asked(RULES[row], cloud.sm.create_endpoint_config, **members)


def test_data_capture_that_is_off_is_none(cloud):
    capture = CAPTURE | {"EnableCapture": False}
    found = with_models(model(cloud), request(serverless(), DataCaptureConfig=capture))
    cloud.sm.create_endpoint_config(EndpointConfigName=unique("config"), **found)


# Updates


def size(value, unit="CAPACITY_PERCENT"):
    return {"Type": unit, "Value": value}


def canary(value=50, **members):
    routing = {"Type": "CANARY", "WaitIntervalInSeconds": 0, "CanarySize": size(value), **members}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}


def linear(value):
    routing = {"Type": "LINEAR", "WaitIntervalInSeconds": 0, "LinearStepSize": size(value)}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}


def rolling(value=50, **members):
    policy = {"MaximumBatchSize": size(value), "WaitIntervalInSeconds": 0, **members}
    return {"RollingUpdatePolicy": policy}


def rolling_back(value):
    return rolling(RollbackMaximumBatchSize=size(value))


def pair(name="v"):
    return [by_instance(name, InitialInstanceCount=2)]


# Row -> (what serves, what is to serve, the DeploymentConfig)
UPDATES = {
    "serverless-deployment": (request(serverless()), request(serverless()), canary()),
    "asynchronous-deployment": (
        *[request(*pair(), AsyncInferenceConfig=ASYNC)] * 2,
        canary(),
    ),
    "update-policies": (request(*pair()), request(*pair()), canary() | rolling()),
    "rolling-variants": (*[request(*pair("a"), *pair("b"))] * 2, rolling()),
    "deployment-names": (request(*pair("a")), request(*pair("b")), canary()),
    "step-size-type": (
        *[request(*pair())] * 2,
        canary(LinearStepSize=size(50)),
    ),
    "deployment-timeout": (
        *[request(*pair())] * 2,
        rolling(MaximumExecutionTimeoutInSeconds=600),
    ),
    "serverless-to-instances": (request(serverless()), request(*pair()), None),
    "serverless-to-instances-deployment": (request(serverless()), request(*pair()), canary()),
    "instances-to-serverless": (request(*pair()), request(serverless()), None),
}
LIMITS = {
    "canary-size": canary,
    "linear-step-size": linear,
    "rolling-batch-size": rolling,
    "rollback-batch-size": rolling_back,
}
OTHERS = {"scaled-variant"}


def created(cloud, found):
    name = unique("config")
    cloud.sm.create_endpoint_config(EndpointConfigName=name, **with_models(model(cloud), found))
    return name


def update(cloud, rule, name, wanted, policy):
    members = {"EndpointName": name, "EndpointConfigName": wanted}
    members |= {"DeploymentConfig": policy} if policy else {}
    before = describe(cloud, name)["EndpointConfigName"]
    asked(rule, cloud.sm.update_endpoint, **members)
    found = settled(cloud, name)
    assert found["EndpointStatus"] == "InService"
    assert found["EndpointConfigName"] == (wanted if rule.allowed else before)


@pytest.mark.parametrize("row", UPDATES)
def test_an_update_is_what_the_row_says(cloud, row):
    live, wanted, policy = UPDATES[row]
    name = endpoint(cloud, created(cloud, live))["EndpointName"]
    update(cloud, RULES[row], name, created(cloud, wanted), policy)


@pytest.fixture(scope="module")
def large(cloud):
    """An endpoint of 20 instances, of which 5 % is one, and what is to serve there."""
    many = with_models(model(cloud), request(by_instance(InitialInstanceCount=20)))
    names = [unique("config") for _ in range(2)]
    for name in names:
        cloud.sm.create_endpoint_config(EndpointConfigName=name, **many)
    return endpoint(cloud, names[0])["EndpointName"], names


@pytest.mark.parametrize("row", LIMITS)
def test_a_limit_is_what_the_row_says(cloud, large, row):
    name, configs = large
    rule, policy = RULES[row], LIMITS[row]
    other = next(c for c in configs if c != describe(cloud, name)["EndpointConfigName"])
    unchecked = cloud.client("sagemaker", parameter_validation=False)
    for value in {rule.least - 1, rule.most + 1} - {0}:
        with pytest.raises(ClientError, match=rule.reason):
            unchecked.update_endpoint(
                EndpointName=name, EndpointConfigName=other, DeploymentConfig=policy(value)
            )
    for value in (rule.least, rule.most):
        other = next(c for c in configs if c != describe(cloud, name)["EndpointConfigName"])
        update(cloud, rule, name, other, policy(value))


def test_a_scaled_variant_is_what_the_row_says(cloud):
    name = endpoint(cloud, simple(cloud))["EndpointName"]
    cloud.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=f"endpoint/{name}/variant/AllTraffic",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=1,
        MaxCapacity=2,
    )
    larger = config(cloud, variant(model(cloud), InstanceType="ml.m5.xlarge"))
    members = {"EndpointName": name, "EndpointConfigName": larger}
    words = ("must be deregistered", "instance type")
    asked(RULES["scaled-variant"], cloud.sm.update_endpoint, *words, **members)
