"""The two packages: what is public, that nothing private is used across them, and their wheels."""

import ast
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.fast

TEMPLATE = Path(__file__).resolve().parents[1]
PACKAGES = TEMPLATE / "packages"
PROJECT_LOCK = TEMPLATE / "{{cookiecutter.project_slug}}/requirements.lock"
HOUSES = {
    "sagemaker_emulator": PACKAGES / "sagemaker-emulator",
    "sagemaker_project": PACKAGES / "sagemaker-project",
}
# All that anybody outside a package may use of it. The READMEs have the same table.
PUBLIC = {
    "sagemaker_emulator": {"Local", "LocalError", "attach"},
    "sagemaker_emulator.testing": {"calls", "clear", "clear_calls", "inject", "sagemaker_local"},
    "sagemaker_project": {"Project"},
    "sagemaker_project.build.code": {"PipelineWithCode", "StepCode", "s3_uri", "traveling"},
    "sagemaker_project.build.driver": {
        *("convert_struct", "get_pipeline_custom_tags", "get_pipeline_driver", "quiet_sdk"),
    },
    "sagemaker_project.build.execution": {"follow", "read_evaluation"},
    "sagemaker_project.build.get_pipeline_definition": {"get_definition", "main"},
    "sagemaker_project.build.run_pipeline": {"main"},
    "sagemaker_project.deploy": {"Evidence", "Refused", "main"},
    "sagemaker_project.tabular.artifact": {"save"},
    "sagemaker_project.tabular.cells": {"number"},
    "sagemaker_project.tabular.client": {"csv_body"},
    "sagemaker_project.tabular.evaluation": {"Folders", "Gate", "evaluate"},
    "sagemaker_project.tabular.parameters": {"add_arguments", "from_arguments"},
    "sagemaker_project.tabular.preprocessing": {"Folders", "data_url", "preprocess", "summary"},
    "sagemaker_project.tabular.schema": {
        *("Field", "FileFormat", "Metric", "Schema", "SchemaError", "Split", "read_schema"),
    },
    "sagemaker_project.tabular.script": {"Parser", "path_option", "run"},
    "sagemaker_project.tabular.serving": {"input_fn", "model_fn", "output_fn", "predict_fn"},
    "sagemaker_project.tabular.splits": {"read_split", "write_split"},
    "sagemaker_project.tabular.training": {"fit"},
}


# What is public


