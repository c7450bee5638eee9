"""provenance.json: the data, model, versions and hyperparameters that the metrics belong to."""

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sagemaker_project.tabular.schema import Schema
from sagemaker_project.tabular.table import BadInput

REGISTERED = re.compile(r"[\w .:/=+@-]{1,256}")  # what the metadata of a model package may hold


def provenance(
    schema: Schema,
    data_report: Mapping[str, Any],
    about: Mapping[str, Any],
    sha256: Mapping[str, str],
    test_rows: int,
) -> dict[str, Any]:
    """Return the content of provenance.json.

    Args:
        about: model.json.
        sha256: of the files "test", "model" and "samples".
    """
    url = data_report["url"]
    return {
        "label": schema.label,
        "problem": schema.problem,
        "schema": {"sha256": schema.sha256, "split_sha256": schema.split_sha256},
        "data": {
            "file": data_report["file"],
            "sha256": data_report["data_sha256"],
            "url": url,
            "registered_url": url if REGISTERED.fullmatch(url) else "see provenance.json",
        },
        "test": {"sha256": sha256["test"], "rows": test_rows},
        "model": {"sha256": sha256["model"]},
        "samples": {"sha256": sha256["samples"]},
        "versions": dict(about["versions"]),
        "evaluated_with": {"python": platform.python_version(), "numpy": np.__version__},
        "hyperparameters": dict(about["hyperparameters"]),
    }


def read_data_report(path: Path) -> dict[str, Any]:
    """Return data_report.json.

    Raises:
        BadInput: it is not there, or not as preprocessing writes it.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(report[name], str) for name in ("url", "file", "data_sha256")):
            raise TypeError
    except FileNotFoundError:
        raise BadInput(f"{path}: not there; preprocess.py writes it") from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadInput(f"{path}: not a report as preprocess.py writes it ({error!r})") from None
    found: dict[str, Any] = report
    return found
