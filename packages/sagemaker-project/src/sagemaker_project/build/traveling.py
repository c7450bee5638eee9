"""The Python files that travel with a pipeline's scripts as a folder beside them.

In a container nothing is installed: a script imports sagemaker_project.tabular from a folder of
plain files, whose sagemaker_project/__init__.py is a stub without the rest of this package.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from sagemaker_project import tabular

Files: TypeAlias = Mapping[str, bytes]  # {path below the script's folder, with "/": content}

STUB = b'"""The part of sagemaker_project that travels with the scripts of a pipeline."""\n'


def traveling() -> dict[str, bytes]:
    """Return sagemaker_project.tabular and the stub of the package around it."""
    files = python_files(Path(tabular.__file__).parent)
    below = {f"sagemaker_project/{name}": content for name, content in files.items()}
    return {"sagemaker_project/__init__.py": STUB, **below}


def python_files(package: str | Path) -> dict[str, bytes]:
    """Return the .py files of a package's folder and its sub-folders, below the folder's name.

    Raises:
        ValueError: it is no folder with Python files.
    """
    folder = Path(package).resolve()
    paths = sorted(path for path in folder.rglob("*.py") if path.is_file())
    if not paths:
        raise ValueError(f"{package} is no folder with .py files, so it is no package of a step")
    return {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in paths}
