"""requirements.txt: what cannot be installed or imported is refused before anything is uploaded."""

import io
import tarfile

import pytest
from sagemaker_project.build.packages import check_packages
from sagemaker_project.build.requirements import check_network_isolation
from sagemaker_project.errors import UsageError

pytestmark = pytest.mark.fast

FOLDER, TAR = "abalone/code/1234", "abalone/code/5678/sourcedir.tar.gz"


def tarball(*names, **texts):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in {**dict.fromkeys(names, b""), **texts}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


SKLEARN = "sagemaker-scikit-learn:1.9-0-cpu-py3"


def processing(isolated, uri=f"s3://bucket/{FOLDER}", image=SKLEARN):
    inputs = [{"S3Input": {"S3Uri": {"Get": "Parameters.Data"}}}, {"S3Input": {"S3Uri": uri}}]
    network = {"NetworkConfig": {"EnableNetworkIsolation": isolated}}
    about = {"ProcessingInputs": inputs, "AppSpecification": {"ImageUri": image}}
    return {"Name": "Evaluate", "Arguments": {**about, **network}}


def training(isolated):
    code = {"sagemaker_submit_directory": f"s3://bucket/{TAR}"}
    return {
        "Name": "Train",
        "Arguments": {
            "HyperParameters": code,
            "EnableNetworkIsolation": isolated,
            "AlgorithmSpecification": {"TrainingImage": SKLEARN},
        },
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


def packages(script, requirements=None, step=None, local=True, **more):
    files = {f"{FOLDER}/evaluate.py": script.encode()}
    files |= {f"{FOLDER}/{name}": text.encode() for name, text in more.items()}
    if requirements is not None:
        files[f"{FOLDER}/requirements.txt"] = requirements.encode()
    check_packages({"Steps": [step or processing(False)]}, files, local)


@pytest.mark.parametrize("local", [True, False])
def test_an_import_that_the_container_does_not_have_is_refused(local):
    wanted = r"^step Evaluate: evaluate\.py imports rich, which .* add rich to requirements\.txt"
    for script in ("import rich.table", "def report():\n    from rich import table\n"):
        with pytest.raises(UsageError, match=wanted):
            packages(script, local=local)


@pytest.mark.parametrize(
    "script",
    [
        "import json, numpy as np\nfrom sklearn.base import clone\nfrom . import rich",
        "import helper, sagemaker_project.tabular",
        "try:\n    import rich\nexcept ImportError:\n    rich = None",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import rich",
        "import not_installed_here",  # a local run says so itself
        "this is no Python",
    ],
)
def test_other_imports_are_not(script):
    travels = {"sagemaker_project/__init__.py": "import rich", "helper.py": "", "notes.md": "rich"}
    packages(script, **travels)


@pytest.mark.parametrize(
    "text",
    ["rich", "# tables\nRich[jupyter]>=13  # a comment\n\n", "-r others.txt", "rich @ file:x"],
)
def test_what_requirements_txt_lists_may_be_imported(text):
    packages("import rich", text, local=False)


def test_another_image_may_have_anything():
    packages("import rich", step=processing(False, image="123.dkr.ecr/team/own:1"))


def test_the_code_of_a_training_job_is_looked_at():
    files = {TAR: tarball(**{"train.py": b"import rich"})}
    with pytest.raises(UsageError, match=r"^step Train: train\.py imports rich"):
        check_packages({"Steps": [within_a_condition(training(False))]}, files, local=False)


def test_a_local_run_does_not_install_what_is_listed():
    for text in ("rich<1", "not-installed-here", "not-installed-here==2"):
        with pytest.raises(UsageError, match=rf"lists {text}.* pip install '{text}'$"):
            packages("", text)
        packages("", text, local=False)
    packages("", "rich>=13\nnot-installed-here; python_version < '3'")
