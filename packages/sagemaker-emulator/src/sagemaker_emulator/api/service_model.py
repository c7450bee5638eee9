"""AWS's own description of SageMaker, as botocore ships it, put to work on the server side.

`check` compares a request with its shape: what is required, types, enums, lengths, patterns and
ranges. boto3 checks neither a maximum length nor a pattern on the client, so without AWS this is
the only place where such a mistake shows. Messages and paths are formed as AWS forms them.

`answer` reduces a stored document to the members of an output shape. A missing required one is a
fault of this package, reported as such instead of being sent.
"""

import functools
import re
import string
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Protocol

from sagemaker_emulator.api.documents import Json
from sagemaker_emulator.errors import AwsError, invalid

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "boolean": bool,
    "timestamp": (int, float, str),
    "structure": dict,
    "map": dict,
    "list": list,
}
NUMBERS = ("integer", "long", "float", "double")

# The model's patterns are Java's. Python's `re` has no \p{L}, so a string is first folded to
# ASCII by the Unicode category of each character, and the classes become ASCII ones.
FOLDED = {"L": "a", "M": "b", "N": "0", "P": ".", "S": "+", "Z": " "}
CLASSES = {
    r"\p{L}": "a-zA-Z",
    r"\p{M}": "b",
    r"\p{N}": "0-9",
    r"\p{P}": re.escape("!\"#%&'()*,-./:;?@[\\]_{}"),
    r"\p{S}": re.escape("$+<=>^`|~"),
    r"\p{Z}": " ",
    r"\p{Alnum}": "a-zA-Z0-9",
    # Java reads these four as two surrogate pairs: every character beyond the basic plane.
    r"\uD800\uDC00-\uDBFF\uDFFF": "\U00010000-\U0010ffff",
}


class Shape(Protocol):
    """botocore's description of a type; what it has beside the first four depends on the type."""

    name: str
    type_name: str
    metadata: Mapping[str, Any]
    enum: Sequence[str]

    required_members: Sequence[str]  # structure
    members: Mapping[str, "Shape"]
    member: "Shape"  # list
    key: "Shape"  # map
    value: "Shape"


class OperationModel(Protocol):
    input_shape: Shape | None
    output_shape: Shape | None


class Service(Protocol):
    operation_names: Sequence[str]

    def operation_model(self, name: str) -> OperationModel: ...
    def shape_for(self, name: str) -> Shape: ...


@functools.cache
def service() -> Service:
    from botocore.loaders import Loader  # a tenth of a second, and the server starts without it
    from botocore.model import ServiceModel

    model: Service = ServiceModel(Loader().load_service_model("sagemaker", "service-2"))
    return model


@functools.cache
def partition(region: str) -> str:
    """Return the partition of a region, the second word of its ARNs: aws, aws-cn, ..."""
    from botocore.loaders import Loader

    partitions = Loader().load_data("partitions")["partitions"]
    return next((p["id"] for p in partitions if re.match(p["regionRegex"], region)), "aws")


def operation(name: str) -> OperationModel:
    return service().operation_model(name)


def shape(name: str) -> Shape:
    return service().shape_for(name)


def check(shape: Shape, value: Json) -> None:
    """Raise AwsError where a request does not fit its shape."""
    errors = list(_errors(shape, value, ""))
    if errors:
        plural = "error" if len(errors) == 1 else "errors"
        raise invalid(f"{len(errors)} validation {plural} detected: {'; '.join(errors)}")


