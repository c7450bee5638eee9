"""All trees for many rows at once, in numpy: leaf masks (QuickScorer, in its exact form).

A tree's leaves are numbered from left to right, and a word has a bit for each. A node that sends a
row to the left takes away the leaves on its right, and the other way round; the lowest bit that all
nodes leave is the row's leaf. That needs no walk from node to node, which numpy could not do.

A column is cut at all thresholds that the trees have for it, and for each interval a row of a
table has the words of all trees. So a column costs one searchsorted, one take of whole table rows
and one AND. A missing number is an interval of its own (searchsorted puts NaN last), and the
one-hot inputs of a category are one table with a row per category.

Leaves are summed in the trees' own order, so the last digit is scikit-learn's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from sagemaker_project.tabular.table import Floats

Words: TypeAlias = "npt.NDArray[Any]"  # unsigned integers of one width
Columns: TypeAlias = "Sequence[npt.NDArray[Any]]"  # numbers as float64, categories as codes

WORDS = (  # leaves, type, de Bruijn number, shift: the place of a single bit
    (8, np.uint8, 0x1D, 5),
    (16, np.uint16, 0x09AF, 12),
    (32, np.uint32, 0x077CB531, 27),
    (64, np.uint64, 0x03F79D71B4CB0A89, 58),
)
MAX_TABLE_BYTES = 64 * 2**20
AT_ONCE = 256  # rows: their words stay in the processor's cache


class Leaf(NamedTuple):
    value: float


class Node(NamedTuple):
    """Rows with `input` <= `threshold` go to the left."""

    input: int
    threshold: float
    left: "Tree"
    right: "Tree"
    missing_left: bool


Tree: TypeAlias = "Leaf | Node"


class Number(NamedTuple):
    """A column that is one input of the trees; NaN becomes `fill`, which may be NaN."""

    name: str
    first: int  # number of the input
    fill: float


class Category(NamedTuple):
    """A column of text that is `width` inputs; `rows[codes[text]]` are their values.

    The last row is that of an unknown text.
    """

    name: str
    first: int
    width: int
    codes: Mapping[str, int]
    rows: Sequence[tuple[float, ...]]


Source: TypeAlias = "Number | Category"


class _Split(NamedTuple):
    """A node as the words see it."""

    input: int
    threshold: float
    missing_left: bool
    tree: int
    to_left: int  # the leaves that are still there on the left
    to_right: int


class LeafMasks:
    """The raw scores of many rows.

    `trees[k][i]` is tree i of class k (of a regression and a binary class there is one k).

    Raises:
        ValueError: a tree has more than 64 leaves, or the tables would take over 64 MB.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        trees: Sequence[Sequence[Tree]],
        baseline: Sequence[float],
    ) -> None:
        self.classes, self.trees = len(trees), sum(map(len, trees))
        ordered = [tree for iteration in zip(*trees, strict=True) for tree in iteration]
        leaves = [list(_leaves(tree)) for tree in ordered]
        most = max(map(len, leaves))
        found = [word for word in WORDS if word[0] >= most]
        if not found:
            raise ValueError(f"a tree has {most} leaves, and at most {WORDS[-1][0]} fit a word")
        width, kind, number, shift = found[0]
        self.number, self.shift = kind(number), kind(shift)
        # A leaf's value stands where its bit, multiplied and shifted, points to.
        place = [((1 << bit) * number & (1 << width) - 1) >> shift for bit in range(width)]
        values = np.zeros((len(ordered), width))
        for row, tree_leaves in zip(values, leaves, strict=True):
            row[place[: len(tree_leaves)]] = tree_leaves
        self.values = values.ravel()
        self.baseline = np.array(baseline, np.float64)
        self.offsets = (np.arange(len(ordered)) * width)[:, None]
        every = np.array([(1 << len(one)) - 1 for one in leaves], kind)
        by_input: dict[int, list[_Split]] = {}
        for t, tree in enumerate(ordered):
            for split in _splits(tree, t, len(leaves[t])):
                by_input.setdefault(split.input, []).append(split)
        every = np.array([(1 << len(one)) - 1 for one in leaves], kind)
        self.tables = _tables(sources, by_input, every)

    def raw(self, columns: Columns) -> Floats:
        """Return the scores of shape (classes, rows) of columns in the order of the sources."""
        count = len(columns[0])
        parts = [
            self._part([column[start : start + AT_ONCE] for column in columns])
            for start in range(0, count, AT_ONCE)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, 1)

    def _part(self, columns: Columns) -> Floats:
        masks = self._masks(columns)
        # Of the bits that are left the lowest is the leaf.
        np.multiply(masks, self.number, masks)
        np.right_shift(masks, self.shift, masks)
        rows = masks.shape[1]
        scores = np.empty((len(masks) // self.classes + 1, self.classes, rows))
        scores[0] = self.baseline[:, None]
        leaves = np.add(masks, self.offsets, dtype=np.intp, casting="unsafe")
        self.values.take(leaves, None, scores[1:].reshape(len(masks), rows), "clip")
        # Over a slow axis numpy adds one after another. The only axis would be summed in pairs;
        # accumulate, which is slower, never is.
        if self.classes * rows == 1:
            last: Floats = np.add.accumulate(scores, 0)[-1]
            return last
        total: Floats = np.add.reduce(scores, 0)
        return total

    def _masks(self, columns: Columns) -> Words:
        """Return the words that are left, of shape (trees, rows)."""
        found: Words | None = None
        for table in self.tables:
            column = columns[table.column]
            rows = column if table.keys is None else table.keys.searchsorted(column, "right")
            if found is None:
                found = table.words.take(rows, 0)
                other = np.empty_like(found)
            else:
                table.words.take(rows, 0, other, "clip")
                np.bitwise_and(found, other, found)
        if found is None:  # no tree has a node
            found = np.ones((len(columns[0]), self.trees), self.number.dtype)
        left: Words = found.T
        return left


def _leaves(tree: Tree) -> Iterator[float]:
    if isinstance(tree, Leaf):
        yield tree.value
    else:
        yield from _leaves(tree.left)
        yield from _leaves(tree.right)


def _splits(tree: Tree, number: int, leaves: int) -> list[_Split]:
    """Return the nodes of a tree; the leaves are bits, from left to right."""
    found: list[_Split] = []
    every = (1 << leaves) - 1

    def walk(node: Tree, first: int) -> int:
        """Add the nodes below, and return the number of the leaf after theirs."""
        if isinstance(node, Leaf):
            return first + 1
        middle = walk(node.left, first)
        last = walk(node.right, middle)
        to_left = every & ~((1 << last) - (1 << middle))
        to_right = every & ~((1 << middle) - (1 << first))
        split = (node.input, node.threshold, node.missing_left, number, to_left, to_right)
        found.append(_Split(*split))
        return last

    walk(tree, 0)
    return found


def _inputs(source: Source) -> range:
    width = source.width if isinstance(source, Category) else 1
    return range(source.first, source.first + width)


@dataclass(frozen=True)
class _Table:
    """`words[interval]` of a column; `keys` are the upper ends, None for a category's codes."""

    column: int
    keys: Floats | None
    words: Words


def _tables(
    sources: Sequence[Source], splits: Mapping[int, Sequence[_Split]], every: Words
) -> list[_Table]:
    """Return the tables of the columns that the trees look at.

    Raises:
        ValueError: they would take over 64 MB.
    """
    found = []
    size = 0
    for column, source in enumerate(sources):
        used = [i for i in _inputs(source) if i in splits]
        if not used:
            continue
        if isinstance(source, Category):
            intervals = len(source.rows)
        else:
            intervals = 2 + len({one.threshold for one in splits[source.first]})
        size += intervals * every.nbytes
        if size > MAX_TABLE_BYTES:
            raise ValueError(f"the tables would take over {MAX_TABLE_BYTES:,} bytes")
        if isinstance(source, Category):
            found.append(_Table(column, None, _category_words(source, splits, used, every)))
        else:
            found.append(_number_table(column, source.fill, splits[source.first], every))
    return found


def _category_words(
    source: Category, splits: Mapping[int, Sequence[_Split]], used: Sequence[int], every: Words
) -> Words:
    words = np.tile(every, (len(source.rows), 1))
    for i in used:
        cuts, part = _cut(splits[i], every)
        values = [row[i - source.first] for row in source.rows]
        words &= part[np.searchsorted(cuts, values)]
    return words


def _number_table(column: int, fill: float, splits: Sequence[_Split], every: Words) -> _Table:
    cuts, words = _cut(splits, every)
    if math.isnan(fill):
        missing = every.copy()
        for one in splits:
            missing[one.tree] &= one.to_left if one.missing_left else one.to_right
    else:
        missing = words[np.searchsorted(cuts, fill)]
    # x <= cut is x < the next float: with side="right" NaN gets a row of its own.
    keys = np.append(np.nextafter(cuts, np.inf), np.nan)
    return _Table(column, keys, np.vstack([words, missing]))


def _cut(splits: Sequence[_Split], every: Words) -> tuple[Floats, Words]:
    """Return the thresholds of an input and the words of the intervals between them."""
    cuts = sorted({one.threshold for one in splits})
    ranks = {cut: rank for rank, cut in enumerate(cuts)}
    words = np.tile(every, (len(cuts) + 1, 1))
    for one in splits:
        rank = ranks[one.threshold] + 1
        words[:rank, one.tree] &= one.to_left
        words[rank:, one.tree] &= one.to_right
    return np.array(cuts), words
