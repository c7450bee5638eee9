"""The evaluation step, where the model is not as train.py writes it."""

import json
from pathlib import Path

import pytest
from sagemaker_project.tabular.evaluation import _expected
from sagemaker_project.tabular.table import BadInput
from tabular_helpers import schema_of, table_of

pytestmark = pytest.mark.fast

SCHEMA = schema_of("regression", [{"name": "a", "type": "number"}, {"name": "y", "type": "number"}])
TEST = table_of({"a": [1.0, 2.0], "y": [1.0, 3.0]})
ABOUT = {"schema_sha256": SCHEMA.sha256, "classes": [], "trivial": {"mean": 2.0}}


@pytest.mark.parametrize("change", [{"trivial": {"best": 1}}, {"trivial": None}, {"classes": None}])
def test_a_model_json_of_another_train_py_is_one_line(change: dict[str, object]) -> None:
    about = json.loads(json.dumps(ABOUT | change))
    with pytest.raises(BadInput, match=r"model\.json is not as train\.py writes it"):
        _expected(TEST, SCHEMA, about, Path("model.tar.gz"))


def test_a_model_of_another_schema_is_refused() -> None:
    about = {**ABOUT, "schema_sha256": "0" * 64}
    with pytest.raises(BadInput, match=r"trained with another schema\.json"):
        _expected(TEST, SCHEMA, about, Path("model.tar.gz"))
