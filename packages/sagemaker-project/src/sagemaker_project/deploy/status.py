"""`deploy-model status`: what serves, and whether it was changed by hand."""

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.drift import differences
from sagemaker_project.deploy.evidence import State
from sagemaker_project.deploy.look import look_at_stage
from sagemaker_project.deploy.recovery import missing_config, recovery


def status(context: Context) -> Members:
    """Return what serves, and whether it was changed by hand."""
    target, state = context.target, look_at_stage(context, strict=False)
    endpoint, current, pending = state.endpoint, state.ledger.current, state.pending
    damage = [one.described() for one in state.damage]
    if endpoint is None:
        message = f"{target.endpoint} does not exist: nothing is deployed to {target.stage}"
        about = {"EndpointName": target.endpoint, "Damage": damage}
        return {"Outcome": "Absent", "Message": message, **about}
    alarms = context.aws.alarms(target.config.alarms)
    version = current["ModelPackageVersion"] if current else "unknown"
    return {
        "Outcome": state.status,
        "Message": f"{target.endpoint} is {state.status} with version {version}",
        "EndpointName": target.endpoint,
        "EndpointConfigName": state.live,
        "Current": current,
        "RollbackTarget": state.ledger.rollback_target,
        "Pending": {k: pending[k] for k in ("Action", "Time", "By")} if pending else None,
        "FailureReason": endpoint.get("FailureReason", ""),
        "Variants": [_variant(variant) for variant in endpoint.get("ProductionVariants", [])],
        "Alarms": {
            name: alarms[name]["StateValue"] if name in alarms else "does not exist"
            for name in target.config.alarms
        },
        "Drift": differences(state),
        "Recovery": _recovery(state),
        "Damage": damage,
    }


def _variant(variant: Members) -> Members:
    return {
        "VariantName": variant["VariantName"],
        "Weight": variant.get("CurrentWeight"),
        "InstanceCount": variant.get("CurrentInstanceCount"),
        "Images": [image.get("ResolvedImage") for image in variant.get("DeployedImages", [])],
    }


def _recovery(state: State) -> str:
    if state.needs_person:
        return recovery(state.target, state.status, state.ledger)
    return missing_config(state)
