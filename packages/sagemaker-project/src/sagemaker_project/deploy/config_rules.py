"""What SageMaker refuses in combination, or would do differently than a stage's settings say.

A rule takes a config.Config and yields (where in the file, reason): what is wrong, why, and what
to do. Beside each is the page of AWS's documentation it rests on; what no page says is no rule.
`deployment_problems` judges the same settings against the live endpoint and its alarms.
"""

import json
import math
import re
import unicodedata
from typing import NamedTuple

# SageMaker Developer Guide, "Deploy models with Amazon SageMaker Serverless Inference", feature
# exclusions; for traffic across Regions API Reference, CreateEndpointConfig; for shadows
# "Exclusions" of shadow tests. The rest: ServerlessConfig is "instead of" instances.
SERVERLESS_WITHOUT = {
    "DataCaptureConfig": "data capture",
    "VpcConfig": "a VPC configuration",
    "EnableNetworkIsolation": "network isolation",
    "AsyncInferenceConfig": "asynchronous inference",
    "CrossRegionTrafficConfig": "a cap on traffic from other Regions",
    "ShadowProductionVariants": "a shadow variant",
}
OF_INSTANCES = (
    "InstanceType",
    "InitialInstanceCount",
    "InstancePools",
    "VariantInstanceProvisionTimeoutInSeconds",
    "VolumeSizeInGB",
    "CapacityReservationConfig",
    "InferenceAmiVersion",
    "AutoScaling",
)
# Families of instance types, from the enum ProductionVariantInstanceType. SageMaker's image of
# scikit-learn 1.9-0 is for x86-64 CPUs only (sagemaker.core.image_uris, sklearn.json).
ACCELERATED = re.compile(r"ml\.(p|g|inf|trn|dl)\d")
ARM = re.compile(r"ml\.[cmr]\d+g")
BURSTABLE = re.compile(r"ml\.t\d")


class Problem(NamedTuple):
    """Why a deployment must not start: to be mended if "invalid", waited for if "inconclusive"."""

    kind: str
    message: str


