"""Captured records: their bytes, a killed server, a disk that is full, and their way to S3."""

import asyncio
import base64
import errno
import http.client
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
import urllib.parse
from functools import partial
from types import SimpleNamespace

import pytest
from endpoint_helpers import endpoint, simple
from hypothesis import given, settings
from hypothesis import strategies as st
from local_helpers import Cloud, until
from sagemaker_emulator import client as local_client
from sagemaker_emulator.api.http import Later
from sagemaker_emulator.api.other_services import OtherServices
from sagemaker_emulator.api.request import Response
from sagemaker_emulator.errors import as_aws_error
from sagemaker_emulator.hosting import capture_delivery, data_capture
from sagemaker_emulator.hosting.capture_record import CaptureFormat, Exchange
from sagemaker_emulator.hosting.clock import Clock

ID = "x-amzn-sagemaker-inference-id"
KINDS = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}


def config(*modes, kinds=KINDS):
    return {
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": "s3://bucket/captured/",
        "CaptureOptions": [{"CaptureMode": mode} for mode in modes or ("Input", "Output")],
        **({"CaptureContentTypeHeader": kinds} if kinds else {}),
    }


# Records


def payload(mode, content_type, data, kinds):
    encoding = "BASE64"
    kind = (content_type or "").split(";")[0].strip().lower()
    for name in ("Json", "Csv"):
        if kind in (kinds or {}).get(f"{name}ContentTypes", ()):
            encoding = name.upper()
    try:
        text = None if encoding == "BASE64" else data.decode()
    except UnicodeDecodeError:
        text, encoding = None, "BASE64"
    text = base64.b64encode(data).decode() if text is None else text
    return {"observedContentType": content_type, "mode": mode, "data": text, "encoding": encoding}


TYPES = st.sampled_from(
    [None, "text/csv", "Text/CSV; charset=utf-8", "application/json;charset=x", 'a"b', "é"]
)
DATA = st.one_of(
    st.binary(max_size=40), st.text(max_size=40).map(str.encode), st.just(b'1,"a"\n2,\\\r\n')
)


@pytest.mark.fast
@given(
    asked=TYPES,
    body=DATA,
    told=TYPES,
    content=DATA,
    modes=st.sampled_from([("Input",), ("Output",), ("Input", "Output"), ("InputAndOutput",)]),
    about=st.dictionaries(st.sampled_from(["custom-attributes", "inference-id"]), st.text()),
    kinds=st.sampled_from([None, KINDS, {"JsonContentTypes": ["application/json"]}]),
)
@settings(max_examples=300, deadline=None)
def test_a_record_is_what_json_would_be(asked, body, told, content, modes, about, kinds):
    headers = {f"x-amzn-sagemaker-{name}": value for name, value in about.items()}
    headers |= {"content-type": asked} if asked else {}
    exchange = Exchange(headers, body, {"content-type": told} if told else {}, content)
    data = {}
    if "Input" in modes[0]:
        data["endpointInput"] = payload("INPUT", asked, body, kinds)
    if "Output" in modes[-1]:
        data["endpointOutput"] = payload("OUTPUT", told, content, kinds)
    metadata = {"eventId": "event-1"}
    if about.get("custom-attributes"):
        metadata["customAttributes"] = [about["custom-attributes"]]
    if about.get("inference-id"):
        metadata["inferenceId"] = about["inference-id"]
    metadata["inferenceTime"] = "2026-01-02T03:04:05Z"
    wanted = {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}
    found = CaptureFormat(config(*modes, kinds=kinds)).line(exchange, 1767323045.9, b"event-1")
    assert found == json.dumps(wanted).encode() + b"\n"


# A server


def capturing(cloud):
    cloud.s3.create_bucket(Bucket="bucket")
    made = endpoint(cloud, simple(cloud, DataCaptureConfig=config()))
    assert made["EndpointStatus"] == "InService", made
    return made["EndpointName"]


def records(cloud):
    """The records that are in S3, by inference ID; each line must be a whole one."""
    found = {}
    for page in cloud.s3.get_paginator("list_objects_v2").paginate(
        Bucket="bucket", Prefix="captured/"
    ):
        for item in page.get("Contents", []):
            for line in cloud.get(item["Key"]).decode().splitlines():
                record = json.loads(line)
                found[record["eventMetadata"]["inferenceId"]] = record
    return found


