"""Endpoint configurations: what CreateEndpointConfig accepts."""

from typing import TYPE_CHECKING

from sagemaker_emulator.api import resources
from sagemaker_emulator.api.documents import Document, Operation, Request
from sagemaker_emulator.api.resources import MODEL, find_by_arn, insert, refuse
from sagemaker_emulator.errors import invalid, unsupported
from sagemaker_emulator.hosting.kinds import CONFIG
from sagemaker_emulator.hosting.snapshots import weight_of

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker

UNSUPPORTED_IN_VARIANTS = (
    *("InstancePools", "AcceleratorType", "CoreDumpConfig", "ManagedInstanceScaling"),
    *("CapacityReservationConfig", "AcceleratorPartitionLayouts"),
)


def create_config(sagemaker: "SageMaker", request: Request, region: str) -> Document:
    refuse("CreateEndpointConfig", request, "ExplainerConfig", "MetricsConfig")
    refuse("CreateEndpointConfig", request, "CrossRegionTrafficConfig")
    production = request["ProductionVariants"]
    shadows = request.get("ShadowProductionVariants") or []
    names = [variant["VariantName"] for variant in [*production, *shadows]]
    if len(set(names)) < len(names):
        raise invalid("Variant names must be unique within an endpoint configuration.")
    for variant in [*production, *shadows]:
        _check_variant(sagemaker, variant, region)
    serverless = any(variant.get("ServerlessConfig") for variant in [*production, *shadows])
    if not sum(weight_of(variant) for variant in production):
        raise invalid("The sum of InitialVariantWeight of all production variants must exceed 0.")
    if shadows:
        _check_shadows(request, production, shadows, serverless)
    if serverless:
        _check_serverless(request, production)
    if asynchronous := request.get("AsyncInferenceConfig"):
        if asynchronous["OutputConfig"].get("NotificationConfig"):
            raise unsupported("AsyncInferenceConfig with NotificationConfig (SNS topics)")
        if not asynchronous["OutputConfig"].get("S3OutputPath"):
            raise unsupported("AsyncInferenceConfig without S3OutputPath")
    arn = CONFIG.arn(region, request["EndpointConfigName"])
    return insert(CONFIG, sagemaker, request, arn, **{"ProductionVariants": production})


def _check_variant(sagemaker: "SageMaker", variant: Document, region: str) -> None:
    name = f"variant {variant['VariantName']}"
    for member in UNSUPPORTED_IN_VARIANTS:
        if variant.get(member) is not None:
            raise unsupported(f"a variant with {member} ({name})")
    if not variant.get("ModelName"):
        raise unsupported(f"inference components, that is a variant without ModelName ({name})")
    routing = variant.get("RoutingConfig") or {}
    refuse(f"RoutingConfig ({name})", routing, "PrefixAwareRoutingConfig")
    strategy = routing.get("RoutingStrategy")
    if strategy in ("PREFIX_AWARE", "KV_AWARE"):
        raise unsupported(f"RoutingStrategy {strategy} ({name})")
    by_instance = variant.get("InstanceType") or variant.get("InitialInstanceCount")
    if bool(by_instance) == bool(variant.get("ServerlessConfig")):
        raise invalid(
            f"Specify either InstanceType and InitialInstanceCount or ServerlessConfig for {name}."
        )
    if by_instance and not (variant.get("InstanceType") and variant.get("InitialInstanceCount")):
        raise invalid(f"InstanceType and InitialInstanceCount are both required for {name}.")
    serverless = variant.get("ServerlessConfig") or {}
    if serverless.get("MemorySizeInMB", 1024) % 1024:
        raise invalid(f"MemorySizeInMB of {name} must be 1024, 2048, 3072, 4096, 5120 or 6144.")
    if serverless.get("ProvisionedConcurrency", 0) > serverless.get("MaxConcurrency", 0):
        raise invalid(f"ProvisionedConcurrency of {name} must not exceed MaxConcurrency.")
    find_by_arn(MODEL, sagemaker, MODEL.arn(region, variant["ModelName"]))


def _check_shadows(
    request: Request, production: list[Document], shadows: list[Document], serverless: bool
) -> None:
    if len(production) > 1 or len(shadows) > 1:
        raise invalid(
            "An endpoint configuration with a shadow variant must have exactly one production"
            f" variant and one shadow variant, but has {len(production)} and {len(shadows)}."
        )
    if serverless or request.get("AsyncInferenceConfig"):
        kind = "serverless" if serverless else "asynchronous"
        raise invalid(f"Shadow variants are not supported for {kind} inference.")


def _check_serverless(request: Request, production: list[Document]) -> None:
    if len(production) > 1:
        raise invalid("Multiple production variants are not supported for serverless inference.")
    for member in ("DataCaptureConfig", "AsyncInferenceConfig"):
        if request.get(member):
            raise invalid(f"{member} is not supported for serverless inference.")


OPERATIONS: dict[str, Operation] = {
    **resources.standard_operations(CONFIG),
    "CreateEndpointConfig": create_config,
}
