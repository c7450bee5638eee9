"""Images that are named by their digest."""

import json

import pytest
from endpoint_helpers import config, endpoint, model, variant
from local_helpers import IMAGE, Cloud, processing, run_job, script, source, training, unique
from sagemaker_emulator import client as local_client

OWN = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    with local_client.attach(state=tmp_path_factory.mktemp("project") / "state") as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        yield cloud


def digest(cloud, region, repository, tag, **registry):
    asked = {"repositoryName": repository, "imageIds": [{"imageTag": tag}], **registry}
    (image,) = cloud.client("ecr", region).batch_get_image(**asked)["images"]
    return image["imageId"]["imageDigest"]


@pytest.fixture(params=["own", "other"])
def images(request, cloud):
    """An image of scikit-learn in this account's ECR or another's: by tag, and by digest."""
    if request.param == "other":
        repository, _, tag = IMAGE.rpartition(":")
        name, account = repository.partition("/")[2], IMAGE.partition(".")[0]
        found = digest(cloud, "us-west-2", name, tag, registryId=account)
        return IMAGE, f"{repository}@{found}"
    name = unique("sagemaker-scikit-learn")
    ecr = cloud.client("ecr")
    ecr.create_repository(repositoryName=name)
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": {"digest": "sha256:1"}}
    ecr.put_image(repositoryName=name, imageManifest=json.dumps(manifest), imageTag="v1")
    return f"{OWN}/{name}:v1", f"{OWN}/{name}@{digest(cloud, 'us-east-1', name, 'v1')}"


def test_an_endpoint_serves_an_image_by_digest(cloud, images):
    shown = []
    for image in images:
        made = endpoint(cloud, config(cloud, variant(model(cloud, Image=image))))
        assert made["EndpointStatus"] == "InService"
        (deployed,) = made["ProductionVariants"][0]["DeployedImages"]
        shown.append((deployed["SpecifiedImage"], deployed["ResolvedImage"]))
    tagged, by_digest = images
    assert shown == [(tagged, by_digest), (by_digest, by_digest)]


def test_jobs_run_with_an_image_by_digest(cloud, images):
    for image in images:
        request = processing(script(cloud, "print(1)"))
        request["AppSpecification"]["ImageUri"] = image
        assert run_job(cloud, request)["ProcessingJobStatus"] == "Completed"
        request = training(source(cloud, train="print(1)"))
        request["AlgorithmSpecification"]["TrainingImage"] = image
        assert run_job(cloud, request)["TrainingJobStatus"] == "Completed"


def test_a_package_has_the_digest_of_its_image(cloud, images):
    found = []
    group = unique("group")
    cloud.sm.create_model_package_group(ModelPackageGroupName=group)
    for image in images:
        arn = cloud.sm.create_model_package(
            ModelPackageGroupName=group,
            InferenceSpecification={
                "Containers": [{"Image": image}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
        )["ModelPackageArn"]
        package = cloud.sm.describe_model_package(ModelPackageName=arn)
        (container,) = package["InferenceSpecification"]["Containers"]
        assert container["Image"] == image
        found.append(container["ImageDigest"])
    assert found == [images[1].partition("@")[2]] * 2
