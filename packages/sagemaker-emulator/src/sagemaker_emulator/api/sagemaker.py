"""SageMaker's API as a function, and the place where its parts are put together.

A part takes in its constructor what it needs of the others; an operation is a function
(sagemaker, request, region) -> answer, listed in the table OPERATIONS of its module.
"""

import asyncio
import math
import os
import secrets
from functools import partial
from pathlib import Path

from sagemaker_emulator import client
from sagemaker_emulator.api import registry, resources, service_model
from sagemaker_emulator.api.documents import Answer, Operation, Request
from sagemaker_emulator.api.other_services import OtherServices
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import LocalError, unsupported
from sagemaker_emulator.hosting import endpoints
from sagemaker_emulator.hosting.async_invocation import AsyncInvocations
from sagemaker_emulator.hosting.clock import Clock
from sagemaker_emulator.hosting.cloudwatch import CloudWatch
from sagemaker_emulator.hosting.data_capture import DataCapture
from sagemaker_emulator.hosting.fleet import FleetHost
from sagemaker_emulator.hosting.invocation import DataPlane
from sagemaker_emulator.hosting.lifecycle import Hosting
from sagemaker_emulator.hosting.runtime import Runtime
from sagemaker_emulator.hosting.traffic import Routes
from sagemaker_emulator.hosting.variant_fleets import fleets_on
from sagemaker_emulator.jobs import operations as jobs
from sagemaker_emulator.jobs.job import Jobs
from sagemaker_emulator.pipelines import operations as pipelines
from sagemaker_emulator.pipelines.execution import Execution

SPEED = 60  # default: a minute of an endpoint's waits on AWS takes a second

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
        self.other_services = OtherServices(self.store, self.secret)
        self.jobs = Jobs(folder, self.store, self.other_services, self.secret)
        self.other_services.before["logs"] = self.jobs.logs.import_all
        self.executions: dict[str, Execution] = {}  # by ARN, those that run
        self._host_endpoints()

    def _host_endpoints(self) -> None:
        """Make the parts of hosting; what each of them needs was made before it."""
        clock, services, loop = Clock(self.speed), self.other_services, asyncio.new_event_loop()
        routes = Routes()
        self.cloudwatch = CloudWatch(self.store, services.ready, routes.instances, clock)
        services.before["monitoring"] = self.cloudwatch.before_request
        services.after["monitoring"] = self.cloudwatch.after_request
        plane = DataPlane(loop, routes, self.cloudwatch.measure)
        self.capture = DataCapture(self.folder / "capture", services.write_object, loop, clock)
        asynchronous = AsyncInvocations(
            plane, services.read_object, services.write_object, self.capture, clock
        )
        self.runtime = Runtime(plane, self.capture, asynchronous)
        self.fleets = FleetHost(self.folder, loop, services.read_object, self._environment)
        self.hosting = Hosting(
            self.store,
            routes,
            fleets_on(self.fleets),
            announce=partial(registry.announce, self),
            tripped=self.cloudwatch.tripped,
            deleted=self._endpoint_deleted,
            clock=clock,
        )

    def _environment(self, region: str) -> dict[str, str]:
        """Return the variables that lead a model's script to this server."""
        return client.environment(self.jobs.url, region, self.secret)

    def _endpoint_deleted(self, arn: str) -> None:
        """Remove what other parts keep for an endpoint."""
        region, name = resources.region_of(arn), resources.name_of(arn)
        self.runtime.asynchronous.forget(region, name)
        self.other_services.deregister(region, name)
        self.jobs.logs.keep(arn)

    def begin(self, url: str) -> None:
        """Start what needs the server's address, once the server listens."""
        self.jobs.url = url
        self.runtime.start()
        self.fleets.start()
        self.hosting.recover()

    def _recover(self) -> None:
        """Mark as failed what the store says is running: its process is gone."""
        jobs.recover(self.store)
        pipelines.recover(self.store)

    def close(self) -> None:
        """End all processes, and mark what was running as failed in the store."""
        self.hosting.close()
        self.runtime.asynchronous.close()
        self.fleets.kill()
        self.capture.close()
        self.fleets.close()
        self.store.lock.acquire()  # for good: no thread writes any more
        self.jobs.kill()
        self.jobs.tidy()
        self._recover()
        self.store.close()

    def call(self, name: str, request: Request, region: str) -> Answer:
        """Answer a request to an operation; check both against AWS's service model."""
        if name not in OPERATIONS:
            raise unsupported(name)
        operation = service_model.operation(name)
        if operation.input_shape:
            service_model.check(operation.input_shape, request)
        result = OPERATIONS[name](self, request, region)
        if not operation.output_shape:
            return {}
        answer: Answer = service_model.answer(operation.output_shape, result)
        return answer


def _speed(given: str | float) -> float:
    try:
        speed = float(given)
    except ValueError:
        speed = math.nan
    if not 0.01 <= speed <= 10_000:
        raise LocalError(
            f"the speed (SAGEMAKER_LOCAL_SPEED) is {given!r}; use a number from 0.01 to 10000,"
            " such as 60"
        )
    return speed
