"""Clocks that are wrong, machines that sleep, and AWS that does not answer for minutes.

AWS's time is that of the emulator. A machine is the clock that `deploy-model` is given: its time of
day may be wrong, and it may sleep, which its other clock counts. P7, P12, P25, P31.
"""

import itertools
import json
import time
from datetime import datetime, timedelta, timezone

import pytest
from boundary_helpers import kill, ledger_of, lock_key, locked, run
from deploy_helpers import BUCKET, Hurried, artifact, changing, s3_later
from sagemaker_project.clock import Clock

DAY = 24 * 3600
SKEW = 300  # seconds; AWS takes signatures that are as old
ELSEWHERE = {"Host": "build-7", "Machine": "0123 pid:[4026531836]"}
OFTEN = pytest.mark.acceptance
SKEWS = [SKEW, pytest.param(-SKEW, marks=OFTEN), pytest.param(0, marks=OFTEN)]


class Machine(Hurried):
    """Its time of day is `ahead` of AWS's by so many seconds, and it may sleep."""

    def __init__(self, ahead=0, act=None):
        super().__init__()
        self.ahead, self.act = ahead, act

    def now(self):
        return super().now() + timedelta(seconds=self.ahead)

    def suspend(self, seconds):
        self.waited += seconds

    def sleep(self, seconds):
        super().sleep(seconds)
        act, self.act = self.act, None
        if act:
            act()


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch):
    monkeypatch.setattr(
        "botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0
    )


def promote(place, arn, *words):
    return place.deploy("promote", "--model-package-arn", arn, *words)


def promoted(place, factor):
    result = promote(place, place.register(factor))
    assert result["ExitCode"] == 0, result


def taken_over(place):
    """Let another machine hold the lock."""
    body = json.loads(place.s3.get_object(Bucket=BUCKET, Key=lock_key(place))["Body"].read())
    place.put(lock_key(place), json.dumps(body | ELSEWHERE | {"Id": "theirs"}))


def kinds(place):
    return [entry["Kind"] for entry in place.entries()]


def test_a_suspend_counts(monkeypatch):
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("only Linux has this clock")
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 7.5}.__getitem__)
    assert Clock().monotonic() == 7.5


# Two machines whose clocks are apart


