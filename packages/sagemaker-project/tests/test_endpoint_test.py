"""The endpoint test against endpoints that are right, wrong, slow and broken."""

import copy
import io
import itertools
import json
import math
import re
import threading

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from sagemaker_project.deploy.endpoint_test import (
    digest,
    read_samples,
    report_html,
    run_test,
    summary,
)
from sagemaker_project.deploy.endpoint_test_async import AsyncRuntime
from sagemaker_project.usage import UsageError

pytestmark = pytest.mark.fast

CSV, JSON = "text/csv", "application/json"
SAMPLES = {
    "samples": [
        {"content_type": CSV, "accept": CSV, "body": "1,2\n", "expected": [3.0]},
        {"content_type": CSV, "accept": JSON, "body": "1,2\n3,4\n", "expected": [3.0, 7.0]},
        {"content_type": JSON, "accept": JSON, "body": "[[5, 6]]", "expected": [11.0]},
    ],
    "malformed": [
        {"name": "empty body", "content_type": CSV, "accept": JSON, "body": "", "status": 400},
        {
            "name": "npy",
            "content_type": "application/x-npy",
            "accept": JSON,
            "body_base64": "k05VTVBZ",
            "status": 415,
        },
    ],
}
ABOUT = {
    "Stage": "staging",
    "EndpointName": "abalone-staging",
    "ModelPackageArn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/abalone/7",
    "EndpointConfigName": "abalone-staging-7-12345678",
    "ConfigHash": "12345678",
    "TestedBy": "ana",
}


def refusal(code, status, **members):
    response = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **members,
    }
    return ClientError(response, "InvokeEndpoint")


def model_error(status):
    members = {"OriginalStatusCode": status, "OriginalMessage": '{"error": "<b>no</b>"}'}
    return refusal("ModelError", 424, **members)


class Endpoint:
    """An endpoint whose model adds the values of a record; `change` may change each answer."""

    def __init__(self, change=lambda answer, number: answer):
        self.change = change
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()
        self.seen = []

    def invoke_endpoint(self, EndpointName, ContentType, Accept, Body, **members):
        with self.lock:
            number = next(self.numbers)
            self.seen.append((ContentType, Body, members))
        answer = self.change(self.answer(ContentType, Accept, Body), number)
        if isinstance(answer, Exception):
            raise answer
        return answer | {"Body": io.BytesIO(answer["Body"].encode())}

    def answer(self, content_type, accept, body):
        if content_type not in (CSV, JSON):
            return model_error(415)
        if not body:
            return model_error(400)
        lines = body.decode().splitlines()
        rows = json.loads(body) if content_type == JSON else [line.split(",") for line in lines]
        sums = [sum(map(float, row)) for row in rows]
        text = "\n".join(map(repr, sums)) if accept == CSV else json.dumps({"predictions": sums})
        return {"Body": text, "ContentType": accept, "InvokedProductionVariant": "AllTraffic"}


def run(endpoint, samples=SAMPLES, limits=(), **options):
    limits = {"Requests": 20, **dict(limits)}
    recorded = read_samples(json.dumps(samples).encode(), None)
    result = run_test(endpoint, "abalone-staging", recorded, limits, **options)
    json.dumps(result, allow_nan=False)
    page = report_html(result | ABOUT)
    assert result["Status"] in page
    return result


def names(result, status):
    return [check["Name"] for check in result["Checks"] if check["Status"] == status]


def failed(result):
    return names(result, "Failed")


def on_success(**change):
    return lambda answer, _: answer | change if isinstance(answer, dict) else answer


