"""What `deploy` reads and changes in AWS.

A mutating call takes effect at most once: after a retry or a lost reply, or where AWS answers that
it was done already, the resource is looked at, and the call counts as done if the resource is as
the call asks. So every change here may safely be asked for twice.
"""

import contextlib
import hashlib
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from botocore.exceptions import ClientError

from sagemaker_project.deploy.calls import Call, Members
from sagemaker_project.deploy.client import (
    LOST,
    MAX_ATTEMPTS,
    NO_KEY,
    SEND_AGAIN,
    Client,
    Lost,
    error_code,
    is_missing,
    temporary_file,
)
from sagemaker_project.deploy.container import container_of
from sagemaker_project.deploy.matching import matches
from sagemaker_project.deploy.scaling import TRACKED_METRIC, scalable_target
from sagemaker_project.errors import AwsError, Refused, Unavailable

SETTLES_SECONDS = 60  # CreateEndpoint may not see a configuration that was just created
ECR_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.[^/]+/([^:]+)(?::(.+))?")


class Conflict(Exception):
    """Another write came before a conditional one."""


class Aws(Client):
    """SageMaker and what `deploy` needs beside it, in one region, until a deadline."""

    def client_in_haste(self, service: str) -> Any:
        """Return a client for reads that are not worth a wait: it tries twice."""
        return self._new_client(service, {"total_max_attempts": 2})

    def change(self, call: Call) -> Members:
        """Make a change, once.

        Raises:
            Conflict: a conditional write came second.
        """
        patience = self.clock.monotonic() + SETTLES_SECONDS
        for attempt in itertools.count(1):
            try:
                return self.send(call.service, call.operation, call.members)
            except Lost as lost:
                if self._is_done(call):
                    return {}
                if attempt == MAX_ATTEMPTS:
                    raise self.unreachable(lost, call.service, call.operation) from None
            except LOST as lost:
                if self._is_done(call):
                    return {}
                raise self.unreachable(lost, call.service, call.operation) from None
            except ClientError as refused:
                if self._is_done_already(call, refused):
                    return {}
                if not _settles(call, refused) or self.clock.monotonic() > patience:
                    about = (call.service, call.operation, call.members)
                    raise self.refusal(refused, *about) from None
            self.back_off(attempt)
        raise AssertionError  # the loop has no other end

    def _is_done_already(self, call: Call, error: ClientError) -> bool:
        message = error.response["Error"]["Message"]
        if call.operation.startswith(("Delete", "Deregister", "AddTags")):
            return is_missing(error)
        if "already exist" in message or "in-progress" in message:
            return self._is_done(call, or_conflict=call.operation.startswith("Create"))
        came_second = {"PreconditionFailed", "412"}
        if "IfMatch" in call.members:
            came_second |= NO_KEY
        if call.service == "s3" and error_code(error) in came_second:
            if self._is_done(call):
                return True
            raise Conflict
        return False

    def _is_done(self, call: Call, or_conflict: bool = False) -> bool:
        """Whether what exists is what the call asks for.

        Args:
            or_conflict: raise where something else exists under the same name.
        """
        found = self._resource_of(call)
        if found is None or matches(call.members, found):
            return found is not None
        if or_conflict and call.operation == "CreateEndpoint":
            raise Unavailable(f"{call.resource} has just been created by another: run again")
        if or_conflict:
            raise AwsError(
                f"{call.resource} exists with other content than this project gives that name:"
                " it has just been made. Unless it serves (see deploy-model status), delete it"
                f" ({_delete_command(call)} {self.aws_flags}), then run again"
            )
        return False

    def _resource_of(self, call: Call) -> Members | None:
        """Read what a call makes or changes, as members of that call."""
        members = call.members
        match call.operation:
            case "CreateModel":
                return self.model(members["ModelName"])
            case "UpdateModelPackage":
                return self.package(members["ModelPackageArn"])
            case "CreateEndpointConfig":
                return self.endpoint_config(members["EndpointConfigName"])
            case "CreateEndpoint" | "UpdateEndpoint":
                endpoint = self.endpoint(members["EndpointName"])
                if endpoint is None:
                    return None
                pending = endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
                becomes = pending or endpoint["EndpointConfigName"]
                return {**members, "EndpointConfigName": becomes}
            case "UpdateEndpointWeightsAndCapacities":
                endpoint = self.endpoint(members["EndpointName"]) or {"ProductionVariants": []}
                now = {v["VariantName"]: v for v in endpoint["ProductionVariants"]}
                wanted = members["DesiredWeightsAndCapacities"]
                found = [now.get(variant["VariantName"], {}) for variant in wanted]
                return {**members, "DesiredWeightsAndCapacities": found}
            case "PutObject":
                body = members["Body"]
                stored = self.sha256_of(f"s3://{members['Bucket']}/{members['Key']}")
                sent = sha256_of(io.BytesIO(body) if isinstance(body, bytes) else body)
                return (
                    None if stored is None else {**members, "Body": body if stored == sent else b""}
                )
        return None

    # What exists

    def model(self, name: str) -> Members | None:
        return self.read("sagemaker", "DescribeModel", ModelName=name)

    def endpoint_config(self, name: str) -> Members | None:
        return self.read("sagemaker", "DescribeEndpointConfig", EndpointConfigName=name)

    def endpoint(self, name: str) -> Members | None:
        return self.read("sagemaker", "DescribeEndpoint", EndpointName=name)

    def tags(self, arn: str) -> dict[str, str]:
        tags = self.pages("sagemaker", "ListTags", "Tags", ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for tag in tags}

    def package(self, arn: str) -> Members | None:
        return self.read("sagemaker", "DescribeModelPackage", ModelPackageName=arn)

    def latest_approved(self, group: str) -> str | None:
        """Return the ARN of the highest approved version, None where there is none.

        The order of a list depends on time and on the server; a version is a number.
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

    def alarms(self, names: list[str]) -> dict[str, Members]:
        """Return {name: DescribeAlarms entry} of those that exist."""
        if not names:
            return {}
        found = self.pages("cloudwatch", "DescribeAlarms", "MetricAlarms", AlarmNames=names)
        return {alarm["AlarmName"]: alarm for alarm in found}

    def scaling(self, endpoint: str, variants: Sequence[str]) -> dict[str, Members]:
        """Return {variant: AutoScaling members} as Application Auto Scaling has them."""
        if not variants:
            return {}
        targets = self.pages(
            "application-autoscaling",
            "DescribeScalableTargets",
            "ScalableTargets",
            ServiceNamespace="sagemaker",
            ResourceIds=[scalable_target(endpoint, v)["ResourceId"] for v in variants],
        )
        return {item["ResourceId"].rsplit("/", 1)[1]: self._rule(item) for item in targets}

    def _rule(self, target: Members) -> Members:
        rule = {name: target[name] for name in ("MinCapacity", "MaxCapacity")}
        for policy in self.pages(
            "application-autoscaling",
            "DescribeScalingPolicies",
            "ScalingPolicies",
            ServiceNamespace="sagemaker",
            ResourceId=target["ResourceId"],
        ):
            settings = policy.get("TargetTrackingScalingPolicyConfiguration", {})
            metric = settings.get("PredefinedMetricSpecification", {})
            if metric.get("PredefinedMetricType") == TRACKED_METRIC:
                names = ("TargetValue", "ScaleInCooldown", "ScaleOutCooldown")
                rule |= {name: settings[name] for name in names if name in settings}
        return rule

    def pin(self, package: Members, check: Callable[[IO[bytes], str], object]) -> Members:
        """Return what identifies the bytes that a package serves.

        Args:
            check: called with the artifact, open for reading, and the image that will serve it;
                raises what is wrong with it.

        Raises:
            Refused: the model or the image does not exist any more, or the package does not have
                one container that a model can be given.
        """
        container = container_of(package)
        url: str = container["ModelDataUrl"]
        with self.downloaded(url) as (file, answer):
            if answer is None:
                raise Refused(f"its {url} is gone: register the model anew")
            sha256 = sha256_of(file)
            file.seek(0)
            check(file, container["Image"])
        return {
            "ModelPackageArn": package["ModelPackageArn"],
            "ModelDataUrl": url,
            "VersionId": answer.get("VersionId", ""),
            "ETag": answer["ETag"].strip('"'),
            "Sha256": sha256,
            "Image": container["Image"],
            "ImageDigest": self.image_digest(container["Image"]),
        }

    @contextlib.contextmanager
    def downloaded(self, url: str) -> Iterator[tuple[IO[bytes], Members | None]]:
        """Give a temporary file with the bytes of an S3 object, and S3's answer.

        The answer is None where there is no object.
        """
        bucket, _, key = url.removeprefix("s3://").partition("/")
        with temporary_file() as file:
            yield file, self.download(file, Bucket=bucket, Key=key)

    def sha256_of(self, url: str) -> str | None:
        """Read an S3 object and return the sha256 of its bytes, None where there is none."""
        with self.downloaded(url) as (file, answer):
            return None if answer is None else sha256_of(file)

    def image_digest(self, image: str) -> str:
        """Return the digest that the tag of an image in ECR stands for at this moment."""
        if "@sha256:" in image:
            return image.partition("@")[2]
        found = ECR_IMAGE.fullmatch(image)
        if not found:
            raise Refused(f"{image} is not an image in ECR, so its bytes cannot be pinned")
        account, _, repository, tag = found.groups()
        answer = self.read(
            "ecr",
            "BatchGetImage",
            registryId=account,
            repositoryName=repository,
            imageIds=[{"imageTag": tag or "latest"}],
        )
        if not answer or not answer["images"]:
            raise Refused(f"the image {image} does not exist (any more)")
        return str(answer["images"][0]["imageId"]["imageDigest"])


def sha256_of(file: IO[bytes]) -> str:
    """Return the sha256 of a whole file, in hexadecimal."""
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _settles(call: Call, error: ClientError) -> bool:
    """Whether a refusal may pass: AWS does not see yet what was just created, or S3 asks again."""
    if call.service == "s3":
        return error_code(error) in SEND_AGAIN
    creating = ("CreateEndpoint", "UpdateEndpoint", "CreateEndpointConfig")
    return call.operation in creating and is_missing(error)


def _delete_command(call: Call) -> str:
    name = "model" if call.operation == "CreateModel" else "endpoint-config"
    return f"aws sagemaker delete-{name} --{name}-name {call.resource}"
