"""What each type of step does. `STEPS` lists all types.

A step's function gets its arguments resolved and returns a `Result`; one that fails raises
`StepFailed`. A step that runs a job has succeeded only once the job has completed.
"""

import random
import re
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from sagemaker_emulator.api import registry, resources, service_model
from sagemaker_emulator.api.documents import Document, Json, Request
from sagemaker_emulator.api.registry import GROUP
from sagemaker_emulator.api.resources import Kind
from sagemaker_emulator.errors import AwsError, EmulatorError
from sagemaker_emulator.hosting import models
from sagemaker_emulator.jobs.job import Job
from sagemaker_emulator.jobs.kinds import PROCESSING, TRAINING
from sagemaker_emulator.jobs.operations import start_job
from sagemaker_emulator.pipelines.resolver import ExpressionError, Scope, holds
from sagemaker_emulator.pipelines.schema import Step, StepTypes

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker

MAX_ERROR_MESSAGE = 3072  # of a fail step

Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Context:
    """What a step may use of the execution that it belongs to."""

    sagemaker: "SageMaker"
    execution_id: str
    region: str
    role: str
    watch: Callable[[Job], None]  # to be called with each job that a step starts


@dataclass(frozen=True)
class Result:
    metadata: Document
    properties: Document = field(default_factory=dict)
    outcome: bool | None = None  # of a condition


class StepFailed(EmulatorError):
    """A step has failed; `stopped` if the reason is that its job was stopped."""

    def __init__(
        self, reason: str, metadata: Document | None = None, stopped: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.metadata = metadata or {}
        self.stopped = stopped


Run: TypeAlias = Callable[[Context, Step, Json, Scope], Result]


@dataclass(frozen=True)
class StepType:
    run: Run
    properties: str | None = None  # the shape of `Steps.<name>.<property>`
    cache_key: tuple[str, ...] = ()  # the arguments that must be equal for a result to be reused


def _job_step(kind: Kind) -> Run:
    def run(context: Context, step: Step, arguments: Json, scope: Scope) -> Result:
        name = f"{kind.name}Name"
        request = arguments | {name: scope.execution[name]}
        job = _call(f"Create{kind.name}", partial(start_job, kind), request, context)
        context.watch(job)
        document = job.wait()
        metadata = {kind.name: {"Arn": job.arn}}
        status = document[f"{kind.name}Status"]
        if status != "Completed":
            stopped = f"{request[name]} was stopped ({document.get('SecondaryStatus')})"
            reason: str = document.get("FailureReason") or stopped
            reason = f"ClientError: {reason.removeprefix('ClientError: ')}"
            raise StepFailed(reason, metadata, status == "Stopped")
        return Result(metadata, document)

    return run


def job_name(execution_id: str, step_name: str, prefix: str | None = None) -> str:
    """Return pipelines-<execution>-<step>-<random>, as on AWS, of at most 63 characters."""
    letters = string.ascii_letters + string.digits
    end = "".join(random.choices(letters, k=10))
    name = f"{prefix or 'pipelines'}-{execution_id}-{re.sub('[^a-zA-Z0-9-]+', '-', step_name)}"
    return f"{name[:52].rstrip('-')}-{end}"


def _call(
    operation: str,
    function: Callable[["SageMaker", Request, str], Answered],
    request: Request,
    context: Context,
) -> Answered:
    """Call the API on behalf of the pipeline; an error that it returns makes the step fail."""
    role = resources.name_of(context.role).rpartition("/")[2]
    resources.CALLER.set(f"assumed-role/{role}/SageMaker")  # of this step's thread
    try:
        if shape := service_model.operation(operation).input_shape:
            service_model.check(shape, request)
        return function(context.sagemaker, request, context.region)
    except AwsError as error:
        raise StepFailed(
            f"ClientError: Failed to invoke sagemaker:{operation}. Error Details: {error.message}"
        ) from None


def _register_model(context: Context, step: Step, arguments: Json, scope: Scope) -> Result:
    package = _call("CreateModelPackage", _create_package, arguments, context)
    return Result({"RegisterModel": {"Arn": package["ModelPackageArn"]}}, package)


def _create_package(sagemaker: "SageMaker", request: Request, region: str) -> Document:
    """Create a model package and, unlike the API, its group if that is missing."""
    group = request.get("ModelPackageGroupName")
    if group and not sagemaker.store.get(GROUP.arn(region, group)):
        resources.create(GROUP, sagemaker, {"ModelPackageGroupName": group}, region)
    return registry.create_package(sagemaker, request, region)


def _create_model(context: Context, step: Step, arguments: Json, scope: Scope) -> Result:
    name = job_name(context.execution_id, step.name, arguments.get("ModelName"))
    request = arguments | {"ModelName": name}
    created = _call("CreateModel", models.create_model, request, context)
    return Result({"Model": {"Arn": created["ModelArn"]}}, created)


def _condition(context: Context, step: Step, arguments: Json, scope: Scope) -> Result:
    try:
        # A list, not a generator: a later condition that cannot be evaluated must fail, too.
        outcome = all([holds(condition, scope) for condition in step.arguments["Conditions"]])
    except ExpressionError as error:
        raise StepFailed(f"ClientError: {error}") from None
    return Result({"Condition": {"Outcome": str(outcome)}}, outcome=outcome)


def _fail(context: Context, step: Step, arguments: Json, scope: Scope) -> Result:
    message = str(arguments.get("ErrorMessage", ""))[:MAX_ERROR_MESSAGE]
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
    "RegisterModel": StepType(_register_model, properties="DescribeModelPackageOutput"),
    "Model": StepType(_create_model, properties="DescribeModelOutput"),
    "Fail": StepType(_fail),
}
PROPERTIES: StepTypes = {name: step_type.properties for name, step_type in STEPS.items()}
