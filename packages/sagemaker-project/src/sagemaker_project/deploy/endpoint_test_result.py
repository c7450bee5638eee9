"""The result of an endpoint test, as it is written to report.json."""

from collections.abc import Iterable
from typing import Literal, TypeAlias, TypedDict

from sagemaker_project.deploy.answers import Scalar

Status: TypeAlias = Literal["Passed", "Failed", "Inconclusive"]

PASSED: Status = "Passed"
FAILED: Status = "Failed"
INCONCLUSIVE: Status = "Inconclusive"
MAX_MESSAGE = 300  # characters of an endpoint's own words


class Check(TypedDict):
    Name: str
    Status: Status
    Wanted: str
    Found: str


class Limits(TypedDict):
    Requests: int
    MaxP50Milliseconds: float
    MaxP99Milliseconds: float
    MaxErrorRate: float
    Tolerance: float


class Percentiles(TypedDict):
    """Latency in milliseconds; None where nothing was timed."""

    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


class Histogram(TypedDict):
    """Counts in bins between edges in milliseconds; there is one edge more than counts."""

    Edges: list[float]
    Counts: list[int]


class Deviation(TypedDict):
    """A value that is not the recorded one; samples and records are counted from 1.

    Where is its place in the prediction, "" if it is the prediction itself. Deviation is the
    distance of two numbers; None for other values, which are equal or not.
    """

    Sample: int
    Record: int
    Where: str
    Expected: Scalar
    Found: Scalar
    Deviation: float | None


class MalformedResult(TypedDict):
    """What became of a malformed request; Status and Message are None if it was not sent."""

    Name: str
    ContentType: str
    Body: str
    Recorded: int
    Status: int | str | None
    Message: str | None


class RequestCounts(TypedDict):
    Samples: int
    Records: int
    Timed: int
    Malformed: int
    AtATime: int
    Variants: dict[str, int]


class TestResult(TypedDict):
    """What run_test() returns. Times are in UTC, as ISO 8601."""

    Status: Status
    Checks: list[Check]
    Invocations: int
    Errors: int
    ErrorKinds: dict[str, int]
    LatencyMilliseconds: Percentiles
    Histogram: Histogram
    Limits: Limits
    Worst: list[Deviation]
    Malformed: list[MalformedResult]
    Requests: RequestCounts
    StartTime: str
    EndTime: str


class TestReport(TestResult):
    """A result and what was tested."""

    Stage: str
    EndpointName: str
    ModelPackageArn: str
    EndpointConfigName: str
    ConfigHash: str
    TestedBy: str


def check(name: str, status: Status, wanted: str, found: str) -> Check:
    return {"Name": name, "Status": status, "Wanted": wanted, "Found": found}


def overall_status(checks: Iterable[Check]) -> Status:
    """Return the worst status: Failed, else Inconclusive, else Passed."""
    found = {check["Status"] for check in checks}
    return next(status for status in (FAILED, INCONCLUSIVE, PASSED) if status in found)


def summary(result: TestResult) -> str:
    """Return a result in one line."""
    status = result["Status"]
    bad = [check for check in result["Checks"] if check["Status"] == status != PASSED]
    if bad:
        found = "; ".join(f"{c['Name']}: {c['Found']}, wanted {c['Wanted']}" for c in bad[:3])
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        return f"{status}: {found}{more}"
    passed = f"Passed: {len(result['Checks'])} checks, {result['Invocations']} invocations"
    p50, p99 = result["LatencyMilliseconds"]["p50"], result["LatencyMilliseconds"]["p99"]
    if p50 is None or p99 is None:
        return passed
    return f"{passed}, p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def one_line(value: object) -> str:
    """Return an endpoint's own words on one line of at most MAX_MESSAGE characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."
