"""Evidence that was never read from AWS: what gates and plans are pure functions of."""

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from sagemaker_project.deploy import candidate as candidates
from sagemaker_project.deploy.config import DEFAULTS, Config
from sagemaker_project.deploy.evidence import Artifact, Document, Evidence, Parts, Rollback, State
from sagemaker_project.deploy.ledger import Ledger
from sagemaker_project.deploy.promotion import deployment
from sagemaker_project.deploy.request import DeployRequest
from sagemaker_project.deploy.rollback import goal_of
from sagemaker_project.deploy.target import Target

RULE = {"MinCapacity": 1, "MaxCapacity": 2, "TargetValue": 9}  # an AutoScaling
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
GROUP = "AbalonePackageGroup"
FOUND = {"EndpointLastModifiedTime": NOW.isoformat()}  # of an endpoint, by a Started entry
ANN = "arn:aws:iam::123456789012:user/ann"
BEN = "arn:aws:iam::123456789012:user/ben"
VARIANT = {"VariantName": "All", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
SERVERLESS = {
    "VariantName": "All",
    "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5},
}
ALARMED = {
    "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE"}},
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
}
SAMPLE = {"content_type": "text/csv", "accept": "text/csv", "body": "1", "expected": [2]}
SAMPLES = json.dumps({"samples": [SAMPLE], "malformed": []}).encode()


def arn(version=2):
    return f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{GROUP}/{version}"


def request(**changes):
    about = {
        "command": "promote",
        "stage": "prod",
        "pipeline": None,
        "region": "us-east-1",
        "project_name": "shellfish",
        "project_id": "",
        "group": GROUP,
        "bucket": "bucket",
        "role": "arn:aws:iam::123456789012:role/endpoint",
        "timeout_seconds": 60,
    }
    return DeployRequest(**about | changes)


def target(stage="prod", **settings):
    content = {**DEFAULTS, "ProductionVariants": [VARIANT], **settings}
    return Target(
        project="shellfish",
        project_id="",
        pipeline="",
        stage=stage,
        before="staging" if stage == "prod" else "",
        region="us-east-1",
        bucket="bucket",
        role="arn:aws:iam::123456789012:role/endpoint",
        group=GROUP,
        config=Config(stage, Path(f"deploy/{stage}-config.json"), content),
    )


OURS = {tag["Key"]: tag["Value"] for tag in target().tags}
GUARDED = target(DeploymentConfig=ALARMED)


def package(version=2, **changes):
    container = {"Image": "image", "ModelDataUrl": f"s3://bucket/{version}", "ModelDataETag": "e"}
    about = {
        "ModelPackageArn": arn(version),
        "ModelPackageGroupName": GROUP,
        "ModelPackageVersion": version,
        "ModelPackageStatus": "Completed",
        "ModelApprovalStatus": "Approved",
        "InferenceSpecification": {"Containers": [container]},
        "CreationTime": NOW,
        "CreatedBy": {"IamIdentity": {"Arn": ANN}},
        "LastModifiedTime": NOW,
        "LastModifiedBy": {"IamIdentity": {"Arn": BEN}},
    }
    return about | changes


def pin(version=2, **changes):
    sha256 = f"{version:064x}"
    about = {
        "ModelPackageArn": arn(version),
        "ModelDataUrl": f"s3://bucket/{version}",
        "ETag": "e",
        "VersionId": "",
        "Sha256": sha256,
        "Image": "image",
        "ImageDigest": "d",
        "ServedUrl": target().artifact_url(sha256),
    }
    return about | changes


def copies(*versions):
    """The stage's copies of the artifacts of these versions, by URL."""
    return {pin(version)["ServedUrl"]: pin(version)["Sha256"] for version in versions}


def beside(**changes):
    """Evidence of version 2, which is to serve beside version 1."""
    old = {**VARIANT, "VariantName": "Old", "ModelPackageVersion": 1}
    where = target(ProductionVariants=[VARIANT, old])
    pins = {arn(number): pin(number) for number in (1, 2)}
    both = candidates.candidate(where, package(2), {"Old": package(1, **changes)}, pins)
    artifacts = {arn(number): Artifact(pin(number)) for number in (1, 2)}
    return evidence(where=where, candidate=both, artifacts=artifacts)


def metrics(content):
    return Document("s3://bucket/evaluation.json", json.dumps(content).encode())


