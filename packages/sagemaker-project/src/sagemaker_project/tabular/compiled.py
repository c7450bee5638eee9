"""Trees as one Python function: the fastest way for a few rows.

Each tree becomes a conditional expression. The source is made from numbers only (through int and
float), so that the file with the trees cannot inject code. The trees are summed one after another
from the baseline, as scikit-learn does, which gives the same last digit.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from sagemaker_project.tabular.masks import Leaf, Number, Source, Tree

Score: TypeAlias = Callable[..., "tuple[float, ...]"]

MAX_DEPTH = 60  # of an expression: Python's parser has a limit
MAX_LEAVES = 30_000  # beyond them the function takes seconds to compile


def compile_trees(
    sources: Sequence[Source], trees: Sequence[Sequence[Tree]], baseline: Sequence[float]
) -> Score | None:
    """Return a function from a row's values, in the order of the sources, to its raw scores.

    A value is a float, NaN where missing, or the text of a category. None where the trees are too
    deep or too many to be compiled.
    """
    shapes = [_shape(tree) for tree_of_class in trees for tree in tree_of_class]
    if max(depth for _, depth in shapes) > MAX_DEPTH or sum(n for n, _ in shapes) > MAX_LEAVES:
        return None
    used: set[int] = set()
    sums = [
        [f"total{k} = {float(start)!r}", *(f"total{k} += {_source(one, used)}" for one in ones)]
        for k, (start, ones) in enumerate(zip(baseline, trees, strict=True))
    ]
    scope: dict[str, Any] = {}
    lines: list[str] = []
    for index, source in enumerate(sources):
        if isinstance(source, Number):
            if source.first in used:
                fill, value = source.fill, f"v{index}"
                filled = f"{fill!r} if {value} != {value} else {value}"
                lines.append(f"x{source.first} = {value if math.isnan(fill) else filled}")
        elif wanted := [i for i in range(source.width) if source.first + i in used]:
            rows = [tuple(row[i] for i in wanted) for row in source.rows]
            scope[f"codes{index}"] = {text: rows[code] for text, code in source.codes.items()}
            scope[f"unseen{index}"] = rows[-1]
            targets = "".join(f"x{source.first + i}, " for i in wanted)
            lines.append(f"{targets} = codes{index}.get(v{index}, unseen{index})")
    lines += [line for one in sums for line in one]
    lines.append(f"return {''.join(f'total{k}, ' for k in range(len(sums)))}")
    names = ", ".join(f"v{index}" for index in range(len(sources)))
    source_code = f"def score({names}):\n" + "".join(f"    {line}\n" for line in lines)
    exec(compile(source_code, "trees.json", "exec"), scope)
    score: Score = scope["score"]
    return score


def _shape(tree: Tree, depth: int = 0) -> tuple[int, int]:
    """Return the number of leaves and the depth."""
    if isinstance(tree, Leaf):
        return 1, depth
    leaves, left = _shape(tree.left, depth + 1)
    more, right = _shape(tree.right, depth + 1)
    return leaves + more, max(left, right)


def _source(tree: Tree, used: set[int]) -> str:
    if isinstance(tree, Leaf):
        return repr(float(tree.value))
    value = f"x{int(tree.input)}"
    used.add(int(tree.input))
    left, right = _source(tree.left, used), _source(tree.right, used)
    if math.isinf(tree.threshold):  # only a missing value can go to the right
        test = "True" if tree.missing_left else f"{value} == {value}"
    elif tree.missing_left:  # a comparison with NaN is false
        test = f"not {value} > {float(tree.threshold)!r}"
    else:
        test = f"{value} <= {float(tree.threshold)!r}"
    return f"({left} if {test} else {right})"
