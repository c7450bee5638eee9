"""Writes config.schema.json from the shapes of SageMaker's own service model.

    .venv/bin/python packages/sagemaker-project/tests/make_schema.py

What botocore's model knows (members, types, enums, lengths, patterns, ranges) is taken over; below
stands only what is ours, or what the API takes and a stage cannot say. test_config.py holds the
committed file to what this writes.
"""

import json
from pathlib import Path

import botocore.session

SCHEMA = Path(__file__).parents[1] / "src/sagemaker_project/deploy/config.schema.json"

# Their names come from the deployment, or they belong to endpoints of inference components.
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
    "description": "What an approval must be like.",
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
            "description": "Refuse a model approved by the one who made it.",
        },
    },
    "additionalProperties": False,
}
# InvokeEndpoint gives a model 60 seconds: a longer limit could never be exceeded.
LATENCY = {"type": "number", "exclusiveMinimum": 0, "maximum": 60_000}
ENDPOINT_TEST = {
    "type": "object",
    "description": "What `deploy-model test` asks of the endpoint.",
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
        "description": "Serve this version of the model here, not the one that is promoted.",
    },
    "AutoScaling": AUTO_SCALING,
}


def main():
    SCHEMA.write_text(text())


def text():
    return json.dumps(schema(), indent=2) + "\n"


def schema():
    model = botocore.session.Session().get_service_model("sagemaker")
    shapes = {
        "endpoint_config": model.operation_model("CreateEndpointConfig").input_shape.members,
        "update": model.operation_model("UpdateEndpoint").input_shape.members,
        "model": model.operation_model("CreateModel").input_shape.members,
    }
    defs = {}

    def api(operation, member, description):
        return {**_schema_of(shapes[operation][member], defs), "description": description}

    properties = {
        "$schema": {"type": "string"},
        "AccountId": {
            "type": "string",
            "pattern": "^[0-9]{12}$",
            "description": "A promotion with credentials of another account is refused.",
        },
        "ProductionVariants": api(
            "endpoint_config", "ProductionVariants", "What serves: one model on its own resources."
        ),
        "ShadowProductionVariants": {
            **api(
                "endpoint_config",
                "ShadowProductionVariants",
                "A variant that gets copies of requests and whose answers nobody sees.",
            ),
            "minItems": 0,
        },
        "DataCaptureConfig": api(
            "endpoint_config",
            "DataCaptureConfig",
            "Requests and responses kept in S3; without DestinationS3Uri in the project's bucket.",
        ),
        "AsyncInferenceConfig": api(
            "endpoint_config",
            "AsyncInferenceConfig",
            "Requests come from S3 and responses go there; without S3OutputPath to the project's"
            " bucket.",
        ),
        "ExplainerConfig": api(
            "endpoint_config", "ExplainerConfig", "SHAP explanations with the predictions."
        ),
        "MetricsConfig": api(
            "endpoint_config", "MetricsConfig", "Which metrics come, and how often."
        ),
        "CrossRegionTrafficConfig": api(
            "endpoint_config",
            "CrossRegionTrafficConfig",
            "How much of the endpoint routers in other Regions may use.",
        ),
        "KmsKeyId": api(
            "endpoint_config", "KmsKeyId", "The key for the storage volumes of the instances."
        ),
        "VpcConfig": api("model", "VpcConfig", "The subnets and security groups of the model."),
        "EnableNetworkIsolation": api(
            "model", "EnableNetworkIsolation", "The model's container reaches no network."
        ),
        "Tags": api("endpoint_config", "Tags", "For the model, the configuration, the endpoint."),
        "DeploymentConfig": api(
            "update",
            "DeploymentConfig",
            "How traffic moves to a new version, and which alarms move it back.",
        ),
        "RetainAllVariantProperties": api(
            "update",
            "RetainAllVariantProperties",
            "Keep instance counts as autoscaling left them when a new version comes.",
        ),
        "ExcludeRetainedVariantProperties": api(
            "update",
            "ExcludeRetainedVariantProperties",
            "What is taken from this file all the same.",
        ),
        "Approval": APPROVAL,
        "EndpointTest": ENDPOINT_TEST,
    }
    _change(defs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of one stage",
        "type": "object",
        "properties": properties,
        "required": ["ProductionVariants"],
        "additionalProperties": False,
        "$defs": dict(sorted(defs.items())),
    }


def _change(defs):
    """Where a stage's settings differ from the API, or its documentation says more than shapes."""
    defs["ProductionVariant"]["properties"].update(OURS)
    defs["DataCaptureConfig"]["required"].remove("DestinationS3Uri")
    serverless = defs["ProductionVariantServerlessConfig"]["properties"]
    serverless["MemorySizeInMB"] = {"type": "integer", "enum": list(range(1024, 6145, 1024))}
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
    if shape.name != "TagValue":  # the only text that says something when it is empty
        limits["minLength"] = max(1, limits.get("minLength", 1))
    pattern = shape.metadata.get("pattern")
    if pattern and r"\p" not in pattern:  # neither Python nor every editor knows \p{L}
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
