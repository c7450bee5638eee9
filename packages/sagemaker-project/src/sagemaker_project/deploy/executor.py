"""Doing a plan, one step after the other, so that it can be killed between any two and run again.

The lock is an object in S3 that only one can create. It names its owner and expires unless it is
renewed, which a thread does for as long as it is held; S3's clock decides, never this machine's. A
lock whose owner was a process of this machine that is no more is taken over at once.
"""

import contextlib
import io
import json
import os
import signal
import socket
import threading
import time
import uuid
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

from sagemaker_project.deploy import Refused, planner
from sagemaker_project.deploy import ledger as ledgers
from sagemaker_project.deploy.aws import AwsError, Conflict
from sagemaker_project.deploy.planner import Call
from sagemaker_project.usage import UsageError

LEASE_SECONDS = 180
RENEW_SECONDS = 30
GRACE_SECONDS = 10  # to give the lock back when time is up
OWNER = {  # what a lock says of its owner
    **dict.fromkeys(("By", "Host", "Machine", "What", "Since"), str),
    **dict.fromkeys(("Pid", "LeaseSeconds"), int),
}
BEGINS = ("CreateEndpoint", "UpdateEndpoint")
STALE_LOOKS = 6  # some seconds, in which AWS may not show yet what has just begun


class DeployFailed(Exception):
    """The new version does not serve; what served before still does. One line says why."""


class NeedsHuman(Exception):
    """Neither the new version nor the one before can be brought to serve by this command."""


class Lock:
    """Holds a stage's lock while its block runs; Refused where somebody else holds it.

    `inherited` is the content of a lock that was taken over: of a run that ended before its time.
    """

    def __init__(self, aws, target, what, say):
        self.aws, self.what, self.say = aws, what, say
        self.where = {"Bucket": target.bucket, "Key": planner.lock_of(target)}
        self.etag, self.renewed, self.since = None, 0, _now()
        self.inherited = None
        self.turn, self.ended, self.lost = threading.Lock(), threading.Event(), False
        self.keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self):
        try:
            self._write(IfNoneMatch="*")
        except Conflict:
            self._take_over()
        self.keeper.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.keeper.join(GRACE_SECONDS)
        self.aws.extend(GRACE_SECONDS)
        try:
            self.aws.change(Call("s3", "DeleteObject", {**self.where, "IfMatch": self.etag}))
        except Conflict:
            pass  # it is somebody else's by now
        except (AwsError, UsageError) as error:
            self.say(f"the lock stays until it expires, in {LEASE_SECONDS} seconds: {error}")

    def renew(self):
        """Called before each step as well: whoever has lost the lock goes no further."""
        with self.turn:
            if not self.lost and time.monotonic() - self.renewed > RENEW_SECONDS:
                try:
                    self._write(IfMatch=self.etag)
                except Conflict:
                    self.lost = True
        if self.lost:
            raise NeedsHuman(
                f"the lock s3://{self.where['Bucket']}/{self.where['Key']} was taken over while"
                " this deployment still ran: look at deploy-model status"
            )

    def _keep(self):
        """Nothing is changed after the command's deadline, so it holds here, too."""
        while not self.ended.wait(RENEW_SECONDS):
            with contextlib.suppress(AwsError, NeedsHuman, UsageError):  # the next step meets it
                self.renew()

    def _write(self, **condition):
        content = {
            "Version": ledgers.VERSION,
            "By": self.aws.caller,
            "Host": socket.gethostname(),
            "Machine": _machine(),
            "Pid": os.getpid(),
            "What": self.what,
            "Since": self.since,
            "LeaseSeconds": LEASE_SECONDS,
            "Id": str(uuid.uuid4()),  # no two are alike, so it is seen whose write came first
        }
        body = json.dumps(content, indent=1).encode()
        answer = self.aws.change(Call("s3", "PutObject", {**self.where, "Body": body, **condition}))
        self.etag = answer.get("ETag") or self._read()["ETag"]
        self.renewed = time.monotonic()

    def _read(self):
        file = io.BytesIO()
        answer = self.aws.download(file, **self.where)
        return answer and {**answer, "Body": file.getvalue()}

    def _take_over(self):
        """The lock of an owner that is gone becomes ours; that of a living one is respected."""
        answer = self._read()
        if answer is None:  # released in between
            return self._write_or_busy(None, IfNoneMatch="*")
        owner = _owner(answer["Body"], self.where)
        if not _is_gone(owner, answer):
            raise _busy(owner)
        self.inherited = owner
        if owner["What"] == self.what:
            self.since = owner["Since"]
        return self._write_or_busy(owner, IfMatch=answer["ETag"])

    def _write_or_busy(self, owner, **condition):
        try:
            self._write(**condition)
        except Conflict:
            answer = self._read()
            owner = _owner(answer["Body"], self.where) if answer else owner
            raise _busy(owner) from None


