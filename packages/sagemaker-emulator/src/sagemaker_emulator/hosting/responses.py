"""The errors of the runtime API, and what all its responses share."""

import json
import random

from sagemaker_emulator.api.documents import Json
from sagemaker_emulator.api.moto_services import ACCOUNT
from sagemaker_emulator.api.request import Response
from sagemaker_emulator.api.service_model import partition
from sagemaker_emulator.errors import AwsError, as_aws_error

MAX_BODY = 6_291_456  # bytes of a request, and of a model's answer
MAX_MESSAGE = 2048
PREFIX = "x-amzn-sagemaker-"  # of the headers of InvokeEndpoint


class ModelError(AwsError):
    """The model answered with an error, or with something that cannot be passed on."""

    def __init__(self, region: str, endpoint: str, status: int, text: str) -> None:
        group = f"/aws/sagemaker/Endpoints/{endpoint}"
        kind = "client" if 400 <= status < 500 else "server"
        console = f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
        text = text[:MAX_MESSAGE]
        super().__init__(
            "ModelError",
            f'Received {kind} error ({status}) from primary with message "{text}". See'
            f" {console}#logEventViewer:group={group} in account {ACCOUNT} for more information.",
            424,
        )
        self.members: dict[str, Json] = {
            "OriginalStatusCode": status,
            "OriginalMessage": text,
            "LogStreamArn": f"arn:{partition(region)}:logs:{region}:{ACCOUNT}:log-group:{group}",
        }


def error_response(error: Exception) -> Response:
    """Return the response of the runtime API to a request that failed with `error`."""
    error = as_aws_error(error)
    members = error.members if isinstance(error, ModelError) else {}
    headers = [
        ("Content-Type", "application/json"),
        ("x-amzn-ErrorType", error.code),
        ("x-amzn-RequestId", request_id()),
    ]
    return Response(
        error.status, headers, json.dumps({"Message": error.message} | members).encode()
    )


def too_large() -> Response:
    return error_response(
        AwsError(
            "ValidationError",
            "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must"
            f" have length less than or equal to {MAX_BODY}",
        )
    )


def request_id() -> str:
    """Return a UUID from a fast generator that is not cryptographic, which a name need not be."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
