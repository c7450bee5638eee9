"""The evaluation step: a model on the test split, through the code that will serve it.

model.tar.gz is unpacked into a temporary folder and loaded by its own code/inference.py, with all
the rights of this process: evaluate only a model whose origin you trust. The files:

    evaluation.json   the metrics in SageMaker's Model Quality format
    gate.json         whether the model is registered, and why
    provenance.json   the data, model, versions and hyperparameters that the metrics belong to
    samples.json      requests and this model's answers to them, for the test of an endpoint
    report.html       the same for people, in one file that needs no other
"""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sagemaker_project.tabular import archive as archives
from sagemaker_project.tabular import champion as champions
from sagemaker_project.tabular import gate, metrics, report, samples
from sagemaker_project.tabular.estimates import Labels
from sagemaker_project.tabular.features import target
from sagemaker_project.tabular.gate import Champion
from sagemaker_project.tabular.metrics import Facts
from sagemaker_project.tabular.provenance import provenance, read_data_report
from sagemaker_project.tabular.schema import Schema, read_schema
from sagemaker_project.tabular.script import as_json, sha256_of, write_all
from sagemaker_project.tabular.splits import read_split
from sagemaker_project.tabular.table import BadInput, Table
from sagemaker_project.tabular.trivial import Trivial

__all__ = ["Folders", "Gate", "evaluate"]

NONE = "none"
ARCHIVE = "model.tar.gz"


class Folders(NamedTuple):
    """Where model.tar.gz, the champion's, test.csv and data_report.json are; where files go."""

    model: Path
    champion: Path
    test: Path
    data_report: Path
    output: Path


class Gate(NamedTuple):
    """What a model is held against: `package` and `sha256` are the champion's, or "none"."""

    threshold: float | None = None  # None: that of the schema
    package: str = NONE
    sha256: str = NONE
    tolerance: float = 0.0  # a share of the champion's metric


def evaluate(folders: Folders, schema_file: Path, wanted: Gate) -> Facts:
    """Evaluate a model, write all files or none, and return the facts of the report.

    Raises:
        BadInput: the data or the model is not as the earlier steps write them, or the model does
            not answer as its kind does.
        OSError: a file cannot be read or written.
    """
    schema = read_schema(schema_file.read_bytes(), schema_file.name)
    data = read_data_report(folders.data_report / "data_report.json")
    test = read_split(folders.test / "test.csv", schema)
    model = folders.model / ARCHIVE
    with tempfile.TemporaryDirectory() as folder:
        archives.unpack(model, Path(folder))
        about = archives.read_about(Path(folder), model)
        served = archives.load(model, Path(folder))
        classes, actual, trivial = _expected(test, schema, about, model)

        def predict(table: Table) -> Any:
            return served.predict(table, schema, classes)

        facts = metrics.evaluate(
            predict(test),
            actual,
            test,
            schema,
            predict,
            trivial,
            classes=classes,
            threshold=wanted.threshold,
        )
        requests = as_json(samples.sample_requests(served, test, schema, classes))
    champion = _champion(folders.champion / ARCHIVE, test, actual, schema, classes, wanted)
    decision = _decide(facts, schema, champion, wanted)
    hashes = {
        "test": sha256_of(folders.test / "test.csv"),
        "model": sha256_of(model),
        "samples": hashlib.sha256(requests.encode()).hexdigest(),
    }
    facts |= {
        "champion": _champion_facts(champion),
        "decision": decision._asdict(),
        "learning_curve": about.get("learning_curve"),
        "calibrated": about.get("decisions", {}).get("calibration", ""),
        "data": data,
        "provenance": provenance(schema, data, about, hashes, len(test)),
    }
    write_all(
        {
            folders.output / "report.html": report.page(facts),
            folders.output / "samples.json": requests,
            folders.output / "provenance.json": as_json(facts["provenance"]),
            folders.output / "gate.json": as_json(_gate_json(decision, schema.metric.name)),
            folders.output / "evaluation.json": as_json(metrics.evaluation_json(facts)),
        }
    )
    return facts


def _expected(
    test: Table, schema: Schema, about: dict[str, Any], model: Path
) -> tuple[tuple[str, ...], Labels, Trivial]:
    """Return the model's classes, the label of each row, and the trivial predictor."""
    try:
        theirs = about["schema_sha256"]
        classes = tuple(about["classes"])
        trivial = Trivial(**about["trivial"])
    except (LookupError, TypeError) as error:
        raise BadInput(f"{model}: model.json is not as train.py writes it ({error!r})") from None
    if theirs != schema.sha256:
        raise BadInput(f"{model}: it was trained with another schema.json than this one")
    return classes, target(test, schema, classes)[0], trivial


def _champion(
    archive: Path,
    test: Table,
    actual: Labels,
    schema: Schema,
    classes: tuple[str, ...],
    wanted: Gate,
) -> Champion | None:
    if wanted.package == NONE:
        return None
    version = wanted.package.rpartition("/")[2]
    return champions.score(
        archive,
        wanted.sha256,
        test,
        actual,
        schema,
        classes,
        package=wanted.package,
        version=int(version) if version.isdecimal() else 0,
    )


def _decide(facts: Facts, schema: Schema, champion: Champion | None, wanted: Gate) -> gate.Decision:
    metric = schema.metric
    if wanted.threshold is not None:
        metric = replace(metric, threshold=wanted.threshold)
    return gate.decide(
        metric, facts["metric"]["value"], facts["baseline"][metric.name], champion, wanted.tolerance
    )


def _champion_facts(champion: Champion | None) -> Facts | None:
    if champion is None:
        return None
    return {
        "package": champion.package,
        "version": champion.version,
        "metrics": dict(champion.metrics),
        "comparable": champion.comparable,
        "why": champion.why,
    }


def _gate_json(decision: gate.Decision, metric: str) -> dict[str, str]:
    """Return what the condition of the pipeline reads: texts, which every comparison knows."""
    passed = "yes" if decision.passed else "no"
    return {"passed": passed, "gate": decision.gate, "text": decision.text, "metric": metric}
