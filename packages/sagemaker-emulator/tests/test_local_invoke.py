"""InvokeEndpoint and its errors, variants and shares, shadows, captured data, async requests."""

import base64
import concurrent.futures
import contextlib
import http.client
import io
import json
import os
import tarfile
import threading
import time
import weakref
from collections import Counter
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import ServiceModel
from endpoint_helpers import SCRIPT, config, describe, endpoint, variant
from local_helpers import IMAGE, ROLE, Cloud, unique, until
from sagemaker_emulator import client as local_client
from sagemaker_emulator.api.http import Connection, Later
from sagemaker_emulator.api.sagemaker import SageMaker
from sagemaker_emulator.hosting.capture_record import CaptureFormat
from sagemaker_emulator.hosting.runtime import ID_PATTERN, MAX_ID
from sagemaker_emulator.hosting.traffic import Destination, Route, Routes, Traffic

# What a request's body asks for is what happens.
OBEDIENT = """
import json, os, time
NAME = {name!r}
def model_fn(folder):
    return NAME
def transform_fn(model, body, content_type, accept):
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    word, _, rest = text.partition(" ")
    if word == "sleep":
        time.sleep(float(rest))
    if word == "await":  # a file
        open(rest + ".awaited", "w").close()
        while not os.path.exists(rest):
            time.sleep(0.01)
    if word == "when":
        begun = time.monotonic()
        time.sleep(0.5)
        return json.dumps([os.getpid(), begun, time.monotonic()]), "application/json"
    if word == "big":
        return "x" * int(rest), "text/plain"
    if word == "fail":
        raise ValueError("asked to")
    if word == "status":
        from werkzeug.wrappers import Response
        return Response(f"status {{rest}}", int(rest))
    if word == "attributes":
        from werkzeug.wrappers import Response
        return Response("a", 200, {{"X-Amzn-SageMaker-Custom-Attributes": "from the model"}})
    if word == "length":
        return str(len(rest)), "text/plain"
    if word == "types":
        return json.dumps([content_type, accept]), "application/json"
    return NAME, "text/plain"
"""
MAX_BODY = 6_291_456


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_LOCAL_SPEED", "600")
        with local_client.attach(state=tmp_path_factory.mktemp("project") / "state") as local:
            cloud = Cloud(local)
            cloud.s3.create_bucket(Bucket="bucket")
            yield cloud