class Load(threading.Thread):
    """Requests one after another until the server is gone; `acknowledged` are those answered."""

    def __init__(self, cloud, name, label):
        super().__init__(daemon=True)
        address = urllib.parse.urlsplit(cloud.url)
        self.connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        self.path, self.label = f"/endpoints/{name}/invocations", label
        self.headers = cloud.token | {"Content-Type": "text/csv", "Host": address.netloc}
        self.acknowledged = []

    def run(self):
        number = 0
        while True:
            number += 1
            name = f"{self.label}-{number}"
            try:
                self.connection.request("POST", self.path, name, self.headers | {ID: name})
                answer = self.connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                return
            assert answer.status == 200
            self.acknowledged.append(name)


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.acceptance)])
def test_no_acknowledged_record_is_lost_when_the_server_is_killed(tmp_path, rounds):
    state, acknowledged = tmp_path / "state", set()
    with local_client.attach(state=state) as local:
        name = capturing(Cloud(local))
    for number in range(rounds):
        with local_client.attach(state=state) as local:
            loads = [Load(Cloud(local), name, f"{number}-{client}") for client in range(4)]
            for load in loads:
                load.start()
            until(lambda loads=loads: sum(len(load.acknowledged) for load in loads) > 400, 60)
            os.kill(json.loads((state / "server.json").read_text())["pid"], signal.SIGKILL)
            for load in loads:
                load.join()
                acknowledged.update(load.acknowledged)
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        until(lambda: not list((state / "capture").iterdir()), 60)
        kept = records(cloud)
        assert acknowledged <= set(kept)
        assert all(r["captureData"]["endpointInput"]["data"] == id for id, r in kept.items())


@pytest.mark.acceptance
def test_requests_are_answered_while_nothing_can_be_written(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "lock").touch()
    (state / "capture").touch()  # where a folder would be
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        name, runtime = capturing(cloud), cloud.client("sagemaker-runtime")
        for number in range(3):
            answer = runtime.invoke_endpoint(EndpointName=name, Body=b"x", InferenceId=f"{number}")
            assert answer["Body"].read() == b"one"
        assert (state / "server.log").read_text().count("data capture: cannot write to") == 1
        (state / "capture").unlink()
        runtime.invoke_endpoint(EndpointName=name, Body=b"x", InferenceId="again")
        assert set(until(lambda: records(cloud))) == {"again"}


@pytest.mark.acceptance
def test_captured_files_wait_while_the_disk_is_too_full_for_s3(tmp_path):
    state = tmp_path / "state"
    with local_client.attach(state=state) as local:
        cloud = Cloud(local)
        name, runtime = capturing(cloud), cloud.client("sagemaker-runtime")
        with sqlite3.connect(state / "state.db") as database:
            full = "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
            database.execute(f"CREATE TRIGGER full BEFORE INSERT ON journal {full}")
        runtime.invoke_endpoint(EndpointName=name, Body=b"x", InferenceId="1")
        until(lambda: "cannot put" in (state / "server.log").read_text())
        os.kill(json.loads((state / "server.json").read_text())["pid"], signal.SIGKILL)
    with sqlite3.connect(state / "state.db") as database:
        database.execute("DROP TRIGGER full")
    with local_client.attach(state=state) as local:
        assert set(until(lambda: records(Cloud(local)))) == {"1"}


# In this process


NO_BUCKET = Response(
    *(404, []),
    b"<Error><Code>NoSuchBucket</Code><Message>the bucket does not exist</Message></Error>",
)


class Capturing:
    """Data capture without a server: `capture` gets records, `objects` is S3."""

    def __init__(self, folder, seconds=3600.0):
        self.loop = asyncio.new_event_loop()
        self.clock = Clock(data_capture.CAPTURE_SECONDS / seconds)
        self.objects, self.answered = {}, []
        self.refusals = {"missing": NO_BUCKET}  # S3's answers by bucket
        self.capture = data_capture.DataCapture(folder, self.put, self.loop, self.clock)

    def put(self, bucket, key, content):
        answer = self.refusals.get(bucket, Response(200))
        s3 = SimpleNamespace(call=lambda *args, **members: answer)
        OtherServices.write_object(s3, bucket, key, content)
        self.objects[key] = content

    def add(self, *bodies, **members):
        """Capture requests in one turn of the loop; return when they are answered."""
        chosen = CaptureFormat(config() | members)
        for body in bodies:
            exchange = Exchange({"content-type": "text/csv"}, body, {}, b"")
            answer = partial(self.answered.append, body)
            self.loop.call_soon(self.capture.add, chosen, "e", "A", exchange, answer)
        until(lambda: self.turn() and set(bodies) <= set(self.answered))

    def turn(self):
        self.loop.run_until_complete(asyncio.sleep(0))
        return True

    def end(self):
        """End capture, and return what S3 got."""
        thread = threading.Thread(target=self.loop.run_forever)
        thread.start()
        until(self.loop.is_running)
        self.capture.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        thread.join()
        self.loop.close()
        lines = [line for content in self.objects.values() for line in content.splitlines()]
        return [json.loads(line)["captureData"]["endpointInput"]["data"].encode() for line in lines]


