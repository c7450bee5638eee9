"""S3, IAM, STS, CloudWatch Logs, EventBridge and the rest: moto, in this process.

moto keeps everything in memory, so what changes its state is journaled and given again at the
next start. For S3 the journal holds what *is* there, not what was sent: after any change to an
object (put, copy, multipart, delete), the object is read back and recorded as one plain PUT under
its path, or forgotten if it is gone. The journal therefore grows with the data, not with its
history. An unfinished multipart upload and the older versions of a versioned object are not kept.
Writes to S3 happen one after another, so that a conditional one (If-Match, If-None-Match) is
decided and done in one step. Other services are recorded as they were called, in order.

There are no container images. What ECR here knows of this account's own repositories is true;
every other image has a digest made up from its URI, the same one each time (`made_up_digest`).

Loading moto takes as long as a short job, so it happens on a thread of its own while SageMaker's
requests are already served; the first request that needs moto waits for it.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from sagemaker_emulator.api import request as wire
from sagemaker_emulator.errors import AwsError

if TYPE_CHECKING:
    from moto.cloudwatch.models import Alarm as Alarm
    from moto.cloudwatch.models import CloudWatchBackend, MetricDatumBase

ACCOUNT = "123456789012"  # moto's
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=local/20000101/{}/{}/aws4_request"
READS = (
    *("Get", "List", "Describe", "Head", "Lookup", "Search", "Query", "Scan", "BatchGet"),
    *("Filter", "Test", "Simulate", "Validate", "Generate", "Receive", "Preview", "Select"),
)
NEVER_RECORDED = {"sts", "PutEvents", "SetAlarmState"}  # metrics.py keeps the states of alarms
OBJECT_HEADERS = (
    *("content-type", "content-encoding", "content-disposition", "content-language"),
    *("cache-control", "expires", "x-amz-storage-class", "x-amz-website-redirect-location"),
)
RESTORED_HEADERS = {"etag": "x-local-etag", "x-amz-version-id": "x-local-version-id"}
ASKED_HEADERS = ("x-amz-tagging", "x-amz-acl")  # said at a PUT, not told by a GET
SUBRESOURCES = {
    *("accelerate", "acl", "analytics", "cors", "encryption", "inventory", "legal-hold"),
    *("lifecycle", "logging", "metrics", "notification", "object-lock", "ownershipControls"),
    *("policy", "publicAccessBlock", "replication", "requestPayment", "retention", "tagging"),
    *("versioning", "website", "intelligent-tiering", "id"),
}
ONE_APPLICATION = {  # whatever is asked; of others, such as dynamodb, there are several
    *("s3", "sts", "iam", "ecr", "logs", "events", "monitoring", "application-autoscaling"),
}
S3_CONTROL = "/v20180820/"
BINARY = "binary/octet-stream"
SEPARATOR = "\x1f"
SESSION_TOKEN = re.compile(rb"<SessionToken>.*?</SessionToken>", re.DOTALL)
JSON = "application/x-amz-json-1.1"
SCALING = "AnyScaleFrontendService"
ECR = "AmazonEC2ContainerRegistry_V20150921"
XML = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}

NEW_ALARM = "Unchecked: Initial alarm creation"  # the state_reason that moto gives a new alarm
MAX_MEASUREMENTS = 20_000
_added: deque[tuple[list["MetricDatumBase"], "MetricDatumBase"]] = deque()  # by add_measurement


# CloudWatch Logs


def put_log_lines(region: str, group: str, stream: str, lines: Iterable[str], at: int) -> None:
    """Append lines to a log stream, which is made where it is missing; `at` is in milliseconds."""
    from moto.logs.models import logs_backends

    backend = logs_backends[ACCOUNT][region]
    backend.ensure_log_group(group)
    backend.ensure_log_stream(group, stream)
    events = [{"timestamp": at, "message": line} for line in lines]
    backend.groups[group].put_log_events(stream, events)


# CloudWatch


class Measurement(NamedTuple):
    """One datum of a metric: a moment, and how often each value was measured."""

    at: float  # seconds since 1970
    values: Mapping[float, float]  # {value: number of times}


def alarms() -> list["Alarm"]:
    """The alarms of all regions."""
    return [alarm for backend in _cloudwatch().values() for alarm in [*backend.alarms.values()]]


def find_alarm(region: str, name: str) -> "Alarm | None":
    return next((a for a in alarms() if a.region_name == region and a.name == name), None)


def state_changes(alarm: "Alarm") -> list[tuple[str, float]]:
    """The earlier states of an alarm, oldest first, each with the second in which it began."""
    return [(state, _seconds(at)) for _, _, _, state, at in list(alarm.history)]


def measurements(alarm: "Alarm") -> Iterator[Measurement]:
    """What CloudWatch has of an alarm's metric, in exactly its dimensions and its unit."""
    wanted = {(dimension.name, dimension.value) for dimension in alarm.dimensions}
    for datum in list(_cloudwatch()[alarm.region_name].metric_data):
        if datum.name != alarm.metric_name or datum.namespace != alarm.namespace:
            continue
        if alarm.unit and datum.unit != alarm.unit:
            continue
        if {(dimension.name, dimension.value) for dimension in datum.dimensions} == wanted:
            yield Measurement(_seconds(datum.timestamp), _values(datum))


