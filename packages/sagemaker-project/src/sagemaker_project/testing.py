"""A pytest plugin for repositories: the tests of a pipeline's scripts import them by name.

In a container a script's own folder is first on sys.path, so scripts import each other by name,
such as `import inference`. Two pipelines have scripts of the same names. So a test in
`tests/<pipeline>/` is imported and run with the modules of `pipelines/<pipeline>/` and with those
of no other pipeline; a conftest.py imports them in its fixtures. pytest loads this plugin wherever
the package is installed.

The fixture `sample` is the data of the pipeline: its schema, and a file that fits it.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from sagemaker_project.project import PACKAGE

if TYPE_CHECKING:  # a test that needs no data shall not wait for numpy
    from sagemaker_project.sample import Sample


class Scripts:
    """The scripts of one pipeline at a time, as top-level modules."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder: Path | None = None
        self.modules: dict[Path, dict[str, ModuleType]] = {}

    def enter(self, test: Path) -> None:
        """Make the scripts of a test module's pipeline importable, and no others."""
        folders = [self.root / PACKAGE / parent.name for parent in test.parents]
        folder = next((path for path in folders if (path / "pipeline.py").is_file()), None)
        if folder == self.folder:
            return
        if self.folder:
            self._leave(self.folder)
        self.folder = folder
        if folder:
            sys.path.insert(0, str(folder))
            sys.modules.update(self.modules.get(folder, {}))

    def _leave(self, folder: Path) -> None:
        loaded = {
            name: module
            for name, module in sys.modules.items()
            if folder in Path(getattr(module, "__file__", None) or "/").parents
            and not name.startswith(f"{PACKAGE}.")
        }
        for name in loaded:
            del sys.modules[name]
        self.modules[folder] = loaded
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Sample":
    """The schema of the pipeline whose test it is, and a data file that fits it."""
    from sagemaker_project.sample import sample_of

    pipeline = request.path.parent.name
    return sample_of(request.config.rootpath, pipeline, tmp_path_factory.mktemp("sample"))


def pytest_configure(config: pytest.Config) -> None:
    scripts = Scripts(config.rootpath)

    class SwitchScripts:
        @pytest.hookimpl(tryfirst=True)
        def pytest_make_collect_report(self, collector: pytest.Collector) -> None:
            if isinstance(collector, pytest.Module):
                scripts.enter(collector.path)

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_setup(self, item: pytest.Item) -> None:
            scripts.enter(item.path)

    config.pluginmanager.register(SwitchScripts())
