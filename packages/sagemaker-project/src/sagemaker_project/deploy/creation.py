"""What a deployment consists of, and the steps that create what is missing of it.

A promotion creates a version's resources for the first time. A rollback and the next promotion
create again what was deleted by hand, exactly as the ledger recorded it. Pure; nothing is read.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping

from sagemaker_project.deploy.calls import Call, Members, sagemaker
from sagemaker_project.deploy.candidate import Candidate
from sagemaker_project.deploy.evidence import Parts, State
from sagemaker_project.deploy.ledger import Deployment, Resources
from sagemaker_project.deploy.matching import matches
from sagemaker_project.deploy.names import package_parts
from sagemaker_project.deploy.steps import CopyArtifact, SendCall, Step
from sagemaker_project.deploy.target import Target


def resources_of(candidate: Candidate) -> Resources:
    """Return what the ledger keeps of a candidate's create calls."""
    return {
        "Models": [_without_tags(model) for model in candidate.models],
        "EndpointConfig": _without_tags(candidate.endpoint_config),
    }


def _without_tags(members: Members) -> Members:
    return {name: value for name, value in members.items() if name != "Tags"}


def creations(target: Target, deployment: Deployment, parts: Parts) -> Iterator[Step]:
    """Yield the steps that create what is missing of a deployment, each after what it needs."""
    if "Resources" not in deployment:
        return
    arns = {package_parts(pin["ModelPackageArn"])["version"]: pin for pin in deployment["Pins"]}
    for url, pin in copies_of(deployment).items():
        if url not in parts.copies:
            yield _copy(pin)
    for model in deployment["Resources"]["Models"]:
        name: str = model["ModelName"]
        if name not in parts.models:
            version = name.rsplit("-", 2)[1].removeprefix("v")
            tags = target.tags_of(arns[version]["ModelPackageArn"])
            yield SendCall(sagemaker("CreateModel", {**model, "Tags": tags}))
    config = deployment["Resources"]["EndpointConfig"]
    if config["EndpointConfigName"] not in parts.endpoint_configs:
        tags = target.tags_of(deployment["ModelPackageArn"])
        yield SendCall(sagemaker("CreateEndpointConfig", {**config, "Tags": tags}))


def copies_of(deployment: Deployment) -> dict[str, dict[str, str]]:
    """Return {URL: pin} of the artifact copies that a deployment's models are created from."""
    return {pin["ServedUrl"]: pin for pin in deployment["Pins"] if "ServedUrl" in pin}


def _copy(pin: dict[str, str]) -> CopyArtifact:
    bucket, _, key = pin["ServedUrl"].removeprefix("s3://").partition("/")
    members = {
        "Bucket": bucket,
        "Key": key,
        "IfNoneMatch": "*",
        "ChecksumSHA256": base64.b64encode(bytes.fromhex(pin["Sha256"])).decode(),
    }
    return CopyArtifact(Call("s3", "PutObject", members), pin["ModelDataUrl"], pin["Sha256"])


def repairs(state: State, goal: str) -> Iterator[Step]:
    """Yield the steps that create what serves again where its endpoint configuration was deleted.

    SageMaker updates no endpoint whose configuration is gone.

    Args:
        goal: the endpoint configuration that is to serve, whose creation is another's.
    """
    live = state.ledger.deployed(state.live) if state.live and state.live != goal else None
    if live and state.live_parts:
        yield from creations(state.target, live, state.live_parts)


def altered_copies(
    target: Target, pins: Iterable[Members], copies: Mapping[str, str]
) -> Iterator[str]:
    """Say which artifact copies do not hold the bytes that were checked.

    Args:
        copies: {URL: sha256} of those that exist.
    """
    for pin in pins:
        url, wanted = pin.get("ServedUrl", ""), pin["Sha256"]
        if copies.get(url, wanted) != wanted:
            yield altered_copy(target, url, copies[url], wanted)


def altered_copy(target: Target, url: str, found: str, wanted: str) -> str:
    """Say that an artifact copy holds other bytes, and what to do."""
    return (
        f"{url} was changed by hand: its sha256 is {found}, that of the model which was checked is"
        f" {wanted}. Find out who wrote it; delete it (aws s3 rm {url} {target.aws_flags}),"
        " then run again, which copies the model anew"
    )


def altered_resources(deployment: Deployment, parts: Parts) -> Iterator[str]:
    """Say which models and configuration exist with other content than the ledger recorded."""
    if "Resources" not in deployment:
        return
    models = deployment["Resources"]["Models"]
    wanted = {model["ModelName"]: model for model in models}
    wanted[deployment["EndpointConfigName"]] = deployment["Resources"]["EndpointConfig"]
    for name, found in {**parts.models, **parts.endpoint_configs}.items():
        if not matches(wanted[name], found):
            yield (
                f"{name} exists with other content than the ledger recorded: it was made by hand."
                " Delete it, then run again, which creates it as it was"
            )


def lost_for_good(target: Target, deployment: Deployment, parts: Parts) -> Iterator[str]:
    """Say what of a deployment is missing and cannot be created again, and who has to do what."""
    names = (deployment["EndpointConfigName"], *deployment["Models"])
    there = {*parts.endpoint_configs, *parts.models}
    if "Resources" not in deployment:
        again = target.command(
            "promote", "--model-package-arn", deployment["ModelPackageArn"], "--retry"
        )
        for name in names:
            if name not in there:
                yield (
                    f"{name} was deleted, and an earlier version of deploy-model, which recorded"
                    f" its deployment, did not record how to create it again: {again}"
                )
    for url, pin in copies_of(deployment).items():
        found = parts.sources.get(pin["ModelDataUrl"], "")
        if url not in parts.copies and found != pin["Sha256"]:
            what = f"has other bytes (sha256 {found})" if found else "is gone"
            bucket, _, key = url.removeprefix("s3://").partition("/")
            yield (
                f"{url} was deleted, and {pin['ModelDataUrl']}, which it was copied from, {what}:"
                f" an administrator of the bucket has to restore the object with the sha256"
                f" {pin['Sha256']} (aws s3api list-object-versions --bucket {bucket}"
                f" --prefix {key} {target.aws_flags} shows earlier versions), then run again"
            )
