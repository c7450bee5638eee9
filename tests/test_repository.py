"""The template's own house: questions, documentation, locks and Makefiles agree with each other."""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.fast

TEMPLATE = Path(__file__).resolve().parents[1]
PROJECT_LOCK = TEMPLATE / "{{cookiecutter.project_slug}}/requirements.lock"
DEPLOY_LOCK = TEMPLATE / "{{cookiecutter.project_slug}}/requirements-deploy.lock"
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
    entries = [line for line in entries if line != "--find-links wheels"]
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


def wanted(pyproject, but=()):
    """The requirements of a pyproject.toml, but for those of some groups."""
    settings = tomllib.loads(pyproject.read_text("utf-8"))
    direct = settings.get("project", {}).get("dependencies", [])
    groups = settings["dependency-groups"].items()
    grouped = [line for name, lines in groups if name not in but for line in lines]
    return [Requirement(line) for line in [*direct, *grouped]]


def needed(project, python, *extras):
    """What the wheels of a generated project need there, for themselves and for their extras."""
    requirements = []
    for path in project.glob("wheels/*.whl"):
        with zipfile.ZipFile(path) as wheel:
            [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            about = message_from_bytes(wheel.read(name))
        for requirement in map(Requirement, about.get_all("Requires-Dist")):
            marker, requirement.marker = requirement.marker, None
            there = [{"python_version": python, "extra": extra} for extra in ("", *extras)]
            if marker is None or any(map(marker.evaluate, there)):
                requirements.append(requirement)
    return requirements


@pytest.mark.parametrize(
    "lock", [PROJECT_LOCK, DEPLOY_LOCK, TEMPLATE_LOCK], ids=["project", "deploy", "template"]
)
def test_a_lock_has_hashes_and_no_address(lock):
    text = lock.read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    assert all(hashes for _, hashes in read_lock(lock))
    assert "\nsagemaker-emulator==" not in text and "\nsagemaker-project==" not in text


def test_a_generated_lock_takes_its_own_wheels_and_no_others(default_project):
    wheels = {}
    for path in default_project.glob("wheels/*.whl"):
        name, version = path.name.split("-")[:2]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        wheels[name.replace("_", "-")] = f"=={version} --hash=sha256:{digest}"
    assert set(wheels) == {"sagemaker-emulator", "sagemaker-project"}
    for lock, names in (
        (PROJECT_LOCK, {"sagemaker-emulator", "sagemaker-project"}),
        (DEPLOY_LOCK, {"sagemaker-project"}),
    ):
        first, *lines = (default_project / lock.name).read_text().splitlines()
        assert first == "--find-links wheels"
        assert sorted({*lines} - {*lock.read_text().splitlines()}) == sorted(
            name + wheels[name] for name in names
        )
        assert all(hashes for _, hashes in read_lock(default_project / lock.name))


@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_have_what_pyproject_wants(default_project, python):
    project = default_project / "pyproject.toml"
    groups = tomllib.loads(project.read_text("utf-8"))["dependency-groups"]
    for requirements, lock in [
        (wanted(project, but=["deploy"]), default_project / PROJECT_LOCK.name),
        (needed(default_project, python, "build", "local"), default_project / PROJECT_LOCK.name),
        (map(Requirement, groups["deploy"]), default_project / DEPLOY_LOCK.name),
        (wanted(TEMPLATE / "pyproject.toml"), TEMPLATE_LOCK),
    ]:
        locked = versions(lock, python)
        for requirement in requirements:
            marker = requirement.marker
            if marker is None or marker.evaluate({"python_version": python}):
                assert locked[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_what_deploys_is_little_and_of_the_same_versions(default_project, python, platform):
    everything = versions(default_project / PROJECT_LOCK.name, python, platform)
    little = versions(default_project / DEPLOY_LOCK.name, python, platform)
    assert len(little) <= 20
    assert little.items() <= everything.items()


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


@pytest.fixture
def built(tmp_path):
    """The template's Makefile, an environment that looks right, and a `cookiecutter` in it."""
    (tmp_path / "Makefile").write_text((TEMPLATE / "Makefile").read_text())
    (tmp_path / "requirements.lock").write_text("")
    version = subprocess.run([sys.executable, "--version"], capture_output=True, text=True).stdout
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/made-from").write_text(version)
    tool = tmp_path / ".venv/bin/cookiecutter"
    tool.write_text(
        '#!/bin/sh\nwhile [ "$1" != --output-dir ]; do shift; done\n'
        'mkdir -p "$2/abalone" && echo new > "$2/abalone/README.md" && exit ${FAIL:-0}\n'
    )
    tool.chmod(0o755)
    (tmp_path / "build/abalone/.venv").mkdir(parents=True)
    for name in (".venv/made-from", "README.md", "old.py"):
        (tmp_path / "build/abalone" / name).write_text("old")
    return tmp_path / "build"


def content(folder):
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_make_generate_keeps_only_the_environment_of_an_earlier_project(built):
    for _ in range(2):
        done = make(built.parent, "generate", f"PYTHON={sys.executable}")
        assert done.returncode == 0, done.stderr
        assert content(built) == {"made-from": "old", "README.md": "new\n"}
        assert (built / "abalone/.venv/made-from").is_file()


def test_make_generate_makes_a_first_project(built):
    (built / "abalone").rename(built.parent / "elsewhere")
    done = make(built.parent, "generate", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr
    assert content(built) == {"README.md": "new\n"}


def test_make_generate_that_fails_leaves_an_earlier_project(built, monkeypatch):
    monkeypatch.setenv("FAIL", "2")
    assert make(built.parent, "generate", f"PYTHON={sys.executable}").returncode != 0
    assert content(built / "abalone") == {"made-from": "old", "README.md": "old", "old.py": "old"}


@pytest.mark.parametrize("lock", [PROJECT_LOCK, DEPLOY_LOCK], ids=["project", "deploy"])
def test_make_lock_leaves_out_the_wheels(default_project, tmp_path, lock):
    recipes = (TEMPLATE / "Makefile").read_text()
    (tmp_path / "Makefile").write_text(f"{recipes}\nothers:\n\t@$(OTHERS) {lock.name}\n")
    (tmp_path / lock.name).write_text((default_project / lock.name).read_text())
    assert make(tmp_path, "others").stdout == lock.read_text()


def make(folder, *arguments):
    # The tests are run by make themselves, which tells those below it how it was called.
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(["make", *arguments], cwd=folder, env=env, capture_output=True, text=True)


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