def obedient(cloud, name="one"):
    """A model that says its name, unless it is asked for something else."""
    text = OBEDIENT.format(name=name).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("code/inference.py")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    key, model = f"models/{unique('m')}/model.tar.gz", unique("model")
    cloud.put(key, buffer.getvalue())
    container = {"Image": IMAGE, "ModelDataUrl": f"s3://bucket/{key}", "Environment": SCRIPT}
    cloud.sm.create_model(ModelName=model, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    return model


def serving(cloud, *variants, **members):
    made = endpoint(cloud, config(cloud, *variants, **members))
    assert made["EndpointStatus"] == "InService", made
    return made["EndpointName"]


@pytest.fixture(scope="module")
def name(cloud):
    return serving(cloud, variant(obedient(cloud)))


@pytest.fixture(scope="module")
def runtime(cloud):
    return cloud.client("sagemaker-runtime", read_timeout=90)


def invoke(runtime, name, body="x", **members):
    members = {"ContentType": "text/csv", "Accept": "text/csv"} | members
    return runtime.invoke_endpoint(EndpointName=name, Body=body, **members)


def said(answer):
    return answer["Body"].read().decode()


def refused(runtime, name, body="x", **members):
    with pytest.raises(ClientError) as error:
        invoke(runtime, name, body, **members)
    return error.value.response


# One request


@pytest.mark.parametrize(
    "given, rule",
    [
        ("x" * 65, "have length less than or equal to 64"),
        ("a\tb", "satisfy regular expression pattern"),
        ("aé", "satisfy regular expression pattern"),
    ],
)
def test_an_inference_id_is_one_that_aws_takes(cloud, runtime, name, given, rule):
    error = refused(runtime, name, InferenceId=given)["Error"]
    assert error["Code"] == "ValidationError" and "at 'inferenceId' failed" in error["Message"]
    assert f"Member must {rule}" in error["Message"]
    with pytest.raises(ClientError, match=rule):
        runtime.invoke_endpoint_async(EndpointName=name, Body=b"x", InferenceId=given)
    assert said(invoke(runtime, name, InferenceId="!" + "~ " * 31 + "~")) == "one"


@pytest.mark.fast
def test_the_rules_for_inference_ids_are_awss():
    model = ServiceModel(Loader().load_service_model("sagemaker-runtime", "service-2"))
    for operation in ("InvokeEndpoint", "InvokeEndpointAsync"):
        shape = model.operation_model(operation).input_shape.members["InferenceId"]
        assert shape.metadata == {"min": 1, "max": MAX_ID, "pattern": ID_PATTERN}


def test_an_answer_is_awss(cloud, runtime, name):
    answer = invoke(runtime, name)
    assert said(answer) == "one"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["ContentType"] == "text/plain; charset=utf-8"
    assert answer["ResponseMetadata"]["RequestId"]
    assert "CustomAttributes" not in answer
    answer = invoke(runtime, name, "attributes", CustomAttributes="mine")
    assert answer["CustomAttributes"] == "from the model"
    types = said(invoke(runtime, name, "types", ContentType="text/csv; charset=utf-8"))
    assert json.loads(types) == ["text/csv; charset=utf-8", "text/csv"]


def test_endpoints_and_variants_that_there_are_not(cloud, runtime, name):
    error = refused(runtime, "nowhere")
    assert error["Error"]["Code"] == "ValidationError"
    assert "nowhere" in error["Error"]["Message"] and "not found" in error["Error"]["Message"]
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    error = refused(runtime, name, TargetVariant="Other")
    assert error["Error"]["Code"] == "ValidationError" and "Other" in error["Error"]["Message"]
    elsewhere = cloud.client("sagemaker-runtime", "eu-west-1")
    assert refused(elsewhere, name)["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize("body, status", [("status 400", 400), ("status 302", 302), ("fail", 500)])
def test_what_is_no_success_of_the_model_is_a_model_error(cloud, runtime, name, body, status):
    error = refused(runtime, name, body)
    assert error["Error"]["Code"] == "ModelError"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error["OriginalStatusCode"] == status
    assert f"({status}) from primary with message" in error["Error"]["Message"]
    wanted = body if status != 500 else "Internal Server Error"
    assert wanted in error["OriginalMessage"]
    assert f"log-group:/aws/sagemaker/Endpoints/{name}" in error["LogStreamArn"]
    assert said(invoke(runtime, name)) == "one"


def test_the_limits_of_bodies(cloud, runtime, name):
    most = "length " + "x" * (MAX_BODY - 7)
    assert said(invoke(runtime, name, most)) == str(MAX_BODY - 7)
    error = refused(runtime, name, most + "x")
    assert error["Error"]["Code"] == "ValidationError" and "6291456" in error["Error"]["Message"]
    assert len(said(invoke(runtime, name, f"big {MAX_BODY}"))) == MAX_BODY
    error = refused(runtime, name, f"big {MAX_BODY + 1}")
    assert error["Error"]["Code"] == "ModelError" and "6291457" in error["OriginalMessage"]
    assert said(invoke(runtime, name, "")) == "one"


@pytest.mark.parametrize(
    "members, words",
    [
        ({"TargetModel": "m"}, "target-model"),
        ({"InferenceComponentName": "c"}, "inference-component"),
        ({"TargetContainerHostname": "h"}, "target-container-hostname"),
    ],
)
def test_what_it_lacks_is_refused_by_name(cloud, runtime, name, members, words):
    error = refused(runtime, name, **members)["Error"]
    assert error["Code"] == "UnsupportedOperation" and words in error["Message"]


@pytest.mark.parametrize("broken", [(Routes, "find"), (Traffic, "choose")])
def test_a_mistake_of_ours_is_told(tmp_path, monkeypatch, broken):
    runtime = SageMaker(tmp_path).runtime
    runtime.routes.set("us-east-1", Route("e", (Destination("A", None, 1.0),)))
    monkeypatch.setattr(*broken, lambda *_: 1 / 0)
    answer = runtime.handle("/endpoints/e/invocations", {}, b"")
    answer = answer.answer if isinstance(answer, Later) else answer
    assert answer.status == 500 and b"division by zero" in answer.body


# HTTP


@contextlib.contextmanager
def connected(cloud):
    connection = http.client.HTTPConnection(cloud.url.removeprefix("http://"), timeout=20)
    with contextlib.closing(connection):
        connection.connect()
        yield connection


def raw(cloud, name, body, *headers):
    lines = [f"POST /endpoints/{name}/invocations HTTP/1.1", f"Host: {cloud.url[7:]}"]
    lines += [f"{name}: {value}" for name, value in cloud.token.items()]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def received(connection, number):
    """The bodies of so many answers."""
    data, bodies = b"", []
    while len(bodies) < number:
        head, found, rest = data.partition(b"\r\n\r\n")
        if found:
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(rest) >= length:
                bodies.append(rest[:length].decode())
                data = rest[length:]
                continue
        more = connection.sock.recv(65536)
        assert more, data
        data += more
    return bodies


def test_requests_sent_ahead_are_answered_in_their_order(cloud, name):
    texts = [f"length {'x' * number}".encode() for number in range(100)]
    with connected(cloud) as connection:
        for text in texts:
            connection.sock.sendall(raw(cloud, name, text, f"Content-Length: {len(text)}"))
        assert received(connection, 100) == [str(number) for number in range(100)]


def test_a_body_may_come_in_pieces(cloud, name):
    with connected(cloud) as connection:
        request = raw(
            cloud, name, b"7\r\nlength \r\n3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked"
        )
        for start in range(0, len(request), 7):
            connection.sock.sendall(request[start : start + 7])
            time.sleep(0.002)
        assert received(connection, 1) == ["3"]


def test_a_body_waits_for_100_continue(cloud, name):
    with connected(cloud) as connection:
        connection.sock.sendall(raw(cloud, name, b"", "Content-Length: 8", "Expect: 100-continue"))
        assert connection.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sock.sendall(b"length a")
        assert received(connection, 1) == ["1"]


def test_no_body_is_asked_for_that_would_be_dropped(cloud, name):
    with connected(cloud) as connection:
        expect = ("Content-Length: 8", "Expect: 100-continue", "Origin: null")
        connection.sock.sendall(raw(cloud, name, b"", *expect))
        answer = connection.sock.recv(1000)
        assert answer.startswith(b"HTTP/1.1 403 ") and b"Connection: close" in answer


@pytest.mark.parametrize(
    "header",
    [
        *("Origin: http://127.0.0.1", "Origin: null", "Host: evil:80"),
        *("Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"),
    ],
)
def test_web_pages_do_not_invoke(cloud, name, header):
    with connected(cloud) as connection:
        connection.sock.sendall(raw(cloud, name, b"x", "Content-Length: 1", header))
        assert received(connection, 1) == ["only programs on this machine\n"]
        mine = raw(cloud, name, b"x", "Content-Length: 1", "Sec-Fetch-Site: none")
        connection.sock.sendall(mine)  # the connection is as good as before
        assert received(connection, 1) == ["one"]


def memory(cloud):
    pid = json.loads((cloud.local.state / "server.json").read_text())["pid"]
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) * 1024


@pytest.mark.parametrize("header", ["Origin: null", "Accept: a/b"])
def test_a_body_without_a_recipient_is_not_kept(cloud, name, header):
    before, size, piece = memory(cloud), 64 * 2**20, b"x" * 2**20
    with connected(cloud) as connection:
        connection.sock.sendall(raw(cloud, name, b"", f"Content-Length: {size}", header))
        for _ in range(63):
            connection.sock.sendall(piece)
        assert memory(cloud) - before < 25 * 2**20
        connection.sock.sendall(piece)
        (said,) = received(connection, 1)
        assert "only programs" in said or f"equal to {MAX_BODY}" in said


def test_nothing_is_left_of_a_connection_that_has_ended():
    connection = Connection(None)
    ended = weakref.ref(connection)
    connection.connection_made(SimpleNamespace())
    connection.connection_lost(None)
    del connection
    assert ended() is None


@pytest.mark.parametrize("size", [66_000, 600_000])
@pytest.mark.parametrize("times", [1, 3])
def test_headers_have_a_limit(cloud, size, times):
    headers = "".join(f"X-{number}: {'x' * (size // times)}\r\n" for number in range(times))
    with connected(cloud) as connection:
        with contextlib.suppress(OSError):
            head = f"GET / HTTP/1.1\r\nHost: {cloud.url[7:]}\r\n{headers}\r\n"
            connection.sock.sendall(head.encode())
        answer = connection.sock.recv(1000)
        assert answer.startswith(b"HTTP/1.1 431 ")


def test_headers_without_an_end_have_a_limit(cloud):
    head = f"GET / HTTP/1.1\r\nHost: {cloud.url[7:]}\r\n".encode()
    chunked = b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    for start in (b"X-A: ", chunked + b"X-A: "):
        with connected(cloud) as connection:
            connection.sock.sendall(head + start)
            with contextlib.suppress(OSError):
                for _ in range(100):
                    connection.sock.sendall(b"x" * 10_000)
                    time.sleep(0.001)
            assert connection.sock.recv(1000).startswith(b"HTTP/1.1 431 ")


def test_what_is_no_http_is_refused_and_the_server_goes_on(cloud, runtime, name):
    length = b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"
    for text in (b"\x16\x03\x01\x02\x00", length):
        with connected(cloud) as connection:
            connection.sock.sendall(text)
            answer = connection.sock.recv(1000)
            assert answer.startswith(b"HTTP/1.1 400 ") and b"Connection: close" in answer
            assert connection.sock.recv(1000) == b""
    with connected(cloud) as connection:  # a path, and not as for a proxy
        token = f"X-Amz-Security-Token: {cloud.local.secret}"
        get = f"GET {cloud.url}/bucket HTTP/1.1\r\nHost: {cloud.url[7:]}\r\n{token}\r\n\r\n"
        connection.sock.sendall(get.encode())
        assert connection.sock.recv(1000).startswith(b"HTTP/1.1 400 ")
    with connected(cloud) as connection:  # what HTTPS_PROXY leads here
        connection.sock.sendall(b"CONNECT x.example:443 HTTP/1.1\r\nHost: x.example:443\r\n\r\n")
        assert connection.sock.recv(1000).startswith(b"HTTP/1.1 403 ")
    assert said(invoke(runtime, name)) == "one"


def test_clients_that_hang_up_do_no_harm(cloud, runtime, name):
    for _ in range(20):
        with connected(cloud) as connection:
            connection.sock.sendall(raw(cloud, name, b"sleep 0.01", "Content-Length: 10"))
    assert said(invoke(runtime, name)) == "one"


def test_a_client_that_says_no_more_still_gets_its_answer(cloud, name):
    import socket

    with connected(cloud) as connection:
        connection.sock.sendall(raw(cloud, name, b"sleep 0.1", "Content-Length: 9"))
        connection.sock.shutdown(socket.SHUT_WR)
        assert received(connection, 1) == ["one"]
        assert connection.sock.recv(1) == b""


def test_a_bucket_may_be_called_endpoints(cloud):
    cloud.s3.create_bucket(Bucket="endpoints")
    cloud.s3.put_object(Bucket="endpoints", Key="e/invocations", Body=b"mine")
    found = cloud.s3.get_object(Bucket="endpoints", Key="e/invocations")["Body"].read()
    assert found == b"mine"
    upload = cloud.s3.create_multipart_upload(Bucket="endpoints", Key="e/invocations")
    assert upload["UploadId"]


# Variants


def count(runtime, name, number, **members):
    return Counter(said(invoke(runtime, name, **members)) for _ in range(number))


def test_weights_are_kept_exactly(cloud, runtime):
    name = serving(
        cloud,
        variant(obedient(cloud, "a"), "A", weight=9.0),
        variant(obedient(cloud, "b"), "B", weight=1.0),
    )
    assert count(runtime, name, 100) == {"a": 90, "b": 10}
    assert count(runtime, name, 5, TargetVariant="B") == {"b": 5}
    assert invoke(runtime, name, TargetVariant="B")["InvokedProductionVariant"] == "B"
    # A session stays where it is, and sessions are spread.
    sessions = [count(runtime, name, 3, SessionId=f"s{number}") for number in range(40)]
    assert all(len(session) == 1 for session in sessions)
    assert len({min(session) for session in sessions}) == 2
    weights = [{"VariantName": "A", "DesiredWeight": 0.0}, {"VariantName": "B", "DesiredWeight": 1}]
    cloud.sm.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=weights
    )
    until(lambda: count(runtime, name, 4) == {"b": 4})