def _errors(shape: Shape, value: Json, path: str) -> Iterator[str]:
    kind = shape.type_name
    wrong = not isinstance(value, TYPES[kind])
    if wrong or (isinstance(value, bool) and kind != "boolean"):
        raise AwsError(
            "SerializationException",
            f"Value at '{path or 'request'}' must be a {kind}, but is {_shown(value)}",
        )
    if kind == "structure":
        yield from _structure_errors(shape, value, path)
        return
    yield from (_error(value, path, rule) for rule in _broken_rules(shape, value))
    if kind == "timestamp":
        moment(value, path)
    if kind == "list":
        for number, item in enumerate(value, 1):
            yield from _errors(shape.member, item, f"{path}.{number}.member")
    if kind == "map":
        for key, item in value.items():
            yield from _errors(shape.key, key, f"{path}.{key}.key")
            yield from _errors(shape.value, item, f"{path}.{key}.member")


def _broken_rules(shape: Shape, value: Json) -> Iterator[str]:
    """Yield the rules of a shape on size, pattern and enum that a value breaks."""
    kind, rules = shape.type_name, shape.metadata
    low, high, pattern = rules.get("min"), rules.get("max"), rules.get("pattern")
    unit, size = ("value", value) if kind in NUMBERS else ("length", None)
    if kind in ("string", "list", "map"):
        size = len(value)
    if size is not None and low is not None and size < low:
        yield f"have {unit} greater than or equal to {low}"
    if size is not None and high is not None and size > high:
        yield f"have {unit} less than or equal to {high}"
    if pattern and kind == "string" and not matches(pattern, value):
        yield f"satisfy regular expression pattern: {pattern}"
    if kind == "string" and shape.enum and value not in shape.enum:
        yield f"satisfy enum value set: [{', '.join(shape.enum)}]"


def _structure_errors(shape: Shape, value: Json, path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield _error(None, _below(path, name), "not be null")
    for name, item in value.items():
        if name not in shape.members:
            near = ", ".join(shape.members)
            yield f"Unknown member '{_below(path, name)}': {shape.name} has {near}"
        elif item is not None:
            yield from _errors(shape.members[name], item, _below(path, name))


def _below(path: str, name: str) -> str:
    name = name[0].lower() + name[1:]
    return f"{path}.{name}" if path else name


def _error(value: Json, path: str, rule: str) -> str:
    return f"Value {_shown(value)} at '{path}' failed to satisfy constraint: Member must {rule}"


def _shown(value: Json) -> str:
    if value is None:
        return "null"
    text = str(value)
    return f"'{text if len(text) <= 300 else text[:300] + '...'}'"


def matches(pattern: str, text: str) -> bool:
    """Return whether a text matches a pattern of the service model."""
    return bool(_compiled(pattern).fullmatch(_fold(text) if "\\p{" in pattern else text))


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for java, python in CLASSES.items():
        pattern = pattern.replace(java, python)
    # "...${1,256}" is a mistake in the model: lengths have rules of their own.
    return re.compile(re.sub(r"\$\{1,\d+\}$", "", pattern))


def _fold(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c if c in string.printable else _category(c) for c in text)


def _category(character: str) -> str:
    return FOLDED.get(unicodedata.category(character)[0], "\0")


def moment(value: str | float, path: str = "timestamp") -> float:
    """Return a timestamp of a request (seconds, or ISO 8601) as seconds since 1970."""
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise AwsError(
                "SerializationException", f"Value at '{path}' is not a timestamp: {_shown(value)}"
            ) from None
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()
    return float(value)


def answer(shape: Shape, value: Json, path: str = "") -> Json:
    """Reduce a value to what a shape has; RuntimeError where a required member is missing."""
    if value is None:
        return None
    if shape.type_name == "structure":
        path = f"{path}.{shape.name}"
        missing = [name for name in shape.required_members if value.get(name) is None]
        if missing:
            raise RuntimeError(f"the answer{path} lacks {', '.join(missing)}")
        return {
            name: answer(shape.members[name], item, path)
            for name, item in value.items()
            if name in shape.members and item is not None
        }
    if shape.type_name == "list":
        return [answer(shape.member, item, path) for item in value]
    if shape.type_name == "map":
        return {key: answer(shape.value, item, path) for key, item in value.items()}
    return value
