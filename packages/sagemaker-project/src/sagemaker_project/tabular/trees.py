"""A fitted Pipeline as plain numbers: what serving evaluates, for one row and for many.

`export_trees` reads the numbers from scikit-learn (one-hot encoding, the fill of a missing value,
the trees, the link) and returns what trees.json holds. `Trees` evaluates it: a few rows as compiled
Python (compiled.py), more as leaf masks (masks.py). Scikit-learn spends nearly all of its time for
a few rows on a data frame. `prove` shows that the answers are those of Pipeline.predict or
predict_proba, bit for bit; training keeps trees.json only then.

    {"sources": [{"name": "sex", "codes": {"F": [1, 0], "M": [0, 1]}, "unseen": [0, 0]},
                 {"name": "length", "fill": 0.5}],               # null: NaN goes where a node says
     "link": "log", "baseline": [2.3],
     "trees": [[[1, 0.5, -0.1, [0, 0.5, 0.2, 0.3]], ...]]}       # of each class

A node is [input, threshold, left, right], and with a fifth member true where a missing value goes
to the left; a threshold null is above every number.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sagemaker_project.tabular.compiled import compile_trees
from sagemaker_project.tabular.masks import (
    Category,
    Columns,
    Leaf,
    LeafMasks,
    Node,
    Number,
    Source,
    Tree,
)
from sagemaker_project.tabular.table import Floats

if TYPE_CHECKING:
    import pandas

Value: TypeAlias = "float | str"

LINKS = {  # scikit-learn's class of a link
    "IdentityLink": "identity",
    "LogLink": "log",
    "LogitLink": "logit",
    "MultinomialLogit": "softmax",
}
UNSEEN = " "  # no category is blank: they are trimmed
FEW_ROWS = 4  # up to here compiled trees are faster than masks
FEW_TREES = 20_000  # rows times trees: up to here compiled trees are faster than scikit-learn's
MANY_ROWS, MANY_COLUMNS = 256, 250  # beyond both scikit-learn is faster than masks
EXTREMES = (math.nan, 0.0, -1e300, 1e300)
ON_THRESHOLDS = 200  # thresholds that the proof tries
PROOF_ROWS = 20_000  # of a frame
ONE_BY_ONE = 20  # rows of the proof that also go alone


class Codes(dict[Any, int]):
    """The code of each category; of an unknown one the last."""

    def __missing__(self, text: Any) -> int:
        return len(self)


class Trees:
    """The trees of a trees.json, for columns in the order of `names`."""

    def __init__(self, content: Mapping[str, Any], names: Sequence[str]) -> None:
        self.names = tuple(names)
        sources = _sources(content["sources"])
        self.sources = tuple(sorted(sources, key=lambda one: self.names.index(one.name)))
        if tuple(one.name for one in self.sources) != self.names:
            raise ValueError(f"trees.json has not the inputs {', '.join(self.names)}")
        trees = [[_tree(one) for one in ones] for ones in content["trees"]]
        self.count = sum(map(len, trees))
        self.link = _link(content["link"])
        self.score = compile_trees(self.sources, trees, content["baseline"])
        self.masks: LeafMasks | None
        try:
            self.masks = LeafMasks(self.sources, trees, content["baseline"])
        except ValueError:
            self.masks = None

    @property
    def are_enough(self) -> bool:
        """Whether any number of rows is faster here than through the Pipeline."""
        return self.masks is not None and len(self.masks.tables) <= MANY_COLUMNS

    def takes(self, rows: int) -> bool:
        """Whether so many rows are faster here than through the Pipeline."""
        return (
            self.are_enough or (self.masks is not None and rows <= MANY_ROWS) or self.are_few(rows)
        )

    def are_few(self, rows: int) -> bool:
        """Whether so many rows are for `few`."""
        if self.score is None:
            return False
        return rows <= FEW_ROWS or (self.masks is None and rows * self.count <= FEW_TREES)

    def one(self, values: Sequence[Value]) -> Floats:
        """Return the prediction of a row, of shape (1,), or its probabilities, (1, classes)."""
        return self.few([values])

    def few(self, rows: Sequence[Sequence[Value]]) -> Floats:
        """Return predictions of shape (rows,), or probabilities (rows, classes).

        A category is its text; a number is a float, NaN where it is missing.
        """
        if self.score is None:
            return self.many(self.columns(turned(rows)))
        return self.link(np.array([self.score(*row) for row in rows], order="F"))

    def many(self, columns: Columns) -> Floats:
        """Return what `few` does, for columns; a category is the code of its text.

        Raises:
            ValueError: there are no masks; the Pipeline is faster.
        """
        if self.masks is None:
            raise ValueError(f"{len(columns[0])} rows are for the Pipeline")
        return self.link(self.masks.raw(columns).T)

    def columns(self, values: "Sequence[Sequence[Value] | Floats]") -> Columns:
        """Return columns of floats and texts as `many` takes them."""
        return [
            np.asarray(column, np.float64)
            if isinstance(source, Number)
            else np.array(list(map(source.codes.__getitem__, column)), np.intp)
            for source, column in zip(self.sources, values, strict=True)
        ]


def turned(rows: Sequence[Sequence[Value]]) -> list[tuple[Value, ...]]:
    return list(zip(*rows, strict=True))


def _sources(content: Sequence[Mapping[str, Any]]) -> list[Source]:
    found: list[Source] = []
    first = 0
    for one in content:
        if "codes" in one:
            codes = Codes({str(text): number for number, text in enumerate(one["codes"])})
            rows = [tuple(map(float, row)) for row in (*one["codes"].values(), one["unseen"])]
            found.append(Category(str(one["name"]), first, len(rows[-1]), codes, rows))
            first += len(rows[-1])
        else:
            fill = math.nan if one["fill"] is None else float(one["fill"])
            found.append(Number(str(one["name"]), first, fill))
            first += 1
    return found


def _tree(content: Any) -> Tree:
    if not isinstance(content, list):
        return Leaf(float(content))
    column, threshold, left, right, *missing_left = content
    limit = math.inf if threshold is None else float(threshold)
    return Node(int(column), limit, _tree(left), _tree(right), missing_left == [True])


# From raw scores (rows, classes) to answers, as scikit-learn does it


def _link(name: str) -> Callable[[Floats], Floats]:
    if name == "logit":
        # Another expit may differ in the last digit.
        from scipy.special import expit

        def probabilities(raw: Floats) -> Floats:
            found = np.empty((len(raw), 2))
            found[:, 1] = expit(raw[:, 0])
            found[:, 0] = 1 - found[:, 1]
            return found

        return probabilities
    known: dict[str, Callable[[Floats], Floats]] = {
        "identity": lambda raw: raw[:, 0],
        "log": lambda raw: np.exp(raw[:, 0]),
        "softmax": _softmax,
    }
    return known[name]


def _softmax(raw: Floats) -> Floats:
    """Columns lie one after another in memory, as scikit-learn's: the sum depends on it."""
    found = np.array(raw, order="F")
    found -= found.max(1)[:, None]
    np.exp(found, found)
    found /= found.sum(1)[:, None]
    return found


