"""Pipelines and their executions.

An execution has one thread that decides which steps may start; each step runs on a thread of its
own, so steps that do not wait for each other run at the same time. A step whose condition came
out otherwise, or that waits for such a step, is never started and never listed. After a failure
nothing new starts, and what runs may end. Every state is in the store before it is acted on.
"""

import queue
import random
import string
import threading
import time
import traceback
from datetime import datetime, timezone

from sagemaker_emulator.api import resources
from sagemaker_emulator.api import service_model as model
from sagemaker_emulator.api.resources import Kind, find, identity, insert, refuse
from sagemaker_emulator.errors import AwsError, invalid
from sagemaker_emulator.jobs.kinds import BROKE
from sagemaker_emulator.pipelines.definition import parameter_values, parse
from sagemaker_emulator.pipelines.resolver import ExpressionError, Scope, resolve
from sagemaker_emulator.pipelines.steps import (
    PROPERTIES,
    STEPS,
    StepFailed,
    cache_key,
    cached,
    job_name,
    property_files,
)

PIPELINE = Kind(
    name="Pipeline",
    resource="pipeline",
    summaries="PipelineSummaries",
    taken=("ValidationException", "Pipeline names must be unique within an AWS account and region."
           " Pipeline with name ({name}) already exists."),
    missing=("ResourceNotFound", "Pipeline '{arn}' does not exist."),
    newest_first=True,
    born={"PipelineStatus": "Active", "CreatedBy": identity, "LastModifiedBy": identity},
)  # fmt: skip
EXECUTION = Kind(
    name="PipelineExecution",
    resource="pipeline",
    summaries="PipelineExecutionSummaries",
    taken=("ConflictException", "Pipeline execution '{arn}' already exists."),
    missing=("ResourceNotFound", "Pipeline execution '{arn}' does not exist."),
    newest_first=True,
    born={"PipelineExecutionStatus": "Executing", "CreatedBy": identity},
)
RUNNING = ("Executing", "Stopping")
MAX_PARALLEL = 50
FAILED = "Step failure: One or multiple steps failed."


class Execution:
    def __init__(self, sagemaker, document, definition, values):
        self.sagemaker = sagemaker
        self.store = sagemaker.store
        self.arn = document["PipelineExecutionArn"]
        self.pipeline_arn = document["PipelineArn"]
        self.role = document["RoleArn"]
        self.id = self.arn.rpartition("/")[2]
        self.region = resources.region_of(self.arn)
        self.definition = definition
        self.parallel = _parallel(document)
        self.scope = Scope(parameters=values, execution=self._variables(document))
        self.ended = {}  # {step name: "Succeeded", "Failed", "Stopped" or "Skipped"}
        self.outcomes = {}  # {condition step name: whether it held}
        self.finished = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.jobs = []
        self.stopping = False

    def _variables(self, document):
        started = datetime.fromtimestamp(document["CreationTime"], timezone.utc)
        return {
            "PipelineName": document["PipelineName"],
            "PipelineArn": self.pipeline_arn,
            "PipelineExecutionId": self.id,
            "PipelineExecutionArn": self.arn,
            "StartDateTime": started.isoformat(timespec="seconds"),
        }

    def start(self):
        self.sagemaker.executions[self.arn] = self
        threading.Thread(target=self._run, name=self.id, daemon=True).start()

    def stop(self):
        with self.lock:
            self.stopping = True
            jobs = list(self.jobs)
        for job in jobs:
            job.stop("Stopped")

    def watch(self, job):
        """A step has started a job, which must end when the execution is stopped."""
        with self.lock:
            self.jobs.append(job)
            stopping = self.stopping
        if stopping:
            job.stop("Stopped")

    def _run(self):
        try:
            self._run_steps()
            status = "Stopped" if self.stopping else "Succeeded"
            if "Failed" in self.ended.values() and not self.stopping:
                status = "Failed"
            reason = FAILED if status == "Failed" else None
        except Exception:
            traceback.print_exc()
            status, reason = "Failed", BROKE
        end_execution(self.store, self.arn, status, reason)
        del self.sagemaker.executions[self.arn]

    def _run_steps(self):
        waiting = dict(self.definition.steps)
        active = 0
        while True:
            for step in self._next(waiting, self.parallel - active):
                del waiting[step.name]
                active += 1
                threading.Thread(target=self._run_step, args=[step], daemon=True).start()
            if not active:
                return
            step, document, outcome = self.finished.get()
            active -= 1
            self._ended(step, document, outcome)

    def _next(self, waiting, places):
        """The steps that may start now. Those that never will are marked on the way."""
        if self.stopping or "Failed" in self.ended.values():
            return []
        skipped = True
        while skipped:
            skipped = [step for step in waiting.values() if self._never_starts(step)]
            for step in skipped:
                del waiting[step.name]
                self.ended[step.name] = "Skipped"
        ready = [
            step
            for step in waiting.values()
            if all(self.ended.get(name) == "Succeeded" for name in step.after)
        ]
        return ready[:places]

    def _never_starts(self, step):
        if any(self.ended.get(name) == "Skipped" for name in step.after):
            return True
        return bool(step.gate) and self.outcomes.get(step.gate[0], step.gate[1]) != step.gate[1]

    def _ended(self, step, document, outcome):
        self.ended[step.name] = document["StepStatus"]
        if outcome is not None:
            self.outcomes[step.name] = outcome
        if document["StepStatus"] == "Succeeded":
            properties = document["Properties"]
            files = property_files(self.sagemaker.neighbours, step, properties)
            self.scope = self.scope.with_step(step.name, properties, files)

    # One step, on its own thread

    def _run_step(self, step):
        arn = f"{self.arn}/step/{step.name}"
        outcome = None
        try:
            self.store.insert("Step", arn, self._new_step(step))
            changes, outcome = self._attempt(step, arn)
        except StepFailed as failure:
            stopped = failure.stopped and self.stopping
            changes = {
                "StepStatus": "Stopped" if stopped else "Failed",
                "FailureReason": None if stopped else failure.reason[:1024],
                "Metadata": failure.metadata,
            }
        except Exception:
            traceback.print_exc()
            changes = {"StepStatus": "Failed", "FailureReason": BROKE}
        document = self.store.update(arn, EndTime=time.time(), **changes)
        self.finished.put((step, document, outcome))

    def _new_step(self, step):
        now = time.time()
        return {
            "StepName": step.name,
            "StepDisplayName": step.display_name,
            "StepDescription": step.description,
            "StepStatus": "Executing",
            "CreationTime": now,
            "StartTime": now,
            "AttemptCount": 1,
            "Metadata": {},
            "PipelineExecutionArn": self.arn,
        }

    def _attempt(self, step, arn):
        scope = self.scope.with_execution(self._step_variables(step))
        try:
            arguments = {} if step.type == "Condition" else resolve(step.arguments, scope)
        except ExpressionError as error:
            raise StepFailed(f"ClientError: {error}") from None
        key = cache_key(step, arguments)
        self.store.update(arn, CacheKey=key)
        if key and (earlier := cached(self.store, self.pipeline_arn, step, key)):
            source = {"SourcePipelineExecutionArn": earlier["PipelineExecutionArn"]}
            taken_over = {k: earlier[k] for k in ("StepStatus", "Metadata", "Properties")}
            return taken_over | {"CacheHitResult": source}, None
        result = STEPS[step.type].run(self, step, arguments, scope)
        properties = {}
        if shape := PROPERTIES[step.type]:
            properties = model.answer(model.shape(shape), result.properties)
        changes = {"Metadata": result.metadata, "Properties": properties}
        return {"StepStatus": "Succeeded", **changes}, result.outcome

    def _step_variables(self, step):
        name = job_name(self.id, step.name, step.arguments.get(f"{step.type}JobName"))
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return {f"{step.type}JobName": name, "CurrentDateTime": now}


