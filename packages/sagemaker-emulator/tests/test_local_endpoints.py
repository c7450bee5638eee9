"""Models, endpoint configurations and endpoints: their states, and what is refused when."""

import json
import os
import signal

import pytest
from botocore.exceptions import ClientError
from endpoint_helpers import (
    BROKEN,
    SCRIPT,
    artifact,
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
from local_helpers import IMAGE, ROLE, Cloud, unique, until
from sagemaker_emulator import client as local_client


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    state = tmp_path_factory.mktemp("project") / ".sagemaker_local"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_LOCAL_SPEED", "600")
        with local_client.attach(state=state) as local:
            cloud = Cloud(local)
            cloud.s3.create_bucket(Bucket="bucket")
            yield cloud


def refused(function, **members):
    with pytest.raises(ClientError) as refusal:
        function(**members)
    return refusal.value.response["Error"]


def group(cloud):
    name = unique("group")
    cloud.sm.create_model_package_group(ModelPackageGroupName=name)
    return name


def package(cloud, **members):
    """A new version in a group of its own."""
    url = artifact(cloud, "packaged")
    container = {"Image": IMAGE, "ModelDataUrl": url, "Environment": SCRIPT}
    specification = {
        "Containers": [container],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }
    return cloud.sm.create_model_package(
        **{"ModelPackageGroupName": group(cloud), "InferenceSpecification": specification} | members
    )["ModelPackageArn"]


# Models


def create_model(cloud, **members):
    return refused(cloud.sm.create_model, ModelName=unique("m"), ExecutionRoleArn=ROLE, **members)


def test_a_model_has_a_container_or_several_and_not_both(cloud):
    container = {"Image": IMAGE}
    for members in ({}, {"PrimaryContainer": container, "Containers": [container]}):
        error = create_model(cloud, **members)
        assert error["Code"] == "ValidationException"
        assert "either PrimaryContainer or Containers" in error["Message"]
    named = {"ModelPackageName": "p", "InferenceSpecificationName": "other"}
    for members in ({"PrimaryContainer": named}, {"Containers": [named]}):
        error = create_model(cloud, **members)
        assert error["Code"] == "UnsupportedOperation"
        assert "InferenceSpecificationName" in error["Message"]
    for container in ({}, {"Image": IMAGE, "ModelPackageName": "p"}):
        error = create_model(cloud, PrimaryContainer=container)
        assert "Specify one of either Image and Model Data URL" in error["Message"]


@pytest.mark.acceptance
def test_only_an_approved_version_becomes_a_model(cloud):
    arn = package(cloud)
    for approval in ("PendingManualApproval", "Rejected"):
        cloud.sm.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=approval)
        error = create_model(cloud, PrimaryContainer={"ModelPackageName": arn})
        assert error["Code"] == "ValidationException"
        assert approval in error["Message"] and arn in error["Message"]
    missing = arn.rpartition("/")[0] + "/9"
    error = create_model(cloud, PrimaryContainer={"ModelPackageName": missing})
    assert f"ModelPackage {missing} does not exist." in error["Message"]
    cloud.sm.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    name = unique("m")
    cloud.sm.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"ModelPackageName": arn}
    )
    found = cloud.sm.describe_model(ModelName=name)
    assert found["PrimaryContainer"] == {"ModelPackageName": arn, "Mode": "SingleModel"}
    assert found["EnableNetworkIsolation"] is False
    served = endpoint(cloud, config(cloud, variant(name)))
    assert served["EndpointStatus"] == "InService"
    assert invoke(cloud, served["EndpointName"]) == "packaged"
    image = served["ProductionVariants"][0]["DeployedImages"][0]
    inside = cloud.sm.describe_model_package(ModelPackageName=arn)
    digest = inside["InferenceSpecification"]["Containers"][0]["ImageDigest"]
    assert image["SpecifiedImage"] == IMAGE
    assert image["ResolvedImage"] == f"{IMAGE.rpartition(':')[0]}@{digest}"


