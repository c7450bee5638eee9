"""SageMaker's API as a function, and the one place that puts its parts together.

A part takes in its constructor what it needs of the others; an operation is a function
(sagemaker, request, region) -> answer, listed in the table OPERATIONS of its module.
"""

import math
import os
import secrets
from pathlib import Path

from sagemaker_emulator.api import registry, resources, service_model
from sagemaker_emulator.api.documents import Answer, Operation, Request
from sagemaker_emulator.api.other_services import OtherServices
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import LocalError
from sagemaker_emulator.hosting import endpoints
from sagemaker_emulator.hosting.metrics import Metrics
from sagemaker_emulator.hosting.runtime import Runtime
from sagemaker_emulator.jobs import operations as jobs
from sagemaker_emulator.jobs.job import Jobs
from sagemaker_emulator.pipelines import operations as pipelines

SPEED = 60  # of the waits of endpoints: a minute on AWS is a second here

OPERATIONS: dict[str, Operation] = {
    **resources.OPERATIONS,
    **registry.OPERATIONS,
    **jobs.OPERATIONS,
    **pipelines.OPERATIONS,
    **endpoints.OPERATIONS,
}


class SageMaker:
    """The API as a function: operation name, request and region in, answer out."""

    def __init__(self, folder: Path, speed: str | None = None) -> None:
        self.folder = folder
        self.secret = secrets.token_urlsafe(32)
        self.speed = _speed(speed or os.environ.get("SAGEMAKER_LOCAL_SPEED") or SPEED)
        self.store = Store(folder / "state.db")
        self._recover()
        self.neighbours = OtherServices(self.store, self.secret)
        self.jobs = jobs.Jobs(folder, self.store, self.neighbours, self.secret)
        self.neighbours.before["logs"] = self.jobs.import_logs
        self.executions: dict[str, pipelines.Execution] = {}  # by ARN, those that run
        self.runtime = Runtime(self)
        self.metrics = Metrics(self)

    def seconds(self, number: float) -> float:
        """How long a wait of so many seconds on AWS takes here."""
        return number / self.speed

    def begin(self, url: str) -> None:
        """Start what needs the server's address, once the server listens."""
        self.jobs.url = url
        self.runtime.start()
        endpoints.recover(self)

    def _recover(self) -> None:
        """Mark as failed what runs according to the store: none of its processes is left."""
        jobs.recover(self.store)
        pipelines.recover(self.store)

    def close(self) -> None:
        """End all that runs, and mark it as failed in the store."""
        endpoints.close(self)
        self.runtime.close()
        self.store.lock.acquire()  # for good: no thread writes any more
        self.jobs.kill()
        self.jobs.tidy()
        self._recover()
        self.store.close()

    def call(self, name: str, request: Request, region: str) -> Answer:
        """Answer an operation, its request and answer held to AWS's service model."""
        if name not in OPERATIONS:
            raise resources.lacking(name)
        operation = service_model.operation(name)
        if operation.input_shape:
            service_model.check(operation.input_shape, request)
        result = OPERATIONS[name](self, request, region)
        if not operation.output_shape:
            return {}
        answer: Answer = service_model.answer(operation.output_shape, result)
        return answer


def _speed(setting: str | float) -> float:
    try:
        speed = float(setting)
    except ValueError:
        speed = math.nan
    if not 0.01 <= speed <= 10_000:
        raise LocalError(
            f"the speed (SAGEMAKER_LOCAL_SPEED) is {setting!r}; use a number from 0.01 to 10000,"
            " such as 60"
        )
    return speed
