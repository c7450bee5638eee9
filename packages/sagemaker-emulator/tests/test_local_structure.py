"""The order of the package: each module on a map, moto in one place, a start without it."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import sagemaker_emulator

FOLDER = Path(sagemaker_emulator.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))
MOTO = FOLDER / "api" / "moto_services.py"


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES}), ids=lambda f: f.name)
def test_every_module_is_on_the_map_of_its_folder(folder):
    parts = (FOLDER.name, *folder.relative_to(FOLDER).parts)
    words = (importlib.import_module(".".join(parts)).__doc__ or "").split()
    modules = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    folders = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert not (modules | folders) - set(words)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_only_one_module_uses_moto(path):
    if path == MOTO:
        assert moto_in(path.read_text())
    else:
        assert moto_in(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        *("import moto", "import moto.s3", "from moto import mock_aws", "import json, moto.s3"),
        *("from moto.s3.models import s3_backends", "def f():\n    import moto"),
        *('sys.modules["moto.s3"]', 'import_module("moto")', '__import__("moto.s3.models")'),
    ],
)
def test_moto_is_found_however_it_is_reached(line):
    assert moto_in(line)


@pytest.mark.parametrize("line", ["import motor", '"moto-api"', '"""moto keeps it."""', "moto = 1"])
def test_a_word_like_moto_is_no_use_of_it(line):
    assert not moto_in(line)


@pytest.mark.parametrize(
    "module, slow",
    [
        ("api.server", ["boto3", "botocore", "moto", "flask", "pytest"]),
        ("client", ["boto3", "botocore", "moto", "flask", "pytest", "asyncio", "sqlite3"]),
    ],
)
def test_a_start_waits_for_nothing_that_is_slow_to_import(module, slow):
    code = f"import sys, sagemaker_emulator.{module}; print(*({set(slow)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def moto_in(source):
    """The modules of moto that a source imports, or names in a string."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.append(node.value)
    return [name for name in names if name == "moto" or name.startswith("moto.")]
