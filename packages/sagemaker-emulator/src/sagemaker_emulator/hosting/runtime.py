"""The data plane: the event loop, and the runtime API that it serves.

InvokeEndpoint is answered on the loop alone. What needs S3 is left to other threads: see
data_capture.py and async_invocation.py.
"""

import asyncio
import re
import socket
import threading
import time
from functools import partial
from typing import Protocol

from sagemaker_emulator.api import http
from sagemaker_emulator.api.http import Connection, Later
from sagemaker_emulator.api.request import SCOPE, Response
from sagemaker_emulator.errors import AwsError, unsupported
from sagemaker_emulator.hosting.async_invocation import AsyncInvocations
from sagemaker_emulator.hosting.capture_record import Exchange
from sagemaker_emulator.hosting.data_capture import DataCapture
from sagemaker_emulator.hosting.invocation import DataPlane, Invocation
from sagemaker_emulator.hosting.responses import (
    MAX_BODY,
    PREFIX,
    error_response,
    request_id,
)
from sagemaker_emulator.hosting.traffic import Destination
from sagemaker_emulator.hosting.worker import Outcome, Stopped, Unavailable

PATH = re.compile(r"/endpoints/([^/?]+)/((?:async-)?invocations|invocations-response-stream)")
PASSED_BACK = (
    *(f"{PREFIX}custom-attributes", f"{PREFIX}new-session-id", f"{PREFIX}closed-session-id"),
)
UNSUPPORTED = (
    *("target-model", "target-container-hostname", "inference-component"),
    "enable-explanations",
)
INFERENCE_HEADER = f"{PREFIX}inference-id"
MAX_ID = 64
ID_PATTERN = r"\A\S[\p{Print}]*\z"  # AWS's, for Java: ASCII after the first character
INFERENCE_ID = re.compile(rf"[^ \t\n\v\f\r][ -~]{{,{MAX_ID - 1}}}")


class Front(Protocol):
    """What answers all requests of a connection; those for endpoints come back to `Runtime`."""

    def handle(
        self, method: str, target: str, headers: http.Headers, body: bytes
    ) -> http.Answer | http.Later: ...

    def refusal(
        self, method: str, target: str, headers: http.Headers, size: int
    ) -> http.Response | None: ...


def _wrong_inference_id(given: str) -> AwsError:
    rule = f"satisfy regular expression pattern: {ID_PATTERN}"
    if not given:
        rule = "have length greater than or equal to 1"
    elif len(given) > MAX_ID:
        rule = f"have length less than or equal to {MAX_ID}"
    return AwsError(
        "ValidationError",
        f"1 validation error detected: Value '{given}' at 'inferenceId' failed to satisfy"
        f" constraint: Member must {rule}",
    )


class Runtime:
    def __init__(
        self, plane: DataPlane, capture: DataCapture, asynchronous: AsyncInvocations
    ) -> None:
        self.plane = plane
        self.loop = plane.loop
        self.routes = plane.routes
        self.capture = capture
        self.asynchronous = asynchronous
        self.under_way = 0  # requests that the models have

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()
        self.capture.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def serve(self, listener: socket.socket, front: Front) -> None:
        """Take connections from a listening socket."""
        serving = self.loop.create_server(
            lambda: Connection(front.handle, front.refusal), sock=listener
        )
        asyncio.run_coroutine_threadsafe(serving, self.loop).result()

    @staticmethod
    def takes(method: str, target: str, headers: dict[str, str]) -> bool:
        """Return whether a request is for an endpoint, not for an S3 bucket named `endpoints`."""
        if method != "POST" or not PATH.fullmatch(target):
            return False
        scope = SCOPE.search(headers.get("authorization", ""))
        return not scope or scope[2] == "sagemaker"

    def handle(self, target: str, headers: dict[str, str], body: bytes) -> Response | Later:
        """Answer a request that `takes` accepts; called on the event loop."""
        path = PATH.fullmatch(target)
        assert path is not None  # `takes` matched it
        endpoint, operation = path.groups()
        scope = SCOPE.search(headers.get("authorization", ""))
        region = scope[1] if scope else "us-east-1"
        try:
            if operation == "invocations-response-stream":
                raise unsupported("InvokeEndpointWithResponseStream")
            for member in UNSUPPORTED:
                if PREFIX + member in headers:
                    raise unsupported(f"InvokeEndpoint with the header {PREFIX}{member}")
            inference = headers.get(INFERENCE_HEADER)
            if inference is not None and not INFERENCE_ID.fullmatch(inference):
                raise _wrong_inference_id(inference)
            if operation == "async-invocations":
                return self.asynchronous.accept(region, endpoint, headers, body)
            return self._invoke(region, endpoint, headers, body)
        except Exception as error:
            return error_response(error)

    def _invoke(self, region: str, endpoint: str, headers: dict[str, str], body: bytes) -> Later:
        traffic = self.routes.find(region, endpoint)
        route = traffic.route
        if route.asynchronous is not None:
            raise AwsError(
                "ValidationError",
                f"Endpoint {endpoint} is an asynchronous endpoint: use InvokeEndpointAsync.",
            )
        later = Later()
        invocation = Invocation(self.plane, region, endpoint, headers, body)
        if route.shadows:
            for shadow, share in zip(route.shadows, traffic.copied, strict=True):
                if share.take(shadow.weight):
                    self._copy(region, endpoint, shadow, invocation.request)
        self.under_way += 1
        invocation.send(lambda: self._answer(invocation, later))
        return later

    def _answer(self, invocation: Invocation, later: Later) -> None:
        """Answer with what the model did, after it is captured where that is wanted."""
        self.under_way -= 1
        try:
            status, answered, content = invocation.result()
            if len(content) > MAX_BODY:
                raise invocation.model_error(
                    0, f"the response has {len(content)} bytes, at most {MAX_BODY} are allowed"
                )
            response = self._response(invocation, answered, content)
            if capture := invocation.traffic.capture(invocation.destination):
                exchange = Exchange(invocation.headers, invocation.body, answered, content)
                names = (invocation.endpoint, invocation.destination.variant)
                answer = partial(later.set_answer, response)
                at_once = not self.under_way
                self.capture.add(capture, *names, exchange, answer, at_once)
                return
        except Exception as error:
            response = error_response(error)
        later.set_answer(response)

    @staticmethod
    def _response(invocation: Invocation, answered: http.Headers, content: bytes) -> Response:
        headers = [
            ("Content-Type", answered.get("content-type", "application/octet-stream")),
            ("x-Amzn-Invoked-Production-Variant", invocation.destination.variant),
            ("x-amzn-RequestId", request_id()),
        ]
        headers += [(name, answered[name]) for name in PASSED_BACK if name in answered]
        return Response(200, headers, content)

    def _copy(self, region: str, endpoint: str, shadow: Destination, request: bytes) -> None:
        """Send a copy to a shadow variant, whose answer goes into the metrics and nowhere else."""
        begun = time.perf_counter()

        def measure(outcome: Outcome) -> None:
            if not isinstance(outcome, Stopped | Unavailable):
                status = 500 if isinstance(outcome, Exception) else outcome[0]
                seconds = time.perf_counter() - begun
                self.plane.measure(region, endpoint, shadow.variant, status, seconds, 0.0)

        shadow.fleet.send(request, measure)
