"""The operations on processing and training jobs."""

import time
from functools import partial
from typing import TYPE_CHECKING

from sagemaker_emulator.api import resources
from sagemaker_emulator.api.documents import Answer, Document, Operation, Request
from sagemaker_emulator.api.resources import Kind, find, insert, refuse
from sagemaker_emulator.api.store import Store
from sagemaker_emulator.errors import AwsError, invalid, unsupported
from sagemaker_emulator.jobs.job import Job
from sagemaker_emulator.jobs.kinds import PROCESSING, TRAINING, prefix_of
from sagemaker_emulator.jobs.training import output_uri

if TYPE_CHECKING:
    from sagemaker_emulator.api.sagemaker import SageMaker

REFUSED_FOR_TRAINING = (
    *("CheckpointConfig", "DebugRuleConfigurations", "ServerlessJobConfig", "ModelPackageConfig"),
)


def create_job(kind: Kind, sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    return start_job(kind, sagemaker, request, region).document


def start_job(kind: Kind, sagemaker: "SageMaker", request: Request, region: str) -> Job:
    """Check the request, store the job and start it."""
    members: Document = {}
    if kind is PROCESSING:
        cluster = request["ProcessingResources"]["ClusterConfig"]
    else:
        refuse("CreateTrainingJob", request, *REFUSED_FOR_TRAINING)
        members["ModelArtifacts"] = {"S3ModelArtifacts": f"{output_uri(request)}/model.tar.gz"}
        cluster = request.get("ResourceConfig") or {}
        if not (request.get("AlgorithmSpecification") or {}).get("TrainingImage"):
            raise invalid("AlgorithmSpecification.TrainingImage is required")
    if cluster.get("InstanceCount", 1) != 1 or cluster.get("InstanceGroups"):
        count = cluster.get("InstanceCount", "InstanceGroups")
        raise unsupported(f"jobs on several instances (InstanceCount {count}); set it to 1")
    if request.get("StoppingCondition"):
        members["StoppingCondition"] = request["StoppingCondition"]
    arn = kind.arn(region, request[f"{kind.name}Name"])
    with sagemaker.store.lock:
        document = insert(kind, sagemaker, request, arn, **members)
        return sagemaker.jobs.start(kind, document)


def stop_job(kind: Kind, sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    with sagemaker.store.lock:
        document = find(kind, sagemaker, request, region)
        job = sagemaker.jobs.running.get(document[f"{kind.name}Arn"])
    if job is None:
        status = document[f"{kind.name}Status"]
        raise invalid(f"The request was rejected because the {kind.resource} is {status}.")
    job.stop()
    return {}


def delete_job(kind: Kind, sagemaker: "SageMaker", request: Request, region: str) -> Answer:
    document = find(kind, sagemaker, request, region)
    if document[f"{kind.name}Arn"] in sagemaker.jobs.running:
        raise AwsError("ResourceInUse", f"The {kind.resource} is still running.")
    sagemaker.store.delete(document[f"{kind.name}Arn"])
    sagemaker.jobs.logs.delete(kind, document)
    return {}


def recover(store: Store) -> None:
    """Mark the jobs that ran when the server ended as failed."""
    for kind in (PROCESSING, TRAINING):
        for document in store.list(kind.name):
            if document[f"{kind.name}Status"] in ("InProgress", "Stopping"):
                now = time.time()
                changes = {
                    f"{kind.name}Status": "Failed",
                    "FailureReason": "InternalServerError: the local server ended during the job",
                    f"{prefix_of(kind)}EndTime": now,
                    "LastModifiedTime": now,
                }
                if kind is TRAINING:
                    changes["SecondaryStatus"] = "Failed"
                store.update(document[f"{kind.name}Arn"], **changes)


def _operations(kind: Kind) -> dict[str, Operation]:
    return resources.standard_operations(kind) | {
        f"Create{kind.name}": partial(create_job, kind),
        f"Stop{kind.name}": partial(stop_job, kind),
        f"Delete{kind.name}": partial(delete_job, kind),
    }


OPERATIONS: dict[str, Operation] = _operations(PROCESSING) | _operations(TRAINING)
