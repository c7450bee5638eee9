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

import click
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
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text())
SOURCE = TEMPLATE / "{{cookiecutter.project_slug}}"
TREE = TEMPLATE / "tests/golden/tree.txt"


def files_of(project):
    """The files of the first commit."""
    listed = git(project, "ls-files", "-z").stdout.split("\0")
    return sorted(name for name in listed if name and "__pycache__" not in name)


def texts_of(project):
    """{name: text} of the files of the first commit that are no wheels."""
    names = [name for name in files_of(project) if not name.endswith(".whl")]
    return {name: (project / name).read_text("utf-8") for name in names}


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


def test_the_default_project_is_small_enough_to_be_read(default_project):
    files = files_of(default_project)
    assert len(files) <= 45
    python = [name for name in files if name.endswith(".py") and not name.startswith("tests/")]
    lines = sum(len((default_project / name).read_text("utf-8").splitlines()) for name in python)
    assert lines <= 3_200
    assert sum(map(len, scripts_of(default_project))) <= 400


def scripts_of(project):
    """The lines of each script of the pipeline."""
    names = ("preprocess.py", "train.py", "evaluate.py", "inference.py")
    folder = project / "pipelines/abalone"
    return [(folder / name).read_text("utf-8").splitlines() for name in names]


def test_nothing_is_left_unrendered(default_project):
    for name, text in texts_of(default_project).items():
        assert not re.search(r"\{\{ ?cookiecutter|\{%|cookiecutter\.", name + text), name


def test_a_checkout_has_the_line_ends_of_the_first_commit(default_project, tmp_path):
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "--quiet", default_project, "windows")
    for name in files_of(default_project):
        content = (tmp_path / "windows" / name).read_bytes()
        assert content == (default_project / name).read_bytes(), name
        assert name.endswith(".whl") or b"\r" not in content, name


def test_the_template_s_python_carries_names_and_no_branches():
    for path in SOURCE.rglob("*.py"):
        for code in re.findall(r"\{[{%#].*?[}%#]\}", path.read_text("utf-8")):
            assert re.fullmatch(r"\{\{ ?cookiecutter\.\w+ ?\}\}", code), f"{path}: {code}"


def parse_requirements(text):
    for line in text.replace("\\\n", " ").splitlines():
        if line != "--find-links wheels":
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
WITHOUT_GRAMMAR = {".gitattributes", ".gitignore", "LICENSE", "Makefile"}


def test_every_file_parses(world):
    hostile = "\"'''`# : {x} </script> \\ 🐚"
    result = world.generate(
        project_slug="abalone", project_name=hostile, description=hostile, author=hostile
    )
    assert result.exit_code == 0, result.output
    for name, text in texts_of(world.target / "abalone").items():
        if Path(name).name not in WITHOUT_GRAMMAR:
            PARSERS[Path(name).suffix](text)


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
    targets = ("demo", "test", "lint", "new-pipeline", "upgrade", "eject", "lock", "clean")
    for target in targets:
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


# cookiecutter -f


@pytest.fixture
def copy(world, default_project):
    """The default project, committed, where a generation would write it."""
    return Path(shutil.copytree(default_project, world.target / "abalone"))


def commit(project, message):
    git(project, "add", "--all")
    who = ("-c", "user.name=Someone", "-c", "user.email=someone@example.com")
    git(project, *who, "commit", "--quiet", "--message", message)


