"""The one place of `deploy` that talks to AWS: reading what is there, and changing it safely.

Throttles and passing faults are retried by boto3 (mode and number of attempts as AWS_RETRY_MODE and
AWS_MAX_ATTEMPTS say, else standard and 10), never past the command's deadline. A change whose
answer was lost, or that AWS calls done already, is looked at before anything else happens: if what
is there is what was asked for, the change was made. So every change here may safely be asked for
twice. What AWS refuses for good becomes one line.
"""

import hashlib
import io
import itertools
import json
import math
import os
import random
import re
import tempfile
import threading
import time

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

from sagemaker_project.deploy.planner import DIGITS, TRACKED, scalable_target
from sagemaker_project.usage import UsageError

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
NO_OBJECT = NO_KEY | {"NoSuchBucket", "NoSuchVersion"}
AT_ONCE = {"ConditionalRequestConflict", "OperationAborted"}  # S3 asks to send it again
NOT_THERE = re.compile("could not find|does not exist|not found", re.I)
SETTLES_SECONDS = 60  # CreateEndpoint may not see a configuration that was just created
CUT_OFF = (FlexibleChecksumError, IncompleteReadError, ResponseParserError)
LOST = (ConnectionError, HTTPClientError, *CUT_OFF)
CREDENTIALS = (
    *(NoCredentialsError, PartialCredentialsError, CredentialRetrievalError),
    *(SSOError, TokenRetrievalError),
)
IAM_ACTIONS = {"ListObjectsV2": "ListBucket"}  # where it is not the operation's name
MAX_ATTEMPTS = 10


class AwsError(Exception):
    """AWS said no, for good. The message is one line; `code` is the exit code it leads to."""

    def __init__(self, message, code=5):
        super().__init__(message)
        self.code = code


class Conflict(Exception):
    """A conditional write lost against somebody else's."""


class Lost(Exception):
    """No answer came to a request that is not sent again before its effect was looked at."""


