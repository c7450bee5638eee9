"""The model registry: groups, and packages that are versions within a group.

Whenever a package is created or its approval changes, AWS publishes "SageMaker Model Package State
Change". Here the event goes to moto's EventBridge, whose rules reach a log group, a queue or an
archive and nothing else, and to `events.jsonl` in the state folder, one event a line, where it
can be read whatever the rules are.
"""

import json
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sagemaker_emulator.api import resources
from sagemaker_emulator.api.documents import Answer, Document, Operation, Request
from sagemaker_emulator.api.images import made_up_digest
from sagemaker_emulator.api.moto_services import ACCOUNT
from sagemaker_emulator.api.resources import (
    Kind,
    find_by_arn,
    identity,
    insert,
    refuse,
    region_of,
)
from sagemaker_emulator.errors import AwsError, invalid, unsupported

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker

GROUP = Kind(
    name="ModelPackageGroup",
    resource="model-package-group",
    summaries="ModelPackageGroupSummaryList",
    taken=("ValidationException", "Model Package Group already exists: {arn}"),
    missing=("ValidationException", "ModelPackageGroup {arn} does not exist."),
    defaults={"ModelPackageGroupStatus": "Completed", "CreatedBy": identity},
)
PACKAGE = Kind(
    name="ModelPackage",
    resource="model-package",
    summaries="ModelPackageSummaryList",
    taken=("ValidationException", "Model Package already exists: {arn}"),
    missing=("ValidationException", "ModelPackage {arn} does not exist."),
    defaults={
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "CertifyForMarketplace": False,
        "CreatedBy": identity,
    },
)
MAX_METADATA = 50
EVENT = "SageMaker Model Package State Change"


