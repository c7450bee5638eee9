"""What `run-pipeline` does: read the request, create or update the pipeline, start it, follow it.

Apart from run_pipeline.py, so that `run-pipeline --help` starts at once.
"""

import contextlib
import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from datetime import timezone
from pathlib import Path
from typing import TYPE_CHECKING

from sagemaker_project import usage
from sagemaker_project.build import display, driver, execution, input_data, provenance
from sagemaker_project.build.champion import champion_parameters
from sagemaker_project.build.cooldown import Cooldown, time_of
from sagemaker_project.build.described import definition_of
from sagemaker_project.build.packages import check_packages
from sagemaker_project.build.parameters import check_parameters, from_environment
from sagemaker_project.build.request import RunRequest, read_request
from sagemaker_project.build.requirements import check_network_isolation
from sagemaker_project.errors import RunFailed, Timeout, UsageError
from sagemaker_project.project import Project
from sagemaker_project.usage import Client, Json

if TYPE_CHECKING:  # the emulator is an extra, which may not be installed
    from sagemaker_emulator import Local


def run(project: Project, args: Namespace, clock: Callable[[Json], float] = time_of) -> None:
    """Run a pipeline as the arguments say, with SageMaker or with the emulator.

    Raises:
        UsageError: the arguments cannot be used; nothing was created or started.
        RunFailed: AWS refused a call, or the execution did not succeed.
    """
    usage.quiet_sdk()
    local = None
    try:
        request = read_request(project, args, os.environ)
        with contextlib.ExitStack() as stack:
            if request.local:
                local = _start_local(request, stack)
            pipeline = driver.get_pipeline_driver(request.module_name, request.kwargs)
            arn = _create_and_start(project, request, pipeline, clock)
            if arn and request.wait:
                _follow(request, pipeline, arn, local)
    except usage.aws_errors() as error:
        raise RunFailed(f"AWS: {error}{_server_log(local, error)}") from None


def _start_local(request: RunRequest, stack: contextlib.ExitStack) -> "Local":
    """Point boto3 and the SDK at the emulator, which starts while they are being imported."""
    emulator = usage.emulator()
    try:
        local: Local = stack.enter_context(emulator.attach(region_name=request.region))
    except emulator.LocalError as error:
        raise RunFailed(error) from None
    if not request.wait and not local.joined:
        raise UsageError(
            "--no-wait: the server of this command ends with it, and the execution too."
            " Start `sagemaker-local up` in another terminal first, or leave --no-wait out"
        )
    local.enter()
    return local


def _server_log(local: "Local | None", error: Exception) -> str:
    """Return where to look if it is the server on this machine that does not answer."""
    from botocore.exceptions import ConnectionError, HTTPClientError

    if local and isinstance(error, (ConnectionError, HTTPClientError)):
        return f" (see {local.state}/server.log; is the disk full?)"
    return ""


def _create_and_start(
    project: Project,
    request: RunRequest,
    pipeline: driver.Pipeline,
    clock: Callable[[Json], float],
) -> str | None:
    """Create or update the pipeline and start it.

    Returns:
        The ARN of the execution, or None if the cooldown is not over.
    """
    definition = definition_of(pipeline)
    code = driver.code_files(pipeline)
    check_network_isolation(definition, code)
    check_packages(definition, code, request.local)
    declared = {parameter["Name"]: parameter for parameter in definition["Parameters"]}
    set_outside = from_environment(declared, os.environ)
    if request.input_data:
        set_outside.pop("InputDataUrl", None)
        if "InputDataUrl" not in declared:
            raise UsageError("--input-data: this pipeline has no parameter InputDataUrl")
    given = {**set_outside, **request.parameters}
    check_parameters(given, declared)
    tags = driver.get_pipeline_custom_tags(request.module_name, request.kwargs, request.tags)
    client = _client(pipeline, "sagemaker")
    cooldown = token = None
    if request.cooldown_seconds:
        cooldown = Cooldown(client, pipeline.name, request.cooldown_seconds, clock)
        token = cooldown.start_token()
        if token is None:
            return None
    parameters = _parameters(project, request, pipeline, definition, given)

    _print_banner("Creating/updating a SageMaker Pipeline with the following definition:")
    display.print_definition(definition, request.module_name)
    answer = pipeline.upsert(
        role_arn=request.role_arn, description=request.description, tags=list(tags) or None
    )
    _print_banner("Created/Updated SageMaker Pipeline: Response received:")
    print(json.dumps({"PipelineArn": answer["PipelineArn"]}))
    try:
        arn = _start(client, pipeline.name, parameters, answer.get("PipelineVersionId"), token)
    except usage.aws_errors():
        if cooldown and cooldown.start_token() is None:
            return None  # another trigger started an execution, with other parameters
        raise
    _print_banner(f"Execution started with PipelineExecutionArn: {arn}")
    return arn


def _parameters(
    project: Project,
    request: RunRequest,
    pipeline: driver.Pipeline,
    definition: Json,
    given: Mapping[str, str],
) -> dict[str, str]:
    """Return the given parameters, and those that say where the run comes from.

    The data are looked at here, and uploaded: the first thing that is created.
    """
    declared = {parameter["Name"]: parameter for parameter in definition["Parameters"]}
    s3 = _client(pipeline, "s3")
    files = input_data.files_of(request.input_data, request.module_name)
    parameters = {**champion_parameters(project, request, declared, given), **given}
    if files:
        bucket = pipeline.sagemaker_session.default_bucket()
        parameters["InputDataUrl"] = input_data.upload(s3, bucket, pipeline.name, files)
    if "InputDataVersion" in declared:
        uri = parameters.get("InputDataUrl") or declared["InputDataUrl"]["DefaultValue"]
        parameters.setdefault("InputDataVersion", provenance.data_version(s3, uri))
    if "GitCommit" in declared:
        parameters.setdefault("GitCommit", provenance.git_commit())
    if "DefinitionSha256" in declared:
        parameters.setdefault("DefinitionSha256", provenance.definition_sha256(definition))
    return parameters