def test_an_answer_waits_until_its_record_is_written(tmp_path, monkeypatch):
    capturing, order = Capturing(tmp_path), []
    monkeypatch.setattr(os, "write", lambda *_, write=os.write: order.append("write") or write(*_))
    chosen, exchange = CaptureFormat(config()), Exchange({}, b"", {}, b"")
    for _ in range(3):
        capturing.capture.add(chosen, "e", "A", exchange, lambda: order.append("answer"))
    until(lambda: capturing.turn() and "answer" in order)
    assert order == ["write", "write", "answer", "answer", "answer"]  # the URI, three lines
    capturing.capture.add(chosen, "e", "A", exchange, lambda: order.append("answer"), at_once=True)
    assert order[5:] == ["write", "answer"]


def test_a_full_disk_is_told_once_and_stops_no_answer(tmp_path, monkeypatch, capsys):
    capturing, room = Capturing(tmp_path), 1000

    def write(descriptor, content, write=os.write):
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, content[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write)
    bodies = [b"%03d" % number for number in range(20)]
    capturing.add(*bodies)
    opened = len(os.listdir("/dev/fd"))
    capturing.add(b"more")
    assert capturing.answered == [*bodies, b"more"] and len(os.listdir("/dev/fd")) == opened
    room = 10**6
    monkeypatch.setattr(data_capture, "QUIET_SECONDS", 0)
    capturing.add(b"again")
    kept = capturing.end()
    assert kept == [*bodies[: len(kept) - 1], b"again"] and 1 < len(kept) < 10
    told = capsys.readouterr().err.splitlines()
    lost = len(bodies) + 2 - len(kept)
    assert len(told) == 2 and "No space left on device" in told[0]
    assert told[1] == f"data capture: writing works again; {lost} records were lost"


