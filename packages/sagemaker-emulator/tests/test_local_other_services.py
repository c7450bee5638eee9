"""What deployments need of other services: conditional writes, ECR, autoscaling, the caller."""

import hashlib
import json
import sys
import threading

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from endpoint_helpers import artifact, endpoint, simple
from local_helpers import (
    IMAGE,
    ROLE,
    Cloud,
    create,
    definition,
    finish,
    start,
    step,
    steps_of,
    unique,
)
from sagemaker_emulator import client as local_client
from sagemaker_emulator.api.other_services import OtherServices
from sagemaker_emulator.api.store import Store


def caller(cloud, name, service="sagemaker"):
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=cloud.url,
        aws_access_key_id=name,
        aws_secret_access_key="x",
        aws_session_token=cloud.local.secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def code(refusal):
    return refusal.value.response["Error"]["Code"]


# S3


def together(number, function):
    """Run a function in that many threads at once: (results by index, codes of the refusals)."""
    barrier, results, refusals = threading.Barrier(number), [], []

    def run(index):
        barrier.wait()
        try:
            results.append((index, function(index)))
        except ClientError as error:
            refusals.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=run, args=[index]) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, refusals


def test_one_of_twenty_creates_an_object(cloud):
    for _ in range(5):
        key = unique("lock")
        clients = [cloud.client("s3") for _ in range(20)]

        def write(index, clients=clients, key=key):
            body = str(index).encode()
            return clients[index].put_object(Bucket="bucket", Key=key, Body=body, IfNoneMatch="*")

        won, lost = together(20, write)
        assert len(won) == 1 and lost == ["PreconditionFailed"] * 19
        assert cloud.get(key) == str(won[0][0]).encode()


def test_one_of_twenty_wins_however_threads_take_turns(tmp_path):
    """Without the network between, and with the shortest turns of threads."""
    store = Store(tmp_path / "state.db")
    here = OtherServices(store, "secret")
    here.load()
    here.call("s3", "PUT", "/turns")
    always = {"if-none-match": "*"}
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(20):
            path = f"/turns/{number}"

            def write(index, path=path):
                return here.call("s3", "PUT", path, headers=always, body=str(index).encode())

            answers, _ = together(20, write)
            won = [index for index, answer in answers if answer.status == 200]
            assert len(won) == 1 and {a.status for _, a in answers} == {200, 412}
            assert here.read_object("turns", str(number)) == str(won[0]).encode()
    finally:
        sys.setswitchinterval(before)
    kept = {row.path: row.body for row in store.journal() if row.path.startswith("/turns/")}
    assert kept == {f"/turns/{n}": here.read_object("turns", str(n)) for n in range(20)}


@pytest.mark.acceptance
def test_one_of_twenty_replaces_and_one_deletes_a_version_of_an_object(cloud):
    key = unique("lock")
    etag = cloud.s3.put_object(Bucket="bucket", Key=key, Body=b"first")["ETag"]
    clients = [cloud.client("s3") for _ in range(20)]
    won, lost = together(
        20,
        lambda index: clients[index].put_object(
            Bucket="bucket", Key=key, Body=str(index).encode(), IfMatch=etag
        ),
    )
    assert len(won) == 1 and lost == ["PreconditionFailed"] * 19
    with pytest.raises(ClientError) as refusal:
        cloud.s3.delete_object(Bucket="bucket", Key=key, IfMatch=etag)
    assert code(refusal) == "PreconditionFailed"
    etag = won[0][1]["ETag"]
    won, lost = together(
        20, lambda index: clients[index].delete_object(Bucket="bucket", Key=key, IfMatch=etag)
    )
    assert len(won) == 1 and len(lost) == 19
    with pytest.raises(ClientError) as refusal:
        cloud.get(key)
    assert code(refusal) == "NoSuchKey"


