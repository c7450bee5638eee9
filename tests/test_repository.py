"""The template's own house: questions, documentation, locks and Makefiles agree with each other."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEMPLATE = Path(__file__).resolve().parents[1]
PROJECT_LOCK = TEMPLATE / "{{cookiecutter.project_slug}}/requirements.lock"
TEMPLATE_LOCK = TEMPLATE / "requirements.lock"
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text())
PUBLIC = [name for name in QUESTIONS if not name.startswith("_")]


def test_every_question_has_a_prompt_and_a_default():
    assert list(QUESTIONS["__prompts__"]) == PUBLIC
    assert all(QUESTIONS[name] for name in PUBLIC)
    for license in QUESTIONS["_licenses"]:
        assert license in QUESTIONS["__prompts__"]["license"]


def test_the_documentation_has_every_question_in_order():
    page = (TEMPLATE / "docs/generation.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == PUBLIC


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


def test_every_link_of_the_documentation_leads_somewhere():
    for page in [*TEMPLATE.glob("*.md"), *TEMPLATE.glob("docs/*.md")]:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if not link.startswith("https://"):
                path, _, heading = link.partition("#")
                target = page.parent / path if path else page
                assert target.exists(), f"{page}: {link}"
                assert not heading or heading in anchors(target), f"{page}: {link}"


def test_every_make_target_of_the_documentation_exists():
    targets = set(re.findall(r"^([a-z-]+):", (TEMPLATE / "Makefile").read_text(), re.MULTILINE))
    for page in [*TEMPLATE.glob("*.md"), *TEMPLATE.glob("docs/*.md")]:
        assert set(re.findall(r"^make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


def read_lock(path):
    entries = path.read_text().replace("\\\n", " ").splitlines()
    return [
        (Requirement(line.split(" --hash")[0]), line.count("--hash=sha256:")) for line in entries
    ]


def versions(path, python, platform="linux"):
    """What the lock installs there."""
    there = {
        "python_version": python,
        "python_full_version": f"{python}.5",
        "sys_platform": platform,
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "",
    }
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement, _ in read_lock(path)
        if requirement.marker is None or requirement.marker.evaluate(there)
    }


def wanted(pyproject):
    settings = tomllib.loads(pyproject.read_text("utf-8"))
    groups = settings["dependency-groups"].values()
    direct = settings.get("project", {}).get("dependencies", [])
    return [Requirement(line) for line in [*direct, *(line for group in groups for line in group)]]


@pytest.mark.parametrize("lock", [PROJECT_LOCK, TEMPLATE_LOCK], ids=["project", "template"])
def test_a_lock_has_hashes_and_no_address(lock):
    text = lock.read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    assert all(hashes for _, hashes in read_lock(lock))


@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_have_what_pyproject_wants(default_project, python):
    for pyproject, lock in [
        (default_project / "pyproject.toml", PROJECT_LOCK),
        (TEMPLATE / "pyproject.toml", TEMPLATE_LOCK),
    ]:
        locked = versions(lock, python)
        for requirement in wanted(pyproject):
            marker = requirement.marker
            if marker is None or marker.evaluate({"python_version": python}):
                assert locked[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_two_locks_go_together(python, platform):
    project = versions(PROJECT_LOCK, python, platform)
    template = versions(TEMPLATE_LOCK, python, platform)
    assert {name: project[name] for name in template if name in project}.items() <= template.items()


def test_on_the_container_s_python_the_lock_has_the_container_s_versions():
    container = {
        "numpy": "2.5.1",
        "pandas": "2.2.3",
        "pyarrow": "25.0.0",
        "scikit-learn": "1.9.0",
        "scipy": "1.18.0",
    }
    assert container.items() <= versions(PROJECT_LOCK, "3.12").items()


@pytest.fixture(params=["template", "project"])
def makefile(request, default_project, tmp_path):
    """A copy of a Makefile with the locks beside it, and an environment that looks up to date."""
    house = TEMPLATE if request.param == "template" else default_project
    for name in ("Makefile", "requirements.lock"):
        (tmp_path / name).write_text((house / name).read_text())
    version = subprocess.run([sys.executable, "--version"], capture_output=True, text=True).stdout
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/made-from").write_text(
        version + (tmp_path / "requirements.lock").read_text()
    )
    return tmp_path


def make(folder, *arguments):
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True)


def test_an_environment_is_made_anew_only_for_another_lock_or_python(makefile):
    python = f"PYTHON={sys.executable}"
    dry = ("--dry-run", "environment")
    assert "venv --clear" not in make(makefile, *dry, python).stdout
    assert "venv --clear" in make(makefile, *dry, "PYTHON=/another/python").stdout
    (makefile / "requirements.lock").write_text("# changed\n")
    assert "venv --clear" in make(makefile, *dry, python).stdout


def test_a_python_that_is_too_old_is_refused_in_one_line(makefile):
    old = makefile / "old"
    code = "import sys; sys.version_info = (3, 9, 1); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{code}' \"$2\"\n")
    old.chmod(0o755)
    done = make(makefile, "install", "PYTHON=./old")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        "./old is Python 3.9, too old: 3.10 is the oldest that works, "
        "for example make PYTHON=python3.12"
    )
    assert not (makefile / ".venv/pyvenv.cfg").exists()