@pytest.mark.parametrize("first", SKEWS)
@pytest.mark.parametrize("second", [-SKEW, pytest.param(SKEW, marks=OFTEN)])
def test_p25_a_stage_lives_as_ever_whatever_the_clocks_of_its_machines_say(place, first, second):
    """Promote, be killed, go on elsewhere, roll back, wait for a lock, take one over."""
    one, other = Machine(first), Machine(second)
    place.clock = one
    promoted(place, 2)
    place.clock, arn = other, place.register(3)
    words = ("promote", "--model-package-arn", arn)
    assert run(place, words, at="UpdateEndpoint", act=kill, behind=True).signal
    place.clock = one
    taken_over(place)
    assert promote(place, arn)["ExitCode"] == 4
    with s3_later(seconds=181):
        assert promote(place, arn)["Outcome"] == "Promoted"
    assert (place.version(), kinds(place)) == (2, ["Started", "Promoted"] * 2)
    place.clock = other
    assert run(place, ("rollback",), at="UpdateEndpoint", act=kill).signal
    place.clock = one
    result = place.deploy("rollback")
    assert (result["ExitCode"], place.version()) == (0, 1), result
    place.clock = other
    promoted(place, 4)
    assert place.version() == 3 and not locked(place)
    times = [datetime.fromisoformat(entry["Time"]) for entry in place.entries()]
    assert abs(times[-1] - datetime.now(timezone.utc)) < timedelta(seconds=60)
    assert all(b - a > timedelta(seconds=-30) for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("killed", SKEWS)
@pytest.mark.parametrize("rerun", [SKEW, pytest.param(-SKEW, marks=OFTEN)])
def test_p7_a_rollback_by_sagemaker_is_seen_whatever_the_clock_says(place, killed, rerun):
    """SageMaker rolled it back while no command watched; it is not tried again."""
    place.clock = Machine(killed)
    promoted(place, 2)
    arn = place.register(3, body=artifact(inference="import no_such_module"))
    words = ("promote", "--model-package-arn", arn)
    assert run(place, words, at="UpdateEndpoint", act=kill, behind=True).signal
    assert place.settled()["FailureReason"]
    place.clock = Machine(rerun)
    result, calls = place.logged(*words)
    assert result["ExitCode"] == 1 and "rolled back" in result["Message"], result
    made = {call["operation"] for call in changing(calls)}
    assert made == {"PutObject", "AddTags", "DeleteObject"}
    assert (place.version(), kinds(place)[-1]) == (1, "Failed")


def test_p7_a_rollback_of_another_time_is_not_taken_for_one_of_this_update(place):
    """The endpoint still tells of an update that failed before; this one was never sent."""
    place.clock = Machine(-SKEW)
    promoted(place, 2)
    broken = place.register(3, body=artifact(inference="import no_such_module"))
    assert promote(place, broken)["ExitCode"] == 1
    assert place.endpoint()["FailureReason"]
    words = ("promote", "--model-package-arn", place.register(4))
    assert run(place, words, at="UpdateEndpoint", act=kill).signal
    result = place.deploy(*words)
    assert (result["Outcome"], place.version()) == ("Promoted", 3), result


@pytest.mark.acceptance
@pytest.mark.parametrize("ahead", [-SKEW, pytest.param(SKEW, marks=OFTEN)])
def test_p8_a_rollback_that_was_killed_before_it_began_is_done_when_run_again(place, ahead):
    """An earlier rollback is not taken for it, whatever time the lock says."""
    for factor in (2, 3):
        promoted(place, factor)
    assert place.deploy("rollback")["ExitCode"] == 0
    promoted(place, 4)
    place.clock = Machine(ahead)
    assert run(place, ("rollback",), at="DescribeEndpoint", act=kill).signal
    assert locked(place) and place.version() == 3
    result = place.deploy("rollback")
    assert (result["Outcome"], place.version()) == ("RolledBack", 1), result


@pytest.mark.parametrize("ahead", [SKEW, -SKEW])
def test_p31_the_age_of_an_approval_is_counted_by_aws(place, ahead):
    place.settings("staging", Approval={"MaxAgeDays": 1})
    place.clock, arn = Machine(ahead), place.register()
    approved = time.time() - DAY + (120 if ahead > 0 else -120)
    place.inject(
        "DescribeModelPackage", "answer", times=None, members={"LastModifiedTime": approved}
    )
    result = promote(place, arn)
    assert result["ExitCode"] == (0 if ahead > 0 else 3), result
    assert ahead > 0 or "Approval.MaxAgeDays" in result["Message"]


# A machine that sleeps longer than its lease


@pytest.mark.parametrize("at", ["CreateModel", "UpdateEndpoint"])
def test_p25_nothing_is_sent_after_a_sleep_in_front_of_a_request(place, at):
    """Another command may hold the lock by then. Run again, the promotion goes on."""
    promoted(place, 2)
    place.clock, words = Machine(), ("promote", "--model-package-arn", place.register(3))
    ended = run(place, words, at=at, act=lambda _: place.clock.suspend(600))
    assert ended.result["ExitCode"] == 5, ended.result
    assert "was not renewed for 60" in ended.result["Message"]
    assert "deploy-model status" in ended.result["Message"]
    assert (place.version(), kinds(place)[-1]) == (1, "Started")
    assert place.endpoint()["EndpointStatus"] == "InService" and not locked(place)
    result = place.deploy(*words)
    assert (result["Outcome"], place.version()) == ("Promoted", 2), result


def test_p25_an_update_in_its_back_off_is_not_sent_once_another_may_hold_the_lock(
    place, monkeypatch
):
    """Throttled, it sleeps past its lease, and another machine promotes version 3 meanwhile."""
    promoted(place, 2)
    second, third = place.register(3), place.register(4)
    sleeper, slept = Machine(), []

    def sleep(_, context):
        if context.operation_model.name == "UpdateEndpoint" and not slept:
            sleeper.suspend(600)
            place.clock = Machine()
            with s3_later(seconds=600):
                slept.append(promote(place, third))
        return 0

    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", sleep)
    place.inject("UpdateEndpoint", "throttle")
    place.clock = sleeper
    result, calls = place.logged("promote", "--model-package-arn", second)
    assert slept[0]["Outcome"] == "Promoted", slept
    assert result["ExitCode"] == 5 and "was not renewed for" in result["Message"], result
    updates = [c["status"] for c in calls if c["operation"] == "UpdateEndpoint"]
    assert updates == [400, 200]
    assert (place.version(), ledger_of(place).current["ModelPackageVersion"]) == (3, 3)
    assert kinds(place)[-3:] == ["Failed", "Started", "Promoted"] and not locked(place)


def test_p25_a_sleeper_whose_lock_was_taken_over_does_not_record_what_it_waited_for(place):
    promoted(place, 2)
    arn = place.register(3)

    def sleep():
        place.clock.suspend(600)
        taken_over(place)

    place.clock = Machine(act=sleep)
    result = promote(place, arn)
    assert result["ExitCode"] == 5 and "was taken over" in result["Message"], result
    assert kinds(place) == ["Started", "Promoted", "Started"] and locked(place)


@pytest.mark.parametrize("before", [2, 3], ids=["copy", "Promoted"])
def test_p25_a_conditional_write_is_not_sent_again_once_another_holds_the_lock(
    place, monkeypatch, before
):
    """Throttled, a copy of an artifact, or the entry that records the version, sleeps."""
    promoted(place, 2)
    arn, sleeper, slept = place.register(3), Machine(), []

    def sleep(_, context):
        if context.operation_model.name == "PutObject" and not slept:
            sleeper.suspend(600)
            slept.append(taken_over(place))
        return 0

    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", sleep)
    place.inject("PutObject", "throttle", service="s3", after=before)
    place.clock = sleeper
    result, calls = place.logged("promote", "--model-package-arn", arn)
    assert slept and result["ExitCode"] == 5, result
    assert "was not renewed for 60" in result["Message"], result
    writes = [call["status"] for call in calls if call["operation"] == "PutObject"]
    assert writes == [200] * before + [503, 200], "the last one is that of the other machine"
    assert kinds(place) == ["Started", "Promoted", "Started"] and locked(place)


def test_p25_a_sleeper_whose_lock_is_still_its_own_goes_on(place):
    promoted(place, 2)
    place.clock = Machine(act=lambda: place.clock.suspend(600))
    promoted(place, 3)
    assert place.version() == 2 and not locked(place)


# AWS does not answer for minutes


@pytest.mark.parametrize("fault", ["throttle", "error500", pytest.param("reset", marks=OFTEN)])
def test_p12_waiting_for_an_endpoint_outlasts_an_outage_and_says_so_once(place, fault):
    """Thirty refusals are three times all attempts of boto3."""
    arn, place.clock = place.register(), Hurried()
    place.inject("DescribeEndpoint", fault, times=30, after=2)
    result = promote(place, arn)
    assert (result["ExitCode"], result["Outcome"]) == (0, "Promoted"), result
    told = [line for line in result["stderr"].splitlines() if "waiting until it answers" in line]
    assert len(told) == 1 and "sagemaker:DescribeEndpoint" in told[0]


def test_p12_an_outage_without_end_ends_at_the_deadline(place):
    arn, place.clock = place.register(), Hurried()
    place.inject("DescribeEndpoint", "throttle", times=None, after=2)
    result = promote(place, arn, "--timeout", "300")
    assert result["ExitCode"] == 4 and "run the same command again" in result["Message"], result
    assert 250 < place.clock.waited < 310


def test_p12_an_undo_outlasts_an_outage(place):
    """A first version that does not answer is deleted again, with its endpoint."""
    place.clock = Hurried()
    arn = place.register(body=artifact(broken=True))

    def outage(operation):
        place.inject("DescribeEndpoint", "throttle", times=30)

    ended = run(
        place, ("promote", "--model-package-arn", arn), at="DeleteEndpoint", act=outage, behind=True
    )
    assert ended.result["ExitCode"] == 1, ended.result
    assert (place.resources(), kinds(place)) == ([], ["Started", "Failed"])


def test_p12_p25_a_lock_that_cannot_be_renewed_for_minutes_does_not_end_a_promotion(
    place, monkeypatch
):
    """S3 makes one renewal and loses its answer; then it refuses for longer than the lease."""
    from sagemaker_project.deploy import lock

    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.01)
    promoted(place, 2)
    arn = place.register(3)

    def outage():
        place.clock.suspend(170)
        place.inject("PutObject", "lost_response", times=30, service="s3")
        place.inject("GetObject", "error503", times=10, service="s3")

    place.clock = Machine(act=outage)
    result = promote(place, arn)
    assert (result["ExitCode"], place.version()) == (0, 2), result
    assert not locked(place)
