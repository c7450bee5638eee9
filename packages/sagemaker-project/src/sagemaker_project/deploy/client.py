"""Send requests to AWS: retries, deadlines, pages, and refusals in one line.

Throttles and passing faults are retried by boto3 (mode and number of attempts as AWS_RETRY_MODE and
AWS_MAX_ATTEMPTS say, else standard and 10), never past the command's deadline. What AWS refuses for
good becomes an error of one line that says what to do.

While a command holds a stage's lock, the lock sets `fence`, which is called right before a request
that changes something leaves this machine, each retry included: a retry may come minutes after its
first attempt, when another command holds the lock. Only the lock's own writes are let through: S3
refuses those that come too late. SageMaker has no conditional write, so a process
that is stopped between this check and the request can still send it late.

`now` is AWS's time, learnt from the Date of its answers.
"""

import contextlib
import io
import itertools
import os
import random
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from sagemaker_project.clock import Clock
from sagemaker_project.deploy.calls import Members
from sagemaker_project.errors import AwsError, NoBucket, ProjectError, Unavailable, UsageError

DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403", "Forbidden"}
THROTTLED = {
    *("Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException"),
    *("RequestLimitExceeded", "SlowDown"),
}
EXPIRED = {
    *("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "RequestExpired"),
    *("UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException"),
    *("RequestTimeTooSkewed", "AuthFailure", "InvalidAccessKeyId"),
}
NO_KEY = {"NoSuchKey", "404", "NotFound"}
MISSING = NO_KEY | {
    *("NoSuchBucket", "NoSuchVersion", "ResourceNotFound", "RepositoryNotFoundException"),
    *("ObjectNotFoundException", "ImageNotFoundException"),
}
SEND_AGAIN = {"ConditionalRequestConflict", "OperationAborted"}  # S3 asks for it
NOT_THERE = re.compile("could not find|does not exist|not found", re.I)
CUT_OFF = (FlexibleChecksumError, IncompleteReadError, ResponseParserError)
LOST = (ConnectionError, HTTPClientError, *CUT_OFF)
CREDENTIALS = (
    *(NoCredentialsError, PartialCredentialsError, CredentialRetrievalError),
    *(SSOError, TokenRetrievalError),
)
IAM_ACTIONS = {
    "ListObjectsV2": "ListBucket",
    "HeadObject": "GetObject",
}  # where the action has another name
MAX_ATTEMPTS = 10
READS = ("Get", "List", "Describe", "Head", "BatchGet", "Invoke")  # how their names begin
DATE_SECONDS = timedelta(seconds=2)  # a Date has whole seconds, and its answer was on its way


class Lost(Exception):
    """No answer came to a request that must not be sent again before its effect was looked at."""


class Client:
    """AWS in one region, until a deadline."""

    def __init__(self, region: str, timeout_seconds: float, clock: Clock) -> None:
        self.region, self.clock = region, clock
        self.deadline = clock.monotonic() + timeout_seconds
        self.caller = "the caller"
        self.aws_flags = f"--region {region}"  # Target.aws_flags, once the target is known
        self.begun = False  # whether anything but the lock may have been changed
        # Called with the path of a URL; raises where nothing may be changed any more.
        self.fence: Callable[[str], None] | None = None
        self._ahead = timedelta(0)  # of AWS's time, seen from this machine's
        self._clients: dict[str, Any] = {}
        self._making = threading.RLock()  # boto3's clients serve any thread, but one must make them

    def now(self) -> datetime:
        """Return AWS's time, in UTC: this machine's, corrected by the newest answer of AWS."""
        return self.clock.now() + self._ahead

    @property
    def session(self) -> Any:
        """The boto3 session, one for all clients: each one reads the service models anew."""
        import boto3

        try:
            with self._making:
                if boto3.DEFAULT_SESSION is None:
                    boto3.setup_default_session()
        except BotoCoreError as error:
            raise UsageError(f"AWS credentials: {error}") from None
        return boto3.DEFAULT_SESSION

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service."""
        with self._making:
            if service not in self._clients:
                retries: dict[str, Any] = {}
                if "AWS_MAX_ATTEMPTS" not in os.environ:
                    retries = {"mode": os.environ.get("AWS_RETRY_MODE", "standard")}
                    retries["total_max_attempts"] = MAX_ATTEMPTS
                self._clients[service] = self._new_client(service, retries)
            return self._clients[service]

    def runtime(self) -> Any:
        """Return a client that invokes endpoints without retries: a test counts the errors."""
        return self._new_client("sagemaker-runtime", {"total_max_attempts": 1})

    def _new_client(self, service: str, retries: dict[str, Any]) -> Any:
        config = Config(
            retries=retries or None,
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=16,
            user_agent_extra="deploy-model",
        )
        try:
            with self._making:
                client = self.session.client(service, region_name=self.region, config=config)
        except BotoCoreError as error:
            raise UsageError(f"AWS credentials: {error}") from None
        client.meta.events.register_first("before-parse", _check_whole)
        self._listen(client)
        return client

    def _listen(self, client: Any) -> None:
        """Let a boto3 client tell of its answers, and ask before it sends."""
        client.meta.events.register_first("needs-retry", self._before_a_retry)
        client.meta.events.register_first("before-parse", self._learn_time)
        client.meta.events.register_last("before-send", self._check_fence)

    def _learn_time(self, response_dict: Members, **_: Any) -> None:
        """Correct `now` where it is none at which an answer with this Date could arrive."""
        with contextlib.suppress(LookupError, ValueError, TypeError):  # no Date, or not one
            date = parsedate_to_datetime(response_dict["headers"]["date"])
            if not date <= self.now() <= date + DATE_SECONDS:
                self._ahead = date - self.clock.now()

    def _check_fence(self, request: Any, event_name: str, **_: Any) -> None:
        """Stop a request that changes something, where the lock is not held any more."""
        if self.fence and not event_name.rpartition(".")[2].startswith(READS):
            self.fence(unquote(urlsplit(request.url).path))

    def _before_a_retry(
        self, operation: Any, caught_exception: Any = None, response: Any = None, **_: Any
    ) -> None:
        if isinstance(caught_exception, ProjectError):
            raise caught_exception  # of the fence: nothing was sent
        failed = caught_exception or (response and response[0].status_code >= 500)
        if failed and operation.name == "UpdateEndpoint":
            raise Lost(caught_exception or f"HTTP {response[0].status_code}")
        if caught_exception or (response and response[0].status_code >= 300):
            about = f"{operation.service_model.service_name}:{operation.name}"
            self.check_deadline(f"{about}: AWS did not answer in time")

    def extend(self, seconds: float) -> None:
        """Allow so many more seconds, to end in order."""
        self.deadline = max(self.deadline, self.clock.monotonic() + seconds)

    def check_deadline(self, message: str) -> None:
        """Raise Unavailable where the command's time is over."""
        if self.clock.monotonic() >= self.deadline:
            raise self.unavailable(message)

    def unavailable(self, message: str) -> Unavailable:
        """Return the error that tells how to go on once AWS answers again."""
        so_far = "Nothing that serves was changed: run the same command again"
        if self.begun:
            so_far = "What was begun is in the ledger: run the same command again to go on"
        return Unavailable(f"{message}. {so_far}")

    # Reading

    def read(self, service: str, operation: str, **members: Any) -> Members | None:
        """Return the answer of a read, None where what it asks for does not exist."""
        try:
            return self.send(service, operation, members)
        except ClientError as error:
            if is_missing(error):
                return None
            raise self.refusal(error, service, operation, members) from None
        except LOST as error:
            raise self.unreachable(error, service, operation) from None

    def pages(self, service: str, operation: str, member: str, **members: Any) -> Iterator[Members]:
        """Yield the items of a list from all its pages; end at a token that repeats."""
        ask, answer = "NextToken", "NextToken"
        if service == "s3":
            ask, answer = "ContinuationToken", "NextContinuationToken"
        seen: set[str] = set()
        request = members
        while True:
            try:
                page = self.send(service, operation, request)
            except ClientError as error:
                raise self.refusal(error, service, operation, members) from None
            except LOST as error:
                raise self.unreachable(error, service, operation) from None
            yield from page.get(member) or []
            token = page.get(answer) or None
            if token is None:
                return
            if token in seen:
                about = f"{service}:{operation} {named(members)}"
                raise Unavailable(f"{about}: AWS gives the same pages again and again: run again")
            seen.add(token)
            request = {**members, ask: token}

    def get_object(self, bucket: str, key: str) -> bytes | None:
        """Return the bytes of an object, None where there is none."""
        file = io.BytesIO()
        return file.getvalue() if self.download(file, Bucket=bucket, Key=key) else None

    def download(self, file: IO[bytes], **where: str) -> Members | None:
        """Write an object into a file and return S3's answer, None where there is no object."""
        for attempt in itertools.count(1):
            answer = self.read("s3", "GetObject", **where)
            if answer is None:
                return None
            try:
                for block in answer["Body"].iter_chunks(1 << 20):
                    file.write(block)
                return answer
            except LOST as error:
                if attempt == MAX_ATTEMPTS:
                    raise self.unreachable(error, "s3", "GetObject") from None
                file.seek(0)
                file.truncate()
            self.back_off(attempt)
        raise AssertionError  # the loop has no other end

    def send(self, service: str, operation: str, members: Members, client: Any = None) -> Members:
        """Send a request; send it again where only the answer was cut off and that is safe.

        Args:
            client: a boto3 client of the service, other than that of `client`.

        Raises:
            ClientError: AWS refuses it.
            Lost, or one of LOST: no answer came.
            ProjectError: it could not be sent.
        """
        about = f"{service}:{operation} {named(members)}".strip()
        for attempt in itertools.count(1):
            self.check_deadline(f"{about}: not sent any more, the time of --timeout is over")
            if rewind := getattr(members.get("Body"), "seek", None):
                rewind(0)  # a file is sent whole, also when it is sent again
            try:
                sender = client or self.client(service)
                answer: Members = getattr(sender, _snake(operation))(**members)
                return answer
            except CUT_OFF:  # boto3 does not retry these
                if operation == "UpdateEndpoint" or attempt == MAX_ATTEMPTS:
                    raise
            except LOST:
                raise
            except CREDENTIALS as error:
                raise UsageError(f"AWS credentials: {_line(error)}; log in again") from None
            except BotoCoreError as error:
                raise AwsError(f"{about}: {_line(error)}") from None
            self.back_off(attempt)
        raise AssertionError  # the loop has no other end

    def back_off(self, attempt: int) -> None:
        """Wait before the next attempt, at random and longer each time."""
        self.clock.sleep(random.uniform(0, min(5, 0.1 * 2**attempt)))

    def refusal(
        self, error: ClientError, service: str, operation: str, members: Members
    ) -> ProjectError:
        """Return the error for what AWS refused, as one line with the way out."""
        code, message = error_code(error), _line(error.response["Error"]["Message"])
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        resource = named(members)
        if code in EXPIRED:
            way_out = "set this machine's clock" if "Skewed" in code else "log in again"
            return UsageError(f"AWS credentials: {code}: {message}; {way_out}")
        if code in DENIED or "not authorized" in message:
            action = f"{service}:{IAM_ACTIONS.get(operation, operation)}"
            if key := re.search(r"kms:\w+", message):
                action += f" (and {key[0]})"
            return AwsError(
                f"{self.caller} may not {action} {resource}: allow it in the policy of the role"
                f" that runs deploy-model ({message or code})"
            )
        if code == "NoSuchBucket":
            return NoBucket(f"{resource}: the bucket does not exist: create it, or name another")
        if code in THROTTLED or status >= 500:
            return self.unavailable(f"{service}:{operation} {resource}: {code} at every attempt")
        told = f"{service}:{operation} {resource}: {code}: {message}"
        if "in-progress" in message or code in SEND_AGAIN:
            return Unavailable(told)
        return AwsError(told, 2 if code.startswith("Validation") else None)

    def unreachable(self, error: Exception, service: str, operation: str) -> Unavailable:
        """Return the error for a request that AWS did not answer."""
        return self.unavailable(f"{service}:{operation}: no answer from AWS ({_line(error)})")


@contextlib.contextmanager
def temporary_file() -> Iterator[IO[bytes]]:
    """Open a file that is deleted when it is closed.

    Raises:
        UsageError: there is no usable temporary folder, or it is full.
    """
    try:
        with tempfile.TemporaryFile() as file:
            yield file
    except OSError as error:
        if error.errno is None:  # not of the system: of what the file holds
            raise
        raise UsageError(
            f"the temporary folder of this machine (TMPDIR) cannot be used: {_line(error)}. Nothing"
            " was changed: set TMPDIR to a folder with room for a model, then run again"
        ) from None


def error_code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def is_missing(error: ClientError) -> bool:
    """Whether AWS says that what a request is about does not exist."""
    message = str(error.response["Error"]["Message"])
    if error_code(error) in MISSING:
        return True
    return error_code(error) == "ValidationException" and bool(NOT_THERE.search(message))


def named(members: Members) -> str:
    """Return the name of what a request is about."""
    if "Bucket" in members:
        return f"s3://{members['Bucket']}/{members.get('Key') or members.get('Prefix', '')}"
    names = (
        *("EndpointName", "EndpointConfigName", "ModelName", "ModelPackageName", "ResourceId"),
        *("TrainingJobName", "PipelineExecutionArn", "ResourceIds", "ModelPackageGroupName"),
        *("repositoryName", "AlarmNames", "ResourceArn"),
    )
    return next((str(members[name]) for name in names if members.get(name)), "").strip()


def _check_whole(response_dict: Members, operation_model: Any, **_: Any) -> None:
    """Raise where an answer was cut off; boto3 takes half an answer in JSON for an empty one."""
    if operation_model.http["method"] == "HEAD":
        return  # its length is that of the object, which is not sent
    body, length = response_dict["body"], response_dict["headers"].get("content-length")
    if isinstance(body, bytes) and length and len(body) != int(length):
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=length)


def _snake(operation: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operation).lower()


def _line(text: object) -> str:
    return " ".join(str(text).split())
