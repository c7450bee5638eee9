"""Test an endpoint with the recorded requests of its model, and judge every answer.

samples.json, which evaluate.py wrote beside the model's metrics, holds requests with the answers
that the model gave in the pipeline, and malformed requests. They are sent in this order:
  wake       until the model is loaded: a serverless or new endpoint may need time for that. These
             requests are not counted, so a cold start does not count as latency; none may take
             longer than WAKE_SECONDS
  samples    each once
  timed      `Requests` more of the same, in turn, a few at a time: these give the latency, as a
             client on this machine sees it
  malformed  each must get a 4xx. Through SageMaker that is a ModelError with the status that the
             container gave; SageMaker may also refuse by itself, with a ValidationError
  after      samples again: the malformed requests must not have harmed the endpoint

Every answer is compared with its sample, including the timed ones: one wrong answer fails the test.
No answer, or a 5xx, is an error, and MaxErrorRate limits their share. An answer that took boto3 a
retry is an error too, so pass a client without retries. A check without data is Inconclusive, never
Passed. A request that SageMaker refuses for a reason that is not under test (no such endpoint, no
permission) ends the test with UsageError.

An asynchronous endpoint refuses InvokeEndpoint: pass endpoint_test_async.AsyncRuntime instead of
the client.

    endpoint_test_samples.py  read the recorded requests
    endpoint_test_invoke.py   send one
    endpoint_test_checks.py   judge the answers
    endpoint_test_latency.py  percentiles and histogram
    endpoint_test_result.py   the types of the result, and its summary
    endpoint_test_report.py   the result as a page
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

from sagemaker_project.clock import Clock
from sagemaker_project.deploy.config import DEFAULTS
from sagemaker_project.deploy.endpoint_test_checks import (
    AnswerChecks,
    Refused,
    SampleAnswer,
    after_check,
    answered_check,
    error_check,
    latency_check,
    malformed_checks,
    sent_check,
    variant_check,
    was_sent,
)
from sagemaker_project.deploy.endpoint_test_invoke import Answer, Endpoint, Runtime
from sagemaker_project.deploy.endpoint_test_latency import histogram, percentiles
from sagemaker_project.deploy.endpoint_test_report import report_html as report_html
from sagemaker_project.deploy.endpoint_test_result import (
    Check,
    Limits,
    MalformedResult,
    TestResult,
    one_line,
    overall_status,
)
from sagemaker_project.deploy.endpoint_test_result import TestReport as TestReport
from sagemaker_project.deploy.endpoint_test_result import summary as summary
from sagemaker_project.deploy.endpoint_test_samples import (
    MalformedRequest,
    Samples,
    is_finite_number,
)
from sagemaker_project.deploy.endpoint_test_samples import digest as digest
from sagemaker_project.deploy.endpoint_test_samples import read_samples as read_samples
from sagemaker_project.errors import UsageError

THIS_MACHINE = Clock()


def run_test(
    runtime: Runtime,
    endpoint_name: str,
    samples: Samples,
    limits: Mapping[str, float],
    *,
    target_variant: str | None = None,
    concurrency: int = 4,
    smoke: bool = False,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
    now: Callable[[], datetime] = THIS_MACHINE.now,
) -> TestResult:
    """Test an endpoint and return the result, which JSON can hold.

    Args:
        runtime: a boto3 client of sagemaker-runtime, without retries.
        limits: EndpointTest of the stage's settings. With 0 Requests latency is left out.
        target_variant: send every request to this variant.
        concurrency: requests at a time; at most the MaxConcurrency of a serverless endpoint.
        smoke: send the samples once and nothing else. The endpoint may be live already, and a
            malformed request would set off an alarm on its model's errors.
        now: the time of day, for the report.

    Raises:
        UsageError: the limits cannot be used, or SageMaker refuses the requests.
    """
    checked = _checked(limits)
    if smoke:
        checked["Requests"] = 0
        samples = replace(samples, malformed=())
    start = now()
    endpoint = Endpoint(runtime, endpoint_name, target_variant, clock, sleep)
    exchange = _exchange(endpoint, samples, checked["Requests"], concurrency, smoke)
    judged = AnswerChecks(samples.samples, checked["Tolerance"], exchange.sent)
    checks = list(_checks(exchange, judged, samples, checked, target_variant))
    if not smoke:
        checks += _checks_after(exchange, samples, checked["Tolerance"])
    return _result(exchange, judged, checks, samples, checked, concurrency, (start, now()))


def _checked(limits: Mapping[str, float]) -> Limits:
    """Return the limits with their defaults; raise UsageError if they could not limit anything."""
    known = DEFAULTS["EndpointTest"]
    if unknown := set(limits) - set(known):
        raise UsageError(f"EndpointTest: {min(unknown)!r} is unknown; it has {', '.join(known)}")
    values = {**known, **limits}
    for name, value in values.items():
        if not is_finite_number(value) or value < 0 or (name == "Requests" and value % 1):
            kind = "a whole" if name == "Requests" else "a finite"
            raise UsageError(
                f"EndpointTest.{name}: {kind} number of at least 0 is wanted, {value!r} was found"
            )
    return {
        "Requests": int(values["Requests"]),
        "MaxP50Milliseconds": values["MaxP50Milliseconds"],
        "MaxP99Milliseconds": values["MaxP99Milliseconds"],
        "MaxErrorRate": values["MaxErrorRate"],
        "Tolerance": values["Tolerance"],
    }


# Sending


@dataclass(frozen=True)
class _Exchange:
    """All requests of a test, by its phases, with their answers."""

    wanted: int  # requests of the phases `once` and `timed`
    once: list[SampleAnswer]
    timed: list[SampleAnswer] = field(default_factory=list)
    refused: Refused = field(default_factory=list)
    after: list[SampleAnswer] = field(default_factory=list)

    @property
    def sent(self) -> list[tuple[int, Answer]]:
        """The samples that were sent and their answers, without the phase `after`."""
        return was_sent(self.once + self.timed)

    @property
    def any_answer(self) -> bool:
        return any(answer and not answer.error for _, answer in self.once)

    @property
    def latencies(self) -> list[float]:
        """The sorted milliseconds of the timed requests that were answered."""
        return sorted(a.milliseconds for _, a in was_sent(self.timed) if not a.error)

    @property
    def errors(self) -> Counter[str]:
        return Counter(error for _, answer in self.sent if (error := answer.counted_error))


def _exchange(
    endpoint: Endpoint, samples: Samples, requests: int, concurrency: int, smoke: bool
) -> _Exchange:
    """Send the requests of all phases; of an endpoint that answers no sample, only the first."""
    recorded = samples.samples
    turns = [turn % len(recorded) for turn in range(requests if recorded else 0)]
    with ThreadPoolExecutor(concurrency) as pool:

        def ask(numbers: Iterable[int]) -> list[SampleAnswer]:
            numbers = list(numbers)
            answers = pool.map(endpoint.send, [recorded[number] for number in numbers])
            return list(zip(numbers, answers, strict=True))

        list(pool.map(endpoint.wake, recorded[:1] * concurrency))
        exchange = _Exchange(len(recorded) + len(turns), ask(range(len(recorded))))
        if not exchange.any_answer:
            return exchange
        return replace(
            exchange,
            timed=ask(turns),
            refused=[(bad, endpoint.send(bad, malformed=True)) for bad in samples.malformed],
            after=[] if smoke else ask(range(min(concurrency, len(recorded)))),
        )


# The result


def _checks(
    exchange: _Exchange,
    judged: AnswerChecks,
    samples: Samples,
    limits: Limits,
    target_variant: str | None,
) -> Iterator[Check]:
    sent, latencies = exchange.sent, exchange.latencies
    yield sent_check(sent, exchange.wanted, exchange.any_answer)
    yield answered_check(len(samples.samples), sent)
    yield from judged.checks()
    if target_variant:
        yield variant_check(sent, target_variant)
    yield error_check(exchange.errors.total(), len(sent), limits["MaxErrorRate"])
    if limits["Requests"]:
        yield latency_check(latencies, 50, limits["MaxP50Milliseconds"])
        yield latency_check(latencies, 99, limits["MaxP99Milliseconds"])


def _checks_after(exchange: _Exchange, samples: Samples, tolerance: float) -> Iterator[Check]:
    """Yield the checks of the malformed requests and of what was sent after them."""
    yield from malformed_checks(len(samples.malformed), exchange.refused)
    judged = AnswerChecks(samples.samples, tolerance, was_sent(exchange.after))
    yield after_check(exchange.after, judged)


def _result(
    exchange: _Exchange,
    judged: AnswerChecks,
    checks: list[Check],
    samples: Samples,
    limits: Limits,
    concurrency: int,
    times: tuple[datetime, datetime],
) -> TestResult:
    start, end = (time.isoformat(timespec="seconds") for time in times)
    sent, errors, latencies = exchange.sent, exchange.errors, exchange.latencies
    return {
        "Status": overall_status(checks),
        "Checks": checks,
        "Invocations": len(sent),
        "Errors": errors.total(),
        "ErrorKinds": dict(errors.most_common(10)),
        "LatencyMilliseconds": percentiles(latencies),
        "Histogram": histogram(latencies),
        "Limits": limits,
        "Worst": judged.worst(),
        "Malformed": [_malformed_result(request, answer) for request, answer in exchange.refused],
        "Requests": {
            "Samples": len(samples.samples),
            "Records": sum(len(sample.expected) for sample in samples.samples),
            "Timed": len(latencies),
            "Malformed": len(exchange.refused),
            "AtATime": concurrency,
            "Variants": dict(Counter(answer.variant for _, answer in sent if answer.variant)),
        },
        "StartTime": start,
        "EndTime": end,
    }


def _malformed_result(request: MalformedRequest, answer: Answer | None) -> MalformedResult:
    status: int | str | None = None
    message = None
    if answer:
        status = answer.status or answer.error
        message = one_line(answer.message or answer.body.decode(errors="replace"))
    return {
        "Name": request.name,
        "ContentType": request.content_type,
        "Body": one_line("binary" if request.binary else request.body.decode()) or "(empty)",
        "Recorded": request.status,
        "Status": status,
        "Message": message,
    }