def shares(route, number, **members):
    traffic = Traffic(route)
    return Counter(traffic.choose(**members).fleet for _ in range(number))


def test_a_route_gives_green_its_share():
    blue = (Destination("A", "blue a", 3.0), Destination("B", "blue b", 1.0))
    green = (Destination("A", "green a", 3.0), Destination("B", "green b", 1.0))
    route = Route("e", blue, green, 0.1)
    assert shares(route, 1000) == {
        "blue a": 675,
        "blue b": 225,
        "green a": 75,
        "green b": 25,
    }
    assert shares(route, 1000, target="B") == {"blue b": 900, "green b": 100}
    assert shares(Route("e", blue, green, 0.3), 10)["green a"] in (2, 3)
    assert shares(Route("e", blue), 8) == {"blue a": 6, "blue b": 2}
    assert Traffic(route).choose(target="C") is None
    assert set(shares(route, 50, session="one")) == set(shares(route, 1, session="one"))
    # Who was green with a small share is green with a larger one.
    for number in range(200):
        early = min(shares(Route("e", blue, green, 0.1), 1, session=f"s{number}"))
        late = min(shares(Route("e", blue, green, 0.5), 1, session=f"s{number}"))
        assert early.startswith("blue") or late == early


def test_shares_are_even_at_every_moment():
    both = (Destination("A", "a", 0.7), Destination("B", "b", 0.3))
    traffic = Traffic(Route("e", both))
    seen = [traffic.choose().fleet for _ in range(1000)]
    for start in range(0, 1000, 10):
        assert Counter(seen[start : start + 10]) == {"a": 7, "b": 3}


