"""The model that serves, scored on the rows of this test split.

Its archive is the one that the start of the pipeline named, which the sha256 proves. Its own
code/inference.py answers, in a process of its own (champion_process.py): another version of
sagemaker_project.tabular may be in it, and it gets neither AWS credentials nor more than its time.
The test rows are sent to it as a client would send them.

A champion is comparable if it saw none of these rows (it was made under the same split rule and
seed), predicts the same label as the same problem with the same classes, and answers for every row.
Else the gate says why not.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sagemaker_project.tabular import champion_process
from sagemaker_project.tabular.archive import read_about, sha256_of, unpack
from sagemaker_project.tabular.client import WrongAnswer, bodies, read_answer
from sagemaker_project.tabular.estimates import Labels
from sagemaker_project.tabular.gate import Champion
from sagemaker_project.tabular.metrics import check_answers, checked_metrics
from sagemaker_project.tabular.schema import Field, Schema, SchemaError, read_schema
from sagemaker_project.tabular.table import BadInput, Floats, Table

SECONDS = 900.0  # for loading and all rows
MAX_REASON = 300  # characters of what its process said


class NotComparable(Exception):
    """The champion's metrics on these rows say nothing, or there are none. The message says why."""


def score(
    archive: Path,
    sha256: str,
    test: Table,
    actual: Labels,
    schema: Schema,
    classes: tuple[str, ...],
    *,
    package: str,
    version: int,
    seconds: float = SECONDS,
) -> Champion:
    """Return a champion with its metrics on the test rows, or why it is not comparable.

    Args:
        archive: its model.tar.gz, of which `sha256` is expected.
        actual, classes: the labels of the rows, and the classes of the challenger.

    Raises:
        BadInput: the archive is another one.
    """
    found = sha256_of(archive) if archive.is_file() else "none: it is not there"
    if found != sha256:
        raise BadInput(
            f"{archive}: the champion's sha256 is {found}, wanted {sha256}; it is not loaded; "
            "start the pipeline again, or give Champion=none"
        )
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model")
        try:
            unpack(archive, model)
            fields = _check(read_about(model, archive), schema, classes)
            answers = _answers(model, Path(folder), test, fields, classes, seconds)
            check_answers(answers, len(test), len(classes))
            metrics = checked_metrics(schema, actual, answers).values
        except (NotComparable, BadInput) as error:
            return Champion(package, version, {}, comparable=False, why=str(error))
    return Champion(package, version, metrics)


def _check(about: Mapping[str, Any], schema: Schema, classes: tuple[str, ...]) -> list[Field]:
    """Return the columns that the champion takes, in its order.

    Raises:
        NotComparable: it has another split, problem, label or classes, or wants a column that the
            test split does not have.
    """
    try:
        theirs = read_schema(json.dumps(about["schema"]).encode())
        split, names = about["split_sha256"], tuple(map(str, about.get("classes") or ()))
    except (SchemaError, LookupError, TypeError):
        raise NotComparable(
            "its model.json has no schema or split rule that is known here"
        ) from None
    if split != schema.split_sha256:
        raise NotComparable(_other_split(theirs, schema))
    for what, one, other in (
        ("problem", theirs.problem, schema.problem),
        ("label", theirs.label, schema.label),
        ("positive class", theirs.positive, schema.positive),
        ("classes", _listed(names), _listed(classes)),
    ):
        if one != other:
            raise NotComparable(f"its {what}: {one or 'none'}; now: {other or 'none'}")
    used = {field.name: field for field in schema.used}
    for field in theirs.features:
        if field.name not in used:
            raise NotComparable(f"it wants the column {field.name!r}, which is no longer read")
        if _kind(used[field.name]) != _kind(field):
            raise NotComparable(
                f"its column {field.name!r} is of the type {field.type}; now: "
                f"{used[field.name].type}"
            )
    return list(theirs.features)


def _kind(field: Field) -> str:
    return {"integer": "number", "datetime": "date"}.get(field.type, field.type)


def _other_split(theirs: Schema, schema: Schema) -> str:
    if theirs.split.seed != schema.split.seed:
        how = f"another seed of the split ({theirs.split.seed}; now: {schema.split.seed})"
    else:
        how = "another split rule"
    return f"it was made under {how}, and may have been trained on rows of this test split"


def _listed(classes: tuple[str, ...]) -> str:
    text = ", ".join(sorted(classes))
    return text if len(text) <= 100 else f"{text[:80]}... ({len(classes)})"


def _answers(
    model: Path,
    folder: Path,
    test: Table,
    fields: list[Field],
    classes: tuple[str, ...],
    seconds: float,
) -> Floats:
    """Return the champion's predictions or probabilities, its process's answers to all rows."""
    requests, answers = folder / "requests.jsonl", folder / "answers.jsonl"
    sizes = []
    with requests.open("w", encoding="utf-8") as file:
        for body, rows in bodies(test, fields):
            file.write(json.dumps(body) + "\n")
            sizes.append(rows)
    _run([str(model), str(requests), str(answers)], folder, seconds)
    try:
        lines = answers.read_text(encoding="utf-8").splitlines()
        found = [_answer(line, rows, classes) for line, rows in zip(lines, sizes, strict=True)]
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise NotComparable(f"its answers: {error}") from None
    return np.concatenate(found)


def _answer(line: str, rows: int, classes: tuple[str, ...]) -> Floats:
    answer = json.loads(line)
    if answer["status"] != 200:
        raise WrongAnswer(f"status {answer['status']}, {answer['text'][:MAX_REASON]}")
    return read_answer(answer["text"], rows, classes)


def _run(arguments: list[str], folder: Path, seconds: float) -> None:
    """Run the champion's process; raise NotComparable if it fails or takes too long."""
    errors = folder / "stderr"
    command = [sys.executable, "-I", os.path.abspath(champion_process.__file__), *arguments]
    with errors.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,  # so that what it starts ends with it
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NotComparable(f"it took more than {seconds:g} s to answer") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdin:
                process.stdin.close()
    if code:
        lines = errors.read_text(errors="replace").split("\n")
        reason = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
        raise NotComparable(f"its code fails: {reason[:MAX_REASON]}")