class FullLog:
    """A log on a disk that is full."""

    def write(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    flush = write


def test_a_full_disk_that_has_the_log_too_stops_no_answer(tmp_path, monkeypatch):
    capturing, full = Capturing(tmp_path), True

    def write(descriptor, content, write=os.write):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content)

    capturing.loop.set_exception_handler(lambda loop, context: pytest.fail(str(context)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        patch.setattr(sys, "stderr", FullLog())
        capturing.add(b"1", b"2")
        assert as_aws_error(RuntimeError()).status == 500
        full = False
        capturing.add(b"3")
    assert capturing.answered == [b"1", b"2", b"3"] and capturing.end() == [b"3"]


def test_answers_are_given_once_whatever_happens_to_their_records(tmp_path, monkeypatch):
    capturing, answers = Capturing(tmp_path), []
    chosen, exchange = CaptureFormat(config()), Exchange({}, b"", {}, b"")

    def request(name):
        later = Later()
        later.on_answer = lambda answer: answers.append((name, answer.status))
        give = partial(later.set_answer, Response(200))
        try:
            capturing.capture.add(chosen, "e", "A", exchange, give, at_once=True)
        except ZeroDivisionError:  # as the runtime does
            later.set_answer(Response(500))

    with monkeypatch.context() as patch:
        patch.setattr(data_capture.CaptureFile, "write", lambda self: 1 / 0)
        request("1")
    request("2")
    assert answers == [("1", 200), ("2", 200)]


def test_a_request_has_one_answer():
    later, answers = Later(), []
    later.on_answer = answers.append
    for status in (200, 500):
        later.set_answer(Response(status))
    assert [answer.status for answer in answers] == [200] and later.answer.status == 200


def test_a_cut_line_is_left_out_after_a_kill(tmp_path):
    capturing = Capturing(tmp_path)
    capturing.add(b"1", b"2")
    (path,) = tmp_path.iterdir()
    with open(path, "ab") as file:
        file.write(path.read_bytes().splitlines()[1][:20])
    (tmp_path / "7.done").write_bytes(b"s3://bucket/ha")  # killed while it was begun
    again = Capturing(tmp_path)
    again.add(b"3")
    assert (tmp_path / "8.open").exists()
    assert again.end() == [b"1", b"2", b"3"] and not list(tmp_path.iterdir())


def test_a_file_ends_after_its_time_and_its_size(tmp_path, monkeypatch):
    capturing = Capturing(tmp_path, seconds=0.01)
    capturing.add(b"1")
    until(lambda: capturing.turn() and (tmp_path / "1.done").exists())
    monkeypatch.setattr(data_capture, "MAX_FILE", 1000)
    capturing.add(*(b"%200d" % number for number in range(5)))
    capturing.add(b"7")
    assert (tmp_path / "2.done").exists() and (tmp_path / "3.open").exists()
    assert len(capturing.end()) == 7 and len(capturing.objects) == 3


def test_nothing_is_put_into_s3_while_there_is_little_room(tmp_path, monkeypatch, capsys):
    capturing = Capturing(tmp_path)
    usage = SimpleNamespace(free=2**20)
    monkeypatch.setattr(capture_delivery.shutil, "disk_usage", lambda path: usage)
    capturing.add(b"1")
    assert capturing.end() == [] and (tmp_path / "1.done").exists()
    assert capsys.readouterr().err.count("No space left on device; it is kept") == 1
    usage.free = 2**40
    assert Capturing(tmp_path).end() == [b"1"]


def test_a_missing_bucket_is_told_and_holds_up_nothing(tmp_path, capsys):
    capturing = Capturing(tmp_path)
    capturing.add(b"1", b"2", DestinationS3Uri="s3://missing")
    capturing.add(b"3")
    assert capturing.end() == [b"3"] and not list(tmp_path.iterdir())
    assert "NoSuchBucket: the bucket does not exist; its 2 records are dropped" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("body", [b"<Error><Code>SlowDown</Code></Error>", b"", b"not XML"])
def test_records_are_kept_while_s3_fails_and_hold_up_nothing(tmp_path, capsys, body):
    capturing = Capturing(tmp_path)
    capturing.refusals["failing"] = Response(503, [], body)
    capturing.add(b"1", DestinationS3Uri="s3://failing")
    capturing.add(b"2")
    assert capturing.end() == [b"2"] and [path.name for path in tmp_path.iterdir()] == ["1.done"]
    assert capsys.readouterr().err.count("it is kept, and tried again") == 1
    assert Capturing(tmp_path).end() == [b"1"] and not list(tmp_path.iterdir())


def test_what_cannot_be_put_holds_up_nothing(tmp_path, capsys):
    lasting = {"gone": b"", "failing": b"s3://failing/k\nr\n", "web": b"https://bucket/k\nr\n"}
    clock, put = UnderLoad(), []
    clock.rate = 0

    def write(bucket, key, content):
        if bucket == "failing":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        put.append(key)

    delivery = capture_delivery.Delivery(write, lambda: clock.records, clock)
    for number, content in enumerate([*lasting.values(), b"s3://bucket/good\nr\n"]):
        path = tmp_path / f"{number}.done"
        path.write_bytes(content)
        delivery.add(path)
    (tmp_path / "0.done").unlink()
    threading.Thread(target=delivery.run, daemon=True).start()
    until(lambda: [path.name for path in tmp_path.iterdir()] == ["1.done"])
    tried = clock.time
    until(lambda: clock.time > tried + 10 * capture_delivery.RETRY_SECONDS)
    told = capsys.readouterr().err.splitlines()
    assert put == ["good"] and len(told) == 3
    assert "0.done is gone, and its records are lost" in told[0]
    assert "Input/output error; it is kept, and tried again" in told[1]
    assert "is not an s3:// URI; its 1 records are dropped" in told[2]
    delivery.putting.acquire()  # the thread tries no more


def test_records_whose_folder_is_removed_are_told_to_be_lost(tmp_path, capsys):
    folder = tmp_path / "capture"
    capturing = Capturing(folder)
    capturing.add(b"1")
    shutil.rmtree(folder)
    assert capturing.end() == []
    assert "1.open is gone, and its records are lost" in capsys.readouterr().err


class UnderLoad(Clock):
    """Time in which `rate` records a second come."""

    time = 0.0
    records = 0

    def monotonic(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds
        self.records += round(seconds * self.rate)


@pytest.mark.parametrize("rate, waits", [(0, 1), (100, 1), (5000, capture_delivery.LATEST_SECONDS)])
def test_files_are_put_while_few_records_come_and_not_too_late(tmp_path, rate, waits):
    clock, put = UnderLoad(), []
    clock.rate = rate
    delivery = capture_delivery.Delivery(
        lambda *_: put.append(clock.time), lambda: clock.records, clock
    )
    (tmp_path / "1.done").write_bytes(b"s3://bucket/key\nrecord\n")
    delivery.add(tmp_path / "1.done")
    threading.Thread(target=delivery.run, daemon=True).start()
    until(lambda: not (tmp_path / "1.done").exists())
    assert put and waits - 1 <= put[0] <= waits + 1
