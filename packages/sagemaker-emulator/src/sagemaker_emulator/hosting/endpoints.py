"""The operations on endpoints.

A document of an endpoint has in `Live` the snapshot (see snapshots.py) that serves, and in `Next`
the one that a creation or update is about. An operation checks the request, writes what is wanted
to the store and returns; lifecycle.py then carries it out.

Members without a meaning here (KmsKeyId, VpcConfig, volume sizes, ...) are stored and described.
"""

from typing import TYPE_CHECKING

from sagemaker_emulator.api import resources
from sagemaker_emulator.api.documents import Answer, Document, Json, Operation, Request
from sagemaker_emulator.api.resources import find, find_by_arn, insert
from sagemaker_emulator.errors import invalid, unsupported
from sagemaker_emulator.hosting import deployment_config, endpoint_configs, models
from sagemaker_emulator.hosting.descriptions import described
from sagemaker_emulator.hosting.endpoint_configs import refusal
from sagemaker_emulator.hosting.endpoint_rules import conversion
from sagemaker_emulator.hosting.kinds import CONFIG, ENDPOINT
from sagemaker_emulator.hosting.snapshots import retain, snapshot_of

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker

IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


def create_endpoint(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    config = find(CONFIG, sagemaker, request, region)
    wanted = snapshot_of(sagemaker, config, region)
    policy = request.get("DeploymentConfig")
    if policy:
        _check_policy(sagemaker, policy, config, wanted, wanted)
    arn = ENDPOINT.arn(region, request["EndpointName"])
    with sagemaker.store.lock:
        members = {"Next": wanted, "LastDeploymentConfig": policy, "DeploymentConfig": None}
        document = insert(ENDPOINT, sagemaker, request, arn, **members)
    sagemaker.hosting.start(arn)
    return document


def update_endpoint(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    # Wait before the lock is taken: while moto is restored, it reads the store.
    sagemaker.other_services.ready.wait()
    with sagemaker.store.lock:
        endpoint = _updatable(sagemaker, request, region)
        live = endpoint["Live"]
        # AWS compares the two, so an update needs the configuration that is left behind as well.
        live_arn = CONFIG.arn(region, live["EndpointConfigName"])
        live_config = find_by_arn(CONFIG, sagemaker, live_arn)
        config = find(CONFIG, sagemaker, request, region)
        if (rule := conversion(live_config, config)) and not rule.allowed:
            raise refusal(rule)
        wanted = snapshot_of(sagemaker, config, region)
        _check_scaling(sagemaker, live, wanted, _arn(endpoint))
        if request.get("RetainAllVariantProperties"):
            excluded = request.get("ExcludeRetainedVariantProperties") or []
            retain(wanted, live, [item["VariantPropertyType"] for item in excluded])
        policy = request.get("DeploymentConfig")
        if request.get("RetainDeploymentConfig"):
            policy = policy or endpoint.get("LastDeploymentConfig")
        if policy:
            _check_policy(sagemaker, policy, config, live, wanted)
        changes = {"Next": wanted, "Policy": policy, "FailureReason": None}
        return _begin(sagemaker, endpoint, "Updating", **changes)


def _check_policy(
    sagemaker: "SageMaker", policy: Document, config: Document, live: Document, wanted: Document
) -> None:
    deployment_config.check(policy, config, live, wanted)
    region = resources.region_of(config["EndpointConfigArn"])
    for name in deployment_config.alarm_names(policy):
        if not sagemaker.cloudwatch.has_alarm(region, name):
            raise invalid(f'Could not find the alarm "{name}" of AutoRollbackConfiguration.')


def _check_scaling(sagemaker: "SageMaker", live: Document, wanted: Document, arn: str) -> None:
    """Refuse to remove a scalable target, or to change its instance type."""
    scaled = sagemaker.other_services.scaled(resources.region_of(arn), resources.name_of(arn))
    registered = {resource.rpartition("/")[2] for _, resource in scaled}
    types = {variant["VariantName"]: variant["InstanceType"] for variant in wanted["Variants"]}
    kept = [
        variant["VariantName"]
        for variant in live["Variants"]
        if variant["VariantName"] in registered
        and types.get(variant["VariantName"]) != variant["InstanceType"]
    ]
    if kept:
        raise invalid(
            f'The variant(s) "[{", ".join(kept)}]" must be deregistered as scalable targets with'
            " AWS Auto Scaling before they can be removed or have their instance type updated."
        )


def update_weights(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    with sagemaker.store.lock:
        endpoint = _updatable(sagemaker, request, region)
        live = endpoint["Live"]
        for wanted in request["DesiredWeightsAndCapacities"]:
            variants = [*live["Variants"], *live["Shadows"]]
            name = wanted["VariantName"]
            variant = next((v for v in variants if v["VariantName"] == name), None)
            if variant is None:
                raise invalid(f'Could not find variant "{name}" of endpoint "{_arn(endpoint)}".')
            _set_desired(variant, wanted)
        if not sum(v.get("DesiredWeight", v["Weight"]) for v in live["Variants"]):
            raise invalid("The sum of DesiredWeight of all production variants must exceed 0.")
        return _begin(sagemaker, endpoint, "Updating", Live=live, FailureReason=None)


def _set_desired(variant: Document, wanted: Document) -> None:
    count, serverless = wanted.get("DesiredInstanceCount"), wanted.get("ServerlessUpdateConfig")
    name = variant["VariantName"]
    if count == 0:
        raise unsupported(f"DesiredInstanceCount 0 (variant {name})")
    if count and variant["Serverless"]:
        raise invalid(f"DesiredInstanceCount is not for the serverless variant {name}.")
    if serverless and not variant["Serverless"]:
        raise invalid(f"ServerlessUpdateConfig is for serverless variants, and {name} is not one.")
    if count:
        variant["DesiredCount"] = count
    if serverless:
        variant["DesiredServerless"] = variant["Serverless"] | serverless
    if wanted.get("DesiredWeight") is not None:
        variant["DesiredWeight"] = wanted["DesiredWeight"]


def delete_endpoint(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    with sagemaker.store.lock:
        endpoint = find(ENDPOINT, sagemaker, request, region)
        _check_status(endpoint)
        _begin(sagemaker, endpoint, "Deleting")
    return {}


def _arn(endpoint: Document) -> str:
    return str(endpoint["EndpointArn"])


def _updatable(sagemaker: "SageMaker", request: Request, region: str) -> Document:
    """Return the endpoint that a request names; raise AwsError if it may not be updated now."""
    endpoint = find(ENDPOINT, sagemaker, request, region)
    _check_status(endpoint)
    if endpoint["EndpointStatus"] == "Failed":
        raise invalid(f'Cannot update failed endpoint "{_arn(endpoint)}": it can only be deleted.')
    return endpoint


def _check_status(endpoint: Document) -> None:
    if endpoint["EndpointStatus"] in IN_PROGRESS:
        raise invalid(f'Cannot update in-progress endpoint "{_arn(endpoint)}".')


def _begin(sagemaker: "SageMaker", endpoint: Document, status: str, **changes: Json) -> Document:
    document = sagemaker.hosting.set(_arn(endpoint), status, **changes)
    sagemaker.hosting.start(_arn(endpoint))
    return document


def describe_endpoint(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    return described(find(ENDPOINT, sagemaker, request, region))


OPERATIONS: dict[str, Operation] = {
    **models.OPERATIONS,
    **endpoint_configs.OPERATIONS,
    **resources.standard_operations(ENDPOINT),
    "CreateEndpoint": create_endpoint,
    "DescribeEndpoint": describe_endpoint,
    "UpdateEndpoint": update_endpoint,
    "UpdateEndpointWeightsAndCapacities": update_weights,
    "DeleteEndpoint": delete_endpoint,
}
