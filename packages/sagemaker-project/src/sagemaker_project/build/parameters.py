"""The parameters of an execution: reading `NAME=VALUE` and checking against the definition."""

import re
from collections.abc import Callable, Iterable, Mapping

from sagemaker_project import usage
from sagemaker_project.errors import UsageError
from sagemaker_project.tabular.cells import is_number

MAX_CHARACTERS = 1024  # of a parameter's value
# Each returns whether the text is a value of the type; a ValueError means that it is not.
FITS: dict[str, Callable[[str], bool]] = {
    "String": lambda text: text != "",
    "Integer": lambda text: str(int(text)) == text.strip("+"),
    "Float": is_number,
    "Boolean": lambda text: text.lower() in ("true", "false"),
}


def split_parameters(pairs: Iterable[str]) -> dict[str, str]:
    """Return {name: value} of texts such as `Seed=7`."""
    parameters: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--parameters: {pair!r}: expected NAME=VALUE")
        if name in parameters:
            raise UsageError(f"--parameters: {name} is given twice")
        parameters[name] = value
    return parameters


def from_environment(
    declared: Mapping[str, usage.Json], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the parameters that variables set, as a CodeBuild project has them.

    InputDataUrl is INPUT_DATA_URL; a threshold such as MseThreshold is MSE_THRESHOLD.
    """
    names = [name for name in declared if name == "InputDataUrl" or name.endswith("Threshold")]
    variables = {name: re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() for name in names}
    return {name: value for name, key in variables.items() if (value := environment.get(key))}


def check_parameters(parameters: Mapping[str, str], declared: Mapping[str, usage.Json]) -> None:
    """Raise UsageError unless the definition declares each parameter and its value fits.

    Args:
        parameters: {name: text}.
        declared: {name: entry of the definition's Parameters}.
    """
    for name, value in parameters.items():
        if name not in declared:
            raise UsageError(
                f"--parameters: the pipeline has no parameter {name}. {usage.near(name, declared)}"
            )
        _check_value(name, value, declared[name])
    missing = [
        name
        for name, entry in declared.items()
        if "DefaultValue" not in entry and name not in parameters
    ]
    if missing:
        raise UsageError(f"--parameters: a value is needed for {', '.join(missing)}")


def _check_value(name: str, value: str, entry: usage.Json) -> None:
    kind: str = entry["Type"]
    if len(value) > MAX_CHARACTERS:
        raise UsageError(
            f"--parameters: {name} has {len(value):,} characters, at most {MAX_CHARACTERS:,} fit"
        )
    if "EnumValues" in entry and value not in entry["EnumValues"]:
        raise UsageError(
            f"--parameters: {name} is one of {', '.join(entry['EnumValues'])}; {value!r} was given"
        )
    try:
        fits = FITS[kind](value)
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(f"--parameters: {name} is of type {kind}; {value!r} was given")
