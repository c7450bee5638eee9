"""Test an endpoint with the recorded requests of its model, and judge every answer.

samples.json, which evaluate.py wrote beside the model's metrics, holds requests with the answers
that the model gave in the pipeline, and malformed requests. They are sent in this order:
  wake       until the model is loaded: a serverless endpoint or one that has just come up may need
             that. These requests are not counted, so a cold start is no latency; none may take
             longer than WAKE_SECONDS
  samples    each once
  timed      `Requests` more of the same, in turn, a few at a time: latency is theirs, as a client
             of this machine sees it
  malformed  each must get a 4xx. Through SageMaker that is a ModelError with the status that the
             container gave; SageMaker may also refuse by itself, with a ValidationError
  after      samples again: what a client got wrong must not have hurt the endpoint

Every answer is held to its sample, also the timed ones: one wrong answer fails the test. No answer
at all, or a 5xx, is an error, and MaxErrorRate says how many may be. What boto3 got only by trying
again is one too, so give it a client that does not. What was not seen is Inconclusive and never
Passed. A request that SageMaker refuses for a reason that is no test (no such endpoint, no
permission) ends the test with one line.

An asynchronous endpoint answers no InvokeEndpoint, which ends the test with one line as well: give
it endpoint_test_async.AsyncRuntime in the client's place.
"""

import base64
import hashlib
import json
import math
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import NamedTuple

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
)

from sagemaker_project.deploy.endpoint_test_report import (
    report_html as report_html,
)  # belongs to this interface
from sagemaker_project.usage import UsageError

LIMITS = {
    "Requests": 200,
    "MaxP50Milliseconds": 500,
    "MaxP99Milliseconds": 1000,
    "MaxErrorRate": 0,
    "Tolerance": 1e-6,
}
WAKE_SECONDS = 120
MAX_SECONDS = 900  # for all of a test; requests that are under way end by their own time limits
BINS = 36
WORST = 10
MAX_MESSAGE = 300  # characters of an endpoint's own words in the result

PASSED, FAILED, INCONCLUSIVE = "Passed", "Failed", "Inconclusive"
CONNECTION = (ConnectionError, HTTPClientError, IncompleteReadError, OSError)
REFUSALS = {"ValidationError", "ValidationException"}
NOT_NOW = {
    *("ModelNotReadyException", "ServiceUnavailable", "InternalFailure"),
    *("InternalDependencyException", "ThrottlingException", "Throttling"),
    *("TooManyRequestsException", "RequestTimeout", "RequestTimeoutException"),
}

# What is asked of every answer, in this order: the first that does not hold is what it fails.
ANSWER_CHECKS = {
    "Content type": "the one that the request accepts",
    "Form": '{"predictions": [...]} as JSON, or one number a line as CSV',
    "Number of predictions": "one for each record",
    "Finite predictions": "every prediction a finite number",
    "Values": "within TOLERANCE of the recorded predictions",
}


class Answer(NamedTuple):
    """What became of a request: a body, or an `error`."""

    milliseconds: float
    status: int | None = None
    content_type: str = ""
    body: bytes = b""
    variant: str = ""
    error: str = ""
    message: str = ""
    retries: int = 0


class Wrong(Exception):
    """An answer that does not hold what the check of this name asks."""

    def __init__(self, check, found):
        super().__init__(found)
        self.check = check


def summary(result):
    """A result in one line."""
    bad = [check for check in result["Checks"] if check["Status"] == result["Status"] != PASSED]
    if bad:
        told = "; ".join(f"{c['Name']}: {c['Found']}, wanted {c['Wanted']}" for c in bad[:3])
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        return f"{result['Status']}: {told}{more}"
    told = f"Passed: {len(result['Checks'])} checks, {result['Invocations']} invocations"
    timed = result["LatencyMilliseconds"]
    if timed["p99"] is None:
        return told
    return f"{told}, p50 {timed['p50']:.1f} ms, p99 {timed['p99']:.1f} ms"


def digest(content):
    return hashlib.sha256(content).hexdigest()


# The recorded requests


