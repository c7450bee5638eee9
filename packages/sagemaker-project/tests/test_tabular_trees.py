"""The trees as plain numbers give the answers of the Pipeline, bit for bit, or are refused."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sagemaker_project.tabular import trees
from sagemaker_project.tabular.trees import Trees, export_trees, prove, turned
from serving_helpers import make_frame, make_pipeline, make_schema, make_target

pytestmark = pytest.mark.filterwarnings("error")

NUMBERS = [{"name": f"n{i}", "type": "number"} for i in range(3)]
TEXTS = [{"name": f"t{i}", "type": "string"} for i in range(2)]
MIXED = [*NUMBERS, *TEXTS, {"name": "day", "type": "date"}]


def fitted(problem, fields, *, rows=300, classes=3, seed=1, **parameters):
    rng = np.random.default_rng(seed)
    frame = make_frame(make_schema(problem, fields), rows, rng)
    classes = 2 if problem == "binary" else classes
    target = make_target(problem, frame, rng, classes)
    return make_pipeline(problem, frame, target, **parameters), frame


@pytest.mark.parametrize("impute", [False, True], ids=["NaN passes", "NaN is filled"])
@pytest.mark.parametrize("fields", [NUMBERS, TEXTS, MIXED], ids=["numbers", "texts", "mixed"])
@pytest.mark.parametrize("problem", ["regression", "binary", "multiclass"])
def test_answers_are_the_pipelines_to_the_last_bit(problem, fields, impute):
    pipeline, frame = fitted(problem, fields, impute=impute)
    content = export_trees(pipeline, list(frame.columns))
    assert prove(content, pipeline, frame) > len(frame)


@pytest.mark.parametrize(
    "loss", ["squared_error", "absolute_error", "poisson", "gamma"], ids=lambda loss: loss
)
def test_every_loss_of_a_regression_is_exact(loss):
    pipeline, frame = fitted("regression", MIXED, loss=loss)
    prove(export_trees(pipeline, list(frame.columns)), pipeline, frame)


@pytest.mark.parametrize("leaves", [2, 8, 9, 16, 17, 32, 33, 64])
def test_every_width_of_a_word_is_exact(leaves):
    pipeline, frame = fitted(
        "binary", NUMBERS, rows=1500, max_leaf_nodes=leaves, min_samples_leaf=5, max_iter=4
    )
    content = export_trees(pipeline, list(frame.columns))
    assert Trees(content, list(frame.columns)).masks is not None
    prove(content, pipeline, frame)


@pytest.mark.parametrize("classes", [8, 20])
def test_many_classes_are_summed_as_the_pipeline_sums_them(classes):
    pipeline, frame = fitted("multiclass", MIXED, rows=900, classes=classes, max_iter=5)
    prove(export_trees(pipeline, list(frame.columns)), pipeline, frame)


def test_a_model_without_a_split_is_exact():
    pipeline, frame = fitted("regression", NUMBERS, min_samples_leaf=1000)
    prove(export_trees(pipeline, list(frame.columns)), pipeline, frame)


def test_rare_and_many_categories_are_exact():
    rng = np.random.default_rng(3)
    frame = make_frame(make_schema("regression", MIXED), 2000, rng)
    frame["t0"] = [f"c{int(n)}" for n in rng.exponential(30, 2000)]
    pipeline = make_pipeline("regression", frame, frame["t0"].str.len())
    prove(export_trees(pipeline, list(frame.columns)), pipeline, frame)


def test_more_leaves_than_a_word_has_go_compiled_for_few_rows_only():
    pipeline, frame = fitted(
        "regression", NUMBERS, rows=3000, max_leaf_nodes=80, min_samples_leaf=5, max_iter=300
    )
    content = export_trees(pipeline, list(frame.columns))
    found = Trees(content, list(frame.columns))
    assert found.masks is None and not found.are_enough
    assert found.takes(1) and found.takes(60) and not found.takes(100)
    prove(content, pipeline, frame)
    with pytest.raises(ValueError, match="are for the Pipeline"):
        found.many(found.columns(turned(frame.to_numpy().tolist())))


def test_tables_beyond_the_limit_are_not_made(monkeypatch):
    pipeline, frame = fitted("regression", NUMBERS)
    content = export_trees(pipeline, list(frame.columns))
    monkeypatch.setattr("sagemaker_project.tabular.masks.MAX_TABLE_BYTES", 1000)
    assert Trees(content, list(frame.columns)).masks is None


def test_many_rows_of_a_wide_table_are_for_the_pipeline(monkeypatch):
    pipeline, frame = fitted("regression", NUMBERS)
    monkeypatch.setattr(trees, "MANY_COLUMNS", 2)
    found = Trees(export_trees(pipeline, list(frame.columns)), list(frame.columns))
    assert found.takes(256) and not found.takes(257) and not found.are_enough


def test_trees_too_large_to_compile_go_by_masks(monkeypatch):
    pipeline, frame = fitted("multiclass", MIXED)
    monkeypatch.setattr("sagemaker_project.tabular.compiled.MAX_LEAVES", 10)
    content = export_trees(pipeline, list(frame.columns))
    assert Trees(content, list(frame.columns)).score is None
    prove(content, pipeline, frame)


def test_the_proof_sees_the_last_digits():
    pipeline, frame = fitted("binary", MIXED)
    content = export_trees(pipeline, list(frame.columns))
    content["baseline"][0] += 1e-13
    with pytest.raises(ValueError, match="differ from the Pipeline's"):
        prove(content, pipeline, frame)


def test_the_proof_sees_a_threshold_that_no_row_is_on():
    pipeline, frame = fitted("regression", [NUMBERS[0]], max_iter=1, max_leaf_nodes=2)
    content = export_trees(pipeline, list(frame.columns))
    moved = copy.deepcopy(content)
    moved["trees"][0][0][1] += 1e-9
    prove(content, pipeline, frame)
    with pytest.raises(ValueError, match="differ from the Pipeline's"):
        prove(moved, pipeline, frame)


def test_what_trees_json_cannot_say_is_refused():
    pipeline, frame = fitted("regression", MIXED)
    with pytest.raises(ValueError, match="does not take the columns"):
        export_trees(pipeline, [*frame.columns, "other"])
    pipeline[-1].set_params(categorical_features=[0]).fit(
        np.tile(np.arange(10.0), (2, 40)).T, np.arange(400)
    )
    with pytest.raises(ValueError, match="plain trees"):
        export_trees(pipeline, list(frame.columns))


def test_trees_json_is_json_and_cannot_inject_code():
    pipeline, frame = fitted("regression", MIXED)
    content = json.loads(json.dumps(export_trees(pipeline, list(frame.columns)), allow_nan=False))
    content["trees"][0][0] = "__import__('os')"
    with pytest.raises(ValueError, match="could not convert string to float"):
        Trees(content, list(frame.columns))


@settings(max_examples=25, deadline=None)
@given(
    problem=st.sampled_from(["regression", "binary", "multiclass"]),
    fields=st.lists(
        st.sampled_from(MIXED), min_size=1, max_size=4, unique_by=lambda one: one["name"]
    ),
    rows=st.integers(20, 200),
    classes=st.integers(3, 10),
    seed=st.integers(0, 2**32 - 1),
    impute=st.booleans(),
    leaves=st.integers(2, 20),
    smallest=st.integers(1, 10),
)
def test_any_pipeline_is_exact(problem, fields, rows, classes, seed, impute, leaves, smallest):
    parameters = {"max_leaf_nodes": leaves, "min_samples_leaf": smallest, "max_iter": 5}
    pipeline, frame = fitted(
        problem, fields, rows=rows, classes=classes, seed=seed, impute=impute, **parameters
    )
    prove(export_trees(pipeline, list(frame.columns)), pipeline, frame)
