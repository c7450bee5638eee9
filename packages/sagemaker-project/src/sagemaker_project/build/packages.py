"""Packages that a step's code imports, against those that its container has.

The Python that runs `run-pipeline`, and with --local the steps, may have more than the container.
So a script that imports a package of this Python which is neither in the container nor in
requirements.txt beside it is refused here: in AWS it would fail after minutes. An import within
`try` or `if TYPE_CHECKING` may fail, and is not looked at; nor is what the package imports itself.

A local run installs nothing: what requirements.txt lists has to be here.
"""

import ast
import functools
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from sagemaker_project.build.requirements import REQUIREMENTS, Folder, code_of_steps
from sagemaker_project.errors import UsageError
from sagemaker_project.usage import Json

IMAGE = "sagemaker-scikit-learn"
CONTAINER = frozenset(  # what can be imported in the container of scikit-learn 1.9-0
    (
        *("boto3", "botocore", "certifi", "click", "cryptography", "dateutil", "flask", "gevent"),
        *("greenlet", "gunicorn", "jinja2", "joblib", "numpy", "packaging", "pandas", "pip"),
        *("psutil", "pyarrow", "pytz", "requests", "s3transfer", "scipy", "setuptools", "six"),
        *("sklearn", "threadpoolctl", "tzdata", "urllib3", "werkzeug", "yaml"),
        *("sagemaker_containers", "sagemaker_inference", "sagemaker_training"),
    )
)


def check_packages(definition: Json, files: Mapping[str, bytes], local: bool) -> None:
    """Raise UsageError for code that imports what its container will not have.

    Args:
        files: {S3 key: content} of the code of the steps, as StepCode has them.
        local: the steps run in this Python.
    """
    for step, code in code_of_steps(definition, files):
        listed = _requirements(code.get(REQUIREMENTS, b""))
        if local:
            _check_installed(listed, step["Name"])
        if listed is not None and _is_known(step["Arguments"]):
            _check_imports(code, listed, step["Name"])


def _check_imports(code: Folder, listed: Sequence[Requirement], step: str) -> None:
    own = {path.split("/")[0].removesuffix(".py") for path in code}
    names = {canonicalize_name(requirement.name) for requirement in listed}
    for path, module in _imports(code):
        if module in own | CONTAINER | sys.stdlib_module_names:
            continue
        found = {canonicalize_name(name) for name in _distributions().get(module, ())}
        if found and not found & names:
            raise UsageError(
                f"step {step}: {path} imports {module}, which its container does not have: add"
                f" {min(found)} to {REQUIREMENTS} beside it"
            )


@functools.cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """Return {module: names of the packages} of this Python, which takes a moment."""
    return importlib.metadata.packages_distributions()


def _requirements(content: bytes) -> Sequence[Requirement] | None:
    """Return the packages that are listed; None if a line is something else, such as an option."""
    lines = (line.split(" #")[0].strip() for line in content.decode(errors="replace").splitlines())
    try:
        return [Requirement(line) for line in lines if line and not line.startswith("#")]
    except InvalidRequirement:
        return None


def _check_installed(listed: Sequence[Requirement] | None, step: str) -> None:
    for requirement in listed or ():
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        if not version or not requirement.specifier.contains(version, prereleases=True):
            raise UsageError(
                f"step {step}: {REQUIREMENTS} lists {requirement}, and this Python has"
                f" {version or 'none'}: a local run installs nothing; {sys.executable} -m pip"
                f" install '{requirement}'"
            )


def _is_known(arguments: Json) -> bool:
    """Return whether it is known what the container of a step has."""
    specification = arguments.get("AppSpecification") or arguments.get("AlgorithmSpecification", {})
    image = specification.get("ImageUri") or specification.get("TrainingImage")
    return isinstance(image, str) and IMAGE in image


def _imports(code: Folder) -> Iterator[tuple[str, str]]:
    """Yield (path, top-level module) of the imports of scripts; the package that travels is ours.

    What is not Python is left to the step.
    """
    for path, content in sorted(code.items()):
        if path.endswith(".py") and not path.startswith("sagemaker_project/"):
            try:
                tree = ast.parse(content)
            except (SyntaxError, ValueError):
                continue
            for module in _modules(tree):
                yield path, module


def _modules(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module.split(".")[0]
    elif not isinstance(node, ast.Try) and not _is_type_checking(node):
        for child in ast.iter_child_nodes(node):
            yield from _modules(child)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
