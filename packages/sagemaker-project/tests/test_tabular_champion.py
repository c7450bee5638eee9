"""The model that serves, scored on the rows of another one's test split."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sagemaker_project.tabular import champion_process
from sagemaker_project.tabular.champion import score
from sagemaker_project.tabular.gate import Champion
from sagemaker_project.tabular.schema import Schema
from sagemaker_project.tabular.table import BadInput, Table
from tabular_helpers import schema_of, table_of

FIELDS = [
    {"name": "a", "type": "number"},
    {"name": "b", "type": "string"},
    {"name": "c", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]},
    {"name": "d", "type": "date", "format": "%d.%m.%Y"},
]
NUMBER, TEXT = {"name": "y", "type": "number"}, {"name": "y", "type": "string"}
PACKAGE = "arn:aws:sagemaker:eu-west-1:111122223333:model-package/abalone/3"

# It answers twice the column a; the other columns are as its client would send them.
INFERENCE = """
import json, os, sys
from sagemaker_project.tabular.marker import FACTOR

def model_fn(folder):
    assert os.path.isfile(os.path.join(folder, "model.json"))
    assert not [name for name in os.environ if name.startswith("AWS_")]
    return FACTOR

def input_fn(body, content_type):
    assert content_type == "application/json"
    return json.loads(body)

def predict_fn(rows, factor):
    print("a line on stdout")
    for a, b, c, d in rows:
        assert b in ("left", "right", None) and c in (True, False, None) and d[2] == d[5] == "."
    return [factor * a for a, _, _, _ in rows]

def output_fn(predictions, accept):
    return json.dumps({"predictions": predictions}), accept
