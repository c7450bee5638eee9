"""What the commands refuse before anything is imported, uploaded or started, and how they say it.

Everything a user can get wrong raises UsageError with one line that says what to do.
"""

import difflib
import logging
import re
import warnings

from sagemaker_project.errors import UsageError

ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# The partitions but `aws`, by how the names of their regions begin.
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


def near(name, names):
    """` Did you mean X?` where one of `names` is close to `name`, else what there is."""
    matches = difflib.get_close_matches(str(name), list(names), n=1)
    return f"Did you mean {matches[0]}?" if matches else f"There are: {', '.join(sorted(names))}."


def check_role_arn(role_arn, where="--role-arn"):
    """Refuse what is not the ARN of an IAM role."""
    if not ROLE_ARN.fullmatch(str(role_arn)):
        raise UsageError(
            f"{where}: {role_arn!r} is not the ARN of an IAM role;"
            " one looks like arn:aws:iam::123456789012:role/service-role/MyExecutionRole"
        )


def partition_of(region):
    """The part of AWS that a region belongs to: the second word of its ARNs."""
    return next((p for start, p in PARTITIONS.items() if region.startswith(start)), "aws")


def check_partition(role_arn, region, where="--role-arn"):
    """Refuse a role of another part of AWS than the region is in: no call there could use it."""
    found, wanted = role_arn.split(":")[1], partition_of(region)
    if found != wanted:
        raise UsageError(
            f"{where}: {role_arn} is a role of {found}, but {region} is a region of {wanted}:"
            f" give a role that begins with arn:{wanted}:iam::, or another region"
        )


def check_region(region, where, session=None):
    """Refuse what is not a region with SageMaker."""
    import boto3

    session = session or boto3.Session()
    regions = [
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("sagemaker", partition)
    ]
    if region not in regions:
        close = difflib.get_close_matches(region, regions, n=1)
        hint = f"Did you mean {close[0]}?" if close else "One looks like us-east-1."
        raise UsageError(f"{where}: {region!r} has no SageMaker. {hint}")


def check_bucket(bucket, where):
    """Refuse what S3 would not take as the name of a bucket."""
    if not BUCKET.fullmatch(str(bucket)) or ".." in str(bucket):
        raise UsageError(
            f"{where}: {bucket!r} is not the name of a bucket: 3 to 63 of a-z, 0-9, '.' and '-'"
        )


def check_name(name, where):
    """Refuse what SageMaker would not take as the name of a pipeline or a package group."""
    if not NAME.fullmatch(str(name)):
        raise UsageError(f"{where}: {name!r}: 1 to 63 of a-z, A-Z, 0-9 and single '-' are wanted")


def expected_owner(bucket):
    """Keeps an upload out of a bucket that somebody else made under SageMaker's default name."""
    named = re.fullmatch(r"sagemaker-[a-z0-9-]+-(\d{12})", bucket)
    return {"ExpectedBucketOwner": named[1]} if named else {}


def aws_errors():
    """What boto3 raises, by the three roots it has."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, Boto3Error


def quiet_sdk():
    """Keep the SDK's chatter about its own configuration out of what the user reads."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


def emulator():
    """The package that answers instead of AWS; UsageError where it is not installed."""
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
