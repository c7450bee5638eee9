"""The process of a model: what the scikit-learn container answers, and what an artifact may be."""

import asyncio
import concurrent.futures
import contextlib
import gzip
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time

import pytest
from botocore.exceptions import ClientError
from endpoint_helpers import SCRIPT, config, describe, endpoint, invoke, settled, variant
from local_helpers import IMAGE, ROLE, Cloud, alive, source, unique, until
from sagemaker_emulator import client as local_client
from sagemaker_emulator.hosting import _serve
from sagemaker_emulator.hosting.container import Container, ServingError
from sagemaker_emulator.hosting.fleet import Fleet, FleetHost
from sagemaker_emulator.hosting.variant_fleets import VariantFleets, fleets_on
from sagemaker_emulator.hosting.worker import FORKS

ECHO = """
def model_fn(folder):
    return folder
def input_fn(body, content_type):
    return body, content_type
def predict_fn(data, model):
    return data
def output_fn(prediction, accept):
    return f"{prediction} {accept}", "text/plain"
"""
PREDICTS = """
class Model:
    def predict(self, rows):
        return rows.sum(axis=1)
def model_fn(folder):
    return Model()
"""


@contextlib.contextmanager
def served(tmp_path, script, **environment):
    """A model's process without a server: a connection to it, and what it has printed."""
    (tmp_path / "inference.py").write_text(script)
    ours, theirs = socket.socketpair()
    log = tmp_path / "log"
    environment = {"PATH": os.environ["PATH"]} | environment
    where = (tmp_path, log, tmp_path, tmp_path / "inference.py")
    arguments = (theirs, "A/i-1", environment, *map(str, where))
    process = FORKS.Process(target=_serve.main, args=arguments)
    process.start()
    theirs.close()
    connection = http.client.HTTPConnection("model")
    connection.sock = ours
    ours.settimeout(20)
    try:
        yield connection, lambda: log.read_text()
    finally:
        process.kill()
        process.join(5)
        connection.close()


def ask(connection, body=b"1,2", method="POST", path="/invocations", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


@pytest.mark.acceptance
def test_a_script_gets_what_the_container_gives_it(tmp_path):
    with served(tmp_path, ECHO) as (connection, _):
        status, text, headers = ask(connection, Content_Type="text/csv", Accept="text/csv")
        assert (status, text) == (200, "('1,2', 'text/csv') text/csv")
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        # Text for these two types exactly, bytes for all others; JSON where nothing is said.
        assert ask(connection, Content_Type="text/csv; charset=utf-8")[1].startswith("(b'1,2', ")
        assert ask(connection, Content_Type="TEXT/CSV")[1].startswith("(b'1,2', 'TEXT/CSV')")
        assert ask(connection)[1] == "('1,2', 'application/json') application/json"
        assert ask(connection, Accept="*/*")[1].endswith(" application/json")
    with served(tmp_path, ECHO, SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="x/y") as (connection, _):
        assert ask(connection)[1].endswith(" x/y")
        assert ask(connection, Accept="a/b")[1].endswith(" a/b")


@pytest.mark.parametrize("name", ["sagemaker_project", "boto3"])
def test_a_package_of_the_artifact_wins_over_an_installed_one(tmp_path, name):
    folder = tmp_path / name / "tabular"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("def answer(): return 'its own'")
    script = f"from {name}.tabular import answer\ndef model_fn(f): return answer()\n"
    script += "def input_fn(b, c): return b\ndef predict_fn(d, m): return m\n"
    script += "def output_fn(p, a): return p, a\n"
    with served(tmp_path, script) as (connection, _):
        assert ask(connection)[:2] == (200, "its own")


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/ping", 200),
        ("POST", "/ping", 405),
        ("GET", "/invocations", 405),
        ("GET", "/execution-parameters", 404),
        ("GET", "/elsewhere", 404),
    ],
)
def test_the_paths_of_the_container(tmp_path, method, path, status):
    with served(tmp_path, ECHO) as (connection, _):
        assert ask(connection, None, method, path)[0] == status


def test_transform_fn_takes_the_place_of_the_three(tmp_path):
    script = "def model_fn(f): return 'm'\ndef transform_fn(*given): return str(given), 'a/b'"
    with served(tmp_path, script) as (connection, _):
        status, text, headers = ask(connection, Content_Type="text/csv", Accept="c/d")
        assert (status, text) == (200, "('m', '1,2', 'text/csv', 'c/d')")
        assert headers["Content-Type"] == "a/b"
    with served(tmp_path, f"{script}\ndef input_fn(b, c): return b") as (connection, log):
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(connection)
        assert "transform_fn" in until(log)