@pytest.mark.acceptance
def test_conditional_writes_etags_and_versions_survive_a_restart(tmp_path):
    state = tmp_path / ".sagemaker_local"
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        cloud.s3.create_bucket(Bucket="versioned")
        cloud.s3.put_bucket_versioning(
            Bucket="versioned", VersioningConfiguration={"Status": "Enabled"}
        )
        cloud.s3.put_object(Bucket="bucket", Key="lock", Body=b"mine", IfNoneMatch="*")
        gone = cloud.s3.put_object(Bucket="bucket", Key="gone", Body=b"x")["ETag"]
        cloud.s3.delete_object(Bucket="bucket", Key="gone", IfMatch=gone)
        with pytest.raises(ClientError):
            cloud.s3.put_object(Bucket="bucket", Key="lock", Body=b"yours", IfNoneMatch="*")
        cloud.s3.put_object(Bucket="versioned", Key="model", Body=b"old")
        written = cloud.s3.put_object(Bucket="versioned", Key="model", Body=b"new")
        upload = cloud.s3.create_multipart_upload(Bucket="bucket", Key="big")["UploadId"]
        where = {"Bucket": "bucket", "Key": "big", "UploadId": upload}
        parts = []
        for number in (1, 2):
            part = cloud.s3.upload_part(**where, PartNumber=number, Body=b"x" * 5 * 2**20)
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        cloud.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        big = cloud.s3.head_object(Bucket="bucket", Key="big")["ETag"]
        assert big.endswith('-2"')
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        assert cloud.get("lock") == b"mine"
        with pytest.raises(ClientError) as refusal:
            cloud.s3.put_object(Bucket="bucket", Key="lock", Body=b"yours", IfNoneMatch="*")
        assert code(refusal) == "PreconditionFailed"
        cloud.s3.put_object(Bucket="bucket", Key="gone", Body=b"again", IfNoneMatch="*")
        found = cloud.s3.head_object(Bucket="versioned", Key="model")
        assert found["VersionId"] == written["VersionId"] and found["ETag"] == written["ETag"]
        where = {"Bucket": "versioned", "Key": "model", "VersionId": written["VersionId"]}
        assert cloud.s3.get_object(**where)["Body"].read() == b"new"
        assert cloud.s3.head_object(Bucket="bucket", Key="big")["ETag"] == big


# The registry's pins, and ECR


def package(cloud, image=IMAGE, sm=None, **container):
    url = artifact(cloud)
    container = {"Image": image, "ModelDataUrl": url} | container
    group = unique("group")
    (sm or cloud.sm).create_model_package_group(ModelPackageGroupName=group)
    arn = (sm or cloud.sm).create_model_package(
        ModelPackageGroupName=group,
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    return arn


def pinned(cloud, arn):
    found = cloud.sm.describe_model_package(ModelPackageName=arn)
    return found["InferenceSpecification"]["Containers"][0]


def test_a_package_pins_its_data_and_image(cloud):
    inside = pinned(cloud, package(cloud))
    key = inside["ModelDataUrl"].removeprefix("s3://bucket/")
    etag = cloud.s3.head_object(Bucket="bucket", Key=key)["ETag"]
    assert inside["ModelDataETag"] == etag.strip('"')
    assert inside["ImageDigest"] == "sha256:" + hashlib.sha256(IMAGE.encode()).hexdigest()
    lost = pinned(cloud, package(cloud, ModelDataUrl="s3://bucket/lost.tar.gz"))
    assert "ModelDataETag" not in lost
    given = "sha256:" + "a" * 64
    assert pinned(cloud, package(cloud, ImageDigest=given))["ImageDigest"] == given
    by_digest = f"{IMAGE.rpartition(':')[0]}@{given}"
    assert pinned(cloud, package(cloud, by_digest))["ImageDigest"] == given


def test_an_image_of_this_account_has_the_digest_that_ecr_says(cloud):
    ecr, name = cloud.client("ecr"), unique("images")
    ecr.create_repository(repositoryName=name)
    digests = []
    image = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{name}:v1"
    unknown = pinned(cloud, package(cloud, image))["ImageDigest"]
    for number in range(2):
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        config = {"digest": f"sha256:{number}"}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config})
        put = ecr.put_image(repositoryName=name, imageManifest=manifest, imageTag="v1")
        digests.append(put["image"]["imageId"]["imageDigest"])
        assert pinned(cloud, package(cloud, image))["ImageDigest"] == digests[-1]
    assert len({unknown, *digests}) == 3


