"""Axes of a plot as SVG: round ticks, labels that never overlap, values as pixels.

The margins follow from the longest label, so that a label of any length has its place.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from sagemaker_project.tabular.report_html import escape, exponent, shortened
from sagemaker_project.tabular.table import Floats

Range: TypeAlias = tuple[float, float]

WIDTH, HEIGHT = 460, 320
TOP, BOTTOM = 14, 46  # pixels around the plot
CHARACTER = 7.0  # pixels of a digit of 11 pixels, in the widest of the fonts
GAP = 10.0  # pixels between two labels, at least
LARGEST = 1e300  # a value beyond it is drawn there: sums of larger ones are not finite
MAX_CURVE_POINTS = 400


def finite(values: "Floats | Sequence[float]") -> Floats:
    """Return the values as floats that can be added up."""
    return np.clip(np.asarray(values, dtype=np.float64), -LARGEST, LARGEST)


def main_range(values: Floats) -> Range:
    """Return the range of the values without the few that are far from all others."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    low, high = ordered[math.ceil(0.02 * last)], ordered[math.floor(0.98 * last)]
    reach = 1.5 * (high - low)
    if reach > 0:
        ordered = ordered[(ordered >= low - reach) & (ordered <= high + reach)]
    return float(ordered[0]), float(ordered[-1])


def ticks(low: float, high: float) -> list[float]:
    """Return two to nine round numbers that enclose the range."""
    smallest = 1e-9 * max(abs(low), abs(high))
    if high - low <= smallest:
        half = smallest * 1e8 or 0.5  # one value: a tenth of it to each side
        low, high = low - half, high + half
    span = high - low
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next((factor for factor in (1, 2, 5) if span / (step * factor) <= 7), 10)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Return the shortest texts that tell the ticks exactly."""
    step = values[1] - values[0]
    digits = next(
        (
            count
            for count in range(1, 17)
            if all(abs(float(f"{value:.{count}g}") - value) < step / 100 for value in values)
        ),
        17,
    )
    largest = max(map(abs, values))
    if largest >= 1e6 or step < 1e-4:
        return ["0" if value == 0 else exponent(f"{value:.{digits - 1}e}") for value in values]
    return [f"{float(f'{value:.{digits}g}'):,.12g}" for value in values]


class Axes:
    """Map values to the pixels of a plot, and draw its grid, labels and titles."""

    def __init__(
        self, x_range: Range, y_range: Range, x_title: str, y_title: str, whole: bool = False
    ) -> None:
        self.x_ticks, self.y_ticks = ticks(*x_range), ticks(*y_range)
        if whole:  # counts have no fractions
            self.y_ticks = [tick for tick in self.y_ticks if tick == round(tick)]
        self.x_range = self.x_ticks[0], self.x_ticks[-1]
        self.y_range = self.y_ticks[0], self.y_ticks[-1]
        self.x_title, self.y_title = x_title, y_title
        self.x_labels, self.y_labels = tick_labels(self.x_ticks), tick_labels(self.y_ticks)
        self.left = 28 + CHARACTER * max(map(len, self.y_labels))
        self.right = WIDTH - max(14.0, 4 + CHARACTER * len(self.x_labels[-1]) / 2)
        self.floor = HEIGHT - BOTTOM

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.floor - (value - low) / (high - low) * (self.floor - TOP)

    def line(self, start: Range, end: Range, kind: str) -> str:
        (x1, y1), (x2, y2) = start, end
        return (
            f'<line class="{kind}" x1="{self.x(x1):.1f}" y1="{self.y(y1):.1f}" '
            f'x2="{self.x(x2):.1f}" y2="{self.y(y2):.1f}"/>'
        )

    def upright(self, x: float, kind: str = "rule") -> str:
        return self.line((x, self.y_range[0]), (x, self.y_range[1]), kind)

    def level(self, y: float, kind: str = "rule") -> str:
        return self.line((self.x_range[0], y), (self.x_range[1], y), kind)

    def curve(self, xs: Floats, ys: Floats, kind: str) -> str:
        """Return a curve through the points, thinned to what can be seen."""
        keep = np.unique(np.linspace(0, len(xs) - 1, min(len(xs), MAX_CURVE_POINTS)).astype(int))
        points = " ".join(f"{self.x(xs[i]):.1f},{self.y(ys[i]):.1f}" for i in keep)
        return f'<polyline class="curve {kind}" points="{points}"/>'

    def draw(self, marks: Iterable[str], description: str) -> str:
        grid = [self.upright(x, "grid") for x in self.x_ticks]
        grid += [self.level(y, "grid") for y in self.y_ticks]
        return (
            f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(description)}">'
            + "".join([*grid, *self._labels(), *self._titles(), *marks])
            + "</svg>"
        )

    def _labels(self) -> list[str]:
        pairs = list(zip(self.x_ticks, self.x_labels, strict=True))
        texts = [
            f'<text x="{self.x(tick):.1f}" y="{self.floor + 16}" text-anchor="middle">'
            f"{label}</text>"
            for tick, label in pairs[:: self._every()]
        ]
        return texts + [
            f'<text x="{self.left - 7:.1f}" y="{self.y(tick) + 4:.1f}" text-anchor="end">'
            f"{label}</text>"
            for tick, label in zip(self.y_ticks, self.y_labels, strict=True)
        ]

    def _every(self) -> int:
        """Return n such that every n-th label of the x axis has enough room."""
        room = self.x(self.x_ticks[1]) - self.x(self.x_ticks[0])
        return math.ceil((CHARACTER * max(map(len, self.x_labels)) + GAP) / room)

    def _titles(self) -> list[str]:
        across, up = (self.left + self.right) / 2, (self.floor + TOP) / 2
        x_title = shortened(self.x_title, int((self.right - self.left) / 8))
        y_title = shortened(self.y_title, int((self.floor - TOP) / 8))
        return [
            f'<text class="title" x="{across:.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
            f"{escape(x_title)}</text>",
            f'<text class="title" x="12" y="{up:.1f}" text-anchor="middle" '
            f'transform="rotate(-90 12 {up:.1f})">{escape(y_title)}</text>',
        ]
