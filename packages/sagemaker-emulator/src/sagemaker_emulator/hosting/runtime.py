"""InvokeEndpoint and InvokeEndpointAsync: from a request to a worker of one variant, and back.

Where requests go is a `Route`, which the control plane replaces whole. Everything here happens on
the event loop, in one step per request, but what S3 has to do with: captured requests are written
by a thread of their own every few seconds, asynchronous ones read and written by threads.

    Lane, Route   plain data
    Traffic       which lane is next: shares are kept exactly, not by chance
    Invocation    one request, from the choice of its lane to the model's answer
    Runtime       the API
    Capture       the records of data capture on their way to S3
"""

import asyncio
import base64
import json
import random
import re
import shutil
import sys
import threading
import time
import traceback
import uuid
import zlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timezone

from sagemaker_emulator.api.http import Connection, Later
from sagemaker_emulator.api.moto_services import ACCOUNT
from sagemaker_emulator.api.request import SCOPE, Response
from sagemaker_emulator.api.service_model import partition
from sagemaker_emulator.errors import AwsError
from sagemaker_emulator.hosting.serving import MODEL_SECONDS, Died, Stopped, TimedOut, Unavailable
from sagemaker_emulator.jobs.s3_files import bucket_and_key

MAX_BODY = 6_291_456
MAX_ASYNC_BODY = 128_000
ASYNC_TTL_SECONDS = 21_600
MAX_MESSAGE = 2048
PATH = re.compile(r"/endpoints/([^/?]+)/((?:async-)?invocations|invocations-response-stream)")
PREFIX = "x-amzn-sagemaker-"
FORWARDED = (
    *("content-type", "accept", f"{PREFIX}custom-attributes", f"{PREFIX}inference-id"),
    f"{PREFIX}session-id",
)
PASSED_BACK = (
    *(f"{PREFIX}custom-attributes", f"{PREFIX}new-session-id", f"{PREFIX}closed-session-id"),
)
LACKING = (
    *("target-model", "target-container-hostname", "inference-component"),
    "enable-explanations",
)
SWITCH_SECONDS = 5  # a route that still leads to a stopped fleet after that leads nowhere
CAPTURE_SECONDS = 120
OUTCOMES = {  # of a request that the model did not answer
    Died: (502, {}, b"the model's process ended before it answered"),
    TimedOut: (
        *(504, {}),
        b"Your invocation timed out while waiting for a response from container primary",
    ),
}
MAX_CAPTURED = 5000  # records that wait for their writing; more are written at once
MAX_CAPTURED_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Lane:
    """A fleet that may get requests."""

    variant: str
    fleet: object
    weight: float
    max_concurrency: int | None = None  # of a serverless variant: more at once is throttled


@dataclass(frozen=True)
class Route:
    """Where an endpoint's requests go now; replaced whole, never changed."""

    endpoint: str
    blue: tuple  # of Lane
    green: tuple = ()
    green_share: float = 0.0  # of the traffic, 0..1
    shadows: tuple = ()  # of Lane; the weight is the share of the requests that is copied
    capture: dict | None = None  # DataCaptureConfig
    asynchronous: dict | None = None  # AsyncInferenceConfig


class Share:
    """Says yes to a share of the calls, evenly: 0.25 is every fourth."""

    def __init__(self):
        self.sum = 0.0

    def next(self, share):
        self.sum += share
        if self.sum < 1 - 1e-9:
            return False
        self.sum -= 1
        return True