"""
CLASSES = INFERENCE.replace(
    '{"predictions": predictions}',
    '{"predictions": [{"predicted_label": "yes", "probabilities": {"yes": p / 4, "no": 1 - p / 4}}'
    " for p in predictions]}",
)


def schema(problem: str = "regression", **members: Any) -> Schema:
    label = NUMBER if problem == "regression" else TEXT
    fields = members.pop("fields", [*FIELDS, label])
    return schema_of(problem, fields, **members)


@pytest.fixture
def test_split() -> Table:
    return table_of(
        {
            "a": [0.0, 0.5, 1.0, 2.0] * 10,
            "b": ["left", "right", "", "left"] * 10,
            "c": [1.0, 0.0, float("nan"), 1.0] * 10,
            "d": [18_262.0, 18_263.0, 20_000.0, 3.0] * 10,
        }
    )


def archive_of(
    folder: Path,
    made: Schema,
    inference: str = INFERENCE,
    classes: tuple[str, ...] = (),
    about: Mapping[str, Any] | None = None,
) -> Path:
    content = {"schema": made.content, "split_sha256": made.split_sha256, "classes": classes}
    files = {
        "model.json": json.dumps(content if about is None else about),
        "code/inference.py": inference,
        "code/sagemaker_project/__init__.py": "",
        "code/sagemaker_project/tabular/__init__.py": "",
        "code/sagemaker_project/tabular/marker.py": "FACTOR = 2.0",
    }
    path = folder / "champion.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def scored(archive: Path, test: Table, now: Schema, **options: Any) -> Champion:
    actual = np.array([0.0, 1.0, 2.0, 5.0] * 10)
    if now.problem != "regression":
        actual = np.array([0, 0, 1, 1] * 10)
    arguments = {
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "classes": () if now.problem == "regression" else ("no", "yes"),
        **{"actual": actual, "package": PACKAGE, "version": 3},
        **options,
    }
    return score(archive, test=test, schema=now, **arguments)


def test_a_champion_answers_with_its_own_code(
    tmp_path: Path, test_split: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none of its business")
    found = scored(archive_of(tmp_path, schema()), test_split, schema())
    assert found.comparable and found.why == ""
    assert found.metrics["mse"] == 0.25 and found.metrics["mae"] == 0.25
    assert (found.package, found.version) == (PACKAGE, 3)


def test_a_champion_of_classes_gives_probabilities(tmp_path: Path, test_split: Table) -> None:
    made = schema("binary")
    archive = archive_of(tmp_path, made, CLASSES, ("no", "yes"))
    found = scored(archive, test_split, made)
    assert found.comparable, found.why
    assert found.metrics["auc"] == 1.0 and 0 < found.metrics["log_loss"] < 10


def test_rows_are_sent_in_bounded_bodies(
    tmp_path: Path, test_split: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagemaker_project.tabular.client.MAX_BODY", 100)
    bounded = INFERENCE.replace("rows, factor):", "rows, factor):\n    assert len(rows) < 5", 1)
    assert scored(archive_of(tmp_path, schema(), bounded), test_split, schema()).comparable


def test_columns_that_are_new_or_go_otherwise_do_not_matter(
    tmp_path: Path, test_split: Table
) -> None:
    now = schema(fields=[FIELDS[0], {"name": "new", "type": "number"}, *FIELDS[1:], NUMBER])
    table = Table({**test_split.columns, "new": np.zeros(40)}, (), test_split.file, test_split.line)
    assert scored(archive_of(tmp_path, schema()), table, now).comparable


# Not comparable


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (
            {"split": {"seed": 7, "by": ["a"]}},
            "it was made under another seed of the split (7; now: 42), and may have been trained "
            "on rows of this test split",
        ),
        ({"split": {"seed": 42, "by": ["b"]}}, "it was made under another split rule, and may"),
        ({"problem": "binary"}, "its problem: binary; now: regression"),
        (
            {"fields": [*FIELDS, NUMBER, {"name": "gone", "type": "number"}]},
            "it wants the column 'gone', which is no longer read",
        ),
        (
            {"fields": [FIELDS[0], {"name": "b", "type": "number"}, *FIELDS[2:], NUMBER]},
            "its column 'b' is of the type number; now: string",
        ),
        (
            {"label": "z", "fields": [*FIELDS, {"name": "z", "type": "number"}]},
            "its label: z; now: y",
        ),
    ],
)
def test_another_kind_of_champion_is_not_comparable(
    tmp_path: Path, test_split: Table, made: dict[str, Any], why: str
) -> None:
    found = scored(archive_of(tmp_path, schema(**made)), test_split, schema())
    assert not found.comparable and found.metrics == {} and why in found.why


@pytest.mark.parametrize("classes", [("maybe", "yes"), ("no", "yes", "zero"), ()])
def test_other_classes_are_not_comparable(
    tmp_path: Path, test_split: Table, classes: tuple[str, ...]
) -> None:
    made = schema("binary")
    found = scored(archive_of(tmp_path, made, CLASSES, classes), test_split, made)
    assert not found.comparable and found.why.startswith("its classes: ")
    assert found.why.endswith("now: no, yes")


@pytest.mark.parametrize(
    "about", [{}, {"label": "rings", "features": []}, {"schema": {}, "split_sha256": ""}, []]
)
def test_a_champion_of_before_there_was_a_schema_is_not_comparable(
    tmp_path: Path, test_split: Table, about: Any
) -> None:
    found = scored(archive_of(tmp_path, schema(), about=about), test_split, schema())
    assert not found.comparable and "model.json" in found.why and "\n" not in found.why


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "return FACTOR",
            "raise OSError('no such\\nfile')",
            "its code fails: OSError: no such file",
        ),
        ("import json,", "import no_such_library, json,", "No module named 'no_such_library'"),
        ("return FACTOR", "os._exit(3)", "its code fails: exit code 3"),
        ("return FACTOR", "os._exit(0)", "its answers: "),
        ("factor * a", "float('nan')", "not a finite number: nan"),
        ("factor * a", "'yes'", "not a finite number: yes"),
        ("in rows]", "in rows[1:]]", "39 predictions for 40 records"),
        ("factor * a", "1e200", "not finite"),
        ('json.dumps({"predictions": predictions})', '"<html>"', "no list of predictions: <html>"),
    ],
)
def test_a_champion_that_does_not_answer_is_not_comparable(
    tmp_path: Path, test_split: Table, old: str, new: str, why: str
) -> None:
    assert old in INFERENCE
    archive = archive_of(tmp_path, schema(), INFERENCE.replace(old, new))
    found = scored(archive, test_split, schema())
    assert not found.comparable and why in found.why and "\n" not in found.why


def test_a_champion_that_refuses_the_rows_is_not_comparable(
    tmp_path: Path, test_split: Table
) -> None:
    refusing = INFERENCE + (
        "\nfrom werkzeug.wrappers import Response\n"
        "def output_fn(predictions, accept):\n"
        '    return Response(\'{"error": "row 1: many"}\', status=400)\n'
    )
    found = scored(archive_of(tmp_path, schema(), refusing), test_split, schema())
    assert found.why == 'its answers: status 400, {"error": "row 1: many"}'


def test_a_champion_that_takes_too_long_is_ended(tmp_path: Path, test_split: Table) -> None:
    endless = INFERENCE.replace("return FACTOR", "while True: pass")
    archive = archive_of(tmp_path, schema(), endless)
    found = scored(archive, test_split, schema(), seconds=0.5)
    assert found.why == "it took more than 0.5 s to answer"


def test_the_process_of_a_champion_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/inference.py").write_text("print('loaded', flush=True)\nwhile True: pass")
    process = subprocess.Popen(
        [sys.executable, "-I", champion_process.__file__, tmp_path, os.devnull, os.devnull],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin and process.stdout
    assert process.stdout.readline() == b"loaded\n"
    process.stdin.close()  # as the end of this process would
    assert process.wait(20) == -signal.SIGKILL
    process.stdout.close()


# Refused


def test_another_archive_than_the_expected_one_is_not_loaded(
    tmp_path: Path, test_split: Table
) -> None:
    marker = tmp_path / "loaded"
    touching = f"open({str(marker)!r}, 'w')\n{INFERENCE}"
    archive = archive_of(tmp_path, schema(), touching)
    with pytest.raises(BadInput, match=f"wanted {'0' * 64}; it is not loaded"):
        scored(archive, test_split, schema(), sha256="0" * 64)
    assert not marker.exists()


def test_an_archive_that_is_not_there_is_refused(tmp_path: Path, test_split: Table) -> None:
    archive = archive_of(tmp_path, schema())
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(BadInput, match="not there"):
        score(
            tmp_path / "gone.tar.gz",
            *(digest, test_split, np.zeros(40), schema(), ()),
            package=PACKAGE,
            version=3,
        )


def test_an_archive_that_would_write_elsewhere_is_not_comparable(
    tmp_path: Path, test_split: Table
) -> None:
    archive = tmp_path / "champion.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../evil"))
    found = scored(archive, test_split, schema())
    assert not found.comparable and "outside the folder" in found.why
    archive.write_bytes(archive.read_bytes()[:-20])
    found = scored(archive, test_split, schema())
    assert not found.comparable and "not a whole gzipped tar file" in found.why
