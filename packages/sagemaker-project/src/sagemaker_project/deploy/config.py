"""The settings of one stage, deploy/<stage>-config.json: read, checked, handed out.

A file is checked in three steps, before any call to AWS. A mistake is reported in one line: where
it is, what is wanted, what was found and what to do.

    config_file.py        it is JSON, and its shapes are those of config.schema.json, which is made
                          from SageMaker's own service model and our own settings
    config_rules.py       what SageMaker refuses in combination
    config_deployment.py  the same for the DeploymentConfig
    config_live.py        what depends on the live endpoint and its alarms (`deployment_problems`)

The settings are SageMaker's own shapes: the API gets what the file says, without our own members.
"""

import copy
import json
from pathlib import Path
from typing import Any

from sagemaker_project.deploy import config_deployment, config_rules
from sagemaker_project.deploy.config_file import load
from sagemaker_project.deploy.config_live import deployment_problems
from sagemaker_project.deploy.config_types import Config, Problem
from sagemaker_project.errors import UsageError

__all__ = [
    "NOT_RETAINED",
    "Config",
    "Problem",
    "UsageError",
    "deployment_problems",
    "endpoint_config_members",
    "model_members",
    "pinned_versions",
    "read_config",
    "scaling",
    "unreadable",
    "update_members",
]

RULES = (*config_rules.RULES, *config_deployment.RULES)
OURS = {"ModelPackageVersion", "AutoScaling"}
FOR_ENDPOINT_CONFIG = (
    "ProductionVariants",
    "ShadowProductionVariants",
    "DataCaptureConfig",
    "AsyncInferenceConfig",
    "ExplainerConfig",
    "MetricsConfig",
    "CrossRegionTrafficConfig",
    "KmsKeyId",
)
FOR_MODEL = ("VpcConfig", "EnableNetworkIsolation")
DEFAULTS: dict[str, Any] = {
    "ShadowProductionVariants": [],
    "EnableNetworkIsolation": False,
    "Tags": [],
    "DeploymentConfig": {},
    "RetainAllVariantProperties": False,
    "AllowUncommitted": False,
    "Approval": {"MaxAgeDays": 30, "RequireTwoPeople": False},
    "EndpointTest": {
        "Requests": 200,
        "MaxP50Milliseconds": 500,
        "MaxP99Milliseconds": 1000,
        "MaxErrorRate": 0,
        "Tolerance": 1e-6,
    },
}
CAPTURED_AS_TEXT = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}
NOT_RETAINED = [
    {"VariantPropertyType": "DesiredWeight"},
    {"VariantPropertyType": "DataCaptureConfig"},
]


def read_config(path: str | Path, stage: str, last: bool = True) -> Config:
    """Return the settings of `stage`, which is the `last` one or not, from the file `path`.

    Raises:
        UsageError: they cannot be used. One line: file, where in it, what is wrong, what to do.
    """
    path = Path(path)
    try:
        content = load(path)
        content.pop("$schema", None)
        config = Config(stage, path, _with_defaults(content), last)
        for rule in RULES:
            for where, reason in rule(config):
                raise UsageError(f"{where}: {reason}")
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return config


def unreadable(path: str | Path, stage: str) -> Config:
    """Return empty settings for a file that cannot be used, for commands that do not need them."""
    return Config(stage, Path(path), _with_defaults({"ProductionVariants": []}))


# What the API gets


def endpoint_config_members(config: Config, bucket: str, endpoint_name: str) -> dict[str, Any]:
    """Return the members of CreateEndpointConfig.

    EndpointConfigName, Tags and the ModelName of each variant are left to the caller.
    """
    given = {name: config.content[name] for name in FOR_ENDPOINT_CONFIG if config.content.get(name)}
    members = copy.deepcopy(given)
    for kind in ("ProductionVariants", "ShadowProductionVariants"):
        for variant in members.get(kind, []):
            for name in OURS & set(variant):
                del variant[name]
    if capture := members.get("DataCaptureConfig"):
        capture.setdefault("DestinationS3Uri", f"s3://{bucket}/datacapture-{config.stage}")
        # A type that is not named here is captured in base64, which Model Monitor does not read.
        capture.setdefault("CaptureContentTypeHeader", copy.deepcopy(CAPTURED_AS_TEXT))
    if asynchronous := members.get("AsyncInferenceConfig"):
        output = asynchronous["OutputConfig"]
        output.setdefault("S3OutputPath", f"s3://{bucket}/async-output/{endpoint_name}")
        # Without it the reason why a request got no answer is lost, and a test cannot report it.
        output.setdefault("S3FailurePath", f"s3://{bucket}/async-failure/{endpoint_name}")
    return members


def model_members(config: Config) -> dict[str, Any]:
    """Return the members of CreateModel that say where in the network the container runs."""
    return copy.deepcopy(
        {name: config.content[name] for name in FOR_MODEL if config.content.get(name)}
    )


def update_members(config: Config) -> dict[str, Any]:
    """Return the members of UpdateEndpoint: how traffic moves, and what the endpoint retains.

    Only instance counts are retained unless the file says otherwise: if weights and data capture
    were retained, a change of them in the file would silently have no effect.
    """
    members: dict[str, Any] = {}
    if config.deployment:
        members["DeploymentConfig"] = copy.deepcopy(config.deployment)
    if config.content["RetainAllVariantProperties"]:
        excluded = config.content.get("ExcludeRetainedVariantProperties", NOT_RETAINED)
        members["RetainAllVariantProperties"] = True
        if excluded:
            members["ExcludeRetainedVariantProperties"] = copy.deepcopy(excluded)
    return members


def scaling(config: Config) -> dict[str, dict[str, Any]]:
    """Return {variant: AutoScaling} of the variants that have autoscaling."""
    return {
        variant["VariantName"]: dict(variant["AutoScaling"])
        for variant in config.variants
        if "AutoScaling" in variant
    }


def pinned_versions(config: Config) -> dict[str, int]:
    """Return {variant: ModelPackageVersion} of the variants that serve a fixed version."""
    return {
        variant["VariantName"]: variant["ModelPackageVersion"]
        for variant in config.variants
        if "ModelPackageVersion" in variant
    }


def _with_defaults(content: dict[str, Any]) -> dict[str, Any]:
    """Return a deep copy of `content`, as plain dicts, with every default applied."""
    given_test = content.get("EndpointTest", {})
    for key, default in DEFAULTS.items():
        if isinstance(default, dict):
            content[key] = {**default, **content.get(key, {})}
        else:
            content.setdefault(key, default)
    for variant in content["ProductionVariants"] + content["ShadowProductionVariants"]:
        variant.setdefault("InitialVariantWeight", 1)
    if "MaxP50Milliseconds" not in given_test:
        test = content["EndpointTest"]
        test["MaxP50Milliseconds"] = min(test["MaxP50Milliseconds"], test["MaxP99Milliseconds"])
    copied: dict[str, Any] = json.loads(json.dumps(content))
    return copied
