"""Make captured predictions anew from the artifact, and compare them with the captured answers.

The artifact is unpacked, and a process of its own answers all records of one artifact (answer.py).
It gets none of the AWS credentials. With other versions of the libraries than model.json names, a
difference proves nothing, so the link reads *recorded*.
"""

import base64
import json
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sagemaker_project.deploy.answers import (
    CSV,
    OtherForm,
    cell_differences,
    differences,
    lines_of,
)
from sagemaker_project.deploy.artifact import check_artifact
from sagemaker_project.deploy.audit.chain import Subject
from sagemaker_project.deploy.audit.link import FAILED, RECORDED, VERIFIED, Link, Status
from sagemaker_project.deploy.audit.records import Payload, Record, strict_json
from sagemaker_project.errors import ArtifactError

NAME = "prediction made anew"
BOTH = "InputAndOutput"  # a CaptureMode
SOURCE = "the artifact's own inference code, in a process of its own"


@dataclass(frozen=True)
class Answers:
    """What the artifact answered, one for each record; or why it answered nothing."""

    bodies: Sequence[bytes | str] = ()  # a text says why there is no answer
    problem: str = ""  # with the model
    broken_off: str = ""  # why the process ended without a result, which proves nothing
    other_versions: str = ""  # which versions differ from those that trained the model
    missing: bool = False  # whether a library is not installed at all


def made_anew(subject: Subject, records: Sequence[Record]) -> list[Link]:
    """Return the last link of each record; all are of the variant that `subject` is about."""
    if not records:
        return []
    if problem := _cannot(subject):
        return [_faulty(subject, r) or _link("not made", RECORDED, problem) for r in records]
    complete = [record for record in records if record.request and record.answer]
    answers = _answers(subject, complete) if complete else Answers()
    found = dict(zip(map(id, complete), answers.bodies, strict=False))
    return [
        _faulty(subject, record) or _judged(record, answers, found.get(id(record)))
        for record in records
    ]


def _link(value: str, status: Status, note: str) -> Link:
    return Link(NAME, value, SOURCE, status, note)


def _cannot(subject: Subject) -> str:
    """Return why the artifact is not run: only bytes that the ledger vouches for are."""
    found = subject.sources.sha256(subject.artifact_url)
    if not found:
        return f"{subject.artifact_url} is gone"
    if found != subject.pin["Sha256"]:
        return "the artifact is not what was deployed, so its code is not run"
    return ""


def _answers(subject: Subject, records: Sequence[Record]) -> Answers:
    archive = subject.sources.download(subject.artifact_url)
    assert archive is not None  # _cannot
    folder = archive.with_suffix(".unpacked")
    try:
        if not folder.exists():
            check_artifact(archive)
            _unpack(archive, folder)
        about = json.loads((folder / "model.json").read_bytes())
    except ArtifactError as error:
        return Answers(problem=str(error))
    other, missing = _other_versions(about["versions"])
    answered = _run(subject, folder, records)
    if "broken_off" in answered:
        return Answers(broken_off=answered["broken_off"])
    problem = str(answered["problem"])
    bodies = [
        base64.b64decode(item["body"]) if "body" in item else str(item["error"])
        for item in answered["answers"]
    ]
    return Answers(bodies, problem, other_versions=other, missing=missing)


