"""Models: what CreateModel accepts."""

from typing import TYPE_CHECKING

from sagemaker_emulator.api.documents import Document, Operation, Request
from sagemaker_emulator.api.registry import PACKAGE
from sagemaker_emulator.api.resources import MODEL, find_by_arn, insert, refuse
from sagemaker_emulator.errors import invalid, unsupported

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker


def create_model(sagemaker: "SageMaker", request: Request, region: str) -> Document:
    """Store a model with one container, or with several that no endpoint can be made of."""
    primary, several = request.get("PrimaryContainer"), request.get("Containers")
    if (primary is None) == (not several):
        raise invalid("Specify either PrimaryContainer or Containers, and not both.")
    for container in several or [primary]:
        _check_container(sagemaker, container, region)
    members: Document = {"EnableNetworkIsolation": request.get("EnableNetworkIsolation") or False}
    if primary is None:
        members["Containers"] = [_with_mode(container) for container in several or []]
    else:
        members["PrimaryContainer"] = _with_mode(primary)
    return insert(MODEL, sagemaker, request, MODEL.arn(region, request["ModelName"]), **members)


def _with_mode(container: Document) -> Document:
    return {"Mode": "SingleModel"} | container


def _check_container(sagemaker: "SageMaker", container: Document, region: str) -> None:
    refuse("a container", container, "InferenceSpecificationName")
    package = container.get("ModelPackageName")
    if bool(package) == bool(container.get("Image")):
        raise invalid(
            "Specify one of either Image and Model Data URL or ModelPackageName in container"
            " definition."
        )
    if container.get("Mode") == "MultiModel":
        raise unsupported("a container with Mode MultiModel")
    source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
    for url in (container.get("ModelDataUrl"), source.get("S3Uri")):
        if url and not url.startswith("s3://"):
            raise unsupported(f"model data from elsewhere than s3:// ({url})")
    if package:
        _check_package(sagemaker, package, region)


def _check_package(sagemaker: "SageMaker", package: str, region: str) -> None:
    document = find_by_arn(PACKAGE, sagemaker, PACKAGE.arn(region, package))
    arn, status = document["ModelPackageArn"], document["ModelPackageStatus"]
    if status != "Completed":
        raise invalid(f"Cannot create a model from ModelPackage {arn}: its status is {status}.")
    approval = document.get("ModelApprovalStatus", "Approved")
    if approval != "Approved":
        raise invalid(
            f"Cannot create a model from ModelPackage {arn}: its ModelApprovalStatus is"
            f" {approval}, and only an Approved version can be deployed."
        )


OPERATIONS: dict[str, Operation] = {"CreateModel": create_model}
