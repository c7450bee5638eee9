"""The checks of arguments and settings that all commands share.

Each check runs before anything is imported, uploaded or started, and raises UsageError with one
line that says what to do. boto3 is imported inside the functions that need it, so that `--help`
stays fast.
"""

import difflib
import logging
import re
import warnings
from collections.abc import Iterable
from types import ModuleType
from typing import Any, TypeAlias

from sagemaker_project.errors import UsageError as UsageError

Client: TypeAlias = Any  # a client or session of boto3, which creates their methods at run time
Json: TypeAlias = dict[str, Any]  # a request or an answer of AWS

ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Prefix of a region's name -> partition, for all partitions other than `aws`.
PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
    "eusc-": "aws-eusc",
}
NAME = re.compile(r"(?=.{1,63}$)[a-zA-Z0-9](-*[a-zA-Z0-9])*")


def near(name: str, names: Iterable[str]) -> str:
    """Return "Did you mean X?" if one of `names` is close to `name`, else a list of all names."""
    names = list(names)
    matches = difflib.get_close_matches(str(name), names, n=1)
    return f"Did you mean {matches[0]}?" if matches else f"There are: {', '.join(sorted(names))}."


def check_role_arn(role_arn: object, where: str = "--role-arn") -> None:
    """Raise UsageError unless `role_arn` is the ARN of an IAM role."""
    if not ROLE_ARN.fullmatch(str(role_arn)):
        raise UsageError(
            f"{where}: {role_arn!r} is not the ARN of an IAM role;"
            " one looks like arn:aws:iam::123456789012:role/service-role/MyExecutionRole"
        )


def partition_of(region: str) -> str:
    """Return the partition of a region, which is the second word of its ARNs."""
    return next((p for start, p in PARTITIONS.items() if region.startswith(start)), "aws")


def check_partition(role_arn: str, region: str, where: str = "--role-arn") -> None:
    """Raise UsageError if the role belongs to another partition than the region."""
    found, wanted = role_arn.split(":")[1], partition_of(region)
    if found != wanted:
        raise UsageError(
            f"{where}: {role_arn} is a role of {found}, but {region} is a region of {wanted}:"
            f" give a role that begins with arn:{wanted}:iam::, or another region"
        )


def check_region(region: object, where: str, session: Client = None) -> None:
    """Raise UsageError unless `region` is a region that has SageMaker."""
    import boto3

    session = session or boto3.Session()
    regions = [
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("sagemaker", partition)
    ]
    if region not in regions:
        close = difflib.get_close_matches(str(region), regions, n=1)
        hint = f"Did you mean {close[0]}?" if close else "One looks like us-east-1."
        raise UsageError(f"{where}: {region!r} has no SageMaker. {hint}")


def check_bucket(bucket: object, where: str) -> None:
    """Raise UsageError unless S3 accepts `bucket` as the name of a bucket."""
    if not BUCKET.fullmatch(str(bucket)) or ".." in str(bucket):
        raise UsageError(
            f"{where}: {bucket!r} is not the name of a bucket: 3 to 63 of a-z, 0-9, '.' and '-'"
        )


def check_name(name: object, where: str) -> None:
    """Raise UsageError unless SageMaker accepts `name` for a pipeline or a model package group."""
    if not NAME.fullmatch(str(name)):
        raise UsageError(f"{where}: {name!r}: expected 1 to 63 of a-z, A-Z, 0-9 and single '-'")


def expected_owner(bucket: str) -> dict[str, str]:
    """Return the arguments that stop an upload to a default bucket that another account owns.

    SageMaker's default bucket is named after the account, but any account can create a bucket of
    that name first.
    """
    named = re.fullmatch(r"sagemaker-[a-z0-9-]+-(\d{12})", bucket)
    return {"ExpectedBucketOwner": named[1]} if named else {}


def aws_errors() -> tuple[type[Exception], ...]:
    """Return the base classes of everything that boto3 raises."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, Boto3Error


def quiet_sdk() -> None:
    """Silence the log messages and warnings of the SageMaker SDK about its own configuration."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


def emulator() -> ModuleType:
    """Return the package sagemaker_emulator; raise UsageError if it is not installed."""
    try:
        import sagemaker_emulator
    except ModuleNotFoundError as error:
        if error.name != "sagemaker_emulator":
            raise
        raise UsageError(
            "--local: the package sagemaker-emulator is not installed here: install"
            " sagemaker-project[local], or leave --local out to act in AWS"
        ) from None
    return sagemaker_emulator
