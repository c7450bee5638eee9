"""A pipeline definition, read once and held against everything that can be known before a run.

`parse` turns the JSON into the dataclasses below, or says in one sentence which step and which
path is wrong: unknown step types, names given twice, references that lead nowhere, cycles. Steps
within the branches of a condition stand in the same table as the others; their `gate` says which
condition must come out how.
"""

import graphlib
import json
import re
from dataclasses import dataclass

from sagemaker_emulator.api import service_model as model
from sagemaker_emulator.errors import invalid
from sagemaker_emulator.pipelines import resolver
from sagemaker_emulator.pipelines.resolver import ExpressionError

NAME = re.compile(r"[A-Za-z0-9\-_]{1,64}")
MAX_PARAMETERS = 200
PARAMETER_TYPES = {"String": str, "Integer": int, "Float": (int, float), "Boolean": bool}
EXECUTION_VARIABLES = {
    *("PipelineName", "PipelineArn", "PipelineExecutionId", "PipelineExecutionArn"),
    *("StartDateTime", "CurrentDateTime", "TrainingJobName", "ProcessingJobName"),
}
STEP_MEMBERS = {
    *("Name", "Type", "Arguments", "DependsOn", "PropertyFiles", "CacheConfig"),
    *("DisplayName", "Description", "RetryPolicies"),
}
BRANCHES = {"IfSteps": True, "ElseSteps": False}
DURATION = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.I
)
SECONDS = (31536000, 2592000, 604800, 86400, 3600, 60, 1)


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    default: object = None
    enum: tuple = ()


@dataclass(frozen=True)
class PropertyFile:
    name: str
    output: str
    path: str


@dataclass(frozen=True)
class Step:
    name: str
    type: str
    arguments: dict
    display_name: str | None
    description: str | None
    after: frozenset  # names of the steps that must have ended well
    gate: tuple | None  # (condition step, the outcome under which this step runs)
    property_files: tuple
    cache_seconds: float | None  # how long an earlier result counts; None: not at all


@dataclass(frozen=True)
class Definition:
    parameters: dict
    steps: dict


class DefinitionError(Exception):
    def __init__(self, path, message):
        super().__init__(f"{path}: {message}" if path else message)


def parse(text, step_types):
    """`step_types`: {type: the shape of its properties, or None}."""
    try:
        return _parse(text, step_types)
    except (DefinitionError, ExpressionError) as error:
        raise invalid(f"Unable to parse pipeline definition. {error}") from None


