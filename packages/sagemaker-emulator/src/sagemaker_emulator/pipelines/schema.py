"""The dataclasses of a pipeline definition, and the error of a mistake in one."""

import re
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from sagemaker_emulator.api.documents import Json
from sagemaker_emulator.errors import EmulatorError

NAME = re.compile(r"[A-Za-z0-9\-_]{1,64}")  # of a step or a parameter

Container = TypeVar("Container", list[Json], dict[str, Json])

# {type of step: the service model's shape of its properties, or None if it has none}
StepTypes: TypeAlias = dict[str, str | None]


class DefinitionError(EmulatorError):
    """A mistake at a path of a definition, such as Steps[1] (step 'Train').Arguments."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)


def member(content: Json, name: str, kind: type[Container], path: str) -> Container:
    """Return an optional list or object of a definition; an empty one if it is missing."""
    value = content.get(name)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        word = "a list" if kind is list else "an object"
        raise DefinitionError(f"{path}.{name}".lstrip("."), f"must be {word}")
    return value


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    default: Json = None
    enum: tuple[Json, ...] = ()


@dataclass(frozen=True)
class PropertyFile:
    name: str
    output: str  # the OutputName of the processing output that holds the file
    path: str


class Gate(NamedTuple):
    condition: str  # name of a condition step
    outcome: bool  # the one with which the steps of this branch run


@dataclass(frozen=True)
class Step:
    name: str
    type: str
    arguments: Json
    display_name: str | None
    description: str | None
    after: frozenset[str]  # names of the steps that must have succeeded
    gate: Gate | None  # of a step in a branch of a condition
    property_files: tuple[PropertyFile, ...]
    cache_seconds: float | None  # how long an earlier result may be taken over; None: never


@dataclass(frozen=True)
class Definition:
    parameters: dict[str, Parameter]
    steps: dict[str, Step]


class StepItem(NamedTuple):
    """A step as it is written in the definition, and where."""

    content: Json
    path: str
    gate: Gate | None

    @property
    def outputs(self) -> list[str]:
        """The OutputName of each output of a processing step.

        The form of arguments is checked when the step starts: here they may be expressions.
        """
        config = self.content["Arguments"].get("ProcessingOutputConfig")
        outputs = config.get("Outputs") if isinstance(config, dict) else None
        listed = outputs if isinstance(outputs, list) else []
        return [str(output.get("OutputName")) for output in listed if isinstance(output, dict)]
