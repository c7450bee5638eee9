"""The data of `run-pipeline --input-data`: looked at before anything is created, then uploaded."""

import hashlib
import json
import sys

import pytest
from sagemaker_project.build.input_data import files_of, upload
from sagemaker_project.build.parameters import from_environment
from sagemaker_project.errors import UsageError
from table_helpers import schema_content

pytestmark = pytest.mark.fast

HEADER = "x,y\n"
FILE = {"format": "csv", "encoding": "utf-8", "delimiter": ",", "header": True}
SCHEMA = schema_content({"x": "number", "y": "number"}, file=FILE)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a pipeline's module, with its schema.json beside it."""
    folder = tmp_path / "sources/some_pipeline"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "pipeline.py").write_text("raise AssertionError('it is not imported here')\n")
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    monkeypatch.syspath_prepend(str(folder.parent))
    yield "some_pipeline.pipeline"
    sys.modules.pop("some_pipeline", None)


@pytest.fixture
def parts(tmp_path):
    """A folder of three parts of one table."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in (2, 0, 1):
        rows = f"{number},1\n" * 4
        (folder / f"part-{number}.csv").write_text(HEADER + rows)
    return folder


class FakeS3:
    def __init__(self):
        self.files = {}

    def upload_file(self, path, bucket, key, ExtraArgs):
        with open(path, "rb") as file:
            self.files[f"s3://{bucket}/{key}"] = file.read()


def uploaded(files):
    """The URI of files, and {URI: content} of what was uploaded."""
    s3 = FakeS3()
    return upload(s3, "bucket", "MyPipeline", files), s3.files


def refused(path, module):
    with pytest.raises(UsageError) as error:
        files_of(path, module)
    text = str(error.value)
    assert text.startswith("--input-data: ") and "\n" not in text
    return text


def test_without_data_there_are_no_files(module):
    assert files_of(None, module) == []


def test_a_file_is_uploaded_under_its_sha256(parts, module):
    path = parts / "part-0.csv"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    uri, objects = uploaded(files_of(path, module))
    assert uri == f"s3://bucket/MyPipeline/input/{digest}/part-0.csv"
    assert objects == {uri: path.read_bytes()}


def test_a_folder_is_uploaded_as_one_prefix_without_what_is_no_data(parts, module):
    (parts / "_SUCCESS").write_text("")
    (parts / ".part-0.csv.crc").write_text("crc")
    uri, objects = uploaded(files_of(parts, module))
    assert uri.endswith("/") and set(objects) == {f"{uri}part-{number}.csv" for number in range(3)}
    assert objects[f"{uri}part-2.csv"] == (parts / "part-2.csv").read_bytes()


def test_a_changed_renamed_or_added_part_gives_another_prefix(parts, module):
    uris = [uploaded(files_of(parts, module))[0]]
    assert uploaded(files_of(parts, module))[0] == uris[0]
    (parts / "part-0.csv").write_text(HEADER + "5,1\n")
    uris.append(uploaded(files_of(parts, module))[0])
    (parts / "part-0.csv").rename(parts / "part-7.csv")
    uris.append(uploaded(files_of(parts, module))[0])
    (parts / "part-8.csv").write_text(HEADER + "6,1\n")
    uris.append(uploaded(files_of(parts, module))[0])
    assert len(set(uris)) == 4


def test_a_mistake_in_any_part_is_refused_with_file_line_and_column(parts, module):
    path = parts / "part-1.csv"
    path.write_text(path.read_text() + "tall,1\n")
    assert "part-1.csv: line 6, column 'x': 'tall' is not a number" in refused(parts, module)


def test_another_header_is_refused_with_both_lists(parts, module):
    (parts / "part-2.csv").write_text("x,z\n1,2\n")
    text = refused(parts, module)
    assert "part-2.csv" in text and "found x,z; wanted x,y; correct" in text


def test_a_folder_with_other_files_or_none_is_refused(parts, module, tmp_path):
    (parts / "notes.txt").write_text("not data")
    assert "found notes.txt beside 3 csv files" in refused(parts, module)
    (tmp_path / "empty").mkdir()
    assert "empty: found nothing" in refused(tmp_path / "empty", module)


def test_a_mistake_in_schema_json_names_that_file(parts, module, tmp_path):
    path = tmp_path / "sources/some_pipeline/schema.json"
    path.write_text(json.dumps(SCHEMA | {"label": "z"}))
    text = refused(parts, module)
    assert str(path) in text and "'z'" in text


def test_without_a_schema_any_file_is_taken_and_an_empty_folder_is_refused(parts, module, tmp_path):
    (tmp_path / "sources/some_pipeline/schema.json").unlink()
    (parts / "part-0.csv").write_text("whatever")
    assert len(files_of(parts, module)) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="there is no file in this folder"):
        files_of(tmp_path / "empty", module)


# Variables of a CodeBuild project


DECLARED = {name: {} for name in ("InputDataUrl", "MseThreshold", "LogLossThreshold", "Seed")}


def test_variables_set_the_data_and_the_thresholds_that_are_declared():
    environment = {
        "INPUT_DATA_URL": "s3://b/k",
        "MSE_THRESHOLD": "5",
        "LOG_LOSS_THRESHOLD": "0.4",
        "AUC_THRESHOLD": "0.9",  # of another pipeline
        "SEED": "7",  # too common a name to be meant for this
    }
    assert from_environment(DECLARED, environment) == {
        "InputDataUrl": "s3://b/k",
        "MseThreshold": "5",
        "LogLossThreshold": "0.4",
    }


def test_a_variable_that_is_empty_or_missing_sets_nothing():
    assert from_environment(DECLARED, {"INPUT_DATA_URL": ""}) == {}
