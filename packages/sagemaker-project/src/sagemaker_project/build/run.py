"""What `run-pipeline` does with its arguments, from checking them to showing the result.

Apart from run_pipeline.py, so that `run-pipeline --help` starts at once.
"""

import contextlib
import hashlib
import json
import math
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from sagemaker_project import usage
from sagemaker_project.build import driver
from sagemaker_project.build.execution import RUNNING
from sagemaker_project.project import package_folder
from sagemaker_project.usage import UsageError

MAX_RUN_SECONDS = 672 * 3600  # SageMaker stops an execution that runs longer


class Failed(Exception):
    """The pipeline could not be run to a good end. The message is one line."""


def run(project, args):
    """Do what the arguments say, here or in AWS."""
    usage.quiet_sdk()
    try:
        _read_arguments(project, args)
        with contextlib.ExitStack() as stack:
            if args.local:
                _start_local(args, stack)
            _create_and_start(args)
    except usage.aws_errors() as error:
        raise Failed(f"AWS: {error}{_if_local(args, error)}") from None


def _read_arguments(project, args):
    """Check what can be checked before anything is started, and replace text by what it spells."""
    usage.check_role_arn(args.role_arn)
    kwargs = driver.read_option("--kwargs", args.kwargs)
    region, bucket = os.environ.get("AWS_REGION"), os.environ.get("ARTIFACT_BUCKET")
    if region:
        usage.check_region(region, "AWS_REGION")
    if bucket:
        usage.check_bucket(bucket, "ARTIFACT_BUCKET")
    args.region = region or project.region
    defaults = {"role": args.role_arn, "region": args.region, "default_bucket": bucket}
    args.kwargs = driver.check_kwargs(args.module_name, kwargs, **defaults)
    args.region = args.kwargs.get("region") or args.region
    usage.check_partition(args.role_arn, args.region)
    args.tags = driver.check_tags(driver.read_option("--tags", args.tags))
    args.parameters = _split_parameters(args.parameters)
    if args.input_data is not None and not Path(args.input_data).is_file():
        found = "a folder" if Path(args.input_data).is_dir() else "nothing"
        raise UsageError(
            f"--input-data {args.input_data!r}: a CSV file is wanted, there is {found}"
        )
    if args.input_data and "InputDataUrl" in args.parameters:
        raise UsageError("--input-data and the parameter InputDataUrl both name the data: give one")


def _if_local(args, error):
    """Where to look when it is this machine's own server that does not answer."""
    from botocore.exceptions import ConnectionError, HTTPClientError

    if args.local and isinstance(error, (ConnectionError, HTTPClientError)):
        return f" (see {args.local}/server.log; is the disk full?)"
    return ""


def _create_and_start(args):
    pipeline = driver.get_pipeline_driver(args.module_name, args.kwargs)
    definition = json.loads(pipeline.definition())
    declared = {parameter["Name"]: parameter for parameter in definition["Parameters"]}
    parameters = check_parameters(args.parameters, declared)
    if args.input_data and "InputDataUrl" not in declared:
        raise UsageError("--input-data: this pipeline has no parameter InputDataUrl")
    tags = driver.get_pipeline_custom_tags(args.module_name, args.kwargs, args.tags)
    cooldown = args.cooldown and Cooldown(_client(pipeline), pipeline.name, args.cooldown)
    if cooldown and cooldown.holds():
        return
    if args.input_data:
        parameters["InputDataUrl"] = _upload(pipeline, Path(args.input_data))
    if "InputDataVersion" in declared:
        uri = parameters.get("InputDataUrl") or declared["InputDataUrl"]["DefaultValue"]
        parameters.setdefault("InputDataVersion", _data_version(pipeline, uri))
    if "GitCommit" in declared:
        parameters.setdefault("GitCommit", git_commit())
    if "DefinitionSha256" in declared:
        text = json.dumps(definition, sort_keys=True)
        parameters.setdefault("DefinitionSha256", hashlib.sha256(text.encode()).hexdigest())

    _say("Creating/updating a SageMaker Pipeline with the following definition:")
    _show_definition(definition, args.module_name)
    answer = pipeline.upsert(
        role_arn=args.role_arn, description=args.description, tags=tags or None
    )
    _say("Created/Updated SageMaker Pipeline: Response received:")
    print(json.dumps({"PipelineArn": answer["PipelineArn"]}))
    token = cooldown and cooldown.token
    try:
        arn = _start(pipeline, parameters, answer.get("PipelineVersionId"), token)
    except usage.aws_errors():
        if cooldown and cooldown.holds():  # a trigger with other parameters was faster
            return
        raise
    _say(f"Execution started with PipelineExecutionArn: {arn}")
    if not args.no_wait:
        _wait(pipeline, arn, args)


