"""The metrics of endpoints in CloudWatch.

What invocations measure is kept as it comes, and published as one datum for each metric, variant
and step of time. moto holds it, in memory: it is gone after a restart.
"""

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sagemaker_emulator.api.moto_services import Measurement, add_measurement

NAMESPACE = "AWS/SageMaker"


class Measured(NamedTuple):
    """What one invocation measured."""

    moment: float  # seconds since 1970
    region: str
    endpoint: str
    variant: str
    status: int
    model_seconds: float
    overhead_seconds: float


class InvocationMetrics:
    """`step` is in seconds; `instances` gets region, endpoint and variant."""

    def __init__(self, step: float, instances: Callable[[str, str, str], int]) -> None:
        self.step = step
        self.instances = instances
        self.pending: deque[Measured] = deque()

    def publish(self) -> None:
        if not self.pending:
            return
        groups: dict[tuple[str, str, str, float], dict[str, dict[float, float]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(float))
        )
        while self.pending:
            measured = self.pending.popleft()
            at = math.floor(measured.moment / self.step) * self.step
            group = groups[measured.region, measured.endpoint, measured.variant, at]
            for name, value in _metrics(measured):
                group[name][value] += 1
        for (region, endpoint, variant, at), metrics in groups.items():
            number = sum(metrics["Invocations"].values())
            share = 1 / self.instances(region, endpoint, variant)
            metrics["InvocationsPerInstance"] = {share: number}
            dimensions = {"EndpointName": endpoint, "VariantName": variant}
            for name, values in metrics.items():
                unit = "Microseconds" if name.endswith("Latency") else "None"
                datum = Measurement(at, values)
                add_measurement(region, NAMESPACE, name, dimensions, unit, datum)


def _metrics(measured: Measured) -> Iterator[tuple[str, float]]:
    """Yield (metric, value) of one invocation; latencies are rounded to three digits."""
    status = measured.status
    yield "Invocations", 1
    yield "Invocation4XXErrors", int(400 <= status < 500)
    yield "Invocation5XXErrors", int(status >= 500)
    yield "InvocationModelErrors", int(not 200 <= status < 300)
    yield "ModelLatency", float(f"{measured.model_seconds * 1e6:.3g}")
    yield "OverheadLatency", float(f"{measured.overhead_seconds * 1e6:.3g}")
