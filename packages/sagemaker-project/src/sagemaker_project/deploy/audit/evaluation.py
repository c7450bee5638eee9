"""Compare the metrics that a package names with those of its evaluation.json.

The package names a metric as the pipeline writes it in its metadata: mse as Mse, macro_f1 as
MacroF1. evaluation.json is in SageMaker's Model Quality format, of any problem.
"""

import json
from collections.abc import Mapping

from sagemaker_project.deploy.audit.link import Link, compared
from sagemaker_project.tabular.schema import METRICS

KNOWN = sorted({name for metrics in METRICS.values() for name in metrics})


def metadata_key(metric: str) -> str:
    return "".join(word.capitalize() for word in metric.split("_"))


def metrics_link(uri: str, body: bytes | None, metadata: Mapping[str, str]) -> Link:
    """Return the link from a package to its metrics.

    Args:
        body: of evaluation.json, which is at `uri`; None if it is gone.
        metadata: of the package.
    """
    found = _metrics(body) if body else {}
    keys = {metadata_key(name): name for name in (*KNOWN, *found)}
    claims = {keys[key]: claim for key, claim in sorted(metadata.items()) if key in keys}
    named = claims or dict.fromkeys(found, "")
    values = ", ".join(_as_claimed(found.get(name), claim) for name, claim in named.items())
    return compared(
        f"evaluation: {', '.join(claims) or 'metrics'}",
        uri,
        (values or "unreadable") if body else "",
        {"the package": ", ".join(claims.values())},
        f"{uri} is gone",
    )


def _metrics(body: bytes) -> dict[str, object]:
    """Return {"mse": 4.5, ...} of evaluation.json, whatever the problem is."""
    try:
        groups = [group for name, group in json.loads(body).items() if name.endswith("_metrics")]
        return {
            name: metric["value"]
            for group in groups
            for name, metric in group.items()
            if "value" in metric
        }
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _as_claimed(value: object, claim: str) -> str:
    """Return a metric, written as `claim` if it is the same number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "unreadable"
    try:
        return claim if float(claim) == float(value) else str(value)
    except (ValueError, OverflowError):
        return str(value)
