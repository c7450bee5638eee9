"""The verdict about a stage, and its first line: the truth from SageMaker, then any difference."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

from sagemaker_project.deploy.advice import Advice
from sagemaker_project.deploy.observation import Observation
from sagemaker_project.deploy.recommendation import EXIT_CODES, Finding, Verdict, findings

View = TypeVar("View", bound=Mapping[str, Any])
SERVES = {  # by the endpoint's status; a version serves in all others
    "Creating": "is being created",
    "Failed": "does not serve",
    "OutOfService": "does not serve",
}
NOT_STEADY = ("in progress", "changed by others now", "too few instances")


@dataclass(frozen=True)
class Judgement:
    """What is thought of a stage: the worst of its findings, and what the first one recommends."""

    verdict: Verdict
    state: str
    headline: str
    since: datetime | None
    findings: tuple[Finding, ...]
    advice: Advice
    steady: bool

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def judge(seen: Observation) -> Judgement:
    """Return the verdict about what was seen."""
    found = findings(seen)
    worst = max((finding.verdict for finding in found), key=lambda verdict: EXIT_CODES[verdict])
    return Judgement(
        verdict=worst,
        state=found[0].state,
        headline=_headline(seen, worst, found[0]),
        since=seen.endpoint.get("LastModifiedTime") if seen.endpoint else None,
        findings=tuple(found),
        advice=found[0].advice,
        steady=worst != "unknown" and not seen.changing and found[0].state not in NOT_STEADY,
    )


def _headline(seen: Observation, verdict: Verdict, first: Finding) -> str:
    name = seen.target.endpoint
    if first.state == "nothing deployed":
        return f"{name} does not exist: {first.text}"
    said = f"{name} is {verdict}"
    if seen.endpoint:
        since = f" since {shown_time(seen.endpoint['LastModifiedTime'])}"
        serves = SERVES.get(seen.status, "serves")
        said += f": version {seen.serving_version} {serves}{since if not first.text else ''}"
    if not first.text:
        return said
    return f"{said}{';' if seen.endpoint else ':'} {first.text}"


def worst_first(views: Iterable[View]) -> list[View]:
    """Sort the results of stages by verdict; stages of the same verdict stay in their order."""
    return sorted(views, key=lambda each: -EXIT_CODES[each["Verdict"]])


def shown_time(time: datetime) -> str:
    return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