def test_a_model_comes_from_s3_only(cloud):
    elsewhere = "https://example.com/model.tar.gz"
    gzip = {"S3DataType": "S3Object", "CompressionType": "Gzip"}
    for members in (
        {"ModelDataUrl": elsewhere},
        {"ModelDataSource": {"S3DataSource": gzip | {"S3Uri": elsewhere}}},
    ):
        error = create_model(cloud, PrimaryContainer={"Image": IMAGE} | members)
        assert error["Code"] == "UnsupportedOperation" and elsewhere in error["Message"]


# Endpoint configurations


def test_a_configuration_is_described_as_it_was_given(cloud):
    given = variant(
        model(cloud),
        RoutingConfig={"RoutingStrategy": "RANDOM"},
        VolumeSizeInGB=9,
        ModelDataDownloadTimeoutInSeconds=60,
        ContainerStartupHealthCheckTimeoutInSeconds=61,
        VariantInstanceProvisionTimeoutInSeconds=300,
        EnableSSMAccess=True,
        InferenceAmiVersion="al2-ami-sagemaker-inference-gpu-2",
    )
    rest = {
        "KmsKeyId": "key",
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        "EnableNetworkIsolation": True,
        "DataCaptureConfig": {
            "EnableCapture": True,
            "InitialSamplingPercentage": 50,
            "DestinationS3Uri": "s3://bucket/captured",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
    }
    name = config(cloud, given, **rest)
    found = cloud.sm.describe_endpoint_config(EndpointConfigName=name)
    assert found["ProductionVariants"] == [given]
    assert {key: found[key] for key in rest} == rest
    listed = cloud.sm.list_endpoint_configs(NameContains=name)["EndpointConfigs"]
    assert [item["EndpointConfigName"] for item in listed] == [name]
    error = refused(
        cloud.sm.create_endpoint_config, EndpointConfigName=name, ProductionVariants=[given]
    )
    arn = found["EndpointConfigArn"]
    assert error["Message"] == f'Cannot create already existing endpoint configuration "{arn}".'
    cloud.sm.delete_endpoint_config(EndpointConfigName=name)
    error = refused(cloud.sm.describe_endpoint_config, EndpointConfigName=name)
    assert error["Message"] == f'Could not find endpoint configuration "{arn}".'


SERVERLESS = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}
INSTANCE = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
CAPTURE = {
    "InitialSamplingPercentage": 50,
    "DestinationS3Uri": "s3://bucket/x",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}
ASYNC = {"OutputConfig": {"S3OutputPath": "s3://bucket/out"}}


