"""Training: what is decided on the validation split, and what is refused."""

import argparse
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sagemaker_project.tabular import calibration, features, parameters, training
from sagemaker_project.tabular.parameters import Parameters
from sagemaker_project.tabular.table import BadInput
from test_tabular_features import make
from threadpoolctl import threadpool_limits

ROWS = 400
QUICK = Parameters(max_iter=30)


@pytest.fixture(autouse=True)
def one_thread():
    """Keep tests that run beside each other from waiting for each other's threads."""
    with threadpool_limits(1):
        yield


def tables(label, problem="regression", rows=ROWS, metric=None, seed=0, **schema):
    """Return train, validation and schema of a label made by `label(x, sex, random)`."""
    random = np.random.default_rng(seed)
    x, noise = random.normal(size=rows), random.normal(size=rows)
    sex = random.choice(["F", "M", ""], rows)
    x_seen = np.where(random.random(rows) < 0.1, np.nan, x)
    columns = {"x": x_seen.tolist(), "noise": noise.tolist(), "sex": sex.tolist()}
    columns["y"] = label(x, sex, random)
    table, made = make(columns, problem=problem, **schema)
    if metric:
        made = replace(made, metric=replace(made.metric, name=metric))
    cut = rows * 3 // 4
    return table.take(slice(0, cut)), table.take(slice(cut, rows)), made


def counts(x, sex, random):
    return random.poisson(np.exp(1 + 0.5 * x + (sex == "F"))).astype(float).tolist()


def two_classes(x, sex, random):
    return np.where(x + (sex == "F") + random.normal(size=len(x)) > 0.5, "yes", "no").tolist()


def three_classes(x, sex, random):
    return np.digitize(x + 0.5 * random.normal(size=len(x)), [-0.5, 0.5]).astype(float).tolist()


def rare(x, sex, random):
    return np.where(x + 0.7 * random.normal(size=len(x)) > 2, "yes", "no").tolist()


BINARY = {"problem": "binary", "positive": "yes"}


@pytest.mark.parametrize(
    ("label", "schema", "loss", "metric"),
    [
        (counts, {}, "poisson", "mse"),
        (lambda x, sex, random: (x - 1).tolist(), {}, "squared_error", "mse"),
        (two_classes, BINARY, "log_loss", "log_loss"),
        (
            three_classes,
            {"problem": "multiclass", "types": {"y": "integer"}},
            "log_loss",
            "log_loss",
        ),
    ],
)
def test_a_model_of_each_problem_beats_the_trivial_one(label, schema, loss, metric):
    train, validation, schema = tables(label, **schema)
    fitted = training.fit(train, validation, schema, QUICK)
    target, _ = features.target(train, schema)
    if metric == "mse":
        trivial = float(target.var())
    else:
        shares = np.bincount(target) / len(target)
        trivial = float(-(shares * np.log(shares)).sum())
    assert fitted.parameters.loss == loss
    assert fitted.metrics["validation"][metric] < 0.85 * trivial
    assert set(fitted.metrics) == {"train", "validation"}
    assert fitted.metrics["validation"].keys() >= {schema.metric.name}


def test_iterations_are_those_of_the_lowest_validation_loss():
    train, validation, schema = tables(counts)
    wild = replace(QUICK, learning_rate=0.5, max_iter=60)
    fitted = training.fit(train, validation, schema, wild)
    curve = fitted.learning_curve
    assert len(curve.train) == len(curve.validation) == 60
    assert curve.validation[curve.best - 1] == min(curve.validation)
    assert curve.best < 60
    fewer = training.build(schema, replace(fitted.parameters, max_iter=curve.best))
    inputs = features.inputs(train, schema)
    fewer.fit(inputs, features.target(train, schema)[0])
    assert (fewer.predict(inputs) == fitted.pipeline.predict(inputs)).all()
    assert fitted.pipeline[-1].n_iter_ == fitted.pipeline[-1].max_iter == curve.best


def test_what_is_fitted_on_is_the_training_split_alone():
    train, validation, schema = tables(counts)
    other = tables(counts, seed=1)[1]
    one, two = (
        training.fit(train, rows, schema, replace(QUICK, max_iter=1))
        for rows in (validation, other)
    )
    inputs = features.inputs(train, schema)
    assert (one.pipeline.predict(inputs) == two.pipeline.predict(inputs)).all()