class Traffic:
    """Which lane of a route takes the next request."""

    def __init__(self, route):
        self.route = route
        self.green, self.captured = Share(), Share()
        self.copied = [Share() for _ in route.shadows]
        self.owed = {"blue": [0.0] * len(route.blue), "green": [0.0] * len(route.green)}

    def lane(self, target=None, session=None):
        """The lane for a request; None where there is no variant `target`."""
        route = self.route
        place = zlib.crc32(session.encode()) / 2**32 if session else None
        if not route.green:
            side = "blue"
        elif place is None:
            side = "green" if self.green.next(route.green_share) else "blue"
        else:
            side = "green" if place < route.green_share else "blue"
        if target:
            other = "blue" if side == "green" else "green"
            lanes = (*getattr(route, side), *getattr(route, other))
            return next((lane for lane in lanes if lane.variant == target), None)
        lanes = getattr(route, side)
        if len(lanes) == 1:
            return lanes[0]
        if place is not None:
            return _at(lanes, zlib.crc32(session.encode()[::-1]) / 2**32)
        return self._owed_most(lanes, self.owed[side])

    @staticmethod
    def _owed_most(lanes, owed):
        """Each lane is owed its weight with every request; the one owed most takes it."""
        for number, lane in enumerate(lanes):
            owed[number] += lane.weight
        most = max(range(len(lanes)), key=owed.__getitem__)
        owed[most] -= sum(lane.weight for lane in lanes)
        return lanes[most]


def _at(lanes, place):
    """The lane at a place between 0 and 1, where each lane is as long as its weight."""
    rest = place * sum(lane.weight for lane in lanes)
    for lane in lanes:
        rest -= lane.weight
        if rest < 0:
            return lane
    return lanes[-1]


class Invocation:
    """One request on its way to a worker and back."""

    limit = MODEL_SECONDS

    def __init__(self, runtime, region, name, headers, body):
        self.begun = time.perf_counter()
        self.runtime = runtime
        self.region = region
        self.name = name
        self.headers = headers
        self.body = body
        self.request = _forwarded(headers, body)
        self.deadline = None
        self.error = None

    def go(self, over):
        """Send it where the route leads now; `over` is called when it is over."""
        self.over = over
        headers, runtime = self.headers, self.runtime
        try:
            self.route = runtime.route(self.region, self.name)
            session = headers.get(f"{PREFIX}session-id")
            target = headers.get(f"{PREFIX}target-variant")
            traffic = runtime.traffic_of(self.region, self.route)
            self.lane = traffic.lane(target, None if session == "NEW_SESSION" else session)
            if self.lane is None:
                raise AwsError("ValidationError", f"Variant {target} of {self.name} not found.")
            most = self.lane.max_concurrency
            if most and self.lane.fleet.busy >= most:
                raise AwsError(
                    "ThrottlingException",
                    f"Variant {self.lane.variant} has reached its MaxConcurrency of {most}.",
                )
        except Exception as error:
            self.error = _told(error)
            over()
            return
        self.sent = time.perf_counter()
        self.lane.fleet.send(self.request, self._came_back, self.limit)

    def _came_back(self, outcome):
        if isinstance(outcome, Stopped):
            self._again()
            return
        now = time.perf_counter()
        if isinstance(outcome, Unavailable):
            self.error = AwsError("ServiceUnavailable", str(outcome), 503)
        else:
            self.answer = OUTCOMES[type(outcome)] if isinstance(outcome, Exception) else outcome
            self.runtime.sagemaker.metrics.invocation(
                *(self.region, self.name, self.lane.variant, self.answer[0]),
                *(now - self.sent, self.sent - self.begun),
            )
        self.over()

    def _again(self):
        """The fleet has stopped, so there is another route, or will be in a moment."""
        loop = self.runtime.loop
        self.deadline = self.deadline or loop.time() + SWITCH_SECONDS
        if loop.time() > self.deadline:
            self.error = AwsError("ServiceUnavailable", f"{self.name} has stopped.", 503)
            self.over()
        else:
            loop.call_later(0.01, self.go, self.over)

    def result(self):
        """The model's answer; AwsError if it is no success."""
        if self.error:
            raise self.error
        status, _, content = self.answer
        if not 200 <= status < 300:
            raise self.model_error(status, content.decode("utf-8", "replace"))
        return self.answer

    def model_error(self, status, text):
        region, group = self.region, f"/aws/sagemaker/Endpoints/{self.name}"
        kind = "client" if 400 <= status < 500 else "server"
        where = f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
        text = text[:MAX_MESSAGE]
        error = AwsError(
            "ModelError",
            f'Received {kind} error ({status}) from primary with message "{text}". See'
            f" {where}#logEventViewer:group={group} in account {ACCOUNT} for more information.",
            424,
        )
        error.members = {
            "OriginalStatusCode": status,
            "OriginalMessage": text,
            "LogStreamArn": f"arn:{partition(region)}:logs:{region}:{ACCOUNT}:log-group:{group}",
        }
        return error


