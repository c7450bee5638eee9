"""The lock of a stage: an object in S3 that only one deployment can create.

It names its owner and expires unless it is renewed, which a thread does for as long as it is held.
S3's clock decides whether it has expired, never this machine's. A lock whose owner was a process of
this machine that has ended is taken over at once.

The owner cannot ask S3 before each request. It counts from the moment before its last renewal was
sent, on a clock that counts suspends: once a lease has passed since then, another command may hold
the lock, and the client sends nothing more that changes something (`check_held` is its fence). A
renewal that S3 accepts after that proves that none has taken the lock, and the command goes on.
"""

import contextlib
import io
import json
import os
import socket
import threading
import uuid
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from sagemaker_project.clock import Clock
from sagemaker_project.deploy import ledger
from sagemaker_project.deploy.aws import Aws, Conflict
from sagemaker_project.deploy.calls import Call, Members
from sagemaker_project.deploy.context import Context
from sagemaker_project.errors import (
    AwsError,
    Busy,
    LedgerError,
    NeedsHuman,
    Unavailable,
    UsageError,
)

LEASE_SECONDS = 180
MAX_LEASE_SECONDS = 3600  # a longer one was not written by this package
RENEW_SECONDS = 30
GRACE_SECONDS = 10  # to give the lock back when time is up
OWNER = {  # what a lock says of its owner
    **dict.fromkeys(("By", "Host", "Machine", "What", "Since"), str),
    **dict.fromkeys(("Pid", "LeaseSeconds"), int),
}


class Lock:
    """Hold a stage's lock while a block runs.

    Raises:
        Busy: another deployment holds it.
        LedgerError: it is damaged.
    """

    def __init__(self, context: Context, what: str) -> None:
        target = context.target
        self.aws: Aws = context.aws
        self.clock: Clock = context.clock
        self.say, self.what = context.say, what
        self.where: Members = {"Bucket": target.bucket, "Key": target.lock_key}
        self.since = timestamp(context.aws.now())
        self.etag, self.renewed, self.lost = "", 0.0, False
        self.id, self.unsure = "", False  # of the last write, and whether it may not have been made
        self.turn, self.ended = threading.Lock(), threading.Event()
        self.keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> "Lock":
        try:
            self._write(IfNoneMatch="*")
        except Conflict:
            self._take_over()
        self.aws.fence = self.check_held
        self.keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.keeper.join(GRACE_SECONDS)
        self.aws.extend(GRACE_SECONDS)
        try:
            self._find_last_write()
            self.aws.change(Call("s3", "DeleteObject", {**self.where, "IfMatch": self.etag}))
        except Conflict:
            pass  # another deployment has taken it over
        except (AwsError, UsageError) as error:
            self.say(f"the lock stays until it expires, in {LEASE_SECONDS} seconds: {error}")
        finally:
            self.aws.fence = None

    @property
    def age(self) -> float:
        """Seconds since the last renewal was about to be sent."""
        return self.clock.monotonic() - self.renewed

    def renew(self) -> None:
        """Write the lock anew where that is due; leave it until later where S3 does not answer.

        Raises:
            NeedsHuman: another deployment took it over; this one must not go on.
            Unavailable: S3 has not answered for a whole lease.
        """
        with self.turn:
            if not self.lost and self.age > RENEW_SECONDS:
                try:
                    self._find_last_write()
                    self._write(IfMatch=self.etag)
                except Conflict:
                    self.lost = True
                except Unavailable:
                    self.unsure = True
                    if self.age >= LEASE_SECONDS:
                        raise
        if self.lost:
            raise self._is_lost("was taken over while this deployment still ran")

    def check_held(self, path: str) -> None:
        """Raise NeedsHuman where another deployment may hold the lock by now.

        Args:
            path: that of the URL of a request; the lock itself may be written, on a condition.
        """
        if path.endswith(f"/{self.where['Key']}"):
            return
        if self.lost:
            raise self._is_lost("was taken over while this deployment still ran")
        if self.age >= LEASE_SECONDS:
            raise self._is_lost(
                f"was not renewed for {self.age:.0f} seconds, so another deployment may have taken"
                " it over; nothing more was sent"
            )

    def _is_lost(self, why: str) -> NeedsHuman:
        place = f"s3://{self.where['Bucket']}/{self.where['Key']}"
        return NeedsHuman(f"the lock {place} {why}: look at deploy-model status")

    def _keep(self) -> None:
        """Renew the lock until the block ends or the command's deadline is over."""
        while not self.ended.wait(RENEW_SECONDS):
            # The next step meets the same error, on the command's own thread.
            with contextlib.suppress(AwsError, NeedsHuman, UsageError):
                self.renew()

    def _find_last_write(self) -> None:
        """Find out whether a renewal that S3 did not answer was made: then the ETag is its."""
        if self.unsure and (written := self._read_own()):
            self.etag = written["ETag"]

    def _write(self, **condition: str) -> None:
        self.id = str(uuid.uuid4())  # makes each write unique, so it is seen which came first
        content = {
            "Version": ledger.VERSION,
            "By": self.aws.caller,
            "Host": socket.gethostname(),
            "Machine": machine(),
            "Pid": os.getpid(),
            "What": self.what,
            "Since": self.since,
            "LeaseSeconds": LEASE_SECONDS,
            "Id": self.id,
        }
        body = json.dumps(content, indent=1).encode()
        sent = self.clock.monotonic()
        answer = self.aws.change(Call("s3", "PutObject", {**self.where, "Body": body, **condition}))
        written = answer if "ETag" in answer else self._read_own()  # it may have been lost
        if written is None:
            raise Conflict
        self.etag = written["ETag"]
        self.renewed, self.unsure = sent, False

    def _read(self) -> Members | None:
        file = io.BytesIO()
        answer = self.aws.download(file, **self.where)
        return answer and {**answer, "Body": file.getvalue()}

    def _read_own(self) -> Members | None:
        """Return the lock if it is as this command wrote it last, else None."""
        answer = self._read()
        if answer and owner_in(answer["Body"], self.where).get("Id") == self.id:
            return answer
        return None

    def _take_over(self) -> None:
        """Take the lock of an owner that has ended; respect that of a living one."""
        answer = self._read()
        if answer is None:  # it was released in between
            return self._write_or_busy(None, IfNoneMatch="*")
        owner = owner_in(answer["Body"], self.where)
        if not is_gone(owner, answer):
            raise _busy(owner)
        return self._write_or_busy(owner, IfMatch=answer["ETag"])

    def _write_or_busy(self, owner: Members | None, **condition: str) -> None:
        try:
            self._write(**condition)
        except Conflict:
            answer = self._read()
            owner = owner_in(answer["Body"], self.where) if answer else owner
            raise _busy(owner) from None