def test_what_a_script_lacks_the_container_has(tmp_path):
    with served(tmp_path, PREDICTS) as (connection, _):
        csv = {"Content_Type": "text/csv"}
        assert ask(connection, "1,2\n3,4", **csv)[:2] == (200, "[3.0, 7.0]")
        assert ask(connection, "1,2\n3,4", Accept="text/csv", **csv)[1] == "3.0\n7.0\n"
        assert ask(connection, "[[1, 2], [3, 4]]")[:2] == (200, "[3.0, 7.0]")
        status, text, _ = ask(connection, "1,2\n3,4", Accept="image/png", **csv)
        assert status == 406 and "image/png" in json.loads(text)["error-message"]


@pytest.mark.parametrize("kind", ["application/x-npy", "application/octet-stream", "text/xml"])
def test_npy_and_other_types_are_refused_by_the_containers_reader(tmp_path, kind):
    with served(tmp_path, PREDICTS) as (connection, _):
        status, text, _ = ask(connection, b"\x93NUMPY", Content_Type=kind)
        assert status == 415 and kind in json.loads(text)["error-message"]
        assert ask(connection, "[[1, 2]]")[0] == 200


def test_an_exception_is_a_500_with_its_traceback_in_the_log(tmp_path):
    script = ECHO + "def predict_fn(data, model):\n    print('half a line', end='')\n    1 / 0\n"
    with served(tmp_path, script) as (connection, log):
        status, text, _ = ask(connection)
        assert status == 500 and "Internal Server Error" in text and "ZeroDivision" not in text
        lines = log().splitlines()
        assert "A/i-1 half a line" in lines and "A/i-1 ZeroDivisionError: division by zero" in lines
        assert ask(connection, None, "GET", "/ping")[0] == 200  # it goes on


def test_much_that_is_printed_without_a_line_end_takes_no_longer(tmp_path):
    script = ECHO + (
        "def predict_fn(data, model):\n"
        "    for _ in range(40_000): print('x' * 100, end='')\n"
        "    return data\n"
    )
    with served(tmp_path, script) as (connection, log):
        assert ask(connection, None, "GET", "/ping")[0] == 200
        begun = time.monotonic()
        assert ask(connection)[0] == 200
        assert time.monotonic() - begun < 2
        assert log() == "A/i-1 " + "x" * 4_000_000 + "\n"


def test_a_response_of_werkzeug_goes_out_as_it_is(tmp_path):
    script = ECHO + (
        "def output_fn(prediction, accept):\n"
        "    from werkzeug.wrappers import Response\n"
        "    return Response('no', 418, {'X-Amzn-SageMaker-Custom-Attributes': 'c'})\n"
    )
    with served(tmp_path, script) as (connection, _):
        status, text, headers = ask(connection)
        assert (status, text) == (418, "no")
        assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "c"


def test_an_answer_without_a_body_has_none(tmp_path):
    script = ECHO + (
        "def output_fn(prediction, accept):\n"
        "    from werkzeug.wrappers import Response\n"
        "    return Response('x', 204 if prediction[0] == b'no' else 200)\n"
    )
    with served(tmp_path, script) as (connection, _):
        for kind, status, text in (("no", 204, ""), ("yes", 200, "x"), ("no", 204, "")):
            found = ask(connection, kind.encode(), Content_Type="a/b")
            assert found[:2] == (status, text)
            assert ("Content-Length" in found[2]) == (status == 200)


