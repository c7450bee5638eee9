"""The settings of one stage, deploy/<stage>-config.json: read, checked, handed out.

A file is checked in three steps, all before anything is called, and each mistake is one line
that says where it is, what is wanted, what was found and what to do:

    _load              JSON, without what json.load lets through: a key twice, NaN, 1e400
    config.schema.json the shapes, made from SageMaker's own service model, and our own keys
    config_rules.py    what SageMaker refuses in combination

The settings are SageMaker's own shapes: what the API gets is what stands in the file, without our
own keys. What only the live endpoint and its alarms can tell is in `deployment_problems`.
"""

import copy
import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sagemaker_project.deploy.config_rules import RULES, Problem, deployment_problems, shown
from sagemaker_project.usage import UsageError, near

__all__ = [
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

SCHEMA = Path(__file__).with_name("config.schema.json")
MAX_CHARACTERS = 100_000
MAX_HINT = 250  # a hint that names every instance type helps nobody

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
DEFAULTS = {
    "ShadowProductionVariants": [],
    "EnableNetworkIsolation": False,
    "Tags": [],
    "DeploymentConfig": {},
    "RetainAllVariantProperties": False,
    "Approval": {"MaxAgeDays": 30, "RequireTwoPeople": False},
    "EndpointTest": {
        "Requests": 200,
        "MaxP50Milliseconds": 500,
        "MaxP99Milliseconds": 1000,
        "MaxErrorRate": 0,
        "Tolerance": 1e-6,
    },
}
NOT_RETAINED = [
    {"VariantPropertyType": "DesiredWeight"},
    {"VariantPropertyType": "DataCaptureConfig"},
]
NOT_HERE = {
    "ModelName": "deploy-model names the models; ModelPackageVersion chooses another version",
    "ModelNameOverride": "all pools serve the model of their variant",
    "EndpointName": "deploy-model names the endpoint after the project and the stage",
    "EndpointConfigName": "deploy-model names it after the version and what it holds",
    "ExecutionRoleArn": "the role is an option of deploy-model, not a setting of a stage",
}


@dataclass(frozen=True)
class Config:
    """The checked settings of a stage, with defaults: `content` is the file without $schema."""

    stage: str
    path: Path
    content: dict
    last: bool = True  # whether it is the stage that users meet

    @property
    def production_variants(self):
        return self.content["ProductionVariants"]

    @property
    def shadow_variants(self):
        return self.content["ShadowProductionVariants"]

    @property
    def variants(self):
        return self.production_variants + self.shadow_variants

    @property
    def serverless(self):
        return any("ServerlessConfig" in variant for variant in self.variants)

    @property
    def deployment(self):
        return self.content["DeploymentConfig"]

    @property
    def alarms(self):
        """The names of the alarms that roll a deployment back."""
        alarms = self.deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])
        return [alarm["AlarmName"] for alarm in alarms]

    @property
    def approval(self):
        return self.content["Approval"]

    @property
    def test(self):
        return self.content["EndpointTest"]


def read_config(path, stage, last=True):
    """The settings of `stage`, the `last` one or not, in the file `path`.

    Raises:
        UsageError: they cannot be used. One line: file, where in it, what is wrong, what to do.
    """
    path = Path(path)
    try:
        content = _load(path)
        _check_structure(content)
        content.pop("$schema", None)
        config = Config(stage, path, _with_defaults(content), last)
        for rule in RULES:
            for where, reason in rule(config):
                raise UsageError(f"{where}: {reason}")
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return config


def unreadable(path, stage):
    """The settings of a stage whose file cannot be used, for commands that can do without."""
    return Config(stage, Path(path), _with_defaults({"ProductionVariants": []}))


# What the API gets