def create_package(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    refuse("CreateModelPackage", request, "ValidationSpecification", "SourceAlgorithmSpecification")
    group, name = request.get("ModelPackageGroupName"), request.get("ModelPackageName")
    if (group is None) == (name is None):
        raise invalid("Specify either ModelPackageGroupName or ModelPackageName, and not both")
    request = _pinned(sagemaker, request)
    if group:
        package = _next_version(sagemaker, request, GROUP.arn(region, group))
    else:
        if request.get("ModelApprovalStatus"):
            raise invalid(
                "ModelApprovalStatus is for versioned packages: name a ModelPackageGroupName"
            )
        package = insert(
            PACKAGE, sagemaker, request, PACKAGE.arn(region, request["ModelPackageName"])
        )
    publish(sagemaker, package)
    return package


def _pinned(sagemaker: "SageMaker", request: Request) -> Request:
    """Add what AWS adds to a request: each container's image digest, its model data's ETag."""
    specification = request.get("InferenceSpecification")
    if not specification:
        return request
    containers = []
    for container in specification["Containers"]:
        known: Document = {}
        if image := container.get("Image"):
            known["ImageDigest"] = resolve_image(sagemaker, image)
        if url := container.get("ModelDataUrl"):
            bucket, _, key = url.removeprefix("s3://").partition("/")
            known["ModelDataETag"] = sagemaker.other_services.etag(bucket, key)
        given = {k: v for k, v in container.items() if v is not None}
        containers.append({k: v for k, v in known.items() if v} | given)
    return request | {"InferenceSpecification": specification | {"Containers": containers}}


def resolve_image(sagemaker: "SageMaker", image: str) -> str:
    """Return the present digest of an image: ECR's for an own image, else a made-up one."""
    if "@" in image:
        return image.partition("@")[2]
    host, _, path = image.partition("/")
    if host.startswith(f"{ACCOUNT}.dkr.ecr."):
        name, _, tag = path.partition(":")
        own_region = host.split(".")[3]
        if digest := sagemaker.other_services.image_digest(own_region, name, tag or "latest"):
            return digest
    return made_up_digest(image)


def _next_version(sagemaker: "SageMaker", request: Request, group_arn: str) -> Document:
    """Create a group's next version. The number of a deleted version is never used again."""
    with sagemaker.store.lock:
        group = find_by_arn(GROUP, sagemaker, group_arn)
        name, version = group["ModelPackageGroupName"], group.get("LatestVersion", 0) + 1
        sagemaker.store.update(group_arn, LatestVersion=version)
        return insert(
            PACKAGE,
            sagemaker,
            request,
            PACKAGE.arn(region_of(group_arn), f"{name}/{version}"),
            ModelPackageName=f"{name}/{version}",
            ModelPackageGroupName=name,
            ModelPackageVersion=version,
            ModelApprovalStatus=request.get("ModelApprovalStatus") or "PendingManualApproval",
        )


def list_packages(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    """List one group's versions; without a group only the unversioned packages, as on AWS."""
    refuse("ListModelPackages", request, "ModelPackageType")
    group = request.get("ModelPackageGroupName")
    if group:
        group = find_by_arn(GROUP, sagemaker, GROUP.arn(region, group))["ModelPackageGroupName"]
    below = PACKAGE.arn(region, f"{group}/" if group else "")
    packages = sagemaker.store.list(PACKAGE.name, below)
    if not group:
        packages = [package for package in packages if "ModelPackageVersion" not in package]
    rest = {k: v for k, v in request.items() if k != "ModelPackageGroupName"}
    return resources.page(PACKAGE, packages, rest)


def update_package(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    with sagemaker.store.lock:
        package = find_by_arn(PACKAGE, sagemaker, request["ModelPackageArn"])
        changes = _changes(package, request)
        sagemaker.store.update(request["ModelPackageArn"], **changes)
    updated = {k: v for k, v in (package | changes).items() if v is not None}
    if updated.get("ModelApprovalStatus") != package.get("ModelApprovalStatus"):
        publish(sagemaker, updated, ["ModelApprovalStatus"])
    return updated


def _changes(package: Document, request: Request) -> Document:
    """Return the members of a package that a request to update it changes."""
    changes = {k: v for k, v in request.items() if k not in ("ModelPackageArn", "ClientToken")}
    added = changes.pop("CustomerMetadataProperties", None) or {}
    removed = changes.pop("CustomerMetadataPropertiesToRemove", None) or []
    extra = changes.pop("AdditionalInferenceSpecificationsToAdd", None) or []
    if "ModelApprovalStatus" in changes and "ModelPackageVersion" not in package:
        raise invalid("ModelApprovalStatus is for versioned packages")
    metadata = package.get("CustomerMetadataProperties", {}) | added
    metadata = {k: v for k, v in metadata.items() if k not in removed}
    if len(metadata) > MAX_METADATA:
        raise invalid(f"CustomerMetadataProperties has at most {MAX_METADATA} entries")
    if extra:
        known = package.get("AdditionalInferenceSpecifications", [])
        changes["AdditionalInferenceSpecifications"] = known + extra
    return changes | {
        "CustomerMetadataProperties": metadata,
        "LastModifiedTime": time.time(),
        "LastModifiedBy": identity(),
    }


def delete_group(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    with sagemaker.store.lock:
        group = resources.find(GROUP, sagemaker, request, region)
        arn, name = group["ModelPackageGroupArn"], group["ModelPackageGroupName"]
        if sagemaker.store.list(PACKAGE.name, PACKAGE.arn(region_of(arn), f"{name}/")):
            raise AwsError(
                "ConflictException",
                f"Cannot delete ModelPackageGroup {arn}: it still has model packages.",
            )
        sagemaker.store.delete(arn)
    return {}


def describe_package(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    if request.get("IncludedData") == "MetadataOnly":
        raise unsupported("DescribeModelPackage with IncludedData=MetadataOnly")
    return resources.find(PACKAGE, sagemaker, request, region)


def publish(sagemaker: "SageMaker", package: Document, updated: Sequence[str] = ()) -> None:
    """Announce that a package is new, or that the members `updated` have changed."""
    detail = {
        k: v
        for k, v in package.items()
        if k.startswith("Model") or k in ("InferenceSpecification", "CreationTime")
    }
    detail |= {"UpdatedModelPackageFields": list(updated)} if updated else {}
    announce(sagemaker, EVENT, package["ModelPackageArn"], detail)


def announce(sagemaker: "SageMaker", detail_type: str, arn: str, detail: Document) -> None:
    """Publish an event about a resource: to events.jsonl at once, to EventBridge soon."""
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": "aws.sagemaker",
        "account": ACCOUNT,
        "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region_of(arn),
        "resources": [arn],
        "detail": detail,
    }
    with sagemaker.store.lock, open(sagemaker.folder / "events.jsonl", "a") as file:
        file.write(json.dumps(event) + "\n")
    threading.Thread(target=_put_event, args=(sagemaker, event), daemon=True).start()


def _put_event(sagemaker: "SageMaker", event: Document) -> None:
    entry = {
        "Source": event["source"],
        "DetailType": event["detail-type"],
        "Detail": json.dumps(event["detail"]),
        "Resources": event["resources"],
    }
    failure: Exception | str | None = None
    try:
        answer = sagemaker.other_services.call_json(
            "events", event["region"], "AWSEvents.PutEvents", {"Entries": [entry]}
        )
        if answer.status >= 300:
            failure = answer.body.decode(errors="replace")
    except Exception as error:  # moto raises for unknown types of a rule's target
        failure = error
    if failure:
        print(f"event {event['id']} is in events.jsonl only: {failure}", file=sys.stderr)


OPERATIONS: dict[str, Operation] = {
    **resources.standard_operations(GROUP),
    **resources.standard_operations(PACKAGE),
    "CreateModelPackage": create_package,
    "DescribeModelPackage": describe_package,
    "ListModelPackages": list_packages,
    "UpdateModelPackage": update_package,
    "DeleteModelPackageGroup": delete_group,
}
