"""One execution of a pipeline: which step starts when, and how it ends.

An execution has one thread that decides which steps may start; each step runs on a thread of its
own, so steps that do not depend on each other run at the same time. A step in the branch that a
condition did not take, or that depends on such a step, never starts and is never listed. After a
failure no step starts any more; those that run may end. Every state is written to the store before
anything is done because of it.
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from sagemaker_emulator.api import resources, service_model
from sagemaker_emulator.api.documents import Document, Json
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import BROKE, MAX_REASON
from sagemaker_emulator.jobs.job import Job
from sagemaker_emulator.pipelines.resolver import ExpressionError, Scope, resolve
from sagemaker_emulator.pipelines.results import cache_key, cached, property_files
from sagemaker_emulator.pipelines.schema import Definition, Step
from sagemaker_emulator.pipelines.steps import STEPS, Context, Result, StepFailed, job_name

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker

MAX_PARALLEL = 50
FAILED = "Step failure: One or multiple steps failed."


class StepEnd(NamedTuple):
    step: Step
    document: Document
    outcome: bool | None  # of a condition


class Execution:
    def __init__(
        self,
        sagemaker: "SageMaker",
        document: Document,
        definition: Definition,
        values: dict[str, Json],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sagemaker = sagemaker
        self.store = sagemaker.store
        self.clock = clock
        self.arn: str = document["PipelineExecutionArn"]
        self.pipeline_arn: str = document["PipelineArn"]
        self.id = self.arn.rpartition("/")[2]
        self.definition = definition
        self.parallel = _parallel(document)
        self.scope = Scope(parameters=values, execution=self._variables(document))
        region = resources.region_of(self.arn)
        self.context = Context(sagemaker, self.id, region, document["RoleArn"], self._watch)
        # {step name: "Succeeded", "Failed", "Stopped" or "Skipped"}, of the steps that are over
        self.statuses: dict[str, str] = {}
        self.outcomes: dict[str, bool] = {}  # of the conditions, by step name
        self.finished: queue.SimpleQueue[StepEnd] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.jobs: list[Job] = []
        self.stopping = False

    def _variables(self, document: Document) -> dict[str, str]:
        return {
            "PipelineName": document["PipelineName"],
            "PipelineArn": self.pipeline_arn,
            "PipelineExecutionId": self.id,
            "PipelineExecutionArn": self.arn,
            "StartDateTime": _iso(document["CreationTime"]),
        }

    def start(self) -> None:
        self.sagemaker.executions[self.arn] = self
        threading.Thread(target=self._run, name=self.id, daemon=True).start()

    def stop(self) -> None:
        with self.lock:
            self.stopping = True
            jobs = list(self.jobs)
        for job in jobs:
            job.stop()

    def _watch(self, job: Job) -> None:
        """Stop a job that a step has started when the execution is stopped, or already is."""
        with self.lock:
            self.jobs.append(job)
            stopping = self.stopping
        if stopping:
            job.stop()

    # On the thread of the execution

    def _run(self) -> None:
        try:
            self._run_steps()
            status = "Stopped" if self.stopping else "Succeeded"
            if "Failed" in self.statuses.values() and not self.stopping:
                status = "Failed"
            reason = FAILED if status == "Failed" else None
        except Exception:
            traceback.print_exc()
            status, reason = "Failed", BROKE
        end_execution(self.store, self.arn, status, reason, self.clock())
        del self.sagemaker.executions[self.arn]

    def _run_steps(self) -> None:
        waiting = dict(self.definition.steps)
        active = 0
        while True:
            for step in self._next(waiting, self.parallel - active):
                del waiting[step.name]
                active += 1
                threading.Thread(target=self._run_step, args=[step], daemon=True).start()
            if not active:
                return
            self._record(self.finished.get())
            active -= 1

    def _next(self, waiting: dict[str, Step], places: int) -> list[Step]:
        """Return the steps that may start now, and remove from `waiting` those that never will."""
        if self.stopping or "Failed" in self.statuses.values():
            return []
        while skipped := [step for step in waiting.values() if self._is_skipped(step)]:
            for step in skipped:
                del waiting[step.name]
                self.statuses[step.name] = "Skipped"
        ready = [
            step
            for step in waiting.values()
            if all(self.statuses.get(name) == "Succeeded" for name in step.after)
        ]
        return ready[:places]

    def _is_skipped(self, step: Step) -> bool:
        if any(self.statuses.get(name) == "Skipped" for name in step.after):
            return True
        if step.gate is None or step.gate.condition not in self.outcomes:
            return False
        return self.outcomes[step.gate.condition] != step.gate.outcome

    def _record(self, end: StepEnd) -> None:
        step, document, outcome = end
        self.statuses[step.name] = document["StepStatus"]
        if outcome is not None:
            self.outcomes[step.name] = outcome
        if document["StepStatus"] == "Succeeded":
            properties = document["Properties"]
            files = property_files(self.sagemaker.other_services, step, properties)
            self.scope = self.scope.with_step(step.name, properties, files)

    # On the thread of a step

    def _run_step(self, step: Step) -> None:
        arn = f"{self.arn}/step/{step.name}"
        outcome = None
        try:
            self.store.insert("Step", arn, self._new_step(step))
            changes, outcome = self._attempt(step, arn)
        except StepFailed as failure:
            stopped = failure.stopped and self.stopping
            changes = {
                "StepStatus": "Stopped" if stopped else "Failed",
                "FailureReason": None if stopped else failure.reason[:MAX_REASON],
                "Metadata": failure.metadata,
            }
        except Exception:
            traceback.print_exc()
            changes = {"StepStatus": "Failed", "FailureReason": BROKE}
        self.store.update(arn, EndTime=self.clock(), **changes)
        self.finished.put(StepEnd(step, changes, outcome))

    def _new_step(self, step: Step) -> Document:
        now = self.clock()
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

    def _attempt(self, step: Step, arn: str) -> tuple[Document, bool | None]:
        """Run a step, or reuse an earlier result; return its document's changes and its outcome."""
        scope = self.scope.with_execution(self._step_variables(step))
        try:
            arguments = {} if step.type == "Condition" else resolve(step.arguments, scope)
        except ExpressionError as error:
            raise StepFailed(f"ClientError: {error}") from None
        key = cache_key(step, arguments)
        self.store.update(arn, CacheKey=key)
        if key and (earlier := cached(self.store, self.pipeline_arn, step, key, self.clock())):
            source = {"SourcePipelineExecutionArn": earlier["PipelineExecutionArn"]}
            taken_over = {k: earlier[k] for k in ("StepStatus", "Metadata", "Properties")}
            return taken_over | {"CacheHitResult": source}, None
        result = STEPS[step.type].run(self.context, step, arguments, scope)
        changes = {"Metadata": result.metadata, "Properties": _properties(step, result)}
        return {"StepStatus": "Succeeded", **changes}, result.outcome

    def _step_variables(self, step: Step) -> dict[str, str]:
        name = job_name(self.id, step.name, step.arguments.get(f"{step.type}JobName"))
        return {f"{step.type}JobName": name, "CurrentDateTime": _iso(self.clock())}


def _properties(step: Step, result: Result) -> Document:
    shape = STEPS[step.type].properties
    if shape is None:
        return {}
    properties: Document = service_model.answer(service_model.shape(shape), result.properties)
    return properties


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="seconds")


def _parallel(document: Document) -> int:
    wanted = document.get("ParallelismConfiguration") or {}
    return min(wanted.get("MaxParallelExecutionSteps") or MAX_PARALLEL, MAX_PARALLEL)


def end_execution(store: Store, arn: str, status: str, reason: str | None, now: float) -> None:
    store.update(
        arn,
        PipelineExecutionStatus=status,
        FailureReason=reason,
        PipelineExecutionFailureReason=reason,
        LastModifiedTime=now,
    )