def shown(value):
    """A value as JSON, in ASCII and short: whatever it is, it stays on the line."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."


def _each(config):
    """(where, variant) of every variant."""
    for kind in ("ProductionVariants", "ShadowProductionVariants"):
        for position, variant in enumerate(config.content[kind]):
            yield f"{kind}[{position}]", variant


def _is_on(config, setting):
    value = config.content.get(setting)
    return bool(value) and (setting != "DataCaptureConfig" or value.get("EnableCapture", True))


def names(config):
    """A variant is found by its name: in requests, metrics, alarms and captured data."""
    seen = set()
    for where, variant in _each(config):
        name = variant["VariantName"]
        if name in seen:
            yield f"{where}.VariantName", f"{name} is the name of another variant: give it its own"
        seen.add(name)


def resources(config):
    for where, variant in _each(config):
        if "ServerlessConfig" in variant:
            for name in OF_INSTANCES:
                if name in variant:
                    yield f"{where}.{name}", "a serverless variant has no instances: leave it out"
        elif "InstancePools" in variant:
            if "InstanceType" in variant:
                yield (
                    f"{where}.InstanceType",
                    "InstancePools names the types: leave one of them out",
                )
            if "InitialInstanceCount" not in variant:
                yield where, "InitialInstanceCount must be given"
        elif missing := {"InstanceType", "InitialInstanceCount"} - set(variant):
            yield where, f"{' and '.join(sorted(missing))} must be given, or ServerlessConfig"


def instance_types(config):
    for where, variant in _each(config):
        types = [(f"{where}.InstanceType", variant.get("InstanceType", ""))]
        for position, pool in enumerate(variant.get("InstancePools", [])):
            types.append((f"{where}.InstancePools[{position}].InstanceType", pool["InstanceType"]))
        for place, name in types:
            if ACCELERATED.match(name):
                yield (
                    place,
                    f"{name} has an accelerator, and SageMaker's scikit-learn image is for CPUs:"
                    " it would be paid for and not used; take one of ml.m5, ml.c5, ml.m7i, ml.c7i",
                )
            if ARM.match(name):
                yield (
                    place,
                    f"{name} is an ARM machine, and there is no such image of scikit-learn 1.9-0:"
                    " take one of ml.m5, ml.c5, ml.m7i, ml.c7i",
                )


def members_without_effect(config):
    for where, variant in _each(config):
        if "AcceleratorType" in variant:
            # API Reference, ProductionVariant: "This parameter is no longer supported."
            yield (
                f"{where}.AcceleratorType",
                "Elastic Inference is no longer available: leave it out",
            )
        if "ManagedInstanceScaling" in variant:
            # The API's own ValidationException says so.
            yield (
                f"{where}.ManagedInstanceScaling",
                "it is only for endpoints of inference components: use AutoScaling",
            )
        if "AcceleratorPartitionLayouts" in variant:
            # API Reference, ProductionVariant: a partition holds one inference component.
            yield (
                f"{where}.AcceleratorPartitionLayouts",
                "it divides GPUs among inference components, and there are none: leave it out",
            )


def serverless(config):
    for where, variant in _each(config):
        if settings := variant.get("ServerlessConfig"):
            provisioned = settings.get("ProvisionedConcurrency", 0)
            if provisioned > settings["MaxConcurrency"]:
                # API Reference, ProductionVariantServerlessConfig
                yield (
                    f"{where}.ServerlessConfig.ProvisionedConcurrency",
                    f"{provisioned} is more than MaxConcurrency, {settings['MaxConcurrency']}",
                )
    if not config.serverless:
        return
    if len(config.production_variants) > 1:
        yield "ProductionVariants", "a serverless endpoint has one variant: leave the others out"
    for setting, what in SERVERLESS_WITHOUT.items():
        if _is_on(config, setting):
            yield (
                setting,
                f"a serverless endpoint cannot have {what}: leave it out or use instances",
            )


def asynchronous(config):
    # "Exclusions" of shadow tests; API Reference, CreateEndpointConfig
    if _is_on(config, "AsyncInferenceConfig"):
        for setting in ("ShadowProductionVariants", "CrossRegionTrafficConfig"):
            if _is_on(config, setting):
                yield setting, "an asynchronous endpoint cannot have it: leave one of the two out"


def shadow(config):
    # API Reference, CreateEndpointConfig: one production variant and one shadow variant
    shadows, production = len(config.shadow_variants), len(config.production_variants)
    if shadows > 1:
        yield (
            "ShadowProductionVariants",
            f"SageMaker takes one shadow variant, {shadows} were found",
        )
    if shadows and production > 1:
        yield (
            "ShadowProductionVariants",
            f"a shadow needs exactly one production variant, {production} were found:"
            " compare versions either by weights or by a shadow",
        )


def weights(config):
    # API Reference, ProductionVariant: traffic is the ratio of a weight to the sum of all.
    if not any(variant["InitialVariantWeight"] for variant in config.production_variants):
        yield "ProductionVariants", "all weights are 0, no variant would get requests: raise one"


def versions(config):
    if all("ModelPackageVersion" in variant for variant in config.variants):
        yield (
            "ProductionVariants",
            "every variant has a ModelPackageVersion, so what is promoted would serve nowhere:"
            " leave it out of one",
        )


def autoscaling(config):
    for where, variant in _each(config):
        if not (limits := variant.get("AutoScaling")):
            continue
        least, most = limits["MinCapacity"], limits["MaxCapacity"]
        count = variant.get("InitialInstanceCount", least)
        if least > most:
            yield f"{where}.AutoScaling", f"MinCapacity {least} is more than MaxCapacity {most}"
        elif not least <= count <= most:
            yield (
                f"{where}.InitialInstanceCount",
                f"{count} is outside AutoScaling's {least} to {most}: it would change at once",
            )
        if BURSTABLE.match(variant.get("InstanceType", "")):
            # Developer Guide, "Register a model": no automatic scaling of burstable instances
            yield (
                f"{where}.AutoScaling",
                f"{variant['InstanceType']} is burstable, and SageMaker does not scale those:"
                " take ml.m5.large or leave AutoScaling out",
            )


def routing(config):
    # API Reference, ProductionVariantRoutingConfig
    for where, variant in _each(config):
        place, settings = f"{where}.RoutingConfig", variant.get("RoutingConfig", {})
        strategy, prefix = settings.get("RoutingStrategy"), settings.get("PrefixAwareRoutingConfig")
        if strategy == "KV_AWARE":
            yield f"{place}.RoutingStrategy", "KV_AWARE is for language models: leave it out"
        if strategy == "PREFIX_AWARE" and len(prefix or {}) < 2:
            yield place, "PREFIX_AWARE needs PrefixLength and ConcurrencyThreshold"
        if strategy != "PREFIX_AWARE" and prefix is not None:
            yield f"{place}.PrefixAwareRoutingConfig", "it is only for PREFIX_AWARE: leave it out"


def tags(config):
    # API Reference, Tag; the prefix: AWS General Reference, "Tagging your AWS resources"
    seen = set()
    for position, tag in enumerate(config.content["Tags"]):
        place, key = f"Tags[{position}].Key", tag["Key"]
        if key.lower().startswith("aws:"):
            yield place, f"{shown(key)}: keys that start with aws: are reserved by AWS"
        if key in seen:
            yield place, f"{shown(key)} is duplicated: a key has one value"
        seen.add(key)
        for name, value in tag.items():
            if not all(unicodedata.category(c)[0] in "LZN" or c in "_.:/=+-@" for c in value):
                yield (
                    f"Tags[{position}].{name}",
                    f"{shown(value)}: letters, digits, spaces and _.:/=+-@ are allowed",
                )


def endpoint_test(config):
    test = config.test
    if test["MaxP50Milliseconds"] > test["MaxP99Milliseconds"]:
        yield (
            "EndpointTest.MaxP50Milliseconds",
            f"{test['MaxP50Milliseconds']} is more than MaxP99Milliseconds,"
            f" {test['MaxP99Milliseconds']}: it could never fail, half is never slower than 99 %",
        )


def retained(config):
    # API Reference, UpdateEndpoint
    content = config.content
    if "ExcludeRetainedVariantProperties" in content and not content["RetainAllVariantProperties"]:
        yield (
            "ExcludeRetainedVariantProperties",
            "nothing is retained: set RetainAllVariantProperties to true or leave it out",
        )


# Deployments

SIZES = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}
# API Reference, TrafficRoutingConfig and RollingUpdatePolicy: percent of a variant's instances
LIMITS = {"canary": (1, 50), "linear step": (10, 50), "rolling batch": (5, 50)}


class _Policy(NamedTuple):
    """The update policy of a DeploymentConfig, whichever of the two it is."""

    kind: str  # "all at once" or one of LIMITS
    place: str
    members: dict
    size: dict | None  # a CapacitySize
    wait: int

    @property
    def size_place(self):
        names = {
            "canary": "TrafficRoutingConfiguration.CanarySize",
            "linear step": "TrafficRoutingConfiguration.LinearStepSize",
            "rolling batch": "MaximumBatchSize",
        }
        return f"{self.place}.{names[self.kind]}"

    @property
    def bake(self):
        """Seconds in which alarms judge the new version at one stage of the deployment."""
        at_once = self.kind == "all at once"
        return self.members.get("TerminationWaitInSeconds", 0) if at_once else self.wait

    def waits(self, counts):
        """Seconds that the deployment waits in all, with `counts` instances in its variants."""
        last = self.members.get("TerminationWaitInSeconds", 0)
        if self.kind == "all at once":
            return last
        if self.kind == "canary":
            return self.wait + last
        instances = 100 if self.size["Type"] == "CAPACITY_PERCENT" else max(counts)
        steps = math.ceil(instances / self.size["Value"])
        # Between the steps of a linear shift, after each batch of a rolling one.
        return self.wait * (steps if self.kind == "rolling batch" else steps - 1) + last


def _policy(config):
    deployment = config.deployment
    if rolling := deployment.get("RollingUpdatePolicy"):
        wait, size = rolling["WaitIntervalInSeconds"], rolling["MaximumBatchSize"]
        return _Policy("rolling batch", "DeploymentConfig.RollingUpdatePolicy", rolling, size, wait)
    members = deployment.get("BlueGreenUpdatePolicy", {})
    traffic = members.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE"})
    kind = {"CANARY": "canary", "LINEAR": "linear step"}.get(traffic["Type"], "all at once")
    size = traffic.get(SIZES.get(traffic["Type"]))
    place = "DeploymentConfig.BlueGreenUpdatePolicy"
    return _Policy(kind, place, members, size, traffic.get("WaitIntervalInSeconds", 0))


def one_policy(config):
    # API Reference, DeploymentConfig: "Only one update policy should be used"
    if {"BlueGreenUpdatePolicy", "RollingUpdatePolicy"} <= set(config.deployment):
        yield (
            "DeploymentConfig",
            "BlueGreenUpdatePolicy and RollingUpdatePolicy exclude each other: leave one out",
        )


def traffic_sizes(config):
    traffic = config.deployment.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration")
    if not traffic:
        return
    place = "DeploymentConfig.BlueGreenUpdatePolicy.TrafficRoutingConfiguration"
    kind = traffic["Type"]
    if kind in SIZES and SIZES[kind] not in traffic:
        yield place, f"{kind} needs {SIZES[kind]}"
    for of, name in SIZES.items():
        if kind != of and name in traffic:
            yield f"{place}.{name}", f"it is for {of}, and Type is {kind}: leave it out"


def step_sizes(config):
    policy = _policy(config)
    counts = _initial_counts(config)
    yield from _sizes(policy, counts)
    back = policy.members.get("RollbackMaximumBatchSize")
    if back and back["Type"] == "CAPACITY_PERCENT" and back["Value"] > 100:
        yield f"{policy.place}.RollbackMaximumBatchSize", f"{back['Value']} % is more than all"


def _sizes(policy, counts):
    """What is wrong with the size of a step for variants of these numbers of instances."""
    if policy.size is None or policy.kind == "all at once":
        return
    least, most = LIMITS[policy.kind]
    value, percent = policy.size["Value"], policy.size["Type"] == "CAPACITY_PERCENT"
    if percent and not least <= value <= most:
        yield policy.size_place, f"{least} to {most} % is wanted, {value} % was found"
        return
    for variant, count in counts.items():
        if count is None:
            continue
        if count == 1:
            size = f"{value} %" if percent else f"{value} instance"
            yield (
                policy.size_place,
                f"1 instance cannot do a {policy.kind} of {size}: the least that can take traffic"
                f" is one instance, all of {variant}, and SageMaker takes at most {most} %:"
                " use 2 or more instances, or ALL_AT_ONCE",
            )
        elif not percent and not least <= 100 * value / count <= most:
            yield (
                policy.size_place,
                f"{value} of the {count} instances of {variant} is {100 * value / count:.0f} %,"
                f" {least} to {most} % is wanted",
            )


def _initial_counts(config):
    return {v["VariantName"]: v.get("InitialInstanceCount") for v in config.production_variants}


def times(config):
    yield from _times(_policy(config), _initial_counts(config))


def _times(policy, counts):
    """What is wrong with the time a deployment may take."""
    limit = policy.members.get("MaximumExecutionTimeoutInSeconds")
    if limit is None:
        return
    waits = policy.waits([count or 1 for count in counts.values()])
    if waits >= limit:
        # API Reference, BlueGreenUpdatePolicy: the timeout "should be larger than" the waits.
        yield (
            f"{policy.place}.MaximumExecutionTimeoutInSeconds",
            f"the deployment waits {waits:,} s in all, so it cannot end within {limit:,} s:"
            f" more than {waits:,} is wanted (at most 28,800), or shorter waits",
        )


def guardrails(config):
    # Developer Guide, "Exclusions" of deployment guardrails; "Deployment guardrails" says that
    # they are for real-time and asynchronous endpoints only.
    policy = _policy(config)
    if policy.kind == "rolling batch" and len(config.production_variants) > 1:
        yield policy.place, "several variants cannot be rolled: use BlueGreenUpdatePolicy"
    if policy.kind != "all at once" and config.serverless:
        yield (
            policy.place,
            f"a serverless endpoint has no instances to do a {policy.kind} with: use ALL_AT_ONCE",
        )


def watched(config):
    policy, alarms = _policy(config), config.alarms
    place = "DeploymentConfig.AutoRollbackConfiguration"
    # Developer Guide, "Use canary traffic shifting", prerequisites: alarms
    if config.last and policy.kind != "all at once" and not alarms:
        yield place, f"a {policy.kind} that no alarm watches is never rolled back: name 1 to 10"
    if alarms and not policy.bake:
        setting = "TerminationWaitInSeconds"
        if policy.kind != "all at once":
            setting = "WaitIntervalInSeconds"
        yield place, f"{setting} is 0, so the alarms have no time to see anything: raise it"


RULES = (
    names,
    resources,
    instance_types,
    members_without_effect,
    serverless,
    asynchronous,
    shadow,
    weights,
    versions,
    autoscaling,
    routing,
    tags,
    endpoint_test,
    retained,
    one_policy,
    traffic_sizes,
    guardrails,
    step_sizes,
    times,
    watched,
)


# What only the live endpoint can tell


def deployment_problems(config, current_counts, alarms):
    """Why a deployment with these settings must not start now, as a list of Problem.

    Args:
        current_counts: {variant: instances, None for a serverless one} of the live endpoint;
            None where there is no endpoint yet.
        alarms: {name: MetricAlarm}, as DescribeAlarms gives them.
    """
    found = [*_alarm_problems(config, alarms, live=current_counts is not None)]
    if current_counts is not None:
        found += _fleet_problems(config, current_counts)
    return found


def _alarm_problems(config, alarms, live):
    bake = _policy(config).bake
    for name in config.alarms:
        alarm, place = alarms.get(name), f"{config.path}: the alarm {name}"
        if alarm is None:
            yield Problem(
                "invalid",
                f"{place} is no metric alarm of this account and region:"
                " create it, or take it out of AutoRollbackConfiguration",
            )
            continue
        needs = _period(alarm) * alarm.get("EvaluationPeriods", 1)
        if needs > bake:
            yield Problem(
                "invalid",
                f"{place} needs {needs:,} s to judge (Period x"
                f" EvaluationPeriods), and a step is watched for {bake:,} s:"
                " wait longer, or make the alarm faster",
            )
        if live and alarm["StateValue"] == "ALARM":
            yield Problem(
                "invalid",
                f"{place} is in ALARM already, the new version would be rolled"
                " back at once: find out why first",
            )
        if live and alarm["StateValue"] == "INSUFFICIENT_DATA":
            yield Problem(
                "inconclusive",
                f"{place} has no data to judge by: wait until it is OK,"
                " or let TreatMissingData be notBreaching",
            )


def _period(alarm):
    """Seconds of one period; an alarm on an expression is as slow as its slowest metric."""
    periods = [alarm.get("Period")]
    for metric in alarm.get("Metrics", []):
        periods += [metric.get("Period"), metric.get("MetricStat", {}).get("Period")]
    return max(period or 0 for period in periods)


def _fleet_problems(config, current):
    policy, wanted = _policy(config), _initial_counts(config)
    if policy.kind != "all at once" and set(current) != set(wanted):
        # Developer Guide, "Exclusions" of deployment guardrails
        yield Problem(
            "invalid",
            f"{config.path}: the variants {_list(wanted)} are to replace"
            f" {_list(current)}: a {policy.kind} needs the same names; deploy ALL_AT_ONCE",
        )
    if config.serverless and any(count is not None for count in current.values()):
        # Developer Guide, "Deploy models with Amazon SageMaker Serverless Inference"
        yield Problem(
            "invalid",
            f"{config.path}: an endpoint of instances cannot become"
            " serverless: delete the endpoint first, or keep instances",
        )
    if config.content["RetainAllVariantProperties"]:
        counts = {name: current.get(name) or count for name, count in wanted.items()}
        for where, reason in [*_sizes(policy, counts), *_times(policy, counts)]:
            yield Problem(
                "invalid",
                f"{config.path}: {where}: {reason} (the live endpoint has"
                " scaled to that, and RetainAllVariantProperties keeps it)",
            )


def _list(names):
    return ", ".join(sorted(names))
