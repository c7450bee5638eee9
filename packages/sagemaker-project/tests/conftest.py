"""The default project of the template, generated once, and its commands; and a local SageMaker that
is in a hurry, for everything that deploys."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import boto3
import pytest
from cookiecutter.main import cookiecutter
from deploy_helpers import COMMANDS
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# Threads of a training that wait for each other spin, where others want the CPU as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The machine may be busy.
hypothesis_settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("patient")

TEMPLATE = Path(__file__).resolve().parents[3]
SPEED = "600"  # a minute is a tenth of a second
# Tests may share their machine with others: what they ask of latency is little.
PATIENT = {"Requests": 20, "MaxP50Milliseconds": 10_000, "MaxP99Milliseconds": 20_000}


class Project:
    """A generated project: `run(command, ...)` runs one of its commands in its folder."""

    def __init__(self, path, home):
        self.path = path
        # Nothing of this machine's AWS settings: a definition is built where there are none.
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(path)}
        self.env["OMP_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]

    def run(self, command, *arguments, **options):
        return self._python("-m", COMMANDS[command], *map(str, arguments), **options)

    def python(self, code, **options):
        """Run Python code in the project."""
        return self._python("-c", code, **options)

    def _python(self, *arguments, env=(), **options):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env={**self.env, **dict(env)},
            capture_output=True,
            text=True,
            timeout=300,
            **options,
        )


@pytest.fixture(scope="session")
def make_project(tmp_path_factory):
    """Generate a project of its own, for tests that change its files or its state."""

    def make(**answers):
        folder = tmp_path_factory.mktemp("a project")
        config = folder / "config.yaml"  # keeps Cookiecutter out of the real home
        config.write_text(json.dumps({"replay_dir": str(folder)}))
        path = cookiecutter(
            str(TEMPLATE),
            no_input=True,
            extra_context=answers,
            output_dir=str(folder),
            config_file=str(config),
        )
        return Project(Path(path), folder)

    return make


@pytest.fixture(scope="session")
def project(make_project):
    """The default project; tests do not change its files."""
    return make_project()


@pytest.fixture
def golden(request):
    """Compare text with a golden file, or write the file anew with --update-golden."""

    def compare(name, text):
        path = Path(__file__).parent / "golden" / name
        if request.config.getoption("--update-golden", default=False):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.read_text() == text

    return compare


@pytest.fixture(scope="session")
def deploy_project(project, tmp_path_factory):
    """The folder of a project whose settings and pipelines tests change."""
    from sagemaker_project import usage
    from sagemaker_project.build import driver

    path = tmp_path_factory.mktemp("deploy") / "abalone"
    shutil.copytree(project.path, path)
    settings = path / "deploy/staging-config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"EndpointTest": PATIENT}))
    usage.check_region = functools.cache(usage.check_region)  # a quarter of a second
    driver.CHECKS["region"] = usage.check_region
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
    from deploy_helpers import BUCKET, Cloud
    from sagemaker_emulator import attach

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_LOCAL_SPEED", SPEED)
        patch.setenv("SAGEMAKER_LOCAL_FAULTS", "1")
        patch.setattr(boto3, "DEFAULT_SESSION", None)  # it knows the secret of the last server
        with attach(state=tmp_path_factory.mktemp("state")) as local:
            cloud = Cloud(local)
            cloud.s3.create_bucket(Bucket=BUCKET)
            yield cloud


@pytest.fixture
def place(cloud, deploy_project, tmp_path):
    from deploy_helpers import Place, environment
    from sagemaker_emulator import testing

    files = [deploy_project / f"deploy/{stage}-config.json" for stage in ("staging", "prod")]
    before = [path.read_text() for path in files]
    yield Place(cloud, deploy_project, environment(cloud), tmp_path)
    testing.clear(cloud.local)
    for path, text in zip(files, before, strict=True):
        path.write_text(text)
