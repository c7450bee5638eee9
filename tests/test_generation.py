"""What is generated: its files, that each is rendered, parses and lints, and its first commit."""

import ast
import configparser
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from markdown_it import MarkdownIt
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEMPLATE = Path(__file__).resolve().parents[1]
SOURCE = TEMPLATE / "{{cookiecutter.project_slug}}"
TREE = TEMPLATE / "tests/golden/tree.txt"


def files_of(project):
    """The files of the first commit."""
    listed = git(project, "ls-files", "-z").stdout.split("\0")
    return sorted(name for name in listed if name and "__pycache__" not in name)


def git(project, *arguments, **options):
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=project, check=True, capture_output=True, encoding="utf-8", **options
    )


def test_the_default_project_has_exactly_these_files(default_project, request):
    tree = "\n".join(files_of(default_project)) + "\n"
    if request.config.getoption("--update-golden"):
        TREE.parent.mkdir(exist_ok=True)
        TREE.write_text(tree)
    assert tree == TREE.read_text()


def test_nothing_is_left_unrendered(default_project):
    for name in files_of(default_project):
        text = (default_project / name).read_text("utf-8")
        assert not re.search(r"\{\{ ?cookiecutter|\{%|cookiecutter\.", name + text), name


def test_the_template_s_python_carries_names_and_no_branches():
    for path in SOURCE.rglob("*.py"):
        for code in re.findall(r"\{[{%#].*?[}%#]\}", path.read_text("utf-8")):
            assert re.fullmatch(r"\{\{ ?cookiecutter\.\w+ ?\}\}", code), f"{path}: {code}"


def parse_requirements(text):
    for line in text.replace("\\\n", " ").splitlines():
        Requirement(re.sub(" --hash.*", "", line))


PARSERS = {
    ".cfg": lambda text: configparser.ConfigParser(interpolation=None).read_string(text),
    ".csv": lambda text: [
        float(cell) for line in text.splitlines() for cell in line.split(",")[1:]
    ],
    ".ini": lambda text: configparser.ConfigParser(interpolation=None).read_string(text),
    ".ipynb": lambda text: nbformat.validate(nbformat.reads(text, as_version=4)),
    ".json": json.loads,
    ".lock": parse_requirements,
    ".md": MarkdownIt().parse,
    ".py": ast.parse,
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
}
WITHOUT_GRAMMAR = {".gitignore", "LICENSE", "Makefile"}


def test_every_file_parses(world):
    hostile = "\"'''`# : {x} </script> \\ 🐚"
    result = world.generate(
        project_slug="abalone", project_name=hostile, description=hostile, author=hostile
    )
    assert result.exit_code == 0, result.output
    project = world.target / "abalone"
    for name in files_of(project):
        if Path(name).name not in WITHOUT_GRAMMAR:
            PARSERS[Path(name).suffix]((project / name).read_text("utf-8"))


@pytest.mark.parametrize("pipeline_name", ["ab", "abalone", "x" * 32])
def test_the_rendered_python_lints(world, pipeline_name):
    assert world.generate(pipeline_name=pipeline_name).exit_code == 0
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command],
            cwd=world.target / "abalone",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


def test_every_target_of_the_makefile_is_well_formed(default_project):
    for target in ("demo", "test", "lint", "lock", "clean"):
        done = subprocess.run(
            ["make", "-n", target, "PYTHON=true"], cwd=default_project, capture_output=True
        )
        assert done.returncode == 0, done.stderr


def test_generating_leaves_nothing_in_the_temporary_folder(world):
    assert world.generate().exit_code == 0
    assert list((world.root / "tmp").iterdir()) == []
    assert list((world.root / "cwd").iterdir()) == []


def test_the_last_lines_say_what_to_type_next(world, capfd):
    world.generate()
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"cd {world.target / 'abalone'}"
    assert [line.split("  ")[0] for line in lines[1:3]] == ["make demo", "make test"]
    assert lines[3].startswith("git remote add origin")
    assert len(lines) == 4


def test_the_project_is_a_repository_with_one_commit(default_project):
    assert git(default_project, "log", "--format=%s").stdout == "Generate abalone\n"
    assert git(default_project, "branch", "--show-current").stdout == "main\n"
    assert git(default_project, "status", "--porcelain").stdout == ""


@pytest.fixture
def own_git(world, monkeypatch):
    """A user's git configuration of our choice, in place of this machine's."""
    configuration = world.home / "gitconfig"
    configuration.write_text("[user]\n\tuseConfigOnly = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    for name in ("NAME", "EMAIL"):
        for who in ("AUTHOR", "COMMITTER"):
            monkeypatch.delenv(f"GIT_{who}_{name}", raising=False)
    return configuration


@pytest.mark.parametrize(
    ("author", "name"), [("Ana O'Brien 🐚", "Ana O'Brien 🐚"), ('".,<>"', "abalone")]
)
def test_without_an_identity_the_author_of_the_answers_commits(world, own_git, author, name):
    world.generate(author=author)
    assert git(world.target / "abalone", "log", "--format=%an").stdout == f"{name}\n"


def test_the_user_s_identity_commits_whatever_else_git_is_told(world, own_git):
    hooks, ignored = world.home / "hooks", world.home / "ignored"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(stat.S_IRWXU)
    ignored.write_text("*.csv\n*.lock\n")
    own_git.write_text(
        "[user]\n\tname = Someone\n\temail = someone@example.com\n"
        "[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = false\n"
        f"[core]\n\thooksPath = {hooks}\n\texcludesFile = {ignored}\n"
    )
    world.generate()
    project = world.target / "abalone"
    assert git(project, "log", "--format=%an").stdout == "Someone\n"
    assert "requirements.lock" in files_of(project)


def test_inside_another_repository_s_hook_the_other_repository_is_left_alone(world, monkeypatch):
    outer = world.root / "cwd"
    git(outer, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(outer / ".git/index"))
    world.generate()
    monkeypatch.undo()
    assert git(outer, "status", "--porcelain").stdout == ""
    assert git(world.target / "abalone", "log", "--format=%s").stdout == "Generate abalone\n"


def test_without_git_the_project_is_made_and_the_hook_says_so(world, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(world.home))
    assert world.generate().exit_code == 0
    assert "install git, then type git init" in capfd.readouterr().out
    assert (world.target / "abalone" / "Makefile").is_file()
    assert not (world.target / "abalone" / ".git").exists()


def test_generating_over_a_project_leaves_its_history_alone(world):
    world.generate()
    project = world.target / "abalone"
    shutil.rmtree(project / "tests")
    (project / "mine.txt").write_text("mine")
    assert world.generate("--overwrite-if-exists").exit_code == 0
    assert git(project, "log", "--format=%s").stdout == "Generate abalone\n"
    assert git(project, "status", "--porcelain").stdout == "?? mine.txt\n"


@pytest.mark.last
def test_the_tests_of_the_generated_project_pass(default_project, tmp_path):
    project = tmp_path / "a project"
    shutil.copytree(default_project, project)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
