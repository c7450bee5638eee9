"""Models, endpoint configurations and endpoints: what is asked of them, and what they are told.

An endpoint keeps what it runs as a *plan*, a copy of its configuration and of the models named in
it: as on AWS, either may be deleted while the endpoint goes on. `Live` is the plan that serves,
`Next` the one that an update is about. A request checks, writes what is wanted into the store and
returns; deployments.py then does it, again from the store if the server was killed in between.

Members that only AWS has a use for (KmsKeyId, VpcConfig, volume sizes, ...) are kept and described.
"""

import time

from sagemaker_emulator.api import resources
from sagemaker_emulator.api.images import repository_of
from sagemaker_emulator.api.registry import PACKAGE, resolve_image
from sagemaker_emulator.api.resources import MODEL, find, found, insert, lacking, refuse
from sagemaker_emulator.errors import invalid
from sagemaker_emulator.hosting import deployments
from sagemaker_emulator.hosting.deployments import CONFIG, ENDPOINT, Hosting

IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
NOT_IN_VARIANTS = (
    *("InstancePools", "AcceleratorType", "CoreDumpConfig", "ManagedInstanceScaling"),
    *("CapacityReservationConfig", "AcceleratorPartitionLayouts"),
)


# Models


def create_model(kind, sagemaker, request, region):
    primary, several = request.get("PrimaryContainer"), request.get("Containers")
    if (primary is None) == (not several):
        raise invalid("Specify either PrimaryContainer or Containers, and not both.")
    for container in several or [primary]:
        _check_container(sagemaker, container, region)
    members = {"Containers": [_with_mode(c) for c in several]} if several else {}
    members |= {} if several else {"PrimaryContainer": _with_mode(primary)}
    members["EnableNetworkIsolation"] = request.get("EnableNetworkIsolation") or False
    return insert(kind, sagemaker, request, kind.arn(region, request["ModelName"]), **members)


def _with_mode(container):
    return {"Mode": "SingleModel"} | container


def _check_container(sagemaker, container, region):
    refuse("a container", container, "InferenceSpecificationName")
    package = container.get("ModelPackageName")
    if bool(package) == bool(container.get("Image")):
        raise invalid(
            "Specify one of either Image and Model Data URL or ModelPackageName in container"
            " definition."
        )
    if container.get("Mode") == "MultiModel":
        raise lacking("a container with Mode MultiModel")
    source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
    for url in (container.get("ModelDataUrl"), source.get("S3Uri")):
        if url and not url.startswith("s3://"):
            raise lacking(f"model data from elsewhere than s3:// ({url})")
    if package:
        document = found(PACKAGE, sagemaker, PACKAGE.arn(region, package))
        arn, status = document["ModelPackageArn"], document["ModelPackageStatus"]
        if status != "Completed":
            raise invalid(f"Cannot create a model from ModelPackage {arn}: its status is {status}.")
        approval = document.get("ModelApprovalStatus", "Approved")
        if approval != "Approved":
            raise invalid(
                f"Cannot create a model from ModelPackage {arn}: its ModelApprovalStatus is"
                f" {approval}, and only an Approved version can be deployed."
            )


def _container(sagemaker, model, region):
    """What a model's one container runs: image and digest, data, environment."""
    containers = model.get("Containers") or [model["PrimaryContainer"]]
    if len(containers) > 1:
        raise lacking(f"endpoints for a model with {len(containers)} containers")
    given = containers[0]
    environment = given.get("Environment") or {}
    if package := given.get("ModelPackageName"):
        document = found(PACKAGE, sagemaker, PACKAGE.arn(region, package))
        inside = (document.get("InferenceSpecification") or {}).get("Containers") or [{}]
        if len(inside) > 1:
            raise lacking(f"endpoints for a model package with {len(inside)} containers")
        given, environment = inside[0], (inside[0].get("Environment") or {}) | environment
    for member in ("AdditionalModelDataSources", "MultiModelConfig", "ContainerMetricsConfig"):
        if given.get(member):
            raise lacking(f"endpoints for a container with {member}")
    image = given.get("Image")
    digest = given.get("ImageDigest") or resolve_image(sagemaker, image, region)
    return {
        "Image": image,
        "ResolvedImage": f"{repository_of(image)}@{digest}",
        "ResolutionTime": time.time(),
        "ModelDataUrl": _data_url(model, given),
        "Environment": environment,
    }


def _data_url(model, container):
    source = (container.get("ModelDataSource") or {}).get("S3DataSource")
    if source:
        if (source["S3DataType"], source["CompressionType"]) != ("S3Object", "Gzip"):
            raise lacking("ModelDataSource other than S3DataType S3Object, CompressionType Gzip")
        return source["S3Uri"]
    if not container.get("ModelDataUrl"):
        raise lacking(
            f"endpoints for a model without ModelDataUrl (model {model['ModelName']}): there is no"
            " container image that could hold the model"
        )
    return container["ModelDataUrl"]


