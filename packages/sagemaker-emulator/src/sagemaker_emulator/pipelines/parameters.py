"""The parameters that a definition declares, and their values in an execution."""

from collections.abc import Mapping

from sagemaker_emulator.api.documents import Json
from sagemaker_emulator.errors import invalid
from sagemaker_emulator.pipelines.schema import NAME, Definition, DefinitionError, Parameter, member

MAX_PARAMETERS = 200
TYPES: dict[str, type | tuple[type, ...]] = {
    "String": str,
    "Integer": int,
    "Float": (int, float),
    "Boolean": bool,
}


def parse_parameters(items: list[Json]) -> dict[str, Parameter]:
    """Return the declared parameters by name; raise DefinitionError if one is wrong."""
    if len(items) > MAX_PARAMETERS:
        raise DefinitionError("Parameters", f"{len(items)} given, {MAX_PARAMETERS} allowed")
    parameters: dict[str, Parameter] = {}
    for number, item in enumerate(items):
        path = f"Parameters[{number}]"
        parameter = _parameter(item, path)
        if parameter.name in parameters:
            raise DefinitionError(path, f"parameter '{parameter.name}' is duplicated")
        parameters[parameter.name] = parameter
    return parameters


def _parameter(item: Json, path: str) -> Parameter:
    name = item.get("Name") if isinstance(item, dict) else None
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DefinitionError(path, f"a parameter needs a Name of the form {NAME.pattern}")
    kind, default = str(item.get("Type")), item.get("DefaultValue")
    if kind not in TYPES:
        wanted = ", ".join(TYPES)
        raise DefinitionError(path, f"parameter '{name}' has type {kind!r}; wanted: {wanted}")
    enum = tuple(member(item, "EnumValues", list, path))
    for value in (default, *enum):
        wrong = isinstance(value, bool) and kind != "Boolean"
        if value is not None and (wrong or not isinstance(value, TYPES[kind])):
            raise DefinitionError(path, f"parameter '{name}': {value!r} is not of type {kind}")
    if enum and default is not None and default not in enum:
        raise DefinitionError(path, f"parameter '{name}': default {default!r} is not in EnumValues")
    return Parameter(name, kind, default, enum)


def parameter_values(definition: Definition, texts: Mapping[str, str]) -> dict[str, Json]:
    """Return the values of an execution's parameters: those of the request, else the defaults."""
    for name in texts:
        if name not in definition.parameters:
            known = ", ".join(definition.parameters) or "none"
            raise invalid(f"The pipeline declares no parameter '{name}'. Parameters: {known}")
    return {p.name: _value(p, texts.get(p.name)) for p in definition.parameters.values()}


def _value(parameter: Parameter, text: str | None) -> Json:
    name = parameter.name
    if text is None and parameter.default is None:
        raise invalid(f"Parameter '{name}' has no default value, so a value is required")
    value = parameter.default if text is None else _converted(name, parameter.type, text)
    if parameter.enum and value not in parameter.enum:
        wanted = ", ".join(map(str, parameter.enum))
        raise invalid(f"Parameter '{name}' is {value!r}; wanted one of: {wanted}")
    return value


def _converted(name: str, kind: str, text: str) -> Json:
    try:
        if kind == "Boolean":
            return {"true": True, "false": False}[text.lower()]
        return {"String": str, "Integer": int, "Float": float}[kind](text)
    except (KeyError, ValueError):
        raise invalid(f"Parameter '{name}' is {text!r}, which is not of type {kind}") from None
