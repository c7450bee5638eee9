"""The plan of a job: what to download, what to run and what to upload, as plain data.

A plan is made from the stored request before anything runs; what the emulator cannot do is
refused here, as a JobError. The plan of a training job is made in training.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sagemaker_emulator.api.documents import Document, Json
from sagemaker_emulator.jobs import container
from sagemaker_emulator.jobs.kinds import JobError


class Transfer(NamedTuple):
    """Files to copy between S3 and a folder; a plan's member says in which direction."""

    uri: str
    folder: Path


class Archive(NamedTuple):
    """A folder to upload as one tar.gz."""

    folder: Path
    uri: str
    after_failure: bool  # whether it is uploaded if the script failed, too


@dataclass(frozen=True)
class Plan:
    inputs: tuple[Transfer, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    work_folder: Path
    config: dict[str, Json]  # {path below the job's /opt/ml: content of the JSON file}
    outputs: tuple[Transfer, ...] = ()
    archives: tuple[Archive, ...] = ()
    source: str | None = None  # S3 URI of the tarball that holds a training script


def processing_plan(job: Document, ml: Path) -> Plan:
    """Plan a processing job whose /opt/ml is the folder `ml`."""
    specification = job["AppSpecification"]
    command = container.command(specification, specification["ImageUri"], ml)
    if command is None:
        raise container.no_command(specification["ImageUri"])
    outputs = (job.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    return Plan(
        inputs=tuple(_input(item, ml) for item in job.get("ProcessingInputs") or []),
        command=command,
        environment=container.relocate_values(job.get("Environment"), ml),
        work_folder=ml,
        config={
            "config/processingjobconfig.json": job,
            "config/resourceconfig.json": container.RESOURCE_CONFIG,
        },
        outputs=tuple(_output(item, ml) for item in outputs),
    )


def _input(item: Json, ml: Path) -> Transfer:
    source, where = item.get("S3Input"), f"input '{item['InputName']}'"
    if source is None:
        raise JobError(f"ClientError: {where}: sagemaker_emulator has S3Input only")
    require_value(source, "S3DataType", "S3Prefix", where)
    require_value(source, "S3InputMode", "File", where)
    require_value(source, "S3CompressionType", "None", where)
    return Transfer(source["S3Uri"], container.local_folder(source.get("LocalPath"), ml))


def _output(item: Json, ml: Path) -> Transfer:
    target = item.get("S3Output")
    if target is None:
        raise JobError(f"ClientError: output '{item['OutputName']}' needs an S3Output")
    return Transfer(target["S3Uri"], container.local_folder(target.get("LocalPath"), ml))


def require_value(item: Json, member: str, supported: str, where: str) -> None:
    """Refuse any value of a member but the one that is supported, which is also the default."""
    if item.get(member) not in (None, supported):
        raise JobError(
            f"ClientError: {where}: {member} is {item[member]};"
            f" sagemaker_emulator has {supported} only"
        )
