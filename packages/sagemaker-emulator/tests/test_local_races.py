"""Two things at once: a stop while something starts, a signal while a client comes or goes."""

import json
import os
import threading

import pytest
from local_helpers import IMAGE, ROLE, definition, fail, processing, unique, until
from sagemaker_emulator.api.sagemaker import SageMaker
from sagemaker_emulator.api.server import Front
from sagemaker_emulator.jobs.job import Jobs
from sagemaker_emulator.pipelines.execution import Execution

REGION = "us-east-1"
NEVER = threading.Event()


@pytest.fixture
def sagemaker(tmp_path):
    """The API without a server around it, and so without S3: nothing here may need a file."""
    return SageMaker(tmp_path)


def stop_before(begin, call):
    """`begin`, delayed by a moment in which another client tries to stop what it starts."""

    def delayed(self, *arguments):
        stopping = threading.Thread(target=call, daemon=True)
        stopping.start()
        stopping.join(0.3)
        return begin(self, *arguments)

    return delayed


def test_an_execution_can_be_stopped_while_it_starts(sagemaker, monkeypatch):
    def stop():
        (execution,) = sagemaker.store.list("PipelineExecution")
        request = {"PipelineExecutionArn": execution["PipelineExecutionArn"]}
        token = {"ClientRequestToken": "y" * 32}
        sagemaker.call("StopPipelineExecution", request | token, REGION)

    monkeypatch.setattr(Execution, "start", stop_before(Execution.start, stop))
    monkeypatch.setattr(Execution, "_run_steps", lambda self: until(lambda: self.stopping, 2))
    request = {"PipelineName": "p", "ClientRequestToken": "x" * 32}
    document = {"PipelineDefinition": json.dumps(definition(fail("A", "x"))), "RoleArn": ROLE}
    sagemaker.call("CreatePipeline", request | document, REGION)
    sagemaker.call("StartPipelineExecution", request, REGION)
    (execution,) = until(lambda: ended(sagemaker, "PipelineExecution"))
    assert execution["PipelineExecutionStatus"] == "Stopped"


def test_a_job_can_be_stopped_while_it_starts(sagemaker, monkeypatch):
    name = {"ProcessingJobName": unique("job")}

    def stop():
        sagemaker.call("StopProcessingJob", name, REGION)

    monkeypatch.setattr(Jobs, "start", stop_before(Jobs.start, stop))
    sagemaker.jobs.url = "http://127.0.0.1"
    entrypoint = ["python3", "-c", "import time; time.sleep(2)"]
    application = {"ImageUri": IMAGE, "ContainerEntrypoint": entrypoint}
    request = processing("", AppSpecification=application, ProcessingInputs=[])
    sagemaker.call("CreateProcessingJob", name | request, REGION)
    (job,) = until(lambda: ended(sagemaker, "ProcessingJob"))
    assert job["ProcessingJobStatus"] == "Stopped", job


def test_an_update_that_waits_for_another_service_does_not_lock_the_store(sagemaker, monkeypatch):
    """After a start S3 and the rest are restored from the store, and an update needs them."""
    sagemaker.begin("http://127.0.0.1")
    monkeypatch.setattr(sagemaker.hosting, "start", lambda arn: None)
    container = {"Image": IMAGE, "ModelDataUrl": "s3://b/k"}
    model = {"ModelName": "m", "ExecutionRoleArn": ROLE, "PrimaryContainer": container}
    sagemaker.call("CreateModel", model, REGION)
    variant = {"VariantName": "A", "ModelName": "m"}
    variant |= {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    config = {"EndpointConfigName": "c"}
    sagemaker.call("CreateEndpointConfig", config | {"ProductionVariants": [variant]}, REGION)
    request = config | {"EndpointName": "e"}
    arn = sagemaker.call("CreateEndpoint", request, REGION)["EndpointArn"]
    wanted = sagemaker.store.get(arn)["Next"]
    sagemaker.store.update(arn, EndpointStatus="InService", Live=wanted, Next=None)
    alarms = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}
    update = ("UpdateEndpoint", request | {"DeploymentConfig": alarms}, REGION)
    waits = threading.Event()
    monkeypatch.setattr(sagemaker.other_services.ready, "wait", lambda: waits.set() or NEVER.wait())
    threading.Thread(target=sagemaker.call, args=update, daemon=True).start()
    assert waits.wait(5)
    assert sagemaker.store.lock.acquire(timeout=2)
    sagemaker.store.lock.release()


def test_nothing_is_left_of_an_endpoint_that_is_deleted(sagemaker):
    sagemaker.begin("http://127.0.0.1")
    runtime, key = sagemaker.runtime, (REGION, "e")
    kept = (runtime.routes.traffic, runtime.asynchronous.limits)
    for one in kept:
        one[key] = None
    sagemaker.other_services.ready.set()
    sagemaker.hosting.delete({"EndpointArn": f"arn:aws:sagemaker:{REGION}:1:endpoint/e"})
    assert not any(kept)


def ended(sagemaker, kind):
    documents = sagemaker.store.list(kind)
    going = [d for d in documents if d[f"{kind}Status"] in ("InProgress", "Executing", "Stopping")]
    return None if going else documents


def test_a_signal_handler_waits_for_no_lock():
    """A handler runs on the main thread, in the middle of whatever that thread holds."""
    front = Front(None)
    with front.lock:
        ending = threading.Thread(target=front.end, daemon=True)
        ending.start()
        ending.join(5)
        assert not ending.is_alive()
    assert os.read(front.waiting, 1) and not front.enter()