# Export


def export_trees(pipeline: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the content of trees.json for a fitted Pipeline of a ColumnTransformer and trees.

    `names` are the columns of the data frame that the Pipeline takes.

    Raises:
        ValueError: the Pipeline has something that trees.json cannot say.
    """
    transformer, model = pipeline[0], pipeline[-1]
    if len(pipeline) != 2 or getattr(model, "_preprocessor", None) is not None:
        raise ValueError("the Pipeline is not a ColumnTransformer and a model of plain trees")
    sources: list[dict[str, Any]] = []
    for _, step, columns in transformer.transformers_:
        sources += _exported_sources(step, list(columns))
    if {one["name"] for one in sources} != set(names):
        raise ValueError(f"the Pipeline does not take the columns {', '.join(names)}")
    trees = [
        [_nested(tree.nodes, 0) for tree in ones] for ones in zip(*model._predictors, strict=True)
    ]
    return {
        "sources": sources,
        "link": LINKS[type(model._loss.link).__name__],
        "baseline": model._baseline_prediction.ravel().tolist(),
        "trees": trees,
    }


def _exported_sources(step: Any, columns: list[str]) -> list[dict[str, Any]]:
    import pandas

    if not columns or (isinstance(step, str) and step == "drop"):
        return []
    if hasattr(step, "categories_"):
        if len(columns) != 1:
            raise ValueError("a one-hot encoder has several columns")
        texts = list(step.categories_[0])
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"column {columns[0]!r} has a category that is not a text")
        *rows, unseen = step.transform(pandas.DataFrame({columns[0]: [*texts, UNSEEN]})).tolist()
        codes = dict(zip(texts, rows, strict=True))
        return [{"name": columns[0], "codes": codes, "unseen": unseen}]
    nothing = pandas.DataFrame(np.full((1, len(columns)), np.nan), columns=columns)
    fills = np.asarray(step.transform(nothing), np.float64)[0].tolist()
    return [
        {"name": name, "fill": None if math.isnan(fill) else fill}
        for name, fill in zip(columns, fills, strict=True)
    ]


def _nested(nodes: Any, index: int) -> Any:
    node = nodes[index]
    if node["is_leaf"]:
        return float(node["value"])
    if node["is_categorical"]:
        raise ValueError("a tree splits a category by itself, not by its one-hot inputs")
    threshold = float(node["num_threshold"])
    found = [
        int(node["feature_idx"]),
        None if math.isinf(threshold) else threshold,
        _nested(nodes, int(node["left"])),
        _nested(nodes, int(node["right"])),
    ]
    return [*found, True] if node["missing_go_to_left"] else found


# Proof


def prove(content: Mapping[str, Any], pipeline: Any, frame: "pandas.DataFrame") -> int:
    """Compare the trees with the Pipeline, for rows of `frame` and edge rows; return their number.

    Edge rows have missing, unknown and extreme values, and values on a threshold. All rows go
    through the masks and the compiled trees; some go one by one, because numpy may add up the
    probabilities of a single row in another order.

    Raises:
        ValueError: an answer is not the Pipeline's, bit for bit.
    """
    trees = Trees(json.loads(json.dumps(content, allow_nan=False)), list(frame.columns))
    given = frame.head(PROOF_ROWS)
    rows = [*zip(*(given[name].tolist() for name in trees.names), strict=True)]
    rows += [*_edge_rows(rows[0]), *_threshold_rows(rows[0], trees, content["trees"])]
    predict = pipeline.predict_proba if hasattr(pipeline, "predict_proba") else pipeline.predict
    expected = predict(_frame(rows, trees))
    if trees.masks is None and trees.score is None:
        raise ValueError("the trees are too large for masks and for compiled Python")
    if trees.masks:
        _compare(trees.many(trees.columns(turned(rows))), expected)
    if trees.score:
        _compare(trees.few(rows), expected)
    for row in rows[:: 1 + len(rows) // ONE_BY_ONE]:
        single = predict(_frame([row], trees))
        _compare(trees.one(row), single)
        if trees.masks:
            _compare(trees.many(trees.columns(turned([row]))), single)
    return len(rows)


def _frame(rows: Sequence[Sequence[Value]], trees: Trees) -> "pandas.DataFrame":
    import pandas

    return pandas.DataFrame(dict(zip(trees.names, map(list, turned(rows)), strict=True)))


def _compare(found: Floats, expected: npt.NDArray[Any]) -> None:
    if found.shape != expected.shape:
        raise ValueError(f"predictions of shape {found.shape}, the Pipeline's {expected.shape}")
    differing = (found != expected).reshape(len(found), -1).any(1)
    if count := int(differing.sum()):
        raise ValueError(f"{count} of {len(found)} predictions differ from the Pipeline's")


def _edge_rows(row: tuple[Value, ...]) -> list[tuple[Value, ...]]:
    """Return rows with missing values, unknown categories and extreme numbers."""
    found: list[tuple[Value, ...]] = []
    for index, value in enumerate(row):
        others: tuple[Value, ...] = ("", UNSEEN) if isinstance(value, str) else EXTREMES
        found += [(*row[:index], other, *row[index + 1 :]) for other in others]
    return [*found, tuple("" if isinstance(value, str) else math.nan for value in row)]


def _threshold_rows(
    row: tuple[Value, ...], trees: Trees, content: Sequence[Sequence[Any]]
) -> list[tuple[Value, ...]]:
    """Return rows with a number that is on a threshold, and the next number above it."""
    places = {one.first: n for n, one in enumerate(trees.sources) if isinstance(one, Number)}
    cuts = sorted({cut for ones in content for tree in ones for cut in _cuts(tree)})
    found: list[tuple[Value, ...]] = []
    for column, cut in cuts[:: 1 + len(cuts) // ON_THRESHOLDS]:
        if (place := places.get(column)) is not None:
            for value in (cut, float(np.nextafter(cut, math.inf))):
                found.append((*row[:place], value, *row[place + 1 :]))
    return found


def _cuts(tree: Any) -> Iterator[tuple[int, float]]:
    if isinstance(tree, list):
        if tree[1] is not None:
            yield tree[0], tree[1]
        yield from _cuts(tree[2])
        yield from _cuts(tree[3])