class Aws:
    def __init__(self, region, deadline):
        """`deadline` is a time of time.monotonic()."""
        self.region = region
        self.deadline = deadline
        self.clients, self.making = {}, threading.Lock()
        self.caller = "the caller"
        self.begun = False  # whether anything but the lock may have been changed

    @property
    def session(self):
        """One for all: each session reads the service models anew."""
        import boto3

        try:
            if boto3.DEFAULT_SESSION is None:
                boto3.setup_default_session()
        except BotoCoreError as error:
            raise UsageError(f"AWS credentials: {error}") from None
        return boto3.DEFAULT_SESSION

    def client(self, service):
        with self.making:  # boto3's clients serve any thread, but only one may make them
            if service not in self.clients:
                retries = {}
                if "AWS_MAX_ATTEMPTS" not in os.environ:
                    retries = {"mode": os.environ.get("AWS_RETRY_MODE", "standard")}
                    retries["total_max_attempts"] = MAX_ATTEMPTS
                self.clients[service] = self._new_client(service, retries)
            return self.clients[service]

    def runtime(self):
        """A client that invokes endpoints and tries nothing twice: whoever tests counts errors."""
        return self._new_client("sagemaker-runtime", {"total_max_attempts": 1})

    def _new_client(self, service, retries):
        config = Config(
            retries=retries or None,
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=16,
            user_agent_extra="deploy-model",
        )
        try:
            client = self.session.client(service, region_name=self.region, config=config)
        except BotoCoreError as error:
            raise UsageError(f"AWS credentials: {error}") from None
        client.meta.events.register_first("needs-retry", self._before_a_retry)
        client.meta.events.register_first("before-parse", _check_whole)
        return client

    def _before_a_retry(self, operation, caught_exception=None, response=None, **_):
        failed = caught_exception or (response and response[0].status_code >= 500)
        if failed and operation.name == "UpdateEndpoint":
            raise Lost(caught_exception or f"HTTP {response[0].status_code}")
        if caught_exception or (response and response[0].status_code >= 300):
            about = f"{operation.service_model.service_name}:{operation.name}"
            self.check_deadline(f"{about}: AWS did not answer in time")

    def extend(self, seconds):
        self.deadline = max(self.deadline, time.monotonic() + seconds)

    def check_deadline(self, told):
        if time.monotonic() >= self.deadline:
            raise self.later(told)

    def later(self, told):
        """An error that the same command may get past, run again."""
        so_far = "Nothing that serves was changed: run the same command again"
        if self.begun:
            so_far = "What was begun is in the ledger: run the same command again to go on"
        return AwsError(f"{told}. {so_far}", 4)

    # Reading

    def read(self, service, operation, **members):
        """The answer of a read; None where what it is about does not exist."""
        try:
            return self._send(service, operation, members)
        except ClientError as error:
            if _missing(error):
                return None
            raise self._refusal(error, service, operation, members) from None
        except LOST as error:
            raise self._unreachable(error, service, operation) from None

    def pages(self, service, operation, member, **members):
        """All items of a list, whatever the size of its pages; a list that runs in circles ends."""
        asks, tells = "NextToken", "NextToken"
        if service == "s3":
            asks, tells = "ContinuationToken", "NextContinuationToken"
        seen, asked = {None}, members
        while True:
            try:
                page = self._send(service, operation, asked)
            except ClientError as error:
                raise self._refusal(error, service, operation, members) from None
            except LOST as error:
                raise self._unreachable(error, service, operation) from None
            yield from page.get(member) or []
            token = page.get(tells) or None
            if token is None:
                return
            if token in seen:
                about = f"{service}:{operation} {named(operation, members)}"
                raise AwsError(f"{about}: AWS gives the same pages again and again: run again", 4)
            seen.add(token)
            asked = {**members, asks: token}

    def get_object(self, bucket, key):
        """The bytes of an object, None where there is none."""
        file = io.BytesIO()
        return self.download(file, Bucket=bucket, Key=key) and file.getvalue()

    def download(self, file, **where):
        """Write an object into a file; what S3 says of it, None where there is none."""
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
                    raise self._unreachable(error, "s3", "GetObject") from None
                file.seek(0)
                file.truncate()
            self._pause(attempt)

    def _send(self, service, operation, members):
        about = f"{service}:{operation} {named(operation, members)}".strip()
        for attempt in itertools.count(1):
            self.check_deadline(f"{about}: not asked any more, the time of --timeout is over")
            try:
                return getattr(self.client(service), _snake(operation))(**members)
            except CUT_OFF:  # boto3 does not ask again for the rest
                if operation == "UpdateEndpoint" or attempt == MAX_ATTEMPTS:
                    raise
            except LOST:
                raise
            except CREDENTIALS as error:
                raise UsageError(f"AWS credentials: {_line(error)}; log in again") from None
            except BotoCoreError as error:
                raise AwsError(f"{about}: {_line(error)}") from None
            self._pause(attempt)

    def _pause(self, attempt):
        time.sleep(random.uniform(0, min(5, 0.1 * 2**attempt)))

    def _refusal(self, error, service, operation, members):
        """What AWS said no to, as one line with the way out."""
        code, message = error.response["Error"]["Code"], _line(error.response["Error"]["Message"])
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        resource = named(operation, members)
        if code in EXPIRED:
            way = "set this machine's clock" if "Skewed" in code else "log in again"
            return UsageError(f"AWS credentials: {code}: {message}; {way}")
        if code in DENIED or "not authorized" in message:
            action = f"{service}:{IAM_ACTIONS.get(operation, operation)}"
            if key := re.search(r"kms:\w+", message):
                action += f" (and {key[0]})"
            return AwsError(
                f"{self.caller} may not {action} {resource}: allow it in the policy of the role"
                f" that runs deploy-model ({message or code})"
            )
        if code == "NoSuchBucket":
            return UsageError(f"{resource}: the bucket does not exist: create it, or name another")
        if code in THROTTLED or status >= 500:
            return self.later(f"{service}:{operation} {resource}: {code} at every attempt")
        busy = "in-progress" in message or code in AT_ONCE
        exit_code = 4 if busy else 2 if code.startswith("Validation") else 5
        return AwsError(f"{service}:{operation} {resource}: {code}: {message}", exit_code)

    def _unreachable(self, error, service, operation):
        return self.later(f"{service}:{operation}: no answer from AWS ({_line(error)})")

    # Changing

    def change(self, call):
        """Make a change, once: asked for again, or answered by silence, it is looked at instead.

        Raises:
            Conflict: a conditional write came second.
        """
        patience = time.monotonic() + SETTLES_SECONDS
        for attempt in itertools.count():
            try:
                return self._send(call.service, call.operation, call.members)
            except Lost as lost:
                if self._is_done(call):
                    return {}
                if attempt + 1 == MAX_ATTEMPTS:
                    raise self._unreachable(lost, call.service, call.operation) from None
            except LOST as lost:
                if self._is_done(call):
                    return {}
                raise self._unreachable(lost, call.service, call.operation) from None
            except ClientError as refused:
                if self._is_done_already(call, refused):
                    return {}
                if not _settling(call, refused) or time.monotonic() > patience:
                    told = (call.service, call.operation, call.members)
                    raise self._refusal(refused, *told) from None
            self._pause(attempt + 1)

    def _is_done_already(self, call, error):
        message = error.response["Error"]["Message"]
        if call.operation.startswith(("Delete", "Deregister")):
            return _missing(error)
        if "already exist" in message or "in-progress" in message:
            return self._is_done(call, or_conflict=call.operation.startswith("Create"))
        lost = {"PreconditionFailed", "412"} | (NO_KEY if "IfMatch" in call.members else set())
        if call.service == "s3" and error.response["Error"]["Code"] in lost:
            if self._is_done(call):
                return True
            raise Conflict
        return False

    def _is_done(self, call, or_conflict=False):
        """Whether what is there now is what the call asks for."""
        found = self._look(call)
        if found is None or same(call.members, found):
            return found is not None
        if or_conflict and call.operation == "CreateEndpoint":
            raise AwsError(f"somebody else has just created {call.resource}: run again", 4)
        if or_conflict:
            raise AwsError(
                f"{call.resource} exists with other content than this project gives that name:"
                " somebody has just made it. Unless it serves (see deploy-model status), delete it"
                f" ({_delete_command(call)}), then run again"
            )
        return False

    def _look(self, call):
        if call.operation == "CreateModel":
            return self.model(call.members["ModelName"])
        if call.operation == "CreateEndpointConfig":
            return self.endpoint_config(call.members["EndpointConfigName"])
        if call.operation in ("CreateEndpoint", "UpdateEndpoint"):
            endpoint = self.endpoint(call.members["EndpointName"])
            if endpoint is None:
                return None
            pending = endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
            becomes = pending or endpoint["EndpointConfigName"]
            return {**call.members, "EndpointConfigName": becomes}
        if call.operation == "UpdateEndpointWeightsAndCapacities":
            endpoint = self.endpoint(call.members["EndpointName"]) or {"ProductionVariants": []}
            now = {variant["VariantName"]: variant for variant in endpoint["ProductionVariants"]}
            asked = call.members["DesiredWeightsAndCapacities"]
            found = [now.get(variant["VariantName"], {}) for variant in asked]
            return {**call.members, "DesiredWeightsAndCapacities": found}
        if call.operation == "PutObject":
            body = self.get_object(call.members["Bucket"], call.members["Key"])
            return None if body is None else {**call.members, "Body": body}
        return None

    # What is there

    def model(self, name):
        return self.read("sagemaker", "DescribeModel", ModelName=name)

    def endpoint_config(self, name):
        return self.read("sagemaker", "DescribeEndpointConfig", EndpointConfigName=name)

    def endpoint(self, name):
        return self.read("sagemaker", "DescribeEndpoint", EndpointName=name)

    def package(self, arn):
        return self.read("sagemaker", "DescribeModelPackage", ModelPackageName=arn)

    def latest_approved(self, group):
        """The ARN of the highest version that is approved, None where there is none.

        The order of a list is a matter of time and of the server; a version is a number.
        """
        packages = self.pages(
            "sagemaker",
            "ListModelPackages",
            "ModelPackageSummaryList",
            ModelPackageGroupName=group,
            ModelApprovalStatus="Approved",
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=100,
        )
        versions = {item["ModelPackageVersion"]: item["ModelPackageArn"] for item in packages}
        return versions[max(versions)] if versions else None

    def alarms(self, names):
        """{name: DescribeAlarms entry} of those that exist."""
        if not names:
            return {}
        found = self.pages("cloudwatch", "DescribeAlarms", "MetricAlarms", AlarmNames=names)
        return {alarm["AlarmName"]: alarm for alarm in found}

    def scaling(self, endpoint, variants):
        """{variant: AutoScaling members} as Application Auto Scaling has them."""
        ids = [scalable_target(endpoint, variant)["ResourceId"] for variant in variants]
        found = {}
        if not ids:
            return found
        for item in self.pages(
            "application-autoscaling",
            "DescribeScalableTargets",
            "ScalableTargets",
            ServiceNamespace="sagemaker",
            ResourceIds=ids,
        ):
            rule = {name: item[name] for name in ("MinCapacity", "MaxCapacity")}
            for policy in self.pages(
                "application-autoscaling",
                "DescribeScalingPolicies",
                "ScalingPolicies",
                ServiceNamespace="sagemaker",
                ResourceId=item["ResourceId"],
            ):
                settings = policy.get("TargetTrackingScalingPolicyConfiguration", {})
                metric = settings.get("PredefinedMetricSpecification", {})
                if metric.get("PredefinedMetricType") == TRACKED:
                    names = ("TargetValue", "ScaleInCooldown", "ScaleOutCooldown")
                    rule |= {name: settings[name] for name in names if name in settings}
            found[item["ResourceId"].rsplit("/", 1)[1]] = rule
        return found

    def pin(self, package, check):
        """What identifies the bytes that a package serves.

        Args:
            check: called with the artifact as a file and the image that will serve it; raises
                what speaks against it.
        """
        (container,) = package["InferenceSpecification"]["Containers"]
        bucket, _, key = container["ModelDataUrl"].removeprefix("s3://").partition("/")
        with tempfile.TemporaryFile() as file:
            head = self.download(file, Bucket=bucket, Key=key)
            if head is None:
                arn, url = package["ModelPackageArn"], container["ModelDataUrl"]
                raise AwsError(f"{arn}: its {url} is gone: register the model anew", 3)
            file.seek(0)
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            file.seek(0)
            check(file, container["Image"])
        return {
            "ModelPackageArn": package["ModelPackageArn"],
            "ModelDataUrl": container["ModelDataUrl"],
            "VersionId": head.get("VersionId", ""),
            "ETag": head["ETag"].strip('"'),
            "Sha256": digest.hexdigest(),
            "Image": container["Image"],
            "ImageDigest": self.image_digest(container["Image"]),
        }

    def image_digest(self, image):
        """The digest that the tag of an image in ECR stands for at this moment."""
        if "@sha256:" in image:
            return image.partition("@")[2]
        found = re.fullmatch(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.[^/]+/([^:]+)(?::(.+))?", image)
        if not found:
            raise AwsError(f"{image} is not an image in ECR, so its bytes cannot be pinned", 3)
        account, _, repository, tag = found.groups()
        answer = self.read(
            "ecr",
            "BatchGetImage",
            registryId=account,
            repositoryName=repository,
            imageIds=[{"imageTag": tag or "latest"}],
        )
        images = answer["images"] if answer else []
        if not images:
            raise AwsError(f"the image {image} does not exist (any more)", 3)
        return images[0]["imageId"]["imageDigest"]


def named(operation, members):
    """The resource that a request is about, for a message."""
    if "Bucket" in members:
        return f"s3://{members['Bucket']}/{members.get('Key') or members.get('Prefix', '')}"
    names = (
        *("EndpointName", "EndpointConfigName", "ModelName", "ModelPackageName", "ResourceId"),
        *("ResourceIds", "ModelPackageGroupName", "repositoryName", "AlarmNames"),
    )
    return next((str(members[name]) for name in names if members.get(name)), "").strip()


def _check_whole(response_dict, **_):
    """boto3 takes half an answer in JSON for an empty one."""
    body, length = response_dict["body"], response_dict["headers"].get("content-length")
    if isinstance(body, bytes) and length and len(body) != int(length):
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=length)