def add_measurement(
    region: str,
    namespace: str,
    metric: str,
    dimensions: Mapping[str, str],
    unit: str,
    measured: Measurement,
) -> None:
    """Add one to a metric; beyond MAX_MEASUREMENTS of all metrics, the oldest added is removed."""
    from moto.cloudwatch.models import MetricAggregatedDatum, cloudwatch_backends

    values = measured.values
    datum = MetricAggregatedDatum(
        *(namespace, metric, min(values), max(values), sum(values.values())),
        sum(value * count for value, count in values.items()),
        [{"Name": name, "Value": value} for name, value in dimensions.items()],
        datetime.fromtimestamp(measured.at, timezone.utc).replace(tzinfo=None),
        unit,
    )
    vars(datum)["values"] = values  # percentiles need them, and moto has no place for them
    data = cloudwatch_backends[ACCOUNT][region].metric_data
    data.append(datum)
    _added.append((data, datum))
    while len(_added) > MAX_MEASUREMENTS:
        old_data, old = _added.popleft()
        with contextlib.suppress(ValueError):
            old_data.remove(old)


def _cloudwatch() -> dict[str, "CloudWatchBackend"]:
    """{region: moto's CloudWatch}, of each region in which it was used."""
    from moto.cloudwatch.models import cloudwatch_backends

    return dict(cloudwatch_backends[ACCOUNT]) if ACCOUNT in cloudwatch_backends else {}


def _values(datum: "MetricDatumBase") -> Mapping[float, float]:
    """{value: number of times}; of a statistic set, only the sum and the number are exact."""
    about = vars(datum)
    if "values" in about:
        values: Mapping[float, float] = about["values"]
        return values
    if "value" in about:
        return {about["value"]: 1}
    low, high, total, count = (about[name] for name in ("min", "max", "sum", "sample_count"))
    if count <= 2 or low == high:
        return {total / count: count}
    estimated = defaultdict(float, {low: 1.0})
    estimated[high] += 1
    estimated[(total - low - high) / (count - 2)] += count - 2
    return estimated


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


