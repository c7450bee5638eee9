"""The pipeline language: Get, Std:Join, Std:JsonGet, and the conditions over them.

Everything here is pure: an expression and a `Scope` give a new value, or an ExpressionError that
names the expression. Files are read elsewhere, when the step that writes them ends. A missing
value is an error and never None, so that no condition is true by accident.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from sagemaker_emulator.api.documents import Document, Json
from sagemaker_emulator.errors import EmulatorError

TOKEN = re.compile(r"""\.?([^.\[\]'"]+)|\[(\d+)\]|\['([^']*)'\]|\["([^"]*)"\]""")
# An item of a list is addressed by name where AWS gives it one: Outputs['train'].
ITEM_NAMES = ("OutputName", "InputName", "ChannelName", "MetricName", "Name")

Token: TypeAlias = str | int  # a name, or the number of a list's item


class ExpressionError(EmulatorError):
    """An expression cannot be read, or has no value."""


@dataclass(frozen=True)
class Scope:
    """What expressions can refer to."""

    parameters: dict[str, Json]
    execution: dict[str, str]
    steps: dict[str, Document] = field(default_factory=dict)  # {step name: its properties}
    # {(step name, property file): its content, or why it cannot be read}
    files: dict[tuple[str, str], Json | ExpressionError] = field(default_factory=dict)

    def with_execution(self, variables: dict[str, str]) -> "Scope":
        return replace(self, execution=self.execution | variables)

    def with_step(
        self, name: str, properties: Document, files: dict[str, Json | ExpressionError]
    ) -> "Scope":
        added = {(name, file): content for file, content in files.items()}
        return replace(self, steps=self.steps | {name: properties}, files=self.files | added)


def resolve(value: Json, scope: Scope) -> Json:
    """Replace all expressions in a value by their values."""
    if isinstance(value, list):
        return [resolve(item, scope) for item in value]
    if not isinstance(value, dict):
        return value
    if function := function_of(value):
        return FUNCTIONS[function](value[function], scope)
    return {key: resolve(item, scope) for key, item in value.items()}


def function_of(value: Json) -> str | None:
    """Return the name of the function that an expression calls; None for plain data."""
    if isinstance(value, dict) and len(value) == 1:
        name: str = next(iter(value))
        return name if name in FUNCTIONS else None
    return None


def tokens(path: Json) -> list[Token]:
    """Split a path, such as A['b'].c[0] into ["A", "b", "c", 0]; ExpressionError if malformed."""
    if not isinstance(path, str):
        raise ExpressionError(f"cannot read the path {json.dumps(path)}: it is not a string")
    found: list[Token] = []
    end = 0
    while end < len(path):
        match = TOKEN.match(path, end)
        if not match:
            raise ExpressionError(f"cannot read the path {path!r} from character {end + 1} on")
        name, number, single, double = match.groups()
        if number is not None:
            found.append(int(number))
        else:
            found.append(next(part for part in (name, single, double) if part is not None))
        end = match.end()
    return found


def _walk(value: Json, path: list[Token], where: str) -> Json:
    """Return the value at the end of a path; errors begin with `where`."""
    for depth, token in enumerate(path):
        reached = ".".join(str(part) for part in path[:depth]) or "it"
        try:
            value = _item(value, token)
        except LookupError:
            raise ExpressionError(f"{where}: no {token!r}; {reached} {_contents(value)}") from None
    return value


def _item(value: Json, token: Token) -> Json:
    if isinstance(value, dict):
        return value[token]
    if not isinstance(value, list):
        raise LookupError(token)
    if isinstance(token, int):
        return value[token]
    for item in value:
        if isinstance(item, dict) and token in [item.get(name) for name in ITEM_NAMES]:
            return item
    raise LookupError(token)


def _contents(value: Json) -> str:
    if isinstance(value, dict):
        return f"has: {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, list):
        return f"is a list of {len(value)}"
    return f"is {json.dumps(value)}"


def _get(path: Json, scope: Scope) -> Json:
    root, *rest = tokens(path)
    roots: dict[Token, Json] = {
        "Parameters": scope.parameters,
        "Execution": scope.execution,
        "Steps": scope.steps,
    }
    if root not in roots:
        raise ExpressionError(f"Get {path}: must start with Parameters, Execution or Steps")
    return _walk(roots[root], rest, f"Get {path}")


def is_join(call: Json) -> bool:
    """Return whether a call of Std:Join has its members."""
    if not isinstance(call, dict) or not isinstance(call.get("On", ""), str):
        return False
    return isinstance(call.get("Values"), list)


def _join(call: Json, scope: Scope) -> str:
    separator: str = call.get("On", "")
    return separator.join(_text(resolve(value, scope)) for value in call["Values"])


def _text(value: Json) -> str:
    if isinstance(value, (dict, list)) or value is None:
        raise ExpressionError(f"Std:Join: cannot join {json.dumps(value)}")
    return value if isinstance(value, str) else json.dumps(value)


def _json_get(call: Json, scope: Scope) -> Json:
    step, file = property_file(call)
    where = f"Std:JsonGet of property file '{file}' of step '{step}', path '{call['Path']}'"
    if (step, file) not in scope.files:
        raise ExpressionError(f"{where}: the step has not run")
    content = scope.files[step, file]
    if isinstance(content, ExpressionError):
        raise ExpressionError(f"{where}: {content}")
    value = _walk(content, tokens(call["Path"].removeprefix("$")), where)
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError(f"{where}: the value is {value}, not a number that can be compared")
    return value


def property_file(call: Json) -> tuple[str, str]:
    """Return the (step, property file) that a Std:JsonGet reads."""
    reference = call.get("PropertyFile")
    path = tokens(reference["Get"]) if function_of(reference) == "Get" else []
    if len(path) != 4 or path[0] != "Steps" or path[2] != "PropertyFiles":
        raise ExpressionError(
            "Std:JsonGet: PropertyFile must be {'Get': 'Steps.<step>.PropertyFiles.<name>'}"
        )
    return str(path[1]), str(path[3])


FUNCTIONS: dict[str, Callable[[Json, Scope], Json]] = {
    "Get": _get,
    "Std:Join": _join,
    "Std:JsonGet": _json_get,
}


# Conditions


def holds(condition: Json, scope: Scope) -> bool:
    """Return whether a condition is true; raise ExpressionError if it cannot be evaluated."""
    kind = condition["Type"]
    if kind == "Not":
        return not holds(condition["Condition"], scope)
    if kind == "Or":
        # A list, not a generator: a later condition that cannot be evaluated must fail, too.
        return any([holds(part, scope) for part in condition["Conditions"]])
    if kind == "In":
        value = resolve(condition["QueryValue"], scope)
        others = resolve(condition["Values"], scope)
        return any(_equal(value, other, kind) for other in others)
    left = resolve(condition["LeftValue"], scope)
    right = resolve(condition["RightValue"], scope)
    if kind == "Equals":
        return _equal(left, right, kind)
    for value, side in ((left, "LeftValue"), (right, "RightValue")):
        if not _is_number(value):
            raise ExpressionError(
                f"{kind}: {side} {_short(condition[side])} is {json.dumps(value)}, not a number"
            )
    return ORDER[kind](left, right)


ORDER: dict[str, Callable[[float, float], bool]] = {
    "GreaterThan": lambda left, right: left > right,
    "GreaterThanOrEqualTo": lambda left, right: left >= right,
    "LessThan": lambda left, right: left < right,
    "LessThanOrEqualTo": lambda left, right: left <= right,
}
CONDITION_MEMBERS: dict[str, tuple[str, ...]] = {
    "Not": ("Condition",),
    "Or": ("Conditions",),
    "In": ("QueryValue", "Values"),
    "Equals": ("LeftValue", "RightValue"),
    **dict.fromkeys(ORDER, ("LeftValue", "RightValue")),
}


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _equal(left: Json, right: Json, kind: str) -> bool:
    """Compare two numbers, strings or booleans; ExpressionError for any other pair."""
    types = {"number" if _is_number(value) else type(value).__name__ for value in (left, right)}
    if len(types) > 1 or not types <= {"number", "str", "bool"}:
        raise ExpressionError(f"{kind}: cannot compare {json.dumps(left)} with {json.dumps(right)}")
    return bool(left == right)


def _short(expression: Json) -> str:
    """Return a short form of an expression for messages."""
    function = function_of(expression)
    if function == "Get":
        return str(expression["Get"])
    if function == "Std:JsonGet":
        step, file = property_file(expression[function])
        return f"JsonGet({step}.{file}: {expression[function]['Path']})"
    return json.dumps(expression)
