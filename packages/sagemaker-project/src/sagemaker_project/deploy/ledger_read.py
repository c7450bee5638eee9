"""Find out which entries of a ledger are intact. Pure: look.py has read the objects.

An entry proves its own content by its Sha256, and the entry before it by its Previous. A tag of the
endpoint proves the last one. So the entries are examined from the last to the first: where two in a
row do not fit, the later one is proven and the earlier one was replaced. The entry before a damaged
one is proven by its own Sha256 only.

A SetAside entry takes a damaged one out of the ledger, as long as its object stays what it was when
it was set aside. It proves nothing then, and neither does an entry that is set aside itself.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sagemaker_project.deploy.ledger import VERSION, Entry, Head, Ledger, encode

REQUIRED = {"Version", "Number", "Previous", "Kind", "Time", "By", "Sha256"}
KINDS = {  # and what else an entry of each kind has at least
    "Started": {"Action", "Deployment"},
    "Promoted": {"Action", "Deployment"},
    "RolledBack": {"Action", "Deployment", "Leaves"},
    "Failed": {"Action", "Deployment"},
    "Tested": {"Test"},
    "CleanedUp": {"Deleted"},
    "SetAside": {"Entry", "FoundSha256", "Reason"},
}


@dataclass(frozen=True)
class Damage:
    """An entry that is not what was written, or several in a row that are missing.

    Args:
        key: of its object.
        why: what is wrong with it.
        found_sha256: of the bytes of its object, '' where there is none.
        last: the number of the last one of several that are missing, else its own.
        newer: whether it is intact, but a newer version of this package wrote it.
    """

    number: int
    key: str
    why: str
    found_sha256: str
    last: int
    newer: bool = False

    def described(self) -> dict[str, int | str]:
        """Return the damage as the results of `deploy-model` list it."""
        return {"Entry": self.number, "Key": self.key, "Why": self.why}


class Examined(NamedTuple):
    """The ledger of the intact entries, the damage, and the keys that are no entries at all."""

    ledger: Ledger
    damage: tuple[Damage, ...]
    strays: tuple[str, ...] = ()


class _Decoded(NamedTuple):
    """An entry that is intact in itself, or None, and what is wrong with it."""

    entry: Entry | None
    why: str = ""


def examine(objects: Mapping[int, bytes], head: Head | None, key: Callable[[int], str]) -> Examined:
    """Return what is intact and what is not.

    Args:
        objects: by the number in their keys.
        head: the last entry as the endpoint's tag names it; the ledger may be longer.
        key: returns the key of a number.
    """
    decoded = {number: _decoded(body, number) for number, body in objects.items()}
    end = _end(decoded, head)
    intact: dict[int, Entry] = {}
    aside: dict[int, str] = {}  # {number: FoundSha256 of its last SetAside entry}
    damage: list[Damage] = []
    for number in sorted((n for n in objects if 1 <= n <= end), reverse=True):
        found = hashlib.sha256(objects[number]).hexdigest()
        entry, why = decoded[number]
        newer = entry is not None and bool(why)
        if number in aside:
            entry, newer = None, False
            why = "" if aside[number] == found else "it was changed after it had been set aside"
        elif entry and (misfit := _misfit(entry, intact.get(number + 1), head)):
            why, newer = misfit, False
        if why:
            damage.append(Damage(number, key(number), why, found, number, newer))
        elif entry:
            intact[number] = entry
            if entry["Kind"] == "SetAside":
                aside.setdefault(entry["Entry"], entry["FoundSha256"])
    known = {n for n in objects if 1 <= n <= end} | {n for n, sha in aside.items() if not sha}
    for first, last in _gaps(known, end):
        others = f", and so are those after it up to {last}" if last > first else ""
        damage.append(Damage(first, key(first), f"it is missing{others}", "", last))
    damage.sort(key=lambda one: one.number)
    damaged_end = None
    if end not in intact:
        damaged_end = Head(end, head.sha256 if head and head.number == end else "")
    ledger = Ledger(tuple(intact[n] for n in sorted(intact)), damaged_end)
    strays = tuple(key(n) for n in sorted(objects) if not 1 <= n <= end)
    return Examined(ledger, tuple(damage), strays)


def _end(decoded: Mapping[int, _Decoded], head: Head | None) -> int:
    """Return the number of the last entry, which may be damaged or missing.

    An object that is no entry and whose number does not follow another one's is none of the ledger.
    """
    end = max([number for number, found in decoded.items() if found.entry], default=0)
    end = max(end, head.number if head else 0)
    while end + 1 in decoded:
        end += 1
    return end


def _decoded(body: bytes, number: int) -> _Decoded:
    """Return the entry that an object holds, if it is intact in itself."""
    try:
        entry = json.loads(body)
        if not isinstance(entry, dict) or not isinstance(entry.get("Version"), int):
            return _Decoded(None, "it is not a ledger entry")
        why, newer = _problem(entry, number, body), ""
        if entry["Version"] > VERSION:
            newer = (
                f"it was written by a newer version of this project (format {entry['Version']},"
                f" this one reads {VERSION}): update the checkout that deploys"
            )
        if why:
            return _Decoded(None, f"{newer}; or it was changed: {why}" if newer else why)
        return _Decoded(entry, newer)
    except RecursionError:
        return _Decoded(None, "it is nested too deeply")
    except ValueError as error:
        return _Decoded(None, f"it is not JSON ({error})")


def _problem(entry: Entry, number: int, body: bytes) -> str:
    """Return what is wrong with an entry in itself; empty if nothing is."""
    if missing := REQUIRED - set(entry):
        return f"it lacks {', '.join(sorted(missing))}"
    if encode(entry) != body:
        return "its Sha256 does not match its content"
    if entry["Number"] != number:
        return f"it is entry {entry['Number']} in the place of another one"
    if entry["Version"] > VERSION:
        return ""
    if entry["Kind"] not in KINDS:
        return f"its Kind is {entry['Kind']!r}"
    if missing := KINDS[entry["Kind"]] - set(entry):
        return f"it lacks {', '.join(sorted(missing))}"
    return ""


def _misfit(entry: Entry, after: Entry | None, head: Head | None) -> str:
    """Return why an entry does not belong where it is; empty if it does or nothing says so."""
    number = entry["Number"]
    if number == 1 and entry["Previous"]:
        return "it does not begin a ledger"
    proof, by = (after["Previous"], f"entry {number + 1}") if after else ("", "")
    if head and head.number == number:
        proof, by = head.sha256, "the tag of the endpoint"
    if head and head.number == number - 1 and entry["Previous"] != head.sha256:
        return f"it does not follow the entry {head.number} that the tag of the endpoint names"
    return f"it was replaced: {by} names another one" if by and entry["Sha256"] != proof else ""


def _gaps(numbers: Iterable[int], end: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of the numbers in 1 to `end` that are not among `numbers`."""
    expected = 1
    for number in [*sorted(numbers), end + 1]:
        if number > expected:
            yield expected, number - 1
        expected = number + 1