def _start_local(args, stack):
    """Point boto3 and the SDK at the emulator, which starts while they are being imported."""
    try:
        local = stack.enter_context(usage.emulator().attach(region_name=args.region))
    except usage.emulator().LocalError as error:
        raise Failed(error) from None
    if args.no_wait and not local.joined:
        raise UsageError(
            "--no-wait: nothing would be left to run the execution when this command ends."
            " Start `sagemaker-local up` in another terminal first, or leave --no-wait out"
        )
    local.enter()
    args.local = local.state


def _split_parameters(pairs):
    parameters = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--parameters: {pair!r}: NAME=VALUE is wanted")
        if name in parameters:
            raise UsageError(f"--parameters: {name} is given twice")
        parameters[name] = value
    return parameters


def check_parameters(parameters, declared):
    """`parameters` as they are, if the definition declares each and its value fits.

    Args:
        parameters: {name: text}.
        declared: {name: entry of the definition's Parameters}.
    """
    for name, value in parameters.items():
        if name not in declared:
            raise UsageError(
                f"--parameters: the pipeline has no parameter {name}. {usage.near(name, declared)}"
            )
        _check_value(name, value, declared[name])
    missing = [
        name
        for name, entry in declared.items()
        if "DefaultValue" not in entry and name not in parameters
    ]
    if missing:
        raise UsageError(f"--parameters: a value is needed for {', '.join(missing)}")
    return parameters


def _check_value(name, value, entry):
    kind = entry["Type"]
    if len(value) > 1024:
        raise UsageError(f"--parameters: {name} has {len(value):,} characters, at most 1,024 fit")
    if "EnumValues" in entry and value not in entry["EnumValues"]:
        raise UsageError(
            f"--parameters: {name} is one of {', '.join(entry['EnumValues'])}; {value!r} was given"
        )
    try:
        fits = {
            "String": lambda: value != "",
            "Integer": lambda: str(int(value)) == value.strip("+"),
            "Float": lambda: math.isfinite(float(value)),
            "Boolean": lambda: value.lower() in ("true", "false"),
        }[kind]()
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(f"--parameters: {name} is of type {kind}; {value!r} was given")