def _snake(operation):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operation).lower()


def _line(text):
    return " ".join(str(text).split())


def _missing(error):
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    if code in NO_OBJECT or code in ("ResourceNotFound", "RepositoryNotFoundException"):
        return True
    if code in ("ObjectNotFoundException", "ImageNotFoundException"):
        return True
    return code == "ValidationException" and bool(NOT_THERE.search(message))


def _settling(call, error):
    """Whether AWS does not see yet what has just been created, or who comes first."""
    if call.service == "s3":
        return error.response["Error"]["Code"] in AT_ONCE
    return call.operation in ("CreateEndpoint", "UpdateEndpoint", "CreateEndpointConfig") and (
        _missing(error)
    )


def same(wanted, found):
    """Whether all that `wanted` says is so in `found`; what it does not say may be anything."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(
            name == "Tags" or (name in found and same(value, found[name]))
            for name, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(found, list):
        pairs = zip(wanted, found, strict=False)
        return len(wanted) == len(found) and all(same(a, b) for a, b in pairs)
    if isinstance(wanted, float) and isinstance(found, int | float):
        return math.isclose(wanted, found, rel_tol=DIGITS)
    return wanted == found


def _delete_command(call):
    name = "model" if call.operation == "CreateModel" else "endpoint-config"
    return f"aws sagemaker delete-{name} --{name}-name {call.resource}"


def dump(content):
    return json.dumps(content, indent=2, default=str) + "\n"