class Runtime:
    def __init__(self, sagemaker):
        self.sagemaker = sagemaker
        self.routes = {}  # {(region, endpoint name): Route}; the control plane's
        self.traffic = {}
        self.fleets = set()
        self.waiting = {}  # {output URI: what is to be told of an asynchronous request}
        self.limits = {}
        self.tasks = set()
        self.loop = asyncio.new_event_loop()
        self.capture = Capture(sagemaker)
        self.log_path("x").parent.mkdir(parents=True, exist_ok=True)
        self._tidy()  # a killed server may leave some

    def start(self):
        threading.Thread(target=self._run, daemon=True).start()
        threading.Thread(target=self.capture.run, daemon=True).start()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._sweep)
        self.loop.run_forever()

    def _sweep(self):
        for fleet in list(self.fleets):
            fleet.sweep(self.loop.time())
        self.loop.call_later(1, self._sweep)

    def serve(self, listener, front):
        """Take connections from a listening socket."""
        serving = self.loop.create_server(
            lambda: Connection(front.handle, front.refusal), sock=listener
        )
        asyncio.run_coroutine_threadsafe(serving, self.loop).result()

    def close(self):
        for tell in list(self.waiting.values()):
            tell("the local server ended")
        for fleet in list(self.fleets):
            fleet.kill()
        self.capture.flush()
        self._tidy()

    def _tidy(self):
        shutil.rmtree(self.sagemaker.folder / "endpoints", ignore_errors=True)

    def log_path(self, endpoint):
        return self.sagemaker.folder / "logs/Endpoints" / f"{endpoint}.log"

    def note(self, endpoint, text):
        with open(self.log_path(endpoint), "a") as log:
            log.write(f"sagemaker_emulator: {text}\n")

    def forget(self, region, name):
        for kept in (self.routes, self.traffic, self.limits):
            kept.pop((region, name), None)

    # Requests

    @staticmethod
    def takes(method, target, headers):
        """Whether a request is for here; one that is signed for S3 is for a bucket `endpoints`."""
        if method != "POST" or not PATH.fullmatch(target):
            return False
        scope = SCOPE.search(headers.get("authorization", ""))
        return not scope or scope[2] == "sagemaker"

    def handle(self, target, headers, body):
        name, operation = PATH.fullmatch(target).groups()
        scope = SCOPE.search(headers.get("authorization", ""))
        region = scope[1] if scope else "us-east-1"
        try:
            if operation == "invocations-response-stream":
                raise _lacking("InvokeEndpointWithResponseStream")
            for member in LACKING:
                if PREFIX + member in headers:
                    raise _lacking(f"InvokeEndpoint with the header {PREFIX}{member}")
            if operation == "async-invocations":
                return self._invoke_async(region, name, headers, body)
            return self._invoke(region, name, headers, body)
        except Exception as error:
            return _error(_told(error))

    def route(self, region, name):
        route = self.routes.get((region, name))
        if route is None:
            raise AwsError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
        return route

    def traffic_of(self, region, route):
        key = (region, route.endpoint)
        traffic = self.traffic.get(key)
        if traffic is None or traffic.route is not route:
            traffic = self.traffic[key] = Traffic(route)
        return traffic

    def _invoke(self, region, name, headers, body):
        route = self.route(region, name)
        if route.asynchronous is not None:
            raise AwsError(
                "ValidationError",
                f"Endpoint {name} is an asynchronous endpoint: use InvokeEndpointAsync.",
            )
        later = Later()
        invocation = Invocation(self, region, name, headers, body)
        if route.shadows:
            copied = self.traffic_of(region, route).copied
            for shadow, share in zip(route.shadows, copied, strict=True):
                if share.next(shadow.weight):
                    self._copy(region, name, shadow, invocation.request)
        invocation.go(lambda: later.give(self._answer(invocation)))
        return later

    def _answer(self, invocation):
        """What the client gets."""
        try:
            status, answered, content = invocation.result()
            if len(content) > MAX_BODY:
                raise invocation.model_error(
                    0, f"the response has {len(content)} bytes, at most {MAX_BODY} are allowed"
                )
            self._capture(invocation, answered, content)
        except Exception as error:
            return _error(_told(error))
        given = [
            ("Content-Type", answered.get("content-type", "application/octet-stream")),
            ("x-Amzn-Invoked-Production-Variant", invocation.lane.variant),
            ("x-amzn-RequestId", _identifier()),
        ]
        given += [(header, answered[header]) for header in PASSED_BACK if header in answered]
        return Response(200, given, content)

    def _capture(self, invocation, answered, content):
        config = invocation.route.capture
        if not config or not config.get("EnableCapture", True):
            return
        traffic = self.traffic_of(invocation.region, invocation.route)
        if traffic.captured.next(config["InitialSamplingPercentage"] / 100):
            asked = (invocation.name, invocation.lane.variant, time.time())
            self.capture.add(config, *asked, invocation.headers, invocation.body, answered, content)

    def _copy(self, region, name, shadow, request):
        """A shadow variant's share: nobody waits for the answer, and only metrics tell of it."""
        begun = time.perf_counter()

        def over(outcome):
            if not isinstance(outcome, Stopped | Unavailable):
                status = 500 if isinstance(outcome, Exception) else outcome[0]
                seconds = time.perf_counter() - begun
                self.sagemaker.metrics.invocation(
                    region, name, shadow.variant, status, seconds, 0.0
                )

        shadow.fleet.send(request, over)

    # Asynchronous requests

    def _invoke_async(self, region, name, headers, body):
        config = self.route(region, name).asynchronous
        if config is None:
            raise AwsError(
                "ValidationError",
                f"Endpoint {name} is not an asynchronous endpoint: use InvokeEndpoint.",
            )
        source = headers.get(f"{PREFIX}inputlocation")
        if bool(source) == bool(body):
            raise AwsError("ValidationError", "Provide exactly one of InputLocation and Body.")
        if len(body) > MAX_ASYNC_BODY:
            raise AwsError("ValidationError", f"Body has more than {MAX_ASYNC_BODY} bytes.")
        if source and not source.startswith("s3://"):
            raise AwsError("ValidationError", f"InputLocation {source} is no s3:// URI.")
        limits = (
            _seconds(headers, "RequestTTLSeconds", 60, ASYNC_TTL_SECONDS, ASYNC_TTL_SECONDS),
            _seconds(headers, "InvocationTimeoutSeconds", 1, 3600, 900),
        )
        inference = headers.get(f"{PREFIX}inference-id") or _identifier()
        output, failure = _locations(config["OutputConfig"], headers)
        task = self._carry_out(region, name, headers, source, body, output, failure, *limits)
        self.tasks.add(task := self.loop.create_task(task))  # the loop itself forgets it
        task.add_done_callback(self.tasks.discard)
        given = [("Content-Type", "application/json"), ("x-amzn-RequestId", _identifier())]
        given += [("X-Amzn-SageMaker-OutputLocation", output)]
        given += [("X-Amzn-SageMaker-FailureLocation", failure)] if failure else []
        return Response(202, given, json.dumps({"InferenceId": inference}).encode())

    async def _carry_out(
        self, region, name, headers, source, body, output, failure, patience, limit
    ):
        def tell(why):
            if self.waiting.pop(output, None) and failure:
                self._keep(failure, f"{why}\n".encode())

        self.waiting[output] = tell
        in_thread, came = self.loop.run_in_executor, time.monotonic()
        try:
            async with self._limit(region, name):
                if time.monotonic() - came > self.sagemaker.seconds(patience):
                    raise AwsError("ValidationError", f"The request waited over {patience} s.")
                if source:
                    body = await in_thread(None, self._fetch, source)
                invocation = Invocation(self, region, name, _sent_later(headers), body)
                invocation.limit = limit
                over = self.loop.create_future()
                invocation.go(lambda: over.set_result(None))
                await over
            await in_thread(None, self._keep, output, invocation.result()[2])
            self.waiting.pop(output, None)
        except Exception as error:
            await in_thread(None, tell, _told(error).message)

    def _limit(self, region, name):
        route = self.route(region, name)
        client = route.asynchronous.get("ClientConfig") or {}
        each = client.get("MaxConcurrentInvocationsPerInstance") or 4
        most = each * max(1, sum(lane.fleet.count for lane in route.blue))
        limit = self.limits.get((region, name))
        if limit is None or limit[0] != most:
            limit = self.limits[region, name] = (most, asyncio.Semaphore(most))
        return limit[1]

    def _fetch(self, uri):
        body = self.sagemaker.neighbours.read_object(*bucket_and_key(uri))
        if body is None:
            raise AwsError("ValidationError", f"There is no S3 object {uri}.")
        return body

    def _keep(self, uri, content):
        try:
            self.sagemaker.neighbours.write_object(*bucket_and_key(uri), content)
        except LookupError as error:
            print(f"cannot write {uri}: {error}", file=sys.stderr, flush=True)


