"""Invoke an asynchronous endpoint as if it were a real-time one, so that run_test() can test it.

A request's body is put in S3, InvokeEndpointAsync gets its address, and the answer, or the reason
why there is none, is polled for in S3. Latency is that of the whole way, including the poll. S3
does not keep the answer's content type, so it is taken to be the one that was asked for. A refused
request is only seen if the endpoint has an S3FailurePath.
"""

import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from botocore.exceptions import ClientError

NOT_YET = ("NoSuchKey", "404", "SlowDown", "503", "ServiceUnavailable", "InternalError", "500")
STATUS = re.compile(r"Received (?:client|server) error \((\d{3})\)")


class Body(Protocol):
    """The content of an object in S3."""

    def read(self) -> bytes: ...


class AsyncRuntime:
    """Has the invoke_endpoint() of a boto3 client, for endpoints with an AsyncInferenceConfig.

    Args:
        runtime: a boto3 client of sagemaker-runtime.
        s3: a boto3 client of S3.
        folder: S3 URI below which each body is kept until its request is answered.
        timeout: seconds to wait for an answer.
        poll_interval: seconds between two looks in S3.
    """

    def __init__(
        self,
        runtime: Any,
        s3: Any,
        folder: str,
        timeout: float = 60,
        poll_interval: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.runtime, self.s3 = runtime, s3
        self.folder = folder.rstrip("/")
        self.timeout, self.poll_interval = timeout, poll_interval
        self.clock, self.sleep = clock, sleep

    def invoke_endpoint(
        self, *, EndpointName: str, ContentType: str, Accept: str, Body: bytes, InferenceId: str
    ) -> dict[str, Any]:
        """Return {"Body", "ContentType"} of the answer.

        Raises:
            ClientError: as of InvokeEndpoint; ModelError if the model refused the request.
            TimeoutError: no answer came in time.
        """
        uri = f"{self.folder}/{uuid.uuid4()}"
        self.s3.put_object(**_bucket_and_key(uri), Body=Body)
        try:
            response = self.runtime.invoke_endpoint_async(
                EndpointName=EndpointName,
                InputLocation=uri,
                ContentType=ContentType,
                Accept=Accept,
                InferenceId=InferenceId,
            )
            return {"Body": self._wait(response), "ContentType": Accept}
        finally:
            self.s3.delete_object(**_bucket_and_key(uri))

    def _wait(self, response: Mapping[str, str]) -> Body:
        """Return the answer; `response` is that of InvokeEndpointAsync."""
        end = self.clock() + self.timeout
        output, failure = response["OutputLocation"], response.get("FailureLocation")
        while self.clock() < end:
            if body := self._find(output):
                return body
            if failure and (body := self._find(failure)):
                raise _model_error(body.read().decode(errors="replace"))
            self.sleep(self.poll_interval)
        where = f"{output} or {failure}" if failure else output
        raise TimeoutError(f"there was no answer at {where} within {self.timeout} s")

    def _find(self, uri: str) -> Body | None:
        try:
            body: Body = self.s3.get_object(**_bucket_and_key(uri))["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] in NOT_YET:
                return None
            raise
        return body


def _bucket_and_key(uri: str) -> dict[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def _model_error(text: str) -> ClientError:
    found = STATUS.search(text)
    response = {
        "Error": {"Code": "ModelError", "Message": text},
        "OriginalStatusCode": int(found[1]) if found else None,
        "OriginalMessage": text,
    }
    return ClientError(response, "InvokeEndpointAsync")
