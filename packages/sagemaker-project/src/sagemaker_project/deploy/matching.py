"""Whether what AWS has is what was asked for."""

import math
from typing import Any

TOLERANCE = 1e-6  # AWS keeps weights as 32-bit numbers


def matches(wanted: Any, found: Any) -> bool:
    """Whether `found` says all that `wanted` says; tags and what `wanted` leaves out may differ."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(
            name == "Tags" or (name in found and matches(value, found[name]))
            for name, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(found, list):
        pairs = zip(wanted, found, strict=False)
        return len(wanted) == len(found) and all(matches(a, b) for a, b in pairs)
    if isinstance(wanted, float) and isinstance(found, int | float):
        return math.isclose(wanted, found, rel_tol=TOLERANCE)
    return bool(wanted == found)
