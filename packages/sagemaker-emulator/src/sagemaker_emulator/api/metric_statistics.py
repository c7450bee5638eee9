"""CloudWatch's statistics of the values of a metric."""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

Values = Mapping[float, float]  # {value: number of times}
SIMPLE = ("SampleCount", "Sum", "Minimum", "Maximum", "Average")
PERCENTILE = re.compile(r"p(100(\.0{1,10})?|\d{1,2}(\.\d{1,10})?)")


def unknown(names: Iterable[str]) -> list[str]:
    """Return the names that are neither simple statistics nor percentiles, such as tm99."""
    return [name for name in names if name not in SIMPLE and not PERCENTILE.fullmatch(name)]


def statistic(name: str, values: Values) -> float:
    """Return a statistic of CloudWatch, which may be a percentile such as p99.5."""
    number = sum(values.values())
    total = sum(value * count for value, count in values.items())
    simple = {
        "SampleCount": number,
        "Sum": total,
        "Minimum": min(values),
        "Maximum": max(values),
        "Average": total / number,
    }
    if name in simple:
        return simple[name]
    rank = float(Fraction(name.removeprefix("p")) * Fraction(number) / 100)  # rounded only once
    seen = 0.0
    for value in sorted(values):
        seen += values[value]
        if seen >= rank:
            return value
    return max(values)
