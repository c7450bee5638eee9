"""What each type of step does. `STEPS` is the one list of the types that there are.

A step's function gets its arguments resolved and returns a `Result`; one that fails raises
`StepFailed`. What a job step did is reported only once the job has ended.
"""

import json
import random
import re
import string
import time
from dataclasses import dataclass, field

from sagemaker_emulator.api import registry, resources
from sagemaker_emulator.api import service_model as model
from sagemaker_emulator.api.registry import GROUP, PACKAGE
from sagemaker_emulator.errors import AwsError
from sagemaker_emulator.hosting import models
from sagemaker_emulator.jobs.operations import PROCESSING, TRAINING, start_job
from sagemaker_emulator.pipelines.resolver import ExpressionError, holds


@dataclass(frozen=True)
class Result:
    metadata: dict
    properties: dict = field(default_factory=dict)
    outcome: bool | None = None  # of a condition


class StepFailed(Exception):
    def __init__(self, reason, metadata=None, stopped=False):
        super().__init__(reason)
        self.reason = reason
        self.metadata = metadata or {}
        self.stopped = stopped


@dataclass(frozen=True)
class StepType:
    run: object
    properties: str | None = None  # the shape that `Steps.<name>.<property>` walks
    cache_key: tuple = ()  # the arguments that decide whether an earlier result counts


def _job_step(kind):
    def run(execution, step, arguments, scope):
        name = f"{kind.name}Name"
        request = arguments | {name: scope.execution[name]}
        job = _invoke(f"Create{kind.name}", request, start_job, kind, execution)
        execution.watch(job)
        document = job.wait()
        metadata = {kind.name: {"Arn": job.arn}}
        status = document[f"{kind.name}Status"]
        if status != "Completed":
            why = f"{request[name]} was stopped ({document.get('SecondaryStatus')})"
            reason = document.get("FailureReason") or why
            reason = f"ClientError: {reason.removeprefix('ClientError: ')}"
            raise StepFailed(reason, metadata, status == "Stopped")
        return Result(metadata, document)

    return run


def job_name(execution_id, step_name, prefix=None):
    """AWS's form: pipelines-<execution>-<step>-<random>, 63 characters at most."""
    letters = string.ascii_letters + string.digits
    end = "".join(random.choices(letters, k=10))
    name = f"{prefix or 'pipelines'}-{execution_id}-{re.sub('[^a-zA-Z0-9-]+', '-', step_name)}"
    return f"{name[:52].rstrip('-')}-{end}"


def _invoke(operation, request, function, kind, execution):
    """An API call made on the pipeline's behalf; its refusal becomes the step's failure."""
    role = resources.name_of(execution.role).rpartition("/")[2]
    resources.CALLER.set(f"assumed-role/{role}/SageMaker")  # of this step's thread
    try:
        model.check(model.operation(operation).input_shape, request)
        return function(kind, execution.sagemaker, request, execution.region)
    except AwsError as error:
        raise StepFailed(
            f"ClientError: Failed to invoke sagemaker:{operation}. Error Details: {error.message}"
        ) from None


def _register(execution, step, arguments, scope):
    def create(kind, sagemaker, request, region):
        group = request.get("ModelPackageGroupName")
        if group and not sagemaker.store.get(GROUP.arn(region, group)):
            # AWS makes the group that a RegisterModel step names; the API does not.
            resources.create(GROUP, sagemaker, {"ModelPackageGroupName": group}, region)
        return registry.create_package(sagemaker, request, region)

    package = _invoke("CreateModelPackage", arguments, create, PACKAGE, execution)
    return Result({"RegisterModel": {"Arn": package["ModelPackageArn"]}}, package)


def _create_model(execution, step, arguments, scope):
    name = job_name(execution.id, step.name, arguments.get("ModelName"))
    request = arguments | {"ModelName": name}
    created = _invoke("CreateModel", request, models.create_model, resources.MODEL, execution)
    return Result({"Model": {"Arn": created["ModelArn"]}}, created)


def _condition(execution, step, arguments, scope):
    try:
        # A list and not a generator: a later condition that cannot be evaluated must fail too.
        outcome = all([holds(condition, scope) for condition in step.arguments["Conditions"]])
    except ExpressionError as error:
        raise StepFailed(f"ClientError: {error}") from None
    return Result({"Condition": {"Outcome": str(outcome)}}, outcome=outcome)


def _fail(execution, step, arguments, scope):
    message = str(arguments.get("ErrorMessage", ""))[:3072]
    raise StepFailed(message, {"Fail": {"ErrorMessage": message}})


STEPS = {
    "Processing": StepType(
        _job_step(PROCESSING),
        properties="DescribeProcessingJobResponse",
        cache_key=("AppSpecification", "Environment", "ProcessingInputs"),
    ),
    "Training": StepType(
        _job_step(TRAINING),
        properties="DescribeTrainingJobResponse",
        cache_key=(
            *("AlgorithmSpecification", "CheckpointConfig", "Environment"),
            *("HyperParameters", "InputDataConfig"),
        ),
    ),
    "Condition": StepType(_condition),
    "RegisterModel": StepType(_register, properties="DescribeModelPackageOutput"),
    "Model": StepType(_create_model, properties="DescribeModelOutput"),
    "Fail": StepType(_fail),
}
PROPERTIES = {name: kind.properties for name, kind in STEPS.items()}


def cache_key(step, arguments):
    """What an earlier run must have had in common, as text; None where steps are not cached."""
    names = STEPS[step.type].cache_key
    if not names:
        return None
    return json.dumps([step.type, {n: arguments.get(n) for n in names}], sort_keys=True)


def cached(store, pipeline_arn, step, key):
    """The latest run of the pipeline that counts as this one, if it is recent enough."""
    if step.cache_seconds is None:
        return None
    oldest = time.time() - step.cache_seconds
    for earlier in reversed(store.list("Step", f"{pipeline_arn}/execution/")):
        fits = earlier.get("CacheKey") == key and earlier["StepStatus"] == "Succeeded"
        if fits and "CacheHitResult" not in earlier and earlier["EndTime"] >= oldest:
            return earlier
    return None


def property_files(neighbours, step, properties):
    """{name: parsed JSON} of a step that has ended. What cannot be read is kept as its error."""
    outputs = (properties.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    folders = {output["OutputName"]: output["S3Output"]["S3Uri"] for output in outputs}
    files = {}
    for file in step.property_files:
        uri = f"{folders[file.output].rstrip('/')}/{file.path}"
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body = neighbours.read_object(bucket, key)
        try:
            if body is None:
                raise ExpressionError(f"the step wrote no {uri}")
            files[file.name] = json.loads(body)
        except ValueError as error:
            files[file.name] = ExpressionError(f"{uri} is not JSON: {error}")
        except ExpressionError as error:
            files[file.name] = error
    return files