@pytest.mark.parametrize(
    "variants, members, code, word",
    [
        ([INSTANCE | SERVERLESS], {}, "ValidationException", "has no instances"),
        ([{}], {}, "ValidationException", "both required"),
        ([{"InstanceType": "ml.m5.large"}], {}, "ValidationException", "both required"),
        ([INSTANCE | {"VariantName": "a"}] * 2, {}, "ValidationException", "same name"),
        ([INSTANCE | {"InitialVariantWeight": 0.0}], {}, "ValidationException", "weights are 0"),
        ([INSTANCE | {"ModelName": "nope"}], {}, "ValidationException", "Could not find model"),
        ([SERVERLESS] * 2, {}, "ValidationException", "has one variant"),
        ([SERVERLESS], {"DataCaptureConfig": CAPTURE}, "ValidationException", "serverless"),
        (
            [{"ServerlessConfig": {"MemorySizeInMB": 1500, "MaxConcurrency": 5}}],
            *({}, "ValidationException", "MemorySizeInMB"),
        ),
        ([INSTANCE] * 2, {"shadows": 1}, "ValidationException", "exactly one production"),
        ([INSTANCE], {"shadows": 2}, "ValidationException", "one shadow variant"),
        (
            [INSTANCE],
            *({"shadows": 1, "AsyncInferenceConfig": ASYNC}, "ValidationException", "asynchronous"),
        ),
        ([INSTANCE | {"ModelName": None}], {}, "UnsupportedOperation", "inference components"),
        (
            [INSTANCE | {"ManagedInstanceScaling": {"Status": "ENABLED"}}],
            *({}, "UnsupportedOperation", "ManagedInstanceScaling"),
        ),
        (
            [INSTANCE | {"RoutingConfig": {"RoutingStrategy": "KV_AWARE"}}],
            *({}, "UnsupportedOperation", "KV_AWARE"),
        ),
        (
            [INSTANCE | {"RoutingConfig": {"RoutingStrategy": "RANDOM",
                "PrefixAwareRoutingConfig": {"PrefixLength": 1024}}}],
            *({}, "UnsupportedOperation", "PrefixAwareRoutingConfig"),
        ),
        (
            [INSTANCE],
            {"CrossRegionTrafficConfig": {"MaxInvocationsPerSecondPerInstance": 1,
                "MaxCrossRegionPercentPerEndpoint": 1}},
            *("UnsupportedOperation", "CrossRegionTrafficConfig"),
        ),
        (
            [INSTANCE],
            {"ExplainerConfig": {"ClarifyExplainerConfig": {"ShapConfig": {
                "ShapBaselineConfig": {}}}}},
            *("UnsupportedOperation", "ExplainerConfig"),
        ),
        (
            [INSTANCE],
            {"AsyncInferenceConfig": {"OutputConfig": {}}},
            *("UnsupportedOperation", "S3OutputPath"),
        ),
        (
            [INSTANCE],
            {"AsyncInferenceConfig": {"OutputConfig": {"NotificationConfig": {
                "SuccessTopic": "arn:aws:sns:us-east-1:123456789012:x"}}}},
            *("UnsupportedOperation", "NotificationConfig"),
        ),
    ],
)  # fmt: skip
def test_configurations_that_are_refused(cloud, variants, members, code, word):
    members, name = dict(members), model(cloud)

    def complete(number, given):
        whole = {"VariantName": f"v{number}", "ModelName": name} | given
        return {key: value for key, value in whole.items() if value is not None}

    if shadows := members.pop("shadows", 0):
        members["ShadowProductionVariants"] = [
            complete(f"s{number}", INSTANCE) for number in range(shadows)
        ]
    error = refused(
        cloud.sm.create_endpoint_config,
        EndpointConfigName=unique("config"),
        ProductionVariants=[complete(n, given) for n, given in enumerate(variants)],
        **members,
    )
    assert error["Code"] == code
    assert word in error["Message"]


def test_several_containers_are_refused_by_name(cloud):
    name = unique("pair")
    containers = [{"Image": IMAGE, "ModelDataUrl": artifact(cloud)}] * 2
    cloud.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, Containers=containers)
    error = refused(
        cloud.sm.create_endpoint,
        EndpointName=unique("e"),
        EndpointConfigName=config(cloud, variant(name)),
    )
    assert error["Code"] == "UnsupportedOperation" and "2 containers" in error["Message"]


# Endpoints


def test_an_endpoint_comes_serves_and_goes(cloud, tmp_path):
    file = tmp_path / "file"  # the model loads once it is there
    loading = f"import time\nwhile not os.path.exists({str(file)!r}): time.sleep(0.01)"
    wanted = simple(cloud, "hello", loading, count=2, DataCaptureConfig=CAPTURE)
    name = endpoint(cloud, wanted, wait=False)
    creating = describe(cloud, name)
    assert creating["EndpointStatus"] == "Creating"
    assert creating["EndpointConfigName"] == wanted
    for function, members in (
        (cloud.sm.delete_endpoint, {}),
        (cloud.sm.update_endpoint, {"EndpointConfigName": wanted}),
    ):
        error = refused(function, EndpointName=name, **members)
        assert error["Code"] == "ValidationException"
        assert (
            error["Message"] == f'Cannot update in-progress endpoint "{creating["EndpointArn"]}".'
        )
    file.touch()
    found = settled(cloud, name)
    assert found["EndpointStatus"] == "InService"
    assert "FailureReason" not in found and "PendingDeploymentSummary" not in found
    (served,) = found["ProductionVariants"]
    images = served.pop("DeployedImages")
    assert served == {
        "VariantName": "AllTraffic",
        "CurrentWeight": 1.0,
        "DesiredWeight": 1.0,
        "CurrentInstanceCount": 2,
        "DesiredInstanceCount": 2,
    }
    assert images[0]["ResolvedImage"].partition("@")[2].startswith("sha256:")
    assert found["DataCaptureConfig"]["CaptureStatus"] == "Started"  # left out is on
    assert invoke(cloud, name) == "hello"
    error = refused(cloud.sm.create_endpoint, EndpointName=name, EndpointConfigName=wanted)
    assert "Cannot create already existing endpoint" in error["Message"]
    listed = cloud.sm.list_endpoints(NameContains=name, StatusEquals="InService")["Endpoints"]
    assert [item["EndpointName"] for item in listed] == [name]
    cloud.sm.delete_endpoint(EndpointName=name)
    until(lambda: not cloud.sm.list_endpoints(NameContains=name)["Endpoints"])
    error = refused(cloud.sm.describe_endpoint, EndpointName=name)
    assert error["Message"] == f'Could not find endpoint "{found["EndpointArn"]}".'
    assert refused(cloud.client("sagemaker-runtime").invoke_endpoint, EndpointName=name, Body=b"")


