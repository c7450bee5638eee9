"""What `run-pipeline` and `get-pipeline-definition` share: reading arguments, calling a module.

Everything a user can get wrong raises UsageError with one line that says what to do, before
anything is imported, uploaded or started.
"""

import ast
import difflib
import gc
import importlib
import importlib.util
import inspect
import json
import logging
import re
import sys
import warnings
from pathlib import Path

ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
NAME = re.compile(r"(?=.{1,63}$)[a-zA-Z0-9](-*[a-zA-Z0-9])*")
MAX_STRUCT_CHARACTERS = 100_000
MAX_TAGS = 50


class UsageError(Exception):
    """The command was called with something it cannot use. The message is one line."""


def convert_struct(str_struct=None):
    """The dict or list that `str_struct` spells, as JSON or as a Python literal; {} for nothing.

    Raises:
        UsageError: it is neither, longer than 100,000 characters, or has a key twice.
    """
    if not str_struct:
        return {}
    if len(str_struct) > MAX_STRUCT_CHARACTERS:
        raise UsageError(f"{len(str_struct):,} characters are too many: at most 100,000 are read")
    try:
        return json.loads(str_struct, object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise UsageError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        json_error = error
    try:
        tree = ast.parse(str_struct.strip(), mode="eval")
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                _without_duplicates([(ast.literal_eval(key), None) for key in node.keys])
        return ast.literal_eval(tree)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise UsageError(
            f"neither JSON ({json_error.msg} at line {json_error.lineno} column {json_error.colno})"
            """ nor a Python literal: {"region": "us-east-1"} would be one"""
        ) from None


def read_option(name, text):
    """What the text of an option spells; a UsageError names the option."""
    try:
        return convert_struct(text)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def _without_duplicates(pairs):
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"the key {key!r} stands there twice")
    return dict(pairs)


def near(name, names):
    """` Did you mean X?` where one of `names` is close to `name`, else what there is."""
    matches = difflib.get_close_matches(str(name), list(names), n=1)
    return f"Did you mean {matches[0]}?" if matches else f"There are: {', '.join(sorted(names))}."


def get_pipeline_driver(module_name, passed_args=None):
    """The pipeline that `get_pipeline()` of `module_name` returns.

    Args:
        module_name: a module of the package `pipelines`, such as pipelines.abalone.pipeline.
        passed_args: keyword arguments of get_pipeline(): a dict, or a string that spells one.

    Raises:
        UsageError: the module is not of this package, or the arguments are not its arguments.
    """
    is_text = passed_args is None or isinstance(passed_args, str)
    kwargs = read_option("--kwargs", passed_args) if is_text else passed_args
    kwargs = check_kwargs(module_name, kwargs)
    # The SDK is a million objects that stay: to look for garbage among them costs a second.
    gc.disable()
    try:
        return _get_pipeline(module_name)(**kwargs)
    finally:
        gc.freeze()
        gc.enable()


def check_kwargs(module_name, kwargs, **defaults):
    """`kwargs` for get_pipeline() of `module_name`, with the `defaults` it has arguments for."""
    if not isinstance(kwargs, dict):
        raise UsageError(f"--kwargs: a dict is wanted, a {type(kwargs).__name__} was given")
    parameters = dict(inspect.signature(_get_pipeline(module_name)).parameters)
    takes_any = [name for name, entry in parameters.items() if entry.kind is entry.VAR_KEYWORD]
    for name in takes_any:
        del parameters[name]
    kwargs = {**{name: value for name, value in defaults.items() if name in parameters}, **kwargs}
    for name, value in kwargs.items():
        if name not in parameters and not takes_any:
            raise UsageError(
                f"--kwargs: get_pipeline() has no argument {name!r}. {near(name, parameters)}"
            )
        default = parameters[name].default if name in parameters else None
        if isinstance(default, str) and not isinstance(value, str):
            raise UsageError(f"--kwargs: {name} is a string, {value!r} was given")
        if name in CHECKS and value is not None:
            CHECKS[name](value, f"--kwargs: {name}")
    missing = [
        name
        for name, entry in parameters.items()
        if entry.default is entry.empty and name not in kwargs
    ]
    if missing:
        raise UsageError(f"--kwargs: get_pipeline() needs {', '.join(missing)}")
    return kwargs


def _get_pipeline(module_name):
    get_pipeline = getattr(_import_module(module_name), "get_pipeline", None)
    if get_pipeline is None:
        raise UsageError(f"{module_name} has no function get_pipeline()")
    return get_pipeline


