"""Who deploys right now, and what was deployed: lock and ledger, held by several and damaged."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
from boundary_helpers import changes, kill, ledger_of, lock_key, locked, run, together
from deploy_helpers import BUCKET, INFERENCE, artifact, changing, s3_later
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from sagemaker_emulator import testing as faults
from sagemaker_project.clock import Clock
from sagemaker_project.errors import LedgerError

ELSEWHERE = {"Host": "build-7", "Machine": "0123 pid:[4026531836]"}
COMMANDS = ("promote", "rollback", "cleanup", "test", "status", "history")


def owned(place, **changed):
    """Return the stage's lock as another command has written it just now."""
    from sagemaker_project.deploy import lock

    owner = {
        "Version": 1,
        "By": "arn:aws:iam::123456789012:user/ann",
        "Host": socket.gethostname(),
        "Machine": lock.machine(),
        "Pid": os.getpid(),
        "What": "promote version 7",
        "Since": "2026-01-02T03:04:05.678+00:00",
        "LeaseSeconds": 180,
        "Id": "1",
    }
    body = json.dumps({k: v for k, v in (owner | changed).items() if v is not None}).encode()
    place.put(lock_key(place), body)
    return body


def lock_of(place):
    return place.s3.get_object(Bucket=BUCKET, Key=lock_key(place))["Body"].read()


def promote(place, arn):
    return place.deploy("promote", "--model-package-arn", arn)


def words(place, command):
    return (command, "--latest-approved") if command == "promote" else (command,)


def only_locks(place, calls):
    """Whether a command changed nothing but the lock, which it gave back."""
    key = f"/{BUCKET}/{lock_key(place)}"
    return all(call["request"].partition("?")[0] == key for call in changing(calls))


@pytest.fixture
def ended():
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def living():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.stdin.close()
    process.wait()


# One at a time


def test_p25_a_promotion_in_progress_is_named_and_nothing_is_done(place):
    place.register()
    mine = owned(place, **ELSEWHERE)
    for command in ("promote", "rollback"):
        result, calls = place.logged(*words(place, command))
        assert result["ExitCode"] == 4, result
        assert (
            "promote version 7 is in progress by arn:aws:iam::123456789012:user/ann on build-7"
            " since 2026-01-02T03:04:05" in result["Message"]
        )
        assert only_locks(place, calls)
    assert (place.resources(), place.entries(), lock_of(place)) == ([], [], mine)


@pytest.mark.acceptance
def test_p25_twenty_promotions_at_once_leave_a_linear_history(place):
    """Five each of four versions, again and again until each is done or too late.

    Row 44 of the bad inputs as well.
    """
    arns = [place.register(factor=2 + number) for number in range(4)]
    commands = [("promote", "--model-package-arn", arn) for arn in arns for _ in range(5)]
    faults.clear_calls(place.cloud.local)
    results = together(place, commands, seconds=300)
    busy = [message for result in results for message in result["Busy"]]
    assert busy
    for message in busy:
        assert "is in progress by" in message or "run again" in message
    for result in results:
        late = "is older than version" in result["Message"]
        assert result["ExitCode"] == (3 if late else 0), result

    made = [c["operation"] for c in faults.calls(place.cloud.local) if c["service"] == "sagemaker"]
    entries = place.deploy("history")["Entries"]  # each follows the one before, or it says 5
    assert [entry["Kind"] for entry in entries] == ["Started", "Promoted"] * (len(entries) // 2)
    versions = [entry["Version"] for entry in entries]
    assert versions[::2] == versions[1::2] == sorted(set(versions))
    assert place.version() == 4
    assert not locked(place)
    for operation in ("CreateModel", "CreateEndpointConfig"):
        assert made.count(operation) == len(entries) // 2
    assert made.count("CreateEndpoint") + made.count("UpdateEndpoint") == len(entries) // 2


def slow(seconds, factor=2):
    """A model that takes its time over each request."""
    begin = "def predict_fn(rows, model):"
    return artifact(
        factor, inference=INFERENCE.replace(begin, f"{begin}\n    time.sleep({seconds})")
    )


def lock_writes(calls):
    return [c for c in calls if c["operation"] == "PutObject" and "/lock.json" in c["request"]]


@pytest.mark.acceptance
def test_p25_the_lock_is_renewed_while_the_new_version_is_tried(place, monkeypatch):
    from sagemaker_project.deploy import lock

    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.05)
    arn = place.register(body=slow(0.15))
    result, calls = place.logged("promote", "--model-package-arn", arn)
    assert result["ExitCode"] == 0, result
    looks = [n for n, call in enumerate(calls) if call["operation"] == "DescribeEndpoint"]
    assert len(lock_writes(calls[looks[-2] : looks[-1]])) >= 3  # the last one is the last look
    assert calls[-1]["operation"] == "DeleteObject" and calls[-1]["status"] == 204
    assert not locked(place)


