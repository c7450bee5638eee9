"""What an endpoint runs: a snapshot of its configuration and of the models named in it.

As on AWS, configuration and models may be deleted while the endpoint goes on. A snapshot is JSON:

    EndpointConfigName, DataCaptureConfig, AsyncInferenceConfig
    Variants, Shadows   for each: VariantName, InstanceType, Serverless, RoutingConfig, Weight,
                        Count, StartupSeconds, Image, ResolvedImage, ResolutionTime, ModelDataUrl,
                        Environment; and DesiredWeight, DesiredCount, DesiredServerless while they
                        differ from what the variant has
"""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.api.images import repository_of
from sagemaker_emulator.api.registry import PACKAGE, resolve_image
from sagemaker_emulator.api.resources import MODEL, find_by_arn
from sagemaker_emulator.errors import unsupported

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker


def snapshot_of(sagemaker: "SageMaker", config: Document, region: str) -> Document:
    """Copy a configuration and its models; AwsError for what an endpoint cannot run here."""
    snapshot = {
        "EndpointConfigName": config["EndpointConfigName"],
        "Variants": [_variant(sagemaker, v, region) for v in config["ProductionVariants"]],
        "Shadows": [
            _variant(sagemaker, v, region) for v in config.get("ShadowProductionVariants") or []
        ],
    }
    kept = ("DataCaptureConfig", "AsyncInferenceConfig")
    return snapshot | {member: config[member] for member in kept if config.get(member)}


def _variant(sagemaker: "SageMaker", variant: Document, region: str) -> Document:
    model = find_by_arn(MODEL, sagemaker, MODEL.arn(region, variant["ModelName"]))
    return {
        "VariantName": variant["VariantName"],
        "InstanceType": variant.get("InstanceType"),
        "Serverless": variant.get("ServerlessConfig"),
        "RoutingConfig": variant.get("RoutingConfig"),
        "Weight": weight_of(variant),
        "Count": variant.get("InitialInstanceCount", 1),
        "StartupSeconds": variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        **_container(sagemaker, model, region),
    }


def _container(sagemaker: "SageMaker", model: Document, region: str) -> Document:
    """Return what the model's one container runs: image and digest, data, environment."""
    containers = model.get("Containers") or [model["PrimaryContainer"]]
    if len(containers) > 1:
        raise unsupported(f"endpoints for a model with {len(containers)} containers")
    given = containers[0]
    environment = given.get("Environment") or {}
    if package := given.get("ModelPackageName"):
        document = find_by_arn(PACKAGE, sagemaker, PACKAGE.arn(region, package))
        inside = (document.get("InferenceSpecification") or {}).get("Containers") or [{}]
        if len(inside) > 1:
            raise unsupported(f"endpoints for a model package with {len(inside)} containers")
        given, environment = inside[0], (inside[0].get("Environment") or {}) | environment
    for member in ("AdditionalModelDataSources", "MultiModelConfig", "ContainerMetricsConfig"):
        if given.get(member):
            raise unsupported(f"endpoints for a container with {member}")
    image = given.get("Image")
    digest = given.get("ImageDigest") or resolve_image(sagemaker, image)
    return {
        "Image": image,
        "ResolvedImage": f"{repository_of(image)}@{digest}",
        "ResolutionTime": time.time(),
        "ModelDataUrl": _data_url(model, given),
        "Environment": environment,
    }


def _data_url(model: Document, container: Document) -> str:
    source = (container.get("ModelDataSource") or {}).get("S3DataSource")
    if source:
        if (source["S3DataType"], source["CompressionType"]) != ("S3Object", "Gzip"):
            raise unsupported(
                "a ModelDataSource other than S3DataType S3Object with CompressionType Gzip"
            )
        return str(source["S3Uri"])
    if not container.get("ModelDataUrl"):
        raise unsupported(
            f"endpoints for a model without ModelDataUrl (model {model['ModelName']}): there is no"
            " container image that could hold the model"
        )
    return str(container["ModelDataUrl"])


def weight_of(variant: Document) -> float:
    """Return the initial weight of a variant in an endpoint configuration."""
    weight: float | None = variant.get("InitialVariantWeight")
    return 1.0 if weight is None else weight


def retain(wanted: Document, live: Document, excluded: Iterable[str]) -> None:
    """Keep the live weights and instance counts, which autoscaling may have changed."""
    now = {variant["VariantName"]: variant for variant in live["Variants"] + live["Shadows"]}
    for variant in wanted["Variants"] + wanted["Shadows"]:
        old = now.get(variant["VariantName"])
        if old and not old["Serverless"] and not variant["Serverless"]:
            if "DesiredInstanceCount" not in excluded:
                variant["Count"] = old["Count"]
            if "DesiredWeight" not in excluded:
                variant["Weight"] = old["Weight"]