def get_pipeline_custom_tags(module_name, args, tags):
    """`tags` with what `get_pipeline_custom_tags()` of `module_name` adds.

    A project whose tags cannot be read is worth a warning, not the run: the tags are kept as given.
    """
    custom_tags = getattr(_import_module(module_name), "get_pipeline_custom_tags", None)
    if custom_tags is None:
        return tags
    kwargs = args if isinstance(args, dict) else read_option("--kwargs", args)
    names = inspect.signature(custom_tags).parameters
    try:
        added = custom_tags(tags, **{name: kwargs[name] for name in names if name in kwargs})
        own = [tag for tag in added if not tag["Key"].lower().startswith("aws:")]
        return own[:MAX_TAGS]
    except Exception as error:
        print(f"run-pipeline: tags of the project are left out: {error}", file=sys.stderr)
        return tags


def check_tags(tags):
    """`tags` as they are, if SageMaker would take them."""
    if tags in ({}, None):
        return []
    if not isinstance(tags, list) or not all(
        isinstance(tag, dict) and set(tag) == {"Key", "Value"} for tag in tags
    ):
        raise UsageError('--tags: wanted is a list like [{"Key": "team", "Value": "data"}]')
    if len(tags) > MAX_TAGS:
        raise UsageError(f"--tags: {len(tags)} tags were given, SageMaker takes {MAX_TAGS}")
    keys = [tag["Key"] for tag in tags]
    for tag in tags:
        key, value = tag["Key"], tag["Value"]
        if not isinstance(key, str) or not isinstance(value, str):
            raise UsageError(f"--tags: Key and Value are strings, {key!r}: {value!r} was given")
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise UsageError(f"--tags: {key[:40]!r}: a Key has 1-128 characters, a Value 0-256")
        if key.lower().startswith("aws:"):
            raise UsageError(f"--tags: {key!r}: Keys that start with aws: are reserved by AWS")
        if keys.count(key) > 1:
            raise UsageError(f"--tags: the Key {key!r} stands there twice")
    return tags


def check_role_arn(role_arn, where="--role-arn"):
    """Refuse what is not the ARN of an IAM role."""
    if not ROLE_ARN.fullmatch(str(role_arn)):
        raise UsageError(
            f"{where}: {role_arn!r} is not the ARN of an IAM role;"
            " one looks like arn:aws:iam::123456789012:role/service-role/MyExecutionRole"
        )


def check_region(region, where, session=None):
    """Refuse what is not a region with SageMaker."""
    import boto3

    session = session or boto3.Session()
    regions = [
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("sagemaker", partition)
    ]
    if region not in regions:
        close = difflib.get_close_matches(region, regions, n=1)
        hint = f"Did you mean {close[0]}?" if close else "One looks like us-east-1."
        raise UsageError(f"{where}: {region!r} has no SageMaker. {hint}")


def check_bucket(bucket, where):
    """Refuse what S3 would not take as the name of a bucket."""
    if not BUCKET.fullmatch(str(bucket)) or ".." in str(bucket):
        raise UsageError(
            f"{where}: {bucket!r} is not the name of a bucket: 3 to 63 of a-z, 0-9, '.' and '-'"
        )


def check_name(name, where):
    """Refuse what SageMaker would not take as the name of a pipeline or a package group."""
    if not NAME.fullmatch(str(name)):
        raise UsageError(f"{where}: {name!r}: 1 to 63 of a-z, A-Z, 0-9 and single '-' are wanted")


CHECKS = {
    "role": check_role_arn,
    "region": check_region,
    "default_bucket": check_bucket,
    "pipeline_name": check_name,
    "model_package_group_name": check_name,
}


def expected_owner(bucket):
    """Keeps an upload out of a bucket that somebody else made under SageMaker's default name."""
    named = re.fullmatch(r"sagemaker-[a-z0-9-]+-(\d{12})", bucket)
    return {"ExpectedBucketOwner": named[1]} if named else {}


def aws_errors():
    """What boto3 raises, by the three roots it has."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, Boto3Error


def quiet_sdk():
    """Keep the SDK's chatter about its own configuration out of what the user reads."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


def _pipeline_modules():
    folder = Path(__file__).parent
    return [f"pipelines.{path.parent.name}.pipeline" for path in folder.glob("*/pipeline.py")]


def _import_module(module_name):
    # A name from a command line is not a licence to run any module on the path.
    if not re.fullmatch(r"pipelines(\.[A-Za-z_]\w*)+", module_name):
        raise UsageError(
            f"--module-name: {module_name!r} is not a module of the package pipelines."
            f" {near(module_name, _pipeline_modules())}"
        )
    try:
        found = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise UsageError(
            f"--module-name: there is no module {module_name}."
            f" {near(module_name, _pipeline_modules())}"
        )
    return importlib.import_module(module_name)