def test_a_model_that_does_not_start_fails_the_endpoint_which_can_only_be_deleted(cloud):
    found = endpoint(cloud, simple(cloud, before=BROKEN))
    assert found["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in found["FailureReason"]
    assert "this model is broken" in found["FailureReason"]
    name = found["EndpointName"]
    error = refused(cloud.sm.update_endpoint, EndpointName=name, EndpointConfigName=simple(cloud))
    assert "can only be deleted" in error["Message"]
    cloud.sm.delete_endpoint(EndpointName=name)
    until(lambda: not cloud.sm.list_endpoints(NameContains=name)["Endpoints"])


def test_an_endpoint_without_its_artifact_fails_and_says_which(cloud):
    lost = "s3://bucket/no/such/model.tar.gz"
    name = config(cloud, variant(model(cloud, ModelDataUrl=lost)))
    found = endpoint(cloud, name)
    assert found["EndpointStatus"] == "Failed" and lost in found["FailureReason"]


def test_an_update_to_what_no_process_can_be_started_with_goes_back(cloud):
    first = simple(cloud, "old")
    name = endpoint(cloud, first)["EndpointName"]
    odd = variant(model(cloud, Environment=SCRIPT | {"MINE": "a\0b"}), "Odd")
    new = config(cloud, variant(model(cloud)), odd)
    cloud.sm.update_endpoint(EndpointName=name, EndpointConfigName=new)
    found = settled(cloud, name)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", first)
    assert "variant Odd" in found["FailureReason"] and "null byte" in found["FailureReason"]
    assert invoke(cloud, name) == "old"


def test_an_endpoint_outlives_its_configuration_and_model_but_is_not_updated_then(cloud):
    name = model(cloud, "stays")
    first = config(cloud, variant(name))
    served = endpoint(cloud, first)["EndpointName"]
    cloud.sm.delete_endpoint_config(EndpointConfigName=first)
    cloud.sm.delete_model(ModelName=name)
    assert invoke(cloud, served) == "stays"
    assert describe(cloud, served)["EndpointConfigName"] == first
    members = {"EndpointName": served, "EndpointConfigName": simple(cloud)}
    error = refused(cloud.sm.update_endpoint, **members)
    assert "Could not find endpoint configuration" in error["Message"]
    assert first in error["Message"]


def test_missing_things_are_named(cloud):
    error = refused(cloud.sm.create_endpoint, EndpointName="e", EndpointConfigName="nope")
    assert "Could not find endpoint configuration" in error["Message"]
    error = refused(cloud.sm.update_endpoint, EndpointName="nope", EndpointConfigName="nope")
    assert error["Message"].startswith('Could not find endpoint "arn:')
    assert "nope" in refused(cloud.sm.delete_endpoint, EndpointName="nope")["Message"]


def test_weights_and_capacities(cloud):
    both = [variant(model(cloud, "a"), "a", weight=1), variant(model(cloud, "b"), "b", weight=3)]
    name = endpoint(cloud, config(cloud, *both))["EndpointName"]
    answers = [invoke(cloud, name) for _ in range(8)]
    assert answers.count("b") == 6
    assert invoke(cloud, name, TargetVariant="a") == "a"
    wanted = [
        {"VariantName": "a", "DesiredWeight": 1.0, "DesiredInstanceCount": 3},
        {"VariantName": "b", "DesiredWeight": 0.0},
    ]
    members = {"EndpointName": name, "DesiredWeightsAndCapacities": wanted}
    cloud.sm.update_endpoint_weights_and_capacities(**members)
    assert describe(cloud, name)["EndpointStatus"] in ("Updating", "InService")
    found = {v["VariantName"]: v for v in settled(cloud, name)["ProductionVariants"]}
    assert found["a"]["CurrentInstanceCount"] == found["a"]["DesiredInstanceCount"] == 3
    assert found["b"]["CurrentWeight"] == found["b"]["DesiredWeight"] == 0
    assert {invoke(cloud, name) for _ in range(8)} == {"a"}
    for change, word in (
        ({"VariantName": "c", "DesiredWeight": 1.0}, "Could not find variant"),
        ({"VariantName": "a", "DesiredInstanceCount": 0}, "DesiredInstanceCount 0"),
        ({"VariantName": "a", "DesiredWeight": 0.0}, "exceed 0"),
        (
            {"VariantName": "a", "ServerlessUpdateConfig": {"MaxConcurrency": 2}},
            "ServerlessUpdateConfig",
        ),
    ):
        members = {"EndpointName": name, "DesiredWeightsAndCapacities": [change]}
        error = refused(cloud.sm.update_endpoint_weights_and_capacities, **members)
        assert word in error["Message"]


def test_autoscaled_counts_and_weights_are_kept_when_asked(cloud):
    """P38: RetainAllVariantProperties; by default the new configuration's counts hold."""
    first, second, third = (simple(cloud, answer, count=1) for answer in ("one", "two", "three"))
    name = endpoint(cloud, first)["EndpointName"]
    change = {"VariantName": "AllTraffic", "DesiredInstanceCount": 5, "DesiredWeight": 2.0}
    cloud.sm.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[change]
    )
    settled(cloud, name)
    cloud.sm.update_endpoint(
        EndpointName=name,
        EndpointConfigName=second,
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredWeight"}],
    )
    found = settled(cloud, name)
    assert found["EndpointConfigName"] == second
    (kept,) = found["ProductionVariants"]
    assert (kept["CurrentInstanceCount"], kept["CurrentWeight"]) == (5, 1.0)
    cloud.sm.update_endpoint(EndpointName=name, EndpointConfigName=third)
    (reset,) = settled(cloud, name)["ProductionVariants"]
    assert reset["CurrentInstanceCount"] == 1