# Endpoint configurations


def create_config(sagemaker, request, region):
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
    if not sum(_weight(variant) for variant in production):
        raise invalid("The sum of InitialVariantWeight of all production variants must exceed 0.")
    if shadows:
        _check_shadows(request, production, shadows, serverless)
    if serverless:
        _check_serverless(request, production)
    if asynchronous := request.get("AsyncInferenceConfig"):
        if asynchronous["OutputConfig"].get("NotificationConfig"):
            raise lacking("AsyncInferenceConfig with NotificationConfig (SNS topics)")
        if not asynchronous["OutputConfig"].get("S3OutputPath"):
            raise lacking("AsyncInferenceConfig without S3OutputPath")
    arn = CONFIG.arn(region, request["EndpointConfigName"])
    return insert(CONFIG, sagemaker, request, arn, **{"ProductionVariants": production})


def _check_variant(sagemaker, variant, region):
    name = f"variant {variant['VariantName']}"
    for member in NOT_IN_VARIANTS:
        if variant.get(member) is not None:
            raise lacking(f"a variant with {member} ({name})")
    if not variant.get("ModelName"):
        raise lacking(f"inference components, that is a variant without ModelName ({name})")
    routing = variant.get("RoutingConfig") or {}
    refuse(f"RoutingConfig ({name})", routing, "PrefixAwareRoutingConfig")
    strategy = routing.get("RoutingStrategy")
    if strategy in ("PREFIX_AWARE", "KV_AWARE"):
        raise lacking(f"RoutingStrategy {strategy} ({name})")
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
    found(MODEL, sagemaker, MODEL.arn(region, variant["ModelName"]))


def _check_shadows(request, production, shadows, serverless):
    if len(production) > 1 or len(shadows) > 1:
        raise invalid(
            "An endpoint configuration with a shadow variant must have exactly one production"
            f" variant and one shadow variant, but has {len(production)} and {len(shadows)}."
        )
    if serverless or request.get("AsyncInferenceConfig"):
        kind = "serverless" if serverless else "asynchronous"
        raise invalid(f"Shadow variants are not supported for {kind} inference.")


def _check_serverless(request, production):
    if len(production) > 1:
        raise invalid("Multiple production variants are not supported for serverless inference.")
    for member in ("DataCaptureConfig", "AsyncInferenceConfig"):
        if request.get(member):
            raise invalid(f"{member} is not supported for serverless inference.")


def _weight(variant):
    weight = variant.get("InitialVariantWeight")
    return 1.0 if weight is None else weight


# Plans


def _plan(sagemaker, config, region):
    """An endpoint configuration as it will run, with all that it refers to."""
    plan = {
        "EndpointConfigName": config["EndpointConfigName"],
        "Variants": [_planned(sagemaker, v, region) for v in config["ProductionVariants"]],
        "Shadows": [
            _planned(sagemaker, v, region) for v in config.get("ShadowProductionVariants") or []
        ],
    }
    kept = ("DataCaptureConfig", "AsyncInferenceConfig")
    return plan | {member: config[member] for member in kept if config.get(member)}


def _planned(sagemaker, variant, region):
    model = found(MODEL, sagemaker, MODEL.arn(region, variant["ModelName"]))
    return {
        "VariantName": variant["VariantName"],
        "InstanceType": variant.get("InstanceType"),
        "Serverless": variant.get("ServerlessConfig"),
        "RoutingConfig": variant.get("RoutingConfig"),
        "Weight": _weight(variant),
        "Count": variant.get("InitialInstanceCount", 1),
        "StartupSeconds": variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
        **_container(sagemaker, model, region),
    }


def _retain(plan, live, excluded):
    """Weights and counts as they are now, which autoscaling may have changed."""
    now = {variant["VariantName"]: variant for variant in live["Variants"] + live["Shadows"]}
    for variant in plan["Variants"] + plan["Shadows"]:
        old = now.get(variant["VariantName"])
        if old and not old["Serverless"] and not variant["Serverless"]:
            if "DesiredInstanceCount" not in excluded:
                variant["Count"] = old["Count"]
            if "DesiredWeight" not in excluded:
                variant["Weight"] = old["Weight"]
    return plan


# Endpoints


def create_endpoint(sagemaker, request, region):
    config = find(CONFIG, sagemaker, request, region)
    plan = _plan(sagemaker, config, region)
    policy = request.get("DeploymentConfig")
    if policy:
        deployments.check(sagemaker, policy, plan, plan, region)
    arn = ENDPOINT.arn(region, request["EndpointName"])
    with sagemaker.store.lock:
        members = {"Next": plan, "LastDeploymentConfig": policy, "DeploymentConfig": None}
        document = insert(ENDPOINT, sagemaker, request, arn, **members)
    sagemaker.hosting.start(arn)
    return document


