"""The data of a repository's tests and demo: its sample while it fits, else made-up rows."""

import json
import shutil
from pathlib import Path

import pytest
from sagemaker_project.sample import sample_of
from sagemaker_project.tabular.preprocessing import Folders, preprocess
from tabular_helpers import schema_of

BUNDLED = Path(__file__).parents[3] / "{{cookiecutter.project_slug}}/data/abalone-sample.csv"
ABALONE = (
    Path(__file__).parents[3]
    / "{{cookiecutter.project_slug}}/pipelines/{{cookiecutter.pipeline_name}}/schema.json"
)
NUMBERS = [{"name": name, "type": "number"} for name in "ab"]


@pytest.fixture
def sample(tmp_path):
    """Return the sample of a repository whose schema.json has this content."""

    def sample(content):
        file = tmp_path / "a repository/pipelines/x/schema.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
        return sample_of(tmp_path / "a repository", "x", tmp_path / "made up")

    return sample


def test_the_bundled_sample_is_used_while_it_is_there_and_fits(sample, tmp_path):
    abalone = json.loads(ABALONE.read_text())
    assert sample(abalone).is_made_up
    data = tmp_path / "a repository/data"
    data.mkdir(parents=True)
    shutil.copy(BUNDLED, data)
    found = sample(abalone)
    assert not found.is_made_up and found.requests()[0][0] == "I"
    abalone["fields"][0]["name"], abalone["split"]["by"] = "gender", ["length", "rings"]
    assert not sample({**abalone, "facets": []}).is_made_up  # it has no header to differ
    abalone["fields"].pop(1)
    abalone["split"]["by"].pop(0)
    assert sample({**abalone, "facets": []}).is_made_up


@pytest.mark.parametrize("classes", [3, 40, 120])
def test_every_class_has_rows_in_every_split(sample, tmp_path, classes):
    values = [f"class {number}" for number in range(classes)]
    label = {"name": "y", "type": "string", "constraints": {"enum": values}}
    found = sample(schema_of("multiclass", [*NUMBERS, label]).content)
    folders = Folders(*(tmp_path / name for name in ("train", "validation", "test", "report")))
    schema = tmp_path / "a repository/pipelines/x/schema.json"
    report = preprocess(found.path, schema, folders)
    assert len(report["classes"]) == classes
