"""`--cooldown`: triggers that fire often, such as an alarm, start one execution at a time.

A trigger first lists the executions. Several may do so at once and see the same last execution, so
their starts carry a token made from its ARN: SageMaker starts one execution for one token. The
token does not depend on the clock: otherwise triggers just before and just after the end of a
cooldown would start one execution each. Ages are counted by AWS's clock, as that of a build machine
may be minutes wrong.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from sagemaker_project.build.execution import RUNNING
from sagemaker_project.usage import Client, Json

MAX_RUN_SECONDS = 672 * 3600  # SageMaker stops an execution that runs longer


def time_of(answer: Json) -> float:
    """Return when AWS gave an answer, in seconds since the epoch.

    A Date has whole seconds. This is the end of its second, so nothing is younger than 0.
    """
    date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    return date.timestamp() + 1


@dataclass(frozen=True)
class Cooldown:
    """The rule for one pipeline. `clock` tells when an answer was given."""

    client: Client
    pipeline_name: str
    seconds: float
    clock: Callable[[Json], float] = time_of

    def start_token(self) -> str | None:
        """Return the ClientRequestToken of the next start, or None if nothing may start now.

        In the latter case, print which execution is the reason.
        """
        last = None
        for now, execution in self._executions():
            arn, status = execution["PipelineExecutionArn"], execution["PipelineExecutionStatus"]
            last = last or arn
            age = now - execution["StartTime"].timestamp()
            if status in RUNNING or age < self.seconds:
                state = f"is {status}, started {age:.0f} s ago"
                print(f"Nothing was started: {arn} {state} (--cooldown {self.seconds:g})")
                return None
            if age > MAX_RUN_SECONDS:
                break  # older executions have ended
        return hashlib.sha256(f"{self.pipeline_name} after {last}".encode()).hexdigest()

    def _executions(self) -> Iterator[tuple[float, Json]]:
        """Yield (AWS's time, execution), newest first; none if the pipeline does not exist."""
        from botocore.exceptions import ClientError

        pages = self.client.get_paginator("list_pipeline_executions").paginate(
            PipelineName=self.pipeline_name, SortBy="CreationTime", SortOrder="Descending"
        )
        try:
            for page in pages:
                now = self.clock(page)
                for execution in page["PipelineExecutionSummaries"]:
                    yield now, execution
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFound":
                raise
