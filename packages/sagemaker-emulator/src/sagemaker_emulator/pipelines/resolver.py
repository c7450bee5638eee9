"""The pipeline language: Get, Std:Join, Std:JsonGet, and the conditions over them.

Everything here is pure: an expression and a `Scope` give a new value, or an ExpressionError that
names the expression. Files are read elsewhere, when the step that writes them ends. A missing
value is an error and never None, so that nothing can slip through a gate.
"""

import json
import math
import re
from dataclasses import dataclass, field, replace

TOKEN = re.compile(r"""\.?([^.\[\]'"]+)|\[(\d+)\]|\['([^']*)'\]|\["([^"]*)"\]""")
# An item of a list is addressed by name where AWS gives it one: Outputs['train'].
ITEM_NAMES = ("OutputName", "InputName", "ChannelName", "MetricName", "Name")


class ExpressionError(Exception):
    pass


@dataclass(frozen=True)
class Scope:
    parameters: dict
    execution: dict
    steps: dict = field(default_factory=dict)  # step name -> its Describe answer
    files: dict = field(default_factory=dict)  # (step name, property file) -> parsed JSON

    def with_execution(self, variables):
        return replace(self, execution=self.execution | variables)

    def with_step(self, name, properties, files):
        added = {(name, file): content for file, content in files.items()}
        return replace(self, steps=self.steps | {name: properties}, files=self.files | added)


def resolve(value, scope):
    if isinstance(value, list):
        return [resolve(item, scope) for item in value]
    if not isinstance(value, dict):
        return value
    if function := function_of(value):
        return FUNCTIONS[function](value[function], scope)
    return {key: resolve(item, scope) for key, item in value.items()}


def function_of(value):
    """The name of the function an expression calls, None for plain data."""
    if isinstance(value, dict) and len(value) == 1:
        (name,) = value
        return name if name in FUNCTIONS else None
    return None


def tokens(path):
    """A['b'].c[0] as ["A", "b", "c", 0]; ExpressionError where it is not of that form."""
    found, end = [], 0
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


def walk(value, path, where):
    """The value at the end of a path of names and numbers."""
    for depth, token in enumerate(path):
        reached = ".".join(str(part) for part in path[:depth]) or "it"
        try:
            value = _item(value, token)
        except LookupError:
            raise ExpressionError(f"{where}: no {token!r}; {reached} {_contents(value)}") from None
    return value


def _item(value, token):
    if isinstance(value, dict) or (isinstance(value, list) and isinstance(token, int)):
        return value[token]
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict) and token in [item.get(name) for name in ITEM_NAMES]:
            return item
    raise LookupError(token)


def _contents(value):
    if isinstance(value, dict):
        return f"has: {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, list):
        return f"is a list of {len(value)}"
    return f"is {json.dumps(value)}"


def _get(path, scope):
    root, *rest = tokens(path)
    roots = {"Parameters": scope.parameters, "Execution": scope.execution, "Steps": scope.steps}
    if root not in roots:
        raise ExpressionError(f"Get {path}: must start with Parameters, Execution or Steps")
    return walk(roots[root], rest, f"Get {path}")


def _join(call, scope):
    return call.get("On", "").join(_text(resolve(value, scope)) for value in call["Values"])


def _text(value):
    if isinstance(value, (dict, list)) or value is None:
        raise ExpressionError(f"Std:Join: cannot join {json.dumps(value)}")
    return value if isinstance(value, str) else json.dumps(value)


def _json_get(call, scope):
    step, file = property_file(call)
    where = f"Std:JsonGet of property file '{file}' of step '{step}', path '{call['Path']}'"
    if (step, file) not in scope.files:
        raise ExpressionError(f"{where}: the step has not run")
    content = scope.files[step, file]
    if isinstance(content, ExpressionError):
        raise ExpressionError(f"{where}: {content}")
    path = call["Path"].removeprefix("$")
    value = walk(content, tokens(path), where)
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError(f"{where}: the value is {value}, not a number to decide on")
    return value


def property_file(call):
    """(step, property file) that a Std:JsonGet reads."""
    reference = call.get("PropertyFile", {}).get("Get", "")
    path = tokens(reference)
    if len(path) != 4 or path[0] != "Steps" or path[2] != "PropertyFiles":
        raise ExpressionError(
            "Std:JsonGet: PropertyFile must be {'Get': 'Steps.<step>.PropertyFiles.<name>'}"
        )
    return path[1], path[3]


FUNCTIONS = {"Get": _get, "Std:Join": _join, "Std:JsonGet": _json_get}


# Conditions


def holds(condition, scope):
    """Whether a condition is true; ExpressionError where its values cannot be compared."""
    kind = condition["Type"]
    if kind == "Not":
        return not holds(condition["Condition"], scope)
    if kind == "Or":
        return any([holds(part, scope) for part in condition["Conditions"]])
    if kind == "In":
        value = resolve(condition["QueryValue"], scope)
        return any(
            _same_kind(value, other, condition) and value == other
            for other in resolve(condition["Values"], scope)
        )
    left = resolve(condition["LeftValue"], scope)
    right = resolve(condition["RightValue"], scope)
    if kind == "Equals":
        return _same_kind(left, right, condition) and left == right
    for value, side in ((left, "LeftValue"), (right, "RightValue")):
        if not _is_number(value):
            raise ExpressionError(
                f"{kind}: {side} {shown(condition[side])} is {json.dumps(value)}, not a number"
            )
    return ORDER[kind](left, right)


ORDER = {
    "GreaterThan": lambda left, right: left > right,
    "GreaterThanOrEqualTo": lambda left, right: left >= right,
    "LessThan": lambda left, right: left < right,
    "LessThanOrEqualTo": lambda left, right: left <= right,
}
CONDITION_MEMBERS = {
    "Not": ("Condition",),
    "Or": ("Conditions",),
    "In": ("QueryValue", "Values"),
    "Equals": ("LeftValue", "RightValue"),
    **dict.fromkeys(ORDER, ("LeftValue", "RightValue")),
}


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _same_kind(left, right, condition):
    kinds = [
        "number" if _is_number(value) else type(value).__name__ if value is not None else "null"
        for value in (left, right)
    ]
    if kinds[0] != kinds[1] or kinds[0] not in ("number", "str", "bool"):
        raise ExpressionError(
            f"{condition['Type']}: cannot compare {json.dumps(left)} with {json.dumps(right)}"
        )
    return True


def shown(expression):
    """An expression in short, for messages."""
    function = function_of(expression)
    if function == "Get":
        return expression["Get"]
    if function == "Std:JsonGet":
        step, file = property_file(expression[function])
        return f"JsonGet({step}.{file}: {expression[function]['Path']})"
    return json.dumps(expression)
