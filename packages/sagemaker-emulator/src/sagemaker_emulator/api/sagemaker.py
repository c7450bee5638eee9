"""SageMaker's API as a function, and the one place that puts its parts together.

A part gets in its constructor what it needs of the others; an operation is a function
(sagemaker, request, region) -> answer, listed in the table OPERATIONS of its module.
"""

import math
import os
import secrets

from sagemaker_emulator.api import moto_services as neighbours
from sagemaker_emulator.api import registry, resources
from sagemaker_emulator.api import service_model as model
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import LocalError
from sagemaker_emulator.hosting import endpoints
from sagemaker_emulator.hosting.metrics import Metrics
from sagemaker_emulator.hosting.runtime import Runtime
from sagemaker_emulator.jobs import operations as jobs
from sagemaker_emulator.jobs.job import Jobs
from sagemaker_emulator.pipelines import operations as pipelines

SPEED = 60  # the waits of endpoints: a minute on AWS is a second here

OPERATIONS = {
    **resources.OPERATIONS,
    **registry.OPERATIONS,
    **jobs.OPERATIONS,
    **pipelines.OPERATIONS,
    **endpoints.OPERATIONS,
}


class SageMaker:
    """The API as a function: operation name, request and region in, answer out."""

    def __init__(self, folder, speed=None):
        self.folder = folder
        self.secret = secrets.token_urlsafe(32)
        self.speed = _speed(speed or os.environ.get("SAGEMAKER_LOCAL_SPEED") or SPEED)
        self.store = Store(folder / "state.db")
        self._recover()
        self.neighbours = neighbours.Neighbours(self.store, self.secret)
        self.jobs = Jobs(folder, self.store, self.neighbours, self.secret)
        self.neighbours.before["logs"] = self.jobs.logs.import_all
        self.executions = {}
        self.runtime = Runtime(self)
        self.metrics = Metrics(self)

    def seconds(self, number):
        """How long a wait of so many seconds on AWS takes here."""
        return number / self.speed

    def begin(self, url):
        """The server listens: what needs it may start."""
        self.jobs.url = url
        self.runtime.start()
        endpoints.recover(self)

    def _recover(self):
        """What the store says is running, and is not, has failed."""
        jobs.recover(self.store)
        pipelines.recover(self.store)

    def close(self):
        endpoints.close(self)
        self.runtime.close()
        self.store.lock.acquire()  # for good: no thread writes any more
        self.jobs.kill()
        self.jobs.tidy()
        self._recover()
        self.store.close()

    def call(self, name, request, region):
        if name not in OPERATIONS:
            raise resources.lacking(name)
        operation = model.operation(name)
        if operation.input_shape:
            model.check(operation.input_shape, request)
        result = OPERATIONS[name](self, request, region)
        if not operation.output_shape:
            return {}
        return model.answer(operation.output_shape, result)


def _speed(given):
    try:
        speed = float(given)
    except ValueError:
        speed = math.nan
    if not 0.01 <= speed <= 10_000:
        raise LocalError(
            f"the speed (SAGEMAKER_LOCAL_SPEED) is {given!r}; give a number from 0.01 to 10000,"
            " such as 60"
        )
    return speed
