"""Faults on purpose, and the log of calls: for tests of what talks to SageMaker and S3.

A server that was started with SAGEMAKER_LOCAL_FAULTS=1 does as it is told here; any other one does
not know of it, so nobody meets a fault by accident.

    faults.inject(local, operation="UpdateEndpoint", kind="throttle", times=3)
    faults.calls(local)        # [{"service": "sagemaker", "operation": "UpdateEndpoint", ...}]
    faults.clear(local)        # no more faults; the log stays
    faults.clear_calls(local)

`local` is what attach() gives. `operation` is AWS's name of it, of S3's as well (PutObject,
GetObject, HeadBucket, ...), or "*". The first `after` calls of it are spared, the next `times` are
hit (None: all). What happens:

    throttle, error500, error503, denied    refused, in the words of the service; nothing is done
    error           the same with code=, message= and status= (400)
    reset           the connection ends; nothing is done
    delay           seconds=, then it is done
    lost_response   it is done, and the connection ends without an answer
    truncated_body  it is done, and the connection ends in the middle of the answer
    answer          it is done, and members= take the place of the answer's (None takes one away)

A call in the log has `service`, `operation`, `status` (None where the client got no whole answer),
`fault` (the kind, or None) and `request`: a JSON protocol's members, for S3 the path. It is in the
log when its answer is ready. Invocations of endpoints are neither hit nor logged.
"""

import contextlib
import http.client
import json
import threading
import time
from collections import deque
from urllib.parse import unquote

from sagemaker_emulator.api.http import Cut
from sagemaker_emulator.api.request import Response
from sagemaker_emulator.errors import AwsError

SWITCH = "SAGEMAKER_LOCAL_FAULTS"
PATH = "/_sagemaker_local/faults"
MAX_CALLS = 20_000
MAX_REQUEST = 100_000
KINDS = {
    *("throttle", "error500", "error503", "denied", "error", "reset", "delay"),
    *("lost_response", "truncated_body", "answer"),
}
DETAILS = {
    "error": {"code", "message", "status"},
    "delay": {"seconds"},
    "answer": {"members"},
}
REFUSALS = {  # kind: (code, S3's code, status, S3's status, message)
    "throttle": ("ThrottlingException", "SlowDown", 400, 503, "Rate exceeded"),
    "error500": ("InternalFailure", "InternalError", 500, 500, "An internal error occurred"),
    "error503": ("ServiceUnavailable", "ServiceUnavailable", 503, 503, "Try again later"),
    "denied": ("AccessDeniedException", "AccessDenied", 400, 403, "User is not authorized"),
}
BUCKET = {"HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete", "POST": "Post", "HEAD": "Head"}


# In a test


def inject(local, operation, kind, times=1, after=0, service="sagemaker", **details):
    rule = {"operation": operation, "kind": kind, "times": times, "after": after}
    _ask(local, "POST", rule | {"service": service, "details": details})


def clear(local):
    _ask(local, "DELETE", {"what": "faults"})


def calls(local):
    return _ask(local, "GET")


def clear_calls(local):
    _ask(local, "DELETE", {"what": "calls"})