def sampled(traffic, number):
    """How many of so many requests are captured, by fleet."""
    chosen = (traffic.choose() for _ in range(number))
    return Counter(d.fleet for d in chosen if traffic.capture(d))


def sampling(percentage):
    return CaptureFormat(capture("any", percentage=percentage))


def test_every_destination_is_sampled_whatever_the_routing():
    half, tenth = sampling(50), sampling(10)
    both = [Destination(name, name, 1.0, capture=half) for name in "AB"]
    assert sampled(Traffic(Route("e", (*both,))), 1000) == {"A": 250, "B": 250}
    blue = (Destination("A", "blue", 1.0, capture=tenth),)
    green = (Destination("A", "green", 1.0, capture=tenth),)
    assert sampled(Traffic(Route("e", blue, green, 0.1)), 1000) == {"blue": 90, "green": 10}


def test_an_answer_after_a_change_of_the_route_leaves_the_shares_as_they_are(tmp_path):
    runtime, sent = SageMaker(tmp_path).runtime, []
    fleet = SimpleNamespace(busy=0, send=lambda request, done, seconds: sent.append(done))
    one, other = Destination("A", fleet, 1.0), Destination("B", fleet, 1.0)
    capturing = Destination("A", fleet, 1.0, capture=capture("late"))
    runtime.routes.set("us-east-1", Route("e", (capturing,)))
    runtime.handle("/endpoints/e/invocations", {}, b"")
    runtime.routes.set("us-east-1", Route("e", (one, other)))
    first = runtime.routes.find("us-east-1", "e").choose()
    sent[0]((200, {}, b""))
    second = runtime.routes.find("us-east-1", "e").choose()
    assert (first.variant, second.variant) == ("A", "B")