def test_tags_of_other_registries_resolve_to_the_digests_of_packages(cloud):
    account, name = IMAGE.split(".")[0], "sagemaker-scikit-learn"
    digest = pinned(cloud, package(cloud))["ImageDigest"]
    asked = {
        "registryId": account,
        "repositoryName": name,
        "imageIds": [{"imageTag": IMAGE.rpartition(":")[2]}],
    }
    ecr = cloud.client("ecr", region="us-west-2")
    (image,) = ecr.batch_get_image(**asked)["images"]
    assert image["imageId"]["imageDigest"] == digest
    (detail,) = ecr.describe_images(**asked)["imageDetails"]
    assert detail["imageDigest"] == digest
    with pytest.raises(ClientError) as refusal:
        ecr.batch_get_image(repositoryName=name, imageIds=asked["imageIds"])
    assert code(refusal) == "RepositoryNotFoundException"


# Who calls


def test_what_is_made_and_changed_names_the_access_key(cloud):
    alice, bob = caller(cloud, "alice"), caller(cloud, "bob")
    arn = package(cloud, sm=alice)
    bob.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    found = cloud.sm.describe_model_package(ModelPackageName=arn)

    def who(member):
        return found[member]["IamIdentity"]["Arn"].rpartition(":")[2]

    assert (who("CreatedBy"), who("LastModifiedBy")) == ("user/alice", "user/bob")
    found = cloud.sm.describe_model_package(ModelPackageName=package(cloud))
    assert who("CreatedBy") == "user/local"


def test_a_pipeline_registers_as_its_role(cloud):
    arguments = {
        "ModelPackageGroupName": unique("group"),
        "InferenceSpecification": {
            "Containers": [{"Image": IMAGE, "ModelDataUrl": artifact(cloud)}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    }
    register = step("Register", "RegisterModel", arguments)
    arn = start(cloud, create(cloud, definition(register)))
    execution = finish(cloud, arn)
    assert execution["PipelineExecutionStatus"] == "Succeeded", steps_of(cloud, arn)
    registered = steps_of(cloud, arn)["Register"]["Metadata"]["RegisterModel"]["Arn"]
    found = cloud.sm.describe_model_package(ModelPackageName=registered)
    role = ROLE.rpartition("/")[2]
    assert found["CreatedBy"]["IamIdentity"]["Arn"].endswith(f":assumed-role/{role}/SageMaker")
    assert found["InferenceSpecification"]["Containers"][0]["ModelDataETag"]


# Autoscaling


@pytest.mark.acceptance
def test_scaling_settings_are_kept_and_taken_away(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_LOCAL_SPEED", "600")
    state = tmp_path / ".sagemaker_local"
    target = {
        "ServiceNamespace": "sagemaker",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    tracking = {
        "TargetValue": 1000.0,
        "PredefinedMetricSpecification": metric,
        "ScaleInCooldown": 300,
        "ScaleOutCooldown": 60,
    }
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        name = endpoint(cloud, simple(cloud))["EndpointName"]
        target["ResourceId"] = f"endpoint/{name}/variant/AllTraffic"
        scaling = cloud.client("application-autoscaling")
        scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=4)
        scaling.register_scalable_target(**target, MinCapacity=2, MaxCapacity=5)
        scaling.put_scaling_policy(
            **target,
            PolicyName="requests",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=tracking,
        )
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        scaling = cloud.client("application-autoscaling")
        asked = {"ServiceNamespace": "sagemaker", "ResourceIds": [target["ResourceId"]]}
        (found,) = scaling.describe_scalable_targets(**asked)["ScalableTargets"]
        assert (found["MinCapacity"], found["MaxCapacity"]) == (2, 5)
        (policy,) = scaling.describe_scaling_policies(**target)["ScalingPolicies"]
        assert policy["PolicyName"] == "requests"
        assert policy["TargetTrackingScalingPolicyConfiguration"] == tracking
        scaling.delete_scaling_policy(**target, PolicyName="requests")
        scaling.deregister_scalable_target(**target)
        assert not scaling.describe_scalable_targets(**asked)["ScalableTargets"]
        assert not scaling.describe_scaling_policies(**target)["ScalingPolicies"]
    with local_client.attach(state=state) as local:
        scaling = Cloud(local).client("application-autoscaling")
        assert not scaling.describe_scalable_targets(**asked)["ScalableTargets"]