def read_samples(body, sha256):
    """The content of samples.json; `sha256` is what the model package says of it, or None."""
    found = digest(body)
    if sha256 and found != sha256:
        raise UsageError(
            f"samples.json: its sha256 is {found}, the model package says {sha256}: it was changed"
            " since the model was evaluated; run the pipeline again"
        )
    try:
        content = json.loads(body.decode(), parse_constant=_refuse_constant)
        for name, check in (("samples", _check_sample), ("malformed", _check_malformed)):
            for request in _typed(content, name, list):
                check(request)
        return content
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"samples.json: not as evaluate.py writes it: {error}; run the pipeline again"
        ) from None


def _check_sample(request):
    _check_request(request)
    expected = _typed(request, "expected", list)
    if not expected or not all(_is_number(value) for value in expected):
        raise ValueError("'expected' must be finite numbers, at least one")


def _check_malformed(request):
    _check_request(request)
    _typed(request, "name", str)
    if not 400 <= _typed(request, "status", int) < 500:
        raise ValueError(f"'status' is {request['status']}, wanted 400 to 499")


def _check_request(request):
    for name in ("content_type", "accept", "body_base64" if _is_binary(request) else "body"):
        _typed(request, name, str)
    _body(request)


def _typed(item, name, kind):
    value = item.get(name) if isinstance(item, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"{name!r} is not there, or no {kind.__name__}")
    return value


def _is_number(value):
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _refuse_constant(name):
    raise ValueError(f"{name} is not a JSON value")


def _is_binary(request):
    return isinstance(request, dict) and "body_base64" in request


def _body(request):
    if _is_binary(request):
        return base64.b64decode(request["body_base64"], validate=True)
    return request["body"].encode()


# The test


def run_test(
    runtime,
    endpoint_name,
    samples,
    limits,
    *,
    target_variant=None,
    concurrency=4,
    smoke=False,
    clock=time.perf_counter,
    sleep=time.sleep,
):
    """Test an endpoint and return the result, which JSON can hold.

    Args:
        runtime: a boto3 client of sagemaker-runtime, without retries.
        samples: as read_samples() returns them.
        limits: EndpointTest of the stage's settings. With 0 Requests latency is left out.
        concurrency: requests at a time; at most the MaxConcurrency of a serverless endpoint.
        smoke: send the samples once and nothing else. The endpoint may be live already, and a
            malformed request would set off an alarm on its model's errors.
    """
    limits = _checked(limits)
    endpoint = _Endpoint(runtime, endpoint_name, target_variant, clock, sleep)
    recorded, malformed = samples["samples"], samples["malformed"]
    if smoke:
        limits, malformed = limits | {"Requests": 0}, []
    turns = [turn % len(recorded) for turn in range(limits["Requests"] if recorded else 0)]
    start = _now()
    with ThreadPoolExecutor(concurrency) as pool:

        def ask(numbers):
            """[(number of the sample, its answer)]"""
            answers = pool.map(endpoint.send, [recorded[number] for number in numbers])
            return list(zip(numbers, answers, strict=True))

        list(pool.map(endpoint.wake, recorded[:1] * concurrency))
        once = ask(range(len(recorded)))
        timed, refused, after = [], [], []
        answers_at_all = any(answer and not answer.error for _, answer in once)
        if answers_at_all:
            timed = ask(turns)
            refused = [(request, endpoint.send(request, malformed=True)) for request in malformed]
            after = [] if smoke else ask(range(min(concurrency, len(recorded))))
    sent = [(number, answer) for number, answer in once + timed if answer]
    judged = _Judged(recorded, limits, sent)
    latencies = sorted(answer.milliseconds for _, answer in timed if answer and not answer.error)
    errors = Counter(error for _, answer in sent if (error := _error(answer)))
    checks = [
        _sent_check(sent, len(once) + len(turns), answers_at_all),
        _answered_check(once, timed),
        *judged.checks(),
        *([_variant_check(sent, target_variant)] if target_variant else []),
        _error_check(errors.total(), len(sent), limits["MaxErrorRate"]),
        *(_latency_check(latencies, rank, limits) for rank in (50, 99) if limits["Requests"]),
        *([] if smoke else _malformed_checks(malformed, refused)),
        *([] if smoke else [_after_check(after, recorded, limits)]),
    ]
    return {
        "Status": _worst_status(checks),
        "Checks": checks,
        "Invocations": len(sent),
        "Errors": errors.total(),
        "ErrorKinds": dict(errors.most_common(10)),
        "LatencyMilliseconds": _percentiles(latencies),
        "Histogram": _histogram(latencies),
        "Limits": limits,
        "Worst": judged.worst(),
        "Malformed": [_told(request, answer) for request, answer in refused],
        "Requests": {
            "Samples": len(recorded),
            "Records": sum(len(sample["expected"]) for sample in recorded),
            "Timed": len(latencies),
            "Malformed": len(refused),
            "AtATime": concurrency,
            "Variants": dict(Counter(answer.variant for _, answer in sent if answer.variant)),
        },
        "StartTime": start,
        "EndTime": _now(),
    }


