"""The default project, rendered once, and a way to run its commands as a user would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).resolve().parents[2]


class Project:
    """A rendered project: `run(command, ...)` runs one of its console scripts in its folder."""

    def __init__(self, path, home):
        self.path = path
        # Nothing of this machine's AWS settings: a definition is built where there are none.
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(path),
        }

    def run(self, command, *arguments, **options):
        module = {
            "run-pipeline": "pipelines.run_pipeline",
            "get-pipeline-definition": "pipelines.get_pipeline_definition",
            "sagemaker-local": "sagemaker_local",
        }[command]
        return self._python("-m", module, *map(str, arguments), **options)

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
            timeout=120,
            **options,
        )


@pytest.fixture(scope="session")
def make_project(tmp_path_factory):
    """Render a project of its own, for tests that change its files or its state."""

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
        path = TEMPLATE / "tests/golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.read_text() == text

    return compare