class Neighbours:
    def __init__(self, store, secret):
        self.store = store
        self.secret = secret
        self.before = {}  # {service: called before each of its requests}
        self.after = {}  # {service: called after each, and when moto is back where it was}
        self.ready = threading.Event()
        self.writing = threading.Lock()  # S3: what is read back and recorded is the latest
        self.failure = None
        self.application = None
        self.applications = {}  # {service: what the application above gives its requests to}

    def load(self):
        """Import moto and bring it back to where it was. Runs on a thread of its own."""
        try:
            os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "1"
            from moto.moto_server.werkzeug_app import (
                DomainDispatcherApplication,
                create_backend_app,
            )

            self.application = DomainDispatcherApplication(create_backend_app)
            restored = set()
            for row in self.store.journal():
                self._replay(*row)
                restored.add(row[1])
            for service in restored & set(self.after):
                self.after[service]()
        except Exception as error:  # every request that needs moto is told, see `handle`
            self.failure = error
            raise
        finally:
            self.ready.set()

    def _replay(self, written, service, region, method, path, headers, body):
        try:
            request = wire.Request(service, region, method, path, json.loads(headers), body)
            response = wire.run(self._application(request), request)
            if response.status >= 400:
                raise RuntimeError(response.body)
            if service == "s3" and (key := _object(request)):
                _restore(*key, written, request.headers)
        except Exception as error:  # the other rows are restored all the same
            print(f"not restored: {service} {method} {path}: {error!r}", file=sys.stderr)

    def handle(self, request):
        self.ready.wait()
        if self.failure:
            raise AwsError("InternalFailure", f"moto did not start: {self.failure}", 500)
        if before := self.before.get(request.service):
            before()
        if request.service == "s3" and request.headers.get("content-type") == wire.FORM:
            # moto would take an object's content for form fields and store nothing.
            request = replace(request, headers=request.headers | {"content-type": BINARY})
        if request.service == "ecr" and (answer := _foreign_images(request)):
            return answer
        with self.writing if _writes_s3(request) else contextlib.nullcontext():
            response = wire.run(self._application(request), request)
            if response.status < 300:
                self._remember(request)
        if after := self.after.get(request.service):
            after()
        return self._of_this_server(request, response) if request.service == "sts" else response

    def _application(self, request):
        """moto looks through its folders at each request; what it finds stays the same."""
        if request.service not in ONE_APPLICATION or request.plain_path.startswith(S3_CONTROL):
            return self.application
        if request.service not in self.applications:
            found = self.application.get_application(request.environ())
            self.applications[request.service] = found
        return self.applications[request.service]

    def call(self, service, method, path, region="us-east-1", headers=None, body=b""):
        """A request of our own, without the network between."""
        signed = {"authorization": AUTHORIZATION.format(region, service)} | (headers or {})
        return self.handle(wire.Request(service, region, method, path, signed, body))

    def _of_this_server(self, request, response):
        """An answer of STS, with credentials that this server takes.

        An access key that IAM did not give out is the name of a user, as everywhere here.
        """
        body = response.body.replace(b":user/moto", f":user/{escape(request.access_key)}".encode())
        token = f"<SessionToken>{self.secret}</SessionToken>".encode()
        return replace(response, body=SESSION_TOKEN.sub(lambda _: token, body))

    # What is journaled

    def _remember(self, request):
        if request.service == "s3":
            if _writes_s3(request):
                self._remember_s3(request)
        elif changes_state(request):
            self.store.record(None, time.time(), request)

    def _remember_s3(self, request):
        path, query = request.plain_path.rstrip("/"), request.query
        if "delete" in query:
            for key in ElementTree.fromstring(request.body).iter():
                if key.tag.endswith("Key"):
                    self._keep_object(f"{path}/{key.text}", request)
        elif key := _object(request):
            self._keep_object("/" + "/".join(key), request)
        else:
            part = ",".join(sorted(SUBRESOURCES & set(query)))
            self._keep_setting(path, part, request)

    def _keep_object(self, path, request):
        found = self.call("s3", "GET", quote(path), request.region)
        if found.status != 200:
            self.store.forget(path + SEPARATOR)
            return
        headers = {"authorization": AUTHORIZATION.format(request.region, "s3")}
        for name, value in found.headers:
            if name.lower() in OBJECT_HEADERS or name.lower().startswith("x-amz-meta-"):
                headers[name.lower()] = value
            elif name.lower() in RESTORED_HEADERS:
                headers[RESTORED_HEADERS[name.lower()]] = value
        headers |= {k: v for k, v in request.headers.items() if k in ASKED_HEADERS}
        kept = wire.Request("s3", request.region, "PUT", quote(path), headers, found.body)
        modified = parsedate_to_datetime(found.header("last-modified")).timestamp()
        self.store.record(path + SEPARATOR, modified, kept)

    def _keep_setting(self, path, part, request):
        """A bucket, or a setting of a bucket or object such as its policy or tags."""
        key = path + SEPARATOR + part
        if request.method != "DELETE":
            # A bucket made twice stays where it is in the journal: before its objects.
            self.store.record(key, time.time(), request, once=not part)
        elif part:
            self.store.forget(key)
        else:
            self.store.forget(key, path + "/")

    # S3, as the jobs use it

    def read_object(self, bucket, key):
        """The object's bytes, None where bucket or key does not exist."""
        response = self.call("s3", "GET", quote(f"/{bucket}/{key}"))
        return response.body if response.status == 200 else None

    def etag(self, bucket, key):
        response = self.call("s3", "HEAD", quote(f"/{bucket}/{key}"))
        return response.header("etag").strip('"') if response.status == 200 else None

    def write_object(self, bucket, key, body):
        response = self.call("s3", "PUT", quote(f"/{bucket}/{key}"), body=body)
        if response.status >= 300:
            raise LookupError(_error_text(response))

    def list_objects(self, bucket, prefix):
        """The keys that start with `prefix`; LookupError where there is no such bucket."""
        keys, token = [], ""
        while True:
            query = f"list-type=2&prefix={quote(prefix, safe='')}"
            query += f"&continuation-token={quote(token, safe='')}" if token else ""
            response = self.call("s3", "GET", f"{quote('/' + bucket)}?{query}")
            if response.status != 200:
                raise LookupError(_error_text(response))
            page = ElementTree.fromstring(response.body)
            keys += [item.text for item in page.findall("s3:Contents/s3:Key", XML)]
            token = page.findtext("s3:NextContinuationToken", "", XML)
            if not token:
                return keys

    # ECR

    def image_digest(self, region, repository, tag):
        """The digest of an image in a repository of this account, None where there is none."""
        body = {"repositoryName": repository, "imageIds": [{"imageTag": tag}]}
        headers = {"x-amz-target": f"{ECR}.BatchGetImage", "content-type": JSON}
        answer = self.call("ecr", "POST", "/", region, headers, json.dumps(body).encode())
        images = json.loads(answer.body).get("images") if answer.status == 200 else None
        return images[0]["imageId"]["imageDigest"] if images else None

    # Application Auto Scaling

    def scaled(self, region, endpoint):
        """(dimension, resource) of each variant of an endpoint that is a scalable target."""
        if (models := sys.modules.get("moto.applicationautoscaling.models")) is None:
            return []  # not used yet, and slow to import
        backend = models.applicationautoscaling_backends[ACCOUNT][region]
        return [
            (dimension, resource)
            for dimension, targets in backend.targets.items()
            for resource in targets
            if resource.startswith(f"endpoint/{endpoint}/variant/")
        ]

    def deregister(self, region, endpoint):
        """An endpoint's scalable targets go with it."""
        self.ready.wait()
        for dimension, resource in self.scaled(region, endpoint):
            body = {"ServiceNamespace": "sagemaker", "ResourceId": resource}
            body |= {"ScalableDimension": dimension}
            headers = {"x-amz-target": f"{SCALING}.DeregisterScalableTarget", "content-type": JSON}
            service = "application-autoscaling"
            self.call(service, "POST", "/", region, headers, json.dumps(body).encode())


