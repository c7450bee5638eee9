"""Reading a command's arguments, and calling the module that they name.

`convert_struct`, `get_pipeline_driver` and `get_pipeline_custom_tags` are those of SageMaker's own
projects. Everything a user can get wrong raises UsageError with one line that says what to do,
before anything is imported, uploaded or started.
"""

import ast
import gc
import importlib
import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path

from sagemaker_project.project import PACKAGE
from sagemaker_project.usage import (
    UsageError,
    check_bucket,
    check_name,
    check_region,
    check_role_arn,
    near,
    quiet_sdk,
)

__all__ = [
    "convert_struct",
    "get_pipeline_custom_tags",
    "get_pipeline_driver",
    "quiet_sdk",
]

MAX_STRUCT_CHARACTERS = 100_000
MAX_TAGS = 50
CHECKS = {
    "role": check_role_arn,
    "region": check_region,
    "default_bucket": check_bucket,
    "pipeline_name": check_name,
    "model_package_group_name": check_name,
}


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
            raise UsageError(f"the key {key!r} is duplicated")
    return dict(pairs)


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
    """`kwargs` for get_pipeline() of `module_name`, checked, and those `defaults` that it takes."""
    if not isinstance(kwargs, dict):
        raise UsageError(f"--kwargs: a dict is wanted, a {type(kwargs).__name__} was given")
    parameters = dict(inspect.signature(_get_pipeline(module_name)).parameters)
    takes_any = [name for name, entry in parameters.items() if entry.kind is entry.VAR_KEYWORD]
    for name in takes_any:
        del parameters[name]
    given = set(kwargs)
    known = {k: v for k, v in defaults.items() if v is not None and k in parameters}
    kwargs = known | kwargs
    for name, value in kwargs.items():
        if name not in parameters and not takes_any:
            raise UsageError(
                f"--kwargs: get_pipeline() has no argument {name!r}. {near(name, parameters)}"
            )
        default = parameters[name].default if name in parameters else None
        if isinstance(default, str) and not isinstance(value, str):
            raise UsageError(f"--kwargs: {name} is a string, {value!r} was given")
        if name in CHECKS and name in given and value is not None:
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
            raise UsageError(f"--tags: the Key {key!r} is duplicated")
    return tags


def _pipeline_modules():
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else ()
    paths = [path for folder in folders or () for path in Path(folder).glob("*/pipeline.py")]
    return [f"{PACKAGE}.{path.parent.name}.pipeline" for path in paths]


def _import_module(module_name):
    # A name from a command line is not a licence to run any module on the path.
    if not re.fullmatch(rf"{PACKAGE}(\.[A-Za-z_]\w*)+", module_name):
        raise UsageError(
            f"--module-name: {module_name!r} is not a module of the package {PACKAGE}."
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
