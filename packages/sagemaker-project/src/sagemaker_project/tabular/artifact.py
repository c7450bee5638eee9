"""The model folder, which becomes model.tar.gz: the fitted Pipeline and all that serves it.

model.joblib       the fitted Pipeline, from the inputs of a table's rows to predictions
trees.json         the same model as plain numbers; only if its predictions for the validation
                   split equal the Pipeline's bit for bit
model.json         schema, classes, versions, hyperparameters, metrics, what was decided, and
                   the sha256 of both files
code/              inference.py and this package: the files that trained it, byte for byte
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagemaker_project.tabular import features
from sagemaker_project.tabular.schema import Schema
from sagemaker_project.tabular.table import Table
from sagemaker_project.tabular.training import Fitted

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["save"]

SCRIPTS = ("inference.py", "requirements.txt")  # of the user, beside train.py
PACKAGE = Path(__file__).parent


def save(
    folder: Path, fitted: Fitted, schema: Schema, validation: Table, code: Path
) -> dict[str, Any]:
    """Write the artifact and return the content of model.json, which comes last.

    Args:
        folder: becomes model.tar.gz.
        validation: the rows that the trees are proven with.
        code: the folder that has inference.py and, if there is one, requirements.txt.
    """
    import joblib

    _copy_code(code, folder / "code")
    joblib.dump(fitted.pipeline, folder / "model.joblib")
    files = ["model.joblib"]
    trees, fast_path = proven_trees(fitted, features.inputs(validation, schema))
    if trees:
        (folder / "trees.json").write_text(json.dumps(trees), encoding="utf-8")
        files.append("trees.json")
    about = _about(fitted, schema) | {
        "fast_path": fast_path,
        "files": {name: _sha256_of(folder / name) for name in files},
    }
    part = folder / ".model.json.part"
    part.write_text(json.dumps(about, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, folder / "model.json")
    return about


def proven_trees(
    fitted: Fitted, validation: "DataFrame"
) -> tuple[Mapping[str, Any] | None, dict[str, Any]]:
    """Return the trees for single rows and the proof that they are right, or None and why not."""
    try:
        from sagemaker_project.tabular.trees import export_trees, prove

        found = export_trees(fitted.pipeline, list(validation))
        return found, {"proven": True, "rows": prove(found, fitted.pipeline, validation)}
    except Exception as error:  # any kind: this reads private attributes of scikit-learn
        return None, {"proven": False, "reason": repr(error)}


def _copy_code(code: Path, folder: Path) -> None:
    package = folder / "sagemaker_project"
    shutil.rmtree(folder, ignore_errors=True)
    (package / PACKAGE.name).mkdir(parents=True)
    for name in SCRIPTS:
        if (code / name).is_file():
            shutil.copyfile(code / name, folder / name)
    (package / "__init__.py").write_bytes(b"")
    for path in sorted(PACKAGE.glob("*.py")):
        shutil.copyfile(path, package / PACKAGE.name / path.name)


def _about(fitted: Fitted, schema: Schema) -> dict[str, Any]:
    return {
        "problem": schema.problem,
        "schema": schema.content,
        "schema_sha256": schema.sha256,
        "split_sha256": schema.split_sha256,
        "classes": list(fitted.classes),
        "versions": versions(),
        "hyperparameters": asdict(fitted.parameters),
        "rows": dict(fitted.rows),
        "metrics": dict(fitted.metrics),
        "learning_curve": fitted.learning_curve._asdict(),
        "decisions": dict(fitted.decisions),
        "trivial": fitted.trivial._asdict(),
    }


def versions() -> dict[str, str]:
    import numpy
    import pandas
    import sklearn

    packages = {"numpy": numpy, "pandas": pandas, "scikit-learn": sklearn}
    found = {name: str(package.__version__) for name, package in packages.items()}
    return {"python": platform.python_version(), **found}


def _sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