def _unpack(archive: Path, folder: Path) -> None:
    """Write the files of an archive that check_artifact has accepted."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())


def _run(subject: Subject, folder: Path, records: Sequence[Record]) -> dict[str, Any]:
    requests = [
        {
            "content_type": record.request.content_type or "application/json",
            "accept": record.answer.content_type.partition(";")[0].strip(),
            "body": base64.b64encode(record.request.data).decode(),
        }
        for record in records
        if record.request and record.answer
    ]
    [container] = subject.package.get("InferenceSpecification", {}).get("Containers", [{}])
    environment = {name: v for name, v in os.environ.items() if not name.startswith("AWS_")}
    try:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("answer.py"))],
            input=json.dumps({"folder": str(folder), "requests": requests}).encode(),
            env=environment | container.get("Environment", {}),
            capture_output=True,
            timeout=subject.sources.context.request.timeout_seconds,
        )
        answered: dict[str, Any] = json.loads(done.stdout)
        return answered
    except subprocess.TimeoutExpired:
        return {"broken_off": "its process did not end in time"}
    except ValueError:
        return {"broken_off": f"its process ended with {done.returncode}"}


def _other_versions(recorded: dict[str, str]) -> tuple[str, bool]:
    """Return which installed versions differ from those of model.json; whether one is missing."""
    found = {name: _installed(name) for name in recorded}
    other = [
        f"{name} {found[name] or 'is missing'}, trained with {wanted}"
        for name, wanted in recorded.items()
        if found[name] != wanted
    ]
    return "; ".join(other), "" in found.values()


def _installed(name: str) -> str:
    if name == "python":
        return platform.python_version()
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _faulty(subject: Subject, record: Record) -> Link | None:
    """Return a link that FAILED where a record cannot be read, or contradicts itself."""
    fault = record.problem or record.fault or _lacking(subject, record)
    return _link("not made", FAILED, f"{record.source}: {fault}") if fault else None


def _lacking(subject: Subject, record: Record) -> str:
    """Return which side a record lacks although its endpoint configuration captures it."""
    config, source = subject.sources.endpoint_config(subject.deployment)
    options = config.get("DataCaptureConfig", {}).get("CaptureOptions", [])
    modes = {option["CaptureMode"] for option in options}
    sides = {"Input": record.request, "Output": record.answer}
    lacking = [mode for mode, side in sides.items() if not side and modes & {mode, BOTH}]
    return f"it lacks what {source} captures: {', '.join(lacking)}" if lacking else ""


def _judged(record: Record, answers: Answers, body: bytes | str | None) -> Link:
    if not record.request or not record.answer:
        return _link("not made", RECORDED, "the settings do not capture both request and answer")
    if answers.broken_off:
        return _link("not made", RECORDED, answers.broken_off)
    note = f"captured {_shown(record.answer.data)}, made anew "
    if isinstance(body, bytes):
        where = _difference(record.answer, body)
        if not where:
            return _link("identical", VERIFIED, f"to what was captured at {record.time}")
        value, note = "differs", f"{note}{_shown(body)} ({where})"
    else:
        value, note = "not made", f"{note}{body or answers.problem}"
    if answers.missing:
        needs = "it needs the project's full environment (requirements.lock)"
        return _link("not made", RECORDED, f"{needs}: {answers.other_versions}")
    if answers.other_versions:
        return _link(value, RECORDED, f"{note}; with {answers.other_versions}")
    return _link(value, FAILED, f"{note}; {record.source}")


def _difference(captured: Payload, made: bytes) -> str:
    """Return where two answers differ and by how much; "" if they are equal.

    They are equal byte for byte, as the same JSON values, or as the same cells of CSV.
    """
    if captured.data == made:
        return ""
    try:
        if captured.content_type.partition(";")[0].strip().lower() == CSV:
            return _line_difference(captured.data.decode(), made.decode())
        one = next(differences(strict_json(captured.data), strict_json(made)), None)
        return f"{one.where.removeprefix('.')}: {one}" if one else ""
    except OtherForm as error:
        return f"{error.where.removeprefix('.') or 'the answer'}: {error}"
    except (ValueError, RecursionError):
        return "not byte for byte the same"


def _line_difference(captured: str, made: str) -> str:
    lines = lines_of(captured), lines_of(made)
    if len(lines[0]) != len(lines[1]):
        return f"{len(lines[1])} lines, wanted {len(lines[0])}"
    for number, (wanted, found) in enumerate(zip(*lines, strict=True), start=1):
        if one := next(cell_differences([*wanted], found), None):
            return f"line {number}{one.where}: {one}"
    return ""


def _shown(data: bytes) -> str:
    text = data.decode("utf-8", "backslashreplace")
    return text if len(text) <= 80 else f"{text[:77]}..."
