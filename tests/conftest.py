"""Generating projects in tests: through Cookiecutter's own entrances, in a world of its own."""

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from cookiecutter.cli import main as command
from cookiecutter.main import cookiecutter
from hypothesis import HealthCheck, settings

# The machine may be busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

TEMPLATE = Path(__file__).resolve().parents[1]
ENTRANCES = ["flags", "configuration", "replay", "program"]


class World:
    """A home, a temporary folder, a working folder and a target for generated projects."""

    def __init__(self, root, recorded=None):
        self.recorded = recorded  # a file of answers to replay
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
        asks = typed is not None or any(str(word).startswith("--replay") for word in arguments)
        silent = [] if asks else ["--no-input"]
        pairs = [f"{question}={answer}" for question, answer in answers.items()]
        return self.run([TEMPLATE, *options, *silent, *arguments, *pairs], typed)

    def run(self, words, typed=None):
        with self.inside():
            return CliRunner().invoke(command, [str(word) for word in words], input=typed)

    def program(self, **options):
        """Call cookiecutter() as another program does; the path of the project."""
        places = {"output_dir": str(self.target), "config_file": str(self.config)}
        with self.inside():
            return Path(cookiecutter(str(TEMPLATE), no_input=True, **places, **options))

    def configure(self, answers):
        """Have the user's configuration give these answers."""
        settings = json.loads(self.config.read_text())
        self.config.write_text(json.dumps({**settings, "default_context": answers}))

    def edit_replay(self, answers):
        """The file of a good run's answers, some of which are these."""
        kept = json.loads(self.recorded.read_text())
        kept["cookiecutter"] |= answers
        edited = self.home / "edited.json"
        edited.write_text(json.dumps(kept))
        return edited

    def enter(self, entrance, answers):
        """Give answers through one of ENTRANCES; what is refused, or nothing."""
        if entrance == "program":
            try:
                self.program(extra_context=answers)
                return ""
            except click.ClickException as refused:
                return refused.format_message() + "\n"
        if entrance == "flags":
            result = self.generate(**answers)
        elif entrance == "configuration":
            self.configure(answers)
            result = self.generate()
        else:
            result = self.generate("--replay-file", self.edit_replay(answers))
        assert (result.exit_code, result.stdout) == (2 if result.stderr else 0, ""), result.output
        return result.stderr

    @contextmanager
    def inside(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root / "cwd")
            patch.setattr(tempfile, "tempdir", str(self.root / "tmp"))
            yield

    def files(self):
        """Everything but the home folder, where Cookiecutter keeps the answers to replay."""
        return {path for path in self.root.rglob("*") if self.home not in path.parents}


@pytest.fixture
def world(tmp_path, default_project):
    return World(tmp_path, default_project.parents[1] / "home" / f"{TEMPLATE.name}.json")


@pytest.fixture(params=ENTRANCES)
def entrance(request):
    return request.param


@pytest.fixture(scope="session")
def default_project(tmp_path_factory):
    """The default project with its first commit; tests do not change its files."""
    world = World(tmp_path_factory.mktemp("default"))
    result = world.generate()
    assert result.exit_code == 0, result.output
    return world.target / "abalone"