def endpoint_config_members(config, bucket, endpoint_name):
    """For CreateEndpointConfig, but for EndpointConfigName, Tags and the variants' ModelName."""
    given = {name: config.content[name] for name in FOR_ENDPOINT_CONFIG if config.content.get(name)}
    members = copy.deepcopy(given)
    for kind in ("ProductionVariants", "ShadowProductionVariants"):
        for variant in members.get(kind, []):
            for name in OURS & set(variant):
                del variant[name]
    if capture := members.get("DataCaptureConfig"):
        capture.setdefault("DestinationS3Uri", f"s3://{bucket}/datacapture-{config.stage}")
    if asynchronous := members.get("AsyncInferenceConfig"):
        output = asynchronous["OutputConfig"]
        output.setdefault("S3OutputPath", f"s3://{bucket}/async-output/{endpoint_name}")
        # Without it nobody learns why a request got no answer, a test least of all.
        output.setdefault("S3FailurePath", f"s3://{bucket}/async-failure/{endpoint_name}")
    return members


def model_members(config):
    """For CreateModel: where the model's container runs in the network."""
    return copy.deepcopy(
        {name: config.content[name] for name in FOR_MODEL if config.content.get(name)}
    )


def update_members(config):
    """For UpdateEndpoint: how traffic moves, and what is kept of the live endpoint.

    What is retained are instance counts. Weights and data capture come from the file, or a change
    of theirs would have no effect, and nothing would say so.
    """
    members = {}
    if config.deployment:
        members["DeploymentConfig"] = copy.deepcopy(config.deployment)
    if config.content["RetainAllVariantProperties"]:
        excluded = config.content.get("ExcludeRetainedVariantProperties", NOT_RETAINED)
        members["RetainAllVariantProperties"] = True
        if excluded:
            members["ExcludeRetainedVariantProperties"] = copy.deepcopy(excluded)
    return members


def scaling(config):
    """{variant: AutoScaling} of the variants that scale by themselves."""
    return {
        variant["VariantName"]: dict(variant["AutoScaling"])
        for variant in config.variants
        if "AutoScaling" in variant
    }


def pinned_versions(config):
    """{variant: ModelPackageVersion} of the variants that do not serve what is promoted."""
    return {
        variant["VariantName"]: variant["ModelPackageVersion"]
        for variant in config.variants
        if "ModelPackageVersion" in variant
    }


# Reading


class _Object(dict):
    """An object of the file, and the keys that stand in it twice."""

    twice = ()


def _object(pairs):
    found = _Object(pairs)
    if len(found) < len(pairs):
        found.twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
    return found


def _load(path):
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"it cannot be read ({reason}): every stage has its own file") from None
    if data.startswith(b"\xef\xbb\xbf"):
        raise UsageError("it begins with a byte order mark: save it as UTF-8 without BOM")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"byte {error.start + 1} is not UTF-8: save it as UTF-8") from None
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"{len(text):,} characters are too many: at most {MAX_CHARACTERS:,}")
    try:
        content = json.loads(text, object_pairs_hook=_object)
        for where, reason in _unusable(content, ""):
            raise UsageError(f"{where}: {reason}" if where else reason)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"it is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise UsageError("it is nested too deeply") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise UsageError("a number in it has too many digits") from None
    return content