def _ask(local, method, content=None):
    connection = http.client.HTTPConnection(local.url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        headers = {"x-amz-security-token": local.secret}
        connection.request(method, PATH, json.dumps(content), headers)
        answer = connection.getresponse()
        said = answer.read().decode()
    if answer.status != 200:
        raise ValueError(f"{said or answer.status} (is SAGEMAKER_LOCAL_FAULTS=1 set?)")
    return json.loads(said)


# In the server


class Faults:
    def __init__(self, refusal):
        self.refusal = refusal  # (request, AwsError) to a response
        self.rules = []
        self.calls = deque(maxlen=MAX_CALLS)
        self.lock = threading.Lock()

    def handle(self, request):
        content = json.loads(request.body or b"null")
        with self.lock:
            if request.method == "GET":
                return _json(200, list(self.calls))
            if request.method == "DELETE":
                (self.rules if content["what"] == "faults" else self.calls).clear()
            else:
                wrong = _mistake(content)
                if wrong:
                    return _json(400, wrong)
                self.rules.append(content)
        return _json(200, None)

    def around(self, request, answer):
        """Answer a request, unless a fault is in the way."""
        operation = operation_of(request)
        rule = self._next(request.service, operation) or {"kind": None, "details": {}}
        response = self._answer(request, answer, operation, **rule)
        self.calls.append(
            {
                "service": request.service,
                "operation": operation,
                "status": None if isinstance(response, Cut) else response.status,
                "fault": rule["kind"],
                "request": _members(request),
            }
        )
        return response

    def _next(self, service, operation):
        with self.lock:
            for rule in self.rules:
                if rule["service"] != service or rule["operation"] not in (operation, "*"):
                    continue
                if rule["after"]:
                    rule["after"] -= 1
                elif rule["times"] != 0:
                    rule["times"] = rule["times"] and rule["times"] - 1
                    return {"kind": rule["kind"], "details": rule["details"]}
        return None

    def _answer(self, request, answer, operation, kind, details):
        if kind in REFUSALS:
            code, s3_code, status, s3_status, message = REFUSALS[kind]
            if request.service == "s3":
                code, status = s3_code, s3_status
            if kind == "denied":
                message += f" to perform: {request.service}:{operation}"
            return self.refusal(request, AwsError(code, message, status))
        if kind == "error":
            status = details.get("status", 400)
            error = AwsError(details["code"], details.get("message", ""), status)
            return self.refusal(request, error)
        if kind == "reset":
            return Cut()
        if kind == "delay":
            time.sleep(details["seconds"])
        response = answer(request)
        if kind == "lost_response":
            return Cut()
        if kind == "truncated_body":
            return Cut(response)
        if kind == "answer":
            members = json.loads(response.body) | details["members"]
            members = {name: value for name, value in members.items() if value is not None}
            return Response(response.status, response.headers, json.dumps(members).encode())
        return response


def _mistake(rule):
    kind, details = rule["kind"], set(rule["details"])
    if kind not in KINDS:
        return f"no kind of fault {kind!r}: they are {', '.join(sorted(KINDS))}"
    known = DETAILS.get(kind, set())
    needed = known - {"message", "status"}
    if needed - details or details - known:
        return f"a fault of kind {kind} has {', '.join(sorted(known)) or 'no details'}"
    return None


def _members(request):
    if request.service == "s3":
        return request.path
    with contextlib.suppress(ValueError, RecursionError):
        if len(request.body) <= MAX_REQUEST:
            return json.loads(request.body)
    return None


def _json(status, content):
    body = json.dumps(content) if status == 200 else content
    return Response(status, [("Content-Type", "application/json")], body.encode())


def operation_of(request):
    """AWS's name of what a request asks for."""
    if request.service != "s3":
        return request.action or f"{request.method} {request.plain_path}"
    query, method = request.query, request.method
    _, _, key = unquote(request.path.partition("?")[0]).lstrip("/").partition("/")
    if not request.plain_path.strip("/"):
        return "ListBuckets"
    if key:
        return _object_operation(method, query, request.headers)
    if "list-type" in query:
        return "ListObjectsV2"
    if "delete" in query:
        return "DeleteObjects"
    if "versions" in query:
        return "ListObjectVersions"
    if "uploads" in query:
        return "ListMultipartUploads"
    part = _subresource(query)
    if part:
        return f"{VERBS.get(method, method)}Bucket{part}"
    return BUCKET.get(method, "ListObjects")


def _object_operation(method, query, headers):
    if "uploads" in query:
        return "CreateMultipartUpload"
    if "uploadId" in query:
        several = {"PUT": "UploadPart", "GET": "ListParts", "DELETE": "AbortMultipartUpload"}
        return several.get(method, "CompleteMultipartUpload")
    if method == "PUT" and "x-amz-copy-source" in headers:
        return "CopyObject"
    return f"{VERBS.get(method, method)}Object{_subresource(query)}"


def _subresource(query):
    """`?tagging` as a part of a name: Tagging; what only says how (versionId, x-id) is none."""
    plain = [name for name, values in query.items() if values == [""]]
    return "".join(word.capitalize() for word in plain[0].split("-")) if plain else ""
