"""The model folder: what is in it, and that it is one a server can check."""

import hashlib
import json
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sagemaker_project.tabular import artifact, features, training
from test_tabular_training import BINARY, QUICK, counts, one_thread, tables, two_classes

__all__ = ["one_thread"]
pytestmark = pytest.mark.fast


@pytest.fixture
def code(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "inference.py").write_text("from sagemaker_project.tabular import cells\n")
    (folder / "train.py").write_text("")
    return folder


def saved(folder, code, label=two_classes, **schema):
    train, validation, schema = tables(label, **schema)
    fitted = training.fit(train, validation, schema, QUICK)
    return artifact.save(folder / "model", fitted, schema, validation, code), fitted, validation


def test_artifact_has_the_model_its_facts_and_the_code_that_made_it(tmp_path, code):
    about, fitted, validation = saved(tmp_path, code, **BINARY)
    folder = tmp_path / "model"
    assert json.loads((folder / "model.json").read_text()) == json.loads(json.dumps(about))
    for name, sha256 in about["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    assert about["classes"] == ["no", "yes"]
    assert about["hyperparameters"]["loss"] == "log_loss"
    assert about["hyperparameters"].keys() == QUICK.__dict__.keys()
    assert about["schema"]["label"] == "y" and len(about["split_sha256"]) == 64
    assert about["metrics"]["validation"]["auc"] > 0.7
    assert about["learning_curve"]["best"] == len(fitted.pipeline[-1]._predictors)
    assert about["decisions"].keys() >= {"loss", "iterations", "class_weight", "calibration"}
    assert {path.name for path in (folder / "code").iterdir()} == {
        "inference.py",
        "sagemaker_project",
    }
    here = artifact.PACKAGE
    copies = folder / "code" / "sagemaker_project" / "tabular"
    assert {path.name: path.read_bytes() for path in copies.iterdir()} == {
        path.name: path.read_bytes() for path in here.glob("*.py")
    }
    inputs = features.inputs(validation, tables(two_classes, **BINARY)[2])
    loaded = joblib.load(folder / "model.joblib")
    assert (loaded.predict_proba(inputs) == fitted.pipeline.predict_proba(inputs)).all()


def test_the_code_imports_from_its_own_folder(tmp_path, code):
    saved(tmp_path, code, counts)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'model' / 'code')!r})\n"
        "import inference; print(inference.cells.__file__)"
    )
    command = [sys.executable, "-P", "-c", program] if sys.version_info >= (3, 11) else None
    found = subprocess.run(
        command or [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(tmp_path))


def test_requirements_travel_with_the_code(tmp_path, code):
    (code / "requirements.txt").write_text("six\n")
    saved(tmp_path, code, counts)
    assert (tmp_path / "model" / "code" / "requirements.txt").read_text() == "six\n"


def test_trees_that_differ_are_left_out_and_the_reason_is_told(tmp_path, code, monkeypatch):
    trees = pytest.importorskip("sagemaker_project.tabular.trees")

    def differ(*_):
        raise ValueError("3 of 4 predictions differ")

    monkeypatch.setattr(trees, "prove", differ)
    about, _, _ = saved(tmp_path, code, counts)
    assert about["fast_path"] == {
        "proven": False,
        "reason": "ValueError('3 of 4 predictions differ')",
    }
    assert about["files"].keys() == {"model.joblib"}
    assert not (tmp_path / "model" / "trees.json").exists()


@pytest.mark.parametrize(
    ("label", "schema"),
    [(counts, {}), (two_classes, BINARY | {"rows": 1200, "metric": "auc"})],
)
def test_trees_are_proven(tmp_path, code, label, schema):
    pytest.importorskip("sagemaker_project.tabular.trees")
    about, fitted, validation = saved(tmp_path, code, label, **schema)
    assert about["fast_path"]["proven"], about["fast_path"]
    assert about["fast_path"]["rows"] >= len(validation)
    assert about["files"].keys() == {"model.joblib", "trees.json"}


def test_a_curve_that_overflows_is_still_json(tmp_path, code):
    train, validation, schema = tables(counts)
    wild = training.replace(QUICK, loss="poisson", learning_rate=1.0, l2_regularization=0.0)
    fitted = training.fit(train, validation, schema, wild)
    assert np.isfinite(fitted.learning_curve.validation).all()
    artifact.save(tmp_path / "model", fitted, schema, validation, code)
