"""Read the arguments of the commands, and call the module that they name.

`convert_struct`, `get_pipeline_driver` and `get_pipeline_custom_tags` have the names that they have
in SageMaker's own projects. Everything a user can get wrong raises UsageError.
"""

import ast
import gc
import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias

from sagemaker_project.build.described import project_code
from sagemaker_project.errors import UsageError
from sagemaker_project.project import PACKAGE
from sagemaker_project.usage import (
    Client,
    Json,
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

Tag: TypeAlias = dict[str, str]  # {"Key": ..., "Value": ...}


class Session(Protocol):
    """What the commands use of a session of the SageMaker SDK."""

    boto_session: Client

    def default_bucket(self) -> str: ...


class Pipeline(Protocol):
    """What the commands use of a pipeline of the SageMaker SDK."""

    name: str
    sagemaker_session: Session

    def definition(self) -> str: ...

    def upsert(self, role_arn: str, description: str | None, tags: list[Tag] | None) -> Json: ...


def code_files(pipeline: Pipeline) -> Mapping[str, bytes]:
    """Return {S3 key: content} of the code that a PipelineWithCode uploads, {} of another one."""
    files: Mapping[str, bytes] = getattr(getattr(pipeline, "code", None), "files", {})
    return files


MAX_STRUCT_CHARACTERS = 100_000
MAX_TAGS = 50
CHECKS: dict[str, Callable[[object, str], None]] = {  # of arguments of get_pipeline()
    "role": check_role_arn,
    "region": check_region,
    "default_bucket": check_bucket,
    "pipeline_name": check_name,
    "model_package_group_name": check_name,
}


def convert_struct(str_struct: str | None = None) -> Any:
    """Parse JSON or a Python literal; return {} for an empty text or None.

    Raises:
        UsageError: it is neither, is longer than 100,000 characters, or has a duplicate key.
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
                # A key None stands for `**`, which is not a literal.
                _without_duplicates([(ast.literal_eval(key or node), None) for key in node.keys])
        return ast.literal_eval(tree)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise UsageError(
            f"neither JSON ({json_error.msg} at line {json_error.lineno} column {json_error.colno})"
            """ nor a Python literal, such as {"region": "us-east-1"}"""
        ) from None


def read_option(name: str, text: str | None) -> Any:
    """Return convert_struct(text); a UsageError begins with the name of the option."""
    try:
        return convert_struct(text)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def _without_duplicates(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return the dict of (key, value) pairs; raise UsageError if a key is duplicated."""
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"the key {key!r} is duplicated")
    return dict(pairs)


def get_pipeline_driver(
    module_name: str, passed_args: Mapping[str, Any] | str | None = None
) -> Pipeline:
    """Return the pipeline that `get_pipeline()` of `module_name` builds.

    Args:
        module_name: a module of the package `pipelines`, such as pipelines.abalone.pipeline.
        passed_args: keyword arguments of get_pipeline(), as a dict or as text for convert_struct().

    Raises:
        UsageError: the module is not of this package, or the arguments are not its arguments.
        RunFailed: the module or its get_pipeline() raised; names file and line.
    """
    kwargs = check_kwargs(module_name, _kwargs(passed_args))
    # Importing the SDK makes a million objects that stay: collecting garbage would cost a second.
    gc.disable()
    try:
        with project_code():
            return _get_pipeline(module_name)(**kwargs)
    finally:
        gc.freeze()
        gc.enable()


def _kwargs(passed_args: Mapping[str, Any] | str | None) -> Any:
    if passed_args is None or isinstance(passed_args, str):
        return read_option("--kwargs", passed_args)
    return passed_args


def check_kwargs(
    module_name: str, kwargs: Any, defaults: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """Check the keyword arguments of get_pipeline() of `module_name`.

    Args:
        defaults: values for arguments that are not given. Those that are None, or that
            get_pipeline() does not have, are left out.

    Returns:
        The defaults and the given arguments.

    Raises:
        UsageError: get_pipeline() does not have such an argument, or does not take such a value.
    """
    if not isinstance(kwargs, dict):
        raise UsageError(f"--kwargs: expected a dict, found a {type(kwargs).__name__}")
    parameters = dict(inspect.signature(_get_pipeline(module_name)).parameters)
    takes_any = [name for name, entry in parameters.items() if entry.kind is entry.VAR_KEYWORD]
    for name in takes_any:
        del parameters[name]
    known = {
        name: value
        for name, value in (defaults or {}).items()
        if value is not None and name in parameters
    }
    complete = known | kwargs
    for name, value in complete.items():
        if name not in parameters and not takes_any:
            raise UsageError(
                f"--kwargs: get_pipeline() has no argument {name!r}. {near(name, parameters)}"
            )
        default = parameters[name].default if name in parameters else None
        if isinstance(default, str) and not isinstance(value, str):
            raise UsageError(f"--kwargs: {name} is a string, {value!r} was given")
        if name in CHECKS and name in kwargs and value is not None:
            CHECKS[name](value, f"--kwargs: {name}")
    missing = [
        name
        for name, entry in parameters.items()
        if entry.default is entry.empty and name not in complete
    ]
    if missing:
        raise UsageError(f"--kwargs: get_pipeline() needs {', '.join(missing)}")
    return complete


def _get_pipeline(module_name: str) -> Callable[..., Pipeline]:
    get_pipeline: Callable[..., Pipeline] | None = getattr(
        _import_module(module_name), "get_pipeline", None
    )
    if get_pipeline is None:
        raise UsageError(f"{module_name} has no function get_pipeline()")
    return get_pipeline


def get_pipeline_custom_tags(
    module_name: str, args: Mapping[str, Any] | str | None, tags: Sequence[Tag]
) -> Sequence[Tag]:
    """Return `tags` and those that `get_pipeline_custom_tags()` of `module_name` adds.

    If that function fails, print a warning and return `tags`: a run does not depend on them.
    """
    custom_tags = getattr(_import_module(module_name), "get_pipeline_custom_tags", None)
    if custom_tags is None:
        return tags
    kwargs = _kwargs(args)
    names = inspect.signature(custom_tags).parameters
    try:
        added = custom_tags(list(tags), **{name: kwargs[name] for name in names if name in kwargs})
        own = [tag for tag in added if not tag["Key"].lower().startswith("aws:")]
        return own[:MAX_TAGS]
    except Exception as error:
        print(f"run-pipeline: tags of the project are left out: {error}", file=sys.stderr)
        return tags


def check_tags(tags: Any) -> list[Tag]:
    """Return `tags`; raise UsageError unless SageMaker accepts them."""
    if tags in ({}, None):
        return []
    if not isinstance(tags, list) or not all(
        isinstance(tag, dict) and set(tag) == {"Key", "Value"} for tag in tags
    ):
        raise UsageError('--tags: expected a list such as [{"Key": "team", "Value": "data"}]')
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


def _pipeline_modules() -> list[str]:
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations or () if spec else ()
    paths = [path for folder in folders for path in Path(folder).glob("*/pipeline.py")]
    return [f"{PACKAGE}.{path.parent.name}.pipeline" for path in paths]


def _import_module(module_name: str) -> ModuleType:
    # A name on a command line must not run any module on the path.
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
    with project_code():
        return importlib.import_module(module_name)