@pytest.mark.acceptance
@pytest.mark.parametrize("operation", ["UpdateEndpoint", "InvokeEndpoint"])
def test_p25_a_promotion_that_lost_its_lock_stops(place, monkeypatch, operation):
    """A command that slept longer than its lease finds another one at work."""
    from sagemaker_project.deploy import lock

    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.05)
    promote(place, place.register())
    arn = place.register(factor=3, body=slow(0.2, factor=3))
    commands = ("promote", "--model-package-arn", arn)

    def steal(_):
        owned(place, **ELSEWHERE)

    ended = run(place, commands, at=operation, act=steal, behind=operation == "UpdateEndpoint")
    assert ended.result["ExitCode"] == 5, ended.result
    assert "was taken over while this deployment still ran" in ended.result["Message"]
    assert "deploy-model status" in ended.result["Message"]
    after = [c for c in ended.calls[ended.boundaries.index(operation) + 1 :] if changes(c)]
    assert set(after) == {"PutObject lock.json", "DeleteObject lock.json"}  # all failed
    assert json.loads(lock_of(place))["Host"] == "build-7"
    assert ledger_of(place).pending["Action"] == "promote"


def test_p25_a_lock_that_is_gone_is_lost(place, monkeypatch):
    """S3 answers 404 to If-Match where there is no object."""
    from sagemaker_project.deploy import lock

    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.01)
    promote(place, place.register())
    arn = place.register(factor=3)
    gone = {"code": "NoSuchKey", "message": "The specified key does not exist.", "status": 404}
    place.inject("PutObject", "error", service="s3", after=1, **gone)
    result = promote(place, arn)
    assert result["ExitCode"] == 5, result
    assert "was taken over while this deployment still ran" in result["Message"]
    assert place.version() == 1


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_p25_a_write_that_met_another_one_is_tried_again(place, code):
    """A 409 does not say which write was first: of the lock, then of the first entry."""
    arn = place.register()
    told = {"code": code, "message": "A conflicting operation is in progress.", "status": 409}
    for after in (0, 1):
        place.inject("PutObject", "error", service="s3", after=after, **told)
    assert promote(place, arn)["ExitCode"] == 0
    assert [entry["Kind"] for entry in place.entries()] == ["Started", "Promoted"]
    assert not locked(place)


# A lock whose owner is gone


def test_p8_the_lock_of_a_killed_process_is_taken_over_at_once(place):
    arn = place.register()
    ended = run(place, ("promote", "--model-package-arn", arn), at="CreateModel", act=kill)
    assert ended.signal == signal.SIGKILL
    assert locked(place)
    assert promote(place, arn)["ExitCode"] == 0
    assert not locked(place)


def test_p25_a_living_process_of_this_machine_keeps_its_lock(place, living):
    owned(place, Pid=living)
    assert promote(place, place.register())["ExitCode"] == 4


def test_p25_a_process_of_another_machine_keeps_its_lock_for_its_lease(place, ended):
    """Build machines may share a host name: their processes are none of ours."""
    arn = place.register()
    owned(place, Pid=ended, Machine="another")
    assert promote(place, arn)["ExitCode"] == 4
    owned(place, Pid=ended, Host="another")  # both were started from one snapshot
    assert promote(place, arn)["ExitCode"] == 4
    owned(place, Pid=ended)
    assert promote(place, arn)["ExitCode"] == 0


@pytest.mark.parametrize("days", [pytest.param(-1, marks=pytest.mark.acceptance), 1])
def test_p25_s3_decides_whether_a_lease_is_over_and_not_the_clock_of_this_machine(place, days):
    class Wrong(Clock):
        def now(self):
            return super().now() + timedelta(days=days)

    place.clock = Wrong()
    arn = place.register()
    owned(place, **ELSEWHERE)
    assert promote(place, arn)["ExitCode"] == 4
    with s3_later(seconds=185):
        assert promote(place, arn)["ExitCode"] == 0
    assert not locked(place)


