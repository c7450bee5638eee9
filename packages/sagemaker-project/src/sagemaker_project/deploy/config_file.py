"""Read a settings file and check its shapes: first as JSON, then against config.schema.json.

Python's JSON reader accepts more than JSON: duplicated keys, NaN and 1e400 are refused here.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagemaker_project.deploy.config_types import Finding, shown
from sagemaker_project.errors import UsageError
from sagemaker_project.usage import near

if TYPE_CHECKING:  # jsonschema is slow to import
    from jsonschema import ValidationError, Validator

SCHEMA = Path(__file__).with_name("config.schema.json")
MAX_CHARACTERS = 100_000
MAX_HINT = 250  # characters; the list of all instance types would not be a hint
NOT_HERE = {
    "ModelName": "deploy-model names the models; ModelPackageVersion chooses another version",
    "ModelNameOverride": "all pools serve the model of their variant",
    "EndpointName": "deploy-model names the endpoint after the project and the stage",
    "EndpointConfigName": "deploy-model names it after the version and what it holds",
    "ExecutionRoleArn": "the role is an option of deploy-model, not a setting of a stage",
}


def load(path: Path) -> dict[str, Any]:
    """Return the content of a settings file whose shapes are right; raise UsageError otherwise."""
    content: dict[str, Any] = _parse(_text(path))
    _check_structure(content)
    return content


# JSON


class _Object(dict[str, Any]):
    """A JSON object that knows which of its keys are duplicated."""

    duplicated: Collection[str] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        found.duplicated = [key for key, count in counts.items() if count > 1]
    return found


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"it cannot be read ({reason}): every stage has its own file") from None
    if data.startswith(b"\xef\xbb\xbf"):
        raise UsageError("it begins with a byte order mark: save it as UTF-8 without BOM")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"byte {error.start + 1} is not UTF-8: save it as UTF-8") from None
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"{len(text):,} characters are too many: at most {MAX_CHARACTERS:,}")
    return text


def _parse(text: str) -> Any:
    try:
        content = json.loads(text, object_pairs_hook=_object)
        for where, reason in _unusable(content, ""):
            raise UsageError(f"{where}: {reason}" if where else reason)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"it is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise UsageError("it is nested too deeply") from None
    except ValueError:  # Python refuses integers of more than 4,300 digits
        raise UsageError("a number in it has too many digits") from None
    return content


def _unusable(value: Any, where: str) -> Iterator[Finding]:
    """Find what Python's JSON reader accepts although it is not JSON, or not usable as text."""
    if isinstance(value, dict):
        for key in getattr(value, "duplicated", ()):
            yield where, f"the key {shown(key)} is duplicated: leave one of them out"
        for key, member in value.items():
            yield from _unusable(member, f"{where}.{_plain(key)}".removeprefix("."))
    elif isinstance(value, list):
        for position, member in enumerate(value):
            yield from _unusable(member, f"{where}[{position}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield where, "NaN, Infinity and numbers beyond 1e308 are not JSON: a number is wanted"
    elif isinstance(value, int) and abs(value) >= 2**63:
        yield where, "the number is too large"
    elif isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        yield where, f"{shown(value)} has half of a surrogate pair: write the whole character"


# Structure

WANTED = {
    "object": "an object {...}",
    "array": "a list [...]",
    "string": "text in quotes",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def _check_structure(content: Any) -> None:
    errors = _validator().iter_errors(content)
    # A misspelt key first: what is missing or of a wrong type may only follow from it.
    first = min(errors, key=lambda error: error.validator != "additionalProperties", default=None)
    if first is not None:
        where = _place(first.absolute_path)
        raise UsageError(f"{where}: {_sentence(first)}" if where else _sentence(first))


@cache
def _validator() -> "Validator":
    # Importing it takes half the time of `deploy-model --help`, which does not need it.
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(
        _: object, pattern: str, text: object, schema: object
    ) -> "Iterator[ValidationError]":
        # jsonschema searches, and $ would accept a line break at the end.
        if isinstance(text, str) and not re.fullmatch(pattern, text):
            yield ValidationError("")

    def is_integer(_: object, value: object) -> bool:
        # 2.0 is an integer in JSON Schema, but not for boto3.
        return isinstance(value, int) and not isinstance(value, bool)

    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer)
    extended = validators.extend(  # type: ignore[no-untyped-call]  # its stub has no types
        Draft202012Validator, {"pattern": pattern}, type_checker=checker
    )
    validator: Validator = extended(json.loads(SCHEMA.read_text()))
    return validator


def _place(steps: Iterable[str | int]) -> str:
    """Return a path in the file as text, such as ProductionVariants[0].InstanceType."""
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return place.removeprefix(".")


def _sentence(error: "ValidationError") -> str:
    """Say what is wanted and what was found, for an error of jsonschema."""
    schema: Any = error.schema
    value: Any = error.instance
    limit: Any = error.validator_value
    found = f"{shown(value)} was found"
    match error.validator:
        case "additionalProperties":
            key = next(key for key in value if key not in schema["properties"])
            if key in NOT_HERE:
                return f"{key} is not a setting: {NOT_HERE[key]}"
            return f"there is no setting {shown(key)}. {_hint(key, schema['properties'])}"
        case "required":
            missing = [key for key in limit if key not in value]
            return f"{' and '.join(missing)} must be given"
        case "type":
            return f"{WANTED[limit]} is wanted, {found}{_quotes(schema, value)}"
        case "enum":
            return f"{found}. {_hint(value, [str(name) for name in limit])}"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return f"{_range(schema)} is wanted, {found}"
        case "minItems" | "maxItems":
            wanted = _between(schema.get("minItems", 0), schema.get("maxItems"))
            return f"{wanted} entries are wanted, {len(value)} were found"
        case "minLength" | "maxLength":
            wanted = _between(schema.get("minLength", 0), schema.get("maxLength"))
            return f"{wanted} characters are wanted, {len(value):,} were found"
        case _:
            pattern = limit.removeprefix("^(?:").removesuffix(")$")
            return f"{found}, which is not of the form {pattern.strip('^$')}"


def _quotes(schema: dict[str, Any], value: object) -> str:
    kind = schema["type"]
    if kind == "string" and isinstance(value, int):
        return ": put it in quotes, because a number loses its leading zeros"
    if isinstance(value, str) and value.strip().lower() in ("true", "false") and kind == "boolean":
        return ": without quotes, in small letters"
    if isinstance(value, str) and kind in ("integer", "number") and value.strip().isdecimal():
        return ": without quotes"
    return ""


def _range(schema: dict[str, Any]) -> str:
    if "exclusiveMinimum" in schema:
        limit = f" and at most {schema['maximum']:,}" if "maximum" in schema else ""
        return f"more than {schema['exclusiveMinimum']}{limit}"
    if "exclusiveMaximum" in schema:
        return f"{schema['minimum']} or more and less than {schema['exclusiveMaximum']}"
    return _between(schema["minimum"], schema.get("maximum"))


def _between(least: float, most: float | None) -> str:
    return f"{least:,} to {most:,}" if most is not None else f"at least {least:,}"


def _hint(name: Any, names: Collection[str]) -> str:
    hint = near(f"ml.{name}" if f"ml.{name}" in names else name, names)
    return hint if len(hint) <= MAX_HINT else f"{SCHEMA.name} lists them."


def _plain(key: str) -> str:
    return key if re.fullmatch(r"[\w$-]{1,60}", key, re.ASCII) else shown(key)