def repository_of(image):
    """An image's URI without its tag or digest."""
    host, slash, path = image.partition("/")
    return host + slash + path.partition("@")[0].partition(":")[0]


def made_up_digest(image):
    path = image.partition("/")[2]
    tagged = image if ":" in path else f"{image}:latest"
    return "sha256:" + hashlib.sha256(tagged.encode()).hexdigest()


def _foreign_images(request):
    """What ECR tells of images in another account's registry: they are all there."""
    if request.action not in ("BatchGetImage", "DescribeImages"):
        return None
    asked = json.loads(request.body)
    registry, name = asked.get("registryId") or ACCOUNT, asked.get("repositoryName")
    if registry == ACCOUNT:
        return None
    suffix = "amazonaws.com.cn" if request.region.startswith("cn-") else "amazonaws.com"
    uri = f"{registry}.dkr.ecr.{request.region}.{suffix}/{name}"
    found = []
    for image in asked.get("imageIds") or []:
        tag = image.get("imageTag")
        digest = image.get("imageDigest") or made_up_digest(f"{uri}:{tag}")
        found.append((tag, digest))
    about = {"registryId": registry, "repositoryName": name}
    if request.action == "DescribeImages":
        details = [about | {"imageDigest": d, "imageTags": [t] if t else []} for t, d in found]
        content = {"imageDetails": details}
    else:
        ids = [{"imageDigest": d} | ({"imageTag": t} if t else {}) for t, d in found]
        content = {"images": [about | {"imageId": i} for i in ids], "failures": []}
    return wire.Response(200, [("Content-Type", JSON)], json.dumps(content).encode())


def _writes_s3(request):
    """Whether a request may change what S3 holds; the parts of an upload do not, until its end."""
    if request.service != "s3" or request.method in ("GET", "HEAD", "OPTIONS"):
        return False
    query = request.query
    return "uploads" not in query and ("uploadId" not in query or request.method == "POST")


def changes_state(request):
    """Whether a request to a service other than S3 leaves something behind."""
    if request.service in NEVER_RECORDED or request.action in NEVER_RECORDED:
        return False
    if request.action:
        return not request.action.startswith(READS)
    return request.method not in ("GET", "HEAD", "OPTIONS")


def _object(request):
    """(bucket, key) where the request is about an object's content, else None."""
    bucket, _, key = request.plain_path.lstrip("/").partition("/")
    return (bucket, key) if key and not SUBRESOURCES & set(request.query) else None


def _restore(bucket, key, written, headers):
    """What a PUT does not say: when, and as which version, the object was written."""
    from moto.s3.models import s3_backends

    with contextlib.suppress(LookupError, AttributeError):  # moto's innards, and only labels
        stored = s3_backends[ACCOUNT]["aws"].get_bucket(bucket).keys[key]  # of any partition
        stored.last_modified = datetime.fromtimestamp(written, timezone.utc).replace(tzinfo=None)
        if etag := headers.get(RESTORED_HEADERS["etag"]):
            stored._etag = etag.strip('"')
        if version := headers.get(RESTORED_HEADERS["x-amz-version-id"]):
            stored._version_id = version


def _error_text(response):
    page = ElementTree.fromstring(response.body or b"<Error/>")
    return f"{page.findtext('Code', response.status)}: {page.findtext('Message', '')}"
