"""The default project, rendered once, with its packages `deploy` and `pipelines` importable."""

import shutil
import sys

import pytest


@pytest.fixture(scope="session")
def deploy_project(default_project, tmp_path_factory):
    """The folder of a project of its own: imports leave bytecode beside what they import."""
    path = tmp_path_factory.mktemp("deploy") / "abalone"
    shutil.copytree(default_project, path)
    # Last: a sagemaker_local that other tests have prepared stays the one that is tested.
    sys.path.append(str(path))
    return path
