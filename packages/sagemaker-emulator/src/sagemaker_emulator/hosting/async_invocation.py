"""InvokeEndpointAsync: the request is accepted at once, and its answer appears in S3.

Every accepted request ends with an object in S3, the answer or, where the endpoint has an
S3FailurePath, the reason of the failure; also those that are still waiting when the server ends.
Objects are read and written by threads, everything else happens on the event loop.
"""

import asyncio
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.api.request import Response
from sagemaker_emulator.errors import AwsError, as_aws_error, log
from sagemaker_emulator.hosting.capture_record import Exchange
from sagemaker_emulator.hosting.clock import Clock
from sagemaker_emulator.hosting.data_capture import DataCapture
from sagemaker_emulator.hosting.invocation import FORWARDED, DataPlane, Invocation
from sagemaker_emulator.hosting.responses import PREFIX, request_id
from sagemaker_emulator.jobs.s3_files import bucket_and_key

MAX_BODY = 128_000
TTL_SECONDS = 21_600
CONCURRENT_INVOCATIONS = 4  # per instance, unless the configuration says more


@dataclass(frozen=True)
class AsyncRequest:
    """An accepted request."""

    region: str
    endpoint: str
    headers: dict[str, str]
    source: str | None  # the S3 URI of the body; None if it came with the request
    body: bytes
    output: str  # S3 URIs
    failure: str | None
    ttl_seconds: int
    model_seconds: int


class AsyncInvocations:
    """`read_object` gets bucket and key and returns None where there is no such object."""

    def __init__(
        self,
        plane: DataPlane,
        read_object: Callable[[str, str], bytes | None],
        write_object: Callable[[str, str, bytes], None],
        capture: DataCapture,
        clock: Clock,
    ) -> None:
        self.plane = plane
        self.read_object = read_object
        self.write_object = write_object
        self.capture = capture
        self.clock = clock
        self.unanswered: dict[str, AsyncRequest] = {}  # by the URI of the output
        self.limits: dict[tuple[str, str], tuple[int, asyncio.Semaphore]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        for request in list(self.unanswered.values()):
            self._fail(request, "the local server ended")

    def forget(self, region: str, endpoint: str) -> None:
        self.limits.pop((region, endpoint), None)

    def accept(self, region: str, endpoint: str, headers: dict[str, str], body: bytes) -> Response:
        config = self.plane.routes.find(region, endpoint).route.asynchronous
        if config is None:
            raise AwsError(
                "ValidationError",
                f"Endpoint {endpoint} is not an asynchronous endpoint: use InvokeEndpoint.",
            )
        source = _source(headers, body)
        ttl = _seconds(headers, "RequestTTLSeconds", 60, TTL_SECONDS, TTL_SECONDS)
        model_seconds = _seconds(headers, "InvocationTimeoutSeconds", 1, 3600, 900)
        output, failure = _locations(config["OutputConfig"], headers)
        accepted = AsyncRequest(
            *(region, endpoint, headers, source, body, output, failure, ttl, model_seconds)
        )
        task = self.plane.loop.create_task(self._answer(accepted))
        self.tasks.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self.tasks.discard)
        given = [("Content-Type", "application/json"), ("x-amzn-RequestId", request_id())]
        given += [("X-Amzn-SageMaker-OutputLocation", output)]
        given += [("X-Amzn-SageMaker-FailureLocation", failure)] if failure else []
        inference = headers.get(f"{PREFIX}inference-id") or request_id()
        return Response(202, given, json.dumps({"InferenceId": inference}).encode())

    async def _answer(self, request: AsyncRequest) -> None:
        """Invoke the model and write its answer, or the reason of the failure."""
        self.unanswered[request.output] = request
        in_thread = self.plane.loop.run_in_executor
        try:
            content = await self._invoke(request, self.clock.monotonic())
            await in_thread(None, self._write, request.output, content)
            self.unanswered.pop(request.output, None)
        except Exception as error:
            await in_thread(None, self._fail, request, as_aws_error(error).message)

    async def _invoke(self, request: AsyncRequest, accepted: float) -> bytes:
        loop, body = self.plane.loop, request.body
        async with self._limit(request.region, request.endpoint):
            waited = self.clock.monotonic() - accepted
            if waited > self.clock.seconds(request.ttl_seconds):
                raise AwsError(
                    "ValidationError", f"The request waited over {request.ttl_seconds} s."
                )
            if request.source:
                body = await loop.run_in_executor(None, self._read, request.source)
            headers = _model_headers(request.headers)
            invocation = Invocation(self.plane, request.region, request.endpoint, headers, body)
            invocation.model_seconds = request.model_seconds
            done = loop.create_future()
            invocation.send(lambda: done.set_result(None))
            await done
        _, answered, content = invocation.result()
        if chosen := invocation.traffic.capture(invocation.destination):
            exchange, written = Exchange(headers, body, answered, content), loop.create_future()
            names = (request.endpoint, invocation.destination.variant)
            self.capture.add(chosen, *names, exchange, lambda: written.set_result(None))
            await written
        return content

    def _limit(self, region: str, endpoint: str) -> asyncio.Semaphore:
        """Return the semaphore of an endpoint's requests; a new one if its size changed."""
        route = self.plane.routes.find(region, endpoint).route
        client = (route.asynchronous or {}).get("ClientConfig") or {}
        each = client.get("MaxConcurrentInvocationsPerInstance") or CONCURRENT_INVOCATIONS
        most = each * max(1, sum(destination.fleet.count for destination in route.blue))
        limit = self.limits.get((region, endpoint))
        if limit is None or limit[0] != most:
            limit = self.limits[region, endpoint] = (most, asyncio.Semaphore(most))
        return limit[1]

    def _fail(self, request: AsyncRequest, why: str) -> None:
        if self.unanswered.pop(request.output, None) and request.failure:
            self._write(request.failure, f"{why}\n".encode())

    def _read(self, uri: str) -> bytes:
        body = self.read_object(*bucket_and_key(uri))
        if body is None:
            raise AwsError("ValidationError", f"There is no S3 object {uri}.")
        return body

    def _write(self, uri: str, content: bytes) -> None:
        try:
            self.write_object(*bucket_and_key(uri), content)
        except (LookupError, AwsError) as error:
            log(f"cannot write {uri}: {error}")


