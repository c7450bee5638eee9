"""Add a pipeline to a repository: a copy of the first one, with endpoints of its own.

Scripts, settings and tests are copied under the new name. The copy runs at once on the same sample
data, and is then changed by its owner. Everything is read and checked before anything is written.
"""

import keyword
import re
import shutil
from pathlib import Path

from sagemaker_project.errors import UsageError
from sagemaker_project.project import PACKAGE, Project, title
from sagemaker_project.usage import partition_of

NAME = re.compile(r"[a-z](_?[a-z0-9])+")
MAX_NAME = 32  # the shortest limit in SageMaker, that of a tuning job's name
ALARM = re.compile(r'(?<="AlarmName": ")[^"]+')


def new_pipeline(root: Path, project: Project, name: str) -> list[str]:
    """Add the pipeline `name` to a repository.

    Returns:
        What was made and what to type next, line by line.

    Raises:
        UsageError: the name cannot be used, or the first pipeline is not as the template made it.
    """
    _check_name(root, project, name)
    settings = Path(root, project.settings_of(None))
    folders = [Path(root, PACKAGE, name), Path(root, "tests", name), settings / name]
    files: dict[Path, bytes] = {}
    for folder in folders[:2]:
        files |= _scripts(folder.with_name(project.pipeline), folder, project.pipeline, name)
    shared: set[str] = set()
    for stage in project.stages:
        path = settings / f"{stage}-config.json"
        text, alarms = _settings(path, project, name)
        files[settings / name / path.name] = text.encode()
        shared |= alarms
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except BaseException:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    role = f"arn:{partition_of(project.region)}:iam::123456789012:role/local"
    made = "  ".join(f"{path.relative_to(root)}/" for path in folders)
    return [
        f"{made}  are made, copied from {project.pipeline}",
        *(f"the alarm {alarm} is shared with {project.pipeline}" for alarm in sorted(shared)),
        f".venv/bin/run-pipeline --local --module-name {PACKAGE}.{name}.pipeline"
        f" --role-arn {role} --input-data CSV --parameters ModelApprovalStatus=Approved",
        f".venv/bin/deploy-model promote --local --pipeline {name} --stage {project.stages[0]}"
        f" --model-execution-role {role} --latest-approved",
    ]


def _check_name(root: Path, project: Project, name: str) -> None:
    if not NAME.fullmatch(name) or len(name) > MAX_NAME or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r}: expected 2 to {MAX_NAME} of a-z, 0-9 and single '_', beginning with a"
            " letter, such as customer_churn: make new-pipeline NAME=customer_churn"
        )
    for folder in (Path(root, PACKAGE), Path(root, "tests"), Path(root, project.settings_of(None))):
        for path in (folder / name, folder / f"{name}.py"):
            if path.exists():
                raise UsageError(f"{path} exists already: choose another name")
    for other in Path(root, PACKAGE).glob("*/pipeline.py"):
        if title(other.parent.name) == title(name):
            raise UsageError(
                f"{name}: its resources in SageMaker would be called {title(name)}, as those of"
                f" {other.parent.name} are: choose another name"
            )


def _scripts(source: Path, target: Path, first: str, name: str) -> dict[Path, bytes]:
    """Return {path: content} of a copy of a folder of the first pipeline, under the new name."""
    if not source.is_dir():
        raise UsageError(f"{source} does not exist: a new pipeline is a copy of it")
    files = {}
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = path.read_bytes()
            if path.suffix == ".py":
                text = _renamed(content.decode(), first, name)
                if path == source / "pipeline.py":
                    text = _with_name(text, path, title(name))
                content = text.encode()
            files[target / path.relative_to(source)] = content
    return files


def _renamed(text: str, first: str, name: str) -> str:
    text = re.sub(rf"\b({PACKAGE}[./]){first}\b", rf"\g<1>{name}", text)
    return re.sub(rf"\b(The ){first}( pipeline)\b", rf"\g<1>{name}\g<2>", text)


def _with_name(text: str, path: Path, name: str) -> str:
    """Replace NAME in pipeline.py, which is the prefix of all names in SageMaker."""
    text, found = re.subn(r'^NAME = "[^"\n]*"$', f'NAME = "{name}"', text, flags=re.MULTILINE)
    if found != 1:
        raise UsageError(
            f'{path}: expected one line NAME = "...", found {found}: without it the new'
            " pipeline would have the first one's names in SageMaker"
        )
    return text


def _settings(path: Path, project: Project, name: str) -> tuple[str, set[str]]:
    """Return a stage's settings for the new pipeline, and the alarms it shares with the first."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}): every stage needs this file"
        ) from None
    own = f"{project.name}-{name.replace('_', '-')}-"
    text = ALARM.sub(lambda found: re.sub(rf"^{project.name}-", own, found[0]), text)
    text = text.replace('"./', '"../')  # the schema is beside the first pipeline's settings
    return text, {alarm for alarm in ALARM.findall(text) if not alarm.startswith(own)}
