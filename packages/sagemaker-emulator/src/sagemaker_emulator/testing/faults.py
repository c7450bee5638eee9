"""Inject faults and read the log of calls, to test programs that use SageMaker and S3.

    inject(local, operation="UpdateEndpoint", kind="throttle", times=3)
    calls(local)        # [{"service": "sagemaker", "operation": "UpdateEndpoint", ...}]
    clear(local)        # no more faults; the log stays
    clear_calls(local)

`local` is what attach() returns, of a server that was started with SAGEMAKER_LOCAL_FAULTS=1.
`operation` is AWS's name of it, of S3's as well (PutObject, GetObject, HeadBucket, ...), or "*".
The first `after` calls of it are spared, the next `times` are hit (None: all). The kinds:

    throttle, error500, error503, denied    refused, in the words of the service; nothing is done
    error           the same with code=, message= and status= (400)
    reset           the connection ends; nothing is done
    delay           seconds=, then it is done
    lost_response   it is done, and the connection ends without an answer
    truncated_body  it is done, and the connection ends in the middle of the answer
    answer          it is done, and members= replace those of the answer (None removes one)

A call in the log has `service`, `operation`, `status` (None where the client got no whole answer),
`fault` (the kind, or None) and `request`: a JSON protocol's members, for S3 the path. It is in the
log when its answer is ready. Invocations of endpoints are neither hit nor logged.
"""

import contextlib
import http.client
import json
from typing import Any

from sagemaker_emulator.api.faults import PATH, SWITCH
from sagemaker_emulator.client import Local

Call = dict[str, Any]


def inject(
    local: Local,
    operation: str,
    kind: str,
    times: int | None = 1,
    after: int = 0,
    service: str = "sagemaker",
    **details: Any,
) -> None:
    """Make the server inject a fault; raise ValueError if the kind or its details are unknown."""
    rule = {"operation": operation, "kind": kind, "times": times, "after": after}
    _send(local, "POST", rule | {"service": service, "details": details})


def clear(local: Local) -> None:
    """End all faults; keep the log of calls."""
    _send(local, "DELETE", {"what": "faults"})


def calls(local: Local) -> list[Call]:
    """Return the log of calls, oldest first."""
    logged: list[Call] = _send(local, "GET")
    return logged


def clear_calls(local: Local) -> None:
    """Empty the log of calls."""
    _send(local, "DELETE", {"what": "calls"})


def _send(local: Local, method: str, content: Any = None) -> Any:
    connection = http.client.HTTPConnection(local.url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        headers = {"x-amz-security-token": local.secret}
        connection.request(method, PATH, json.dumps(content), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    if answer.status != 200:
        raise ValueError(f"{text or answer.status} (is {SWITCH}=1 set for the server?)")
    return json.loads(text)
