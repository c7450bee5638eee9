"""A second pipeline in a repository: made after the first one, with endpoints of its own.

Its scripts, settings and tests are copies that can be run at once, on the same sample data; then
they are its owner's to change. Everything is read and checked before anything is written.
"""

import keyword
import re
import shutil
from pathlib import Path

from sagemaker_project.project import PACKAGE, Project, title
from sagemaker_project.usage import UsageError, partition_of

NAME = re.compile(r"[a-z](_?[a-z0-9])+")
MAX_NAME = 32  # SageMaker's shortest limit, that of a tuning job
ALARM = re.compile(r'(?<="AlarmName": ")[^"]+')


def new_pipeline(root: Path, project: Project, name: str) -> list[str]:
    """Add the pipeline `name` to a repository; what was made and what to type next, a line each."""
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
        f"{made}  are made, after {project.pipeline}",
        *(f"the alarm {alarm} is shared with {project.pipeline}" for alarm in sorted(shared)),
        f".venv/bin/run-pipeline --local --module-name {PACKAGE}.{name}.pipeline"
        f" --role-arn {role} --input-data CSV --parameters ModelApprovalStatus=Approved",
        f".venv/bin/deploy-model promote --local --pipeline {name} --stage {project.stages[0]}"
        f" --model-execution-role {role} --latest-approved",
    ]


def _check_name(root: Path, project: Project, name: str) -> None:
    if not NAME.fullmatch(name) or len(name) > MAX_NAME or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r}: 2 to {MAX_NAME} of a-z, 0-9 and single '_' are wanted, beginning with a"
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
    """{path: content} of a copy of a folder of the first pipeline, under the new name."""
    if not source.is_dir():
        raise UsageError(f"{source} does not exist: it is what a new pipeline is made after")
    files = {}
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = path.read_bytes()
            if path.suffix == ".py":
                text = _renamed(content.decode(), first, name)
                if path == source / "pipeline.py":
                    text = _named(text, path, title(name))
                content = text.encode()
            files[target / path.relative_to(source)] = content
    return files


def _renamed(text: str, first: str, name: str) -> str:
    text = re.sub(rf"\b({PACKAGE}[./]){first}\b", rf"\g<1>{name}", text)
    return re.sub(rf"\b(The ){first}( pipeline)\b", rf"\g<1>{name}\g<2>", text)


def _named(text: str, path: Path, name: str) -> str:
    """pipeline.py with another NAME, which the names of everything in SageMaker begin with."""
    text, found = re.subn(r'^NAME = "[^"\n]*"$', f'NAME = "{name}"', text, flags=re.MULTILINE)
    if found != 1:
        raise UsageError(
            f'{path}: one line NAME = "..." is wanted, {found} were found: without it the new'
            " pipeline would have the first one's names in SageMaker"
        )
    return text


def _settings(path: Path, project: Project, name: str) -> tuple[str, set[str]]:
    """A stage's settings for the new pipeline, and those alarms that it has from the first one."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): every stage has one") from None
    own = f"{project.name}-{name.replace('_', '-')}-"
    text = ALARM.sub(lambda found: re.sub(rf"^{project.name}-", own, found[0]), text)
    text = text.replace('"./', '"../')  # the schema lies beside the first pipeline's settings
    return text, {alarm for alarm in ALARM.findall(text) if not alarm.startswith(own)}
