"""Send requests to an endpoint, and tell answers, errors of the endpoint and refusals apart."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
)

from sagemaker_project.deploy.endpoint_test_result import one_line
from sagemaker_project.deploy.endpoint_test_samples import Request
from sagemaker_project.errors import UsageError

WAKE_SECONDS = 120
INFERENCE_ID = "deploy-model"  # captured data of tests can be told from those of users
MAX_SECONDS = 900  # for a whole test; requests in progress end by their own time limits

THROTTLED = {"ThrottlingException", "Throttling", "TooManyRequestsException"}
WAKING = {"ModelNotReadyException", *THROTTLED}  # says nothing about the endpoint yet
CONNECTION = (ConnectionError, HTTPClientError, IncompleteReadError, OSError)
REFUSALS = {"ValidationError", "ValidationException"}
NOT_NOW = {
    *("ModelNotReadyException", "ServiceUnavailable", "InternalFailure"),
    *("InternalDependencyException", "RequestTimeout", "RequestTimeoutException"),
    *THROTTLED,
}


class Runtime(Protocol):
    """A boto3 client of sagemaker-runtime, or an AsyncRuntime."""

    @property
    def invoke_endpoint(self) -> Callable[..., Any]: ...


@dataclass(frozen=True)
class Answer:
    """What became of a request: a body, or an `error`."""

    milliseconds: float = 0.0
    status: int | None = None
    content_type: str = ""
    body: bytes = b""
    variant: str = ""
    error: str = ""
    message: str = ""
    retries: int = 0

    @property
    def counted_error(self) -> str:
        """The error that the error rate counts; an answer that took boto3 a retry is one too."""
        if self.retries and not self.error:
            return "answered only after a retry of boto3"
        return self.error


class Endpoint:
    """Sends requests to one endpoint. Safe to use from several threads, as a boto3 client is."""

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        variant: str | None,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        self.runtime, self.clock, self.sleep = runtime, clock, sleep
        self.name = name
        self.target = {"EndpointName": name} | ({"TargetVariant": variant} if variant else {})
        self.end = clock() + MAX_SECONDS

    def wake(self, request: Request) -> None:
        """Send a request until the model is loaded and AWS lets it through, or WAKE_SECONDS."""
        end = self.clock() + WAKE_SECONDS
        while (answer := self.send(request)) and answer.error in WAKING:
            if self.clock() >= end:
                return
            self.sleep(1)

    def send(self, request: Request, malformed: bool = False) -> Answer | None:
        """Return the answer; None if the time of the test is over.

        Args:
            malformed: the request should be refused, so SageMaker's own refusal is an answer.

        Raises:
            UsageError: SageMaker refuses the request for a reason that is not under test.
        """
        start = self.clock()
        if start >= self.end:
            return None
        try:
            answer = _answered(
                self.runtime.invoke_endpoint(
                    **self.target,
                    ContentType=request.content_type,
                    Accept=request.accept,
                    Body=request.body,
                    InferenceId=f"{INFERENCE_ID}-{uuid.uuid4()}",
                )
            )
        except ClientError as error:
            answer = self._refused(error.response, malformed)
        except CONNECTION as error:
            answer = Answer(error=type(error).__name__, message=one_line(error))
        except BotoCoreError as error:
            raise UsageError(f"{self.name}: InvokeEndpoint: {one_line(error)}") from None
        return replace(answer, milliseconds=(self.clock() - start) * 1000)

    def _refused(self, response: Mapping[str, Any], malformed: bool) -> Answer:
        code, message = response["Error"]["Code"], one_line(response["Error"].get("Message", ""))
        status, retries = _http_status(response), _retries(response)
        if code == "ModelError":
            status = response.get("OriginalStatusCode")
            message = one_line(response.get("OriginalMessage") or message)
            error = f"ModelError {status}"
            return Answer(error=error, status=status, message=message, retries=retries)
        if code in NOT_NOW or (status or 0) >= 500:
            return Answer(error=code, message=message, retries=retries)
        refuses = code in REFUSALS or code.isdigit()
        if malformed and refuses and "not found" not in message:
            return Answer(error=code, status=status, message=message, retries=retries)
        raise UsageError(
            f"{self.name}: InvokeEndpoint was refused: {code}: {message}; see its state with"
            f" aws sagemaker describe-endpoint --endpoint-name {self.name}"
        )


def _answered(response: Mapping[str, Any]) -> Answer:
    return Answer(
        status=200,
        content_type=response.get("ContentType") or "",
        variant=response.get("InvokedProductionVariant") or "",
        body=response["Body"].read(),
        retries=_retries(response),
    )


def _http_status(response: Mapping[str, Any]) -> int | None:
    status: int | None = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def _retries(response: Mapping[str, Any]) -> int:
    return int(response.get("ResponseMetadata", {}).get("RetryAttempts", 0))
