"""One request to a model: from the choice of its variant to the model's answer.

Everything here happens on the event loop, in one step per request, without a task or a future.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from sagemaker_emulator.errors import AwsError, as_aws_error
from sagemaker_emulator.hosting.responses import PREFIX, ModelError
from sagemaker_emulator.hosting.traffic import Destination, Routes
from sagemaker_emulator.hosting.worker import (
    MODEL_SECONDS,
    Answer,
    Died,
    Outcome,
    Stopped,
    TimedOut,
    Unavailable,
)

FORWARDED = (
    *("content-type", "accept", f"{PREFIX}custom-attributes", f"{PREFIX}inference-id"),
    f"{PREFIX}session-id",
)
SWITCH_SECONDS = 5  # how long a request is retried while its fleet is stopped
UNANSWERED: dict[type[Exception], Answer] = {  # the answer in place of the model's
    Died: (502, {}, b"the model's process ended before it answered"),
    TimedOut: (
        *(504, {}),
        b"Your invocation timed out while waiting for a response from container primary",
    ),
}


@dataclass(frozen=True)
class DataPlane:
    """What invocations need of the server."""

    loop: asyncio.AbstractEventLoop
    routes: Routes
    # Called with region, endpoint, variant, status, seconds of the model, seconds of overhead.
    measure: Callable[[str, str, str, int, float, float], None]


class Invocation:
    """One request on its way to a worker and back."""

    destination: Destination
    answer: Answer
    sent: float  # when a fleet got it
    done: Callable[[], None]

    def __init__(
        self, plane: DataPlane, region: str, endpoint: str, headers: dict[str, str], body: bytes
    ) -> None:
        self.begun = time.perf_counter()
        self.plane = plane
        self.region = region
        self.endpoint = endpoint
        self.headers = headers
        self.body = body
        self.request = _forwarded(headers, body)
        self.model_seconds: float = MODEL_SECONDS  # the time that the model has to answer
        self.deadline: float | None = None  # see SWITCH_SECONDS
        self.error: AwsError | None = None

    def send(self, done: Callable[[], None]) -> None:
        """Send the request where the route leads now; `done` is called when it has a result."""
        self.done = done
        try:
            self.destination = self._choose()
        except Exception as error:
            self.error = as_aws_error(error)
            done()
            return
        self.sent = time.perf_counter()
        self.destination.fleet.send(self.request, self._receive, self.model_seconds)

    def _choose(self) -> Destination:
        session = self.headers.get(f"{PREFIX}session-id")
        target = self.headers.get(f"{PREFIX}target-variant")
        self.traffic = self.plane.routes.find(self.region, self.endpoint)
        chosen = self.traffic.choose(target, None if session == "NEW_SESSION" else session)
        if chosen is None:
            raise AwsError("ValidationError", f"Variant {target} of {self.endpoint} not found.")
        if chosen.max_concurrency and chosen.fleet.busy >= chosen.max_concurrency:
            raise AwsError(
                "ThrottlingException",
                f"Variant {chosen.variant} has reached its MaxConcurrency of"
                f" {chosen.max_concurrency}.",
            )
        return chosen

    def _receive(self, outcome: Outcome) -> None:
        if isinstance(outcome, Stopped):
            self._retry()
            return
        now = time.perf_counter()
        if isinstance(outcome, Unavailable):
            self.error = AwsError("ServiceUnavailable", str(outcome), 503)
        else:
            self.answer = UNANSWERED[type(outcome)] if isinstance(outcome, Exception) else outcome
            self.plane.measure(
                *(self.region, self.endpoint, self.destination.variant, self.answer[0]),
                *(now - self.sent, self.sent - self.begun),
            )
        self.done()

    def _retry(self) -> None:
        """Send the request again soon: the fleet has stopped, so there will be a new route."""
        loop = self.plane.loop
        self.deadline = self.deadline or loop.time() + SWITCH_SECONDS
        if loop.time() > self.deadline:
            self.error = AwsError("ServiceUnavailable", f"{self.endpoint} has stopped.", 503)
            self.done()
        else:
            loop.call_later(0.01, self.send, self.done)

    def result(self) -> Answer:
        """Return the model's answer; raise AwsError unless it is a success."""
        if self.error:
            raise self.error
        status, _, content = self.answer
        if not 200 <= status < 300:
            raise self.model_error(status, content.decode("utf-8", "replace"))
        return self.answer

    def model_error(self, status: int, text: str) -> ModelError:
        return ModelError(self.region, self.endpoint, status, text)


def _forwarded(headers: dict[str, str], body: bytes) -> bytes:
    """Return the HTTP request that the model's container gets."""
    lines = [f"{name}: {headers[name]}\r\n" for name in FORWARDED if name in headers]
    head = f"POST /invocations HTTP/1.1\r\nHost: model\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{''.join(lines)}\r\n".encode("latin-1") + body
