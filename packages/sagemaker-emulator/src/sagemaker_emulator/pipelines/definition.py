"""A pipeline definition, read once and checked for everything that can be known before a run.

`parse` turns the JSON into the dataclasses of schema.py, or reports in one sentence which step and
path is wrong: unknown step types, duplicated names, references to what does not exist,
cycles. Steps within the branches of a condition are in the same table as the others; their `gate`
names the condition and the outcome with which they run.
"""

import graphlib
import json
import re
from collections.abc import Iterator

from sagemaker_emulator.api.documents import Json
from sagemaker_emulator.errors import invalid
from sagemaker_emulator.pipelines.parameters import parse_parameters
from sagemaker_emulator.pipelines.references import References
from sagemaker_emulator.pipelines.resolver import ExpressionError
from sagemaker_emulator.pipelines.schema import (
    NAME,
    Definition,
    DefinitionError,
    Gate,
    PropertyFile,
    Step,
    StepItem,
    StepTypes,
    member,
)

STEP_MEMBERS = {
    *("Name", "Type", "Arguments", "DependsOn", "PropertyFiles", "CacheConfig"),
    *("DisplayName", "Description", "RetryPolicies"),
}
FILE_MEMBERS = ("PropertyFileName", "OutputName", "FilePath")
BRANCHES = {"IfSteps": True, "ElseSteps": False}
DURATION = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.I
)
SECONDS = (31536000, 2592000, 604800, 86400, 3600, 60, 1)  # of each group of DURATION


def parse(text: str, step_types: StepTypes) -> Definition:
    """Parse and check a definition; raise AwsError if it is wrong."""
    try:
        return _parse(text, step_types)
    except (DefinitionError, ExpressionError) as error:
        raise invalid(f"Unable to parse pipeline definition. {error}") from None


def _parse(text: str, step_types: StepTypes) -> Definition:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DefinitionError("", f"It is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise DefinitionError("", "It must be a JSON object")
    for name, kind, word in (("Version", str, "string"), ("Steps", list, "list")):
        if not isinstance(document.get(name), kind):
            raise DefinitionError(name, f"a {word} is required here")
    parameters = parse_parameters(member(document, "Parameters", list, ""))
    items: dict[str, StepItem] = {}
    _collect(document["Steps"], "Steps", None, step_types, items)
    references = References(parameters, items, step_types)
    steps = {name: _step(item, references) for name, item in items.items()}
    _refuse_cycles(steps)
    return Definition(parameters, steps)


def _collect(
    steps: list[Json],
    path: str,
    gate: Gate | None,
    step_types: StepTypes,
    items: dict[str, StepItem],
) -> None:
    """Add every step to `items` by its name, also those nested in conditions."""
    for number, content in enumerate(steps):
        here = f"{path}[{number}]"
        if not isinstance(content, dict):
            raise DefinitionError(here, "a step must be an object")
        name = content.get("Name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise DefinitionError(here, f"a step needs a Name of the form {NAME.pattern}")
        here = f"{here} (step '{name}')"
        if name in items:
            raise DefinitionError(here, "another step has this name; names must be unique")
        _check_members(content, here, step_types)
        items[name] = StepItem(content, here, gate)
        if content["Type"] == "Condition":
            for branch, outcome in BRANCHES.items():
                nested = member(content["Arguments"], branch, list, f"{here}.Arguments")
                _collect(
                    nested, f"{here}.Arguments.{branch}", Gate(name, outcome), step_types, items
                )


def _check_members(content: Json, path: str, step_types: StepTypes) -> None:
    kind = content.get("Type")
    if str(kind) not in step_types:
        known = ", ".join(step_types)
        raise DefinitionError(
            path, f"sagemaker_emulator does not run steps of type '{kind}'. It runs: {known}"
        )
    if unknown := set(content) - STEP_MEMBERS:
        raise DefinitionError(path, f"unknown member {', '.join(sorted(unknown))}")
    if not isinstance(content.get("Arguments"), dict):
        raise DefinitionError(path, "Arguments must be an object")


def _step(item: StepItem, references: References) -> Step:
    content, path, gate = item
    arguments = content["Arguments"]
    if content["Type"] == "Condition":
        arguments = {"Conditions": arguments.get("Conditions")}
        references.check_conditions(arguments["Conditions"], f"{path}.Arguments.Conditions")
    after = _depends_on(content, path, references)
    after |= set(references.steps_of(arguments, f"{path}.Arguments"))
    return Step(
        name=content["Name"],
        type=content["Type"],
        arguments=arguments,
        display_name=content.get("DisplayName"),
        description=content.get("Description"),
        after=frozenset(after | ({gate.condition} if gate else set())),
        gate=gate,
        property_files=tuple(_property_files(item)),
        cache_seconds=_cache_seconds(member(content, "CacheConfig", dict, path), path),
    )


def _depends_on(content: Json, path: str, references: References) -> set[str]:
    names = member(content, "DependsOn", list, path)
    for number, name in enumerate(names):
        here = f"{path}.DependsOn[{number}]"
        if not isinstance(name, str):
            raise DefinitionError(here, "sagemaker_emulator does not have trigger conditions")
        references.check_step(name, here)
    return set(names)


def _property_files(item: StepItem) -> Iterator[PropertyFile]:
    for number, file in enumerate(member(item.content, "PropertyFiles", list, item.path)):
        here = f"{item.path}.PropertyFiles[{number}]"
        texts = [file.get(name) for name in FILE_MEMBERS] if isinstance(file, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise DefinitionError(here, f"needs {' and '.join(FILE_MEMBERS)}, each a string")
        if texts[1] not in item.outputs:
            known = ", ".join(item.outputs) or "none"
            raise DefinitionError(here, f"no output '{texts[1]}'. Outputs: {known}")
        yield PropertyFile(*texts)


def _cache_seconds(config: Json, path: str) -> float | None:
    if not config.get("Enabled"):
        return None
    duration = config.get("ExpireAfter")
    match = DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if not match or not any(match.groups()):
        raise DefinitionError(
            f"{path}.CacheConfig", f"ExpireAfter is {duration!r}; wanted ISO 8601, such as 'P30D'"
        )
    return sum(int(n or 0) * seconds for n, seconds in zip(match.groups(), SECONDS, strict=True))


def _refuse_cycles(steps: dict[str, Step]) -> None:
    try:
        graphlib.TopologicalSorter({s.name: s.after for s in steps.values()}).prepare()
    except graphlib.CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise DefinitionError("Steps", f"these wait for each other: {cycle}") from None