def evidence(version=2, where=None, of=None, **changes):
    """Evidence of a version that nothing speaks against, at a stage without an endpoint."""
    where = where or target()
    about = {
        "request": request(),
        "target": where,
        "now": NOW,
        "ledger": Ledger(),
        "tags": OURS,
        "candidate": candidates.candidate(
            where, of or package(version), {}, {arn(version): pin(version)}
        ),
        "metrics": metrics({"regression_metrics": {"mse": {"value": 4.5}}}),
        "samples": Document("s3://bucket/samples.json", SAMPLES),
        "artifacts": {arn(version): Artifact(pin(version))},
    }
    return Evidence(**about | changes)


def state(**changes):
    about = {"request": request(), "target": target(), "now": NOW}
    return State(**about | {"ledger": Ledger(), "tags": OURS} | changes)


def rollback(**changes):
    about = {"request": request(command="rollback"), "target": target(), "now": NOW}
    return Rollback(**about | {"ledger": Ledger(), "tags": OURS} | changes)


def endpoint(config, status="InService", **changes):
    variant = {"VariantName": "All", "DesiredWeight": 1.0, "DesiredInstanceCount": 1}
    about = {
        "EndpointConfigName": config,
        "EndpointStatus": status,
        "ProductionVariants": [variant],
        "LastModifiedTime": NOW,
    }
    return about | changes


def entries(*kinds):
    """A ledger of (kind, members), numbered."""
    about = [
        {"Number": n, "Kind": kind, "Sha256": str(n), "Time": NOW.isoformat(), **members}
        for n, (kind, members) in enumerate(kinds, start=1)
    ]
    return Ledger(tuple(about))


def deployed(version, before=None, where=None):
    """What the ledger keeps of the deployment of a version, after `before`."""
    found = evidence(version, where)
    kept = deployment(found)
    if before:
        snapshot = {"VariantName": "All", "Weight": 1.0, "InstanceCount": 1}
        kept["Before"] = {
            "EndpointConfigName": before["EndpointConfigName"],
            "Variants": [snapshot],
        }
    return kept


def serving(version, of=(), **changes):
    """Changes of an Evidence: the stage serves `version`, after the versions in `of`."""
    kept, kinds = None, []
    for number in (*of, version):
        kept = deployed(number, kept)
        begun = {"Action": "promote", "Deployment": kept, "Creates": {}}
        kinds += [("Started", begun), ("Promoted", begun)]
    config = evidence(version).candidate.endpoint_config
    about = {
        "ledger": entries(*kinds),
        "endpoint": endpoint(config["EndpointConfigName"]),
        "endpoint_config": config,
    }
    return about | changes


def existing(version):
    """Changes of an Evidence: what the candidate would create exists."""
    candidate = evidence(version).candidate
    return {
        "models": {model["ModelName"]: model for model in candidate.models},
        "endpoint_configs": {candidate.name: candidate.endpoint_config},
        "copies": copies(version),
    }


def parts(version):
    """What exists of a version that was deployed."""
    return Parts(**existing(version))


def interrupted(version=2, of=(1,), **changes):
    """A promotion of `version` was killed after its Started entry."""
    about = serving(of[-1], of[:-1])
    begun = {"Action": "promote", "Deployment": deployed(version, deployed(of[-1])), **FOUND}
    return then(about, ("Started", begun)) | changes


def never_served(**changes):
    """The first promotion, of version 2, was killed; SageMaker could not create the endpoint."""
    config = evidence().candidate.endpoint_config
    begun = {"Action": "promote", "Deployment": deployed(2)}
    about = {
        "ledger": entries(("Started", begun)),
        "endpoint": endpoint(config["EndpointConfigName"], "Failed"),
        "endpoint_config": config,
    }
    return about | changes


def then(about, *kinds):
    """These changes of an Evidence, with more (kind, members) at the end of the ledger."""
    earlier = [(entry["Kind"], entry) for entry in about["ledger"].entries]
    return about | {"ledger": entries(*earlier, *kinds)}


def back(**about):
    """What a rollback is decided on, where nothing of its goal was deleted."""
    found = rollback(**about)
    goal = goal_of(found)
    config = evidence(goal["ModelPackageVersion"]).candidate.endpoint_config if goal else None
    there = parts(goal["ModelPackageVersion"]) if goal else Parts()
    return replace(found, goal=goal, goal_config=config, goal_parts=there)


def rolling_back(**changes):
    """A rollback from version 2 to version 1 was killed."""
    about = serving(2, (1,))
    first = deployed(1)
    begun = {"Action": "rollback", "Deployment": first, "Leaves": deployed(2, first), **FOUND}
    begun |= {"Time": NOW.isoformat(), "By": "ann"}
    return then(about, ("Started", begun)) | changes