def refused_over(world, project, because):
    """Generating over the project is refused for this reason, and changes nothing in it."""
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    result = world.generate("--overwrite-if-exists")
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert result.stderr.startswith(f"cookiecutter: {project}: {because}")
    assert len(result.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_generating_over_a_project_leaves_its_history_alone(world, copy):
    shutil.rmtree(copy / "tests")
    (copy / "mine.txt").write_text("mine")
    (copy / "Makefile").write_text("mine")
    commit(copy, "Mine")
    assert world.generate("--overwrite-if-exists").exit_code == 0
    assert git(copy, "log", "--format=%s").stdout == "Mine\nGenerate abalone\n"
    changes = git(copy, "status", "--porcelain").stdout.splitlines()
    assert changes == [" M Makefile", "?? tests/"]
    git(copy, "add", "--all")
    assert git(copy, "diff", "--cached", "--name-only", "HEAD~").stdout == "mine.txt\n"


def test_an_edit_that_is_not_committed_is_not_written_over(world, copy):
    (copy / "README.md").write_text("mine")
    refused_over(world, copy, "has changes that are not committed (README.md): commit or move")
    (copy / "mine.txt").write_text("mine")
    refused_over(world, copy, "has changes that are not committed (README.md, ...): commit")
    with pytest.raises(click.ClickException, match=re.escape("README.md, ...")):
        world.program(overwrite_if_exists=True)


def test_a_file_that_is_not_tracked_is_not_written_over(world, copy):
    git(copy, "config", "status.showUntrackedFiles", "no")
    (copy / "mine.txt").write_text("mine")
    refused_over(world, copy, "has changes that are not committed (mine.txt)")


def test_files_that_no_git_keeps_are_not_written_over(world, copy):
    shutil.rmtree(copy / ".git")
    refused_over(world, copy, "is not a git repository, and holds files")


def test_files_that_another_repository_ignores_are_not_written_over(world, copy):
    shutil.rmtree(copy / ".git")
    git(world.target, "init", "--quiet")
    (world.target / ".gitignore").write_text("/abalone/\n")
    refused_over(world, copy, "is not a git repository, and holds files")


def test_without_git_no_files_are_written_over(world, copy, monkeypatch):
    monkeypatch.setenv("PATH", str(world.home))
    refused_over(world, copy, "git is not installed")


def test_a_folder_with_nothing_in_it_is_generated_over(world):
    (world.target / "abalone").mkdir()
    assert world.generate("--overwrite-if-exists").exit_code == 0
    assert git(world.target / "abalone", "log", "--format=%s").stdout == "Generate abalone\n"


def test_a_clone_with_nothing_in_it_is_generated_over(world):
    (world.target / "abalone").mkdir()
    git(world.target / "abalone", "init", "--quiet")
    assert world.generate("--overwrite-if-exists").exit_code == 0
    assert "?? Makefile" in git(world.target / "abalone", "status", "--porcelain").stdout


# cruft


def cruft(folder, *arguments):
    command = [sys.executable, "-m", "cruft", *map(str, arguments)]
    environment = {**os.environ, "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path):
    """A repository of the template as it stands here."""
    folder = tmp_path / "template"
    listed = git(TEMPLATE, "ls-files", "--cached", "--others", "--exclude-standard", "-z").stdout
    for name in filter(None, listed.split("\0")):
        if (TEMPLATE / name).is_file():  # and not deleted a moment ago
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(TEMPLATE / name, folder / name)
    git(folder, "init", "--quiet")
    commit(folder, "First")
    return folder


@pytest.mark.acceptance
def test_cruft_updates_a_project_to_another_version_of_the_template(clone, tmp_path):
    answers = {"project_slug": "shells", "author": "Ana"}
    options = ["--no-input", "--extra-context", json.dumps(answers)]
    done = cruft(tmp_path, "create", clone, *options)
    assert done.returncode == 0, done.stderr
    commit(tmp_path / "shells", "Have cruft's file")
    replace(clone / "cookiecutter.json", QUESTIONS["_template_version"], "7.0.0")
    replace(clone / "cookiecutter.json", "| slug }}", "| slug | lower }}")
    replace(clone / "hooks/post_gen_project.py", "Generate {SLUG}", "Make {SLUG}")
    commit(clone, "Second")
    done = cruft(tmp_path / "shells", "update", "--skip-apply-ask")
    assert done.returncode == 0, done.stderr
    settings = tomllib.loads((tmp_path / "shells/pyproject.toml").read_text())
    recorded = settings["tool"]["sagemaker-project"]
    assert recorded["template-version"] == "7.0.0"
    assert answers.items() <= recorded["answers"].items()
    assert git(tmp_path / "shells", "status", "--porcelain").stdout != ""


def replace(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_cruft_is_refused_bad_answers(clone, tmp_path):
    before = {*tmp_path.iterdir()}
    answers = json.dumps({"project_slug": "../up", "author": ""})
    done = cruft(tmp_path, "create", clone, "--no-input", "--extra-context", answers)
    assert done.returncode != 0
    assert "cookiecutter.json: project_slug '../up'" in done.stderr
    assert "cookiecutter.json: author ''" in done.stderr
    assert {*tmp_path.iterdir()} == before