def _parallel(document):
    wanted = document.get("ParallelismConfiguration") or {}
    return min(wanted.get("MaxParallelExecutionSteps") or MAX_PARALLEL, MAX_PARALLEL)


def end_execution(store, arn, status, reason=None):
    store.update(
        arn,
        PipelineExecutionStatus=status,
        FailureReason=reason,
        PipelineExecutionFailureReason=reason,
        LastModifiedTime=time.time(),
    )


def recover(store):
    """Executions that were running when the server last died have failed, and say so."""
    why = "InternalServerError: the local server ended during the execution"
    for document in store.list(EXECUTION.name):
        if document["PipelineExecutionStatus"] not in RUNNING:
            continue
        arn = document["PipelineExecutionArn"]
        for step in store.list("Step", f"{arn}/step/"):
            if step["StepStatus"] == "Executing":
                changes = {"StepStatus": "Failed", "FailureReason": why, "EndTime": time.time()}
                store.update(f"{arn}/step/{step['StepName']}", **changes)
        end_execution(store, arn, "Failed", why)


# Operations on pipelines


def create_pipeline(sagemaker, request, region):
    request = _with_definition(sagemaker, request, required=True)
    refuse("CreatePipeline", request, "PipelineVersionAliases")
    token = request["ClientRequestToken"]
    with sagemaker.store.lock:
        known = sagemaker.store.get(PIPELINE.arn(region, request["PipelineName"]))
        if known and known["CreationToken"] == token:
            return known
        arn = PIPELINE.arn(region, request["PipelineName"])
        members = {"CreationToken": token, "PipelineVersionId": 1}
        return insert(PIPELINE, sagemaker, request, arn, **members)


def _with_definition(sagemaker, request, required=False):
    """The request with the definition in it, wherever it came from, and found to be sound."""
    request = dict(request)
    location = request.pop("PipelineDefinitionS3Location", None)
    if location and request.get("PipelineDefinition"):
        raise invalid("Give PipelineDefinition or PipelineDefinitionS3Location, not both")
    if location:
        where = location["Bucket"], location["ObjectKey"]
        body = sagemaker.neighbours.read_object(*where)
        if body is None:
            raise invalid(f"PipelineDefinitionS3Location: there is no s3://{'/'.join(where)}")
        request["PipelineDefinition"] = body.decode("utf-8", "replace")
    if request.get("PipelineDefinition"):
        parse(request["PipelineDefinition"], PROPERTIES)
    elif required:
        raise invalid("PipelineDefinition or PipelineDefinitionS3Location is required")
    return request


