"""Objects of a JSON file, whose members are taken one by one: a mistake says where it is."""

import json
import math
from collections.abc import Sequence
from typing import Any


class SchemaError(ValueError):
    """A mistake in schema.json. The message is one line."""


def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise SchemaError(f"{name!r} is duplicated")
        found[name] = value
    return found


class JsonObject:
    """An object of the file: its members are taken one by one, and none may be left."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise SchemaError(f"{where or 'the file'} is {shown(value)}, wanted an object")
        self.members, self.where, self.known = dict(value), where, list[str]()

    def at(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def take(self, name: str, kind: type, otherwise: Any = None) -> Any:
        """Return a member and remove it.

        Raises:
            SchemaError: it is of another type, or is missing and `otherwise` is None.
        """
        self.known.append(name)
        if name not in self.members:
            if otherwise is None:
                raise SchemaError(f"{self.at(name)} is missing; wanted {_WORDS[kind]}")
            return otherwise
        value = self.members.pop(name)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < 2**1023 else math.inf
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise SchemaError(f"{self.at(name)} is {shown(value)}, wanted {_WORDS[kind]}")
        if isinstance(value, float) and not math.isfinite(value):
            raise SchemaError(f"{self.at(name)} is {value}, wanted a finite number")
        return value

    def one_of(self, name: str, choices: Sequence[str], otherwise: str | None = None) -> str:
        value: str = self.take(name, str, otherwise)
        if value not in choices:
            listed = ", ".join(map(repr, choices))
            raise SchemaError(f"{self.at(name)} is {value!r}, wanted one of {listed}")
        return value

    def texts(self, name: str, otherwise: Sequence[str] = ()) -> tuple[str, ...]:
        values = self.take(name, list, list(otherwise))
        for value in values:
            if not isinstance(value, str):
                raise SchemaError(f"{self.at(name)} has {shown(value)}, wanted texts")
        if len(set(values)) != len(values):
            raise SchemaError(f"{self.at(name)} has a text twice")
        return tuple(values)

    def end(self) -> None:
        if self.members:
            name = next(iter(self.members))
            known = ", ".join(self.known)
            raise SchemaError(f"{self.at(name)} is not known here; wanted one of {known}")


_WORDS: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