@pytest.mark.acceptance
def test_what_scales_by_itself_may_not_go_nor_change_its_instances(cloud):
    both = [variant(model(cloud), "a"), variant(model(cloud), "b")]
    name = endpoint(cloud, config(cloud, *both))["EndpointName"]
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{name}/variant/b",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling = cloud.client("application-autoscaling")
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=2)
    larger = config(cloud, both[0], both[1] | {"InstanceType": "ml.m5.xlarge"})
    for new in (larger, config(cloud, both[0])):
        error = refused(cloud.sm.update_endpoint, EndpointName=name, EndpointConfigName=new)
        assert error["Code"] == "ValidationException"
        assert 'variant(s) "[b]" must be deregistered' in error["Message"]
    other = [both[0] | {"InstanceType": "ml.m5.xlarge"}, variant(model(cloud, "new"), "b")]
    cloud.sm.update_endpoint(EndpointName=name, EndpointConfigName=config(cloud, *other))
    settled(cloud, name)
    scaling.deregister_scalable_target(**target)
    cloud.sm.update_endpoint(EndpointName=name, EndpointConfigName=larger)
    assert settled(cloud, name)["EndpointConfigName"] == larger
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=2)
    cloud.sm.delete_endpoint(EndpointName=name)
    until(lambda: not cloud.sm.list_endpoints(NameContains=name)["Endpoints"])
    targets = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert target["ResourceId"] not in {found["ResourceId"] for found in targets}


