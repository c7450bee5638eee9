"""Checks the expressions and conditions of a definition: what they refer to must exist."""

from collections.abc import Iterator
from dataclasses import dataclass

from sagemaker_emulator.api import service_model
from sagemaker_emulator.api.documents import Json
from sagemaker_emulator.pipelines import resolver
from sagemaker_emulator.pipelines.resolver import Token
from sagemaker_emulator.pipelines.schema import (
    DefinitionError,
    Parameter,
    StepItem,
    StepTypes,
    member,
)

EXECUTION_VARIABLES = {
    *("PipelineName", "PipelineArn", "PipelineExecutionId", "PipelineExecutionArn"),
    *("StartDateTime", "CurrentDateTime", "TrainingJobName", "ProcessingJobName"),
}


@dataclass(frozen=True)
class References:
    """All that an expression can refer to."""

    parameters: dict[str, Parameter]
    steps: dict[str, StepItem]
    step_types: StepTypes

    def check_step(self, name: Token, path: str) -> None:
        if name not in self.steps:
            known = ", ".join(self.steps)
            raise DefinitionError(path, f"there is no step '{name}'. Steps: {known}")

    # Conditions

    def check_conditions(self, conditions: Json, path: str) -> None:
        if not isinstance(conditions, list) or not conditions:
            raise DefinitionError(path, "at least one condition is required")
        for number, condition in enumerate(conditions):
            self._check_condition(condition, f"{path}[{number}]")

    def _check_condition(self, condition: Json, path: str) -> None:
        kind = condition.get("Type") if isinstance(condition, dict) else None
        members = resolver.CONDITION_MEMBERS.get(str(kind))
        if members is None:
            known = ", ".join(resolver.CONDITION_MEMBERS)
            raise DefinitionError(path, f"unknown condition type {kind!r}. Types: {known}")
        for name in members:
            if name not in condition:
                raise DefinitionError(path, f"a condition of type {kind} needs {name}")
        if kind == "Not":
            self._check_condition(condition["Condition"], f"{path}.Condition")
        if kind == "Or":
            self.check_conditions(condition["Conditions"], f"{path}.Conditions")

    # Expressions

    def steps_of(self, value: Json, path: str) -> Iterator[str]:
        """Check each reference in a value, and yield the names of the steps they lead to."""
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from self.steps_of(item, f"{path}[{number}]")
        if not isinstance(value, dict):
            return
        function = resolver.function_of(value)
        if function == "Get":
            yield from self._step_of_get(value["Get"], path)
        elif function == "Std:JsonGet":
            yield self._step_of_json_get(value[function], path)
        else:
            for key, item in value.items():
                if key.startswith("Std:") and function is None:
                    known = ", ".join(resolver.FUNCTIONS)
                    raise DefinitionError(path, f"unknown function '{key}'. Functions: {known}")
                if function == "Std:Join" and not resolver.is_join(item):
                    raise DefinitionError(path, "Std:Join needs Values, a list, and On, a string")
                yield from self.steps_of(item, f"{path}.{key}")

    def _step_of_get(self, reference: Json, path: str) -> Iterator[str]:
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
            step = str(rest[0])
            self.check_step(step, path)
            self._check_property(step, rest[1:], path)
            yield step
        else:
            raise DefinitionError(path, f"cannot read the reference '{reference}'")

    def _check_property(self, step: str, properties: list[Token], path: str) -> None:
        """Raise DefinitionError unless AWS's Describe of the step's resource has the property."""
        item = self.steps[step]
        shape_name = self.step_types[item.content["Type"]]
        if shape_name is None:
            kind = item.content["Type"]
            raise DefinitionError(path, f"step '{step}' ({kind}) has no properties")
        shape = service_model.shape(shape_name)
        for depth, token in enumerate(properties):
            if shape.type_name == "structure" and str(token) in shape.members:
                shape = shape.members[str(token)]
            elif shape.type_name == "list":
                shape = shape.member
                if properties[depth - 1] == "Outputs" and token not in item.outputs:
                    known = ", ".join(item.outputs)
                    message = f"step '{step}' has no output '{token}'. It has: {known}"
                    raise DefinitionError(path, message)
            elif shape.type_name == "map":
                shape = shape.value
            else:
                known = ", ".join(getattr(shape, "members", ())) or "nothing below it"
                where = ".".join(map(str, properties[:depth])) or f"step '{step}'"
                raise DefinitionError(path, f"{where} has no '{token}'. It has: {known}")

    def _step_of_json_get(self, call: Json, path: str) -> str:
        if not isinstance(call, dict) or not isinstance(call.get("Path"), str):
            raise DefinitionError(path, "Std:JsonGet needs a PropertyFile and a Path")
        if "S3Uri" in call:
            raise DefinitionError(path, "sagemaker_emulator does not have Std:JsonGet of an S3Uri")
        resolver.tokens(call["Path"].removeprefix("$"))
        step, file = resolver.property_file(call)
        self.check_step(step, path)
        files = member(self.steps[step].content, "PropertyFiles", list, self.steps[step].path)
        names = [item.get("PropertyFileName") for item in files if isinstance(item, dict)]
        if file not in names:
            known = ", ".join(map(str, names)) or "none"
            raise DefinitionError(
                path, f"step '{step}' has no property file '{file}'. Property files: {known}"
            )
        return step
