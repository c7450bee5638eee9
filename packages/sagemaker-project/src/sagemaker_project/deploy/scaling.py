"""Autoscaling of variants: which calls lead from what is registered to what the settings say.

SageMaker refuses an update that removes a variant that scales, or that changes its instances. So
those variants are deregistered before an update and registered again after it.
"""

from collections.abc import Iterator, Mapping

from sagemaker_project.deploy.calls import Call, Members

SERVICE = "application-autoscaling"
POLICY = "{}-target-tracking"
TRACKED_METRIC = "SageMakerVariantInvocationsPerInstance"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
DEFAULT_COOLDOWNS = {"ScaleInCooldown": 300, "ScaleOutCooldown": 300}  # AWS's

Rules = Mapping[str, Members]  # {variant: AutoScaling of the settings}


def scalable_target(endpoint: str, variant: str) -> Members:
    """Return the members that name a variant's instance count in Application Auto Scaling."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": DIMENSION,
    }


def registrations(endpoint: str, rules: Rules, registered: Rules) -> list[Call]:
    """Return the calls that register every rule that is missing or different."""
    return [
        call
        for variant, rule in rules.items()
        if {**DEFAULT_COOLDOWNS, **rule} != {**DEFAULT_COOLDOWNS, **registered.get(variant, {})}
        for call in _registration(endpoint, variant, rule)
    ]


def _registration(endpoint: str, variant: str, rule: Members) -> Iterator[Call]:
    scalable = scalable_target(endpoint, variant)
    capacity = {"MinCapacity": rule["MinCapacity"], "MaxCapacity": rule["MaxCapacity"]}
    cooldowns = {name: rule[name] for name in DEFAULT_COOLDOWNS if name in rule}
    yield Call(SERVICE, "RegisterScalableTarget", {**scalable, **capacity})
    tracking = {
        "TargetValue": float(rule["TargetValue"]),
        "PredefinedMetricSpecification": {"PredefinedMetricType": TRACKED_METRIC},
        **cooldowns,
    }
    policy = {
        "PolicyName": POLICY.format(variant),
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": tracking,
    }
    yield Call(SERVICE, "PutScalingPolicy", {**scalable, **policy})


def in_the_way(
    rules: Rules, registered: Rules, live: Members | None, goal: Members | None
) -> list[str]:
    """Return the variants whose autoscaling an update from `live` to `goal` cannot keep.

    Args:
        rules: what the goal's variants are to scale by.
        live, goal: endpoint configurations.
    """
    before, after = _instances(live), _instances(goal)
    return [v for v in registered if v not in rules or before.get(v) != after.get(v)]


def deregistration(endpoint: str, variant: str) -> Call:
    return Call(SERVICE, "DeregisterScalableTarget", scalable_target(endpoint, variant))


def without(registered: Rules, variants: list[str]) -> Rules:
    return {name: rule for name, rule in registered.items() if name not in variants}


def _instances(endpoint_config: Members | None) -> dict[str, tuple[object, object]]:
    return {
        variant["VariantName"]: (variant.get("InstanceType"), variant.get("InstancePools"))
        for variant in all_variants(endpoint_config)
    }


def all_variants(endpoint_config: Members | None) -> list[Members]:
    """Return the production and shadow variants of an endpoint configuration."""
    if endpoint_config is None:
        return []
    shadow: list[Members] = endpoint_config.get("ShadowProductionVariants", [])
    return [*endpoint_config.get("ProductionVariants", []), *shadow]
