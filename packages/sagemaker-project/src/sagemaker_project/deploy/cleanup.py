"""The plan of a clean-up: delete what deployments left and nothing needs. Pure; nothing is read."""

from collections.abc import Iterable

from sagemaker_project.deploy.calls import Call, Members, sagemaker
from sagemaker_project.deploy.container import artifact_of
from sagemaker_project.deploy.evidence import State
from sagemaker_project.deploy.ledger import Deployment, Ledger, ResourceNames, artifact_keys
from sagemaker_project.deploy.scaling import all_variants
from sagemaker_project.deploy.steps import DeleteUnused, Plan, record


def plan_cleanup(state: State) -> Plan:
    """Return the deletions of what neither serves, nor is pending, nor may be rolled back to."""
    keep_configs, keep_models, keep_artifacts = _needed(state)
    configs, models, artifacts = state.ledger.created()
    configs = [name for name in configs if name not in keep_configs]
    models = [name for name in models if name not in keep_models]
    artifacts = [key for key in artifacts if key not in keep_artifacts]
    if not configs and not models and not artifacts:
        return Plan()
    bucket = state.target.bucket
    calls = [sagemaker("DeleteEndpointConfig", {"EndpointConfigName": name}) for name in configs]
    calls += [sagemaker("DeleteModel", {"ModelName": name}) for name in models]
    calls += [Call("s3", "DeleteObject", {"Bucket": bucket, "Key": key}) for key in artifacts]
    entry = record(state.target, "CleanedUp", cleaned_up(calls))
    return Plan((*map(DeleteUnused, calls), entry))


def cleaned_up(deletions: Iterable[Call]) -> Members:
    """Return the members of the ledger entry that says what was deleted."""
    deleted: ResourceNames = {"EndpointConfigs": [], "Models": [], "Artifacts": []}
    kinds = {
        "DeleteEndpointConfig": deleted["EndpointConfigs"],
        "DeleteModel": deleted["Models"],
        "DeleteObject": deleted["Artifacts"],
    }
    for call in deletions:
        kinds[call.operation].append(call.resource)
    return {"Action": "cleanup", "Deleted": deleted}


def _needed(state: State) -> tuple[set[str | None], set[str], set[str]]:
    """Return the endpoint configurations, models and keys of artifact copies that must stay."""
    ledger, pending = state.ledger, state.pending
    kept: list[Deployment | None] = [ledger.current, ledger.rollback_target]
    if pending:
        kept += [pending["Deployment"], pending.get("Leaves")]
    configs: set[str | None] = {
        deployment["EndpointConfigName"] for deployment in kept if deployment
    }
    configs.add(state.live)
    if state.endpoint:
        summary = state.endpoint.get("PendingDeploymentSummary", {})
        configs.add(summary.get("EndpointConfigName"))
        kept += [ledger.deployed(name) for name in configs if name]
    models = {name for deployment in kept if deployment for name in deployment["Models"]}
    models |= {variant["ModelName"] for variant in all_variants(state.endpoint_config)}
    artifacts = {key for deployment in kept if deployment for key in artifact_keys(deployment)}
    artifacts |= {artifact_of(model) for model in state.live_models}
    return configs, models, artifacts | _served_by(models, state.ledger)


def _served_by(models: set[str], ledger: Ledger) -> set[str]:
    """Return the keys of the artifact copies that these models serve, as the ledger knows them."""
    deployments = [entry["Deployment"] for entry in ledger.entries if entry["Kind"] == "Started"]
    return {
        artifact_of(model)
        for deployment in deployments
        for model in deployment.get("Resources", {}).get("Models", [])
        if model["ModelName"] in models
    }