def test_right_endpoint_passes_and_every_request_is_sent():
    endpoint = Endpoint()
    result = run(endpoint, concurrency=2)
    assert result["Status"] == "Passed", result["Checks"]
    assert (result["Invocations"], result["Errors"]) == (23, 0)
    # wake, samples, timed, malformed, after
    assert len(endpoint.seen) == 2 + 3 + 20 + 2 + 2
    assert ("application/x-npy", b"\x93NUMPY") in [seen[:2] for seen in endpoint.seen]
    ids = {members.pop("InferenceId") for _, _, members in endpoint.seen}
    assert len(ids) == len(endpoint.seen) and all(one.startswith("deploy-model-") for one in ids)
    assert all(members == {} for _, _, members in endpoint.seen)
    assert sum(result["Histogram"]["Counts"]) == 20
    assert result["Requests"]["Variants"] == {"AllTraffic": 23}
    assert summary(result).startswith("Passed: 13 checks, 23 invocations, p50 ")


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (on_success(Body="junk"), "Form"),
        (on_success(Body=""), "Form"),
        (on_success(Body='{"predictions": 3}'), "Form"),
        (on_success(Body='{"predictions": ["3.0"]}'), "Form"),
        (on_success(Body='{"predictions": [true]}'), "Form"),
        (on_success(Body='{"predictions": [[3.0]]}'), "Form"),
        (on_success(Body='{"answers": [3.0]}'), "Form"),
        (on_success(Body="[" * 100_000), "Form"),
        (on_success(Body='{"predictions": [1' + "0" * 400 + "]}"), "Form"),
        (on_success(Body='{"predictions": []}'), "Number of predictions"),
        (on_success(Body='{"predictions": [NaN]}'), "Finite predictions"),
        (on_success(Body='{"predictions": [Infinity]}'), "Finite predictions"),
        (on_success(Body='{"predictions": [3.0]}'), "Values"),
        (on_success(ContentType="text/html"), "Content type"),
        (on_success(ContentType=None), "Content type"),
    ],
)
def test_endpoint_that_answers_200_with_junk_fails(change, check):
    result = run(Endpoint(change))
    assert result["Status"] == "Failed"
    assert check in failed(result)
    assert check in summary(result)


def test_one_wrong_answer_among_the_timed_ones_fails():
    def change(answer, number):
        return answer | {"Body": "3.1"} if number == 14 else answer  # sample 1: text/csv

    result = run(Endpoint(change), concurrency=1)
    assert failed(result) == ["Values"]
    (worst,) = result["Worst"]
    assert worst | {"Deviation": 0.1} == {
        **{"Sample": 1, "Record": 1, "Where": "", "Expected": 3.0, "Found": 3.1},
        "Deviation": 0.1,
    }


def test_deviation_within_the_tolerance_passes():
    def change(answer, _):
        return answer | {"Body": "3.0000001"} if answer_of_first(answer) else answer

    def answer_of_first(answer):
        return isinstance(answer, dict) and answer["Body"] == "3.0"

    assert run(Endpoint(change))["Status"] == "Passed"
    assert "Values" in failed(run(Endpoint(change), limits={"Tolerance": 1e-9}))
    assert "Values" in failed(run(Endpoint(change), limits={"Tolerance": 0}))