def _start(
    client: Client, name: str, parameters: dict[str, str], version: str | None, token: str | None
) -> str:
    """Start the very version that was sent, even if the pipeline was updated again since."""
    answer = client.start_pipeline_execution(
        PipelineName=name,
        PipelineParameters=[{"Name": name, "Value": value} for name, value in parameters.items()],
        **({"PipelineVersionId": version} if version else {}),
        **({"ClientRequestToken": token} if token else {}),
    )
    return str(answer["PipelineExecutionArn"])


def _client(pipeline: driver.Pipeline, service: str) -> Client:
    from botocore.config import Config

    attempts = int(os.environ.get("AWS_MAX_ATTEMPTS", 10))
    retries = Config(retries={"mode": "standard", "total_max_attempts": attempts})
    return pipeline.sagemaker_session.boto_session.client(service, config=retries)


def _follow(
    request: RunRequest, pipeline: driver.Pipeline, arn: str, local: "Local | None"
) -> None:
    """Show the steps until the execution ends, then how it ended; raise RunFailed if it failed."""
    print("Waiting for the execution to finish...", flush=True)
    ends_with_us = local is not None and not local.joined
    client = _client(pipeline, "sagemaker")
    try:
        with display.steps_display() as show:
            ended, steps = execution.follow(client, arn, request.timeout_seconds, show)
        steps = execution.explain(client, steps)
    except Timeout as error:
        raise Timeout(f"{error}; it ends with this command" if ends_with_us else error) from None
    except usage.aws_errors() as error:
        lost = f"lost sight of the execution {arn}: {error}{_server_log(local, error)}"
        raise RunFailed(lost) from None
    except KeyboardInterrupt:
        if not ends_with_us:
            print(f"The execution goes on: {arn}", file=sys.stderr)
        raise
    show_end(client, _client(pipeline, "s3"), ended, steps, is_local=request.local)


def show_end(
    client: Client, s3: Client, ended: Json, steps: Sequence[execution.StepRun], is_local: bool
) -> None:
    """Print the steps, metrics and packages; raise RunFailed unless the execution succeeded.

    Results that cannot be read or kept are reported, and do not hide how the execution ended.
    """
    status = ended["PipelineExecutionStatus"]
    result = "completed" if status == "Succeeded" else f"ended as {status}"
    print(f"#####Execution {result}. Execution step details:")
    display.print_steps(steps)
    display.print_failures(steps, is_local)
    packages = [step.package for step in steps if step.package]
    evaluation = report = None
    try:
        if data_report := execution.read_data_report(client, s3, steps):
            display.print_data_report(data_report)
        evaluation = execution.read_evaluation(client, s3, steps)
        report = write_report(s3, ended, evaluation, packages) if evaluation else None
    except usage.aws_errors() + (OSError, ValueError, TypeError, LookupError) as error:
        print(f"The results cannot be read or kept: {error}", file=sys.stderr)
    metrics, gate = (evaluation.metrics, evaluation.gate) if evaluation else ({}, {})
    display.print_results(metrics, report, packages, gate.get("text", ""))
    if status != "Succeeded":
        raise RunFailed(_failure(ended, steps))


def write_report(
    s3: Client, ended: Json, evaluation: execution.Evaluation, packages: Sequence[str]
) -> Path | None:
    """Write the report with what only the run knows, here and in S3, and add it to the list.

    Returns:
        Its path, None if the evaluation has no report.
    """
    from sagemaker_project.build import reports

    arn = ended["PipelineExecutionArn"]
    name = arn.rsplit("/", 1)[1]
    path = Path("reports") / name / "report.html"
    gate = evaluation.gate
    run = reports.Run(
        execution=arn,
        pipeline=arn.rsplit("/", 3)[1],
        started=ended["CreationTime"].astimezone(timezone.utc).isoformat(),
        status=ended["PipelineExecutionStatus"],
        commit=provenance.git_commit(),
        package=packages[0] if packages else "",
        passed={"yes": True, "no": False}.get(gate.get("passed", "")),
        metric=gate.get("metric", ""),
        value=evaluation.metrics.get(gate.get("metric", "")),
        is_reused=f"/{name}/" not in evaluation.uri,
        report=f"{name}/report.html" if evaluation.report else "",
    )
    if evaluation.report:
        page = reports.with_run(evaluation.report, run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
        if not run.is_reused:
            bucket, _, prefix = evaluation.uri.removeprefix("s3://").partition("/")
            s3.put_object(
                Bucket=bucket,
                Key=f"{prefix}/report.html",
                Body=page.encode(),
                ContentType="text/html; charset=utf-8",
                **usage.expected_owner(bucket),
            )
    reports.record(Path("reports"), run)
    return path.resolve() if evaluation.report else None


def _failure(ended: Json, steps: Sequence[execution.StepRun]) -> str:
    failed = [f"step {step.name}: {step.note}" for step in steps if step.status == "Failed"]
    reason = "; ".join(failed) or ended.get("FailureReason", "no step says why")
    return f"the execution ended as {ended['PipelineExecutionStatus']}: {reason}"


def _print_banner(text: str) -> None:
    print(f"\n###### {text}", flush=True)