def update_pipeline(sagemaker, request, region):
    request = _with_definition(sagemaker, request)
    refuse("UpdatePipeline", request, "PipelineVersionAliases")
    with sagemaker.store.lock:
        known = find(PIPELINE, sagemaker, request, region)
        changes = {k: v for k, v in request.items() if k != "PipelineName" and v is not None}
        changes |= {"LastModifiedTime": time.time(), "LastModifiedBy": identity()}
        number = known["PipelineVersionId"]
        sagemaker.store.insert("PipelineVersion", _version_arn(known, number), known)
        changes["PipelineVersionId"] = number + 1
        return sagemaker.store.update(known["PipelineArn"], **changes)


def describe_pipeline(sagemaker, request, region):
    refuse("DescribePipeline", request, "PipelineVersionAlias")
    return _find_version(sagemaker, request, region)


def _find_version(sagemaker, request, region):
    """The pipeline as it is now, or as it was in the version that is asked for."""
    pipeline = find(PIPELINE, sagemaker, request, region)
    wanted = request.get("PipelineVersionId")
    if wanted in (None, pipeline["PipelineVersionId"]):
        return pipeline
    earlier = sagemaker.store.get(_version_arn(pipeline, wanted))
    if earlier is None:
        arn = pipeline["PipelineArn"]
        raise AwsError("ResourceNotFound", f"Pipeline '{arn}' has no version {wanted}.")
    return earlier


def _version_arn(pipeline, number):
    return f"{pipeline['PipelineArn']}/version/{number}"


def delete_pipeline(sagemaker, request, region):
    with sagemaker.store.lock:
        pipeline = find(PIPELINE, sagemaker, request, region)
        below = f"{pipeline['PipelineArn']}/execution/"
        executions = sagemaker.store.list(EXECUTION.name, below)
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


# Operations on executions


def start_execution(sagemaker, request, region):
    refuse("StartPipelineExecution", request, "SelectiveExecutionConfig", "PipelineVersionAlias")
    refuse("StartPipelineExecution", request, "MlflowExperimentName")
    with sagemaker.store.lock:
        pipeline = _find_version(sagemaker, request, region)
        definition = parse(pipeline["PipelineDefinition"], PROPERTIES)
        given = {p["Name"]: p["Value"] for p in request.get("PipelineParameters") or []}
        values = parameter_values(definition, given)
        if known := _started_before(sagemaker, pipeline, request):
            return known
        document = _new_execution(sagemaker, request, pipeline, values)
        times = dict.fromkeys(("LastRunTime", "LastExecutionTime"), document["CreationTime"])
        sagemaker.store.update(pipeline["PipelineArn"], **times)
        Execution(sagemaker, document, definition, values).start()
    return document


def _started_before(sagemaker, pipeline, request):
    """The execution that this very request has started already."""
    for document in sagemaker.store.list(EXECUTION.name, f"{pipeline['PipelineArn']}/execution/"):
        if document["StartToken"] == request["ClientRequestToken"]:
            if document.get("StartRequest") != request.get("PipelineParameters"):
                raise AwsError(
                    "ConflictException", "ClientRequestToken was used with other parameters."
                )
            return document
    return None


def _new_execution(sagemaker, request, pipeline, values):
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


def describe_execution(sagemaker, request, region):
    return resources.found(EXECUTION, sagemaker, request["PipelineExecutionArn"])


def list_executions(sagemaker, request, region):
    refuse("ListPipelineExecutions", request, "PipelineVersionAlias")
    pipeline = find(PIPELINE, sagemaker, request, region)
    documents = sagemaker.store.list(EXECUTION.name, f"{pipeline['PipelineArn']}/execution/")
    rest = {k: v for k, v in request.items() if k != "PipelineName"}
    return resources.page(EXECUTION, documents, rest)


def list_steps(sagemaker, request, region):
    if not request.get("PipelineExecutionArn"):
        raise invalid("PipelineExecutionArn is required")
    describe_execution(sagemaker, request, region)
    steps = sagemaker.store.list("Step", f"{request['PipelineExecutionArn']}/step/")
    if request.get("SortOrder") != "Ascending":
        steps.reverse()
    return resources.cut(
        "PipelineExecutionSteps", steps, request, key=lambda s: s["StepName"], default_size=100
    )


def list_parameters(sagemaker, request, region):
    values = describe_execution(sagemaker, request, region)["Values"]
    parameters = [{"Name": name, "Value": _as_text(value)} for name, value in values.items()]
    return resources.cut(
        "PipelineParameters", parameters, request, key=lambda p: p["Name"], default_size=100
    )


def _as_text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def stop_execution(sagemaker, request, region):
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


OPERATIONS = {
    **resources.plain(PIPELINE),
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