def _source(headers: dict[str, str], body: bytes) -> str | None:
    source = headers.get(f"{PREFIX}inputlocation")
    if bool(source) == bool(body):
        raise AwsError("ValidationError", "Provide exactly one of InputLocation and Body.")
    if len(body) > MAX_BODY:
        raise AwsError("ValidationError", f"Body has more than {MAX_BODY} bytes.")
    if source and not source.startswith("s3://"):
        raise AwsError("ValidationError", f"InputLocation {source} is not an s3:// URI.")
    return source


def _seconds(headers: dict[str, str], member: str, least: int, most: int, default: int) -> int:
    given = headers.get(PREFIX + member.lower(), str(default))
    if not re.fullmatch("[0-9]{1,5}", given) or not least <= int(given) <= most:
        raise AwsError(
            "ValidationError",
            f"1 validation error detected: Value '{given}' at '{member}' failed to satisfy"
            f" constraint: Member must have value between {least} and {most}",
        )
    return int(given)


def _locations(config: Document, headers: dict[str, str]) -> tuple[str, str | None]:
    """Return the S3 URIs of the answer and of a failure; the latter is None if not configured."""
    extension = headers.get(f"{PREFIX}s3outputpathextension", "").strip("/")
    name = headers.get(f"{PREFIX}filename") or f"{uuid.uuid4()}.out"

    def below(path: str) -> str:
        return "/".join(filter(None, [path.rstrip("/"), extension, name]))

    output, failure = below(config["S3OutputPath"]), config.get("S3FailurePath")
    return output, below(failure).removesuffix(".out") + "-error.out" if failure else None


def _model_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers that the synchronous form of an asynchronous request has."""
    given = {f"{PREFIX}content-type": "content-type", f"{PREFIX}accept": "accept"}
    kept = {n: v for n, v in headers.items() if n in FORWARDED and n not in given.values()}
    return kept | {name: headers[header] for header, name in given.items() if header in headers}