def _unusable(value, where):
    """What Python's JSON reader takes and no other does."""
    if isinstance(value, dict):
        for key in getattr(value, "twice", ()):
            yield where, f"the key {shown(key)} is duplicated: only one can count"
        for key, member in value.items():
            yield from _unusable(member, f"{where}.{_plain(key)}".removeprefix("."))
    elif isinstance(value, list):
        for position, member in enumerate(value):
            yield from _unusable(member, f"{where}[{position}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield where, "NaN, Infinity and numbers beyond 1e308 are not JSON: a number is wanted"
    elif isinstance(value, int) and abs(value) >= 2**63:
        yield where, "the number is too large"
    elif isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        yield where, f"{shown(value)} has half a character: write all of it"


def _with_defaults(content):
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
    return json.loads(json.dumps(content))  # plain dicts, shared with nobody


# Structure

WANTED = {
    "object": "an object {...}",
    "array": "a list [...]",
    "string": "text in quotes",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def _check_structure(content):
    # Half of what `deploy-model --help` would take, and it needs none of it.
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(_, pattern, text, schema):
        # jsonschema searches, and $ lets a line break pass at the end.
        if isinstance(text, str) and not re.fullmatch(pattern, text):
            yield ValidationError("")

    def is_integer(_, value):
        # 2.0 is an integer to JSON Schema, and none to boto3.
        return isinstance(value, int) and not isinstance(value, bool)

    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer)
    validator = validators.extend(Draft202012Validator, {"pattern": pattern}, type_checker=checker)
    errors = validator(json.loads(SCHEMA.read_text())).iter_errors(content)
    # A misspelt key first: what is then missing or of a wrong type may only follow from it.
    first = min(errors, key=lambda error: error.validator != "additionalProperties", default=None)
    if first is not None:
        where = _place(first.absolute_path)
        raise UsageError(f"{where}: {_sentence(first)}" if where else _sentence(first))


def _place(steps):
    """ProductionVariants[0].InstanceType for the steps that lead there."""
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return place.removeprefix(".")


def _sentence(error):
    """What is wanted and what was found, for an error of jsonschema."""
    schema, value = error.schema, error.instance
    found = f"{shown(value)} was found"
    match error.validator:
        case "additionalProperties":
            key = next(key for key in value if key not in schema["properties"])
            if key in NOT_HERE:
                return f"{key} is no setting: {NOT_HERE[key]}"
            return f"there is no setting {shown(key)}. {_hint(key, schema['properties'])}"
        case "required":
            missing = [key for key in error.validator_value if key not in value]
            return f"{' and '.join(missing)} must be given"
        case "type":
            return f"{WANTED[error.validator_value]} is wanted, {found}{_quotes(schema, value)}"
        case "enum":
            return f"{found}. {_hint(value, [str(name) for name in error.validator_value])}"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return f"{_range(schema)} is wanted, {found}"
        case "minItems" | "maxItems":
            wanted = _between(schema.get("minItems", 0), schema.get("maxItems"))
            return f"{wanted} entries are wanted, {len(value)} were found"
        case "minLength" | "maxLength":
            wanted = _between(schema.get("minLength", 0), schema.get("maxLength"))
            return f"{wanted} characters are wanted, {len(value):,} were found"
        case _:
            pattern = error.validator_value.removeprefix("^(?:").removesuffix(")$")
            return f"{found}, which is not of the form {pattern.strip('^$')}"


def _quotes(schema, value):
    kind = schema["type"]
    if kind == "string" and isinstance(value, int):
        return ": put it in quotes, a number loses its leading zeros"
    if isinstance(value, str) and value.strip().lower() in ("true", "false") and kind == "boolean":
        return ": without quotes, in small letters"
    if isinstance(value, str) and kind in ("integer", "number") and value.strip().isdecimal():
        return ": without quotes"
    return ""


def _range(schema):
    if "exclusiveMinimum" in schema:
        limit = f" and at most {schema['maximum']:,}" if "maximum" in schema else ""
        return f"more than {schema['exclusiveMinimum']}{limit}"
    if "exclusiveMaximum" in schema:
        return f"{schema['minimum']} or more and less than {schema['exclusiveMaximum']}"
    return _between(schema["minimum"], schema.get("maximum"))


def _between(least, most):
    return f"{least:,} to {most:,}" if most is not None else f"at least {least:,}"


def _hint(name, names):
    hint = near(f"ml.{name}" if f"ml.{name}" in names else name, names)
    return hint if len(hint) <= MAX_HINT else f"{SCHEMA.name} lists them."


def _plain(key):
    return key if re.fullmatch(r"[\w$-]{1,60}", key, re.ASCII) else shown(key)