def test_two_instances_share_the_work(cloud, runtime):
    name = serving(cloud, variant(obedient(cloud), count=2))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: said(invoke(runtime, name, "when")), range(4)))
    first, second, third, fourth = sorted(map(json.loads, answers), key=lambda took: took[1])
    workers = [worker for worker, _, _ in (first, second, third, fourth)]
    if (os.cpu_count() or 1) > 1:
        assert Counter(workers) == dict.fromkeys(workers, 2) and len(set(workers)) == 2
        assert second[1] < first[2]  # two at a time, and no more
    assert third[1] >= min(first[2], second[2]) and fourth[1] >= third[1]


def test_serverless_is_throttled_beyond_its_concurrency(cloud, runtime, tmp_path):
    serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": 2}
    made = {
        "VariantName": "AllTraffic",
        "ModelName": obedient(cloud),
        "ServerlessConfig": serverless,
    }
    name = serving(cloud, made)

    file = tmp_path / "file"

    def one(_):
        try:
            return said(invoke(runtime, name, f"await {file}"))
        except ClientError as error:
            return error.response["Error"]["Code"]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        running = [pool.submit(one, number) for number in range(6)]
        until(lambda: sum(request.done() for request in running) == 4)
        assert {request.result() for request in running if request.done()} == {
            "ThrottlingException"
        }
        file.touch()
    assert Counter(request.result() for request in running)["one"] == 2
    assert said(invoke(runtime, name)) == "one"


# Changes under load


def test_an_update_under_load_loses_no_request(cloud, runtime):
    name = serving(cloud, variant(obedient(cloud, "old")))
    outcomes, ended = [], threading.Event()

    def load():
        own = cloud.client("sagemaker-runtime")
        while not ended.is_set():
            try:
                outcomes.append(said(invoke(own, name)))
            except Exception as error:
                outcomes.append(error)

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for new in ("new", "newer"):
            cloud.sm.update_endpoint(
                EndpointName=name, EndpointConfigName=config(cloud, variant(obedient(cloud, new)))
            )
            until(lambda new=new: outcomes[-1] == new, 60)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert set(outcomes) == {"old", "new", "newer"}
    first = {word: outcomes.index(word) for word in ("old", "new", "newer")}
    assert first["old"] < first["new"] < first["newer"]


