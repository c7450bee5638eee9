"""What SageMaker refuses in combination, or would do differently than a stage's settings say.

A rule takes a Config and yields (where in the file, reason): what is wrong, why, and what to do.
What SageMaker does not combine is in endpoint_rules.json, with the page of AWS's documentation that
it rests on; the other rules name theirs. There is no rule without one.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import TypeAlias

from sagemaker_project.deploy.config_types import Config, Finding, shown
from sagemaker_project.deploy.endpoint_rules import RULES as ENDPOINT_RULES
from sagemaker_project.deploy.endpoint_rules import conflicts

Rule: TypeAlias = Callable[[Config], Iterator[Finding]]

# Families of instance types, from the enum ProductionVariantInstanceType. SageMaker's image of
# scikit-learn 1.9-0 is for x86-64 CPUs only (sagemaker.core.image_uris, sklearn.json).
ACCELERATED = re.compile(r"ml\.(p|g|inf|trn|dl)\d")
ARM = re.compile(r"ml\.[cmr]\d+g")
BURSTABLE = re.compile(r"ml\.t\d")


def names(config: Config) -> Iterator[Finding]:
    """Find duplicated names: requests, metrics, alarms and captured data go by name."""
    seen = set()
    for where, variant in config.places:
        name = variant["VariantName"]
        if name in seen:
            yield f"{where}.VariantName", f"{name}: {ENDPOINT_RULES['variant-names'].refusal}"
        seen.add(name)


def resources(config: Config) -> Iterator[Finding]:
    """Find variants with too little or too much of instances, pools and ServerlessConfig."""
    for where, variant in config.places:
        if "ServerlessConfig" in variant:
            for name in ENDPOINT_RULES["serverless-instances"].members:
                if name in variant:
                    yield f"{where}.{name}", ENDPOINT_RULES["serverless-instances"].refusal
            if "AutoScaling" in variant:
                yield f"{where}.AutoScaling", ENDPOINT_RULES["serverless-autoscaling"].refusal
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


def instance_types(config: Config) -> Iterator[Finding]:
    """Find instance types that SageMaker's scikit-learn image cannot run on or make use of."""
    for where, variant in config.places:
        types = [(f"{where}.InstanceType", variant.get("InstanceType", ""))]
        for position, pool in enumerate(variant.get("InstancePools", [])):
            types.append((f"{where}.InstancePools[{position}].InstanceType", pool["InstanceType"]))
        for place, name in types:
            if ACCELERATED.match(name):
                yield (
                    place,
                    f"{name} has an accelerator, and SageMaker's scikit-learn image is for CPUs:"
                    " it would be paid for but not used; use one of ml.m5, ml.c5, ml.m7i, ml.c7i",
                )
            if ARM.match(name):
                yield (
                    place,
                    f"{name} is an ARM machine, and scikit-learn 1.9-0 has no image for ARM:"
                    " use one of ml.m5, ml.c5, ml.m7i, ml.c7i",
                )


def members_without_effect(config: Config) -> Iterator[Finding]:
    """Find members that the API accepts and that do nothing here."""
    for where, variant in config.places:
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
                "it divides GPUs among inference components, which are not used here: leave it out",
            )


def provisioned_concurrency(config: Config) -> Iterator[Finding]:
    """Find more provisioned concurrency than there can be concurrent requests."""
    for where, variant in config.places:
        settings = variant.get("ServerlessConfig", {})
        provisioned = settings.get("ProvisionedConcurrency", 0)
        if provisioned > settings.get("MaxConcurrency", 0):
            yield (
                f"{where}.ServerlessConfig.ProvisionedConcurrency",
                f"{provisioned}, MaxConcurrency {settings['MaxConcurrency']}:"
                f" {ENDPOINT_RULES['provisioned-concurrency'].refusal}",
            )


def combinations(config: Config) -> Iterator[Finding]:
    """Find what SageMaker does not combine in one endpoint, or in an update of one."""
    for where, rule in conflicts(config.content):
        yield where, rule.refusal


def weights(config: Config) -> Iterator[Finding]:
    """Refuse settings under which no variant gets traffic."""
    if not any(variant["InitialVariantWeight"] for variant in config.production_variants):
        yield "ProductionVariants", ENDPOINT_RULES["weights"].refusal


def versions(config: Config) -> Iterator[Finding]:
    """Refuse settings under which the promoted version would not serve."""
    if all("ModelPackageVersion" in variant for variant in config.variants):
        yield (
            "ProductionVariants",
            "every variant has a ModelPackageVersion, so none would serve the promoted version:"
            " leave it out of one",
        )


def autoscaling(config: Config) -> Iterator[Finding]:
    """Find impossible limits, and instance types that do not scale."""
    for where, variant in config.places:
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
            yield (
                f"{where}.AutoScaling",
                f"{variant['InstanceType']}: {ENDPOINT_RULES['burstable-autoscaling'].refusal}",
            )


def routing(config: Config) -> Iterator[Finding]:
    """Find routing settings that do not fit the strategy."""
    # API Reference, ProductionVariantRoutingConfig
    for where, variant in config.places:
        place, settings = f"{where}.RoutingConfig", variant.get("RoutingConfig", {})
        strategy, prefix = settings.get("RoutingStrategy"), settings.get("PrefixAwareRoutingConfig")
        if strategy == "KV_AWARE":
            yield f"{place}.RoutingStrategy", "KV_AWARE is for language models: leave it out"
        if strategy == "PREFIX_AWARE" and len(prefix or {}) < 2:
            yield place, "PREFIX_AWARE needs PrefixLength and ConcurrencyThreshold"
        if strategy != "PREFIX_AWARE" and prefix is not None:
            yield f"{place}.PrefixAwareRoutingConfig", "it is only for PREFIX_AWARE: leave it out"


def tags(config: Config) -> Iterator[Finding]:
    """Find duplicated, reserved and malformed tags."""
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


def endpoint_test(config: Config) -> Iterator[Finding]:
    """Find limits that could never fail."""
    test = config.test
    if test["MaxP50Milliseconds"] > test["MaxP99Milliseconds"]:
        yield (
            "EndpointTest.MaxP50Milliseconds",
            f"{test['MaxP50Milliseconds']} is more than MaxP99Milliseconds,"
            f" {test['MaxP99Milliseconds']}: it could never fail, because p50 never exceeds p99",
        )


def retained(config: Config) -> Iterator[Finding]:
    """Find exclusions from a retention that is switched off."""
    # API Reference, UpdateEndpoint
    content = config.content
    if "ExcludeRetainedVariantProperties" in content and not content["RetainAllVariantProperties"]:
        yield (
            "ExcludeRetainedVariantProperties",
            "nothing is retained: set RetainAllVariantProperties to true or leave it out",
        )


RULES: tuple[Rule, ...] = (
    names,
    resources,
    instance_types,
    members_without_effect,
    provisioned_concurrency,
    combinations,
    weights,
    versions,
    autoscaling,
    routing,
    tags,
    endpoint_test,
    retained,
)