def test_a_serverless_endpoint(cloud):
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    given = {"VariantName": "v", "ModelName": model(cloud, "s"), "ServerlessConfig": serverless}
    name = endpoint(cloud, config(cloud, given))["EndpointName"]
    assert invoke(cloud, name) == "s"
    (found,) = describe(cloud, name)["ProductionVariants"]
    assert found["CurrentServerlessConfig"] == serverless
    cloud.sm.update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[
            {"VariantName": "v", "ServerlessUpdateConfig": {"MaxConcurrency": 7}}
        ],
    )
    (found,) = settled(cloud, name)["ProductionVariants"]
    assert found["CurrentServerlessConfig"]["MaxConcurrency"] == 7
    serverless = describe(cloud, name)["EndpointConfigName"]
    cloud.sm.update_endpoint(EndpointName=name, EndpointConfigName=simple(cloud, "i"))
    (found,) = settled(cloud, name)["ProductionVariants"]
    assert found["CurrentInstanceCount"] == 1 and "CurrentServerlessConfig" not in found
    assert invoke(cloud, name) == "i"
    members = {"EndpointName": name, "EndpointConfigName": serverless}
    error = refused(cloud.sm.update_endpoint, **members)
    assert "an endpoint of instances cannot become serverless" in error["Message"].lower()


def test_events_tell_of_states_and_deployments(cloud):
    found = endpoint(cloud, simple(cloud))
    arn, name = found["EndpointArn"], found["EndpointName"]
    cloud.sm.update_endpoint(EndpointName=name, EndpointConfigName=simple(cloud))
    settled(cloud, name)
    lines = (cloud.local.state / "events.jsonl").read_text().splitlines()
    events = [event for event in map(json.loads, lines) if event["resources"] == [arn]]
    states = [
        event["detail"]["EndpointStatus"]
        for event in events
        if event["detail-type"] == "SageMaker Endpoint State Change"
    ]
    assert states == ["IN_SERVICE", "UPDATING", "IN_SERVICE"]
    deployment = [
        event["detail"]["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"][0]
        for event in events
        if event["detail-type"] == "SageMaker Endpoint Deployment State Change"
    ]
    assert [stage["Status"] for stage in deployment] == ["Creating", "ActivatingTraffic", "Baking"]


# Tags


def tags(cloud, arn):
    return {tag["Key"]: tag["Value"] for tag in cloud.sm.list_tags(ResourceArn=arn)["Tags"]}


@pytest.mark.acceptance
def test_tags_of_an_endpoint_change_at_any_time_and_survive_an_update(server, tmp_path):
    begin = tmp_path / "begin"
    waits = f"import time\nwhile not os.path.exists({str(begin)!r}): time.sleep(0.01)"
    with server as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        team = [{"Key": "team", "Value": "prices"}]
        served, slow = model(cloud), model(cloud, before=waits)
        name = config(cloud, variant(served), Tags=team)
        made = endpoint(cloud, name, Tags=team)
        for arn in (
            cloud.sm.describe_model(ModelName=served)["ModelArn"],
            cloud.sm.describe_endpoint_config(EndpointConfigName=name)["EndpointConfigArn"],
        ):
            added = cloud.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "head", "Value": "1:a"}])
            assert {"Key": "head", "Value": "1:a"} in added["Tags"]
            cloud.sm.delete_tags(ResourceArn=arn, TagKeys=["team"])
            assert tags(cloud, arn) == {"head": "1:a"}
        arn, name = made["EndpointArn"], made["EndpointName"]
        update = config(cloud, variant(slow))
        cloud.sm.update_endpoint(EndpointName=name, EndpointConfigName=update)
        cloud.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "head", "Value": "2:b"}])
        assert tags(cloud, arn) == {"team": "prices", "head": "2:b"}
        cloud.sm.delete_tags(ResourceArn=arn, TagKeys=["team"])
        assert describe(cloud, name)["EndpointStatus"] == "Updating"
        begin.touch()
        assert settled(cloud, name)["EndpointConfigName"] == update
        assert tags(cloud, arn) == {"head": "2:b"}
    with server as cloud:
        assert tags(cloud, arn) == {"head": "2:b"}
        cloud.sm.delete_endpoint(EndpointName=name)
        until(lambda: not cloud.sm.list_endpoints(NameContains=name)["Endpoints"])
        with pytest.raises(ClientError, match="does not exist"):
            cloud.sm.list_tags(ResourceArn=arn)