def _owner(body, where):
    place = f"s3://{where['Bucket']}/{where['Key']}"
    try:
        owner = json.loads(body)
        if owner["Version"] > ledgers.VERSION:
            raise NeedsHuman(f"{place}: written by a newer version of this project; update this")
        if not all(isinstance(owner[name], kind) for name, kind in OWNER.items()):
            raise ValueError
        return owner
    except (ValueError, LookupError, TypeError):
        raise NeedsHuman(
            f"{place}: damaged, so who deploys right now is unknown. Nothing was done. Make sure"
            " that nobody does (deploy-model status), delete the object, then run again"
        ) from None


def _is_gone(owner, answer):
    here = os.name == "posix" and owner["Machine"] == _machine()
    if here and 0 < owner["Pid"] != os.getpid():
        try:
            os.kill(owner["Pid"], 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            return False
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(said) if said else datetime.now(timezone.utc)
    return (now - answer["LastModified"]).total_seconds() > owner["LeaseSeconds"]


def _machine():
    """Where process numbers mean the same: build machines and containers may share a host name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _busy(owner):
    if owner is None:
        return Refused("another deployment has just begun: run again when it has ended", 4)
    return Refused(
        f"{owner['What']} is in progress by {owner['By']} on {owner['Host']} since"
        f" {owner['Since'][:19]}: run again when it has ended",
        4,
    )


class Executor:
    """Does a plan's steps. `smoke` invokes the endpoint; `say` tells what happens, a line each."""

    def __init__(self, aws, target, found, lock, say, smoke, approve):
        self.aws, self.target, self.found = aws, target, found
        self.lock, self.say, self.smoke, self.approve = lock, say, smoke, approve
        self.ledger = found.ledger
        self.started = None  # the entry of the deployment that has begun and not ended
        self.begun = False  # whether the endpoint has been told

    def do(self, plan):
        self.aws.begun = True
        pending = self.ledger.pending
        records = [step for step in plan.steps if step.kind == "record"]
        if [step.note for step in records] in (["Promoted"], ["RolledBack"], ["Failed"]):
            self.started = pending
        self.begun = not any(call.operation in BEGINS for call in plan.calls)
        try:
            for step in plan.steps:
                self.lock.renew()
                if step is records[-1]:
                    _ignore_signals()
                self._do(step)
        except DeployFailed as error:
            self._fail(str(error))
            raise
        except (AwsError, Refused) as error:
            # Once the endpoint is on its way, or where nobody knows, running again finds out.
            if not self.begun and error.code != 4:
                self._fail(str(error))
            raise

    def _do(self, step):
        if step.kind == "record":
            self.record(step.note, step.entry)
        elif step.kind == "call":
            self._call(step.call)
        elif step.kind == "approved":
            self.approve()
        elif step.kind == "wait":
            self._wait(step.note)
        elif step.kind == "judge":
            self._judge(self.found.endpoint, step.note)
        elif step.kind == "smoke":
            self._smoke()
        elif step.kind == "restore":
            self._restore(step.entry)

    def _call(self, call):
        self.lock.renew()
        if call.operation.startswith("Delete"):
            self._spare_what_serves(call)
        self.say(f"{call.operation} {call.resource}")
        self.aws.change(call)
        self.begun = self.begun or call.operation in BEGINS

    def _spare_what_serves(self, call):
        """Somebody may have put back by hand, a moment ago, what is about to be deleted."""
        endpoint = self.aws.endpoint(self.target.endpoint) or {}
        pending = endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
        serving = {endpoint.get("EndpointConfigName"), pending} - {None}
        models = set()
        for name in serving if call.operation == "DeleteModel" else ():
            config = self.aws.endpoint_config(name) or {"ProductionVariants": []}
            models |= {v["ModelName"] for v in planner.variants(config)}
        if call.resource in serving | models:
            raise AwsError(f"{call.resource} has come into service meanwhile: it is not deleted", 4)

    # The ledger

    def record(self, kind, entry):
        """Append an entry; whoever comes second to a number stops here."""
        content = {
            "Version": ledgers.VERSION,
            "Number": self.ledger.next_number,
            "Previous": self.ledger.previous_sha256,
            "Kind": kind,
            "Time": _now(),
            "By": self.aws.caller,
            **entry,
        }
        body = ledgers.encode(content)
        key = ledgers.entry_key(self.target.name, self.target.stage, content["Number"])
        members = {"Bucket": self.target.bucket, "Key": key, "Body": body}
        try:
            self.aws.change(Call("s3", "PutObject", {**members, "IfNoneMatch": "*"}))
        except Conflict:
            raise Refused(
                f"{key}: somebody else has written to the ledger meanwhile: run again", 4
            ) from None
        entry = ledgers.decode(body, key)
        self.ledger = replace(self.ledger, entries=(*self.ledger.entries, entry))
        self.started = entry if kind == "Started" else None
        return entry

    def _fail(self, reason):
        """End the deployment that had begun as Failed, with all as it was before.

        What is refused on the way back does not hide the reason, and is for a person to mend.
        """
        if self.started is None:
            return
        kept = ("Action", "Deployment", "Leaves", "Creates")
        entry = {name: self.started[name] for name in kept if name in self.started}
        entry["Reason"] = reason
        try:
            self._as_before()
            if self._is_first():
                entry["Deleted"] = {"EndpointConfigs": [], "Models": []}
                self._undo_creation(entry["Deleted"])
        except (AwsError, UsageError) as refusal:
            entry["Reason"] += f". Undoing what had begun failed, too: {refusal}"
            if getattr(refusal, "code", 4) == 4:  # for now: running again finds out
                raise AwsError(entry["Reason"], 4) from None
            self.record("Failed", entry)
            raise NeedsHuman(entry["Reason"]) from None
        self.record("Failed", entry)

    def _is_first(self):
        begun = self.started
        return begun["Action"] == "promote" and begun["Deployment"]["Before"] is None

    def _undo_creation(self, deleted):
        """A first deployment that failed leaves nothing: no endpoint, configuration or models.

        Args:
            deleted: {kind: names}; gets the names of what was deleted.
        """
        name = self.target.endpoint
        endpoint = self.aws.endpoint(name)
        config = self.started["Deployment"]["EndpointConfigName"]
        if endpoint and endpoint["EndpointConfigName"] == config:
            self.say(f"DeleteEndpoint {name}")
            self.aws.change(Call("sagemaker", "DeleteEndpoint", {"EndpointName": name}))
            while self.aws.endpoint(name):
                self._pause(0.2)
        for kind in ("EndpointConfig", "Model"):
            for created in self.started["Creates"][f"{kind}s"]:
                self.say(f"Delete{kind} {created}")
                self.aws.change(Call("sagemaker", f"Delete{kind}", {f"{kind}Name": created}))
                deleted[f"{kind}s"].append(created)

    # The endpoint

    def _pause(self, seconds):
        self.lock.renew()
        time.sleep(max(0, min(seconds, self.aws.deadline - time.monotonic())))
        self.aws.check_deadline(
            f"{self.target.endpoint} is still on its way, and the time of --timeout is over"
        )

    def _wait(self, wanted):
        """Wait until the endpoint is steady, and see what it came to."""
        began, looks, said, moves = time.monotonic(), 0, None, False
        while True:
            endpoint = self.aws.endpoint(self.target.endpoint)
            status = endpoint["EndpointStatus"] if endpoint else "is not there"
            if status != said:
                said = status
                self.say(f"{self.target.endpoint} {status}")
            moves = moves or planner.under_way(endpoint)
            if not planner.under_way(endpoint):
                unseen = status == "InService" and endpoint["EndpointConfigName"] != wanted
                if moves or not (unseen or endpoint is None) or looks == STALE_LOOKS:
                    return self._judge(endpoint, wanted)
                looks += 1
            elapsed = time.monotonic() - began
            self._pause(min(30, max(0.05 * 2**looks, elapsed / 100)))

    def _judge(self, endpoint, wanted):
        """AWS calls an update that it rolled back InService: what serves is what counts."""
        if endpoint is None:
            raise NeedsHuman(f"{self.target.endpoint} was deleted while it was being updated")
        status, reason = endpoint["EndpointStatus"], endpoint.get("FailureReason")
        if status == "InService" and endpoint["EndpointConfigName"] == wanted:
            return
        why = reason or "SageMaker gives no reason; see the alarms and the endpoint's log"
        if status == "InService":
            raise DeployFailed(
                f"SageMaker rolled back to {endpoint['EndpointConfigName']}, which serves: {why}"
            )
        if self.started and self._is_first():
            raise DeployFailed(f"{self.target.endpoint} is {status}: {why}")
        found = replace(self.found, endpoint=endpoint, ledger=self.ledger)
        raise NeedsHuman(
            f"{self.target.endpoint} is {status}: {why}. {planner.recovery(self.target, found)}"
        )

    def _smoke(self):
        try:
            self.smoke()
        except DeployFailed as error:
            if self._is_first():
                raise
            before = self.started["Deployment"]["Before"]
            name = before["EndpointConfigName"]
            self.say(f"the new version does not answer as it should: back to {name}")
            for call in self._back(name, before):
                self._call(call)
            self._wait(name)
            raise DeployFailed(f"{error}; {name} serves again") from None

    def _back(self, name, counts):
        endpoint = self.aws.endpoint(self.target.endpoint)
        live, goal = (self.aws.endpoint_config(c) for c in (endpoint["EndpointConfigName"], name))
        scaled = sorted({v["VariantName"] for c in (live, goal) for v in planner.variants(c)})
        found = replace(
            self.found,
            endpoint=endpoint,
            endpoint_config=live,
            scaling=self.aws.scaling(self.target.endpoint, scaled),
        )
        rules = (self.ledger.deployed(name) or {}).get("Scaling", {})
        calls, found = planner.released(self.target, goal, rules, found)
        return [*calls, planner.back(self.target, name, found, counts)]

    def _as_before(self):
        """What serves after all has the counts and the autoscaling that it had."""
        endpoint = self.aws.endpoint(self.target.endpoint)
        if self.started is None or endpoint is None:
            return
        live, current = endpoint["EndpointConfigName"], self.ledger.current or {}
        before = self.started["Deployment"]["Before"] or {}
        if self.started["Action"] == "promote" and before.get("EndpointConfigName") == live:
            self._restore(before)
        if current.get("EndpointConfigName") == live:
            rules = current["Scaling"]
            there = self.aws.scaling(self.target.endpoint, sorted(rules))
            found = replace(self.found, scaling=there)
            for call in planner.scaling_calls(self.target, rules, found):
                self._call(call)

    def _restore(self, counts):
        endpoint = self.aws.endpoint(self.target.endpoint)
        call = planner.restoring(self.target, endpoint, counts)
        if call:
            self._call(call)
            self._wait(endpoint["EndpointConfigName"])


def _ignore_signals():
    """All is done but to say so: whoever is stopped now would be taken for not done, and run again.

    A rollback that is run again goes back one version more.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
