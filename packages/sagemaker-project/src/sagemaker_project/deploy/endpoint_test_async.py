"""Ask an asynchronous endpoint as if it were a real-time one, so that run_test() can test it.

A request's body is put in S3, InvokeEndpointAsync is told where, and the answer, or the reason why
there is none, is waited for in S3. Latency is then that of the whole way, to the next look. S3 does
not tell the answer's content type: it is taken for the one that was asked for. A refused request is
seen only where the endpoint has an S3FailurePath.
"""

import re
import time
import uuid

from botocore.exceptions import ClientError

STATUS = re.compile(r"Received (?:client|server) error \((\d{3})\)")


class AsyncRuntime:
    """invoke_endpoint() for endpoints with an AsyncInferenceConfig.

    Args:
        runtime, s3: boto3 clients.
        folder: S3 URI below which bodies are kept for as long as they are needed.
    """

    def __init__(self, runtime, s3, folder, seconds=60, look_every=0.2):
        self.runtime, self.s3 = runtime, s3
        self.folder = folder.rstrip("/")
        self.seconds, self.look_every = seconds, look_every

    def invoke_endpoint(self, EndpointName, ContentType, Accept, Body):
        uri = f"{self.folder}/{uuid.uuid4()}"
        self.s3.put_object(**_place(uri), Body=Body)
        try:
            places = self.runtime.invoke_endpoint_async(
                EndpointName=EndpointName,
                InputLocation=uri,
                ContentType=ContentType,
                Accept=Accept,
            )
            return {"Body": self._wait(places), "ContentType": Accept}
        finally:
            self.s3.delete_object(**_place(uri))

    def _wait(self, places):
        end = time.monotonic() + self.seconds
        failure = places.get("FailureLocation")
        while time.monotonic() < end:
            if body := self._find(places["OutputLocation"]):
                return body
            if failure and (body := self._find(failure)):
                raise _model_error(body.read().decode(errors="replace"))
            time.sleep(self.look_every)
        where = " or ".join(filter(None, [places["OutputLocation"], failure]))
        raise TimeoutError(f"nothing came to {where} within {self.seconds} s")

    def _find(self, uri):
        try:
            return self.s3.get_object(**_place(uri))["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise


def _place(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def _model_error(text):
    found = STATUS.search(text)
    response = {
        "Error": {"Code": "ModelError", "Message": text},
        "OriginalStatusCode": int(found[1]) if found else None,
        "OriginalMessage": text,
    }
    return ClientError(response, "InvokeEndpointAsync")
