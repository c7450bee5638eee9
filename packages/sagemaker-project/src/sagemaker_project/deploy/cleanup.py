"""The plan of a clean-up: delete what deployments left and nothing needs. Pure; nothing is read."""

from sagemaker_project.deploy.calls import sagemaker
from sagemaker_project.deploy.evidence import State
from sagemaker_project.deploy.ledger import Deployment
from sagemaker_project.deploy.scaling import all_variants
from sagemaker_project.deploy.steps import DeleteUnused, Plan, Step, record


def plan_cleanup(state: State) -> Plan:
    """Return the deletions of what neither serves, nor is pending, nor may be rolled back to."""
    keep_configs, keep_models = _needed(state)
    configs, models = state.ledger.created()
    configs = [name for name in configs if name not in keep_configs]
    models = [name for name in models if name not in keep_models]
    if not configs and not models:
        return Plan()
    deletions: list[Step] = [
        DeleteUnused(sagemaker("DeleteEndpointConfig", {"EndpointConfigName": name}))
        for name in configs
    ]
    deletions += [DeleteUnused(sagemaker("DeleteModel", {"ModelName": name})) for name in models]
    entry = {"Action": "cleanup", "Deleted": {"EndpointConfigs": configs, "Models": models}}
    return Plan((*deletions, record(state.target, "CleanedUp", entry)))


def _needed(state: State) -> tuple[set[str | None], set[str]]:
    """Return the names of endpoint configurations and of models that must stay."""
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
    return configs, models