def _upload(pipeline, path):
    """Upload a data file under its sha256: another file gets another URI."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    session = pipeline.sagemaker_session
    bucket = session.default_bucket()
    key = f"{pipeline.name}/input/{digest.hexdigest()}/{path.name}"
    _client(pipeline, "s3").upload_file(
        str(path), bucket, key, ExtraArgs=usage.expected_owner(bucket)
    )
    return f"s3://{bucket}/{key}"


def git_commit():
    """The commit that runs, marked when the checkout differs from it."""
    # CodePipeline hands CodeBuild a folder without .git, and the commit in a variable.
    if commit := os.environ.get("CODEBUILD_RESOLVED_SOURCE_VERSION"):
        return commit
    try:
        git = ["git", "-C", package_folder()]
        options = {"capture_output": True, "text": True, "check": True, "timeout": 10}
        # Fails where the package is not git's, as in a project inside somebody else's repository.
        subprocess.run([*git, "ls-files", "--error-unmatch", "__init__.py"], **options)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], **options).stdout.strip()
        changes = subprocess.run([*git, "status", "--porcelain"], **options).stdout
        return f"{commit}-dirty" if changes else commit
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _data_version(pipeline, uri):
    """What changes when an object below `uri` does: step caching looks at the URI alone."""
    from botocore.exceptions import ClientError

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = _client(pipeline, "s3").get_paginator("list_objects_v2")
    digest, found = hashlib.sha256(), False
    try:
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                digest.update(f"{item['Key']} {item['ETag']}\n".encode())
                found = True
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            return f"unread-{uuid.uuid4()}"  # perhaps the jobs may read it; no step is reused
    if not found:
        raise UsageError(
            f"InputDataUrl: there is nothing at {uri}."
            " Give a file, for example --input-data data/abalone-sample.csv"
        )
    return digest.hexdigest()


def _start(pipeline, parameters, version, token=None):
    """Start the very definition that was sent, whoever has updated the pipeline since."""
    answer = _client(pipeline).start_pipeline_execution(
        PipelineName=pipeline.name,
        PipelineParameters=[{"Name": name, "Value": value} for name, value in parameters.items()],
        **({"PipelineVersionId": version} if version else {}),
        **({"ClientRequestToken": token} if token else {}),
    )
    return answer["PipelineExecutionArn"]


class Cooldown:
    """Keeps triggers that come often, an alarm's say, to one execution every so many seconds.

    A trigger looks at the executions first. Several may look at once and see the same last one,
    so their starts carry a token made from it: SageMaker starts one execution for one token. What
    the clock says is no part of the token, or two triggers could meet at the edge of a window.
    """

    def __init__(self, client, name, seconds):
        self.client, self.name, self.seconds = client, name, seconds
        self.token = None

    def holds(self):
        """Whether nothing may be started now; says so."""
        last = None
        for execution in self._executions():
            last = last or execution["PipelineExecutionArn"]
            arn, status = execution["PipelineExecutionArn"], execution["PipelineExecutionStatus"]
            age = time.time() - execution["StartTime"].timestamp()
            if status in RUNNING or age < self.seconds:
                state = f"is {status}, started {age:.0f} s ago"
                print(f"Nothing was started: {arn} {state} (--cooldown {self.seconds:g})")
                return True
            if age > MAX_RUN_SECONDS:
                break  # older ones do not run either
        self.token = hashlib.sha256(f"{self.name} after {last}".encode()).hexdigest()
        return False

    def _executions(self):
        """The newest first; none where there is no pipeline yet."""
        from botocore.exceptions import ClientError

        pages = self.client.get_paginator("list_pipeline_executions").paginate(
            PipelineName=self.name, SortBy="CreationTime", SortOrder="Descending"
        )
        try:
            for page in pages:
                yield from page["PipelineExecutionSummaries"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFound":
                raise


def _client(pipeline, service="sagemaker"):
    from botocore.config import Config

    attempts = int(os.environ.get("AWS_MAX_ATTEMPTS", 10))
    retries = Config(retries={"mode": "standard", "total_max_attempts": attempts})
    return pipeline.sagemaker_session.boto_session.client(service, config=retries)


def _wait(pipeline, arn, args):
    from sagemaker_project.build import display
    from sagemaker_project.build import execution as executions

    print("Waiting for the execution to finish...", flush=True)
    client = _client(pipeline)
    try:
        with display.steps_display() as show:
            execution, steps = executions.follow(client, arn, args.timeout, show)
        steps = executions.explain(client, steps)
    except executions.Timeout as status:
        ends = "; it ends with this command" if args.local else ""
        raise Failed(
            f"after {args.timeout:g} s the execution is still {status}: {arn}{ends}"
        ) from None
    except usage.aws_errors() as error:
        lost = f"lost sight of the execution {arn}: {error}{_if_local(args, error)}"
        raise Failed(lost) from None
    except KeyboardInterrupt:
        if not args.local:
            print(f"The execution goes on: {arn}", file=sys.stderr)
        raise

    status = execution["PipelineExecutionStatus"]
    ended = "completed" if status == "Succeeded" else f"ended as {status}"
    print(f"#####Execution {ended}. Execution step details:")
    display.print_steps(steps)
    display.print_failures(steps, args.local)
    try:
        folder = Path("reports") / arn.rsplit("/", 1)[1]
        files = executions.evaluation_files(client, _client(pipeline, "s3"), steps, folder)
    except (*usage.aws_errors(), OSError, ValueError, TypeError) as error:
        print(f"The evaluation cannot be read: {error}", file=sys.stderr)
        files = {}, None
    display.print_results(*files, [step.package for step in steps if step.package])
    if status != "Succeeded":
        raise Failed(_failure(execution, steps))


def _failure(execution, steps):
    failed = [f"step {step.name}: {step.note}" for step in steps if step.status == "Failed"]
    reason = "; ".join(failed) or execution.get("FailureReason", "no step says why")
    return f"the execution ended as {execution['PipelineExecutionStatus']}: {reason}"


def _show_definition(definition, module_name):
    text = json.dumps(definition, indent=2, sort_keys=True)
    if sys.stdout.isatty():
        lines = text.count("\n") + 1
        print(f"({lines} lines: get-pipeline-definition --module-name {module_name} prints them)")
    else:
        print(text)


def _say(text):
    print(f"\n###### {text}", flush=True)