def owner_in(body: bytes, where: Members) -> Members:
    """Return what a lock says of its owner.

    Raises:
        LedgerError: it is damaged, or a newer version of this package wrote it.
    """
    place = f"s3://{where['Bucket']}/{where['Key']}"
    try:
        owner: Members = json.loads(body)
        if owner["Version"] > ledger.VERSION:
            raise LedgerError(f"{place}: written by a newer version of this project; update this")
        if not all(isinstance(owner[name], kind) for name, kind in OWNER.items()):
            raise ValueError
        if not 0 < owner["LeaseSeconds"] <= MAX_LEASE_SECONDS:
            raise ValueError
        return owner
    except (ValueError, LookupError, TypeError, RecursionError):
        raise LedgerError(
            f"{place}: damaged, so it is unknown whether a deployment is in progress. Nothing was"
            " done. Make sure that none is (deploy-model status), delete the object, then run again"
        ) from None


def is_gone(owner: Members, answer: Members) -> bool:
    """Whether the owner's process has ended, or its lease is over by S3's clock."""
    here = (owner["Host"], owner["Machine"]) == (socket.gethostname(), machine())
    if os.name == "posix" and here and 0 < owner["Pid"] != os.getpid():
        try:
            os.kill(owner["Pid"], 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            return False
    now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    age = (now - answer["LastModified"]).total_seconds()
    return bool(age > owner["LeaseSeconds"])


def machine() -> str:
    """Name the space in which process numbers are unique; containers may share a host name.

    Machines that were started from one snapshot share this name, and differ by their host names.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _busy(owner: Members | None) -> Busy:
    if owner is None:
        return Busy("another deployment has just begun: run again when it has ended")
    return Busy(
        f"{owner['What']} is in progress by {owner['By']} on {owner['Host']} since"
        f" {owner['Since'][:19]}: run again when it has ended"
    )


def timestamp(time: datetime) -> str:
    """Return a time as ledger and lock write it."""
    return time.isoformat(timespec="milliseconds")
