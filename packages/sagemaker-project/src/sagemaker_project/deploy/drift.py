"""How what serves differs from what the ledger says: changes that were made by hand."""

from sagemaker_project.deploy.evidence import State
from sagemaker_project.deploy.matching import matches
from sagemaker_project.deploy.target import Target

OWNER_TAGS = ("sagemaker:project-name", "sagemaker:deployment-stage")


def owner_tags(target: Target) -> dict[str, str]:
    """Return the tags that say whose an endpoint is."""
    return {tag["Key"]: tag["Value"] for tag in target.tags if tag["Key"] in OWNER_TAGS}


def is_ours(state: State) -> bool:
    """Whether the ledger or the endpoint's own tags say that it belongs to this project."""
    wanted = owner_tags(state.target)
    known = state.ledger.deployed(str(state.live)) is not None
    return known or all(state.tags.get(key) == value for key, value in wanted.items())


def differences(state: State) -> list[str]:
    """Return the changes that were made outside `deploy-model`, a line each."""
    if not state.endpoint or state.changing:
        return []
    current, pending = state.ledger.current, state.pending
    known = {current["EndpointConfigName"]} if current else set()
    if pending:
        known.add(pending["Deployment"]["EndpointConfigName"])
    if state.live in known:
        return _weight_differences(state)
    return [f"{state.live} serves, the ledger says {' or '.join(sorted(known)) or 'nothing'}"]


def _weight_differences(state: State) -> list[str]:
    """Compare the live weights with those of the endpoint configuration or of a rollback."""
    if not state.endpoint or not state.endpoint_config or not state.ledger.current:
        return []
    restored = state.ledger.weights(state.endpoint["EndpointConfigName"])
    initial = {
        variant["VariantName"]: variant.get("InitialVariantWeight", 1.0)
        for variant in state.endpoint_config["ProductionVariants"]
    }
    found = []
    for variant in state.endpoint.get("ProductionVariants", []):
        name, weight = variant["VariantName"], variant.get("DesiredWeight")
        recorded = restored.get(name, initial.get(name))
        if weight is None or recorded is None:
            continue
        if not matches(float(recorded), weight):
            found.append(f"the weight of {name} is {weight:g}, the ledger says {recorded:g}")
    return found