def test_a_request_under_way_finishes_with_the_model_it_began_with(cloud, runtime, tmp_path):
    name, file = serving(cloud, variant(obedient(cloud, "old"))), tmp_path / "file"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: said(invoke(runtime, name, f"await {file}")))
        until(lambda: os.path.exists(f"{file}.awaited"))
        new = config(cloud, variant(obedient(cloud, "new")))
        cloud.sm.update_endpoint(EndpointName=name, EndpointConfigName=new)
        until(lambda: describe(cloud, name)["EndpointConfigName"] == new)
        until(lambda: said(invoke(cloud.client("sagemaker-runtime"), name)) == "new")
        assert not slow.done()
        file.touch()
        assert slow.result() == "old"


# Shadows


def test_a_shadow_gets_its_share_and_its_answers_are_dropped(cloud, runtime):
    shadow = variant(obedient(cloud, "shadow"), "Shadow", weight=0.5)
    name = serving(cloud, variant(obedient(cloud), weight=1.0), ShadowProductionVariants=[shadow])
    assert count(runtime, name, 20) == {"one": 20}
    assert refused(runtime, name, TargetVariant="Shadow")["Error"]["Code"] == "ValidationError"
    metrics = cloud.client("cloudwatch")

    def invocations(variant_name):
        now = time.time()
        found = metrics.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName="Invocations",
            Dimensions=[
                {"Name": "EndpointName", "Value": name},
                {"Name": "VariantName", "Value": variant_name},
            ],
            StartTime=now - 3600,
            EndTime=now + 60,
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        return sum(point["Sum"] for point in found)

    until(lambda: invocations("AllTraffic") == 20)
    assert until(lambda: invocations("Shadow")) in (10, 20)  # a share of 1/2, or all


# Data capture


def captured(cloud, prefix, number):
    """The records below a prefix, once there are so many, and their keys."""

    def all_there():
        listed = cloud.s3.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
        keys = [item["Key"] for item in listed]
        lines = [line for key in keys for line in cloud.get(key).decode().splitlines()]
        return (keys, [json.loads(line) for line in lines]) if len(lines) >= number else None

    return until(all_there)


def capture(prefix, *modes, percentage=100, headers=True, **members):
    kinds = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": percentage,
        "DestinationS3Uri": f"s3://bucket/{prefix}",
        "CaptureOptions": [{"CaptureMode": mode} for mode in modes or ("Input", "Output")],
        **({"CaptureContentTypeHeader": kinds} if headers else {}),
    } | members


def test_data_is_captured_in_sagemakers_layout(cloud, runtime):
    prefix = unique("capture")
    name = serving(cloud, variant(obedient(cloud)), DataCaptureConfig=capture(prefix))
    invoke(runtime, name, "1,2", InferenceId="id-1", CustomAttributes="trace=7")
    invoke(runtime, name, "types", ContentType="application/json")
    invoke(runtime, name, b"\xff\xfe", ContentType="image/png")
    refused(runtime, name, "fail")
    keys, (csv, types, image) = captured(cloud, prefix, 3)
    day = time.strftime("%Y/%m/%d/", time.gmtime())
    assert all(key.startswith(f"{prefix}/{name}/AllTraffic/{day}") for key in keys)
    assert all(len(key.split("/")) == 8 and key.endswith(".jsonl") for key in keys)
    assert csv["captureData"]["endpointInput"] == {
        "observedContentType": "text/csv",
        "mode": "INPUT",
        "data": "1,2",
        "encoding": "CSV",
    }
    assert csv["captureData"]["endpointOutput"]["mode"] == "OUTPUT"
    assert csv["eventVersion"] == "0"
    about = csv["eventMetadata"]
    assert about["inferenceId"] == "id-1" and about["customAttributes"] == ["trace=7"]
    assert about["eventId"] and time.strptime(about["inferenceTime"], "%Y-%m-%dT%H:%M:%SZ")
    assert types["captureData"]["endpointInput"]["encoding"] == "JSON"
    assert types["captureData"]["endpointOutput"]["encoding"] == "JSON"
    assert "inferenceId" not in types["eventMetadata"]
    seen = image["captureData"]["endpointInput"]
    assert seen["encoding"] == "BASE64" and base64.b64decode(seen["data"]) == b"\xff\xfe"