def _parse(text, step_types):
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DefinitionError("", f"It is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise DefinitionError("", "It must be a JSON object")
    for name, kind, word in (("Version", str, "string"), ("Steps", list, "list")):
        if not isinstance(document.get(name), kind):
            raise DefinitionError(name, f"a {word} is required here")
    listed = document.get("Parameters") or []
    if len(listed) > MAX_PARAMETERS:
        raise DefinitionError("Parameters", f"{len(listed)} given, {MAX_PARAMETERS} allowed")
    parameters = {}
    for number, item in enumerate(listed):
        parameter = _parameter(item, f"Parameters[{number}]")
        if parameter.name in parameters:
            raise DefinitionError(f"Parameters[{number}]", f"'{parameter.name}' is declared twice")
        parameters[parameter.name] = parameter
    raw = {}
    _collect(document["Steps"], "Steps", None, step_types, raw)
    reader = _Reader(parameters, raw, step_types)
    definition = Definition(parameters, {name: reader.step(name) for name in raw})
    _refuse_cycles(definition.steps)
    return definition


def _parameter(item, path):
    if not isinstance(item, dict) or not NAME.fullmatch(str(item.get("Name", ""))):
        raise DefinitionError(path, f"a parameter needs a Name of the form {NAME.pattern}")
    name, kind, default = item["Name"], item.get("Type"), item.get("DefaultValue")
    if kind not in PARAMETER_TYPES:
        wanted = ", ".join(PARAMETER_TYPES)
        raise DefinitionError(path, f"parameter '{name}' has type {kind!r}; wanted: {wanted}")
    enum = tuple(item.get("EnumValues") or ())
    for value in [default, *enum]:
        wrong = isinstance(value, bool) and kind != "Boolean"
        if value is not None and (wrong or not isinstance(value, PARAMETER_TYPES[kind])):
            raise DefinitionError(path, f"parameter '{name}': {value!r} is no {kind}")
    if enum and default is not None and default not in enum:
        raise DefinitionError(path, f"parameter '{name}': default {default!r} is not in EnumValues")
    return Parameter(name, kind, default, enum)


def _collect(steps, path, gate, step_types, raw):
    """Every step, nested ones too, as {name: (item, path, gate)}."""
    for number, item in enumerate(steps):
        here = f"{path}[{number}]"
        if not isinstance(item, dict):
            raise DefinitionError(here, "a step must be an object")
        name, kind = item.get("Name"), item.get("Type")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise DefinitionError(here, f"a step needs a Name of the form {NAME.pattern}")
        here = f"{here} (step '{name}')"
        if name in raw:
            raise DefinitionError(here, "another step has this name; names must be unique")
        if kind not in step_types:
            known = ", ".join(step_types)
            raise DefinitionError(
                here, f"sagemaker_emulator does not run steps of type '{kind}'. It runs: {known}"
            )
        if unknown := set(item) - STEP_MEMBERS:
            raise DefinitionError(here, f"unknown member {', '.join(sorted(unknown))}")
        if not isinstance(item.get("Arguments"), dict):
            raise DefinitionError(here, "Arguments must be an object")
        raw[name] = (item, here, gate)
        if kind == "Condition":
            for branch, outcome in BRANCHES.items():
                nested = item["Arguments"].get(branch) or []
                below = f"{here}.Arguments.{branch}"
                _collect(nested, below, (name, outcome), step_types, raw)


class _Reader:
    """Turns raw steps into `Step`s; knows all names, so that it can check references."""

    def __init__(self, parameters, raw, step_types):
        self.parameters = parameters
        self.raw = raw
        self.step_types = step_types

    def step(self, name):
        item, path, gate = self.raw[name]
        arguments = item["Arguments"]
        if item["Type"] == "Condition":
            arguments = {"Conditions": arguments.get("Conditions")}
            self._conditions(arguments["Conditions"], f"{path}.Arguments.Conditions")
        after = self._depends_on(item, path)
        after |= set(self._references(arguments, f"{path}.Arguments"))
        return Step(
            name=name,
            type=item["Type"],
            arguments=arguments,
            display_name=item.get("DisplayName"),
            description=item.get("Description"),
            after=frozenset(after | ({gate[0]} if gate else set())),
            gate=gate,
            property_files=tuple(self._property_files(item, path)),
            cache_seconds=_cache_seconds(item.get("CacheConfig") or {}, path),
        )

    def _depends_on(self, item, path):
        names = item.get("DependsOn") or []
        for number, name in enumerate(names):
            here = f"{path}.DependsOn[{number}]"
            if not isinstance(name, str):
                raise DefinitionError(here, "sagemaker_emulator does not have trigger conditions")
            self._known_step(name, here)
        return set(names)

    def _known_step(self, name, path):
        if name not in self.raw:
            raise DefinitionError(path, f"there is no step '{name}'. Steps: {', '.join(self.raw)}")

    def _property_files(self, item, path):
        for number, file in enumerate(item.get("PropertyFiles") or []):
            members = [file.get(k) for k in ("PropertyFileName", "OutputName", "FilePath")]
            here = f"{path}.PropertyFiles[{number}]"
            if not all(isinstance(member, str) for member in members):
                raise DefinitionError(here, "needs PropertyFileName, OutputName and FilePath")
            outputs = _outputs(item)
            if members[1] not in outputs:
                known = ", ".join(map(str, outputs)) or "none"
                raise DefinitionError(here, f"no output '{members[1]}'. Outputs: {known}")
            yield PropertyFile(*members)

    def _conditions(self, conditions, path):
        if not isinstance(conditions, list) or not conditions:
            raise DefinitionError(path, "at least one condition is required")
        for number, condition in enumerate(conditions):
            self._condition(condition, f"{path}[{number}]")

    def _condition(self, condition, path):
        kind = condition.get("Type") if isinstance(condition, dict) else None
        members = resolver.CONDITION_MEMBERS.get(kind)
        if members is None:
            known = ", ".join(resolver.CONDITION_MEMBERS)
            raise DefinitionError(path, f"unknown condition type {kind!r}. Types: {known}")
        for member in members:
            if member not in condition:
                raise DefinitionError(path, f"a condition of type {kind} needs {member}")
        if kind == "Not":
            self._condition(condition["Condition"], f"{path}.Condition")
        if kind == "Or":
            self._conditions(condition["Conditions"], f"{path}.Conditions")

    def _references(self, value, path):
        """The names of all steps an expression refers to, each reference checked."""
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from self._references(item, f"{path}[{number}]")
        if not isinstance(value, dict):
            return
        function = resolver.function_of(value)
        if function == "Get":
            yield from self._reference(value["Get"], path)
        elif function == "Std:JsonGet":
            yield self._json_get(value[function], path)
        else:
            for key, item in value.items():
                if key.startswith("Std:") and function is None:
                    known = ", ".join(resolver.FUNCTIONS)
                    raise DefinitionError(path, f"unknown function '{key}'. Functions: {known}")
                if function == "Std:Join" and not isinstance(item.get("Values"), list):
                    raise DefinitionError(path, "Std:Join needs Values, a list")
                yield from self._references(item, f"{path}.{key}")

    def _reference(self, reference, path):
        if not isinstance(reference, str):
            raise DefinitionError(path, "Get takes a string")
        root, *rest = resolver.tokens(reference)
        if root == "Parameters" and rest:
            if rest[0] not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise DefinitionError(path, f"no parameter '{rest[0]}'. Parameters: {known}")
        elif root == "Execution" and rest:
            if rest[0] not in EXECUTION_VARIABLES:
                known = ", ".join(sorted(EXECUTION_VARIABLES))
                raise DefinitionError(path, f"no variable '{rest[0]}'. Execution has: {known}")
        elif root == "Steps" and len(rest) > 1:
            self._known_step(rest[0], path)
            self._property(rest[0], rest[1:], path)
            yield rest[0]
        else:
            raise DefinitionError(path, f"cannot read the reference '{reference}'")

    def _property(self, step, properties, path):
        """A property must exist in what AWS answers when it describes what the step made."""
        item = self.raw[step][0]
        if self.step_types[item["Type"]] is None:
            raise DefinitionError(path, f"step '{step}' ({item['Type']}) has no properties")
        shape = model.shape(self.step_types[item["Type"]])
        for depth, token in enumerate(properties):
            if shape.type_name == "structure" and token in shape.members:
                shape = shape.members[token]
            elif shape.type_name == "list":
                shape = shape.member
                if properties[depth - 1] == "Outputs" and token not in (known := _outputs(item)):
                    raise DefinitionError(
                        path, f"step '{step}' has no output '{token}'. It has: {', '.join(known)}"
                    )
            elif shape.type_name == "map":
                shape = shape.value
            else:
                known = ", ".join(getattr(shape, "members", ())) or "nothing below it"
                where = ".".join(map(str, properties[:depth])) or f"step '{step}'"
                raise DefinitionError(path, f"{where} has no '{token}'. It has: {known}")

    def _json_get(self, call, path):
        if "S3Uri" in call:
            raise DefinitionError(path, "sagemaker_emulator does not have Std:JsonGet of an S3Uri")
        if not isinstance(call.get("Path"), str):
            raise DefinitionError(path, "Std:JsonGet needs a Path")
        resolver.tokens(call["Path"].removeprefix("$"))
        step, file = resolver.property_file(call)
        self._known_step(step, path)
        files = self.raw[step][0].get("PropertyFiles") or []
        names = [item.get("PropertyFileName") for item in files]
        if file not in names:
            known = ", ".join(map(str, names)) or "none"
            raise DefinitionError(
                path, f"step '{step}' has no property file '{file}'. Property files: {known}"
            )
        return step


def _outputs(item):
    outputs = (item["Arguments"].get("ProcessingOutputConfig") or {}).get("Outputs") or []
    return [output.get("OutputName") for output in outputs]


def _cache_seconds(config, path):
    if not config.get("Enabled"):
        return None
    duration = config.get("ExpireAfter")
    match = DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if not match or not any(match.groups()):
        raise DefinitionError(
            f"{path}.CacheConfig", f"ExpireAfter is {duration!r}; wanted ISO 8601, such as 'P30D'"
        )
    return sum(int(n or 0) * seconds for n, seconds in zip(match.groups(), SECONDS, strict=True))


def _refuse_cycles(steps):
    try:
        graphlib.TopologicalSorter({s.name: s.after for s in steps.values()}).prepare()
    except graphlib.CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise DefinitionError("Steps", f"these wait for each other: {cycle}") from None


def parameter_values(definition, given):
    """The values an execution runs with: the given strings, else the defaults."""
    for name in given:
        if name not in definition.parameters:
            known = ", ".join(definition.parameters) or "none"
            raise invalid(f"The pipeline declares no parameter '{name}'. Parameters: {known}")
    return {p.name: _value(p, given.get(p.name)) for p in definition.parameters.values()}


def _value(parameter, text):
    name, kind = parameter.name, parameter.type
    if text is None and parameter.default is None:
        raise invalid(f"Parameter '{name}' has no default value, so a value is required")
    value = parameter.default if text is None else _converted(name, kind, text)
    if parameter.enum and value not in parameter.enum:
        wanted = ", ".join(map(str, parameter.enum))
        raise invalid(f"Parameter '{name}' is {value!r}; wanted one of: {wanted}")
    return value


def _converted(name, kind, text):
    try:
        if kind == "Boolean":
            return {"true": True, "false": False}[text.lower()]
        return {"String": str, "Integer": int, "Float": float}[kind](text)
    except (KeyError, ValueError):
        raise invalid(f"Parameter '{name}' is {text!r}, which is no {kind}") from None
