"""Write config.schema.json from the shapes of SageMaker's own service model.

    .venv/bin/python packages/sagemaker-project/tests/make_schema.py

Members, types, enums, lengths, patterns and ranges come from botocore's service model. This file
adds our own settings and the differences between a stage's settings and the API. test_config.py
compares the committed schema with what this writes.
"""

import json
from pathlib import Path

import botocore.session
from sagemaker_project.deploy.endpoint_rules import RULES

SCHEMA = Path(__file__).parents[1] / "src/sagemaker_project/deploy/config.schema.json"

# deploy-model chooses the names; the role belongs to endpoints of inference components.
NOT_SETTINGS = {"ModelName", "ModelNameOverride", "EndpointConfigName", "ExecutionRoleArn"}
MANY = 20  # values: an enum this long is written once, under $defs

AUTO_SCALING = {
    "type": "object",
    "description": "Target tracking on the invocations per instance and minute.",
    "properties": {
        "MinCapacity": {"type": "integer", "minimum": 1},
        "MaxCapacity": {"type": "integer", "minimum": 1},
        "TargetValue": {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "Invocations per instance and minute.",
        },
        "ScaleInCooldown": {"type": "integer", "minimum": 0, "description": "Seconds."},
        "ScaleOutCooldown": {"type": "integer", "minimum": 0, "description": "Seconds."},
    },
    "required": ["MinCapacity", "MaxCapacity", "TargetValue"],
    "additionalProperties": False,
}
APPROVAL = {
    "type": "object",
    "description": "Which approvals are valid.",
    "properties": {
        "MaxAgeDays": {
            "type": "integer",
            "minimum": 1,
            "maximum": 3650,
            "default": 30,
            "description": "An older approval is refused.",
        },
        "RequireTwoPeople": {
            "type": "boolean",
            "default": False,
            "description": "Refuse a model that was approved by the person who made it.",
        },
    },
    "additionalProperties": False,
}
# InvokeEndpoint gives a model 60 seconds: a longer limit could never be exceeded.
LATENCY = {"type": "number", "exclusiveMinimum": 0, "maximum": 60_000}
ENDPOINT_TEST = {
    "type": "object",
    "description": "The limits of `deploy-model test`.",
    "properties": {
        "Requests": {"type": "integer", "minimum": 1, "maximum": 100_000, "default": 200},
        "MaxP50Milliseconds": {**LATENCY, "default": 500},
        "MaxP99Milliseconds": {**LATENCY, "default": 1000},
        "MaxErrorRate": {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": 0,
            "description": "The share of requests that may fail: 0.01 is one in a hundred.",
        },
        "Tolerance": {
            "type": "number",
            "minimum": 0,
            "default": 1e-6,
            "description": "How far a prediction may be from the recorded one.",
        },
    },
    "additionalProperties": False,
}
OURS = {
    "ModelPackageVersion": {
        "type": "integer",
        "minimum": 1,
        "description": "Serve this version of the model instead of the one that is promoted.",
    },
    "AutoScaling": AUTO_SCALING,
}


# The settings that are members of an operation of the API: (operation, description).
API = {
    "ProductionVariants": (
        "CreateEndpointConfig",
        "The variants that serve: each one model on its own resources.",
    ),
    "ShadowProductionVariants": (
        "CreateEndpointConfig",
        "A variant that gets copies of requests and whose responses are discarded.",
    ),
    "DataCaptureConfig": (
        "CreateEndpointConfig",
        "Requests and responses to keep in S3; by default in the project's bucket.",
    ),
    "AsyncInferenceConfig": (
        "CreateEndpointConfig",
        "Requests come from S3 and responses go there; by default to the project's bucket.",
    ),
    "ExplainerConfig": ("CreateEndpointConfig", "SHAP explanations with the predictions."),
    "MetricsConfig": ("CreateEndpointConfig", "Which metrics are published, and how often."),
    "CrossRegionTrafficConfig": (
        "CreateEndpointConfig",
        "How much of the endpoint routers in other Regions may use.",
    ),
    "KmsKeyId": ("CreateEndpointConfig", "The key for the storage volumes of the instances."),
    "VpcConfig": ("CreateModel", "The subnets and security groups of the model."),
    "EnableNetworkIsolation": ("CreateModel", "The model's container has no network access."),
    "Tags": (
        "CreateEndpointConfig",
        "Tags of the models, endpoint configurations and the endpoint.",
    ),
    "DeploymentConfig": (
        "UpdateEndpoint",
        "How traffic moves to a new version, and which alarms move it back.",
    ),
    "RetainAllVariantProperties": (
        "UpdateEndpoint",
        "Keep the instance counts that autoscaling chose when a new version is deployed.",
    ),
    "ExcludeRetainedVariantProperties": (
        "UpdateEndpoint",
        "What is nevertheless taken from this file.",
    ),
}
ALLOW_UNCOMMITTED = {
    "type": "boolean",
    "default": False,
    "description": "Deploy a version to the last stage though no commit has its code.",
}
ACCOUNT_ID = {
    "type": "string",
    "pattern": "^[0-9]{12}$",
    "description": "A promotion with credentials of another account is refused.",
}


