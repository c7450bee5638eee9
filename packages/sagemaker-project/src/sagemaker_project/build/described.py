"""The definition of a pipeline, and what to say where a project's own code or the SDK raises.

A pipeline.py is its user's, and the SDK's exceptions know neither its lines nor its steps.
"""

import contextlib
import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from sagemaker_project import usage
from sagemaker_project.errors import ProjectError, RunFailed
from sagemaker_project.project import PACKAGE
from sagemaker_project.tabular.json_object import SchemaError
from sagemaker_project.usage import Json


class Describable(Protocol):
    """What is asked of a pipeline of the SageMaker SDK."""

    def definition(self) -> str: ...


def definition_of(pipeline: Describable) -> Json:
    """Return the definition of a pipeline.

    Raises:
        RunFailed: the SDK cannot describe it; names the step.
    """
    with project_code():
        try:
            definition: Json = json.loads(pipeline.definition())
            return definition
        except (TypeError, ValueError) as error:
            fault = next(_faults(getattr(pipeline, "steps", ())), None)
            if fault is None:
                raise
            raise RunFailed(fault) from error


@contextlib.contextmanager
def project_code() -> Iterator[None]:
    """Turn an exception of the project's code into a RunFailed that names file and line."""
    try:
        yield
    except ProjectError:
        raise
    except usage.aws_errors():
        raise
    except SchemaError as error:
        raise RunFailed(error) from error
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunFailed(f"{_place(error)}{said}") from error


def _place(error: Exception) -> str:
    """Return the innermost line of the project's code that led to an error."""
    folders = [Path(name) for name in getattr(sys.modules.get(PACKAGE), "__path__", ())]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        for folder in folders:
            if path.is_relative_to(folder):
                return f"{path.relative_to(folder.parent)}, line {frame.lineno}: "
    return ""


def _faults(steps: Any) -> Iterator[str]:
    """Yield what the SDK cannot describe, of the steps of a pipeline and of their branches."""
    for step in steps:
        try:
            request = step.to_request()
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            yield f"step {getattr(step, 'name', step)}: {said}"
            continue
        for branch in ("if_steps", "else_steps"):
            yield from _faults(getattr(step, branch, None) or ())
        for place, kind in _not_json(request, ""):
            yield (
                f"step {step.name}: {place} is a {kind}; SageMaker takes only a text or a number"
                " there, which is known before the pipeline runs"
            )


def _not_json(value: Any, place: str, is_expression: bool = False) -> Iterator[tuple[str, str]]:
    """Yield place and type of what does not become JSON.

    The SDK replaces a pipeline variable by its expression, and nothing within an expression.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _not_json(inner, f"{place}.{key}".lstrip("."), is_expression)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _not_json(inner, place, is_expression)
    elif hasattr(value, "expr") and not is_expression:
        yield from _not_json({} if callable(value.expr) else value.expr, place, True)
    elif value is not None and not isinstance(value, str | int | float):
        yield place, type(value).__name__