@pytest.mark.parametrize(
    "error",
    [
        model_error(500),
        refusal("InternalFailure", 500),
        refusal("ServiceUnavailable", 503),
        refusal("ThrottlingException", 400),
        ReadTimeoutError(endpoint_url="http://x"),
        EndpointConnectionError(endpoint_url="http://x"),
        ConnectionResetError("reset"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_counted_and_do_not_stop_the_test(error):
    result = run(Endpoint(lambda answer, number: error if number == 9 else answer))
    assert (failed(result), result["Errors"]) == (["Error rate"], 1)
    allowed = run(
        Endpoint(lambda answer, number: error if number == 9 else answer),
        limits={"MaxErrorRate": 0.1},
    )
    assert allowed["Status"] == "Passed"
    steps = itertools.count()  # of a clock that goes on: throttles are waited for
    dead = run(Endpoint(lambda *_: error), clock=lambda: next(steps) * 0.1, sleep=lambda _: None)
    assert dead["Status"] == "Failed"
    assert "Samples answered" in failed(dead)
    assert dead["Invocations"] == 3  # and no timed ones: an endpoint that is down is not waited for
    assert {"Values", "Requests sent", "Latency p99"} <= set(names(dead, "Inconclusive"))


def test_answer_that_took_boto3_a_retry_is_an_error():
    change = on_success(ResponseMetadata={"RetryAttempts": 1})
    assert failed(run(Endpoint(change))) == ["Error rate"]


def test_slow_endpoint_fails():
    steps = itertools.count()

    def clock():
        return next(steps) * 0.4  # every request takes that long

    result = run(Endpoint(), concurrency=1, clock=clock, limits={"MaxP50Milliseconds": 300})
    assert failed(result) == ["Latency p50"]
    assert result["LatencyMilliseconds"]["p99"] == pytest.approx(400)


@pytest.mark.parametrize("code", ["ModelNotReadyException", "ThrottlingException"])
def test_cold_start_is_waited_for_and_not_counted(code):
    waits = []

    def change(answer, number):
        return refusal(code, 429) if number < 4 else answer

    result = run(Endpoint(change), concurrency=1, sleep=waits.append)
    assert (result["Status"], result["Errors"], waits) == ("Passed", 0, [1, 1, 1])


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (model_error(400), "Passed"),
        (model_error(422), "Passed"),
        (refusal("ValidationError", 400), "Passed"),
        (refusal("415", 415), "Passed"),
        (model_error(500), "Failed"),
        (refusal("ServiceUnavailable", 503), "Inconclusive"),
        (ConnectionResetError("reset"), "Failed"),
        ({"Body": "3.0", "ContentType": CSV}, "Failed"),
    ],
)
def test_malformed_request_must_get_a_4xx(answer, status):
    def change(usual, _):
        return usual if isinstance(usual, dict) else answer

    result = run(Endpoint(change))
    assert result["Status"] == status
    assert all(
        check["Status"] == status for check in result["Checks"] if "Refuses" in check["Name"]
    )


def test_endpoint_that_falls_over_at_a_malformed_request_fails():
    down = []

    def change(answer, _):
        if not isinstance(answer, dict):
            down.append(True)
        return ConnectionResetError("reset") if down else answer

    assert "Answers after that" in failed(run(Endpoint(change)))


def test_nothing_seen_is_never_a_pass():
    for samples in ({**SAMPLES, "samples": []}, {**SAMPLES, "malformed": []}):
        assert run(Endpoint(), samples)["Status"] == "Inconclusive"
    ticks = itertools.count(step=40)
    patient = {"MaxP50Milliseconds": 1e6, "MaxP99Milliseconds": 1e6}
    late = run(Endpoint(), limits=patient, concurrency=1, clock=lambda: next(ticks))
    assert late["Status"] == "Inconclusive"
    assert "Requests sent" in names(late, "Inconclusive")
    assert 3 < late["Invocations"] < 23


def test_smoke_test_leaves_latency_out():
    result = run(Endpoint(), limits={"Requests": 0})
    assert (result["Status"], result["Invocations"]) == ("Passed", 3)
    assert not [check for check in result["Checks"] if "Latency" in check["Name"]]


def test_target_variant_is_asked_for_and_must_answer():
    endpoint = Endpoint()
    assert run(endpoint, target_variant="AllTraffic")["Status"] == "Passed"
    assert {members["TargetVariant"] for _, _, members in endpoint.seen} == {"AllTraffic"}
    assert failed(run(Endpoint(), target_variant="B")) == ["Variant"]


@pytest.mark.parametrize(
    "limits",
    [
        {"MaxP99Milliseconds": math.nan},
        {"MaxErrorRate": math.nan},
        {"Tolerance": math.inf},
        {"Tolerance": -1},
        {"Requests": 1.5},
        {"Requests": True},
        {"MaxP50Milliseconds": "500"},
        {"MaxP95Milliseconds": 1},
    ],
)
def test_limits_that_limit_nothing_are_refused(limits):
    endpoint = Endpoint()
    with pytest.raises(UsageError, match=f"EndpointTest.*{next(iter(limits))}"):
        run(endpoint, limits=limits)
    assert endpoint.seen == []


@pytest.mark.parametrize("code", ["ValidationError", "AccessDeniedException"])
def test_request_that_sagemaker_refuses_ends_the_test_with_one_line(code):
    with pytest.raises(UsageError, match=f"abalone-staging: .*{code}") as raised:
        run(Endpoint(lambda *_: refusal(code, 400)))
    assert "\n" not in str(raised.value)


def test_endpoint_that_is_deleted_meanwhile_has_not_refused_a_malformed_request():
    gone = refusal("ValidationError", 400)
    gone.response["Error"]["Message"] = "Endpoint abalone-staging of account 1 not found."
    with pytest.raises(UsageError, match="not found"):
        run(Endpoint(lambda answer, _: answer if isinstance(answer, dict) else gone))


# Asynchronous endpoints


class Objects:
    """A bucket in memory that also is the asynchronous endpoint that writes to it."""

    def __init__(self, arrives_after=0, key="out", content=b"3.0"):
        self.looks, self.arrives_after = 0, arrives_after
        self.key, self.content, self.kept = key, content, {}

    def invoke_endpoint_async(self, **_):
        return {"OutputLocation": "s3://bucket/out", "FailureLocation": "s3://bucket/failed"}

    def put_object(self, Bucket, Key, Body):
        self.kept[Key] = Body

    def delete_object(self, Bucket, Key):
        del self.kept[Key]

    def get_object(self, Bucket, Key):
        self.looks += 1
        if Key != self.key or self.looks <= self.arrives_after:
            raise refusal("NoSuchKey", 404)
        return {"Body": io.BytesIO(self.content)}


def invoke(objects, **options):
    """The answer of an asynchronous endpoint, in a time that passes only while it is waited for."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    runtime = AsyncRuntime(
        objects, objects, "s3://bucket/in/", clock=lambda: now[0], sleep=sleep, **options
    )
    try:
        return runtime.invoke_endpoint(
            EndpointName="e", ContentType=CSV, Accept=CSV, Body=b"1,2", InferenceId="i"
        )
    finally:
        assert objects.kept == {}


def test_asynchronous_answer_is_polled_for():
    objects = Objects(arrives_after=5)
    assert invoke(objects)["Body"].read() == b"3.0"
    assert objects.looks == 7  # each poll looks for the answer, then for the reason of a failure


def test_asynchronous_refusal_is_the_model_error_of_the_container():
    text = b"Received client error (415) from primary"
    with pytest.raises(ClientError) as raised:
        invoke(Objects(key="failed", content=text))
    assert raised.value.response["OriginalStatusCode"] == 415


def test_asynchronous_answer_that_does_not_come_is_an_error_after_the_timeout():
    with pytest.raises(TimeoutError, match="s3://bucket/out or s3://bucket/failed within 60 s"):
        invoke(Objects(arrives_after=1_000), timeout=60, poll_interval=1)


# samples.json


def changed(*path, value):
    samples = copy.deepcopy(SAMPLES)
    inner = samples
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(samples).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        changed("samples", value={}),
        changed("malformed", value=None),
        changed("samples", 0, value="x"),
        changed("samples", 0, "body", value=None),
        changed("samples", 0, "accept", value=1),
        changed("samples", 0, "expected", value=[]),
        changed("samples", 0, "expected", value=[math.nan]),
        changed("samples", 0, "expected", value="3"),
        changed("samples", 0, "expected", value=[3.0, []]),
        changed("samples", 0, "expected", value=[{"label": "a", "score": [math.inf]}]),
        changed("samples", 0, "expected", value=[{"score": 10**400}]),
        changed("samples", 0, "expected", value=[10**400]),
        changed("malformed", 0, "status", value=200),
        changed("malformed", 0, "name", value=None),
        changed("malformed", 1, "body_base64", value="?"),
    ],
)
def test_samples_that_evaluate_did_not_write_are_refused_in_one_line(body):
    with pytest.raises(UsageError, match="samples.json: ") as raised:
        read_samples(body, None)
    assert "\n" not in str(raised.value)


def test_samples_are_those_of_the_package():
    body = json.dumps(SAMPLES).encode()
    found = read_samples(body, digest(body))
    assert [sample.expected for sample in found.samples] == [(3.0,), (3.0, 7.0), (11.0,)]
    assert [(bad.name, bad.body, bad.status) for bad in found.malformed] == [
        ("empty body", b"", 400),
        ("npy", b"\x93NUMPY", 415),
    ]
    with pytest.raises(UsageError, match=f"{digest(body)}.*{'0' * 64}"):
        read_samples(body, "0" * 64)


# The report


def test_report_is_one_page_and_escapes_everything():
    hostile = "<script>alert('1')</script>"
    result = run(Endpoint(on_success(Body=hostile, InvokedProductionVariant=hostile)))
    page = report_html(result | dict.fromkeys(ABOUT, hostile))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>no" not in page
    assert not re.search(r"<link|<img|src=|url\(|https?:", page)
