"""S3, IAM, STS, ECR, CloudWatch, EventBridge and the rest: moto, in this process.

Loading moto takes as long as a short job, so it happens on a thread of its own while SageMaker's
requests are already served; the first request that needs moto waits for it. Then the journal
(journal.py) restores what the services held.

Writes to S3 happen one after another, so that a conditional one (If-Match, If-None-Match) is
atomic.
"""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from sagemaker_emulator.api import images, moto_services
from sagemaker_emulator.api.documents import Request as Members
from sagemaker_emulator.api.journal import Journal, writes_s3
from sagemaker_emulator.api.request import FORM, Request, Response
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import AwsError

BINARY = "binary/octet-stream"
SESSION_TOKEN = re.compile(rb"<SessionToken>.*?</SessionToken>", re.DOTALL)
SCALING = "AnyScaleFrontendService"
ECR = "AmazonEC2ContainerRegistry_V20150921"
XML = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}


class OtherServices:
    """All services but SageMaker: `handle` answers a request to any of them."""

    def __init__(self, store: Store, secret: str) -> None:
        self.secret = secret
        self.before: dict[str, Callable[[], None]] = {}  # {service: called before each request}
        self.after: dict[str, Callable[[], None]] = {}  # the same, after each and after the replay
        self.ready = threading.Event()  # moto is loaded and restored, or has failed to load
        self.writing = threading.Lock()  # to S3: what is read back and recorded is the latest
        self.failure: Exception | None = None
        self.moto: moto_services.Moto | None = None
        self.journal = Journal(store, self._answer)

    def load(self) -> None:
        """Import moto and restore what it held. Runs on a thread of its own."""
        try:
            self.moto = moto_services.Moto()
            for service in self.journal.replay() & set(self.after):
                self.after[service]()
        except Exception as error:  # reported to every request that needs moto, see `handle`
            self.failure = error
            raise
        finally:
            self.ready.set()

    def handle(self, request: Request) -> Response:
        """Answer a request, and record it if it changed anything."""
        self.ready.wait()
        if self.failure:
            raise AwsError("InternalFailure", f"moto did not start: {self.failure}", 500)
        if before := self.before.get(request.service):
            before()
        if request.service == "s3" and request.headers.get("content-type") == FORM:
            # moto would take an object's content for form fields and store nothing.
            request = replace(request, headers=request.headers | {"content-type": BINARY})
        if request.service == "ecr" and (answer := images.answer_for_other_account(request)):
            return answer
        with self.writing if writes_s3(request) else contextlib.nullcontext():
            response = self._answer(request)
            if response.status < 300:
                self.journal.record(request)
        if after := self.after.get(request.service):
            after()
        return self._own_credentials(request, response) if request.service == "sts" else response

    def _answer(self, request: Request) -> Response:
        if self.moto is None:
            raise RuntimeError("moto is not loaded yet")
        return self.moto.answer(request)

    def call(
        self,
        service: str,
        method: str,
        path: str,
        region: str = "us-east-1",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        """Send a request of the emulator itself, without the network between."""
        return self.handle(Request.internal(service, method, path, region, headers, body))

    def call_json(self, service: str, region: str, target: str, members: Members) -> Response:
        """Call an operation ("Prefix.Operation") of a service that speaks AWS's JSON protocol."""
        headers = {"x-amz-target": target, "content-type": images.JSON}
        return self.call(service, "POST", "/", region, headers, json.dumps(members).encode())

    def _own_credentials(self, request: Request, response: Response) -> Response:
        """Return an answer of STS with credentials that this server accepts.

        An access key that IAM did not issue is taken as the name of a user, as for SageMaker.
        """
        body = response.body.replace(b":user/moto", f":user/{escape(request.access_key)}".encode())
        token = f"<SessionToken>{self.secret}</SessionToken>".encode()
        return replace(response, body=SESSION_TOKEN.sub(lambda _: token, body))

    # S3, as the jobs use it

    def read_object(self, bucket: str, key: str) -> bytes | None:
        """Return the object's bytes; None where bucket or key does not exist."""
        response = self.call("s3", "GET", quote(f"/{bucket}/{key}"))
        return response.body if response.status == 200 else None

    def etag(self, bucket: str, key: str) -> str | None:
        response = self.call("s3", "HEAD", quote(f"/{bucket}/{key}"))
        return (response.header("etag") or "").strip('"') if response.status == 200 else None

    def write_object(self, bucket: str, key: str, body: bytes) -> None:
        """Write an object; raise LookupError if S3 refuses it, AwsError if S3 itself fails."""
        response = self.call("s3", "PUT", quote(f"/{bucket}/{key}"), body=body)
        if response.status >= 500:
            raise AwsError("InternalFailure", f"S3: {_error_text(response)}", response.status)
        if response.status >= 300:
            raise LookupError(_error_text(response))

    def list_objects(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys that start with `prefix`; raise LookupError if the bucket is missing."""
        keys: list[str] = []
        token = ""
        while True:
            query = f"list-type=2&prefix={quote(prefix, safe='')}"
            query += f"&continuation-token={quote(token, safe='')}" if token else ""
            response = self.call("s3", "GET", f"{quote('/' + bucket)}?{query}")
            if response.status != 200:
                raise LookupError(_error_text(response))
            page = ElementTree.fromstring(response.body)
            keys += [item.text or "" for item in page.findall("s3:Contents/s3:Key", XML)]
            token = page.findtext("s3:NextContinuationToken", "", XML)
            if not token:
                return keys

    # ECR and Application Auto Scaling

    def image_digest(self, region: str, repository: str, tag: str) -> str | None:
        """Return the digest of an image in this account's ECR; None if the image is missing."""
        members = {"repositoryName": repository, "imageIds": [{"imageTag": tag}]}
        answer = self.call_json("ecr", region, f"{ECR}.BatchGetImage", members)
        found = json.loads(answer.body).get("images") if answer.status == 200 else None
        return str(found[0]["imageId"]["imageDigest"]) if found else None

    def scaled(self, region: str, endpoint: str) -> list[tuple[str, str]]:
        """Return (dimension, resource) of each variant of an endpoint that is a scalable target."""
        return [
            (dimension, resource)
            for dimension, resource in moto_services.scalable_targets(region)
            if resource.startswith(f"endpoint/{endpoint}/variant/")
        ]

    def deregister(self, region: str, endpoint: str) -> None:
        """Delete the scalable targets of an endpoint that is deleted."""
        self.ready.wait()
        for dimension, resource in self.scaled(region, endpoint):
            members = {"ServiceNamespace": "sagemaker", "ResourceId": resource}
            members |= {"ScalableDimension": dimension}
            target = f"{SCALING}.DeregisterScalableTarget"
            self.call_json("application-autoscaling", region, target, members)


def _error_text(response: Response) -> str:
    try:
        page = ElementTree.fromstring(response.body)
    except ElementTree.ParseError:
        page = ElementTree.Element("Error")
    return f"{page.findtext('Code', str(response.status))}: {page.findtext('Message', '')}"