# What is damaged


DAMAGED = {
    "empty": b"",
    "half": b'{"Version": 1, "By": "arn',
    "no object": b"[1]",
    "not text": b"\xff\xfe",
    "lacks its owner": {"By": None},
    "a number that is text": {"Pid": "7"},
    "a lease without end": {"LeaseSeconds": "forever"},
    "a lease of an age": {"LeaseSeconds": 10**9},
    "a lease that was never": {"LeaseSeconds": 0},
    "no version": {"Version": None},
    "nested too deeply": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_row_47_a_damaged_lock_stops_and_is_left_as_it_is(place, damage):
    place.register()
    body = damage if isinstance(damage, bytes) else owned(place, **damage)
    place.put(lock_key(place), body)
    result, calls = place.logged(*words(place, "promote"))
    assert result["ExitCode"] == 5, result
    assert f"s3://{BUCKET}/{lock_key(place)}: damaged" in result["Message"]
    assert "delete the object, then run again" in result["Message"]
    assert only_locks(place, calls)
    assert lock_of(place) == body


def test_p34_a_lock_cut_at_any_byte_is_damaged(place):
    from sagemaker_project.deploy import lock

    body = owned(place)
    for length in range(len(body)):
        with pytest.raises(LedgerError, match="damaged"):
            lock.owner_in(body[:length], {"Bucket": "b", "Key": "k"})
    assert lock.owner_in(body, {"Bucket": "b", "Key": "k"})["Pid"] == os.getpid()


def test_row_47_a_lock_of_a_newer_version_stops(place):
    place.register()
    body = owned(place, Version=3)
    result, calls = place.logged(*words(place, "promote"))
    assert result["ExitCode"] == 5, result
    assert "written by a newer version of this project" in result["Message"]
    assert only_locks(place, calls)
    assert lock_of(place) == body


@pytest.fixture(scope="module")
def history(cloud, deploy_project, tmp_path_factory):
    """A project whose ledger has entries of every kind, and the bytes of each of them."""
    from deploy_helpers import Place, environment

    folder = tmp_path_factory.mktemp("history")
    place = Place(cloud, deploy_project, environment(cloud), folder)
    assert promote(place, place.register())["ExitCode"] == 0
    assert promote(place, place.register(factor=3))["ExitCode"] == 0
    assert place.deploy("test")["ExitCode"] == 0
    assert place.deploy("rollback")["ExitCode"] == 0
    assert promote(place, place.register(body=artifact(broken=True)))["ExitCode"] == 1
    assert place.deploy("cleanup")["ExitCode"] == 0
    place.register(factor=4)
    bodies = {}
    for number, entry in enumerate(place.entries(), start=1):
        key = f"{place.name}/deploy/staging/ledger/{number:08d}.json"
        bodies[key] = place.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert json.loads(bodies[key]) == entry
    from sagemaker_project.deploy.ledger_read import KINDS

    assert {json.loads(body)["Kind"] for body in bodies.values()} == set(KINDS) - {"SetAside"}
    return place, bodies


def read(bodies):
    """What is found of a ledger of these objects, without a tag of the endpoint."""
    from sagemaker_project.deploy.ledger_read import examine

    return examine(dict(enumerate(bodies, start=1)), None, str)


def damaged(bodies):
    """The numbers of the damaged entries."""
    return [damage.number for damage in read(bodies).damage]


@pytest.mark.parametrize("step", [101, pytest.param(7, marks=pytest.mark.acceptance)])
def test_p34_an_entry_cut_anywhere_is_damaged(history, step):
    bodies = list(history[1].values())
    assert damaged(bodies) == []
    for number, body in enumerate(bodies):
        for length in (*range(0, len(body), step), len(body) - 1):
            cut = [*bodies[:number], body[:length], *bodies[number + 1 :]]
            assert damaged(cut) == [number + 1]


@bounded(deadline=None, max_examples=200, database=None)
@given(data=st.data())
def test_p34_a_changed_ledger_is_never_read_as_another_one(history, data):
    """Bytes changed, entries removed, repeated or in another order. Others stay readable."""
    before = list(history[1].values())
    after = list(before)
    number = data.draw(st.integers(0, len(before) - 1))
    if data.draw(st.booleans()):
        body = bytearray(before[number])
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        after[number] = bytes(body)
    else:
        moved = after.pop(number)
        if data.draw(st.booleans()):
            after.insert(data.draw(st.integers(0, len(after))), moved)
        else:
            after = after if number < len(after) else [*before, moved]
    if after == before:
        return
    found = read(after)
    assert found.damage
    originals = [json.loads(body) for body in before]
    assert all(entry in originals for entry in found.ledger.entries)


def test_p34_an_entry_written_anew_is_found_by_the_one_that_follows_it(history):
    from sagemaker_project.deploy import ledger

    bodies = list(history[1].values())
    for number, body in enumerate(bodies[:-1]):
        forged = ledger.encode(json.loads(body) | {"By": "somebody else"})
        found = read([*bodies[:number], forged, *bodies[number + 1 :]])
        assert [damage.number for damage in found.damage] == [number + 1]
        assert f"entry {number + 2} names another one" in found.damage[0].why


def half(body):
    return body[: len(body) // 2]


def newer(body):
    from sagemaker_project.deploy import ledger

    return ledger.encode(json.loads(body) | {"Version": 3})


def nested(_):
    return b"[" * 100_000


def other(body):
    return body.replace(b"looks good", b"looks fine")


@pytest.mark.parametrize("damage", [half, newer, other, nested, lambda _: b"", lambda _: None])
@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.acceptance), 4])
def test_row_47_a_damaged_ledger_stops_every_change_and_is_left_as_it_is(history, damage, number):
    place, bodies = history
    key = list(bodies)[number - 1]
    body = damage(bodies[key])
    place.put(key, body) if body is not None else place.s3.delete_object(Bucket=BUCKET, Key=key)
    try:
        for command in COMMANDS:
            result, calls = place.logged(*words(place, command))
            told = result["Message"]
            if command == "history":
                told = result["stderr"]
            if command in ("status", "history"):
                assert [one["Key"] for one in result["Damage"]] == [key]
            code = {"status": 1, "history": 0}.get(command, 5)
            assert result["ExitCode"] == code, (command, result)
            assert "\n" not in told.strip()
            address = f"s3://{BUCKET}/{key}: entry {number}"
            restore = "Restore" if command == "history" else "Nothing was done. Restore"
            if command == "status":
                address, restore = f"entry {number} of the ledger ({key}) is damaged", "Restore"
                assert (address in told, result["stderr"]) == (True, "")
                told += result["Recovery"]
            assert address in told and restore in told
            assert f"deploy-model ledger accept {number} --stage staging --reason TEXT" in told
            assert only_locks(place, calls)
            assert not locked(place)
    finally:
        place.put(key, bodies[key])
    assert place.deploy("history")["ExitCode"] == 0