# Restarts


class Server:
    """A server that may be killed and started again."""

    def __init__(self, state):
        self.state = state

    def __enter__(self):
        self.attached = local_client.attach(state=self.state)
        self.cloud = Cloud(self.attached.__enter__())
        return self.cloud

    def __exit__(self, *_):
        self.attached.__exit__(None, None, None)

    def kill(self):
        os.kill(json.loads((self.state / "server.json").read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_LOCAL_SPEED", "600")
    return Server(tmp_path / ".sagemaker_local")


@pytest.mark.acceptance
def test_an_endpoint_comes_back_and_starts_nothing_before_a_request(server):
    with server as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        name = endpoint(cloud, simple(cloud, "again", count=2))["EndpointName"]
        before = describe(cloud, name)["ProductionVariants"]
    with server as cloud:
        found = describe(cloud, name)
        assert found["EndpointStatus"] == "InService"
        assert found["ProductionVariants"] == before
        assert not list((server.state / "endpoints").glob("*"))
        assert invoke(cloud, name) == "again"


SLOW = "import time; time.sleep(0.6)"


@pytest.mark.acceptance
def test_what_was_under_way_is_finished_after_a_kill(server, monkeypatch):
    canary = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                "WaitIntervalInSeconds": 900,
            },
        }
    }

    def is_baking(cloud):
        pending = describe(cloud, updating).get("PendingDeploymentSummary") or {}
        (shown,) = pending.get("ProductionVariants", [{}])
        return shown.get("VariantStatus", [{}])[0].get("Status") == "Baking"

    monkeypatch.setenv("SAGEMAKER_LOCAL_SPEED", "1")  # nothing ends before it is killed
    with server as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        old, new = simple(cloud, "old", count=2), simple(cloud, "new", count=2)
        updating = endpoint(cloud, old)["EndpointName"]
        deleting = endpoint(cloud, old)["EndpointName"]
        made = simple(cloud, "made", SLOW)
        members = {"EndpointName": updating, "EndpointConfigName": new}
        cloud.sm.update_endpoint(**members, DeploymentConfig=canary)
        until(lambda: is_baking(cloud))
        creating = endpoint(cloud, made, wait=False)
        cloud.sm.delete_endpoint(EndpointName=deleting)
        server.kill()
    with server as cloud:
        assert describe(cloud, updating)["EndpointStatus"] == "Updating"
        assert invoke(cloud, updating) in ("old", "new")
        assert settled(cloud, creating)["EndpointStatus"] == "InService"
        assert invoke(cloud, creating) == "made"
        until(lambda: is_baking(cloud))
        server.kill()
    monkeypatch.setenv("SAGEMAKER_LOCAL_SPEED", "600")
    with server as cloud:
        found = settled(cloud, updating)
        assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", new)
        assert invoke(cloud, updating) == "new"
        assert deleting not in {e["EndpointName"] for e in cloud.sm.list_endpoints()["Endpoints"]}


@pytest.mark.acceptance
def test_a_rollback_that_was_cut_off_ends_on_the_old_configuration(server):
    with server as cloud:
        cloud.s3.create_bucket(Bucket="bucket")
        old = simple(cloud, "old")
        name = endpoint(cloud, old)["EndpointName"]
    store = json.loads  # the state as a rollback leaves it that was killed in the middle
    import sqlite3

    with sqlite3.connect(server.state / "state.db") as database:
        arn, text = database.execute(
            "SELECT arn, document FROM resources WHERE kind = 'Endpoint'"
        ).fetchone()
        document = store(text) | {"EndpointStatus": "RollingBack", "FailureReason": "because"}
        document["Next"] = document["Live"] | {"EndpointConfigName": "new"}
        values = (json.dumps(document), arn)
        database.execute("UPDATE resources SET document = ? WHERE arn = ?", values)
    with server as cloud:
        found = describe(cloud, name)
        assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old)
        assert found["FailureReason"] == "because"
        assert invoke(cloud, name) == "old"


def test_reaching_a_state_is_waited_for(cloud):
    name = endpoint(cloud, simple(cloud), wait=False)
    assert reach(cloud, name, "InService")["EndpointStatus"] == "InService"
