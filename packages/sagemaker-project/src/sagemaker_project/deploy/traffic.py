"""What CloudWatch knows of the requests of the last minutes, for each variant.

SageMaker publishes its endpoint metrics in the namespace AWS/SageMaker, by endpoint and variant;
ModelLatency is in microseconds. Where there is no datum the value is None: no requests are no sign
of health. Only what came after the last change of the endpoint counts: a canary that was taken back
says nothing about what serves now.
https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sagemaker_project.deploy.calls import Members

MINUTES = 5
METRICS = {  # id -> (metric, statistic)
    "requests": ("Invocations", "Sum"),
    "errors": ("Invocation5XXErrors", "Sum"),
    "p50": ("ModelLatency", "p50"),
    "p99": ("ModelLatency", "p99"),
}


class Traffic(NamedTuple):
    """The requests to a variant in the last MINUTES; None is what CloudWatch has no datum of."""

    variant: str
    requests: float | None
    errors: float | None  # answered with 5xx
    p50: float | None  # milliseconds, of the slowest minute
    p99: float | None

    @property
    def error_rate(self) -> float | None:
        """The share of 5xx among the requests."""
        if not self.requests or self.errors is None:
            return None
        return self.errors / self.requests


def begin(changed: datetime, now: datetime) -> datetime:
    """Return from when on requests count: the last minutes, since the endpoint was changed."""
    whole = changed.replace(microsecond=0)
    return max(now - timedelta(minutes=MINUTES), whole + timedelta(seconds=whole < changed))


def queries(endpoint: str, variants: Sequence[str], since: datetime, now: datetime) -> Members:
    """Return the members of GetMetricData that ask for all variants at once."""
    return {
        "MetricDataQueries": [
            {
                "Id": f"{name}_{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SageMaker",
                        "MetricName": metric,
                        "Dimensions": [
                            {"Name": "EndpointName", "Value": endpoint},
                            {"Name": "VariantName", "Value": variant},
                        ],
                    },
                    "Period": 60,
                    "Stat": statistic,
                },
            }
            for number, variant in enumerate(variants)
            for name, (metric, statistic) in METRICS.items()
        ],
        "StartTime": since,
        "EndTime": now + timedelta(minutes=1),
    }


def traffic(
    variants: Sequence[str], results: Iterable[Members], since: datetime
) -> tuple[Traffic, ...]:
    """Return what the MetricDataResults say of each variant.

    CloudWatch begins at the minute in which `since` is; that minute is left out.
    """
    values: dict[str, list[float]] = {}
    for result in results:
        pairs = zip(result.get("Timestamps", []), result.get("Values", []), strict=False)
        values.setdefault(result["Id"], []).extend(value for at, value in pairs if at >= since)

    def one(name: str, number: int, total: Callable[[list[float]], float]) -> float | None:
        found = values.get(f"{name}_{number}")
        return float(total(found)) if found else None

    def milliseconds(name: str, number: int) -> float | None:
        microseconds = one(name, number, max)
        return None if microseconds is None else microseconds / 1000

    return tuple(
        Traffic(
            variant,
            requests=one("requests", number, sum),
            errors=one("errors", number, sum),
            p50=milliseconds("p50", number),
            p99=milliseconds("p99", number),
        )
        for number, variant in enumerate(variants)
    )
