"""One model package as it would be deployed to a stage: the requests that would create it.

Nothing here calls AWS; names follow from content (names.py).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timezone

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.config import (
    Config,
    endpoint_config_members,
    model_members,
    pinned_versions,
    scaling,
)
from sagemaker_project.deploy.container import model_container
from sagemaker_project.deploy.names import digest, resource_name
from sagemaker_project.deploy.scaling import all_variants
from sagemaker_project.deploy.target import Target


@dataclass(frozen=True)
class Candidate:
    """A package as it would be deployed.

    `models` and `endpoint_config` are the members of CreateModel and CreateEndpointConfig,
    `scaling` is {variant: AutoScaling}, and `pinned` are the packages of variants that serve
    another version.
    """

    package: Members  # DescribeModelPackage
    pinned: Mapping[str, Members]  # {variant: DescribeModelPackage}
    models: tuple[Members, ...]
    endpoint_config: Members
    config_hash: str
    scaling: Mapping[str, Members]

    @property
    def name(self) -> str:
        """The name of its endpoint configuration."""
        return str(self.endpoint_config["EndpointConfigName"])

    @property
    def version(self) -> int:
        return int(self.package["ModelPackageVersion"])

    @property
    def arn(self) -> str:
        return str(self.package["ModelPackageArn"])

    @property
    def packages(self) -> dict[str, Members]:
        """{ARN: package} of every package that serves."""
        return {p["ModelPackageArn"]: p for p in (self.package, *self.pinned.values())}

    @property
    def approval(self) -> Members:
        return approval(self.package)


def candidate(
    target: Target,
    package: Members,
    pinned: Mapping[str, Members],
    pins: Mapping[str, Members],
) -> Candidate:
    """Return what deploying `package` to `target` would create.

    Args:
        pins: {ARN: pin} of what the models serve. A model without one has no container: a gate
            refuses its package.
    """
    version = package["ModelPackageVersion"]
    members = endpoint_config_members(target.config, target.bucket, target.endpoint)
    models = {}
    for variant in all_variants(members):
        served = pinned.get(variant["VariantName"], package)
        arn = served["ModelPackageArn"]
        pin = pins.get(arn)
        model = {
            "PrimaryContainer": model_container(served, pin) if pin else {},
            "ExecutionRoleArn": target.role,
            **model_members(target.config),
        }
        name = resource_name(target.name, target.stage, served["ModelPackageVersion"], model)
        models[name] = {"ModelName": name, **model, "Tags": target.tags_of(arn)}
        variant["ModelName"] = name
    content = [
        _capturing_apart(members, ""),
        [{**model, "Tags": None} for model in models.values()],
    ]
    name = resource_name(target.name, target.stage, version, content)
    tags = target.tags_of(package["ModelPackageArn"])
    return Candidate(
        package=package,
        pinned=pinned,
        models=tuple(models.values()),
        endpoint_config={
            "EndpointConfigName": name,
            **_capturing_apart(members, name),
            "Tags": tags,
        },
        config_hash=config_hash(target.config, package["ModelPackageArn"]),
        scaling=scaling(target.config),
    )


def _capturing_apart(members: Members, name: str) -> Members:
    """Return the members with the configuration's name at the end of where it captures data.

    During a canary two configurations of an endpoint capture at once, under the same endpoint and
    variant; the folder says which version answered.
    """
    capture = members.get("DataCaptureConfig")
    if not capture:
        return members
    destination = f"{capture['DestinationS3Uri'].rstrip('/')}/{name}"
    return {**members, "DataCaptureConfig": {**capture, "DestinationS3Uri": destination}}


def config_hash(config: Config, package_arn: str) -> str:
    """Return the hash of the settings that a test of this package in the stage stands for.

    Role and bucket, in which staging and prod differ, are not settings.
    """
    settings = endpoint_config_members(config, bucket="", endpoint_name="")
    return digest([settings, model_members(config), pinned_arns(config, package_arn)])


def pinned_arns(config: Config, package_arn: str) -> dict[str, str]:
    """Return {variant: ARN of the version it serves} of variants that serve another version."""
    return {
        variant: re.sub(r"/\d+$", f"/{version}", package_arn)
        for variant, version in pinned_versions(config).items()
    }


def approval(package: Members) -> Members:
    """Return who approved a package, when and why, as the ledger keeps it.

    A package that was created approved was approved by its creator.
    """
    created, by = package.get("CreationTime"), package.get("LastModifiedBy")
    time = package.get("LastModifiedTime") or created
    if by is None and time == created:
        by = package.get("CreatedBy")
    return {
        "By": identity(by),
        "Time": time.astimezone(timezone.utc).isoformat() if time else "unknown",
        "Reason": package.get("ApprovalDescription", ""),
    }


def identity(context: Members | None) -> str:
    """Return the name of the person or role in one of SageMaker's UserContexts."""
    context = context or {}
    return str(
        (context.get("IamIdentity") or {}).get("Arn")
        or context.get("UserProfileArn")
        or context.get("UserProfileName")
        or "unknown"
    )


def principal(arn: str) -> str:
    """Return the ARN without the name of a session.

    The caller of AssumeRole chooses that name, so it does not identify a person. It is kept for
    roles of IAM Identity Center, which sets it to the user's name.
    """
    role = re.fullmatch(r"(arn:[^:]+:sts::\d{12}:assumed-role/([^/]+))/.+", arn)
    if role and not re.fullmatch(r"AWSReservedSSO_.+_[0-9a-f]{16}", role[2]):
        return role[1]
    return arn


def images_of(endpoint: Members | None, pinned: Collection[str]) -> list[str]:
    """Return the images, by digest, that SageMaker runs for the variants of the new version.

    Args:
        endpoint: the answer of DescribeEndpoint.
        pinned: the variants that serve another version.
    """
    live = endpoint.get("ProductionVariants", []) if endpoint else []
    variants = [variant for variant in live if variant["VariantName"] not in pinned]
    deployed = [image for variant in variants for image in variant.get("DeployedImages", [])]
    return sorted({image["ResolvedImage"] for image in deployed})