def test_the_model_is_the_same_on_any_number_of_cores(tmp_path):
    program = (
        "import test_tabular_training as t, hashlib\n"
        "train, validation, schema = t.tables(t.rare, rows=600, **t.BINARY)\n"
        "fitted = t.training.fit(train, validation, schema, t.replace(t.QUICK, max_iter=5))\n"
        "answers = fitted.pipeline.predict_proba(t.features.inputs(train, schema))\n"
        "print(hashlib.sha256(answers.tobytes()).hexdigest(), fitted.learning_curve.validation)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ
            | {"OMP_NUM_THREADS": cores, "OMP_WAIT_POLICY": "passive"}
            | {"PYTHONPATH": os.path.dirname(__file__)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for cores in ("1", "2")
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("loss", "problem", "shift", "message"),
    [
        ("poisson", "regression", -5, "needs labels 0 or more, and not all 0; use --loss squared"),
        ("gamma", "regression", 0, "--loss gamma needs labels all above 0"),
        ("log_loss", "regression", 0, "does not fit the problem 'regression'"),
    ],
)
def test_a_loss_that_cannot_fit_is_refused(loss, problem, shift, message):
    train, validation, schema = tables(lambda *of: [one + shift for one in counts(*of)], problem)
    with pytest.raises(BadInput) as error:
        training.fit(train, validation, schema, replace(QUICK, loss=loss))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_regression_loss_is_refused_for_classes():
    train, validation, schema = tables(two_classes, **BINARY)
    with pytest.raises(BadInput, match="use --loss auto"):
        training.fit(train, validation, schema, replace(QUICK, loss="poisson"))


@pytest.mark.parametrize("loss", ["gamma", "absolute_error"])
def test_other_losses_are_taken(loss):
    train, validation, schema = tables(lambda *of: [one + 1 for one in counts(*of)])
    fitted = training.fit(train, validation, schema, replace(QUICK, loss=loss))
    assert fitted.parameters.loss == fitted.learning_curve.metric == loss


def test_labels_too_large_to_square_are_refused():
    train, validation, schema = tables(lambda x, sex, random: (x * 1e200).tolist())
    with pytest.raises(BadInput, match="column 'y': its values are too large to square"):
        training.fit(train, validation, schema, QUICK)


def test_a_split_without_rows_is_refused():
    train, validation, schema = tables(counts)
    with pytest.raises(BadInput, match="validation.csv: a header and 0 rows"):
        training.fit(train, validation.take(slice(0, 0)), schema, QUICK)


def test_columns_without_values_or_of_extreme_ones_do_no_harm():
    train, validation, schema = tables(counts)
    columns = dict(train.columns) | {
        "x": np.full(len(train), math.nan),
        "noise": np.where(train.numbers("noise") > 0, 1.7e308, -1.7e308),
    }
    fitted = training.fit(replace(train, columns=columns), validation, schema, QUICK)
    assert np.isfinite(fitted.pipeline.predict(features.inputs(validation, schema))).all()


def test_leaves_are_smaller_on_a_small_table():
    train, validation, schema = tables(counts, rows=200)
    fitted = training.fit(train, validation, schema, QUICK)
    assert fitted.parameters.min_samples_leaf == training.MIN_LEAF
    assert "of 5 rows or more" in fitted.decisions["leaves"]


# Class weights


@pytest.mark.parametrize(
    ("given", "metric", "found", "why"),
    [
        ("auto", "balanced_accuracy", "balanced", "balanced: validation balanced_accuracy"),
        ("auto", "log_loss", "none", "make log_loss worse"),
        ("none", "balanced_accuracy", "none", "given"),
        ("balanced", "auc", "balanced", "given"),
    ],
)
def test_class_weights_are_used_where_they_help(given, metric, found, why):
    train, validation, schema = tables(rare, rows=1200, metric=metric, **BINARY)
    fitted = training.fit(train, validation, schema, replace(QUICK, class_weight=given))
    assert fitted.parameters.class_weight == found
    assert why in fitted.decisions["class_weight"]


def test_class_weights_are_not_tried_for_classes_of_like_size():
    train, validation, schema = tables(two_classes, **BINARY)
    fitted = training.fit(train, validation, schema, QUICK)
    assert fitted.parameters.class_weight == "none"
    assert "x the smallest's rows" in fitted.decisions["class_weight"]


# Calibration


def test_balanced_weights_are_calibrated_away_for_a_metric_of_probabilities():
    train, validation, schema = tables(rare, rows=1200, metric="auc", **BINARY)
    settings = replace(QUICK, class_weight="balanced")
    fitted = training.fit(train, validation, schema, settings)
    answers = fitted.pipeline.predict_proba(features.inputs(validation, schema))
    share = features.target(validation, schema)[0].mean()
    assert (
        fitted.scaling and "calibrated on the validation split" in fitted.decisions["calibration"]
    )
    assert abs(answers[:, 1].mean() - share) < 0.02  # before: about a third


def test_calibration_is_left_out_where_it_would_undo_the_weights():
    train, validation, schema = tables(rare, rows=1200, metric="balanced_accuracy", **BINARY)
    fitted = training.fit(train, validation, schema, QUICK)
    assert fitted.scaling is None
    assert "not calibrated: with balanced weights" in fitted.decisions["calibration"]


@pytest.mark.parametrize("classes", [2, 3])
def test_scaling_is_found_again_and_applied_inside_of_the_classifier(classes):
    random = np.random.default_rng(0)
    scores = random.normal(size=(4000, classes)) * 2
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    actual = (random.random(4000)[:, None] > chances.cumsum(axis=1)).sum(axis=1)
    raw = scores[:, 1:] - scores[:, :1] if classes == 2 else scores
    found = calibration.decide(raw * 3 + 1, actual).scaling
    assert found and found.scale == pytest.approx(1 / 3, rel=0.1)
    assert calibration.decide(raw, actual).scaling is None


@pytest.mark.parametrize("label", [two_classes, three_classes])
def test_applied_scaling_is_a_times_the_score_plus_b(label):
    schema = {"problem": "multiclass", "types": {"y": "integer"}}
    train, validation, schema = tables(label, **(BINARY if label is two_classes else schema))
    fitted = training.fit(train, validation, schema, QUICK)
    model = fitted.pipeline[-1]
    inputs = fitted.pipeline[0].transform(features.inputs(validation, schema))
    before = model.decision_function(inputs)
    shifts = (0.25, -0.5, 1.0)[: len(fitted.classes)]
    calibration.apply(calibration.Scaling(0.5, shifts), model)
    wanted = before / 2 + (shifts[1] - shifts[0] if len(shifts) == 2 else np.array(shifts))
    assert model.decision_function(inputs) == pytest.approx(wanted, abs=1e-12)


def test_few_rows_say_nothing_about_probabilities():
    train, validation, schema = tables(two_classes, rows=100, **BINARY)
    fitted = training.fit(train, validation, schema, QUICK)
    assert "25 validation rows are too few" in fitted.decisions["calibration"]


# Hyperparameters


def parsed(*flags):
    parser = argparse.ArgumentParser(exit_on_error=False)
    parameters.add_arguments(parser)
    return parameters.from_arguments(parser.parse_args(flags))


def test_hyperparameters_are_flags_with_defaults():
    assert parsed() == Parameters()
    found = parsed("--learning-rate", "1e-1", "--max-iter", "7", "--class-weight", "none")
    assert found == Parameters(learning_rate=0.1, max_iter=7, class_weight="none")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(("--learning-rate", text) for text in ("0", "1.1", "nan", "inf", "1_0", "\uff11", "")),
        *(("--max-iter", text) for text in ("0", "1.5", "1_0", "\uff11", "10001", "-1")),
        ("--l2-regularization", "-1"),
        ("--loss", "hinge"),
        ("--class-weight", "0.5"),
    ],
)
def test_a_value_out_of_its_limits_is_refused(flag, value):
    with pytest.raises(argparse.ArgumentError, match=flag):
        parsed(f"{flag}={value}")
