"""The default project, rendered once, with its packages `deploy` and `pipelines` importable; and
a local SageMaker that is in a hurry, for everything that deploys."""

import functools
import json
import shutil
import subprocess
import sys
import tarfile

import pytest

SPEED = "600"  # a minute is a tenth of a second
# Tests may share their machine with others: what they ask of latency is little.
PATIENT = {"Requests": 20, "MaxP50Milliseconds": 10_000, "MaxP99Milliseconds": 20_000}


@pytest.fixture(scope="session")
def deploy_project(default_project, tmp_path_factory):
    """The folder of a project of its own: imports leave bytecode beside what they import."""
    path = tmp_path_factory.mktemp("deploy") / "abalone"
    shutil.copytree(default_project, path)
    settings = path / "deploy/staging-config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"EndpointTest": PATIENT}))
    # Last: a sagemaker_local that other tests have prepared stays the one that is tested.
    sys.path.append(str(path))
    from pipelines import _utils

    _utils.check_region = functools.cache(_utils.check_region)  # a quarter of a second
    return path


@pytest.fixture(scope="session")
def built(deploy_project, tmp_path_factory):
    """The folder in which the project's scripts have trained and evaluated a model."""
    base = tmp_path_factory.mktemp("built")
    scripts = deploy_project / "pipelines/abalone"

    def run(script, **folders):
        options = [f"--{name.replace('_', '-')}={base / path}" for name, path in folders.items()]
        subprocess.run([sys.executable, scripts / script, *options], check=True, timeout=120)

    splits = {name: name for name in ("train", "validation")}
    sample = deploy_project / "data/abalone-sample.csv"
    run("preprocess.py", input_data=sample, test="test", report="report", **splits)
    run("train.py", model_dir="model-dir", **splits)
    (base / "model").mkdir()
    with tarfile.open(base / "model/model.tar.gz", "w:gz") as tar:
        tar.add(base / "model-dir", arcname=".")
    run(
        "evaluate.py",
        **{"model": "model", "test": "test", "data_report": "report", "evaluation": "evaluation"},
    )
    return base


@pytest.fixture(scope="module")
def cloud(deploy_project, tmp_path_factory):
    from deploy_helpers import BUCKET
    from local_helpers import Cloud
    from sagemaker_local import client

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_LOCAL_SPEED", SPEED)
        patch.setenv("SAGEMAKER_LOCAL_FAULTS", "1")
        with client.attach(state=tmp_path_factory.mktemp("state")) as local:
            cloud = Cloud(local)
            cloud.s3.create_bucket(Bucket=BUCKET)
            yield cloud


@pytest.fixture
def place(cloud, deploy_project, tmp_path):
    from deploy_helpers import Place, environment
    from sagemaker_local import faults

    files = [deploy_project / f"deploy/{stage}-config.json" for stage in ("staging", "prod")]
    before = [path.read_text() for path in files]
    yield Place(cloud, deploy_project, environment(cloud), tmp_path)
    faults.clear(cloud.local)
    for path, text in zip(files, before, strict=True):
        path.write_text(text)
