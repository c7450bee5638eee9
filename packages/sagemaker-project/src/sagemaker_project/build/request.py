"""What one `run-pipeline` was asked to do: the checked, immutable form of its arguments."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagemaker_project import usage
from sagemaker_project.build import driver
from sagemaker_project.build.parameters import split_parameters
from sagemaker_project.errors import UsageError
from sagemaker_project.project import Project


@dataclass(frozen=True)
class RunRequest:
    """The arguments of `run-pipeline` after every check that needs neither AWS nor the pipeline."""

    module_name: str
    kwargs: Mapping[str, Any]  # of get_pipeline()
    role_arn: str
    region: str
    description: str | None
    tags: Sequence[driver.Tag]
    parameters: Mapping[str, str]  # of the execution
    input_data: Path | None
    local: bool
    wait: bool
    timeout_seconds: float
    cooldown_seconds: float | None


def read_request(project: Project, args: Namespace, environment: Mapping[str, str]) -> RunRequest:
    """Check the parsed arguments and return them as a RunRequest.

    Args:
        environment: the variables of the process; AWS_REGION and ARTIFACT_BUCKET are used.

    Raises:
        UsageError: an argument or a variable cannot be used.
    """
    usage.check_role_arn(args.role_arn)
    given_kwargs = driver.read_option("--kwargs", args.kwargs)
    region, bucket = environment.get("AWS_REGION"), environment.get("ARTIFACT_BUCKET")
    if region:
        usage.check_region(region, "AWS_REGION")
    if bucket:
        usage.check_bucket(bucket, "ARTIFACT_BUCKET")
    region = region or project.region
    defaults = {"role": args.role_arn, "region": region, "default_bucket": bucket}
    kwargs = driver.check_kwargs(args.module_name, given_kwargs, defaults)
    region = kwargs.get("region") or region
    usage.check_partition(args.role_arn, region)
    tags = driver.check_tags(driver.read_option("--tags", args.tags))
    parameters = split_parameters(args.parameters)
    return RunRequest(
        module_name=args.module_name,
        kwargs=kwargs,
        role_arn=args.role_arn,
        region=region,
        description=args.description,
        tags=tags,
        parameters=parameters,
        input_data=_input_data(args.input_data, parameters),
        local=args.local,
        wait=not args.no_wait,
        timeout_seconds=args.timeout,
        cooldown_seconds=args.cooldown,
    )


def _input_data(name: str | None, parameters: Mapping[str, str]) -> Path | None:
    """Return the path of --input-data; raise UsageError if there is nothing."""
    if name is None:
        return None
    path = Path(name)
    if not name or not path.exists():
        raise UsageError(f"--input-data {name!r}: there is no such file or folder")
    if "InputDataUrl" in parameters:
        raise UsageError("--input-data and the parameter InputDataUrl both name the data: give one")
    return path