def _checked(limits):
    if unknown := set(limits) - set(LIMITS):
        raise UsageError(f"EndpointTest: {min(unknown)!r} is unknown; it has {', '.join(LIMITS)}")
    limits = LIMITS | limits
    for name, value in limits.items():
        if not _is_number(value) or value < 0 or (name == "Requests" and value % 1):
            kind = "a whole" if name == "Requests" else "a finite"
            raise UsageError(f"EndpointTest.{name}: {value!r} found, {kind} number from 0 wanted")
    return limits | {"Requests": int(limits["Requests"])}


def _now():
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class _Endpoint:
    """Sends requests to one endpoint; safe to use from several threads, as a boto3 client is."""

    def __init__(self, runtime, name, variant, clock, sleep):
        self.runtime, self.clock, self.sleep = runtime, clock, sleep
        self.name = name
        self.target = {"EndpointName": name} | ({"TargetVariant": variant} if variant else {})
        self.end = clock() + MAX_SECONDS

    def wake(self, request):
        end = self.clock() + WAKE_SECONDS
        while (answer := self.send(request)) and answer.error == "ModelNotReadyException":
            if self.clock() >= end:
                return
            self.sleep(1)

    def send(self, request, malformed=False):
        """The answer; None when the test's time is over."""
        members = {
            "ContentType": request["content_type"],
            "Accept": request["accept"],
            "Body": _body(request),
        }
        start = self.clock()
        if start >= self.end:
            return None
        try:
            response = self.runtime.invoke_endpoint(**self.target, **members)
            ended = {
                "status": 200,
                "content_type": response.get("ContentType") or "",
                "variant": response.get("InvokedProductionVariant") or "",
                "body": response["Body"].read(),
            }
        except ClientError as error:
            response = error.response
            ended = self._refusal(response, malformed)
        except CONNECTION as error:
            response = {}
            ended = {"error": type(error).__name__, "message": _line(error)}
        except BotoCoreError as error:
            raise UsageError(f"{self.name}: InvokeEndpoint: {_line(error)}") from None
        took = (self.clock() - start) * 1000
        retries = response.get("ResponseMetadata", {}).get("RetryAttempts", 0)
        return Answer(took, retries=retries, **ended)

    def _refusal(self, response, malformed):
        code, message = response["Error"]["Code"], _line(response["Error"].get("Message", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == "ModelError":
            status = response.get("OriginalStatusCode")
            message = _line(response.get("OriginalMessage") or message)
            return {"error": f"ModelError {status}", "status": status, "message": message}
        if code in NOT_NOW or (status or 0) >= 500:
            return {"error": code, "message": message}
        refuses = code in REFUSALS or code.isdigit()
        if malformed and refuses and "not found" not in message:
            return {"error": code, "status": status, "message": message}
        raise UsageError(
            f"{self.name}: InvokeEndpoint was refused: {code}: {message}; see what is there with"
            f" aws sagemaker describe-endpoint --endpoint-name {self.name}"
        )


def _line(value):
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."


def _error(answer):
    if answer.retries and not answer.error:
        return "answered only after boto3 tried again"
    return answer.error


# Judging answers


def predictions(sample, answer):
    """The numbers of an answer, or Wrong."""
    kind = answer.content_type.split(";")[0].strip().lower()
    if kind != sample["accept"]:
        raise Wrong("Content type", f"{kind or 'none'} for {sample['accept']}")
    try:
        values = _parsed(answer.body.decode(), kind)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        raise Wrong("Form", _line(answer.body[:60].decode(errors="replace")) or "empty") from None
    if len(values) != len(sample["expected"]):
        raise Wrong("Number of predictions", f"{len(values)} for {len(sample['expected'])} records")
    if not all(map(math.isfinite, values)):
        raise Wrong("Finite predictions", str(next(v for v in values if not math.isfinite(v))))
    return values


def _parsed(text, kind):
    if kind == "text/csv":
        return [float(line) for line in text.removesuffix("\n").split("\n")]
    values = json.loads(text)["predictions"]
    if not isinstance(values, list) or any(type(value) not in (int, float) for value in values):
        raise ValueError
    return [float(value) for value in values]


class _Judged:
    """What the checks of every answer find."""

    def __init__(self, recorded, limits, answers):
        self.recorded, self.limits = recorded, limits
        self.reached = Counter()  # check: answers that it was asked of
        self.wrong = Counter()
        self.examples = {}
        self.deviations = {}  # (sample, record): the worst answer to it
        for number, answer in answers:
            if not answer.error:
                self._judge(number, answer)

    def _judge(self, number, answer):
        sample, failed = self.recorded[number], None
        try:
            self._compare(number, sample["expected"], predictions(sample, answer))
        except Wrong as wrong:
            failed = wrong.check
            self.wrong[failed] += 1
            self.examples.setdefault(failed, f"sample {number + 1}: {wrong}")
        for check in ANSWER_CHECKS:
            self.reached[check] += 1
            if check == failed:
                break

    def _compare(self, number, expected, found):
        worst = 0.0
        for record, (one, other) in enumerate(zip(expected, found, strict=True)):
            deviation = abs(one - other)
            worst = max(worst, deviation)
            if deviation > self.deviations.get((number, record), (0,))[0]:
                self.deviations[number, record] = deviation, one, other
        if not worst <= self.limits["Tolerance"]:
            raise Wrong("Values", f"{worst:.6g} away")

    def worst(self):
        """The largest deviations, samples and records counted from 1."""
        found = sorted(self.deviations.items(), key=lambda item: -item[1][0])[:WORST]
        return [
            {
                "Sample": number + 1,
                "Record": record + 1,
                "Expected": expected,
                "Found": value,
                "Deviation": deviation,
            }
            for (number, record), (deviation, expected, value) in found
        ]

    def checks(self):
        tolerance = f"{self.limits['Tolerance']:g}"
        for name, wanted in ANSWER_CHECKS.items():
            reached, wrong = self.reached[name], self.wrong[name]
            found = f"{reached - wrong} of {reached} answers"
            if wrong:
                found += f"; {self.examples[name]}"
            status = FAILED if wrong else PASSED if reached else INCONCLUSIVE
            yield _check(name, status, wanted.replace("TOLERANCE", tolerance), found)


# The checks of a result


def _check(name, status, wanted, found):
    return {"Name": name, "Status": status, "Wanted": wanted, "Found": found}


def _worst_status(checks):
    found = {check["Status"] for check in checks}
    return next(status for status in (FAILED, INCONCLUSIVE, PASSED) if status in found)


def _sent_check(sent, wanted, answers_at_all):
    found = f"{len(sent)}"
    if not answers_at_all:
        found += "; no sample was answered, so the rest was not sent"
    elif len(sent) < wanted:
        found += f"; the time of a test, {MAX_SECONDS} s, was over"
    status = PASSED if sent and len(sent) == wanted else INCONCLUSIVE
    return _check("Requests sent", status, f"{wanted}", found)


def _answered_check(once, timed):
    everything = {number for number, _ in once}
    answered = {number for number, answer in once + timed if answer and not answer.error}
    status = PASSED if answered == everything else FAILED
    return _check(
        "Samples answered",
        status if everything else INCONCLUSIVE,
        f"each of {len(everything)}",
        f"{len(answered)} of {len(everything)}",
    )


def _variant_check(sent, target):
    others = {answer.variant or "none" for _, answer in sent if not answer.error} - {target}
    answered = any(not answer.error for _, answer in sent)
    status = FAILED if others else PASSED if answered else INCONCLUSIVE
    return _check("Variant", status, target, ", ".join(sorted(others)) or target)


def _error_check(errors, sent, limit):
    if not sent:
        return _check("Error rate", INCONCLUSIVE, f"at most {limit:.4%}", "nothing was sent")
    status = PASSED if errors / sent <= limit else FAILED
    found = f"{errors / sent:.4%}: {errors} of {sent}"
    return _check("Error rate", status, f"at most {limit:.4%}", found)


def _latency_check(latencies, rank, limits):
    name, limit = f"Latency p{rank}", limits[f"MaxP{rank}Milliseconds"]
    if not latencies:
        return _check(name, INCONCLUSIVE, f"at most {limit:,g} ms", "nothing was timed")
    value = percentile(latencies, rank)
    status = PASSED if value <= limit else FAILED
    return _check(name, status, f"at most {limit:,g} ms", f"{value:,.1f} ms")


def _malformed_checks(malformed, refused):
    if not refused:
        yield _check("Malformed requests", INCONCLUSIVE, f"{len(malformed)} sent", "0 sent")
    for request, answer in refused:
        found = "not sent" if answer is None else f"{answer.status or answer.error}"
        if answer is None or (answer.error in NOT_NOW and answer.status is None):
            status = INCONCLUSIVE
        else:
            status = PASSED if 400 <= (answer.status or 0) < 500 else FAILED
        wanted = f"4xx (the model gave {request['status']})"
        yield _check(f"Refuses {request['name']}", status, wanted, found)


def _after_check(after, recorded, limits):
    sent = [(number, answer) for number, answer in after if answer]
    judged = _Judged(recorded, limits, sent)
    right = judged.reached["Values"] - judged.wrong["Values"]
    status = FAILED if right < len(sent) else PASSED
    if not sent or (status == PASSED and len(sent) < len(after)):
        status = INCONCLUSIVE
    return _check("Answers after that", status, f"{len(after)} right", f"{right} of {len(sent)}")


def _told(request, answer):
    return {
        "Name": request["name"],
        "ContentType": request["content_type"],
        "Body": _line("binary" if _is_binary(request) else request["body"]) or "(empty)",
        "Recorded": request["status"],
        "Status": answer and (answer.status or answer.error),
        "Message": answer and _line(answer.message or answer.body.decode(errors="replace")),
    }


# Latency


def percentile(values, rank):
    """The least of the sorted values that `rank` % of them do not exceed."""
    return values[max(math.ceil(len(values) * rank / 100), 1) - 1]


def _percentiles(latencies):
    if not latencies:
        return {"p50": None, "p90": None, "p99": None, "max": None}
    found = {f"p{rank}": percentile(latencies, rank) for rank in (50, 90, 99)}
    return {name: round(value, 3) for name, value in (found | {"max": latencies[-1]}).items()}


def _histogram(latencies):
    """Counts in bins of equal ratio: the tail of latency is long."""
    if not latencies:
        return {"Edges": [], "Counts": []}
    low, high = max(latencies[0], 0.001), max(latencies[-1], 0.001)
    high = max(high, low * 1.5)
    counts = [0] * BINS
    for value in latencies:
        place = math.log(max(value, low) / low) / math.log(high / low) * BINS
        counts[min(int(place), BINS - 1)] += 1
    edges = [round(low * (high / low) ** (i / BINS), 4) for i in range(BINS + 1)]
    return {"Edges": edges, "Counts": counts}