@pytest.mark.parametrize(
    "modes, members",
    [
        (["Input"], {"endpointInput"}),
        (["Output"], {"endpointOutput"}),
        (["InputAndOutput"], {"endpointInput", "endpointOutput"}),
    ],
)
def test_captured_is_what_was_chosen_and_base64_where_no_type_is_named(
    cloud, runtime, modes, members
):
    prefix = unique("capture")
    chosen = capture(prefix, *modes, headers=False)
    del chosen["EnableCapture"]  # left out is on
    name = serving(cloud, variant(obedient(cloud)), DataCaptureConfig=chosen)
    invoke(runtime, name)
    _, (record,) = captured(cloud, prefix, 1)
    assert set(record["captureData"]) == members
    assert {seen["encoding"] for seen in record["captureData"].values()} == {"BASE64"}


def test_captured_is_an_even_share(cloud, runtime):
    prefix = unique("capture")
    chosen = capture(prefix, percentage=25)
    name = serving(cloud, variant(obedient(cloud)), DataCaptureConfig=chosen)
    for number in range(40):
        invoke(runtime, name, f"r {number}")
    time.sleep(0.5)
    _, records = captured(cloud, prefix, 10)
    seen = [int(r["captureData"]["endpointInput"]["data"].split()[1]) for r in records]
    assert sorted(seen) == list(range(3, 40, 4))


def test_nothing_is_captured_where_it_is_off(cloud, runtime):
    prefix = unique("capture")
    chosen = capture(prefix, EnableCapture=False)
    name = serving(cloud, variant(obedient(cloud)), DataCaptureConfig=chosen)
    invoke(runtime, name)
    time.sleep(0.5)
    assert "Contents" not in cloud.s3.list_objects_v2(Bucket="bucket", Prefix=prefix)


@pytest.mark.parametrize("enabled", [True, False])
def test_data_is_captured_in_s3_alone(cloud, enabled):
    chosen = capture("x", EnableCapture=enabled) | {"DestinationS3Uri": "https://bucket/x"}
    made = variant(obedient(cloud))
    if not enabled:
        config(cloud, made, DataCaptureConfig=chosen)
        return
    with pytest.raises(ClientError, match="UnsupportedOperation.*DestinationS3Uri other than s3"):
        config(cloud, made, DataCaptureConfig=chosen)


