"""Fit one scikit-learn Pipeline, preprocessing and model together, and decide what was left open.

A category is one-hot encoded, the most frequent ones of a column and the rest as one. All else goes
in as numbers, NaN where there is no value, which gradient boosting handles by itself.

The validation split decides, and its rows are never fitted on: how many iterations are kept (those
with the lowest loss), whether rows are weighted so that all classes count the same, whether
probabilities are calibrated. Each decision is recorded with its reason.

The same data, seed and versions give the same model on any number of cores, because scikit-learn
sums up a histogram within one thread.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sagemaker_project.tabular import calibration, features
from sagemaker_project.tabular.calibration import Scaling
from sagemaker_project.tabular.parameters import Parameters
from sagemaker_project.tabular.schema import Schema
from sagemaker_project.tabular.scores import Scores, loss_of, scores
from sagemaker_project.tabular.table import BadInput, Floats, Integers, Table
from sagemaker_project.tabular.trivial import Trivial

if TYPE_CHECKING:
    from pandas import DataFrame
    from sklearn.pipeline import Pipeline

__all__ = ["fit"]

MAX_CATEGORIES = 64  # per column; the rarest ones beyond it are treated as one
ROWS_PER_LEAF = 40  # min_samples_leaf is at most a 40th of the rows
MIN_LEAF = 5  # rows
CURVE_ROWS = 10_000  # of the training split that the learning curve looks at
IMBALANCE = 3.0  # rows of the largest class for one of the smallest, from which weights are tried
BETTER = 0.01  # by how much the metric must rise for weights to be used
OF_LABELS = frozenset(  # metrics of the predicted label
    ("accuracy", "balanced_accuracy", "f1", "macro_f1", "precision", "recall")
)


class LearningCurve(NamedTuple):
    """The loss after each iteration, from the first; the first `best` iterations were kept."""

    metric: str
    train: tuple[float, ...]
    validation: tuple[float, ...]
    best: int


@dataclass(frozen=True)
class Fitted:
    """A model, and how it came about. `decisions` has a sentence for each thing that was decided.

    `trivial` is what a predictor that looks at no column knows of the label.

    The pipeline predicts numbers, or for classes their number in `classes`, which is also the
    order of its predict_proba.
    """

    pipeline: "Pipeline"
    classes: tuple[str, ...]
    parameters: Parameters
    learning_curve: LearningCurve
    rows: Mapping[str, int]
    metrics: Mapping[str, Scores]
    decisions: Mapping[str, str]
    trivial: Trivial
    scaling: Scaling | None = None


class Data(NamedTuple):
    """A split as the model takes it."""

    inputs: "DataFrame"
    target: "Floats | Integers"


class Boosted(NamedTuple):
    """A fitted pipeline, cut at its best iteration."""

    pipeline: "Pipeline"
    curve: LearningCurve


def fit(train: Table, validation: Table, schema: Schema, parameters: Parameters) -> Fitted:
    """Fit the model of a schema.

    Raises:
        BadInput: a label is missing, too large, of an unknown class, or does not fit the loss.
    """
    target, classes = _target(train, "train", schema)
    held_out, _ = _target(validation, "validation", schema, classes)
    chosen = _resolved(target, schema, parameters)
    splits = {
        "train": Data(features.inputs(train, schema), target),
        "validation": Data(features.inputs(validation, schema), held_out),
    }
    with np.errstate(all="ignore"):  # an overflow shows in the metrics
        boosted, weights = _weighted(splits, schema, chosen)
        decided = _decided_calibration(boosted, splits["validation"], schema, weights.weight)
        if decided.scaling:
            calibration.apply(decided.scaling, boosted.pipeline[-1])
        metrics = {name: _scores(boosted.pipeline, split, schema) for name, split in splits.items()}
    if not all(math.isfinite(value) for split in metrics.values() for value in split.values()):
        raise _too_large(schema)
    return Fitted(
        pipeline=boosted.pipeline,
        classes=classes,
        parameters=replace(chosen, class_weight=weights.weight),
        learning_curve=boosted.curve,
        rows={name: len(split.target) for name, split in splits.items()},
        metrics=metrics,
        decisions={
            "loss": f"{chosen.loss}, {'for this label' if parameters.loss == 'auto' else 'given'}",
            "iterations": _iterations_text(boosted.curve),
            "leaves": f"of {chosen.min_samples_leaf} rows or more",
            "class_weight": weights.text,
            "calibration": decided.text,
        },
        trivial=Trivial.of(target, len(classes)),
        scaling=decided.scaling,
    )


# Labels


def _target(
    table: Table, name: str, schema: Schema, classes: tuple[str, ...] = ()
) -> "tuple[Floats | Integers, tuple[str, ...]]":
    if not len(table):
        raise BadInput(f"{name}.csv: a header and 0 rows")
    try:
        target, found = features.target(table, schema, classes)
    except BadInput as error:
        raise BadInput(f"{name}.csv, {error}") from None
    if schema.problem == "regression" and not math.isfinite(_mean_square(target)):
        raise _too_large(schema)
    return target, found


def _mean_square(values: "Floats | Integers") -> float:
    with np.errstate(over="ignore"):
        return float(np.square(values).mean())


def _too_large(schema: Schema) -> BadInput:
    return BadInput(
        f"train.csv, column {schema.label!r}: its values are too large to square; rescale it"
    )


def _resolved(target: "Floats | Integers", schema: Schema, parameters: Parameters) -> Parameters:
    """Return the parameters with a loss that fits the label and leaves that fit the table."""
    loss = parameters.loss
    if loss == "auto":
        loss = _loss_of(target, schema)
    else:
        _check_loss(target, schema, loss)
    most = max(MIN_LEAF, len(target) // ROWS_PER_LEAF)
    return replace(parameters, loss=loss, min_samples_leaf=min(parameters.min_samples_leaf, most))


def _loss_of(target: "Floats | Integers", schema: Schema) -> str:
    """Return poisson for counts, squared_error for other numbers, log_loss for classes."""
    if schema.problem != "regression":
        return "log_loss"
    counts = target.min() >= 0 and target.max() > 0 and bool((target == np.floor(target)).all())
    return "poisson" if counts else "squared_error"


def _check_loss(target: "Floats | Integers", schema: Schema, loss: str) -> None:
    if (loss == "log_loss") != (schema.problem != "regression"):
        raise BadInput(
            f"--loss {loss} does not fit the problem {schema.problem!r} of schema.json; "
            "use --loss auto"
        )
    lowest = float(target.min())
    if loss == "gamma" and lowest <= 0 or loss == "poisson" and (lowest < 0 or target.max() == 0):
        rule = "all above 0" if loss == "gamma" else "0 or more, and not all 0"
        raise BadInput(
            f"train.csv, column {schema.label!r}: its lowest value is {lowest:g}, and --loss "
            f"{loss} needs labels {rule}; use --loss squared_error"
        )


# Model


def build(schema: Schema, parameters: Parameters, empty: Collection[str] = ()) -> "Pipeline":
    """Return the unfitted Pipeline, from the inputs of `features.inputs` to predictions.

    Neither the loss nor the class weight may be auto. `empty` are the inputs that have no number
    in the training split; gradient boosting fails on them, so they are taken for 0.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    # A missing category is the category ""; an unknown one counts as a rare one, or as none.
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MAX_CATEGORIES, sparse_output=False
    )
    wanted = features.input_names(schema)
    texts = [one.name for one in wanted if one.is_text]
    numbers = [one.name for one in wanted if not one.is_text and one.name not in empty]
    columns = [(f"one-hot {i}", one_hot, [name]) for i, name in enumerate(texts)]
    columns += [("numbers", "passthrough", numbers)] if numbers else []
    zero = SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)
    columns += [("empty", zero, list(empty))] if empty else []
    settings = {
        "learning_rate": parameters.learning_rate,
        "max_iter": parameters.max_iter,
        "max_leaf_nodes": parameters.max_leaf_nodes,
        "min_samples_leaf": parameters.min_samples_leaf,
        "l2_regularization": parameters.l2_regularization,
        "max_features": parameters.max_features,
        "early_stopping": False,  # of scikit-learn takes rows from the training split
        "random_state": parameters.seed,
    }
    if schema.problem == "regression":
        model = HistGradientBoostingRegressor(loss=parameters.loss, **settings)
    else:
        weight = "balanced" if parameters.class_weight == "balanced" else None
        model = HistGradientBoostingClassifier(class_weight=weight, **settings)
    return Pipeline([("columns", ColumnTransformer(columns)), ("model", model)])


