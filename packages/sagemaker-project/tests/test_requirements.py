"""requirements.txt and no network: refused before anything is uploaded or deployed."""

import io
import tarfile

import pytest
from sagemaker_project.build.requirements import check_network_isolation
from sagemaker_project.errors import UsageError

pytestmark = pytest.mark.fast

FOLDER, TAR = "abalone/code/1234", "abalone/code/5678/sourcedir.tar.gz"


def tarball(*names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def processing(isolated, uri=f"s3://bucket/{FOLDER}"):
    inputs = [{"S3Input": {"S3Uri": {"Get": "Parameters.Data"}}}, {"S3Input": {"S3Uri": uri}}]
    network = {"NetworkConfig": {"EnableNetworkIsolation": isolated}}
    return {"Name": "Evaluate", "Arguments": {"ProcessingInputs": inputs, **network}}


def training(isolated):
    code = {"sagemaker_submit_directory": f"s3://bucket/{TAR}"}
    return {
        "Name": "Train",
        "Arguments": {"HyperParameters": code, "EnableNetworkIsolation": isolated},
    }


def within_a_condition(step):
    return {"Name": "If", "Arguments": {"Conditions": [], "IfSteps": [], "ElseSteps": [step]}}


PROCESSED = {f"{FOLDER}/evaluate.py": b"", f"{FOLDER}/requirements.txt": b"lightgbm"}
TRAINED = {TAR: tarball("train.py", "requirements.txt")}


@pytest.mark.parametrize(
    ("step", "files", "name"),
    [
        (processing(True), PROCESSED, "Evaluate"),
        (training(True), TRAINED, "Train"),
        (within_a_condition(training(True)), TRAINED, "Train"),
    ],
    ids=["processing", "training", "in a condition"],
)
def test_a_step_that_cannot_install_its_requirements_is_refused(step, files, name):
    with pytest.raises(
        UsageError, match=rf"^step {name}: requirements\.txt .* remove one"
    ) as found:
        check_network_isolation({"Steps": [step]}, files)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("step", "files"),
    [
        (processing(False), PROCESSED),
        (processing(True), {f"{FOLDER}/evaluate.py": b""}),
        (processing(True, "s3://bucket/abalone/code/9"), PROCESSED),
        (processing(True), TRAINED),
        (training(False), TRAINED),
        (training(True), {TAR: tarball("train.py", "deep/requirements.txt")}),
        (training({"Get": "Parameters.Isolated"}), TRAINED),
        ({"Name": "Fail"}, PROCESSED),
    ],
)
def test_other_steps_are_not(step, files):
    check_network_isolation({"Steps": [step]}, files)


def test_a_pipeline_without_steps():
    check_network_isolation({}, {})
