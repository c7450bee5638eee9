"""Generating projects in tests: through Cookiecutter's own command line, in a world of its own."""

import json
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from cookiecutter.cli import main as cookiecutter

TEMPLATE = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


def pytest_configure(config):
    config.addinivalue_line("markers", "last: slow, so it runs when everything else has passed")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


class World:
    """A home, a temporary folder, a working folder and a target for generated projects."""

    def __init__(self, root):
        self.root, self.home, self.target = root, root / "home", root / "target"
        for folder in ("home", "tmp", "cwd", "target"):
            (root / folder).mkdir()
        self.config = root / "home" / "config.yaml"
        self.config.write_text(
            json.dumps({"replay_dir": str(self.home), "cookiecutters_dir": str(self.home)})
        )

    def generate(self, *arguments, typed=None, **answers):
        """Run `cookiecutter`, which asks only where `typed` answers; the project is in `target`."""
        options = ["--output-dir", self.target, "--config-file", self.config]
        asking = [] if typed else ["--no-input"]
        pairs = [f"{question}={answer}" for question, answer in answers.items()]
        command = [TEMPLATE, *options, *asking, *arguments, *pairs]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root / "cwd")
            patch.setattr(tempfile, "tempdir", str(self.root / "tmp"))
            return CliRunner().invoke(cookiecutter, [str(word) for word in command], input=typed)

    def files(self):
        """Everything but the home folder, where Cookiecutter keeps the answers to replay."""
        return {path for path in self.root.rglob("*") if self.home not in path.parents}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture(scope="session")
def default_project(tmp_path_factory):
    """The default project with its first commit; tests do not change its files."""
    world = World(tmp_path_factory.mktemp("default"))
    result = world.generate()
    assert result.exit_code == 0, result.output
    return world.target / "abalone"
