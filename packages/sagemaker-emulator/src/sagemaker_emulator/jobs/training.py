"""The plan of a training job, and what the toolkit in AWS's framework containers adds to it.

With an entrypoint, a training job is a command like any other. Without one it is in script mode:
hyperparameters (or variables) name the script and the tarball that holds it; the script gets its
hyperparameters as arguments, and the SM_* variables.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from sagemaker_emulator.api.documents import Document, Json
from sagemaker_emulator.jobs import container
from sagemaker_emulator.jobs.container import HOST, RESOURCE_CONFIG
from sagemaker_emulator.jobs.kinds import JobError
from sagemaker_emulator.jobs.plan import Archive, Plan, Transfer, require_value


@dataclass(frozen=True)
class Script:
    """What runs in script mode."""

    command: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    source: str | None  # S3 URI of the tarball to unpack into the folder


def output_uri(job: Document) -> str:
    """Return the S3 URI below which a training job writes its archives."""
    path = job["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    return f"{path}/{job['TrainingJobName']}/output"


def training_plan(job: Document, ml: Path) -> Plan:
    """Plan a training job whose /opt/ml is the folder `ml`."""
    specification = job["AlgorithmSpecification"]
    channels = job.get("InputDataConfig") or []
    inputs = tuple(_input(item, specification["TrainingInputMode"], ml) for item in channels)
    environment = container.relocate_values(job.get("Environment"), ml)
    command = container.command(specification, specification["TrainingImage"], ml)
    if command is None:
        script = _script(job, environment, ml)
    else:
        script = Script(command, environment, ml / "code", source=None)
    target = output_uri(job)
    return Plan(
        inputs=inputs,
        command=script.command,
        environment=script.environment,
        work_folder=script.folder,
        config={
            "input/config/hyperparameters.json": job.get("HyperParameters") or {},
            "input/config/inputdataconfig.json": _input_data_config(job),
            "input/config/resourceconfig.json": RESOURCE_CONFIG,
        },
        archives=(
            Archive(ml / "model", f"{target}/model.tar.gz", after_failure=False),
            Archive(ml / "output/data", f"{target}/output.tar.gz", after_failure=True),
        ),
        source=script.source,
    )


def _input(channel: Json, default_mode: str, ml: Path) -> Transfer:
    where, source = f"channel '{channel['ChannelName']}'", channel["DataSource"]
    if "S3DataSource" not in source:
        raise JobError(f"ClientError: {where}: sagemaker_emulator has S3DataSource only")
    require_value(source["S3DataSource"], "S3DataType", "S3Prefix", where)
    require_value(channel, "CompressionType", "None", where)
    if (channel.get("InputMode") or default_mode) == "Pipe":
        raise JobError(f"ClientError: {where}: sagemaker_emulator has no InputMode Pipe")
    return Transfer(source["S3DataSource"]["S3Uri"], ml / "input/data" / channel["ChannelName"])


def _input_data_config(job: Document) -> dict[str, Json]:
    return {
        channel["ChannelName"]: {
            "ContentType": channel.get("ContentType") or "",
            "TrainingInputMode": channel.get("InputMode") or "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": channel.get("RecordWrapperType") or "None",
        }
        for channel in job.get("InputDataConfig") or []
    }


# Script mode


def _script(job: Document, environment: dict[str, str], ml: Path) -> Script:
    image = job["AlgorithmSpecification"]["TrainingImage"]
    settings = _decoded(job.get("HyperParameters") or {})
    program = settings.get("sagemaker_program") or environment.get("SAGEMAKER_PROGRAM")
    if container.SCRIPT_MODE_IMAGE not in image or not program:
        raise container.no_command(image)
    folder, source = ml / "code", settings.get("sagemaker_submit_directory")
    source = source or environment.get("SAGEMAKER_SUBMIT_DIRECTORY") or str(folder)
    if not source.startswith("s3://"):
        folder, source = Path(container.relocate(source, ml)), None
    hyperparameters = _without_settings(settings)
    arguments = _arguments(hyperparameters)
    variables = _toolkit_variables(job, ml, folder, program, hyperparameters, arguments)
    command = (sys.executable, str(folder / program), *arguments)
    return Script(command, variables | environment, folder, source)


def _decoded(hyperparameters: dict[str, str]) -> dict[str, Json]:
    """Decode values as the training toolkit does: JSON if they are JSON, else text."""
    decoded = {}
    for name, text in hyperparameters.items():
        try:
            decoded[name] = json.loads(text)
        except ValueError:
            decoded[name] = text
    return decoded


def _without_settings(decoded: dict[str, Json]) -> dict[str, Json]:
    """Return the hyperparameters that are for the script, not for the toolkit."""
    return {
        name: value
        for name, value in decoded.items()
        if not name.startswith("sagemaker_") and name != "_tuning_objective_metric"
    }


def _arguments(hyperparameters: dict[str, Json]) -> list[str]:
    """Return hyperparameters as command line arguments, in the toolkit's order and form."""
    arguments = []
    for name, value in sorted(hyperparameters.items()):
        if isinstance(value, dict):
            value = ",".join(f"{k}={v}" for k, v in sorted(value.items()))
        arguments += [f"--{name}" if len(name) > 1 else f"-{name}", str(value)]
    return arguments


def _toolkit_variables(
    job: Document,
    ml: Path,
    code: Path,
    program: str,
    hyperparameters: dict[str, Json],
    arguments: list[str],
) -> dict[str, str]:
    """Return the SM_* variables that scripts for the framework containers read."""
    channels = _input_data_config(job)
    submitted = (job.get("HyperParameters") or {}).get("sagemaker_submit_directory", str(code))
    values = {
        "HOSTS": [HOST],
        "CURRENT_HOST": HOST,
        "NETWORK_INTERFACE_NAME": "lo",
        "NUM_CPUS": os.cpu_count(),
        "NUM_GPUS": 0,
        "HPS": hyperparameters,
        "USER_ENTRY_POINT": program,
        "USER_ARGS": arguments,
        "MODULE_NAME": program.removesuffix(".py"),
        "MODULE_DIR": submitted,
        "LOG_LEVEL": 20,
        "MODEL_DIR": str(ml / "model"),
        "INPUT_DIR": str(ml / "input"),
        "INPUT_CONFIG_DIR": str(ml / "input/config"),
        "OUTPUT_DIR": str(ml / "output"),
        "OUTPUT_DATA_DIR": str(ml / "output/data"),
        "OUTPUT_INTERMEDIATE_DIR": str(ml / "output/intermediate"),
        "CHANNELS": sorted(channels),
        "RESOURCE_CONFIG": RESOURCE_CONFIG,
        "INPUT_DATA_CONFIG": channels,
    }
    values |= {f"CHANNEL_{name.upper()}": str(ml / "input/data" / name) for name in channels}
    values |= {f"HP_{name.upper()}": value for name, value in hyperparameters.items()}
    return {
        f"SM_{name}": value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in values.items()
    } | {"TRAINING_JOB_NAME": job["TrainingJobName"]}