def test_row_47_a_lost_ledger_is_not_begun_anew(place):
    promote(place, place.register())
    place.register(factor=3)
    key = f"{place.name}/deploy/staging/ledger/"
    for number in (1, 2):
        place.s3.delete_object(Bucket=BUCKET, Key=f"{key}{number:08d}.json")
    before = place.resources()
    for command in ("promote", "rollback", "cleanup"):
        result, calls = place.logged(*words(place, command))
        assert result["ExitCode"] == 5, result
        assert "entry 1: damaged or changed by hand: it is missing" in result["Message"]
        assert only_locks(place, calls)
    place.forget_head()
    for command, code in (("promote", 3), ("rollback", 3), ("cleanup", 0)):
        result, calls = place.logged(*words(place, command))
        assert result["ExitCode"] == code, result
        assert only_locks(place, calls)
    assert "the ledger says nothing" in place.deploy(*words(place, "promote"))["Message"]
    assert (place.resources(), place.entries()) == (before, [])


@pytest.mark.parametrize("spared", [0, 1])
def test_row_47_a_bucket_that_may_not_be_written_stops_before_anything_is_made(place, spared):
    """Neither the lock (0) nor the first entry of the ledger (1)."""
    arn = place.register()
    place.inject("PutObject", "denied", service="s3", times=None, after=spared)
    try:
        result = promote(place, arn)
    finally:
        place.clear_faults()
    assert result["ExitCode"] == 5, result
    assert "may not s3:PutObject" in result["Message"]
    assert ("lock.json" if spared == 0 else "ledger/00000001.json") in result["Message"]
    assert (place.resources(), place.entries(), locked(place)) == ([], [], False)
    assert promote(place, arn)["ExitCode"] == 0
