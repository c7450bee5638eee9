"""Percentiles and the histogram of latency. Latencies are sorted lists of milliseconds."""

import math
from collections.abc import Sequence

from sagemaker_project.deploy.endpoint_test_result import Histogram, Percentiles

BINS = 36


def percentile(latencies: Sequence[float], rank: int) -> float:
    """Return the least latency that `rank` % of all do not exceed."""
    return latencies[max(math.ceil(len(latencies) * rank / 100), 1) - 1]


def percentiles(latencies: Sequence[float]) -> Percentiles:
    if not latencies:
        return {"p50": None, "p90": None, "p99": None, "max": None}
    return {
        "p50": round(percentile(latencies, 50), 3),
        "p90": round(percentile(latencies, 90), 3),
        "p99": round(percentile(latencies, 99), 3),
        "max": round(latencies[-1], 3),
    }


def histogram(latencies: Sequence[float]) -> Histogram:
    """Count the latencies in bins of equal ratio, because their tail is long."""
    if not latencies:
        return {"Edges": [], "Counts": []}
    low, high = max(latencies[0], 0.001), max(latencies[-1], 0.001)
    high = max(high, low * 1.5)
    counts = [0] * BINS
    for value in latencies:
        place = math.log(max(value, low) / low) / math.log(high / low) * BINS
        counts[min(int(place), BINS - 1)] += 1
    edges = [round(low * (high / low) ** (i / BINS), 4) for i in range(BINS + 1)]
    return {"Edges": edges, "Counts": counts}