@pytest.mark.acceptance
def test_what_is_captured_last_is_kept_when_the_server_ends(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_LOCAL_SPEED", "0.1")  # nothing is written before the end
    state = tmp_path / "state"
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        name = serving(cloud, variant(obedient(cloud)), DataCaptureConfig=capture("end"))
        invoke(cloud.client("sagemaker-runtime"), name, "1,2")
        assert "Contents" not in cloud.s3.list_objects_v2(Bucket="bucket", Prefix="end")
    with local_client.attach(state=state) as local:
        _, (record,) = captured(Cloud(local), "end", 1)
        assert record["captureData"]["endpointInput"]["data"] == "1,2"


# Asynchronous requests


@pytest.fixture(scope="module")
def later(cloud):
    output = {"S3OutputPath": "s3://bucket/out", "S3FailurePath": "s3://bucket/failed"}
    client = {"MaxConcurrentInvocationsPerInstance": 1}
    return serving(
        cloud,
        variant(obedient(cloud)),
        AsyncInferenceConfig={"OutputConfig": output, "ClientConfig": client},
    )


def arrives(cloud, uri):
    key = uri.removeprefix("s3://bucket/")

    def there():
        with contextlib.suppress(ClientError):
            return cloud.get(key).decode()

    return until(there)


def test_asynchronous_requests_are_captured(cloud, runtime):
    prefix = unique("capture")
    output = {"OutputConfig": {"S3OutputPath": "s3://bucket/out"}}
    made, chosen = variant(obedient(cloud)), capture(prefix, percentage=50)
    name = serving(cloud, made, DataCaptureConfig=chosen, AsyncInferenceConfig=output)
    for number in range(2):
        answer = runtime.invoke_endpoint_async(
            EndpointName=name, Body=b"1,2", ContentType="text/csv", InferenceId=f"id-{number}"
        )
        arrives(cloud, answer["OutputLocation"])
    (key,), (record,) = captured(cloud, prefix, 1)
    assert key.startswith(f"{prefix}/{name}/AllTraffic/")
    assert record["captureData"]["endpointInput"]["data"] == "1,2"
    assert base64.b64decode(record["captureData"]["endpointOutput"]["data"]) == b"one"
    assert record["eventMetadata"]["inferenceId"] == "id-1"


def test_an_asynchronous_request_goes_through_s3(cloud, runtime, later):
    cloud.put("in/1", "types")
    answer = runtime.invoke_endpoint_async(
        EndpointName=later,
        InputLocation="s3://bucket/in/1",
        ContentType="text/csv",
        Accept="a/b",
        InferenceId="mine",
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["InferenceId"] == "mine"
    assert answer["OutputLocation"].startswith("s3://bucket/out/")
    assert answer["OutputLocation"].endswith(".out")
    assert answer["FailureLocation"].startswith("s3://bucket/failed/")
    assert json.loads(arrives(cloud, answer["OutputLocation"])) == ["text/csv", "a/b"]
    answer = runtime.invoke_endpoint_async(
        EndpointName=later, Body=b"length abc", Filename="f.txt", S3OutputPathExtension="p/q"
    )
    assert answer["OutputLocation"] == "s3://bucket/out/p/q/f.txt" and answer["InferenceId"]
    assert arrives(cloud, answer["OutputLocation"]) == "3"


@pytest.mark.parametrize("body, words", [("fail", "(500)"), (None, "no S3 object")])
def test_an_asynchronous_failure_is_told_in_s3(cloud, runtime, later, body, words):
    key = unique("in")
    if body:
        cloud.put(key, body)
    answer = runtime.invoke_endpoint_async(EndpointName=later, InputLocation=f"s3://bucket/{key}")
    assert words in arrives(cloud, answer["FailureLocation"])
    with pytest.raises(ClientError):
        cloud.get(answer["OutputLocation"].removeprefix("s3://bucket/"))


def test_asynchronous_requests_have_a_limit_in_time(cloud, runtime, later):
    answer = runtime.invoke_endpoint_async(
        EndpointName=later, Body=b"sleep 30", InvocationTimeoutSeconds=1
    )
    assert "timed out" in arrives(cloud, answer["FailureLocation"])
    answer = runtime.invoke_endpoint_async(EndpointName=later, Body=b"length a")
    assert arrives(cloud, answer["OutputLocation"]) == "1"


@pytest.mark.parametrize(
    "member, value",
    [
        *(("RequestTTLSeconds", number) for number in (59, 21601)),
        *(("InvocationTimeoutSeconds", number) for number in (0, 3601)),
    ],
)
def test_asynchronous_requests_ask_for_times_within_awss_limits(cloud, later, member, value):
    lenient = cloud.client("sagemaker-runtime", parameter_validation=False)
    with pytest.raises(ClientError, match=f"ValidationError.*'{value}' at '{member}'"):
        lenient.invoke_endpoint_async(EndpointName=later, Body=b"x", **{member: value})


def test_asynchronous_requests_do_not_wait_for_ever(cloud, runtime, later, tmp_path):
    file = tmp_path / "file"
    first = runtime.invoke_endpoint_async(EndpointName=later, Body=f"await {file}".encode())
    until(lambda: os.path.exists(f"{file}.awaited"))
    late = runtime.invoke_endpoint_async(EndpointName=later, Body=b"x", RequestTTLSeconds=60)
    time.sleep(0.15)  # longer than 60 seconds at this speed
    file.touch()
    assert "waited over 60 s" in arrives(cloud, late["FailureLocation"])
    assert arrives(cloud, first["OutputLocation"]) == "one"


def test_each_kind_of_endpoint_refuses_the_other_kind_of_request(cloud, runtime, name, later):
    assert "InvokeEndpointAsync" in refused(runtime, later)["Error"]["Message"]
    with pytest.raises(ClientError, match="ValidationError.*use InvokeEndpoint"):
        runtime.invoke_endpoint_async(EndpointName=name, InputLocation="s3://bucket/x")
    for members in ({}, {"Body": b"x", "InputLocation": "s3://b/x"}, {"Body": b"x" * 128_001}):
        with pytest.raises(ClientError, match="ValidationError"):
            runtime.invoke_endpoint_async(EndpointName=later, **members)


@pytest.mark.acceptance
def test_an_accepted_request_that_the_server_cannot_finish_is_told_as_failed(tmp_path):
    state = tmp_path / "state"
    output = {"S3OutputPath": "s3://bucket/out", "S3FailurePath": "s3://bucket/failed"}
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        asynchronous = {"OutputConfig": output}
        name = serving(cloud, variant(obedient(cloud)), AsyncInferenceConfig=asynchronous)
        runtime = cloud.client("sagemaker-runtime")
        answer = runtime.invoke_endpoint_async(EndpointName=name, Body=b"sleep 30")
    with local_client.attach(state=state) as local:
        assert "server ended" in arrives(Cloud(local), answer["FailureLocation"])