def main():
    SCHEMA.write_text(text())


def text():
    return json.dumps(schema(), indent=2) + "\n"


def schema():
    model = botocore.session.Session().get_service_model("sagemaker")
    defs = {}
    api = {}
    for name, (operation, description) in API.items():
        shape = model.operation_model(operation).input_shape.members[name]
        api[name] = {**_schema_of(shape, defs), "description": description}
    api["ShadowProductionVariants"]["minItems"] = 0
    _change(defs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of one stage",
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "AccountId": ACCOUNT_ID,
            **api,
            "AllowUncommitted": ALLOW_UNCOMMITTED,
            "Approval": APPROVAL,
            "EndpointTest": ENDPOINT_TEST,
        },
        "required": ["ProductionVariants"],
        "additionalProperties": False,
        "$defs": dict(sorted(defs.items())),
    }


def _change(defs):
    """Change what a stage cannot set, and what AWS documents but the service model lacks."""
    defs["ProductionVariant"]["properties"].update(OURS)
    defs["DataCaptureConfig"]["required"].remove("DestinationS3Uri")
    # deploy-model appends a slash and the name of the endpoint configuration.
    defs["DataCaptureConfig"]["properties"]["DestinationS3Uri"]["maxLength"] -= 1 + 63
    serverless = defs["ProductionVariantServerlessConfig"]["properties"]
    memory = RULES["serverless-memory"]
    sizes = list(range(memory.least, memory.most + 1, memory.least))
    serverless["MemorySizeInMB"] = {"type": "integer", "enum": sizes}
    defs["MetricsConfig"]["properties"]["MetricPublishFrequencyInSeconds"] = {
        "type": "integer",
        "enum": [10, 30, 60, 120, 180, 240, 300],
    }
    # "DataCaptureConfig" is in the enum, and documented as not supported.
    defs["VariantProperty"]["properties"]["VariantPropertyType"]["enum"].remove("DataCaptureConfig")
    defs["Alarm"]["required"] = ["AlarmName"]


def _schema_of(shape, defs):
    return globals()[f"_{shape.type_name}"](shape, defs)


def _structure(shape, defs):
    if shape.name not in defs:
        members = {k: v for k, v in shape.members.items() if k not in NOT_SETTINGS}
        defs[shape.name] = {
            "type": "object",
            "properties": {name: _schema_of(member, defs) for name, member in members.items()},
            "required": [name for name in shape.required_members if name not in NOT_SETTINGS],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{shape.name}"}


def _list(shape, defs):
    return {
        "type": "array",
        "items": _schema_of(shape.member, defs),
        **_limits(shape, "minItems", "maxItems"),
    }


def _string(shape, defs):
    if shape.enum:
        choice = {"type": "string", "enum": list(shape.enum)}
        if len(shape.enum) <= MANY:
            return choice
        defs[shape.name] = choice
        return {"$ref": f"#/$defs/{shape.name}"}
    limits = _limits(shape, "minLength", "maxLength")
    if shape.name != "TagValue":  # the only text that may be empty
        limits["minLength"] = max(1, limits.get("minLength", 1))
    pattern = shape.metadata.get("pattern")
    if pattern and r"\p" not in pattern:  # Python and some editors do not support \p{L}
        limits["pattern"] = f"^(?:{pattern})$"
    return {"type": "string", **limits}


def _integer(shape, _):
    return {"type": "integer", **_limits(shape, "minimum", "maximum")}


def _float(shape, _):
    return {"type": "number", **_limits(shape, "minimum", "maximum")}


def _boolean(shape, _):
    return {"type": "boolean"}


def _limits(shape, least, most):
    named = {least: shape.metadata.get("min"), most: shape.metadata.get("max")}
    return {name: value for name, value in named.items() if value is not None}


if __name__ == "__main__":
    main()