def test_a_script_finds_what_lies_beside_it_and_nothing_of_ours(tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 7")
    script = (
        "import beside, sys, http.client\n"
        "def model_fn(f): return beside.VALUE\n"
        "def transform_fn(m, *_): return f'{m} {sys.path[0]} {http.__file__}', 'text/plain'"
    )
    with served(tmp_path, script) as (connection, _):
        value, folder, module = ask(connection)[1].split()
        assert (value, folder) == ("7", str(tmp_path))
        assert "sagemaker_emulator" not in module


def test_requests_sent_ahead_are_answered_in_their_order(tmp_path):
    with served(tmp_path, ECHO) as (connection, _):
        head = "POST /invocations HTTP/1.1\r\nHost: m\r\nContent-Length: {}\r\n\r\n{}"
        bodies = [str(number) for number in range(200)]
        connection.sock.sendall("".join(head.format(len(b), b) for b in bodies).encode())
        said = b""
        while said.count(b" application/json") < len(bodies):
            said += connection.sock.recv(65536)
        assert re.findall(r"\('(\d+)'", said.decode()) == bodies


# Endpoints


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    with local_client.attach(state=tmp_path_factory.mktemp("project") / "state") as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        yield cloud


def archive(*members):
    """A tar.gz of (name, content or TarInfo type) pairs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.size = len(content.encode())
                tar.addfile(info, io.BytesIO(content.encode()))
            else:
                info.type, info.linkname = content, "/etc/passwd"
                tar.addfile(info)
    return buffer.getvalue()


def serving(cloud, body, wait=True, **environment):
    """A new endpoint for the bytes of an artifact."""
    key = f"models/{unique('a')}/model.tar.gz"
    if body is not None:
        cloud.put(key, body)
    name = unique("model")
    container = {
        "Image": IMAGE,
        "ModelDataUrl": f"s3://bucket/{key}",
        "Environment": SCRIPT | environment,
    }
    cloud.sm.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    return endpoint(cloud, config(cloud, variant(name)), wait)


def script(text):
    return archive(("code/inference.py", text))


@pytest.mark.acceptance
def test_what_nearly_every_model_imports_is_there_before_it_starts(cloud):
    loaded = ECHO.replace("return data", "import sys; return 'sklearn.ensemble' in sys.modules")
    name = serving(cloud, script(loaded))["EndpointName"]
    assert invoke(cloud, name).startswith("True ")


@pytest.mark.parametrize(
    "body, words",
    [
        (None, ["Failed to download model data", "model.tar.gz"]),
        (b"", ["Failed to extract"]),
        (b"not gzip", ["Failed to extract"]),
        (script(ECHO)[:-20], ["Failed to extract"]),
        (archive(("model.joblib", "x")), ["no script /opt/ml/model/code/inference.py"]),
        (archive(("../evil", "x")), ["'../evil' leads out"]),
        (archive(("code/../../evil", "x")), ["leads out"]),
        (archive(("/evil", "x")), ["'/evil' leads out"]),
        (archive(("link", tarfile.SYMTYPE)), ["'link' is a link"]),
        (archive(("link", tarfile.LNKTYPE)), ["'link' is a link"]),
        (archive(("device", tarfile.CHRTYPE)), ["'device' is a link or a device"]),
        (archive(("pipe", tarfile.FIFOTYPE)), ["'pipe' is a link or a device"]),
        (script("def model_fn(f): raise OSError('no such tree')"), ["ping", "no such tree"]),
        (script("import os; os._exit(3)"), ["ping", "exit code 3"]),
        (script("def input_fn(b, c): return b"), ["provide a model_fn"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",  # not an archive's bytes
)
def test_what_cannot_serve_says_why(cloud, body, words):
    failed = serving(cloud, body)
    assert failed["EndpointStatus"] == "Failed"
    assert all(word in failed["FailureReason"] for word in words), failed["FailureReason"]
    assert len(failed["FailureReason"]) <= 1024
    folder = cloud.local.state / "endpoints"
    assert not any(path.name == "evil" for path in cloud.local.state.parent.rglob("*"))
    cloud.sm.delete_endpoint(EndpointName=failed["EndpointName"])
    assert folder  # and nothing of it stays, see below


@pytest.mark.parametrize("number, size", [(10_001, 0), (1, 11 * 2**30)])
def test_an_archive_that_unpacks_to_too_much_is_refused(cloud, number, size):
    headers = []
    for count in range(number):
        info = tarfile.TarInfo(str(count))
        info.size = size
        headers.append(info.tobuf())
    bomb = gzip.compress(b"".join(headers) + bytes(1024), 1)
    failed = settled(cloud, serving(cloud, bomb, wait=False), seconds=60)
    assert "too many files, or unpacks to too much" in failed["FailureReason"]


def test_a_script_may_come_from_its_own_archive(cloud):
    submitted = source(cloud, mine=ECHO)
    made = serving(
        cloud,
        archive(("model.txt", "x")),
        SAGEMAKER_PROGRAM="mine.py",
        SAGEMAKER_SUBMIT_DIRECTORY=submitted,
    )
    assert made["EndpointStatus"] == "InService", made
    assert "text/csv" in invoke(cloud, made["EndpointName"])


def test_a_model_that_does_not_name_its_script_is_refused_as_the_container_does(cloud):
    failed = serving(cloud, script(ECHO), SAGEMAKER_PROGRAM="")
    assert failed["EndpointStatus"] == "Failed"
    assert "SAGEMAKER_PROGRAM" in failed["FailureReason"]


ENVIRONMENT = (
    "import json, os\ndef model_fn(f): return 1\n"
    "def transform_fn(*_): return json.dumps(dict(os.environ, cwd=os.getcwd())), 'text/plain'"
)


@pytest.mark.acceptance
def test_a_model_sees_its_own_environment_and_little_of_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    with local_client.attach(state=tmp_path / "state") as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        made = serving(cloud, script(ENVIRONMENT), MINE="/opt/ml/model/x", OMP_NUM_THREADS="3")
        seen = json.loads(invoke(cloud, made["EndpointName"]))
        plain = serving(cloud, script(ENVIRONMENT))
        assert json.loads(invoke(cloud, plain["EndpointName"]))["OMP_NUM_THREADS"] == "1"
        assert seen["OMP_NUM_THREADS"] == "3" and "MY_TOKEN" not in seen
        assert seen["MINE"].endswith("/opt/ml/model/x") and seen["MINE"] != "/opt/ml/model/x"
        assert seen["AWS_ENDPOINT_URL"] == cloud.url and seen["HOME"] == os.environ["HOME"]
        folder = seen["cwd"]
        assert os.path.isdir(folder)
        cloud.sm.delete_endpoint(EndpointName=made["EndpointName"])
        until(lambda: not os.path.exists(folder))
    assert not (tmp_path / "state/endpoints").exists()


WORKER = "import os\ndef model_fn(f): return 1\ndef transform_fn(m, b, *_):\n"
KILLABLE = WORKER + "    if 'die' in b: os._exit(9)\n    return str(os.getpid()), 'text/plain'"


def test_what_a_model_prints_is_told_by_the_logs(cloud):
    talks = "print('loaded')\ndef model_fn(f): return 1\n"
    made = serving(cloud, script(talks + "def transform_fn(m, b, *_): print(b); return b, 'a/b'"))
    name = made["EndpointName"]
    invoke(cloud, name, b"first\nsecond")
    group = f"/aws/sagemaker/Endpoints/{name}"
    events = cloud.client("logs").filter_log_events(logGroupName=group)["events"]
    assert [event["message"] for event in events] == ["loaded", "first", "second"]
    assert events[0]["logStreamName"].startswith("AllTraffic/i-")
    log = cloud.local.state / f"logs/Endpoints/{name}.log"
    assert f"{events[0]['logStreamName']} first\n" in log.read_text()
    printed = subprocess.run(
        [sys.executable, "-m", "sagemaker_emulator", "logs", name, "--state", cloud.local.state],
        capture_output=True,
        text=True,
    )
    assert "second" in printed.stdout


def test_the_logs_outlive_the_endpoint(cloud):
    name = serving(cloud, script(ECHO + "print('loaded')"))["EndpointName"]
    cloud.sm.delete_endpoint(EndpointName=name)
    until(lambda: not cloud.sm.list_endpoints(NameContains=name)["Endpoints"])
    group = f"/aws/sagemaker/Endpoints/{name}"
    events = cloud.client("logs").filter_log_events(logGroupName=group)["events"]
    assert [event["message"] for event in events] == ["loaded"]


def test_a_worker_that_dies_costs_its_request_and_nothing_else(cloud):
    name = serving(cloud, script(KILLABLE))["EndpointName"]
    first = invoke(cloud, name)
    with pytest.raises(ClientError) as error:
        invoke(cloud, name, b"die")
    said = error.value.response
    assert said["Error"]["Code"] == "ModelError" and said["OriginalStatusCode"] == 502
    assert invoke(cloud, name) != first
    assert describe(cloud, name)["EndpointStatus"] == "InService"
    idle = int(invoke(cloud, name))
    os.kill(idle, signal.SIGKILL)

    def another_one_answers():
        with contextlib.suppress(ClientError):  # the end of the first is seen a moment later
            return int(invoke(cloud, name)) != idle

    until(another_one_answers)


def test_requests_sent_ahead_of_the_one_that_kills_the_worker_are_answered(cloud):
    dies = "    if 'die' in b: import time; time.sleep(0.5); os._exit(9)\n    return b, 'a/b'"
    name = serving(cloud, script(WORKER + dies))["EndpointName"]
    for _ in range(5):  # the model is known to be quick then, and gets requests ahead
        invoke(cloud, name, b"x")
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        last = pool.submit(invoke, cloud, name, b"die")
        time.sleep(0.1)
        words = [f"{number}".encode() for number in range(8)]
        answers = list(pool.map(lambda word: invoke(cloud, name, word), words))
        assert [answer.encode() for answer in answers] == words
        with pytest.raises(ClientError, match="502"):
            last.result()


def test_the_death_of_a_worker_whose_model_has_forked_is_noticed(cloud):
    forks = "import time\nif not os.fork(): time.sleep(20); os._exit(0)\n"
    name = serving(cloud, script(f"import os\n{forks}{KILLABLE}"))["EndpointName"]
    first = invoke(cloud, name)
    os.kill(int(first), signal.SIGKILL)
    with contextlib.suppress(ClientError):  # it may reach the dead one
        invoke(cloud, name)
    assert invoke(cloud, name) != first


# Fleets without a server around them


@pytest.fixture
def host(tmp_path):
    """A loop for fleets, and a model that takes its time to start."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    slow = script("import time; time.sleep(0.5)\ndef model_fn(f): return 1")
    host = FleetHost(tmp_path, loop, lambda bucket, key: slow, lambda region: {})
    yield host
    host.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_model_has_the_time_to_start_that_its_variant_says(host):
    shown = {"VariantName": "A", "Image": IMAGE, "ModelDataUrl": "s3://b/k", "Environment": SCRIPT}
    snapshot = {"Variants": [shown | {"Count": 1, "StartupSeconds": 0.1}], "Shadows": []}
    fleets = VariantFleets(fleets_on(host), "us-east-1", "e", snapshot)
    with pytest.raises(ServingError, match="did not pass the ping health check"):
        fleets.resize()
    assert not fleets.fleets["A"].workers and not host.fleets
    snapshot["Variants"][0]["StartupSeconds"] = 90
    fleets = VariantFleets(fleets_on(host), "us-east-1", "e", snapshot)
    fleets.resize()
    assert len(fleets.fleets["A"].workers) == 1
    fleets.stop()


def test_a_fleet_that_is_stopped_as_it_starts_stays_stopped(host):
    fleet = Fleet(host, "us-east-1", "e", "A", Container(IMAGE, "s3://b/k", SCRIPT), 1, lazy=True)
    with fleet.lock:  # it is about to be stopped, and a request has come
        starting = threading.Thread(target=fleet._start_lazily)
        starting.start()
        fleet.stop()
    starting.join(10)
    assert fleet.stopping and not fleet.workers
    assert fleet not in host.fleets


@pytest.mark.parametrize("end", [pytest.param("politely", marks=pytest.mark.acceptance), "kill -9"])
def test_no_worker_outlives_the_server(tmp_path, end):
    state = tmp_path / "state"
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        cloud.s3.create_bucket(Bucket="bucket")
        made = serving(cloud, script(KILLABLE))
        worker = int(invoke(cloud, made["EndpointName"]))
        if end == "kill -9":
            os.kill(json.loads((state / "server.json").read_text())["pid"], signal.SIGKILL)
    until(lambda: not alive(worker))
    with local_client.attach(state=state) as local:
        # The endpoint is back, and the first request starts its worker.
        cloud = Cloud(local)
        assert describe(cloud, made["EndpointName"])["EndpointStatus"] == "InService"
        assert int(invoke(cloud, made["EndpointName"])) != worker


@pytest.mark.parametrize(
    "speed",
    [
        "0",
        *(
            pytest.param(speed, marks=pytest.mark.acceptance)
            for speed in ("0.009", "10001", "fast", "nan")
        ),
    ],
)
def test_a_speed_that_is_none_is_one_line(tmp_path, speed):
    ended = subprocess.run(
        [sys.executable, "-m", "sagemaker_emulator", "up", "--speed", speed],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert repr(speed) in ended.stderr and "0.01 to 10000" in ended.stderr


def test_a_server_tells_its_speed(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_LOCAL_SPEED", "30")
    with local_client.attach(state=tmp_path / "state"):
        assert json.loads((tmp_path / "state/server.json").read_text())["speed"] == 30
