"""The container of a model, made from that of its model package.

CreateModel accepts the name of a package and then reads artifact and image from where the package
says, each time an instance starts. Both may be replaced after they were checked. So a model is
created from the stage's own copy of the artifact and from the image by its digest, and everything
else that the package says of its container is carried over.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ModelPackageContainerDefinition.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ContainerDefinition.html
"""

from sagemaker_project.deploy.calls import Members
from sagemaker_project.errors import Refused

REQUIRED = ("ModelDataUrl", "Image")
CARRIED = ("ContainerHostname", "Environment")
DESCRIPTIVE = {  # they describe image and model and change nothing of what runs
    *("ImageDigest", "ModelDataETag"),  # that of the image and of the artifact, which are pinned
    *("Framework", "FrameworkVersion", "NearestModelName", "ModelInput", "BaseModel"),
}


def container_of(package: Members) -> Members:
    """Return the only container of a package.

    Raises:
        Refused: it has none or several, or one that a model cannot be given with pinned bytes.
    """
    containers = package.get("InferenceSpecification", {}).get("Containers", [])
    if len(containers) != 1 or not all(containers[0].get(name) for name in REQUIRED):
        raise Refused(
            "it does not consist of one container with a ModelDataUrl and an Image: register a"
            " model that this project's train.py has made"
        )
    container: Members = containers[0]
    known = {*REQUIRED, *CARRIED, *DESCRIPTIVE}
    other = [name for name, value in container.items() if value and name not in known]
    if "ModelDataSource" in other and _is_the_url(container):
        other.remove("ModelDataSource")
    if other:
        raise Refused(
            f"its container has {', '.join(sorted(other))}, which cannot be given to a model whose"
            " bytes are pinned: register the model without"
        )
    return container


def _is_the_url(container: Members) -> bool:
    """Whether ModelDataSource says no more than ModelDataUrl does."""
    source = container["ModelDataSource"].get("S3DataSource", {})
    wanted = {
        "S3Uri": container["ModelDataUrl"],
        "S3DataType": "S3Object",
        "CompressionType": "Gzip",
    }
    return bool({k: v for k, v in source.items() if k != "ETag"} == wanted)


def model_container(package: Members, pin: Members) -> Members:
    """Return the PrimaryContainer of a model that serves exactly what `pin` identifies."""
    container = container_of(package)
    carried = {name: container[name] for name in CARRIED if container.get(name)}
    return {"Image": pinned_image(pin), "ModelDataUrl": pin["ServedUrl"], **carried}


def pinned_image(pin: Members) -> str:
    """Return the image of a pin by its digest, which a moved tag does not change."""
    host, slash, path = pin["Image"].partition("/")
    repository = path.partition("@")[0].partition(":")[0]
    return f"{host}{slash}{repository}@{pin['ImageDigest']}"


def artifact_of(model: Members | None) -> str:
    """Return the key of the S3 object that a model serves; empty where there is none."""
    url = ((model or {}).get("PrimaryContainer") or {}).get("ModelDataUrl", "")
    return str(url.removeprefix("s3://").partition("/")[2])
