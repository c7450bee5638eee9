"""The final status of a job, from its exit code, its log and its output files."""

import contextlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.api.resources import Kind
from sagemaker_emulator.errors import MAX_REASON
from sagemaker_emulator.jobs.kinds import PROCESSING, prefix_of
from sagemaker_emulator.jobs.logs import last_words

STOPPED, MAX_RUNTIME_EXCEEDED = "Stopped", "MaxRuntimeExceeded"  # why a job was stopped


@dataclass(frozen=True)
class Outcome:
    status: str
    secondary_status: str
    reason: str | None = None  # why the job failed
    members: Document = field(default_factory=dict)  # others that Describe answers with


def failure(reason: str, members: Document | None = None) -> Outcome:
    return Outcome("Failed", "Failed", reason, members or {})


def outcome(
    kind: Kind, job: Document, ml: Path, log: str, exit_code: int, stopped: str | None, ended: float
) -> Outcome:
    """Return how a job ended whose command has run; `stopped` is why it was stopped, or None."""
    members: Document = {
        f"{prefix_of(kind)}EndTime": ended,
        "FinalMetricDataList": _metrics(job, log, ended),
    }
    if kind is PROCESSING:
        members["ExitMessage"] = _output_file(ml, "message")
    if stopped == MAX_RUNTIME_EXCEEDED and kind is PROCESSING:
        limit = job["StoppingCondition"]["MaxRuntimeInSeconds"]
        reason = f"the job ran longer than its MaxRuntimeInSeconds of {limit} and was stopped"
        return failure(f"ClientError: {reason}", members)
    if stopped:
        return Outcome("Stopped", stopped, members=members)
    if exit_code:
        return failure(f"AlgorithmError: {_script_failure(kind, ml, log, exit_code)}", members)
    return Outcome("Completed", "Completed", members=members)


def _script_failure(kind: Kind, ml: Path, log: str, exit_code: int) -> str:
    """Return the reason in AWS's form; a signal N is the exit code 128 + N."""
    code = f"exit code: {exit_code if exit_code > 0 else 128 - exit_code}"
    last = last_words(log).replace(str(ml), "/opt/ml") or "the script wrote nothing"
    if kind is PROCESSING:
        return f"See job logs for more information, {code}: {last}"
    return f"{(_output_file(ml, 'failure') or last)[: MAX_REASON - 40]}, {code}"


def _output_file(ml: Path, name: str) -> str | None:
    """Return at most MAX_REASON characters of /opt/ml/output/<name>; None if it is missing."""
    path = ml / "output" / name
    if not path.is_file():
        return None
    return path.read_text(errors="replace").strip().replace(str(ml), "/opt/ml")[:MAX_REASON]


def _metrics(job: Document, log: str, now: float) -> list[Document] | None:
    """Return the last value in the log of each of the job's MetricDefinitions, or None."""
    metrics: list[Document] = []
    for definition in job.get("AlgorithmSpecification", {}).get("MetricDefinitions") or []:
        with contextlib.suppress(re.error, ValueError, IndexError):
            values = [match[1] for match in re.finditer(definition["Regex"], log)]
            if values:
                value = float(values[-1])
                metrics.append({"MetricName": definition["Name"], "Value": value, "Timestamp": now})
    return metrics or None
