"""What restores the other services after a restart: moto keeps everything in memory.

For S3 the journal holds the present objects, not the requests that made them: after a change to an
object (put, copy, multipart, delete), the object is read back and recorded as one plain PUT under
its path, or forgotten if it is gone. The journal therefore grows with the data, not with its
history. An unfinished multipart upload and the older versions of a versioned object are not kept.
Other services are recorded as they were called, in order.
"""

import sys
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import quote
from xml.etree import ElementTree

from sagemaker_emulator.api.moto_services import restore_object
from sagemaker_emulator.api.request import Request, Response
from sagemaker_emulator.api.store import Recorded, Store

READS = (
    *("Get", "List", "Describe", "Head", "Lookup", "Search", "Query", "Scan", "BatchGet"),
    *("Filter", "Test", "Simulate", "Validate", "Generate", "Receive", "Preview", "Select"),
)
NEVER_RECORDED = {"sts", "PutEvents", "SetAlarmState"}  # alarms.py keeps the states of alarms
OBJECT_HEADERS = (
    *("content-type", "content-encoding", "content-disposition", "content-language"),
    *("cache-control", "expires", "x-amz-storage-class", "x-amz-website-redirect-location"),
)
ETAG, VERSION_ID = "x-local-etag", "x-local-version-id"  # of a recorded object
RESTORED_HEADERS = {"etag": ETAG, "x-amz-version-id": VERSION_ID}
WRITTEN_HEADERS = ("x-amz-tagging", "x-amz-acl")  # of a PUT; a GET does not return them
SUBRESOURCES = {
    *("accelerate", "acl", "analytics", "cors", "encryption", "inventory", "legal-hold"),
    *("lifecycle", "logging", "metrics", "notification", "object-lock", "ownershipControls"),
    *("policy", "publicAccessBlock", "replication", "requestPayment", "retention", "tagging"),
    *("versioning", "website", "intelligent-tiering", "id"),
}
SEPARATOR = "\x1f"


class Journal:
    """Records what changes the other services, and repeats it at the next start."""

    def __init__(self, store: Store, answer: Callable[[Request], Response]) -> None:
        self.store = store
        self.answer = answer

    def replay(self) -> set[str]:
        """Repeat what is recorded; return the services that had something to restore."""
        services = set()
        for recorded in self.store.journal():
            self._replay(recorded)
            services.add(recorded.service)
        return services

    def _replay(self, recorded: Recorded) -> None:
        try:
            request = recorded.request()
            response = self.answer(request)
            if response.status >= 400:
                raise RuntimeError(response.body)
            if request.service == "s3" and (place := _object(request)):
                headers = request.headers
                restore_object(*place, recorded.written, headers.get(ETAG), headers.get(VERSION_ID))
        except Exception as error:  # the other requests are repeated all the same
            what = f"{recorded.service} {recorded.method} {recorded.path}"
            print(f"not restored: {what}: {error!r}", file=sys.stderr)

    def record(self, request: Request) -> None:
        """Record a request that succeeded, if it changed anything."""
        if request.service == "s3":
            if writes_s3(request):
                self._record_s3(request)
        elif changes_state(request):
            self.store.record(None, time.time(), request)

    def _record_s3(self, request: Request) -> None:
        path, query = request.plain_path.rstrip("/"), request.query
        if "delete" in query:
            for key in ElementTree.fromstring(request.body).iter():
                if key.tag.endswith("Key"):
                    self._record_object(f"{path}/{key.text}", request)
        elif place := _object(request):
            self._record_object("/" + "/".join(place), request)
        else:
            subresource = ",".join(sorted(SUBRESOURCES & set(query)))
            self._record_setting(path, subresource, request)

    def _record_object(self, path: str, request: Request) -> None:
        """Record the object as it is now, or forget it if it is gone."""
        stored = self.answer(Request.internal("s3", "GET", quote(path), request.region))
        if stored.status != 200:
            self.store.forget(path + SEPARATOR)
            return
        headers = {}
        for name, value in ((name.lower(), value) for name, value in stored.headers):
            if name in OBJECT_HEADERS or name.startswith("x-amz-meta-"):
                headers[name] = value
            elif name in RESTORED_HEADERS:
                headers[RESTORED_HEADERS[name]] = value
        headers |= {k: v for k, v in request.headers.items() if k in WRITTEN_HEADERS}
        put = Request.internal("s3", "PUT", quote(path), request.region, headers, stored.body)
        modified = parsedate_to_datetime(stored.header("last-modified") or "").timestamp()
        self.store.record(path + SEPARATOR, modified, put)

    def _record_setting(self, path: str, subresource: str, request: Request) -> None:
        """Record a bucket, or a setting of a bucket or object such as its policy or tags."""
        key = path + SEPARATOR + subresource
        if request.method != "DELETE":
            # A bucket that is created again keeps its place in the journal: before its objects.
            self.store.record(key, time.time(), request, once=not subresource)
        elif subresource:
            self.store.forget(key)
        else:
            self.store.forget(key, path + "/")


def writes_s3(request: Request) -> bool:
    """Return whether a request may change S3's objects; the parts of an upload do not."""
    if request.service != "s3" or request.method in ("GET", "HEAD", "OPTIONS"):
        return False
    query = request.query
    return "uploads" not in query and ("uploadId" not in query or request.method == "POST")


def changes_state(request: Request) -> bool:
    """Return whether a request to a service other than S3 may change what the service holds."""
    if request.service in NEVER_RECORDED or request.action in NEVER_RECORDED:
        return False
    if request.action:
        return not request.action.startswith(READS)
    return request.method not in ("GET", "HEAD", "OPTIONS")


def _object(request: Request) -> tuple[str, str] | None:
    """Return (bucket, key) of a request about an object's content, else None."""
    bucket, _, key = request.plain_path.lstrip("/").partition("/")
    return (bucket, key) if key and not SUBRESOURCES & set(request.query) else None