@pytest.mark.parametrize("module", PUBLIC)
def test_a_public_module_says_what_is_public(module, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")  # the SDK wants one to be imported
    assert set(importlib.import_module(module).__all__) == PUBLIC[module]


def test_no_other_module_says_that_it_is_public():
    for name, house in HOUSES.items():
        for path in (house / "src").rglob("*.py"):
            parts = path.relative_to(house / "src").with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if "__all__ = " in path.read_text() and module not in PUBLIC:
                # config.py lists what deploy's other modules import through it
                assert module == "sagemaker_project.deploy.config", module
        assert name in PUBLIC


@pytest.mark.parametrize("module", PUBLIC)
def test_the_readme_of_a_package_lists_what_is_public(module):
    readme = (HOUSES[module.partition(".")[0]] / "README.md").read_text()
    [row] = [line for line in readme.splitlines() if line.startswith(f"| `{module}` |")]
    assert {name for name in row.split("`")[3::2]} == PUBLIC[module]


def used(source):
    """(module, name) of each import of our packages in Python source; the name may be None."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None


def foreign(source, own=None):
    """Imports of our packages, but for `own`, that are not public."""
    for module, name in used(source):
        package = module.partition(".")[0]
        if package not in HOUSES or package == own:
            continue
        is_module = name is not None and f"{module}.{name}" in PUBLIC
        if not (is_module or name in PUBLIC.get(module, ()) or (name is None and module in PUBLIC)):
            yield module, name


@pytest.mark.parametrize("package", HOUSES)
def test_a_package_uses_nothing_private_of_the_other(package):
    for path in HOUSES[package].rglob("*.py"):
        if "/build/lib/" not in str(path):
            assert list(foreign(path.read_text(), own=package)) == [], path


def test_the_emulator_does_not_know_the_other_package():
    for path in (HOUSES["sagemaker_emulator"] / "src").rglob("*.py"):
        names = {module.partition(".")[0] for module, _ in used(path.read_text())}
        assert not names & {"sagemaker_project", "pipelines", "deploy"}, path


def test_a_generated_project_uses_nothing_private(default_project):
    for path in default_project.rglob("*.py"):
        assert list(foreign(path.read_text())) == [], path
    notebook = next(default_project.rglob("*.ipynb")).read_text()
    for line in notebook.splitlines():
        code = line.strip().removeprefix('"').partition("\\n")[0]
        if code.startswith(("from sagemaker_", "import sagemaker_")):
            assert list(foreign(code)) == [], code


def test_what_is_private_is_noticed():
    assert list(foreign("from sagemaker_emulator import server"))
    assert list(foreign("from sagemaker_emulator.client import attach"))
    assert list(foreign("import sagemaker_project.deploy.planner"))
    assert not list(foreign("from sagemaker_project.build import run_pipeline"))


# Wheels


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """The wheels as a generation packs them."""
    folder = tmp_path_factory.mktemp("wheels")
    pack(sys.executable, folder)
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="session")
def standard(tmp_path_factory):
    """sdist and wheel of both packages as standard tools make them."""
    folder = tmp_path_factory.mktemp("standard")
    for house in HOUSES.values():
        copy = tmp_path_factory.mktemp("sources") / house.name  # setuptools writes beside them
        shutil.copytree(house, copy, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
        command = ["-m", "build", "--no-isolation", "--outdir", str(folder), str(copy)]
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return folder


def pack(python, folder):
    done = subprocess.run(
        [python, PACKAGES / "pack.py", folder], check=True, capture_output=True, text=True
    )
    return done.stdout


def content_of(wheel):
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.mark.parametrize("package", HOUSES)
def test_a_packed_wheel_is_the_one_that_standard_tools_make(package, wheels, standard):
    ours = content_of(wheels[package])
    theirs = content_of(next(standard.glob(f"{package}-*.whl")))
    for name in ours.keys() & theirs.keys():
        if not name.endswith(("METADATA", "WHEEL", "RECORD", "entry_points.txt")):
            assert ours[name] == theirs[name], name
    made_by = {name for name in theirs if name.endswith("top_level.txt")}
    assert ours.keys() == theirs.keys() - made_by
    [about] = [name for name in ours if name.endswith("METADATA")]
    one, other = message_from_bytes(ours[about]), message_from_bytes(theirs[about])
    for field in ("Name", "Version", "Summary", "Keywords", "License-Expression"):
        assert one[field] == other[field]
    assert one["Requires-Python"] == other["Requires-Python"]
    assert one["Description-Content-Type"] == other["Description-Content-Type"]
    for field in ("Classifier", "License-File", "Provides-Extra"):
        assert sorted(one.get_all(field, [])) == sorted(other.get_all(field, []))
    assert set(map(Requirement, one.get_all("Requires-Dist"))) == set(
        map(Requirement, other.get_all("Requires-Dist"))
    )
    assert one.get_payload().strip() == other.get_payload().strip()


def test_both_packages_are_ready_for_an_index(standard):
    files = sorted(map(str, standard.iterdir()))
    assert len(files) == 4
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_a_wheel_has_no_file_that_was_not_meant_for_it(wheels):
    for wheel in wheels.values():
        for name in content_of(wheel):
            assert Path(name).suffix in {".json", ".md", ".py", ".txt", ".typed"} or (
                ".dist-info/" in name
            ), name
            assert "__pycache__" not in name and "egg-info" not in name and "/tests/" not in name


def pythons():
    """Each supported Python that this machine has, by its version."""
    found = {}
    roots = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    if versions := os.environ.get("PYENV_ROOT"):
        roots += Path(versions, "versions").glob("*/bin")
    for minor in range(10, 14):
        for root in roots:
            path = root / f"python3.{minor}"
            works = path.exists() and subprocess.run([path, "--version"], capture_output=True)
            if works and works.returncode == 0:
                found[f"3.{minor}"] = path
                break
    return found


def test_wheels_are_the_same_bytes_whatever_python_packs_them(wheels, tmp_path):
    expected = {path.name: path.read_bytes() for path in wheels.values()}
    assert (found := pythons())
    for version, python in found.items():
        folder = tmp_path / version
        folder.mkdir()
        pack(python, folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected, version


def test_the_time_of_packing_and_of_the_files_changes_nothing(wheels, tmp_path, monkeypatch):
    copy = tmp_path / "packages"
    subprocess.run(["cp", "-r", str(PACKAGES), str(copy)], check=True)
    for path in copy.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    (tmp_path / "out").mkdir()
    subprocess.run([sys.executable, copy / "pack.py", tmp_path / "out"], check=True)
    packed = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert packed == {path.name: path.read_bytes() for path in wheels.values()}


def test_a_changed_byte_is_refused_by_pip(default_project, tmp_path):
    """As an attacker or a bad merge would leave it: the wheel, but not the lock."""
    for name in ("wheels", "requirements-deploy.lock"):
        subprocess.run(["cp", "-r", str(default_project / name), str(tmp_path)], check=True)
    lock = tmp_path / "requirements-deploy.lock"
    first, *others = lock.read_text().splitlines(keepends=True)
    own = [line for line in others if line.startswith("sagemaker-project==")]
    lock.write_text("".join([first, *own]))
    [wheel] = (tmp_path / "wheels").glob("sagemaker_project-*.whl")

    def download(folder):
        options = ["--no-index", "--no-deps", "--require-hashes", "--dest", tmp_path / folder]
        return subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, "--requirement", lock],
            cwd="/",  # --find-links is relative to the lock, and not to this
            capture_output=True,
            text=True,
        )

    done = download("good")
    assert done.returncode == 0, done.stderr
    body = bytearray(wheel.read_bytes())
    body[len(body) // 3] ^= 1
    wheel.write_bytes(body)
    done = download("bad")
    assert done.returncode != 0 and "DO NOT MATCH THE HASHES" in done.stderr
    assert hashlib.sha256(bytes(body)).hexdigest() in done.stderr
