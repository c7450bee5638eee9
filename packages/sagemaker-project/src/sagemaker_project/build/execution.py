"""Following a pipeline execution to its end, and what it left behind.

Only boto3 is used, and nothing here knows whether SageMaker or the emulator answers.
`follow()` polls: at first often and then ever less, so that an execution of seconds ends in seconds
and one of hours costs few calls.
"""

import json
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

__all__ = ["evaluation_files", "follow"]

RUNNING = {"Executing", "Stopping"}


@dataclass(frozen=True)
class StepRun:
    """One step of an execution; `job` and `package` are ARNs, or empty."""

    name: str
    status: str
    seconds: float
    note: str
    job: str
    package: str


class Timeout(Exception):
    """The execution was still running when the time to wait for it was over."""


def follow(client, arn, timeout_seconds, show):
    """Call `show(steps)` at every look until the execution has ended.

    Returns:
        The DescribePipelineExecution answer and the list of StepRun, oldest first.

    Raises:
        Timeout: it had not ended after `timeout_seconds`.
    """
    started = time.monotonic()
    while True:
        execution = client.describe_pipeline_execution(PipelineExecutionArn=arn)
        steps = list_steps(client, arn)
        show(steps)
        if execution["PipelineExecutionStatus"] not in RUNNING:
            return execution, steps
        elapsed = time.monotonic() - started
        if elapsed > timeout_seconds:
            raise Timeout(execution["PipelineExecutionStatus"])
        time.sleep(min(30, max(0.05, elapsed / 50)))


def list_steps(client, arn):
    pages = client.get_paginator("list_pipeline_execution_steps").paginate(
        PipelineExecutionArn=arn, SortOrder="Ascending"
    )
    return [_step_run(step) for page in pages for step in page["PipelineExecutionSteps"]]


def _step_run(step):
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


def _note(step, metadata):
    if step.get("FailureReason"):
        return " ".join(step["FailureReason"].split())
    if "CacheHitResult" in step:
        return "taken from an earlier execution"
    if "Fail" in metadata:
        return metadata["Fail"].get("ErrorMessage", "")
    if "Condition" in metadata:
        return f"outcome {metadata['Condition'].get('Outcome', '')}"
    return ""


def explain(client, steps):
    """The steps, those that failed with what their script said last, where it said something."""
    return [
        replace(step, note=f"{step.note} {_exit_message(client, step)}".strip())
        if step.status == "Failed"
        else step
        for step in steps
    ]


def _exit_message(client, step):
    if ":processing-job/" not in step.job:
        return ""
    job = client.describe_processing_job(ProcessingJobName=step.job.rsplit("/", 1)[1])
    message = " ".join(job.get("ExitMessage", "").split())
    return "" if message in step.note else message


def log_group(job_arn):
    """The CloudWatch log group and the job name: log streams start with the name."""
    kind, name = job_arn.split(":", 5)[5].split("/", 1)
    groups = {"processing-job": "ProcessingJobs", "training-job": "TrainingJobs"}
    return f"/aws/sagemaker/{groups[kind]}", name


def evaluation_files(client, s3, steps, folder):
    """What the processing output named `evaluation` holds: its metrics, and its report on disk.

    Returns:
        The metrics as {name: value}, and the path of report.html copied to `folder`, or None.
    """
    for uri in _evaluation_uris(client, steps):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        text = _read(s3, bucket, f"{prefix}/evaluation.json")
        report = _read(s3, bucket, f"{prefix}/report.html")
        path = None
        if report:
            path = Path(folder).resolve() / "report.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(report)
        return _metrics(json.loads(text or "{}")), path
    return {}, None


def _evaluation_uris(client, steps):
    for step in steps:
        if ":processing-job/" in step.job and step.status == "Succeeded":
            job = client.describe_processing_job(ProcessingJobName=step.job.rsplit("/", 1)[1])
            for output in job.get("ProcessingOutputConfig", {}).get("Outputs", []):
                if output["OutputName"] == "evaluation":
                    yield output["S3Output"]["S3Uri"]


def _read(s3, bucket, key):
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return b""


def _metrics(evaluation):
    """{"mse": 4.5, ...} from a file in SageMaker's Model Quality format."""
    return {
        name: float(metric["value"])
        for group, metrics in evaluation.items()
        if group.endswith("_metrics")
        for name, metric in metrics.items()
        if isinstance(metric, dict) and "value" in metric
    }
