"""Follow a pipeline execution to its end, and read what it produced.

Only boto3 is used, and nothing here knows whether SageMaker or the emulator answers. `follow()`
polls: often at first and then less and less, so that an execution of seconds ends in seconds and
one of hours costs few calls.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from sagemaker_project.errors import Timeout
from sagemaker_project.usage import Client, Json

if TYPE_CHECKING:  # it imports numpy
    from sagemaker_project.tabular.preprocessing import Report

__all__ = ["follow", "read_evaluation"]

RUNNING = {"Executing", "Stopping"}


class Evaluation(NamedTuple):
    """What the evaluation step of an execution wrote, at an S3 URI.

    `metrics` are {name: value}; `gate` is gate.json, {} if there is none.
    """

    uri: str
    metrics: dict[str, float]
    gate: Json
    report: str


@dataclass(frozen=True)
class StepRun:
    """One step of an execution; `job` and `package` are ARNs, or empty."""

    name: str
    status: str
    seconds: float
    note: str
    job: str
    package: str


def follow(
    client: Client,
    arn: str,
    timeout_seconds: float,
    show: Callable[[Sequence[StepRun]], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Json, list[StepRun]]:
    """Poll the execution until it has ended, and call `show(steps)` after each poll.

    Returns:
        The DescribePipelineExecution answer and the steps, oldest first.

    Raises:
        Timeout: it had not ended after `timeout_seconds`.
    """
    started = clock()
    while True:
        execution = client.describe_pipeline_execution(PipelineExecutionArn=arn)
        steps = _list_steps(client, arn)
        show(steps)
        status = execution["PipelineExecutionStatus"]
        if status not in RUNNING:
            return execution, steps
        elapsed = clock() - started
        if elapsed > timeout_seconds:
            raise Timeout(f"after {timeout_seconds:g} s the execution is still {status}: {arn}")
        sleep(min(30, max(0.05, elapsed / 50)))


def _list_steps(client: Client, arn: str) -> list[StepRun]:
    pages = client.get_paginator("list_pipeline_execution_steps").paginate(
        PipelineExecutionArn=arn, SortOrder="Ascending"
    )
    return [_step_run(step) for page in pages for step in page["PipelineExecutionSteps"]]


def _step_run(step: Json) -> StepRun:
    metadata = step.get("Metadata", {})
    now = datetime.now(timezone.utc)
    seconds = (step.get("EndTime", now) - step.get("StartTime", now)).total_seconds()
    jobs = [metadata[kind]["Arn"] for kind in ("ProcessingJob", "TrainingJob") if kind in metadata]
    return StepRun(
        name=step["StepName"],
        status=step["StepStatus"],
        seconds=seconds,
        note=_note(step, metadata),
        job=jobs[0] if jobs else "",
        package=metadata.get("RegisterModel", {}).get("Arn", ""),
    )


def _note(step: Json, metadata: Json) -> str:
    if step.get("FailureReason"):
        return " ".join(step["FailureReason"].split())
    if "CacheHitResult" in step:
        return "taken from an earlier execution"
    if "Fail" in metadata:
        return str(metadata["Fail"].get("ErrorMessage", ""))
    if "Condition" in metadata:
        return f"outcome {metadata['Condition'].get('Outcome', '')}"
    return ""


def explain(client: Client, steps: Sequence[StepRun]) -> list[StepRun]:
    """Return the steps; to the note of each failed one, append its script's exit message."""
    return [
        replace(step, note=f"{step.note} {_exit_message(client, step)}".strip())
        if step.status == "Failed"
        else step
        for step in steps
    ]


def _exit_message(client: Client, step: StepRun) -> str:
    if ":processing-job/" not in step.job:
        return ""
    job = client.describe_processing_job(ProcessingJobName=step.job.rsplit("/", 1)[1])
    message = " ".join(job.get("ExitMessage", "").split())
    return "" if message in step.note else message


def log_group(job_arn: str) -> tuple[str, str]:
    """Return the CloudWatch log group and the job name, which its log streams start with."""
    kind, name = job_arn.split(":", 5)[5].split("/", 1)
    groups = {"processing-job": "ProcessingJobs", "training-job": "TrainingJobs"}
    return f"/aws/sagemaker/{groups[kind]}", name


def read_evaluation(client: Client, s3: Client, steps: Sequence[StepRun]) -> Evaluation | None:
    """Read the processing output named `evaluation`; None if no step of the execution has one."""
    for uri in _outputs(client, steps, "evaluation"):
        return Evaluation(
            uri=uri,
            metrics=_metrics(json.loads(_read(s3, uri, "evaluation.json") or "{}")),
            gate=json.loads(_read(s3, uri, "gate.json") or "{}"),
            report=_read(s3, uri, "report.html").decode(),
        )
    return None


def read_data_report(client: Client, s3: Client, steps: Sequence[StepRun]) -> "Report | None":
    """Read data_report.json of the processing output named `report`; None if there is none."""
    for uri in _outputs(client, steps, "report"):
        if content := _read(s3, uri, "data_report.json"):
            report: Report = json.loads(content)
            return report
    return None


def _outputs(client: Client, steps: Sequence[StepRun], name: str) -> Iterator[str]:
    """Yield the S3 URIs of the processing outputs of a name."""
    for step in steps:
        if ":processing-job/" in step.job and step.status == "Succeeded":
            job = client.describe_processing_job(ProcessingJobName=step.job.rsplit("/", 1)[1])
            for output in job.get("ProcessingOutputConfig", {}).get("Outputs", []):
                if output["OutputName"] == name:
                    yield output["S3Output"]["S3Uri"]


def _read(s3: Client, uri: str, name: str) -> bytes:
    """Return the bytes of an object below a URI, b"" if there is none."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    try:
        return bytes(s3.get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read())
    except s3.exceptions.NoSuchKey:
        return b""


def _metrics(evaluation: Json) -> dict[str, float]:
    """Return {"mse": 4.5, ...} of a file in SageMaker's Model Quality format."""
    return {
        name: float(metric["value"])
        for group, metrics in evaluation.items()
        if group.endswith("_metrics")
        for name, metric in metrics.items()
        if isinstance(metric, dict) and "value" in metric
    }
