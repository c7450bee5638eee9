"""The server's side of fault injection and of the log of calls: see testing/faults.py.

It is active only in a server that was started with SAGEMAKER_LOCAL_FAULTS=1, so that no user meets
a fault by accident.
"""

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote

from sagemaker_emulator.api.documents import Json
from sagemaker_emulator.api.http import Cut
from sagemaker_emulator.api.request import Request, Response
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

Query: TypeAlias = Mapping[str, list[str]]
Refusal: TypeAlias = Callable[[Request, AwsError], Response]


@dataclass
class Rule:
    """A fault to inject, as `inject` sends it."""

    operation: str
    kind: str
    times: int | None  # calls still to hit; None: all
    after: int  # calls still to spare
    service: str
    details: dict[str, Any]

    def mistake(self) -> str:
        """Return what is wrong with the rule, or ""."""
        if self.kind not in KINDS:
            return f"no kind of fault {self.kind!r}: they are {', '.join(sorted(KINDS))}"
        details, known = set(self.details), DETAILS.get(self.kind, set())
        needed = known - {"message", "status"}
        if needed - details or details - known:
            return f"a fault of kind {self.kind} has {', '.join(sorted(known)) or 'no details'}"
        return ""

    def hits(self, service: str, operation: str) -> bool:
        """Count a call; return whether the fault is applied to it."""
        if self.service != service or self.operation not in (operation, "*"):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """The faults to inject, and the log of calls."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal  # puts an error into the form of the service's protocol
        self.rules: list[Rule] = []
        self.calls: deque[dict[str, Any]] = deque(maxlen=MAX_CALLS)
        self.lock = threading.Lock()

    def handle(self, request: Request) -> Response:
        """Answer a request of testing/faults.py."""
        content = json.loads(request.body or b"null")
        with self.lock:
            if request.method == "GET":
                return _json(list(self.calls))
            if request.method == "DELETE":
                (self.rules if content["what"] == "faults" else self.calls).clear()
                return _json(None)
            rule = Rule(**content)
            if mistake := rule.mistake():
                return Response(400, body=mistake.encode())
            self.rules.append(rule)
        return _json(None)

    def around(self, request: Request, answer: Callable[[Request], Response]) -> Response | Cut:
        """Answer a request, with the first fault that applies to it, and log the call."""
        operation = operation_of(request)
        with self.lock:
            rule = next((r for r in self.rules if r.hits(request.service, operation)), None)
        response = self._fault(request, answer, operation, rule) if rule else answer(request)
        self.calls.append(
            {
                "service": request.service,
                "operation": operation,
                "status": None if isinstance(response, Cut) else response.status,
                "fault": rule.kind if rule else None,
                "request": _members(request),
            }
        )
        return response

    def _fault(
        self,
        request: Request,
        answer: Callable[[Request], Response],
        operation: str,
        rule: Rule,
    ) -> Response | Cut:
        if rule.kind == "reset":
            return Cut()
        if error := _error(request, operation, rule):
            return self.refusal(request, error)
        if rule.kind == "delay":
            time.sleep(rule.details["seconds"])
        response = answer(request)
        if rule.kind == "lost_response":
            return Cut()
        if rule.kind == "truncated_body":
            return Cut(response)
        if rule.kind == "answer":
            members = json.loads(response.body) | rule.details["members"]
            members = {name: value for name, value in members.items() if value is not None}
            return Response(response.status, response.headers, json.dumps(members).encode())
        return response


def _error(request: Request, operation: str, rule: Rule) -> AwsError | None:
    """Return the error that a rule refuses a request with; None where it does not refuse."""
    details = rule.details
    if rule.kind == "error":
        return AwsError(details["code"], details.get("message", ""), details.get("status", 400))
    if rule.kind not in REFUSALS:
        return None
    code, s3_code, status, s3_status, message = REFUSALS[rule.kind]
    if request.service == "s3":
        code, status = s3_code, s3_status
    if rule.kind == "denied":
        message += f" to perform: {request.service}:{operation}"
    return AwsError(code, message, status)


def _members(request: Request) -> Json:
    """Return what the log of calls holds of a request."""
    if request.service == "s3":
        return request.path
    with contextlib.suppress(ValueError, RecursionError):
        if len(request.body) <= MAX_REQUEST:
            return json.loads(request.body)
    return None


def _json(content: Json) -> Response:
    return Response(200, [("Content-Type", "application/json")], json.dumps(content).encode())


def operation_of(request: Request) -> str:
    """Return AWS's name of the operation that a request asks for."""
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


def _object_operation(method: str, query: Query, headers: Mapping[str, str]) -> str:
    if "uploads" in query:
        return "CreateMultipartUpload"
    if "uploadId" in query:
        several = {"PUT": "UploadPart", "GET": "ListParts", "DELETE": "AbortMultipartUpload"}
        return several.get(method, "CompleteMultipartUpload")
    if method == "PUT" and "x-amz-copy-source" in headers:
        return "CopyObject"
    return f"{VERBS.get(method, method)}Object{_subresource(query)}"


def _subresource(query: Query) -> str:
    """Return the word for a subresource in an operation's name: Tagging for `?tagging`, or ""."""
    plain = [name for name, values in query.items() if values == [""]]
    return "".join(word.capitalize() for word in plain[0].split("-")) if plain else ""