def update_endpoint(sagemaker, request, region):
    sagemaker.neighbours.ready.wait()  # it reads the store as it loads: not while we hold its lock
    with sagemaker.store.lock:
        endpoint = _at_rest(sagemaker, request, region)
        live = endpoint["Live"]
        # AWS compares the two, so an update needs the configuration that is left behind as well.
        found(CONFIG, sagemaker, CONFIG.arn(region, live["EndpointConfigName"]))
        plan = _plan(sagemaker, find(CONFIG, sagemaker, request, region), region)
        if live["Variants"][0]["Serverless"] and not plan["Variants"][0]["Serverless"]:
            raise invalid("A serverless endpoint cannot be converted to an instance-based one.")
        _check_scaling(sagemaker, live, plan, _arn(endpoint))
        if request.get("RetainAllVariantProperties"):
            excluded = request.get("ExcludeRetainedVariantProperties") or []
            _retain(plan, live, [item["VariantPropertyType"] for item in excluded])
        policy = request.get("DeploymentConfig")
        if request.get("RetainDeploymentConfig"):
            policy = policy or endpoint.get("LastDeploymentConfig")
        if policy:
            deployments.check(sagemaker, policy, live, plan, region)
        return _begin(sagemaker, endpoint, "Updating", Next=plan, Policy=policy, FailureReason=None)


def _check_scaling(sagemaker, live, plan, arn):
    """What Application Auto Scaling knows of may not go, nor have another instance type."""
    scaled = sagemaker.neighbours.scaled(resources.region_of(arn), resources.name_of(arn))
    registered = {resource.rpartition("/")[2] for _, resource in scaled}
    types = {variant["VariantName"]: variant["InstanceType"] for variant in plan["Variants"]}
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


def update_weights(sagemaker, request, region):
    with sagemaker.store.lock:
        endpoint = _at_rest(sagemaker, request, region)
        live = endpoint["Live"]
        for wanted in request["DesiredWeightsAndCapacities"]:
            variants = [*live["Variants"], *live["Shadows"]]
            name = wanted["VariantName"]
            variant = next((v for v in variants if v["VariantName"] == name), None)
            if variant is None:
                raise invalid(f'Could not find variant "{name}" of endpoint "{_arn(endpoint)}".')
            _want(variant, wanted)
        if not sum(v.get("DesiredWeight", v["Weight"]) for v in live["Variants"]):
            raise invalid("The sum of DesiredWeight of all production variants must exceed 0.")
        return _begin(sagemaker, endpoint, "Updating", Live=live, FailureReason=None)


def _want(variant, wanted):
    count, serverless = wanted.get("DesiredInstanceCount"), wanted.get("ServerlessUpdateConfig")
    name = variant["VariantName"]
    if count == 0:
        raise lacking(f"DesiredInstanceCount 0 (variant {name})")
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


def delete_endpoint(sagemaker, request, region):
    with sagemaker.store.lock:
        endpoint = find(ENDPOINT, sagemaker, request, region)
        _check_status(endpoint)
        _begin(sagemaker, endpoint, "Deleting")
    return {}


def _arn(endpoint):
    return endpoint["EndpointArn"]


def _at_rest(sagemaker, request, region):
    endpoint = find(ENDPOINT, sagemaker, request, region)
    _check_status(endpoint)
    if endpoint["EndpointStatus"] == "Failed":
        raise invalid(f'Cannot update failed endpoint "{_arn(endpoint)}": it can only be deleted.')
    return endpoint


def _check_status(endpoint):
    if endpoint["EndpointStatus"] in IN_PROGRESS:
        raise invalid(f'Cannot update in-progress endpoint "{_arn(endpoint)}".')


def _begin(sagemaker, endpoint, status, **changes):
    document = sagemaker.hosting.set(_arn(endpoint), status, **changes)
    sagemaker.hosting.start(_arn(endpoint))
    return document


def describe_endpoint(sagemaker, request, region):
    return deployments.described(find(ENDPOINT, sagemaker, request, region))


def list_endpoints(sagemaker, request, region):
    return resources.listing(ENDPOINT, sagemaker, request, region)


def recover(sagemaker):
    """Endpoints come back as they were; what was under way is taken up again."""
    sagemaker.hosting = Hosting(sagemaker)
    sagemaker.hosting.recover()


def close(sagemaker):
    sagemaker.hosting.close()


OPERATIONS = {
    **resources.plain(CONFIG),
    **resources.plain(ENDPOINT),
    "CreateModel": lambda *call: create_model(MODEL, *call),
    "CreateEndpointConfig": create_config,
    "CreateEndpoint": create_endpoint,
    "DescribeEndpoint": describe_endpoint,
    "UpdateEndpoint": update_endpoint,
    "UpdateEndpointWeightsAndCapacities": update_weights,
    "DeleteEndpoint": delete_endpoint,
}
