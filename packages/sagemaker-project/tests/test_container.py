"""A model's container from that of a package: what is carried over, and what is refused."""

import botocore.session
import pytest
from sagemaker_project.deploy.container import (
    CARRIED,
    DESCRIPTIVE,
    REQUIRED,
    container_of,
    model_container,
)
from sagemaker_project.errors import Refused

pytestmark = pytest.mark.fast

URL = "s3://bucket/model.tar.gz"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/image"
SOURCE = {"S3Uri": URL, "S3DataType": "S3Object", "CompressionType": "Gzip"}
PIN = {"ServedUrl": "s3://bucket/copy", "Image": f"{IMAGE}:1", "ImageDigest": "sha256:d"}


def package(*containers, **members):
    containers = containers or ({"Image": f"{IMAGE}:1", "ModelDataUrl": URL, **members},)
    return {"InferenceSpecification": {"Containers": list(containers)}}


def shape(name):
    model = botocore.session.get_session().get_service_model("sagemaker")
    return set(model.shape_for(name).members)


@pytest.mark.parametrize(
    "members, carried",
    [
        ({}, {}),
        ({"Environment": {"A": "1"}}, {"Environment": {"A": "1"}}),
        ({"Environment": {}}, {}),
        ({"ContainerHostname": "first"}, {"ContainerHostname": "first"}),
        ({name: "something" for name in DESCRIPTIVE}, {}),
        ({"ModelDataSource": {"S3DataSource": SOURCE}}, {}),
        ({"ModelDataSource": {"S3DataSource": SOURCE | {"ETag": "e"}}}, {}),
        ({"IsCheckpoint": False, "AdditionalModelDataSources": []}, {}),
    ],
)
def test_a_container_is_carried_over(members, carried):
    found = model_container(package(**members), PIN)
    assert found == {"Image": f"{IMAGE}@sha256:d", "ModelDataUrl": "s3://bucket/copy", **carried}
    assert set(found) <= shape("ContainerDefinition")


@pytest.mark.parametrize(
    "name", sorted(shape("ModelPackageContainerDefinition") - {*REQUIRED, *CARRIED, *DESCRIPTIVE})
)
def test_what_cannot_be_carried_over_is_refused(name):
    value = {"S3DataSource": SOURCE | {"S3Uri": "s3://other"}}
    with pytest.raises(Refused, match=f"its container has {name}, which"):
        container_of(package(**{name: value}))


@pytest.mark.parametrize("containers", [({}, {}), ({"Image": IMAGE},), ({"ModelDataUrl": URL},)])
def test_a_package_is_one_model_in_one_container(containers):
    with pytest.raises(Refused, match="one container"):
        container_of(package(*containers))


@pytest.mark.parametrize(
    "image", [IMAGE, f"{IMAGE}:1", f"{IMAGE}@sha256:x", f"{IMAGE}:1@sha256:x", "localhost:5000/i:1"]
)
def test_an_image_is_named_by_its_digest(image):
    found = model_container(package(), PIN | {"Image": image})["Image"]
    assert found == f"{image.partition('@')[0].removesuffix(':1')}@sha256:d"
