"""Endpoint configurations: what CreateEndpointConfig accepts."""

from typing import TYPE_CHECKING

from sagemaker_emulator.api import resources
from sagemaker_emulator.api.documents import Document, Operation, Request
from sagemaker_emulator.api.resources import MODEL, find_by_arn, insert, refuse
from sagemaker_emulator.errors import AwsError, invalid, unsupported
from sagemaker_emulator.hosting.capture_record import capture_format
from sagemaker_emulator.hosting.endpoint_rules import RULES, Rule, conflicts
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
    variants = [*request["ProductionVariants"], *(request.get("ShadowProductionVariants") or [])]
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) < len(names):
        raise refusal(RULES["variant-names"])
    models = [_check_variant(sagemaker, variant, region) for variant in variants]
    if not sum(weight_of(variant) for variant in request["ProductionVariants"]):
        raise refusal(RULES["weights"])
    for _, rule in conflicts(_with_network(request, models)):
        raise refusal(rule)
    if asynchronous := request.get("AsyncInferenceConfig"):
        if asynchronous["OutputConfig"].get("NotificationConfig"):
            raise unsupported("AsyncInferenceConfig with NotificationConfig (SNS topics)")
        if not asynchronous["OutputConfig"].get("S3OutputPath"):
            raise unsupported("AsyncInferenceConfig without S3OutputPath")
    capture = capture_format(request.get("DataCaptureConfig"))
    if capture and not capture.destination.startswith("s3://"):
        raise unsupported("DataCaptureConfig with a DestinationS3Uri other than s3://BUCKET/PREFIX")
    arn = CONFIG.arn(region, request["EndpointConfigName"])
    return insert(CONFIG, sagemaker, request, arn)


def refusal(rule: Rule, what: str = "") -> AwsError:
    """Return the error for what a rule does not allow.

    Args:
        what: the variant or member that it is about.
    """
    return invalid(f"{what}: {rule.refusal}." if what else rule.sentence)


def _with_network(request: Request, models: list[Document]) -> Request:
    """Return a request with what its models say about the network."""
    network = {
        member: given
        for model in models
        for member in ("VpcConfig", "EnableNetworkIsolation")
        if (given := model.get(member))
    }
    return {**request, **network}


def _check_variant(sagemaker: "SageMaker", variant: Document, region: str) -> Document:
    """Refuse a variant that AWS refuses or the emulator lacks; return its model."""
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
    _check_resources(variant, name)
    return find_by_arn(MODEL, sagemaker, MODEL.arn(region, variant["ModelName"]))


def _check_resources(variant: Document, name: str) -> None:
    """Refuse a variant that has neither instances nor ServerlessConfig, or parts of both."""
    serverless = variant.get("ServerlessConfig")
    if not serverless:
        if not (variant.get("InstanceType") and variant.get("InitialInstanceCount")):
            raise invalid(
                f"InstanceType and InitialInstanceCount are both required for {name},"
                " or ServerlessConfig."
            )
        return
    for member in RULES["serverless-instances"].members:
        if variant.get(member):
            raise refusal(RULES["serverless-instances"], f"{member} of {name}")
    memory = RULES["serverless-memory"]
    if serverless.get("MemorySizeInMB", memory.least) % memory.least:
        raise refusal(memory, name)
    if serverless.get("ProvisionedConcurrency", 0) > serverless.get("MaxConcurrency", 0):
        raise refusal(RULES["provisioned-concurrency"], name)


OPERATIONS: dict[str, Operation] = {
    **resources.standard_operations(CONFIG),
    "CreateEndpointConfig": create_config,
}