def _forwarded(headers, body):
    """The request as the model's container gets it."""
    lines = [f"{name}: {headers[name]}\r\n" for name in FORWARDED if name in headers]
    head = f"POST /invocations HTTP/1.1\r\nHost: model\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{''.join(lines)}\r\n".encode("latin-1") + body


def _seconds(headers, member, least, most, default):
    given = headers.get(PREFIX + member.lower(), str(default))
    if not re.fullmatch("[0-9]{1,5}", given) or not least <= int(given) <= most:
        raise AwsError(
            "ValidationError",
            f"1 validation error detected: Value '{given}' at '{member}' failed to satisfy"
            f" constraint: Member must have value between {least} and {most}",
        )
    return int(given)


def _sent_later(headers):
    """The headers of an asynchronous request that are for the model."""
    given = {f"{PREFIX}content-type": "content-type", f"{PREFIX}accept": "accept"}
    kept = {n: v for n, v in headers.items() if n in FORWARDED and n not in given.values()}
    return kept | {name: headers[header] for header, name in given.items() if header in headers}


def _identifier():
    """A UUID, as random as a name needs to be, and sooner there."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _lacking(what):
    return AwsError("UnsupportedOperation", f"sagemaker_emulator does not have {what}.")


def _told(error):
    """What the client is told; what is not said to it on purpose is a mistake of ours."""
    if isinstance(error, AwsError):
        return error
    traceback.print_exception(error)
    return AwsError("InternalFailure", f"sagemaker_emulator broke: {error!r}", 500)


def _error(error):
    members = {"Message": error.message} | getattr(error, "members", {})
    headers = [
        ("Content-Type", "application/json"),
        ("x-amzn-ErrorType", error.code),
        ("x-amzn-RequestId", _identifier()),
    ]
    return Response(error.status, headers, json.dumps(members).encode())


def too_large():
    return _error(
        AwsError(
            "ValidationError",
            "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must"
            f" have length less than or equal to {MAX_BODY}",
        )
    )


def _locations(config, headers):
    extension = headers.get(f"{PREFIX}s3outputpathextension", "").strip("/")
    name = headers.get(f"{PREFIX}filename") or f"{uuid.uuid4()}.out"

    def below(path):
        return "/".join(filter(None, [path.rstrip("/"), extension, name])) if path else None

    failure = below(config.get("S3FailurePath"))
    return below(config["S3OutputPath"]), failure and failure.removesuffix(".out") + "-error.out"


# Data capture


class Capture:
    """Records on their way to S3: kept for a few seconds, then written together."""

    def __init__(self, sagemaker):
        self.sagemaker = sagemaker
        self.records = []
        self.size = 0  # of their bodies
        self.lock = threading.Lock()
        self.writing = threading.Lock()
        self.full = threading.Event()

    def add(self, *record):
        """Called on the event loop with what `captured` takes: it only remembers."""
        with self.lock:
            self.records.append(record)
            self.size += len(record[5]) + len(record[7])
        if len(self.records) >= MAX_CAPTURED or self.size >= MAX_CAPTURED_BYTES:
            self.full.set()

    def run(self):
        while True:
            self.full.wait(self.sagemaker.seconds(CAPTURE_SECONDS))
            self.full.clear()
            self.flush()

    def flush(self):
        with self.writing:
            with self.lock:
                records, self.records, self.size = self.records, [], 0
            files = defaultdict(list)
            for record in records:
                config, endpoint, variant, moment = record[:4]
                hour = datetime.fromtimestamp(moment, timezone.utc).strftime("%Y/%m/%d/%H")
                below = f"{config['DestinationS3Uri'].rstrip('/')}/{endpoint}/{variant}/{hour}"
                files[below].append(record)
            for below, group in files.items():
                self._write(below, group)

    def _write(self, below, records):
        first = datetime.fromtimestamp(records[0][3], timezone.utc)
        name = f"{first:%M-%S}-{first.microsecond // 1000:03}-{uuid.uuid4()}.jsonl"
        lines = "".join(json.dumps(captured(*record)) + "\n" for record in records)
        try:
            self.sagemaker.neighbours.write_object(
                *bucket_and_key(f"{below}/{name}"), lines.encode()
            )
        except Exception as error:
            print(f"cannot write captured data: {error}", file=sys.stderr, flush=True)


def captured(config, endpoint, variant, moment, headers, body, answered, content):
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    data = {}
    if modes & {"Input", "InputAndOutput"}:
        data["endpointInput"] = _seen(config, "INPUT", headers.get("content-type"), body)
    if modes & {"Output", "InputAndOutput"}:
        data["endpointOutput"] = _seen(config, "OUTPUT", answered.get("content-type"), content)
    about = {"eventId": str(uuid.uuid4())}
    if attributes := headers.get(f"{PREFIX}custom-attributes"):
        about["customAttributes"] = [attributes]
    if inference := headers.get(f"{PREFIX}inference-id"):
        about["inferenceId"] = inference
    about["inferenceTime"] = f"{datetime.fromtimestamp(moment, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    return {"captureData": data, "eventMetadata": about, "eventVersion": "0"}


def _seen(config, mode, content_type, data):
    kinds = config.get("CaptureContentTypeHeader") or {}
    kind = (content_type or "").partition(";")[0].strip().lower()
    encoding = "BASE64"
    if kind in kinds.get("CsvContentTypes", ()):
        encoding = "CSV"
    elif kind in kinds.get("JsonContentTypes", ()):
        encoding = "JSON"
    try:
        text = base64.b64encode(data).decode() if encoding == "BASE64" else data.decode()
    except UnicodeDecodeError:
        encoding, text = "BASE64", base64.b64encode(data).decode()
    return {"observedContentType": content_type, "mode": mode, "data": text, "encoding": encoding}
