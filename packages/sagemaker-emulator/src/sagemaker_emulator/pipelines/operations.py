"""The operations on pipelines and on their executions."""

import random
import string
import time
from typing import TYPE_CHECKING

from sagemaker_emulator.api import resources
from sagemaker_emulator.api.documents import Answer, Document, Json, Operation, Request
from sagemaker_emulator.api.resources import find, identity, insert, refuse
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import AwsError, invalid
from sagemaker_emulator.pipelines.definition import parse
from sagemaker_emulator.pipelines.execution import Execution, end_execution
from sagemaker_emulator.pipelines.kinds import EXECUTION, PIPELINE, RUNNING
from sagemaker_emulator.pipelines.parameters import parameter_values
from sagemaker_emulator.pipelines.steps import PROPERTIES

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker

# Pipelines


def create_pipeline(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    request = _with_definition(sagemaker, request)
    if not request.get("PipelineDefinition"):
        raise invalid("PipelineDefinition or PipelineDefinitionS3Location is required")
    refuse("CreatePipeline", request, "PipelineVersionAliases")
    token = request["ClientRequestToken"]
    arn = PIPELINE.arn(region, request["PipelineName"])
    with sagemaker.store.lock:
        known = sagemaker.store.get(arn)
        if known and known["CreationToken"] == token:
            return known
        members = {"CreationToken": token, "PipelineVersionId": 1}
        return insert(PIPELINE, sagemaker, request, arn, **members)


def _with_definition(sagemaker: "SageMaker", request: Request) -> Request:
    """Return the request with its definition read from S3 if it is there, and checked."""
    request = dict(request)
    location = request.pop("PipelineDefinitionS3Location", None)
    if location and request.get("PipelineDefinition"):
        raise invalid("Give PipelineDefinition or PipelineDefinitionS3Location, not both")
    if location:
        bucket, key = location["Bucket"], location["ObjectKey"]
        body = sagemaker.other_services.read_object(bucket, key)
        if body is None:
            raise invalid(f"PipelineDefinitionS3Location: there is no s3://{bucket}/{key}")
        request["PipelineDefinition"] = body.decode("utf-8", "replace")
    if request.get("PipelineDefinition"):
        parse(request["PipelineDefinition"], PROPERTIES)
    return request


def update_pipeline(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    request = _with_definition(sagemaker, request)
    refuse("UpdatePipeline", request, "PipelineVersionAliases")
    with sagemaker.store.lock:
        known = find(PIPELINE, sagemaker, request, region)
        changes = {k: v for k, v in request.items() if k != "PipelineName" and v is not None}
        changes |= {"LastModifiedTime": time.time(), "LastModifiedBy": identity()}
        number = known["PipelineVersionId"]
        sagemaker.store.insert("PipelineVersion", _version_arn(known, number), known)
        changes["PipelineVersionId"] = number + 1
        sagemaker.store.update(known["PipelineArn"], **changes)
    return known | changes


def describe_pipeline(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    refuse("DescribePipeline", request, "PipelineVersionAlias")
    return _find_version(sagemaker, request, region)


def _find_version(sagemaker: "SageMaker", request: Request, region: str) -> Document:
    """Return the pipeline, or the earlier version of it that the request names."""
    pipeline = find(PIPELINE, sagemaker, request, region)
    wanted = request.get("PipelineVersionId")
    if wanted in (None, pipeline["PipelineVersionId"]):
        return pipeline
    earlier = sagemaker.store.get(_version_arn(pipeline, wanted))
    if earlier is None:
        arn = pipeline["PipelineArn"]
        raise AwsError("ResourceNotFound", f"Pipeline '{arn}' has no version {wanted}.")
    return earlier


def _version_arn(pipeline: Document, number: Json) -> str:
    return f"{pipeline['PipelineArn']}/version/{number}"


def delete_pipeline(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    with sagemaker.store.lock:
        pipeline = find(PIPELINE, sagemaker, request, region)
        executions = _executions(sagemaker, pipeline)
        if any(e["PipelineExecutionStatus"] in RUNNING for e in executions):
            name = pipeline["PipelineName"]
            raise AwsError("ConflictException", f"Pipeline '{name}' has running executions.")
        for execution in executions:
            arn = execution["PipelineExecutionArn"]
            for step in sagemaker.store.list("Step", f"{arn}/step/"):
                sagemaker.store.delete(f"{arn}/step/{step['StepName']}")
            sagemaker.store.delete(arn)
        for number in range(1, pipeline["PipelineVersionId"]):
            sagemaker.store.delete(_version_arn(pipeline, number))
        sagemaker.store.delete(pipeline["PipelineArn"])
    return pipeline


# Executions


def _executions(sagemaker: "SageMaker", pipeline: Document) -> list[Document]:
    return sagemaker.store.list(EXECUTION.name, f"{pipeline['PipelineArn']}/execution/")


def start_execution(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    refuse("StartPipelineExecution", request, "SelectiveExecutionConfig", "PipelineVersionAlias")
    refuse("StartPipelineExecution", request, "MlflowExperimentName")
    with sagemaker.store.lock:
        pipeline = _find_version(sagemaker, request, region)
        definition = parse(pipeline["PipelineDefinition"], PROPERTIES)
        texts = {p["Name"]: p["Value"] for p in request.get("PipelineParameters") or []}
        values = parameter_values(definition, texts)
        if known := _started_before(sagemaker, pipeline, request):
            return known
        document = _new_execution(sagemaker, request, pipeline, values)
        times = dict.fromkeys(("LastRunTime", "LastExecutionTime"), document["CreationTime"])
        sagemaker.store.update(pipeline["PipelineArn"], **times)
        Execution(sagemaker, document, definition, values).start()
    return document


def _started_before(
    sagemaker: "SageMaker", pipeline: Document, request: Request
) -> Document | None:
    """Return the execution that an earlier request with the same token started, or None."""
    for document in _executions(sagemaker, pipeline):
        if document["StartToken"] == request["ClientRequestToken"]:
            if document.get("StartRequest") != request.get("PipelineParameters"):
                raise AwsError(
                    "ConflictException", "ClientRequestToken was used with other parameters."
                )
            return document
    return None


def _new_execution(
    sagemaker: "SageMaker", request: Request, pipeline: Document, values: dict[str, Json]
) -> Document:
    number = "".join(random.choices(string.ascii_lowercase + string.digits, k=12))
    arn = f"{pipeline['PipelineArn']}/execution/{number}"
    now = time.time()
    parallelism = request.get("ParallelismConfiguration")
    name = request.get("PipelineExecutionDisplayName") or f"execution-{int(now * 1000)}"
    members = {
        "PipelineArn": pipeline["PipelineArn"],
        "PipelineName": pipeline["PipelineName"],
        "PipelineDefinition": pipeline["PipelineDefinition"],
        "PipelineVersionId": pipeline["PipelineVersionId"],
        "PipelineExecutionDisplayName": name,
        "PipelineExecutionDescription": request.get("PipelineExecutionDescription"),
        "ParallelismConfiguration": parallelism or pipeline.get("ParallelismConfiguration"),
        "RoleArn": request.get("RoleArn") or pipeline["RoleArn"],
        "StartTime": now,
        "Values": values,
        "StartToken": request["ClientRequestToken"],
        "StartRequest": request.get("PipelineParameters"),
    }
    return insert(EXECUTION, sagemaker, {}, arn, **members)


def describe_execution(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    return resources.find_by_arn(EXECUTION, sagemaker, request["PipelineExecutionArn"])


def list_executions(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    refuse("ListPipelineExecutions", request, "PipelineVersionAlias")
    pipeline = find(PIPELINE, sagemaker, request, region)
    rest = {k: v for k, v in request.items() if k != "PipelineName"}
    return resources.page(EXECUTION, _executions(sagemaker, pipeline), rest)


def list_steps(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    if not request.get("PipelineExecutionArn"):
        raise invalid("PipelineExecutionArn is required")
    describe_execution(sagemaker, request, region)
    steps = sagemaker.store.list("Step", f"{request['PipelineExecutionArn']}/step/")
    if request.get("SortOrder") != "Ascending":
        steps.reverse()
    return resources.paginate(
        "PipelineExecutionSteps", steps, request, key=lambda s: s["StepName"], default_size=100
    )


def list_parameters(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    values = describe_execution(sagemaker, request, region)["Values"]
    parameters = [{"Name": name, "Value": _as_text(value)} for name, value in values.items()]
    return resources.paginate(
        "PipelineParameters", parameters, request, key=lambda p: p["Name"], default_size=100
    )


def _as_text(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def stop_execution(sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    with sagemaker.store.lock:
        document = describe_execution(sagemaker, request, region)
        arn, status = document["PipelineExecutionArn"], document["PipelineExecutionStatus"]
        if status not in RUNNING:
            raise AwsError(
                "ConflictException",
                f"Only pipeline executions that are running can be stopped; {arn} is {status}.",
            )
        sagemaker.store.update(arn, PipelineExecutionStatus="Stopping")
    if execution := sagemaker.executions.get(arn):
        execution.stop()
    return document


def recover(store: Store) -> None:
    """Mark the executions that ran when the server ended as failed, and their running steps."""
    reason, now = "InternalServerError: the local server ended during the execution", time.time()
    for document in store.list(EXECUTION.name):
        if document["PipelineExecutionStatus"] not in RUNNING:
            continue
        arn = document["PipelineExecutionArn"]
        for step in store.list("Step", f"{arn}/step/"):
            if step["StepStatus"] == "Executing":
                changes = {"StepStatus": "Failed", "FailureReason": reason, "EndTime": now}
                store.update(f"{arn}/step/{step['StepName']}", **changes)
        end_execution(store, arn, "Failed", reason, now)


OPERATIONS: dict[str, Operation] = {
    **resources.standard_operations(PIPELINE),
    "CreatePipeline": create_pipeline,
    "UpdatePipeline": update_pipeline,
    "DescribePipeline": describe_pipeline,
    "DeletePipeline": delete_pipeline,
    "StartPipelineExecution": start_execution,
    "StopPipelineExecution": stop_execution,
    "DescribePipelineExecution": describe_execution,
    "DescribePipelineDefinitionForExecution": describe_execution,
    "ListPipelineExecutions": list_executions,
    "ListPipelineExecutionSteps": list_steps,
    "ListPipelineParametersForExecution": list_parameters,
}
