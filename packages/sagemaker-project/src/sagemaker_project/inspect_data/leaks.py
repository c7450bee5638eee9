"""A column that alone gives the label away, such as one that was written after the label was known.

Only what is as good as certain is told: each value of the column has one value of the label (and
there are many rows to a value), numbers that one cut a class sorts by it, or numbers whose order
is the order of the label.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

ROWS = 2000  # of the sample: more would make it no surer
FEWEST = 50  # rows: what fits fewer may do so by chance
MISTAKES = 0.005  # of the smallest class
SAME_ORDER = 0.999  # rank correlation
REPEATED = 5  # rows to a value


def some(cells: Sequence[str]) -> Sequence[str]:
    """Return as many cells as are looked at, from all over the sample."""
    return cells[:: -(-len(cells) // ROWS)]


def gives_away(cells: Sequence[str], labels: Sequence[str], problem: str) -> bool:
    """Whether a column of texts gives the label away."""
    pairs = _pairs(cells, labels)
    if len(pairs) < FEWEST or len(pairs) < REPEATED * len({cell for cell, _ in pairs}):
        return False
    if problem == "regression" and len({label for _, label in pairs}) > len(pairs) / REPEATED:
        return False
    by_cell: dict[str, Counter[str]] = defaultdict(Counter)
    for cell, label in pairs:
        by_cell[cell][label] += 1
    mistakes = sum(found.total() - max(found.values()) for found in by_cell.values())
    return mistakes <= MISTAKES * min(Counter(label for _, label in pairs).values())


def numbers_give_away(values: Sequence[float], labels: Sequence[str]) -> bool:
    """Whether numbers sort the classes: one after the other, with no overlap."""
    pairs = sorted(zip(values, labels, strict=True))
    rows = Counter(label for _, label in pairs)
    if len(pairs) < FEWEST or len(rows) < 2 or min(rows.values()) < REPEATED:
        return False
    sums: Counter[str] = Counter()
    for place, (_, label) in enumerate(pairs):
        sums[label] += place
    first = sorted(rows, key=lambda label: sums[label] / rows[label])
    mistakes = at = 0
    for label in first:
        block = pairs[at : at + rows[label]]
        mistakes += sum(one != label for _, one in block)
        at += rows[label]
    # Equal numbers of two classes are no cut between them.
    ends = [sum(rows[label] for label in first[: n + 1]) for n in range(len(first) - 1)]
    ties = any(pairs[end - 1][0] == pairs[end][0] for end in ends)
    return not ties and mistakes <= MISTAKES * min(rows.values())


def orders(values: Sequence[float], labels: Sequence[float]) -> bool:
    """Whether numbers have the order of the numbers of the label, or the reverse."""
    if len(values) < FEWEST:
        return False
    return abs(_correlation(_ranks(values), _ranks(labels))) >= SAME_ORDER


def _pairs(cells: Sequence[str], labels: Sequence[str]) -> list[tuple[str, str]]:
    pairs = zip(some(cells), some(labels), strict=True)
    return [(cell.strip(), label.strip()) for cell, label in pairs if label.strip()]


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value; equal ones have the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or values[order[end]] != values[order[start]]:
            for row in order[start:end]:
                ranks[row] = (start + end - 1) / 2
            start = end
    return ranks


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    n = len(one)
    mean, mean_other = sum(one) / n, sum(other) / n
    together = sum((a - mean) * (b - mean_other) for a, b in zip(one, other, strict=True))
    spread = sum((a - mean) ** 2 for a in one) * sum((b - mean_other) ** 2 for b in other)
    return float(together / spread**0.5) if spread else 0.0