def _boosted(splits: Mapping[str, Data], schema: Schema, parameters: Parameters) -> Boosted:
    """Fit all iterations and keep the first ones, up to the lowest validation loss."""
    train, validation = splits["train"], splits["validation"]
    empty = [name for name in train.inputs if train.inputs[name].isna().all()]
    pipeline = build(schema, parameters, empty).fit(train.inputs, train.target)
    step = -(-len(train.target) // CURVE_ROWS)
    sample = Data(train.inputs.iloc[::step], train.target[::step])
    weigh = _weigher(train.target, parameters)
    seen = _curve(pipeline, sample, parameters.loss, weigh)
    held_out = _curve(pipeline, validation, parameters.loss, weigh)
    best = int(np.argmin(held_out)) + 1
    model = pipeline[-1]
    del model._predictors[best:]
    model.set_params(max_iter=best)
    return Boosted(pipeline, LearningCurve(parameters.loss, seen, held_out, best))


def _weigher(
    target: "Floats | Integers", parameters: Parameters
) -> "Callable[[Floats | Integers], Floats | None]":
    """Return the function from labels to their rows' weights, None where all count the same."""
    if parameters.class_weight != "balanced":
        return lambda labels: None
    counts = np.bincount(target.astype(np.int64))
    by_class = len(target) / (len(counts) * counts)
    return lambda labels: by_class[labels.astype(np.int64)]


def _curve(
    pipeline: "Pipeline",
    split: Data,
    loss: str,
    weigh: "Callable[[Floats | Integers], Floats | None]",
) -> tuple[float, ...]:
    """Return the loss after each iteration."""
    model, inputs = pipeline[-1], pipeline[0].transform(split.inputs)
    staged = model.staged_predict_proba if loss == "log_loss" else model.staged_predict
    weights = weigh(split.target)
    losses = [loss_of(loss, split.target, answers, weights) for answers in staged(inputs)]
    most = np.finfo(np.float64).max  # stands for what overflowed: JSON has neither inf nor NaN
    return tuple(np.nan_to_num(losses, nan=most, posinf=most).tolist())


def _iterations_text(curve: LearningCurve) -> str:
    return (
        f"{curve.best} of {len(curve.validation)}: the lowest validation {curve.metric}, "
        f"{curve.validation[curve.best - 1]:.6g}"
    )


def _scores(pipeline: "Pipeline", split: Data, schema: Schema) -> Scores:
    answer = pipeline.predict if schema.problem == "regression" else pipeline.predict_proba
    return scores(schema.problem, split.target, answer(split.inputs))


# Classes


class Weights(NamedTuple):
    """What was decided: balanced or none, and a sentence."""

    weight: str
    text: str


def _weighted(
    splits: Mapping[str, Data], schema: Schema, parameters: Parameters
) -> tuple[Boosted, Weights]:
    """Fit with the class weight that was given, or the one that is better on validation."""

    def boosted(weight: str) -> Boosted:
        return _boosted(splits, schema, replace(parameters, class_weight=weight))

    if schema.problem == "regression":
        return boosted("none"), Weights("none", "none: there are no classes")
    if parameters.class_weight != "auto":
        weight = parameters.class_weight
        return boosted(weight), Weights(weight, f"{weight}, given")
    plain = boosted("none")
    counts = np.bincount(splits["train"].target.astype(np.int64))
    ratio = counts.max() / counts.min()
    name = schema.metric.name
    if ratio < IMBALANCE:
        return plain, Weights(
            "none", f"none: the largest class has {ratio:.1f}x the smallest's rows"
        )
    if name == "log_loss":
        return plain, Weights("none", "none: weights make log_loss worse")
    balanced = boosted("balanced")
    before, after = (
        _scores(one.pipeline, splits["validation"], schema).get(name, 0.0)
        for one in (plain, balanced)
    )
    compared = f"validation {name} {after:.4f} with balanced weights, {before:.4f} without"
    if after < before + BETTER:
        return plain, Weights("none", f"none: {compared}")
    return balanced, Weights("balanced", f"balanced: {compared}")


def _decided_calibration(
    boosted: Boosted, validation: Data, schema: Schema, weight: str
) -> calibration.Calibration:
    if schema.problem == "regression":
        return calibration.Calibration(None, "none: there are no probabilities")
    if weight == "balanced" and schema.metric.name in OF_LABELS:
        return calibration.Calibration(
            None,
            "not calibrated: with balanced weights, probabilities are those of classes of equal "
            f"size, which {schema.metric.name} is better with",
        )
    inputs = boosted.pipeline[0].transform(validation.inputs)
    raw = boosted.pipeline[-1].decision_function(inputs)
    raw = raw.reshape(len(validation.target), -1)
    return calibration.decide(raw, validation.target.astype(np.int64))
